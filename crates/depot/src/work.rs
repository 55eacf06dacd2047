//! Work beside the task that wants it: on other threads, or, where order must be repeatable, right here.
//!
//! What computes runs on one crew of as many threads as there are cores, first come, first served. On
//! threads of their own a dozen frames would be compressed at once, each pushing the others' tables out
//! of the cores' caches.

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::DepotError;

/// Of the whole process. Where no thread can be had, none is missed: see [`Work::compute`].
static CREW: LazyLock<Result<ThreadPool, ThreadPoolBuildError>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Whoever waits for work that panicked is told that it ended; the thread goes on.
    let crew = ThreadPoolBuilder::new().num_threads(cores).panic_handler(|_| {});
    crew.thread_name(|nth| format!("compute-{nth}")).build()
});

/// The outcome of some work, perhaps still to come. Dropped, it is abandoned.
pub(crate) enum Work<T> {
    Done(T),
    Here(Pin<Box<dyn Future<Output = T> + Send>>),
    Elsewhere(Abandoning<T>),
    Computed(oneshot::Receiver<T>),
}

pub(crate) struct Abandoning<T>(JoinHandle<T>);

impl<T> Drop for Abandoning<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + 'static> Work<T> {
    /// Has `compute`, which waits for nothing, run by the crew.
    pub(crate) fn compute(beside: bool, compute: impl FnOnce() -> T + Send + 'static) -> Self {
        let Some(Ok(crew)) = beside.then(|| &*CREW) else { return Self::Done(compute()) };
        let (answer, work) = oneshot::channel();
        crew.spawn_fifo(move || {
            if !answer.is_closed() {
                // Abandoned meanwhile: nobody wants to know.
                let _ = answer.send(compute());
            }
        });
        Self::Computed(work)
    }

    /// Runs `work`, which reads or writes files, on a thread that may wait: the crew must not.
    pub(crate) fn block(beside: bool, work: impl FnOnce() -> T + Send + 'static) -> Self {
        if beside {
            Self::Elsewhere(Abandoning(tokio::task::spawn_blocking(work)))
        } else {
            Self::Done(work())
        }
    }

    /// Starts `task`; if it is not to run beside, it starts when waited for.
    pub(crate) fn start(beside: bool, task: impl Future<Output = T> + Send + 'static) -> Self {
        if beside { Self::Elsewhere(Abandoning(tokio::spawn(task))) } else { Self::Here(Box::pin(task)) }
    }

    /// May be called once; abandoned in between, the work is too.
    pub(crate) async fn wait(self) -> Result<T, DepotError> {
        let ended =
            |error: &dyn std::fmt::Display| DepotError::Internal(format!("work ended early: {error}"));
        match self {
            Self::Done(value) => Ok(value),
            Self::Here(task) => Ok(task.await),
            Self::Elsewhere(mut handle) => (&mut handle.0).await.map_err(|error| ended(&error)),
            Self::Computed(work) => work.await.map_err(|error| ended(&error)),
        }
    }
}

/// `work`, until it is done or no longer wanted. Boxed, as what a depot does at length is large.
pub(crate) async fn cancellable<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, DepotError>>,
) -> Result<T, DepotError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(DepotError::Cancelled),
        done = Box::pin(work) => done,
    }
}

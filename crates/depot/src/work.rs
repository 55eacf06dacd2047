//! Work beside the task that wants it: on other threads, or, where order must be repeatable, right here.

use std::future::Future;
use std::pin::Pin;

use tokio::task::JoinHandle;

use crate::DepotError;

/// The outcome of some work, perhaps still to come. Dropped, it is abandoned.
pub(crate) enum Work<T> {
    Done(T),
    Here(Pin<Box<dyn Future<Output = T> + Send>>),
    Elsewhere(Abandoning<T>),
}

pub(crate) struct Abandoning<T>(JoinHandle<T>);

impl<T> Drop for Abandoning<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + 'static> Work<T> {
    /// Runs `compute` on a thread that may block.
    pub(crate) fn compute(beside: bool, compute: impl FnOnce() -> T + Send + 'static) -> Self {
        if beside {
            Self::Elsewhere(Abandoning(tokio::task::spawn_blocking(compute)))
        } else {
            Self::Done(compute())
        }
    }

    /// Starts `task`; if it is not to run beside, it starts when waited for.
    pub(crate) fn start(beside: bool, task: impl Future<Output = T> + Send + 'static) -> Self {
        if beside { Self::Elsewhere(Abandoning(tokio::spawn(task))) } else { Self::Here(Box::pin(task)) }
    }

    /// May be called once; abandoned in between, the work is too.
    pub(crate) async fn wait(self) -> Result<T, DepotError> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Here(task) => Ok(task.await),
            Self::Elsewhere(mut handle) => {
                (&mut handle.0).await.map_err(|error| DepotError::Internal(error.to_string()))
            }
        }
    }
}

//! The loop around [`journal::Log::next`]: record, act, record.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::{Batch, Catalog, CatalogError, Started, WorkflowRow};
use futures::FutureExt;
use journal::{Event, IllegalEvent, Log, Next, Outcome};
use model::{Code, Refusal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Context, Crash, Flow, Moment, StepError, Workflow, WorkflowFactory};

/// Tries of one step before the commit; with the pauses between them about half a minute.
pub const ATTEMPTS_MAX: u32 = 8;
/// Longest pause between two tries.
pub const PAUSE_MAX: Duration = Duration::from_secs(15);
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// Between two looks at something a step waits for, unless a rest nearby ends the wait sooner.
const WAIT: Duration = Duration::from_millis(200);

/// What happened to a request to start a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// The very same workflow had been admitted before.
    Known,
}

/// How far one call of [`Runner::advance`] came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advance {
    /// One step was run or undone; there is more.
    Moved,
    /// The step waits for something else.
    Waiting,
    /// The step did not work and will be tried again, after this many tries.
    Again { attempts: u32 },
    /// It is over.
    Rested(Outcome),
}

#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("the catalog did not answer")]
    Catalog(#[from] CatalogError),
    #[error("workflow {0} is not known")]
    Unknown(String),
    #[error("the log of workflow {id} makes no sense")]
    Corrupt {
        id: String,
        #[source]
        source: IllegalEvent,
    },
    #[error("the log of workflow {id} cannot be read: {what}")]
    Unreadable { id: String, what: String },
    #[error("workflow {id} cannot be built: {refusal}")]
    Unbuildable { id: String, refusal: Refusal },
    /// Somebody else wrote the next event: this runner has lost the workflow.
    #[error("workflow {0} is moved by another runner")]
    Lost(String),
    #[error("step interrupted")]
    Interrupted,
    /// The simulation pulled the plug.
    #[error("crashed")]
    Crashed,
}

/// Runs the workflows of one service.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
    /// Told whenever a workflow of this runner has come to rest.
    rested: Arc<Notify>,
    /// What ends the wait of a step early: a hint, for whoever waits looks again anyway.
    hint: Arc<Notify>,
    wait: Duration,
}

struct Shared {
    catalog: Catalog,
    service: &'static str,
    factory: Box<dyn WorkflowFactory>,
    crash: Arc<dyn Crash>,
    stopping: CancellationToken,
    /// In this process alone: what interrupts each running workflow, and its tries.
    live: Mutex<HashMap<String, Live>>,
}

#[derive(Debug)]
struct Live {
    interrupt: CancellationToken,
    attempts: u32,
    spawned: bool,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("service", &self.shared.service).finish_non_exhaustive()
    }
}

impl Runner {
    pub fn new(
        catalog: Catalog,
        service: &'static str,
        factory: Box<dyn WorkflowFactory>,
        crash: Arc<dyn Crash>,
        stopping: CancellationToken,
    ) -> Self {
        let live = Mutex::new(HashMap::new());
        let shared = Arc::new(Shared { catalog, service, factory, crash, stopping, live });
        let rested = Arc::new(Notify::new());
        Self { shared, hint: Arc::clone(&rested), rested, wait: WAIT }
    }

    /// Its steps wait for workflows of `other`: a rest there makes them look again at once.
    #[must_use]
    pub fn waiting_for(mut self, other: &Self) -> Self {
        self.hint = Arc::clone(&other.rested);
        self
    }

    /// Looks again this long after a step said that it waits, if nothing came to rest before.
    #[must_use]
    pub fn looking_every(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Admits a workflow: its row and its first records in one transaction. It does not run yet.
    pub async fn admit(&self, row: &WorkflowRow, records: Batch) -> Result<Admission, CatalogError> {
        match self.shared.catalog.workflow_start(row, records).await? {
            Started::Created => Ok(Admission::Admitted),
            Started::Existed => Ok(Admission::Known),
        }
    }

    /// Workflows of this service that have not come to rest.
    pub async fn unfinished(&self) -> Result<Vec<WorkflowRow>, CatalogError> {
        self.shared.catalog.workflow_unfinished(self.shared.service).await
    }

    /// Asks a workflow to stop: durably, and by interrupting the step that runs.
    pub async fn cancel(&self, id: &str) -> Result<bool, CatalogError> {
        let known = self.shared.catalog.workflow_cancel(id).await?;
        if let Some(live) = self.shared.live().get(id) {
            live.interrupt.cancel();
        }
        Ok(known)
    }

    /// Takes the workflow one decision further. Whoever calls it need not know how far it is.
    pub async fn advance(&self, id: &str) -> Result<Advance, RunnerError> {
        let (row, events) =
            self.shared.catalog.workflow_log(id).await?.ok_or_else(|| RunnerError::Unknown(id.to_owned()))?;
        let workflow = self
            .shared
            .factory
            .build(&row)
            .map_err(|refusal| RunnerError::Unbuildable { id: id.to_owned(), refusal })?;
        let mut run = Run {
            shared: &self.shared,
            workflow: &*workflow,
            log: read_log(&*workflow, id, &events)?,
            row,
            seq: events.len() as u64,
        };
        // From here on a cancel finds something to interrupt: none slips between the look and the step.
        self.shared.with_live(id, |_| ());
        if !run.log.cancel_asked()
            && !matches!(run.log.next(), Next::Rest(_))
            && self.shared.catalog.workflow_cancelled(id).await?
        {
            run.record(Event::CancelAsked).await?;
        }
        if run.log.cancel_asked() {
            // The cancel is heard. What still has to be done, a commit in doubt above all, must not
            // be interrupted by it again.
            self.shared.with_live(id, |live| live.interrupt = self.shared.stopping.child_token());
        }
        let advance = run.advance().await?;
        if matches!(advance, Advance::Rested(_)) {
            self.shared.live().remove(id);
            self.rested.notify_waiters();
        }
        Ok(advance)
    }

    /// Runs the workflow to its rest, in the background. A second call while it runs does nothing.
    pub fn spawn(&self, id: String) {
        if self.shared.with_live(&id, |live| std::mem::replace(&mut live.spawned, true)) {
            return;
        }
        let runner = self.clone();
        tokio::spawn(async move { runner.run_to_rest(&id).await });
    }

    /// Takes up everything that had not come to rest when the last process ended.
    pub async fn resume(&self) -> Result<usize, CatalogError> {
        let rows = self.unfinished().await?;
        for row in &rows {
            info!(workflow = %row.id, kind = %row.kind, "resuming");
            self.spawn(row.id.clone());
        }
        Ok(rows.len())
    }

    async fn run_to_rest(&self, id: &str) {
        loop {
            if self.shared.stopping.is_cancelled() {
                return;
            }
            // Heard from before the look on: what rests during it must not be missed.
            let hint = self.hint.notified();
            tokio::pin!(hint);
            hint.as_mut().enable();
            let mut is_waiting = false;
            let pause = match self.advance(id).await {
                Ok(Advance::Moved) => continue,
                Ok(Advance::Waiting) => {
                    is_waiting = true;
                    self.wait
                }
                Ok(Advance::Again { attempts }) => pause_after(attempts),
                Ok(Advance::Rested(outcome)) => {
                    debug!(workflow = id, ?outcome, "rested");
                    return;
                }
                Err(RunnerError::Interrupted) => WAIT,
                Err(RunnerError::Catalog(error)) => {
                    warn!(workflow = id, %error, "the catalog did not take an event");
                    PAUSE_MAX
                }
                Err(RunnerError::Lost(_)) => {
                    info!(workflow = id, "left to another runner");
                    self.shared.live().remove(id);
                    return;
                }
                Err(error) => {
                    tracing::error!(workflow = id, %error, "workflow stopped");
                    self.shared.live().remove(id);
                    return;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = hint, if is_waiting => {}
                () = self.shared.stopping.cancelled() => return,
            }
        }
    }
}

impl Shared {
    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_live<T>(&self, id: &str, act: impl FnOnce(&mut Live) -> T) -> T {
        let fresh = || Live { interrupt: self.stopping.child_token(), attempts: 0, spawned: false };
        act(self.live().entry(id.to_owned()).or_insert_with(fresh))
    }
}

fn read_log(workflow: &dyn Workflow, id: &str, events: &[serde_json::Value]) -> Result<Log, RunnerError> {
    let mut log = Log::new(workflow.shape());
    for event in events {
        let event = serde_json::from_value(event.clone())
            .map_err(|error| RunnerError::Unreadable { id: id.to_owned(), what: error.to_string() })?;
        log.apply(event).map_err(|source| RunnerError::Corrupt { id: id.to_owned(), source })?;
    }
    Ok(log)
}

fn json(id: &str, event: &Event) -> Result<serde_json::Value, RunnerError> {
    serde_json::to_value(event)
        .map_err(|error| RunnerError::Unreadable { id: id.to_owned(), what: error.to_string() })
}

/// An event of this number is there already: of two runners this one came second.
fn lost(id: &str, error: CatalogError) -> RunnerError {
    match error {
        CatalogError::Exists { .. } => RunnerError::Lost(id.to_owned()),
        other => RunnerError::Catalog(other),
    }
}

fn pause_after(attempts: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << attempts.min(10)).min(PAUSE_MAX)
}

/// One decision being carried out.
struct Run<'a> {
    shared: &'a Shared,
    workflow: &'a dyn Workflow,
    row: WorkflowRow,
    log: Log,
    seq: u64,
}

impl Run<'_> {
    async fn advance(&mut self) -> Result<Advance, RunnerError> {
        match self.log.next() {
            Next::Run(step) => self.run(step).await,
            Next::Undo(step) => self.undo(step).await,
            Next::Rest(outcome) => self.rest(outcome).await,
        }
    }

    async fn run(&mut self, step: usize) -> Result<Advance, RunnerError> {
        if !self.log.has_started(step) {
            self.record(Event::Started { step }).await?;
        }
        self.maybe_crash(step, false, Moment::BeforeEffect)?;
        let context = self.context();
        let result = self.guarded(step, self.workflow.run(step, &context)).await;
        self.maybe_crash(step, false, Moment::AfterEffect)?;
        let name = self.workflow.outline().steps[step];
        match result {
            Ok(Flow::Done) => {
                self.record(Event::Done { step }).await?;
                self.set_attempts(0);
                debug!(workflow = %self.row.id, step = name, "done");
            }
            Ok(Flow::Waiting) => return Ok(Advance::Waiting),
            Err(StepError::Interrupted) => return Err(RunnerError::Interrupted),
            Err(StepError::Failed(refusal)) if step <= self.workflow.outline().commit => {
                info!(workflow = %self.row.id, step = name, %refusal, "step failed");
                self.record(Event::Failed { step, refusal }).await?;
                self.set_attempts(0);
            }
            Err(StepError::Again(refusal) | StepError::Failed(refusal)) => {
                let attempts = self.count_attempt();
                warn!(workflow = %self.row.id, step = name, attempts, %refusal, "step will be tried again");
                // From the commit on the truth must be found out, however long it takes.
                if attempts < ATTEMPTS_MAX || step >= self.workflow.outline().commit {
                    return Ok(Advance::Again { attempts });
                }
                self.record(Event::Failed { step, refusal }).await?;
                self.set_attempts(0);
            }
        }
        self.maybe_crash(step, false, Moment::AfterRecord)?;
        Ok(Advance::Moved)
    }

    async fn undo(&mut self, step: usize) -> Result<Advance, RunnerError> {
        self.maybe_crash(step, true, Moment::BeforeEffect)?;
        let context = Context { interrupted: CancellationToken::new() };
        let result = self.guarded(step, self.workflow.undo(step, &context)).await;
        self.maybe_crash(step, true, Moment::AfterEffect)?;
        match result {
            Ok(Flow::Done) => {}
            Ok(Flow::Waiting) => return Ok(Advance::Waiting),
            Err(error) => {
                let attempts = self.count_attempt();
                let step = self.workflow.outline().steps[step];
                warn!(workflow = %self.row.id, step, attempts, %error, "undo will be tried again");
                return Ok(Advance::Again { attempts });
            }
        }
        self.record(Event::Undone { step }).await?;
        self.set_attempts(0);
        self.maybe_crash(step, true, Moment::AfterRecord)?;
        Ok(Advance::Moved)
    }

    async fn rest(&mut self, outcome: Outcome) -> Result<Advance, RunnerError> {
        if self.row.finished {
            return Ok(Advance::Rested(outcome));
        }
        match self.records_of_rest(&outcome).await {
            Ok(records) => {
                let rested = json(&self.row.id, &Event::Rested)?;
                let finish = self.shared.catalog.workflow_finish(&self.row.id, self.seq, &rested, records);
                finish.await.map_err(|error| lost(&self.row.id, error))?;
                Ok(Advance::Rested(outcome))
            }
            Err(error) => {
                let attempts = self.count_attempt();
                warn!(workflow = %self.row.id, attempts, %error, "its end will be recorded again");
                Ok(Advance::Again { attempts })
            }
        }
    }

    /// A panic here must not leave the workflow to nobody.
    async fn records_of_rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        AssertUnwindSafe(self.workflow.rest(outcome)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(workflow = %self.row.id, "the rest panicked");
            Err(StepError::Again(Refusal::new(Code::Internal, "the end of this job could not be recorded")))
        })
    }

    /// A step's panic fails the step, not the process. From the commit on it proves nothing.
    async fn guarded(
        &self,
        step: usize,
        acting: impl Future<Output = Result<Flow, StepError>>,
    ) -> Result<Flow, StepError> {
        AssertUnwindSafe(acting).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(workflow = %self.row.id, step = self.workflow.outline().steps[step], "a step panicked");
            let refusal = Refusal::new(Code::Internal, "a step of this job panicked")
                .remedy("This is a defect of Hikae: please report it with the server's log.");
            let in_doubt = step >= self.workflow.outline().commit;
            Err(if in_doubt { StepError::Again(refusal) } else { StepError::Failed(refusal) })
        })
    }

    async fn record(&mut self, event: Event) -> Result<(), RunnerError> {
        let id = self.row.id.clone();
        let json = json(&id, &event)?;
        self.log.apply(event).map_err(|source| RunnerError::Corrupt { id: id.clone(), source })?;
        let appended = self.shared.catalog.workflow_append(&id, self.seq, &json).await;
        appended.map_err(|error| lost(&id, error))?;
        self.seq += 1;
        Ok(())
    }

    fn maybe_crash(&self, step: usize, undo: bool, moment: Moment) -> Result<(), RunnerError> {
        if self.shared.crash.dies(&self.row, step, undo, moment) { Err(RunnerError::Crashed) } else { Ok(()) }
    }

    fn context(&self) -> Context {
        Context { interrupted: self.shared.with_live(&self.row.id, |live| live.interrupt.clone()) }
    }

    fn count_attempt(&self) -> u32 {
        self.shared.with_live(&self.row.id, |live| {
            live.attempts += 1;
            live.attempts
        })
    }

    fn set_attempts(&self, attempts: u32) {
        self.shared.with_live(&self.row.id, |live| live.attempts = attempts);
    }
}

//! What a workflow is to its runner.

use std::fmt::Debug;

use async_trait::async_trait;
use catalog::{Batch, CatalogError, WorkflowRow};
use journal::{Outcome, Shape};
use model::{Code, Refusal};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

/// A list of steps, one of which commits.
///
/// Every step is idempotent by the ids in the workflow's parameters. `undo` is called for each step
/// that started, in reverse, and must accept that the step never happened or half happened.
#[async_trait]
pub trait Workflow: Send + Sync {
    /// Its kind, its steps in order, and which of them commits.
    fn outline(&self) -> Outline;

    async fn run(&self, step: usize, context: &Context) -> Result<Flow, StepError>;

    /// [`Flow::Waiting`] when what has to go is still going.
    async fn undo(&self, step: usize, context: &Context) -> Result<Flow, StepError>;

    /// The records that say how it ended, written together with its end.
    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError>;

    fn shape(&self) -> Shape {
        let Outline { steps, commit, .. } = self.outline();
        Shape { steps: steps.len(), commit }
    }
}

/// A kind of workflow, for those who must know them all: the crash matrix, a debugger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    pub kind: &'static str,
    pub steps: &'static [&'static str],
    pub commit: usize,
}

/// Makes the workflow of a row; the service that admitted it knows how.
pub trait WorkflowFactory: Send + Sync {
    fn build(&self, row: &WorkflowRow) -> Result<Box<dyn Workflow>, Refusal>;
}

/// What a workflow was admitted with.
pub fn params_of<P: DeserializeOwned>(row: &WorkflowRow) -> Result<P, Refusal> {
    serde_json::from_value(row.params.clone())
        .map_err(|error| Refusal::new(Code::Internal, format!("parameters of {}: {error}", row.id)))
}

/// What a step may look at besides its own parameters.
#[derive(Debug, Clone)]
pub struct Context {
    /// Fires when the workflow is cancelled or the process is asked to stop. A step that notices
    /// returns [`StepError::Interrupted`].
    pub interrupted: CancellationToken,
}

impl Context {
    pub fn check(&self) -> Result<(), StepError> {
        if self.interrupted.is_cancelled() { Err(StepError::Interrupted) } else { Ok(()) }
    }
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Done,
    /// It waits for something else (a child); ask again soon.
    Waiting,
}

/// Why a step is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It certainly did not happen as a whole, and trying again will not help.
    #[error(transparent)]
    Failed(#[from] Refusal),
    /// It may or may not have happened, or the world was not ready: run it again.
    #[error("not yet: {0}")]
    Again(Refusal),
    /// Somebody asked it to stop; it can be run again.
    #[error("interrupted")]
    Interrupted,
}

impl StepError {
    /// Turns "busy or unreachable" refusals into another try.
    pub fn from_refusal(refusal: Refusal) -> Self {
        match refusal.code {
            Code::HostUnavailable
            | Code::DepotUnavailable
            | Code::ServiceUnavailable
            | Code::KeyUnavailable => Self::Again(refusal),
            _ => Self::Failed(refusal),
        }
    }
}

impl From<CatalogError> for StepError {
    fn from(error: CatalogError) -> Self {
        Self::from_refusal(error.into())
    }
}

/// The moments at which the simulation pulls the plug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    BeforeEffect,
    AfterEffect,
    AfterRecord,
}

impl Moment {
    pub const ALL: [Self; 3] = [Self::BeforeEffect, Self::AfterEffect, Self::AfterRecord];
}

/// Decides whether the process dies now. Production never does.
pub trait Crash: Send + Sync + Debug {
    fn dies(&self, workflow: &WorkflowRow, step: usize, undo: bool, moment: Moment) -> bool;
}

/// The plug stays in.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCrash;

impl Crash for NoCrash {
    fn dies(&self, _: &WorkflowRow, _: usize, _: bool, _: Moment) -> bool {
        false
    }
}

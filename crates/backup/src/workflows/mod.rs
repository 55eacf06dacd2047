//! The backup service's workflows, a file each. Every file opens with its table of steps.

mod back_up;
mod delete_point;
mod restore;

pub(crate) use back_up::BackUpParams;
pub(crate) use delete_point::DeletePointParams;
pub(crate) use restore::RestoreParams;

use std::sync::Arc;

use catalog::WorkflowRow;
use model::{Code, Refusal, Task, TaskStatus};
use workflow::{Flow, Outline, StepError, Workflow, WorkflowFactory, params_of};

use crate::service::Shared;

/// All of them, step by step.
pub const WORKFLOWS: &[Outline] = &[back_up::OUTLINE, delete_point::OUTLINE, restore::OUTLINE];

/// Builds a workflow from its row.
pub(crate) struct Factory {
    pub(crate) shared: Arc<Shared>,
}

impl WorkflowFactory for Factory {
    fn build(&self, row: &WorkflowRow) -> Result<Box<dyn Workflow>, Refusal> {
        let shared = Arc::clone(&self.shared);
        Ok(match row.kind.as_str() {
            "BackUp" => Box::new(back_up::BackUp { shared, params: params_of(row)? }),
            "DeletePoint" => Box::new(delete_point::DeletePoint { shared, params: params_of(row)? }),
            "Restore" => Box::new(restore::RestoreJob { shared, params: params_of(row)? }),
            other => return Err(Refusal::new(Code::Internal, format!("no workflow is called {other:?}"))),
        })
    }
}

/// A child that failed, or was cancelled under us, fails the step that waits for it.
fn child(task: &Task) -> Result<Flow, StepError> {
    match task.status {
        TaskStatus::Running => Ok(Flow::Waiting),
        TaskStatus::Done => Ok(Flow::Done),
        TaskStatus::Failed | TaskStatus::Canceled => {
            let unknown = || Refusal::new(Code::Internal, "the task failed without saying why");
            Err(StepError::Failed(task.failure.clone().unwrap_or_else(unknown)))
        }
    }
}

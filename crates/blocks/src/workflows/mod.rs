//! The block service's workflows, a file each. Every file opens with its table of steps.

mod create_disk;
mod create_instance;
mod delete_group;
mod fill;
mod reset_disks;
mod snapshot_group;

pub(crate) use create_disk::CreateDiskParams;
pub(crate) use create_instance::{CreateInstanceParams, NewDisk};
pub(crate) use delete_group::DeleteGroupParams;
pub(crate) use reset_disks::{ResetDisksParams, ResetTarget};
pub(crate) use snapshot_group::SnapshotGroupParams;

use std::sync::Arc;

use catalog::{Batch, Lease, Setting, WorkflowRow};
use depot::DepotError;
use host::HostError;
use journal::Outcome;
use model::{ByteCount, Code, InstanceId, Progress, Refusal, Task, TaskId, TaskStatus, Timestamp};
use workflow::{Outline, StepError, Workflow, WorkflowFactory, params_of};

use crate::operations::disks_lease;
use crate::service::Shared;

/// All of them, step by step.
pub const WORKFLOWS: &[Outline] = &[
    snapshot_group::OUTLINE,
    delete_group::OUTLINE,
    reset_disks::OUTLINE,
    create_instance::OUTLINE,
    create_disk::OUTLINE,
];

/// Builds a workflow from its row.
pub(crate) struct Factory {
    pub(crate) shared: Arc<Shared>,
}

impl WorkflowFactory for Factory {
    fn build(&self, row: &WorkflowRow) -> Result<Box<dyn Workflow>, Refusal> {
        let shared = Arc::clone(&self.shared);
        Ok(match row.kind.as_str() {
            "SnapshotGroup" => Box::new(snapshot_group::SnapshotGroup { shared, params: params_of(row)? }),
            "DeleteGroup" => Box::new(delete_group::DeleteGroup { shared, params: params_of(row)? }),
            "ResetDisks" => Box::new(reset_disks::ResetDisks { shared, params: params_of(row)? }),
            "CreateInstance" => Box::new(create_instance::CreateInstance { shared, params: params_of(row)? }),
            "CreateDisk" => Box::new(create_disk::CreateDisk { shared, params: params_of(row)? }),
            other => return Err(Refusal::new(Code::Internal, format!("no workflow is called {other:?}"))),
        })
    }
}

/// What a host's error means for a step.
fn host_error(error: HostError) -> StepError {
    let transient = error.is_transient();
    let refusal = Refusal::from(error);
    if transient { StepError::Again(refusal) } else { StepError::Failed(refusal) }
}

/// What a depot's error means for a step.
fn depot_error(error: DepotError) -> StepError {
    match error {
        DepotError::Cancelled => StepError::Interrupted,
        DepotError::Source(error) => host_error(error),
        other => {
            let transient = other.is_transient();
            let refusal = Refusal::from(other);
            if transient { StepError::Again(refusal) } else { StepError::Failed(refusal) }
        }
    }
}

/// The last records of a task: how it ended, and its lease given back.
fn end_task(shared: &Shared, task: TaskId, exclusive: Option<InstanceId>, outcome: &Outcome) -> Batch {
    let now = shared.clock.now();
    let moved = shared.moved(task);
    shared.forget_moved(task);
    let outcome = outcome.clone();
    let mut batch =
        Batch::new().delete::<Setting>(&fill::commit_mark(task)).change::<Task>(&task, move |task| {
            if let Some(moved) = moved {
                task.bytes_total = ByteCount(moved.total);
                task.bytes_read = ByteCount(moved.read);
                task.bytes_stored = ByteCount(moved.stored);
            }
            close_task(task, outcome, now);
        });
    if let Some(instance) = exclusive {
        batch = batch.delete::<Lease>(&disks_lease(instance));
    }
    batch
}

fn close_task(task: &mut Task, outcome: Outcome, now: Timestamp) {
    task.updated = now;
    match outcome {
        Outcome::Completed => {
            task.status = TaskStatus::Done;
            task.progress = Progress::FULL;
        }
        Outcome::Failed(refusal) => {
            task.status = TaskStatus::Failed;
            task.failure = Some(refusal);
        }
        Outcome::Canceled => {
            task.status = TaskStatus::Canceled;
            task.failure = Some(Refusal::new(Code::JobCanceled, "cancelled on request"));
        }
    }
}

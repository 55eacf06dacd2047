//! Deletes a group: its manifest, its checkpoint, its records.
//!
//! | step       | touches | does                                                        | undo            |
//! |------------|---------|-------------------------------------------------------------|-----------------|
//! | **Await**  | catalog | waits until whoever makes the group has come to rest: **commit point** | not undone |
//! | Remove     | depot   | deletes the manifest                                        | not undone      |
//! | Unmark     | host    | ends what it left on its host; its checkpoint is nobody's base any more | not undone |
//! | (rest)     | catalog | the records of the group and its snapshots go                | –               |
//!
//! Once begun it cannot fail: whoever asked for it is told that the group is gone, and waits for
//! that. So the first step commits, and each is tried until it is done.
//!
//! What the group alone referenced becomes garbage, and the depot's collection takes it.

use std::sync::Arc;

use async_trait::async_trait;
use catalog::{Batch, Column, Query};
use host::{Fate, HostError};
use journal::Outcome;
use model::{Group, GroupId, InstanceId, RegionId, Snapshot, Task, TaskId};
use serde::{Deserialize, Serialize};
use tracing::warn;
use workflow::{Context, Flow, Outline, StepError, Workflow};

use super::{depot_error, end_task, host_error};
use crate::service::Shared;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DeleteGroupParams {
    pub(crate) task: TaskId,
    pub(crate) group: GroupId,
    /// The task that made, or still makes, the group.
    pub(crate) made_by: TaskId,
    pub(crate) region: RegionId,
    pub(crate) instance: InstanceId,
}

pub(crate) struct DeleteGroup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: DeleteGroupParams,
}

pub(super) const OUTLINE: Outline = Outline { kind: "DeleteGroup", steps: STEPS, commit: AWAIT };
const STEPS: &[&str] = &["Await", "Remove", "Unmark"];
const AWAIT: usize = 0;
const REMOVE: usize = 1;
const UNMARK: usize = 2;

#[async_trait]
impl Workflow for DeleteGroup {
    fn outline(&self) -> Outline {
        OUTLINE
    }

    async fn run(&self, step: usize, _: &Context) -> Result<Flow, StepError> {
        match step {
            AWAIT => self.await_maker().await.map_err(again),
            REMOVE => {
                let depot = &self.shared.region(&self.params.region)?.depot;
                depot.delete_group(self.params.group).await.map_err(|error| again(depot_error(error)))?;
                Ok(Flow::Done)
            }
            UNMARK => {
                self.unmark().await?;
                Ok(Flow::Done)
            }
            other => unreachable!("delete_group has no step {other}"),
        }
    }

    async fn undo(&self, _: usize, _: &Context) -> Result<Flow, StepError> {
        Ok(Flow::Done)
    }

    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        let end = end_task(&self.shared, self.params.task, None, outcome);
        if *outcome != Outcome::Completed {
            return Ok(end);
        }
        let query = Query::all().eq(Column::Group, self.params.group);
        let snapshots: Vec<Snapshot> = self.shared.catalog.list(&query).await?;
        let mut batch = Batch::new().delete::<Group>(&self.params.group);
        for snapshot in snapshots {
            batch = batch.delete::<Snapshot>(&snapshot.id);
        }
        Ok(batch.then(end))
    }
}

impl DeleteGroup {
    async fn await_maker(&self) -> Result<Flow, StepError> {
        let maker = self.shared.catalog.get::<Task>(&self.params.made_by).await?;
        Ok(match maker {
            Some(task) if !task.status.is_final() => Flow::Waiting,
            Some(_) | None => Flow::Done,
        })
    }

    /// Insists with the host the group was taken on: once the record is gone nobody would end a
    /// session or drop a checkpoint left there. A host no longer configured is not waited for.
    async fn unmark(&self) -> Result<(), StepError> {
        let group = self.shared.catalog.get::<Group>(&self.params.group).await?;
        let home = group.map(|group| group.source.host);
        for host in &self.shared.region(&self.params.region)?.hosts {
            match host.unmark(self.params.instance, self.params.group, Fate::Drop).await {
                Ok(()) | Err(HostError::NoInstance) => {}
                Err(error) if home == Some(host.id()) => return Err(again(host_error(error))),
                Err(error) => warn!(group = %self.params.group, %error, "host passed over"),
            }
        }
        Ok(())
    }
}

/// Whatever stands in the way now will not do so for ever.
fn again(error: StepError) -> StepError {
    match error {
        StepError::Failed(refusal) => StepError::Again(refusal),
        other => other,
    }
}

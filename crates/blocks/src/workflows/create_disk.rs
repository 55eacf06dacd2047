//! A new data disk from a snapshot, attached to an instance.
//!
//! | step       | touches     | does                                                  | undo                    |
//! |------------|-------------|-------------------------------------------------------|-------------------------|
//! | (admit)    | catalog     | lease on the instance's disks                         | –                       |
//! | Fill       | host, depot | a new disk, filled and made durable                   | throw it away           |
//! | **Attach** | host        | the instance has it: **commit point**                 | – (proved not attached) |

use std::sync::Arc;

use async_trait::async_trait;
use catalog::Batch;
use host::{DiskTarget, Host};
use journal::Outcome;
use model::{ByteCount, GroupId, HostId, InstanceId, RegionId, SnapshotId, TaskId};
use serde::{Deserialize, Serialize};
use workflow::{Context, Flow, Outline, StepError, Workflow};

use super::end_task;
use super::fill::{self, Filling};
use crate::service::Shared;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CreateDiskParams {
    pub(crate) task: TaskId,
    pub(crate) region: RegionId,
    pub(crate) host: HostId,
    pub(crate) instance: InstanceId,
    pub(crate) snapshot: SnapshotId,
    pub(crate) group: GroupId,
    pub(crate) size: ByteCount,
}

pub(crate) struct CreateDisk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: CreateDiskParams,
}

pub(super) const OUTLINE: Outline = Outline { kind: "CreateDisk", steps: STEPS, commit: ATTACH };
const STEPS: &[&str] = &["Fill", "Attach"];
const FILL: usize = 0;
const ATTACH: usize = 1;

#[async_trait]
impl Workflow for CreateDisk {
    fn outline(&self) -> Outline {
        OUTLINE
    }

    async fn run(&self, step: usize, context: &Context) -> Result<Flow, StepError> {
        let host = self.host()?;
        match step {
            FILL => {
                let params = &self.params;
                let manifest = fill::manifest(&self.shared, &params.region, params.group).await?;
                let filling =
                    Filling { entry: fill::entry(&manifest, params.snapshot)?, target: self.target() };
                fill::fill(&self.shared, &params.region, &*host, params.task, &[filling], context).await?;
            }
            ATTACH => {
                let task = self.params.task;
                let disks = fill::prepared(&self.shared, task, &[self.target()]).await?;
                let tried_before = fill::begin_commit(&self.shared, task).await?;
                for disk in &disks {
                    let attached = host.attach(self.params.instance, disk).await;
                    attached.map_err(|error| fill::commit_error(error, tried_before))?;
                }
            }
            other => unreachable!("create_disk has no step {other}"),
        }
        Ok(Flow::Done)
    }

    async fn undo(&self, step: usize, _: &Context) -> Result<Flow, StepError> {
        if step == FILL {
            fill::discard(&*self.host()?, self.params.task, &[self.target()]).await?;
        }
        Ok(Flow::Done)
    }

    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        Ok(end_task(&self.shared, self.params.task, Some(self.params.instance), outcome))
    }
}

impl CreateDisk {
    fn host(&self) -> Result<Arc<dyn Host>, StepError> {
        Ok(self.shared.host(&self.params.region, self.params.host)?)
    }

    /// Known without the depot: undo must work when that does not answer.
    fn target(&self) -> DiskTarget {
        DiskTarget::ForInstance { instance: self.params.instance, size: self.params.size }
    }
}

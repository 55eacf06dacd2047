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
use workflow::{Context, Flow, StepError, Workflow};

use super::fill::{self, Filling};
use super::{end_task, host_error};
use crate::service::Shared;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CreateDiskParams {
    pub(crate) task: TaskId,
    pub(crate) region: RegionId,
    pub(crate) host: HostId,
    pub(crate) instance: InstanceId,
    pub(crate) snapshot: SnapshotId,
    pub(crate) group: GroupId,
}

pub(crate) struct CreateDisk {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: CreateDiskParams,
}

const STEPS: &[&str] = &["Fill", "Attach"];
const FILL: usize = 0;
const ATTACH: usize = 1;

#[async_trait]
impl Workflow for CreateDisk {
    fn steps(&self) -> &'static [&'static str] {
        STEPS
    }

    fn commit(&self) -> usize {
        ATTACH
    }

    async fn run(&self, step: usize, context: &Context) -> Result<Flow, StepError> {
        let host = self.host()?;
        let filling = self.filling().await?;
        match step {
            FILL => {
                let params = &self.params;
                fill::fill(&self.shared, &params.region, &*host, params.task, &[filling], context).await?;
            }
            ATTACH => {
                let disks = fill::prepared(&self.shared, self.params.task, &[filling.target]).await?;
                for disk in &disks {
                    host.attach(self.params.instance, disk).await.map_err(host_error)?;
                }
            }
            other => unreachable!("create_disk has no step {other}"),
        }
        Ok(Flow::Done)
    }

    async fn undo(&self, step: usize, _: &Context) -> Result<Flow, StepError> {
        if step == FILL {
            let filling = self.filling().await?;
            fill::discard(&*self.host()?, self.params.task, &[filling.target]).await?;
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

    async fn filling(&self) -> Result<Filling, StepError> {
        let params = &self.params;
        let entry = fill::entry(&self.shared, &params.region, params.group, params.snapshot).await?;
        let target = DiskTarget::ForInstance { instance: params.instance, size: ByteCount(entry.tree.size) };
        Ok(Filling { entry, target })
    }
}

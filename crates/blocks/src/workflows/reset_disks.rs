//! Puts disks of a stopped instance back to what they were.
//!
//! | step       | touches     | does                                                        | undo                    |
//! |------------|-------------|-------------------------------------------------------------|-------------------------|
//! | (admit)    | catalog     | lease on the disks; the instance stands still               | –                       |
//! | Fill       | host, depot | a new disk beside each old one, filled and made durable     | throw the new disks away |
//! | **SwapIn** | host        | each new disk takes its old one's place: **commit point**   | – (checked: still stopped) |
//! | Start      | host        | starts the instance, if that was asked for                  | not undone              |
//! | (rest)     | catalog     | the lease is given back                                     | –                       |
//!
//! Until SwapIn the instance's own disks have not been touched. A crash during SwapIn leaves some
//! disks new and some old; the step is run again until all are new.

use std::sync::Arc;

use async_trait::async_trait;
use catalog::Batch;
use host::{DiskTarget, Host};
use journal::Outcome;
use model::{ByteCount, DiskId, GroupId, HostId, InstanceId, RegionId, SnapshotId, TaskId};
use serde::{Deserialize, Serialize};
use workflow::{Context, Flow, StepError, Workflow};

use super::fill::{self, Filling};
use super::{end_task, host_error};
use crate::service::Shared;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ResetDisksParams {
    pub(crate) task: TaskId,
    pub(crate) region: RegionId,
    pub(crate) host: HostId,
    pub(crate) instance: InstanceId,
    pub(crate) disks: Vec<ResetTarget>,
    pub(crate) boot: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ResetTarget {
    pub(crate) disk: DiskId,
    pub(crate) snapshot: SnapshotId,
    pub(crate) group: GroupId,
}

pub(crate) struct ResetDisks {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: ResetDisksParams,
}

const STEPS: &[&str] = &["Fill", "SwapIn", "Start"];
const FILL: usize = 0;
const SWAP_IN: usize = 1;
const START: usize = 2;

#[async_trait]
impl Workflow for ResetDisks {
    fn steps(&self) -> &'static [&'static str] {
        STEPS
    }

    fn commit(&self) -> usize {
        SWAP_IN
    }

    async fn run(&self, step: usize, context: &Context) -> Result<Flow, StepError> {
        let host = self.host()?;
        match step {
            FILL => {
                let fillings = self.fillings().await?;
                let params = &self.params;
                fill::fill(&self.shared, &params.region, &*host, params.task, &fillings, context).await?;
            }
            SWAP_IN => {
                let targets = self.targets().await?;
                let disks = fill::prepared(&self.shared, self.params.task, &targets).await?;
                host.swap_in(self.params.instance, &disks).await.map_err(host_error)?;
            }
            START if self.params.boot => {
                fill::start(&self.shared, &*host, self.params.task, self.params.instance).await?;
            }
            START => {}
            other => unreachable!("reset_disks has no step {other}"),
        }
        Ok(Flow::Done)
    }

    async fn undo(&self, step: usize, _: &Context) -> Result<Flow, StepError> {
        if step == FILL {
            fill::discard(&*self.host()?, self.params.task, &self.discardable()).await?;
        }
        Ok(Flow::Done)
    }

    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        Ok(end_task(&self.shared, self.params.task, Some(self.params.instance), outcome))
    }
}

impl ResetDisks {
    fn host(&self) -> Result<Arc<dyn Host>, StepError> {
        Ok(self.shared.host(&self.params.region, self.params.host)?)
    }

    async fn fillings(&self) -> Result<Vec<Filling>, StepError> {
        let mut fillings = Vec::new();
        for disk in &self.params.disks {
            let entry = fill::entry(&self.shared, &self.params.region, disk.group, disk.snapshot).await?;
            let target = DiskTarget::Replacing {
                instance: self.params.instance,
                disk: disk.disk,
                // A disk grown since goes back to the size it had (semantics.md §11.12).
                size: ByteCount(entry.tree.size),
            };
            fillings.push(Filling { entry, target });
        }
        Ok(fillings)
    }

    async fn targets(&self) -> Result<Vec<DiskTarget>, StepError> {
        Ok(self.fillings().await?.into_iter().map(|filling| filling.target).collect())
    }

    /// Undo must work when the depot does not answer; the host finds prepared disks without their size.
    fn discardable(&self) -> Vec<DiskTarget> {
        let instance = self.params.instance;
        let target = |disk| DiskTarget::Replacing { instance, disk, size: ByteCount(0) };
        self.params.disks.iter().map(|disk| target(disk.disk)).collect()
    }
}

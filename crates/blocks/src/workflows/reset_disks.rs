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
//! disks new and some old; the step is run again until all are new. For the same reason a host that
//! refuses a second try is asked until it agrees: the first may have got half way.

use std::sync::Arc;

use async_trait::async_trait;
use catalog::Batch;
use host::{DiskTarget, Host};
use journal::Outcome;
use model::{ByteCount, DiskId, GroupId, HostId, InstanceId, RegionId, SnapshotId, TaskId};
use serde::{Deserialize, Serialize};
use workflow::{Context, Flow, Outline, StepError, Workflow};

use super::end_task;
use super::fill::{self, Filling};
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
    /// The disk's then: one grown since goes back to it (semantics.md §11.12).
    pub(crate) size: ByteCount,
}

pub(crate) struct ResetDisks {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: ResetDisksParams,
}

pub(super) const OUTLINE: Outline = Outline { kind: "ResetDisks", steps: STEPS, commit: SWAP_IN };
const STEPS: &[&str] = &["Fill", "SwapIn", "Start"];
const FILL: usize = 0;
const SWAP_IN: usize = 1;
const START: usize = 2;

#[async_trait]
impl Workflow for ResetDisks {
    fn outline(&self) -> Outline {
        OUTLINE
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
                let task = self.params.task;
                let disks = fill::prepared(&self.shared, task, &self.targets()).await?;
                let tried_before = fill::begin_commit(&self.shared, task).await?;
                let swapped = host.swap_in(self.params.instance, &disks).await;
                swapped.map_err(|error| fill::commit_error(error, tried_before))?;
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
            fill::discard(&*self.host()?, self.params.task, &self.targets()).await?;
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
        for (disk, target) in self.params.disks.iter().zip(self.targets()) {
            let manifest = fill::manifest(&self.shared, &self.params.region, disk.group).await?;
            fillings.push(Filling { entry: fill::entry(&manifest, disk.snapshot)?, target });
        }
        Ok(fillings)
    }

    /// Known without the depot: undo must work when that does not answer.
    fn targets(&self) -> Vec<DiskTarget> {
        let instance = self.params.instance;
        let target =
            |disk: &ResetTarget| DiskTarget::Replacing { instance, disk: disk.disk, size: disk.size };
        self.params.disks.iter().map(target).collect()
    }
}

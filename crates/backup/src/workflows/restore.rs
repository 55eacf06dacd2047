//! A restore: roll back or clone, of an instance or of a disk.
//!
//! | step        | touches | does                                                              | undo                          |
//! |-------------|---------|-------------------------------------------------------------------|-------------------------------|
//! | (admit)     | catalog | restore `Created`; the instance it changes is held; every id drawn | –                             |
//! | **Restore** | blocks  | asks for the reset, instance or disk; waits for it: **commit point** | – (the task undoes itself)  |
//! | (rest)      | catalog | restore `Complete`, `PartialComplete`, `Failed` or `Canceled`      | –                             |

use std::sync::Arc;

use async_trait::async_trait;
use blocks::{CreateDisk, CreateInstance, ResetDisk, ResetDisks};
use catalog::{Batch, Lease};
use journal::Outcome;
use model::{
    Code, DiskPoint, InstanceId, JobStatus, Point, Progress, Refusal, Restore, RestoreId, RestoreKind, Task,
    TaskId,
};
use serde::{Deserialize, Serialize};
use workflow::{Context, Flow, Outline, StepError, Workflow};

use super::child;
use crate::operations::job_lease;
use crate::service::Shared;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RestoreParams {
    pub(crate) restore: RestoreId,
    pub(crate) task: TaskId,
    /// The instance it has the lease on.
    pub(crate) holds: Option<InstanceId>,
}

pub(crate) struct RestoreJob {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: RestoreParams,
}

pub(super) const OUTLINE: Outline = Outline { kind: "Restore", steps: STEPS, commit: 0 };
const STEPS: &[&str] = &["Restore"];

#[async_trait]
impl Workflow for RestoreJob {
    fn outline(&self) -> Outline {
        OUTLINE
    }

    async fn run(&self, _: usize, _: &Context) -> Result<Flow, StepError> {
        if let Some(task) = self.task().await? {
            return child(&task);
        }
        let restore = self.restore().await?;
        let now = self.shared.clock.now();
        let begun = |restore: &mut Restore| {
            if restore.status.may_become(JobStatus::Running) {
                restore.status = JobStatus::Running;
                restore.started = Some(now);
                restore.updated = now;
            }
        };
        self.shared.catalog.update::<Restore, _>(&restore.id, begun).await?;
        self.ask(&restore).await.map_err(StepError::from_refusal)?;
        Ok(Flow::Waiting)
    }

    async fn undo(&self, _: usize, _: &Context) -> Result<Flow, StepError> {
        Ok(Flow::Done)
    }

    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        let now = self.shared.clock.now();
        // The disks are restored, but something after that did not work: the start, say.
        let remark = self.task().await?.and_then(|task| task.failure);
        let (status, failure) = match outcome {
            Outcome::Completed if remark.is_some() => (JobStatus::PartialComplete, remark),
            Outcome::Completed => (JobStatus::Complete, None),
            Outcome::Failed(refusal) => (JobStatus::Failed, Some(refusal.clone())),
            Outcome::Canceled => {
                (JobStatus::Canceled, Some(Refusal::new(Code::JobCanceled, "cancelled on request")))
            }
        };
        let completed = *outcome == Outcome::Completed;
        let mut records = Batch::new();
        if let Some(instance) = self.params.holds {
            records = records.delete::<Lease>(&job_lease(instance));
        }
        Ok(records.change::<Restore>(&self.params.restore, move |restore| {
            restore.status = status;
            restore.failure = failure;
            restore.completed = Some(now);
            restore.updated = now;
            if completed {
                restore.progress = Progress::FULL;
                restore.bytes_done = restore.bytes_total;
            }
        }))
    }
}

impl RestoreJob {
    async fn task(&self) -> Result<Option<Task>, StepError> {
        self.shared.blocks.task(self.params.task).await.map_err(StepError::from_refusal)
    }

    async fn restore(&self) -> Result<Restore, StepError> {
        let found = self.shared.catalog.get::<Restore>(&self.params.restore).await?;
        found.ok_or_else(|| {
            StepError::Failed(Refusal::new(Code::RestoreNotFound, "the restore's record is gone"))
        })
    }

    async fn reset(&self, instance: InstanceId, disks: Vec<ResetDisk>, boot: bool) -> Result<(), Refusal> {
        let reset = ResetDisks { task: self.params.task, instance, disks, boot };
        self.shared.blocks.reset_disks(&reset).await
    }

    async fn ask(&self, restore: &Restore) -> Result<(), Refusal> {
        let found = self.shared.catalog.get::<Point>(&restore.point).await?;
        let point = found.ok_or_else(|| Refusal::new(Code::PointNotFound, "the point is gone"))?;
        let blocks = &self.shared.blocks;
        match &restore.kind {
            RestoreKind::RollBackInstance { instance, boot, .. } => {
                let current = blocks.instance(*instance).await?;
                // Disks it does not have any more were waved through at admission, or refused there.
                let disks = point.disks.iter().filter(|disk| current.disk(disk.disk).is_some());
                self.reset(*instance, disks.map(reset).collect(), *boot).await
            }
            RestoreKind::RollBackDisk { instance, disk, boot, .. } => {
                self.reset(*instance, vec![reset(disk_of(&point, *disk)?)], *boot).await
            }
            RestoreKind::CloneInstance(clone) => {
                let network = Some(clone.network.clone()).filter(|network| !network.is_empty());
                let new = CreateInstance {
                    task: self.params.task,
                    group: point.group,
                    uuid: clone.uuid,
                    id: clone.instance,
                    name: clone.name.clone(),
                    vcpus: clone.vcpus,
                    memory: clone.memory,
                    network,
                    boot: clone.boot,
                };
                blocks.create_instance(&new).await
            }
            RestoreKind::CloneDisk { disk, instance } => {
                let snapshot = disk_of(&point, *disk)?.snapshot;
                blocks
                    .create_disk(&CreateDisk { task: self.params.task, snapshot, instance: *instance })
                    .await
            }
        }
    }
}

fn reset(disk: &DiskPoint) -> ResetDisk {
    ResetDisk { disk: disk.disk, snapshot: disk.snapshot }
}

fn disk_of(point: &Point, disk: model::DiskId) -> Result<&DiskPoint, Refusal> {
    point.disks.iter().find(|candidate| candidate.disk == disk).ok_or_else(|| {
        Refusal::new(Code::SnapshotMismatch, format!("point {} does not hold disk {disk}", point.id))
    })
}

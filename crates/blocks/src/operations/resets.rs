//! Resetting the disks of a stopped instance to snapshots of theirs.

use catalog::Batch;
use model::{
    Code, DiskId, InstanceId, InstanceStatus, Refusal, Snapshot, SnapshotId, SnapshotStatus, TaskId, TaskKind,
};
use serde::{Deserialize, Serialize};

use crate::Blocks;
use crate::operations::NewTask;
use crate::operations::instances::wrong_state;
use crate::workflows::{ResetDisksParams, ResetTarget};

/// Puts an instance's disks back to what they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetDisks {
    pub task: TaskId,
    pub instance: InstanceId,
    pub disks: Vec<ResetDisk>,
    /// Start the instance afterwards.
    pub boot: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetDisk {
    pub disk: DiskId,
    pub snapshot: SnapshotId,
}

impl Blocks {
    pub async fn reset_disks(&self, reset: &ResetDisks) -> Result<(), Refusal> {
        if self.task(reset.task).await?.is_some() {
            return Ok(());
        }
        let (instance, host) = self.shared.locate(reset.instance).await?;
        if instance.status != InstanceStatus::Stopped {
            return Err(wrong_state(&instance, "Stopped", "be rolled back"));
        }
        let mut disks = Vec::new();
        for wanted in &reset.disks {
            let snapshot = self.ready_snapshot(wanted.snapshot).await?;
            if snapshot.disk != wanted.disk || instance.disk(wanted.disk).is_none() {
                return Err(Refusal::new(
                    Code::SnapshotMismatch,
                    format!(
                        "snapshot {} is of disk {}, which is not disk {} of instance {} as it is now",
                        snapshot.id, snapshot.disk, wanted.disk, instance.id
                    ),
                )
                .remedy("Clone the disk or the instance instead, or leave this disk out."));
            }
            disks.push(ResetTarget {
                disk: wanted.disk,
                snapshot: snapshot.id,
                group: snapshot.group,
                size: snapshot.disk_size,
            });
        }
        let params = ResetDisksParams {
            task: reset.task,
            region: instance.region.clone(),
            host: host.id(),
            instance: instance.id,
            disks,
            boot: reset.boot,
        };
        let task = NewTask {
            id: reset.task,
            kind: TaskKind::ResetDisks,
            region: &instance.region,
            instance: instance.id,
            params: &params,
            exclusive: true,
        };
        self.admit(task, Batch::new()).await
    }

    pub(crate) async fn ready_snapshot(&self, id: SnapshotId) -> Result<Snapshot, Refusal> {
        let snapshot = self.shared.catalog.get::<Snapshot>(&id).await?.ok_or_else(|| {
            Refusal::new(Code::SnapshotNotFound, format!("there is no snapshot {id}"))
                .remedy("List the snapshots of the region.")
        })?;
        match snapshot.status {
            SnapshotStatus::Accomplished => Ok(snapshot),
            SnapshotStatus::Progressing | SnapshotStatus::Failed => Err(Refusal::new(
                Code::SnapshotNotReady,
                format!("snapshot {id} is {:?}, not accomplished", snapshot.status),
            )),
        }
    }
}

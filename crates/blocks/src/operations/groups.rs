//! Snapshot groups: making, listing and deleting them.

use catalog::{Batch, Column, Query, SeenInstance};
use model::{
    ByteCount, Code, ConsistencyLevel, Disk, DiskCapability, DiskId, Group, GroupId, Instance, InstanceId,
    InstanceStatus, Maker, Progress, Refusal, RegionId, Snapshot, SnapshotId, SnapshotStatus, TaskId,
    TaskKind, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::Blocks;
use crate::operations::NewTask;
use crate::operations::instances::wrong_state;
use crate::reconcilers::seen;
use crate::workflows::{DeleteGroupParams, SnapshotGroupParams};

/// Snapshots of some disks of an instance, at one instant, under ids the caller drew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateGroup {
    pub id: GroupId,
    pub task: TaskId,
    pub instance: InstanceId,
    pub disks: Vec<(DiskId, SnapshotId)>,
    pub name: String,
    pub description: String,
    pub made_by: Maker,
}

impl Blocks {
    /// Admits a group. Asked again for the same group it does nothing more.
    pub async fn create_group(&self, new: &CreateGroup) -> Result<(), Refusal> {
        if self.task(new.task).await?.is_some() {
            return Ok(());
        }
        let (instance, host) = self.shared.locate(new.instance).await?;
        match instance.status {
            InstanceStatus::Running | InstanceStatus::Stopped => {}
            InstanceStatus::Pending | InstanceStatus::Starting | InstanceStatus::Stopping => {
                return Err(wrong_state(&instance, "Running or Stopped", "be snapshotted"));
            }
        }
        if new.disks.is_empty() {
            return Err(Refusal::new(Code::NoDisk, format!("no disk of {} was chosen", instance.id)));
        }
        let now = self.shared.clock.now();
        let mut records = Batch::new().insert(&group_record(new, &instance, now));
        // What has points has been seen, even if it is gone before the next round looks at its host.
        if self.shared.catalog.get::<SeenInstance>(&instance.id).await?.is_none() {
            records = records.put(&seen(&instance, None, now));
        }
        for (disk, snapshot) in &new.disks {
            let disk = check_disk(&instance, *disk)?;
            records = records.insert(&snapshot_record(new, &instance, disk, *snapshot, now));
        }
        let params = SnapshotGroupParams {
            task: new.task,
            group: new.id,
            region: instance.region.clone(),
            host: host.id(),
            instance: instance.id,
            disks: new.disks.clone(),
        };
        let task = NewTask {
            id: new.task,
            kind: TaskKind::SnapshotGroup,
            region: &instance.region,
            instance: instance.id,
            params: &params,
            exclusive: true,
        };
        self.admit(task, records).await
    }

    pub async fn group(&self, id: GroupId) -> Result<Group, Refusal> {
        self.shared.catalog.get::<Group>(&id).await?.ok_or_else(|| {
            Refusal::new(Code::GroupNotFound, format!("there is no snapshot group {id}"))
                .remedy("List the snapshot groups of the region.")
        })
    }

    /// The groups of a region, newest first.
    pub async fn groups(&self, region: &RegionId) -> Result<Vec<Group>, Refusal> {
        self.shared.region(region)?;
        Ok(self.shared.catalog.list(&Query::all().eq(Column::Region, region).newest_first()).await?)
    }

    /// The snapshots of a region, newest first.
    pub async fn snapshots(&self, region: &RegionId) -> Result<Vec<Snapshot>, Refusal> {
        self.shared.region(region)?;
        Ok(self.shared.catalog.list(&Query::all().eq(Column::Region, region).newest_first()).await?)
    }

    /// The snapshots of one group, in the order of its disks.
    pub async fn group_snapshots(&self, group: GroupId) -> Result<Vec<Snapshot>, Refusal> {
        let mut snapshots: Vec<Snapshot> =
            self.shared.catalog.list(&Query::all().eq(Column::Group, group)).await?;
        snapshots.sort_by(|a, b| a.device.cmp(&b.device));
        Ok(snapshots)
    }

    /// Deletes a group and its snapshots; one still being made is cancelled. Gone already is fine.
    pub async fn delete_group(&self, id: GroupId, task: TaskId) -> Result<(), Refusal> {
        if self.task(task).await?.is_some() {
            return Ok(());
        }
        let Some(group) = self.shared.catalog.get::<Group>(&id).await? else { return Ok(()) };
        if group.status == SnapshotStatus::Progressing {
            self.cancel(group.task).await?;
        }
        let params = DeleteGroupParams {
            task,
            group: id,
            made_by: group.task,
            region: group.region.clone(),
            instance: group.instance,
        };
        let task = NewTask {
            id: task,
            kind: TaskKind::DeleteGroup,
            region: &group.region,
            instance: group.instance,
            params: &params,
            exclusive: false,
        };
        self.admit(task, Batch::new()).await
    }
}

fn check_disk(instance: &Instance, id: DiskId) -> Result<&Disk, Refusal> {
    let disk = instance.disk(id).ok_or_else(|| {
        Refusal::new(Code::DiskNotFound, format!("instance {} has no disk {id}", instance.id))
            .remedy("List the instance's disks.")
    })?;
    match &disk.capability {
        DiskCapability::Tracked | DiskCapability::Whole => Ok(disk),
        DiskCapability::Refused { because } => Err(Refusal::new(
            Code::DiskNotSupported,
            format!("disk {id} ({}) cannot be snapshotted: {because}", disk.device),
        )
        .remedy("Leave it out, or move it to a qcow2 image.")),
    }
}

fn group_record(new: &CreateGroup, instance: &Instance, now: Timestamp) -> Group {
    Group {
        id: new.id,
        region: instance.region.clone(),
        instance: instance.id,
        task: new.task,
        status: SnapshotStatus::Progressing,
        name: new.name.clone(),
        description: new.description.clone(),
        made_by: new.made_by,
        level: ConsistencyLevel::Crash,
        created: now,
        taken: None,
        completed: None,
        snapshots: new.disks.iter().map(|(_, snapshot)| *snapshot).collect(),
        failure: None,
        source: instance.clone(),
        spec: None,
        held_us: None,
        settled: false,
    }
}

fn snapshot_record(
    new: &CreateGroup,
    instance: &Instance,
    disk: &Disk,
    id: SnapshotId,
    now: Timestamp,
) -> Snapshot {
    Snapshot {
        id,
        region: instance.region.clone(),
        group: new.id,
        instance: instance.id,
        disk: disk.id,
        device: disk.device.clone(),
        disk_kind: disk.kind,
        disk_size: disk.size,
        encrypted: disk.encrypted,
        tracked: disk.capability == DiskCapability::Tracked,
        status: SnapshotStatus::Progressing,
        progress: Progress::ZERO,
        name: new.name.clone(),
        made_by: new.made_by,
        created: now,
        completed: None,
        bytes_read: ByteCount(0),
        bytes_stored: ByteCount(0),
        base: None,
        root: None,
        full_because: None,
    }
}

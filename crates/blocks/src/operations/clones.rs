//! New instances and new disks from snapshots.

use catalog::Batch;
use host::HostError;
use model::{
    ByteCount, Code, Group, GroupId, InstanceId, Refusal, RegionId, Snapshot, SnapshotId, SnapshotStatus,
    TaskId, TaskKind,
};
use serde::{Deserialize, Serialize};

use crate::Blocks;
use crate::operations::NewTask;
use crate::workflows::{CreateDiskParams, CreateInstanceParams, NewDisk};

/// A new instance with the disks of a group, under a UUID the caller drew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateInstance {
    pub task: TaskId,
    pub group: GroupId,
    pub uuid: [u8; 16],
    pub id: InstanceId,
    pub name: String,
    /// None keeps the source's.
    pub vcpus: Option<u32>,
    pub memory: Option<ByteCount>,
    pub network: Option<String>,
    pub boot: bool,
}

/// A new data disk from a snapshot, attached to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateDisk {
    pub task: TaskId,
    pub snapshot: SnapshotId,
    pub instance: InstanceId,
}

impl Blocks {
    pub async fn create_instance(&self, new: &CreateInstance) -> Result<(), Refusal> {
        if self.task(new.task).await?.is_some() {
            return Ok(());
        }
        let group = self.group(new.group).await?;
        if group.status != SnapshotStatus::Accomplished {
            return Err(Refusal::new(
                Code::SnapshotNotReady,
                format!("snapshot group {} is {:?}, not accomplished", group.id, group.status),
            ));
        }
        self.check_new_name(&group.region, &new.name).await?;
        let spec = group.spec.clone().ok_or_else(|| {
            Refusal::new(
                Code::PointUnusable,
                format!("the shape of snapshot group {} is not known", group.id),
            )
        })?;
        let snapshots = self.group_snapshots(group.id).await?;
        let disk = |snapshot: Snapshot| NewDisk {
            snapshot: snapshot.id,
            device: snapshot.device,
            size: snapshot.disk_size,
        };
        let params = CreateInstanceParams {
            task: new.task,
            region: group.region.clone(),
            host: self.host_for(&group).await?,
            group: group.id,
            uuid: new.uuid,
            instance: new.id,
            name: new.name.clone(),
            vcpus: new.vcpus,
            memory: new.memory,
            network: new.network.clone(),
            boot: new.boot,
            spec,
            disks: snapshots.into_iter().map(disk).collect(),
        };
        let task = NewTask {
            id: new.task,
            kind: TaskKind::CreateInstance,
            region: &group.region,
            instance: new.id,
            params: &params,
            exclusive: true,
        };
        self.admit(task, Batch::new()).await
    }

    pub async fn create_disk(&self, new: &CreateDisk) -> Result<(), Refusal> {
        if self.task(new.task).await?.is_some() {
            return Ok(());
        }
        let snapshot = self.ready_snapshot(new.snapshot).await?;
        let (instance, host) = self.shared.locate(new.instance).await?;
        if instance.region != snapshot.region {
            return Err(Refusal::new(
                Code::SnapshotMismatch,
                format!(
                    "snapshot {} is in {}, instance {} in {}",
                    snapshot.id, snapshot.region, instance.id, instance.region
                ),
            )
            .remedy("Choose a target instance in the snapshot's region."));
        }
        let params = CreateDiskParams {
            task: new.task,
            region: instance.region.clone(),
            host: host.id(),
            instance: instance.id,
            snapshot: snapshot.id,
            group: snapshot.group,
            size: snapshot.disk_size,
        };
        let task = NewTask {
            id: new.task,
            kind: TaskKind::CreateDisk,
            region: &instance.region,
            instance: instance.id,
            params: &params,
            exclusive: true,
        };
        self.admit(task, Batch::new()).await
    }

    /// The host the group was taken on, if it still has the instance; else the region's first.
    async fn host_for(&self, group: &Group) -> Result<model::HostId, Refusal> {
        let hosts = &self.shared.region(&group.region)?.hosts;
        for host in hosts {
            match host.find(group.instance).await {
                Ok(_) => return Ok(host.id()),
                Err(HostError::NoInstance) => {}
                Err(error) => tracing::warn!(host = %host.id(), %error, "host passed over"),
            }
        }
        hosts.first().map(|host| host.id()).ok_or_else(|| {
            Refusal::new(
                Code::NoStock,
                format!("region {} has no host to define an instance on", group.region),
            )
            .remedy("Add a host to the region's configuration.")
        })
    }

    /// The id an instance with this UUID has in this region.
    pub fn instance_id(&self, region: &RegionId, uuid: [u8; 16]) -> InstanceId {
        host::instance_id(region, uuid)
    }

    /// Whether a new instance may be called so.
    pub async fn check_new_name(&self, region: &RegionId, name: &str) -> Result<(), Refusal> {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 128 || !name.chars().all(plain) || name.starts_with(['-', '.']) {
            return Err(Refusal::new(Code::InvalidParameter, format!("{name:?} is no name for an instance"))
                .remedy(
                    "Use 1 to 128 letters, digits, '-', '_' or '.', beginning with a letter, digit or '_'.",
                ));
        }
        let taken = self.instances(region).await?.into_iter().find(|other| other.name == name);
        match taken {
            None => Ok(()),
            Some(other) => Err(Refusal::new(
                Code::InvalidParameter,
                format!("the name {name:?} is taken by instance {}", other.id),
            )
            .remedy("Choose another name.")),
        }
    }
}

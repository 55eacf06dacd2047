//! Restore jobs: roll backs and clones.

use serde::{Deserialize, Serialize};

use crate::{
    ByteCount, DiskId, InstanceId, JobStatus, PointId, Progress, Refusal, RegionId, RestoreId, TaskId,
    Timestamp,
};

/// One restore of one point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    pub id: RestoreId,
    pub region: RegionId,
    pub point: PointId,
    /// The instance the point was taken of.
    pub source: InstanceId,
    pub kind: RestoreKind,
    pub task: TaskId,
    pub status: JobStatus,
    pub progress: Progress,
    pub failure: Option<Refusal>,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub updated: Timestamp,
    pub bytes_total: ByteCount,
    pub bytes_done: ByteCount,
    /// What the client asked for, returned as it came.
    pub detail: String,
}

/// The four `RestoreType`s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestoreKind {
    /// `UDM_ECS_ROLLBACK`
    RollBackInstance { instance: InstanceId, force: bool, boot: bool },
    /// `UDM_ECS_DISK_ROLLBACK`
    RollBackDisk { instance: InstanceId, disk: DiskId, force: bool, boot: bool },
    /// `UDM_ECS`
    CloneInstance(CloneInstance),
    /// `UDM_ECS_DISK`
    CloneDisk { disk: DiskId, instance: InstanceId },
}

/// A new instance from a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneInstance {
    /// Drawn at admission: the new domain's UUID.
    pub uuid: [u8; 16],
    /// Derived from `uuid`.
    pub instance: InstanceId,
    pub name: String,
    pub host_name: String,
    /// Another shape than the source's, if one was asked for.
    pub vcpus: Option<u32>,
    pub memory: Option<ByteCount>,
    /// Empty keeps the source's.
    pub network: String,
    pub boot: bool,
}

//! Snapshots (one disk, one moment) and groups (several disks, one instant).

use serde::{Deserialize, Serialize};

use crate::{
    ByteCount, ConsistencyLevel, DiskId, DiskKind, GroupId, Instance, InstanceId, InstanceSpec, JobId,
    Progress, Refusal, RegionId, SnapshotId, TaskId, Timestamp,
};

/// One disk at one moment, stored in its region's depot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub region: RegionId,
    pub group: GroupId,
    pub instance: InstanceId,
    pub disk: DiskId,
    pub device: String,
    pub disk_kind: DiskKind,
    pub disk_size: ByteCount,
    pub encrypted: bool,
    /// What the disk could do when it was taken: on the wire its category.
    pub tracked: bool,
    pub status: SnapshotStatus,
    pub progress: Progress,
    pub name: String,
    pub made_by: Maker,
    pub created: Timestamp,
    pub completed: Option<Timestamp>,
    /// Read from the disk, and added to the depot.
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
    /// The snapshot it was taken as an increment of, if the host could tell what changed.
    pub base: Option<SnapshotId>,
    /// Where its tree begins in the depot, once written. Opaque to all but the depot.
    pub root: Option<String>,
    /// Why it was not an increment, in words, when one was hoped for.
    pub full_because: Option<String>,
}

/// Progressing ──► Accomplished
///      └────────► Failed
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SnapshotStatus {
    Progressing,
    Accomplished,
    Failed,
}

impl SnapshotStatus {
    pub const ALL: [Self; 3] = [Self::Progressing, Self::Accomplished, Self::Failed];

    pub const fn may_become(self, to: Self) -> bool {
        match self {
            Self::Progressing => matches!(to, Self::Accomplished | Self::Failed),
            Self::Accomplished | Self::Failed => false,
        }
    }
}

/// Who owns a snapshot's lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Maker {
    User,
    /// A backup job; the point decides when the snapshot goes.
    Backup {
        job: JobId,
    },
}

/// Snapshots of several disks at one instant. A lone snapshot is a group of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub id: GroupId,
    pub region: RegionId,
    pub instance: InstanceId,
    /// The workflow that makes it.
    pub task: TaskId,
    pub status: SnapshotStatus,
    pub name: String,
    pub description: String,
    pub made_by: Maker,
    pub level: ConsistencyLevel,
    pub created: Timestamp,
    /// The instant the disks stood still, once known.
    pub taken: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub snapshots: Vec<SnapshotId>,
    pub failure: Option<Refusal>,
    /// The instance as it was when the group was asked for.
    pub source: Instance,
    /// Enough to define it again; known once the disks are marked.
    pub spec: Option<InstanceSpec>,
    /// How long the host held the disks still, at most, in microseconds.
    pub held_us: Option<u64>,
    /// Its session on the host is closed for good.
    pub settled: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progressing_moves_on() {
        for from in SnapshotStatus::ALL {
            for to in SnapshotStatus::ALL {
                let drawn = from == SnapshotStatus::Progressing && to != from;
                assert_eq!(from.may_become(to), drawn, "{from:?} -> {to:?}");
            }
        }
    }
}

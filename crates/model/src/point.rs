//! Points: what backup made of an instance, and how long it is kept.

use serde::{Deserialize, Serialize};

use crate::{
    ByteCount, DiskId, GroupId, InstanceId, JobId, PointId, RegionId, Retention, RetentionClass, SnapshotId,
    Timestamp,
};

/// A point an instance can be rolled back to or cloned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub id: PointId,
    pub region: RegionId,
    pub instance: InstanceId,
    pub instance_name: String,
    pub job: JobId,
    pub group: GroupId,
    pub status: PointStatus,
    /// Some disks are missing from it.
    pub partial: bool,
    pub disks: Vec<DiskPoint>,
    pub level: ConsistencyLevel,
    pub downgrade: Option<Downgrade>,
    pub retention: Retention,
    pub class: Option<RetentionClass>,
    pub immutable: bool,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    /// The instant the disks stood still.
    pub taken: Option<Timestamp>,
    /// None until it is available, and for points kept for ever.
    pub expires: Option<Timestamp>,
    pub updated: Timestamp,
    pub bytes_total: ByteCount,
    pub bytes_stored: ByteCount,
    pub vcpus: u32,
    pub memory: ByteCount,
}

/// One disk of a point, with its own id on the wire (`UDM_ECS_DISK`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskPoint {
    pub id: PointId,
    pub disk: DiskId,
    pub device: String,
    pub system: bool,
    pub snapshot: SnapshotId,
}

/// Creating ──► Available ──► Deleting ──► Deleted
///     │            └──► Unusable ──┘
///     └──────► Failed
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PointStatus {
    Creating,
    Available,
    /// A snapshot of it is missing.
    Unusable,
    Failed,
    Deleting,
    Deleted,
}

impl PointStatus {
    pub const ALL: [Self; 6] =
        [Self::Creating, Self::Available, Self::Unusable, Self::Failed, Self::Deleting, Self::Deleted];

    pub const fn may_become(self, to: Self) -> bool {
        match self {
            Self::Creating => matches!(to, Self::Available | Self::Failed),
            Self::Available => matches!(to, Self::Unusable | Self::Deleting),
            Self::Unusable => matches!(to, Self::Deleting),
            Self::Deleting => matches!(to, Self::Deleted),
            Self::Failed | Self::Deleted => false,
        }
    }

    /// Listed to users. A deleted point is gone at once, whatever still has to be cleaned up.
    pub const fn is_visible(self) -> bool {
        match self {
            Self::Available | Self::Unusable => true,
            Self::Creating | Self::Failed | Self::Deleting | Self::Deleted => false,
        }
    }
}

/// How consistent the disks of a snapshot group are with one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConsistencyLevel {
    /// As after a power cut, all disks at one instant.
    Crash,
    /// File systems were frozen.
    FileSystem,
    /// Applications agreed.
    Application,
}

/// Why a lower level was reached than asked for (semantics.md §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Downgrade {
    /// Some disk cannot join a group.
    DiskNotGrouped,
    GroupLimitExceeded,
    /// Application consistency is not offered yet.
    ApplicationNotSupported,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_are_those_of_the_drawing() {
        use PointStatus::{Available, Creating, Deleted, Deleting, Failed, Unusable};
        let drawn = [
            (Creating, Available),
            (Creating, Failed),
            (Available, Unusable),
            (Available, Deleting),
            (Unusable, Deleting),
            (Deleting, Deleted),
        ];
        for from in PointStatus::ALL {
            for to in PointStatus::ALL {
                assert_eq!(from.may_become(to), drawn.contains(&(from, to)), "{from:?} -> {to:?}");
            }
        }
    }
}

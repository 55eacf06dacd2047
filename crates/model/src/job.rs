//! Backup jobs.

use serde::{Deserialize, Serialize};

use crate::{
    BindingId, BindingOptions, ByteCount, Days, GroupId, InstanceId, JobId, PointId, PolicyId, Progress,
    Refusal, RegionId, RuleId, SnapshotId, Timestamp,
};

/// One backup of one instance. Its per-disk children are its group's snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    /// The job of a run over several instances, of which this is one.
    pub parent: Option<JobId>,
    pub region: RegionId,
    pub name: String,
    pub instance: InstanceId,
    pub instance_name: String,
    pub request: BackupRequest,
    pub status: JobStatus,
    pub progress: Progress,
    pub failure: Option<Refusal>,
    pub point: PointId,
    pub group: GroupId,
    pub snapshots: Vec<SnapshotId>,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub completed: Option<Timestamp>,
    pub updated: Timestamp,
    /// Size of the disks, read from them, added to the depot.
    pub bytes_total: ByteCount,
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
}

/// What was asked for, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRequest {
    pub trigger: Trigger,
    pub retention: Days,
    pub immutable: bool,
    pub options: BindingOptions,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// `CreateBackupJob`.
    Manual,
    /// `ExecutePolicyV2`.
    PolicyNow { policy: PolicyId, rule: RuleId, binding: BindingId },
    /// The policy's schedule; `due` is the occurrence it stands for.
    Schedule { policy: PolicyId, rule: RuleId, binding: BindingId, due: Timestamp },
}

/// ```text
/// Created ─► Queued ─► Running ─► Complete | PartialComplete | Failed
///    └─────────┴─────────┴─► Canceling ─► Canceled | (what it had become: Complete, PartialComplete, Failed)
/// Created | Queued ─► Expired | Failed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobStatus {
    Created,
    Queued,
    Running,
    Canceling,
    Complete,
    PartialComplete,
    Failed,
    Canceled,
    Expired,
}

impl JobStatus {
    pub const ALL: [Self; 9] = [
        Self::Created,
        Self::Queued,
        Self::Running,
        Self::Canceling,
        Self::Complete,
        Self::PartialComplete,
        Self::Failed,
        Self::Canceled,
        Self::Expired,
    ];

    pub const fn may_become(self, to: Self) -> bool {
        match self {
            Self::Created => {
                matches!(to, Self::Queued | Self::Running | Self::Canceling | Self::Expired | Self::Failed)
            }
            Self::Queued => matches!(to, Self::Running | Self::Canceling | Self::Expired | Self::Failed),
            Self::Running => {
                matches!(to, Self::Complete | Self::PartialComplete | Self::Failed | Self::Canceling)
            }
            // A cancel that comes after the commit point loses.
            Self::Canceling => {
                matches!(to, Self::Canceled | Self::Complete | Self::PartialComplete | Self::Failed)
            }
            Self::Complete | Self::PartialComplete | Self::Failed | Self::Canceled | Self::Expired => false,
        }
    }

    pub const fn is_final(self) -> bool {
        match self {
            Self::Created | Self::Queued | Self::Running | Self::Canceling => false,
            Self::Complete | Self::PartialComplete | Self::Failed | Self::Canceled | Self::Expired => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_status_stays() {
        for from in JobStatus::ALL {
            let leaves = JobStatus::ALL.iter().any(|to| from.may_become(*to));
            assert_eq!(leaves, !from.is_final(), "{from:?}");
            assert!(!from.may_become(from), "{from:?} to itself is no transition");
        }
    }
}

//! Tasks: the block service's long operations, by the id their caller drew.

use serde::{Deserialize, Serialize};

use crate::{ByteCount, InstanceId, Progress, Refusal, RegionId, TaskId, Timestamp};

/// One long operation of the block service. Its caller drew `id`, and asks by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub region: RegionId,
    pub kind: TaskKind,
    pub instance: InstanceId,
    pub status: TaskStatus,
    pub progress: Progress,
    pub bytes_total: ByteCount,
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
    /// Why it failed; of a task that is done, what did not work all the same.
    pub failure: Option<Refusal>,
    /// The host's names of the disks it prepared, in the order it was given them.
    pub prepared: Vec<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaskKind {
    SnapshotGroup,
    DeleteGroup,
    ResetDisks,
    CreateInstance,
    CreateDisk,
}

/// Running ──► Done
///    ├──────► Failed
///    └──────► Canceled
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaskStatus {
    Running,
    Done,
    Failed,
    Canceled,
}

impl TaskStatus {
    pub const fn is_final(self) -> bool {
        match self {
            Self::Running => false,
            Self::Done | Self::Failed | Self::Canceled => true,
        }
    }
}

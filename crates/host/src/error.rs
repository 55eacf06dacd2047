//! What can go wrong on a host, by what the caller should do about it.

use model::{Code, Refusal};

/// Why a host did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The host cannot be reached. What was under way may or may not have happened: ask again.
    #[error("host is unreachable: {0}")]
    Unreachable(String),
    /// No such instance on this host: released, or never there.
    #[error("no such instance on this host")]
    NoInstance,
    /// The instance has no such disk.
    #[error("no such disk: {0}")]
    NoDisk(String),
    /// The instance is not in the state this needs.
    #[error("instance is {found}, needs to be {needed}")]
    State { found: String, needed: String },
    /// This disk cannot do that, ever.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// Somebody else's backup or block job runs on the instance.
    #[error("busy: {0}")]
    Busy(String),
    /// The session the caller speaks of is gone (the instance stopped, or the host restarted).
    #[error("backup session lost: {0}")]
    Lost(String),
    /// No room for scratch data or for a new disk.
    #[error("no space left on the host: {0}")]
    NoSpace(String),
    /// The host tried and failed.
    #[error("{0}")]
    Failed(String),
}

impl HostError {
    /// Trying the very same thing again later can help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        let message = error.to_string();
        let (code, remedy) = match error {
            HostError::Unreachable(_) => {
                (Code::HostUnavailable, "Check that libvirtd runs and can be reached.")
            }
            HostError::NoInstance => (Code::InstanceReleased, "Clone it from one of its points."),
            HostError::NoDisk(_) => (Code::DiskNotFound, "List the instance's disks."),
            HostError::State { .. } => (Code::InstanceStatus, "Change the instance's state and try again."),
            HostError::Unsupported(_) => {
                (Code::DiskNotSupported, "Exclude this disk, or move it to a qcow2 image.")
            }
            HostError::Busy(_) => (Code::InstanceBusy, "Wait for the other operation to end."),
            HostError::Lost(_) => (Code::HostFailed, "Run the backup again."),
            HostError::NoSpace(_) => (Code::HostNoSpace, "Free space where the host keeps its disks."),
            HostError::Failed(_) => (Code::HostFailed, "See the host's own log."),
        };
        Self::new(code, message).remedy(remedy)
    }
}

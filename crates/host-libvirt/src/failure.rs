//! libvirt's, the NBD client's and the system's failures in the host's words.

use host::HostError;
use nbd::{Errno, NbdError};

use crate::ffi::{VirError, code};

impl From<VirError> for Failure {
    fn from(error: VirError) -> Self {
        Self(translate(&error))
    }
}

/// A host error on its way out of code that speaks with libvirt, so that `?` does the translation.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) HostError);

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self(error)
    }
}

impl From<crate::xml::XmlError> for Failure {
    fn from(error: crate::xml::XmlError) -> Self {
        Self(HostError::Failed(error.to_string()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(io(&error, "on the host"))
    }
}

/// Only what a caller does differently is told apart; libvirt's own words always come along.
fn translate(error: &VirError) -> HostError {
    let said = error.message.clone();
    let says = |words: &str| said.contains(words);
    match error.code {
        code::NO_DOMAIN => HostError::NoInstance,
        // libvirt lists a checkpoint that a begin still under way has not named yet: one that a server
        // began and did not live to see end, say. A moment later it has its name.
        _ if says("virGetDomainCheckpoint must not be NULL") => {
            HostError::Unreachable("libvirt is making a checkpoint just now".into())
        }
        _ if says("No space left on device") => HostError::NoSpace(said),
        // QEMU's image lock: somebody else has the image open.
        _ if says("Failed to get \"write\" lock") || says("Failed to get shared \"write\" lock") => {
            HostError::Busy("one of its disks is in use by another process".into())
        }
        code::OPERATION_TIMEOUT | code::RESOURCE_BUSY | code::BLOCK_COPY_ACTIVE => HostError::Busy(said),
        code::OPERATION_INVALID if says("not running") => {
            HostError::State { found: "stopped".into(), needed: "running".into() }
        }
        code::OPERATION_INVALID if says("another job") || says("active block job") || says("block job") => {
            HostError::Busy(said)
        }
        code::NO_SUPPORT | code::CONFIG_UNSUPPORTED | code::OPERATION_UNSUPPORTED => {
            HostError::Unsupported(said)
        }
        code::NO_CHECKPOINT | code::NO_BACKUP => HostError::Lost(said),
        _ => HostError::Failed(said),
    }
}

/// A failed call on a file; a full file system is told apart.
pub(crate) fn io(error: &std::io::Error, what: &str) -> HostError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            HostError::NoSpace(format!("{what}: {error}"))
        }
        _ => HostError::Failed(format!("{what}: {error}")),
    }
}

/// A failure of a disk that is open in a session.
pub(crate) fn nbd(error: NbdError) -> HostError {
    let said = error.to_string();
    match error {
        NbdError::Server { errno: Errno::NoSpace, .. } => HostError::NoSpace(said),
        // The server of a session lives as long as the session: when it is gone, so is that.
        NbdError::Unreachable(_) | NbdError::Lost(_) => HostError::Lost(said),
        NbdError::Refused(_) | NbdError::Protocol(_) | NbdError::Server { .. } | NbdError::Invalid(_) => {
            HostError::Failed(said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart_by_what_to_do() {
        let said = |code, message: &str| translate(&VirError { code, message: message.into() });
        assert_eq!(said(42, "gone"), HostError::NoInstance);
        assert!(matches!(said(38, "cannot write: No space left on device"), HostError::NoSpace(_)));
        assert!(matches!(said(1, "Failed to get \"write\" lock"), HostError::Busy(_)));
        assert!(matches!(said(68, "cannot acquire state change lock"), HostError::Busy(_)));
        assert!(matches!(said(55, "domain is not running"), HostError::State { .. }));
        let unnamed = "name in virGetDomainCheckpoint must not be NULL";
        assert!(said(8, unnamed).is_transient());
        assert!(matches!(said(1, "whatever"), HostError::Failed(_)));
    }
}

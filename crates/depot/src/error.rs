//! What can go wrong with a depot, by what the caller should do about it.

use format::{FormatError, PackName};
use host::HostError;
use keys::KeyError;
use model::{Code, GroupId, Refusal};
use store::{ObjectKey, StoreError};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DepotError {
    /// The caller asked for it. What was written so far is garbage to be collected.
    #[error("cancelled")]
    Cancelled,
    /// The disk read from, or written to, failed.
    #[error(transparent)]
    Source(HostError),
    /// The bucket failed; its own words say whether to ask again.
    #[error(transparent)]
    Store(StoreError),
    /// The key service failed.
    #[error(transparent)]
    Keys(KeyError),
    /// An object is missing, altered or in the wrong place. Nothing of it was handed out.
    #[error("depot object {object} is damaged: {what}")]
    Damaged { object: String, what: String },
    /// Written by a later version of this program.
    #[error("depot object {object} needs a newer version of this program: {what}")]
    Newer { object: String, what: String },
    /// Collection took a pack this group needs: the group is not there; write its disks again.
    #[error("garbage collection overtook this snapshot at pack {pack}")]
    Overtaken { pack: PackName },
    /// A collection or a deletion ended this seal before its manifest was put: the group is not there by
    /// this call. Seal again.
    #[error("the seal of group {group} took so long that it was given up")]
    GivenUp { group: GroupId },
    /// Another manifest stands under this id. Nothing was changed.
    #[error("group {group} exists with other content")]
    Conflict { group: GroupId },
    /// The call makes no sense for this depot or disk; nothing was done.
    #[error("{0}")]
    Invalid(String),
    /// A part of this program died; the process goes on.
    #[error("internal error in the depot: {0}")]
    Internal(String),
}

impl DepotError {
    /// Trying the very same thing again later can help.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Source(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::Keys(error) => error.is_transient(),
            Self::GivenUp { .. } => true,
            Self::Cancelled
            | Self::Damaged { .. }
            | Self::Newer { .. }
            | Self::Overtaken { .. }
            | Self::Conflict { .. }
            | Self::Invalid(_)
            | Self::Internal(_) => false,
        }
    }

    /// The object that is damaged, or written by a later version, and how; any other error comes back.
    pub(crate) fn damage(self) -> Result<(String, String), Self> {
        match self {
            Self::Damaged { object, what } | Self::Newer { object, what } => Ok((object, what)),
            other => Err(other),
        }
    }

    pub(crate) fn damaged(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Damaged { object: object.into(), what: what.into() }
    }

    /// What decoding this object said.
    pub(crate) fn unreadable(object: impl Into<String>, error: FormatError) -> Self {
        let (object, what) = (object.into(), in_words(error));
        match error {
            FormatError::Newer { .. } => Self::Newer { object, what },
            FormatError::NotOurs { .. } | FormatError::Damaged { .. } => Self::Damaged { object, what },
        }
    }

    /// A read of an object that must be there: one that is not is damage.
    pub(crate) fn reading(key: &ObjectKey, error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } => Self::damaged(key.as_str(), "missing"),
            other => Self::Store(other),
        }
    }
}

/// For sentences that say already that something is damaged, and which object.
pub(crate) fn in_words(error: FormatError) -> String {
    match error {
        FormatError::Damaged { what, why } => format!("{what}: {why}"),
        FormatError::NotOurs { .. } | FormatError::Newer { .. } => error.to_string(),
    }
}

impl From<DepotError> for Refusal {
    fn from(error: DepotError) -> Self {
        let message = error.to_string();
        let (code, remedy) = match error {
            DepotError::Source(error) => return error.into(),
            DepotError::Store(error) => return error.into(),
            DepotError::Keys(error) => return error.into(),
            DepotError::Damaged { .. } => {
                (Code::DepotDamaged, "Verify the depot; copies in other regions may help.")
            }
            DepotError::Newer { .. } => {
                (Code::DepotDamaged, "Upgrade this server to the version that wrote the depot.")
            }
            DepotError::Overtaken { .. } | DepotError::GivenUp { .. } => {
                (Code::DepotUnavailable, "Run the backup again.")
            }
            DepotError::Cancelled
            | DepotError::Conflict { .. }
            | DepotError::Invalid(_)
            | DepotError::Internal(_) => (Code::DepotUnavailable, "See the server's log."),
        };
        Self::new(code, message).remedy(remedy)
    }
}

//! What can go wrong with a store, by what the caller should do about it.

use model::{Code, Refusal};

use crate::ObjectKey;

/// Why a store did not do as asked. No text in it can hold a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is certainly no such object.
    #[error("no object {key}")]
    NotFound { key: ObjectKey },
    /// No room. The object is not there, or is there whole: putting it again once room was made tells.
    #[error("no space left in the depot's store: {what}")]
    NoSpace { what: String },
    /// It may or may not have happened: ask again.
    #[error("no certain answer from the depot's store: {what}")]
    Unknown { what: String },
    /// The store cannot be reached or is overloaded, and nothing happened: try again later.
    #[error("the depot's store cannot be reached: {what}")]
    Unavailable { what: String },
    /// Wrong credentials or permissions; nothing happened and trying again will not help.
    #[error("the depot's store refuses access: {what}")]
    Denied { what: String },
    /// The store tried and failed, or answered nonsense. After a write: it may have happened.
    #[error("the depot's store failed: {what}")]
    Failed { what: String },
}

impl StoreError {
    /// Trying the very same thing again later can help.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Unavailable { .. } => true,
            Self::NotFound { .. } | Self::NoSpace { .. } | Self::Denied { .. } | Self::Failed { .. } => false,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let (code, remedy) = match error {
            StoreError::NotFound { .. } => {
                (Code::DepotDamaged, "Verify the depot; copies in other regions may help.")
            }
            StoreError::NoSpace { .. } => {
                (Code::DepotNoSpace, "Delete points or give the depot's store more room.")
            }
            StoreError::Unknown { .. } | StoreError::Unavailable { .. } => {
                (Code::DepotUnavailable, "Check that the depot's store runs and can be reached.")
            }
            StoreError::Denied { .. } => {
                (Code::DepotUnavailable, "Check the depot's credentials and permissions.")
            }
            StoreError::Failed { .. } => {
                (Code::DepotUnavailable, "See the server's log and the store's own.")
            }
        };
        Self::new(code, message).remedy(remedy)
    }
}

//! The two verbs the rest of the system has of the key service.

use async_trait::async_trait;
use model::{Code, KeyId, Refusal};
use seal::{KeyMaterial, SealError};
use serde::{Deserialize, Serialize};

/// Key material wrapped under a key of the service. With the root of trust these bytes suffice: no
/// table, and no name, has to survive beside them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WrappedKey {
    pub key: KeyId,
    pub bytes: Vec<u8>,
}

/// Wraps and unwraps data keys, bound to a context the caller names (which depot, which slot).
///
/// The implementation guarantees: `unwrap` answers exactly the material that was wrapped under this
/// context, or fails. Neither call changes anything, so both may be repeated.
#[async_trait]
pub trait KeyWrap: Send + Sync {
    async fn wrap(&self, material: &KeyMaterial, context: &str) -> Result<WrappedKey, KeyError>;

    async fn unwrap(&self, wrapped: &WrappedKey, context: &str) -> Result<KeyMaterial, KeyError>;
}

/// Why a key was not wrapped or unwrapped. No text in it can hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key service of this region has no such key.
    #[error("no key {0} in this region's key service")]
    NoKey(KeyId),
    /// Altered, or wrapped for another depot. Trying again will not help.
    #[error("wrapped key does not open here: altered, or wrapped for another place")]
    Refused,
    /// A newer version of this program wrapped it.
    #[error("wrapped key of unknown version {0}")]
    Version(u8),
    /// The root of trust cannot help; its own words say what to do.
    #[error(transparent)]
    Root(SealError),
}

impl From<SealError> for KeyError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Refused => Self::Refused,
            SealError::AnotherRoot { .. }
            | SealError::Version(_)
            | SealError::Unusable { .. }
            | SealError::Unavailable(_) => Self::Root(error),
        }
    }
}

impl KeyError {
    /// Trying the very same thing again later can help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Root(SealError::Unavailable(_)))
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        let remedy = match &error {
            KeyError::NoKey(_) => "Ask the region whose key wrapped it.",
            KeyError::Refused => "Verify the depot: its key slot is damaged or comes from another depot.",
            KeyError::Version(_) => "Use the version of Hikae that wrote it, or a newer one.",
            KeyError::Root(SealError::AnotherRoot { .. }) => {
                "Put the root key file back that this depot was made with."
            }
            KeyError::Root(_) => "Check the root key.",
        };
        Self::new(Code::KeyUnavailable, error.to_string()).remedy(remedy)
    }
}

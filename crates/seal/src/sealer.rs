//! The seam to a root of trust.

use async_trait::async_trait;
use zeroize::Zeroizing;

/// What a sealer made of some bytes. Of use to nobody without the sealer's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// The root of trust. Everything the key service stores was sealed here, bound to its context.
///
/// The implementation guarantees: what `open` answers is exactly what was sealed, under this root and
/// under the very same context; anything else is [`SealError::Refused`] or [`SealError::AnotherRoot`].
/// Neither call changes anything, so both may be repeated.
#[async_trait]
pub trait Sealer: Send + Sync {
    async fn seal(&self, plain: &[u8], context: &str) -> Result<Sealed, SealError>;

    async fn open(&self, sealed: &Sealed, context: &str) -> Result<Zeroizing<Vec<u8>>, SealError>;
}

/// Why something was not sealed or opened. No text in it can hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Sealed elsewhere, or altered. Trying again will not help.
    #[error("sealed bytes do not open here: altered, or sealed for another place")]
    Refused,
    /// Another root key sealed it: bring that one back.
    #[error("sealed under root key {sealed}, but this is root key {here}")]
    AnotherRoot { sealed: String, here: String },
    /// A newer version of this program sealed it.
    #[error("sealed bytes of unknown version {0}")]
    Version(u8),
    /// The root of trust cannot be used as it is: the operator has to look.
    #[error("root key {place} cannot be used: {why}")]
    Unusable { place: String, why: String },
    /// The root of trust does not answer now: try again later.
    #[error("root of trust cannot be reached: {0}")]
    Unavailable(String),
}

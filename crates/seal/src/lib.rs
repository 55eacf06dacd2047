//! The root of trust under the key service: key material that has no way out, and what seals it.

mod aead;
mod file;
mod material;
mod sealer;

pub use aead::{AeadError, NONCE_BYTES, TAG_BYTES, decrypt, encrypt};
pub use file::FileSealer;
pub use material::{KEY_BYTES, KeyMaterial};
pub use sealer::{SealError, Sealed, Sealer};

//! Key material: thirty-two bytes that cannot be printed, copied, compared or stored.

use model::Entropy;
use zeroize::Zeroizing;

pub const KEY_BYTES: usize = 32;

/// 32 bytes, zeroed on drop. What is not implemented cannot leak.
///
/// ```compile_fail,E0277
/// let key = seal::KeyMaterial::from_bytes([7; 32]);
/// println!("{key:?}");
/// ```
/// ```compile_fail,E0277
/// let key = seal::KeyMaterial::from_bytes([7; 32]);
/// println!("{key}");
/// ```
/// ```compile_fail,E0599
/// let key = seal::KeyMaterial::from_bytes([7; 32]);
/// let copy = key.clone();
/// ```
/// ```compile_fail,E0369
/// let (key, other) = (seal::KeyMaterial::from_bytes([7; 32]), seal::KeyMaterial::from_bytes([7; 32]));
/// assert!(key == other);
/// ```
/// ```compile_fail,E0277
/// fn store<T: serde::Serialize>(_: T) {}
/// store(seal::KeyMaterial::from_bytes([7; 32]));
/// ```
/// The same lines compile where nothing leaks:
/// ```
/// fn store<T: serde::Serialize>(_: T) {}
/// let key = seal::KeyMaterial::from_bytes([7; 32]);
/// store(key.expose().len());
/// ```
#[expect(missing_debug_implementations, reason = "what is not implemented cannot leak")]
pub struct KeyMaterial(Zeroizing<[u8; KEY_BYTES]>);

impl KeyMaterial {
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        entropy.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// The caller zeroes its own copy.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// For ciphers only. Never print, copy or store what this shows.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

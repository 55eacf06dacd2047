//! AES-256-GCM-SIV as everything sealed here uses it: nonce in front, tag at the end.
//!
//! GCM-SIV, because a nonce drawn twice (a cloned machine, a restored image) then reveals no more
//! than that two messages were equal.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use model::Entropy;
use zeroize::Zeroizing;

use crate::KeyMaterial;

pub const NONCE_BYTES: usize = 12;
pub const TAG_BYTES: usize = 16;

/// Bytes that do not open under this key and these associated data: wrong key, wrong place, or altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wrong key, wrong place, or altered bytes")]
pub struct AeadError;

/// `nonce ‖ ciphertext ‖ tag`, bound to `associated`.
pub fn encrypt(
    key: &KeyMaterial,
    plain: &[u8],
    associated: &[u8],
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, AeadError> {
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut nonce);
    let mut sealed = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(nonce, Aad::from(associated), &mut sealed[NONCE_BYTES..])
        .map_err(|_| AeadError)?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

pub fn decrypt(key: &KeyMaterial, sealed: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, AeadError> {
    let (nonce, body) = sealed.split_at_checked(NONCE_BYTES).ok_or(AeadError)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| AeadError)?;
    let mut plain = Zeroizing::new(body.to_vec());
    let len =
        cipher(key)?.open_in_place(nonce, Aad::from(associated), &mut plain).map_err(|_| AeadError)?.len();
    plain.truncate(len);
    Ok(plain)
}

fn cipher(key: &KeyMaterial) -> Result<LessSafeKey, AeadError> {
    UnboundKey::new(&AES_256_GCM_SIV, key.expose()).map(LessSafeKey::new).map_err(|_| AeadError)
}

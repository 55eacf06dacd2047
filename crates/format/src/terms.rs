//! How things are sealed: key derivation, nonces, and what each seal is bound to.
//!
//! The cipher is AES-256-GCM-SIV with a tag of 16 bytes at the end. Every pack and every manifest
//! has a key of its own, derived from the data key and a salt drawn for it, so a nonce need only be
//! unique within it: frames are numbered. A salt drawn twice would still do no more harm than the
//! cipher, made to survive it, allows.

use model::DepotId;
use zeroize::Zeroizing;

use crate::{FrameKind, Salt, SlotId};

pub(crate) const CHUNK_NAMES: &str = "hikae 2026-11 depot chunk names";
pub(crate) const NODE_NAMES: &str = "hikae 2026-11 depot node names";
const PACK_KEY: &str = "hikae 2026-11 depot pack key";
const MANIFEST_KEY: &str = "hikae 2026-11 depot manifest key";
const FIRST_SLOT: &str = "hikae 2026-11 depot first key slot";

/// Bytes the cipher adds.
pub const TAG_LEN: usize = 16;
pub const NONCE_LEN: usize = 12;

/// The table of contents is sealed under the one frame number no frame can have.
pub const TOC_FRAME: u32 = u32::MAX;

/// First byte of what is sealed in a frame: how the rest is packed.
pub const CODEC_RAW: u8 = 0;
pub const CODEC_ZSTD: u8 = 1;

pub fn pack_key(data_key: &[u8; 32], salt: &Salt) -> Zeroizing<[u8; 32]> {
    derive(PACK_KEY, data_key, salt)
}

pub fn manifest_key(data_key: &[u8; 32], salt: &Salt) -> Zeroizing<[u8; 32]> {
    derive(MANIFEST_KEY, data_key, salt)
}

fn derive(context: &str, data_key: &[u8; 32], salt: &Salt) -> Zeroizing<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(data_key);
    hasher.update(&salt.0);
    Zeroizing::new(*hasher.finalize().as_bytes())
}

/// The slot a new depot's first data key goes to: derived, so that two who start it at once agree.
pub fn first_slot(depot: DepotId) -> SlotId {
    let hash = blake3::derive_key(FIRST_SLOT, &depot.bits().to_le_bytes());
    let mut slot = [0; 16];
    slot.copy_from_slice(&hash[..16]);
    SlotId(slot)
}

/// What the key service binds a wrapped data key to.
pub fn wrap_context(depot: DepotId, slot: SlotId) -> String {
    format!("{depot} slot {slot}")
}

pub fn frame_nonce(frame: u32) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..4].copy_from_slice(&frame.to_le_bytes());
    nonce
}

/// What a frame is bound to: it opens nowhere else.
pub fn frame_aad(depot: DepotId, slot: SlotId, salt: &Salt, frame: u32, kind: FrameKind) -> Vec<u8> {
    let mut aad = Vec::with_capacity(96);
    aad.extend_from_slice(b"hikae frame 1");
    aad.extend_from_slice(&depot.bits().to_le_bytes());
    aad.extend_from_slice(&slot.0);
    aad.extend_from_slice(&salt.0);
    aad.extend_from_slice(&frame.to_le_bytes());
    aad.push(kind.code());
    aad
}

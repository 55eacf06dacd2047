//! Compress and seal, open and decompress: `format::terms` applied.

use std::cell::RefCell;
use std::sync::Arc;
use std::{fmt, io};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use format::terms::{self, CODEC_RAW, CODEC_ZSTD, TAG_LEN};
use format::{FrameKind, ManifestHeader, NameKeys, Salt, SlotId};
use model::DepotId;
use seal::KeyMaterial;
use zeroize::Zeroizing;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound};

/// Why sealed bytes did not open. The caller knows which object they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unopened(pub(crate) &'static str);

/// One data key, and the names made with it.
pub(crate) struct SlotKeys {
    pub(crate) depot: DepotId,
    pub(crate) slot: SlotId,
    pub(crate) names: NameKeys,
    data_key: KeyMaterial,
}

impl fmt::Debug for SlotKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotKeys({})", self.slot)
    }
}

impl SlotKeys {
    pub(crate) fn new(depot: DepotId, slot: SlotId, data_key: KeyMaterial) -> Self {
        Self { depot, slot, names: NameKeys::new(data_key.expose()), data_key }
    }

    /// For what is remembered of this depot outside of it.
    pub(crate) fn known_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key("hikae 2026-11 depot known chunks", self.data_key.expose()))
    }

    pub(crate) fn pack(&self, salt: Salt) -> Result<Arc<PackCipher>, Unopened> {
        let key = cipher(&terms::pack_key(self.data_key.expose(), &salt))?;
        Ok(Arc::new(PackCipher { depot: self.depot, slot: self.slot, salt, key }))
    }

    pub(crate) fn seal_manifest(&self, header: &ManifestHeader, body: &[u8]) -> Result<Vec<u8>, Unopened> {
        let key = cipher(&terms::manifest_key(self.data_key.expose(), &header.salt))?;
        let mut sealed = body.to_vec();
        key.seal_in_place_append_tag(nonce(0), Aad::from(header.encode()), &mut sealed)
            .map_err(|_| Unopened("the cipher refused it"))?;
        Ok(sealed)
    }

    pub(crate) fn open_manifest(&self, header: &ManifestHeader, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        let key = cipher(&terms::manifest_key(self.data_key.expose(), &header.salt))?;
        let mut body = sealed.to_vec();
        let len = key
            .open_in_place(nonce(0), Aad::from(header.encode()), &mut body)
            .map_err(|_| Unopened("its seal does not open: altered, or another key"))?
            .len();
        body.truncate(len);
        Ok(body)
    }
}

fn cipher(key: &Zeroizing<[u8; 32]>) -> Result<LessSafeKey, Unopened> {
    let key =
        UnboundKey::new(&AES_256_GCM_SIV, &key[..]).map_err(|_| Unopened("the cipher refused its key"))?;
    Ok(LessSafeKey::new(key))
}

fn nonce(frame: u32) -> Nonce {
    Nonce::assume_unique_for_key(terms::frame_nonce(frame))
}

/// The key of one pack.
pub(crate) struct PackCipher {
    depot: DepotId,
    slot: SlotId,
    salt: Salt,
    key: LessSafeKey,
}

impl fmt::Debug for PackCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackCipher({})", self.slot)
    }
}

impl PackCipher {
    /// Each frame number may be sealed once: the caller counts.
    pub(crate) fn seal(
        &self,
        frame: u32,
        kind: FrameKind,
        plain: &[u8],
        effort: Effort,
    ) -> Result<Vec<u8>, Unopened> {
        let mut sealed = pack_up(plain, effort);
        let aad = terms::frame_aad(self.depot, self.slot, &self.salt, frame, kind);
        self.key
            .seal_in_place_append_tag(nonce(frame), Aad::from(aad), &mut sealed)
            .map_err(|_| Unopened("the cipher refused it"))?;
        Ok(sealed)
    }

    pub(crate) fn open(
        &self,
        frame: u32,
        kind: FrameKind,
        sealed: &[u8],
        plain_len: usize,
    ) -> Result<Vec<u8>, Unopened> {
        let aad = terms::frame_aad(self.depot, self.slot, &self.salt, frame, kind);
        let mut opened = sealed.to_vec();
        let opened = self
            .key
            .open_in_place(nonce(frame), Aad::from(aad), &mut opened)
            .map_err(|_| Unopened("a seal does not open: altered, moved, or another key"))?;
        let plain = unpack(opened, plain_len)?;
        if plain.len() == plain_len { Ok(plain) } else { Err(Unopened("a frame of another length")) }
    }
}

/// How zstd is to work. Besides the level, 0 means what the level has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort {
    pub(crate) level: i32,
    /// The shortest repetition it looks for.
    pub(crate) match_min: u32,
}

impl Effort {
    pub(crate) const fn of_level(level: i32) -> Self {
        Self { level, match_min: 0 }
    }
}

/// What a thread keeps between frames: tables of a megabyte, which would be made anew for each.
struct Codec {
    effort: Effort,
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    packed: Vec<u8>,
}

thread_local!(static CODEC: RefCell<Option<Codec>> = const { RefCell::new(None) });

impl Codec {
    fn new(effort: Effort) -> io::Result<Self> {
        let (compressor, decompressor) = (Compressor::new(effort.level)?, Decompressor::new()?);
        Ok(Self { effort, compressor, decompressor, packed: Vec::new() })
    }

    /// Runs `work` with this thread's codec, which a failure throws away.
    fn with<T>(work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        CODEC.with_borrow_mut(|kept| {
            let mut codec = match kept.take() {
                Some(codec) => codec,
                None => Self::new(Effort::of_level(zstd::DEFAULT_COMPRESSION_LEVEL))?,
            };
            let done = work(&mut codec)?;
            *kept = Some(codec);
            Ok(done)
        })
    }

    fn set_effort(&mut self, effort: Effort) -> io::Result<()> {
        if effort == self.effort {
            return Ok(());
        }
        let Effort { level, match_min } = effort;
        self.compressor.set_compression_level(level)?;
        self.compressor.set_parameter(CParameter::MinMatch(match_min))?;
        self.effort = effort;
        Ok(())
    }
}

/// What does not shrink is stored as it is.
fn pack_up(plain: &[u8], effort: Effort) -> Vec<u8> {
    let shrunk = Codec::with(|codec| {
        codec.set_effort(effort)?;
        codec.packed.clear();
        codec.packed.reserve(compress_bound(plain.len()));
        let len = codec.compressor.compress_to_buffer(plain, &mut codec.packed)?;
        Ok((len < plain.len()).then(|| coded(CODEC_ZSTD, &codec.packed)))
    });
    shrunk.ok().flatten().unwrap_or_else(|| coded(CODEC_RAW, plain))
}

/// With room for the tag.
fn coded(codec: u8, bytes: &[u8]) -> Vec<u8> {
    let mut coded = Vec::with_capacity(1 + bytes.len() + TAG_LEN);
    coded.push(codec);
    coded.extend_from_slice(bytes);
    coded
}

pub(crate) fn unpack(packed: &[u8], plain_len: usize) -> Result<Vec<u8>, Unopened> {
    match packed.split_first() {
        Some((&CODEC_RAW, plain)) => Ok(plain.to_vec()),
        // The result is bounded by what the reference, itself checked, says of it.
        Some((&CODEC_ZSTD, packed)) => Codec::with(|codec| codec.decompressor.decompress(packed, plain_len))
            .map_err(|_| Unopened("a frame does not decompress")),
        _ => Err(Unopened("a frame packed in a way that is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> SlotKeys {
        SlotKeys::new(DepotId::from_bits(1), SlotId([2; 16]), KeyMaterial::from_bytes([byte; 32]))
    }

    #[test]
    fn a_frame_opens_only_where_it_was_sealed() {
        let noise: Vec<u8> =
            (0..100_u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..7].to_vec()).collect();
        for plain in [vec![], vec![7], vec![7; 10_000], noise] {
            let pack = keys(1).pack(Salt([3; 32])).expect("a key");
            let sealed = pack.seal(4, FrameKind::Data, &plain, Effort::of_level(1)).expect("sealed");
            assert!(sealed.len() <= 1 + plain.len() + TAG_LEN);
            assert_eq!(pack.open(4, FrameKind::Data, &sealed, plain.len()), Ok(plain.clone()));
            pack.open(5, FrameKind::Data, &sealed, plain.len()).expect_err("another number");
            pack.open(4, FrameKind::Tree, &sealed, plain.len()).expect_err("another kind");
            pack.open(4, FrameKind::Data, &sealed, plain.len() + 1).expect_err("another length");
            let salted = keys(1).pack(Salt([4; 32])).expect("a key");
            salted.open(4, FrameKind::Data, &sealed, plain.len()).expect_err("another pack");
            let other = keys(2).pack(Salt([3; 32])).expect("a key");
            other.open(4, FrameKind::Data, &sealed, plain.len()).expect_err("another key");
            for at in 0..sealed.len() {
                let mut flipped = sealed.clone();
                flipped[at] ^= 1;
                pack.open(4, FrameKind::Data, &flipped, plain.len()).expect_err("altered");
            }
        }
    }

    #[test]
    fn what_does_not_shrink_costs_one_byte_and_a_tag() {
        let noise: Vec<u8> = (0..1000_u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
        let sealed = keys(1)
            .pack(Salt([0; 32]))
            .expect("a key")
            .seal(0, FrameKind::Data, &noise, Effort::of_level(3))
            .expect("sealed");
        assert_eq!(sealed.len(), 1 + noise.len() + TAG_LEN);
    }
}

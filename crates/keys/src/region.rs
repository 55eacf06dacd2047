//! A region's default service key.
//!
//! Each wrap draws a key-encryption key of its own, which the root of trust seals and which travels
//! with what it wraps: a depot has one wrapped key per slot, so nothing is gained by sharing one, and
//! nothing has to be stored or kept alive here.

use std::sync::Arc;

use async_trait::async_trait;
use model::{Entropy, KeyId, RegionId};
use seal::{KEY_BYTES, KeyMaterial, NONCE_BYTES, Sealed, Sealer, TAG_BYTES, decrypt, encrypt};
use zeroize::Zeroizing;

use crate::{KeyError, KeyWrap, WrappedKey};

const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const MATERIAL_BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;
/// What a root of trust may make of 32 bytes. A remote one adds names and signatures of its own.
const SEALED_BYTES_MAX: usize = 16 << 10;

/// [`KeyWrap`] for the default service key of one region.
#[expect(missing_debug_implementations, reason = "it holds the root of trust")]
pub struct RegionKeys {
    region: RegionId,
    key: KeyId,
    sealer: Arc<dyn Sealer>,
    entropy: Arc<dyn Entropy>,
}

impl RegionKeys {
    pub fn new(region: RegionId, sealer: Arc<dyn Sealer>, entropy: Arc<dyn Entropy>) -> Self {
        let key = default_key(&region);
        Self { region, key, sealer, entropy }
    }

    /// The id under which this region's default service key is known.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    fn root_context(&self) -> String {
        format!("hikae/key/{}/{}", self.region, self.key)
    }

    /// What wrapped material is bound to. All before the context has a known length, so no two
    /// places read the same.
    fn bound(&self, context: &str) -> Vec<u8> {
        let region = self.region.0.as_bytes();
        [
            b"hikae wrapped key",
            &[VERSION][..],
            &self.key.bits().to_be_bytes(),
            &(region.len() as u64).to_be_bytes(),
            region,
            context.as_bytes(),
        ]
        .concat()
    }
}

/// Derived, not drawn: the same region has the same default key after everything else was lost.
fn default_key(region: &RegionId) -> KeyId {
    let hash = blake3::derive_key("hikae 2026 default service key of a region", region.0.as_bytes());
    let mut bits = [0; ID_BYTES];
    bits.copy_from_slice(&hash[..ID_BYTES]);
    KeyId::from_bits(u128::from_be_bytes(bits))
}

#[async_trait]
impl KeyWrap for RegionKeys {
    async fn wrap(&self, material: &KeyMaterial, context: &str) -> Result<WrappedKey, KeyError> {
        let over = KeyMaterial::random(&*self.entropy);
        let sealed = self.sealer.seal(over.expose(), &self.root_context()).await?;
        let wrapped = encrypt(&over, material.expose(), &self.bound(context), &*self.entropy)
            .map_err(|_| KeyError::Refused)?;
        let parts = Parts { key: self.key, region: self.region.clone(), sealed, wrapped };
        Ok(WrappedKey { key: self.key, bytes: parts.encode() })
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &str) -> Result<KeyMaterial, KeyError> {
        let parts = Parts::decode(&wrapped.bytes)?;
        if wrapped.key != self.key {
            return Err(KeyError::NoKey(wrapped.key));
        }
        // The name is not trusted: what is bound to it would not open under another.
        if parts.key != self.key || parts.region != self.region {
            return Err(KeyError::NoKey(parts.key));
        }
        let over = material_of(&self.sealer.open(&parts.sealed, &self.root_context()).await?)?;
        let plain = decrypt(&over, &parts.wrapped, &self.bound(context)).map_err(|_| KeyError::Refused)?;
        material_of(&plain)
    }
}

fn material_of(plain: &[u8]) -> Result<KeyMaterial, KeyError> {
    let bytes: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(plain.try_into().map_err(|_| KeyError::Refused)?);
    Ok(KeyMaterial::from_bytes(*bytes))
}

impl WrappedKey {
    /// The region whose key wrapped it, as the bytes say: with the root of trust they suffice.
    pub fn region(&self) -> Result<RegionId, KeyError> {
        Ok(Parts::decode(&self.bytes)?.region)
    }
}

/// The bytes of a wrapped key: version, key id, the region's name, the sealed key over it, the
/// wrapped material.
struct Parts {
    key: KeyId,
    region: RegionId,
    sealed: Sealed,
    wrapped: Vec<u8>,
}

impl Parts {
    fn encode(&self) -> Vec<u8> {
        let id = self.key.bits().to_be_bytes();
        // The wrapped material has a fixed length, so the sealed part needs none written.
        let region = self.region.0.as_bytes();
        // A region's name is a few letters: the configuration allows 32.
        let len = u8::try_from(region.len()).unwrap_or(u8::MAX);
        [&[VERSION][..], &id, &[len], &region[..usize::from(len)], &self.sealed.0, &self.wrapped].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let (&version, rest) = bytes.split_first().ok_or(KeyError::Refused)?;
        if version != VERSION {
            return Err(KeyError::Version(version));
        }
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>().ok_or(KeyError::Refused)?;
        let (&len, rest) = rest.split_first().ok_or(KeyError::Refused)?;
        let (region, rest) = rest.split_at_checked(usize::from(len)).ok_or(KeyError::Refused)?;
        let region = std::str::from_utf8(region).map_err(|_| KeyError::Refused)?;
        let at = rest.len().checked_sub(MATERIAL_BYTES).filter(|&at| at <= SEALED_BYTES_MAX);
        let (sealed, wrapped) = rest.split_at(at.ok_or(KeyError::Refused)?);
        let key = KeyId::from_bits(u128::from_be_bytes(*id));
        if key.bits().to_be_bytes() != *id {
            return Err(KeyError::Refused);
        }
        Ok(Self {
            key,
            region: RegionId::from(region),
            sealed: Sealed(sealed.to_vec()),
            wrapped: wrapped.to_vec(),
        })
    }
}

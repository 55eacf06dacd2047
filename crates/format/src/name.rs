//! Names of chunks and tree nodes (secret-keyed), and of packs (anyone can check them).

use std::fmt;

use model::Timestamp;
use zeroize::Zeroizing;

use crate::{FormatError, Geometry, terms};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident[$len:literal];)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(pub [u8; $len]);
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&hex::encode(self.0))
                }
            }
            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }
            impl std::str::FromStr for $name {
                type Err = FormatError;
                fn from_str(text: &str) -> Result<Self, FormatError> {
                    let why = "not lower-case hexadecimal of its length";
                    let wrong = FormatError::Damaged { what: "name", why };
                    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                        return Err(wrong);
                    }
                    let mut name = [0; $len];
                    hex::decode_to_slice(text, &mut name).map_err(|_| wrong)?;
                    Ok(Self(name))
                }
            }
        )*
    };
}

names! {
    /// Names a chunk by its plain bytes, or a tree node by the names below it. 128 bits of a keyed
    /// hash: who has no key can neither guess content from it nor look for two that collide.
    Name[16];
    /// The BLAKE3 hash of a pack's sealed bytes.
    PackName[32];
    /// The first bytes of a pack's name, where it is enough to know what must stay.
    PackStem[8];
    /// Which data key something is sealed under.
    SlotId[16];
    /// Drawn for each pack and each manifest, so that no key ever meets a nonce twice.
    Salt[32];
    /// One try at sealing a group. No two have the same name, so no object of a group is ever put, or
    /// deleted, under a name that was in use before: what arrives late changes nothing.
    Attempt[16];
}

impl Attempt {
    /// Names sort by when they began.
    pub fn new(begun: Timestamp, chance: [u8; 8]) -> Self {
        let begun = u64::try_from(begun.0).unwrap_or(0);
        Self(((u128::from(begun) << 64) | u128::from(u64::from_be_bytes(chance))).to_be_bytes())
    }

    /// By the clock of whoever began it.
    pub fn begun(self) -> Timestamp {
        let begun = u128::from_be_bytes(self.0) >> 64;
        Timestamp(i64::try_from(begun).unwrap_or(i64::MAX))
    }
}

impl PackName {
    /// Stands, inside a node, for the very pack the node lies in: its name is not known while it is written.
    pub const SELF: Self = Self([0; 32]);

    pub fn of(sealed: &[u8]) -> Self {
        Self(*blake3::hash(sealed).as_bytes())
    }

    pub const fn stem(self) -> PackStem {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        PackStem([a, b, c, d, e, f, g, h])
    }
}

/// The keys names are made with; they come from a data key and are as secret.
pub struct NameKeys {
    chunk: Zeroizing<[u8; 32]>,
    node: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for NameKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKeys")
    }
}

impl NameKeys {
    pub fn new(data_key: &[u8; 32]) -> Self {
        Self {
            chunk: Zeroizing::new(blake3::derive_key(terms::CHUNK_NAMES, data_key)),
            node: Zeroizing::new(blake3::derive_key(terms::NODE_NAMES, data_key)),
        }
    }

    pub fn chunk(&self, plain: &[u8]) -> Name {
        cut(blake3::keyed_hash(&self.chunk, plain))
    }

    /// Covers what is below and not where it lies: equal content has an equal name wherever it was put.
    pub fn node(&self, geometry: Geometry, level: u8, children: impl Iterator<Item = (u32, Name)>) -> Name {
        let mut hasher = blake3::Hasher::new_keyed(&self.node);
        hasher.update(&[geometry.chunk_log2(), geometry.leaf_log2(), geometry.node_log2(), level]);
        for (index, name) in children {
            hasher.update(&index.to_le_bytes());
            hasher.update(&name.0);
        }
        cut(hasher.finalize())
    }
}

fn cut(hash: blake3::Hash) -> Name {
    let mut name = [0; 16];
    name.copy_from_slice(&hash.as_bytes()[..16]);
    Name(name)
}

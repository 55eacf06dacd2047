//! One registry of typed ids: each kind has its own type and prints its own prefix.
//!
//! An id is 100 bits, written as twenty characters of base 32 after the prefix. Points and
//! snapshots share the letter `s` on the wire; points carry `s-000` and are longer, so the two
//! never parse as each other.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const BODY_LEN: usize = 20;
const BITS: u32 = 100;

/// What an id names.
pub trait Kind {
    const PREFIX: &'static str;
    /// The noun, for messages.
    const NOUN: &'static str;
}

/// The id of one resource of kind `K`.
pub struct Id<K> {
    bits: u128,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Id<K> {
    /// Makes an id of 100 bits drawn, or derived, by the caller; higher bits are dropped.
    pub const fn from_bits(bits: u128) -> Self {
        Self { bits: bits & ((1 << BITS) - 1), kind: PhantomData }
    }

    pub const fn bits(self) -> u128 {
        self.bits
    }

    /// The same 100 bits under another kind, for ids derived from one another (a disk's snapshot
    /// and that disk's point).
    pub const fn cast<L: Kind>(self) -> Id<L> {
        Id::from_bits(self.bits)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bits.cmp(&other.bits)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::PREFIX)?;
        let mut body = [0; BODY_LEN];
        let mut rest = self.bits;
        for slot in body.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&body).map_err(|_| fmt::Error)?)
    }
}
impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the id of a {noun} (those look like {prefix}…)")]
pub struct IdError {
    pub text: String,
    pub noun: &'static str,
    pub prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let body = text.strip_prefix(K::PREFIX)?.as_bytes();
            if body.len() != BODY_LEN {
                return None;
            }
            let mut bits = 0_u128;
            for byte in body {
                let digit = ALPHABET.iter().position(|letter| letter == byte)?;
                bits = bits << 5 | digit as u128;
            }
            Some(Self::from_bits(bits))
        };
        parse().ok_or_else(|| IdError {
            text: text.chars().take(64).collect(),
            noun: K::NOUN,
            prefix: K::PREFIX,
        })
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! kinds {
    ($($kind:ident $id:ident = $prefix:literal, $noun:literal;)*) => {
        /// The marker types behind the id aliases.
        pub mod kinds {
            $(
                #[derive(Debug)]
                pub enum $kind {}
                impl super::Kind for $kind {
                    const PREFIX: &'static str = $prefix;
                    const NOUN: &'static str = $noun;
                }
            )*
        }
        $(pub type $id = Id<kinds::$kind>;)*

        #[cfg(test)]
        const PREFIXES: &[&str] = &[$($prefix),*];
    };
}

// Append only: a prefix, once printed, belongs to its kind for ever.
kinds! {
    AccessKey AccessKeyId = "HK", "access key";
    Binding BindingId = "pd-", "policy binding";
    Chain ChainId = "sl-", "snapshot chain";
    Depot DepotId = "depot-", "depot";
    Disk DiskId = "d-", "disk";
    Group GroupId = "ssg-", "snapshot group";
    Host HostId = "h-", "host";
    Instance InstanceId = "i-", "instance";
    Job JobId = "job-", "backup job";
    Key KeyId = "key-", "key";
    Point PointId = "s-000", "backup point";
    Policy PolicyId = "po-", "policy";
    Restore RestoreId = "r-", "restore job";
    Rule RuleId = "rule-", "policy rule";
    Snapshot SnapshotId = "s-", "snapshot";
    Task TaskId = "t-", "task";
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
            #[serde(transparent)]
            pub struct $name(pub String);
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&self.0)
                }
            }
            impl From<&str> for $name {
                fn from(name: &str) -> Self {
                    Self(name.to_owned())
                }
            }
        )*
    };
}

names! {
    /// A site with its own depot, keys and hosts. The operator names it.
    RegionId,
    /// Hosts of a region that can be snapshotted at one instant.
    ZoneId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_printing_and_parsing() {
        for bits in [0, 1, u128::MAX, 0x1234_5678_9abc_def0_1234_5678] {
            let id = DiskId::from_bits(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn a_point_is_never_read_as_a_snapshot() {
        let point = PointId::from_bits(7);
        assert!(point.to_string().parse::<SnapshotId>().is_err());
        let snapshot = SnapshotId::from_bits(7);
        assert!(snapshot.to_string().parse::<PointId>().is_err());
    }

    #[test]
    fn prefixes_are_unique() {
        let mut seen = PREFIXES.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), PREFIXES.len());
    }

    #[test]
    fn odd_text_is_refused() {
        for text in
            ["", "d-", "d-0", "i-00000000000000000000", "d-0000000000000000000u", "d-ああああああああああ"]
        {
            assert!(text.parse::<DiskId>().is_err(), "{text}");
        }
    }
}

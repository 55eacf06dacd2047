//! The way into a snapshot: what a manifest says of a disk's tree, and its text between two steps.

use std::fmt;
use std::str::FromStr;

use crate::bytes::{Decoder, Encoder};
use crate::{DISK_LEN_MAX, FormatError, Geometry, Link, Name, PackName, Place, SlotId};

const WHAT: &str = "tree reference";
const TEXT_PREFIX: &str = "tree1-";
const TEXT_SUM_LEN: usize = 4;

/// One disk's tree. No root: the whole disk reads as zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeRef {
    pub slot: SlotId,
    pub geometry: Geometry,
    /// Of the disk, in bytes.
    pub size: u64,
    pub root: Option<Link>,
}

impl TreeRef {
    pub fn root_level(&self) -> u8 {
        self.geometry.root_level(self.size)
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        let geometry = self.geometry;
        out.put(&self.slot.0).u8(geometry.chunk_log2()).u8(geometry.leaf_log2()).u8(geometry.node_log2());
        out.u64(self.size).u8(u8::from(self.root.is_some()));
        if let Some(Link { name, place }) = &self.root {
            out.put(&name.0).put(&place.pack.0).u32(place.frame).u32(place.offset);
            out.u32(place.sealed_len).u32(place.plain_len).u32(place.at).u32(place.len);
        }
    }

    pub(crate) fn decode(input: &mut Decoder<'_>) -> Result<Self, FormatError> {
        let slot = SlotId(input.array()?);
        let geometry = Geometry::new(input.u8()?, input.u8()?, input.u8()?)?;
        let size = input.u64()?;
        if size > DISK_LEN_MAX {
            return Err(input.damaged("a disk larger than the format allows"));
        }
        let root = match input.u8()? {
            0 => None,
            1 => {
                let name = Name(input.array()?);
                let place = Place {
                    pack: PackName(input.array()?),
                    frame: input.u32()?,
                    offset: input.u32()?,
                    sealed_len: input.u32()?,
                    plain_len: input.u32()?,
                    at: input.u32()?,
                    len: input.u32()?,
                };
                Some(Link { name, place: place.check()? })
            }
            _ => return Err(input.damaged("neither a root nor none")),
        };
        Ok(Self { slot, geometry, size, root })
    }
}

impl fmt::Display for TreeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Encoder::default();
        self.encode(&mut out);
        let bytes = out.finish();
        let sum = blake3::hash(&bytes);
        write!(f, "{TEXT_PREFIX}{}{}", hex::encode(&bytes), hex::encode(&sum.as_bytes()[..TEXT_SUM_LEN]))
    }
}

impl FromStr for TreeRef {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let hex_text = text.strip_prefix(TEXT_PREFIX).ok_or(FormatError::NotOurs { what: WHAT })?;
        let bytes =
            hex::decode(hex_text).map_err(|_| FormatError::Damaged { what: WHAT, why: "not hexadecimal" })?;
        let short = FormatError::Damaged { what: WHAT, why: "too short" };
        let (body, sum) = bytes.split_last_chunk::<TEXT_SUM_LEN>().ok_or(short)?;
        if blake3::hash(body).as_bytes()[..TEXT_SUM_LEN] != sum[..] {
            return Err(FormatError::Damaged { what: WHAT, why: "its checksum does not match" });
        }
        let mut input = Decoder::new(WHAT, body);
        let tree = Self::decode(&mut input)?;
        input.end()?;
        Ok(tree)
    }
}

//! Packs: a header, sealed frames, a sealed table of contents, a footer that says where that is.

use model::DepotId;

use crate::bytes::{Decoder, Encoder};
use crate::{FormatError, Name, Salt, SlotId};

const MAGIC: &[u8; 8] = b"HIKAEpck";
const END: &[u8; 8] = b"HIKAEend";
const VERSION: u16 = 1;
const WHAT: &str = "pack";
const TOC: &str = "table of contents";

/// A pack is fetched whole in places, so it has to fit memory several times.
pub const PACK_LEN_MAX: usize = 64 << 20;
/// A frame is opened whole.
pub const FRAME_PLAIN_MAX: usize = 4 << 20;
pub const HEADER_LEN: usize = 8 + 2 + 16 + 16 + 32;
pub const FOOTER_LEN: usize = 4 + 4 + 4 + 8;

/// First bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    pub depot: DepotId,
    pub slot: SlotId,
    pub salt: Salt,
}

impl PackHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC, VERSION);
        out.u128(self.depot.bits()).put(&self.slot.0).put(&self.salt.0);
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut input = Decoder::open(WHAT, MAGIC, VERSION, bytes)?;
        let header =
            Self { depot: depot_id(&mut input)?, slot: SlotId(input.array()?), salt: Salt(input.array()?) };
        input.end()?;
        Ok(header)
    }
}

pub(crate) fn depot_id(input: &mut Decoder<'_>) -> Result<DepotId, FormatError> {
    let bits = input.u128()?;
    let depot = DepotId::from_bits(bits);
    if depot.bits() == bits { Ok(depot) } else { Err(input.damaged("an id of more than 100 bits")) }
}

/// Last bytes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackFooter {
    pub toc_offset: u32,
    pub toc_sealed_len: u32,
    pub toc_plain_len: u32,
}

impl PackFooter {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u32(self.toc_offset).u32(self.toc_sealed_len).u32(self.toc_plain_len).put(END);
        out.finish()
    }

    /// `pack_len` is the whole pack's, which the table must lie in.
    pub fn decode(bytes: &[u8], pack_len: u64) -> Result<Self, FormatError> {
        let mut input = Decoder::new(WHAT, bytes);
        let footer =
            Self { toc_offset: input.u32()?, toc_sealed_len: input.u32()?, toc_plain_len: input.u32()? };
        if input.array::<8>()? != *END {
            return Err(input.damaged("its end is not there"));
        }
        let toc_end = u64::from(footer.toc_offset) + u64::from(footer.toc_sealed_len);
        if pack_len > PACK_LEN_MAX as u64 || toc_end + FOOTER_LEN as u64 != pack_len {
            return Err(input.damaged("its parts do not add up"));
        }
        if footer.toc_plain_len as usize > PACK_LEN_MAX {
            return Err(input.damaged("a table of contents longer than the format allows"));
        }
        input.end()?;
        Ok(footer)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    Data,
    Tree,
    Toc,
}

impl FrameKind {
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Tree => 2,
            Self::Toc => 3,
        }
    }
}

/// What is in a pack: enough to find every chunk and node in it without any tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Toc {
    /// In order: the index is the frame's number.
    pub frames: Vec<TocFrame>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TocFrame {
    pub kind: FrameKind,
    pub offset: u32,
    pub sealed_len: u32,
    pub plain_len: u32,
    pub inside: Vec<Inside>,
}

/// A chunk or node in a frame: consecutive, from offset 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    pub name: Name,
    pub len: u32,
}

impl Toc {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.count(self.frames.len());
        for frame in &self.frames {
            out.u8(frame.kind.code()).u32(frame.offset).u32(frame.sealed_len).u32(frame.plain_len);
            out.count(frame.inside.len());
            for item in &frame.inside {
                out.put(&item.name.0);
            }
            for item in &frame.inside {
                out.u32(item.len);
            }
        }
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut input = Decoder::new(TOC, bytes);
        let frame_count = input.count(PACK_LEN_MAX / 32, 17)?;
        let mut frames = Vec::with_capacity(frame_count);
        for _ in 0..frame_count {
            let kind = match input.u8()? {
                1 => FrameKind::Data,
                2 => FrameKind::Tree,
                _ => return Err(input.damaged("a kind of frame that is not known")),
            };
            let (offset, sealed_len, plain_len) = (input.u32()?, input.u32()?, input.u32()?);
            let count = input.count(FRAME_PLAIN_MAX, 20)?;
            let names = (0..count).map(|_| input.array().map(Name)).collect::<Result<Vec<_>, _>>()?;
            let mut inside = Vec::with_capacity(count);
            for name in names {
                inside.push(Inside { name, len: input.u32()? });
            }
            let filled: u64 = inside.iter().map(|item| u64::from(item.len)).sum();
            let in_pack = u64::from(offset) + u64::from(sealed_len) <= PACK_LEN_MAX as u64;
            if filled != u64::from(plain_len) || plain_len as usize > FRAME_PLAIN_MAX || !in_pack {
                return Err(input.damaged("a frame whose parts do not add up"));
            }
            frames.push(TocFrame { kind, offset, sealed_len, plain_len, inside });
        }
        input.end()?;
        Ok(Self { frames })
    }
}

//! Tree nodes: names of what is below, and where it lies.
//!
//! Columns rather than rows: names do not compress, places repeat, and kept apart they cost next to
//! nothing. Packs and frames are named once per node in tables of its own, so reading needs no index.

use std::collections::HashMap;
use std::hash::Hash;

use crate::bytes::{Decoder, Encoder};
use crate::terms::TAG_LEN;
use crate::{
    Below, FRAME_PLAIN_MAX, FormatError, Geometry, Name, NameKeys, PACK_LEN_MAX, PackName, PackStem,
};

const WHAT: &str = "tree node";

/// Where some bytes lie: a frame of a pack, and a range of what is in the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub pack: PackName,
    pub frame: u32,
    /// Of the sealed frame within the pack.
    pub offset: u32,
    pub sealed_len: u32,
    /// Of the frame, opened and decompressed.
    pub plain_len: u32,
    /// Of the bytes within the opened frame.
    pub at: u32,
    pub len: u32,
}

impl Place {
    pub(crate) fn check(self) -> Result<Self, FormatError> {
        let in_frame = u64::from(self.at) + u64::from(self.len) <= u64::from(self.plain_len);
        let in_pack = u64::from(self.offset) + u64::from(self.sealed_len) <= PACK_LEN_MAX as u64;
        // Nothing sealed is shorter than the byte that says how it is packed, and the tag.
        let sealed = self.sealed_len as usize > TAG_LEN;
        if in_frame && in_pack && sealed && self.plain_len as usize <= FRAME_PLAIN_MAX && self.len > 0 {
            return Ok(self);
        }
        Err(FormatError::Damaged { what: "place", why: "a range outside of its frame or pack" })
    }
}

/// A chunk or node, by name, and where to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    pub name: Name,
    pub place: Place,
}

/// One node. A child that is `None` reads as zeroes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub level: u8,
    pub children: Vec<Option<Link>>,
    /// Above leaves: what packs lie below each child. `None`: they are too many, its children know.
    pub below: Option<Below>,
}

impl Node {
    pub fn empty(geometry: Geometry, level: u8) -> Self {
        Self { level, children: vec![None; geometry.fan_out(level) as usize], below: None }
    }

    /// Every pack that is named here or below, apart from the one this node lies in, in order of
    /// stem. `None`: its children must be asked.
    pub fn reach(&self, lies_in: PackName) -> Option<Vec<PackStem>> {
        let packs = self.children.iter().flatten().map(|link| link.place.pack);
        let mut reach: Vec<PackStem> = packs.filter(|pack| *pack != lies_in).map(PackName::stem).collect();
        if self.level > 0 {
            reach.extend_from_slice(self.below.as_ref()?.packs());
        }
        reach.sort_unstable();
        reach.dedup();
        Some(reach)
    }

    /// What this node says of the packs below one of its children. `None`: nothing.
    pub fn below_child(&self, child: usize) -> Option<Vec<PackStem>> {
        let before = self.children.get(..child)?.iter().flatten().count();
        Some(self.below.as_ref()?.of_child(before))
    }

    pub fn is_empty(&self) -> bool {
        self.children.iter().all(Option::is_none)
    }

    pub fn name(&self, keys: &NameKeys, geometry: Geometry) -> Name {
        let present =
            (0..).zip(&self.children).filter_map(|(index, child)| Some((index, child.as_ref()?.name)));
        keys.node(geometry, self.level, present)
    }

    /// Children in `PackName::SELF` stay so; a reader resolves them to the pack it read the node from.
    ///
    /// # Panics
    /// When the node has not as many children as its geometry says: nobody but us builds nodes.
    pub fn encode(&self, geometry: Geometry) -> Vec<u8> {
        assert_eq!(self.children.len(), geometry.fan_out(self.level) as usize, "a node of another geometry");
        let present: Vec<Link> = self.children.iter().copied().flatten().collect();
        let (packs, _) = table(present.iter().map(|link| link.place.pack));
        let (frames, frame_of) = table(present.iter().map(|link| Place { at: 0, len: 1, ..link.place }));
        let mut out = Encoder::default();
        out.u8(self.level);
        out.count(packs.len());
        for pack in &packs {
            out.put(&pack.0);
        }
        out.count(frames.len());
        for frame in &frames {
            let pack = packs.iter().position(|pack| *pack == frame.pack).unwrap_or_default();
            out.count(pack).u32(frame.frame).u32(frame.offset).u32(frame.sealed_len).u32(frame.plain_len);
        }
        out.put(&presence(&self.children));
        for link in &present {
            out.put(&link.name.0);
        }
        for frame in frame_of {
            out.count(frame);
        }
        for link in &present {
            out.u32(link.place.at);
        }
        if self.level > 0 {
            for link in &present {
                out.u32(link.place.len);
            }
            Below::encode(self.below.as_ref(), &mut out);
        }
        out.finish()
    }

    /// `lies_in` is the pack the bytes were read from.
    pub fn decode(
        bytes: &[u8],
        geometry: Geometry,
        level: u8,
        lies_in: PackName,
    ) -> Result<Self, FormatError> {
        let mut input = Decoder::new(WHAT, bytes);
        if input.u8()? != level {
            return Err(input.damaged("a node of another level"));
        }
        let fan_out = geometry.fan_out(level) as usize;
        let frames = decode_frames(&mut input, fan_out, lies_in)?;
        let mut children = vec![None; fan_out];
        let slots: Vec<usize> = {
            let bits = input.bytes(fan_out / 8)?;
            (0..fan_out).filter(|index| bits[index / 8] >> (index % 8) & 1 == 1).collect()
        };
        let names = slots.iter().map(|_| input.array().map(Name)).collect::<Result<Vec<_>, _>>()?;
        let frame_of = slots.iter().map(|_| input.u32()).collect::<Result<Vec<_>, _>>()?;
        let ats = slots.iter().map(|_| input.u32()).collect::<Result<Vec<_>, _>>()?;
        let lens = match level {
            0 => vec![geometry.chunk_len(); slots.len()],
            _ => slots.iter().map(|_| input.u32()).collect::<Result<Vec<_>, _>>()?,
        };
        let below = if level == 0 { None } else { Below::decode(&mut input, slots.len())? };
        for (nth, slot) in slots.into_iter().enumerate() {
            let frame =
                *frames.get(frame_of[nth] as usize).ok_or(input.damaged("a frame it does not list"))?;
            let place = Place { at: ats[nth], len: lens[nth], ..frame }.check()?;
            children[slot] = Some(Link { name: names[nth], place });
        }
        input.end()?;
        Ok(Self { level, children, below })
    }
}

fn decode_frames(input: &mut Decoder<'_>, most: usize, lies_in: PackName) -> Result<Vec<Place>, FormatError> {
    let pack_count = input.count(most, 32)?;
    let mut packs = Vec::with_capacity(pack_count);
    for _ in 0..pack_count {
        let pack = PackName(input.array()?);
        packs.push(if pack == PackName::SELF { lies_in } else { pack });
    }
    let frame_count = input.count(most, 20)?;
    let mut frames = Vec::with_capacity(frame_count);
    for _ in 0..frame_count {
        let pack = *packs.get(input.u32()? as usize).ok_or(input.damaged("a pack it does not list"))?;
        let (frame, offset, sealed_len, plain_len) = (input.u32()?, input.u32()?, input.u32()?, input.u32()?);
        frames.push(Place { pack, frame, offset, sealed_len, plain_len, at: 0, len: 1 });
    }
    Ok(frames)
}

/// The distinct items in order of first use, and for each item its index among them.
fn table<T: Copy + Eq + Hash>(items: impl Iterator<Item = T>) -> (Vec<T>, Vec<usize>) {
    let mut distinct = Vec::new();
    let mut known = HashMap::new();
    let indices = items
        .map(|item| {
            *known.entry(item).or_insert_with(|| {
                distinct.push(item);
                distinct.len() - 1
            })
        })
        .collect();
    (distinct, indices)
}

fn presence(children: &[Option<Link>]) -> Vec<u8> {
    children
        .chunks(8)
        .map(|eight| eight.iter().rev().fold(0, |bits, child| bits << 1 | u8::from(child.is_some())))
        .collect()
}

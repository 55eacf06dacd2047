//! Which packs lie below each child of a node, so that collection need not look there.
//!
//! Packs go by their stems: the sets only ever say what must stay, and should two packs share a
//! stem, both stay. A child's set leaves out the pack the child itself lies in, which its place
//! names; so nothing here ever means the pack that is still being written.

use std::collections::HashMap;

use crate::bytes::{Decoder, Encoder};
use crate::{FormatError, PackStem};

/// More packs than this below a node, and the node says that its children must be asked: it stays
/// small, however large and however old the disk.
pub const BELOW_MAX: usize = 256;

/// Stands in place of a count for "ask the children".
const ASK: u16 = u16::MAX;

/// The packs below a node, child by child.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Below {
    packs: Vec<PackStem>,
    /// A row of bits for each child that is present: bit n stands for pack n.
    rows: Vec<u8>,
}

impl Below {
    /// Of the children that are present, in order. `None` if they are too many to be written down.
    pub fn of<'a>(children: impl Iterator<Item = &'a [PackStem]> + Clone) -> Option<Self> {
        let (mut packs, mut number) = (Vec::new(), HashMap::new());
        for pack in children.clone().flatten() {
            number.entry(*pack).or_insert_with(|| {
                packs.push(*pack);
                packs.len() - 1
            });
        }
        if packs.len() > BELOW_MAX {
            return None;
        }
        let mut rows = Vec::new();
        for child in children {
            let from = rows.len();
            rows.resize(from + packs.len().div_ceil(8), 0);
            for nth in child.iter().filter_map(|pack| number.get(pack)) {
                rows[from + nth / 8] |= 1 << (nth % 8);
            }
        }
        Some(Self { packs, rows })
    }

    /// Of all children together.
    pub fn packs(&self) -> &[PackStem] {
        &self.packs
    }

    /// Of the nth child that is present, in order of stem.
    pub fn of_child(&self, nth: usize) -> Vec<PackStem> {
        let len = self.packs.len().div_ceil(8);
        let row = self.rows.get(nth * len..(nth + 1) * len).unwrap_or_default();
        let is_set =
            |(at, _): &(usize, &PackStem)| row.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        let mut packs: Vec<PackStem> =
            self.packs.iter().enumerate().filter(is_set).map(|(_, pack)| *pack).collect();
        packs.sort_unstable();
        packs
    }

    pub(crate) fn encode(below: Option<&Self>, out: &mut Encoder) {
        let Some(below) = below else {
            out.u16(ASK);
            return;
        };
        out.u16(u16::try_from(below.packs.len()).unwrap_or(ASK));
        for pack in &below.packs {
            out.put(&pack.0);
        }
        out.put(&below.rows);
    }

    pub(crate) fn decode(input: &mut Decoder<'_>, present: usize) -> Result<Option<Self>, FormatError> {
        let count = match input.u16()? {
            ASK => return Ok(None),
            count => usize::from(count),
        };
        if count > BELOW_MAX {
            return Err(input.damaged("more packs below than a node may list"));
        }
        let packs = (0..count).map(|_| input.array().map(PackStem)).collect::<Result<Vec<_>, _>>()?;
        let rows = input.bytes(present * count.div_ceil(8))?.to_vec();
        Ok(Some(Self { packs, rows }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stem(number: u16) -> PackStem {
        let mut stem = [0; 8];
        stem[..2].copy_from_slice(&number.to_be_bytes());
        PackStem(stem)
    }

    #[test]
    fn each_child_has_its_own_set() {
        let sets: Vec<Vec<PackStem>> =
            vec![vec![], (0..20).map(stem).collect(), vec![stem(3), stem(99)], (5..256).map(stem).collect()];
        let below = Below::of(sets.iter().map(Vec::as_slice)).expect("few enough");
        assert_eq!(below.packs().len(), BELOW_MAX);
        for (nth, set) in sets.iter().enumerate() {
            assert_eq!(below.of_child(nth), *set);
        }
        assert_eq!(below.of_child(sets.len()), []);
        let mut out = Encoder::default();
        Below::encode(Some(&below), &mut out);
        let bytes = out.finish();
        assert_eq!(bytes.len(), 2 + 256 * 8 + sets.len() * 32);
        assert_eq!(Below::decode(&mut Decoder::new("sets", &bytes), sets.len()), Ok(Some(below)));
        assert!(Below::decode(&mut Decoder::new("sets", &bytes[..99]), sets.len()).is_err());
    }

    #[test]
    fn too_many_are_not_written_down() {
        let many: Vec<PackStem> = (0..257).map(stem).collect();
        assert_eq!(Below::of([many.as_slice()].into_iter()), None);
        assert_eq!(Below::of([&many[..200], &many[..256]].into_iter()).map(|all| all.packs.len()), Some(256));
        let mut out = Encoder::default();
        Below::encode(None, &mut out);
        let bytes = out.finish();
        assert_eq!(Below::decode(&mut Decoder::new("sets", &bytes), 64), Ok(None));
        assert!(Below::decode(&mut Decoder::new("sets", &[1, 1]), 64).is_err());
    }
}

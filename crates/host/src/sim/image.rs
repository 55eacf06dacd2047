//! What a simulated disk holds: a sparse map of blocks that costs only what was written, and when
//! each granule was last written.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Extent;

use crate::{DiskExtent, HostError};

/// Grain of storage.
const BLOCK: u64 = BLOCK_LEN as u64;
const BLOCK_LEN: usize = 4096;
/// Grain of change tracking: that of a qcow2 dirty bitmap.
pub(super) const GRANULE: u64 = 64 << 10;
/// An answer holds no more extents than this; the caller asks on.
const EXTENTS_MAX: usize = 1024;
/// A run of blocks is looked ahead no further than this.
const RUN_BLOCKS_MAX: u64 = 4096;
/// One read returns no more than this.
const READ_BYTES_MAX: u64 = 256 << 20;

type Block = Arc<[u8; BLOCK_LEN]>;

/// Copied on write: cloning one shares its blocks.
#[derive(Clone)]
pub(super) struct Image {
    size: u64,
    /// No block of zeroes is kept.
    blocks: BTreeMap<u64, Block>,
    /// By granule, the number of the last write to it.
    touched: BTreeMap<u64, u64>,
}

impl Image {
    pub(super) fn empty(size: u64) -> Self {
        Self { size, blocks: BTreeMap::new(), touched: BTreeMap::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn read(&self, range: Extent) -> Result<Vec<u8>, HostError> {
        self.check(range)?;
        if range.len > READ_BYTES_MAX {
            return Err(HostError::Failed(format!("a read of {} bytes is too long", range.len)));
        }
        let mut bytes = vec![0; index(range.len)];
        for (number, within, at) in pieces(range) {
            if let Some(block) = self.blocks.get(&number) {
                let piece = &block[within];
                bytes[at..at + piece.len()].copy_from_slice(piece);
            }
        }
        Ok(bytes)
    }

    /// Writes as write number `write`; those numbers only grow.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8], write: u64) -> Result<(), HostError> {
        let range = Extent { offset, len: bytes.len() as u64 };
        self.check(range)?;
        for (number, within, at) in pieces(range) {
            let piece = &bytes[at..at + within.len()];
            let mut block = match self.blocks.get(&number) {
                Some(block) => **block,
                None => [0; BLOCK_LEN],
            };
            block[within].copy_from_slice(piece);
            if block.iter().all(|byte| *byte == 0) {
                self.blocks.remove(&number);
            } else {
                self.blocks.insert(number, Arc::new(block));
            }
            self.touched.insert(number * BLOCK / GRANULE, write);
        }
        Ok(())
    }

    /// What lies in `range`. Changed means written after write number `since`; without one
    /// everything counts as changed.
    pub(super) fn extents(&self, range: Extent, since: Option<u64>) -> Result<Vec<DiskExtent>, HostError> {
        self.check(range)?;
        let mut found: Vec<DiskExtent> = Vec::new();
        let (mut zero, mut changed) = ((false, 0), (false, 0));
        let mut at = range.offset;
        while at < range.end() && found.len() < EXTENTS_MAX {
            if zero.1 <= at {
                zero = self.zero_run(at);
            }
            if changed.1 <= at {
                changed = self.changed_run(at, since);
            }
            let end = zero.1.min(changed.1).min(range.end());
            match found.last_mut() {
                Some(last) if last.zero == zero.0 && last.changed == changed.0 => last.extent.len += end - at,
                _ => found.push(DiskExtent {
                    extent: Extent { offset: at, len: end - at },
                    zero: zero.0,
                    changed: changed.0,
                }),
            }
            at = end;
        }
        Ok(found)
    }

    /// Whether `at` lies in a hole, and where that, at least, ends.
    fn zero_run(&self, at: u64) -> (bool, u64) {
        let first = at / BLOCK;
        if !self.blocks.contains_key(&first) {
            let next = self.blocks.range(first..).next().map_or(u64::MAX, |(number, _)| number * BLOCK);
            return (true, next);
        }
        let mut end = first;
        for (number, _) in self.blocks.range(first..first + RUN_BLOCKS_MAX) {
            if *number != end {
                break;
            }
            end += 1;
        }
        (false, end * BLOCK)
    }

    fn changed_run(&self, at: u64, since: Option<u64>) -> (bool, u64) {
        let Some(since) = since else { return (true, u64::MAX) };
        let first = at / GRANULE;
        let mut after =
            self.touched.range(first..).filter(|(_, write)| **write > since).map(|(granule, _)| *granule);
        match after.next() {
            None => (false, u64::MAX),
            Some(next) if next > first => (false, next * GRANULE),
            Some(_) => (true, (first + 1) * GRANULE),
        }
    }

    fn check(&self, range: Extent) -> Result<(), HostError> {
        let end = range.offset.checked_add(range.len);
        if end.is_none_or(|end| end > self.size) {
            let message = format!("{}+{} is beyond the disk's end at {}", range.offset, range.len, self.size);
            return Err(HostError::Failed(message));
        }
        Ok(())
    }
}

/// The blocks of a range: number, part of the block, place in the range.
fn pieces(range: Extent) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let first = range.offset / BLOCK;
    let last = range.end().div_ceil(BLOCK);
    (first..last).map(move |number| {
        let start = range.offset.max(number * BLOCK);
        let end = range.end().min((number + 1) * BLOCK);
        let within = index(start - number * BLOCK)..index(end - number * BLOCK);
        (number, within, index(start - range.offset))
    })
}

/// Of something already in memory, or bounded by `READ_BYTES_MAX`.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TIB: u64 = 1 << 40;

    #[test]
    fn a_huge_disk_costs_what_was_written() {
        let mut image = Image::empty(64 * TIB);
        image.write(63 * TIB - 3, b"across", 1).unwrap();
        assert_eq!(image.blocks.len(), 2);
        let read = image.read(Extent { offset: 63 * TIB - 4, len: 8 }).unwrap();
        assert_eq!(read, b"\0across\0");
        let extents = image.extents(Extent { offset: 0, len: 64 * TIB }, Some(0)).unwrap();
        assert!(extents.len() <= 5, "{extents:?}");
        assert_eq!(extents.iter().map(|found| found.extent.len).sum::<u64>(), 64 * TIB);
    }

    #[test]
    fn a_copy_does_not_see_later_writes() {
        let mut image = Image::empty(1 << 20);
        image.write(10, b"before", 1).unwrap();
        let copy = image.clone();
        image.write(10, b"after!", 2).unwrap();
        assert_eq!(copy.read(Extent { offset: 10, len: 6 }).unwrap(), b"before");
        assert_eq!(image.read(Extent { offset: 10, len: 6 }).unwrap(), b"after!");
    }

    #[test]
    fn data_that_became_zeroes_is_a_changed_hole() {
        let mut image = Image::empty(1 << 20);
        image.write(0, &[7; BLOCK_LEN], 1).unwrap();
        image.write(0, &[0; BLOCK_LEN], 2).unwrap();
        let extents = image.extents(Extent { offset: 0, len: 1 << 20 }, Some(1)).unwrap();
        assert_eq!(
            extents[0],
            DiskExtent { extent: Extent { offset: 0, len: GRANULE }, zero: true, changed: true }
        );
        assert_eq!((extents[1].zero, extents[1].changed), (true, false));
        assert_eq!(extents.len(), 2);
    }

    #[test]
    fn nothing_beyond_the_end() {
        let mut image = Image::empty(BLOCK + 512);
        assert!(image.write(BLOCK, &[1; 513], 1).is_err());
        assert!(image.write(u64::MAX, &[1], 1).is_err());
        assert!(image.read(Extent { offset: BLOCK + 512, len: 1 }).is_err());
        assert!(image.read(Extent { offset: u64::MAX, len: u64::MAX }).is_err());
        assert!(image.extents(Extent { offset: 0, len: BLOCK + 513 }, None).is_err());
        image.write(BLOCK, &[1; 512], 1).unwrap();
    }
}

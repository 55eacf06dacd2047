//! Large disks that are mostly holes, and one change that can be made on several of them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::bench::chance::Chance;
use crate::bench::sparse::PIECE_BYTES;

const EXTENT_BYTES: u64 = 1 << 20;
const CHANGE_BYTES: u64 = 100 << 20;

/// So many extents of 1 MiB, equally far apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    pub(super) size_bytes: u64,
    pub(super) extents: u64,
    pub(super) apart_bytes: u64,
}

/// What the others are held against.
pub(super) const LITTLE: Disk = Disk { size_bytes: 8 << 30, extents: 512, apart_bytes: 16 << 20 };
pub(super) const TALL: Disk = Disk { size_bytes: 4 << 40, ..LITTLE };
pub(super) const SPREAD: Disk = Disk { apart_bytes: 8 << 30, ..TALL };
/// Eight times as much, and whatever the little one has, at the same places.
pub(super) const MUCH: Disk =
    Disk { extents: 8 * LITTLE.extents, apart_bytes: LITTLE.apart_bytes / 8, ..LITTLE };

impl Disk {
    pub(super) fn make(self, image: &Path) -> Result<()> {
        let file = File::create(image)?;
        file.set_len(self.size_bytes).context("make a large sparse file")?;
        for extent in 0..self.extents {
            for piece in 0..EXTENT_BYTES / PIECE_BYTES {
                let at = extent * self.apart_bytes + piece * PIECE_BYTES;
                file.write_all_at(&content(at, 0)?, at)?;
            }
        }
        Ok(())
    }

    /// Pieces of what is there, spread over all of it: 100 MiB.
    pub(super) fn change(self) -> Vec<(u64, u64)> {
        let pieces = (0..CHANGE_BYTES / PIECE_BYTES).map(|number| {
            let (extent, piece) = (number % self.extents, number / self.extents);
            (extent * self.apart_bytes + piece * PIECE_BYTES, PIECE_BYTES)
        });
        let mut pieces: Vec<_> = pieces.collect();
        pieces.sort_unstable();
        pieces
    }

    /// The last piece of an extent, which the change leaves alone.
    pub(super) fn last_piece(self, extent: u64) -> (u64, u64) {
        (extent * self.apart_bytes + EXTENT_BYTES - PIECE_BYTES, PIECE_BYTES)
    }
}

/// Every version of a piece is another.
pub(super) fn write(image: &Path, pieces: &[(u64, u64)], version: u64) -> Result<()> {
    let file = File::options().write(true).open(image)?;
    for (at, _) in pieces {
        file.write_all_at(&content(*at, version)?, *at)?;
    }
    Ok(())
}

/// A piece that no other is like, and that compresses to about half.
fn content(at: u64, version: u64) -> Result<Vec<u8>> {
    let mut chance = Chance::new(at ^ (version << 48));
    let mut bytes = Vec::with_capacity(usize::try_from(PIECE_BYTES)?);
    for _ in 0..PIECE_BYTES / 4096 {
        let block = chance.bytes(2048);
        bytes.extend_from_slice(&block);
        bytes.extend_from_slice(&block);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(disk: Disk, (at, len): (u64, u64)) -> bool {
        let (extent, within) = (at / disk.apart_bytes, at % disk.apart_bytes);
        extent < disk.extents && within + len <= EXTENT_BYTES && at + len <= disk.size_bytes
    }

    #[test]
    fn the_same_change_fits_every_disk_and_a_spread_one_reaches_the_end() {
        let same = LITTLE.change();
        assert_eq!(same.iter().map(|(_, len)| len).sum::<u64>(), CHANGE_BYTES);
        for disk in [LITTLE, TALL, MUCH] {
            assert!(same.iter().all(|piece| holds(disk, *piece)), "{disk:?}");
        }
        assert!(same.is_sorted_by(|one, other| one.0 + one.1 <= other.0), "in order, and nothing twice");
        assert_eq!(TALL.change(), same);
        let spread = SPREAD.change();
        assert!(spread.iter().all(|piece| holds(SPREAD, *piece)));
        assert!(spread.last().is_some_and(|(at, _)| *at > SPREAD.size_bytes - 2 * SPREAD.apart_bytes));
        let kept = MUCH.last_piece(8);
        assert!(holds(MUCH, kept) && !same.contains(&kept));
    }

    #[test]
    fn no_piece_is_like_another() {
        let one = content(0, 0).expect("a piece");
        assert_eq!(one, content(0, 0).expect("the same"));
        assert!(one != content(PIECE_BYTES, 0).expect("elsewhere") && one != content(0, 1).expect("later"));
    }
}

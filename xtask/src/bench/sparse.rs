//! Reads sparse images: where they hold anything, where two differ, and all of one to warm it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// In which a hypervisor tells changes.
pub(crate) const PIECE_BYTES: u64 = 64 << 10;
const STEP_BYTES: usize = 1 << 20;

/// A part of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// The pieces that hold anything but zeros.
pub(crate) fn used(image: &Path) -> Result<Vec<Piece>> {
    let one = Side::open(image)?;
    let mut buffer = vec![0; usize::try_from(PIECE_BYTES)?];
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(data) = one.next_data(at)? {
        let piece = one.piece(data);
        let bytes = &mut buffer[..usize::try_from(piece.len)?];
        one.file.read_exact_at(bytes, piece.offset)?;
        if bytes.iter().any(|byte| *byte != 0) {
            pieces.push(piece);
        }
        at = piece.offset + piece.len;
    }
    Ok(pieces)
}

/// The pieces in which two images of one size differ. Where both are holes nothing is read.
pub(crate) fn differing(left: &Path, right: &Path) -> Result<Vec<Piece>> {
    let (left, right) = (Side::open(left)?, Side::open(right)?);
    if left.len != right.len {
        anyhow::bail!("images of {} and {} bytes", left.len, right.len);
    }
    let len = usize::try_from(PIECE_BYTES)?;
    let (mut one, mut other) = (vec![0; len], vec![0; len]);
    let mut pieces = Vec::new();
    let mut at = 0;
    let (mut in_left, mut in_right) = (left.next_data(0)?, right.next_data(0)?);
    loop {
        // Asked again only when passed: a question to the file system for each piece would take longer.
        if in_left.is_some_and(|next| next < at) {
            in_left = left.next_data(at)?;
        }
        if in_right.is_some_and(|next| next < at) {
            in_right = right.next_data(at)?;
        }
        let Some(data) = in_left.into_iter().chain(in_right).min() else { return Ok(pieces) };
        let piece = left.piece(data);
        let (one, other) =
            (&mut one[..usize::try_from(piece.len)?], &mut other[..usize::try_from(piece.len)?]);
        left.file.read_exact_at(one, piece.offset)?;
        right.file.read_exact_at(other, piece.offset)?;
        if one != other {
            pieces.push(piece);
        }
        at = piece.offset + piece.len;
    }
}

/// Reads all of it, holes as well: what a file system caches of a hole, it caches only once it was read.
pub(crate) fn warm(image: &Path) -> Result<()> {
    let side = Side::open(image)?;
    let mut buffer = vec![0; STEP_BYTES];
    let mut at = 0;
    while at < side.len {
        let got = side.file.read_at(&mut buffer, at).with_context(|| format!("read {}", image.display()))?;
        at += u64::try_from(got.max(1))?;
    }
    Ok(())
}

struct Side {
    file: File,
    len: u64,
}

impl Side {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// Where the next data begin, from here on.
    fn next_data(&self, at: u64) -> Result<Option<u64>> {
        if at >= self.len {
            return Ok(None);
        }
        match seek(&self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error).context("look for data"),
        }
    }

    /// The piece around a place.
    fn piece(&self, at: u64) -> Piece {
        let offset = at - at % PIECE_BYTES;
        Piece { offset, len: PIECE_BYTES.min(self.len - offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, len: u64, writes: &[(u64, &[u8])]) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("hikae-sparse-{}-{name}", std::process::id()));
        let file = File::create(&path).expect("make an image");
        file.set_len(len).expect("its length");
        for (offset, bytes) in writes {
            file.write_all_at(bytes, *offset).expect("write");
        }
        path
    }

    #[test]
    fn differences_are_found_wherever_one_side_is_a_hole() {
        let len = 40 * PIECE_BYTES + 100;
        let left =
            image("left", len, &[(0, b"a"), (5 * PIECE_BYTES, b"same"), (9 * PIECE_BYTES + 3, &[0; 9])]);
        let right = image("right", len, &[(5 * PIECE_BYTES, b"same"), (40 * PIECE_BYTES + 99, b"z")]);
        let found = differing(&left, &right).expect("compare");
        let last = Piece { offset: 40 * PIECE_BYTES, len: 100 };
        assert_eq!(found, [Piece { offset: 0, len: PIECE_BYTES }, last]);
        assert_eq!(differing(&left, &left).expect("compare"), []);
        assert_eq!(used(&right).expect("look"), [Piece { offset: 5 * PIECE_BYTES, len: PIECE_BYTES }, last]);
        warm(&right).expect("read");
        for path in [left, right] {
            std::fs::remove_file(path).expect("remove");
        }
    }
}

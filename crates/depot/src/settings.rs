//! What an operator or a test may set, with the relations that keep memory bounded.

use std::path::PathBuf;

use format::{FRAME_PLAIN_MAX, Geometry, PACK_LEN_MAX};

use crate::DepotError;
use crate::cipher::Effort;

const PARALLELISM_MAX: usize = 16;
/// Plain bytes of frames being compressed, of one disk.
const FLYING_LEN_MAX: usize = 32 << 20;

/// The level whose variations were measured.
const LEVEL_TUNED: i32 = 3;

/// How a depot works. None of it changes what can be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Threads kept busy. With 1 everything happens in one task, in one order.
    pub parallelism: usize,
    /// For disks without a base; a disk with one keeps its base's.
    pub geometry: Geometry,
    /// Plain bytes compressed together, of a disk without a base; an increment's frames are shorter.
    pub frame_len: usize,
    /// A pack is closed when it holds this much.
    pub pack_len: usize,
    /// One read from a disk.
    pub read_len: usize,
    /// Of whole disks; at the default, increments use one that was found better for them.
    pub zstd_level: i32,
    /// Opened frames kept in memory, in bytes.
    pub cache_len: usize,
    /// Chunks remembered so that the same content need not be stored again: about 24 bytes each.
    pub known_chunks: usize,
    /// Where they are kept for the next process; may be emptied or lost at any time.
    pub known_folder: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let parallelism = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
        Self { parallelism, ..Self::deterministic() }
    }
}

impl Settings {
    /// One task, one order: the same calls give the same objects.
    pub const fn deterministic() -> Self {
        Self {
            parallelism: 1,
            geometry: Geometry::STANDARD,
            frame_len: 4 << 20,
            pack_len: 16 << 20,
            read_len: 1 << 20,
            zstd_level: LEVEL_TUNED,
            cache_len: 64 << 20,
            known_chunks: 1 << 20,
            known_folder: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), DepotError> {
        let chunk_len = self.geometry.chunk_len() as usize;
        let fits = (1..=PARALLELISM_MAX).contains(&self.parallelism)
            && (chunk_len..=FRAME_PLAIN_MAX).contains(&self.frame_len)
            && (chunk_len..=8 << 20).contains(&self.read_len)
            && (1..=PACK_LEN_MAX / 4).contains(&self.pack_len)
            && (-7..=19).contains(&self.zstd_level)
            && self.cache_len >= self.frame_len;
        if fits { Ok(()) } else { Err(DepotError::Invalid("depot settings out of range".to_owned())) }
    }

    /// Reads under way or waiting to be looked at.
    pub(crate) const fn reads(&self) -> usize {
        if self.parallelism == 1 { 1 } else { self.parallelism * 4 }
    }

    /// Frames being compressed: enough that one that takes long keeps no core waiting.
    pub(crate) fn frames(&self) -> usize {
        match self.parallelism {
            1 => 0,
            threads => (threads * 2 + 1).min(FLYING_LEN_MAX / self.frame_len),
        }
    }

    /// How chunks are compressed. What changes on a disk is mostly pages of records, where short
    /// repetitions found fast beat long ones found slowly. `docs/sketches.md` has the numbers.
    pub(crate) const fn effort(&self, is_whole: bool) -> Effort {
        let level = Effort::of_level(self.zstd_level);
        match (self.zstd_level, is_whole) {
            (LEVEL_TUNED, false) => Effort { level: LEVEL_TUNED - 1, match_min: 5 },
            _ => level,
        }
    }

    /// Packs being uploaded, of the whole depot.
    pub(crate) const fn uploads(&self) -> usize {
        if self.parallelism == 1 { 1 } else { 3 }
    }

    /// Frames being fetched by a restore.
    pub(crate) const fn fetches(&self) -> usize {
        if self.parallelism == 1 { 1 } else { self.parallelism * 2 }
    }
}

// A pack closes at `pack_len`; it may still take the frames under way, the one being filled, tree nodes
// and a table of contents.
const _: () = assert!(PACK_LEN_MAX / 4 + FLYING_LEN_MAX + 2 * FRAME_PLAIN_MAX <= PACK_LEN_MAX);

//! How a disk is cut: chunks, leaves over chunks, nodes over leaves. Data of each tree, not of the format.

use crate::FormatError;

/// A pebibyte; also keeps every product below well within 64 bits.
pub const DISK_LEN_MAX: u64 = 1 << 50;

/// Sizes as powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    chunk_log2: u8,
    leaf_log2: u8,
    node_log2: u8,
}

impl Geometry {
    /// 16 KiB chunks, 512 KiB leaves, nodes of 64. `docs/sketches.md` has the numbers.
    pub const STANDARD: Self = Self { chunk_log2: 14, leaf_log2: 5, node_log2: 6 };

    pub fn new(chunk_log2: u8, leaf_log2: u8, node_log2: u8) -> Result<Self, FormatError> {
        let fits =
            (12..=20).contains(&chunk_log2) && (3..=10).contains(&leaf_log2) && (3..=10).contains(&node_log2);
        if !fits {
            return Err(FormatError::Damaged { what: "tree", why: "a geometry the format does not allow" });
        }
        Ok(Self { chunk_log2, leaf_log2, node_log2 })
    }

    pub const fn chunk_log2(self) -> u8 {
        self.chunk_log2
    }
    pub const fn leaf_log2(self) -> u8 {
        self.leaf_log2
    }
    pub const fn node_log2(self) -> u8 {
        self.node_log2
    }

    pub const fn chunk_len(self) -> u32 {
        1 << self.chunk_log2
    }

    /// Children a node of this level can have. Level 0 are leaves, whose children are chunks.
    pub const fn fan_out(self, level: u8) -> u32 {
        if level == 0 { 1 << self.leaf_log2 } else { 1 << self.node_log2 }
    }

    /// Chunks of a disk, the last one perhaps padded.
    pub const fn chunks(self, size: u64) -> u64 {
        size.div_ceil(1 << self.chunk_log2)
    }

    /// Log2 of the chunks below one node of this level, saturated where no disk reaches.
    const fn span_log2(self, level: u8) -> u32 {
        let log2 = self.leaf_log2 as u32 + self.node_log2 as u32 * level as u32;
        if log2 > 62 { 62 } else { log2 }
    }

    /// Chunks below one node of this level.
    pub const fn span(self, level: u8) -> u64 {
        1 << self.span_log2(level)
    }

    /// Which node of this level a chunk is below.
    pub const fn index(self, level: u8, chunk: u64) -> u64 {
        chunk >> self.span_log2(level)
    }

    /// The level whose node 0 covers a disk of this size: where its root is.
    pub const fn root_level(self, size: u64) -> u8 {
        let chunks = self.chunks(size);
        let mut level = 0;
        while self.span(level) < chunks {
            level += 1;
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_covers_its_disk_and_no_smaller_one_would() {
        for geometry in [
            Geometry::STANDARD,
            Geometry::new(12, 3, 3).expect("allowed"),
            Geometry::new(20, 10, 10).expect("allowed"),
        ] {
            for size in [0, 1, 4096, 1 << 19, (1 << 19) + 1, 1 << 33, (1 << 42) + 7, DISK_LEN_MAX] {
                let level = geometry.root_level(size);
                assert!(geometry.span(level) >= geometry.chunks(size));
                assert!(level == 0 || geometry.span(level - 1) < geometry.chunks(size));
            }
        }
    }

    #[test]
    fn odd_geometries_are_refused() {
        for (chunk, leaf, node) in [(11, 5, 6), (21, 5, 6), (14, 2, 6), (14, 11, 6), (14, 5, 2), (14, 5, 11)]
        {
            assert!(Geometry::new(chunk, leaf, node).is_err());
        }
    }
}

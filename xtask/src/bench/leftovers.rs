//! What earlier operations left is removed late.
//!
//! Removing a large file gives its memory back, which must then be filled again before the next measurement
//! (`memory.rs`), at seconds a gibibyte. One tool later most of it has left the cache by itself.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::round::empty;

/// More than any tool writes before it is done.
const FREE_BYTES_MIN: u64 = 14 << 30;

/// Files and directories that nobody looks at any more, the oldest first.
#[derive(Debug)]
pub(crate) struct Leftovers {
    home: PathBuf,
    queue: VecDeque<(u32, PathBuf)>,
    turn: u32,
    left: u32,
    free_bytes_min: u64,
}

impl Leftovers {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        let home = empty(scratch.join("leftovers"))?;
        Ok(Self { home, queue: VecDeque::new(), turn: 0, left: 0, free_bytes_min: FREE_BYTES_MIN })
    }

    /// Takes a directory away from its place; on a disk that is nearly full what is oldest goes for it.
    pub(crate) fn leave(&mut self, path: &Path) -> Result<()> {
        self.left += 1;
        let to = self.home.join(self.left.to_string());
        std::fs::rename(path, &to).with_context(|| format!("move {} away", path.display()))?;
        self.queue.push_back((self.turn, to));
        while free_bytes(&self.home)? < self.free_bytes_min && !self.queue.is_empty() {
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// A tool was measured: what the one before it left goes now.
    pub(crate) fn turn(&mut self) -> Result<()> {
        while self.queue.front().is_some_and(|(turn, _)| *turn < self.turn) {
            self.remove_oldest()?;
        }
        self.turn += 1;
        Ok(())
    }

    /// Everything goes.
    pub(crate) fn clear(&mut self) -> Result<()> {
        while !self.queue.is_empty() {
            self.remove_oldest()?;
        }
        Ok(())
    }

    fn remove_oldest(&mut self) -> Result<()> {
        let Some((_, path)) = self.queue.pop_front() else { return Ok(()) };
        std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))
    }
}

fn free_bytes(path: &Path) -> Result<u64> {
    let told = rustix::fs::statvfs(path).context("ask how full the disk is")?;
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After each of some turns with one thing left, how many things there are.
    fn counts(name: &str, free_bytes_min: u64) -> Vec<usize> {
        let scratch = std::env::temp_dir().join(format!("hikae-leftovers-{name}-{}", std::process::id()));
        let mut leftovers = Leftovers::new(&scratch).expect("a place");
        leftovers.free_bytes_min = free_bytes_min;
        let count = || std::fs::read_dir(scratch.join("leftovers")).expect("there").count();
        let turns = (0..4).map(|_| {
            let old = empty(scratch.join("old")).expect("made");
            leftovers.leave(&old).expect("moved");
            assert!(!old.exists());
            let there = count();
            leftovers.turn().expect("turned");
            there
        });
        let counts = turns.collect();
        assert_eq!(leftovers.queue.len(), count());
        leftovers.clear().expect("cleared");
        assert_eq!(count(), 0);
        std::fs::remove_dir_all(&scratch).expect("removed");
        counts
    }

    #[test]
    fn what_is_left_goes_one_turn_later() {
        assert_eq!(counts("room", 0), [1, 2, 2, 2]);
    }

    #[test]
    fn on_a_full_disk_it_goes_at_once() {
        assert_eq!(counts("full", u64::MAX), [0, 0, 0, 0]);
    }
}

//! What earlier operations left is removed late.
//!
//! Removing a large file gives its memory back, which must then be filled again before the next measurement
//! (`memory.rs`), at seconds a gibibyte. One tool later most of it has left the cache by itself.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::round::empty;

/// Files and directories that nobody looks at any more.
#[derive(Debug)]
pub(crate) struct Leftovers {
    home: PathBuf,
    /// How many turns were taken.
    turn: u32,
    left: u32,
}

impl Leftovers {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        let home = empty(scratch.join("leftovers"))?;
        empty(home.join("0"))?;
        Ok(Self { home, turn: 0, left: 0 })
    }

    /// Takes it away from its place, at once and for nothing.
    pub(crate) fn leave(&mut self, path: &Path) -> Result<()> {
        self.left += 1;
        let to = self.home.join(format!("{}/{}", self.turn, self.left));
        std::fs::rename(path, to).with_context(|| format!("move {} away", path.display()))
    }

    /// A tool was measured: what the one before it left goes now.
    pub(crate) fn turn(&mut self) -> Result<()> {
        if let Some(before) = self.turn.checked_sub(1) {
            std::fs::remove_dir_all(self.home.join(before.to_string())).context("remove what was left")?;
        }
        self.turn += 1;
        empty(self.home.join(self.turn.to_string()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_goes_one_turn_later() {
        let scratch = std::env::temp_dir().join(format!("hikae-leftovers-{}", std::process::id()));
        let mut leftovers = Leftovers::new(&scratch).expect("a place");
        let count = || {
            let turns = std::fs::read_dir(scratch.join("leftovers")).expect("there");
            let entries =
                turns.flat_map(|turn| std::fs::read_dir(turn.expect("a turn").path()).expect("read"));
            entries.count()
        };
        for (turn, expected) in [1, 2, 2, 2].into_iter().enumerate() {
            let old = empty(scratch.join("old")).expect("made");
            leftovers.leave(&old).expect("moved");
            assert!(!old.exists());
            assert_eq!(count(), expected, "turn {turn}");
            leftovers.turn().expect("turned");
        }
        std::fs::remove_dir_all(&scratch).expect("removed");
    }
}

//! Keeps the machine's memory in use, so that none of it must first be fetched from a host.
//!
//! A virtual machine's free memory goes back to its host where the two agreed so (free page reporting), and
//! comes again at about a second a gibibyte, paid by whoever needs it next: on such a machine the same `cp`
//! takes 1.3 or 6 s. Full of clean cache, memory is only used again, which costs everybody alike.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

const FREE_BYTES_MAX: u64 = 512 << 20;
const STEP_BYTES: usize = 32 << 20;
/// Beyond what any machine has in memory.
const HOLE_BYTES: u64 = 8 << 40;

/// A file that is one hole: reading it fills the cache, and no disk is asked.
#[derive(Debug)]
pub(crate) struct Filler {
    file: File,
    buffer: Vec<u8>,
    /// What lies before was read, and may be cached.
    at: u64,
}

impl Filler {
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        let path = scratch.join("filler");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len(HOLE_BYTES).with_context(|| format!("make {}", path.display()))?;
        Ok(Self { file, buffer: vec![0; STEP_BYTES], at: 0 })
    }

    /// Fills what is free. What was warm before stays so, as long as there is room for both.
    pub(crate) fn fill(&mut self) -> Result<()> {
        let end = self.at + meminfo("MemTotal")?;
        while self.at < end && meminfo("MemFree")? > FREE_BYTES_MAX {
            if self.at + u64::try_from(STEP_BYTES)? > HOLE_BYTES {
                self.at = 0;
                return Ok(());
            }
            self.file.read_exact_at(&mut self.buffer, self.at).context("fill the memory")?;
            self.at += u64::try_from(STEP_BYTES)?;
        }
        Ok(())
    }
}

fn meminfo(name: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("ask the kernel for its memory")?;
    let line = text.lines().find(|line| line.split(':').next() == Some(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("the kernel tells no {name}"))? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_its_memory() {
        let (all, free) = (meminfo("MemTotal").expect("all"), meminfo("MemFree").expect("free"));
        assert!(all > free && free > 0, "{free} of {all}");
        assert!(meminfo("Mem").is_err());
    }
}

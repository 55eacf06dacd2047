//! A file with a file system in it, mounted for a while.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::janitor::{Duty, Janitor};
use crate::sh::{command, quiet, text};

const UUID: &str = "c5a31f0e-5d1c-4d0e-9a58-6f1b8f1e2d4c";

/// Made alike each time: nothing of it is drawn.
pub(super) fn format(image: &Path, size_bytes: u64) -> Result<()> {
    File::create(image)?.set_len(size_bytes).with_context(|| format!("make {}", image.display()))?;
    let extended = format!("hash_seed={UUID},lazy_itable_init=1,lazy_journal_init=1,nodiscard");
    let arguments = ["-q", "-F", "-U", UUID, "-E", &extended, text(image)?];
    quiet(&mut command("mkfs.ext4", &arguments)).context("make a file system")
}

/// A mount, taken off again whatever happens.
#[derive(Debug)]
pub(super) struct Mounted(PathBuf);

impl Mounted {
    pub(super) fn new(janitor: &Janitor, image: &Path) -> Result<Self> {
        // Where a server's own user can reach it.
        let place = std::env::temp_dir().join(format!("hikae-bench-{}", std::process::id()));
        std::fs::create_dir_all(&place).context("make a mount point")?;
        janitor.must(&Duty::Mount(text(&place)?.to_owned()))?;
        let arguments = ["-o", "loop,noatime,noinit_itable", text(image)?, text(&place)?];
        quiet(&mut command("mount", &arguments)).context("mount an image (this needs root)")?;
        Ok(Self(place))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn end(self) -> Result<()> {
        quiet(&mut command("umount", &[text(&self.0)?])).context("unmount an image")
    }
}

//! Borg: three ways of cutting, encrypted with a key in the repository, zstd.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Backup, DISK, Op, Peer, directory};
use crate::sh::{quiet, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunker {
    Default,
    Fixed(u32),
}

#[derive(Debug)]
pub(super) struct Borg {
    repository: PathBuf,
    home: PathBuf,
    chunker: Chunker,
}

impl Borg {
    pub(super) fn new(home: &Path, chunker: Chunker) -> Result<Self> {
        let borg = Self { repository: home.join("repository"), home: directory(home.join("home"))?, chunker };
        quiet(borg.command(&["init", "--encryption=repokey"])?.arg(&borg.repository))
            .context("make a repository")?;
        Ok(borg)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new("borg");
        command.args(arguments).env("BORG_PASSPHRASE", "bench").env("BORG_BASE_DIR", text(&self.home)?);
        Ok(command)
    }

    fn archive(&self, op: Op) -> Result<String> {
        Ok(format!("{}::{}", text(&self.repository)?, op.name()))
    }
}

impl Peer for Borg {
    fn backup(&self, backup: &Backup<'_>) -> Result<Command> {
        let mut command = self.command(&["create", "--compression", "zstd"])?;
        if let Chunker::Fixed(bytes) = self.chunker {
            // It passes holes over, which only this chunker can.
            command.args(["--sparse", "--chunker-params", &format!("fixed,{bytes}")]);
        }
        command.args([&self.archive(backup.op)?, DISK]).current_dir(backup.source);
        Ok(command)
    }

    fn restore(&self, into: &Path) -> Result<Command> {
        let mut command = self.command(&["extract", "--sparse"])?;
        command.arg(self.archive(Op::Day)?).current_dir(into);
        Ok(command)
    }

    fn verify(&self, with_keys: bool) -> Option<Command> {
        let mut command = self.command(&["check"]).ok()?;
        // Without keys it compares the checksums of its segments.
        command.arg(if with_keys { "--verify-data" } else { "--repository-only" }).arg(&self.repository);
        Some(command)
    }

    fn depot(&self) -> PathBuf {
        self.repository.clone()
    }
}

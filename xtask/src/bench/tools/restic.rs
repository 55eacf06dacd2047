//! restic: content-defined chunks, encrypted, repository version 2 with its automatic zstd.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Backup, DISK, Peer, directory};
use crate::sh::{quiet, succeeds, text};

#[derive(Debug)]
pub(super) struct Restic {
    repository: PathBuf,
    cache: PathBuf,
    /// Older ones write every zero of a hole when they restore, and know no option against it.
    knows_sparse: bool,
}

impl Restic {
    pub(super) fn new(home: &Path) -> Result<Self> {
        let mut help = Command::new("restic");
        let knows_sparse = succeeds(help.args(["restore", "--sparse", "--help"]));
        let restic =
            Self { repository: home.join("repository"), cache: directory(home.join("cache"))?, knows_sparse };
        quiet(&mut restic.command(&["init", "--repository-version", "2"])?).context("make a repository")?;
        Ok(restic)
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new("restic");
        command.args(["--repo", text(&self.repository)?, "--cache-dir", text(&self.cache)?]).args(arguments);
        command.env("RESTIC_PASSWORD", "bench");
        Ok(command)
    }
}

impl Peer for Restic {
    fn backup(&self, backup: &Backup<'_>) -> Result<Command> {
        let mut command = self.command(&["backup", "--quiet", DISK])?;
        command.current_dir(backup.source);
        Ok(command)
    }

    fn restore(&self, into: &Path) -> Result<Command> {
        let mut command = self.command(&["restore", "latest", "--quiet", "--target", text(into)?])?;
        if self.knows_sparse {
            command.arg("--sparse");
        }
        Ok(command)
    }

    fn verify(&self, with_keys: bool) -> Option<Command> {
        if with_keys { self.command(&["check", "--quiet", "--read-data"]).ok() } else { None }
    }

    fn depot(&self) -> PathBuf {
        self.repository.clone()
    }
}

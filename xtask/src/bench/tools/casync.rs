//! casync: content-defined chunks, one file each, zstd; it does not encrypt.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Backup, DISK, Op, Peer};
use crate::sh::text;

#[derive(Debug)]
pub(super) struct Casync(PathBuf);

impl Casync {
    pub(super) fn new(home: &Path) -> Self {
        Self(home.join("repository"))
    }

    fn command(&self, verb: &str) -> Result<Command> {
        let mut command = Command::new("casync");
        command.arg(verb).arg(format!("--store={}", text(&self.store())?));
        Ok(command)
    }

    fn store(&self) -> PathBuf {
        self.0.join("store.castr")
    }

    fn index(&self, op: Op) -> PathBuf {
        self.0.join(format!("{}.caibx", op.name()))
    }
}

impl Peer for Casync {
    fn backup(&self, backup: &Backup<'_>) -> Result<Command> {
        std::fs::create_dir_all(self.store())?;
        let mut command = self.command("make")?;
        command.arg("--compression=zstd").arg(self.index(backup.op)).arg(backup.source.join(DISK));
        Ok(command)
    }

    fn restore(&self, into: &Path) -> Result<Command> {
        let mut command = self.command("extract")?;
        command.arg(self.index(Op::Day)).arg(into.join(DISK));
        Ok(command)
    }

    /// It has no verification of a store; the digest of an index reads and checks all its chunks.
    fn verify(&self, with_keys: bool) -> Option<Command> {
        if !with_keys {
            return None;
        }
        let mut command = self.command("digest").ok()?;
        command.arg(self.index(Op::Day));
        Some(command)
    }

    fn depot(&self) -> PathBuf {
        self.0.clone()
    }
}

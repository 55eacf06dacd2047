//! `cp` and `qemu-img convert`: every backup is whole, and another file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{Backup, DISK, Op, Peer};
use crate::sh::text;

#[derive(Debug)]
pub(super) struct Cp(PathBuf);

impl Cp {
    pub(super) fn new(home: &Path) -> Self {
        Self(home.to_owned())
    }

    fn file(&self, op: Op) -> PathBuf {
        self.0.join(format!("{}.raw", op.name()))
    }
}

impl Peer for Cp {
    fn outdated(&self) -> Option<PathBuf> {
        Some(self.0.clone())
    }

    fn backup(&self, backup: &Backup<'_>) -> Result<Command> {
        Ok(cp(&backup.source.join(DISK), &self.file(backup.op)))
    }

    fn restore(&self, into: &Path) -> Result<Command> {
        Ok(cp(&self.file(Op::Day), &into.join(DISK)))
    }

    /// A copy carries nothing to verify it by.
    fn verify(&self, _: bool) -> Option<Command> {
        None
    }

    fn depot(&self) -> PathBuf {
        self.0.clone()
    }
}

fn cp(from: &Path, to: &Path) -> Command {
    let mut command = Command::new("cp");
    command.arg("--sparse=always").arg(from).arg(to);
    command
}

#[derive(Debug)]
pub(super) struct QemuImg(PathBuf);

impl QemuImg {
    pub(super) fn new(home: &Path) -> Self {
        Self(home.to_owned())
    }

    fn file(&self, op: Op) -> PathBuf {
        self.0.join(format!("{}.qcow2", op.name()))
    }
}

impl Peer for QemuImg {
    fn outdated(&self) -> Option<PathBuf> {
        Some(self.0.clone())
    }

    fn backup(&self, backup: &Backup<'_>) -> Result<Command> {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd", "-m", "4"]);
        command.args([text(&backup.source.join(DISK))?, text(&self.file(backup.op))?]);
        Ok(command)
    }

    fn restore(&self, into: &Path) -> Result<Command> {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "qcow2", "-O", "raw", "-m", "4"]);
        command.args([text(&self.file(Op::Day))?, text(&into.join(DISK))?]);
        Ok(command)
    }

    /// `qemu-img check` looks at tables; of the data there are no sums.
    fn verify(&self, _: bool) -> Option<Command> {
        None
    }

    fn depot(&self) -> PathBuf {
        self.0.clone()
    }
}

//! Hikae, through its own program.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{Backup, DISK, Op, Peer};
use crate::sh::{self, command, loud, quiet, text};

/// Builds it as it is shipped.
pub(crate) fn build() -> Result<()> {
    loud(&mut command("cargo", &["build", "--release", "--quiet", "-p", "hikae-server"]))
}

/// A depot and its key.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) depot: PathBuf,
    pub(crate) key: PathBuf,
}

impl Place {
    pub(crate) fn new(home: &Path, name: &str) -> Result<Self> {
        let place = Self { depot: home.join(name), key: home.join("root.key") };
        quiet(&mut place.command(&["init"])?).context("make a depot")?;
        Ok(place)
    }

    /// `hikae depot …`, answering in JSON.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(sh::target().join("release/hikae"));
        command.arg("depot").args(arguments).args(["--depot", text(&self.depot)?]);
        command.args(["--root-key", text(&self.key)?, "--output", "json"]);
        // What it remembers between runs is this depot's alone, and goes with it.
        command.env("XDG_CACHE_HOME", self.key.with_file_name("cache"));
        Ok(command)
    }
}

/// A word of what it answered.
pub(crate) fn answer(said: &str, name: &str) -> Result<String> {
    let value: serde_json::Value = serde_json::from_str(said).context("read what hikae answered")?;
    value[name].as_str().map(ToOwned::to_owned).with_context(|| format!("hikae told no {name}: {said}"))
}

#[derive(Debug)]
pub(super) struct Hikae {
    place: Place,
    tracked: bool,
    /// What the two changes are told against, as both images were made from it.
    base: Option<String>,
    last: Option<String>,
}

impl Hikae {
    pub(super) fn new(home: &Path, tracked: bool) -> Result<Self> {
        Ok(Self { place: Place::new(home, "depot")?, tracked, base: None, last: None })
    }
}

impl Peer for Hikae {
    fn backup(&self, backup: &Backup<'_>) -> Result<Command> {
        let mut command = self.place.command(&["import", text(&backup.source.join(DISK))?])?;
        if let Some(base) = &self.base {
            let changed = if self.tracked { text(backup.changed)? } else { "auto" };
            command.args(["--base", base, "--changed", changed]);
        }
        Ok(command)
    }

    fn stored(&mut self, op: Op, said: &str) -> Result<()> {
        let snapshot = answer(said, "snapshot")?;
        if op == Op::Full {
            self.base = Some(snapshot.clone());
        }
        self.last = Some(snapshot);
        Ok(())
    }

    fn restore(&self, into: &Path) -> Result<Command> {
        let snapshot = self.last.as_deref().context("nothing was stored yet")?;
        let mut command = self.place.command(&["export", snapshot, "--to", text(&into.join(DISK))?])?;
        if !self.tracked {
            // No peer waits for the disk. What that costs, the other of the two shows.
            command.arg("--no-sync");
        }
        Ok(command)
    }

    fn verify(&self, with_keys: bool) -> Option<Command> {
        self.place.command(if with_keys { &["verify"] } else { &["verify", "--no-keys"] }).ok()
    }

    fn depot(&self) -> PathBuf {
        self.place.depot.clone()
    }
}

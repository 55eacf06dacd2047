//! The tools that are measured, each as a good user of it would run it: compressing with zstd, encrypting
//! if it can.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use self::borg::Chunker;
use super::images::Image;
use crate::sh::{capture, command};

mod borg;
mod casync;
pub(crate) mod hikae;
mod plain;
mod restic;

/// What the source is called, whichever image it is.
pub(crate) const DISK: &str = "disk.raw";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Cp,
    QemuImg,
    Restic,
    Borg,
    BorgFixed4M,
    BorgFixed64K,
    Casync,
    /// Re-reads everything.
    Hikae,
    /// Is told what changed.
    HikaeTracked,
}

impl Tool {
    pub(crate) const ALL: [Self; 9] = [
        Self::Cp,
        Self::QemuImg,
        Self::Restic,
        Self::Borg,
        Self::BorgFixed4M,
        Self::BorgFixed64K,
        Self::Casync,
        Self::Hikae,
        Self::HikaeTracked,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cp => "cp",
            Self::QemuImg => "qemu-img",
            Self::Restic => "restic",
            Self::Borg => "borg",
            Self::BorgFixed4M => "borg-fixed-4m",
            Self::BorgFixed64K => "borg-fixed-64k",
            Self::Casync => "casync",
            Self::Hikae => "hikae",
            Self::HikaeTracked => "hikae-tracked",
        }
    }

    /// Whether a second backup costs what differs: the peers that Hikae's aims are stated against.
    pub(crate) const fn is_deduplicating_peer(self) -> bool {
        match self {
            Self::Restic | Self::Borg | Self::BorgFixed4M | Self::BorgFixed64K | Self::Casync => true,
            Self::Cp | Self::QemuImg | Self::Hikae | Self::HikaeTracked => false,
        }
    }

    pub(crate) const fn is_hikae(self) -> bool {
        matches!(self, Self::Hikae | Self::HikaeTracked)
    }

    /// One of a slow tool is enough. No aim is held against its time, as others are much faster; what it
    /// stores hardly differs from round to round.
    pub(crate) const fn rounds(self, asked: u32) -> u32 {
        match self {
            Self::Borg | Self::Casync => 1,
            _ => asked,
        }
    }

    /// Seconds of a round on the full images, from earlier ones: told beforehand, and used for nothing else.
    pub(crate) const fn round_s(self) -> u32 {
        match self {
            Self::Cp => 35,
            Self::QemuImg => 75,
            Self::Restic => 80,
            Self::Borg => 180,
            Self::BorgFixed4M => 75,
            Self::BorgFixed64K => 80,
            Self::Casync => 400,
            Self::Hikae => 40,
            Self::HikaeTracked => 40,
        }
    }

    pub(crate) fn version(self) -> Result<String> {
        let (program, flag) = match self {
            Self::Cp => ("cp", "--version"),
            Self::QemuImg => ("qemu-img", "--version"),
            Self::Restic => ("restic", "version"),
            Self::Borg | Self::BorgFixed4M | Self::BorgFixed64K => ("borg", "--version"),
            Self::Casync => ("casync", "--version"),
            Self::Hikae | Self::HikaeTracked => return Ok("of this commit".to_owned()),
        };
        let said = capture(&mut command(program, &[flag]))?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    }

    /// A fresh repository below `home`, which is there and empty.
    pub(crate) fn open(self, home: &Path) -> Result<Box<dyn Peer>> {
        Ok(match self {
            Self::Cp => Box::new(plain::Cp::new(home)),
            Self::QemuImg => Box::new(plain::QemuImg::new(home)),
            Self::Restic => Box::new(restic::Restic::new(home)?),
            Self::Borg => Box::new(borg::Borg::new(home, Chunker::Default)?),
            Self::BorgFixed4M => Box::new(borg::Borg::new(home, Chunker::Fixed(4 << 20))?),
            Self::BorgFixed64K => Box::new(borg::Borg::new(home, Chunker::Fixed(64 << 10))?),
            Self::Casync => Box::new(casync::Casync::new(home)),
            Self::Hikae => Box::new(hikae::Hikae::new(home, false)?),
            Self::HikaeTracked => Box::new(hikae::Hikae::new(home, true)?),
        })
    }
}

/// One backup of an image that was put at a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backup<'a> {
    pub(crate) op: Op,
    /// The directory that holds [`DISK`].
    pub(crate) source: &'a Path,
    /// What differs from the base, for who is told.
    pub(crate) changed: &'a Path,
}

/// What is measured, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Full,
    Same,
    OnePercent,
    Day,
    Restore,
    Verify,
    VerifyNoKeys,
}

impl Op {
    pub(crate) const ALL: [Self; 7] = [
        Self::Full,
        Self::Same,
        Self::OnePercent,
        Self::Day,
        Self::Restore,
        Self::Verify,
        Self::VerifyNoKeys,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Same => "same",
            Self::OnePercent => "one_percent",
            Self::Day => "day",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::VerifyNoKeys => "verify_no_keys",
        }
    }

    /// The image it stores; a restore brings back the last one stored, and a verification reads all.
    pub(crate) const fn image(self) -> Image {
        match self {
            Self::Full | Self::Same => Image::Base,
            Self::OnePercent => Image::OnePercent,
            Self::Day | Self::Restore | Self::Verify | Self::VerifyNoKeys => Image::Day,
        }
    }
}

/// A repository of one tool. `None` is what the tool cannot do.
pub(crate) trait Peer {
    /// What is taken away before a backup: who cannot add to the last one need not keep it either.
    fn outdated(&self) -> Option<PathBuf> {
        None
    }

    fn backup(&self, backup: &Backup<'_>) -> Result<Command>;

    /// A backup ended, and said this.
    fn stored(&mut self, _op: Op, _said: &str) -> Result<()> {
        Ok(())
    }

    /// Brings the last one back as [`DISK`] in an empty directory.
    fn restore(&self, into: &Path) -> Result<Command>;

    fn verify(&self, with_keys: bool) -> Option<Command>;

    /// Where its bytes are counted.
    fn depot(&self) -> PathBuf;
}

/// Makes a directory and says which.
fn directory(path: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}

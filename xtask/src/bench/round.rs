//! One round of one tool: every operation on a fresh repository, every restore compared with its source.

use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

use super::images::{Image, Images};
use super::leftovers::Leftovers;
use super::measure::{self, Cost};
use super::memory::Filler;
use super::samples::Sample;
use super::sparse;
use super::tools::{Backup, DISK, Op, Peer, Tool};
use crate::sh::say;

/// Where a round works. The directory is there, and nobody else's.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) images: &'a Images,
    pub(crate) scratch: &'a Path,
    pub(crate) filler: &'a mut Filler,
    pub(crate) leftovers: &'a mut Leftovers,
    pub(crate) number: u32,
}

impl Round<'_> {
    pub(crate) fn run(&mut self, tool: Tool) -> Result<Vec<Sample>> {
        let home = empty(self.scratch.join(tool.name()))?;
        let mut peer = tool.open(&home)?;
        let mut samples = Vec::new();
        for op in Op::ALL {
            // What a tool cannot do needs no preparation.
            let verify = match op {
                Op::Verify | Op::VerifyNoKeys => match peer.verify(op == Op::Verify) {
                    Some(command) => Some(command),
                    None => continue,
                },
                _ => None,
            };
            if matches!(op, Op::Full | Op::Same | Op::OnePercent | Op::Day)
                && let Some(old) = peer.outdated()
            {
                self.leftovers.leave(&old)?;
                empty(old)?;
            }
            let before = bytes(&peer.depot())?;
            self.filler.fill()?;
            warm_all(&peer.depot())?;
            let cost = match (op, verify) {
                (_, Some(verify)) => measure::run(&verify, self.scratch)?.0,
                (Op::Restore, None) => self.restore(peer.as_ref())?,
                (_, None) => self.backup(peer.as_mut(), op)?,
            };
            #[expect(clippy::cast_precision_loss, reason = "megabytes with three digits")]
            let stored_mb = bytes(&peer.depot())?.saturating_sub(before) as f64 / 1e6;
            let Cost { wall_s, cpu_s, rss_mb } = cost;
            say(format!(
                "round {} {:14} {:14} {wall_s:7.2} s, {cpu_s:7.2} s cpu, {rss_mb:6.0} MB memory, {stored_mb:7.1} MB added",
                self.number,
                tool.name(),
                op.name()
            ));
            samples.push(Sample { tool, op, round: self.number, cost, stored_mb });
        }
        self.leftovers.leave(&home)?;
        self.leftovers.turn()?;
        Ok(samples)
    }

    fn backup(&self, peer: &mut dyn Peer, op: Op) -> Result<Cost> {
        let source = self.put(op.image())?;
        let changed = self.images.changed(if op == Op::Same { Image::Base } else { op.image() });
        let command = peer.backup(&Backup { op, source: &source, changed: &changed })?;
        let (cost, said) = measure::run(&command, self.scratch)?;
        peer.stored(op, &said)?;
        Ok(cost)
    }

    /// Puts an image at the one place that all backups read: warm, and with times that no tool has seen, so
    /// that it must read the data to know.
    fn put(&self, image: Image) -> Result<PathBuf> {
        let path = self.images.path(image);
        sparse::warm(&path)?;
        let source = empty(self.scratch.join("source"))?;
        let place = source.join(DISK);
        std::fs::hard_link(&path, &place).context("put an image in its place")?;
        let file = File::options().write(true).open(&place)?;
        file.set_times(FileTimes::new().set_modified(fresh())).context("touch an image")?;
        Ok(source)
    }

    fn restore(&mut self, peer: &dyn Peer) -> Result<Cost> {
        let into = empty(self.scratch.join("restored"))?;
        let (cost, _) = measure::run(&peer.restore(&into)?, self.scratch)?;
        let restored = into.join(DISK);
        let differing = sparse::differing(&self.images.path(Op::Restore.image()), &restored)?;
        if let Some(first) = differing.first() {
            bail!("the restored disk differs in {} places, first at {}", differing.len(), first.offset);
        }
        self.leftovers.leave(&into)?;
        Ok(cost)
    }
}

#[expect(clippy::disallowed_methods, reason = "a developer's tool reads the clock itself")]
pub(crate) fn fresh() -> SystemTime {
    SystemTime::now()
}

fn warm_all(directory: &Path) -> Result<()> {
    walk(directory, &mut |path, _| sparse::warm(path))
}

/// What the files take: their length, and less where they are sparse.
fn bytes(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    walk(directory, &mut |_, metadata| {
        use std::os::unix::fs::MetadataExt as _;
        sum += metadata.len().min(metadata.blocks() * 512);
        Ok(())
    })?;
    Ok(sum)
}

/// Every file below a directory; none where there is none yet.
pub(crate) fn walk(
    directory: &Path,
    seen: &mut dyn FnMut(&Path, &std::fs::Metadata) -> Result<()>,
) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        let metadata = std::fs::symlink_metadata(&path)?;
        if metadata.is_dir() {
            walk(&path, seen)?;
        } else if metadata.is_file() {
            seen(&path, &metadata)?;
        }
    }
    Ok(())
}

pub(crate) fn empty(path: PathBuf) -> Result<PathBuf> {
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}

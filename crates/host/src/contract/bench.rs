//! What the cases share: an instance on a bench, and ways to look at what the host says of it.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use model::{ByteCount, DiskId, Extent, GroupId, InstanceId, TaskId, draw};

use super::{Fixture, FixtureDisk, FixtureKind, Outcome, Wrong};
use crate::{
    DiskExtent, DiskReader, DiskTarget, Fate, Host, HostError, Mark, MarkDisk, Marked, PreparedDisk, Tracking,
};

/// The coarsest change tracking a host may have.
pub(super) const GRAIN: u64 = 64 << 10;
pub(super) const MIB: u64 = ByteCount::MIB;
/// No multiple of the grain, so that the last granule is a short one.
pub(super) const ODD: u64 = 3 * MIB + 4096;

macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::contract::Wrong(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

/// Fails unless the result is an error of that kind.
macro_rules! refused {
    ($result:expr, $pattern:pat, $what:expr) => {
        match $result {
            Err($pattern) => {}
            Err(other) => {
                return Err($crate::contract::Wrong(format!(
                    "{}: expected {}, found \"{other}\"",
                    $what,
                    stringify!($pattern)
                )));
            }
            Ok(_) => {
                return Err($crate::contract::Wrong(format!(
                    "{}: expected {}, it worked",
                    $what,
                    stringify!($pattern)
                )));
            }
        }
    };
}
pub(super) use refused;

pub(super) struct Bench<'a> {
    pub(super) fixture: &'a dyn Fixture,
    pub(super) host: Arc<dyn Host>,
    pub(super) instance: InstanceId,
    pub(super) disks: Vec<DiskId>,
}

impl<'a> Bench<'a> {
    pub(super) async fn new(fixture: &'a dyn Fixture, kinds: &[FixtureKind]) -> Result<Self, Wrong> {
        let size = |place: usize| ByteCount(if place == 0 { 4 * MIB } else { ODD });
        let disks: Vec<_> = kinds
            .iter()
            .enumerate()
            .map(|(place, kind)| FixtureDisk { kind: *kind, size: size(place) })
            .collect();
        let instance = fixture.instance(&disks).await?;
        let host = fixture.host().await?;
        let shown = host.find(instance).await?;
        ensure!(
            shown.disks.len() == disks.len(),
            "{} disks were made, {} are shown",
            disks.len(),
            shown.disks.len()
        );
        Ok(Self { fixture, host, instance, disks: shown.disks.iter().map(|disk| disk.id).collect() })
    }

    /// Two tracked disks, the usual.
    pub(super) async fn pair(fixture: &'a dyn Fixture) -> Result<Self, Wrong> {
        Self::new(fixture, &[FixtureKind::Tracked, FixtureKind::Tracked]).await
    }

    pub(super) fn group(&self) -> GroupId {
        draw(self.fixture.entropy())
    }

    pub(super) fn task(&self) -> TaskId {
        draw(self.fixture.entropy())
    }

    pub(super) async fn fill(&self, place: usize, offset: u64, len: u64, byte: u8) -> Outcome {
        Ok(self.fixture.fill(self.instance, self.disks[place], Extent { offset, len }, byte).await?)
    }

    pub(super) async fn content(&self, place: usize) -> Result<Vec<u8>, Wrong> {
        Ok(self.fixture.content(self.instance, self.disks[place]).await?)
    }

    pub(super) async fn contents(&self) -> Result<Vec<Vec<u8>>, Wrong> {
        let mut found = Vec::new();
        for place in 0..self.disks.len() {
            found.push(self.content(place).await?);
        }
        Ok(found)
    }

    pub(super) fn ask(&self, group: GroupId, since: Option<GroupId>) -> Mark {
        let disks = self.disks.iter().map(|disk| MarkDisk { disk: *disk, since }).collect();
        Mark { instance: self.instance, group, disks }
    }

    /// Marks all disks.
    pub(super) async fn mark(&self, group: GroupId, since: Option<GroupId>) -> Result<Marked, HostError> {
        self.host.mark(&self.ask(group, since)).await
    }

    pub(super) async fn keep(&self, group: GroupId) -> Result<(), HostError> {
        self.host.unmark(self.instance, group, Fate::Keep).await
    }

    pub(super) async fn drop(&self, group: GroupId) -> Result<(), HostError> {
        self.host.unmark(self.instance, group, Fate::Drop).await
    }

    pub(super) async fn reader(
        &self,
        group: GroupId,
        place: usize,
    ) -> Result<Arc<dyn DiskReader>, HostError> {
        self.host.reader(self.instance, group, self.disks[place]).await
    }

    /// Marks, keeps, and returns what the disks held: the base of an increment.
    pub(super) async fn base(&self) -> Result<(GroupId, Vec<Vec<u8>>), Wrong> {
        let group = self.group();
        self.mark(group, None).await?;
        let held = self.contents().await?;
        self.keep(group).await?;
        Ok((group, held))
    }

    /// Marks since `base` and holds the host to what it then claims: every difference from `before`
    /// lies in a changed extent. Returns whether it could tell changes at all, by disk.
    pub(super) async fn hides_nothing(&self, base: GroupId, before: &[Vec<u8>]) -> Result<Vec<bool>, Wrong> {
        let group = self.group();
        let marked = self.mark(group, Some(base)).await?;
        let mut tracked = Vec::new();
        for (place, disk) in marked.disks.iter().enumerate() {
            let reader = self.reader(group, place).await?;
            let now = read_all(reader.as_ref()).await?;
            let extents = walk(reader.as_ref()).await?;
            match &disk.tracking {
                Tracking::Since(since) => {
                    ensure!(*since == base, "changes are told since {since}, not {base}")
                }
                Tracking::Whole { because } => {
                    ensure!(!because.is_empty(), "disk {place} is read whole without saying why");
                    ensure!(
                        extents.iter().all(|found| found.changed),
                        "disk {place} is read whole, yet part is clean"
                    );
                }
            }
            covers(place, &before[place], &now, &extents)?;
            tracked.push(disk.tracking == Tracking::Since(base));
        }
        self.drop(group).await?;
        Ok(tracked)
    }

    pub(super) async fn nothing_left(&self) -> Outcome {
        let left = self.fixture.left_on(self.instance).await?;
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }

    pub(super) fn replacing(&self, place: usize, size: u64) -> DiskTarget {
        DiskTarget::Replacing { instance: self.instance, disk: self.disks[place], size: ByteCount(size) }
    }

    /// Prepares a disk with this content.
    pub(super) async fn prepared(
        &self,
        task: TaskId,
        target: &DiskTarget,
        content: &[u8],
    ) -> Result<PreparedDisk, Wrong> {
        let disk = self.host.prepare(task, target).await?;
        let writer = self.host.writer(&disk).await?;
        // From the back, in odd pieces, and without the zeroes: nobody promised an order or a grain.
        let pieces: Vec<_> = (0..content.len()).step_by(100 * 512).rev().collect();
        for start in pieces {
            let piece = &content[start..content.len().min(start + 100 * 512)];
            if piece.iter().any(|byte| *byte != 0) {
                writer.write(start as u64, Bytes::copy_from_slice(piece)).await?;
            }
        }
        writer.finish().await?;
        Ok(disk)
    }

    /// Content nobody mistakes for another's, with a hole in its middle.
    pub(super) fn pattern(&self, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let third = bytes.len() / 3;
        self.fixture.entropy().fill(&mut bytes[..third]);
        self.fixture.entropy().fill(&mut bytes[2 * third..]);
        bytes
    }
}

/// Asks on until the whole disk was told, and checks the form of every answer.
pub(super) async fn walk(reader: &dyn DiskReader) -> Result<Vec<DiskExtent>, Wrong> {
    walk_range(reader, Extent { offset: 0, len: reader.size().0 }).await
}

pub(super) async fn walk_range(reader: &dyn DiskReader, range: Extent) -> Result<Vec<DiskExtent>, Wrong> {
    let mut told = Vec::new();
    let mut at = range.offset;
    while at < range.end() {
        let answer = reader.extents(Extent { offset: at, len: range.end() - at }).await?;
        ensure!(!answer.is_empty(), "no extent was told at {at}");
        for found in answer {
            ensure!(
                found.extent.offset == at,
                "an extent begins at {}, the last ended at {at}",
                found.extent.offset
            );
            ensure!(found.extent.len > 0, "the extent at {at} is empty");
            at = found.extent.end();
            ensure!(at <= range.end(), "an extent ends at {at}, the question at {}", range.end());
            told.push(found);
        }
    }
    Ok(told)
}

/// Reads a whole disk with several reads in flight, and holds it against its own extents.
pub(super) async fn read_all(reader: &dyn DiskReader) -> Result<Vec<u8>, Wrong> {
    let size = reader.size().0;
    let step = 256 << 10;
    let starts = (0..size.div_ceil(step)).map(|number| number * step);
    let reads = starts.map(|offset| reader.read(Extent { offset, len: step.min(size - offset) }));
    let bytes = try_join_all(reads).await?.concat();
    ensure!(bytes.len() as u64 == size, "{} bytes were read of {size}", bytes.len());
    for found in walk(reader).await?.iter().filter(|found| found.zero) {
        let hole = slice(&bytes, found.extent);
        ensure!(hole.iter().all(|byte| *byte == 0), "{:?} is told to be zero and is not", found.extent);
    }
    Ok(bytes)
}

/// Every byte that differs must lie in an extent told as changed. A disk that grew or shrank is
/// compared as far as both reach.
pub(super) fn covers(place: usize, before: &[u8], now: &[u8], extents: &[DiskExtent]) -> Outcome {
    let both = before.len().min(now.len());
    for clean in extents.iter().filter(|found| !found.changed) {
        let end = clean.extent.end().min(both as u64);
        if clean.extent.offset >= end {
            continue;
        }
        let range = Extent { offset: clean.extent.offset, len: end - clean.extent.offset };
        ensure!(
            slice(before, range) == slice(now, range),
            "disk {place} changed within {range:?}, told as clean"
        );
    }
    Ok(())
}

pub(super) fn slice(bytes: &[u8], range: Extent) -> &[u8] {
    let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(bytes.len());
    &bytes[index(range.offset)..index(range.end())]
}

//! Groups copied whole, under their own ids, each from the nearest snapshot both depots have.
//!
//! A group copied twice is one, at the same moment too: what stands there under its id was sealed for
//! good, is compared, and left alone. The order of copying is the caller's; oldest first makes each group
//! the base of the next.

use std::collections::HashMap;
use std::sync::Arc;

use format::{BaseSnapshot, DiskManifest, GroupManifest, Origin};
use model::{ByteCount, DiskId, GroupId, SnapshotId, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{CopyBase, CopyDisk, CopyError};
use crate::{Depot, DepotError, Progressing};

/// Ancestors looked at for one both depots have, and after them so many others.
const ANCESTORS_MAX: usize = 32;
/// A seal without certain answer may have happened: it is asked for so often.
const SEAL_TRIES: u32 = 5;
/// A collector of the other depot, or another copy, may overtake this one; it is looked at again, and
/// written again.
const WRITE_TRIES: u32 = 3;

/// Copies groups from one depot to another; remembers meanwhile what the other one has.
#[derive(Debug)]
pub struct Copier {
    from: Arc<Depot>,
    to: Arc<Depot>,
    /// By disk, what the other depot has; looked up when a chain of bases leads nowhere.
    there: Mutex<Option<HashMap<DiskId, Vec<Held>>>>,
}

/// A snapshot the other depot holds, and which one of ours it may be.
#[derive(Debug, Clone, Copy)]
struct Held {
    taken: Timestamp,
    group: GroupId,
    snapshot: SnapshotId,
    ours: BaseSnapshot,
}

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedGroup {
    pub group: GroupId,
    /// It was there, and nothing was done.
    pub was_there: bool,
    pub disks: Vec<CopiedDisk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedDisk {
    pub snapshot: SnapshotId,
    pub size: u64,
    /// The snapshot both had that it was copied on top of.
    pub base: Option<SnapshotId>,
    /// Plain, from the one depot.
    pub bytes_read: ByteCount,
    /// Sealed, in the other.
    pub bytes_stored: ByteCount,
}

/// A base, and what the other depot calls it.
struct Common {
    trees: CopyBase,
    ours: SnapshotId,
    theirs: BaseSnapshot,
}

impl Copier {
    pub fn new(from: Arc<Depot>, to: Arc<Depot>) -> Result<Self, DepotError> {
        if from.id() == to.id() {
            return Err(DepotError::Invalid("a depot cannot be copied to itself".to_owned()));
        }
        Ok(Self { from, to, there: Mutex::default() })
    }

    /// Copies a group, unless it is there. `progress` is told of one disk after the other.
    pub async fn copy(
        &self,
        group: GroupId,
        progress: Progressing,
        cancel: CancellationToken,
    ) -> Result<CopiedGroup, CopyError> {
        let found = self.from.group(group).await.map_err(CopyError::From)?;
        let Some(manifest) = found else {
            let what = format!("there is no group {group} in the depot copied from");
            return Err(CopyError::From(DepotError::Invalid(what)));
        };
        let mut tries = 1;
        loop {
            if let Some(there) = self.to.group(group).await.map_err(CopyError::To)? {
                return self.compare(&manifest, &there);
            }
            match self.copy_once(&manifest, &progress, &cancel).await {
                // Overtaken: it is written again. Conflict: another copy was faster, and may be the same.
                Err(CopyError::To(DepotError::Overtaken { .. } | DepotError::Conflict { .. }))
                    if tries < WRITE_TRIES =>
                {
                    tries += 1;
                }
                copied => return copied,
            }
        }
    }

    fn compare(&self, ours: &GroupManifest, theirs: &GroupManifest) -> Result<CopiedGroup, CopyError> {
        let alike = ours.disks.len() == theirs.disks.len()
            && ours.disks.iter().zip(&theirs.disks).all(|(ours, theirs)| self.is_same(ours, theirs));
        if alike {
            Ok(CopiedGroup { group: ours.group, was_there: true, disks: Vec::new() })
        } else {
            Err(CopyError::To(DepotError::Conflict { group: ours.group }))
        }
    }

    async fn copy_once(
        &self,
        manifest: &GroupManifest,
        progress: &Progressing,
        cancel: &CancellationToken,
    ) -> Result<CopiedGroup, CopyError> {
        let mut copy = manifest.clone();
        let mut disks = Vec::new();
        for disk in &mut copy.disks {
            let common = self.common(manifest, disk).await?;
            let job = CopyDisk {
                tree: disk.tree,
                base: common.as_ref().map(|common| common.trees),
                progress: progress.clone(),
                cancel: cancel.clone(),
            };
            let written = self.from.copy_disk(&self.to, job).await?;
            disk.origin = Some(Origin {
                depot: self.from.id(),
                group: manifest.group,
                snapshot: disk.snapshot,
                root: disk.tree.root.map(|root| root.name),
            });
            disk.tree = written.tree;
            disk.base = common.as_ref().map(|common| common.theirs);
            (disk.bytes_read, disk.bytes_stored) = (written.bytes_read, written.bytes_stored);
            disks.push(CopiedDisk {
                snapshot: disk.snapshot,
                size: disk.tree.size,
                base: common.map(|common| common.ours),
                bytes_read: disk.bytes_read,
                bytes_stored: disk.bytes_stored,
            });
        }
        self.seal(&copy).await.map_err(CopyError::To)?;
        if let Some(there) = &mut *self.there.lock().await {
            note(there, &copy);
        }
        Ok(CopiedGroup { group: manifest.group, was_there: false, disks })
    }

    async fn seal(&self, manifest: &GroupManifest) -> Result<(), DepotError> {
        let mut tries = 1;
        loop {
            match self.to.seal_group(manifest).await {
                Err(error) if error.is_transient() && tries < SEAL_TRIES => tries += 1,
                sealed => return sealed,
            }
        }
    }

    /// A snapshot of the same disk that both depots have: an ancestor, or the nearest in time.
    async fn common(&self, of: &GroupManifest, disk: &DiskManifest) -> Result<Option<Common>, CopyError> {
        let mut next = disk.base;
        for _ in 0..ANCESTORS_MAX {
            let Some(ours) = next else { break };
            let Some(ancestor) = self.disk_here(ours).await? else { break };
            if let Some(common) = self.pair(disk, &ancestor, ours).await? {
                return Ok(Some(common));
            }
            next = ancestor.base;
        }
        for held in self.held(of, disk).await? {
            let Some(ours) = self.disk_here(held.ours).await? else { continue };
            let theirs = BaseSnapshot { group: held.group, snapshot: held.snapshot };
            if let Some(common) = self.pair(disk, &ours, theirs).await? {
                return Ok(Some(common));
            }
        }
        Ok(None)
    }

    /// `ours` as a base for `disk`, if what the other depot calls `theirs` is the same.
    async fn pair(
        &self,
        disk: &DiskManifest,
        ours: &DiskManifest,
        theirs: BaseSnapshot,
    ) -> Result<Option<Common>, CopyError> {
        if ours.disk != disk.disk || !crate::diff::comparable(&ours.tree, &disk.tree) {
            return Ok(None);
        }
        let there = find(&self.to, theirs).await.map_err(CopyError::To)?;
        Ok(there.filter(|there| self.is_same(ours, there)).map(|there| Common {
            trees: CopyBase { here: ours.tree, there: there.tree },
            ours: ours.snapshot,
            theirs,
        }))
    }

    /// Whether two manifests are known to speak of the same bytes: one is a copy of the other, or both
    /// are of a third.
    fn is_same(&self, ours: &DiskManifest, theirs: &DiskManifest) -> bool {
        let root = |disk: &DiskManifest| disk.tree.root.map(|root| root.name);
        let origin = |disk: &DiskManifest| disk.origin.map(|origin| (origin.depot, origin.root));
        let is_copy = origin(theirs) == Some((self.from.id(), root(ours)))
            || origin(ours) == Some((self.to.id(), root(theirs)))
            || (ours.origin.is_some() && origin(ours) == origin(theirs));
        is_copy && ours.disk == theirs.disk && ours.tree.size == theirs.tree.size
    }

    async fn disk_here(&self, snapshot: BaseSnapshot) -> Result<Option<DiskManifest>, CopyError> {
        find(&self.from, snapshot).await.map_err(CopyError::From)
    }

    /// What the other depot has of a disk, the nearest in time first.
    async fn held(&self, of: &GroupManifest, disk: &DiskManifest) -> Result<Vec<Held>, CopyError> {
        let mut there = self.there.lock().await;
        let all = match &mut *there {
            Some(all) => all,
            none => none.insert(self.look().await.map_err(CopyError::To)?),
        };
        let mut held = all.get(&disk.disk).cloned().unwrap_or_default();
        held.sort_by_key(|held| (held.taken.0.abs_diff(of.taken.0), held.group));
        held.truncate(ANCESTORS_MAX);
        Ok(held)
    }

    async fn look(&self) -> Result<HashMap<DiskId, Vec<Held>>, DepotError> {
        let mut there = HashMap::new();
        // Damage over there makes a copy larger and nothing worse.
        let each = self.to.each_group(|(_, found)| found.iter().for_each(|group| note(&mut there, group)));
        each.await?;
        Ok(there)
    }
}

fn note(there: &mut HashMap<DiskId, Vec<Held>>, manifest: &GroupManifest) {
    let (group, taken) = (manifest.group, manifest.taken);
    for disk in &manifest.disks {
        let own = BaseSnapshot { group, snapshot: disk.snapshot };
        let ours =
            disk.origin.map_or(own, |origin| BaseSnapshot { group: origin.group, snapshot: origin.snapshot });
        let held = Held { taken, group, snapshot: disk.snapshot, ours };
        there.entry(disk.disk).or_default().push(held);
    }
}

/// A snapshot's disk, if its group is there and can be read.
async fn find(depot: &Depot, snapshot: BaseSnapshot) -> Result<Option<DiskManifest>, DepotError> {
    match depot.group(snapshot.group).await {
        Ok(Some(group)) => Ok(group.disks.into_iter().find(|disk| disk.snapshot == snapshot.snapshot)),
        Ok(None) | Err(DepotError::Damaged { .. } | DepotError::Newer { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

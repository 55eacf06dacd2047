//! Looks for damage: without keys by the names of packs and the sums of all else, with keys down to every
//! chunk.
//!
//! First every object of the bucket is read once, several packs at a time. With keys each
//! frame is opened there and then, and each chunk compared with the name its pack's table of contents
//! gives it. What is left is to walk the trees and to compare what they link to with those tables:
//! all snapshots side by side, so that what they share is looked at once.
//!
//! # Consistency
//! Nothing this process remembers is believed: verify reads with eyes of its own. Packs it finds damaged
//! are forgotten by the cache of known chunks.
//! # Crash consistency
//! Nothing is written to the depot.
//! # Concurrency
//! Beside everything else. What is missing because its group went meanwhile is no finding.
//! # Errors
//! Damage is a finding; an error means that looking could not go on, and says nothing of the depot.
//! # Cancellation
//! Looked at all the time.
//! # Limits
//! Pieces of packs in memory together, tables of contents, ranges of a finding and findings are bounded
//! here; what grows is 40 bytes a pack and 200 a snapshot, and a node's worth of links per level and version.

mod objects;
mod packs;
mod tables;
mod tell;
mod trees;

use std::sync::Arc;

use format::path;
use model::{ByteCount, Extent, GroupId, SnapshotId};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::objects::Objects;
use crate::work::cancellable;
use crate::{Depot, DepotError, Settings};
use objects::{Survey, gone};
use packs::Packs;
use tell::Tell;
use trees::Trees;

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every object against its name or its checksum. Needs no key.
    Names,
    /// All of that, and every chunk of every group, opened and checked.
    Data,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub objects: u64,
    pub bytes: ByteCount,
    pub packs: usize,
    pub groups: usize,
    /// With keys only; so are chunks. What snapshots share counts once.
    pub snapshots: usize,
    pub chunks: u64,
    /// By name of the object; the first thousand.
    pub findings: Vec<Finding>,
    /// Damaged objects beyond those.
    pub unlisted: usize,
    /// What is no damage and worth a look.
    pub notes: Vec<Note>,
}

/// One object that is not what it should be, and whom it hurts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub object: String,
    pub what: String,
    /// Told with keys only, but for a manifest, whose name says whom it hurts. None: nobody needs what is
    /// broken.
    pub hurts: Vec<Hurt>,
}

/// What of a group cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurt {
    pub group: GroupId,
    /// None: the whole group.
    pub snapshot: Option<SnapshotId>,
    /// Of the snapshot's disk, in order, none touching another. Where they would be many they are
    /// rounded outwards: everything outside of them can be restored.
    pub ranges: Vec<Extent>,
}

/// An object that is no damage and no business of a depot's either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub object: String,
    pub what: String,
}

/// Called as the look goes on; must not block.
pub type Verifying = Arc<dyn Fn(Verified) + Send + Sync>;

/// How far a look is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    pub stage: VerifyStage,
    pub objects: u64,
    pub objects_total: u64,
    /// Of the stage: bytes of objects, or of the largest disk.
    pub bytes: u64,
    pub bytes_total: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerifyStage {
    #[default]
    Objects,
    Trees,
}

impl Depot {
    /// Looks at everything, and goes on after damage. An error means it could not go on looking.
    pub async fn verify(&self, depth: Depth, cancel: &CancellationToken) -> Result<VerifyReport, DepotError> {
        self.verify_telling(depth, Arc::new(|_| {}), cancel).await
    }

    /// The same, with somebody watching.
    pub async fn verify_telling(
        &self,
        depth: Depth,
        progress: Verifying,
        cancel: &CancellationToken,
    ) -> Result<VerifyReport, DepotError> {
        let depot = self.afresh();
        let keyed = (depth == Depth::Data).then_some(&depot);
        let report = cancellable(cancel, verify(&depot.objects, &depot.settings, keyed, &progress)).await?;
        // Whoever still has the content stores it anew: new snapshots must not link to what is broken.
        let broken = report.findings.iter().filter_map(|finding| path::parse_pack(&finding.object));
        self.known.forget(broken);
        Ok(report)
    }

    /// What can be seen of a bucket without keys, even where the depot cannot be opened.
    pub async fn verify_bucket(
        store: Arc<dyn Store>,
        settings: &Settings,
        progress: Verifying,
        cancel: &CancellationToken,
    ) -> Result<VerifyReport, DepotError> {
        settings.check()?;
        let report = cancellable(cancel, verify(&Objects::new(store), settings, None, &progress)).await?;
        if report.objects == 0 {
            return Err(DepotError::Invalid("there is no depot in this place".to_owned()));
        }
        Ok(report)
    }
}

async fn verify(
    objects: &Objects,
    settings: &Settings,
    keyed: Option<&Depot>,
    progress: &Verifying,
) -> Result<VerifyReport, DepotError> {
    let mut tell = Tell::default();
    let mut survey = Survey::list(objects, progress).await?;
    survey.look(objects, keyed, &mut tell).await?;
    let mut packs = Packs::new(objects, settings, keyed, survey.depot);
    packs.look(&mut survey, &mut tell).await?;
    let trees = Trees::new(std::mem::take(&mut survey.disks));
    let snapshots = trees.len();
    if let Some(depot) = keyed {
        trees.look(depot, &packs, &mut tell, progress).await?;
    }
    let gone = gone(objects, tell.groups(&trees)).await?;
    let (findings, unlisted) = tell.findings(&trees, &gone);
    Ok(VerifyReport {
        objects: survey.objects_done,
        bytes: ByteCount(survey.bytes_done),
        packs: survey.packs.len(),
        groups: survey.groups,
        snapshots,
        chunks: packs.chunks(),
        findings,
        unlisted,
        notes: survey.notes,
    })
}

//! Looks for damage: without keys by the names of packs, with keys down to every chunk.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use format::{FOOTER_LEN, Link, ManifestEnvelope, PackFooter, PackName, TreeRef, path};
use futures::{StreamExt, TryStreamExt};
use model::{Extent, GroupId, SnapshotId};
use tokio_util::sync::CancellationToken;

use crate::cipher::SlotKeys;
use crate::objects::key;
use crate::restore::{chunks_of, frame_of};
use crate::walk::Step;
use crate::{Depot, DepotError};

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every pack against its name, every manifest against its checksum. Needs no key.
    Names,
    /// Every chunk of every group, opened and checked.
    Data,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub packs: usize,
    pub groups: usize,
    pub chunks: u64,
    pub findings: Vec<Finding>,
}

/// One object that is not what it should be, and whom it hurts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub object: String,
    pub what: String,
    pub group: Option<GroupId>,
    pub snapshot: Option<SnapshotId>,
    /// Of the snapshot's disk.
    pub range: Option<Extent>,
}

impl Depot {
    /// Looks at everything, and goes on after damage. An error means it could not go on looking.
    pub async fn verify(&self, depth: Depth, cancel: &CancellationToken) -> Result<VerifyReport, DepotError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(DepotError::Cancelled),
            report = Box::pin(self.verify_inner(depth)) => report,
        }
    }

    async fn verify_inner(&self, depth: Depth) -> Result<VerifyReport, DepotError> {
        match depth {
            Depth::Names => self.verify_names().await,
            Depth::Data => self.verify_data().await,
        }
    }

    async fn verify_names(&self) -> Result<VerifyReport, DepotError> {
        let packs = self.objects.list(path::PACKS, None, path::parse_pack).await?;
        let mut report = VerifyReport { packs: packs.len(), ..VerifyReport::default() };
        let checks = futures::stream::iter(packs).map(|pack| self.verify_pack(pack));
        let found: Vec<_> = checks.buffered(self.settings.uploads()).try_collect().await?;
        report.findings.extend(found.into_iter().flatten());
        for id in self.groups().await? {
            let key = key(&path::group(id))?;
            let Some(bytes) = self.objects.find(&key).await? else { continue };
            report.groups += 1;
            let problem = match ManifestEnvelope::decode(&bytes) {
                Err(error) => Some(error.to_string()),
                Ok(found) if (found.header.depot, found.header.group) != (self.id, id) => {
                    Some("the manifest of another group or depot".to_owned())
                }
                Ok(_) => None,
            };
            let of_group = |what| Finding { group: Some(id), ..finding(key.as_str(), what) };
            report.findings.extend(problem.map(of_group));
        }
        Ok(report)
    }

    async fn verify_pack(&self, pack: PackName) -> Result<Option<Finding>, DepotError> {
        let key = key(&path::pack(pack))?;
        // Collected since the listing: not damage.
        let Some(bytes) = self.objects.find(&key).await? else { return Ok(None) };
        let whole = bytes.clone();
        let beside = self.settings.parallelism > 1;
        let named = crate::work::Work::compute(beside, move || PackName::of(&whole)).wait().await?;
        if named != pack {
            return Ok(Some(finding(key.as_str(), "its bytes do not hash to its name".to_owned())));
        }
        let footer = bytes
            .len()
            .checked_sub(FOOTER_LEN)
            .map(|at| PackFooter::decode(&bytes[at..], bytes.len() as u64));
        match footer {
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Ok(Some(finding(key.as_str(), error.to_string()))),
            None => Ok(Some(finding(key.as_str(), "too short for a pack".to_owned()))),
        }
    }

    async fn verify_data(&self) -> Result<VerifyReport, DepotError> {
        let mut report = VerifyReport::default();
        let mut sound = HashSet::new();
        for id in self.groups().await? {
            let manifest = match self.group(id).await {
                Ok(Some(manifest)) => manifest,
                Ok(None) => continue,
                Err(error) => {
                    let flaw = flaw(error)?;
                    report.findings.push(Finding { group: Some(id), ..finding(&flaw.0, flaw.1) });
                    continue;
                }
            };
            report.groups += 1;
            for disk in &manifest.disks {
                let (chunks, flaws) = self.verify_tree(&disk.tree, &mut sound).await?;
                report.chunks += chunks;
                report.findings.extend(flaws.into_iter().map(|flaw| Finding {
                    group: Some(id),
                    snapshot: Some(disk.snapshot),
                    range: Some(flaw.range),
                    ..finding(&flaw.object, flaw.what)
                }));
            }
        }
        // A group deleted meanwhile may have lost its packs: that is nobody's damage.
        let mut gone = HashSet::new();
        for group in report.findings.iter().filter_map(|finding| finding.group) {
            if self.objects.size(&key(&path::group(group))?).await?.is_none() {
                gone.insert(group);
            }
        }
        report.findings.retain(|finding| finding.group.is_none_or(|group| !gone.contains(&group)));
        Ok(report)
    }

    async fn verify_tree(
        &self,
        tree: &TreeRef,
        sound: &mut HashSet<NodePlace>,
    ) -> Result<(u64, Vec<Flaw>), DepotError> {
        let keys = match self.slot_keys(tree.slot).await {
            Ok(keys) => keys,
            Err(error) => {
                let (object, what) = flaw(error)?;
                return Ok((0, vec![Flaw { object, what, range: Extent { offset: 0, len: tree.size } }]));
            }
        };
        let Some(link) = tree.root else { return Ok((0, Vec::new())) };
        let step = Step { link, level: tree.root_level(), index: 0 };
        let looked = self.verify_node(tree, &keys, step, sound).await?;
        sound.extend(looked.sound);
        Ok((looked.chunks, looked.flaws))
    }

    /// Looks below one node; `sound` are nodes below which nothing is wrong.
    fn verify_node<'a>(
        &'a self,
        tree: &'a TreeRef,
        keys: &'a Arc<SlotKeys>,
        step: Step,
        sound: &'a HashSet<NodePlace>,
    ) -> Pin<Box<dyn Future<Output = Result<Looked, DepotError>> + Send + 'a>> {
        Box::pin(async move {
            let place = node_place(&step.link);
            if sound.contains(&place) {
                return Ok(Looked::default());
            }
            let node = match self.node(keys, tree, &step.link, step.level).await {
                Ok(node) => node,
                Err(error) => return Looked::flawed(error, span(tree, &step)),
            };
            let mut looked = if step.level == 0 {
                self.verify_leaf(tree, keys, chunks_of(tree, step.index, &node.children)).await?
            } else {
                let first = step.index * u64::from(tree.geometry.fan_out(step.level));
                let below = (first..).zip(node.children).filter_map(|(index, child)| {
                    child.map(|link| Step { link, level: step.level - 1, index })
                });
                // Leaves side by side; above them one after the other, or the width would multiply.
                let width = if step.level == 1 { self.settings.fetches() } else { 1 };
                let each =
                    futures::stream::iter(below).map(|below| self.verify_node(tree, keys, below, sound));
                let each: Vec<Looked> = each.buffered(width).try_collect().await?;
                each.into_iter().fold(Looked::default(), Looked::and)
            };
            if looked.flaws.is_empty() {
                looked.sound.push(place);
            }
            Ok(looked)
        })
    }

    async fn verify_leaf(
        &self,
        tree: &TreeRef,
        keys: &Arc<SlotKeys>,
        chunks: Vec<(u64, Link)>,
    ) -> Result<Looked, DepotError> {
        let mut looked = Looked { chunks: chunks.len() as u64, ..Looked::default() };
        for batch in chunks.chunk_by(|(_, a), (_, b)| frame_of(a) == frame_of(b)) {
            if let Err(error) = self.checked(keys, batch.to_vec()).await {
                let (from, to) = (batch[0].0, batch[batch.len() - 1].0 + 1);
                looked = looked.and(Looked::flawed(error, range(tree, from, to))?);
            }
        }
        Ok(looked)
    }
}

type NodePlace = (PackName, u32, u32);

fn node_place(link: &Link) -> NodePlace {
    (link.place.pack, link.place.frame, link.place.at)
}

#[derive(Default)]
struct Looked {
    chunks: u64,
    flaws: Vec<Flaw>,
    sound: Vec<NodePlace>,
}

struct Flaw {
    object: String,
    what: String,
    range: Extent,
}

impl Looked {
    fn flawed(error: DepotError, range: Extent) -> Result<Self, DepotError> {
        let (object, what) = flaw(error)?;
        Ok(Self { flaws: vec![Flaw { object, what, range }], ..Self::default() })
    }

    fn and(mut self, other: Self) -> Self {
        self.chunks += other.chunks;
        self.flaws.extend(other.flaws);
        self.sound.extend(other.sound);
        self
    }
}

/// Damage is what is looked for; any other error ends the looking.
fn flaw(error: DepotError) -> Result<(String, String), DepotError> {
    match error {
        DepotError::Damaged { object, what } | DepotError::Newer { object, what } => Ok((object, what)),
        other => Err(other),
    }
}

fn finding(object: &str, what: String) -> Finding {
    Finding { object: object.to_owned(), what, group: None, snapshot: None, range: None }
}

fn span(tree: &TreeRef, step: &Step) -> Extent {
    let span = tree.geometry.span(step.level);
    range(tree, step.index * span, (step.index + 1) * span)
}

fn range(tree: &TreeRef, from: u64, to: u64) -> Extent {
    let chunk_len = u64::from(tree.geometry.chunk_len());
    let (from, to) = ((from * chunk_len).min(tree.size), to.saturating_mul(chunk_len).min(tree.size));
    Extent { offset: from, len: to - from }
}

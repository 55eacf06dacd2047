//! All trees side by side, from their roots down: what several share is looked at once.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use format::{Geometry, Link, Node, PackStem, SlotId, TreeRef, path};
use futures::{StreamExt, TryStreamExt};

use super::objects::DiskOf;
use super::packs::{Packs, State};
use super::tell::{Tell, Who};
use super::{Verified, VerifyStage, Verifying};
use crate::cipher::SlotKeys;
use crate::depot::lock;
use crate::restore::{chunks_of, frame_of};
use crate::{Depot, DepotError};

const WRONG_BELOW: &str =
    "a tree node above one in it is wrong about the packs below: collection could take what is needed";

/// The trees of all groups, those that can share nodes together.
pub(super) struct Trees {
    disks: Vec<DiskOf>,
    kinds: BTreeMap<(SlotId, [u8; 3]), Vec<u32>>,
}

/// A node or chunk at one place of the disk, and the trees that have it there.
struct Shared {
    link: Link,
    /// The packs that are said to be below, by the nodes above.
    said: Option<Vec<PackStem>>,
    trees: Vec<u32>,
}

impl Trees {
    pub(super) fn new(disks: Vec<DiskOf>) -> Self {
        let mut kinds: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for (number, disk) in (0..).zip(&disks) {
            let geometry = disk.tree.geometry;
            let logs = [geometry.chunk_log2(), geometry.leaf_log2(), geometry.node_log2()];
            kinds.entry((disk.tree.slot, logs)).or_default().push(number);
        }
        Self { disks, kinds }
    }

    pub(super) fn len(&self) -> usize {
        self.disks.len()
    }

    pub(super) fn of(&self, tree: u32) -> &DiskOf {
        &self.disks[tree as usize]
    }

    pub(super) async fn look(
        &self,
        depot: &Depot,
        packs: &Packs<'_>,
        tell: &mut Tell,
        progress: &Verifying,
    ) -> Result<(), DepotError> {
        for ((slot, _), trees) in &self.kinds {
            let keys = match depot.slot_keys(*slot).await {
                Ok(keys) => keys,
                Err(error) => {
                    let (object, what) = error.damage()?;
                    for tree in trees {
                        tell.hurt_unless_told(&object, &what, Who::Group(self.of(*tree).group));
                    }
                    continue;
                }
            };
            let roots = trees.iter().filter(|tree| self.of(**tree).tree.root.is_some());
            let Some(tallest) = roots.max_by_key(|tree| self.of(**tree).tree.size) else { continue };
            let like = self.of(*tallest).tree;
            let told = Mutex::new(std::mem::take(tell));
            let walk = Walk { depot, packs, keys, trees: self, these: trees, like, tell: &told, progress };
            let walked = walk.enter(like.root_level(), 0, Vec::new()).await;
            *tell = told.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            walked?;
        }
        Ok(())
    }
}

struct Walk<'a> {
    depot: &'a Depot,
    packs: &'a Packs<'a>,
    keys: Arc<SlotKeys>,
    trees: &'a Trees,
    these: &'a [u32],
    /// The tallest of them, for its geometry.
    like: TreeRef,
    tell: &'a Mutex<Tell>,
    progress: &'a Verifying,
}

impl Walk<'_> {
    /// Looks at the nodes at one place of a level, and at all below.
    fn enter<'b>(
        &'b self,
        level: u8,
        index: u64,
        mut here: Vec<Shared>,
    ) -> Pin<Box<dyn Future<Output = Result<(), DepotError>> + Send + 'b>> {
        Box::pin(async move {
            if index == 0 {
                self.add_roots(level, &mut here);
            }
            let mut nodes: Vec<(Node, Vec<u32>)> = Vec::with_capacity(here.len());
            for Shared { link, said, trees } in here {
                if let Some(State::Lost(what)) = self.packs.state(link.place.pack) {
                    let object = path::pack(link.place.pack);
                    lock(self.tell).hurt_chunks(&object, what, &trees, self.span(level, index));
                    continue;
                }
                match self.depot.node(&self.keys, &self.like, &link, level).await {
                    Ok(node) => {
                        if said.is_some() && said != node.reach(link.place.pack) {
                            let object = path::pack(link.place.pack);
                            lock(self.tell).hurt_chunks(
                                &object,
                                WRONG_BELOW,
                                &trees,
                                self.span(level, index),
                            );
                        }
                        nodes.push((node, trees));
                    }
                    Err(error) => self.flawed(error, &trees, self.span(level, index))?,
                }
            }
            if level == 0 {
                for (node, trees) in &nodes {
                    self.leaf(index, node, trees).await?;
                }
                return Ok(());
            }
            let first = index * u64::from(self.geometry().fan_out(level));
            let below = children(nodes, self.geometry().fan_out(level) as usize);
            let below = (first..).zip(below).filter(|(index, shared)| *index == 0 || !shared.is_empty());
            // Leaves side by side; above them one after the other, or the width would multiply.
            let width = if level == 1 { self.depot.settings.fetches() } else { 1 };
            let walks = futures::stream::iter(below)
                .map(|(index, shared)| async move { self.enter(level - 1, index, shared).await });
            walks.buffered(width).try_collect::<()>().await?;
            if level == 1 {
                self.progressed(index + 1);
            }
            Ok(())
        })
    }

    const fn geometry(&self) -> Geometry {
        self.like.geometry
    }

    /// Smaller disks begin further down.
    fn add_roots(&self, level: u8, here: &mut Vec<Shared>) {
        let mut roots: HashMap<Link, Vec<u32>> = HashMap::new();
        for tree in self.these {
            let of = &self.trees.of(*tree).tree;
            if let (true, Some(root)) = (of.root_level() == level, of.root) {
                roots.entry(root).or_default().push(*tree);
            }
        }
        for (link, trees) in roots {
            match here.iter_mut().find(|shared| shared.link == link) {
                Some(shared) => shared.trees.extend(trees),
                None => here.push(Shared { link, said: None, trees }),
            }
        }
        here.sort_by_key(|shared| shared.trees[0]);
    }

    async fn leaf(&self, index: u64, node: &Node, trees: &[u32]) -> Result<(), DepotError> {
        let chunks = chunks_of(&self.like, index, &node.children);
        for batch in chunks.chunk_by(|(_, a), (_, b)| frame_of(a) == frame_of(b)) {
            self.batch(batch, trees).await?;
        }
        Ok(())
    }

    /// Chunks of one frame.
    async fn batch(&self, batch: &[(u64, Link)], trees: &[u32]) -> Result<(), DepotError> {
        let place = batch[0].1.place;
        let range = (batch[0].0, batch[batch.len() - 1].0 + 1);
        let object = || path::pack(place.pack);
        let believed = match self.packs.state(place.pack) {
            Some(State::Lost(what)) => {
                lock(self.tell).hurt_chunks(&object(), what, trees, range);
                return Ok(());
            }
            Some(State::Sound) => true,
            Some(State::Holes(holes)) => !holes.contains(&place.frame),
            Some(State::NoTable | State::NoKey) | None => false,
        };
        if believed
            && let Some(table) = self.packs.table(self.depot, place.pack).await?
            && batch.iter().all(|(_, link)| table.agrees(link))
        {
            return Ok(());
        }
        // The frame itself has the last word, chunk by chunk if need be.
        match self.depot.checked(&self.keys, batch.to_vec()).await {
            Ok(_) => Ok(()),
            Err(error) if batch.len() == 1 => self.flawed(error, trees, range),
            Err(error) => {
                error.damage()?;
                for one in batch {
                    if let Err(error) = self.depot.checked(&self.keys, vec![*one]).await {
                        self.flawed(error, trees, (one.0, one.0 + 1))?;
                    }
                }
                Ok(())
            }
        }
    }

    fn flawed(&self, error: DepotError, trees: &[u32], chunks: (u64, u64)) -> Result<(), DepotError> {
        let (object, what) = error.damage()?;
        lock(self.tell).hurt_chunks(&object, &what, trees, chunks);
        Ok(())
    }

    fn span(&self, level: u8, index: u64) -> (u64, u64) {
        let span = self.geometry().span(level);
        (index * span, (index + 1) * span)
    }

    /// Leaves below so many nodes of level 1 are done.
    fn progressed(&self, nodes: u64) {
        let done = (nodes * self.geometry().span(1)).saturating_mul(u64::from(self.geometry().chunk_len()));
        (self.progress)(Verified {
            stage: VerifyStage::Trees,
            objects: 0,
            objects_total: 0,
            bytes: done.min(self.like.size),
            bytes_total: self.like.size,
        });
    }
}

/// Children at one place, with what is said of them, and the trees that have them.
type Links = HashMap<(Link, Option<Vec<PackStem>>), Vec<u32>>;

/// By child: what the nodes have there, and who shares it.
fn children(nodes: Vec<(Node, Vec<u32>)>, fan_out: usize) -> Vec<Vec<Shared>> {
    let mut below: Vec<Links> = Vec::new();
    below.resize_with(fan_out, HashMap::new);
    for (node, trees) in nodes {
        for (nth, (slot, link)) in below.iter_mut().zip(&node.children).enumerate() {
            if let Some(link) = link {
                slot.entry((*link, node.below_child(nth))).or_default().extend(&trees);
            }
        }
    }
    let in_order = |links: Links| {
        let shared = links.into_iter().map(|((link, said), trees)| Shared { link, said, trees });
        let mut shared: Vec<Shared> = shared.collect();
        shared.sort_by_key(|shared| shared.trees[0]);
        shared
    };
    below.into_iter().map(in_order).collect()
}

//! Which packs groups need, by what the upper nodes of their trees say; remembered between visits.
//!
//! What is remembered of a group goes by its attempt, and what is remembered of a node by where the node
//! lies: neither ever changes. Whatever no group led to in a visit is forgotten at its end, and when
//! there is no more room, the rest is read anew each time.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use format::{Attempt, Link, Node, PackName, PackStem, TreeRef, path};
use futures::{StreamExt, TryStreamExt};
use model::GroupId;

use crate::depot::lock;
use crate::objects::key;
use crate::{Depot, DepotError};

/// Bytes, roughly: ten thousand groups of a thousand packs each are 80 MiB, and most are far smaller.
const MEMORY_MAX: usize = 32 << 20;

pub(crate) type NodePlace = (PackName, u32, u32);

pub(crate) fn node_place(link: &Link) -> NodePlace {
    (link.place.pack, link.place.frame, link.place.at)
}

/// What a node says.
#[derive(Debug, Clone)]
enum Said {
    /// These packs are below.
    Packs(Arc<[PackStem]>),
    /// Its children know; they are one level down.
    Ask(Arc<[Link]>),
}

impl Said {
    fn by(node: &Node, lies_in: PackName) -> Self {
        match node.reach(lies_in) {
            Some(packs) => Self::Packs(packs.into()),
            None => Self::Ask(node.children.iter().flatten().copied().collect()),
        }
    }

    fn weight(&self) -> usize {
        let content = match self {
            Self::Packs(packs) => size_of_val(&packs[..]),
            Self::Ask(children) => size_of_val(&children[..]),
        };
        content + size_of::<(NodePlace, Self)>()
    }
}

/// What a visit leaves for the next one.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    nodes: HashMap<NodePlace, Said>,
    groups: HashMap<(GroupId, Attempt), Arc<[TreeRef]>>,
    weight: usize,
    /// Packs some group or promise was seen to name, as long as they are there.
    pub(crate) named: HashSet<PackStem>,
}

impl Remembered {
    fn node(&mut self, place: NodePlace, said: Said) {
        let weight = said.weight();
        if self.weight + weight <= MEMORY_MAX && self.nodes.insert(place, said).is_none() {
            self.weight += weight;
        }
    }

    fn group(&mut self, name: (GroupId, Attempt), trees: Arc<[TreeRef]>) {
        let weight = size_of_val(&trees[..]) + 64;
        if self.weight + weight <= MEMORY_MAX && self.groups.insert(name, trees).is_none() {
            self.weight += weight;
        }
    }
}

impl Now {
    fn take(&mut self, found: HashMap<NodePlace, Said>) {
        for (place, said) in found {
            self.packs.insert(place.0.stem());
            if let Said::Packs(packs) = &said {
                self.packs.extend(packs.iter().copied());
            }
            self.seen.insert(place);
            self.keep.node(place, said);
        }
    }
}

/// One look at what is needed.
pub(crate) struct Needs<'a> {
    depot: &'a Depot,
    before: Remembered,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    packs: HashSet<PackStem>,
    seen: HashSet<NodePlace>,
    keep: Remembered,
}

impl<'a> Needs<'a> {
    pub(crate) fn new(depot: &'a Depot, before: Remembered) -> Self {
        Self { depot, before, now: Mutex::default() }
    }

    /// Adds what every group there is needs, and every group that is being sealed. One that goes
    /// meanwhile needs nothing any more. Answers what is wrong with those being sealed: they fail.
    ///
    /// Intents first: one that is gone by then has left a manifest, which the second listing shows.
    pub(crate) async fn add_groups(&self) -> Result<Vec<String>, DepotError> {
        let objects = &self.depot.objects;
        let intents = objects.list(path::INTENTS, None, path::parse_intent).await?;
        let manifests = objects.list(path::GROUPS, None, path::parse_group).await?;
        let ended: HashSet<(GroupId, Attempt)> = manifests.iter().copied().collect();
        let intents = futures::stream::iter(intents.into_iter().filter(|intent| !ended.contains(intent)));
        let fetches = self.depot.settings.fetches();
        let added = intents.map(|(id, attempt)| self.add_intent(id, attempt));
        let troubles: Vec<Option<String>> = added.buffer_unordered(fetches).try_collect().await?;
        let added = futures::stream::iter(manifests).map(|(id, attempt)| self.add_group(id, attempt));
        added.buffer_unordered(fetches).try_collect::<()>().await?;
        Ok(troubles.into_iter().flatten().collect())
    }

    /// Answers what is wrong with it, if it cannot be read: who seals it must read it too, and cannot.
    async fn add_intent(&self, id: GroupId, attempt: Attempt) -> Result<Option<String>, DepotError> {
        let path = path::intent(id, attempt);
        let added = match self.depot.manifest(&path, id, attempt).await {
            Ok(Some(group)) => self.add_all(group.disks.iter().map(|disk| disk.tree)).await,
            // It has come to its end since the listing: with a manifest, or without.
            Ok(None) => self.add_group(id, attempt).await,
            Err(error) => Err(error),
        };
        match added {
            Ok(()) => Ok(None),
            Err(error @ DepotError::Damaged { .. }) => {
                Ok(Some(format!("the seal begun as {path} cannot succeed any more: {error}")))
            }
            Err(error) => Err(error),
        }
    }

    async fn add_group(&self, id: GroupId, attempt: Attempt) -> Result<(), DepotError> {
        let path = path::group(id, attempt);
        let trees = match self.before.groups.get(&(id, attempt)) {
            Some(trees) => trees.clone(),
            None => match self.depot.manifest(&path, id, attempt).await? {
                Some(group) => group.disks.iter().map(|disk| disk.tree).collect(),
                None => return Ok(()),
            },
        };
        match self.add_all(trees.iter().copied()).await {
            Err(_) if self.depot.objects.size(&key(&path)?).await?.is_none() => return Ok(()),
            added => added?,
        }
        lock(&self.now).keep.group((id, attempt), trees);
        Ok(())
    }

    async fn add_all(&self, trees: impl Iterator<Item = TreeRef>) -> Result<(), DepotError> {
        for tree in trees {
            self.add(&tree).await?;
        }
        Ok(())
    }

    /// Adds a tree whole or not at all: should it turn out unreadable, nobody may think that what it
    /// shares with others had been looked at.
    pub(crate) async fn add(&self, tree: &TreeRef) -> Result<(), DepotError> {
        let keys = self.depot.slot_keys(tree.slot).await?;
        let mut ahead: Vec<(Link, u8)> =
            tree.root.map(|root| (root, tree.root_level())).into_iter().collect();
        let mut found: HashMap<NodePlace, Said> = HashMap::new();
        while let Some((link, level)) = ahead.pop() {
            let place = node_place(&link);
            if found.contains_key(&place) || lock(&self.now).seen.contains(&place) {
                continue;
            }
            let said = match self.before.nodes.get(&place) {
                Some(said) => said.clone(),
                None => {
                    let node = self.depot.node(&keys, tree, &link, level).await?;
                    Said::by(&node, link.place.pack)
                }
            };
            if let Said::Ask(children) = &said {
                ahead.extend(children.iter().map(|child| (*child, level.saturating_sub(1))));
            }
            found.insert(place, said);
        }
        lock(&self.now).take(found);
        Ok(())
    }

    /// Packs needed, and what to remember.
    pub(crate) fn end(self) -> (HashSet<PackStem>, Remembered) {
        let Now { packs, keep, .. } =
            self.now.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        (packs, keep)
    }
}

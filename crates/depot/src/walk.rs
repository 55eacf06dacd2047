//! Walks trees, in disk order, entering only what the walker wants to see.

use std::collections::HashSet;
use std::sync::Arc;

use format::{Link, Node, PackName, TreeRef};

use crate::cipher::SlotKeys;
use crate::read::{Cursor, usize_of};
use crate::{Depot, DepotError};

/// A node yet to be entered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) link: Link,
    pub(crate) level: u8,
    /// Among the nodes of its level.
    pub(crate) index: u64,
}

pub(crate) struct Walk<'a> {
    depot: &'a Depot,
    tree: TreeRef,
    keys: Arc<SlotKeys>,
    /// At most one node's children a level.
    ahead: Vec<Step>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(depot: &'a Depot, tree: TreeRef, keys: Arc<SlotKeys>) -> Self {
        let root = tree.root.map(|link| Step { link, level: tree.root_level(), index: 0 });
        Self { depot, tree, keys, ahead: root.into_iter().collect() }
    }

    pub(crate) fn next(&mut self) -> Option<Step> {
        self.ahead.pop()
    }

    /// Reads the node; the nodes below it come next.
    pub(crate) async fn enter(&mut self, step: &Step) -> Result<Node, DepotError> {
        let node = self.depot.node(&self.keys, &self.tree, &step.link, step.level).await?;
        if step.level > 0 {
            let first = step.index * u64::from(self.tree.geometry.fan_out(step.level));
            let below = (first..).zip(&node.children).filter_map(|(index, child)| {
                let link = (*child)?;
                Some(Step { link, level: step.level - 1, index })
            });
            let from = self.ahead.len();
            self.ahead.extend(below);
            self.ahead[from..].reverse();
        }
        Ok(node)
    }
}

/// Packs that trees name, gathered tree by tree; what was seen is not looked at again.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) packs: HashSet<PackName>,
    /// Nodes by where they lie.
    seen: HashSet<(PackName, u32, u32)>,
}

impl Named {
    /// Adds what `tree` names. Parts it shares with `base`, place and all, are left out.
    pub(crate) async fn add(
        &mut self,
        depot: &Depot,
        tree: &TreeRef,
        base: Option<&TreeRef>,
    ) -> Result<(), DepotError> {
        let keys = depot.slot_keys(tree.slot).await?;
        let alike = |base: &&TreeRef| (base.slot, base.geometry) == (tree.slot, tree.geometry);
        let mut base = base.filter(alike).map(|base| Cursor::new(depot, *base, keys.clone()));
        let mut walk = Walk::new(depot, *tree, keys);
        while let Some(step) = walk.next() {
            let place = step.link.place;
            if !self.seen.insert((place.pack, place.frame, place.at)) {
                continue;
            }
            if let Some(base) = &mut base
                && base.link(step.level, step.index).await? == Some(step.link)
            {
                continue;
            }
            self.packs.insert(place.pack);
            let node = walk.enter(&step).await?;
            if step.level == 0 {
                self.packs.extend(node.children.iter().flatten().map(|link| link.place.pack));
            }
        }
        Ok(())
    }
}

impl Cursor<'_> {
    /// How the node at a place of a level is linked from above.
    pub(crate) async fn link(&mut self, level: u8, index: u64) -> Result<Option<Link>, DepotError> {
        if level == self.tree.root_level() {
            return Ok(self.tree.root.filter(|_| index == 0));
        }
        let fan_out = u64::from(self.tree.geometry.fan_out(level + 1));
        let parent = self.node(level + 1, index / fan_out).await?;
        Ok(parent.and_then(|parent| parent.children[usize_of(index % fan_out)]))
    }
}

//! Walks trees, in disk order, entering only what the walker wants to see.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use format::{Link, Node, PackName, PackStem, TreeRef, path};

use crate::cipher::SlotKeys;
use crate::reach::{NodePlace, node_place};
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

/// Packs that trees name, read down to the leaves, tree by tree; what was seen is not looked at again.
/// On the way, what nodes say of the packs below their children is held against what is there.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) packs: HashSet<PackName>,
    seen: HashSet<NodePlace>,
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
        // Of the children of nodes on the way down: what is said to be below them.
        let mut said: HashMap<(u8, u64), Vec<PackStem>> = HashMap::new();
        while let Some(step) = walk.next() {
            let said_here = said.remove(&(step.level, step.index));
            if !self.seen.insert(node_place(&step.link)) {
                continue;
            }
            if let Some(base) = &mut base
                && base.link(step.level, step.index).await? == Some(step.link)
            {
                if said_here.is_some() && said_here != base.below(step.level, step.index).await? {
                    return Err(wrong_about(&step));
                }
                continue;
            }
            self.packs.insert(step.link.place.pack);
            let node = walk.enter(&step).await?;
            if said_here.is_some() && said_here != node.reach(step.link.place.pack) {
                return Err(wrong_about(&step));
            }
            if step.level == 0 {
                self.packs.extend(node.children.iter().flatten().map(|link| link.place.pack));
                continue;
            }
            let first = step.index * u64::from(tree.geometry.fan_out(step.level));
            for (child, _) in (0..).zip(&node.children).filter(|(_, child)| child.is_some()) {
                if let Some(below) = node.below_child(usize_of(child)) {
                    said.insert((step.level - 1, first + child), below);
                }
            }
        }
        Ok(())
    }
}

fn wrong_about(step: &Step) -> DepotError {
    let object = path::pack(step.link.place.pack);
    DepotError::damaged(object, "a tree node above one in it is wrong about the packs below")
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

    /// What packs are said to be below the node at a place of a level, by whoever is above it.
    async fn below(&mut self, level: u8, index: u64) -> Result<Option<Vec<PackStem>>, DepotError> {
        if level == self.tree.root_level() {
            let Some(root) = self.tree.root else { return Ok(None) };
            return Ok(self.node(level, index).await?.and_then(|node| node.reach(root.place.pack)));
        }
        let fan_out = u64::from(self.tree.geometry.fan_out(level + 1));
        let parent = self.node(level + 1, index / fan_out).await?;
        Ok(parent.and_then(|parent| parent.below_child(usize_of(index % fan_out))))
    }
}

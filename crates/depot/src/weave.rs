//! Makes a new tree from a base and what changed, level by level, while packs fill up.
//!
//! Chunks come in the order of the disk. A node is drafted from the base's node at its place when
//! the first of its children comes, and complete when a child of a later node does. A complete
//! draft that says what the base said is dropped; the others are encoded at the next flush.
//!
//! Nodes say which packs lie below each child. Of a child that was drawn anew its own node tells, of
//! one taken over what the base's node said: nothing is read for it. Where the base says nothing,
//! neither do we, unless all children are new.

use std::sync::Arc;

use format::{Below, FrameKind, Geometry, Inside, Link, NameKeys, Node, PackName, PackStem, Place, TreeRef};

use crate::DepotError;
use crate::packer::{Packer, narrow};
use crate::read::{Cursor, usize_of};

/// Plain bytes of a tree frame: small enough that one node can be had cheaply, and worth compressing.
const TREE_FRAME_LEN: usize = 128 << 10;

pub(crate) struct Weaver<'a> {
    geometry: Geometry,
    chunks: u64,
    root_level: u8,
    names: &'a NameKeys,
    base: Option<Cursor<'a>>,
    levels: Vec<Level>,
}

#[derive(Default)]
struct Level {
    open: Option<Draft>,
    complete: Vec<Draft>,
    /// Of the uppermost level alone: the root, once written.
    root: Option<Option<Link>>,
}

/// The packs below a child, apart from the one it lies in; `None` if nobody says.
type Known = Option<Arc<[PackStem]>>;

struct Draft {
    index: u64,
    node: Node,
    /// By child; of no use in a leaf.
    known: Vec<Known>,
    base: Option<Arc<Node>>,
}

impl Draft {
    fn new(index: u64, geometry: Geometry, level: u8, base: Option<Arc<Node>>) -> Self {
        let node = base.as_ref().map_or_else(|| Node::empty(geometry, level), |base| Node::clone(base));
        let known = match level {
            0 => Vec::new(),
            _ => (0..node.children.len()).map(|child| node.below_child(child).map(Arc::from)).collect(),
        };
        Self { index, node, known, base }
    }

    /// Puts together what is known of the children.
    fn sum_up(&mut self) {
        let present = self.node.children.iter().zip(&self.known).filter(|(child, _)| child.is_some());
        let known: Option<Vec<&[PackStem]>> = present.map(|(_, known)| known.as_deref()).collect();
        self.node.below = known.and_then(|known| Below::of(known.into_iter()));
    }

    fn says_what_base_said(&self) -> bool {
        let base = self.base.as_ref().map_or(&[][..], |base| &base.children);
        let name = |link: &Option<Link>| link.as_ref().map(|link| link.name);
        let (ours, theirs) = (self.node.children.iter().map(name), base.iter().map(name));
        if base.is_empty() { self.node.is_empty() } else { ours.eq(theirs) }
    }
}

impl<'a> Weaver<'a> {
    pub(crate) fn new(geometry: Geometry, size: u64, names: &'a NameKeys, base: Option<Cursor<'a>>) -> Self {
        let root_level = geometry.root_level(size);
        let levels = (0..=root_level).map(|_| Level::default()).collect();
        Self { geometry, chunks: geometry.chunks(size), root_level, names, base, levels }
    }

    /// A base of another size: the way down to its first and to our last chunk is ours to draw.
    pub(crate) async fn begin(&mut self) -> Result<(), DepotError> {
        let Some(base_level) = self.base.as_ref().map(|base| base.tree.root_level()) else { return Ok(()) };
        let base_root = self.base.as_ref().and_then(|base| base.tree.root);
        if base_level < self.root_level {
            let known = match (&mut self.base, base_root) {
                (Some(base), Some(root)) => base
                    .node(base_level, 0)
                    .await?
                    .and_then(|node| node.reach(root.place.pack))
                    .map(Arc::from),
                _ => None,
            };
            self.set(base_level + 1, 0, base_root, known).await?;
        }
        Ok(())
    }

    /// Room for links in complete drafts, waiting for a flush.
    pub(crate) fn waiting(&self) -> usize {
        let links = |draft: &Draft| draft.node.children.len();
        self.levels.iter().flat_map(|level| &level.complete).map(links).sum()
    }

    /// What the base has at a chunk.
    pub(crate) async fn base_chunk(&mut self, chunk: u64) -> Result<Option<Link>, DepotError> {
        match &mut self.base {
            Some(base) if chunk < base.tree.geometry.chunks(base.tree.size) => base.chunk(chunk).await,
            _ => Ok(None),
        }
    }

    /// Says what a chunk is. Chunks come in order, each once; those left out are as in the base.
    pub(crate) async fn set_chunk(&mut self, chunk: u64, link: Option<Link>) -> Result<(), DepotError> {
        self.set(0, chunk, link, None).await
    }

    /// Clears a run of chunks. Where the base has nothing anyway, nothing is done.
    pub(crate) async fn clear(&mut self, chunks: std::ops::Range<u64>) -> Result<(), DepotError> {
        let mut chunk = chunks.start;
        while chunk < chunks.end {
            let hole = match &mut self.base {
                Some(base) => base.hole_from(chunk).await?,
                None => chunks.end - chunk,
            };
            if hole > 0 {
                chunk += hole.min(chunks.end - chunk);
            } else {
                self.set_chunk(chunk, None).await?;
                chunk += 1;
            }
        }
        Ok(())
    }

    /// Sets child `child` (counted over the whole disk) of a level.
    async fn set(
        &mut self,
        level: u8,
        child: u64,
        link: Option<Link>,
        known: Known,
    ) -> Result<(), DepotError> {
        let fan_out = u64::from(self.geometry.fan_out(level));
        let draft = self.draft(level, child / fan_out).await?;
        draft.node.children[usize_of(child % fan_out)] = link;
        if level > 0 {
            draft.known[usize_of(child % fan_out)] = known;
        }
        Ok(())
    }

    async fn draft(&mut self, level: u8, index: u64) -> Result<&mut Draft, DepotError> {
        let at = usize::from(level);
        if self.levels[at].open.as_ref().is_none_or(|open| open.index != index) {
            self.complete(level);
            let base = match &mut self.base {
                Some(base) => base.node(level, index).await?,
                None => None,
            };
            let mut draft = Draft::new(index, self.geometry, level, base);
            self.cut(&mut draft.node, index);
            self.levels[at].open = Some(draft);
        }
        self.levels[at].open.as_mut().ok_or_else(|| DepotError::Internal("a draft vanished".to_owned()))
    }

    /// Drops children past the end of the disk, of a base that was larger.
    fn cut(&self, node: &mut Node, index: u64) {
        let child_span = if node.level == 0 { 1 } else { self.geometry.span(node.level - 1) };
        let first = index * u64::from(self.geometry.fan_out(node.level));
        for (nth, child) in (0..).zip(&mut node.children) {
            if (first + nth).saturating_mul(child_span) >= self.chunks {
                *child = None;
            }
        }
    }

    fn complete(&mut self, level: u8) {
        let level = &mut self.levels[usize::from(level)];
        if let Some(draft) = level.open.take()
            && !draft.says_what_base_said()
        {
            level.complete.push(draft);
        }
    }

    /// Writes all complete drafts into the open pack. All its frames must have landed.
    pub(crate) async fn flush(&mut self, packer: &mut Packer<'_>) -> Result<(), DepotError> {
        for level in 0..=self.root_level {
            self.flush_level(level, packer).await?;
        }
        Ok(())
    }

    async fn flush_level(&mut self, level: u8, packer: &mut Packer<'_>) -> Result<(), DepotError> {
        let at = usize::from(level);
        packer.drain().await?;
        let drafts = std::mem::take(&mut self.levels[at].complete);
        let (mut plain, mut inside) = (Vec::new(), Vec::new());
        let mut links = Vec::with_capacity(drafts.len());
        for mut draft in drafts {
            if draft.node.is_empty() {
                links.push((draft.index, None, None));
                continue;
            }
            if level > 0 {
                draft.sum_up();
            }
            for link in draft.node.children.iter_mut().flatten() {
                packer.settle(&mut link.place);
            }
            let bytes = draft.node.encode(self.geometry);
            let name = draft.node.name(self.names, self.geometry);
            let frame = packer.next_frame()?;
            let (at, len) = (narrow(plain.len())?, narrow(bytes.len())?);
            let place =
                Place { pack: PackName::SELF, frame, offset: 0, sealed_len: 0, plain_len: 0, at, len };
            let known = draft.node.reach(PackName::SELF).map(Arc::from);
            links.push((draft.index, Some(Link { name, place }), known));
            plain.extend_from_slice(&bytes);
            inside.push(Inside { name, len });
            if plain.len() >= TREE_FRAME_LEN {
                let (plain, inside) = (std::mem::take(&mut plain), std::mem::take(&mut inside));
                packer.add(FrameKind::Tree, plain, inside).await?;
            }
        }
        if !plain.is_empty() {
            packer.add(FrameKind::Tree, plain, inside).await?;
        }
        packer.drain().await?;
        for (index, mut link, known) in links {
            if let Some(link) = &mut link {
                packer.settle(&mut link.place);
            }
            if level == self.root_level {
                self.levels[at].root = Some(link);
            } else {
                self.set(level + 1, index, link, known).await?;
            }
        }
        Ok(())
    }

    /// The open pack has got its name: nothing may speak of it as `SELF` any more.
    pub(crate) fn closed(&mut self, pack: PackName) {
        for level in &mut self.levels {
            let open = level.open.iter_mut().chain(&mut level.complete);
            for link in open.flat_map(|draft| draft.node.children.iter_mut().flatten()) {
                if link.place.pack == PackName::SELF {
                    link.place.pack = pack;
                }
            }
            if let Some(Some(root)) = &mut level.root
                && root.place.pack == PackName::SELF
            {
                root.place.pack = pack;
            }
        }
    }

    /// Fills in places in the open pack, before it is closed. All its frames must have landed.
    pub(crate) fn settle(&mut self, packer: &Packer<'_>) {
        for level in &mut self.levels {
            let open = level.open.iter_mut().chain(&mut level.complete);
            for link in open.flat_map(|draft| draft.node.children.iter_mut().flatten()) {
                packer.settle(&mut link.place);
            }
        }
    }

    /// All chunks have been set: completes every level, from the leaves up.
    pub(crate) async fn end(&mut self, packer: &mut Packer<'_>) -> Result<(), DepotError> {
        let resized =
            self.base.as_ref().is_some_and(|base| self.geometry.chunks(base.tree.size) != self.chunks);
        for level in 0..=self.root_level {
            // What a larger base had past our end must go from every level, whether or not data changed.
            if resized && self.chunks > 0 {
                self.draft(level, self.geometry.index(level, self.chunks - 1)).await?;
            }
            self.complete(level);
            self.flush_level(level, packer).await?;
        }
        Ok(())
    }

    /// The tree, when `end` is done and all packs are closed.
    pub(crate) async fn tree(&mut self, slot: format::SlotId, size: u64) -> Result<TreeRef, DepotError> {
        let written = self.levels[usize::from(self.root_level)].root.take();
        let root = match (written, &self.base) {
            // Whatever the base had is past the end.
            _ if self.chunks == 0 => None,
            (Some(link), _) => link,
            // Nothing differs, on a disk of the same height: the base's root is ours.
            (None, Some(base)) if base.tree.root_level() == self.root_level => base.tree.root,
            (None, Some(base)) if base.tree.root_level() > self.root_level => self.root_within_base().await?,
            (None, _) => None,
        };
        Ok(TreeRef { slot, geometry: self.geometry, size, root })
    }

    /// A smaller disk whose remains are a whole node of the base.
    async fn root_within_base(&mut self) -> Result<Option<Link>, DepotError> {
        let above = self.root_level + 1;
        let parent = match &mut self.base {
            Some(base) => base.node(above, 0).await?,
            None => None,
        };
        Ok(parent.and_then(|parent| parent.children[0]))
    }
}

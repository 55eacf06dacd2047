//! What differs between two snapshots, by the names of their trees: costs what differs.

use std::sync::Arc;

use format::{Name, Node, TreeRef};
use model::Extent;

use crate::read::{Cursor, usize_of};
use crate::{Depot, DepotError};

/// Called for each run of chunks that differ, in disk order; runs never touch.
pub type Differing<'a> = &'a mut (dyn FnMut(Extent) + Send);

impl Depot {
    /// Tells where `b` differs from `a`, in whole chunks, cut at the end of the larger disk. What a disk
    /// is short of counts as zeroes. No data is read.
    pub async fn diff(&self, a: &TreeRef, b: &TreeRef, found: Differing<'_>) -> Result<(), DepotError> {
        let mut differ = Differ::new(self, a, b, 0).await?;
        let mut runs = Runs::new(a, b);
        while let Some(leaf) = differ.next_leaf().await? {
            for differs in leaf.chunks {
                runs.take(differs, |run| found(run.extent));
            }
        }
        runs.close(|run| found(run.extent));
        Ok(())
    }
}

/// Two trees that can be told apart by their names alone.
pub(crate) fn comparable(a: &TreeRef, b: &TreeRef) -> bool {
    (a.slot, a.geometry) == (b.slot, b.geometry)
}

/// Goes through two trees at once, down only where they differ.
pub(crate) struct Differ<'a> {
    one: Cursor<'a>,
    two: Cursor<'a>,
    /// Chunks before this one are passed over.
    from: u64,
    /// At most one node's children a level.
    ahead: Vec<(u8, u64)>,
}

/// Chunks of one leaf that differ.
pub(crate) struct LeafDiff {
    pub(crate) chunks: Vec<ChunkDiff>,
    /// The first chunk after this leaf.
    pub(crate) end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkDiff {
    pub(crate) chunk: u64,
    /// The second tree has nothing there.
    pub(crate) zero: bool,
}

impl<'a> Differ<'a> {
    pub(crate) async fn new(
        depot: &'a Depot,
        a: &TreeRef,
        b: &TreeRef,
        from: u64,
    ) -> Result<Self, DepotError> {
        if !comparable(a, b) {
            let what = "these snapshots cannot be compared: sealed under different keys, or cut differently";
            return Err(DepotError::Invalid(what.to_owned()));
        }
        let keys = depot.slot_keys(a.slot).await?;
        let (one, two) = (Cursor::new(depot, *a, keys.clone()), Cursor::new(depot, *b, keys));
        Ok(Self { one, two, from, ahead: vec![(a.root_level().max(b.root_level()), 0)] })
    }

    /// The next leaf in which something differs, in disk order.
    pub(crate) async fn next_leaf(&mut self) -> Result<Option<LeafDiff>, DepotError> {
        let geometry = self.two.tree.geometry;
        while let Some((level, index)) = self.ahead.pop() {
            let end = (index + 1).saturating_mul(geometry.span(level));
            if end <= self.from
                || self.one.root_side(level, index).await? == self.two.root_side(level, index).await?
            {
                continue;
            }
            if level > 0 {
                let fan_out = u64::from(geometry.fan_out(level));
                let below = (index * fan_out..(index + 1) * fan_out).rev();
                self.ahead.extend(below.map(|child| (level - 1, child)));
                continue;
            }
            let (ours, theirs) = (self.one.node(0, index).await?, self.two.node(0, index).await?);
            let first = index * geometry.span(0);
            let differs = (first.max(self.from)..end).filter_map(|chunk| {
                let new = name(&theirs, chunk - first);
                (name(&ours, chunk - first) != new).then_some(ChunkDiff { chunk, zero: new.is_none() })
            });
            return Ok(Some(LeafDiff { chunks: differs.collect(), end }));
        }
        Ok(None)
    }
}

fn name(leaf: &Option<Arc<Node>>, nth: u64) -> Option<Name> {
    leaf.as_ref().and_then(|leaf| leaf.children[usize_of(nth)]).map(|link| link.name)
}

/// What one of two trees says of a place, for comparing.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Named(Option<Name>),
    /// Above the root: the place must be looked into. Equal only to its like, which cannot both be.
    Above,
}

impl Cursor<'_> {
    async fn root_side(&mut self, level: u8, index: u64) -> Result<Side, DepotError> {
        if level > self.tree.root_level() && index == 0 && self.tree.root.is_some() {
            return Ok(Side::Above);
        }
        Ok(Side::Named(self.link(level, index).await?.map(|link| link.name)))
    }
}

/// A run of chunks that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiffRun {
    pub(crate) extent: Extent,
    /// The second tree has nothing in all of it.
    pub(crate) zero: bool,
}

/// Joins chunks that follow one another.
pub(crate) struct Runs {
    chunk_len: u64,
    end: u64,
    open: Option<DiffRun>,
    /// Zeroes and data are runs apart.
    apart: bool,
}

impl Runs {
    pub(crate) fn new(a: &TreeRef, b: &TreeRef) -> Self {
        let chunk_len = u64::from(b.geometry.chunk_len());
        Self { chunk_len, end: a.size.max(b.size), open: None, apart: false }
    }

    /// Up to the end of the second disk, zeroes and data apart.
    pub(crate) fn of_second(b: &TreeRef) -> Self {
        Self { apart: true, ..Self::new(b, b) }
    }

    pub(crate) fn take(&mut self, differs: ChunkDiff, found: impl FnMut(DiffRun)) {
        let offset = differs.chunk * self.chunk_len;
        if offset >= self.end {
            return;
        }
        let len = self.chunk_len.min(self.end - offset);
        match &mut self.open {
            Some(open) if open.extent.end() == offset && (open.zero == differs.zero || !self.apart) => {
                open.extent.len += len;
                open.zero &= differs.zero;
            }
            _ => {
                self.close(found);
                self.open = Some(DiffRun { extent: Extent { offset, len }, zero: differs.zero });
            }
        }
    }

    pub(crate) fn close(&mut self, mut found: impl FnMut(DiffRun)) {
        if let Some(open) = self.open.take() {
            found(open);
        }
    }
}

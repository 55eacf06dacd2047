//! What differs between two snapshots, by the names of their trees: costs what differs.

use format::TreeRef;
use model::Extent;

use crate::read::{Cursor, usize_of};
use crate::{Depot, DepotError};

/// Called for each run of chunks that differ, in disk order; runs never touch.
pub type Differing<'a> = &'a mut (dyn FnMut(Extent) + Send);

impl Depot {
    /// Tells where `b` differs from `a`, in whole chunks, cut at the end of the larger disk. What a disk
    /// is short of counts as zeroes. No data is read.
    pub async fn diff(&self, a: &TreeRef, b: &TreeRef, found: Differing<'_>) -> Result<(), DepotError> {
        if (a.slot, a.geometry) != (b.slot, b.geometry) {
            let what = "these snapshots cannot be compared: sealed under different keys, or cut differently";
            return Err(DepotError::Invalid(what.to_owned()));
        }
        let keys = self.slot_keys(a.slot).await?;
        let (mut one, mut two) = (Cursor::new(self, *a, keys.clone()), Cursor::new(self, *b, keys));
        let top = a.root_level().max(b.root_level());
        let mut runs =
            Runs { chunk_len: u64::from(a.geometry.chunk_len()), end: a.size.max(b.size), open: None };
        let mut ahead = vec![(top, 0)];
        while let Some((level, index)) = ahead.pop() {
            if one.root_side(level, index).await? == two.root_side(level, index).await? {
                continue;
            }
            let fan_out = u64::from(a.geometry.fan_out(level));
            if level > 0 {
                ahead.extend((index * fan_out..(index + 1) * fan_out).rev().map(|child| (level - 1, child)));
                continue;
            }
            let (ours, theirs) = (one.node(0, index).await?, two.node(0, index).await?);
            for nth in 0..fan_out {
                let name = |node: &Option<std::sync::Arc<format::Node>>| {
                    node.as_ref().and_then(|leaf| leaf.children[usize_of(nth)]).map(|link| link.name)
                };
                if name(&ours) != name(&theirs) {
                    runs.take(index * fan_out + nth, found);
                }
            }
        }
        runs.close(found);
        Ok(())
    }
}

/// What one of two trees says of a place, for comparing.
#[derive(Debug, PartialEq, Eq)]
enum Side {
    Named(Option<format::Name>),
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

/// Joins chunks that follow one another.
struct Runs {
    chunk_len: u64,
    end: u64,
    open: Option<Extent>,
}

impl Runs {
    fn take(&mut self, chunk: u64, found: Differing<'_>) {
        let offset = chunk * self.chunk_len;
        if offset >= self.end {
            return;
        }
        let len = self.chunk_len.min(self.end - offset);
        match &mut self.open {
            Some(open) if open.end() == offset => open.len += len,
            _ => {
                self.close(found);
                self.open = Some(Extent { offset, len });
            }
        }
    }

    fn close(&mut self, found: Differing<'_>) {
        if let Some(open) = self.open.take() {
            found(open);
        }
    }
}

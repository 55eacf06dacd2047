//! A snapshot of one depot as the disk another one writes: what differs from a base, and what is data.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use format::TreeRef;
use host::{DiskExtent, DiskReader, HostError};
use model::{ByteCount, Extent};

use super::CopyBase;
use crate::depot::lock;
use crate::diff::{DiffRun, Differ, Runs};
use crate::{Depot, DepotError};

/// One search for differences ends after so many: what is found waits in memory.
const RUNS_MAX: usize = 1024;
/// Or after so many leaves, so that data moves before the whole tree is read.
const LEAVES_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Source {
    depot: Arc<Depot>,
    tree: TreeRef,
    /// Of the same depot; without one, what is compared with is a disk of zeroes.
    base: TreeRef,
    is_whole: bool,
    /// Where the shorter of two disks of different length ends: one chunk that has to be read.
    edge: Range<u64>,
    search: tokio::sync::Mutex<Search>,
    failure: Mutex<Option<DepotError>>,
}

/// How far differences are known.
#[derive(Debug, Default)]
struct Search {
    found: VecDeque<DiffRun>,
    /// All differences between these places of the disk are in `found`.
    from: u64,
    to: u64,
}

impl Source {
    pub(super) fn new(depot: Arc<Depot>, tree: TreeRef, base: Option<CopyBase>) -> Self {
        let size = tree.size;
        let edge = match base {
            Some(CopyBase { here, there }) if here.size != size => {
                // In whole chunks of whichever depot has the larger ones.
                let chunk_len = u64::from(tree.geometry.chunk_len().max(there.geometry.chunk_len()));
                let start = here.size.min(size) / chunk_len * chunk_len;
                start..(start + chunk_len).min(size)
            }
            _ => size..size,
        };
        Self {
            depot,
            tree,
            base: base.map_or(TreeRef { root: None, ..tree }, |base| base.here),
            is_whole: base.is_none(),
            edge,
            search: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// What went wrong here, if the writer says that its source failed.
    pub(super) fn failure(&self) -> Option<DepotError> {
        lock(&self.failure).clone()
    }

    /// The writer knows of hosts only; the depot's own words are kept for whoever asked for the copy.
    fn failed(&self, error: DepotError) -> HostError {
        let words = HostError::Failed(error.to_string());
        *lock(&self.failure) = Some(error);
        words
    }

    async fn look_further(&self, search: &mut Search) -> Result<(), DepotError> {
        let chunk_len = u64::from(self.tree.geometry.chunk_len());
        let mut differ = Differ::new(&self.depot, &self.base, &self.tree, search.to / chunk_len).await?;
        let mut runs = Runs::of_second(&self.tree);
        for _ in 0..LEAVES_MAX {
            let Some(leaf) = differ.next_leaf().await? else {
                search.to = self.tree.size;
                break;
            };
            for differs in leaf.chunks {
                runs.take(differs, |run| search.found.push_back(run));
            }
            search.to = leaf.end.saturating_mul(chunk_len).min(self.tree.size);
            if search.found.len() >= RUNS_MAX {
                break;
            }
        }
        runs.close(|run| search.found.push_back(run));
        Ok(())
    }

    /// What is said of a place that does not differ.
    fn push_alike(&self, from: u64, to: u64, extents: &mut Vec<DiskExtent>) {
        let mut push = |from: u64, to: u64, zero, changed| {
            if from < to {
                extents.push(DiskExtent { extent: Extent { offset: from, len: to - from }, zero, changed });
            }
        };
        if self.is_whole {
            return push(from, to, true, true);
        }
        let Range { start, end } = self.edge;
        push(from, to.min(start), false, false);
        push(from.max(start), to.min(end), false, true);
        // Where the base has ended already, what does not differ from nothing is nothing.
        push(from.max(end), to, true, true);
    }
}

#[async_trait]
impl DiskReader for Source {
    fn size(&self) -> ByteCount {
        ByteCount(self.tree.size)
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        let mut search = self.search.lock().await;
        if !(search.from..=search.to).contains(&range.offset) {
            let chunk_len = u64::from(self.tree.geometry.chunk_len());
            let at = range.offset / chunk_len * chunk_len;
            *search = Search { found: VecDeque::new(), from: at, to: at };
        }
        search.from = range.offset;
        search.found.retain(|run| run.extent.end() > range.offset);
        while search.to <= range.offset {
            self.look_further(&mut search).await.map_err(|error| self.failed(error))?;
        }
        let (mut position, end) = (range.offset, range.end().min(search.to));
        let mut extents = Vec::new();
        for run in &search.found {
            let (start, stop) = (run.extent.offset.max(position), run.extent.end().min(end));
            if start >= stop {
                break;
            }
            self.push_alike(position, start, &mut extents);
            let extent = Extent { offset: start, len: stop - start };
            extents.push(DiskExtent { extent, zero: run.zero, changed: true });
            position = stop;
        }
        self.push_alike(position, end, &mut extents);
        Ok(extents)
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        self.depot.read(&self.tree, range).await.map_err(|error| self.failed(error))
    }
}

//! Depot to disk: every stored chunk of a tree, checked, to a disk that reads as zeroes.
//!
//! # Consistency
//! The writer gets checked bytes only. On any error the disk is incomplete and must not be used.
//! # Crash consistency
//! The disk was prepared for this and is thrown away by whoever prepared it.
//! # Concurrency
//! Any number at once, beside writers. Collection leaves a group's packs alone while the group exists;
//! when the group is deleted under a restore, it fails with `Damaged` at worst.
//! # Errors
//! See [`DepotError`].
//! # Cancellation
//! Looked at all the time; writes under way may still land.
//! # Limits
//! `Settings`: frames in flight; a batch is at most one frame's worth of chunks.

use std::sync::Arc;

use bytes::Bytes;
use format::{FrameKind, Link, Place, TreeRef, path};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use host::DiskWriter;
use model::ByteCount;
use tokio_util::sync::CancellationToken;

use crate::cipher::SlotKeys;
use crate::read::slice;
use crate::walk::Walk;
use crate::work::{Work, cancellable};
use crate::{Depot, DepotError, Moved, Progressing};

/// Chunks handed on together, all of one frame.
const BATCH_MAX: usize = 256;

/// One disk to be written from the depot.
#[expect(missing_debug_implementations, reason = "a callback has nothing to show")]
pub struct RestoreDisk {
    pub tree: TreeRef,
    /// Of a prepared disk that reads as zeroes and is at least as large.
    pub writer: Arc<dyn DiskWriter>,
    pub progress: Progressing,
    pub cancel: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredDisk {
    pub bytes_written: ByteCount,
}

impl Depot {
    /// Writes a snapshot to a disk and finishes it: when this answers, the disk is durable.
    pub async fn restore_disk(&self, job: RestoreDisk) -> Result<RestoredDisk, DepotError> {
        let cancel = job.cancel.clone();
        cancellable(&cancel, self.restore_disk_inner(job)).await
    }

    async fn restore_disk_inner(&self, job: RestoreDisk) -> Result<RestoredDisk, DepotError> {
        let keys = self.slot_keys(job.tree.slot).await?;
        let mut batches = Batches::new(Walk::new(self, job.tree, keys.clone()), job.tree);
        let mut flying = FuturesOrdered::new();
        let mut written = ByteCount::default();
        loop {
            while flying.len() < self.settings.fetches() {
                match batches.next().await? {
                    Some(batch) => flying.push_back(self.restore_batch(&job, &keys, batch)),
                    None => break,
                }
            }
            let Some(done) = flying.next().await else { break };
            let (position, bytes) = done?;
            written += bytes;
            (job.progress)(Moved { position, total: job.tree.size, bytes: written });
            if job.cancel.is_cancelled() {
                return Err(DepotError::Cancelled);
            }
        }
        job.writer.finish().await.map_err(DepotError::Source)?;
        (job.progress)(Moved { position: job.tree.size, total: job.tree.size, bytes: written });
        Ok(RestoredDisk { bytes_written: written })
    }

    async fn restore_batch(
        &self,
        job: &RestoreDisk,
        keys: &Arc<SlotKeys>,
        batch: Vec<(u64, Link)>,
    ) -> Result<(u64, ByteCount), DepotError> {
        let chunk_len = u64::from(job.tree.geometry.chunk_len());
        let mut position = 0;
        let mut written = 0;
        for (chunk, bytes) in self.checked(keys, batch).await? {
            let offset = chunk * chunk_len;
            // The last chunk is padded past the end of the disk.
            let len = (bytes.len() as u64).min(job.tree.size.saturating_sub(offset));
            let bytes = bytes.slice(..crate::read::usize_of(len));
            job.writer.write(offset, bytes).await.map_err(DepotError::Source)?;
            position = offset + len;
            written += len;
        }
        Ok((position, ByteCount(written)))
    }

    /// Opens a batch of chunks of one frame, checks every name, and joins neighbours.
    pub(crate) async fn checked(
        &self,
        keys: &Arc<SlotKeys>,
        batch: Vec<(u64, Link)>,
    ) -> Result<Vec<(u64, Bytes)>, DepotError> {
        let Some((_, first)) = batch.first() else { return Ok(Vec::new()) };
        let frame = self.frame(&first.place, FrameKind::Data).await?;
        let keys = keys.clone();
        let check = move || {
            for (_, link) in &batch {
                let bytes = slice(&frame, &link.place)?;
                if keys.names.chunk(&bytes) != link.name {
                    let object = path::pack(link.place.pack);
                    return Err(DepotError::damaged(object, "a chunk is not what its name says"));
                }
            }
            join(&frame, &batch)
        };
        Work::compute(self.settings.parallelism > 1, check).wait().await?
    }
}

/// Chunks that are neighbours on the disk and in the frame become one piece.
fn join(frame: &Bytes, batch: &[(u64, Link)]) -> Result<Vec<(u64, Bytes)>, DepotError> {
    let mut runs: Vec<(u64, u64, Place)> = Vec::new();
    for (chunk, link) in batch {
        match runs.last_mut() {
            Some((_, next, run)) if *next == *chunk && run.at + run.len == link.place.at => {
                run.len += link.place.len;
                *next += 1;
            }
            _ => runs.push((*chunk, *chunk + 1, link.place)),
        }
    }
    runs.into_iter().map(|(chunk, _, place)| Ok((chunk, slice(frame, &place)?))).collect()
}

/// The chunks of a tree in disk order, in batches that lie in one frame.
struct Batches<'a> {
    walk: Walk<'a>,
    tree: TreeRef,
    /// Chunks of the leaf entered last, in reverse.
    leaf: Vec<(u64, Link)>,
}

impl<'a> Batches<'a> {
    const fn new(walk: Walk<'a>, tree: TreeRef) -> Self {
        Self { walk, tree, leaf: Vec::new() }
    }

    async fn next(&mut self) -> Result<Option<Vec<(u64, Link)>>, DepotError> {
        let mut batch: Vec<(u64, Link)> = Vec::new();
        loop {
            while let Some((chunk, link)) = self.leaf.last() {
                let same = batch.last().is_none_or(|(_, last)| frame_of(last) == frame_of(link));
                if !same || batch.len() >= BATCH_MAX {
                    return Ok(Some(batch));
                }
                batch.push((*chunk, *link));
                self.leaf.pop();
            }
            let Some(step) = self.walk.next() else {
                return Ok((!batch.is_empty()).then_some(batch));
            };
            let node = self.walk.enter(&step).await?;
            if step.level == 0 {
                self.leaf = chunks_of(&self.tree, step.index, &node.children);
                self.leaf.reverse();
            }
        }
    }
}

pub(crate) fn frame_of(link: &Link) -> (format::PackName, u32) {
    (link.place.pack, link.place.frame)
}

/// What a leaf holds, by chunk of the disk. What lies past its end, no reader may see.
pub(crate) fn chunks_of(tree: &TreeRef, leaf: u64, children: &[Option<Link>]) -> Vec<(u64, Link)> {
    let first = leaf * tree.geometry.span(0);
    let chunks = tree.geometry.chunks(tree.size);
    let present = (first..).zip(children).filter_map(|(chunk, link)| Some((chunk, (*link)?)));
    present.filter(|(chunk, _)| *chunk < chunks).collect()
}

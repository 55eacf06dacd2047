//! Reads one disk of an open session over NBD.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use host::{DiskExtent, DiskReader, HostError};
use model::{ByteCount, Extent};
use nbd::{Client, Endpoint, NbdError};

use crate::failure::nbd;
use crate::host::no_space;
use crate::session::SessionDir;

/// One connection is one coroutine queue in QEMU; a second keeps both sides busy.
const CONNECTIONS: usize = 2;
/// QEMU copies a request through one buffer; pieces of this size overlap reading and sending.
const PIECE: u64 = 1 << 20;

const ALLOCATION: &str = "base:allocation";
const ZERO: u32 = 2;
const DIRTY: u32 = 1;

#[derive(Debug)]
pub(crate) struct Reader {
    clients: Vec<Client>,
    next: AtomicUsize,
    size: u64,
    /// Where the contexts stand among those granted.
    allocation: Option<usize>,
    dirty: Option<usize>,
    session: SessionDir,
}

impl Reader {
    /// Opens an export. With a bitmap it must be granted: without it, all would seem clean.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        export: &str,
        size: u64,
        bitmap: Option<&str>,
        session: SessionDir,
    ) -> Result<Self, HostError> {
        let bitmap = bitmap.map(|name| format!("qemu:dirty-bitmap:{name}"));
        let mut contexts = vec![ALLOCATION];
        contexts.extend(bitmap.as_deref());
        let first = Client::connect(endpoint, export, &contexts).await.map_err(nbd)?;
        let granted = |name: &str| first.contexts().iter().position(|context| context == name);
        let (allocation, dirty) = (granted(ALLOCATION), bitmap.as_deref().and_then(granted));
        if bitmap.is_some() && dirty.is_none() {
            return Err(HostError::Failed("the host does not show the bitmap of changes".into()));
        }
        if first.info().size < size {
            return Err(HostError::Failed(format!(
                "the export has {} bytes, the disk {size}",
                first.info().size
            )));
        }
        let many = first.info().can_multi_conn();
        let mut clients = vec![first];
        while many && clients.len() < CONNECTIONS {
            clients.push(Client::connect(endpoint, export, &contexts).await.map_err(nbd)?);
        }
        Ok(Self { clients, next: AtomicUsize::new(0), size, allocation, dirty, session })
    }

    fn client(&self) -> &Client {
        &self.clients[self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }

    /// A session that its guard gave up says why it was lost.
    fn failed(&self, error: NbdError) -> HostError {
        match nbd(error) {
            HostError::Lost(_) if self.session.is_full() => no_space(),
            other => other,
        }
    }

    fn check(&self, range: Extent) -> Result<(), HostError> {
        match range.offset.checked_add(range.len) {
            Some(end) if end <= self.size && range.len > 0 => Ok(()),
            _ => Err(HostError::Failed(format!(
                "{} bytes at {} are beyond a disk of {}",
                range.len, range.offset, self.size
            ))),
        }
    }

    /// The range widened to the export's blocks.
    fn widened(&self, range: Extent) -> Extent {
        let info = self.clients[0].info();
        let block = u64::from(info.block_min);
        let offset = range.offset / block * block;
        let end = range.end().next_multiple_of(block).min(info.size);
        Extent { offset, len: end - offset }
    }

    async fn read_piece(&self, range: Extent) -> Result<Bytes, HostError> {
        let wide = self.widened(range);
        let bytes = self.client().read(wide.offset, length(wide.len)?).await;
        let bytes = bytes.map_err(|error| self.failed(error))?;
        let start = index(range.offset - wide.offset)?;
        Ok(bytes.slice(start..start + index(range.len)?))
    }
}

#[async_trait]
impl DiskReader for Reader {
    fn size(&self) -> ByteCount {
        ByteCount(self.size)
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        self.check(range)?;
        let asked = Extent { len: range.len.min(u64::from(nbd::MAX_STATUS_LEN) / 2), ..range };
        if self.allocation.is_none() && self.dirty.is_none() {
            return Ok(vec![DiskExtent { extent: asked, zero: false, changed: true }]);
        }
        let wide = self.widened(asked);
        let status = self.client().block_status(wide.offset, length(wide.len)?).await;
        let status = status.map_err(|error| self.failed(error))?;
        let of = |context: Option<usize>| {
            let found = status.iter().find(|status| Some(status.context) == context);
            found.map(|status| status.extents.as_slice())
        };
        Ok(merge(wide.offset, asked, of(self.allocation), of(self.dirty)))
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        self.check(range)?;
        let piece = PIECE.min(u64::from(self.clients[0].info().payload_max));
        if range.len <= piece {
            return self.read_piece(range).await;
        }
        let starts = (range.offset..range.end()).step_by(index(piece)?);
        let reads =
            starts.map(|offset| self.read_piece(Extent { offset, len: piece.min(range.end() - offset) }));
        let mut whole = BytesMut::with_capacity(index(range.len)?);
        for bytes in try_join_all(reads).await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }
}

/// Lays what the two contexts say over each other, from `start` on, and cuts it to `asked`. It ends
/// where the shorter of them ends.
fn merge(
    start: u64,
    asked: Extent,
    allocation: Option<&[nbd::StatusExtent]>,
    dirty: Option<&[nbd::StatusExtent]>,
) -> Vec<DiskExtent> {
    let whole = [nbd::StatusExtent { len: u64::MAX - start, flags: 0 }];
    let mut zeroes = runs(start, allocation.unwrap_or(&whole), ZERO);
    let always = dirty.is_none();
    let mut changes = runs(start, dirty.unwrap_or(&whole), DIRTY);
    let mut merged: Vec<DiskExtent> = Vec::new();
    let (mut zero, mut change) = (zeroes.next(), changes.next());
    let mut at = start;
    while let (Some((zero_end, is_zero)), Some((change_end, is_dirty))) = (zero, change) {
        let end = zero_end.min(change_end);
        let from = at.max(asked.offset);
        let to = end.min(asked.end());
        if from < to {
            let extent = Extent { offset: from, len: to - from };
            let next = DiskExtent { extent, zero: is_zero, changed: always || is_dirty };
            match merged.last_mut() {
                Some(last) if last.zero == next.zero && last.changed == next.changed => {
                    last.extent.len += next.extent.len;
                }
                _ => merged.push(next),
            }
        }
        at = end;
        if zero_end == end {
            zero = zeroes.next();
        }
        if change_end == end {
            change = changes.next();
        }
    }
    merged
}

/// The ends of extents, and whether a flag is set in each.
fn runs(start: u64, extents: &[nbd::StatusExtent], flag: u32) -> impl Iterator<Item = (u64, bool)> + '_ {
    extents.iter().scan(start, move |end, extent| {
        *end = end.saturating_add(extent.len);
        Some((*end, extent.flags & flag != 0))
    })
}

fn length(len: u64) -> Result<u32, HostError> {
    u32::try_from(len).map_err(|_| HostError::Failed("request too long".into()))
}

fn index(len: u64) -> Result<usize, HostError> {
    usize::try_from(len).map_err(|_| HostError::Failed("request too long".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(list: &[(u64, u32)]) -> Vec<nbd::StatusExtent> {
        list.iter().map(|(len, flags)| nbd::StatusExtent { len: *len, flags: *flags }).collect()
    }

    fn told(
        start: u64,
        asked: (u64, u64),
        zero: &[(u64, u32)],
        dirty: Option<&[(u64, u32)]>,
    ) -> Vec<(u64, u64, bool, bool)> {
        let asked = Extent { offset: asked.0, len: asked.1 };
        let dirty = dirty.map(extents);
        let merged = merge(start, asked, Some(&extents(zero)), dirty.as_deref());
        merged.iter().map(|e| (e.extent.offset, e.extent.len, e.zero, e.changed)).collect()
    }

    #[test]
    fn two_contexts_are_laid_over_each_other() {
        assert_eq!(
            told(0, (0, 100), &[(30, 0), (70, 3)], Some(&[(50, 0), (10, 1), (40, 0)])),
            [(0, 30, false, false), (30, 20, true, false), (50, 10, true, true), (60, 40, true, false)]
        );
    }

    #[test]
    fn the_shorter_context_ends_the_answer() {
        assert_eq!(told(0, (0, 100), &[(100, 0)], Some(&[(40, 1)])), [(0, 40, false, true)]);
    }

    #[test]
    fn without_a_bitmap_all_counts_as_changed() {
        assert_eq!(told(8, (8, 20), &[(10, 2), (10, 0)], None), [(8, 10, true, true), (18, 10, false, true)]);
    }

    #[test]
    fn what_was_widened_is_cut_again() {
        assert_eq!(told(0, (5, 10), &[(8, 0), (24, 2)], None), [(5, 3, false, true), (8, 7, true, true)]);
    }
}

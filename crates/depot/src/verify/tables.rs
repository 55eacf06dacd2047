//! What packs hold, by their tables of contents: 16 bytes a chunk, and as many packs as fit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use format::{FrameKind, Link, Name, PackName, Toc};

/// Three million chunks: of 50 GiB of plain data, in chunks of 16 KiB. What does not fit is read again.
const TABLES_LEN_MAX: usize = 48 << 20;

/// The data frames of one pack, for comparing links with.
#[derive(Debug, Default)]
pub(super) struct Table {
    frames: Vec<Option<Frame>>,
    names: Vec<Name>,
}

/// A frame of chunks of one length.
#[derive(Debug, Clone, Copy)]
struct Frame {
    offset: u32,
    sealed_len: u32,
    plain_len: u32,
    chunk_len: u32,
    /// Index of its first name.
    first: usize,
}

impl Table {
    pub(super) fn of(toc: &Toc) -> Self {
        let mut table = Self::default();
        for frame in &toc.frames {
            let chunk_len = frame.inside.first().map_or(0, |item| item.len);
            let even = chunk_len > 0 && frame.inside.iter().all(|item| item.len == chunk_len);
            if frame.kind != FrameKind::Data || !even {
                table.frames.push(None);
                continue;
            }
            let (offset, sealed_len, plain_len) = (frame.offset, frame.sealed_len, frame.plain_len);
            let first = table.names.len();
            table.names.extend(frame.inside.iter().map(|item| item.name));
            table.frames.push(Some(Frame { offset, sealed_len, plain_len, chunk_len, first }));
        }
        table
    }

    /// True only if the very chunk the link names lies where it says.
    pub(super) fn agrees(&self, link: &Link) -> bool {
        let place = &link.place;
        let Some(Some(frame)) = self.frames.get(place.frame as usize) else { return false };
        let same = (frame.offset, frame.sealed_len, frame.plain_len, frame.chunk_len)
            == (place.offset, place.sealed_len, place.plain_len, place.len);
        if !same || !place.at.is_multiple_of(frame.chunk_len) || place.at >= frame.plain_len {
            return false;
        }
        self.names.get(frame.first + (place.at / frame.chunk_len) as usize) == Some(&link.name)
    }

    fn len(&self) -> usize {
        size_of::<Self>()
            + self.names.len() * size_of::<Name>()
            + self.frames.len() * size_of::<Option<Frame>>()
    }
}

/// Tables at hand, the least recently used forgotten first.
#[derive(Debug, Default)]
pub(super) struct Tables {
    len: usize,
    clock: u64,
    by_pack: HashMap<PackName, (u64, Arc<Table>)>,
    by_use: BTreeMap<u64, PackName>,
}

impl Tables {
    pub(super) fn get(&mut self, pack: PackName) -> Option<Arc<Table>> {
        let (used, table) = self.by_pack.get_mut(&pack)?;
        self.by_use.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_use.insert(self.clock, pack);
        Some(table.clone())
    }

    pub(super) fn put(&mut self, pack: PackName, table: Arc<Table>) {
        self.clock += 1;
        self.len += table.len();
        if let Some((used, old)) = self.by_pack.insert(pack, (self.clock, table)) {
            self.by_use.remove(&used);
            self.len -= old.len();
        }
        self.by_use.insert(self.clock, pack);
        while self.len > TABLES_LEN_MAX {
            let Some((_, pack)) = self.by_use.pop_first() else { break };
            if let Some((_, old)) = self.by_pack.remove(&pack) {
                self.len -= old.len();
            }
        }
    }
}

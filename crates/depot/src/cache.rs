//! What may be forgotten at any time: opened frames, keys of packs, and where known chunks lie.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use format::{Link, Name, PackName, Place};

use crate::cipher::PackCipher;

const PACK_CIPHERS_MAX: usize = 4096;
const KNOWN_PACKS_MAX: usize = 1 << 16;

/// Opened frames, the least recently used forgotten first.
#[derive(Debug)]
pub(crate) struct Frames {
    len_max: usize,
    len: usize,
    clock: u64,
    by_place: HashMap<(PackName, u32), (u64, Bytes)>,
    by_use: BTreeMap<u64, (PackName, u32)>,
}

impl Frames {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { len_max, len: 0, clock: 0, by_place: HashMap::new(), by_use: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, pack: PackName, frame: u32) -> Option<Bytes> {
        let (used, bytes) = self.by_place.get_mut(&(pack, frame))?;
        self.by_use.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_use.insert(self.clock, (pack, frame));
        Some(bytes.clone())
    }

    pub(crate) fn put(&mut self, pack: PackName, frame: u32, bytes: Bytes) {
        self.clock += 1;
        self.len += bytes.len();
        if let Some((used, old)) = self.by_place.insert((pack, frame), (self.clock, bytes)) {
            self.by_use.remove(&used);
            self.len -= old.len();
        }
        self.by_use.insert(self.clock, (pack, frame));
        while self.len > self.len_max {
            let Some((_, place)) = self.by_use.pop_first() else { break };
            if let Some((_, old)) = self.by_place.remove(&place) {
                self.len -= old.len();
            }
        }
    }
}

/// Keys of packs read lately: each saves a read of the pack's header.
#[derive(Debug, Default)]
pub(crate) struct PackCiphers {
    by_pack: HashMap<PackName, Arc<PackCipher>>,
}

impl PackCiphers {
    pub(crate) fn get(&self, pack: PackName) -> Option<Arc<PackCipher>> {
        self.by_pack.get(&pack).cloned()
    }

    pub(crate) fn put(&mut self, pack: PackName, cipher: Arc<PackCipher>) {
        if self.by_pack.len() >= PACK_CIPHERS_MAX {
            self.by_pack.clear();
        }
        self.by_pack.insert(pack, cipher);
    }
}

/// Where chunks lie that this process stored, the oldest forgotten first. Holds only packs that
/// were certainly written, and is emptied when any collector has marked something.
#[derive(Debug)]
pub(crate) struct KnownChunks {
    most: usize,
    /// The newest collection mark these were learned under.
    epoch: u64,
    packs: Vec<PackName>,
    by_name: HashMap<Name, Lies>,
    in_order: VecDeque<Name>,
}

/// A place, with its pack by number.
#[derive(Debug, Clone, Copy)]
struct Lies {
    pack: u32,
    frame: u32,
    offset: u32,
    sealed_len: u32,
    plain_len: u32,
    at: u32,
    len: u32,
}

impl KnownChunks {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, epoch: 0, packs: Vec::new(), by_name: HashMap::new(), in_order: VecDeque::new() }
    }

    /// Forgets everything if marks were made that it may not have heeded.
    pub(crate) fn enter(&mut self, epoch: u64) {
        if epoch != self.epoch {
            self.forget();
            self.epoch = epoch;
        }
    }

    pub(crate) fn forget(&mut self) {
        self.packs.clear();
        self.by_name.clear();
        self.in_order.clear();
    }

    pub(crate) fn get(&self, name: Name, avoid: &HashSet<PackName>) -> Option<Link> {
        let lies = self.by_name.get(&name)?;
        let pack = *self.packs.get(lies.pack as usize)?;
        let Lies { frame, offset, sealed_len, plain_len, at, len, .. } = *lies;
        let link = Link { name, place: Place { pack, frame, offset, sealed_len, plain_len, at, len } };
        (!avoid.contains(&pack)).then_some(link)
    }

    /// Takes what a pack holds, if it was written under the marks known now.
    pub(crate) fn learn(&mut self, epoch: u64, pack: PackName, links: impl Iterator<Item = Link>) {
        let Ok(number) = u32::try_from(self.packs.len()) else { return };
        if epoch != self.epoch || self.most == 0 {
            return;
        }
        if self.packs.len() >= KNOWN_PACKS_MAX {
            return self.forget();
        }
        self.packs.push(pack);
        for Link { name, place } in links {
            let Place { frame, offset, sealed_len, plain_len, at, len, .. } = place;
            let lies = Lies { pack: number, frame, offset, sealed_len, plain_len, at, len };
            if self.by_name.insert(name, lies).is_none() {
                self.in_order.push_back(name);
            }
            while self.in_order.len() > self.most {
                let Some(oldest) = self.in_order.pop_front() else { break };
                self.by_name.remove(&oldest);
            }
        }
    }
}

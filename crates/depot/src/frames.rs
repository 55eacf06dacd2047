//! Opened frames, kept for a while; and one fetch for all who want the same frame at once.
//!
//! A fetch belongs to everybody who waits for it: whoever goes away leaves it to the others, and when
//! the last one has gone it stops. Nobody waits for a fetch that only another's poll would move on.
//!
//! # Limits
//! What is kept, and as much again for what is being fetched.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use format::{FrameKind, PackName, Place};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::Semaphore;

use crate::DepotError;
use crate::cipher::PackCipher;
use crate::depot::lock;
use crate::work::Work;

const PACK_CIPHERS_MAX: usize = 4096;
/// Room is given out in pieces of this length.
const ROOM_PIECE: usize = 64 << 10;
/// Fetches that have ended are swept out when so many are noted.
const FLIGHTS_MIN: usize = 64;

type Flight = BoxFuture<'static, Result<Bytes, DepotError>>;

pub(crate) struct Frames {
    kept: Mutex<Kept>,
    flights: Mutex<HashMap<Wanted, WeakShared<Flight>>>,
    room: Arc<Semaphore>,
    room_max: u32,
}

/// All that a place says of its frame: another place may lie about the same one, and must not be
/// answered with what this one finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Wanted {
    kind: FrameKind,
    pack: PackName,
    frame: u32,
    offset: u32,
    sealed_len: u32,
    plain_len: u32,
}

impl Frames {
    pub(crate) fn new(len_max: usize) -> Self {
        let room_max = u32::try_from(len_max.div_ceil(ROOM_PIECE)).unwrap_or(u32::MAX).clamp(1, 1 << 20);
        Self {
            kept: Mutex::new(Kept::new(len_max)),
            flights: Mutex::default(),
            room: Arc::new(Semaphore::new(room_max as usize)),
            room_max,
        }
    }

    pub(crate) fn get(&self, place: &Place) -> Option<Bytes> {
        lock(&self.kept).get(place.pack, place.frame)
    }

    /// The frame as `fetch` gets it, which is asked for once however many want it now. With `beside`
    /// it goes on whoever polls.
    pub(crate) async fn fetch<F>(
        self: &Arc<Self>,
        place: &Place,
        kind: FrameKind,
        beside: bool,
        fetch: impl FnOnce() -> F,
    ) -> Result<Bytes, DepotError>
    where
        F: Future<Output = Result<Bytes, DepotError>> + Send + 'static,
    {
        let Place { pack, frame, offset, sealed_len, plain_len, .. } = *place;
        let wanted = Wanted { kind, pack, frame, offset, sealed_len, plain_len };
        let flight = {
            let mut flights = lock(&self.flights);
            // Between the caller's look and here it may have come.
            if let Some(frame) = self.get(place) {
                return Ok(frame);
            }
            match flights.get(&wanted).and_then(WeakShared::upgrade) {
                Some(flight) => flight,
                None => {
                    let flight = self.start(wanted, beside, fetch());
                    if flights.len() >= FLIGHTS_MIN {
                        flights.retain(|_, flight| flight.upgrade().is_some());
                    }
                    flights.extend(flight.downgrade().map(|weak| (wanted, weak)));
                    flight
                }
            }
        };
        flight.await
    }

    fn start<F>(self: &Arc<Self>, wanted: Wanted, beside: bool, fetch: F) -> Shared<Flight>
    where
        F: Future<Output = Result<Bytes, DepotError>> + Send + 'static,
    {
        let (frames, room) = (self.clone(), self.room.clone());
        let len = wanted.plain_len as usize + wanted.sealed_len as usize;
        let pieces = u32::try_from(len.div_ceil(ROOM_PIECE)).unwrap_or(u32::MAX).min(self.room_max);
        let work = Work::start(beside, async move {
            let turn = room.acquire_many(pieces).await;
            let _turn = turn.map_err(|error| DepotError::Internal(error.to_string()))?;
            let bytes = fetch.await?;
            lock(&frames.kept).put(wanted.pack, wanted.frame, bytes.clone());
            Ok(bytes)
        });
        async move { work.wait().await? }.boxed().shared()
    }
}

/// The least recently used is forgotten first.
#[derive(Debug)]
struct Kept {
    len_max: usize,
    len: usize,
    clock: u64,
    by_place: HashMap<(PackName, u32), (u64, Bytes)>,
    by_use: BTreeMap<u64, (PackName, u32)>,
}

impl Kept {
    fn new(len_max: usize) -> Self {
        Self { len_max, len: 0, clock: 0, by_place: HashMap::new(), by_use: BTreeMap::new() }
    }

    fn get(&mut self, pack: PackName, frame: u32) -> Option<Bytes> {
        let (used, bytes) = self.by_place.get_mut(&(pack, frame))?;
        self.by_use.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_use.insert(self.clock, (pack, frame));
        Some(bytes.clone())
    }

    fn put(&mut self, pack: PackName, frame: u32, bytes: Bytes) {
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

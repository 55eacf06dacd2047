//! Reads of a few bytes anywhere, by many at once: right, fetched once, and in bounded memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use common::{Disk, World, content, small, write};
use futures::future::join_all;
use hikae_depot::{Depot, DepotError, Settings, TreeRef};
use model::Extent;
use proptest::prelude::*;
use store::{Doomed, Fault, Faulty, Listed, ObjectKey, Put, Script, Store, StoreError};
use tokio::sync::Semaphore;

/// Holds every read of a frame at a gate, and counts.
#[derive(Debug)]
struct Gate {
    inner: Arc<dyn Store>,
    turns: Semaphore,
    frames: AtomicU64,
    under_way: AtomicU64,
    under_way_max: AtomicU64,
}

impl Gate {
    fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let (frames, under_way, under_way_max) = Default::default();
        Arc::new(Self { inner, turns: Semaphore::new(0), frames, under_way, under_way_max })
    }

    fn open(&self) {
        self.turns.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

#[async_trait]
impl Store for Gate {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        self.inner.put_new(key, bytes).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        // The header of a pack passes freely.
        if range.start == 0 {
            return self.inner.get_range(key, range).await;
        }
        self.frames.fetch_add(1, Ordering::SeqCst);
        let len = range.end - range.start;
        let now = self.under_way.fetch_add(len, Ordering::SeqCst) + len;
        self.under_way_max.fetch_max(now, Ordering::SeqCst);
        let turn = self.turns.acquire().await.unwrap();
        // Whoever else is let in comes in before this one has gone.
        tokio::task::yield_now().await;
        drop(turn);
        self.under_way.fetch_sub(len, Ordering::SeqCst);
        self.inner.get_range(key, range).await
    }
    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.inner.size(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }
    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        self.inner.delete(doomed).await
    }
}

async fn stored(bytes: &[u8], settings: Settings) -> (World, TreeRef) {
    let world = World::new(store::memory(), 1, settings);
    let tree = write(&*world.open().await, &Disk::new(bytes.to_vec()), None, false).await.unwrap().tree;
    (world, tree)
}

async fn gated(world: &World) -> (Arc<Gate>, Arc<Depot>) {
    let gate = Gate::new(world.store.clone());
    let depot = World::new(gate.clone(), 2, world.settings.clone()).open().await;
    (gate, depot)
}

fn wide() -> Settings {
    Settings { parallelism: 4, ..small() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever is read, by however many at once and through however small a cache, is what is there.
    #[test]
    fn what_is_read_is_what_was_written(
        seed in 0_u64..1000,
        len in 1_usize..400_000,
        reads in prop::collection::vec((any::<u32>(), 0_u64..20_000), 1..60),
        cache_len in prop::sample::select(vec![16 << 10, 64 << 10, 1 << 20]),
        parallelism in prop::sample::select(vec![1_usize, 4]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let bytes = content(len, seed);
            let (world, tree) = stored(&bytes, Settings { cache_len, parallelism, ..small() }).await;
            let depot = world.open().await;
            let reads = reads.iter().map(|(at, want)| {
                let offset = u64::from(*at) % len as u64;
                let extent = Extent { offset, len: (*want).min(len as u64 - offset) };
                let depot = depot.clone();
                tokio::spawn(async move { (extent, depot.read(&tree, extent).await) })
            });
            for read in join_all(reads.collect::<Vec<_>>()).await {
                let (extent, found) = read.unwrap();
                let at = |offset: u64| usize::try_from(offset).unwrap();
                assert!(found.unwrap() == bytes[at(extent.offset)..at(extent.end())], "{extent:?} of {len}");
            }
        });
    }
}

/// Everybody waits for the same frames: each is fetched once.
#[tokio::test]
async fn a_frame_wanted_by_many_at_once_is_fetched_once() {
    let bytes = content(60_000, 3);
    for settings in [small(), wide()] {
        let (world, tree) = stored(&bytes, Settings { cache_len: 1 << 20, ..settings }).await;
        let alone = {
            let (gate, depot) = gated(&world).await;
            gate.open();
            depot.read(&tree, Extent { offset: 9_000, len: 4_096 }).await.unwrap();
            gate.frames.load(Ordering::SeqCst)
        };
        let (gate, depot) = gated(&world).await;
        let crowd = join_all((0..40).map(|_| depot.read(&tree, Extent { offset: 9_000, len: 4_096 })));
        let opening = async {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            gate.open();
        };
        let (found, ()) = tokio::join!(crowd, opening);
        assert!(found.into_iter().all(|found| found.unwrap() == bytes[9_000..13_096]));
        assert_eq!(gate.frames.load(Ordering::SeqCst), alone, "a crowd fetched more than one does");
    }
}

/// The first one goes away in the middle of its fetch; the others get their bytes all the same.
#[tokio::test]
async fn a_reader_that_goes_away_leaves_the_fetch_to_the_others() {
    let bytes = content(60_000, 3);
    for settings in [small(), wide()] {
        let (world, tree) = stored(&bytes, settings).await;
        let (gate, depot) = gated(&world).await;
        let extent = Extent { offset: 20_000, len: 4_096 };
        let (one, two) = (depot.clone(), depot.clone());
        let first = tokio::spawn(async move { one.read(&tree, extent).await });
        let second = tokio::spawn(async move { two.read(&tree, extent).await });
        while gate.frames.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        gate.open();
        assert!(second.await.unwrap().unwrap() == bytes[20_000..24_096]);
    }
}

/// A hundred readers of a hundred places: what is under way is bounded as the cache is.
#[tokio::test]
async fn what_is_under_way_is_bounded() {
    let mut bytes = vec![0; 4 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let settings = Settings { cache_len: 128 << 10, ..wide() };
    let (world, tree) = stored(&bytes, settings).await;
    let (gate, depot) = gated(&world).await;
    let reads = (0..100_u64).map(|nth| {
        let depot = depot.clone();
        tokio::spawn(async move { depot.read(&tree, Extent { offset: nth * 40_000, len: 4_096 }).await })
    });
    let reads: Vec<_> = reads.collect();
    gate.open();
    for (nth, read) in join_all(reads).await.into_iter().enumerate() {
        assert!(read.unwrap().unwrap() == bytes[nth * 40_000..nth * 40_000 + 4_096]);
    }
    let most = gate.under_way_max.load(Ordering::SeqCst);
    // Sealed and opened bytes are counted together: of noise, half of it each.
    assert!(most > 16 << 10 && most <= 128 << 10, "{most} bytes under way at once");
}

/// A fetch that failed is everybody's failure who waited for it, and is tried again by the next.
#[tokio::test]
async fn a_failed_fetch_is_tried_again() {
    let bytes = content(60_000, 3);
    let (world, tree) = stored(&bytes, small()).await;
    let faulty = Arc::new(Faulty::new(world.store.clone(), Script::Never));
    let depot = World::new(faulty.clone(), 2, small()).open().await;
    let extent = Extent { offset: 0, len: 4_096 };
    faulty.follow(Script::From(faulty.calls(), Fault::Unavailable));
    let (one, two) = tokio::join!(depot.read(&tree, extent), depot.read(&tree, extent));
    assert!(
        [one, two].iter().all(|read| matches!(read, Err(DepotError::Store(error)) if error.is_transient()))
    );
    faulty.follow(Script::Never);
    assert!(depot.read(&tree, extent).await.unwrap() == bytes[..4_096]);
}

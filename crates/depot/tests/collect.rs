//! Collection: leaks are allowed, holes are not.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use common::{Disk, SECTOR, World, content, manifest, manifest_of, objects, restore, small, write};
use format::{Attempt, Mark, MarkState, Marks, PackName, path};
use hikae_depot::gc::{MARKS_KEPT, Newest, Sight, decide};
use hikae_depot::{Depot, DepotError, Margins, PackFate, Settings};
use model::{DepotId, GroupId, Timestamp};
use proptest::prelude::*;
use store::{Doomed, Listed, ObjectKey, Put, Store, StoreError};

const DAY_S: i64 = 24 * 3600;
const LONG_S: i64 = 4 * DAY_S;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn id(number: u128) -> GroupId {
    GroupId::from_bits(number)
}

async fn packs(store: &Arc<dyn Store>) -> usize {
    objects(store).await.keys().filter(|path| path.starts_with("packs/")).count()
}

#[derive(Debug, Clone)]
enum Op {
    Edit {
        at: usize,
        len: usize,
        seed: u64,
    },
    Resize(usize),
    Backup {
        base: Option<usize>,
        changed_only: bool,
        worker: usize,
    },
    /// Written, never sealed.
    Abandon {
        worker: usize,
    },
    Delete(usize),
    Collect {
        worker: usize,
        after_s: i64,
    },
    Restart(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<usize>(), 1_usize..120, 0_u64..9).prop_map(|(at, len, seed)| Op::Edit { at, len, seed }),
        1 => (0_usize..200_000).prop_map(Op::Resize),
        5 => (prop::option::weighted(0.8, any::<usize>()), any::<bool>(), 0_usize..2)
            .prop_map(|(base, changed_only, worker)| Op::Backup { base, changed_only, worker }),
        1 => (0_usize..2).prop_map(|worker| Op::Abandon { worker }),
        2 => any::<usize>().prop_map(Op::Delete),
        4 => (0_usize..2, prop::sample::select(vec![0, 3600, DAY_S, LONG_S]))
            .prop_map(|(worker, after_s)| Op::Collect { worker, after_s }),
        1 => (0_usize..2).prop_map(Op::Restart),
    ]
}

/// A disk, two workers on one bucket, and what each group must restore to.
struct Model {
    world: World,
    workers: Vec<Arc<Depot>>,
    disk: Vec<u8>,
    groups: BTreeMap<u128, Vec<u8>>,
    next: u128,
}

impl Model {
    async fn new(seed: u64) -> Self {
        let world = World::new(store::memory(), seed, small());
        let workers = vec![world.open().await, world.open().await];
        Self { world, workers, disk: content(120_000, seed), groups: BTreeMap::new(), next: 1 }
    }

    fn nth_group(&self, nth: usize) -> Option<u128> {
        (!self.groups.is_empty()).then(|| *self.groups.keys().nth(nth % self.groups.len()).unwrap())
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Edit { at, len, seed } => {
                let from = (at % self.disk.len().div_ceil(SECTOR).max(1)) * SECTOR;
                let to = (from + len * SECTOR).min(self.disk.len());
                if from < to {
                    let new = if seed == 0 { vec![0; to - from] } else { content(to - from, seed) };
                    self.disk[from..to].copy_from_slice(&new);
                }
            }
            Op::Resize(len) => self.disk.resize(len, 1),
            Op::Backup { base, changed_only, worker } => self.backup(base, changed_only, worker).await,
            Op::Abandon { worker } => {
                write(&self.workers[worker], &Disk::new(self.disk.clone()), None, false).await.unwrap();
            }
            Op::Delete(nth) => {
                if let Some(group) = self.nth_group(nth) {
                    self.workers[0].delete_group(id(group)).await.unwrap();
                    self.groups.remove(&group);
                }
            }
            Op::Collect { worker, after_s } => {
                self.world.clock.advance_s(after_s);
                let report = self.workers[worker].collect(Margins::STANDARD, &[]).await.unwrap();
                assert_eq!(report.refused, None);
            }
            Op::Restart(worker) => self.workers[worker] = self.world.open().await,
        }
    }

    async fn backup(&mut self, base: Option<usize>, changed_only: bool, worker: usize) {
        let base = base.and_then(|nth| self.nth_group(nth));
        let depot = self.workers[worker].clone();
        let (tree, disk) = match base {
            Some(group) => {
                let manifest = depot.group(id(group)).await.unwrap().unwrap();
                (Some(manifest.disks[0].tree), Disk::since(self.disk.clone(), &self.groups[&group]))
            }
            None => (None, Disk::new(self.disk.clone())),
        };
        for _ in 0..3 {
            let written = write(&depot, &disk, tree, changed_only).await.unwrap();
            match depot.seal_group(&manifest(self.next, written.tree, base)).await {
                Ok(()) => {
                    self.groups.insert(self.next, self.disk.clone());
                    break;
                }
                Err(DepotError::Overtaken { .. }) => assert_eq!(depot.group(id(self.next)).await, Ok(None)),
                Err(other) => panic!("{other:?}"),
            }
        }
        self.next += 1;
    }

    async fn audit(&self) {
        // A reader that remembers nothing.
        let depot = self.world.open().await;
        let listed: BTreeSet<u128> = depot.groups().await.unwrap().into_iter().map(GroupId::bits).collect();
        assert_eq!(listed, self.groups.keys().copied().collect());
        for (group, expected) in &self.groups {
            let manifest = depot.group(id(*group)).await.unwrap().unwrap();
            assert!(restore(&depot, &manifest.disks[0].tree).await.unwrap() == *expected, "group {group}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_life_of_a_depot_leaves_every_group_whole(
        ops in prop::collection::vec(op(), 1..40),
        seed in any::<u64>(),
    ) {
        run(async {
            let mut model = Model::new(seed).await;
            for op in ops {
                let collected = matches!(op, Op::Collect { .. });
                model.apply(op).await;
                if collected {
                    model.audit().await;
                }
            }
            model.audit().await;
            // In the end everything nobody needs goes: nothing is leaked for ever.
            for group in model.groups.keys() {
                model.workers[0].delete_group(id(*group)).await.unwrap();
            }
            let depot = model.world.open().await;
            for _ in 0..3 {
                model.world.clock.advance_s(LONG_S);
                depot.collect(Margins::STANDARD, &[]).await.unwrap();
            }
            assert_eq!(packs(&model.world.store).await, 0);
        });
    }
}

#[test]
fn garbage_goes_on_the_second_visit_and_not_before_the_margin() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        write(&depot, &Disk::new(content(100_000, 1)), None, false).await.unwrap();
        let all = packs(&world.store).await;
        // The process that wrote it may still seal it.
        assert_eq!(depot.collect(Margins::STANDARD, &[]).await.unwrap().marked, 0);
        let depot = world.open().await;
        let first = depot.collect(Margins::STANDARD, &[]).await.unwrap();
        assert_eq!((first.marked, first.deleted), (all, 0));
        world.clock.advance_s(DAY_S - 1);
        assert_eq!(depot.collect(Margins::STANDARD, &[]).await.unwrap().deleted, 0);
        world.clock.advance_s(1);
        assert_eq!(depot.collect(Margins::STANDARD, &[]).await.unwrap().deleted, all);
        assert_eq!(packs(&world.store).await, 0);
    });
}

/// A restart between copying and sealing: the new process knows nothing of the old one's packs.
#[test]
fn a_tree_promised_before_a_restart_can_still_be_sealed() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let disk = Disk::new(content(100_000, 1));
        let before = world.open().await;
        let written = write(&before, &disk, None, false).await.unwrap();
        drop(before);
        let depot = world.open().await;
        let report = depot.collect(Margins::STANDARD, &[written.tree]).await.unwrap();
        assert_eq!(report.marked, 0, "promised packs are not marked");
        depot.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        world.clock.advance_s(LONG_S);
        assert_eq!(depot.collect(Margins::STANDARD, &[]).await.unwrap().marked, 0);
    });
}

#[test]
fn an_unreadable_manifest_stops_collection() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        write(&depot, &Disk::new(content(100_000, 1)), None, false).await.unwrap();
        let path = path::group(id(5), Attempt([5; 16]));
        let key = ObjectKey::new(path.as_str()).unwrap();
        world.store.put_new(&key, Bytes::from_static(b"HIKAEgrp\x01\x00nonsense")).await.unwrap();
        let depot = world.open().await;
        let before = packs(&world.store).await;
        for _ in 0..3 {
            world.clock.advance_s(LONG_S);
            let report = depot.collect(Margins::STANDARD, &[]).await.unwrap();
            assert!(report.refused.unwrap().contains(&path));
        }
        assert_eq!(packs(&world.store).await, before);
    });
}

/// Its manifest can be read, one of its trees cannot: what it names is not known.
#[test]
fn an_unreadable_tree_stops_collection() {
    run(async {
        let sound = World::new(store::memory(), 1, small());
        let depot = sound.open().await;
        let written = write(&depot, &Disk::new(content(300_000, 1)), None, false).await.unwrap();
        depot.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        let root = written.tree.root.unwrap().place.pack.to_string();
        let world = World::new(store::memory(), 2, small());
        for (path, object) in objects(&sound.store).await {
            if !path.ends_with(&root) {
                world.store.put_new(&ObjectKey::new(path).unwrap(), object).await.unwrap();
            }
        }
        let depot = world.open().await;
        let before = packs(&world.store).await;
        for _ in 0..3 {
            world.clock.advance_s(LONG_S);
            assert!(depot.collect(Margins::STANDARD, &[]).await.unwrap().refused.unwrap().contains(&root));
        }
        assert!(before > 0);
        assert_eq!(packs(&world.store).await, before);
    });
}

#[test]
fn a_write_that_slept_through_the_margin_is_overtaken_and_can_be_repeated() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let (writer, collector) = (world.open().await, world.open().await);
        let bytes = content(100_000, 1);
        let written = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
        collector.collect(Margins::STANDARD, &[]).await.unwrap();
        let sealed = writer.seal_group(&manifest(1, written.tree, None)).await;
        assert!(matches!(sealed, Err(DepotError::Overtaken { .. })), "{sealed:?}");
        assert_eq!(writer.group(id(1)).await, Ok(None));
        // What the process remembers leads to the marked packs no more.
        let again = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
        writer.seal_group(&manifest(1, again.tree, None)).await.unwrap();
        world.clock.advance_s(LONG_S);
        collector.collect(Margins::STANDARD, &[]).await.unwrap();
        assert!(restore(&*world.open().await, &again.tree).await.unwrap() == bytes);
    });
}

/// A store in which, once, something happens in the middle of somebody's call.
struct Interrupted {
    inner: Arc<dyn Store>,
    /// Before, and after, the put of an object whose name begins so.
    before_put: Mutex<Option<(String, Interruption)>>,
    after_put: Mutex<Option<(String, Interruption)>>,
    /// Before the third listing of intents or groups: the second of a look at what is needed.
    between_listings: Mutex<Option<Interruption>>,
    listings: AtomicUsize,
}

type Interruption = Box<dyn FnOnce() -> futures::future::BoxFuture<'static, ()> + Send>;

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupted")
    }
}

#[async_trait]
impl Store for Interrupted {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        let due = |hook: &Mutex<Option<(String, Interruption)>>| {
            hook.lock().unwrap().take_if(|(prefix, _)| key.as_str().starts_with(prefix.as_str()))
        };
        if let Some((_, interruption)) = due(&self.before_put) {
            interruption().await;
        }
        let put = self.inner.put_new(key, bytes).await;
        if let Some((_, interruption)) = due(&self.after_put) {
            interruption().await;
        }
        put
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
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
        if [path::INTENTS, path::GROUPS].contains(&prefix)
            && self.listings.fetch_add(1, Ordering::SeqCst) == 2
        {
            let due = self.between_listings.lock().unwrap().take();
            if let Some(interruption) = due {
                interruption().await;
            }
        }
        self.inner.list(prefix, after, limit).await
    }
    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        self.inner.delete(doomed).await
    }
}

async fn interrupted(
    prefix: &str,
    interruption: impl FnOnce() -> futures::future::BoxFuture<'static, ()> + Send + 'static,
    world: &World,
) -> Arc<Depot> {
    interrupted_twice(prefix, interruption, None, world).await
}

async fn interrupted_twice(
    prefix: &str,
    before: impl FnOnce() -> futures::future::BoxFuture<'static, ()> + Send + 'static,
    after: Option<Interruption>,
    world: &World,
) -> Arc<Depot> {
    let before_put = Mutex::new(Some((prefix.to_owned(), Box::new(before) as Interruption)));
    let after_put = Mutex::new(after.map(|after| (prefix.to_owned(), after)));
    through(Interrupted { before_put, after_put, ..Interrupted::never(world) }, world).await
}

impl Interrupted {
    fn never(world: &World) -> Self {
        Self {
            inner: world.store.clone(),
            before_put: Mutex::default(),
            after_put: Mutex::default(),
            between_listings: Mutex::default(),
            listings: AtomicUsize::default(),
        }
    }
}

async fn through(store: Interrupted, world: &World) -> Arc<Depot> {
    let (clock, dice) = (world.clock.clone(), world.dice.clone());
    World { store: Arc::new(store), clock, dice, settings: small() }.open().await
}

/// A process that falls asleep before its first put of such an object: it says so, and waits to be woken.
async fn asleep_before(
    prefix: &str,
    world: &World,
) -> (Arc<Depot>, tokio::sync::oneshot::Receiver<()>, tokio::sync::oneshot::Sender<()>) {
    let (asleep, fell_asleep) = tokio::sync::oneshot::channel();
    let (wake, woken) = tokio::sync::oneshot::channel::<()>();
    let sleep = move || {
        let sleep = async move {
            asleep.send(()).unwrap();
            let _ = woken.await;
        };
        Box::pin(sleep) as futures::future::BoxFuture<'static, ()>
    };
    (interrupted(prefix, sleep, world).await, fell_asleep, wake)
}

/// A collector stands still between its two listings. Meanwhile the seal it knows nothing of yet ends,
/// and another collector removes its intent: it must be seen all the same, for its packs are marked.
#[test]
fn a_seal_that_ends_between_two_listings_is_seen() {
    const NO_MARGIN: Margins = Margins::new(0, 0, 3600);
    run(async {
        let world = World::new(store::memory(), 1, small());
        let (marker, marker_sleeps, wake_marker) = asleep_before("gc/", &world).await;
        let (writer, writer_sleeps, wake_writer) = asleep_before("groups/", &world).await;
        let (settler, settler_sleeps, _wake) = asleep_before("gc/", &world).await;
        let bytes = content(60_000, 1);
        let tree = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap().tree;
        let mark = tokio::spawn(async move { marker.collect(NO_MARGIN, &[]).await });
        marker_sleeps.await.unwrap();
        let seal = tokio::spawn(async move { writer.seal_group(&manifest(1, tree, None)).await });
        writer_sleeps.await.unwrap();
        wake_marker.send(()).unwrap();
        assert!(mark.await.unwrap().unwrap().marked > 0);
        let clock = world.clock.clone();
        let meanwhile: Interruption = Box::new(move || {
            Box::pin(async move {
                wake_writer.send(()).unwrap();
                seal.await.unwrap().unwrap();
                clock.advance_s(2 * 3600);
                tokio::spawn(async move { settler.collect(NO_MARGIN, &[]).await });
                settler_sleeps.await.unwrap();
            })
        });
        let between_listings = Mutex::new(Some(meanwhile));
        let collector = through(Interrupted { between_listings, ..Interrupted::never(&world) }, &world).await;
        assert_eq!(collector.collect(NO_MARGIN, &[]).await.unwrap().deleted, 0);
        assert!(objects(&world.store).await.keys().all(|path| !path.starts_with("intents/")));
        assert!(restore(&*world.open().await, &tree).await.unwrap() == bytes);
    });
}

/// The mark falls between the writer's last pack and its intent.
#[test]
fn a_mark_before_the_intent_stops_the_seal() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let collector = world.open().await;
        let marks = collector.clone();
        let mark = move || {
            let visit = async move { drop(marks.collect(Margins::STANDARD, &[]).await.unwrap()) };
            Box::pin(visit) as futures::future::BoxFuture<'static, ()>
        };
        let writer = interrupted("intents/", mark, &world).await;
        let written = write(&writer, &Disk::new(content(100_000, 1)), None, false).await.unwrap();
        let sealed = writer.seal_group(&manifest(1, written.tree, None)).await;
        assert!(matches!(sealed, Err(DepotError::Overtaken { .. })), "{sealed:?}");
        assert_eq!(collector.groups().await, Ok(Vec::new()));
    });
}

/// Between the intent and the manifest a collector has visits for days: it keeps what is intended.
#[test]
fn what_is_intended_is_not_marked() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let (collector, clock) = (world.open().await, world.clock.clone());
        let visit = collector.clone();
        let visits = move || {
            let visits = async move {
                for _ in 0..3 {
                    assert_eq!(visit.collect(Margins::STANDARD, &[]).await.unwrap().marked, 0);
                    clock.advance_s(7 * 3600);
                }
            };
            Box::pin(visits) as futures::future::BoxFuture<'static, ()>
        };
        let writer = interrupted("groups/", visits, &world).await;
        let bytes = content(100_000, 1);
        let written = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
        writer.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        assert!(restore(&*world.open().await, &written.tree).await.unwrap() == bytes);
    });
}

/// A writer stands still between its intent and its manifest until a collector has given it up.
#[test]
fn a_seal_given_up_cannot_succeed_and_a_new_one_can() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let (collector, clock) = (world.open().await, world.clock.clone());
        let visit = collector.clone();
        let visits = move || {
            let visits = async move {
                clock.advance_s(25 * 3600);
                assert_eq!(visit.collect(Margins::STANDARD, &[]).await.unwrap().given_up, 1);
            };
            Box::pin(visits) as futures::future::BoxFuture<'static, ()>
        };
        let writer = interrupted("groups/", visits, &world).await;
        let bytes = content(100_000, 1);
        let written = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
        let group = manifest(1, written.tree, None);
        assert_eq!(writer.seal_group(&group).await, Err(DepotError::GivenUp { group: id(1) }));
        assert_eq!((writer.group(id(1)).await, collector.groups().await), (Ok(None), Ok(Vec::new())));
        assert_eq!(collector.collect(Margins::STANDARD, &[]).await.unwrap().given_up, 0);
        // Its packs were marked meanwhile: it writes again.
        let sealed = writer.seal_group(&group).await;
        assert!(matches!(sealed, Err(DepotError::Overtaken { .. })), "{sealed:?}");
        let again = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
        writer.seal_group(&manifest(1, again.tree, None)).await.unwrap();
        assert!(restore(&*world.open().await, &again.tree).await.unwrap() == bytes);
    });
}

/// A group is deleted while it is being sealed: it does not come to be.
#[test]
fn a_group_deleted_in_its_seal_does_not_exist() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let other = world.open().await;
        let deleter = other.clone();
        let delete = move || {
            let delete = async move { deleter.delete_group(id(1)).await.unwrap() };
            Box::pin(delete) as futures::future::BoxFuture<'static, ()>
        };
        let writer = interrupted("groups/", delete, &world).await;
        let written = write(&writer, &Disk::new(content(100_000, 1)), None, false).await.unwrap();
        let sealed = writer.seal_group(&manifest(1, written.tree, None)).await;
        assert_eq!(sealed, Err(DepotError::GivenUp { group: id(1) }));
        assert_eq!((other.group(id(1)).await, other.groups().await), (Ok(None), Ok(Vec::new())));
    });
}

/// What a seal leaves beside its manifest goes, and nothing is given up for it.
#[test]
fn intents_of_sealed_groups_go() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        let bytes = content(60_000, 1);
        let written = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
        depot.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        let intents =
            |all: BTreeMap<String, Bytes>| all.keys().filter(|key| key.starts_with("intents/")).count();
        assert_eq!(intents(objects(&world.store).await), 1);
        world.clock.advance_s(25 * 3600);
        assert_eq!(depot.collect(Margins::STANDARD, &[]).await.unwrap().given_up, 0);
        assert_eq!(intents(objects(&world.store).await), 0);
        assert!(restore(&*world.open().await, &written.tree).await.unwrap() == bytes);
    });
}

/// A collector looked before the seal and condemns after it: the writer, whose look comes between
/// the two, has to see the mark of the visit before.
#[test]
fn a_collector_that_looked_before_the_seal_never_makes_a_hole() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let writer = world.open().await;
        let bytes = content(100_000, 1);
        let written = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
        world.open().await.collect(Margins::STANDARD, &[]).await.unwrap();
        world.clock.advance_s(LONG_S);
        let sealed = Arc::new(Mutex::new(None));
        let (answer, manifest) = (sealed.clone(), manifest(1, written.tree, None));
        let seal = move || {
            let seal = async move { *answer.lock().unwrap() = Some(writer.seal_group(&manifest).await) };
            Box::pin(seal) as futures::future::BoxFuture<'static, ()>
        };
        let collector = interrupted("gc/", seal, &world).await;
        assert!(collector.collect(Margins::STANDARD, &[]).await.unwrap().deleted > 0);
        assert!(matches!(sealed.lock().unwrap().take(), Some(Err(DepotError::Overtaken { .. }))));
        assert_eq!(world.open().await.groups().await, Ok(Vec::new()));
    });
}

/// The base goes, and with it what it shared, while an increment on it is written. The increment's
/// own packs are fresh: only what it leans on tells.
#[test]
fn a_base_deleted_and_marked_during_an_increment_takes_it_along() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let old = world.open().await;
        let bytes = content(200_000, 1);
        let base = write(&old, &Disk::new(bytes.clone()), None, false).await.unwrap();
        old.seal_group(&manifest(1, base.tree, None)).await.unwrap();
        let same_process: Arc<OnceLock<Arc<Depot>>> = Arc::default();
        let deleter = same_process.clone();
        let delete = move || {
            let delete = async move {
                let depot = deleter.get().unwrap().clone();
                depot.delete_group(id(1)).await.unwrap();
                assert!(depot.collect(Margins::STANDARD, &[]).await.unwrap().marked > 0);
            };
            Box::pin(delete) as futures::future::BoxFuture<'static, ()>
        };
        let writer = interrupted("intents/", delete, &world).await;
        same_process.set(writer.clone()).unwrap();
        // A whole leaf, so that nothing new stands beside anything old.
        let mut changed = bytes.clone();
        changed[..32 << 10].copy_from_slice(&content(32 << 10, 2));
        changed.iter_mut().take(32 << 10).step_by(64).for_each(|byte| *byte |= 1);
        let disk = Disk::since(changed, &bytes);
        let written = write(&writer, &disk, Some(base.tree), true).await.unwrap();
        let sealed = writer.seal_group(&manifest(2, written.tree, Some(1))).await;
        assert!(matches!(sealed, Err(DepotError::Overtaken { .. })), "{sealed:?}");
        assert_eq!(writer.groups().await, Ok(Vec::new()));
    });
}

/// Two collectors from the same sight: one deletes, the other stops.
#[test]
fn of_two_collectors_one_wins() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        write(&*world.open().await, &Disk::new(content(100_000, 1)), None, false).await.unwrap();
        let fast = world.open().await;
        let clock = world.clock.clone();
        let visit = move || {
            let visit = async move {
                clock.advance_s(1);
                drop(fast.collect(Margins::STANDARD, &[]).await.unwrap());
            };
            Box::pin(visit) as futures::future::BoxFuture<'static, ()>
        };
        let slow = interrupted("gc/", visit, &world).await;
        let report = slow.collect(Margins::STANDARD, &[]).await.unwrap();
        assert!(report.refused.is_some());
    });
}

/// Overtaken and written again: the same id, another manifest, other packs. Who remembers the first
/// one must notice.
#[test]
fn a_group_written_again_under_its_id_is_read_again() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let collector = world.open().await;
        let first = world.open().await;
        let written = write(&first, &Disk::new(content(60_000, 1)), None, false).await.unwrap();
        first.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        collector.collect(Margins::STANDARD, &[]).await.unwrap();
        first.delete_group(id(1)).await.unwrap();
        let second = world.open().await;
        let bytes = content(60_000, 2);
        let written = write(&second, &Disk::new(bytes.clone()), None, false).await.unwrap();
        second.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        for _ in 0..3 {
            assert_eq!(collector.collect(Margins::STANDARD, &[]).await.unwrap().refused, None);
            world.clock.advance_s(LONG_S);
        }
        assert!(restore(&*world.open().await, &written.tree).await.unwrap() == bytes);
        assert_eq!(collector.stats().await.unwrap().packs, collector.stats().await.unwrap().needed_packs);
    });
}

/// A twin of the writer that sealed, woken late: its own packs are marked, and what stands under the id
/// is not its to take back.
#[test]
fn a_twin_that_lost_leaves_the_sealed_group_alone() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let (writer, twin) = (world.open().await, world.open().await);
        let bytes = content(60_000, 1);
        let late = write(&twin, &Disk::new(bytes.clone()), None, false).await.unwrap();
        let written = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
        writer.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        writer.collect(Margins::STANDARD, &[]).await.unwrap();
        let sealed = twin.seal_group(&manifest(1, late.tree, None)).await;
        assert_eq!(sealed, Err(DepotError::Conflict { group: id(1) }));
        let found = writer.group(id(1)).await.unwrap();
        assert_eq!(found.map(|group| group.disks[0].tree), Some(written.tree));
    });
}

async fn marks_objects(world: &World) -> usize {
    objects(&world.store).await.keys().filter(|path| path.starts_with("gc/")).count()
}

/// Writes something nobody needs, and has it marked.
async fn litter(world: &World, collector: &Depot, seed: u64) {
    write(&*world.open().await, &Disk::new(content(5_000, seed)), None, false).await.unwrap();
    assert_eq!(collector.collect(Margins::STANDARD, &[]).await.unwrap().refused, None);
}

/// A writer whose packs are marked; a collector that condemns them falls asleep before it says so; the
/// writer puts its intent, another visit pardons, and many more make the
/// sleeper's number free again.
#[test]
fn old_marks_go_and_a_collector_that_slept_does_no_harm() {
    run(async {
        let world = Arc::new(World::new(store::memory(), 1, small()));
        let (asleep, fell_asleep) = tokio::sync::oneshot::channel();
        let (wake, woken) = tokio::sync::oneshot::channel::<()>();
        let sleeper = interrupted(
            "gc/",
            move || {
                Box::pin(async move {
                    asleep.send(()).unwrap();
                    woken.await.unwrap();
                })
            },
            &world,
        )
        .await;
        let after = world.clone();
        let pardon: Interruption = Box::new(move || {
            Box::pin(async move {
                let collector = after.open().await;
                for seed in 100..140 {
                    litter(&after, &collector, seed).await;
                }
            })
        });
        let nothing = || Box::pin(async {}) as futures::future::BoxFuture<'static, ()>;
        let writer = interrupted_twice("intents/", nothing, Some(pardon), &world).await;
        let bytes = content(60_000, 1);
        let written = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
        world.open().await.collect(Margins::STANDARD, &[]).await.unwrap();
        world.clock.advance_s(LONG_S);
        let visit = tokio::spawn(async move { sleeper.collect(Margins::STANDARD, &[]).await });
        fell_asleep.await.unwrap();
        writer.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        let kept = usize::try_from(MARKS_KEPT).unwrap();
        assert_eq!(marks_objects(&world).await, kept, "the last marks stay");
        assert!(!objects(&world.store).await.contains_key(&path::marks(2)), "the sleeper's number is free");
        wake.send(()).unwrap();
        assert_eq!(visit.await.unwrap().unwrap().deleted, 0);
        assert!(restore(&*world.open().await, &written.tree).await.unwrap() == bytes);
        let last = world.open().await;
        for seed in 0..3 {
            world.clock.advance_s(LONG_S);
            litter(&world, &last, seed).await;
        }
        assert!(restore(&*world.open().await, &written.tree).await.unwrap() == bytes);
        assert_eq!(marks_objects(&world).await, kept, "what the sleeper left is gone too");
    });
}

async fn damage(world: &World, path: &str) {
    let key = ObjectKey::new(path).unwrap();
    world.store.delete(&Doomed::condemn(key.clone())).await.unwrap();
    world.store.put_new(&key, Bytes::from_static(b"HIKAEgc\0nonsense")).await.unwrap();
}

#[test]
fn marks_that_are_damaged_are_begun_anew() {
    for damaged in [1, 2, 3] {
        run(async {
            let world = World::new(store::memory(), 1, small());
            let bytes = content(60_000, 1);
            let writer = world.open().await;
            let written = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
            writer.seal_group(&manifest(1, written.tree, None)).await.unwrap();
            let collector = world.open().await;
            for seed in 2..5 {
                litter(&world, &collector, seed).await;
            }
            assert_eq!(marks_objects(&world).await, 3);
            for number in 4 - damaged..=3 {
                damage(&world, &path::marks(number)).await;
            }
            world.clock.advance_s(LONG_S);
            let refused = write(&writer, &Disk::new(bytes.clone()), None, false).await;
            assert!(matches!(refused, Err(DepotError::Damaged { .. })), "{refused:?}");
            let before = packs(&world.store).await;
            let report = collector.collect(Margins::STANDARD, &[]).await.unwrap();
            // Long marked, as far as was known; but what the lost marks said is not known.
            assert_eq!((report.deleted, report.refused, report.troubles.len()), (0, None, 1));
            assert_eq!(packs(&world.store).await, before);
            let again = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap();
            writer.seal_group(&manifest(2, again.tree, None)).await.unwrap();
            world.clock.advance_s(LONG_S);
            for _ in 0..2 {
                let report = collector.collect(Margins::STANDARD, &[]).await.unwrap();
                assert_eq!((report.refused, report.troubles.len()), (None, 0));
            }
            let stats = collector.stats().await.unwrap();
            assert_eq!(stats.packs, stats.needed_packs, "in the end it goes all the same");
            for tree in [written.tree, again.tree] {
                assert!(restore(&*world.open().await, &tree).await.unwrap() == bytes);
            }
        });
    }
}

/// Whoever made the lost marks may be deleting what they condemned: what was marked before them stays
/// marked though a group names it, for that group may be half sealed.
#[test]
fn after_lost_marks_nothing_is_pardoned_and_nothing_newly_condemned() {
    let now = Timestamp::from_seconds(10 * DAY_S);
    let old = Mark { pack: pack(1), state: MarkState::Marked { since: Timestamp::from_seconds(0) } };
    let condemned = Mark { pack: pack(1), state: MarkState::Condemned };
    let from_now = Mark { pack: pack(1), state: MarkState::Marked { since: now } };
    let lost = |number, mark: Option<Mark>, named: &[u8], fresh: bool| {
        let mut sight = sight(mark.into_iter().collect(), named);
        let Newest::Read(before) = sight.newest else { panic!("read") };
        sight.newest = Newest::Lost { number, before: Some(before) };
        sight.fresh = fresh.then_some((pack(1), now)).into_iter().collect();
        decide(&sight, Margins::STANDARD).marks().to_vec()
    };
    for named in [&[1, 2][..], &[2]] {
        assert_eq!(lost(5, Some(old), named, false), [from_now]);
        assert_eq!(lost(5, Some(condemned), named, false), [condemned]);
    }
    assert_eq!(lost(5, None, &[1, 2], false), []);
    assert_eq!(lost(5, None, &[2], false), [from_now]);
    assert_eq!(lost(5, None, &[2], true), [], "not in the marks before, so not in the lost ones");
    assert_eq!(lost(6, None, &[2], true), [from_now], "with a gap nobody knows");
}

/// A job wrote a tree and died; its packs were collected, or damaged. Its seal cannot happen any more.
#[test]
fn a_promised_tree_that_is_gone_stops_nothing() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let written = write(&*world.open().await, &Disk::new(content(60_000, 1)), None, false).await.unwrap();
        let root = path::pack(written.tree.root.unwrap().place.pack);
        world.store.delete(&Doomed::condemn(ObjectKey::new(root.as_str()).unwrap())).await.unwrap();
        let collector = world.open().await;
        litter(&world, &collector, 2).await;
        for _ in 0..2 {
            world.clock.advance_s(LONG_S);
            let report = collector.collect(Margins::STANDARD, &[written.tree]).await.unwrap();
            assert_eq!((report.refused, report.troubles.len()), (None, 1));
            assert!(report.troubles[0].contains(&root), "{:?}", report.troubles);
        }
        assert_eq!(packs(&world.store).await, 0);
        let sealed = world.open().await.seal_group(&manifest(1, written.tree, None)).await;
        assert!(matches!(sealed, Err(DepotError::Overtaken { .. })), "{sealed:?}");
        assert_eq!(collector.groups().await, Ok(Vec::new()));
    });
}

/// A store with a clock; for this test, the same that everybody has.
struct Dated {
    inner: Arc<dyn Store>,
    clock: Arc<common::Hands>,
    created: Mutex<HashMap<String, Timestamp>>,
}

impl std::fmt::Debug for Dated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dated")
    }
}

#[async_trait]
impl Store for Dated {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        let now = model::Clock::now(&*self.clock);
        self.created.lock().unwrap().entry(key.as_str().to_owned()).or_insert(now);
        self.inner.put_new(key, bytes).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
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
        let mut listed = self.inner.list(prefix, after, limit).await?;
        let created = self.created.lock().unwrap();
        for line in &mut listed {
            line.created = created.get(line.key.as_str()).copied();
        }
        Ok(listed)
    }
    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        self.inner.delete(doomed).await
    }
}

/// A write of hours in one process, and visits every ten minutes in another.
#[test]
fn what_others_put_lately_is_spared() {
    run(async {
        let plain = World::new(store::memory(), 1, small());
        let dated =
            Dated { inner: plain.store.clone(), clock: plain.clock.clone(), created: Mutex::default() };
        let world = World { store: Arc::new(dated), ..plain };
        let (writer, collector) = (world.open().await, world.open().await);
        let written = write(&writer, &Disk::new(content(60_000, 1)), None, false).await.unwrap();
        for _ in 0..12 {
            world.clock.advance_s(600);
            assert_eq!(collector.collect(Margins::STANDARD, &[]).await.unwrap().marked, 0);
        }
        let plan = collector.explain(Margins::STANDARD, &[]).await.unwrap();
        assert!(plan.fates().count() > 0);
        assert!(plan.fates().all(|(_, fate)| matches!(fate, PackFate::Spare { .. })));
        writer.seal_group(&manifest(1, written.tree, None)).await.unwrap();
        collector.collect(Margins::STANDARD, &[]).await.unwrap();
        // What a group has had is not waited for: it goes after the margin alone, to whomever looks.
        for process in [&writer, &collector] {
            process.collect(Margins::STANDARD, &[]).await.unwrap();
        }
        writer.delete_group(id(1)).await.unwrap();
        for process in [&writer, &collector] {
            assert!(process.explain(Margins::STANDARD, &[]).await.unwrap().fates().count() > 0);
            process.collect(Margins::STANDARD, &[]).await.unwrap();
        }
        world.clock.advance_s(DAY_S);
        assert!(collector.collect(Margins::STANDARD, &[]).await.unwrap().deleted > 0);
        assert_eq!(packs(&world.store).await, 0);
        // What nobody ever sealed goes too, in its time.
        write(&writer, &Disk::new(content(60_000, 2)), None, false).await.unwrap();
        assert_eq!(collector.collect(Margins::STANDARD, &[]).await.unwrap().marked, 0);
        world.clock.advance_s(3 * DAY_S);
        assert!(collector.collect(Margins::STANDARD, &[]).await.unwrap().marked > 0);
    });
}

/// At its n-th read, fails once, having deleted a group.
#[derive(Debug)]
struct Failing {
    inner: Arc<dyn Store>,
    left: AtomicUsize,
    deletes: ObjectKey,
}

#[async_trait]
impl Store for Failing {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        self.inner.put_new(key, bytes).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.inner.delete(&Doomed::condemn(self.deletes.clone())).await?;
            return Err(StoreError::Unavailable { what: "on purpose".to_owned() });
        }
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

/// Two groups of one tree, whose root says "ask". Reading for the first stops half-way and is forgiven,
/// because it went; what had been read must not count for the second.
#[test]
fn a_tree_half_read_when_its_group_went_counts_for_nothing() {
    run(async {
        let settings =
            Settings { pack_len: 1, read_len: 4 << 10, frame_len: 4 << 10, cache_len: 4 << 10, ..small() };
        let world = World::new(store::memory(), 1, settings.clone());
        let depot = world.open().await;
        let noise: Vec<u8> =
            (0..300_u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes().repeat(128)).collect();
        let written = write(&depot, &Disk::new(noise), None, false).await.unwrap();
        for number in [1, 2] {
            depot.seal_group(&manifest(number, written.tree, None)).await.unwrap();
        }
        let all = objects(&world.store).await;
        let mut stopped = 0;
        for nth in 0..24 {
            let store = store::memory();
            for (path, object) in &all {
                store.put_new(&ObjectKey::new(path.as_str()).unwrap(), object.clone()).await.unwrap();
            }
            let manifest = manifest_of(&all, 1);
            let deletes = ObjectKey::new(manifest.as_str()).unwrap();
            let failing = Failing { inner: store.clone(), left: AtomicUsize::new(nth), deletes };
            let world = World {
                store: Arc::new(failing),
                clock: world.clock.clone(),
                dice: world.dice.clone(),
                settings: settings.clone(),
            };
            let report = world.open().await.collect(Margins::STANDARD, &[]).await.unwrap();
            assert_eq!((report.marked, report.refused), (0, None), "stopped at read {nth}");
            stopped += usize::from(!objects(&store).await.contains_key(&manifest));
        }
        assert!(stopped > 3, "{stopped} reads were stopped");
    });
}

fn pack(byte: u8) -> PackName {
    PackName([byte; 32])
}

fn sight(marks: Vec<Mark>, named: &[u8]) -> Sight {
    let marks =
        Marks { depot: DepotId::from_bits(1), number: 4, made: Timestamp::from_seconds(0), packs: marks };
    Sight {
        began: Timestamp::from_seconds(10 * DAY_S),
        now: Timestamp::from_seconds(10 * DAY_S),
        newest: Newest::Read(marks),
        numbers: vec![1, 2, 3, 4],
        packs: [pack(1), pack(2)].into(),
        named: named.iter().map(|byte| pack(*byte).stem()).collect::<HashSet<_>>(),
        fresh: HashMap::new(),
    }
}

#[test]
fn a_decision_for_every_state_a_pack_can_be_in() {
    let now = Timestamp::from_seconds(10 * DAY_S);
    let old = MarkState::Marked { since: Timestamp::from_seconds(9 * DAY_S) };
    let young = MarkState::Marked { since: Timestamp::from_seconds(9 * DAY_S + 1) };
    let future = MarkState::Marked { since: Timestamp::from_seconds(99 * DAY_S) };
    let from_now = MarkState::Marked { since: now };
    let cases = [
        (None, false, Some(from_now)),
        (None, true, None),
        (Some(young), false, Some(young)),
        (Some(young), true, None),
        (Some(old), false, Some(MarkState::Condemned)),
        (Some(old), true, None),
        (Some(future), false, Some(from_now)),
        (Some(MarkState::Condemned), false, Some(MarkState::Condemned)),
        // No pardon: whoever condemned it may be deleting it.
        (Some(MarkState::Condemned), true, Some(MarkState::Condemned)),
    ];
    for (before, named, after) in cases {
        let marks = before.map(|state| Mark { pack: pack(1), state }).into_iter().collect();
        let decision = decide(&sight(marks, if named { &[1, 2] } else { &[2] }), Margins::STANDARD);
        assert_eq!(decision.marks().first().map(|mark| mark.state), after, "{before:?} {named}");
        assert_eq!(decision.condemned() == [pack(1)], after == Some(MarkState::Condemned));
    }
}

#[test]
fn a_mark_of_a_pack_that_is_gone_is_dropped() {
    let gone = Mark { pack: pack(9), state: MarkState::Condemned };
    assert!(decide(&sight(vec![gone], &[1, 2]), Margins::STANDARD).marks().is_empty());
}

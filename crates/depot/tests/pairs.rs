//! The pair table of `gc.rs`, every cell: one operation is stopped before its n-th object operation,
//! another runs from beginning to end, and the first goes on; for every n, both ways round, with
//! and without four days of sleep in between. After each, everything sealed is whole, and what is
//! left over goes in time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use common::{Disk, Hands, World, content, manifest, objects, restore, small, write};
use hikae_depot::{Copier, Depot, DepotError, Depth, Margins, TreeRef};
use model::GroupId;
use store::{Doomed, Listed, ObjectKey, Put, Store, StoreError};
use tokio_util::sync::CancellationToken;

const LONG_S: i64 = 4 * 24 * 3600;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn id(number: u128) -> GroupId {
    GroupId::from_bits(number)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    /// An increment on group 1, sealed as group 2.
    Write,
    /// What was written long ago and marked since, sealed as group 3.
    SealOld,
    Restore,
    Delete,
    Collect,
    /// Visits of days: what the first marks, the later condemn and forget.
    CollectOften,
    Verify,
    /// Group 1 to another depot.
    Copy,
}

impl Op {
    const ALL: [Self; 8] = [
        Self::Write,
        Self::SealOld,
        Self::Restore,
        Self::Delete,
        Self::Collect,
        Self::CollectOften,
        Self::Verify,
        Self::Copy,
    ];

    /// The group it makes, if it succeeds.
    const fn makes(self) -> Option<u128> {
        match self {
            Self::Write => Some(2),
            Self::SealOld => Some(3),
            Self::Restore | Self::Delete | Self::Collect | Self::CollectOften | Self::Verify | Self::Copy => {
                None
            }
        }
    }
}

/// A bucket in which group 1 is sealed, and another tree was written, never sealed, and marked.
struct Start {
    objects: BTreeMap<String, Bytes>,
    elsewhere: BTreeMap<String, Bytes>,
    first: Vec<u8>,
    second: Vec<u8>,
    old: Vec<u8>,
    tree: TreeRef,
    old_tree: TreeRef,
    now: i64,
}

impl Start {
    /// `marked`: the old tree is marked, and its margin over.
    async fn new(marked: bool) -> Self {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        let first = content(90_000, 1);
        let tree = write(&depot, &Disk::new(first.clone()), None, false).await.unwrap().tree;
        depot.seal_group(&manifest(1, tree, None)).await.unwrap();
        let mut old = first.clone();
        old[50_000..].copy_from_slice(&content(40_000, 3));
        let old_tree = write(&depot, &Disk::new(old.clone()), None, false).await.unwrap().tree;
        if marked {
            world.open().await.collect(Margins::STANDARD, &[]).await.unwrap();
            world.clock.advance_s(LONG_S);
        }
        let mut second = first.clone();
        second[30_000..60_000].copy_from_slice(&content(30_000, 2));
        let other = World::new(store::memory(), 2, small());
        other.open().await;
        let (objects, elsewhere) = (objects(&world.store).await, objects(&other.store).await);
        let now = if marked { LONG_S } else { 0 };
        Self { objects, elsewhere, first, second, old, tree, old_tree, now }
    }

    async fn world(&self, seed: u64) -> World {
        let world = World::new(filled(&self.objects).await, seed, small());
        world.clock.advance_s(self.now);
        world
    }
}

async fn filled(objects: &BTreeMap<String, Bytes>) -> Arc<dyn Store> {
    let store = store::memory();
    for (path, object) in objects {
        store.put_new(&ObjectKey::new(path.as_str()).unwrap(), object.clone()).await.unwrap();
    }
    store
}

/// Before its n-th call, something else happens.
struct Stopped {
    inner: Arc<dyn Store>,
    together: bool,
    left: AtomicUsize,
    meanwhile: Mutex<Option<Meanwhile>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopped")
    }
}

impl Stopped {
    fn step(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            let meanwhile = self.meanwhile.lock().unwrap().take();
            if let Some(meanwhile) = meanwhile {
                // A thread of its own has a runtime of its own; this one stands still.
                std::thread::spawn(meanwhile).join().expect("the other operation");
            }
        }
    }
}

#[async_trait]
impl Store for Stopped {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        self.step();
        self.inner.put_new(key, bytes).await
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.step();
        self.inner.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        // Who waits in one process for a frame another is fetching, would wait for ever.
        if !self.together {
            self.step();
        }
        self.inner.get_range(key, range).await
    }
    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.step();
        self.inner.size(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        self.step();
        self.inner.list(prefix, after, limit).await
    }
    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        self.step();
        self.inner.delete(doomed).await
    }
}

/// What an operation said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Group 1 was gone, or its packs were.
    Gone(String),
    /// Collection came first, or the base went: nothing was sealed.
    Lost(DepotError),
}

fn disk_of(start: &Start, op: Op) -> Disk {
    match op {
        Op::Write => Disk::since(start.second.clone(), &start.first),
        _ => Disk::new(start.first.clone()),
    }
}

/// Everything an operation needs is its own: it runs in the middle of another.
async fn perform(op: Op, depot: Arc<Depot>, start: Arc<Start>, clock: Arc<Hands>) -> Outcome {
    match op {
        Op::Write => {
            let disk = disk_of(&start, op);
            let written = match write(&depot, &disk, Some(start.tree), true).await {
                Ok(written) => written,
                Err(error) => return lost(error),
            };
            sealed(depot.seal_group(&manifest(2, written.tree, Some(1))).await)
        }
        Op::SealOld => sealed(depot.seal_group(&manifest(3, start.old_tree, None)).await),
        Op::Restore => match restore(&depot, &start.tree).await {
            Ok(bytes) => {
                assert!(bytes == start.first, "false bytes were restored");
                Outcome::Done
            }
            Err(error @ DepotError::Damaged { .. }) => Outcome::Gone(error.to_string()),
            Err(error) => panic!("restore: {error:?}"),
        },
        Op::Delete => {
            depot.delete_group(id(1)).await.unwrap();
            Outcome::Done
        }
        Op::Collect => {
            visit(&depot).await;
            Outcome::Done
        }
        Op::CollectOften => {
            for _ in 0..4 {
                visit(&depot).await;
                clock.advance_s(LONG_S);
            }
            Outcome::Done
        }
        Op::Verify => {
            let report = depot.verify(Depth::Data, &CancellationToken::new()).await.unwrap();
            assert_eq!(report.findings, [], "damage was reported where there is none");
            Outcome::Done
        }
        Op::Copy => {
            let other = World::new(filled(&start.elsewhere).await, 9, small());
            let to = other.open().await;
            let copier = Copier::new(depot, to.clone()).unwrap();
            match copier.copy(id(1), Arc::new(|_| {}), CancellationToken::new()).await {
                Ok(_) => {
                    let copied = to.group(id(1)).await.unwrap().unwrap();
                    assert!(restore(&to, &copied.disks[0].tree).await.unwrap() == start.first);
                    Outcome::Done
                }
                Err(error) => Outcome::Gone(error.to_string()),
            }
        }
    }
}

/// A visit may find another faster, and nothing else.
async fn visit(depot: &Depot) {
    let report = depot.collect(Margins::STANDARD, &[]).await.unwrap();
    assert!(report.refused.as_ref().is_none_or(|why| why.contains("faster")), "{report:?}");
}

fn sealed(answer: Result<(), DepotError>) -> Outcome {
    match answer {
        Ok(()) => Outcome::Done,
        Err(error) => lost(error),
    }
}

fn lost(error: DepotError) -> Outcome {
    let told = matches!(
        error,
        DepotError::Overtaken { .. } | DepotError::GivenUp { .. } | DepotError::Conflict { .. }
    );
    assert!(told, "{error:?}");
    Outcome::Lost(error)
}

struct Case {
    driven: Op,
    other: Op,
    /// Both in one process.
    together: bool,
    asleep_s: i64,
}

/// One interleaving. False: the driven operation makes fewer calls, and the other came after it.
async fn interleave(start: &Arc<Start>, case: &Case, nth: usize) -> bool {
    let world = start.world(3).await;
    let stopped = Arc::new(Stopped {
        inner: world.store.clone(),
        together: case.together,
        left: AtomicUsize::new(usize::MAX),
        meanwhile: Mutex::default(),
    });
    let process = World {
        store: stopped.clone(),
        clock: world.clock.clone(),
        dice: world.dice.clone(),
        settings: small(),
    };
    let driven = process.open().await;
    let other = if case.together { driven.clone() } else { world.open().await };
    let said = Arc::new(Mutex::new(None));
    let meanwhile = {
        let (case_other, asleep_s, said) = (case.other, case.asleep_s, said.clone());
        let (start, clock) = (start.clone(), world.clock.clone());
        move || {
            let outcome = run(perform(case_other, other, start, clock.clone()));
            *said.lock().unwrap() = Some(outcome);
            clock.advance_s(asleep_s);
        }
    };
    *stopped.meanwhile.lock().unwrap() = Some(Box::new(meanwhile));
    stopped.left.store(nth, Ordering::SeqCst);
    let first = perform(case.driven, driven, start.clone(), world.clock.clone()).await;
    let rest = stopped.meanwhile.lock().unwrap().take();
    let within = rest.is_none();
    if let Some(meanwhile) = rest {
        std::thread::spawn(meanwhile).join().expect("the other operation");
    }
    let second = said.lock().unwrap().take().expect("the other one ran");
    audit(&world, start, case, &first, &second).await;
    within
}

async fn audit(world: &World, start: &Start, case: &Case, first: &Outcome, second: &Outcome) {
    let both = [(case.driven, first), (case.other, second)];
    let deleted = both.iter().any(|(op, _)| *op == Op::Delete);
    for (op, outcome) in both {
        let may_fail = match op {
            // Two that write the same group: one of them has made it.
            Op::Write => deleted || collects(case) || (case.driven == case.other && first != second),
            Op::SealOld => true,
            Op::Restore | Op::Copy => deleted,
            Op::Delete | Op::Collect | Op::CollectOften | Op::Verify => false,
        };
        assert!(*outcome == Outcome::Done || may_fail, "{op:?}: {outcome:?}");
    }
    let mut expected: BTreeMap<GroupId, &Vec<u8>> = BTreeMap::new();
    if !deleted {
        expected.insert(id(1), &start.first);
    }
    for (op, outcome) in both {
        if let (Some(number), Outcome::Done) = (op.makes(), outcome) {
            expected.insert(id(number), if number == 2 { &start.second } else { &start.old });
        }
    }
    whole(world, &expected).await;
    // Whatever was left behind goes, and nothing else.
    let collector = world.open().await;
    for _ in 0..4 {
        world.clock.advance_s(LONG_S);
        visit(&collector).await;
    }
    whole(world, &expected).await;
    let stats = collector.stats().await.unwrap();
    assert_eq!((stats.packs, stats.marked_packs), (stats.needed_packs, 0), "leaked for ever");
}

fn collects(case: &Case) -> bool {
    [case.driven, case.other].iter().any(|op| matches!(op, Op::Collect | Op::CollectOften))
}

/// These groups exist and no others, and each restores byte for byte to one who remembers nothing.
async fn whole(world: &World, expected: &BTreeMap<GroupId, &Vec<u8>>) {
    let reader = world.open().await;
    let mut groups = reader.groups().await.unwrap();
    groups.sort_unstable();
    assert_eq!(groups, expected.keys().copied().collect::<Vec<_>>());
    for (group, bytes) in expected {
        let manifest = reader.group(*group).await.unwrap().unwrap();
        let restored = restore(&reader, &manifest.disks[0].tree).await;
        assert!(restored.as_ref() == Ok(*bytes), "a hole in {group}: {:?}", restored.err());
    }
    let report = reader.verify(Depth::Data, &CancellationToken::new()).await.unwrap();
    assert_eq!(report.findings, []);
}

/// All other operations against this one, in every place. Answers how many interleavings there were.
fn against_all(driven: Op) -> usize {
    run(async {
        let mut cases = 0;
        for marked in [true, false] {
            let start = Arc::new(Start::new(marked).await);
            for other in Op::ALL {
                // One that holds its turn to upload would wait for itself.
                let both_write = |op: Op| matches!(op, Op::Write | Op::SealOld | Op::Copy);
                for together in [false, true] {
                    if together && (both_write(driven) && both_write(other) || !marked) {
                        continue;
                    }
                    for asleep_s in [0, LONG_S] {
                        let case = Case { driven, other, together, asleep_s };
                        let mut nth = 0;
                        while interleave(&start, &case, nth).await {
                            nth += 1;
                        }
                        cases += nth + 1;
                    }
                }
            }
        }
        println!("{driven:?}: {cases} interleavings");
        cases
    })
}

#[test]
fn a_write_stopped_anywhere() {
    assert!(against_all(Op::Write) > 500);
}

#[test]
fn a_seal_of_marked_packs_stopped_anywhere() {
    assert!(against_all(Op::SealOld) > 200);
}

#[test]
fn a_restore_stopped_anywhere() {
    assert!(against_all(Op::Restore) > 200);
}

#[test]
fn a_deletion_stopped_anywhere() {
    assert!(against_all(Op::Delete) > 30);
}

#[test]
fn a_visit_stopped_anywhere() {
    assert!(against_all(Op::Collect) > 200);
}

#[test]
fn visits_of_days_stopped_anywhere() {
    assert!(against_all(Op::CollectOften) > 500);
}

#[test]
fn a_verification_stopped_anywhere() {
    assert!(against_all(Op::Verify) > 200);
}

#[test]
fn a_copy_stopped_anywhere() {
    assert!(against_all(Op::Copy) > 200);
}

//! A copy restores as what it was made from, costs what differs, and made twice is one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::{Disk, SECTOR, World, content, manifest, objects, restore, small, write};
use hikae_depot::{
    CopiedGroup, Copier, CopyBase, CopyDisk, CopyError, Depot, DepotError, Geometry, Margins, Settings,
    TreeRef, WrittenDisk,
};
use model::{DiskId, GroupId, Timestamp};
use proptest::prelude::*;
use store::{Counting, Fault, Faulty, ObjectKey, Operation, Script};
use tokio_util::sync::CancellationToken;

const CHUNK: usize = 4096;
const DAY_S: i64 = 24 * 3600;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn id(number: u128) -> GroupId {
    GroupId::from_bits(number)
}

async fn copy(from: &Arc<Depot>, to: &Arc<Depot>, group: u128) -> Result<CopiedGroup, CopyError> {
    let copier = Copier::new(from.clone(), to.clone()).unwrap();
    copier.copy(id(group), Arc::new(|_| {}), CancellationToken::new()).await
}

async fn copy_disk(
    from: &Arc<Depot>,
    to: &Depot,
    tree: TreeRef,
    base: Option<CopyBase>,
) -> Result<WrittenDisk, CopyError> {
    let job = CopyDisk { tree, base, progress: Arc::new(|_| {}), cancel: CancellationToken::new() };
    from.copy_disk(to, job).await
}

/// Stores a group as an increment of another.
async fn backup(depot: &Depot, number: u128, bytes: &[u8], base: Option<(u128, &[u8])>) {
    let (tree, disk) = match base {
        Some((base, was)) => {
            let found = depot.group(id(base)).await.unwrap().unwrap();
            (Some(found.disks[0].tree), Disk::since(bytes.to_vec(), was))
        }
        None => (None, Disk::new(bytes.to_vec())),
    };
    let written = write(depot, &disk, tree, tree.is_some()).await.unwrap();
    let mut group = manifest(number, written.tree, base.map(|(base, _)| base));
    group.taken = Timestamp(i64::try_from(number).unwrap());
    depot.seal_group(&group).await.unwrap();
}

async fn restored(depot: &Depot, number: u128) -> Vec<u8> {
    let group = depot.group(id(number)).await.unwrap().expect("the group");
    restore(depot, &group.disks[0].tree).await.unwrap()
}

#[derive(Debug, Clone)]
enum Op {
    Edit { at: usize, len: usize, seed: u64 },
    Resize(usize),
    Backup { base: Option<usize> },
    Copy { group: usize, back: bool },
    Delete { group: usize, there: bool },
    Collect { there: bool, after_s: i64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<usize>(), 1_usize..120, 0_u64..9).prop_map(|(at, len, seed)| Op::Edit { at, len, seed }),
        1 => (0_usize..200_000).prop_map(Op::Resize),
        4 => prop::option::weighted(0.8, any::<usize>()).prop_map(|base| Op::Backup { base }),
        5 => (any::<usize>(), prop::bool::weighted(0.3)).prop_map(|(group, back)| Op::Copy { group, back }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(group, there)| Op::Delete { group, there }),
        1 => (any::<bool>(), prop::sample::select(vec![0, 2 * DAY_S, 5 * DAY_S]))
            .prop_map(|(there, after_s)| Op::Collect { there, after_s }),
    ]
}

/// Two depots, one copier each way, and what each group must restore to.
struct Model {
    worlds: [World; 2],
    depots: [Arc<Depot>; 2],
    copiers: [Copier; 2],
    groups: [BTreeMap<u128, Vec<u8>>; 2],
    disk: Vec<u8>,
    next: u128,
}

impl Model {
    async fn new(there: Geometry) -> Self {
        let worlds = [
            World::new(store::memory(), 1, small()),
            World::new(store::memory(), 2, Settings { geometry: there, ..small() }),
        ];
        let depots = [worlds[0].open().await, worlds[1].open().await];
        let copier = |from: usize, to: usize| Copier::new(depots[from].clone(), depots[to].clone()).unwrap();
        let copiers = [copier(0, 1), copier(1, 0)];
        Self { worlds, depots, copiers, groups: Default::default(), disk: content(90_000, 1), next: 1 }
    }

    fn nth(&self, side: usize, nth: usize) -> Option<u128> {
        let groups = &self.groups[side];
        (!groups.is_empty()).then(|| *groups.keys().nth(nth % groups.len()).unwrap())
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
            Op::Backup { base } => {
                let base = base.and_then(|nth| self.nth(0, nth));
                let was = base.map(|base| (base, self.groups[0][&base].as_slice()));
                backup(&self.depots[0], self.next, &self.disk, was).await;
                self.groups[0].insert(self.next, self.disk.clone());
                self.next += 1;
            }
            Op::Copy { group, back } => {
                let (from, to) = if back { (1, 0) } else { (0, 1) };
                let Some(group) = self.nth(from, group) else { return };
                let copied =
                    self.copiers[from].copy(id(group), Arc::new(|_| {}), CancellationToken::new()).await;
                assert_eq!(copied.unwrap().was_there, self.groups[to].contains_key(&group));
                let bytes = self.groups[from][&group].clone();
                self.groups[to].insert(group, bytes);
            }
            Op::Delete { group, there } => {
                let side = usize::from(there);
                let Some(group) = self.nth(side, group) else { return };
                self.depots[side].delete_group(id(group)).await.unwrap();
                self.groups[side].remove(&group);
            }
            Op::Collect { there, after_s } => {
                let side = usize::from(there);
                self.worlds[side].clock.advance_s(after_s);
                let report = self.depots[side].collect(Margins::STANDARD, &[]).await.unwrap();
                assert_eq!(report.refused, None);
            }
        }
    }

    async fn check(&self) {
        for side in 0..2 {
            let fresh = self.worlds[side].open().await;
            assert_eq!(fresh.groups().await.unwrap().len(), self.groups[side].len());
            for (group, bytes) in &self.groups[side] {
                assert!(restored(&fresh, *group).await == *bytes, "group {group} of depot {side}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Whatever is edited, resized, backed up, copied there and back, deleted and collected: every
    /// group of either depot restores to what it was.
    #[test]
    fn copies_restore_as_what_they_were_made_from(
        ops in prop::collection::vec(op(), 1..24),
        there in prop::sample::select(vec![(12, 3, 3), (14, 3, 4)]),
    ) {
        run(async {
            let mut model = Model::new(Geometry::new(there.0, there.1, there.2).unwrap()).await;
            for op in ops {
                model.apply(op).await;
            }
            model.check().await;
        });
    }
}

/// Two depots whose calls are counted, the second one cold.
struct Counted {
    stores: [Arc<Counting>; 2],
    worlds: [World; 2],
}

impl Counted {
    fn new() -> Self {
        let stores = [0, 1].map(|_| Arc::new(Counting::new(store::memory())));
        let worlds = [World::new(stores[0].clone(), 1, small()), World::new(stores[1].clone(), 2, small())];
        Self { stores, worlds }
    }

    async fn open(&self) -> [Arc<Depot>; 2] {
        [self.worlds[0].open().await, self.worlds[1].open().await]
    }

    fn calls(&self, side: usize) -> u64 {
        Operation::ALL.iter().map(|operation| self.stores[side].tally(*operation).calls).sum()
    }

    fn put_bytes(&self) -> u64 {
        self.stores[1].tally(Operation::PutNew).bytes
    }

    fn got_bytes(&self) -> u64 {
        self.stores[0].tally(Operation::Get).bytes + self.stores[0].tally(Operation::GetRange).bytes
    }
}

/// Calls on either side, bytes got and bytes put, of copying one small change.
async fn cost_of_one_change(len: usize, others: u128) -> [u64; 4] {
    let counted = Counted::new();
    let [from, to] = counted.open().await;
    for other in 0..others {
        backup(&from, 100 + other, &content(60_000, 100 + u64::try_from(other).unwrap()), None).await;
        copy(&from, &to, 100 + other).await.unwrap();
    }
    let mut first = content(len, 3);
    first.resize(len, 0);
    backup(&from, 1, &first, None).await;
    copy(&from, &to, 1).await.unwrap();
    let mut second = first.clone();
    second[5_000] ^= 1;
    second[len / 2..len / 2 + 9_000].copy_from_slice(&content(9_000, 9));
    backup(&from, 2, &second, Some((1, &first))).await;

    // Nobody remembers anything.
    let [from, to] = counted.open().await;
    let before = [counted.calls(0), counted.calls(1), counted.got_bytes(), counted.put_bytes()];
    let copied = copy(&from, &to, 2).await.unwrap();
    let after = [counted.calls(0), counted.calls(1), counted.got_bytes(), counted.put_bytes()];
    assert_eq!(copied.disks[0].base.map(model::SnapshotId::bits), Some(1));
    assert!(copied.disks[0].bytes_read.0 <= 64 << 10, "{:?}", copied.disks[0].bytes_read);
    assert!(restored(&*counted.worlds[1].open().await, 2).await == second);
    std::array::from_fn(|nth| after[nth] - before[nth])
}

#[test]
fn it_costs_what_differs_and_not_what_exists() {
    run(async {
        let small = cost_of_one_change(400_000, 0).await;
        let crowded = cost_of_one_change(400_000, 12).await;
        let large = cost_of_one_change(6_400_000, 0).await;
        println!(
            "calls from, calls to, bytes got, bytes put: {small:?}; crowded {crowded:?}; large {large:?}"
        );
        // Where holes lie differs a little from disk to disk.
        for (crowded, small) in crowded.iter().zip(&small).take(2) {
            assert!(crowded.abs_diff(*small) <= 2, "calls grow with other groups");
        }
        assert!(crowded[2].abs_diff(small[2]) < 200 && crowded[3].abs_diff(small[3]) < 200);
        // Sixteen times the disk: one or two more levels of either tree, of two nodes each.
        for (large, small) in large.iter().zip(&small).take(2) {
            assert!(large - small <= 24, "{large} calls against {small}");
        }
        assert!(large[3] < small[3] + 8_000, "{} bytes put against {}", large[3], small[3]);
    });
}

/// A hole that a disk grew by is known to be one, and so is what it lost.
#[test]
fn holes_of_a_disk_that_changed_its_size_are_not_read() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        let (from, to) = (here.open().await, there.open().await);
        let first = vec![7; 100_000];
        let grown = [first.clone(), vec![0; 4 << 20]].concat();
        let shrunk = first[..50_000].to_vec();
        backup(&from, 1, &first, None).await;
        backup(&from, 2, &grown, Some((1, &first))).await;
        backup(&from, 3, &shrunk, Some((2, &grown))).await;
        copy(&from, &to, 1).await.unwrap();
        for (number, bytes) in [(2, grown), (3, shrunk)] {
            let copied = copy(&from, &to, number).await.unwrap();
            assert!(copied.disks[0].base.is_some());
            let read = copied.disks[0].bytes_read.0;
            assert!(read <= 2 * CHUNK as u64, "{read} bytes read for {}", bytes.len());
            assert!(restored(&*there.open().await, number).await == bytes);
        }
    });
}

/// More differences than one search for them takes, and more leaves.
#[test]
fn many_small_changes_all_go_over() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        let (from, to) = (here.open().await, there.open().await);
        let first = content(12 << 20, 1);
        backup(&from, 1, &first, None).await;
        copy(&from, &to, 1).await.unwrap();
        let mut second = first.clone();
        for chunk in second.chunks_mut(CHUNK).step_by(2) {
            chunk[7] ^= 1;
        }
        backup(&from, 2, &second, Some((1, &first))).await;
        let copied = copy(&from, &to, 2).await.unwrap();
        assert_eq!(copied.disks[0].bytes_read.0, 6 << 20);
        for (number, bytes) in [(1, first), (2, second)] {
            assert!(restored(&*there.open().await, number).await == bytes);
        }
    });
}

#[test]
fn a_copy_made_twice_is_one() {
    run(async {
        let counted = Counted::new();
        let [from, to] = counted.open().await;
        backup(&from, 1, &content(300_000, 1), None).await;
        assert!(!copy(&from, &to, 1).await.unwrap().was_there);
        let before = (counted.stores[1].tally(Operation::PutNew), objects(&counted.worlds[1].store).await);
        assert!(copy(&from, &to, 1).await.unwrap().was_there);
        assert!(
            before == (counted.stores[1].tally(Operation::PutNew), objects(&counted.worlds[1].store).await)
        );
    });
}

/// Another process copies the same group while this one writes: both are told that it is there, once.
#[test]
fn two_copies_of_a_group_at_once_are_one() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        let (from, to) = (here.open().await, there.open().await);
        let bytes = content(300_000, 1);
        backup(&from, 1, &bytes, None).await;
        let other = (here.open().await, there.open().await);
        let faster = move || run(async { copy(&other.0, &other.1, 1).await.unwrap().was_there });
        let faster = std::sync::Mutex::new(Some(faster));
        let progress = Arc::new(move |_| {
            let Some(copy) = faster.lock().unwrap().take() else { return };
            assert!(!std::thread::spawn(copy).join().unwrap());
        });
        let copied = Copier::new(from, to).unwrap().copy(id(1), progress, CancellationToken::new()).await;
        assert!(copied.unwrap().was_there);
        let manifests = objects(&there.store).await.keys().filter(|path| path.starts_with("groups/")).count();
        assert_eq!(manifests, 1);
        assert!(restored(&*there.open().await, 1).await == bytes);
    });
}

/// What was put before a failure is found again: nothing goes over twice.
#[test]
fn a_copy_that_failed_is_taken_up_where_it_was() {
    run(async {
        let from = World::new(store::memory(), 1, small()).open().await;
        let bytes = content(400_000, 1);
        backup(&from, 1, &bytes, None).await;
        let calls = {
            let faulty = Arc::new(Faulty::new(store::memory(), Script::Never));
            let to = World::new(faulty.clone(), 2, small()).open().await;
            copy(&from, &to, 1).await.unwrap();
            faulty.calls()
        };
        for fault in [Fault::Unavailable, Fault::LostAfter] {
            for at in 5..calls {
                let faulty = Arc::new(Faulty::new(store::memory(), Script::Never));
                let world = World::new(faulty.clone(), 2, small());
                let to = world.open().await;
                faulty.follow(Script::From(at, fault));
                let failed = copy(&from, &to, 1).await;
                faulty.follow(Script::Never);
                if let Err(error) = failed {
                    assert!(matches!(error, CopyError::To(_)) && error.is_transient(), "{at}: {error}");
                }
                copy(&from, &to, 1).await.unwrap();
                assert!(restored(&*world.open().await, 1).await == bytes, "{fault:?} at {at}");
                // Once more than one copy takes only by the pack that was in doubt.
                let stored: usize = objects(&world.store).await.values().map(Bytes::len).sum();
                assert!(stored < bytes.len() + 120_000, "{stored} bytes after {fault:?} at {at}");
            }
        }
    });
}

#[test]
fn damage_over_here_is_told_from_damage_over_there() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        backup(&*here.open().await, 1, &content(300_000, 1), None).await;
        let mut broken = World::new(store::memory(), 3, small());
        for (path, bytes) in objects(&here.store).await {
            let mut bytes = bytes.to_vec();
            if path.starts_with("packs/") {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            broken.store.put_new(&ObjectKey::new(path).unwrap(), bytes.into()).await.unwrap();
        }
        broken.dice = common::Dice::new(4);
        let (from, to) = (broken.open().await, there.open().await);
        let error = copy(&from, &to, 1).await.unwrap_err();
        assert!(matches!(error, CopyError::From(DepotError::Damaged { .. })), "{error}");
        assert_eq!(to.groups().await, Ok(Vec::new()));
    });
}

#[test]
fn another_group_under_the_same_id_is_left_alone() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        let (from, to) = (here.open().await, there.open().await);
        backup(&from, 1, &content(30_000, 1), None).await;
        backup(&to, 1, &content(30_000, 1), None).await;
        let error = copy(&from, &to, 1).await.unwrap_err();
        assert_eq!(error, CopyError::To(DepotError::Conflict { group: id(1) }));
    });
}

#[test]
fn a_cancelled_copy_makes_no_group() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        let (from, to) = (here.open().await, there.open().await);
        backup(&from, 1, &content(300_000, 1), None).await;
        let cancel = CancellationToken::new();
        let canceller = cancel.clone();
        let copier = Copier::new(from, to.clone()).unwrap();
        let progress = Arc::new(move |_| canceller.cancel());
        let error = copier.copy(id(1), progress, cancel).await.unwrap_err();
        assert_eq!(error, CopyError::To(DepotError::Cancelled));
        assert_eq!(to.groups().await, Ok(Vec::new()));
    });
}

/// The chain between two snapshots is gone: the nearest in time that both have serves.
#[test]
fn a_lost_chain_costs_no_second_copy() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        let (from, to) = (here.open().await, there.open().await);
        let bytes = content(300_000, 1);
        for number in [1, 3, 9] {
            let mut edited = bytes.clone();
            edited[usize::try_from(number).unwrap() * 10_000] ^= 1;
            backup(&from, number, &edited, None).await;
        }
        for (number, base) in [(1, None), (9, Some(1)), (3, Some(1))] {
            let copied = copy(&from, &to, number).await.unwrap();
            assert_eq!(copied.disks[0].base.map(model::SnapshotId::bits), base);
        }
    });
}

/// The same ids are not enough: a base must be known to be the same bytes, or the copy would be wrong.
#[test]
fn a_base_of_other_content_is_no_base() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        let (from, to) = (here.open().await, there.open().await);
        let (first, second) = (content(100_000, 1), content(100_000, 2));
        backup(&from, 1, &first, None).await;
        backup(&from, 2, &second, Some((1, &first))).await;
        backup(&to, 1, &content(100_000, 3), None).await;
        let copied = copy(&from, &to, 2).await.unwrap();
        assert_eq!(copied.disks[0].base, None);
        assert!(restored(&to, 2).await == second);
    });
}

#[test]
fn a_base_of_another_disk_or_size_is_refused() {
    run(async {
        let (here, there) =
            (World::new(store::memory(), 1, small()), World::new(store::memory(), 2, small()));
        let (from, to) = (here.open().await, there.open().await);
        backup(&from, 1, &content(50_000, 1), None).await;
        let here = from.group(id(1)).await.unwrap().unwrap().disks[0].tree;
        let other = write(&to, &Disk::new(content(40_000, 1)), None, false).await.unwrap().tree;
        let base = CopyBase { here, there: other };
        let error = copy_disk(&from, &to, here, Some(base)).await.unwrap_err();
        assert!(matches!(error, CopyError::To(DepotError::Invalid(_))), "{error}");
        assert!(matches!(Copier::new(from.clone(), from.clone()), Err(DepotError::Invalid(_))));
        // The same content under another disk's name is no base either: bases are of one disk.
        let mut group = manifest(2, here, None);
        group.disks[0].disk = DiskId::from_bits(2);
        from.seal_group(&group).await.unwrap();
        copy(&from, &to, 1).await.unwrap();
        assert_eq!(copy(&from, &to, 2).await.unwrap().disks[0].base, None);
    });
}

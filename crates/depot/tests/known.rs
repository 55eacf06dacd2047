//! What is remembered of chunks saves work and never costs a snapshot, whatever became of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Disk, Hands, World, content, manifest, objects, restore, small, write};
use hikae_depot::{Depot, Margins, Settings};
use model::GroupId;
use store::{Counting, Fault, Faulty, Operation, Script, Store};
use tempfile::TempDir;

const DAY_S: i64 = 24 * 3600;

/// A bucket whose calls are counted, and a folder for what is remembered.
struct Bench {
    folder: TempDir,
    counting: Arc<Counting>,
    clock: Arc<Hands>,
}

impl Bench {
    fn new() -> Self {
        let counting = Arc::new(Counting::new(store::memory()));
        Self { folder: TempDir::new().unwrap(), counting, clock: Hands::new() }
    }

    fn world(&self, seed: u64, settings: Settings) -> World {
        let store: Arc<dyn Store> = self.counting.clone();
        World { clock: self.clock.clone(), ..World::new(store, seed, settings) }
    }

    /// A process that keeps what it knows.
    async fn open(&self, seed: u64) -> Arc<Depot> {
        let known_folder = Some(self.folder.path().to_owned());
        self.world(seed, Settings { known_folder, ..small() }).open().await
    }

    /// Another process, which keeps nothing.
    async fn other(&self, seed: u64) -> Arc<Depot> {
        self.world(seed, small()).open().await
    }

    fn packs_put(&self) -> u64 {
        self.counting.tally(Operation::PutNew).bytes
    }

    fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found.sort();
        found
    }
}

/// Backs up; answers what it took.
async fn backup(bench: &Bench, depot: &Depot, number: u128, bytes: &[u8]) -> u64 {
    let before = bench.packs_put();
    let written = write(depot, &Disk::new(bytes.to_vec()), None, false).await.unwrap();
    depot.seal_group(&manifest(number, written.tree, None)).await.unwrap();
    bench.packs_put() - before
}

async fn check(bench: &Bench, number: u128, bytes: &[u8]) {
    let depot = bench.other(99).await;
    let group = depot.group(GroupId::from_bits(number)).await.unwrap().unwrap();
    assert!(restore(&depot, &group.disks[0].tree).await.unwrap() == bytes, "group {number}");
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = content(len, seed);
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[tokio::test]
async fn what_one_process_stored_the_next_one_knows() {
    let bench = Bench::new();
    let bytes = noise(300_000, 1);
    let whole = backup(&bench, &*bench.open(1).await, 1, &bytes).await;
    let again = backup(&bench, &*bench.open(2).await, 2, &bytes).await;
    assert!(whole > 300_000 && again < 12_000, "{whole} and then {again}");
    // The same without a folder, so that it is the folder that saves.
    assert!(backup(&bench, &*bench.other(3).await, 3, &bytes).await > 300_000);
    for number in 1..4 {
        check(&bench, number, &bytes).await;
    }
}

/// Every byte of the files, one after the other, flipped, cut off there, or the file emptied: nothing
/// changes but what is stored.
#[tokio::test]
async fn files_that_lie_are_not_believed() {
    let bench = Bench::new();
    let bytes = noise(20_000, 1);
    backup(&bench, &*bench.open(1).await, 1, &bytes).await;
    let [file] = &bench.files()[..] else { panic!("one pack makes one file") };
    let sound = fs::read(file).unwrap();
    let mut number = 2;
    for at in (0..sound.len()).step_by(7).chain([sound.len() - 1]) {
        let mut flipped = sound.clone();
        flipped[at] ^= 1 << (at % 8);
        for lie in [flipped, sound[..at].to_vec()] {
            for file in bench.files() {
                fs::remove_file(file).unwrap();
            }
            fs::write(file, &lie).unwrap();
            let stored =
                backup(&bench, &*bench.open(u64::try_from(number).unwrap()).await, number, &bytes).await;
            assert!(stored > 20_000, "a lie at {at} was believed");
            check(&bench, number, &bytes).await;
            assert_ne!(fs::read(file).ok().as_ref(), Some(&lie), "a lie at {at} was kept");
            number += 1;
        }
    }
}

/// A file under the name of another pack, and the files of another depot.
#[tokio::test]
async fn files_in_the_wrong_place_are_not_believed() {
    let bench = Bench::new();
    let (one, two) = (noise(20_000, 1), noise(20_000, 2));
    let depot = bench.open(1).await;
    backup(&bench, &depot, 1, &one).await;
    let first = bench.files().remove(0);
    backup(&bench, &depot, 2, &two).await;
    let second = bench.files().into_iter().find(|file| *file != first).unwrap();
    fs::rename(&first, &second).unwrap();
    for (number, bytes) in [(3, &one), (4, &two)] {
        assert!(backup(&bench, &*bench.open(3).await, number, bytes).await > 20_000);
        check(&bench, number, bytes).await;
    }

    // Another depot's folder under this one's name.
    let other = Bench::new();
    let here = bench.files()[0].parent().unwrap().to_owned();
    backup(&other, &*other.open(7).await, 1, &one).await;
    let there = other.files()[0].parent().unwrap().to_owned();
    fs::remove_dir_all(&there).unwrap();
    fs::rename(&here, &there).unwrap();
    assert!(backup(&other, &*other.open(8).await, 2, &one).await > 20_000);
    check(&other, 2, &one).await;
}

/// An old copy of the folder comes back when the packs it speaks of have been collected: asked for,
/// they are not there, and the backup stores anew at its first try.
#[tokio::test]
async fn a_stale_folder_names_packs_that_are_gone() {
    let bench = Bench::new();
    let bytes = noise(100_000, 1);
    backup(&bench, &*bench.open(1).await, 1, &bytes).await;
    let old: Vec<(PathBuf, Vec<u8>)> =
        bench.files().into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect();
    let other = bench.other(2).await;
    other.delete_group(GroupId::from_bits(1)).await.unwrap();
    // Marked, deleted, and forgotten by the marks too.
    for _ in 0..3 {
        bench.clock.advance_s(5 * DAY_S);
        assert_eq!(other.collect(Margins::STANDARD, &[]).await.unwrap().refused, None);
    }
    assert!(!objects(&bench.world(5, small()).store).await.keys().any(|path| path.starts_with("packs/")));
    for (file, bytes) in old {
        fs::write(file, bytes).unwrap();
    }
    assert!(backup(&bench, &*bench.open(3).await, 2, &bytes).await > 100_000);
    check(&bench, 2, &bytes).await;
}

/// The same with a process that never stopped and never heard of the collection.
#[tokio::test]
async fn a_process_that_slept_through_a_collection_asks_again() {
    let bench = Bench::new();
    let (bytes, kept) = (noise(100_000, 1), noise(100_000, 2));
    let sleeper = bench.open(1).await;
    backup(&bench, &sleeper, 1, &bytes).await;
    backup(&bench, &sleeper, 2, &kept).await;
    let other = bench.other(2).await;
    other.delete_group(GroupId::from_bits(1)).await.unwrap();
    for _ in 0..3 {
        bench.clock.advance_s(5 * DAY_S);
        assert_eq!(other.collect(Margins::STANDARD, &[]).await.unwrap().refused, None);
    }
    assert!(backup(&bench, &sleeper, 3, &bytes).await > 100_000);
    check(&bench, 3, &bytes).await;
    // What was not collected is still known: marks are no reason to forget everything.
    assert!(backup(&bench, &sleeper, 4, &kept).await < 12_000);
    check(&bench, 4, &kept).await;
}

/// A pack somebody else's collector has marked is left alone, though it is still there: a group that
/// named it would be overtaken.
#[tokio::test]
async fn marked_packs_are_not_used_again() {
    let bench = Bench::new();
    let bytes = noise(100_000, 1);
    let writer = bench.open(1).await;
    backup(&bench, &writer, 1, &bytes).await;
    let other = bench.other(2).await;
    other.delete_group(GroupId::from_bits(1)).await.unwrap();
    bench.clock.advance_s(5 * DAY_S);
    let report = other.collect(Margins::STANDARD, &[]).await.unwrap();
    assert!(report.marked > 0 && report.deleted == 0, "{report:?}");
    // By the process that put them, and by one that has it from the folder.
    for (number, depot) in [(2, writer), (3, bench.open(3).await)] {
        let written = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
        depot.seal_group(&manifest(number, written.tree, None)).await.expect("sealed at the first try");
        check(&bench, number, &bytes).await;
    }
}

/// A pack whose upload failed, or nobody can tell, is not known: the next backup must store it.
#[tokio::test]
async fn what_was_not_certainly_put_is_not_known() {
    for fault in [Fault::Unavailable, Fault::LostBefore, Fault::NoSpace] {
        let folder = TempDir::new().unwrap();
        let faulty = Arc::new(Faulty::new(store::memory(), Script::Never));
        let settings = Settings { known_folder: Some(folder.path().to_owned()), ..small() };
        let world = World::new(faulty.clone(), 1, settings);
        let depot = world.open().await;
        let bytes = noise(40_000, 1);
        // At its first call, or after it has looked for marks: when it puts its pack.
        for calls in 0..2 {
            faulty.follow(Script::From(faulty.calls() + calls, fault));
            write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap_err();
        }
        faulty.follow(Script::Never);
        for (number, depot) in [(1, depot), (2, world.open().await)] {
            let written = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
            depot.seal_group(&manifest(number, written.tree, None)).await.expect("nothing is missing");
            assert!(restore(&*world.open().await, &written.tree).await.unwrap() == bytes);
        }
    }
}

/// A pack that was cut short since it was learned of serves nobody any more.
#[tokio::test]
async fn a_pack_too_short_for_what_is_known_of_it_is_not_used() {
    let bench = Bench::new();
    let bytes = noise(100_000, 1);
    backup(&bench, &*bench.open(1).await, 1, &bytes).await;
    let short: Arc<dyn Store> = store::memory();
    for (path, object) in objects(&bench.world(5, small()).store).await {
        let len = if path.starts_with("packs/") { object.len() / 2 } else { object.len() };
        let key = store::ObjectKey::new(path).unwrap();
        short.put_new(&key, object.slice(..len)).await.unwrap();
    }
    let settings = Settings { known_folder: Some(bench.folder.path().to_owned()), ..small() };
    let world = World::new(short, 6, settings);
    let depot = world.open().await;
    let written = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
    depot.seal_group(&manifest(2, written.tree, None)).await.unwrap();
    assert!(restore(&depot, &written.tree).await.unwrap() == bytes);
}

/// Memory and folder hold no more than they may; what is left is what was used last.
#[tokio::test]
async fn memory_and_folder_are_bounded() {
    let bench = Bench::new();
    let known_folder = Some(bench.folder.path().to_owned());
    // Chunks of 4 KiB: room for 120 KB, three of the six disks.
    let settings = Settings { known_chunks: 30, known_folder, ..small() };
    let depot = bench.world(1, settings.clone()).open().await;
    for number in 1..7_u32 {
        backup(&bench, &depot, u128::from(number), &noise(40_000, u64::from(number))).await;
        let len: u64 = bench.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(bench.files().len() <= 3 && len < 3_000, "{len} bytes in the folder");
    }
    for (number, known) in [(6_u32, true), (5, true), (1, false)] {
        let stored = backup(&bench, &depot, u128::from(10 + number), &noise(40_000, u64::from(number))).await;
        assert_eq!(stored < 12_000, known, "{stored} bytes for disk {number}");
    }
    // A process with less room takes what fits, and the rest goes.
    let tight = bench.world(2, Settings { known_chunks: 10, ..settings }).open().await;
    backup(&bench, &tight, 30, &noise(4_000, 30)).await;
    assert!(bench.files().len() <= 2);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_costs_nothing_but_space() {
    let bench = Bench::new();
    let file = bench.folder.path().join("in the way");
    fs::write(&file, b"a file where a folder should be").unwrap();
    let settings = Settings { known_folder: Some(file), ..small() };
    let bytes = noise(40_000, 1);
    for number in [1, 2] {
        let depot = bench.world(u64::try_from(number).unwrap(), settings.clone()).open().await;
        assert!(backup(&bench, &depot, number, &bytes).await > 40_000);
        check(&bench, number, &bytes).await;
    }
}

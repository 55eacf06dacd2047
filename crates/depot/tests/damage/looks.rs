//! What verify promises of itself: how much it reads, what it tells, when it ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use hikae_depot::{Depot, DepotError, Depth, Settings, Verified};
use model::{Extent, GroupId};
use store::{Counting, Operation};
use tokio_util::sync::CancellationToken;

use crate::common::{Disk, World, content, manifest, objects, small, write};
use crate::{bucket, run};

/// A disk, and so many increments of it.
async fn chain(world: &World, increments: u128) -> Vec<u8> {
    let depot = world.open().await;
    let mut bytes = content(600_000, 3);
    let mut base = None;
    for number in 1..=increments + 1 {
        let written = write(&depot, &Disk::new(bytes.clone()), base, false).await.unwrap();
        depot.seal_group(&manifest(number, written.tree, (number > 1).then(|| number - 1))).await.unwrap();
        base = Some(written.tree);
        let at = usize::try_from(number).unwrap() * 20_000;
        bytes[at..at + 5000].copy_from_slice(&content(5000, 90 + u64::try_from(number).unwrap()));
    }
    bytes
}

#[test]
fn many_snapshots_that_share_cost_little_more_than_one() {
    let read = |increments| {
        run(async move {
            let inner = store::memory();
            let world = World::new(inner.clone(), 1, small());
            chain(&world, increments).await;
            let stored: usize = objects(&inner).await.values().map(bytes::Bytes::len).sum();
            let counting = Arc::new(Counting::new(inner));
            let world = World { store: counting.clone(), ..world };
            let depot = world.open().await;
            let read = || counting.tally(Operation::Get).bytes + counting.tally(Operation::GetRange).bytes;
            let before = read();
            let report = depot.verify(Depth::Data, &CancellationToken::new()).await.unwrap();
            assert_eq!(
                (&report.findings, report.groups),
                (&vec![], usize::try_from(increments).unwrap() + 1)
            );
            let all = read() - before;
            // Each object once; manifests, key slots, heads of packs and nodes, which are small, again.
            assert!(all <= stored as u64 * 9 / 8 + 8192 * report.groups as u64, "{all} of {stored}");
            (report.chunks, all)
        })
    };
    let ((chunks_of_one, one), (chunks_of_many, many)) = (read(0), read(10));
    // Ten increments of two or three chunks each.
    assert!(chunks_of_many <= chunks_of_one + 30, "{chunks_of_many} chunks, {chunks_of_one} in the first");
    assert!(many < one * 2, "{many} bytes for eleven snapshots, {one} for the first");
}

#[test]
fn a_finding_names_all_who_share_what_is_broken() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        chain(&world, 4).await;
        let sound = objects(&world.store).await;
        let mut shared = 0;
        for (path, bytes) in sound.iter().filter(|(path, _)| path.starts_with("packs/")) {
            let mut broken = sound.clone();
            let mut bytes = bytes.to_vec();
            bytes[100] ^= 1;
            broken.insert(path.clone(), bytes.into());
            // Side by side or one after the other: the same is said.
            let mut reports = Vec::new();
            for parallelism in [1, 3] {
                let settings = Settings { parallelism, ..small() };
                let depot = World::new(bucket(&broken).await, 2, settings).open().await;
                reports.push(depot.verify(Depth::Data, &CancellationToken::new()).await.unwrap());
            }
            assert_eq!(reports[0], reports[1]);
            let depot = World::new(bucket(&broken).await, 2, small()).open().await;
            assert_eq!(reports[0].findings.len(), 1);
            let hurts = &reports[0].findings[0].hurts;
            let told: BTreeSet<GroupId> = hurts.iter().map(|hurt| hurt.group).collect();
            let mut hurt = BTreeSet::new();
            for group in depot.groups().await.unwrap() {
                let tree = depot.group(group).await.unwrap().unwrap().disks[0].tree;
                if depot.read(&tree, Extent { offset: 0, len: tree.size }).await.is_err() {
                    hurt.insert(group);
                }
            }
            assert_eq!(told, hurt);
            shared = shared.max(told.len());
        }
        assert_eq!(shared, 5, "the first pack is everybody's");
    });
}

#[test]
fn progress_grows_to_all_there_is() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        chain(&world, 2).await;
        let depot = world.open().await;
        let seen: Arc<Mutex<Vec<Verified>>> = Arc::default();
        let sink = seen.clone();
        let progress = Arc::new(move |at| sink.lock().unwrap().push(at));
        let report = depot.verify_telling(Depth::Data, progress, &CancellationToken::new()).await.unwrap();
        let seen = seen.lock().unwrap();
        assert!(seen.windows(2).all(|two| two[0].stage != two[1].stage || two[0].bytes <= two[1].bytes));
        let objects: Vec<&Verified> = seen.iter().filter(|at| at.objects_total > 0).collect();
        let last = objects.last().unwrap();
        assert_eq!((last.objects, last.bytes), (last.objects_total, last.bytes_total));
        assert_eq!((report.objects, report.bytes.0), (last.objects, last.bytes));
        let last = seen.last().unwrap();
        assert_eq!(last.bytes, last.bytes_total, "the trees were walked to their ends");
    });
}

#[test]
fn a_cancelled_look_ends() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        chain(&world, 1).await;
        let depot = world.open().await;
        let total = 4;
        for stop_after in 0..total {
            let cancel = CancellationToken::new();
            let (trigger, count) = (cancel.clone(), Mutex::new(0));
            let progress = Arc::new(move |_| {
                *count.lock().unwrap() += 1;
                if *count.lock().unwrap() > stop_after {
                    trigger.cancel();
                }
            });
            // Another task has a turn at every read; in memory nothing else ever waits.
            let looked = depot.verify_telling(Depth::Data, progress, &cancel);
            let looked = tokio::time::timeout(std::time::Duration::from_secs(60), looked).await.unwrap();
            assert!(matches!(looked, Err(DepotError::Cancelled) | Ok(_)));
        }
    });
}

/// What a process remembers from before the damage must not hide it.
#[test]
fn a_process_that_has_read_everything_finds_what_broke_since() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        chain(&world, 1).await;
        for prefix in ["packs/", "keys/"] {
            let mut broken = objects(&world.store).await;
            let bucket = bucket(&broken).await;
            let depot: Arc<Depot> =
                World::new(bucket.clone(), 2, Settings { cache_len: 32 << 20, ..small() }).open().await;
            let tree = depot.group(GroupId::from_bits(1)).await.unwrap().unwrap().disks[0].tree;
            depot.read(&tree, Extent { offset: 0, len: tree.size }).await.unwrap();
            let path = broken.keys().find(|path| path.starts_with(prefix)).unwrap().clone();
            broken.remove(&path);
            let key = store::ObjectKey::new(path.as_str()).unwrap();
            bucket.delete(&store::Doomed::condemn(key)).await.unwrap();
            let report = depot.verify(Depth::Data, &CancellationToken::new()).await.unwrap();
            assert!(report.findings.iter().any(|finding| finding.object == path), "{report:?}");
        }
    });
}

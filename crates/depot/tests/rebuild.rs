//! What the bucket and the key suffice to make anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{Disk, World, manifest, manifest_of, objects, small, write};
use hikae_depot::{Depot, DepotError, RebuiltKnown, Settings};
use model::Timestamp;
use store::{Counting, ObjectKey, Operation, Store};
use tokio_util::sync::CancellationToken;

/// Of each disk, in chunks of 4 KiB.
const LEN: usize = 25 << 12;

async fn backup(depot: &Depot, number: u128, bytes: &[u8]) {
    let written = write(depot, &Disk::new(bytes.to_vec()), None, false).await.unwrap();
    let mut group = manifest(number, written.tree, None);
    group.taken = Timestamp(i64::try_from(number).unwrap());
    depot.seal_group(&group).await.unwrap();
}

fn disk(number: u128) -> Vec<u8> {
    let mut bytes = vec![0; LEN];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

async fn rebuild(depot: &Depot) -> RebuiltKnown {
    depot.rebuild_known(&|_, _| {}, &CancellationToken::new()).await.unwrap()
}

/// The store's objects again, changed on the way.
async fn changed(world: &World, change: impl Fn(&str, Bytes) -> Option<Bytes>) -> World {
    let store: Arc<dyn Store> = store::memory();
    for (path, bytes) in objects(&world.store).await {
        if let Some(bytes) = change(&path, bytes) {
            store.put_new(&ObjectKey::new(path).unwrap(), bytes).await.unwrap();
        }
    }
    World::new(store, 77, world.settings.clone())
}

#[tokio::test]
async fn a_process_that_knows_nothing_learns_it_from_the_packs() {
    let counting = Arc::new(Counting::new(store::memory()));
    let world = World::new(counting.clone(), 1, small());
    let first = world.open().await;
    for number in 1..4 {
        backup(&first, number, &disk(number)).await;
    }
    let fresh = world.open().await;
    let rebuilt = rebuild(&fresh).await;
    let packs = objects(&world.store).await.keys().filter(|path| path.starts_with("packs/")).count();
    assert!(!rebuilt.is_full && rebuilt.packs <= packs && rebuilt.chunks == 3 * 25, "{rebuilt:?}");
    assert_eq!(rebuilt.passed_over, []);
    let before = counting.tally(Operation::PutNew).bytes;
    backup(&fresh, 10, &[disk(1), disk(2), disk(3)].concat()).await;
    let stored = counting.tally(Operation::PutNew).bytes - before;
    assert!(stored < 40_000, "{stored} bytes for what is there");
    assert_eq!(rebuild(&fresh).await.chunks, rebuilt.chunks, "made anew it says the same");
}

#[tokio::test]
async fn the_newest_snapshots_come_first() {
    let counting = Arc::new(Counting::new(store::memory()));
    let world = World::new(counting.clone(), 1, Settings { known_chunks: 60, ..small() });
    let first = world.open().await;
    for number in 1..6 {
        backup(&first, number, &disk(number)).await;
    }
    let fresh = world.open().await;
    let rebuilt = rebuild(&fresh).await;
    assert!(rebuilt.is_full && (50..=60).contains(&rebuilt.chunks), "{rebuilt:?}");
    for (number, known) in [(5, true), (1, false)] {
        let before = counting.tally(Operation::PutNew).bytes;
        backup(&fresh, 10 + number, &disk(number)).await;
        let stored = counting.tally(Operation::PutNew).bytes - before;
        assert_eq!(stored < 30_000, known, "{stored} bytes for disk {number}");
    }
}

#[tokio::test]
async fn damage_is_said_and_the_rest_is_listed() {
    let world = World::new(store::memory(), 1, small());
    let depot = world.open().await;
    for number in 1..4 {
        backup(&depot, number, &disk(number)).await;
    }
    let manifest_of_two = manifest_of(&objects(&world.store).await, 2);
    let packs: Vec<String> =
        objects(&world.store).await.into_keys().filter(|path| path.starts_with("packs/")).collect();
    let broken = changed(&world, |path, bytes| {
        let mut bytes = bytes.to_vec();
        if path == manifest_of_two {
            bytes[100] ^= 1;
        }
        if path == packs[0] {
            let end = bytes.len();
            bytes[end - 40] ^= 1;
        }
        Some(bytes.into())
    })
    .await;
    let depot = broken.open().await;
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    depot
        .each_group(|(id, found)| match found {
            Ok(group) => listed.push((id.bits(), group.disks[0].tree.size)),
            Err(error) => unreadable.push((id.bits(), matches!(error, DepotError::Damaged { .. }))),
        })
        .await
        .unwrap();
    assert_eq!((listed, unreadable), (vec![(1, LEN as u64), (3, LEN as u64)], vec![(2, true)]));
    let rebuilt = rebuild(&depot).await;
    let said: Vec<&str> = rebuilt.passed_over.iter().map(|passed| passed.object.as_str()).collect();
    assert!(said.contains(&manifest_of_two.as_str()), "{said:?}");
    // The pack with the broken table is either of a listed group, and said, or of the unreadable one.
    assert!(
        rebuilt.chunks >= 20 && said.iter().all(|object| *object == manifest_of_two || *object == packs[0])
    );
}

#[tokio::test]
async fn a_missing_pack_is_said_and_a_cancelled_rebuild_changes_nothing() {
    let world = World::new(store::memory(), 1, small());
    let depot = world.open().await;
    backup(&depot, 1, &disk(1)).await;
    let packs: Vec<String> =
        objects(&world.store).await.into_keys().filter(|path| path.starts_with("packs/")).collect();
    let broken = changed(&world, |path, bytes| (path != packs[0]).then_some(bytes)).await;
    let depot = broken.open().await;
    let said = rebuild(&depot).await.passed_over;
    assert!(!said.is_empty() && said.iter().all(|passed| passed.object == packs[0]), "{said:?}");
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(depot.rebuild_known(&|_, _| {}, &cancel).await, Err(DepotError::Cancelled));
}

//! A difference names every chunk that differs and no other, and costs what differs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use common::{Disk, World, content, manifest, small, write};
use hikae_depot::{Depot, DepotError, Settings, TreeRef};
use model::Extent;
use store::{Counting, Operation};

const CHUNK: usize = 4096;

async fn diff(depot: &Depot, a: &TreeRef, b: &TreeRef) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    depot.diff(a, b, &mut |Extent { offset, len }| ranges.push((offset, len))).await.unwrap();
    ranges
}

/// The same from the bytes.
fn expected(a: &[u8], b: &[u8]) -> Vec<(u64, u64)> {
    let end = a.len().max(b.len());
    let byte = |bytes: &[u8], at: usize| bytes.get(at).copied().unwrap_or(0);
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for from in (0..end).step_by(CHUNK) {
        let to = (from + CHUNK).min(end);
        if (from..to).all(|at| byte(a, at) == byte(b, at)) {
            continue;
        }
        let (offset, len) = (from as u64, (to - from) as u64);
        match ranges.last_mut() {
            Some(last) if last.0 + last.1 == offset => last.1 += len,
            _ => ranges.push((offset, len)),
        }
    }
    ranges
}

#[tokio::test]
async fn every_chunk_that_differs_and_no_other() {
    let depot = World::new(store::memory(), 1, small()).open().await;
    let first = content(700_000, 3);
    let mut second = first.clone();
    second[5000] ^= 1;
    second[300_000..340_000].fill(0);
    second[699_999] ^= 1;
    let contents = [
        first.clone(),
        second,
        // Smaller and larger, so that roots lie at different levels, above and below.
        first[..10_000].to_vec(),
        [first.clone(), vec![0; 3_000_000]].concat(),
        [first, vec![0; 3_000_000], vec![7; 5000]].concat(),
        vec![0; 50_000],
        Vec::new(),
    ];
    let mut trees = Vec::new();
    for bytes in &contents {
        trees.push(write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap().tree);
    }
    for (a, one) in contents.iter().zip(&trees) {
        for (b, two) in contents.iter().zip(&trees) {
            assert_eq!(diff(&depot, one, two).await, expected(a, b), "{} and {}", a.len(), b.len());
        }
    }
}

#[tokio::test]
async fn it_costs_what_differs() {
    let counting = Arc::new(Counting::new(store::memory()));
    let world = World::new(counting.clone(), 1, Settings { cache_len: 16 << 10, ..small() });
    let depot = world.open().await;
    let mut bytes = content(8 << 20, 4);
    let one = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap().tree;
    bytes[4_000_000] ^= 1;
    let two = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap().tree;
    let depot = world.open().await;
    let before = counting.tally(Operation::GetRange).calls;
    assert_eq!(diff(&depot, &one, &two).await.len(), 1);
    let calls = counting.tally(Operation::GetRange).calls - before;
    // Two ways from root to leaf, each node a frame and perhaps the header of its pack.
    let levels = u64::from(one.root_level()) + 1;
    assert!(calls <= 2 * levels * 2, "{calls} reads for a tree of {levels} levels");
}

#[tokio::test]
async fn opening_what_is_not_there_makes_nothing() {
    let world = World::new(store::memory(), 1, small());
    let open = || {
        let settings = world.settings.clone();
        Depot::open(
            world.store.clone(),
            Arc::new(common::Pad),
            world.dice.clone(),
            world.clock.clone(),
            settings,
        )
    };
    assert!(matches!(open().await, Err(DepotError::Invalid(_))));
    assert!(common::objects(&world.store).await.is_empty());
    let made = world.open().await;
    assert_eq!(open().await.unwrap().id(), made.id());
}

#[tokio::test]
async fn stats_tell_what_is_needed_from_what_is_not() {
    let world = World::new(store::memory(), 1, small());
    let depot = world.open().await;
    let kept = write(&depot, &Disk::new(content(100_000, 1)), None, false).await.unwrap();
    depot.seal_group(&manifest(1, kept.tree, None)).await.unwrap();
    write(&depot, &Disk::new(content(100_000, 2)), None, false).await.unwrap();
    let stats = depot.stats().await.unwrap();
    assert_eq!((stats.groups, stats.snapshots, stats.disk_bytes.0), (1, 1, 100_000));
    assert!(0 < stats.needed_packs && stats.needed_packs < stats.packs, "{stats:?}");
    assert!(stats.needed_bytes < stats.pack_bytes);
    let objects = common::objects(&world.store).await;
    let bytes: usize =
        objects.iter().filter(|(path, _)| path.starts_with("packs/")).map(|(_, b)| b.len()).sum();
    assert_eq!(stats.pack_bytes.0, bytes as u64);
}

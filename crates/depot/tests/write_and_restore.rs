//! Restore undoes store: any disk, any base, any way of telling what changed.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Disk, SECTOR, World, content, manifest, objects, restore, small, write};
use hikae_depot::{DepotError, Settings, WriteDisk};
use model::{Extent, GroupId};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Overwrites `len` sectors at `at` with noise of `seed`, or with zeroes for seed 0.
fn overwrite(bytes: &mut [u8], at: usize, len: usize, seed: u64) {
    let sectors = bytes.len().div_ceil(SECTOR).max(1);
    let from = (at % sectors) * SECTOR;
    let to = (from + len * SECTOR).min(bytes.len());
    if from < to {
        let noise = if seed == 0 { vec![0; to - from] } else { content(to - from, seed) };
        bytes[from..to].copy_from_slice(&noise);
    }
}

/// Any, or one at which a chunk, a leaf or a node ends.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![0_usize..400_000, (0_usize..100).prop_map(|n| n << 12), (0_usize..12).prop_map(|n| n << 15)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_comes_back(
        first_len in length(),
        second_len in prop::option::of(length()),
        edits in prop::collection::vec((any::<usize>(), 1_usize..40, 0_u64..5), 0..12),
        changed_only in any::<bool>(),
        hide_zeroes in any::<bool>(),
        parallelism in prop::sample::select(vec![1_usize, 3]),
        reads in prop::collection::vec((any::<u64>(), 0_u64..70_000), 1..6),
        seed in any::<u64>(),
    ) {
        run(async {
            let world = World::new(store::memory(), seed, Settings { parallelism, ..small() });
            let depot = world.open().await;
            let first = content(first_len, seed);
            let disk = Disk { hide_zeroes, ..Disk::new(first.clone()) };
            let one = write(&depot, &disk, None, false).await.unwrap();
            let mut second = first.clone();
            // Grown by data, or by a hole.
            second.resize(second_len.unwrap_or(first_len), if seed % 2 == 0 { 0 } else { 3 });
            for (at, len, seed) in edits {
                overwrite(&mut second, at, len, seed);
            }
            let disk = Disk { hide_zeroes, ..Disk::since(second.clone(), &first) };
            let two = write(&depot, &disk, Some(one.tree), changed_only).await.unwrap();
            // The same content has the same name, however it got there.
            let again = write(&depot, &Disk::new(second.clone()), None, false).await.unwrap();
            prop_assert_eq!(two.tree.root.map(|root| root.name), again.tree.root.map(|root| root.name));

            let text = two.tree.to_string();
            prop_assert_eq!(text.parse(), Ok(two.tree));
            // Another process, with nothing remembered.
            let depot = world.open().await;
            prop_assert!(restore(&depot, &one.tree).await.unwrap() == first);
            prop_assert!(restore(&depot, &two.tree).await.unwrap() == second);
            for (offset, len) in reads {
                let offset = offset % (second.len() as u64 + 1);
                let len = len.min(second.len() as u64 - offset);
                let bytes = depot.read(&two.tree, Extent { offset, len }).await.unwrap();
                let (from, to) = (usize::try_from(offset).unwrap(), usize::try_from(offset + len).unwrap());
                prop_assert!(bytes == second[from..to]);
            }
            Ok(())
        })?;
    }
}

#[test]
fn an_increment_reads_and_stores_what_changed() {
    run(async {
        let world = World::new(store::memory(), 1, Settings { parallelism: 2, ..Settings::default() });
        let depot = world.open().await;
        let mut bytes = content(24 << 20, 5);
        let one = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
        let before = bytes.clone();
        overwrite(&mut bytes, 20_000, 1, 9);
        let disk = Disk::since(bytes.clone(), &before);
        let two = write(&depot, &disk, Some(one.tree), true).await.unwrap();
        assert_eq!(two.bytes_read.0, 16 << 10);
        assert!(two.bytes_stored.0 < 40 << 10, "{}", two.bytes_stored);
        assert_eq!(*disk.reads.lock().unwrap(), 16 << 10);
        assert!(restore(&depot, &two.tree).await.unwrap() == bytes);
        // Nothing changed: nothing is stored, and the tree is the base's.
        let three = write(&depot, &Disk::since(bytes.clone(), &bytes), Some(two.tree), true).await.unwrap();
        assert_eq!((three.tree, three.bytes_read.0, three.bytes_stored.0), (two.tree, 0, 0));
        let compared = write(&depot, &Disk::new(bytes.clone()), Some(two.tree), false).await.unwrap();
        assert_eq!((compared.tree, compared.bytes_stored.0), (two.tree, 0));
    });
}

#[test]
fn equal_content_is_stored_once_and_never_across_depots() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        let bytes = content(300_000, 5);
        let one = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
        let two = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
        assert!(
            two.bytes_stored.0 < one.bytes_stored.0 / 20,
            "{} then {}",
            one.bytes_stored,
            two.bytes_stored
        );
        assert_eq!(one.tree.root.unwrap().name, two.tree.root.unwrap().name);

        let other = World::new(store::memory(), 2, small()).open().await;
        let elsewhere = write(&other, &Disk::new(bytes), None, false).await.unwrap();
        assert_ne!(one.tree.root.unwrap().name, elsewhere.tree.root.unwrap().name);
        restore(&other, &one.tree).await.expect_err("another depot's tree");
    });
}

#[test]
fn a_hole_of_any_size_costs_nothing() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        let empty = write(&depot, &Disk::new(vec![0; 3 << 20]), None, false).await.unwrap();
        assert_eq!((empty.tree.root, empty.bytes_stored.0, empty.bytes_read.0), (None, 0, 0));
        assert!(restore(&depot, &empty.tree).await.unwrap() == vec![0; 3 << 20]);
        let nothing = write(&depot, &Disk::new(Vec::new()), Some(empty.tree), true).await.unwrap();
        assert_eq!(nothing.tree.root, None);
    });
}

#[test]
fn no_plain_text_and_no_name_of_it_is_stored() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        let mut bytes = content(200_000, 5);
        bytes[8192..8192 + 26].copy_from_slice(b"the secret of the house at");
        let written = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
        let mut manifest = manifest(1, written.tree, None);
        manifest.instance_name = "the secret of the name".to_owned();
        depot.seal_group(&manifest).await.unwrap();
        let chunk = &bytes[8192..8192 + 4096];
        for (path, object) in objects(&world.store).await {
            for needle in
                [b"the secret of".as_slice(), &chunk[100..132], &blake3::hash(chunk).as_bytes()[..16]]
            {
                assert!(!object.windows(needle.len()).any(|window| window == needle), "{path}");
            }
        }
    });
}

#[test]
fn deterministic_settings_give_the_same_objects() {
    run(async {
        let mut buckets = Vec::new();
        for _ in 0..2 {
            let world = World::new(store::memory(), 7, small());
            let depot = world.open().await;
            let written = write(&depot, &Disk::new(content(300_000, 1)), None, false).await.unwrap();
            depot.seal_group(&manifest(1, written.tree, None)).await.unwrap();
            buckets.push(objects(&world.store).await);
        }
        assert!(buckets[0] == buckets[1]);
    });
}

#[test]
fn a_cancelled_write_says_so_and_leaves_no_group() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        let cancel = CancellationToken::new();
        let inner = cancel.clone();
        let job = WriteDisk {
            reader: Arc::new(Disk::new(content(400_000, 1))),
            base: None,
            changed_only: false,
            progress: Arc::new(move |_| inner.cancel()),
            cancel,
        };
        assert_eq!(depot.write_disk(job).await, Err(DepotError::Cancelled));
        assert_eq!(depot.groups().await, Ok(Vec::new()));
    });
}

#[test]
fn a_group_is_sealed_once_and_deleted_twice() {
    run(async {
        let world = World::new(store::memory(), 1, small());
        let depot = world.open().await;
        let bytes = content(100_000, 1);
        let written = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
        let manifest = manifest(1, written.tree, None);
        let id = GroupId::from_bits(1);
        assert_eq!(depot.group(id).await, Ok(None));
        depot.seal_group(&manifest).await.unwrap();
        depot.seal_group(&manifest).await.unwrap();
        let mut other = manifest.clone();
        other.vcpus += 1;
        assert_eq!(depot.seal_group(&other).await, Err(DepotError::Conflict { group: id }));
        assert_eq!(depot.groups().await, Ok(vec![id]));
        let depot = world.open().await;
        assert_eq!(depot.group(id).await, Ok(Some(manifest)));
        depot.delete_group(id).await.unwrap();
        depot.delete_group(id).await.unwrap();
        assert_eq!(depot.group(id).await, Ok(None));
    });
}

#[test]
fn reading_past_the_end_is_refused() {
    run(async {
        let depot = World::new(store::memory(), 1, small()).open().await;
        let tree = write(&depot, &Disk::new(content(10_000, 1)), None, false).await.unwrap().tree;
        for (offset, len) in [(0, 10_001), (10_001, 0), (u64::MAX, 1), (1, u64::MAX)] {
            let read = depot.read(&tree, Extent { offset, len }).await;
            assert!(matches!(read, Err(DepotError::Invalid(_))), "{read:?}");
        }
    });
}

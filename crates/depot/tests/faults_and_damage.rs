//! The store fails at every call in every way, and objects are broken in every way: whatever a
//! group's manifest says is either restored byte for byte or refused with the object's name.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::{Disk, World, content, manifest, objects, restore, small, write};
use hikae_depot::{Depot, DepotError, Depth, Margins, Settings, TreeRef};
use model::GroupId;
use store::{Fault, Faulty, ObjectKey, Script, Store};
use tokio_util::sync::CancellationToken;

const DAY_S: i64 = 24 * 3600;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn id(number: u128) -> GroupId {
    GroupId::from_bits(number)
}

/// Two backups, an old one deleted, a collection: each call may fail, and then the whole goes on as
/// it would after a restart of the process.
async fn live(world: &World, contents: &[Vec<u8>; 3]) -> Result<(), DepotError> {
    let depot = world.try_open().await?;
    let one = write(&depot, &Disk::new(contents[0].clone()), None, false).await?;
    depot.seal_group(&manifest(1, one.tree, None)).await?;
    let disk = Disk::since(contents[1].clone(), &contents[0]);
    let two = write(&depot, &disk, Some(one.tree), true).await?;
    depot.seal_group(&manifest(2, two.tree, Some(1))).await?;
    depot.delete_group(id(1)).await?;
    depot.collect(Margins::STANDARD, &[]).await?;
    // The process starts anew, and nothing it put is fresh any more.
    let depot = world.try_open().await?;
    for _ in 0..2 {
        world.clock.advance_s(DAY_S);
        depot.collect(Margins::STANDARD, &[]).await?;
    }
    let disk = Disk::new(contents[2].clone());
    let three = write(&depot, &disk, Some(two.tree), false).await?;
    depot.seal_group(&manifest(3, three.tree, Some(2))).await
}

/// Every group there is restores exactly or is refused.
async fn audit(world: &World, contents: &[Vec<u8>; 3], may_be_damaged: bool) -> usize {
    let depot = world.open().await;
    let mut whole = 0;
    for group in depot.groups().await.unwrap() {
        let manifest = match depot.group(group).await {
            Ok(Some(manifest)) => manifest,
            Err(DepotError::Damaged { .. }) if may_be_damaged => continue,
            other => panic!("{other:?}"),
        };
        let expected = &contents[usize::try_from(group.bits() - 1).unwrap()];
        match restore(&depot, &manifest.disks[0].tree).await {
            Ok(bytes) => assert!(bytes == *expected, "group {group} restores to other content"),
            Err(DepotError::Damaged { .. }) if may_be_damaged => continue,
            other => panic!("{other:?}"),
        }
        whole += 1;
    }
    whole
}

fn contents() -> [Vec<u8>; 3] {
    let first = content(150_000, 3);
    let mut second = first.clone();
    second[40_000..90_000].copy_from_slice(&content(50_000, 4));
    let mut third = second.clone();
    third[0..30_000].copy_from_slice(&content(30_000, 5));
    [first, second, third]
}

#[test]
fn every_call_failing_in_every_way_loses_nothing_sealed() {
    let contents = contents();
    let calls = run(async {
        let store = Arc::new(Faulty::new(store::memory(), Script::Never));
        let world = World::new(store.clone(), 1, small());
        live(&world, &contents).await.unwrap();
        assert_eq!(audit(&world, &contents, false).await, 2);
        store.calls()
    });
    assert!(calls > 40, "{calls}");
    for fault in Fault::ALL {
        for call in 0..calls {
            run(async {
                let script = Script::At(BTreeMap::from([(call, fault)]));
                let inner = store::memory();
                let world = World::new(Arc::new(Faulty::new(inner.clone(), script)), 1, small());
                let ended = live(&world, &contents).await;
                let world = World { store: inner, ..world };
                let whole = match world.try_open().await {
                    Ok(_) => audit(&world, &contents, fault == Fault::Torn).await,
                    // A store that tears objects may have torn the very header.
                    Err(DepotError::Damaged { .. }) if fault == Fault::Torn => 0,
                    Err(other) => panic!("{other:?}"),
                };
                if ended.is_ok() && fault != Fault::Torn {
                    assert_eq!(whole, 2, "{fault:?} at call {call}");
                }
            });
        }
    }
}

#[test]
fn a_store_that_goes_away_at_any_moment_loses_nothing_sealed() {
    let contents = contents();
    for fault in [Fault::Unavailable, Fault::LostAfter, Fault::NoSpace] {
        for call in (0..).step_by(1) {
            let done = run(async {
                let inner = store::memory();
                let faulty = Faulty::new(inner.clone(), Script::From(call, fault));
                let world = World::new(Arc::new(faulty), 1, small());
                let ended = live(&world, &contents).await;
                let world = World { store: inner, ..world };
                audit(&world, &contents, false).await;
                // After a restart everything works, whatever is left.
                let depot = world.open().await;
                let again = write(&depot, &Disk::new(contents[0].clone()), None, false).await.unwrap();
                assert!(restore(&depot, &again.tree).await.unwrap() == contents[0]);
                ended.is_ok()
            });
            if done {
                break;
            }
        }
    }
}

/// A bucket with these objects in it.
async fn bucket(objects: &BTreeMap<String, Bytes>) -> Arc<dyn Store> {
    let store = store::memory();
    for (path, bytes) in objects {
        store.put_new(&ObjectKey::new(path.as_str()).unwrap(), bytes.clone()).await.unwrap();
    }
    store
}

/// One group of one disk, in many packs.
async fn sound() -> (BTreeMap<String, Bytes>, Vec<u8>, TreeRef) {
    let world = World::new(store::memory(), 1, small());
    let depot = world.open().await;
    let bytes = content(300_000, 3);
    let written = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
    depot.seal_group(&manifest(1, written.tree, None)).await.unwrap();
    (objects(&world.store).await, bytes, written.tree)
}

/// What becomes of a depot with these objects: nothing false is read, and someone says which object it is.
async fn check_broken(objects: &BTreeMap<String, Bytes>, broken: &str, expected: &[u8], how: &str) {
    let world = World::new(bucket(objects).await, 2, small());
    let depot: Arc<Depot> = match world.try_open().await {
        Ok(depot) => depot,
        Err(DepotError::Damaged { object, .. }) => return assert_eq!(object, broken, "{how}"),
        // Some bits of a wrapped key only the key service can judge.
        Err(other) => panic!("{how} {broken}: {other:?}"),
    };
    let mut named = Vec::new();
    for depth in [Depth::Names, Depth::Data] {
        let report = depot.verify(depth, &CancellationToken::new()).await.unwrap();
        named.extend(report.findings.into_iter().map(|finding| finding.object));
    }
    assert!(named.iter().all(|object| object == broken), "{how} {broken}: {named:?}");
    let group = match depot.group(id(1)).await {
        Ok(Some(group)) => group,
        Ok(None) => return,
        Err(DepotError::Damaged { object, .. }) => {
            assert_eq!(object, broken);
            return assert!(!named.is_empty(), "{how} {broken} was not found");
        }
        Err(other) => panic!("{other:?}"),
    };
    let restored = match restore(&depot, &group.disks[0].tree).await {
        Ok(bytes) => {
            assert!(bytes == expected, "{how} {broken} was read as data");
            true
        }
        // A pack carries no checksum beside its name: its version may look like one to come.
        Err(DepotError::Damaged { object, .. } | DepotError::Newer { object, .. }) => {
            assert_eq!(object, broken);
            false
        }
        Err(other) => panic!("{how} {broken}: {other:?}"),
    };
    assert!(restored || !named.is_empty(), "{how} {broken} was not found");
    // What is broken and restores all the same must at least be seen by one of the two looks.
    assert!(!named.is_empty(), "{how} {broken} went unseen");
}

#[test]
fn a_flipped_bit_is_found_and_named() {
    run(async {
        let (sound, bytes, _) = sound().await;
        for (path, object) in &sound {
            let places = object.len().min(160);
            for nth in 0..places {
                let at = nth * object.len() / places;
                let mut flipped = object.to_vec();
                flipped[at] ^= 1 << (nth % 8);
                let mut objects = sound.clone();
                objects.insert(path.clone(), flipped.into());
                check_broken(&objects, path, &bytes, &format!("bit flip at {at} of")).await;
            }
        }
    });
}

#[test]
fn a_truncated_or_lengthened_object_is_found_and_named() {
    run(async {
        let (sound, bytes, _) = sound().await;
        for (path, object) in &sound {
            for len in [0, 1, 7, 8, 10, object.len() / 2, object.len() - 1] {
                let mut objects = sound.clone();
                objects.insert(path.clone(), object.slice(..len));
                check_broken(&objects, path, &bytes, &format!("cut to {len}:")).await;
            }
            let mut objects = sound.clone();
            objects.insert(path.clone(), [&object[..], b"more"].concat().into());
            check_broken(&objects, path, &bytes, "lengthened").await;
        }
    });
}

#[test]
fn a_missing_object_is_found_and_named() {
    run(async {
        let (sound, bytes, _) = sound().await;
        for path in sound.keys().filter(|path| !path.starts_with("groups/")) {
            let mut objects = sound.clone();
            objects.remove(path);
            check_broken(&objects, path, &bytes, "without").await;
        }
    });
}

#[test]
fn a_pack_in_the_place_of_another_is_found_and_named() {
    run(async {
        let (sound, bytes, _) = sound().await;
        let packs: Vec<&String> = sound.keys().filter(|path| path.starts_with("packs/")).collect();
        assert!(packs.len() >= 3);
        for pair in packs.windows(2) {
            let mut objects = sound.clone();
            objects.insert(pair[0].clone(), sound[pair[1]].clone());
            check_broken(&objects, pair[0], &bytes, "another's bytes in").await;
        }
    });
}

#[test]
fn a_manifest_under_another_id_or_of_another_depot_is_refused() {
    run(async {
        let (mut sound, _, _) = sound().await;
        let path = format!("groups/{}", id(1));
        let elsewhere = format!("groups/{}", id(2));
        sound.insert(elsewhere.clone(), sound[&path].clone());
        let world = World::new(bucket(&sound).await, 2, small());
        let depot = world.open().await;
        let error = depot.group(id(2)).await.unwrap_err();
        assert!(matches!(&error, DepotError::Damaged { object, .. } if *object == elsewhere), "{error:?}");

        let other = World::new(store::memory(), 77, small());
        other.open().await;
        let key = ObjectKey::new(path.as_str()).unwrap();
        other.store.put_new(&key, sound[&path].clone()).await.unwrap();
        let depot = other.open().await;
        assert!(matches!(depot.group(id(1)).await, Err(DepotError::Damaged { .. })));
    });
}

#[test]
fn verify_says_whom_and_what_range_damage_hurts() {
    run(async {
        let (sound, bytes, tree) = sound().await;
        let path = sound.keys().find(|path| path.starts_with("packs/")).unwrap();
        let mut objects = sound.clone();
        let mut broken = objects[path].to_vec();
        broken[100] ^= 1;
        objects.insert(path.clone(), broken.into());
        let settings = Settings { parallelism: 3, ..small() };
        let depot = World::new(bucket(&objects).await, 2, settings).open().await;
        let report = depot.verify(Depth::Data, &CancellationToken::new()).await.unwrap();
        assert!(!report.findings.is_empty());
        for finding in &report.findings {
            assert_eq!((&finding.object, finding.group), (path, Some(id(1))));
            let range = finding.range.unwrap();
            assert!(range.len > 0 && range.end() <= tree.size);
            depot.read(&tree, range).await.expect_err("a damaged range");
        }
        // All that is not named can be read.
        for offset in (0..tree.size).step_by(4096) {
            let len = 4096.min(tree.size - offset);
            let hurt = |f: &hikae_depot::Finding| {
                f.range.unwrap().offset <= offset && offset < f.range.unwrap().end()
            };
            if !report.findings.iter().any(hurt) {
                let read = depot.read(&tree, model::Extent { offset, len }).await.unwrap();
                let (from, to) = (usize::try_from(offset).unwrap(), usize::try_from(offset + len).unwrap());
                assert!(read == bytes[from..to]);
            }
        }
    });
}

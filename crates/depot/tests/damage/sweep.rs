//! A small depot broken everywhere: each object cut, lengthened, taken away, with a bit flipped at many places.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hikae_depot::{Depot, DepotError, Depth, TreeRef};
use model::GroupId;
use store::ObjectKey;
use tokio_util::sync::CancellationToken;

use crate::common::{Disk, World, content, manifest, manifest_of, objects, restore, small, write};
use crate::{bucket, run};

fn id(number: u128) -> GroupId {
    GroupId::from_bits(number)
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
        let stand_alone = ["groups/", "intents/"];
        for path in sound.keys().filter(|path| !stand_alone.iter().any(|folder| path.starts_with(folder))) {
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
        let path = manifest_of(&sound, 1);
        let elsewhere = path.replace(&id(1).to_string(), &id(2).to_string());
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

//! A depot written once is restored for ever, from nothing but its objects and its key.
//!
//! Append only: `UPDATE_GOLDEN=1` writes a file that is missing and never touches one that is there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;

use bytes::Bytes;
use common::{Disk, World, content, manifest, objects, restore, small, write};
use model::GroupId;
use store::ObjectKey;

/// Path and bytes of each object, both after a length of 32 bits.
async fn dump(world: &World) -> Vec<u8> {
    let mut file = Vec::new();
    for (path, object) in objects(&world.store).await {
        for part in [path.as_bytes(), &object] {
            file.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            file.extend_from_slice(part);
        }
    }
    file
}

async fn load(world: &World, file: &[u8]) {
    let mut parts = Vec::new();
    let mut rest = file;
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (part, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        parts.push(part);
        rest = after;
    }
    for pair in parts.chunks(2) {
        let key = ObjectKey::new(std::str::from_utf8(pair[0]).unwrap()).unwrap();
        world.store.put_new(&key, Bytes::copy_from_slice(pair[1])).await.unwrap();
    }
}

fn contents() -> [Vec<u8>; 2] {
    let first = content(70_000, 11);
    let mut second = first.clone();
    second[20_000..30_000].copy_from_slice(&content(10_000, 12));
    [first, second]
}

#[tokio::test]
async fn the_first_version_is_read_for_ever() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/depot.v1.bin");
    let [first, second] = contents();
    if !file.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        let world = World::new(store::memory(), 20_261_122, small());
        let depot = world.open().await;
        let one = write(&depot, &Disk::new(first.clone()), None, false).await.unwrap();
        depot.seal_group(&manifest(1, one.tree, None)).await.unwrap();
        let two = write(&depot, &Disk::since(second.clone(), &first), Some(one.tree), true).await.unwrap();
        depot.seal_group(&manifest(2, two.tree, Some(1))).await.unwrap();
        std::fs::write(&file, dump(&world).await).unwrap();
    }
    let golden = std::fs::read(&file).expect("a golden depot; UPDATE_GOLDEN=1 makes a missing one");
    let world = World::new(store::memory(), 1, small());
    load(&world, &golden).await;
    let depot = world.open().await;
    for (number, expected) in [(1, first), (2, second)] {
        let group = depot.group(GroupId::from_bits(number)).await.unwrap().unwrap();
        assert_eq!(group.instance_name, "db");
        assert!(restore(&depot, &group.disks[0].tree).await.unwrap() == expected);
    }
}

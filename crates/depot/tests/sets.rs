//! What nodes say of the packs below them, held against a walk of our own: from the bucket's bytes
//! through unsealing to the last leaf, without the depot's help.
//!
//! A set that lacks a pack would let collection take what is needed, so "usually right" is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use common::{Disk, Pad, World, content, manifest, objects, small, write};
use format::{FrameKind, HEADER_LEN, KeySlot, Link, Node, PackHeader, PackStem, path, terms};
use hikae_depot::{Depot, DepotError, Margins, Settings, TreeRef};
use keys::{KeyWrap, WrappedKey};
use proptest::prelude::*;
use store::{Counting, Operation};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Every object, and the one data key.
struct Bucket {
    objects: BTreeMap<String, Bytes>,
    data_key: [u8; 32],
}

/// What a walk found below a node, and how many nodes said "ask".
#[derive(Default)]
struct Found {
    asking: usize,
    telling: usize,
}

impl Bucket {
    async fn read(world: &World) -> Self {
        let objects = objects(&world.store).await;
        let (_, slot) = objects.iter().find(|(path, _)| path.starts_with(path::KEYS)).unwrap();
        let slot = KeySlot::decode(slot).unwrap();
        let context = terms::wrap_context(slot.depot, slot.slot);
        let wrapped = WrappedKey { key: slot.key, bytes: slot.wrapped };
        let data_key = *Pad.unwrap(&wrapped, &context).await.unwrap().expose();
        Self { objects, data_key }
    }

    fn node(&self, tree: &TreeRef, link: &Link, level: u8) -> Node {
        let place = link.place;
        let pack = &self.objects[&path::pack(place.pack)];
        let header = PackHeader::decode(&pack[..HEADER_LEN]).unwrap();
        let key =
            UnboundKey::new(&AES_256_GCM_SIV, &terms::pack_key(&self.data_key, &header.salt)[..]).unwrap();
        let nonce = Nonce::assume_unique_for_key(terms::frame_nonce(place.frame));
        let aad = terms::frame_aad(header.depot, header.slot, &header.salt, place.frame, FrameKind::Tree);
        let (from, to) = (place.offset as usize, (place.offset + place.sealed_len) as usize);
        let mut sealed = pack[from..to].to_vec();
        let opened = LessSafeKey::new(key).open_in_place(nonce, Aad::from(aad), &mut sealed).unwrap();
        let plain = match opened[0] {
            terms::CODEC_RAW => opened[1..].to_vec(),
            _ => zstd::bulk::decompress(&opened[1..], place.plain_len as usize).unwrap(),
        };
        let bytes = &plain[place.at as usize..(place.at + place.len) as usize];
        Node::decode(bytes, tree.geometry, level, place.pack).unwrap()
    }

    /// Packs of all places in the node and below; asserts what it says on the way.
    fn walk(&self, tree: &TreeRef, link: &Link, level: u8, found: &mut Found) -> (BTreeSet<PackStem>, bool) {
        let node = self.node(tree, link, level);
        let (mut packs, mut child_asks) = (BTreeSet::new(), false);
        let mut nth = 0;
        for child in node.children.iter().flatten() {
            packs.insert(child.place.pack.stem());
            if level == 0 {
                continue;
            }
            let (mut below, asks) = self.walk(tree, child, level - 1, found);
            child_asks |= asks;
            packs.extend(below.iter().copied());
            below.remove(&child.place.pack.stem());
            if let Some(said) = &node.below {
                let said: BTreeSet<PackStem> = said.of_child(nth).into_iter().collect();
                assert_eq!(said, below, "level {level}, child {nth}");
            }
            nth += 1;
        }
        let asks = level > 0 && node.below.is_none();
        assert!(!child_asks || asks, "a node tells what its child does not");
        if level > 0 {
            *(if asks { &mut found.asking } else { &mut found.telling }) += 1;
        }
        (packs, asks)
    }

    fn check(&self, tree: &TreeRef) -> Found {
        let mut found = Found::default();
        if let Some(root) = &tree.root {
            self.walk(tree, root, tree.root_level(), &mut found);
        }
        found
    }
}

async fn seal(depot: &Depot, number: u128, tree: TreeRef, base: Option<u128>) {
    depot.seal_group(&manifest(number, tree, base)).await.expect("sealed");
}

/// A chunk each, or several: many packs from little data.
fn crumbs(chunks: usize) -> Settings {
    Settings { pack_len: 1, read_len: chunks << 12, frame_len: 4 << 10, cache_len: 1 << 20, ..small() }
}

#[derive(Debug, Clone)]
enum Change {
    Edit { at: usize, len: usize, seed: u64 },
    Clear { at: usize, len: usize },
    Resize(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<usize>(), 1_usize..20_000, 1_u64..9)
            .prop_map(|(at, len, seed)| Change::Edit { at, len, seed }),
        2 => (any::<usize>(), 1_usize..90_000).prop_map(|(at, len)| Change::Clear { at, len }),
        2 => prop_oneof![0_usize..700_000, (0_usize..20).prop_map(|n| n << 15)].prop_map(Change::Resize),
    ]
}

fn apply(disk: &mut Vec<u8>, change: &Change) {
    let range =
        |at: usize, len: usize, end: usize| (at % end.max(1)).min(end)..((at % end.max(1)) + len).min(end);
    match *change {
        Change::Edit { at, len, seed } => {
            let range = range(at, len, disk.len());
            let new = content(range.len(), seed);
            disk[range].copy_from_slice(&new);
        }
        Change::Clear { at, len } => {
            let range = range(at, len, disk.len());
            disk[range].fill(0);
        }
        Change::Resize(len) => disk.resize(len, 7),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nodes_say_what_a_full_walk_finds(
        first in prop_oneof![0_usize..600_000, Just(1_300_000)],
        rounds in prop::collection::vec(
            (prop::collection::vec(change(), 0..5), any::<prop::sample::Index>(), any::<(bool, bool)>()),
            1..6,
        ),
        chunks in prop::sample::select(vec![1_usize, 3, 8]),
        seed in any::<u64>(),
    ) {
        run(async {
            let world = World::new(store::memory(), seed, crumbs(chunks));
            let mut disks = vec![(content(first, seed), None::<TreeRef>)];
            let depot = world.open().await;
            let written = write(&depot, &Disk::new(disks[0].0.clone()), None, false).await.unwrap();
            seal(&depot, 1, written.tree, None).await;
            disks[0].1 = Some(written.tree);
            for (number, (changes, base, (changed_only, forget))) in (2_u128..).zip(rounds) {
                // Any earlier one as base, not only the newest.
                let base = base.index(disks.len());
                let (was, tree) = disks[base].clone();
                let mut disk = was.clone();
                changes.iter().for_each(|change| apply(&mut disk, change));
                let depot = if forget { world.open().await } else { depot.clone() };
                let since = Disk::since(disk.clone(), &was);
                let written = write(&depot, &since, tree, changed_only).await.unwrap();
                seal(&depot, number, written.tree, Some(base as u128 + 1)).await;
                disks.push((disk, Some(written.tree)));
            }
            let bucket = Bucket::read(&world).await;
            for (_, tree) in &disks {
                bucket.check(&tree.unwrap());
            }
        });
    }
}

/// 300 packs below a root, then fewer: no node lists more than it may, and one that is drawn anew
/// from children that tell tells again.
#[test]
fn a_node_over_too_many_packs_asks_its_children() {
    run(async {
        let world = World::new(store::memory(), 1, crumbs(1));
        let depot = world.open().await;
        let noise: Vec<u8> =
            (0..320_u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes().repeat(128)).collect();
        let full = write(&depot, &Disk::new(noise.clone()), None, false).await.unwrap();
        seal(&depot, 1, full.tree, None).await;
        let found = Bucket::read(&world).await.check(&full.tree);
        assert!(found.asking == 1 && found.telling > 0, "{} ask, {} tell", found.asking, found.telling);
        // An increment on it does not know what it has not drawn, and says so.
        let mut changed = noise.clone();
        changed[0] ^= 1;
        let increment =
            write(&depot, &Disk::since(changed.clone(), &noise), Some(full.tree), true).await.unwrap();
        seal(&depot, 2, increment.tree, Some(1)).await;
        assert_eq!(Bucket::read(&world).await.check(&increment.tree).asking, 1);
        // Collection goes down there, and takes nothing that is needed.
        let depot = world.open().await;
        depot.delete_group(model::GroupId::from_bits(1)).await.unwrap();
        for _ in 0..3 {
            world.clock.advance_s(4 * 24 * 3600);
            assert_eq!(depot.collect(Margins::STANDARD, &[]).await.unwrap().refused, None);
        }
        assert!(common::restore(&*world.open().await, &increment.tree).await.unwrap() == changed);
        // Most of it cleared: all children that are left were drawn anew.
        let small =
            write(&depot, &Disk::new(changed[..40_960].to_vec()), Some(increment.tree), false).await.unwrap();
        seal(&depot, 3, small.tree, Some(2)).await;
        assert_eq!(Bucket::read(&world).await.check(&small.tree).asking, 0);
    });
}

/// A base that lies: the increment made on it would hand the lie on, so its seal refuses.
#[test]
fn a_seal_notices_a_node_that_is_wrong_about_packs() {
    run(async {
        let world = World::new(store::memory(), 1, crumbs(1));
        let depot = world.open().await;
        let bytes = content(200_000, 1);
        let written = write(&depot, &Disk::new(bytes.clone()), None, false).await.unwrap();
        let root = written.tree.root.unwrap();
        let mut node = Bucket::read(&world).await.node(&written.tree, &root, written.tree.root_level());
        // As a faulty writer would have it: every set is empty.
        let present = node.children.iter().flatten().count();
        let none: Vec<&[PackStem]> = vec![&[]; present];
        node.below = format::Below::of(none.into_iter());
        let tree = lying(&world, &written.tree, &node).await;
        assert!(common::restore(&depot, &tree).await.unwrap() == bytes, "its data is as it was");
        let sealed = depot.seal_group(&manifest(1, tree, None)).await;
        assert!(
            matches!(&sealed, Err(DepotError::Damaged { what, .. }) if what.contains("wrong about")),
            "{sealed:?}"
        );
        assert_eq!(depot.groups().await, Ok(Vec::new()));
    });
}

/// The same tree with another root node, in a pack of its own made by hand.
async fn lying(world: &World, tree: &TreeRef, node: &Node) -> TreeRef {
    let bucket = Bucket::read(world).await;
    let header = bucket.objects.iter().find(|(path, _)| path.starts_with(path::PACKS)).unwrap().1;
    let header =
        PackHeader { salt: format::Salt([9; 32]), ..PackHeader::decode(&header[..HEADER_LEN]).unwrap() };
    let key =
        UnboundKey::new(&AES_256_GCM_SIV, &terms::pack_key(&bucket.data_key, &header.salt)[..]).unwrap();
    let bytes = node.encode(tree.geometry);
    let mut sealed = [&[terms::CODEC_RAW][..], &bytes].concat();
    let aad = terms::frame_aad(header.depot, header.slot, &header.salt, 0, FrameKind::Tree);
    let nonce = Nonce::assume_unique_for_key(terms::frame_nonce(0));
    LessSafeKey::new(key).seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).unwrap();
    let pack: Vec<u8> = [header.encode(), sealed.clone()].concat();
    let name = format::PackName::of(&pack);
    let at = store::ObjectKey::new(path::pack(name)).unwrap();
    world.store.put_new(&at, pack.into()).await.unwrap();
    let len = |len: usize| u32::try_from(len).unwrap();
    let place = format::Place {
        pack: name,
        frame: 0,
        offset: len(HEADER_LEN),
        sealed_len: len(sealed.len()),
        plain_len: len(bytes.len()),
        at: 0,
        len: len(bytes.len()),
    };
    TreeRef { root: Some(Link { place, ..tree.root.unwrap() }), ..*tree }
}

/// The same increment on a disk of any size, and one more group among any number: a visit reads what
/// is new. A first visit reads roots, not leaves.
#[test]
fn a_visit_costs_what_is_new() {
    let cost = |len: usize, before: u128| {
        run(async move {
            let counting = Arc::new(Counting::new(store::memory()));
            let world = World::new(counting.clone(), 1, Settings { cache_len: 16 << 10, ..small() });
            let writer = world.open().await;
            let mut bytes = content(len, 1);
            let mut base = write(&writer, &Disk::new(bytes.clone()), None, false).await.unwrap().tree;
            seal(&writer, 1, base, None).await;
            let mut add = async |number: u128| {
                let was = bytes.clone();
                bytes[usize::try_from(number).unwrap() * 4096 % len] ^= 0x55;
                let disk = Disk::since(bytes.clone(), &was);
                base = write(&writer, &disk, Some(base), true).await.unwrap().tree;
                seal(&writer, number, base, Some(number - 1)).await;
            };
            for number in 2..=before {
                add(number).await;
            }
            let collector = world.open().await;
            let reads = || {
                let gets = counting.tally(Operation::Get);
                let ranges = counting.tally(Operation::GetRange);
                (gets.calls + ranges.calls, ranges.bytes)
            };
            let start = reads();
            collector.collect(Margins::STANDARD, &[]).await.unwrap();
            let first = reads();
            add(before + 1).await;
            let between = reads();
            collector.collect(Margins::STANDARD, &[]).await.unwrap();
            let second = reads();
            (first.0 - start.0, second.0 - between.0, second.1 - between.1)
        })
    };
    let (first, one_more, bytes) = cost(400_000, 8);
    // Of each group: manifest, pack header, root frame.
    assert!(first <= 8 * 3 + 1, "{first} reads of 8 groups");
    assert!(one_more <= 3, "{one_more} reads of one new group");
    let (_, more_groups, _) = cost(400_000, 24);
    assert_eq!(one_more, more_groups, "among many groups");
    let (_, larger, larger_bytes) = cost(3_000_000, 8);
    assert_eq!(one_more, larger, "on a large disk");
    assert!(larger_bytes < 2 * bytes + 2048, "{larger_bytes} bytes against {bytes}");
}

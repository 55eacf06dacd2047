//! Decoding undoes encoding, and bytes of any kind neither panic nor cost more than they weigh.
#![allow(clippy::unwrap_used)]

use hikae_format::{
    Below, DepotHeader, FOOTER_LEN, FrameKind, Geometry, GroupManifest, Inside, KeySlot, Link,
    ManifestEnvelope, Mark, MarkState, Marks, Name, Node, PackFooter, PackHeader, PackName, PackStem, Place,
    SlotId, Toc, TocFrame, TreeRef, path,
};
use model::{DepotId, Timestamp};
use proptest::prelude::*;

fn geometry() -> impl Strategy<Value = Geometry> {
    (12_u8..=20, 3_u8..=10, 3_u8..=10)
        .prop_map(|(chunk, leaf, node)| Geometry::new(chunk, leaf, node).unwrap())
}

/// Few packs and frames, so that tables have something to share.
fn link(len: u32) -> impl Strategy<Value = Link> {
    (any::<[u8; 16]>(), 0_u8..3, 0_u32..4, 0..(4_u32 << 20) - len).prop_map(move |(name, pack, frame, at)| {
        let pack = PackName([pack; 32]);
        let place = Place { pack, frame, offset: frame * 9, sealed_len: 100, plain_len: 4 << 20, at, len };
        Link { name: Name(name), place }
    })
}

fn node() -> impl Strategy<Value = (Geometry, Node)> {
    (geometry(), 0_u8..4).prop_flat_map(|(geometry, level)| {
        let len = if level == 0 { geometry.chunk_len() } else { 77 };
        let children = prop::collection::vec(prop::option::of(link(len)), geometry.fan_out(level) as usize);
        (children, prop::collection::vec(0_u16..400, 0..300)).prop_map(move |(children, below)| {
            let stems: Vec<PackStem> = below
                .iter()
                .map(|pack| PackStem([(pack % 256).to_le_bytes(); 4].concat().try_into().unwrap()))
                .collect();
            let present = children.iter().flatten().count();
            let sets: Vec<&[PackStem]> =
                (0..present).map(|nth| &stems[..stems.len().min(nth * 7 % 90)]).collect();
            let below = if level == 0 { None } else { Below::of(sets.into_iter()) };
            (geometry, Node { level, children, below })
        })
    })
}

fn tree() -> impl Strategy<Value = TreeRef> {
    let parts = (any::<[u8; 16]>(), geometry(), 0_u64..=1 << 50, prop::option::of(link(50)));
    parts.prop_map(|(slot, geometry, size, root)| TreeRef { slot: SlotId(slot), geometry, size, root })
}

fn toc_frame() -> impl Strategy<Value = TocFrame> {
    let inside = prop::collection::vec((any::<[u8; 16]>(), 1_u32..9999), 0..40);
    (any::<bool>(), inside).prop_map(|(data, inside)| {
        let inside: Vec<Inside> =
            inside.into_iter().map(|(name, len)| Inside { name: Name(name), len }).collect();
        let kind = if data { FrameKind::Data } else { FrameKind::Tree };
        let plain_len = inside.iter().map(|item| item.len).sum();
        TocFrame { kind, offset: 74, sealed_len: 99, plain_len, inside }
    })
}

/// Every decoder there is, on the same bytes. None may panic.
fn decode_all(bytes: &[u8]) {
    let _ = DepotHeader::decode(bytes);
    let _ = KeySlot::decode(bytes);
    let _ = PackHeader::decode(bytes);
    let _ = PackFooter::decode(bytes, bytes.len() as u64);
    let _ = Toc::decode(bytes);
    let _ = GroupManifest::decode(bytes);
    let _ = ManifestEnvelope::decode(bytes);
    let _ = Marks::decode(bytes);
    for level in 0..3 {
        let _ = Node::decode(bytes, Geometry::STANDARD, level, PackName([1; 32]));
        let _ = Node::decode(bytes, Geometry::new(12, 3, 10).unwrap(), level, PackName([1; 32]));
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = text.parse::<TreeRef>();
    let _ = text.parse::<PackName>();
    let _ = (
        path::parse_pack(&text),
        path::parse_group(&text),
        path::parse_intent(&text),
        path::parse_marks(&text),
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nodes_survive((geometry, node) in node(), own in 3_u8..9) {
        let own = PackName([own; 32]);
        let bytes = node.encode(geometry);
        let mut expected = node.clone();
        for link in expected.children.iter_mut().flatten().filter(|link| link.place.pack == PackName::SELF) {
            link.place.pack = own;
        }
        prop_assert_eq!(Node::decode(&bytes, geometry, node.level, own), Ok(expected));
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            prop_assert!(Node::decode(&bytes[..cut], geometry, node.level, own).is_err());
        }
    }

    #[test]
    fn trees_survive_as_text(tree in tree()) {
        let text = tree.to_string();
        prop_assert_eq!(text.parse(), Ok(tree));
        prop_assert!(text[..text.len() - 1].parse::<TreeRef>().is_err());
    }

    #[test]
    fn tables_of_contents_survive(frames in prop::collection::vec(toc_frame(), 0..20)) {
        let toc = Toc { frames };
        prop_assert_eq!(Toc::decode(&toc.encode()), Ok(toc));
    }

    #[test]
    fn marks_survive_and_notice_any_change(
        packs in prop::collection::vec((any::<[u8; 32]>(), prop::option::of(any::<i64>())), 0..20),
        number: u64,
        flip: prop::sample::Index,
    ) {
        let packs = packs.into_iter().map(|(pack, since)| {
            let state = since.map_or(MarkState::Condemned, |since| MarkState::Marked { since: Timestamp(since) });
            Mark { pack: PackName(pack), state }
        });
        let packs = packs.collect();
        let marks = Marks { depot: DepotId::from_bits(3), number, made: Timestamp(4), packs };
        let mut bytes = marks.encode();
        prop_assert_eq!(Marks::decode(&bytes), Ok(marks));
        let at = flip.index(bytes.len());
        bytes[at] ^= 1;
        prop_assert!(Marks::decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        decode_all(&bytes);
    }

    #[test]
    fn any_damage_to_goldens_is_survived(
        which: prop::sample::Index,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
    ) {
        let goldens: [&[u8]; 6] = [
            include_bytes!("golden/manifest-body.v1.bin"),
            include_bytes!("golden/leaf.v1.bin"),
            include_bytes!("golden/node.v1.bin"),
            include_bytes!("golden/toc.v1.bin"),
            include_bytes!("golden/pack-header.v1.bin"),
            include_bytes!("golden/tree.v1.txt"),
        ];
        let mut bytes = which.get(&goldens).to_vec();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        decode_all(&bytes);
    }
}

/// Lengths that promise much are not believed: such bytes are refused at once, not allocated for.
#[test]
fn huge_counts_are_refused() {
    let mut toc = u32::MAX.to_le_bytes().to_vec();
    toc.extend_from_slice(&[0; 64]);
    assert!(Toc::decode(&toc).is_err());
    let mut node = vec![0];
    node.extend_from_slice(&u32::MAX.to_le_bytes());
    node.extend_from_slice(&[0; 64]);
    assert!(Node::decode(&node, Geometry::STANDARD, 0, PackName::SELF).is_err());
    assert!(PackFooter::decode(&[0xff; FOOTER_LEN], 1 << 40).is_err());
}

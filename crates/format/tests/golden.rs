//! Bytes written once are read for ever: each file under `golden/` decodes to the value beside it.
//!
//! Append only. `UPDATE_GOLDEN=1` writes files that are missing and never touches one that is there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Debug;
use std::path::PathBuf;

use hikae_format::{
    Attempt, BaseSnapshot, Below, DepotHeader, DiskManifest, FormatError, FrameKind, Geometry, GroupManifest,
    Inside, KeySlot, Link, ManifestEnvelope, ManifestHeader, Mark, MarkState, Marks, Name, NameKeys, Node,
    Origin, PackFooter, PackHeader, PackName, PackStem, Place, Salt, SlotId, Toc, TocFrame, TreeRef,
    VOID_LEN, path, terms,
};
use model::{
    ByteCount, ConsistencyLevel, DepotId, DiskId, DiskKind, GroupId, InstanceId, InstanceSpec, KeyId, OsKind,
    RegionId, SnapshotId, Timestamp, ZoneId,
};

fn check<T: PartialEq + Debug>(
    name: &str,
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !file.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, encode(value)).unwrap();
    }
    let golden = std::fs::read(&file).expect("a golden file; UPDATE_GOLDEN=1 makes a missing one");
    assert_eq!(decode(&golden).as_ref(), Ok(value), "{name} no longer reads as it did");
    assert_eq!(encode(value), golden, "{name} is no longer written as it was");
}

fn depot() -> DepotId {
    DepotId::from_bits(0x0123_4567_89ab_cdef)
}

const SLOT: SlotId = SlotId([0x51; 16]);
const SALT: Salt = Salt([0x5a; 32]);

fn place(pack: u8, at: u32, len: u32) -> Place {
    let pack = PackName([pack; 32]);
    Place { pack, frame: 2, offset: 74, sealed_len: 300_000, plain_len: 1 << 20, at, len }
}

fn tree() -> TreeRef {
    let root = Some(Link { name: Name([9; 16]), place: place(3, 100, 900) });
    TreeRef { slot: SLOT, geometry: Geometry::STANDARD, size: (40 << 30) + 512, root }
}

fn attempt() -> Attempt {
    Attempt::new(Timestamp(1_795_000_000_000_000), [8; 8])
}

#[test]
fn depot_header() {
    let header = DepotHeader { depot: depot(), created: Timestamp(1_795_000_000_000_001) };
    check("depot-header.v1.bin", &header, DepotHeader::encode, DepotHeader::decode);
}

#[test]
fn key_slot() {
    let (key, created) = (KeyId::from_bits(77), Timestamp(-1));
    let slot = KeySlot { depot: depot(), slot: SLOT, key, created, wrapped: b"wrapped by someone".to_vec() };
    check("key-slot.v1.bin", &slot, KeySlot::encode, KeySlot::decode);
}

#[test]
fn pack_header_and_footer() {
    let header = PackHeader { depot: depot(), slot: SLOT, salt: SALT };
    check("pack-header.v1.bin", &header, PackHeader::encode, PackHeader::decode);
    let footer = PackFooter { toc_offset: 1000, toc_sealed_len: 50, toc_plain_len: 200 };
    check("pack-footer.v1.bin", &footer, PackFooter::encode, |bytes| PackFooter::decode(bytes, 1070));
}

#[test]
fn table_of_contents() {
    let inside = |byte, len| Inside { name: Name([byte; 16]), len };
    let data = TocFrame {
        kind: FrameKind::Data,
        offset: 74,
        sealed_len: 500,
        plain_len: 32768,
        inside: vec![inside(1, 16384), inside(2, 16384)],
    };
    let tree = TocFrame {
        kind: FrameKind::Tree,
        offset: 574,
        sealed_len: 90,
        plain_len: 73,
        inside: vec![inside(3, 73)],
    };
    check("toc.v1.bin", &Toc { frames: vec![data, tree] }, Toc::encode, Toc::decode);
}

#[test]
fn nodes() {
    let geometry = Geometry::STANDARD;
    let own = PackName([0xee; 32]);
    let mut leaf = Node::empty(geometry, 0);
    leaf.children[0] = Some(Link { name: Name([1; 16]), place: place(4, 0, 16384) });
    leaf.children[7] = Some(Link { name: Name([2; 16]), place: place(4, 16384, 16384) });
    leaf.children[31] =
        Some(Link { name: Name([3; 16]), place: Place { pack: own, ..place(4, 32768, 16384) } });
    let as_written = |node: &Node| {
        let mut node = node.clone();
        for link in node.children.iter_mut().flatten().filter(|link| link.place.pack == own) {
            link.place.pack = PackName::SELF;
        }
        node.encode(geometry)
    };
    check("leaf.v1.bin", &leaf, as_written, |bytes| Node::decode(bytes, geometry, 0, own));
    let mut inner = Node::empty(geometry, 2);
    inner.children[5] = Some(Link { name: Name([4; 16]), place: place(5, 12, 700) });
    inner.children[63] = Some(Link { name: Name([5; 16]), place: place(6, 0, 31) });
    let (one, other) = ([PackStem([1; 8]), PackStem([2; 8])], [PackStem([2; 8])]);
    inner.below = Below::of([&one[..], &other[..]].into_iter());
    check("node.v1.bin", &inner, as_written, |bytes| Node::decode(bytes, geometry, 2, own));
    let asking = Node { below: None, ..inner };
    check("node-asking.v1.bin", &asking, as_written, |bytes| Node::decode(bytes, geometry, 2, own));
}

#[test]
fn tree_reference() {
    let encode = |tree: &TreeRef| tree.to_string().into_bytes();
    check("tree.v1.txt", &tree(), encode, |bytes| std::str::from_utf8(bytes).unwrap().parse());
    let empty = TreeRef { root: None, size: 0, ..tree() };
    check("tree-empty.v1.txt", &empty, encode, |bytes| std::str::from_utf8(bytes).unwrap().parse());
}

#[test]
fn group_manifest() {
    let disk = DiskManifest {
        snapshot: SnapshotId::from_bits(11),
        disk: DiskId::from_bits(12),
        device: "vda".to_owned(),
        kind: DiskKind::System,
        encrypted: false,
        tracked: true,
        tree: tree(),
        bytes_read: ByteCount(1),
        bytes_stored: ByteCount(2),
        base: Some(BaseSnapshot { group: GroupId::from_bits(13), snapshot: SnapshotId::from_bits(14) }),
        origin: None,
    };
    let empty = DiskManifest {
        device: "vdb".to_owned(),
        kind: DiskKind::Data,
        encrypted: true,
        tracked: false,
        tree: TreeRef { root: None, ..tree() },
        base: None,
        origin: Some(Origin {
            depot: DepotId::from_bits(17),
            group: GroupId::from_bits(18),
            snapshot: SnapshotId::from_bits(19),
            root: Some(Name([6; 16])),
        }),
        ..disk.clone()
    };
    let manifest = GroupManifest {
        group: GroupId::from_bits(15),
        instance: InstanceId::from_bits(16),
        uuid: [0xab; 16],
        instance_name: "控え".to_owned(),
        region: RegionId::from("tokyo"),
        zone: ZoneId::from("tokyo-a"),
        taken: Timestamp(1_795_000_000_000_000),
        level: ConsistencyLevel::FileSystem,
        spec: InstanceSpec { dialect: "libvirt-domain-xml".to_owned(), text: "<domain/>".to_owned() },
        os: OsKind::Windows,
        vcpus: 4,
        memory: ByteCount(8 << 30),
        disks: vec![disk, empty],
        labels: vec![("name".to_owned(), "nightly".to_owned())],
    };
    check("manifest-body.v1.bin", &manifest, GroupManifest::encode, GroupManifest::decode);
    let (group, attempt) = (GroupId::from_bits(15), attempt());
    let header = ManifestHeader { depot: depot(), slot: SLOT, group, attempt, salt: SALT };
    let envelope = ManifestEnvelope { header, sealed: b"sealed".to_vec() };
    check("manifest.v1.bin", &envelope, ManifestEnvelope::encode, ManifestEnvelope::decode);
    let void = ManifestEnvelope::void(header);
    assert!(void.is_void() && !envelope.is_void());
    assert_eq!(void.encode().len() as u64, VOID_LEN);
    check("void.v1.bin", &void, ManifestEnvelope::encode, ManifestEnvelope::decode);
}

#[test]
fn marks() {
    let marked = Mark { pack: PackName([1; 32]), state: MarkState::Marked { since: Timestamp(99) } };
    let condemned = Mark { pack: PackName([2; 32]), state: MarkState::Condemned };
    let marks = Marks { depot: depot(), number: 7, made: Timestamp(100), packs: vec![marked, condemned] };
    check("marks.v1.bin", &marks, Marks::encode, Marks::decode);
}

/// Names, derived keys and nonces: everything a second reader must compute the same.
#[test]
fn derivations() {
    let data_key = [0x42; 32];
    let names = NameKeys::new(&data_key);
    let children = [(0, Name([1; 16])), (31, Name([2; 16]))];
    let lines = [
        format!("chunk {}", names.chunk(&[7; 16384])),
        format!("node {}", names.node(Geometry::STANDARD, 1, children.into_iter())),
        format!("pack-key {}", PackName(*terms::pack_key(&data_key, &SALT))),
        format!("manifest-key {}", PackName(*terms::manifest_key(&data_key, &SALT))),
        format!("first-slot {}", terms::first_slot(depot())),
        format!("context {}", terms::wrap_context(depot(), SLOT)),
        format!("nonce {:?}", terms::frame_nonce(0x0102_0304)),
        format!("aad {:?}", terms::frame_aad(depot(), SLOT, &SALT, 5, FrameKind::Tree)),
        path::key_slot(SLOT),
        path::pack(PackName([0xcd; 32])),
        path::intent(GroupId::from_bits(15), attempt()),
        path::group(GroupId::from_bits(15), attempt()),
        path::marks(7),
    ];
    let text = lines.map(|line| line + "\n").concat();
    check(
        "derivations.v1.txt",
        &text,
        |text| text.clone().into_bytes(),
        |bytes| Ok(String::from_utf8(bytes.to_vec()).unwrap()),
    );
}

#[test]
fn every_golden_file_has_a_test() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let source = include_str!("golden.rs");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(source.contains(&format!("\"{name}\"")), "{name} is read by nobody");
    }
}

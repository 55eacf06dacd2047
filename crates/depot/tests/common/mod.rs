//! Disks, keys, clocks and depots for the depot's tests: all in memory, all repeatable.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use format::path;
use hikae_depot::{
    BaseSnapshot, Depot, DepotError, DiskManifest, Geometry, GroupManifest, RestoreDisk, Settings, TreeRef,
    WriteDisk, WrittenDisk,
};
use host::{DiskExtent, DiskReader, DiskWriter, HostError};
use keys::{KeyError, KeyWrap, WrappedKey};
use model::{
    ByteCount, Clock, ConsistencyLevel, DiskId, DiskKind, Entropy, Extent, GroupId, InstanceId, InstanceSpec,
    KeyId, OsKind, RegionId, SnapshotId, Timestamp, ZoneId,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use seal::KeyMaterial;
use store::Store;
use tokio_util::sync::CancellationToken;

pub const SECTOR: usize = 512;

/// Chance from a seed.
pub struct Dice(Mutex<ChaCha8Rng>);

impl Dice {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(ChaCha8Rng::seed_from_u64(seed))))
    }
}

impl Entropy for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(bytes);
    }
}

/// Time that stands until told to go.
pub struct Hands(AtomicI64);

impl Hands {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_800_000_000_000_000)))
    }

    pub fn advance_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Wraps by covering with a pad of the context: enough to notice a wrong one.
pub struct Pad;

fn pad(context: &str, bytes: &[u8]) -> Vec<u8> {
    let pad = blake3::derive_key("hikae tests pad", context.as_bytes());
    bytes.iter().zip(pad).map(|(byte, pad)| byte ^ pad).collect()
}

#[async_trait]
impl KeyWrap for Pad {
    async fn wrap(&self, material: &KeyMaterial, context: &str) -> Result<WrappedKey, KeyError> {
        let mut bytes = pad(context, material.expose());
        bytes.extend_from_slice(&blake3::hash(material.expose()).as_bytes()[..8]);
        Ok(WrappedKey { key: KeyId::from_bits(9), bytes })
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &str) -> Result<KeyMaterial, KeyError> {
        let (body, sum) = wrapped.bytes.split_at_checked(32).ok_or(KeyError::Refused)?;
        let bytes: [u8; 32] = pad(context, body).try_into().map_err(|_| KeyError::Refused)?;
        if blake3::hash(&bytes).as_bytes()[..8] != *sum {
            return Err(KeyError::Refused);
        }
        Ok(KeyMaterial::from_bytes(bytes))
    }
}

/// A disk as it was, and which sectors may differ from some base.
#[derive(Debug, Clone)]
pub struct Disk {
    pub bytes: Vec<u8>,
    /// By sector; missing ones count as changed.
    pub changed: Vec<bool>,
    /// Say of zero sectors that they are data, as hosts may.
    pub hide_zeroes: bool,
    pub reads: Arc<Mutex<u64>>,
}

impl Disk {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, changed: Vec::new(), hide_zeroes: false, reads: Arc::default() }
    }

    pub fn since(bytes: Vec<u8>, base: &[u8]) -> Self {
        let changed = bytes
            .chunks(SECTOR)
            .enumerate()
            .map(|(at, sector)| base.get(at * SECTOR..at * SECTOR + sector.len()) != Some(sector))
            .collect();
        Self { changed, ..Self::new(bytes) }
    }
}

#[async_trait]
impl DiskReader for Disk {
    fn size(&self) -> ByteCount {
        ByteCount(self.bytes.len() as u64)
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        let mut extents: Vec<DiskExtent> = Vec::new();
        let mut offset = range.offset;
        while offset < range.end() {
            let sector = offset / SECTOR as u64;
            let end = ((sector + 1) * SECTOR as u64).min(range.end()).min(self.bytes.len() as u64);
            let bytes = &self.bytes[usize::try_from(offset).unwrap()..usize::try_from(end).unwrap()];
            let zero = !self.hide_zeroes && bytes.iter().all(|byte| *byte == 0);
            let changed = self.changed.get(usize::try_from(sector).unwrap()).copied().unwrap_or(true);
            let full = extents.len() >= 7;
            match extents.last_mut() {
                Some(last) if (last.zero, last.changed) == (zero, changed) => last.extent.len += end - offset,
                // Stopping early is allowed, and done.
                _ if full => break,
                _ => {
                    let extent = Extent { offset, len: end - offset };
                    extents.push(DiskExtent { extent, zero, changed });
                }
            }
            offset = end;
        }
        Ok(extents)
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        *self.reads.lock().unwrap() += range.len;
        let (from, to) = (usize::try_from(range.offset).unwrap(), usize::try_from(range.end()).unwrap());
        Ok(Bytes::copy_from_slice(&self.bytes[from..to]))
    }
}

/// A prepared disk.
#[derive(Debug, Default)]
pub struct Target {
    pub bytes: Mutex<Vec<u8>>,
    pub finished: Mutex<bool>,
}

#[async_trait]
impl DiskWriter for Target {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), HostError> {
        let from = usize::try_from(offset).unwrap();
        let mut target = self.bytes.lock().unwrap();
        target
            .get_mut(from..from + bytes.len())
            .ok_or(HostError::Failed("a write past the end".to_owned()))?
            .copy_from_slice(&bytes);
        Ok(())
    }

    async fn finish(&self) -> Result<(), HostError> {
        *self.finished.lock().unwrap() = true;
        Ok(())
    }
}

/// A bucket with its clock, from which depots are opened.
pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: Arc<Hands>,
    pub dice: Arc<Dice>,
    pub settings: Settings,
}

/// Small numbers everywhere, so that little data makes tall trees and many packs.
pub fn small() -> Settings {
    Settings {
        geometry: Geometry::new(12, 3, 3).unwrap(),
        frame_len: 16 << 10,
        pack_len: 48 << 10,
        read_len: 32 << 10,
        zstd_level: 1,
        cache_len: 128 << 10,
        ..Settings::deterministic()
    }
}

impl World {
    pub fn new(store: Arc<dyn Store>, seed: u64, settings: Settings) -> Self {
        Self { store, clock: Hands::new(), dice: Dice::new(seed), settings }
    }

    pub async fn try_open(&self) -> Result<Arc<Depot>, DepotError> {
        let settings = self.settings.clone();
        Depot::open_or_init(
            self.store.clone(),
            Arc::new(Pad),
            self.dice.clone(),
            self.clock.clone(),
            settings,
        )
        .await
    }

    pub async fn open(&self) -> Arc<Depot> {
        self.try_open().await.expect("a depot")
    }
}

pub async fn write(
    depot: &Depot,
    disk: &Disk,
    base: Option<TreeRef>,
    changed_only: bool,
) -> Result<WrittenDisk, DepotError> {
    let job = WriteDisk {
        reader: Arc::new(disk.clone()),
        base,
        changed_only,
        progress: Arc::new(|_| {}),
        cancel: CancellationToken::new(),
    };
    depot.write_disk(job).await
}

pub async fn restore(depot: &Depot, tree: &TreeRef) -> Result<Vec<u8>, DepotError> {
    let target = Arc::new(Target::default());
    *target.bytes.lock().unwrap() = vec![0; usize::try_from(tree.size).unwrap()];
    let job = RestoreDisk {
        tree: *tree,
        writer: target.clone(),
        progress: Arc::new(|_| {}),
        cancel: CancellationToken::new(),
    };
    depot.restore_disk(job).await?;
    assert!(*target.finished.lock().unwrap());
    let bytes = target.bytes.lock().unwrap().clone();
    Ok(bytes)
}

pub fn manifest(number: u128, tree: TreeRef, base: Option<u128>) -> GroupManifest {
    let base = base
        .map(|base| BaseSnapshot { group: GroupId::from_bits(base), snapshot: SnapshotId::from_bits(base) });
    GroupManifest {
        group: GroupId::from_bits(number),
        instance: InstanceId::from_bits(1),
        uuid: [7; 16],
        instance_name: "db".to_owned(),
        region: RegionId::from("tokyo"),
        zone: ZoneId::from("tokyo-a"),
        taken: Timestamp(5),
        level: ConsistencyLevel::Crash,
        spec: InstanceSpec { dialect: "simulated".to_owned(), text: "<x/>".to_owned() },
        os: OsKind::Linux,
        vcpus: 2,
        memory: ByteCount(1 << 30),
        disks: vec![DiskManifest {
            snapshot: SnapshotId::from_bits(number),
            disk: DiskId::from_bits(1),
            device: "vda".to_owned(),
            kind: DiskKind::System,
            encrypted: false,
            tracked: true,
            tree,
            bytes_read: ByteCount(0),
            bytes_stored: ByteCount(0),
            base,
            origin: None,
        }],
        labels: vec![("name".to_owned(), "nightly".to_owned())],
    }
}

/// Content that is partly holes, partly repetitive, partly noise; the same for the same seed.
pub fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut bytes = vec![0; len];
    for part in bytes.chunks_mut(4096) {
        match random.next_u32() % 4 {
            0 => {}
            1 => part.fill(u8::try_from(random.next_u32() % 250).unwrap() + 1),
            _ => random.fill_bytes(part),
        }
    }
    bytes
}

/// The name of a group's manifest among these objects.
pub fn manifest_of(objects: &BTreeMap<String, Bytes>, number: u128) -> String {
    let begins = path::manifests_of(GroupId::from_bits(number));
    objects.keys().find(|path| path.starts_with(&begins)).expect("the manifest of a group").clone()
}

/// Every object there is.
pub async fn objects(store: &Arc<dyn Store>) -> BTreeMap<String, Bytes> {
    let mut all = BTreeMap::new();
    for listed in store.list("", None, store::LIST_MAX).await.unwrap() {
        all.insert(listed.key.as_str().to_owned(), store.get(&listed.key).await.unwrap());
    }
    all
}

//! What knowing chunks costs and saves: a full write with and without, and the same content again.
//!
//! `cargo run --release -p hikae-depot --example known -- [MIB]`: so much noise, in memory at both ends;
//! noise neither compresses nor repeats, so every chunk is looked up and learned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hikae_depot::{Depot, Settings, WriteDisk};
use host::{DiskExtent, DiskReader, HostError};
use keys::{KeyError, KeyWrap, WrappedKey};
use model::{ByteCount, Clock, Entropy, Extent, KeyId, Timestamp};
use seal::KeyMaterial;
use store::Store;
use tokio_util::sync::CancellationToken;

/// Noise that is made as it is read.
#[derive(Debug)]
struct Noise(u64);

#[async_trait]
impl DiskReader for Noise {
    fn size(&self) -> ByteCount {
        ByteCount(self.0)
    }
    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        Ok(vec![DiskExtent { extent: range, zero: false, changed: true }])
    }
    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let mut bytes = vec![0; usize::try_from(range.len).unwrap()];
        blake3::Hasher::new().update(&range.offset.to_le_bytes()).finalize_xof().fill(&mut bytes);
        Ok(bytes.into())
    }
}

/// Nothing here is anybody's.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, bytes: &mut [u8]) {
        File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
    }
}

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }
}

/// Keeps a key as it is.
#[async_trait]
impl KeyWrap for Fixed {
    async fn wrap(&self, material: &KeyMaterial, _: &str) -> Result<WrappedKey, KeyError> {
        Ok(WrappedKey { key: KeyId::from_bits(1), bytes: material.expose().to_vec() })
    }
    async fn unwrap(&self, wrapped: &WrappedKey, _: &str) -> Result<KeyMaterial, KeyError> {
        Ok(KeyMaterial::from_bytes(wrapped.bytes.clone().try_into().map_err(|_| KeyError::Refused)?))
    }
}

/// Processor seconds of this process.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

async fn open(store: &Arc<dyn Store>, settings: &Settings) -> Arc<Depot> {
    let (keys, entropy, clock) = (Arc::new(Fixed), Arc::new(Fixed), Arc::new(Fixed));
    Depot::open_or_init(store.clone(), keys, entropy, clock, settings.clone()).await.unwrap()
}

async fn write(what: &str, depot: &Depot, len: u64) {
    let (progress, cancel) = (Arc::new(|_| {}), CancellationToken::new());
    let job = WriteDisk { reader: Arc::new(Noise(len)), base: None, changed_only: false, progress, cancel };
    let before = cpu_s();
    let written = depot.write_disk(job).await.unwrap();
    let per_gib = (cpu_s() - before) / (len as f64 / f64::from(1 << 30));
    println!("{what}: {per_gib:.3} CPU s/GiB, {} stored", written.bytes_stored);
}

fn main() {
    let mib: u64 = std::env::args().nth(1).map_or(512, |text| text.parse().expect("a number of MiB"));
    let len = mib << 20;
    let folder = std::env::temp_dir().join(format!("hikae-known-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..2 {
            let none = Settings { known_chunks: 0, zstd_level: 1, ..Settings::default() };
            let memory = Settings { known_chunks: Settings::default().known_chunks, ..none.clone() };
            let kept = Settings { known_folder: Some(folder.join(round.to_string())), ..memory.clone() };
            for (what, settings) in
                [("knowing nothing", &none), ("in memory", &memory), ("in a folder", &kept)]
            {
                let store = store::memory();
                let depot = open(&store, settings).await;
                write(&format!("full, {what}"), &depot, len).await;
                if settings.known_chunks > 0 {
                    write(&format!("again, {what}"), &depot, len).await;
                }
                if settings.known_folder.is_some() {
                    write("again, by the next process", &*open(&store, settings).await, len).await;
                }
            }
        }
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

//! What knowing chunks costs and saves: a full write with and without, and the same content again.
//!
//! `cargo run --release -p hikae-depot --example known -- [MIB]`: so much noise, in memory at both ends;
//! noise neither compresses nor repeats, so every chunk is looked up and learned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../tests/common/mod.rs"]
mod common;
mod support;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::{Dice, Hands, Pad};
use hikae_depot::{Depot, Settings, WriteDisk};
use host::{DiskExtent, DiskReader, HostError};
use model::{ByteCount, Extent};
use store::Store;
use support::cpu_s;
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

async fn open(store: &Arc<dyn Store>, settings: &Settings, seed: u64) -> Arc<Depot> {
    let (dice, hands) = (Dice::new(seed), Hands::new());
    Depot::open_or_init(store.clone(), Arc::new(Pad), dice, hands, settings.clone()).await.unwrap()
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
                let depot = open(&store, settings, 1).await;
                write(&format!("full, {what}"), &depot, len).await;
                if settings.known_chunks > 0 {
                    write(&format!("again, {what}"), &depot, len).await;
                }
                if settings.known_folder.is_some() {
                    write("again, by the next process", &*open(&store, settings, 2).await, len).await;
                }
            }
        }
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

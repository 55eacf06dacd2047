//! How fast verify is beside a restore, and what ten snapshots cost beside one.
//!
//! `cargo run --release -p hikae-depot --example verify_speed FILE FOLDER` — an image, and where the depot
//! may lie.
#![expect(clippy::disallowed_methods, reason = "it is a stopwatch")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is run by hand")]
#![allow(unfulfilled_lint_expectations)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use common::{Dice, Hands, Pad, manifest};
use hikae_depot::{Depot, Depth, RestoreDisk, Settings, TreeRef, WriteDisk};
use host::{DiskExtent, DiskReader, DiskWriter, HostError};
use model::{ByteCount, Extent};
use store::StoreConfig;
use tokio_util::sync::CancellationToken;

/// An image, with a 4 KiB block in each of some 64 KiB changed for each round.
#[derive(Debug)]
struct Image {
    bytes: Bytes,
    round: u64,
}

const BLOCK: u64 = 64 << 10;

#[async_trait]
impl DiskReader for Image {
    fn size(&self) -> ByteCount {
        ByteCount(self.bytes.len() as u64)
    }
    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        Ok(vec![DiskExtent { extent: range, zero: false, changed: true }])
    }
    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let (from, to) = (usize::try_from(range.offset).unwrap(), usize::try_from(range.end()).unwrap());
        let mut bytes = self.bytes[from..to].to_vec();
        for (nth, block) in (range.offset / BLOCK..).zip(bytes.chunks_mut(1 << 16)) {
            if self.round > 0 && (nth * 7919 + self.round * 31).is_multiple_of(100) && block.len() > 8192 {
                let noise = blake3::hash(&(nth * 1000 + self.round).to_le_bytes());
                block[4096..8192]
                    .iter_mut()
                    .zip(noise.as_bytes().iter().cycle())
                    .for_each(|(to, from)| *to = *from);
            }
        }
        Ok(bytes.into())
    }
}

#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl DiskWriter for Nowhere {
    async fn write(&self, _: u64, bytes: Bytes) -> Result<(), HostError> {
        std::hint::black_box(bytes);
        Ok(())
    }
    async fn finish(&self) -> Result<(), HostError> {
        Ok(())
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let bytes = Bytes::from(std::fs::read(arguments.next().unwrap()).unwrap());
    let folder = std::path::PathBuf::from(arguments.next().unwrap()).join("verify-speed");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(bytes, &folder));
    std::fs::remove_dir_all(folder).unwrap();
}

async fn measure(bytes: Bytes, folder: &std::path::Path) {
    let gib = bytes.len() as f64 / f64::from(1 << 30);
    let store = store::open(&StoreConfig::Directory { path: folder.to_owned() }).await.unwrap();
    let open = || async {
        let (store, settings) = (store.clone(), Settings::default());
        Depot::open_or_init(store, Arc::new(Pad), Dice::new(1), Hands::new(), settings).await.unwrap()
    };
    let depot = open().await;
    let mut base: Option<TreeRef> = None;
    for round in 0..10 {
        let job = WriteDisk {
            reader: Arc::new(Image { bytes: bytes.clone(), round }),
            base,
            changed_only: false,
            progress: Arc::new(|_| {}),
            cancel: CancellationToken::new(),
        };
        let written = depot.write_disk(job).await.unwrap();
        let number = u128::from(round) + 1;
        depot.seal_group(&manifest(number, written.tree, (round > 0).then_some(number - 1))).await.unwrap();
        base = Some(written.tree);
        if round > 0 && round < 9 {
            continue;
        }
        println!("{number} snapshots of {gib:.2} GiB");
        let depot = open().await;
        for what in ["restore", "verify", "verify --no-keys"] {
            let mut seconds: Vec<f64> = Vec::new();
            for _ in 0..3 {
                let start = Instant::now();
                look(&depot, what, written.tree).await;
                seconds.push(start.elapsed().as_secs_f64());
            }
            seconds.sort_by(f64::total_cmp);
            println!("  {what:<18} {:.2} s ({:.2}–{:.2})", seconds[1], seconds[0], seconds[2]);
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{peak}, of which the image {} kB", bytes.len() >> 10);
}

async fn look(depot: &Depot, what: &str, tree: TreeRef) {
    let cancel = CancellationToken::new();
    match what {
        "restore" => {
            let (writer, progress) = (Arc::new(Nowhere), Arc::new(|_| {}));
            depot.restore_disk(RestoreDisk { tree, writer, progress, cancel }).await.unwrap();
        }
        "verify" => assert!(depot.verify(Depth::Data, &cancel).await.unwrap().findings.is_empty()),
        _ => assert!(depot.verify(Depth::Names, &cancel).await.unwrap().findings.is_empty()),
    }
}

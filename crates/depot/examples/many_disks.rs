//! Several disks written at once into one depot, by one process: run it to see its memory.
//!
//! `cargo run --release -p hikae-depot --example many_disks DIRECTORY DISKS MIB`
#![expect(clippy::unwrap_used, reason = "it is run by hand and by the benchmark")]
#![allow(unfulfilled_lint_expectations)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::{Dice, Hands, Pad};
use hikae_depot::{Depot, Settings, WriteDisk};
use host::{DiskExtent, DiskReader, HostError};
use model::{ByteCount, Extent};
use store::StoreConfig;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, disks, mib] = arguments.as_slice() else { panic!("say DIRECTORY DISKS MIB") };
    let (disks, len): (u64, u64) = (disks.parse().unwrap(), mib.parse::<u64>().unwrap() << 20);
    let store = store::open(&StoreConfig::Directory { path: directory.into() }).await.unwrap();
    let depot = Depot::open_or_init(store, Arc::new(Pad), Dice::new(1), Hands::new(), Settings::default());
    let depot = depot.await.unwrap();
    let jobs: Vec<_> = (0..disks)
        .map(|seed| {
            let job = WriteDisk {
                reader: Arc::new(Made { seed, len }),
                base: None,
                changed_only: false,
                progress: Arc::new(|_| {}),
                cancel: CancellationToken::new(),
            };
            let depot = Arc::clone(&depot);
            tokio::spawn(async move { depot.write_disk(job).await.unwrap() })
        })
        .collect();
    for job in jobs {
        job.await.unwrap();
    }
}

/// A disk made while it is read: half of it compresses, no two chunks are alike.
#[derive(Debug)]
struct Made {
    seed: u64,
    len: u64,
}

#[async_trait]
impl DiskReader for Made {
    fn size(&self) -> ByteCount {
        ByteCount(self.len)
    }

    async fn extents(&self, extent: Extent) -> Result<Vec<DiskExtent>, HostError> {
        Ok(vec![DiskExtent { extent, zero: false, changed: true }])
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let word = |at: u64| {
            let mixed = (at ^ (self.seed << 56)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // Of every 4 KiB the second half repeats itself.
            if at & 0x800 == 0 { mixed ^ (mixed >> 29) } else { at >> 12 }
        };
        let words = (range.offset..range.end()).step_by(8).flat_map(|at| word(at).to_le_bytes());
        Ok(words.collect::<Vec<u8>>().into())
    }
}

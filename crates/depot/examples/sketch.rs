//! What a gibibyte costs: the figures of `docs/sketches.md`. CPU time counts where the machine is busy.
//!
//! `cargo run --release -p hikae-depot --example sketch [FILE]` — an image, or, without one, what
//! `/usr/lib` holds, each file padded as a file system would.
#![expect(clippy::disallowed_methods, reason = "it is a stopwatch")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is run by hand")]
#![allow(unfulfilled_lint_expectations)]

#[path = "../tests/common/mod.rs"]
mod common;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use common::{Dice, Hands, Pad};
use hikae_depot::{Depot, RestoreDisk, Settings, WriteDisk};
use host::{DiskExtent, DiskReader, DiskWriter, HostError};
use model::{ByteCount, Extent};
use support::cpu_s;
use tokio_util::sync::CancellationToken;

const SAMPLE_LEN: usize = 768 << 20;

fn main() {
    let sample = match std::env::args().nth(1) {
        Some(file) => std::fs::read(file).unwrap(),
        None => {
            let mut bytes = Vec::with_capacity(SAMPLE_LEN);
            gather(Path::new("/usr/lib"), &mut bytes);
            bytes
        }
    };
    println!("sample: {} ", ByteCount(sample.len() as u64));
    for log2 in [14, 16] {
        time(&format!("BLAKE3 keyed, {} KiB chunks", (1 << log2) >> 10), &sample, |bytes| {
            bytes
                .chunks(1 << log2)
                .map(|chunk| usize::from(blake3::keyed_hash(&[1; 32], chunk).as_bytes()[0]))
                .sum()
        });
    }
    for level in [-1, 1, 3] {
        for log2 in [14, 16, 18, 20] {
            let mut packed = vec![0; zstd::zstd_safe::compress_bound(1 << log2)];
            let mut zstd = zstd::bulk::Compressor::new(level).unwrap();
            time(&format!("zstd {level}, frames of {} KiB", (1 << log2) >> 10), &sample, |bytes| {
                bytes
                    .chunks(1 << log2)
                    .map(|frame| zstd.compress_to_buffer(frame, &mut packed).unwrap())
                    .sum()
            });
        }
    }
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, &[1; 32]).unwrap());
    let mut room = vec![0; 1 << 20];
    time("AES-256-GCM-SIV, frames of 1 MiB", &sample, |bytes| {
        for frame in bytes.chunks(1 << 20) {
            room[..frame.len()].copy_from_slice(frame);
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let _tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut room[..frame.len()]).unwrap();
        }
        bytes.len()
    });
    let sample = Arc::new(sample);
    for parallelism in [1, 2] {
        for level in [1, 3] {
            whole(&sample, Settings { parallelism, zstd_level: level, ..Settings::default() });
        }
    }
}

fn gather(folder: &Path, bytes: &mut Vec<u8>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().unwrap();
        if bytes.len() >= SAMPLE_LEN {
            return bytes.truncate(SAMPLE_LEN);
        } else if kind.is_dir() {
            gather(&entry.path(), bytes);
        } else if kind.is_file() {
            bytes.extend(std::fs::read(entry.path()).unwrap_or_default());
            bytes.resize(bytes.len().next_multiple_of(4096), 0);
        }
    }
}

fn time(what: &str, sample: &[u8], work: impl FnOnce(&[u8]) -> usize) {
    let start = Start::now();
    let out = work(sample);
    start.report(what, sample.len(), out);
}

struct Start {
    wall: Instant,
    cpu_s: f64,
}

impl Start {
    fn now() -> Self {
        Self { wall: Instant::now(), cpu_s: cpu_s() }
    }

    fn report(&self, what: &str, len: usize, out: usize) {
        let gib = len as f64 / (1 << 30) as f64;
        let (wall, cpu) = (self.wall.elapsed().as_secs_f64() / gib, (cpu_s() - self.cpu_s) / gib);
        let ratio = out as f64 / len as f64;
        println!("{what:<42} {wall:>6.2} s/GiB  {cpu:>6.2} CPU s/GiB  ratio {ratio:.3}");
    }
}

/// Write and restore, in memory at both ends.
fn whole(sample: &Arc<Vec<u8>>, settings: Settings) {
    let what = format!("parallelism {}, zstd {}", settings.parallelism, settings.zstd_level);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let depot = Depot::open_or_init(store::memory(), Arc::new(Pad), Dice::new(1), Hands::new(), settings);
        let depot = depot.await.unwrap();
        let write = |base| WriteDisk {
            reader: Arc::new(Sample(sample.clone())),
            base,
            changed_only: false,
            progress: Arc::new(|_| {}),
            cancel: CancellationToken::new(),
        };
        let start = Start::now();
        let written = depot.write_disk(write(None)).await.unwrap();
        let stored = usize::try_from(written.bytes_stored.0).unwrap();
        start.report(&format!("write, {what}"), sample.len(), stored);
        let start = Start::now();
        depot.write_disk(write(Some(written.tree))).await.unwrap();
        start.report(&format!("compare with its base, {what}"), sample.len(), 0);
        let start = Start::now();
        let job = RestoreDisk {
            tree: written.tree,
            writer: Arc::new(Nowhere),
            progress: Arc::new(|_| {}),
            cancel: CancellationToken::new(),
        };
        depot.restore_disk(job).await.unwrap();
        start.report(&format!("restore, {what}"), sample.len(), 0);
    });
}

#[derive(Debug)]
struct Sample(Arc<Vec<u8>>);

#[async_trait]
impl DiskReader for Sample {
    fn size(&self) -> ByteCount {
        ByteCount(self.0.len() as u64)
    }
    async fn extents(&self, extent: Extent) -> Result<Vec<DiskExtent>, HostError> {
        Ok(vec![DiskExtent { extent, zero: false, changed: true }])
    }
    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let (from, to) = (usize::try_from(range.offset).unwrap(), usize::try_from(range.end()).unwrap());
        Ok(Bytes::copy_from_slice(&self.0[from..to]))
    }
}

/// A disk that forgets.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl DiskWriter for Nowhere {
    async fn write(&self, _: u64, _: Bytes) -> Result<(), HostError> {
        Ok(())
    }
    async fn finish(&self) -> Result<(), HostError> {
        Ok(())
    }
}

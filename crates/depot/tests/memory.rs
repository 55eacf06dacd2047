//! A disk of any size takes the same memory.
#![allow(clippy::unwrap_used)]

mod common;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use common::World;
use hikae_depot::{CopyDisk, Settings, WriteDisk};
use host::{DiskExtent, DiskReader, HostError};
use model::{ByteCount, Extent};
use store::{Doomed, Listed, ObjectKey, Put, Store, StoreConfig, StoreError};
use tokio_util::sync::CancellationToken;

const DISK_LEN: u64 = 640 << 20;
const MEMORY_MAX: u64 = 256 << 20;

/// Noise and repetition by turns, made as it is read.
#[derive(Debug)]
struct Endless;

#[async_trait]
impl DiskReader for Endless {
    fn size(&self) -> ByteCount {
        ByteCount(DISK_LEN)
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        Ok(vec![DiskExtent { extent: range, zero: false, changed: true }])
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let mut bytes = vec![0; usize::try_from(range.len).unwrap()];
        for (nth, part) in (0..).zip(bytes.chunks_mut(16 << 10)) {
            let seed = range.offset + nth;
            let noisy = if nth % 2 == 0 { part.len() } else { 64 };
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut part[..noisy]);
        }
        Ok(bytes.into())
    }
}

/// Keeps all objects but packs.
#[derive(Debug)]
struct Sieve(Arc<dyn Store>);

#[async_trait]
impl Store for Sieve {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        if key.as_str().starts_with("packs/") { Ok(Put::Created) } else { self.0.put_new(key, bytes).await }
    }
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.0.get(key).await
    }
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.0.get_range(key, range).await
    }
    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.0.size(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        self.0.list(prefix, after, limit).await
    }
    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        self.0.delete(doomed).await
    }
}

/// Memory of this process in bytes, as the kernel counts: what it holds, or the most it held.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

/// From now on the most is counted anew.
fn forget_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    memory("VmRSS")
}

/// One after the other, for memory is counted by process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_disk_is_written_and_copied_in_bounded_memory() {
    let folder = tempfile::TempDir::new().unwrap();
    let directory = StoreConfig::Directory { path: folder.path().to_owned() };
    let settings = Settings { parallelism: 4, ..Settings::default() };
    let here = World::new(store::open(&directory).await.unwrap(), 1, settings.clone());
    let depot = here.open().await;
    let before = forget_peak();
    let job = WriteDisk {
        reader: Arc::new(Endless),
        base: None,
        changed_only: false,
        progress: Arc::new(|_| {}),
        cancel: CancellationToken::new(),
    };
    let written = depot.write_disk(job).await.unwrap();
    assert!(written.bytes_stored.0 > DISK_LEN / 2 && written.bytes_stored.0 < DISK_LEN * 11 / 20);
    let grown = memory("VmHWM") - before;
    println!("written in {}", ByteCount(grown));
    assert!(grown < MEMORY_MAX, "{} for a disk of {}", ByteCount(grown), ByteCount(DISK_LEN));

    // By another process, on two cores.
    drop(depot);
    let settings = Settings { parallelism: 2, ..settings };
    let depot = World { settings: settings.clone(), ..here }.open().await;
    let there = World::new(Arc::new(Sieve(store::memory())), 2, settings).open().await;
    forget_peak();
    let (progress, cancel) = (Arc::new(|_| {}), CancellationToken::new());
    let job = CopyDisk { tree: written.tree, base: None, progress, cancel };
    let copied = depot.copy_disk(&there, job).await.unwrap();
    assert_eq!(copied.bytes_read.0, DISK_LEN);
    // With what the allocator has kept of the write.
    let grown = memory("VmHWM") - before;
    println!("copied in {}", ByteCount(grown));
    assert!(grown < MEMORY_MAX, "{} to copy a disk of {}", ByteCount(grown), ByteCount(DISK_LEN));
}

//! A disk that is mostly holes costs what it holds, and every bit of that is found again.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use common::World;
use hikae_depot::{Settings, WriteDisk};
use host::{DiskExtent, DiskReader, HostError};
use model::{ByteCount, Extent};
use tokio_util::sync::CancellationToken;

const GIB: u64 = 1 << 30;
const DISK_LEN: u64 = 700 * GIB;
const ISLAND_LEN: u64 = 20_000;

/// Where islands of data lie: at both ends, across every length a window may have, and crowded in one place.
fn islands() -> Vec<u64> {
    let edges = [1, 2, 5, 21, 64, 85, 149, 213, 400].map(|gib| gib * GIB - 10_000);
    let crowd = (0..300).map(|nth| 500 * GIB + nth * 3_000_000);
    [0].into_iter().chain(edges).chain(crowd).chain([DISK_LEN - ISLAND_LEN]).collect()
}

#[derive(Debug, Default)]
struct Sea {
    asked: AtomicUsize,
}

fn byte_at(offset: u64) -> u8 {
    u8::try_from((offset / 512 * 37 + offset / GIB) % 251).unwrap() + 1
}

#[async_trait]
impl DiskReader for Sea {
    fn size(&self) -> ByteCount {
        ByteCount(DISK_LEN)
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (mut told, mut at) = (Vec::new(), range.offset);
        let mut tell = |to: u64, zero: bool| {
            let to = to.min(range.end());
            if to > at {
                told.push(DiskExtent { extent: Extent { offset: at, len: to - at }, zero, changed: true });
                at = to;
            }
        };
        for island in islands() {
            tell(island, true);
            tell(island + ISLAND_LEN, false);
        }
        tell(DISK_LEN, true);
        Ok(told)
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let mut bytes = vec![0; usize::try_from(range.len).unwrap()];
        for island in islands() {
            for at in island.max(range.offset)..(island + ISLAND_LEN).min(range.end()) {
                bytes[usize::try_from(at - range.offset).unwrap()] = byte_at(at);
            }
        }
        Ok(bytes.into())
    }
}

#[tokio::test]
async fn a_wide_disk_is_asked_for_in_few_windows_and_nothing_on_it_is_missed() {
    let world = World::new(store::memory(), 1, Settings::deterministic());
    let depot = world.open().await;
    let sea = Arc::new(Sea::default());
    let job = WriteDisk {
        reader: sea.clone(),
        base: None,
        changed_only: false,
        progress: Arc::new(|_| {}),
        cancel: CancellationToken::new(),
    };
    let tree = depot.write_disk(job).await.unwrap().tree;
    let asked = sea.asked.load(Ordering::Relaxed);
    assert!(asked < 40, "{asked} windows for {} GiB", DISK_LEN / GIB);
    for island in islands() {
        let from = island.saturating_sub(65_536);
        let around = Extent { offset: from, len: (island + ISLAND_LEN + 65_536).min(DISK_LEN) - from };
        let (expected, found) = (sea.read(around).await.unwrap(), depot.read(&tree, around).await.unwrap());
        assert!(found == expected, "around {island}");
    }
}

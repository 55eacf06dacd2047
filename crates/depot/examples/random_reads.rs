//! What a random read of a snapshot costs: 4 KiB at a time, all over the disk, and again in one corner of it.
//!
//! `cargo run --release -p hikae-depot --example random_reads DEPOT ROOT_KEY REGION SNAPSHOT`
#![expect(clippy::disallowed_methods, reason = "it is a stopwatch")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is run by hand and by the benchmark")]
#![allow(unfulfilled_lint_expectations)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hikae_depot::{Depot, Settings, TreeRef};
use keys::RegionKeys;
use model::{Clock, Entropy, Extent, RegionId, Timestamp};
use seal::FileSealer;
use store::StoreConfig;

const READ_LEN: u64 = 4096;
const READS: usize = 2000;
/// Fits the cache of opened frames with room to spare.
const CORNER_LEN: u64 = 8 << 20;
/// Where a file system has something to read.
const TRIES_MAX: usize = 64;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [depot, key, region, snapshot] = arguments.as_slice() else {
        panic!("say DEPOT ROOT_KEY REGION SNAPSHOT");
    };
    let depot = open(Path::new(depot), Path::new(key), region).await;
    let tree = find(&depot, snapshot).await;
    // Places that hold something are found with a cache of their own: the one measured stays empty.
    let scout = open(Path::new(&arguments[0]), Path::new(key), region).await;
    let mut draw = Draw(7);
    let mut places = Vec::with_capacity(READS);
    while places.len() < READS {
        places.push(used(&scout, &tree, &mut draw).await);
    }
    drop(scout);
    let cold = times(&depot, &tree, &places).await;
    let corner = places[0] / CORNER_LEN * CORNER_LEN;
    let near: Vec<u64> = (0..READS)
        .map(|_| (corner + draw.below(CORNER_LEN / READ_LEN) * READ_LEN).min(tree.size - READ_LEN))
        .collect();
    times(&depot, &tree, &near).await;
    let warm = times(&depot, &tree, &near).await;
    println!("{{\"cold_ms\": {}, \"warm_ms\": {}}}", percentiles(cold), percentiles(warm));
}

async fn open(path: &Path, key: &Path, region: &str) -> Arc<Depot> {
    let store = store::open(&StoreConfig::Directory { path: path.to_owned() }).await.unwrap();
    let sealer = Arc::new(FileSealer::open_or_create(key, Arc::new(Nothing)).unwrap());
    let keys = Arc::new(RegionKeys::new(RegionId(region.to_owned()), sealer, Arc::new(Nothing)));
    Depot::open(store, keys, Arc::new(Nothing), Arc::new(Nothing), Settings::default()).await.unwrap()
}

async fn find(depot: &Depot, snapshot: &str) -> TreeRef {
    for id in depot.groups().await.unwrap() {
        let group = depot.group(id).await.unwrap().unwrap();
        if let Some(disk) = group.disks.iter().find(|disk| disk.snapshot.to_string() == snapshot) {
            return disk.tree;
        }
    }
    panic!("there is no snapshot {snapshot}");
}

/// A place that is not all zeros, if there are any to be met with.
async fn used(depot: &Depot, tree: &TreeRef, draw: &mut Draw) -> u64 {
    let mut offset = 0;
    for _ in 0..TRIES_MAX {
        offset = draw.below(tree.size / READ_LEN) * READ_LEN;
        let bytes = depot.read(tree, Extent { offset, len: READ_LEN }).await.unwrap();
        if bytes.iter().any(|byte| *byte != 0) {
            break;
        }
    }
    offset
}

async fn times(depot: &Depot, tree: &TreeRef, places: &[u64]) -> Vec<f64> {
    let mut times = Vec::with_capacity(places.len());
    for offset in places {
        let began = Instant::now();
        depot.read(tree, Extent { offset: *offset, len: READ_LEN }).await.unwrap();
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

/// The median, and what nineteen of twenty stay below.
fn percentiles(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    format!("[{:.4}, {:.4}]", times[times.len() / 2], times[times.len() * 95 / 100])
}

struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 24) % bound
    }
}

/// No time and no chance: nothing is written.
#[derive(Debug)]
struct Nothing;

impl Entropy for Nothing {
    fn fill(&self, _: &mut [u8]) {
        unreachable!("nothing is written");
    }
}

impl Clock for Nothing {
    fn now(&self) -> Timestamp {
        Timestamp(1)
    }
}

//! What visits of the collector cost in one process, which remembers, on a clock that can be put forward.
//!
//! `cargo run --release -p hikae-depot --example visits DEPOT ROOT_KEY REGION STEP…`
//!
//! A step is `visit`, `later:SECONDS` (less than nothing: earlier) or `delete:GROUP`. Use it on a depot that
//! nobody needs: what days would have freed, it frees at once.
#![expect(clippy::disallowed_methods, reason = "it is a stopwatch, and its clock begins with the real one")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it is run by hand and by the benchmark")]
#![allow(unfulfilled_lint_expectations)]

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hikae_depot::{Depot, Margins, Settings};
use keys::RegionKeys;
use model::{Clock, Entropy, RegionId, Timestamp};
use seal::FileSealer;
use store::StoreConfig;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, key, region, steps @ ..] = arguments.as_slice() else {
        panic!("say DEPOT ROOT_KEY REGION STEP…");
    };
    let clock = Arc::new(Shifted::default());
    let store = store::open(&StoreConfig::Directory { path: path.into() }).await.unwrap();
    let sealer = Arc::new(FileSealer::open_or_create(Path::new(key), Arc::new(Urandom)).unwrap());
    let keys = Arc::new(RegionKeys::new(RegionId(region.clone()), sealer, Arc::new(Urandom)));
    let settings = Settings::default();
    let depot = Depot::open(store, keys, Arc::new(Urandom), clock.clone(), settings).await.unwrap();
    let mut visits = Vec::new();
    for step in steps {
        match step.split_once(':') {
            None if step == "visit" => visits.push(visit(&depot).await),
            Some(("later", seconds)) => clock.shift(seconds.parse().unwrap()),
            Some(("delete", group)) => depot.delete_group(group.parse().unwrap()).await.unwrap(),
            _ => panic!("there is no step {step}"),
        }
    }
    println!("[{}]", visits.join(", "));
}

async fn visit(depot: &Depot) -> String {
    let began = Instant::now();
    let report = depot.collect(Margins::STANDARD, &[]).await.unwrap();
    let wall_s = began.elapsed().as_secs_f64();
    assert_eq!(report.refused, None);
    format!(
        "{{\"wall_s\": {wall_s:.6}, \"packs\": {}, \"needed\": {}, \"marked\": {}, \"deleted\": {}}}",
        report.packs, report.named, report.marked, report.deleted
    )
}

/// The real time, so much later.
#[derive(Debug, Default)]
struct Shifted(AtomicI64);

impl Shifted {
    fn shift(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_micros()).unwrap() + self.0.load(Ordering::SeqCst))
    }
}

/// The kernel's chance: marks are sealed with the depot's real key.
#[derive(Debug)]
struct Urandom;

impl Entropy for Urandom {
    fn fill(&self, bytes: &mut [u8]) {
        File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
    }
}

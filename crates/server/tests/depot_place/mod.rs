//! Where a depot of these tests lies: a directory, or a prefix of a bucket that `cargo xtask test` made.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use depot::{Depot, GroupManifest, Settings};
use keys::RegionKeys;
use model::{Clock, Entropy, RegionId, Timestamp};
use seal::FileSealer;
use serde_json::Value;
use store::{Credentials, LIST_MAX, ObjectKey, Secret, Store, StoreConfig};

use crate::support::{hikae, rand_bits};

#[derive(Debug, Clone)]
pub(crate) enum Place {
    Directory(PathBuf),
    Bucket { url: String, access_key_id: String, secret: String },
}

/// The real S3 server has two buckets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bucket {
    First,
    Second,
}

impl Place {
    /// A prefix nobody else uses.
    pub(crate) fn in_bucket(which: Bucket) -> Self {
        let told =
            std::env::var("HIKAE_TEST_S3").expect("HIKAE_TEST_S3 is not set: `cargo xtask test` sets it");
        let told: Value = serde_json::from_str(&told).expect("HIKAE_TEST_S3 is JSON");
        let word = |name: &str| told[name].as_str().unwrap_or_else(|| panic!("no {name} is told")).to_owned();
        let bucket = match which {
            Bucket::First => word("bucket"),
            Bucket::Second => word("second_bucket"),
        };
        let (run, endpoint) = (rand_bits(), word("endpoint"));
        let url = format!("s3://{bucket}/place/{run:032x}?endpoint={endpoint}&allow_http=true");
        Self::Bucket { url, access_key_id: word("access_key_id"), secret: word("secret") }
    }

    /// As `--depot` and `--to` take it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Bucket { url, .. } => url.clone(),
        }
    }

    /// The tool, with what it needs to know of this place beyond its name, and of no other.
    pub(crate) fn command(&self) -> Command {
        let mut command = hikae();
        for name in ["HIKAE_DEPOT", "HIKAE_ROOT_KEY", "HIKAE_DEPOT_SECRET", "HIKAE_DEPOT_ACCESS_KEY_ID"] {
            command.env_remove(name);
        }
        self.equip(&mut command);
        command
    }

    /// Gives a command the bucket's key, if this is one.
    pub(crate) fn equip(&self, command: &mut Command) {
        if let Self::Bucket { access_key_id, secret, .. } = self {
            command.env("HIKAE_DEPOT_ACCESS_KEY_ID", access_key_id).env("HIKAE_DEPOT_SECRET", secret);
            command.env("NO_PROXY", "127.0.0.1");
        }
    }

    fn config(&self) -> StoreConfig {
        match self {
            Self::Directory(path) => StoreConfig::Directory { path: path.clone() },
            Self::Bucket { url, access_key_id, secret } => {
                let (access_key_id, secret) = (access_key_id.clone(), Secret::new(secret));
                StoreConfig::parse(url, Some(Credentials { access_key_id, secret })).expect("a place")
            }
        }
    }

    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        store::open(&self.config()).await.expect("a store")
    }

    /// Names of objects, in order.
    pub(crate) async fn objects(&self, prefix: &str) -> Vec<String> {
        let store = self.store().await;
        let mut names: Vec<String> = Vec::new();
        loop {
            let after = names.last().map(|name| ObjectKey::new(name.clone()).expect("listed"));
            let page = store.list(prefix, after.as_ref(), LIST_MAX).await.expect("a listing");
            if page.is_empty() {
                return names;
            }
            names.extend(page.into_iter().map(|line| line.key.as_str().to_owned()));
        }
    }

    /// The depot there, as a process that remembers nothing opens it.
    pub(crate) async fn open(&self, root_key: &Path) -> Arc<Depot> {
        let sealer = FileSealer::open_or_create(root_key, Arc::new(Noise)).expect("a key");
        let keys = RegionKeys::new(RegionId::from("tokyo"), Arc::new(sealer), Arc::new(Noise));
        let (entropy, clock) = (Arc::new(Noise), Arc::new(Now));
        let store = self.store().await;
        Depot::open(store, Arc::new(keys), entropy, clock, Settings::default()).await.expect("a depot")
    }
}

pub(crate) async fn manifests(depot: &Depot) -> Vec<GroupManifest> {
    let mut found = Vec::new();
    for id in depot.groups().await.expect("groups") {
        found.push(depot.group(id).await.expect("a sound manifest").expect("listed"));
    }
    found
}

#[derive(Debug)]
struct Now;

impl Clock for Now {
    #[expect(clippy::disallowed_methods, reason = "the tool beside us lives in real time")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Timestamp(i64::try_from(since.as_micros()).expect("before 292277"))
    }
}

#[derive(Debug)]
struct Noise;

impl Entropy for Noise {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("chance");
    }
}

/// Bytes nobody can compress, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

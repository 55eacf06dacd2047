//! Depots broken in exactly one way: what is said of them, what is never read from them, what stays whole.
//!
//! `fixtures` holds one depot for each object and defect, and goldens of every word an operator would
//! read. `sweep` breaks a small depot everywhere. `looks` is about what verify promises of itself.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod fixtures;
mod looks;
mod sweep;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use store::{ObjectKey, Store};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A bucket with these objects in it.
async fn bucket(objects: &BTreeMap<String, Bytes>) -> Arc<dyn Store> {
    let store = store::memory();
    for (path, bytes) in objects {
        store.put_new(&ObjectKey::new(path.as_str()).unwrap(), bytes.clone()).await.unwrap();
    }
    store
}

/// The only object whose name begins so.
fn only(objects: &BTreeMap<String, Bytes>, prefix: &str) -> String {
    let found: Vec<&String> = objects.keys().filter(|path| path.starts_with(prefix)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// With another version in its head, and a sum that fits.
fn of_version(object: &[u8], version: u16, checked: bool) -> Bytes {
    let mut bytes = object.to_vec();
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    if checked {
        let body = bytes.len() - 32;
        let sum = blake3::hash(&bytes[..body]);
        bytes[body..].copy_from_slice(sum.as_bytes());
    }
    bytes.into()
}

//! A wrapper that counts operations and bytes, for figures and for tests of how little is done.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use model::Timestamp;

use crate::{Doomed, Listed, ObjectKey, Operation, Put, Store, StoreError};

/// Counts what passes through to `inner`.
#[derive(Debug)]
pub struct Counting {
    inner: Arc<dyn Store>,
    counters: [Counter; Operation::ALL.len()],
}

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
}

/// What was counted of one kind of operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    /// Of the calls, those that failed.
    pub errors: u64,
    /// Payload moved by the calls that succeeded; a creation that found its object counts too, for
    /// its bytes were sent.
    pub bytes: u64,
}

impl Counting {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, counters: Default::default() }
    }

    pub fn tally(&self, operation: Operation) -> Tally {
        let counter = &self.counters[operation as usize];
        Tally {
            calls: counter.calls.load(Ordering::Relaxed),
            errors: counter.errors.load(Ordering::Relaxed),
            bytes: counter.bytes.load(Ordering::Relaxed),
        }
    }

    fn count<T>(
        &self,
        operation: Operation,
        result: Result<T, StoreError>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Result<T, StoreError> {
        let counter = &self.counters[operation as usize];
        counter.calls.fetch_add(1, Ordering::Relaxed);
        match &result {
            Ok(value) => counter.bytes.fetch_add(bytes(value) as u64, Ordering::Relaxed),
            Err(_) => counter.errors.fetch_add(1, Ordering::Relaxed),
        };
        result
    }
}

#[async_trait]
impl Store for Counting {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        let len = bytes.len();
        let result = self.inner.put_new(key, bytes).await;
        self.count(Operation::PutNew, result, |_| len)
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        let result = self.inner.get(key).await;
        self.count(Operation::Get, result, Bytes::len)
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        let result = self.inner.get_range(key, range).await;
        self.count(Operation::GetRange, result, Bytes::len)
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        let result = self.inner.size(key).await;
        self.count(Operation::Size, result, |_| 0)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let result = self.inner.list(prefix, after, limit).await;
        self.count(Operation::List, result, |_| 0)
    }

    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        let result = self.inner.delete(doomed).await;
        self.count(Operation::Delete, result, |()| 0)
    }

    async fn sweep(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.inner.sweep(before).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_bytes_and_errors_are_counted() {
        let store = Counting::new(crate::memory());
        let key = ObjectKey::new("a").expect("a name");
        store.put_new(&key, Bytes::from_static(b"12345")).await.expect("put");
        store.get_range(&key, 1..3).await.expect("read");
        store.get(&ObjectKey::new("b").expect("a name")).await.expect_err("absent");
        assert_eq!(store.tally(Operation::PutNew), Tally { calls: 1, errors: 0, bytes: 5 });
        assert_eq!(store.tally(Operation::GetRange), Tally { calls: 1, errors: 0, bytes: 2 });
        assert_eq!(store.tally(Operation::Get), Tally { calls: 1, errors: 1, bytes: 0 });
        assert_eq!(store.tally(Operation::List), Tally::default());
    }
}

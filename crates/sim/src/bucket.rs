//! A store at whose calls the process can die.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use store::{Doomed, Listed, ObjectKey, Put, Store, StoreError};

use crate::plug::Trip;

#[derive(Debug)]
pub(crate) struct TrippingStore {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) trip: Arc<Trip>,
}

impl TrippingStore {
    async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        self.trip.pass().await;
        let answer = call.await;
        self.trip.pass().await;
        answer
    }
}

#[async_trait]
impl Store for TrippingStore {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        self.pass(self.inner.put_new(key, bytes)).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.inner.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(key, range).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.inner.size(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        self.pass(self.inner.delete(doomed)).await
    }
}

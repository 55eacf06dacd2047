//! Any store of the `object_store` crate as a [`Store`]: memory and S3, and half of a directory.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use model::Timestamp;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::classify::{listing, reading, writing};
use crate::{Doomed, LIST_MAX, Listed, OBJECT_BYTES_MAX, ObjectKey, Put, Store, StoreError};

/// A store that forgets everything when dropped.
pub fn memory() -> Arc<dyn Store> {
    Arc::new(Bucket { timeless: true, ..Bucket::new(Arc::new(InMemory::new()), "") })
}

/// Objects under one prefix of an object store.
#[derive(Debug)]
pub(crate) struct Bucket {
    inner: Arc<dyn ObjectStore>,
    /// Empty, or ends in a slash.
    prefix: String,
    /// Whoever uses it may have a clock of his own, with which the store's would not agree.
    timeless: bool,
}

impl Bucket {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { inner, prefix, timeless: false }
    }

    /// The name inside the bucket. Our characters need no escaping, so this is the name verbatim.
    fn path(&self, key: &str) -> Path {
        Path::from(format!("{}{key}", self.prefix))
    }

    async fn read(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let options = GetOptions { range: range.clone().map(GetRange::Bounded), ..GetOptions::default() };
        let got = self
            .inner
            .get_opts(&self.path(key.as_str()), options)
            .await
            .map_err(|error| reading(key, error))?;
        let expected = range.unwrap_or(0..got.meta.size);
        let bytes_expected = expected.end - expected.start;
        if got.range != expected || bytes_expected > OBJECT_BYTES_MAX {
            let what = format!("bytes {expected:?} of {key} cannot be had, it has {}", got.meta.size);
            return Err(StoreError::Failed { what });
        }
        let bytes = got.bytes().await.map_err(|error| reading(key, error))?;
        if bytes.len() as u64 != bytes_expected {
            let what = format!("{} bytes of {key} came instead of {bytes_expected}", bytes.len());
            return Err(StoreError::Failed { what });
        }
        Ok(bytes)
    }

    /// A line of a listing, unless the name is none we give.
    fn listed(&self, meta: &ObjectMeta) -> Option<Listed> {
        let key = meta.location.as_ref().strip_prefix(&self.prefix)?;
        let created = (!self.timeless).then(|| Timestamp(meta.last_modified.timestamp_micros()));
        Some(Listed { key: ObjectKey::new(key).ok()?, size: meta.size, stamp: meta.e_tag.clone(), created })
    }
}

#[async_trait]
impl Store for Bucket {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        assert!(bytes.len() as u64 <= OBJECT_BYTES_MAX, "{key} is too large to be put");
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.inner.put_opts(&self.path(key.as_str()), bytes.into(), options).await {
            Ok(_) => Ok(Put::Created),
            Err(error) => writing(key, error),
        }
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.read(key, None).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Err(StoreError::Failed { what: format!("an empty range of {key} was asked for") });
        }
        self.read(key, Some(range)).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        match self.inner.head(&self.path(key.as_str())).await.map_err(|error| reading(key, error)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let limit = limit.min(LIST_MAX);
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = self.path(folder);
        let folder = (!folder.as_ref().is_empty()).then_some(&folder);
        let mut lines = match after {
            Some(after) => self.inner.list_with_offset(folder, &self.path(after.as_str())),
            None => self.inner.list(folder),
        };
        let mut found: Vec<Listed> = Vec::new();
        while found.len() < limit {
            let Some(meta) = lines.try_next().await.map_err(|error| listing(prefix, error))? else { break };
            let Some(line) = self.listed(&meta) else { continue };
            // Paging goes by name: a store that lists out of order would hide objects from us.
            if found.last().is_some_and(|last| last.key >= line.key) || after.is_some_and(|a| *a >= line.key)
            {
                let what = format!("it lists out of order, {} came late", line.key);
                return Err(StoreError::Failed { what });
            }
            if line.key.as_str().starts_with(prefix) {
                found.push(line);
            } else if line.key.as_str() > prefix {
                break;
            }
        }
        Ok(found)
    }

    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        match self.inner.delete(&self.path(doomed.key().as_str())).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => writing(doomed.key(), error).map(|_| ()),
        }
    }
}

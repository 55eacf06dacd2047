//! The store as a depot uses it: names that are valid, writes that are asked for until they are certain.

use std::sync::Arc;

use bytes::Bytes;
use format::{PackName, path};
use model::Timestamp;
use store::{Doomed, LIST_MAX, Listed, ObjectKey, Put, Store, StoreError};

use crate::DepotError;

/// A write without certain answer is repeated this often at once; patience is the caller's.
const TRIES: u32 = 3;

#[derive(Debug, Clone)]
pub(crate) struct Objects {
    store: Arc<dyn Store>,
}

/// Our own paths are all valid names; should one not be, nothing was done.
pub(crate) fn key(path: &str) -> Result<ObjectKey, DepotError> {
    ObjectKey::new(path).map_err(|error| DepotError::Internal(error.to_string()))
}

impl Objects {
    pub(crate) const fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// `Existed` may be our own earlier try: the caller compares.
    pub(crate) async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, DepotError> {
        let mut tries = 1;
        loop {
            match self.store.put_new(key, bytes.clone()).await {
                Ok(put) => return Ok(put),
                Err(error) if error.is_transient() && tries < TRIES => tries += 1,
                Err(error) => return Err(DepotError::Store(error)),
            }
        }
    }

    /// Puts a pack, whose name is the hash of its bytes: one that is there is ours if it is whole.
    pub(crate) async fn put_pack(&self, pack: PackName, bytes: Bytes) -> Result<(), DepotError> {
        let key = key(&path::pack(pack))?;
        let len = bytes.len() as u64;
        if self.put(&key, bytes).await? == Put::Created {
            return Ok(());
        }
        match self.size(&key).await? {
            Some(found) if found == len => Ok(()),
            Some(_) => {
                Err(DepotError::damaged(key.as_str(), "written in part by this store, against its promise"))
            }
            // An earlier try had put it, and it was collected since: this write slept too long.
            None => Err(DepotError::Overtaken { pack }),
        }
    }

    /// An object that must be there.
    pub(crate) async fn get(&self, key: &ObjectKey) -> Result<Bytes, DepotError> {
        self.store.get(key).await.map_err(|error| DepotError::reading(key, error))
    }

    /// An object that may be there.
    pub(crate) async fn find(&self, key: &ObjectKey) -> Result<Option<Bytes>, DepotError> {
        match self.store.get(key).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(DepotError::Store(error)),
        }
    }

    /// Part of an object that must be there and reach that far.
    pub(crate) async fn get_range(
        &self,
        key: &ObjectKey,
        offset: u32,
        len: u32,
    ) -> Result<Bytes, DepotError> {
        let range = u64::from(offset)..u64::from(offset) + u64::from(len);
        match self.store.get_range(key, range.clone()).await {
            Ok(bytes) if bytes.len() as u64 == u64::from(len) => Ok(bytes),
            Ok(bytes) => {
                Err(DepotError::damaged(key.as_str(), format!("{} bytes where {len} should be", bytes.len())))
            }
            Err(error @ StoreError::Failed { .. }) => match self.size(key).await? {
                Some(size) if size < range.end => {
                    Err(DepotError::damaged(key.as_str(), format!("cut off at {size} bytes")))
                }
                _ => Err(DepotError::Store(error)),
            },
            Err(error) => Err(DepotError::reading(key, error)),
        }
    }

    pub(crate) async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, DepotError> {
        self.store.size(key).await.map_err(DepotError::Store)
    }

    pub(crate) async fn list_page(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, DepotError> {
        self.store.list(prefix, after, limit).await.map_err(DepotError::Store)
    }

    /// Every name under a prefix, as far as `parse` knows it.
    pub(crate) async fn list<T>(
        &self,
        prefix: &str,
        after: Option<ObjectKey>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, DepotError> {
        self.list_lines(prefix, after, |line| parse(line.key.as_str())).await
    }

    /// The same, with all that a listing says.
    pub(crate) async fn list_lines<T>(
        &self,
        prefix: &str,
        mut after: Option<ObjectKey>,
        parse: impl Fn(&Listed) -> Option<T>,
    ) -> Result<Vec<T>, DepotError> {
        let mut found = Vec::new();
        loop {
            let page = self.list_page(prefix, after.as_ref(), LIST_MAX).await?;
            let more = page.len() >= LIST_MAX;
            found.extend(page.iter().filter_map(&parse));
            match page.into_iter().next_back() {
                Some(last) if more => after = Some(last.key),
                _ => return Ok(found),
            }
        }
    }

    /// For collection alone: what was left half written before this time, and is no object.
    pub(crate) async fn sweep(&self, before: Timestamp) -> Result<usize, DepotError> {
        self.store.sweep(before).await.map_err(DepotError::Store)
    }

    /// For `gc::execute` alone.
    pub(crate) async fn delete(&self, doomed: &Doomed) -> Result<(), DepotError> {
        self.store.delete(doomed).await.map_err(DepotError::Store)
    }
}

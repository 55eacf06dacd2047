//! The trait a bucket implements, and the values it speaks in.

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use model::Timestamp;

use crate::{Doomed, ObjectKey, StoreError};

/// The largest object: four of the largest packs. A bound on what a hostile store can make us hold.
pub const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// The most names one listing answers.
pub const LIST_MAX: usize = 10_000;

/// A bucket, seen as a set of named, immutable byte strings.
///
/// The implementation guarantees: reads and listings see completed writes; a write is seen whole or
/// not at all and, once answered, survives a crash; two `put_new` of one name never both answer
/// [`Put::Created`]. It does not guarantee that a failed write had no effect: after
/// [`StoreError::Unknown`] the caller asks again. What a real store honours, [`crate::probe`] tells.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// Creates an object; never overwrites. `Existed` may mean an earlier try of the same call:
    /// compare. At most [`OBJECT_BYTES_MAX`].
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError>;

    /// The whole object.
    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError>;

    /// Exactly these bytes; [`StoreError::Failed`] when the range is empty or leaves the object.
    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// How long the object is, or that there is none.
    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError>;

    /// The first `limit` (at most [`LIST_MAX`]) objects whose names begin with `prefix` and come
    /// after `after`, in the order of their names. Fewer than that many means there are no more.
    /// Objects with names we never give are left out.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError>;

    /// Deletes an object. Gone already is fine.
    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError>;

    /// Takes away what writers that died left half written and no listing shows, if nobody has touched
    /// it since `before`; tells how many there were. Never touches an object. Where a write leaves
    /// nothing behind there is nothing to do.
    async fn sweep(&self, before: Timestamp) -> Result<usize, StoreError> {
        let _ = before;
        Ok(0)
    }
}

/// What became of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Put {
    Created,
    /// Somebody made it before: another writer, or an earlier try of this very call.
    Existed,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: ObjectKey,
    pub size: u64,
    /// Another object of this name, made after this one was deleted, has another stamp. `None`: the
    /// store cannot tell them apart, or not yet.
    pub stamp: Option<String>,
    /// When it was created, by the store's own clock; `None` if that is no clock.
    pub created: Option<Timestamp>,
}

/// The verbs of [`Store`], for those who count or break them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    PutNew,
    Get,
    GetRange,
    Size,
    List,
    Delete,
}

impl Operation {
    pub const ALL: [Self; 6] =
        [Self::PutNew, Self::Get, Self::GetRange, Self::Size, Self::List, Self::Delete];
}

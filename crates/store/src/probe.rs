//! What a store really honours, learnt with a throw-away object.

use bytes::Bytes;

use crate::{Doomed, Listed, ObjectKey, Put, Store, StoreError};

/// What was seen. A store that lacks any of these cannot hold a depot safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// A second creation of one name was refused, and the first content stayed.
    pub create_only: bool,
    /// A part of an object could be read.
    pub ranges: bool,
    /// The new object was listed at once.
    pub listing: bool,
}

impl Probe {
    pub const fn is_sound(self) -> bool {
        self.create_only && self.ranges && self.listing
    }
}

/// Creates `probe/<fresh>` twice, looks, and removes it. `fresh` is a number nobody used before.
pub async fn probe(store: &dyn Store, fresh: u128) -> Result<Probe, StoreError> {
    let key = ObjectKey::new(format!("probe/{fresh:032x}"))
        .map_err(|error| StoreError::Failed { what: error.to_string() })?;
    let seen = look(store, &key).await;
    let gone = store.delete(&Doomed::condemn(key)).await;
    let seen = seen?;
    gone?;
    Ok(seen)
}

async fn look(store: &dyn Store, key: &ObjectKey) -> Result<Probe, StoreError> {
    let (first, second) = (Bytes::from_static(b"first write"), Bytes::from_static(b"second"));
    // Existed is fine here: a retry inside may have met its own object.
    store.put_new(key, first.clone()).await?;
    let again = store.put_new(key, second).await?;
    let create_only = again == Put::Existed && store.get(key).await? == first;
    let ranges = store.get_range(key, 0..5).await.is_ok_and(|part| part == "first");
    let listed = store.list(key.as_str(), None, 2).await?;
    let listing = matches!(&listed[..], [Listed { key: only, .. }] if only == key);
    Ok(Probe { create_only, ranges, listing })
}

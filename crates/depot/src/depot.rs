//! An open depot: its identity, its keys, and what it remembers between calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use format::{DepotHeader, KeySlot, PackName, Salt, SlotId, path, terms};
use keys::{KeyWrap, WrappedKey};
use model::{Clock, DepotId, Entropy, Timestamp, draw};
use seal::KeyMaterial;
use store::{ObjectKey, Put, Store};
use tokio::sync::Semaphore;

use crate::cipher::SlotKeys;
use crate::frames::{Frames, PackCiphers};
use crate::known::Known;
use crate::objects::{Objects, key};
use crate::reach::Remembered;
use crate::{DepotError, Settings};

/// Opened frames kept by a reader that passes through: those of one stretch of a disk that some twenty
/// increments have written in.
const PASSING_LEN: usize = 24 << 20;

/// A region's snapshot storage: a bucket prefix and its keys.
pub struct Depot {
    pub(crate) id: DepotId,
    pub(crate) objects: Objects,
    pub(crate) settings: Settings,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What new disks are sealed under.
    pub(crate) slot: SlotId,
    pub(crate) uploads: Arc<Semaphore>,
    key_wrap: Arc<dyn KeyWrap>,
    slots: Mutex<HashMap<SlotId, Arc<SlotKeys>>>,
    pub(crate) known: Arc<Known>,
    pub(crate) frames: Arc<Frames>,
    ciphers: Mutex<PackCiphers>,
    /// Packs this process put here, and when: no group may name them yet.
    fresh: Mutex<HashMap<PackName, Timestamp>>,
    /// Of the last look of a collector.
    remembered: Mutex<Remembered>,
}

impl std::fmt::Debug for Depot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Depot({})", self.id)
    }
}

impl Depot {
    /// Opens the depot of this bucket, or makes one where there is none. Two who start at once agree.
    pub async fn open_or_init(
        store: Arc<dyn Store>,
        keys: Arc<dyn KeyWrap>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Arc<Self>, DepotError> {
        settings.check()?;
        let objects = Objects::new(store);
        let header = open_header(&objects, &*entropy, &*clock).await?;
        let depot = Self::assemble(objects, header.depot, keys, entropy, clock, settings);
        depot.open_first_slot().await?;
        Ok(Arc::new(depot))
    }

    /// Opens a depot that is there, writing nothing and asking for no key before one is needed.
    pub async fn open(
        store: Arc<dyn Store>,
        keys: Arc<dyn KeyWrap>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Arc<Self>, DepotError> {
        settings.check()?;
        let objects = Objects::new(store);
        let key = key(path::HEADER)?;
        let Some(bytes) = objects.find(&key).await? else {
            check_empty(&objects, &key).await?;
            return Err(DepotError::Invalid("there is no depot in this place".to_owned()));
        };
        let header =
            DepotHeader::decode(&bytes).map_err(|error| DepotError::unreadable(key.as_str(), error))?;
        Ok(Arc::new(Self::assemble(objects, header.depot, keys, entropy, clock, settings)))
    }

    /// Unwraps the key that new disks are sealed under: fails now rather than in the middle.
    pub async fn unlock(&self) -> Result<(), DepotError> {
        self.slot_keys(self.slot).await.map(drop)
    }

    fn assemble(
        objects: Objects,
        id: DepotId,
        keys: Arc<dyn KeyWrap>,
        entropy: Arc<dyn Entropy>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        Self {
            id,
            objects,
            entropy,
            clock,
            slot: terms::first_slot(id),
            uploads: Arc::new(Semaphore::new(settings.uploads())),
            key_wrap: keys,
            slots: Mutex::default(),
            known: Arc::new(Known::new(
                settings.known_chunks,
                settings.known_folder.as_ref(),
                id,
                settings.parallelism > 1,
            )),
            frames: Arc::new(Frames::new(settings.cache_len)),
            ciphers: Mutex::default(),
            fresh: Mutex::default(),
            remembered: Mutex::default(),
            settings,
        }
    }

    pub fn id(&self) -> DepotId {
        self.id
    }

    /// The same depot, with nothing remembered.
    pub(crate) fn afresh(&self) -> Self {
        let (objects, keys) = (self.objects.clone(), self.key_wrap.clone());
        let (entropy, clock) = (self.entropy.clone(), self.clock.clone());
        Self::assemble(objects, self.id, keys, entropy, clock, self.settings.clone())
    }

    /// The same depot to be read through once, beside a writer that needs memory of its own: opened frames
    /// are kept for their neighbours' sake only.
    pub(crate) fn in_passing(&self) -> Self {
        let cache_len = self.settings.cache_len.min(PASSING_LEN).max(self.settings.frame_len);
        let slots = Mutex::new(lock(&self.slots).clone());
        Self { frames: Arc::new(Frames::new(cache_len)), slots, ..self.afresh() }
    }

    async fn open_first_slot(&self) -> Result<(), DepotError> {
        let key = key(&path::key_slot(self.slot))?;
        if self.objects.find(&key).await?.is_none() {
            // A key lost is not a key never made: nothing sealed may be left without one.
            let what = "missing, though the depot holds snapshots";
            check_none_under(&self.objects, &[path::PACKS, path::GROUPS], &key, what).await?;
            let slot = self.new_slot().await?;
            // Whoever came first has made the slot; the one that is there counts.
            self.objects.put(&key, slot.encode().into()).await?;
        }
        self.slot_keys(self.slot).await?;
        Ok(())
    }

    async fn new_slot(&self) -> Result<KeySlot, DepotError> {
        let data_key = KeyMaterial::random(&*self.entropy);
        let context = terms::wrap_context(self.id, self.slot);
        let WrappedKey { key, bytes } =
            self.key_wrap.wrap(&data_key, &context).await.map_err(DepotError::Keys)?;
        Ok(KeySlot { depot: self.id, slot: self.slot, key, created: self.clock.now(), wrapped: bytes })
    }

    /// The keys of a slot, unwrapped once.
    pub(crate) async fn slot_keys(&self, slot: SlotId) -> Result<Arc<SlotKeys>, DepotError> {
        if let Some(keys) = lock(&self.slots).get(&slot) {
            return Ok(keys.clone());
        }
        let key = key(&path::key_slot(slot))?;
        let bytes = self.objects.get(&key).await?;
        let found = KeySlot::decode(&bytes).map_err(|error| DepotError::unreadable(key.as_str(), error))?;
        if (found.depot, found.slot) != (self.id, slot) {
            return Err(DepotError::damaged(key.as_str(), "the key slot of another place"));
        }
        let wrapped = WrappedKey { key: found.key, bytes: found.wrapped };
        let context = terms::wrap_context(self.id, slot);
        let data_key = self.key_wrap.unwrap(&wrapped, &context).await.map_err(DepotError::Keys)?;
        let keys = Arc::new(SlotKeys::new(self.id, slot, data_key));
        lock(&self.slots).insert(slot, keys.clone());
        Ok(keys)
    }

    pub(crate) fn salt(&self) -> Salt {
        let mut salt = [0; 32];
        self.entropy.fill(&mut salt);
        Salt(salt)
    }

    pub(crate) fn ciphers(&self) -> MutexGuard<'_, PackCiphers> {
        lock(&self.ciphers)
    }
    pub(crate) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        lock(&self.remembered)
    }
    pub(crate) fn fresh(&self) -> MutexGuard<'_, HashMap<PackName, Timestamp>> {
        lock(&self.fresh)
    }
}

/// What these locks guard is only remembered: after a panic it is still as good as forgotten.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open_header(
    objects: &Objects,
    entropy: &dyn Entropy,
    clock: &dyn Clock,
) -> Result<DepotHeader, DepotError> {
    let key = key(path::HEADER)?;
    if objects.find(&key).await?.is_none() {
        check_empty(objects, &key).await?;
        let header = DepotHeader { depot: draw(entropy), created: clock.now() };
        if objects.put(&key, header.encode().into()).await? == Put::Created {
            return Ok(header);
        }
    }
    let bytes = objects.get(&key).await?;
    DepotHeader::decode(&bytes).map_err(|error| DepotError::unreadable(key.as_str(), error))
}

/// Where nothing else is, a missing header means no depot; else it is damage.
async fn check_empty(objects: &Objects, header: &ObjectKey) -> Result<(), DepotError> {
    let what = "missing, though the depot is not empty";
    check_none_under(objects, &[path::KEYS, path::PACKS, path::GROUPS], header, what).await
}

/// An object that was not there is missing if others are that came after it.
async fn check_none_under(
    objects: &Objects,
    prefixes: &[&str],
    missing: &ObjectKey,
    what: &str,
) -> Result<(), DepotError> {
    for prefix in prefixes {
        // Looked for again: somebody may have made it, and the others after it, since.
        if !objects.list_page(prefix, None, 1).await?.is_empty() && objects.find(missing).await?.is_none() {
            return Err(DepotError::damaged(missing.as_str(), what));
        }
    }
    Ok(())
}

//! A wrapper that fails on purpose: by script or by seed, before or after the effect.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use model::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::{Doomed, Listed, ObjectKey, Operation, Put, Store, StoreError};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing happens; the caller is told so.
    Unavailable,
    /// Nothing happens; the caller cannot know.
    LostBefore,
    /// It happens; the caller cannot know. A read simply fails.
    LostAfter,
    /// Nothing happens for want of room. A read is not touched by this.
    NoSpace,
    /// Half the object appears under its name, as in a store that breaks its promise, and the caller
    /// cannot know. A read answers with half the bytes.
    Torn,
    /// Nothing happens, and no answer ever comes: the caller gives up, or waits for ever.
    StalledBefore,
    /// It happens, and no answer ever comes.
    StalledAfter,
}

impl Fault {
    /// Those after which the caller hears something.
    pub const ALL: [Self; 5] =
        [Self::Unavailable, Self::LostBefore, Self::LostAfter, Self::NoSpace, Self::Torn];
}

/// Which calls fail, and how.
#[derive(Debug)]
pub enum Script {
    Never,
    /// By the number of the call, of any kind, from 0 on.
    At(BTreeMap<u64, Fault>),
    /// Every call from this one on: a store that went away.
    From(u64, Fault),
    /// By chance: this many calls of a thousand, with a fault drawn from the list. The same seed and
    /// the same order of calls fail the same.
    Seeded {
        seed: u64,
        per_mille: u32,
        faults: Vec<Fault>,
    },
}

/// Passes calls on to `inner`, except where its script says otherwise.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
    calls: AtomicU64,
}

#[derive(Debug)]
struct Plan {
    script: Script,
    random: ChaCha8Rng,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Store>, script: Script) -> Self {
        Self { inner, plan: Mutex::new(Plan::new(script)), calls: AtomicU64::new(0) }
    }

    /// Calls seen so far: what a crash matrix counts up to.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// From now on another script. Call numbers go on.
    pub fn follow(&self, script: Script) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Plan::new(script);
    }

    /// The store below, which never fails on purpose.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    fn fault(&self) -> Option<Fault> {
        // Number and draw are taken under one lock, so that they pair up the same way in each run.
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        plan.fault(call)
    }
}

impl Plan {
    fn new(script: Script) -> Self {
        let seed = match &script {
            Script::Seeded { seed, .. } => *seed,
            Script::Never | Script::At(_) | Script::From(..) => 0,
        };
        Self { script, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    fn fault(&mut self, call: u64) -> Option<Fault> {
        match &self.script {
            Script::Never => None,
            Script::At(calls) => calls.get(&call).copied(),
            Script::From(first, fault) => (call >= *first).then_some(*fault),
            Script::Seeded { per_mille, faults, .. } => {
                let (dice, pick) = (self.random.next_u32(), self.random.next_u32() as usize);
                (dice % 1000 < *per_mille && !faults.is_empty()).then(|| faults[pick % faults.len()])
            }
        }
    }
}

fn broken(fault: Fault, operation: Operation) -> StoreError {
    let what = format!("{operation:?} failed on purpose");
    match fault {
        Fault::Unavailable => StoreError::Unavailable { what },
        Fault::NoSpace => StoreError::NoSpace { what },
        Fault::LostBefore | Fault::LostAfter | Fault::Torn | Fault::StalledBefore | Fault::StalledAfter => {
            match operation {
                Operation::PutNew | Operation::Delete => StoreError::Unknown { what },
                Operation::Get | Operation::GetRange | Operation::Size | Operation::List => {
                    StoreError::Unavailable { what }
                }
            }
        }
    }
}

/// What the caller is told, unless he is told nothing.
async fn broken_after(fault: Fault, operation: Operation) -> StoreError {
    if matches!(fault, Fault::StalledBefore | Fault::StalledAfter) {
        std::future::pending::<()>().await;
    }
    broken(fault, operation)
}

#[async_trait]
impl Store for Faulty {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        let Some(fault) = self.fault() else { return self.inner.put_new(key, bytes).await };
        match fault {
            Fault::LostAfter | Fault::StalledAfter => drop(self.inner.put_new(key, bytes).await?),
            Fault::Torn => drop(self.inner.put_new(key, bytes.slice(..bytes.len() / 2)).await?),
            Fault::Unavailable | Fault::LostBefore | Fault::NoSpace | Fault::StalledBefore => {}
        }
        Err(broken_after(fault, Operation::PutNew).await)
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        match self.fault() {
            None | Some(Fault::NoSpace) => self.inner.get(key).await,
            Some(Fault::Torn) => self.inner.get(key).await.map(half),
            Some(fault) => Err(broken_after(fault, Operation::Get).await),
        }
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        match self.fault() {
            None | Some(Fault::NoSpace) => self.inner.get_range(key, range).await,
            Some(Fault::Torn) => self.inner.get_range(key, range).await.map(half),
            Some(fault) => Err(broken_after(fault, Operation::GetRange).await),
        }
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        match self.fault() {
            None | Some(Fault::NoSpace) => self.inner.size(key).await,
            Some(fault) => Err(broken_after(fault, Operation::Size).await),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        match self.fault() {
            None | Some(Fault::NoSpace) => self.inner.list(prefix, after, limit).await,
            Some(fault) => Err(broken_after(fault, Operation::List).await),
        }
    }

    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        match self.fault() {
            None | Some(Fault::NoSpace) => self.inner.delete(doomed).await,
            Some(fault) => {
                if matches!(fault, Fault::LostAfter | Fault::StalledAfter) {
                    self.inner.delete(doomed).await?;
                }
                Err(broken_after(fault, Operation::Delete).await)
            }
        }
    }

    async fn sweep(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.inner.sweep(before).await
    }
}

fn half(bytes: Bytes) -> Bytes {
    bytes.slice(..bytes.len() / 2)
}

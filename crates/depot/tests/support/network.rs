//! A bucket behind a network: every operation waits until the test says what becomes of it.
//!
//! What was asked waits by number. A process that crashed asks no more; what of its requests was
//! already on its way ("late") still lands, when the test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::oneshot;
use store::{Doomed, Listed, ObjectKey, Operation, Put, Store, StoreError};

/// What becomes of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Through,
    /// Nothing happens and the caller is told so.
    Fails,
    /// Nothing happens and the caller cannot know.
    LostBefore,
    /// It happens and the caller cannot know.
    LostAfter,
    /// The caller cannot know, and it may happen later.
    Late,
}

/// An operation somebody waits for.
#[derive(Debug)]
pub struct Asked {
    pub process: usize,
    pub operation: Operation,
    pub name: String,
    go: oneshot::Sender<Fate>,
}

/// A write on its way, whose sender has stopped waiting.
#[derive(Debug, Clone)]
pub struct Late {
    pub name: String,
    what: LateWrite,
}

#[derive(Debug, Clone)]
enum LateWrite {
    Put(ObjectKey, Bytes),
    Delete(Doomed),
}

#[derive(Debug, Default)]
struct Traffic {
    /// Nobody waits any more, and no operation fails.
    free: bool,
    /// Names of objects that were read, since it is free.
    read: BTreeSet<String>,
    next: u64,
    asked: BTreeMap<u64, Asked>,
    late: Vec<Late>,
}

#[derive(Debug)]
pub struct Network {
    bucket: Arc<dyn Store>,
    traffic: Mutex<Traffic>,
}

impl Network {
    pub fn new(bucket: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { bucket, traffic: Mutex::default() })
    }

    /// The bucket as this process sees it.
    pub fn of(self: &Arc<Self>, process: usize) -> Arc<dyn Store> {
        Arc::new(Line { process, network: self.clone() })
    }

    /// What is waited for, by number: process, operation and name.
    pub fn asked(&self) -> Vec<(u64, usize, Operation, String)> {
        let mut traffic = self.traffic.lock().unwrap();
        traffic.asked.retain(|_, asked| !asked.go.is_canceled());
        let line = |(nth, asked): (&u64, &Asked)| (*nth, asked.process, asked.operation, asked.name.clone());
        traffic.asked.iter().map(line).collect()
    }

    pub fn decide(&self, nth: u64, fate: Fate) {
        let asked = self.traffic.lock().unwrap().asked.remove(&nth).expect("somebody asked");
        // Whoever asked may have been cancelled since.
        let _ = asked.go.send(fate);
    }

    /// From now on everything goes through at once, and what is read is written down.
    pub fn set_free(&self) {
        self.traffic.lock().unwrap().free = true;
    }

    /// What was read since the last time somebody asked.
    pub fn take_read(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.traffic.lock().unwrap().read)
    }

    /// Names of the writes that are on their way.
    pub fn late(&self) -> Vec<String> {
        self.traffic.lock().unwrap().late.iter().map(|late| late.name.clone()).collect()
    }

    /// One of them arrives, or never does.
    pub async fn arrive(&self, nth: usize, lands: bool) {
        let late = self.traffic.lock().unwrap().late.remove(nth);
        if lands {
            match late.what {
                LateWrite::Put(key, bytes) => {
                    self.bucket.put_new(&key, bytes).await.unwrap();
                }
                LateWrite::Delete(doomed) => self.bucket.delete(&doomed).await.unwrap(),
            }
        }
    }
}

/// One process's way to the bucket.
#[derive(Debug)]
struct Line {
    process: usize,
    network: Arc<Network>,
}

impl Line {
    async fn ask(&self, operation: Operation, name: &str) -> Result<Fate, StoreError> {
        let (go, told) = oneshot::channel();
        let asked = Asked { process: self.process, operation, name: name.to_owned(), go };
        {
            let mut traffic = self.network.traffic.lock().unwrap();
            if traffic.free {
                if matches!(operation, Operation::Get | Operation::GetRange) {
                    traffic.read.insert(name.to_owned());
                }
                return Ok(Fate::Through);
            }
            let nth = traffic.next;
            traffic.next += 1;
            traffic.asked.insert(nth, asked);
        }
        told.await.map_err(|_| StoreError::Unavailable { what: "the test is over".to_owned() })
    }

    /// For an operation that changes nothing: any fault is a failure.
    async fn look(&self, operation: Operation, name: &str) -> Result<(), StoreError> {
        match self.ask(operation, name).await? {
            Fate::Through => Ok(()),
            _ => Err(StoreError::Unavailable { what: format!("{operation:?} failed on purpose") }),
        }
    }

    fn send_late(&self, name: &str, what: LateWrite) {
        self.network.traffic.lock().unwrap().late.push(Late { name: name.to_owned(), what });
    }
}

fn unknown() -> StoreError {
    StoreError::Unknown { what: "lost on purpose".to_owned() }
}

#[async_trait]
impl Store for Line {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        let fate = self.ask(Operation::PutNew, key.as_str()).await?;
        match fate {
            Fate::Through => return self.network.bucket.put_new(key, bytes).await,
            Fate::Fails => return Err(StoreError::Unavailable { what: "put failed on purpose".to_owned() }),
            Fate::LostBefore => {}
            Fate::LostAfter => {
                self.network.bucket.put_new(key, bytes).await?;
            }
            Fate::Late => self.send_late(key.as_str(), LateWrite::Put(key.clone(), bytes)),
        }
        Err(unknown())
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.look(Operation::Get, key.as_str()).await?;
        self.network.bucket.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.look(Operation::GetRange, key.as_str()).await?;
        self.network.bucket.get_range(key, range).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.look(Operation::Size, key.as_str()).await?;
        self.network.bucket.size(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        self.look(Operation::List, prefix).await?;
        self.network.bucket.list(prefix, after, limit).await
    }

    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        let name = doomed.key().as_str();
        match self.ask(Operation::Delete, name).await? {
            Fate::Through => return self.network.bucket.delete(doomed).await,
            Fate::Fails => return Err(StoreError::Unavailable { what: "failed on purpose".to_owned() }),
            Fate::LostBefore => {}
            Fate::LostAfter => self.network.bucket.delete(doomed).await?,
            Fate::Late => self.send_late(name, LateWrite::Delete(doomed.clone())),
        }
        Err(unknown())
    }
}

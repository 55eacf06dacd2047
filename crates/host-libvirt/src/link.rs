//! Connections to libvirt: opened when needed, kept for the next call, and opened again after they were lost.
//!
//! Each serves one call at a time. Calls may share one as far as libvirt is concerned, but then one that
//! takes long, or for ever because its QEMU does not answer, delays those of all other machines: libvirt's
//! client can miss that a second thread wants something sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use host::{HostError, Uuid, instance_id};
use model::{InstanceId, RegionId};

use crate::failure::Failure;
use crate::ffi::{Connection, Domain};

/// Connections kept without work; more are opened while there is more to do at once.
const IDLE_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Link {
    uri: String,
    region: RegionId,
    idle: Mutex<Vec<Connection>>,
    /// The embedded driver does not bear two openings at once.
    opening: Mutex<()>,
    /// Ids are hashes of UUIDs, so they are looked up by listing; what was found is remembered.
    uuids: Mutex<HashMap<InstanceId, Uuid>>,
}

/// What a blocking call works with.
#[derive(Debug)]
pub(crate) struct Libvirt {
    connection: Connection,
    link: Arc<Link>,
}

impl Link {
    pub(crate) fn new(uri: String, region: RegionId) -> Arc<Self> {
        let (idle, opening, uuids) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { uri, region, idle, opening, uuids })
    }

    /// Runs `work` where it may block. A dropped caller does not stop it half way. Work that fails on
    /// a dead connection is [`HostError::Unreachable`], and the next call connects anew.
    pub(crate) async fn call<T, F>(self: &Arc<Self>, work: F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: FnOnce(&Libvirt) -> Result<T, Failure> + Send + 'static,
    {
        let link = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let libvirt = Libvirt { connection: link.open()?, link: Arc::clone(&link) };
            let result = work(&libvirt).map_err(|failure| failure.0);
            match result {
                Err(error) if !libvirt.connection.is_alive() => {
                    Err(HostError::Unreachable(error.to_string()))
                }
                result => {
                    link.keep(libvirt.connection);
                    result
                }
            }
        });
        task.await.map_err(|error| HostError::Failed(format!("a call into libvirt broke off: {error}")))?
    }

    fn open(&self) -> Result<Connection, HostError> {
        while let Some(connection) = self.idle().pop() {
            if connection.is_alive() {
                return Ok(connection);
            }
        }
        let _alone = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        Connection::open(&self.uri).map_err(|error| HostError::Unreachable(error.message))
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Libvirt {
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Every domain with the id it goes by.
    pub(crate) fn domains(&self) -> Result<Vec<(InstanceId, Uuid, Domain)>, Failure> {
        let mut found = Vec::new();
        let mut uuids = HashMap::new();
        for domain in self.connection.domains()? {
            let uuid = domain.uuid()?;
            let id = instance_id(&self.link.region, uuid);
            uuids.insert(id, uuid);
            found.push((id, uuid, domain));
        }
        *self.link.uuids.lock().unwrap_or_else(PoisonError::into_inner) = uuids;
        Ok(found)
    }

    pub(crate) fn domain(&self, instance: InstanceId) -> Result<(Uuid, Domain), Failure> {
        let known = self.link.uuids.lock().unwrap_or_else(PoisonError::into_inner).get(&instance).copied();
        if let Some(uuid) = known {
            return Ok((uuid, self.connection.domain(&uuid)?));
        }
        let all = self.domains()?;
        let found = all.into_iter().find(|(id, ..)| *id == instance);
        found.map(|(_, uuid, domain)| (uuid, domain)).ok_or_else(|| HostError::NoInstance.into())
    }
}

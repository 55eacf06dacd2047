//! The connection to libvirt: opened when first needed, and again after it was lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use host::{HostError, Uuid, instance_id};
use model::{InstanceId, RegionId};

use crate::failure::Failure;
use crate::ffi::{Connection, Domain};

#[derive(Debug)]
pub(crate) struct Link {
    uri: String,
    region: RegionId,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Ids are hashes of UUIDs, so they are looked up by listing; what was found is remembered.
    uuids: Mutex<HashMap<InstanceId, Uuid>>,
}

/// What a blocking call works with.
#[derive(Debug)]
pub(crate) struct Libvirt {
    connection: Arc<Connection>,
    link: Arc<Link>,
}

impl Link {
    pub(crate) fn new(uri: String, region: RegionId) -> Arc<Self> {
        let (connection, uuids) = (Mutex::new(None), Mutex::new(HashMap::new()));
        Arc::new(Self { uri, region, connection, uuids })
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
                    link.forget(&libvirt.connection);
                    Err(HostError::Unreachable(error.to_string()))
                }
                result => result,
            }
        });
        task.await.map_err(|error| HostError::Failed(format!("a call into libvirt broke off: {error}")))?
    }

    fn open(&self) -> Result<Arc<Connection>, HostError> {
        // Held across the opening: callers that come together share one connection.
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(Arc::clone(connection));
        }
        *slot = None;
        let connection =
            Connection::open(&self.uri).map_err(|error| HostError::Unreachable(error.message))?;
        Ok(Arc::clone(slot.insert(Arc::new(connection))))
    }

    fn forget(&self, dead: &Arc<Connection>) {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, dead)) {
            *slot = None;
        }
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

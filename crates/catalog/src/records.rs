//! Records nobody else has a word for: access keys, leases, seen instances, settings.

use std::fmt;

use model::{AccessKeyId, Instance, InstanceId, RegionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::record::record;

/// An access key. Its secret is sealed: the catalog could not open it if it wanted to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    pub id: AccessKeyId,
    pub name: String,
    pub sealed_secret: Vec<u8>,
    pub active: bool,
    pub root: bool,
    pub created: Timestamp,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("active", &self.active)
            .field("root", &self.root)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}

/// Something of which there is one, and who has it. Inserting it again is `Exists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub resource: String,
    pub holder: String,
    pub since: Timestamp,
}

/// An instance some host has shown us, remembered after it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenInstance {
    pub id: InstanceId,
    pub region: RegionId,
    pub uuid: [u8; 16],
    pub name: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// When its host first answered without it.
    pub released: Option<Timestamp>,
    pub last: Instance,
}

/// One value by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    pub name: String,
    pub value: String,
}

record!(AccessKey, "access_keys", id: AccessKeyId, |key| {
    Active: key.active,
    Created: key.created,
    Name: &key.name,
    Root: key.root,
});
record!(Lease, "leases", resource: String, |lease| {
    Created: lease.since,
    Holder: &lease.holder,
});
record!(SeenInstance, "instances", id: InstanceId, |seen| {
    Created: seen.first_seen,
    Name: &seen.name,
    Region: &seen.region,
    Released: seen.released,
});
record!(Setting, "settings", name: String, |_setting| {});

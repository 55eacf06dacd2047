//! Instances and their disks, as their host shows them.

use serde::{Deserialize, Serialize};

use crate::{ByteCount, DiskId, HostId, InstanceId, RegionId, Timestamp, ZoneId};

/// A libvirt domain (or a simulated one), found by listing its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Derived from the region and `uuid`, so it is the same after a restart or a rebuild.
    pub id: InstanceId,
    pub uuid: [u8; 16],
    pub name: String,
    pub region: RegionId,
    pub zone: ZoneId,
    pub host: HostId,
    pub status: InstanceStatus,
    /// Its processors are held still (by an operator, or by the host on an IO error).
    pub paused: bool,
    pub vcpus: u32,
    pub memory: ByteCount,
    pub os: OsKind,
    pub disks: Vec<Disk>,
    /// When Hikae first saw or made it; hosts do not say.
    pub created: Option<Timestamp>,
    /// Made up by `--simulate`; shown as such everywhere.
    pub simulated: bool,
}

impl Instance {
    pub fn disk(&self, id: DiskId) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.id == id)
    }
}

/// Pending ─► Starting ─► Running ─► Stopping ─► Stopped ─► Starting
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InstanceStatus {
    Pending,
    Starting,
    Running,
    Stopping,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OsKind {
    Linux,
    Windows,
}

/// One disk of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Derived from the instance's UUID and the disk's source, so a new source is a new disk.
    pub id: DiskId,
    pub instance: InstanceId,
    /// The guest device the host gave it: `vda`, `sdb`.
    pub device: String,
    pub kind: DiskKind,
    /// What the guest sees.
    pub size: ByteCount,
    pub capability: DiskCapability,
    pub encrypted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DiskKind {
    System,
    Data,
}

/// What a disk's host can do with it: asked of the hypervisor, never guessed from a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DiskCapability {
    /// Joins groups and tells what changed: qcow2 version 3. On the wire `cloud_essd`.
    Tracked,
    /// Joins groups, but is read whole each time: raw images. On the wire `cloud_efficiency`.
    Whole,
    /// Cannot be snapshotted at all: passed-through devices, empty drives. On the wire `local_hdd_pro`.
    Refused { because: String },
}

impl DiskCapability {
    pub const fn can_be_snapshotted(&self) -> bool {
        match self {
            Self::Tracked | Self::Whole => true,
            Self::Refused { .. } => false,
        }
    }
}

/// An instance's shape, enough to define it again. `text` belongs to the host adaptor that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Who can read `text`: `libvirt-domain-xml`, `simulated`.
    pub dialect: String,
    pub text: String,
}

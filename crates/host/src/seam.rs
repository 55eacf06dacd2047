//! The traits a host implements, and the values they speak in.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{ByteCount, DiskId, Extent, GroupId, HostId, Instance, InstanceId, InstanceSpec, TaskId};
use serde::{Deserialize, Serialize};

use crate::HostError;

/// A domain's own UUID, as bytes.
pub type Uuid = [u8; 16];

/// A host that can show disks as they were at one moment, tell what changed since another, and
/// take disks and instances back.
///
/// The implementation guarantees: `mark` covers all its disks at one instant or fails with nothing
/// left behind; every verb that changes something is idempotent by the ids it is given. It does not
/// guarantee that a failed call had no effect: after [`HostError::Unreachable`] the caller asks again.
#[async_trait]
pub trait Host: Send + Sync + Debug {
    fn id(&self) -> HostId;

    /// All instances, with what each of their disks can do.
    async fn list(&self) -> Result<Vec<Instance>, HostError>;

    /// One instance; [`HostError::NoInstance`] when there is certainly none.
    async fn find(&self, instance: InstanceId) -> Result<Instance, HostError>;

    /// Starts it. Already running is success.
    async fn start(&self, instance: InstanceId) -> Result<(), HostError>;

    /// Stops it and waits until it stands. Already stopped is success.
    async fn stop(&self, instance: InstanceId, how: Stop) -> Result<(), HostError>;

    /// Groups of which this instance still carries a usable checkpoint, newest last.
    async fn marks(&self, instance: InstanceId) -> Result<Vec<GroupId>, HostError>;

    /// Shows the disks as they are at this one instant and starts tracking changes from it.
    /// Asked again with the same group it returns the session already open, or
    /// [`HostError::Lost`] when that one is gone.
    async fn mark(&self, mark: &Mark) -> Result<Marked, HostError>;

    /// Reads a marked disk as it was at the mark. Many readers may be open at once.
    async fn reader(
        &self,
        instance: InstanceId,
        group: GroupId,
        disk: DiskId,
    ) -> Result<Arc<dyn DiskReader>, HostError>;

    /// Ends the session of `group`. With [`Fate::Keep`] its checkpoint stays as the base of the next
    /// increment and older ones of ours are dropped; with [`Fate::Drop`] it goes as if it had never
    /// been, and earlier checkpoints stay good. Unknown groups and instances are fine.
    async fn unmark(&self, instance: InstanceId, group: GroupId, fate: Fate) -> Result<(), HostError>;

    /// Makes an empty disk (it reads as zeroes), named by `task` so that asking again starts over.
    /// One of that name already in use is never touched: another is made beside it, or the call fails.
    async fn prepare(&self, task: TaskId, target: &DiskTarget) -> Result<PreparedDisk, HostError>;

    /// Opens a prepared disk for writing: the only thing anybody may write to. A disk that is
    /// discarded or already in use is refused.
    async fn writer(&self, disk: &PreparedDisk) -> Result<Arc<dyn DiskWriter>, HostError>;

    /// Removes a prepared disk that was not used. Already gone is fine; a disk in use is not touched.
    async fn discard(&self, task: TaskId, target: &DiskTarget) -> Result<(), HostError>;

    /// Puts prepared disks in the place of a stopped instance's own, each atomically, and drops the
    /// checkpoints that no longer hold. The disks keep their ids. Those already in place are fine; one
    /// that is neither in place nor prepared is an error, never a success.
    async fn swap_in(&self, instance: InstanceId, disks: &[PreparedDisk]) -> Result<(), HostError>;

    /// Defines a new instance from a spec: new UUID, name, MAC addresses, these disks.
    async fn define(&self, new: &NewInstance) -> Result<(), HostError>;

    /// Removes an instance that `define` made for this task, with its disks. Already gone is fine; an
    /// instance of that id which `define` did not make stays.
    async fn undefine(&self, new: &NewInstance) -> Result<(), HostError>;

    /// Attaches a prepared disk to an instance as a data disk.
    async fn attach(&self, instance: InstanceId, disk: &PreparedDisk) -> Result<DiskId, HostError>;
}

/// Reads one disk at one moment. Reads may be issued concurrently, and should be.
#[async_trait]
pub trait DiskReader: Send + Sync + Debug {
    fn size(&self) -> ByteCount;

    /// What lies in `range`, in order and without gaps; it may stop early, but not before one extent.
    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError>;

    /// Exactly `range.len` bytes.
    async fn read(&self, range: Extent) -> Result<Bytes, HostError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskExtent {
    pub extent: Extent,
    /// Reads as zeroes: need not be read.
    pub zero: bool,
    /// Differs, or may differ, from the base. Always set on a disk that is read whole.
    pub changed: bool,
}

/// Writes one prepared disk. What was never written reads as zeroes.
#[async_trait]
pub trait DiskWriter: Send + Sync + Debug {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), HostError>;

    /// Makes everything written durable and closes the disk.
    async fn finish(&self) -> Result<(), HostError>;
}

/// What to mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub instance: InstanceId,
    pub group: GroupId,
    pub disks: Vec<MarkDisk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkDisk {
    pub disk: DiskId,
    /// Tell what changed since this group, if that can still be told.
    pub since: Option<GroupId>,
}

/// An open session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    pub disks: Vec<MarkedDisk>,
    /// How long the host's call took that made the disks stand still: an upper bound of the pause.
    pub held: Duration,
    /// The instance as it was, enough to define it again.
    pub spec: InstanceSpec,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedDisk {
    pub disk: DiskId,
    pub size: ByteCount,
    pub tracking: Tracking,
}

/// Whether the host can tell what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tracking {
    /// `DiskExtent::changed` is exact since this group.
    Since(GroupId),
    /// Everything counts as changed. It costs a read, not an upload.
    Whole { because: String },
}

/// What becomes of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Keep,
    Drop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ask the guest; give up after a while.
    Gracefully,
    /// Cut its power.
    ByForce,
}

/// Where a prepared disk will go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskTarget {
    /// Beside this disk of a stopped instance, to be swapped in. Any size.
    Replacing { instance: InstanceId, disk: DiskId, size: ByteCount },
    /// For an instance yet to be defined, at this guest device, beside the source's disks if they
    /// still exist, else where the host keeps images.
    ForNew { instance: InstanceId, name: String, device: String, size: ByteCount, spec: InstanceSpec },
    /// To be attached to this instance as one more data disk.
    ForInstance { instance: InstanceId, size: ByteCount },
}

/// A disk that only `Host::prepare` makes, and that alone may be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedDisk {
    target: DiskTarget,
    task: TaskId,
    handle: String,
}

impl PreparedDisk {
    /// For adaptors' `prepare`, and for whoever takes up again what was prepared before a restart.
    /// `handle` is the adaptor's to read.
    pub fn new(task: TaskId, target: DiskTarget, handle: String) -> Self {
        Self { target, task, handle }
    }

    pub fn target(&self) -> &DiskTarget {
        &self.target
    }

    pub fn task(&self) -> TaskId {
        self.task
    }

    pub fn handle(&self) -> &str {
        &self.handle
    }
}

/// An instance to be defined. `uuid` was drawn by the caller; `id` derives from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    pub id: InstanceId,
    pub uuid: Uuid,
    pub task: TaskId,
    pub name: String,
    pub spec: InstanceSpec,
    /// By guest device of the source, each with the disk that takes its place. Devices of the spec
    /// that are not named here are left out.
    pub disks: Vec<(String, PreparedDisk)>,
    /// Shape, where the caller wants another than the spec's.
    pub vcpus: Option<u32>,
    pub memory: Option<ByteCount>,
    /// The host's network to plug into; none keeps the spec's.
    pub network: Option<String>,
}

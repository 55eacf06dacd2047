//! The nouns of Hikae: typed ids, units, resources, their states and transition tables.
//!
//! Pure: no IO, no clock, no randomness. Every service, engine and seam speaks these words;
//! the wire's words live in `wire` and nowhere else.

mod id;
mod instance;
mod job;
mod point;
mod policy;
mod refusal;
mod restore;
mod snapshot;
mod task;
mod unit;
mod world;

pub use id::{
    AccessKeyId, BindingId, ChainId, DepotId, DiskId, GroupId, HostId, Id, IdError, InstanceId, JobId, KeyId,
    Kind, PointId, PolicyId, RegionId, RestoreId, RuleId, SnapshotId, TaskId, ZoneId, kinds,
};
pub use instance::{Disk, DiskCapability, DiskKind, Instance, InstanceSpec, InstanceStatus, OsKind};
pub use job::{BackupRequest, Job, JobStatus, Trigger};
pub use point::{ConsistencyLevel, DiskPoint, Downgrade, Point, PointStatus};
pub use policy::{
    AdvancedRetention, Binding, BindingOptions, Cron, Policy, PolicyKind, RetentionClass, Rule, RuleKind,
    Schedule, TagFilter, TagOperator,
};
pub use refusal::{Code, Refusal};
pub use restore::{CloneInstance, Restore, RestoreKind};
pub use snapshot::{Group, Maker, Snapshot, SnapshotStatus};
pub use task::{Task, TaskKind, TaskStatus};
pub use unit::{ByteCount, Days, DiskOffset, Extent, Progress, Retention, Timestamp};
pub use world::{Clock, Entropy, draw};

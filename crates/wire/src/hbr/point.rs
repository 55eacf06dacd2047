//! Backup points (the wire's `UdmSnapshot`): listed by instance or by disk, and deleted.

use std::collections::BTreeMap;

use model::{
    Code, ConsistencyLevel, DiskId, DiskPoint, Downgrade, GroupId, InstanceId, JobId, JobStatus, Point,
    PointId, PointStatus, Refusal, RegionId, Retention, Snapshot, SnapshotId, Timestamp, kinds,
};
use serde::Serialize;

use super::policy::class_word;
use super::{SourceType, status_word};
use crate::ecs::{NativeInfo, category};
use crate::params::{Asked, Params};
use crate::shape;

/// A year beyond what the wire's own dates can show.
const SECONDS_MAX: i64 = 253_402_300_799;

/// `DescribeUdmSnapshots`. It has no pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeUdmSnapshots {
    /// Points of instances, or those of their disks.
    pub source_type: SourceType,
    pub region: RegionId,
    /// Points created between these, both included.
    pub start: Timestamp,
    pub end: Timestamp,
    pub instance: Asked<kinds::Instance>,
    pub disk: Asked<kinds::Disk>,
    pub job: Asked<kinds::Job>,
    pub points: Asked<kinds::Point>,
}

impl DescribeUdmSnapshots {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let time = |name: &str| match params.int(name, 0, SECONDS_MAX) {
            Ok(seconds) => seconds.map(Timestamp::from_seconds).ok_or_else(|| params.missing(name)),
            Err(refusal) => Err(refusal),
        };
        let (start, end) = (time("StartTime")?, time("EndTime")?);
        if end < start {
            return Err(Refusal::new(Code::InvalidParameter, "EndTime is before StartTime"));
        }
        Ok(Self {
            source_type: SourceType::of(params)?.ok_or_else(|| params.missing("SourceType"))?,
            region: RegionId(params.required("UdmRegionId")?.to_owned()),
            start,
            // Whole seconds on the wire: a point of the last one's second half belongs to it.
            end: Timestamp(end.plus_seconds(1).0 - 1),
            instance: params.asked("InstanceId"),
            disk: params.asked("DiskId"),
            job: params.asked("JobId"),
            points: params.asked_list("SnapshotIds", 500)?,
        })
    }

    /// Whether a point is in the list, all but its disks and ids.
    fn covers(&self, point: &Point) -> bool {
        point.status.is_visible()
            && point.region == self.region
            && (self.start..=self.end).contains(&point.created)
            && self.instance.matches(point.instance)
            && self.job.matches(point.job)
    }

    /// Whether a point of an instance is in the list.
    pub fn matches(&self, point: &Point) -> bool {
        let disk = self.disk == Asked::Any || point.disks.iter().any(|disk| self.disk.matches(disk.disk));
        self.covers(point) && disk && self.points.matches(point.id)
    }

    /// Whether a point of a disk is in the list.
    pub fn matches_disk(&self, point: &Point, disk: &DiskPoint) -> bool {
        self.covers(point) && self.disk.matches(disk.disk) && self.points.matches(disk.id)
    }
}

/// `DeleteSnapshot`, of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteSnapshot {
    pub point: PointId,
}

impl DeleteSnapshot {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        SourceType::of(params)?;
        // `Force` once allowed to delete the newest point, and no longer does anything.
        params.bool("Force")?;
        Ok(Self { point: params.id("SnapshotId", Code::PointNotFound)? })
    }
}

/// The answer to `DescribeUdmSnapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Points {
    snapshots: Vec<PointView>,
    total_count: usize,
}

impl Points {
    pub fn new(snapshots: Vec<PointView>) -> Self {
        Self { total_count: snapshots.len(), snapshots }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PointView {
    pub snapshot_id: PointId,
    /// Means nothing for instances, yet some clients cannot restore without one.
    snapshot_hash: String,
    parent_snapshot_hash: &'static str,
    source_type: &'static str,
    instance_id: InstanceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_id: Option<DiskId>,
    job_id: JobId,
    status: &'static str,
    backup_type: &'static str,
    bytes_total: u64,
    /// A text, unlike its neighbour.
    actual_bytes: String,
    /// Days; −1 is for ever.
    retention: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advanced_retention_type: Option<&'static str>,
    created_time: i64,
    create_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    real_snapshot_time: Option<i64>,
    updated_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    can_be_deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_snapshot_id: Option<SnapshotId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_snapshot_info: Option<String>,
    prefix: &'static str,
    /// Not of the source system, whose clients drop what they do not know.
    immutable: bool,
    detail: PointDetail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PointDetail {
    consistent_level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    downgrade_reason: Option<&'static str>,
    contain_os_disk: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_disk_id: Option<DiskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_dev_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_category: Option<&'static str>,
    disk_id_list: Vec<DiskId>,
    /// In the order of the list of disks.
    native_snapshot_id_list: Vec<SnapshotId>,
    disk_hbr_snapshot_id_with_device_map: BTreeMap<String, PointId>,
    instance_id_with_disk_id_list_map: BTreeMap<String, Vec<DiskId>>,
    snapshot_group_id: GroupId,
    instant_access: bool,
    instance_name: String,
    host_name: String,
    vm_name: String,
    instance_type: String,
}

impl PointView {
    /// A point of an instance. `snapshots` are those of its group that are known.
    pub fn from(point: &Point, snapshots: &[Snapshot]) -> Self {
        let all: Vec<_> = point.disks.iter().collect();
        let single = match all.as_slice() {
            [single] => snapshots.iter().find(|snapshot| snapshot.id == single.snapshot),
            _ => None,
        };
        Self {
            native_snapshot_id: single.map(|snapshot| snapshot.id),
            native_snapshot_info: single.map(NativeInfo::text),
            ..Self::of(point, point.id, SourceType::UdmEcs, &all)
        }
    }

    /// One disk of a point, as `UDM_ECS_DISK` lists it. It goes when the whole point goes.
    pub fn disk(point: &Point, disk: &DiskPoint, snapshot: Option<&Snapshot>) -> Self {
        let mut view = Self {
            disk_id: Some(disk.disk),
            can_be_deleted: Some(false),
            native_snapshot_id: Some(disk.snapshot),
            native_snapshot_info: snapshot.map(NativeInfo::text),
            ..Self::of(point, disk.id, SourceType::UdmEcsDisk, &[disk])
        };
        if point.status == PointStatus::Available {
            // What the whole point lacks is other disks.
            view.status = status_word(JobStatus::Complete);
        }
        view.detail.system_disk = Some(disk.system);
        view.detail.disk_dev_name = Some(format!("/dev/{}", disk.device));
        if let Some(snapshot) = snapshot {
            view.bytes_total = snapshot.disk_size.0;
            view.actual_bytes = snapshot.bytes_stored.0.to_string();
            view.detail.disk_category = Some(category(snapshot.tracked));
        }
        view
    }

    fn of(point: &Point, id: PointId, source_type: SourceType, disks: &[&DiskPoint]) -> Self {
        Self {
            snapshot_id: id,
            snapshot_hash: format!("{:025x}", id.bits()),
            parent_snapshot_hash: "",
            source_type: source_type.as_str(),
            instance_id: point.instance,
            disk_id: None,
            job_id: point.job,
            status: point_status_word(point),
            backup_type: "COMPLETE",
            bytes_total: point.bytes_total.0,
            actual_bytes: point.bytes_stored.0.to_string(),
            retention: match point.retention {
                Retention::Days(days) => i64::from(days.0),
                Retention::Never => -1,
            },
            expire_time: point.expires.map(Timestamp::seconds),
            advanced_retention_type: point.class.map(class_word),
            created_time: point.created.seconds(),
            create_time: point.created.seconds(),
            start_time: point.started.map(Timestamp::seconds),
            complete_time: point.completed.map(Timestamp::seconds),
            real_snapshot_time: point.taken.map(Timestamp::seconds),
            updated_time: point.updated.seconds(),
            can_be_deleted: None,
            native_snapshot_id: None,
            native_snapshot_info: None,
            prefix: "",
            immutable: point.immutable,
            detail: detail(point, disks),
        }
    }
}

fn detail(point: &Point, disks: &[&DiskPoint]) -> PointDetail {
    let system = disks.iter().find(|disk| disk.system);
    let disk_ids: Vec<_> = disks.iter().map(|disk| disk.disk).collect();
    PointDetail {
        consistent_level: match point.level {
            ConsistencyLevel::Crash => "CRASH",
            ConsistencyLevel::FileSystem => "FS",
            ConsistencyLevel::Application => "APP",
        },
        downgrade_reason: point.downgrade.map(downgrade_word),
        contain_os_disk: system.is_some(),
        os_disk_id: system.map(|disk| disk.disk),
        system_disk: None,
        disk_dev_name: None,
        disk_category: None,
        native_snapshot_id_list: disks.iter().map(|disk| disk.snapshot).collect(),
        disk_hbr_snapshot_id_with_device_map: disks
            .iter()
            .map(|disk| (format!("/dev/{}", disk.device), disk.id))
            .collect(),
        instance_id_with_disk_id_list_map: BTreeMap::from([(point.instance.to_string(), disk_ids.clone())]),
        disk_id_list: disk_ids,
        snapshot_group_id: point.group,
        instant_access: false,
        instance_name: point.instance_name.clone(),
        host_name: point.instance_name.clone(),
        vm_name: point.instance_name.clone(),
        instance_type: shape::print(point.vcpus, point.memory),
    }
}

fn point_status_word(point: &Point) -> &'static str {
    status_word(match point.status {
        PointStatus::Available if point.partial => JobStatus::PartialComplete,
        PointStatus::Available => JobStatus::Complete,
        PointStatus::Creating => JobStatus::Running,
        PointStatus::Unusable | PointStatus::Failed | PointStatus::Deleting | PointStatus::Deleted => {
            JobStatus::Failed
        }
    })
}

const fn downgrade_word(downgrade: Downgrade) -> &'static str {
    match downgrade {
        Downgrade::DiskNotGrouped => "DiskNotGrouped",
        Downgrade::GroupLimitExceeded => "GroupLimitExceeded",
        Downgrade::ApplicationNotSupported => "ApplicationNotSupported",
    }
}

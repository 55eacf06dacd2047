//! Backup jobs: started by hand, cancelled, listed; and their per-disk children.

use std::collections::BTreeMap;

use model::{
    BindingOptions, Code, Days, DiskId, GroupId, InstanceId, Job, JobId, JobStatus, PointId, Refusal,
    RegionId, Snapshot, SnapshotId, SnapshotStatus, Trigger, kinds,
};
use serde::Serialize;

use super::binding::parse_options;
use super::{OwnAccount, RETENTION_DAYS_MAX, SourceType, failure_text, speed, status_word};
use crate::document::Document;
use crate::filter::{Filter, FilterRules};
use crate::page::{NumberPage, Page};
use crate::params::Params;

const NAME_CHARS_MAX: usize = 256;
const FILTERS: FilterRules = FilterRules {
    keys: &[
        "RegionId",
        "PlanId",
        "JobId",
        "VaultId",
        "InstanceId",
        "Bucket",
        "FileSystemId",
        "Status",
        "CreatedTime",
        "CompleteTime",
        "InstanceName",
        "BackupType",
        "ParentId",
        "SourceType",
    ],
    filters_max: 5,
    values_max: 500,
};

/// `CreateBackupJob`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateBackupJob {
    pub instance: InstanceId,
    pub name: Option<String>,
    /// None when not given.
    pub retention: Option<Days>,
    pub options: BindingOptions,
    /// A copy in another region is asked for.
    pub copy: Option<CopyInput>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyInput {
    pub region: RegionId,
    /// None when not given.
    pub retention: Option<Days>,
}

impl CreateBackupJob {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        params.required("SourceType")?;
        SourceType::instances_only(params)?;
        OwnAccount::check(params)?;
        params.word("BackupType", &[("COMPLETE", ()), ("INCREMENTAL", ())])?;
        let detail = params.document("Detail")?.unwrap_or_else(|| Document::empty("Detail"));
        let retention = params.int("Retention", -1, RETENTION_DAYS_MAX)?;
        Ok(Self {
            instance: params.id("InstanceId", Code::InstanceNotFound)?,
            name: params.bounded("JobName", NAME_CHARS_MAX)?,
            retention: finite(retention, "Retention")?,
            options: parse_options(&detail)?,
            copy: parse_copy(&detail)?,
        })
    }
}

fn parse_copy(detail: &Document) -> Result<Option<CopyInput>, Refusal> {
    if detail.bool("DoCopy")? != Some(true) {
        return Ok(None);
    }
    let Some(region) = detail.text("DestinationRegionId")? else {
        return Err(Refusal::new(
            Code::ReplicationRegionMissing,
            "Detail asks for a copy and names no region",
        )
        .remedy("Give destinationRegionId, or leave doCopy out."));
    };
    let retention = detail.int("DestinationRetention", -1, RETENTION_DAYS_MAX)?;
    // Terraform sends −1 for what its user left out.
    let retention = retention.filter(|days| *days > 0);
    Ok(Some(CopyInput { region: RegionId(region), retention: finite(retention, "DestinationRetention")? }))
}

fn finite(days: Option<i64>, name: &str) -> Result<Option<Days>, Refusal> {
    match days {
        Some(-1) => Err(Refusal::new(
            Code::PermanentRetention,
            format!("{name} is -1, and points of instances cannot be kept for ever"),
        )
        .remedy("Give a number of days.")),
        days => Ok(days.and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0).map(Days)),
    }
}

/// `CancelBackupJob`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelBackupJob {
    pub job: JobId,
}

impl CancelBackupJob {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        Ok(Self { job: params.id("JobId", Code::JobNotFound)? })
    }
}

/// By creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    Ascending,
    Descending,
}

/// `DescribeBackupJobs2`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeBackupJobs2 {
    /// Jobs of instances, or their children by disk.
    pub source_type: SourceType,
    pub filters: Vec<Filter>,
    pub page: NumberPage,
    pub sort: Sort,
}

impl DescribeBackupJobs2 {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let sort =
            params.word("SortDirection", &[("ASCEND", Sort::Ascending), ("DESCEND", Sort::Descending)])?;
        Ok(Self {
            source_type: SourceType::of(params)?.unwrap_or(SourceType::UdmEcs),
            filters: Filter::parse_all(params, FILTERS)?,
            page: NumberPage::parse(params, 100)?,
            sort: sort.unwrap_or(Sort::Descending),
        })
    }

    /// The one job asked for by its id, or the one whose children are.
    pub fn job(&self) -> Option<JobId> {
        let key = match self.source_type {
            SourceType::UdmEcs => "JobId",
            SourceType::UdmEcsDisk => "ParentId",
        };
        Filter::only(&self.filters, key)?.parse::<model::Id<kinds::Job>>().ok()
    }
}

/// The answer to `DescribeBackupJobs2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Jobs {
    backup_jobs: JobList,
    page_number: usize,
    page_size: usize,
    total_count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct JobList {
    backup_job: Vec<JobView>,
}

impl Jobs {
    pub fn new(asked: &DescribeBackupJobs2, page: Page<JobView>) -> Self {
        Self {
            backup_jobs: JobList { backup_job: page.items },
            page_number: asked.page.number,
            page_size: asked.page.size,
            total_count: page.total,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobView {
    pub job_id: JobId,
    job_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<JobId>,
    source_type: &'static str,
    backup_type: &'static str,
    trigger_mode: &'static str,
    plan_id: String,
    instance_id: InstanceId,
    instance_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<DiskId>,
    status: &'static str,
    progress: u16,
    error_message: String,
    bytes_total: u64,
    bytes_done: u64,
    actual_bytes: u64,
    speed: u64,
    created_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_time: Option<i64>,
    updated_time: i64,
    detail: JobDetail,
    paths: PathList,
    vault_id: &'static str,
    #[serde(flatten)]
    account: OwnAccount,
    #[serde(skip)]
    region: RegionId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct JobDetail {
    do_copy: bool,
    native_snapshot_id: String,
    disk_native_snapshot_id_list: SnapshotIdList,
    instance_infos: BTreeMap<String, InstanceInfo>,
    /// Not of the source system, whose clients drop what they do not know.
    snapshot_group_id: GroupId,
    #[serde(rename = "SnapshotId")]
    point_id: PointId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SnapshotIdList {
    disk_native_snapshot_id: Vec<SnapshotId>,
}

/// Keys as the source system spells them inside this map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceInfo {
    instance_name: String,
    host_name: String,
    disk_ids: Vec<DiskId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PathList {
    path: [(); 0],
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        Self {
            job_id: job.id,
            job_name: job.name.clone(),
            parent_id: job.parent,
            source_type: SourceType::UdmEcs.as_str(),
            backup_type: "COMPLETE",
            trigger_mode: trigger_word(&job.request.trigger),
            plan_id: plan_id(&job.request.trigger),
            instance_id: job.instance,
            instance_name: job.instance_name.clone(),
            identifier: None,
            status: status_word(job.status),
            progress: job.progress.hundredths(),
            error_message: failure_text(job.failure.as_ref()),
            bytes_total: job.bytes_total.0,
            bytes_done: job.bytes_read.0,
            actual_bytes: job.bytes_stored.0,
            speed: speed(job.bytes_read.0, job.started, job.completed.unwrap_or(job.updated)),
            created_time: job.created.seconds(),
            start_time: job.started.map(model::Timestamp::seconds),
            complete_time: job.completed.map(model::Timestamp::seconds),
            updated_time: job.updated.seconds(),
            detail: job_detail(job, &job.snapshots),
            paths: PathList { path: [] },
            vault_id: "",
            account: OwnAccount::SELF,
            region: job.region.clone(),
        }
    }
}

impl JobView {
    /// The part of a job that is one disk: what `UDM_ECS_DISK` with a `ParentId` lists.
    pub fn child(job: &Job, snapshot: &Snapshot) -> Self {
        let status = match snapshot.status {
            SnapshotStatus::Progressing if job.status == JobStatus::Created => JobStatus::Queued,
            // A job that ended without this snapshot took it along.
            SnapshotStatus::Progressing if job.status.is_final() => job.status,
            SnapshotStatus::Progressing => JobStatus::Running,
            SnapshotStatus::Accomplished => JobStatus::Complete,
            SnapshotStatus::Failed if job.status == JobStatus::Canceled => JobStatus::Canceled,
            SnapshotStatus::Failed => JobStatus::Failed,
        };
        Self {
            job_id: snapshot.id.cast(),
            parent_id: Some(job.id),
            source_type: SourceType::UdmEcsDisk.as_str(),
            identifier: Some(snapshot.disk),
            status: status_word(status),
            progress: snapshot.progress.hundredths(),
            error_message: if status == JobStatus::Failed {
                failure_text(job.failure.as_ref())
            } else {
                String::new()
            },
            bytes_total: snapshot.disk_size.0,
            bytes_done: snapshot.bytes_read.0,
            actual_bytes: snapshot.bytes_stored.0,
            speed: speed(snapshot.bytes_read.0, job.started, snapshot.completed.unwrap_or(job.updated)),
            created_time: snapshot.created.seconds(),
            complete_time: snapshot.completed.map(model::Timestamp::seconds),
            detail: job_detail(job, &[snapshot.id]),
            ..Self::from(job)
        }
    }

    pub fn matches(&self, filters: &[Filter]) -> bool {
        let number = |time: Option<i64>| time.map(|time| time.to_string()).unwrap_or_default();
        Filter::all_match(filters, |key| match key {
            "RegionId" => self.region.0.clone(),
            "PlanId" => self.plan_id.clone(),
            "JobId" => self.job_id.to_string(),
            "InstanceId" => self.instance_id.to_string(),
            "Status" => self.status.to_owned(),
            "CreatedTime" => self.created_time.to_string(),
            "CompleteTime" => number(self.complete_time),
            "InstanceName" => self.instance_name.clone(),
            "BackupType" => self.backup_type.to_owned(),
            "ParentId" => self.parent_id.map(|id| id.to_string()).unwrap_or_default(),
            "SourceType" => self.source_type.to_owned(),
            // Of other products: a job of an instance has no bucket, file system or vault.
            _ => String::new(),
        })
    }
}

fn job_detail(job: &Job, snapshots: &[SnapshotId]) -> JobDetail {
    let single = match snapshots {
        [single] => single.to_string(),
        _ => String::new(),
    };
    let info = InstanceInfo {
        instance_name: job.instance_name.clone(),
        host_name: job.instance_name.clone(),
        disk_ids: job.request.options.disks.clone(),
    };
    JobDetail {
        do_copy: false,
        native_snapshot_id: single,
        disk_native_snapshot_id_list: SnapshotIdList { disk_native_snapshot_id: snapshots.to_vec() },
        instance_infos: BTreeMap::from([(job.instance.to_string(), info)]),
        snapshot_group_id: job.group,
        point_id: job.point,
    }
}

const fn trigger_word(trigger: &Trigger) -> &'static str {
    match trigger {
        Trigger::Manual | Trigger::PolicyNow { .. } => "MANUAL",
        Trigger::Schedule { .. } => "SCHEDULE",
    }
}

fn plan_id(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Manual => String::new(),
        Trigger::PolicyNow { policy, .. } | Trigger::Schedule { policy, .. } => policy.to_string(),
    }
}

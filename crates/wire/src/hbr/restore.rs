//! Restores: the four ways of getting an instance or a disk back.

use model::{
    Code, DiskId, InstanceId, JobStatus, PointId, Refusal, RegionId, Restore, RestoreId, RestoreKind,
    Timestamp,
};
use serde::Serialize;

use super::{OwnAccount, SourceType, failure_text, speed, status_word};
use crate::document::Document;
use crate::filter::{Filter, FilterRules};
use crate::page::{NumberPage, Page};
use crate::params::Params;

const DETAIL_CHARS_MAX: usize = 64 * 1_024;
const TEXT_CHARS_MAX: usize = 256;
const FILTERS: FilterRules = FilterRules {
    keys: &[
        "RestoreId",
        "RestoreType",
        "Status",
        "RegionId",
        "VaultId",
        "SnapshotId",
        "SourceType",
        "SourceInstanceId",
        "TargetInstanceId",
        "InstanceId",
        "ParentId",
        "CreatedTime",
        "CompleteTime",
    ],
    filters_max: 5,
    values_max: 500,
};

/// `RestoreType`, by what is made or overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RestoreType {
    RollBackInstance,
    CloneInstance,
    RollBackDisk,
    CloneDisk,
}

const TYPES: [(&str, RestoreType); 4] = [
    ("UDM_ECS_ROLLBACK", RestoreType::RollBackInstance),
    ("UDM_ECS", RestoreType::CloneInstance),
    ("UDM_ECS_DISK_ROLLBACK", RestoreType::RollBackDisk),
    ("UDM_ECS_DISK", RestoreType::CloneDisk),
];

/// `CreateRestoreJob`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRestoreJob {
    /// Of an instance, or for the disk types of a disk.
    pub point: PointId,
    /// Where to restore to; none means where the point is.
    pub region: Option<RegionId>,
    pub kind: RestoreInput,
    /// Makes a repeated call the same call.
    pub client_token: Option<String>,
    /// `UdmDetail` as it came.
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreInput {
    RollBackInstance { instance: InstanceId, force: bool, boot: bool },
    CloneInstance(CloneInput),
    RollBackDisk { instance: InstanceId, disk: Option<DiskId>, force: bool, boot: bool },
    CloneDisk { instance: InstanceId, category: String },
}

/// What the new instance is like. Empty texts were not given and mean "as the old one".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneInput {
    pub name: String,
    pub host_name: String,
    pub instance_type: String,
    pub network: String,
    pub security_group: String,
    pub private_address: String,
    pub category: String,
    pub public_address: bool,
    pub boot: bool,
}

impl CreateRestoreJob {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let kind = params.word("RestoreType", &TYPES)?.ok_or_else(|| params.missing("RestoreType"))?;
        params.required("SourceType")?;
        SourceType::of(params)?;
        OwnAccount::check(params)?;
        let detail = params.document("UdmDetail")?.unwrap_or_else(|| Document::empty("UdmDetail"));
        let kind = match kind {
            RestoreType::RollBackInstance => RestoreInput::RollBackInstance {
                instance: instance(params, &detail, "sourceInstanceId")?,
                force: force(&detail)?,
                boot: boot(&detail)?,
            },
            RestoreType::RollBackDisk => RestoreInput::RollBackDisk {
                instance: instance(params, &detail, "sourceInstanceId")?,
                disk: detail.id("diskId", Code::DiskNotFound)?,
                force: force(&detail)?,
                boot: boot(&detail)?,
            },
            RestoreType::CloneInstance => RestoreInput::CloneInstance(CloneInput::parse(&detail)?),
            RestoreType::CloneDisk => RestoreInput::CloneDisk {
                instance: instance(params, &detail, "targetInstanceId")?,
                category: category(&detail)?,
            },
        };
        let detail = if params.str("UdmDetail").is_some() { detail.to_json() } else { "{}".to_owned() };
        if detail.len() > DETAIL_CHARS_MAX {
            return Err(params.invalid(
                "UdmDetail",
                &detail,
                &format!("Give at most {DETAIL_CHARS_MAX} bytes."),
            ));
        }
        Ok(Self {
            point: params.id("SnapshotId", Code::PointNotFound)?,
            region: params.text("UdmRegionId").map(RegionId),
            kind,
            client_token: params.bounded("ClientToken", 64)?,
            detail,
        })
    }
}

impl CloneInput {
    fn parse(detail: &Document) -> Result<Self, Refusal> {
        let text = |key: &str| detail.bounded(key, TEXT_CHARS_MAX);
        Ok(Self {
            name: text("restoredName")?,
            host_name: text("restoredHostName")?,
            instance_type: text("instanceType")?,
            network: text("restoredNetwork")?,
            security_group: text("securityGroup")?,
            private_address: text("privateIpAddress")?,
            category: category(detail)?,
            public_address: detail.bool("allocatePublicIp")?.unwrap_or(false),
            boot: boot(detail)?,
        })
    }
}

/// The instance to write to is named by the client, never guessed from the point.
fn instance(params: &Params, detail: &Document, key: &str) -> Result<InstanceId, Refusal> {
    match detail.id(key, Code::InstanceNotFound)? {
        Some(instance) => Ok(instance),
        None if params.str("TargetInstanceId").is_some() => {
            params.id("TargetInstanceId", Code::InstanceNotFound)
        }
        None => Err(detail.missing(key)),
    }
}

fn boot(detail: &Document) -> Result<bool, Refusal> {
    Ok(detail.bool("bootAfterRestore")?.unwrap_or(false))
}

/// The documentation of today misspells it, that of yesterday did not.
fn force(detail: &Document) -> Result<bool, Refusal> {
    let spelled_right = detail.bool("forceRestore")?;
    Ok(spelled_right.or(detail.bool("foreceRestore")?).unwrap_or(false))
}

fn category(detail: &Document) -> Result<String, Refusal> {
    detail.word("diskPerformanceLevel", &[("PL0", ()), ("PL1", ()), ("PL2", ()), ("PL3", ())])?;
    detail.bounded("diskCategory", TEXT_CHARS_MAX)
}

/// `DescribeRestoreJobs2`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeRestoreJobs2 {
    restore_type: Option<RestoreType>,
    pub filters: Vec<Filter>,
    pub page: NumberPage,
}

impl DescribeRestoreJobs2 {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        Ok(Self {
            restore_type: params.word("RestoreType", &TYPES)?,
            filters: Filter::parse_all(params, FILTERS)?,
            page: NumberPage::parse(params, 100)?,
        })
    }

    pub fn matches(&self, restore: &Restore) -> bool {
        let view = RestoreView::from(restore);
        self.restore_type.is_none_or(|wanted| wanted == type_of(&restore.kind))
            && Filter::all_match(&self.filters, |key| match key {
                "RestoreId" => restore.id.to_string(),
                "RestoreType" => view.restore_type.to_owned(),
                "Status" => view.status.to_owned(),
                "RegionId" => restore.region.0.clone(),
                "SnapshotId" => restore.point.to_string(),
                "SourceType" => view.source_type.to_owned(),
                "SourceInstanceId" => restore.source.to_string(),
                "TargetInstanceId" | "InstanceId" => view.target_instance_id.to_string(),
                "CreatedTime" => view.created_time.to_string(),
                "CompleteTime" => view.complete_time.map(|time| time.to_string()).unwrap_or_default(),
                _ => String::new(),
            })
    }
}

/// The answer to `DescribeRestoreJobs2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Restores {
    restore_jobs: RestoreList,
    page_number: usize,
    page_size: usize,
    total_count: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RestoreList {
    restore_job: Vec<RestoreView>,
}

impl Restores {
    pub fn new(asked: &DescribeRestoreJobs2, page: Page<RestoreView>) -> Self {
        Self {
            restore_jobs: RestoreList { restore_job: page.items },
            page_number: asked.page.number,
            page_size: asked.page.size,
            total_count: page.total,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RestoreView {
    pub restore_id: RestoreId,
    restore_type: &'static str,
    source_type: &'static str,
    snapshot_id: PointId,
    snapshot_hash: String,
    source_instance_id: InstanceId,
    source_resource_id: InstanceId,
    target_instance_id: InstanceId,
    parent_id: &'static str,
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
    /// A document in a text.
    udm_detail: String,
    vault_id: &'static str,
    #[serde(flatten)]
    account: OwnAccount,
}

impl From<&Restore> for RestoreView {
    fn from(restore: &Restore) -> Self {
        let (target, source_type) = match &restore.kind {
            RestoreKind::RollBackInstance { instance, .. } => (*instance, SourceType::UdmEcs),
            RestoreKind::RollBackDisk { instance, .. } => (*instance, SourceType::UdmEcsDisk),
            RestoreKind::CloneInstance(clone) => (clone.instance, SourceType::UdmEcs),
            RestoreKind::CloneDisk { instance, .. } => (*instance, SourceType::UdmEcsDisk),
        };
        // Terraform waits in CREATED and gives up on QUEUED.
        let status = match restore.status {
            JobStatus::Queued => JobStatus::Created,
            status => status,
        };
        let until = restore.completed.unwrap_or(restore.updated);
        Self {
            restore_id: restore.id,
            restore_type: type_word(type_of(&restore.kind)),
            source_type: source_type.as_str(),
            snapshot_id: restore.point,
            snapshot_hash: format!("{:025x}", restore.point.bits()),
            source_instance_id: restore.source,
            source_resource_id: restore.source,
            target_instance_id: target,
            parent_id: "",
            status: status_word(status),
            progress: restore.progress.hundredths(),
            error_message: failure_text(restore.failure.as_ref()),
            bytes_total: restore.bytes_total.0,
            bytes_done: restore.bytes_done.0,
            actual_bytes: restore.bytes_done.0,
            speed: speed(restore.bytes_done.0, restore.started, until),
            created_time: restore.created.seconds(),
            start_time: restore.started.map(Timestamp::seconds),
            complete_time: restore.completed.map(Timestamp::seconds),
            updated_time: restore.updated.seconds(),
            udm_detail: restore.detail.clone(),
            vault_id: "",
            account: OwnAccount::SELF,
        }
    }
}

const fn type_of(kind: &RestoreKind) -> RestoreType {
    match kind {
        RestoreKind::RollBackInstance { .. } => RestoreType::RollBackInstance,
        RestoreKind::RollBackDisk { .. } => RestoreType::RollBackDisk,
        RestoreKind::CloneInstance(_) => RestoreType::CloneInstance,
        RestoreKind::CloneDisk { .. } => RestoreType::CloneDisk,
    }
}

const fn type_word(kind: RestoreType) -> &'static str {
    match kind {
        RestoreType::RollBackInstance => "UDM_ECS_ROLLBACK",
        RestoreType::CloneInstance => "UDM_ECS",
        RestoreType::RollBackDisk => "UDM_ECS_DISK_ROLLBACK",
        RestoreType::CloneDisk => "UDM_ECS_DISK",
    }
}

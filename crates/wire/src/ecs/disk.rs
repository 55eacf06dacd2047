//! Disks, listed.

use model::{Disk, DiskCapability, DiskId, DiskKind, Instance, InstanceId, Refusal, RegionId, ZoneId, kinds};
use serde::Serialize;

use super::{IDS_MAX, TEXT_CHARS_MAX, TagWanted, Tags, category, dry_run, kind_word, region, tags_wanted};
use crate::page::{EcsPage, Page};
use crate::params::{Asked, Params};

/// As for instances: asked for what no disk has, the list is empty.
const LACKING: [&str; 5] =
    ["AutoSnapshotPolicyId", "KMSKeyId", "LockReason", "ResourceGroupId", "SnapshotId"];

/// `DescribeDisks`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeDisks {
    pub region: Option<RegionId>,
    pub disks: Asked<kinds::Disk>,
    pub instance: Asked<kinds::Instance>,
    pub kind: Option<DiskKind>,
    pub category: Option<String>,
    pub name: Option<String>,
    pub encrypted: Option<bool>,
    pub zone: Option<ZoneId>,
    pub tags: Vec<TagWanted>,
    pub page: EcsPage,
    pub dry_run: bool,
    impossible: bool,
}

impl DescribeDisks {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let kinds = [("all", None), ("system", Some(DiskKind::System)), ("data", Some(DiskKind::Data))];
        // Every disk we know is some instance's, and in use.
        let statuses = [
            ("All", true),
            ("In_use", true),
            ("Available", false),
            ("Attaching", false),
            ("Detaching", false),
            ("Creating", false),
            ("ReIniting", false),
        ];
        let in_use = params.word("Status", &statuses)?.unwrap_or(true);
        Ok(Self {
            region: region(params),
            disks: params.asked_list("DiskIds", IDS_MAX)?,
            instance: params.asked("InstanceId"),
            kind: params.word("DiskType", &kinds)?.flatten(),
            category: params.bounded("Category", TEXT_CHARS_MAX)?.filter(|category| category != "all"),
            name: params.bounded("DiskName", TEXT_CHARS_MAX)?,
            encrypted: params.bool("Encrypted")?,
            zone: params.text("ZoneId").map(ZoneId),
            tags: tags_wanted(params)?,
            page: EcsPage::parse(params, 100, 500)?,
            dry_run: dry_run(params)?,
            impossible: !in_use || params.any_given(&LACKING),
        })
    }

    pub fn matches(&self, instance: &Instance, disk: &Disk) -> bool {
        !self.impossible
            && self.disks.matches(disk.id)
            && self.instance.matches(disk.instance)
            && self.kind.is_none_or(|kind| kind == disk.kind)
            && self.category.as_ref().is_none_or(|wanted| wanted == category_of(&disk.capability))
            && self.name.as_ref().is_none_or(|pattern| super::name_matches(pattern, &name(instance, disk)))
            // The client's "not encrypted" is its default, and means "whatever".
            && self.encrypted.is_none_or(|wanted| !wanted || disk.encrypted)
            && self.zone.as_ref().is_none_or(|zone| *zone == instance.zone)
            && tags(instance).cover(&self.tags)
    }
}

/// Page number and size in paging by number, the token in paging by token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Paging {
    #[serde(skip_serializing_if = "Option::is_none")]
    page_number: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_size: Option<usize>,
    next_token: String,
    total_count: usize,
}

impl Paging {
    pub(super) fn of<T>(asked: &EcsPage, page: &Page<T>) -> Self {
        let number = match asked {
            EcsPage::Number(number) => Some(number),
            EcsPage::Token(_) => None,
        };
        Self {
            page_number: number.map(|number| number.number),
            page_size: number.map(|number| number.size),
            next_token: page.next_token.clone().unwrap_or_default(),
            total_count: page.total,
        }
    }
}

/// The answer to `DescribeDisks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Disks {
    disks: DiskList,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DiskList {
    disk: Vec<DiskView>,
}

impl Disks {
    pub fn new(asked: &DescribeDisks, page: Page<DiskView>) -> Self {
        let paging = Paging::of(&asked.page, &page);
        Self { disks: DiskList { disk: page.items }, paging }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskView {
    pub disk_id: DiskId,
    disk_name: String,
    /// Why it cannot be backed up, when it cannot.
    description: String,
    instance_id: InstanceId,
    region_id: RegionId,
    zone_id: ZoneId,
    device: String,
    #[serde(rename = "Type")]
    kind: &'static str,
    category: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    performance_level: Option<&'static str>,
    /// GiB
    size: u64,
    status: &'static str,
    encrypted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_time: Option<String>,
    portable: bool,
    delete_with_instance: bool,
    delete_auto_snapshot: bool,
    enable_auto_snapshot: bool,
    multi_attach: &'static str,
    disk_charge_type: &'static str,
    attachments: Attachments,
    mount_instances: Mounts,
    operation_locks: Locks,
    tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attachments {
    attachment: [Attachment; 1],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    instance_id: InstanceId,
    device: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mounts {
    mount_instance: [(); 0],
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Locks {
    operation_lock: [(); 0],
}

impl DiskView {
    pub fn from(disk: &Disk, instance: &Instance) -> Self {
        let device = format!("/dev/{}", disk.device);
        let description = match &disk.capability {
            DiskCapability::Refused { because } => format!("Cannot be backed up: {because}"),
            DiskCapability::Tracked | DiskCapability::Whole => String::new(),
        };
        Self {
            disk_id: disk.id,
            disk_name: name(instance, disk),
            description,
            instance_id: disk.instance,
            region_id: instance.region.clone(),
            zone_id: instance.zone.clone(),
            device: device.clone(),
            kind: kind_word(disk.kind),
            category: category_of(&disk.capability),
            performance_level: (disk.capability == DiskCapability::Tracked).then_some("PL1"),
            size: disk.size.gib_ceil(),
            status: "In_use",
            encrypted: disk.encrypted,
            creation_time: instance.created.map(crate::time::iso),
            portable: disk.kind == DiskKind::Data,
            delete_with_instance: false,
            delete_auto_snapshot: false,
            enable_auto_snapshot: false,
            multi_attach: "Disabled",
            disk_charge_type: "PostPaid",
            attachments: Attachments { attachment: [Attachment { instance_id: disk.instance, device }] },
            mount_instances: Mounts::default(),
            operation_locks: Locks::default(),
            tags: tags(instance),
        }
    }
}

fn name(instance: &Instance, disk: &Disk) -> String {
    format!("{}-{}", instance.name, disk.device)
}

fn tags(instance: &Instance) -> Tags {
    Tags::of(instance.simulated.then(|| ("hikae:simulated", "true".to_owned())))
}

const fn category_of(capability: &DiskCapability) -> &'static str {
    match capability {
        DiskCapability::Tracked => category(true),
        DiskCapability::Whole => category(false),
        DiskCapability::Refused { .. } => "local_hdd_pro",
    }
}

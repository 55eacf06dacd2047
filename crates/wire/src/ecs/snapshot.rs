//! Snapshots, listed; and the text in which a backup point describes its own.

use model::{
    ChainId, DiskId, DiskKind, Maker, Refusal, RegionId, Snapshot, SnapshotId, SnapshotStatus, Timestamp,
    kinds,
};
use serde::Serialize;

use super::disk::Paging;
use super::{IDS_MAX, TEXT_CHARS_MAX, TagWanted, Tags, category, dry_run, kind_word, region, tags_wanted};
use crate::page::{EcsPage, Page};
use crate::params::{Asked, Params};

/// As for instances: asked for what no snapshot has, the list is empty.
const LACKING: [&str; 2] = ["KMSKeyId", "ResourceGroupId"];

const STATUSES: [(&str, Option<SnapshotStatus>); 4] = [
    ("progressing", Some(SnapshotStatus::Progressing)),
    ("accomplished", Some(SnapshotStatus::Accomplished)),
    ("failed", Some(SnapshotStatus::Failed)),
    ("all", None),
];

/// `DescribeSnapshots`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeSnapshots {
    pub region: Option<RegionId>,
    pub snapshots: Asked<kinds::Snapshot>,
    pub instance: Asked<kinds::Instance>,
    pub disk: Asked<kinds::Disk>,
    pub chain: Asked<kinds::Chain>,
    pub name: Option<String>,
    pub status: Option<SnapshotStatus>,
    pub disk_kind: Option<DiskKind>,
    pub encrypted: Option<bool>,
    /// Created between these, both included.
    pub created: (Option<Timestamp>, Option<Timestamp>),
    pub tags: Vec<TagWanted>,
    pub page: EcsPage,
    pub dry_run: bool,
    impossible: bool,
}

impl DescribeSnapshots {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let disk_kinds = [("system", DiskKind::System), ("data", DiskKind::Data)];
        // None of ours is made on a timer of the block service, flash, archived, or in use by an image.
        let types = [("all", true), ("user", true), ("auto", false), ("timer", false)];
        let categories = [("standard", true), ("flash", false), ("archive", false)];
        let usages = [("none", true), ("image", false), ("disk", false), ("image_disk", false)];
        let possible = params.word("SnapshotType", &types)?.unwrap_or(true)
            && params.word("Category", &categories)?.unwrap_or(true)
            && params.word("Usage", &usages)?.unwrap_or(true);
        Ok(Self {
            region: region(params),
            snapshots: params.asked_list("SnapshotIds", IDS_MAX)?,
            instance: params.asked("InstanceId"),
            disk: params.asked("DiskId"),
            chain: params.asked("SnapshotLinkId"),
            name: params.bounded("SnapshotName", TEXT_CHARS_MAX)?,
            status: params.word("Status", &STATUSES)?.flatten(),
            disk_kind: params.word("SourceDiskType", &disk_kinds)?,
            encrypted: params.bool("Encrypted")?,
            created: creation_range(params)?,
            tags: tags_wanted(params)?,
            page: EcsPage::parse(params, 100, 100)?,
            dry_run: dry_run(params)?,
            impossible: !possible || params.any_given(&LACKING),
        })
    }

    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        !self.impossible
            && self.snapshots.matches(snapshot.id)
            && self.instance.matches(snapshot.instance)
            && self.disk.matches(snapshot.disk)
            && self.chain.matches(chain_of(snapshot.disk))
            && self.name.as_ref().is_none_or(|pattern| super::name_matches(pattern, &snapshot.name))
            && self.status.is_none_or(|status| status == snapshot.status)
            && self.disk_kind.is_none_or(|kind| kind == snapshot.disk_kind)
            // The client's "not encrypted" is its default, and means "whatever".
            && self.encrypted.is_none_or(|wanted| !wanted || snapshot.encrypted)
            && self.created.0.is_none_or(|start| start <= snapshot.created)
            && self.created.1.is_none_or(|end| snapshot.created <= end)
            && Tags::made_by(snapshot.made_by).cover(&self.tags)
    }
}

/// `Filter.1.Key=CreationStartTime`, `Filter.2.Key=CreationEndTime`.
fn creation_range(params: &Params) -> Result<(Option<Timestamp>, Option<Timestamp>), Refusal> {
    let mut range = (None, None);
    for filter in params.items("Filter", 2)? {
        let value = filter.required("Value")?;
        let time = crate::time::parse_iso(value)
            .ok_or_else(|| filter.invalid("Value", value, "Write it as 2026-11-22T16:06Z."))?;
        let keys = [("CreationStartTime", true), ("CreationEndTime", false)];
        match filter.word("Key", &keys)? {
            Some(true) => range.0 = Some(time),
            Some(false) => range.1 = Some(time),
            None => return Err(filter.missing("Key")),
        }
    }
    Ok(range)
}

/// The answer to `DescribeSnapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshots {
    snapshots: SnapshotList,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SnapshotList {
    snapshot: Vec<SnapshotView>,
}

impl Snapshots {
    pub fn new(asked: &DescribeSnapshots, page: Page<SnapshotView>) -> Self {
        let paging = Paging::of(&asked.page, &page);
        Self { snapshots: SnapshotList { snapshot: page.items }, paging }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapshotView {
    pub snapshot_id: SnapshotId,
    snapshot_name: String,
    description: String,
    snapshot_link_id: ChainId,
    #[serde(rename = "SnapshotSN")]
    snapshot_sn: String,
    region_id: RegionId,
    source_disk_id: DiskId,
    /// GiB, in a text.
    source_disk_size: String,
    source_disk_type: &'static str,
    source_storage_type: &'static str,
    status: &'static str,
    /// `100%`
    progress: String,
    available: bool,
    instant_access: bool,
    category: &'static str,
    snapshot_type: &'static str,
    usage: &'static str,
    encrypted: bool,
    creation_time: String,
    last_modified_time: String,
    product_code: &'static str,
    tags: Tags,
}

impl From<&Snapshot> for SnapshotView {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            snapshot_id: snapshot.id,
            snapshot_name: snapshot.name.clone(),
            description: snapshot.full_because.clone().unwrap_or_default(),
            snapshot_link_id: chain_of(snapshot.disk),
            snapshot_sn: format!("{:025x}", snapshot.id.bits()),
            region_id: snapshot.region.clone(),
            source_disk_id: snapshot.disk,
            source_disk_size: snapshot.disk_size.gib_ceil().to_string(),
            source_disk_type: kind_word(snapshot.disk_kind),
            source_storage_type: "disk",
            status: status_word(snapshot.status),
            progress: format!("{}%", snapshot.progress.percent()),
            available: snapshot.status == SnapshotStatus::Accomplished,
            instant_access: false,
            category: "standard",
            snapshot_type: "user",
            usage: "none",
            encrypted: snapshot.encrypted,
            creation_time: crate::time::iso(snapshot.created),
            last_modified_time: crate::time::iso(snapshot.completed.unwrap_or(snapshot.created)),
            product_code: "",
            tags: Tags::made_by(snapshot.made_by),
        }
    }
}

/// A snapshot as `NativeSnapshotInfo` of a backup point has it: JSON in a text, in other spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeInfo {
    snapshot_id: SnapshotId,
    snapshot_name: String,
    source_disk_id: DiskId,
    source_disk_size: String,
    source_disk_type: &'static str,
    creation_time: String,
    status: &'static str,
    progress: String,
    encrypted: bool,
    category: &'static str,
    tags: Vec<NativeTag>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NativeTag {
    tag_key: &'static str,
    tag_value: String,
}

impl NativeInfo {
    pub(crate) fn text(snapshot: &Snapshot) -> String {
        let tags = match snapshot.made_by {
            Maker::User => Vec::new(),
            Maker::Backup { job } => vec![NativeTag { tag_key: "HBR JobId", tag_value: job.to_string() }],
        };
        let info = Self {
            snapshot_id: snapshot.id,
            snapshot_name: snapshot.name.clone(),
            source_disk_id: snapshot.disk,
            source_disk_size: snapshot.disk_size.gib_ceil().to_string(),
            source_disk_type: kind_word(snapshot.disk_kind),
            creation_time: crate::time::iso(snapshot.created),
            status: status_word(snapshot.status),
            progress: format!("{}%", snapshot.progress.percent()),
            encrypted: snapshot.encrypted,
            category: category(snapshot.tracked),
            tags,
        };
        serde_json::to_string(&info).unwrap_or_default()
    }
}

/// All snapshots of a disk are one chain, so its id is the disk's in another kind.
const fn chain_of(disk: DiskId) -> ChainId {
    disk.cast()
}

pub(super) const fn status_word(status: SnapshotStatus) -> &'static str {
    match status {
        SnapshotStatus::Progressing => "progressing",
        SnapshotStatus::Accomplished => "accomplished",
        SnapshotStatus::Failed => "failed",
    }
}

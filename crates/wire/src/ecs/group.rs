//! Snapshot groups, listed.

use model::{
    DiskId, Group, GroupId, InstanceId, Maker, Progress, Refusal, RegionId, Snapshot, SnapshotId,
    SnapshotStatus, kinds,
};
use serde::Serialize;

use super::snapshot::status_word;
use super::{TEXT_CHARS_MAX, TagWanted, Tags, kind_word, region, tags_wanted};
use crate::page::{EcsPage, Page, TokenPage};
use crate::params::{Asked, Params, find_word, listed};

const STATUSES: [(&str, SnapshotStatus); 3] = [
    ("progressing", SnapshotStatus::Progressing),
    ("accomplished", SnapshotStatus::Accomplished),
    ("failed", SnapshotStatus::Failed),
];

/// `DescribeSnapshotGroups`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeSnapshotGroups {
    pub region: Option<RegionId>,
    pub groups: Asked<kinds::Group>,
    pub instance: Asked<kinds::Instance>,
    pub name: Option<String>,
    /// Empty means any.
    pub statuses: Vec<SnapshotStatus>,
    pub tags: Vec<TagWanted>,
    pub page: EcsPage,
    impossible: bool,
}

impl DescribeSnapshotGroups {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let status = |text: &String| {
            let remedy = || format!("Give one of {}.", listed(&STATUSES));
            find_word(text, &STATUSES).ok_or_else(|| params.invalid("Status", text, &remedy()))
        };
        Ok(Self {
            region: region(params),
            groups: params.asked_list("SnapshotGroupId", 10)?,
            instance: params.asked("InstanceId"),
            name: params.bounded("Name", TEXT_CHARS_MAX)?,
            statuses: params.texts("Status", 10)?.iter().map(status).collect::<Result<_, _>>()?,
            tags: tags_wanted(params)?,
            // By token only.
            page: EcsPage::Token(TokenPage::parse(params, 500)?),
            impossible: params.any_given(&["ResourceGroupId"]),
        })
    }

    pub fn matches(&self, group: &Group) -> bool {
        !self.impossible
            && self.groups.matches(group.id)
            && self.instance.matches(group.instance)
            && self.name.as_ref().is_none_or(|pattern| super::name_matches(pattern, &group.name))
            && (self.statuses.is_empty() || self.statuses.contains(&group.status))
            && Tags::made_by(group.made_by).cover(&self.tags)
    }
}

/// The answer to `DescribeSnapshotGroups`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Groups {
    snapshot_groups: GroupList,
    next_token: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupList {
    snapshot_group: Vec<GroupView>,
}

impl Groups {
    pub fn new(page: Page<GroupView>) -> Self {
        Self {
            snapshot_groups: GroupList { snapshot_group: page.items },
            next_token: page.next_token.unwrap_or_default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupView {
    pub snapshot_group_id: GroupId,
    instance_id: InstanceId,
    name: String,
    description: String,
    status: &'static str,
    progress_status: &'static str,
    creation_time: String,
    snapshots: MemberList,
    tags: GroupTags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MemberList {
    snapshot: Vec<MemberView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MemberView {
    snapshot_id: SnapshotId,
    source_disk_id: DiskId,
    source_disk_type: &'static str,
    progress: String,
    available: bool,
    instant_access: bool,
    tags: GroupTags,
}

/// `Key` and `Value`, where every other listing has `TagKey` and `TagValue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupTags {
    tag: Vec<GroupTag>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupTag {
    key: &'static str,
    value: String,
}

impl GroupTags {
    fn made_by(maker: Maker) -> Self {
        match maker {
            Maker::User => Self { tag: Vec::new() },
            Maker::Backup { job } => {
                Self { tag: vec![GroupTag { key: "HBR JobId", value: job.to_string() }] }
            }
        }
    }
}

impl GroupView {
    /// `snapshots` are those of the group that are known.
    pub fn from(group: &Group, snapshots: &[Snapshot]) -> Self {
        Self {
            snapshot_group_id: group.id,
            instance_id: group.instance,
            name: group.name.clone(),
            description: group.description.clone(),
            status: status_word(group.status),
            progress_status: "",
            creation_time: crate::time::iso(group.created),
            snapshots: MemberList { snapshot: snapshots.iter().map(MemberView::from).collect() },
            tags: GroupTags::made_by(group.made_by),
        }
    }
}

impl From<&Snapshot> for MemberView {
    fn from(snapshot: &Snapshot) -> Self {
        let done = snapshot.status == SnapshotStatus::Accomplished;
        let progress = if done { Progress::FULL } else { snapshot.progress };
        Self {
            snapshot_id: snapshot.id,
            source_disk_id: snapshot.disk,
            source_disk_type: kind_word(snapshot.disk_kind),
            progress: format!("{}%", progress.percent()),
            available: done,
            instant_access: false,
            tags: GroupTags::made_by(snapshot.made_by),
        }
    }
}

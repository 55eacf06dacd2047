//! The block service, 2014-05-26: regions, instances, disks, snapshots, groups.
//!
//! Times are ISO 8601 in UTC, sizes GiB, lists wrapped in an object each.

mod disk;
mod group;
mod instance;
mod region;
mod snapshot;

pub use disk::{DescribeDisks, DiskView, Disks};
pub use group::{DescribeSnapshotGroups, GroupView, Groups};
pub use instance::{DescribeInstances, InstanceView, Instances, StartInstance, StopInstance};
pub use region::{RegionView, Regions};
pub use snapshot::{DescribeSnapshots, NativeInfo, SnapshotView, Snapshots};

use model::{Code, DiskKind, Maker, Refusal, RegionId};
use serde::Serialize;

use crate::params::Params;

const IDS_MAX: usize = 100;
const TAGS_MAX: usize = 20;
const TEXT_CHARS_MAX: usize = 256;

/// What a rehearsal (`DryRun=true`) that would have worked is answered with.
pub fn dry_run_passed() -> Refusal {
    Refusal::new(Code::DryRun, "Request validation has been passed with DryRun flag set.")
}

/// A tag as most listings spell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    tag_key: &'static str,
    tag_value: String,
}

/// `Tags.Tag[]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tags {
    tag: Vec<Tag>,
}

impl Tags {
    pub(crate) fn of(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { tag: pairs.into_iter().map(|(tag_key, tag_value)| Tag { tag_key, tag_value }).collect() }
    }

    fn made_by(maker: Maker) -> Self {
        match maker {
            Maker::User => Self::default(),
            Maker::Backup { job } => Self::of([("HBR JobId", job.to_string())]),
        }
    }

    /// Whether every wanted tag is among these.
    fn cover(&self, wanted: &[TagWanted]) -> bool {
        wanted.iter().all(|wanted| {
            self.tag.iter().any(|tag| {
                tag.tag_key == wanted.key && wanted.value.as_ref().is_none_or(|value| *value == tag.tag_value)
            })
        })
    }
}

/// `Tag.N.Key` and `Tag.N.Value` of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagWanted {
    pub key: String,
    /// None means any.
    pub value: Option<String>,
}

fn tags_wanted(params: &Params) -> Result<Vec<TagWanted>, Refusal> {
    let tags = params.items("Tag", TAGS_MAX)?;
    tags.iter()
        .map(|tag| Ok(TagWanted { key: tag.required("Key")?.to_owned(), value: tag.text("Value") }))
        .collect()
}

fn region(params: &Params) -> Option<RegionId> {
    params.text("RegionId").map(RegionId)
}

fn dry_run(params: &Params) -> Result<bool, Refusal> {
    Ok(params.bool("DryRun")?.unwrap_or(false))
}

pub(crate) const fn kind_word(kind: DiskKind) -> &'static str {
    match kind {
        DiskKind::System => "system",
        DiskKind::Data => "data",
    }
}

/// Of a disk that can be snapshotted.
pub(crate) const fn category(tracked: bool) -> &'static str {
    if tracked { "cloud_essd" } else { "cloud_efficiency" }
}

/// A name with `*` for any text, as some listings take it.
fn name_matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, matches) in [
            ("db", "db", true),
            ("db", "db1", false),
            ("db*", "db1", true),
            ("*1", "db1", true),
            ("d*1", "db1", true),
            ("*b*", "db1", true),
            ("d*b*1", "dxbx1", true),
            ("d*d", "d", false),
            ("*", "", true),
            ("x*", "db1", false),
        ] {
            assert_eq!(name_matches(pattern, name), matches, "{pattern} on {name}");
        }
    }
}

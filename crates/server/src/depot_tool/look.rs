//! Commands that only look: what is there, and where two snapshots differ.

use depot::{DiskManifest, GroupManifest};
use model::{ByteCount, ConsistencyLevel, DiskKind, Extent, GroupId, SnapshotId};
use serde::Serialize;
use serde_json::json;

use super::meter::{Cost, Meter};
use super::place::Open;
use crate::args::Output;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Row};

/// One snapshot, as listed.
#[derive(Serialize)]
pub(super) struct SnapshotRow {
    group: String,
    instance_id: String,
    instance_name: String,
    taken: i64,
    consistency: &'static str,
    snapshot: String,
    disk: String,
    device: String,
    kind: &'static str,
    size_bytes: u64,
    read_bytes: u64,
    stored_bytes: u64,
    base: Option<String>,
}

impl SnapshotRow {
    pub(super) fn of(group: &GroupManifest, disk: &DiskManifest) -> Self {
        Self {
            group: group.group.to_string(),
            instance_id: group.instance.to_string(),
            instance_name: group.instance_name.clone(),
            taken: group.taken.seconds(),
            consistency: match group.level {
                ConsistencyLevel::Crash => "crash",
                ConsistencyLevel::FileSystem => "file-system",
                ConsistencyLevel::Application => "application",
            },
            snapshot: disk.snapshot.to_string(),
            disk: disk.disk.to_string(),
            device: disk.device.clone(),
            kind: match disk.kind {
                DiskKind::System => "system",
                DiskKind::Data => "data",
            },
            size_bytes: disk.tree.size,
            read_bytes: disk.bytes_read.0,
            stored_bytes: disk.bytes_stored.0,
            base: disk.base.map(|base| base.snapshot.to_string()),
        }
    }
}

impl Row for SnapshotRow {
    const HEADER: &'static [&'static str] =
        &["GROUP", "INSTANCE", "TAKEN", "SNAPSHOT", "DEVICE", "SIZE", "READ", "STORED"];

    fn cells(&self) -> Vec<String> {
        let named = if self.instance_name.is_empty() { &self.instance_id } else { &self.instance_name };
        vec![
            self.group.clone(),
            named.clone(),
            output::time(Some(self.taken)),
            self.snapshot.clone(),
            output::dash(&self.device),
            ByteCount(self.size_bytes).to_string(),
            ByteCount(self.read_bytes).to_string(),
            ByteCount(self.stored_bytes).to_string(),
        ]
    }
}

pub(super) fn init(open: &Open, output: Output) -> Result<(), Failure> {
    let value = json!({"depot": open.depot.id(), "region": open.region.0});
    output::one(output, &value, &format!("{} of region {}", open.depot.id(), open.region))
}

/// Lists every group that can be read; one that cannot is told of, and the command fails at its end.
pub(super) async fn ls(open: &Open, output: Output) -> Result<(), Failure> {
    let (mut groups, mut unreadable) = (Vec::new(), 0);
    let each = open.depot.each_group(|(id, found)| match found {
        Ok(group) => groups.push(group),
        Err(error) => {
            eprintln!("hikae: {id}: {error}");
            unreadable += 1;
        }
    });
    each.await.map_err(|error| open.failed(error))?;
    groups.sort_by_key(|group| (group.taken, group.group));
    let rows: Vec<SnapshotRow> =
        groups.iter().flat_map(|group| group.disks.iter().map(|disk| SnapshotRow::of(group, disk))).collect();
    output::list(output, &rows)?;
    match unreadable {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} groups cannot be read"))),
    }
}

/// The disk somebody means: by its snapshot, or by its group if that has only one.
pub(super) async fn find(open: &Open, text: &str) -> Result<(GroupManifest, DiskManifest), Failure> {
    let failed = |error| open.failed(error);
    if let Ok(id) = text.parse::<GroupId>() {
        let found = open.depot.group(id).await.map_err(failed)?;
        let group = found.ok_or_else(|| Failure::Usage(format!("there is no group {id} in this depot")))?;
        return match &group.disks[..] {
            [disk] => Ok((group.clone(), disk.clone())),
            disks => {
                let all: Vec<String> = disks.iter().map(|disk| disk.snapshot.to_string()).collect();
                Err(Failure::Usage(format!("{id} has several snapshots: name one of {}", all.join(", "))))
            }
        };
    }
    let id: SnapshotId = text.parse()?;
    let mut means = None;
    // A damaged manifest elsewhere must not keep anybody from what is sound.
    let each = open.depot.each_group(|(_, found)| {
        let Ok(group) = found else { return };
        if let Some(disk) = group.disks.iter().find(|disk| disk.snapshot == id).cloned() {
            means = Some((group, disk));
        }
    });
    each.await.map_err(failed)?;
    means.ok_or_else(|| Failure::Usage(format!("there is no snapshot {id} that can be read in this depot")))
}

pub(super) async fn diff(open: &Open, from: &str, to: &str, output: Output) -> Result<(), Failure> {
    let meter = Meter::start("diff");
    let ((_, a), (_, b)) = (find(open, from).await?, find(open, to).await?);
    let mut ranges: Vec<Extent> = Vec::new();
    let mut found = |extent| ranges.push(extent);
    open.depot.diff(&a.tree, &b.tree, &mut found).await.map_err(|error| open.failed(error))?;
    let bytes: ByteCount = ranges.iter().map(|range| ByteCount(range.len)).sum();
    let cost = Cost { bytes_fetched: open.bytes_fetched(), ..meter.stop() };
    match output {
        Output::Json => output::json(&json!({
            "from": a.snapshot, "to": b.snapshot,
            "from_size_bytes": a.tree.size, "to_size_bytes": b.tree.size, "differing_bytes": bytes.0,
            "ranges": ranges.iter().map(|range| (range.offset, range.len)).collect::<Vec<_>>(),
            "cost": cost,
        })),
        Output::Table => {
            let lines = ranges.iter().map(|range| format!("{} {}\n", range.offset, range.len));
            output::write(&lines.collect::<String>())?;
            eprintln!("{bytes} in {} ranges", ranges.len());
            Ok(())
        }
    }
}

pub(super) async fn stats(open: &Open, output: Output) -> Result<(), Failure> {
    let stats = open.depot.stats().await.map_err(|error| open.failed(error))?;
    let value = json!({
        "depot": open.depot.id(), "region": open.region.0,
        "groups": stats.groups, "snapshots": stats.snapshots, "disk_bytes": stats.disk_bytes.0,
        "packs": stats.packs, "pack_bytes": stats.pack_bytes.0,
        "needed_packs": stats.needed_packs, "needed_bytes": stats.needed_bytes.0,
        "marked_packs": stats.marked_packs, "condemned_packs": stats.condemned_packs,
    });
    let sentence = format!(
        "{} snapshots in {} groups, of disks of {} together\n{} packs, {}; needed are {}, {}\n\
         marked by collection {}, condemned {}",
        stats.snapshots,
        stats.groups,
        stats.disk_bytes,
        stats.packs,
        stats.pack_bytes,
        stats.needed_packs,
        stats.needed_bytes,
        stats.marked_packs,
        stats.condemned_packs
    );
    output::one(output, &value, &sentence)
}

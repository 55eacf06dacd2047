//! Groups of one depot copied to another, and nothing the other has.

use depot::{CopiedGroup, Copier, CopyError, DepotError};
use model::{ByteCount, GroupId, SnapshotId, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::{CopyArgs, Place};
use super::meter::{Cost, Meter};
use super::place::Open;
use crate::args::Output;
use crate::cli::failure::Failure;
use crate::cli::output;

impl CopyArgs {
    /// The other depot: what is not said of it is as said of this one.
    pub(super) fn other(&self, here: &Place) -> Place {
        Place {
            depot: Some(self.to.clone()),
            root_key: self.to_root_key.clone().or_else(|| here.root_key.clone()),
            depot_access_key_id: self.to_access_key_id.clone().or_else(|| here.depot_access_key_id.clone()),
            depot_secret_file: self.to_secret_file.clone().or_else(|| here.depot_secret_file.clone()),
            cache: here.cache.clone(),
            no_cache: here.no_cache,
        }
    }
}

/// A group that was not copied, and why.
struct Left {
    group: GroupId,
    what: String,
}

pub(super) async fn copy(
    open: &Open,
    to: &Open,
    arguments: &CopyArgs,
    output: Output,
) -> Result<(), Failure> {
    let copier = Copier::new(open.depot.clone(), to.depot.clone()).map_err(|error| to.failed(error))?;
    let (groups, mut left) = wanted(open, arguments).await?;
    let meter = Meter::start("copy");
    let mut copied: Vec<CopiedGroup> = Vec::new();
    for group in groups {
        match copier.copy(group, meter.progress(), CancellationToken::new()).await {
            Ok(done) => copied.push(done),
            // Of one group; the others may be sound.
            Err(
                error @ (CopyError::From(DepotError::Damaged { .. } | DepotError::Newer { .. })
                | CopyError::To(DepotError::Conflict { .. })),
            ) => left.push(Left { group, what: error.to_string() }),
            Err(CopyError::From(error)) => return Err(open.failed(error)),
            Err(CopyError::To(error)) => return Err(to.failed(error)),
        }
    }
    let disks = || copied.iter().flat_map(|group| &group.disks);
    let read: ByteCount = disks().map(|disk| disk.bytes_read).sum();
    let stored: ByteCount = disks().map(|disk| disk.bytes_stored).sum();
    let cost = Cost {
        bytes_read: read.0,
        bytes_stored: stored.0,
        bytes_fetched: open.bytes_fetched(),
        ..meter.stop()
    };
    let value = json!({
        "from": open.depot.id(), "to": to.depot.id(),
        "groups": copied.iter().map(group_json).collect::<Vec<_>>(),
        "left": left.iter().map(|left| json!({"group": left.group, "what": left.what})).collect::<Vec<_>>(),
        "cost": cost,
    });
    let there = copied.iter().filter(|group| group.was_there).count();
    let sentence = format!(
        "{} groups copied, {there} were there; {read} read, {stored} stored, in {:.1} s",
        copied.len() - there,
        cost.wall_s
    );
    output::one(output, &value, &sentence)?;
    for Left { group, what } in &left {
        eprintln!("hikae: {group} was not copied: {what}");
    }
    match left.len() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!("{count} groups were not copied"))),
    }
}

fn group_json(group: &CopiedGroup) -> serde_json::Value {
    let disks = group.disks.iter().map(|disk| {
        json!({
            "snapshot": disk.snapshot, "size_bytes": disk.size, "base": disk.base,
            "read_bytes": disk.bytes_read.0, "stored_bytes": disk.bytes_stored.0,
        })
    });
    json!({"group": group.group, "was_there": group.was_there, "disks": disks.collect::<Vec<_>>()})
}

/// The groups to copy, the oldest first so that each is there when the next one builds on it; and those
/// of which nothing can be read.
async fn wanted(open: &Open, arguments: &CopyArgs) -> Result<(Vec<GroupId>, Vec<Left>), Failure> {
    if let Some(id) = arguments.what.as_ref().and_then(|what| what.parse::<GroupId>().ok()) {
        return Ok((vec![id], Vec::new()));
    }
    let snapshot: Option<SnapshotId> = match &arguments.what {
        Some(what) => Some(what.parse()?),
        None => None,
    };
    let (mut found, mut left): (Vec<(Timestamp, GroupId)>, Vec<Left>) = (Vec::new(), Vec::new());
    let each = open.depot.each_group(|(id, group)| match group {
        Ok(group) => {
            if snapshot.is_none_or(|wanted| group.disks.iter().any(|disk| disk.snapshot == wanted)) {
                found.push((group.taken, id));
            }
        }
        Err(error) => left.push(Left { group: id, what: error.to_string() }),
    });
    each.await.map_err(|error| open.failed(error))?;
    if let Some(snapshot) = snapshot {
        if found.is_empty() {
            let what = format!("there is no snapshot {snapshot} that can be read in this depot");
            return Err(Failure::Usage(what));
        }
        // Damage elsewhere is no matter of this copy.
        left.clear();
    }
    found.sort_unstable();
    Ok((found.into_iter().map(|(_, id)| id).collect(), left))
}

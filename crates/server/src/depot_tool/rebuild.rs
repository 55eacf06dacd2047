//! What the bucket and the key suffice to make anew: the list of snapshots, and the cache of known chunks.

use depot::PassedOver;
use model::GroupId;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::look::SnapshotRow;
use super::meter::{Cost, Meter};
use super::place::Open;
use crate::args::Output;
use crate::cli::failure::Failure;
use crate::cli::output;

pub(super) async fn rebuild(open: &Open, output: Output) -> Result<(), Failure> {
    let meter = Meter::start("rebuild");
    let (mut groups, mut unreadable): (Vec<_>, Vec<(GroupId, String)>) = (Vec::new(), Vec::new());
    let each = open.depot.each_group(|(id, found)| match found {
        Ok(group) => groups.push(group),
        Err(error) => unreadable.push((id, error.to_string())),
    });
    each.await.map_err(|error| open.failed(error))?;
    groups.sort_by_key(|group| (group.taken, group.group));
    let rows: Vec<SnapshotRow> =
        groups.iter().flat_map(|group| group.disks.iter().map(|disk| SnapshotRow::of(group, disk))).collect();
    let known = match &open.known_folder {
        Some(_) => {
            let known = open.depot.rebuild_known(&meter.counting(), &CancellationToken::new()).await;
            Some(known.map_err(|error| open.failed(error))?)
        }
        None => None,
    };
    let cost = Cost { bytes_fetched: open.bytes_fetched(), ..meter.stop() };
    // A manifest that cannot be read was told of already.
    let is_new = |passed: &&PassedOver| !passed.object.starts_with("groups/");
    let damaged: Vec<&PassedOver> =
        known.iter().flat_map(|known| &known.passed_over).filter(is_new).collect();
    match output {
        Output::Json => output::json(&json!({
            "groups": groups.len(), "snapshots": rows,
            "unreadable": unreadable.iter().map(|(group, what)| json!({"group": group, "what": what}))
                .collect::<Vec<_>>(),
            "known": known.as_ref().map(|known| json!({
                "packs": known.packs, "chunks": known.chunks, "full": known.is_full,
                "folder": open.known_folder.as_ref().map(|folder| folder.display().to_string()),
            })),
            "damaged": damaged.iter()
                .map(|passed| json!({"object": passed.object, "what": passed.what})).collect::<Vec<_>>(),
            "cost": cost,
        }))?,
        Output::Table => {
            output::list(output, &rows)?;
            if let (Some(known), Some(folder)) = (&known, &open.known_folder) {
                let full = if known.is_full { ", all that is kept" } else { "" };
                eprintln!(
                    "{} chunks of {} packs known{full}, in {}",
                    known.chunks,
                    known.packs,
                    folder.display()
                );
            }
        }
    }
    for (group, what) in &unreadable {
        eprintln!("hikae: {group}: {what}");
    }
    for passed in &damaged {
        eprintln!("hikae: {}: {}", passed.object, passed.what);
    }
    match unreadable.len() + damaged.len() {
        0 => Ok(()),
        count => {
            Err(Failure::Failed(format!("{count} objects cannot be read; hikae depot verify tells more")))
        }
    }
}

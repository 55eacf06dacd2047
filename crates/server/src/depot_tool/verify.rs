//! Looks for damage, and says of each broken object what is wrong with it and whom it hurts.

use std::fmt::Write as _;
use std::sync::Arc;

use depot::{Depot, Depth, Finding, Hurt, Settings, VerifyReport};
use model::{ByteCount, Extent};
use serde_json::{Value, json};
use store::Store;
use tokio_util::sync::CancellationToken;

use super::meter::{Cost, Meter};
use super::place::{Found, failure};
use crate::args::Output;
use crate::cli::failure::Failure;
use crate::cli::output;

/// People are told of so many ranges of a snapshot; programs of all.
const RANGES_SHOWN: usize = 4;

pub(super) async fn verify(found: Found, with_keys: bool, output: Output) -> Result<(), Failure> {
    let meter = Meter::start("verify");
    let store: Arc<dyn Store> = found.store.clone();
    let cancel = CancellationToken::new();
    let depot = if with_keys { found.open_if_whole().await? } else { None };
    let report = match &depot {
        Some(depot) => depot.verify_telling(Depth::Data, meter.verifying(), &cancel).await,
        None => Depot::verify_bucket(store, &Settings::default(), meter.verifying(), &cancel).await,
    };
    let report = report.map_err(|error| failure(&found.place, error))?;
    let cost = Cost { bytes_fetched: found.bytes_fetched(), ..meter.stop() };
    if with_keys && depot.is_none() {
        eprintln!("hikae: the depot cannot be opened, so this is what can be seen without keys");
    }
    output::one(output, &in_json(&report, depot.is_some(), cost), &in_words(&report, depot.is_some()))?;
    match report.findings.len() + report.unlisted {
        0 => Ok(()),
        1 => Err(Failure::Failed("damage found: 1 object".to_owned())),
        count => Err(Failure::Failed(format!("damage found: {count} objects"))),
    }
}

fn in_json(report: &VerifyReport, with_keys: bool, cost: Cost) -> Value {
    let notes = report.notes.iter().map(|note| json!({"object": note.object, "what": note.what}));
    json!({
        "with_keys": with_keys, "objects": report.objects, "bytes": report.bytes.0, "packs": report.packs,
        "groups": report.groups, "snapshots": report.snapshots, "chunks": report.chunks,
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "findings_unlisted": report.unlisted, "notes": notes.collect::<Vec<_>>(), "cost": cost,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let hurt = |hurt: &Hurt| {
        let ranges: Vec<(u64, u64)> = hurt.ranges.iter().map(|range| (range.offset, range.len)).collect();
        json!({
            "group": hurt.group, "snapshot": hurt.snapshot, "ranges": ranges, "bytes": bytes(&hurt.ranges).0,
        })
    };
    json!({
        "object": finding.object, "what": finding.what,
        "hurts": finding.hurts.iter().map(hurt).collect::<Vec<_>>(),
    })
}

fn bytes(ranges: &[Extent]) -> ByteCount {
    ranges.iter().map(|range| ByteCount(range.len)).sum()
}

fn in_words(report: &VerifyReport, with_keys: bool) -> String {
    let mut words = String::new();
    for finding in &report.findings {
        // Writing to a string does not fail.
        let _ = writeln!(words, "{}: {}", finding.object, finding.what);
        for hurt in &finding.hurts {
            let _ = writeln!(words, "    hurts {}", hurt_in_words(hurt));
        }
        if with_keys && finding.hurts.is_empty() {
            let _ = writeln!(words, "    hurts no snapshot");
        }
    }
    if report.unlisted > 0 {
        let _ = writeln!(words, "and {} more damaged objects", report.unlisted);
    }
    for note in &report.notes {
        let _ = writeln!(words, "note: {}: {}", note.object, note.what);
    }
    let _ = write!(words, "{} objects, {}, compared with their names and sums", report.objects, report.bytes);
    if with_keys {
        let (chunks, snapshots, groups) = (report.chunks, report.snapshots, report.groups);
        let _ = write!(words, "; {chunks} chunks opened, of {snapshots} snapshots in {groups} groups");
    } else if !report.findings.is_empty() {
        words.push_str("; with keys, verify tells which snapshots are hurt");
    }
    words
}

fn hurt_in_words(hurt: &Hurt) -> String {
    let Some(snapshot) = hurt.snapshot else { return format!("{}, as a whole", hurt.group) };
    let ranges = hurt.ranges.iter().take(RANGES_SHOWN);
    let mut places: Vec<String> = ranges.map(|range| format!("{}+{}", range.offset, range.len)).collect();
    if hurt.ranges.len() > RANGES_SHOWN {
        places.push("…".to_owned());
    }
    format!("{snapshot} of {}: {} at {}", hurt.group, bytes(&hurt.ranges), places.join(", "))
}

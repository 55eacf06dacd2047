//! Commands that make something go: groups at once, packs by the depot's own two visits.

use depot::{Margins, PackFate};
use model::{GroupId, Timestamp};
use serde_json::json;

use super::place::Open;
use crate::args::Output;
use crate::cli::confirm::confirm;
use crate::cli::failure::Failure;
use crate::cli::output;

pub(super) async fn delete(open: &Open, group: &str, yes: bool, output: Output) -> Result<(), Failure> {
    let id: GroupId = group.parse()?;
    let known = open.depot.groups().await.map_err(|error| open.failed(error))?;
    if !known.contains(&id) {
        return Err(Failure::Usage(format!("there is no group {id} in this depot")));
    }
    confirm(yes, &format!("deletes {id} for good"))?;
    open.depot.delete_group(id).await.map_err(|error| open.failed(error))?;
    output::one(output, &json!({"deleted": id}), &format!("{id} deleted; its packs go with collection"))
}

/// One visit. Jobs a stopped server left half done are not known here: should one of them need what goes,
/// its seal is refused and it runs again.
pub(super) async fn collect(open: &Open, output: Output) -> Result<(), Failure> {
    let report = open.depot.collect(Margins::STANDARD, &[]).await.map_err(|error| open.failed(error))?;
    if let Some(because) = report.refused {
        return Err(Failure::Failed(format!("nothing was collected: {because}")));
    }
    let value = json!({
        "packs": report.packs, "needed": report.named, "marked": report.marked, "deleted": report.deleted,
        "seals_given_up": report.given_up, "troubles": report.troubles,
    });
    let sentence = format!(
        "{} packs, {} needed, {} marked, of which {} deleted",
        report.packs, report.named, report.marked, report.deleted
    );
    let sentence = report.troubles.iter().fold(sentence, |all, trouble| all + "\n" + trouble);
    output::one(output, &value, &sentence)
}

pub(super) async fn explain(open: &Open, output: Output) -> Result<(), Failure> {
    let plan = open.depot.explain(Margins::STANDARD, &[]).await.map_err(|error| open.failed(error))?;
    let fates: Vec<_> = plan.fates().map(|(pack, fate)| (pack.to_string(), fate)).collect();
    match output {
        Output::Json => output::json(&json!({
            "packs": plan.packs, "needed": plan.named, "troubles": plan.troubles,
            "fates": fates.iter().map(|(pack, fate)| fate_json(pack, *fate)).collect::<Vec<_>>(),
        })),
        Output::Table => {
            for (pack, fate) in &fates {
                output::write(&format!("{pack} {}\n", in_words(*fate)))?;
            }
            for trouble in &plan.troubles {
                output::write(&format!("{trouble}\n"))?;
            }
            let gone = fates.iter().filter(|(_, fate)| *fate == PackFate::Delete).count();
            output::write(&format!("{} packs, {} needed, {gone} to be deleted\n", plan.packs, plan.named))
        }
    }
}

fn fate_json(pack: &str, fate: PackFate) -> serde_json::Value {
    match fate {
        PackFate::Spare { until } => json!({"pack": pack, "fate": "spare", "until": until.seconds()}),
        PackFate::Mark { until } => json!({"pack": pack, "fate": "mark", "until": until.seconds()}),
        PackFate::Wait { since, until } => {
            json!({"pack": pack, "fate": "wait", "since": since.seconds(), "until": until.seconds()})
        }
        PackFate::Delete => json!({"pack": pack, "fate": "delete"}),
    }
}

fn in_words(fate: PackFate) -> String {
    let time = |stamp: Timestamp| output::time(Some(stamp.seconds()));
    match fate {
        PackFate::Spare { until } => {
            format!("no group names it yet, put lately: looked at again after {}", time(until))
        }
        PackFate::Mark { until } => {
            format!("no group names it: would be marked, and goes after {} if none does by then", time(until))
        }
        PackFate::Wait { since, until } => {
            format!("no group names it, marked since {}: goes after {}", time(since), time(until))
        }
        PackFate::Delete => "condemned: marked long enough, and no group named it then".to_owned(),
    }
}

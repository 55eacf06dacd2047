//! Policies, and the instances they are on.

use std::collections::BTreeMap;

use model::{Clock, PolicyId};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{items, number, text, time};
use super::failure::Failure;
use super::output::{self, Row};
use super::{Session, instances, pairs, watch};
use crate::args::{PolicyCreateArgs, ProtectArgs, UnprotectArgs};
use crate::edge::RealClock;

/// As many as one page may hold.
const PAGE: &str = "100";

#[derive(Debug, Serialize)]
struct PolicyRow {
    id: String,
    name: String,
    description: String,
    schedule: String,
    keep_days: Option<u64>,
    instances: u64,
    created: Option<i64>,
    #[serde(skip)]
    backup_rule: String,
}

impl Row for PolicyRow {
    const HEADER: &'static [&'static str] = &["ID", "NAME", "SCHEDULE", "KEEP", "INSTANCES"];

    fn cells(&self) -> Vec<String> {
        let keep = self.keep_days.map_or_else(|| "-".to_owned(), |days| format!("{days} days"));
        let schedule = output::dash(&schedule_in_words(&self.schedule));
        vec![self.id.clone(), self.name.clone(), schedule, keep, self.instances.to_string()]
    }
}

pub(crate) async fn create(session: &Session, arguments: &PolicyCreateArgs) -> Result<(), Failure> {
    // The service lets names be shared; whoever types them would have to say ids from then on.
    if let Some(known) = fetch(session).await?.iter().find(|known| known.name == arguments.name) {
        return Err(Failure::Usage(format!("there is a policy {:?} already: {}", known.name, known.id)));
    }
    let schedule = match (&arguments.every, &arguments.schedule) {
        (Some(span), _) => format!("I|{}|{}", RealClock.now().seconds(), interval(span)?),
        (None, Some(schedule)) => schedule.clone(),
        (None, None) => String::new(),
    };
    let rule = json!({
        "RuleType": "BACKUP", "BackupType": "COMPLETE", "Schedule": schedule,
        "Retention": arguments.keep_days, "Immutable": arguments.immutable,
    });
    let params = pairs([
        ("PolicyName", &arguments.name),
        ("PolicyDescription", &arguments.description),
        ("PolicyType", "UDM_ECS_ONLY"),
        ("Rules", &json!([rule]).to_string()),
    ]);
    let answer = session.client.hbr("CreatePolicyV2", params).await?;
    let id = text(&answer, "PolicyId");
    output::one(session.output, &json!({"id": id, "name": arguments.name}), &id)
}

pub(crate) async fn list(session: &Session) -> Result<(), Failure> {
    output::list(session.output, &fetch(session).await?)
}

pub(crate) async fn delete(session: &Session, policy: &str) -> Result<(), Failure> {
    let id = find(session, policy).await?;
    session.client.hbr("DeletePolicyV2", pairs([("PolicyId", &id)])).await?;
    output::one(session.output, &json!({"id": id, "deleted": true}), &format!("{id} is deleted"))
}

pub(crate) async fn run(
    session: &Session,
    policy: &str,
    instance: Option<&str>,
    wait: bool,
) -> Result<(), Failure> {
    let id = find(session, policy).await?;
    let known = fetch(session).await?;
    let rule =
        known.into_iter().find(|known| known.id == id).map(|known| known.backup_rule).unwrap_or_default();
    let mut params = pairs([("PolicyId", &id), ("RuleId", &rule), ("SourceType", "UDM_ECS")]);
    if let Some(instance) = instance {
        params.push(("DataSourceId".to_owned(), instances::find(session, instance).await?));
    }
    let answer = session.client.hbr("ExecutePolicyV2", params).await?;
    watch::started(session, &text(&answer, "JobId"), wait).await
}

pub(crate) async fn protect(session: &Session, arguments: &ProtectArgs) -> Result<(), Failure> {
    let policy = find(session, &arguments.policy).await?;
    let mut list = Vec::new();
    for instance in &arguments.instances {
        let id = instances::find(session, instance).await?;
        let options =
            json!({"UdmDetail": {"SnapshotGroup": true, "ExcludeDiskIdList": arguments.exclude_disk}});
        list.push(json!({"DataSourceId": id, "SourceType": "UDM_ECS", "AdvancedOptions": options}));
    }
    let params =
        pairs([("PolicyId", &policy), ("PolicyBindingList", &Value::Array(list.clone()).to_string())]);
    session.client.hbr("CreatePolicyBindings", params).await?;
    let ids: Vec<_> = list.iter().map(|item| text(item, "DataSourceId")).collect();
    let sentence = format!("{} protected by {policy}", ids.join(", "));
    output::one(session.output, &json!({"policy": policy, "instances": ids}), &sentence)
}

pub(crate) async fn unprotect(session: &Session, arguments: &UnprotectArgs) -> Result<(), Failure> {
    let mut by_policy: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for instance in &arguments.instances {
        let id = instances::find(session, instance).await?;
        let params = pairs([
            ("SourceType", "UDM_ECS"),
            ("DataSourceIds", &json!([id]).to_string()),
            ("MaxResults", PAGE),
        ]);
        let answer = session.client.hbr("DescribePolicyBindings", params).await?;
        let bindings = items(&answer, &["PolicyBindings"]);
        if bindings.is_empty() {
            return Err(Failure::Usage(format!("{instance} has no policy on it")));
        }
        for binding in bindings {
            by_policy.entry(text(binding, "PolicyId")).or_default().push(id.clone());
        }
    }
    let mut freed = Vec::new();
    for (policy, ids) in by_policy {
        let list = json!(ids).to_string();
        let params = pairs([("PolicyId", &policy), ("SourceType", "UDM_ECS"), ("DataSourceIds", &list)]);
        session.client.hbr("DeletePolicyBinding", params).await?;
        freed.extend(ids);
    }
    let sentence = format!("{} no longer protected; their points stay", freed.join(", "));
    output::one(session.output, &json!({"instances": freed}), &sentence)
}

/// Ids are taken as they are, names must be of one policy only.
async fn find(session: &Session, given: &str) -> Result<String, Failure> {
    if given.parse::<PolicyId>().is_ok() {
        return Ok(given.to_owned());
    }
    let known = fetch(session).await?;
    instances::pick("policy", given, known.iter().map(|row| (row.id.as_str(), row.name.as_str())))
}

async fn fetch(session: &Session) -> Result<Vec<PolicyRow>, Failure> {
    let mut rows = Vec::new();
    let mut token = String::new();
    loop {
        let params = pairs([("MaxResults", PAGE), ("NextToken", &token)]);
        let answer = session.client.hbr("DescribePoliciesV2", params).await?;
        rows.extend(items(&answer, &["Policies"]).iter().map(row));
        token = text(&answer, "NextToken");
        if token.is_empty() {
            return Ok(rows);
        }
    }
}

fn row(policy: &Value) -> PolicyRow {
    let rules = items(policy, &["Rules"]);
    let of = |kind: &str| rules.iter().find(|rule| text(rule, "RuleType") == kind);
    let keep = |kind: &str| of(kind).map(|rule| number(rule, "Retention")).filter(|days| *days > 0);
    let backup = |name: &str| of("BACKUP").map(|rule| text(rule, name)).unwrap_or_default();
    PolicyRow {
        id: text(policy, "PolicyId"),
        name: text(policy, "PolicyName"),
        description: text(policy, "PolicyDescription"),
        schedule: backup("Schedule"),
        // The transition rule's retention is the stronger one.
        keep_days: keep("TRANSITION").or_else(|| keep("BACKUP")),
        instances: number(policy, "PolicyBindingCount"),
        created: time(policy, "CreatedTime"),
        backup_rule: backup("RuleId"),
    }
}

/// `6h`, `1d`, `2w` as the API writes them.
fn interval(span: &str) -> Result<String, Failure> {
    let odd = || {
        Failure::Usage(format!("{span:?} is not a span of time: give hours, days or weeks, as in 6h, 1d, 2w"))
    };
    let unit = span.chars().last().ok_or_else(odd)?;
    let count: u32 = span[..span.len() - unit.len_utf8()].parse().map_err(|_| odd())?;
    match (count, unit) {
        (0, _) => Err(odd()),
        (_, 'h') => Ok(format!("PT{count}H")),
        (_, 'd') => Ok(format!("P{count}D")),
        (_, 'w') => Ok(format!("P{count}W")),
        _ => Err(odd()),
    }
}

/// What a table says of a schedule such as `I|1700000000|P1D`; what it does not know, as it is.
fn schedule_in_words(schedule: &str) -> String {
    let parts: Vec<_> = schedule.split('|').collect();
    match parts.as_slice() {
        ["I", _, span] => {
            let count = span.trim_start_matches(['P', 'T']);
            format!("every {}", count.to_ascii_lowercase())
        }
        ["C", _, cron] => format!("cron {cron}"),
        _ => schedule.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_shown_in_words() {
        assert_eq!(schedule_in_words("I|1700000000|P1D"), "every 1d");
        assert_eq!(schedule_in_words("I|1700000000|PT6H"), "every 6h");
        assert_eq!(schedule_in_words("C|1700000000|0 0 2 ? * 2-6"), "cron 0 0 2 ? * 2-6");
        assert_eq!(schedule_in_words("daily"), "daily");
    }

    #[test]
    fn spans_are_written_as_the_api_wants_them() {
        assert_eq!(interval("6h").expect("hours"), "PT6H");
        assert_eq!(interval("1d").expect("days"), "P1D");
        assert_eq!(interval("2w").expect("weeks"), "P2W");
        for odd in ["", "h", "0h", "1", "1m", "-1d", "1日", "日"] {
            assert!(interval(odd).is_err(), "{odd}");
        }
    }
}

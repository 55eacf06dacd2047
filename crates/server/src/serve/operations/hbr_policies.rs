//! Policies: made, listed, deleted, executed.

use backup::NewPolicy;
use model::{AdvancedRetention, Refusal, RetentionClass, TagFilter, TagOperator};
use policy::rules::{AdvancedInput, RuleInput, TagInput};
use serde_json::{Value, json};
use wire::hbr;
use wire::hbr::{CreatePolicyV2, DeletePolicyV2, DescribePoliciesV2, ExecutePolicyV2, Policies, PolicyView};

use super::super::dispatch::Call;
use super::{nothing, payload};

pub(crate) async fn create(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = CreatePolicyV2::parse(call.params)?;
    let region = call.scope.region();
    let inputs: Vec<_> = asked.rules.iter().map(input).collect();
    let rules = policy::rules::admit(asked.kind, region, &inputs)?;
    let new = NewPolicy { name: asked.name, description: asked.description, kind: asked.kind, rules };
    let id = call.services.backup.create_policy(region, new).await?;
    Ok(json!({"PolicyId": id}))
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribePoliciesV2::parse(call.params)?;
    let mut views = Vec::new();
    for region in call.services.regions.to_search(call.scope, asked.policy.one().is_some()) {
        let policies = call.services.backup.policies(&region).await?;
        let wanted = policies.iter().filter(|(policy, _)| asked.policy.matches(policy.id));
        views.extend(wanted.map(|(policy, bindings)| PolicyView::from(policy, *bindings)));
    }
    let page = asked.page.of(views, |view| view.policy_id.to_string());
    payload(&Policies::new(&asked, page))
}

pub(crate) async fn delete(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DeletePolicyV2::parse(call.params)?;
    call.services.backup.delete_policy(asked.policy).await?;
    Ok(nothing())
}

pub(crate) async fn execute(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = ExecutePolicyV2::parse(call.params)?;
    let job = call.services.backup.execute_policy(asked.policy, asked.rule, asked.instance).await?;
    Ok(json!({"JobId": job}))
}

/// A rule in the words of `policy`, which checks it.
fn input(rule: &hbr::RuleInput) -> RuleInput {
    let days = |days: &Option<model::Days>| days.map(|days| i64::from(days.0));
    match rule {
        hbr::RuleInput::Backup { schedule, retention, keep_latest, immutable, vault } => RuleInput {
            rule_type: "BACKUP".to_owned(),
            schedule: schedule.clone(),
            retention: days(retention),
            keep_latest: Some(i64::from(*keep_latest)),
            immutable: Some(*immutable),
            vault: vault.clone(),
            ..RuleInput::default()
        },
        hbr::RuleInput::Transition { retention, archive, advanced } => RuleInput {
            rule_type: "TRANSITION".to_owned(),
            retention: days(retention),
            archive_days: days(archive),
            advanced: advanced.iter().map(advanced_input).collect(),
            ..RuleInput::default()
        },
        hbr::RuleInput::Replication { region, retention, archive } => RuleInput {
            rule_type: "REPLICATION".to_owned(),
            replication_region: Some(region.0.clone()),
            retention: days(retention),
            archive_days: days(archive),
            ..RuleInput::default()
        },
        hbr::RuleInput::Tag { filters, source_types } => RuleInput {
            rule_type: "TAG".to_owned(),
            tag_filters: filters.iter().map(tag_input).collect(),
            source_types: source_types.clone(),
            ..RuleInput::default()
        },
        hbr::RuleInput::Security { immutable } => RuleInput {
            rule_type: "SECURITY".to_owned(),
            immutable: Some(*immutable),
            ..RuleInput::default()
        },
    }
}

fn advanced_input(rule: &AdvancedRetention) -> AdvancedInput {
    let class = match rule.class {
        RetentionClass::Daily => "DAILY",
        RetentionClass::Weekly => "WEEKLY",
        RetentionClass::Monthly => "MONTHLY",
        RetentionClass::Yearly => "YEARLY",
    };
    AdvancedInput { class: class.to_owned(), retention: Some(i64::from(rule.retention.0)), which: Some(1) }
}

fn tag_input(tag: &TagFilter) -> TagInput {
    let operator = match tag.operator {
        TagOperator::Equal => "EQUAL",
        TagOperator::Not => "NOT",
    };
    TagInput { key: tag.key.clone(), operator: operator.to_owned(), value: tag.value.clone() }
}

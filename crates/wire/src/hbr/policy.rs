//! Policies and their rules: created, listed, deleted, executed.
//!
//! What a schedule's text means is for the policy crate; here it stays text.

use model::{
    AdvancedRetention, Code, Days, InstanceId, Policy, PolicyId, PolicyKind, Refusal, RegionId,
    RetentionClass, Rule, RuleId, RuleKind, Schedule, TagFilter, TagOperator, kinds,
};
use serde::Serialize;

use super::{DESCRIPTION_CHARS_MAX, OwnAccount, RETENTION_DAYS_MAX, SourceType, days};
use crate::document::Document;
use crate::page::{Page, TokenPage};
use crate::params::{Asked, Params};

const RULES_MAX: usize = 10;
const ADVANCED_MAX: usize = 99;
const TAGS_MAX: usize = 30;
const SCHEDULE_CHARS_MAX: usize = 512;
/// Before that an archive costs more than it saves, and after it a point must stay this much longer.
const ARCHIVE_DAYS_MIN: i64 = 14;
const ARCHIVE_DAYS_MAX: i64 = 65_535;
const ARCHIVED_DAYS_MIN: u32 = 60;

const KINDS: [(&str, PolicyKind); 2] =
    [("UDM_ECS_ONLY", PolicyKind::Instances), ("STANDARD", PolicyKind::Standard)];
const CLASSES: [(&str, RetentionClass); 4] = [
    ("DAILY", RetentionClass::Daily),
    ("WEEKLY", RetentionClass::Weekly),
    ("MONTHLY", RetentionClass::Monthly),
    ("YEARLY", RetentionClass::Yearly),
];
const TAG_OPERATORS: [(&str, TagOperator); 2] = [("EQUAL", TagOperator::Equal), ("NOT", TagOperator::Not)];

/// `CreatePolicyV2`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatePolicyV2 {
    /// Empty when none was given.
    pub name: String,
    pub description: String,
    pub kind: PolicyKind,
    /// In the order given, which must be kept.
    pub rules: Vec<RuleInput>,
}

/// A rule as it was given: [`RuleKind`], but for the schedule, which is still text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleInput {
    Backup {
        schedule: Option<String>,
        /// None when not given, or −1.
        retention: Option<Days>,
        keep_latest: bool,
        immutable: bool,
        vault: Option<String>,
    },
    Transition {
        retention: Option<Days>,
        archive: Option<Days>,
        advanced: Vec<AdvancedRetention>,
    },
    Replication {
        region: RegionId,
        retention: Option<Days>,
        archive: Option<Days>,
    },
    Tag {
        filters: Vec<TagFilter>,
        source_types: Vec<String>,
    },
    Security {
        immutable: bool,
    },
}

impl CreatePolicyV2 {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        let document = params.document("Rules")?.ok_or_else(|| params.missing("Rules"))?;
        let rules =
            document.elements(RULES_MAX)?.iter().map(RuleInput::parse).collect::<Result<Vec<_>, _>>()?;
        let kind = params.word("PolicyType", &KINDS)?.unwrap_or_else(|| implied_kind(&rules));
        let count = |wanted: fn(&RuleInput) -> bool| rules.iter().filter(|rule| wanted(rule)).count();
        let refuse = |message: &str| Err(Refusal::new(Code::InvalidParameter, message));
        if count(|rule| matches!(rule, RuleInput::Backup { .. })) == 0 {
            return refuse("Rules has no rule of the type BACKUP, and at least one is needed");
        }
        if count(|rule| matches!(rule, RuleInput::Transition { .. })) > 1 {
            return refuse("Rules has more than one rule of the type TRANSITION");
        }
        if kind == PolicyKind::Standard && count(|rule| matches!(rule, RuleInput::Security { .. })) > 0 {
            return refuse("a rule of the type SECURITY is for policies of the type UDM_ECS_ONLY");
        }
        Ok(Self {
            name: policy_name(params)?,
            description: params.bounded("PolicyDescription", DESCRIPTION_CHARS_MAX)?.unwrap_or_default(),
            kind,
            rules,
        })
    }
}

fn implied_kind(rules: &[RuleInput]) -> PolicyKind {
    let vault = rules.iter().any(|rule| matches!(rule, RuleInput::Backup { vault: Some(_), .. }));
    if vault { PolicyKind::Standard } else { PolicyKind::Instances }
}

fn policy_name(params: &Params) -> Result<String, Refusal> {
    let Some(name) = params.text("PolicyName") else { return Ok(String::new()) };
    let fits = (2..=128).contains(&name.chars().count())
        && name.starts_with(char::is_alphabetic)
        && !name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("auto"))
        && name.chars().all(|character| character.is_alphanumeric() || "._-:".contains(character));
    if fits {
        return Ok(name);
    }
    let remedy = "Give 2 to 128 letters, digits and . _ - : that begin with a letter and not with auto.";
    Err(params.invalid("PolicyName", &name, remedy))
}

impl RuleInput {
    fn parse(rule: &Document) -> Result<Self, Refusal> {
        let kind = rule.required("RuleType")?;
        match kind.to_ascii_uppercase().as_str() {
            "BACKUP" => Self::parse_backup(rule),
            "TRANSITION" => Self::parse_transition(rule),
            "REPLICATION" => Self::parse_replication(rule),
            "TAG" => Self::parse_tag(rule),
            "SECURITY" => Ok(Self::Security { immutable: rule.bool("Immutable")?.unwrap_or(false) }),
            _ => {
                let remedy = "Give one of BACKUP, TRANSITION, REPLICATION, TAG, SECURITY.";
                Err(rule.invalid("RuleType", &kind, remedy))
            }
        }
    }

    fn parse_backup(rule: &Document) -> Result<Self, Refusal> {
        // Every point is whole, however little had to be read for it: nothing else can be asked for.
        rule.word("BackupType", &[("COMPLETE", ())])?;
        let schedule = rule.bounded("Schedule", SCHEDULE_CHARS_MAX)?;
        let vault = rule.bounded("VaultId", 128)?;
        Ok(Self::Backup {
            schedule: (!schedule.is_empty()).then_some(schedule),
            retention: retention(rule)?,
            keep_latest: rule.int("KeepLatestSnapshots", 0, 1)? == Some(1),
            immutable: rule.bool("Immutable")?.unwrap_or(false),
            vault: (!vault.is_empty()).then_some(vault),
        })
    }

    fn parse_transition(rule: &Document) -> Result<Self, Refusal> {
        let advanced = rule.list("RetentionRules", ADVANCED_MAX)?;
        let advanced = advanced.iter().map(parse_advanced).collect::<Result<_, _>>()?;
        let retention = retention(rule)?;
        Ok(Self::Transition { retention, archive: archive(rule, retention)?, advanced })
    }

    fn parse_replication(rule: &Document) -> Result<Self, Refusal> {
        let Some(region) = rule.text("ReplicationRegionId")? else {
            return Err(Refusal::new(Code::ReplicationRegionMissing, "a REPLICATION rule names no region")
                .remedy("Give ReplicationRegionId, or leave the rule out."));
        };
        let retention = retention(rule)?;
        Ok(Self::Replication { region: RegionId(region), retention, archive: archive(rule, retention)? })
    }

    fn parse_tag(rule: &Document) -> Result<Self, Refusal> {
        let mut filters = Vec::new();
        for tag in rule.list("TagFilters", TAGS_MAX)? {
            filters.push(TagFilter {
                key: tag.required("Key")?,
                operator: tag.word("Operator", &TAG_OPERATORS)?.unwrap_or(TagOperator::Equal),
                value: tag.text("Value")?.unwrap_or_default(),
            });
        }
        let mut source_types = Vec::new();
        for source in rule.list("DataSourceFilters", TAGS_MAX)? {
            if let Some(text) = source.text("SourceType")? {
                source_types.push(SourceType::parse(&text, "SourceType")?.as_str().to_owned());
            }
            for account in source.list("Accounts", TAGS_MAX)? {
                OwnAccount::check_type(account.text("CrossAccountType")?.as_deref(), "CrossAccountType")?;
            }
        }
        if filters.is_empty() {
            return Err(rule.missing("TagFilters"));
        }
        Ok(Self::Tag { filters, source_types })
    }
}

fn retention(rule: &Document) -> Result<Option<Days>, Refusal> {
    match rule.int("Retention", -1, RETENTION_DAYS_MAX)? {
        Some(-1) => Ok(None),
        _ => days(rule, "Retention", 1, RETENTION_DAYS_MAX),
    }
}

fn archive(rule: &Document, retention: Option<Days>) -> Result<Option<Days>, Refusal> {
    let archive = days(rule, "ArchiveDays", ARCHIVE_DAYS_MIN, ARCHIVE_DAYS_MAX)?;
    if let (Some(archive), Some(retention)) = (archive, retention)
        && retention.0 < archive.0 + ARCHIVED_DAYS_MIN
    {
        let remedy = format!("Keep points {ARCHIVED_DAYS_MIN} days longer than that, or archive sooner.");
        return Err(rule.invalid("ArchiveDays", &archive.0.to_string(), &remedy));
    }
    Ok(archive)
}

fn parse_advanced(rule: &Document) -> Result<AdvancedRetention, Refusal> {
    // Only the first point of a period can be kept for longer.
    rule.int("WhichSnapshot", 1, 1)?;
    let class = rule.word("AdvancedRetentionType", &CLASSES)?;
    let retention = days(rule, "Retention", 1, RETENTION_DAYS_MAX)?;
    Ok(AdvancedRetention {
        class: class.ok_or_else(|| rule.missing("AdvancedRetentionType"))?,
        retention: retention.ok_or_else(|| rule.missing("Retention"))?,
    })
}

/// `DescribePoliciesV2`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribePoliciesV2 {
    pub policy: Asked<kinds::Policy>,
    pub page: TokenPage,
}

impl DescribePoliciesV2 {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        Ok(Self { policy: params.asked("PolicyId"), page: TokenPage::parse(params, 100)? })
    }
}

/// `DeletePolicyV2`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletePolicyV2 {
    pub policy: PolicyId,
}

impl DeletePolicyV2 {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        Ok(Self { policy: params.id("PolicyId", Code::PolicyNotFound)? })
    }
}

/// `ExecutePolicyV2`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutePolicyV2 {
    pub policy: PolicyId,
    pub rule: RuleId,
    /// None means all that are bound.
    pub instance: Option<InstanceId>,
}

impl ExecutePolicyV2 {
    pub fn parse(params: &Params) -> Result<Self, Refusal> {
        SourceType::instances_only(params)?;
        let instance = match params.str("DataSourceId") {
            Some(_) => Some(params.id("DataSourceId", Code::InstanceNotFound)?),
            None => None,
        };
        Ok(Self {
            policy: params.id("PolicyId", Code::PolicyNotFound)?,
            rule: params.id("RuleId", Code::RuleNotFound)?,
            instance,
        })
    }
}

/// The answer to `DescribePoliciesV2`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policies {
    policies: Vec<PolicyView>,
    max_results: usize,
    next_token: String,
    total_count: usize,
}

impl Policies {
    pub fn new(asked: &DescribePoliciesV2, page: Page<PolicyView>) -> Self {
        Self {
            policies: page.items,
            max_results: asked.page.max_results,
            next_token: page.next_token.unwrap_or_default(),
            total_count: page.total,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyView {
    pub policy_id: PolicyId,
    policy_name: String,
    policy_description: String,
    policy_type: &'static str,
    business_status: &'static str,
    policy_binding_count: u64,
    rules: Vec<RuleView>,
    created_time: i64,
    updated_time: i64,
}

impl PolicyView {
    pub fn from(policy: &Policy, bindings: u64) -> Self {
        Self {
            policy_id: policy.id,
            policy_name: policy.name.clone(),
            policy_description: policy.description.clone(),
            policy_type: match policy.kind {
                PolicyKind::Instances => "UDM_ECS_ONLY",
                PolicyKind::Standard => "STANDARD",
            },
            business_status: "ACTIVE",
            policy_binding_count: bindings,
            rules: policy.rules.iter().map(RuleView::from).collect(),
            created_time: policy.created.seconds(),
            updated_time: policy.updated.seconds(),
        }
    }
}

/// A rule of any type; the lists are there in every type, as clients walk them unasked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuleView {
    rule_id: String,
    rule_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_latest_snapshots: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive_days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication_region_id: Option<RegionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    immutable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vault_id: Option<String>,
    retention_rules: Vec<AdvancedView>,
    tag_filters: Vec<TagView>,
    data_source_filters: Vec<SourceView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct AdvancedView {
    advanced_retention_type: &'static str,
    retention: u32,
    which_snapshot: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct TagView {
    key: String,
    operator: &'static str,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SourceView {
    source_type: String,
    data_source_ids: [String; 0],
}

impl From<&Rule> for RuleView {
    fn from(rule: &Rule) -> Self {
        let view = Self { rule_id: rule.id.to_string(), ..Self::default() };
        match &rule.kind {
            RuleKind::Backup { schedule, retention, keep_latest, immutable, vault } => Self {
                rule_type: "BACKUP",
                backup_type: Some("COMPLETE"),
                schedule: schedule.as_ref().map(print_schedule),
                retention: retention.map(|days| days.0),
                keep_latest_snapshots: Some(u8::from(*keep_latest)),
                immutable: Some(*immutable),
                vault_id: vault.clone(),
                ..view
            },
            RuleKind::Transition { retention, archive, advanced } => Self {
                rule_type: "TRANSITION",
                retention: retention.map(|days| days.0),
                archive_days: archive.map(|days| days.0),
                retention_rules: advanced.iter().map(advanced_view).collect(),
                ..view
            },
            RuleKind::Replication { region, retention, archive } => Self {
                rule_type: "REPLICATION",
                replication_region_id: Some(region.clone()),
                retention: retention.map(|days| days.0),
                archive_days: archive.map(|days| days.0),
                ..view
            },
            RuleKind::Tag { filters, source_types } => Self {
                rule_type: "TAG",
                tag_filters: filters.iter().map(tag_view).collect(),
                data_source_filters: source_types
                    .iter()
                    .map(|source_type| SourceView { source_type: source_type.clone(), data_source_ids: [] })
                    .collect(),
                ..view
            },
            RuleKind::Security { immutable } => {
                Self { rule_type: "SECURITY", immutable: Some(*immutable), ..view }
            }
        }
    }
}

fn advanced_view(advanced: &AdvancedRetention) -> AdvancedView {
    AdvancedView {
        advanced_retention_type: class_word(advanced.class),
        retention: advanced.retention.0,
        which_snapshot: 1,
    }
}

fn tag_view(filter: &TagFilter) -> TagView {
    let operator = match filter.operator {
        TagOperator::Equal => "EQUAL",
        TagOperator::Not => "NOT",
    };
    TagView { key: filter.key.clone(), operator, value: filter.value.clone() }
}

pub(super) const fn class_word(class: RetentionClass) -> &'static str {
    match class {
        RetentionClass::Daily => "DAILY",
        RetentionClass::Weekly => "WEEKLY",
        RetentionClass::Monthly => "MONTHLY",
        RetentionClass::Yearly => "YEARLY",
    }
}

/// The text a schedule was made from.
pub fn print_schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Interval { start, text, .. } => format!("I|{}|{text}", start.seconds()),
        Schedule::Calendar { start, cron } => format!("C|{}|{}", start.seconds(), cron.text),
    }
}

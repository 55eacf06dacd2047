//! Which rules make a policy, and what they come to together.

use model::{
    AdvancedRetention, Code, Days, Policy, PolicyKind, Refusal, RegionId, RetentionClass, Rule, RuleId,
    RuleKind, TagFilter, TagOperator,
};

use crate::schedule;

/// A point of an instance is kept at most so long (its snapshots cannot be kept longer).
pub const INSTANCE_DAYS_MAX: u32 = 65_536;
/// 999 years of 365 days.
pub const STANDARD_DAYS_MAX: u32 = 364_635;
const RULES_MAX: usize = 10;
const ADVANCED_MAX: usize = 99;
const TAGS_MAX: usize = 30;
const TAG_LEN_MAX: usize = 128;
const NAME_CHARS: std::ops::RangeInclusive<usize> = 2..=128;
const DESCRIPTION_CHARS_MAX: usize = 256;
/// Archived snapshots stay archived at least so long.
const ARCHIVED_DAYS_MIN: u32 = 60;
const ARCHIVE_AFTER_DAYS_MIN: u32 = 14;

/// One rule as a client gave it: nothing checked, nothing filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleInput {
    pub rule_type: String,
    pub backup_type: Option<String>,
    pub schedule: Option<String>,
    /// Days; -1 means for ever.
    pub retention: Option<i64>,
    pub keep_latest: Option<i64>,
    pub immutable: Option<bool>,
    pub vault: Option<String>,
    pub replication_region: Option<String>,
    pub archive_days: Option<i64>,
    pub advanced: Vec<AdvancedInput>,
    pub tag_filters: Vec<TagInput>,
    pub source_types: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdvancedInput {
    pub class: String,
    pub retention: Option<i64>,
    /// Only the first of a period can be kept: 1, or not given.
    pub which: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagInput {
    pub key: String,
    pub operator: String,
    pub value: String,
}

/// The kind of a new policy. Not given, a rule with a vault makes it a standard one.
pub fn kind(text: Option<&str>, rules: &[RuleInput]) -> Result<PolicyKind, Refusal> {
    match text {
        Some("UDM_ECS_ONLY") => Ok(PolicyKind::Instances),
        Some("STANDARD") => Ok(PolicyKind::Standard),
        None | Some("") => {
            let vault = rules.iter().any(|rule| rule.vault.as_deref().is_some_and(|vault| !vault.is_empty()));
            Ok(if vault { PolicyKind::Standard } else { PolicyKind::Instances })
        }
        Some(other) => {
            Err(invalid(format!("the policy type {other:?} is neither UDM_ECS_ONLY nor STANDARD")))
        }
    }
}

/// Whether a policy may have this name.
pub fn name(text: &str) -> Result<(), Refusal> {
    let wrong = |why: &str| {
        invalid(format!("the policy name {:?} {why}", text.chars().take(140).collect::<String>())).remedy(
            "Use 2 to 128 letters, digits and the characters . _ - : beginning with a letter, but not with \"auto\".",
        )
    };
    if !NAME_CHARS.contains(&text.chars().count()) {
        return Err(wrong("does not have 2 to 128 characters"));
    }
    if !text.starts_with(char::is_alphabetic) {
        return Err(wrong("does not begin with a letter"));
    }
    if text.starts_with("auto") {
        return Err(wrong("begins with \"auto\""));
    }
    match text.chars().find(|letter| !letter.is_alphanumeric() && !"._-:".contains(*letter)) {
        Some(letter) => Err(wrong(&format!("holds the character {letter:?}"))),
        None => Ok(()),
    }
}

/// Whether a policy may have this description.
pub fn description(text: &str) -> Result<(), Refusal> {
    match text.chars().count() {
        0..=DESCRIPTION_CHARS_MAX => Ok(()),
        long => {
            Err(invalid(format!("a description of {long} characters; {DESCRIPTION_CHARS_MAX} are allowed")))
        }
    }
}

/// The rules of a policy in region `home`, in the order they were given.
pub fn admit(kind: PolicyKind, home: &RegionId, rules: &[RuleInput]) -> Result<Vec<RuleKind>, Refusal> {
    if rules.is_empty() || rules.len() > RULES_MAX {
        return Err(invalid(format!("{} rules; a policy has 1 to {RULES_MAX}", rules.len())));
    }
    let admitted = rules.iter().map(|rule| admit_rule(kind, home, rule)).collect::<Result<Vec<_>, _>>()?;
    check_together(kind, &admitted)?;
    Ok(admitted)
}

fn admit_rule(kind: PolicyKind, home: &RegionId, rule: &RuleInput) -> Result<RuleKind, Refusal> {
    match rule.rule_type.as_str() {
        "BACKUP" => admit_backup(kind, rule),
        "TRANSITION" => admit_transition(kind, rule),
        "REPLICATION" => admit_replication(kind, home, rule),
        "TAG" => admit_tag(rule),
        "SECURITY" => Ok(RuleKind::Security { immutable: rule.immutable.unwrap_or(false) }),
        "" => Err(Refusal::new(Code::MissingParameter, "a rule without RuleType")),
        other => Err(invalid(format!(
            "the rule type {other:?} is none of BACKUP, TRANSITION, REPLICATION, TAG and SECURITY"
        ))),
    }
}

fn admit_backup(kind: PolicyKind, rule: &RuleInput) -> Result<RuleKind, Refusal> {
    const STANDARD_TYPES: [&str; 7] =
        ["COMPLETE", "INCREMENTAL", "DIFFERENTIAL", "LOG", "INDEX", "ARCHIVE", "ARCHIVE_BY_SEARCH"];
    let types: &[&str] = match kind {
        PolicyKind::Instances => &["COMPLETE"],
        PolicyKind::Standard => &STANDARD_TYPES,
    };
    match rule.backup_type.as_deref() {
        None | Some("") => {}
        Some(given) if types.contains(&given) => {}
        Some(given) => {
            return Err(invalid(format!("the backup type {given:?} is none of {}", types.join(", "))));
        }
    }
    let keep_latest = match rule.keep_latest {
        None | Some(0) => false,
        Some(1) => true,
        Some(other) => return Err(invalid(format!("KeepLatestSnapshots is {other}; it can be 0 or 1"))),
    };
    let schedule = rule.schedule.as_deref().filter(|text| !text.is_empty());
    Ok(RuleKind::Backup {
        schedule: schedule.map(schedule::parse).transpose()?,
        retention: days(kind, rule.retention)?,
        keep_latest,
        immutable: rule.immutable.unwrap_or(false),
        vault: rule.vault.clone().filter(|vault| !vault.is_empty()),
    })
}

fn admit_transition(kind: PolicyKind, rule: &RuleInput) -> Result<RuleKind, Refusal> {
    let retention = days(kind, rule.retention)?;
    if rule.advanced.len() > ADVANCED_MAX {
        return Err(invalid(format!(
            "{} special retentions; {ADVANCED_MAX} are allowed",
            rule.advanced.len()
        )));
    }
    let advanced =
        rule.advanced.iter().map(|one| admit_advanced(kind, one)).collect::<Result<Vec<_>, _>>()?;
    for (place, one) in advanced.iter().enumerate() {
        if advanced[..place].iter().any(|other| other.class == one.class) {
            return Err(invalid(format!("two special retentions for {:?} points", one.class)));
        }
    }
    Ok(RuleKind::Transition { retention, archive: archive(rule.archive_days, retention)?, advanced })
}

fn admit_advanced(kind: PolicyKind, input: &AdvancedInput) -> Result<AdvancedRetention, Refusal> {
    let class = match input.class.as_str() {
        "DAILY" => RetentionClass::Daily,
        "WEEKLY" => RetentionClass::Weekly,
        "MONTHLY" => RetentionClass::Monthly,
        "YEARLY" => RetentionClass::Yearly,
        other => {
            return Err(invalid(format!(
                "the special retention {other:?} is none of DAILY, WEEKLY, MONTHLY and YEARLY"
            )));
        }
    };
    if let Some(which) = input.which.filter(|which| *which != 1) {
        return Err(invalid(format!("WhichSnapshot is {which}; only the first of a period (1) can be kept")));
    }
    let retention = days(kind, input.retention)?;
    let retention = retention
        .ok_or_else(|| Refusal::new(Code::MissingParameter, "a special retention without its days"))?;
    Ok(AdvancedRetention { class, retention })
}

fn admit_replication(kind: PolicyKind, home: &RegionId, rule: &RuleInput) -> Result<RuleKind, Refusal> {
    let region = rule.replication_region.as_deref().unwrap_or_default();
    if region.is_empty() {
        return Err(Refusal::new(
            Code::ReplicationRegionMissing,
            "the policy copies to another region and does not say to which",
        )
        .remedy("Name the destination region, or leave the REPLICATION rule out."));
    }
    if region == home.0 {
        return Err(invalid(format!("the destination {region:?} is the policy's own region")));
    }
    let retention = days(kind, rule.retention)?;
    Ok(RuleKind::Replication {
        region: RegionId::from(region),
        retention,
        archive: archive(rule.archive_days, retention)?,
    })
}

fn admit_tag(rule: &RuleInput) -> Result<RuleKind, Refusal> {
    if rule.tag_filters.is_empty() || rule.tag_filters.len() > TAGS_MAX {
        return Err(invalid(format!(
            "a TAG rule with {} tags; 1 to {TAGS_MAX} are allowed",
            rule.tag_filters.len()
        )));
    }
    let filters = rule.tag_filters.iter().map(admit_tag_filter).collect::<Result<Vec<_>, _>>()?;
    Ok(RuleKind::Tag { filters, source_types: rule.source_types.clone() })
}

fn admit_tag_filter(tag: &TagInput) -> Result<TagFilter, Refusal> {
    let operator = match tag.operator.as_str() {
        "" | "EQUAL" => TagOperator::Equal,
        "NOT" => TagOperator::Not,
        other => return Err(invalid(format!("the tag operator {other:?} is neither EQUAL nor NOT"))),
    };
    let long = |text: &str| text.chars().count() > TAG_LEN_MAX;
    if tag.key.is_empty() || long(&tag.key) || long(&tag.value) {
        return Err(invalid(format!(
            "a tag needs a key, and key and value have at most {TAG_LEN_MAX} characters"
        )));
    }
    Ok(TagFilter { key: tag.key.clone(), operator, value: tag.value.clone() })
}

/// What no rule can tell by itself.
fn check_together(kind: PolicyKind, rules: &[RuleKind]) -> Result<(), Refusal> {
    let backups = rules.iter().filter(|rule| matches!(rule, RuleKind::Backup { .. })).count();
    if backups == 0 {
        return Err(invalid("a policy needs a BACKUP rule".to_owned()));
    }
    if rules.iter().filter(|rule| matches!(rule, RuleKind::Transition { .. })).count() > 1 {
        return Err(invalid("a policy has at most one TRANSITION rule".to_owned()));
    }
    for (place, rule) in rules.iter().enumerate() {
        if let RuleKind::Replication { region, .. } = rule {
            let again =
                |other: &RuleKind| matches!(other, RuleKind::Replication { region: r, .. } if r == region);
            if rules[..place].iter().any(again) {
                return Err(invalid(format!("two REPLICATION rules to {region}")));
            }
        }
    }
    let security = rules.iter().any(|rule| matches!(rule, RuleKind::Security { .. }));
    match kind {
        PolicyKind::Instances => check_retentions(rules),
        PolicyKind::Standard if security => {
            Err(invalid("a SECURITY rule belongs to a policy for instances (UDM_ECS_ONLY)".to_owned()))
        }
        PolicyKind::Standard => Ok(()),
    }
}

/// Every backup of an instance ends, and a special retention is longer than the normal one.
fn check_retentions(rules: &[RuleKind]) -> Result<(), Refusal> {
    let advanced = advanced_of(rules.iter());
    for rule in rules {
        let RuleKind::Backup { retention, .. } = rule else { continue };
        let Some(normal) = transition_of(rules.iter()).or(*retention) else {
            return Err(permanent("the policy does not say how long points are kept"));
        };
        if let Some(short) = advanced.iter().find(|one| one.retention <= normal) {
            return Err(invalid(format!(
                "{:?} points are kept {} days, no longer than the others ({} days)",
                short.class, short.retention.0, normal.0
            )));
        }
    }
    Ok(())
}

fn days(kind: PolicyKind, given: Option<i64>) -> Result<Option<Days>, Refusal> {
    let longest = match kind {
        PolicyKind::Instances => INSTANCE_DAYS_MAX,
        PolicyKind::Standard => STANDARD_DAYS_MAX,
    };
    match (given, kind) {
        (None, _) | (Some(-1), PolicyKind::Standard) => Ok(None),
        (Some(-1), PolicyKind::Instances) => Err(permanent("the policy keeps points for ever")),
        (Some(given), _) => match u32::try_from(given) {
            Ok(days) if (1..=longest).contains(&days) => Ok(Some(Days(days))),
            _ => Err(invalid(format!("a retention of {given} days; 1 to {longest} are allowed"))),
        },
    }
}

/// How long a manual backup of an instance is kept, as a client asked for it.
pub fn manual_retention(given: Option<i64>) -> Result<Days, Refusal> {
    /// Not stated anywhere; the examples' value.
    const DEFAULT: Days = Days(7);
    Ok(days(PolicyKind::Instances, given)?.unwrap_or(DEFAULT))
}

fn archive(given: Option<i64>, retention: Option<Days>) -> Result<Option<Days>, Refusal> {
    let Some(given) = given.filter(|given| *given != 0) else { return Ok(None) };
    let after = u32::try_from(given).ok().filter(|after| *after >= ARCHIVE_AFTER_DAYS_MIN);
    let fits = |after: &u32| retention.is_none_or(|kept| after.saturating_add(ARCHIVED_DAYS_MIN) <= kept.0);
    match after.filter(fits) {
        Some(after) => Ok(Some(Days(after))),
        None => Err(invalid(format!(
            "archiving after {given} days; it takes at least {ARCHIVE_AFTER_DAYS_MIN}, and at least \
             {ARCHIVED_DAYS_MIN} more before the retention ends"
        ))),
    }
}

fn permanent(message: &str) -> Refusal {
    Refusal::new(Code::PermanentRetention, message)
        .remedy("A disk can have only so many snapshots: give a retention of 1 to 65,536 days.")
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Code::InvalidParameter, message)
}

/// A setting, and the rule it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sourced<T> {
    pub value: T,
    pub from: RuleId,
}

/// How long points made by `rule` are kept: a TRANSITION rule is stronger than the rule itself.
/// None is for ever, which no instance may have.
pub fn effective_retention(policy: &Policy, rule: &Rule) -> Option<Sourced<Days>> {
    let transition = policy.rules.iter().find_map(|other| match other.kind {
        RuleKind::Transition { retention: Some(value), .. } => Some(Sourced { value, from: other.id }),
        _ => None,
    });
    transition.or(match rule.kind {
        RuleKind::Backup { retention: Some(value), .. } => Some(Sourced { value, from: rule.id }),
        _ => None,
    })
}

/// Whether points made by `rule` are locked until they expire.
pub fn effective_immutable(policy: &Policy, rule: &Rule) -> bool {
    let security =
        policy.rules.iter().any(|other| matches!(other.kind, RuleKind::Security { immutable: true }));
    security || matches!(rule.kind, RuleKind::Backup { immutable: true, .. })
}

/// Whether the newest point of a source stays whatever happens.
pub fn keeps_latest(policy: &Policy) -> bool {
    policy.rules.iter().any(|rule| matches!(rule.kind, RuleKind::Backup { keep_latest: true, .. }))
}

/// What is kept longer than the rest.
pub fn advanced(policy: &Policy) -> &[AdvancedRetention] {
    advanced_of(policy.rules.iter().map(|rule| &rule.kind))
}

/// Whether a policy may be put on an instance.
pub fn bindable(policy: &Policy) -> Result<(), Refusal> {
    match policy.kind {
        PolicyKind::Instances => Ok(()),
        PolicyKind::Standard => Err(Refusal::new(
            Code::SourceTypeNotSupported,
            format!("policy {} is of type STANDARD, and instances need UDM_ECS_ONLY", policy.id),
        )),
    }?;
    let endless = |rule: &&Rule| {
        matches!(rule.kind, RuleKind::Backup { .. }) && effective_retention(policy, rule).is_none()
    };
    match policy.rules.iter().find(endless) {
        Some(_) => Err(permanent("the policy has a rule that keeps points for ever")),
        None => Ok(()),
    }
}

fn transition_of<'a>(mut rules: impl Iterator<Item = &'a RuleKind>) -> Option<Days> {
    rules.find_map(|rule| match rule {
        RuleKind::Transition { retention, .. } => *retention,
        _ => None,
    })
}

fn advanced_of<'a>(mut rules: impl Iterator<Item = &'a RuleKind>) -> &'a [AdvancedRetention] {
    let found = rules.find_map(|rule| match rule {
        RuleKind::Transition { advanced, .. } => Some(advanced.as_slice()),
        _ => None,
    });
    found.unwrap_or_default()
}

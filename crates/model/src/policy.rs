//! Policies, their rules, and the bindings that put them on instances.

use serde::{Deserialize, Serialize};

use crate::{BindingId, Days, DiskId, InstanceId, PolicyId, RegionId, RuleId, Timestamp};

/// Rules for backing up: when, how long to keep, where to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub id: PolicyId,
    pub region: RegionId,
    pub name: String,
    pub description: String,
    pub kind: PolicyKind,
    /// In the order they were given; clients compare them with what they sent.
    pub rules: Vec<Rule>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

impl Policy {
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PolicyKind {
    /// For instances: on the wire `UDM_ECS_ONLY`.
    Instances,
    /// For everything else: on the wire `STANDARD`. Kept and shown; nothing runs it.
    Standard,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: RuleId,
    pub kind: RuleKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleKind {
    Backup {
        schedule: Option<Schedule>,
        /// Weaker than a transition rule's.
        retention: Option<Days>,
        keep_latest: bool,
        immutable: bool,
        /// Meaningless for instances; kept because clients read it back.
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

/// Keep the first point of each period for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvancedRetention {
    pub class: RetentionClass,
    pub retention: Days,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RetentionClass {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagFilter {
    pub key: String,
    pub operator: TagOperator,
    /// Empty means any value.
    pub value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TagOperator {
    Equal,
    Not,
}

/// When runs are due. `policy::schedule` parses, prints and evaluates it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// `I|start|interval`: at the start and every interval after it.
    Interval {
        start: Timestamp,
        /// The ISO 8601 text as given, so that it reads back unchanged.
        text: String,
        seconds: u64,
    },
    /// `C|start|cron`: at each match after the start, in the region's time zone.
    Calendar { start: Timestamp, cron: Cron },
}

/// Six fields of which the day of the week counts from 1, Sunday.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cron {
    pub text: String,
    pub seconds: Vec<u8>,
    pub minutes: Vec<u8>,
    pub hours: Vec<u8>,
    /// Empty means every day of the month.
    pub days: Vec<u8>,
    pub months: Vec<u8>,
    /// Empty means every day of the week.
    pub weekdays: Vec<u8>,
}

/// A policy on an instance. An instance has at most one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub id: BindingId,
    pub region: RegionId,
    pub policy: PolicyId,
    pub instance: InstanceId,
    pub description: String,
    pub disabled: bool,
    pub options: BindingOptions,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// What of the instance is protected, and how consistently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingOptions {
    /// Empty means all disks, those attached later included.
    pub disks: Vec<DiskId>,
    /// Ignored when `disks` names any.
    pub excluded: Vec<DiskId>,
    pub group: bool,
    pub app_consistent: bool,
    pub fs_freeze: bool,
    pub writers: bool,
    pub pre_script: String,
    pub post_script: String,
    pub role: String,
    pub timeout_seconds: u32,
    /// Key of the destination region for copies; none means automatic.
    pub destination_key: Option<String>,
}

impl Default for BindingOptions {
    fn default() -> Self {
        Self {
            disks: Vec::new(),
            excluded: Vec::new(),
            group: true,
            app_consistent: false,
            fs_freeze: true,
            writers: true,
            pre_script: String::new(),
            post_script: String::new(),
            role: String::new(),
            timeout_seconds: 30,
            destination_key: None,
        }
    }
}

//! Cloud Backup, 2017-09-08: policies, bindings, jobs, points, restores.
//!
//! Times are epoch seconds, durations days, progress hundredths of a percent.

mod binding;
mod job;
mod point;
mod policy;
mod region;
mod restore;

pub use binding::{
    BindingInput, BindingView, Bindings, CreatePolicyBindings, DeletePolicyBinding, DescribePolicyBindings,
};
pub use job::{CancelBackupJob, CopyInput, CreateBackupJob, DescribeBackupJobs2, JobView, Jobs, Sort};
pub use point::{DeleteSnapshot, DescribeUdmSnapshots, PointView, Points};
pub use policy::{
    CreatePolicyV2, DeletePolicyV2, DescribePoliciesV2, ExecutePolicyV2, Policies, PolicyView, RuleInput,
    RuleView, print_schedule,
};
pub use region::{RegionView, Regions};
pub use restore::{CloneInput, CreateRestoreJob, DescribeRestoreJobs2, RestoreInput, RestoreView, Restores};

use model::{Code, Days, JobId, JobStatus, PolicyId, Refusal, RestoreId, Timestamp};
use serde::Serialize;

use crate::document::Document;
use crate::params::Params;

/// Instance backup knows 1 to 999 years of 365 days.
pub(crate) const RETENTION_DAYS_MAX: i64 = 364_635;
const DISKS_MAX: usize = 128;
const SCRIPT_PATH_CHARS_MAX: usize = 1_024;
const DESCRIPTION_CHARS_MAX: usize = 1_024;

/// What is backed up, as far as instances go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// An instance.
    UdmEcs,
    /// One disk of an instance's job or point.
    UdmEcsDisk,
}

impl SourceType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UdmEcs => "UDM_ECS",
            Self::UdmEcsDisk => "UDM_ECS_DISK",
        }
    }

    /// Other products of the same service, known and not served.
    const ELSEWHERE: [&str; 11] = [
        "UDM_DISK",
        "ECS_FILE",
        "OSS",
        "NAS",
        "COMMON_NAS",
        "COMMON_FILE_SYSTEM",
        "File",
        "OTS",
        "SYNC",
        "CONTAINER",
        "UDM_ECS_GROUP",
    ];

    pub(crate) fn parse(text: &str, path: &str) -> Result<Self, Refusal> {
        let served = [Self::UdmEcs, Self::UdmEcsDisk];
        if let Some(found) = served.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(text)) {
            return Ok(found);
        }
        if Self::ELSEWHERE.iter().any(|known| known.eq_ignore_ascii_case(text)) {
            let message = format!("{path} {text} is not backed up here");
            return Err(
                Refusal::new(Code::SourceTypeNotSupported, message).remedy("Instances are: give UDM_ECS.")
            );
        }
        Err(crate::params::invalid(path, text, "Give UDM_ECS."))
    }

    fn of(params: &Params) -> Result<Option<Self>, Refusal> {
        params.str("SourceType").map(|text| Self::parse(text, "SourceType")).transpose()
    }

    /// For operations on instances as a whole.
    fn instances_only(params: &Params) -> Result<(), Refusal> {
        match Self::of(params)? {
            Some(Self::UdmEcsDisk) => Err(params.invalid("SourceType", "UDM_ECS_DISK", "Give UDM_ECS.")),
            Some(Self::UdmEcs) | None => Ok(()),
        }
    }
}

/// An answer without a payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Done {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyCreated {
    pub policy_id: PolicyId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobCreated {
    pub job_id: JobId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RestoreCreated {
    pub restore_id: RestoreId,
}

/// Nobody backs up other accounts' instances here; answers say so in these three fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OwnAccount {
    cross_account_type: &'static str,
    cross_account_user_id: i64,
    cross_account_role_name: &'static str,
}

impl OwnAccount {
    pub(crate) const SELF: Self =
        Self { cross_account_type: "SELF_ACCOUNT", cross_account_user_id: 0, cross_account_role_name: "" };

    pub(crate) fn check(params: &Params) -> Result<(), Refusal> {
        Self::check_type(params.str("CrossAccountType"), "CrossAccountType")
    }

    fn check_type(text: Option<&str>, path: &str) -> Result<(), Refusal> {
        match text {
            Some(text) if !text.eq_ignore_ascii_case("SELF_ACCOUNT") => {
                Err(crate::params::invalid(path, text, "Give SELF_ACCOUNT, or leave it out."))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) const fn status_word(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Created => "CREATED",
        JobStatus::Queued => "QUEUED",
        JobStatus::Running => "RUNNING",
        JobStatus::Canceling => "CANCELING",
        JobStatus::Complete => "COMPLETE",
        JobStatus::PartialComplete => "PARTIAL_COMPLETE",
        JobStatus::Failed => "FAILED",
        JobStatus::Canceled => "CANCELED",
        JobStatus::Expired => "EXPIRED",
    }
}

/// As one line of text: the code first, for those who match on it; what to do last.
pub(crate) fn failure_text(failure: Option<&Refusal>) -> String {
    match failure {
        None => String::new(),
        Some(failure) if failure.remedy.is_empty() => failure.to_string(),
        Some(failure) => format!("{}. {}", failure.to_string().trim_end_matches('.'), failure.remedy),
    }
}

/// Bytes a second between two times; zero when it was too short to tell.
pub(crate) fn speed(bytes: u64, started: Option<Timestamp>, until: Timestamp) -> u64 {
    let micros = started.map_or(0, |started| until.0.saturating_sub(started.0));
    match u128::try_from(micros) {
        Ok(micros) if micros > 0 => u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX),
        _ => 0,
    }
}

/// Days, when given. −1 is "for ever", which instance backup has no way to keep.
fn days(document: &Document, key: &str, min: i64, max: i64) -> Result<Option<Days>, Refusal> {
    let days = document.int(key, min, max)?;
    Ok(days.and_then(|days| u32::try_from(days).ok()).map(Days))
}

//! Refusals: a stable code, what was wrong, and what to do about it.
//!
//! The codes are the product's (semantics.md §9, wire-api.md §1.4). Only `wire` knows which HTTP
//! status each travels under.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $text:literal,)*) => {
        /// The registry of stable codes. Append only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $code,)*
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)*
                }
            }
        }
    };
}

codes! {
    // The request itself.
    MissingParameter = "MissingParameter",
    InvalidParameter = "InvalidParameter",
    InvalidAction = "InvalidAction.NotFound",
    InvalidVersion = "InvalidVersion",
    UnsupportedMethod = "UnsupportedHTTPMethod",
    RequestTooLarge = "RequestTooLarge",
    InvalidRegion = "InvalidRegionId.NotFound",
    // Who is asking.
    AccessKeyNotFound = "InvalidAccessKeyId.NotFound",
    AccessKeyInactive = "InvalidAccessKeyId.Inactive",
    SignatureMismatch = "SignatureDoesNotMatch",
    IncompleteSignature = "IncompleteSignature",
    TimestampExpired = "InvalidTimeStamp.Expired",
    IllegalTimestamp = "IllegalTimestamp",
    NonceUsed = "SignatureNonceUsed",
    Forbidden = "Forbidden.RAM",
    Throttled = "Throttling.User",
    // Instances and disks.
    InstanceNotFound = "InvalidInstanceId.NotFound",
    InstanceReleased = "EcsInstanceReleased",
    InstanceStatus = "IncorrectInstanceStatus",
    InstanceBusy = "InstanceBusy",
    DiskNotFound = "InvalidDiskId.NotFound",
    DiskNotSupported = "DiskCategory.OperationNotSupported",
    DiskStatus = "IncorrectDiskStatus",
    DiskSnapshotRunning = "IncorrectDiskStatus.CreatingSnapshot",
    NoDisk = "InvalidInstance.NoDisk",
    TooManyDisks = "NumberExceed.TooManyDisks",
    // Snapshots.
    SnapshotNotFound = "InvalidSnapshotId.NotFound",
    SnapshotNotReady = "InvalidSnapshotId.NotReady",
    SnapshotMismatch = "InvalidParameter.Mismatch",
    GroupNotFound = "InvalidSnapshotGroup.NotFound",
    SnapshotQuota = "QuotaExceed.Snapshot",
    // Policies, jobs, points.
    PolicyNotFound = "PolicyNotExist",
    RuleNotFound = "RuleNotExist",
    PolicyBound = "PolicyAlreadyBoundWithThisDataSource",
    PolicyInUse = "PolicyInUse",
    BindingNotFound = "PolicyBindingNotExist",
    PermanentRetention = "PolicyPermanentRetentionNotSupported",
    ReplicationRegionMissing = "ReplicationRegionNotSpecified",
    PlanSuspended = "PlanSuspended",
    JobNotFound = "JobNotExist",
    JobFinished = "JobAlreadyFinished",
    JobRunning = "JobAlreadyRunning",
    JobCanceled = "JobCanceled",
    PointNotFound = "SnapshotNotExist",
    PointUnusable = "SnapshotUnusable",
    PointImmutable = "SnapshotImmutable",
    PointPinned = "SnapshotPinned",
    RestoreNotFound = "RestoreJobNotExist",
    SourceTypeNotSupported = "SourceTypeNotSupported",
    // The world below.
    HostUnavailable = "HostUnavailable",
    HostFailed = "HostOperationFailed",
    HostNoSpace = "HostNoSpace",
    DepotUnavailable = "DepotUnavailable",
    DepotNoSpace = "DepotNoSpace",
    DepotDamaged = "DepotDamaged",
    KeyUnavailable = "KeyUnavailable",
    ServiceUnavailable = "ServiceUnavailable",
    Internal = "InternalError",
    IdempotentMismatch = "IdempotentParameterMismatch",
    NoStock = "OperationDenied.NoStock",
    NetworkNotFound = "InvalidVSwitchId.NotFound",
    /// The source system has it and this version does not.
    NotOffered = "OperationNotOffered",
    /// A rehearsal (`DryRun=true`) that found nothing wrong: ECS answers it as an error.
    DryRun = "DryRunOperation",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something was not done. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    pub code: Code,
    /// What was wrong, with the value that was wrong.
    pub message: String,
    /// What to do; empty when the message says it all.
    pub remedy: String,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: String::new() }
    }

    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_survive_json() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            let json = serde_json::to_string(code).expect("a code is a string");
            assert_eq!(serde_json::from_str::<Code>(&json).expect("round trip"), *code);
        }
    }
}

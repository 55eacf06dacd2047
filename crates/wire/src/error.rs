//! One table from the product's codes to the HTTP statuses they travel under.

use model::Code;

/// Clients retry 5xx for minutes and take 404 for "gone": only what may pass is 5xx, only what is not
/// there is 404.
pub const fn status(code: Code) -> u16 {
    match code {
        Code::MissingParameter
        | Code::InvalidParameter
        | Code::InvalidVersion
        | Code::AccessKeyInactive
        | Code::SignatureMismatch
        | Code::IncompleteSignature
        | Code::TimestampExpired
        | Code::IllegalTimestamp
        | Code::NonceUsed
        | Code::InstanceReleased
        | Code::DiskNotSupported
        | Code::NoDisk
        | Code::TooManyDisks
        | Code::SnapshotNotReady
        | Code::SnapshotMismatch
        | Code::PolicyBound
        | Code::PolicyInUse
        | Code::PermanentRetention
        | Code::ReplicationRegionMissing
        | Code::PlanSuspended
        | Code::JobFinished
        | Code::JobRunning
        | Code::JobCanceled
        | Code::PointUnusable
        | Code::PointImmutable
        | Code::PointPinned
        | Code::SourceTypeNotSupported
        | Code::IdempotentMismatch
        | Code::DryRun => 400,
        Code::UnsupportedMethod
        | Code::Forbidden
        | Code::InstanceStatus
        | Code::InstanceBusy
        | Code::DiskStatus
        | Code::DiskSnapshotRunning
        | Code::SnapshotQuota
        // Space does not come back by itself: a retry for minutes would only delay the news.
        | Code::HostNoSpace
        | Code::DepotNoSpace
        | Code::DepotDamaged
        | Code::NoStock
        | Code::NotOffered => 403,
        Code::InvalidAction
        | Code::InvalidRegion
        | Code::AccessKeyNotFound
        | Code::InstanceNotFound
        | Code::DiskNotFound
        | Code::SnapshotNotFound
        | Code::GroupNotFound
        | Code::PolicyNotFound
        | Code::RuleNotFound
        | Code::BindingNotFound
        | Code::JobNotFound
        | Code::PointNotFound
        | Code::RestoreNotFound
        | Code::NetworkNotFound => 404,
        Code::RequestTooLarge => 413,
        Code::Throttled => 429,
        Code::HostFailed | Code::Internal => 500,
        Code::HostUnavailable
        // Each of these may be back before the client has tried again.
        | Code::DepotUnavailable
        | Code::KeyUnavailable
        | Code::ServiceUnavailable => 503,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_404_and_only_that() {
        for code in Code::ALL {
            let text = code.as_str();
            let gone = text.ends_with("NotFound") || text.ends_with("NotExist");
            assert_eq!(status(*code) == 404, gone, "{text}");
        }
    }

    #[test]
    fn only_what_may_pass_is_retried() {
        for code in Code::ALL {
            let passing = ["Unavailable", "InternalError", "HostOperationFailed"];
            let passing = passing.iter().any(|end| code.as_str().ends_with(end));
            assert_eq!(status(*code) >= 500, passing, "{code}");
        }
    }
}

//! A run over several instances, shown as one job.

use model::{ByteCount, Job, JobId, JobStatus, Progress};

/// One row for all jobs of a run; none if it has no jobs.
pub(crate) fn as_job(run: JobId, jobs: &[Job]) -> Option<Job> {
    let first = jobs.first()?;
    let sum = |of: fn(&Job) -> ByteCount| jobs.iter().map(of).sum::<ByteCount>();
    let status = status(jobs.iter().map(|job| job.status));
    let done: u64 = jobs.iter().map(|job| u64::from(job.progress.hundredths())).sum();
    let failure = jobs.iter().find_map(|job| job.failure.clone()).filter(|_| status.is_final());
    Some(Job {
        id: run,
        parent: None,
        instance_name: format!("{} instances", jobs.len()),
        status,
        progress: Progress::of(done, jobs.len() as u64 * u64::from(Progress::FULL.hundredths())),
        failure,
        snapshots: jobs.iter().flat_map(|job| job.snapshots.iter().copied()).collect(),
        created: jobs.iter().map(|job| job.created).min().unwrap_or(first.created),
        started: jobs.iter().filter_map(|job| job.started).min(),
        completed: if status.is_final() { jobs.iter().filter_map(|job| job.completed).max() } else { None },
        updated: jobs.iter().map(|job| job.updated).max().unwrap_or(first.updated),
        bytes_total: sum(|job| job.bytes_total),
        bytes_read: sum(|job| job.bytes_read),
        bytes_stored: sum(|job| job.bytes_stored),
        ..first.clone()
    })
}

/// Running until all are over; then what they all became, or a mixture.
fn status(statuses: impl Iterator<Item = JobStatus> + Clone) -> JobStatus {
    let mut all = statuses.clone();
    if let Some(first) = all.next()
        && all.all(|status| status == first)
    {
        return first;
    }
    if statuses.clone().any(|status| !status.is_final()) {
        return JobStatus::Running;
    }
    let any_point = |status| matches!(status, JobStatus::Complete | JobStatus::PartialComplete);
    if statuses.clone().any(any_point) { JobStatus::PartialComplete } else { JobStatus::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_what_its_jobs_are() {
        for one in JobStatus::ALL {
            assert_eq!(status([one, one].into_iter()), one, "all alike");
            for other in JobStatus::ALL {
                let both = status([one, other].into_iter());
                assert_eq!(both, status([other, one].into_iter()), "order counts for nothing");
                assert_eq!(both.is_final(), one.is_final() && other.is_final(), "{one:?} and {other:?}");
            }
        }
        let mixed = status([JobStatus::Complete, JobStatus::Failed].into_iter());
        assert_eq!(mixed, JobStatus::PartialComplete);
        assert_eq!(status([JobStatus::Canceled, JobStatus::Failed].into_iter()), JobStatus::Failed);
    }
}

//! Backup jobs: started by hand, cancelled, listed.

use backup::NewBackup;
use model::{Code, Job, Refusal};
use serde_json::{Value, json};
use wire::hbr::{CancelBackupJob, CreateBackupJob, DescribeBackupJobs2, JobView, Jobs, Sort, SourceType};

use super::super::dispatch::Call;
use super::{nothing, payload, runs};

pub(crate) async fn create(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = CreateBackupJob::parse(call.params)?;
    if let Some(copy) = &asked.copy {
        call.services.regions.check(&copy.region)?;
        // Said now: a copy that is silently not made would be missed on the day it is needed.
        return Err(Refusal::new(
            Code::InvalidParameter,
            "Detail.doCopy: copies in other regions are not made yet",
        )
        .remedy("Leave doCopy out."));
    }
    let retention = policy::rules::manual_retention(asked.retention.map(|days| i64::from(days.0)))?;
    let new = NewBackup {
        instance: asked.instance,
        retention,
        name: asked.name.unwrap_or_default(),
        options: asked.options,
    };
    let job = call.services.backup.create_backup_job(call.scope.region(), new).await?;
    Ok(json!({"JobId": job}))
}

pub(crate) async fn cancel(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = CancelBackupJob::parse(call.params)?;
    call.services.backup.cancel_backup_job(asked.job).await?;
    Ok(nothing())
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribeBackupJobs2::parse(call.params)?;
    let mut views = match asked.source_type {
        SourceType::UdmEcs => of_instances(call, &asked).await?,
        SourceType::UdmEcsDisk => of_disks(call, &asked).await?,
    };
    views.retain(|view| view.matches(&asked.filters));
    if asked.sort == Sort::Ascending {
        views.reverse();
    }
    payload(&Jobs::new(&asked, asked.page.of(views)))
}

async fn of_instances(call: Call<'_>, asked: &DescribeBackupJobs2) -> Result<Vec<JobView>, Refusal> {
    let jobs = jobs(call, asked).await?;
    if let Some(id) = asked.job()
        && !jobs.iter().any(|job| job.id == id)
    {
        let run = call.services.backup.run(id).await?;
        return Ok(runs::as_job(id, &run).iter().map(JobView::from).collect());
    }
    Ok(jobs.iter().map(JobView::from).collect())
}

async fn of_disks(call: Call<'_>, asked: &DescribeBackupJobs2) -> Result<Vec<JobView>, Refusal> {
    let mut views = Vec::new();
    for job in jobs(call, asked).await? {
        if asked.job().is_some_and(|parent| parent != job.id) {
            continue;
        }
        let snapshots = call.services.backup.job_snapshots(job.id).await?;
        views.extend(snapshots.iter().map(|snapshot| JobView::child(&job, snapshot)));
    }
    Ok(views)
}

/// Newest first.
async fn jobs(call: Call<'_>, asked: &DescribeBackupJobs2) -> Result<Vec<Job>, Refusal> {
    // A filter by parent, instance or region can be about any region.
    let mut jobs = Vec::new();
    let everywhere = !asked.filters.is_empty();
    for region in call.services.regions.to_search(call.scope, everywhere) {
        jobs.extend(call.services.backup.jobs(&region).await?);
    }
    jobs.sort_by_key(|job| (std::cmp::Reverse(job.created), job.id));
    Ok(jobs)
}

//! Backup jobs: started by hand, cancelled, listed.

use backup::NewBackup;
use model::{Code, Job, Refusal};
use serde_json::{Value, json};
use wire::hbr::{CancelBackupJob, CreateBackupJob, DescribeBackupJobs2, JobView, Jobs, Sort, SourceType};

use super::super::dispatch::Call;
use super::super::services::Scope;
use super::{nothing, payload, runs};

pub(crate) async fn create(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = CreateBackupJob::parse(call.params)?;
    if let Some(copy) = &asked.copy {
        call.services.regions.check(&copy.region)?;
        // Said now: a copy that is silently not made would be missed on the day it is needed.
        return Err(Refusal::new(
            Code::NotOffered,
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
    let mut jobs = jobs(call, asked).await?;
    if let Some(id) = asked.job()
        && jobs.is_empty()
    {
        let run = call.services.backup.run(id).await?;
        jobs.extend(runs::as_job(id, &run).filter(|run| is_here(call, run)));
    }
    Ok(jobs.iter().map(JobView::from).collect())
}

async fn of_disks(call: Call<'_>, asked: &DescribeBackupJobs2) -> Result<Vec<JobView>, Refusal> {
    let mut views = Vec::new();
    for job in jobs(call, asked).await? {
        let snapshots = call.services.backup.job_snapshots(job.id).await?;
        views.extend(snapshots.iter().map(|snapshot| JobView::child(&job, snapshot)));
    }
    Ok(views)
}

/// Newest first. Clients that wait ask for one job, again and again: that must not cost a listing.
async fn jobs(call: Call<'_>, asked: &DescribeBackupJobs2) -> Result<Vec<Job>, Refusal> {
    if let Some(id) = asked.job() {
        return match call.services.backup.job(id).await {
            Ok(job) => Ok(Some(job).filter(|job| is_here(call, job)).into_iter().collect()),
            Err(refusal) if refusal.code == Code::JobNotFound => Ok(Vec::new()),
            Err(refusal) => Err(refusal),
        };
    }
    // A filter by parent, instance or region can be about any region.
    let mut jobs = Vec::new();
    let everywhere = !asked.filters.is_empty();
    for region in call.services.regions.to_search(call.scope, everywhere) {
        jobs.extend(call.services.backup.jobs(&region).await?);
    }
    jobs.sort_by_key(|job| (std::cmp::Reverse(job.created), job.id));
    Ok(jobs)
}

fn is_here(call: Call<'_>, job: &Job) -> bool {
    match call.scope {
        Scope::Named(region) => job.region == *region,
        Scope::Default(_) => true,
    }
}

//! Backup of one instance.
//!
//! | step        | touches | does                                                          | undo                                   |
//! |-------------|---------|---------------------------------------------------------------|----------------------------------------|
//! | (admit)     | catalog | the instance's only running job; job `Created`, point `Creating`; every id drawn | –                   |
//! | Snapshot    | blocks  | asks for the group under the id drawn at admission, waits for it | stop it, then delete what it made    |
//! | **Publish** | catalog | point `Available`, its expiry decided: **commit point**       | – (one transaction)                    |
//! | (rest)      | catalog | job `Complete`, `Failed` or `Canceled`; the instance released | –                                      |
//!
//! # Consistency
//! A point is seen only from Publish on, and only with a group whose manifest stands.
//!
//! # Crash consistency
//! Admission is one transaction, Publish another, the rest a third; between them the group's own
//! workflow, asked for by id, says how far it is.
//!
//! # Concurrency
//! The lease `job on <instance>`, which restores take too, from admission to rest.
//!
//! # Errors
//! What refuses the group fails the job with that refusal.
//!
//! # Cancellation
//! Heard until Publish is recorded as started.
//!
//! # Limits
//! One job an instance; the group's workflow has its own.

use std::sync::Arc;

use ::policy::retention::Keeping;
use async_trait::async_trait;
use blocks::CreateGroup;
use catalog::{Batch, Column, Lease, Query};
use journal::Outcome;
use model::{
    Code, Group, GroupId, InstanceId, Job, JobId, JobStatus, Maker, Point, PointId, PointStatus, Policy,
    Progress, Refusal, Retention, RetentionClass, SnapshotStatus, TaskId, TaskStatus, Timestamp, Trigger,
};
use serde::{Deserialize, Serialize};
use tracing::error;
use workflow::{Context, Flow, Outline, StepError, Workflow};

use super::child;
use crate::operations::job_lease;
use crate::service::Shared;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BackUpParams {
    pub(crate) job: JobId,
    pub(crate) point: PointId,
    pub(crate) group: GroupId,
    /// The task that makes the group, and the one that deletes it should it come to that.
    pub(crate) task: TaskId,
    pub(crate) cleanup: TaskId,
    pub(crate) instance: InstanceId,
}

pub(crate) struct BackUp {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: BackUpParams,
}

pub(super) const OUTLINE: Outline = Outline { kind: "BackUp", steps: STEPS, commit: PUBLISH };
const STEPS: &[&str] = &["Snapshot", "Publish"];
const SNAPSHOT: usize = 0;
const PUBLISH: usize = 1;

#[async_trait]
impl Workflow for BackUp {
    fn outline(&self) -> Outline {
        OUTLINE
    }

    async fn run(&self, step: usize, context: &Context) -> Result<Flow, StepError> {
        match step {
            SNAPSHOT => self.snapshot(context).await,
            PUBLISH => self.publish().await,
            other => unreachable!("back_up has no step {other}"),
        }
    }

    async fn undo(&self, step: usize, _: &Context) -> Result<Flow, StepError> {
        if step == SNAPSHOT { self.unmake_group().await } else { Ok(Flow::Done) }
    }

    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        let now = self.shared.clock.now();
        let partial = self.point().await?.partial;
        let (status, failure) = match outcome {
            Outcome::Completed if partial => (JobStatus::PartialComplete, None),
            Outcome::Completed => (JobStatus::Complete, None),
            Outcome::Failed(refusal) => (JobStatus::Failed, Some(refusal.clone())),
            Outcome::Canceled => {
                (JobStatus::Canceled, Some(Refusal::new(Code::JobCanceled, "cancelled on request")))
            }
        };
        let completed = *outcome == Outcome::Completed;
        let batch = Batch::new()
            .change::<Job>(&self.params.job, move |job| {
                if !job.status.may_become(status) {
                    error!(job = %job.id, from = ?job.status, to = ?status, "a job took a way that is not drawn");
                }
                job.status = status;
                job.failure = failure;
                job.completed = Some(now);
                job.updated = now;
                if completed {
                    job.progress = Progress::FULL;
                }
            })
            .change::<Point>(&self.params.point, move |point| {
                if !completed {
                    point.status = PointStatus::Failed;
                    point.updated = now;
                }
            })
            .delete::<Lease>(&job_lease(self.params.instance));
        Ok(batch)
    }
}

impl BackUp {
    async fn point(&self) -> Result<Point, StepError> {
        let found = self.shared.catalog.get::<Point>(&self.params.point).await?;
        found
            .ok_or_else(|| StepError::Failed(Refusal::new(Code::PointNotFound, "the point's record is gone")))
    }

    async fn snapshot(&self, context: &Context) -> Result<Flow, StepError> {
        let blocks = &self.shared.blocks;
        if let Some(task) = blocks.task(self.params.task).await.map_err(StepError::from_refusal)? {
            context.check()?;
            return child(&task);
        }
        context.check()?;
        let now = self.shared.clock.now();
        let begun = |job: &mut Job| {
            if job.status.may_become(JobStatus::Running) {
                job.status = JobStatus::Running;
                job.started = Some(now);
                job.updated = now;
            }
        };
        self.shared.catalog.update::<Job, _>(&self.params.job, begun).await?;
        self.shared.catalog.update::<Point, _>(&self.params.point, |point| point.started = Some(now)).await?;
        let point = self.point().await?;
        let group = CreateGroup {
            id: self.params.group,
            task: self.params.task,
            instance: self.params.instance,
            disks: point.disks.iter().map(|disk| (disk.disk, disk.snapshot)).collect(),
            name: format!("Created-from-HBR-job:{}", self.params.job),
            description: String::new(),
            made_by: Maker::Backup { job: self.params.job },
        };
        blocks.create_group(&group).await.map_err(StepError::from_refusal)?;
        Ok(Flow::Waiting)
    }

    async fn publish(&self) -> Result<Flow, StepError> {
        let blocks = &self.shared.blocks;
        let group = blocks.group(self.params.group).await.map_err(StepError::from_refusal)?;
        let snapshots = blocks.group_snapshots(group.id).await.map_err(StepError::from_refusal)?;
        let (retention, class) = self.keeping().await?;
        let now = self.shared.clock.now();
        let read = snapshots.iter().map(|snapshot| snapshot.bytes_read).sum();
        let stored = snapshots.iter().map(|snapshot| snapshot.bytes_stored).sum();
        let batch = Batch::new()
            .change::<Point>(&self.params.point, move |point| {
                if point.status.may_become(PointStatus::Available) {
                    point.retention = retention;
                    point.class = class;
                    point.bytes_stored = stored;
                    publish(point, &group, now);
                }
            })
            .change::<Job>(&self.params.job, move |job| {
                job.bytes_read = read;
                job.bytes_stored = stored;
                job.updated = now;
            });
        self.shared.catalog.write(batch).await?;
        Ok(Flow::Done)
    }

    /// How long the point is kept: as asked, or longer as the first of its week, month or year
    /// (semantics.md §6.2). Points that were not scheduled take no part.
    async fn keeping(&self) -> Result<(Retention, Option<RetentionClass>), StepError> {
        let found = self.shared.catalog.get::<Job>(&self.params.job).await?;
        let job =
            found.ok_or_else(|| StepError::Failed(Refusal::new(Code::JobNotFound, "the job is gone")))?;
        let normal = job.request.retention;
        let Trigger::Schedule { policy, .. } = job.request.trigger else {
            return Ok((Retention::Days(normal), None));
        };
        let Some(policy) = self.shared.catalog.get::<Policy>(&policy).await? else {
            return Ok((Retention::Days(normal), None));
        };
        let advanced = ::policy::rules::advanced(&policy);
        let earlier = if advanced.is_empty() { Vec::new() } else { self.earlier(&job).await? };
        let keeping = Keeping { normal, advanced };
        let zone = &self.shared.time_zone(&job.region);
        let kept = ::policy::retention::keep(job.created, &earlier, keeping, zone);
        Ok((Retention::Days(kept.days), kept.class))
    }

    /// When the instance's scheduled backups of the last year began that came to something.
    async fn earlier(&self, job: &Job) -> Result<Vec<Timestamp>, StepError> {
        let done = [JobStatus::Complete, JobStatus::PartialComplete];
        let query = Query::all()
            .eq(Column::Instance, job.instance)
            .one_of(Column::Status, done)
            .at_least(Column::Created, job.created.plus_seconds(-367 * 86_400));
        let jobs: Vec<Job> = self.shared.catalog.list(&query).await?;
        let scheduled = jobs
            .into_iter()
            .filter(|other| other.id != job.id && matches!(other.request.trigger, Trigger::Schedule { .. }));
        Ok(scheduled.map(|other| other.created).collect())
    }

    /// Stops the group if it is still being made, and deletes it if it was.
    async fn unmake_group(&self) -> Result<Flow, StepError> {
        let blocks = &self.shared.blocks;
        let Some(task) = blocks.task(self.params.task).await.map_err(StepError::from_refusal)? else {
            return Ok(Flow::Done);
        };
        match task.status {
            TaskStatus::Running => {
                blocks.cancel(task.id).await.map_err(StepError::from_refusal)?;
                Ok(Flow::Waiting)
            }
            // It undid itself; its records stay to say why.
            TaskStatus::Failed | TaskStatus::Canceled => Ok(Flow::Done),
            TaskStatus::Done => self.delete_group().await,
        }
    }

    async fn delete_group(&self) -> Result<Flow, StepError> {
        let blocks = &self.shared.blocks;
        let cleanup = self.params.cleanup;
        if let Some(task) = blocks.task(cleanup).await.map_err(StepError::from_refusal)? {
            return child(&task);
        }
        blocks.delete_group(self.params.group, cleanup).await.map_err(StepError::from_refusal)?;
        // A group that is not there leaves no task to wait for.
        let admitted = blocks.task(cleanup).await.map_err(StepError::from_refusal)?.is_some();
        Ok(if admitted { Flow::Waiting } else { Flow::Done })
    }
}

fn publish(point: &mut Point, group: &Group, now: model::Timestamp) {
    debug_assert_eq!(group.status, SnapshotStatus::Accomplished);
    point.status = PointStatus::Available;
    point.level = group.level;
    point.taken = group.taken;
    point.completed = Some(now);
    point.updated = now;
    point.expires = ::policy::retention::expiry(point.created, point.retention);
}

//! Backup jobs: admitted, listed, cancelled.

use catalog::{Batch, CatalogError, Column, Lease, Query, Record};
use model::{
    BackupRequest, BindingOptions, ByteCount, Code, ConsistencyLevel, Days, Disk, DiskPoint, Downgrade,
    Instance, InstanceId, Job, JobId, JobStatus, Point, PointStatus, Progress, Refusal, RegionId, Retention,
    Snapshot, SnapshotId, Trigger,
};

use ::policy::admission::Candidate;
use ::policy::consistency::GroupLimits;

use super::{job_lease, not_found};
use crate::Backup;
use crate::workflows::BackUpParams;

/// Retention of an instance's point, in days (semantics.md §6.1).
const RETENTION_DAYS: std::ops::RangeInclusive<u32> = 1..=65_536;

/// A manual backup as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBackup {
    pub instance: InstanceId,
    pub retention: Days,
    /// Empty means a name of ours.
    pub name: String,
    pub options: BindingOptions,
}

impl Backup {
    /// One backup, now (semantics.md §3).
    pub async fn create_backup_job(&self, _region: &RegionId, new: NewBackup) -> Result<JobId, Refusal> {
        let request = BackupRequest {
            trigger: Trigger::Manual,
            retention: new.retention,
            immutable: false,
            options: new.options,
        };
        let instance = self.shared.blocks.instance(new.instance).await?;
        self.admit_backup(&instance, request, &new.name, None, Batch::new()).await
    }

    /// Admits one backup of one instance: every id is drawn here. `records` are written with it.
    pub(crate) async fn admit_backup(
        &self,
        instance: &Instance,
        request: BackupRequest,
        name: &str,
        parent: Option<JobId>,
        records: Batch,
    ) -> Result<JobId, Refusal> {
        if !RETENTION_DAYS.contains(&request.retention.0) {
            return Err(Refusal::new(
                Code::InvalidParameter,
                format!("Retention is {} days; 1 to 65536 are allowed", request.retention.0),
            ));
        }
        let held_by = self.holder(instance.id).await?;
        let candidate = Candidate { id: instance.id, instance: Some(instance), held_by: held_by.as_deref() };
        ::policy::admission::backup(candidate)?;
        // A policy's disk that is gone makes the point partial; a disk named just now must be there.
        let selection = match request.trigger {
            Trigger::Manual => ::policy::selection::admit(instance, &request.options)?,
            Trigger::PolicyNow { .. } | Trigger::Schedule { .. } => {
                ::policy::selection::select(instance, &request.options)?
            }
        };
        let partial = selection.missing().next().is_some();
        let id: JobId = self.shared.draw();
        let job = self.new_job(id, instance, request, name, parent);
        let taken: Vec<_> = selection.taken().filter_map(|disk| instance.disk(disk)).collect();
        let disks: Vec<_> = taken.iter().map(|disk| disk_point(disk, self.shared.draw())).collect();
        let downgrade = downgrade(&taken, &job.request.options);
        let job = Job {
            snapshots: disks.iter().map(|disk| disk.snapshot).collect(),
            bytes_total: taken.iter().map(|disk| disk.size).sum(),
            ..job
        };
        let point = new_point(&job, instance, disks, downgrade, partial);
        let params = BackUpParams {
            job: id,
            point: point.id,
            group: point.group,
            task: self.shared.draw(),
            cleanup: self.shared.draw(),
            instance: instance.id,
        };
        let lease = Lease { resource: job_lease(instance.id), holder: id.to_string(), since: job.created };
        let batch = Batch::new().insert(&lease).insert(&job).insert(&point).then(records);
        match self.admit(id.to_string(), "BackUp", &params, batch).await {
            Ok(()) => Ok(id),
            Err(CatalogError::Exists { table, .. }) if table == <Lease as Record>::TABLE.name => {
                Err(::policy::admission::held(instance.id, "another backup"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The job that holds the instance, if one does.
    pub(crate) async fn holder(&self, instance: InstanceId) -> Result<Option<String>, Refusal> {
        let lease = self.shared.catalog.get::<Lease>(&job_lease(instance)).await?;
        Ok(lease.map(|lease| lease.holder))
    }

    fn new_job(
        &self,
        id: JobId,
        instance: &Instance,
        request: BackupRequest,
        name: &str,
        parent: Option<JobId>,
    ) -> Job {
        let now = self.shared.clock.now();
        Job {
            id,
            parent,
            region: instance.region.clone(),
            name: if name.is_empty() { format!("backup of {}", instance.name) } else { name.to_owned() },
            instance: instance.id,
            instance_name: instance.name.clone(),
            request,
            status: JobStatus::Created,
            progress: Progress::ZERO,
            failure: None,
            point: self.shared.draw(),
            group: self.shared.draw(),
            snapshots: Vec::new(),
            created: now,
            started: None,
            completed: None,
            updated: now,
            bytes_total: ByteCount(0),
            bytes_read: ByteCount(0),
            bytes_stored: ByteCount(0),
        }
    }

    /// Records a run that could not even begin, so that nobody has to wonder where it is.
    pub(crate) async fn record_refused(
        &self,
        instance: &Instance,
        request: BackupRequest,
        parent: Option<JobId>,
        refusal: Refusal,
        records: Batch,
    ) -> Result<JobId, Refusal> {
        let id: JobId = self.shared.draw();
        let job = self.new_job(id, instance, request, "", parent);
        let now = job.created;
        let job = Job { status: JobStatus::Failed, failure: Some(refusal), completed: Some(now), ..job };
        self.shared.catalog.write(Batch::new().insert(&job).then(records)).await?;
        Ok(id)
    }

    /// Asks a running job to stop. It yields no point unless it has committed already.
    pub async fn cancel_backup_job(&self, id: JobId) -> Result<(), Refusal> {
        let job = self.job(id).await?;
        ::policy::admission::cancel(&format!("job {id}"), job.status)?;
        let now = self.shared.clock.now();
        let changed = |job: &mut Job| {
            if job.status.may_become(JobStatus::Canceling) {
                job.status = JobStatus::Canceling;
                job.updated = now;
            }
        };
        self.shared.catalog.update::<Job, _>(&id, changed).await?;
        self.runner.cancel(&id.to_string()).await?;
        self.set_off(id.to_string());
        Ok(())
    }

    pub async fn job(&self, id: JobId) -> Result<Job, Refusal> {
        let found = self.shared.catalog.get::<Job>(&id).await?;
        let job = found.ok_or_else(|| not_found(Code::JobNotFound, "job", id))?;
        self.with_progress(job).await
    }

    /// The jobs of a region, newest first, running ones with how far they are.
    pub async fn jobs(&self, region: &RegionId) -> Result<Vec<Job>, Refusal> {
        let query = Query::all().eq(Column::Region, region).newest_first();
        let jobs: Vec<Job> = self.shared.catalog.list(&query).await?;
        let mut shown = Vec::with_capacity(jobs.len());
        for job in jobs {
            shown.push(self.with_progress(job).await?);
        }
        Ok(shown)
    }

    /// The per-disk snapshots of a job, which the wire shows as its children.
    pub async fn job_snapshots(&self, id: JobId) -> Result<Vec<Snapshot>, Refusal> {
        let job = self.job(id).await?;
        self.shared.blocks.group_snapshots(job.group).await
    }

    pub(crate) async fn with_progress(&self, mut job: Job) -> Result<Job, Refusal> {
        if job.status.is_final() {
            return Ok(job);
        }
        if let Ok(group) = self.shared.blocks.group(job.group).await
            && let Some(task) = self.shared.blocks.task(group.task).await?
        {
            job.progress = task.progress;
            job.bytes_read = task.bytes_read;
            job.bytes_stored = task.bytes_stored;
        }
        Ok(job)
    }
}

/// A disk's point carries its snapshot's bits, so that either is found by the other.
fn disk_point(disk: &Disk, snapshot: SnapshotId) -> DiskPoint {
    DiskPoint {
        id: snapshot.cast(),
        disk: disk.id,
        device: disk.device.clone(),
        system: disk.kind == model::DiskKind::System,
        snapshot,
    }
}

/// The host takes all disks of an instance at one instant, those it reads whole included, so of
/// the reasons to lower the level only these are left.
fn downgrade(disks: &[&Disk], options: &BindingOptions) -> Option<Downgrade> {
    let plan = ::policy::consistency::plan(disks, options, GroupLimits::LARGE);
    plan.downgrade.filter(|downgrade| *downgrade != Downgrade::DiskNotGrouped)
}

fn new_point(
    job: &Job,
    instance: &Instance,
    disks: Vec<DiskPoint>,
    downgrade: Option<Downgrade>,
    partial: bool,
) -> Point {
    Point {
        id: job.point,
        region: job.region.clone(),
        instance: instance.id,
        instance_name: instance.name.clone(),
        job: job.id,
        group: job.group,
        status: PointStatus::Creating,
        partial,
        disks,
        level: ConsistencyLevel::Crash,
        downgrade,
        retention: Retention::Days(job.request.retention),
        class: None,
        immutable: job.request.immutable,
        created: job.created,
        started: None,
        completed: None,
        taken: None,
        expires: None,
        updated: job.created,
        bytes_total: job.bytes_total,
        bytes_stored: ByteCount(0),
        vcpus: instance.vcpus,
        memory: instance.memory,
    }
}

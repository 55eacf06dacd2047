//! What may begin: backups, restores, cancels, and occurrences of a schedule.

use model::{
    Binding, Code, DiskId, DiskPoint, Instance, InstanceId, InstanceStatus, JobStatus, Point, PointStatus,
    Refusal, Timestamp,
};

/// What is known of an instance when something wants to begin on it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub id: InstanceId,
    /// None when its host does not have it any more: released.
    pub instance: Option<&'a Instance>,
    /// Who holds the instance: a backup, a restore. One at a time.
    pub held_by: Option<&'a str>,
}

impl<'a> Candidate<'a> {
    fn present(&self) -> Result<&'a Instance, Refusal> {
        self.instance.ok_or_else(|| {
            Refusal::new(Code::InstanceReleased, format!("instance {} has been released", self.id))
                .remedy("Its points are still there: it can be cloned from one of them.")
        })
    }

    fn free(&self) -> Result<(), Refusal> {
        self.held_by.map_or(Ok(()), |holder| Err(held(self.id, holder)))
    }
}

/// Whether a backup may start.
pub fn backup<'a>(candidate: Candidate<'a>) -> Result<&'a Instance, Refusal> {
    let instance = candidate.present()?;
    candidate.free()?;
    match instance.status {
        InstanceStatus::Running | InstanceStatus::Stopped => Ok(instance),
        // While it changes, what its disks hold is anybody's guess.
        InstanceStatus::Pending | InstanceStatus::Starting | InstanceStatus::Stopping => {
            Err(status(instance, "running or stopped"))
        }
    }
}

/// Whether a roll back may start; which disks of the point it writes. With `only`, just that disk.
/// With `force`, disks no longer attached are left out instead of refused.
pub fn roll_back<'p>(
    candidate: Candidate<'_>,
    point: &'p Point,
    only: Option<DiskId>,
    force: bool,
) -> Result<Vec<&'p DiskPoint>, Refusal> {
    usable(point)?;
    if point.instance != candidate.id {
        return Err(Refusal::new(
            Code::SnapshotMismatch,
            format!("point {} is of instance {}, not of {}", point.id, point.instance, candidate.id),
        ));
    }
    let instance = candidate.present()?;
    candidate.free()?;
    match instance.status {
        InstanceStatus::Stopped => {}
        InstanceStatus::Pending
        | InstanceStatus::Starting
        | InstanceStatus::Running
        | InstanceStatus::Stopping => return Err(status(instance, "stopped")),
    }
    let wanted = disks(point, only)?;
    let (attached, gone): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|disk| instance.disk(disk.disk).is_some());
    match gone.first() {
        Some(disk) if !force => Err(Refusal::new(
            Code::DiskNotFound,
            format!("disk {} ({}) is no longer attached to instance {}", disk.disk, disk.device, instance.id),
        )
        .remedy("Attach it again, or force the roll back to leave it out.")),
        _ if attached.is_empty() => Err(Refusal::new(
            Code::NoDisk,
            format!("no disk of point {} is attached to instance {}", point.id, instance.id),
        )),
        _ => Ok(attached),
    }
}

/// Whether a new instance may be made from a point.
pub fn clone_instance(point: &Point) -> Result<Vec<&DiskPoint>, Refusal> {
    usable(point)?;
    disks(point, None)
}

/// Whether a new disk may be made from a point's disk and attached to an instance.
pub fn clone_disk<'p>(
    target: Candidate<'_>,
    point: &'p Point,
    disk: DiskId,
) -> Result<&'p DiskPoint, Refusal> {
    usable(point)?;
    let wanted = disks(point, Some(disk))?;
    let instance = target.present()?;
    target.free()?;
    match instance.status {
        InstanceStatus::Running | InstanceStatus::Stopped => {}
        InstanceStatus::Pending | InstanceStatus::Starting | InstanceStatus::Stopping => {
            return Err(status(instance, "running or stopped"));
        }
    }
    wanted.first().copied().ok_or_else(|| no_such_disk(point, disk))
}

fn usable(point: &Point) -> Result<(), Refusal> {
    match point.status {
        PointStatus::Available => Ok(()),
        PointStatus::Unusable => Err(Refusal::new(
            Code::PointUnusable,
            format!("point {} cannot be used: a snapshot of it is missing", point.id),
        )),
        PointStatus::Creating => {
            Err(Refusal::new(Code::SnapshotNotReady, format!("point {} is still being made", point.id)))
        }
        PointStatus::Failed | PointStatus::Deleting | PointStatus::Deleted => {
            Err(Refusal::new(Code::PointNotFound, format!("there is no point {}", point.id)))
        }
    }
}

/// One disk of a point, or all of them if an instance can be made of those.
fn disks(point: &Point, only: Option<DiskId>) -> Result<Vec<&DiskPoint>, Refusal> {
    match only {
        Some(only) => match point.disks.iter().find(|disk| disk.disk == only) {
            Some(disk) => Ok(vec![disk]),
            None => Err(no_such_disk(point, only)),
        },
        None if point.disks.iter().any(|disk| disk.system) => Ok(point.disks.iter().collect()),
        None => Err(Refusal::new(
            Code::PointUnusable,
            format!("point {} has no system disk, so only its disks can be restored, one by one", point.id),
        )),
    }
}

fn no_such_disk(point: &Point, disk: DiskId) -> Refusal {
    Refusal::new(Code::SnapshotMismatch, format!("point {} has no disk {disk}", point.id))
}

fn status(instance: &Instance, wanted: &str) -> Refusal {
    let is = match instance.status {
        InstanceStatus::Pending => "pending",
        InstanceStatus::Starting => "starting",
        InstanceStatus::Running => "running",
        InstanceStatus::Stopping => "stopping",
        InstanceStatus::Stopped => "stopped",
    };
    Refusal::new(Code::InstanceStatus, format!("instance {} is {is}, and has to be {wanted}", instance.id))
}

/// What a cancel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    Ask,
    /// It has been asked for already.
    Asked,
}

/// Whether a job or restore may be cancelled. `what` names it: `job job-…`.
pub fn cancel(what: &str, status: JobStatus) -> Result<Cancel, Refusal> {
    match status {
        JobStatus::Created | JobStatus::Queued | JobStatus::Running => Ok(Cancel::Ask),
        JobStatus::Canceling => Ok(Cancel::Asked),
        JobStatus::Canceled
        | JobStatus::Complete
        | JobStatus::PartialComplete
        | JobStatus::Failed
        | JobStatus::Expired => {
            Err(Refusal::new(Code::JobFinished, format!("{what} has ended already and cannot be cancelled")))
        }
    }
}

/// A due time of a binding, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    pub due: Timestamp,
    pub verdict: OccurrenceVerdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OccurrenceVerdict {
    Run,
    Skip(Skipped),
}

/// Why a due time passes without a run. It is not made up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    Suspended,
    Released,
    /// The instance is held: by the last run, a manual backup or a restore.
    StillRunning,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Suspended => "the binding is suspended",
            Self::Released => "the instance has been released",
            Self::StillRunning => "the instance is still held by an earlier job",
        })
    }
}

/// What becomes of a due time.
pub const fn occurrence(binding: &Binding, candidate: Candidate<'_>, due: Timestamp) -> Occurrence {
    let verdict = if binding.disabled {
        OccurrenceVerdict::Skip(Skipped::Suspended)
    } else if candidate.instance.is_none() {
        OccurrenceVerdict::Skip(Skipped::Released)
    } else if candidate.held_by.is_some() {
        OccurrenceVerdict::Skip(Skipped::StillRunning)
    } else {
        OccurrenceVerdict::Run
    };
    Occurrence { due, verdict }
}

/// Whether a binding may be run now, by hand.
pub fn run_now(binding: &Binding) -> Result<(), Refusal> {
    if binding.disabled {
        return Err(Refusal::new(
            Code::PlanSuspended,
            format!("the protection of instance {} is suspended", binding.instance),
        )
        .remedy("Enable it again, and run it then."));
    }
    Ok(())
}

/// The refusal of whoever comes late to an instance, or loses the race for it.
pub fn held(instance: InstanceId, holder: &str) -> Refusal {
    Refusal::new(Code::JobRunning, format!("instance {instance} is held by {holder}"))
        .remedy("Wait until that is done, or cancel it.")
}

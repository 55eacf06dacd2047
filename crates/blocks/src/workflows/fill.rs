//! Prepared disks: made empty, filled from snapshots, thrown away if it comes to that.
//!
//! Shared by roll back, clone and new disk. The host's names of the disks are kept on the task, so
//! that a disk filled before a restart is found again and not filled twice.

use std::sync::Arc;

use catalog::{Batch, CatalogError, Setting};
use depot::{Moved, RestoreDisk};
use format::{DiskManifest, GroupManifest};
use host::{DiskTarget, Host, HostError, PreparedDisk};
use model::{Code, GroupId, Refusal, RegionId, SnapshotId, Task, TaskId};
use workflow::{Context, StepError};

use super::{depot_error, host_error};
use crate::service::{Shared, TaskMoved};

/// One disk to fill: what with, and where it goes.
pub(super) struct Filling {
    pub(super) entry: DiskManifest,
    pub(super) target: DiskTarget,
}

/// The manifest of a group, which says what its disks hold.
pub(super) async fn manifest(
    shared: &Shared,
    region: &RegionId,
    group: GroupId,
) -> Result<GroupManifest, StepError> {
    let found = shared.region(region)?.depot.group(group).await.map_err(depot_error)?;
    found.ok_or_else(|| {
        StepError::Failed(
            Refusal::new(Code::PointUnusable, format!("snapshot group {group} is not in the depot any more"))
                .remedy("Choose another point."),
        )
    })
}

/// What a group's manifest says of one snapshot.
pub(super) fn entry(manifest: &GroupManifest, snapshot: SnapshotId) -> Result<DiskManifest, StepError> {
    let group = manifest.group;
    manifest.disks.iter().find(|disk| disk.snapshot == snapshot).cloned().ok_or_else(|| {
        StepError::Failed(Refusal::new(
            Code::PointUnusable,
            format!("group {group} does not hold {snapshot}"),
        ))
    })
}

/// Prepares and fills all disks, and keeps their names on the task.
pub(super) async fn fill(
    shared: &Arc<Shared>,
    region: &RegionId,
    host: &dyn Host,
    task: TaskId,
    fillings: &[Filling],
    context: &Context,
) -> Result<(), StepError> {
    let mut moved = TaskMoved {
        total: fillings.iter().map(|filling| filling.entry.tree.size).sum(),
        ..TaskMoved::default()
    };
    let mut handles = Vec::new();
    for filling in fillings {
        context.check()?;
        let disk = host.prepare(task, &filling.target).await.map_err(host_error)?;
        let writer = host.writer(&disk).await.map_err(host_error)?;
        let counting = Arc::clone(shared);
        let before = moved;
        let progress = move |now: Moved| {
            counting.set_moved(task, TaskMoved { done: before.done + now.position, ..before });
        };
        let job = RestoreDisk {
            tree: filling.entry.tree,
            writer: Arc::clone(&writer),
            progress: Arc::new(progress),
            cancel: context.interrupted.clone(),
        };
        shared.region(region)?.depot.restore_disk(job).await.map_err(depot_error)?;
        writer.finish().await.map_err(host_error)?;
        moved.done += filling.entry.tree.size;
        shared.set_moved(task, moved);
        handles.push(disk.handle().to_owned());
    }
    shared.catalog.update::<Task, _>(&task, |task| task.prepared = handles).await?;
    Ok(())
}

/// The disks that `fill` prepared, in the order of their targets.
pub(super) async fn prepared(
    shared: &Shared,
    task: TaskId,
    targets: &[DiskTarget],
) -> Result<Vec<PreparedDisk>, StepError> {
    let record = shared.catalog.get::<Task>(&task).await?;
    let handles = record.map(|record| record.prepared).unwrap_or_default();
    if handles.len() != targets.len() {
        return Err(StepError::Failed(Refusal::new(
            Code::Internal,
            "the prepared disks are not known any more",
        )));
    }
    Ok(targets
        .iter()
        .zip(handles)
        .map(|(target, handle)| PreparedDisk::new(task, target.clone(), handle))
        .collect())
}

/// Notes that the commit is about to be tried, and says whether it may have been tried before: then
/// a host that refuses has not proved that nothing happened.
pub(super) async fn begin_commit(shared: &Shared, task: TaskId) -> Result<bool, StepError> {
    let mark = Setting { name: commit_mark(task), value: String::new() };
    match shared.catalog.write(Batch::new().insert(&mark)).await {
        Ok(()) => Ok(false),
        Err(CatalogError::Exists { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The setting that says so; the task's rest removes it.
pub(super) fn commit_mark(task: TaskId) -> String {
    format!("commit of {task} tried")
}

/// What a host's error means for a step that puts prepared disks to use.
pub(super) fn commit_error(error: HostError, tried_before: bool) -> StepError {
    match error {
        // Gone with all its disks: nothing is left half done.
        HostError::NoInstance => host_error(error),
        // Looked at before the first disk is touched.
        HostError::State { .. }
        | HostError::NoDisk(_)
        | HostError::Unsupported(_)
        | HostError::Busy(_)
        | HostError::Lost(_)
            if !tried_before =>
        {
            host_error(error)
        }
        other => StepError::Again(other.into()),
    }
}

pub(super) async fn discard(host: &dyn Host, task: TaskId, targets: &[DiskTarget]) -> Result<(), StepError> {
    for target in targets {
        host.discard(task, target).await.map_err(host_error)?;
    }
    Ok(())
}

/// Starts the instance. The disks are in place whatever comes of it, so a refusal is noted on the
/// task and does not undo them.
pub(super) async fn start(
    shared: &Shared,
    host: &dyn Host,
    task: TaskId,
    instance: model::InstanceId,
) -> Result<(), StepError> {
    let Err(error) = host.start(instance).await else { return Ok(()) };
    if error.is_transient() {
        return Err(host_error(error));
    }
    let mut refusal = Refusal::from(error);
    refusal.message = format!("the disks are restored, but the instance does not start: {}", refusal.message);
    shared.catalog.update::<Task, _>(&task, |task| task.failure = Some(refusal)).await?;
    Ok(())
}

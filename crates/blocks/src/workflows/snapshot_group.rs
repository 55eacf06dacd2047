//! Snapshots of some disks of one instance, at one instant.
//!
//! | step     | touches       | does                                                           | undo                                  |
//! |----------|---------------|----------------------------------------------------------------|---------------------------------------|
//! | (admit)  | catalog       | lease on the disks; group and snapshots `Progressing`          | –                                     |
//! | Mark     | host          | every disk as it is at one instant; tracking of changes begins | end the session, drop its checkpoint  |
//! | Copy     | host, depot   | what changed since the base becomes chunks, disk after disk    | – (unreferenced packs are collected)  |
//! | **Seal** | depot         | writes the manifest: **commit point**                          | removes what a store may have kept of it |
//! | Settle   | host          | ends the session; its checkpoint is the base of the next       | not undone                            |
//! | (rest)   | catalog       | group and snapshots `Accomplished` or `Failed`; lease given back | –                                   |
//!
//! # Consistency
//! The group exists if and only if its manifest does. Readers of the catalog see it `Progressing`
//! until the rest, which may lag behind the manifest by a restart.
//!
//! # Crash consistency
//! What Mark and Copy learnt (spec, instant, roots of the trees) is kept on the group and its
//! snapshots before the step is recorded as done. A crash in Copy costs reading again, and no upload
//! of what had been sealed into packs and is still known.
//!
//! # Concurrency
//! The lease on the instance's disks: one such workflow, reset or clone an instance at a time.
//!
//! # Errors
//! A host that is unreachable is asked again for a while. A session that is lost fails the group.
//!
//! # Cancellation
//! Heard until Seal has started. Copy stops between two reads.
//!
//! # Limits
//! Memory is the depot's; a group has as many disks as the host lets one transaction have.
//!
//! When the host cannot be reached at Settle, or when Mark is undone, the session is left to the
//! reconciler `settle_groups`: the group is not `settled` until a host has said so.

use std::sync::Arc;

use async_trait::async_trait;
use catalog::{Batch, Column, Query};
use depot::{Moved, WriteDisk};
use format::{BaseSnapshot, DiskManifest, GroupManifest, TreeRef};
use host::{Fate, Host, HostError, Mark, MarkDisk, Marked, Tracking};
use journal::Outcome;
use model::{
    Code, DiskId, Group, GroupId, HostId, InstanceId, Maker, Progress, Refusal, RegionId, Snapshot,
    SnapshotId, SnapshotStatus, TaskId,
};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use workflow::{Context, Flow, Outline, StepError, Workflow};

use super::{depot_error, end_task, host_error};
use crate::reconcilers::settle_instance;
use crate::service::{Shared, TaskMoved};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SnapshotGroupParams {
    pub(crate) task: TaskId,
    pub(crate) group: GroupId,
    pub(crate) region: RegionId,
    pub(crate) host: HostId,
    pub(crate) instance: InstanceId,
    pub(crate) disks: Vec<(DiskId, SnapshotId)>,
}

pub(crate) struct SnapshotGroup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: SnapshotGroupParams,
}

pub(super) const OUTLINE: Outline = Outline { kind: "SnapshotGroup", steps: STEPS, commit: SEAL };
const STEPS: &[&str] = &["Mark", "Copy", "Seal", "Settle"];
const MARK: usize = 0;
const COPY: usize = 1;
const SEAL: usize = 2;
const SETTLE: usize = 3;

#[async_trait]
impl Workflow for SnapshotGroup {
    fn outline(&self) -> Outline {
        OUTLINE
    }

    async fn run(&self, step: usize, context: &Context) -> Result<Flow, StepError> {
        match step {
            MARK => self.mark().await?,
            COPY => self.copy(context).await?,
            SEAL => self.seal().await?,
            SETTLE => self.close_session(Fate::Keep).await?,
            other => unreachable!("snapshot_group has no step {other}"),
        }
        Ok(Flow::Done)
    }

    async fn undo(&self, step: usize, _: &Context) -> Result<Flow, StepError> {
        match step {
            MARK => self.close_session(Fate::Drop).await?,
            // The log says the group was not sealed; a manifest that lands after all must not say
            // otherwise.
            SEAL => {
                let depot = &self.shared.region(&self.params.region)?.depot;
                depot.delete_group(self.params.group).await.map_err(depot_error)?;
            }
            _ => {}
        }
        Ok(Flow::Done)
    }

    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        let now = self.shared.clock.now();
        let (status, failure) = match outcome {
            Outcome::Completed => (SnapshotStatus::Accomplished, None),
            Outcome::Failed(refusal) => (SnapshotStatus::Failed, Some(refusal.clone())),
            Outcome::Canceled => {
                (SnapshotStatus::Failed, Some(Refusal::new(Code::JobCanceled, "cancelled on request")))
            }
        };
        let mut batch = Batch::new().change::<Group>(&self.params.group, move |group| {
            group.status = status;
            group.completed = Some(now);
            group.failure = failure;
        });
        for (_, snapshot) in &self.params.disks {
            batch = batch.change::<Snapshot>(snapshot, move |snapshot| {
                snapshot.status = status;
                snapshot.completed = Some(now);
                if status == SnapshotStatus::Accomplished {
                    snapshot.progress = Progress::FULL;
                }
            });
        }
        Ok(batch.then(end_task(&self.shared, self.params.task, Some(self.params.instance), outcome)))
    }
}

impl SnapshotGroup {
    fn host(&self) -> Result<Arc<dyn Host>, StepError> {
        Ok(self.shared.host(&self.params.region, self.params.host)?)
    }

    async fn group(&self) -> Result<Group, StepError> {
        let found = self.shared.catalog.get::<Group>(&self.params.group).await?;
        found
            .ok_or_else(|| StepError::Failed(Refusal::new(Code::GroupNotFound, "the group's record is gone")))
    }

    async fn snapshot(&self, id: SnapshotId) -> Result<Snapshot, StepError> {
        let found = self.shared.catalog.get::<Snapshot>(&id).await?;
        found.ok_or_else(|| StepError::Failed(Refusal::new(Code::SnapshotNotFound, format!("{id} is gone"))))
    }

    async fn mark(&self) -> Result<(), StepError> {
        let host = self.host()?;
        let group = self.group().await?;
        // Kept before the call: should the call be all that a crash lets happen, the group still
        // knows an instant no later than its own.
        let first = group.taken.is_none();
        if first {
            let before = self.shared.clock.now();
            self.shared.catalog.update::<Group, _>(&group.id, |group| group.taken = Some(before)).await?;
        }
        // A session left open while the host was away would be in the way of this one.
        settle_instance(&self.shared, self.params.instance).await?;
        let mark = Mark {
            instance: self.params.instance,
            group: self.params.group,
            disks: self.bases(&*host).await?,
        };
        let marked = host.mark(&mark).await.map_err(host_error)?;
        info!(
            group = %group.id, instance = %self.params.instance, disks = marked.disks.len(),
            held_us = u64::try_from(marked.held.as_micros()).unwrap_or(u64::MAX), "disks marked"
        );
        self.keep_marked(marked, first).await
    }

    /// For each disk the newest group whose checkpoint the instance still carries and whose
    /// snapshot of that disk is whole.
    async fn bases(&self, host: &dyn Host) -> Result<Vec<MarkDisk>, StepError> {
        let marks = host.marks(self.params.instance).await.map_err(host_error)?;
        let mut disks: Vec<_> =
            self.params.disks.iter().map(|(disk, _)| MarkDisk { disk: *disk, since: None }).collect();
        for group in marks.into_iter().rev().filter(|group| *group != self.params.group) {
            let query =
                Query::all().eq(Column::Group, group).eq(Column::Status, SnapshotStatus::Accomplished);
            let snapshots: Vec<Snapshot> = self.shared.catalog.list(&query).await?;
            for disk in &mut disks {
                if disk.since.is_none() && snapshots.iter().any(|snapshot| snapshot.disk == disk.disk) {
                    disk.since = Some(group);
                }
            }
        }
        Ok(disks)
    }

    async fn keep_marked(&self, marked: Marked, first: bool) -> Result<(), StepError> {
        let now = self.shared.clock.now();
        let held_us = u64::try_from(marked.held.as_micros()).unwrap_or(u64::MAX);
        let spec = marked.spec;
        let mut batch = Batch::new().change::<Group>(&self.params.group, move |group| {
            group.spec = Some(spec);
            // Asked a second time, the host answers about an instant that has passed.
            if first {
                group.taken = Some(now);
                group.held_us = Some(held_us);
            }
        });
        for disk in marked.disks {
            let Some((_, id)) = self.params.disks.iter().find(|(wanted, _)| *wanted == disk.disk) else {
                continue;
            };
            let (base, full_because) = match disk.tracking {
                Tracking::Since(group) => (self.snapshot_of(group, disk.disk).await?, None),
                Tracking::Whole { because } => (None, Some(because)),
            };
            batch = batch.change::<Snapshot>(id, move |snapshot| {
                snapshot.disk_size = disk.size;
                snapshot.base = base;
                snapshot.full_because = full_because;
            });
        }
        Ok(self.shared.catalog.write(batch).await?)
    }

    async fn snapshot_of(&self, group: GroupId, disk: DiskId) -> Result<Option<SnapshotId>, StepError> {
        let snapshots: Vec<Snapshot> =
            self.shared.catalog.list(&Query::all().eq(Column::Group, group)).await?;
        Ok(snapshots.into_iter().find(|snapshot| snapshot.disk == disk).map(|snapshot| snapshot.id))
    }

    async fn copy(&self, context: &Context) -> Result<(), StepError> {
        let mut snapshots = Vec::new();
        for (_, id) in &self.params.disks {
            snapshots.push(self.snapshot(*id).await?);
        }
        let mut moved =
            TaskMoved { total: snapshots.iter().map(|s| s.disk_size.0).sum(), ..TaskMoved::default() };
        for snapshot in snapshots {
            context.check()?;
            if snapshot.root.is_none() {
                self.copy_disk(&snapshot, moved, context).await?;
            }
            // The next disk counts on from here, whatever this one's size turned out to cost.
            let written = self.snapshot(snapshot.id).await?;
            moved.done += written.disk_size.0;
            moved.read += written.bytes_read.0;
            moved.stored += written.bytes_stored.0;
            self.shared.set_moved(self.params.task, moved);
        }
        Ok(())
    }

    async fn copy_disk(
        &self,
        snapshot: &Snapshot,
        before: TaskMoved,
        context: &Context,
    ) -> Result<(), StepError> {
        let reader = self
            .host()?
            .reader(self.params.instance, self.params.group, snapshot.disk)
            .await
            .map_err(host_error)?;
        let base = self.base_tree(snapshot).await?;
        let shared = Arc::clone(&self.shared);
        let task = self.params.task;
        let progress = move |now: Moved| {
            let moved =
                TaskMoved { done: before.done + now.position, read: before.read + now.bytes.0, ..before };
            shared.set_moved(task, moved);
        };
        let job = WriteDisk {
            reader,
            changed_only: base.as_ref().is_some_and(|base| base.exact),
            base: base.map(|base| base.tree),
            progress: Arc::new(progress),
            cancel: context.interrupted.clone(),
        };
        let depot = &self.shared.region(&self.params.region)?.depot;
        let written = depot.write_disk(job).await.map_err(depot_error)?;
        let root = written.tree.to_string();
        self.shared
            .catalog
            .update::<Snapshot, _>(&snapshot.id, |snapshot| {
                snapshot.root = Some(root);
                snapshot.bytes_read = written.bytes_read;
                snapshot.bytes_stored = written.bytes_stored;
            })
            .await?;
        Ok(())
    }

    /// The tree to compare with: the host's base when it could tell what changed, else the newest
    /// snapshot of the disk, which saves uploads though not reads. The depot is asked, not the
    /// catalog: a tree counts only while its manifest stands.
    async fn base_tree(&self, snapshot: &Snapshot) -> Result<Option<Base>, StepError> {
        let exact = snapshot.base.is_some();
        let candidate = match snapshot.base {
            Some(base) => self.shared.catalog.get::<Snapshot>(&base).await?,
            None => {
                let query = Query::all()
                    .eq(Column::Disk, snapshot.disk)
                    .eq(Column::Status, SnapshotStatus::Accomplished)
                    .newest_first()
                    .limit(1);
                self.shared.catalog.list::<Snapshot>(&query).await?.pop()
            }
        };
        let Some(candidate) = candidate else { return Ok(None) };
        let depot = &self.shared.region(&self.params.region)?.depot;
        let manifest = match depot.group(candidate.group).await {
            Ok(manifest) => manifest,
            Err(error) if error.is_transient() => return Err(depot_error(error)),
            Err(error) => {
                // A damaged base must not stop new points from being made: read it all instead.
                warn!(group = %candidate.group, %error, "base not used");
                None
            }
        };
        let entry = manifest
            .and_then(|manifest| manifest.disks.into_iter().find(|disk| disk.snapshot == candidate.id));
        Ok(entry.map(|entry| Base { tree: entry.tree, exact }))
    }

    async fn seal(&self) -> Result<(), StepError> {
        let depot = &self.shared.region(&self.params.region)?.depot;
        // Written before a restart, it counts as it stands: a base deleted since would make another.
        let manifest = match depot.group(self.params.group).await.map_err(depot_error)? {
            Some(manifest) => manifest,
            None => self.manifest().await?,
        };
        depot.seal_group(&manifest).await.map_err(depot_error)
    }

    /// Built from what Mark and Copy kept.
    async fn manifest(&self) -> Result<GroupManifest, StepError> {
        let group = self.group().await?;
        let missing =
            |what: &str| StepError::Failed(Refusal::new(Code::Internal, format!("{what} is missing")));
        let mut disks = Vec::new();
        for (_, id) in &self.params.disks {
            let snapshot = self.snapshot(*id).await?;
            let root = snapshot.root.as_deref().ok_or_else(|| missing("a disk's tree"))?;
            let tree: TreeRef = root.parse().map_err(|_| missing("a disk's readable tree"))?;
            let base = match snapshot.base {
                Some(base) => self.base_of(base).await?,
                None => None,
            };
            disks.push(DiskManifest {
                snapshot: snapshot.id,
                disk: snapshot.disk,
                device: snapshot.device,
                kind: snapshot.disk_kind,
                encrypted: snapshot.encrypted,
                tracked: snapshot.tracked,
                tree,
                bytes_read: snapshot.bytes_read,
                bytes_stored: snapshot.bytes_stored,
                base,
                origin: None,
            });
        }
        Ok(GroupManifest {
            group: group.id,
            instance: group.instance,
            uuid: group.source.uuid,
            instance_name: group.source.name,
            region: group.region,
            zone: group.source.zone,
            taken: group.taken.ok_or_else(|| missing("the instant"))?,
            level: group.level,
            spec: group.spec.ok_or_else(|| missing("the instance's shape"))?,
            os: group.source.os,
            vcpus: group.source.vcpus,
            memory: group.source.memory,
            disks,
            labels: labels(group.name, group.description, group.made_by),
        })
    }

    async fn base_of(&self, id: SnapshotId) -> Result<Option<BaseSnapshot>, StepError> {
        let base = self.shared.catalog.get::<Snapshot>(&id).await?;
        Ok(base.map(|base| BaseSnapshot { group: base.group, snapshot: base.id }))
    }

    async fn close_session(&self, fate: Fate) -> Result<(), StepError> {
        close_session(
            &self.shared,
            &self.params.region,
            self.params.host,
            self.params.instance,
            self.params.group,
            fate,
        )
        .await
    }
}

/// What a lost catalog would want back.
fn labels(name: String, description: String, made_by: Maker) -> Vec<(String, String)> {
    let mut labels = vec![("name".to_owned(), name), ("description".to_owned(), description)];
    if let Maker::Backup { job } = made_by {
        labels.push(("job".to_owned(), job.to_string()));
    }
    labels
}

struct Base {
    tree: TreeRef,
    /// The host tells exactly what changed since it.
    exact: bool,
}

/// Ends a group's session on its host, or leaves that to the reconciler when the host is away.
pub(crate) async fn close_session(
    shared: &Shared,
    region: &RegionId,
    host: HostId,
    instance: InstanceId,
    group: GroupId,
    fate: Fate,
) -> Result<(), StepError> {
    let closed = match shared.host(region, host) {
        Ok(host) => host.unmark(instance, group, fate).await,
        Err(refusal) => Err(HostError::Unreachable(refusal.message)),
    };
    match closed {
        Ok(()) => {
            shared.catalog.update::<Group, _>(&group, |group| group.settled = true).await?;
            Ok(())
        }
        Err(HostError::Unreachable(why)) => {
            warn!(%group, %instance, why, "host away: its session will be closed when it is back");
            Ok(())
        }
        Err(error) => Err(host_error(error)),
    }
}

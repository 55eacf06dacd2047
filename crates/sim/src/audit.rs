//! What must hold, each with its auditor.
//!
//! Some hold always and are watched after every decision ([`World::observe`]); the rest hold
//! whenever everything is at rest ([`World::audit`]). The depot is read through a handle of its own,
//! below all faults, so that looking changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use catalog::{Lease, Query, Record};
use model::{
    DiskCapability, Extent, Group, GroupId, InstanceId, Job, JobId, JobStatus, Point, PointId, PointStatus,
    Restore, RestoreId, Snapshot, SnapshotStatus, Task, TaskStatus, Timestamp,
};

use crate::World;
use crate::world::{Stuck, stuck};

macro_rules! invariants {
    ($($name:ident = $sentence:literal;)*) => {
        /// What is checked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $(#[doc = $sentence] $name,)*
        }

        impl Invariant {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                }
            }
        }
    };
}

invariants! {
    NoSessionLeft = "At rest no host has a session of ours open.";
    NothingPaused = "At rest no instance is held still by us.";
    NoPreparedDiskLeft = "At rest no host carries a prepared disk that nobody uses.";
    CheckpointsBelong = "Every checkpoint on a host is of an accomplished group, one an instance.";
    GroupIffManifest = "At rest a group is accomplished if and only if its manifest exists.";
    PointsRestore = "Every available point restores byte for byte what its disks held at the mark.";
    PointsAreWhole = "A visible point is complete: available, with its time and expiry, its group accomplished.";
    SnapshotsAccomplished = "All snapshots of an available point are there and accomplished.";
    NothingOfFailedJobs = "A failed or cancelled job left no manifest and no visible point.";
    JobsEnd = "At rest every job, restore and task has ended.";
    OneJobAnInstance = "An instance has at most one running job.";
    LeasesGivenBack = "At rest no lease is held.";
    ExpiryOnlyGrows = "The expiry of a point never decreases.";
    DeletionHides = "A deleted point is invisible at once, and gone at rest with its group.";
    NoLocalDisks = "Disks that cannot be snapshotted are in no job.";
    StatusesAsDrawn = "Jobs, restores and points change their status only along the drawn transitions.";
    StoppedToRollBack = "Nothing replaces the disks of an instance that is not stopped.";
    OneBinding = "An instance has at most one policy.";
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}) {}", self.invariant, self.invariant.sentence(), self.what)
    }
}

/// What auditors remember from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    jobs: BTreeMap<JobId, JobStatus>,
    restores: BTreeMap<RestoreId, JobStatus>,
    points: BTreeMap<PointId, (PointStatus, Option<Timestamp>)>,
    /// What was seen in passing, to be told at the next audit.
    found: Vec<Violation>,
}

/// Findings, gathered.
#[derive(Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn unless(&mut self, holds: bool, invariant: Invariant, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation { invariant, what: what() });
        }
    }
}

/// What the catalog says, in one piece.
struct Records {
    groups: Vec<Group>,
    snapshots: Vec<Snapshot>,
    points: Vec<Point>,
    jobs: Vec<Job>,
    restores: Vec<Restore>,
    tasks: Vec<Task>,
    leases: Vec<Lease>,
    bindings: Vec<model::Binding>,
}

impl World {
    /// Watches what must hold at any moment.
    pub async fn observe(&mut self) -> Result<(), Stuck> {
        let jobs: Vec<Job> = self.all().await?;
        let restores: Vec<Restore> = self.all().await?;
        let points: Vec<Point> = self.all().await?;
        let mut findings = Findings::default();
        let mut running: BTreeMap<InstanceId, u32> = BTreeMap::new();
        for job in &jobs {
            *running.entry(job.instance).or_default() += u32::from(!job.status.is_final());
            let before = self.memory.jobs.insert(job.id, job.status);
            let drawn = before.is_none_or(|before| reaches(before, job.status));
            findings.unless(drawn, Invariant::StatusesAsDrawn, || moved(job.id, before, job.status));
        }
        for (instance, count) in running {
            findings.unless(count <= 1, Invariant::OneJobAnInstance, || format!("{instance} has {count}"));
        }
        for restore in &restores {
            let before = self.memory.restores.insert(restore.id, restore.status);
            let drawn = before.is_none_or(|before| reaches(before, restore.status));
            findings.unless(drawn, Invariant::StatusesAsDrawn, || moved(restore.id, before, restore.status));
        }
        for point in &points {
            self.watch_point(point, &mut findings);
        }
        self.memory.found.append(&mut findings.0);
        Ok(())
    }

    fn watch_point(&mut self, point: &Point, findings: &mut Findings) {
        let before = self.memory.points.insert(point.id, (point.status, point.expires));
        let Some((status, expires)) = before else { return };
        let drawn = status == point.status
            || status.may_become(point.status)
            // Two in one look.
            || (status == PointStatus::Available && point.status == PointStatus::Deleted);
        findings.unless(drawn, Invariant::StatusesAsDrawn, || moved(point.id, Some(status), point.status));
        // None is never, once there was an expiry.
        let grows = expires.is_none_or(|before| point.expires.is_none_or(|now| now >= before));
        findings.unless(grows, Invariant::ExpiryOnlyGrows, || {
            format!("{} went from {expires:?} to {:?}", point.id, point.expires)
        });
    }

    /// Checks everything. To be called when all is at rest; faults are not touched.
    pub async fn audit(&mut self) -> Result<Vec<Violation>, Stuck> {
        self.observe().await?;
        self.reopen_depot().await?;
        let records = Records {
            groups: self.all().await?,
            snapshots: self.all().await?,
            points: self.all().await?,
            jobs: self.all().await?,
            restores: self.all().await?,
            tasks: self.all().await?,
            leases: self.all().await?,
            bindings: self.all().await?,
        };
        let mut findings = Findings(std::mem::take(&mut self.memory.found));
        let manifests: BTreeSet<GroupId> =
            self.depot.groups().await.map_err(stuck("list the depot's groups"))?.into_iter().collect();
        self.audit_hosts(&records, &mut findings);
        audit_ends(&records, &mut findings);
        audit_groups(&records, &manifests, &mut findings);
        audit_points(&records, &manifests, &mut findings);
        self.audit_visible(&records, &mut findings).await?;
        for point in records.points.iter().filter(|point| point.status == PointStatus::Available) {
            self.audit_bytes(point, &mut findings).await;
        }
        Ok(findings.0)
    }

    fn audit_hosts(&self, records: &Records, findings: &mut Findings) {
        let left = self.host.leftovers();
        for session in &left.sessions {
            findings.unless(false, Invariant::NoSessionLeft, || format!("{session:?}"));
        }
        for paused in &left.paused {
            findings.unless(false, Invariant::NothingPaused, || paused.to_string());
        }
        for disk in &left.prepared {
            findings.unless(false, Invariant::NoPreparedDiskLeft, || disk.handle().to_owned());
        }
        let mut carrying: BTreeMap<InstanceId, u32> = BTreeMap::new();
        for (instance, id) in &left.checkpoints {
            let group = records.groups.iter().find(|group| group.id == *id);
            let status = group.map(|group| group.status);
            let belongs = status == Some(SnapshotStatus::Accomplished);
            findings.unless(belongs, Invariant::CheckpointsBelong, || format!("{id} is {status:?}"));
            let count = carrying.entry(*instance).or_default();
            *count += 1;
            findings.unless(*count == 1, Invariant::CheckpointsBelong, || format!("{instance} has several"));
        }
        for outrage in &self.watched.notes().outrages {
            findings.unless(false, Invariant::StoppedToRollBack, || outrage.clone());
        }
    }

    /// What users are shown, through the operation that shows it.
    async fn audit_visible(&self, records: &Records, findings: &mut Findings) -> Result<(), Stuck> {
        let shown = self.backup().points(&self.region).await.map_err(crate::world::refused("list points"))?;
        for (point, snapshots) in &shown {
            let group = records.groups.iter().find(|group| group.id == point.group);
            let whole = point.status == PointStatus::Available
                && point.completed.is_some()
                && point.taken.is_some()
                && point.expires.is_some()
                && group.is_some_and(|group| group.status == SnapshotStatus::Accomplished);
            findings.unless(whole, Invariant::PointsAreWhole, || format!("{} {:?}", point.id, point.status));
            let sound = snapshots.len() == point.disks.len()
                && snapshots.iter().all(|snapshot| snapshot.status == SnapshotStatus::Accomplished);
            findings.unless(sound, Invariant::SnapshotsAccomplished, || point.id.to_string());
        }
        let gone = |point: &&Point| matches!(point.status, PointStatus::Deleting | PointStatus::Deleted);
        for point in records.points.iter().filter(gone) {
            let hidden = shown.iter().all(|(visible, _)| visible.id != point.id);
            findings.unless(hidden, Invariant::DeletionHides, || format!("{} is shown", point.id));
        }
        Ok(())
    }

    async fn audit_bytes(&self, point: &Point, findings: &mut Findings) {
        let wrong = match self.expected(point.group) {
            None => Some("nobody saw its mark".to_owned()),
            Some(expected) => self.compare(point, &expected).await.err(),
        };
        findings.unless(wrong.is_none(), Invariant::PointsRestore, || {
            format!("{}: {}", point.id, wrong.unwrap_or_default())
        });
    }

    async fn compare(&self, point: &Point, expected: &crate::Images) -> Result<(), String> {
        let manifest = self.depot.group(point.group).await.map_err(|error| error.to_string())?;
        let manifest = manifest.ok_or("it has no manifest")?;
        for disk in &point.disks {
            let entry = manifest.disks.iter().find(|entry| entry.snapshot == disk.snapshot);
            let entry = entry.ok_or_else(|| format!("disk {} is not in its manifest", disk.disk))?;
            let whole = Extent { offset: 0, len: entry.tree.size };
            let held = self.depot.read(&entry.tree, whole).await.map_err(|error| error.to_string())?;
            let wanted = expected.get(&disk.disk).ok_or("a disk that was not marked")?;
            if held != wanted[..] {
                return Err(format!("disk {} holds other bytes", disk.disk));
            }
        }
        Ok(())
    }

    /// A hash over all records.
    pub async fn digest(&self) -> Result<String, Stuck> {
        let mut hasher = blake3::Hasher::new();
        self.hash_all::<Group>(&mut hasher).await?;
        self.hash_all::<Snapshot>(&mut hasher).await?;
        self.hash_all::<Point>(&mut hasher).await?;
        self.hash_all::<Job>(&mut hasher).await?;
        self.hash_all::<Restore>(&mut hasher).await?;
        self.hash_all::<Task>(&mut hasher).await?;
        self.hash_all::<Lease>(&mut hasher).await?;
        self.hash_all::<model::Binding>(&mut hasher).await?;
        self.hash_all::<model::Policy>(&mut hasher).await?;
        self.hash_all::<catalog::Setting>(&mut hasher).await?;
        self.hash_all::<catalog::SeenInstance>(&mut hasher).await?;
        Ok(hasher.finalize().to_hex().to_string())
    }

    async fn hash_all<R: Record>(&self, hasher: &mut blake3::Hasher) -> Result<(), Stuck> {
        for record in self.all::<R>().await? {
            let bytes = serde_json::to_vec(&record).map_err(stuck("write a record as JSON"))?;
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
        }
        Ok(())
    }

    async fn all<R: Record>(&self) -> Result<Vec<R>, Stuck> {
        self.catalog.list(&Query::all()).await.map_err(stuck("list records"))
    }
}

fn audit_ends(records: &Records, findings: &mut Findings) {
    for job in &records.jobs {
        findings.unless(job.status.is_final(), Invariant::JobsEnd, || format!("{} {:?}", job.id, job.status));
        let reasoned = job.status != JobStatus::Failed || job.failure.is_some();
        findings.unless(reasoned, Invariant::JobsEnd, || format!("{} failed without a reason", job.id));
    }
    for restore in &records.restores {
        let ended = restore.status.is_final();
        findings.unless(ended, Invariant::JobsEnd, || format!("{} {:?}", restore.id, restore.status));
    }
    for task in &records.tasks {
        let ended = task.status != TaskStatus::Running;
        findings.unless(ended, Invariant::JobsEnd, || format!("{} {:?}", task.id, task.kind));
    }
    for lease in &records.leases {
        findings
            .unless(false, Invariant::LeasesGivenBack, || format!("{} by {}", lease.resource, lease.holder));
    }
    let mut bound = BTreeSet::new();
    for binding in &records.bindings {
        let first = bound.insert(binding.instance);
        findings.unless(first, Invariant::OneBinding, || binding.instance.to_string());
    }
}

fn audit_groups(records: &Records, manifests: &BTreeSet<GroupId>, findings: &mut Findings) {
    let accomplished: BTreeSet<GroupId> = records
        .groups
        .iter()
        .filter(|group| group.status == SnapshotStatus::Accomplished)
        .map(|group| group.id)
        .collect();
    for group in accomplished.symmetric_difference(manifests) {
        let status = records.groups.iter().find(|found| found.id == *group).map(|found| found.status);
        let there = if manifests.contains(group) { "a" } else { "no" };
        findings.unless(false, Invariant::GroupIffManifest, || {
            format!("{group} has {there} manifest and is {status:?}")
        });
    }
    for group in &records.groups {
        let refused = |snapshot: &&Snapshot| {
            let disk = group.source.disk(snapshot.disk);
            disk.is_none_or(|disk| matches!(disk.capability, DiskCapability::Refused { .. }))
        };
        let mut own = records.snapshots.iter().filter(|snapshot| snapshot.group == group.id);
        let local = own.find(refused);
        findings.unless(local.is_none(), Invariant::NoLocalDisks, || group.id.to_string());
    }
}

fn audit_points(records: &Records, manifests: &BTreeSet<GroupId>, findings: &mut Findings) {
    for job in &records.jobs {
        if !matches!(job.status, JobStatus::Failed | JobStatus::Canceled) {
            continue;
        }
        let point = records.points.iter().find(|point| point.id == job.point);
        let nothing = !manifests.contains(&job.group) && point.is_none_or(|point| !point.status.is_visible());
        findings.unless(nothing, Invariant::NothingOfFailedJobs, || job.id.to_string());
    }
    for point in &records.points {
        let group = records.groups.iter().any(|group| group.id == point.group);
        let (whole, what) = match point.status {
            PointStatus::Creating => (false, "still being made"),
            PointStatus::Deleting => (false, "still being deleted"),
            PointStatus::Deleted => (!group && !manifests.contains(&point.group), "its group is left"),
            PointStatus::Available | PointStatus::Unusable | PointStatus::Failed => (true, ""),
        };
        findings.unless(whole, Invariant::DeletionHides, || format!("{}: {what}", point.id));
    }
}

fn moved<S: fmt::Debug>(id: impl fmt::Display, from: Option<S>, to: S) -> String {
    format!("{id} went from {from:?} to {to:?}")
}

/// Whether the drawn transitions lead from one to the other.
fn reaches(from: JobStatus, to: JobStatus) -> bool {
    from == to
        || from.may_become(to)
        || JobStatus::ALL.into_iter().any(|between| from.may_become(between) && between.may_become(to))
}

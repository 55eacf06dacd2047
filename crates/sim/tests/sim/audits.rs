//! Each auditor finds what it is for: a sound world is made to break one invariant at a time.

use catalog::{Batch, Lease};
use host::{DiskTarget, Fate, Host, Mark, MarkDisk};
use model::{
    Binding, BindingOptions, ByteCount, Group, GroupId, InstanceId, Job, JobId, JobStatus, Point,
    PointStatus, Snapshot, SnapshotStatus, TaskId, Timestamp,
};
use sim::{Invariant, World};

struct Sound {
    world: World,
    instance: InstanceId,
    job: Job,
    point: Point,
}

/// One instance, one point, nothing wrong.
async fn sound() -> Sound {
    let mut world = World::new(9).await.expect("a world");
    let instance = world.add_instance("db");
    let job = world.back_up(instance).await.expect("rest");
    let point = world.backup().point(job.point).await.expect("a point");
    assert_eq!(world.audit().await.expect("an audit"), []);
    Sound { world, instance, job, point }
}

impl Sound {
    /// Breaks it, and nothing but what follows from that.
    async fn break_one(&mut self, invariant: Invariant) {
        match invariant {
            Invariant::NoSessionLeft => self.mark(GroupId::from_bits(1)).await,
            Invariant::NothingPaused => self.world.host.pause(self.instance, true).expect("paused"),
            Invariant::NoPreparedDiskLeft => {
                let target = DiskTarget::ForInstance { instance: self.instance, size: ByteCount(1 << 20) };
                self.world.host.prepare(TaskId::from_bits(1), &target).await.expect("prepared");
            }
            Invariant::CheckpointsBelong => {
                let group = GroupId::from_bits(1);
                self.mark(group).await;
                self.world.host.unmark(self.instance, group, Fate::Keep).await.expect("unmarked");
            }
            Invariant::GroupIffManifest | Invariant::PointsRestore => {
                self.world.depot.delete_group(self.job.group).await.expect("deleted");
            }
            Invariant::PointsAreWhole => self.change_point(|point| point.taken = None).await,
            Invariant::SnapshotsAccomplished => {
                let id = self.job.snapshots[0];
                let batch = Batch::new().change::<Snapshot>(&id, |snapshot| {
                    snapshot.status = SnapshotStatus::Progressing;
                });
                self.world.catalog.write(batch).await.expect("written");
            }
            Invariant::NothingOfFailedJobs | Invariant::StatusesAsDrawn => {
                self.change_job(|job| job.status = JobStatus::Failed).await;
            }
            Invariant::JobsEnd => self.another_job(JobStatus::Running).await,
            Invariant::OneJobAnInstance => {
                self.another_job(JobStatus::Running).await;
                self.another_job(JobStatus::Canceling).await;
            }
            Invariant::LeasesGivenBack => {
                let lease =
                    Lease { resource: "disks".to_owned(), holder: "me".to_owned(), since: Timestamp(0) };
                self.world.catalog.write(Batch::new().insert(&lease)).await.expect("written");
            }
            Invariant::ExpiryOnlyGrows => {
                self.change_point(|point| point.expires = Some(Timestamp(7))).await;
            }
            Invariant::DeletionHides => {
                self.change_point(|point| point.status = PointStatus::Deleted).await;
            }
            Invariant::NoLocalDisks => {
                let disk = self.point.disks[0].disk;
                let batch = Batch::new().change::<Group>(&self.job.group, move |group| {
                    for shown in group.source.disks.iter_mut().filter(|shown| shown.id == disk) {
                        shown.capability = model::DiskCapability::Refused { because: "local".to_owned() };
                    }
                });
                self.world.catalog.write(batch).await.expect("written");
            }
            Invariant::StoppedToRollBack => self.world.outrage("a disk of a running instance"),
            Invariant::OneBinding => {
                // The catalog itself refuses a second one, so that is what is tested.
                let binding = |bits| Binding {
                    id: model::BindingId::from_bits(bits),
                    region: self.world.region.clone(),
                    policy: model::PolicyId::from_bits(1),
                    instance: self.instance,
                    description: String::new(),
                    disabled: false,
                    options: BindingOptions::default(),
                    created: Timestamp(0),
                    updated: Timestamp(0),
                };
                let both = Batch::new().insert(&binding(1)).insert(&binding(2));
                self.world.catalog.write(both).await.expect_err("one binding an instance");
            }
        }
    }

    async fn mark(&self, group: GroupId) {
        let disks = self.point.disks.iter().map(|disk| MarkDisk { disk: disk.disk, since: None });
        let mark = Mark { instance: self.instance, group, disks: disks.collect() };
        self.world.host.mark(&mark).await.expect("marked");
    }

    async fn change_point(&self, change: impl FnOnce(&mut Point) + Send + 'static) {
        let batch = Batch::new().change::<Point>(&self.point.id, change);
        self.world.catalog.write(batch).await.expect("written");
    }

    async fn change_job(&self, change: impl FnOnce(&mut Job) + Send + 'static) {
        let batch = Batch::new().change::<Job>(&self.job.id, change);
        self.world.catalog.write(batch).await.expect("written");
    }

    async fn another_job(&self, status: JobStatus) {
        let id = JobId::from_bits(status as u128 + 1);
        let job = Job { id, status, ..self.job.clone() };
        self.world.catalog.write(Batch::new().insert(&job)).await.expect("written");
    }
}

#[tokio::test]
async fn every_auditor_finds_what_it_is_for() {
    for invariant in Invariant::ALL {
        let mut sound = sound().await;
        sound.break_one(*invariant).await;
        if *invariant == Invariant::OneBinding {
            continue;
        }
        let found = sound.world.audit().await.expect("an audit");
        let found: Vec<_> = found.iter().map(|violation| violation.invariant).collect();
        assert!(found.contains(invariant), "{invariant:?} was broken, and found were {found:?}");
    }
}

/// Other bytes under a sound manifest: no key is missing, no seal is broken, only the content is not
/// what the disks held.
#[tokio::test]
async fn other_bytes_are_noticed() {
    let mut sound = sound().await;
    sound.world.forge_image(sound.job.group);
    let found = sound.world.audit().await.expect("an audit");
    assert!(found.iter().all(|violation| violation.invariant == Invariant::PointsRestore));
    assert_eq!(found.len(), 1, "{found:?}");
}

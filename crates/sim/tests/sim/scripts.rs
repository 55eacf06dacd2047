//! Short stories with a known end, for being interrupted: by a crash at every step, by faults.
//!
//! Each must come out right however often the process dies on the way. What a story cannot know
//! (whether the cancel still came in time, say) it leaves to the auditors.

use backup::NewRestoreKind;
use host::Host;
use host::sim::{Fault, Strike, Verb};
use model::{DiskPoint, InstanceId, JobStatus, Point, Refusal, Restore, RestoreId, TaskId};
use sim::{Cell, Images, World};
use workflow::Moment;

/// One story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    BackUpTwice,
    /// Cancelled before anything was done.
    CancelAtOnce,
    /// Cancelled once this step of the group's workflow is done.
    CancelBackUp {
        after: usize,
    },
    MarkFails,
    CopyFails,
    SealFails,
    /// Somebody deletes the group natively before the point is published.
    PublishFails,
    DeletePoint,
    RollBackInstance,
    RollBackDisk,
    CloneInstance,
    CloneDisk,
    /// The depot's manifest is gone.
    FillFails(Kind),
    /// The restore's task is stopped while it fills.
    FillStopped(Kind),
    /// Somebody starts the instance before its disks are swapped in.
    SwapInFails,
    DefineFails,
    /// The instance is released before its new disk is attached.
    AttachFails,
}

/// A restore's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    RollBackInstance,
    RollBackDisk,
    CloneInstance,
    CloneDisk,
}

impl Script {
    pub(crate) const RESTORES: [Self; 4] =
        [Self::RollBackInstance, Self::RollBackDisk, Self::CloneInstance, Self::CloneDisk];

    pub(crate) const ALL: &'static [Self] = &[
        Self::BackUpTwice,
        Self::CancelAtOnce,
        Self::CancelBackUp { after: 0 },
        Self::CancelBackUp { after: 1 },
        Self::CancelBackUp { after: 2 },
        Self::CancelBackUp { after: 3 },
        Self::MarkFails,
        Self::CopyFails,
        Self::SealFails,
        Self::PublishFails,
        Self::DeletePoint,
        Self::RollBackInstance,
        Self::RollBackDisk,
        Self::CloneInstance,
        Self::CloneDisk,
        Self::FillFails(Kind::RollBackInstance),
        Self::FillFails(Kind::CloneInstance),
        Self::FillFails(Kind::CloneDisk),
        Self::FillStopped(Kind::RollBackDisk),
        Self::FillStopped(Kind::CloneInstance),
        Self::FillStopped(Kind::CloneDisk),
        Self::SwapInFails,
        Self::DefineFails,
        Self::AttachFails,
    ];

    /// Plays the story in a new world, which is handed over first: to arm what shall interrupt it.
    pub(crate) async fn play(self, arm: impl FnOnce(&World)) -> World {
        let mut world = World::new(11).await.expect("a world");
        let instance = world.add_instance("db");
        match self {
            Self::BackUpTwice => {
                arm(&world);
                back_up(&mut world, instance).await;
                back_up(&mut world, instance).await;
            }
            Self::CancelAtOnce => {
                arm(&world);
                let job = world.ask_backup(instance).await.expect("admitted");
                world.backup().cancel_backup_job(job).await.expect("asked to stop");
                world.run_until_rest().await.expect("rest");
                let job = world.backup().job(job).await.expect("the job");
                assert_eq!(job.status, JobStatus::Canceled);
            }
            Self::CancelBackUp { after } => {
                arm(&world);
                cancel(&mut world, instance, after).await;
            }
            Self::MarkFails => {
                arm(&world);
                world.host.inject(Strike::at(Verb::Mark, Fault::NoSpace));
                fails(&mut world, instance).await;
            }
            Self::CopyFails => {
                arm(&world);
                world.host.inject(Strike::at(Verb::Read, Fault::Failed).after(2));
                fails(&mut world, instance).await;
            }
            Self::SealFails => {
                arm(&world);
                world.ask_backup(instance).await.expect("admitted");
                until(&mut world, "SnapshotGroup", 1, 1).await;
                let from = world.faulty.calls();
                world.faulty.follow(store::Script::From(from, store::Fault::NoSpace));
            }
            Self::PublishFails => {
                arm(&world);
                let job = world.ask_backup(instance).await.expect("admitted");
                until(&mut world, "BackUp", 0, 1).await;
                let group = world.backup().job(job).await.expect("the job").group;
                let task = TaskId::from_bits(77);
                world.blocks().delete_group(group, task).await.expect("admitted");
                run_blocks_first(&mut world).await;
            }
            _ => return self.play_on_a_point(world, instance, arm).await,
        }
        world.run_until_rest().await.expect("rest");
        world
    }

    async fn play_on_a_point(
        self,
        mut world: World,
        instance: InstanceId,
        arm: impl FnOnce(&World),
    ) -> World {
        let point = back_up(&mut world, instance).await.expect("a first point");
        world.live(instance, 30);
        match self {
            Self::DeletePoint => {
                arm(&world);
                back_up(&mut world, instance).await;
                world.backup().delete_point(point.id).await.expect("admitted");
                assert!(world.backup().point(point.id).await.is_err(), "invisible at once");
            }
            Self::RollBackInstance => {
                arm(&world);
                complete(&mut world, instance, &point, Kind::RollBackInstance).await;
            }
            Self::RollBackDisk => {
                arm(&world);
                complete(&mut world, instance, &point, Kind::RollBackDisk).await;
            }
            Self::CloneInstance => {
                arm(&world);
                complete(&mut world, instance, &point, Kind::CloneInstance).await;
            }
            Self::CloneDisk => {
                arm(&world);
                complete(&mut world, instance, &point, Kind::CloneDisk).await;
            }
            Self::FillFails(kind) => {
                let restore = ask(&world, instance, &point, kind).await;
                arm(&world);
                world.host.inject(Strike::at(Verb::Write, Fault::NoSpace).after(1));
                untouched(&mut world, instance, restore).await;
            }
            Self::FillStopped(kind) => {
                let restore = ask(&world, instance, &point, kind).await;
                arm(&world);
                until(&mut world, filling(kind), 0, 1).await;
                let task = world.restore(restore).await.expect("the restore").task;
                world.blocks().cancel(task).await.expect("asked to stop");
                untouched(&mut world, instance, restore).await;
            }
            Self::SwapInFails => {
                let restore = ask(&world, instance, &point, Kind::RollBackInstance).await;
                arm(&world);
                until(&mut world, "ResetDisks", 0, 1).await;
                world.host.start(instance).await.expect("somebody starts it");
                world.run_until_rest().await.expect("rest");
                assert_eq!(world.restore(restore).await.expect("the restore").status, JobStatus::Failed);
                assert_no_roll_back(&world, instance, &point);
            }
            Self::DefineFails => {
                let restore = ask(&world, instance, &point, Kind::CloneInstance).await;
                arm(&world);
                world.host.inject(Strike::at(Verb::Define, Fault::Failed));
                untouched(&mut world, instance, restore).await;
            }
            Self::AttachFails => {
                let target = world.add_instance("target");
                let restore = ask(&world, target, &point, Kind::CloneDisk).await;
                arm(&world);
                until(&mut world, "CreateDisk", 0, 1).await;
                world.host.release(target);
                untouched(&mut world, instance, restore).await;
            }
            _ => unreachable!("{self:?} needs no point"),
        }
        world.run_until_rest().await.expect("rest");
        world
    }
}

/// Moves on until this step was done so many times; or, interrupted, until all is at rest.
pub(crate) async fn until(world: &mut World, workflow: &str, step: usize, times: u64) {
    let done = Cell::new(workflow, step, false, Moment::AfterRecord);
    while world.plug.times_passed(&done) < times {
        if world.advance().await.expect("an advance").is_none() {
            return;
        }
    }
}

async fn run_blocks_first(world: &mut World) {
    for _ in 0..200 {
        let rows = world.blocks().runner().unfinished().await.expect("a list");
        let Some(row) = rows.first() else { return };
        match world.blocks().runner().advance(&row.id).await {
            Err(workflow::RunnerError::Crashed) => world.restart().await.expect("restarted"),
            advanced => drop(advanced.expect("an advance")),
        }
    }
}

/// One backup that nothing but crashes interrupts: it completes, whatever happens.
async fn back_up(world: &mut World, instance: InstanceId) -> Option<Point> {
    let job = world.back_up(instance).await.expect("rest");
    assert_eq!(job.status, JobStatus::Complete, "{:?}", job.failure);
    world.backup().point(job.point).await.ok()
}

async fn cancel(world: &mut World, instance: InstanceId, after: usize) {
    let job = world.ask_backup(instance).await.expect("admitted");
    until(world, "SnapshotGroup", after, 1).await;
    let cancelled = world.backup().cancel_backup_job(job).await;
    world.run_until_rest().await.expect("rest");
    let status = world.backup().job(job).await.expect("the job").status;
    if cancelled.is_ok() {
        assert!(matches!(status, JobStatus::Canceled | JobStatus::Complete), "{status:?}");
    }
}

async fn fails(world: &mut World, instance: InstanceId) {
    let job = world.back_up(instance).await.expect("rest");
    // A crash may have eaten the fault's effect, never the reason.
    assert!(job.status == JobStatus::Complete || job.failure.is_some(), "{job:?}");
}

pub(crate) async fn ask(world: &World, instance: InstanceId, point: &Point, kind: Kind) -> RestoreId {
    // A running guest would at once scribble on a disk it is given.
    if kind != Kind::CloneInstance {
        world.blocks().stop_instance(instance, true).await.expect("stopped");
    }
    try_ask(world, instance, point, kind).await.expect("admitted")
}

pub(crate) async fn try_ask(
    world: &World,
    instance: InstanceId,
    point: &Point,
    kind: Kind,
) -> Result<RestoreId, Refusal> {
    let disk: &DiskPoint = &point.disks[1];
    let (point, kind) = match kind {
        Kind::RollBackInstance => {
            (point.id, NewRestoreKind::RollBackInstance { instance, force: false, boot: false })
        }
        Kind::RollBackDisk => (disk.id, NewRestoreKind::RollBackDisk { instance, force: false, boot: false }),
        Kind::CloneInstance => (
            point.id,
            NewRestoreKind::CloneInstance {
                name: "clone".to_owned(),
                host_name: String::new(),
                shape: None,
                network: String::new(),
                boot: false,
            },
        ),
        Kind::CloneDisk => (disk.id, NewRestoreKind::CloneDisk { instance }),
    };
    world.ask_restore(point, kind).await
}

const fn filling(kind: Kind) -> &'static str {
    match kind {
        Kind::RollBackInstance | Kind::RollBackDisk => "ResetDisks",
        Kind::CloneInstance => "CreateInstance",
        Kind::CloneDisk => "CreateDisk",
    }
}

/// A restore that nothing but crashes interrupts: it completes, and the bytes are those of the mark.
async fn complete(world: &mut World, instance: InstanceId, point: &Point, kind: Kind) {
    let before = world.host.disks(instance);
    let restore = ask(world, instance, point, kind).await;
    world.run_until_rest().await.expect("rest");
    let restore = world.restore(restore).await.expect("the restore");
    assert_eq!(restore.status, JobStatus::Complete, "{:?}", restore.failure);
    let expected = world.expected(point.group).expect("its images");
    let second = &expected[&point.disks[1].disk];
    match kind {
        Kind::RollBackInstance => assert!(world.images(instance) == expected, "other bytes"),
        Kind::RollBackDisk => {
            let images = world.images(instance);
            assert!(images[&point.disks[1].disk] == *second, "other bytes");
            assert!(images[&point.disks[0].disk] != expected[&point.disks[0].disk], "both disks rolled back");
        }
        Kind::CloneInstance => {
            let clone = world.host.instances().into_iter().find(|found| found.name == "clone");
            let clone = clone.expect("a clone");
            assert!(clone.id != instance, "the clone has its source's identity");
            let held: Vec<_> =
                clone.disks.iter().map(|disk| world.images(clone.id)[&disk.id].clone()).collect();
            let wanted: Vec<_> = point.disks.iter().map(|disk| expected[&disk.disk].clone()).collect();
            assert!(held == wanted, "other bytes");
        }
        Kind::CloneDisk => {
            let new: Vec<_> =
                world.host.disks(instance).into_iter().filter(|disk| !before.contains(disk)).collect();
            assert_eq!(new.len(), 1, "one new disk");
            assert!(world.images(instance)[&new[0]] == *second, "other bytes");
        }
    }
}

/// A restore made to fail: whoever it was for is as before, unless a crash ate the cause.
async fn untouched(world: &mut World, instance: InstanceId, restore: RestoreId) {
    let before: (Images, usize) = (world.images(instance), world.host.instances().len());
    world.run_until_rest().await.expect("rest");
    let restore: Restore = world.restore(restore).await.expect("the restore");
    if restore.status == JobStatus::Complete {
        return;
    }
    assert_eq!(restore.status, JobStatus::Failed);
    assert!(restore.failure.is_some(), "failed without a reason");
    let running = world
        .host
        .instances()
        .iter()
        .any(|found| found.id == instance && found.status == model::InstanceStatus::Running);
    if !running {
        assert!(world.images(instance) == before.0, "a failed restore changed a disk");
    }
    assert_eq!(world.host.disks(instance).len(), before.0.len(), "a failed restore left a disk");
    assert!(world.host.instances().len() <= before.1, "a failed restore left an instance");
}

/// The disks were not those of the point when the instance was started, so none may be now.
fn assert_no_roll_back(world: &World, instance: InstanceId, point: &Point) {
    let expected = world.expected(point.group).expect("its images");
    for (disk, image) in world.images(instance) {
        assert!(image != expected[&disk], "disk {disk} was rolled back");
    }
}

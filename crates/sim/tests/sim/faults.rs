//! Each verb of the host and each operation of the store goes wrong in each way, once, somewhere in
//! the story of an instance's life; nothing may be lost by it, and the next backup works.

use host::sim::{Fault, Strike, Verb};
use host::{Host, Stop};
use model::{InstanceId, JobStatus, TaskStatus};
use sim::World;
use store::Script;
use workflow::{Advance, RunnerError};

use crate::crash_matrix::settle_and_audit;
use crate::scripts::{Kind, ask, try_ask, until};

const FAULTS: [Fault; 7] = [
    Fault::Unreachable,
    Fault::AfterEffect,
    Fault::HalfEffect,
    Fault::LoseSessions,
    Fault::NoSpace,
    Fault::Busy,
    Fault::Failed,
];

/// Verbs that a story need not come to: undoing is for stories that fail.
const UNDOING: [Verb; 2] = [Verb::Discard, Verb::Undefine];

/// Backs up, restores in all four ways, deletes. Whatever is refused or fails on the way, it goes on.
async fn life(arm: impl FnOnce(&World)) -> World {
    let mut world = World::new(5).await.expect("a world");
    let instance = world.add_instance("db");
    let first = world.back_up(instance).await.expect("rest");
    let point = world.backup().point(first.point).await.expect("a first point");
    world.live(instance, 10);
    arm(&world);
    drop(world.ask_backup(instance).await);
    world.run_until_rest().await.expect("rest");
    for kind in [Kind::CloneInstance, Kind::RollBackInstance, Kind::RollBackDisk, Kind::CloneDisk] {
        restore(&mut world, instance, &point, kind).await;
    }
    drop(world.backup().delete_point(point.id).await);
    world.run_until_rest().await.expect("rest");
    world
}

async fn restore(world: &mut World, instance: InstanceId, point: &model::Point, kind: Kind) {
    if kind != Kind::CloneInstance {
        drop(world.blocks().stop_instance(instance, true).await);
    }
    drop(try_ask(world, instance, point, kind).await);
    world.run_until_rest().await.expect("rest");
}

#[tokio::test]
async fn every_verb_of_the_host_goes_wrong() {
    let calm = life(|_| {}).await;
    let seen = calm.host.seen().calls;
    for verb in Verb::ALL {
        let unused = verb == Verb::Start || UNDOING.contains(&verb);
        assert!(unused || seen.contains_key(&verb), "no story calls {verb:?}");
    }
    settle_and_audit(calm, "a calm life").await;
    for verb in Verb::ALL {
        for (turn, fault) in FAULTS.into_iter().enumerate() {
            // The first such call, or a later one: not all in the same place.
            let after = u32::try_from(turn % 3).unwrap();
            let strike = Strike::at(verb, fault).after(after);
            let world = life(|world| world.host.inject(strike)).await;
            settle_and_audit(world, &format!("{strike:?}")).await;
        }
    }
}

#[tokio::test]
async fn every_kind_of_store_call_goes_wrong() {
    const PLACES: u64 = 9;
    let mut from = 0;
    let calm = life(|world| from = world.faulty.calls()).await;
    let calls = calm.faulty.calls() - from;
    for fault in store::Fault::ALL {
        for place in 0..PLACES {
            let call = from + calls * place / PLACES + fault as u64;
            let world = life(|world| world.faulty.follow(Script::At([(call, fault)].into()))).await;
            settle_and_audit(world, &format!("{fault:?} at call {call}")).await;
        }
    }
}

/// The commit point of every snapshot, one call after the other, each way it can go wrong.
#[tokio::test]
async fn sealing_survives_every_store_fault() {
    async fn sealing(arm: impl FnOnce(&World)) -> (World, model::Job) {
        let mut world = World::new(4).await.expect("a world");
        let instance = world.add_instance("db");
        world.back_up(instance).await.expect("rest");
        let job = world.ask_backup(instance).await.expect("admitted");
        until(&mut world, "SnapshotGroup", 1, 2).await;
        arm(&world);
        world.run_until_rest().await.expect("rest");
        let job = world.backup().job(job).await.expect("the job");
        (world, job)
    }
    let mut from = 0;
    let (calm, job) = sealing(|world| from = world.faulty.calls()).await;
    assert_eq!(job.status, JobStatus::Complete);
    let to = calm.faulty.calls();
    assert!(to - from >= 5, "sealing is more than {} calls", to - from);
    let mut failed = 0;
    for fault in store::Fault::ALL {
        for call in from..to {
            let (world, job) = sealing(|world| world.faulty.follow(Script::At([(call, fault)].into()))).await;
            let story = format!("{fault:?} at call {} of sealing", call - from);
            assert!(job.status.is_final(), "{story}");
            failed += u32::from(job.status == JobStatus::Failed);
            settle_and_audit(world, &story).await;
        }
    }
    assert!(failed > 0, "a torn manifest fails its job");
}

/// The store, then the host, goes away in the middle of a backup and comes back much later.
#[tokio::test]
async fn outages_end() {
    for decisions in [2, 5, 8, 12] {
        for store_too in [false, true] {
            let mut world = World::new(decisions).await.expect("a world");
            let instance = world.add_instance("db");
            let job = world.ask_backup(instance).await.expect("admitted");
            world.advance_some(decisions).await.expect("advances");
            if store_too {
                let from = world.faulty.calls();
                world.faulty.follow(Script::From(from, store::Fault::Unavailable));
            } else {
                world.host.inject(Strike::next(Fault::Unreachable).always());
            }
            world.advance_some(60).await.expect("advances");
            let story = format!("away after {decisions} decisions, store: {store_too}");
            world.come_to_rest().await.expect("rest");
            let job = world.backup().job(job).await.expect("the job");
            assert!(job.status.is_final(), "{story}: {:?}", job.status);
            settle_and_audit(world, &story).await;
        }
    }
}

/// One of two disks is swapped in when the answer is lost, and then somebody starts the instance: a
/// host that now refuses has not proved that nothing happened. The job waits until it can finish.
#[tokio::test]
async fn a_roll_back_half_done_is_finished() {
    let mut world = World::new(6).await.expect("a world");
    let instance = world.add_instance("db");
    let job = world.back_up(instance).await.expect("rest");
    let point = world.backup().point(job.point).await.expect("a point");
    world.live(instance, 30);
    let restore = ask(&world, instance, &point, Kind::RollBackInstance).await;
    world.host.inject(Strike::at(Verb::SwapIn, Fault::HalfEffect));
    until(&mut world, "ResetDisks", 0, 1).await;
    while world.host.seen().calls.get(&Verb::SwapIn).is_none_or(|calls| *calls == 0) {
        world.advance().await.expect("an advance");
    }
    world.host.start(instance).await.expect("somebody starts it");
    world.advance_some(60).await.expect("advances");
    let waiting = world.restore(restore).await.expect("the restore");
    assert_eq!(waiting.status, JobStatus::Running, "{:?}", waiting.failure);
    world.host.stop(instance, Stop::ByForce).await.expect("and stops it again");
    world.run_until_rest().await.expect("rest");
    assert_eq!(world.restore(restore).await.expect("the restore").status, JobStatus::Complete);
    let expected = world.expected(point.group).expect("its images");
    let second = point.disks[1].disk;
    assert!(world.images(instance)[&second] == expected[&second], "the second disk is as at the point");
    settle_and_audit(world, "half a roll back").await;
}

/// The disk is attached, the answer lost, and the next try refused: the disk is there, so the restore
/// is no failure.
#[tokio::test]
async fn a_disk_attached_unheard_is_not_a_failure() {
    let mut world = World::new(6).await.expect("a world");
    let instance = world.add_instance("db");
    let job = world.back_up(instance).await.expect("rest");
    let point = world.backup().point(job.point).await.expect("a point");
    let restore = ask(&world, instance, &point, Kind::CloneDisk).await;
    for fault in [Fault::AfterEffect, Fault::Busy, Fault::Failed, Fault::NoSpace] {
        world.host.inject(Strike::at(Verb::Attach, fault));
    }
    world.run_until_rest().await.expect("rest");
    let restore = world.restore(restore).await.expect("the restore");
    assert_eq!(restore.status, JobStatus::Complete, "{:?}", restore.failure);
    assert_eq!(world.host.disks(instance).len(), 3);
    settle_and_audit(world, "a disk attached unheard").await;
}

/// A cancel that comes while bytes are moved stops them, and what was done so far is undone. The cancel
/// is written by another thread, so the last byte may win a race with it; it must not always.
#[tokio::test]
async fn a_cancel_is_heard_while_bytes_move() {
    for (kind, moving, verb) in [
        (None, "SnapshotGroup", Verb::Read),
        (Some(Kind::RollBackInstance), "ResetDisks", Verb::Write),
        (Some(Kind::CloneInstance), "CreateInstance", Verb::Write),
        (Some(Kind::CloneDisk), "CreateDisk", Verb::Write),
    ] {
        let mut heard = false;
        for seed in 0..20 {
            heard |= cancel_while_moving(seed, kind, moving, verb).await;
            if heard {
                break;
            }
        }
        assert!(heard, "{moving}: twenty cancels, and not one stopped a byte");
    }
}

/// Whether the cancel stopped the step that moved bytes. The task ends cancelled in any case.
async fn cancel_while_moving(seed: u64, kind: Option<Kind>, moving: &str, verb: Verb) -> bool {
    let mut world = World::new(seed).await.expect("a world");
    let instance = world.add_instance("db");
    let job = world.back_up(instance).await.expect("rest");
    let point = world.backup().point(job.point).await.expect("a point");
    match kind {
        None => drop(world.ask_backup(instance).await.expect("admitted")),
        Some(kind) => drop(ask(&world, instance, &point, kind).await),
    }
    let calls = |world: &World| world.host.seen().calls.get(&verb).copied().unwrap_or(0);
    let before = calls(&world);
    let row = loop {
        let rows = world.blocks().runner().unfinished().await.expect("a list");
        let past_mark = verb == Verb::Write || !world.host.leftovers().sessions.is_empty();
        match rows.into_iter().find(|row| row.kind == moving && past_mark) {
            Some(row) => break row,
            None => drop(world.advance().await.expect("an advance")),
        }
    };
    let task = row.id.parse().expect("a task");
    let runner = world.blocks().runner().clone();
    let (advanced, cancelled) = tokio::join!(runner.advance(&row.id), async {
        while calls(&world) <= before {
            tokio::task::yield_now().await;
        }
        world.blocks().cancel(task).await
    });
    cancelled.expect("asked to stop");
    let stopped = match advanced {
        Err(RunnerError::Interrupted) => true,
        Ok(Advance::Moved) => false,
        other => panic!("{moving}: {other:?}"),
    };
    world.run_until_rest().await.expect("rest");
    let task = world.blocks().task(task).await.expect("read").expect("the task");
    assert_eq!(task.status, TaskStatus::Canceled, "{moving}");
    settle_and_audit(world, &format!("{moving} cancelled while bytes move")).await;
    stopped
}

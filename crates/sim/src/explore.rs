//! Random scenarios, each from one seed: operations, faults, crashes, outages and jumps of the clock,
//! in an order nobody thought of.

use backup::{NewBinding, NewPolicy, NewRestoreKind, StartDueJobs};
use blocks::CollectGarbage;
use host::Host;
use host::sim::{Fault, SimDisk, Strike, Verb};
use model::{
    BindingOptions, Clock, InstanceId, InstanceStatus, Point, PointId, PolicyKind, Refusal, Trigger,
};
use policy::rules::RuleInput;
use store::Script;

use crate::World;
use crate::world::Stuck;

/// What is left of a scenario, for comparing two runs of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explored {
    pub seed: u64,
    /// Over all records of the catalog.
    pub digest: String,
    pub listing: Vec<(String, u64)>,
    /// The next random number.
    pub next: u64,
    pub restarts: u64,
    pub points: usize,
    pub jobs: usize,
    /// Of the jobs, those a schedule started.
    pub scheduled: usize,
}

/// Everything is brought to rest and audited this often.
const ROUNDS: u64 = 6;
const OPERATIONS: u64 = 22;
const INSTANCES_MAX: usize = 6;
const TWELVE_HOURS: i64 = 12 * 3600;

/// Plays one seed. An error says what went wrong, and how to see it again.
pub async fn explore(seed: u64) -> Result<Explored, String> {
    let replay = format!("replay with HIKAE_SIM_SEED={seed} cargo test -p hikae-sim seeds");
    let mut world = World::new(seed).await.map_err(|Stuck(why)| format!("{why}; {replay}"))?;
    play(&mut world).await.map_err(|Stuck(why)| format!("{why}; {replay}"))
}

async fn play(world: &mut World) -> Result<Explored, Stuck> {
    let first = world.add_instance("first");
    let second = world.add_instance_with("mixed", &mixed());
    protect(world, &[first, second]).await.map_err(crate::world::refused("protect"))?;
    for round in 0..ROUNDS {
        for _ in 0..OPERATIONS {
            operate(world).await?;
            let decisions = world.dice.below(14);
            world.advance_some(decisions).await?;
        }
        world.come_to_rest().await?;
        let violations = world.audit().await?;
        if !violations.is_empty() {
            let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
            return Err(Stuck(format!("in round {round}: {}", told.join("; "))));
        }
    }
    let jobs = world.backup().jobs(&world.region).await.map_err(crate::world::refused("list jobs"))?;
    Ok(Explored {
        seed: world.seed,
        digest: world.digest().await?,
        listing: world.listing().await?,
        next: world.dice.next() ^ world.entropy.next(),
        restarts: world.restarts,
        points: points(world).await.len(),
        jobs: jobs.len(),
        scheduled: jobs.iter().filter(|job| matches!(job.request.trigger, Trigger::Schedule { .. })).count(),
    })
}

/// Every twelve hours, kept for three days, the newest always.
async fn protect(world: &World, instances: &[InstanceId]) -> Result<(), Refusal> {
    let rule = RuleInput {
        rule_type: "BACKUP".to_owned(),
        backup_type: Some("COMPLETE".to_owned()),
        schedule: Some("I|1780272000|PT12H".to_owned()),
        retention: Some(3),
        keep_latest: Some(1),
        ..RuleInput::default()
    };
    let new = NewPolicy {
        name: "twice-a-day".to_owned(),
        description: String::new(),
        kind: PolicyKind::Instances,
        rules: policy::rules::admit(PolicyKind::Instances, &world.region, &[rule])?,
    };
    let policy = world.backup().create_policy(&world.region, new).await?;
    let binding = |instance: &InstanceId| NewBinding {
        instance: *instance,
        description: String::new(),
        disabled: false,
        options: BindingOptions::default(),
    };
    world.backup().create_bindings(policy, instances.iter().map(binding).collect()).await
}

/// One disk that tells what changed, one that is read whole, one that cannot be snapshotted.
fn mixed() -> [SimDisk; 3] {
    [SimDisk::tracked(512 << 10), SimDisk::whole(256 << 10), SimDisk::refused(128 << 10)]
}

async fn operate(world: &mut World) -> Result<(), Stuck> {
    match world.dice.below(24) {
        0..=4 => back_up(world).await,
        5 => cancel(world).await,
        6 => delete(world).await,
        7..=9 => restore(world).await,
        10 | 11 => switch(world).await,
        12 => batter_guest(world).await,
        13 | 14 => strike_host(world),
        15 => strike_store(world),
        16 => outage(world).await?,
        17 => world.plug.arm_after(world.dice.below(20)),
        18 => world.trip.arm_after(world.dice.below(60)),
        19 => world.restart().await?,
        20 => pass_time(world).await,
        21 => {
            world.host.heal();
            world.faulty.follow(Script::Never);
        }
        22 => come_round(world).await,
        _ => world.live_all(),
    }
    Ok(())
}

/// Whatever a client is refused, nothing may be wrong because of it; the auditors will tell.
fn shrug<T>(answer: Result<T, Refusal>) {
    if let Err(refusal) = answer {
        tracing::debug!(%refusal, "refused");
    }
}

fn any_instance(world: &World) -> Option<InstanceId> {
    let instances = world.host.instances();
    world.dice.pick(&instances).map(|instance| instance.id)
}

async fn points(world: &World) -> Vec<Point> {
    match world.backup().points(&world.region).await {
        Ok(points) => points.into_iter().map(|(point, _)| point).collect(),
        Err(_) => Vec::new(),
    }
}

async fn any_point(world: &World) -> Option<Point> {
    let points = points(world).await;
    world.dice.pick(&points).cloned()
}

async fn back_up(world: &World) {
    if let Some(instance) = any_instance(world) {
        shrug(world.ask_backup(instance).await);
    }
}

async fn cancel(world: &World) {
    let Ok(jobs) = world.backup().jobs(&world.region).await else { return };
    let running: Vec<_> = jobs.iter().filter(|job| !job.status.is_final()).collect();
    if let Some(job) = world.dice.pick(&running) {
        shrug(world.backup().cancel_backup_job(job.id).await);
    }
}

async fn delete(world: &World) {
    if let Some(point) = any_point(world).await {
        shrug(world.backup().delete_point(point.id).await);
    }
}

async fn restore(world: &World) {
    let Some(point) = any_point(world).await else { return };
    let instance = point.instance;
    let disk_point = world.dice.pick(&point.disks).map_or(PointId::from_bits(0), |disk| disk.id);
    let boot = world.dice.one_in(2);
    if world.dice.one_in(2) {
        // Most roll backs are refused unless somebody stopped the instance.
        shrug(world.blocks().stop_instance(instance, true).await);
    }
    let clone = NewRestoreKind::CloneInstance {
        name: format!("clone-{}", world.dice.below(1000)),
        host_name: String::new(),
        shape: None,
        network: String::new(),
        boot,
    };
    let (point, kind) = match world.dice.below(5) {
        0 | 1 => (point.id, NewRestoreKind::RollBackInstance { instance, force: true, boot }),
        2 => (disk_point, NewRestoreKind::RollBackDisk { instance, force: true, boot }),
        3 if world.host.instances().len() < INSTANCES_MAX => (point.id, clone),
        3 => return,
        _ => {
            let Some(target) = any_instance(world) else { return };
            if world.host.disks(target).len() > 3 {
                return;
            }
            (disk_point, NewRestoreKind::CloneDisk { instance: target })
        }
    };
    shrug(world.ask_restore(point, kind).await);
}

/// Somebody starts or stops an instance, through us or behind our back.
async fn switch(world: &World) {
    let Some(instance) = any_instance(world) else { return };
    let Some(shown) = world.watched.look(instance) else { return };
    match (shown.status, world.dice.one_in(3)) {
        (InstanceStatus::Running, _) => {
            shrug(world.blocks().stop_instance(instance, world.dice.one_in(2)).await);
        }
        (_, true) => drop(world.watched.start(instance).await),
        (_, false) => shrug(world.blocks().start_instance(instance).await),
    }
}

async fn batter_guest(world: &World) {
    let Some(instance) = any_instance(world) else { return };
    match world.dice.below(8) {
        0..=2 => drop(world.host.crash(instance)),
        3..=5 => world.host.lose_sessions(),
        6 if world.host.instances().len() > 2 => world.host.release(instance),
        _ if world.host.instances().len() < INSTANCES_MAX => {
            world.add_instance(&format!("late-{}", world.dice.below(1000)));
        }
        _ => {}
    }
}

fn strike_host(world: &World) {
    const FAULTS: [Fault; 7] = [
        Fault::Unreachable,
        Fault::AfterEffect,
        Fault::HalfEffect,
        Fault::LoseSessions,
        Fault::NoSpace,
        Fault::Busy,
        Fault::Failed,
    ];
    let (Some(verb), Some(fault)) = (world.dice.pick(&Verb::ALL), world.dice.pick(&FAULTS)) else { return };
    let after = u32::try_from(world.dice.below(4)).unwrap_or(0);
    world.host.inject(Strike::at(*verb, *fault).after(after));
}

fn strike_store(world: &World) {
    // A store that tears what it writes breaks its promise; that is for another test.
    let faults = vec![
        store::Fault::Unavailable,
        store::Fault::LostBefore,
        store::Fault::LostAfter,
        store::Fault::NoSpace,
    ];
    let script = Script::Seeded { seed: world.dice.next(), per_mille: 60, faults };
    world.faulty.follow(script);
}

/// The host or the store goes away for a while.
async fn outage(world: &mut World) -> Result<(), Stuck> {
    let store_too = world.dice.one_in(2);
    if store_too {
        world.faulty.follow(Script::From(world.faulty.calls(), store::Fault::Unavailable));
    } else {
        world.host.inject(Strike::next(Fault::Unreachable).always());
    }
    let decisions = world.dice.below(40);
    world.advance_some(decisions).await?;
    world.host.heal();
    world.faulty.follow(Script::Never);
    Ok(())
}

async fn pass_time(world: &World) {
    let hours = [1, 12, 30, 80, 24 * 8];
    let hours = world.dice.pick(&hours).copied().unwrap_or(1);
    world.clock.advance_seconds(hours * 3600);
    world.expire_points().await;
    if world.dice.one_in(2) {
        // To the minute at which the next scheduled runs are due.
        let now = world.clock.now().seconds();
        world.clock.advance_seconds(TWELVE_HOURS - now.rem_euclid(TWELVE_HOURS));
        StartDueJobs::new(world.backup().clone()).activate().await;
    }
}

async fn come_round(world: &World) {
    match world.dice.below(3) {
        0 => drop(world.settle_groups().await),
        1 => drop(world.watch_hosts().await),
        _ => drop(CollectGarbage::new(world.blocks().clone()).activate().await),
    }
}

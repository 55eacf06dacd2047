//! One history: who goes on when, what gets lost, who dies, how time passes, all drawn from a seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use futures::executor::{LocalPool, block_on};
use futures::future::{AbortHandle, Abortable};
use futures::task::LocalSpawnExt;
use hikae_depot::{Depot, Depth, Margins};
use model::{Clock, GroupId, Timestamp};
use store::{Operation, Store};
use tokio_util::sync::CancellationToken;

use crate::common::{Dice, Hands, Pad, objects, restore, small};
use crate::model::{HOUR_S, Shared, Standing};
use crate::support::network::{Fate, Network};
use crate::tasks::{Actor, Kind};

/// A write on its way lands within this, or never: `gc.rs` stands on an hour.
const LATE_S_MAX: i64 = 3000;
/// Clocks of two processes differ by less than an hour.
const SKEW_S_MAX: u32 = 1700;
const STEPS_MAX: usize = 200_000;

/// What came about in one history, or in many.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    pub histories: usize,
    pub operations: usize,
    pub faults: usize,
    pub crashes: usize,
    pub frozen: usize,
    pub seals: usize,
    pub restores: usize,
    pub overtaken: usize,
    pub refused: usize,
    pub groups_in_the_end: usize,
    pub deleted_packs: usize,
    pub leaked_packs: usize,
}

impl Summary {
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.operations += other.operations;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.frozen += other.frozen;
        self.seals += other.seals;
        self.restores += other.restores;
        self.overtaken += other.overtaken;
        self.refused += other.refused;
        self.groups_in_the_end += other.groups_in_the_end;
        self.deleted_packs += other.deleted_packs;
        self.leaked_packs += other.leaked_packs;
    }

    /// Histories in which nothing happens prove nothing.
    pub fn has_seen_everything(&self) {
        let seen = [
            self.faults,
            self.crashes,
            self.frozen,
            self.seals,
            self.restores,
            self.overtaken,
            self.groups_in_the_end,
            self.deleted_packs,
            self.leaked_packs,
        ];
        assert!(seen.iter().all(|count| *count > 0), "{self:?}");
    }
}

/// A clock of one process, a little off.
struct Skewed(Arc<Hands>, i64);

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.0.now().plus_seconds(self.1)
    }
}

struct Task {
    kind: Kind,
    done: Rc<Cell<bool>>,
    abort: AbortHandle,
}

struct Process {
    depot: Rc<RefCell<Option<Arc<Depot>>>>,
    skew_s: i64,
    tasks: Vec<Task>,
}

struct History {
    shared: Rc<Shared>,
    pool: LocalPool,
    bucket: Arc<dyn Store>,
    dice: Arc<Dice>,
    processes: Vec<Process>,
    /// Tasks still to be started.
    budget: usize,
    /// Faults in so many operations, at most.
    fault_in: u32,
    /// This process stands still until so many tasks of others have ended.
    frozen: Option<(usize, usize)>,
    current: usize,
    late_since: Option<Timestamp>,
    summary: Summary,
}

/// A whole history, checked to its end. Panics with the promise that was broken.
pub fn live(seed: u64, tasks: usize) -> Summary {
    let mut history = History::new(seed, tasks);
    let mut steps = 0;
    while history.step() {
        steps += 1;
        assert!(steps < STEPS_MAX, "a history without end");
    }
    history.end()
}

impl History {
    fn new(seed: u64, tasks: usize) -> Self {
        let bucket = store::memory();
        let shared = Shared::new(Network::new(bucket.clone()), seed);
        let processes = (0..2 + shared.roll(3))
            .map(|_| Process {
                depot: Rc::default(),
                skew_s: i64::try_from(shared.roll(2 * SKEW_S_MAX)).unwrap() - i64::from(SKEW_S_MAX),
                tasks: Vec::new(),
            })
            .collect();
        let fault_in = [0, 0, 200, 40, 15][shared.roll(5)];
        shared.faults.set(fault_in > 0);
        Self {
            pool: LocalPool::new(),
            bucket,
            dice: Dice::new(seed),
            processes,
            budget: tasks,
            fault_in,
            frozen: None,
            current: 0,
            late_since: None,
            summary: Summary { histories: 1, ..Summary::default() },
            shared,
        }
    }

    /// False when all is done.
    fn step(&mut self) -> bool {
        self.pool.run_until_stalled();
        self.reap();
        let mut asked = self.shared.network.asked();
        if let Some((frozen, _)) = self.frozen {
            asked.retain(|(_, process, ..)| *process != frozen);
        }
        if asked.is_empty() {
            return self.go_on_without_asked();
        }
        match self.shared.roll(100) {
            0..8 if self.budget > 0 => self.start(),
            8 if self.budget > 0 && self.shared.one_in(3) => self.crash(),
            9..12 => self.pass(i64::try_from(self.shared.roll(600)).unwrap()),
            12 => self.jump(),
            13..16 => self.land(),
            _ => self.grant(asked),
        }
        true
    }

    fn go_on_without_asked(&mut self) -> bool {
        if self.budget > 0 {
            if self.frozen.is_some() && self.shared.one_in(2) {
                self.jump();
            }
            self.start();
            return true;
        }
        if self.frozen.take().is_some() {
            return true;
        }
        self.budget = usize::from(!self.shared.model.borrow().to_recover.is_empty());
        self.budget > 0 || self.processes.iter().any(|process| !process.tasks.is_empty())
    }

    fn reap(&mut self) {
        for process in 0..self.processes.len() {
            let before = self.processes[process].tasks.len();
            self.processes[process].tasks.retain(|task| !task.done.get());
            let ended = before - self.processes[process].tasks.len();
            match &mut self.frozen {
                Some((frozen, left)) if *frozen != process => *left = left.saturating_sub(ended),
                _ => {}
            }
        }
        if self.frozen.is_some_and(|(_, left)| left == 0) {
            self.frozen = None;
        }
    }

    fn start(&mut self) {
        let nth = self.shared.roll(u32::try_from(self.processes.len()).unwrap());
        if self.frozen.is_some_and(|(frozen, _)| frozen == nth) {
            return;
        }
        let process = &mut self.processes[nth];
        let Some(depot) = process.depot.borrow().clone() else { return self.start_process(nth) };
        if process.tasks.len() >= 2 {
            return;
        }
        self.budget -= 1;
        let recovering = !self.shared.model.borrow().to_recover.is_empty();
        let kind = match self.shared.roll(20) {
            _ if recovering && (self.budget == 0 || self.shared.one_in(2)) => Kind::Recover,
            // While somebody stands still, the others see to it that he misses something.
            _ if self.frozen.is_some() && !self.shared.one_in(3) => Kind::Collect,
            0..8 => Kind::Write,
            8..11 => Kind::Delete,
            11..16 => Kind::Collect,
            16..19 => Kind::Restore,
            _ => Kind::Verify,
        };
        self.shared.trace(|| format!("process {nth} begins {kind:?}"));
        let actor = Actor { process: nth, depot, shared: self.shared.clone() };
        let (done, (abort, registration)) = (Rc::new(Cell::new(false)), AbortHandle::new_pair());
        let ended = done.clone();
        let work = async move {
            let _ = Abortable::new(actor.run(kind), registration).await;
            ended.set(true);
        };
        self.pool.spawner().spawn_local(work).expect("a pool");
        self.processes[nth].tasks.push(Task { kind, done, abort });
    }

    fn start_process(&mut self, nth: usize) {
        let process = &mut self.processes[nth];
        if !process.tasks.is_empty() {
            return;
        }
        let (place, shared) = (process.depot.clone(), self.shared.clone());
        let clock = Arc::new(Skewed(shared.clock.clone(), process.skew_s));
        let (store, dice) = (shared.network.of(nth), self.dice.clone());
        let (done, (abort, registration)) = (Rc::new(Cell::new(false)), AbortHandle::new_pair());
        let ended = done.clone();
        let work = async move {
            let open = Depot::open_or_init(store, Arc::new(Pad), dice, clock, small());
            match Abortable::new(open, registration).await {
                Ok(Ok(depot)) => drop(place.borrow_mut().insert(depot)),
                Ok(Err(error)) => shared.excuse("open", &error, false),
                Err(_) => {}
            }
            ended.set(true);
        };
        self.pool.spawner().spawn_local(work).expect("a pool");
        self.processes[nth].tasks.push(Task { kind: Kind::Restore, done, abort });
    }

    /// A process dies, with all it was about; what it had sent may still land.
    fn crash(&mut self) {
        let nth = self.shared.roll(u32::try_from(self.processes.len()).unwrap());
        let process = &mut self.processes[nth];
        self.shared.trace(|| {
            format!("process {nth} dies in {:?}", process.tasks.iter().map(|t| t.kind).collect::<Vec<_>>())
        });
        for task in process.tasks.drain(..) {
            task.abort.abort();
        }
        *process.depot.borrow_mut() = None;
        self.summary.crashes += 1;
        self.pool.run_until_stalled();
        let mut model = self.shared.model.borrow_mut();
        let (dead, alive) = std::mem::take(&mut model.sealing)
            .into_iter()
            .partition::<std::collections::BTreeMap<_, _>, _>(|(_, sealing)| sealing.process == nth);
        model.sealing = alive;
        for (_, sealing) in dead {
            // A tool never comes back to its seal; a server's journal does.
            if self.shared.one_in(2) {
                model.to_recover.push(sealing);
            }
        }
    }

    fn pass(&mut self, seconds: i64) {
        let then = self.shared.now().plus_seconds(seconds);
        while self.late_since.is_some_and(|since| since.plus_seconds(LATE_S_MAX) < then) {
            self.land();
        }
        self.shared.clock.advance_s(seconds);
    }

    fn jump(&mut self) {
        let hours = [1, 23, 25, 25, 25, 80][self.shared.roll(6)];
        self.shared.trace(|| format!("{hours} hours pass"));
        self.pass(hours * HOUR_S);
    }

    fn land(&mut self) {
        let late = self.shared.network.late();
        if late.is_empty() {
            self.late_since = None;
            return;
        }
        let nth = self.shared.roll(u32::try_from(late.len()).unwrap());
        let lands = !self.shared.one_in(3);
        self.shared.trace(|| format!("late: {} {}", late[nth], if lands { "lands" } else { "is lost" }));
        block_on(self.shared.network.arrive(nth, lands));
    }

    fn grant(&mut self, mut asked: Vec<(u64, usize, Operation, String)>) {
        if asked.iter().any(|(_, process, ..)| *process == self.current) && !self.shared.one_in(8) {
            asked.retain(|(_, process, ..)| *process == self.current);
        }
        let nth = self.shared.roll(u32::try_from(asked.len()).unwrap());
        let (number, process, operation, name) = asked.swap_remove(nth);
        self.current = process;
        let telling = ["intents/", "groups/", "gc/"].iter().any(|folder| name.starts_with(folder));
        let writes = matches!(operation, Operation::PutNew | Operation::Delete);
        if self.frozen.is_none() && self.budget > 1 && self.shared.one_in(if telling { 12 } else { 60 }) {
            let left = 1 + self.shared.roll(4);
            self.shared.trace(|| format!("process {process} stands still before {operation:?} {name}"));
            self.frozen = Some((process, left));
            self.summary.frozen += 1;
            return;
        }
        let fate = match self.shared.roll(5) {
            _ if self.fault_in == 0 || !self.shared.one_in(self.fault_in) => Fate::Through,
            0 => Fate::Fails,
            1 => Fate::LostBefore,
            2 | 3 => Fate::LostAfter,
            _ => Fate::Late,
        };
        if fate != Fate::Through || writes || telling {
            self.shared.trace(|| format!("process {process} {operation:?} {name}: {fate:?}"));
        }
        if fate == Fate::Late && writes && self.late_since.is_none() {
            self.late_since = Some(self.shared.now());
        }
        self.summary.operations += 1;
        self.summary.faults += usize::from(fate != Fate::Through);
        self.shared.network.decide(number, fate);
    }

    /// Everything has come to rest: now the depot must hold what the model says, and nothing else.
    fn end(mut self) -> Summary {
        while !self.shared.network.late().is_empty() {
            self.land();
        }
        self.shared.network.set_free();
        self.shared.faults.set(false);
        block_on(self.audit());
        let model = self.shared.model.borrow();
        self.summary.seals = model.seals;
        self.summary.overtaken = model.overtaken;
        self.summary.refused = model.refused;
        self.summary.restores = model.restores;
        self.summary.deleted_packs = model.deleted_packs;
        self.summary.clone()
    }

    /// A process that remembers nothing.
    async fn open(&self) -> Arc<Depot> {
        let (store, clock) = (self.shared.network.of(99), self.shared.clock.clone());
        Depot::open_or_init(store, Arc::new(Pad), self.dice.clone(), clock, small()).await.expect("a depot")
    }

    async fn audit(&mut self) {
        let groups = self.check_groups().await;
        self.summary.groups_in_the_end = groups.len();
        for depth in [Depth::Names, Depth::Data] {
            let report = self.open().await.verify(depth, &CancellationToken::new()).await.unwrap();
            assert_eq!(report.findings, [], "verify {depth:?}");
        }
        let needed = self.packs_read(&groups).await;
        let there = self.packs().await;
        assert!(needed.is_subset(&there), "holes");
        self.summary.leaked_packs = there.len() - needed.len();
        self.collect().await;
        assert_eq!(self.packs().await, needed, "not exactly what the groups need");
        assert_eq!(self.check_groups().await, groups, "collection lost a group");
        let depot = self.open().await;
        for group in &groups {
            depot.delete_group(GroupId::from_bits(*group)).await.unwrap();
        }
        self.collect().await;
        assert_eq!(self.packs().await, BTreeSet::new(), "leaked for ever");
    }

    /// Enough visits, each by a process of its own.
    async fn collect(&self) {
        for _ in 0..3 {
            self.shared.clock.advance_s(25 * HOUR_S);
            let report = self.open().await.collect(Margins::STANDARD, &[]).await.unwrap();
            assert_eq!(report.refused, None);
        }
    }

    /// Those that are there, each restored and compared; those that must be there are.
    async fn check_groups(&self) -> BTreeSet<u128> {
        let depot = self.open().await;
        let listed: BTreeSet<u128> = depot.groups().await.unwrap().into_iter().map(GroupId::bits).collect();
        let model = self.shared.model.borrow().groups.clone();
        for (id, group) in &model {
            match group.standing {
                Standing::Sealed => assert!(listed.contains(id), "group {id} was sealed and is lost"),
                Standing::Gone => assert!(!listed.contains(id), "group {id} was deleted and is there"),
                Standing::Doubtful => {}
            }
        }
        for id in &listed {
            let found = depot.group(GroupId::from_bits(*id)).await.unwrap().expect("listed");
            let restored = restore(&depot, &found.disks[0].tree).await;
            let restored = restored.unwrap_or_else(|error| panic!("group {id}: {error:?}"));
            let known = model.get(id).unwrap_or_else(|| panic!("nobody wrote group {id}"));
            assert!(restored == *known.content, "group {id} restores to other content");
        }
        listed
    }

    /// What a reader that remembers nothing needs for them.
    async fn packs_read(&self, groups: &BTreeSet<u128>) -> BTreeSet<String> {
        let depot = self.open().await;
        drop(self.shared.network.take_read());
        for id in groups {
            let found = depot.group(GroupId::from_bits(*id)).await.unwrap().expect("listed");
            restore(&depot, &found.disks[0].tree).await.unwrap();
        }
        self.shared.network.take_read().into_iter().filter(|name| name.starts_with("packs/")).collect()
    }

    async fn packs(&self) -> BTreeSet<String> {
        objects(&self.bucket).await.into_keys().filter(|name| name.starts_with("packs/")).collect()
    }
}

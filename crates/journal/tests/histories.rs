//! Every history of small workflows, not a sample: all shapes of one to four steps, every outcome
//! of every step, a cancel at any moment, and a crash before the effect, after the effect, or
//! after the record.
//!
//! The world keeps what really happened, apart from the log, so that the log can be caught lying.

use journal::{Event, Log, Next, Outcome, Shape};
use model::{Code, Refusal};

const CRASHES_MAX: u32 = 2;

/// What really happened to each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Half,
    Whole,
}

#[derive(Clone)]
struct World {
    shape: Shape,
    log: Log,
    events: Vec<Event>,
    effects: Vec<Effect>,
    started: Vec<bool>,
    committed: bool,
    crashes: u32,
    cancelled: bool,
}

impl World {
    fn record(&mut self, event: Event) {
        self.log.apply(event.clone()).expect("the runner records only what may follow");
        self.events.push(event);
    }

    /// A new process reads the log; nothing else survives.
    fn crash(mut self) -> Option<Self> {
        if self.crashes == CRASHES_MAX {
            return None;
        }
        self.crashes += 1;
        let replayed = Log::replay(self.shape, &self.events).expect("a log replays");
        assert_eq!(replayed, self.log, "a replay says what the live log said");
        Some(self)
    }

    fn finish(&mut self, step: usize) {
        self.effects[step] = Effect::Whole;
        if step == self.shape.commit {
            self.committed = true;
        }
    }
}

fn refusal() -> Refusal {
    Refusal::new(Code::Internal, "made to fail")
}

fn walk(world: World, histories: &mut u64) {
    if !world.cancelled && !matches!(world.log.next(), Next::Rest(_)) {
        let mut cancelled = world.clone();
        cancelled.cancelled = true;
        cancelled.record(Event::CancelAsked);
        walk(cancelled, histories);
    }
    match world.log.next() {
        Next::Run(step) => run(world, step, histories),
        Next::Undo(step) => undo(world, step, histories),
        Next::Rest(outcome) => {
            *histories += 1;
            rest(&world, &outcome);
            let mut rested = world;
            rested.record(Event::Rested);
            assert_eq!(rested.log.next(), Next::Rest(outcome), "a rest is for good");
        }
    }
}

fn run(mut world: World, step: usize, histories: &mut u64) {
    // J1, by what really happened.
    assert!(world.effects[..step].iter().all(|effect| *effect == Effect::Whole), "J1: {:?}", world.events);
    if !world.log.has_started(step) {
        world.record(Event::Started { step });
        world.started[step] = true;
    }
    // Crash before the effect.
    if let Some(crashed) = world.clone().crash() {
        walk(crashed, histories);
    }
    // It happens; crash before that is recorded.
    let mut done = world.clone();
    done.finish(step);
    if let Some(crashed) = done.clone().crash() {
        walk(crashed, histories);
    }
    done.record(Event::Done { step });
    walk(done, histories);
    // It fails and leaves half behind. A commit that already happened cannot turn out to have failed.
    let may_fail = step <= world.shape.commit && !(step == world.shape.commit && world.committed);
    if may_fail {
        let mut failed = world;
        failed.effects[step] = Effect::Half;
        if let Some(crashed) = failed.clone().crash() {
            walk(crashed, histories);
        }
        failed.record(Event::Failed { step, refusal: refusal() });
        walk(failed, histories);
    }
}

fn undo(mut world: World, step: usize, histories: &mut u64) {
    assert!(!world.committed, "J2/J4: undo of {step} after the commit happened: {:?}", world.events);
    assert!(
        world.effects[step + 1..].iter().all(|effect| *effect == Effect::None),
        "undone in reverse order: {:?}",
        world.events
    );
    if let Some(crashed) = world.clone().crash() {
        walk(crashed, histories);
    }
    world.effects[step] = Effect::None;
    if let Some(crashed) = world.clone().crash() {
        walk(crashed, histories);
    }
    world.record(Event::Undone { step });
    walk(world, histories);
}

fn rest(world: &World, outcome: &Outcome) {
    match outcome {
        Outcome::Completed => {
            assert!(world.effects.iter().all(|effect| *effect == Effect::Whole), "{:?}", world.events);
        }
        Outcome::Failed(_) | Outcome::Canceled => {
            assert!(!world.committed, "J2: {:?}", world.events);
            assert!(
                world.effects.iter().all(|effect| *effect == Effect::None),
                "J3: something is left behind: {:?}",
                world.events
            );
        }
    }
}

#[test]
fn every_history_of_one_to_four_steps() {
    let mut histories = 0;
    for steps in 1..=4 {
        for commit in 0..steps {
            let shape = Shape { steps, commit };
            let world = World {
                shape,
                log: Log::new(shape),
                events: Vec::new(),
                effects: vec![Effect::None; steps],
                started: vec![false; steps],
                committed: false,
                crashes: 0,
                cancelled: false,
            };
            walk(world, &mut histories);
        }
    }
    assert!(histories > 5_000, "only {histories} histories: the walk lost its way");
}

#[test]
fn a_cancel_in_doubt_waits() {
    let shape = Shape { steps: 2, commit: 1 };
    let events =
        [Event::Started { step: 0 }, Event::Done { step: 0 }, Event::Started { step: 1 }, Event::CancelAsked];
    let mut log = Log::replay(shape, &events).expect("legal");
    assert_eq!(log.next(), Next::Run(1), "the truth must be known first");
    log.apply(Event::Done { step: 1 }).expect("the commit had landed");
    assert_eq!(log.next(), Next::Rest(Outcome::Completed));
}

#[test]
fn events_out_of_order_are_refused() {
    let shape = Shape { steps: 3, commit: 1 };
    let illegal: &[&[Event]] = &[
        &[Event::Done { step: 0 }],
        &[Event::Started { step: 1 }],
        &[Event::Started { step: 7 }],
        &[Event::Undone { step: 0 }],
        &[Event::Rested],
        &[Event::Started { step: 0 }, Event::Started { step: 0 }],
        &[Event::Started { step: 0 }, Event::Undone { step: 0 }],
        &[Event::Started { step: 0 }, Event::Done { step: 0 }, Event::Failed { step: 0, refusal: refusal() }],
        &[
            Event::Started { step: 0 },
            Event::Done { step: 0 },
            Event::Started { step: 1 },
            Event::Done { step: 1 },
            Event::Started { step: 2 },
            Event::Failed { step: 2, refusal: refusal() },
        ],
    ];
    for events in illegal {
        assert!(Log::replay(shape, events).is_err(), "{events:?}");
    }
}

#[test]
fn events_survive_json() {
    let event = Event::Failed { step: 3, refusal: refusal() };
    let text = serde_json::to_string(&event).expect("json");
    assert_eq!(serde_json::from_str::<Event>(&text).expect("json"), event);
}

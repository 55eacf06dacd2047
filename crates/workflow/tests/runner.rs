//! The loop around the journal, over a tiny workflow whose steps do as they are told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use catalog::{Batch, Catalog, CatalogError, Setting, WorkflowRow};
use journal::Outcome;
use model::{Code, Refusal, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use workflow::{
    ATTEMPTS_MAX, Admission, Advance, Context, Crash, Flow, Moment, NoCrash, Outline, Runner, RunnerError,
    StepError, Workflow, WorkflowFactory,
};

const STEPS: &[&str] = &["First", "Commit", "Last"];
const FIRST: usize = 0;
const COMMIT: usize = 1;
const LAST: usize = 2;
const ID: &str = "workflow-1";

/// What a step does when it is run or undone; when nothing is left on its list it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Wait,
    Again,
    Fail,
    Panic,
    /// Goes on until it is interrupted.
    UntilInterrupted,
    /// Goes on until the test says so.
    UntilTold,
}

#[derive(Debug, Default)]
struct Stage {
    acts: Mutex<HashMap<(usize, bool), VecDeque<Act>>>,
    seen: Mutex<Vec<String>>,
    begun: Notify,
    told: Notify,
    rests_to_panic: AtomicU32,
}

impl Stage {
    fn will(&self, step: usize, undo: bool, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().entry((step, undo)).or_default().extend(acts);
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn count(&self, what: &str) -> usize {
        self.seen().iter().filter(|seen| *seen == what).count()
    }

    async fn act(&self, step: usize, undo: bool, context: &Context) -> Result<Flow, StepError> {
        let verb = if undo { "undo" } else { "run" };
        self.seen.lock().unwrap().push(format!("{verb} {}", STEPS[step]));
        let act = self.acts.lock().unwrap().get_mut(&(step, undo)).and_then(VecDeque::pop_front);
        self.begun.notify_one();
        match act {
            None => Ok(Flow::Done),
            Some(Act::Wait) => Ok(Flow::Waiting),
            Some(Act::Again) => Err(StepError::Again(refusal("not now"))),
            Some(Act::Fail) => Err(StepError::Failed(refusal("never"))),
            Some(Act::Panic) => panic!("told to panic"),
            Some(Act::UntilInterrupted) => {
                context.interrupted.cancelled().await;
                Err(StepError::Interrupted)
            }
            Some(Act::UntilTold) => {
                self.told.notified().await;
                Ok(Flow::Done)
            }
        }
    }
}

fn refusal(message: &str) -> Refusal {
    Refusal::new(Code::HostFailed, message)
}

struct Tiny(Arc<Stage>);

#[async_trait]
impl Workflow for Tiny {
    fn outline(&self) -> Outline {
        Outline { kind: "Bench", steps: STEPS, commit: COMMIT }
    }

    async fn run(&self, step: usize, context: &Context) -> Result<Flow, StepError> {
        self.0.act(step, false, context).await
    }

    async fn undo(&self, step: usize, context: &Context) -> Result<Flow, StepError> {
        self.0.act(step, true, context).await
    }

    async fn rest(&self, outcome: &Outcome) -> Result<Batch, StepError> {
        let left = &self.0.rests_to_panic;
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            panic!("told to panic");
        }
        let end = Setting { name: "end".to_owned(), value: format!("{outcome:?}") };
        Ok(Batch::new().put(&end))
    }
}

struct Factory(Arc<Stage>);

impl WorkflowFactory for Factory {
    fn build(&self, row: &WorkflowRow) -> Result<Box<dyn Workflow>, Refusal> {
        match row.kind.as_str() {
            "Tiny" => Ok(Box::new(Tiny(Arc::clone(&self.0)))),
            other => Err(Refusal::new(Code::Internal, format!("no workflow is called {other}"))),
        }
    }
}

struct Bench {
    catalog: Catalog,
    stage: Arc<Stage>,
    runner: Runner,
}

fn row(kind: &str) -> WorkflowRow {
    WorkflowRow {
        id: ID.to_owned(),
        service: "test".to_owned(),
        kind: kind.to_owned(),
        params: serde_json::json!({ "of": 1 }),
        created: Timestamp(1),
        finished: false,
    }
}

impl Bench {
    /// One admitted workflow.
    async fn new() -> Self {
        let catalog = Catalog::open("sqlite::memory:").await.expect("a catalog");
        let stage = Arc::new(Stage::default());
        let runner = process(&catalog, &stage, Arc::new(NoCrash));
        let admitted = runner.admit(&row("Tiny"), Batch::new()).await.expect("admitted");
        assert_eq!(admitted, Admission::Admitted);
        Self { catalog, stage, runner }
    }

    async fn advance(&self) -> Advance {
        self.runner.advance(ID).await.expect("an advance")
    }

    async fn to_rest(&self) -> Outcome {
        for _ in 0..200 {
            match self.runner.advance(ID).await {
                Ok(Advance::Rested(outcome)) => return outcome,
                Ok(_) | Err(RunnerError::Interrupted) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("it does not come to rest: {:?}", self.stage.seen());
    }

    async fn end(&self) -> Option<String> {
        let end = self.catalog.get::<Setting>(&"end".to_owned()).await.expect("read");
        end.map(|setting| setting.value)
    }
}

fn process(catalog: &Catalog, stage: &Arc<Stage>, crash: Arc<dyn Crash>) -> Runner {
    let factory = Box::new(Factory(Arc::clone(stage)));
    Runner::new(catalog.clone(), "test", factory, crash, CancellationToken::new())
}

#[tokio::test]
async fn steps_run_in_order_and_the_end_is_recorded_with_the_rest() {
    let bench = Bench::new().await;
    for _ in STEPS {
        assert_eq!(bench.advance().await, Advance::Moved);
        assert_eq!(bench.end().await, None);
    }
    assert_eq!(bench.advance().await, Advance::Rested(Outcome::Completed));
    assert_eq!(bench.stage.seen(), ["run First", "run Commit", "run Last"]);
    assert_eq!(bench.end().await.as_deref(), Some("Completed"));
    assert!(bench.runner.unfinished().await.expect("a list").is_empty());
    // Asked once more, it only says so again.
    assert_eq!(bench.advance().await, Advance::Rested(Outcome::Completed));
}

#[tokio::test]
async fn admitting_again_is_known_and_another_of_that_id_is_refused() {
    let bench = Bench::new().await;
    assert_eq!(bench.runner.admit(&row("Tiny"), Batch::new()).await.expect("known"), Admission::Known);
    let other = WorkflowRow { params: serde_json::json!({ "of": 2 }), ..row("Tiny") };
    let refused = bench.runner.admit(&other, Batch::new()).await;
    assert!(matches!(refused, Err(CatalogError::Exists { .. })), "{refused:?}");
}

#[tokio::test]
async fn before_the_commit_tries_end() {
    let bench = Bench::new().await;
    bench.stage.will(FIRST, false, [Act::Again; 100]);
    for attempts in 1..ATTEMPTS_MAX {
        assert_eq!(bench.advance().await, Advance::Again { attempts });
    }
    assert_eq!(bench.to_rest().await, Outcome::Failed(refusal("not now")));
    assert_eq!(bench.stage.count("run First"), ATTEMPTS_MAX as usize);
    assert_eq!(bench.stage.count("undo First"), 1);
    assert_eq!(bench.stage.count("run Commit"), 0);
}

#[tokio::test]
async fn from_the_commit_on_tries_do_not_end() {
    for step in [COMMIT, LAST] {
        let bench = Bench::new().await;
        bench.stage.will(step, false, [Act::Again; 30]);
        assert_eq!(bench.to_rest().await, Outcome::Completed);
        assert_eq!(bench.stage.count(&format!("run {}", STEPS[step])), 31);
    }
}

#[tokio::test]
async fn what_comes_after_the_commit_cannot_fail() {
    let bench = Bench::new().await;
    bench.stage.will(LAST, false, [Act::Fail; 12]);
    assert_eq!(bench.to_rest().await, Outcome::Completed);
    assert!(!bench.stage.seen().iter().any(|seen| seen.starts_with("undo")));
}

#[tokio::test]
async fn a_failed_step_is_undone_too_in_reverse() {
    let bench = Bench::new().await;
    bench.stage.will(COMMIT, false, [Act::Fail]);
    assert_eq!(bench.to_rest().await, Outcome::Failed(refusal("never")));
    assert_eq!(bench.stage.seen(), ["run First", "run Commit", "undo Commit", "undo First"]);
}

#[tokio::test]
async fn an_undo_is_tried_until_it_works() {
    let bench = Bench::new().await;
    bench.stage.will(COMMIT, false, [Act::Fail]);
    bench.stage.will(FIRST, true, [Act::Again, Act::Fail, Act::Panic, Act::Wait]);
    bench.stage.will(FIRST, true, [Act::Again; 20]);
    assert_eq!(bench.to_rest().await, Outcome::Failed(refusal("never")));
    assert_eq!(bench.stage.count("undo First"), 25);
}

#[tokio::test]
async fn a_panic_fails_a_step_before_the_commit_and_only_delays_one_from_it_on() {
    let bench = Bench::new().await;
    bench.stage.will(FIRST, false, [Act::Panic]);
    let Outcome::Failed(failure) = bench.to_rest().await else { panic!("a panic is a failure") };
    assert_eq!(failure.code, Code::Internal);
    assert_eq!(bench.stage.seen(), ["run First", "undo First"]);
    // The commit may have happened before the panic: it is found out, never undone.
    for step in [COMMIT, LAST] {
        let bench = Bench::new().await;
        bench.stage.will(step, false, [Act::Panic]);
        assert_eq!(bench.to_rest().await, Outcome::Completed);
        assert_eq!(bench.stage.count(&format!("run {}", STEPS[step])), 2);
    }
}

#[tokio::test]
async fn a_panic_at_the_end_only_delays_it() {
    let bench = Bench::new().await;
    bench.stage.rests_to_panic.store(2, Ordering::SeqCst);
    assert_eq!(bench.to_rest().await, Outcome::Completed);
    assert_eq!(bench.end().await.as_deref(), Some("Completed"));
}

#[tokio::test]
async fn waiting_costs_no_tries() {
    let bench = Bench::new().await;
    bench.stage.will(FIRST, false, [Act::Wait; 50]);
    for _ in 0..50 {
        assert_eq!(bench.advance().await, Advance::Waiting);
    }
    assert_eq!(bench.to_rest().await, Outcome::Completed);
}

#[tokio::test]
async fn cancelled_before_it_began_it_does_nothing() {
    let bench = Bench::new().await;
    assert!(bench.runner.cancel(ID).await.expect("known"));
    assert_eq!(bench.to_rest().await, Outcome::Canceled);
    assert_eq!(bench.stage.seen(), Vec::<String>::new());
    assert_eq!(bench.end().await.as_deref(), Some("Canceled"));
    assert!(!bench.runner.cancel(ID).await.expect("asked"), "what rests is not cancelled");
    assert!(!bench.runner.cancel("nobody").await.expect("asked"));
}

#[tokio::test]
async fn cancelled_before_the_commit_it_is_undone() {
    let bench = Bench::new().await;
    assert_eq!(bench.advance().await, Advance::Moved);
    bench.runner.cancel(ID).await.expect("known");
    assert_eq!(bench.to_rest().await, Outcome::Canceled);
    assert_eq!(bench.stage.seen(), ["run First", "undo First"]);
}

#[tokio::test]
async fn a_cancel_interrupts_the_step_that_runs() {
    let bench = Bench::new().await;
    bench.stage.will(FIRST, false, [Act::UntilInterrupted]);
    let (advanced, cancelled) = tokio::join!(bench.runner.advance(ID), async {
        bench.stage.begun.notified().await;
        bench.runner.cancel(ID).await
    });
    assert!(matches!(advanced, Err(RunnerError::Interrupted)), "{advanced:?}");
    assert!(cancelled.expect("known"));
    assert_eq!(bench.to_rest().await, Outcome::Canceled);
    assert_eq!(bench.stage.seen(), ["run First", "undo First"]);
}

#[tokio::test]
async fn in_doubt_a_cancel_waits_for_the_truth() {
    let bench = Bench::new().await;
    bench.stage.will(COMMIT, false, [Act::Again, Act::Again, Act::Again]);
    assert_eq!(bench.advance().await, Advance::Moved);
    assert_eq!(bench.advance().await, Advance::Again { attempts: 1 });
    bench.runner.cancel(ID).await.expect("known");
    assert_eq!(bench.to_rest().await, Outcome::Completed);
    assert_eq!(bench.stage.count("run Commit"), 4);
    assert!(!bench.stage.seen().iter().any(|seen| seen.starts_with("undo")));
}

#[tokio::test]
async fn in_doubt_a_proved_failure_lets_the_cancel_through() {
    let bench = Bench::new().await;
    bench.stage.will(COMMIT, false, [Act::Again, Act::Fail]);
    assert_eq!(bench.advance().await, Advance::Moved);
    assert_eq!(bench.advance().await, Advance::Again { attempts: 1 });
    bench.runner.cancel(ID).await.expect("known");
    assert_eq!(bench.to_rest().await, Outcome::Failed(refusal("never")));
    assert_eq!(bench.stage.count("undo First"), 1);
}

#[tokio::test]
async fn a_commit_interrupted_by_its_cancel_is_run_again_uninterrupted() {
    let bench = Bench::new().await;
    bench.stage.will(COMMIT, false, [Act::UntilInterrupted]);
    assert_eq!(bench.advance().await, Advance::Moved);
    let (advanced, _) = tokio::join!(bench.runner.advance(ID), async {
        bench.stage.begun.notified().await;
        // The permit may be the first step's.
        while bench.stage.count("run Commit") == 0 {
            tokio::task::yield_now().await;
        }
        bench.runner.cancel(ID).await
    });
    assert!(matches!(advanced, Err(RunnerError::Interrupted)), "{advanced:?}");
    assert_eq!(bench.to_rest().await, Outcome::Completed);
}

#[tokio::test]
async fn after_the_commit_a_cancel_changes_nothing() {
    let bench = Bench::new().await;
    bench.advance().await;
    bench.advance().await;
    bench.runner.cancel(ID).await.expect("known");
    assert_eq!(bench.to_rest().await, Outcome::Completed);
    assert_eq!(bench.stage.seen(), ["run First", "run Commit", "run Last"]);
}

#[tokio::test]
async fn of_two_runners_one_loses() {
    let bench = Bench::new().await;
    bench.stage.will(FIRST, false, [Act::UntilTold]);
    let other = process(&bench.catalog, &bench.stage, Arc::new(NoCrash));
    let (slow, fast) = tokio::join!(bench.runner.advance(ID), async {
        bench.stage.begun.notified().await;
        let fast = other.advance(ID).await;
        bench.stage.told.notify_one();
        fast
    });
    assert_eq!(fast.expect("the faster one goes on"), Advance::Moved);
    assert!(matches!(slow, Err(RunnerError::Lost(_))), "{slow:?}");
    assert_eq!(bench.to_rest().await, Outcome::Completed);
    assert_eq!(bench.stage.count("run Commit"), 1);
}

/// Dies at one moment, once.
#[derive(Debug)]
struct DieAt(Mutex<Option<(usize, bool, Moment)>>);

impl Crash for DieAt {
    fn dies(&self, _: &WorkflowRow, step: usize, undo: bool, moment: Moment) -> bool {
        let mut at = self.0.lock().unwrap();
        let dies = *at == Some((step, undo, moment));
        if dies {
            *at = None;
        }
        dies
    }
}

#[tokio::test]
async fn a_new_process_takes_up_what_the_last_one_left() {
    for undo in [false, true] {
        let last = if undo { COMMIT } else { LAST };
        for (step, name) in STEPS.iter().enumerate().take(last + 1) {
            for moment in Moment::ALL {
                let bench = Bench::new().await;
                let reached = Arc::new(DieAt(Mutex::new(Some((step, undo, moment)))));
                let first = process(&bench.catalog, &bench.stage, reached.clone());
                if undo {
                    bench.stage.will(COMMIT, false, [Act::Fail]);
                }
                let crashed = loop {
                    match first.advance(ID).await {
                        Err(error) => break error,
                        Ok(Advance::Rested(_)) => panic!("it never died"),
                        Ok(_) => {}
                    }
                };
                assert!(matches!(crashed, RunnerError::Crashed), "{crashed:?}");
                let left = bench.runner.unfinished().await.expect("a list");
                assert_eq!(left.len(), 1);
                let outcome = bench.to_rest().await;
                let what = format!("{undo} {step} {moment:?}: {:?}", bench.stage.seen());
                assert_eq!(outcome == Outcome::Completed, !undo, "{what}");
                let verb = if undo { "undo" } else { "run" };
                let times = bench.stage.count(&format!("{verb} {name}"));
                // Before the effect it was never seen; after it, without its record, it comes twice.
                assert_eq!(times, if moment == Moment::AfterEffect { 2 } else { 1 }, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_cannot_be_built_is_left_alone() {
    let bench = Bench::new().await;
    let odd = WorkflowRow { id: "odd".to_owned(), ..row("Odd") };
    bench.runner.admit(&odd, Batch::new()).await.expect("admitted");
    let refused = bench.runner.advance("odd").await;
    assert!(matches!(refused, Err(RunnerError::Unbuildable { .. })), "{refused:?}");
    assert!(matches!(bench.runner.advance("nobody").await, Err(RunnerError::Unknown(_))));
    assert_eq!(bench.runner.unfinished().await.expect("a list").len(), 2);
}

#[tokio::test]
async fn in_the_background_it_comes_to_rest_and_runs_once() {
    let bench = Bench::new().await;
    assert_eq!(bench.runner.resume().await.expect("resumed"), 1);
    bench.runner.spawn(ID.to_owned());
    while !bench.runner.unfinished().await.expect("a list").is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.stage.seen(), ["run First", "run Commit", "run Last"]);
}

/// A step that waits is run again as soon as something it may wait for has come to rest.
#[tokio::test]
async fn a_rest_elsewhere_ends_a_wait() {
    let bench = Bench::new().await;
    bench.stage.will(FIRST, false, [Act::Wait]);
    let child = WorkflowRow { id: "child".to_owned(), ..row("Tiny") };
    let other = process(&bench.catalog, &Arc::default(), Arc::new(NoCrash));
    other.admit(&child, Batch::new()).await.expect("admitted");

    // Nobody lives to see it look by itself.
    let parent =
        bench.runner.clone().waiting_for(&other).looking_every(std::time::Duration::from_secs(86_400));
    parent.spawn(ID.to_owned());
    bench.stage.begun.notified().await;
    other.spawn(child.id);
    while !parent.unfinished().await.expect("a list").is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.stage.seen(), ["run First", "run First", "run Commit", "run Last"]);
}

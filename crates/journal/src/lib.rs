//! Durable workflows, decided: a log of step events and one pure [`Log::next`].
//!
//! A workflow is a list of steps, one of which commits. Whoever runs it records an event, acts,
//! and records the outcome; after a crash somebody else reads the log and asks again. What must
//! happen next depends on the log alone:
//!
//! * J1: a step starts only when all before it are done.
//! * J2: nothing is undone once committed; what comes after the commit is repeated until it is done.
//! * J3: a workflow rests unwound only when every step that *started* is undone, in reverse order.
//!   A step that started may have happened, half happened or never happened; its undo accepts all three.
//! * J4: nothing is undone while the commit is in doubt (started, outcome unknown). It is run again
//!   until the truth is known, and a cancel waits.
//!
//! Steps have no outputs. Every id they need was drawn at admission and stands in the workflow's
//! parameters; what a step learns is kept with the thing it is about.

use model::Refusal;
use serde::{Deserialize, Serialize};

/// One line of a workflow's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// About to act. Recorded before the effect.
    Started { step: usize },
    /// The step happened.
    Done { step: usize },
    /// The step certainly did not happen as a whole; it may have left parts behind. Of the commit
    /// step: it certainly did not commit.
    Failed { step: usize, refusal: Refusal },
    /// Somebody asked to stop.
    CancelAsked,
    /// What the step did is gone.
    Undone { step: usize },
    /// It is over; recorded together with what its end means.
    Rested,
}

/// What a workflow looks like to its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub steps: usize,
    /// Index of the step that commits.
    pub commit: usize,
}

/// NotStarted ──► Started ──► Done ──► Undone
///                   └──────► Failed ──┘    (Started ──► Undone as well: it may have happened)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepState {
    NotStarted,
    Started,
    Done,
    Failed,
    Undone,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Record `Started` (if it is not yet), act, record `Done` or `Failed`.
    Run(usize),
    /// Undo the step, record `Undone`.
    Undo(usize),
    /// Nothing: it is over.
    Rest(Outcome),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    /// Undone because a step failed.
    Failed(Refusal),
    /// Undone because somebody asked.
    Canceled,
}

/// An event that cannot follow the log before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event:?} cannot follow this log")]
pub struct IllegalEvent {
    pub event: Event,
}

/// The log of one workflow, read so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    commit: usize,
    steps: Vec<StepState>,
    failure: Option<Refusal>,
    cancel_asked: bool,
}

impl Log {
    /// # Panics
    /// When the shape names a commit step it does not have: a workflow written wrong.
    pub fn new(shape: Shape) -> Self {
        assert!(shape.commit < shape.steps, "the commit step {} is not among {}", shape.commit, shape.steps);
        Self {
            commit: shape.commit,
            steps: vec![StepState::NotStarted; shape.steps],
            failure: None,
            cancel_asked: false,
        }
    }

    /// Reads a whole log.
    pub fn replay(shape: Shape, events: &[Event]) -> Result<Self, IllegalEvent> {
        let mut log = Self::new(shape);
        for event in events {
            log.apply(event.clone())?;
        }
        Ok(log)
    }

    /// Takes one more event, if it may follow.
    pub fn apply(&mut self, event: Event) -> Result<(), IllegalEvent> {
        if !self.may_follow(&event) {
            return Err(IllegalEvent { event });
        }
        match event {
            Event::Started { step } => self.steps[step] = StepState::Started,
            Event::Done { step } => self.steps[step] = StepState::Done,
            Event::Failed { step, refusal } => {
                self.steps[step] = StepState::Failed;
                self.failure.get_or_insert(refusal);
            }
            Event::CancelAsked => self.cancel_asked = true,
            Event::Undone { step } => self.steps[step] = StepState::Undone,
            Event::Rested => {}
        }
        Ok(())
    }

    fn may_follow(&self, event: &Event) -> bool {
        match *event {
            Event::Started { step } => {
                self.next() == Next::Run(step) && self.steps[step] == StepState::NotStarted
            }
            Event::Done { step } => self.is_running(step),
            // What comes after the commit cannot fail: it is repeated.
            Event::Failed { step, .. } => self.is_running(step) && step <= self.commit,
            Event::CancelAsked => !matches!(self.next(), Next::Rest(_)),
            Event::Undone { step } => self.next() == Next::Undo(step),
            Event::Rested => matches!(self.next(), Next::Rest(_)),
        }
    }

    /// The step has started and its outcome is not recorded. A cancel may have come in between.
    fn is_running(&self, step: usize) -> bool {
        self.steps.get(step) == Some(&StepState::Started) && !self.steps.contains(&StepState::Undone)
    }

    /// The one place that decides. The same log always gives the same answer.
    pub fn next(&self) -> Next {
        if self.is_unwinding() {
            return match self.steps.iter().rposition(|step| needs_undo(*step)) {
                Some(step) => Next::Undo(step),
                None => Next::Rest(match &self.failure {
                    Some(refusal) => Outcome::Failed(refusal.clone()),
                    None => Outcome::Canceled,
                }),
            };
        }
        match self.steps.iter().position(|step| *step != StepState::Done) {
            Some(step) => Next::Run(step),
            None => Next::Rest(Outcome::Completed),
        }
    }

    /// Whether the next run of `step` must be recorded as started first.
    pub fn has_started(&self, step: usize) -> bool {
        self.steps[step] != StepState::NotStarted
    }

    /// The commit step is done: from here it only goes forward.
    pub fn is_committed(&self) -> bool {
        self.steps[self.commit] == StepState::Done
    }

    pub fn is_unwinding(&self) -> bool {
        let in_doubt = self.steps[self.commit] == StepState::Started;
        !self.is_committed() && !in_doubt && (self.failure.is_some() || self.cancel_asked)
    }

    pub fn cancel_asked(&self) -> bool {
        self.cancel_asked
    }

    pub fn failure(&self) -> Option<&Refusal> {
        self.failure.as_ref()
    }
}

fn needs_undo(step: StepState) -> bool {
    match step {
        StepState::Started | StepState::Done | StepState::Failed => true,
        StepState::NotStarted | StepState::Undone => false,
    }
}

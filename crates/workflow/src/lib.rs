//! Runs journaled workflows: record, act, record.
//!
//! [`journal::Log`] decides; this crate does. A [`Workflow`] names its steps and how to run and
//! undo each; a [`Runner`] owns those of one service and advances them one decision at a time, so
//! that the server can loop over [`Runner::advance`] while the simulation interleaves as it likes.
//!
//! # Consistency
//! A workflow exists once its admission is committed: its row and its first records are one
//! transaction. Its last event and its final records are one transaction too.
//!
//! # Crash consistency
//! Nothing but the log survives. [`Runner::unfinished`] lists what has to be taken up again;
//! a step that had started is run again, or undone, by ids drawn at admission.
//!
//! # Concurrency
//! The log's key is (workflow, sequence number): of two runners of one workflow, one loses its
//! append and stops.
//!
//! # Errors
//! [`StepError::Failed`] is proof that the step did not happen as a whole. Anything less is
//! [`StepError::Again`]: before the commit it is tried a bounded number of times, from the commit
//! on for ever.
//!
//! # Cancellation
//! A cancel is a durable flag; it also interrupts the running step. The journal decides whether
//! it is still heard.
//!
//! # Limits
//! [`ATTEMPTS_MAX`] tries of a step before the commit, [`PAUSE_MAX`] between two tries.

mod runner;
mod seam;

pub use runner::{ATTEMPTS_MAX, Admission, Advance, PAUSE_MAX, Runner, RunnerError};
pub use seam::{
    Context, Crash, Flow, Moment, NoCrash, Outline, StepError, Workflow, WorkflowFactory, params_of,
};

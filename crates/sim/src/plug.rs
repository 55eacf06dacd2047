//! Where the simulated process dies: at a moment of a step, or at a call to a host or store.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};

use catalog::WorkflowRow;
use tokio::sync::Notify;
use workflow::{Crash, Moment};

/// One moment of one step of one workflow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// `BackUp`, `SnapshotGroup` …
    pub workflow: String,
    pub step: usize,
    pub undo: bool,
    pub moment: &'static str,
}

impl Cell {
    pub fn new(workflow: &str, step: usize, undo: bool, moment: Moment) -> Self {
        let moment = match moment {
            Moment::BeforeEffect => "before the effect",
            Moment::AfterEffect => "after the effect",
            Moment::AfterRecord => "after the record",
        };
        Self { workflow: workflow.to_owned(), step, undo, moment }
    }
}

/// Pulls the plug at a cell, or after so many moments; remembers which cells were passed.
#[derive(Debug, Default)]
pub struct Plug(Mutex<PlugState>);

#[derive(Debug, Default)]
struct PlugState {
    armed: Option<Cell>,
    countdown: Option<u64>,
    passed: BTreeMap<Cell, u64>,
    died: BTreeSet<Cell>,
}

impl Plug {
    /// The next time this cell is reached.
    pub fn arm(&self, cell: Cell) {
        self.state().armed = Some(cell);
    }

    /// After this many more moments, whichever that is.
    pub fn arm_after(&self, moments: u64) {
        self.state().countdown = Some(moments);
    }

    pub fn disarm(&self) {
        let mut state = self.state();
        state.armed = None;
        state.countdown = None;
    }

    /// Cells that were reached, whether or not the process died there.
    pub fn passed(&self) -> BTreeSet<Cell> {
        self.state().passed.keys().cloned().collect()
    }

    pub fn times_passed(&self, cell: &Cell) -> u64 {
        self.state().passed.get(cell).copied().unwrap_or(0)
    }

    /// Cells at which it died.
    pub fn died(&self) -> BTreeSet<Cell> {
        self.state().died.clone()
    }

    fn state(&self) -> MutexGuard<'_, PlugState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crash for Plug {
    fn dies(&self, row: &WorkflowRow, step: usize, undo: bool, moment: Moment) -> bool {
        let cell = Cell::new(&row.kind, step, undo, moment);
        let mut state = self.state();
        *state.passed.entry(cell.clone()).or_default() += 1;
        let over = match &mut state.countdown {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let dies = over || state.armed.as_ref() == Some(&cell);
        if dies {
            state.armed = None;
            state.countdown = None;
            state.died.insert(cell);
        }
        dies
    }
}

/// Stops the process in the middle of a step, at a call to a host or a store: the call that trips
/// never returns, and whoever drives the step drops it.
#[derive(Debug, Default)]
pub struct Trip {
    state: Mutex<TripState>,
    fired: Notify,
}

#[derive(Debug, Default)]
struct TripState {
    /// Only while a step runs; requests are not cut off.
    listening: bool,
    calls: u64,
    countdown: Option<u64>,
}

impl Trip {
    /// At the call, counted from now, with this number; each call counts before and after its effect.
    pub fn arm_after(&self, calls: u64) {
        self.state().countdown = Some(calls);
    }

    pub fn disarm(&self) {
        self.state().countdown = None;
    }

    /// Calls made by steps so far, each counted before and after its effect.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn listen(&self, listening: bool) {
        self.state().listening = listening;
    }

    /// Until a call trips.
    pub(crate) async fn fired(&self) {
        self.fired.notified().await;
    }

    /// Every call passes here before and after its effect.
    pub(crate) async fn pass(&self) {
        if self.trips() {
            self.fired.notify_one();
            pending::<()>().await;
        }
    }

    fn trips(&self) -> bool {
        let mut state = self.state();
        if !state.listening {
            return false;
        }
        state.calls += 1;
        match state.countdown {
            Some(0) => {
                state.countdown = None;
                true
            }
            Some(left) => {
                state.countdown = Some(left - 1);
                false
            }
            None => false,
        }
    }

    fn state(&self) -> MutexGuard<'_, TripState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

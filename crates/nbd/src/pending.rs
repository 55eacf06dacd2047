//! Requests that wait for their answer, and the assembly of answers that come in pieces.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use crate::error::NbdError;
use crate::proto::{ContextStatus, StatusExtent, protocol};

/// Pieces of one read; a server that cuts finer than this wants to exhaust us.
const PIECES_MAX: usize = 1 << 16;

/// What kind of answer a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Ack,
    Data { offset: u64, len: u32 },
    Status { len: u32 },
}

#[derive(Debug)]
pub(crate) enum Answer {
    Ack,
    Data(Bytes),
    Status(Vec<ContextStatus>),
}

/// One request in flight, and as much of its answer as has come.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) expect: Expect,
    sender: oneshot::Sender<Result<Answer, NbdError>>,
    data: BytesMut,
    /// Ranges of `data` that have come.
    pieces: Vec<(usize, usize)>,
    status: Vec<ContextStatus>,
    error: Option<NbdError>,
}

impl Pending {
    pub(crate) fn new(expect: Expect) -> (Self, oneshot::Receiver<Result<Answer, NbdError>>) {
        let (sender, receiver) = oneshot::channel();
        let pending = Self {
            expect,
            sender,
            data: BytesMut::new(),
            pieces: Vec::new(),
            status: Vec::new(),
            error: None,
        };
        (pending, receiver)
    }

    /// The place for `len` bytes at `offset` of the disk, checked to lie in what was asked and not
    /// to have come before; zeroed.
    pub(crate) fn place(&mut self, offset: u64, len: u64) -> Result<&mut [u8], NbdError> {
        let Expect::Data { offset: start, len: asked } = self.expect else {
            return Err(protocol("data for a request that reads none"));
        };
        let from = offset.checked_sub(start).ok_or_else(|| protocol("data before the range"))?;
        let to = from.checked_add(len).filter(|to| *to <= u64::from(asked));
        let to = to.ok_or_else(|| protocol("data past the range"))?;
        // Both are at most `asked`, a u32.
        let (Ok(from), Ok(to)) = (usize::try_from(from), usize::try_from(to)) else {
            return Err(protocol("data past the range"));
        };
        if from == to || self.pieces.len() >= PIECES_MAX {
            return Err(protocol("a read cut to nothing"));
        }
        if self.pieces.iter().any(|(begin, end)| from < *end && *begin < to) {
            return Err(protocol("the same data twice"));
        }
        match self.pieces.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => self.pieces.push((from, to)),
        }
        // Memory is taken when the server begins to answer, so a silent one costs none.
        if self.data.is_empty() {
            self.data = BytesMut::zeroed(asked as usize);
        }
        Ok(&mut self.data[from..to])
    }

    pub(crate) fn add_status(&mut self, context: usize, extents: Vec<StatusExtent>) -> Result<(), NbdError> {
        if self.status.iter().any(|known| known.context == context) {
            return Err(protocol("block status of one context twice"));
        }
        self.status.push(ContextStatus { context, extents });
        Ok(())
    }

    /// The first error stands; the connection lives on.
    pub(crate) fn add_error(&mut self, error: NbdError) {
        self.error.get_or_insert(error);
    }

    /// Hands the answer over. An incomplete one is the server's fault, and said so.
    pub(crate) fn finish(self, contexts: usize) -> Result<(), NbdError> {
        let answer = match (self.error, self.expect) {
            (Some(error), _) => Err(error),
            (None, Expect::Ack) => Ok(Answer::Ack),
            (None, Expect::Data { len, .. }) => {
                let got: usize = self.pieces.iter().map(|(from, to)| to - from).sum();
                // Pieces lie inside the range and never overlap, so the sum alone proves them whole.
                if got != len as usize {
                    return Err(protocol("a read that ended early"));
                }
                Ok(Answer::Data(self.data.freeze()))
            }
            (None, Expect::Status { .. }) => {
                if self.status.len() != contexts {
                    return Err(protocol("block status without all its contexts"));
                }
                let mut status = self.status;
                status.sort_by_key(|known| known.context);
                Ok(Answer::Status(status))
            }
        };
        // Nobody waits any more: the caller gave up, and that is its right.
        let _ = self.sender.send(answer);
        Ok(())
    }

    fn fail(self, error: NbdError) {
        let _ = self.sender.send(Err(error));
    }
}

/// All requests in flight on one connection.
#[derive(Debug, Default)]
pub(crate) struct Table {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<u64, Pending>,
    broken: Option<NbdError>,
}

impl Table {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that holds this lock can panic half way through a change.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, cookie: u64, pending: Pending) -> Result<(), NbdError> {
        let mut state = self.lock();
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        state.waiting.insert(cookie, pending);
        Ok(())
    }

    pub(crate) fn take(&self, cookie: u64) -> Option<Pending> {
        self.lock().waiting.remove(&cookie)
    }

    /// Puts a request back that still waits for the rest of its answer.
    pub(crate) fn put_back(&self, cookie: u64, pending: Pending) {
        let mut state = self.lock();
        match &state.broken {
            Some(error) => pending.fail(error.clone()),
            None => {
                state.waiting.insert(cookie, pending);
            }
        }
    }

    /// The connection is no more: everyone waiting hears why, and so will everyone to come.
    pub(crate) fn fail(&self, error: &NbdError) {
        let mut state = self.lock();
        let error = state.broken.get_or_insert_with(|| error.clone()).clone();
        for (_, pending) in state.waiting.drain() {
            pending.fail(error.clone());
        }
    }

    pub(crate) fn broken(&self) -> Option<NbdError> {
        self.lock().broken.clone()
    }
}

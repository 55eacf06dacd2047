//! What a test can make go wrong on a simulated host: which call, which way, how often.

use crate::HostError;

/// A call of the seam, for aiming a fault and for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    List,
    Find,
    Start,
    Stop,
    Marks,
    Mark,
    Reader,
    Extents,
    Read,
    Unmark,
    Prepare,
    Writer,
    Write,
    Finish,
    Discard,
    SwapIn,
    Define,
    Undefine,
    Attach,
}

impl Verb {
    pub const ALL: [Self; 19] = [
        Self::List,
        Self::Find,
        Self::Start,
        Self::Stop,
        Self::Marks,
        Self::Mark,
        Self::Reader,
        Self::Extents,
        Self::Read,
        Self::Unmark,
        Self::Prepare,
        Self::Writer,
        Self::Write,
        Self::Finish,
        Self::Discard,
        Self::SwapIn,
        Self::Define,
        Self::Undefine,
        Self::Attach,
    ];
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The host is not there; nothing happens.
    Unreachable,
    /// The call does all its work, then its answer is lost: the caller sees `Unreachable`.
    AfterEffect,
    /// As `AfterEffect`, but a call about several disks stops after the first.
    HalfEffect,
    /// Every open session on the host goes first, as when its daemon is restarted; then the call.
    LoseSessions,
    NoSpace,
    Busy,
    Failed,
}

impl Fault {
    /// The work is done, or begun, and the caller does not hear of it.
    pub(crate) fn loses_answer(self) -> bool {
        matches!(self, Self::AfterEffect | Self::HalfEffect)
    }

    /// What the caller sees of a fault that stops the call before it began.
    pub(crate) fn refusal(self) -> Option<HostError> {
        match self {
            Self::AfterEffect | Self::HalfEffect | Self::LoseSessions => None,
            Self::Unreachable => Some(HostError::Unreachable("simulated outage".to_owned())),
            Self::NoSpace => Some(HostError::NoSpace("simulated full disk".to_owned())),
            Self::Busy => Some(HostError::Busy("simulated foreign block job".to_owned())),
            Self::Failed => Some(HostError::Failed("simulated failure".to_owned())),
        }
    }
}

/// One fault to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    pub fault: Fault,
    /// Only calls of this verb count; none means any call.
    pub verb: Option<Verb>,
    /// So many matching calls go well first.
    pub after: u32,
    /// Then so many go wrong; none means all, until healed.
    pub times: Option<u32>,
}

impl Strike {
    /// The next call of any kind.
    pub const fn next(fault: Fault) -> Self {
        Self { fault, verb: None, after: 0, times: Some(1) }
    }

    /// The next call of this verb.
    pub const fn at(verb: Verb, fault: Fault) -> Self {
        Self { fault, verb: Some(verb), after: 0, times: Some(1) }
    }

    pub const fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }

    pub const fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    pub const fn always(self) -> Self {
        Self { times: None, ..self }
    }
}

/// The faults still to come.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    strikes: Vec<Strike>,
}

impl Faults {
    pub(crate) fn plan(&mut self, strike: Strike) {
        self.strikes.push(strike);
    }

    pub(crate) fn heal(&mut self) {
        self.strikes.clear();
    }

    /// What befalls this call. Counts it against every plan that matches; the earliest plan wins.
    pub(crate) fn befall(&mut self, verb: Verb) -> Option<Fault> {
        let mut found = None;
        for strike in &mut self.strikes {
            if strike.verb.is_some_and(|wanted| wanted != verb) {
                continue;
            }
            if strike.after > 0 {
                strike.after -= 1;
                continue;
            }
            if found.is_none() {
                found = Some(strike.fault);
                strike.times = strike.times.map(|times| times.saturating_sub(1));
            }
        }
        self.strikes.retain(|strike| strike.times != Some(0));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn befallen(strike: Strike, calls: &[Verb]) -> Vec<bool> {
        let mut faults = Faults::default();
        faults.plan(strike);
        calls.iter().map(|verb| faults.befall(*verb).is_some()).collect()
    }

    #[test]
    fn a_strike_hits_the_verb_it_aims_at_and_no_other() {
        for verb in Verb::ALL {
            let hit = befallen(Strike::at(verb, Fault::Busy), &Verb::ALL);
            let expected: Vec<bool> = Verb::ALL.iter().map(|other| *other == verb).collect();
            assert_eq!(hit, expected, "{verb:?}");
        }
    }

    #[test]
    fn a_strike_waits_and_repeats_as_told() {
        let calls = [Verb::Read; 5];
        let strike = Strike::next(Fault::Unreachable);
        assert_eq!(befallen(strike, &calls), [true, false, false, false, false]);
        assert_eq!(befallen(strike.after(1).times(2), &calls), [false, true, true, false, false]);
        assert_eq!(befallen(strike.after(3).always(), &calls), [false, false, false, true, true]);
    }
}

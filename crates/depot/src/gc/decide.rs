//! What a collector saw, and what follows from it. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use format::{Attempt, Mark, MarkState, Marks, PackName, PackStem};
use model::{GroupId, Timestamp};

use super::Margins;

/// So many marks objects are left in place: those who look for the newest may be slow, and should it be
/// damaged, the one before tells what it can have condemned.
pub const MARKS_KEPT: u64 = 16;

/// What a collector saw.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Before anything was looked at. A mark's age ends here: a slow visit is no waiting.
    pub began: Timestamp,
    /// After everything was looked at. A new mark's age begins here.
    pub now: Timestamp,
    /// Read before anything below was listed.
    pub newest: Newest,
    /// Numbers of all marks there are.
    pub numbers: Vec<u64>,
    pub packs: BTreeSet<PackName>,
    /// By any group there is.
    pub named: HashSet<PackStem>,
    /// Whose group may yet be sealed, and when they were put.
    pub fresh: HashMap<PackName, Timestamp>,
}

impl Sight {
    /// How many packs some group or promise needs.
    pub(super) fn needed(&self) -> usize {
        self.packs.iter().filter(|pack| self.named.contains(&pack.stem())).count()
    }

    /// Packs that are not needed, and fresh.
    pub(super) fn spared(&self, margins: Margins) -> impl Iterator<Item = (PackName, Timestamp)> + '_ {
        let not_needed = self.packs.iter().filter(|pack| !self.named.contains(&pack.stem()));
        let fresh = not_needed.filter(move |pack| is_fresh(self, margins, **pack));
        fresh.filter_map(|pack| Some((*pack, *self.fresh.get(pack)?)))
    }
}

/// The newest collection marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Newest {
    /// No collector ever marked anything.
    None,
    Read(Marks),
    /// They cannot be read any more; `before` are the newest that can.
    Lost {
        number: u64,
        before: Option<Marks>,
    },
}

impl Newest {
    /// 0: none yet.
    pub const fn number(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Read(marks) => marks.number,
            Self::Lost { number, .. } => *number,
        }
    }

    /// What is known to be marked.
    pub(super) fn packs(&self) -> &[Mark] {
        match self {
            Self::Read(marks) | Self::Lost { before: Some(marks), .. } => &marks.packs,
            Self::None | Self::Lost { before: None, .. } => &[],
        }
    }
}

/// What is to go. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcDecision {
    /// Number of the marks that condemn the packs.
    pub(super) number: u64,
    pub(super) marks: Vec<Mark>,
    pub(super) condemned: Vec<PackName>,
    /// Marks nobody looks at any more.
    pub(super) outdated: Vec<u64>,
    /// Manifests.
    pub(super) groups: Vec<(GroupId, Attempt)>,
    pub(super) intents: Vec<(GroupId, Attempt)>,
}

impl GcDecision {
    const NOTHING: Self = Self {
        number: 0,
        marks: Vec::new(),
        condemned: Vec::new(),
        outdated: Vec::new(),
        groups: Vec::new(),
        intents: Vec::new(),
    };

    /// All that makes a group exist, or would, because its owner said so.
    pub(crate) fn of_group(groups: Vec<(GroupId, Attempt)>, intents: Vec<(GroupId, Attempt)>) -> Self {
        Self { groups, intents, ..Self::NOTHING }
    }

    /// Intents of attempts that have come to their end.
    pub(super) fn intents(intents: Vec<(GroupId, Attempt)>) -> Self {
        Self { intents, ..Self::NOTHING }
    }

    pub fn condemned(&self) -> &[PackName] {
        &self.condemned
    }

    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The newest marks say all this already.
    pub(super) fn repeats(&self, newest: &Newest) -> bool {
        match newest {
            Newest::None => self.marks.is_empty(),
            Newest::Read(marks) => marks.packs == self.marks,
            Newest::Lost { .. } => false,
        }
    }

    pub fn outdated(&self) -> &[u64] {
        &self.outdated
    }
}

/// Pure: the same sight always gives the same decision.
pub fn decide(sight: &Sight, margins: Margins) -> GcDecision {
    let before: HashMap<PackName, MarkState> =
        sight.newest.packs().iter().map(|mark| (mark.pack, mark.state)).collect();
    let state = |pack: &PackName| match &sight.newest {
        Newest::None | Newest::Read(_) => next_state(sight, margins, *pack, before.get(pack)),
        Newest::Lost { number, before: marks } => {
            let gapless = marks.as_ref().is_some_and(|marks| marks.number + 1 == *number);
            state_after_loss(sight, margins, *pack, before.get(pack), gapless)
        }
    };
    let marks: Vec<Mark> =
        sight.packs.iter().filter_map(|pack| Some(Mark { pack: *pack, state: state(pack)? })).collect();
    let condemned =
        marks.iter().filter(|mark| mark.state == MarkState::Condemned).map(|mark| mark.pack).collect();
    let number = sight.newest.number().saturating_add(1);
    let is_outdated = |old: &u64| old.saturating_add(MARKS_KEPT) <= number;
    let outdated = sight.numbers.iter().copied().filter(is_outdated).collect();
    GcDecision { number, marks, condemned, outdated, ..GcDecision::NOTHING }
}

fn is_fresh(sight: &Sight, margins: Margins, pack: PackName) -> bool {
    sight.fresh.get(&pack).is_some_and(|put| put.plus_seconds(margins.fresh_s) > sight.began)
}

fn next_state(
    sight: &Sight,
    margins: Margins,
    pack: PackName,
    before: Option<&MarkState>,
) -> Option<MarkState> {
    match before {
        // Whoever condemned it may be deleting it this very moment.
        Some(MarkState::Condemned) => Some(MarkState::Condemned),
        _ if sight.named.contains(&pack.stem()) => None,
        // Being fresh spares it a mark, and lifts none: whoever made that one may have known more.
        None if is_fresh(sight, margins, pack) => None,
        Some(MarkState::Marked { since }) => {
            // A mark from the future, by another's clock, begins to count now.
            let since = (*since).min(sight.now);
            let over = since.plus_seconds(margins.mark_to_delete_s) <= sight.began;
            Some(if over { MarkState::Condemned } else { MarkState::Marked { since } })
        }
        None => Some(MarkState::Marked { since: sight.now }),
    }
}

/// The newest marks are lost, and with them which packs they condemned: those were all marked in the
/// marks before. So what was marked stays marked, needed or not, and for everything the margin
/// begins anew. With a gap nobody knows what was marked, and being fresh protects nothing.
fn state_after_loss(
    sight: &Sight,
    margins: Margins,
    pack: PackName,
    before: Option<&MarkState>,
    gapless: bool,
) -> Option<MarkState> {
    let spared = sight.named.contains(&pack.stem()) || (gapless && is_fresh(sight, margins, pack));
    match before {
        Some(MarkState::Condemned) => Some(MarkState::Condemned),
        Some(MarkState::Marked { .. }) => Some(MarkState::Marked { since: sight.now }),
        None if spared => None,
        None => Some(MarkState::Marked { since: sight.now }),
    }
}

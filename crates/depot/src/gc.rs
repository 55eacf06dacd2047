//! Deletion: the one place that decides what goes, and the one function that makes it go.
//!
//! A visit of the collector ends old intents (`intents.rs`), reads the newest marks (number n), lists
//! packs, lists intents, lists groups, gathers what those need (`reach.rs`), decides, and creates marks
//! n+1, which state the whole truth anew. Packs nobody needs are *marked*; those marked long enough and
//! still needed by nobody are *condemned*, for ever, and deleted once marks n+1 are durable. Who finds
//! n+1 taken has lost and deletes nothing. A visit that would only repeat marks n makes none.
//! A writer puts its intent, looks at the newest marks, sees that its packs are there, and puts its
//! manifest: a pack of its own in the marks, marked or condemned, or one gone, and it fails (`seal.rs`).
//!
//! Why that holds: a pack is deleted only by a collector that read marks n with the pack in them,
//! *then* listed intents and groups, and found none needing it. An intent put before that listing is
//! seen, or its manifest is. One put after it is followed by a look at marks n or later: while the pack
//! exists it stands in them all, and the writer fails; and if it is gone, its absence is seen.
//! A condemned pack stays in every later marks object while it exists, so a seal that failed cannot
//! make anybody believe it was pardoned. No clock is part of this; every name but those of packs and
//! marks is used once, so nothing that arrives late means anything else than when it was sent.
//!
//! # Consistency
//! Leaks are allowed, holes are not. If anything needed for the decision cannot be read, nothing goes.
//! A tree that was promised, or intended, and cannot be read needs nothing: its seal would fail on it.
//! # Crash consistency
//! Before marks n+1: nothing happened. After them: condemned packs remain; the next visit deletes them.
//! A writer that crashed in its seal left an intent, which counts as a group until it is given up.
//! # Concurrency
//! What keeps each pair from harm; "/" needs nothing. `tests/pairs.rs` has a scenario for each cell.
//!
//! | | write, seal | read | delete group | collect | verify |
//! |---|---|---|---|---|---|
//! | write, seal | own names; conflicts are told | / | (1) | (2) | / |
//! | read, restore | / | / | (3) | (4) | / |
//! | delete group | | | gone is fine | (5) | (6) |
//! | collect | | | | one creates marks n+1, the other stops (7) | (6) |
//!
//! 1. A base deleted meanwhile: the seal walks its whole tree, or the intent keeps what it shares.
//!    The group itself: a void manifest, and the seal fails.
//! 2. The intent, and the look after it. Packs lately put are not marked, unless some group had them.
//! 3. Fails at worst, and only after the margin: nothing false is read.
//! 4. Packs outlive their last group by the margin.
//! 5. A group deleted under the collector's eyes needs nothing; what it named is marked later.
//! 6. What went between listing and reading is looked for again, and then no finding.
//! 7. Also one that slept so long that its number is free again: before it deletes, it sees in the newest
//!    marks that everything it is about to delete is condemned there too, and a condemned pack is nobody's.
//!
//! A copy writes and seals in one depot and reads in the other.
//!
//! # Errors
//! An error of `execute` leaves some of the condemned undeleted; they stay condemned.
//! Newest marks that are damaged say no more what they condemned. Until the next visit nothing is sealed;
//! that one goes by the marks before: all that was marked there stays so, needed or not, and all margins
//! begin anew (`decide.rs`).
//! # Cancellation
//! As a crash.
//! # Limits
//! Memory grows with the packs, and with what is remembered of groups, which is bounded (`reach.rs`).
//! The last [`MARKS_KEPT`] marks stay; older ones are deleted when new ones are made.

mod decide;
mod intents;
mod marks;

use std::collections::{BTreeMap, HashMap, HashSet};

use format::{Mark, MarkState, PackName, PackStem, TreeRef, path};
use model::Timestamp;
use store::Doomed;

pub use self::decide::{GcDecision, MARKS_KEPT, Newest, Sight, decide};
use crate::objects::key;
use crate::reach::Needs;
use crate::{Depot, DepotError};

/// How long things wait: for those who read, or work slowly. Nothing is safe because of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins {
    /// From a pack's first mark to its deletion: restores that were begun may end.
    mark_to_delete_s: i64,
    /// Packs no group has named yet are not marked for so long: theirs may yet be sealed.
    fresh_s: i64,
    /// A seal that has not come to its end by then is given up.
    seal_s: i64,
}

impl Margins {
    pub const fn new(mark_to_delete_s: i64, fresh_s: i64, seal_s: i64) -> Self {
        Self { mark_to_delete_s, fresh_s, seal_s }
    }

    pub const STANDARD: Self = Self { mark_to_delete_s: 24 * 3600, fresh_s: 72 * 3600, seal_s: 24 * 3600 };
}

/// What came of a visit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    pub packs: usize,
    /// Of the packs, those some group or promise needs.
    pub named: usize,
    pub marked: usize,
    pub deleted: usize,
    /// What writers that died left in the store half written, taken away by this visit.
    pub drafts: usize,
    /// Seals that were begun long ago and never ended, given up by this visit.
    pub given_up: usize,
    /// Why nothing was collected, if so.
    pub refused: Option<String>,
    /// What was wrong and did not keep it from collecting.
    pub troubles: Vec<String>,
}

/// What a visit would do.
#[derive(Debug, Clone)]
pub struct GcPlan {
    pub packs: usize,
    pub named: usize,
    /// What is wrong and would not keep it from collecting.
    pub troubles: Vec<String>,
    before: HashSet<PackName>,
    margins: Margins,
    fresh: BTreeMap<PackName, Timestamp>,
    decision: GcDecision,
}

/// What would become of a pack that nobody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackFate {
    /// No group names it yet, and it was put lately: one may still be sealed that does.
    Spare { until: Timestamp },
    /// No group names it; this visit would mark it.
    Mark { until: Timestamp },
    /// It was marked before, and waits out its margin.
    Wait { since: Timestamp, until: Timestamp },
    /// It was marked long enough, and would be deleted.
    Delete,
}

impl GcPlan {
    /// The packs that are not needed. All others stay as they are.
    pub fn fates(&self) -> impl Iterator<Item = (PackName, PackFate)> + '_ {
        let spared = self
            .fresh
            .iter()
            .map(|(pack, put)| (*pack, PackFate::Spare { until: put.plus_seconds(self.margins.fresh_s) }));
        spared.chain(self.decision.marks.iter().map(|mark| (mark.pack, self.fate(mark))))
    }

    fn fate(&self, mark: &Mark) -> PackFate {
        let MarkState::Marked { since } = mark.state else { return PackFate::Delete };
        let until = since.plus_seconds(self.margins.mark_to_delete_s);
        if self.before.contains(&mark.pack) {
            PackFate::Wait { since, until }
        } else {
            PackFate::Mark { until }
        }
    }
}

/// Deletes what was decided: the only function in the workspace that deletes objects of a depot.
/// Answers how many packs went.
pub(crate) async fn execute(depot: &Depot, decision: &GcDecision) -> Result<usize, DepotError> {
    let mut condemned = decision.condemned.clone();
    if !condemned.is_empty() {
        // What newer marks do not condemn, a faster collector has deleted, and then dropped.
        let newest = depot.newest_marks().await?;
        let marks = newest.iter().flat_map(|marks| &marks.packs);
        let still: HashSet<PackName> =
            marks.filter(|mark| mark.state == MarkState::Condemned).map(|mark| mark.pack).collect();
        condemned.retain(|pack| still.contains(pack));
    }
    let packs = condemned.iter().map(|pack| path::pack(*pack));
    let groups = decision.groups.iter().map(|(group, attempt)| path::group(*group, *attempt));
    let intents = decision.intents.iter().map(|(group, attempt)| path::intent(*group, *attempt));
    let marks = decision.outdated.iter().map(|number| path::marks(*number));
    // An intent without its manifest would count as a group.
    for path in packs.chain(groups).chain(intents).chain(marks) {
        depot.objects.delete(&Doomed::condemn(key(&path)?)).await?;
    }
    Ok(condemned.len())
}

impl Depot {
    /// One visit: marks what nobody needs, deletes what was marked long ago and is still not needed.
    /// `promised` are trees that jobs have written and not sealed yet, those of processes that ended
    /// in between included.
    pub async fn collect(&self, margins: Margins, promised: &[TreeRef]) -> Result<GcReport, DepotError> {
        let looked = async {
            let given_up = self.settle_intents(margins).await?;
            Ok((given_up, self.look(promised).await?))
        };
        let (given_up, (sight, troubles)) = match looked.await {
            Ok(seen) => seen,
            Err(error @ (DepotError::Damaged { .. } | DepotError::Newer { .. } | DepotError::Keys(_))) => {
                return Ok(GcReport { refused: Some(error.to_string()), ..GcReport::default() });
            }
            Err(error) => return Err(error),
        };
        let decision = decide(&sight, margins);
        let (packs, named) = (sight.packs.len(), sight.needed());
        let drafts = self.objects.sweep(sight.began.plus_seconds(-margins.mark_to_delete_s)).await?;
        let marked = decision.marks.len();
        let report = GcReport { packs, named, marked, drafts, given_up, troubles, ..GcReport::default() };
        if decision.repeats(&sight.newest) {
            if decision.condemned.is_empty() {
                return Ok(report);
            }
        } else {
            self.known.forget(decision.marks.iter().map(|mark| mark.pack));
            if !self.put_marks(&decision, sight.now).await? {
                let refused = Some("another collector was faster".to_owned());
                return Ok(GcReport { refused, ..report });
            }
        }
        let deleted = execute(self, &decision).await?;
        self.fresh().retain(|_, put| put.plus_seconds(margins.fresh_s) > sight.now);
        Ok(GcReport { deleted, ..report })
    }

    /// What a visit would decide now, and why; nothing is changed.
    pub async fn explain(&self, margins: Margins, promised: &[TreeRef]) -> Result<GcPlan, DepotError> {
        let (sight, troubles) = self.look(promised).await?;
        let decision = decide(&sight, margins);
        let before = sight.newest.packs().iter().map(|mark| mark.pack).collect();
        let fresh =
            sight.spared(margins).filter(|(pack, _)| !decision.marks.iter().any(|mark| mark.pack == *pack));
        let (packs, named, fresh) = (sight.packs.len(), sight.needed(), fresh.collect());
        Ok(GcPlan { packs, named, troubles, before, margins, fresh, decision })
    }

    /// In this order: marks, packs, what was put lately, intents, groups. A promised tree that is sealed
    /// meanwhile counts twice, which does no harm.
    async fn look(&self, promised: &[TreeRef]) -> Result<(Sight, Vec<String>), DepotError> {
        let began = self.clock.now();
        let mut troubles = Vec::new();
        let numbers = self.marks_numbers().await?;
        let newest = self.newest_of(&numbers).await?;
        if let Newest::Lost { number, .. } = &newest {
            troubles.push(format!(
                "depot object {} cannot be read: what it marked waits out its margin anew",
                path::marks(*number)
            ));
        }
        let listed = self
            .objects
            .list_lines(path::PACKS, None, |line| Some((path::parse_pack(line.key.as_str())?, line.created)));
        let listed: BTreeMap<PackName, Option<Timestamp>> = listed.await?.into_iter().collect();
        let remembered = std::mem::take(&mut *self.remembered());
        let fresh = self.put_lately(&listed, &remembered.named);
        let mut of_groups = remembered.named.clone();
        let needs = Needs::new(self, remembered);
        for tree in promised {
            match needs.add(tree).await {
                // Who seals it must read it too, and cannot.
                Err(error @ DepotError::Damaged { .. }) => {
                    troubles.push(format!("a snapshot that was written cannot be sealed any more: {error}"));
                }
                added => added?,
            }
        }
        troubles.extend(needs.add_groups().await?);
        let (named, mut remember) = needs.end();
        of_groups.extend(named.iter().copied());
        let there: HashSet<PackStem> = listed.keys().map(|pack| pack.stem()).collect();
        of_groups.retain(|pack| there.contains(pack));
        remember.named = of_groups;
        *self.remembered() = remember;
        let packs = listed.into_keys().collect();
        Ok((Sight { began, now: self.clock.now(), newest, numbers, packs, named, fresh }, troubles))
    }

    /// Packs whose group may yet be sealed: put by this process, or lately by whomever, and not known to
    /// have been of a group already.
    fn put_lately(
        &self,
        listed: &BTreeMap<PackName, Option<Timestamp>>,
        named_before: &HashSet<PackStem>,
    ) -> HashMap<PackName, Timestamp> {
        let mut fresh = self.fresh().clone();
        let others = listed.iter().filter(|(pack, _)| !named_before.contains(&pack.stem()));
        for (pack, created) in others.filter_map(|(pack, created)| Some((*pack, (*created)?))) {
            let put = fresh.entry(pack).or_insert(created);
            *put = (*put).max(created);
        }
        fresh
    }
}

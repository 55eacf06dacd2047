//! Deletion: the one place that decides what goes, and the one function that makes it go.
//!
//! A visit of the collector reads the newest marks (number n), lists packs, lists groups, gathers what
//! those need (`reach.rs`), decides, and creates marks n+1, which state the whole truth anew. Packs
//! nobody names are *marked*; those marked long enough and still named by nobody are *condemned*, for
//! ever, and deleted once marks n+1 are durable. Who finds n+1 taken has lost and deletes nothing.
//! A visit that would only repeat marks n makes none.
//! A writer looks at the newest marks, sees that its packs are there, seals its group, and looks again:
//! a pack of its own in them, marked or condemned, and it takes its group back; other marks than before,
//! and it sees again whether its packs are there.
//!
//! Why that holds: a pack is deleted only by a collector that read marks n with the pack in them,
//! *then* listed groups, and found none naming it. A group sealed before that listing is seen. One
//! sealed after it looks at marks n or later: while the pack exists it stands in them all, and loses;
//! and if it is gone, marks after n were made since the first look, and its absence is seen.
//! A condemned pack stays in every later marks object while it exists, so a group half sealed and
//! then taken back cannot make anybody believe it was pardoned.
//!
//! # Consistency
//! Leaks are allowed, holes are not. If anything needed for the decision cannot be read, nothing goes.
//! A tree that was promised and cannot be read needs nothing: its seal would read it too, and fail.
//! # Crash consistency
//! Before marks n+1: nothing happened. After them: condemned packs remain; the next visit deletes them.
//! A writer that crashed between its seal and its look left a group that names no marked pack unless the
//! mark came in that moment; then the next visit finds the group and takes the mark back, if the
//! manifest lands before the margin is over: see [`Margins`].
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
//! 1. A base deleted meanwhile: the seal walks its whole tree and looks at the marks.
//! 2. The looks before and after the seal. Packs lately put are not marked, unless some group had them.
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
//! Newest marks that are damaged say no more what they condemned. Until the next visit nothing is written;
//! that one goes by the marks before: all that was marked there stays so, needed or not, and all margins
//! begin anew (`decide.rs`).
//! # Cancellation
//! As a crash.
//! # Limits
//! Memory grows with the packs, and with what is remembered of groups, which is bounded (`reach.rs`).
//! The last [`MARKS_KEPT`] marks stay; older ones are deleted when new ones are made.

mod decide;
mod marks;

use std::collections::{BTreeMap, HashMap, HashSet};

use format::{Mark, MarkState, PackName, PackStem, TreeRef, path};
use model::Timestamp;
use store::Doomed;

pub use self::decide::{GcDecision, MARKS_KEPT, Newest, Sight, decide};
use crate::objects::key;
use crate::reach::Needs;
use crate::{Depot, DepotError};

/// How long things wait. One set for all; the relations are what safety stands on.
///
/// Whoever lives to look a second time after his seal needs no margin. It is there for those who do
/// not: a manifest that was sent before the mark, and whose sender died, must have landed before the
/// groups are listed that the condemnation goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins {
    /// From a pack's first mark to its deletion.
    mark_to_delete_s: i64,
    /// Packs no group has named yet are not marked for so long: theirs may yet be sealed.
    fresh_s: i64,
}

/// A put that was begun has come to its end, one way or the other, after this long.
const PUT_S_MAX: i64 = 3600;
/// Clocks of two workers differ by less.
const SKEW_S_MAX: i64 = 3600;

impl Margins {
    pub const STANDARD: Self = Self { mark_to_delete_s: 24 * 3600, fresh_s: 72 * 3600 };
}

const _: () = assert!(Margins::STANDARD.mark_to_delete_s >= 3 * (PUT_S_MAX + SKEW_S_MAX));
const _: () = assert!(Margins::STANDARD.fresh_s >= Margins::STANDARD.mark_to_delete_s);

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
    let groups = decision.groups.iter().map(|group| path::group(*group));
    let marks = decision.outdated.iter().map(|number| path::marks(*number));
    for path in packs.chain(groups).chain(marks) {
        depot.objects.delete(&Doomed::condemn(key(&path)?)).await?;
    }
    Ok(condemned.len())
}

impl Depot {
    /// One visit: marks what nobody needs, deletes what was marked long ago and is still not needed.
    /// `promised` are trees that jobs have written and not sealed yet, those of processes that ended
    /// in between included.
    pub async fn collect(&self, margins: Margins, promised: &[TreeRef]) -> Result<GcReport, DepotError> {
        let (sight, troubles) = match self.look(promised).await {
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
        let report = GcReport { packs, named, marked, drafts, troubles, ..GcReport::default() };
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

    /// In this order: marks, packs, what was put lately, groups. A promised tree that is sealed
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
        needs.add_groups().await?;
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

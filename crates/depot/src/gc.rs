//! Deletion: the one place that decides what goes, and the one function that makes it go.
//!
//! A visit of the collector reads the newest marks (number n), lists packs, lists groups, walks their
//! trees, decides, and creates marks n+1, which state the whole truth anew. Packs nobody names are
//! *marked*; those marked long enough and still named by nobody are *condemned*, for ever, and
//! deleted once marks n+1 are durable. Who finds n+1 taken has lost and deletes nothing.
//! A writer seals its group first and looks at the newest marks afterwards: a pack of its own in them,
//! marked or condemned, and it takes its group back.
//!
//! Why that holds: a pack is deleted only by a collector that read marks n with the pack in them,
//! *then* listed groups, and found none naming it. A group sealed before that listing is seen; one
//! sealed after it looks at marks n or later, in which the pack stands, and loses. Marks drop a pack
//! that is gone: the writer who finds newer marks than before its seal looks for its packs once more.
//! A condemned pack stays in every later marks object while it exists, so a group half sealed and
//! then taken back cannot make anybody believe it was pardoned.
//!
//! # Consistency
//! Leaks are allowed, holes are not. If anything needed for the decision cannot be read, nothing goes.
//! # Crash consistency
//! Before marks n+1: nothing happened. After them: condemned packs remain; the next visit deletes them.
//! A writer that crashed between its seal and its look left a group that names no marked pack unless the
//! mark came in that moment; sealing is done again on recovery, long before the margin is over.
//! # Concurrency
//! What keeps each pair from harm; "/" needs nothing.
//!
//! | | write, seal | read | delete group | collect | verify |
//! |---|---|---|---|---|---|
//! | write, seal | own names; conflicts are told | / | (1) | (2) | / |
//! | read, restore | / | / | (3) | (4) | / |
//! | delete group | | | gone is fine | (5) | (6) |
//! | collect | | | | one creates marks n+1, the other stops | (6) |
//!
//! 1. A base deleted meanwhile: the seal walks its whole tree and looks at the marks.
//! 2. The look at the marks after the seal. Packs this process has just put are not marked.
//! 3. Fails at worst, and only after the margin: nothing false is read.
//! 4. Packs outlive their last group by the margin.
//! 5. A group deleted under the collector's eyes needs nothing; what it named is marked later.
//! 6. What went between listing and reading is looked for again, and then no finding.
//!
//! # Errors
//! An error of `execute` leaves some of the condemned undeleted; they stay condemned.
//! # Cancellation
//! As a crash.
//! # Limits
//! Memory grows with the packs, and the tree nodes of all groups. Marks objects are never deleted:
//! a collector that slept would take a number twice.

use std::collections::{BTreeSet, HashMap, HashSet};

use format::{Mark, MarkState, Marks, PackName, TreeRef, path};
use model::{GroupId, Timestamp};
use store::{Doomed, Put};

use crate::objects::key;
use crate::walk::Named;
use crate::{Depot, DepotError};

/// How long things wait. One set for all; the relations are what safety stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margins {
    /// From a pack's first mark to its deletion.
    mark_to_delete_s: i64,
    /// Packs this process has put are not marked for so long: their group may yet be sealed.
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

/// What a collector saw.
#[derive(Debug, Clone)]
pub struct Sight {
    /// Before anything was looked at. A mark's age ends here: a slow visit is no waiting.
    pub began: Timestamp,
    /// After everything was looked at. A new mark's age begins here.
    pub now: Timestamp,
    /// Newest marks, read before anything below was listed.
    pub marks: Option<Marks>,
    pub packs: BTreeSet<PackName>,
    /// By any group there is.
    pub named: HashSet<PackName>,
    /// Put by this process, and when.
    pub fresh: HashMap<PackName, Timestamp>,
}

/// What is to go. Only this module makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcDecision {
    /// Number of the marks that condemn the packs.
    number: u64,
    marks: Vec<Mark>,
    condemned: Vec<PackName>,
    groups: Vec<GroupId>,
}

impl GcDecision {
    /// A group, because its owner said so.
    pub(crate) fn group(id: GroupId) -> Self {
        Self { number: 0, marks: Vec::new(), condemned: Vec::new(), groups: vec![id] }
    }

    pub fn condemned(&self) -> &[PackName] {
        &self.condemned
    }

    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }
}

/// What came of a visit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    pub packs: usize,
    pub named: usize,
    pub marked: usize,
    pub deleted: usize,
    /// Why nothing was collected, if so.
    pub refused: Option<String>,
}

/// What a visit would do.
#[derive(Debug, Clone)]
pub struct GcPlan {
    pub packs: usize,
    pub named: usize,
    before: HashSet<PackName>,
    margins: Margins,
    decision: GcDecision,
}

/// What would become of a pack that nobody needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackFate {
    /// No group names it; this visit would mark it.
    Mark { until: Timestamp },
    /// It was marked before, and waits out its margin.
    Wait { since: Timestamp, until: Timestamp },
    /// It was marked long enough, and would be deleted.
    Delete,
}

impl GcPlan {
    /// By name: the packs that are not needed. All others stay as they are.
    pub fn fates(&self) -> impl Iterator<Item = (PackName, PackFate)> + '_ {
        self.decision.marks.iter().map(|mark| {
            let fate = match mark.state {
                MarkState::Condemned => PackFate::Delete,
                MarkState::Marked { since } => {
                    let until = since.plus_seconds(self.margins.mark_to_delete_s);
                    match self.before.contains(&mark.pack) {
                        true => PackFate::Wait { since, until },
                        false => PackFate::Mark { until },
                    }
                }
            };
            (mark.pack, fate)
        })
    }
}

/// Pure: the same sight always gives the same decision.
pub fn decide(sight: &Sight, margins: Margins) -> GcDecision {
    let before: HashMap<PackName, MarkState> =
        sight.marks.iter().flat_map(|marks| &marks.packs).map(|mark| (mark.pack, mark.state)).collect();
    let is_fresh = |pack: &PackName| {
        sight.fresh.get(pack).is_some_and(|put| put.plus_seconds(margins.fresh_s) > sight.began)
    };
    let mut marks = Vec::new();
    for &pack in &sight.packs {
        let needed = sight.named.contains(&pack) || is_fresh(&pack);
        let state = match before.get(&pack) {
            // Whoever condemned it may be deleting it this very moment.
            Some(MarkState::Condemned) => MarkState::Condemned,
            _ if needed => continue,
            Some(MarkState::Marked { since }) => {
                // A mark from the future, by another's clock, begins to count now.
                let since = (*since).min(sight.now);
                let over = since.plus_seconds(margins.mark_to_delete_s) <= sight.began;
                if over { MarkState::Condemned } else { MarkState::Marked { since } }
            }
            None => MarkState::Marked { since: sight.now },
        };
        marks.push(Mark { pack, state });
    }
    let condemned =
        marks.iter().filter(|mark| mark.state == MarkState::Condemned).map(|mark| mark.pack).collect();
    let number = sight.marks.as_ref().map_or(0, |marks| marks.number) + 1;
    GcDecision { number, marks, condemned, groups: Vec::new() }
}

/// Deletes what was decided: the only function in the workspace that deletes objects of a depot.
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
    let packs = condemned.into_iter().map(path::pack);
    let groups = decision.groups.iter().map(|group| path::group(*group));
    let mut deleted = 0;
    for path in packs.chain(groups) {
        depot.objects.delete(&Doomed::condemn(key(&path)?)).await?;
        deleted += 1;
    }
    Ok(deleted)
}

impl Depot {
    /// One visit: marks what nobody needs, deletes what was marked long ago and is still not needed.
    /// `promised` are trees that jobs have written and not sealed yet, those of processes that ended
    /// in between included.
    pub async fn collect(&self, margins: Margins, promised: &[TreeRef]) -> Result<GcReport, DepotError> {
        let sight = match self.look(promised).await {
            Ok(sight) => sight,
            Err(error @ (DepotError::Damaged { .. } | DepotError::Newer { .. } | DepotError::Keys(_))) => {
                return Ok(GcReport { refused: Some(error.to_string()), ..GcReport::default() });
            }
            Err(error) => return Err(error),
        };
        let decision = decide(&sight, margins);
        let (packs, named) = (sight.packs.len(), sight.named.len());
        let report = GcReport { packs, named, marked: decision.marks.len(), ..GcReport::default() };
        if decision.marks.is_empty() && sight.marks.is_none_or(|marks| marks.packs.is_empty()) {
            return Ok(report);
        }
        self.known().forget();
        if !self.put_marks(&decision, sight.now).await? {
            let refused = Some("another collector was faster".to_owned());
            return Ok(GcReport { refused, ..report });
        }
        let deleted = execute(self, &decision).await?;
        self.fresh().retain(|_, put| put.plus_seconds(margins.fresh_s) > sight.now);
        Ok(GcReport { deleted, ..report })
    }

    /// What a visit would decide now, and why; nothing is changed.
    pub async fn explain(&self, margins: Margins, promised: &[TreeRef]) -> Result<GcPlan, DepotError> {
        let sight = self.look(promised).await?;
        let decision = decide(&sight, margins);
        let before = sight.marks.iter().flat_map(|marks| &marks.packs).map(|mark| mark.pack).collect();
        Ok(GcPlan { packs: sight.packs.len(), named: sight.named.len(), before, margins, decision })
    }

    /// In this order: marks, packs, what this process put, groups. A promised tree that is sealed
    /// meanwhile counts twice, which does no harm.
    async fn look(&self, promised: &[TreeRef]) -> Result<Sight, DepotError> {
        let began = self.clock.now();
        let marks = self.newest_marks().await?;
        let packs = self.objects.list(path::PACKS, None, path::parse_pack).await?.into_iter().collect();
        let fresh = self.fresh().clone();
        let mut named = Named::default();
        for tree in promised {
            named.add(self, tree, None).await?;
        }
        for id in self.groups().await? {
            // One deleted since the listing needs nothing any more.
            for disk in self.group(id).await?.iter().flat_map(|group| &group.disks) {
                match named.add(self, &disk.tree, None).await {
                    Err(_) if self.objects.size(&key(&path::group(id))?).await?.is_none() => {}
                    added => added?,
                }
            }
        }
        Ok(Sight { began, now: self.clock.now(), marks, packs, named: named.packs, fresh })
    }

    /// Creates the next marks. False: somebody else has.
    async fn put_marks(&self, decision: &GcDecision, made: Timestamp) -> Result<bool, DepotError> {
        let marks = Marks { depot: self.id, number: decision.number, made, packs: decision.marks.clone() };
        let (key, bytes) = (key(&path::marks(decision.number))?, marks.encode());
        match self.objects.put(&key, bytes.clone().into()).await? {
            Put::Created => Ok(true),
            // Only our own earlier try is equal: another's would have to be made in the same microsecond
            // from the same sight, and then it decided the same.
            Put::Existed => Ok(self.objects.get(&key).await? == bytes),
        }
    }

    pub(crate) async fn newest_marks(&self) -> Result<Option<Marks>, DepotError> {
        let numbers = self.objects.list(path::MARKS, None, path::parse_marks).await?;
        let Some(number) = numbers.into_iter().max() else { return Ok(None) };
        let key = key(&path::marks(number))?;
        let bytes = self.objects.get(&key).await?;
        let marks = Marks::decode(&bytes).map_err(|error| DepotError::unreadable(key.as_str(), error))?;
        if (marks.depot, marks.number) != (self.id, number) {
            return Err(DepotError::damaged(key.as_str(), "the marks of another visit or depot"));
        }
        Ok(Some(marks))
    }
}

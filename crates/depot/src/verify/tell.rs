//! Gathers what was found: by object, and of each object whom it hurts and where.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::{Extent, GroupId};

use super::trees::Trees;
use super::{Finding, Hurt};

const FINDINGS_MAX: usize = 1000;
/// Beyond so many runs of chunks they are told more coarsely.
const RANGES_MAX: usize = 64;
/// Snapshots told of one by one, of one object.
const HURTS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Group(GroupId),
    /// By its place among the trees that are walked.
    Tree(u32),
}

#[derive(Debug, Default)]
pub(super) struct Tell {
    by_object: BTreeMap<String, Told>,
    unlisted: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Told {
    whats: Vec<String>,
    /// The object is there and broken, whatever becomes of those it hurts.
    standing: bool,
    hurts: BTreeMap<Who, Ranges>,
}

impl Tell {
    /// Something is wrong with an object itself.
    pub(super) fn standing(&mut self, object: &str, what: &str) {
        self.hurt(object, what, [], true);
    }

    pub(super) fn hurt(
        &mut self,
        object: &str,
        what: &str,
        who: impl IntoIterator<Item = Who>,
        standing: bool,
    ) {
        let Some(told) = self.told(object) else { return };
        told.standing |= standing;
        if !what.is_empty() && !told.whats.iter().any(|told| told == what) && told.whats.len() < 8 {
            told.whats.push(what.to_owned());
        }
        for who in who.into_iter().take(HURTS_MAX) {
            told.hurts.entry(who).or_default();
        }
    }

    /// For what was found a second time, with less to say.
    pub(super) fn hurt_unless_told(&mut self, object: &str, what: &str, who: Who) {
        let known = self.by_object.contains_key(object);
        self.hurt(object, if known { "" } else { what }, [who], false);
    }

    /// Chunks of some snapshots, counted in chunks of their disks.
    pub(super) fn hurt_chunks(&mut self, object: &str, what: &str, trees: &[u32], chunks: (u64, u64)) {
        let known = self.by_object.contains_key(object);
        let Some(told) = self.told(object) else { return };
        if !known {
            told.whats.push(what.to_owned());
        }
        for tree in trees.iter().take(HURTS_MAX) {
            if told.hurts.len() < HURTS_MAX || told.hurts.contains_key(&Who::Tree(*tree)) {
                told.hurts.entry(Who::Tree(*tree)).or_default().add(chunks);
            }
        }
    }

    fn told(&mut self, object: &str) -> Option<&mut Told> {
        if self.by_object.len() >= FINDINGS_MAX && !self.by_object.contains_key(object) {
            // Their number is told, as long as that is cheap.
            if self.unlisted.len() < FINDINGS_MAX * 100 {
                self.unlisted.insert(object.to_owned());
            }
            return None;
        }
        Some(self.by_object.entry(object.to_owned()).or_default())
    }

    /// Groups that would be told to be hurt.
    pub(super) fn groups(&self, trees: &Trees) -> BTreeSet<GroupId> {
        let who = self.by_object.values().flat_map(|told| told.hurts.keys());
        who.map(|who| who.group(trees)).collect()
    }

    /// What there is to tell, but for groups that have gone meanwhile.
    pub(super) fn findings(self, trees: &Trees, gone: &HashSet<GroupId>) -> (Vec<Finding>, usize) {
        let mut findings = Vec::new();
        for (object, told) in self.by_object {
            let mut hurts: Vec<Hurt> = told
                .hurts
                .into_iter()
                .filter(|(who, _)| !gone.contains(&who.group(trees)))
                .map(|(who, ranges)| who.hurt(trees, ranges))
                .collect();
            hurts.sort_by_key(|hurt| (hurt.group, hurt.snapshot));
            if told.standing || !hurts.is_empty() {
                findings.push(Finding { object, what: told.whats.join("; "), hurts });
            }
        }
        (findings, self.unlisted.len())
    }
}

impl Who {
    fn group(self, trees: &Trees) -> GroupId {
        match self {
            Self::Group(group) => group,
            Self::Tree(tree) => trees.of(tree).group,
        }
    }

    fn hurt(self, trees: &Trees, ranges: Ranges) -> Hurt {
        match self {
            Self::Group(group) => Hurt { group, snapshot: None, ranges: Vec::new() },
            Self::Tree(tree) => {
                let disk = trees.of(tree);
                let chunk_len = u64::from(disk.tree.geometry.chunk_len());
                let ranges = ranges.extents(chunk_len, disk.tree.size);
                Hurt { group: disk.group, snapshot: Some(disk.snapshot), ranges }
            }
        }
    }
}

/// Runs of chunks, joined where they touch, told in ever coarser grains when they are many.
#[derive(Debug, Default)]
struct Ranges {
    /// From, and one past the last; disjoint.
    runs: BTreeMap<u64, u64>,
    grain_log2: u32,
}

impl Ranges {
    fn add(&mut self, (from, to): (u64, u64)) {
        self.insert(from, to);
        while self.runs.len() > RANGES_MAX {
            self.grain_log2 += 1;
            for (from, to) in std::mem::take(&mut self.runs) {
                self.insert(from, to);
            }
        }
    }

    fn insert(&mut self, from: u64, to: u64) {
        let grain = self.grain_log2;
        let (mut from, mut to) = (from >> grain << grain, ((to - 1) >> grain << grain) + (1 << grain));
        // Runs are disjoint, so only those that begin up to our end can touch us; the last of them first.
        while let Some((&begin, &end)) = self.runs.range(..=to).next_back() {
            if end < from {
                break;
            }
            (from, to) = (from.min(begin), to.max(end));
            self.runs.remove(&begin);
        }
        self.runs.insert(from, to);
    }

    fn extents(&self, chunk_len: u64, size: u64) -> Vec<Extent> {
        let cut = |chunk: u64| chunk.saturating_mul(chunk_len).min(size);
        let extents = self.runs.iter().map(|(from, to)| (cut(*from), cut(*to)));
        extents
            .filter(|(from, to)| from < to)
            .map(|(from, to)| Extent { offset: from, len: to - from })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_cover_what_was_added_and_are_exact_while_they_are_few(
            added in prop::collection::vec((0_u64..3000, 1_u64..20), 1..300),
        ) {
            let mut ranges = Ranges::default();
            let mut naive = vec![false; 4096];
            for (from, len) in added {
                ranges.add((from, from + len));
                (from..from + len).for_each(|chunk| naive[usize::try_from(chunk).unwrap()] = true);
            }
            let extents = ranges.extents(1, 4096);
            prop_assert!(extents.len() <= RANGES_MAX);
            prop_assert!(extents.windows(2).all(|pair| pair[0].end() < pair[1].offset));
            let mut told = vec![false; 4096];
            for extent in &extents {
                (extent.offset..extent.end()).for_each(|chunk| told[usize::try_from(chunk).unwrap()] = true);
            }
            prop_assert!(naive.iter().zip(&told).all(|(hurt, told)| *told || !hurt));
            prop_assert!(ranges.grain_log2 > 0 || naive == told);
        }
    }
}

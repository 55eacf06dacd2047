//! The listing of a bucket, and what of it is small: header, key slots, manifests, marks.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use format::{
    Attempt, DepotHeader, FormatError, KeySlot, ManifestEnvelope, Marks, PackName, SlotId, TreeRef, path,
};
use model::{DepotId, GroupId, SnapshotId};
use store::{LIST_MAX, Listed, ObjectKey};

use super::tell::{Tell, Who};
use super::{Note, Verified, VerifyStage, Verifying};
use crate::error::in_words;
use crate::group::not_void;
use crate::objects::{Objects, key};
use crate::{Depot, DepotError};

/// The largest small object: collection marks of many packs.
const SMALL_LEN_MAX: u64 = 128 << 20;
/// Notes are for people.
const NOTES_MAX: usize = 1000;

/// One disk to be walked.
pub(super) struct DiskOf {
    pub(super) group: GroupId,
    pub(super) snapshot: SnapshotId,
    pub(super) tree: TreeRef,
}

/// In the order in which they are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Small {
    Header,
    Slot(SlotId),
    Marks(u64),
    Group(GroupId, Attempt),
    Intent(GroupId, Attempt),
}

/// What an object says of itself.
struct Whose {
    depot: DepotId,
    /// The name it should have, if that is another.
    itself: Option<String>,
    /// What it is sealed under: of groups alone, for those are opened.
    slot: Option<SlotId>,
}

impl Small {
    fn decode(self, bytes: &[u8]) -> Result<Whose, FormatError> {
        let (depot, itself, slot) = match self {
            Self::Header => (DepotHeader::decode(bytes)?.depot, self, None),
            Self::Slot(_) => {
                let slot = KeySlot::decode(bytes)?;
                (slot.depot, Self::Slot(slot.slot), None)
            }
            Self::Marks(_) => {
                let marks = Marks::decode(bytes)?;
                (marks.depot, Self::Marks(marks.number), None)
            }
            Self::Group(..) => {
                let manifest = ManifestEnvelope::decode(bytes)?;
                let header = manifest.header;
                let slot = (!manifest.is_void()).then_some(header.slot);
                (header.depot, Self::Group(header.group, header.attempt), slot)
            }
            Self::Intent(..) => {
                let header = ManifestEnvelope::decode(bytes)?.header;
                (header.depot, Self::Intent(header.group, header.attempt), None)
            }
        };
        Ok(Whose { depot, itself: (itself != self).then(|| itself.path()), slot })
    }

    fn path(self) -> String {
        match self {
            Self::Header => path::HEADER.to_owned(),
            Self::Slot(slot) => path::key_slot(slot),
            Self::Marks(number) => path::marks(number),
            Self::Group(group, attempt) => path::group(group, attempt),
            Self::Intent(group, attempt) => path::intent(group, attempt),
        }
    }
}

const HEADERLESS: &str = "no program can open this depot without its header";

fn tell_of(tell: &mut Tell, small: Small, key: &ObjectKey, problem: &str, newest_marks: Option<u64>) {
    let more = match small {
        Small::Group(group, _) => return tell.hurt(key.as_str(), problem, [Who::Group(group)], true),
        Small::Slot(_) => return tell.standing(key.as_str(), problem),
        Small::Header => HEADERLESS,
        Small::Intent(..) => "a seal that was begun; no group needs it, and collection removes it in time",
        Small::Marks(number) if Some(number) == newest_marks => {
            "these are the newest marks, which writers and collection heed"
        }
        Small::Marks(_) => "there are newer marks, nobody reads these",
    };
    tell.standing(key.as_str(), &format!("{problem}; {more}"));
}

/// What the bucket holds, and how much of it was looked at.
pub(super) struct Survey {
    /// As the header says.
    pub(super) depot: Option<DepotId>,
    pub(super) packs: Vec<(PackName, u64)>,
    pub(super) groups: usize,
    pub(super) disks: Vec<DiskOf>,
    pub(super) notes: Vec<Note>,
    pub(super) objects_done: u64,
    pub(super) bytes_done: u64,
    small: Vec<(Small, ObjectKey, u64)>,
    slots: BTreeSet<SlotId>,
    /// Broken, or not what its name says.
    misplaced: BTreeSet<Small>,
    newest_marks: Option<u64>,
    objects_total: u64,
    bytes_total: u64,
    progress: Verifying,
}

impl Survey {
    pub(super) async fn list(objects: &Objects, progress: &Verifying) -> Result<Self, DepotError> {
        let mut survey = Self {
            depot: None,
            packs: Vec::new(),
            groups: 0,
            disks: Vec::new(),
            notes: Vec::new(),
            objects_done: 0,
            bytes_done: 0,
            small: Vec::new(),
            slots: BTreeSet::new(),
            misplaced: BTreeSet::new(),
            newest_marks: None,
            objects_total: 0,
            bytes_total: 0,
            progress: progress.clone(),
        };
        let mut after = None;
        loop {
            let page = objects.list_page("", after.as_ref(), LIST_MAX).await?;
            let more = page.len() >= LIST_MAX;
            after = page.last().map(|last| last.key.clone());
            page.into_iter().for_each(|listed| survey.sort_in(listed));
            if !more {
                return Ok(survey);
            }
        }
    }

    fn sort_in(&mut self, Listed { key, size, .. }: Listed) {
        let path = key.as_str();
        if let Some(pack) = path::parse_pack(path) {
            self.packs.push((pack, size));
        } else if let Some(small) = small(path) {
            match small {
                Small::Slot(slot) => _ = self.slots.insert(slot),
                Small::Marks(number) => self.newest_marks = self.newest_marks.max(Some(number)),
                Small::Header | Small::Group(..) | Small::Intent(..) => {}
            }
            self.small.push((small, key, size));
        } else {
            return self.note(path, stranger(path));
        }
        self.objects_total += 1;
        self.bytes_total += size;
    }

    pub(super) fn note(&mut self, object: &str, what: &str) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(Note { object: object.to_owned(), what: what.to_owned() });
        }
    }

    /// One object of this many bytes has been looked at.
    pub(super) fn done(&mut self, size: u64) {
        self.objects_done += 1;
        self.bytes_done += size;
        (self.progress)(Verified {
            stage: VerifyStage::Objects,
            objects: self.objects_done,
            objects_total: self.objects_total,
            bytes: self.bytes_done,
            bytes_total: self.bytes_total,
        });
    }

    /// Looks at everything but packs.
    pub(super) async fn look(
        &mut self,
        objects: &Objects,
        keyed: Option<&Depot>,
        tell: &mut Tell,
    ) -> Result<(), DepotError> {
        let mut small = std::mem::take(&mut self.small);
        // Key slots before the groups that need them.
        small.sort_by_key(|(small, ..)| *small);
        if small.first().is_none_or(|(small, ..)| *small != Small::Header) && self.objects_total > 0 {
            tell.standing(path::HEADER, &format!("missing; {HEADERLESS}"));
        }
        let mut read = Vec::new();
        for (small, key, size) in small {
            if let Some(whose) = self.read(objects, small, &key, size, tell).await? {
                read.push((small, key, whose));
            }
            self.done(size);
        }
        let newest = self.newest_marks;
        self.depot = self.judge_header(&read, tell);
        let all_but_header = read.iter().filter(|(small, ..)| *small != Small::Header);
        for (small, key, Whose { depot, itself, .. }) in all_but_header {
            let problem = match (self.depot, itself) {
                (Some(ours), _) if ours != *depot => Some(format!("it is of another depot, {depot}")),
                (_, Some(other)) => Some(format!("its bytes are those of {other}")),
                _ => None,
            };
            if let Some(problem) = problem {
                self.misplaced.insert(*small);
                tell_of(tell, *small, key, &problem, newest);
            }
        }
        for (small, _, whose) in &read {
            let Small::Group(group, attempt) = small else { continue };
            let Some(slot) = whose.slot.filter(|_| !self.misplaced.contains(small)) else { continue };
            if self.needs_slot(objects, slot, *group, tell).await?
                && let Some(depot) = keyed.filter(|depot| self.depot == Some(depot.id))
            {
                self.open_group(depot, *group, *attempt, tell).await?;
            }
        }
        Ok(())
    }

    /// Reads one object; whose it is, if it can be told.
    async fn read(
        &mut self,
        objects: &Objects,
        small: Small,
        key: &ObjectKey,
        size: u64,
        tell: &mut Tell,
    ) -> Result<Option<Whose>, DepotError> {
        let problem = if size > SMALL_LEN_MAX {
            format!("{size} bytes, more than any such object has")
        } else {
            // Deleted since the listing, if it is not there.
            let Some(bytes) = objects.find(key).await? else { return Ok(None) };
            match small.decode(&bytes) {
                Ok(whose) => {
                    self.groups += usize::from(whose.slot.is_some() && matches!(small, Small::Group(..)));
                    return Ok(Some(whose));
                }
                Err(_) if bytes.is_empty() => "empty".to_owned(),
                Err(error) => in_words(error),
            }
        };
        self.misplaced.insert(small);
        tell_of(tell, small, key, &problem, self.newest_marks);
        Ok(None)
    }

    /// Whose depot this is. All else may show that it is the header that is in the wrong place.
    fn judge_header(&self, read: &[(Small, ObjectKey, Whose)], tell: &mut Tell) -> Option<DepotId> {
        let header = read.iter().find(|(small, ..)| *small == Small::Header).map(|(.., whose)| whose.depot);
        let mut votes: BTreeMap<DepotId, usize> = BTreeMap::new();
        for (_, _, whose) in read {
            *votes.entry(whose.depot).or_default() += 1;
        }
        let (most, count) = votes.iter().max_by_key(|(_, count)| **count).map(|(id, count)| (*id, *count))?;
        let Some(header) = header else { return Some(most) };
        if header == most || votes[&header] > 1 || count < 2 {
            return Some(header);
        }
        let groups = read.iter().filter_map(|(small, ..)| match small {
            Small::Group(group, _) => Some(Who::Group(*group)),
            _ => None,
        });
        let what = format!("it is of another depot, {header}, than all else here, {most}; {HEADERLESS}");
        tell.hurt(path::HEADER, &what, groups, true);
        Some(most)
    }

    /// False if there is no such slot, or a broken one.
    async fn needs_slot(
        &mut self,
        objects: &Objects,
        slot: SlotId,
        group: GroupId,
        tell: &mut Tell,
    ) -> Result<bool, DepotError> {
        let object = path::key_slot(slot);
        if self.misplaced.contains(&Small::Slot(slot)) {
            tell.hurt(&object, "", [Who::Group(group)], true);
            return Ok(false);
        }
        if !self.slots.contains(&slot) && objects.size(&key(&object)?).await?.is_none() {
            tell.hurt(&object, "missing", [Who::Group(group)], true);
            return Ok(false);
        }
        self.slots.insert(slot);
        Ok(true)
    }

    async fn open_group(
        &mut self,
        depot: &Depot,
        id: GroupId,
        attempt: Attempt,
        tell: &mut Tell,
    ) -> Result<(), DepotError> {
        match depot.manifest(&path::group(id, attempt), id, attempt).await {
            // Deleted since the listing.
            Ok(None) => {}
            Ok(Some(group)) => {
                let disk = |disk: &format::DiskManifest| DiskOf {
                    group: id,
                    snapshot: disk.snapshot,
                    tree: disk.tree,
                };
                self.disks.extend(group.disks.iter().map(disk));
            }
            Err(error) => {
                let (object, what) = error.damage()?;
                tell.hurt(&object, &what, [Who::Group(id)], true);
            }
        }
        Ok(())
    }
}

fn small(path: &str) -> Option<Small> {
    if path == path::HEADER {
        return Some(Small::Header);
    }
    let slot = || path.strip_prefix(path::KEYS)?.parse().ok().map(Small::Slot);
    let group = || path::parse_group(path).map(|(group, attempt)| Small::Group(group, attempt));
    let intent = || path::parse_intent(path).map(|(group, attempt)| Small::Intent(group, attempt));
    let marks = || path::parse_marks(path).map(Small::Marks);
    slot().or_else(group).or_else(intent).or_else(marks)
}

/// Why a name that is none of a depot's may be there.
fn stranger(path: &str) -> &'static str {
    if path.starts_with("probe/") || path.starts_with("check-") {
        return "left behind by a check of this store; it may be removed";
    }
    let ours = [path::KEYS, path::PACKS, path::INTENTS, path::GROUPS, path::MARKS];
    if ours.iter().any(|prefix| path.starts_with(prefix)) {
        return "not a name this program gives; nothing reads it, and collection leaves it alone";
    }
    "not of this depot; nothing reads it, and collection leaves it alone"
}

/// Groups that somebody was found to be hurt in, and that are gone by now.
pub(super) async fn gone(
    objects: &Objects,
    groups: BTreeSet<GroupId>,
) -> Result<HashSet<GroupId>, DepotError> {
    let mut gone = HashSet::new();
    for group in groups {
        if objects.list_lines(&path::manifests_of(group), None, not_void).await?.is_empty() {
            gone.insert(group);
        }
    }
    Ok(gone)
}

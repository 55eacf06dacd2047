//! Names of chunks, by pack, and a table from name to place: about 24 bytes a chunk.
//!
//! Names are kept once, in the order they lie in their packs; the table holds 32 bits for each, by
//! open addressing with linear probing. A pack is learned whole and forgotten whole.

use std::collections::{HashMap, HashSet};

use format::{FrameKind, Link, Name, PackName, Place, Toc};

/// A slot of the table is a pack's number and a chunk's number within it, plus one; 0 is empty.
const NTH_BITS: u32 = 18;
const PACK_CHUNKS_MAX: usize = 1 << NTH_BITS;
const PACKS_MAX: usize = (1 << (32 - NTH_BITS)) - 1;
const SLOTS_MIN: usize = 1 << 10;
const EMPTY: u32 = 0;

/// The chunks of one pack: names in the order in which they lie, and the frames they lie in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    pub(super) frames: Box<[Frame]>,
    pub(super) names: Box<[Name]>,
}

/// Chunks of one length that fill a frame from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Index of its first name.
    pub(super) first: u32,
    pub(super) frame: u32,
    pub(super) offset: u32,
    pub(super) sealed_len: u32,
    pub(super) plain_len: u32,
    pub(super) chunk_len: u32,
}

impl Contents {
    /// From the places of all chunks of a pack. What does not fill frames from their beginnings is left out.
    pub(crate) fn of_links(links: impl Iterator<Item = Link>) -> Self {
        let mut links: Vec<Link> = links.collect();
        links.sort_unstable_by_key(|link| (link.place.frame, link.place.at));
        let (mut frames, mut names) = (Vec::new(), Vec::with_capacity(links.len()));
        for Link { name, place } in links {
            let first = u32::try_from(names.len()).unwrap_or(u32::MAX);
            let Place { frame, offset, sealed_len, plain_len, at, len, .. } = place;
            if at == 0 {
                frames.push(Frame { first, frame, offset, sealed_len, plain_len, chunk_len: len });
            }
            let follows = |last: &&Frame| last.frame == frame && last.chunk_len == len;
            if frames.last().filter(follows).is_some_and(|last| at == (first - last.first) * len) {
                names.push(name);
            }
        }
        Self { frames: frames.into(), names: names.into() }
    }

    pub(crate) fn of_toc(toc: &Toc) -> Self {
        let (mut frames, mut names) = (Vec::new(), Vec::new());
        for (number, found) in (0..).zip(&toc.frames) {
            let Some(chunk_len) = found.inside.first().map(|first| first.len) else { continue };
            let alike = found.inside.iter().all(|inside| inside.len == chunk_len) && chunk_len > 0;
            if found.kind == FrameKind::Data && alike {
                let first = u32::try_from(names.len()).unwrap_or(u32::MAX);
                let (offset, sealed_len, plain_len) = (found.offset, found.sealed_len, found.plain_len);
                frames.push(Frame { first, frame: number, offset, sealed_len, plain_len, chunk_len });
                names.extend(found.inside.iter().map(|inside| inside.name));
            }
        }
        Self { frames: frames.into(), names: names.into() }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the frames follow one another, and each holds the chunks that are said to lie in it.
    pub(super) fn is_sound(&self) -> bool {
        let ends = self.frames.iter().skip(1).map(|next| next.first as usize).chain([self.names.len()]);
        let mut begins = 0;
        let holds = self.frames.iter().zip(ends).all(|(frame, end)| {
            let count = end.saturating_sub(frame.first as usize) as u64;
            let follows = std::mem::replace(&mut begins, end) == frame.first as usize && count > 0;
            follows && frame.chunk_len > 0 && count * u64::from(frame.chunk_len) <= u64::from(frame.plain_len)
        });
        holds && self.frames.is_empty() == self.names.is_empty()
    }

    /// How long a pack must be to hold all this.
    fn reach(&self) -> u64 {
        let ends = self.frames.iter().map(|frame| u64::from(frame.offset) + u64::from(frame.sealed_len));
        ends.max().unwrap_or_default()
    }

    fn link(&self, pack: PackName, nth: u32) -> Option<Link> {
        let name = *self.names.get(nth as usize)?;
        let after = self.frames.partition_point(|frame| frame.first <= nth);
        let Frame { first, frame, offset, sealed_len, plain_len, chunk_len } =
            *self.frames.get(after.checked_sub(1)?)?;
        let at = (nth - first).checked_mul(chunk_len)?;
        Some(Link { name, place: Place { pack, frame, offset, sealed_len, plain_len, at, len: chunk_len } })
    }
}

#[derive(Debug)]
struct Pack {
    name: PackName,
    contents: Contents,
    /// When it was of use last.
    used: u64,
    /// The marks under which it was last certain to be there.
    sure: Option<u64>,
}

/// What is known of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    Nothing,
    Lies(Link),
    /// It lay in this pack, at least so long, when that was last looked at.
    Ask {
        pack: PackName,
        reach: u64,
        epoch: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Table {
    chunks_max: usize,
    chunks: usize,
    /// Number of the newest collection marks seen, and the packs in them.
    epoch: u64,
    avoid: HashSet<PackName>,
    packs: Vec<Option<Pack>>,
    by_name: HashMap<PackName, u32>,
    slots: Vec<u32>,
    filled: usize,
    clock: u64,
}

impl Table {
    pub(crate) fn new(chunks_max: usize) -> Self {
        Self {
            chunks_max,
            chunks: 0,
            epoch: 0,
            avoid: HashSet::new(),
            packs: Vec::new(),
            by_name: HashMap::new(),
            slots: Vec::new(),
            filled: 0,
            clock: 0,
        }
    }

    pub(crate) const fn chunks(&self) -> usize {
        self.chunks
    }

    pub(crate) const fn has_room(&self, chunks: usize) -> bool {
        chunks <= self.chunks_max
    }

    pub(crate) fn holds(&self, pack: PackName) -> bool {
        self.by_name.contains_key(&pack)
    }

    /// Newer marks: what stands in them is forgotten, and everything else has to be asked for before
    /// it is used again, for older marks that were never seen here may have condemned it.
    /// Answers what was forgotten.
    pub(crate) fn enter(&mut self, epoch: u64, marked: impl Iterator<Item = PackName>) -> Vec<PackName> {
        if epoch <= self.epoch {
            return Vec::new();
        }
        self.epoch = epoch;
        self.avoid = marked.collect();
        let doomed: Vec<PackName> =
            self.by_name.keys().copied().filter(|pack| self.avoid.contains(pack)).collect();
        for pack in &doomed {
            self.forget(*pack);
        }
        doomed
    }

    pub(crate) fn look(&mut self, name: Name) -> Look {
        let Some(at) = self.find(name) else { return Look::Nothing };
        let (number, nth) = apart(self.slots[at]);
        let Some(pack) = self.packs.get_mut(number as usize).and_then(Option::as_mut) else {
            return Look::Nothing;
        };
        if pack.sure != Some(self.epoch) {
            return Look::Ask { pack: pack.name, reach: pack.contents.reach(), epoch: self.epoch };
        }
        self.clock += 1;
        pack.used = self.clock;
        pack.contents.link(pack.name, nth).map_or(Look::Nothing, Look::Lies)
    }

    /// A pack was looked at, after marks `epoch` were read, and is there.
    pub(crate) fn confirm(&mut self, pack: PackName, epoch: u64) {
        let found = self.by_name.get(&pack).and_then(|number| self.packs[*number as usize].as_mut());
        if let Some(found) = found {
            found.sure = Some(epoch);
        }
    }

    /// Takes what a pack holds; `sure` are the marks under which it is certain to be there.
    /// Answers the packs forgotten for want of room, itself perhaps among them.
    pub(crate) fn learn(&mut self, pack: PackName, contents: Contents, sure: Option<u64>) -> Vec<PackName> {
        if self.holds(pack) {
            return Vec::new();
        }
        let count = contents.len();
        if count > self.chunks_max.min(PACK_CHUNKS_MAX) || count == 0 || self.avoid.contains(&pack) {
            return vec![pack];
        }
        let mut gone = Vec::new();
        while self.chunks + count > self.chunks_max || self.by_name.len() >= PACKS_MAX {
            let packs = self.packs.iter().flatten();
            let Some(oldest) = packs.min_by_key(|pack| pack.used).map(|pack| pack.name) else { break };
            self.forget(oldest);
            gone.push(oldest);
        }
        self.make_room(count);
        let number = self.packs.iter().position(Option::is_none).unwrap_or(self.packs.len());
        if number == self.packs.len() {
            self.packs.push(None);
        }
        self.clock += 1;
        let names = contents.names.clone();
        self.packs[number] = Some(Pack { name: pack, contents, used: self.clock, sure });
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.by_name.insert(pack, number);
        self.chunks += count;
        for (nth, name) in (0..).zip(&names) {
            self.put(*name, together(number, nth));
        }
        gone
    }

    pub(crate) fn forget_all(&mut self) -> Vec<PackName> {
        let gone = self.by_name.drain().map(|(pack, _)| pack).collect();
        (self.packs, self.slots) = (Vec::new(), Vec::new());
        (self.chunks, self.filled) = (0, 0);
        gone
    }

    pub(crate) fn forget(&mut self, pack: PackName) {
        let Some(number) = self.by_name.remove(&pack) else { return };
        // Its names are needed to find its slots: it goes last.
        let count = self.packs[number as usize].as_ref().map_or(0, |pack| pack.contents.len());
        for nth in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            self.take_out(together(number, nth));
        }
        self.packs[number as usize] = None;
        self.chunks -= count;
    }

    fn name(&self, slot: u32) -> Option<Name> {
        let (number, nth) = apart(slot);
        let pack = self.packs.get(number as usize)?.as_ref()?;
        pack.contents.names.get(nth as usize).copied()
    }

    /// Where the search for a name begins. Names are keyed hashes: any of their bits will do.
    fn home(&self, name: Name) -> usize {
        let bits = u64::from_le_bytes(*name.0.first_chunk().unwrap_or(&[0; 8]));
        usize::try_from(bits & (self.slots.len() as u64 - 1)).unwrap_or_default()
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    fn find(&self, name: Name) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(name);
        while self.slots[at] != EMPTY {
            if self.name(self.slots[at]) == Some(name) {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    /// Of two places of one name the newer counts: it is likelier to stay.
    fn put(&mut self, name: Name, slot: u32) {
        let mut at = self.home(name);
        while self.slots[at] != EMPTY && self.name(self.slots[at]) != Some(name) {
            at = self.next(at);
        }
        self.filled += usize::from(self.slots[at] == EMPTY);
        self.slots[at] = slot;
    }

    fn take_out(&mut self, slot: u32) {
        let Some(name) = self.name(slot) else { return };
        // A newer place may stand there instead, and stays.
        let Some(mut hole) = self.find(name).filter(|at| self.slots[*at] == slot) else { return };
        let mut at = hole;
        loop {
            at = self.next(at);
            let Some(next) = Some(self.slots[at]).filter(|slot| *slot != EMPTY) else { break };
            let home = self.name(next).map_or(at, |name| self.home(name));
            // What may not stand before its home stays; all else moves up, or a search would end too soon.
            let stays = if hole <= at { hole < home && home <= at } else { hole < home || home <= at };
            if !stays {
                self.slots[hole] = next;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
        self.filled -= 1;
    }

    /// Keeps a quarter of the table empty.
    fn make_room(&mut self, count: usize) {
        let needed = (self.filled + count) / 3 * 4 + 4;
        if needed <= self.slots.len() {
            return;
        }
        let len = needed.next_power_of_two().max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; len]);
        self.filled = 0;
        for slot in old.into_iter().filter(|slot| *slot != EMPTY) {
            if let Some(name) = self.name(slot) {
                self.put(name, slot);
            }
        }
    }
}

const fn together(pack: u32, nth: u32) -> u32 {
    (pack << NTH_BITS | nth) + 1
}

const fn apart(slot: u32) -> (u32, u32) {
    let code = slot - 1;
    (code >> NTH_BITS, code & ((1 << NTH_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn name(seed: u16) -> Name {
        // Few homes, so that searches run into one another and around the end.
        let mut bytes = [0xff; 16];
        bytes[0] = 0xfa | u8::try_from(seed % 5).expect("small");
        bytes[8..10].copy_from_slice(&seed.to_le_bytes());
        Name(bytes)
    }

    fn pack(seed: u8) -> PackName {
        PackName([seed; 32])
    }

    fn contents(names: &[u16]) -> Contents {
        let place =
            Place { pack: pack(0), frame: 3, offset: 74, sealed_len: 99, plain_len: 4096, at: 0, len: 16 };
        Contents::of_links(
            (0..)
                .zip(names)
                .map(|(nth, seed)| Link { name: name(*seed), place: Place { at: nth * 16, ..place } }),
        )
    }

    proptest! {
        /// Against a plain map: what was learned is found at its newest place, what was forgotten is not.
        #[test]
        fn it_finds_what_was_learned_and_nothing_else(
            steps in prop::collection::vec((0_u8..6, prop::collection::btree_set(0_u16..300, 1..40), any::<bool>()), 1..40),
        ) {
            let mut table = Table::new(1 << 20);
            let mut packs: BTreeMap<u8, usize> = BTreeMap::new();
            // Of each name the pack it was learned from last, while that is held, and its place there.
            let mut newest: BTreeMap<u16, (u8, u32)> = BTreeMap::new();
            for (seed, names, forget) in steps {
                if forget {
                    table.forget(pack(seed));
                    packs.remove(&seed);
                    newest.retain(|_, (held, _)| *held != seed);
                } else if let std::collections::btree_map::Entry::Vacant(free) = packs.entry(seed) {
                    let names: Vec<u16> = names.into_iter().collect();
                    table.learn(pack(seed), contents(&names), Some(0));
                    free.insert(names.len());
                    newest.extend((0..).zip(names).map(|(nth, name)| (name, (seed, nth * 16))));
                }
                for seed in 0..300 {
                    let found = match table.look(name(seed)) {
                        Look::Lies(link) => Some((link.name, link.place.pack, link.place.at)),
                        Look::Nothing | Look::Ask { .. } => None,
                    };
                    let wanted = newest.get(&seed).map(|(held, at)| (name(seed), pack(*held), *at));
                    prop_assert_eq!(found.is_some(), wanted.is_some());
                    prop_assert!(found == wanted, "{} lies elsewhere", seed);
                }
                prop_assert_eq!(table.chunks(), packs.values().sum::<usize>());
                prop_assert_eq!(table.filled, newest.len());
            }
        }
    }

    /// What lies about a frame would lead a reader beyond it.
    #[test]
    fn contents_that_contradict_themselves_are_not_sound() {
        let sound = contents(&[1, 2, 3]);
        assert!(sound.is_sound() && Contents::default().is_sound());
        let lies: [fn(&mut Frame); 4] = [
            |frame| frame.first = 1,
            |frame| frame.chunk_len = 0,
            |frame| frame.chunk_len = 2000,
            |frame| frame.plain_len = 47,
        ];
        for lie in lies {
            let mut contents = sound.clone();
            lie(&mut contents.frames[0]);
            assert!(!contents.is_sound(), "{contents:?}");
        }
        let twice = Contents { frames: [&*sound.frames, &*sound.frames].concat().into(), ..sound.clone() };
        let none = Contents { frames: Box::default(), ..sound };
        assert!(!twice.is_sound() && !none.is_sound());
    }

    #[test]
    fn one_holder_is_always_found() {
        let mut table = Table::new(1 << 20);
        for seed in 0..6_u8 {
            let names: Vec<u16> = (0..50).map(|nth| u16::from(seed) * 50 + nth).collect();
            table.learn(pack(seed), contents(&names), Some(0));
        }
        for gone in 0..6_u8 {
            table.forget(pack(gone));
            for seed in 0..300_u16 {
                let held = seed / 50 > u16::from(gone);
                assert_eq!(matches!(table.look(name(seed)), Look::Lies(_)), held, "{seed} after {gone}");
            }
        }
        assert_eq!((table.chunks(), table.filled), (0, 0));
    }

    #[test]
    fn the_least_recently_used_pack_makes_room() {
        let mut table = Table::new(20);
        assert!(table.learn(pack(1), contents(&[1, 2, 3, 4, 5, 6, 7, 8]), Some(0)).is_empty());
        assert!(table.learn(pack(2), contents(&[11, 12, 13, 14, 15, 16, 17, 18]), Some(0)).is_empty());
        assert!(matches!(table.look(name(1)), Look::Lies(_)));
        assert_eq!(table.learn(pack(3), contents(&[21, 22, 23, 24, 25, 26, 27, 28]), Some(0)), [pack(2)]);
        assert_eq!(table.learn(pack(4), contents(&(0..21).collect::<Vec<_>>()), Some(0)), [pack(4)]);
        assert_eq!((table.chunks(), table.by_name.len()), (16, 2));
    }

    #[test]
    fn newer_marks_forget_what_they_name_and_doubt_the_rest() {
        let mut table = Table::new(100);
        table.learn(pack(1), contents(&[1]), Some(0));
        table.learn(pack(2), contents(&[2]), Some(0));
        assert_eq!(table.enter(4, [pack(1)].into_iter()), [pack(1)]);
        assert_eq!(table.look(name(1)), Look::Nothing);
        let doubt = Look::Ask { pack: pack(2), reach: 74 + 99, epoch: 4 };
        assert_eq!(table.look(name(2)), doubt);
        table.confirm(pack(2), 3);
        assert_eq!(table.look(name(2)), doubt, "older marks prove nothing");
        table.confirm(pack(2), 4);
        assert!(matches!(table.look(name(2)), Look::Lies(_)));
        // Put under older marks, and in the newer ones already.
        assert_eq!(table.learn(pack(1), contents(&[1]), Some(3)), [pack(1)]);
        // An older look at the marks, answered late, takes nothing back.
        assert!(table.enter(2, [].into_iter()).is_empty());
        assert_eq!(table.look(name(1)), Look::Nothing);
    }
}

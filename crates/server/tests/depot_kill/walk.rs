//! A seeded walk: imports, increments, copies, deletions and collections, each killed at a random
//! moment of the time it takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::place::noise;
use crate::world::{Call, End, Groups, Side, World};

const MIB: usize = 1 << 20;
/// More than one pack.
const IMAGE_LEN: usize = 20 * MIB;
/// Groups of a depot before some are deleted.
const GROUPS_MAX: usize = 4;
/// What a command is thought to take before one has come to its end.
const TAKES_US: u64 = 400_000;
/// Files of images that are kept.
const IMAGES_KEPT: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Import,
    Copy,
    Delete,
    Collect,
}

pub(crate) struct Walk {
    world: World,
    random: blake3::OutputReader,
    images: Vec<String>,
    images_made: usize,
    takes_us: BTreeMap<Kind, u64>,
    counts: BTreeMap<&'static str, usize>,
}

impl Walk {
    /// `HIKAE_KILLS_SEED` is of the walk's choices; when death comes is the machine's.
    pub(crate) fn new(world: World) -> Self {
        let seed = std::env::var("HIKAE_KILLS_SEED").unwrap_or_else(|_| "kills".to_owned());
        Self {
            world,
            random: blake3::Hasher::new().update(seed.as_bytes()).finalize_xof(),
            images: Vec::new(),
            images_made: 0,
            takes_us: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % sides
    }

    fn nth<'a>(&mut self, groups: &'a BTreeMap<String, String>) -> Option<&'a String> {
        let nth = self.roll(groups.len().max(1) as u64);
        groups.values().nth(usize::try_from(nth).expect("small"))
    }

    pub(crate) fn go(mut self, kills: usize) {
        let (mut killed, began) = (0, Instant::now());
        while killed < kills {
            killed += usize::from(self.step() == End::Killed);
        }
        let leaks = self.world.leaks();
        self.world.collect_all();
        self.world.audit(&[]);
        assert_eq!(self.world.leaks(), [0; 3], "leaked for ever");
        let (took, counts) = (began.elapsed(), &self.counts);
        println!(
            "{killed} kills in {took:?}: {counts:#?}\nunneeded packs, drafts and intents in the end: {leaks:?}"
        );
    }

    fn step(&mut self) -> End {
        let there = self.world.groups();
        let (kind, call) = self.choose(&there);
        let usual = *self.takes_us.get(&kind).unwrap_or(&TAKES_US);
        // Half of what writes dies at the end, where it matters.
        let its_pack = matches!(kind, Kind::Import | Kind::Copy) && self.roll(2) == 0;
        let within = if its_pack { 100_000 } else { usual + usual / 5 };
        let after = Duration::from_micros(self.roll(within));
        let count = |world: &World| (world.packs(call.changes), world.groups()[call.changes as usize].len());
        let before = count(&self.world);
        let (end, took) = self.world.run_until(&call, after, its_pack);
        self.world.audit_after(&call, &there);
        let now = count(&self.world);
        if end == End::Finished && !its_pack {
            self.takes_us.insert(kind, took);
        }
        *self.counts.entry(landed(end, kind, before, now)).or_default() += 1;
        let keep = self.images.len().saturating_sub(IMAGES_KEPT);
        for old in self.images.drain(..keep) {
            self.world.forget_image(&old);
        }
        end
    }

    fn choose(&mut self, groups: &Groups) -> (Kind, Call) {
        let [here, there] = groups;
        let is_missing = here.keys().any(|group| !there.contains_key(group));
        let side = if self.roll(2) == 0 { Side::Here } else { Side::There };
        match self.roll(10) {
            0..4 if here.len() < GROUPS_MAX => (Kind::Import, self.import(here)),
            0..2 if !here.is_empty() => self.delete(Side::Here, here),
            2..7 if is_missing && there.len() < GROUPS_MAX => {
                let all = self.roll(2) == 0;
                let name = here.iter().find(|(group, _)| !there.contains_key(*group)).map(|(_, name)| name);
                let name = if all { None } else { name };
                (Kind::Copy, self.world.copy(name.map(String::as_str)))
            }
            2..8 if !there.is_empty() => self.delete(Side::There, there),
            2..8 => (Kind::Import, self.import(here)),
            _ => {
                self.world.pass_margin();
                (Kind::Collect, World::gc(side))
            }
        }
    }

    fn delete(&mut self, side: Side, groups: &BTreeMap<String, String>) -> (Kind, Call) {
        let name = self.nth(groups).expect("some group");
        (Kind::Delete, self.world.delete(side, name))
    }

    fn import(&mut self, groups: &BTreeMap<String, String>) -> Call {
        let name = format!("image-{}", self.images_made);
        self.images_made += 1;
        let base = if self.roll(3) == 0 { None } else { self.nth(groups) };
        let mut bytes = match base {
            Some(base) => self.world.content(base),
            None => noise(IMAGE_LEN, self.roll(1 << 30)),
        };
        let at = usize::try_from(self.roll(15)).expect("small") * MIB;
        bytes[at..at + 4 * MIB].copy_from_slice(&noise(4 * MIB, self.roll(1 << 30)));
        self.world.write_image(&name, &bytes);
        self.images.push(name.clone());
        self.world.import(&name, base.map(String::as_str))
    }
}

/// Where death found it, by how many packs and groups there were before and after.
fn landed(end: End, kind: Kind, before: (usize, usize), now: (usize, usize)) -> &'static str {
    match (end, kind) {
        (End::Finished, _) => "finished first",
        (_, Kind::Import) if now.1 > before.1 => "import: after the group was there",
        (_, Kind::Import) if now.0 > before.0 => "import: between its packs and its group",
        (_, Kind::Import) => "import: before its first pack",
        (_, Kind::Copy) if now.1 > before.1 => "copy: after a group was there",
        (_, Kind::Copy) if now.0 > before.0 => "copy: between its packs and its group",
        (_, Kind::Copy) => "copy: before its first pack",
        (_, Kind::Delete) if now.1 < before.1 => "delete: after the group was gone",
        (_, Kind::Delete) => "delete: before",
        (_, Kind::Collect) if now.0 < before.0 => "gc: while or after packs were deleted",
        (_, Kind::Collect) => "gc: before a pack was deleted",
    }
}

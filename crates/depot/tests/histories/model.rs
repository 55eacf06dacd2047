//! What must be true of a depot, kept beside it in plain memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use hikae_depot::{DepotError, GroupManifest, Margins};
use model::{Clock, GroupId, Timestamp};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::common::Hands;
use crate::support::network::Network;

pub const HOUR_S: i64 = 3600;

/// Whether a group must be there. If it is there it is whole, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A seal or a deletion has begun, and nobody has had a certain answer.
    Doubtful,
    Sealed,
    Gone,
}

#[derive(Debug, Clone)]
pub struct Group {
    pub standing: Standing,
    pub content: Rc<Vec<u8>>,
}

/// A seal that was begun and not answered yet, as a server's journal keeps it.
#[derive(Debug, Clone)]
pub struct Sealing {
    pub process: usize,
    pub manifest: GroupManifest,
    pub since: Timestamp,
}

#[derive(Debug, Default)]
pub struct Model {
    pub groups: BTreeMap<u128, Group>,
    pub sealing: BTreeMap<u128, Sealing>,
    /// Those of processes that died: to be sealed again.
    pub to_recover: Vec<Sealing>,
    pub seals: usize,
    pub overtaken: usize,
    pub refused: usize,
    pub deleted_packs: usize,
    pub restores: usize,
}

/// What all tasks of a history share.
pub struct Shared {
    pub network: Arc<Network>,
    pub model: RefCell<Model>,
    pub random: RefCell<ChaCha8Rng>,
    pub clock: Arc<Hands>,
    /// Of all collectors of this history. With none at all everything is as safe, and more happens.
    pub margins: Margins,
    margin_hours: i64,
    /// Whether operations of this history may fail.
    pub faults: Cell<bool>,
    pub tracing: bool,
}

impl Shared {
    pub fn new(network: Arc<Network>, seed: u64) -> Rc<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let margin_hours = [24, 24, 2, 0][(random.next_u32() % 4) as usize];
        let margin_s = margin_hours * HOUR_S;
        Rc::new(Self {
            network,
            margins: Margins::new(margin_s, 3 * margin_s, margin_s),
            margin_hours,
            model: RefCell::default(),
            random: RefCell::new(random),
            clock: Hands::new(),
            faults: Cell::new(false),
            tracing: std::env::var_os("HIKAE_SIM_TRACE").is_some(),
        })
    }

    /// Below `sides`.
    pub fn roll(&self, sides: u32) -> usize {
        (self.random.borrow_mut().next_u32() % sides) as usize
    }

    pub fn one_in(&self, sides: u32) -> bool {
        self.roll(sides) == 0
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn hours_since(&self, then: Timestamp) -> i64 {
        (self.now().0 - then.0) / (HOUR_S * 1_000_000)
    }

    /// Whoever is faster than this is not overtaken, clocks apart and all.
    pub fn safe_hours(&self) -> i64 {
        (self.margin_hours - 2).max(0)
    }

    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.tracing {
            println!("{:>12} {}", self.now().0 / 1_000_000 - 1_800_000_000, line());
        }
    }

    pub fn standing(&self, group: u128) -> Standing {
        self.model.borrow().groups.get(&group).map_or(Standing::Gone, |group| group.standing)
    }

    pub fn set(&self, group: u128, standing: Standing) {
        self.trace(|| format!("group {group} is {standing:?}"));
        self.model.borrow_mut().groups.get_mut(&group).expect("a group of the model").standing = standing;
    }

    pub fn pick_sealed(&self) -> Option<(u128, Rc<Vec<u8>>)> {
        let model = self.model.borrow();
        let sealed: Vec<_> =
            model.groups.iter().filter(|(_, group)| group.standing == Standing::Sealed).collect();
        let nth = self.roll(u32::try_from(sealed.len().max(1)).unwrap());
        sealed.get(nth).map(|(id, group)| (**id, group.content.clone()))
    }

    /// A manifest on its way may land after this: then nobody can know whether the group will be.
    pub fn is_late(&self, group: u128) -> bool {
        let name = format!("groups/{}.", GroupId::from_bits(group));
        self.network.late().iter().any(|late| late.starts_with(&name))
    }

    /// An error that must not happen unless something was broken on purpose, or went by right.
    pub fn excuse(&self, doing: &str, error: &DepotError, gone_by_right: bool) {
        self.trace(|| format!("{doing}: {error}"));
        let excused = match error {
            DepotError::Store(_) => self.faults.get(),
            DepotError::Damaged { .. } => gone_by_right,
            _ => false,
        };
        assert!(excused, "{doing}: {error:?}");
    }
}

//! A host that exists in memory only, for tests, for the simulation, and for `--simulate`.
//!
//! Every verb is one indivisible step on one locked world, so a mark is one instant by construction.
//! Nothing here reads a clock, sleeps, or draws chance but from its seed. What the real host can lose
//! (sessions, dirty bitmaps, answers) this one loses on demand.

mod demo;
mod guest;
mod image;
mod machine;
mod seam;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{
    ByteCount, DiskCapability, DiskId, Extent, GroupId, HostId, InstanceId, OsKind, RegionId, ZoneId,
};

pub use self::guest::{SEQUENCE_OFFSET, sequence_in, sequences_agree};
use self::world::World;
pub use crate::faults::{Fault, Strike, Verb};
use crate::{HostError, PreparedDisk};

/// A simulated host. Clones are further handles to the same one, as a restarted process would open.
#[derive(Clone)]
pub struct SimHost {
    world: Arc<Mutex<World>>,
}

/// A disk to make an instance with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimDisk {
    pub size: ByteCount,
    pub capability: DiskCapability,
}

impl SimDisk {
    pub const fn tracked(size: u64) -> Self {
        Self { size: ByteCount(size), capability: DiskCapability::Tracked }
    }

    pub const fn whole(size: u64) -> Self {
        Self { size: ByteCount(size), capability: DiskCapability::Whole }
    }

    pub fn refused(size: u64) -> Self {
        let because = "a simulated passed-through device cannot be snapshotted".to_owned();
        Self { size: ByteCount(size), capability: DiskCapability::Refused { because } }
    }
}

/// What the host still carries of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub sessions: Vec<(InstanceId, GroupId)>,
    /// One for each instance's newest kept group is as it should be.
    pub checkpoints: Vec<(InstanceId, GroupId)>,
    pub paused: Vec<InstanceId>,
    /// Disks prepared and neither used nor discarded.
    pub prepared: Vec<PreparedDisk>,
}

/// What was asked of the host so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub calls: BTreeMap<Verb, u64>,
    pub bytes_read: ByteCount,
    pub bytes_written: ByteCount,
}

impl SimHost {
    pub fn new(region: &RegionId, zone: &ZoneId, id: HostId, seed: u64) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(region, zone, id, seed))) }
    }

    /// Adds a running instance; its first disk is the system disk.
    pub fn add(&self, name: &str, os: OsKind, disks: &[SimDisk]) -> InstanceId {
        self.world().add(name, os, disks)
    }

    /// The instance's disks, in the order of its devices.
    pub fn disks(&self, instance: InstanceId) -> Vec<DiskId> {
        let world = self.world();
        world
            .machine(instance)
            .map(|found| found.drives.iter().map(|drive| drive.id).collect())
            .unwrap_or_default()
    }

    /// All instances as they are, whatever faults are planned.
    pub fn instances(&self) -> Vec<model::Instance> {
        self.world().list()
    }

    /// What a disk holds now.
    pub fn peek(&self, instance: InstanceId, disk: DiskId, range: Extent) -> Result<Vec<u8>, HostError> {
        self.world().machine(instance)?.drive(disk)?.image.read(range)
    }

    pub fn macs(&self, instance: InstanceId) -> Result<Vec<String>, HostError> {
        Ok(vec![self.world().machine(instance)?.shape.mac.clone()])
    }

    /// The emulator dies: session and dirty bitmaps are gone, the content stays.
    pub fn crash(&self, instance: InstanceId) -> Result<(), HostError> {
        self.world().machine_mut(instance)?.halt(false);
        Ok(())
    }

    /// Somebody removes the instance and its disks, behind our back.
    pub fn release(&self, instance: InstanceId) {
        self.world().machines.remove(&instance);
    }

    /// An operator holds its processors still, or lets them go.
    pub fn pause(&self, instance: InstanceId, paused: bool) -> Result<(), HostError> {
        self.world().machine_mut(instance)?.paused = paused;
        Ok(())
    }

    /// The host's daemon restarts: open sessions are lost, checkpoints stay good.
    pub fn lose_sessions(&self) {
        for machine in self.world().machines.values_mut() {
            machine.lose_session();
        }
    }

    /// Lets something go wrong.
    pub fn inject(&self, strike: Strike) {
        self.world().faults.plan(strike);
    }

    /// Ends every fault, present and to come.
    pub fn heal(&self) {
        self.world().faults.heal();
    }

    pub fn leftovers(&self) -> Leftovers {
        self.world().leftovers()
    }

    pub fn seen(&self) -> Seen {
        self.world().seen.clone()
    }

    // Every verb leaves the world whole, also one that panics half way through a check.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        f.debug_struct("SimHost")
            .field("id", &world.host())
            .field("instances", &world.machines.len())
            .finish()
    }
}

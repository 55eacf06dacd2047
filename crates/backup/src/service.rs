//! The service itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ::policy::TimeZone;
use blocks::{Blocks, Drive};
use catalog::Catalog;
use model::{Clock, Entropy, Id, Kind, Refusal, RegionId};
use tokio_util::sync::CancellationToken;
use workflow::{Crash, Runner};

use crate::workflows::Factory;

pub struct BackupParts {
    pub catalog: Catalog,
    pub blocks: Blocks,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub crash: Arc<dyn Crash>,
    pub drive: Drive,
    /// In which each region's calendars are read; UTC where none is named.
    pub time_zones: BTreeMap<RegionId, TimeZone>,
    /// Fires when the process is asked to stop.
    pub stopping: CancellationToken,
}

impl fmt::Debug for BackupParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupParts").field("drive", &self.drive).finish_non_exhaustive()
    }
}

/// The backup service. Clones share it.
#[derive(Clone)]
pub struct Backup {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runner: Runner,
    drive: Drive,
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup").field("drive", &self.drive).finish_non_exhaustive()
    }
}

/// What operations, workflows and reconcilers all look at.
pub(crate) struct Shared {
    pub(crate) catalog: Catalog,
    pub(crate) blocks: Blocks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    time_zones: BTreeMap<RegionId, TimeZone>,
    /// Held while a policy is bound or deleted, so that no binding is left without its policy.
    pub(crate) binding: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(crate) fn draw<K: Kind>(&self) -> Id<K> {
        model::draw(&*self.entropy)
    }

    pub(crate) fn time_zone(&self, region: &RegionId) -> TimeZone {
        self.time_zones.get(region).cloned().unwrap_or(TimeZone::UTC)
    }
}

impl Backup {
    pub fn new(parts: BackupParts) -> Self {
        let BackupParts { catalog, blocks, clock, entropy, crash, drive, time_zones, stopping } = parts;
        let binding = tokio::sync::Mutex::new(());
        let shared = Shared { catalog: catalog.clone(), blocks, clock, entropy, time_zones, binding };
        let shared = Arc::new(shared);
        let factory = Box::new(Factory { shared: Arc::clone(&shared) });
        let runner = Runner::new(catalog, "backup", factory, crash, stopping);
        let runner = runner.waiting_for(shared.blocks.runner());
        Self { shared, runner, drive }
    }

    /// The runner of its workflows: the simulation drives it by hand.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Takes up what the last process left unfinished.
    pub async fn resume(&self) -> Result<usize, Refusal> {
        Ok(self.runner.resume().await?)
    }

    pub(crate) fn set_off(&self, workflow: String) {
        match self.drive {
            Drive::Background => self.runner.spawn(workflow),
            Drive::ByHand => {}
        }
    }
}

//! The service itself: its parts, and where things are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{Catalog, SeenInstance};
use depot::Depot;
use host::{Host, HostError};
use model::{Clock, Code, HostId, Instance, InstanceId, Refusal, RegionId, TaskId, ZoneId};
use tokio_util::sync::CancellationToken;
use workflow::{Crash, Runner};

use crate::workflows::Factory;

/// A site: one depot, and the hosts beside it.
#[derive(Clone)]
pub struct Region {
    pub id: RegionId,
    pub zone: ZoneId,
    pub depot: Arc<Depot>,
    pub hosts: Vec<Arc<dyn Host>>,
}

/// Who moves workflows on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// A background task each, to its rest.
    Background,
    /// The caller, one decision at a time: the simulation.
    ByHand,
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("id", &self.id)
            .field("hosts", &self.hosts.len())
            .finish_non_exhaustive()
    }
}

pub struct BlocksParts {
    pub catalog: Catalog,
    pub regions: Vec<Region>,
    pub clock: Arc<dyn Clock>,
    pub crash: Arc<dyn Crash>,
    pub drive: Drive,
    /// Fires when the process is asked to stop.
    pub stopping: CancellationToken,
}

impl fmt::Debug for BlocksParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlocksParts").field("drive", &self.drive).finish_non_exhaustive()
    }
}

/// The block service. Clones share it.
#[derive(Clone)]
pub struct Blocks {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runner: Runner,
    drive: Drive,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("drive", &self.drive).finish_non_exhaustive()
    }
}

/// What operations, workflows and reconcilers all look at.
pub(crate) struct Shared {
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<dyn Clock>,
    regions: BTreeMap<RegionId, Region>,
    /// How far running tasks are. In memory alone: a restart begins the count again.
    moved: Mutex<HashMap<TaskId, TaskMoved>>,
}

/// Bytes a running task has moved so far, over all its disks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TaskMoved {
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) read: u64,
    pub(crate) stored: u64,
}

impl Blocks {
    pub fn new(parts: BlocksParts) -> Self {
        let BlocksParts { catalog, regions, clock, crash, drive, stopping } = parts;
        let regions = regions.into_iter().map(|region| (region.id.clone(), region)).collect();
        let shared = Arc::new(Shared { catalog: catalog.clone(), clock, regions, moved: Mutex::default() });
        let factory = Box::new(Factory { shared: Arc::clone(&shared) });
        let runner = Runner::new(catalog, "blocks", factory, crash, stopping);
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

    pub fn regions(&self) -> Vec<RegionId> {
        self.shared.regions.keys().cloned().collect()
    }

    pub(crate) fn set_off(&self, task: TaskId) {
        match self.drive {
            Drive::Background => self.runner.spawn(task.to_string()),
            Drive::ByHand => {}
        }
    }
}

impl Shared {
    pub(crate) fn region(&self, id: &RegionId) -> Result<&Region, Refusal> {
        self.regions.get(id).ok_or_else(|| {
            let known: Vec<_> = self.regions.keys().map(|region| region.0.as_str()).collect();
            Refusal::new(Code::InvalidRegion, format!("there is no region {id}"))
                .remedy(format!("Regions here: {}.", known.join(", ")))
        })
    }

    pub(crate) fn all_regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.values()
    }

    pub(crate) fn host(&self, region: &RegionId, id: HostId) -> Result<Arc<dyn Host>, Refusal> {
        let hosts = &self.region(region)?.hosts;
        hosts.iter().find(|host| host.id() == id).cloned().ok_or_else(|| {
            Refusal::new(Code::HostUnavailable, format!("host {id} is not configured any more"))
                .remedy("Put it back into the configuration, or choose another host.")
        })
    }

    /// Finds an instance and the host it is on, in whichever region that is.
    pub(crate) async fn locate(&self, id: InstanceId) -> Result<(Instance, Arc<dyn Host>), Refusal> {
        let mut unreachable = None;
        for host in self.all_regions().flat_map(|region| &region.hosts) {
            match host.find(id).await {
                Ok(instance) => return Ok((instance, Arc::clone(host))),
                Err(HostError::NoInstance) => {}
                Err(error) => unreachable = Some(error),
            }
        }
        // "Not found" is only true if every host was asked.
        if let Some(error) = unreachable {
            return Err(error.into());
        }
        Err(match self.catalog.get::<SeenInstance>(&id).await? {
            Some(seen) => Refusal::new(
                Code::InstanceReleased,
                format!("instance {id} ({}) has been released", seen.name),
            )
            .remedy("Its points are kept: clone a new instance from one of them."),
            None => Refusal::new(Code::InstanceNotFound, format!("there is no instance {id}"))
                .remedy("List the instances of the region."),
        })
    }

    pub(crate) fn moved(&self, task: TaskId) -> Option<TaskMoved> {
        self.moves().get(&task).copied()
    }

    pub(crate) fn set_moved(&self, task: TaskId, moved: TaskMoved) {
        self.moves().insert(task, moved);
    }

    pub(crate) fn forget_moved(&self, task: TaskId) {
        self.moves().remove(&task);
    }

    fn moves(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, TaskMoved>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

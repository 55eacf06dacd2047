//! One simulated region and the process that serves it; the process can die and be started again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use backup::{Backup, BackupParts, ExpirePoints, NewBackup, NewRestore, NewRestoreKind};
use blocks::{Blocks, BlocksParts, Drive, Region, SettleGroups, WatchHosts};
use catalog::Catalog;
use depot::{Depot, Geometry, Settings};
use host::sim::{SimDisk, SimHost};
use model::{
    BindingOptions, Days, GroupId, HostId, InstanceId, Job, JobId, OsKind, PointId, Refusal, RegionId,
    RestoreId, ZoneId,
};
use store::{Counting, Faulty, Script, Store};
use tokio_util::sync::CancellationToken;
use workflow::{Advance, Runner, RunnerError};

use crate::audit::Memory;
use crate::bucket::TrippingStore;
use crate::chance::{Dice, Hands, Pad};
use crate::plug::{Plug, Trip};
use crate::watched::{Images, Notes, WatchedHost};

/// Steps after which workflows that still do not rest never will.
const STEPS_MAX: u64 = 3000;
/// Of the disks of each instance: one tracked, one tracked or read whole, and perhaps one refused.
const SYSTEM_BYTES: u64 = 640 << 10;
const DATA_BYTES: u64 = 384 << 10;

/// A region, its one host, and the process on it.
#[derive(Debug)]
pub struct World {
    pub seed: u64,
    pub region: RegionId,
    pub clock: Arc<Hands>,
    pub host: SimHost,
    pub faulty: Arc<Faulty>,
    pub counting: Arc<Counting>,
    pub plug: Arc<Plug>,
    pub trip: Arc<Trip>,
    pub catalog: Catalog,
    /// Decides whose turn it is, and what scenarios do.
    pub dice: Arc<Dice>,
    /// What the services draw ids from.
    pub entropy: Arc<Dice>,
    pub restarts: u64,
    /// Opened beside the process's own, on the store below all faults.
    pub depot: Arc<Depot>,
    pub(crate) watched: WatchedHost,
    pub(crate) memory: Memory,
    bucket: Arc<dyn Store>,
    store: Arc<dyn Store>,
    process: Process,
}

/// What a restart takes away.
#[derive(Debug)]
struct Process {
    blocks: Blocks,
    backup: Backup,
    stopping: CancellationToken,
}

/// Why a simulation cannot go on: always a defect.
#[derive(Debug)]
pub struct Stuck(pub String);

fn settings() -> Settings {
    // Small numbers everywhere, so that little data makes tall trees and many packs.
    Settings {
        geometry: Geometry::new(12, 3, 3).unwrap_or(Geometry::STANDARD),
        frame_len: 16 << 10,
        pack_len: 96 << 10,
        read_len: 64 << 10,
        zstd_level: 1,
        cache_len: 256 << 10,
        ..Settings::deterministic()
    }
}

impl World {
    /// A region with nothing in it yet.
    pub async fn new(seed: u64) -> Result<Self, Stuck> {
        let region = RegionId::from("tokyo");
        let host = SimHost::new(&region, &ZoneId::from("tokyo-a"), HostId::from_bits(1), seed);
        let (plug, trip) = (Arc::new(Plug::default()), Arc::new(Trip::default()));
        let clock = Arc::new(Hands::new());
        let entropy = Arc::new(Dice::new(seed ^ 1));
        let bucket = store::memory();
        let counting = Arc::new(Counting::new(Arc::clone(&bucket)));
        let faulty = Arc::new(Faulty::new(counting.clone(), Script::Never));
        let store: Arc<dyn Store> =
            Arc::new(TrippingStore { inner: faulty.clone(), trip: Arc::clone(&trip) });
        let watched = WatchedHost {
            inner: host.clone(),
            notes: Arc::new(Mutex::new(Notes::default())),
            trip: Arc::clone(&trip),
            dice: Arc::new(Dice::new(seed ^ 2)),
        };
        let catalog = Catalog::open("sqlite::memory:").await.map_err(stuck("open the catalog"))?;
        let depot = open_depot(&bucket, &Arc::new(Dice::new(seed ^ 3)), &clock).await?;
        let process = Process::start(&region, &catalog, &store, &watched, &clock, &entropy, &plug).await?;
        Ok(Self {
            seed,
            region,
            clock,
            host,
            faulty,
            counting,
            plug,
            trip,
            catalog,
            dice: Arc::new(Dice::new(seed)),
            entropy,
            restarts: 0,
            depot,
            watched,
            memory: Memory::default(),
            bucket,
            store,
            process,
        })
    }

    pub fn blocks(&self) -> &Blocks {
        &self.process.blocks
    }

    pub fn backup(&self) -> &Backup {
        &self.process.backup
    }

    /// A running instance with a system disk and a data disk, and some life behind it.
    pub fn add_instance(&self, name: &str) -> InstanceId {
        self.add_instance_with(name, &[SimDisk::tracked(SYSTEM_BYTES), SimDisk::tracked(DATA_BYTES)])
    }

    pub fn add_instance_with(&self, name: &str, disks: &[SimDisk]) -> InstanceId {
        let id = self.host.add(name, OsKind::Linux, disks);
        self.live(id, 20);
        id
    }

    /// The guest lives on for a while, if its instance runs.
    pub fn live(&self, instance: InstanceId, moments: u32) {
        for _ in 0..moments {
            self.watched.tick(instance);
        }
    }

    /// All guests live on a little.
    pub fn live_all(&self) {
        for instance in self.host.instances() {
            self.watched.tick(instance.id);
        }
    }

    /// What the disks of a group held at its mark.
    pub fn expected(&self, group: GroupId) -> Option<Images> {
        self.watched.notes().images.get(&group).cloned()
    }

    /// What the disks of an instance hold now.
    pub fn images(&self, instance: InstanceId) -> Images {
        self.watched.images(instance)
    }

    /// Writes an outrage into the notes of whoever watches the host: for the auditors' own test.
    pub fn outrage(&self, what: &str) {
        self.watched.notes().outrages.push(what.to_owned());
    }

    /// Makes the watcher remember one other byte than a mark showed: for the auditors' own test.
    pub fn forge_image(&self, group: GroupId) {
        let mut notes = self.watched.notes();
        let byte = notes.images.get_mut(&group).and_then(|images| images.values_mut().next());
        if let Some(byte) = byte.and_then(|image| image.last_mut()) {
            *byte ^= 1;
        }
    }

    /// Another handle on the depot, which remembers nothing and meets no faults.
    pub(crate) async fn reopen_depot(&mut self) -> Result<(), Stuck> {
        self.depot = open_depot(&self.bucket, &Arc::new(Dice::new(self.seed ^ 3)), &self.clock).await?;
        Ok(())
    }

    /// Every object in the bucket, with its size.
    pub async fn listing(&self) -> Result<Vec<(String, u64)>, Stuck> {
        let listed = self.bucket.list("", None, store::LIST_MAX).await.map_err(stuck("list the bucket"))?;
        Ok(listed.into_iter().map(|object| (object.key.as_str().to_owned(), object.size)).collect())
    }

    /// The process dies and is started again over what survives.
    pub async fn restart(&mut self) -> Result<(), Stuck> {
        self.restarts += 1;
        self.process.stopping.cancel();
        self.trip.listen(false);
        // A starting process that finds its store away tries until it is back.
        for _ in 0..100 {
            let started = Process::start(
                &self.region,
                &self.catalog,
                &self.store,
                &self.watched,
                &self.clock,
                &self.entropy,
                &self.plug,
            );
            match started.await {
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
                Err(Stuck(why)) => tracing::warn!(why, "not started"),
            }
        }
        self.faulty.follow(Script::Never);
        Box::pin(self.restart()).await
    }

    /// Moves one workflow, whose turn it is by chance, one decision on. None when all rest.
    pub async fn advance(&mut self) -> Result<Option<Advance>, Stuck> {
        let mut waiting = Vec::new();
        for runner in [self.process.blocks.runner(), self.process.backup.runner()] {
            let rows = runner.unfinished().await.map_err(stuck("list workflows"))?;
            waiting.extend(rows.into_iter().map(|row| (runner.clone(), row.id)));
        }
        let Some((runner, id)) = self.dice.pick(&waiting).cloned() else { return Ok(None) };
        let advance = self.advance_one(&runner, &id).await?;
        self.clock.advance_seconds(1);
        if self.dice.one_in(3) {
            self.live_all();
        }
        self.observe().await?;
        Ok(Some(advance))
    }

    async fn advance_one(&mut self, runner: &Runner, id: &str) -> Result<Advance, Stuck> {
        self.trip.listen(true);
        let trip = Arc::clone(&self.trip);
        let advance = tokio::select! {
            biased;
            () = trip.fired() => Err(RunnerError::Crashed),
            advance = runner.advance(id) => advance,
        };
        self.trip.listen(false);
        match advance {
            Ok(advance) => Ok(advance),
            Err(RunnerError::Interrupted) => Ok(Advance::Moved),
            Err(RunnerError::Crashed) => {
                self.restart().await?;
                Ok(Advance::Moved)
            }
            Err(error) => Err(Stuck(format!("workflow {id}: {error:?}"))),
        }
    }

    /// At most so many decisions.
    pub async fn advance_some(&mut self, decisions: u64) -> Result<(), Stuck> {
        for _ in 0..decisions {
            if self.advance().await?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Until no workflow has anything to do.
    pub async fn run_until_rest(&mut self) -> Result<(), Stuck> {
        for _ in 0..STEPS_MAX {
            if self.advance().await?.is_none() {
                return Ok(());
            }
        }
        let mut left = Vec::new();
        for runner in [self.process.blocks.runner(), self.process.backup.runner()] {
            let rows = runner.unfinished().await.map_err(stuck("list workflows"))?;
            left.extend(rows.into_iter().map(|row| format!("{} {}", row.kind, row.id)));
        }
        Err(Stuck(format!("after {STEPS_MAX} decisions these still do not rest: {left:?}")))
    }

    /// All faults end, everything comes to rest, and the reconcilers have come round.
    pub async fn come_to_rest(&mut self) -> Result<(), Stuck> {
        self.host.heal();
        self.faulty.follow(Script::Never);
        self.plug.disarm();
        self.trip.disarm();
        self.run_until_rest().await?;
        SettleGroups::new(self.process.blocks.clone()).activate().await;
        WatchHosts::new(self.process.blocks.clone()).activate().await;
        self.run_until_rest().await
    }

    pub async fn settle_groups(&self) -> blocks::Report {
        SettleGroups::new(self.process.blocks.clone()).activate().await
    }

    pub async fn watch_hosts(&self) -> blocks::Report {
        WatchHosts::new(self.process.blocks.clone()).activate().await
    }

    pub async fn expire_points(&self) -> blocks::Report {
        ExpirePoints::new(self.process.backup.clone()).activate().await
    }
}

/// What clients ask for, in short.
impl World {
    pub async fn ask_backup(&self, instance: InstanceId) -> Result<JobId, Refusal> {
        let new = NewBackup {
            instance,
            retention: Days(7),
            name: String::new(),
            options: BindingOptions::default(),
        };
        self.backup().create_backup_job(&self.region, new).await
    }

    /// Backs up and waits; the job as it ended.
    pub async fn back_up(&mut self, instance: InstanceId) -> Result<Job, Stuck> {
        let job = self.ask_backup(instance).await.map_err(refused("back up"))?;
        self.run_until_rest().await?;
        self.backup().job(job).await.map_err(refused("ask for the job"))
    }

    pub async fn ask_roll_back(
        &self,
        point: PointId,
        instance: InstanceId,
        boot: bool,
    ) -> Result<RestoreId, Refusal> {
        self.ask_restore(point, NewRestoreKind::RollBackInstance { instance, force: false, boot }).await
    }

    pub async fn ask_restore(&self, point: PointId, kind: NewRestoreKind) -> Result<RestoreId, Refusal> {
        let new = NewRestore { point, kind, detail: String::new(), client_token: None };
        self.backup().create_restore(&self.region, new).await
    }

    pub async fn restore(&self, id: RestoreId) -> Result<model::Restore, Stuck> {
        let all = self.backup().restores(&self.region).await.map_err(refused("list restores"))?;
        all.into_iter().find(|restore| restore.id == id).ok_or_else(|| Stuck(format!("restore {id} is lost")))
    }
}

impl Process {
    async fn start(
        region: &RegionId,
        catalog: &Catalog,
        store: &Arc<dyn Store>,
        host: &WatchedHost,
        clock: &Arc<Hands>,
        entropy: &Arc<Dice>,
        plug: &Arc<Plug>,
    ) -> Result<Self, Stuck> {
        let stopping = CancellationToken::new();
        let depot = open_depot(store, entropy, clock).await?;
        let region = Region {
            id: region.clone(),
            zone: ZoneId::from("tokyo-a"),
            depot,
            hosts: vec![Arc::new(host.clone())],
        };
        let blocks = Blocks::new(BlocksParts {
            catalog: catalog.clone(),
            regions: vec![region],
            clock: clock.clone(),
            crash: plug.clone(),
            drive: Drive::ByHand,
            stopping: stopping.clone(),
        });
        let backup = Backup::new(BackupParts {
            catalog: catalog.clone(),
            blocks: blocks.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            crash: plug.clone(),
            drive: Drive::ByHand,
            time_zones: BTreeMap::new(),
            stopping: stopping.clone(),
        });
        Ok(Self { blocks, backup, stopping })
    }
}

async fn open_depot(
    store: &Arc<dyn Store>,
    entropy: &Arc<Dice>,
    clock: &Arc<Hands>,
) -> Result<Arc<Depot>, Stuck> {
    let opened =
        Depot::open_or_init(Arc::clone(store), Arc::new(Pad), entropy.clone(), clock.clone(), settings());
    opened.await.map_err(stuck("open the depot"))
}

pub(crate) fn stuck<E: std::fmt::Debug>(verb: &'static str) -> impl FnOnce(E) -> Stuck {
    move |error| Stuck(format!("{verb}: {error:?}"))
}

pub(crate) fn refused(verb: &'static str) -> impl FnOnce(Refusal) -> Stuck {
    move |refusal| Stuck(format!("{verb}: {refusal}"))
}

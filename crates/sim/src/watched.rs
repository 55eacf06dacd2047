//! A simulated host under observation: what each disk held at each mark is kept, guests write while
//! they are read, and the process can die at any call.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use host::sim::SimHost;
use host::{
    DiskExtent, DiskReader, DiskTarget, DiskWriter, Fate, Host, HostError, Mark, Marked, NewInstance,
    PreparedDisk, Stop,
};
use model::{ByteCount, Disk, DiskId, Extent, GroupId, HostId, Instance, InstanceId, InstanceStatus, TaskId};

use crate::chance::Dice;
use crate::plug::Trip;

/// Guests scribble behind the block that holds their numbers.
const FIRST_BLOCK: u64 = 20;

/// What the disks of a group held at its mark.
pub type Images = BTreeMap<DiskId, Vec<u8>>;

/// What was observed; it survives restarts as the host does.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) images: BTreeMap<GroupId, Images>,
    /// What the host was asked to do and must never be.
    pub(crate) outrages: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct WatchedHost {
    pub(crate) inner: SimHost,
    pub(crate) notes: Arc<Mutex<Notes>>,
    pub(crate) trip: Arc<Trip>,
    /// What guests write.
    pub(crate) dice: Arc<Dice>,
}

impl fmt::Debug for WatchedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl WatchedHost {
    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
        self.trip.pass().await;
        let answer = call.await;
        self.trip.pass().await;
        answer
    }

    /// The instance as it is, whatever faults are planned.
    pub(crate) fn look(&self, instance: InstanceId) -> Option<Instance> {
        self.inner.instances().into_iter().find(|found| found.id == instance)
    }

    /// All disks of an instance, whole.
    pub(crate) fn images(&self, instance: InstanceId) -> Images {
        let disks = self.look(instance).map(|found| found.disks).unwrap_or_default();
        let image = |disk: &Disk| {
            let whole = Extent { offset: 0, len: disk.size.0 };
            Some((disk.id, self.inner.peek(instance, disk.id, whole).ok()?))
        };
        disks.iter().filter_map(image).collect()
    }

    /// A moment in the life of one guest, if it runs: the next number, and a block somewhere.
    pub(crate) fn tick(&self, instance: InstanceId) {
        drop(self.inner.guest_step(instance));
        let disks = self.look(instance).map(|found| found.disks).unwrap_or_default();
        let Some(disk) = self.dice.pick(&disks) else { return };
        let block = FIRST_BLOCK + self.dice.below((disk.size.0 / 4096).saturating_sub(FIRST_BLOCK));
        let mut bytes = vec![0; 4096];
        // Zeroes too: guests also discard.
        if !self.dice.one_in(5) {
            model::Entropy::fill(&*self.dice, &mut bytes[..1024]);
        }
        drop(self.inner.write(instance, disk.id, block * 4096, &bytes));
    }

    fn is_open(&self, instance: InstanceId, group: GroupId) -> bool {
        self.inner.leftovers().sessions.contains(&(instance, group))
    }
}

#[async_trait]
impl Host for WatchedHost {
    fn id(&self) -> HostId {
        self.inner.id()
    }

    async fn list(&self) -> Result<Vec<Instance>, HostError> {
        self.inner.list().await
    }

    async fn find(&self, instance: InstanceId) -> Result<Instance, HostError> {
        self.inner.find(instance).await
    }

    async fn start(&self, instance: InstanceId) -> Result<(), HostError> {
        self.pass(self.inner.start(instance)).await
    }

    async fn stop(&self, instance: InstanceId, how: Stop) -> Result<(), HostError> {
        self.pass(self.inner.stop(instance, how)).await
    }

    async fn marks(&self, instance: InstanceId) -> Result<Vec<GroupId>, HostError> {
        self.inner.marks(instance).await
    }

    async fn mark(&self, mark: &Mark) -> Result<Marked, HostError> {
        self.trip.pass().await;
        self.tick(mark.instance);
        let was_open = self.is_open(mark.instance, mark.group);
        let images = self.images(mark.instance);
        let answer = self.inner.mark(mark).await;
        if !was_open && self.is_open(mark.instance, mark.group) {
            let disks = mark.disks.iter().map(|wanted| wanted.disk);
            let marked = disks.filter_map(|disk| Some((disk, images.get(&disk)?.clone()))).collect();
            self.notes().images.insert(mark.group, marked);
        }
        self.tick(mark.instance);
        self.trip.pass().await;
        answer
    }

    async fn reader(
        &self,
        instance: InstanceId,
        group: GroupId,
        disk: DiskId,
    ) -> Result<Arc<dyn DiskReader>, HostError> {
        let inner = self.pass(self.inner.reader(instance, group, disk)).await?;
        Ok(Arc::new(WatchedReader { inner, host: self.clone(), instance }))
    }

    async fn unmark(&self, instance: InstanceId, group: GroupId, fate: Fate) -> Result<(), HostError> {
        self.pass(self.inner.unmark(instance, group, fate)).await
    }

    async fn prepare(&self, task: TaskId, target: &DiskTarget) -> Result<PreparedDisk, HostError> {
        self.pass(self.inner.prepare(task, target)).await
    }

    async fn writer(&self, disk: &PreparedDisk) -> Result<Arc<dyn DiskWriter>, HostError> {
        let inner = self.pass(self.inner.writer(disk)).await?;
        Ok(Arc::new(WatchedWriter { inner, trip: Arc::clone(&self.trip) }))
    }

    async fn discard(&self, task: TaskId, target: &DiskTarget) -> Result<(), HostError> {
        self.pass(self.inner.discard(task, target)).await
    }

    async fn swap_in(&self, instance: InstanceId, disks: &[PreparedDisk]) -> Result<(), HostError> {
        self.trip.pass().await;
        let before = self.images(instance);
        let running = self.look(instance).is_some_and(|found| found.status == InstanceStatus::Running);
        let answer = self.inner.swap_in(instance, disks).await;
        if running && self.images(instance) != before {
            self.notes().outrages.push(format!("the disks of the running {instance} were replaced"));
        }
        self.trip.pass().await;
        answer
    }

    async fn define(&self, new: &NewInstance) -> Result<(), HostError> {
        self.pass(self.inner.define(new)).await
    }

    async fn undefine(&self, new: &NewInstance) -> Result<(), HostError> {
        self.pass(self.inner.undefine(new)).await
    }

    async fn attach(&self, instance: InstanceId, disk: &PreparedDisk) -> Result<DiskId, HostError> {
        self.pass(self.inner.attach(instance, disk)).await
    }
}

#[derive(Debug)]
struct WatchedReader {
    inner: Arc<dyn DiskReader>,
    host: WatchedHost,
    instance: InstanceId,
}

#[async_trait]
impl DiskReader for WatchedReader {
    fn size(&self) -> ByteCount {
        self.inner.size()
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        self.inner.extents(range).await
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        // The guest goes on while it is read.
        self.host.tick(self.instance);
        self.host.pass(self.inner.read(range)).await
    }
}

#[derive(Debug)]
struct WatchedWriter {
    inner: Arc<dyn DiskWriter>,
    trip: Arc<Trip>,
}

#[async_trait]
impl DiskWriter for WatchedWriter {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), HostError> {
        self.trip.pass().await;
        self.inner.write(offset, bytes).await
    }

    async fn finish(&self) -> Result<(), HostError> {
        self.trip.pass().await;
        let answer = self.inner.finish().await;
        self.trip.pass().await;
        answer
    }
}

//! The simulated host behind the seam: every call meets the faults first, then the world.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{ByteCount, DiskId, Extent, GroupId, HostId, Instance, InstanceId, TaskId};

use super::SimHost;
use super::machine::Exposed;
use super::world::World;
use crate::faults::{Fault, Verb};
use crate::{
    DiskExtent, DiskReader, DiskTarget, DiskWriter, Fate, Host, HostError, Mark, Marked, NewInstance,
    PreparedDisk, Stop,
};

impl SimHost {
    /// Others get their turn before each call, so that one thread sees callers interleave.
    async fn call<T>(
        &self,
        verb: Verb,
        act: impl FnOnce(&mut World) -> Result<T, HostError> + Send,
    ) -> Result<T, HostError> {
        tokio::task::yield_now().await;
        let mut world = self.world();
        *world.seen.calls.entry(verb).or_default() += 1;
        let fault = world.faults.befall(verb);
        if let Some(refusal) = fault.and_then(Fault::refusal) {
            return Err(refusal);
        }
        if fault == Some(Fault::LoseSessions) {
            for machine in world.machines.values_mut() {
                machine.lose_session();
            }
        }
        world.halved = fault == Some(Fault::HalfEffect);
        let done = act(&mut world);
        if fault.is_some_and(Fault::loses_answer) {
            return Err(HostError::Unreachable("simulated lost answer".to_owned()));
        }
        done
    }
}

#[async_trait]
impl Host for SimHost {
    fn id(&self) -> HostId {
        self.world().host()
    }

    async fn list(&self) -> Result<Vec<Instance>, HostError> {
        self.call(Verb::List, |world| Ok(world.list())).await
    }

    async fn find(&self, instance: InstanceId) -> Result<Instance, HostError> {
        self.call(Verb::Find, |world| world.find(instance)).await
    }

    async fn start(&self, instance: InstanceId) -> Result<(), HostError> {
        self.call(Verb::Start, |world| {
            let machine = world.machine_mut(instance)?;
            // A session opened on a stopped instance reads images that the guest is about to change.
            if !machine.running {
                machine.lose_session();
            }
            machine.running = true;
            Ok(())
        })
        .await
    }

    async fn stop(&self, instance: InstanceId, how: Stop) -> Result<(), HostError> {
        self.call(Verb::Stop, |world| {
            let machine = world.machine_mut(instance)?;
            if machine.running {
                machine.halt(how == Stop::Gracefully);
            }
            Ok(())
        })
        .await
    }

    async fn marks(&self, instance: InstanceId) -> Result<Vec<GroupId>, HostError> {
        self.call(Verb::Marks, |world| {
            let usable = world.machine(instance)?.checkpoints.iter().filter(|checkpoint| checkpoint.usable);
            Ok(usable.map(|checkpoint| checkpoint.group).collect())
        })
        .await
    }

    async fn mark(&self, mark: &Mark) -> Result<Marked, HostError> {
        self.call(Verb::Mark, |world| world.mark(mark)).await
    }

    async fn reader(
        &self,
        instance: InstanceId,
        group: GroupId,
        disk: DiskId,
    ) -> Result<Arc<dyn DiskReader>, HostError> {
        let exposed = self.call(Verb::Reader, |world| world.machine(instance)?.exposed(group, disk)).await?;
        let size = ByteCount(exposed.image.size());
        Ok(Arc::new(Reader { host: self.clone(), instance, group, disk, size }))
    }

    async fn unmark(&self, instance: InstanceId, group: GroupId, fate: Fate) -> Result<(), HostError> {
        self.call(Verb::Unmark, |world| {
            if let Ok(machine) = world.machine_mut(instance) {
                machine.unmark(group, fate);
            }
            Ok(())
        })
        .await
    }

    async fn prepare(&self, task: TaskId, target: &DiskTarget) -> Result<PreparedDisk, HostError> {
        self.call(Verb::Prepare, |world| world.prepare(task, target)).await
    }

    async fn writer(&self, disk: &PreparedDisk) -> Result<Arc<dyn DiskWriter>, HostError> {
        let handle = disk.handle().to_owned();
        self.call(Verb::Writer, |world| world.prepared_exists(&handle)).await?;
        Ok(Arc::new(Writer { host: self.clone(), handle }))
    }

    async fn discard(&self, task: TaskId, target: &DiskTarget) -> Result<(), HostError> {
        self.call(Verb::Discard, |world| {
            world.discard(task, target);
            Ok(())
        })
        .await
    }

    async fn swap_in(&self, instance: InstanceId, disks: &[PreparedDisk]) -> Result<(), HostError> {
        self.call(Verb::SwapIn, |world| world.swap_in(instance, disks)).await
    }

    async fn define(&self, new: &NewInstance) -> Result<(), HostError> {
        self.call(Verb::Define, |world| world.define(new)).await
    }

    async fn undefine(&self, new: &NewInstance) -> Result<(), HostError> {
        self.call(Verb::Undefine, |world| {
            world.undefine(new);
            Ok(())
        })
        .await
    }

    async fn attach(&self, instance: InstanceId, disk: &PreparedDisk) -> Result<DiskId, HostError> {
        self.call(Verb::Attach, |world| world.attach(instance, disk)).await
    }
}

/// Looks its session up at every read, so that a lost one is noticed.
struct Reader {
    host: SimHost,
    instance: InstanceId,
    group: GroupId,
    disk: DiskId,
    size: ByteCount,
}

impl Reader {
    fn exposed(&self, world: &World) -> Result<Exposed, HostError> {
        let machine =
            world.machine(self.instance).map_err(|_| HostError::Lost("the instance is gone".to_owned()))?;
        machine.exposed(self.group, self.disk)
    }
}

#[async_trait]
impl DiskReader for Reader {
    fn size(&self) -> ByteCount {
        self.size
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        let exposed = self.host.call(Verb::Extents, |world| self.exposed(world)).await?;
        exposed.image.extents(range, exposed.since)
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let exposed = self
            .host
            .call(Verb::Read, |world| {
                world.seen.bytes_read += ByteCount(range.len);
                self.exposed(world)
            })
            .await?;
        exposed.image.read(range).map(Bytes::from)
    }
}

struct Writer {
    host: SimHost,
    handle: String,
}

#[async_trait]
impl DiskWriter for Writer {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), HostError> {
        self.host
            .call(Verb::Write, |world| {
                world.seen.bytes_written += ByteCount(bytes.len() as u64);
                world.fill(&self.handle, offset, &bytes)
            })
            .await
    }

    async fn finish(&self) -> Result<(), HostError> {
        self.host.call(Verb::Finish, |world| world.finish(&self.handle)).await
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated reader of {} in {}", self.disk, self.group)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated writer of {}", self.handle)
    }
}

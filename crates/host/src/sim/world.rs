//! The state behind a simulated host, and every verb on it as one indivisible step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{
    ByteCount, DiskCapability, DiskId, DiskKind, HostId, Instance, InstanceId, InstanceStatus, OsKind,
    RegionId, TaskId, ZoneId,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::image::Image;
use super::machine::{DIALECT, Drive, DriveShape, Machine, Shape};
use super::{Leftovers, Seen, SimDisk};
use crate::faults::Faults;
use crate::{DiskTarget, HostError, Mark, Marked, NewInstance, PreparedDisk, Uuid, disk_id, instance_id};

pub(super) struct World {
    /// What all its instances share.
    template: Instance,
    pub(super) machines: BTreeMap<InstanceId, Machine>,
    prepared: BTreeMap<String, Prepared>,
    pub(super) faults: Faults,
    /// The call under way stops after its first disk.
    pub(super) halved: bool,
    pub(super) seen: Seen,
    /// Number of the last write to any disk.
    writes: u64,
    pub(super) chance: ChaCha8Rng,
}

struct Prepared {
    disk: PreparedDisk,
    image: Image,
    finished: bool,
}

impl World {
    pub(super) fn new(region: &RegionId, zone: &ZoneId, host: HostId, seed: u64) -> Self {
        // Two hosts of one seed must not draw the same UUIDs.
        let mut hasher = blake3::Hasher::new_derive_key("hikae 2026-11 simulated host");
        hasher.update(&seed.to_le_bytes()).update(&host.bits().to_le_bytes()).update(region.0.as_bytes());
        let template = Instance {
            id: InstanceId::from_bits(0),
            uuid: [0; 16],
            name: String::new(),
            region: region.clone(),
            zone: zone.clone(),
            host,
            status: InstanceStatus::Stopped,
            paused: false,
            vcpus: 0,
            memory: ByteCount(0),
            os: OsKind::Linux,
            disks: Vec::new(),
            created: None,
            simulated: true,
        };
        Self {
            template,
            machines: BTreeMap::new(),
            prepared: BTreeMap::new(),
            faults: Faults::default(),
            halved: false,
            seen: Seen::default(),
            writes: 0,
            chance: ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()),
        }
    }

    pub(super) fn host(&self) -> HostId {
        self.template.host
    }

    pub(super) fn add(&mut self, name: &str, os: OsKind, disks: &[SimDisk]) -> InstanceId {
        let mut uuid = [0; 16];
        self.chance.fill_bytes(&mut uuid);
        let id = instance_id(&self.template.region, uuid);
        let drives = disks.iter().enumerate().map(|(place, disk)| {
            let device = device_name(place);
            Drive {
                id: disk_id(id, &format!("simulated/{name}/{device}")),
                shape: DriveShape {
                    device,
                    kind: if place == 0 { DiskKind::System } else { DiskKind::Data },
                    capability: disk.capability.clone(),
                    encrypted: false,
                },
                image: Arc::new(Image::empty(disk.size.0)),
                filled_from: None,
            }
        });
        let shape = Shape {
            name: name.to_owned(),
            vcpus: 2,
            memory: ByteCount(2 * ByteCount::GIB),
            os,
            network: "simulated-network".to_owned(),
            mac: mac(uuid),
            drives: Vec::new(),
        };
        self.machines.insert(id, machine(id, uuid, shape, drives.collect()));
        id
    }

    pub(super) fn machine(&self, instance: InstanceId) -> Result<&Machine, HostError> {
        self.machines.get(&instance).ok_or(HostError::NoInstance)
    }

    pub(super) fn machine_mut(&mut self, instance: InstanceId) -> Result<&mut Machine, HostError> {
        self.machines.get_mut(&instance).ok_or(HostError::NoInstance)
    }

    pub(super) fn list(&self) -> Vec<Instance> {
        self.machines.values().map(|machine| machine.show(&self.template)).collect()
    }

    pub(super) fn find(&self, instance: InstanceId) -> Result<Instance, HostError> {
        Ok(self.machine(instance)?.show(&self.template))
    }

    pub(super) fn mark(&mut self, mark: &Mark) -> Result<Marked, HostError> {
        let held = Duration::from_micros(4_000 + u64::from(self.chance.next_u32() % 20_000));
        let writes = self.writes;
        self.machine_mut(mark.instance)?.mark(mark, held, writes)
    }

    /// A guest's write: only a running guest can.
    pub(super) fn guest_write(
        &mut self,
        instance: InstanceId,
        disk: DiskId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        if !self.machine(instance)?.running {
            return Err(HostError::State { found: "stopped".to_owned(), needed: "running".to_owned() });
        }
        self.put(instance, disk, offset, bytes)
    }

    pub(super) fn put(
        &mut self,
        instance: InstanceId,
        disk: DiskId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        self.writes += 1;
        let writes = self.writes;
        let drive = self.machine_mut(instance)?.drive_mut(disk)?;
        Arc::make_mut(&mut drive.image).write(offset, bytes, writes)
    }

    pub(super) fn prepare(&mut self, task: TaskId, target: &DiskTarget) -> Result<PreparedDisk, HostError> {
        let (slot, size) = match target {
            DiskTarget::Replacing { instance, disk, size } => {
                self.machine(*instance)?.drive(*disk)?;
                (disk.to_string(), size)
            }
            DiskTarget::ForNew { instance, device, size, .. } => (format!("{instance}-{device}"), size),
            DiskTarget::ForInstance { instance, size } => {
                self.machine(*instance)?;
                (instance.to_string(), size)
            }
        };
        let handle = format!("simulated/{task}-{slot}");
        // Starting over must not empty a disk that an instance already stands on.
        if !matches!(target, DiskTarget::Replacing { .. }) && self.in_use(&handle) {
            return Err(HostError::Busy(format!("{handle} is in use")));
        }
        let disk = PreparedDisk::new(task, target.clone(), handle.clone());
        let image = Image::empty(size.0);
        self.prepared.insert(handle, Prepared { disk: disk.clone(), image, finished: false });
        Ok(disk)
    }

    fn in_use(&self, handle: &str) -> bool {
        let mut drives = self.machines.values().flat_map(|machine| &machine.drives);
        drives.any(|drive| drive.filled_from.as_deref() == Some(handle))
    }

    pub(super) fn prepared_exists(&self, handle: &str) -> Result<(), HostError> {
        match self.prepared.contains_key(handle) {
            true => Ok(()),
            false => Err(HostError::NoDisk(format!("{handle} is not prepared, or already in use"))),
        }
    }

    pub(super) fn fill(&mut self, handle: &str, offset: u64, bytes: &[u8]) -> Result<(), HostError> {
        self.prepared_exists(handle)?;
        self.writes += 1;
        let writes = self.writes;
        if let Some(prepared) = self.prepared.get_mut(handle) {
            prepared.finished = false;
            prepared.image.write(offset, bytes, writes)?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, handle: &str) -> Result<(), HostError> {
        self.prepared_exists(handle)?;
        if let Some(prepared) = self.prepared.get_mut(handle) {
            prepared.finished = true;
        }
        Ok(())
    }

    pub(super) fn discard(&mut self, task: TaskId, target: &DiskTarget) {
        self.prepared.retain(|_, prepared| prepared.disk.task() != task || prepared.disk.target() != target);
    }

    /// A disk nobody finished may lack its last writes on a real host, so it is not usable here.
    fn usable(&self, disk: &PreparedDisk) -> Result<(), HostError> {
        match self.prepared.get(disk.handle()) {
            None => Err(HostError::NoDisk(format!("{} is not prepared", disk.handle()))),
            Some(prepared) if !prepared.finished => {
                Err(HostError::Failed(format!("{} was never finished", disk.handle())))
            }
            Some(_) => Ok(()),
        }
    }

    fn take(&mut self, disk: &PreparedDisk) -> Result<Arc<Image>, HostError> {
        self.usable(disk)?;
        match self.prepared.remove(disk.handle()) {
            Some(prepared) => Ok(Arc::new(prepared.image)),
            None => Err(HostError::NoDisk(disk.handle().to_owned())),
        }
    }

    /// Everything is checked before the first disk is swapped.
    pub(super) fn swap_in(&mut self, instance: InstanceId, disks: &[PreparedDisk]) -> Result<(), HostError> {
        let machine = self.machine(instance)?;
        if machine.running {
            return Err(HostError::State { found: "running".to_owned(), needed: "stopped".to_owned() });
        }
        if machine.session.as_ref().is_some_and(|session| !session.lost) {
            return Err(HostError::Busy("a backup of this instance runs".to_owned()));
        }
        let mut due = Vec::new();
        for prepared in disks {
            let DiskTarget::Replacing { instance: meant, disk, .. } = prepared.target() else {
                return Err(HostError::Failed(format!(
                    "{} was not prepared to replace a disk",
                    prepared.handle()
                )));
            };
            if *meant != instance {
                return Err(HostError::Failed(format!("{} was prepared for {meant}", prepared.handle())));
            }
            let in_place = machine.drive(*disk)?.filled_from.as_deref() == Some(prepared.handle());
            if !in_place || self.prepared.contains_key(prepared.handle()) {
                self.usable(prepared)?;
                due.push((*disk, prepared));
            }
        }
        if self.halved {
            due.truncate(1);
        }
        for (disk, prepared) in due {
            let image = self.take(prepared)?;
            let machine = self.machine_mut(instance)?;
            let drive = machine.drive_mut(disk)?;
            drive.image = image;
            drive.filled_from = Some(prepared.handle().to_owned());
            machine.forget_checkpoints_of(disk);
        }
        Ok(())
    }

    pub(super) fn define(&mut self, new: &NewInstance) -> Result<(), HostError> {
        if let Some(there) = self.machines.get(&new.id) {
            return match there.made_by == Some(new.task) {
                true => Ok(()),
                false => Err(HostError::Failed(format!("instance {} is already there", new.id))),
            };
        }
        if new.id != instance_id(&self.template.region, new.uuid) {
            return Err(HostError::Failed(format!("{} is not the id of that UUID", new.id)));
        }
        if new.spec.dialect != DIALECT {
            return Err(HostError::Unsupported(format!(
                "a spec in {} on a simulated host",
                new.spec.dialect
            )));
        }
        let shape: Shape = serde_json::from_str(&new.spec.text)
            .map_err(|error| HostError::Failed(format!("spec does not parse: {error}")))?;
        let mut devices = Vec::new();
        for (device, prepared) in &new.disks {
            let known = shape.drives.iter().find(|drive| drive.device == *device);
            devices.push(known.cloned().ok_or_else(|| HostError::NoDisk(device.clone()))?);
            self.usable(prepared)?;
        }
        let mut drives = Vec::new();
        for (shape, (_, prepared)) in devices.into_iter().zip(&new.disks) {
            drives.push(Drive {
                id: disk_id(new.id, prepared.handle()),
                shape: DriveShape { capability: DiskCapability::Tracked, ..shape },
                image: self.take(prepared)?,
                filled_from: Some(prepared.handle().to_owned()),
            });
        }
        let shape = Shape {
            name: new.name.clone(),
            vcpus: new.vcpus.unwrap_or(shape.vcpus),
            memory: new.memory.unwrap_or(shape.memory),
            network: new.network.clone().unwrap_or(shape.network),
            mac: mac(new.uuid),
            drives: Vec::new(),
            os: shape.os,
        };
        let made = machine(new.id, new.uuid, shape, drives);
        self.machines.insert(new.id, Machine { running: false, made_by: Some(new.task), ..made });
        Ok(())
    }

    pub(super) fn undefine(&mut self, new: &NewInstance) {
        if self.machines.get(&new.id).is_some_and(|machine| machine.made_by == Some(new.task)) {
            self.machines.remove(&new.id);
        }
    }

    pub(super) fn attach(&mut self, instance: InstanceId, disk: &PreparedDisk) -> Result<DiskId, HostError> {
        let machine = self.machine(instance)?;
        let mut drives = machine.drives.iter();
        if let Some(drive) = drives.find(|drive| drive.filled_from.as_deref() == Some(disk.handle())) {
            return Ok(drive.id);
        }
        let taken: BTreeSet<&str> = machine.drives.iter().map(|drive| drive.shape.device.as_str()).collect();
        let device = (0..).map(device_name).find(|name| !taken.contains(name.as_str())).unwrap_or_default();
        match disk.target() {
            DiskTarget::ForInstance { instance: meant, .. } if *meant == instance => {}
            _ => {
                return Err(HostError::Failed(format!(
                    "{} was not prepared for this instance",
                    disk.handle()
                )));
            }
        }
        let image = self.take(disk)?;
        let id = disk_id(instance, disk.handle());
        self.machine_mut(instance)?.drives.push(Drive {
            id,
            shape: DriveShape {
                device,
                kind: DiskKind::Data,
                capability: DiskCapability::Tracked,
                encrypted: false,
            },
            image,
            filled_from: Some(disk.handle().to_owned()),
        });
        Ok(id)
    }

    pub(super) fn leftovers(&self) -> Leftovers {
        let mut left = Leftovers::default();
        for machine in self.machines.values() {
            // A lost session holds nothing any more: it is a memory, not a leftover.
            left.sessions.extend(machine.session.iter().filter(|s| !s.lost).map(|s| (machine.id, s.group)));
            left.checkpoints
                .extend(machine.checkpoints.iter().map(|checkpoint| (machine.id, checkpoint.group)));
            left.paused.extend(machine.paused.then_some(machine.id));
        }
        left.prepared = self.prepared.values().map(|prepared| prepared.disk.clone()).collect();
        left
    }
}

fn machine(id: InstanceId, uuid: Uuid, shape: Shape, drives: Vec<Drive>) -> Machine {
    Machine {
        id,
        uuid,
        shape,
        running: true,
        paused: false,
        drives,
        checkpoints: Vec::new(),
        session: None,
        begun: BTreeSet::new(),
        made_by: None,
    }
}

/// `vda` to `vdz`, then `vdaa` and so on.
fn device_name(place: usize) -> String {
    let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
    match place / 26 {
        0 => format!("vd{}", letter(place)),
        more => format!("vd{}{}", letter(more - 1), letter(place)),
    }
}

fn mac(uuid: Uuid) -> String {
    format!("52:54:00:{:02x}:{:02x}:{:02x}", uuid[0], uuid[1], uuid[2])
}

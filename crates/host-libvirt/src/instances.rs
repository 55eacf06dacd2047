//! Instances: what a domain looks like in our nouns, and domains we define, change and remove.

use host::{HostError, NewInstance, PreparedDisk, Uuid, instance_id};
use model::{ByteCount, Disk, DiskCapability, DiskId, Instance, InstanceId, InstanceStatus, RegionId};

use crate::disks::{self, Prepared};
use crate::domain::{DiskDef, DomainDef};
use crate::failure::Failure;
use crate::ffi::{self, Domain};
use crate::host::LibvirtOptions;
use crate::image;
use crate::link::Libvirt;
use crate::running::{DIALECT, Looked, busy};
use crate::session::Scratch;
use crate::spec::{self, NewDisk};

pub(crate) fn instance(domain: &Domain, uuid: Uuid, options: &LibvirtOptions) -> Result<Instance, Failure> {
    let (status, paused) = status(domain.state()?);
    let def = DomainDef::parse(&domain.xml(0)?, &options.region, uuid)?;
    let id = instance_id(&options.region, uuid);
    Ok(Instance {
        id,
        uuid,
        name: def.name,
        region: options.region.clone(),
        zone: options.zone.clone(),
        host: options.id,
        status,
        paused,
        vcpus: def.vcpus,
        memory: ByteCount(def.memory),
        os: def.os,
        disks: def.disks.iter().map(|disk| shown(domain, id, disk)).collect(),
        created: None,
        simulated: false,
    })
}

fn shown(domain: &Domain, instance: InstanceId, disk: &DiskDef) -> Disk {
    let (mut capability, encrypted) = image::capability(disk);
    // A disk whose size nobody can tell is shown, and refused: the rest of the instance is fine.
    let size = match image::size(disk) {
        Ok(Some(size)) => Ok(size),
        Ok(None) => domain.capacity(&disk.device).map_err(|error| error.message),
        Err(error) => Err(error.to_string()),
    };
    if let (Err(error), true) = (&size, capability.can_be_snapshotted()) {
        let because = format!("its image cannot be opened: {error}");
        capability = DiskCapability::Refused { because };
    }
    Disk {
        id: disk.id,
        instance,
        device: disk.device.clone(),
        kind: disk.kind,
        size: ByteCount(size.unwrap_or(0)),
        capability,
        encrypted,
    }
}

/// libvirt's state and reason in our words, and whether the processors are held still.
fn status((state, reason): (i32, i32)) -> (InstanceStatus, bool) {
    const STARTING_UP: i32 = 11;
    match (state, reason) {
        (3, STARTING_UP) => (InstanceStatus::Starting, false),
        (1 | 2, _) => (InstanceStatus::Running, false),
        // Paused, and suspended by the guest's own power management.
        (3 | 7, _) => (InstanceStatus::Running, true),
        (4, _) => (InstanceStatus::Stopping, false),
        _ => (InstanceStatus::Stopped, false),
    }
}

/// The domain of this id, unless there is none.
fn existing(libvirt: &Libvirt, uuid: Uuid) -> Result<Option<Domain>, Failure> {
    match libvirt.connection().domain(&uuid) {
        Ok(domain) => Ok(Some(domain)),
        Err(error) if error.code == ffi::code::NO_DOMAIN => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_ours(domain: &Domain, new: &NewInstance) -> Result<bool, Failure> {
    Ok(spec::made_by(&domain.xml(ffi::XML_INACTIVE)?) == Some(new.task.to_string()))
}

pub(crate) fn define(libvirt: &Libvirt, scratch: &Scratch, new: &NewInstance) -> Result<(), Failure> {
    if new.spec.dialect != DIALECT {
        let message = format!("a spec in the dialect {:?} is not for libvirt", new.spec.dialect);
        return Err(HostError::Unsupported(message).into());
    }
    match existing(libvirt, new.uuid)? {
        Some(domain) if is_ours(&domain, new)? => {}
        Some(_) => return Err(HostError::Failed("an instance of this UUID exists already".into()).into()),
        None => {
            let mut disks = Vec::new();
            for (device, disk) in &new.disks {
                let prepared = disks::check_writable(libvirt, disk)?;
                let path = prepared.path.display().to_string();
                disks.push(NewDisk { device: device.clone(), path, format: prepared.format });
            }
            libvirt.connection().define(&spec::new_domain(new, &disks)?)?;
        }
    }
    new.disks.iter().try_for_each(|(_, disk)| forget_note(scratch, disk))
}

fn forget_note(scratch: &Scratch, disk: &PreparedDisk) -> Result<(), Failure> {
    disks::forget_note(&disks::note_directory(scratch, disk.task(), disk.target()))
}

pub(crate) fn undefine(libvirt: &Libvirt, scratch: &Scratch, new: &NewInstance) -> Result<(), Failure> {
    if let Some(domain) = existing(libvirt, new.uuid)? {
        if !is_ours(&domain, new)? {
            return Err(HostError::Failed("this instance was not made by this task".into()).into());
        }
        if crate::running::is_active(&domain)? {
            domain.destroy()?;
        }
        let all = ffi::UNDEFINE_MANAGED_SAVE
            | ffi::UNDEFINE_SNAPSHOTS_METADATA
            | ffi::UNDEFINE_CHECKPOINTS_METADATA
            | ffi::UNDEFINE_NVRAM;
        domain.undefine(all)?;
    }
    for (_, disk) in &new.disks {
        // A disk that got into another domain by somebody's hand is theirs.
        if let Ok(prepared) = disks::check_writable(libvirt, disk) {
            disks::remove_file(&prepared.path)?;
        }
        forget_note(scratch, disk)?;
    }
    Ok(())
}

pub(crate) fn attach(
    libvirt: &Libvirt,
    region: &RegionId,
    scratch: &Scratch,
    instance: InstanceId,
    disk: &PreparedDisk,
) -> Result<DiskId, Failure> {
    let (uuid, domain) = libvirt.domain(instance)?;
    let looked = Looked::at(domain, uuid, region)?;
    let prepared = Prepared::of(disk)?;
    let place = |def: &DomainDef| {
        def.disks.iter().find(|disk| disk.source.path() == Some(&prepared.path)).map(|disk| disk.id)
    };
    if let Some(id) = place(&looked.def) {
        forget_note(scratch, disk)?;
        return Ok(id);
    }
    if looked.domain.backup_xml()?.is_some() {
        return Err(busy("a backup of this instance runs"));
    }
    let prepared = disks::check_writable(libvirt, disk)?;
    let new = NewDisk {
        device: spec::free_device(&looked.domain.xml(0)?)?,
        path: prepared.path.display().to_string(),
        format: prepared.format.clone(),
    };
    let live = if looked.active { ffi::AFFECT_LIVE } else { 0 };
    looked.domain.attach(&spec::new_disk(&new), live | ffi::AFFECT_CONFIG)?;
    let (uuid, domain) = libvirt.domain(instance)?;
    let after = Looked::at(domain, uuid, region)?;
    let id = after.def.disks.iter().find(|disk| disk.source.path() == Some(&prepared.path));
    let id = id.map(|disk| disk.id).ok_or_else(|| HostError::Failed("the disk did not appear".into()))?;
    forget_note(scratch, disk)?;
    Ok(id)
}

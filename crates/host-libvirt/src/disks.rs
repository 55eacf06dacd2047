//! Disks being made: prepared, written, discarded, swapped in, attached.
//!
//! # Consistency
//! A prepared disk is a file of its own until it is swapped in, which is one rename: whoever looks sees
//! the old disk or the new one.
//! # Crash consistency
//! What was prepared is noted in the scratch directory before the file is made, so that it can be
//! discarded even when its instance is gone. A file is known again by its inode: a path that holds
//! another file was not swapped.
//! # Concurrency
//! Callers hold the instance's lock for all but writing; QEMU's image lock keeps writers apart.
//! # Errors
//! A failed write leaves the disk useless, never in use: start over with `prepare`.
//! # Cancellation
//! A writer that is dropped closes its connections, and its server ends.
//! # Limits
//! One server a disk being written.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use host::{DiskTarget, DiskWriter, HostError, PreparedDisk};
use model::{InstanceId, RegionId, TaskId};
use nbd::Client;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::checkpoint;
use crate::domain::{DomainDef, Source};
use crate::failure::{Failure, io, nbd};
use crate::ffi::{XML_INACTIVE, code};
use crate::image;
use crate::link::Libvirt;
use crate::running::{Looked, beside, busy};
use crate::server::{Serve, Server, sweep};
use crate::session::Scratch;

/// What `PreparedDisk::handle` holds: where the file is, and which file it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub(crate) path: PathBuf,
    pub(crate) format: String,
    /// What it replaces, if it does.
    replaces: Option<PathBuf>,
    inode: u64,
}

/// Where a prepared disk will be made, and after whose likeness.
struct Place {
    path: PathBuf,
    format: String,
    replaces: Option<PathBuf>,
    size: u64,
    /// A file whose owner and mode it takes over.
    model: Option<PathBuf>,
}

impl Prepared {
    pub(crate) fn of(disk: &PreparedDisk) -> Result<Self, HostError> {
        serde_json::from_str(disk.handle())
            .map_err(|_| HostError::Failed("this disk was not prepared by this host".into()))
    }

    fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == self.inode)
    }
}

/// The directory of a prepared disk's note and its server.
pub(crate) fn note_directory(scratch: &Scratch, task: TaskId, target: &DiskTarget) -> PathBuf {
    let which = match target {
        DiskTarget::Replacing { disk, .. } => disk.to_string(),
        DiskTarget::ForNew { device, .. } => plain(device),
        DiskTarget::ForInstance { .. } => "new".to_owned(),
    };
    scratch.root().join(format!("{task}.{which}"))
}

const NOTE: &str = "prepared.json";

pub(crate) fn prepare(
    libvirt: &Libvirt,
    region: &RegionId,
    scratch: &Scratch,
    images: &Path,
    task: TaskId,
    target: &DiskTarget,
) -> Result<PreparedDisk, Failure> {
    let place = place(libvirt, region, images, task, target)?;
    if in_use(libvirt, &place.path)? {
        return Err(busy("this disk is in use by an instance already"));
    }
    let directory = note_directory(scratch, task, target);
    sweep(&directory);
    std::fs::create_dir_all(&directory)?;
    let mut prepared =
        Prepared { path: place.path, format: place.format, replaces: place.replaces, inode: 0 };
    note(&directory, &prepared)?;
    remove_file(&prepared.path)?;
    image::create(&prepared.path, &prepared.format, place.size)?;
    if let Some(model) = place.model.and_then(|path| std::fs::metadata(path).ok()) {
        chown(&prepared.path, Some(model.uid()), Some(model.gid()))?;
        std::fs::set_permissions(&prepared.path, std::fs::Permissions::from_mode(model.mode() & 0o777))?;
    }
    prepared.inode = std::fs::metadata(&prepared.path)?.ino();
    note(&directory, &prepared)?;
    let handle = serde_json::to_string(&prepared).map_err(|error| HostError::Failed(error.to_string()))?;
    Ok(PreparedDisk::new(task, target.clone(), handle))
}

fn note(directory: &Path, prepared: &Prepared) -> Result<(), Failure> {
    let text = serde_json::to_vec(prepared).map_err(|error| HostError::Failed(error.to_string()))?;
    Ok(std::fs::write(directory.join(NOTE), text)?)
}

fn place(
    libvirt: &Libvirt,
    region: &RegionId,
    images: &Path,
    task: TaskId,
    target: &DiskTarget,
) -> Result<Place, Failure> {
    match target {
        DiskTarget::Replacing { instance, disk, size } => {
            let def = definition(libvirt, region, *instance)?;
            let old = def.disk(*disk).ok_or_else(|| HostError::NoDisk(disk.to_string()))?;
            let refused = |why: &str| HostError::Unsupported(format!("disk {} {why}", old.device));
            let Source::File(path) = &old.source else {
                return Err(refused("is no file: it cannot be rolled back yet").into());
            };
            if old.encrypted {
                return Err(refused("is encrypted by the host: it cannot be rolled back yet").into());
            }
            if old.format != "qcow2" && old.format != "raw" {
                return Err(refused("is neither qcow2 nor raw: it cannot be rolled back").into());
            }
            // A link is followed, so that the file is replaced and the link stays.
            let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            Ok(Place {
                path: beside(&real, &format!("hikae-{task}-{disk}.{}", old.format)),
                format: old.format.clone(),
                size: size.0,
                model: Some(real.clone()),
                replaces: Some(real),
            })
        }
        DiskTarget::ForNew { name, device, size, spec, .. } => {
            let source = DomainDef::parse(&spec.text, region, [0; 16])?;
            let old = source.disks.iter().find(|disk| disk.device == *device);
            if old.is_some_and(|disk| disk.encrypted) {
                let message = format!("disk {device} is encrypted by the host: it cannot be cloned yet");
                return Err(HostError::Unsupported(message).into());
            }
            let model = old.and_then(|disk| disk.source.path()).filter(|path| path.is_file());
            let format = old.map_or("qcow2", |disk| disk.format.as_str());
            let format = if format == "raw" { "raw" } else { "qcow2" };
            let file = format!("{}-{}-hikae-{task}.{format}", plain(name), plain(device));
            let path = model.map_or_else(|| images.join(&file), |model| beside(model, &file));
            let model = model.map(Path::to_owned);
            Ok(Place { path, format: format.into(), replaces: None, size: size.0, model })
        }
        DiskTarget::ForInstance { instance, size } => {
            let def = definition(libvirt, region, *instance)?;
            let model = def.disks.iter().find_map(|disk| match &disk.source {
                Source::File(path) => Some(path.clone()),
                Source::Block(_) | Source::Other(_) => None,
            });
            let file = format!("{}-hikae-{task}.qcow2", plain(&def.name));
            let path = model.as_deref().map_or_else(|| images.join(&file), |model| beside(model, &file));
            Ok(Place { path, format: "qcow2".into(), replaces: None, size: size.0, model })
        }
    }
}

fn definition(libvirt: &Libvirt, region: &RegionId, instance: InstanceId) -> Result<DomainDef, Failure> {
    let (uuid, domain) = libvirt.domain(instance)?;
    Ok(Looked::at(domain, uuid, region)?.def)
}

/// A name as part of a file's: no separators, no surprises.
fn plain(name: &str) -> String {
    let safe =
        |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' };
    name.chars().take(48).map(safe).collect::<String>().trim_start_matches('.').to_owned()
}

/// Some domain, running or not, names this file as its disk.
fn in_use(libvirt: &Libvirt, path: &Path) -> Result<bool, Failure> {
    for (_, uuid, domain) in libvirt.domains()? {
        for flags in [0, XML_INACTIVE] {
            let xml = match domain.xml(flags) {
                Ok(xml) => xml,
                // Undefined since the listing.
                Err(error) if error.code == code::NO_DOMAIN => break,
                Err(error) => return Err(error.into()),
            };
            let def = DomainDef::parse(&xml, &RegionId::from(""), uuid)?;
            if def.disks.iter().any(|disk| disk.source.path() == Some(path)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub(crate) fn discard(
    libvirt: &Libvirt,
    region: &RegionId,
    scratch: &Scratch,
    images: &Path,
    task: TaskId,
    target: &DiskTarget,
) -> Result<(), Failure> {
    let directory = note_directory(scratch, task, target);
    sweep(&directory);
    let noted: Option<Prepared> =
        std::fs::read(directory.join(NOTE)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let path = match noted {
        Some(prepared) => Some(prepared.path),
        // Without a note and without the instance there is no place where it could lie.
        None => place(libvirt, region, images, task, target).ok().map(|place| place.path),
    };
    if let Some(path) = path.filter(|path| path.exists())
        && !in_use(libvirt, &path)?
    {
        remove_file(&path)?;
    }
    forget_note(&directory)
}

/// The disk has found its use: from here on it is the instance's.
pub(crate) fn forget_note(directory: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

pub(crate) fn remove_file(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The disk is there, is the one that was prepared, and nobody uses it.
pub(crate) fn check_writable(libvirt: &Libvirt, disk: &PreparedDisk) -> Result<Prepared, Failure> {
    let prepared = Prepared::of(disk)?;
    if !prepared.is_at(&prepared.path) {
        return Err(HostError::Failed("the prepared disk is not there any more".into()).into());
    }
    if in_use(libvirt, &prepared.path)? {
        return Err(busy("the disk is in use by an instance"));
    }
    Ok(prepared)
}

pub(crate) fn swap_in(
    libvirt: &Libvirt,
    region: &RegionId,
    scratch: &Scratch,
    instance: InstanceId,
    disks: &[PreparedDisk],
) -> Result<(), Failure> {
    let (uuid, domain) = libvirt.domain(instance)?;
    let looked = Looked::at(domain, uuid, region)?;
    let needs = |found: &str| HostError::State { found: found.into(), needed: "stopped".into() };
    if looked.active {
        return Err(needs("running").into());
    }
    if looked.domain.has_managed_save()? {
        // Its memory knows the disks as they are; put under it, other disks would be destroyed.
        return Err(needs("suspended to disk").into());
    }
    // All are looked at before the first is touched.
    let mut swaps = Vec::new();
    for disk in disks {
        let prepared = Prepared::of(disk)?;
        let DiskTarget::Replacing { instance: of, disk: old, .. } = disk.target() else {
            return Err(HostError::Unsupported("this disk was not made to be swapped in".into()).into());
        };
        let (true, Some(_), Some(path)) = (*of == instance, looked.def.disk(*old), &prepared.replaces) else {
            return Err(HostError::NoDisk(old.to_string()).into());
        };
        if prepared.is_at(&prepared.path) {
            swaps.push((prepared.path.clone(), path.clone()));
        } else if !prepared.is_at(path) {
            return Err(HostError::Failed("the prepared disk is not there any more".into()).into());
        }
    }
    for (new, old) in swaps {
        std::fs::rename(&new, &old).map_err(|error| io(&error, "swapping in a disk"))?;
        image::sync_directory(old.parent().unwrap_or(Path::new("/")))?;
    }
    checkpoint::forget_all(&looked.domain, &looked.def)?;
    disks.iter().try_for_each(|disk| forget_note(&note_directory(scratch, disk.task(), disk.target())))
}

/// Writes a prepared disk through a server of its own.
#[derive(Debug)]
pub(crate) struct Writer {
    image: PathBuf,
    client: Client,
    server: Mutex<Option<Server>>,
}

impl Writer {
    pub(crate) async fn open(directory: &Path, prepared: Prepared) -> Result<Self, HostError> {
        let serve =
            Serve { image: prepared.path.clone(), format: prepared.format, bitmap: None, writable: true };
        std::fs::create_dir_all(directory).map_err(|error| io(&error, "scratch directory"))?;
        let server = Server::start(directory, "w", serve).await?;
        let client = Client::connect(&server.endpoint(), "", &[]).await.map_err(nbd)?;
        Ok(Self { image: prepared.path, client, server: Mutex::new(Some(server)) })
    }
}

#[async_trait]
impl DiskWriter for Writer {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), HostError> {
        let piece = usize::try_from(self.client.info().payload_max).unwrap_or(usize::MAX);
        let writes = (0..bytes.len()).step_by(piece).map(|start| {
            let part = bytes.slice(start..bytes.len().min(start + piece));
            self.client.write(offset + start as u64, part)
        });
        try_join_all(writes).await.map(drop).map_err(nbd)
    }

    async fn finish(&self) -> Result<(), HostError> {
        let Some(server) = self.server.lock().await.take() else { return Ok(()) };
        self.client.flush().await.map_err(nbd)?;
        self.client.close().await;
        server.stop().await?;
        let image = self.image.clone();
        let synced = tokio::task::spawn_blocking(move || {
            std::fs::File::open(&image)?.sync_all()?;
            image::sync_directory(image.parent().unwrap_or(Path::new("/")))
        });
        let synced = synced.await.map_err(|error| HostError::Failed(error.to_string()))?;
        synced.map_err(|failure| failure.0)
    }
}

//! Sessions of a running instance: one pull-mode backup job of libvirt over all its disks.
//!
//! # Consistency
//! One QEMU transaction starts the copy-before-write and the new bitmaps of all disks: they show one
//! instant, and the bitmaps count from that instant.
//! # Crash consistency
//! libvirt keeps the job and the checkpoint over its own restart and ours; both are found again by name.
//! The death of QEMU ends the job; a bitmap that was not stored cleanly is recognised and not used.
//! # Concurrency
//! Callers hold the instance's lock. libvirt allows one backup job a domain: another one is `Busy`.
//! # Errors
//! A begin that failed left nothing. After `Unreachable` it may have begun: asked again, we look.
//! # Cancellation
//! Calls into libvirt are never cut short.
//! # Limits
//! Scratch files grow with what the guest overwrites while the session is open; see `guard`.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::{Fate, HostError, InstanceSpec, Mark, Marked};
use model::{ByteCount, DiskCapability, GroupId, InstanceId, RegionId};
use tokio::time::Instant;

use crate::checkpoint::{self, Ours};
use crate::domain::{DiskDef, DomainDef};
use crate::failure::Failure;
use crate::ffi::{Domain, XML_INACTIVE, XML_MIGRATABLE, code};
use crate::image;
use crate::session::{DiskRecord, Record, Scratch, SessionDir};
use crate::xml::Element;

/// An aborted job is gone in milliseconds, unless QEMU waits for its disks.
const END_MAX: Duration = Duration::from_secs(60);

pub(crate) const DIALECT: &str = "libvirt-domain-xml";

/// A domain and what is known of it, for the length of one call.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) domain: Domain,
    pub(crate) def: DomainDef,
    pub(crate) active: bool,
}

impl Looked {
    pub(crate) fn at(domain: Domain, uuid: [u8; 16], region: &RegionId) -> Result<Self, Failure> {
        let active = is_active(&domain)?;
        // Of a running domain the live XML tells what its disks are now; the stored one may differ.
        let def = DomainDef::parse(&domain.xml(0)?, region, uuid)?;
        Ok(Self { domain, def, active })
    }
}

pub(crate) fn is_active(domain: &Domain) -> Result<bool, Failure> {
    // 5 is shut off; 6 is crashed, which has no QEMU either unless it was told to preserve it.
    Ok(!matches!(domain.state()?.0, 0 | 5))
}

pub(crate) fn spec(domain: &Domain) -> Result<InstanceSpec, Failure> {
    let text = domain.xml(XML_INACTIVE | XML_MIGRATABLE)?;
    Ok(InstanceSpec { dialect: DIALECT.into(), text })
}

/// The backup job on a domain, by whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    None,
    This,
    /// Ours, of another group.
    Other,
    Foreign,
}

pub(crate) fn job(domain: &Domain, scratch: &Scratch, session: &SessionDir) -> Result<Job, Failure> {
    let Some(xml) = domain.backup_xml()? else { return Ok(Job::None) };
    let root = Element::parse(&xml)?;
    let socket = root.of("server", "socket").map(PathBuf::from).unwrap_or_default();
    Ok(if socket == session.socket() {
        Job::This
    } else if scratch.owns(&socket) {
        Job::Other
    } else {
        Job::Foreign
    })
}

pub(crate) fn mark(
    looked: &Looked,
    mark: &Mark,
    scratch: &Scratch,
    space: ByteCount,
) -> Result<Marked, Failure> {
    let session = scratch.session(mark.instance, mark.group);
    match job(&looked.domain, scratch, &session)? {
        Job::This => {
            let mut record = session.load().ok_or_else(|| lost("its record cannot be read"))?;
            if !record.begun {
                // The answer to the begin was lost, not the job.
                record.begun = true;
                session.save(&record)?;
            }
            return Ok(record.marked());
        }
        Job::Other => return Err(busy("a backup of another group runs on this instance")),
        Job::Foreign => return Err(busy("a backup job that is not Hikae's runs on this instance")),
        Job::None => {}
    }
    let known = checkpoint::ours(&looked.domain, &looked.def, true)?;
    let begun = session.load().is_some_and(|record| record.begun);
    if begun || known.iter().any(|ours| ours.group == mark.group) {
        return Err(lost("the backup job of this group has ended"));
    }
    if looked.domain.has_job()? {
        return Err(busy("another job runs on this instance"));
    }
    if scratch.free()? < space.0 {
        return Err(HostError::NoSpace(format!(
            "{space} is needed in {} to hold what the guest overwrites meanwhile",
            scratch.root().display()
        ))
        .into());
    }
    let chosen = choose(looked, mark, &known)?;
    let begun = begin(looked, mark, scratch, &session, chosen);
    if begun.is_err() && job(&looked.domain, scratch, &session).is_ok_and(|job| job == Job::None) {
        session.remove()?;
    }
    begun
}

/// One disk of the mark to be.
#[derive(Debug, Clone)]
pub(crate) struct Chosen<'a> {
    pub(crate) disk: &'a DiskDef,
    size: u64,
    tracked: bool,
    pub(crate) since: Option<GroupId>,
    because: String,
}

pub(crate) fn choose<'a>(
    looked: &'a Looked,
    mark: &Mark,
    known: &[Ours],
) -> Result<Vec<Chosen<'a>>, Failure> {
    if mark.disks.is_empty() {
        return Err(HostError::Unsupported("no disks to snapshot".into()).into());
    }
    let mut chosen: Vec<Chosen<'_>> = Vec::new();
    for wanted in &mark.disks {
        let disk = looked.def.disk(wanted.disk);
        let disk = disk.ok_or_else(|| HostError::NoDisk(wanted.disk.to_string()))?;
        if chosen.iter().any(|other| other.disk.id == disk.id) {
            return Err(HostError::Unsupported(format!("disk {} twice", disk.device)).into());
        }
        let tracked = match image::capability(disk).0 {
            DiskCapability::Tracked => true,
            DiskCapability::Whole => false,
            DiskCapability::Refused { because } => {
                let message = format!("disk {} cannot be snapshotted: {because}", disk.device);
                return Err(HostError::Unsupported(message).into());
            }
        };
        let size = looked.domain.capacity(&disk.device)?;
        let (since, because) = match base(disk, tracked, wanted.since, known) {
            Ok(group) => (Some(group), String::new()),
            Err(because) => (None, because.to_owned()),
        };
        chosen.push(Chosen { disk, size, tracked, since, because });
    }
    Ok(chosen)
}

/// The group whose checkpoint can tell what changed on this disk, or why none can. Pure.
fn base(
    disk: &DiskDef,
    tracked: bool,
    since: Option<GroupId>,
    known: &[Ours],
) -> Result<GroupId, &'static str> {
    if !tracked {
        return Err("its image format cannot track changes");
    }
    let since = since.ok_or("there is no earlier snapshot to compare with")?;
    let ours = known.iter().find(|ours| ours.group == since).ok_or("the checkpoint is gone")?;
    match ours.devices.get(&disk.device) {
        Some(true) => Ok(since),
        Some(false) => Err("the bitmap of the checkpoint was lost when the instance last stopped"),
        None => Err("the checkpoint does not cover this disk"),
    }
}

fn begin(
    looked: &Looked,
    mark: &Mark,
    scratch: &Scratch,
    session: &SessionDir,
    mut chosen: Vec<Chosen<'_>>,
) -> Result<Marked, Failure> {
    session.create(looked.def.owner)?;
    let spec = spec(&looked.domain)?;
    let tracked: Vec<&str> =
        chosen.iter().filter(|disk| disk.tracked).map(|disk| disk.disk.device.as_str()).collect();
    let checkpoint = checkpoint::xml(mark.group, &looked.def, &tracked)?;
    let checkpoint = (!tracked.is_empty()).then_some(checkpoint);
    let mut record = record(&spec, &chosen);
    session.save(&record)?;
    // Made beforehand: libvirt would make them with the guest's disks already held.
    for disk in &chosen {
        let scratch = session.scratch(&disk.disk.device);
        image::create(&scratch, "qcow2", disk.size)?;
        chown(&scratch, looked.def.owner.map(|owner| owner.0), looked.def.owner.map(|owner| owner.1))?;
    }
    let mut started = Instant::now();
    let mut result =
        looked.domain.backup_begin(&backup_xml(&looked.def, session, &chosen), checkpoint.as_deref());
    if matches!(&result, Err(error) if error.code == code::CHECKPOINT_INCONSISTENT) {
        // A bitmap that passed our look did not pass libvirt's: read everything rather than fail.
        for disk in chosen.iter_mut().filter(|disk| disk.since.is_some()) {
            disk.since = None;
            "the bitmap of the checkpoint is inconsistent".clone_into(&mut disk.because);
        }
        record = self::record(&spec, &chosen);
        session.save(&record)?;
        started = Instant::now();
        result =
            looked.domain.backup_begin(&backup_xml(&looked.def, session, &chosen), checkpoint.as_deref());
    }
    let held = started.elapsed();
    result?;
    record.begun = true;
    record.held_us = u64::try_from(held.as_micros()).unwrap_or(u64::MAX);
    if let Err(failure) = session.save(&record) {
        // A session that cannot be found again after a crash is not left open.
        unmark(looked, mark.instance, mark.group, Fate::Drop, scratch)?;
        return Err(failure);
    }
    Ok(record.marked())
}

pub(crate) fn record(spec: &InstanceSpec, chosen: &[Chosen<'_>]) -> Record {
    let disks = chosen.iter().map(|disk| DiskRecord {
        disk: disk.disk.id,
        device: disk.disk.device.clone(),
        size: disk.size,
        since: disk.since,
        because: disk.because.clone(),
    });
    Record { begun: false, held_us: 0, spec: spec.clone(), disks: disks.collect() }
}

/// The `<domainbackup>`: every disk of the domain is named, for libvirt would back up all it is not told
/// to leave out.
fn backup_xml(def: &DomainDef, session: &SessionDir, chosen: &[Chosen<'_>]) -> String {
    let mut disks = Element::new("disks");
    for disk in &def.disks {
        let device = disk.device.as_str();
        let element = Element::new("disk").with("name", device);
        let Some(chosen) = chosen.iter().find(|chosen| chosen.disk.id == disk.id) else {
            disks = disks.containing(element.with("backup", "no"));
            continue;
        };
        let element = element.with("backup", "yes").with("type", "file").with("exportname", device);
        let element = match chosen.since {
            Some(group) => element
                .with("backupmode", "incremental")
                .with("incremental", &checkpoint::name(group))
                .with("exportbitmap", &bitmap_export(device)),
            None => element.with("backupmode", "full"),
        };
        let scratch = session.scratch(device).display().to_string();
        disks = disks.containing(element.containing(Element::new("scratch").with("file", &scratch)));
    }
    let socket = session.socket().display().to_string();
    let server = Element::new("server").with("transport", "unix").with("socket", &socket);
    Element::new("domainbackup").with("mode", "pull").containing(server).containing(disks).print()
}

/// The name under which a disk's changes are exported.
pub(crate) fn bitmap_export(device: &str) -> String {
    format!("backup-{device}")
}

pub(crate) fn unmark(
    looked: &Looked,
    instance: InstanceId,
    group: GroupId,
    fate: Fate,
    scratch: &Scratch,
) -> Result<(), Failure> {
    let session = scratch.session(instance, group);
    if looked.active {
        end_job(&looked.domain, scratch, &session)?;
    }
    let known = checkpoint::ours(&looked.domain, &looked.def, looked.active)?;
    let position = known.iter().position(|ours| ours.group == group);
    let doomed: &[Ours] = match (fate, position) {
        // Parents stand before children, so what stands before is older.
        (Fate::Keep, Some(at)) => &known[..at],
        (Fate::Drop, Some(at)) => &known[at..=at],
        // Without a checkpoint of its own (a stopped instance) the older ones are still the base.
        (Fate::Keep | Fate::Drop, None) => &[],
    };
    for ours in doomed {
        checkpoint::delete(ours, &looked.def, looked.active)?;
    }
    session.remove()
}

/// Ends the job of this session and waits until it is gone. Another's job is left alone.
pub(crate) fn end_job(domain: &Domain, scratch: &Scratch, session: &SessionDir) -> Result<(), Failure> {
    let ours = |domain: &Domain| match job(domain, scratch, session) {
        Ok(job) => Ok(job == Job::This),
        // It stopped meanwhile, and its job with it.
        Err(_) if !is_active(domain).unwrap_or(true) => Ok(false),
        Err(error) => Err(error),
    };
    if !ours(domain)? {
        return Ok(());
    }
    // An abort that fails because the job just ended is no failure: what counts is that it goes.
    let aborted = domain.abort_job();
    let started = Instant::now();
    while ours(domain)? {
        if started.elapsed() > END_MAX {
            aborted?;
            return Err(HostError::Failed("the backup job does not end".into()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    release_guest(domain);
    Ok(())
}

/// A guest that QEMU stopped because scratch space ran out goes on once the job is gone: no backup
/// leaves a guest standing. State 3 is paused, reason 5 an I/O error.
fn release_guest(domain: &Domain) {
    if matches!(domain.state(), Ok((3, 5))) {
        match domain.resume() {
            Ok(()) => tracing::warn!("resumed a guest that an I/O error had paused during its backup"),
            Err(error) => tracing::error!("cannot resume a paused guest: {}", error.message),
        }
    }
}

pub(crate) fn busy(why: &str) -> Failure {
    HostError::Busy(why.into()).into()
}

pub(crate) fn lost(why: &str) -> Failure {
    HostError::Lost(why.into()).into()
}

/// The path of a file beside another.
pub(crate) fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).join(name)
}

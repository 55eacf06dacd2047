//! An image, or an NBD export, stored as a group of one.
//!
//! # Consistency
//! What is read is what is stored: nobody may write the image meanwhile. That is not checked.
//!
//! # Crash consistency
//! The group exists when its manifest does; before that there are packs nobody names.
//!
//! # Errors
//! On any error there is no group, unless the store gave no certain answer at the very end: `ls` tells.

use std::path::Path;
use std::sync::Arc;

use depot::{BaseSnapshot, DiskManifest, GroupManifest, WriteDisk, WrittenDisk};
use host::DiskReader;
use model::{
    ByteCount, Clock as _, ConsistencyLevel, DiskKind, InstanceSpec, OsKind, Timestamp, ZoneId, draw,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::{ImageFormat, ImportArgs};
use super::changed::{self, Changed};
use super::look;
use super::meter::{Cost, Meter};
use super::nbd::{NbdDisk, ServedImage, is_uri};
use super::place::Open;
use super::raw::{RawImage, looks_like_qcow2};
use crate::args::Output;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::edge::{RealClock, RealEntropy};

/// In the place of a host adaptor's words about the instance's shape: there is none.
const DIALECT: &str = "none";
const SEAL_TRIES: u32 = 5;
const DEVICE: &str = "vda";

/// What the image is read from, and what must live as long.
struct Source {
    reader: Arc<dyn DiskReader>,
    name: String,
    served: Option<(ServedImage, Arc<NbdDisk>)>,
}

pub(super) async fn import(open: &Open, arguments: &ImportArgs, output: Output) -> Result<(), Failure> {
    let is_auto = arguments.changed.as_os_str() == "auto";
    let ranges = if is_auto { None } else { Some(changed::read(&arguments.changed)?) };
    let base = match &arguments.base {
        Some(base) => Some(look::find(open, base).await?),
        None => None,
    };
    let source = source(arguments).await?;
    let meter = Meter::start("import");
    let changed_only = ranges.is_some();
    let reader: Arc<dyn DiskReader> = match ranges {
        Some(ranges) => Arc::new(Changed { image: source.reader.clone(), ranges }),
        None => source.reader.clone(),
    };
    let (taken, cancel) = (RealClock.now(), CancellationToken::new());
    let tree = base.as_ref().filter(|_| !arguments.fresh).map(|(_, disk)| disk.tree);
    let job = WriteDisk { reader, base: tree, changed_only, progress: meter.progress(), cancel };
    let written = open.depot.write_disk(job).await.map_err(|error| open.failed(error))?;
    if let Some((served, disk)) = source.served {
        served.end(&disk).await?;
    }
    let mut manifest = manifest(open, source.name, taken, &written, base.as_ref());
    if arguments.fresh {
        // Of the same instance and disk, and no increment.
        manifest.disks[0].base = None;
    }
    if let Some(name) = &arguments.name {
        manifest.instance_name.clone_from(name);
    }
    seal(open, &manifest).await?;
    let (read, stored) = (written.bytes_read, written.bytes_stored);
    let time = meter.stop();
    let cost =
        Cost { bytes_read: read.0, bytes_stored: stored.0, bytes_fetched: open.bytes_fetched(), ..time };
    let snapshot = manifest.disks[0].snapshot;
    let value = json!({
        "group": manifest.group, "snapshot": snapshot, "size_bytes": written.tree.size, "cost": cost,
    });
    let wall_s = cost.wall_s;
    let sentence =
        format!("{snapshot} in {}: {read} read, {stored} stored, in {wall_s:.1} s", manifest.group);
    output::one(output, &value, &sentence)
}

/// A seal without certain answer may have happened: asking again tells.
async fn seal(open: &Open, manifest: &GroupManifest) -> Result<(), Failure> {
    let mut tries = 1;
    loop {
        match open.depot.seal_group(manifest).await {
            Err(error) if error.is_transient() && tries < SEAL_TRIES => tries += 1,
            sealed => return sealed.map_err(|error| open.failed(error)),
        }
    }
}

async fn source(arguments: &ImportArgs) -> Result<Source, Failure> {
    if is_uri(&arguments.source) {
        if arguments.format == Some(ImageFormat::Qcow2) {
            return Err(Failure::Usage(
                "an NBD export shows a disk, not an image: leave --format".to_owned(),
            ));
        }
        let reader = Arc::new(NbdDisk::open(&arguments.source).await?);
        return Ok(Source { reader, name: "nbd".to_owned(), served: None });
    }
    let path = Path::new(&arguments.source);
    let unreadable = |error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    match arguments.format {
        None if looks_like_qcow2(path).map_err(unreadable)? => Err(Failure::Usage(format!(
            "{} begins as a qcow2 image does: say --format qcow2, or raw if its guest wrote that",
            path.display()
        ))),
        None | Some(ImageFormat::Raw) => {
            let reader = Arc::new(RawImage::open(path).map_err(unreadable)?);
            Ok(Source { reader, name, served: None })
        }
        Some(ImageFormat::Qcow2) => {
            let mut served = ServedImage::start(path, "qcow2", false, &RealEntropy).await?;
            let disk = Arc::new(served.open().await?);
            Ok(Source { reader: disk.clone(), name, served: Some((served, disk)) })
        }
    }
}

/// An increment belongs to its base's instance and disk; anything else is of its own.
fn manifest(
    open: &Open,
    name: String,
    taken: Timestamp,
    written: &WrittenDisk,
    base: Option<&(GroupManifest, DiskManifest)>,
) -> GroupManifest {
    let mut uuid = [0; 16];
    model::Entropy::fill(&RealEntropy, &mut uuid);
    let disk = DiskManifest {
        snapshot: draw(&RealEntropy),
        disk: base.map_or_else(|| draw(&RealEntropy), |(_, disk)| disk.disk),
        device: base.map_or_else(|| DEVICE.to_owned(), |(_, disk)| disk.device.clone()),
        kind: base.map_or(DiskKind::System, |(_, disk)| disk.kind),
        encrypted: base.is_some_and(|(_, disk)| disk.encrypted),
        tracked: false,
        tree: written.tree,
        bytes_read: written.bytes_read,
        bytes_stored: written.bytes_stored,
        base: base.map(|(group, disk)| BaseSnapshot { group: group.group, snapshot: disk.snapshot }),
        origin: None,
    };
    let fresh = GroupManifest {
        group: draw(&RealEntropy),
        instance: host::instance_id(&open.region, uuid),
        uuid,
        instance_name: name,
        region: open.region.clone(),
        zone: ZoneId(format!("{}-a", open.region)),
        taken,
        level: ConsistencyLevel::Crash,
        spec: InstanceSpec { dialect: DIALECT.to_owned(), text: String::new() },
        os: OsKind::Linux,
        vcpus: 1,
        memory: ByteCount(0),
        disks: vec![disk],
        labels: vec![("origin".to_owned(), "import".to_owned())],
    };
    let Some((of, _)) = base else { return fresh };
    let GroupManifest { group, taken, level, disks, labels, .. } = fresh;
    GroupManifest { group, taken, level, disks, labels, ..of.clone() }
}

//! A snapshot's disk as a file of its own, or as a stream.
//!
//! # Crash consistency
//! The file has its name only when it is whole and durable; until then it is a draft, which a crash can
//! leave beside it (`.name.….part`). With `--no-sync` it is whole, and durable when the system comes to it.
//!
//! # Errors
//! On any error the draft is removed. A stream that ended early is cut off, and the exit code says so.
//!
//! # Limits
//! Nothing is overwritten. Only data is written: holes stay holes.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use depot::{RestoreDisk, TreeRef};
use futures::{StreamExt as _, TryStreamExt as _};
use host::DiskWriter;
use model::{ByteCount, Extent};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::args::{ExportArgs, ImageFormat};
use super::look;
use super::meter::{Cost, Meter};
use super::nbd::ServedImage;
use super::place::Open;
use super::raw::{Draft, Durability, RawWriter};
use crate::args::Output;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::edge::RealEntropy;

const STREAM_PIECE: u64 = 1 << 20;
/// Read ahead of whoever takes the stream.
const STREAM_PIECES: usize = 4;

pub(super) async fn export(open: &Open, arguments: &ExportArgs, output: Output) -> Result<(), Failure> {
    let (_, disk) = look::find(open, &arguments.snapshot).await?;
    let meter = Meter::start("export");
    let is_stream = arguments.to.as_os_str() == "-";
    let durability = if arguments.no_sync { Durability::Sometime } else { Durability::Durable };
    let bytes_restored = match (is_stream, arguments.format) {
        (true, ImageFormat::Raw) => stream(open, &disk.tree, &meter).await?,
        (true, ImageFormat::Qcow2) => {
            return Err(Failure::Usage("a qcow2 image cannot be streamed: name a file with --to".to_owned()));
        }
        (false, ImageFormat::Raw) => raw(open, &disk.tree, &arguments.to, durability, &meter).await?,
        (false, ImageFormat::Qcow2) => qcow2(open, &disk.tree, &arguments.to, durability, &meter).await?,
    };
    let cost = Cost { bytes_restored, bytes_fetched: open.bytes_fetched(), ..meter.stop() };
    let value = json!({"snapshot": disk.snapshot, "size_bytes": disk.tree.size, "cost": cost});
    let sentence = format!(
        "{}: {} of data of a disk of {}, in {:.1} s",
        disk.snapshot,
        ByteCount(bytes_restored),
        ByteCount(disk.tree.size),
        cost.wall_s
    );
    if !is_stream {
        return output::one(output, &value, &sentence);
    }
    // Standard output is taken.
    match output {
        Output::Json => eprintln!("{value}"),
        Output::Table => eprintln!("{sentence}"),
    }
    Ok(())
}

async fn raw(
    open: &Open,
    tree: &TreeRef,
    to: &Path,
    durability: Durability,
    meter: &Meter,
) -> Result<u64, Failure> {
    let (draft, file) = Draft::create(to, &RealEntropy)?;
    let writer = RawWriter::new(file, tree.size, durability)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", to.display())))?;
    let written = restore(open, tree, Arc::new(writer), meter).await?;
    draft.publish(durability)?;
    Ok(written)
}

async fn qcow2(
    open: &Open,
    tree: &TreeRef,
    to: &Path,
    durability: Durability,
    meter: &Meter,
) -> Result<u64, Failure> {
    let (draft, file) = Draft::create(to, &RealEntropy)?;
    drop(file);
    let mut create = tokio::process::Command::new("qemu-img");
    let path = std::path::absolute(draft.path()).map_err(|error| Failure::Usage(error.to_string()))?;
    create.args(["create", "-q", "-f", "qcow2"]).arg(path).arg(tree.size.to_string()).kill_on_drop(true);
    let made = create
        .output()
        .await
        .map_err(|error| Failure::Failed(format!("cannot run qemu-img (of qemu-utils): {error}")))?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        return Err(Failure::Failed(format!("qemu-img: {said}")));
    }
    let mut served = ServedImage::start(draft.path(), "qcow2", true, &RealEntropy).await?;
    let disk = Arc::new(served.open().await?);
    let written = restore(open, tree, disk.clone(), meter).await?;
    served.end(&disk).await?;
    draft.publish(durability)?;
    Ok(written)
}

async fn restore(
    open: &Open,
    tree: &TreeRef,
    writer: Arc<dyn DiskWriter>,
    meter: &Meter,
) -> Result<u64, Failure> {
    let (progress, cancel) = (meter.progress(), CancellationToken::new());
    let restored = open.depot.restore_disk(RestoreDisk { tree: *tree, writer, progress, cancel }).await;
    Ok(restored.map_err(|error| open.failed(error))?.bytes_written.0)
}

/// All of the disk in order, holes as zeroes. A reader that goes away ends it.
async fn stream(open: &Open, tree: &TreeRef, meter: &Meter) -> Result<u64, Failure> {
    let progress = meter.progress();
    let extents = (0..tree.size.div_ceil(STREAM_PIECE)).map(|piece| {
        let offset = piece * STREAM_PIECE;
        Extent { offset, len: STREAM_PIECE.min(tree.size - offset) }
    });
    let reads = futures::stream::iter(extents).map(|extent| open.depot.read(tree, extent));
    let mut pieces = reads.buffered(STREAM_PIECES);
    let mut written = 0;
    while let Some(bytes) = pieces.try_next().await.map_err(|error| open.failed(error))? {
        written += bytes.len() as u64;
        let wrote = tokio::task::spawn_blocking(move || std::io::stdout().write_all(&bytes)).await;
        let wrote = wrote.map_err(std::io::Error::other).flatten();
        wrote.map_err(|error| Failure::Failed(format!("cannot write the output: {error}")))?;
        progress(depot::Moved { position: written, total: tree.size, bytes: ByteCount(written) });
    }
    let flushed = std::io::stdout().flush();
    flushed.map_err(|error| Failure::Failed(format!("cannot write the output: {error}")))?;
    Ok(written)
}

//! Disk to depot: read, skip holes and what the base has, hash, look up, compress, seal, pack, upload.
//!
//! # Consistency
//! A tree is answered only when every pack it names is durable. Until a group names it, it is nobody's.
//! # Crash consistency
//! Packs that were put stay, as garbage.
//! # Concurrency
//! Any number at once; each fills packs of its own. Chunks another write has durably put are shared.
//! # Errors
//! Nothing was committed, whatever the error.
//! # Cancellation
//! Looked at between any two pieces of work and while waiting for the disk.
//! # Limits
//! `Settings`: reads, frames and uploads in flight; drafts and chunks of one pack are bounded here.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use format::{DISK_LEN_MAX, FrameKind, Inside, Link, Name, PackName, Place, TreeRef};
use host::{DiskReader, HostError};
use model::{ByteCount, Extent};
use tokio_util::sync::CancellationToken;

use crate::cipher::SlotKeys;
use crate::packer::{Contents, Packer, narrow};
use crate::plan::{Plan, Run, Todo};
use crate::read::{Cursor, usize_of};
use crate::weave::Weaver;
use crate::work::{Work, cancellable};
use crate::{Depot, DepotError};

/// Extents are asked for in windows, so that the answer is bounded whatever the disk's size. Where little
/// is told, the next window is longer: a disk that is mostly holes must not cost by its size.
const WINDOW_LEN: u64 = 1 << 30;
const WINDOW_LEN_MAX: u64 = 64 << 30;
const EXTENTS_FEW: usize = 64;
/// Plain bytes of an increment's frames. Its chunks come from all over the disk, and whoever reads one of
/// them rarely wants its neighbours.
const INCREMENT_FRAME_LEN: usize = 1 << 20;
/// Links in drafts and chunks stored before a pack is closed early: very compressible disks.
const DRAFT_LINKS_MAX: usize = 1 << 16;
const PACK_CHUNKS_MAX: usize = 1 << 16;

/// Called as work goes on; must not block.
pub type Progressing = Arc<dyn Fn(Moved) + Send + Sync>;

/// How far a transfer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// The place on the disk it has reached, and the disk's size.
    pub position: u64,
    pub total: u64,
    /// Read from the disk (or written to it, on a restore).
    pub bytes: ByteCount,
}

/// One disk to be written into the depot.
#[expect(missing_debug_implementations, reason = "a callback has nothing to show")]
pub struct WriteDisk {
    pub reader: Arc<dyn DiskReader>,
    /// Must belong to a group that exists.
    pub base: Option<TreeRef>,
    /// Only extents the reader says changed are looked at; the rest is as in the base. Else everything
    /// is read and compared with the base.
    pub changed_only: bool,
    pub progress: Progressing,
    pub cancel: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenDisk {
    pub tree: TreeRef,
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
}

impl Depot {
    /// Writes a disk as its reader shows it. What it answers is durable, and garbage until a group
    /// is sealed that names it.
    pub async fn write_disk(&self, job: WriteDisk) -> Result<WrittenDisk, DepotError> {
        let size = job.reader.size().0;
        if size > DISK_LEN_MAX {
            return Err(DepotError::Invalid(format!("a disk of {size} bytes is larger than a depot takes")));
        }
        let cancel = job.cancel.clone();
        cancellable(&cancel, self.write_disk_inner(job, size)).await
    }

    async fn write_disk_inner(&self, job: WriteDisk, size: u64) -> Result<WrittenDisk, DepotError> {
        let (slot, geometry) =
            job.base.map_or((self.slot, self.settings.geometry), |base| (base.slot, base.geometry));
        let keys = self.slot_keys(slot).await?;
        let marks = self.newest_marks().await?;
        let epoch = marks.as_ref().map_or(0, |marks| marks.number);
        self.enter_known(marks.as_ref()).await?;
        let frame_len = self.settings.frame_len.min(job.base.map_or(usize::MAX, |_| INCREMENT_FRAME_LEN));
        let base = job.base.map(|tree| Cursor::new(self, tree, keys.clone()));
        let mut loom = Loom {
            depot: self,
            frame_len: frame_len.max(geometry.chunk_len() as usize),
            chunk_len: u64::from(geometry.chunk_len()),
            packer: Packer::new(self, keys.clone(), epoch, self.settings.effort(job.base.is_none())),
            weaver: Weaver::new(geometry, size, &keys.names, base),
            here: Contents::default(),
            frame: Vec::new(),
            inside: Vec::new(),
        };
        loom.weaver.begin().await?;
        let mut pieces = Pieces::new(self, &job, size, geometry.chunk_len(), keys.clone());
        let mut read = ByteCount::default();
        while let Some(piece) = pieces.next().await? {
            let position = piece.chunks.end.saturating_mul(loom.chunk_len).min(size);
            if let Some(bytes) = &piece.bytes {
                read += ByteCount(bytes.read);
            }
            loom.take(piece).await?;
            (job.progress)(Moved { position, total: size, bytes: read });
            if job.cancel.is_cancelled() {
                return Err(DepotError::Cancelled);
            }
        }
        let tree = loom.finish(slot, size).await?;
        Ok(WrittenDisk { tree, bytes_read: read, bytes_stored: ByteCount(loom.packer.bytes_stored()) })
    }
}

/// What happens with chunks once they are read and named; in disk order.
struct Loom<'a> {
    depot: &'a Depot,
    frame_len: usize,
    chunk_len: u64,
    packer: Packer<'a>,
    weaver: Weaver<'a>,
    /// Chunks of the open pack.
    here: Contents,
    /// The frame being filled, and what is in it.
    frame: Vec<u8>,
    inside: Vec<Inside>,
}

impl Loom<'_> {
    async fn take(&mut self, piece: Piece) -> Result<(), DepotError> {
        let Some(Named { plain, names, .. }) = piece.bytes else {
            self.weaver.clear(piece.chunks).await?;
            return self.close_full_pack().await;
        };
        let chunk_len = usize_of(self.chunk_len);
        for ((chunk, name), bytes) in piece.chunks.zip(names).zip(plain.chunks(chunk_len)) {
            let link = match name {
                None => None,
                Some(name) => Some(self.link(chunk, name, bytes).await?),
            };
            self.weaver.set_chunk(chunk, link).await?;
        }
        self.close_full_pack().await
    }

    /// Finds a chunk where it lies already, or stores it.
    async fn link(&mut self, chunk: u64, name: Name, bytes: &[u8]) -> Result<Link, DepotError> {
        let base = self.weaver.base_chunk(chunk).await?.filter(|link| link.name == name);
        let found = base.or_else(|| self.here.get(&name).copied()).or_else(|| self.packer.find(name));
        let found = match found {
            None => self.depot.known_chunk(name).await?,
            found => found,
        };
        if let Some(link) = found {
            return Ok(link);
        }
        let (at, len) = (narrow(self.frame.len())?, narrow(usize_of(self.chunk_len))?);
        let frame = self.packer.next_frame()?;
        let place = Place { pack: PackName::SELF, frame, offset: 0, sealed_len: 0, plain_len: 0, at, len };
        let link = Link { name, place };
        self.frame.extend_from_slice(bytes);
        // The last chunk of a disk may be short: zeroes follow.
        self.frame.resize(at as usize + len as usize, 0);
        self.inside.push(Inside { name, len });
        self.here.insert(name, link);
        if self.frame.len() + len as usize > self.frame_len {
            self.close_frame().await?;
        }
        Ok(link)
    }

    async fn close_frame(&mut self) -> Result<(), DepotError> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let next = self.packer.empty_frame(self.frame_len);
        let (plain, inside) = (std::mem::replace(&mut self.frame, next), std::mem::take(&mut self.inside));
        self.packer.add(FrameKind::Data, plain, inside).await
    }

    /// Closes the open pack when it, or what is remembered of it, is large enough.
    async fn close_full_pack(&mut self) -> Result<(), DepotError> {
        let many = self.here.len() >= PACK_CHUNKS_MAX || self.weaver.waiting() >= DRAFT_LINKS_MAX;
        if !many && !self.packer.is_full() {
            return Ok(());
        }
        self.close_frame().await?;
        self.weaver.flush(&mut self.packer).await?;
        self.close_pack().await
    }

    async fn close_pack(&mut self) -> Result<(), DepotError> {
        self.packer.drain().await?;
        self.weaver.settle(&self.packer);
        let next = Contents::with_capacity_and_hasher(self.here.len(), Default::default());
        if let Some(pack) = self.packer.close(std::mem::replace(&mut self.here, next)).await? {
            self.weaver.closed(pack);
        }
        Ok(())
    }

    async fn finish(&mut self, slot: format::SlotId, size: u64) -> Result<TreeRef, DepotError> {
        self.close_frame().await?;
        self.weaver.end(&mut self.packer).await?;
        self.close_pack().await?;
        self.packer.finish().await?;
        self.weaver.tree(slot, size).await
    }
}

/// A run of chunks that are all cleared, or all read.
struct Piece {
    chunks: std::ops::Range<u64>,
    bytes: Option<Named>,
}

/// What was read, with a name for every chunk that is not all zeroes.
struct Named {
    plain: Bytes,
    names: Vec<Option<Name>>,
    read: u64,
}

/// Reads ahead of whoever takes the pieces; gives them out in disk order.
struct Pieces<'a> {
    job: &'a WriteDisk,
    keys: Arc<SlotKeys>,
    size: u64,
    chunk_len: u64,
    read_chunks: u64,
    reads_max: usize,
    beside: bool,
    plan: Plan,
    window_len: u64,
    runs: VecDeque<Run>,
    flying: VecDeque<Work<Result<Piece, DepotError>>>,
}

impl<'a> Pieces<'a> {
    fn new(depot: &Depot, job: &'a WriteDisk, size: u64, chunk_len: u32, keys: Arc<SlotKeys>) -> Self {
        let chunk_len = u64::from(chunk_len);
        let keep_below = match &job.base {
            // Where one of the two ends within a chunk, that chunk differs by its padding.
            Some(base) if job.changed_only && base.size != size => {
                base.size.min(size) / chunk_len * chunk_len
            }
            Some(_) if job.changed_only => size,
            _ => 0,
        };
        Self {
            job,
            keys,
            size,
            chunk_len,
            read_chunks: (depot.settings.read_len as u64 / chunk_len).max(1),
            reads_max: depot.settings.reads(),
            beside: depot.settings.parallelism > 1,
            plan: Plan::new(chunk_len, size, keep_below),
            window_len: WINDOW_LEN,
            runs: VecDeque::new(),
            flying: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<Piece>, DepotError> {
        while self.flying.len() < self.reads_max {
            match self.next_run().await? {
                Some(run) => self.start(run),
                None => break,
            }
        }
        match self.flying.pop_front() {
            Some(work) => work.wait().await?.map(Some),
            None => Ok(None),
        }
    }

    /// The next run that is not kept, no longer than one read.
    async fn next_run(&mut self) -> Result<Option<Run>, DepotError> {
        loop {
            match self.runs.front_mut() {
                None if self.plan.position() == self.size => return Ok(None),
                None => self.look_further().await?,
                Some(Run { todo: Todo::Keep, .. }) => {
                    self.runs.pop_front();
                }
                Some(Run { todo: Todo::Read, chunks }) if chunks.end - chunks.start > self.read_chunks => {
                    // Reads begin at multiples of their length, wherever the run does.
                    let cut = (chunks.start / self.read_chunks + 1) * self.read_chunks;
                    let run = Run { chunks: chunks.start..cut, todo: Todo::Read };
                    chunks.start = cut;
                    return Ok(Some(run));
                }
                Some(_) => return Ok(self.runs.pop_front()),
            }
        }
    }

    async fn look_further(&mut self) -> Result<(), DepotError> {
        let offset = self.plan.position();
        let len = self.window_len.min(self.size - offset);
        let extents = self.job.reader.extents(Extent { offset, len }).await.map_err(DepotError::Source)?;
        let broken =
            || DepotError::Source(HostError::Failed("the host's list of extents has gaps".to_owned()));
        if extents.is_empty() {
            return Err(broken());
        }
        self.window_len = match extents.len() {
            ..=EXTENTS_FEW => (self.window_len * 4).min(WINDOW_LEN_MAX),
            _ => WINDOW_LEN,
        };
        for extent in &extents {
            self.runs.extend(self.plan.take(extent).ok_or_else(broken)?);
        }
        Ok(())
    }

    fn start(&mut self, run: Run) {
        let work = match run.todo {
            Todo::Keep | Todo::Clear => Work::Done(Ok(Piece { chunks: run.chunks, bytes: None })),
            Todo::Read => {
                let (reader, keys, beside) = (self.job.reader.clone(), self.keys.clone(), self.beside);
                let offset = run.chunks.start * self.chunk_len;
                let end = (run.chunks.end * self.chunk_len).min(self.size);
                let (extent, chunk_len) = (Extent { offset, len: end - offset }, usize_of(self.chunk_len));
                Work::start(beside, async move {
                    let plain = reader.read(extent).await.map_err(DepotError::Source)?;
                    if plain.len() as u64 != extent.len {
                        let what = format!("the host gave {} bytes for {}", plain.len(), extent.len);
                        return Err(DepotError::Source(HostError::Failed(what)));
                    }
                    let named = Work::compute(beside, move || name_chunks(&keys, plain, chunk_len));
                    Ok(Piece { chunks: run.chunks, bytes: Some(named.wait().await?) })
                })
            }
        };
        self.flying.push_back(work);
    }
}

static ZEROES: [u8; 4096] = [0; 4096];

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROES.len()).all(|part| part == &ZEROES[..part.len()])
}

fn name_chunks(keys: &SlotKeys, plain: Bytes, chunk_len: usize) -> Named {
    let name = |bytes: &[u8]| {
        if is_zero(bytes) {
            return None;
        }
        if bytes.len() == chunk_len {
            return Some(keys.names.chunk(bytes));
        }
        let mut padded = bytes.to_vec();
        padded.resize(chunk_len, 0);
        Some(keys.names.chunk(&padded))
    };
    let names = plain.chunks(chunk_len).map(name).collect();
    let read = plain.len() as u64;
    Named { plain, names, read }
}

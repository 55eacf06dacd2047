//! Plain files: an image read without its holes, and one written as a draft that takes its name when whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use host::{DiskExtent, DiskReader, DiskWriter, HostError};
use model::{ByteCount, Entropy, Extent};
use rustix::fs::SeekFrom as Seek;
use rustix::io::Errno;
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::cli::failure::Failure;

const QCOW2_MAGIC: &[u8; 4] = b"QFI\xfb";
/// One answer; the caller asks again.
const EXTENTS_MAX: usize = 4096;
/// What is kept of reads: as many as are under way at once, of the length of most.
const SPARE_MAX: usize = 16;
const SPARE_LEN: usize = 1 << 20;
/// Written before the disk is set to work.
const SYNC_EVERY: usize = 128 << 20;

/// Whether a file begins as a qcow2 image does.
pub(super) fn looks_like_qcow2(path: &Path) -> io::Result<bool> {
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    Ok(magic == QCOW2_MAGIC)
}

/// A raw image, read where it has data.
#[derive(Debug)]
pub(super) struct RawImage {
    file: Arc<File>,
    size: u64,
    spare: Arc<Spare>,
}

/// Memory of reads that nobody needs any more: fresh memory costs a fault a page.
#[derive(Debug, Default)]
struct Spare(std::sync::Mutex<Vec<Vec<u8>>>);

/// What was read; its memory goes back when the last who sees it lets go.
struct Lent {
    /// Beyond `len` there is what an earlier read left.
    bytes: Vec<u8>,
    len: usize,
    spare: Arc<Spare>,
}

impl Spare {
    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, len: usize) -> Vec<u8> {
        let kept = self.kept().pop();
        kept.filter(|kept| kept.len() >= len).unwrap_or_else(|| vec![0; len.max(SPARE_LEN)])
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = self.spare.kept();
        if kept.len() < SPARE_MAX && bytes.len() == SPARE_LEN {
            kept.push(bytes);
        }
    }
}

impl RawImage {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        // Block devices have no length but an end.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file: Arc::new(file), size, spare: Arc::default() })
    }
}

#[async_trait]
impl DiskReader for RawImage {
    fn size(&self) -> ByteCount {
        ByteCount(self.size)
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        let (file, end) = (Arc::clone(&self.file), range.end().min(self.size));
        blocking("look for holes", move || holes(&file, range.offset, end)).await
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let (file, spare) = (Arc::clone(&self.file), Arc::clone(&self.spare));
        blocking("read the image", move || {
            let len = usize::try_from(range.len).map_err(io::Error::other)?;
            let mut lent = Lent { bytes: spare.take(len), len, spare };
            file.read_exact_at(&mut lent.bytes[..len], range.offset)?;
            Ok(Bytes::from_owner(lent))
        })
        .await
    }
}

fn holes(file: &File, from: u64, end: u64) -> io::Result<Vec<DiskExtent>> {
    let mut extents = Vec::new();
    let mut at = from;
    while at < end && extents.len() < EXTENTS_MAX {
        let data = match rustix::fs::seek(file, Seek::Data(at)) {
            Ok(data) => data.min(end),
            Err(Errno::NXIO) => end,
            // Devices, and file systems that cannot tell: all of it is data.
            Err(_) => at,
        };
        let zero = data > at;
        let next = match zero {
            true => data,
            false => rustix::fs::seek(file, Seek::Hole(at)).map_or(end, |hole| hole.min(end)),
        };
        // A file that changes under our eyes must not keep us here.
        let next = if next > at { next } else { end };
        extents.push(DiskExtent { extent: Extent { offset: at, len: next - at }, zero, changed: true });
        at = next;
    }
    Ok(extents)
}

/// A new file under a name nobody looks for; gone again unless it is published.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Draft {
    /// Makes an empty draft beside `target`, which must not exist.
    pub(super) fn create(target: &Path, entropy: &dyn Entropy) -> Result<(Self, File), Failure> {
        let named = target.file_name().and_then(|name| name.to_str());
        let Some(name) = named else {
            return Err(Failure::Usage(format!("{} cannot be the name of a file", target.display())));
        };
        // A link that leads nowhere is there, too.
        if fs::symlink_metadata(target).is_ok() {
            return Err(Failure::Usage(format!("{} exists: nothing is overwritten", target.display())));
        }
        let path = target.with_file_name(format!(".{name}.{}.part", crate::edge::nonce(entropy)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| failed("make", &path, &error))?;
        Ok((Self { path, target: target.to_owned(), published: false }, file))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name. One that has come meanwhile is not overwritten.
    pub(super) fn publish(mut self, durability: Durability) -> Result<(), Failure> {
        let done = |result: io::Result<()>| result.map_err(|error| failed("write", &self.target, &error));
        if durability == Durability::Durable {
            done(File::open(&self.path).and_then(|file| file.sync_all()))?;
        }
        done(fs::hard_link(&self.path, &self.target))?;
        done(fs::remove_file(&self.path))?;
        self.published = true;
        if durability == Durability::Sometime {
            return Ok(());
        }
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let synced = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        synced.map_err(|error| failed("write", &self.target, &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot {verb} {}: {error}", path.display()))
}

/// Whether a file that has its name is on disk, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// Whatever happens to the machine.
    Durable,
    /// When the system comes to it.
    Sometime,
}

/// Writes data where it belongs and nothing else: what is not written is a hole.
#[derive(Debug)]
pub(super) struct RawWriter {
    file: Arc<File>,
    durability: Durability,
    /// Threads that write one file at once only wait for each other, and spin while they do.
    turn: Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    unsynced: usize,
    /// What was written before, on its way to the disk. The file system tells of an error once, and
    /// may do so here.
    sync: Option<JoinHandle<io::Result<()>>>,
}

impl Turn {
    async fn synced(&mut self) -> Result<(), HostError> {
        match self.sync.take() {
            Some(sync) => outcome("write the file", sync.await),
            None => Ok(()),
        }
    }
}

impl RawWriter {
    /// `file` is empty; it gets its whole length at once.
    pub(super) fn new(file: File, size: u64, durability: Durability) -> io::Result<Self> {
        file.set_len(size)?;
        Ok(Self { file: Arc::new(file), durability, turn: Mutex::default() })
    }
}

#[async_trait]
impl DiskWriter for RawWriter {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), HostError> {
        let (file, len) = (Arc::clone(&self.file), bytes.len());
        let mut turn = self.turn.lock().await;
        blocking("write the file", move || file.write_all_at(&bytes, offset)).await?;
        turn.unsynced += len;
        let idle = turn.sync.as_ref().is_none_or(JoinHandle::is_finished);
        if self.durability == Durability::Durable && turn.unsynced >= SYNC_EVERY && idle {
            // The disk is kept busy meanwhile, or the end would wait for all of it.
            turn.synced().await?;
            let file = Arc::clone(&self.file);
            turn.unsynced = 0;
            turn.sync = Some(spawn_blocking(move || file.sync_data()));
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), HostError> {
        self.turn.lock().await.synced().await?;
        if self.durability == Durability::Sometime {
            return Ok(());
        }
        let file = Arc::clone(&self.file);
        blocking("write the file", move || file.sync_all()).await
    }
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, HostError> {
    outcome(what, spawn_blocking(work).await)
}

fn outcome<T>(what: &'static str, done: Result<io::Result<T>, JoinError>) -> Result<T, HostError> {
    let done = done.map_err(|error| HostError::Failed(format!("{what}: {error}")))?;
    done.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HostError::NoSpace(error.to_string()),
        _ => HostError::Failed(format!("cannot {what}: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::RealEntropy;

    #[test]
    fn a_draft_goes_unless_published_and_never_overwrites() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let target = folder.path().join("disk.raw");
        let count = || fs::read_dir(folder.path()).expect("readable").count();
        drop(Draft::create(&target, &RealEntropy).expect("made"));
        assert_eq!(count(), 0);
        let (early, _) = Draft::create(&target, &RealEntropy).expect("made");
        let (late, _) = Draft::create(&target, &RealEntropy).expect("made");
        early.publish(Durability::Durable).expect("the first");
        assert!(matches!(late.publish(Durability::Sometime), Err(Failure::Failed(_))));
        assert!(matches!(Draft::create(&target, &RealEntropy), Err(Failure::Usage(_))));
        assert_eq!(count(), 1);
    }

    /// Memory of earlier reads is read into again: none of what it held may be seen.
    #[tokio::test]
    async fn a_read_shows_nothing_of_an_earlier_one() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("image");
        let file = File::create(&path).expect("made");
        file.write_all_at(&vec![7; SPARE_LEN], 0).expect("written");
        file.write_all_at(&vec![8; SPARE_LEN + 5000], SPARE_LEN as u64).expect("written");
        let image = RawImage::open(&path).expect("open");
        for (offset, len, byte) in
            [(0, SPARE_LEN, 7), (SPARE_LEN, 5000, 8), (SPARE_LEN, SPARE_LEN + 5000, 8), (10, 1, 7)]
        {
            let (offset, wanted) = (offset as u64, len as u64);
            let read = image.read(Extent { offset, len: wanted }).await.expect("a read");
            assert!(read.len() == len && read.iter().all(|found| *found == byte), "{len} at {offset}");
            let kept: Vec<usize> = image.spare.kept().iter().map(Vec::len).collect();
            assert!(kept.iter().all(|kept| *kept == SPARE_LEN), "{kept:?}");
            drop(read);
        }
        assert_eq!(image.spare.kept().len(), 1);
        image.read(Extent { offset: image.size - 10, len: 11 }).await.expect_err("beyond its end");
    }

    #[tokio::test]
    async fn extents_follow_one_another_to_the_end() {
        let folder = tempfile::tempdir().expect("temporary directory");
        let path = folder.path().join("image");
        let file = File::create(&path).expect("made");
        file.set_len(10 << 20).expect("long");
        file.write_all_at(&[7; 5000], 3 << 20).expect("written");
        let image = RawImage::open(&path).expect("open");
        let mut at = 0;
        let mut zeroes = 0;
        while at < image.size {
            let range = Extent { offset: at, len: image.size - at };
            for extent in image.extents(range).await.expect("extents") {
                assert_eq!(extent.extent.offset, at);
                at = extent.extent.end();
                let data = (3 << 20)..(3 << 20) + 5000;
                let touches = extent.extent.offset < data.end && data.start < at;
                assert!(!(extent.zero && touches), "data called a hole");
                zeroes += u64::from(extent.zero) * extent.extent.len;
            }
        }
        assert_eq!(at, 10 << 20);
        assert!(zeroes <= (10 << 20) - 5000);
    }
}

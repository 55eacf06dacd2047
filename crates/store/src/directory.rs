//! A directory of the local file system as a [`Store`].
//!
//! # Consistency
//! An object is a file, published by a hard link from a synced temporary file: whole or not at all.
//!
//! # Crash consistency
//! File and folder are synced before an answer. `object_store` syncs the folders *it* made; a folder
//! another writer has just made may not be on disk yet, so the first write into a folder syncs all
//! the folders above it. `Existed` promises durability too, so it syncs the object's folder: the
//! other writer may have linked the object and not come to that. A crash can leave a temporary file
//! (`name#1`), which no listing shows and a sweep removes when it is old.
//!
//! # Concurrency
//! Any number of processes; the file system's `link` decides who creates.
//!
//! # Errors
//! A write whose folder could not be synced may have happened: `Unknown`, or `NoSpace`.
//!
//! # Cancellation
//! File work runs to its end on a blocking thread.
//!
//! # Limits
//! A listing holds one folder per level and its answer. The set of synced folders grows with the
//! folders of the depot, which are few (two levels of fan-out).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use model::Timestamp;
use object_store::local::LocalFileSystem;

use crate::bucket::Bucket;
use crate::classify::io_error;
use crate::{Doomed, LIST_MAX, Listed, ObjectKey, Put, Store, StoreError};

#[derive(Debug)]
pub(crate) struct Directory {
    files: Bucket,
    root: PathBuf,
    /// Folders known to be on disk, with all above them up to the root.
    synced: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// Opens a directory, and makes it when missing.
pub(crate) async fn open(path: &Path) -> Result<Directory, StoreError> {
    let wanted = path.to_owned();
    blocking("open the directory", move || {
        make_durable(&wanted)?;
        let root = fs::canonicalize(&wanted)?;
        let files = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?.with_fsync(true);
        let files = Bucket::new(Arc::new(files), "");
        Ok(Directory { files, root, synced: Arc::default() })
    })
    .await
}

impl Directory {
    fn folder_of(&self, key: &ObjectKey) -> PathBuf {
        let folder = key.as_str().rsplit_once('/').map_or("", |(folder, _)| folder);
        self.root.join(folder)
    }

    /// Makes the folder of `key` and sees to it that it, and all above it, survive a power cut.
    async fn ready_folder(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let folder = self.folder_of(key);
        if self.synced.lock().unwrap_or_else(PoisonError::into_inner).contains(&folder) {
            return Ok(());
        }
        let (root, synced) = (self.root.clone(), Arc::clone(&self.synced));
        blocking("make a folder", move || {
            fs::create_dir_all(&folder)?;
            for above in folder.ancestors().take_while(|above| above.starts_with(&root)) {
                sync_folder(above)?;
            }
            synced.lock().unwrap_or_else(PoisonError::into_inner).insert(folder);
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Store for Directory {
    async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
        self.ready_folder(key).await?;
        let put = self.files.put_new(key, bytes).await.map_err(doubt)?;
        if put == Put::Existed {
            let folder = self.folder_of(key);
            blocking("sync a folder", move || sync_folder(&folder)).await.map_err(doubt)?;
        }
        Ok(put)
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        self.files.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.files.get_range(key, range).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
        self.files.size(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        let after = after.map_or_else(String::new, |key| key.as_str().to_owned());
        blocking("list a folder", move || {
            let mut walk = Walk { root, prefix, after, limit: limit.min(LIST_MAX), found: Vec::new() };
            walk.folder("")?;
            Ok(walk.found)
        })
        .await
    }

    async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
        self.files.delete(doomed).await
    }

    async fn sweep(&self, before: Timestamp) -> Result<usize, StoreError> {
        let root = self.root.clone();
        blocking("look for drafts", move || sweep_folder(&root, before)).await
    }
}

/// A write that failed late in a directory may have been linked already.
fn doubt(error: StoreError) -> StoreError {
    match error {
        StoreError::Failed { what } => StoreError::Unknown { what },
        other => other,
    }
}

/// One listing: folders are entered in the order of the names below them, and only those entered
/// that can hold a wanted name.
struct Walk {
    root: PathBuf,
    prefix: String,
    after: String,
    limit: usize,
    found: Vec<Listed>,
}

impl Walk {
    /// `path` is the folder's name below the root: empty, or ending in a slash.
    fn folder(&mut self, path: &str) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                // With its slash a folder sorts where the names below it belong.
                names.push(format!("{path}{name}/"));
            } else if kind.is_file() {
                names.push(format!("{path}{name}"));
            }
        }
        names.sort_unstable();
        for name in names {
            if self.found.len() == self.limit {
                break;
            }
            if name.ends_with('/') {
                if self.may_hold(&name) {
                    self.folder(&name)?;
                }
            } else {
                self.file(name)?;
            }
        }
        Ok(())
    }

    /// Whether a name in `folder` can begin with the prefix and come after the last one seen.
    fn may_hold(&self, folder: &str) -> bool {
        let on_the_way = self.prefix.starts_with(folder) || folder.starts_with(&self.prefix);
        on_the_way && (self.after.starts_with(folder) || folder > self.after.as_str())
    }

    fn file(&mut self, name: String) -> io::Result<()> {
        if !name.starts_with(&self.prefix) || name <= self.after {
            return Ok(());
        }
        // Temporary files carry a '#', which no name of ours does.
        let Ok(key) = ObjectKey::new(name) else { return Ok(()) };
        match fs::symlink_metadata(self.root.join(key.as_str())) {
            Ok(meta) => self.found.push(listed(key, &meta)),
            // Deleted while we looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A file made so lately may be followed by another of the same number and, by a coarse clock, time.
const STAMP_AGE_MIN: Duration = Duration::from_secs(2);

#[expect(clippy::disallowed_methods, reason = "compared with the file system's own times, and nothing else")]
fn age(meta: &fs::Metadata) -> Option<Duration> {
    SystemTime::now().duration_since(meta.modified().ok()?).ok()
}

fn listed(key: ObjectKey, meta: &fs::Metadata) -> Listed {
    let stamp = age(meta)
        .filter(|age| *age >= STAMP_AGE_MIN)
        .map(|_| format!("{:x}-{:x}.{:x}-{:x}", meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len()));
    let created = Timestamp(meta.mtime().saturating_mul(1_000_000).saturating_add(meta.mtime_nsec() / 1000));
    Listed { key, size: meta.len(), stamp, created: Some(created) }
}

/// Removes old drafts in a folder and those below it.
fn sweep_folder(folder: &Path, before: Timestamp) -> io::Result<usize> {
    let mut swept = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            swept += sweep_folder(&entry.path(), before)?;
        } else if kind.is_file() && entry.file_name().to_str().is_some_and(is_draft) {
            swept += usize::from(sweep_draft(&entry.path(), before)?);
        }
    }
    Ok(swept)
}

/// A writer that still holds it, and slept, fails to link it and starts over.
fn sweep_draft(draft: &Path, before: Timestamp) -> io::Result<bool> {
    let gone = |error: io::Error| match error.kind() {
        // Its writer was faster, or another sweep.
        io::ErrorKind::NotFound => Ok(false),
        _ => Err(error),
    };
    let touched = match fs::symlink_metadata(draft) {
        Ok(meta) => meta.modified()?,
        Err(error) => return gone(error),
    };
    // A time before 1970 is no time.
    let touched = touched.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    if i128::try_from(touched).unwrap_or(i128::MAX) >= i128::from(before.0) {
        return Ok(false);
    }
    fs::remove_file(draft).map_or_else(gone, |()| Ok(true))
}

/// The names `object_store` gives to files it has not linked yet: an object's, `#`, and a number.
fn is_draft(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(of, number)| {
        ObjectKey::new(of).is_ok() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Makes a folder and those above it that are missing, and syncs every folder whose entries changed.
fn make_durable(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let existing = folder.ancestors().find(|above| above.is_dir()).map(Path::to_owned);
    fs::create_dir_all(&folder)?;
    for above in folder.ancestors() {
        sync_folder(above)?;
        if existing.as_deref() == Some(above) {
            break;
        }
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| io_error(doing, &error)),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Unavailable { what: format!("{doing}: the server is stopping") }),
    }
}

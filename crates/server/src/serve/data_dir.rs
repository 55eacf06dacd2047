//! The data directory: one server at a time, and the root access key in a file of its own.
//!
//! # Consistency
//! Whoever holds the lock is the only server of the directory.
//!
//! # Crash consistency
//! The lock goes with its process. A file is written under a temporary name, synced and renamed:
//! it is whole or not there. The caller writes the root access key's file before the key is in force.
//!
//! # Concurrency
//! Two servers on one directory: the second is told so and stops.
//!
//! # Errors
//! Every error means: do not start.
//!
//! # Cancellation
//! Every call is short and blocking.
//!
//! # Limits
//! None: three small files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::client::{ENDPOINT_FILE, KEY_FILE};

const LOCK_FILE: &str = "lock";
/// What is known of chunks in depots: a cache, by depot.
pub(crate) const KNOWN_FOLDER: &str = "known";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("another hikae serves {0}: stop it first, or give this one a directory of its own with --data")]
    Taken(PathBuf),
    #[error("cannot {verb} {path}: {source}")]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
}

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl DataDir {
    /// Takes the directory, making it if need be.
    pub(crate) fn take(path: &Path) -> Result<Self, DataDirError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| io_error("make", path, source))?;
        let path = path.canonicalize().map_err(|source| io_error("find", path, source))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|source| io_error("open", &lock_path, source))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::Taken(path)),
            Err(error) => Err(io_error("lock", &lock_path, error.into())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the root access key's file, which only its owner can read.
    pub(crate) fn write_root_access_key(&self, id: &str, secret: &str) -> Result<PathBuf, DataDirError> {
        let text = Zeroizing::new(json!({"access_key_id": id, "access_key_secret": secret}).to_string());
        self.write(KEY_FILE, text.as_bytes())
    }

    /// Writes down where we listen, for clients on this machine.
    pub(crate) fn write_endpoint(&self, endpoint: &str) -> Result<PathBuf, DataDirError> {
        self.write(ENDPOINT_FILE, format!("{endpoint}\n").as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, DataDirError> {
        let (path, draft) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        let failed = |source| io_error("write", &path, source);
        // A draft of an earlier life may be in the way, perhaps with another mode.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file =
            OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&draft, &path).map_err(failed)?;
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(path)
    }
}

fn io_error(verb: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { verb, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_server_a_directory_and_the_lock_goes_with_it() {
        let base = tempfile::tempdir().expect("temporary directory");
        let path = base.path().join("new/data");
        let first = DataDir::take(&path).expect("free");
        assert!(matches!(DataDir::take(&path), Err(DataDirError::Taken(_))));
        drop(first);
        DataDir::take(&path).expect("free again");
    }

    #[test]
    fn the_root_access_keys_file_is_its_owners_alone() {
        let base = tempfile::tempdir().expect("temporary directory");
        let data = DataDir::take(base.path()).expect("free");
        fs::write(base.path().join(format!(".{KEY_FILE}.new")), "half").expect("a draft left behind");
        let path = data.write_root_access_key("HK1", "hush").expect("written");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(path).expect("readable");
        assert_eq!(text, r#"{"access_key_id":"HK1","access_key_secret":"hush"}"#);
    }
}

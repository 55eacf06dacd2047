//! Where a backup session keeps its socket, its scratch files and what it knows of itself.
//!
//! # Consistency
//! libvirt's backup job is the session; the directory is only how we find it again. A job is ours if
//! and only if its socket lies in a session directory of ours.
//! # Crash consistency
//! The directory is made, with the record in it, before the job begins, and removed after the job has
//! ended. A record that does not say `begun` and has neither job nor checkpoint never began.
//! # Concurrency
//! Callers hold the instance's lock; the scratch directory belongs to one process.
//! # Errors
//! A record that cannot be read is a session lost: nothing is guessed.
//! # Cancellation
//! Every function runs to its end.
//! # Limits
//! The path of a socket must fit the system's 107 bytes, so the scratch directory's must be short.

use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::{HostError, InstanceSpec, Marked, MarkedDisk, Tracking};
use model::{ByteCount, DiskId, GroupId, InstanceId};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, io};

const SOCKET: &str = "s";
const RECORD: &str = "session.json";
/// An empty file whose name says whether scratch space lasted: renaming needs no space.
const LASTS: &str = "space-lasts";
const FULL: &str = "space-ran-out";
const SOCKET_PATH_MAX: usize = 107;
/// `<group>.<instance>/disk9999.nbd`, the longest path below the scratch directory.
const BELOW_MAX: usize = 64;

/// All sessions of one host.
#[derive(Debug, Clone)]
pub(crate) struct Scratch {
    root: PathBuf,
}

/// One session's directory; it may not exist.
#[derive(Debug, Clone)]
pub(crate) struct SessionDir {
    path: PathBuf,
}

/// What a session knows of itself, as it stands in its directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The job was seen to begin. Without it the job may or may not have begun.
    pub(crate) begun: bool,
    pub(crate) held_us: u64,
    pub(crate) spec: InstanceSpec,
    pub(crate) disks: Vec<DiskRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DiskRecord {
    pub(crate) disk: DiskId,
    pub(crate) device: String,
    pub(crate) size: u64,
    pub(crate) since: Option<GroupId>,
    /// Why there is no `since`.
    pub(crate) because: String,
}

impl Scratch {
    pub(crate) fn new(root: PathBuf) -> Result<Self, HostError> {
        if root.as_os_str().len() + 1 + BELOW_MAX > SOCKET_PATH_MAX {
            return Err(HostError::Unsupported(format!(
                "the scratch directory {} has too long a path for sockets in it",
                root.display()
            )));
        }
        // QEMU may run as another user, which must reach its own session but see no other.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&root)
            .map_err(|error| io(&error, &format!("scratch directory {}", root.display())))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn session(&self, instance: InstanceId, group: GroupId) -> SessionDir {
        SessionDir { path: self.root.join(format!("{group}.{instance}")) }
    }

    /// Every directory left here, for the sweep at start.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return Vec::new() };
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }

    /// A job's socket lies in some session of ours, if not in the one looked for.
    pub(crate) fn owns(&self, socket: &Path) -> bool {
        socket.parent().and_then(Path::parent) == Some(&self.root)
    }

    /// Bytes that new scratch files may take.
    pub(crate) fn free(&self) -> Result<u64, Failure> {
        let stat = rustix::fs::statvfs(&self.root).map_err(std::io::Error::from)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl SessionDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    pub(crate) fn scratch(&self, device: &str) -> PathBuf {
        self.path.join(format!("{device}.scratch"))
    }

    /// Makes the directory anew, for QEMU's user alone: the socket in it gives the disks to whoever
    /// reaches it.
    pub(crate) fn create(&self, owner: Option<(u32, u32)>) -> Result<(), Failure> {
        self.remove()?;
        std::fs::DirBuilder::new().mode(0o700).create(&self.path)?;
        std::fs::write(self.path.join(LASTS), [])?;
        if let Some((user, group)) = owner.filter(|owner| owner.0 != 0) {
            chown(&self.path, Some(user), Some(group))?;
        }
        Ok(())
    }

    pub(crate) fn save(&self, record: &Record) -> Result<(), Failure> {
        let text = serde_json::to_vec(record).map_err(|error| HostError::Failed(error.to_string()))?;
        let fresh = self.path.join("session.new");
        std::fs::write(&fresh, text)?;
        std::fs::rename(&fresh, self.path.join(RECORD))?;
        Ok(())
    }

    pub(crate) fn load(&self) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(self.path.join(RECORD)).ok()?).ok()
    }

    /// Notes that the session was given up for want of scratch space.
    pub(crate) fn note_full(&self) {
        if let Err(error) = std::fs::rename(self.path.join(LASTS), self.path.join(FULL)) {
            tracing::warn!("cannot note that scratch space ran out: {error}");
        }
    }

    /// It was given up for want of scratch space.
    pub(crate) fn is_full(&self) -> bool {
        self.path.join(FULL).exists()
    }

    /// Removes everything of a session that has ended.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Record {
    pub(crate) fn marked(&self) -> Marked {
        let disks = self.disks.iter().map(|disk| MarkedDisk {
            disk: disk.disk,
            size: ByteCount(disk.size),
            tracking: match disk.since {
                Some(group) => Tracking::Since(group),
                None => Tracking::Whole { because: disk.because.clone() },
            },
        });
        Marked { disks: disks.collect(), held: Duration::from_micros(self.held_us), spec: self.spec.clone() }
    }

    pub(crate) fn disk(&self, disk: DiskId) -> Option<&DiskRecord> {
        self.disks.iter().find(|known| known.disk == disk)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_longest_socket_fits() {
        let (group, instance) = (GroupId::from_bits(u128::MAX), InstanceId::from_bits(u128::MAX));
        let root = PathBuf::from(format!("/{}", "x".repeat(SOCKET_PATH_MAX - BELOW_MAX - 2)));
        let session = SessionDir { path: root.join(format!("{group}.{instance}")) };
        let longest = session.path().join("disk9999.nbd");
        assert!(longest.as_os_str().len() <= SOCKET_PATH_MAX, "{}", longest.as_os_str().len());
        assert!(Scratch::new(root.join("y")).is_err());
    }

    #[test]
    fn a_record_survives_and_a_broken_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let scratch = Scratch { root: directory.path().to_owned() };
        let session = scratch.session(InstanceId::from_bits(1), GroupId::from_bits(2));
        session.create(None).unwrap();
        assert!(session.load().is_none());
        let spec = InstanceSpec { dialect: "d".into(), text: "t".into() };
        let record = Record { begun: true, held_us: 5, spec, disks: vec![] };
        session.save(&record).unwrap();
        assert_eq!(session.load().unwrap().marked(), record.marked());
        std::fs::write(session.path().join(RECORD), "{").unwrap();
        assert!(session.load().is_none());
        assert!(scratch.owns(&session.socket()));
        assert!(!scratch.owns(Path::new("/tmp/other")));
        session.remove().unwrap();
        session.remove().unwrap();
        assert!(!session.path().exists());
    }
}

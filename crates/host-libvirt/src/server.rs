//! `qemu-nbd` processes that serve an image of a stopped instance, or one being written.
//!
//! A server ends by itself when its last client leaves. Whoever starts one keeps a connection open,
//! so the death of our process, however sudden, closes it and leaves none behind. (A parent-death
//! signal would not do: it fires when the *thread* that started the child ends.) The narrow gap
//! between start and first connection is covered by the pid file, which [`sweep`] reads at start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use host::HostError;
use nbd::{Client, Endpoint};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::failure::{Failure, nbd};
use crate::image;

/// How long a server may take to end once nobody uses it: it flushes on the way.
const END_MAX: Duration = Duration::from_secs(60);
/// How long one that is not wanted any more is asked before it is made to.
const PATIENCE: Duration = Duration::from_secs(2);

/// What to serve, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Serve {
    pub(crate) image: PathBuf,
    pub(crate) format: String,
    pub(crate) bitmap: Option<String>,
    pub(crate) writable: bool,
}

/// A running server: its socket, and the connection that keeps it alive.
#[derive(Debug)]
pub(crate) struct Server {
    socket: PathBuf,
    anchor: Client,
}

impl Server {
    /// Starts a server in `directory`, which names its files after `name`.
    pub(crate) async fn start(directory: &Path, name: &str, serve: Serve) -> Result<Self, HostError> {
        let socket = directory.join(format!("{name}.nbd"));
        let pid_file = directory.join(format!("{name}.pid"));
        let spawned = {
            let (socket, pid_file) = (socket.clone(), pid_file.clone());
            tokio::task::spawn_blocking(move || spawn(&socket, &pid_file, &serve))
        };
        let spawned = spawned.await.map_err(|error| HostError::Failed(error.to_string()))?;
        spawned.map_err(|failure| failure.0)?;
        match Client::connect(&Endpoint::Unix(socket.clone()), "", &[]).await {
            Ok(anchor) => Ok(Self { socket, anchor }),
            Err(error) => {
                kill(&pid_file, &socket);
                Err(nbd(error))
            }
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.socket.clone())
    }

    pub(crate) fn size(&self) -> u64 {
        self.anchor.info().size
    }

    /// Leaves, and waits until the process has let go of the image. Other clients must have left.
    pub(crate) async fn stop(self) -> Result<(), HostError> {
        self.anchor.close().await;
        let socket = self.socket;
        let ended = tokio::task::spawn_blocking(move || wait_for_end(&socket)).await;
        ended.map_err(|error| HostError::Failed(error.to_string()))?
    }
}

impl Server {
    /// Ends it whoever may still read: for images that nobody writes.
    pub(crate) async fn end(self) {
        let socket = self.socket;
        let _ = tokio::task::spawn_blocking(move || kill(&socket.with_extension("pid"), &socket)).await;
        self.anchor.close().await;
    }
}

fn spawn(socket: &Path, pid_file: &Path, serve: &Serve) -> Result<(), Failure> {
    kill(pid_file, socket);
    let _ = std::fs::remove_file(socket);
    let mut command = Command::new("qemu-nbd");
    // With --fork the command returns when the socket listens, or says why it never will.
    command.args(["--fork", "--shared=8", "--format"]).arg(&serve.format);
    command.arg("--pid-file").arg(pid_file).arg("--socket").arg(socket);
    if serve.writable {
        command.args(["--cache=writeback", "--aio=threads"]);
    } else {
        command.arg("--read-only");
    }
    if let Some(bitmap) = &serve.bitmap {
        command.arg("--bitmap").arg(bitmap);
    }
    image::run(command.arg(&serve.image)).map(drop)
}

/// The server of this pid file, if it still runs. A pid is only believed if the process's own command
/// line names our socket: numbers are used again.
fn pid(pid_file: &Path, socket: &Path) -> Option<Pid> {
    let number: i32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{number}/cmdline")).ok()?;
    let needle = socket.as_os_str().as_encoded_bytes();
    let ours = line.split(|byte| *byte == 0).any(|argument| argument == needle);
    Pid::from_raw(number).filter(|_| ours)
}

/// Ends a server whatever it does. qemu-nbd loses a signal that comes between the moment it says it
/// is ready and its main loop, so it is told again; what it writes is of no use to anybody any more.
fn kill(pid_file: &Path, socket: &Path) {
    let started = Instant::now();
    while let Some(pid) = pid(pid_file, socket) {
        let patient = started.elapsed() < PATIENCE;
        let signal = if patient { Signal::TERM } else { Signal::KILL };
        let _ = kill_process(pid, signal);
        std::thread::sleep(Duration::from_millis(5));
        if started.elapsed() > END_MAX {
            tracing::error!("a qemu-nbd process cannot be ended");
            break;
        }
    }
    let _ = std::fs::remove_file(pid_file);
}

fn wait_for_end(socket: &Path) -> Result<(), HostError> {
    let pid_file = socket.with_extension("pid");
    let started = Instant::now();
    while pid(&pid_file, socket).is_some() {
        if started.elapsed() > END_MAX {
            return Err(HostError::Failed("qemu-nbd does not end".into()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = std::fs::remove_file(socket);
    let _ = std::fs::remove_file(&pid_file);
    Ok(())
}

/// Ends all servers that left their pid files in `directory`.
pub(crate) fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "pid") {
            kill(&path, &path.with_extension("nbd"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn served(directory: &Path, writable: bool) -> Serve {
        let image = directory.join("image");
        image::create(&image, "qcow2", 1 << 20).unwrap();
        Serve { image, format: "qcow2".into(), bitmap: None, writable }
    }

    #[tokio::test]
    async fn a_server_ends_when_nobody_holds_it_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let serve = served(directory.path(), true);
        let server = Server::start(directory.path(), "a", serve.clone()).await.unwrap();
        assert_eq!(server.size(), 1 << 20);
        let (socket, pid_file) = (server.socket.clone(), directory.path().join("a.pid"));
        assert!(pid(&pid_file, &socket).is_some());
        drop(server);
        tokio::task::spawn_blocking(move || wait_for_end(&socket)).await.unwrap().unwrap();
        let server = Server::start(directory.path(), "a", serve).await.unwrap();
        server.stop().await.unwrap();
        assert!(!pid_file.exists());
    }

    #[tokio::test]
    async fn an_image_is_written_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let serve = served(directory.path(), true);
        let server = Server::start(directory.path(), "a", serve.clone()).await.unwrap();
        let error = Server::start(directory.path(), "b", serve.clone()).await.unwrap_err();
        assert!(matches!(error, HostError::Busy(_)), "{error}");
        // Of the same name it is the same server, started over.
        let again = Server::start(directory.path(), "a", serve).await.unwrap();
        again.end().await;
        drop(server);
    }

    #[test]
    fn what_nobody_ever_held_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, pid_file) = (directory.path().join("a.nbd"), directory.path().join("a.pid"));
        // More than once: a signal that comes too early is lost.
        for _ in 0..20 {
            spawn(&socket, &pid_file, &served(directory.path(), false)).unwrap();
            let pid = pid(&pid_file, &socket).unwrap();
            sweep(directory.path());
            // Without an init to reap it, what is left may be a zombie, which has no command line.
            let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
            assert!(std::fs::read(path).unwrap_or_default().is_empty(), "it lives on");
        }
        spawn(&socket, &pid_file, &served(directory.path(), false)).unwrap();
        assert!(pid(&pid_file, &socket).is_some());
        // A pid file that names some other process ends nobody.
        std::fs::write(directory.path().join("b.pid"), std::process::id().to_string()).unwrap();
        sweep(directory.path());
        assert!(pid(&pid_file, &socket).is_none());
        assert!(!directory.path().join("a.pid").exists());
    }
}

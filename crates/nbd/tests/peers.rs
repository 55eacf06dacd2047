//! The client against real servers: qemu-nbd and nbdkit. A peer that is not installed fails the test.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nbd::{Client, Endpoint, Errno, NbdError};

const MIB: u64 = 1 << 20;

/// A server process that ends with its test.
struct Peer {
    child: Child,
    socket: PathBuf,
}

impl Peer {
    fn start(command: &mut Command, socket: PathBuf) -> Self {
        let name = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{} is needed here: {error}", name.display()));
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{} ended: {status}", name.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, socket }
    }

    fn qemu(directory: &Path, image: &Path, more: &[&str]) -> Self {
        let socket = directory.join("qemu.sock");
        let mut command = Command::new("qemu-nbd");
        command.arg("--persistent").arg("--shared=0").arg("-k").arg(&socket).args(more).arg(image);
        Self::start(&mut command, socket)
    }

    fn nbdkit(directory: &Path, more: &[&str]) -> Self {
        let socket = directory.join("kit.sock");
        let mut command = Command::new("nbdkit");
        command.arg("--foreground").arg("--exit-with-parent").arg("-U").arg(&socket).args(more);
        Self::start(&mut command, socket)
    }

    async fn open(&self, contexts: &[&str]) -> Result<Client, NbdError> {
        Client::connect(&Endpoint::Unix(self.socket.clone()), "", contexts).await
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status();
    assert!(status.unwrap_or_else(|error| panic!("{program} is needed here: {error}")).success());
}

fn qcow2(directory: &Path, size: &str) -> PathBuf {
    let image = directory.join("disk.qcow2");
    run("qemu-img", &["create", "-q", "-f", "qcow2", image.to_str().unwrap(), size]);
    image
}

fn pattern(seed: u64, len: usize) -> Bytes {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn what_is_written_to_qemu_is_read_back_and_counted_as_data() {
    let directory = tempfile::tempdir().unwrap();
    let image = qcow2(directory.path(), "64M");
    let peer = Peer::qemu(directory.path(), &image, &["-f", "qcow2"]);
    let client = peer.open(&["base:allocation"]).await.unwrap();
    assert_eq!(client.info().size, 64 * MIB);
    assert_eq!(client.contexts(), ["base:allocation"]);

    let bytes = pattern(7, 1 << 20);
    client.write(8 * MIB, bytes.clone()).await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(client.read(8 * MIB, 1 << 20).await.unwrap(), bytes);
    assert!(client.read(0, 1 << 20).await.unwrap().iter().all(|byte| *byte == 0));

    let status = client.block_status(0, 64 << 20).await.unwrap();
    let extents = &status[0].extents;
    assert_eq!(extents.iter().map(|extent| extent.len).sum::<u64>(), 64 * MIB);
    let data: u64 = extents.iter().filter(|extent| extent.flags & 2 == 0).map(|extent| extent.len).sum();
    assert_eq!(data, MIB, "{extents:?}");

    client.write_zeroes(8 * MIB, 1 << 20).await.unwrap();
    assert!(client.read(8 * MIB, 1 << 20).await.unwrap().iter().all(|byte| *byte == 0));
    client.close().await;
    assert!(matches!(client.read(0, 512).await, Err(NbdError::Lost(_))));
}

#[tokio::test]
async fn a_dirty_bitmap_tells_what_changed() {
    let directory = tempfile::tempdir().unwrap();
    let image = qcow2(directory.path(), "16M");
    let path = image.to_str().unwrap();
    run("qemu-io", &["-c", "write -P 1 0 1M", path]);
    run("qemu-img", &["bitmap", "--add", path, "mark"]);
    run("qemu-io", &["-c", "write -P 2 4M 128k", path]);
    let peer = Peer::qemu(directory.path(), &image, &["-r", "-f", "qcow2", "-B", "mark"]);
    let client = peer.open(&["qemu:dirty-bitmap:mark", "base:allocation"]).await.unwrap();
    assert_eq!(client.contexts(), ["qemu:dirty-bitmap:mark", "base:allocation"]);
    assert!(client.info().read_only());
    let status = client.block_status(0, 16 << 20).await.unwrap();
    assert_eq!(status.len(), 2);
    let mut at = 0;
    let mut dirty = Vec::new();
    for extent in &status[0].extents {
        if extent.flags & 1 != 0 {
            dirty.push((at, extent.len));
        }
        at += extent.len;
    }
    assert_eq!(dirty, [(4 * MIB, 128 << 10)]);
    assert!(matches!(client.write(0, Bytes::from_static(&[0; 512])).await, Err(NbdError::Invalid(_))));
}

#[tokio::test]
async fn many_requests_are_in_flight_at_once_and_do_not_mix() {
    let directory = tempfile::tempdir().unwrap();
    let peer = Peer::nbdkit(directory.path(), &["--filter=delay", "memory", "64M", "rdelay=30ms"]);
    let client = Arc::new(peer.open(&["base:allocation"]).await.unwrap());
    let block = 64 << 10;
    let writes = (0..256_u64).map(|at| {
        let client = Arc::clone(&client);
        async move { client.write(at * block, pattern(at, 64 << 10)).await.unwrap() }
    });
    futures::future::join_all(writes).await;
    let reads = (0..256_u64).map(|at| {
        let client = Arc::clone(&client);
        async move { assert_eq!(client.read(at * block, 64 << 10).await.unwrap(), pattern(at, 64 << 10)) }
    });
    futures::future::join_all(reads).await;
}

#[tokio::test]
async fn tcp_works_as_unix_does() {
    // Bound and dropped: the port is free for the peer, short of a race no other test runs.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("nbdkit");
    command.args(["--foreground", "--exit-with-parent", "-i", "127.0.0.1", "-p", &port.to_string()]);
    let mut child = command.args(["pattern", "1M"]).spawn().expect("nbdkit is needed here");
    let endpoint = Endpoint::Tcp(format!("127.0.0.1:{port}"));
    let client = loop {
        match Client::connect(&endpoint, "", &[]).await {
            Ok(client) => break client,
            Err(NbdError::Unreachable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let read = client.read(512, 16).await.unwrap();
    assert_eq!(&read[..], [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 8]);
    assert!(matches!(client.block_status(0, 512).await, Err(NbdError::Invalid(_))));
    let _ = child.kill();
    let _ = child.wait();
}

#[tokio::test]
async fn a_server_error_fails_its_request_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--filter=error", "memory", "1M", "error-pread=ENOSPC", "error-pread-rate=100%"];
    let peer = Peer::nbdkit(directory.path(), &arguments);
    let client = peer.open(&[]).await.unwrap();
    let error = client.read(0, 512).await.unwrap_err();
    assert!(matches!(error, NbdError::Server { errno: Errno::NoSpace, .. }), "{error}");
    client.write(0, pattern(1, 512)).await.unwrap();
}

#[tokio::test]
async fn a_killed_server_fails_everyone_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let mut peer = Peer::nbdkit(directory.path(), &["--filter=delay", "memory", "1M", "rdelay=3600"]);
    let client = Arc::new(peer.open(&[]).await.unwrap());
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.read(0, 512).await })
        })
        .collect();
    // The writes are answered behind the reads, so by then the reads are in flight.
    client.write(0, pattern(1, 512)).await.unwrap();
    peer.child.kill().unwrap();
    for read in waiting {
        assert!(matches!(read.await.unwrap(), Err(NbdError::Lost(_))));
    }
    assert!(matches!(client.read(0, 512).await, Err(NbdError::Lost(_))));
}

#[tokio::test]
async fn an_export_that_is_not_there_is_refused_and_a_socket_that_is_not_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let image = qcow2(directory.path(), "1M");
    let peer = Peer::qemu(directory.path(), &image, &["-f", "qcow2", "-x", "here"]);
    let endpoint = Endpoint::Unix(peer.socket.clone());
    let error = Client::connect(&endpoint, "elsewhere", &["base:allocation"]).await.unwrap_err();
    assert!(matches!(error, NbdError::Refused(_)), "{error}");
    let endpoint = Endpoint::Unix(directory.path().join("nobody"));
    let error = Client::connect(&endpoint, "", &[]).await.unwrap_err();
    assert!(matches!(error, NbdError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn requests_that_make_no_sense_never_leave() {
    let directory = tempfile::tempdir().unwrap();
    let peer = Peer::nbdkit(directory.path(), &["memory", "1M"]);
    let client = peer.open(&["base:allocation"]).await.unwrap();
    for (offset, len) in [(0, 0), (MIB, 1), (u64::MAX, 2), (MIB - 1, 2), (0, u32::MAX)] {
        assert!(matches!(client.read(offset, len).await, Err(NbdError::Invalid(_))), "{offset}+{len}");
    }
}

//! Disks over NBD: a server's that is named by a URI, or one of our own over an image file (`qemu-nbd`).
//!
//! A server of ours ends with its last client, and is killed when this is dropped.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use host::{DiskExtent, DiskReader, DiskWriter, HostError};
use model::{ByteCount, Entropy, Extent};
use nbd::{Client, Endpoint, Errno, NbdError};
use percent_encoding::percent_decode_str;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use url::Url;

use crate::cli::failure::Failure;

const ALLOCATION: &str = "base:allocation";
/// In that context: reads as zeroes.
const ZERO: u32 = 2;
const PORT_DEFAULT: u16 = 10809;
/// How long a server may take to listen, or to end: it flushes on the way.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// An open export.
#[derive(Debug)]
pub(super) struct NbdDisk {
    client: Client,
}

impl NbdDisk {
    /// Opens what `nbd://host:port/export` or `nbd+unix:///export?socket=path` names.
    pub(super) async fn open(uri: &str) -> Result<Self, Failure> {
        let (endpoint, export) = parse(uri).map_err(Failure::Usage)?;
        let client = Client::connect(&endpoint, &export, &[ALLOCATION]).await;
        let client = client.map_err(|error| match error {
            NbdError::Unreachable(reason) => Failure::Unreachable { endpoint: uri.to_owned(), reason },
            other => Failure::Failed(other.to_string()),
        })?;
        Ok(Self { client })
    }

    pub(super) async fn close(&self) {
        self.client.close().await;
    }
}

/// Whether the text names an NBD server rather than a file.
pub(super) fn is_uri(text: &str) -> bool {
    text.starts_with("nbd") && text.contains("://")
}

fn parse(uri: &str) -> Result<(Endpoint, String), String> {
    let url = Url::parse(uri).map_err(|error| format!("not an NBD URI: {error}"))?;
    let export = url.path().strip_prefix('/').unwrap_or_default();
    let export = percent_decode_str(export).decode_utf8().map_err(|error| error.to_string())?.into_owned();
    match url.scheme() {
        "nbd" => {
            let host = url.host_str().filter(|host| !host.is_empty()).ok_or("the URI names no host")?;
            Ok((Endpoint::Tcp(format!("{host}:{}", url.port().unwrap_or(PORT_DEFAULT))), export))
        }
        "nbd+unix" => {
            let socket = url.query_pairs().find(|(name, _)| name == "socket");
            let (_, socket) = socket.ok_or("an nbd+unix URI ends in ?socket=PATH")?;
            Ok((Endpoint::Unix(PathBuf::from(socket.into_owned())), export))
        }
        other => Err(format!("{other} is not offered: use nbd or nbd+unix")),
    }
}

#[async_trait]
impl DiskReader for NbdDisk {
    fn size(&self) -> ByteCount {
        ByteCount(self.client.info().size)
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        let range = Extent { len: range.len.min(u64::from(nbd::MAX_STATUS_LEN)), ..range };
        if self.client.contexts().is_empty() {
            return Ok(vec![DiskExtent { extent: range, zero: false, changed: true }]);
        }
        let status = self.client.block_status(range.offset, length(range.len)?).await.map_err(failed)?;
        let told = status.iter().flat_map(|status| &status.extents);
        let mut at = range.offset;
        let mut extents = Vec::new();
        for one in told {
            // A server may tell more than was asked for.
            let len = one.len.min(range.end() - at);
            if len == 0 {
                break;
            }
            let extent = Extent { offset: at, len };
            extents.push(DiskExtent { extent, zero: one.flags & ZERO != 0, changed: true });
            at += len;
        }
        Ok(extents)
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let most = u64::from(self.client.info().payload_max);
        if range.len <= most {
            return self.client.read(range.offset, length(range.len)?).await.map_err(failed);
        }
        let mut whole = BytesMut::new();
        let mut at = range.offset;
        while at < range.end() {
            let len = most.min(range.end() - at);
            whole.extend_from_slice(&self.client.read(at, length(len)?).await.map_err(failed)?);
            at += len;
        }
        Ok(whole.freeze())
    }
}

#[async_trait]
impl DiskWriter for NbdDisk {
    async fn write(&self, offset: u64, mut bytes: Bytes) -> Result<(), HostError> {
        let most = self.client.info().payload_max as usize;
        let mut at = offset;
        while !bytes.is_empty() {
            let part = bytes.split_to(most.min(bytes.len()));
            let len = part.len() as u64;
            self.client.write(at, part).await.map_err(failed)?;
            at += len;
        }
        Ok(())
    }

    async fn finish(&self) -> Result<(), HostError> {
        self.client.flush().await.map_err(failed)
    }
}

fn length(len: u64) -> Result<u32, HostError> {
    u32::try_from(len).map_err(|_| HostError::Failed("request too long".to_owned()))
}

fn failed(error: NbdError) -> HostError {
    match error {
        NbdError::Server { errno: Errno::NoSpace, message } => HostError::NoSpace(message),
        other => HostError::Failed(other.to_string()),
    }
}

/// An image file, served to us alone.
#[derive(Debug)]
pub(super) struct ServedImage {
    child: Child,
    _folder: SocketFolder,
    socket: PathBuf,
}

impl ServedImage {
    /// Starts `qemu-nbd` on an image. Its format is said: QEMU must not guess what a guest has written.
    pub(super) async fn start(
        image: &Path,
        format: &str,
        writable: bool,
        entropy: &dyn Entropy,
    ) -> Result<Self, Failure> {
        // An absolute path begins with '/': QEMU cannot take it for a protocol or an option.
        let image = image
            .canonicalize()
            .map_err(|error| Failure::Usage(format!("cannot open {}: {error}", image.display())))?;
        let folder = SocketFolder::make(entropy)?;
        let socket = folder.0.join("nbd");
        let mut command = Command::new("qemu-nbd");
        command.args(["--shared=2", "--format", format, "--socket"]).arg(&socket);
        command.arg(if writable { "--cache=writeback" } else { "--read-only" }).arg(&image);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|error| Failure::Failed(format!("cannot run qemu-nbd (of qemu-utils): {error}")))?;
        Ok(Self { child, _folder: folder, socket })
    }

    /// Connects as soon as it listens. It ends when this connection does.
    pub(super) async fn open(&mut self) -> Result<NbdDisk, Failure> {
        let started = Instant::now();
        let endpoint = Endpoint::Unix(self.socket.clone());
        loop {
            let error = match Client::connect(&endpoint, "", &[ALLOCATION]).await {
                Ok(client) => return Ok(NbdDisk { client }),
                Err(error) => error,
            };
            if let Ok(Some(_)) = self.child.try_wait() {
                return Err(Failure::Failed(format!("qemu-nbd: {}", self.complaint().await)));
            }
            if started.elapsed() > PATIENCE || !matches!(error, NbdError::Unreachable(_)) {
                return Err(Failure::Failed(format!("qemu-nbd: {error}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn complaint(&mut self) -> String {
        let mut said = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(COMPLAINT_BYTES_MAX).read_to_end(&mut said).await;
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    /// Waits until it has let go of the image, once `disk` is closed: only then is the file whole.
    pub(super) async fn end(mut self, disk: &NbdDisk) -> Result<(), Failure> {
        disk.close().await;
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                Err(Failure::Failed(format!("qemu-nbd ended with {status}: {}", self.complaint().await)))
            }
            Ok(Err(error)) => Err(Failure::Failed(format!("qemu-nbd: {error}"))),
            Err(_) => Err(Failure::Failed("qemu-nbd does not end".to_owned())),
        }
    }
}

/// A folder that only we may enter, for one socket.
#[derive(Debug)]
struct SocketFolder(PathBuf);

impl SocketFolder {
    fn make(entropy: &dyn Entropy) -> Result<Self, Failure> {
        // Paths of sockets may not be long.
        let nonce: String = crate::edge::nonce(entropy).chars().take(16).collect();
        let path = std::env::temp_dir().join(format!("hikae-{nonce}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::Failed(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_a_server_and_an_export() {
        let tcp = |address: &str| Endpoint::Tcp(address.to_owned());
        assert_eq!(parse("nbd://127.0.0.1:99/a%20b"), Ok((tcp("127.0.0.1:99"), "a b".to_owned())));
        assert_eq!(parse("nbd://host"), Ok((tcp("host:10809"), String::new())));
        let unix = Endpoint::Unix("/run/a b".into());
        assert_eq!(parse("nbd+unix:///vda?socket=/run/a%20b"), Ok((unix, "vda".to_owned())));
        for uri in ["nbds://host/x", "nbd+unix:///x", "nbd:///x", "nbd"] {
            parse(uri).expect_err(uri);
        }
    }
}

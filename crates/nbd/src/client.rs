//! One connection to one export: a task that writes requests, a task that reads replies, and any
//! number of callers in between.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::error::NbdError;
use crate::handshake::{self, Opened};
use crate::pending::{Answer, Expect, Pending, Table};
use crate::proto::{self, ContextStatus, ExportInfo, ReplyHead, protocol};

/// A handshake is a few round trips; a server that takes longer is stuck.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);
/// Requests in flight on one connection. QEMU itself works on sixteen at a time.
const IN_FLIGHT_MAX: usize = 64;
const BUFFER: usize = 64 << 10;

/// Where an NBD server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    /// Host and port. There is no TLS: for loopback and trusted networks only.
    Tcp(String),
}

/// An open export. Share it behind an `Arc`; requests run side by side.
///
/// A caller that drops a request's future gives up the answer, not the request: a write may still
/// happen.
#[derive(Debug)]
pub struct Client {
    info: ExportInfo,
    contexts: Vec<String>,
    table: Arc<Table>,
    cookies: AtomicU64,
    slots: Semaphore,
    requests: mpsc::Sender<Request>,
    tasks: Mutex<Option<(JoinHandle<()>, JoinHandle<()>)>>,
}

#[derive(Debug)]
enum Request {
    Send { head: [u8; 28], payload: Bytes },
    Disconnect,
}

impl Client {
    /// Opens `export`, asking for these meta contexts; [`Client::contexts`] says which were granted.
    pub async fn connect(endpoint: &Endpoint, export: &str, contexts: &[&str]) -> Result<Self, NbdError> {
        let unreachable = |error: std::io::Error| NbdError::Unreachable(error.to_string());
        match endpoint {
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                let (reader, writer) = stream.into_split();
                Self::over(reader, writer, export, contexts).await
            }
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                // Small requests wait for nobody.
                stream.set_nodelay(true).map_err(unreachable)?;
                let (reader, writer) = stream.into_split();
                Self::over(reader, writer, export, contexts).await
            }
        }
    }

    /// Opens `export` over a connection that stands already.
    pub async fn over<R, W>(reader: R, writer: W, export: &str, contexts: &[&str]) -> Result<Self, NbdError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let mut reader = BufReader::with_capacity(BUFFER, reader);
        let mut writer = BufWriter::with_capacity(BUFFER, writer);
        let handshake = handshake::open(&mut reader, &mut writer, export, contexts);
        let opened = tokio::time::timeout(HANDSHAKE_MAX, handshake)
            .await
            .map_err(|_| NbdError::Unreachable("the handshake took too long".into()))??;
        let table = Arc::new(Table::default());
        let (requests, queue) = mpsc::channel(IN_FLIGHT_MAX);
        let Opened { info, structured, contexts } = opened;
        let (ids, names): (Vec<_>, Vec<_>) = contexts.into_iter().unzip();
        let writing = tokio::spawn(write_requests(writer, queue, Arc::clone(&table)));
        let reading = tokio::spawn(read_replies(reader, Arc::clone(&table), Replies { structured, ids }));
        Ok(Self {
            info,
            contexts: names,
            table,
            cookies: AtomicU64::new(1),
            slots: Semaphore::new(IN_FLIGHT_MAX),
            requests,
            tasks: Mutex::new(Some((writing, reading))),
        })
    }

    pub fn info(&self) -> &ExportInfo {
        &self.info
    }

    /// The meta contexts granted, in the order they were asked for.
    pub fn contexts(&self) -> &[String] {
        &self.contexts
    }

    /// Exactly `len` bytes.
    pub async fn read(&self, offset: u64, len: u32) -> Result<Bytes, NbdError> {
        self.check(offset, len, self.info.payload_max)?;
        match self.ask(proto::CMD_READ, offset, len, Bytes::new(), Expect::Data { offset, len }).await? {
            Answer::Data(data) => Ok(data),
            Answer::Ack | Answer::Status(_) => Err(protocol("not what a read gets")),
        }
    }

    pub async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), NbdError> {
        let len = u32::try_from(bytes.len()).map_err(|_| NbdError::Invalid("write too long".into()))?;
        self.check_write(offset, len, self.info.payload_max)?;
        self.ask(proto::CMD_WRITE, offset, len, bytes, Expect::Ack).await.map(drop)
    }

    /// Makes a range read as zeroes; punches a hole where the server can.
    pub async fn write_zeroes(&self, offset: u64, len: u32) -> Result<(), NbdError> {
        if !self.info.can_write_zeroes() {
            return Err(NbdError::Invalid("the server does not write zeroes".into()));
        }
        self.check_write(offset, len, u32::MAX)?;
        self.ask(proto::CMD_WRITE_ZEROES, offset, len, Bytes::new(), Expect::Ack).await.map(drop)
    }

    /// Says that a range is of no use any more. What it reads as afterwards is the server's choice.
    pub async fn trim(&self, offset: u64, len: u32) -> Result<(), NbdError> {
        if !self.info.can_trim() {
            return Err(NbdError::Invalid("the server does not trim".into()));
        }
        self.check_write(offset, len, u32::MAX)?;
        self.ask(proto::CMD_TRIM, offset, len, Bytes::new(), Expect::Ack).await.map(drop)
    }

    /// What each granted context says of a range, from `offset` on; each may stop early.
    pub async fn block_status(&self, offset: u64, len: u32) -> Result<Vec<ContextStatus>, NbdError> {
        if self.contexts.is_empty() {
            return Err(NbdError::Invalid("no meta context was granted".into()));
        }
        self.check(offset, len, proto::MAX_STATUS_LEN)?;
        let expect = Expect::Status { len };
        match self.ask(proto::CMD_BLOCK_STATUS, offset, len, Bytes::new(), expect).await? {
            Answer::Status(status) => Ok(status),
            Answer::Ack | Answer::Data(_) => Err(protocol("not what block status gets")),
        }
    }

    /// Everything written so far is durable. A server that cannot flush writes through.
    pub async fn flush(&self) -> Result<(), NbdError> {
        if !self.info.can_flush() {
            return Ok(());
        }
        self.ask(proto::CMD_FLUSH, 0, 0, Bytes::new(), Expect::Ack).await.map(drop)
    }

    /// Says goodbye and waits until the connection is down. Closing twice is fine.
    pub async fn close(&self) {
        let Some((writing, reading)) = self.tasks.lock().await.take() else { return };
        let _ = self.requests.send(Request::Disconnect).await;
        let _ = writing.await;
        // The server closes its side once it has answered what it had; a stuck one is left behind.
        let abort = reading.abort_handle();
        if tokio::time::timeout(HANDSHAKE_MAX, reading).await.is_err() {
            abort.abort();
        }
        self.table.fail(&NbdError::Lost("closed".into()));
    }

    fn check(&self, offset: u64, len: u32, max: u32) -> Result<(), NbdError> {
        let end = offset.checked_add(u64::from(len));
        if len == 0 || len > max || end.is_none_or(|end| end > self.info.size) {
            return Err(NbdError::Invalid(format!(
                "{len} bytes at {offset}, where {} bytes are and at most {max} go at once",
                self.info.size
            )));
        }
        let min = self.info.block_min;
        if !offset.is_multiple_of(u64::from(min)) || !len.is_multiple_of(min) {
            return Err(NbdError::Invalid(format!("{len} bytes at {offset}, in blocks of {min}")));
        }
        Ok(())
    }

    fn check_write(&self, offset: u64, len: u32, max: u32) -> Result<(), NbdError> {
        if self.info.read_only() {
            return Err(NbdError::Invalid("the export is read-only".into()));
        }
        self.check(offset, len, max)
    }

    async fn ask(
        &self,
        kind: u16,
        offset: u64,
        len: u32,
        payload: Bytes,
        expect: Expect,
    ) -> Result<Answer, NbdError> {
        let closed = || self.table.broken().unwrap_or_else(|| NbdError::Lost("closed".into()));
        let _slot = self.slots.acquire().await.map_err(|_| closed())?;
        let cookie = self.cookies.fetch_add(1, Ordering::Relaxed);
        let (pending, mut answer) = Pending::new(expect);
        self.table.insert(cookie, pending)?;
        let head = proto::request(kind, cookie, offset, len);
        // A broken connection fails the answer even while a stuck peer keeps the queue full.
        tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(|_| closed())?,
            sent = self.requests.send(Request::Send { head, payload }) => {
                if sent.is_err() {
                    self.table.take(cookie);
                    return Err(closed());
                }
            }
        }
        answer.await.map_err(|_| closed())?
    }
}

async fn write_requests<W: AsyncWrite + Unpin>(
    mut writer: BufWriter<W>,
    mut queue: mpsc::Receiver<Request>,
    table: Arc<Table>,
) {
    let result: std::io::Result<()> = async {
        while let Some(Request::Send { head, payload }) = queue.recv().await {
            writer.write_all(&head).await?;
            writer.write_all(&payload).await?;
            // Requests that wait already go out in the same packet.
            if queue.is_empty() {
                writer.flush().await?;
            }
        }
        writer.write_all(&proto::request(proto::CMD_DISCONNECT, 0, 0, 0)).await?;
        writer.shutdown().await
    }
    .await;
    if let Err(error) = result {
        table.fail(&NbdError::Lost(error.to_string()));
    }
}

/// What the reader needs to know to read replies.
#[derive(Debug)]
struct Replies {
    structured: bool,
    /// The server's numbers of the granted contexts.
    ids: Vec<u32>,
}

async fn read_replies<R: AsyncRead + Unpin>(mut reader: BufReader<R>, table: Arc<Table>, replies: Replies) {
    let error = loop {
        if let Err(error) = replies.read_one(&mut reader, &table).await {
            break error;
        }
    };
    table.fail(&error);
}

impl Replies {
    async fn read_one<R: AsyncRead + Unpin>(&self, reader: &mut R, table: &Table) -> Result<(), NbdError> {
        match self.read_head(reader).await? {
            ReplyHead::Simple { errno, cookie } => {
                let mut pending = take(table, cookie)?;
                match pending.expect {
                    _ if errno != 0 => {
                        pending.add_error(NbdError::Server { errno: errno.into(), message: String::new() });
                    }
                    Expect::Ack => {}
                    Expect::Data { offset, len } if !self.structured => {
                        reader.read_exact(pending.place(offset, len.into())?).await.map_err(lost)?;
                    }
                    Expect::Data { .. } | Expect::Status { .. } => {
                        return Err(protocol("a simple reply where a structured one is due"));
                    }
                }
                pending.finish(self.ids.len())
            }
            ReplyHead::Chunk { done, kind, cookie, len } => {
                let mut pending = take(table, cookie)?;
                self.read_chunk(reader, &mut pending, kind, len).await?;
                if done {
                    return pending.finish(self.ids.len());
                }
                table.put_back(cookie, pending);
                Ok(())
            }
        }
    }

    async fn read_head<R: AsyncRead + Unpin>(&self, reader: &mut R) -> Result<ReplyHead, NbdError> {
        match reader.read_u32().await.map_err(lost)? {
            proto::SIMPLE_MAGIC => {
                let mut rest = [0; 12];
                reader.read_exact(&mut rest).await.map_err(lost)?;
                Ok(proto::simple_head(&rest))
            }
            proto::CHUNK_MAGIC if self.structured => {
                let mut rest = [0; 16];
                reader.read_exact(&mut rest).await.map_err(lost)?;
                Ok(proto::chunk_head(&rest))
            }
            _ => Err(protocol("not a reply")),
        }
    }

    async fn read_chunk<R: AsyncRead + Unpin>(
        &self,
        reader: &mut R,
        pending: &mut Pending,
        kind: u16,
        len: u32,
    ) -> Result<(), NbdError> {
        match kind {
            proto::CHUNK_NONE if len == 0 => Ok(()),
            proto::CHUNK_DATA if len > 8 => {
                let offset = reader.read_u64().await.map_err(lost)?;
                let place = pending.place(offset, u64::from(len - 8))?;
                reader.read_exact(place).await.map_err(lost).map(drop)
            }
            proto::CHUNK_HOLE if len == 12 => {
                let offset = reader.read_u64().await.map_err(lost)?;
                let hole = reader.read_u32().await.map_err(lost)?;
                pending.place(offset, hole.into()).map(drop)
            }
            proto::CHUNK_STATUS if len <= proto::STATUS_PAYLOAD_MAX => {
                let Expect::Status { len: asked } = pending.expect else {
                    return Err(protocol("block status nobody asked for"));
                };
                let payload = payload(reader, len).await?;
                let (id, extents) = proto::status_chunk(&payload, asked.into())?;
                let context = self.ids.iter().position(|known| *known == id);
                pending.add_status(context.ok_or_else(|| protocol("block status of no context"))?, extents)
            }
            _ if proto::is_error_chunk(kind) && len <= proto::ERROR_PAYLOAD_MAX => {
                let payload = payload(reader, len).await?;
                pending.add_error(proto::error_chunk(payload.chunk())?);
                Ok(())
            }
            _ => Err(protocol(format!("chunk of type {kind:#x} and length {len}"))),
        }
    }
}

fn take(table: &Table, cookie: u64) -> Result<Pending, NbdError> {
    table.take(cookie).ok_or_else(|| protocol("an answer to no request"))
}

async fn payload<R: AsyncRead + Unpin>(reader: &mut R, len: u32) -> Result<Bytes, NbdError> {
    let mut payload = BytesMut::zeroed(len as usize);
    reader.read_exact(&mut payload).await.map_err(lost)?;
    Ok(payload.freeze())
}

fn lost(error: std::io::Error) -> NbdError {
    NbdError::Lost(error.to_string())
}

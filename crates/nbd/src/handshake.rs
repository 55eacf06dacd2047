//! The newstyle handshake: from a fresh connection to an export that is open.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::NbdError;
use crate::proto::{self, ExportInfo, Infos, protocol};

/// No server sends nearly this many replies to one option; a hostile one is cut off.
const REPLIES_MAX: usize = 256;
const CONTEXTS_MAX: usize = 16;

/// What the handshake settled.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) info: ExportInfo,
    pub(crate) structured: bool,
    /// The contexts granted: the server's number and the name, in the order they were asked for.
    pub(crate) contexts: Vec<(u32, String)>,
}

struct OptionReply {
    kind: u32,
    data: Bytes,
}

pub(crate) async fn open<R, W>(
    reader: &mut R,
    writer: &mut W,
    export: &str,
    contexts: &[&str],
) -> Result<Opened, NbdError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    greet(reader, writer).await?;
    let structured = ask_structured(reader, writer).await?;
    let granted = if structured && !contexts.is_empty() {
        ask_contexts(reader, writer, export, contexts).await?
    } else {
        Vec::new()
    };
    let info = go(reader, writer, export).await?;
    Ok(Opened { info, structured, contexts: granted })
}

async fn greet<R, W>(reader: &mut R, writer: &mut W) -> Result<(), NbdError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if reader.read_u64().await.map_err(lost)? != proto::INIT_MAGIC
        || reader.read_u64().await.map_err(lost)? != proto::OPTION_MAGIC
    {
        return Err(protocol("this is no newstyle NBD server"));
    }
    let flags = reader.read_u16().await.map_err(lost)?;
    if flags & proto::FIXED_NEWSTYLE == 0 {
        return Err(protocol("the server does not speak fixed newstyle"));
    }
    let ours = u32::from(flags & (proto::FIXED_NEWSTYLE | proto::NO_ZEROES));
    writer.write_u32(ours).await.map_err(lost)
}

async fn ask_structured<R, W>(reader: &mut R, writer: &mut W) -> Result<bool, NbdError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    send(writer, proto::OPT_STRUCTURED_REPLY, &[]).await?;
    match receive(reader, proto::OPT_STRUCTURED_REPLY).await? {
        OptionReply { kind: proto::REP_ACK, .. } => Ok(true),
        // A server that insists on TLS says so here, and to every other option too.
        reply if reply.kind == proto::REP_ERR_TLS_REQUIRED => Err(refusal(&reply)),
        reply if reply.kind & proto::REP_ERROR != 0 => Ok(false),
        reply => Err(protocol(format!("unexpected reply {:#x} to structured replies", reply.kind))),
    }
}

async fn ask_contexts<R, W>(
    reader: &mut R,
    writer: &mut W,
    export: &str,
    contexts: &[&str],
) -> Result<Vec<(u32, String)>, NbdError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if contexts.len() > CONTEXTS_MAX {
        return Err(NbdError::Invalid("too many meta contexts".into()));
    }
    let mut data = BytesMut::new();
    proto::put_name(&mut data, export)?;
    data.put_u32(u32::try_from(contexts.len()).unwrap_or(u32::MAX));
    for context in contexts {
        proto::put_name(&mut data, context)?;
    }
    send(writer, proto::OPT_SET_META_CONTEXT, &data).await?;

    let mut granted: Vec<(u32, String)> = Vec::new();
    loop {
        let reply = receive(reader, proto::OPT_SET_META_CONTEXT).await?;
        match reply.kind {
            proto::REP_ACK => break,
            proto::REP_META_CONTEXT => {
                let (id, name) = proto::meta_context(&reply.data)?;
                if !contexts.contains(&name.as_str()) {
                    return Err(protocol("a meta context nobody asked for"));
                }
                if granted.iter().any(|(other, known)| *other == id || *known == name) {
                    return Err(protocol("the same meta context twice"));
                }
                granted.push((id, name));
            }
            proto::REP_ERR_UNSUPPORTED => break,
            kind if kind & proto::REP_ERROR != 0 => return Err(refusal(&reply)),
            kind => return Err(protocol(format!("unexpected reply {kind:#x} to meta contexts"))),
        }
    }
    granted.sort_by_key(|(_, name)| contexts.iter().position(|asked| asked == name));
    Ok(granted)
}

async fn go<R, W>(reader: &mut R, writer: &mut W, export: &str) -> Result<ExportInfo, NbdError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut data = BytesMut::new();
    proto::put_name(&mut data, export)?;
    data.put_u16(1);
    data.put_u16(proto::INFO_BLOCK_SIZE);
    send(writer, proto::OPT_GO, &data).await?;
    let mut infos = Infos::default();
    for _ in 0..REPLIES_MAX {
        let reply = receive(reader, proto::OPT_GO).await?;
        match reply.kind {
            proto::REP_ACK => return infos.finish(),
            proto::REP_INFO => infos.take(&reply.data)?,
            kind if kind & proto::REP_ERROR != 0 => {
                // The server keeps listening for options: say goodbye rather than just go.
                let _ = send(writer, proto::OPT_ABORT, &[]).await;
                return Err(refusal(&reply));
            }
            kind => return Err(protocol(format!("unexpected reply {kind:#x} to go"))),
        }
    }
    Err(protocol("endless replies to go"))
}

async fn send<W: AsyncWrite + Unpin>(writer: &mut W, kind: u32, data: &[u8]) -> Result<(), NbdError> {
    writer.write_all(&proto::option(kind, data)?).await.map_err(lost)?;
    writer.flush().await.map_err(lost)
}

async fn receive<R: AsyncRead + Unpin>(reader: &mut R, option: u32) -> Result<OptionReply, NbdError> {
    if reader.read_u64().await.map_err(lost)? != proto::OPTION_REPLY_MAGIC {
        return Err(protocol("not an option reply"));
    }
    if reader.read_u32().await.map_err(lost)? != option {
        return Err(protocol("reply to an option nobody sent"));
    }
    let kind = reader.read_u32().await.map_err(lost)?;
    let len = reader.read_u32().await.map_err(lost)?;
    if len > proto::OPTION_REPLY_MAX {
        return Err(protocol("option reply too long"));
    }
    let mut data = BytesMut::zeroed(len as usize);
    reader.read_exact(&mut data).await.map_err(lost)?;
    Ok(OptionReply { kind, data: data.freeze() })
}

fn refusal(reply: &OptionReply) -> NbdError {
    let said = proto::shown(&reply.data);
    let why = match reply.kind {
        proto::REP_ERR_UNKNOWN => "no such export",
        proto::REP_ERR_TLS_REQUIRED => "it demands TLS",
        _ => "it does not allow this",
    };
    NbdError::Refused(if said.is_empty() { why.to_owned() } else { format!("{why}: {said}") })
}

fn lost(error: std::io::Error) -> NbdError {
    NbdError::Lost(error.to_string())
}

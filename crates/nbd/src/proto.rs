//! The bytes of the protocol: numbers, limits, and decoders that take nothing on trust.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::{Errno, NbdError};

pub(crate) const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
pub(crate) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
pub(crate) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(crate) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(crate) const SIMPLE_MAGIC: u32 = 0x6744_6698;
pub(crate) const CHUNK_MAGIC: u32 = 0x668e_33ef;

pub(crate) const FIXED_NEWSTYLE: u16 = 1;
pub(crate) const NO_ZEROES: u16 = 2;

pub(crate) const OPT_ABORT: u32 = 2;
pub(crate) const OPT_GO: u32 = 7;
pub(crate) const OPT_STRUCTURED_REPLY: u32 = 8;
pub(crate) const OPT_SET_META_CONTEXT: u32 = 10;

pub(crate) const REP_ACK: u32 = 1;
pub(crate) const REP_INFO: u32 = 3;
pub(crate) const REP_META_CONTEXT: u32 = 4;
pub(crate) const REP_ERROR: u32 = 1 << 31;
pub(crate) const REP_ERR_UNSUPPORTED: u32 = REP_ERROR | 1;
pub(crate) const REP_ERR_TLS_REQUIRED: u32 = REP_ERROR | 5;
pub(crate) const REP_ERR_UNKNOWN: u32 = REP_ERROR | 6;

const INFO_EXPORT: u16 = 0;
pub(crate) const INFO_BLOCK_SIZE: u16 = 3;

pub(crate) const CMD_READ: u16 = 0;
pub(crate) const CMD_WRITE: u16 = 1;
pub(crate) const CMD_DISCONNECT: u16 = 2;
pub(crate) const CMD_FLUSH: u16 = 3;
pub(crate) const CMD_TRIM: u16 = 4;
pub(crate) const CMD_WRITE_ZEROES: u16 = 6;
pub(crate) const CMD_BLOCK_STATUS: u16 = 7;

pub(crate) const CHUNK_DONE: u16 = 1;
pub(crate) const CHUNK_NONE: u16 = 0;
pub(crate) const CHUNK_DATA: u16 = 1;
pub(crate) const CHUNK_HOLE: u16 = 2;
pub(crate) const CHUNK_STATUS: u16 = 5;
const CHUNK_ERROR_BIT: u16 = 1 << 15;

/// The most bytes one read or write carries. QEMU closes the connection above 32 MiB.
pub const MAX_PAYLOAD: u32 = 32 << 20;
/// The most bytes one question for block status covers: replies count in 32 bits.
pub const MAX_STATUS_LEN: u32 = 1 << 30;
/// QEMU sends at most 1 MiB of descriptors; nbdkit fewer.
pub(crate) const STATUS_PAYLOAD_MAX: u32 = 4 + (1 << 20);
pub(crate) const ERROR_PAYLOAD_MAX: u32 = 16 << 10;
pub(crate) const OPTION_REPLY_MAX: u32 = 64 << 10;
/// Names longer than this are not allowed on the wire.
pub(crate) const NAME_MAX: usize = 4096;

/// What the server says of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportInfo {
    pub size: u64,
    pub flags: u16,
    /// Requests are multiples of this.
    pub block_min: u32,
    pub block_preferred: u32,
    /// The most bytes one read or write may carry: the server's limit or [`MAX_PAYLOAD`].
    pub payload_max: u32,
}

impl ExportInfo {
    pub const fn read_only(&self) -> bool {
        self.flags & 2 != 0
    }
    pub const fn can_flush(&self) -> bool {
        self.flags & 4 != 0
    }
    pub const fn can_trim(&self) -> bool {
        self.flags & 32 != 0
    }
    pub const fn can_write_zeroes(&self) -> bool {
        self.flags & 64 != 0
    }
    /// Several connections see one and the same disk, writes and flushes included.
    pub const fn can_multi_conn(&self) -> bool {
        self.flags & 256 != 0
    }
}

/// What one meta context says of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextStatus {
    /// Index into the contexts the client was granted.
    pub context: usize,
    /// In order and without gaps from the offset that was asked; may stop early, never before one.
    pub extents: Vec<StatusExtent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusExtent {
    pub len: u64,
    /// Meaning is the context's own.
    pub flags: u32,
}

/// A reply's head, simple or structured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyHead {
    Simple { errno: u32, cookie: u64 },
    Chunk { done: bool, kind: u16, cookie: u64, len: u32 },
}

pub(crate) fn request(kind: u16, cookie: u64, offset: u64, len: u32) -> [u8; 28] {
    let mut head = [0; 28];
    let mut out = &mut head[..];
    out.put_u32(REQUEST_MAGIC);
    out.put_u16(0);
    out.put_u16(kind);
    out.put_u64(cookie);
    out.put_u64(offset);
    out.put_u32(len);
    head
}

pub(crate) fn option(kind: u32, data: &[u8]) -> Result<Bytes, NbdError> {
    let len = u32::try_from(data.len()).map_err(|_| NbdError::Invalid("option too long".into()))?;
    let mut out = BytesMut::with_capacity(16 + data.len());
    out.put_u64(OPTION_MAGIC);
    out.put_u32(kind);
    out.put_u32(len);
    out.put_slice(data);
    Ok(out.freeze())
}

/// Appends a name with its length before it.
pub(crate) fn put_name(out: &mut BytesMut, name: &str) -> Result<(), NbdError> {
    if name.len() > NAME_MAX {
        return Err(NbdError::Invalid("name too long".into()));
    }
    out.put_u32(u32::try_from(name.len()).unwrap_or(u32::MAX));
    out.put_slice(name.as_bytes());
    Ok(())
}

pub(crate) fn protocol(what: impl Into<String>) -> NbdError {
    NbdError::Protocol(what.into())
}

/// Bytes of a peer as text for a message: short, and without control characters.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|letter| !letter.is_control()).take(256).collect()
}

/// The pieces of [`ExportInfo`], which servers send in either order.
#[derive(Debug, Default)]
pub(crate) struct Infos {
    export: Option<(u64, u16)>,
    sizes: Option<(u32, u32, u32)>,
}

impl Infos {
    /// Takes one `NBD_REP_INFO`; kinds we did not ask for are skipped.
    pub(crate) fn take(&mut self, mut data: &[u8]) -> Result<(), NbdError> {
        if data.len() < 2 {
            return Err(protocol("information without a type"));
        }
        match data.get_u16() {
            INFO_EXPORT => {
                if data.len() != 10 || self.export.is_some() {
                    return Err(protocol("malformed export information"));
                }
                let (size, flags) = (data.get_u64(), data.get_u16());
                if size > i64::MAX.unsigned_abs() {
                    return Err(protocol("export of impossible size"));
                }
                self.export = Some((size, flags));
            }
            INFO_BLOCK_SIZE => {
                if data.len() != 12 {
                    return Err(protocol("malformed block sizes"));
                }
                let (min, preferred, max) = (data.get_u32(), data.get_u32(), data.get_u32());
                let sane = min.is_power_of_two() && min <= 64 << 10 && max >= min && preferred >= min;
                if !sane {
                    return Err(protocol(format!("impossible block sizes {min}/{preferred}/{max}")));
                }
                self.sizes = Some((min, preferred, max));
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<ExportInfo, NbdError> {
        let (size, flags) = self.export.ok_or_else(|| protocol("no word about the export"))?;
        let (block_min, block_preferred, max) = self.sizes.unwrap_or((1, 4096, MAX_PAYLOAD));
        let payload_max = max.min(MAX_PAYLOAD) / block_min * block_min;
        Ok(ExportInfo { size, flags, block_min, block_preferred, payload_max })
    }
}

/// Splits an `NBD_REP_META_CONTEXT` into the server's number and the name.
pub(crate) fn meta_context(mut data: &[u8]) -> Result<(u32, String), NbdError> {
    if data.len() < 4 || data.len() > 4 + NAME_MAX {
        return Err(protocol("malformed meta context"));
    }
    let id = data.get_u32();
    let name = std::str::from_utf8(data).map_err(|_| protocol("meta context name is not text"))?;
    Ok((id, name.to_owned()))
}

/// Reads the rest of a reply's head after its magic: 12 more bytes if simple, 16 if structured.
pub(crate) fn simple_head(rest: &[u8; 12]) -> ReplyHead {
    let rest: &mut &[u8] = &mut &rest[..];
    ReplyHead::Simple { errno: rest.get_u32(), cookie: rest.get_u64() }
}

pub(crate) fn chunk_head(rest: &[u8; 16]) -> ReplyHead {
    let rest: &mut &[u8] = &mut &rest[..];
    let (flags, kind) = (rest.get_u16(), rest.get_u16());
    ReplyHead::Chunk { done: flags & CHUNK_DONE != 0, kind, cookie: rest.get_u64(), len: rest.get_u32() }
}

pub(crate) const fn is_error_chunk(kind: u16) -> bool {
    kind & CHUNK_ERROR_BIT != 0
}

/// The error of an error chunk. Chunk types we do not know are errors all the same.
pub(crate) fn error_chunk(mut payload: &[u8]) -> Result<NbdError, NbdError> {
    if payload.len() < 6 {
        return Err(protocol("error without a number"));
    }
    let errno = Errno::from(payload.get_u32());
    let len = usize::from(payload.get_u16());
    let message = payload.get(..len).ok_or_else(|| protocol("error text longer than its chunk"))?;
    Ok(NbdError::Server { errno, message: shown(message) })
}

/// The context number and the extents of a block status chunk, cut to `asked` bytes.
pub(crate) fn status_chunk(mut payload: &[u8], asked: u64) -> Result<(u32, Vec<StatusExtent>), NbdError> {
    if payload.len() < 12 || !(payload.len() - 4).is_multiple_of(8) {
        return Err(protocol("malformed block status"));
    }
    let context = payload.get_u32();
    let mut extents = Vec::with_capacity(payload.len() / 8);
    let mut left = asked;
    while payload.has_remaining() {
        let (len, flags) = (u64::from(payload.get_u32()), payload.get_u32());
        if len == 0 {
            return Err(protocol("empty extent"));
        }
        // Only the last extent may reach past what was asked.
        if left == 0 {
            return Err(protocol("extents past the range asked for"));
        }
        let len = len.min(left);
        left -= len;
        extents.push(StatusExtent { len, flags });
    }
    Ok((context, extents))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn extents_are_cut_to_what_was_asked() {
        let mut payload = BytesMut::new();
        payload.put_u32(9);
        payload.put_u32(100);
        payload.put_u32(3);
        payload.put_u32(u32::MAX);
        payload.put_u32(0);
        let (context, extents) = status_chunk(&payload, 150).unwrap();
        assert_eq!(context, 9);
        assert_eq!(extents, [StatusExtent { len: 100, flags: 3 }, StatusExtent { len: 50, flags: 0 }]);
    }

    #[test]
    fn an_error_text_cannot_reach_past_its_chunk() {
        let payload = [0, 0, 0, 28, 0, 9, b'f', b'u', b'l', b'l'];
        assert!(matches!(error_chunk(&payload), Err(NbdError::Protocol(_))));
        let payload = [0, 0, 0, 28, 0, 4, b'f', b'u', b'\n', b'l'];
        let error = error_chunk(&payload).unwrap();
        assert_eq!(error, NbdError::Server { errno: Errno::NoSpace, message: "ful".into() });
    }

    #[test]
    fn block_sizes_that_make_no_sense_are_refused() {
        for (min, preferred, max) in [(0, 0, 0), (3, 4096, 4096), (4096, 512, 1 << 20), (512, 4096, 100)] {
            let mut sizes = BytesMut::new();
            sizes.put_u16(3);
            sizes.put_u32(min);
            sizes.put_u32(preferred);
            sizes.put_u32(max);
            assert!(Infos::default().take(&sizes).is_err(), "{min}/{preferred}/{max}");
        }
    }

    proptest! {
        #[test]
        fn decoders_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64), asked: u32) {
            let _ = Infos::default().take(&bytes);
            let _ = meta_context(&bytes);
            let _ = error_chunk(&bytes);
            if let Ok((_, extents)) = status_chunk(&bytes, u64::from(asked)) {
                prop_assert!(extents.iter().map(|extent| extent.len).sum::<u64>() <= u64::from(asked));
            }
        }
    }
}

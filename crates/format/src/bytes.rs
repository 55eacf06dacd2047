//! Little-endian fields, one after another, with nothing implied and every length checked.

use crate::FormatError;

const CHECKSUM_LEN: usize = 32;

#[derive(Default)]
pub(crate) struct Encoder {
    out: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(magic: &[u8; 8], version: u16) -> Self {
        let mut encoder = Self::default();
        encoder.put(magic).u16(version);
        encoder
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }
    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_le_bytes())
    }
    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }
    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }
    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.put(&value.to_le_bytes())
    }
    pub(crate) fn u128(&mut self, value: u128) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// A length of 32 bits, then the bytes.
    ///
    /// # Panics
    /// When there are 4 GiB or more: callers hold far smaller limits.
    pub(crate) fn sized(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).put(bytes)
    }
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.sized(text.as_bytes())
    }

    /// How many of something follow.
    pub(crate) fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("counts of this format fit 32 bits"))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Appends the hash of all that went before, so that damage is told from a wrong key.
    pub(crate) fn finish_checked(mut self) -> Vec<u8> {
        let sum = blake3::hash(&self.out);
        self.put(sum.as_bytes());
        self.out
    }
}

pub(crate) struct Decoder<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// Checks magic and version; what follows is read in order.
    pub(crate) fn open(
        what: &'static str,
        magic: &[u8; 8],
        version: u16,
        bytes: &'a [u8],
    ) -> Result<Self, FormatError> {
        let mut decoder = Self::new(what, bytes);
        if decoder.array::<8>().map_err(|_| FormatError::NotOurs { what })? != *magic {
            return Err(FormatError::NotOurs { what });
        }
        match decoder.u16()? {
            found if found == version => Ok(decoder),
            0 => Err(decoder.damaged("version 0")),
            found if found > version => Err(FormatError::Newer { what, version: found }),
            _ => Err(decoder.damaged("a version that never was")),
        }
    }

    /// The same, after checking the hash that [`Encoder::finish_checked`] left at the end. Every
    /// version of a checked object ends so, or a flipped bit would look like the future.
    pub(crate) fn open_checked(
        what: &'static str,
        magic: &[u8; 8],
        version: u16,
        bytes: &'a [u8],
    ) -> Result<Self, FormatError> {
        if !bytes.starts_with(magic) {
            return Err(FormatError::NotOurs { what });
        }
        let split = bytes.len().checked_sub(CHECKSUM_LEN);
        let too_short = FormatError::Damaged { what, why: "too short" };
        let (body, sum) = split.map(|at| bytes.split_at(at)).ok_or(too_short)?;
        if blake3::hash(body).as_bytes() != sum {
            return Err(FormatError::Damaged { what, why: "its checksum does not match" });
        }
        Self::open(what, magic, version, body)
    }

    pub(crate) const fn damaged(&self, why: &'static str) -> FormatError {
        FormatError::Damaged { what: self.what, why }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(self.damaged("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(self.damaged("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }
    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_le_bytes(self.array()?))
    }
    pub(crate) fn u128(&mut self) -> Result<u128, FormatError> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    pub(crate) fn sized(&mut self, max: usize) -> Result<&'a [u8], FormatError> {
        let len = self.u32()? as usize;
        if len > max {
            return Err(self.damaged("a field longer than the format allows"));
        }
        self.bytes(len)
    }
    pub(crate) fn text(&mut self, max: usize) -> Result<String, FormatError> {
        let bytes = self.sized(max)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.damaged("text that is not UTF-8"))?;
        Ok(text.to_owned())
    }

    /// How many items of at least `item_len` bytes follow: never more than the input can hold.
    pub(crate) fn count(&mut self, max: usize, item_len: usize) -> Result<usize, FormatError> {
        let count = self.u32()? as usize;
        if count > max || count.saturating_mul(item_len) > self.rest.len() {
            return Err(self.damaged("more items than fit"));
        }
        Ok(count)
    }

    /// Nothing may follow what was read.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged("bytes after its end")) }
    }
}

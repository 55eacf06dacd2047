//! Fills packs with frames and uploads them.
//!
//! Frames are numbered when they are begun and laid down in that order, whichever thread is done
//! first. A pack's name is known only when it is closed: until then its chunks and nodes lie in
//! `PackName::SELF`.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use format::{
    FrameKind, HEADER_LEN, Inside, Link, Name, PackFooter, PackHeader, PackName, Place, Toc, TocFrame, terms,
};

use crate::cipher::{Effort, PackCipher, SlotKeys, Unopened};
use crate::known::Contents as KnownContents;
use crate::work::Work;
use crate::{Depot, DepotError};

/// Chunks by name.
pub(crate) type Contents = HashMap<Name, Link, BuildHasherDefault<NameHasher>>;

/// Names are keyed hashes, which nobody can choose: their first bits will do.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
    }

    /// Names are all of one length.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Memory of frames up to this length is kept and filled again: those of increments. Four whole disks at
/// once, with frames four times as long, would hold 140 MB by it.
const SPARE_LEN_MAX: usize = 1 << 20;

/// Writes the packs of one disk.
pub(crate) struct Packer<'a> {
    depot: &'a Depot,
    keys: Arc<SlotKeys>,
    epoch: u64,
    effort: Effort,
    open: Option<OpenPack>,
    /// Emptied frames, to be filled again: fresh memory costs a fault a page.
    spare: Vec<Vec<u8>>,
    uploads: VecDeque<Upload>,
    bytes_stored: u64,
}

struct OpenPack {
    cipher: Arc<PackCipher>,
    bytes: Vec<u8>,
    hasher: blake3::Hasher,
    toc: Toc,
    /// Frames laid down so far; those after them are on their way.
    landed: usize,
    flying: VecDeque<Work<Sealed>>,
}

/// A frame, and the memory it was sealed from.
struct Sealed {
    plain: Vec<u8>,
    sealed: Result<Vec<u8>, Unopened>,
}

struct Upload {
    contents: Arc<Contents>,
    work: Work<Result<(), DepotError>>,
}

impl<'a> Packer<'a> {
    /// Data is compressed with `effort`.
    pub(crate) fn new(depot: &'a Depot, keys: Arc<SlotKeys>, epoch: u64, effort: Effort) -> Self {
        let (uploads, spare) = (VecDeque::new(), Vec::new());
        Self { depot, keys, epoch, effort, open: None, spare, uploads, bytes_stored: 0 }
    }

    /// Memory for a frame of this length.
    pub(crate) fn empty_frame(&mut self, len: usize) -> Vec<u8> {
        self.spare.pop().filter(|spare| spare.capacity() >= len).unwrap_or_else(|| Vec::with_capacity(len))
    }

    pub(crate) const fn bytes_stored(&self) -> u64 {
        self.bytes_stored
    }

    /// The number the next frame will have.
    pub(crate) fn next_frame(&self) -> Result<u32, DepotError> {
        let count = self.open.as_ref().map_or(0, |open| open.toc.frames.len());
        u32::try_from(count).map_err(|_| DepotError::Internal("too many frames in a pack".to_owned()))
    }

    /// Begins a frame; the pack it goes to is the open one.
    pub(crate) async fn add(
        &mut self,
        kind: FrameKind,
        plain: Vec<u8>,
        inside: Vec<Inside>,
    ) -> Result<(), DepotError> {
        let number = self.next_frame()?;
        if self.open.is_none() {
            self.open = Some(OpenPack::new(&self.keys, self.depot)?);
        }
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let plain_len = narrow(plain.len())?;
        open.toc.frames.push(TocFrame { kind, offset: 0, sealed_len: 0, plain_len, inside });
        let effort = match kind {
            FrameKind::Data => self.effort,
            FrameKind::Tree | FrameKind::Toc => Effort::of_level(self.depot.settings.zstd_level),
        };
        let (cipher, beside) = (open.cipher.clone(), self.depot.settings.parallelism > 1);
        open.flying.push_back(Work::compute(beside, move || {
            let sealed = cipher.seal(number, kind, &plain, effort);
            // A frame waits for those before it: only small ones may keep their memory for so long.
            let plain = if plain.capacity() > SPARE_LEN_MAX { Vec::new() } else { plain };
            Sealed { plain, sealed }
        }));
        while open.flying.len() > self.depot.settings.frames() {
            self.spare.extend(open.land().await?);
        }
        Ok(())
    }

    /// Lays down all frames under way, so that [`Self::settle`] knows their places.
    pub(crate) async fn drain(&mut self) -> Result<(), DepotError> {
        if let Some(open) = self.open.as_mut() {
            while !open.flying.is_empty() {
                self.spare.extend(open.land().await?);
            }
        }
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.bytes.len() >= self.depot.settings.pack_len)
    }

    /// Fills in where a frame of the open pack was laid down.
    pub(crate) fn settle(&self, place: &mut Place) {
        if place.pack != PackName::SELF {
            return;
        }
        let frame = self.open.as_ref().and_then(|open| open.toc.frames.get(place.frame as usize));
        if let Some(frame) = frame {
            (place.offset, place.sealed_len, place.plain_len) =
                (frame.offset, frame.sealed_len, frame.plain_len);
        }
    }

    /// A chunk in a pack that is on its way.
    pub(crate) fn find(&self, name: Name) -> Option<Link> {
        self.uploads.iter().find_map(|upload| upload.contents.get(&name).copied())
    }

    /// Closes the open pack and starts its upload. `chunks` are the chunks in it, in places by
    /// `PackName::SELF`. Answers its name; none if there was no pack open.
    pub(crate) async fn close(&mut self, mut chunks: Contents) -> Result<Option<PackName>, DepotError> {
        self.drain().await?;
        for link in chunks.values_mut() {
            self.settle(&mut link.place);
        }
        let Some(open) = self.open.take() else { return Ok(None) };
        let (pack, bytes) = open.finish()?;
        for link in chunks.values_mut() {
            link.place.pack = pack;
        }
        self.bytes_stored += bytes.len() as u64;
        // Before the upload begins: whoever lists the pack must find it here.
        self.depot.fresh().insert(pack, self.depot.clock.now());
        while self.uploads.len() >= self.depot.settings.uploads() {
            self.landed_upload().await?;
        }
        let contents = Arc::new(chunks);
        // Taken here and not by the upload: who has no turn must not go on filling packs.
        let turn = self.depot.uploads.clone().acquire_owned().await;
        let turn = turn.map_err(|error| DepotError::Internal(error.to_string()))?;
        let (objects, learned) = (self.depot.objects.clone(), contents.clone());
        let (known, epoch) = (self.depot.known.clone(), self.epoch);
        let beside = self.depot.settings.parallelism > 1;
        let work = Work::start(beside, async move {
            objects.put_pack(pack, bytes).await?;
            drop(turn);
            known.learn(epoch, pack, KnownContents::of_links(learned.values().copied())).await;
            Ok(())
        });
        self.uploads.push_back(Upload { contents, work });
        if !beside {
            self.landed_upload().await?;
        }
        Ok(Some(pack))
    }

    async fn landed_upload(&mut self) -> Result<(), DepotError> {
        match self.uploads.pop_front() {
            Some(upload) => upload.work.wait().await?,
            None => Ok(()),
        }
    }

    /// Waits until every pack is durable.
    pub(crate) async fn finish(&mut self) -> Result<(), DepotError> {
        while !self.uploads.is_empty() {
            self.landed_upload().await?;
        }
        Ok(())
    }
}

impl OpenPack {
    fn new(keys: &SlotKeys, depot: &Depot) -> Result<Self, DepotError> {
        let header = PackHeader { depot: keys.depot, slot: keys.slot, salt: depot.salt() };
        let mut pack = Self {
            cipher: keys.pack(header.salt).map_err(refused)?,
            bytes: Vec::with_capacity(depot.settings.pack_len + depot.settings.pack_len / 4),
            hasher: blake3::Hasher::new(),
            toc: Toc::default(),
            landed: 0,
            flying: VecDeque::new(),
        };
        let header = header.encode();
        debug_assert_eq!(header.len(), HEADER_LEN);
        pack.append(&header);
        Ok(pack)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.hasher.update(bytes);
    }

    /// Lays down the next frame under way. What it was made from can be filled again.
    async fn land(&mut self) -> Result<Option<Vec<u8>>, DepotError> {
        let Some(work) = self.flying.pop_front() else { return Ok(None) };
        let Sealed { mut plain, sealed } = work.wait().await?;
        let sealed = sealed.map_err(refused)?;
        let (offset, sealed_len) = (narrow(self.bytes.len())?, narrow(sealed.len())?);
        if let Some(frame) = self.toc.frames.get_mut(self.landed) {
            (frame.offset, frame.sealed_len) = (offset, sealed_len);
        }
        self.landed += 1;
        self.append(&sealed);
        plain.clear();
        Ok(Some(plain).filter(|plain| plain.capacity() > 0))
    }

    fn finish(mut self) -> Result<(PackName, Bytes), DepotError> {
        assert!(self.flying.is_empty(), "a pack was closed with frames under way");
        let toc = self.toc.encode();
        let sealed =
            self.cipher.seal(terms::TOC_FRAME, FrameKind::Toc, &toc, Effort::of_level(1)).map_err(refused)?;
        let footer = PackFooter {
            toc_offset: narrow(self.bytes.len())?,
            toc_sealed_len: narrow(sealed.len())?,
            toc_plain_len: narrow(toc.len())?,
        };
        self.append(&sealed);
        self.append(&footer.encode());
        if self.bytes.len() > format::PACK_LEN_MAX {
            return Err(DepotError::Internal("a pack beyond the format's limit".to_owned()));
        }
        Ok((PackName(*self.hasher.finalize().as_bytes()), self.bytes.into()))
    }
}

fn refused(error: Unopened) -> DepotError {
    DepotError::Internal(error.0.to_owned())
}

pub(crate) fn narrow(len: usize) -> Result<u32, DepotError> {
    u32::try_from(len).map_err(|_| DepotError::Internal("a length beyond the format".to_owned()))
}

//! Every pack, read once: its bytes against its name and, with keys, each frame and each chunk in it.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use format::{
    FOOTER_LEN, FormatError, FrameKind, HEADER_LEN, PACK_LEN_MAX, PackFooter, PackHeader, PackName, Toc,
    TocFrame, path, terms,
};
use futures::StreamExt;
use model::DepotId;
use store::ObjectKey;
use tokio::sync::Semaphore;

use super::objects::Survey;
use super::tables::{Table, Tables};
use super::tell::Tell;
use crate::cipher::{PackCipher, SlotKeys};
use crate::depot::lock;
use crate::error::in_words;
use crate::objects::{Objects, key};
use crate::packer::narrow;
use crate::work::Work;
use crate::{Depot, DepotError, Settings};

/// Packs are read in pieces of whole frames, about as long as this.
const PIECE_LEN: u64 = 2 << 20;
/// Packs looked at together; of each one piece is in memory.
const AT_ONCE: usize = 8;
/// Read first, from a pack's end: nearly always with the whole table of contents in it.
const TAIL_LEN: u64 = 96 << 10;

pub(super) struct Packs<'a> {
    objects: &'a Objects,
    keyed: Option<&'a Depot>,
    /// As the header says; none if that is unreadable.
    depot: Option<DepotId>,
    parallelism: usize,
    turns: Semaphore,
    states: HashMap<PackName, State>,
    chunks: u64,
    tables: Mutex<Tables>,
}

/// What became of a pack when it was opened.
#[derive(Debug)]
pub(super) enum State {
    /// Its table of contents can be believed.
    Sound,
    /// So can it, but for these frames.
    Holes(HashSet<u32>),
    /// Nothing of it can be opened, and this is why.
    Lost(String),
    /// Frames may open, though the table does not.
    NoTable,
    /// Without keys, or without this one, nothing is known of what is in it.
    NoKey,
}

/// What one look at a pack brought.
struct Look {
    whats: Vec<String>,
    state: State,
    table: Option<Table>,
    chunks: u64,
}

impl<'a> Packs<'a> {
    pub(super) fn new(
        objects: &'a Objects,
        settings: &Settings,
        keyed: Option<&'a Depot>,
        depot: Option<DepotId>,
    ) -> Self {
        Self {
            objects,
            keyed,
            depot,
            parallelism: settings.parallelism,
            turns: Semaphore::new(settings.parallelism),
            states: HashMap::new(),
            chunks: 0,
            tables: Mutex::default(),
        }
    }

    pub(super) const fn chunks(&self) -> u64 {
        self.chunks
    }

    pub(super) async fn look(&mut self, survey: &mut Survey, tell: &mut Tell) -> Result<(), DepotError> {
        let listed: HashSet<PackName> = survey.packs.iter().map(|(pack, _)| *pack).collect();
        let width = if self.parallelism == 1 { 1 } else { AT_ONCE };
        let packs = std::mem::take(&mut survey.packs);
        let mut states = HashMap::with_capacity(packs.len());
        let mut chunks = 0;
        {
            let this = &*self;
            let listed = &listed;
            let looks = packs
                .iter()
                .map(|(pack, size)| async move { (*pack, *size, this.look_at(*pack, *size, listed).await) });
            let mut looks = futures::stream::iter(looks).buffered(width);
            while let Some((pack, size, look)) = looks.next().await {
                survey.done(size);
                // None: collected since the listing.
                let Some(look) = look? else { continue };
                for what in &look.whats {
                    tell.standing(&path::pack(pack), what);
                }
                chunks += look.chunks;
                states.insert(pack, look.state);
                if let Some(table) = look.table {
                    lock(&this.tables).put(pack, Arc::new(table));
                }
            }
        }
        (self.states, self.chunks) = (states, chunks);
        survey.packs = packs;
        Ok(())
    }

    async fn look_at(
        &self,
        pack: PackName,
        size: u64,
        listed: &HashSet<PackName>,
    ) -> Result<Option<Look>, DepotError> {
        if size > PACK_LEN_MAX as u64 {
            return Ok(Some(Look::broken(format!("{size} bytes, more than any pack has"), State::NoTable)));
        }
        let object = key(&path::pack(pack))?;
        match self.read_through(pack, &object, size).await {
            Ok(mut look) => {
                look.name_others(listed);
                Ok(Some(look))
            }
            Err(DepotError::Damaged { what, .. }) => match self.objects.size(&object).await? {
                None => Ok(None),
                // Something else than what was listed.
                Some(_) => Ok(Some(Look::broken(what, State::NoTable))),
            },
            Err(error) => Err(error),
        }
    }

    async fn read_through(&self, pack: PackName, object: &ObjectKey, size: u64) -> Result<Look, DepotError> {
        let mut object = Object { objects: self.objects, key: object, whole: None };
        if (1..=PIECE_LEN).contains(&size) {
            object.whole = Some(object.part(0..size).await?);
        }
        let header = match size < HEADER_LEN as u64 {
            true => None,
            false => {
                let bytes = object.part(0..HEADER_LEN as u64).await?;
                Some(PackHeader::decode(&bytes))
            }
        };
        let opener = self.opener(&header).await?;
        let toc = match &opener {
            Some(opener) => toc(opener, &object, size).await?.map(Some),
            None => Ok(None),
        };
        let (toc, mut look) = match toc {
            Ok(Some(toc)) => {
                let look = Look { table: Some(Table::of(&toc)), ..Look::default() };
                (toc, look)
            }
            Ok(None) => (Toc::default(), Look { state: State::NoKey, ..Look::default() }),
            Err(what) => (Toc::default(), Look::broken(what, State::NoTable)),
        };
        let mut hasher = blake3::Hasher::new();
        let mut holes: Vec<u32> = Vec::new();
        let mut end = Bytes::new();
        let all = toc.frames.len();
        for piece in pieces(toc, size) {
            let bytes = object.part(piece.range.clone()).await?;
            let turn = self.turns.acquire().await;
            let _turn = turn.map_err(|error| DepotError::Internal(error.to_string()))?;
            let (opener, whole) = (opener.clone(), bytes.clone());
            let looked = Work::compute(self.parallelism > 1, move || {
                hasher.update(&whole);
                let opened = opener.map(|opener| opener.open(&whole, &piece)).unwrap_or_default();
                (hasher, opened)
            });
            let (hashed, opened) = looked.wait().await?;
            hasher = hashed;
            look.chunks += opened.chunks;
            holes.extend(opened.holes);
            end = bytes.slice(bytes.len().saturating_sub(FOOTER_LEN)..);
        }
        if !holes.is_empty() {
            look.whats.push(holes_in_words(&holes, all));
            look.state = State::Holes(holes.into_iter().collect());
        }
        let named = PackName(*hasher.finalize().as_bytes());
        look.judge(&Outside {
            pack,
            named,
            size,
            header,
            end,
            depot: self.depot,
            keyed: self.keyed.is_some(),
        });
        Ok(look)
    }

    async fn opener(
        &self,
        header: &Option<Result<PackHeader, FormatError>>,
    ) -> Result<Option<Opener>, DepotError> {
        let (Some(depot), Some(Ok(header))) = (self.keyed, header) else { return Ok(None) };
        if header.depot != depot.id {
            return Ok(None);
        }
        match depot.slot_keys(header.slot).await {
            Ok(keys) => Ok(keys.pack(header.salt).ok().map(|cipher| Opener { cipher, keys })),
            // The slot's own finding, if it has a right to be there.
            Err(error) => error.damage().map(|_| None),
        }
    }

    /// What is known of a pack; none if it was not there.
    pub(super) fn state(&self, pack: PackName) -> Option<&State> {
        self.states.get(&pack)
    }

    /// The table of contents of a pack whose table was sound when it was looked at.
    pub(super) async fn table(
        &self,
        depot: &Depot,
        pack: PackName,
    ) -> Result<Option<Arc<Table>>, DepotError> {
        if let Some(table) = lock(&self.tables).get(pack) {
            return Ok(Some(table));
        }
        match read_table(depot, pack).await {
            Ok(table) => {
                let table = Arc::new(table);
                lock(&self.tables).put(pack, table.clone());
                Ok(Some(table))
            }
            // Gone or broken since: whoever asks looks at the frames themselves.
            Err(error) => error.damage().map(|_| None),
        }
    }
}

/// An object to be read in parts; a small one is read at once.
struct Object<'a> {
    objects: &'a Objects,
    key: &'a ObjectKey,
    whole: Option<Bytes>,
}

impl Object<'_> {
    async fn part(&self, range: Range<u64>) -> Result<Bytes, DepotError> {
        let (from, to) = (crate::read::usize_of(range.start), crate::read::usize_of(range.end));
        match &self.whole {
            Some(whole) => Ok(whole.slice(from..to)),
            None => self.objects.get_range(self.key, narrow(from)?, narrow(to - from)?).await,
        }
    }
}

/// The table of contents, or why there is none.
async fn toc(opener: &Opener, object: &Object<'_>, size: u64) -> Result<Result<Toc, String>, DepotError> {
    let from = size.saturating_sub(TAIL_LEN);
    let tail = object.part(from..size).await?;
    let footer = match PackFooter::decode(&tail[tail.len().saturating_sub(FOOTER_LEN)..], size) {
        Ok(footer) => footer,
        Err(error) => return Ok(Err(in_words(error))),
    };
    let (at, len) = (u64::from(footer.toc_offset), u64::from(footer.toc_sealed_len));
    let sealed = match at.checked_sub(from) {
        Some(skip) => {
            let skip = crate::read::usize_of(skip);
            tail.slice(skip..skip + footer.toc_sealed_len as usize)
        }
        None if len == 0 => Bytes::new(),
        None => object.part(at..at + len).await?,
    };
    Ok(open_toc(&opener.cipher, &sealed, &footer))
}

async fn read_table(depot: &Depot, pack: PackName) -> Result<Table, DepotError> {
    let key = key(&path::pack(pack))?;
    let damaged = |what: &str| DepotError::damaged(key.as_str(), what);
    let cipher = depot.pack_cipher(pack).await?;
    let size = depot.objects.size(&key).await?.ok_or_else(|| damaged("missing"))?;
    let end = u32::try_from(size).ok().and_then(|size| size.checked_sub(narrow(FOOTER_LEN).ok()?));
    let end = end.ok_or_else(|| damaged("its parts do not add up"))?;
    let bytes = depot.objects.get_range(&key, end, narrow(FOOTER_LEN)?).await?;
    let footer =
        PackFooter::decode(&bytes, size).map_err(|error| DepotError::unreadable(key.as_str(), error))?;
    let sealed = depot.objects.get_range(&key, footer.toc_offset, footer.toc_sealed_len).await?;
    let toc = open_toc(&cipher, &sealed, &footer).map_err(|what| damaged(&what))?;
    Ok(Table::of(&toc))
}

fn open_toc(cipher: &PackCipher, sealed: &[u8], footer: &PackFooter) -> Result<Toc, String> {
    let plain = cipher
        .open(terms::TOC_FRAME, FrameKind::Toc, sealed, footer.toc_plain_len as usize)
        .map_err(|_| "its table of contents does not open".to_owned())?;
    Toc::decode(&plain).map_err(in_words)
}

/// Opens what is in a pack.
#[derive(Clone)]
struct Opener {
    cipher: Arc<PackCipher>,
    keys: Arc<SlotKeys>,
}

/// What came of the frames of one piece.
#[derive(Default)]
struct Opened {
    chunks: u64,
    holes: Vec<u32>,
}

impl Opener {
    fn open(&self, bytes: &[u8], piece: &Piece) -> Opened {
        let mut opened = Opened::default();
        for (number, frame) in &piece.frames {
            match self.open_frame(bytes, piece.range.start, *number, frame) {
                true if frame.kind == FrameKind::Data => opened.chunks += frame.inside.len() as u64,
                true => {}
                false => opened.holes.push(*number),
            }
        }
        opened
    }

    /// The frame opens, and every chunk in it is what the table of contents says.
    fn open_frame(&self, bytes: &[u8], start: u64, number: u32, frame: &TocFrame) -> bool {
        let from = u64::from(frame.offset).checked_sub(start).map(crate::read::usize_of);
        let Some(sealed) = from.and_then(|from| bytes.get(from..from + frame.sealed_len as usize)) else {
            return false;
        };
        let Ok(plain) = self.cipher.open(number, frame.kind, sealed, frame.plain_len as usize) else {
            return false;
        };
        // A node's name takes its place in a tree to compute: the trees are walked later.
        let mut at = 0;
        frame.kind == FrameKind::Tree
            || frame.inside.iter().all(|item| {
                let chunk = &plain[at..at + item.len as usize];
                at += item.len as usize;
                self.keys.names.chunk(chunk) == item.name
            })
    }
}

/// Part of a pack, and the frames that lie wholly in it.
struct Piece {
    range: Range<u64>,
    frames: Vec<(u32, TocFrame)>,
}

/// Cuts a pack where frames end. A frame that does not lie where one can is in no range it can be
/// opened from, and so does not open.
fn pieces(toc: Toc, size: u64) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut open = Piece { range: 0..0, frames: Vec::new() };
    for (number, frame) in (0..).zip(toc.frames) {
        let end = (u64::from(frame.offset) + u64::from(frame.sealed_len)).min(size);
        if end > open.range.start + PIECE_LEN && open.range.end > open.range.start {
            let from = open.range.end;
            pieces.push(std::mem::replace(&mut open, Piece { range: from..from, frames: Vec::new() }));
        }
        open.range.end = open.range.end.max(end);
        open.frames.push((number, frame));
    }
    // What no frame covers: the table and the end, or, without a table, everything.
    while open.range.end < size {
        let end = (open.range.start + PIECE_LEN).max(open.range.end);
        // A last piece too short for the footer is none.
        let end = if end + FOOTER_LEN as u64 >= size { size } else { end };
        let rest = Piece { range: end..end, frames: Vec::new() };
        open.range.end = end;
        pieces.push(std::mem::replace(&mut open, rest));
    }
    match pieces.last_mut() {
        Some(last) if open.range.is_empty() => last.frames.append(&mut open.frames),
        _ if open.range.is_empty() => {}
        _ => pieces.push(open),
    }
    pieces
}

fn holes_in_words(holes: &[u32], frames: usize) -> String {
    let some: Vec<String> = holes.iter().take(8).map(u32::to_string).collect();
    let more = if holes.len() > some.len() { ", …" } else { "" };
    let (noun, verb) = if holes.len() == 1 { ("frame", "does") } else { ("frames", "do") };
    format!("{noun} {}{more} of {frames} {verb} not open", some.join(", "))
}

/// What can be seen of a pack without opening it.
struct Outside {
    pack: PackName,
    /// What its bytes hash to.
    named: PackName,
    size: u64,
    header: Option<Result<PackHeader, FormatError>>,
    /// Where its footer should be.
    end: Bytes,
    /// Whose it should be.
    depot: Option<DepotId>,
    keyed: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { whats: Vec::new(), state: State::Sound, table: None, chunks: 0 }
    }
}

const MISNAMED: &str = "its bytes are those of pack ";

impl Look {
    fn broken(what: String, state: State) -> Self {
        Self { whats: vec![what], state, ..Self::default() }
    }

    /// What anybody can see, put before what only keys show.
    fn judge(&mut self, seen: &Outside) {
        let mut plain: Vec<String> = Vec::new();
        let misnamed = seen.named != seen.pack;
        if seen.size == 0 {
            plain.push("empty".to_owned());
        } else if misnamed {
            plain.push(format!("{MISNAMED}{}", seen.named));
        }
        let lost = match &seen.header {
            None if seen.size == 0 => Some("empty".to_owned()),
            None => Some(format!("cut off at {} bytes", seen.size)),
            Some(Err(error)) => Some(in_words(*error)),
            Some(Ok(header)) if seen.depot.is_some_and(|depot| depot != header.depot) => {
                Some(format!("it says it is of another depot, {}", header.depot))
            }
            // Only what has its right name may be believed when it speaks of a key.
            Some(Ok(header)) if seen.keyed && misnamed && matches!(self.state, State::NoKey) => {
                Some(format!("it says it is sealed under key slot {}, which cannot be opened", header.slot))
            }
            Some(Ok(_)) => None,
        };
        if let Some(what) = lost {
            self.whats = if plain.contains(&what) { Vec::new() } else { vec![what.clone()] };
            self.state = State::Lost(what);
        } else if plain.is_empty() && self.whats.is_empty() {
            plain.extend(PackFooter::decode(&seen.end, seen.size).err().map(in_words));
        }
        plain.append(&mut self.whats);
        self.whats = plain;
    }

    /// Bytes of another pack that is here are a mix-up; of one that is not, damage.
    fn name_others(&mut self, listed: &HashSet<PackName>) {
        for what in &mut self.whats {
            let other = what.strip_prefix(MISNAMED).and_then(|name| name.parse().ok());
            if other.is_some_and(|other: PackName| !listed.contains(&other)) {
                *what = "its bytes do not hash to its name".to_owned();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever a table says, every byte is read once and in order, and every frame is looked for once.
        #[test]
        fn pieces_cover_a_pack(
            frames in prop::collection::vec((0_u32..9 << 20, 17_u32..3 << 20), 0..30),
            in_order in any::<bool>(),
            size in 1_u64..12 << 20,
        ) {
            let mut next = 74;
            let frames: Vec<TocFrame> = frames.into_iter().map(|(offset, sealed_len)| {
                let offset = if in_order { next } else { offset };
                next += sealed_len;
                TocFrame { kind: FrameKind::Data, offset, sealed_len, plain_len: 0, inside: Vec::new() }
            }).collect();
            let count = frames.len();
            let fits = next as u64 + 20 <= size;
            let pieces = pieces(Toc { frames }, size);
            let mut at = 0;
            for piece in &pieces {
                prop_assert_eq!(piece.range.start, at);
                prop_assert!(piece.range.end > at);
                at = piece.range.end;
                let longest = piece.frames.iter().map(|(_, frame)| u64::from(frame.sealed_len)).max();
                if in_order && fits {
                    prop_assert!(at - piece.range.start <= PIECE_LEN.max(longest.unwrap_or(0) + 74) + 20);
                    let inside = |frame: &TocFrame| {
                        let from = u64::from(frame.offset);
                        piece.range.start <= from && from + u64::from(frame.sealed_len) <= at
                    };
                    prop_assert!(piece.frames.iter().all(|(_, frame)| inside(frame)));
                }
            }
            prop_assert_eq!(at, size);
            let numbers: Vec<u32> = pieces.iter().flat_map(|piece| piece.frames.iter().map(|(n, _)| *n)).collect();
            prop_assert_eq!(numbers, (0..u32::try_from(count).unwrap()).collect::<Vec<_>>());
        }
    }
}

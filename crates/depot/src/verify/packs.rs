//! Every pack, read once: its bytes against its name and, with keys, each frame and each chunk in it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use format::{
    FOOTER_LEN, FrameKind, HEADER_LEN, PACK_LEN_MAX, PackFooter, PackHeader, PackName, Toc, path, terms,
};
use futures::StreamExt;
use model::DepotId;
use tokio::sync::Semaphore;

use super::objects::Survey;
use super::tables::{Table, Tables};
use super::tell::{Tell, flaw};
use crate::cipher::{PackCipher, SlotKeys};
use crate::depot::lock;
use crate::error::in_words;
use crate::objects::{Objects, key};
use crate::packer::narrow;
use crate::work::Work;
use crate::{Depot, DepotError, Settings};

/// Packs in memory together, in KiB. One of the largest always fits.
const IN_MEMORY_KIB_MAX: u32 = 96 << 10;
const _: () = assert!(IN_MEMORY_KIB_MAX as usize >= PACK_LEN_MAX >> 10);
/// Packs asked for at a time: small ones are far away rather than large.
const AT_ONCE: usize = 12;

pub(super) struct Packs<'a> {
    objects: &'a Objects,
    keyed: Option<&'a Depot>,
    /// As the header says; none if that is unreadable.
    depot: Option<DepotId>,
    parallelism: usize,
    memory: Semaphore,
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
            memory: Semaphore::new(IN_MEMORY_KIB_MAX as usize),
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
        let Some(kib) = u32::try_from(size.div_ceil(1 << 10)).ok().filter(|_| size <= PACK_LEN_MAX as u64)
        else {
            let what = format!("{size} bytes, more than any pack has");
            return Ok(Some(Look::broken(what, State::NoTable)));
        };
        let stopped = |error: tokio::sync::AcquireError| DepotError::Internal(error.to_string());
        let _memory = self.memory.acquire_many(kib).await.map_err(stopped)?;
        let Some(bytes) = self.objects.find(&key(&path::pack(pack))?).await? else { return Ok(None) };
        let header = bytes.get(..HEADER_LEN).map(PackHeader::decode);
        let opener = match (self.keyed, &header) {
            (Some(depot), Some(Ok(header))) if header.depot == depot.id => {
                match depot.slot_keys(header.slot).await {
                    Ok(keys) => keys.pack(header.salt).ok().map(|cipher| Opener { cipher, keys }),
                    // The slot's own finding, if it has a right to be there.
                    Err(error) => flaw(error).map(|_| None)?,
                }
            }
            _ => None,
        };
        let _turn = self.turns.acquire().await.map_err(stopped)?;
        let (depot, keyed, whole) = (self.depot, self.keyed.is_some(), bytes);
        let look = Work::compute(self.parallelism > 1, move || {
            let mut look = match opener {
                Some(opener) => opener.open(&whole),
                None => Look { state: State::NoKey, ..Look::default() },
            };
            look.judge(pack, &whole, header, depot, keyed);
            look
        });
        let mut look = look.wait().await?;
        look.name_others(listed);
        Ok(Some(look))
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
            Err(error) => flaw(error).map(|_| None),
        }
    }
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
struct Opener {
    cipher: Arc<PackCipher>,
    keys: Arc<SlotKeys>,
}

impl Opener {
    fn open(&self, whole: &Bytes) -> Look {
        let toc = footer(whole).map_err(in_words).and_then(|footer| {
            let from = footer.toc_offset as usize;
            let sealed = whole.get(from..from + footer.toc_sealed_len as usize).unwrap_or_default();
            open_toc(&self.cipher, sealed, &footer)
        });
        let toc = match toc {
            Ok(toc) => toc,
            Err(what) => return Look::broken(what, State::NoTable),
        };
        let mut look = Look { state: State::Sound, table: Some(Table::of(&toc)), ..Look::default() };
        let mut holes: Vec<u32> = Vec::new();
        for (number, frame) in (0..).zip(&toc.frames) {
            match self.open_frame(whole, number, frame) {
                true => {
                    look.chunks += if frame.kind == FrameKind::Data { frame.inside.len() as u64 } else { 0 }
                }
                false => holes.push(number),
            }
        }
        if !holes.is_empty() {
            look.whats.push(holes_in_words(&holes, toc.frames.len()));
            look.state = State::Holes(holes.into_iter().collect());
        }
        look
    }

    /// The frame opens, and every chunk in it is what the table of contents says.
    fn open_frame(&self, whole: &Bytes, number: u32, frame: &format::TocFrame) -> bool {
        let (from, sealed_len) = (frame.offset as usize, frame.sealed_len as usize);
        let Some(sealed) = whole.get(from..from + sealed_len) else { return false };
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

fn footer(whole: &[u8]) -> Result<PackFooter, format::FormatError> {
    let at = whole.len().saturating_sub(FOOTER_LEN);
    PackFooter::decode(&whole[at..], whole.len() as u64)
}

fn holes_in_words(holes: &[u32], frames: usize) -> String {
    let some: Vec<String> = holes.iter().take(8).map(u32::to_string).collect();
    let more = if holes.len() > some.len() { ", …" } else { "" };
    let (noun, verb) = if holes.len() == 1 { ("frame", "does") } else { ("frames", "do") };
    format!("{noun} {}{more} of {frames} {verb} not open", some.join(", "))
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
    fn judge(
        &mut self,
        pack: PackName,
        whole: &[u8],
        header: Option<Result<PackHeader, format::FormatError>>,
        depot: Option<DepotId>,
        keyed: bool,
    ) {
        let mut plain: Vec<String> = Vec::new();
        let named = PackName::of(whole);
        if whole.is_empty() {
            plain.push("empty".to_owned());
        } else if named != pack {
            plain.push(format!("{MISNAMED}{named}"));
        }
        let lost = match header {
            None if whole.is_empty() => Some("empty".to_owned()),
            None => Some(format!("cut off at {} bytes", whole.len())),
            Some(Err(error)) => Some(in_words(error)),
            Some(Ok(header)) if depot.is_some_and(|depot| depot != header.depot) => {
                Some(format!("it says it is of another depot, {}", header.depot))
            }
            // Only what has its right name may be believed when it speaks of a key.
            Some(Ok(header)) if keyed && named != pack && matches!(self.state, State::NoKey) => {
                Some(format!("it says it is sealed under key slot {}, which cannot be opened", header.slot))
            }
            Some(Ok(_)) => None,
        };
        if let Some(what) = lost {
            self.whats = if plain.contains(&what) { Vec::new() } else { vec![what.clone()] };
            self.state = State::Lost(what);
        } else if plain.is_empty() && self.whats.is_empty() {
            plain.extend(footer(whole).err().map(in_words));
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

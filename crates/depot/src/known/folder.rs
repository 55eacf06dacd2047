//! Known chunks on a local disk: a file for each pack, under a sum that only the depot's key can make.
//!
//! A file says of a pack what will be true of it as long as it exists, for packs never change. So a
//! file can be lost, stale or left by a crash; and one that was altered, cut or comes from another
//! depot has another sum, is not believed, and goes.
//!
//! # Crash consistency
//! A file is renamed into place and not synced: what a crash leaves half-written has no right sum.
//! # Concurrency
//! Any number of processes; the last one to write a file of a pack wrote the same.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use format::{Name, PackName};
use model::DepotId;
use zeroize::Zeroizing;

use super::table::{Contents, Frame};

const MAGIC: &[u8; 10] = b"HIKAEkno\x01\0";
const SUM_LEN: usize = 32;
const FRAME_LEN: usize = 24;
const NAME_LEN: usize = 16;
/// No file of ours is longer.
const FILE_LEN_MAX: u64 = 8 << 20;
const SUFFIX: &str = "known";
const DRAFT: &str = "draft";

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    drafts: AtomicU64,
}

/// What makes the sums.
pub(super) type SumKey = Zeroizing<[u8; 32]>;

impl Folder {
    pub(super) fn new(within: &Path, depot: DepotId) -> Self {
        Self { path: within.join(depot.to_string()), drafts: AtomicU64::new(0) }
    }

    fn file(&self, pack: PackName) -> PathBuf {
        self.path.join(format!("{pack}.{SUFFIX}"))
    }

    /// Packs with a file, the newest file first. Drafts that a crash left go.
    pub(super) fn list(&self) -> Vec<PackName> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some((stem, suffix)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
            if suffix.ends_with(DRAFT) {
                let _ = fs::remove_file(entry.path());
            } else if let Ok(pack) = stem.parse::<PackName>()
                && suffix == SUFFIX
            {
                found.push((entry.metadata().and_then(|meta| meta.modified()).ok(), pack));
            }
        }
        found.sort_unstable();
        found.into_iter().rev().map(|(_, pack)| pack).collect()
    }

    /// What a file says of its pack. One that cannot be believed goes.
    pub(super) fn read(&self, key: &SumKey, pack: PackName) -> Option<Contents> {
        let path = self.file(pack);
        let small = fs::metadata(&path).is_ok_and(|meta| meta.len() <= FILE_LEN_MAX);
        let contents =
            small.then(|| fs::read(&path).ok()).flatten().and_then(|bytes| decode(key, pack, &bytes));
        if contents.is_none() {
            self.remove(pack);
        }
        contents
    }

    pub(super) fn write(&self, key: &SumKey, pack: PackName, contents: &Contents) -> io::Result<()> {
        let nth = self.drafts.fetch_add(1, Ordering::Relaxed);
        let draft = self.path.join(format!("{pack}.{}-{nth}.{DRAFT}", std::process::id()));
        let bytes = encode(key, pack, contents);
        if fs::write(&draft, &bytes).is_err() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            fs::write(&draft, &bytes)?;
        }
        fs::rename(&draft, self.file(pack))
    }

    pub(super) fn remove(&self, pack: PackName) {
        // Left behind, it is found stale once more, and no worse.
        let _ = fs::remove_file(self.file(pack));
    }
}

pub(super) fn sum(key: &SumKey, pack: PackName, body: &[u8]) -> blake3::Hash {
    blake3::Hasher::new_keyed(key).update(&pack.0).update(body).finalize()
}

pub(super) fn encode(key: &SumKey, pack: PackName, contents: &Contents) -> Vec<u8> {
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    let len = MAGIC.len() + 8 + contents.frames.len() * FRAME_LEN + contents.len() * NAME_LEN + SUM_LEN;
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&count(contents.frames.len()));
    out.extend_from_slice(&count(contents.names.len()));
    for frame in &contents.frames {
        let Frame { first, frame, offset, sealed_len, plain_len, chunk_len } = *frame;
        for field in [first, frame, offset, sealed_len, plain_len, chunk_len] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    for name in &contents.names {
        out.extend_from_slice(&name.0);
    }
    let sum = sum(key, pack, &out);
    out.extend_from_slice(sum.as_bytes());
    out
}

pub(super) fn decode(key: &SumKey, pack: PackName, bytes: &[u8]) -> Option<Contents> {
    let (body, found) = bytes.split_last_chunk::<SUM_LEN>()?;
    // In constant time, as `blake3::Hash` compares.
    if sum(key, pack, body) != *found {
        return None;
    }
    let rest = body.strip_prefix(MAGIC)?;
    let (frame_count, rest) = number(rest)?;
    let (name_count, rest) = number(rest)?;
    let frames_len = (frame_count as usize).checked_mul(FRAME_LEN)?;
    let (frames, names) = rest.split_at_checked(frames_len)?;
    if names.len() != (name_count as usize).checked_mul(NAME_LEN)? {
        return None;
    }
    let field = |bytes: &[u8], nth: usize| number(bytes.get(nth * 4..)?).map(|(value, _)| value);
    let frames = frames.chunks_exact(FRAME_LEN).map(|bytes| {
        Some(Frame {
            first: field(bytes, 0)?,
            frame: field(bytes, 1)?,
            offset: field(bytes, 2)?,
            sealed_len: field(bytes, 3)?,
            plain_len: field(bytes, 4)?,
            chunk_len: field(bytes, 5)?,
        })
    });
    let names = names.chunks_exact(NAME_LEN).filter_map(|name| name.try_into().ok().map(Name));
    let contents = Contents { frames: frames.collect::<Option<_>>()?, names: names.collect() };
    contents.is_sound().then_some(contents)
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

//! What happens to an image: scattered small writes, and new files.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::bench::chance::Chance;
use crate::bench::sparse::{self, Piece};

const WRITE_BYTES: u64 = 4 << 10;
const LOG_BYTES: usize = 16 << 20;
const FILES: u64 = 160;
const FILE_KIB_MAX: u64 = 128;

/// One write of 4 KiB in one of a hundred pieces that hold anything; which ones, in order.
pub(super) fn one_percent(image: &Path, seed: u64) -> Result<Vec<Piece>> {
    let mut chance = Chance::new(seed);
    let pieces = drawn(sparse::used(image)?, &mut chance);
    let file = File::options().write(true).open(image).context("open the image")?;
    for piece in &pieces {
        let at = chance.below(piece.len / WRITE_BYTES) * WRITE_BYTES;
        file.write_all_at(&chance.bytes(usize::try_from(WRITE_BYTES)?), piece.offset + at)?;
    }
    file.sync_all().context("write the image")?;
    Ok(pieces)
}

/// One of a hundred, in order.
fn drawn(mut pieces: Vec<Piece>, chance: &mut Chance) -> Vec<Piece> {
    let wanted = pieces.len() / 100;
    for at in 0..wanted {
        let left = u64::try_from(pieces.len() - at).unwrap_or(u64::MAX);
        let other = at + usize::try_from(chance.below(left)).unwrap_or(0);
        pieces.swap(at, other);
    }
    pieces.truncate(wanted);
    pieces.sort_unstable_by_key(|piece| piece.offset);
    pieces
}

/// A day's log, which compresses, and uploads, which do not.
pub(super) fn new_files(root: &Path, seed: u64) -> Result<()> {
    let mut chance = Chance::new(seed ^ 1);
    let logs = root.join("var/log");
    std::fs::create_dir_all(&logs)?;
    std::fs::write(logs.join("access.log.1"), log(&mut chance)).context("write a log")?;
    let uploads = root.join("srv/uploads");
    std::fs::create_dir_all(&uploads)?;
    for number in 0..FILES {
        let kib = usize::try_from(1 + chance.below(FILE_KIB_MAX))?;
        std::fs::write(uploads.join(format!("{number:04}.jpg")), chance.bytes(kib << 10))?;
    }
    Ok(())
}

fn log(chance: &mut Chance) -> String {
    let mut text = String::with_capacity(LOG_BYTES);
    let mut second = 0;
    while text.len() < LOG_BYTES {
        second += chance.below(3);
        let _ = writeln!(
            text,
            "10.{}.{}.{} - - [22/Nov/2026:{:02}:{:02}:{:02} +0000] \"GET /item/{} HTTP/1.1\" 200 {}",
            chance.below(4),
            chance.below(256),
            chance.below(256),
            second / 3600 % 24,
            second / 60 % 60,
            second % 60,
            chance.below(100_000),
            chance.below(60_000),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sparse::PIECE_BYTES;

    #[test]
    fn one_of_a_hundred_is_drawn_once_and_alike_each_time() {
        let all = |count: u64| (0..count).map(|at| Piece { offset: at * PIECE_BYTES, len: PIECE_BYTES });
        let draw = |seed| drawn(all(5000).collect(), &mut Chance::new(seed));
        let drawn = draw(7);
        assert_eq!(drawn.len(), 50);
        assert!(drawn.windows(2).all(|two| two[0].offset < two[1].offset), "{drawn:?}");
        assert!(drawn.iter().any(|piece| piece.offset > 2500 * PIECE_BYTES), "only from the beginning");
        assert_eq!(draw(7), drawn);
        assert_ne!(draw(8), drawn);
    }
}

//! Writes alternately to two files with fsync, without pause, and says how far it came and what held it up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::slot::{self, Held, SLOT_BYTES};

const TICK: Duration = Duration::from_millis(1);
const REPORT: Duration = Duration::from_secs(1);

static A: AtomicU64 = AtomicU64::new(0);
static B: AtomicU64 = AtomicU64::new(0);
static STALL_US: AtomicU64 = AtomicU64::new(0);
static TICK_GAP_US: AtomicU64 = AtomicU64::new(0);

/// What both files hold now.
pub(crate) fn found(a: &Path, b: &Path) -> io::Result<(Held, Held)> {
    Ok((held(a)?, held(b)?))
}

fn held(path: &Path) -> io::Result<Held> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(slot::read(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Held { number: 0, torn: 0 }),
        Err(error) => Err(error),
    }
}

/// Runs until a write fails.
pub(crate) fn run(a: &Path, b: &Path) -> io::Result<()> {
    let (at_a, at_b) = found(a, b)?;
    let (file_a, file_b) = (open(a)?, open(b)?);
    // The one that fell behind catches up first: after a crash the two must never be two apart.
    let mut number = at_a.number.max(at_b.number);
    if at_a.number < number {
        write(&file_a, number)?;
    }
    if at_b.number < number {
        write(&file_b, number)?;
    }
    thread::spawn(tick);
    thread::spawn(report);
    loop {
        number += 1;
        write(&file_a, number)?;
        A.store(number, Ordering::Relaxed);
        write(&file_b, number)?;
        B.store(number, Ordering::Relaxed);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

fn write(file: &File, number: u64) -> io::Result<()> {
    let began = now();
    file.write_all_at(&slot::encode(number), slot::slot_of(number) * SLOT_BYTES as u64)?;
    file.sync_all()?;
    STALL_US.fetch_max(micros(began), Ordering::Relaxed);
    Ok(())
}

/// A clock of its own: it runs on while a write waits, and stands when the whole guest does.
fn tick() {
    let mut last = now();
    loop {
        thread::sleep(TICK);
        TICK_GAP_US.fetch_max(micros(last), Ordering::Relaxed);
        last = now();
    }
}

fn report() {
    loop {
        thread::sleep(REPORT);
        let line = format!(
            "hikae-guest: seq a={} b={} stall_ms={} tick_gap_ms={}\n",
            A.load(Ordering::Relaxed),
            B.load(Ordering::Relaxed),
            STALL_US.swap(0, Ordering::Relaxed).div_ceil(1000),
            TICK_GAP_US.swap(0, Ordering::Relaxed).div_ceil(1000),
        );
        // A console nobody drains must not stop the witness.
        let _ = io::stdout().write_all(line.as_bytes());
    }
}

/// Writes `bytes` of noise that neither compresses nor repeats.
pub(crate) fn fill(path: &Path, bytes: u64, seed: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut state = seed | 1;
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(&block[..now])?;
        left -= now as u64;
    }
    file.sync_all()
}

#[expect(clippy::disallowed_methods, reason = "the witness measures its own machine's time")]
fn now() -> Instant {
    Instant::now()
}

fn micros(since: Instant) -> u64 {
    u64::try_from(now().duration_since(since).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_there_hold_zero() {
        let none = Path::new("/nonexistent/hikae/witness");
        let (a, b) = found(none, none).expect("absent is no error");
        assert_eq!((a.number, b.number), (0, 0));
    }

    #[test]
    fn what_was_written_is_found_and_fill_is_as_long_as_asked() {
        let dir = std::env::temp_dir().join(format!("hikae-guest-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("make a directory");
        let (a, b) = (dir.join("a"), dir.join("b"));
        write(&open(&a).expect("open a"), 8).expect("write a");
        write(&open(&a).expect("open a"), 9).expect("write a");
        write(&open(&b).expect("open b"), 8).expect("write b");
        let (at_a, at_b) = found(&a, &b).expect("read back");
        assert_eq!((at_a.number, at_b.number), (9, 8));

        fill(&a, (1 << 20) + 5, 1).expect("fill");
        assert_eq!(std::fs::metadata(&a).expect("stat").len(), (1 << 20) + 5);
        std::fs::remove_dir_all(&dir).expect("clean up");
    }
}

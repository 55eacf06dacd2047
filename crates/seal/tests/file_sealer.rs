//! The root key's file: who may read it, what is refused, and what its seal promises.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::Entropy;
use seal::{FileSealer, KeyMaterial, SealError, Sealed, Sealer};
use tempfile::TempDir;

/// Different bytes each time, the same in each run.
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = number[at % 8] ^ 0x5a;
        }
    }
}

fn entropy(from: u64) -> Arc<dyn Entropy> {
    Arc::new(Counted(AtomicU64::new(from)))
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("root.key");
    (folder, path)
}

fn open(path: &Path) -> Result<FileSealer, SealError> {
    FileSealer::open_or_create(path, entropy(1))
}

/// Why a file is refused, after making sure that refusing left it as it was.
fn refused(path: &Path) -> String {
    let before = fs::read(path).ok();
    let Err(SealError::Unusable { why, .. }) = open(path) else { panic!("{} was accepted", path.display()) };
    assert_eq!(fs::read(path).ok(), before, "a refused file was changed");
    why
}

#[tokio::test]
async fn what_was_sealed_opens_after_a_restart() {
    let (_folder, path) = place();
    let sealed = open(&path).expect("create").seal(b"secret", "here").await.expect("seal");
    let again = FileSealer::open_or_create(&path, entropy(99)).expect("open");
    assert_eq!(**again.open(&sealed, "here").await.expect("open"), b"secret"[..]);
}

#[test]
fn the_file_is_its_owners_alone_and_nothing_else_is_left() {
    let (folder, path) = place();
    open(&path).expect("create");
    assert_eq!(fs::metadata(&path).expect("meta").mode() & 0o7777, 0o600);
    let names: Vec<_> =
        fs::read_dir(folder.path()).expect("read").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(names, ["root.key"]);
}

#[test]
fn a_file_others_could_read_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o601, 0o660, 0o666] {
        let (_folder, path) = place();
        open(&path).expect("create");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("rights");
        assert!(refused(&path).contains("600"), "{mode:o}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("rights");
        open(&path).expect("read-only for its owner is fine");
    }
}

#[test]
fn a_file_of_another_shape_is_refused() {
    let (_folder, path) = place();
    open(&path).expect("create");
    let good = fs::read(&path).expect("read");
    let mut bad = vec![
        Vec::new(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"\n"].concat(),
        vec![b'0'; good.len()],
    ];
    // One slip anywhere is noticed: header, key, check, line end.
    bad.extend((0..good.len()).map(|at| {
        let mut slip = good.clone();
        slip[at] = if slip[at] == b'0' { b'1' } else { b'0' };
        slip
    }));
    for text in bad {
        fs::write(&path, &text).expect("write");
        let why = refused(&path);
        assert!(why.contains("whole root key"), "{why}");
        let key = &good[17..49];
        assert!(!why.contains(std::str::from_utf8(key).expect("hexadecimal")), "the key is in {why}");
    }
    fs::write(&path, &good).expect("write");
    open(&path).expect("the good file again");
}

#[test]
fn what_is_no_file_is_refused() {
    let (folder, path) = place();
    let real = folder.path().join("real.key");
    open(&real).expect("create");
    symlink(&real, &path).expect("link");
    assert!(refused(&path).contains("symbolic link"));
    fs::remove_file(&path).expect("remove");
    fs::create_dir(&path).expect("folder");
    refused(&path);
    let dangling = folder.path().join("dangling.key");
    symlink(folder.path().join("nowhere"), &dangling).expect("link");
    refused(&dangling);
    assert!(!folder.path().join("nowhere").exists(), "a key was made behind a link");
    let fifo = folder.path().join("fifo.key");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).expect("fifo");
    let Err(SealError::Unusable { why, .. }) = open(&fifo) else { panic!("a fifo was accepted") };
    assert!(why.contains("regular"), "{why}");
}

#[test]
fn a_missing_folder_is_an_error() {
    let (folder, _) = place();
    refused(&folder.path().join("no/root.key"));
}

/// Both may start at once; the key that lies there in the end must be the one both use.
#[tokio::test]
async fn racing_creators_end_with_one_key() {
    let (_folder, path) = place();
    let sealers: Vec<_> = std::thread::scope(|scope| {
        let open = |from| FileSealer::open_or_create(&path, entropy(from)).expect("open or create");
        let runs: Vec<_> = (0..8).map(|n| scope.spawn(move || open(n * 1000))).collect();
        runs.into_iter().map(|run| run.join().expect("no panic")).collect()
    });
    let sealed = sealers[0].seal(b"secret", "here").await.expect("seal");
    for sealer in &sealers {
        assert_eq!(**sealer.open(&sealed, "here").await.expect("the same key"), b"secret"[..]);
    }
}

fn memory(byte: u8) -> FileSealer {
    FileSealer::with_key(KeyMaterial::from_bytes([byte; 32]), entropy(1))
}

#[tokio::test]
async fn another_context_is_refused() {
    let sealer = memory(7);
    let sealed = sealer.seal(b"secret", "tokyo/a").await.expect("seal");
    for context in ["", "tokyo/", "tokyo/b", "tokyo/aa", "okyo/a"] {
        assert_eq!(sealer.open(&sealed, context).await.err(), Some(SealError::Refused), "{context}");
    }
    sealer.open(&sealed, "tokyo/a").await.expect("its own context");
}

#[tokio::test]
async fn one_flipped_bit_anywhere_is_refused() {
    let sealer = memory(7);
    let good = sealer.seal(b"secret", "here").await.expect("seal");
    for bit in 0..good.0.len() * 8 {
        let mut bad = good.clone();
        bad.0[bit / 8] ^= 1 << (bit % 8);
        assert!(sealer.open(&bad, "here").await.is_err(), "bit {bit}");
    }
    for len in 0..good.0.len() {
        assert!(sealer.open(&Sealed(good.0[..len].to_vec()), "here").await.is_err(), "{len} bytes");
    }
}

#[tokio::test]
async fn another_root_and_a_newer_version_are_told_apart() {
    let mut sealed = memory(7).seal(b"secret", "here").await.expect("seal");
    let told = memory(8).open(&sealed, "here").await.expect_err("another root");
    assert!(matches!(told, SealError::AnotherRoot { .. }), "{told}");
    assert!(!told.to_string().contains("0707"), "the root key is in {told}");
    sealed.0[0] = 2;
    assert_eq!(memory(7).open(&sealed, "here").await.err(), Some(SealError::Version(2)));
}

#[tokio::test]
async fn sealed_bytes_show_nothing_and_differ_each_time() {
    let sealer = memory(7);
    let (one, two) =
        (sealer.seal(b"a long enough secret", "x").await, sealer.seal(b"a long enough secret", "x").await);
    let (one, two) = (one.expect("seal"), two.expect("seal"));
    assert_ne!(one, two);
    assert!(!one.0.windows(6).any(|six| six == b"enough"));
}

/// What is written today must open for ever: the bytes of version 1, under the key of 32 sevens.
#[tokio::test]
async fn version_one_still_opens() {
    let mut bytes = Vec::new();
    for pair in include_str!("golden/sealed-1.hex").trim().as_bytes().chunks(2) {
        let pair = std::str::from_utf8(pair).expect("text");
        bytes.push(u8::from_str_radix(pair, 16).expect("hexadecimal"));
    }
    let plain = memory(7).open(&Sealed(bytes), "hikae/golden").await.expect("open");
    assert_eq!(**plain, b"sealed in 2026"[..]);
}

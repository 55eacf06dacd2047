//! A root key in a file of its own, which only its owner can read.
//!
//! The file is text, so that it can be written down: a line that names it, the key in hexadecimal,
//! and a check against slips of the pen.
//!
//! # Consistency
//! The key never changes once the file is there.
//!
//! # Crash consistency
//! The file is written under a temporary name, synced, then linked into place: there is a whole key
//! or none. A crash can leave a temporary file `.<name>.<random>.new` with a key nobody ever used.
//!
//! # Concurrency
//! Two processes may start at once: the first link wins, and the other reads what it finds.
//!
//! # Errors
//! A file that others could read, of another size or kind, is refused and not touched.
//!
//! # Cancellation
//! Opening is one blocking call.
//!
//! # Limits
//! Reads one byte more than the file should have, and no more.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use model::Entropy;
use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::aead::{decrypt, encrypt};
use crate::{KEY_BYTES, KeyMaterial, SealError, Sealed, Sealer};

const HEADER: &str = "hikae root key 1\n";
const CHECK_HEX: usize = 8;
/// Header, key in hexadecimal, a space, the check, a line end.
const FILE_BYTES: usize = HEADER.len() + 2 * KEY_BYTES + 1 + CHECK_HEX + 1;

const VERSION: u8 = 1;
/// Sealed bytes say which root sealed them: eight bytes of a hash, too few to help anyone.
const ROOT_NAME_BYTES: usize = 8;

/// A [`Sealer`] whose root key lies in a file.
#[expect(missing_debug_implementations, reason = "it holds the root key")]
pub struct FileSealer {
    root: KeyMaterial,
    name: [u8; ROOT_NAME_BYTES],
    entropy: Arc<dyn Entropy>,
}

impl FileSealer {
    /// Opens the key file, or makes one with a new key when there is none.
    pub fn open_or_create(path: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, SealError> {
        let unusable = |error: Unfit| error.at(path);
        let root = match read_key(path) {
            Err(Unfit::Missing) => {
                create_key(path, &*entropy).map_err(|error| unusable(error.into()))?;
                // Read back even what we wrote: another process may have been first.
                read_key(path).map_err(unusable)?
            }
            read => read.map_err(unusable)?,
        };
        Ok(Self::with_key(root, entropy))
    }

    /// A sealer on a key the caller keeps: for the simulation, and for keys typed in.
    pub fn with_key(root: KeyMaterial, entropy: Arc<dyn Entropy>) -> Self {
        let name = root_name(&root);
        Self { root, name, entropy }
    }
}

#[async_trait]
impl Sealer for FileSealer {
    async fn seal(&self, plain: &[u8], context: &str) -> Result<Sealed, SealError> {
        let body = encrypt(&self.root, plain, &bound(&self.name, context), &*self.entropy)
            .map_err(|_| SealError::Refused)?;
        Ok(Sealed([&[VERSION][..], &self.name, &body].concat()))
    }

    async fn open(&self, sealed: &Sealed, context: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (&version, rest) = sealed.0.split_first().ok_or(SealError::Refused)?;
        if version != VERSION {
            return Err(SealError::Version(version));
        }
        let (name, body) = rest.split_at_checked(ROOT_NAME_BYTES).ok_or(SealError::Refused)?;
        if name != self.name {
            return Err(SealError::AnotherRoot {
                sealed: hex(name).to_string(),
                here: hex(&self.name).to_string(),
            });
        }
        decrypt(&self.root, body, &bound(&self.name, context)).map_err(|_| SealError::Refused)
    }
}

/// What the seal is bound to: the version, the root, and the context to its end.
fn bound(name: &[u8; ROOT_NAME_BYTES], context: &str) -> Vec<u8> {
    [b"hikae seal", &[VERSION][..], name, context.as_bytes()].concat()
}

fn root_name(root: &KeyMaterial) -> [u8; ROOT_NAME_BYTES] {
    let mut name = [0; ROOT_NAME_BYTES];
    name.copy_from_slice(&labelled_hash("hikae root key name", root.expose())[..ROOT_NAME_BYTES]);
    name
}

fn labelled_hash(label: &str, bytes: &[u8]) -> [u8; 32] {
    let input = Zeroizing::new([label.as_bytes(), bytes].concat());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, &input).as_ref());
    hash
}

/// Why a key file was not read.
#[derive(Debug)]
enum Unfit {
    Missing,
    Because(String),
}

impl Unfit {
    fn at(self, path: &Path) -> SealError {
        let why = match self {
            Self::Missing => "it is gone again".to_owned(),
            Self::Because(why) => why,
        };
        SealError::Unusable { place: path.display().to_string(), why }
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Because(error.to_string()),
        }
    }
}

impl From<&str> for Unfit {
    fn from(why: &str) -> Self {
        Self::Because(why.to_owned())
    }
}

fn read_key(path: &Path) -> Result<KeyMaterial, Unfit> {
    // Not blocking: a fifo in its place must not hang the start.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err("it is a symbolic link".into()),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err("it is not a regular file".into());
    }
    if meta.mode() & 0o077 != 0 {
        let why =
            format!("its mode is {:o}, others could have read it; it must be 600", meta.mode() & 0o7777);
        return Err(Unfit::Because(why));
    }
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own && meta.uid() != 0 {
        return Err(Unfit::Because(format!("it belongs to user {}, not to user {own}", meta.uid())));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES + 1));
    file.take(FILE_BYTES as u64 + 1).read_to_end(&mut text)?;
    parse(&text).ok_or_else(|| "it does not hold a whole root key".into())
}

fn parse(text: &[u8]) -> Option<KeyMaterial> {
    let body = text.strip_prefix(HEADER.as_bytes())?.strip_suffix(b"\n")?;
    if text.len() != FILE_BYTES {
        return None;
    }
    let (key, check) = body.split_at_checked(2 * KEY_BYTES)?;
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in bytes.iter_mut().zip(key.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    let material = KeyMaterial::from_bytes(*bytes);
    (check.strip_prefix(b" ")? == check_of(&material).as_bytes()).then_some(material)
}

const fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

fn check_of(key: &KeyMaterial) -> String {
    hex(&labelled_hash("hikae root key check", key.expose())[..CHECK_HEX / 2]).to_string()
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Sized in advance: a growing string would leave copies of a key behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Makes a key file unless there is one.
fn create_key(path: &Path, entropy: &dyn Entropy) -> io::Result<()> {
    let key = KeyMaterial::random(entropy);
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES));
    for part in [HEADER, &hex(key.expose()), " ", &check_of(&key), "\n"] {
        text.push_str(part);
    }
    let fresh = temporary_name(path, entropy)?;
    let made = write_and_link(&fresh, path, text.as_bytes());
    // Best effort: a temporary key that stays was never used.
    let _ = fs::remove_file(&fresh);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_and_link(fresh: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(rustix::fs::open(fresh, flags, mode)?);
    // The umask can only take away; a default ACL of the folder could have given.
    rustix::fs::fchmod(&file, mode)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::hard_link(fresh, path)
}

fn temporary_name(path: &Path, entropy: &dyn Entropy) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut random = [0; 8];
    entropy.fill(&mut random);
    let name = format!(".{}.{}.new", name.to_string_lossy(), *hex(&random));
    Ok(path.with_file_name(name))
}

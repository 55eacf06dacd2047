//! Image files on the host: what a header says, and QEMU's own tool for the rest.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Command, Output};

use host::HostError;
use model::DiskCapability;

use crate::domain::{DiskDef, Source};
use crate::failure::{Failure, io};

/// What the first bytes of a qcow2 image say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) encrypted: bool,
    /// Bytes the guest sees.
    size: u64,
}

/// Beyond what any disk has: a header that says more is damaged.
const SIZE_MAX: u64 = 1 << 60;
/// QEMU's unit; a raw file that is no multiple of it is shown longer.
const SECTOR: u64 = 512;

/// A dirty bitmap stored in a qcow2 image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredBitmap {
    pub(crate) name: String,
    /// It was open when its QEMU died: it may miss writes and must not be believed.
    pub(crate) in_use: bool,
}

/// What a disk can do, asked of its image: the format alone says little, since version 2 of qcow2 has no
/// room for bitmaps.
pub(crate) fn capability(disk: &DiskDef) -> (DiskCapability, bool) {
    if let Some(because) = &disk.refused {
        return (DiskCapability::Refused { because: because.clone() }, disk.encrypted);
    }
    if disk.format != "qcow2" {
        return (DiskCapability::Whole, disk.encrypted);
    }
    let (Source::File(path) | Source::Block(path)) = &disk.source else {
        return (DiskCapability::Refused { because: "its image cannot be found".into() }, disk.encrypted);
    };
    match read_header(path) {
        Ok(Header { version, encrypted, .. }) => {
            let tracked = if version >= 3 { DiskCapability::Tracked } else { DiskCapability::Whole };
            (tracked, disk.encrypted || encrypted)
        }
        Err(error) => (
            DiskCapability::Refused { because: format!("its image cannot be read: {error}") },
            disk.encrypted,
        ),
    }
}

/// A disk's size as its image tells it, without a question to QEMU: one that hangs must not make its host
/// look down. None where the image alone cannot tell.
pub(crate) fn size(disk: &DiskDef) -> std::io::Result<Option<u64>> {
    let (Source::File(path) | Source::Block(path)) = &disk.source else { return Ok(None) };
    let size = match disk.format.as_str() {
        "qcow2" => read_header(path)?.size,
        "raw" if !disk.encrypted => raw_size(path)?,
        _ => return Ok(None),
    };
    if size > SIZE_MAX {
        return Err(std::io::Error::other(format!("it says that it has {size} bytes")));
    }
    Ok(Some(size))
}

fn raw_size(path: &Path) -> std::io::Result<u64> {
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(std::io::Error::other("it is neither a file nor a block device"));
    }
    Ok(File::open(path)?.seek(SeekFrom::End(0))?.next_multiple_of(SECTOR))
}

fn read_header(path: &Path) -> std::io::Result<Header> {
    let mut bytes = [0; 72];
    File::open(path)?.read_exact(&mut bytes)?;
    header(&bytes).ok_or_else(|| std::io::Error::other("it is no qcow2 image"))
}

fn header(bytes: &[u8; 72]) -> Option<Header> {
    let word = |at: usize| bytes[at..at + 4].try_into().map(u32::from_be_bytes).unwrap_or_default();
    let size = u64::from(word(24)) << 32 | u64::from(word(28));
    (bytes[..4] == *b"QFI\xfb").then(|| Header { version: word(4), encrypted: word(32) != 0, size })
}

/// Makes an image that reads as zeroes.
pub(crate) fn create(path: &Path, format: &str, size: u64) -> Result<(), Failure> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", format]);
    if format == "qcow2" {
        // Version 3 has bitmaps; lazy refcounts would cost a repair after every crash.
        command.args(["-o", "compat=1.1"]);
    }
    run(command.arg(path).arg(size.to_string())).map(drop)
}

/// The bitmaps stored in a qcow2 image. Fails while QEMU has the image open for writing, unless asked
/// to look anyway; then it tells what was stored last.
pub(crate) fn bitmaps(path: &Path) -> Result<Vec<StoredBitmap>, Failure> {
    let output =
        run(Command::new("qemu-img").args(["info", "-U", "-f", "qcow2", "--output=json"]).arg(path))?;
    let info: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| HostError::Failed(format!("qemu-img says nothing readable: {error}")))?;
    let list = info["format-specific"]["data"]["bitmaps"].as_array().cloned().unwrap_or_default();
    let stored = list.iter().filter_map(|bitmap| {
        let flags = bitmap["flags"].as_array()?;
        let in_use = flags.iter().any(|flag| flag == "in-use");
        Some(StoredBitmap { name: bitmap["name"].as_str()?.to_owned(), in_use })
    });
    Ok(stored.collect())
}

/// Removes a stored bitmap from an image nobody has open. Not there is fine.
pub(crate) fn remove_bitmap(path: &Path, name: &str) -> Result<(), Failure> {
    if !bitmaps(path)?.iter().any(|bitmap| bitmap.name == name) {
        return Ok(());
    }
    run(Command::new("qemu-img").args(["bitmap", "--remove", "-f", "qcow2"]).arg(path).arg(name)).map(drop)
}

/// Runs one of QEMU's tools to its end; what it complains of becomes the error.
pub(crate) fn run(command: &mut Command) -> Result<Output, Failure> {
    let program = command.get_program().display().to_string();
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| io(&error, &format!("{program} cannot be run")))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = format!("{program}: {}", said.trim().chars().take(500).collect::<String>());
    let error = if said.contains("No space left on device") {
        HostError::NoSpace(said)
    } else if said.contains("lock") {
        HostError::Busy("a disk is in use by another process".into())
    } else {
        HostError::Failed(said)
    };
    Err(error.into())
}

/// Makes a directory's entries durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Failure> {
    File::open(path)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn version_two_is_told_from_version_three() {
        let directory = tempfile::tempdir().unwrap();
        for (compat, version) in [("0.10", 2), ("1.1", 3)] {
            let path = directory.path().join(compat);
            let mut command = Command::new("qemu-img");
            run(command
                .args(["create", "-q", "-f", "qcow2", "-o", &format!("compat={compat}")])
                .arg(&path)
                .arg("1M"))
            .unwrap();
            assert_eq!(read_header(&path).unwrap(), Header { version, encrypted: false, size: MIB });
        }
        let raw = directory.path().join("raw");
        std::fs::write(&raw, [0; 700]).unwrap();
        assert!(read_header(&raw).is_err());
        assert_eq!(raw_size(&raw).unwrap(), 1024);
        assert!(raw_size(directory.path()).is_err());
    }

    #[test]
    fn bitmaps_are_listed_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        create(&path, "qcow2", 1 << 20).unwrap();
        run(Command::new("qemu-img").args(["bitmap", "--add"]).arg(&path).arg("mine")).unwrap();
        assert_eq!(bitmaps(&path).unwrap(), [StoredBitmap { name: "mine".into(), in_use: false }]);
        remove_bitmap(&path, "mine").unwrap();
        remove_bitmap(&path, "mine").unwrap();
        assert_eq!(bitmaps(&path).unwrap(), []);
    }
}

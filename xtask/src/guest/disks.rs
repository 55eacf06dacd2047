//! A guest's two disks: ext4 in qcow2, made without mounting anything.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::sh::{command, quiet, text};

const SYSTEM_MIB: u64 = 512;
const DATA_MIB: u64 = 1024;

/// The system disk and the data disk.
pub(crate) fn make(place: &Path) -> Result<[PathBuf; 2]> {
    let content = place.join("content");
    std::fs::create_dir_all(content.join("etc"))?;
    std::fs::write(content.join("etc/hostname"), "hikae-demo\n")?;
    std::fs::write(
        content.join("README"),
        "A demo guest of Hikae. /witness is written without pause, here and on the other disk.\n",
    )?;
    let system = disk(place, "system", SYSTEM_MIB, Some(&content))?;
    let data = disk(place, "data", DATA_MIB, None)?;
    std::fs::remove_dir_all(&content)?;
    Ok([system, data])
}

fn disk(place: &Path, name: &str, mib: u64, content: Option<&Path>) -> Result<PathBuf> {
    let (raw, qcow2) = (place.join(format!("{name}.raw")), place.join(format!("{name}.qcow2")));
    let file = std::fs::File::create(&raw).with_context(|| format!("make {}", raw.display()))?;
    file.set_len(mib << 20)?;
    drop(file);
    let mut format = command("/sbin/mke2fs", &["-q", "-F", "-t", "ext4", "-L", name]);
    // All of it now: a guest that still initializes its tables writes when nobody asked it to.
    format.args(["-E", "lazy_itable_init=0,lazy_journal_init=0"]);
    if let Some(content) = content {
        format.args(["-d", text(content)?]);
    }
    quiet(format.arg(&raw)).with_context(|| format!("make a file system on {name}"))?;
    let mut convert = command("qemu-img", &["convert", "-q", "-f", "raw", "-O", "qcow2"]);
    quiet(convert.arg(&raw).arg(&qcow2)).with_context(|| format!("make {}", qcow2.display()))?;
    std::fs::remove_file(&raw)?;
    Ok(qcow2)
}

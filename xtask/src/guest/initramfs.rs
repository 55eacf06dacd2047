//! The guest's initramfs: a busybox, the kernel's virtio modules, e2fsck, the guest agent, our witness.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::sh::{capture, command, quiet, text};

/// What the guest needs of the kernel, where it is not built in. `evdev` and `button` are the power button.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "virtio_console", "ext4", "evdev", "button"];

const APPLETS: &[&str] = &[
    "sh",
    "mount",
    "umount",
    "insmod",
    "cat",
    "echo",
    "sleep",
    "tail",
    "tr",
    "poweroff",
    "sync",
    "acpid",
    "kill",
    "ls",
    "dd",
    "rm",
    "cp",
    "ps",
    "df",
    "md5sum",
    "sha256sum",
    "cut",
];

const INIT: &str = include_str!("init.sh");
const SHUTDOWN: &str = include_str!("shutdown.sh");

/// The kernel itself, within its unpacked package.
pub(crate) fn kernel(package: &Path) -> Result<PathBuf> {
    first(&package.join("boot"), "vmlinuz-")
}

/// Packs it. Cheap enough to be made anew each time, so it never lags behind its parts.
pub(crate) fn make(home: &Path, kernel: &Path, agent: &Path, witness: &Path) -> Result<PathBuf> {
    let stage = home.join("initramfs");
    let _ = std::fs::remove_dir_all(&stage);
    for directory in ["bin", "sbin", "proc", "sys", "dev", "run", "a", "b", "tmp", "etc/acpi/PWRF", "modules"]
    {
        std::fs::create_dir_all(stage.join(directory)).context("lay out the initramfs")?;
    }
    program(&stage, "bin/busybox", &std::fs::read("/bin/busybox").context("read busybox-static")?)?;
    let known = capture(&mut command("/bin/busybox", &["--list"])).context("ask busybox what it can do")?;
    for applet in APPLETS {
        if !known.lines().any(|name| name == *applet) {
            bail!("this busybox has no {applet}");
        }
        symlink("busybox", stage.join("bin").join(applet))?;
    }
    program(&stage, "init", INIT.as_bytes())?;
    program(&stage, "sbin/shutdown", SHUTDOWN.as_bytes())?;
    symlink("/sbin/shutdown", stage.join("etc/acpi/PWRF/00000080"))?;
    program(&stage, "bin/hikae-guest", &std::fs::read(witness).context("read the witness")?)?;
    add_dynamic(&stage, Path::new("/sbin/e2fsck"), "sbin/e2fsck")?;
    add_dynamic(&stage, &agent.join("usr/sbin/qemu-ga"), "sbin/qemu-ga")?;
    add_modules(&stage, kernel)?;

    let packed = home.join("initramfs.gz");
    let pack = "find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -1 > \"$1\"";
    quiet(command("sh", &["-c", pack, "sh", text(&packed)?]).current_dir(&stage))
        .context("pack the initramfs")?;
    Ok(packed)
}

fn program(stage: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = stage.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A program with the libraries this machine would load for it, each at its own path.
fn add_dynamic(stage: &Path, from: &Path, name: &str) -> Result<()> {
    program(stage, name, &std::fs::read(from).with_context(|| format!("read {}", from.display()))?)?;
    let loaded = capture(&mut command("ldd", &[text(from)?]))?;
    if loaded.contains("not found") {
        bail!("{} lacks libraries here:\n{loaded}", from.display());
    }
    for library in libraries(&loaded) {
        let to = library.trim_start_matches('/');
        if let Some(directory) = stage.join(to).parent() {
            std::fs::create_dir_all(directory)?;
        }
        program(stage, to, &std::fs::read(library).with_context(|| format!("read {library}"))?)?;
    }
    Ok(())
}

/// The paths in what `ldd` prints.
fn libraries(loaded: &str) -> Vec<&str> {
    loaded.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).collect()
}

fn add_modules(stage: &Path, kernel: &Path) -> Result<()> {
    let tree = first(&kernel.join("lib/modules"), "")?;
    let (mut found, mut order) = (Vec::new(), Vec::new());
    walk(&tree, &mut found)?;
    let mut done = BTreeSet::new();
    for module in MODULES {
        require(module, &found, &mut done, &mut order)?;
    }
    let mut names = String::new();
    for path in order {
        let name = path.file_name().and_then(|name| name.to_str()).context("a module without a name")?;
        std::fs::copy(&path, stage.join("modules").join(name))?;
        names.push_str(name);
        names.push('\n');
    }
    std::fs::write(stage.join("modules/order"), names)?;
    Ok(())
}

/// Puts a module's own needs before it. One with no file is built in, or of a later kernel's making.
fn require(
    name: &str,
    found: &[PathBuf],
    done: &mut BTreeSet<String>,
    order: &mut Vec<PathBuf>,
) -> Result<()> {
    if !done.insert(name.to_owned()) {
        return Ok(());
    }
    let Some(path) = found.iter().find(|path| module_name(path).as_deref() == Some(name)) else {
        return Ok(());
    };
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    for need in needs(&bytes) {
        require(&need, found, done, order)?;
    }
    order.push(path.clone());
    Ok(())
}

fn module_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.strip_suffix(".ko")?.replace('-', "_"))
}

/// The `depends=` of a module's own information section.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn first(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
        })
        .with_context(|| format!("nothing called {prefix}… in {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_from_the_module_itself() {
        assert_eq!(needs(b"ELF\0depends=virtio,virtio-ring\0intree=Y\0"), ["virtio", "virtio_ring"]);
        assert!(needs(b"ELF\0depends=\0intree=Y\0").is_empty());
        assert!(needs(b"ELF").is_empty());
    }

    #[test]
    fn libraries_are_the_paths_and_the_loader() {
        let loaded =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld.so (0x7f)\n";
        assert_eq!(libraries(loaded), ["/lib/libc.so.6", "/lib64/ld.so"]);
    }
}

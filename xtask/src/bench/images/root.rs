//! A Debian root: packages and all they depend on, unpacked. It need not boot; its bytes must be real.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::sh::{command, quiet, say, text};

/// Downloads them with their closure, as for a machine that has nothing yet.
pub(super) fn download(packages: &[&str], into: &Path) -> Result<()> {
    std::fs::create_dir_all(into.join("partial"))?;
    let status = into.join("status");
    std::fs::write(&status, "")?;
    let mut fetch =
        command("apt-get", &["install", "--download-only", "--no-install-recommends", "-y", "-q"]);
    for option in [
        format!("Dir::State::status={}", text(&status)?),
        format!("Dir::Cache::archives={}", text(into)?),
        format!("Dir::State::extended_states={}", text(&into.join("extended-states"))?),
        "APT::Sandbox::User=root".to_owned(),
        "Debug::NoLocking=1".to_owned(),
    ] {
        fetch.args(["-o", &option]);
    }
    quiet(fetch.args(packages)).context("download the packages")
}

pub(super) fn unpack(packages: &Path, root: &Path) -> Result<()> {
    let mut archives: Vec<PathBuf> = std::fs::read_dir(packages)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "deb"))
        .collect();
    archives.sort();
    say(format!("unpacking {} packages", archives.len()));
    for archive in &archives {
        quiet(&mut command("dpkg-deb", &["-x", text(archive)?, text(root)?]))
            .with_context(|| format!("unpack {}", archive.display()))?;
    }
    Ok(())
}

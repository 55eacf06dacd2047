//! The official SDKs, unmodified, in a virtual environment of their own.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::sh::{self, command, quiet, text};

/// What the client tests were written against; a newer SDK is a change to review.
const PINNED: &[&str] = &[
    "alibabacloud_hbr20170908==2.7.1",
    "alibabacloud_ecs20140526==7.11.8",
    "aliyun-python-sdk-core==2.16.1",
    "aliyun-python-sdk-hbr==1.2.10",
    "aliyun-python-sdk-ecs==4.24.83",
];

fn home() -> PathBuf {
    sh::target().join("venv")
}

/// The interpreter that sees the SDKs.
pub(crate) fn python() -> PathBuf {
    home().join("bin/python")
}

pub(crate) fn install() -> Result<()> {
    let marker = home().join("hikae-pins");
    let pins = PINNED.join("\n");
    if python().exists() && std::fs::read_to_string(&marker).is_ok_and(|there| there == pins) {
        return Ok(());
    }
    sh::say("installing the official SDKs into a virtual environment");
    // Debian's own Python: another one first on the path may lack venv or be of any version.
    let python3 = if PathBuf::from("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    quiet(&mut command(python3, &["-m", "venv", "--clear", text(&home())?])).context("make a venv")?;
    let mut install = command(python(), &["-m", "pip", "install", "--quiet", "--no-input"]);
    quiet(install.arg("--disable-pip-version-check").args(PINNED)).context("install the SDKs from PyPI")?;
    std::fs::write(marker, pins).context("note what was installed")
}

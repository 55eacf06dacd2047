//! Python programs from PyPI, pinned, each set in a virtual environment of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::sh::{self, command, quiet, text};

/// The official SDKs, unmodified, as the client tests were written against them.
const SDKS: Venv = Venv {
    name: "venv",
    pins: &[
        "alibabacloud_hbr20170908==2.7.1",
        "alibabacloud_ecs20140526==7.11.8",
        "aliyun-python-sdk-core==2.16.1",
        "aliyun-python-sdk-hbr==1.2.10",
        "aliyun-python-sdk-ecs==4.24.83",
        // What the second reader of depots uses: tests/format/requirements.txt.
        "blake3==1.0.11",
        "cryptography==50.0.2",
        "zstandard==0.25.0",
    ],
};

/// Installs the official SDKs.
pub(crate) fn install_sdks() -> Result<()> {
    SDKS.install()
}

/// The interpreter that sees the official SDKs.
pub(crate) fn python() -> PathBuf {
    SDKS.python()
}

/// One virtual environment under the target directory.
#[derive(Debug)]
pub(crate) struct Venv {
    pub(crate) name: &'static str,
    pub(crate) pins: &'static [&'static str],
}

impl Venv {
    fn home(&self) -> PathBuf {
        sh::target().join(self.name)
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.home().join("bin/python")
    }

    /// Made anew when it is not there or holds other versions.
    pub(crate) fn install(&self) -> Result<()> {
        let (marker, pins) = (self.home().join("hikae-pins"), self.pins.join("\n"));
        if self.python().exists() && std::fs::read_to_string(&marker).is_ok_and(|there| there == pins) {
            return Ok(());
        }
        sh::say(format!("installing {} from PyPI", self.pins.join(" ")));
        // Debian's own Python: another one first on the path may lack venv or be of any version.
        let debian = "/usr/bin/python3";
        let python3 = if Path::new(debian).exists() { debian } else { "python3" };
        quiet(&mut command(python3, &["-m", "venv", "--clear", text(&self.home())?]))
            .context("make a venv")?;
        let mut install = command(self.python(), &["-m", "pip", "install", "--quiet", "--no-input"]);
        quiet(install.arg("--disable-pip-version-check").args(self.pins)).context("install from PyPI")?;
        std::fs::write(marker, pins).context("note what was installed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_reader_finds_what_it_requires() {
        let path = sh::root().join("tests/format/requirements.txt");
        let required = std::fs::read_to_string(path).expect("requirements");
        assert!(required.lines().count() > 0);
        for line in required.lines() {
            assert!(SDKS.pins.contains(&line), "{line} is not installed");
        }
    }
}

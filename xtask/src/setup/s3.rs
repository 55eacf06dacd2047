//! An S3 server on loopback that checks signatures and honours create-only writes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::python::Venv;
use crate::janitor::Janitor;
use crate::sh::{free_port, wait_for};

const BUCKET: &str = "hikae-test";

const SERVER: &str = include_str!("s3_server.py");

const SERVER_VENV: Venv = Venv { name: "s3-server", pins: &["moto[server,s3]==5.2.5"] };

pub(crate) fn install() -> Result<()> {
    SERVER_VENV.install()
}

/// Starts it with two empty buckets and a key of this run alone. `HIKAE_TEST_S3` tells tests where, as JSON.
pub(crate) fn start(janitor: &Janitor, parent: &Path) -> Result<(&'static str, String)> {
    let home = super::scratch(janitor, parent, "s3")?;
    let (script, told, log) = (home.join("server.py"), home.join("told.json"), home.join("log"));
    std::fs::write(&script, SERVER).context("write the S3 server's script")?;
    let output: File = File::create(&log)?;
    let mut child = Command::new(SERVER_VENV.python())
        .args([&script, &PathBuf::from(free_port()?.to_string()), &told, &PathBuf::from(BUCKET)])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("start the S3 server")?;
    janitor.adopt(&child)?;
    let told = wait_for("the S3 server is ready", Duration::from_secs(60), || {
        if let Some(status) = child.try_wait()? {
            bail!("the S3 server ended with {status}\n{}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(std::fs::read_to_string(&told).ok())
    })?;
    Ok(("HIKAE_TEST_S3", told))
}

//! A real S3 server on loopback: it checks signatures and honours create-only writes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::janitor::Janitor;
use crate::sh::{self, command, free_port, loud, text, wait_for};

/// The last version that builds with our compiler.
const VERSION: &str = "0.14.1";
const BUCKET: &str = "hikae-test";

fn program() -> PathBuf {
    sh::target().join("tools/bin/s3s-fs")
}

pub(crate) fn install() -> Result<()> {
    let marker = sh::target().join(format!("tools/s3s-fs-{VERSION}"));
    if program().exists() && marker.exists() {
        return Ok(());
    }
    sh::say(format!("building s3s-fs {VERSION} (about two minutes, once)"));
    let tools = sh::target().join("tools");
    let mut install = command("cargo", &["install", "--quiet", "s3s-fs", "--version", VERSION]);
    install.args(["--features", "binary", "--locked", "--force", "--root", text(&tools)?]);
    loud(install.env("CARGO_TARGET_DIR", tools.join("build"))).context("build the S3 server")?;
    let _ = std::fs::remove_dir_all(tools.join("build"));
    std::fs::write(marker, "").context("note the S3 server's version")
}

/// Starts it over an empty directory with one bucket.
pub(crate) fn start(janitor: &Janitor, parent: &Path) -> Result<(&'static str, String)> {
    let home = super::scratch(janitor, parent, "s3")?;
    let (data, log) = (home.join("data"), home.join("log"));
    std::fs::create_dir_all(data.join(BUCKET)).context("make a bucket")?;
    let port = free_port()?;
    // Of this run alone; the server knows no other.
    let (key, secret) = ("hikae-test-key", format!("hikae-test-secret-{}", std::process::id()));
    let child = Command::new(program())
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["--access-key", key, "--secret-key", &secret])
        .arg(&data)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log)?)
        .stderr(std::fs::File::create(home.join("errors"))?)
        .spawn()
        .context("start the S3 server")?;
    janitor.adopt(&child)?;
    wait_for("the S3 server answers", Duration::from_secs(20), || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop))
    })?;
    let told = serde_json::json!({
        "endpoint": format!("http://127.0.0.1:{port}"),
        "bucket": BUCKET,
        "region": "us-east-1",
        "access_key_id": key,
        "secret": secret,
    });
    Ok(("HIKAE_TEST_S3", told.to_string()))
}

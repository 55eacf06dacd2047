//! A PostgreSQL of this run alone, for the catalog's tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::janitor::{Duty, Janitor};
use crate::sh::{free_port, quiet, text};

/// Starts it on a free port of loopback. Its data live where their owner can reach them, and go with it.
pub(crate) fn start(janitor: &Janitor) -> Result<(&'static str, String)> {
    let programs = programs()?;
    let home = std::env::temp_dir().join(format!("hikae-postgres-{}", std::process::id()));
    let (data, pg_ctl) = (home.join("data"), programs.join("pg_ctl"));
    janitor.must(&Duty::Path(text(&home)?.to_owned()))?;
    janitor.must(&Duty::Postgres { pg_ctl: text(&pg_ctl)?.into(), data: text(&data)?.into() })?;

    quiet(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres", "-m", "700"]).arg(&home))?;
    quiet(
        as_postgres(text(&programs.join("initdb"))?)
            .args(["-D", text(&data)?, "-A", "trust", "-U", "postgres", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync"]),
    )
    .context("make a database cluster")?;
    let port = free_port()?;
    // Nothing here outlives the run, so nothing needs to reach the disk.
    let options = format!(
        "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off \
         -c synchronous_commit=off -c full_page_writes=off -c max_connections=200",
        text(&home)?
    );
    let log = home.join("log");
    let mut start = as_postgres(text(&pg_ctl)?);
    start.args(["-D", text(&data)?, "-w", "-t", "30", "-l", text(&log)?, "-o", &options, "start"]);
    // The server inherits them and lives on: nobody may wait for their end.
    start.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let status = start.status().context("start PostgreSQL")?;
    if !status.success() {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        anyhow::bail!("PostgreSQL did not start ({status})\n{said}");
    }
    Ok(("HIKAE_TEST_POSTGRES", format!("postgres://postgres@127.0.0.1:{port}/postgres")))
}

/// A program as the user that PostgreSQL insists on.
pub(crate) fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--", program]).current_dir("/");
    command
}

/// The newest installed version's programs.
pub(crate) fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("look for PostgreSQL")?;
    versions
        .filter_map(|entry| entry.ok().map(|entry| entry.path().join("bin")))
        .filter(|path| path.join("initdb").exists())
        .max_by_key(|path| {
            let version = path.parent().and_then(|parent| parent.file_name());
            version.and_then(|version| version.to_str()?.parse::<u32>().ok())
        })
        .context("PostgreSQL's programs are not where Debian puts them")
}

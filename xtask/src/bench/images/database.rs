//! A PostgreSQL that lives in a mounted image: filled once, and worked with for a while.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::janitor::{Duty, Janitor};
use crate::setup::{as_postgres, postgres_programs};
use crate::sh::{capture, quiet, say, text};

const DATA: &str = "var/lib/postgresql/15/main";

/// Makes the cluster and fills it.
pub(super) fn fill(janitor: &Janitor, root: &Path, scale: u32) -> Result<()> {
    let data = root.join(DATA);
    let owner = ["-o", "postgres", "-g", "postgres"];
    quiet(Command::new("install").args(["-d", "-m", "700"]).args(owner).arg(&data))?;
    let initdb = postgres_programs()?.join("initdb");
    quiet(
        as_postgres(text(&initdb)?)
            .args(["-D", text(&data)?, "-A", "trust", "-U", "postgres", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync"]),
    )
    .context("make a database cluster")?;
    // The kernel writes it all when the image is unmounted. Old log is as good as none, and would take a
    // gigabyte.
    let server = Server::start(janitor, &data, "-c fsync=off -c min_wal_size=32MB -c max_wal_size=64MB")?;
    server.pgbench(&["-i", "-q", "-s", &scale.to_string(), "postgres"])?;
    server.stop()
}

/// Works as one would on such a server: with its default settings, and every commit on the disk.
pub(super) fn work(janitor: &Janitor, root: &Path, seconds: u32) -> Result<()> {
    let server = Server::start(janitor, &root.join(DATA), "")?;
    let seconds = seconds.to_string();
    let said = server.pgbench(&["-c", "4", "-T", &seconds, "--random-seed=1", "postgres"])?;
    if let Some(line) = said.lines().find(|line| line.contains("actually processed")) {
        say(line);
    }
    server.stop()
}

struct Server {
    programs: PathBuf,
    data: PathBuf,
    socket: PathBuf,
}

impl Server {
    fn start(janitor: &Janitor, data: &Path, options: &str) -> Result<Self> {
        let programs = postgres_programs()?;
        let socket = std::env::temp_dir().join(format!("hikae-bench-socket-{}", std::process::id()));
        let pg_ctl = programs.join("pg_ctl");
        janitor.must(&Duty::Path(text(&socket)?.to_owned()))?;
        janitor.must(&Duty::Postgres { pg_ctl: text(&pg_ctl)?.into(), data: text(data)?.into() })?;
        let owner = ["-o", "postgres", "-g", "postgres"];
        quiet(Command::new("install").args(["-d", "-m", "700"]).args(owner).arg(&socket))?;
        let server = Self { programs, data: data.to_owned(), socket };
        let log = server.socket.join("log");
        let socket = text(&server.socket)?;
        let options = format!("-c listen_addresses= -c unix_socket_directories={socket} {options}");
        let mut start = server.pg_ctl()?;
        start.args(["-l", text(&log)?, "-o", &options, "start"]);
        // The server inherits them and lives on: nobody may wait for their end.
        let status = start.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        if !status.success() {
            bail!("PostgreSQL did not start: {}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(server)
    }

    fn pg_ctl(&self) -> Result<Command> {
        let mut command = as_postgres(text(&self.programs.join("pg_ctl"))?);
        command.args(["-D", text(&self.data)?, "-w", "-t", "120"]);
        Ok(command)
    }

    fn pgbench(&self, arguments: &[&str]) -> Result<String> {
        let mut pgbench = as_postgres(text(&self.programs.join("pgbench"))?);
        capture(pgbench.args(["-h", text(&self.socket)?, "-U", "postgres"]).args(arguments))
    }

    /// Orderly: with a checkpoint, so the data files hold all there is.
    fn stop(self) -> Result<()> {
        quiet(self.pg_ctl()?.args(["-m", "fast", "stop"])).context("stop PostgreSQL")
    }
}

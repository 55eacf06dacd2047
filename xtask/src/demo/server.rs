//! `hikae serve` as a process: started, asked, killed, started again.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Build, REGIONS, answer};
use crate::janitor::Janitor;
use crate::libvirtd::URI;
use crate::sh::{self, command, free_port, loud, say, wait_for};

const UP_AT_MOST: Duration = Duration::from_secs(30);

/// What it serves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Serving<'a> {
    /// What this configuration says.
    Config(&'a str),
    /// So many instances that exist nowhere.
    Simulated(usize),
}

#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    data: PathBuf,
    log: PathBuf,
    region: &'static str,
    port: u16,
    child: Child,
    /// The most memory any of its lives has used.
    peak_kib: u64,
}

/// Builds the server and says where it is.
pub(crate) fn build(build: Build) -> Result<PathBuf> {
    let mut cargo = command("cargo", &["build", "--quiet", "-p", "hikae-server", "--bin", "hikae"]);
    let directory = match build {
        Build::Debug => "debug",
        Build::Release => {
            cargo.arg("--release");
            "release"
        }
    };
    loud(&mut cargo).context("build hikae")?;
    Ok(sh::target().join(directory).join("hikae"))
}

/// Two regions; the local libvirt belongs to the first.
pub(crate) fn two_regions() -> String {
    let [near, far] = REGIONS;
    format!(
        "[server]\ndefault_region = \"{near}\"\n\n\
         [[region]]\nid = \"{near}\"\n\n[[region.host]]\nuri = \"{URI}\"\n\n\
         [[region]]\nid = \"{far}\"\n"
    )
}

impl Server {
    pub(crate) fn start(
        janitor: &Janitor,
        program: &Path,
        home: &Path,
        serving: Serving<'_>,
    ) -> Result<Self> {
        let (data, log, port) = (home.join("data"), home.join("server.log"), free_port()?);
        let mut arguments = vec!["serve".to_owned(), "--data".into(), data.display().to_string()];
        arguments.extend(["--listen".into(), format!("127.0.0.1:{port}")]);
        let region = match serving {
            Serving::Config(config) => {
                let file = home.join("hikae.toml");
                std::fs::write(&file, config)?;
                arguments.extend(["--config".into(), file.display().to_string()]);
                REGIONS[0]
            }
            Serving::Simulated(count) => {
                arguments.extend(["--simulate".into(), count.to_string()]);
                "default"
            }
        };
        let child = launch(program, &arguments, &log)?;
        janitor.adopt(&child)?;
        let mut server =
            Self { program: program.to_owned(), arguments, data, log, region, port, child, peak_kib: 0 };
        server.wait_until_up()?;
        Ok(server)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// What clients find in their environment.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, String)>> {
        let file = self.data.join("root-access-key.json");
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let key: Value = serde_json::from_str(&text).context("read the root access key")?;
        Ok(vec![
            ("HIKAE_ENDPOINT", format!("http://{}", self.endpoint())),
            ("HIKAE_REGION", self.region.to_owned()),
            ("HIKAE_ACCESS_KEY_ID", answer::text(&key, "access_key_id")?),
            ("HIKAE_ACCESS_KEY_SECRET", answer::text(&key, "access_key_secret")?),
        ])
    }

    /// As a crash would end it: no farewell.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.note_memory();
        self.child.kill().context("kill the server")?;
        self.child.wait().context("bury the server")?;
        Ok(())
    }

    /// The same server over the same data.
    pub(crate) fn restart(&mut self, janitor: &Janitor) -> Result<()> {
        self.child = launch(&self.program, &self.arguments, &self.log)?;
        janitor.adopt(&self.child)?;
        self.wait_until_up()
    }

    /// Peak memory so far, over all its lives.
    pub(crate) fn peak_mib(&mut self) -> u64 {
        self.note_memory();
        self.peak_kib / 1024
    }

    /// Saves its log from being cleaned away.
    pub(crate) fn keep_log(&self) -> Result<()> {
        let kept = sh::target().join("demo/last-server.log");
        std::fs::copy(&self.log, &kept).context("keep the server's log")?;
        say(format!("the server's log is kept as {}", kept.display()));
        Ok(())
    }

    fn note_memory(&mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        self.peak_kib = self.peak_kib.max(peak_kib(&status).unwrap_or(0));
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let key = self.data.join("root-access-key.json");
        let (port, log, child) = (self.port, &self.log, &mut self.child);
        wait_for("hikae serve answers", UP_AT_MOST, || {
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("hikae serve ended with {status}\n{said}");
            }
            let up = key.exists() && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            Ok(up.then_some(()))
        })
    }
}

fn launch(program: &Path, arguments: &[String], log: &Path) -> Result<Child> {
    let log: File =
        OpenOptions::new().create(true).append(true).open(log).context("open the server's log")?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C is ours to handle: the server must not be gone before the guests are.
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", program.display()))
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(peak_kib("VmPeak:\t  9 kB\nVmHWM:\t  1234 kB\n"), Some(1234));
        assert_eq!(peak_kib("Name:\thikae\n"), None);
        let own = std::fs::read_to_string("/proc/self/status").expect("read our own");
        assert!(peak_kib(&own).is_some_and(|kib| kib > 0));
    }
}

//! Cleans up after xtask, however xtask ends.
//!
//! # Crash consistency  a process of its own reads from a pipe what was started. When the pipe closes (the
//!   end, a panic, Ctrl-C, `kill -9`) it stops all it was told of, last first. There is no second way.
//! # Concurrency        one janitor a run, in a process group of its own: Ctrl-C does not reach it.
//! # Errors             what can't be stopped is said, and the next thing is stopped all the same.
//! # Limits             a process gets five seconds to end before it is killed.

use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::sh::{capture, command, say, succeeds, wait_for};

const END_AT_MOST: Duration = Duration::from_secs(5);

/// Something that must not outlive this run. One line each on the pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Duty {
    /// A process, known by its start time as well: numbers are used again.
    Process { pid: u32, started: u64 },
    /// A libvirt domain with everything libvirt keeps of it.
    Domain { uri: String, name: String },
    /// All domains whose names begin so: clones get names of their own.
    Domains { uri: String, prefix: String },
    /// A PostgreSQL server by its `pg_ctl` and data directory.
    Postgres { pg_ctl: String, data: String },
    /// A mount point of ours, and the directory it was.
    Mount(String),
    /// A file or a directory of ours.
    Path(String),
}

impl Duty {
    fn to_line(&self) -> String {
        match self {
            Self::Process { pid, started } => format!("process\t{pid}\t{started}"),
            Self::Domain { uri, name } => format!("domain\t{uri}\t{name}"),
            Self::Domains { uri, prefix } => format!("domains\t{uri}\t{prefix}"),
            Self::Postgres { pg_ctl, data } => format!("postgres\t{pg_ctl}\t{data}"),
            Self::Mount(path) => format!("mount\t{path}"),
            Self::Path(path) => format!("path\t{path}"),
        }
    }

    fn from_line(line: &str) -> Result<Self> {
        let parts: Vec<&str> = line.split('\t').collect();
        Ok(match parts.as_slice() {
            ["process", pid, started] => Self::Process { pid: pid.parse()?, started: started.parse()? },
            ["domain", uri, name] => Self::Domain { uri: (*uri).into(), name: (*name).into() },
            ["domains", uri, prefix] if !prefix.is_empty() => {
                Self::Domains { uri: (*uri).into(), prefix: (*prefix).into() }
            }
            ["postgres", pg_ctl, data] => Self::Postgres { pg_ctl: (*pg_ctl).into(), data: (*data).into() },
            ["mount", path] => Self::Mount((*path).into()),
            ["path", path] => Self::Path((*path).into()),
            _ => bail!("not a duty: {line:?}"),
        })
    }

    fn fulfil(&self) -> Result<()> {
        match self {
            Self::Process { pid, started } => end(*pid, *started),
            Self::Domain { uri, name } => remove_domain(uri, name),
            Self::Domains { uri, prefix } => remove_domains(uri, prefix),
            Self::Postgres { pg_ctl, data } => stop_postgres(pg_ctl, data),
            Self::Mount(path) => unmount(path),
            Self::Path(path) => remove(Path::new(path)),
        }
    }
}

/// The running janitor, seen from the run it cleans up after.
#[derive(Debug, Clone)]
pub(crate) struct Janitor(Arc<Mutex<Option<Hired>>>);

#[derive(Debug)]
struct Hired {
    child: Child,
    pipe: ChildStdin,
}

impl Janitor {
    /// Starts it, and a watch for Ctrl-C that lets it finish before the shell prompts again.
    pub(crate) fn hire() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("find xtask itself")?)
            .arg("janitor")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("start the janitor")?;
        let pipe = child.stdin.take().context("speak to the janitor")?;
        let janitor = Self(Arc::new(Mutex::new(Some(Hired { child, pipe }))));
        let watching = janitor.clone();
        std::thread::spawn(move || watch_signals(&watching));
        Ok(janitor)
    }

    /// Says what must not outlive this run. Say it before starting what
    /// has a name, and at once after starting what has none.
    pub(crate) fn must(&self, duty: &Duty) -> Result<()> {
        let mut hired = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hired = hired.as_mut().context("cleaning up has begun")?;
        writeln!(hired.pipe, "{}", duty.to_line()).context("tell the janitor")
    }

    /// Takes care of a child just started.
    pub(crate) fn adopt(&self, child: &Child) -> Result<()> {
        let started = started(child.id()).with_context(|| format!("process {} ended at once", child.id()))?;
        self.must(&Duty::Process { pid: child.id(), started })
    }

    /// Has everything stopped, and waits for it. A second call finds nothing to do.
    pub(crate) fn dismiss(&self) -> Result<()> {
        let hired = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Hired { mut child, pipe }) = hired else { return Ok(()) };
        drop(pipe);
        let status = child.wait().context("wait for the janitor")?;
        if !status.success() {
            bail!("not everything could be cleaned up");
        }
        Ok(())
    }
}

fn watch_signals(janitor: &Janitor) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    });
    println!();
    say("interrupted: cleaning up");
    let _ = janitor.dismiss();
    std::process::exit(130);
}

/// The janitor's own main: collects duties until the pipe closes, then fulfils them, last first.
pub(crate) fn work() -> Result<()> {
    let mut duties = Vec::new();
    for line in std::io::stdin().lock().lines() {
        duties.push(Duty::from_line(&line.context("read a duty")?)?);
    }
    let mut left = 0;
    for duty in duties.iter().rev() {
        if let Err(error) = duty.fulfil() {
            say(format!("could not clean up {duty:?}: {error:#}"));
            left += 1;
        }
    }
    if left > 0 {
        bail!("{left} of {} things are left behind", duties.len());
    }
    Ok(())
}

/// A process's start time in clock ticks since boot; `None` when there is none, or only its corpse.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything: fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if *fields.first()? == "Z" {
        return None;
    }
    fields.get(19)?.parse().ok()
}

fn end(pid: u32, start: u64) -> Result<()> {
    let gone = || Ok((started(pid) != Some(start)).then_some(()));
    if gone()?.is_some() {
        return Ok(());
    }
    send(pid, Signal::TERM);
    if wait_for("end", END_AT_MOST, gone).is_ok() {
        return Ok(());
    }
    send(pid, Signal::KILL);
    wait_for(&format!("process {pid} killed"), END_AT_MOST, gone)
}

/// Gone meanwhile is what we want anyway: whoever waits sees it.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn remove_domain(uri: &str, name: &str) -> Result<()> {
    if !succeeds(&mut command("virsh", &["-q", "-c", uri, "version"])) {
        return end_orphan(name);
    }
    let known = || succeeds(&mut command("virsh", &["-q", "-c", uri, "dominfo", name]));
    if !known() {
        return Ok(());
    }
    succeeds(&mut command("virsh", &["-q", "-c", uri, "destroy", name]));
    let undefine = ["-q", "-c", uri, "undefine", name, "--checkpoints-metadata", "--nvram"];
    if known() && !succeeds(&mut command("virsh", &undefine)) && known() {
        bail!("domain {name} is still defined");
    }
    Ok(())
}

/// Without libvirt a guest of ours runs on with nobody to end it.
fn end_orphan(name: &str) -> Result<()> {
    let Ok(pid) = std::fs::read_to_string(format!("/run/libvirt/qemu/{name}.pid")) else { return Ok(()) };
    let pid = pid.trim().parse().with_context(|| format!("{name} has no process number"))?;
    match started(pid) {
        Some(start) => end(pid, start),
        None => Ok(()),
    }
}

fn remove_domains(uri: &str, prefix: &str) -> Result<()> {
    if !succeeds(&mut command("virsh", &["-q", "-c", uri, "version"])) {
        // Those we know by name have duties of their own.
        return Ok(());
    }
    let names = capture(&mut command("virsh", &["-q", "-c", uri, "list", "--all", "--name"]))?;
    for name in names.lines().filter(|name| name.starts_with(prefix)) {
        remove_domain(uri, name)?;
    }
    Ok(())
}

fn stop_postgres(pg_ctl: &str, data: &str) -> Result<()> {
    if !Path::new(data).join("postmaster.pid").exists() {
        return Ok(());
    }
    let stop = ["-u", "postgres", "--", pg_ctl, "-D", data, "-m", "immediate", "-w", "stop"];
    capture(command("runuser", &stop).current_dir("/")).map(drop)
}

/// As often as it was mounted: removing what is under a mount would empty somebody's disk.
fn unmount(path: &str) -> Result<()> {
    while succeeds(&mut command("mountpoint", &["-q", path])) {
        capture(&mut command("umount", &[path]))?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    let done = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match done {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duty_survives_the_pipe() {
        let duties = [
            Duty::Process { pid: 7, started: 99 },
            Duty::Domain { uri: "qemu:///system".into(), name: "hikae-demo-a".into() },
            Duty::Domains { uri: "qemu:///system".into(), prefix: "hikae-demo-".into() },
            Duty::Postgres { pg_ctl: "/usr/bin/pg_ctl".into(), data: "/data dir".into() },
            Duty::Mount("/a mount".into()),
            Duty::Path("/some where/else".into()),
        ];
        for duty in duties {
            assert_eq!(Duty::from_line(&duty.to_line()).expect("our own line"), duty);
        }
    }

    #[test]
    fn an_empty_prefix_would_be_every_domain_and_is_refused() {
        assert!(Duty::from_line("domains\tqemu:///system\t").is_err());
    }

    #[test]
    fn a_process_is_ended_and_its_number_alone_is_not_enough() {
        let mut child = command("sleep", &["600"]).spawn().expect("start sleep");
        let start = started(child.id()).expect("it runs");
        end(child.id(), start + 1).expect("another process with this number is none of ours");
        assert_eq!(started(child.id()), Some(start), "the wrong process was ended");

        end(child.id(), start).expect("it ends");
        assert_eq!(started(child.id()), None);
        child.wait().expect("bury it");
        end(child.id(), start).expect("gone already is fine");
    }
}

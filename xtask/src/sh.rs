//! Runs other programs: quietly, and with all they said when they fail.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The last lines of a failed program's output that are worth showing.
const TAIL_LINES: usize = 40;

/// The workspace's root directory.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where everything xtask makes is kept.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// One line about what is being done.
pub(crate) fn say(what: impl AsRef<str>) {
    println!("xtask: {}", what.as_ref());
}

/// A command in the workspace's root, with nothing to read.
pub(crate) fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs it to its end and returns what it printed; its failure is an error with the tail of what it said.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{} ended with {}\n{}", shown(command), output.status, tail(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it quietly, for its effect.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    capture(command).map(drop)
}

/// Runs it with our own standard output.
pub(crate) fn loud(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Whether it ran and succeeded; a program that is not there counts as no.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What it printed, whatever its exit code.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("run {}", shown(command)))
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let _ = write!(text, " {}", argument.to_string_lossy());
    }
    text
}

fn tail(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let text = String::from_utf8_lossy(&all);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Looks again and again until it is so, or too late.
pub(crate) fn wait_for<T>(
    what: &str,
    at_most: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() > at_most {
            bail!("{what}: not within {} s", at_most.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Does it and says how long that took.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = now();
    let done = work();
    let verdict = if done.is_ok() { "done" } else { "FAILED" };
    say(format!("{what}: {verdict} in {:.1} s", began.elapsed().as_secs_f64()));
    done
}

#[expect(clippy::disallowed_methods, reason = "a developer's tool reads the clock itself")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A TCP port on loopback that is free at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("look for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// A path as text; ours are all UTF-8.
pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_what_the_program_said() {
        let error = capture(&mut command("sh", &["-c", "echo out; echo err >&2; exit 3"]));
        let text = format!("{:#}", error.expect_err("exit 3 is a failure"));
        assert!(text.contains("out") && text.contains("err") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_missing_program_does_not_succeed() {
        assert!(!succeeds(&mut command("/nonexistent/program", &[])));
        assert!(succeeds(&mut command("true", &[])));
    }
}

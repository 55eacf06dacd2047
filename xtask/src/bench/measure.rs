//! Runs one program and says what it cost.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::sh::{capture, now, shown, text};

/// What one run took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    /// In the kernel and out of it, of all its processes.
    pub(crate) cpu_s: f64,
    /// The most memory its largest process held at once, in MB of a million bytes.
    pub(crate) rss_mb: f64,
}

/// Runs it through GNU time, which asks the kernel at the end of the process (`wait4`) what it had used, and
/// is small itself: a child of a large process counts the parent's memory as its own until it is another
/// program.
pub(crate) fn run(command: &Command, scratch: &Path) -> Result<(Cost, String)> {
    let told = scratch.join("cost");
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-q", "-f", "%U %S %M", "-o", text(&told)?, "--"]);
    timed.arg(command.get_program()).args(command.get_args()).stdin(std::process::Stdio::null());
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    // What earlier runs wrote is on the disk before this one begins.
    rustix::fs::sync();
    let began = now();
    let said = capture(&mut timed).with_context(|| format!("measure {}", shown(command)))?;
    let wall_s = began.elapsed().as_secs_f64();
    let told = std::fs::read_to_string(&told).context("read what the run cost")?;
    let (cpu_s, rss_mb) = parse(&told)?;
    Ok((Cost { wall_s, cpu_s, rss_mb }, said))
}

fn parse(told: &str) -> Result<(f64, f64)> {
    let numbers: Vec<f64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user_s, system_s, rss_kib] = numbers.as_slice() else { bail!("time says {told:?}") };
    Ok((user_s + system_s, rss_kib * 1024.0 / 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_own_words_are_understood() {
        assert_eq!(parse("1.50 0.25 1000\n").expect("three numbers"), (1.75, 1.024));
        assert!(parse("").is_err());
    }
}

//! The machine a measurement ran on, and whether it had anything else to do.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::tools::Tool;
use crate::sh::{capture, command, now, say};

/// Of its processors, what others may take.
const BUSY_MAX: f64 = 0.05;
const LOOK: Duration = Duration::from_secs(2);
const WAIT_MAX: Duration = Duration::from_secs(180);
/// Of so many looks one is told.
const LOOKS_TOLD: usize = 10;

/// Waits until nobody else works here, for some minutes if it is `patient`; says what it found, and returns
/// the load.
pub(crate) fn quiet(patient: bool) -> Result<f64> {
    let began = now();
    let mut looks = 0_usize;
    loop {
        let before = times()?;
        std::thread::sleep(LOOK);
        let share = busy(before, times()?);
        let (load, waiting) = (load()?, patient && began.elapsed() < WAIT_MAX);
        if share <= BUSY_MAX || !waiting {
            let verdict = if share <= BUSY_MAX { "quiet" } else { "NOT QUIET" };
            say(format!("the machine is {verdict}: {:.0} % busy, load {load:.2}", share * 100.0));
            return Ok(load);
        }
        if looks.is_multiple_of(LOOKS_TOLD) {
            say(format!("waiting for a quiet machine: {:.0} % busy, load {load:.2}", share * 100.0));
        }
        looks += 1;
    }
}

/// Ticks that the processors worked, and all.
fn times() -> Result<(u64, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").context("ask the kernel what it does")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    let all = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}

#[expect(clippy::cast_precision_loss, reason = "a share, in whole percents")]
fn busy(before: (u64, u64), after: (u64, u64)) -> f64 {
    (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64
}

fn load() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("ask the kernel for its load")?;
    text.split(' ').next().and_then(|first| first.parse().ok()).context("a load is a number")
}

/// Everything a reader of the result may want to know of it.
pub(crate) fn about(tools: &[Tool], loads: &[f64]) -> Result<Value> {
    let field = |path: &str, name: &str| -> String {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let versions: serde_json::Map<String, Value> = tools
        .iter()
        .map(|tool| Ok((tool.name().to_owned(), Value::from(tool.version()?))))
        .collect::<Result<_>>()?;
    Ok(json!({
        "cpu": field("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "loads": loads,
        "commit": commit()?,
        "tools": versions,
    }))
}

/// The commit, marked when the tree has more than it.
pub(crate) fn commit() -> Result<String> {
    let commit = capture(&mut command("git", &["rev-parse", "--short", "HEAD"]))?;
    let changes = capture(&mut command("git", &["status", "--porcelain", "--untracked-files=no"]))?;
    let mark = if changes.is_empty() { "" } else { "-changed" };
    Ok(format!("{}{mark}", commit.trim()))
}

pub(crate) fn today() -> Result<String> {
    Ok(capture(&mut command("date", &["-u", "+%Y-%m-%d"]))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_was_not_idle_in_between() {
        assert!((busy((100, 1000), (110, 1040)) - 0.25).abs() < 1e-9);
        assert!(busy((100, 1000), (100, 1000)).abs() < 1e-9);
        let (worked, all) = times().expect("the kernel tells");
        assert!(worked <= all && all > 0);
    }
}

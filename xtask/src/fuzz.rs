//! `cargo xtask fuzz`: builds the fuzz targets with plain cargo, and lets each run for its share of the time.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::setup;
use crate::sh::{command, loud, output, root, say, target, text, timed};

/// All targets together; what CI grants them.
const SECONDS: u64 = 60;
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Coverage as libFuzzer wants it, from the stable compiler, and no sanitizer: there is no unsafe code to
/// watch.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
/// Inputs grow up to this: larger ones only run slower through the same loops.
const INPUT_BYTES_MAX: &str = "16384";

/// `[--seconds N] [TARGET…]`; all targets by default.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    let (seconds, wanted) = match arguments {
        ["--seconds", seconds, wanted @ ..] => (seconds.parse().context("--seconds wants a number")?, wanted),
        wanted => (SECONDS, wanted),
    };
    let all = targets()?;
    if let Some(unknown) = wanted.iter().find(|wanted| !all.iter().any(|target| target == *wanted)) {
        bail!("there is no fuzz target {unknown}; there are {}", all.join(", "));
    }
    let chosen: Vec<&String> =
        all.iter().filter(|target| wanted.is_empty() || wanted.contains(&target.as_str())).collect();
    timed("build the fuzz targets", build)?;
    let each = (seconds / chosen.len() as u64).max(1);
    timed("fuzz", || chosen.iter().try_for_each(|target| run_one(target, each)))
}

/// One a file.
fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

fn build() -> Result<()> {
    // libFuzzer comes as C++.
    setup::packages_for_fuzzing()?;
    let manifest = root().join("fuzz/Cargo.toml");
    let arguments = ["build", "--quiet", "--release", "--locked", "--target", TRIPLE, "--manifest-path"];
    let mut cargo = command("cargo", &arguments);
    cargo.arg(manifest).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", folder());
    loud(&mut cargo)
}

fn folder() -> PathBuf {
    target().join("fuzz")
}

/// Finds are kept under `target`; the seeds in `fuzz/corpus` are only read.
fn run_one(target: &str, seconds: u64) -> Result<()> {
    let (finds, crashes) = (folder().join("corpus").join(target), folder().join("crashes"));
    for folder in [&finds, &crashes] {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let program = folder().join(TRIPLE).join("release").join(target);
    let mut fuzzer = command(&program, &["-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=0"]);
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={INPUT_BYTES_MAX}"));
    fuzzer.arg(format!("-artifact_prefix={}/{target}-", text(&crashes)?));
    fuzzer.arg(&finds).arg(root().join("fuzz/corpus").join(target));
    let ended = output(&mut fuzzer)?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() {
        let tail: Vec<&str> = said.lines().rev().take(30).collect();
        tail.iter().rev().for_each(|line| eprintln!("{line}"));
        bail!("fuzz target {target} failed; `{} INPUT` runs the input named above again", program.display());
    }
    let done = said.lines().rfind(|line| line.contains("DONE")).unwrap_or("nothing said");
    say(format!("fuzz {target}: {}", done.trim()));
    Ok(())
}

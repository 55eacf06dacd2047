//! Any history leaves every group whole: writers, deleters, collectors and readers in several processes
//! on one bucket, every object operation held up, lost or late as a seed says, processes killed and
//! started anew, clocks apart and jumping. A seed that fails prints how to run it again.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod history;
mod model;
#[path = "../support/mod.rs"]
mod support;
mod tasks;

use std::panic::{AssertUnwindSafe, catch_unwind};

use history::{Summary, live};

/// Fixed seeds of every run, and as many fresh ones.
const SEEDS: u64 = 300;
/// Tasks of the longest history.
const TASKS: usize = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A history, or what it broke.
fn run(seed: u64, tasks: usize) -> Result<Summary, String> {
    catch_unwind(AssertUnwindSafe(|| live(seed, tasks))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// The same decisions are drawn however many tasks there are to be, so the shortest history that
/// breaks the same promise is a beginning of the one that was found.
fn told(seed: u64, what: &str) -> String {
    let alike = |other: &str| other.split(' ').take(2).eq(what.split(' ').take(2));
    let shortest = (1..TASKS).find(|tasks| run(seed, *tasks).is_err_and(|other| alike(&other)));
    let shortest = shortest.unwrap_or(TASKS);
    format!(
        "history {seed} broke a promise: {what}\nreplay: HIKAE_SIM_SEED={seed} HIKAE_SIM_TASKS={shortest} \
         HIKAE_SIM_TRACE=1 cargo test -p hikae-depot --test histories -- --nocapture any_history"
    )
}

#[test]
fn any_history_leaves_every_group_whole() {
    if let Some(seed) = number("HIKAE_SIM_SEED") {
        let tasks = number("HIKAE_SIM_TASKS").map_or(TASKS, |tasks| usize::try_from(tasks).unwrap());
        println!("{:#?}", live(seed, tasks));
        return;
    }
    let fresh = std::fs::read("/proc/sys/kernel/random/uuid").map(|bytes| blake3::hash(&bytes)).unwrap();
    let fresh = u64::from_le_bytes(fresh.as_bytes()[..8].try_into().unwrap()) >> 16;
    let runs = number("HIKAE_SIM_RUNS").unwrap_or(SEEDS);
    let mut sum = Summary::default();
    for seed in (0..SEEDS.min(runs)).chain(fresh..fresh + runs) {
        match run(seed, TASKS) {
            Ok(summary) => sum.add(&summary),
            Err(what) => panic!("{}", told(seed, &what)),
        }
    }
    println!("{sum:#?}");
    sum.has_seen_everything();
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [5, 1 << 40] {
        assert_eq!(run(seed, TASKS).unwrap(), run(seed, TASKS).unwrap());
    }
}

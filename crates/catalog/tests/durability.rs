//! Killed in the middle of writing: what was acknowledged is there, and no half of a batch is.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use catalog::{Batch, Catalog, Query};
use common::job;
use model::{Job, JobId};
use sqlx::Connection as _;

/// Set for the process that writes and is killed: this test, started again by itself.
const CHILD: &str = "HIKAE_CATALOG_DURABILITY_CHILD";

#[tokio::test]
async fn acknowledged_writes_survive_a_kill() {
    match std::env::var(CHILD) {
        Ok(url) => write_until_killed(&url).await,
        Err(_) => kill_and_look().await,
    }
}

/// Batch after batch of two jobs, numbered on from what is there; says so after each.
async fn write_until_killed(url: &str) {
    let catalog = Catalog::open(url).await.unwrap();
    let first = u32::try_from(catalog.count::<Job>(&Query::all()).await.unwrap()).unwrap();
    for number in (first..).step_by(2) {
        catalog.write(Batch::new().insert(&job(number)).insert(&job(number + 1))).await.unwrap();
        // Not `println!`, which the test harness may keep to itself.
        let mut out = std::io::stdout();
        writeln!(out, "acknowledged {number}").unwrap();
        out.flush().unwrap();
    }
}

async fn kill_and_look() {
    let fresh = common::sqlite("durability").await;
    let mut acknowledged: Vec<u32> = Vec::new();
    for round in 0..6 {
        acknowledged.extend(acknowledged_by_a_killed_child(&fresh.url, 1 + round * 9));

        let catalog = fresh.open().await;
        let jobs = catalog.list::<Job>(&Query::all().oldest_first()).await.unwrap();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        for number in acknowledged.iter().flat_map(|number| [*number, number + 1]) {
            assert!(
                ids.contains(&job(number).id),
                "round {round}: job {number} was acknowledged and is gone"
            );
        }
        // At most the one batch that was written and not yet acknowledged, whole.
        assert_eq!(ids.len() % 2, 0, "round {round}: half a batch");
        assert!(jobs.iter().enumerate().all(|(number, there)| *there == job(u32::try_from(number).unwrap())));
        catalog.close().await;
        assert_eq!(integrity(&fresh.url).await, "ok");
    }
    assert!(acknowledged.len() >= 6);
}

/// Kills the child once it acknowledged so many; all it acknowledged before it died.
fn acknowledged_by_a_killed_child(url: &str, enough: usize) -> Vec<u32> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["acknowledged_writes_survive_a_kill", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The harness's own lines come first; the last one may have been cut by the kill.
        let Ok(line) = line else { break };
        let Some((_, number)) = line.split_once("acknowledged ") else { continue };
        if let Ok(number) = number.parse() {
            acknowledged.push(number);
        }
        if acknowledged.len() == enough {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child ended by itself: {status}");
    assert!(acknowledged.len() >= enough, "{acknowledged:?}");
    acknowledged
}

async fn integrity(url: &str) -> String {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap()
}

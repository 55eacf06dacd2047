//! The background round: each reconciler comes round again by itself until the server stops.

use std::time::Duration;

use backup::{Backup, ExpirePoints, StartDueJobs};
use blocks::{Blocks, CollectGarbage, Report, SettleGroups, WatchHosts};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// What a person waits for, and what nobody waits for.
const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(60);
const SELDOM: Duration = Duration::from_secs(600);

/// Starts all of them, each in a task of its own, so that a slow one holds up no other.
pub(crate) fn start(blocks: &Blocks, backup: &Backup, stopping: &CancellationToken) -> JoinSet<()> {
    let mut rounds = JoinSet::new();
    macro_rules! round {
        ($name:literal, $every:expr, $reconciler:expr) => {{
            let (mut reconciler, stopping) = ($reconciler, stopping.clone());
            rounds.spawn(async move {
                loop {
                    tokio::select! {
                        report = reconciler.activate() => log($name, &report),
                        () = stopping.cancelled() => return,
                    }
                    tokio::select! {
                        () = tokio::time::sleep($every) => {}
                        () = stopping.cancelled() => return,
                    }
                }
            });
        }};
    }
    round!("watch_hosts", SOON, WatchHosts::new(blocks.clone()));
    round!("settle_groups", LATER, SettleGroups::new(blocks.clone()));
    round!("collect_garbage", SELDOM, CollectGarbage::new(blocks.clone()));
    round!("start_due_jobs", SOON, StartDueJobs::new(backup.clone()));
    round!("expire_points", LATER, ExpirePoints::new(backup.clone()));
    rounds
}

fn log(name: &str, report: &Report) {
    let (looked_at, acted_on) = (report.looked_at, report.acted_on);
    debug!(reconciler = name, looked_at, acted_on, "came round");
    for trouble in &report.troubles {
        warn!(reconciler = name, trouble, "will be tried again");
    }
}

//! Following a job to its end: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use model::ByteCount;
use serde_json::json;
use tokio::time::Instant;

use super::answer::items;
use super::failure::Failure;
use super::jobs::{JobRow, filter};
use super::output;
use super::{Session, pairs};
use crate::args::Output;

/// Between two looks: short jobs are not waited for longer than they take, long ones not asked all the time.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_millis(500);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(3);
/// A server that restarts is back within this.
const PATIENCE: Duration = Duration::from_secs(30);
const BAR_LEN: u64 = 10_000;

/// After a job was accepted: prints its id, or follows it.
pub(crate) async fn started(session: &Session, job: &str, wait: bool) -> Result<(), Failure> {
    if wait {
        return watch(session, job).await;
    }
    output::one(session.output, &json!({"id": job}), job)
}

/// Follows a backup job, a run over several instances, or a restore job.
pub(crate) async fn watch(session: &Session, job: &str) -> Result<(), Failure> {
    let followed = tokio::select! {
        row = follow(session, job) => row,
        signal = tokio::signal::ctrl_c() => {
            let _ = signal;
            let again = format!("'hikae job watch {job}' follows it again");
            Err(Failure::Interrupted(format!("no longer watching; {job} goes on. {again}")))
        }
    };
    let row = followed?;
    output::one(session.output, &row, &in_words(&row))?;
    if row.status == "COMPLETE" {
        return Ok(());
    }
    let because = if row.error.is_empty() { String::new() } else { format!(": {}", row.error) };
    Err(Failure::Failed(format!("{job} ended {}{because}", row.status)))
}

async fn follow(session: &Session, job: &str) -> Result<JobRow, Failure> {
    let mut show = Show::new(session.output);
    let mut answered = Instant::now();
    let mut pause = LOOK_FIRST;
    loop {
        match look(session, job).await {
            Ok(row) => {
                answered = Instant::now();
                show.update(&row);
                if row.is_over() {
                    show.finish();
                    return Ok(row);
                }
            }
            Err(Failure::Unreachable { .. }) if answered.elapsed() < PATIENCE => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(pause).await;
        pause = pause.mul_f32(1.2).min(LOOK_LAST);
    }
}

async fn look(session: &Session, job: &str) -> Result<JobRow, Failure> {
    let is_restore = job.parse::<model::RestoreId>().is_ok();
    let (action, path, key) = if is_restore {
        ("DescribeRestoreJobs2", ["RestoreJobs", "RestoreJob"], "RestoreId")
    } else {
        ("DescribeBackupJobs2", ["BackupJobs", "BackupJob"], "JobId")
    };
    let mut params = filter(key, job);
    if !is_restore {
        params.extend(pairs([("SourceType", "UDM_ECS")]));
    }
    let answer = session.client.hbr(action, params).await?;
    let found = items(&answer, &path).first();
    let row = if is_restore { found.map(JobRow::restore) } else { found.map(JobRow::backup) };
    row.ok_or_else(|| Failure::Usage(format!("there is no job {job} in this region")))
}

fn in_words(row: &JobRow) -> String {
    let mut text = format!("{} {}", row.id, row.status);
    if row.kind == "backup" {
        let (read, stored) = (ByteCount(row.bytes_done), ByteCount(row.bytes_stored));
        text.push_str(&format!(": {read} read, {stored} stored"));
    }
    if !row.target_instance_id.is_empty() {
        text.push_str(&format!(", instance {}", row.target_instance_id));
    }
    text
}

/// Progress on stderr, so that stdout stays the result's.
enum Show {
    Bar(ProgressBar),
    /// What is over before the first line is due says nothing but its end.
    Lines {
        last: Instant,
        text: String,
    },
    Nothing,
}

impl Show {
    fn new(output: Output) -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(BAR_LEN);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:32} {percent:>3}% {msg}") {
                bar.set_style(style);
            }
            return Self::Bar(bar);
        }
        match output {
            Output::Table => Self::Lines { last: Instant::now(), text: String::new() },
            Output::Json => Self::Nothing,
        }
    }

    fn update(&mut self, row: &JobRow) {
        let percent = row.progress_percent;
        match self {
            Self::Bar(bar) => {
                bar.set_prefix(row.id.clone());
                bar.set_message(format!("{} {}", row.status, ByteCount(row.bytes_done)));
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
                bar.set_position((percent * 100.0) as u64);
            }
            Self::Lines { last, text } => {
                let line = format!("{} {} {percent:.0}%", row.id, row.status);
                if last.elapsed() >= LINE && *text != line {
                    eprintln!("{line}");
                    (*last, *text) = (Instant::now(), line);
                }
            }
            Self::Nothing => {}
        }
    }

    fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

//! Backup jobs and restore jobs, in one shape.

use model::ByteCount;
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{items, number, text, time};
use super::failure::Failure;
use super::output::{self, Row};
use super::{Session, client, instances, pairs, watch};
use crate::args::{BackupArgs, JobListArgs};

const PAGE: usize = 99;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct JobRow {
    pub(crate) id: String,
    /// `backup`, or the restore's type on the wire.
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) progress_percent: f64,
    pub(crate) instance_id: String,
    pub(crate) instance_name: String,
    /// Of a clone: the instance it made.
    pub(crate) target_instance_id: String,
    pub(crate) point: String,
    pub(crate) bytes_total: u64,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) created: Option<i64>,
    pub(crate) started: Option<i64>,
    pub(crate) completed: Option<i64>,
    pub(crate) error: String,
}

impl Row for JobRow {
    const HEADER: &'static [&'static str] =
        &["ID", "KIND", "STATUS", "PROGRESS", "INSTANCE", "READ", "STORED", "CREATED", "ERROR"];

    fn cells(&self) -> Vec<String> {
        let named = if self.instance_name.is_empty() { &self.instance_id } else { &self.instance_name };
        vec![
            self.id.clone(),
            kind_in_words(&self.kind).to_owned(),
            self.status.clone(),
            format!("{:.0}%", self.progress_percent),
            output::dash(named),
            ByteCount(self.bytes_done).to_string(),
            ByteCount(self.bytes_stored).to_string(),
            output::time(self.created),
            output::dash(&self.error),
        ]
    }
}

impl JobRow {
    pub(crate) fn is_over(&self) -> bool {
        ["COMPLETE", "PARTIAL_COMPLETE", "FAILED", "CANCELED", "EXPIRED"].contains(&self.status.as_str())
    }

    pub(crate) fn backup(job: &Value) -> Self {
        Self {
            id: text(job, "JobId"),
            kind: "backup".to_owned(),
            instance_id: text(job, "InstanceId"),
            instance_name: text(job, "InstanceName"),
            target_instance_id: String::new(),
            point: job.get("Detail").map(|detail| text(detail, "SnapshotId")).unwrap_or_default(),
            bytes_stored: number(job, "ActualBytes"),
            ..Self::common(job)
        }
    }

    pub(crate) fn restore(restore: &Value) -> Self {
        Self {
            id: text(restore, "RestoreId"),
            kind: text(restore, "RestoreType"),
            instance_id: text(restore, "SourceInstanceId"),
            instance_name: text(restore, "TargetInstanceName"),
            target_instance_id: text(restore, "TargetInstanceId"),
            point: text(restore, "SnapshotId"),
            ..Self::common(restore)
        }
    }

    fn common(job: &Value) -> Self {
        Self {
            id: String::new(),
            kind: String::new(),
            status: text(job, "Status"),
            #[expect(clippy::cast_precision_loss, reason = "at most ten thousand")]
            progress_percent: number(job, "Progress").min(10_000) as f64 / 100.0,
            instance_id: String::new(),
            instance_name: String::new(),
            target_instance_id: String::new(),
            point: String::new(),
            bytes_total: number(job, "BytesTotal"),
            bytes_done: number(job, "BytesDone"),
            bytes_stored: 0,
            created: time(job, "CreatedTime"),
            started: time(job, "StartTime"),
            completed: time(job, "CompleteTime"),
            error: text(job, "ErrorMessage"),
        }
    }
}

pub(crate) async fn back_up(session: &Session, arguments: &BackupArgs) -> Result<(), Failure> {
    let id = instances::find(session, &arguments.instance).await?;
    let days = arguments.keep_days.to_string();
    let mut params = pairs([
        ("SourceType", "UDM_ECS"),
        ("BackupType", "COMPLETE"),
        ("InstanceId", &id),
        ("Retention", &days),
        ("Detail", &json!({"snapshotGroup": true}).to_string()),
    ]);
    if !arguments.name.is_empty() {
        params.push(("JobName".to_owned(), arguments.name.clone()));
    }
    let answer = session.client.hbr("CreateBackupJob", params).await?;
    watch::started(session, &text(&answer, "JobId"), arguments.wait).await
}

pub(crate) async fn list(session: &Session, arguments: &JobListArgs) -> Result<(), Failure> {
    let of = match &arguments.instance {
        Some(instance) => Some(instances::find(session, instance).await?),
        None => None,
    };
    let (limit, of) = (arguments.limit, of.as_deref());
    let mut rows: Vec<JobRow> = Vec::new();
    if !arguments.restores {
        let mut params = pairs([("SourceType", "UDM_ECS")]);
        params.extend(of.map(|id| filter("InstanceId", id)).unwrap_or_default());
        let path = ["BackupJobs", "BackupJob"];
        rows.extend(pages(session, "DescribeBackupJobs2", params, path, JobRow::backup, of, limit).await?);
    }
    if !arguments.backups {
        let path = ["RestoreJobs", "RestoreJob"];
        let restores = pages(session, "DescribeRestoreJobs2", Vec::new(), path, JobRow::restore, of, limit);
        rows.extend(restores.await?);
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.created));
    rows.truncate(limit);
    output::list(session.output, &rows)
}

/// The newest `limit` rows about an instance, or about all.
async fn pages(
    session: &Session,
    action: &str,
    params: client::Pairs,
    path: [&str; 2],
    read: fn(&Value) -> JobRow,
    of: Option<&str>,
    limit: usize,
) -> Result<Vec<JobRow>, Failure> {
    let mut rows: Vec<JobRow> = Vec::new();
    let mut number = 1_usize;
    while rows.len() < limit {
        let mut params = params.clone();
        params.extend(pairs([("PageNumber", &number.to_string()), ("PageSize", &PAGE.to_string())]));
        let answer = session.client.hbr(action, params).await?;
        let page = items(&answer, &path);
        let about = |row: &JobRow| of.is_none_or(|id| id == row.instance_id || id == row.target_instance_id);
        rows.extend(page.iter().map(read).filter(about));
        if page.len() < PAGE {
            break;
        }
        number += 1;
    }
    Ok(rows)
}

/// What a table calls the kinds of jobs.
fn kind_in_words(kind: &str) -> &str {
    match kind {
        "UDM_ECS_ROLLBACK" => "roll back",
        "UDM_ECS_DISK_ROLLBACK" => "roll back disk",
        "UDM_ECS" => "clone",
        "UDM_ECS_DISK" => "clone disk",
        other => other,
    }
}

pub(crate) async fn cancel(session: &Session, job: &str) -> Result<(), Failure> {
    session.client.hbr("CancelBackupJob", pairs([("JobId", job)])).await?;
    output::one(session.output, &json!({"id": job, "canceling": true}), &format!("{job} is asked to stop"))
}

/// One filter, as the API flattens it.
pub(crate) fn filter(key: &str, value: &str) -> client::Pairs {
    pairs([("Filters.1.Key", key), ("Filters.1.Values.1", value)])
}

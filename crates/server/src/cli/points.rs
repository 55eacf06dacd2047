//! Points: listing and deleting them.

use model::{ByteCount, Clock};
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{number, text, texts, time};
use super::confirm::confirm;
use super::failure::Failure;
use super::output::{self, Row};
use super::{Session, answer, instances, pairs};
use crate::edge::RealClock;

/// Points are asked for by a span of time; this one reaches a little beyond clocks that differ.
const AHEAD_SECONDS: i64 = 86_400;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct PointRow {
    pub(crate) id: String,
    pub(crate) instance_id: String,
    instance_name: String,
    status: String,
    created: Option<i64>,
    expires: Option<i64>,
    keep_days: u64,
    consistency: String,
    bytes_total: u64,
    bytes_stored: u64,
    job: String,
    disks: Vec<String>,
    snapshots: Vec<String>,
}

impl Row for PointRow {
    const HEADER: &'static [&'static str] =
        &["ID", "INSTANCE", "STATUS", "TAKEN", "EXPIRES", "SIZE", "STORED", "CONSISTENCY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.named().to_owned(),
            self.status.clone(),
            output::time(self.created),
            output::time(self.expires),
            ByteCount(self.bytes_total).to_string(),
            ByteCount(self.bytes_stored).to_string(),
            output::dash(&self.consistency),
        ]
    }
}

impl PointRow {
    /// Its instance as people call it.
    pub(crate) fn named(&self) -> &str {
        if self.instance_name.is_empty() { &self.instance_id } else { &self.instance_name }
    }
}

pub(crate) async fn list(session: &Session, instance: Option<&str>) -> Result<(), Failure> {
    let mut rows = fetch(session, &[]).await?;
    if let Some(given) = instance {
        // Points outlive their instance, so their own names count, not those of today's instances.
        let known: std::collections::BTreeMap<_, _> =
            rows.iter().map(|row| (row.instance_id.clone(), row.instance_name.clone())).collect();
        let pairs = known.iter().map(|(id, name)| (id.as_str(), name.as_str()));
        let id = match instances::pick("instance with points", given, pairs) {
            Ok(id) => id,
            // An instance without points is an empty list; only an unknown one is a mistake.
            Err(failure) => instances::find(session, given).await.map_err(|_| failure)?,
        };
        rows.retain(|row| row.instance_id == id);
    }
    output::list(session.output, &rows)
}

pub(crate) async fn delete(session: &Session, points: &[String], yes: bool) -> Result<(), Failure> {
    let what = match points {
        [point] => format!("deletes the point {point} for good"),
        many => format!("deletes {} points for good", many.len()),
    };
    confirm(yes, &what)?;
    for point in points {
        let params = pairs([("SnapshotId", point.as_str()), ("SourceType", "UDM_ECS")]);
        session.client.hbr("DeleteSnapshot", params).await?;
    }
    let sentence = format!("{} deleted", points.join(", "));
    output::one(session.output, &json!({"deleted": points}), &sentence)
}

/// The one point meant.
pub(crate) async fn find(session: &Session, point: &str) -> Result<PointRow, Failure> {
    point.parse::<model::PointId>()?;
    let found = fetch(session, &[point]).await?.into_iter().find(|row| row.id == point);
    found.ok_or_else(|| Failure::Usage(format!("there is no point {point} in this region: list them")))
}

async fn fetch(session: &Session, ids: &[&str]) -> Result<Vec<PointRow>, Failure> {
    let region = session.client.region().await?;
    let end = RealClock.now().plus_seconds(AHEAD_SECONDS).seconds().to_string();
    let mut params =
        pairs([("SourceType", "UDM_ECS"), ("StartTime", "0"), ("EndTime", &end), ("UdmRegionId", &region)]);
    if !ids.is_empty() {
        params.push(("SnapshotIds".to_owned(), json!(ids).to_string()));
    }
    let answer = session.client.hbr("DescribeUdmSnapshots", params).await?;
    Ok(answer::items(&answer, &["Snapshots"]).iter().map(row).collect())
}

fn row(point: &Value) -> PointRow {
    let detail = point.get("Detail").unwrap_or(&Value::Null);
    PointRow {
        id: text(point, "SnapshotId"),
        instance_id: text(point, "InstanceId"),
        instance_name: text(detail, "InstanceName"),
        status: text(point, "Status"),
        created: time(point, "RealSnapshotTime").or_else(|| time(point, "CreatedTime")),
        expires: time(point, "ExpireTime"),
        keep_days: number(point, "Retention"),
        consistency: text(detail, "ConsistentLevel"),
        bytes_total: number(point, "BytesTotal"),
        bytes_stored: number(point, "ActualBytes"),
        job: text(point, "JobId"),
        disks: texts(detail, &["DiskIdList"]),
        snapshots: texts(detail, &["NativeSnapshotIdList"]),
    }
}

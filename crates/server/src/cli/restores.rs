//! Rolling back and cloning.

use serde_json::{Value, json};

use super::answer::text;
use super::confirm::confirm;
use super::failure::Failure;
use super::{Session, pairs, points, watch};
use crate::args::{CloneArgs, RollbackArgs};

pub(crate) async fn roll_back(session: &Session, arguments: &RollbackArgs) -> Result<(), Failure> {
    let point = points::find(session, &arguments.point).await?;
    let (instance, id) = (point.named(), &point.id);
    let what = format!("overwrites the disks of {instance} with what they were at {id}");
    confirm(arguments.yes, &what)?;
    let detail = json!({
        "sourceInstanceId": point.instance_id,
        "forceRestore": arguments.force,
        "bootAfterRestore": arguments.boot,
    });
    start(session, "UDM_ECS_ROLLBACK", &point.id, &detail, arguments.wait).await
}

pub(crate) async fn clone(session: &Session, arguments: &CloneArgs) -> Result<(), Failure> {
    let point = points::find(session, &arguments.point).await?;
    let detail = json!({
        "restoredName": arguments.name,
        "restoredHostName": arguments.name,
        "instanceType": arguments.instance_type,
        "restoredNetwork": arguments.network,
        "securityGroup": "",
        "diskCategory": "cloud_essd",
        "bootAfterRestore": arguments.boot,
    });
    start(session, "UDM_ECS", &point.id, &detail, arguments.wait).await
}

async fn start(
    session: &Session,
    kind: &str,
    point: &str,
    detail: &Value,
    wait: bool,
) -> Result<(), Failure> {
    let region = session.client.region().await?;
    let params = pairs([
        ("RestoreType", kind),
        ("SourceType", "UDM_ECS"),
        ("SnapshotId", point),
        ("UdmRegionId", &region),
        ("UdmDetail", &detail.to_string()),
    ]);
    let answer = session.client.hbr("CreateRestoreJob", params).await?;
    watch::started(session, &text(&answer, "RestoreId"), wait).await
}

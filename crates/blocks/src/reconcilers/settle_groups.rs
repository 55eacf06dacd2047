//! Closes sessions on hosts that were away when their group came to rest.

use catalog::{Column, Query};
use host::Fate;
use model::{Group, InstanceId, SnapshotStatus};
use tracing::warn;

use super::Report;
use crate::Blocks;
use crate::service::Shared;

#[derive(Debug, Clone)]
pub struct SettleGroups {
    blocks: Blocks,
}

impl SettleGroups {
    pub fn new(blocks: Blocks) -> Self {
        Self { blocks }
    }

    pub async fn activate(&mut self) -> Report {
        let mut report = Report::default();
        let shared = &self.blocks.shared;
        let groups: Vec<Group> = match shared.catalog.list(&unsettled()).await {
            Ok(groups) => groups,
            Err(error) => {
                report.troubles.push(error.to_string());
                return report;
            }
        };
        report.looked_at = groups.len();
        for group in groups {
            match settle(shared, &group).await {
                Ok(()) => report.acted_on += 1,
                Err(trouble) => report.troubles.push(format!("group {}: {trouble}", group.id)),
            }
        }
        report
    }
}

/// The same for one instance, right before it is snapshotted again: the next backup must not have to
/// wait for this reconciler to come round. What cannot be closed is left, and will be in its way.
pub(crate) async fn settle_instance(
    shared: &Shared,
    instance: InstanceId,
) -> Result<(), catalog::CatalogError> {
    let groups: Vec<Group> = shared.catalog.list(&unsettled().eq(Column::Instance, instance)).await?;
    for group in groups {
        if let Err(trouble) = settle(shared, &group).await {
            warn!(group = %group.id, trouble, "its session is still open");
        }
    }
    Ok(())
}

fn unsettled() -> Query {
    let ended = [SnapshotStatus::Accomplished, SnapshotStatus::Failed];
    Query::all().one_of(Column::Status, ended).eq(Column::Settled, false).limit(1000)
}

async fn settle(shared: &Shared, group: &Group) -> Result<(), String> {
    let fate = match group.status {
        SnapshotStatus::Accomplished => Fate::Keep,
        SnapshotStatus::Failed => Fate::Drop,
        SnapshotStatus::Progressing => return Ok(()),
    };
    let host = shared.host(&group.region, group.source.host).map_err(|refusal| refusal.to_string())?;
    host.unmark(group.instance, group.id, fate).await.map_err(|error| error.to_string())?;
    let settled = shared.catalog.update::<Group, _>(&group.id, |group| group.settled = true).await;
    settled.map(|_| ()).map_err(|error| error.to_string())
}

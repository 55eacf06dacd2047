//! Closes sessions on hosts that were away when their group came to rest.

use catalog::{Column, Query};
use host::Fate;
use model::{Group, SnapshotStatus};

use super::Report;
use crate::Blocks;

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
        let ended = [SnapshotStatus::Accomplished, SnapshotStatus::Failed];
        let query = Query::all().one_of(Column::Status, ended).eq(Column::Settled, false).limit(1000);
        let groups: Vec<Group> = match self.blocks.shared.catalog.list(&query).await {
            Ok(groups) => groups,
            Err(error) => {
                report.troubles.push(error.to_string());
                return report;
            }
        };
        report.looked_at = groups.len();
        for group in groups {
            match self.settle(&group).await {
                Ok(()) => report.acted_on += 1,
                Err(trouble) => report.troubles.push(format!("group {}: {trouble}", group.id)),
            }
        }
        report
    }

    async fn settle(&self, group: &Group) -> Result<(), String> {
        let fate = match group.status {
            SnapshotStatus::Accomplished => Fate::Keep,
            SnapshotStatus::Failed => Fate::Drop,
            SnapshotStatus::Progressing => return Ok(()),
        };
        let shared = &self.blocks.shared;
        let host = shared.host(&group.region, group.source.host).map_err(|refusal| refusal.to_string())?;
        host.unmark(group.instance, group.id, fate).await.map_err(|error| error.to_string())?;
        let settled = shared.catalog.update::<Group, _>(&group.id, |group| group.settled = true).await;
        settled.map(|_| ()).map_err(|error| error.to_string())
    }
}

//! Lets every depot take back what no group refers to any more.

use catalog::{CatalogError, Column, Query};
use depot::gc::Margins;
use format::TreeRef;
use model::{RegionId, Snapshot, SnapshotStatus};

use super::Report;
use crate::Blocks;

#[derive(Debug, Clone)]
pub struct CollectGarbage {
    blocks: Blocks,
}

impl CollectGarbage {
    pub fn new(blocks: Blocks) -> Self {
        Self { blocks }
    }

    pub async fn activate(&mut self) -> Report {
        let mut report = Report::default();
        for region in self.blocks.shared.all_regions() {
            report.looked_at += 1;
            let promised = match self.promised(&region.id).await {
                Ok(promised) => promised,
                Err(error) => {
                    report.troubles.push(error.to_string());
                    continue;
                }
            };
            match region.depot.collect(Margins::STANDARD, &promised).await {
                Ok(collected) => {
                    tracing::info!(region = %region.id, ?collected, "garbage collected");
                    report.acted_on += 1;
                    let troubles = collected.troubles.into_iter().chain(collected.refused);
                    report
                        .troubles
                        .extend(troubles.map(|trouble| format!("depot of {}: {trouble}", region.id)));
                }
                Err(error) => report.troubles.push(format!("depot of {}: {error}", region.id)),
            }
        }
        report
    }
    /// Trees that are written and whose group is not sealed: a job that a restart interrupted will
    /// seal them, and must not find their packs marked.
    async fn promised(&self, region: &RegionId) -> Result<Vec<TreeRef>, CatalogError> {
        let query = Query::all().eq(Column::Region, region).eq(Column::Status, SnapshotStatus::Progressing);
        let snapshots: Vec<Snapshot> = self.blocks.shared.catalog.list(&query).await?;
        Ok(snapshots.iter().filter_map(|snapshot| snapshot.root.as_ref()?.parse().ok()).collect())
    }
}

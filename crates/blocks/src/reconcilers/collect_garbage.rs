//! Lets every depot take back what no group refers to any more.

use depot::gc::Margins;

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
            match region.depot.collect(Margins::STANDARD).await {
                Ok(collected) => {
                    tracing::info!(region = %region.id, ?collected, "garbage collected");
                    report.acted_on += 1;
                }
                Err(error) => report.troubles.push(format!("depot of {}: {error}", region.id)),
            }
        }
        report
    }
}

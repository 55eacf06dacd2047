//! Deletes the points whose time is over.

use blocks::Report;
use catalog::{Column, Query};
use model::{Point, PointStatus};

use crate::Backup;

/// As many as one activation takes on; the rest have their turn at the next.
const BATCH_MAX: u64 = 1000;

#[derive(Debug, Clone)]
pub struct ExpirePoints {
    backup: Backup,
}

impl ExpirePoints {
    pub fn new(backup: Backup) -> Self {
        Self { backup }
    }

    pub async fn activate(&mut self) -> Report {
        let mut report = Report::default();
        let shared = &self.backup.shared;
        let ended = [PointStatus::Available, PointStatus::Unusable];
        let query = Query::all()
            .one_of(Column::Status, ended)
            .at_most(Column::Expires, shared.clock.now())
            .limit(BATCH_MAX);
        let points: Vec<Point> = match shared.catalog.list(&query).await {
            Ok(points) => points,
            Err(error) => {
                report.troubles.push(error.to_string());
                return report;
            }
        };
        report.looked_at = points.len();
        for point in points {
            match self.backup.expire(&point).await {
                Ok(true) => report.acted_on += 1,
                Ok(false) => {}
                Err(refusal) => report.troubles.push(format!("point {}: {refusal}", point.id)),
            }
        }
        report
    }
}

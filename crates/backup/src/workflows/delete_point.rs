//! Deletes a point.
//!
//! | step        | touches | does                                                    | undo                     |
//! |-------------|---------|---------------------------------------------------------|--------------------------|
//! | (admit)     | catalog | point `Deleting`: nobody sees it any more               | –                        |
//! | **Remove**  | blocks  | deletes its group, waits until it is gone: **commit point** | – (a deletion is never taken back) |
//! | (rest)      | catalog | point `Deleted`                                         | –                        |

use std::sync::Arc;

use async_trait::async_trait;
use catalog::Batch;
use journal::Outcome;
use model::{GroupId, Point, PointId, PointStatus, TaskId};
use serde::{Deserialize, Serialize};
use workflow::{Context, Flow, Outline, StepError, Workflow};

use super::child;
use crate::service::Shared;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DeletePointParams {
    pub(crate) point: PointId,
    pub(crate) group: GroupId,
    pub(crate) task: TaskId,
}

pub(crate) struct DeletePoint {
    pub(crate) shared: Arc<Shared>,
    pub(crate) params: DeletePointParams,
}

pub(super) const OUTLINE: Outline = Outline { kind: "DeletePoint", steps: STEPS, commit: 0 };
const STEPS: &[&str] = &["Remove"];

#[async_trait]
impl Workflow for DeletePoint {
    fn outline(&self) -> Outline {
        OUTLINE
    }

    async fn run(&self, _: usize, _: &Context) -> Result<Flow, StepError> {
        let blocks = &self.shared.blocks;
        let again = |error: StepError| match error {
            // Whatever refuses a deletion now will not refuse it for ever.
            StepError::Failed(refusal) => StepError::Again(refusal),
            other => other,
        };
        if let Some(task) = blocks.task(self.params.task).await.map_err(StepError::Again)? {
            return child(&task).map_err(again);
        }
        blocks.delete_group(self.params.group, self.params.task).await.map_err(StepError::Again)?;
        // A group that is not there leaves no task to wait for.
        let admitted = blocks.task(self.params.task).await.map_err(StepError::Again)?.is_some();
        Ok(if admitted { Flow::Waiting } else { Flow::Done })
    }

    async fn undo(&self, _: usize, _: &Context) -> Result<Flow, StepError> {
        Ok(Flow::Done)
    }

    async fn rest(&self, _: &Outcome) -> Result<Batch, StepError> {
        let now = self.shared.clock.now();
        Ok(Batch::new().change::<Point>(&self.params.point, move |point| {
            point.status = PointStatus::Deleted;
            point.updated = now;
        }))
    }
}

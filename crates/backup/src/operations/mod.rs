//! What can be asked of the backup service. Handlers admit or refuse; they never retry.

mod bindings;
mod jobs;
mod points;
mod policies;
mod restores;
mod runs;

pub use bindings::NewBinding;
pub use jobs::NewBackup;
pub use policies::NewPolicy;
pub use restores::{NewRestore, NewRestoreKind};
pub(crate) use runs::policy_request;

use catalog::{Batch, CatalogError, WorkflowRow};
use model::{Code, InstanceId, Refusal};
use serde::Serialize;

use crate::Backup;

/// The lease under which an instance has one running job, backup or restore (semantics.md §15.13).
pub(crate) fn job_lease(instance: InstanceId) -> String {
    format!("job on {instance}")
}

impl Backup {
    /// Writes a workflow and its first records in one transaction, and sets it off.
    pub(crate) async fn admit<P: Serialize + Sync>(
        &self,
        id: String,
        kind: &str,
        params: &P,
        records: Batch,
    ) -> Result<(), CatalogError> {
        let row = WorkflowRow {
            id: id.clone(),
            service: "backup".to_owned(),
            kind: kind.to_owned(),
            params: serde_json::to_value(params)
                .map_err(|error| CatalogError::Misuse(format!("parameters of {id}: {error}")))?,
            created: self.shared.clock.now(),
            finished: false,
        };
        self.runner.admit(&row, records).await?;
        self.set_off(id);
        Ok(())
    }
}

pub(crate) fn not_found(code: Code, noun: &str, id: impl std::fmt::Display) -> Refusal {
    Refusal::new(code, format!("there is no {noun} {id}")).remedy(format!("List the {noun}s of the region."))
}

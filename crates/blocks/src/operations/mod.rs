//! What can be asked of the block service. Handlers admit or refuse; they never retry.

mod clones;
mod groups;
mod instances;
mod resets;
mod tasks;

pub use clones::{CreateDisk, CreateInstance};
pub use groups::CreateGroup;
pub use resets::{ResetDisk, ResetDisks};

use catalog::{Batch, CatalogError, Lease, Record, WorkflowRow};
use model::{
    ByteCount, Code, InstanceId, Progress, Refusal, RegionId, Task, TaskId, TaskKind, TaskStatus, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use workflow::Admission;

use crate::Blocks;

/// What every admission of a task says about it.
pub(crate) struct NewTask<'a, P> {
    pub(crate) id: TaskId,
    pub(crate) kind: TaskKind,
    pub(crate) region: &'a RegionId,
    pub(crate) instance: InstanceId,
    pub(crate) params: &'a P,
    /// Nothing else of ours may touch the instance's disks meanwhile.
    pub(crate) exclusive: bool,
}

/// The lease under which one task at a time works on an instance's disks.
pub(crate) fn disks_lease(instance: InstanceId) -> String {
    format!("disks of {instance}")
}

impl Blocks {
    /// Writes the task, its lease and `records` in one transaction, and sets it off. Asked again
    /// with the same parameters it does nothing more.
    pub(crate) async fn admit<P>(&self, new: NewTask<'_, P>, records: Batch) -> Result<(), Refusal>
    where
        P: Serialize + DeserializeOwned + Sync,
    {
        let now = self.shared.clock.now();
        let params = serde_json::to_value(new.params)
            .map_err(|error| Refusal::new(Code::Internal, format!("task parameters: {error}")))?;
        let row = WorkflowRow {
            id: new.id.to_string(),
            service: "blocks".to_owned(),
            kind: format!("{:?}", new.kind),
            params,
            created: now,
            finished: false,
        };
        let mut batch = Batch::new().insert(&task_record(&new, now));
        if new.exclusive {
            let lease = Lease { resource: disks_lease(new.instance), holder: new.id.to_string(), since: now };
            batch = batch.insert(&lease);
        }
        match self.runner.admit(&row, batch.then(records)).await {
            Ok(Admission::Admitted | Admission::Known) => {
                self.set_off(new.id);
                Ok(())
            }
            Err(CatalogError::Exists { table, .. }) if table == <Lease as Record>::TABLE.name => {
                Err(busy(new.instance))
            }
            Err(CatalogError::Exists { key, .. }) => Err(Refusal::new(
                Code::IdempotentMismatch,
                format!("{key} was asked for before, with other parameters"),
            )),
            Err(error) => Err(error.into()),
        }
    }
}

fn task_record<P>(new: &NewTask<'_, P>, now: Timestamp) -> Task {
    Task {
        id: new.id,
        region: new.region.clone(),
        kind: new.kind,
        instance: new.instance,
        status: TaskStatus::Running,
        progress: Progress::ZERO,
        bytes_total: ByteCount(0),
        bytes_read: ByteCount(0),
        bytes_stored: ByteCount(0),
        failure: None,
        prepared: Vec::new(),
        created: now,
        updated: now,
    }
}

fn busy(instance: InstanceId) -> Refusal {
    Refusal::new(Code::InstanceBusy, format!("another backup or restore works on the disks of {instance}"))
        .remedy("Wait until it has ended, or cancel it.")
}

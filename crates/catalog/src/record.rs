//! What the catalog keeps: a key, the columns lists ask for, and the value as JSON.

use std::fmt::Display;

use model::{Binding, Group, Job, Point, Policy, Restore, RestoreKind, Snapshot, Task, Trigger};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CatalogError, Column, Value};

/// A table of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    /// Besides `key` and `body`; in the order of their names.
    pub columns: &'static [Column],
}

/// A value the catalog keeps. Fields added later need a serde default, so that old rows stay readable.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    type Key: Display + Send + Sync;
    const TABLE: Table;

    fn key(&self) -> Self::Key;

    /// Exactly the columns of its table.
    fn columns(&self) -> Vec<(Column, Value)>;
}

/// A record as its table holds it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) table: Table,
    pub(crate) key: String,
    pub(crate) columns: Vec<(Column, Value)>,
    pub(crate) body: String,
}

impl Row {
    pub(crate) fn of<R: Record>(record: &R) -> Result<Self, CatalogError> {
        let key = record.key().to_string();
        let body = serde_json::to_string(record)
            .map_err(|error| CatalogError::Misuse(format!("{key} cannot be written as JSON: {error}")))?;
        Ok(Self { table: R::TABLE, key, columns: record.columns(), body })
    }

    pub(crate) fn exists(&self) -> CatalogError {
        CatalogError::Exists { table: self.table.name, key: self.key.clone() }
    }
}

pub(crate) fn read<R: Record>(key: &str, body: &str) -> Result<R, CatalogError> {
    serde_json::from_str(body).map_err(|source| CatalogError::Corrupt {
        table: R::TABLE.name,
        key: key.to_owned(),
        source,
    })
}

/// One `Record` impl: its table, its key, and where each column comes from.
macro_rules! record {
    (
        $record:ty, $table:literal, $key:ident: $key_type:ty,
        |$value:ident| { $($column:ident: $from:expr,)* }
    ) => {
        impl $crate::Record for $record {
            type Key = $key_type;
            const TABLE: $crate::Table =
                $crate::Table { name: $table, columns: &[$($crate::Column::$column),*] };

            fn key(&self) -> Self::Key {
                self.$key.clone()
            }

            fn columns(&self) -> Vec<($crate::Column, $crate::Value)> {
                let $value = self;
                vec![$(($crate::Column::$column, $crate::Value::from($from)),)*]
            }
        }
    };
}
pub(crate) use record;

record!(Policy, "policies", id: model::PolicyId, |policy| {
    Created: policy.created,
    Name: &policy.name,
    Region: &policy.region,
});
// `instance` is unique: an instance has at most one policy.
record!(Binding, "bindings", id: model::BindingId, |binding| {
    Created: binding.created,
    Instance: binding.instance,
    Policy: binding.policy,
    Region: &binding.region,
});
record!(Job, "jobs", id: model::JobId, |job| {
    Binding: trigger_binding(&job.request.trigger),
    Completed: job.completed,
    Created: job.created,
    Instance: job.instance,
    Parent: job.parent,
    Policy: trigger_policy(&job.request.trigger),
    Region: &job.region,
    Status: job.status,
});
record!(Point, "points", id: model::PointId, |point| {
    Created: point.created,
    Expires: point.expires,
    Group: point.group,
    Instance: point.instance,
    Job: point.job,
    Region: &point.region,
    Status: point.status,
});
record!(Snapshot, "snapshots", id: model::SnapshotId, |snapshot| {
    Created: snapshot.created,
    Disk: snapshot.disk,
    Group: snapshot.group,
    Instance: snapshot.instance,
    Region: &snapshot.region,
    Status: snapshot.status,
});
record!(Group, "snapshot_groups", id: model::GroupId, |group| {
    Created: group.created,
    Instance: group.instance,
    Region: &group.region,
    Settled: group.settled,
    Status: group.status,
});
record!(Task, "tasks", id: model::TaskId, |task| {
    Created: task.created,
    Instance: task.instance,
    Region: &task.region,
    Status: task.status,
});
record!(Restore, "restores", id: model::RestoreId, |restore| {
    Created: restore.created,
    Kind: restore_kind(&restore.kind),
    Region: &restore.region,
    Source: restore.source,
    Status: restore.status,
});

const fn trigger_policy(trigger: &Trigger) -> Option<model::PolicyId> {
    match trigger {
        Trigger::Manual => None,
        Trigger::PolicyNow { policy, .. } | Trigger::Schedule { policy, .. } => Some(*policy),
    }
}

const fn trigger_binding(trigger: &Trigger) -> Option<model::BindingId> {
    match trigger {
        Trigger::Manual => None,
        Trigger::PolicyNow { binding, .. } | Trigger::Schedule { binding, .. } => Some(*binding),
    }
}

const fn restore_kind(kind: &RestoreKind) -> &'static str {
    match kind {
        RestoreKind::RollBackInstance { .. } => "RollBackInstance",
        RestoreKind::RollBackDisk { .. } => "RollBackDisk",
        RestoreKind::CloneInstance(_) => "CloneInstance",
        RestoreKind::CloneDisk { .. } => "CloneDisk",
    }
}

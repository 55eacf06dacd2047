//! The log of durable workflows: one row a workflow, one row an event, numbered without gaps by
//! whoever writes them.
//!
//! The number of an event is part of its key, so of two runners of one workflow only one can write
//! the next event; the other gets `Exists` and stops.

use model::Timestamp;
use serde_json::Value as Json;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::database::{Backend, Write};
use crate::sql::Sql;
use crate::{Batch, Catalog, CatalogError};

const WORKFLOWS: &str = "workflows";
const EVENTS: &str = "workflow_events";

/// One workflow, as admitted.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowRow {
    pub id: String,
    pub service: String,
    pub kind: String,
    pub params: Json,
    pub created: Timestamp,
    pub finished: bool,
}

/// What came of starting a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    Created,
    /// The same workflow was admitted before; the batch was not written again.
    Existed,
}

impl Catalog {
    /// Admits a workflow together with the records of its admission. Another workflow of the same
    /// id is `Exists`.
    pub async fn workflow_start(&self, row: &WorkflowRow, batch: Batch) -> Result<Started, CatalogError> {
        let mut transaction = self.database.begin().await?;
        let mut sql = Sql::new();
        sql.push("INSERT INTO workflows (id, service, kind, params, created, finished, cancelled) VALUES (");
        sql.text(&row.id).push(", ").text(&row.service).push(", ").text(&row.kind).push(", ");
        sql.text(&row.params.to_string()).push(", ").int(row.created.0).push(", ");
        sql.int(row.finished.into()).push(", 0) ON CONFLICT DO NOTHING");
        if sql.execute(transaction.connection()).await? == 1 {
            batch.apply(&mut transaction).await?;
            transaction.commit().await?;
            return Ok(Started::Created);
        }
        let rows = select(&row.id).fetch_all(transaction.connection()).await?;
        let same = rows.first().map(read_row).transpose()?.is_some_and(|there| {
            (there.service == row.service) && (there.kind == row.kind) && (there.params == row.params)
        });
        if same { Ok(Started::Existed) } else { Err(exists(WORKFLOWS, &row.id)) }
    }

    /// Appends event number `seq`. `Exists` if there is such an event, whoever wrote it; `Absent`
    /// if there is no such workflow.
    pub async fn workflow_append(&self, id: &str, seq: u64, event: &Json) -> Result<(), CatalogError> {
        let mut transaction = self.database.begin().await?;
        append(&mut transaction, id, seq, event).await?;
        transaction.commit().await
    }

    /// A workflow and its events in order.
    pub async fn workflow_log(&self, id: &str) -> Result<Option<(WorkflowRow, Vec<Json>)>, CatalogError> {
        let mut reader = self.database.reader().await?;
        let rows = select(id).fetch_all(&mut reader).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut sql = Sql::new();
        sql.push("SELECT workflow, event FROM workflow_events WHERE workflow = ").text(id);
        sql.push(" ORDER BY seq");
        let events = sql.fetch_pairs(&mut reader).await?;
        let events = events.iter().map(|(id, event)| parse(EVENTS, id, event)).collect::<Result<_, _>>()?;
        Ok(Some((read_row(row)?, events)))
    }

    /// The workflows of a service that still have something to do, oldest first.
    pub async fn workflow_unfinished(&self, service: &str) -> Result<Vec<WorkflowRow>, CatalogError> {
        let mut sql = Sql::new();
        sql.push(SELECT).push(UNFINISHED).text(service).push(OLDEST_FIRST);
        let mut reader = self.database.reader().await?;
        sql.fetch_all(&mut reader).await?.iter().map(read_row).collect()
    }

    /// Appends the last event and writes the records that go with the end.
    pub async fn workflow_finish(
        &self,
        id: &str,
        seq: u64,
        event: &Json,
        batch: Batch,
    ) -> Result<(), CatalogError> {
        let mut transaction = self.database.begin().await?;
        append(&mut transaction, id, seq, event).await?;
        let mut sql = Sql::new();
        sql.push("UPDATE workflows SET finished = 1 WHERE id = ").text(id);
        sql.execute(transaction.connection()).await?;
        batch.apply(&mut transaction).await?;
        transaction.commit().await
    }

    /// Asks for a workflow to be cancelled. False when there is none, or it has finished.
    pub async fn workflow_cancel(&self, id: &str) -> Result<bool, CatalogError> {
        let mut transaction = self.database.begin().await?;
        let mut sql = Sql::new();
        sql.push("UPDATE workflows SET cancelled = 1 WHERE finished = 0 AND id = ").text(id);
        let changed = sql.execute(transaction.connection()).await?;
        transaction.commit().await?;
        Ok(changed == 1)
    }

    /// Whether somebody asked for it to be cancelled.
    pub async fn workflow_cancelled(&self, id: &str) -> Result<bool, CatalogError> {
        let mut sql = Sql::new();
        sql.push("SELECT cancelled FROM workflows WHERE id = ").text(id);
        let mut reader = self.database.reader().await?;
        Ok(sql.fetch_optional_int(&mut reader).await? == Some(1))
    }
}

async fn append(transaction: &mut Write, id: &str, seq: u64, event: &Json) -> Result<(), CatalogError> {
    // Locks the workflow, so that an event and the end of one workflow have an order.
    let mut lock = Sql::new();
    lock.push("SELECT finished FROM workflows WHERE id = ").text(id);
    if transaction.backend() == Backend::Postgres {
        lock.push(" FOR UPDATE");
    }
    if lock.fetch_optional_int(transaction.connection()).await?.is_none() {
        return Err(CatalogError::Absent { table: WORKFLOWS, key: id.to_owned() });
    }
    let seq = i64::try_from(seq).map_err(|_| CatalogError::Misuse(format!("event number {seq}")))?;
    let mut sql = Sql::new();
    sql.push("INSERT INTO workflow_events (workflow, seq, event) VALUES (").text(id).push(", ").int(seq);
    sql.push(", ").text(&event.to_string()).push(") ON CONFLICT DO NOTHING");
    if sql.execute(transaction.connection()).await? == 0 {
        return Err(exists(EVENTS, &format!("{id} event {seq}")));
    }
    Ok(())
}

pub(crate) const SELECT: &str = "SELECT id, service, kind, params, created, finished FROM workflows";
pub(crate) const UNFINISHED: &str = " WHERE finished = 0 AND service = ";
pub(crate) const OLDEST_FIRST: &str = " ORDER BY created, id";

fn select(id: &str) -> Sql {
    let mut sql = Sql::new();
    sql.push(SELECT).push(" WHERE id = ").text(id);
    sql
}

fn read_row(row: &AnyRow) -> Result<WorkflowRow, CatalogError> {
    let id: String = row.try_get(0)?;
    let params: String = row.try_get(3)?;
    Ok(WorkflowRow {
        service: row.try_get(1)?,
        kind: row.try_get(2)?,
        params: parse(WORKFLOWS, &id, &params)?,
        created: Timestamp(row.try_get(4)?),
        finished: row.try_get::<i64, _>(5)? == 1,
        id,
    })
}

fn parse(table: &'static str, key: &str, text: &str) -> Result<Json, CatalogError> {
    serde_json::from_str(text).map_err(|source| CatalogError::Corrupt { table, key: key.to_owned(), source })
}

fn exists(table: &'static str, key: &str) -> CatalogError {
    CatalogError::Exists { table, key: key.to_owned() }
}

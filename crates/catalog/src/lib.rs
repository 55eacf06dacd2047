//! The catalog: rows and model, on SQLite and on PostgreSQL from one code path.
//!
//! Every row is a key, the few columns lists ask for, and the value itself as JSON.
//!
//! # Consistency
//! A [`Batch`] is one transaction: its rows appear together or not at all. A read that begins after
//! a write was acknowledged sees it. Two reads are two moments; what has to be decided and done at
//! one moment goes through [`Catalog::update`] or [`Batch::change`].
//!
//! # Crash consistency
//! An acknowledged write survives `kill -9` and a power cut: SQLite runs with a write-ahead log and
//! `synchronous=FULL`; a PostgreSQL server is trusted to be set up so (its default). An interrupted
//! write leaves nothing behind.
//!
//! # Concurrency
//! SQLite has one writer connection, and every write begins with `BEGIN IMMEDIATE`, so writers queue
//! instead of failing late. On PostgreSQL the rows a change reads are locked until it commits.
//! Any number of processes may open one catalog.
//!
//! # Errors
//! After [`CatalogError::Unavailable`] from a write the outcome is unknown: ask again by key.
//! Every other error means that nothing was written.
//!
//! # Cancellation
//! A future dropped before its commit began writes nothing; dropped during it, the outcome is unknown.
//!
//! # Limits
//! One writer and four readers on SQLite, sixteen connections on PostgreSQL; waiting for one ends
//! after thirty seconds. A list without a limit reads all that matches: callers set one.

// The tests' fixtures name this crate as others do.
#[cfg(test)]
extern crate self as catalog;

mod batch;
mod column;
mod database;
mod error;
mod query;
mod record;
mod records;
mod schema;
mod sql;
mod workflow;

#[cfg(test)]
mod plans;

use std::sync::Arc;

pub use batch::Batch;
pub use column::{Column, Value};
pub use error::CatalogError;
pub use query::{Cursor, CursorError, Query};
pub use record::{Record, Table};
pub use records::{AccessKey, Lease, SeenInstance, Setting};
pub use workflow::{Started, WorkflowRow};

use database::Database;
use record::Row;
use sql::Sql;

/// One catalog. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Catalog {
    database: Arc<Database>,
}

impl Catalog {
    /// Opens, and brings to this program's schema, the catalog at `sqlite:///path/catalog.db`,
    /// `sqlite::memory:` or `postgres://…`.
    pub async fn open(url: &str) -> Result<Self, CatalogError> {
        let database = Database::connect(url).await?;
        schema::migrate(&database).await?;
        Ok(Self { database: Arc::new(database) })
    }

    /// Waits for running statements and closes the connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    pub async fn get<R: Record>(&self, key: &R::Key) -> Result<Option<R>, CatalogError> {
        let key = key.to_string();
        // No row has such a key, and PostgreSQL has no such text.
        if key.contains('\0') {
            return Ok(None);
        }
        let mut sql = Sql::new();
        sql.push("SELECT body FROM ").push(R::TABLE.name).push(" WHERE key = ").text(&key);
        let mut reader = self.database.reader().await?;
        let body = sql.fetch_optional_text(&mut reader).await?;
        body.map(|body| record::read(&key, &body)).transpose()
    }

    /// The records a query asks for, in its order.
    pub async fn list<R: Record>(&self, query: &Query) -> Result<Vec<R>, CatalogError> {
        let sql = query.select(&R::TABLE)?;
        let mut reader = self.database.reader().await?;
        let rows = sql.fetch_pairs(&mut reader).await?;
        rows.iter().map(|(key, body)| record::read(key, body)).collect()
    }

    /// How many records match, whatever the query's limit, offset and cursor say.
    pub async fn count<R: Record>(&self, query: &Query) -> Result<u64, CatalogError> {
        let sql = query.count(&R::TABLE)?;
        let mut reader = self.database.reader().await?;
        let count = sql.fetch_optional_int(&mut reader).await?.unwrap_or(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Writes all of a batch, or nothing.
    pub async fn write(&self, batch: Batch) -> Result<(), CatalogError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut transaction = self.database.begin().await?;
        batch.apply(&mut transaction).await?;
        transaction.commit().await
    }

    /// Reads a record, lets `change` change it, and writes it back, with nobody in between.
    /// None, and `change` not called, when there is no such record.
    pub async fn update<R: Record, T: Send>(
        &self,
        key: &R::Key,
        change: impl FnOnce(&mut R) -> T + Send,
    ) -> Result<Option<T>, CatalogError> {
        let key = key.to_string();
        let mut transaction = self.database.begin().await?;
        let Some(body) = transaction.body(&R::TABLE, &key).await? else {
            return Ok(None);
        };
        let mut record: R = record::read(&key, &body)?;
        let answer = change(&mut record);
        let row = Row::of(&record)?;
        if row.key != key {
            return Err(CatalogError::Misuse(format!("a change made {key} into {}", row.key)));
        }
        if row.body != body {
            transaction.put(&row).await?;
            transaction.commit().await?;
        }
        Ok(Some(answer))
    }
}

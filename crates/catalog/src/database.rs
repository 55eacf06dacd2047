//! Connections and transactions: all that differs between SQLite and PostgreSQL, besides the schema.

use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor as _, Transaction};

use crate::record::{Row, Table};
use crate::sql::Sql;
use crate::{CatalogError, Column};

const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

// Another process may hold the write lock. FULL makes a commit wait for the disk.
const SQLITE_SETUP: &str = "PRAGMA busy_timeout = 20000; PRAGMA journal_mode = WAL; \
    PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) backend: Backend,
    writers: AnyPool,
    readers: AnyPool,
}

impl Database {
    pub(crate) async fn connect(url: &str) -> Result<Self, CatalogError> {
        sqlx::any::install_default_drivers();
        let scheme = url.split(':').next().unwrap_or_default();
        match scheme {
            "sqlite" => Self::connect_sqlite(url).await,
            "postgres" | "postgresql" => Self::connect_postgres(url).await,
            // Only the scheme: the rest may hold a password.
            _ => Err(CatalogError::BadUrl(format!(
                "it begins with {scheme:?}, and only sqlite: and postgres: are known"
            ))),
        }
    }

    async fn connect_sqlite(url: &str) -> Result<Self, CatalogError> {
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let url = match (in_memory, url.contains('?')) {
            (true, _) => url.to_owned(),
            (false, true) => format!("{url}&mode=rwc"),
            (false, false) => format!("{url}?mode=rwc"),
        };
        let options = options(&url)?;
        let pool = |connections: u32| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                // A database in memory lives as long as its connection.
                .idle_timeout(None)
                .max_lifetime(None)
                .after_connect(|connection, _| {
                    Box::pin(async move { connection.execute(SQLITE_SETUP).await.map(drop) })
                })
        };
        let writers = pool(1).connect_with(options.clone()).await?;
        // Each connection to `:memory:` would see a database of its own.
        let readers =
            if in_memory { writers.clone() } else { pool(SQLITE_READERS).connect_lazy_with(options) };
        Ok(Self { backend: Backend::Sqlite, writers, readers })
    }

    async fn connect_postgres(url: &str) -> Result<Self, CatalogError> {
        let pool = AnyPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options(url)?)
            .await?;
        Ok(Self { backend: Backend::Postgres, writers: pool.clone(), readers: pool })
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }

    pub(crate) async fn reader(&self) -> Result<PoolConnection<Any>, CatalogError> {
        Ok(self.readers.acquire().await?)
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self) -> Result<Write, CatalogError> {
        let inner = match self.backend {
            // A deferred transaction that turns to writing ignores the busy timeout.
            Backend::Sqlite => self.writers.begin_with("BEGIN IMMEDIATE").await?,
            Backend::Postgres => self.writers.begin().await?,
        };
        Ok(Write { backend: self.backend, inner })
    }
}

fn options(url: &str) -> Result<AnyConnectOptions, CatalogError> {
    // The parser's own message may repeat the address, password and all.
    url.parse().map_err(|_| CatalogError::BadUrl("it is not a URL".to_owned()))
}

/// A transaction that writes. Dropped without a commit, it has done nothing.
pub(crate) struct Write {
    backend: Backend,
    inner: Transaction<'static, Any>,
}

impl Write {
    pub(crate) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }

    pub(crate) const fn backend(&self) -> Backend {
        self.backend
    }

    pub(crate) async fn commit(self) -> Result<(), CatalogError> {
        Ok(self.inner.commit().await?)
    }

    /// A row's body, locked until the transaction ends.
    pub(crate) async fn body(&mut self, table: &Table, key: &str) -> Result<Option<String>, CatalogError> {
        if key.contains('\0') {
            return Ok(None);
        }
        let mut sql = Sql::new();
        sql.push("SELECT body FROM ").push(table.name).push(" WHERE key = ").text(key);
        if self.backend == Backend::Postgres {
            sql.push(" FOR UPDATE");
        }
        sql.fetch_optional_text(self.connection()).await
    }

    pub(crate) async fn insert(&mut self, row: &Row) -> Result<(), CatalogError> {
        let mut sql = row.insertion()?;
        sql.push(" ON CONFLICT DO NOTHING");
        let written = sql.execute(self.connection()).await?;
        if written == 0 {
            return Err(row.exists());
        }
        Ok(())
    }

    pub(crate) async fn put(&mut self, row: &Row) -> Result<(), CatalogError> {
        let mut sql = row.insertion()?;
        sql.push(" ON CONFLICT (key) DO UPDATE SET body = excluded.body");
        for (column, _) in &row.columns {
            sql.push(", ").push(column.name()).push(" = excluded.").push(column.name());
        }
        match sql.execute(self.connection()).await {
            Ok(_) => Ok(()),
            // Of a unique column other than the key.
            Err(sqlx::Error::Database(answer)) if answer.is_unique_violation() => Err(row.exists()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn delete(&mut self, table: &Table, key: &str) -> Result<(), CatalogError> {
        if key.contains('\0') {
            return Ok(());
        }
        let mut sql = Sql::new();
        sql.push("DELETE FROM ").push(table.name).push(" WHERE key = ").text(key);
        sql.execute(self.connection()).await?;
        Ok(())
    }
}

impl Row {
    fn insertion(&self) -> Result<Sql, CatalogError> {
        self.check()?;
        let mut sql = Sql::new();
        sql.push("INSERT INTO ").push(self.table.name).push(" (key, body");
        for (column, _) in &self.columns {
            sql.push(", ").push(column.name());
        }
        sql.push(") VALUES (").text(&self.key).push(", ").text(&self.body);
        for (column, value) in &self.columns {
            sql.push(", ").value(column.form(), value.clone());
        }
        sql.push(")");
        Ok(sql)
    }

    fn check(&self) -> Result<(), CatalogError> {
        let mut names: Vec<Column> = self.columns.iter().map(|(column, _)| *column).collect();
        names.sort_by_key(|column| column.name());
        if names != self.table.columns {
            return Err(CatalogError::Misuse(format!("{} gave other columns than it has", self.table.name)));
        }
        if self.key.contains('\0') || !self.columns.iter().all(|(_, value)| value.is_storable()) {
            return Err(CatalogError::Misuse(format!(
                "{:?} of {} holds a NUL character",
                self.key, self.table.name
            )));
        }
        match self.columns.iter().find(|(column, value)| !value.fits(column.form())) {
            Some((column, value)) => {
                Err(CatalogError::Misuse(format!("{value:?} is no value of the column {column:?}")))
            }
            None => Ok(()),
        }
    }
}

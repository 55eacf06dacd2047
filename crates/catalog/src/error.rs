//! What can go wrong in the catalog, by what the caller should do.

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// Somebody was first. Nothing was written.
    #[error("{table} already holds {key}")]
    Exists { table: &'static str, key: String },
    /// What should have been changed is not there. Nothing was written.
    #[error("{table} does not hold {key}")]
    Absent { table: &'static str, key: String },
    /// Try again later. Whether a write happened is unknown until asked for by key.
    #[error("the catalog cannot be reached just now")]
    Unavailable(#[source] sqlx::Error),
    /// A row this program cannot read: damaged, or written by a newer program.
    #[error("row {key} of {table} cannot be read")]
    Corrupt {
        table: &'static str,
        key: String,
        #[source]
        source: serde_json::Error,
    },
    #[error(
        "the catalog has schema {found}, and this program knows schemas up to {known} only; use a newer program"
    )]
    TooNew { found: i64, known: i64 },
    #[error("the catalog's address is not understood: {0}")]
    BadUrl(String),
    /// The database answered, and refused. Trying again will not help.
    #[error("the catalog's database refused")]
    Database(#[source] sqlx::Error),
    /// A slip of ours.
    #[error("the catalog was used wrongly: {0}")]
    Misuse(String),
}

impl CatalogError {
    /// Whether trying again, unchanged, can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Exists { .. }
            | Self::Absent { .. }
            | Self::Corrupt { .. }
            | Self::TooNew { .. }
            | Self::BadUrl(_)
            | Self::Database(_)
            | Self::Misuse(_) => false,
        }
    }
}

impl From<CatalogError> for model::Refusal {
    fn from(error: CatalogError) -> Self {
        if error.is_transient() {
            return Self::new(model::Code::ServiceUnavailable, "the catalog did not answer in time")
                .remedy("Try again in a moment.");
        }
        // The cause goes to the log; clients have no use for it.
        tracing::error!(%error, source = std::error::Error::source(&error), "the catalog refused");
        Self::new(model::Code::Internal, "the catalog could not do this")
            .remedy("The server's log says why; report it if it happens again.")
    }
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        if passes(&error) { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// Whether an error is of the moment: the way to the database, or its load.
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(answer) => answer.code().is_some_and(|code| passing_code(&code)),
        _ => false,
    }
}

/// SQLSTATE classes of PostgreSQL have five characters; SQLite's (extended) codes are fewer digits.
fn passing_code(code: &str) -> bool {
    // Connection, rollback (deadlock, serialization), resources, operator, system.
    const POSTGRES_CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
    // BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN, PROTOCOL.
    const SQLITE_PRIMARY: [u32; 7] = [5, 6, 7, 10, 13, 14, 15];
    if code.len() == 5 {
        return POSTGRES_CLASSES.iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|code| SQLITE_PRIMARY.contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_passes_and_a_broken_rule_does_not() {
        for code in ["5", "261", "517", "13", "522", "08006", "40P01", "53300", "57P01"] {
            assert!(passing_code(code), "{code}");
        }
        for code in ["1", "11", "19", "787", "1555", "26", "23505", "42P01", "22021", ""] {
            assert!(!passing_code(code), "{code}");
        }
    }
}

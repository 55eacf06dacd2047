//! Several writes that happen together or not at all.

use std::fmt;

use crate::database::Write;
use crate::record::{Row, Table, read};
use crate::{CatalogError, Record};

/// Writes for one transaction, applied in their order.
#[derive(Debug, Default)]
pub struct Batch {
    writes: Vec<Op>,
}

enum Op {
    Insert(Row),
    Put(Row),
    Delete { table: Table, key: String },
    Change { table: Table, key: String, change: Box<Change> },
    Broken(CatalogError),
}

/// From the body a row has to the row it becomes.
type Change = dyn FnOnce(&str) -> Result<Row, CatalogError> + Send;

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// The record must be new; if it is there the whole batch is `Exists`.
    #[must_use]
    pub fn insert<R: Record>(self, record: &R) -> Self {
        self.with(Row::of(record).map_or_else(Op::Broken, Op::Insert))
    }

    /// The record as it is here, whether it was there or not.
    #[must_use]
    pub fn put<R: Record>(self, record: &R) -> Self {
        self.with(Row::of(record).map_or_else(Op::Broken, Op::Put))
    }

    /// Already gone is fine.
    #[must_use]
    pub fn delete<R: Record>(self, key: &R::Key) -> Self {
        self.with(Op::Delete { table: R::TABLE, key: key.to_string() })
    }

    /// The record as `change` makes it from what it is then; if it is not there the whole batch is
    /// `Absent`.
    #[must_use]
    pub fn change<R: Record>(self, key: &R::Key, change: impl FnOnce(&mut R) + Send + 'static) -> Self {
        let key = key.to_string();
        let name = key.clone();
        let change = Box::new(move |body: &str| {
            let mut record: R = read(&name, body)?;
            change(&mut record);
            Row::of(&record)
        });
        self.with(Op::Change { table: R::TABLE, key, change })
    }

    /// What `other` writes, after what this one does.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.writes.extend(other.writes);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    fn with(mut self, write: Op) -> Self {
        self.writes.push(write);
        self
    }

    pub(crate) async fn apply(self, transaction: &mut Write) -> Result<(), CatalogError> {
        for write in self.writes {
            match write {
                Op::Insert(row) => transaction.insert(&row).await?,
                Op::Put(row) => transaction.put(&row).await?,
                Op::Delete { table, key } => transaction.delete(&table, &key).await?,
                Op::Change { table, key, change } => {
                    let Some(body) = transaction.body(&table, &key).await? else {
                        return Err(CatalogError::Absent { table: table.name, key });
                    };
                    let row = change(&body)?;
                    if row.key != key {
                        return Err(CatalogError::Misuse(format!("a change made {key} into {}", row.key)));
                    }
                    transaction.put(&row).await?;
                }
                Op::Broken(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys only: bodies are long, and some hold sealed secrets.
        match self {
            Self::Insert(row) => write!(f, "Insert({})", row.key),
            Self::Put(row) => write!(f, "Put({})", row.key),
            Self::Delete { key, .. } => write!(f, "Delete({key})"),
            Self::Change { key, .. } => write!(f, "Change({key})"),
            Self::Broken(error) => write!(f, "Broken({error})"),
        }
    }
}

//! What a list asks for: filters, an order, a page.

use std::fmt;
use std::str::FromStr;

use crate::sql::Sql;
use crate::{CatalogError, Column, Record, Table, Value};

/// Which records, in which order, and which page of them.
#[derive(Debug, Clone, Default)]
pub struct Query {
    filters: Vec<Filter>,
    order: Order,
    limit: Option<u64>,
    offset: u64,
    after: Option<Cursor>,
}

#[derive(Debug, Clone)]
enum Filter {
    Compare(Column, Compare, Value),
    OneOf(Column, Vec<Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    Not,
    AtLeast,
    AtMost,
    Above,
    Below,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Order {
    #[default]
    ByKey,
    OldestFirst,
    NewestFirst,
}

/// More values than any client may name, and far fewer than a statement can hold.
const VALUES_MAX: usize = 1000;

impl Query {
    pub fn all() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn eq(self, column: Column, value: impl Into<Value>) -> Self {
        self.compare(column, Compare::Equal, value)
    }

    /// Everything but this value; records without one are included.
    #[must_use]
    pub fn not(self, column: Column, value: impl Into<Value>) -> Self {
        self.compare(column, Compare::Not, value)
    }

    #[must_use]
    pub fn at_least(self, column: Column, value: impl Into<Value>) -> Self {
        self.compare(column, Compare::AtLeast, value)
    }

    #[must_use]
    pub fn at_most(self, column: Column, value: impl Into<Value>) -> Self {
        self.compare(column, Compare::AtMost, value)
    }

    #[must_use]
    pub fn above(self, column: Column, value: impl Into<Value>) -> Self {
        self.compare(column, Compare::Above, value)
    }

    #[must_use]
    pub fn below(self, column: Column, value: impl Into<Value>) -> Self {
        self.compare(column, Compare::Below, value)
    }

    /// Any of these values; none at all matches nothing.
    #[must_use]
    pub fn one_of<V: Into<Value>>(mut self, column: Column, values: impl IntoIterator<Item = V>) -> Self {
        self.filters.push(Filter::OneOf(column, values.into_iter().map(Into::into).collect()));
        self
    }

    /// By creation, then by key.
    #[must_use]
    pub const fn newest_first(mut self) -> Self {
        self.order = Order::NewestFirst;
        self
    }

    /// By creation, then by key.
    #[must_use]
    pub const fn oldest_first(mut self) -> Self {
        self.order = Order::OldestFirst;
        self
    }

    #[must_use]
    pub const fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    #[must_use]
    pub const fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Only what comes after the cursor in this query's order.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    fn compare(mut self, column: Column, compare: Compare, value: impl Into<Value>) -> Self {
        self.filters.push(Filter::Compare(column, compare, value.into()));
        self
    }

    pub(crate) fn select(&self, table: &Table) -> Result<Sql, CatalogError> {
        let mut sql = Sql::new();
        sql.push("SELECT key, body FROM ").push(table.name).push(" WHERE 1 = 1");
        self.push_filters(table, &mut sql)?;
        self.push_cursor(&mut sql);
        match self.order {
            Order::ByKey => sql.push(" ORDER BY key"),
            Order::OldestFirst | Order::NewestFirst if !table.columns.contains(&Column::Created) => {
                return Err(CatalogError::Misuse(format!("{} has no time of creation", table.name)));
            }
            Order::OldestFirst => sql.push(" ORDER BY created, key"),
            Order::NewestFirst => sql.push(" ORDER BY created DESC, key DESC"),
        };
        // SQLite takes an offset only after a limit.
        sql.push(" LIMIT ").int(self.limit.map_or(i64::MAX, saturated));
        if self.offset > 0 {
            sql.push(" OFFSET ").int(saturated(self.offset));
        }
        Ok(sql)
    }

    pub(crate) fn count(&self, table: &Table) -> Result<Sql, CatalogError> {
        let mut sql = Sql::new();
        sql.push("SELECT CAST(COUNT(*) AS BIGINT) FROM ").push(table.name).push(" WHERE 1 = 1");
        self.push_filters(table, &mut sql)?;
        Ok(sql)
    }

    fn push_filters(&self, table: &Table, sql: &mut Sql) -> Result<(), CatalogError> {
        for filter in &self.filters {
            let column = filter.column();
            if !table.columns.contains(&column) {
                return Err(CatalogError::Misuse(format!("{} has no column {column:?}", table.name)));
            }
            if let Some(value) = filter.values().iter().find(|value| !value.fits(column.form())) {
                return Err(CatalogError::Misuse(format!("{value:?} is no value of the column {column:?}")));
            }
            sql.push(" AND ");
            filter.push(sql)?;
        }
        Ok(())
    }

    fn push_cursor(&self, sql: &mut Sql) {
        let Some(cursor) = &self.after else { return };
        match self.order {
            Order::ByKey => sql.push(" AND key > ").text(&cursor.key),
            Order::OldestFirst => {
                sql.push(" AND (created, key) > (").int(cursor.created).push(", ").text(&cursor.key).push(")")
            }
            Order::NewestFirst => {
                sql.push(" AND (created, key) < (").int(cursor.created).push(", ").text(&cursor.key).push(")")
            }
        };
    }
}

fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Filter {
    const fn column(&self) -> Column {
        match self {
            Self::Compare(column, ..) | Self::OneOf(column, _) => *column,
        }
    }

    fn values(&self) -> &[Value] {
        match self {
            Self::Compare(_, _, value) => std::slice::from_ref(value),
            Self::OneOf(_, values) => values,
        }
    }

    fn push(&self, sql: &mut Sql) -> Result<(), CatalogError> {
        match self {
            Self::Compare(column, compare, value) => push_compare(sql, *column, *compare, value),
            Self::OneOf(column, values) => return push_one_of(sql, *column, values),
        }
        Ok(())
    }
}

fn push_compare(sql: &mut Sql, column: Column, compare: Compare, value: &Value) {
    let name = column.name();
    match (compare, value) {
        (Compare::Equal, Value::Null) => {
            sql.push(name).push(" IS NULL");
        }
        (Compare::Not, Value::Null) => {
            sql.push(name).push(" IS NOT NULL");
        }
        // Nothing stored holds a NUL character, and nothing compares with nothing.
        (Compare::Not, value) if !value.is_storable() => {
            sql.push("1 = 1");
        }
        (_, value) if !value.is_storable() || *value == Value::Null => {
            sql.push("1 = 0");
        }
        (Compare::Not, value) => {
            sql.push("(").push(name).push(" IS NULL OR ").push(name).push(" <> ");
            sql.value(column.form(), value.clone()).push(")");
        }
        (compare, value) => {
            let sign = match compare {
                Compare::Equal => " = ",
                Compare::Not => " <> ",
                Compare::AtLeast => " >= ",
                Compare::AtMost => " <= ",
                Compare::Above => " > ",
                Compare::Below => " < ",
            };
            sql.push(name).push(sign).value(column.form(), value.clone());
        }
    }
}

fn push_one_of(sql: &mut Sql, column: Column, values: &[Value]) -> Result<(), CatalogError> {
    if values.len() > VALUES_MAX {
        return Err(CatalogError::Misuse(format!("{} values for one column", values.len())));
    }
    let mut storable = values.iter().filter(|value| value.is_storable() && **value != Value::Null);
    let Some(first) = storable.next() else {
        sql.push("1 = 0");
        return Ok(());
    };
    sql.push(column.name()).push(" IN (").value(column.form(), first.clone());
    for value in storable {
        sql.push(", ").value(column.form(), value.clone());
    }
    sql.push(")");
    Ok(())
}

/// A place in a list, kept by clients as text between two pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    created: i64,
    key: String,
}

impl Cursor {
    /// The place of this record.
    pub fn of<R: Record>(record: &R) -> Self {
        let created = record.columns().into_iter().find_map(|(column, value)| match (column, value) {
            (Column::Created, Value::Int(created)) => Some(created),
            _ => None,
        });
        Self { created: created.unwrap_or(0), key: record.key().to_string() }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.created, self.key)
    }
}

/// Text that is no place in a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a place in a list")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        const LEN_MAX: usize = 512;
        let (created, key) = text.split_once('.').ok_or(CursorError)?;
        if text.len() > LEN_MAX || key.contains('\0') {
            return Err(CursorError);
        }
        Ok(Self { created: created.parse().map_err(|_| CursorError)?, key: key.to_owned() })
    }
}

//! A statement in the making: text of our own, and values that never become text.

use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use crate::column::Form;
use crate::{CatalogError, Value};

#[derive(Debug, Default)]
pub(crate) struct Sql {
    text: String,
    values: Vec<(Form, Value)>,
}

impl Sql {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A statement of the schema.
    pub(crate) fn owned(text: String) -> Self {
        Self { text, values: Vec::new() }
    }

    /// Appends text. It must come from this crate, never from a value.
    pub(crate) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a placeholder for a value.
    pub(crate) fn value(&mut self, form: Form, value: Value) -> &mut Self {
        self.values.push((form, value));
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.value(Form::Text, Value::from(text))
    }

    pub(crate) fn int(&mut self, number: i64) -> &mut Self {
        self.value(Form::Int, Value::Int(number))
    }

    /// The same, asking for its plan instead.
    #[cfg(test)]
    pub(crate) fn explained(mut self, how: &'static str) -> Self {
        self.text.insert_str(0, how);
        self
    }

    fn bound(self) -> sqlx::query::Query<'static, sqlx::Any, sqlx::any::AnyArguments> {
        // The text holds keywords, names of this crate and placeholders: see `push` and `value`.
        let mut query = sqlx::query(AssertSqlSafe(self.text));
        for (form, value) in self.values {
            query = match (form, value) {
                (_, Value::Int(number)) => query.bind(number),
                (_, Value::Text(text)) => query.bind(text),
                (Form::Int, Value::Null) => query.bind(None::<i64>),
                (Form::Text, Value::Null) => query.bind(None::<String>),
            };
        }
        query
    }

    /// Runs it; how many rows it touched.
    pub(crate) async fn execute(self, connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
        Ok(self.bound().execute(connection).await?.rows_affected())
    }

    pub(crate) async fn fetch_optional_text(
        self,
        connection: &mut AnyConnection,
    ) -> Result<Option<String>, CatalogError> {
        let row = self.bound().fetch_optional(connection).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    pub(crate) async fn fetch_optional_int(
        self,
        connection: &mut AnyConnection,
    ) -> Result<Option<i64>, CatalogError> {
        let row = self.bound().fetch_optional(connection).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Rows of two texts.
    pub(crate) async fn fetch_pairs(
        self,
        connection: &mut AnyConnection,
    ) -> Result<Vec<(String, String)>, CatalogError> {
        let rows = self.bound().fetch_all(connection).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    pub(crate) async fn fetch_all(
        self,
        connection: &mut AnyConnection,
    ) -> Result<Vec<sqlx::any::AnyRow>, CatalogError> {
        Ok(self.bound().fetch_all(connection).await?)
    }
}

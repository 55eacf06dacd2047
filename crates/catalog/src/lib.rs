//! The only crate with SQL: rows and model, on SQLite and PostgreSQL from one code path.

//! The schema, as numbered steps that every catalog has taken in this order.
//!
//! Steps are append-only: a released step is never edited, because catalogs exist that took it as
//! it was. All steps a catalog lacks are one transaction, so a crash between them leaves the old
//! schema; and every statement says `IF NOT EXISTS`, so a step taken twice does no harm.

use crate::CatalogError;
use crate::database::{Backend, Database, Write};
use crate::sql::Sql;

#[derive(Debug)]
struct Step {
    number: i64,
    /// What it is for, in words, kept beside the number.
    what: &'static str,
    statements: &'static [&'static str],
}

/// The number of the last step this program knows.
pub(crate) const KNOWN: i64 = STEPS[STEPS.len() - 1].number;

/// Any number, as long as nobody else on that server locks it: "hikae" in ASCII.
const POSTGRES_LOCK: i64 = 0x68_69_6b_61_65;

/// Takes the steps the catalog lacks. Two processes that do so at once queue.
pub(crate) async fn migrate(database: &Database) -> Result<(), CatalogError> {
    let mut transaction = database.begin().await?;
    if transaction.backend() == Backend::Postgres {
        let mut lock = Sql::new();
        lock.push("SELECT pg_advisory_xact_lock(").int(POSTGRES_LOCK).push(")");
        lock.execute(transaction.connection()).await?;
    }
    run(&mut transaction, VERSIONS).await?;
    let mut newest = Sql::new();
    newest.push("SELECT CAST(COALESCE(MAX(number), 0) AS BIGINT) FROM catalog_schema");
    let found = newest.fetch_optional_int(transaction.connection()).await?.unwrap_or(0);
    if found > KNOWN {
        return Err(CatalogError::TooNew { found, known: KNOWN });
    }
    for step in STEPS.iter().filter(|step| step.number > found) {
        for statement in step.statements {
            run(&mut transaction, statement).await?;
        }
        let mut sql = Sql::new();
        sql.push("INSERT INTO catalog_schema (number, what) VALUES (").int(step.number);
        sql.push(", ").text(step.what).push(")");
        sql.execute(transaction.connection()).await?;
        tracing::info!(step = step.number, what = step.what, "catalog schema step taken");
    }
    transaction.commit().await
}

async fn run(transaction: &mut Write, statement: &'static str) -> Result<(), CatalogError> {
    let sql = match transaction.backend() {
        Backend::Sqlite => Sql::owned(statement.to_owned()),
        // By bytes, as SQLite sorts, whatever the server's language: pages depend on it.
        Backend::Postgres => Sql::owned(statement.replace(" TEXT", " TEXT COLLATE \"C\"")),
    };
    sql.execute(transaction.connection()).await?;
    Ok(())
}

const VERSIONS: &str =
    "CREATE TABLE IF NOT EXISTS catalog_schema (number BIGINT NOT NULL PRIMARY KEY, what TEXT NOT NULL)";

// House rules of the schema: times are microseconds in BIGINT, booleans are BIGINT 0 or 1, ids and
// states are TEXT. `created, key` ends every index a list pages over.
const STEPS: &[Step] = &[Step {
    number: 1,
    what: "policies, jobs, points, snapshots, restores, access keys, and the workflow log",
    statements: &[
        "CREATE TABLE IF NOT EXISTS policies (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            created BIGINT NOT NULL, name TEXT NOT NULL, region TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS policies_created ON policies (created, key)",
        "CREATE INDEX IF NOT EXISTS policies_region ON policies (region, created, key)",
        // Unique: one policy an instance, whoever races.
        "CREATE TABLE IF NOT EXISTS bindings (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            created BIGINT NOT NULL, instance TEXT NOT NULL UNIQUE, policy TEXT NOT NULL, \
            region TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS bindings_created ON bindings (created, key)",
        "CREATE INDEX IF NOT EXISTS bindings_policy ON bindings (policy, created, key)",
        "CREATE INDEX IF NOT EXISTS bindings_region ON bindings (region, created, key)",
        "CREATE TABLE IF NOT EXISTS jobs (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            binding TEXT, completed BIGINT, created BIGINT NOT NULL, instance TEXT NOT NULL, \
            parent TEXT, policy TEXT, region TEXT NOT NULL, status TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS jobs_binding ON jobs (binding, created, key)",
        "CREATE INDEX IF NOT EXISTS jobs_completed ON jobs (completed, key)",
        "CREATE INDEX IF NOT EXISTS jobs_created ON jobs (created, key)",
        "CREATE INDEX IF NOT EXISTS jobs_instance ON jobs (instance, created, key)",
        "CREATE INDEX IF NOT EXISTS jobs_parent ON jobs (parent, created, key)",
        "CREATE INDEX IF NOT EXISTS jobs_region ON jobs (region, created, key)",
        "CREATE INDEX IF NOT EXISTS jobs_status ON jobs (status, created, key)",
        "CREATE TABLE IF NOT EXISTS points (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            created BIGINT NOT NULL, expires BIGINT, in_group TEXT NOT NULL, instance TEXT NOT NULL, \
            job TEXT NOT NULL, region TEXT NOT NULL, status TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS points_created ON points (created, key)",
        "CREATE INDEX IF NOT EXISTS points_expires ON points (expires, key)",
        "CREATE INDEX IF NOT EXISTS points_group ON points (in_group)",
        "CREATE INDEX IF NOT EXISTS points_instance ON points (instance, created, key)",
        "CREATE INDEX IF NOT EXISTS points_job ON points (job)",
        "CREATE INDEX IF NOT EXISTS points_region ON points (region, created, key)",
        "CREATE INDEX IF NOT EXISTS points_status ON points (status, created, key)",
        "CREATE TABLE IF NOT EXISTS snapshots (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            created BIGINT NOT NULL, disk TEXT NOT NULL, in_group TEXT NOT NULL, \
            instance TEXT NOT NULL, region TEXT NOT NULL, status TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS snapshots_created ON snapshots (created, key)",
        "CREATE INDEX IF NOT EXISTS snapshots_disk ON snapshots (disk, created, key)",
        "CREATE INDEX IF NOT EXISTS snapshots_group ON snapshots (in_group, created, key)",
        "CREATE INDEX IF NOT EXISTS snapshots_instance ON snapshots (instance, created, key)",
        "CREATE INDEX IF NOT EXISTS snapshots_region ON snapshots (region, created, key)",
        "CREATE INDEX IF NOT EXISTS snapshots_status ON snapshots (status, created, key)",
        "CREATE TABLE IF NOT EXISTS snapshot_groups (key TEXT NOT NULL PRIMARY KEY, \
            body TEXT NOT NULL, created BIGINT NOT NULL, instance TEXT NOT NULL, \
            region TEXT NOT NULL, settled BIGINT NOT NULL, status TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS snapshot_groups_created ON snapshot_groups (created, key)",
        "CREATE INDEX IF NOT EXISTS snapshot_groups_instance ON snapshot_groups (instance, created, key)",
        "CREATE INDEX IF NOT EXISTS snapshot_groups_region ON snapshot_groups (region, created, key)",
        "CREATE INDEX IF NOT EXISTS snapshot_groups_settled ON snapshot_groups (settled, status)",
        "CREATE INDEX IF NOT EXISTS snapshot_groups_status ON snapshot_groups (status, created, key)",
        "CREATE TABLE IF NOT EXISTS tasks (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            created BIGINT NOT NULL, instance TEXT NOT NULL, region TEXT NOT NULL, status TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS tasks_created ON tasks (created, key)",
        "CREATE INDEX IF NOT EXISTS tasks_instance ON tasks (instance, created, key)",
        "CREATE INDEX IF NOT EXISTS tasks_region ON tasks (region, created, key)",
        "CREATE INDEX IF NOT EXISTS tasks_status ON tasks (status, created, key)",
        "CREATE TABLE IF NOT EXISTS restores (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            created BIGINT NOT NULL, kind TEXT NOT NULL, region TEXT NOT NULL, source TEXT NOT NULL, \
            status TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS restores_created ON restores (created, key)",
        "CREATE INDEX IF NOT EXISTS restores_region ON restores (region, created, key)",
        "CREATE INDEX IF NOT EXISTS restores_source ON restores (source, created, key)",
        "CREATE INDEX IF NOT EXISTS restores_status ON restores (status, created, key)",
        "CREATE TABLE IF NOT EXISTS access_keys (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            active BIGINT NOT NULL, created BIGINT NOT NULL, name TEXT NOT NULL, root BIGINT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS access_keys_created ON access_keys (created, key)",
        "CREATE TABLE IF NOT EXISTS leases (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            created BIGINT NOT NULL, holder TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS leases_created ON leases (created, key)",
        "CREATE INDEX IF NOT EXISTS leases_holder ON leases (holder, created, key)",
        "CREATE TABLE IF NOT EXISTS instances (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, \
            created BIGINT NOT NULL, name TEXT NOT NULL, region TEXT NOT NULL, released BIGINT)",
        "CREATE INDEX IF NOT EXISTS instances_created ON instances (created, key)",
        "CREATE INDEX IF NOT EXISTS instances_name ON instances (name, created, key)",
        "CREATE INDEX IF NOT EXISTS instances_region ON instances (region, created, key)",
        "CREATE TABLE IF NOT EXISTS settings (key TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS workflows (id TEXT NOT NULL PRIMARY KEY, service TEXT NOT NULL, \
            kind TEXT NOT NULL, params TEXT NOT NULL, created BIGINT NOT NULL, \
            finished BIGINT NOT NULL, cancelled BIGINT NOT NULL)",
        // Recovery asks for nothing else, and finished workflows pile up.
        "CREATE INDEX IF NOT EXISTS workflows_unfinished ON workflows (service, created, id) \
            WHERE finished = 0",
        "CREATE TABLE IF NOT EXISTS workflow_events (workflow TEXT NOT NULL, seq BIGINT NOT NULL, \
            event TEXT NOT NULL, PRIMARY KEY (workflow, seq))",
    ],
}];

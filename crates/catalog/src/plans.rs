//! Lists over a hundred thousand rows go by an index: asked of the databases' planners, not of a clock.
#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use model::{InstanceId, JobStatus};
use sqlx::Row as _;

use crate::database::Backend;
use crate::sql::Sql;
use crate::{Catalog, Column, Cursor, Query, Record};

const ROWS: &str =
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000) ";
const JOBS: &str = "INSERT INTO jobs (key, body, binding, completed, created, instance, parent, policy, region, status) \
    SELECT 'job-' || n, '{}', 'pd-' || n % 300, n, n, 'i-' || n % 300, NULL, 'po-' || n % 9, 'tokyo', \
    CASE WHEN n % 1000 = 0 THEN 'Running' ELSE 'Complete' END FROM numbers";
const POINTS: &str = "INSERT INTO points (key, body, created, expires, in_group, instance, job, region, status) \
    SELECT 's-' || n, '{}', n, n + 1000, 'ssg-' || n, 'i-' || n % 300, 'job-' || n, 'tokyo', 'Available' FROM numbers";
const WORKFLOWS: &str = "INSERT INTO workflows (id, service, kind, params, created, finished, cancelled) \
    SELECT 'w-' || n, 'backup', 'x', 'null', n, CASE WHEN n % 10000 = 0 THEN 0 ELSE 1 END, 0 FROM numbers";

async fn filled(catalog: &Catalog) {
    let mut transaction = catalog.database.begin().await.unwrap();
    for table in [JOBS, POINTS, WORKFLOWS] {
        let mut sql = Sql::new();
        // A prefix both databases take, though SQLite wants it before INSERT and PostgreSQL too.
        sql.push(ROWS).push(table);
        assert_eq!(sql.execute(transaction.connection()).await.unwrap(), 100_000);
    }
    transaction.commit().await.unwrap();
    let mut analyze = Sql::new();
    analyze.push("ANALYZE");
    let mut reader = catalog.database.reader().await.unwrap();
    analyze.execute(&mut reader).await.unwrap();
}

async fn plan(catalog: &Catalog, sql: Sql) -> Vec<String> {
    let (how, column) = match catalog.database.backend {
        Backend::Sqlite => ("EXPLAIN QUERY PLAN ", 3),
        Backend::Postgres => ("EXPLAIN ", 0),
    };
    let mut reader = catalog.database.reader().await.unwrap();
    let rows = sql.explained(how).fetch_all(&mut reader).await.unwrap();
    rows.iter().map(|row| row.get(column)).collect()
}

/// Whether a line of a plan reads a table from end to end, or sorts it.
fn reads_all(line: &str) -> bool {
    let scan = line.contains("SCAN ") && !line.contains(" USING ");
    scan || line.contains("Seq Scan")
}

async fn check<R: Record>(catalog: &Catalog, query: Query) {
    let plan = plan(catalog, query.select(&R::TABLE).unwrap()).await;
    assert!(!plan.iter().any(|line| reads_all(line)), "{query:?}\n{}", plan.join("\n"));
}

async fn lists_go_by_an_index(catalog: Catalog) {
    filled(&catalog).await;
    let instance = InstanceId::from_bits(7);
    let page = |query: Query| query.limit(50);
    for query in [
        Query::all().newest_first(),
        Query::all().oldest_first(),
        Query::all(),
        Query::all().newest_first().after(Cursor::of(&common::job(5))),
        Query::all().oldest_first().after(Cursor::of(&common::job(5))),
        Query::all().after(Cursor::of(&common::job(5))),
        Query::all().eq(Column::Instance, instance).newest_first(),
        Query::all().eq(Column::Instance, instance).newest_first().after(Cursor::of(&common::job(5))),
        Query::all().eq(Column::Region, "tokyo").newest_first(),
        Query::all().eq(Column::Region, "tokyo").at_least(Column::Created, common::at(0)).newest_first(),
        Query::all().eq(Column::Status, JobStatus::Running).oldest_first(),
        Query::all().one_of(Column::Status, [JobStatus::Running, JobStatus::Queued]).oldest_first(),
        Query::all().eq(Column::Binding, "pd-7").newest_first(),
        Query::all().eq(Column::Parent, "job-7").newest_first(),
        Query::all().at_least(Column::Completed, 99_000_i64).at_most(Column::Completed, 99_100_i64),
    ] {
        check::<model::Job>(&catalog, page(query)).await;
    }
    for query in [
        Query::all().eq(Column::Group, "ssg-7"),
        Query::all().eq(Column::Job, "job-7"),
        Query::all().eq(Column::Instance, instance).newest_first(),
        Query::all().at_most(Column::Expires, 1100_i64),
    ] {
        check::<model::Point>(&catalog, page(query)).await;
    }
    let mut unfinished = Sql::new();
    unfinished.push(crate::workflow::SELECT).push(crate::workflow::UNFINISHED).text("backup");
    unfinished.push(crate::workflow::OLDEST_FIRST);
    let plan = plan(&catalog, unfinished).await;
    assert!(!plan.iter().any(|line| reads_all(line)), "{}", plan.join("\n"));
    // The check can fail: nothing is indexed by policy.
    let by_policy = Query::all().eq(Column::Policy, "po-1");
    let plan = self::plan(&catalog, by_policy.count(&model::Job::TABLE).unwrap()).await;
    assert!(plan.iter().any(|line| reads_all(line)), "{}", plan.join("\n"));
}

#[tokio::test]
async fn lists_go_by_an_index_on_sqlite() {
    let fresh = common::sqlite("plans").await;
    lists_go_by_an_index(fresh.open().await).await;
}

#[tokio::test]
async fn lists_go_by_an_index_on_postgres() {
    let fresh = common::postgres("plans").await;
    lists_go_by_an_index(fresh.open().await).await;
}

/// A commit waits for the disk on every connection that writes.
#[tokio::test]
async fn sqlite_is_set_up_to_keep_what_it_acknowledged() {
    let fresh = common::sqlite("pragmas").await;
    let catalog = fresh.open().await;
    let mut transaction = catalog.database.begin().await.unwrap();
    let mut pragma = Sql::new();
    pragma.push("PRAGMA synchronous");
    let synchronous = pragma.fetch_optional_int(transaction.connection()).await.unwrap();
    assert_eq!(synchronous, Some(2), "FULL");
    let mut pragma = Sql::new();
    pragma.push("PRAGMA journal_mode");
    let journal = pragma.fetch_optional_text(transaction.connection()).await.unwrap();
    assert_eq!(journal.as_deref(), Some("wal"));
}

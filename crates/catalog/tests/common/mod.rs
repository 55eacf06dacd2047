//! A fresh catalog on each database, and small records to put into it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use catalog::Catalog;
use model::{
    BackupRequest, Binding, BindingId, BindingOptions, ByteCount, Days, GroupId, InstanceId, Job, JobId,
    JobStatus, PointId, PolicyId, Progress, RegionId, Timestamp, Trigger,
};
use sqlx::Connection as _;

/// A database of its own for one test, gone with it (SQLite) or replaced by its next run (PostgreSQL).
#[derive(Debug)]
pub struct Fresh {
    pub url: String,
    _directory: Option<tempfile::TempDir>,
}

impl Fresh {
    pub async fn open(&self) -> Catalog {
        Catalog::open(&self.url).await.expect("open the catalog")
    }
}

pub async fn sqlite(_test: &str) -> Fresh {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite://{}/catalog.db", directory.path().display());
    Fresh { url, _directory: Some(directory) }
}

pub async fn memory(_test: &str) -> Fresh {
    Fresh { url: "sqlite::memory:".to_owned(), _directory: None }
}

/// A schema of its own in the server the test harness started.
pub async fn postgres(test: &str) -> Fresh {
    let server = std::env::var("HIKAE_TEST_POSTGRES").expect(
        "this test needs a PostgreSQL server, named by HIKAE_TEST_POSTGRES; \
         `cargo xtask test` starts one and runs all tests",
    );
    let schema = format!("hikae_catalog_{}", test.replace("::", "_"));
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&server).await.expect("connect to PostgreSQL");
    for statement in [format!("DROP SCHEMA IF EXISTS {schema} CASCADE"), format!("CREATE SCHEMA {schema}")] {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("a fresh schema");
    }
    connection.close().await.expect("close");
    let joint = if server.contains('?') { '&' } else { '?' };
    Fresh { url: format!("{server}{joint}options[search_path]={schema}"), _directory: None }
}

/// The same test on each database. The body gets a [`Fresh`].
#[macro_export]
macro_rules! on_each_database {
    ($($name:ident => $body:path;)*) => {
        $(
            mod $name {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    $body($crate::common::sqlite(stringify!($name)).await).await;
                }
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    $body($crate::common::postgres(stringify!($name)).await).await;
                }
            }
        )*
    };
}

/// As [`on_each_database`], in memory as well.
#[macro_export]
macro_rules! on_memory_too {
    ($($name:ident => $body:path;)*) => {
        $crate::on_each_database! { $($name => $body;)* }
        mod memory {
            $(
                #[tokio::test]
                async fn $name() {
                    $body($crate::common::memory(stringify!($name)).await).await;
                }
            )*
        }
    };
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_790_000_000 + seconds)
}

pub fn tokyo() -> RegionId {
    RegionId::from("tokyo")
}

pub fn job(number: u32) -> Job {
    Job {
        id: JobId::from_bits(number.into()),
        parent: None,
        region: tokyo(),
        name: format!("job {number}"),
        instance: InstanceId::from_bits(1),
        instance_name: "web".to_owned(),
        request: BackupRequest {
            trigger: Trigger::Manual,
            retention: Days(7),
            immutable: false,
            options: BindingOptions::default(),
        },
        status: JobStatus::Created,
        progress: Progress::ZERO,
        failure: None,
        point: PointId::from_bits(number.into()),
        group: GroupId::from_bits(number.into()),
        snapshots: Vec::new(),
        created: at(number.into()),
        started: None,
        completed: None,
        updated: at(number.into()),
        bytes_total: ByteCount(0),
        bytes_read: ByteCount(0),
        bytes_stored: ByteCount(0),
    }
}

pub fn binding(number: u32, instance: u32) -> Binding {
    Binding {
        id: BindingId::from_bits(number.into()),
        region: tokyo(),
        policy: PolicyId::from_bits(9),
        instance: InstanceId::from_bits(instance.into()),
        description: String::new(),
        disabled: false,
        options: BindingOptions::default(),
        created: at(number.into()),
        updated: at(number.into()),
    }
}

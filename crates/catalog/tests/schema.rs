//! Opening: fresh, again, by an older program, with rows of an older one, at addresses that are none.
#![allow(clippy::unwrap_used)]

mod common;

use catalog::{
    AccessKey, Batch, Catalog, CatalogError, Column, Query, Record, SeenInstance, Setting, Table, Value,
};
use common::{Fresh, at, binding, job, tokyo};
use model::{
    AccessKeyId, ByteCount, ConsistencyLevel, Days, DiskId, DiskKind, GroupId, HostId, Instance, InstanceId,
    InstanceStatus, JobId, JobStatus, Maker, OsKind, Point, PointId, PointStatus, Policy, PolicyId,
    PolicyKind, Progress, Restore, RestoreId, RestoreKind, Retention, Snapshot, SnapshotId, SnapshotStatus,
    Task, TaskId, ZoneId,
};
use serde::{Deserialize, Serialize};
use sqlx::Connection as _;

on_each_database! {
    opening_again_changes_nothing => super::opening_again_changes_nothing;
    a_newer_schema_is_refused => super::a_newer_schema_is_refused;
    rows_of_an_older_program_are_read => super::rows_of_an_older_program_are_read;
    an_unreadable_row_is_named => super::an_unreadable_row_is_named;
    every_record_has_its_table => super::every_record_has_its_table;
}

async fn run(fresh: &Fresh, statement: &'static str) {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&fresh.url).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn opening_again_changes_nothing(fresh: Fresh) {
    let catalog = fresh.open().await;
    catalog.write(Batch::new().insert(&job(1))).await.unwrap();
    catalog.close().await;
    let catalog = fresh.open().await;
    assert_eq!(catalog.list::<model::Job>(&Query::all()).await.unwrap(), [job(1)]);
    // Even when the record of the steps was lost: every statement is idempotent.
    run(&fresh, "DELETE FROM catalog_schema").await;
    let catalog = fresh.open().await;
    assert_eq!(catalog.list::<model::Job>(&Query::all()).await.unwrap(), [job(1)]);
}

async fn a_newer_schema_is_refused(fresh: Fresh) {
    fresh.open().await.close().await;
    run(&fresh, "INSERT INTO catalog_schema (number, what) VALUES (4711, 'of tomorrow')").await;
    let error = Catalog::open(&fresh.url).await.unwrap_err();
    assert!(matches!(error, CatalogError::TooNew { found: 4711, .. }), "{error:?}");
    assert!(error.to_string().contains("4711"), "{error}");
}

/// A setting as a later version of this program may know it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct NewSetting {
    name: String,
    value: String,
    #[serde(default)]
    remark: Option<String>,
}

impl Record for NewSetting {
    type Key = String;
    const TABLE: Table = Setting::TABLE;
    fn key(&self) -> String {
        self.name.clone()
    }
    fn columns(&self) -> Vec<(Column, Value)> {
        Vec::new()
    }
}

async fn rows_of_an_older_program_are_read(fresh: Fresh) {
    let catalog = fresh.open().await;
    let old = Setting { name: "zone".to_owned(), value: "Asia/Tokyo".to_owned() };
    catalog.write(Batch::new().insert(&old)).await.unwrap();
    let read = catalog.get::<NewSetting>(&"zone".to_owned()).await.unwrap().unwrap();
    assert_eq!((read.value.as_str(), &read.remark), ("Asia/Tokyo", &None));
    // And an older program reads a newer row, as long as nothing was taken away.
    let new = NewSetting { remark: Some("moved".to_owned()), ..read };
    catalog.write(Batch::new().put(&new)).await.unwrap();
    assert_eq!(catalog.get::<Setting>(&"zone".to_owned()).await.unwrap(), Some(old));
}

async fn an_unreadable_row_is_named(fresh: Fresh) {
    let catalog = fresh.open().await;
    catalog.write(Batch::new().insert(&job(1))).await.unwrap();
    run(&fresh, "UPDATE jobs SET body = '{\"id\": 7'").await;
    let key = job(1).id.to_string();
    let named = |error: &CatalogError| matches!(error, CatalogError::Corrupt { table: "jobs", key: k, .. } if *k == key);
    let error = catalog.get::<model::Job>(&job(1).id).await.unwrap_err();
    assert!(named(&error), "{error:?}");
    let error = catalog.list::<model::Job>(&Query::all()).await.unwrap_err();
    assert!(named(&error), "{error:?}");
    let error = catalog.update(&job(1).id, |_: &mut model::Job| ()).await.unwrap_err();
    assert!(named(&error), "{error:?}");
    // Counting needs no body, and the row can still be replaced.
    assert_eq!(catalog.count::<model::Job>(&Query::all()).await.unwrap(), 1);
    catalog.write(Batch::new().put(&job(1))).await.unwrap();
    assert_eq!(catalog.get::<model::Job>(&job(1).id).await.unwrap(), Some(job(1)));
}

async fn kept<R: Record + PartialEq + std::fmt::Debug>(catalog: &Catalog, record: R) {
    catalog.write(Batch::new().insert(&record)).await.unwrap();
    catalog.write(Batch::new().put(&record)).await.unwrap();
    assert_eq!(catalog.get::<R>(&record.key()).await.unwrap().as_ref(), Some(&record));
    // Each of its columns holds what it says.
    let query =
        record.columns().into_iter().fold(Query::all(), |query, (column, value)| query.eq(column, value));
    assert_eq!(catalog.list::<R>(&query).await.unwrap(), [record]);
}

async fn every_record_has_its_table(fresh: Fresh) {
    let catalog = fresh.open().await;
    let policy = Policy {
        id: PolicyId::from_bits(1),
        region: tokyo(),
        name: "nightly".to_owned(),
        description: String::new(),
        kind: PolicyKind::Instances,
        rules: Vec::new(),
        created: at(0),
        updated: at(0),
    };
    kept(&catalog, policy).await;
    kept(&catalog, binding(1, 1)).await;
    kept(&catalog, job(1)).await;
    kept(&catalog, point()).await;
    let access_key = AccessKey {
        id: AccessKeyId::from_bits(1),
        name: "root".to_owned(),
        sealed_secret: vec![0, 1, 127, 128, 255],
        active: true,
        root: true,
        created: at(0),
    };
    assert!(!format!("{access_key:?}").contains("127"), "{access_key:?}");
    kept(&catalog, access_key).await;
    kept(&catalog, seen()).await;
    kept(&catalog, snapshot()).await;
    let restore = Restore {
        id: RestoreId::from_bits(1),
        region: tokyo(),
        point: point().id,
        source: InstanceId::from_bits(1),
        kind: RestoreKind::RollBackInstance { instance: InstanceId::from_bits(1), force: false, boot: true },
        task: TaskId::from_bits(1),
        status: JobStatus::Created,
        progress: Progress::ZERO,
        failure: None,
        created: at(0),
        started: None,
        completed: None,
        updated: at(0),
        bytes_total: ByteCount(1),
        bytes_done: ByteCount(0),
        detail: "{}".to_owned(),
    };
    kept(&catalog, restore).await;
}

/// Their columns, by asking for each.
#[tokio::test]
async fn groups_and_tasks_have_their_tables() {
    assert_eq!(model::Group::TABLE.name, "snapshot_groups");
    assert_eq!(model::Task::TABLE.name, "tasks");
    let fresh = common::memory("tables").await;
    let catalog = fresh.open().await;
    for column in model::Group::TABLE.columns {
        let query = Query::all().not(*column, Value::Null);
        assert_eq!(catalog.list::<model::Group>(&query).await.unwrap(), []);
    }
    for column in Task::TABLE.columns {
        let query = Query::all().not(*column, Value::Null);
        assert_eq!(catalog.list::<Task>(&query).await.unwrap(), []);
    }
}

fn point() -> Point {
    Point {
        id: PointId::from_bits(1),
        region: tokyo(),
        instance: InstanceId::from_bits(1),
        instance_name: "web".to_owned(),
        job: JobId::from_bits(1),
        group: GroupId::from_bits(1),
        status: PointStatus::Available,
        partial: false,
        disks: Vec::new(),
        level: ConsistencyLevel::Crash,
        downgrade: None,
        retention: Retention::Days(Days(7)),
        class: None,
        immutable: false,
        created: at(0),
        started: None,
        completed: None,
        taken: None,
        expires: None,
        updated: at(0),
        bytes_total: ByteCount(u64::MAX),
        bytes_stored: ByteCount(0),
        vcpus: 1,
        memory: ByteCount(1 << 30),
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        id: SnapshotId::from_bits(1),
        region: tokyo(),
        group: GroupId::from_bits(1),
        instance: InstanceId::from_bits(1),
        disk: DiskId::from_bits(1),
        device: "vda".to_owned(),
        disk_kind: DiskKind::System,
        disk_size: ByteCount(1 << 30),
        encrypted: false,
        tracked: true,
        status: SnapshotStatus::Accomplished,
        progress: Progress::FULL,
        name: String::new(),
        made_by: Maker::Backup { job: JobId::from_bits(1) },
        created: at(0),
        completed: None,
        bytes_read: ByteCount(0),
        bytes_stored: ByteCount(0),
        base: None,
        root: None,
        full_because: None,
    }
}

fn seen() -> SeenInstance {
    let instance = Instance {
        id: InstanceId::from_bits(1),
        uuid: [9; 16],
        name: "web".to_owned(),
        region: tokyo(),
        zone: ZoneId::from("tokyo-a"),
        host: HostId::from_bits(1),
        status: InstanceStatus::Running,
        paused: false,
        vcpus: 1,
        memory: ByteCount(1 << 30),
        os: OsKind::Linux,
        disks: Vec::new(),
        created: None,
        simulated: true,
    };
    SeenInstance {
        id: instance.id,
        region: tokyo(),
        uuid: instance.uuid,
        name: "web".to_owned(),
        first_seen: at(0),
        last_seen: at(1),
        released: None,
        last: instance,
    }
}

#[tokio::test]
async fn addresses_that_are_none() {
    for (url, expected) in
        [("", "\"\""), ("catalog.db", "catalog.db"), ("mysql://a:hunter2@b/c", "\"mysql\"")]
    {
        let error = Catalog::open(url).await.unwrap_err();
        let CatalogError::BadUrl(said) = &error else { panic!("{url}: {error:?}") };
        assert!(said.contains(expected) && !said.contains("hunter2"), "{url}: {said}");
    }
    let error = Catalog::open("postgres://u:hunter2@[broken/x").await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    let error = Catalog::open("sqlite:///nowhere/at/all/catalog.db").await.unwrap_err();
    assert!(matches!(error, CatalogError::Unavailable(_)), "{error:?}");
}

/// Whatever goes wrong on the way to a server, its password is not told.
#[tokio::test]
async fn a_password_is_not_told() {
    let fresh = common::postgres("password").await;
    let (head, tail) = fresh.url.split_once('@').unwrap();
    let user = head.rsplit('/').next().unwrap();
    let name = user.split(':').next().unwrap();
    let server = tail.split('/').next().unwrap();
    let url = format!("postgres://{name}:hunter2@{server}/no_such_database");
    let error = Catalog::open(&url).await.unwrap_err();
    assert!(matches!(error, CatalogError::Database(_)), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
}

//! The workflow log: admitted once, appended to by one, finished with its records.
#![allow(clippy::unwrap_used)]

mod common;

use catalog::{Batch, CatalogError, Query, Started, WorkflowRow};
use common::{Fresh, at, job};
use model::Job;
use serde_json::json;

on_memory_too! {
    a_workflow_is_admitted_once => super::a_workflow_is_admitted_once;
    a_log_grows_by_one_event_at_a_time => super::a_log_grows_by_one_event_at_a_time;
    the_end_and_its_records_are_one => super::the_end_and_its_records_are_one;
    unfinished_workflows_are_found_again => super::unfinished_workflows_are_found_again;
    a_cancel_is_seen_until_the_end => super::a_cancel_is_seen_until_the_end;
}

fn workflow(id: &str) -> WorkflowRow {
    WorkflowRow {
        id: id.to_owned(),
        service: "backup".to_owned(),
        kind: "backup_instance".to_owned(),
        params: json!({"job": "job-1", "disks": ["d-1", "d-2"], "控え": null}),
        created: at(0),
        finished: false,
    }
}

async fn a_workflow_is_admitted_once(fresh: Fresh) {
    let catalog = fresh.open().await;
    // An admission whose records are refused admits nothing.
    let twice = Batch::new().insert(&job(1)).insert(&job(1));
    let error = catalog.workflow_start(&workflow("w"), twice).await.unwrap_err();
    assert!(matches!(error, CatalogError::Exists { table: "jobs", .. }), "{error:?}");
    assert_eq!(catalog.workflow_log("w").await.unwrap(), None);
    assert_eq!(catalog.count::<Job>(&Query::all()).await.unwrap(), 0);

    let started = catalog.workflow_start(&workflow("w"), Batch::new().insert(&job(1))).await.unwrap();
    assert_eq!(started, Started::Created);
    // Asked again, as after a lost answer: nothing is written twice, nothing fails.
    let again = catalog.workflow_start(&workflow("w"), Batch::new().insert(&job(1)).insert(&job(2))).await;
    assert_eq!(again.unwrap(), Started::Existed);
    assert_eq!(catalog.list::<Job>(&Query::all()).await.unwrap(), [job(1)]);
    assert_eq!(catalog.workflow_log("w").await.unwrap(), Some((workflow("w"), vec![])));

    // Another under the same id.
    for other in [
        WorkflowRow { params: json!({"job": "job-2"}), ..workflow("w") },
        WorkflowRow { kind: "delete_point".to_owned(), ..workflow("w") },
        WorkflowRow { service: "blocks".to_owned(), ..workflow("w") },
    ] {
        let error = catalog.workflow_start(&other, Batch::new()).await.unwrap_err();
        assert!(
            matches!(&error, CatalogError::Exists { table: "workflows", key } if key == "w"),
            "{error:?}"
        );
    }
}

async fn a_log_grows_by_one_event_at_a_time(fresh: Fresh) {
    let catalog = fresh.open().await;
    catalog.workflow_start(&workflow("w"), Batch::new()).await.unwrap();
    catalog.workflow_start(&workflow("other"), Batch::new()).await.unwrap();
    for seq in 0..12 {
        catalog.workflow_append("w", seq, &json!({"Started": seq})).await.unwrap();
    }
    catalog.workflow_append("other", 0, &json!("mine")).await.unwrap();
    let taken = catalog.workflow_append("w", 11, &json!("a second runner")).await.unwrap_err();
    assert!(matches!(taken, CatalogError::Exists { table: "workflow_events", .. }), "{taken:?}");
    let (_, events) = catalog.workflow_log("w").await.unwrap().unwrap();
    assert_eq!(events, (0..12).map(|seq| json!({"Started": seq})).collect::<Vec<_>>());

    let nobody = catalog.workflow_append("nobody", 0, &json!(null)).await.unwrap_err();
    assert!(matches!(nobody, CatalogError::Absent { table: "workflows", .. }), "{nobody:?}");
    let far = catalog.workflow_append("w", u64::MAX, &json!(null)).await.unwrap_err();
    assert!(matches!(far, CatalogError::Misuse(_)), "{far:?}");
    assert_eq!(catalog.workflow_log("nobody").await.unwrap(), None);
}

async fn the_end_and_its_records_are_one(fresh: Fresh) {
    let catalog = fresh.open().await;
    catalog.workflow_start(&workflow("w"), Batch::new().insert(&job(1))).await.unwrap();
    let broken = Batch::new().insert(&job(2)).insert(&job(1));
    let error = catalog.workflow_finish("w", 0, &json!("Ended"), broken).await.unwrap_err();
    assert!(matches!(error, CatalogError::Exists { table: "jobs", .. }), "{error:?}");
    let (row, events) = catalog.workflow_log("w").await.unwrap().unwrap();
    assert_eq!((row.finished, events.len()), (false, 0));
    assert_eq!(catalog.list::<Job>(&Query::all()).await.unwrap(), [job(1)]);

    catalog.workflow_finish("w", 0, &json!("Ended"), Batch::new().insert(&job(2))).await.unwrap();
    let (row, events) = catalog.workflow_log("w").await.unwrap().unwrap();
    assert_eq!((row.finished, events), (true, vec![json!("Ended")]));
    assert_eq!(catalog.count::<Job>(&Query::all()).await.unwrap(), 2);
    // A runner that had stalled comes back to a log that went on without it.
    let late =
        catalog.workflow_finish("w", 0, &json!("Ended"), Batch::new().insert(&job(3))).await.unwrap_err();
    assert!(matches!(late, CatalogError::Exists { table: "workflow_events", .. }), "{late:?}");
    assert_eq!(catalog.count::<Job>(&Query::all()).await.unwrap(), 2);
}

async fn unfinished_workflows_are_found_again(fresh: Fresh) {
    let catalog = fresh.open().await;
    for (id, service, second) in
        [("c", "backup", 1), ("a", "backup", 3), ("b", "backup", 1), ("d", "blocks", 0)]
    {
        let row = WorkflowRow { service: service.to_owned(), created: at(second), ..workflow(id) };
        catalog.workflow_start(&row, Batch::new()).await.unwrap();
    }
    let ids = async |service: &str| -> Vec<String> {
        catalog.workflow_unfinished(service).await.unwrap().into_iter().map(|row| row.id).collect()
    };
    assert_eq!(ids("backup").await, ["b", "c", "a"]);
    catalog.workflow_finish("c", 0, &json!("Ended"), Batch::new()).await.unwrap();
    assert_eq!(ids("backup").await, ["b", "a"]);
    assert_eq!(ids("blocks").await, ["d"]);
    assert_eq!(ids("'; --").await, [""; 0]);
}

async fn a_cancel_is_seen_until_the_end(fresh: Fresh) {
    let catalog = fresh.open().await;
    catalog.workflow_start(&workflow("w"), Batch::new()).await.unwrap();
    assert!(!catalog.workflow_cancelled("w").await.unwrap());
    assert!(catalog.workflow_cancel("w").await.unwrap());
    assert!(catalog.workflow_cancel("w").await.unwrap(), "asked twice is asked");
    assert!(catalog.workflow_cancelled("w").await.unwrap());
    catalog.workflow_finish("w", 0, &json!("Ended"), Batch::new()).await.unwrap();
    assert!(!catalog.workflow_cancel("w").await.unwrap(), "too late");
    assert!(!catalog.workflow_cancel("nobody").await.unwrap());
    assert!(!catalog.workflow_cancelled("nobody").await.unwrap());
}

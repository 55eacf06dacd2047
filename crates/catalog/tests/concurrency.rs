//! Several writers on one row, from several processes' worth of connections: each change counts,
//! and of those who want to be first one is.
#![allow(clippy::unwrap_used)]

mod common;

use catalog::{Batch, Catalog, CatalogError, Lease, Query, Setting, WorkflowRow};
use common::{Fresh, at, binding};
use model::Binding;
use serde_json::json;
use tokio::task::JoinSet;

on_each_database! {
    no_change_is_lost => super::no_change_is_lost;
    one_of_many_is_first => super::one_of_many_is_first;
    one_runner_writes_an_event => super::one_runner_writes_an_event;
    openers_take_turns => super::openers_take_turns;
    a_dropped_write_leaves_nothing => super::a_dropped_write_leaves_nothing;
}

/// As two server processes would open it.
async fn two(fresh: &Fresh) -> [Catalog; 2] {
    [fresh.open().await, fresh.open().await]
}

const TASKS: usize = 16;

async fn no_change_is_lost(fresh: Fresh) {
    let catalogs = two(&fresh).await;
    let counter = Setting { name: "counter".to_owned(), value: "0".to_owned() };
    catalogs[0].write(Batch::new().insert(&counter)).await.unwrap();
    let increment = |setting: &mut Setting| {
        let next: u32 = setting.value.parse::<u32>().unwrap() + 1;
        setting.value = next.to_string();
        next
    };
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let catalog = catalogs[number % 2].clone();
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for round in 0..5 {
                let key = "counter".to_owned();
                if round % 2 == 0 {
                    seen.extend(catalog.update(&key, increment).await.unwrap());
                } else {
                    let change = move |setting: &mut Setting| _ = increment(setting);
                    catalog.write(Batch::new().change::<Setting>(&key, change)).await.unwrap();
                }
            }
            seen
        });
    }
    let mut seen = tasks.join_all().await.concat();
    seen.sort_unstable();
    let returned = seen.len();
    seen.dedup();
    assert_eq!(seen.len(), returned, "two changes saw the same value");
    let counter = catalogs[1].get::<Setting>(&"counter".to_owned()).await.unwrap().unwrap();
    assert_eq!(counter.value, (TASKS * 5).to_string());
}

async fn one_of_many_is_first(fresh: Fresh) {
    let catalogs = two(&fresh).await;
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let catalog = catalogs[number % 2].clone();
        tasks.spawn(async move {
            let lease = Lease { resource: "i-1".to_owned(), holder: format!("job-{number}"), since: at(0) };
            let lease = catalog.write(Batch::new().insert(&lease)).await;
            // Another row each, the same instance.
            let bound = binding(u32::try_from(number).unwrap(), 1);
            let bound = catalog.write(Batch::new().insert(&bound)).await;
            (number, lease, bound)
        });
    }
    let results = tasks.join_all().await;
    for result in results.iter().flat_map(|(_, lease, bound)| [lease, bound]) {
        assert!(matches!(result, Ok(()) | Err(CatalogError::Exists { .. })), "{result:?}");
    }
    let holders: Vec<_> =
        results.iter().filter(|(_, lease, _)| lease.is_ok()).map(|(number, ..)| number).collect();
    assert_eq!(holders.len(), 1);
    let lease = catalogs[1].get::<Lease>(&"i-1".to_owned()).await.unwrap().unwrap();
    assert_eq!(lease.holder, format!("job-{}", holders[0]));
    assert_eq!(results.iter().filter(|(.., bound)| bound.is_ok()).count(), 1);
    assert_eq!(catalogs[0].count::<Binding>(&Query::all()).await.unwrap(), 1);
}

async fn one_runner_writes_an_event(fresh: Fresh) {
    let catalogs = two(&fresh).await;
    let row = WorkflowRow {
        id: "w".to_owned(),
        service: "backup".to_owned(),
        kind: "backup_instance".to_owned(),
        params: json!(null),
        created: at(0),
        finished: false,
    };
    let mut starts = JoinSet::new();
    for number in 0..TASKS {
        let (catalog, row) = (catalogs[number % 2].clone(), row.clone());
        starts.spawn(async move { catalog.workflow_start(&row, Batch::new()).await.unwrap() });
    }
    let created = starts.join_all().await.into_iter().filter(|started| *started == catalog::Started::Created);
    assert_eq!(created.count(), 1);
    let mut runners = JoinSet::new();
    for number in 0..TASKS {
        let catalog = catalogs[number % 2].clone();
        runners.spawn(async move {
            let setting = Setting { name: format!("by {number}"), value: String::new() };
            if number % 4 == 0 {
                catalog.workflow_append("w", 0, &json!(number)).await
            } else {
                catalog.workflow_finish("w", 0, &json!(number), Batch::new().insert(&setting)).await
            }
        });
    }
    let results = runners.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(
        results.iter().all(|result| matches!(result, Ok(()) | Err(CatalogError::Exists { .. }))),
        "{results:?}"
    );
    let (row, events) = catalogs[0].workflow_log("w").await.unwrap().unwrap();
    assert_eq!(events.len(), 1);
    // Only the winner's records are there.
    let settings = catalogs[0].list::<Setting>(&Query::all()).await.unwrap();
    assert_eq!(settings.len(), usize::from(row.finished));
    assert!(settings.iter().all(|setting| setting.name == format!("by {}", events[0])));
}

async fn openers_take_turns(fresh: Fresh) {
    let mut openers = JoinSet::new();
    for _ in 0..6 {
        let url = fresh.url.clone();
        openers.spawn(async move {
            let catalog = Catalog::open(&url).await.unwrap();
            catalog.count::<Setting>(&Query::all()).await.unwrap()
        });
    }
    assert_eq!(openers.join_all().await, [0; 6]);
}

/// A handler whose client hung up is dropped wherever it stands.
async fn a_dropped_write_leaves_nothing(fresh: Fresh) {
    let catalog = fresh.open().await;
    for polls in 0..40_u32 {
        let batch = (0..3).fold(Batch::new(), |batch, number| {
            batch.insert(&Setting { name: format!("{polls}-{number}"), value: String::new() })
        });
        let mut write = Box::pin(catalog.write(batch));
        for _ in 0..polls {
            let once = std::future::poll_fn(|context| {
                std::task::Poll::Ready(std::future::Future::poll(write.as_mut(), context).is_ready())
            });
            if once.await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(write);
    }
    // All or nothing of each, and the connection is as good as before.
    let names: Vec<String> = catalog
        .list::<Setting>(&Query::all())
        .await
        .unwrap()
        .into_iter()
        .map(|setting| setting.name)
        .collect();
    for polls in 0..40_u32 {
        let there = names.iter().filter(|name| name.starts_with(&format!("{polls}-"))).count();
        assert!(there == 0 || there == 3, "{there} of 3 after {polls} polls");
    }
    assert!(!names.iter().any(|name| name.starts_with("0-")), "never polled, and written");
    let after = Setting { name: "after".to_owned(), value: String::new() };
    catalog.write(Batch::new().insert(&after)).await.unwrap();
    assert_eq!(catalog.get::<Setting>(&"after".to_owned()).await.unwrap(), Some(after));
}

//! Records: write, read, list, page, count; all or nothing; nothing of a value becomes SQL.
#![allow(clippy::unwrap_used)]

mod common;

use catalog::{Batch, CatalogError, Column, Cursor, Lease, Query, Setting};
use common::{Fresh, at, binding, job};
use model::{Binding, InstanceId, Job, JobId, JobStatus};

on_memory_too! {
    a_record_comes_back_as_it_went => super::a_record_comes_back_as_it_went;
    a_batch_is_all_or_nothing => super::a_batch_is_all_or_nothing;
    an_instance_has_one_binding => super::an_instance_has_one_binding;
    a_lease_has_one_holder => super::a_lease_has_one_holder;
    filters_agree_with_a_plain_reading => super::filters_agree_with_a_plain_reading;
    pages_cover_a_list_once => super::pages_cover_a_list_once;
    change_and_update => super::change_and_update;
    values_never_become_sql => super::values_never_become_sql;
    keys_sort_by_bytes => super::keys_sort_by_bytes;
    misuse_is_named => super::misuse_is_named;
}

async fn a_record_comes_back_as_it_went(fresh: Fresh) {
    let catalog = fresh.open().await;
    let mut first = job(1);
    first.name = "控え \u{0}\u{1}'\"\\ \u{1f4be}".to_owned();
    catalog.write(Batch::new().insert(&first)).await.unwrap();
    assert_eq!(catalog.get::<Job>(&first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(catalog.get::<Job>(&JobId::from_bits(2)).await.unwrap(), None);

    first.status = JobStatus::Running;
    catalog.write(Batch::new().put(&first)).await.unwrap();
    assert_eq!(catalog.get::<Job>(&first.id).await.unwrap(), Some(first.clone()));
    // The columns moved along with the body.
    let running = Query::all().eq(Column::Status, JobStatus::Running);
    assert_eq!(catalog.list::<Job>(&running).await.unwrap(), [first.clone()]);

    catalog.write(Batch::new().delete::<Job>(&first.id).delete::<Job>(&first.id)).await.unwrap();
    assert_eq!(catalog.count::<Job>(&Query::all()).await.unwrap(), 0);
}

async fn a_batch_is_all_or_nothing(fresh: Fresh) {
    let catalog = fresh.open().await;
    catalog.write(Batch::new().insert(&job(1))).await.unwrap();
    let batch = Batch::new().insert(&job(2)).delete::<Job>(&job(1).id).insert(&job(3)).insert(&job(3));
    let error = catalog.write(batch).await.unwrap_err();
    assert!(
        matches!(&error, CatalogError::Exists { table: "jobs", key } if *key == job(3).id.to_string()),
        "{error:?}"
    );
    assert_eq!(catalog.list::<Job>(&Query::all()).await.unwrap(), [job(1)]);

    let absent = Batch::new().insert(&job(2)).change::<Job>(&job(9).id, |_| ());
    let error = catalog.write(absent).await.unwrap_err();
    assert!(matches!(error, CatalogError::Absent { table: "jobs", .. }), "{error:?}");
    assert_eq!(catalog.list::<Job>(&Query::all()).await.unwrap(), [job(1)]);
}

async fn an_instance_has_one_binding(fresh: Fresh) {
    let catalog = fresh.open().await;
    catalog.write(Batch::new().insert(&binding(1, 1)).insert(&binding(2, 2))).await.unwrap();
    let second = catalog.write(Batch::new().insert(&binding(3, 1))).await.unwrap_err();
    assert!(matches!(second, CatalogError::Exists { table: "bindings", .. }), "{second:?}");
    // Nor by the back door of replacing another.
    let moved = catalog.write(Batch::new().put(&binding(2, 1))).await.unwrap_err();
    assert!(matches!(moved, CatalogError::Exists { table: "bindings", .. }), "{moved:?}");
    // Replaced in one batch, as "bind it to another policy" does.
    let replaced = Batch::new().delete::<Binding>(&binding(1, 1).id).insert(&binding(3, 1));
    catalog.write(replaced).await.unwrap();
    let of_instance = Query::all().eq(Column::Instance, InstanceId::from_bits(1));
    assert_eq!(catalog.list::<Binding>(&of_instance).await.unwrap(), [binding(3, 1)]);
}

async fn a_lease_has_one_holder(fresh: Fresh) {
    let catalog = fresh.open().await;
    let lease = |holder: &str| Lease { resource: "i-1".to_owned(), holder: holder.to_owned(), since: at(0) };
    catalog.write(Batch::new().insert(&lease("job-1"))).await.unwrap();
    let error = catalog.write(Batch::new().insert(&lease("job-2"))).await.unwrap_err();
    assert!(matches!(&error, CatalogError::Exists { table: "leases", key } if key == "i-1"), "{error:?}");
    assert_eq!(catalog.get::<Lease>(&"i-1".to_owned()).await.unwrap(), Some(lease("job-1")));
}

async fn filters_agree_with_a_plain_reading(fresh: Fresh) {
    let catalog = fresh.open().await;
    let jobs: Vec<Job> = (0..40)
        .map(|number| {
            let mut job = job(number);
            job.instance = InstanceId::from_bits(u128::from(number % 3));
            job.status = JobStatus::ALL[number as usize % JobStatus::ALL.len()];
            job.completed = (number % 2 == 0).then(|| at(i64::from(number) + 5));
            job.parent = (number % 5 == 0).then(|| JobId::from_bits(77));
            job
        })
        .collect();
    catalog.write(jobs.iter().fold(Batch::new(), Batch::insert)).await.unwrap();

    type Reading = fn(&Job) -> bool;
    let readings: &[(Query, Reading)] = &[
        (Query::all(), |_| true),
        (Query::all().eq(Column::Instance, InstanceId::from_bits(2)), |job| {
            job.instance == InstanceId::from_bits(2)
        }),
        (Query::all().not(Column::Status, JobStatus::Failed), |job| job.status != JobStatus::Failed),
        (Query::all().not(Column::Completed, at(15)), |job| job.completed != Some(at(15))),
        (Query::all().eq(Column::Parent, None::<JobId>), |job| job.parent.is_none()),
        (Query::all().not(Column::Parent, None::<JobId>), |job| job.parent.is_some()),
        (Query::all().at_least(Column::Created, at(10)).at_most(Column::Created, at(20)), |job| {
            (at(10)..=at(20)).contains(&job.created)
        }),
        (Query::all().above(Column::Created, at(10)).below(Column::Created, at(20)), |job| {
            job.created > at(10) && job.created < at(20)
        }),
        (Query::all().at_most(Column::Completed, at(15)), |job| {
            job.completed.is_some_and(|completed| completed <= at(15))
        }),
        (Query::all().one_of(Column::Status, [JobStatus::Failed, JobStatus::Queued]), |job| {
            matches!(job.status, JobStatus::Failed | JobStatus::Queued)
        }),
        (Query::all().one_of(Column::Status, [] as [JobStatus; 0]), |_| false),
        (Query::all().eq(Column::Region, "tokyo").eq(Column::Status, "Nonsense"), |_| false),
    ];
    for (query, reading) in readings {
        let expected: Vec<_> = jobs.iter().filter(|job| reading(job)).map(|job| job.id).collect();
        let listed = catalog.list::<Job>(&query.clone().oldest_first()).await.unwrap();
        assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), expected, "{query:?}");
        assert_eq!(catalog.count::<Job>(query).await.unwrap(), expected.len() as u64, "{query:?}");
        let newest = catalog.list::<Job>(&query.clone().newest_first()).await.unwrap();
        assert!(newest.iter().map(|job| job.id).eq(expected.iter().copied().rev()), "{query:?}");
    }
}

async fn pages_cover_a_list_once(fresh: Fresh) {
    let catalog = fresh.open().await;
    // Many share a moment: the key decides between them.
    let jobs: Vec<Job> =
        (0..23).map(|number| Job { created: at(i64::from(number / 5)), ..job(number) }).collect();
    catalog.write(jobs.iter().fold(Batch::new(), Batch::insert)).await.unwrap();
    let expected: Vec<JobId> = jobs.iter().map(|job| job.id).collect();

    for (query, reversed) in
        [(Query::all().oldest_first(), false), (Query::all().newest_first(), true), (Query::all(), false)]
    {
        let mut seen: Vec<JobId> = Vec::new();
        let mut page = query.clone().limit(4);
        loop {
            let listed = catalog.list::<Job>(&page).await.unwrap();
            let Some(last) = listed.last() else { break };
            assert!(listed.len() <= 4);
            seen.extend(listed.iter().map(|job| job.id));
            // As a client keeps it.
            let token = Cursor::of(last).to_string();
            page = query.clone().limit(4).after(token.parse().unwrap());
        }
        let mut expected = expected.clone();
        if reversed {
            expected.reverse();
        }
        assert_eq!(seen, expected, "{query:?}");
        let third = catalog.list::<Job>(&query.clone().offset(10).limit(5)).await.unwrap();
        assert!(third.iter().map(|job| job.id).eq(expected[10..15].iter().copied()), "{query:?}");
        assert_eq!(catalog.list::<Job>(&query.clone().offset(21)).await.unwrap().len(), 2);
    }
    for odd in ["", "1", ".", "x.job-1", "1.a\0b", &format!("1.{}", "a".repeat(600))] {
        assert!(odd.parse::<Cursor>().is_err(), "{odd:?}");
    }
}

async fn change_and_update(fresh: Fresh) {
    let catalog = fresh.open().await;
    catalog.write(Batch::new().insert(&job(1))).await.unwrap();
    let before = catalog
        .update(&job(1).id, |job: &mut Job| std::mem::replace(&mut job.status, JobStatus::Queued))
        .await
        .unwrap();
    assert_eq!(before, Some(JobStatus::Created));
    let missing = catalog.update(&job(2).id, |_: &mut Job| panic!("called for nothing")).await.unwrap();
    assert_eq!(missing, None::<()>);

    let batch = Batch::new()
        .change::<Job>(&job(1).id, |job| job.status = JobStatus::Running)
        .then(Batch::new().insert(&job(2)));
    catalog.write(batch).await.unwrap();
    let job = catalog.get::<Job>(&job(1).id).await.unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Running);
    assert_eq!(catalog.count::<Job>(&Query::all()).await.unwrap(), 2);
}

/// Everything a client can say reaches the database as a value.
async fn values_never_become_sql(fresh: Fresh) {
    let catalog = fresh.open().await;
    let evil = [
        "'",
        "''",
        "\"",
        "`",
        ";",
        "--",
        "/*",
        "$1",
        "?1",
        ":a",
        "\\",
        "%",
        "_",
        "'; DROP TABLE settings; --",
        "' OR '1'='1",
        "x') OR 1=1 --",
        "\u{0}",
        "a\u{0}b",
        "\u{202e}",
        "\u{fffd}",
        "NULL",
        "0x00",
        "E'\\x00'",
    ];
    let storable: Vec<&str> = evil.into_iter().filter(|text| !text.contains('\0')).collect();
    for text in &storable {
        let setting = Setting { name: (*text).to_owned(), value: (*text).to_owned() };
        catalog.write(Batch::new().insert(&setting)).await.unwrap();
        assert_eq!(catalog.get::<Setting>(&setting.name).await.unwrap(), Some(setting), "{text:?}");
    }
    assert_eq!(catalog.count::<Setting>(&Query::all()).await.unwrap(), storable.len() as u64);

    catalog.write(Batch::new().insert(&job(1))).await.unwrap();
    for text in evil {
        for query in [
            Query::all().eq(Column::Status, text),
            Query::all().one_of(Column::Status, [text, text]),
            Query::all().eq(Column::Created, at(1)).eq(Column::Instance, text),
        ] {
            assert_eq!(catalog.list::<Job>(&query).await.unwrap(), [], "{query:?}");
            assert_eq!(catalog.count::<Job>(&query).await.unwrap(), 0, "{query:?}");
        }
        let others = Query::all().not(Column::Status, text);
        assert_eq!(catalog.count::<Job>(&others).await.unwrap(), 1, "{text:?}");
        if text.contains('\0') {
            assert_eq!(catalog.get::<Setting>(&text.to_owned()).await.unwrap(), None);
            catalog.write(Batch::new().delete::<Setting>(&text.to_owned())).await.unwrap();
            let setting = Setting { name: text.to_owned(), value: String::new() };
            let error = catalog.write(Batch::new().insert(&setting)).await.unwrap_err();
            assert!(matches!(error, CatalogError::Misuse(_)), "{error:?}");
        }
    }
}

async fn keys_sort_by_bytes(fresh: Fresh) {
    let catalog = fresh.open().await;
    let names = ["B", "Z", "_", "a", "b-1", "b1", "é", "控"];
    let settings = names.map(|name| Setting { name: name.to_owned(), value: String::new() });
    catalog.write(settings.iter().rev().fold(Batch::new(), Batch::insert)).await.unwrap();
    assert_eq!(catalog.list::<Setting>(&Query::all()).await.unwrap(), settings);
}

async fn misuse_is_named(fresh: Fresh) {
    let catalog = fresh.open().await;
    for query in [
        Query::all().eq(Column::Disk, "d-1"),
        Query::all().eq(Column::Created, "yesterday"),
        Query::all().eq(Column::Status, 1_i64),
        Query::all().one_of(Column::Status, vec!["x"; 1001]),
    ] {
        let error = catalog.list::<Job>(&query).await.unwrap_err();
        assert!(matches!(error, CatalogError::Misuse(_)), "{query:?}: {error:?}");
    }
    let error = catalog.list::<Setting>(&Query::all().newest_first()).await.unwrap_err();
    assert!(matches!(error, CatalogError::Misuse(_)), "{error:?}");
    catalog.write(Batch::new().insert(&job(1))).await.unwrap();
    let renamed = catalog.update(&job(1).id, |one: &mut Job| one.id = job(2).id).await.unwrap_err();
    assert!(matches!(renamed, CatalogError::Misuse(_)), "{renamed:?}");
    assert_eq!(catalog.list::<Job>(&Query::all()).await.unwrap(), [job(1)]);
}

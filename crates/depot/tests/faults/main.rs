//! Every object operation of every workflow going wrong in every way, one at a time and from then on:
//! nothing sealed is lost, a second try succeeds, and what was left behind is collected.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
mod workflows;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{World, restore, small};
use futures::FutureExt as _;
use hikae_depot::{DepotError, Depth, Margins};
use model::GroupId;
use store::{Fault, Faulty, Script};
use tokio_util::sync::CancellationToken;
use workflows::{Prepared, Scene, WORKFLOWS, Workflow};

const DAY_S: i64 = 24 * 3600;

/// What goes wrong, and whether for good.
const FAULTS: [(Fault, bool); 11] = [
    (Fault::Unavailable, false),
    (Fault::LostBefore, false),
    (Fault::LostAfter, false),
    (Fault::NoSpace, false),
    (Fault::Torn, false),
    (Fault::StalledBefore, false),
    (Fault::StalledAfter, false),
    (Fault::Unavailable, true),
    (Fault::LostBefore, true),
    (Fault::LostAfter, true),
    (Fault::NoSpace, true),
];

/// In memory, with one task, everything ends at once or never.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing waits")
}

/// Every group that is there restores to what was written; these must be there.
async fn audit(world: &World, prepared: &Prepared, wanted: &[u128], how: &str) {
    let depot = world.open().await;
    let listed: Vec<u128> = depot.groups().await.unwrap().into_iter().map(GroupId::bits).collect();
    assert!(wanted.iter().all(|id| listed.contains(id)), "{how}: {wanted:?} of {listed:?}");
    for id in listed {
        let found = depot.group(GroupId::from_bits(id)).await.unwrap().expect("listed");
        let restored = restore(&depot, &found.disks[0].tree).await;
        let restored = restored.unwrap_or_else(|error| panic!("{how}: group {id}: {error:?}"));
        assert!(restored == prepared.contents[&id], "{how}: group {id} restores to other content");
    }
    for depth in [Depth::Names, Depth::Data] {
        let report = depot.verify(depth, &CancellationToken::new()).await.unwrap();
        assert_eq!(report.findings, [], "{how}");
    }
}

/// Enough visits, each of a process of its own; then nothing is there that no group needs.
async fn collect_all(world: &World, how: &str) {
    for _ in 0..3 {
        world.clock.advance_s(DAY_S + 3600);
        let report = world.open().await.collect(Margins::STANDARD, &[]).await.unwrap();
        assert_eq!(report.refused, None, "{how}");
    }
    let stats = world.open().await.stats().await.unwrap();
    assert_eq!(stats.packs, stats.needed_packs, "{how}: leaked for ever");
}

fn excused(error: &DepotError, fault: Fault) -> bool {
    match error {
        DepotError::Store(_) => true,
        // A store that breaks its promise is found out.
        DepotError::Damaged { .. } | DepotError::Newer { .. } => fault == Fault::Torn,
        _ => false,
    }
}

/// One fault at one operation; false when the workflow needs fewer.
fn break_at(prepared: &Prepared, workflow: &Workflow, nth: u64, fault: Fault, for_good: bool) -> bool {
    let how = format!("{} with {fault:?} at {nth}, for good: {for_good}", workflow.name);
    let inner = now(prepared.bucket(workflow));
    let faulty = Arc::new(Faulty::new(inner.clone(), Script::Never));
    let mut scene = now(Scene::new(prepared, workflow, inner, faulty.clone()));
    let first = faulty.calls() + nth;
    faulty.follow(match for_good {
        false => Script::At(BTreeMap::from([(first, fault)])),
        true => Script::From(first, fault),
    });
    let ended = (workflow.run)(&scene).now_or_never();
    if faulty.calls() <= first {
        assert_eq!(ended, Some(Ok(())), "{how}");
        return false;
    }
    faulty.follow(Script::Never);
    match &ended {
        Some(Err(error)) => assert!(excused(error, fault), "{how}: {error:?}"),
        Some(Ok(())) => now((workflow.holds)(&scene, &how)),
        None => assert!(matches!(fault, Fault::StalledBefore | Fault::StalledAfter), "{how} waits for ever"),
    }
    if fault == Fault::Torn {
        // What was there stays whole; a torn object itself stands in the way for good.
        now(audit_torn(&scene, prepared, workflow, &how));
        return true;
    }
    if !workflow.from_nothing {
        now(audit(&scene.world, prepared, workflow.kept, &how));
    }
    // The process lives on, or is another.
    if nth % 2 == 1 || ended.is_none() {
        now(scene.restart());
    }
    let again = (workflow.run)(&scene).now_or_never();
    assert_eq!(again, Some(Ok(())), "{how}: the second try");
    now((workflow.holds)(&scene, &how));
    now(audit(&scene.world, prepared, workflow.kept, &how));
    now(collect_all(&scene.world, &how));
    now(audit(&scene.world, prepared, workflow.kept, &how));
    now((workflow.holds)(&scene, &how));
    true
}

/// Nothing false is restored, and no group that was sealed is touched.
async fn audit_torn(scene: &Scene, prepared: &Prepared, workflow: &Workflow, how: &str) {
    let depot = match scene.world.try_open().await {
        Ok(depot) => depot,
        Err(error) => return assert!(excused(&error, Fault::Torn), "{how}: {error:?}"),
    };
    for id in depot.groups().await.unwrap().into_iter().map(GroupId::bits) {
        let of_old = workflow.kept.contains(&id);
        match depot.group(GroupId::from_bits(id)).await {
            Ok(found) => match restore(&depot, &found.expect("listed").disks[0].tree).await {
                Ok(bytes) => assert!(bytes == prepared.contents[&id], "{how}: group {id} is false"),
                Err(error) => assert!(!of_old && excused(&error, Fault::Torn), "{how}: {id} {error:?}"),
            },
            Err(error) => assert!(!of_old && excused(&error, Fault::Torn), "{how}: {id} {error:?}"),
        }
    }
}

#[test]
fn every_operation_of_every_workflow_in_every_way() {
    let prepared = now(Prepared::new(small()));
    let mut positions = BTreeMap::new();
    for workflow in WORKFLOWS {
        let mut most = 0;
        for (fault, for_good) in FAULTS {
            let until = (0..).find(|nth| !break_at(&prepared, workflow, *nth, fault, for_good));
            most = most.max(until.unwrap());
        }
        assert!(most > 0, "{} does nothing", workflow.name);
        positions.insert(workflow.name, most);
    }
    println!("operations broken, in {} ways each: {positions:?}", FAULTS.len());
}

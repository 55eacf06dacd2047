//! Every step of every workflow, run and undone, and the process dies before its effect, after its
//! effect, after its record; then in the middle of steps, at calls to the host and the store.
//!
//! Which cells there are, the workflows say themselves; a cell no story reaches fails the test.

use std::collections::BTreeSet;

use sim::{Cell, World};
use workflow::{Moment, Outline};

use crate::scripts::Script;

/// Steps whose undo cannot come: nothing makes them fail once they are tried, and a cancel waits.
const NEVER_UNDONE: &[(&str, usize)] = &[
    // A deletion is never taken back.
    ("DeletePoint", 0),
    ("DeleteGroup", 0),
];

fn expected(outlines: &[Outline]) -> BTreeSet<Cell> {
    let mut cells = BTreeSet::new();
    for outline in outlines {
        for step in 0..outline.steps.len() {
            for moment in Moment::ALL {
                cells.insert(Cell::new(outline.kind, step, false, moment));
                if step <= outline.commit && !NEVER_UNDONE.contains(&(outline.kind, step)) {
                    cells.insert(Cell::new(outline.kind, step, true, moment));
                }
            }
        }
    }
    cells
}

/// After whatever happened: at rest everything holds, and the next backup works.
pub(crate) async fn settle_and_audit(mut world: World, story: &str) {
    world.come_to_rest().await.unwrap_or_else(|stuck| panic!("{story}: {stuck:?}"));
    let violations = world.audit().await.expect("an audit");
    assert!(violations.is_empty(), "{story}: {}", listed(&violations));
    let Some(instance) = world.host.instances().first().map(|instance| instance.id) else { return };
    let job = world.back_up(instance).await.unwrap_or_else(|stuck| panic!("{story}: {stuck:?}"));
    assert_eq!(job.status, model::JobStatus::Complete, "{story}: the next backup: {:?}", job.failure);
    let violations = world.audit().await.expect("an audit");
    assert!(violations.is_empty(), "{story}, one backup later: {}", listed(&violations));
}

fn listed(violations: &[sim::Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Dies once at every cell this story passes and `wanted` has; says at which it did.
async fn crash_everywhere(script: Script, wanted: &mut BTreeSet<Cell>) {
    let rehearsal = script.play(|_| {}).await;
    let cells = rehearsal.plug.passed();
    settle_and_audit(rehearsal, &format!("{script:?}")).await;
    for cell in cells {
        if !wanted.contains(&cell) {
            continue;
        }
        let story = format!("{script:?}, dying at {cell:?}");
        let world = script.play(|world| world.plug.arm(cell.clone())).await;
        // A story's own set-up may pass the cell before it is armed, and nothing after it.
        if world.plug.died().contains(&cell) {
            wanted.remove(&cell);
        }
        settle_and_audit(world, &story).await;
    }
}

#[tokio::test]
async fn every_step_survives_a_crash() {
    let outlines = [backup::WORKFLOWS, blocks::WORKFLOWS].concat();
    let mut wanted = expected(&outlines);
    for script in Script::ALL {
        crash_everywhere(*script, &mut wanted).await;
    }
    assert!(wanted.is_empty(), "no story reaches {wanted:#?}");
}

#[tokio::test]
async fn every_kind_of_restore_survives_a_crash() {
    for script in Script::RESTORES {
        let outlines: Vec<_> = [backup::WORKFLOWS, blocks::WORKFLOWS]
            .concat()
            .into_iter()
            .filter(|outline| {
                matches!(outline.kind, "Restore" | "ResetDisks" | "CreateInstance" | "CreateDisk")
            })
            .collect();
        crash_everywhere(script, &mut expected(&outlines)).await;
    }
}

#[tokio::test]
async fn the_middle_of_a_step_survives_a_crash() {
    const RUNS_MAX: u64 = 14;
    let stories = [
        Script::BackUpTwice,
        Script::CancelBackUp { after: 1 },
        Script::DeletePoint,
        Script::RollBackInstance,
        Script::CloneInstance,
        Script::CloneDisk,
    ];
    for script in stories {
        let mut before = 0;
        let rehearsal = script.play(|world| before = world.trip.calls()).await;
        let calls = rehearsal.trip.calls() - before;
        let stride = calls.div_ceil(RUNS_MAX).max(1);
        for call in (0..calls).step_by(usize::try_from(stride).unwrap()) {
            let world = script.play(|world| world.trip.arm_after(call)).await;
            assert_eq!(world.restarts, 1, "{script:?} passes call {call}");
            settle_and_audit(world, &format!("{script:?}, dying at call {call}")).await;
        }
    }
}

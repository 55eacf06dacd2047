//! `kill -9` of the real process: at every step it takes in the file system, and at random moments, in
//! directories and in the buckets of a real S3 server.
//!
//! After each death both depots are verified with their keys, every snapshot that was told to be there
//! is compared byte for byte, and the next command goes on from what the dead one left.

#![allow(clippy::disallowed_methods, reason = "processes die in real time")]

#[path = "../depot_place/mod.rs"]
mod place;
#[path = "../support/mod.rs"]
mod support;
mod walk;
mod world;

use std::collections::BTreeMap;
use std::path::Path;

use place::noise;
use walk::Walk;
use world::{Call, End, Side, World};

/// Random deaths of a run, unless `HIKAE_KILLS` wants more: in directories, and in buckets.
const KILLS: usize = 40;
const KILLS_IN_BUCKETS: usize = 12;
const MIB: usize = 1 << 20;

/// A command of the tool, on depots as it finds them.
type Workflow = (&'static str, fn(&World) -> Call);

const WORKFLOWS: &[Workflow] = &[
    ("import", |world| world.import("second", None)),
    ("increment", |world| world.import("second", Some("first"))),
    ("delete", |world| world.delete(Side::Here, "old")),
    ("gc that marks", |_| World::gc(Side::Here)),
    ("gc that deletes", |world| {
        world.tool(&world.delete(Side::Here, "old"));
        world.pass_margin();
        world.tool(&World::gc(Side::Here));
        world.pass_margin();
        World::gc(Side::Here)
    }),
    ("copy", |world| world.copy(Some("old"))),
    ("copy of an increment", |world| {
        world.tool(&world.copy(Some("first")));
        world.tool(&world.import("second", Some("first")));
        world.copy(Some("second"))
    }),
];

/// A depot with three groups, one of them deleted, and an empty one.
fn prepared() -> World {
    let world = World::in_directories();
    let first = noise(MIB + 100, 1);
    world.write_image("first", &first);
    let mut second = first.clone();
    second[200_000..300_000].copy_from_slice(&noise(100_000, 2));
    world.write_image("second", &second);
    world.write_image("old", &noise(MIB / 2, 3));
    world.write_image("gone", &noise(MIB / 4, 4));
    for name in ["first", "old", "gone"] {
        world.tool(&world.import(name, None));
    }
    world.tool(&world.delete(Side::Here, "gone"));
    world
}

#[test]
fn dead_before_every_step_in_the_file_system() {
    let prepared = prepared();
    let mut told = BTreeMap::new();
    for (name, call) in WORKFLOWS {
        let mut deaths = 0;
        for nth in 1.. {
            let world = prepared.again();
            let call = call(&world);
            let before = world.groups();
            let end = world.run_until_step(&call, nth);
            world.audit_after(&call, &before);
            if end == End::Finished {
                break;
            }
            deaths += 1;
            // What the dead one left does not stand in the way of the next, and goes.
            if *name != "delete" || world.group(Side::Here, "old").is_some() {
                world.tool(&call);
            }
            world.audit(&["first"]);
            world.collect_all();
            world.audit(&["first"]);
            if name.starts_with("copy") {
                let copied = if *name == "copy" { "old" } else { "second" };
                assert!(world.group(Side::There, copied).is_some(), "{name}, dead before step {nth}");
            }
            assert_eq!(world.leaks(), [0; 3], "{name}, dead before step {nth}");
        }
        told.insert(*name, deaths);
    }
    println!("deaths before every step: {told:?}");
    assert!(told.values().all(|deaths| *deaths >= 1), "{told:?}");
    assert!(["import", "copy", "copy of an increment"].iter().all(|name| told[name] >= 15), "{told:?}");
}

/// What a power cut takes is what was not synced: no test of ours can cut the power, so the order of
/// the steps is held.
#[test]
fn a_file_is_synced_before_it_has_its_name_and_its_folder_after() {
    let world = prepared();
    for call in [world.import("second", None), world.copy(Some("old"))] {
        check_syncs(&world.steps_of(&call));
    }
}

fn check_syncs(steps: &[(String, String, String)]) {
    let mut links = 0;
    for (at, (what, draft, name)) in steps.iter().enumerate() {
        assert_ne!(what, "rename", "objects are linked, never renamed over others");
        if what != "link" {
            continue;
        }
        links += 1;
        let is_synced = |path: &str, steps: &[(String, String, String)]| {
            steps.iter().any(|(what, synced, _)| what == "sync" && synced == path)
        };
        let wrote = steps[..at].iter().rposition(|(what, path, _)| what == "write" && path == draft);
        let wrote = wrote.unwrap_or_else(|| panic!("{name} was linked before it was written"));
        assert!(is_synced(draft, &steps[wrote..at]), "{name} was linked before its bytes were synced");
        let folder = Path::new(name).parent().and_then(Path::to_str).expect("a folder");
        let next = steps[at..].iter().position(|(_, path, to)| path.contains("/groups/") && to != name);
        let until =
            if name.contains("/groups/") { steps.len() } else { at + next.expect("a group comes last") };
        assert!(
            is_synced(folder, &steps[at..until]),
            "{name} was not yet in its folder when the next step was"
        );
        if let Some(made) = steps.iter().position(|(what, path, _)| what == "mkdir" && path == folder) {
            let above = Path::new(folder).parent().and_then(Path::to_str).expect("a folder");
            assert!(is_synced(above, &steps[made..until]), "{folder} may be gone after a power cut");
        }
    }
    assert!(links >= 2, "{steps:?}");
}

fn kills(usual: usize) -> usize {
    std::env::var("HIKAE_KILLS").map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn dead_at_random_moments() {
    Walk::new(World::in_directories()).go(kills(KILLS));
}

/// What a dead process had sent may still be answered after its death.
#[test]
fn dead_at_random_moments_on_a_real_s3_server() {
    Walk::new(World::in_buckets()).go(kills(KILLS_IN_BUCKETS));
}

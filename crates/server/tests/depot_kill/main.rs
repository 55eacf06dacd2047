//! `kill -9` of the real process: at every step it takes in the file system, and at random moments.
//!
//! After each death the depot is verified with its keys, every snapshot that was told to be there is
//! compared byte for byte, and the next command goes on from what the dead one left.

#![allow(clippy::disallowed_methods, reason = "processes die in real time")]

#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use world::{End, World, noise};

/// Random deaths of a run, unless `HIKAE_KILLS` wants more.
const KILLS: usize = 60;
const MIB: usize = 1 << 20;

/// A command of the tool, on a depot as it finds it.
type Workflow = (&'static str, fn(&World) -> Vec<String>);

const WORKFLOWS: &[Workflow] = &[
    ("import", |world| world.import_arguments("second", None)),
    ("increment", |world| world.import_arguments("second", Some("first"))),
    ("delete", |world| {
        vec!["delete".to_owned(), world.group("old").expect("it is there"), "--yes".to_owned()]
    }),
    ("gc that marks", |_| vec!["gc".to_owned()]),
    ("gc that deletes", |world| {
        world.delete("old");
        world.pass_margin();
        world.tool(&["gc"]);
        world.pass_margin();
        vec!["gc".to_owned()]
    }),
];

/// A depot with three groups, one of them deleted.
fn prepared() -> World {
    let world = World::new();
    let first = noise(MIB + 100, 1);
    world.write_image("first", &first);
    let mut second = first.clone();
    second[200_000..300_000].copy_from_slice(&noise(100_000, 2));
    world.write_image("second", &second);
    world.write_image("old", &noise(MIB / 2, 3));
    world.write_image("gone", &noise(MIB / 4, 4));
    for name in ["first", "old", "gone"] {
        world.import(name);
    }
    world.delete("gone");
    world
}

#[test]
fn dead_before_every_step_in_the_file_system() {
    let prepared = prepared();
    let mut told = BTreeMap::new();
    for (name, arguments) in WORKFLOWS {
        let mut deaths = 0;
        for nth in 1.. {
            let world = prepared.again();
            let arguments = arguments(&world);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let end = world.run_until_step(&arguments, nth);
            world.audit(&["first"]);
            if end == End::Finished {
                break;
            }
            deaths += 1;
            // What the dead one left does not stand in the way of the next, and goes.
            if *name != "delete" || world.group("old").is_some() {
                world.tool(&arguments);
            }
            world.audit(&["first"]);
            world.collect_all();
            world.audit(&["first"]);
            assert_eq!(world.leaks(), (0, 0), "{name}, dead before step {nth}");
        }
        told.insert(*name, deaths);
    }
    println!("deaths before every step: {told:?}");
    assert!(told.values().all(|deaths| *deaths >= 1) && told["import"] >= 15, "{told:?}");
}

/// What a power cut takes is what was not synced: no test of ours can cut the power, so the order of
/// the steps is held.
#[test]
fn a_file_is_synced_before_it_has_its_name_and_its_folder_after() {
    let world = prepared();
    let steps = world.steps_of(&world.import_arguments("second", None));
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

/// A seeded walk: imports, increments, deletions and collections, each killed at a random moment of
/// the time it takes.
#[test]
fn dead_at_random_moments() {
    let kills = std::env::var("HIKAE_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let world = World::new();
    let mut random = blake3::Hasher::new().update(b"kills").finalize_xof();
    let mut roll = |sides: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % sides
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut takes_us, mut killed, mut next) = (BTreeMap::new(), 0, 0);
    let mut images: Vec<String> = Vec::new();
    let began = Instant::now();
    while killed < kills {
        let there = world.groups();
        let kind = match roll(10) {
            0..6 if there.len() < 4 => "import",
            0..4 => "delete",
            4..8 => "import",
            _ => "gc",
        };
        let arguments: Vec<String> = match kind {
            "import" => {
                let name = format!("image-{next}");
                next += 1;
                let base = there.values().nth(usize::try_from(roll(5)).expect("small")).cloned();
                let mut bytes = match &base {
                    Some(base) => world.content(base),
                    None => noise(20 * MIB, roll(1 << 30)),
                };
                let at = usize::try_from(roll(15)).expect("small") * MIB;
                bytes[at..at + 4 * MIB].copy_from_slice(&noise(4 * MIB, roll(1 << 30)));
                world.write_image(&name, &bytes);
                images.push(name.clone());
                world.import_arguments(&name, base.as_deref())
            }
            "delete" => {
                let group = there.keys().next().expect("some group").clone();
                vec!["delete".to_owned(), group, "--yes".to_owned()]
            }
            _ => {
                world.pass_margin();
                vec!["gc".to_owned()]
            }
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let usual = *takes_us.get(kind).unwrap_or(&400_000);
        // Half of the imports die at the end, where it matters.
        let its_pack = kind == "import" && roll(2) == 0;
        let within = if its_pack { 100_000 } else { usual + usual / 5 };
        let after = std::time::Duration::from_micros(roll(within));
        let before = (world.packs().len(), there.len());
        let (end, took) = world.run_until(&arguments, after, its_pack);
        world.audit_after(kind, &there, &arguments);
        let now = (world.packs().len(), world.groups().len());
        let landed = match (end, kind) {
            (End::Finished, _) => {
                if !its_pack {
                    takes_us.insert(kind, took);
                }
                "finished first"
            }
            (_, "import") if now.1 > before.1 => "import: after the group was there",
            (_, "import") if now.0 > before.0 => "import: between its packs and its group",
            (_, "import") => "import: before its first pack",
            (_, "delete") if now.1 < before.1 => "delete: after the group was gone",
            (_, "delete") => "delete: before",
            (_, _) if now.0 < before.0 => "gc: while or after packs were deleted",
            _ => "gc: before a pack was deleted",
        };
        *counts.entry(landed).or_default() += 1;
        killed += usize::from(end == End::Killed);
        for old in images.drain(..images.len().saturating_sub(8)) {
            world.forget_image(&old);
        }
    }
    let leaks = world.leaks();
    world.collect_all();
    world.audit(&[]);
    assert_eq!(world.leaks(), (0, 0), "leaked for ever");
    println!(
        "{killed} kills in {:?}: {counts:?}; unneeded packs and drafts in the end: {leaks:?}",
        began.elapsed()
    );
    assert!(counts.len() >= 4, "{counts:?}");
}

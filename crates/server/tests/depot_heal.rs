//! A depot that was damaged, healed by what its sources still have.

#[path = "depot_place/mod.rs"]
mod place;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use place::{Place, noise};
use serde_json::{Value, json};
use support::text;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: TempDir::new().expect("temporary directory") };
        world.tool(&["init"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let place = Place::Directory(self.path("depot"));
        let mut command = place.command();
        command.env("XDG_CACHE_HOME", self.path("caches"));
        command.args(["--output", "json", "--region", "tokyo", "depot"]).args(arguments);
        command.arg("--depot").arg(place.text()).arg("--root-key").arg(self.path("root.key"));
        command.output().expect("run hikae")
    }

    fn tool(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let (out, said) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {}\n{out}{said}", output.status);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out:?}"))
    }

    fn import(&self, image: &Path, options: &[&str]) -> Imported {
        let image = image.display().to_string();
        let answer = self.tool(&[&["import", &image], options].concat());
        Imported {
            group: word(&answer["group"]),
            snapshot: word(&answer["snapshot"]),
            stored: answer["cost"]["bytes_stored"].as_u64().expect("a number"),
        }
    }

    fn exports(&self, snapshot: &str, bytes: &[u8]) -> bool {
        let to = self.path(&format!("out-{snapshot}"));
        let output = self.run(&["export", snapshot, "--to", &to.display().to_string()]);
        if !output.status.success() {
            return false;
        }
        let exported = fs::read(&to).expect("exported");
        fs::remove_file(to).expect("remove it");
        exported == bytes
    }

    /// Snapshots that `verify` says are hurt.
    fn hurt(&self) -> Vec<String> {
        let output = self.run(&["verify"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = report["findings"].as_array().expect("a list");
        assert_eq!(output.status.code(), Some(i32::from(!findings.is_empty())), "{report}");
        let hurts = findings.iter().flat_map(|finding| finding["hurts"].as_array().expect("a list"));
        let mut hurt: Vec<String> = hurts.map(|hurt| word(&hurt["snapshot"])).collect();
        hurt.sort();
        hurt.dedup();
        hurt
    }

    /// Flips a bit in the middle of the largest pack.
    fn damage(&self) {
        let mut packs = Vec::new();
        for folder in fs::read_dir(self.path("depot/packs")).expect("packs").flatten() {
            packs.extend(fs::read_dir(folder.path()).expect("packs").flatten().map(|file| file.path()));
        }
        let pack = packs.into_iter().max_by_key(|pack| fs::metadata(pack).expect("a pack").len());
        let pack = pack.expect("a pack");
        let mut bytes = fs::read(&pack).expect("a pack");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(pack, bytes).expect("damage it");
    }
}

struct Imported {
    group: String,
    snapshot: String,
    stored: u64,
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Neither a re-read increment, which links to what its base links to, nor a cache that knows the chunks
/// makes the new snapshot lean on what is damaged.
#[test]
fn a_fresh_import_leans_on_nothing_that_is_damaged() {
    let world = World::new();
    let image = world.path("disk.raw");
    let mut bytes = noise(6 * MIB, 1);
    fs::write(&image, &bytes).expect("write an image");
    let first = world.import(&image, &["--name", "web"]);
    bytes[..100_000].copy_from_slice(&noise(100_000, 2));
    fs::write(&image, &bytes).expect("write an image");
    let second = world.import(&image, &["--base", &first.snapshot]);
    world.damage();
    let mut both = vec![first.snapshot.clone(), second.snapshot.clone()];
    both.sort();
    assert_eq!(world.hurt(), both);
    assert!(!world.exports(&second.snapshot, &bytes));

    let linked = world.import(&image, &["--base", &second.snapshot]);
    assert!(!world.exports(&linked.snapshot, &bytes), "a re-read increment links to its base");
    let fresh = world.import(&image, &["--base", &second.snapshot, "--fresh"]);
    assert!(fresh.stored > 6 * MIB as u64 && world.exports(&fresh.snapshot, &bytes));
    assert!(!world.hurt().contains(&fresh.snapshot));
    let rows = world.tool(&["ls"]);
    let row = |snapshot: &str| {
        let rows = rows.as_array().expect("a list");
        rows.iter().find(|row| row["snapshot"] == json!(snapshot)).expect("listed").clone()
    };
    let (old, new) = (row(&second.snapshot), row(&fresh.snapshot));
    for same in ["instance_id", "instance_name", "disk", "device"] {
        assert_eq!(old[same], new[same], "{same}");
    }
    assert_eq!(new["base"], Value::Null);
    // The next one builds on it.
    let next = world.import(&image, &["--base", &fresh.snapshot]);
    assert!(next.stored < 100_000 && world.exports(&next.snapshot, &bytes));

    for broken in [first, second, linked] {
        world.tool(&["delete", &broken.group, "--yes"]);
    }
    assert_eq!(world.hurt(), Vec::<String>::new());
    assert!(world.exports(&fresh.snapshot, &bytes));
}

/// Once it was verified, a pack that is damaged is not known any more: the next import without a base
/// stores what lay in it, and links to all else.
#[test]
fn what_verify_found_damaged_is_not_linked_to_again() {
    let world = World::new();
    let image = world.path("disk.raw");
    // Several packs.
    let bytes = noise(64 * MIB, 1);
    fs::write(&image, &bytes).expect("write an image");
    let whole = world.import(&image, &[]);
    world.damage();
    let linked = world.import(&image, &[]);
    assert!(linked.stored < MIB as u64 && !world.exports(&linked.snapshot, &bytes), "it is known");
    assert_eq!(world.hurt().len(), 2);
    let healed = world.import(&image, &[]);
    assert!(healed.stored > 8 * MIB as u64, "{} stored", healed.stored);
    assert!(healed.stored < whole.stored - 8 * MIB as u64, "only what lay in the damaged pack is stored");
    assert!(world.exports(&healed.snapshot, &bytes));
    assert!(!world.hurt().contains(&healed.snapshot));
}

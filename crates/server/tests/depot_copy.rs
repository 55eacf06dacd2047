//! `hikae depot copy` between directories and the buckets of a real S3 server, as an operator calls it.

#[path = "depot_place/mod.rs"]
mod place;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use place::{Bucket, Place, noise};
use serde_json::{Value, json};
use support::text;
use tempfile::TempDir;

const MIB: usize = 1 << 20;
const CHANGED: usize = 300_000;

struct World {
    folder: TempDir,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let mut command = place.command();
        command.env("XDG_CACHE_HOME", self.path("caches"));
        command.args(["--output", "json", "--region", "tokyo", "depot"]).args(arguments);
        command.arg("--depot").arg(place.text()).arg("--root-key").arg(self.path("root.key"));
        command
    }

    fn tool(&self, place: &Place, arguments: &[&str]) -> Value {
        done(self.command(place, arguments))
    }

    fn copy(&self, from: &Place, to: &Place) -> Value {
        let mut command = self.command(from, &["copy", "--all", "--to", &to.text()]);
        match (from, to) {
            // The other's key is said where this one has none.
            (Place::Directory(_), Place::Bucket { access_key_id, secret, .. }) => {
                let file = self.path("secret");
                fs::write(&file, secret).expect("write the secret");
                command.args(["--to-access-key-id", access_key_id, "--to-secret-file"]).arg(file);
                command.env("NO_PROXY", "127.0.0.1");
            }
            _ => from.equip(&mut command),
        }
        done(command)
    }

    fn export(&self, place: &Place, snapshot: &str, name: &str) -> Vec<u8> {
        let to = self.path(name);
        self.tool(place, &["export", snapshot, "--to", &to.display().to_string()]);
        fs::read(to).expect("exported")
    }
}

/// Its answer, which must be success.
fn done(mut command: Command) -> Value {
    let output = command.output().expect("run hikae");
    let (out, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{said}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{command:?}: {error}: {out:?}"))
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))).expect("small")
}

fn import(world: &World, place: &Place, image: &Path, bytes: &[u8], options: &[&str]) -> String {
    fs::write(image, bytes).expect("write an image");
    let image = image.display().to_string();
    word(&world.tool(place, &[&["import", &image], options].concat())["snapshot"])
}

/// From a directory to a bucket, to another bucket, to a directory: each has what the first had, and an
/// increment costs each what it is.
#[test]
fn copies_go_from_directory_to_bucket_to_bucket_to_directory() {
    let world = World { folder: TempDir::new().expect("temporary directory") };
    let places = [
        Place::Directory(world.path("first")),
        Place::in_bucket(Bucket::First),
        Place::in_bucket(Bucket::Second),
        Place::Directory(world.path("last")),
    ];
    for place in &places {
        world.tool(place, &["init"]);
    }
    let [first, .., last] = &places;
    let image = world.path("disk.raw");
    // Two packs.
    let old = noise(20 * MIB + 777, 1);
    let base = import(&world, first, &image, &old, &[]);
    for hop in places.windows(2) {
        let copied = world.copy(&hop[0], &hop[1]);
        assert_eq!(copied["groups"][0]["was_there"], json!(false), "{copied}");
        assert!(number(&copied["cost"]["bytes_stored"]) > 20 * MIB, "{copied}");
    }
    let mut new = old.clone();
    new[5 * MIB..5 * MIB + CHANGED].copy_from_slice(&noise(CHANGED, 2));
    let increment = import(&world, first, &image, &new, &["--base", &base]);
    for hop in places.windows(2) {
        let copied = world.copy(&hop[0], &hop[1]);
        assert_eq!(copied["groups"][0]["was_there"], json!(true), "{copied}");
        assert_eq!(copied["groups"][1]["disks"][0]["base"], json!(base), "{copied}");
        let cost = &copied["cost"];
        for figure in ["bytes_read", "bytes_stored", "bytes_fetched"] {
            assert!((CHANGED..CHANGED + 3 * MIB).contains(&number(&cost[figure])), "{figure} of {cost}");
        }
        assert!(number(&cost["bytes_stored"]) < CHANGED + 100_000, "{cost}");
        let again = world.copy(&hop[0], &hop[1]);
        assert_eq!(number(&again["cost"]["bytes_stored"]), 0, "{again}");
    }
    for (nth, place) in places.iter().enumerate() {
        assert_eq!(world.tool(place, &["verify"])["findings"], json!([]), "{}", place.text());
        assert!(world.export(place, &increment, &format!("increment-{nth}")) == new, "{}", place.text());
    }
    assert!(world.export(last, &base, "base") == old);
}

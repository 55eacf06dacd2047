//! The depot tool as an operator calls it, and a second reader that shares no code with us.

mod support;

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::{Server, hikae, text, workspace};
use tempfile::TempDir;

const MIB: usize = 1 << 20;
/// Not a whole number of chunks, nor of sectors.
const DISK_LEN: usize = 40 * MIB + 777;

/// A depot in a directory, with its root key, and no server anywhere.
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

    fn depot(&self) -> PathBuf {
        self.path("tokyo")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = hikae();
        for name in ["HIKAE_DEPOT", "HIKAE_ROOT_KEY", "HIKAE_DEPOT_SECRET", "HIKAE_DEPOT_ACCESS_KEY_ID"] {
            command.env_remove(name);
        }
        command.env("XDG_CACHE_HOME", self.path("caches"));
        command.args(["--output", "json", "--region", "tokyo", "depot"]).args(arguments);
        command.arg("--depot").arg(self.depot()).arg("--root-key").arg(self.path("root.key"));
        command.output().expect("run hikae")
    }

    /// Its answer, which must be success.
    fn tool(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {}\n{out}{err}", output.status);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out:?}"))
    }

    /// Its exit code and what it said, where it must fail.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", text(&output.stdout));
        (output.status.code().expect("an exit code"), text(&output.stderr))
    }

    fn import(&self, image: &Path, options: &[&str]) -> (String, String) {
        let image = image.display().to_string();
        let answer = self.tool(&[&["import", &image], options].concat());
        (word(&answer["group"]), word(&answer["snapshot"]))
    }

    fn export(&self, snapshot: &str, name: &str, format: &str) -> PathBuf {
        let to = self.path(name);
        self.tool(&["export", snapshot, "--to", &to.display().to_string(), "--format", format]);
        to
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Bytes nobody can guess or compress, the same for the same seed.
fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// A sparse image: noise, text, one long hole, and something at the very end.
fn image(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; DISK_LEN];
    bytes[..2 * MIB].copy_from_slice(&noise(2 * MIB, 1));
    bytes[5 * MIB + 100..6 * MIB].fill(b'a');
    bytes[35 * MIB..35 * MIB + 9].copy_from_slice(b"some data");
    bytes[DISK_LEN - 1] = 7;
    let file = File::create(path).expect("make an image");
    file.set_len(DISK_LEN as u64).expect("make it long");
    for (offset, len) in [(0, 2 * MIB), (5 * MIB, MIB), (35 * MIB, 4096), (DISK_LEN - 1, 1)] {
        file.write_all_at(&bytes[offset..offset + len], offset as u64).expect("write it");
    }
    bytes
}

/// Changes an image in two places and says where.
fn change(path: &Path, bytes: &mut [u8]) -> Value {
    let file = File::options().write(true).open(path).expect("open the image");
    let changes = [(3 * MIB + 5, noise(50_000, 2)), (5 * MIB, vec![0; 300_000])];
    for (offset, new) in &changes {
        bytes[*offset..offset + new.len()].copy_from_slice(new);
        file.write_all_at(new, *offset as u64).expect("write it");
    }
    json!(changes.map(|(offset, new)| (offset, new.len())))
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("run {program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    output
}

#[test]
fn an_image_comes_back_in_every_form() {
    let world = World::new();
    let disk = world.path("disk.raw");
    let bytes = image(&disk);
    let (group, snapshot) = world.import(&disk, &[]);
    let listed = world.tool(&["ls"]);
    assert_eq!(listed[0]["group"], json!(group));
    assert_eq!((&listed[0]["instance_name"], &listed[0]["size_bytes"]), (&json!("disk"), &json!(DISK_LEN)));
    assert_eq!(listed.as_array().map(Vec::len), Some(1));

    let raw = world.export(&snapshot, "out.raw", "raw");
    assert!(fs::read(&raw).expect("exported") == bytes);
    let blocks = fs::metadata(&raw).expect("exported").blocks() * 512;
    assert!(blocks < 8 * MIB as u64, "{blocks} bytes allocated for a sparse disk");

    let qcow2 = world.export(&snapshot, "out.qcow2", "qcow2");
    let (qcow2_text, back) = (qcow2.display().to_string(), world.path("back.raw").display().to_string());
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", &qcow2_text, &back]);
    let back = fs::read(back).expect("converted");
    // A qcow2 disk is whole sectors.
    assert!(back[..DISK_LEN] == bytes && back[DISK_LEN..].iter().all(|byte| *byte == 0));

    let streamed = world.run(&["export", &group, "--to", "-"]);
    assert!(streamed.status.success(), "{}", text(&streamed.stderr));
    assert!(streamed.stdout == bytes);

    // Nothing is overwritten, and no draft stays.
    let (code, said) = world.fails(&["export", &snapshot, "--to", &raw.display().to_string()]);
    assert_eq!(code, 2, "{said}");
    let drafts = fs::read_dir(world.folder.path()).expect("readable").flatten();
    assert!(drafts.into_iter().all(|entry| !entry.file_name().to_string_lossy().ends_with(".part")));

    // And in again as qcow2: what is equal is stored once.
    let (code, said) = world.fails(&["import", &qcow2_text]);
    assert!(code == 2 && said.contains("--format qcow2"), "{code} {said}");
    let again = world.tool(&["import", &qcow2_text, "--format", "qcow2", "--base", &snapshot]);
    assert!(again["cost"]["bytes_stored"].as_u64().expect("a number") < 200_000, "{again}");
    let ranges = world.tool(&["diff", &snapshot, again["snapshot"].as_str().expect("an id")]);
    assert_eq!(ranges["ranges"], json!([]), "{ranges}");
}

#[test]
fn an_increment_by_a_list_or_by_looking_is_the_same_and_diff_finds_it() {
    let world = World::new();
    let disk = world.path("disk.raw");
    let mut bytes = image(&disk);
    let (_, first) = world.import(&disk, &[]);
    let list = change(&disk, &mut bytes);
    let list_path = world.path("changed.json");
    fs::write(&list_path, list.to_string()).expect("write the list");
    let (disk_text, list_text) = (disk.display().to_string(), list_path.display().to_string());
    let listed = world.tool(&["import", &disk_text, "--base", &first, "--changed", &list_text]);
    let read = listed["cost"]["bytes_read"].as_u64().expect("a number");
    assert!((350_000..450_000).contains(&read), "{read} bytes read for 350,000 changed");
    let looked = world.tool(&["import", &disk_text, "--base", &first, "--changed", "auto"]);
    // Each stores the noise and little else: they know the base, and nothing of each other.
    for import in [&listed, &looked] {
        assert!(import["cost"]["bytes_stored"].as_u64().expect("a number") < 60_000, "{import}");
    }
    let second = word(&listed["snapshot"]);
    for snapshot in [&second, &word(&looked["snapshot"])] {
        assert!(fs::read(world.export(snapshot, snapshot, "raw")).expect("exported") == bytes);
    }
    let diff = world.tool(&["diff", &first, &second]);
    // Chunks of 16 KiB around what was written; the hole that was zeroed was text from 100 bytes on.
    let chunk = |byte: usize| byte / 16384 * 16384;
    let (a, b) = (chunk(3 * MIB + 5), chunk(3 * MIB + 50_004) + 16384);
    let (c, d) = (chunk(5 * MIB), chunk(5 * MIB + 299_999) + 16384);
    assert_eq!(diff["ranges"], json!([[a, b - a], [c, d - c]]));
    // A difference is a list of changes.
    fs::write(&list_path, diff["ranges"].to_string()).expect("write the list");
    let again = world.tool(&["import", &disk_text, "--base", &first, "--changed", &list_text]);
    let same = world.tool(&["diff", &second, &word(&again["snapshot"])]);
    assert_eq!(same["differing_bytes"], json!(0));
    let rows = world.tool(&["ls"]);
    let rows = rows.as_array().expect("a list");
    assert!(rows.iter().all(|row| row["instance_id"] == rows[0]["instance_id"]), "{rows:?}");

    let (code, said) = world.fails(&["import", &disk_text, "--base", &first, "--changed", &disk_text]);
    assert_eq!(code, 2, "{said}");
}

#[test]
fn an_nbd_export_is_imported() {
    let world = World::new();
    let disk = world.path("disk.raw");
    let bytes = image(&disk);
    let (socket, pid) = (world.path("nbd.sock"), world.path("nbd.pid"));
    let (socket, pid) = (socket.display().to_string(), pid.display().to_string());
    // Ends with its first client.
    let disk_text = disk.display().to_string();
    run(
        "qemu-nbd",
        &["--fork", "--read-only", "-f", "raw", "--pid-file", &pid, "-x", "a b", "-k", &socket, &disk_text],
    );
    let uri = format!("nbd+unix:///a%20b?socket={socket}");
    let answer = world.tool(&["import", &uri, "--name", "from afar"]);
    assert!(answer["cost"]["bytes_read"].as_u64().expect("a number") < 8 * MIB as u64, "{answer}");
    let snapshot = word(&answer["snapshot"]);
    let back = fs::read(world.export(&snapshot, "out", "raw")).expect("exported");
    assert!(back[..DISK_LEN] == bytes);
    let (code, _) = world.fails(&["import", &uri]);
    assert_eq!(code, 4, "nobody answers there any more");
}

#[test]
fn damage_is_found_with_keys_and_without() {
    let world = World::new();
    let disk = world.path("disk.raw");
    image(&disk);
    let (group, snapshot) = world.import(&disk, &[]);
    for options in [&["verify"][..], &["verify", "--no-keys"]] {
        let report = world.tool(options);
        assert_eq!(report["findings"], json!([]), "{report}");
    }
    let pack = largest(&world.depot().join("packs"));
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).expect("damage it");
    for (options, knows_more) in [(&["verify"][..], true), (&["verify", "--no-keys"], false)] {
        let output = world.run(options);
        assert_eq!(output.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let finding = &report["findings"][0];
        let name = pack.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(word(&finding["object"]).ends_with(name), "{report}");
        if knows_more {
            let hurt = &finding["hurts"][0];
            assert_eq!((&hurt["group"], &hurt["snapshot"]), (&json!(group), &json!(snapshot)));
            assert!(hurt["ranges"][0].is_array() && hurt["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
        }
    }
    // And it is never handed out.
    let to = world.path("out.raw");
    let (code, said) = world.fails(&["export", &snapshot, "--to", &to.display().to_string()]);
    assert!(code == 1 && said.contains("damaged") && !to.exists(), "{code} {said}");
}

fn largest(folder: &Path) -> PathBuf {
    let folders = fs::read_dir(folder).expect("packs").flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("packs").flatten());
    let largest = files.max_by_key(|file| file.metadata().expect("a size").len());
    largest.expect("a pack").path()
}

/// There once, there again, and back from there; the second time only what is new goes over.
#[test]
fn groups_are_copied_to_another_depot_and_back() {
    let (world, far) = (World::new(), World::new());
    let disk = world.path("disk.raw");
    let mut bytes = image(&disk);
    let (first, snapshot) = world.import(&disk, &[]);
    let (to, to_key) = (far.depot().display().to_string(), far.path("root.key").display().to_string());
    let copy = |what: &str| world.tool(&["copy", what, "--to", &to, "--to-root-key", &to_key]);
    let copied = copy(&snapshot);
    assert_eq!(copied["groups"][0]["group"], json!(first));
    assert_eq!((&copied["groups"][0]["was_there"], &copied["left"]), (&json!(false), &json!([])));
    assert!(copied["cost"]["bytes_stored"].as_u64() > Some(2 * MIB as u64), "{copied}");

    change(&disk, &mut bytes);
    let (_, second) = world.import(&disk, &["--base", &snapshot]);
    let again = copy("--all");
    let (old, new) = (&again["groups"][0], &again["groups"][1]);
    assert_eq!((&old["was_there"], &new["was_there"]), (&json!(true), &json!(false)), "{again}");
    assert_eq!(new["disks"][0]["base"], json!(snapshot));
    assert!(new["disks"][0]["read_bytes"].as_u64() < Some(MIB as u64), "{again}");
    assert!(fs::read(far.export(&second, "there.raw", "raw")).expect("exported") == bytes);
    assert_eq!(far.tool(&["verify"])["findings"], json!([]));

    // What is lost here comes back from there.
    world.tool(&["delete", &word(&new["group"]), "--yes"]);
    let (back, back_key) =
        (world.depot().display().to_string(), world.path("root.key").display().to_string());
    let returned = far.tool(&["copy", &second, "--to", &back, "--to-root-key", &back_key]);
    assert_eq!(returned["groups"][0]["disks"][0]["base"], json!(snapshot));
    assert!(fs::read(world.export(&second, "back.raw", "raw")).expect("exported") == bytes);

    let (code, words) = world.fails(&["copy", "--all", "--to", &back]);
    assert_eq!(code, 2, "{words}");
    let (code, words) = world.fails(&["copy", "--all", "--to", &world.path("nowhere").display().to_string()]);
    assert_eq!((code, words.contains("no directory")), (2, true), "{words}");
}

/// A machine that knows nothing lists what is there, and stores nothing that is.
#[test]
fn a_bucket_and_a_key_tell_what_is_there() {
    let world = World::new();
    let disk = world.path("disk.raw");
    image(&disk);
    let (group, snapshot) = world.import(&disk, &["--no-cache"]);
    let image_text = disk.display().to_string();
    let stored = |options: &[&str]| {
        let answer = world.tool(&[&["import", &image_text], options].concat());
        answer["cost"]["bytes_stored"].as_u64().expect("a count")
    };
    assert!(stored(&["--no-cache"]) > 2 * MIB as u64);
    let cache = world.path("cache").display().to_string();
    let rebuilt = world.tool(&["rebuild", "--cache", &cache]);
    let found = rebuilt["snapshots"].as_array().expect("a list");
    assert!(found.iter().any(|row| (&row["group"], &row["snapshot"]) == (&json!(group), &json!(snapshot))));
    assert_eq!((&rebuilt["groups"], &rebuilt["unreadable"]), (&json!(2), &json!([])));
    assert!(rebuilt["known"]["chunks"].as_u64() > Some(128), "{rebuilt}");
    assert!(stored(&["--cache", &cache]) < 64 << 10, "what the packs told was stored again");
    assert_eq!(world.tool(&["rebuild", "--no-cache"])["known"], Value::Null);

    let manifests = fs::read_dir(world.depot().join("groups")).expect("manifests");
    let of_group = |path: &PathBuf| path.display().to_string().contains(&group);
    let manifest = manifests.map(|entry| entry.expect("an entry").path()).find(of_group).expect("its own");
    let mut bytes = fs::read(&manifest).expect("the manifest");
    bytes[100] ^= 1;
    fs::write(&manifest, bytes).expect("damage it");
    let (code, words) = world.fails(&["rebuild", "--cache", &cache]);
    assert_eq!((code, words.contains(&group)), (1, true), "{words}");
}

/// For the files below.
#[expect(clippy::disallowed_methods, reason = "files are as old as the file system says")]
fn four_days_pass(folder: &Path) {
    let then = SystemTime::now() - Duration::from_secs(4 * 86_400);
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            four_days_pass(&path);
        } else {
            let file = fs::File::options().write(true).open(&path).expect("open it");
            file.set_modified(then).expect("make it old");
        }
    }
}

#[test]
fn what_is_deleted_is_marked_first_and_explained() {
    let world = World::new();
    let disk = world.path("disk.raw");
    image(&disk);
    let (group, _) = world.import(&disk, &[]);
    let (kept, _) = world.import(&disk, &[]);
    assert_eq!(world.tool(&["gc", "--explain"])["fates"], json!([]));
    let (code, said) = world.fails(&["delete", &group]);
    assert!(code == 2 && said.contains("--yes"), "{said}");
    world.tool(&["delete", &group, "--yes"]);
    world.tool(&["delete", &kept, "--yes"]);
    assert_eq!(world.fails(&["delete", &group, "--yes"]).0, 2);

    let packs = world.tool(&["stats"])["packs"].as_u64().expect("a number");
    // A process that has never seen their group takes what was put lately for somebody's work.
    let explained = world.tool(&["gc", "--explain"]);
    let fates = explained["fates"].as_array().expect("a list");
    assert!(fates.len() as u64 == packs && fates.iter().all(|fate| fate["fate"] == "spare"), "{explained}");
    four_days_pass(&world.depot().join("packs"));
    let explained = world.tool(&["gc", "--explain"]);
    let fates = explained["fates"].as_array().expect("a list");
    assert!(fates.len() as u64 == packs && fates.iter().all(|fate| fate["fate"] == "mark"), "{explained}");
    // Explaining changed nothing; a visit does, and deletes nothing yet.
    assert_eq!(world.tool(&["gc", "--explain"])["fates"].as_array().map(Vec::len), Some(fates.len()));
    assert_eq!(world.tool(&["stats"])["marked_packs"], json!(0));
    let visit = world.tool(&["gc"]);
    assert_eq!((&visit["marked"], &visit["deleted"]), (&json!(packs), &json!(0)));
    let explained = world.tool(&["gc", "--explain"]);
    assert!(explained["fates"].as_array().expect("a list").iter().all(|fate| fate["fate"] == "wait"));
    let stats = world.tool(&["stats"]);
    assert_eq!(
        (&stats["groups"], &stats["marked_packs"], &stats["needed_packs"]),
        (&json!(0), &json!(packs), &json!(0))
    );
}

#[test]
fn a_slip_of_the_pen_makes_nothing_and_a_wrong_key_opens_nothing() {
    let world = World::new();
    let (code, said) = world.fails(&["diff", "s-00000000000000000001", "s-00000000000000000002"]);
    assert!(code == 2 && said.contains("no snapshot"), "{code} {said}");
    let elsewhere = world.path("tokio");
    let try_it = |arguments: &[&str], depot: &Path, key: &str| {
        let mut command = hikae();
        command.args(["--output", "json", "--region", "tokyo", "depot"]).args(arguments);
        command.arg("--depot").arg(depot).arg("--root-key").arg(world.path(key));
        let output = command.output().expect("run hikae");
        (output.status.code().expect("an exit code"), text(&output.stderr))
    };
    assert_eq!(try_it(&["ls"], &elsewhere, "root.key").0, 2);
    assert!(!elsewhere.exists());
    fs::create_dir(&elsewhere).expect("a folder without a depot");
    let (code, said) = try_it(&["import", "/dev/null"], &elsewhere, "root.key");
    assert!(code == 2 && said.contains("no depot"), "{said}");
    assert_eq!(fs::read_dir(&elsewhere).expect("readable").count(), 0);
    let (code, said) = try_it(&["ls"], &world.depot(), "other.key");
    assert!(code == 2 && !world.path("other.key").exists(), "{said}");
    // A key of another depot.
    assert_eq!(try_it(&["init"], &elsewhere, "other.key").0, 0);
    let (code, said) = try_it(&["ls"], &world.depot(), "other.key");
    assert!(code == 3 && said.contains("KeyUnavailable"), "{said}");
    // Without any key, names can be compared.
    let mut command = hikae();
    command.args(["depot", "verify", "--no-keys", "--depot"]).arg(world.depot());
    assert!(command.output().expect("run hikae").status.success());
}

#[test]
fn the_bucket_and_the_root_key_suffice_wherever_it_lies() {
    let world = World::new();
    let moved = world.path("moved");
    fs::rename(world.depot(), &moved).expect("move the depot");
    let mut command = hikae();
    command.args(["--output", "json", "depot", "ls", "--depot"]).arg(&moved);
    let output = command.arg("--root-key").arg(world.path("root.key")).output().expect("run hikae");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn an_interrupted_stream_ends_and_says_so() {
    let world = World::new();
    let disk = world.path("disk.raw");
    image(&disk);
    let (_, snapshot) = world.import(&disk, &[]);
    let mut command = hikae();
    command.args(["depot", "export", &snapshot, "--to", "-", "--depot"]).arg(world.depot());
    command.arg("--root-key").arg(world.path("root.key"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run hikae");
    // It is in the middle: what it writes is far more than a pipe holds.
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0]).expect("the first byte");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("interrupt it");
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
}

#[test]
fn a_store_is_tried_out_and_left_as_it_was() {
    let world = World::new();
    let before = files(&world.depot());
    let answer = world.tool(&["check"]);
    assert_eq!((&answer["passed"], &answer["broken"]), (&json!(true), &Value::Null), "{answer}");
    assert_eq!(files(&world.depot()), before);
}

#[test]
fn a_bucket_is_a_depot_as_a_directory_is() {
    let told = std::env::var("HIKAE_TEST_S3").expect("HIKAE_TEST_S3 is not set: `cargo xtask test` sets it");
    let told: Value = serde_json::from_str(&told).expect("HIKAE_TEST_S3 is JSON");
    let (bucket, endpoint) = (word(&told["bucket"]), word(&told["endpoint"]));
    let run = format!("{:016x}", support::rand_bits() & u128::from(u64::MAX));
    let depot = format!("s3://{bucket}/tool/{run}?endpoint={endpoint}&allow_http=true");
    let secret = word(&told["secret"]);
    let folder = TempDir::new().expect("temporary directory");
    let call = |arguments: &[&str], secret: &str| {
        let mut command = hikae();
        command.args(["--output", "json", "depot"]).args(arguments).args(["--depot", &depot, "--root-key"]);
        command.arg(folder.path().join("root.key")).env("HIKAE_DEPOT_SECRET", secret);
        command.env("HIKAE_DEPOT_ACCESS_KEY_ID", word(&told["access_key_id"])).env("NO_PROXY", "127.0.0.1");
        command.output().expect("run hikae")
    };
    let tool = |arguments: &[&str]| -> Value {
        let output = call(arguments, &secret);
        let said = text(&output.stderr);
        assert!(output.status.success() && !said.contains(&secret), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    tool(&["init"]);
    assert_eq!(tool(&["check"])["passed"], json!(true));
    let disk = folder.path().join("disk.raw");
    let bytes = image(&disk);
    let imported = tool(&["import", &disk.display().to_string()]);
    let to = folder.path().join("out.raw");
    let exported = tool(&["export", &word(&imported["group"]), "--to", &to.display().to_string()]);
    assert!(fs::read(&to).expect("exported") == bytes);
    // The noise does not shrink.
    for figure in [&imported["cost"]["bytes_stored"], &exported["cost"]["bytes_fetched"]] {
        assert!(figure.as_u64() > Some(2 * MIB as u64), "{figure} bytes moved");
    }
    assert_eq!(tool(&["verify"])["findings"], json!([]));

    let refused = call(&["ls"], "not the secret");
    let said = text(&refused.stderr);
    assert!(refused.status.code() == Some(3) && !said.contains("not the secret"), "{said}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![folder.to_owned()];
    while let Some(folder) = ahead.pop() {
        for entry in fs::read_dir(&folder).expect("readable").flatten() {
            let path = entry.path();
            if path.is_dir() { ahead.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[test]
fn a_server_that_runs_keeps_changes_out_and_its_depot_can_be_read_beside_it() {
    let mut server = Server::start();
    let instances = server.cli(&["instance", "list"]);
    let instance = word(&instances[0]["id"]);
    server.cli(&["backup", &instance, "--wait"]);
    let rows = server.cli(&["depot", "ls"]);
    assert_eq!(rows[0]["instance_id"], json!(instance), "{rows}");
    let group = word(&rows[0]["group"]);
    for change in
        [&["depot", "gc"][..], &["depot", "delete", &group, "--yes"], &["depot", "import", "/dev/null"]]
    {
        let (code, error) = server.cli_fails(change);
        assert!(code == 1 && error.to_string().contains("another hikae"), "{change:?}: {error}");
    }
    server.cli(&["depot", "gc", "--explain"]);
    server.cli(&["depot", "verify"]);
    server.stop();
    server.cli(&["depot", "delete", &group, "--yes"]);
}

fn python() -> String {
    let python = std::env::var("HIKAE_TEST_PYTHON");
    python.expect("HIKAE_TEST_PYTHON, with tests/format/requirements.txt: `cargo xtask test` makes one")
}

#[test]
fn a_second_reader_restores_what_a_server_backed_up() {
    let mut server = Server::start();
    let instance = word(&server.cli(&["instance", "list"])[0]["id"]);
    for _ in 0..2 {
        server.cli(&["backup", &instance, "--wait"]);
    }
    server.stop();
    let rows = server.cli(&["depot", "ls"]);
    let rows = rows.as_array().expect("a list");
    // Two groups of at least two disks, the later an increment of the earlier.
    assert!(rows.len() >= 4 && rows.iter().any(|row| row["base"].is_string()), "{rows:?}");
    let reader = workspace().join("tests/format/read_depot.py").display().to_string();
    let depot = server.data().join("depots/default").display().to_string();
    let key = server.data().join("root.key").display().to_string();
    let folder = TempDir::new().expect("temporary directory");
    for snapshot in rows.iter().map(|row| word(&row["snapshot"])) {
        let path = |who: &str| folder.path().join(format!("{who}-{snapshot}")).display().to_string();
        run(&python(), &["-B", &reader, &depot, &key, "restore", &snapshot, &path("second")]);
        server.cli(&["depot", "export", &snapshot, "--to", &path("first")]);
        // Sparse disks of many GiB: holes are not read.
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &path("first"), &path("second")]);
    }
}

#[test]
fn a_second_reader_restores_from_the_bucket_and_the_root_key_alone() {
    let python = python();
    let world = World::new();
    let disk = world.path("disk.raw");
    let first_bytes = image(&disk);
    let (_, first) = world.import(&disk, &["--name", "データ"]);
    let mut second_bytes = first_bytes.clone();
    change(&disk, &mut second_bytes);
    let (_, second) = world.import(&disk, &["--base", &first]);
    // Tall enough for nodes above leaves above chunks: its data lie 3 GiB apart.
    let tall = world.path("tall.raw");
    let file = File::create(&tall).expect("make an image");
    file.set_len(3 << 30).expect("make it long");
    file.write_all_at(&noise(70_000, 3), (3 << 30) - 70_000).expect("write it");
    file.write_all_at(b"here", 100).expect("write it");
    let (_, third) = world.import(&tall, &[]);
    let empty = world.path("empty.raw");
    File::create(&empty).and_then(|file| file.set_len(100_000)).expect("make an image");
    let (_, fourth) = world.import(&empty, &[]);

    let reader = workspace().join("tests/format/read_depot.py").display().to_string();
    let (depot, key) = (world.depot().display().to_string(), world.path("root.key").display().to_string());
    let common = ["-B", &reader, &depot, &key];
    let read = |arguments: &[&str]| run(&python, &[&common, arguments].concat());
    let groups: Value = serde_json::from_slice(&read(&["list"]).stdout).expect("JSON");
    let seen = groups.as_array().expect("a list");
    assert_eq!(seen.len(), 4);
    for row in world.tool(&["ls"]).as_array().expect("a list") {
        let group = seen.iter().find(|group| group["group"] == row["group"]).expect("the same groups");
        let disk = &group["disks"][0];
        assert_eq!(
            (&group["instance"], &group["instance_name"]),
            (&row["instance_id"], &row["instance_name"])
        );
        assert_eq!((&disk["snapshot"], &disk["size"]), (&row["snapshot"], &row["size_bytes"]));
        assert_eq!((&disk["read"], &disk["stored"]), (&row["read_bytes"], &row["stored_bytes"]));
    }
    let restore = |snapshot: &str| {
        let to = world.path(&format!("second-{snapshot}"));
        read(&["restore", snapshot, &to.display().to_string()]);
        to
    };
    assert!(fs::read(restore(&first)).expect("restored") == first_bytes);
    assert!(fs::read(restore(&second)).expect("restored") == second_bytes);
    assert!(fs::read(restore(&fourth)).expect("restored") == vec![0; 100_000]);
    let restored = restore(&third);
    let (restored, tall) = (restored.display().to_string(), tall.display().to_string());
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &restored, &tall]);

    // It can fail, too: a flipped bit is damage to it as to us.
    let pack = largest(&world.depot().join("packs"));
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).expect("damage it");
    let to = world.path("damaged").display().to_string();
    let output =
        Command::new(&python).args(common).args(["restore", &first, &to]).output().expect("run python");
    assert!(!output.status.success());
}

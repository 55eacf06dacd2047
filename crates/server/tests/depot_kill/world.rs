//! Two depots, the tool as a process that may be killed, and the look at what it left.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use depot::{Depth, GroupManifest};
use model::Extent;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::place::{Bucket, Place, manifests};
use crate::support::text;

/// Longer than every margin of collection.
const MARGIN_S: u64 = 100 * 3600;
const SIDES: [Side; 2] = [Side::Here, Side::There];

/// How a run of the tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Killed,
}

/// One of the two depots: copies go from here to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Here,
    There,
}

/// A command of the tool, and the depot in which it changes something.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) changes: Side,
    arguments: Vec<String>,
}

/// Groups of both depots, with the names of their images.
pub(crate) type Groups = [BTreeMap<String, String>; 2];

pub(crate) struct World {
    folder: TempDir,
    places: [Place; 2],
    /// What images hold, by name.
    images: RefCell<BTreeMap<String, Vec<u8>>>,
    /// How far the tool's clock has been put on.
    ahead_s: Cell<u64>,
}

/// Compiled once a run.
fn steps_library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = folder.join(format!("steps-{}.so", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/depot_kill/steps.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(compiler.status().expect("a C compiler").success());
        library
    })
}

/// The ends of an audit are waited for one after the other.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

impl World {
    pub(crate) fn in_directories() -> Self {
        let folder = TempDir::new().expect("temporary directory");
        let places = directories(folder.path());
        Self::made(folder, places)
    }

    pub(crate) fn in_buckets() -> Self {
        let folder = TempDir::new().expect("temporary directory");
        Self::made(folder, [Bucket::First, Bucket::Second].map(Place::in_bucket))
    }

    fn made(folder: TempDir, places: [Place; 2]) -> Self {
        let world = Self { folder, places, images: RefCell::default(), ahead_s: Cell::new(0) };
        for changes in SIDES {
            world.tool(&call(changes, &["init"]));
        }
        world
    }

    /// Another one like it, of directories.
    pub(crate) fn again(&self) -> Self {
        let folder = TempDir::new().expect("temporary directory");
        let copied = Command::new("cp").arg("-a").arg("--").arg(self.path(".")).arg(folder.path()).status();
        assert!(copied.expect("cp").success());
        let places = directories(folder.path());
        Self { folder, places, images: self.images.clone(), ahead_s: self.ahead_s.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self, side: Side) -> &Place {
        &self.places[side as usize]
    }

    fn command(&self, call: &Call) -> Command {
        // What copies reads here.
        let is_copy = call.arguments[0] == "copy";
        let place = self.place(if is_copy { Side::Here } else { call.changes });
        let mut command = place.command();
        command.env("XDG_CACHE_HOME", self.path("cache")).env("LD_PRELOAD", steps_library());
        command.env("HIKAE_TEST_AHEAD_S", self.ahead_s.get().to_string());
        command.args(["--output", "json", "--region", "tokyo", "depot"]).args(&call.arguments);
        command.arg("--depot").arg(place.text()).arg("--root-key").arg(self.path("root.key"));
        command
    }

    pub(crate) fn tool(&self, call: &Call) {
        let output = self.command(call).output().expect("run hikae");
        let said = text(&output.stderr);
        assert!(output.status.success(), "{call:?}: {}\n{said}", output.status);
    }

    /// Kills it before its `nth` step in the folder of the depot it changes.
    pub(crate) fn run_until_step(&self, call: &Call, nth: usize) -> End {
        let mut command = self.counting(call);
        command.env("HIKAE_TEST_DIE_AT", nth.to_string());
        ended(call, &command.output().expect("run hikae"))
    }

    /// What it does there, in order: what, path, and to where.
    pub(crate) fn steps_of(&self, call: &Call) -> Vec<(String, String, String)> {
        let (mut command, log) = (self.counting(call), self.path("steps"));
        command.env("HIKAE_TEST_STEPS", &log);
        assert_eq!(ended(call, &command.output().expect("run hikae")), End::Finished);
        let log = fs::read_to_string(log).expect("steps were written down");
        let part = |line: &str, nth: usize| line.split('\t').nth(nth).unwrap_or_default().to_owned();
        log.lines().map(|line| (part(line, 0), part(line, 1), part(line, 2))).collect()
    }

    fn counting(&self, call: &Call) -> Command {
        let mut command = self.command(call);
        command.env("HIKAE_TEST_ROOT", self.place(call.changes).text());
        command
    }

    /// Kills it after this long, if it still runs; tells how long it ran in microseconds. It may be
    /// given until its first pack is there before the time runs.
    pub(crate) fn run_until(&self, call: &Call, after: Duration, its_pack: bool) -> (End, u64) {
        let packs = || self.packs(call.changes);
        let before = if its_pack { packs() } else { 0 };
        let mut began = Instant::now();
        let mut command = self.command(call);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run hikae");
        while its_pack && packs() <= before && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if its_pack {
            began = Instant::now();
        }
        while began.elapsed() < after && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_micros(500));
        }
        // One that is done and not waited for is still there to be killed.
        child.kill().expect("killed");
        let output = child.wait_with_output().expect("waited for");
        (ended(call, &output), u64::try_from(began.elapsed().as_micros()).expect("not so long"))
    }

    pub(crate) fn write_image(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("write an image");
        self.images.borrow_mut().insert(name.to_owned(), bytes.to_vec());
    }

    /// Its file goes; what it held stays known while a group needs it.
    pub(crate) fn forget_image(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("remove an image");
        if !self.groups().iter().any(|groups| groups.values().any(|of| of == name)) {
            self.images.borrow_mut().remove(name);
        }
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        self.images.borrow()[name].clone()
    }

    pub(crate) fn import(&self, name: &str, base: Option<&str>) -> Call {
        let image = self.path(name).display().to_string();
        let mut made = call(Side::Here, &["import", &image, "--name", name]);
        if let Some(base) = base {
            let groups = self.manifests(Side::Here);
            let base = groups.iter().find(|group| group.instance_name == base).expect("the base is there");
            made.arguments.extend(["--base".to_owned(), base.disks[0].snapshot.to_string()]);
        }
        made
    }

    pub(crate) fn delete(&self, side: Side, name: &str) -> Call {
        let group = self.group(side, name).expect("it is there");
        call(side, &["delete", &group, "--yes"])
    }

    pub(crate) fn gc(side: Side) -> Call {
        call(side, &["gc"])
    }

    /// Of one image's group, or of all.
    pub(crate) fn copy(&self, name: Option<&str>) -> Call {
        let what = name.map(|name| self.group(Side::Here, name).expect("it is there"));
        let to = self.place(Side::There).text();
        call(Side::There, &["copy", what.as_deref().unwrap_or("--all"), "--to", &to])
    }

    /// Whatever a visit has marked, and whatever was put lately, will have been long ago.
    pub(crate) fn pass_margin(&self) {
        self.ahead_s.set(self.ahead_s.get() + MARGIN_S);
    }

    /// Enough visits that nothing is left to collect.
    pub(crate) fn collect_all(&self) {
        for _ in 0..3 {
            self.pass_margin();
            SIDES.iter().for_each(|side| self.tool(&Self::gc(*side)));
        }
    }

    fn manifests(&self, side: Side) -> Vec<GroupManifest> {
        let root_key = self.path("root.key");
        run(async { manifests(&*self.place(side).open(&root_key).await).await })
    }

    pub(crate) fn groups(&self) -> Groups {
        let line = |group: GroupManifest| (group.group.to_string(), group.instance_name);
        SIDES.map(|side| self.manifests(side).into_iter().map(line).collect())
    }

    pub(crate) fn group(&self, side: Side, name: &str) -> Option<String> {
        let groups = self.manifests(side);
        groups.iter().find(|group| group.instance_name == name).map(|group| group.group.to_string())
    }

    /// Nothing is damaged, every group there is restores to its image, and here these have groups.
    pub(crate) fn audit(&self, wanted: &[&str]) {
        for side in SIDES {
            run(self.audit_one(side));
        }
        let groups = self.groups();
        let there: BTreeSet<&str> = groups[Side::Here as usize].values().map(String::as_str).collect();
        assert!(wanted.iter().all(|name| there.contains(name)), "{wanted:?} of {there:?}");
    }

    async fn audit_one(&self, side: Side) {
        let depot = self.place(side).open(&self.path("root.key")).await;
        let report = depot.verify(Depth::Data, &CancellationToken::new()).await.expect("verify");
        assert_eq!(report.findings, [], "{side:?}");
        for group in manifests(&depot).await {
            let image = self.content(&group.instance_name);
            let whole = Extent { offset: 0, len: image.len() as u64 };
            let tree = group.disks[0].tree;
            assert_eq!(tree.size, whole.len);
            for offset in (0..whole.len).step_by(4 << 20) {
                let len = (whole.len - offset).min(4 << 20);
                let read = depot.read(&tree, Extent { offset, len }).await.expect("read");
                let from = usize::try_from(offset).expect("small");
                assert!(read == image[from..from + read.len()], "{}: other content", group.instance_name);
            }
        }
    }

    /// The same, and no group is gone but the one that was to be deleted, where it was.
    pub(crate) fn audit_after(&self, call: &Call, before: &Groups) {
        self.audit(&[]);
        for ((side, before), now) in SIDES.iter().zip(before).zip(self.groups()) {
            for group in before.keys().filter(|group| !now.contains_key(*group)) {
                let was_to_go = call.arguments[0] == "delete" && call.arguments.contains(group);
                assert!(was_to_go && call.changes == *side, "{group} is lost {side:?} after {call:?}");
            }
        }
    }

    pub(crate) fn packs(&self, side: Side) -> usize {
        run(self.place(side).objects("packs/")).len()
    }

    /// Packs nobody needs, drafts nobody writes, and intents of seals that have ended.
    pub(crate) fn leaks(&self) -> [usize; 3] {
        let (mut packs, mut drafts, mut intents) = (0, 0, 0);
        for side in SIDES {
            let place = self.place(side);
            let stats = run(async { place.open(&self.path("root.key")).await.stats().await }).expect("stats");
            packs += stats.packs - stats.needed_packs;
            intents += run(place.objects("intents/")).len();
            if let Place::Directory(path) = place {
                drafts += drafts_below(path);
            }
        }
        [packs, drafts, intents]
    }
}

fn directories(folder: &Path) -> [Place; 2] {
    ["here", "there"].map(|name| Place::Directory(folder.join(name)))
}

fn call(changes: Side, arguments: &[&str]) -> Call {
    Call { changes, arguments: arguments.iter().map(|text| (*text).to_owned()).collect() }
}

fn drafts_below(folder: &Path) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        if entry.file_type().expect("a type").is_dir() {
            found += drafts_below(&entry.path());
        } else {
            found += usize::from(entry.file_name().to_str().expect("text").contains('#'));
        }
    }
    found
}

fn ended(call: &Call, output: &Output) -> End {
    match (output.status.success(), output.status.signal()) {
        (true, _) => End::Finished,
        (false, Some(9)) => End::Killed,
        _ => panic!("{call:?}: {}\n{}", output.status, text(&output.stderr)),
    }
}

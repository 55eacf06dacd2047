//! A depot in a directory, the tool as a process that may be killed, and the look at what it left.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use depot::{Depot, Depth, GroupManifest, Settings};
use format::{MarkState, Marks};
use keys::RegionKeys;
use model::{Clock, Entropy, Extent, RegionId, Timestamp};
use seal::FileSealer;
use store::StoreConfig;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{hikae, text};

/// Longer than the margin between a mark and a deletion.
const MARGIN_US: i64 = 25 * 3600 * 1_000_000;

/// Longer than anything counts as fresh.
const YOUNG: Duration = Duration::from_secs(100 * 3600);

/// How a run of the tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Killed,
}

pub(crate) struct World {
    folder: TempDir,
    /// What images hold, by name.
    images: RefCell<BTreeMap<String, Vec<u8>>>,
}

#[derive(Debug)]
struct Now;

impl Clock for Now {
    #[expect(clippy::disallowed_methods, reason = "the tool beside us lives in real time")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Timestamp(i64::try_from(since.as_micros()).expect("before 292277"))
    }
}

#[derive(Debug)]
struct Noise;

impl Entropy for Noise {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("chance");
    }
}

/// Bytes nobody can compress, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
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

impl World {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().expect("temporary directory");
        let world = Self { folder, images: RefCell::default() };
        world.tool(&["init"]);
        world
    }

    /// Another one like it.
    pub(crate) fn again(&self) -> Self {
        let folder = TempDir::new().expect("temporary directory");
        copy(self.folder.path(), folder.path());
        Self { folder, images: self.images.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn depot(&self) -> PathBuf {
        self.path("depot")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = hikae();
        for name in ["HIKAE_DEPOT", "HIKAE_ROOT_KEY", "HIKAE_DEPOT_SECRET", "HIKAE_DEPOT_ACCESS_KEY_ID"] {
            command.env_remove(name);
        }
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command.args(["--output", "json", "--region", "tokyo", "depot"]).args(arguments);
        command.arg("--depot").arg(self.depot()).arg("--root-key").arg(self.path("root.key"));
        command
    }

    pub(crate) fn tool(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().expect("run hikae");
        let said = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {}\n{said}", output.status);
    }

    /// Kills it before its `nth` step in the depot's folder.
    pub(crate) fn run_until_step(&self, arguments: &[&str], nth: usize) -> End {
        let mut command = self.command(arguments);
        self.count_steps(&mut command).env("HIKAE_TEST_DIE_AT", nth.to_string());
        ended(arguments, &command.output().expect("run hikae"))
    }

    /// What it does in the depot's folder, in order: what, path, and to where.
    pub(crate) fn steps_of(&self, arguments: &[String]) -> Vec<(String, String, String)> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (mut command, log) = (self.command(&arguments), self.path("steps"));
        self.count_steps(&mut command).env("HIKAE_TEST_STEPS", &log);
        assert_eq!(ended(&arguments, &command.output().expect("run hikae")), End::Finished);
        let log = fs::read_to_string(log).expect("steps were written down");
        let part = |line: &str, nth: usize| line.split('\t').nth(nth).unwrap_or_default().to_owned();
        log.lines().map(|line| (part(line, 0), part(line, 1), part(line, 2))).collect()
    }

    fn count_steps<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", steps_library()).env("HIKAE_TEST_ROOT", self.depot())
    }

    /// Kills it after this long, if it still runs; tells how long it ran in microseconds. It may be
    /// given until its first pack is there before the time runs.
    pub(crate) fn run_until(&self, arguments: &[&str], after: Duration, its_pack: bool) -> (End, u64) {
        let before = self.packs().len();
        let mut began = Instant::now();
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run hikae");
        while its_pack && self.packs().len() <= before && child.try_wait().expect("a child").is_none() {
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
        (ended(arguments, &output), u64::try_from(began.elapsed().as_micros()).expect("not so long"))
    }

    pub(crate) fn write_image(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("write an image");
        self.images.borrow_mut().insert(name.to_owned(), bytes.to_vec());
    }

    /// Its file goes; what it held stays known while a group needs it.
    pub(crate) fn forget_image(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("remove an image");
        if !self.groups().values().any(|of| of == name) {
            self.images.borrow_mut().remove(name);
        }
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        self.images.borrow()[name].clone()
    }

    pub(crate) fn import(&self, name: &str) {
        let arguments = self.import_arguments(name, None);
        self.tool(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    pub(crate) fn import_arguments(&self, name: &str, base: Option<&str>) -> Vec<String> {
        let image = self.path(name).display().to_string();
        let mut arguments = vec!["import".to_owned(), image, "--name".to_owned(), name.to_owned()];
        if let Some(base) = base {
            let snapshot = self.find(base).expect("the base is there").disks[0].snapshot;
            arguments.extend(["--base".to_owned(), snapshot.to_string()]);
        }
        arguments
    }

    pub(crate) fn delete(&self, name: &str) {
        let group = self.group(name).expect("it is there");
        self.tool(&["delete", &group, "--yes"]);
    }

    /// Everything a visit has marked was marked long ago.
    pub(crate) fn pass_margin(&self) {
        self.age_files();
        let newest = self.files("gc").into_iter().filter(|name| !name.contains('#')).max();
        let Some(newest) = newest else { return };
        let path = self.depot().join(newest);
        let mut marks = Marks::decode(&fs::read(&path).expect("marks")).expect("marks");
        for mark in &mut marks.packs {
            if let MarkState::Marked { since } = &mut mark.state {
                since.0 -= MARGIN_US;
            }
        }
        fs::write(&path, marks.encode()).expect("write marks");
    }

    /// No file is young any more: neither what a writer may still be about to seal, nor its drafts.
    #[expect(clippy::disallowed_methods, reason = "files live in real time")]
    fn age_files(&self) {
        let long_ago = SystemTime::now() - YOUNG;
        for name in self.files("") {
            let file = fs::File::options().write(true).open(self.depot().join(name)).expect("a file");
            file.set_modified(long_ago).expect("its time");
        }
    }

    /// Enough visits that nothing is left to collect.
    pub(crate) fn collect_all(&self) {
        for _ in 0..3 {
            self.pass_margin();
            self.tool(&["gc"]);
        }
    }

    fn open(&self) -> (tokio::runtime::Runtime, Arc<Depot>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let depot = runtime.block_on(async {
            let store = store::open(&StoreConfig::Directory { path: self.depot() }).await.expect("a store");
            let sealer = FileSealer::open_or_create(&self.path("root.key"), Arc::new(Noise)).expect("a key");
            let keys = RegionKeys::new(RegionId::from("tokyo"), Arc::new(sealer), Arc::new(Noise));
            let (entropy, clock) = (Arc::new(Noise), Arc::new(Now));
            Depot::open(store, Arc::new(keys), entropy, clock, Settings::default()).await.expect("a depot")
        });
        (runtime, depot)
    }

    fn manifests(&self) -> Vec<GroupManifest> {
        let (runtime, depot) = self.open();
        runtime.block_on(async {
            let mut found = Vec::new();
            for id in depot.groups().await.expect("groups") {
                found.push(depot.group(id).await.expect("a sound manifest").expect("listed"));
            }
            found
        })
    }

    fn find(&self, name: &str) -> Option<GroupManifest> {
        self.manifests().into_iter().find(|group| group.instance_name == name)
    }

    /// Groups that are there, with the names of their images.
    pub(crate) fn groups(&self) -> BTreeMap<String, String> {
        let line = |group: GroupManifest| (group.group.to_string(), group.instance_name);
        self.manifests().into_iter().map(line).collect()
    }

    pub(crate) fn group(&self, name: &str) -> Option<String> {
        self.find(name).map(|group| group.group.to_string())
    }

    /// Nothing is damaged, every group there is restores to its image, and these images have groups.
    pub(crate) fn audit(&self, wanted: &[&str]) {
        let manifests = self.manifests();
        let (runtime, depot) = self.open();
        runtime.block_on(async {
            let report = depot.verify(Depth::Data, &CancellationToken::new()).await.expect("verify");
            assert_eq!(report.findings, []);
            for group in &manifests {
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
        });
        let there: BTreeSet<&str> = manifests.iter().map(|group| group.instance_name.as_str()).collect();
        assert!(wanted.iter().all(|name| there.contains(name)), "{wanted:?} of {there:?}");
    }

    /// The same, and no group is gone but the one that was to be deleted.
    pub(crate) fn audit_after(&self, kind: &str, before: &BTreeMap<String, String>, arguments: &[&str]) {
        self.audit(&[]);
        let now = self.groups();
        for group in before.keys().filter(|group| !now.contains_key(*group)) {
            assert!(kind == "delete" && arguments.contains(&group.as_str()), "{group} is lost after {kind}");
        }
    }

    pub(crate) fn packs(&self) -> Vec<String> {
        self.files("packs").into_iter().filter(|name| !name.contains('#')).collect()
    }

    /// Packs nobody needs, and drafts nobody writes.
    pub(crate) fn leaks(&self) -> (usize, usize) {
        let (runtime, depot) = self.open();
        let stats = runtime.block_on(depot.stats()).expect("stats");
        let drafts = self.files("").into_iter().filter(|name| name.contains('#')).count();
        (stats.packs - stats.needed_packs, drafts)
    }

    /// Files below a folder of the depot, by their paths in the depot.
    fn files(&self, below: &str) -> Vec<String> {
        let mut files = Vec::new();
        let mut ahead = vec![self.depot().join(below)];
        while let Some(folder) = ahead.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.map(|entry| entry.expect("an entry")) {
                if entry.file_type().expect("a type").is_dir() {
                    ahead.push(entry.path());
                } else {
                    let path = entry.path();
                    let path = path.strip_prefix(self.depot()).expect("below the depot");
                    files.push(path.to_str().expect("text").to_owned());
                }
            }
        }
        files
    }
}

fn ended(arguments: &[&str], output: &Output) -> End {
    match (output.status.success(), output.status.signal()) {
        (true, _) => End::Finished,
        (false, Some(9)) => End::Killed,
        _ => panic!("{arguments:?}: {}\n{}", output.status, text(&output.stderr)),
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg("--").arg(from.join(".")).arg(to).status();
    assert!(copied.expect("cp").success());
}

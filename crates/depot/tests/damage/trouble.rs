//! The depot that fixtures break, and everything that is tried on a broken one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use hikae_depot::{Depot, DepotError, Depth, GroupManifest, Margins, Settings, TreeRef, VerifyReport};
use model::{Extent, GroupId};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::bucket;
use crate::common::{Disk, World, content, manifest, manifest_of, objects, restore, small, write};

const DAY_S: i64 = 24 * 3600;
const CHUNK: u64 = 4096;

/// A depot of three groups. Pack A holds snapshot 1, B what snapshot 2 adds to it, C snapshot 3. Pack D
/// is garbage that collection has marked, twice.
pub(crate) struct Sound {
    pub(crate) objects: BTreeMap<String, Bytes>,
    /// Of another depot that was made in the same way.
    pub(crate) others: BTreeMap<String, Bytes>,
    disks: BTreeMap<u128, (Vec<u8>, TreeRef)>,
    /// What to call things whose names nobody can read.
    labels: Vec<(String, String)>,
}

pub(crate) fn settings() -> Settings {
    Settings { pack_len: 1 << 20, ..small() }
}

impl Sound {
    pub(crate) async fn make() -> Self {
        let (mut sound, _) = Self::of_seed(1, "").await;
        let (other, labels) = Self::of_seed(2, "another depot's ").await;
        sound.others = other.objects;
        sound.labels.extend(labels);
        sound
    }

    async fn of_seed(seed: u64, whose: &str) -> (Self, Vec<(String, String)>) {
        let world = World::new(store::memory(), seed, settings());
        let depot = world.open().await;
        let mut labels = vec![(depot.id().to_string(), format!("<{whose}depot>"))];
        let one = noise(256 << 10, 3);
        let mut two = one.clone();
        two[40_000..60_000].copy_from_slice(&noise(20_000, 4));
        let three = noise(96 << 10, 5);
        let mut disks: BTreeMap<u128, (Vec<u8>, TreeRef)> = BTreeMap::new();
        for (number, bytes, base) in
            [(1, one, None), (2, two, Some(1)), (3, three, None), (4, noise(9000, 6), None)]
        {
            let before = objects(&world.store).await;
            let base_tree = base.map(|base: u128| disks[&base].1);
            let written = write(&depot, &Disk::new(bytes.clone()), base_tree, false).await.unwrap();
            depot.seal_group(&manifest(number, written.tree, base)).await.unwrap();
            let after = objects(&world.store).await;
            let mut new =
                after.keys().filter(|path| path.starts_with("packs/") && !before.contains_key(*path));
            let pack = new.next().unwrap().rsplit_once('/').unwrap().1;
            assert_eq!(new.next(), None, "one pack a snapshot");
            let letter = char::from(b'A' + u8::try_from(number - 1).unwrap());
            labels.push((format!("{}/{pack}", &pack[..2]), format!("<{whose}{letter}>")));
            labels.push((pack.to_owned(), format!("<{whose}{letter}>")));
            let manifest = manifest_of(&after, number);
            let attempt = manifest.rsplit_once('.').unwrap().1;
            labels.push((attempt.to_owned(), format!("<{whose}attempt {number}>")));
            disks.insert(number, (bytes, written.tree));
        }
        depot.delete_group(GroupId::from_bits(4)).await.unwrap();
        disks.remove(&4);
        // The process starts anew: what it put is fresh no more.
        let depot = world.open().await;
        for _ in 0..2 {
            world.clock.advance_s(3600);
            depot.collect(Margins::STANDARD, &[]).await.unwrap();
        }
        let objects = objects(&world.store).await;
        let slot = crate::only(&objects, "keys/").split_once('/').unwrap().1.to_owned();
        labels.push((slot, format!("<{whose}slot>")));
        (Self { objects, others: BTreeMap::new(), disks, labels: labels.clone() }, labels)
    }

    pub(crate) fn pack(&self, letter: char) -> String {
        let label = format!("<{letter}>");
        let named = |path: &&String| path.starts_with("packs/") && self.label(path).contains(&label);
        self.objects.keys().find(named).unwrap().clone()
    }

    pub(crate) fn label(&self, text: &str) -> String {
        self.labels.iter().fold(text.to_owned(), |text, (name, label)| text.replace(name, label))
    }

    /// Everything that is tried on a depot broken like this, in words.
    pub(crate) async fn trouble(&self, broken: &BTreeMap<String, Bytes>) -> String {
        let mut told = String::new();
        for (how, depth) in [("verify --no-keys", Depth::Names), ("verify", Depth::Data)] {
            let said = match self.verify(broken, depth).await {
                Ok(report) => report_in_words(&report),
                Err(error) => vec![format!("error: {error}")],
            };
            writeln!(told, "  {how}").unwrap();
            said.iter().for_each(|line| writeln!(told, "    {line}").unwrap());
        }
        for (what, said) in [
            ("a server starts", self.start(broken).await),
            ("restore", self.restore(broken).await),
            ("back up anew", self.back_up(broken, None).await),
            ("back up on top of snapshot 2", self.back_up(broken, Some(2)).await),
            ("collect", self.collect(broken).await),
        ] {
            writeln!(told, "  {what}: {said}").unwrap();
        }
        self.label(&told)
    }

    async fn verify(
        &self,
        broken: &BTreeMap<String, Bytes>,
        depth: Depth,
    ) -> Result<VerifyReport, DepotError> {
        let store = bucket(broken).await;
        let (progress, cancel) = (Arc::new(|_| {}), CancellationToken::new());
        if depth == Depth::Names {
            return Depot::verify_bucket(store, &settings(), progress, &cancel).await;
        }
        let depot = open(store.clone()).await?;
        let report = depot.verify(depth, &cancel).await?;
        self.check_report(&depot, &report).await;
        Ok(report)
    }

    /// What is told to be hurt cannot be read, and all else can.
    async fn check_report(&self, depot: &Depot, report: &VerifyReport) {
        for (number, (bytes, tree)) in &self.disks {
            let group = GroupId::from_bits(*number);
            let hurts = report.findings.iter().flat_map(|finding| &finding.hurts);
            let hurts: Vec<_> = hurts.filter(|hurt| hurt.group == group).collect();
            if hurts.iter().any(|hurt| hurt.snapshot.is_none()) {
                depot.group(group).await.expect_err("a manifest that is said to be broken");
                continue;
            }
            for offset in (0..tree.size).step_by(4096) {
                let extent = Extent { offset, len: CHUNK.min(tree.size - offset) };
                let within = |range: &Extent| range.offset <= offset && offset < range.end();
                let hurt = hurts.iter().any(|hurt| hurt.ranges.iter().any(within));
                match depot.read(tree, extent).await {
                    Ok(read) => {
                        let from = usize::try_from(offset).unwrap();
                        assert!(read == bytes[from..from + read.len()], "false data was read");
                        assert!(!hurt, "{group} can be read at {offset}, which is said to be hurt");
                    }
                    Err(error) => assert!(hurt, "{group} at {offset}: {error}, which verify does not say"),
                }
            }
        }
    }

    async fn start(&self, broken: &BTreeMap<String, Bytes>) -> String {
        let world = World::new(bucket(broken).await, 3, settings());
        said(world.try_open().await.map(|_| "yes".to_owned()))
    }

    async fn restore(&self, broken: &BTreeMap<String, Bytes>) -> String {
        let depot = match open(bucket(broken).await).await {
            Ok(depot) => depot,
            Err(error) => return format!("refused: {error}"),
        };
        let mut each = String::new();
        for (number, (bytes, _)) in &self.disks {
            let told = match restored(&depot, GroupId::from_bits(*number)).await {
                Ok(Some(read)) => {
                    assert!(read == *bytes, "false data was restored");
                    "whole".to_owned()
                }
                Ok(None) => "not there".to_owned(),
                Err(error) => format!("refused: {error}"),
            };
            write!(each, "\n    {number}: {told}").unwrap();
        }
        each
    }

    async fn back_up(&self, broken: &BTreeMap<String, Bytes>, base: Option<u128>) -> String {
        let world = World::new(bucket(broken).await, 3, settings());
        let bytes = noise(130_000, 8);
        let sealed = async {
            let depot = world.try_open().await?;
            let base_tree = match base {
                Some(base) => depot.group(GroupId::from_bits(base)).await?.map(|group| group.disks[0].tree),
                None => None,
            };
            let written = write(&depot, &Disk::new(bytes.clone()), base_tree, false).await?;
            depot.seal_group(&manifest(9, written.tree, base)).await?;
            Ok("done".to_owned())
        };
        let sealed: Result<String, DepotError> = sealed.await;
        if sealed.is_ok() {
            let depot = world.open().await;
            assert!(restored(&depot, GroupId::from_bits(9)).await.unwrap() == Some(bytes));
        }
        said(sealed)
    }

    /// Visits for a month; nothing may go that anybody needs, and nothing that was whole may break.
    async fn collect(&self, broken: &BTreeMap<String, Bytes>) -> String {
        let store = bucket(broken).await;
        let before = self.whole(&store).await;
        let world = World::new(store.clone(), 3, settings());
        let mut told: Vec<String> = Vec::new();
        let mut tell = |what: String| {
            if told.last() != Some(&what) {
                told.push(what);
            }
        };
        for _ in 0..4 {
            world.clock.advance_s(7 * DAY_S);
            let depot = match world.try_open().await {
                Ok(depot) => depot,
                Err(error) => return format!("refused: {error}"),
            };
            match depot.collect(Margins::STANDARD, &[]).await {
                Ok(report) if report.refused.is_some() => {
                    tell(format!("refused: {}", report.refused.unwrap()));
                }
                Ok(_) => {}
                Err(error) => tell(format!("error: {error}")),
            }
        }
        let after = objects(&store).await;
        // What every visit deletes, however broken the rest is, is not told.
        let is_told = |path: &&String| !path.starts_with("gc/") && !path.starts_with("intents/");
        for path in broken.keys().filter(|path| !after.contains_key(*path)).filter(is_told) {
            tell(format!("deletes {path}"));
        }
        assert_eq!(self.whole(&store).await, before, "collection broke what was whole");
        if told.is_empty() { "nothing to delete".to_owned() } else { told.join("; ") }
    }

    /// Snapshots that can be restored.
    async fn whole(&self, store: &Arc<dyn Store>) -> Vec<u128> {
        let Ok(depot) = open(store.clone()).await else { return Vec::new() };
        let mut whole = Vec::new();
        for number in self.disks.keys() {
            if matches!(restored(&depot, GroupId::from_bits(*number)).await, Ok(Some(_))) {
                whole.push(*number);
            }
        }
        whole
    }
}

async fn open(store: Arc<dyn Store>) -> Result<Arc<Depot>, DepotError> {
    let world = World::new(store, 3, settings());
    Depot::open(world.store, Arc::new(crate::common::Pad), world.dice, world.clock, world.settings).await
}

async fn restored(depot: &Depot, group: GroupId) -> Result<Option<Vec<u8>>, DepotError> {
    let Some(GroupManifest { disks, .. }) = depot.group(group).await? else { return Ok(None) };
    restore(depot, &disks[0].tree).await.map(Some)
}

fn said(outcome: Result<String, DepotError>) -> String {
    match outcome {
        Ok(said) => said,
        Err(error) => {
            let refusal = model::Refusal::from(error.clone());
            format!("refused: {error} [{:?}: {}]", refusal.code, refusal.remedy)
        }
    }
}

pub(crate) fn report_in_words(report: &VerifyReport) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &report.findings {
        lines.push(format!("{}: {}", finding.object, finding.what));
        for hurt in &finding.hurts {
            let ranges: Vec<String> =
                hurt.ranges.iter().map(|range| format!("{}+{}", range.offset, range.len)).collect();
            let snapshot = hurt.snapshot.map_or("all of it".to_owned(), |snapshot| snapshot.to_string());
            lines.push(
                format!("  hurts {}, {snapshot} {}", hurt.group, ranges.join(", ")).trim_end().to_owned(),
            );
        }
    }
    assert_eq!(report.unlisted, 0);
    lines.extend(report.notes.iter().map(|note| format!("note: {}: {}", note.object, note.what)));
    if lines.is_empty() {
        lines.push("nothing found".to_owned());
    }
    lines
}

/// No holes, nothing twice, nothing that shrinks.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill({
        out.resize(len, 0);
        &mut out
    });
    let _ = content;
    out
}

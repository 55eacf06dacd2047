//! What only Hikae is measured in: how its costs grow with the disk and the depot, its objects, its memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use self::collection::Yard;
use self::disk::{Disk, LITTLE, MUCH, SPREAD, TALL};
use super::alone::{Deed, Row, Stage};
use super::measure::{self, Cost};
use super::memory::Filler;
use super::round::{empty, walk};
use super::samples::Spread;
use super::tools::hikae::{Place, answer};
use crate::sh::{self, command, loud, say, text};

mod collection;
mod disk;

const RUNS: u64 = 5;
const DISK_MIB: &str = "512";
const MORE_SNAPSHOTS: u64 = 100;
/// No run's change has this content.
const OTHER_VERSION: u64 = 100;

/// Builds the programs that use the depot as a server would: many disks, random reads, visits that remember.
pub(crate) fn build() -> Result<()> {
    let examples = ["--example", "many_disks", "--example", "random_reads", "--example", "visits"];
    let build = ["build", "--release", "--quiet", "-p", "hikae-depot"];
    loud(&mut command("cargo", &[&build[..], &examples].concat()))
}

pub(crate) fn run(base_image: &Path, scratch: &Path, filler: &mut Filler) -> Result<Vec<Row>> {
    let same = LITTLE.change();
    let stages = [
        (Stage::Little, LITTLE, &same),
        (Stage::Tall, TALL, &same),
        (Stage::Spread, SPREAD, &SPREAD.change()),
        (Stage::Much, MUCH, &same),
    ];
    let mut rows = Vec::new();
    for (stage, disk, pieces) in stages {
        say(format!("growth: {}", stage.name()));
        let growing = Growing::new(stage, disk, pieces, scratch, filler)?;
        rows.extend(growing.rows().with_context(|| stage.name())?);
    }
    for (stage, disks) in [(Stage::OneDisk, 1), (Stage::FourDisks, 4)] {
        rows.push(tell(many(stage, disks, scratch)?));
    }
    rows.extend(reads(base_image, scratch)?.map(tell));
    Ok(rows)
}

/// Says a row as soon as it is known.
fn tell(row: Row) -> Row {
    let (wall_s, rss_mb) = (row.wall_s.median, row.rss_mb.most);
    let cpu = row.cpu_s.map(|cpu| format!(", {:.2} s cpu", cpu.median)).unwrap_or_default();
    let note = if row.note.is_empty() { String::new() } else { format!("; {}", row.note) };
    say(format!("{}: {wall_s:.3} s{cpu}, {rss_mb:.0} MB memory{note}", row.title()));
    row
}

/// A disk in its depot, which grows.
#[derive(Debug)]
struct Growing<'a> {
    stage: Stage,
    disk: Disk,
    pieces: &'a [(u64, u64)],
    home: PathBuf,
    place: Place,
    other: Place,
    image: PathBuf,
    scratch: &'a Path,
    filler: &'a mut Filler,
}

/// A snapshot and its group.
#[derive(Debug, Clone)]
struct Stored {
    snapshot: String,
    group: String,
}

impl<'a> Growing<'a> {
    fn new(
        stage: Stage,
        disk: Disk,
        pieces: &'a [(u64, u64)],
        scratch: &'a Path,
        filler: &'a mut Filler,
    ) -> Result<Self> {
        let home = empty(scratch.join("growth"))?;
        let (place, other) = (Place::new(&home, "depot")?, Place::new(&home, "other")?);
        let image = home.join("disk.raw");
        disk.make(&image)?;
        Ok(Self { stage, disk, pieces, home, place, other, image, scratch, filler })
    }

    /// Stored, changed several times, compared, copied, and its changes collected.
    fn rows(mut self) -> Result<Vec<Row>> {
        let before = objects_in(&self.place.depot)?;
        let (cost, base) = self.import(&[])?;
        let mut rows = vec![tell(self.row(Deed::First, &[cost], before)?)];
        if self.stage == Stage::Much {
            self.more_snapshots(&base)?;
        }
        let cost = self.copy(&base)?;
        rows.push(tell(self.row(Deed::CopyAll, &[cost], objects_in(&self.place.depot)?)?));
        let (changes, groups) = self.changes(&base)?;
        rows.extend(changes);
        rows.extend(
            Yard { stage: self.stage, place: &self.place, groups: &groups, scratch: self.scratch }
                .rows()?
                .into_iter()
                .map(tell),
        );
        std::fs::remove_dir_all(&self.home)?;
        Ok(rows)
    }

    fn import(&mut self, more: &[&str]) -> Result<(Cost, Stored)> {
        self.filler.fill()?;
        let arguments = [&["import", text(&self.image)?][..], more].concat();
        let (cost, said) = measure::run(&self.place.command(&arguments)?, self.scratch)?;
        Ok((cost, Stored { snapshot: answer(&said, "snapshot")?, group: answer(&said, "group")? }))
    }

    fn import_changed(
        &mut self,
        base: &Stored,
        pieces: &[(u64, u64)],
        version: u64,
    ) -> Result<(Cost, Stored)> {
        disk::write(&self.image, pieces, version)?;
        let changed = self.home.join("changed.json");
        std::fs::write(&changed, serde_json::to_string(pieces)?)?;
        self.import(&["--base", &base.snapshot, "--changed", text(&changed)?])
    }

    fn copy(&mut self, stored: &Stored) -> Result<Cost> {
        self.filler.fill()?;
        let copy = self.place.command(&["copy", &stored.group, "--to", text(&self.other.depot)?])?;
        Ok(measure::run(&copy, self.scratch)?.0)
    }

    /// The change, several times over, each with content of its own and against the same base.
    fn changes(&mut self, base: &Stored) -> Result<(Vec<Row>, Vec<String>)> {
        let (mut costs, mut copies, mut diffs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut groups, mut before) = (Vec::new(), (0, 0));
        for run in 1..=RUNS {
            before = objects_in(&self.place.depot)?;
            let (cost, stored) = self.import_changed(base, self.pieces, run)?;
            costs.push(cost);
            copies.push(self.copy(&stored)?);
            let diff = self.place.command(&["diff", &base.snapshot, &stored.snapshot])?;
            diffs.push(measure::run(&diff, self.scratch)?.0);
            groups.push(stored.group);
        }
        let after = objects_in(&self.place.depot)?;
        let rows = vec![
            tell(self.row(Deed::Change, &costs, before)?),
            tell(self.row(Deed::Diff, &diffs, after)?),
            tell(self.row(Deed::CopyChange, &copies, after)?),
        ];
        Ok((rows, groups))
    }

    /// Each of its own piece: what a depot has when a disk is backed up often.
    fn more_snapshots(&mut self, base: &Stored) -> Result<()> {
        for number in 0..MORE_SNAPSHOTS {
            let extent = number * self.disk.extents / MORE_SNAPSHOTS;
            self.import_changed(base, &[self.disk.last_piece(extent)], OTHER_VERSION)?;
        }
        Ok(())
    }

    fn row(&self, deed: Deed, costs: &[Cost], before: (u64, u64)) -> Result<Row> {
        let (objects, stored_mb) = since(before, objects_in(&self.place.depot)?);
        let row = Row::of(self.stage, deed, costs).context("nothing was measured")?;
        Ok(Row { objects, stored_mb, ..row })
    }
}

/// Random reads of a snapshot of the base image; not an aim, but what an instant restore stands on.
fn reads(image: &Path, scratch: &Path) -> Result<[Row; 2]> {
    let home = empty(scratch.join("reads"))?;
    let place = Place::new(&home, "depot")?;
    let (_, said) = measure::run(&place.command(&["import", text(image)?])?, scratch)?;
    let mut reader = Command::new(sh::target().join("release/examples/random_reads"));
    reader.arg(&place.depot).arg(&place.key).args(["default", &answer(&said, "snapshot")?]);
    let (cost, said) = measure::run(&reader, scratch)?;
    std::fs::remove_dir_all(&home)?;
    let told: Value = serde_json::from_str(&said).context("read what the reads took")?;
    let row = |deed: Deed, name: &str| -> Result<Row> {
        let at = |index: usize| told[name][index].as_f64().with_context(|| format!("no {name} in {told}"));
        let (median_ms, most_ms) = (at(0)?, at(1)?);
        let wall_s = Spread::of(vec![median_ms / 1000.0]).context("nothing was read")?;
        let note = format!("{median_ms:.3} ms a read, 95 % below {most_ms:.3} ms");
        let row = Row::of(Stage::Base, deed, &[cost]).context("nothing was measured")?;
        Ok(Row { wall_s, cpu_s: None, note, ..row })
    };
    Ok([row(Deed::Read, "cold_ms")?, row(Deed::ReadAgain, "warm_ms")?])
}

/// Several disks at once in one process.
fn many(stage: Stage, disks: u32, scratch: &Path) -> Result<Row> {
    let home = empty(scratch.join("many"))?;
    let mut writer = Command::new(sh::target().join("release/examples/many_disks"));
    writer.args([text(&home.join("depot"))?, &disks.to_string(), DISK_MIB]);
    let (cost, _) = measure::run(&writer, scratch)?;
    std::fs::remove_dir_all(&home)?;
    Row::of(stage, Deed::Write, &[cost]).context("nothing was measured")
}

/// How many objects, and their bytes.
fn objects_in(depot: &Path) -> Result<(u64, u64)> {
    let (mut objects, mut bytes) = (0, 0);
    walk(depot, &mut |_: &Path, metadata| {
        objects += 1;
        bytes += metadata.len();
        Ok(())
    })?;
    Ok((objects, bytes))
}

#[expect(clippy::cast_precision_loss, reason = "megabytes with a digit")]
fn since(before: (u64, u64), after: (u64, u64)) -> (u64, f64) {
    (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1) as f64 / 1e6)
}

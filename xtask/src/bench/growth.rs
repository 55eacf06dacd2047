//! What only Hikae is measured in: how its costs grow with the disk and the depot, its objects, its memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::aims::{Limit, Verdict};
use super::chance::Chance;
use super::measure::{self, Cost};
use super::memory::Filler;
use super::round::{empty, walk};
use super::sparse::PIECE_BYTES;
use super::tools::hikae::{Place, answer};
use crate::sh::{self, command, loud, say, text};

const EXTENT_BYTES: u64 = 1 << 20;
const CHANGE_BYTES: u64 = 100 << 20;
const REPEATS: u64 = 3;
const DISK_MIB: &str = "512";

/// A disk that is mostly holes: so many extents of 1 MiB, equally far apart.
#[derive(Debug, Clone, Copy)]
struct Shape {
    name: &'static str,
    size_bytes: u64,
    extents: u64,
    apart_bytes: u64,
}

const SMALL: Shape =
    Shape { name: "8 GiB disk, 512 MiB in it", size_bytes: 8 << 30, extents: 512, apart_bytes: 16 << 20 };

const SHAPES: [Shape; 4] = [
    SMALL,
    Shape { name: "4 TiB disk, the same places", size_bytes: 4 << 40, ..SMALL },
    Shape { name: "4 TiB disk, spread over it", size_bytes: 4 << 40, apart_bytes: 8 << 30, ..SMALL },
    Shape { name: "8 GiB disk, 2 GiB in it", extents: 2048, apart_bytes: 4 << 20, ..SMALL },
];

/// Lines of the report: what, and its figure.
pub(crate) type Lines = Vec<(String, String)>;

/// What a change cost on one shape, in the middle of several.
#[derive(Debug, Clone, Copy)]
struct Grown {
    change: Cost,
    objects: u64,
    stored_mb: f64,
}

/// Builds the two programs that use the depot as a server would: more than one disk, and random reads.
pub(crate) fn build() -> Result<()> {
    let examples = ["--example", "many_disks", "--example", "random_reads"];
    let build = ["build", "--release", "--quiet", "-p", "hikae-depot"];
    loud(&mut command("cargo", &[&build[..], &examples].concat()))
}

pub(crate) fn run(scratch: &Path, filler: &mut Filler) -> Result<(Lines, Vec<Verdict>)> {
    let mut lines = Lines::new();
    let grown = SHAPES
        .iter()
        .map(|shape| grow(*shape, scratch, filler, &mut lines).with_context(|| shape.name))
        .collect::<Result<Vec<_>>>()?;
    let mut verdicts = vec![
        ratio("growth: wall of 100 MiB changed, 4 TiB to 8 GiB", grown[1], grown[0], |cost| cost.wall_s),
        ratio("growth: cpu of 100 MiB changed, 4 TiB to 8 GiB", grown[1], grown[0], |cost| cost.cpu_s),
        objects(grown[3]),
    ];
    let most = [1, 4].map(|disks| many(disks, scratch, &mut lines));
    for (disks, rss_mb) in [1, 4].into_iter().zip(most) {
        verdicts.push(Verdict {
            aim: format!("memory of {disks} disks written at once, in MB"),
            measured: Some(rss_mb?),
            limit: Limit::AtMost(super::aims::MEMORY_MB_MAX),
            against: format!("{DISK_MIB} MiB each, one process"),
        });
    }
    Ok((lines, verdicts))
}

fn ratio(aim: &str, one: Grown, other: Grown, value: fn(&Cost) -> f64) -> Verdict {
    let (one, other) = (value(&one.change), value(&other.change));
    Verdict {
        aim: aim.to_owned(),
        measured: Some(one / other),
        limit: Limit::AtMost(1.2),
        against: format!("{one:.2} s, {other:.2} s"),
    }
}

/// A handful of objects a snapshot is no more than eight.
#[expect(clippy::cast_precision_loss, reason = "some hundreds")]
fn objects(grown: Grown) -> Verdict {
    let allowed = grown.stored_mb * 1e6 / f64::from(16 << 20) + 8.0;
    Verdict {
        aim: "objects of a first snapshot, to one per 16 MiB and eight".to_owned(),
        measured: Some(grown.objects as f64 / allowed),
        limit: Limit::AtMost(1.0),
        against: format!("{} objects, {:.0} MB", grown.objects, grown.stored_mb),
    }
}

/// A disk of this shape: stored, changed several times, compared, copied, and its changes collected.
fn grow(shape: Shape, scratch: &Path, filler: &mut Filler, lines: &mut Lines) -> Result<Grown> {
    say(format!("growth: {}", shape.name));
    let home = empty(scratch.join("growth"))?;
    let (place, other) = (Place::new(&home, "depot")?, Place::new(&home, "other")?);
    let (image, changed) = (home.join("disk.raw"), home.join("changed.json"));
    make(shape, &image)?;
    let pieces = change(shape);
    std::fs::write(&changed, serde_json::to_string(&pieces)?)?;
    let mut tell = |what: &str, cost: Cost, more: String| {
        let Cost { wall_s, cpu_s, rss_mb } = cost;
        let figure = format!("{wall_s:.2} s, {cpu_s:.2} s cpu, {rss_mb:.0} MB memory{more}");
        say(format!("{}: {what}: {figure}", shape.name));
        lines.push((format!("{}: {what}", shape.name), figure));
    };
    let before = objects_in(&place.depot)?;
    filler.fill()?;
    let (cost, said) = measure::run(&place.command(&["import", text(&image)?])?, scratch)?;
    let (base, group) = (answer(&said, "snapshot")?, answer(&said, "group")?);
    let (objects, stored_mb) = since(before, objects_in(&place.depot)?);
    tell("first snapshot", cost, format!(", {stored_mb:.1} MB in {objects} objects"));
    let copy = ["--to", text(&other.depot)?];
    let (cost, _) = measure::run(&place.command(&[&["copy", &group][..], &copy].concat())?, scratch)?;
    tell("copy of it to another depot", cost, String::new());

    let (mut costs, mut last) = (Vec::new(), (String::new(), String::new()));
    let (mut more, mut groups) = ((0, 0.0), Vec::new());
    for repeat in 0..REPEATS {
        write(&image, &pieces, repeat + 1)?;
        filler.fill()?;
        let before = objects_in(&place.depot)?;
        let arguments = ["import", text(&image)?, "--base", &base, "--changed", text(&changed)?];
        let (cost, said) = measure::run(&place.command(&arguments)?, scratch)?;
        more = since(before, objects_in(&place.depot)?);
        costs.push(cost);
        last = (answer(&said, "snapshot")?, answer(&said, "group")?);
        groups.push(last.1.clone());
    }
    costs.sort_by(|one, other| one.wall_s.total_cmp(&other.wall_s));
    let cost = costs[costs.len() / 2];
    tell("100 MiB changed, tracked", cost, format!(", {:.1} MB in {} objects", more.1, more.0));
    let (told, _) = measure::run(&place.command(&["diff", &base, &last.0])?, scratch)?;
    tell("diff of the two", told, String::new());
    let (told, _) = measure::run(&place.command(&[&["copy", &last.1][..], &copy].concat())?, scratch)?;
    tell("copy of the change", told, String::new());
    for group in &groups {
        sh::quiet(&mut place.command(&["delete", group, "--yes"])?)?;
    }
    let (told, said) = measure::run(&place.command(&["gc"])?, scratch)?;
    tell("collection of the changes", told, format!("; {}", counts(&said)));
    std::fs::remove_dir_all(&home)?;
    Ok(Grown { change: cost, objects, stored_mb })
}

/// The numbers of an answer, in words.
fn counts(said: &str) -> String {
    let value: Value = serde_json::from_str(said).unwrap_or_default();
    let numbers = value.as_object().into_iter().flatten().filter(|(_, value)| value.is_u64());
    numbers.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

/// Random reads of a snapshot of the base image, as lines; not an aim, but what an instant restore stands on.
pub(crate) fn reads(image: &Path, scratch: &Path) -> Result<Lines> {
    let home = empty(scratch.join("reads"))?;
    let place = Place::new(&home, "depot")?;
    let (_, said) = measure::run(&place.command(&["import", text(image)?])?, scratch)?;
    let mut reader = Command::new(sh::target().join("release/examples/random_reads"));
    reader.arg(&place.depot).arg(&place.key).args(["default", &answer(&said, "snapshot")?]);
    let (cost, said) = measure::run(&reader, scratch)?;
    std::fs::remove_dir_all(&home)?;
    let told: Value = serde_json::from_str(&said).context("read what the reads took")?;
    let two = |name: &str| -> String {
        let at = |index: usize| told[name][index].as_f64().unwrap_or_default();
        format!("{:.3} ms, 95 % below {:.3} ms", at(0), at(1))
    };
    let memory = format!("{:.0} MB memory", cost.rss_mb);
    Ok(vec![
        ("random reads of 4 KiB all over 8 GiB".to_owned(), format!("{}, {memory}", two("cold_ms"))),
        ("random reads of 4 KiB in 8 MiB, again".to_owned(), two("warm_ms")),
    ])
}

/// Several disks at once; the most memory their process held.
fn many(disks: u32, scratch: &Path, lines: &mut Lines) -> Result<f64> {
    let home = empty(scratch.join("many"))?;
    let mut writer = Command::new(sh::target().join("release/examples/many_disks"));
    writer.args([text(&home.join("depot"))?, &disks.to_string(), DISK_MIB]);
    let (cost, _) = measure::run(&writer, scratch)?;
    std::fs::remove_dir_all(&home)?;
    let figure = format!("{:.2} s, {:.2} s cpu, {:.0} MB memory", cost.wall_s, cost.cpu_s, cost.rss_mb);
    say(format!("{disks} disks at once: {figure}"));
    lines.push((format!("{disks} disks of {DISK_MIB} MiB written at once"), figure));
    Ok(cost.rss_mb)
}

fn make(shape: Shape, image: &Path) -> Result<()> {
    let file = File::create(image)?;
    file.set_len(shape.size_bytes).context("make a large sparse file")?;
    let pieces = EXTENT_BYTES / PIECE_BYTES;
    for extent in 0..shape.extents {
        for piece in 0..pieces {
            let at = extent * shape.apart_bytes + piece * PIECE_BYTES;
            file.write_all_at(&content(at, 0)?, at)?;
        }
    }
    Ok(())
}

/// Pieces within what is there, spread over all of it.
fn change(shape: Shape) -> Vec<(u64, u64)> {
    let pieces = (0..CHANGE_BYTES / PIECE_BYTES).map(|number| {
        let (extent, piece) = (number % shape.extents, number / shape.extents);
        (extent * shape.apart_bytes + piece * PIECE_BYTES, PIECE_BYTES)
    });
    let mut pieces: Vec<_> = pieces.collect();
    pieces.sort_unstable();
    pieces
}

fn write(image: &Path, pieces: &[(u64, u64)], version: u64) -> Result<()> {
    let file = File::options().write(true).open(image)?;
    for (at, _) in pieces {
        file.write_all_at(&content(*at, version)?, *at)?;
    }
    Ok(())
}

/// A piece that no other is like, and that compresses to about half.
fn content(at: u64, version: u64) -> Result<Vec<u8>> {
    let mut chance = Chance::new(at ^ (version << 48));
    let mut bytes = Vec::with_capacity(usize::try_from(PIECE_BYTES)?);
    for _ in 0..PIECE_BYTES / 4096 {
        let block = chance.bytes(2048);
        bytes.extend_from_slice(&block);
        bytes.extend_from_slice(&block);
    }
    Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_changed_by_as_much_within_what_it_holds() {
        for shape in SHAPES {
            let pieces = change(shape);
            assert_eq!(pieces.iter().map(|piece| piece.1).sum::<u64>(), CHANGE_BYTES, "{}", shape.name);
            for (at, len) in &pieces {
                assert!(at % shape.apart_bytes + len <= EXTENT_BYTES, "{}: {at}", shape.name);
                assert!(at + len <= shape.size_bytes && at / shape.apart_bytes < shape.extents);
            }
            assert!(pieces.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0), "{}", shape.name);
        }
        assert_ne!(content(0, 1).expect("bytes"), content(0, 2).expect("bytes"));
        assert_ne!(content(0, 1).expect("bytes"), content(PIECE_BYTES, 1).expect("bytes"));
    }
}

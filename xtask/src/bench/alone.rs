//! What only Hikae is measured in: rows of the same shape as the peers', and what they come to. Pure but for
//! the file they are kept in.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::aims::{Limit, MEMORY_MB_MAX, Verdict};
use super::measure::Cost;
use super::samples::{Spread, rounded};

/// On which disk, and in which depot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// 512 MiB in 8 GiB: what the others are held against.
    Little,
    /// The same at the same places, and holes up to 4 TiB.
    Tall,
    /// As much, but equally far apart all over 4 TiB.
    Spread,
    /// Eight times as much on 8 GiB, and a hundred snapshots more.
    Much,
    OneDisk,
    FourDisks,
    /// The image that the peers store.
    Base,
}

impl Stage {
    const ALL: [Self; 7] =
        [Self::Little, Self::Tall, Self::Spread, Self::Much, Self::OneDisk, Self::FourDisks, Self::Base];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Little => "8 GiB",
            Self::Tall => "4 TiB, same places",
            Self::Spread => "4 TiB, all over",
            Self::Much => "8 GiB, 8 x as much stored",
            Self::OneDisk => "1 disk",
            Self::FourDisks => "4 disks at once",
            Self::Base => "base image",
        }
    }
}

/// What was done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    First,
    CopyAll,
    Change,
    Diff,
    CopyChange,
    GcMarks,
    GcDeletes,
    VisitMarks,
    VisitDeletes,
    VisitAgain,
    Write,
    Read,
    ReadAgain,
}

impl Deed {
    const ALL: [Self; 13] = [
        Self::First,
        Self::CopyAll,
        Self::Change,
        Self::Diff,
        Self::CopyChange,
        Self::GcMarks,
        Self::GcDeletes,
        Self::VisitMarks,
        Self::VisitDeletes,
        Self::VisitAgain,
        Self::Write,
        Self::Read,
        Self::ReadAgain,
    ];

    /// Whose cost is to follow what differs, whatever else exists.
    const DIFFERENCES: [Self; 7] = [
        Self::Change,
        Self::Diff,
        Self::CopyChange,
        Self::GcMarks,
        Self::GcDeletes,
        Self::VisitMarks,
        Self::VisitDeletes,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::First => "first snapshot",
            Self::CopyAll => "copy of the first",
            Self::Change => "100 MiB changed, tracked",
            Self::Diff => "diff",
            Self::CopyChange => "copy of the change",
            Self::GcMarks => "gc that marks",
            Self::GcDeletes => "gc that deletes",
            Self::VisitMarks => "server's visit that marks",
            Self::VisitDeletes => "server's visit that deletes",
            Self::VisitAgain => "server's visit, nothing new",
            Self::Write => "512 MiB a disk written",
            Self::Read => "4 KiB read anywhere",
            Self::ReadAgain => "4 KiB read in 8 MiB, again",
        }
    }
}

/// One line of the result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) stage: Stage,
    pub(crate) deed: Deed,
    pub(crate) runs: usize,
    pub(crate) wall_s: Spread,
    /// `None` where what was measured is a part of a process.
    pub(crate) cpu_s: Option<Spread>,
    pub(crate) rss_mb: Spread,
    pub(crate) stored_mb: f64,
    pub(crate) objects: u64,
    pub(crate) note: String,
}

impl Row {
    /// Of whole processes; none of none.
    pub(crate) fn of(stage: Stage, deed: Deed, costs: &[Cost]) -> Option<Self> {
        let spread = |value: fn(&Cost) -> f64| Spread::of(costs.iter().map(value).collect());
        Some(Self {
            stage,
            deed,
            runs: costs.len(),
            wall_s: spread(|cost| cost.wall_s)?,
            cpu_s: spread(|cost| cost.cpu_s),
            rss_mb: spread(|cost| cost.rss_mb)?,
            stored_mb: 0.0,
            objects: 0,
            note: String::new(),
        })
    }

    pub(crate) fn title(&self) -> String {
        format!("{}: {}", self.deed.name(), self.stage.name())
    }
}

/// What they say of the aims: nothing if there are none.
pub(crate) fn verdicts(rows: &[Row]) -> Vec<Verdict> {
    if rows.is_empty() {
        return Vec::new();
    }
    let rows = Rows(rows);
    let (wall, cpu) = ("wall", "cpu");
    let mut verdicts = vec![
        rows.ratio("growth: the same 100 MiB changed, 4 TiB to 8 GiB", wall, Stage::Tall, Deed::Change),
        rows.ratio("growth: the same 100 MiB changed, 4 TiB to 8 GiB", cpu, Stage::Tall, Deed::Change),
        rows.told("growth: as much changed all over 4 TiB, to 8 GiB", wall),
        rows.told("growth: as much changed all over 4 TiB, to 8 GiB", cpu),
    ];
    for deed in Deed::DIFFERENCES {
        let aim = format!("growth: {}, 8 x as much stored", deed.name());
        verdicts.push(rows.ratio(&aim, wall, Stage::Much, deed));
    }
    verdicts.push(rows.objects());
    verdicts.push(rows.memory("memory of 1 disk written, in MB", |row| row.stage == Stage::OneDisk));
    verdicts
        .push(rows.memory("memory of 4 disks written at once, in MB", |row| row.stage == Stage::FourDisks));
    verdicts.push(rows.memory("memory of any operation of the growth part, in MB", |_| true));
    verdicts
}

struct Rows<'a>(&'a [Row]);

impl Rows<'_> {
    fn find(&self, stage: Stage, deed: Deed) -> Option<&Row> {
        self.0.iter().find(|row| row.stage == stage && row.deed == deed)
    }

    /// There, to what it is on the little one.
    fn ratio(&self, aim: &str, unit: &str, stage: Stage, deed: Deed) -> Verdict {
        let value = |stage| {
            let row = self.find(stage, deed)?;
            if unit == "cpu" { row.cpu_s.map(|cpu| cpu.median) } else { Some(row.wall_s.median) }
        };
        let both = value(stage).zip(value(Stage::Little));
        Verdict {
            aim: format!("{aim}: {unit}"),
            measured: both.map(|(one, other)| one / other),
            limit: Limit::AtMost(1.2),
            against: both.map(|(one, other)| format!("{one:.3} s, {other:.3} s")).unwrap_or_default(),
        }
    }

    /// What no aim is stated for: more leaves lie below a change that is spread.
    fn told(&self, aim: &str, unit: &str) -> Verdict {
        Verdict { limit: Limit::None, ..self.ratio(aim, unit, Stage::Spread, Deed::Change) }
    }

    /// A handful of objects a snapshot is no more than eight.
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    fn objects(&self) -> Verdict {
        let row = self.find(Stage::Much, Deed::First);
        let allowed = |row: &Row| row.stored_mb * 1e6 / f64::from(16 << 20) + 8.0;
        Verdict {
            aim: "objects of a first snapshot, to one per 16 MiB and eight".to_owned(),
            measured: row.map(|row| row.objects as f64 / allowed(row)),
            limit: Limit::AtMost(1.0),
            against: row
                .map(|row| format!("{} objects, {:.0} MB", row.objects, row.stored_mb))
                .unwrap_or_default(),
        }
    }

    fn memory(&self, aim: &str, of: fn(&Row) -> bool) -> Verdict {
        let rows = self.0.iter().filter(|row| of(row));
        let most = rows.max_by(|one, other| one.rss_mb.most.total_cmp(&other.rss_mb.most));
        Verdict {
            aim: aim.to_owned(),
            measured: most.map(|row| row.rss_mb.most),
            limit: Limit::AtMost(MEMORY_MB_MAX),
            against: most.map(Row::title).unwrap_or_default(),
        }
    }
}

/// The medians, in the form that others read.
pub(crate) fn medians(rows: &[Row]) -> Vec<Value> {
    let row = |row: &Row| {
        json!({
            "tool": "hikae", "op": row.title(), "wall_s": rounded(row.wall_s.median),
            "cpu_s": row.cpu_s.map(|cpu| rounded(cpu.median)), "rss_mb": rounded(row.rss_mb.median),
            "stored_mb": rounded(row.stored_mb),
        })
    };
    rows.iter().map(row).collect()
}

/// All that is known of them.
pub(crate) fn to_json(rows: &[Row]) -> Value {
    let three = |spread: Spread| json!([spread.median, spread.least, spread.most]);
    let row = |row: &Row| {
        json!({
            "stage": row.stage.name(), "deed": row.deed.name(), "runs": row.runs,
            "wall_s": three(row.wall_s), "cpu_s": row.cpu_s.map(three), "rss_mb": three(row.rss_mb),
            "stored_mb": row.stored_mb, "objects": row.objects, "note": row.note,
        })
    };
    rows.iter().map(row).collect()
}

fn from_json(value: &Value) -> Option<Row> {
    let three = |name: &str| {
        let at = |index: usize| value[name][index].as_f64();
        Some(Spread { median: at(0)?, least: at(1)?, most: at(2)? })
    };
    let (stage, deed) = (value["stage"].as_str()?, value["deed"].as_str()?);
    Some(Row {
        stage: Stage::ALL.into_iter().find(|known| known.name() == stage)?,
        deed: Deed::ALL.into_iter().find(|known| known.name() == deed)?,
        runs: usize::try_from(value["runs"].as_u64()?).ok()?,
        wall_s: three("wall_s")?,
        cpu_s: three("cpu_s"),
        rss_mb: three("rss_mb")?,
        stored_mb: value["stored_mb"].as_f64()?,
        objects: value["objects"].as_u64()?,
        note: value["note"].as_str()?.to_owned(),
    })
}

/// Keeps them, for a later run with `--add` that measures something else.
pub(crate) fn save(path: &Path, rows: &[Row]) -> Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(&to_json(rows))?).context("keep the rows")
}

/// Those kept; none when there are none.
pub(crate) fn load(path: &Path) -> Result<Vec<Row>> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(Vec::new()) };
    let rows: Vec<Value> = serde_json::from_str(&text).context("read the rows kept")?;
    rows.iter().map(|row| from_json(row).with_context(|| format!("not a row: {row}"))).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row_of(stage: Stage, deed: Deed, wall_s: f64) -> Row {
        let cost = |wall_s| Cost { wall_s, cpu_s: 2.0 * wall_s, rss_mb: 100.0 };
        Row::of(stage, deed, &[cost(wall_s), cost(wall_s / 2.0), cost(wall_s * 2.0)]).expect("of three")
    }

    fn told<'a>(verdicts: &'a [Verdict], aim: &str) -> &'a Verdict {
        verdicts.iter().find(|verdict| verdict.aim.starts_with(aim)).expect("an aim")
    }

    #[test]
    fn growth_is_against_the_little_disk_and_spread_changes_have_no_aim() {
        let rows = [
            row_of(Stage::Little, Deed::Change, 1.0),
            row_of(Stage::Tall, Deed::Change, 1.1),
            row_of(Stage::Spread, Deed::Change, 5.0),
            row_of(Stage::Much, Deed::Change, 1.5),
            row_of(Stage::Much, Deed::Diff, 1.0),
        ];
        let verdicts = verdicts(&rows);
        let same = told(&verdicts, "growth: the same 100 MiB");
        assert_eq!((same.measured, same.reached()), (Some(1.1), Some(true)));
        let spread = told(&verdicts, "growth: as much changed all over");
        assert_eq!((spread.measured, spread.reached()), (Some(5.0), None));
        assert_eq!(told(&verdicts, "growth: 100 MiB changed, tracked, 8 x").reached(), Some(false));
        assert_eq!(told(&verdicts, "growth: diff").measured, None, "the little one was not measured");
        assert!(super::verdicts(&[]).is_empty());
    }

    #[test]
    fn objects_and_memory_are_held_to_their_limits() {
        let mut first = row_of(Stage::Much, Deed::First, 1.0);
        (first.objects, first.stored_mb) = (13, f64::from(80 << 20) / 1e6);
        let mut disks = row_of(Stage::FourDisks, Deed::Write, 1.0);
        disks.rss_mb.most = 300.0;
        let rows = [first, disks, row_of(Stage::OneDisk, Deed::Write, 1.0)];
        let verdicts = verdicts(&rows);
        let objects = told(&verdicts, "objects").measured.expect("measured");
        assert!((objects - 1.0).abs() < 1e-9, "13 objects are allowed for 80 MiB, not {objects}");
        assert_eq!(told(&verdicts, "memory of 1 disk").reached(), Some(true));
        assert_eq!(told(&verdicts, "memory of 4 disks").reached(), Some(false));
        let any = told(&verdicts, "memory of any");
        assert_eq!((any.measured, any.reached()), (Some(300.0), Some(false)));
        assert!(any.against.contains("4 disks"), "{}", any.against);
    }

    #[test]
    fn kept_rows_come_back() {
        let mut part = row_of(Stage::Much, Deed::VisitDeletes, 0.25);
        part.cpu_s = None;
        part.note = "deleted 5".to_owned();
        let rows = [row_of(Stage::Base, Deed::Read, 0.5), part];
        let path = std::env::temp_dir().join(format!("hikae-rows-{}", std::process::id()));
        save(&path, &rows).expect("save");
        assert_eq!(load(&path).expect("load"), rows);
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(load(&path).expect("none are none"), []);
        let told = medians(&rows);
        assert_eq!(told[0]["op"], "4 KiB read anywhere: base image");
        assert_eq!((&told[0]["wall_s"], &told[1]["cpu_s"]), (&json!(0.5), &Value::Null));
        let names: std::collections::BTreeSet<String> = Stage::ALL
            .into_iter()
            .flat_map(|stage| Deed::ALL.into_iter().map(move |deed| (stage, deed)))
            .map(|(stage, deed)| row_of(stage, deed, 1.0).title())
            .collect();
        assert_eq!(names.len(), Stage::ALL.len() * Deed::ALL.len(), "a title is of one row");
    }
}

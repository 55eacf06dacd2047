//! What was measured, and what it comes to.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::measure::Cost;
use super::tools::{Op, Tool};

/// One operation of one tool in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) tool: Tool,
    pub(crate) op: Op,
    pub(crate) round: u32,
    pub(crate) cost: Cost,
    /// By which the repository grew, in MB of a million bytes.
    pub(crate) stored_mb: f64,
}

/// The middle of several, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of nothing there is none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }
}

/// One line of the result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub(crate) tool: Tool,
    pub(crate) op: Op,
    pub(crate) rounds: usize,
    pub(crate) wall_s: Spread,
    pub(crate) cpu_s: Spread,
    pub(crate) rss_mb: Spread,
    pub(crate) stored_mb: Spread,
}

/// All figures, by operation and tool.
pub(crate) fn figures(samples: &[Sample]) -> Vec<Figure> {
    let pairs = Op::ALL.into_iter().flat_map(|op| Tool::ALL.into_iter().map(move |tool| (op, tool)));
    pairs.filter_map(|(op, tool)| figure(samples, tool, op)).collect()
}

fn figure(samples: &[Sample], tool: Tool, op: Op) -> Option<Figure> {
    let mine: Vec<&Sample> = samples.iter().filter(|sample| sample.tool == tool && sample.op == op).collect();
    let spread = |value: fn(&Sample) -> f64| Spread::of(mine.iter().map(|sample| value(sample)).collect());
    Some(Figure {
        tool,
        op,
        rounds: mine.len(),
        wall_s: spread(|sample| sample.cost.wall_s)?,
        cpu_s: spread(|sample| sample.cost.cpu_s)?,
        rss_mb: spread(|sample| sample.cost.rss_mb)?,
        stored_mb: spread(|sample| sample.stored_mb)?,
    })
}

/// The medians, in the form that others read.
pub(crate) fn medians(figures: &[Figure]) -> Vec<Value> {
    let row = |figure: &Figure| {
        json!({
            "tool": figure.tool.name(), "op": figure.op.name(),
            "wall_s": rounded(figure.wall_s.median), "cpu_s": rounded(figure.cpu_s.median),
            "rss_mb": rounded(figure.rss_mb.median), "stored_mb": rounded(figure.stored_mb.median),
        })
    };
    figures.iter().map(row).collect()
}

pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Keeps the samples themselves, for `--add`.
pub(crate) fn save(path: &Path, samples: &[Sample]) -> Result<()> {
    let row = |sample: &Sample| {
        let Cost { wall_s, cpu_s, rss_mb } = sample.cost;
        json!({
            "tool": sample.tool.name(), "op": sample.op.name(), "round": sample.round, "wall_s": wall_s,
            "cpu_s": cpu_s, "rss_mb": rss_mb, "stored_mb": sample.stored_mb,
        })
    };
    let rows: Value = samples.iter().map(row).collect();
    std::fs::write(path, serde_json::to_string_pretty(&rows)?).context("keep the samples")
}

/// Those kept; none when there are none.
pub(crate) fn load(path: &Path) -> Result<Vec<Sample>> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(Vec::new()) };
    let rows: Vec<Value> = serde_json::from_str(&text).context("read the samples kept")?;
    rows.iter().map(|row| sample(row).with_context(|| format!("not a sample: {row}"))).collect()
}

fn sample(row: &Value) -> Option<Sample> {
    let number = |name: &str| row[name].as_f64();
    let (tool, op) = (row["tool"].as_str()?, row["op"].as_str()?);
    Some(Sample {
        tool: Tool::ALL.into_iter().find(|known| known.name() == tool)?,
        op: Op::ALL.into_iter().find(|known| known.name() == op)?,
        round: u32::try_from(row["round"].as_u64()?).ok()?,
        cost: Cost { wall_s: number("wall_s")?, cpu_s: number("cpu_s")?, rss_mb: number("rss_mb")? },
        stored_mb: number("stored_mb")?,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample_of(tool: Tool, op: Op, round: u32, wall_s: f64, stored_mb: f64) -> Sample {
        Sample { tool, op, round, cost: Cost { wall_s, cpu_s: 1.0, rss_mb: 100.0 }, stored_mb }
    }

    #[test]
    fn the_middle_one_counts_and_the_outer_ones_are_told() {
        let walls = [(1, 9.0), (2, 3.0), (3, 4.0)];
        let samples = walls.map(|(round, wall)| sample_of(Tool::Restic, Op::Full, round, wall, 5.0));
        let figures = figures(&samples);
        assert_eq!(figures.len(), 1);
        assert_eq!(figures[0].wall_s, Spread { median: 4.0, least: 3.0, most: 9.0 });
        assert_eq!(Spread::of(vec![1.0, 2.0]).map(|spread| spread.median), Some(1.5));
        let told = medians(&figures);
        let expected = json!({"tool": "restic", "op": "full", "wall_s": 4.0, "cpu_s": 1.0, "rss_mb": 100.0, "stored_mb": 5.0});
        assert_eq!(told, [expected]);
    }

    #[test]
    fn kept_samples_come_back() {
        let path = std::env::temp_dir().join(format!("hikae-samples-{}", std::process::id()));
        let samples = [
            sample_of(Tool::HikaeTracked, Op::OnePercent, 2, 0.123_456, 3.5),
            sample_of(Tool::Casync, Op::Verify, 1, 70.0, 0.0),
        ];
        save(&path, &samples).expect("save");
        assert_eq!(load(&path).expect("load"), samples);
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(load(&path).expect("none are none"), []);
    }
}

//! Tables for people, and files for programs.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::aims::{Limit, Verdict};
use super::machine;
use super::samples::{self, Figure, Spread};
use super::tools::Op;
use crate::sh::{self, say};

/// Everything one run came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figure>,
    pub(crate) verdicts: Vec<Verdict>,
    /// What only Hikae is measured in: a sentence's beginning, and its figure.
    pub(crate) growth: Vec<(String, String)>,
    pub(crate) about: Value,
}

impl Report {
    /// The whole of it, as Markdown; on a terminal it reads as well.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for op in Op::ALL {
            let rows: Vec<&Figure> = self.figures.iter().filter(|figure| figure.op == op).collect();
            if !rows.is_empty() {
                table(&mut text, title(op), &HEAD, &rows.into_iter().map(row).collect::<Vec<_>>());
            }
        }
        if !self.growth.is_empty() {
            let rows: Vec<Vec<String>> =
                self.growth.iter().map(|(what, figure)| vec![what.clone(), figure.clone()]).collect();
            table(&mut text, "Hikae alone", &["what", "figure"], &rows);
        }
        let rows: Vec<Vec<String>> = self.verdicts.iter().map(verdict).collect();
        table(&mut text, "Aims", &["aim", "limit", "measured", "reached", "of"], &rows);
        text
    }

    /// `target/bench/depot.json`: the medians.
    pub(crate) fn write(&self) -> Result<()> {
        let path = sh::target().join("bench/depot.json");
        let text = serde_json::to_string_pretty(&samples::medians(&self.figures))?;
        std::fs::write(&path, text + "\n").with_context(|| format!("write {}", path.display()))?;
        say(format!("medians: {}", path.display()));
        Ok(())
    }

    /// `bench/results/<date>-<commit>`: with ranges, machine and versions.
    pub(crate) fn keep(&self) -> Result<()> {
        let directory = sh::root().join("bench/results");
        std::fs::create_dir_all(&directory)?;
        let name = format!("{}-{}", machine::today()?, machine::commit()?);
        let value = json!({
            "about": self.about,
            "figures": self.figures.iter().map(figure_json).collect::<Value>(),
            "aims": self.verdicts.iter().map(verdict_json).collect::<Value>(),
            "growth": self.growth.iter().map(|(what, figure)| json!([what, figure])).collect::<Value>(),
        });
        let (json, markdown) = (directory.join(format!("{name}.json")), directory.join(format!("{name}.md")));
        std::fs::write(&json, serde_json::to_string_pretty(&value)? + "\n").context("keep the result")?;
        std::fs::write(&markdown, format!("# The depot on {name}\n\n{}\n{}", self.preface(), self.text()))?;
        say(format!("kept: {}", markdown.display()));
        Ok(())
    }

    fn preface(&self) -> String {
        let about = |name: &str| self.about[name].as_str().unwrap_or_default();
        let mut text = format!(
            "{}, {} cores, {} of memory, Linux {}; loads before the rounds {}.\n\n",
            about("cpu"),
            self.about["cores"],
            about("memory"),
            about("kernel"),
            self.about["loads"],
        );
        for (tool, version) in self.about["tools"].as_object().into_iter().flatten() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "* {tool}: {}", version.as_str().unwrap_or_default());
        }
        text
    }
}

const HEAD: [&str; 6] = ["tool", "wall s", "cpu s", "peak MB", "added MB", "rounds"];

const fn title(op: Op) -> &'static str {
    match op {
        Op::Full => "full: the base, into an empty repository",
        Op::Same => "same: the base again",
        Op::OnePercent => "one_percent: 4 KiB changed in 1 % of its blocks",
        Op::Day => "day: after a database worked, in the same repository; Hikae's base is the first backup",
        Op::Restore => "restore: the last backup, to a raw file; compared byte for byte",
        Op::Verify => "verify: everything, with keys",
        Op::VerifyNoKeys => "verify_no_keys: everything, by names and checksums",
    }
}

fn row(figure: &Figure) -> Vec<String> {
    vec![
        figure.tool.name().to_owned(),
        spread(figure.wall_s, 2),
        spread(figure.cpu_s, 2),
        spread(figure.rss_mb, 0),
        spread(figure.stored_mb, 1),
        figure.rounds.to_string(),
    ]
}

fn spread(value: Spread, digits: usize) -> String {
    let Spread { median, least, most } = value;
    let text = format!("{median:.digits$}");
    if format!("{least:.digits$}") == format!("{most:.digits$}") {
        return text;
    }
    format!("{text} ({least:.digits$}–{most:.digits$})")
}

fn verdict(verdict: &Verdict) -> Vec<String> {
    let limit = match verdict.limit {
        Limit::AtMost(limit) => format!("≤ {limit:.2}"),
        Limit::AtLeast(limit) => format!("≥ {limit:.2}"),
    };
    let reached = match verdict.reached() {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "not measured",
    };
    let measured = verdict.measured.map(|measured| format!("{measured:.3}")).unwrap_or_default();
    vec![verdict.aim.clone(), limit, measured, reached.to_owned(), verdict.against.clone()]
}

fn verdict_json(verdict: &Verdict) -> Value {
    let (kind, limit) = match verdict.limit {
        Limit::AtMost(limit) => ("at_most", limit),
        Limit::AtLeast(limit) => ("at_least", limit),
    };
    json!({"aim": verdict.aim, kind: limit, "measured": verdict.measured, "reached": verdict.reached()})
}

fn figure_json(figure: &Figure) -> Value {
    let three = |spread: Spread| json!([spread.median, spread.least, spread.most]);
    json!({
        "tool": figure.tool.name(), "op": figure.op.name(), "rounds": figure.rounds,
        "wall_s": three(figure.wall_s), "cpu_s": three(figure.cpu_s), "rss_mb": three(figure.rss_mb),
        "stored_mb": three(figure.stored_mb),
    })
}

/// A table whose columns are as wide as their widest cell.
fn table(text: &mut String, title: &str, head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let _ = writeln!(text, "\n## {title}\n");
    text.push_str(&line(&mut head.iter().copied()));
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    text.push_str(&line(&mut dashes.iter().map(String::as_str)));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::aims;
    use super::super::samples::figures;
    use super::super::samples::tests::sample_of;
    use super::super::tools::Tool;
    use super::*;

    #[test]
    fn a_report_shows_medians_ranges_and_what_was_not_measured() {
        let samples = [
            sample_of(Tool::Restic, Op::Full, 1, 15.0, 540.0),
            sample_of(Tool::Restic, Op::Full, 2, 17.0, 540.0),
        ];
        let figures = figures(&samples);
        let verdicts = aims::verdicts(&figures);
        let report = Report { figures, verdicts, growth: Vec::new(), about: Value::Null };
        let text = report.text();
        let line = text.lines().find(|line| line.starts_with("| restic")).expect("a line");
        assert!(line.contains("16.00 (15.00–17.00)") && line.contains("| 540.0 "), "{line}");
        assert!(text.contains("not measured"), "{text}");
    }
}

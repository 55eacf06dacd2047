//! Tables for people, and files for programs.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::aims::{Limit, Verdict};
use super::alone::{self, Row};
use super::machine;
use super::samples::{self, Figure, Spread};
use super::tools::Op;
use crate::sh::{self, say};

/// Everything one run came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figure>,
    pub(crate) verdicts: Vec<Verdict>,
    /// What only Hikae is measured in.
    pub(crate) alone: Vec<Row>,
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
        if !self.alone.is_empty() {
            let rows: Vec<Vec<String>> = self.alone.iter().map(alone_row).collect();
            table(&mut text, "Hikae alone", &ALONE_HEAD, &rows);
        }
        let rows: Vec<Vec<String>> = self.verdicts.iter().map(verdict).collect();
        table(&mut text, "Aims", &["aim", "limit", "measured", "reached", "of"], &rows);
        text
    }

    /// `target/bench/depot.json`: the medians.
    pub(crate) fn write(&self) -> Result<()> {
        let path = sh::target().join("bench/depot.json");
        let text = serde_json::to_string_pretty(&self.medians())?;
        std::fs::write(&path, text + "\n").with_context(|| format!("write {}", path.display()))?;
        say(format!("medians: {}", path.display()));
        Ok(())
    }

    /// `bench/results/<date>-<commit>`: with ranges, machine and versions.
    pub(crate) fn keep(&self) -> Result<()> {
        let directory = sh::root().join("bench/results");
        std::fs::create_dir_all(&directory)?;
        let name = format!("{}-{}", machine::today()?, machine::commit()?);
        let (json, markdown) = (directory.join(format!("{name}.json")), directory.join(format!("{name}.md")));
        let text = serde_json::to_string_pretty(&self.to_json())?;
        std::fs::write(&json, text + "\n").context("keep the result")?;
        std::fs::write(&markdown, format!("# The depot on {name}\n\n{}\n{}", self.preface(), self.text()))?;
        say(format!("kept: {}", markdown.display()));
        Ok(())
    }

    fn to_json(&self) -> Value {
        json!({
            "about": self.about,
            "figures": self.figures.iter().map(figure_json).collect::<Value>(),
            "alone": alone::to_json(&self.alone),
            "aims": self.verdicts.iter().map(verdict_json).collect::<Value>(),
        })
    }

    /// The medians of all, in the form that others read.
    fn medians(&self) -> Vec<Value> {
        let mut rows = samples::medians(&self.figures);
        rows.extend(alone::medians(&self.alone));
        rows
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

const ALONE_HEAD: [&str; 8] = ["what", "wall s", "cpu s", "peak MB", "added MB", "objects", "runs", "more"];

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

fn alone_row(row: &Row) -> Vec<String> {
    let some = |is: bool, text: String| if is { text } else { String::new() };
    vec![
        row.title(),
        spread(row.wall_s, 3),
        row.cpu_s.map(|cpu| spread(cpu, 2)).unwrap_or_default(),
        spread(row.rss_mb, 0),
        some(row.objects > 0, format!("{:.1}", row.stored_mb)),
        some(row.objects > 0, row.objects.to_string()),
        row.runs.to_string(),
        row.note.clone(),
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
        Limit::None => "none".to_owned(),
    };
    let reached = match verdict.reached() {
        Some(true) => "yes",
        Some(false) => "NO",
        None if verdict.measured.is_some() => "",
        None => "not measured",
    };
    let measured = verdict.measured.map(|measured| format!("{measured:.3}")).unwrap_or_default();
    vec![verdict.aim.clone(), limit, measured, reached.to_owned(), verdict.against.clone()]
}

fn verdict_json(verdict: &Verdict) -> Value {
    let (kind, limit) = match verdict.limit {
        Limit::AtMost(limit) => ("at_most", Some(limit)),
        Limit::AtLeast(limit) => ("at_least", Some(limit)),
        Limit::None => ("at_most", None),
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
    use super::super::alone::tests::row_of;
    use super::super::alone::{Deed, Stage};
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
        let report = Report { figures, verdicts, alone: Vec::new(), about: Value::Null };
        let text = report.text();
        let line = text.lines().find(|line| line.starts_with("| restic")).expect("a line");
        assert!(line.contains("16.00 (15.00–17.00)") && line.contains("| 540.0 "), "{line}");
        assert!(text.contains("not measured"), "{text}");
    }

    #[test]
    fn what_is_measured_alone_is_in_the_table_the_medians_and_what_is_kept() {
        let figures = figures(&[sample_of(Tool::Cp, Op::Full, 1, 1.5, 3000.0)]);
        let mut first = row_of(Stage::Little, Deed::First, 2.0);
        (first.objects, first.stored_mb) = (11, 271.6);
        let alone = vec![
            first,
            row_of(Stage::Little, Deed::Change, 0.5),
            row_of(Stage::Tall, Deed::Change, 1.0),
            row_of(Stage::Spread, Deed::Change, 2.0),
        ];
        let verdicts = alone::verdicts(&alone);
        let report = Report { figures, verdicts, alone, about: Value::Null };
        let text = report.text();
        let line =
            |begin: &str| text.lines().find(|line| line.starts_with(begin)).expect("a line").to_owned();
        let first = line("| first snapshot: 8 GiB ");
        assert!(first.contains("2.000 (1.000–4.000)") && first.contains("| 271.6 "), "{first}");
        assert!(line("| growth: the same 100 MiB").contains("| NO "));
        let spread = line("| growth: as much changed all over");
        assert!(spread.contains("| none ") && spread.contains("| 4.000 "), "{spread}");
        assert!(!spread.contains("not measured") && !spread.contains("NO"), "{spread}");
        let ops: Vec<Value> = report.medians().iter().map(|row| row["op"].clone()).collect();
        assert_eq!((ops.len(), &ops[0], &ops[1]), (5, &json!("full"), &json!("first snapshot: 8 GiB")));
        let kept = report.to_json();
        assert_eq!(kept["alone"][0]["objects"], 11);
        assert!(kept["aims"].as_array().is_some_and(|aims| aims.iter().any(|aim| aim["reached"] == false)));
    }
}

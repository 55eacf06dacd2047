//! What a command prints: a table for people, or JSON for programs.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::failure::Failure;
use crate::args::Output;

/// A row of a listing. `Serialize` is its JSON shape, which is documented and stays.
pub(crate) trait Row: Serialize {
    const HEADER: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
}

/// Prints a listing on stdout.
pub(crate) fn list<R: Row>(output: Output, rows: &[R]) -> Result<(), Failure> {
    match output {
        Output::Json => json(&rows),
        Output::Table => {
            let mut table = Table::new();
            table
                .load_style(NOTHING)
                .set_content_arrangement(ContentArrangement::Disabled)
                .set_header(R::HEADER);
            for row in rows {
                table.add_row(row.cells());
            }
            for column in table.column_iter_mut() {
                column.set_padding((0, 2));
            }
            write(&table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>())
        }
    }
}

/// Prints one thing: its JSON, or a sentence.
pub(crate) fn one(output: Output, value: &impl Serialize, sentence: &str) -> Result<(), Failure> {
    match output {
        Output::Json => json(value),
        Output::Table => write(&format!("{sentence}\n")),
    }
}

pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    write(&format!("{text}\n"))
}

/// A reader that went away (`| head`) is no failure of ours.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write as _};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Epoch seconds in the reader's own time zone; nothing for none.
pub(crate) fn time(seconds: Option<i64>) -> String {
    let Some(stamp) = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) else {
        return "-".to_owned();
    };
    stamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// An empty cell is easily overlooked.
pub(crate) fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

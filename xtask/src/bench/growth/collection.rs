//! Collections that really delete, without waiting days for it: the depot's files are made to look old, and
//! its first marks are set by a clock that is two days behind. What is measured runs as it is shipped, on the
//! real clock; of the server's visits a small program counts the time, whose clock is put forward instead.
//!
//! Each run has a copy of the depot of its own, by hard links: so a deletion's figure has no freeing of
//! blocks in it.

use std::fs::{File, FileTimes};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::bench::alone::{Deed, Row, Stage};
use crate::bench::measure::{self, Cost};
use crate::bench::round::{fresh, walk};
use crate::bench::samples::Spread;
use crate::bench::tools::hikae::Place;
use crate::sh::{self, command, quiet, text};

const RUNS: usize = 5;
const REGION: &str = "default";
const AGE: Duration = Duration::from_secs(30 * 86_400);
/// Longer than a mark must have stood before what it marks may go.
const MARKED_S: u32 = 2 * 86_400;

/// A depot, and the groups that are to be its garbage.
#[derive(Debug)]
pub(super) struct Yard<'a> {
    pub(super) stage: Stage,
    pub(super) place: &'a Place,
    pub(super) groups: &'a [String],
    pub(super) scratch: &'a Path,
}

impl Yard<'_> {
    pub(super) fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = self.visits()?;
        for group in self.groups {
            quiet(&mut self.place.command(&["delete", group, "--yes"])?)?;
        }
        age(&self.place.depot)?;
        rows.push(self.gc(Deed::GcMarks, "marked")?);
        quiet(&mut self.stepping(&self.place.depot, &[format!("later:-{MARKED_S}"), "visit".to_owned()])?)?;
        rows.push(self.gc(Deed::GcDeletes, "deleted")?);
        Ok(rows)
    }

    /// `hikae depot gc`, each time a process that remembers nothing.
    fn gc(&self, deed: Deed, does: &str) -> Result<Row> {
        let (mut costs, mut note) = (Vec::new(), String::new());
        for _ in 0..RUNS {
            let twin = self.twin()?;
            let (cost, said) = measure::run(&twin.command(&["gc"])?, self.scratch)?;
            let said: Value = serde_json::from_str(&said).context("read what a collection answered")?;
            note = counts(&said, does)?;
            costs.push(cost);
            std::fs::remove_dir_all(twin.depot)?;
        }
        let row = Row::of(self.stage, deed, &costs).context("nothing was measured")?;
        Ok(Row { note, ..row })
    }

    /// What a process that goes on takes for its visits; the first one only gets to know the depot.
    fn visits(&self) -> Result<Vec<Row>> {
        let mut steps = vec!["visit".to_owned()];
        steps.extend(self.groups.iter().map(|group| format!("delete:{group}")));
        steps.extend([
            "visit".to_owned(),
            format!("later:{MARKED_S}"),
            "visit".to_owned(),
            "visit".to_owned(),
        ]);
        let mut runs: Vec<(Cost, Vec<Value>)> = Vec::new();
        for _ in 0..RUNS {
            let twin = self.twin()?;
            let (cost, said) = measure::run(&self.stepping(&twin.depot, &steps)?, self.scratch)?;
            runs.push((cost, serde_json::from_str(&said).context("read what the visits took")?));
            std::fs::remove_dir_all(twin.depot)?;
        }
        let deeds = [
            (1, Deed::VisitMarks, "marked"),
            (2, Deed::VisitDeletes, "deleted"),
            (3, Deed::VisitAgain, "needed"),
        ];
        deeds.into_iter().map(|(nth, deed, does)| self.visit(&runs, nth, deed, does)).collect()
    }

    fn visit(&self, runs: &[(Cost, Vec<Value>)], nth: usize, deed: Deed, does: &str) -> Result<Row> {
        let visits: Option<Vec<&Value>> = runs.iter().map(|(_, visits)| visits.get(nth)).collect();
        let visits = visits.context("a visit is missing")?;
        let note = counts(visits[0], does)?;
        let walls = visits.iter().filter_map(|visit| visit["wall_s"].as_f64()).collect();
        let costs: Vec<Cost> = runs.iter().map(|(cost, _)| *cost).collect();
        let row = Row::of(self.stage, deed, &costs).context("nothing was measured")?;
        Ok(Row { wall_s: Spread::of(walls).context("visits took no time")?, cpu_s: None, note, ..row })
    }

    fn stepping(&self, depot: &Path, steps: &[String]) -> Result<Command> {
        let mut visits = Command::new(sh::target().join("release/examples/visits"));
        visits.args([text(depot)?, text(&self.place.key)?, REGION]).args(steps);
        Ok(visits)
    }

    fn twin(&self) -> Result<Place> {
        let depot = self.place.depot.with_file_name("twin");
        quiet(&mut command("cp", &["-al", text(&self.place.depot)?, text(&depot)?]))
            .context("copy a depot by hard links")?;
        Ok(Place { depot, key: self.place.key.clone() })
    }
}

/// What was put lately is spared: as if all of it had been put long ago.
fn age(depot: &Path) -> Result<()> {
    let long_ago = FileTimes::new().set_modified(fresh() - AGE);
    walk(depot, &mut |path, _| Ok(File::open(path)?.set_times(long_ago)?))
}

/// The numbers of an answer, in words; what was to be done must not be none.
fn counts(said: &Value, does: &str) -> Result<String> {
    if said[does].as_u64().is_none_or(|number| number == 0) {
        bail!("a collection was to show something as {does}, and did not: {said}");
    }
    let numbers = said.as_object().into_iter().flatten().filter(|(_, value)| value.is_u64());
    Ok(numbers.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_collection_that_does_nothing_is_no_measurement() {
        let said = json!({"deleted": 3, "needed": 0, "troubles": []});
        assert_eq!(counts(&said, "deleted").expect("three"), "deleted 3, needed 0");
        assert!(counts(&said, "needed").is_err());
        assert!(counts(&said, "marked").is_err());
    }
}

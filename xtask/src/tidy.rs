//! The house rules that no compiler holds. `cargo xtask tidy` runs them, and so does a test.

use anyhow::{Result, bail};

use crate::sh;

pub(crate) mod arrows;
mod delete;
mod heads;
mod pure;
mod sizes;
mod source;
mod words;

/// One broken rule, at one place, with what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) place: String,
    pub(crate) what: String,
}

impl Finding {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

pub(crate) fn run() -> Result<()> {
    let findings = findings()?;
    for Finding { place, what } in &findings {
        println!("{place}: {what}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} house rules broken"),
    }
}

fn findings() -> Result<Vec<Finding>> {
    let files = source::all(&sh::root())?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(heads::check(file));
        findings.extend(pure::check(file));
        findings.extend(sizes::lines(file));
    }
    let exceptions = std::fs::read_to_string(sh::root().join("xtask/tidy-exceptions.txt"))?;
    findings.extend(words::check(&files, &exceptions));
    findings.extend(sizes::check(&files, &exceptions));
    findings.extend(delete::check(&files));
    findings.extend(arrows::check(&arrows::read()?));
    findings.sort();
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let found = findings().expect("read the workspace");
        let text: Vec<String> =
            found.iter().map(|found| format!("{}: {}", found.place, found.what)).collect();
        assert!(found.is_empty(), "{} house rules broken:\n{}", text.len(), text.join("\n"));
    }
}

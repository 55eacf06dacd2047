//! One line a check, and the verdict.

use anyhow::{Result, bail};

#[derive(Debug, Default)]
pub(crate) struct Checks {
    held: usize,
    broken: Vec<String>,
}

impl Checks {
    /// Says whether it holds, and goes on either way.
    pub(crate) fn that(&mut self, holds: bool, what: impl AsRef<str>) {
        let what = what.as_ref();
        if holds {
            println!("ok   {what}");
            self.held += 1;
        } else {
            println!("FAIL {what}");
            self.broken.push(what.to_owned());
        }
    }

    pub(crate) fn any_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// The end: an error if a check broke, or if the scenario could not be played to its end.
    pub(crate) fn finish(self, played: Result<()>) -> Result<()> {
        if let Err(error) = &played {
            println!("FAIL the scenario ended early: {error:#}");
        }
        println!("{} checks held, {} broken", self.held, self.broken.len());
        played?;
        match self.broken.as_slice() {
            [] if self.held == 0 => bail!("nothing was checked"),
            [] => Ok(()),
            broken => bail!("{} checks broken: {}", broken.len(), broken.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_check_an_early_end_and_no_check_at_all_are_failures() {
        let checked = |holds: &[bool], played| {
            let mut checks = Checks::default();
            holds.iter().for_each(|holds| checks.that(*holds, "it"));
            checks.finish(played)
        };
        assert!(checked(&[true, true], Ok(())).is_ok());
        assert!(checked(&[true, false], Ok(())).is_err());
        assert!(checked(&[true], Err(anyhow::anyhow!("no server"))).is_err());
        assert!(checked(&[], Ok(())).is_err());
    }
}

//! What was asked for on the command line.

use anyhow::{Context as _, Result, bail};

use super::tools::Tool;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench depot [options]

Makes three disk images once (a Debian root with a database in it; the same with 4 KiB written in 1 % of its
blocks; the same after a database has worked in it), then measures cp, qemu-img, restic, borg, casync and Hikae
side by side on them, and compares every restore byte for byte. Needs root, 40 GB of disk, and a quiet machine.

  --quick        one round on a small image: shows that everything works, and is too little to judge by
  --rounds N     rounds of every tool (3; borg's default and casync, which are slow, have one)
  --only TOOL    this tool alone; may be repeated. 'growth' is the part that has no peers
  --add          keep the samples of the runs before, and add these
  --keep         also write bench/results/<date>-<commit>.json and .md
  --built        take what is in target/release, whatever it was built from
  --images       only make the images
";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) rounds: u32,
    pub(crate) tools: Vec<Tool>,
    /// What only Hikae is measured in.
    pub(crate) growth: bool,
    pub(crate) add: bool,
    pub(crate) keep: bool,
    pub(crate) built: bool,
    pub(crate) only_images: bool,
}

impl Options {
    pub(crate) fn parse(flags: &[&str]) -> Result<Self> {
        let mut options = Self {
            quick: false,
            rounds: 0,
            tools: Vec::new(),
            growth: false,
            add: false,
            keep: false,
            built: false,
            only_images: false,
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            match *flag {
                "--quick" => options.quick = true,
                "--rounds" => options.rounds = number(flags.next())?,
                "--only" => options.only(flags.next().context("--only which tool?")?)?,
                "--add" => options.add = true,
                "--keep" => options.keep = true,
                "--built" => options.built = true,
                "--images" => options.only_images = true,
                "--help" | "-h" => bail!("{USAGE}"),
                unknown => bail!("bench knows no {unknown}\n\n{USAGE}"),
            }
        }
        if options.tools.is_empty() && !options.growth {
            options.tools = Tool::ALL.to_vec();
            options.growth = true;
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 1 } else { 3 };
        }
        Ok(options)
    }

    fn only(&mut self, name: &str) -> Result<()> {
        if name == "growth" {
            self.growth = true;
            return Ok(());
        }
        let tool = Tool::ALL.into_iter().find(|tool| tool.name() == name).with_context(|| {
            format!("there is no tool {name}; there are {}", Tool::ALL.map(Tool::name).join(", "))
        })?;
        self.tools.push(tool);
        Ok(())
    }
}

fn number(text: Option<&&str>) -> Result<u32> {
    match text.and_then(|text| text.parse().ok()) {
        Some(number) if number > 0 => Ok(number),
        _ => bail!("--rounds takes a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_everything() {
        let options = Options::parse(&[]).expect("nothing is fine");
        assert_eq!((options.rounds, options.tools.len()), (3, Tool::ALL.len()));
        assert!(options.growth && !options.keep);
        assert_eq!(Options::parse(&["--quick"]).expect("quick").rounds, 1);
        let one = Options::parse(&["--only", "restic", "--rounds", "2"]).expect("one tool");
        assert_eq!((one.tools, one.rounds, one.growth), (vec![Tool::Restic], 2, false));
        for wrong in [&["--rounds", "0"][..], &["--only", "tar"], &["--fast"], &["--rounds"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}

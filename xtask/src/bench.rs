//! `cargo xtask bench`: peers and Hikae side by side in one run.

use std::path::Path;

use anyhow::{Context as _, Result};

use self::alone::Row;
use self::images::{Image, Images};
use self::leftovers::Leftovers;
use self::memory::Filler;
use self::options::Options;
use self::report::Report;
use self::round::Round;
use self::samples::Sample;
use self::schedule::{Job, Schedule};
use self::tools::{Tool, hikae};
use crate::janitor::Janitor;
use crate::setup;
use crate::sh::{self, now, say, timed};

mod aims;
mod alone;
mod chance;
mod growth;
mod images;
mod leftovers;
mod machine;
mod measure;
mod memory;
mod options;
mod report;
mod round;
mod samples;
mod schedule;
mod sparse;
mod tools;

/// `cargo xtask bench depot`.
pub(crate) fn depot(janitor: &Janitor, flags: &[&str]) -> Result<()> {
    if flags.iter().any(|flag| ["--help", "-h"].contains(flag)) {
        print!("{}", options::USAGE);
        return Ok(());
    }
    let options = Options::parse(flags)?;
    setup::for_bench()?;
    let recipe = if options.quick { &images::QUICK } else { &images::FULL };
    let images = images::ready(recipe, janitor)?;
    if options.only_images {
        return Ok(());
    }
    if !options.built && (options.growth || options.tools.iter().any(|tool| tool.is_hikae())) {
        timed("hikae, release build", hikae::build)?;
    }
    if options.growth && !options.built {
        timed("examples, release build", growth::build)?;
    }
    let schedule = Schedule::new(&options);
    say(format!("this takes about {} minutes", schedule.minutes()));

    let began = now();
    let scratch = setup::scratch(janitor, &sh::target().join("bench"), "run")?;
    let measured = Run { options: &options, images: &images, scratch: &scratch }.all(&schedule)?;
    let report = report(&options, measured)?;
    println!("{}", report.text());
    report.write()?;
    if options.keep {
        report.keep()?;
    }
    say(format!("measured in {:.0} minutes", began.elapsed().as_secs_f64() / 60.0));
    Ok(())
}

/// What was measured, now and in the runs that this one adds to.
#[derive(Debug)]
struct Measured {
    samples: Vec<Sample>,
    alone: Vec<Row>,
    /// Of the machine, before each round.
    loads: Vec<f64>,
}

#[derive(Debug)]
struct Run<'a> {
    options: &'a Options,
    images: &'a Images,
    scratch: &'a Path,
}

impl Run<'_> {
    /// Does every job, keeps what it measured, and says how long the rest will take.
    fn all(&self, schedule: &Schedule) -> Result<Measured> {
        let name = if self.options.quick { "quick-" } else { "" };
        let kept = |what: &str| sh::target().join(format!("bench/{name}{what}.json"));
        let (samples_kept, alone_kept) = (kept("samples"), kept("alone"));
        let mut measured = Measured { samples: Vec::new(), alone: Vec::new(), loads: Vec::new() };
        if self.options.add {
            measured.samples = samples::load(&samples_kept)?;
            measured.alone = alone::load(&alone_kept)?;
        }
        let earlier = measured.samples.iter().map(|sample| sample.round).max().unwrap_or(0);
        let mut filler = Filler::new(self.scratch)?;
        let mut leftovers = Leftovers::new(self.scratch)?;
        let (began, mut before) = (now(), 0);
        for (done, job) in schedule.jobs.iter().enumerate() {
            match *job {
                Job::Round { round: number, tool } => {
                    if number != before {
                        measured.loads.push(machine::quiet(!self.options.quick)?);
                        before = number;
                    }
                    let (images, scratch, number) = (self.images, self.scratch, earlier + number);
                    let (filler, leftovers) = (&mut filler, &mut leftovers);
                    let mut round = Round { images, scratch, filler, leftovers, number };
                    let samples = round.run(tool).with_context(|| format!("measure {}", tool.name()))?;
                    measured.samples.extend(samples);
                    // Whatever ends this run, what was measured is there to add to.
                    samples::save(&samples_kept, &measured.samples)?;
                }
                Job::Growth => {
                    leftovers.clear()?;
                    measured.loads.push(machine::quiet(!self.options.quick)?);
                    let base = self.images.path(Image::Base);
                    measured.alone = growth::run(&base, self.scratch, &mut filler)?;
                    alone::save(&alone_kept, &measured.alone)?;
                }
            }
            let left = schedule.minutes_left(done + 1, began.elapsed().as_secs_f64());
            say(format!("{} of {}, about {left} minutes left", done + 1, schedule.jobs.len()));
        }
        Ok(measured)
    }
}

fn report(options: &Options, measured: Measured) -> Result<Report> {
    let Measured { samples, alone, loads } = measured;
    let figures = samples::figures(&samples);
    let mut verdicts = aims::verdicts(&figures);
    verdicts.extend(alone::verdicts(&alone));
    let tools: Vec<Tool> =
        Tool::ALL.into_iter().filter(|tool| samples.iter().any(|sample| sample.tool == *tool)).collect();
    let mut about = machine::about(&tools, &loads)?;
    about["images"] = if options.quick { "quick".into() } else { "full".into() };
    Ok(Report { figures, verdicts, alone, about })
}

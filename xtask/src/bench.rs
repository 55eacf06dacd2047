//! `cargo xtask bench`: peers and Hikae side by side in one run.

use anyhow::{Context as _, Result};

use self::images::Image;
use self::memory::Filler;
use self::options::Options;
use self::report::Report;
use self::round::Round;
use self::samples::Sample;
use self::tools::{Tool, hikae};
use crate::janitor::Janitor;
use crate::setup;
use crate::sh::{self, now, say, timed};

mod aims;
mod chance;
mod growth;
mod images;
mod machine;
mod measure;
mod memory;
mod options;
mod report;
mod round;
mod samples;
mod sparse;
mod tools;

/// What the part without peers takes, from earlier runs.
const GROWTH_S: u32 = 150;

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
    say(format!("this takes about {} minutes", minutes(&options)));

    let began = now();
    let scratch = setup::scratch(janitor, &sh::target().join("bench"), "run")?;
    let kept =
        sh::target().join(if options.quick { "bench/quick-samples.json" } else { "bench/samples.json" });
    let mut samples = if options.add { samples::load(&kept)? } else { Vec::new() };
    let first = samples.iter().map(|sample: &Sample| sample.round).max().unwrap_or(0) + 1;
    let mut loads = Vec::new();
    let mut filler = Filler::new(&scratch)?;
    let rounds = if options.tools.is_empty() { 0 } else { options.rounds };
    for number in first..first + rounds {
        loads.push(machine::quiet()?);
        let mut round = Round { images: &images, scratch: &scratch, filler: &mut filler, number };
        for tool in options.tools.iter().filter(|tool| number - first < tool.rounds(options.rounds)) {
            let measured = round.run(*tool).with_context(|| format!("measure {}", tool.name()))?;
            samples.extend(measured);
            // Whatever ends this run, what was measured is there to add to.
            samples::save(&kept, &samples)?;
        }
    }
    let mut report = report(&options, &samples, &loads)?;
    if options.growth {
        machine::quiet()?;
        let (lines, verdicts) = growth::run(&scratch, &mut filler)?;
        report.growth = lines;
        report.growth.extend(growth::reads(&images.path(Image::Base), &scratch)?);
        report.verdicts.extend(verdicts);
    }
    println!("{}", report.text());
    report.write()?;
    if options.keep {
        report.keep()?;
    }
    say(format!("measured in {:.0} minutes", began.elapsed().as_secs_f64() / 60.0));
    Ok(())
}

fn report(options: &Options, samples: &[Sample], loads: &[f64]) -> Result<Report> {
    let figures = samples::figures(samples);
    let verdicts = aims::verdicts(&figures);
    let tools: Vec<Tool> =
        Tool::ALL.into_iter().filter(|tool| samples.iter().any(|sample| sample.tool == *tool)).collect();
    let mut about = machine::about(&tools, loads)?;
    about["images"] = if options.quick { "quick".into() } else { "full".into() };
    Ok(Report { figures, verdicts, growth: Vec::new(), about })
}

/// Rounded up, from what earlier rounds took.
fn minutes(options: &Options) -> u32 {
    let rounds = |tool: &Tool| tool.rounds(options.rounds) * tool.round_s();
    let full_s: u32 = options.tools.iter().map(rounds).sum();
    let growth_s = if options.growth { GROWTH_S } else { 0 };
    (growth_s + if options.quick { full_s / 6 } else { full_s }).div_ceil(60)
}

//! Everything a developer runs: `cargo xtask demo`, `test`, `ci`, `tidy`, `deps`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::janitor::Janitor;

mod bench;
mod checks;
mod demo;
mod fuzz;
mod guest;
mod janitor;
mod libvirtd;
mod setup;
mod sh;
mod tidy;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo           two guests, two regions, a server; says what to try, ends with Ctrl-C
  demo --once    plays the whole scenario and exits 0 only if every check held
                 (--debug takes the build that the tests use: no wait, other figures)
  test [-- …]    all tests with all their set-up; what follows goes to cargo test
  ci             what CI runs: format, lints, tidy, fuzz, test
  fuzz [--seconds N] [TARGET…]
                 builds the fuzz targets and runs them, a minute all together
  bench depot    peers and Hikae side by side on generated images (--help says more)
  clients        the official SDKs against a server with simulated instances
  setup          installs what tests and demo need, and starts nothing
  tidy           the house rules
  deps           which crate uses which
  guest          boots a demo guest three times, pulling the plug in between
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["janitor"] => janitor::work(),
        ["demo", flags @ ..] => demo(flags),
        ["test", rest @ ..] => {
            cleanly(|janitor| checks::test(janitor, rest.strip_prefix(&["--"]).unwrap_or(rest)))
        }
        ["bench", "depot", flags @ ..] => cleanly(|janitor| bench::depot(janitor, flags)),
        ["clients"] => cleanly(demo::client_tests),
        ["setup"] => setup::install(),
        ["ci"] => cleanly(checks::ci),
        ["fuzz", arguments @ ..] => fuzz::run(arguments),
        ["tidy"] => tidy::run(),
        ["deps"] => tidy::arrows::print(),
        ["guest"] => cleanly(guest::try_out),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => bail!("{USAGE}"),
    }
}

fn demo(flags: &[&str]) -> Result<()> {
    if let Some(unknown) = flags.iter().find(|flag| !["--once", "--debug"].contains(flag)) {
        bail!("demo knows no {unknown}\n\n{USAGE}");
    }
    let build = if flags.contains(&"--debug") { demo::Build::Debug } else { demo::Build::Release };
    if flags.contains(&"--once") {
        return cleanly(|janitor| demo::once(janitor, build));
    }
    cleanly(|janitor| demo::interactive(janitor, build))
}

/// Runs with a janitor who cleans up before we return, whatever became of the work.
fn cleanly(work: impl FnOnce(&Janitor) -> Result<()>) -> Result<()> {
    let janitor = Janitor::hire()?;
    let done = work(&janitor);
    let cleaned = janitor.dismiss().context("clean up");
    done.and(cleaned)
}

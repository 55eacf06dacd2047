//! `cargo xtask demo`: real guests, a real server, and what one can do with them.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::guest::{self, Guest, PREFIX};
use crate::janitor::{Duty, Janitor};
use crate::libvirtd::{self, URI};
use crate::setup;
use crate::sh::{self, command, loud, say, text, timed};

mod answer;
mod checks;
mod cli;
mod figures;
mod pauses;
mod scenario;
mod sdk;
mod server;

use checks::Checks;
use cli::Cli;
use sdk::Sdk;
use server::{Server, Serving};

/// The demo's regions; the guests live in the first.
pub(crate) const REGIONS: [&str; 2] = ["tokyo", "osaka"];

/// Noise on each guest's data disk, so that a first backup has something to carry.
const FILL: &str = "192M";

/// Everything that stands while the demo runs.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) home: PathBuf,
    pub(crate) guests: [Guest; 2],
    pub(crate) server: Server,
    pub(crate) cli: Cli,
    pub(crate) sdk: Sdk,
}

/// Which build of the server to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// The one the tests use: it is there already.
    Debug,
    /// The one whose figures mean something.
    Release,
}

impl Stage {
    fn set(janitor: &Janitor, build: Build) -> Result<Self> {
        setup::hypervisor()?;
        timed("official SDKs", setup::install_sdks)?;
        let program = timed("build hikae", || server::build(build))?;
        let image = guest::image()?;
        let home = setup::scratch(janitor, &sh::target().join("demo"), "run")?;
        libvirtd::ensure(janitor, &home)?;
        // Clones get names of their own; whoever made them, they go with the demo.
        janitor.must(&Duty::Domains { uri: URI.into(), prefix: PREFIX.into() })?;
        let make = |which: &str| Guest::make(&image, janitor, &home, which, FILL);
        let guests = [make("a")?, make("b")?];
        timed("boot two guests", || boot(&guests))?;
        let config = server::two_regions();
        let server =
            timed("start hikae serve", || Server::start(janitor, &program, &home, Serving::Config(&config)))?;
        let cli = Cli::new(&program, &server);
        let sdk = Sdk::new(&server);
        Ok(Self { home, guests, server, cli, sdk })
    }
}

fn boot(guests: &[Guest]) -> Result<()> {
    for guest in guests {
        guest.start()?;
    }
    for guest in guests {
        let boot = guest.booted(0)?;
        if !boot.clean() {
            bail!("{} booted from fresh disks with damage: {:?}", guest.name, boot.damage);
        }
        guest.agent_ready()?;
    }
    Ok(())
}

/// Plays the scenario; an error unless every check held.
pub(crate) fn once(janitor: &Janitor, build: Build) -> Result<()> {
    let stage = Stage::set(janitor, build)?;
    let mut checks = Checks::default();
    let played = scenario::play(janitor, stage, &mut checks);
    checks.finish(played)
}

/// Sets the stage and leaves it to whoever looks.
pub(crate) fn interactive(janitor: &Janitor, build: Build) -> Result<()> {
    let stage = Stage::set(janitor, build)?;
    println!("{}", what_to_try(&stage)?);
    // Enter, or the end of input, ends it; Ctrl-C does too, by way of the janitor.
    let read = std::io::stdin().lock().lines().next();
    if read.is_none() {
        say("no input to wait for: stop with Ctrl-C");
        std::thread::sleep(std::time::Duration::from_secs(u64::from(u32::MAX)));
    }
    Ok(())
}

fn what_to_try(stage: &Stage) -> Result<String> {
    let Stage { home, guests: [a, b], server, cli, .. } = stage;
    Ok(format!(
        "
Two guests run and write: {a} and {b} (virsh -c {URI} list).
Hikae serves the regions {regions} at http://{endpoint}; its log is {log}.

In another terminal:

  {exports}
  hikae instance list
  hikae policy create nightly --every 1d --keep-days 7
  hikae protect {a} {b} --policy nightly
  hikae backup {a} --wait
  hikae job list
  hikae point list
  hikae clone <point> --name {PREFIX}copy --boot --wait
  tail -f {console}

Press Enter or Ctrl-C to stop; nothing is left behind.
",
        a = a.name,
        b = b.name,
        regions = REGIONS.join(" and "),
        endpoint = server.endpoint(),
        log = server.log().display(),
        exports = cli.exports()?,
        console = home.join("a/console.log").display(),
    ))
}

/// The official SDKs against a server that simulates its hosts.
pub(crate) fn client_tests(janitor: &Janitor) -> Result<()> {
    let program = server::build(Build::Debug)?;
    setup::install_sdks()?;
    let home = setup::scratch(janitor, &sh::target().join("demo"), "clients")?;
    let server = Server::start(janitor, &program, &home, Serving::Simulated(3))?;
    let mut tests = command(setup::python(), &["-m", "unittest", "discover", "-v", "-s"]);
    tests.arg(sh::root().join("tests/clients")).envs(server.environment()?);
    tests.env("PYTHONDONTWRITEBYTECODE", "1");
    let tested = loud(&mut tests);
    if tested.is_err() {
        server.keep_log()?;
    }
    tested.context("the official SDKs are not content")
}

/// Where a disk of a domain lies, by its target.
pub(crate) fn disk_files(guest: &Guest) -> Result<Vec<PathBuf>> {
    let (_, disks) = guest.mac_and_disks()?;
    Ok(disks.into_iter().map(PathBuf::from).collect())
}

/// Whether two images hold the same bytes, as a guest would see them.
pub(crate) fn same_content(one: &Path, other: &Path) -> Result<bool> {
    let mut compare = command("qemu-img", &["compare", "-U", text(one)?, text(other)?]);
    let output = sh::output(&mut compare)?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        code => bail!("qemu-img compare ended with {code:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

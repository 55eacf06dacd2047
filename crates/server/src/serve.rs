//! `hikae serve`: takes the data directory, opens everything, serves until asked to stop.
//!
//! # Crash consistency
//! Nothing is done at the end that the next start needs: `kill -9` at any moment is a stop.
//!
//! # Cancellation
//! SIGINT and SIGTERM stop it: answers under way end, jobs under way are taken up again by the next start.

mod config;
pub(crate) mod data_dir;
mod dispatch;
mod http;
mod operations;
mod reconcile;
mod services;
mod sites;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use access::Access;
use anyhow::Context as _;
use backup::{Backup, BackupParts};
use blocks::{Blocks, BlocksParts, Drive, Region};
use catalog::Catalog;
use jiff::tz::TimeZone;
use model::{Clock, Entropy, RegionId};
use seal::{FileSealer, Sealer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use workflow::NoCrash;

use crate::args::ServeArgs;
use crate::cli::client::DATA_DEFAULT;
use crate::edge::{RealClock, RealEntropy};
use config::Config;
use data_dir::DataDir;
use services::{NamedRegion, Regions, Services};
use sites::Tools;

/// Runs the server to its end.
pub(crate) fn run(data: Option<PathBuf>, arguments: &ServeArgs) -> ExitCode {
    start_logging();
    let data = data.unwrap_or_else(|| PathBuf::from(DATA_DEFAULT));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("hikae: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(serve(&data, arguments));
    // Steps that do not listen are left behind: the next start takes them up.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hikae: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging() {
    let filter = EnvFilter::try_from_env("HIKAE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
}

async fn serve(path: &Path, arguments: &ServeArgs) -> anyhow::Result<()> {
    let data = DataDir::take(path)?;
    let config = Config::load(arguments.config.as_deref(), data.path())?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("listen on {}", arguments.listen))?;
    let stopping = CancellationToken::new();
    stop_on_signals(&stopping)?;
    let services = Arc::new(open(&config, &data, arguments.simulate, &stopping).await?);
    first_start(&services.access, &data).await?;
    let resumed = services.blocks.resume().await? + services.backup.resume().await?;
    if resumed > 0 {
        info!(resumed, "took up what the last server left");
    }
    let mut rounds = reconcile::start(&services.blocks, &services.backup, &stopping);
    announce(&listener, &data, arguments)?;
    http::serve(listener, Arc::clone(&services), stopping).await;
    while rounds.join_next().await.is_some() {}
    info!("stopped; jobs under way are taken up again by the next start");
    Ok(())
}

async fn open(
    config: &Config,
    data: &DataDir,
    simulate: Option<u32>,
    stopping: &CancellationToken,
) -> anyhow::Result<Services> {
    let entropy: Arc<dyn Entropy> = Arc::new(RealEntropy);
    let clock: Arc<dyn Clock> = Arc::new(RealClock);
    let sealer: Arc<dyn Sealer> =
        Arc::new(FileSealer::open_or_create(&data.path().join("root.key"), Arc::clone(&entropy))?);
    let catalog = Catalog::open(&config.catalog.0).await.context("open the catalog")?;
    let tools =
        Tools { sealer: Arc::clone(&sealer), entropy: Arc::clone(&entropy), clock: Arc::clone(&clock) };
    let mut regions: Vec<Region> = Vec::new();
    for region in &config.regions {
        regions.push(sites::open(region, &tools, data.path(), simulate).await?);
    }
    let blocks = Blocks::new(BlocksParts {
        catalog: catalog.clone(),
        regions,
        clock: Arc::clone(&clock),
        crash: Arc::new(NoCrash),
        drive: Drive::Background,
        stopping: stopping.clone(),
    });
    let backup = Backup::new(BackupParts {
        catalog: catalog.clone(),
        blocks: blocks.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        crash: Arc::new(NoCrash),
        drive: Drive::Background,
        time_zones: time_zones(config),
        stopping: stopping.clone(),
    });
    let access = Access::open(catalog, sealer, Arc::clone(&entropy));
    Ok(Services { access, backup, blocks, regions: named(config), clock, entropy })
}

fn time_zones(config: &Config) -> BTreeMap<RegionId, TimeZone> {
    config.regions.iter().map(|region| (region.id.clone(), region.time_zone.clone())).collect()
}

fn named(config: &Config) -> Regions {
    let named = config
        .regions
        .iter()
        .map(|region| NamedRegion { id: region.id.clone(), local_name: region.local_name.clone() });
    Regions::new(named.collect(), &config.default_region)
}

/// Makes the root access key, once. It is in its file before it is in force, and in force before it is
/// printed: a crash in between leaves no key that somebody trusts and nobody has, or the reverse.
async fn first_start(access: &Access, data: &DataDir) -> anyhow::Result<()> {
    if access.has_root_key().await? {
        return Ok(());
    }
    let key = access.draw_root_key(RealClock.now()).await?;
    let file = data.write_root_access_key(&key.id.to_string(), &key.secret)?;
    access.keep(&key).await?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "First start: made the root access key. It is shown this once, and kept in {}.",
        file.display()
    )?;
    writeln!(out, "  access key id      {}", key.id)?;
    writeln!(out, "  access key secret  {}", *key.secret)?;
    Ok(())
}

fn announce(listener: &TcpListener, data: &DataDir, arguments: &ServeArgs) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    data.write_endpoint(&format!("http://{address}"))?;
    let mut out = std::io::stdout();
    if let Some(count) = arguments.simulate {
        writeln!(out, "SIMULATION: {count} made-up instances a host, no real machine is backed up.")?;
    }
    writeln!(out, "Hikae {} listening on http://{address}", env!("CARGO_PKG_VERSION"))?;
    out.flush()?;
    info!(%address, data = %data.path().display(), "serving");
    if !address.ip().is_loopback() {
        warn!(%address, "requests are signed, not encrypted: put TLS in front of it");
    }
    Ok(())
}

fn stop_on_signals(stopping: &CancellationToken) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopping = stopping.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        info!("stopping; once more stops at once");
        stopping.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}

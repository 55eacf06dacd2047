//! The regions a server serves: each with its depot opened and its hosts at hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use blocks::Region;
use depot::{Depot, Settings};
use host::Host;
use host::sim::SimHost;
use host_libvirt::{LibvirtHost, LibvirtOptions};
use keys::RegionKeys;
use model::{Clock, Entropy, HostId, RegionId, ZoneId};
use seal::Sealer;
use tracing::{info, warn};

use super::config::{HostConfig, RegionConfig};
use super::data_dir::KNOWN_FOLDER;

/// The same made-up instances at every start.
const SIMULATION_SEED: u64 = 0x0068_696b_6165;

/// Made-up guests write a little, so that there is something to back up.
const GUESTS_WRITE_EVERY: Duration = Duration::from_secs(1);
const SCRATCH_BASE: &str = "/var/lib/hikae/scratch";
/// Sockets lie there, and their paths may not be long.
const SCRATCH_NAME_CHARS: usize = 10;

/// What opening a region takes.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Opens a region's depot, making it at the first start, and names its hosts.
pub(crate) async fn open(
    config: &RegionConfig,
    tools: &Tools,
    data: &Path,
    simulate: Option<u32>,
) -> anyhow::Result<Region> {
    let id = &config.id;
    let depot = depot(config, data, tools).await.with_context(|| format!("open the depot of region {id}"))?;
    let mut hosts: Vec<Arc<dyn Host>> = Vec::new();
    for host in &config.hosts {
        hosts.push(match simulate {
            Some(count) => simulated(id, host, count),
            None => libvirt(id, host, data).await?,
        });
    }
    let zone = config.hosts.first().map_or_else(|| ZoneId(format!("{id}-a")), |host| host.zone.clone());
    Ok(Region { id: id.clone(), zone, depot, hosts })
}

async fn depot(config: &RegionConfig, data: &Path, tools: &Tools) -> anyhow::Result<Arc<Depot>> {
    let store = store::open(&config.depot).await?;
    let mut fresh = [0; 16];
    tools.entropy.fill(&mut fresh);
    let probe = store::probe(&*store, u128::from_le_bytes(fresh)).await.context("try the store out")?;
    if !probe.is_sound() {
        bail!("{} does not keep what a depot relies on ({probe:?}): choose another store", config.depot);
    }
    let keys = RegionKeys::new(config.id.clone(), Arc::clone(&tools.sealer), Arc::clone(&tools.entropy));
    let (entropy, clock) = (Arc::clone(&tools.entropy), Arc::clone(&tools.clock));
    let settings = Settings { known_folder: Some(data.join(KNOWN_FOLDER)), ..Settings::default() };
    let depot = Depot::open_or_init(store, Arc::new(keys), entropy, clock, settings).await?;
    info!(region = %config.id, depot = %depot.id(), at = %config.depot, "depot open");
    Ok(depot)
}

fn simulated(region: &RegionId, host: &HostConfig, count: u32) -> Arc<dyn Host> {
    let id = host_id(region, &format!("simulated {}", host.uri));
    warn!(%region, host = %id, count, "SIMULATED instances: there are no such machines");
    let host = SimHost::demo(region, &host.zone, id, count, SIMULATION_SEED);
    let guests = host.clone();
    tokio::spawn(async move {
        let mut seconds = tokio::time::interval(GUESTS_WRITE_EVERY);
        loop {
            seconds.tick().await;
            guests.tick();
        }
    });
    Arc::new(host)
}

async fn libvirt(region: &RegionId, host: &HostConfig, data: &Path) -> anyhow::Result<Arc<dyn Host>> {
    let mut options =
        LibvirtOptions::new(&host.uri, region.clone(), host.zone.clone(), host_id(region, &host.uri));
    options.scratch_dir = Some(host.scratch.clone().unwrap_or_else(|| scratch(data, region, &host.uri)));
    options.images_dir = host.images.clone();
    let opened = LibvirtHost::connect(options)?;
    // Looked at now so that the log says at once what will not work; it is looked at again all the time.
    match opened.list().await {
        Ok(instances) => info!(%region, uri = host.uri, instances = instances.len(), "host"),
        Err(error) => {
            warn!(%region, uri = host.uri, %error, "host cannot be used now; trying again all the time")
        }
    }
    Ok(opened)
}

/// A place of this server and host alone, which the emulators may enter: they run as another user
/// under the system's libvirt, and our data directory is closed to others.
fn scratch(data: &Path, region: &RegionId, uri: &str) -> PathBuf {
    let of_ours = host_id(region, &format!("{} {uri}", data.display())).to_string();
    let name: String = of_ours.chars().skip(of_ours.len() - SCRATCH_NAME_CHARS).collect();
    let base =
        if uri.ends_with("/system") { Path::new(SCRATCH_BASE).to_owned() } else { data.join("scratch") };
    base.join(name)
}

/// The same host has the same id after a restart and after a rebuild.
fn host_id(region: &RegionId, uri: &str) -> HostId {
    let mut hasher = blake3::Hasher::new_derive_key("hikae 2026 host id");
    hasher.update(&(region.0.len() as u64).to_le_bytes()).update(region.0.as_bytes()).update(uri.as_bytes());
    let mut bits = [0; 16];
    hasher.finalize_xof().fill(&mut bits);
    HostId::from_bits(u128::from_le_bytes(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_id_depends_on_region_and_address_alone() {
        let id = |region: &str, uri: &str| host_id(&region.into(), uri);
        assert_eq!(id("tokyo", "qemu:///system"), id("tokyo", "qemu:///system"));
        assert_ne!(id("tokyo", "qemu:///system"), id("osaka", "qemu:///system"));
        assert_ne!(id("ab", "c"), id("a", "bc"));
        let scratch = |data: &str, uri: &str| scratch(Path::new(data), &"tokyo".into(), uri);
        assert_ne!(scratch("/a", "qemu:///system"), scratch("/b", "qemu:///system"));
        assert!(scratch("/a", "qemu:///session").starts_with("/a/scratch"));
    }
}

//! The demo guests: small real machines whose two disks tell whether a copy of them is of one instant.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::janitor::{Duty, Janitor};
use crate::libvirtd::{URI, virsh};
use crate::setup;
use crate::sh::{self, command, quiet, say, text, timed, wait_for};

mod agent;
mod disks;
mod domain;
mod initramfs;
mod report;

pub(crate) use agent::{Numbers, run_in};
pub(crate) use report::{Boot, Pulse};

/// Every domain we make begins so, and we touch no other.
pub(crate) const PREFIX: &str = "hikae-demo-";

/// A guest under TCG on a busy machine takes its time.
const BOOT_AT_MOST: Duration = Duration::from_secs(120);

/// What all demo guests boot from.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
}

/// Kernel and initramfs, made from Debian's packages and our witness.
pub(crate) fn image() -> Result<Image> {
    let home = sh::target().join("demo/image");
    let packages = home.join("packages");
    std::fs::create_dir_all(&packages).context("make a directory for the guest's parts")?;
    timed("guest image", || {
        let kernel = setup::unpack("linux-image-cloud-amd64", Some("linux-image-"), &packages)?;
        let agent = setup::unpack("qemu-guest-agent", None, &packages)?;
        let witness = witness()?;
        let initramfs = initramfs::make(&home, &kernel, &agent, &witness)?;
        Ok(Image { kernel: initramfs::kernel(&kernel)?, initramfs })
    })
}

/// The witness, linked statically: the guest has no libraries to speak of.
fn witness() -> Result<PathBuf> {
    const TRIPLE: &str = "x86_64-unknown-linux-gnu";
    let build = sh::target().join("guest");
    let mut cargo = command("cargo", &["build", "--quiet", "--release", "-p", "hikae-guest"]);
    cargo.args(["--target", TRIPLE, "--target-dir", text(&build)?]);
    quiet(cargo.env("RUSTFLAGS", "-C target-feature=+crt-static")).context("build the witness")?;
    Ok(build.join(TRIPLE).join("release/hikae-guest"))
}

/// One guest, defined or about to be.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) name: String,
}

impl Guest {
    /// Makes its disks anew and defines it, stopped. `fill` is noise on its data disk, as "64M".
    pub(crate) fn make(
        image: &Image,
        janitor: &Janitor,
        home: &Path,
        which: &str,
        fill: &str,
    ) -> Result<Self> {
        let name = format!("{PREFIX}{which}");
        if virsh(&["dominfo", &name]).is_ok() {
            bail!(
                "a domain {name} is there already: another demo runs, or one was cut off; remove it with virsh"
            );
        }
        let place = home.join(which);
        std::fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
        let [system, data] = disks::make(&place)?;
        let xml = domain::xml(&domain::Parts {
            name: &name,
            kernel: text(&image.kernel)?,
            initramfs: text(&image.initramfs)?,
            system: text(&system)?,
            data: text(&data)?,
            console: text(&place.join("console.log"))?,
            fill,
        });
        let file = place.join("domain.xml");
        std::fs::write(&file, xml)?;
        janitor.must(&Duty::Domain { uri: URI.into(), name: name.clone() })?;
        virsh(&["define", text(&file)?]).with_context(|| format!("define {name}"))?;
        Ok(Self { name })
    }

    /// A domain that somebody else defined, as a clone is.
    pub(crate) fn known(name: &str) -> Result<Self> {
        if !name.starts_with(PREFIX) {
            bail!("{name} is none of the demo's domains");
        }
        Ok(Self { name: name.to_owned() })
    }

    pub(crate) fn start(&self) -> Result<()> {
        virsh(&["start", &self.name]).map(drop)
    }

    /// As if the plug were pulled.
    pub(crate) fn destroy(&self) -> Result<()> {
        virsh(&["destroy", &self.name]).map(drop)
    }

    pub(crate) fn state(&self) -> Result<String> {
        Ok(virsh(&["domstate", &self.name])?.trim().to_owned())
    }

    pub(crate) fn uuid(&self) -> Result<String> {
        Ok(virsh(&["domuuid", &self.name])?.trim().to_owned())
    }

    pub(crate) fn mac_and_disks(&self) -> Result<(Vec<String>, Vec<String>)> {
        let xml = virsh(&["dumpxml", "--inactive", &self.name])?;
        Ok((domain::values(&xml, "mac address"), domain::values(&xml, "source file")))
    }

    /// Everything its serial console ever said.
    pub(crate) fn console(&self) -> Result<String> {
        let xml = virsh(&["dumpxml", &self.name])?;
        let path = domain::console(&xml).with_context(|| format!("{} has no console file", self.name))?;
        let bytes = std::fs::read(&path).unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How much of the console there is to skip, to look only at what comes from now on.
    pub(crate) fn mark(&self) -> Result<usize> {
        Ok(self.console()?.len())
    }

    /// Waits until it has booted and its witness writes; `from` is a [`Guest::mark`] made before the start.
    pub(crate) fn booted(&self, from: usize) -> Result<Boot> {
        wait_for(&format!("{} boots", self.name), BOOT_AT_MOST, || {
            let console = self.console()?;
            let said = console.get(from..).unwrap_or(&console);
            if let Some(why) = report::failure(said) {
                bail!("{} failed to boot: {why}", self.name);
            }
            Ok(report::boot(said))
        })
    }

    /// Waits until the guest agent answers.
    pub(crate) fn agent_ready(&self) -> Result<()> {
        wait_for(&format!("the agent of {} answers", self.name), BOOT_AT_MOST, || {
            Ok(agent::ping(&self.name).then_some(()))
        })
    }

    /// The numbers on its disks at this moment, asked of the guest itself.
    pub(crate) fn numbers(&self) -> Result<Numbers> {
        agent::numbers(&self.name)
    }

    /// What the witness reported since `from`: how often, and the longest it was held up.
    pub(crate) fn pulses(&self, from: usize) -> Result<Vec<Pulse>> {
        let console = self.console()?;
        Ok(report::pulses(console.get(from..).unwrap_or_default()))
    }
}

/// Boots a guest, sees its numbers move, pulls the plug, boots again: for trying the guest alone.
pub(crate) fn try_out(janitor: &Janitor) -> Result<()> {
    setup::hypervisor()?;
    let home = setup::scratch(janitor, &sh::target().join("demo"), "try")?;
    crate::libvirtd::ensure(janitor, &home)?;
    let guest = Guest::make(&image()?, janitor, &home, "try", "16M")?;
    let mut before = 0;
    for round in 1..=3 {
        let from = guest.mark()?;
        timed(&format!("boot {round}"), || guest.start().and_then(|()| guest.booted(from).map(drop)))?;
        let boot = guest.booted(from)?;
        say(format!("{boot:?}"));
        if !boot.clean() || !boot.found.of_one_instant() || boot.found.a < before {
            bail!("boot {round}: not what was written before: {boot:?}, at least {before} expected");
        }
        timed("agent", || guest.agent_ready())?;
        std::thread::sleep(Duration::from_secs(3));
        before = guest.numbers()?.b;
        say(format!("numbers now {:?}, pulses {:?}", guest.numbers()?, guest.pulses(from)?));
        guest.destroy()?;
    }
    Ok(())
}

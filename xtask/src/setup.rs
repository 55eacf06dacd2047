//! Makes a fresh Debian machine ready: packages, tools, servers. Fast when everything is there already.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::janitor::Janitor;
use crate::sh::{self, timed};

mod packages;
mod postgres;
mod python;
mod s3;

pub(crate) use packages::unpack;
pub(crate) use postgres::{as_postgres, programs as postgres_programs};
pub(crate) use python::{install_sdks, python};

/// What the tests find in their environment.
#[derive(Debug, Default)]
pub(crate) struct TestEnvironment(pub(crate) Vec<(&'static str, String)>);

/// Packages for machines with guests.
pub(crate) fn hypervisor() -> Result<()> {
    timed("packages for guests", || {
        packages::install(&[
            "qemu-system-x86",
            "qemu-utils",
            "libvirt-daemon",
            "libvirt-daemon-driver-qemu",
            "libvirt-clients",
            "busybox-static",
            "e2fsprogs",
            "cpio",
            "python3",
            "python3-venv",
        ])?;
        packages::guests_user()
    })
}

/// What building the fuzz targets takes beside cargo.
pub(crate) fn packages_for_fuzzing() -> Result<()> {
    packages::install(&["g++"])
}

/// Installs everything that tests and demo need, and starts nothing.
pub(crate) fn install() -> Result<()> {
    hypervisor()?;
    timed("packages for tests", || packages::install(&["nbdkit", "libnbd-bin", "postgresql"]))?;
    timed("official SDKs", install_sdks)?;
    timed("S3 server", s3::install)
}

/// What the benchmark needs beyond Rust: the peers it measures, and what its images are made with.
pub(crate) fn for_bench() -> Result<()> {
    timed("packages for the benchmark", || {
        packages::install(&[
            "borgbackup",
            "casync",
            "e2fsprogs",
            "postgresql",
            "qemu-utils",
            "restic",
            "time",
        ])
    })
}

/// Everything the tests need, started where it must run.
pub(crate) fn for_tests(janitor: &Janitor) -> Result<TestEnvironment> {
    install()?;
    let run = sh::target().join("test-run");
    std::fs::create_dir_all(&run).context("make a directory for the servers")?;

    let mut environment = TestEnvironment::default();
    let TestEnvironment(variables) = &mut environment;
    variables.push(timed("start PostgreSQL", || postgres::start(janitor))?);
    variables.push(timed("start the S3 server", || s3::start(janitor, &run))?);
    variables.push(("HIKAE_TEST_PYTHON", sh::text(&python())?.to_owned()));
    Ok(environment)
}

/// A directory of this run alone, gone when the run ends.
pub(crate) fn scratch(janitor: &Janitor, parent: &Path, name: &str) -> Result<PathBuf> {
    let path = parent.join(format!("{name}-{}", std::process::id()));
    janitor.must(&crate::janitor::Duty::Path(sh::text(&path)?.to_owned()))?;
    std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    Ok(path)
}

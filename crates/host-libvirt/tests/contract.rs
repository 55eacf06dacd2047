//! The host's contract, kept by a real libvirt with real QEMU machines.
#![allow(clippy::unwrap_used)]

mod common;

use futures::future::join_all;
use host::contract;

/// Two cores, and mostly waiting for QEMU.
const LANES: usize = 3;

#[tokio::test]
async fn the_libvirt_host_keeps_its_contract() {
    // A scratch directory is one process's: a host opened again ends the servers it finds there. So each
    // lane has its own. (Not each case: the embedded driver takes few connections in a process's life.)
    let names: Vec<_> = contract::names().collect();
    let lanes = (0..LANES).map(|lane| {
        let names = names.iter().copied().skip(lane).step_by(LANES);
        async move {
            let fixture = common::Libvirt::new(&format!("lane{lane}")).await;
            let mut broken = Vec::new();
            for name in names {
                broken.extend(kept(&fixture, name).await.err());
            }
            broken
        }
    });
    let broken = join_all(lanes).await.concat();
    assert!(broken.is_empty(), "{}", contract::Violations(broken));
}

async fn kept(fixture: &common::Libvirt, name: &'static str) -> Result<(), contract::Violation> {
    let started = tokio::time::Instant::now();
    let kept = contract::one(fixture, name).await;
    match &kept {
        Ok(()) => eprintln!("{name}: {:?} kept", started.elapsed()),
        Err(broken) => eprintln!("{name}: {:?} BROKEN: {broken}", started.elapsed()),
    }
    kept
}

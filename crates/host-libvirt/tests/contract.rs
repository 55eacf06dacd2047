//! The host's contract, kept by a real libvirt with real QEMU machines.
#![allow(clippy::unwrap_used)]

mod common;

use futures::StreamExt;
use host::contract;

#[tokio::test]
async fn the_libvirt_host_keeps_its_contract() {
    let fixture = common::Libvirt::new("contract").await;
    let cases = futures::stream::iter(contract::names())
        .map(|name| {
            let fixture = &fixture;
            async move {
                let started = tokio::time::Instant::now();
                let kept = contract::one(fixture, name).await;
                eprintln!(
                    "{name}: {:?} {}",
                    started.elapsed(),
                    match &kept {
                        Ok(()) => "kept".to_owned(),
                        Err(broken) => format!("BROKEN: {broken}"),
                    }
                );
                kept.err()
            }
        })
        // Two cores, and mostly waiting for QEMU.
        .buffer_unordered(3);
    let broken: Vec<_> = cases.filter_map(|broken| async { broken }).collect().await;
    assert!(broken.is_empty(), "{}", contract::Violations(broken));
}

//! The contract suite on the simulated host, and on hosts with one flaw each that it must catch.

#![allow(clippy::unwrap_used)]

mod flawed;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use host::contract::{self, Fixture, FixtureDisk, FixtureKind};
use host::sim::{SimDisk, SimHost};
use host::{DiskTarget, Host, HostError};
use model::{DiskId, Entropy, Extent, HostId, InstanceId, OsKind, RegionId, ZoneId};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::flawed::{Flaw, Flawed};

struct Seeded(Mutex<ChaCha8Rng>);

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(bytes);
    }
}

struct SimFixture {
    host: SimHost,
    flaw: Option<Flaw>,
    entropy: Seeded,
}

impl SimFixture {
    fn new(flaw: Option<Flaw>) -> Self {
        let host = SimHost::new(&RegionId::from("tokyo"), &ZoneId::from("tokyo-a"), HostId::from_bits(1), 7);
        Self { host, flaw, entropy: Seeded(Mutex::new(ChaCha8Rng::seed_from_u64(7))) }
    }
}

#[async_trait]
impl Fixture for SimFixture {
    async fn host(&self) -> Result<Arc<dyn Host>, HostError> {
        match self.flaw {
            None => Ok(Arc::new(self.host.clone())),
            Some(flaw) => Ok(Arc::new(Flawed { inner: self.host.clone(), flaw })),
        }
    }

    async fn reopen(&self) -> Result<(), HostError> {
        if self.flaw == Some(Flaw::ForgetsSessionsOnRestart) {
            self.host.lose_sessions();
        }
        Ok(())
    }

    async fn instance(&self, disks: &[FixtureDisk]) -> Result<InstanceId, HostError> {
        let make = |disk: &FixtureDisk| match disk.kind {
            FixtureKind::Tracked => SimDisk::tracked(disk.size.0),
            FixtureKind::Whole => SimDisk::whole(disk.size.0),
            FixtureKind::Refused => SimDisk::refused(disk.size.0),
        };
        Ok(self.host.add("sim-contract", OsKind::Linux, &disks.iter().map(make).collect::<Vec<_>>()))
    }

    async fn fill(
        &self,
        instance: InstanceId,
        disk: DiskId,
        range: Extent,
        byte: u8,
    ) -> Result<(), HostError> {
        self.host.write(instance, disk, range.offset, &vec![byte; range.len.try_into().unwrap()])
    }

    async fn content(&self, instance: InstanceId, disk: DiskId) -> Result<Vec<u8>, HostError> {
        let len = self.host.find(instance).await?.disk(disk).unwrap().size.0;
        self.host.peek(instance, disk, Extent { offset: 0, len })
    }

    async fn crash(&self, instance: InstanceId) -> Result<(), HostError> {
        self.host.crash(instance)
    }

    async fn release(&self, instance: InstanceId) -> Result<(), HostError> {
        self.host.release(instance);
        Ok(())
    }

    async fn macs(&self, instance: InstanceId) -> Result<Vec<String>, HostError> {
        match self.flaw {
            Some(Flaw::ClonesMacs) => Ok(vec!["52:54:00:00:00:01".to_owned()]),
            _ => self.host.macs(instance),
        }
    }

    async fn left_on(&self, instance: InstanceId) -> Result<Vec<String>, HostError> {
        let left = self.host.leftovers();
        let here = |found: &InstanceId| *found == instance;
        let mut words = Vec::new();
        words.extend(
            left.sessions.iter().filter(|(on, _)| here(on)).map(|(_, group)| format!("session {group}")),
        );
        words.extend(
            left.checkpoints
                .iter()
                .filter(|(on, _)| here(on))
                .map(|(_, group)| format!("checkpoint {group}")),
        );
        words.extend(left.paused.iter().filter(|on| here(on)).map(|_| "paused".to_owned()));
        for disk in left.prepared {
            let (DiskTarget::Replacing { instance: on, .. }
            | DiskTarget::ForNew { instance: on, .. }
            | DiskTarget::ForInstance { instance: on, .. }) = disk.target();
            words.extend(here(on).then(|| format!("prepared {}", disk.handle())));
        }
        Ok(words)
    }

    fn entropy(&self) -> &dyn Entropy {
        &self.entropy
    }
}

#[tokio::test]
async fn the_simulated_host_keeps_the_contract() {
    if let Err(violations) = contract::all(&SimFixture::new(None)).await {
        panic!("{violations}");
    }
}

#[tokio::test]
async fn the_contract_catches_every_flaw() {
    let mut missed = Vec::new();
    for flaw in Flaw::ALL {
        for case in flaw.caught_by() {
            assert!(contract::names().any(|name| name == *case), "no case is called {case}");
            if contract::one(&SimFixture::new(Some(flaw)), case).await.is_ok() {
                missed.push((flaw, *case));
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[tokio::test]
async fn a_case_that_does_not_exist_is_not_passed() {
    assert!(contract::one(&SimFixture::new(None), "no_such_case").await.is_err());
}

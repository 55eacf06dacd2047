//! The simulation's own clock, chance and key service: all of it follows from the seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use keys::{KeyError, KeyWrap, WrappedKey};
use model::{Clock, Entropy, KeyId, Timestamp};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use seal::KeyMaterial;

/// Where every simulation begins: a Monday in 2026.
const BEGINNING: Timestamp = Timestamp::from_seconds(1_780_272_000);

/// Time that stands until it is moved on.
#[derive(Debug)]
pub struct Hands(AtomicI64);

impl Hands {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(BEGINNING.0))
    }

    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds.saturating_mul(1_000_000), Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Chance that can be drawn again.
#[derive(Debug)]
pub struct Dice(Mutex<ChaCha8Rng>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// A number below `bound`; zero of nothing.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.rng().next_u64() % bound }
    }

    pub fn one_in(&self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    /// One of these, if there are any.
    pub fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of.get(place)
    }

    pub fn next(&self) -> u64 {
        self.rng().next_u64()
    }

    fn rng(&self) -> MutexGuard<'_, ChaCha8Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entropy for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        self.rng().fill_bytes(bytes);
    }
}

/// A key service that is always there. It protects nothing: it only notices a wrong context.
#[derive(Debug)]
pub(crate) struct Pad;

fn pad(context: &str, bytes: &[u8]) -> Vec<u8> {
    let pad = blake3::derive_key("hikae 2026-11 simulated key service", context.as_bytes());
    bytes.iter().zip(pad).map(|(byte, pad)| byte ^ pad).collect()
}

#[async_trait]
impl KeyWrap for Pad {
    async fn wrap(&self, material: &KeyMaterial, context: &str) -> Result<WrappedKey, KeyError> {
        let mut bytes = pad(context, material.expose());
        bytes.extend_from_slice(&blake3::hash(material.expose()).as_bytes()[..8]);
        Ok(WrappedKey { key: KeyId::from_bits(9), bytes })
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &str) -> Result<KeyMaterial, KeyError> {
        let (body, sum) = wrapped.bytes.split_at_checked(32).ok_or(KeyError::Refused)?;
        let bytes: [u8; 32] = pad(context, body).try_into().map_err(|_| KeyError::Refused)?;
        if blake3::hash(&bytes).as_bytes()[..8] != *sum {
            return Err(KeyError::Refused);
        }
        Ok(KeyMaterial::from_bytes(bytes))
    }
}

//! What pure code may not reach for by itself: the time, and chance.

use crate::{Id, Timestamp};

/// The time now. The edge brings the real one, the simulation its own.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// Bytes nobody can foresee; in the simulation, bytes of a seed.
pub trait Entropy: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

/// Draws a new id.
pub fn draw<K: crate::Kind>(entropy: &dyn Entropy) -> Id<K> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    Id::from_bits(u128::from_le_bytes(bytes))
}

//! Stable ids for what a host shows.

use model::{DiskId, Id, InstanceId, Kind, RegionId};

use crate::Uuid;

/// The id of the instance with this UUID in this region: the same after every restart.
pub fn instance_id(region: &RegionId, uuid: Uuid) -> InstanceId {
    derive("hikae 2026-11 instance id", &[region.0.as_bytes(), &uuid])
}

/// The id of a disk, by its instance and its source. A new source is a new disk, whatever the
/// guest calls it.
pub fn disk_id(instance: InstanceId, source: &str) -> DiskId {
    derive("hikae 2026-11 disk id", &[&instance.bits().to_le_bytes(), source.as_bytes()])
}

fn derive<K: Kind>(context: &str, parts: &[&[u8]]) -> Id<K> {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bits = [0; 16];
    bits.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Id::from_bits(u128::from_le_bytes(bits))
}

//! The instances that `--simulate` shows.

use model::{ByteCount, HostId, InstanceId, OsKind, RegionId, ZoneId};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use super::world::World;
use super::{SimDisk, SimHost};
use crate::HostError;

const ROLES: [&str; 6] = ["web", "database", "mail", "build", "cache", "files"];
/// Content begins here; before it lie partition table and sequence numbers.
const CONTENT_OFFSET: u64 = 1 << 20;
/// Written to every system disk alike, as if all came from one image.
const COMMON_BYTES: usize = 4 << 20;
/// Written to every disk besides, different on each.
const OWN_BYTES: usize = 256 << 10;

impl SimHost {
    /// A host with `count` running instances, each with a system and a data disk.
    pub fn demo(region: &RegionId, zone: &ZoneId, id: HostId, count: u32, seed: u64) -> Self {
        let host = Self::new(region, zone, id, seed);
        let common =
            content(&mut ChaCha8Rng::seed_from_u64(0), COMMON_BYTES, "simulated operating system file");
        for number in 0..count {
            let role = ROLES[number as usize % ROLES.len()];
            let os = if number % 5 == 4 { OsKind::Windows } else { OsKind::Linux };
            let data_gib = 1_u64 << (4 + number % 4);
            let disks = [SimDisk::tracked(20 * ByteCount::GIB), SimDisk::tracked(data_gib * ByteCount::GIB)];
            let instance = host.add(&format!("sim-{role}-{:02}", number + 1), os, &disks);
            let filled = fill(&mut host.world(), instance, &common, role);
            debug_assert!(filled.is_ok(), "content fits a disk of its own size");
        }
        host
    }
}

fn fill(world: &mut World, instance: InstanceId, common: &[u8], role: &str) -> Result<(), HostError> {
    let disks: Vec<_> = world.machine(instance)?.drives.iter().map(|drive| drive.id).collect();
    if let Some(system) = disks.first() {
        world.put(instance, *system, CONTENT_OFFSET, common)?;
    }
    for disk in disks {
        let own = content(&mut world.chance, OWN_BYTES, role);
        // Far behind the rest: most of a young disk is a hole.
        world.put(instance, disk, 256 << 20, &own)?;
    }
    Ok(())
}

/// Half text, half noise, a block at a time: it compresses about as a file system does.
fn content(chance: &mut ChaCha8Rng, len: usize, word: &str) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for (number, block) in bytes.chunks_mut(4096).enumerate() {
        if chance.next_u32().is_multiple_of(2) {
            chance.fill_bytes(block);
            continue;
        }
        let line = format!("{word}, block {number}\n");
        for (slot, byte) in block.iter_mut().zip(line.bytes().cycle()) {
            *slot = byte;
        }
    }
    bytes
}

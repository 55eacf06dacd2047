//! The guests inside simulated instances: what they write, and how to tell from two images whether
//! both are of one instant.
//!
//! Like the demo's guest, each writes the next number to its first disk, then the same number to its
//! second, and so on. Its only memory is its disks, so it goes on correctly from any consistent point.

use model::{DiskId, Extent, InstanceId};
use rand_core::RngCore;

use super::SimHost;
use super::world::World;
use crate::HostError;

/// Where on each of its disks a guest keeps its number.
pub const SEQUENCE_OFFSET: u64 = 64 << 10;
/// Where a ticking guest scribbles: bounded, so that a server may tick for weeks.
const SCRIBBLE_OFFSET: u64 = 512 << 20;
const SCRIBBLE_BLOCKS: u64 = 1024;
const SCRIBBLE_BLOCK: usize = 4096;

impl SimHost {
    /// A running guest writes to one of its disks.
    pub fn write(
        &self,
        instance: InstanceId,
        disk: DiskId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        self.world().guest_write(instance, disk, offset, bytes)
    }

    /// The guest writes its next number to the disk whose turn it is.
    pub fn guest_step(&self, instance: InstanceId) -> Result<(), HostError> {
        step(&mut self.world(), instance)
    }

    /// The numbers on all the instance's disks now.
    pub fn sequences(&self, instance: InstanceId) -> Result<Vec<u64>, HostError> {
        sequences(&self.world(), instance)
    }

    /// A second in the life of every running guest: two numbers and a few blocks each.
    pub fn tick(&self) {
        let mut world = self.world();
        let running = world.machines.values().filter(|machine| machine.running && !machine.paused);
        for instance in running.map(|machine| machine.id).collect::<Vec<_>>() {
            // Disks too small for the numbers, or for scribbling, are left alone.
            let _ = step(&mut world, instance);
            let _ = step(&mut world, instance);
            let _ = scribble(&mut world, instance);
        }
    }
}

/// The number in an image, from the bytes at [`SEQUENCE_OFFSET`].
pub fn sequence_in(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    let len = bytes.len().min(8);
    number[..len].copy_from_slice(&bytes[..len]);
    u64::from_le_bytes(number)
}

/// Whether the numbers of a guest's disks, in order, can be of one instant.
pub fn sequences_agree(numbers: &[u64]) -> bool {
    match numbers {
        [] | [_] => true,
        // Only the first two disks take part.
        [first, second, ..] => *first == *second || *first == *second + 1,
    }
}

fn step(world: &mut World, instance: InstanceId) -> Result<(), HostError> {
    let numbers = sequences(world, instance)?;
    let drives = &world.machine(instance)?.drives;
    let (place, number) = match numbers.as_slice() {
        [] => return Ok(()),
        [only] => (0, only + 1),
        [first, second, ..] if first == second => (0, first + 1),
        [first, ..] => (1, *first),
    };
    let disk = drives[place].id;
    world.guest_write(instance, disk, SEQUENCE_OFFSET, &number.to_le_bytes())
}

fn sequences(world: &World, instance: InstanceId) -> Result<Vec<u64>, HostError> {
    let drives = world.machine(instance)?.drives.iter();
    drives
        .map(|drive| Ok(sequence_in(&drive.image.read(Extent { offset: SEQUENCE_OFFSET, len: 8 })?)))
        .collect()
}

fn scribble(world: &mut World, instance: InstanceId) -> Result<(), HostError> {
    let Some(disk) = world.machine(instance)?.drives.last().map(|drive| drive.id) else { return Ok(()) };
    for _ in 0..8 {
        let mut block = [0; SCRIBBLE_BLOCK];
        world.chance.fill_bytes(&mut block[..512]);
        let place = world.chance.next_u64() % SCRIBBLE_BLOCKS;
        world.guest_write(instance, disk, SCRIBBLE_OFFSET + place * SCRIBBLE_BLOCK as u64, &block)?;
    }
    Ok(())
}

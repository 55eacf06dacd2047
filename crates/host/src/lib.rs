//! Seam to a hypervisor, in our nouns.
//!
//! [`Host`] is what the block service needs of a virtualization host and nothing more. XML, NBD
//! sockets and domain names stay in the adaptors. `contract` is the one suite that the simulated
//! host and the real one both pass.

pub mod contract;
mod error;
mod faults;
mod identity;
mod seam;
pub mod sim;

pub use error::HostError;
pub use identity::{disk_id, instance_id};
pub use model::InstanceSpec;
pub use seam::{
    DiskExtent, DiskReader, DiskTarget, DiskWriter, Fate, Host, Mark, MarkDisk, Marked, MarkedDisk,
    NewInstance, PreparedDisk, Stop, Tracking, Uuid,
};

//! The block service: instances, disks, snapshots, groups, and what can be made of them.
//!
//! It owns the hosts and the depots and knows nothing of policies, points or retention. Whoever
//! wants something long done draws the ids, asks for it here, and asks again by [`model::TaskId`].
//!
//! Where to start: `workflows/snapshot_group.rs`, whose table is the heart of the product.

mod operations;
mod reconcilers;
mod service;
mod workflows;

pub use operations::{CreateDisk, CreateGroup, CreateInstance, ResetDisk, ResetDisks};
pub use reconcilers::{CollectGarbage, Report, SettleGroups, WatchHosts};
pub use service::{Blocks, BlocksParts, Drive, Region};
pub use workflows::WORKFLOWS;

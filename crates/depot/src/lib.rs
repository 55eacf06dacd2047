//! Snapshots in one bucket: write, read, verify, restore, delete, collect garbage.
//!
//! # Consistency
//! A group exists if and only if its manifest does; `seal_group` puts it, after every pack it
//! needs, and that is the commit point. A tree never changes and needs no other tree. What is read is
//! checked by seal and by name before it is handed out.
//!
//! # Crash consistency
//! Before the manifest: packs nobody names, which collection takes away. After it: nothing is left to
//! do. A crash between two steps of the start leaves a header without key slot, which the next start
//! completes.
//!
//! # Concurrency
//! Any number of writers, readers and collectors, in any number of processes, without locks:
//! `gc.rs` has the table of pairs.
//!
//! # Errors
//! [`DepotError`] says what to do. `seal_group` that failed with a transient error may have
//! happened: seal again until it answers.
//!
//! # Cancellation
//! A dropped or cancelled call stops; uploads under way may still land, as garbage. A dropped
//! `seal_group` may have happened.
//!
//! # Limits
//! [`Settings`] bounds reads, frames, uploads and caches; a write of a disk of any size takes the
//! same memory. Objects are bounded by `format`.

mod cipher;
mod copy;
mod depot;
mod diff;
mod error;
mod frames;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod gc;
mod group;
mod known;
mod objects;
mod packer;
mod plan;
mod reach;
mod read;
mod rebuild;
mod restore;
mod seal;
mod settings;
mod stats;
mod verify;
mod walk;
mod weave;
mod work;
mod write;

pub use copy::{CopiedDisk, CopiedGroup, Copier, CopyBase, CopyDisk, CopyError};
pub use depot::Depot;
pub use diff::Differing;
pub use error::DepotError;
pub use format::{BaseSnapshot, DiskManifest, Geometry, GroupManifest, Origin, TreeRef};
pub use gc::{GcPlan, GcReport, Margins, PackFate};
pub use group::FoundGroup;
pub use rebuild::{PassedOver, RebuiltKnown};
pub use restore::{RestoreDisk, RestoredDisk};
pub use settings::Settings;
pub use stats::DepotStats;
pub use verify::{Depth, Finding, Hurt, Note, Verified, VerifyReport, VerifyStage, Verifying};
pub use write::{Moved, Progressing, WriteDisk, WrittenDisk};

//! Seam to the bucket: immutable objects under names of their own, over the `object_store` crate.
//!
//! # Consistency
//! A completed write is seen by every read and listing that begins after it. An object is seen whole
//! or not at all, and never changes. Nothing overwrites: who creates a name first has won.
//!
//! # Crash consistency
//! When `put_new` has answered `Created` or `Existed`, the object survives a power cut. A directory
//! may keep a half-written temporary file of a crashed writer; no listing shows it and it is never
//! read. A delete may come undone by a power cut, so deleting again must be fine, and is.
//!
//! # Concurrency
//! All calls may run at once, from any number of processes. Two creations of one name: exactly one
//! answers `Created`, as far as [`probe`] found the store to honour create-only.
//!
//! # Errors
//! [`StoreError::Unknown`] leaves open whether the write happened: ask again. A write repeated inside
//! after a lost answer may find its own object, so after `Existed` the caller compares contents.
//!
//! # Cancellation
//! A dropped call may still take effect, whole.
//!
//! # Limits
//! Objects up to [`OBJECT_BYTES_MAX`], listings up to [`LIST_MAX`] names a call, requests bounded in
//! time and tries (`config.rs`). No queue is kept here.

mod bucket;
mod classify;
mod config;
pub mod contract;
mod counting;
mod directory;
mod error;
mod faulty;
mod key;
mod probe;
mod seam;

pub use bucket::memory;
pub use config::{ConfigError, Credentials, Secret, StoreConfig, open};
pub use counting::{Counting, Tally};
pub use error::StoreError;
pub use faulty::{Fault, Faulty, Script};
pub use key::{Doomed, KeyError, ObjectKey};
pub use probe::{Probe, probe};
pub use seam::{LIST_MAX, Listed, OBJECT_BYTES_MAX, Operation, Put, Store};

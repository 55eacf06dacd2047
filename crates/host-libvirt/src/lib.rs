//! The libvirt host: the only crate that knows libvirt, its XML and its checkpoints.
//!
//! An instance is a domain, known by its UUID. A mark of a running instance is one pull-mode backup job
//! with one checkpoint over all its disks; of a stopped one, its images served read-only. Disks are
//! made, written and swapped in as files beside the old ones. libvirt's library is opened at run time.

mod checkpoint;
mod disks;
mod domain;
mod failure;
mod ffi;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod host;
mod image;
mod instances;
mod link;
mod reader;
mod running;
mod server;
mod session;
mod spec;
mod stopped;
#[doc(hidden)]
pub mod testing;
mod xml;

pub use crate::host::{LibvirtHost, LibvirtOptions};

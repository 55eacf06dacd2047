//! The orchestrator: policies, bindings, jobs, points, restores.
//!
//! It reaches disks and snapshots only through the public operations of `blocks`; it names no
//! depot and no host. What it decides, `policy` decides for it.
//!
//! Where to start: `workflows/back_up.rs`.

mod operations;
mod reconcilers;
mod service;
mod workflows;

pub use operations::{NewBackup, NewBinding, NewPolicy, NewRestore, NewRestoreKind};
pub use reconcilers::{ExpirePoints, StartDueJobs};
pub use service::{Backup, BackupParts};
pub use workflows::WORKFLOWS;

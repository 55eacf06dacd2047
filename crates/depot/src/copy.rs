//! Depot to depot: what the other one lacks, and no more.
//!
//! Names are made under each depot's own key, so two depots cannot be compared; two trees of one depot
//! can. A copy therefore starts from a snapshot both have: the source tells where the wanted one
//! differs from it, those ranges are read, and the other depot writes them as an increment on its
//! own copy of it. What the other knows already by its own names it does not store again.
//!
//! # Consistency
//! What is answered is as a write of the other depot: durable, and nobody's until a group names it.
//! Everything read is checked by seal and by name on the way.
//! # Crash consistency
//! Packs that were put stay in the other depot, as garbage, or to be found again by a second try.
//! # Concurrency
//! A reader of the one depot and a writer of the other: their rules, in `gc.rs`, are all there is.
//! # Errors
//! [`CopyError`] tells which of the two failed. Nothing was committed, whatever the error.
//! # Cancellation
//! As a write's.
//! # Limits
//! A write's of the one, and in the other frames of one stretch of the disk (`Depot::in_passing`);
//! differences are looked for a stretch at a time.

mod group;
mod source;

use std::sync::Arc;

use format::TreeRef;
use tokio_util::sync::CancellationToken;

pub use group::{CopiedDisk, CopiedGroup, Copier};

use crate::{Depot, DepotError, Progressing, WriteDisk, WrittenDisk};
use source::Source;

/// One disk to be copied.
#[expect(missing_debug_implementations, reason = "a callback has nothing to show")]
pub struct CopyDisk {
    pub tree: TreeRef,
    pub base: Option<CopyBase>,
    pub progress: Progressing,
    pub cancel: CancellationToken,
}

/// A snapshot both depots have: the same bytes, each under its own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyBase {
    /// In the depot copied from.
    pub here: TreeRef,
    /// In the depot copied to; must belong to a group that exists.
    pub there: TreeRef,
}

/// Which of two depots failed, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The depot copied from.
    #[error("in the depot copied from: {0}")]
    From(DepotError),
    /// The depot copied to.
    #[error("in the depot copied to: {0}")]
    To(DepotError),
}

impl CopyError {
    /// What went wrong, wherever.
    pub const fn error(&self) -> &DepotError {
        match self {
            Self::From(error) | Self::To(error) => error,
        }
    }

    /// Trying the very same thing again later can help.
    pub const fn is_transient(&self) -> bool {
        self.error().is_transient()
    }
}

impl Depot {
    /// Writes a snapshot's disk into another depot, as [`Depot::write_disk`] there would.
    pub async fn copy_disk(self: &Arc<Self>, to: &Self, job: CopyDisk) -> Result<WrittenDisk, CopyError> {
        if self.id == to.id {
            let what = "a depot cannot be copied to itself".to_owned();
            return Err(CopyError::To(DepotError::Invalid(what)));
        }
        let base = job.base.filter(|base| crate::diff::comparable(&base.here, &job.tree));
        if let Some(CopyBase { here, there }) = base
            && here.size != there.size
        {
            let what = "the two depots' snapshots to start from are of different sizes".to_owned();
            return Err(CopyError::To(DepotError::Invalid(what)));
        }
        let source = Arc::new(Source::new(Arc::new(self.in_passing()), job.tree, base));
        let write = WriteDisk {
            reader: source.clone(),
            base: base.map(|base| base.there),
            changed_only: base.is_some(),
            progress: job.progress,
            cancel: job.cancel,
        };
        to.write_disk(write).await.map_err(|error| match source.failure() {
            Some(failure) if matches!(error, DepotError::Source(_)) => CopyError::From(failure),
            _ => CopyError::To(error),
        })
    }
}

//! Keeps a backup from stopping a guest: ends a session before its scratch space runs out.
//!
//! What a guest overwrites while it is backed up is first copied to scratch space. When that is full
//! QEMU fails the guest's own write, which pauses the guest or worse. So a session is watched as long as
//! our process lives, and given up in time; if QEMU was faster, the guest is resumed as the job ends.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{GroupId, InstanceId};

use crate::host::Inner;
use crate::running;

/// One `statvfs` each time: cheap enough to be early.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The sessions that are watched.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    watched: Mutex<HashSet<(InstanceId, GroupId)>>,
}

impl Guard {
    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<(InstanceId, GroupId)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches an open session of a running instance until it ends. Watching twice is fine.
pub(crate) fn watch(inner: &Arc<Inner>, instance: InstanceId, group: GroupId) {
    if !inner.guard.set().insert((instance, group)) {
        return;
    }
    let weak = Arc::downgrade(inner);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(inner) = weak.upgrade() else { return };
            let session = inner.scratch.session(instance, group);
            let low = inner.scratch.free().is_ok_and(|free| free < inner.options.scratch_min.0 / 2);
            let gone = !session.path().exists();
            if low && !gone {
                give_up(&inner, instance, group).await;
            }
            if low || gone {
                inner.guard.set().remove(&(instance, group));
                return;
            }
        }
    });
}

async fn give_up(inner: &Arc<Inner>, instance: InstanceId, group: GroupId) {
    let lock = inner.lock_of(instance);
    let _held = lock.lock().await;
    let scratch = inner.scratch.clone();
    let session = scratch.session(instance, group);
    if !session.path().exists() {
        return;
    }
    session.note_full();
    tracing::warn!(%instance, %group, "scratch space runs out: the backup session is given up");
    let ended = inner.with(instance, move |looked| match looked.active {
        true => running::end_job(&looked.domain, &scratch, &session),
        false => Ok(()),
    });
    if let Err(error) = ended.await {
        tracing::error!(%instance, %group, %error, "a session without scratch space cannot be ended");
    }
}

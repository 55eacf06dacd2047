//! What every host must do, as a suite that the simulated host and real ones both pass.
//!
//! A case never panics and never sleeps: it returns what it found wrong. Each makes instances of its
//! own, of a few MiB, and leaves them to the fixture to remove. No guest system is needed in them.

mod bench;
mod defining;
mod losing;
mod marking;
mod taking;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use model::{ByteCount, DiskId, Entropy, Extent, InstanceId};

use crate::{Host, HostError};

/// What the suite needs around a host: someone to make instances, and a way past the host's own
/// verbs to what disks really hold.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The host under test.
    async fn host(&self) -> Result<Arc<dyn Host>, HostError>;

    /// Forgets the host object and opens another, as when our process was killed and started again:
    /// open sessions live on in the hypervisor. The next [`Fixture::host`] returns the new one.
    async fn reopen(&self) -> Result<(), HostError>;

    /// Defines and starts an instance. Its disks read as zeroes, its memory matters to nobody.
    async fn instance(&self, disks: &[FixtureDisk]) -> Result<InstanceId, HostError>;

    /// Fills a range with one byte, through the running machine, so that its change tracking sees it.
    /// Offsets and lengths are multiples of 512.
    async fn fill(
        &self,
        instance: InstanceId,
        disk: DiskId,
        range: Extent,
        byte: u8,
    ) -> Result<(), HostError>;

    /// The whole of a disk as its guest sees it now, running or stopped, read past the host's verbs.
    async fn content(&self, instance: InstanceId, disk: DiskId) -> Result<Vec<u8>, HostError>;

    /// Kills the machine's emulator the hard way, so that it saves nothing.
    async fn crash(&self, instance: InstanceId) -> Result<(), HostError>;

    /// Removes the instance behind the host's back.
    async fn release(&self, instance: InstanceId) -> Result<(), HostError>;

    async fn macs(&self, instance: InstanceId) -> Result<Vec<String>, HostError>;

    /// Everything of ours the hypervisor still carries for this instance, in words: backup jobs,
    /// checkpoints, scratch files, prepared disks. Empty on an instance nobody ever backed up.
    async fn left_on(&self, instance: InstanceId) -> Result<Vec<String>, HostError>;

    /// For ids. Never the same twice on one host, or left-overs of an earlier run get in the way.
    fn entropy(&self) -> &dyn Entropy;
}

/// A disk the suite asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixtureDisk {
    pub kind: FixtureKind,
    /// A multiple of 512.
    pub size: ByteCount,
}

/// `DiskCapability`, as something to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixtureKind {
    Tracked,
    Whole,
    Refused,
}

/// A promise the host did not keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{case}: {what}")]
pub struct Violation {
    pub case: &'static str,
    pub what: String,
}

/// All promises the host did not keep, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|violation| writeln!(f, "{violation}"))
    }
}

impl std::error::Error for Violations {}

/// Runs every case, one after the other, also after one that failed.
pub async fn all(fixture: &dyn Fixture) -> Result<(), Violations> {
    let mut found = Vec::new();
    for case in CASES {
        found.extend(run(fixture, case).await.err());
    }
    if found.is_empty() { Ok(()) } else { Err(Violations(found)) }
}

/// Runs the case of this name; no such name is a violation too.
pub async fn one(fixture: &dyn Fixture, name: &'static str) -> Result<(), Violation> {
    match CASES.iter().find(|case| case.name == name) {
        Some(case) => run(fixture, case).await,
        None => Err(Violation { case: name, what: "there is no such case".to_owned() }),
    }
}

/// The names of all cases.
pub fn names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

async fn run(fixture: &dyn Fixture, case: &Case) -> Result<(), Violation> {
    let done = (case.run)(fixture).await;
    tracing::info!(case = case.name, kept = done.is_ok(), "host contract");
    done.map_err(|Wrong(what)| Violation { case: case.name, what })
}

struct Case {
    name: &'static str,
    run: for<'a> fn(&'a dyn Fixture) -> BoxFuture<'a, Outcome>,
}

type Outcome = Result<(), Wrong>;

/// What a case found wrong, or what kept it from finding out.
struct Wrong(String);

impl From<HostError> for Wrong {
    fn from(error: HostError) -> Self {
        Self(format!("a call that should work failed: {error}"))
    }
}

macro_rules! cases {
    ($($module:ident: $($name:ident)*;)*) => {
        const CASES: &[Case] = &[$($(
            Case { name: stringify!($name), run: |fixture| Box::pin($module::$name(fixture)) },
        )*)*];
    };
}

cases! {
    marking:
        a_mark_is_one_instant
        an_open_session_stands_still
        an_increment_tells_what_changed
        data_that_became_zeroes_counts_as_changed
        keeping_drops_older_checkpoints
        an_earlier_checkpoint_survives_a_drop
        marking_again_returns_the_same_session
        another_group_finds_it_busy
        unmarking_what_is_unknown_is_fine
        a_whole_disk_joins_and_counts_as_changed
        a_refused_disk_leaves_nothing_behind
        an_unknown_disk_leaves_nothing_behind
        reads_beyond_the_end_are_refused
        an_unknown_base_means_everything;
    losing:
        a_restarted_process_finds_its_session
        a_crash_loses_the_session_and_says_so
        a_crash_never_hides_a_change
        a_stop_never_hides_a_change
        a_stopped_instance_can_be_marked_and_read
        marking_a_stopped_instance_never_hides_a_change
        a_released_instance_is_no_instance
        starting_and_stopping_twice_is_fine;
    taking:
        a_prepared_disk_comes_back_byte_for_byte
        a_disk_may_grow_when_swapped
        swapping_twice_is_fine
        swapping_in_never_hides_a_change
        preparing_again_starts_over
        swapping_needs_a_stopped_instance
        a_discarded_disk_cannot_be_swapped_in
        discarding_spares_a_disk_in_use
        a_disk_in_use_cannot_be_written
        an_attached_disk_is_a_new_disk;
    defining:
        a_defined_instance_has_an_identity_of_its_own
        a_defined_instance_takes_another_shape
        defining_twice_is_fine
        undefining_cleans_up
        undefining_spares_what_was_not_defined
        a_defined_disk_is_out_of_reach;
}

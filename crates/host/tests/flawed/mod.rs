//! A host with one flaw, to show that the contract suite can fail.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use host::sim::SimHost;
use host::{
    DiskExtent, DiskReader, DiskTarget, DiskWriter, Fate, Host, HostError, Mark, Marked, NewInstance,
    PreparedDisk, Stop, Tracking,
};
use model::{ByteCount, DiskId, Extent, GroupId, HostId, Instance, InstanceId, TaskId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Readers show the disk as it is now.
    ReadsTheLiveDisk,
    /// Only the second disk of a mark is read live.
    TearsTheMark,
    ForgetsChanges,
    TellsDataAsHoles,
    TellsEverythingAsChanged,
    /// After a crash it goes on trusting the bitmap.
    TrustsALostBitmap,
    MarksAgainAtAnotherInstant,
    LetsAnotherGroupTakeOver,
    DropsWhatItShouldKeep,
    LeavesAMarkBehindWhenItFails,
    ReadsZeroesFromALostSession,
    ForgetsSessionsOnRestart,
    UnmarksOnlyWhatItKnows,
    SwapsUnderARunningInstance,
    SaysItSwappedWhatIsGone,
    SwapsOnce,
    DefinesOnce,
    DiscardsNothing,
    ClonesMacs,
    ClonesTheName,
    UndefinesAnybody,
    LosesTheWriteAtZero,
    StopsOnce,
    LeavesItPaused,
}

impl Flaw {
    pub(crate) const ALL: [Self; 24] = [
        Self::ReadsTheLiveDisk,
        Self::TearsTheMark,
        Self::ForgetsChanges,
        Self::TellsDataAsHoles,
        Self::TellsEverythingAsChanged,
        Self::TrustsALostBitmap,
        Self::MarksAgainAtAnotherInstant,
        Self::LetsAnotherGroupTakeOver,
        Self::DropsWhatItShouldKeep,
        Self::LeavesAMarkBehindWhenItFails,
        Self::ReadsZeroesFromALostSession,
        Self::ForgetsSessionsOnRestart,
        Self::UnmarksOnlyWhatItKnows,
        Self::SwapsUnderARunningInstance,
        Self::SaysItSwappedWhatIsGone,
        Self::SwapsOnce,
        Self::DefinesOnce,
        Self::DiscardsNothing,
        Self::ClonesMacs,
        Self::ClonesTheName,
        Self::UndefinesAnybody,
        Self::LosesTheWriteAtZero,
        Self::StopsOnce,
        Self::LeavesItPaused,
    ];

    pub(crate) fn caught_by(self) -> &'static [&'static str] {
        match self {
            Self::ReadsTheLiveDisk => {
                &["an_open_session_stands_still", "a_restarted_process_finds_its_session"]
            }
            Self::TearsTheMark => &["a_mark_is_one_instant"],
            Self::ForgetsChanges => &[
                "an_increment_tells_what_changed",
                "data_that_became_zeroes_counts_as_changed",
                "an_earlier_checkpoint_survives_a_drop",
            ],
            Self::TellsDataAsHoles => {
                &["an_open_session_stands_still", "a_stopped_instance_can_be_marked_and_read"]
            }
            Self::TellsEverythingAsChanged => &["an_increment_tells_what_changed"],
            Self::TrustsALostBitmap => &[
                "a_crash_never_hides_a_change",
                "a_stop_never_hides_a_change",
                "marking_a_stopped_instance_never_hides_a_change",
            ],
            Self::MarksAgainAtAnotherInstant => {
                &["marking_again_returns_the_same_session", "a_crash_loses_the_session_and_says_so"]
            }
            Self::LetsAnotherGroupTakeOver => &["another_group_finds_it_busy"],
            Self::DropsWhatItShouldKeep => &["keeping_drops_older_checkpoints"],
            Self::LeavesAMarkBehindWhenItFails => {
                &["a_refused_disk_leaves_nothing_behind", "an_unknown_disk_leaves_nothing_behind"]
            }
            Self::ReadsZeroesFromALostSession => &["a_crash_loses_the_session_and_says_so"],
            Self::ForgetsSessionsOnRestart => &["a_restarted_process_finds_its_session"],
            Self::UnmarksOnlyWhatItKnows => &["unmarking_what_is_unknown_is_fine"],
            Self::SwapsUnderARunningInstance => &["swapping_needs_a_stopped_instance"],
            Self::SaysItSwappedWhatIsGone => &["a_discarded_disk_cannot_be_swapped_in"],
            Self::SwapsOnce => &["swapping_twice_is_fine"],
            Self::DefinesOnce => &["defining_twice_is_fine"],
            Self::DiscardsNothing => {
                &["swapping_needs_a_stopped_instance", "a_discarded_disk_cannot_be_swapped_in"]
            }
            Self::ClonesMacs | Self::ClonesTheName => &["a_defined_instance_has_an_identity_of_its_own"],
            Self::UndefinesAnybody => &["undefining_spares_what_was_not_defined"],
            Self::LosesTheWriteAtZero => {
                &["a_prepared_disk_comes_back_byte_for_byte", "a_disk_may_grow_when_swapped"]
            }
            Self::StopsOnce => &["starting_and_stopping_twice_is_fine"],
            Self::LeavesItPaused => &["an_open_session_stands_still"],
        }
    }
}

#[derive(Debug)]
pub(crate) struct Flawed {
    pub(crate) inner: SimHost,
    pub(crate) flaw: Flaw,
}

impl Flawed {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }
}

#[async_trait]
impl Host for Flawed {
    fn id(&self) -> HostId {
        self.inner.id()
    }

    async fn list(&self) -> Result<Vec<Instance>, HostError> {
        self.inner.list().await
    }

    async fn find(&self, instance: InstanceId) -> Result<Instance, HostError> {
        let found = self.inner.find(instance).await?;
        match self.is(Flaw::ClonesTheName) {
            true => Ok(Instance { name: "sim-contract".to_owned(), ..found }),
            false => Ok(found),
        }
    }

    async fn start(&self, instance: InstanceId) -> Result<(), HostError> {
        self.inner.start(instance).await
    }

    async fn stop(&self, instance: InstanceId, how: Stop) -> Result<(), HostError> {
        let status = self.inner.find(instance).await?.status;
        if self.is(Flaw::StopsOnce) && status == model::InstanceStatus::Stopped {
            return Err(HostError::State { found: "stopped".to_owned(), needed: "running".to_owned() });
        }
        self.inner.stop(instance, how).await
    }

    async fn marks(&self, instance: InstanceId) -> Result<Vec<GroupId>, HostError> {
        self.inner.marks(instance).await
    }

    async fn mark(&self, mark: &Mark) -> Result<Marked, HostError> {
        match self.flaw {
            Flaw::MarksAgainAtAnotherInstant => {
                self.inner.unmark(mark.instance, mark.group, Fate::Drop).await?
            }
            Flaw::LetsAnotherGroupTakeOver => {
                for (_, group) in
                    self.inner.leftovers().sessions.iter().filter(|(on, _)| *on == mark.instance)
                {
                    self.inner.unmark(mark.instance, *group, Fate::Drop).await?;
                }
            }
            Flaw::LeavesAMarkBehindWhenItFails => {
                let disks = mark.disks[..1].to_vec();
                if self.inner.mark(mark).await.is_err() {
                    self.inner.mark(&Mark { disks, ..mark.clone() }).await?;
                    self.inner.unmark(mark.instance, mark.group, Fate::Keep).await?;
                }
            }
            _ => {}
        }
        let mut marked = self.inner.mark(mark).await.map_err(|error| match mark.disks.len() {
            // What it left behind must not be what gives it away.
            3 if self.is(Flaw::LeavesAMarkBehindWhenItFails) => HostError::NoDisk(String::new()),
            _ if self.is(Flaw::LeavesAMarkBehindWhenItFails) => HostError::Unsupported(String::new()),
            _ => error,
        })?;
        if self.is(Flaw::LeavesItPaused) {
            self.inner.pause(mark.instance, true)?;
        }
        if self.is(Flaw::TrustsALostBitmap) {
            for (disk, asked) in marked.disks.iter_mut().zip(&mark.disks) {
                disk.tracking = asked.since.map_or(disk.tracking.clone(), Tracking::Since);
            }
        }
        Ok(marked)
    }

    async fn reader(
        &self,
        instance: InstanceId,
        group: GroupId,
        disk: DiskId,
    ) -> Result<Arc<dyn DiskReader>, HostError> {
        let inner = self.inner.reader(instance, group, disk).await?;
        let second = self.inner.disks(instance).get(1) == Some(&disk);
        Ok(Arc::new(FlawedReader {
            inner,
            host: self.inner.clone(),
            instance,
            disk,
            second,
            flaw: self.flaw,
        }))
    }

    async fn unmark(&self, instance: InstanceId, group: GroupId, fate: Fate) -> Result<(), HostError> {
        match self.flaw {
            Flaw::UnmarksOnlyWhatItKnows if !self.inner.marks(instance).await?.contains(&group) => {
                Err(HostError::Failed("no such checkpoint".to_owned()))
            }
            Flaw::DropsWhatItShouldKeep => self.inner.unmark(instance, group, Fate::Drop).await,
            _ => self.inner.unmark(instance, group, fate).await,
        }
    }

    async fn prepare(&self, task: TaskId, target: &DiskTarget) -> Result<PreparedDisk, HostError> {
        self.inner.prepare(task, target).await
    }

    async fn writer(&self, disk: &PreparedDisk) -> Result<Arc<dyn DiskWriter>, HostError> {
        let inner = self.inner.writer(disk).await?;
        match self.is(Flaw::LosesTheWriteAtZero) {
            true => Ok(Arc::new(FlawedWriter(inner))),
            false => Ok(inner),
        }
    }

    async fn discard(&self, task: TaskId, target: &DiskTarget) -> Result<(), HostError> {
        match self.is(Flaw::DiscardsNothing) {
            true => Ok(()),
            false => self.inner.discard(task, target).await,
        }
    }

    async fn swap_in(&self, instance: InstanceId, disks: &[PreparedDisk]) -> Result<(), HostError> {
        if self.is(Flaw::SwapsUnderARunningInstance) {
            self.inner.stop(instance, Stop::ByForce).await?;
        }
        if self.is(Flaw::SwapsOnce)
            && disks.iter().any(|disk| !self.inner.leftovers().prepared.contains(disk))
        {
            return Err(HostError::NoDisk(String::new()));
        }
        match self.inner.swap_in(instance, disks).await {
            Err(HostError::NoDisk(_)) if self.is(Flaw::SaysItSwappedWhatIsGone) => Ok(()),
            done => done,
        }
    }

    async fn define(&self, new: &NewInstance) -> Result<(), HostError> {
        if self.is(Flaw::DefinesOnce) && self.inner.find(new.id).await.is_ok() {
            return Err(HostError::Failed("already defined".to_owned()));
        }
        self.inner.define(new).await
    }

    async fn undefine(&self, new: &NewInstance) -> Result<(), HostError> {
        if self.is(Flaw::UndefinesAnybody) {
            self.inner.release(new.id);
        }
        self.inner.undefine(new).await
    }

    async fn attach(&self, instance: InstanceId, disk: &PreparedDisk) -> Result<DiskId, HostError> {
        self.inner.attach(instance, disk).await
    }
}

#[derive(Debug)]
struct FlawedReader {
    inner: Arc<dyn DiskReader>,
    host: SimHost,
    instance: InstanceId,
    disk: DiskId,
    second: bool,
    flaw: Flaw,
}

#[async_trait]
impl DiskReader for FlawedReader {
    fn size(&self) -> ByteCount {
        self.inner.size()
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        let told = self.inner.extents(range).await?;
        let spoil = |found: DiskExtent| match self.flaw {
            Flaw::ForgetsChanges | Flaw::TrustsALostBitmap => DiskExtent { changed: false, ..found },
            Flaw::TellsEverythingAsChanged => DiskExtent { changed: true, ..found },
            Flaw::TellsDataAsHoles => DiskExtent { zero: true, ..found },
            _ => found,
        };
        Ok(told.into_iter().map(spoil).collect())
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        let live = self.flaw == Flaw::ReadsTheLiveDisk || self.flaw == Flaw::TearsTheMark && self.second;
        if live {
            return self.host.peek(self.instance, self.disk, range).map(Bytes::from);
        }
        match self.inner.read(range).await {
            Err(HostError::Lost(_)) if self.flaw == Flaw::ReadsZeroesFromALostSession => {
                Ok(Bytes::from(vec![0; range.len.try_into().unwrap()]))
            }
            done => done,
        }
    }
}

#[derive(Debug)]
struct FlawedWriter(Arc<dyn DiskWriter>);

#[async_trait]
impl DiskWriter for FlawedWriter {
    async fn write(&self, offset: u64, bytes: Bytes) -> Result<(), HostError> {
        if offset == 0 { Ok(()) } else { self.0.write(offset, bytes).await }
    }

    async fn finish(&self) -> Result<(), HostError> {
        self.0.finish().await
    }
}

//! Cases: marks, what they show, and what they tell of changes.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future;
use model::{DiskId, Extent, InstanceStatus, draw};

use super::bench::{Bench, GRAIN, MIB, covers, ensure, read_all, refused, walk, walk_range};
use super::{Fixture, FixtureKind, Outcome};
use crate::{Fate, HostError, Mark, MarkDisk, Tracking};

/// A guest writes n to its first disk, then n to its second, and so on without pause; at any instant
/// the two are equal or one apart.
pub(super) async fn a_mark_is_one_instant(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    for round in 0..4 {
        let group = bench.group();
        let marked = AtomicBool::new(false);
        let guest = async {
            let mut number = 1;
            // Goes on until the mark is done, and a little: a torn mark needs writes on both sides.
            let mut more = 8;
            while more > 0 && number < 250 {
                bench.fill(0, GRAIN, 512, number).await?;
                tokio::task::yield_now().await;
                bench.fill(1, GRAIN, 512, number).await?;
                tokio::task::yield_now().await;
                number += 1;
                more -= i32::from(marked.load(Ordering::SeqCst));
            }
            Outcome::Ok(())
        };
        let mark = async {
            for _ in 0..(9 + 2 * round) {
                tokio::task::yield_now().await;
            }
            let done = bench.mark(group, None).await;
            marked.store(true, Ordering::SeqCst);
            done?;
            Outcome::Ok(())
        };
        future::try_join(guest, mark).await?;
        let at = Extent { offset: GRAIN, len: 1 };
        let first = bench.reader(group, 0).await?.read(at).await?[0];
        let second = bench.reader(group, 1).await?.read(at).await?[0];
        ensure!(
            first == second || first == second + 1,
            "the disks hold {first} and {second}: not one instant"
        );
        bench.drop(group).await?;
        bench.fill(0, GRAIN, 512, 0).await?;
        bench.fill(1, GRAIN, 512, 0).await?;
    }
    Ok(())
}

pub(super) async fn an_open_session_stands_still(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    bench.fill(1, MIB, MIB, 0x22).await?;
    let before = bench.contents().await?;
    let group = bench.group();
    let marked = bench.mark(group, None).await?;
    ensure!(marked.disks.len() == 2, "{} disks were marked of 2", marked.disks.len());
    let shown = bench.host.find(bench.instance).await?;
    ensure!(
        !shown.paused && shown.status == InstanceStatus::Running,
        "the mark left the instance standing still"
    );
    bench.fill(0, MIB / 2, MIB, 0x33).await?;
    bench.fill(1, 0, 2 * MIB, 0).await?;
    for (place, before) in before.iter().enumerate() {
        let reader = bench.reader(group, place).await?;
        ensure!(
            reader.size() == marked.disks[place].size,
            "reader and mark disagree on the size of disk {place}"
        );
        ensure!(read_all(reader.as_ref()).await? == *before, "disk {place} changed under an open session");
        ensure!(bench.content(place).await? != *before, "the guest's write to disk {place} did not reach it");
    }
    bench.drop(group).await?;
    bench.nothing_left().await
}

pub(super) async fn an_increment_tells_what_changed(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, 4 * MIB, 0x11).await?;
    let (base, before) = bench.base().await?;
    let writes = [(0, Extent { offset: MIB + 512, len: 1024 }), (1, Extent { offset: 3 * MIB, len: 4096 })];
    for (place, range) in writes {
        bench.fill(place, range.offset, range.len, 0x77).await?;
    }
    let now = bench.contents().await?;
    let group = bench.group();
    let marked = bench.mark(group, Some(base)).await?;
    for (place, range) in writes {
        ensure!(
            marked.disks[place].tracking == Tracking::Since(base),
            "disk {place} is tracked, yet told as {:?}",
            marked.disks[place].tracking
        );
        let reader = bench.reader(group, place).await?;
        ensure!(read_all(reader.as_ref()).await? == now[place], "disk {place} does not read as it was");
        let extents = walk(reader.as_ref()).await?;
        covers(place, &before[place], &now[place], &extents)?;
        let start = range.offset / GRAIN * GRAIN;
        let end = range.end().div_ceil(GRAIN) * GRAIN;
        for found in extents.iter().filter(|found| found.changed) {
            let within = found.extent.offset >= start && found.extent.end() <= end;
            ensure!(
                within,
                "disk {place}: {:?} is told as changed, only {range:?} was written",
                found.extent
            );
        }
        // The same question about a part gets the same answer.
        let part = Extent { offset: 512, len: reader.size().0 - 1024 };
        covers(place, &before[place], &now[place], &walk_range(reader.as_ref(), part).await?)?;
    }
    bench.keep(group).await?;
    Ok(())
}

pub(super) async fn data_that_became_zeroes_counts_as_changed(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    bench.fill(1, 0, MIB, 0x22).await?;
    let (base, before) = bench.base().await?;
    bench.fill(0, 2 * GRAIN, GRAIN, 0).await?;
    bench.fill(1, 0, MIB, 0).await?;
    let tracked = bench.hides_nothing(base, &before).await?;
    ensure!(tracked == [true, true], "changes could not be told: {tracked:?}");
    Ok(())
}

pub(super) async fn keeping_drops_older_checkpoints(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let (first, _) = bench.base().await?;
    let marks = bench.host.marks(bench.instance).await?;
    ensure!(marks == [first], "after keeping {first} the marks are {marks:?}");
    let (second, _) = bench.base().await?;
    let marks = bench.host.marks(bench.instance).await?;
    ensure!(marks == [second], "after keeping {second} the marks are {marks:?}");
    // A late answer makes a caller ask twice, and for a group of long ago.
    bench.keep(second).await?;
    bench.keep(first).await?;
    let marks = bench.host.marks(bench.instance).await?;
    ensure!(marks == [second], "keeping again changed the marks to {marks:?}");
    bench.drop(second).await?;
    ensure!(bench.host.marks(bench.instance).await?.is_empty(), "a dropped checkpoint is still there");
    bench.nothing_left().await
}

pub(super) async fn an_earlier_checkpoint_survives_a_drop(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let (base, before) = bench.base().await?;
    bench.fill(0, 0, 4096, 0x11).await?;
    let dropped = bench.group();
    bench.mark(dropped, Some(base)).await?;
    bench.fill(0, MIB, 4096, 0x22).await?;
    bench.drop(dropped).await?;
    bench.fill(1, MIB, 4096, 0x33).await?;
    let marks = bench.host.marks(bench.instance).await?;
    ensure!(marks == [base], "after a drop the marks are {marks:?}, not {base}");
    // All three writes came after the base: before, during and after the session that was dropped.
    let tracked = bench.hides_nothing(base, &before).await?;
    ensure!(tracked == [true, true], "the earlier checkpoint is no good any more: {tracked:?}");
    Ok(())
}

pub(super) async fn marking_again_returns_the_same_session(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, 4096, 0x11).await?;
    let group = bench.group();
    let first = bench.mark(group, None).await?;
    bench.fill(0, 0, 4096, 0x22).await?;
    let again = bench.mark(group, None).await?;
    ensure!(
        first.disks == again.disks,
        "asked again, the host shows {:?}, not {:?}",
        again.disks,
        first.disks
    );
    let byte = bench.reader(group, 0).await?.read(Extent { offset: 0, len: 512 }).await?[0];
    ensure!(byte == 0x11, "asked again, the host moved the session to a later instant");
    bench.drop(group).await?;
    bench.nothing_left().await
}

pub(super) async fn another_group_finds_it_busy(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let (group, other) = (bench.group(), bench.group());
    bench.mark(group, None).await?;
    refused!(bench.mark(other, None).await, HostError::Busy(_), "a second group during a session");
    // The caller's undo of what was refused must not end the first one's session.
    bench.drop(other).await?;
    read_all(bench.reader(group, 0).await?.as_ref()).await?;
    bench.drop(group).await?;
    bench.mark(other, None).await?;
    bench.drop(other).await?;
    bench.nothing_left().await
}

pub(super) async fn unmarking_what_is_unknown_is_fine(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    for fate in [Fate::Keep, Fate::Drop] {
        bench.host.unmark(bench.instance, bench.group(), fate).await?;
        bench.host.unmark(draw(fixture.entropy()), bench.group(), fate).await?;
    }
    let group = bench.group();
    bench.mark(group, None).await?;
    bench.drop(group).await?;
    bench.drop(group).await?;
    bench.nothing_left().await
}

pub(super) async fn a_whole_disk_joins_and_counts_as_changed(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::new(fixture, &[FixtureKind::Tracked, FixtureKind::Whole]).await?;
    bench.fill(0, 0, 4096, 0x11).await?;
    bench.fill(1, 0, 4096, 0x22).await?;
    let (base, before) = bench.base().await?;
    bench.fill(1, MIB, 4096, 0x33).await?;
    let tracked = bench.hides_nothing(base, &before).await?;
    ensure!(tracked == [true, false], "a tracked and a whole disk are told as {tracked:?}");
    Ok(())
}

pub(super) async fn a_refused_disk_leaves_nothing_behind(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::new(fixture, &[FixtureKind::Tracked, FixtureKind::Refused]).await?;
    let shown = bench.host.find(bench.instance).await?;
    ensure!(!shown.disks[1].capability.can_be_snapshotted(), "the refused disk is shown as one that can");
    let group = bench.group();
    refused!(
        bench.mark(group, None).await,
        HostError::Unsupported(_),
        "marking a disk that cannot be snapshotted"
    );
    bench.nothing_left().await?;
    // Left out, it is in nobody's way.
    let disks = vec![MarkDisk { disk: bench.disks[0], since: None }];
    bench.host.mark(&Mark { instance: bench.instance, group, disks }).await?;
    bench.drop(group).await?;
    bench.nothing_left().await
}

pub(super) async fn an_unknown_disk_leaves_nothing_behind(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let mut mark = bench.ask(bench.group(), None);
    let unknown: DiskId = draw(fixture.entropy());
    mark.disks.push(MarkDisk { disk: unknown, since: None });
    refused!(bench.host.mark(&mark).await, HostError::NoDisk(_), "marking a disk of nobody");
    bench.nothing_left().await
}

pub(super) async fn reads_beyond_the_end_are_refused(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let group = bench.group();
    bench.mark(group, None).await?;
    let reader = bench.reader(group, 1).await?;
    let size = reader.size().0;
    for range in [Extent { offset: size - 512, len: 1024 }, Extent { offset: u64::MAX - 511, len: 1024 }] {
        ensure!(reader.read(range).await.is_err(), "{range:?} was read from a disk of {size} bytes");
    }
    let last = reader.read(Extent { offset: size - 512, len: 512 }).await?;
    ensure!(last.len() == 512, "the last sector reads as {} bytes", last.len());
    bench.drop(group).await?;
    Ok(())
}

pub(super) async fn an_unknown_base_means_everything(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let before = bench.contents().await?;
    let tracked = bench.hides_nothing(bench.group(), &before).await?;
    ensure!(tracked == [false, false], "changes were told since a group that never was");
    bench.nothing_left().await
}

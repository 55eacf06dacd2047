//! Cases: what a crash, a stop, a release or a restart of ours takes away, and what it must not.

use model::{Extent, InstanceStatus, draw};

use super::bench::{Bench, MIB, ensure, read_all, refused};
use super::{Fixture, Outcome};
use crate::{HostError, Stop};

pub(super) async fn a_restarted_process_finds_its_session(fixture: &dyn Fixture) -> Outcome {
    let mut bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    let (base, before) = bench.base().await?;
    bench.fill(0, MIB, 4096, 0x22).await?;
    let now = bench.contents().await?;
    let group = bench.group();
    let marked = bench.mark(group, Some(base)).await?;
    fixture.reopen().await?;
    bench.host = fixture.host().await?;
    bench.fill(0, 2 * MIB, 4096, 0x33).await?;
    let again = bench.mark(group, Some(base)).await?;
    ensure!(
        marked.disks == again.disks,
        "after a restart the host shows {:?}, not {:?}",
        again.disks,
        marked.disks
    );
    for (place, now) in now.iter().enumerate() {
        let found = read_all(bench.reader(group, place).await?.as_ref()).await?;
        ensure!(found == *now, "after a restart disk {place} reads otherwise");
    }
    bench.keep(group).await?;
    fixture.reopen().await?;
    bench.host = fixture.host().await?;
    ensure!(bench.host.marks(bench.instance).await? == [group], "a restart lost the checkpoint");
    ensure!(before != now, "the case wrote nothing");
    let tracked = bench.hides_nothing(group, &now).await?;
    ensure!(tracked == [true, true], "a restart made the checkpoint useless: {tracked:?}");
    Ok(())
}

pub(super) async fn a_crash_loses_the_session_and_says_so(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let group = bench.group();
    bench.mark(group, None).await?;
    let reader = bench.reader(group, 0).await?;
    fixture.crash(bench.instance).await?;
    refused!(
        reader.read(Extent { offset: 0, len: 512 }).await,
        HostError::Lost(_),
        "reading after the crash"
    );
    refused!(bench.reader(group, 0).await, HostError::Lost(_), "opening a reader after the crash");
    refused!(bench.mark(group, None).await, HostError::Lost(_), "marking the same group after the crash");
    bench.host.start(bench.instance).await?;
    refused!(bench.mark(group, None).await, HostError::Lost(_), "marking the same group once it runs again");
    bench.drop(group).await?;
    bench.nothing_left().await?;
    let next = bench.group();
    bench.mark(next, None).await?;
    bench.drop(next).await?;
    bench.nothing_left().await
}

pub(super) async fn a_crash_never_hides_a_change(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    let (base, before) = bench.base().await?;
    bench.fill(0, 0, 4096, 0x22).await?;
    bench.fill(1, MIB, 4096, 0x33).await?;
    fixture.crash(bench.instance).await?;
    bench.hides_nothing(base, &before).await?;
    bench.host.start(bench.instance).await?;
    bench.fill(1, 2 * MIB, 4096, 0x44).await?;
    bench.hides_nothing(base, &before).await?;
    // Told or not, the next base stands on its own, and the useless one does not pile up.
    let (next, before) = bench.base().await?;
    let marks = bench.host.marks(bench.instance).await?;
    ensure!(marks == [next], "after a crash and a new base the marks are {marks:?}");
    bench.fill(0, MIB, 4096, 0x55).await?;
    let tracked = bench.hides_nothing(next, &before).await?;
    ensure!(tracked == [true, true], "after a crash changes are never told again: {tracked:?}");
    bench.drop(next).await?;
    bench.nothing_left().await
}

pub(super) async fn a_stop_never_hides_a_change(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    let (base, before) = bench.base().await?;
    bench.fill(0, 0, 4096, 0x22).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    bench.host.start(bench.instance).await?;
    bench.fill(1, MIB, 4096, 0x33).await?;
    bench.hides_nothing(base, &before).await?;
    Ok(())
}

pub(super) async fn a_stopped_instance_can_be_marked_and_read(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    bench.fill(1, MIB, 4096, 0x22).await?;
    let before = bench.contents().await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let group = bench.group();
    let marked = bench.mark(group, None).await?;
    let again = bench.mark(group, None).await?;
    ensure!(
        marked.disks == again.disks,
        "asked again, the host shows {:?}, not {:?}",
        again.disks,
        marked.disks
    );
    for (place, before) in before.iter().enumerate() {
        let found = read_all(bench.reader(group, place).await?.as_ref()).await?;
        ensure!(found == *before, "disk {place} of the stopped instance reads otherwise");
    }
    bench.drop(group).await?;
    let shown = bench.host.find(bench.instance).await?;
    ensure!(shown.status == InstanceStatus::Stopped, "the instance is {:?} after its backup", shown.status);
    bench.nothing_left().await
}

pub(super) async fn marking_a_stopped_instance_never_hides_a_change(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    let (base, before) = bench.base().await?;
    bench.fill(0, 0, 4096, 0x11).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    bench.hides_nothing(base, &before).await?;
    let (stopped, at_stop) = bench.base().await?;
    bench.host.start(bench.instance).await?;
    bench.fill(1, 0, 4096, 0x22).await?;
    bench.hides_nothing(base, &before).await?;
    bench.hides_nothing(stopped, &at_stop).await?;
    Ok(())
}

pub(super) async fn a_released_instance_is_no_instance(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.base().await?;
    let listed = bench.host.list().await?;
    ensure!(listed.iter().any(|found| found.id == bench.instance), "a living instance is not listed");
    fixture.release(bench.instance).await?;
    refused!(bench.host.find(bench.instance).await, HostError::NoInstance, "finding a released instance");
    refused!(bench.mark(bench.group(), None).await, HostError::NoInstance, "marking a released instance");
    refused!(bench.host.marks(bench.instance).await, HostError::NoInstance, "asking its marks");
    refused!(bench.host.start(bench.instance).await, HostError::NoInstance, "starting it");
    refused!(bench.host.stop(bench.instance, Stop::ByForce).await, HostError::NoInstance, "stopping it");
    let listed = bench.host.list().await?;
    ensure!(listed.iter().all(|found| found.id != bench.instance), "a released instance is still listed");
    refused!(bench.host.find(draw(fixture.entropy())).await, HostError::NoInstance, "finding what never was");
    Ok(())
}

pub(super) async fn starting_and_stopping_twice_is_fine(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.host.start(bench.instance).await?;
    for _ in 0..2 {
        bench.host.stop(bench.instance, Stop::ByForce).await?;
        let status = bench.host.find(bench.instance).await?.status;
        ensure!(status == InstanceStatus::Stopped, "it is {status:?} after a stop");
    }
    for _ in 0..2 {
        bench.host.start(bench.instance).await?;
        let status = bench.host.find(bench.instance).await?.status;
        ensure!(status == InstanceStatus::Running, "it is {status:?} after a start");
    }
    Ok(())
}

//! Cases: disks that come back, and disks that must not be touched.

use bytes::Bytes;
use model::ByteCount;

use super::bench::{Bench, MIB, ODD, ensure, refused};
use super::{Fixture, Outcome};
use crate::{DiskTarget, HostError, Stop};

pub(super) async fn a_prepared_disk_comes_back_byte_for_byte(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, 4 * MIB, 0x11).await?;
    bench.fill(1, 0, MIB, 0x22).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let task = bench.task();
    let wanted = [bench.pattern(4 * MIB), bench.pattern(ODD)];
    let mut prepared = Vec::new();
    for (place, wanted) in wanted.iter().enumerate() {
        let target = bench.replacing(place, wanted.len() as u64);
        prepared.push(bench.prepared(task, &target, wanted).await?);
        ensure!(bench.content(place).await? != *wanted, "disk {place} changed before it was swapped");
    }
    bench.host.swap_in(bench.instance, &prepared).await?;
    let shown = bench.host.find(bench.instance).await?;
    let ids: Vec<_> = shown.disks.iter().map(|disk| disk.id).collect();
    ensure!(ids == bench.disks, "a roll back gave the disks other ids");
    for (place, wanted) in wanted.iter().enumerate() {
        ensure!(bench.content(place).await? == *wanted, "disk {place} holds something else");
    }
    bench.nothing_left().await?;
    bench.host.start(bench.instance).await?;
    for (place, wanted) in wanted.iter().enumerate() {
        ensure!(bench.content(place).await? == *wanted, "disk {place} holds something else once started");
    }
    Ok(())
}

pub(super) async fn a_disk_may_grow_when_swapped(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let wanted = bench.pattern(5 * MIB);
    let disk = bench.prepared(bench.task(), &bench.replacing(1, 5 * MIB), &wanted).await?;
    bench.host.swap_in(bench.instance, &[disk]).await?;
    let shown = bench.host.find(bench.instance).await?;
    ensure!(shown.disks[1].size == ByteCount(5 * MIB), "the disk is shown with {}", shown.disks[1].size);
    ensure!(bench.content(1).await? == wanted, "the grown disk holds something else");
    Ok(())
}

pub(super) async fn swapping_twice_is_fine(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let task = bench.task();
    let wanted = [bench.pattern(4 * MIB), bench.pattern(ODD)];
    let first = bench.prepared(task, &bench.replacing(0, 4 * MIB), &wanted[0]).await?;
    let second = bench.prepared(task, &bench.replacing(1, ODD), &wanted[1]).await?;
    // Half done, then all of it, then once more: what a crash in between makes of one call.
    bench.host.swap_in(bench.instance, std::slice::from_ref(&first)).await?;
    for _ in 0..2 {
        bench.host.swap_in(bench.instance, &[first.clone(), second.clone()]).await?;
        for (place, wanted) in wanted.iter().enumerate() {
            ensure!(bench.content(place).await? == *wanted, "disk {place} holds something else");
        }
    }
    bench.nothing_left().await
}

pub(super) async fn swapping_in_never_hides_a_change(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    let (base, before) = bench.base().await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let wanted = bench.pattern(4 * MIB);
    let disk = bench.prepared(bench.task(), &bench.replacing(0, 4 * MIB), &wanted).await?;
    bench.host.swap_in(bench.instance, &[disk]).await?;
    bench.host.start(bench.instance).await?;
    bench.fill(1, 0, 4096, 0x22).await?;
    let tracked = bench.hides_nothing(base, &before).await?;
    ensure!(!tracked[0], "changes of a replaced disk were told since before it was replaced");
    let (next, before) = bench.base().await?;
    bench.fill(0, MIB, 4096, 0x33).await?;
    let tracked = bench.hides_nothing(next, &before).await?;
    ensure!(tracked == [true, true], "after a roll back changes are never told again: {tracked:?}");
    Ok(())
}

pub(super) async fn preparing_again_starts_over(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let (task, target) = (bench.task(), bench.replacing(0, 4 * MIB));
    bench.prepared(task, &target, &vec![0x99; 4 << 20]).await?;
    let mut wanted = vec![0; 4 << 20];
    wanted[1 << 20..][..4096].fill(0x11);
    let disk = bench.prepared(task, &target, &wanted).await?;
    bench.host.swap_in(bench.instance, &[disk]).await?;
    ensure!(bench.content(0).await? == wanted, "what was written before starting over shows through");
    bench.nothing_left().await
}

pub(super) async fn swapping_needs_a_stopped_instance(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    let before = bench.content(0).await?;
    let (task, target) = (bench.task(), bench.replacing(0, 4 * MIB));
    let disk = bench.prepared(task, &target, &bench.pattern(4 * MIB)).await?;
    let swapped = bench.host.swap_in(bench.instance, &[disk]).await;
    refused!(swapped, HostError::State { .. }, "rolling back a running instance");
    ensure!(bench.content(0).await? == before, "the disk of a running instance was replaced");
    bench.host.discard(task, &target).await?;
    bench.nothing_left().await
}

pub(super) async fn a_discarded_disk_cannot_be_swapped_in(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.fill(0, 0, MIB, 0x11).await?;
    let before = bench.content(0).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let (task, target) = (bench.task(), bench.replacing(0, 4 * MIB));
    let disk = bench.prepared(task, &target, &bench.pattern(4 * MIB)).await?;
    bench.host.discard(task, &target).await?;
    bench.host.discard(task, &target).await?;
    bench.host.discard(bench.task(), &target).await?;
    ensure!(
        bench.host.swap_in(bench.instance, &[disk]).await.is_err(),
        "a discarded disk counts as swapped in"
    );
    ensure!(bench.content(0).await? == before, "the instance's own disk changed");
    bench.nothing_left().await
}

pub(super) async fn discarding_spares_a_disk_in_use(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let (task, target) = (bench.task(), bench.replacing(0, 4 * MIB));
    let wanted = bench.pattern(4 * MIB);
    let disk = bench.prepared(task, &target, &wanted).await?;
    bench.host.swap_in(bench.instance, &[disk]).await?;
    bench.host.discard(task, &target).await?;
    ensure!(bench.content(0).await? == wanted, "discarding touched a disk in use");
    bench.host.start(bench.instance).await?;
    ensure!(bench.content(0).await? == wanted, "discarding touched a disk in use");
    Ok(())
}

pub(super) async fn a_disk_in_use_cannot_be_written(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let (task, target) = (bench.task(), bench.replacing(0, 4 * MIB));
    let wanted = bench.pattern(4 * MIB);
    let disk = bench.prepared(task, &target, &wanted).await?;
    bench.host.swap_in(bench.instance, std::slice::from_ref(&disk)).await?;
    ensure!(bench.host.writer(&disk).await.is_err(), "a disk in use was opened for writing");
    // Prepared anew it is another disk, beside the one in use.
    let anew = bench.host.prepare(task, &target).await?;
    let writer = bench.host.writer(&anew).await?;
    writer.write(0, Bytes::from(vec![0x55; 4096])).await?;
    writer.finish().await?;
    ensure!(bench.content(0).await? == wanted, "preparing again touched a disk in use");
    bench.host.discard(task, &target).await?;
    ensure!(bench.content(0).await? == wanted, "discarding touched a disk in use");
    bench.nothing_left().await
}

pub(super) async fn an_attached_disk_is_a_new_disk(fixture: &dyn Fixture) -> Outcome {
    let bench = Bench::pair(fixture).await?;
    bench.host.stop(bench.instance, Stop::ByForce).await?;
    let task = bench.task();
    let target = DiskTarget::ForInstance { instance: bench.instance, size: ByteCount(2 * MIB) };
    let wanted = bench.pattern(2 * MIB);
    let disk = bench.prepared(task, &target, &wanted).await?;
    let id = bench.host.attach(bench.instance, &disk).await?;
    let again = bench.host.attach(bench.instance, &disk).await?;
    ensure!(id == again, "attached twice, it is {id} and {again}");
    ensure!(!bench.disks.contains(&id), "the new disk has the id of an old one");
    let shown = bench.host.find(bench.instance).await?;
    ensure!(shown.disks.len() == 3, "{} disks are shown after attaching one to two", shown.disks.len());
    let size = shown.disk(id).map(|disk| disk.size);
    ensure!(size == Some(ByteCount(2 * MIB)), "the new disk is shown with {size:?}");
    bench.host.discard(task, &target).await?;
    ensure!(fixture.content(bench.instance, id).await? == wanted, "the attached disk holds something else");
    bench.host.start(bench.instance).await?;
    bench.nothing_left().await
}

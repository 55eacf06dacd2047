//! What only the simulated host promises: it repeats itself, it breaks on demand, its guests can be
//! told torn from whole, and it says what was left on it.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use host::sim::{Fault, SEQUENCE_OFFSET, SimDisk, SimHost, Strike, Verb, sequence_in, sequences_agree};
use host::{DiskTarget, Fate, Host, HostError, Mark, MarkDisk, Tracking};
use model::{ByteCount, Extent, GroupId, HostId, InstanceId, OsKind, RegionId, TaskId, ZoneId};

const MIB: u64 = ByteCount::MIB;

fn host(seed: u64) -> SimHost {
    SimHost::new(&RegionId::from("tokyo"), &ZoneId::from("tokyo-a"), HostId::from_bits(1), seed)
}

fn demo(seed: u64) -> SimHost {
    SimHost::demo(&RegionId::from("tokyo"), &ZoneId::from("tokyo-a"), HostId::from_bits(1), 7, seed)
}

fn pair(host: &SimHost) -> InstanceId {
    host.add("sim-pair", OsKind::Linux, &[SimDisk::tracked(4 * MIB), SimDisk::tracked(4 * MIB)])
}

fn mark(host: &SimHost, instance: InstanceId, group: u128, since: Option<u128>) -> Mark {
    let since = since.map(GroupId::from_bits);
    let disks = host.disks(instance).iter().map(|disk| MarkDisk { disk: *disk, since }).collect();
    Mark { instance, group: GroupId::from_bits(group), disks }
}

#[tokio::test]
async fn a_demo_is_simulated_by_name_and_repeats_itself() {
    let (first, again, other) = (demo(1), demo(1), demo(2));
    for host in [&first, &again, &other] {
        for _ in 0..3 {
            host.tick();
        }
    }
    let listed = first.list().await.unwrap();
    assert_eq!(listed.len(), 7);
    assert_eq!(listed, again.list().await.unwrap());
    assert_ne!(listed, other.list().await.unwrap());
    for instance in &listed {
        assert!(instance.simulated && instance.name.starts_with("sim-"), "{instance:?}");
        assert_eq!(instance.disks.len(), 2);
        assert_eq!(first.sequences(instance.id).unwrap(), [3, 3], "a guest does not go on writing");
        for disk in &instance.disks {
            let whole =
                [Extent { offset: 0, len: 8 * MIB }, Extent { offset: 256 * MIB, len: 300 * MIB / 2 }];
            for range in whole {
                assert!(first.peek(instance.id, disk.id, range) == again.peek(instance.id, disk.id, range));
            }
        }
    }
}

/// Every moment of a guest's life is whole over its disks, and every pair of two moments is not.
#[tokio::test]
async fn a_guest_tells_one_instant_from_two() {
    let host = host(1);
    let instance = pair(&host);
    for group in 0..20 {
        host.guest_step(instance).unwrap();
        let mark = mark(&host, instance, group, None);
        host.mark(&mark).await.unwrap();
        host.guest_step(instance).unwrap();
        host.guest_step(instance).unwrap();
        let mut numbers = Vec::new();
        for disk in &mark.disks {
            let reader = host.reader(instance, mark.group, disk.disk).await.unwrap();
            numbers
                .push(sequence_in(&reader.read(Extent { offset: SEQUENCE_OFFSET, len: 8 }).await.unwrap()));
        }
        assert!(sequences_agree(&numbers), "{numbers:?}");
        assert_ne!(numbers, host.sequences(instance).unwrap(), "the guest stood still");
        host.unmark(instance, mark.group, Fate::Drop).await.unwrap();
    }
    assert!(!sequences_agree(&[4, 5]), "the second disk is never ahead");
    assert!(!sequences_agree(&[6, 4]), "the first disk is never two ahead");
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect() {
    let host = host(1);
    let instance = pair(&host);
    let mark = mark(&host, instance, 1, None);
    host.inject(Strike::at(Verb::Mark, Fault::AfterEffect));
    assert!(matches!(host.mark(&mark).await, Err(HostError::Unreachable(_))));
    assert_eq!(host.leftovers().sessions, [(instance, mark.group)], "the session was not opened");
    host.mark(&mark).await.unwrap();
}

#[tokio::test]
async fn an_outage_leaves_no_effect_and_ends_when_healed() {
    let host = host(1);
    let instance = pair(&host);
    let mark = mark(&host, instance, 1, None);
    for fault in [Fault::Unreachable, Fault::NoSpace, Fault::Busy, Fault::Failed] {
        host.inject(Strike::next(fault).always());
        for _ in 0..3 {
            host.mark(&mark).await.unwrap_err();
        }
        assert_eq!(host.leftovers(), Default::default(), "{fault:?}");
        host.heal();
    }
    host.mark(&mark).await.unwrap();
}

#[tokio::test]
async fn a_lost_session_is_noticed_by_readers_already_open() {
    let host = host(1);
    let instance = pair(&host);
    let mark = mark(&host, instance, 1, None);
    host.mark(&mark).await.unwrap();
    let reader = host.reader(instance, mark.group, mark.disks[0].disk).await.unwrap();
    host.inject(Strike::at(Verb::Read, Fault::LoseSessions).after(1));
    let range = Extent { offset: 0, len: 4096 };
    reader.read(range).await.unwrap();
    assert!(matches!(reader.read(range).await, Err(HostError::Lost(_))));
    assert!(matches!(reader.extents(range).await, Err(HostError::Lost(_))));
    assert_eq!(host.seen().calls[&Verb::Read], 2);
    assert_eq!(host.leftovers().sessions, []);
}

#[tokio::test]
async fn a_crash_costs_the_bitmap_and_a_clean_stop_does_not() {
    for (crash, since) in [(true, false), (false, true)] {
        let host = host(1);
        let instance = pair(&host);
        let base = mark(&host, instance, 1, None);
        host.mark(&base).await.unwrap();
        host.unmark(instance, base.group, Fate::Keep).await.unwrap();
        match crash {
            true => host.crash(instance).unwrap(),
            false => host.stop(instance, host::Stop::Gracefully).await.unwrap(),
        }
        host.start(instance).await.unwrap();
        let marked = host.mark(&mark(&host, instance, 2, Some(1))).await.unwrap();
        for disk in marked.disks {
            assert_eq!(disk.tracking == Tracking::Since(base.group), since, "{:?}", disk.tracking);
        }
    }
}

#[tokio::test]
async fn a_disk_nobody_finished_cannot_be_used() {
    let host = host(1);
    let instance = pair(&host);
    host.crash(instance).unwrap();
    let disk = host.disks(instance)[0];
    let target = DiskTarget::Replacing { instance, disk, size: ByteCount(4 * MIB) };
    let prepared = host.prepare(TaskId::from_bits(1), &target).await.unwrap();
    let writer = host.writer(&prepared).await.unwrap();
    writer.write(0, Bytes::from_static(b"half")).await.unwrap();
    host.swap_in(instance, std::slice::from_ref(&prepared)).await.unwrap_err();
    assert_eq!(host.leftovers().prepared, std::slice::from_ref(&prepared));
    writer.finish().await.unwrap();
    host.swap_in(instance, &[prepared]).await.unwrap();
    assert_eq!(host.leftovers().prepared, []);
}

#[tokio::test]
async fn a_disk_of_many_tebibytes_is_told_in_a_few_extents() {
    let host = host(1);
    let instance = host.add("sim-huge", OsKind::Linux, &[SimDisk::tracked(64 << 40)]);
    let disk = host.disks(instance)[0];
    host.write(instance, disk, 63 << 40, &[1; 4096]).unwrap();
    let mark = mark(&host, instance, 1, None);
    host.mark(&mark).await.unwrap();
    let reader = host.reader(instance, mark.group, disk).await.unwrap();
    let told = reader.extents(Extent { offset: 0, len: 64 << 40 }).await.unwrap();
    assert_eq!(told.iter().filter(|found| !found.zero).map(|found| found.extent.len).sum::<u64>(), 4096);
    assert_eq!(told.len(), 3, "{told:?}");
    reader.read(Extent { offset: 0, len: 64 << 40 }).await.unwrap_err();
}

/// The roll back of two disks, broken off between them, is taken up again.
#[tokio::test]
async fn a_swap_may_break_off_after_its_first_disk() {
    let host = host(1);
    let instance = pair(&host);
    host.crash(instance).unwrap();
    let mut prepared = Vec::new();
    for disk in host.disks(instance) {
        let target = DiskTarget::Replacing { instance, disk, size: ByteCount(4 * MIB) };
        let disk = host.prepare(TaskId::from_bits(1), &target).await.unwrap();
        let writer = host.writer(&disk).await.unwrap();
        writer.write(0, Bytes::from_static(b"rolled back")).await.unwrap();
        writer.finish().await.unwrap();
        prepared.push(disk);
    }
    let first_bytes = || {
        host.disks(instance)
            .into_iter()
            .map(|disk| host.peek(instance, disk, Extent { offset: 0, len: 1 }).unwrap()[0])
            .collect::<Vec<_>>()
    };
    host.inject(Strike::at(Verb::SwapIn, Fault::HalfEffect));
    assert!(matches!(host.swap_in(instance, &prepared).await, Err(HostError::Unreachable(_))));
    assert_eq!(first_bytes(), [b'r', 0]);
    host.swap_in(instance, &prepared).await.unwrap();
    assert_eq!(first_bytes(), [b'r', b'r']);
}

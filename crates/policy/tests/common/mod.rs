//! Goldens, time zones, and small nouns to decide about.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use model::{
    Binding, BindingId, BindingOptions, ByteCount, ConsistencyLevel, Days, Disk, DiskCapability, DiskId,
    DiskKind, DiskPoint, GroupId, HostId, Instance, InstanceId, InstanceStatus, JobId, OsKind, Point,
    PointId, PointStatus, PolicyId, RegionId, Retention, SnapshotId, Timestamp, ZoneId,
};

/// Compares with `tests/golden/<name>.txt`, or writes it when `UPDATE_GOLDEN` is set.
pub fn golden(name: &str, text: &str) {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("write the golden");
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    if expected != text {
        let mut difference = String::new();
        for (number, pair) in zip_longest(expected.lines(), text.lines()).enumerate() {
            if pair.0 != pair.1 {
                writeln!(difference, "line {}:\n  - {:?}\n  + {:?}", number + 1, pair.0, pair.1).unwrap();
            }
        }
        panic!("{} differs (UPDATE_GOLDEN=1 accepts it):\n{difference}", path.display());
    }
}

fn zip_longest<'a>(
    mut left: impl Iterator<Item = &'a str>,
    mut right: impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = (Option<&'a str>, Option<&'a str>)> {
    std::iter::from_fn(move || {
        let pair = (left.next(), right.next());
        (pair != (None, None)).then_some(pair)
    })
}

pub fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("a time zone of the bundled database")
}

/// `2026-03-29T02:30:00+01:00[Europe/Berlin]` and the like.
pub fn moment(text: &str) -> Timestamp {
    let parsed: jiff::Zoned = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Timestamp(parsed.timestamp().as_microsecond())
}

/// In UTC: `2026-03-29T02:30:00Z`.
pub fn utc(text: &str) -> Timestamp {
    let parsed: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Timestamp(parsed.as_microsecond())
}

/// As a wall clock in that zone shows it, with the weekday and the zone's name of that moment.
pub fn shown(moment: Timestamp, zone: &TimeZone) -> String {
    let zoned = jiff::Timestamp::from_microsecond(moment.0).unwrap().to_zoned(zone.clone());
    zoned.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
}

pub fn instance_id() -> InstanceId {
    InstanceId::from_bits(1)
}

pub fn disk(number: u32, capability: DiskCapability) -> Disk {
    Disk {
        id: DiskId::from_bits(number.into()),
        instance: instance_id(),
        device: format!("vd{}", char::from(b'a' + u8::try_from(number % 26).unwrap())),
        kind: if number == 0 { DiskKind::System } else { DiskKind::Data },
        size: ByteCount(10 << 30),
        capability,
        encrypted: false,
    }
}

pub fn refused() -> DiskCapability {
    DiskCapability::Refused { because: "a passed-through device".to_owned() }
}

pub fn instance(status: InstanceStatus, disks: Vec<Disk>) -> Instance {
    Instance {
        id: instance_id(),
        uuid: [7; 16],
        name: "web".to_owned(),
        region: RegionId::from("tokyo"),
        zone: ZoneId::from("tokyo-a"),
        host: HostId::from_bits(1),
        status,
        paused: false,
        vcpus: 2,
        memory: ByteCount(1 << 30),
        os: OsKind::Linux,
        disks,
        created: None,
        simulated: true,
    }
}

/// An available point of two disks.
pub fn point(number: u32, created: Timestamp, days: u32) -> Point {
    let disk_point = |disk: u32| DiskPoint {
        id: PointId::from_bits(u128::from(number) << 8 | u128::from(disk)),
        disk: DiskId::from_bits(disk.into()),
        device: format!("vd{disk}"),
        system: disk == 0,
        snapshot: SnapshotId::from_bits(u128::from(number) << 8 | u128::from(disk)),
    };
    Point {
        id: PointId::from_bits(number.into()),
        region: RegionId::from("tokyo"),
        instance: instance_id(),
        instance_name: "web".to_owned(),
        job: JobId::from_bits(number.into()),
        group: GroupId::from_bits(number.into()),
        status: PointStatus::Available,
        partial: false,
        disks: vec![disk_point(0), disk_point(1)],
        level: ConsistencyLevel::Crash,
        downgrade: None,
        retention: Retention::Days(Days(days)),
        class: None,
        immutable: false,
        created,
        started: None,
        completed: Some(created),
        taken: Some(created),
        expires: policy::retention::expiry(created, Retention::Days(Days(days))),
        updated: created,
        bytes_total: ByteCount(0),
        bytes_stored: ByteCount(0),
        vcpus: 2,
        memory: ByteCount(1 << 30),
    }
}

pub fn binding() -> Binding {
    Binding {
        id: BindingId::from_bits(1),
        region: RegionId::from("tokyo"),
        policy: PolicyId::from_bits(1),
        instance: instance_id(),
        description: String::new(),
        disabled: false,
        options: BindingOptions::default(),
        created: Timestamp(0),
        updated: Timestamp(0),
    }
}

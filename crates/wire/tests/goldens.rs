//! Each answer's body, field by field, as files: `BLESS=1 cargo test -p hikae-wire` writes them anew.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use model::{
    AdvancedRetention, BackupRequest, Binding, BindingId, BindingOptions, ByteCount, Code, ConsistencyLevel,
    Cron, Days, Disk, DiskCapability, DiskId, DiskKind, DiskPoint, Downgrade, Group, GroupId, HostId,
    Instance, InstanceId, InstanceStatus, Job, JobId, JobStatus, Maker, OsKind, Point, PointId, PointStatus,
    Policy, PolicyId, PolicyKind, Progress, Refusal, Restore, RestoreId, RestoreKind, Retention,
    RetentionClass, Rule, RuleId, RuleKind, Schedule, Snapshot, SnapshotId, SnapshotStatus, TagFilter,
    TagOperator, TaskId, Timestamp, Trigger,
};
use serde::Serialize;
use serde_json::Value;
use wire::{EcsAction, Format, HbrAction, Operation, Page, Params, ecs, envelope, hbr};

const NOW: Timestamp = Timestamp::from_seconds(1_795_363_588);

fn check(operation: Operation, payload: &impl Serialize) {
    for format in [Format::Json, Format::Xml] {
        let answer = envelope::success(operation, format, "9C4F0A52-0000-0000-0000-000000000001", payload);
        let (extension, text) = match format {
            Format::Json => {
                let value: Value = serde_json::from_slice(&answer.body).unwrap();
                ("json", format!("{value:#}\n"))
            }
            Format::Xml => ("xml", String::from_utf8(answer.body).unwrap().replace("><", ">\n<") + "\n"),
        };
        let name = operation.name().replace(':', ".");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/goldens/{name}.{extension}"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        if format == Format::Json {
            // By value: the order of fields depends on a feature any crate may switch on.
            let golden: Value = serde_json::from_str(&golden).unwrap_or_default();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), golden, "{}", path.display());
        } else {
            assert_eq!(text, golden, "{}", path.display());
        }
    }
}

fn no_params() -> Params {
    Params::default()
}

fn params(pairs: &[(&str, &str)]) -> Params {
    Params::from_pairs(pairs.iter().map(|pair| (pair.0.to_owned(), pair.1.to_owned()))).unwrap()
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page { total: items.len(), items, next_token: None }
}

fn instance() -> Instance {
    let disk = |bits, device: &str, kind, capability| Disk {
        id: DiskId::from_bits(bits),
        instance: InstanceId::from_bits(1),
        device: device.into(),
        kind,
        size: ByteCount(5 * ByteCount::GIB + 1),
        capability,
        encrypted: false,
    };
    Instance {
        id: InstanceId::from_bits(1),
        uuid: [0xab; 16],
        name: "db <1>".into(),
        region: "tokyo".into(),
        zone: "tokyo-a".into(),
        host: HostId::from_bits(9),
        status: InstanceStatus::Running,
        paused: true,
        vcpus: 2,
        memory: ByteCount(4 * ByteCount::GIB),
        os: OsKind::Linux,
        disks: vec![
            disk(11, "vda", DiskKind::System, DiskCapability::Tracked),
            disk(12, "vdb", DiskKind::Data, DiskCapability::Whole),
            disk(
                13,
                "sda",
                DiskKind::Data,
                DiskCapability::Refused { because: "it is passed through".into() },
            ),
        ],
        created: Some(NOW),
        simulated: true,
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        id: SnapshotId::from_bits(21),
        region: "tokyo".into(),
        group: GroupId::from_bits(31),
        instance: InstanceId::from_bits(1),
        disk: DiskId::from_bits(11),
        device: "vda".into(),
        disk_kind: DiskKind::System,
        disk_size: ByteCount(5 * ByteCount::GIB + 1),
        encrypted: false,
        tracked: true,
        status: SnapshotStatus::Accomplished,
        progress: Progress::FULL,
        name: "Created-from-HBR-job:job-1".into(),
        made_by: Maker::Backup { job: JobId::from_bits(41) },
        created: NOW,
        completed: Some(NOW.plus_seconds(9)),
        bytes_read: ByteCount(1_000),
        bytes_stored: ByteCount(100),
        base: None,
        root: None,
        full_because: Some("the first of its chain".into()),
    }
}

fn job() -> Job {
    let policy = PolicyId::from_bits(51);
    let (rule, binding) = (RuleId::from_bits(52), BindingId::from_bits(53));
    Job {
        id: JobId::from_bits(41),
        parent: None,
        region: "tokyo".into(),
        name: "nightly".into(),
        instance: InstanceId::from_bits(1),
        instance_name: "db <1>".into(),
        request: BackupRequest {
            trigger: Trigger::Schedule { policy, rule, binding, due: NOW },
            retention: Days(7),
            immutable: false,
            options: BindingOptions { disks: vec![DiskId::from_bits(11)], ..BindingOptions::default() },
        },
        status: JobStatus::Failed,
        progress: Progress::of(1, 3),
        failure: Some(Refusal::new(Code::HostNoSpace, "the scratch file system is full")),
        point: PointId::from_bits(61),
        group: GroupId::from_bits(31),
        snapshots: vec![SnapshotId::from_bits(21)],
        created: NOW,
        started: Some(NOW.plus_seconds(1)),
        completed: Some(NOW.plus_seconds(11)),
        updated: NOW.plus_seconds(11),
        bytes_total: ByteCount(3_000),
        bytes_read: ByteCount(1_000),
        bytes_stored: ByteCount(100),
    }
}

fn point() -> Point {
    let disk = |bits, disk, device: &str, system| DiskPoint {
        id: PointId::from_bits(bits),
        disk: DiskId::from_bits(disk),
        device: device.into(),
        system,
        snapshot: SnapshotId::from_bits(disk + 10),
    };
    Point {
        id: PointId::from_bits(61),
        region: "tokyo".into(),
        instance: InstanceId::from_bits(1),
        instance_name: "db <1>".into(),
        job: JobId::from_bits(41),
        group: GroupId::from_bits(31),
        status: PointStatus::Available,
        partial: true,
        disks: vec![disk(62, 11, "vda", true), disk(63, 12, "vdb", false)],
        level: ConsistencyLevel::Crash,
        downgrade: Some(Downgrade::DiskNotGrouped),
        retention: Retention::Days(Days(7)),
        class: Some(RetentionClass::Weekly),
        immutable: true,
        created: NOW,
        started: Some(NOW),
        completed: Some(NOW.plus_seconds(9)),
        taken: Some(NOW.plus_seconds(2)),
        expires: Some(NOW.plus_days(Days(7))),
        updated: NOW.plus_seconds(9),
        bytes_total: ByteCount(3_000),
        bytes_stored: ByteCount(100),
        vcpus: 2,
        memory: ByteCount(4 * ByteCount::GIB),
    }
}

fn policy() -> Policy {
    let cron = Cron {
        text: "0 0 2 ? * 3,5,7".into(),
        seconds: vec![],
        minutes: vec![],
        hours: vec![],
        days: vec![],
        months: vec![],
        weekdays: vec![],
    };
    let advanced = AdvancedRetention { class: RetentionClass::Weekly, retention: Days(60) };
    let tag = TagFilter { key: "env".into(), operator: TagOperator::Not, value: String::new() };
    let backup = |schedule, retention, vault: Option<&str>| RuleKind::Backup {
        schedule: Some(schedule),
        retention,
        keep_latest: true,
        immutable: false,
        vault: vault.map(str::to_owned),
    };
    let start = Timestamp::from_seconds(1_631_685_600);
    let kinds = [
        backup(Schedule::Interval { start, text: "P1D".into(), seconds: 86_400 }, Some(Days(7)), None),
        backup(Schedule::Calendar { start, cron }, None, Some("v-1")),
        RuleKind::Transition { retention: Some(Days(90)), archive: Some(Days(30)), advanced: vec![advanced] },
        RuleKind::Replication { region: "osaka".into(), retention: Some(Days(30)), archive: None },
        RuleKind::Tag { filters: vec![tag], source_types: vec!["UDM_ECS".into()] },
        RuleKind::Security { immutable: true },
    ];
    let rules = (71..).zip(kinds).map(|(bits, kind)| Rule { id: RuleId::from_bits(bits), kind }).collect();
    Policy {
        id: PolicyId::from_bits(51),
        region: "tokyo".into(),
        name: "nightly".into(),
        description: String::new(),
        kind: PolicyKind::Instances,
        rules,
        created: NOW,
        updated: NOW.plus_seconds(5),
    }
}

#[test]
fn policies() {
    let asked = hbr::DescribePoliciesV2::parse(&no_params()).unwrap();
    let answer = hbr::Policies::new(&asked, page(vec![hbr::PolicyView::from(&policy(), 3)]));
    check(Operation::Hbr(HbrAction::DescribePoliciesV2), &answer);
    check(
        Operation::Hbr(HbrAction::CreatePolicyV2),
        &hbr::PolicyCreated { policy_id: PolicyId::from_bits(51) },
    );
    check(Operation::Hbr(HbrAction::ExecutePolicyV2), &hbr::JobCreated { job_id: JobId::from_bits(41) });
    check(Operation::Hbr(HbrAction::DeletePolicyV2), &hbr::Done {});
}

#[test]
fn bindings() {
    let binding = Binding {
        id: BindingId::from_bits(53),
        region: "tokyo".into(),
        policy: PolicyId::from_bits(51),
        instance: InstanceId::from_bits(1),
        description: "po-i".into(),
        disabled: true,
        options: BindingOptions { destination_key: Some("key-1".into()), ..BindingOptions::default() },
        created: NOW,
        updated: NOW,
    };
    let asked =
        hbr::DescribePolicyBindings::parse(&params(&[("PolicyId", &binding.policy.to_string())])).unwrap();
    assert!(asked.matches(&binding));
    let answer = hbr::Bindings::new(&asked, page(vec![hbr::BindingView::from(&binding)]));
    check(Operation::Hbr(HbrAction::DescribePolicyBindings), &answer);
}

#[test]
fn jobs_and_their_children() {
    let asked = hbr::DescribeBackupJobs2::parse(&no_params()).unwrap();
    let views = vec![hbr::JobView::from(&job()), hbr::JobView::child(&job(), &snapshot())];
    check(Operation::Hbr(HbrAction::DescribeBackupJobs2), &hbr::Jobs::new(&asked, page(views)));
}

#[test]
fn points_and_their_disks() {
    let point = point();
    let views = vec![
        hbr::PointView::from(&point, &[snapshot()]),
        hbr::PointView::disk(&point, &point.disks[0], Some(&snapshot())),
        hbr::PointView::disk(&point, &point.disks[1], None),
    ];
    check(Operation::Hbr(HbrAction::DescribeUdmSnapshots), &hbr::Points::new(views));
}

#[test]
fn restores() {
    let restore = Restore {
        id: RestoreId::from_bits(81),
        region: "tokyo".into(),
        point: PointId::from_bits(61),
        source: InstanceId::from_bits(1),
        kind: RestoreKind::RollBackInstance { instance: InstanceId::from_bits(1), force: false, boot: true },
        task: TaskId::from_bits(91),
        status: JobStatus::Queued,
        progress: Progress::ZERO,
        failure: None,
        created: NOW,
        started: None,
        completed: None,
        updated: NOW,
        bytes_total: ByteCount(3_000),
        bytes_done: ByteCount(0),
        detail: "{\"bootAfterRestore\":true}".into(),
    };
    let asked = hbr::DescribeRestoreJobs2::parse(&params(&[("RestoreType", "UDM_ECS_ROLLBACK")])).unwrap();
    assert!(asked.matches(&restore));
    let other = hbr::DescribeRestoreJobs2::parse(&params(&[("RestoreType", "UDM_ECS")])).unwrap();
    assert!(!other.matches(&restore));
    let answer = hbr::Restores::new(&asked, page(vec![hbr::RestoreView::from(&restore)]));
    check(Operation::Hbr(HbrAction::DescribeRestoreJobs2), &answer);
    check(Operation::Hbr(HbrAction::CreateRestoreJob), &hbr::RestoreCreated { restore_id: restore.id });
}

#[test]
fn empty_lists_are_there() {
    let json = |value: &dyn erased::Json| value.json();
    let asked = hbr::DescribePoliciesV2::parse(&no_params()).unwrap();
    assert_eq!(json(&hbr::Policies::new(&asked, page(vec![])))["Policies"], Value::Array(vec![]));
    let asked = hbr::DescribePolicyBindings::parse(&no_params()).unwrap();
    assert_eq!(json(&hbr::Bindings::new(&asked, page(vec![])))["PolicyBindings"], Value::Array(vec![]));
    assert_eq!(json(&hbr::Points::new(vec![]))["Snapshots"], Value::Array(vec![]));
    let asked = hbr::DescribeBackupJobs2::parse(&no_params()).unwrap();
    assert_eq!(json(&hbr::Jobs::new(&asked, page(vec![])))["BackupJobs"]["BackupJob"], Value::Array(vec![]));
    let asked = hbr::DescribeRestoreJobs2::parse(&no_params()).unwrap();
    assert_eq!(
        json(&hbr::Restores::new(&asked, page(vec![])))["RestoreJobs"]["RestoreJob"],
        Value::Array(vec![])
    );
    let asked = ecs::DescribeDisks::parse(&no_params()).unwrap();
    assert_eq!(json(&ecs::Disks::new(&asked, page(vec![])))["Disks"]["Disk"], Value::Array(vec![]));
}

mod erased {
    pub(super) trait Json {
        fn json(&self) -> serde_json::Value;
    }
    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> serde_json::Value {
            serde_json::to_value(self).unwrap()
        }
    }
}

#[test]
fn regions() {
    let view = hbr::RegionView { region_id: "tokyo".into(), local_name: "東京".into() };
    check(Operation::Hbr(HbrAction::DescribeRegions), &hbr::Regions::new(vec![view]));
    let view = ecs::RegionView::new("tokyo".into(), "東京".into(), "127.0.0.1:8080/tokyo".into());
    check(Operation::Ecs(EcsAction::DescribeRegions), &ecs::Regions::new(vec![view]));
}

#[test]
fn instances_and_disks() {
    let instance = instance();
    let asked =
        ecs::DescribeInstances::parse(&params(&[("InstanceName", "db*"), ("PageSize", "50")])).unwrap();
    assert!(asked.matches(&instance));
    let lacking = ecs::DescribeInstances::parse(&params(&[("VpcId", "vpc-1")])).unwrap();
    assert!(!lacking.matches(&instance));
    let answer = ecs::Instances::new(&asked, page(vec![ecs::InstanceView::from(&instance)]));
    check(Operation::Ecs(EcsAction::DescribeInstances), &answer);

    let asked = ecs::DescribeDisks::parse(&params(&[("DiskType", "data")])).unwrap();
    let matching = instance.disks.iter().filter(|disk| asked.matches(&instance, disk)).count();
    assert_eq!(matching, 2);
    let views = instance.disks.iter().map(|disk| ecs::DiskView::from(disk, &instance)).collect();
    let next = Page { items: views, total: 9, next_token: Some("bmV4dA".into()) };
    check(Operation::Ecs(EcsAction::DescribeDisks), &ecs::Disks::new(&asked, next));
    check(Operation::Ecs(EcsAction::StartInstance), &hbr::Done {});
}

#[test]
fn snapshots_and_groups() {
    let snapshot = snapshot();
    let job = JobId::from_bits(41).to_string();
    let tagged = |value: &str| {
        let pairs = [("Tag.1.Key", "HBR JobId"), ("Tag.1.Value", value)];
        ecs::DescribeSnapshots::parse(&params(&pairs)).unwrap().matches(&snapshot)
    };
    assert!(tagged(&job) && !tagged("job-other"));
    let asked = ecs::DescribeSnapshots::parse(&no_params()).unwrap();
    let answer = ecs::Snapshots::new(&asked, page(vec![ecs::SnapshotView::from(&snapshot)]));
    check(Operation::Ecs(EcsAction::DescribeSnapshots), &answer);

    let group: Group = serde_json::from_value(serde_json::json!({
        "id": GroupId::from_bits(31), "region": "tokyo", "instance": InstanceId::from_bits(1),
        "task": TaskId::from_bits(91), "status": "Accomplished", "name": "g", "description": "",
        "made_by": snapshot.made_by, "level": "Crash", "created": NOW, "snapshots": [snapshot.id],
        "source": instance(), "settled": true,
    }))
    .unwrap();
    let asked = ecs::DescribeSnapshotGroups::parse(&params(&[("Status.1", "accomplished")])).unwrap();
    assert!(asked.matches(&group));
    let answer = ecs::Groups::new(page(vec![ecs::GroupView::from(&group, &[snapshot])]));
    check(Operation::Ecs(EcsAction::DescribeSnapshotGroups), &answer);
}

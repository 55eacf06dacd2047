//! Rules, disks, consistency, and what may begin.
#![allow(clippy::unwrap_used)]

mod common;

use common::{binding, disk, instance, instance_id, point, refused, utc};
use model::{
    AdvancedRetention, BindingOptions, ByteCount, Code, ConsistencyLevel, Days, Disk, DiskCapability, DiskId,
    Downgrade, InstanceId, InstanceStatus, JobStatus, Point, PointStatus, Policy, PolicyId, PolicyKind,
    Refusal, RegionId, RetentionClass, Rule, RuleId, RuleKind, Timestamp,
};
use policy::admission::{self, Cancel, Candidate, OccurrenceVerdict, Skipped};
use policy::consistency::{GroupLimits, plan};
use policy::rules::{self, AdvancedInput, RuleInput, Sourced, TagInput};
use policy::selection::{self, Reason, Verdict};

fn backup(retention: Option<i64>) -> RuleInput {
    RuleInput { schedule: Some("I|1631685600|PT1H".to_owned()), retention, ..of_type("BACKUP") }
}

fn of_type(rule_type: &str) -> RuleInput {
    RuleInput { rule_type: rule_type.to_owned(), ..RuleInput::default() }
}

fn transition(retention: Option<i64>, advanced: &[(&str, i64)]) -> RuleInput {
    let advanced = advanced.iter().map(|(class, days)| AdvancedInput {
        class: (*class).to_owned(),
        retention: Some(*days),
        which: Some(1),
    });
    RuleInput { retention, advanced: advanced.collect(), ..of_type("TRANSITION") }
}

fn admit(kind: PolicyKind, inputs: &[RuleInput]) -> Result<Vec<RuleKind>, Refusal> {
    rules::admit(kind, &RegionId::from("tokyo"), inputs)
}

#[test]
fn rules_are_admitted_in_their_order() {
    let inputs = [
        RuleInput { immutable: Some(true), ..of_type("SECURITY") },
        RuleInput { keep_latest: Some(1), ..backup(Some(7)) },
        RuleInput {
            replication_region: Some("osaka".to_owned()),
            retention: Some(30),
            ..of_type("REPLICATION")
        },
        transition(Some(14), &[("WEEKLY", 60), ("YEARLY", 3650)]),
        RuleInput {
            tag_filters: vec![TagInput {
                key: "team".to_owned(),
                operator: "NOT".to_owned(),
                value: String::new(),
            }],
            ..of_type("TAG")
        },
    ];
    let admitted = admit(PolicyKind::Instances, &inputs).unwrap();
    let kinds = admitted
        .iter()
        .enumerate()
        .map(|(number, kind)| Rule { id: RuleId::from_bits(number as u128), kind: kind.clone() });
    let policy = Policy {
        id: PolicyId::from_bits(1),
        region: RegionId::from("tokyo"),
        name: "nightly".to_owned(),
        description: String::new(),
        kind: PolicyKind::Instances,
        rules: kinds.collect(),
        created: Timestamp(0),
        updated: Timestamp(0),
    };
    assert!(matches!(policy.rules[0].kind, RuleKind::Security { immutable: true }));
    assert!(matches!(&policy.rules[1].kind, RuleKind::Backup { schedule: Some(_), keep_latest: true, .. }));
    assert!(matches!(&policy.rules[2].kind, RuleKind::Replication { region, .. } if region.0 == "osaka"));
    // A TRANSITION rule is stronger than the backup's own retention.
    let from_transition = Sourced { value: Days(14), from: RuleId::from_bits(3) };
    assert_eq!(rules::effective_retention(&policy, &policy.rules[1]), Some(from_transition));
    assert!(rules::effective_immutable(&policy, &policy.rules[1]));
    assert!(rules::keeps_latest(&policy));
    let weekly = AdvancedRetention { class: RetentionClass::Weekly, retention: Days(60) };
    assert_eq!(rules::advanced(&policy)[0], weekly);
    assert_eq!(rules::bindable(&policy), Ok(()));

    let mut alone = policy;
    alone.rules.retain(|rule| matches!(rule.kind, RuleKind::Backup { .. }));
    let own = Sourced { value: Days(7), from: alone.rules[0].id };
    assert_eq!(rules::effective_retention(&alone, &alone.rules[0]), Some(own));
    assert!(!rules::effective_immutable(&alone, &alone.rules[0]));
    assert_eq!(rules::advanced(&alone), []);
    alone.kind = PolicyKind::Standard;
    assert_eq!(rules::bindable(&alone).unwrap_err().code, Code::SourceTypeNotSupported);
    alone.kind = PolicyKind::Instances;
    if let RuleKind::Backup { retention, .. } = &mut alone.rules[0].kind {
        *retention = None;
    }
    assert_eq!(rules::bindable(&alone).unwrap_err().code, Code::PermanentRetention);
}

#[test]
fn the_retention_may_come_from_either_rule() {
    for (own, other) in [(Some(1), None), (None, Some(1)), (Some(65_536), None), (None, Some(65_536))] {
        let inputs = [backup(own), transition(other, &[])];
        admit(PolicyKind::Instances, &inputs)
            .unwrap_or_else(|refusal| panic!("{own:?} {other:?}: {refusal}"));
    }
    // What no instance may have, a standard policy may.
    for days in [None, Some(-1), Some(364_635)] {
        assert!(admit(PolicyKind::Standard, &[backup(days)]).is_ok(), "{days:?}");
    }
    assert_eq!(rules::manual_retention(None), Ok(Days(7)));
    assert_eq!(rules::manual_retention(Some(30)), Ok(Days(30)));
    assert_eq!(rules::manual_retention(Some(-1)).unwrap_err().code, Code::PermanentRetention);
    assert_eq!(rules::manual_retention(Some(0)).unwrap_err().code, Code::InvalidParameter);
}

#[test]
fn rules_that_do_not_make_a_policy() {
    use Code::{InvalidParameter, MissingParameter, PermanentRetention, ReplicationRegionMissing};
    let tag = |key: &str| TagInput { key: key.to_owned(), ..TagInput::default() };
    let to =
        |region: &str| RuleInput { replication_region: Some(region.to_owned()), ..of_type("REPLICATION") };
    let cases: Vec<(&str, Vec<RuleInput>, Code)> = vec![
        ("no rules", vec![], InvalidParameter),
        ("eleven rules", vec![backup(Some(1)); 11], InvalidParameter),
        ("no BACKUP", vec![transition(Some(7), &[])], InvalidParameter),
        (
            "two TRANSITIONs",
            vec![backup(Some(1)), transition(None, &[]), transition(None, &[])],
            InvalidParameter,
        ),
        ("no type", vec![of_type("")], MissingParameter),
        ("odd type", vec![of_type("backup")], InvalidParameter),
        ("no retention", vec![backup(None)], PermanentRetention),
        ("no retention, TRANSITION without", vec![backup(None), transition(None, &[])], PermanentRetention),
        ("for ever", vec![backup(Some(-1))], PermanentRetention),
        ("for ever by TRANSITION", vec![backup(Some(7)), transition(Some(-1), &[])], PermanentRetention),
        (
            "copies for ever",
            vec![backup(Some(7)), RuleInput { retention: Some(-1), ..to("osaka") }],
            PermanentRetention,
        ),
        ("zero days", vec![backup(Some(0))], InvalidParameter),
        ("minus two days", vec![backup(Some(-2))], InvalidParameter),
        ("too many days", vec![backup(Some(65_537))], InvalidParameter),
        ("far too many days", vec![backup(Some(i64::MAX))], InvalidParameter),
        (
            "bad schedule",
            vec![RuleInput { schedule: Some("daily".to_owned()), ..backup(Some(7)) }],
            InvalidParameter,
        ),
        (
            "incremental",
            vec![RuleInput { backup_type: Some("INCREMENTAL".to_owned()), ..backup(Some(7)) }],
            InvalidParameter,
        ),
        ("keep two", vec![RuleInput { keep_latest: Some(2), ..backup(Some(7)) }], InvalidParameter),
        ("copy to nowhere", vec![backup(Some(7)), of_type("REPLICATION")], ReplicationRegionMissing),
        ("copy to \"\"", vec![backup(Some(7)), to("")], ReplicationRegionMissing),
        ("copy to itself", vec![backup(Some(7)), to("tokyo")], InvalidParameter),
        ("copy twice", vec![backup(Some(7)), to("osaka"), to("osaka")], InvalidParameter),
        ("hourly class", vec![backup(Some(7)), transition(None, &[("HOURLY", 9)])], InvalidParameter),
        (
            "class twice",
            vec![backup(Some(7)), transition(None, &[("WEEKLY", 9), ("WEEKLY", 10)])],
            InvalidParameter,
        ),
        ("class no longer", vec![backup(Some(7)), transition(None, &[("WEEKLY", 7)])], InvalidParameter),
        (
            "class no longer than TRANSITION",
            vec![backup(Some(7)), transition(Some(30), &[("WEEKLY", 20)])],
            InvalidParameter,
        ),
        ("class for ever", vec![backup(Some(7)), transition(None, &[("YEARLY", -1)])], PermanentRetention),
        ("no tags", vec![backup(Some(7)), of_type("TAG")], InvalidParameter),
        (
            "tag without a key",
            vec![backup(Some(7)), RuleInput { tag_filters: vec![tag("")], ..of_type("TAG") }],
            InvalidParameter,
        ),
        (
            "31 tags",
            vec![backup(Some(7)), RuleInput { tag_filters: vec![tag("k"); 31], ..of_type("TAG") }],
            InvalidParameter,
        ),
        (
            "archived at once",
            vec![backup(Some(7)), RuleInput { archive_days: Some(13), ..transition(Some(100), &[]) }],
            InvalidParameter,
        ),
        (
            "archived too late",
            vec![backup(Some(7)), RuleInput { archive_days: Some(41), ..transition(Some(100), &[]) }],
            InvalidParameter,
        ),
    ];
    for (name, inputs, code) in cases {
        let refusal = admit(PolicyKind::Instances, &inputs).expect_err(name);
        assert_eq!(refusal.code, code, "{name}: {refusal}");
    }
    let second = RuleInput {
        advanced: vec![AdvancedInput { class: "DAILY".to_owned(), retention: Some(90), which: Some(2) }],
        ..of_type("TRANSITION")
    };
    assert!(
        admit(PolicyKind::Instances, &[backup(Some(7)), second])
            .unwrap_err()
            .message
            .contains("WhichSnapshot")
    );
    assert!(admit(PolicyKind::Standard, &[backup(Some(7)), of_type("SECURITY")]).is_err());
    let archived = RuleInput { archive_days: Some(40), ..transition(Some(100), &[]) };
    assert!(admit(PolicyKind::Instances, &[backup(Some(7)), archived]).is_ok());
}

#[test]
fn a_policy_without_a_type_gets_one() {
    let with = RuleInput { vault: Some("v-1".to_owned()), ..backup(Some(7)) };
    assert_eq!(rules::kind(None, &[backup(Some(7))]), Ok(PolicyKind::Instances));
    assert_eq!(rules::kind(Some(""), &[backup(None), with.clone()]), Ok(PolicyKind::Standard));
    assert_eq!(rules::kind(Some("UDM_ECS_ONLY"), &[with]), Ok(PolicyKind::Instances));
    assert_eq!(rules::kind(Some("udm_ecs_only"), &[]).unwrap_err().code, Code::InvalidParameter);
}

#[test]
fn names_of_policies() {
    for good in ["ab", "nightly-2026", "控え", "a.b_c-d:e", "Automatic", "éa", &"x".repeat(128)] {
        assert_eq!(rules::name(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "a",
        "1ab",
        "-ab",
        "_ab",
        "auto",
        "autopolicy",
        "a b",
        "a/b",
        "a\0b",
        "a\u{202e}b",
        &"x".repeat(129),
    ] {
        assert_eq!(rules::name(bad).unwrap_err().code, Code::InvalidParameter, "{bad:?}");
    }
    assert_eq!(rules::description(&"x".repeat(256)), Ok(()));
    assert!(rules::description(&"x".repeat(257)).is_err());
}

fn options(disks: &[u32], excluded: &[u32]) -> BindingOptions {
    let ids = |numbers: &[u32]| numbers.iter().map(|number| DiskId::from_bits((*number).into())).collect();
    BindingOptions { disks: ids(disks), excluded: ids(excluded), ..BindingOptions::default() }
}

#[test]
fn disks_are_chosen_with_reasons() {
    let machine = instance(
        InstanceStatus::Running,
        vec![
            disk(0, DiskCapability::Tracked),
            disk(1, DiskCapability::Whole),
            disk(2, refused()),
            disk(3, DiskCapability::Tracked),
        ],
    );
    let verdicts = |options: &BindingOptions| -> Vec<Verdict> {
        selection::select(&machine, options)
            .unwrap()
            .choices
            .into_iter()
            .map(|choice| choice.verdict)
            .collect()
    };
    let cannot =
        || Verdict::Leave(Reason::CannotBeSnapshotted { because: "a passed-through device".to_owned() });
    let take = || Verdict::Take;
    assert_eq!(verdicts(&options(&[], &[])), [take(), take(), cannot(), take()]);
    assert_eq!(verdicts(&options(&[], &[1])), [take(), Verdict::Leave(Reason::Excluded), cannot(), take()]);
    let not_named = || Verdict::Leave(Reason::NotNamed);
    // Exclusions are ignored once disks are named.
    assert_eq!(verdicts(&options(&[1], &[1, 0])), [not_named(), take(), not_named(), not_named()]);
    let gone = Verdict::Leave(Reason::NotAttached);
    assert_eq!(verdicts(&options(&[3, 9], &[])), [not_named(), not_named(), not_named(), take(), gone]);
    let partial = selection::select(&machine, &options(&[3, 9], &[])).unwrap();
    assert_eq!(partial.taken().collect::<Vec<_>>(), [DiskId::from_bits(3)]);
    assert_eq!(partial.missing().collect::<Vec<_>>(), [DiskId::from_bits(9)]);

    let code = |options: &BindingOptions| selection::select(&machine, options).unwrap_err().code;
    assert_eq!(code(&options(&[0, 2], &[])), Code::DiskNotSupported);
    assert_eq!(code(&options(&[9], &[])), Code::NoDisk);
    assert_eq!(code(&options(&[], &[0, 1, 3])), Code::NoDisk);
    let bare = instance(InstanceStatus::Running, vec![disk(0, refused())]);
    let refusal = selection::select(&bare, &options(&[], &[])).unwrap_err();
    assert_eq!(refusal.code, Code::NoDisk);
    assert!(refusal.message.contains("a passed-through device"), "{}", refusal.message);

    // A new request that names what is not there is a slip, not a partial point.
    assert_eq!(selection::admit(&machine, &options(&[3, 9], &[])).unwrap_err().code, Code::DiskNotFound);
    assert_eq!(selection::admit(&machine, &options(&[], &[9])).unwrap_err().code, Code::DiskNotFound);
    assert!(selection::admit(&machine, &options(&[3], &[])).is_ok());
}

#[test]
fn disks_attached_later_are_taken_only_if_all_are() {
    let mut machine = instance(InstanceStatus::Running, vec![disk(0, DiskCapability::Tracked)]);
    let (all, named) = (options(&[], &[]), options(&[0], &[]));
    machine.disks.push(disk(1, DiskCapability::Tracked));
    assert_eq!(selection::select(&machine, &all).unwrap().taken().count(), 2);
    assert_eq!(selection::select(&machine, &named).unwrap().taken().count(), 1);
}

#[test]
fn groups_and_their_limits() {
    let limits = GroupLimits::STANDARD;
    let all =
        |disks: &[Disk], options: &BindingOptions| plan(&disks.iter().collect::<Vec<_>>(), options, limits);
    let many: Vec<Disk> = (0..17).map(|number| disk(number, DiskCapability::Tracked)).collect();
    let wanted = BindingOptions::default();

    let sixteen = all(&many[..16], &wanted);
    assert_eq!((sixteen.groups.len(), sixteen.groups[0].len(), sixteen.downgrade), (1, 16, None));
    assert_eq!(sixteen.level, ConsistencyLevel::Crash);
    let seventeen = all(&many, &wanted);
    assert_eq!((seventeen.groups.len(), seventeen.downgrade), (17, Some(Downgrade::GroupLimitExceeded)));
    let large = plan(&many.iter().collect::<Vec<_>>(), &wanted, GroupLimits::LARGE);
    assert_eq!((large.groups.len(), large.downgrade), (1, None));

    // 32 TiB are fine, a byte more is not.
    let mut big = vec![disk(0, DiskCapability::Tracked), disk(1, DiskCapability::Whole)];
    big[0].size = ByteCount(31 << 40);
    big[1].size = ByteCount(1 << 40);
    assert_eq!(all(&big, &wanted).groups.len(), 1);
    big[1].size = ByteCount((1 << 40) + 1);
    assert_eq!(all(&big, &wanted).downgrade, Some(Downgrade::GroupLimitExceeded));

    // Some cannot join: the others stay together.
    let mixed = vec![disk(0, DiskCapability::Tracked), disk(1, refused()), disk(2, DiskCapability::Whole)];
    let plan_mixed = all(&mixed, &wanted);
    assert_eq!(plan_mixed.groups, [vec![mixed[0].id, mixed[2].id], vec![mixed[1].id]]);
    assert_eq!(plan_mixed.downgrade, Some(Downgrade::DiskNotGrouped));

    // Not asked for is not a downgrade.
    let apart = BindingOptions { group: false, ..BindingOptions::default() };
    assert_eq!((all(&big, &apart).groups.len(), all(&big, &apart).downgrade), (2, None));
    let app = BindingOptions { app_consistent: true, ..BindingOptions::default() };
    let asked = all(&many[..2], &app);
    assert_eq!(
        (asked.level, asked.downgrade),
        (ConsistencyLevel::Crash, Some(Downgrade::ApplicationNotSupported))
    );
}

fn candidate(instance: &model::Instance) -> Candidate<'_> {
    Candidate { id: instance_id(), instance: Some(instance), held_by: None }
}

const STATUSES: [InstanceStatus; 5] = [
    InstanceStatus::Pending,
    InstanceStatus::Starting,
    InstanceStatus::Running,
    InstanceStatus::Stopping,
    InstanceStatus::Stopped,
];

fn two_disks() -> Vec<Disk> {
    vec![disk(0, DiskCapability::Tracked), disk(1, DiskCapability::Tracked)]
}

#[test]
fn what_may_begin_in_which_state() {
    let point = point(1, utc("2026-01-01T00:00:00Z"), 7);
    for status in STATUSES {
        let machine = instance(status, two_disks());
        let at_rest = matches!(status, InstanceStatus::Running | InstanceStatus::Stopped);
        let code = |result: Result<(), Refusal>| result.map_err(|refusal| refusal.code);
        let wrong = Err(Code::InstanceStatus);
        let backup = code(admission::backup(candidate(&machine)).map(drop));
        assert_eq!(backup, if at_rest { Ok(()) } else { wrong }, "{status:?}");
        let rolled = code(admission::roll_back(candidate(&machine), &point, None, false).map(drop));
        assert_eq!(rolled, if status == InstanceStatus::Stopped { Ok(()) } else { wrong }, "{status:?}");
        let clone = code(admission::clone_disk(candidate(&machine), &point, DiskId::from_bits(1)).map(drop));
        assert_eq!(clone, if at_rest { Ok(()) } else { wrong }, "{status:?}");
    }
}

#[test]
fn released_or_held_instances_wait() {
    let machine = instance(InstanceStatus::Stopped, two_disks());
    let point = point(1, utc("2026-01-01T00:00:00Z"), 7);
    let held = Candidate { held_by: Some("job job-1"), ..candidate(&machine) };
    let released = Candidate { instance: None, ..candidate(&machine) };
    for (candidate, code) in [(held, Code::JobRunning), (released, Code::InstanceReleased)] {
        assert_eq!(admission::backup(candidate).unwrap_err().code, code);
        assert_eq!(admission::roll_back(candidate, &point, None, true).unwrap_err().code, code);
        assert_eq!(admission::clone_disk(candidate, &point, DiskId::from_bits(0)).unwrap_err().code, code);
    }
    assert!(admission::backup(held).unwrap_err().message.contains("job-1"));
    // A clone needs only the point.
    assert_eq!(admission::clone_instance(&point).unwrap().len(), 2);
}

#[test]
fn points_that_cannot_be_restored() {
    let machine = instance(InstanceStatus::Stopped, two_disks());
    let good = point(1, utc("2026-01-01T00:00:00Z"), 7);
    for status in PointStatus::ALL {
        let point = Point { status, ..good.clone() };
        let expected = match status {
            PointStatus::Available => Ok(()),
            PointStatus::Unusable => Err(Code::PointUnusable),
            PointStatus::Creating => Err(Code::SnapshotNotReady),
            PointStatus::Failed | PointStatus::Deleting | PointStatus::Deleted => Err(Code::PointNotFound),
        };
        let rolled = admission::roll_back(candidate(&machine), &point, None, false);
        assert_eq!(rolled.map(drop).map_err(|refusal| refusal.code), expected, "{status:?}");
        let cloned = admission::clone_instance(&point);
        assert_eq!(cloned.map(drop).map_err(|refusal| refusal.code), expected, "{status:?}");
    }
    let foreign = Point { instance: InstanceId::from_bits(2), ..good.clone() };
    let refusal = admission::roll_back(candidate(&machine), &foreign, None, true).unwrap_err();
    assert_eq!(refusal.code, Code::SnapshotMismatch);
    let refusal =
        admission::roll_back(candidate(&machine), &good, Some(DiskId::from_bits(5)), true).unwrap_err();
    assert_eq!(refusal.code, Code::SnapshotMismatch);

    let mut headless = good;
    headless.disks.remove(0);
    headless.partial = true;
    assert_eq!(admission::clone_instance(&headless).unwrap_err().code, Code::PointUnusable);
    let whole = admission::roll_back(candidate(&machine), &headless, None, false).unwrap_err();
    assert_eq!(whole.code, Code::PointUnusable);
    let single =
        admission::roll_back(candidate(&machine), &headless, Some(DiskId::from_bits(1)), false).unwrap();
    assert_eq!(single.len(), 1);
}

#[test]
fn a_disk_that_is_gone_stops_a_roll_back_unless_forced() {
    let machine = instance(InstanceStatus::Stopped, vec![disk(0, DiskCapability::Tracked)]);
    let point = point(1, utc("2026-01-01T00:00:00Z"), 7);
    let refusal = admission::roll_back(candidate(&machine), &point, None, false).unwrap_err();
    assert_eq!(refusal.code, Code::DiskNotFound);
    let forced = admission::roll_back(candidate(&machine), &point, None, true).unwrap();
    assert_eq!(forced.iter().map(|disk| disk.disk).collect::<Vec<_>>(), [DiskId::from_bits(0)]);
    let empty = instance(InstanceStatus::Stopped, Vec::new());
    assert_eq!(admission::roll_back(candidate(&empty), &point, None, true).unwrap_err().code, Code::NoDisk);
}

#[test]
fn only_what_goes_on_can_be_cancelled() {
    for status in JobStatus::ALL {
        let expected = match status {
            JobStatus::Created | JobStatus::Queued | JobStatus::Running => Ok(Cancel::Ask),
            JobStatus::Canceling => Ok(Cancel::Asked),
            _ => Err(Code::JobFinished),
        };
        assert_eq!(
            admission::cancel("job job-1", status).map_err(|refusal| refusal.code),
            expected,
            "{status:?}"
        );
        // Asking leads to a status the job may have.
        if expected == Ok(Cancel::Ask) {
            assert!(status.may_become(JobStatus::Canceling), "{status:?}");
        }
    }
}

#[test]
fn due_times_that_pass() {
    let machine = instance(InstanceStatus::Running, two_disks());
    let due = Timestamp(0);
    let verdict = |disabled: bool, candidate: Candidate<'_>| {
        admission::occurrence(&model::Binding { disabled, ..binding() }, candidate, due).verdict
    };
    let free = candidate(&machine);
    assert_eq!(verdict(false, free), OccurrenceVerdict::Run);
    assert_eq!(verdict(true, free), OccurrenceVerdict::Skip(Skipped::Suspended));
    let released = Candidate { instance: None, ..free };
    assert_eq!(verdict(false, released), OccurrenceVerdict::Skip(Skipped::Released));
    let held = Candidate { held_by: Some("job job-1"), ..free };
    assert_eq!(verdict(false, held), OccurrenceVerdict::Skip(Skipped::StillRunning));
    assert_eq!(admission::run_now(&binding()), Ok(()));
    let suspended = model::Binding { disabled: true, ..binding() };
    assert_eq!(admission::run_now(&suspended).unwrap_err().code, Code::PlanSuspended);
}

//! Defaults, limits and refusals of every operation's parameters.
#![allow(clippy::unwrap_used)]

use model::{Code, Days, DiskId, InstanceId, PointId, PolicyId, PolicyKind, Refusal, RuleId};
use wire::{Params, ecs, hbr};

fn params(pairs: &[(&str, &str)]) -> Params {
    Params::from_pairs(pairs.iter().map(|pair| (pair.0.to_owned(), pair.1.to_owned()))).unwrap()
}

fn policy(rules: &str) -> Result<hbr::CreatePolicyV2, Refusal> {
    hbr::CreatePolicyV2::parse(&params(&[("Rules", rules)]))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: Code, names: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.message.contains(names), "{refusal} does not name {names}");
}

const BACKUP: &str =
    r#"{"RuleType":"BACKUP","BackupType":"COMPLETE","Schedule":"I|1631685600|P1D","Retention":7}"#;

#[test]
fn zero_values_in_rules_are_not_given() {
    let rules = r#"[{"RuleType":"BACKUP","BackupType":"COMPLETE","Schedule":"I|1|P1D","Retention":0,"ArchiveDays":0,
        "KeepLatestSnapshots":0,"VaultId":"","ReplicationRegionId":"","Immutable":false,"RetentionRules":[],
        "TagFilters":[],"DataSourceFilters":[]}]"#;
    let policy = policy(rules).unwrap();
    let expected = hbr::RuleInput::Backup {
        schedule: Some("I|1|P1D".into()),
        retention: None,
        keep_latest: false,
        immutable: false,
        vault: None,
    };
    assert_eq!(policy.rules, [expected]);
    assert_eq!((policy.kind, policy.name.as_str()), (PolicyKind::Instances, ""));
}

#[test]
fn the_kind_of_a_policy_follows_from_its_vault() {
    let rules = r#"[{"RuleType":"BACKUP","VaultId":"v-1"}]"#;
    assert_eq!(policy(rules).unwrap().kind, PolicyKind::Standard);
    let said = params(&[("Rules", rules), ("PolicyType", "UDM_ECS_ONLY")]);
    assert_eq!(hbr::CreatePolicyV2::parse(&said).unwrap().kind, PolicyKind::Instances);
}

#[test]
fn retention_has_its_limits() {
    for (text, expected) in
        [("1", Some(Days(1))), ("364635", Some(Days(364_635))), ("-1", None), ("\"9\"", Some(Days(9)))]
    {
        let rules = format!(r#"[{{"RuleType":"BACKUP","Retention":{text}}}]"#);
        let parsed = policy(&rules).unwrap();
        assert!(
            matches!(parsed.rules[0], hbr::RuleInput::Backup { retention, .. } if retention == expected),
            "{text}"
        );
    }
    for text in ["364636", "-2", "1.5", "\"x\"", "true", "[1]"] {
        let rules = format!(r#"[{{"RuleType":"BACKUP","Retention":{text}}}]"#);
        refused(policy(&rules), Code::InvalidParameter, "Rules[0].Retention");
    }
}

#[test]
fn rules_that_make_no_sense_are_named() {
    let with = |rule: &str| policy(&format!("[{BACKUP},{rule}]"));
    refused(policy("[]"), Code::InvalidParameter, "BACKUP");
    refused(policy("{}"), Code::InvalidParameter, "Rules");
    refused(policy("[}"), Code::InvalidParameter, "Rules is no JSON");
    refused(hbr::CreatePolicyV2::parse(&params(&[])), Code::MissingParameter, "Rules");
    refused(policy(&format!("[{}]", [BACKUP; 11].join(","))), Code::InvalidParameter, "11 elements");
    refused(with(r#"{"Retention":1}"#), Code::MissingParameter, "Rules[1].RuleType");
    refused(with(r#"{"RuleType":"PRUNE"}"#), Code::InvalidParameter, "PRUNE");
    refused(with(r#"{"RuleType":"BACKUP","BackupType":"LOG"}"#), Code::InvalidParameter, "BackupType");
    refused(with(r#"{"RuleType":"REPLICATION","Retention":1}"#), Code::ReplicationRegionMissing, "region");
    refused(with(r#"{"RuleType":"TAG"}"#), Code::MissingParameter, "TagFilters");
    refused(
        with(r#"{"RuleType":"TRANSITION","Retention":89,"ArchiveDays":30}"#),
        Code::InvalidParameter,
        "ArchiveDays",
    );
    refused(with(r#"{"RuleType":"TRANSITION","ArchiveDays":13}"#), Code::InvalidParameter, "ArchiveDays");
    refused(
        with(
            r#"{"RuleType":"TRANSITION","RetentionRules":[{"AdvancedRetentionType":"WEEKLY","WhichSnapshot":2}]}"#,
        ),
        Code::InvalidParameter,
        "Rules[1].RetentionRules[0].WhichSnapshot",
    );
    let transition = r#"{"RuleType":"TRANSITION","Retention":90,"ArchiveDays":30}"#;
    assert!(with(transition).is_ok());
    refused(policy(&format!("[{BACKUP},{transition},{transition}]")), Code::InvalidParameter, "TRANSITION");
    let standard = format!(r#"[{BACKUP},{{"RuleType":"SECURITY","Immutable":true}}]"#);
    assert!(policy(&standard).is_ok());
    let standard = params(&[("Rules", &standard), ("PolicyType", "STANDARD")]);
    refused(hbr::CreatePolicyV2::parse(&standard), Code::InvalidParameter, "SECURITY");
}

#[test]
fn policy_names_are_those_of_the_console() {
    let rules = format!("[{BACKUP}]");
    let named = |name: &str| hbr::CreatePolicyV2::parse(&params(&[("Rules", &rules), ("PolicyName", name)]));
    for name in ["ab", "nightly-2.0_x:y", "毎晩", &"a".repeat(128)] {
        assert_eq!(named(name).unwrap().name, name);
    }
    for name in ["a", "1a", "-a", "auto-x", "AUTOx", "a b", "a/b", &"a".repeat(129)] {
        refused(named(name), Code::InvalidParameter, "PolicyName");
    }
}

fn bindings(list: &str) -> Result<hbr::CreatePolicyBindings, Refusal> {
    let policy = PolicyId::from_bits(1).to_string();
    hbr::CreatePolicyBindings::parse(&params(&[("PolicyId", &policy), ("PolicyBindingList", list)]))
}

#[test]
fn a_binding_has_defaults_and_takes_both_kinds_of_boolean() {
    let id = InstanceId::from_bits(1);
    let list = |rest: &str| format!(r#"[{{"SourceType":"UDM_ECS","DataSourceId":"{id}"{rest}}}]"#);
    let binding = bindings(&list("")).unwrap().bindings.remove(0);
    assert_eq!(
        (binding.instance, binding.disabled, binding.options),
        (id, false, model::BindingOptions::default())
    );
    for disabled in ["true", "\"true\"", "\"True\""] {
        assert!(
            bindings(&list(&format!(r#","Disabled":{disabled}"#))).unwrap().bindings[0].disabled,
            "{disabled}"
        );
    }
    let key = r#","AdvancedOptions":{"UdmDetail":{"DestinationKmsKeyId":"key-1","TimeoutInSeconds":0}}"#;
    let options = bindings(&list(key)).unwrap().bindings.remove(0).options;
    assert_eq!((options.destination_key.as_deref(), options.timeout_seconds), (Some("key-1"), 30));
}

#[test]
fn bindings_that_cannot_be_are_named() {
    let id = InstanceId::from_bits(1);
    let one = format!(r#"{{"SourceType":"UDM_ECS","DataSourceId":"{id}"}}"#);
    refused(bindings("[]"), Code::MissingParameter, "PolicyBindingList");
    refused(bindings(&format!("[{one},{one}]")), Code::InvalidParameter, &id.to_string());
    refused(bindings(&format!("[{}]", vec![one; 100].join(","))), Code::InvalidParameter, "100 elements");
    refused(bindings(r#"[{"SourceType":"UDM_ECS"}]"#), Code::MissingParameter, "DataSourceId");
    refused(bindings(r#"[{"SourceType":"UDM_ECS","DataSourceId":"i-1"}]"#), Code::InstanceNotFound, "i-1");
    refused(bindings(r#"[{"SourceType":"OSS","DataSourceId":"x"}]"#), Code::SourceTypeNotSupported, "OSS");
    refused(bindings(r#"[{"SourceType":"CUPS","DataSourceId":"x"}]"#), Code::InvalidParameter, "CUPS");
    let other = r#"[{"SourceType":"UDM_ECS","DataSourceId":"x","CrossAccountType":"CROSS_ACCOUNT"}]"#;
    refused(bindings(other), Code::InvalidParameter, "CROSS_ACCOUNT");
    let policy = PolicyId::from_bits(1).to_string();
    refused(
        hbr::DeletePolicyBinding::parse(&params(&[("PolicyId", &policy)])),
        Code::MissingParameter,
        "DataSourceIds",
    );
}

#[test]
fn executing_takes_one_instance_or_all() {
    let (policy, rule) = (PolicyId::from_bits(1).to_string(), RuleId::from_bits(2).to_string());
    let asked = [("PolicyId", policy.as_str()), ("RuleId", rule.as_str())];
    assert_eq!(hbr::ExecutePolicyV2::parse(&params(&asked)).unwrap().instance, None);
    refused(hbr::ExecutePolicyV2::parse(&params(&asked[..1])), Code::MissingParameter, "RuleId");
    let one = [asked[0], asked[1], ("DataSourceId", "i-no")];
    refused(hbr::ExecutePolicyV2::parse(&params(&one)), Code::InstanceNotFound, "i-no");
}

fn job(detail: &str, retention: &str) -> Result<hbr::CreateBackupJob, Refusal> {
    let id = InstanceId::from_bits(1).to_string();
    let pairs =
        [("SourceType", "UDM_ECS"), ("InstanceId", &id), ("Detail", detail), ("Retention", retention)];
    hbr::CreateBackupJob::parse(&params(&pairs))
}

#[test]
fn a_job_takes_every_spelling_of_its_detail() {
    for key in ["timeoutSeconds", "timeoutInSeconds", "TimeoutInSeconds"] {
        assert_eq!(job(&format!(r#"{{"{key}":"45"}}"#), "").unwrap().options.timeout_seconds, 45, "{key}");
    }
    assert_eq!(job("", "").unwrap().options, model::BindingOptions::default());
    let copy =
        job(r#"{"doCopy":true,"destinationRegionId":"osaka","destinationRetention":-1}"#, "7").unwrap();
    assert_eq!(copy.copy, Some(hbr::CopyInput { region: "osaka".into(), retention: None }));
    assert_eq!(copy.retention, Some(Days(7)));
    let disk = DiskId::from_bits(3);
    assert_eq!(job(&format!(r#"{{"DiskIdList":["{disk}"]}}"#), "").unwrap().options.disks, [disk]);
}

#[test]
fn a_job_that_cannot_be_is_named() {
    refused(job(r#"{"doCopy":"true"}"#, ""), Code::ReplicationRegionMissing, "Detail");
    refused(job("", "-1"), Code::PermanentRetention, "Retention");
    refused(job("", "x"), Code::InvalidParameter, "Retention");
    refused(job("[1]", ""), Code::InvalidParameter, "Detail");
    refused(job(r#"{"diskIdList":["d-x"]}"#, ""), Code::DiskNotFound, "d-x");
    refused(job(r#"{"diskIdList":7}"#, ""), Code::InvalidParameter, "DiskIdList");
    refused(
        hbr::CreateBackupJob::parse(&params(&[("SourceType", "UDM_ECS")])),
        Code::MissingParameter,
        "InstanceId",
    );
    refused(
        hbr::CreateBackupJob::parse(&params(&[("InstanceId", "i")])),
        Code::MissingParameter,
        "SourceType",
    );
    refused(hbr::CancelBackupJob::parse(&params(&[("JobId", "job-1")])), Code::JobNotFound, "job-1");
}

#[test]
fn points_are_listed_by_region_and_time() {
    let all = [("SourceType", "UDM_ECS"), ("UdmRegionId", "tokyo"), ("StartTime", "0"), ("EndTime", "9")];
    assert!(hbr::DescribeUdmSnapshots::parse(&params(&all)).is_ok());
    for at in 0..all.len() {
        let mut some = all.to_vec();
        let missing = some.remove(at).0;
        refused(hbr::DescribeUdmSnapshots::parse(&params(&some)), Code::MissingParameter, missing);
    }
    let backwards = [all[0], all[1], ("StartTime", "9"), ("EndTime", "8")];
    refused(hbr::DescribeUdmSnapshots::parse(&params(&backwards)), Code::InvalidParameter, "EndTime");
    // The id of a native snapshot is not the id of a point.
    let native = model::SnapshotId::from_bits(1).to_string();
    refused(hbr::DeleteSnapshot::parse(&params(&[("SnapshotId", &native)])), Code::PointNotFound, &native);
}

fn restore(kind: &str, detail: &str) -> Result<hbr::RestoreInput, Refusal> {
    let point = PointId::from_bits(1).to_string();
    let pairs =
        [("RestoreType", kind), ("SourceType", "UDM_ECS"), ("SnapshotId", &point), ("UdmDetail", detail)];
    hbr::CreateRestoreJob::parse(&params(&pairs)).map(|restore| restore.kind)
}

#[test]
fn restores_are_of_four_types() {
    let instance = InstanceId::from_bits(1);
    for force in ["forceRestore", "foreceRestore", "ForceRestore"] {
        let detail = format!(r#"{{"sourceInstanceId":"{instance}","{force}":true}}"#);
        let expected = hbr::RestoreInput::RollBackInstance { instance, force: true, boot: false };
        assert_eq!(restore("UDM_ECS_ROLLBACK", &detail), Ok(expected), "{force}");
        let expected = hbr::RestoreInput::RollBackDisk { instance, disk: None, force: true, boot: false };
        assert_eq!(restore("UDM_ECS_DISK_ROLLBACK", &detail), Ok(expected), "{force}");
    }
    let clone = r#"{"restoredName":"n","restoredNetwork":"vsw-1","bootAfterRestore":"True","diskPerformanceLevel":"PL1"}"#;
    let Ok(hbr::RestoreInput::CloneInstance(clone)) = restore("UDM_ECS", clone) else { panic!("no clone") };
    assert_eq!((clone.name.as_str(), clone.network.as_str(), clone.boot), ("n", "vsw-1", true));
    let detail = format!(r#"{{"targetInstanceId":"{instance}","diskCategory":"cloud_essd"}}"#);
    let expected = hbr::RestoreInput::CloneDisk { instance, category: "cloud_essd".into() };
    assert_eq!(restore("UDM_ECS_DISK", &detail), Ok(expected));
}

#[test]
fn restores_that_cannot_be_are_named() {
    refused(restore("UDM_ECS_ROLLBACK", ""), Code::MissingParameter, "UdmDetail.sourceInstanceId");
    refused(restore("UDM_ECS_DISK", "{}"), Code::MissingParameter, "targetInstanceId");
    refused(restore("UDM_ECS", r#"{"diskPerformanceLevel":"PL9"}"#), Code::InvalidParameter, "PL9");
    refused(restore("UDM_ECS_ROLLBACK", r#"{"sourceInstanceId":"i-x"}"#), Code::InstanceNotFound, "i-x");
    refused(restore("ECS_FILE", ""), Code::InvalidParameter, "RestoreType");
    let no_point = params(&[("RestoreType", "UDM_ECS"), ("SourceType", "UDM_ECS"), ("SnapshotId", "s-1")]);
    refused(hbr::CreateRestoreJob::parse(&no_point), Code::PointNotFound, "s-1");
}

#[test]
fn listings_have_pages_and_known_filters() {
    let jobs = |pairs: &[(&str, &str)]| hbr::DescribeBackupJobs2::parse(&params(pairs));
    let asked = jobs(&[]).unwrap();
    assert_eq!((asked.page.number, asked.page.size, asked.sort), (1, 10, hbr::Sort::Descending));
    refused(jobs(&[("PageSize", "101")]), Code::InvalidParameter, "PageSize");
    refused(
        jobs(&[("Filters.1.Key", "Colour"), ("Filters.1.Values.1", "x")]),
        Code::InvalidParameter,
        "Filters.1.Key",
    );
    let parent = model::JobId::from_bits(7);
    let children = [
        ("SourceType", "UDM_ECS_DISK"),
        ("Filters.1.Key", "parentId"),
        ("Filters.1.Operator", "EQUAL"),
        ("Filters.1.Values.1", &parent.to_string()),
    ];
    assert_eq!(jobs(&children).unwrap().job(), Some(parent));
    assert_eq!(
        jobs(&children[1..]).unwrap().job(),
        None,
        "jobs with a parent are not the parent's children by disk"
    );
}

#[test]
fn instances_start_and_stop() {
    let id = InstanceId::from_bits(1).to_string();
    let stop =
        ecs::StopInstance::parse(&params(&[("InstanceId", &id), ("ForceStop", "True"), ("DryRun", "true")]));
    assert_eq!(stop.map(|stop| (stop.force, stop.dry_run)), Ok((true, true)));
    let hibernate = params(&[("InstanceId", &id), ("Hibernate", "true")]);
    refused(ecs::StopInstance::parse(&hibernate), Code::InvalidParameter, "Hibernate");
    refused(ecs::StartInstance::parse(&params(&[])), Code::MissingParameter, "InstanceId");
    refused(ecs::StartInstance::parse(&params(&[("InstanceId", "i-1")])), Code::InstanceNotFound, "i-1");
    let colour = params(&[("Status", "Purple")]);
    refused(ecs::DescribeInstances::parse(&colour), Code::InvalidParameter, "Status");
    refused(ecs::DescribeSnapshots::parse(&colour), Code::InvalidParameter, "Status");
    refused(ecs::DescribeSnapshotGroups::parse(&colour), Code::InvalidParameter, "Status");
    let time = params(&[("Filter.1.Key", "CreationStartTime"), ("Filter.1.Value", "yesterday")]);
    refused(ecs::DescribeSnapshots::parse(&time), Code::InvalidParameter, "Filter.1.Value");
}

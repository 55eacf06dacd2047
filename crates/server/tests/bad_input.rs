//! Bad input: each gets the code and HTTP status of the real service, and changes nothing.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Api, ECS, HBR, Server, now, rand_bits, text_of};

const GHOST: &str = "i-00000000000000000000";

fn rules(days: i64) -> String {
    // Of another century: nothing falls due while this runs.
    let schedule = "I|4102444800|P1D";
    json!([{"RuleType": "BACKUP", "BackupType": "COMPLETE", "Schedule": schedule, "Retention": days}])
        .to_string()
}

async fn policy(api: &Api, name: &str) -> (String, String) {
    let rules = rules(7);
    let made = api
        .ok(HBR, "CreatePolicyV2", &[("PolicyName", name), ("PolicyType", "UDM_ECS_ONLY"), ("Rules", &rules)])
        .await;
    let policy = text_of(&made, "PolicyId");
    let listed = api.ok(HBR, "DescribePoliciesV2", &[("PolicyId", &policy)]).await;
    (policy, text_of(&listed["Policies"][0]["Rules"][0], "RuleId"))
}

#[tokio::test]
async fn who_asks_must_prove_it_now_and_once() {
    let server = Server::start();
    let api = server.api();
    let refused = async |api: &Api, code: &str, status: u16| {
        api.refused(HBR, "DescribeRegions", &[], code, status).await;
    };
    refused(&Api { secret: "wrong".into(), ..api.clone() }, "SignatureDoesNotMatch", 400).await;
    refused(&Api { id: "HK00000000000000000000".into(), ..api.clone() }, "InvalidAccessKeyId.NotFound", 404)
        .await;

    let fresh = || format!("{:032x}", rand_bits());
    for seconds in [-3600, 3600] {
        let answer = api.call_at(HBR, "DescribeRegions", &[], now().plus_seconds(seconds), &fresh()).await;
        assert_eq!((answer.code().as_str(), answer.status), ("InvalidTimeStamp.Expired", 400), "{seconds}");
    }
    let nonce = fresh();
    let first = api.call_at(HBR, "DescribeRegions", &[], now(), &nonce).await;
    assert_eq!(first.status, 200);
    let again = api.call_at(HBR, "DescribeRegions", &[], now(), &nonce).await;
    assert_eq!((again.code().as_str(), again.status), ("SignatureNonceUsed", 400));

    let unsigned = wire::RawRequest {
        method: "GET".into(),
        path: "/".into(),
        query: format!("Version={HBR}&Action=DescribeRegions&Format=JSON"),
        ..wire::RawRequest::default()
    };
    let answer = api.send(&unsigned).await;
    assert_eq!((answer.code().as_str(), answer.status), ("IncompleteSignature", 400));
    assert!(!text_of(&answer.body, "RequestId").is_empty());
}

#[tokio::test]
async fn what_is_asked_for_must_exist_and_be_well_formed() {
    let server = Server::start();
    let api = server.api();
    api.refused(HBR, "Nothing", &[], "InvalidAction.NotFound", 404).await;
    api.refused("2000-01-01", "DescribeRegions", &[], "InvalidVersion", 400).await;
    api.refused(HBR, "StartInstance", &[("InstanceId", GHOST)], "InvalidAction.NotFound", 404).await;
    api.refused(ECS, "StartInstance", &[("InstanceId", GHOST)], "InvalidInstanceId.NotFound", 404).await;
    api.refused(ECS, "DescribeDisks", &[("RegionId", "kyoto")], "InvalidRegionId.NotFound", 404).await;
    api.refused(HBR, "CreatePolicyV2", &[], "MissingParameter", 400).await;
    api.refused(HBR, "CreatePolicyV2", &[("Rules", "[{")], "InvalidParameter", 400).await;
    api.refused(HBR, "CreatePolicyV2", &[("PolicyName", "all"), ("Rules", "[]")], "InvalidParameter", 400)
        .await;
    let unlimited = rules(-1);
    let refused = api.call(HBR, "CreatePolicyV2", &[("PolicyName", "ever"), ("Rules", &unlimited)]).await;
    assert_eq!(refused.status, 400, "{}", refused.body);

    let ghost = [("SourceType", "UDM_ECS"), ("InstanceId", GHOST), ("Retention", "7")];
    api.refused(HBR, "CreateBackupJob", &ghost, "InvalidInstanceId.NotFound", 404).await;
    let broken =
        [("SourceType", "UDM_ECS"), ("InstanceId", GHOST), ("Retention", "7"), ("Detail", "{\"a\":")];
    api.refused(HBR, "CreateBackupJob", &broken, "InvalidParameter", 400).await;
    let there = api.instances().await.remove(0);
    for (region, code, status) in
        [("kyoto", "InvalidRegionId.NotFound", 404), ("default", "OperationNotOffered", 403)]
    {
        let detail = json!({"doCopy": true, "destinationRegionId": region}).to_string();
        let copy =
            [("SourceType", "UDM_ECS"), ("InstanceId", &there), ("Retention", "7"), ("Detail", &detail)];
        api.refused(HBR, "CreateBackupJob", &copy, code, status).await;
    }
    api.refused(HBR, "CancelBackupJob", &[("JobId", "job-1")], "JobNotExist", 404).await;
    api.refused(HBR, "DeleteSnapshot", &[("SnapshotId", "s-1")], "SnapshotNotExist", 404).await;
    api.refused(HBR, "DeletePolicyV2", &[("PolicyId", "po-1")], "PolicyNotExist", 404).await;
    let execute = [("PolicyId", "po-00000000000000000000"), ("RuleId", "rule-00000000000000000000")];
    api.refused(HBR, "ExecutePolicyV2", &execute, "PolicyNotExist", 404).await;
    let detail = json!({"sourceInstanceId": GHOST}).to_string();
    let restore = [
        ("RestoreType", "UDM_ECS_ROLLBACK"),
        ("SourceType", "UDM_ECS"),
        ("SnapshotId", "s-00000000000000000000000"),
        ("UdmRegionId", "default"),
        ("UdmDetail", detail.as_str()),
    ];
    api.refused(HBR, "CreateRestoreJob", &restore, "SnapshotNotExist", 404).await;
    assert!(api.ok(HBR, "DescribePoliciesV2", &[]).await["Policies"].as_array().expect("a list").is_empty());
    assert!(api.points().await.is_empty(), "nothing was made of all this");
}

#[tokio::test]
async fn a_request_is_bounded_and_its_method_known() {
    let server = Server::start();
    let api = server.api();
    let long = wire::RawRequest {
        method: "POST".into(),
        path: "/".into(),
        body: vec![b'a'; 2 << 20],
        ..wire::RawRequest::default()
    };
    let answer = api.send(&long).await;
    assert_eq!((answer.code().as_str(), answer.status), ("RequestTooLarge", 413));
    let put = wire::RawRequest { method: "PUT".into(), path: "/".into(), ..wire::RawRequest::default() };
    assert!(api.send(&put).await.status >= 400);
    let elsewhere = Api { path: "/kyoto".into(), ..api.clone() };
    elsewhere.refused(HBR, "DescribeRegions", &[], "InvalidRegionId.NotFound", 404).await;
    api.ok(HBR, "DescribeRegions", &[]).await;
}

#[tokio::test]
async fn an_instance_has_one_policy_and_one_backup_at_a_time() {
    let server = Server::start();
    let api = server.api();
    let instances = api.instances().await;
    let (first, _) = policy(&api, "first").await;
    let (second, rule) = policy(&api, "second").await;
    let list = json!([{"DataSourceId": instances[0], "SourceType": "UDM_ECS"}]).to_string();
    api.ok(HBR, "CreatePolicyBindings", &[("PolicyId", &first), ("PolicyBindingList", &list)]).await;
    let both = json!([
        {"DataSourceId": instances[1], "SourceType": "UDM_ECS"},
        {"DataSourceId": instances[0], "SourceType": "UDM_ECS"},
    ])
    .to_string();
    let params = [("PolicyId", second.as_str()), ("PolicyBindingList", both.as_str())];
    api.refused(HBR, "CreatePolicyBindings", &params, "PolicyAlreadyBoundWithThisDataSource", 400).await;
    let bound = api.ok(HBR, "DescribePolicyBindings", &[("SourceType", "UDM_ECS")]).await;
    assert_eq!(bound["TotalCount"], 1, "all of them or none: {bound}");
    let execute =
        [("PolicyId", second.as_str()), ("RuleId", rule.as_str()), ("DataSourceId", instances[1].as_str())];
    api.refused(HBR, "ExecutePolicyV2", &execute, "PolicyBindingNotExist", 404).await;

    // Asked all at once, one is let in at a time: whoever is refused is told that one runs.
    let asked = futures::future::join_all((0..8).map(|_| api.back_up(&instances[0]))).await;
    let mut jobs = Vec::new();
    for answer in &asked {
        match answer.status {
            200 => jobs.push(text_of(&answer.body, "JobId")),
            _ => assert_eq!((answer.code().as_str(), answer.status), ("JobAlreadyRunning", 400)),
        }
    }
    assert!(!jobs.is_empty());
    for job in &jobs {
        assert_eq!(text_of(&api.finished(job).await, "Status"), "COMPLETE");
        api.refused(HBR, "CancelBackupJob", &[("JobId", job)], "JobAlreadyFinished", 400).await;
    }
    assert_eq!(api.points().await.len(), jobs.len());
}

#[tokio::test]
async fn a_running_instance_is_not_rolled_back() {
    let server = Server::start();
    let api = server.api();
    let instance = api.instances().await.remove(0);
    let job = text_of(&api.back_up(&instance).await.body, "JobId");
    api.finished(&job).await;
    let point = text_of(&api.points().await[0], "SnapshotId");
    let detail = json!({"sourceInstanceId": instance}).to_string();
    let restore = [
        ("RestoreType", "UDM_ECS_ROLLBACK"),
        ("SourceType", "UDM_ECS"),
        ("SnapshotId", point.as_str()),
        ("UdmRegionId", "default"),
        ("UdmDetail", detail.as_str()),
    ];
    api.refused(HBR, "CreateRestoreJob", &restore, "IncorrectInstanceStatus", 403).await;
    let other = json!({"sourceInstanceId": api.instances().await[1]}).to_string();
    let mut mixed = restore;
    mixed[4].1 = &other;
    let answer = api.call(HBR, "CreateRestoreJob", &mixed).await;
    assert!((400..500).contains(&answer.status), "a point of another instance: {}", answer.body);
    let none = api.ok(HBR, "DescribeRestoreJobs2", &[]).await;
    assert_eq!(none["RestoreJobs"]["RestoreJob"], Value::Array(Vec::new()), "lists are there when empty");
}

#[tokio::test]
async fn a_half_sent_request_holds_nobody_up() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start();
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let mut half = Vec::new();
    for _ in 0..32 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connect");
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n").await.expect("send");
        half.push(stream);
    }
    let ask = server.api();
    let answered = tokio::time::timeout(Duration::from_secs(60), ask.ok(HBR, "DescribeRegions", &[])).await;
    assert!(answered.is_ok());
}

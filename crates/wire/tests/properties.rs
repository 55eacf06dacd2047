//! For all bytes: no panic. For all calls: what we sign verifies, and means what was meant.
#![allow(clippy::unwrap_used)]

use model::Timestamp;
use proptest::prelude::*;
use wire::{Document, Format, Operation, Params, RawRequest, Request, client, ecs, envelope, hbr, signature};

fn raw(query: String, headers: Vec<(String, String)>, body: Vec<u8>) -> RawRequest {
    RawRequest { method: "POST".into(), path: "/".into(), query, headers, body }
}

const WORDS: &[&str] = &[
    "Action",
    "Version",
    "2017-09-08",
    "CreatePolicyV2",
    "Rules",
    "Filters.1.Key",
    "Filters.1.Values.1",
    "=",
    "&",
    "[{",
    "}]",
    "\"RuleType\":\"BACKUP\"",
    ",",
    ":",
    "-1",
    "0",
    "%",
    "%F0",
    "+",
    "Signature",
    "HMAC-SHA1",
    "SignatureMethod",
    "SignatureVersion=1.0",
    "AccessKeyId",
    "Timestamp",
    "2026-11-22T16:06:28Z",
    "true",
    "UDM_ECS",
    "MaxResults",
    "NextToken",
    "DiskId.1",
    ".",
    "99999999999999999999",
    "控え",
    "\\",
    "\u{0}",
];

/// Texts that look like what the parsers look for.
fn likely() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(WORDS), 0..40).prop_map(|words| words.concat())
}

fn everything(params: &Params) {
    let _ = hbr::CreatePolicyV2::parse(params);
    let _ = hbr::DescribePoliciesV2::parse(params);
    let _ = hbr::DeletePolicyV2::parse(params);
    let _ = hbr::ExecutePolicyV2::parse(params);
    let _ = hbr::CreatePolicyBindings::parse(params);
    let _ = hbr::DescribePolicyBindings::parse(params);
    let _ = hbr::DeletePolicyBinding::parse(params);
    let _ = hbr::CreateBackupJob::parse(params);
    let _ = hbr::CancelBackupJob::parse(params);
    let _ = hbr::DescribeBackupJobs2::parse(params);
    let _ = hbr::DescribeUdmSnapshots::parse(params);
    let _ = hbr::DeleteSnapshot::parse(params);
    let _ = hbr::CreateRestoreJob::parse(params);
    let _ = hbr::DescribeRestoreJobs2::parse(params);
    let _ = ecs::DescribeInstances::parse(params);
    let _ = ecs::DescribeDisks::parse(params);
    let _ = ecs::DescribeSnapshots::parse(params);
    let _ = ecs::DescribeSnapshotGroups::parse(params);
    let _ = ecs::StartInstance::parse(params);
    let _ = ecs::StopInstance::parse(params);
}

proptest! {
    #[test]
    fn no_bytes_panic(
        query in prop_oneof![likely(), ".*"],
        path in ".*",
        header in prop_oneof![
            Just(("authorization".to_owned(), "ACS3-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature=00".to_owned())),
            ("authorization|host|accept|x-acs-[a-z-]{0,12}", ".*"),
        ],
        body in prop_oneof![likely().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..200)],
        now in any::<i64>(),
    ) {
        let raw = RawRequest { path, ..raw(query, vec![header], body) };
        let _ = signature::claim(&raw);
        let _ = signature::verify(&raw, "secret", Timestamp(now));
        let _ = Format::of(&raw);
        if let Ok(request) = Request::parse(&raw) {
            everything(&request.params);
        }
    }

    #[test]
    fn no_parameters_panic(
        names in prop::collection::vec(prop::sample::select(&[
            "Rules", "PolicyBindingList", "Detail", "UdmDetail", "DataSourceIds", "SnapshotIds", "InstanceIds",
            "Filters.1.Key", "Filters.1.Operator", "Filters.1.Values.1", "Filters.x", "Tag.1.Key", "Filter.1.Value",
            "SourceType", "RestoreType", "PolicyId", "NextToken", "PageNumber", "StartTime", "EndTime", "Retention",
        ][..]), 0..12),
        values in prop::collection::vec(prop_oneof![likely(), ".*", "-?[0-9]{1,20}"], 12),
    ) {
        let pairs = names.into_iter().map(str::to_owned).zip(values);
        if let Ok(params) = Params::from_pairs(pairs) {
            everything(&params);
        }
    }

    #[test]
    fn no_document_panics(text in prop_oneof![likely(), ".*"]) {
        if let Ok(document) = Document::parse("D", &text) {
            let _ = document.texts();
            let _ = document.elements(3);
            let _ = document.int("0", -1, 1);
            let _ = document.bool("a");
        }
    }

    #[test]
    fn what_our_client_signs_verifies_and_means_the_same(
        params in prop::collection::btree_map("[A-Za-z][A-Za-z0-9]{3,8}x", ".{1,20}", 0..8),
        seconds in 0_i64..4_000_000_000,
        nonce in "[a-z0-9]{1,64}",
        secret in ".{1,40}",
        path in prop::sample::select(&["/", "/osaka", "/osaka/", ""][..]),
        host in "[a-z0-9.:]{1,20}",
    ) {
        // One name in two letter cases is no call anybody can make.
        let names: std::collections::BTreeSet<_> = params.keys().map(|name| name.to_ascii_lowercase()).collect();
        prop_assume!(names.len() == params.len());
        let params: Vec<_> = params.into_iter().collect();
        let now = Timestamp::from_seconds(seconds);
        let call = client::Call { version: "2017-09-08", action: "DescribeRegions", params: &params, host: &host, path };
        let raw = call.signed("HKsomebody", &secret, now, &nonce).unwrap();
        let verified = signature::verify(&raw, &secret, now).unwrap();
        prop_assert_eq!((verified.access_key_id.as_str(), &verified.nonce), ("HKsomebody", &nonce));
        prop_assert_eq!(verified.signed_at, now);
        prop_assert!(signature::verify(&raw, "~", now).is_err() || secret == "~");
        let request = Request::parse(&raw).unwrap();
        for (name, value) in &params {
            prop_assert_eq!(request.params.str(name), Some(value.as_str()));
        }
    }

    #[test]
    fn what_is_signed_the_old_way_verifies(
        query in "[A-Za-z0-9=&%+]{0,60}",
        body in "[A-Za-z0-9=&%+]{0,60}",
        seconds in 0_i64..4_000_000_000,
        nonce in "[a-z0-9]{1,64}",
        secret in ".{1,40}",
    ) {
        let mut raw = raw(query, vec![], body.into_bytes());
        let now = Timestamp::from_seconds(seconds);
        if signature::sign_v1(&mut raw, "HKsomebody", &secret, now, &nonce).is_ok() {
            let verified = signature::verify(&raw, &secret, now).unwrap();
            prop_assert_eq!(verified.nonce, nonce);
            raw.body.extend_from_slice(b"&a=b");
            prop_assert!(signature::verify(&raw, &secret, now).is_err());
        }
    }

    #[test]
    fn any_refusal_makes_an_answer(message in ".*", remedy in ".*") {
        let refusal = model::Refusal::new(model::Code::Internal, message.as_str()).remedy(remedy);
        for format in [Format::Json, Format::Xml] {
            let answer = envelope::failure(&refusal, format, "ID", "host");
            prop_assert_eq!(answer.status, 500);
            let text = String::from_utf8(answer.body).unwrap();
            if format == Format::Json {
                let body: serde_json::Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(body["Message"].as_str(), Some(message.as_str()));
            } else {
                prop_assert_eq!(text.matches('<').count(), text.matches('>').count());
            }
        }
    }
}

#[test]
fn every_action_is_found_by_its_name_in_its_product() {
    let all = wire::HbrAction::ALL
        .iter()
        .map(|it| Operation::Hbr(*it))
        .chain(wire::EcsAction::ALL.iter().map(|it| Operation::Ecs(*it)));
    for operation in all {
        assert_eq!(Operation::find(operation.product().version(), operation.action()), Ok(operation));
    }
}

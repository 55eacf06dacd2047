//! What the official clients really send verifies, parses, and stops verifying when a byte changes.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use model::{Code, PolicyKind, Refusal, Timestamp};
use wire::{EcsAction, HbrAction, Operation, RawRequest, RegionHint, Request, Scheme, ecs, hbr, signature};

const SECRET: &str = "capture-secret-of-no-account";

fn captures() -> Vec<(String, RawRequest)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut captures: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "http"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), read(&path)))
        .collect();
    captures.sort_by(|left, right| left.0.cmp(&right.0));
    // 22 operations by three clients, and three odd endpoints and credentials.
    assert_eq!(captures.len(), 69);
    captures
}

fn capture(name: &str) -> RawRequest {
    captures().into_iter().find(|capture| capture.0 == name).unwrap().1
}

fn read(path: &Path) -> RawRequest {
    let bytes = std::fs::read(path).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let method = first.next().unwrap().to_owned();
    let (path, query) = first.next().map(|target| target.split_once('?').unwrap_or((target, ""))).unwrap();
    let headers = lines.map(|line| line.split_once(':').unwrap());
    RawRequest {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.map(|header| (header.0.to_owned(), header.1.trim().to_owned())).collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

/// The moment the client signed it, told by the client.
fn signed_at(raw: &RawRequest) -> Timestamp {
    let text = match raw.header("x-acs-date") {
        Some(text) => text.to_owned(),
        None => {
            let query = raw.query.split('&').find_map(|pair| pair.strip_prefix("Timestamp=")).unwrap();
            query.replace("%3A", ":")
        }
    };
    Timestamp::from_seconds(text.parse::<jiff::Timestamp>().unwrap().as_second())
}

fn verify(raw: &RawRequest) -> Result<signature::Verified, Refusal> {
    signature::verify(raw, SECRET, signed_at(raw))
}

#[test]
fn every_capture_verifies_and_says_who_and_what() {
    for (name, raw) in captures() {
        let verified = verify(&raw).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let claim = signature::claim(&raw).unwrap();
        assert_eq!(verified.access_key_id, "HKcapturecapturecapture", "{name}");
        assert_eq!((claim.access_key_id, claim.scheme), (verified.access_key_id, verified.scheme), "{name}");
        assert_eq!(
            verified.scheme,
            if name.starts_with("acs3") { Scheme::Acs3 } else { Scheme::V1 },
            "{name}"
        );
        assert_eq!(verified.nonce.len(), 32, "{name}");
        let operation = Request::parse(&raw).unwrap().operation;
        assert!(name.ends_with(&operation.name().replace(':', ".")), "{name} is {}", operation.name());
    }
}

#[test]
fn another_secret_is_a_mismatch_that_shows_what_to_sign_and_no_secret() {
    for (name, raw) in captures() {
        let refusal = signature::verify(&raw, "another secret", signed_at(&raw)).unwrap_err();
        assert_eq!(refusal.code, Code::SignatureMismatch, "{name}");
        let shown = refusal.message.split(':').nth(1).unwrap();
        assert!(shown.starts_with("ACS3-HMAC-SHA256\n") || shown.starts_with("POST&%2F&"), "{name}: {shown}");
        assert!(!format!("{refusal:?}").contains("another secret"), "{name}");
    }
}

#[test]
fn a_flipped_byte_of_the_query_stops_it_verifying() {
    for (name, raw) in captures() {
        for at in 0..raw.query.len() {
            let mut changed = raw.clone();
            let mut bytes = changed.query.into_bytes();
            bytes[at] ^= 1;
            changed.query = String::from_utf8(bytes).unwrap();
            assert!(fails(&changed, &raw), "{name}: byte {at} of the query");
        }
    }
}

#[test]
fn a_flipped_byte_of_the_body_stops_it_verifying() {
    for (name, raw) in captures() {
        for at in 0..raw.body.len() {
            let mut changed = raw.clone();
            changed.body[at] ^= 1;
            assert!(fails(&changed, &raw), "{name}: byte {at} of the body");
        }
        let mut longer = raw.clone();
        longer.body.extend_from_slice(b"&Force=true");
        assert!(fails(&longer, &raw), "{name}: a longer body");
    }
}

#[test]
fn a_flipped_byte_of_a_signed_header_stops_it_verifying() {
    for (name, raw) in captures().into_iter().filter(|capture| capture.0.starts_with("acs3")) {
        let authorization = raw.header("authorization").unwrap();
        let list = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
        let mut flipped = 0;
        for (at, header) in raw.headers.iter().enumerate() {
            if !list.split(';').any(|signed| signed.eq_ignore_ascii_case(&header.0)) {
                continue;
            }
            for byte in 0..header.1.len() {
                let mut changed = raw.clone();
                let mut bytes = header.1.clone().into_bytes();
                bytes[byte] ^= 1;
                changed.headers[at].1 = String::from_utf8(bytes).unwrap();
                assert!(fails(&changed, &raw), "{name}: byte {byte} of {}", header.0);
                flipped += 1;
            }
        }
        assert!(flipped > 100, "{name}: {flipped} bytes of headers are signed");
    }
}

#[test]
fn a_flipped_byte_of_the_signature_stops_it_verifying() {
    for (name, raw) in captures().into_iter().filter(|capture| capture.0.starts_with("acs3")) {
        let at =
            raw.headers.iter().position(|header| header.0.eq_ignore_ascii_case("authorization")).unwrap();
        for byte in 0..raw.headers[at].1.len() {
            let mut changed = raw.clone();
            let mut bytes = changed.headers[at].1.clone().into_bytes();
            bytes[byte] ^= 1;
            changed.headers[at].1 = String::from_utf8(bytes).unwrap();
            // The access key's name is not signed: another name means another secret.
            let renamed = signature::claim(&changed)
                .is_ok_and(|claim| claim.access_key_id != "HKcapturecapturecapture");
            assert!(renamed || fails(&changed, &raw), "{name}: byte {byte} of the header Authorization");
        }
    }
}

/// Whether a changed request does not verify at the moment the original was signed.
fn fails(changed: &RawRequest, original: &RawRequest) -> bool {
    signature::verify(changed, SECRET, signed_at(original)).is_err()
}

#[test]
fn time_runs_out_on_both_sides() {
    for (name, raw) in captures() {
        let at = |seconds: i64| signature::verify(&raw, SECRET, signed_at(&raw).plus_seconds(seconds));
        for allowed in [-900, 900] {
            assert!(at(allowed).is_ok(), "{name}: {allowed} s");
        }
        for refused in [-901, 901] {
            assert_eq!(at(refused).unwrap_err().code, Code::TimestampExpired, "{name}: {refused} s");
        }
    }
}

#[test]
fn what_means_something_must_be_signed() {
    let raw = capture("acs3.hbr.CancelBackupJob");
    for name in ["x-acs-action", "x-acs-signature-nonce", "x-acs-date", "x-acs-version"] {
        let mut unsigned = raw.clone();
        for header in &mut unsigned.headers {
            if header.0.eq_ignore_ascii_case("authorization") {
                header.1 = header.1.replace(&format!("{name};"), "").replace(&format!(";{name}"), "");
            }
        }
        assert_eq!(verify(&unsigned).unwrap_err().code, Code::IncompleteSignature, "{name}");
    }
    let mut smuggled = raw.clone();
    smuggled.headers.push(("x-acs-security-token".into(), "another's".into()));
    assert_eq!(verify(&smuggled).unwrap_err().code, Code::IncompleteSignature);
    let token = signature::claim(&capture("acs3.sts.hbr.CancelBackupJob")).unwrap();
    assert_eq!(token.security_token.as_deref(), Some("capture-session-token"));
    assert!(!format!("{token:?}").contains("capture-session-token"));
}

#[test]
fn a_nonce_and_a_signature_cannot_be_left_out() {
    let mut raw = capture("v1.ecs.StartInstance");
    let without = |start: &str| {
        let kept: Vec<_> = raw.query.split('&').filter(|pair| !pair.starts_with(start)).collect();
        RawRequest { query: kept.join("&"), ..raw.clone() }
    };
    let (nonce, signature, method) =
        (without("SignatureNonce="), without("Signature="), without("SignatureMethod="));
    let code = |raw: &RawRequest| signature::verify(raw, SECRET, signed_at(raw)).unwrap_err().code;
    assert_eq!(code(&nonce), Code::MissingParameter);
    assert_eq!(code(&signature), Code::IncompleteSignature);
    assert_eq!(code(&method), Code::IncompleteSignature);
    raw.query = raw.query.replace("Timestamp=2026-", "Timestamp=");
    assert_eq!(signature::verify(&raw, SECRET, Timestamp(0)).unwrap_err().code, Code::IllegalTimestamp);
}

#[test]
fn a_prefix_and_a_scheme_in_the_endpoint_change_nothing_but_the_region() {
    let endpoint = |name: &str| Request::parse(&capture(name)).unwrap().endpoint;
    assert_eq!(endpoint("acs3.prefix.hbr.DescribeRegions"), Some(RegionHint::Path("osaka".into())));
    assert_eq!(endpoint("acs3.scheme.hbr.DescribeRegions"), None);
}

#[test]
fn every_capture_is_a_typed_request_and_all_clients_ask_the_same() {
    for (name, raw) in captures() {
        let asked = typed(&raw).unwrap_or_else(|refusal| panic!("{name}: {refusal} {}", refusal.remedy));
        let client_and_operation = name.replace("sts.", "").replace("prefix.", "").replace("scheme.", "");
        let (_, operation) = client_and_operation.split_once('.').unwrap();
        assert_eq!(asked, typed(&capture(&format!("acs3.{operation}"))).unwrap(), "{name}");
    }
}

fn typed(raw: &RawRequest) -> Result<String, Refusal> {
    let request = Request::parse(raw)?;
    let params = &request.params;
    fn show<T: std::fmt::Debug>(parsed: Result<T, Refusal>) -> Result<String, Refusal> {
        parsed.map(|parsed| format!("{parsed:?}"))
    }
    match request.operation {
        Operation::Hbr(action) => match action {
            HbrAction::CreatePolicyV2 => show(hbr::CreatePolicyV2::parse(params)),
            HbrAction::DescribePoliciesV2 => show(hbr::DescribePoliciesV2::parse(params)),
            HbrAction::DeletePolicyV2 => show(hbr::DeletePolicyV2::parse(params)),
            HbrAction::ExecutePolicyV2 => show(hbr::ExecutePolicyV2::parse(params)),
            HbrAction::CreatePolicyBindings => show(hbr::CreatePolicyBindings::parse(params)),
            HbrAction::DescribePolicyBindings => show(hbr::DescribePolicyBindings::parse(params)),
            HbrAction::DeletePolicyBinding => show(hbr::DeletePolicyBinding::parse(params)),
            HbrAction::CreateBackupJob => show(hbr::CreateBackupJob::parse(params)),
            HbrAction::CancelBackupJob => show(hbr::CancelBackupJob::parse(params)),
            HbrAction::DescribeBackupJobs2 => show(hbr::DescribeBackupJobs2::parse(params)),
            HbrAction::DescribeUdmSnapshots => show(hbr::DescribeUdmSnapshots::parse(params)),
            HbrAction::DeleteSnapshot => show(hbr::DeleteSnapshot::parse(params)),
            HbrAction::CreateRestoreJob => show(hbr::CreateRestoreJob::parse(params)),
            HbrAction::DescribeRestoreJobs2 => show(hbr::DescribeRestoreJobs2::parse(params)),
            HbrAction::DescribeRegions => Ok(String::new()),
        },
        Operation::Ecs(action) => match action {
            EcsAction::DescribeRegions => Ok(String::new()),
            EcsAction::DescribeInstances => show(ecs::DescribeInstances::parse(params)),
            EcsAction::DescribeDisks => show(ecs::DescribeDisks::parse(params)),
            EcsAction::DescribeSnapshots => show(ecs::DescribeSnapshots::parse(params)),
            EcsAction::DescribeSnapshotGroups => show(ecs::DescribeSnapshotGroups::parse(params)),
            EcsAction::StartInstance => show(ecs::StartInstance::parse(params)),
            EcsAction::StopInstance => show(ecs::StopInstance::parse(params)),
        },
    }
}

#[test]
fn a_captured_policy_is_read_whole() {
    let request = Request::parse(&capture("acs3.hbr.CreatePolicyV2")).unwrap();
    let policy = hbr::CreatePolicyV2::parse(&request.params).unwrap();
    assert_eq!(policy.name, "nightly-控え");
    assert_eq!(policy.description, "every night + more & 50 % of *it*~");
    assert_eq!((policy.kind, policy.rules.len()), (PolicyKind::Instances, 5));
}

#[test]
fn a_captured_job_and_a_captured_binding_are_read_whole() {
    let request = Request::parse(&capture("core.hbr.CreateBackupJob")).unwrap();
    let job = hbr::CreateBackupJob::parse(&request.params).unwrap();
    assert_eq!((job.options.timeout_seconds, job.options.disks.len(), job.copy), (40, 1, None));
    let request = Request::parse(&capture("v1.hbr.CreatePolicyBindings")).unwrap();
    let bindings = hbr::CreatePolicyBindings::parse(&request.params).unwrap().bindings;
    assert_eq!((bindings[0].options.timeout_seconds, bindings[0].options.disks.len()), (20, 1));
    assert_eq!(bindings[1].description, "the other");
    assert!(bindings[1].options.disks.is_empty() && !bindings[1].disabled);
}

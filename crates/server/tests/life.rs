//! The life of a server: its first start, its end, its sudden end, and its next start.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::{HBR, Server, hikae, text, text_of};

/// Enough to meet a job in every one of its steps.
const ROUNDS: u64 = 30;

#[test]
fn the_first_start_alone_makes_and_shows_the_root_access_key() {
    let mut server = Server::start();
    let (id, secret) = server.key();
    assert!(server.said.contains(&id) && server.said.contains(&secret), "{}", server.said);
    let mode =
        std::fs::metadata(server.data().join("root-access-key.json")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(server.data()).expect("there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else has business in there");

    server.stop();
    server.said.clear();
    server.launch();
    assert_eq!(server.key(), (id.clone(), secret.clone()), "the same after a restart");
    assert!(!server.said.contains(&id) && !server.said.contains(&secret), "{}", server.said);
    server.cli(&["instance", "list"]);
    assert!(!server.log().contains(&secret), "a secret in the log");
    server.stop();
    let holders = files_holding(&server.data(), secret.as_bytes());
    assert_eq!(
        holders,
        [server.data().join("root-access-key.json")],
        "the secret lies in its own file alone"
    );
}

fn files_holding(directory: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut holders = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            holders.extend(files_holding(&path, needle));
        } else if std::fs::read(&path).expect("a file").windows(needle.len()).any(|window| window == needle) {
            holders.push(path);
        }
    }
    holders
}

#[test]
fn a_second_server_on_one_directory_is_told_so() {
    let server = Server::start();
    let second = server.command().output().expect("run hikae");
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains("another hikae serves"), "{said}");
    server.cli(&["instance", "list"]);
}

#[test]
fn a_wrong_configuration_stops_the_start_and_is_named() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let config = directory.path().join("hikae.toml");
    let start = |text: &str| {
        std::fs::write(&config, text).expect("write");
        let mut command = hikae();
        command.args(["serve", "--simulate", "1", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(directory.path().join("data")).arg("--config").arg(&config).output().expect("run hikae")
    };
    for (text_, part) in [
        ("surprise = 1", "surprise"),
        ("[[region]]\nid = 'a'\n[region.depot]\npassword = 'hush-hush'", "password"),
        ("[[region]]\nid = 'A B'", "A B"),
    ] {
        let output = start(text_);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(part) && !said.contains("hush-hush"), "{said}");
    }
}

#[tokio::test]
async fn regions_are_told_apart_by_path_parameter_and_host() {
    let config = "server.default_region = 'tokyo'\n[[region]]\nid = 'osaka'\n\
                  [[region]]\nid = 'tokyo'\nlocal_name = 'Tokyo'\n[[region.host]]\nuri = 'test:///default'\n";
    let server = Server::with(&["--simulate", "2"], config);
    let api = server.api();
    let regions = api.ok(HBR, "DescribeRegions", &[]).await;
    assert_eq!(text_of(&regions["Regions"]["Region"][0], "RegionId"), "tokyo", "the default one first");
    assert_eq!(server.cli(&["instance", "list"]).as_array().map(Vec::len), Some(2));
    assert_eq!(server.cli(&["--region", "osaka", "instance", "list"]).as_array().map(Vec::len), Some(0));
    server.cli(&["backup", "sim-web-01", "--wait"]);
    assert_eq!(server.cli(&["point", "list"]).as_array().map(Vec::len), Some(1));
    assert_eq!(server.cli(&["--region", "osaka", "point", "list"]).as_array().map(Vec::len), Some(0));
    let far = support::Api { path: "/osaka".into(), ..api.clone() };
    let conflict = far.call(support::ECS, "DescribeInstances", &[("RegionId", "tokyo")]).await;
    assert_eq!((conflict.code().as_str(), conflict.status), ("InvalidParameter", 400));

    // As the real service tells regions apart: by the name the client calls.
    let instances = async |host: &str| {
        let call = wire::client::Call {
            version: support::ECS,
            action: "DescribeInstances",
            params: &[],
            host,
            path: "/",
        };
        let nonce = format!("{:032x}", support::rand_bits());
        let raw = call.signed(&api.id, &api.secret, support::now(), &nonce).expect("signed");
        let answer = api.send(&raw).await;
        answer.body["Instances"]["Instance"].as_array().map(Vec::len)
    };
    assert_eq!(instances("ecs.osaka.backup.example").await, Some(0));
    assert_eq!(instances("ecs.tokyo.backup.example").await, Some(2));
    assert_eq!(instances("backup.example").await, Some(2), "no region's name: the default");

    // A job is found by its id wherever it is, and not where it is said to be and is not.
    let job = text_of(&server.cli(&["--region", "tokyo", "backup", "sim-web-01", "--wait"]), "id");
    assert_eq!(text_of(&api.job(&job).await, "JobId"), job);
    let filter = [("Filters.1.Key", "JobId"), ("Filters.1.Values.1", job.as_str())];
    let none = far.ok(HBR, "DescribeBackupJobs2", &filter).await;
    assert_eq!(none["TotalCount"], 0, "{none}");
}

#[tokio::test]
async fn a_host_that_is_down_is_no_reason_not_to_start() {
    let scratch = tempfile::tempdir().expect("temporary directory");
    let config = format!(
        "[[region]]\nid = 'default'\n[[region.host]]\nuri = 'qemu+unix:///system?socket=/nonexistent'\n\
         scratch_directory = '{0}/s'\nimage_directory = '{0}'\n",
        scratch.path().display()
    );
    let server = Server::with(&[], &config);
    assert!(server.log().contains("cannot be used now"), "{}", server.log());
    let api = server.api();
    api.ok(HBR, "DescribeRegions", &[]).await;
    api.refused(support::ECS, "DescribeInstances", &[], "HostUnavailable", 503).await;
    let (code, said) = server.cli_fails(&["instance", "list"]);
    assert_eq!((code, said["error"]["code"].as_str()), (3, Some("HostUnavailable")));
}

#[test]
fn a_data_directory_may_have_any_name() {
    let base = tempfile::tempdir().expect("temporary directory");
    for name in ["a b", "ha?lf#", "100%41", "控え"] {
        let mut server = Server::at(&base.path().join(name), &["--simulate", "1"]);
        server.cli(&["backup", "sim-web-01", "--wait"]);
        server.stop();
        assert!(base.path().join(name).join("catalog.db").exists(), "{name}");
    }
}

#[tokio::test]
async fn what_was_there_before_a_restart_is_there_after_it() {
    let mut server = Server::start();
    server.cli(&["policy", "create", "nightly", "--keep-days", "3"]);
    server.cli(&["protect", "sim-web-01", "--policy", "nightly"]);
    server.cli(&["backup", "sim-web-01", "--wait"]);
    let lists =
        [vec!["policy", "list"], vec!["job", "list"], vec!["point", "list"], vec!["instance", "list"]];
    let before: Vec<_> = lists.iter().map(|list| server.cli(list)).collect();
    server.stop();
    server.launch();
    let after: Vec<_> = lists.iter().map(|list| server.cli(list)).collect();
    assert_eq!(before, after);
}

#[tokio::test]
async fn killed_at_any_moment_no_job_is_lost_and_no_half_point_is_shown() {
    let mut server = Server::start();
    let mut jobs: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let api = server.api();
        // Now and then a life is so short that it dies over what the last one left.
        let is_short = round % 3 == 2;
        for job in jobs.iter().rev().take(if is_short { 0 } else { 8 }) {
            api.finished(job).await;
        }
        for instance in api.instances().await {
            let answer = api.back_up(&instance).await;
            match answer.status {
                200 => jobs.push(text_of(&answer.body, "JobId")),
                _ => assert!(is_short && answer.code() == "JobAlreadyRunning", "{}", answer.body),
            }
        }
        // A different moment each time, from at once to well after the end.
        tokio::time::sleep(Duration::from_millis(round * 37 % 211)).await;
        // Mostly a crash; sometimes an operator, who need not wait for jobs either.
        if round % 5 == 4 {
            server.stop()
        } else {
            server.kill()
        }
        server.launch();
    }
    let api = server.api();
    assert!(jobs.len() as u64 >= ROUNDS / 3 * 4, "{} jobs were let in", jobs.len());
    let mut complete = std::collections::BTreeSet::new();
    for job in &jobs {
        let row = api.finished(job).await;
        match text_of(&row, "Status").as_str() {
            "COMPLETE" => drop(complete.insert(job.clone())),
            "FAILED" => assert!(!text_of(&row, "ErrorMessage").is_empty(), "failed without a reason: {row}"),
            other => panic!("{job} ended {other}: {row}"),
        }
    }
    let mut shown = std::collections::BTreeSet::new();
    for point in api.points().await {
        assert_eq!(text_of(&point, "Status"), "COMPLETE", "{point}");
        assert!(shown.insert(text_of(&point, "JobId")), "two points of one job: {point}");
    }
    assert_eq!(shown, complete, "a point for each complete job, and for no other");
    for instance in api.instances().await {
        let answer = api.back_up(&instance).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let row = api.finished(&text_of(&answer.body, "JobId")).await;
        assert_eq!(text_of(&row, "Status"), "COMPLETE", "the next backup works: {row}");
    }
    let (_, secret) = server.key();
    assert!(!server.log().contains(&secret));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

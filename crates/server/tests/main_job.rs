//! The main job on simulated instances, all of it through the command line.

mod support;

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;

use serde_json::Value;
use support::{Server, hikae, text, text_of};

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).expect("a list")
}

#[test]
fn protect_back_up_roll_back_clone_and_delete() {
    let server = Server::start();
    let instances = server.cli(&["instance", "list"]);
    let [database, web] = rows(&instances) else { panic!("two instances: {instances}") };
    assert_eq!(
        (text_of(database, "name"), text_of(web, "name")),
        ("sim-database-02".into(), "sim-web-01".into())
    );
    assert!(rows(&instances).iter().all(|instance| instance["simulated"] == true));

    let policy = server.cli(&["policy", "create", "nightly", "--every", "1d", "--keep-days", "3"]);
    let policy = text_of(&policy, "id");
    server.cli(&["protect", "sim-web-01", "sim-database-02", "--policy", "nightly"]);
    let policies = server.cli(&["policy", "list"]);
    assert_eq!(policies[0]["instances"], 2);
    assert_eq!(policies[0]["keep_days"], 3);

    // The first run reads what the disks hold, over both instances, as one job to look at.
    let run = server.cli(&["policy", "run", &policy, "--wait"]);
    assert_eq!(text_of(&run, "status"), "COMPLETE");
    assert_eq!(text_of(&run, "instance_name"), "2 instances");
    assert!(run["bytes_done"].as_u64() > Some(8 << 20), "{run}");
    assert_eq!(rows(&server.cli(&["point", "list"])).len(), 2);

    // The second reads what was written since.
    let second = server.cli(&["backup", "sim-web-01", "--wait", "--keep-days", "9", "--name", "by-hand"]);
    assert_eq!(text_of(&second, "status"), "COMPLETE");
    let read = |job: &Value| job["bytes_done"].as_u64().expect("a number");
    assert!(read(&second) < read(&run) / 4, "{second}");
    let points = server.cli(&["point", "list", "--instance", "sim-web-01"]);
    let [newest, oldest] = rows(&points) else { panic!("two points: {points}") };
    assert_eq!((newest["keep_days"].as_u64(), oldest["keep_days"].as_u64()), (Some(9), Some(3)));
    assert_eq!(text_of(newest, "id"), text_of(&second, "point"));

    let oldest = text_of(oldest, "id");
    let (code, said) = server.cli_fails(&["rollback", &oldest]);
    assert_eq!((code, said["error"]["code"].as_str()), (2, Some("Usage")));
    let (code, said) = server.cli_fails(&["rollback", &oldest, "--yes"]);
    assert_eq!((code, said["error"]["code"].as_str()), (3, Some("IncorrectInstanceStatus")));
    server.cli(&["instance", "stop", "sim-web-01", "--force"]);
    let back = server.cli(&["rollback", &oldest, "--boot", "--yes", "--wait"]);
    assert_eq!(
        (text_of(&back, "status"), text_of(&back, "kind")),
        ("COMPLETE".into(), "UDM_ECS_ROLLBACK".into())
    );

    let clone = server.cli(&["clone", &text_of(newest, "id"), "--name", "web-copy", "--boot", "--wait"]);
    assert_eq!(text_of(&clone, "status"), "COMPLETE");
    let listed = server.cli(&["instance", "list"]);
    let made =
        rows(&listed).iter().find(|instance| text_of(instance, "name") == "web-copy").expect("the clone");
    assert_eq!(text_of(made, "id"), text_of(&clone, "target_instance_id"));
    assert_ne!(text_of(made, "id"), text_of(web, "id"));
    assert!(rows(&listed).iter().all(|instance| text_of(instance, "status") == "Running"), "{listed}");

    let (code, said) = server.cli_fails(&["point", "delete", &oldest]);
    assert_eq!((code, said["error"]["code"].as_str()), (2, Some("Usage")));
    server.cli(&["point", "delete", "--yes", &oldest]);
    let left = server.cli(&["point", "list", "--instance", "sim-web-01"]);
    assert_eq!(rows(&left).len(), 1);
    let (code, said) = server.cli_fails(&["point", "delete", "--yes", &oldest]);
    assert_eq!((code, said["error"]["code"].as_str()), (3, Some("SnapshotNotExist")));

    server.cli(&["unprotect", "sim-web-01", "sim-database-02"]);
    server.cli(&["policy", "delete", "nightly"]);
    assert!(rows(&server.cli(&["policy", "list"])).is_empty());
    assert_eq!(rows(&server.cli(&["job", "list"])).len(), 5);
    assert_eq!(rows(&server.cli(&["job", "list", "--backups"])).len(), 3);
    assert_eq!(rows(&server.cli(&["job", "list", "--limit", "2"])).len(), 2);
    assert_eq!(rows(&server.cli(&["job", "list", "--restores"])).len(), 2);
}

#[test]
fn exit_codes_are_as_documented() {
    let server = Server::start();
    let check = |arguments: &[&str], expected: i32, code: &str| {
        let (exit, said) = server.cli_fails(arguments);
        assert_eq!((exit, said["error"]["code"].as_str()), (expected, Some(code)), "{arguments:?}: {said}");
    };
    check(&["backup", "nobody"], 2, "Usage");
    check(&["backup", "i-00000000000000000000"], 3, "InvalidInstanceId.NotFound");
    check(&["job", "watch", "job-00000000000000000000"], 2, "Usage");
    check(&["api", "hbr", "Nothing"], 3, "InvalidAction.NotFound");
    check(&["api", "hbr", "DescribeRegions", "--Format"], 2, "Usage");
    check(&["--region", "kyoto", "instance", "list"], 3, "InvalidRegionId.NotFound");
    check(&["--region", "Ky oto", "instance", "list"], 2, "Usage");
    check(&["--endpoint", "127.0.0.1:1", "instance", "list"], 4, "Unreachable");
    let unknown = hikae().args(["backup"]).output().expect("run hikae");
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn interrupted_while_watching_it_says_that_the_job_goes_on() {
    // A server that takes the question and never answers.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let job = "job-00000000000000000000";
    let watch = hikae()
        .args(["--endpoint", &mute.local_addr().expect("bound").to_string(), "job", "watch", job])
        .env("HIKAE_ACCESS_KEY_ID", "HK00000000000000000000")
        .env("HIKAE_ACCESS_KEY_SECRET", "nobody's")
        .stderr(Stdio::piped())
        .spawn()
        .expect("run hikae");
    let (mut asked, _) = mute.accept().expect("the client");
    // Once it has sent something it also listens for signals.
    asked.read_exact(&mut [0; 4]).expect("a question");
    let id = rustix::process::Pid::from_child(&watch);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("interrupt it");
    let output = watch.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(130));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("{job} goes on")), "{said}");
}

#[test]
fn tables_are_for_people_and_help_teaches() {
    let server = Server::start();
    let mut command = hikae();
    let output =
        command.arg("--data").arg(server.data()).args(["instance", "list"]).output().expect("run hikae");
    let table = text(&output.stdout);
    assert!(table.starts_with("ID "), "{table}");
    assert_eq!(table.matches("(simulated)").count(), 2, "{table}");
    let help = text(&hikae().arg("--help").output().expect("run hikae").stdout);
    for part in ["Examples:", "Exit codes:", "HIKAE_ACCESS_KEY_SECRET", "rollback"] {
        assert!(help.contains(part), "{part}: {help}");
    }
    let script = text(&hikae().args(["completions", "bash"]).output().expect("run hikae").stdout);
    assert!(script.contains("complete") && script.contains("rollback"));
    assert!(server.said.contains("SIMULATION"), "{}", server.said);
}

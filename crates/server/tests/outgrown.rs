//! The same server where one machine is outgrown: a PostgreSQL catalog, and depots in an S3 bucket.

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Server, text_of};

/// What `cargo xtask test` started for us.
fn told(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`, which starts that server"))
}

/// A database of this test's own, named after `run`.
fn database(run: &str) -> String {
    let url = told("HIKAE_TEST_POSTGRES");
    let create = format!("CREATE DATABASE {run}");
    let made = Command::new("psql").args([&url, "-q", "-c", &create]).status().expect("run psql");
    assert!(made.success(), "create the database {run}");
    let (server, _) = url.rsplit_once('/').expect("a URL that names a database");
    format!("{server}/{run}")
}

/// A configuration of one simulated host, its depot in the bucket and its catalog in PostgreSQL.
fn config(run: &str) -> String {
    let told: Value = serde_json::from_str(&told("HIKAE_TEST_S3")).expect("HIKAE_TEST_S3 is JSON");
    format!(
        "[catalog]\nurl = '{}'\n[[region]]\nid = 'tokyo'\n[region.depot]\nbucket = '{}'\nendpoint = '{}'\n\
         region = 'us-east-1'\nallow_http = true\nprefix = 'server/{run}'\naccess_key_id = '{}'\n\
         secret_env = 'HIKAE_TEST_S3_SECRET'\n[[region.host]]\nuri = 'qemu:///system'\n",
        database(run),
        text_of(&told, "bucket"),
        text_of(&told, "endpoint"),
        text_of(&told, "access_key_id"),
    )
}

fn secret() -> String {
    let told: Value = serde_json::from_str(&told("HIKAE_TEST_S3")).expect("HIKAE_TEST_S3 is JSON");
    text_of(&told, "secret")
}

#[test]
fn the_main_job_on_postgresql_and_s3_over_a_sudden_end() {
    let run = format!("hikae_{:016x}", support::rand_bits() & u128::from(u64::MAX));
    let secret = secret();
    let environment = [("HIKAE_TEST_S3_SECRET", secret.as_str())];
    let mut server = Server::with_environment(&["--simulate", "1"], &config(&run), &environment);
    let instance = text_of(&server.cli(&["instance", "list"])[0], "name");

    let first = server.cli(&["backup", &instance, "--wait", "--keep-days", "3"]);
    assert_eq!(text_of(&first, "status"), "COMPLETE");
    server.kill();
    server.launch();

    let points = server.cli(&["point", "list"]);
    assert_eq!(points[0]["id"], first["point"], "what was acknowledged is there after a kill");
    let second = server.cli(&["backup", &instance, "--wait", "--keep-days", "3"]);
    assert_eq!(text_of(&second, "status"), "COMPLETE");
    server.cli(&["instance", "stop", &instance, "--force"]);
    let point = text_of(&first, "point");
    let back = server.cli(&["rollback", &point, "--boot", "--yes", "--wait"]);
    assert_eq!(text_of(&back, "status"), "COMPLETE");
    let clone = server.cli(&["clone", &text_of(&second, "point"), "--name", "copy", "--wait"]);
    assert_eq!(text_of(&clone, "status"), "COMPLETE");
    server.cli(&["point", "delete", &point]);
    assert_eq!(server.cli(&["point", "list"]).as_array().map(Vec::len), Some(1));
    server.stop();
    assert!(!server.log().contains(&secret), "the bucket's secret is in the log");
}

//! The same server where one machine is outgrown: a PostgreSQL catalog, and depots in an S3 bucket. And what
//! it tells nobody: the secrets it lives by, of which this set-up has all kinds.

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
    catalog_url(run)
}

fn catalog_url(run: &str) -> String {
    let url = told("HIKAE_TEST_POSTGRES");
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
    server.cli(&["point", "delete", "--yes", &point]);
    assert_eq!(server.cli(&["point", "list"]).as_array().map(Vec::len), Some(1));
    server.stop();
    assert!(!server.log().contains(&secret), "the bucket's secret is in the log");
}

/// Everything the catalog holds, journals included, as text.
fn dump(url: &str) -> String {
    let list = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
    let query = |sql: &str| {
        let output = Command::new("psql").args([url, "-qAt", "-c", sql]).output().expect("run psql");
        assert!(output.status.success(), "{sql}: {}", support::text(&output.stderr));
        support::text(&output.stdout)
    };
    query(list).lines().map(|table| query(&format!("SELECT row_to_json(t) FROM \"{table}\" t"))).collect()
}

/// A secret in every spelling it could get out in.
fn spellings(name: &str, secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    use base64::Engine as _;
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<_> = secret.iter().map(u8::to_string).collect();
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
    [
        (format!("{name} as it is"), secret.to_vec()),
        (format!("{name} in hexadecimal"), hex.to_uppercase().into_bytes()),
        (format!("{name} in hexadecimal"), hex.into_bytes()),
        (format!("{name} in base64"), base64.into_bytes()),
        (format!("{name} as numbers"), numbers.join(", ").into_bytes()),
        (format!("{name} as JSON numbers"), numbers.join(",").into_bytes()),
    ]
    .into()
}

/// The most talkative log, a catalog and its journals, answers and refusals: no secret is in any of them.
#[tokio::test]
async fn no_secret_is_told_at_any_level() {
    let run = format!("hikae_{:016x}", support::rand_bits() & u128::from(u64::MAX));
    let (bucket, password) = (secret(), format!("hush{:016x}", support::rand_bits() & u128::from(u64::MAX)));
    let config = config(&run);
    let (before, _) = config.split_once("@127.0.0.1").expect("the catalog's URL");
    let config = config.replacen(before, &format!("{before}:{password}"), 1);
    let environment = [("HIKAE_TEST_S3_SECRET", bucket.as_str()), ("HIKAE_LOG", "trace")];
    let mut server = Server::with_environment(&["--simulate", "1"], &config, &environment);
    let (_, key_secret) = server.key();
    let root = std::fs::read_to_string(server.data().join("root.key")).expect("the root key");
    let root =
        root.lines().nth(1).and_then(|line| line.split(' ').next()).expect("the key's line").to_owned();
    let root: Vec<u8> = (0..root.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&root[at..at + 2], 16).expect("hexadecimal"))
        .collect();
    assert_eq!(root.len(), 32);

    let mut told = String::new();
    let instance = text_of(&server.cli(&["instance", "list"])[0], "name");
    told += &server.cli(&["backup", &instance, "--wait"]).to_string();
    let api = server.api();
    let wrong = support::Api { secret: format!("{key_secret}x"), ..api.clone() };
    told += &wrong.call(support::HBR, "DescribeRegions", &[]).await.body.to_string();
    told += &api.call(support::HBR, "CreatePolicyV2", &[("Rules", &key_secret[..8])]).await.body.to_string();
    // A second server over the same directory, and one whose bucket does not let it in.
    told += &support::text(&server.command().output().expect("run hikae").stderr);
    server.stop();
    let mut refused = server.command();
    let refused = refused.env("HIKAE_TEST_S3_SECRET", "not the secret").output().expect("run hikae");
    assert!(!refused.status.success(), "{}", support::text(&refused.stderr));
    told += &support::text(&refused.stderr);
    told += &server.log();
    assert!(told.contains("TRACE"), "the log is not talkative");
    let catalog = dump(&catalog_url(&run));
    assert!(
        catalog.contains("\"BackUp\"") && catalog.contains(&instance),
        "the journals are not in the dump"
    );
    told += &catalog;

    let secrets = [
        ("access key secret", key_secret.as_bytes()),
        ("bucket secret", bucket.as_bytes()),
        ("root key", &root),
    ];
    let mut all: Vec<_> = secrets.iter().flat_map(|(name, secret)| spellings(name, secret)).collect();
    all.extend(spellings("catalog password", password.as_bytes()));
    for (name, needle) in all {
        let found = told.as_bytes().windows(needle.len()).position(|window| window == needle);
        if let Some(at) = found {
            let around = &told.as_bytes()[at.saturating_sub(300)..(at + 20).min(told.len())];
            panic!("{name} was told: …{}", support::text(around));
        }
    }
}

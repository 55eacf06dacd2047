//! The official Python SDKs, unmodified, on a simulated server: today's (ACS3) and the old core (V1).

mod support;

use std::process::Command;

use support::{Server, text, workspace};

#[test]
fn the_official_python_clients_do_the_main_job() {
    let Ok(python) = std::env::var("HIKAE_TEST_PYTHON") else {
        panic!("HIKAE_TEST_PYTHON names no Python with the official SDKs: `cargo xtask test` makes one");
    };
    let server = Server::start();
    let (id, secret) = server.key();
    let mut tests = Command::new(&python);
    tests
        .args(["-B", "-m", "unittest", "discover", "--start-directory"])
        .arg(workspace().join("tests/clients"))
        .env("HIKAE_ENDPOINT", server.endpoint())
        .env("HIKAE_REGION", "default")
        .env("HIKAE_ACCESS_KEY_ID", id)
        .env("HIKAE_ACCESS_KEY_SECRET", &secret)
        .env("NO_PROXY", "127.0.0.1");
    let output = tests.output().unwrap_or_else(|error| panic!("run {python}: {error}"));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{}\n{}", output.status, text(&output.stdout), server.log());
    // `discover` that finds nothing is content: we are not.
    let ran: u32 = said
        .lines()
        .find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok())
        .unwrap_or_default();
    assert!(ran >= 5, "{ran} tests ran\n{said}");
    assert!(!server.log().contains(&secret), "a secret in the log");
}

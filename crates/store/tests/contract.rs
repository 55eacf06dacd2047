//! The contract suite on every store there is.

use store::{Secret, StoreConfig, contract, open, probe};

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract::all(&*store::memory(), "contract").await;
}

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = StoreConfig::Directory { path: folder.path().join("new/depot") };
    let store = open(&config).await.expect("open");
    contract::all(&*store, "contract").await;
    assert!(probe(&*store, 1).await.expect("probe").is_sound());
}

/// The server is started by `cargo xtask test`, which says where it is.
#[tokio::test]
async fn s3_keeps_the_contract() {
    let told = std::env::var("HIKAE_TEST_S3")
        .expect("HIKAE_TEST_S3 is not set: run `cargo xtask test`, which starts an S3 server");
    let told: serde_json::Value = serde_json::from_str(&told).expect("HIKAE_TEST_S3 is JSON");
    let part =
        |name: &str| told[name].as_str().unwrap_or_else(|| panic!("HIKAE_TEST_S3 has {name}")).to_owned();
    // The server may outlive a run of the tests, so each run works under a prefix of its own, named
    // as a temporary folder is.
    let run = tempfile::Builder::new().prefix("run-").tempdir().expect("a temporary folder");
    let run = run.path().file_name().and_then(|name| name.to_str()).expect("a plain name").to_owned();
    let config = StoreConfig::S3 {
        endpoint: part("endpoint"),
        bucket: part("bucket"),
        prefix: format!("store-contract/{run}"),
        region: "us-east-1".to_owned(),
        access_key_id: part("access_key_id"),
        secret: Secret::new(part("secret")),
        allow_http: true,
    };
    let store = open(&config).await.expect("open");
    assert!(probe(&*store, 1).await.expect("probe").is_sound(), "the server breaks a promise");
    contract::all(&*store, "contract").await;
}

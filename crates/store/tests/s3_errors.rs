//! What a misbehaving S3 server says, and what the caller is told: one canned answer at a time.

use std::sync::Arc;

use bytes::Bytes;
use store::{ObjectKey, Put, Secret, Store, StoreConfig, StoreError, open};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "never-to-be-seen";

fn key() -> ObjectKey {
    ObjectKey::new("packs/one").expect("a name")
}

async fn store_at(endpoint: String) -> Arc<dyn Store> {
    let config = StoreConfig::S3 {
        endpoint,
        bucket: "bucket".to_owned(),
        prefix: "p".to_owned(),
        region: "r".to_owned(),
        access_key_id: ACCESS_KEY_ID.to_owned(),
        secret: Secret::new(SECRET),
        allow_http: true,
    };
    open(&config).await.expect("opening asks nobody")
}

/// A server that gives every request the same answer and hangs up.
async fn answering(answer: impl Into<Vec<u8>>) -> Arc<dyn Store> {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that hangs up first is part of the game.
            let _ = serve(stream, &answer).await;
        }
    });
    store_at(endpoint).await
}

async fn serve(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut request = Vec::new();
    let head = loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(at) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    assert!(!text.contains(SECRET), "the secret went over the wire");
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let body: usize = body.map_or(0, |len| len.trim().parse().expect("a length"));
    while request.len() < head + body {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer).await?;
    stream.shutdown().await
}

fn status(line: &str, code: &str) -> String {
    let who = format!("<AWSAccessKeyId>{ACCESS_KEY_ID}</AWSAccessKeyId>");
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code>{who}</Error>");
    format!("HTTP/1.1 {line}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn found(len_told: u64, body: &str) -> String {
    let fixed = "ETag: \"e\"\r\nLast-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nConnection: close";
    format!("HTTP/1.1 200 OK\r\nContent-Length: {len_told}\r\n{fixed}\r\n\r\n{body}")
}

async fn put(store: &dyn Store) -> Result<Put, StoreError> {
    let put = store.put_new(&key(), Bytes::from_static(b"content")).await;
    if let Err(error) = &put {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(SECRET) && !text.contains(ACCESS_KEY_ID), "{text}");
    }
    put
}

#[tokio::test]
async fn a_refused_creation_existed() {
    let store = answering(status("412 Precondition Failed", "PreconditionFailed")).await;
    assert_eq!(put(&*store).await, Ok(Put::Existed));
}

/// S3 answers 409 when two creations meet. Neither may be done, so it is not "existed".
#[tokio::test]
async fn a_conflict_is_doubt() {
    let store = answering(status("409 Conflict", "ConditionalRequestConflict")).await;
    let told = put(&*store).await;
    assert!(matches!(told, Err(StoreError::Unknown { .. })), "{told:?}");
}

#[tokio::test]
async fn a_full_store_is_no_space() {
    for (line, code) in
        [("507 Insufficient Storage", "InsufficientCapacity"), ("403 Forbidden", "QuotaExceeded")]
    {
        let told = put(&*answering(status(line, code)).await).await;
        assert!(matches!(told, Err(StoreError::NoSpace { .. })), "{line} {code}: {told:?}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_denied() {
    for (line, code) in [
        ("403 Forbidden", "SignatureDoesNotMatch"),
        ("403 Forbidden", "InvalidAccessKeyId"),
        ("401 Unauthorized", "Unauthorized"),
        ("404 Not Found", "NoSuchBucket"),
    ] {
        let store = answering(status(line, code)).await;
        let told = put(&*store).await;
        assert!(matches!(&told, Err(StoreError::Denied { what }) if what.contains(code)), "{told:?}");
        let told = store.get(&key()).await;
        assert!(matches!(told, Err(StoreError::Denied { .. })), "{line} {code}: {told:?}");
    }
}

#[tokio::test]
async fn a_server_in_trouble_leaves_writes_in_doubt_and_reads_for_later() {
    for line in ["500 Internal Server Error", "503 Slow Down"] {
        let (store, key) = (answering(status(line, "InternalError")).await, key());
        let (written, read) = tokio::join!(put(&*store), store.get(&key));
        assert!(matches!(written, Err(StoreError::Unknown { .. })), "{line}: {written:?}");
        assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{line}: {read:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_writes_in_doubt_and_reads_for_later() {
    let (store, key) = (answering("").await, key());
    let (written, read) = tokio::join!(put(&*store), store.get(&key));
    assert!(matches!(written, Err(StoreError::Unknown { .. })), "{written:?}");
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    drop(listener);
    let read = store_at(endpoint).await.get(&key()).await;
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
}

#[tokio::test]
async fn an_absent_object_is_not_found() {
    let store = answering(status("404 Not Found", "NoSuchKey")).await;
    assert_eq!(store.get(&key()).await, Err(StoreError::NotFound { key: key() }));
}

#[tokio::test]
async fn a_body_cut_short_is_no_object() {
    let read = answering(found(7, "cont")).await.get(&key()).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_caught() {
    let read = answering(found(7, "content")).await.get_range(&key(), 2..4).await;
    assert!(matches!(read, Err(StoreError::Failed { .. })), "{read:?}");
}

/// Were the length believed, this would ask for a pebibyte of memory.
#[tokio::test]
async fn a_boast_of_length_is_not_believed() {
    let read = answering(found(1 << 50, "content")).await.get(&key()).await;
    let is_refused = matches!(&read, Err(StoreError::Failed { what }) if what.contains("cannot be had"));
    assert!(is_refused, "{read:?}");
}

fn listing(names: &[&str]) -> String {
    let lines: String = names
        .iter()
        .map(|name| {
            format!(
                "<Contents><Key>p/{name}</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified>\
                 <ETag>\"e\"</ETag><Size>1</Size></Contents>"
            )
        })
        .collect();
    let body = format!(
        "<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{lines}</ListBucketResult>"
    );
    found(body.len() as u64, &body)
}

/// Paging goes by name, so a listing out of order would hide objects: from a collector, live ones.
#[tokio::test]
async fn a_listing_out_of_order_is_refused() {
    let names = |listed: Vec<store::Listed>| -> Vec<String> {
        listed.into_iter().map(|line| line.key.as_str().to_owned()).collect()
    };
    let sound = answering(listing(&["a", "b"])).await.list("", None, 9).await.expect("list");
    assert_eq!(names(sound), ["a", "b"]);
    let told = answering(listing(&["b", "a"])).await.list("", None, 9).await;
    assert!(matches!(told, Err(StoreError::Failed { .. })), "{told:?}");
}

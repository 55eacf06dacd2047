//! A server that lies: whatever it sends, the client ends with an error, in time and without panic.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use nbd::{Client, NbdError};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const CHUNK: u32 = 0x668e_33ef;

fn option_reply(out: &mut BytesMut, option: u32, kind: u32, data: &[u8]) {
    out.put_u64(0x0003_e889_0455_65a9);
    out.put_u32(option);
    out.put_u32(kind);
    out.put_u32(u32::try_from(data.len()).unwrap());
    out.put_slice(data);
}

/// A good handshake: 1 MiB, structured replies, `base:allocation` under number 5.
fn handshake() -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u64(0x4e42_444d_4147_4943);
    out.put_u64(0x4948_4156_454f_5054);
    out.put_u16(3);
    option_reply(&mut out, 8, 1, &[]);
    let mut context = BytesMut::new();
    context.put_u32(5);
    context.put_slice(b"base:allocation");
    option_reply(&mut out, 10, 4, &context);
    option_reply(&mut out, 10, 1, &[]);
    let mut export = BytesMut::new();
    export.put_u16(0);
    export.put_u64(1 << 20);
    export.put_u16(1 | 4);
    option_reply(&mut out, 7, 3, &export);
    option_reply(&mut out, 7, 1, &[]);
    out
}

fn chunk(done: bool, kind: u16, cookie: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_u32(CHUNK);
    out.put_u16(u16::from(done));
    out.put_u16(kind);
    out.put_u64(cookie);
    out.put_u32(u32::try_from(payload.len()).unwrap());
    out.put_slice(payload);
    out.to_vec()
}

fn data(done: bool, cookie: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
    chunk(done, 1, cookie, &[&offset.to_be_bytes()[..], bytes].concat())
}

/// Plays `script` to a client and hangs up.
async fn server(mut stream: DuplexStream, script: Vec<u8>) {
    let _ = stream.write_all(&script).await;
    let _ = stream.shutdown().await;
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {}
}

async fn open(script: Vec<u8>) -> Result<Client, NbdError> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    tokio::spawn(server(theirs, script));
    let (reader, writer) = tokio::io::split(ours);
    Client::over(reader, writer, "", &["base:allocation"]).await
}

/// What a read of 1024 bytes and a block status get when the server answers the first with `reply`.
async fn answers(reply: &[u8]) -> (Result<bytes::Bytes, NbdError>, Result<(), NbdError>) {
    // The first requests have cookies 1 and 2; the reply waits in the pipe before they are sent, so the
    // server answers what was not yet asked unless it is held back until the request has come.
    let (ours, mut theirs) = tokio::io::duplex(1 << 20);
    let reply = reply.to_vec();
    tokio::spawn(async move {
        theirs.write_all(&handshake()).await.unwrap();
        let mut sink = vec![0; 4096];
        let mut seen = 0;
        // Client flags, three options, then two requests of 28 bytes.
        let options = 4 + 16 + (16 + 4 + 4 + 4 + 15) + (16 + 4 + 2 + 2);
        while seen < options + 56 {
            match theirs.read(&mut sink).await {
                Ok(count) if count > 0 => seen += count,
                _ => return,
            }
        }
        server(theirs, reply).await;
    });
    let (reader, writer) = tokio::io::split(ours);
    let client = Client::over(reader, writer, "", &["base:allocation"]).await.unwrap();
    let both = async { tokio::join!(client.read(4096, 1024), client.block_status(0, 1 << 20)) };
    let (read, status) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it hangs");
    (read, status.map(drop))
}

#[tokio::test]
async fn lies_about_a_read_are_caught() {
    let good = data(true, 1, 4096, &[7; 1024]);
    assert_eq!(answers(&good).await.0.unwrap()[..], [7; 1024]);
    let in_pieces = [data(false, 1, 4608, &[2; 512]), data(true, 1, 4096, &[1; 512])].concat();
    assert_eq!(answers(&in_pieces).await.0.unwrap()[..], [[1; 512], [2; 512]].concat());

    let lies: [(&str, Vec<u8>); 12] = [
        ("before the range", data(true, 1, 0, &[7; 1024])),
        ("past the range", data(true, 1, 4097, &[7; 1024])),
        ("past all numbers", data(true, 1, u64::MAX, &[7; 1024])),
        ("too short", data(true, 1, 4096, &[7; 1000])),
        ("nothing at all", chunk(true, 0, 1, &[])),
        ("twice", [data(false, 1, 4096, &[7; 512]), data(true, 1, 4096, &[8; 512])].concat()),
        ("unknown request", data(true, 77, 4096, &[7; 1024])),
        ("data without bytes", data(true, 1, 4096, &[])),
        (
            "hole too long",
            chunk(true, 2, 1, &[&4096_u64.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat()),
        ),
        ("unknown chunk", chunk(true, 77, 1, &[1; 16])),
        ("block status instead", chunk(true, 5, 1, &[0, 0, 0, 5, 0, 0, 4, 0, 0, 0, 0, 0])),
        ("no reply", b"hello there, this is no reply at all".to_vec()),
    ];
    for (lie, reply) in lies {
        let (read, status) = answers(&reply).await;
        assert!(matches!(read, Err(NbdError::Protocol(_))), "{lie}: {read:?}");
        assert!(status.is_err(), "{lie}");
    }
}

#[tokio::test]
async fn lies_about_block_status_are_caught() {
    let status = |payload: &[u32]| {
        let bytes: Vec<u8> = payload.iter().flat_map(|word| word.to_be_bytes()).collect();
        chunk(true, 5, 2, &bytes)
    };
    answers(&status(&[5, 1 << 20, 0])).await.1.unwrap();
    let lies = [
        status(&[6, 1 << 20, 0]),
        status(&[5]),
        status(&[5, 1 << 20]),
        status(&[5, 0, 0]),
        status(&[5, 1 << 20, 0, 512, 0]),
        chunk(true, 0, 2, &[]),
        data(true, 2, 0, &[1; 512]),
    ];
    for (number, lie) in lies.iter().enumerate() {
        let result = answers(lie).await.1;
        assert!(matches!(result, Err(NbdError::Protocol(_))), "{number}: {result:?}");
    }
}

#[tokio::test]
async fn a_length_is_not_believed_before_it_is_checked() {
    // Four gigabytes of option reply, of error text, of block status: none is allocated for.
    let mut script = BytesMut::from(&handshake()[..18]);
    script.put_u64(0x0003_e889_0455_65a9);
    script.put_u32(8);
    script.put_u32(1);
    script.put_u32(u32::MAX);
    assert!(matches!(open(script.to_vec()).await, Err(NbdError::Protocol(_))));
    for kind in [0x8001_u16, 5, 0, 77] {
        let mut reply = BytesMut::new();
        reply.put_u32(CHUNK);
        reply.put_u16(1);
        reply.put_u16(kind);
        reply.put_u64(1);
        reply.put_u32(u32::MAX);
        assert!(matches!(answers(&reply).await.0, Err(NbdError::Protocol(_))), "{kind:#x}");
    }
}

fn replies() -> impl Strategy<Value = Vec<u8>> {
    let one = (
        any::<bool>(),
        0..3_u64,
        prop_oneof![Just(0_u16), Just(1), Just(2), Just(5), Just(0x8001), any::<u16>()],
    )
        .prop_flat_map(|(done, cookie, kind)| {
            proptest::collection::vec(any::<u8>(), 0..40)
                .prop_map(move |payload| chunk(done, kind, cookie, &payload))
        });
    let junk = proptest::collection::vec(any::<u8>(), 0..64);
    proptest::collection::vec(prop_oneof![3 => one, 1 => junk], 0..6).prop_map(|parts| parts.concat())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #[test]
    fn any_handshake_ends(keep in 0..200_usize, junk in proptest::collection::vec(any::<u8>(), 0..200)) {
        let good = handshake();
        let script = [&good[..keep.min(good.len())], &junk].concat();
        // Ending is all that is asked; a good prefix with junk behind it may even open.
        let _ = runtime().block_on(open(script));
    }

    #[test]
    fn any_reply_ends(reply in replies()) {
        runtime().block_on(async { let _ = answers(&reply).await; });
    }
}

//! A server of NBD that says anything: from the first byte, or after a proper handshake.
#![no_main]

use hikae_fuzz::bounded;
use nbd::Client;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&how, said)) = input.split_first() else { return };
    let said = if how % 2 == 0 { said.to_vec() } else { [hikae_fuzz::handshake(), said.to_vec()].concat() };
    // Buffers of the connection, and what one read of the largest size asks for.
    bounded(said.len() + (1 << 20), || hikae_fuzz::on_runtime(talk(said)));
});

async fn talk(said: Vec<u8>) {
    let contexts = ["base:allocation", "qemu:dirty-bitmap:b"];
    let client = Client::over(std::io::Cursor::new(said), tokio::io::sink(), "vda", &contexts).await;
    let Ok(client) = client else { return };
    // All at once: the answers are there already.
    let (read, status, flushed, more) = tokio::join!(
        client.read(0, 4096),
        client.block_status(0, 1 << 20),
        client.flush(),
        client.read(8192, 512)
    );
    assert!(read.is_err() || read.is_ok_and(|bytes| bytes.len() == 4096));
    assert!(more.is_err() || more.is_ok_and(|bytes| bytes.len() == 512));
    if let Ok(status) = status {
        for context in status {
            let covered: u64 = context.extents.iter().map(|extent| extent.len).sum();
            assert!(covered > 0 && covered <= 1 << 20);
        }
    }
    drop(flushed);
    client.close().await;
}

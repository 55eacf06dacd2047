//! What a wrapped key promises: it opens with the root key and its own bytes, and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keys::{KeyError, KeyWrap, RegionKeys, WrappedKey};
use model::{Entropy, KeyId, Refusal, RegionId};
use seal::{FileSealer, KeyMaterial, SealError};

/// Different bytes each time, the same in each run.
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_le_bytes();
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = number[at % 8] ^ 0x5a;
        }
    }
}

fn keys_of(region: &str, root: u8) -> RegionKeys {
    let entropy: Arc<dyn Entropy> = Arc::new(Counted(AtomicU64::new(1)));
    let sealer = FileSealer::with_key(KeyMaterial::from_bytes([root; 32]), Arc::clone(&entropy));
    RegionKeys::new(RegionId::from(region), Arc::new(sealer), entropy)
}

fn material() -> KeyMaterial {
    KeyMaterial::from_bytes([0xab; 32])
}

async fn error_of(keys: &RegionKeys, wrapped: &WrappedKey, context: &str) -> KeyError {
    keys.unwrap(wrapped, context).await.err().expect("it must not open")
}

#[tokio::test]
async fn the_root_key_and_the_bytes_suffice() {
    let wrapped = keys_of("tokyo", 1).wrap(&material(), "depot-1/slot-1").await.expect("wrap");
    let text = serde_json::to_string(&wrapped).expect("it may be stored");
    let wrapped: WrappedKey = serde_json::from_str(&text).expect("and read");
    let region = wrapped.region().expect("the bytes name their region");
    assert_eq!(region, RegionId::from("tokyo"));
    let found = keys_of(&region.0, 1).unwrap(&wrapped, "depot-1/slot-1").await.expect("unwrap");
    assert_eq!(found.expose(), material().expose());
}

#[tokio::test]
async fn another_place_is_refused() {
    let keys = keys_of("tokyo", 1);
    let wrapped = keys.wrap(&material(), "depot-1/slot-1").await.expect("wrap");
    for context in ["", "depot-1/slot-2", "depot-1/slot-11", "depot-2/slot-1"] {
        assert_eq!(error_of(&keys, &wrapped, context).await, KeyError::Refused, "{context}");
    }
}

#[tokio::test]
async fn another_region_or_root_is_told_apart() {
    let wrapped = keys_of("tokyo", 1).wrap(&material(), "x").await.expect("wrap");
    assert_eq!(error_of(&keys_of("osaka", 1), &wrapped, "x").await, KeyError::NoKey(wrapped.key));
    let relabelled = WrappedKey { key: keys_of("osaka", 1).key(), ..wrapped.clone() };
    assert_eq!(error_of(&keys_of("osaka", 1), &relabelled, "x").await, KeyError::NoKey(wrapped.key));
    let told = error_of(&keys_of("tokyo", 2), &wrapped, "x").await;
    assert!(matches!(told, KeyError::Root(SealError::AnotherRoot { .. })), "{told}");
    assert!(!told.is_transient());
}

#[tokio::test]
async fn one_flipped_bit_or_a_cut_is_refused() {
    let keys = keys_of("tokyo", 1);
    let good = keys.wrap(&material(), "x").await.expect("wrap");
    for bit in 0..good.bytes.len() * 8 {
        let mut bad = good.clone();
        bad.bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(keys.unwrap(&bad, "x").await.is_err(), "bit {bit}");
    }
    for len in 0..good.bytes.len() {
        let bad = WrappedKey { bytes: good.bytes[..len].to_vec(), ..good.clone() };
        assert!(keys.unwrap(&bad, "x").await.is_err(), "{len} bytes");
    }
    let endless = WrappedKey { bytes: [&good.bytes[..], &vec![0; 1 << 20]].concat(), ..good };
    assert_eq!(error_of(&keys, &endless, "x").await, KeyError::Refused);
}

#[tokio::test]
async fn no_secret_is_printed() {
    let keys = keys_of("tokyo", 1);
    let wrapped = keys.wrap(&material(), "x").await.expect("wrap");
    let told = Refusal::from(error_of(&keys, &wrapped, "y").await);
    for text in [format!("{wrapped:?}"), serde_json::to_string(&wrapped).expect("JSON"), format!("{told:?}")]
    {
        assert!(!text.contains("171, 171, 171") && !text.contains("abab"), "{text}");
    }
    assert!(!wrapped.bytes.windows(4).any(|four| four == [0xab; 4]));
    assert_ne!(wrapped, keys.wrap(&material(), "x").await.expect("wrap"), "a key was used twice");
}

/// Ids and bytes that lie in depots already: they may never come out differently.
#[tokio::test]
async fn version_one_still_opens() {
    let keys = keys_of("tokyo", 1);
    let (id, hex) = include_str!("golden/wrapped-1.txt").trim().split_once(' ').expect("two words");
    let key: KeyId = id.parse().expect("a key id");
    assert_eq!(keys.key(), key);
    let mut bytes = Vec::new();
    for pair in hex.as_bytes().chunks(2) {
        bytes.push(u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hexadecimal"));
    }
    let found = keys.unwrap(&WrappedKey { key, bytes }, "hikae/golden").await.expect("unwrap");
    assert_eq!(found.expose(), material().expose());
}

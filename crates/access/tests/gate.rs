//! What passes the gate, what does not, and what is said; with both signatures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use access::{Access, Caller};
use catalog::{AccessKey, Batch, Catalog};
use model::{AccessKeyId, Code, Entropy, Timestamp};
use seal::{FileSealer, KeyMaterial, Sealer};
use wire::RawRequest;
use wire::signature::{WINDOW_SECONDS, sign_acs3, sign_v1};

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

/// Different bytes each time, the same in each run.
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            *byte = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[6];
        }
    }
}

struct Gate {
    access: Access,
    catalog: Catalog,
    entropy: Arc<dyn Entropy>,
    id: AccessKeyId,
    secret: String,
}

fn sealer(root: u8, entropy: &Arc<dyn Entropy>) -> Arc<dyn Sealer> {
    Arc::new(FileSealer::with_key(KeyMaterial::from_bytes([root; 32]), Arc::clone(entropy)))
}

async fn gate() -> Gate {
    let catalog = Catalog::open("sqlite::memory:").await.expect("catalog");
    let entropy: Arc<dyn Entropy> = Arc::new(Counted(AtomicU64::new(1)));
    let access = Access::with_room(catalog.clone(), sealer(1, &entropy), Arc::clone(&entropy), 3, 100);
    assert!(!access.has_root_key().await.expect("ask"));
    let (id, secret) = access.create_root_key(NOW).await.expect("root key");
    assert!(access.has_root_key().await.expect("ask"));
    Gate { access, catalog, entropy, id, secret: secret.to_string() }
}

fn request() -> RawRequest {
    RawRequest {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        query: "RegionId=tokyo".to_owned(),
        headers: vec![
            ("Host".to_owned(), "127.0.0.1".to_owned()),
            ("x-acs-action".to_owned(), "DescribeRegions".to_owned()),
            ("x-acs-version".to_owned(), "2017-09-08".to_owned()),
        ],
        body: Vec::new(),
    }
}

type Sign = fn(&mut RawRequest, &str, &str, Timestamp, &str) -> Result<(), model::Refusal>;
const SIGNATURES: [Sign; 2] = [sign_acs3, sign_v1];

fn signed(sign: Sign, id: &str, secret: &str, at: Timestamp, nonce: &str) -> RawRequest {
    let mut raw = request();
    sign(&mut raw, id, secret, at, nonce).expect("sign");
    raw
}

impl Gate {
    fn signed(&self, sign: Sign, nonce: &str) -> RawRequest {
        signed(sign, &self.id.to_string(), &self.secret, NOW, nonce)
    }

    /// The code of a refusal, after making sure that it holds no secret.
    async fn refusal(&self, raw: &RawRequest, now: Timestamp) -> Code {
        let refusal = self.access.authenticate(raw, now).await.expect_err("it must be refused");
        assert!(!format!("{refusal} {refusal:?}").contains(&self.secret), "{refusal}");
        refusal.code
    }
}

#[tokio::test]
async fn a_signed_request_passes_once() {
    let gate = gate().await;
    for (sign, nonce) in SIGNATURES.into_iter().zip(["one", "two"]) {
        let raw = gate.signed(sign, nonce);
        let caller = gate.access.authenticate(&raw, NOW).await.expect("it passes");
        assert_eq!(caller, Caller { key: gate.id, root: true });
        for later in [0, 1, WINDOW_SECONDS] {
            assert_eq!(gate.refusal(&raw, NOW.plus_seconds(later)).await, Code::NonceUsed);
        }
    }
}

/// Many at once, as an attacker would: one passes.
#[tokio::test]
async fn of_many_replays_at_once_one_passes() {
    let gate = gate().await;
    let raw = gate.signed(sign_acs3, "one");
    let (a, b, c, d) = tokio::join!(
        gate.access.authenticate(&raw, NOW),
        gate.access.authenticate(&raw, NOW),
        gate.access.authenticate(&raw, NOW),
        gate.access.authenticate(&raw, NOW),
    );
    assert_eq!([a, b, c, d].iter().filter(|told| told.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_stale_or_early_request_is_refused() {
    let gate = gate().await;
    for sign in SIGNATURES {
        let raw = gate.signed(sign, "stale");
        for seconds in [WINDOW_SECONDS + 1, -WINDOW_SECONDS - 1, 86_400 * 365] {
            assert_eq!(gate.refusal(&raw, NOW.plus_seconds(seconds)).await, Code::TimestampExpired);
        }
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_uses_up_nothing() {
    let gate = gate().await;
    for (sign, nonce) in SIGNATURES.into_iter().zip(["one", "two"]) {
        let forged = signed(sign, &gate.id.to_string(), "guess", NOW, nonce);
        for _ in 0..9 {
            assert_eq!(gate.refusal(&forged, NOW).await, Code::SignatureMismatch);
        }
        gate.access.authenticate(&gate.signed(sign, nonce), NOW).await.expect("the nonce is still new");
    }
}

#[tokio::test]
async fn an_unknown_key_is_refused() {
    let gate = gate().await;
    let stranger = AccessKeyId::from_bits(1).to_string();
    for sign in SIGNATURES {
        for id in [stranger.as_str(), "LTAI5tExample", "HK", "testid'; DROP TABLE access_keys", "\u{0}"] {
            let raw = signed(sign, id, "guess", NOW, "n");
            assert_eq!(gate.refusal(&raw, NOW).await, Code::AccessKeyNotFound, "{id:?}");
        }
    }
    assert_eq!(gate.refusal(&request(), NOW).await, Code::IncompleteSignature, "unsigned");
}

#[tokio::test]
async fn a_temporary_key_is_refused() {
    let gate = gate().await;
    let mut raw = request();
    raw.headers.push(("x-acs-security-token".to_owned(), "token".to_owned()));
    sign_acs3(&mut raw, &gate.id.to_string(), &gate.secret, NOW, "n").expect("sign");
    assert_eq!(gate.refusal(&raw, NOW).await, Code::AccessKeyNotFound);
}

#[tokio::test]
async fn an_inactive_key_is_refused_from_the_next_request_on() {
    let gate = gate().await;
    gate.access.authenticate(&gate.signed(sign_acs3, "one"), NOW).await.expect("active");
    assert_eq!(gate.access.set_active(gate.id, false).await.expect("update"), Some(()));
    assert_eq!(gate.refusal(&gate.signed(sign_acs3, "two"), NOW).await, Code::AccessKeyInactive);
    gate.access.set_active(gate.id, true).await.expect("update");
    gate.access.authenticate(&gate.signed(sign_acs3, "two"), NOW).await.expect("active again");
    assert_eq!(gate.access.set_active(AccessKeyId::from_bits(1), true).await.expect("ask"), None);
}

#[tokio::test]
async fn a_full_memory_throttles_and_forgets_nothing() {
    let gate = gate().await;
    for nonce in ["one", "two", "three"] {
        gate.access.authenticate(&gate.signed(sign_acs3, nonce), NOW).await.expect("there is room");
    }
    assert_eq!(gate.refusal(&gate.signed(sign_acs3, "four"), NOW).await, Code::Throttled);
    assert_eq!(gate.refusal(&gate.signed(sign_acs3, "one"), NOW).await, Code::NonceUsed);
}

#[tokio::test]
async fn a_key_works_after_a_restart_and_not_under_another_root() {
    let gate = gate().await;
    let again = Access::open(gate.catalog.clone(), sealer(1, &gate.entropy), Arc::clone(&gate.entropy));
    again.authenticate(&gate.signed(sign_v1, "one"), NOW).await.expect("after a restart");
    let other = Access::open(gate.catalog.clone(), sealer(2, &gate.entropy), Arc::clone(&gate.entropy));
    let refusal = other.authenticate(&gate.signed(sign_v1, "two"), NOW).await.expect_err("another root");
    assert_eq!(refusal.code, Code::KeyUnavailable);
}

/// Who can write the catalog but has no root key must not lend one key's secret to another.
#[tokio::test]
async fn a_secret_moved_to_another_key_does_not_open() {
    let gate = gate().await;
    let key: AccessKey = gate.catalog.get(&gate.id).await.expect("read").expect("there");
    let other = AccessKey { id: AccessKeyId::from_bits(1), ..key };
    gate.catalog.write(Batch::new().insert(&other)).await.expect("write");
    let raw = signed(sign_acs3, &other.id.to_string(), &gate.secret, NOW, "n");
    assert_eq!(gate.refusal(&raw, NOW).await, Code::KeyUnavailable);
}

#[tokio::test]
async fn a_drawn_key_is_not_in_force_until_kept() {
    let gate = gate().await;
    let new = gate.access.draw_root_key(NOW).await.expect("draw");
    assert_eq!(new.secret.len(), 40);
    let raw = signed(sign_acs3, &new.id.to_string(), &new.secret, NOW, "n");
    assert_eq!(gate.refusal(&raw, NOW).await, Code::AccessKeyNotFound);
    gate.access.keep(&new).await.expect("keep");
    gate.access.authenticate(&raw, NOW).await.expect("now it is");
    gate.access.keep(&new).await.expect_err("twice");
}

#[tokio::test]
async fn the_catalog_holds_no_secret() {
    let gate = gate().await;
    let key: AccessKey = gate.catalog.get(&gate.id).await.expect("read").expect("there");
    assert!(!format!("{key:?}").contains(&gate.secret));
    assert!(!key.sealed_secret.windows(8).any(|some| some == &gate.secret.as_bytes()[..8]));
}

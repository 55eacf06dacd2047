//! Faults on purpose: what happens below, what the caller is told, and that a seed repeats itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use store::{Doomed, Fault, Faulty, ObjectKey, Put, Script, Store, StoreError};

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).expect("a name")
}

fn failing_once(fault: Fault) -> Faulty {
    Faulty::new(store::memory(), Script::At(BTreeMap::from([(0, fault)])))
}

#[tokio::test]
async fn a_failed_creation_left_what_its_fault_says() {
    for fault in Fault::ALL {
        let store = failing_once(fault);
        let told = store.put_new(&key("a"), Bytes::from_static(b"1234")).await.expect_err("it fails");
        let left = store.inner().size(&key("a")).await.expect("look below");
        let (wanted, certain) = match fault {
            Fault::Unavailable | Fault::NoSpace => (None, true),
            Fault::LostBefore => (None, false),
            Fault::LostAfter => (Some(4), false),
            Fault::StalledBefore | Fault::StalledAfter => unreachable!("no answer comes"),
            Fault::Torn => (Some(2), false),
        };
        assert_eq!(left, wanted, "{fault:?}");
        assert_eq!(!matches!(told, StoreError::Unknown { .. }), certain, "{fault:?} said {told}");
        let again = store.put_new(&key("a"), Bytes::from_static(b"1234")).await.expect("no second fault");
        assert_eq!(again, if wanted.is_some() { Put::Existed } else { Put::Created }, "{fault:?}");
    }
}

#[tokio::test]
async fn a_failed_deletion_left_what_its_fault_says() {
    for fault in Fault::ALL {
        let store = Faulty::new(store::memory(), Script::Never);
        store.put_new(&key("a"), Bytes::from_static(b"1234")).await.expect("put");
        store.follow(Script::From(store.calls(), fault));
        let told = store.delete(&Doomed::condemn(key("a"))).await;
        let gone = store.inner().size(&key("a")).await.expect("look below").is_none();
        assert_eq!(gone, matches!(fault, Fault::LostAfter | Fault::NoSpace), "{fault:?}");
        assert_eq!(told.is_ok(), fault == Fault::NoSpace, "deleting needs no room");
    }
}

#[tokio::test]
async fn a_read_is_never_in_doubt() {
    for fault in Fault::ALL {
        let store = Faulty::new(store::memory(), Script::Never);
        store.put_new(&key("a"), Bytes::from_static(b"1234")).await.expect("put");
        store.follow(Script::From(0, fault));
        let got = store.get(&key("a")).await;
        match fault {
            Fault::NoSpace => assert_eq!(got, Ok(Bytes::from_static(b"1234"))),
            Fault::Torn => assert_eq!(got, Ok(Bytes::from_static(b"12"))),
            _ => {
                assert!(matches!(got, Err(StoreError::Unavailable { .. })), "{fault:?}: {got:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stalled_call_has_happened_or_not_and_never_answers() {
    for (fault, left) in [(Fault::StalledBefore, None), (Fault::StalledAfter, Some(4))] {
        let store = failing_once(fault);
        let put = key("a");
        let told = store.put_new(&put, Bytes::from_static(b"1234")).now_or_never();
        assert_eq!(told, None, "{fault:?}");
        assert_eq!(store.inner().size(&put).await, Ok(left));
    }
}

async fn history(seed: u64) -> Vec<Result<Put, StoreError>> {
    let script = Script::Seeded { seed, per_mille: 300, faults: Fault::ALL.to_vec() };
    let store: Arc<dyn Store> = Arc::new(Faulty::new(store::memory(), script));
    let mut told = Vec::new();
    for at in 0..200 {
        told.push(store.put_new(&key(&format!("o/{}", at % 50)), Bytes::from_static(b"1234")).await);
    }
    told
}

#[tokio::test]
async fn a_seed_repeats_itself_and_another_does_not() {
    let told = history(7).await;
    assert_eq!(told, history(7).await);
    assert_ne!(told, history(8).await);
    let failures = told.iter().filter(|told| told.is_err()).count();
    assert!((20..120).contains(&failures), "{failures} of 200 failed where about 60 should");
}

/// A store that overwrites is what `probe` is for.
mod careless {
    use std::ops::Range;

    use store::{Listed, probe};

    use super::*;

    #[derive(Debug)]
    struct Careless(Arc<dyn Store>);

    #[async_trait::async_trait]
    impl Store for Careless {
        async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, StoreError> {
            self.0.delete(&Doomed::condemn(key.clone())).await?;
            self.0.put_new(key, bytes).await
        }
        async fn get(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
            self.0.get(key).await
        }
        async fn get_range(&self, key: &ObjectKey, _: Range<u64>) -> Result<Bytes, StoreError> {
            self.0.get(key).await
        }
        async fn size(&self, key: &ObjectKey) -> Result<Option<u64>, StoreError> {
            self.0.size(key).await
        }
        async fn list(&self, _: &str, _: Option<&ObjectKey>, _: usize) -> Result<Vec<Listed>, StoreError> {
            Ok(Vec::new())
        }
        async fn delete(&self, doomed: &Doomed) -> Result<(), StoreError> {
            self.0.delete(doomed).await
        }
    }

    #[tokio::test]
    async fn a_store_that_overwrites_is_found_out() {
        let below = store::memory();
        let seen = probe(&Careless(Arc::clone(&below)), 1).await.expect("probe");
        assert!(!seen.create_only && !seen.ranges && !seen.listing && !seen.is_sound(), "{seen:?}");
        assert_eq!(below.list("", None, 9).await, Ok(Vec::new()), "the probe cleans up");
        assert!(probe(&*below, 1).await.expect("probe").is_sound());
    }
}

//! What every store must do: one suite, run on memory, a directory, a real S3 server, and on the
//! operator's own. It panics with the promise that was broken.

use bytes::Bytes;
use futures::future::join_all;

use crate::{Doomed, LIST_MAX, ObjectKey, Put, Store, StoreError};

/// Enough to need several pages of an S3 listing (1,000 names each).
const MANY: usize = 1_203;

/// Runs the whole suite under `<root>/…`; `root` is one segment nobody used before. Cleans up.
pub async fn all(store: &dyn Store, root: &str) {
    let suite = Suite { store, root };
    suite.what_is_put_is_read().await;
    suite.nothing_is_overwritten().await;
    suite.one_of_many_creators_wins().await;
    suite.ranges_are_exact().await;
    suite.absence_is_certain().await;
    suite.listings_are_complete_and_sorted().await;
    suite.many_objects_are_paged_through().await;
    suite.deleting_is_idempotent().await;
    suite.what_is_made_again_has_another_stamp().await;
    suite.odd_sizes_survive().await;
    suite.clean_up().await;
}

struct Suite<'a> {
    store: &'a dyn Store,
    root: &'a str,
}

impl Suite<'_> {
    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(format!("{}/{name}", self.root)).expect("a name of the suite")
    }

    async fn put(&self, name: &str, bytes: &[u8]) -> Put {
        let put = self.store.put_new(&self.key(name), Bytes::copy_from_slice(bytes)).await;
        put.unwrap_or_else(|error| panic!("put {name}: {error}"))
    }

    async fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let after = after.map(|name| self.key(name));
        let prefix = format!("{}/{prefix}", self.root);
        let listed = self.store.list(&prefix, after.as_ref(), limit).await;
        let listed = listed.unwrap_or_else(|error| panic!("list {prefix}: {error}"));
        let own = self.root.len() + 1;
        listed.iter().map(|line| line.key.as_str()[own..].to_owned()).collect()
    }

    async fn what_is_put_is_read(&self) {
        assert_eq!(self.put("read/a", b"content").await, Put::Created);
        let key = self.key("read/a");
        assert_eq!(self.store.get(&key).await, Ok(Bytes::from_static(b"content")));
        assert_eq!(self.store.size(&key).await, Ok(Some(7)));
        let listed = self.store.list(key.as_str(), None, 9).await.expect("list");
        assert_eq!(listed.iter().map(|line| (&line.key, line.size)).collect::<Vec<_>>(), [(&key, 7)]);
    }

    async fn nothing_is_overwritten(&self) {
        assert_eq!(self.put("once", b"first").await, Put::Created);
        assert_eq!(self.put("once", b"second, and longer").await, Put::Existed);
        assert_eq!(self.put("once", b"first").await, Put::Existed);
        let left = self.store.get(&self.key("once")).await;
        assert_eq!(left, Ok(Bytes::from_static(b"first")), "a second creation changed the object");
    }

    async fn one_of_many_creators_wins(&self) {
        let contents: Vec<String> = (0..16).map(|writer| format!("writer {writer}").repeat(1000)).collect();
        let key = self.key("race/one");
        let race = contents.iter().map(|text| self.store.put_new(&key, Bytes::from(text.clone())));
        let mut winners = Vec::new();
        for (put, content) in join_all(race).await.into_iter().zip(&contents) {
            match put {
                Ok(Put::Created) => winners.push(content),
                // A store may be unable to say who won a race; the object itself says it.
                Ok(Put::Existed) | Err(StoreError::Unknown { .. }) => {}
                Err(error) => panic!("a race ended in {error}"),
            }
        }
        assert!(winners.len() <= 1, "{} writers created one object", winners.len());
        let left = self.store.get(&key).await.expect("somebody won");
        assert!(contents.iter().any(|content| *content == left), "the object is nobody's");
        assert!(winners.iter().all(|winner| **winner == left), "the winner's content is not there");
    }

    async fn ranges_are_exact(&self) {
        self.put("ranges", b"0123456789").await;
        let key = self.key("ranges");
        for range in [0..1, 0..10, 3..7, 9..10] {
            let wanted: String = range.clone().map(|digit| digit.to_string()).collect();
            let got = self.store.get_range(&key, range.clone()).await;
            assert_eq!(got, Ok(Bytes::from(wanted)), "{range:?}");
        }
        for range in [0..11, 9..11, 10..11, 50..60, 4..4, 0..u64::MAX] {
            let got = self.store.get_range(&key, range.clone()).await;
            assert!(matches!(got, Err(StoreError::Failed { .. })), "{range:?} gave {got:?}");
        }
    }

    async fn what_is_made_again_has_another_stamp(&self) {
        let key = self.key("stamped");
        let mut stamps = Vec::new();
        for content in [b"one", b"two"] {
            self.put("stamped", content).await;
            let listed = self.store.list(key.as_str(), None, 1).await.expect("list");
            let again = self.store.list(key.as_str(), None, 1).await.expect("list");
            let [line] = &listed[..] else { panic!("{listed:?} for one object") };
            assert!(
                line.stamp.is_none() || line.stamp == again[0].stamp,
                "the stamp changes, the object does not"
            );
            stamps.push(line.stamp.clone());
            self.store.delete(&Doomed::condemn(key.clone())).await.expect("delete");
        }
        assert!(stamps[0].is_none() || stamps[0] != stamps[1], "two objects, one stamp");
    }

    async fn absence_is_certain(&self) {
        self.put("present/child", b"x").await;
        for name in ["absent", "no/such/folder/object", "presen", "present/child-not"] {
            let key = self.key(name);
            let gone = StoreError::NotFound { key: key.clone() };
            assert_eq!(self.store.get(&key).await, Err(gone.clone()));
            assert_eq!(self.store.get_range(&key, 0..1).await, Err(gone));
            assert_eq!(self.store.size(&key).await, Ok(None));
        }
        assert_eq!(self.names("nowhere/", None, 9).await, [""; 0]);
    }

    async fn listings_are_complete_and_sorted(&self) {
        // The characters around '/' are the ones that betray a walk in folder order.
        let mut all = ["a/b", "a-b", "a.b", "a0b", "a/b-c", "a/b.c/d", "a_b", "b", "a/0/1/2", "ab/c", "a/b0"];
        for name in all {
            self.put(&format!("list/{name}"), name.as_bytes()).await;
        }
        all.sort_unstable();
        let all: Vec<String> = all.iter().map(|name| format!("list/{name}")).collect();
        for prefix in
            ["list/", "list/a", "list/a/", "list/a/b", "list/a-b", "list/a/0/1/2", "list/c", "list/ab/"]
        {
            let wanted: Vec<_> = all.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
            assert_eq!(self.names(prefix, None, 100).await, wanted, "prefix {prefix}");
            for after in all.iter().map(String::as_str).chain(["list/a/a", "list/zz", "kist/a"]) {
                let wanted: Vec<_> =
                    wanted.iter().filter(|name| name.as_str() > after).take(3).cloned().collect();
                assert_eq!(self.names(prefix, Some(after), 3).await, wanted, "prefix {prefix} after {after}");
            }
        }
        assert_eq!(self.names("list/", None, 0).await, [""; 0]);
    }

    async fn many_objects_are_paged_through(&self) {
        let names: Vec<String> = (0..MANY).map(|n| format!("many/{:02x}/{n:05}", n % 7)).collect();
        for some in names.chunks(32) {
            join_all(some.iter().map(|name| self.put(name, b"x"))).await;
        }
        let mut wanted = names;
        wanted.sort_unstable();
        assert_eq!(self.names("many/", None, usize::MAX).await, wanted, "at once");
        let mut paged: Vec<String> = Vec::new();
        loop {
            let page = self.names("many/", paged.last().map(String::as_str), 500).await;
            paged.extend_from_slice(&page);
            if page.len() < 500 {
                break;
            }
        }
        assert_eq!(paged, wanted, "in pages");
    }

    async fn deleting_is_idempotent(&self) {
        self.put("doomed/a", b"x").await;
        self.put("doomed/b", b"x").await;
        let doomed = Doomed::condemn(self.key("doomed/a"));
        for _ in 0..2 {
            assert_eq!(self.store.delete(&doomed).await, Ok(()));
            assert_eq!(self.store.size(doomed.key()).await, Ok(None));
        }
        assert_eq!(self.names("doomed/", None, 9).await, ["doomed/b"]);
        assert_eq!(self.put("doomed/a", b"again").await, Put::Created);
        assert_eq!(self.store.get(doomed.key()).await, Ok(Bytes::from_static(b"again")));
    }

    async fn odd_sizes_survive(&self) {
        for len in [0, 1, 4095, 9 << 20] {
            let bytes: Bytes =
                (0..len).map(|at: u32| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
            let name = format!("sizes/{len}");
            assert_eq!(self.put(&name, &bytes).await, Put::Created);
            let key = self.key(&name);
            assert!(self.store.get(&key).await.as_ref() == Ok(&bytes), "{len} bytes came back changed");
            assert_eq!(self.store.size(&key).await, Ok(Some(u64::from(len))));
        }
    }

    async fn clean_up(&self) {
        let prefix = format!("{}/", self.root);
        let left = self.store.list(&prefix, None, LIST_MAX).await.expect("list what is left");
        for some in left.chunks(32) {
            let doomed: Vec<_> = some.iter().map(|line| Doomed::condemn(line.key.clone())).collect();
            for gone in join_all(doomed.iter().map(|doomed| self.store.delete(doomed))).await {
                gone.expect("delete what the suite made");
            }
        }
        assert_eq!(self.store.list(&prefix, None, 1).await, Ok(Vec::new()), "something stayed");
    }
}

//! What only a directory can get wrong: leftovers, full disks, foreign files, rights.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use model::Timestamp;
use store::{Doomed, ObjectKey, Put, Store, StoreConfig, StoreError, open};

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).expect("a name")
}

async fn open_at(path: &Path) -> Arc<dyn Store> {
    open(&StoreConfig::Directory { path: path.to_owned() }).await.expect("open")
}

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = open_at(folder.path()).await;
    first.put_new(&key("a/b"), Bytes::from_static(b"kept")).await.expect("put");
    drop(first);
    let again = open_at(folder.path()).await;
    assert_eq!(again.get(&key("a/b")).await, Ok(Bytes::from_static(b"kept")));
    assert_eq!(again.put_new(&key("a/b"), Bytes::from_static(b"other")).await, Ok(Put::Existed));
}

/// What a writer killed in mid-write leaves is a file `name#1`.
#[tokio::test]
async fn a_half_written_file_is_never_listed_and_does_not_hinder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open_at(folder.path()).await;
    fs::create_dir(folder.path().join("packs")).expect("folder");
    fs::write(folder.path().join("packs/one#1"), b"ha").expect("leftover");
    assert_eq!(store.list("", None, 9).await, Ok(Vec::new()));
    assert_eq!(store.size(&key("packs/one")).await, Ok(None));
    assert_eq!(store.put_new(&key("packs/one"), Bytes::from_static(b"whole")).await, Ok(Put::Created));
    assert_eq!(store.get(&key("packs/one")).await, Ok(Bytes::from_static(b"whole")));
    assert_eq!(store.list("", None, 9).await.expect("list").len(), 1);
}

/// Only what a dead writer can have left, and only when no living one can be at it.
#[tokio::test]
async fn old_drafts_are_swept_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open_at(folder.path()).await;
    store.put_new(&key("packs/one"), Bytes::from_static(b"whole")).await.expect("put");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let others = ["packs/young#1", "packs/one#x", "packs/README", "packs/A#1", "packs/#1"];
    for name in ["packs/one#1", "packs/one#22", "deeper/and/deeper#1"].iter().chain(&others) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        fs::write(&path, b"ha").expect("leftover");
        if !name.contains("young") {
            fs::File::options().write(true).open(&path).expect("open").set_modified(old).expect("age");
        }
    }
    assert_eq!(store.sweep(Timestamp::from_seconds(1_000)).await, Ok(0), "touched at that very moment");
    assert_eq!(store.sweep(Timestamp::from_seconds(1_001)).await, Ok(3));
    assert_eq!(store.get(&key("packs/one")).await, Ok(Bytes::from_static(b"whole")));
    assert!(others.iter().all(|name| folder.path().join(name).exists()));
}

#[tokio::test]
async fn a_finished_write_leaves_nothing_beside_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open_at(folder.path()).await;
    for content in ["first", "second"] {
        store.put_new(&key("a"), Bytes::from(content)).await.expect("put");
    }
    let left: BTreeSet<_> = fs::read_dir(folder.path())
        .expect("read")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
        .collect();
    assert_eq!(left, BTreeSet::from(["a".to_owned()]));
}

#[tokio::test]
async fn foreign_files_are_left_out_of_listings() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open_at(folder.path()).await;
    for odd in ["README", "with space", "UPPER"] {
        fs::write(folder.path().join(odd), b"x").expect("write");
    }
    fs::create_dir(folder.path().join("lost+found")).expect("folder");
    fs::write(folder.path().join("lost+found/x"), b"x").expect("write");
    symlink("/etc/passwd", folder.path().join("link")).expect("link");
    store.put_new(&key("mine"), Bytes::from_static(b"x")).await.expect("put");
    let listed = store.list("", None, 9).await.expect("list");
    assert_eq!(listed.iter().map(|line| line.key.as_str()).collect::<Vec<_>>(), ["mine"]);
}

/// A file where a folder must be is what a damaged directory looks like.
#[tokio::test]
async fn a_file_in_the_way_is_an_error_and_not_a_loss() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open_at(folder.path()).await;
    store.put_new(&key("a"), Bytes::from_static(b"x")).await.expect("put");
    store.put_new(&key("a/b"), Bytes::from_static(b"y")).await.expect_err("a is no folder");
    assert_eq!(store.get(&key("a")).await, Ok(Bytes::from_static(b"x")));
    store.delete(&Doomed::condemn(key("a"))).await.expect("delete");
    assert_eq!(store.put_new(&key("a/b"), Bytes::from_static(b"y")).await, Ok(Put::Created));
}

/// A tmpfs of 64 KiB, which needs root, is a disk that is soon full.
#[tokio::test]
async fn no_room_is_told_apart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open_at(folder.path()).await;
    let small = folder.path().join("small");
    fs::create_dir(&small).expect("folder");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=700", "hikae-test"])
        .arg(&small)
        .status();
    assert!(mounted.is_ok_and(|status| status.success()), "a tmpfs could be mounted (needs root)");
    let unmount = Unmount(&small);
    let big = store.put_new(&key("small/big"), Bytes::from(vec![7; 1 << 20])).await;
    let fits = store.put_new(&key("small/fits"), Bytes::from_static(b"x")).await;
    let listed = store.list("small/", None, 9).await;
    drop(unmount);
    assert!(matches!(big, Err(StoreError::NoSpace { .. })), "{big:?}");
    assert_eq!(fits, Ok(Put::Created), "the failed write gave its room back");
    assert_eq!(listed.expect("list").len(), 1);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let gone = std::process::Command::new("umount").arg(self.0).status();
        assert!(gone.is_ok_and(|status| status.success()), "the tmpfs could be unmounted");
    }
}

#[tokio::test]
async fn a_path_that_is_no_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, b"x").expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("rights");
    let error = open(&StoreConfig::Directory { path: file.join("depot") }).await.expect_err("no folder");
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
}

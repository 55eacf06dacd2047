//! A disk that is full at every write: a small file system, a little larger each time, until all fits.
//!
//! What was sealed before stays whole, the error says what to do, no half object has a name, and both
//! ways out work: more room, and deleting. A tmpfs needs root; without it this test fails.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{Disk, World, content, manifest, restore, small, write};
use hikae_depot::{DepotError, Depth, Margins, TreeRef};
use model::{Code, GroupId, Refusal};
use store::{Store, StoreConfig, StoreError};
use tokio_util::sync::CancellationToken;

const STEP_KIB: usize = 4;
const LARGE_KIB: usize = 4096;
const DAY_S: i64 = 24 * 3600;

/// A file system of its own size, gone when dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path, kib: usize) -> Self {
        fs::create_dir_all(path).unwrap();
        mount(path, &format!("size={kib}k,mode=700"));
        Self(path)
    }

    fn grow(&self, kib: usize) {
        mount(self.0, &format!("remount,size={kib}k"));
    }
}

fn mount(path: &Path, options: &str) {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "hikae-test"]).arg(path).status();
    assert!(mounted.is_ok_and(|status| status.success()), "a tmpfs could be mounted (needs root)");
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let gone = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(gone.is_ok_and(|status| status.success()), "the tmpfs could be unmounted");
    }
}

fn contents() -> [Vec<u8>; 2] {
    let first = content(150_000, 3);
    let mut second = first.clone();
    second[40_000..90_000].copy_from_slice(&content(50_000, 4));
    [first, second]
}

/// Two groups, from wherever it stopped before; tells how many were sealed.
async fn fill(world: &World, contents: &[Vec<u8>; 2]) -> (usize, Result<(), DepotError>) {
    let mut sealed = 0;
    let ended = async {
        let depot = world.try_open().await?;
        let mut base: Option<(TreeRef, &Vec<u8>)> = None;
        for (number, bytes) in (1..).zip(contents) {
            let id = GroupId::from_bits(number);
            let found = depot.group(id).await?;
            let tree = match (found, base) {
                (Some(found), _) => found.disks[0].tree,
                (None, Some((tree, before))) => {
                    write(&depot, &Disk::since(bytes.clone(), before), Some(tree), true).await?.tree
                }
                (None, None) => write(&depot, &Disk::new(bytes.clone()), None, false).await?.tree,
            };
            let before = (number > 1).then_some(1);
            let manifest = depot.group(id).await?.unwrap_or_else(|| manifest(number, tree, before));
            depot.seal_group(&manifest).await?;
            sealed += 1;
            base = Some((tree, bytes));
        }
        Ok(())
    };
    let ended = ended.await;
    (sealed, ended)
}

async fn audit(world: &World, contents: &[Vec<u8>; 2], wanted: usize, how: &str) {
    let depot = world.open().await;
    let groups = depot.groups().await.unwrap();
    assert!(groups.len() >= wanted, "{how}: {wanted} were sealed, {} are there", groups.len());
    for id in groups {
        let found = depot.group(id).await.unwrap().expect("listed");
        let bytes = restore(&depot, &found.disks[0].tree).await.unwrap();
        assert!(bytes == contents[usize::try_from(id.bits() - 1).unwrap()], "{how}: {id} is other content");
    }
    for depth in [Depth::Names, Depth::Data] {
        let report = depot.verify(depth, &CancellationToken::new()).await.unwrap();
        assert_eq!(report.findings, [], "{how}");
    }
}

/// An operator reads this at three in the morning.
fn check_words(error: DepotError, how: &str) {
    assert!(matches!(&error, DepotError::Store(StoreError::NoSpace { .. })), "{how}: {error:?}");
    let refusal = Refusal::from(error);
    assert_eq!(refusal.code, Code::DepotNoSpace, "{how}");
    let (message, remedy) = (refusal.message.clone(), format!("{refusal:?}"));
    assert!(message.contains("no space left"), "{message}");
    assert!(remedy.contains("more room"), "{remedy}");
}

/// Everything there was put long ago.
fn age(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            age(&entry.path());
        } else {
            let file = fs::File::options().write(true).open(entry.path()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        }
    }
}

async fn collect(world: &World, folder: &Path, how: &str) {
    for _ in 0..3 {
        world.clock.advance_s(DAY_S + 3600);
        age(folder);
        let report = world.open().await.collect(Margins::STANDARD, &[]).await;
        let report = report.unwrap_or_else(|error| panic!("{how}: collection on a full disk: {error:?}"));
        assert_eq!(report.refused, None, "{how}");
    }
    let stats = world.open().await.stats().await.unwrap();
    assert_eq!(stats.packs, stats.needed_packs, "{how}: leaked for ever");
}

fn drafts(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let count = |entry: fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => drafts(&entry.path()),
        false => usize::from(entry.file_name().to_str().unwrap().contains('#')),
    };
    entries.map(count).sum()
}

/// Room for the marks of three visits, which is less than any pack.
const MARKS_KIB: usize = 12;

/// One size; whether everything fitted.
async fn with_size(folder: &Path, kib: usize, contents: &[Vec<u8>; 2], by_deleting: bool) -> Option<usize> {
    let how = format!("{kib} KiB");
    let small_disk = Small::mount(folder, kib);
    let store: Arc<dyn Store> =
        store::open(&StoreConfig::Directory { path: folder.to_owned() }).await.unwrap();
    let world = World::new(store, 1, small());
    let (sealed, ended) = fill(&world, contents).await;
    let Err(error) = ended else {
        audit(&world, contents, 2, &how).await;
        return None;
    };
    check_words(error, &how);
    assert_eq!(drafts(folder), 0, "{how}: a failed write keeps its room");
    if world.try_open().await.is_ok() {
        audit(&world, contents, sealed, &how).await;
    }
    if by_deleting && sealed > 0 {
        world.open().await.delete_group(GroupId::from_bits(1)).await.unwrap();
        // Deletion begins with marks, which take a block each; the manifest that went has left one.
        small_disk.grow(kib + MARKS_KIB);
        collect(&world, folder, &how).await;
        assert!(world.open().await.stats().await.unwrap().packs == 0, "{how}");
        let again =
            write(&*world.open().await, &Disk::new(contents[0][..60_000].to_vec()), None, false).await;
        assert!(again.is_ok(), "{how}: what was collected made no room: {again:?}");
    } else {
        small_disk.grow(LARGE_KIB);
        let (sealed, ended) = fill(&world, contents).await;
        assert_eq!((sealed, ended), (2, Ok(())), "{how}: with more room");
        audit(&world, contents, 2, &how).await;
        collect(&world, folder, &how).await;
        audit(&world, contents, 2, &how).await;
    }
    Some(sealed)
}

#[test]
fn a_disk_full_at_every_write() {
    let contents = contents();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = std::env::temp_dir().join(format!("hikae-disk-full-{}", std::process::id()));
    let mut ended = [0; 3];
    for by_deleting in [false, true] {
        for kib in (STEP_KIB..).step_by(STEP_KIB) {
            match runtime.block_on(with_size(&folder, kib, &contents, by_deleting)) {
                Some(sealed) => ended[sealed] += 1,
                None => break,
            }
            assert!(kib < LARGE_KIB, "it never fits");
        }
    }
    fs::remove_dir(&folder).unwrap();
    println!("sizes at which none, one and two groups were sealed before the disk was full: {ended:?}");
    assert!(ended[0] > 5 && ended[1] > 2, "{ended:?}");
}

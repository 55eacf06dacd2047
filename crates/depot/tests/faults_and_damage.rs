//! The store fails at every call in every way: whatever a group's manifest says is either restored
//! byte for byte or refused with the object's name.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Disk, World, content, manifest, restore, small, write};
use hikae_depot::{DepotError, Margins};
use model::GroupId;
use store::{Fault, Faulty, Script};

const DAY_S: i64 = 24 * 3600;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn id(number: u128) -> GroupId {
    GroupId::from_bits(number)
}

/// Two backups, an old one deleted, a collection: each call may fail, and then the whole goes on as
/// it would after a restart of the process.
async fn live(world: &World, contents: &[Vec<u8>; 3]) -> Result<(), DepotError> {
    let depot = world.try_open().await?;
    let one = write(&depot, &Disk::new(contents[0].clone()), None, false).await?;
    depot.seal_group(&manifest(1, one.tree, None)).await?;
    let disk = Disk::since(contents[1].clone(), &contents[0]);
    let two = write(&depot, &disk, Some(one.tree), true).await?;
    depot.seal_group(&manifest(2, two.tree, Some(1))).await?;
    depot.delete_group(id(1)).await?;
    depot.collect(Margins::STANDARD, &[]).await?;
    // The process starts anew, and nothing it put is fresh any more.
    let depot = world.try_open().await?;
    for _ in 0..2 {
        world.clock.advance_s(DAY_S);
        depot.collect(Margins::STANDARD, &[]).await?;
    }
    let disk = Disk::new(contents[2].clone());
    let three = write(&depot, &disk, Some(two.tree), false).await?;
    depot.seal_group(&manifest(3, three.tree, Some(2))).await
}

/// Every group there is restores exactly or is refused.
async fn audit(world: &World, contents: &[Vec<u8>; 3], may_be_damaged: bool) -> usize {
    let depot = world.open().await;
    let mut whole = 0;
    for group in depot.groups().await.unwrap() {
        let manifest = match depot.group(group).await {
            Ok(Some(manifest)) => manifest,
            Err(DepotError::Damaged { .. }) if may_be_damaged => continue,
            other => panic!("{other:?}"),
        };
        let expected = &contents[usize::try_from(group.bits() - 1).unwrap()];
        match restore(&depot, &manifest.disks[0].tree).await {
            Ok(bytes) => assert!(bytes == *expected, "group {group} restores to other content"),
            Err(DepotError::Damaged { .. }) if may_be_damaged => continue,
            other => panic!("{other:?}"),
        }
        whole += 1;
    }
    whole
}

fn contents() -> [Vec<u8>; 3] {
    let first = content(150_000, 3);
    let mut second = first.clone();
    second[40_000..90_000].copy_from_slice(&content(50_000, 4));
    let mut third = second.clone();
    third[0..30_000].copy_from_slice(&content(30_000, 5));
    [first, second, third]
}

#[test]
fn every_call_failing_in_every_way_loses_nothing_sealed() {
    let contents = contents();
    let calls = run(async {
        let store = Arc::new(Faulty::new(store::memory(), Script::Never));
        let world = World::new(store.clone(), 1, small());
        live(&world, &contents).await.unwrap();
        assert_eq!(audit(&world, &contents, false).await, 2);
        store.calls()
    });
    assert!(calls > 40, "{calls}");
    for fault in Fault::ALL {
        for call in 0..calls {
            run(async {
                let script = Script::At(BTreeMap::from([(call, fault)]));
                let inner = store::memory();
                let world = World::new(Arc::new(Faulty::new(inner.clone(), script)), 1, small());
                let ended = live(&world, &contents).await;
                let world = World { store: inner, ..world };
                let whole = match world.try_open().await {
                    Ok(_) => audit(&world, &contents, fault == Fault::Torn).await,
                    // A store that tears objects may have torn the very header.
                    Err(DepotError::Damaged { .. }) if fault == Fault::Torn => 0,
                    Err(other) => panic!("{other:?}"),
                };
                if ended.is_ok() && fault != Fault::Torn {
                    assert_eq!(whole, 2, "{fault:?} at call {call}");
                }
            });
        }
    }
}

#[test]
fn a_store_that_goes_away_at_any_moment_loses_nothing_sealed() {
    let contents = contents();
    for fault in [Fault::Unavailable, Fault::LostAfter, Fault::NoSpace] {
        for call in (0..).step_by(1) {
            let done = run(async {
                let inner = store::memory();
                let faulty = Faulty::new(inner.clone(), Script::From(call, fault));
                let world = World::new(Arc::new(faulty), 1, small());
                let ended = live(&world, &contents).await;
                let world = World { store: inner, ..world };
                audit(&world, &contents, false).await;
                // After a restart everything works, whatever is left.
                let depot = world.open().await;
                let again = write(&depot, &Disk::new(contents[0].clone()), None, false).await.unwrap();
                assert!(restore(&depot, &again.tree).await.unwrap() == contents[0]);
                ended.is_ok()
            });
            if done {
                break;
            }
        }
    }
}

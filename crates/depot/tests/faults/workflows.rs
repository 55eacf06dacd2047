//! What a depot is asked to do, each with what must hold when it says that it is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use hikae_depot::{Copier, CopyError, Depot, DepotError, Depth, Margins, Settings, TreeRef};
use model::GroupId;
use store::{ObjectKey, Store};
use tokio_util::sync::CancellationToken;

use crate::common::{Dice, Disk, Hands, World, content, manifest, objects, restore, write};

const DAY_S: i64 = 24 * 3600;
/// The group a workflow seals.
const NEW: u128 = 4;

type Done<'a> = LocalBoxFuture<'a, Result<(), DepotError>>;
type Checked<'a> = LocalBoxFuture<'a, ()>;

pub struct Workflow {
    pub name: &'static str,
    /// Begins with an empty bucket, and opens the depot itself.
    pub from_nothing: bool,
    /// Groups that are there before and after, whatever happens.
    pub kept: &'static [u128],
    pub run: for<'a> fn(&'a Scene) -> Done<'a>,
    pub holds: for<'a> fn(&'a Scene, &'a str) -> Checked<'a>,
}

/// A bucket with two groups in it, one an increment of the other, and garbage that was marked.
pub struct Prepared {
    objects: BTreeMap<String, Bytes>,
    pub contents: BTreeMap<u128, Vec<u8>>,
    settings: Settings,
}

/// One run of one workflow.
pub struct Scene {
    /// The bucket as it is, with no faults.
    pub world: World,
    /// With faults.
    through: World,
    depot: Option<Arc<Depot>>,
    tree: Option<TreeRef>,
    contents: BTreeMap<u128, Vec<u8>>,
    /// Another depot in another bucket, with the first group and the second.
    other: Arc<Depot>,
}

impl Prepared {
    pub async fn new(settings: Settings) -> Self {
        let first = content(120_000, 3);
        let mut second = first.clone();
        second[40_000..70_000].copy_from_slice(&content(30_000, 4));
        let mut fourth = second.clone();
        fourth[..30_000].copy_from_slice(&content(30_000, 5));
        let contents = BTreeMap::from([(1, first), (2, second), (NEW, fourth)]);
        let world = World::new(store::memory(), 1, settings.clone());
        fill(&world, &contents).await;
        let depot = world.open().await;
        write(&depot, &Disk::new(content(50_000, 6)), None, false).await.unwrap();
        assert!(world.open().await.collect(Margins::STANDARD, &[]).await.unwrap().marked > 0);
        Self { objects: objects(&world.store).await, contents, settings }
    }

    pub async fn bucket(&self, workflow: &Workflow) -> Arc<dyn Store> {
        let store = store::memory();
        for (path, bytes) in self.objects.iter().filter(|_| !workflow.from_nothing) {
            store.put_new(&ObjectKey::new(path.as_str()).unwrap(), bytes.clone()).await.unwrap();
        }
        store
    }
}

/// Two groups, the second an increment.
async fn fill(world: &World, contents: &BTreeMap<u128, Vec<u8>>) -> Arc<Depot> {
    let depot = world.open().await;
    let one = write(&depot, &Disk::new(contents[&1].clone()), None, false).await.unwrap().tree;
    depot.seal_group(&manifest(1, one, None)).await.unwrap();
    let disk = Disk::since(contents[&2].clone(), &contents[&1]);
    let two = write(&depot, &disk, Some(one), true).await.unwrap().tree;
    depot.seal_group(&manifest(2, two, Some(1))).await.unwrap();
    depot
}

impl Scene {
    pub async fn new(
        prepared: &Prepared,
        workflow: &Workflow,
        inner: Arc<dyn Store>,
        faulty: Arc<dyn Store>,
    ) -> Self {
        let (clock, dice, settings) = (Hands::new(), Dice::new(2), prepared.settings.clone());
        clock.advance_s(DAY_S + 3600);
        let world = |store, dice| World { store, clock: clock.clone(), dice, settings: settings.clone() };
        let other = world(store::memory(), Dice::new(77));
        let mut contents = prepared.contents.clone();
        contents.insert(1, contents[&1].clone());
        let other = match workflow.name {
            "copy to here" => {
                let depot = other.open().await;
                let tree = write(&depot, &Disk::new(contents[&NEW].clone()), None, false).await.unwrap().tree;
                depot.seal_group(&manifest(NEW, tree, None)).await.unwrap();
                depot
            }
            _ => other.open().await,
        };
        let (world, through) = (world(inner, dice.clone()), world(faulty, dice.clone()));
        let mut scene = Self { world, through, depot: None, tree: None, contents, other };
        if !workflow.from_nothing {
            scene.depot = Some(scene.through.open().await);
            scene.tree = Some(scene.written(scene.depot()).await.unwrap());
        }
        scene
    }

    /// Another process.
    pub async fn restart(&mut self) {
        if self.depot.is_some() {
            self.depot = Some(self.through.open().await);
        }
    }

    fn depot(&self) -> &Depot {
        self.depot.as_deref().expect("it is open")
    }

    /// An increment of the second group.
    async fn written(&self, depot: &Depot) -> Result<TreeRef, DepotError> {
        let base = depot.group(GroupId::from_bits(2)).await?.expect("sealed").disks[0].tree;
        let disk = Disk::since(self.contents[&NEW].clone(), &self.contents[&2]);
        Ok(write(depot, &disk, Some(base), true).await?.tree)
    }

    async fn has(&self, group: u128) -> bool {
        self.world.open().await.group(GroupId::from_bits(group)).await.unwrap().is_some()
    }
}

fn nothing<'a>(_: &'a Scene, _: &'a str) -> Checked<'a> {
    Box::pin(async {})
}

fn new_is_there<'a>(scene: &'a Scene, how: &'a str) -> Checked<'a> {
    Box::pin(async move { assert!(scene.has(NEW).await, "{how}: said to be done, and no group") })
}

fn verify(scene: &Scene, depth: Depth) -> Done<'_> {
    Box::pin(async move {
        let report = scene.depot().verify(depth, &CancellationToken::new()).await?;
        // Half an answer is an object cut short, as far as anyone can tell.
        match report.findings.first() {
            Some(found) => {
                Err(DepotError::Damaged { object: found.object.clone(), what: found.what.clone() })
            }
            None => Ok(()),
        }
    })
}

async fn copy(from: Arc<Depot>, to: Arc<Depot>, group: u128) -> Result<(), DepotError> {
    let copier = Copier::new(from, to)?;
    let copied = copier.copy(GroupId::from_bits(group), Arc::new(|_| {}), CancellationToken::new()).await;
    copied.map(drop).map_err(|error| match error {
        CopyError::From(error) | CopyError::To(error) => error,
    })
}

const OLD: Workflow = Workflow {
    name: "open an old depot",
    from_nothing: false,
    kept: &[1, 2],
    run: |scene| Box::pin(async { scene.through.try_open().await.map(drop) }),
    holds: nothing,
};

pub const WORKFLOWS: &[Workflow] = &[
    Workflow { name: "make a depot", from_nothing: true, kept: &[], ..OLD },
    OLD,
    Workflow {
        name: "write",
        run: |scene| {
            Box::pin(async {
                let tree = scene.written(scene.depot()).await?;
                let restored = restore(&*scene.world.open().await, &tree).await.expect("durable");
                assert!(restored == scene.contents[&NEW]);
                Ok(())
            })
        },
        ..OLD
    },
    Workflow {
        name: "seal",
        run: |scene| {
            Box::pin(async {
                let tree = scene.tree.expect("written");
                scene.depot().seal_group(&manifest(NEW, tree, Some(2))).await
            })
        },
        holds: new_is_there,
        ..OLD
    },
    Workflow {
        name: "delete",
        kept: &[1],
        run: |scene| Box::pin(async { scene.depot().delete_group(GroupId::from_bits(2)).await }),
        holds: |scene, how| Box::pin(async move { assert!(!scene.has(2).await, "{how}: it is there") }),
        ..OLD
    },
    Workflow {
        name: "collect",
        run: |scene| {
            Box::pin(async {
                let tree = scene.tree.expect("written");
                let report = scene.depot().collect(Margins::STANDARD, &[tree]).await?;
                // Refused for what a torn read showed.
                let refused = |what| DepotError::Damaged { object: String::new(), what };
                report.refused.map_or(Ok(()), |what| Err(refused(what)))
            })
        },
        ..OLD
    },
    Workflow {
        name: "restore",
        run: |scene| {
            Box::pin(async {
                let found = scene.depot().group(GroupId::from_bits(2)).await?.expect("sealed");
                let bytes = restore(scene.depot(), &found.disks[0].tree).await?;
                assert!(bytes == scene.contents[&2]);
                Ok(())
            })
        },
        ..OLD
    },
    Workflow { name: "verify with keys", run: |scene| verify(scene, Depth::Data), ..OLD },
    Workflow { name: "verify without keys", run: |scene| verify(scene, Depth::Names), ..OLD },
    Workflow {
        name: "copy from here",
        run: |scene| Box::pin(copy(scene.depot.clone().expect("it is open"), scene.other.clone(), 2)),
        holds: |scene, how| {
            Box::pin(async move {
                let there = scene.other.group(GroupId::from_bits(2)).await.unwrap();
                let there = there.unwrap_or_else(|| panic!("{how}: copied and not there"));
                let restored = restore(&scene.other, &there.disks[0].tree).await.unwrap();
                assert!(restored == scene.contents[&2], "{how}");
            })
        },
        ..OLD
    },
    Workflow {
        name: "copy to here",
        run: |scene| Box::pin(copy(scene.other.clone(), scene.depot.clone().expect("it is open"), NEW)),
        holds: new_is_there,
        ..OLD
    },
];

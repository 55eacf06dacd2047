//! What a process does with a depot: each a task that may be held up at any object operation, or killed.

use std::rc::Rc;
use std::sync::Arc;

use hikae_depot::{Depot, DepotError, Depth, GroupManifest, TreeRef};
use model::GroupId;
use tokio_util::sync::CancellationToken;

use crate::common::{Disk, content, manifest, restore, write};
use crate::model::{Group, Sealing, Shared, Standing};

/// A group and what it restores to.
type Known = (u128, Rc<Vec<u8>>);

/// One task of one process.
#[derive(Clone)]
pub struct Actor {
    pub process: usize,
    pub depot: Arc<Depot>,
    pub shared: Rc<Shared>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Write,
    Delete,
    Collect,
    Restore,
    Verify,
    Recover,
}

impl Actor {
    pub async fn run(self, kind: Kind) {
        match kind {
            Kind::Write => self.write().await,
            Kind::Delete => self.delete().await,
            Kind::Collect => self.collect().await,
            Kind::Restore => self.restore().await,
            Kind::Verify => self.verify().await,
            Kind::Recover => self.recover().await,
        }
    }

    /// A new disk, or one of some group, changed here and there.
    fn next_disk(&self) -> (Option<Known>, Vec<u8>) {
        let shared = &self.shared;
        let base = if shared.one_in(4) { None } else { shared.pick_sealed() };
        let seed = shared.roll(1 << 20) as u64;
        let mut bytes = match &base {
            Some((_, bytes)) => bytes.to_vec(),
            None => content(20_000 + shared.roll(120_000), seed),
        };
        if shared.one_in(6) {
            bytes.resize(shared.roll(160_000), 3);
        }
        for nth in 0..shared.roll(4) as u64 {
            let from = shared.roll(u32::try_from(bytes.len().max(1)).unwrap());
            let to = (from + 512 * shared.roll(80)).min(bytes.len());
            bytes[from..to].copy_from_slice(&content(to - from, seed + nth));
        }
        (base, bytes)
    }

    async fn write(&self) {
        let shared = &self.shared;
        let (base, bytes) = self.next_disk();
        let bytes = Rc::new(bytes);
        let mut base_tree = None;
        if let Some((group, _)) = &base {
            match self.depot.group(GroupId::from_bits(*group)).await {
                Ok(Some(found)) => base_tree = Some(found.disks[0].tree),
                Ok(None) => return assert_ne!(shared.standing(*group), Standing::Sealed, "{group} is lost"),
                Err(error) => return shared.excuse("read the base", &error, false),
            }
        }
        let disk = match &base {
            Some((_, before)) => Disk::since(bytes.to_vec(), before),
            None => Disk::new(bytes.to_vec()),
        };
        let changed_only = !shared.one_in(3);
        for _ in 0..3 {
            let base_gone = || base.as_ref().is_some_and(|(id, _)| shared.standing(*id) != Standing::Sealed);
            let began = shared.now();
            let written = match write(&self.depot, &disk, base_tree, changed_only).await {
                Ok(written) => written,
                Err(DepotError::Overtaken { .. }) if shared.hours_since(began) >= shared.safe_hours() => {
                    continue;
                }
                Err(error) => {
                    shared.excuse("write", &error, base_gone());
                    continue;
                }
            };
            if shared.one_in(12) {
                return;
            }
            if self.seal(&bytes, written.tree, base.as_ref().map(|(id, _)| *id), began).await {
                return;
            }
        }
    }

    /// Whether that is the end of it.
    async fn seal(
        &self,
        bytes: &Rc<Vec<u8>>,
        tree: TreeRef,
        base: Option<u128>,
        since: model::Timestamp,
    ) -> bool {
        let shared = &self.shared;
        let id = {
            let mut model = shared.model.borrow_mut();
            let id = model.groups.len() as u128 + 1;
            let group = Group { standing: Standing::Doubtful, content: bytes.clone() };
            model.groups.insert(id, group);
            let manifest = manifest(id, tree, base);
            model.sealing.insert(id, Sealing { process: self.process, manifest, since });
            id
        };
        shared.trace(|| format!("process {} seals {id} with base {base:?}", self.process));
        let manifest = manifest(id, tree, base);
        let ended = self.seal_until_certain(&manifest, since, 1 + shared.roll(6)).await;
        shared.model.borrow_mut().sealing.remove(&id);
        ended
    }

    async fn seal_until_certain(
        &self,
        manifest: &GroupManifest,
        since: model::Timestamp,
        patience: usize,
    ) -> bool {
        let (shared, id) = (&self.shared, manifest.group.bits());
        for tries in 1.. {
            match self.depot.seal_group(manifest).await {
                Ok(()) => {
                    shared.set(id, Standing::Sealed);
                    shared.model.borrow_mut().seals += 1;
                    return true;
                }
                Err(DepotError::Overtaken { .. }) => {
                    shared.model.borrow_mut().overtaken += 1;
                    if !shared.is_late(id) {
                        shared.set(id, Standing::Gone);
                    }
                    return false;
                }
                Err(error) if error.is_transient() => {
                    let slow = matches!(error, DepotError::GivenUp { .. });
                    assert!(!slow || shared.hours_since(since) >= shared.safe_hours(), "given up too early");
                    if !slow {
                        shared.excuse("seal", &error, false);
                    }
                    if tries >= patience {
                        return true;
                    }
                }
                // What it names is gone, for it was too slow, or its base is: the caller undoes the group.
                Err(error) => {
                    let base = manifest.disks[0].base.map(|base| base.group.bits());
                    let base_gone = base.is_some_and(|base| shared.standing(base) != Standing::Sealed);
                    shared.excuse(
                        "seal",
                        &error,
                        base_gone || shared.hours_since(since) >= shared.safe_hours(),
                    );
                    self.delete_group(id).await;
                    return false;
                }
            }
        }
        true
    }

    async fn recover(&self) {
        let sealing = self.shared.model.borrow_mut().to_recover.pop();
        let Some(Sealing { manifest, since, .. }) = sealing else { return };
        let id = manifest.group.bits();
        self.shared.trace(|| format!("process {} recovers {id}", self.process));
        let again = Sealing { process: self.process, manifest: manifest.clone(), since };
        self.shared.model.borrow_mut().sealing.insert(id, again);
        self.seal_until_certain(&manifest, since, usize::MAX).await;
        self.shared.model.borrow_mut().sealing.remove(&id);
    }

    async fn delete(&self) {
        if let Some((id, _)) = self.shared.pick_sealed().filter(|(id, _)| !self.shared.is_late(*id)) {
            self.delete_group(id).await;
        }
    }

    async fn delete_group(&self, id: u128) {
        self.shared.set(id, Standing::Doubtful);
        loop {
            match self.depot.delete_group(GroupId::from_bits(id)).await {
                Ok(()) if self.shared.is_late(id) => return,
                Ok(()) => return self.shared.set(id, Standing::Gone),
                Err(error) => self.shared.excuse("delete", &error, false),
            }
            if self.shared.one_in(4) && !self.shared.model.borrow().sealing.contains_key(&id) {
                return;
            }
        }
    }

    async fn collect(&self) {
        let shared = &self.shared;
        let of_ours = |sealing: &&Sealing| sealing.process == self.process;
        let promised: Vec<TreeRef> = shared
            .model
            .borrow()
            .sealing
            .values()
            .filter(of_ours)
            .map(|sealing| sealing.manifest.disks[0].tree)
            .collect();
        match self.depot.collect(shared.margins, &promised).await {
            Ok(report) => {
                shared.trace(|| format!("process {}: {report:?}", self.process));
                let mut model = shared.model.borrow_mut();
                model.refused += usize::from(report.refused.is_some());
                model.deleted_packs += report.deleted;
            }
            Err(error) => shared.excuse("collect", &error, false),
        }
    }

    async fn restore(&self) {
        let shared = &self.shared;
        let Some((id, bytes)) = shared.pick_sealed() else { return };
        let was = |error| shared.excuse("restore", &error, shared.standing(id) != Standing::Sealed);
        let found = match self.depot.group(GroupId::from_bits(id)).await {
            Ok(Some(found)) => found,
            Ok(None) => return assert_ne!(shared.standing(id), Standing::Sealed, "group {id} is lost"),
            Err(error) => return was(error),
        };
        match restore(&self.depot, &found.disks[0].tree).await {
            Ok(restored) => assert!(restored == *bytes, "group {id} restores to other content"),
            Err(error) => return was(error),
        }
        shared.model.borrow_mut().restores += 1;
    }

    async fn verify(&self) {
        let shared = &self.shared;
        let depth = if shared.one_in(2) { Depth::Names } else { Depth::Data };
        match self.depot.verify(depth, &CancellationToken::new()).await {
            Ok(report) => {
                for finding in &report.findings {
                    // One being sealed too late, or taken back, may be seen half way.
                    let is_sealed = |group: GroupId| shared.standing(group.bits()) == Standing::Sealed;
                    let hurts = &finding.hurts;
                    let of_sealed = hurts.is_empty() || hurts.iter().any(|hurt| is_sealed(hurt.group));
                    assert!(!of_sealed, "{finding:?}");
                }
            }
            Err(error) => shared.excuse("verify", &error, false),
        }
    }
}

//! Sealing a group: the one step after which it exists, for good.
//!
//! First the manifest is put as an *intent*, under a name that no other attempt has: from then on every
//! collector that lists intents and groups keeps what the group will need. Then comes the look: none of
//! its packs is marked for deletion, and none is gone. Then the same bytes are put as the manifest, and
//! the group exists. Nothing is ever taken back.
//!
//! # Consistency
//! A manifest is put after every pack it needs was seen to be there, with the intent in place. Who gives
//! an intent up (a collector, after [`crate::Margins`]; a deletion, at once) first puts a *void*
//! manifest under the name that this attempt would use: a writer that slept loses by create-new.
//! What nodes say of the packs below them is checked here, before collection believes it.
//! # Crash consistency
//! Before the intent: nothing. Before the manifest: an intent, which collection gives up in time, or
//! this call itself when nothing can come of it.
//! After it: the group exists, and sealing again finds it equal.
//! # Concurrency
//! The pair table in `gc.rs`. Two who seal one group at the same moment may both succeed: see `group.rs`.
//! # Errors
//! After a transient error the group may be sealed: seal again. `Overtaken`: by this call it is not.
//! # Cancellation
//! As after a transient error.
//! # Limits
//! Memory grows with the packs a group names, not with its data.

use std::collections::HashSet;

use bytes::Bytes;
use format::{Attempt, GroupManifest, ManifestEnvelope, PackName, VOID_LEN, path};
use futures::{StreamExt, TryStreamExt};
use store::Put;

use crate::objects::key;
use crate::walk::Named;
use crate::{Depot, DepotError};

impl Depot {
    /// Makes the group exist. Done before with the same manifest is success.
    pub async fn seal_group(&self, manifest: &GroupManifest) -> Result<(), DepotError> {
        manifest.check().map_err(|error| DepotError::Invalid(error.to_string()))?;
        match self.group(manifest.group).await? {
            Some(found) if found == *manifest => return Ok(()),
            Some(_) => return Err(DepotError::Conflict { group: manifest.group }),
            None => {}
        }
        let attempt = self.attempt();
        let object = self.sealed_manifest(manifest, attempt).await?;
        self.put_own(&path::intent(manifest.group, attempt), &object, manifest).await?;
        let packs = match self.sure_packs(manifest).await {
            Err(error) if !error.is_transient() => {
                // Nothing will come of this attempt, so nothing need be kept for it.
                self.put_void(manifest.group, attempt).await?;
                return Err(error);
            }
            packs => packs?,
        };
        self.put_own(&path::group(manifest.group, attempt), &object, manifest).await?;
        // Once they have been of a group, they are like all others.
        self.fresh().retain(|pack, _| !packs.contains(pack));
        Ok(())
    }

    /// The packs whose loss would be this group's, all seen to stay.
    async fn sure_packs(&self, manifest: &GroupManifest) -> Result<HashSet<PackName>, DepotError> {
        let mut named = Named::default();
        let lost = match self.add_named(&mut named, manifest).await {
            Ok(()) => self.lost(&named.packs).await?,
            // A tree whose pack is gone cannot be read: that is no damage, the write was too slow.
            Err(error @ DepotError::Damaged { .. }) => Some(self.missing(&named.packs).await?.ok_or(error)?),
            Err(error) => return Err(error),
        };
        let Some(pack) = lost else { return Ok(named.packs) };
        // What is remembered led here; it must not lead here again.
        self.known.forget([pack]);
        Err(DepotError::Overtaken { pack })
    }

    fn attempt(&self) -> Attempt {
        let mut chance = [0; 8];
        self.entropy.fill(&mut chance);
        Attempt::new(self.clock.now(), chance)
    }

    async fn sealed_manifest(&self, manifest: &GroupManifest, attempt: Attempt) -> Result<Bytes, DepotError> {
        let header = self.manifest_header(manifest.group, attempt);
        let keys = self.slot_keys(header.slot).await?;
        let sealed = keys.seal_manifest(&header, &manifest.encode());
        let sealed = sealed.map_err(|error| DepotError::Internal(error.0.to_owned()))?;
        Ok(ManifestEnvelope { header, sealed }.encode().into())
    }

    /// The name is this attempt's alone: what is there is an earlier try of this call, or void.
    async fn put_own(&self, path: &str, object: &Bytes, manifest: &GroupManifest) -> Result<(), DepotError> {
        let key = key(path)?;
        if self.objects.put(&key, object.clone()).await? == Put::Created {
            return Ok(());
        }
        match self.objects.find(&key).await? {
            Some(found) if found == *object => Ok(()),
            Some(found) if found.len() as u64 != VOID_LEN => {
                Err(DepotError::damaged(path, "written in part by this store, against its promise"))
            }
            _ => Err(DepotError::GivenUp { group: manifest.group }),
        }
    }

    /// A pack that a collector has its eye on, or that is gone: a collector that did not see the intent
    /// left the one or the other. In this order, for what is deleted leaves the marks.
    async fn lost(&self, packs: &HashSet<PackName>) -> Result<Option<PackName>, DepotError> {
        let marks = self.newest_marks().await?;
        let marks = marks.iter().flat_map(|marks| &marks.packs);
        if let Some(marked) = marks.map(|mark| mark.pack).filter(|pack| packs.contains(pack)).min() {
            return Ok(Some(marked));
        }
        self.missing(packs).await
    }

    async fn missing(&self, packs: &HashSet<PackName>) -> Result<Option<PackName>, DepotError> {
        let mut packs: Vec<PackName> = packs.iter().copied().collect();
        packs.sort_unstable();
        let look = |pack: PackName| async move {
            let found = self.objects.size(&key(&path::pack(pack))?).await?;
            Ok::<_, DepotError>(found.is_none().then_some(pack))
        };
        let looks = futures::stream::iter(packs).map(look).buffered(self.settings.fetches());
        let missing: Option<Option<PackName>> =
            looks.try_filter(|pack| std::future::ready(pack.is_some())).boxed().try_next().await?;
        Ok(missing.flatten())
    }

    /// The packs a group names beyond those of the groups it is an increment of, if those are there now
    /// that its intent is: no collector has its eye on a pack of a group that exists, and none that
    /// lists groups after this one has gone overlooks the intent.
    async fn add_named(&self, named: &mut Named, manifest: &GroupManifest) -> Result<(), DepotError> {
        for disk in &manifest.disks {
            let Some(of) = disk.base else {
                named.add(self, &disk.tree, None).await?;
                continue;
            };
            let found = match self.group(of.group).await {
                // Its tree may be sound though its manifest is not: then this one is walked whole.
                Err(DepotError::Damaged { .. } | DepotError::Newer { .. }) => None,
                found => found?,
            };
            let base = found.and_then(|group| {
                group.disks.iter().find(|base| base.snapshot == of.snapshot).map(|base| base.tree)
            });
            named.add(self, &disk.tree, base.as_ref()).await?;
        }
        Ok(())
    }
}

//! Groups: sealed once, found by their manifests, deleted by them.
//!
//! # Consistency
//! A manifest is put after every pack it needs was seen to be there, and nobody is told before a
//! look at the collection marks has shown that none of them is going away, or gone. What nodes say of
//! the packs below them is checked here, before collection believes it.
//! # Crash consistency
//! Crashed before the manifest: nothing. After it: sealing again finds it equal and looks at the
//! marks again.
//! # Concurrency
//! The pair table in `gc.rs`.
//! # Errors
//! After a transient error the group may be sealed: seal again. `Overtaken`: it is certainly not.
//! # Cancellation
//! As after a transient error.
//! # Limits
//! Memory grows with the packs a group names, not with its data.

use std::collections::HashSet;

use format::{GroupManifest, ManifestEnvelope, ManifestHeader, PackName, TreeRef, path};
use futures::{StreamExt, TryStreamExt};
use model::GroupId;
use store::Put;

use crate::objects::key;
use crate::walk::Named;
use crate::{Depot, DepotError, gc};

impl Depot {
    /// Makes the group exist. Done before with the same manifest is success.
    pub async fn seal_group(&self, manifest: &GroupManifest) -> Result<(), DepotError> {
        manifest.check().map_err(|error| DepotError::Invalid(error.to_string()))?;
        let named = self.named_packs(manifest).await?;
        let before = self.look_at_marks(&named.packs).await?;
        if let Some(pack) = before.marked {
            self.take_back(manifest, Some(pack)).await?;
            return Err(DepotError::Overtaken { pack });
        }
        // After the look: what is there and not marked goes only when later marks have been made.
        if let Some(pack) = self.missing(&named.packs).await? {
            self.take_back(manifest, Some(pack)).await?;
            return Err(DepotError::Overtaken { pack });
        }
        self.put_manifest(manifest).await?;
        // Only now does every later collector see the group; one that looked before has left a mark.
        let leaning = self.still_there(&named.leaning_on).await?;
        let packs = if leaning {
            named.packs
        } else {
            match self.all_named_packs(manifest).await {
                Err(error @ DepotError::Damaged { .. }) => {
                    self.take_back(manifest, None).await?;
                    return Err(error);
                }
                packs => packs?,
            }
        };
        let after = self.look_at_marks(&packs).await?;
        let mut lost = after.marked;
        if lost.is_none() && (!leaning || after.number != before.number) {
            // A seal that slept long enough finds neither the pack nor the marks that condemned it.
            lost = self.missing(&packs).await?;
        }
        if let Some(pack) = lost {
            self.take_back(manifest, Some(pack)).await?;
            return Err(DepotError::Overtaken { pack });
        }
        // Once they have been of a group, they are like all others.
        self.fresh().retain(|pack, _| !packs.contains(pack));
        Ok(())
    }

    /// A group's manifest, if the group exists.
    pub async fn group(&self, id: GroupId) -> Result<Option<GroupManifest>, DepotError> {
        let key = key(&path::group(id))?;
        let Some(bytes) = self.objects.find(&key).await? else { return Ok(None) };
        let unreadable = |error| DepotError::unreadable(key.as_str(), error);
        let envelope = ManifestEnvelope::decode(&bytes).map_err(unreadable)?;
        if (envelope.header.depot, envelope.header.group) != (self.id, id) {
            return Err(DepotError::damaged(key.as_str(), "the manifest of another group or depot"));
        }
        let keys = self.slot_keys(envelope.header.slot).await?;
        let body = keys.open_manifest(&envelope.header, &envelope.sealed);
        let body = body.map_err(|error| DepotError::damaged(key.as_str(), error.0))?;
        let manifest = GroupManifest::decode(&body).map_err(unreadable)?;
        if manifest.group != id {
            return Err(DepotError::damaged(key.as_str(), "its body speaks of another group"));
        }
        Ok(Some(manifest))
    }

    /// All groups there are, readable or not.
    pub async fn groups(&self) -> Result<Vec<GroupId>, DepotError> {
        self.objects.list(path::GROUPS, None, path::parse_group).await
    }

    /// Makes the group not exist. Gone already is fine. Its packs are left to collection.
    pub async fn delete_group(&self, id: GroupId) -> Result<(), DepotError> {
        gc::execute(self, &gc::GcDecision::group(id)).await?;
        Ok(())
    }

    /// Undoes a seal, if it was this one: under the same id another may have been answered.
    async fn take_back(&self, manifest: &GroupManifest, lost: Option<PackName>) -> Result<(), DepotError> {
        // What is remembered led here; it must not lead here again.
        self.known.forget(lost);
        match self.group(manifest.group).await? {
            Some(found) if found == *manifest => self.delete_group(manifest.group).await,
            Some(_) => Err(DepotError::Conflict { group: manifest.group }),
            None => Ok(()),
        }
    }

    async fn put_manifest(&self, manifest: &GroupManifest) -> Result<(), DepotError> {
        let key = key(&path::group(manifest.group))?;
        let keys = self.slot_keys(self.slot).await?;
        let (depot, slot, group, salt) = (self.id, self.slot, manifest.group, self.salt());
        let header = ManifestHeader { depot, slot, group, salt };
        let sealed = keys
            .seal_manifest(&header, &manifest.encode())
            .map_err(|error| DepotError::Internal(error.0.to_owned()))?;
        let object = ManifestEnvelope { header, sealed }.encode();
        if self.objects.put(&key, object.into()).await? == Put::Created {
            return Ok(());
        }
        // An earlier try had another salt: what counts is what it says.
        match self.group(manifest.group).await? {
            Some(found) if found == *manifest => Ok(()),
            Some(_) => Err(DepotError::Conflict { group: manifest.group }),
            None => Err(DepotError::damaged(key.as_str(), "said to exist, and missing")),
        }
    }

    /// One of these packs that is not there.
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

    async fn look_at_marks(&self, packs: &HashSet<PackName>) -> Result<Look, DepotError> {
        let Some(marks) = self.newest_marks().await? else { return Ok(Look { number: 0, marked: None }) };
        let marked = marks.packs.iter().map(|mark| mark.pack).filter(|pack| packs.contains(pack)).min();
        Ok(Look { number: marks.number, marked })
    }

    /// The packs a group names beyond those of the groups it is an increment of.
    ///
    /// What it shares with a group that exists is there, and will be: no collector condemns a pack of
    /// a group it can see, and that one was looked at when it was sealed.
    async fn named_packs(&self, manifest: &GroupManifest) -> Result<Increment, DepotError> {
        let mut named = Named::default();
        let mut leaning_on = Vec::new();
        for disk in &manifest.disks {
            let mut base = None;
            let Some(of) = disk.base else {
                named.add(self, &disk.tree, None).await?;
                continue;
            };
            let found = match self.group(of.group).await {
                // Its tree may be sound though its manifest is not: then this one is walked whole.
                Err(DepotError::Damaged { .. } | DepotError::Newer { .. }) => None,
                found => found?,
            };
            if let Some(group) = found {
                base = group.disks.iter().find(|base| base.snapshot == of.snapshot).map(|base| base.tree);
                leaning_on.push(group);
            }
            named.add(self, &disk.tree, base.as_ref()).await?;
        }
        Ok(Increment { packs: named.packs, leaning_on })
    }

    async fn all_named_packs(&self, manifest: &GroupManifest) -> Result<HashSet<PackName>, DepotError> {
        let trees: Vec<TreeRef> = manifest.disks.iter().map(|disk| disk.tree).collect();
        let mut named = Named::default();
        for tree in &trees {
            named.add(self, tree, None).await?;
        }
        Ok(named.packs)
    }

    /// Whether these very groups exist, and not others in their place.
    async fn still_there(&self, groups: &[GroupManifest]) -> Result<bool, DepotError> {
        for group in groups {
            match self.group(group.group).await {
                Ok(Some(found)) if found == *group => {}
                Ok(_) | Err(DepotError::Damaged { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// What the newest marks say of some packs.
struct Look {
    number: u64,
    /// One that a collector has its eye on, the smallest name of them.
    marked: Option<PackName>,
}

struct Increment {
    packs: HashSet<PackName>,
    /// Groups whose existence keeps the rest.
    leaning_on: Vec<GroupManifest>,
}

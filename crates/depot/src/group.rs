//! Groups: found by their manifests, and deleted by them.
//!
//! A group has one manifest for each attempt at sealing it that succeeded: one, unless two processes
//! sealed it at the same moment, or a manifest arrived after its sender had given it up and begun anew.
//! All of them are whole; the first that can be read counts, and a deletion takes all.

use std::collections::{BTreeMap, HashSet};

use format::{Attempt, GroupManifest, ManifestEnvelope, ManifestHeader, VOID_LEN, path};
use futures::StreamExt;
use model::GroupId;
use store::{Listed, Put};

use crate::objects::key;
use crate::{Depot, DepotError, gc};

/// What was found of a group: its manifest, or why there is none.
pub type FoundGroup = (GroupId, Result<GroupManifest, DepotError>);

impl Depot {
    /// A group's manifest, if the group exists.
    pub async fn group(&self, id: GroupId) -> Result<Option<GroupManifest>, DepotError> {
        self.first_readable(id, &self.manifests_of(id).await?).await
    }

    /// Tells of every group there is, those that cannot be read included. In order of id.
    pub async fn each_group(&self, mut found: impl FnMut(FoundGroup)) -> Result<(), DepotError> {
        let groups = futures::stream::iter(self.all_manifests().await?);
        let read = groups.map(|(id, attempts)| async move { (id, self.first_readable(id, &attempts).await) });
        let mut read = std::pin::pin!(read.buffered(self.settings.fetches()));
        while let Some((id, group)) = read.next().await {
            match group {
                Ok(Some(group)) => found((id, Ok(group))),
                // Deleted since the listing.
                Ok(None) => {}
                Err(error @ (DepotError::Damaged { .. } | DepotError::Newer { .. })) => {
                    found((id, Err(error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All groups there are, readable or not. In order of id.
    pub async fn groups(&self) -> Result<Vec<GroupId>, DepotError> {
        Ok(self.all_manifests().await?.into_keys().collect())
    }

    /// Makes the group not exist, and whoever is sealing it fail. Gone already is fine. Its packs are
    /// left to collection.
    pub async fn delete_group(&self, id: GroupId) -> Result<(), DepotError> {
        let intents = self.objects.list(&path::intents_of(id), None, path::parse_intent).await?;
        let manifests = self.objects.list(&path::manifests_of(id), None, path::parse_group).await?;
        let ended: HashSet<Attempt> = manifests.into_iter().map(|(_, attempt)| attempt).collect();
        for (_, attempt) in intents.iter().filter(|(_, attempt)| !ended.contains(attempt)) {
            self.put_void(id, *attempt).await?;
        }
        let manifests = self.manifests_of(id).await?.into_iter().map(|attempt| (id, attempt));
        gc::execute(self, &gc::GcDecision::of_group(manifests.collect(), intents)).await?;
        Ok(())
    }

    /// The manifest, or intent, at this place; none if it is gone, or void.
    pub(crate) async fn manifest(
        &self,
        path: &str,
        id: GroupId,
        attempt: Attempt,
    ) -> Result<Option<GroupManifest>, DepotError> {
        let key = key(path)?;
        let Some(bytes) = self.objects.find(&key).await? else { return Ok(None) };
        let unreadable = |error| DepotError::unreadable(key.as_str(), error);
        let envelope = ManifestEnvelope::decode(&bytes).map_err(unreadable)?;
        let header = envelope.header;
        if (header.depot, header.group, header.attempt) != (self.id, id, attempt) {
            return Err(DepotError::damaged(key.as_str(), "the manifest of another group or depot"));
        }
        if envelope.is_void() {
            return Ok(None);
        }
        let keys = self.slot_keys(header.slot).await?;
        let body = keys.open_manifest(&header, &envelope.sealed);
        let body = body.map_err(|error| DepotError::damaged(key.as_str(), error.0))?;
        let manifest = GroupManifest::decode(&body).map_err(unreadable)?;
        if manifest.group != id {
            return Err(DepotError::damaged(key.as_str(), "its body speaks of another group"));
        }
        Ok(Some(manifest))
    }

    /// Puts a void manifest where this attempt would put its own, unless it has.
    pub(crate) async fn put_void(&self, group: GroupId, attempt: Attempt) -> Result<Put, DepotError> {
        let void = ManifestEnvelope::void(self.manifest_header(group, attempt));
        self.objects.put(&key(&path::group(group, attempt))?, void.encode().into()).await
    }

    pub(crate) fn manifest_header(&self, group: GroupId, attempt: Attempt) -> ManifestHeader {
        ManifestHeader { depot: self.id, slot: self.slot, group, attempt, salt: self.salt() }
    }

    async fn first_readable(
        &self,
        id: GroupId,
        attempts: &[Attempt],
    ) -> Result<Option<GroupManifest>, DepotError> {
        let mut unreadable = None;
        for attempt in attempts {
            match self.manifest(&path::group(id, *attempt), id, *attempt).await {
                Ok(Some(manifest)) => return Ok(Some(manifest)),
                // Deleted since the listing.
                Ok(None) => {}
                Err(error @ (DepotError::Damaged { .. } | DepotError::Newer { .. })) => {
                    unreadable = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        unreadable.map_or(Ok(None), Err)
    }

    async fn all_manifests(&self) -> Result<BTreeMap<GroupId, Vec<Attempt>>, DepotError> {
        let mut all: BTreeMap<GroupId, Vec<Attempt>> = BTreeMap::new();
        for (group, attempt) in self.objects.list_lines(path::GROUPS, None, not_void).await? {
            all.entry(group).or_default().push(attempt);
        }
        Ok(all)
    }

    async fn manifests_of(&self, id: GroupId) -> Result<Vec<Attempt>, DepotError> {
        let listed = self.objects.list_lines(&path::manifests_of(id), None, not_void).await?;
        Ok(listed.into_iter().map(|(_, attempt)| attempt).collect())
    }
}

/// A line of a listing that stands for a group.
pub(crate) fn not_void(line: &Listed) -> Option<(GroupId, Attempt)> {
    path::parse_group(line.key.as_str()).filter(|_| line.size != VOID_LEN)
}

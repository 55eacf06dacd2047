//! Restores: the four kinds, admitted and listed.

use ::policy::admission::Candidate;
use catalog::{Batch, CatalogError, Column, Lease, Query, Record};
use model::{
    ByteCount, CloneInstance, Code, DiskId, DiskPoint, InstanceId, JobStatus, Point, PointId, Progress,
    Refusal, RegionId, Restore, RestoreId, RestoreKind,
};

use super::{job_lease, not_found};
use crate::Backup;
use crate::workflows::RestoreParams;

/// A restore as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRestore {
    pub point: PointId,
    pub kind: NewRestoreKind,
    /// What the client sent, to be shown as it came.
    pub detail: String,
    /// The same token again is the same restore.
    pub client_token: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRestoreKind {
    RollBackInstance {
        instance: InstanceId,
        force: bool,
        boot: bool,
    },
    /// `point` is a disk's point.
    RollBackDisk {
        instance: InstanceId,
        force: bool,
        boot: bool,
    },
    CloneInstance {
        name: String,
        host_name: String,
        /// Processors and memory; none keeps the source's.
        shape: Option<(u32, ByteCount)>,
        network: String,
        boot: bool,
    },
    /// `point` is a disk's point.
    CloneDisk {
        instance: InstanceId,
    },
}

impl Backup {
    pub async fn create_restore(&self, region: &RegionId, new: NewRestore) -> Result<RestoreId, Refusal> {
        let id = match &new.client_token {
            // The same token gives the same id, and the id is a key: asked twice, made once.
            Some(token) => restore_id(token),
            None => self.shared.draw(),
        };
        if new.client_token.is_some() && self.shared.catalog.get::<Restore>(&id).await?.is_some() {
            return Ok(id);
        }
        let (point, disk) = self.find_point(new.point).await?;
        if point.region != *region {
            return Err(Refusal::new(
                Code::PointNotFound,
                format!("point {} is in region {}, not in {region}", new.point, point.region),
            )
            .remedy("Ask the region the point is in."));
        }
        let kind = self.admissible(&point, disk.as_ref(), new.kind).await?;
        let restore = self.new_restore(id, &point, kind, new.detail);
        let holds = held_instance(&restore.kind);
        let params = RestoreParams { restore: id, task: restore.task, holds };
        let mut records = Batch::new().insert(&restore);
        if let Some(instance) = holds {
            let (resource, holder) = (job_lease(instance), id.to_string());
            records = records.insert(&Lease { resource, holder, since: restore.created });
        }
        match self.admit(id.to_string(), "Restore", &params, records).await {
            Ok(()) => Ok(id),
            Err(CatalogError::Exists { table, .. }) if table == <Lease as Record>::TABLE.name => {
                Err(::policy::admission::held(holds.unwrap_or(point.instance), "another job"))
            }
            Err(CatalogError::Exists { .. }) => Ok(id),
            Err(error) => Err(error.into()),
        }
    }

    /// The restores of a region, newest first, running ones with how far they are.
    pub async fn restores(&self, region: &RegionId) -> Result<Vec<Restore>, Refusal> {
        let query = Query::all().eq(Column::Region, region).newest_first();
        let mut restores: Vec<Restore> = self.shared.catalog.list(&query).await?;
        for restore in &mut restores {
            if restore.status.is_final() {
                continue;
            }
            if let Some(task) = self.shared.blocks.task(restore.task).await? {
                restore.progress = task.progress;
                restore.bytes_done =
                    ByteCount(restore.bytes_total.0 / 10_000 * u64::from(task.progress.hundredths()));
            }
        }
        Ok(restores)
    }

    /// An instance's point, or a disk's point with the instance's it belongs to.
    async fn find_point(&self, id: PointId) -> Result<(Point, Option<DiskPoint>), Refusal> {
        if let Ok(point) = self.point(id).await {
            return Ok((point, None));
        }
        let owner = self.owner_of_disk_point(id).await?;
        let owner = owner.ok_or_else(|| not_found(Code::PointNotFound, "backup point", id))?;
        let disk = owner.disks.iter().find(|disk| disk.id == id).cloned();
        Ok((owner, disk))
    }

    async fn admissible(
        &self,
        point: &Point,
        disk: Option<&DiskPoint>,
        kind: NewRestoreKind,
    ) -> Result<RestoreKind, Refusal> {
        match kind {
            NewRestoreKind::RollBackInstance { instance, force, boot } => {
                self.check_roll_back(point, instance, None, force).await?;
                Ok(RestoreKind::RollBackInstance { instance, force, boot })
            }
            NewRestoreKind::RollBackDisk { instance, force, boot } => {
                let disk = needs_disk_point(disk)?.disk;
                self.check_roll_back(point, instance, Some(disk), force).await?;
                Ok(RestoreKind::RollBackDisk { instance, disk, force, boot })
            }
            NewRestoreKind::CloneInstance { name, host_name, shape, network, boot } => {
                ::policy::admission::clone_instance(point)?;
                let mut uuid = [0; 16];
                self.shared.entropy.fill(&mut uuid);
                // Version 4, variant 1: what hypervisors expect of a random UUID.
                uuid[6] = uuid[6] & 0x0f | 0x40;
                uuid[8] = uuid[8] & 0x3f | 0x80;
                let instance = self.shared.blocks.instance_id(&point.region, uuid);
                self.shared.blocks.check_new_name(&point.region, &name).await?;
                Ok(RestoreKind::CloneInstance(CloneInstance {
                    uuid,
                    instance,
                    name,
                    host_name,
                    vcpus: shape.map(|(vcpus, _)| vcpus),
                    memory: shape.map(|(_, memory)| memory),
                    network,
                    boot,
                }))
            }
            NewRestoreKind::CloneDisk { instance } => {
                let disk = needs_disk_point(disk)?.disk;
                let current = self.shared.blocks.instance(instance).await?;
                let held_by = self.holder(instance).await?;
                let target =
                    Candidate { id: instance, instance: Some(&current), held_by: held_by.as_deref() };
                ::policy::admission::clone_disk(target, point, disk)?;
                Ok(RestoreKind::CloneDisk { disk, instance })
            }
        }
    }

    /// Stopped, and nothing else at work on it (semantics.md §8.1, §15.10).
    async fn check_roll_back(
        &self,
        point: &Point,
        id: InstanceId,
        only: Option<DiskId>,
        force: bool,
    ) -> Result<(), Refusal> {
        let instance = self.shared.blocks.instance(id).await?;
        let held_by = self.holder(id).await?;
        let candidate = Candidate { id, instance: Some(&instance), held_by: held_by.as_deref() };
        ::policy::admission::roll_back(candidate, point, only, force).map(|_| ())
    }

    fn new_restore(&self, id: RestoreId, point: &Point, kind: RestoreKind, detail: String) -> Restore {
        let now = self.shared.clock.now();
        Restore {
            id,
            region: point.region.clone(),
            point: point.id,
            source: point.instance,
            kind,
            task: self.shared.draw(),
            status: JobStatus::Created,
            progress: Progress::ZERO,
            failure: None,
            created: now,
            started: None,
            completed: None,
            updated: now,
            bytes_total: point.bytes_total,
            bytes_done: ByteCount(0),
            detail,
        }
    }
}

/// The instance whose disks a restore changes: until it rests no other job may have it.
fn held_instance(kind: &RestoreKind) -> Option<InstanceId> {
    match kind {
        RestoreKind::RollBackInstance { instance, .. }
        | RestoreKind::RollBackDisk { instance, .. }
        | RestoreKind::CloneDisk { instance, .. } => Some(*instance),
        RestoreKind::CloneInstance(_) => None,
    }
}

/// An id that follows from the client's token.
fn restore_id(token: &str) -> RestoreId {
    let hash = blake3::derive_key("hikae 2026-11 restore of a client token", token.as_bytes());
    let mut bits = [0; 16];
    bits.copy_from_slice(&hash[..16]);
    RestoreId::from_bits(u128::from_le_bytes(bits))
}

fn needs_disk_point(disk: Option<&DiskPoint>) -> Result<&DiskPoint, Refusal> {
    disk.ok_or_else(|| {
        Refusal::new(Code::InvalidParameter, "this restore type takes the point of one disk (UDM_ECS_DISK)")
            .remedy("List the points of source type UDM_ECS_DISK and name one of them.")
    })
}

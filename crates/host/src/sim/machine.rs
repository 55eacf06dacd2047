//! One simulated instance: its shape, its drives, its checkpoints and at most one session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{
    ByteCount, Disk, DiskCapability, DiskId, DiskKind, GroupId, Instance, InstanceId, InstanceStatus, OsKind,
    TaskId,
};
use serde::{Deserialize, Serialize};

use super::image::Image;
use crate::{Fate, HostError, InstanceSpec, Mark, Marked, MarkedDisk, Tracking, Uuid};

pub(super) const DIALECT: &str = "simulated";

pub(super) struct Machine {
    pub(super) id: InstanceId,
    pub(super) uuid: Uuid,
    pub(super) shape: Shape,
    pub(super) running: bool,
    pub(super) paused: bool,
    pub(super) drives: Vec<Drive>,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) session: Option<Session>,
    /// Groups marked here and not dropped since: such a group is never marked at a second instant.
    pub(super) begun: BTreeSet<GroupId>,
    /// The task that defined it, if one of ours did.
    pub(super) made_by: Option<TaskId>,
}

/// What a spec's text holds, as JSON.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) vcpus: u32,
    pub(super) memory: ByteCount,
    pub(super) os: OsKind,
    pub(super) network: String,
    pub(super) mac: String,
    pub(super) drives: Vec<DriveShape>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DriveShape {
    pub(super) device: String,
    pub(super) kind: DiskKind,
    pub(super) capability: DiskCapability,
    pub(super) encrypted: bool,
}

pub(super) struct Drive {
    pub(super) id: DiskId,
    pub(super) shape: DriveShape,
    pub(super) image: Arc<Image>,
    /// The prepared disk whose content this is.
    pub(super) filled_from: Option<String>,
}

pub(super) struct Checkpoint {
    pub(super) group: GroupId,
    /// By disk, the number of the last write before it.
    pub(super) at: BTreeMap<DiskId, u64>,
    /// A crash leaves the bitmap marked in use: it can only be thrown away.
    pub(super) usable: bool,
}

pub(super) struct Session {
    pub(super) group: GroupId,
    pub(super) marked: Marked,
    pub(super) images: BTreeMap<DiskId, Exposed>,
    pub(super) lost: bool,
}

/// A disk as it was at the mark.
#[derive(Clone)]
pub(super) struct Exposed {
    pub(super) image: Arc<Image>,
    pub(super) since: Option<u64>,
}

impl Machine {
    pub(super) fn show(&self, template: &Instance) -> Instance {
        let disk = |drive: &Drive| Disk {
            id: drive.id,
            instance: self.id,
            device: drive.shape.device.clone(),
            kind: drive.shape.kind,
            size: ByteCount(drive.image.size()),
            capability: drive.shape.capability.clone(),
            encrypted: drive.shape.encrypted,
        };
        Instance {
            id: self.id,
            uuid: self.uuid,
            name: self.shape.name.clone(),
            status: if self.running { InstanceStatus::Running } else { InstanceStatus::Stopped },
            paused: self.paused,
            vcpus: self.shape.vcpus,
            memory: self.shape.memory,
            os: self.shape.os,
            disks: self.drives.iter().map(disk).collect(),
            ..template.clone()
        }
    }

    pub(super) fn drive(&self, disk: DiskId) -> Result<&Drive, HostError> {
        self.drives.iter().find(|drive| drive.id == disk).ok_or_else(|| HostError::NoDisk(disk.to_string()))
    }

    pub(super) fn drive_mut(&mut self, disk: DiskId) -> Result<&mut Drive, HostError> {
        self.drives
            .iter_mut()
            .find(|drive| drive.id == disk)
            .ok_or_else(|| HostError::NoDisk(disk.to_string()))
    }

    pub(super) fn spec(&self) -> Result<InstanceSpec, HostError> {
        let drives = self.drives.iter().map(|drive| drive.shape.clone()).collect();
        let text = serde_json::to_string(&Shape { drives, ..self.shape.clone() });
        let text = text.map_err(|error| HostError::Failed(error.to_string()))?;
        Ok(InstanceSpec { dialect: DIALECT.to_owned(), text })
    }

    /// Power is cut, or given up: a session ends either way. What becomes of dirty bitmaps depends.
    pub(super) fn halt(&mut self, bitmaps_saved: bool) {
        self.running = false;
        self.paused = false;
        self.lose_session();
        if !bitmaps_saved {
            for checkpoint in &mut self.checkpoints {
                checkpoint.usable = false;
            }
        }
    }

    pub(super) fn lose_session(&mut self) {
        if let Some(session) = &mut self.session {
            session.lost = true;
            session.images.clear();
        }
    }

    /// Everything is checked before the first effect: a mark that fails leaves nothing behind.
    pub(super) fn mark(&mut self, mark: &Mark, held: Duration, now: u64) -> Result<Marked, HostError> {
        match &self.session {
            Some(open) if open.group == mark.group && !open.lost => return Ok(open.marked.clone()),
            Some(open) if open.group != mark.group && !open.lost => {
                return Err(HostError::Busy(format!("a backup of group {} runs", open.group)));
            }
            _ => {}
        }
        if self.begun.contains(&mark.group) {
            return Err(HostError::Lost("it was open once".to_owned()));
        }
        let mut disks = Vec::new();
        let mut images = BTreeMap::new();
        let mut at = BTreeMap::new();
        for wanted in &mark.disks {
            let drive = self.drive(wanted.disk)?;
            if let DiskCapability::Refused { because } = &drive.shape.capability {
                return Err(HostError::Unsupported(because.clone()));
            }
            let since = self.base(drive, wanted.since);
            if drive.shape.capability == DiskCapability::Tracked {
                at.insert(drive.id, now);
            }
            images.insert(
                drive.id,
                Exposed { image: Arc::clone(&drive.image), since: since.as_ref().ok().map(|s| s.1) },
            );
            let tracking = match since {
                Ok((group, _)) => Tracking::Since(group),
                Err(because) => Tracking::Whole { because },
            };
            disks.push(MarkedDisk { disk: drive.id, size: ByteCount(drive.image.size()), tracking });
        }
        let marked = Marked { disks, held, spec: self.spec()? };
        self.checkpoints.retain(|checkpoint| checkpoint.usable);
        if !at.is_empty() {
            self.checkpoints.push(Checkpoint { group: mark.group, at, usable: true });
        }
        self.begun.insert(mark.group);
        self.session = Some(Session { group: mark.group, marked: marked.clone(), images, lost: false });
        Ok(marked)
    }

    /// The write number to tell changes from, or why there is none.
    fn base(&self, drive: &Drive, since: Option<GroupId>) -> Result<(GroupId, u64), String> {
        let group = since.ok_or("no earlier group was named")?;
        if drive.shape.capability != DiskCapability::Tracked {
            return Err("this image cannot track changes".to_owned());
        }
        let checkpoint = self.checkpoints.iter().find(|checkpoint| checkpoint.group == group);
        let checkpoint = checkpoint.ok_or("the host carries no checkpoint of that group")?;
        if !checkpoint.usable {
            return Err("the checkpoint's bitmap was lost when the instance went down".to_owned());
        }
        let at = checkpoint.at.get(&drive.id).ok_or("that checkpoint does not cover this disk")?;
        Ok((group, *at))
    }

    pub(super) fn unmark(&mut self, group: GroupId, fate: Fate) {
        if self.session.as_ref().is_some_and(|session| session.group == group) {
            self.session = None;
        }
        match fate {
            Fate::Drop => {
                self.checkpoints.retain(|checkpoint| checkpoint.group != group);
                self.begun.remove(&group);
            }
            Fate::Keep => {
                if let Some(place) = self.checkpoints.iter().position(|checkpoint| checkpoint.group == group)
                {
                    self.checkpoints.drain(..place);
                    self.checkpoints.retain(|checkpoint| checkpoint.usable);
                    self.begun.retain(|begun| *begun == group);
                }
            }
        }
    }

    pub(super) fn exposed(&self, group: GroupId, disk: DiskId) -> Result<Exposed, HostError> {
        let session = self.session.as_ref().filter(|session| session.group == group && !session.lost);
        let session = session.ok_or_else(|| HostError::Lost(format!("group {group} has none open")))?;
        session.images.get(&disk).cloned().ok_or_else(|| HostError::NoDisk(disk.to_string()))
    }

    /// A disk's content was replaced: no checkpoint tells its changes any more.
    pub(super) fn forget_checkpoints_of(&mut self, disk: DiskId) {
        for checkpoint in &mut self.checkpoints {
            checkpoint.at.remove(&disk);
        }
        self.checkpoints.retain(|checkpoint| !checkpoint.at.is_empty());
    }
}

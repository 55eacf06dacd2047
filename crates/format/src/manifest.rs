//! Group manifests: a group exists if and only if this object does, and has a body.
//!
//! The same bytes are put as an *intent* before: they say what the group will need. A manifest without
//! a body is *void*: it stands where a seal that was given up would have put its own.
//!
//! A clear header says whose it is and under which key; the body is sealed with the header as
//! associated data; a checksum over both tells damage from a wrong key without any key.

use model::{
    ByteCount, ConsistencyLevel, DepotId, DiskId, DiskKind, GroupId, InstanceId, InstanceSpec, OsKind,
    RegionId, SnapshotId, Timestamp, ZoneId,
};

use crate::bytes::{Decoder, Encoder};
use crate::pack::depot_id;
use crate::{Attempt, FormatError, Name, Salt, SlotId, TreeRef};

const MAGIC: &[u8; 8] = b"HIKAEgrp";
const VERSION: u16 = 1;
const WHAT: &str = "group manifest";
const BODY: &str = "group manifest's body";
const SEALED_LEN_MAX: usize = 16 << 20;
const NAME_LEN_MAX: usize = 4 << 10;
const SPEC_LEN_MAX: usize = 8 << 20;
const DISKS_MAX: usize = 1024;
const LABELS_MAX: usize = 256;

/// What the depot must know to roll back or clone from a group with nothing else at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupManifest {
    pub group: GroupId,
    pub instance: InstanceId,
    /// The host's own id of the instance.
    pub uuid: [u8; 16],
    pub instance_name: String,
    pub region: RegionId,
    pub zone: ZoneId,
    /// The instant the disks stood still.
    pub taken: Timestamp,
    pub level: ConsistencyLevel,
    pub spec: InstanceSpec,
    pub os: OsKind,
    pub vcpus: u32,
    pub memory: ByteCount,
    pub disks: Vec<DiskManifest>,
    /// What the block service wants back when its catalog is lost: `name`, `job` and the like.
    pub labels: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskManifest {
    pub snapshot: SnapshotId,
    pub disk: DiskId,
    pub device: String,
    pub kind: DiskKind,
    pub encrypted: bool,
    /// Its host could tell what changed on it.
    pub tracked: bool,
    pub tree: TreeRef,
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
    /// What it was taken as an increment of. The tree is whole without it.
    pub base: Option<BaseSnapshot>,
    /// What it is a copy of, if it was not taken into this depot.
    pub origin: Option<Origin>,
}

/// A snapshot of another depot. Names are made under each depot's own key: the root's name tells, to
/// whoever has that depot too, that the content is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    pub depot: DepotId,
    pub group: GroupId,
    pub snapshot: SnapshotId,
    /// Of the tree there; none if the disk reads as zeroes.
    pub root: Option<Name>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseSnapshot {
    pub group: GroupId,
    pub snapshot: SnapshotId,
}

/// The clear part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestHeader {
    pub depot: DepotId,
    pub slot: SlotId,
    pub group: GroupId,
    pub attempt: Attempt,
    pub salt: Salt,
}

impl ManifestHeader {
    /// Also the associated data of the sealed body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC, VERSION);
        out.u128(self.depot.bits()).put(&self.slot.0).u128(self.group.bits());
        out.put(&self.attempt.0).put(&self.salt.0);
        out.finish()
    }
}

/// The object: header, and the body as sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEnvelope {
    pub header: ManifestHeader,
    pub sealed: Vec<u8>,
}

const HEADER_LEN: usize = 8 + 2 + 16 + 16 + 16 + 16 + 32;
/// A void manifest has exactly this many bytes, and no other has: a listing tells them apart.
pub const VOID_LEN: u64 = HEADER_LEN as u64 + 4 + 32;

impl ManifestEnvelope {
    /// Stands for a group that does not exist, and by this attempt never will.
    pub const fn void(header: ManifestHeader) -> Self {
        Self { header, sealed: Vec::new() }
    }

    pub const fn is_void(&self) -> bool {
        self.sealed.is_empty()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.put(&self.header.encode()).sized(&self.sealed);
        out.finish_checked()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut input = Decoder::open_checked(WHAT, MAGIC, VERSION, bytes)?;
        let header = ManifestHeader {
            depot: depot_id(&mut input)?,
            slot: SlotId(input.array()?),
            group: GroupId::from_bits(input.u128()?),
            attempt: Attempt(input.array()?),
            salt: Salt(input.array()?),
        };
        let sealed = input.sized(SEALED_LEN_MAX)?.to_vec();
        input.end()?;
        Ok(Self { header, sealed })
    }
}

impl GroupManifest {
    /// Says what is too long for the format, before anything is written.
    pub fn check(&self) -> Result<(), FormatError> {
        let names = [&self.instance_name, &self.region.0, &self.zone.0, &self.spec.dialect];
        let devices = self.disks.iter().map(|disk| &disk.device);
        let labels = self.labels.iter().flat_map(|(key, value)| [key, value]);
        let fits = names.into_iter().chain(devices).chain(labels).all(|name| name.len() <= NAME_LEN_MAX)
            && self.spec.text.len() <= SPEC_LEN_MAX
            && self.disks.len() <= DISKS_MAX
            && self.labels.len() <= LABELS_MAX;
        if fits {
            Ok(())
        } else {
            Err(FormatError::Damaged { what: BODY, why: "longer than the format allows" })
        }
    }

    /// The body, to be sealed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u128(self.group.bits()).u128(self.instance.bits()).put(&self.uuid).text(&self.instance_name);
        out.text(&self.region.0).text(&self.zone.0).i64(self.taken.0).u8(level_code(self.level));
        out.text(&self.spec.dialect).text(&self.spec.text);
        out.u8(os_code(self.os)).u32(self.vcpus).u64(self.memory.0);
        out.count(self.disks.len());
        for disk in &self.disks {
            disk.encode(&mut out);
        }
        out.count(self.labels.len());
        for (key, value) in &self.labels {
            out.text(key).text(value);
        }
        out.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut input = Decoder::new(BODY, bytes);
        let input = &mut input;
        let manifest = Self {
            group: GroupId::from_bits(input.u128()?),
            instance: InstanceId::from_bits(input.u128()?),
            uuid: input.array()?,
            instance_name: input.text(NAME_LEN_MAX)?,
            region: RegionId(input.text(NAME_LEN_MAX)?),
            zone: ZoneId(input.text(NAME_LEN_MAX)?),
            taken: Timestamp(input.i64()?),
            level: decode_level(input)?,
            spec: InstanceSpec { dialect: input.text(NAME_LEN_MAX)?, text: input.text(SPEC_LEN_MAX)? },
            os: decode_os(input)?,
            vcpus: input.u32()?,
            memory: ByteCount(input.u64()?),
            disks: {
                let count = input.count(DISKS_MAX, DISK_LEN_MIN)?;
                (0..count).map(|_| DiskManifest::decode(input)).collect::<Result<_, _>>()?
            },
            labels: {
                let count = input.count(LABELS_MAX, 8)?;
                let label = |_| Ok((input.text(NAME_LEN_MAX)?, input.text(NAME_LEN_MAX)?));
                (0..count).map(label).collect::<Result<_, FormatError>>()?
            },
        };
        if manifest.encode().len() != bytes.len() {
            return Err(input.damaged("bytes after its end"));
        }
        Ok(manifest)
    }
}

/// Two ids, an empty name, five flags, a tree without root, two counts.
const DISK_LEN_MIN: usize = 16 + 16 + 4 + 5 + 28 + 16;

impl DiskManifest {
    fn encode(&self, out: &mut Encoder) {
        out.u128(self.snapshot.bits()).u128(self.disk.bits()).text(&self.device);
        out.u8(kind_code(self.kind)).u8(u8::from(self.encrypted)).u8(u8::from(self.tracked));
        self.tree.encode(out);
        out.u64(self.bytes_read.0).u64(self.bytes_stored.0);
        out.u8(u8::from(self.base.is_some()));
        if let Some(base) = &self.base {
            out.u128(base.group.bits()).u128(base.snapshot.bits());
        }
        out.u8(u8::from(self.origin.is_some()));
        if let Some(origin) = &self.origin {
            origin.encode(out);
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            snapshot: SnapshotId::from_bits(input.u128()?),
            disk: DiskId::from_bits(input.u128()?),
            device: input.text(NAME_LEN_MAX)?,
            kind: decode_kind(input)?,
            encrypted: decode_flag(input)?,
            tracked: decode_flag(input)?,
            tree: TreeRef::decode(input)?,
            bytes_read: ByteCount(input.u64()?),
            bytes_stored: ByteCount(input.u64()?),
            base: if decode_flag(input)? {
                Some(BaseSnapshot {
                    group: GroupId::from_bits(input.u128()?),
                    snapshot: SnapshotId::from_bits(input.u128()?),
                })
            } else {
                None
            },
            origin: if decode_flag(input)? { Some(Origin::decode(input)?) } else { None },
        })
    }
}

impl Origin {
    fn encode(&self, out: &mut Encoder) {
        out.u128(self.depot.bits()).u128(self.group.bits()).u128(self.snapshot.bits());
        out.u8(u8::from(self.root.is_some()));
        if let Some(root) = &self.root {
            out.put(&root.0);
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            depot: depot_id(input)?,
            group: GroupId::from_bits(input.u128()?),
            snapshot: SnapshotId::from_bits(input.u128()?),
            root: if decode_flag(input)? { Some(Name(input.array()?)) } else { None },
        })
    }
}

fn decode_flag(input: &mut Decoder<'_>) -> Result<bool, FormatError> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(input.damaged("neither yes nor no")),
    }
}

const fn level_code(level: ConsistencyLevel) -> u8 {
    match level {
        ConsistencyLevel::Crash => 1,
        ConsistencyLevel::FileSystem => 2,
        ConsistencyLevel::Application => 3,
    }
}

fn decode_level(input: &mut Decoder<'_>) -> Result<ConsistencyLevel, FormatError> {
    match input.u8()? {
        1 => Ok(ConsistencyLevel::Crash),
        2 => Ok(ConsistencyLevel::FileSystem),
        3 => Ok(ConsistencyLevel::Application),
        _ => Err(input.damaged("a consistency that is not known")),
    }
}

const fn os_code(os: OsKind) -> u8 {
    match os {
        OsKind::Linux => 1,
        OsKind::Windows => 2,
    }
}

fn decode_os(input: &mut Decoder<'_>) -> Result<OsKind, FormatError> {
    match input.u8()? {
        1 => Ok(OsKind::Linux),
        2 => Ok(OsKind::Windows),
        _ => Err(input.damaged("an operating system that is not known")),
    }
}

const fn kind_code(kind: DiskKind) -> u8 {
    match kind {
        DiskKind::System => 1,
        DiskKind::Data => 2,
    }
}

fn decode_kind(input: &mut Decoder<'_>) -> Result<DiskKind, FormatError> {
    match input.u8()? {
        1 => Ok(DiskKind::System),
        2 => Ok(DiskKind::Data),
        _ => Err(input.damaged("a kind of disk that is not known")),
    }
}

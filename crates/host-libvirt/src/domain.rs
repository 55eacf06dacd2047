//! What we read from a domain's XML: pure, and total over whatever libvirt may say.

use std::path::{Path, PathBuf};

use host::{disk_id, instance_id};
use model::{DiskId, DiskKind, InstanceId, OsKind, RegionId};

use crate::xml::{Element, XmlError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainDef {
    pub(crate) name: String,
    pub(crate) vcpus: u32,
    pub(crate) memory: u64,
    pub(crate) os: OsKind,
    pub(crate) disks: Vec<DiskDef>,
    /// The user and group QEMU runs as, where libvirt says so: active domains only.
    pub(crate) owner: Option<(u32, u32)>,
}

/// A disk as the domain names it. Drives for removable media are not disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskDef {
    pub(crate) id: DiskId,
    pub(crate) device: String,
    pub(crate) kind: DiskKind,
    pub(crate) source: Source,
    /// The image format: `qcow2`, `raw`, …
    pub(crate) format: String,
    pub(crate) encrypted: bool,
    /// Why the domain alone rules it out, if it does.
    pub(crate) refused: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Block(PathBuf),
    /// Something else; the text identifies it.
    Other(String),
}

impl Source {
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Block(path) => Some(path),
            Self::Other(_) => None,
        }
    }

    fn identity(&self) -> String {
        match self {
            Self::File(path) | Self::Block(path) => path.display().to_string(),
            Self::Other(text) => text.clone(),
        }
    }
}

impl DomainDef {
    pub(crate) fn parse(xml: &str, region: &RegionId, uuid: [u8; 16]) -> Result<Self, XmlError> {
        let root = Element::parse(xml)?;
        let instance = instance_id(region, uuid);
        let text = |name: &str| root.child(name).map(Element::text).unwrap_or_default();
        let mut disks: Vec<DiskDef> = Vec::new();
        let mut boot: Option<(u32, usize)> = None;
        for disk in root.child("devices").iter().flat_map(|devices| devices.all("disk")) {
            if let Some(parsed) = DiskDef::parse(disk, instance) {
                let order = disk.of("boot", "order").and_then(|order| order.parse().ok());
                let better = |order: &u32| boot.is_none_or(|(best, _)| *order < best);
                if let Some(order) = order.filter(better) {
                    boot = Some((order, disks.len()));
                }
                disks.push(parsed);
            }
        }
        let device_order = || (0..disks.len()).min_by_key(|at| disks[*at].device.clone());
        if let Some(system) = boot.map(|(_, at)| at).or_else(device_order) {
            disks[system].kind = DiskKind::System;
        }
        Ok(Self {
            name: text("name"),
            vcpus: text("vcpu").parse().unwrap_or(1),
            memory: root.child("memory").map(memory_bytes).unwrap_or_default(),
            os: os_kind(&root),
            disks,
            owner: owner(&root),
        })
    }

    pub(crate) fn disk(&self, id: DiskId) -> Option<&DiskDef> {
        self.disks.iter().find(|disk| disk.id == id)
    }
}

impl DiskDef {
    fn parse(disk: &Element, instance: InstanceId) -> Option<Self> {
        let kind = disk.attribute("device").unwrap_or("disk");
        if kind == "cdrom" || kind == "floppy" {
            return None;
        }
        let device = disk.of("target", "dev")?.to_owned();
        let source = source(disk, &device);
        Some(Self {
            id: disk_id(instance, &source.identity()),
            kind: DiskKind::Data,
            format: disk.of("driver", "type").unwrap_or("raw").to_owned(),
            encrypted: disk.child("encryption").is_some()
                || disk.child("source").is_some_and(|source| source.child("encryption").is_some()),
            refused: refused(disk, kind, &source),
            device,
            source,
        })
    }
}

fn source(disk: &Element, device: &str) -> Source {
    let attribute = |name| disk.of("source", name).filter(|value| !value.is_empty());
    let kind = disk.attribute("type").unwrap_or("file");
    match kind {
        "file" => match attribute("file") {
            Some(path) => Source::File(path.into()),
            None => Source::Other(format!("empty:{device}")),
        },
        "block" => match attribute("dev") {
            Some(path) => Source::Block(path.into()),
            None => Source::Other(format!("empty:{device}")),
        },
        _ => {
            let source = disk.child("source").map(Element::print).unwrap_or_default();
            Source::Other(format!("{kind}:{device}:{source}"))
        }
    }
}

fn refused(disk: &Element, kind: &str, source: &Source) -> Option<String> {
    let of_type = disk.attribute("type").unwrap_or("file");
    if kind == "lun" {
        return Some("it is a SCSI device passed through to the guest".into());
    }
    if matches!(of_type, "nvme" | "vhostuser" | "vhostvdpa") {
        return Some(format!("it is passed through to the guest ({of_type})"));
    }
    if disk.child("shareable").is_some() {
        return Some("other machines may write to it at the same time (shareable)".into());
    }
    if disk.child("transient").is_some() {
        return Some("what is written to it is thrown away (transient)".into());
    }
    match source {
        Source::Other(text) if text.starts_with("empty:") => Some("it has no source".into()),
        Source::Other(_) => Some(format!("disks of type {of_type} are not supported")),
        Source::File(_) | Source::Block(_) => None,
    }
}

fn memory_bytes(memory: &Element) -> u64 {
    let unit = match memory.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "M" | "MiB" => 1 << 20,
        "MB" => 1_000_000,
        "G" | "GiB" => 1 << 30,
        "GB" => 1_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => 1 << 10,
    };
    memory.text().parse::<u64>().unwrap_or_default().saturating_mul(unit)
}

/// libosinfo's mark, or Hyper-V enlightenments, which nobody sets for anything but Windows.
fn os_kind(root: &Element) -> OsKind {
    let metadata = root.child("metadata").map(Element::print).unwrap_or_default();
    let hyperv = root.child("features").is_some_and(|features| features.child("hyperv").is_some());
    if hyperv || metadata.contains("microsoft.com/win") { OsKind::Windows } else { OsKind::Linux }
}

fn owner(root: &Element) -> Option<(u32, u32)> {
    let label = root.all("seclabel").find(|label| label.attribute("model") == Some("dac"))?;
    let text = label.child("label")?.text();
    let (user, group) = text.split_once(':')?;
    let number = |text: &str| text.trim_start_matches('+').parse().ok();
    Some((number(user)?, number(group)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(devices: &str) -> DomainDef {
        let xml = format!(
            "<domain type='qemu'><name>n</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>\
             <devices>{devices}</devices>\
             <seclabel type='dynamic' model='dac'><label>+64055:+108</label></seclabel></domain>"
        );
        DomainDef::parse(&xml, &RegionId::from("tokyo"), [7; 16]).unwrap()
    }

    #[test]
    fn shape_and_owner_are_read() {
        let def = parse("");
        assert_eq!((def.vcpus, def.memory, def.owner), (2, 64 << 20, Some((64055, 108))));
    }

    #[test]
    fn every_kind_of_disk_is_judged() {
        let disk = |attributes: &str, inside: &str| {
            let def = parse(&format!("<disk type='file' {attributes}>{inside}<target dev='vda'/></disk>"));
            def.disks.first().map(|disk| disk.refused.is_some())
        };
        let file = "<driver type='qcow2'/><source file='/a'/>";
        assert_eq!(disk("device='disk'", file), Some(false));
        assert_eq!(disk("device='disk'", "<source/>"), Some(true));
        assert_eq!(disk("device='disk'", &format!("{file}<shareable/>")), Some(true));
        assert_eq!(disk("device='disk'", &format!("{file}<transient/>")), Some(true));
        assert_eq!(disk("device='lun'", file), Some(true));
        assert_eq!(disk("device='cdrom'", file), None);
        assert_eq!(disk("device='floppy'", file), None);
        for of_type in ["nvme", "vhostuser", "network", "volume"] {
            let def = parse(&format!("<disk type='{of_type}'><source x='1'/><target dev='vda'/></disk>"));
            assert!(def.disks[0].refused.is_some(), "{of_type}");
        }
    }

    #[test]
    fn the_system_disk_is_the_one_it_boots_from() {
        let disks = |boot: &str| {
            let def = parse(&format!(
                "<disk><source file='/b'/><target dev='vdb'/>{boot}</disk>\
                 <disk><source file='/a'/><target dev='vda'/></disk>"
            ));
            def.disks.iter().find(|disk| disk.kind == DiskKind::System).unwrap().device.clone()
        };
        assert_eq!(disks(""), "vda");
        assert_eq!(disks("<boot order='1'/>"), "vdb");
    }

    #[test]
    fn a_new_source_is_a_new_disk() {
        let id = |path: &str| {
            parse(&format!("<disk><source file='{path}'/><target dev='vda'/></disk>")).disks[0].id
        };
        assert_eq!(id("/a"), id("/a"));
        assert_ne!(id("/a"), id("/b"));
    }
}

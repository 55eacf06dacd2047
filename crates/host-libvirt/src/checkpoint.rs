//! Our checkpoints of a domain: which there are, which can be believed, and how they go.
//!
//! Each checkpoint of ours is a bitmap of its own in every tracked disk, and all of them record at the
//! same time, so one can go without the others losing anything.

use std::collections::HashMap;

use host::HostError;
use model::GroupId;

use crate::domain::{DomainDef, Source};
use crate::failure::Failure;
use crate::ffi::{
    CHECKPOINT_DELETE_METADATA_ONLY, CHECKPOINT_XML_NO_DOMAIN, CHECKPOINT_XML_SIZE, Checkpoint, Domain,
};
use crate::image;
use crate::xml::Element;

const PREFIX: &str = "hikae-";

/// The name of a group's checkpoint, and of its bitmap in every disk.
pub(crate) fn name(group: GroupId) -> String {
    format!("{PREFIX}{group}")
}

/// The group a checkpoint belongs to; none if it is not ours.
fn group(name: &str) -> Option<GroupId> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// A checkpoint of ours.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) group: GroupId,
    checkpoint: Checkpoint,
    /// The disks it covers, by guest device, and whether what it says of them can be believed.
    pub(crate) devices: HashMap<String, bool>,
}

impl Ours {
    pub(crate) fn is_usable(&self) -> bool {
        self.devices.values().any(|good| *good)
    }
}

/// All checkpoints of ours, oldest first.
pub(crate) fn ours(domain: &Domain, def: &DomainDef, active: bool) -> Result<Vec<Ours>, Failure> {
    let mut found = Vec::new();
    for checkpoint in domain.checkpoints()? {
        let Some(group) = group(&checkpoint.name()) else { continue };
        let devices = match active {
            true => judged_by_qemu(&checkpoint)?,
            false => judged_by_image(&checkpoint, def)?,
        };
        found.push(Ours { group, checkpoint, devices });
    }
    Ok(found)
}

/// With sizes asked for, libvirt asks QEMU; a bitmap that is missing, or was open when an earlier
/// QEMU died, gets no size.
fn judged_by_qemu(checkpoint: &Checkpoint) -> Result<HashMap<String, bool>, Failure> {
    let with_sizes = checkpoint.xml(CHECKPOINT_XML_NO_DOMAIN | CHECKPOINT_XML_SIZE);
    // QEMU may be gone since, or refuse: then nothing is known to be good.
    let xml = match with_sizes {
        Ok(xml) => xml,
        Err(_) => checkpoint.xml(CHECKPOINT_XML_NO_DOMAIN)?,
    };
    covered(&xml, |_, disk| disk.attribute("size").is_some())
}

fn judged_by_image(checkpoint: &Checkpoint, def: &DomainDef) -> Result<HashMap<String, bool>, Failure> {
    let name = checkpoint.name();
    covered(&checkpoint.xml(CHECKPOINT_XML_NO_DOMAIN)?, |device, _| {
        let disk = def.disks.iter().find(|disk| disk.device == device);
        let path = disk.filter(|disk| disk.format == "qcow2").and_then(|disk| disk.source.path());
        let bitmaps = path.and_then(|path| image::bitmaps(path).ok()).unwrap_or_default();
        bitmaps.iter().any(|bitmap| bitmap.name == name && !bitmap.in_use)
    })
}

pub(crate) fn covered(
    xml: &str,
    is_good: impl Fn(&str, &Element) -> bool,
) -> Result<HashMap<String, bool>, Failure> {
    let root = Element::parse(xml)?;
    let disks = root.child("disks").into_iter().flat_map(Element::elements);
    let covered = disks.filter(|disk| disk.attribute("checkpoint") == Some("bitmap")).filter_map(|disk| {
        let device = disk.attribute("name")?;
        Some((device.to_owned(), is_good(device, disk)))
    });
    Ok(covered.collect())
}

/// Removes a checkpoint with its bitmaps. The others stay as good as they were.
pub(crate) fn delete(ours: &Ours, def: &DomainDef, active: bool) -> Result<(), Failure> {
    if !active {
        return forget(ours, def);
    }
    match ours.checkpoint.delete(0) {
        Ok(()) => Ok(()),
        // libvirt refuses to delete a checkpoint one of whose bitmaps is already gone (the image was
        // rolled back, or QEMU was killed before it stored it). Nothing can be told from it any more.
        Err(error) if error.message.contains("not found in backing chain") => {
            Ok(ours.checkpoint.delete(CHECKPOINT_DELETE_METADATA_ONLY)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// libvirt cannot delete checkpoints of a stopped domain, only forget them; the bitmaps are taken out of
/// the images first, else they would slow the disks down for ever with nobody to know why.
fn forget(ours: &Ours, def: &DomainDef) -> Result<(), Failure> {
    let name = name(ours.group);
    for device in ours.devices.keys() {
        let Some(disk) = def.disks.iter().find(|disk| disk.device == *device) else { continue };
        let (Source::File(path) | Source::Block(path)) = &disk.source else { continue };
        if disk.format == "qcow2" && path.exists() {
            image::remove_bitmap(path, &name)?;
        }
    }
    Ok(ours.checkpoint.delete(CHECKPOINT_DELETE_METADATA_ONLY)?)
}

/// After a roll back: the bitmaps of the disks swapped in are gone, and what the others say is no
/// base for a backup of the whole.
pub(crate) fn forget_all(domain: &Domain, def: &DomainDef) -> Result<(), Failure> {
    ours(domain, def, false)?.iter().try_for_each(|checkpoint| forget(checkpoint, def))
}

/// The `<domaincheckpoint>` of a group over these devices; the others are left out by name, since
/// libvirt would otherwise mark them too.
pub(crate) fn xml(group: GroupId, def: &DomainDef, tracked: &[&str]) -> Result<String, HostError> {
    let name = name(group);
    let mut disks = Element::new("disks");
    for device in def.disks.iter().map(|disk| disk.device.as_str()) {
        let disk = Element::new("disk").with("name", device);
        disks = disks.containing(match tracked.contains(&device) {
            true => disk.with("checkpoint", "bitmap").with("bitmap", &name),
            false => disk.with("checkpoint", "no"),
        });
    }
    let mut named = Element::new("name");
    named.set_text(&name);
    Ok(Element::new("domaincheckpoint").containing(named).containing(disks).print())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_our_own_names_are_ours() {
        let id = GroupId::from_bits(7);
        assert_eq!(group(&name(id)), Some(id));
        for foreign in ["virtnbdbackup.0", "hikae", "hikae-", "hikae-mine", "ssg-00000000000000000007"] {
            assert_eq!(group(foreign), None, "{foreign}");
        }
    }
}

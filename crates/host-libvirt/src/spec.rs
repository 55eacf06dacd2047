//! A domain's XML edited into another domain's: pure, and keeping what it does not understand.

use host::{HostError, NewInstance, Uuid};

use crate::xml::Element;

/// The mark on domains that we defined: only those may we remove.
const MADE: &str = "hikae:made";
const NAMESPACE: &str = "https://hikae.dev/xmlns/domain/1";

/// A disk of the new domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewDisk {
    pub(crate) device: String,
    pub(crate) path: String,
    pub(crate) format: String,
}

/// The XML of a new instance: what names the old one, or can be had by one domain only, is made new
/// or left out.
pub(crate) fn new_domain(new: &NewInstance, disks: &[NewDisk]) -> Result<String, HostError> {
    let unreadable = |error| HostError::Failed(format!("the instance's spec cannot be read: {error}"));
    let mut root = Element::parse(&new.spec.text).map_err(unreadable)?;
    if root.name != "domain" {
        return Err(HostError::Failed("the instance's spec is no domain".into()));
    }
    root.remove_attribute("id");
    root.child_or_new("name").set_text(&new.name);
    root.child_or_new("uuid").set_text(&printed(new.uuid));
    // A new generation id tells the guest that it is a copy.
    if let Some(genid) = root.child_mut("genid") {
        genid.set_text(&printed(generation(new.uuid)));
    }
    // Dynamic labels belong to one running machine.
    root.retain(|child| child.name != "seclabel" || child.attribute("type") == Some("static"));
    mark(&mut root, new);
    shape(&mut root, new);
    if let Some(os) = root.child_mut("os") {
        // The variables of its firmware are a file of the old machine; libvirt makes fresh ones.
        match os.child_mut("nvram") {
            Some(nvram) if nvram.attribute("template").is_some() => nvram.children.clear(),
            _ => os.remove("nvram"),
        }
    }
    let devices =
        root.child_mut("devices").ok_or_else(|| HostError::Failed("the spec has no devices".into()))?;
    new_disks(devices, disks)?;
    new_devices(devices, new);
    Ok(root.print())
}

/// The task whose clone this domain is, if we made it.
pub(crate) fn made_by(xml: &str) -> Option<String> {
    let root = Element::parse(xml).ok()?;
    root.child("metadata")?.child(MADE)?.attribute("task").map(str::to_owned)
}

fn mark(root: &mut Element, new: &NewInstance) {
    let metadata = root.child_or_new("metadata");
    metadata.remove(MADE);
    let made = Element::new(MADE).with("xmlns:hikae", NAMESPACE).with("task", &new.task.to_string());
    metadata.children.push(crate::xml::Node::Element(made));
}

fn shape(root: &mut Element, new: &NewInstance) {
    if let Some(vcpus) = new.vcpus {
        let vcpu = root.child_or_new("vcpu");
        vcpu.set_text(&vcpus.to_string());
        vcpu.remove_attribute("current");
        vcpu.remove_attribute("cpuset");
        // A topology, pinnings or cells of another count would contradict it.
        root.remove("vcpus");
        root.remove("cputune");
        if let Some(cpu) = root.child_mut("cpu") {
            cpu.remove("topology");
            cpu.remove("numa");
        }
    }
    if let Some(memory) = new.memory {
        for name in ["memory", "currentMemory"] {
            let element = root.child_or_new(name);
            element.attributes.clear();
            element.set_attribute("unit", "b");
            element.set_text(&memory.0.to_string());
        }
        root.remove("maxMemory");
        if let Some(cpu) = root.child_mut("cpu") {
            cpu.remove("numa");
        }
    }
}

fn new_disks(devices: &mut Element, disks: &[NewDisk]) -> Result<(), HostError> {
    let given = |device: Option<&str>| disks.iter().find(|disk| Some(disk.device.as_str()) == device);
    for disk in disks {
        if !devices.all("disk").any(|old| old.of("target", "dev") == Some(&disk.device)) {
            return Err(HostError::NoDisk(format!("{} is no disk of the spec", disk.device)));
        }
    }
    let is_drive = |disk: &Element| matches!(disk.attribute("device"), Some("cdrom" | "floppy"));
    devices.retain(|child| {
        child.name != "disk" || is_drive(child) || given(child.of("target", "dev")).is_some()
    });
    for disk in devices.elements_mut().filter(|child| child.name == "disk") {
        let Some(new) = given(disk.of("target", "dev")).filter(|_| !is_drive(disk)) else {
            // A disc in a drive is the old machine's; the drive stays.
            disk.remove("source");
            disk.remove("backingStore");
            continue;
        };
        disk.set_attribute("type", "file");
        for name in ["source", "backingStore", "mirror", "auth", "encryption", "alias"] {
            disk.remove(name);
        }
        disk.child_or_new("source").set_attribute("file", &new.path);
        let driver = disk.child_or_new("driver");
        driver.set_attribute("name", "qemu");
        driver.set_attribute("type", &new.format);
    }
    Ok(())
}

fn new_devices(devices: &mut Element, new: &NewInstance) {
    // A passed-through device cannot be in two machines.
    devices.retain(|child| child.name != "hostdev");
    let mut number = 0;
    for device in devices.elements_mut() {
        device.remove("alias");
        match device.name.as_str() {
            "interface" => {
                new_interface(device, new, number);
                number += 1;
            }
            "serial" | "console" | "parallel" | "channel" => new_character_device(device, new),
            "graphics" => {
                device.set_attribute("autoport", "yes");
                for name in ["port", "tlsPort", "websocket", "socket"] {
                    device.remove_attribute(name);
                }
                for listen in device.elements_mut().filter(|child| child.name == "listen") {
                    listen.remove_attribute("socket");
                }
            }
            "vsock" => {
                if let Some(cid) = device.child_mut("cid") {
                    cid.set_attribute("auto", "yes");
                    cid.remove_attribute("address");
                }
            }
            _ => {}
        }
    }
}

fn new_interface(interface: &mut Element, new: &NewInstance, number: u32) {
    interface.child_or_new("mac").set_attribute("address", &mac(new.uuid, number));
    // The host's end of the cable is named afresh at every start.
    interface.remove("target");
    if let Some(network) = &new.network {
        interface.set_attribute("type", "network");
        let source = interface.child_or_new("source");
        source.attributes.clear();
        source.children.clear();
        source.set_attribute("network", network);
        interface.remove("virtualport");
        return;
    }
    if let Some(source) = interface.child_mut("source") {
        source.remove_attribute("portid");
    }
}

fn new_character_device(device: &mut Element, new: &NewInstance) {
    let kind = device.attribute("type").unwrap_or_default().to_owned();
    match kind.as_str() {
        // libvirt picks a path of its own for an agent's socket that names none.
        "unix" if device.name == "channel" => device.remove("source"),
        "file" | "unix" | "pipe" => {
            if let Some(source) = device.child_mut("source") {
                rename(source, "path", new);
            }
        }
        "pty" => {
            device.remove("source");
            device.remove_attribute("tty");
        }
        _ => {}
    }
    if let Some(log) = device.child_mut("log") {
        rename(log, "file", new);
    }
}

/// Two machines writing to one file would each spoil the other's.
fn rename(element: &mut Element, attribute: &str, new: &NewInstance) {
    if let Some(path) = element.attribute(attribute).filter(|path| !path.starts_with("/dev/")) {
        let renamed = format!("{path}.{}", new.id);
        element.set_attribute(attribute, &renamed);
    }
}

/// A locally administered address that follows from the instance: the same when asked again.
fn mac(uuid: Uuid, number: u32) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("hikae 2026-11 mac address");
    hasher.update(&uuid).update(&number.to_le_bytes());
    let hash = hasher.finalize();
    let [a, b, c, d, ..] = *hash.as_bytes();
    format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

fn generation(uuid: Uuid) -> Uuid {
    let mut generation = [0; 16];
    let hash = blake3::derive_key("hikae 2026-11 generation id", &uuid);
    generation.copy_from_slice(&hash[..16]);
    generation
}

pub(crate) fn printed(uuid: Uuid) -> String {
    let mut text = String::new();
    for (place, byte) in uuid.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// A device name nobody uses yet, for one more disk.
pub(crate) fn free_device(xml: &str) -> Result<String, HostError> {
    let root = Element::parse(xml).map_err(|error| HostError::Failed(error.to_string()))?;
    let used: Vec<&str> = root
        .child("devices")
        .iter()
        .flat_map(|devices| devices.all("disk"))
        .filter_map(|disk| disk.of("target", "dev"))
        .collect();
    let free =
        ('a'..='z').map(|letter| format!("vd{letter}")).find(|device| !used.contains(&device.as_str()));
    free.ok_or_else(|| HostError::Unsupported("the instance has no room for another disk".into()))
}

/// The device to attach.
pub(crate) fn new_disk(disk: &NewDisk) -> String {
    Element::new("disk")
        .with("type", "file")
        .with("device", "disk")
        .containing(Element::new("driver").with("name", "qemu").with("type", &disk.format))
        .containing(Element::new("source").with("file", &disk.path))
        .containing(Element::new("target").with("dev", &disk.device).with("bus", "virtio"))
        .print()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use host::InstanceSpec;
    use model::{ByteCount, InstanceId, TaskId};

    use super::*;

    const SOURCE: &str = "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\
        <name>old</name><uuid>11111111-2222-3333-4444-555555555555</uuid><genid>x</genid>\
        <memory unit='KiB'>1024</memory><vcpu current='1'>2</vcpu>\
        <os><type machine='q35'>hvm</type><kernel>/boot/k</kernel><nvram>/v/old.fd</nvram></os>\
        <cpu><topology cores='2'/><model>m</model></cpu><unknown><thing a='b'/></unknown>\
        <devices><emulator>/q</emulator>\
        <disk type='file' device='disk'><driver name='qemu' type='raw' io='native'/>\
        <source file='/a' index='1'/><backingStore/><target dev='vda'/><serial>s</serial></disk>\
        <disk type='block' device='disk'><source dev='/dev/b'/><target dev='vdb'/></disk>\
        <disk type='file' device='cdrom'><source file='/iso'/><target dev='sda'/></disk>\
        <interface type='bridge'><mac address='52:54:00:00:00:01'/>\
        <source bridge='br0' portid='p'/><target dev='vnet0'/></interface>\
        <serial type='file'><source path='/log/old'/></serial>\
        <channel type='unix'><source mode='bind' path='/c/old'/>\
        <target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
        <graphics type='vnc' port='5900' autoport='no'/><hostdev mode='subsystem'/>\
        </devices></domain>";

    fn new() -> NewInstance {
        NewInstance {
            id: InstanceId::from_bits(9),
            uuid: [0xab; 16],
            task: TaskId::from_bits(3),
            name: "new & <shiny>".into(),
            spec: InstanceSpec { dialect: "libvirt-domain-xml".into(), text: SOURCE.into() },
            disks: vec![],
            vcpus: None,
            memory: None,
            network: None,
        }
    }

    fn edited(new: &NewInstance) -> Element {
        let disk = NewDisk { device: "vda".into(), path: "/n'ew".into(), format: "qcow2".into() };
        Element::parse(&new_domain(new, &[disk]).unwrap()).unwrap()
    }

    #[test]
    fn what_names_the_old_machine_is_gone() {
        let tree = edited(&new());
        let printed = tree.print();
        for old in [
            "old",
            "11111111-",
            "<genid>x",
            "/a\"",
            "/dev/b",
            "/iso",
            "5900",
            "vnet0",
            "portid",
            "hostdev",
            "52:54:00:00:00:01\"",
        ] {
            assert!(!printed.replace("/log/old.i-", "").contains(old), "{old} in {printed}");
        }
        assert_eq!(tree.child("name").unwrap().text(), "new & <shiny>");
        assert_eq!(tree.child("uuid").unwrap().text(), "abababab-abab-abab-abab-abababababab");
    }

    #[test]
    fn what_it_does_not_know_stays() {
        let tree = edited(&new());
        let printed = tree.print();
        for kept in
            ["<thing a=\"b\"/>", "/boot/k", "xmlns:qemu", "io=\"native\"", "<serial>s</serial>", "q35", "br0"]
        {
            assert!(printed.contains(kept), "{kept} not in {printed}");
        }
        let disks: Vec<_> = tree.child("devices").unwrap().all("disk").collect();
        assert_eq!(disks.len(), 2, "the disk given and the drive");
        assert_eq!(disks[0].of("source", "file"), Some("/n'ew"));
        assert_eq!(disks[0].of("driver", "type"), Some("qcow2"));
    }

    #[test]
    fn another_shape_contradicts_nothing() {
        let mut new = new();
        new.vcpus = Some(4);
        new.memory = Some(ByteCount(64 << 20));
        new.network = Some("lab".into());
        let tree = edited(&new);
        assert_eq!(tree.child("vcpu").unwrap(), &{
            let mut vcpu = Element::new("vcpu");
            vcpu.set_text("4");
            vcpu
        });
        assert!(tree.child("cpu").unwrap().child("topology").is_none());
        assert_eq!(tree.child("memory").unwrap().text(), (64 << 20).to_string());
        let interface = tree.child("devices").unwrap().child("interface").unwrap();
        assert_eq!(interface.of("source", "network"), Some("lab"));
        assert_eq!(interface.of("source", "bridge"), None);
    }

    #[test]
    fn a_clone_says_who_made_it() {
        assert_eq!(made_by(&edited(&new()).print()), Some(TaskId::from_bits(3).to_string()));
        assert_eq!(made_by(SOURCE), None);
    }

    #[test]
    fn a_disk_the_spec_does_not_have_is_refused() {
        let disk = NewDisk { device: "vdz".into(), path: "/x".into(), format: "raw".into() };
        assert!(matches!(new_domain(&new(), &[disk]), Err(HostError::NoDisk(_))));
        assert_eq!(free_device(SOURCE).unwrap(), "vdc");
    }
}

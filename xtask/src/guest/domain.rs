//! A demo guest's domain, and the few things we ever read back from one.

/// What differs between guests.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) name: &'a str,
    pub(crate) kernel: &'a str,
    pub(crate) initramfs: &'a str,
    pub(crate) system: &'a str,
    pub(crate) data: &'a str,
    pub(crate) console: &'a str,
    pub(crate) fill: &'a str,
}

/// Emulated unless `HIKAE_KVM=1` says that KVM works: a device node alone proves nothing.
fn kind() -> &'static str {
    if std::env::var("HIKAE_KVM").is_ok_and(|value| value == "1") { "kvm" } else { "qemu" }
}

pub(crate) fn xml(parts: &Parts<'_>) -> String {
    let Parts { name, kernel, initramfs, system, data, console, fill } = parts;
    let kind = kind();
    format!(
        r"<domain type='{kind}'>
  <name>{name}</name>
  <title>Demo guest of Hikae</title>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initramfs}</initrd>
    <cmdline>console=ttyS0 quiet panic=1 mitigations=off hikae.fill={fill}</cmdline>
  </os>
  <features><acpi/></features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{system}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{data}'/>
      <target dev='vdb' bus='virtio'/>
    </disk>
    <interface type='user'><model type='virtio'/></interface>
    <serial type='file'><source path='{console}' append='on'/><target port='0'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='none'/>
  </devices>
</domain>
"
    )
}

/// Where the serial console of this domain goes.
pub(crate) fn console(xml: &str) -> Option<String> {
    let (_, serial) = xml.split_once("<serial type='file'>")?;
    values(serial.split_once("</serial>")?.0, "source path").into_iter().next()
}

/// The values of an element's first attribute, as libvirt prints them: `values(xml, "mac address")`.
pub(crate) fn values(xml: &str, element: &str) -> Vec<String> {
    let pattern = format!("<{element}='");
    let pieces = xml.split(&pattern).skip(1);
    pieces.filter_map(|rest| rest.split_once('\'').map(|(value, _)| value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_can_be_read_back() {
        let parts = Parts {
            name: "hikae-demo-a",
            kernel: "/k",
            initramfs: "/i",
            system: "/s.qcow2",
            data: "/d.qcow2",
            console: "/c.log",
            fill: "1M",
        };
        let xml = xml(&parts);
        assert_eq!(console(&xml).as_deref(), Some("/c.log"));
        assert_eq!(values(&xml, "source file"), ["/s.qcow2", "/d.qcow2"]);
        assert_eq!(values(&xml, "mac address"), Vec::<String>::new());
        assert_eq!(console("<domain/>"), None);
    }
}

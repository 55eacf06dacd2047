//! The local libvirt: the machine's own where one answers, else one of ours for as long as this run lasts.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::janitor::Janitor;
use crate::sh::{capture, command, say, succeeds, text, wait_for};

pub(crate) const URI: &str = "qemu:///system";

/// What QEMU needs to run as a plain child on a machine without systemd, cgroups or a security driver.
pub(crate) const QEMU_CONF: &str = r#"stdio_handler = "file"
security_driver = "none"
namespaces = []
cgroup_controllers = []
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
"#;

const LIBVIRTD_CONF: &str = r#"unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
"#;

/// Starts libvirtd if none answers. One that was there is left as it is.
pub(crate) fn ensure(janitor: &Janitor, run: &Path) -> Result<()> {
    if answers() {
        say("libvirtd answers already: using it");
        return Ok(());
    }
    let settings = Path::new("/etc/libvirt/qemu.conf");
    if !settings.exists() {
        std::fs::create_dir_all("/etc/libvirt").context("make /etc/libvirt")?;
        std::fs::write(settings, QEMU_CONF).context("write /etc/libvirt/qemu.conf")?;
    }
    let home = run.join("libvirtd");
    std::fs::create_dir_all(&home)?;
    let config = home.join("libvirtd.conf");
    std::fs::write(&config, format!("{LIBVIRTD_CONF}log_outputs=\"3:file:{}\"\n", text(&home.join("log"))?))?;
    let mut daemon = command("libvirtd", &["--config", text(&config)?]);
    let pid_file = home.join("pid");
    daemon.args(["--pid-file", text(&pid_file)?]).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C must not end it before its guests: it is the one who can end them.
    daemon.process_group(0);
    let mut child = daemon.spawn().context("start libvirtd")?;
    janitor.adopt(&child)?;
    wait_for("libvirtd answers", Duration::from_secs(30), || {
        if let Some(status) = child.try_wait()? {
            let log = std::fs::read_to_string(home.join("log")).unwrap_or_default();
            anyhow::bail!("libvirtd ended with {status}\n{log}");
        }
        Ok(answers().then_some(()))
    })
}

fn answers() -> bool {
    succeeds(&mut command("virsh", &["-q", "-c", URI, "version"]))
}

/// One `virsh` call on the local libvirt.
pub(crate) fn virsh(arguments: &[&str]) -> Result<String> {
    let mut all = vec!["-q", "-c", URI];
    all.extend(arguments);
    capture(&mut command("virsh", &all))
}

//! A libvirt of the test process's own (the embedded driver), with real QEMU machines under TCG and no
//! guest system in them: what a guest would write is written by QEMU's own `qemu-io`.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use host::contract::{Fixture, FixtureDisk, FixtureKind};
use host::{Host, HostError};
use host_libvirt::{LibvirtHost, LibvirtOptions, testing};
use model::{ByteCount, DiskId, Entropy, Extent, HostId, InstanceId, RegionId, ZoneId};

/// What the embedded driver needs to know: no other users, no confinement, no helper daemons.
const QEMU_CONF: &str = "stdio_handler = \"file\"\nsecurity_driver = \"none\"\nnamespaces = []\n\
    cgroup_controllers = []\nuser = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\n";

/// The one root of this process: libvirt's embedded driver knows no second.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        for entry in std::fs::read_dir("/tmp").unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix("hkl-").and_then(|pid| pid.parse::<u32>().ok());
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                kill_qemu(&entry.path().display().to_string());
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let root = PathBuf::from(format!("/tmp/hkl-{}", std::process::id()));
        std::fs::create_dir_all(root.join("lv/etc")).unwrap();
        std::fs::write(root.join("lv/etc/qemu.conf"), QEMU_CONF).unwrap();
        root
    })
}

pub(crate) fn options(name: &str) -> LibvirtOptions {
    let uri = format!("qemu:///embed?root={}/lv", root().display());
    let mut options =
        LibvirtOptions::new(&uri, RegionId::from("tokyo"), ZoneId::from("tokyo-a"), HostId::from_bits(1));
    options.scratch_dir = Some(root().join(name));
    options.scratch_min = ByteCount(16 * ByteCount::MIB);
    options.images_dir = Some(root().join("images"));
    options.shutdown_max = Duration::from_millis(300);
    options
}

/// The embedded driver ends with its last connection and does not like to begin again: one stays.
async fn keep_open() {
    static KEPT: OnceLock<Arc<LibvirtHost>> = OnceLock::new();
    let kept = KEPT.get_or_init(|| LibvirtHost::connect(options("kept")).unwrap());
    kept.list().await.expect("libvirt's QEMU driver (libvirt-daemon-driver-qemu, qemu-system-x86) is needed");
}

fn processes(needle: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.starts_with("/usr/bin/qemu-system") && line.contains(needle) {
            found.push(pid);
        }
    }
    found
}

pub(crate) fn kill_qemu(needle: &str) {
    for pid in processes(needle) {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
}

pub(crate) struct Chance;

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        std::fs::File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
    }
}

pub(crate) struct Libvirt {
    name: String,
    host: Mutex<Arc<LibvirtHost>>,
    made: AtomicU32,
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        // Whatever happened, no machine of this fixture lives on.
        kill_qemu(&self.directory().display().to_string());
        let _ = std::fs::remove_dir_all(self.directory());
    }
}

impl Libvirt {
    pub(crate) async fn new(name: &str) -> Self {
        keep_open().await;
        let host = LibvirtHost::connect(options(name)).unwrap();
        Self { name: name.into(), host: Mutex::new(host), made: AtomicU32::new(0) }
    }

    pub(crate) fn host(&self) -> Arc<LibvirtHost> {
        Arc::clone(&self.host.lock().unwrap())
    }

    pub(crate) fn set_host(&self, host: Arc<LibvirtHost>) {
        *self.host.lock().unwrap() = host;
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        root().join(&self.name)
    }

    pub(crate) fn directory(&self) -> PathBuf {
        root().join(format!("d-{}", self.name))
    }

    /// Defines a machine whose disks are these files, without starting it.
    pub(crate) async fn define(&self, disks: &[(PathBuf, &str, &str)]) -> Result<InstanceId, HostError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        // Without <acpi/> libvirt 9.0 says `-no-acpi`, which QEMU 10 does not know any more.
        let mut xml = format!(
            "<domain type='qemu'><name>{}-{number}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>\
             <emulator>/usr/bin/qemu-system-x86_64</emulator>",
            self.name
        );
        for (place, (path, format, more)) in disks.iter().enumerate() {
            xml.push_str(&format!(
                "<disk type='file' device='disk'><driver name='qemu' type='{format}'/>\
                 <source file='{}'/><target dev='vd{}' bus='virtio'/>{more}</disk>",
                path.display(),
                char::from(b'a' + u8::try_from(place).unwrap())
            ));
        }
        xml.push_str(
            "<interface type='user'><model type='virtio'/></interface><serial type='pty'/>\
             </devices></domain>",
        );
        testing::define(&self.host(), &xml).await
    }

    pub(crate) fn image(&self, format: &str, size: ByteCount) -> PathBuf {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        std::fs::create_dir_all(self.directory()).unwrap();
        let path = self.directory().join(format!("disk{number}.{format}"));
        run(Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(&path).arg(size.0.to_string()));
        path
    }

    async fn xml(&self, instance: InstanceId) -> Result<String, HostError> {
        testing::xml(&self.host(), instance).await
    }

    /// Guest device, image and format of a disk.
    async fn file(&self, instance: InstanceId, disk: DiskId) -> Result<(String, String, PathBuf), HostError> {
        let found = self.host().find(instance).await?;
        let device = found.disk(disk).ok_or_else(|| HostError::NoDisk(disk.to_string()))?.device.clone();
        let xml = self.xml(instance).await?;
        let block = xml
            .split("<disk ")
            .find(|block| block.contains(&format!("<target dev='{device}'")))
            .ok_or_else(|| HostError::NoDisk(device.clone()))?;
        let between = |before: &str| {
            let rest = &block[block.find(before)? + before.len()..];
            Some(rest[..rest.find('\'')?].to_owned())
        };
        let alias = between("<alias name='").unwrap_or_default();
        let format = if block.contains("type='qcow2'") { "qcow2" } else { "raw" };
        Ok((alias, format.to_owned(), between("<source file='").unwrap().into()))
    }

    pub(crate) async fn io(&self, instance: InstanceId, alias: &str, command: &str) -> Result<(), HostError> {
        let command = format!("qemu-io -d /machine/peripheral/{alias}/virtio-backend \"{command}\"");
        let said = testing::monitor(&self.host(), instance, &command).await?;
        if said.trim().is_empty() { Ok(()) } else { Err(HostError::Failed(said)) }
    }

    /// What libvirt's domains use as disks.
    async fn used(&self) -> Result<String, HostError> {
        let mut all = String::new();
        for instance in self.host().list().await? {
            match self.xml(instance.id).await {
                Ok(xml) => all.push_str(&xml),
                Err(HostError::NoInstance) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} is needed: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[async_trait]
impl Fixture for Libvirt {
    async fn host(&self) -> Result<Arc<dyn Host>, HostError> {
        Ok(Libvirt::host(self))
    }

    async fn reopen(&self) -> Result<(), HostError> {
        self.set_host(LibvirtHost::connect(options(&self.name))?);
        Ok(())
    }

    async fn instance(&self, disks: &[FixtureDisk]) -> Result<InstanceId, HostError> {
        let files: Vec<_> = disks
            .iter()
            .map(|disk| match disk.kind {
                FixtureKind::Tracked => (self.image("qcow2", disk.size), "qcow2", ""),
                FixtureKind::Whole => (self.image("raw", disk.size), "raw", ""),
                FixtureKind::Refused => (self.image("raw", disk.size), "raw", "<shareable/>"),
            })
            .collect();
        let instance = self.define(&files).await?;
        self.host().start(instance).await?;
        Ok(instance)
    }

    async fn fill(
        &self,
        instance: InstanceId,
        disk: DiskId,
        range: Extent,
        byte: u8,
    ) -> Result<(), HostError> {
        let (alias, ..) = self.file(instance, disk).await?;
        self.io(instance, &alias, &format!("write -q -P {byte} {} {}", range.offset, range.len)).await
    }

    async fn content(&self, instance: InstanceId, disk: DiskId) -> Result<Vec<u8>, HostError> {
        let (alias, format, path) = self.file(instance, disk).await?;
        if !alias.is_empty() {
            self.io(instance, &alias, "flush").await?;
        }
        let copy = path.with_extension(format!("copy{}", self.made.fetch_add(1, Ordering::Relaxed)));
        run(Command::new("qemu-img")
            .args(["convert", "-U", "-f", &format, "-O", "raw"])
            .arg(&path)
            .arg(&copy));
        let bytes = std::fs::read(&copy).unwrap();
        std::fs::remove_file(copy).unwrap();
        Ok(bytes)
    }

    async fn crash(&self, instance: InstanceId) -> Result<(), HostError> {
        let uuid = self.host().find(instance).await?.uuid;
        let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        kill_qemu(&format!("-uuid {uuid}"));
        // libvirt hears of it through its event loop.
        while self.host().find(instance).await?.status != model::InstanceStatus::Stopped {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn release(&self, instance: InstanceId) -> Result<(), HostError> {
        testing::undefine(&self.host(), instance).await
    }

    async fn macs(&self, instance: InstanceId) -> Result<Vec<String>, HostError> {
        let xml = self.xml(instance).await?;
        Ok(xml.split("<mac address='").skip(1).map(|rest| rest[..17].to_owned()).collect())
    }

    async fn left_on(&self, instance: InstanceId) -> Result<Vec<String>, HostError> {
        let mut left = Vec::new();
        match testing::traces(&self.host(), instance).await {
            Ok((job, checkpoints)) => {
                left.extend(job.map(|job| format!("job {job}")));
                left.extend(checkpoints.into_iter().map(|name| format!("checkpoint {name}")));
            }
            Err(HostError::NoInstance) => {}
            Err(error) => return Err(error),
        }
        for entry in std::fs::read_dir(self.scratch()).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(&instance.to_string()) {
                left.push(format!("scratch {name}"));
            }
        }
        let used = self.used().await?;
        for entry in std::fs::read_dir(self.directory()).unwrap().flatten() {
            let path = entry.path().display().to_string();
            if path.contains("hikae-") && path.contains(&instance.to_string()) && !used.contains(&path) {
                left.push(format!("file {path}"));
            }
        }
        Ok(left)
    }

    fn entropy(&self) -> &dyn Entropy {
        &Chance
    }
}

//! A libvirtd of a test's own, with real QEMU machines under TCG and no guest system in them, and a server
//! that backs them up. What a guest would write is written by QEMU's own `qemu-io`.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::{Api, ECS, HBR, PATIENCE, Server, text, text_of};

pub(crate) const MIB: u64 = 1 << 20;

/// As a distribution sets it up: QEMU is a user of its own, and libvirt gives it its files.
const QEMU_CONF: &str = "stdio_handler = \"file\"\nsecurity_driver = \"none\"\nnamespaces = []\n\
    cgroup_controllers = []\nuser = \"libvirt-qemu\"\ngroup = \"kvm\"\ndynamic_ownership = 1\n";

/// libvirtd over directories of its own, seen only by it: the machine's own libvirtd, if there is one, is
/// neither needed nor disturbed. Everything of it goes when it is dropped.
pub(crate) struct Libvirtd {
    pub(crate) directory: PathBuf,
    mounts: Vec<PathBuf>,
    child: Option<Child>,
}

impl Libvirtd {
    /// Its directories; it does not run yet.
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        sweep();
        // Short: sockets lie below it.
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = PathBuf::from(format!("/tmp/hks-{}-{number}", std::process::id()));
        for name in ["run", "var", "etc", "cache", "sock", "d"] {
            std::fs::create_dir_all(directory.join(name)).expect("a directory for libvirtd");
        }
        // QEMU's user must reach its disks in it.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        std::fs::write(directory.join("etc/qemu.conf"), QEMU_CONF).expect("qemu.conf");
        let conf = format!(
            "unix_sock_dir = \"{}/sock\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n",
            directory.display()
        );
        std::fs::write(directory.join("etc/libvirtd.conf"), conf).expect("libvirtd.conf");
        Self { directory, mounts: Vec::new(), child: None }
    }

    pub(crate) fn started() -> Self {
        let mut daemon = Self::new();
        daemon.start();
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("sock/libvirt-sock")
    }

    fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    pub(crate) fn start(&mut self) {
        let own = "for pair in run:/run var:/var/lib/libvirt etc:/etc/libvirt cache:/var/cache/libvirt; do \
            mkdir -p ${pair#*:}; mount --bind $0/${pair%%:*} ${pair#*:} || exit 1; done; \
            exec libvirtd -f $0/etc/libvirtd.conf";
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log"));
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", own]).arg(&self.directory);
        let mut child =
            command.stdin(Stdio::null()).stderr(log.expect("a log")).spawn().expect("unshare is needed");
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = child.try_wait().expect("its state") {
                let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                panic!("libvirtd (package libvirt-daemon) ended: {status}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
    }

    /// As a crash would: its machines run on.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A file system of so many bytes; it must be there before libvirtd is.
    pub(crate) fn tmpfs(&mut self, name: &str, size: &str) -> PathBuf {
        assert!(self.child.is_none(), "libvirtd would not see it");
        let at = self.directory.join(name);
        std::fs::create_dir_all(&at).expect("a mount point");
        let options = format!("size={size},mode=755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&at));
        self.mounts.push(at.clone());
        at
    }

    pub(crate) fn resize(&self, at: &Path, size: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(at));
    }

    pub(crate) fn virsh(&self, arguments: &[&str]) -> String {
        run(Command::new("virsh").args(["-q", "-c", &self.uri()]).args(arguments))
    }

    /// A server whose one host this is.
    pub(crate) fn server(&self) -> Server {
        Server::with(&[], &self.config(""))
    }

    pub(crate) fn config(&self, depot: &str) -> String {
        let (uri, place) = (self.uri(), self.directory.display());
        format!(
            "[[region]]\nid = 'default'\n{depot}\n[[region.host]]\nuri = '{uri}'\n\
             scratch_directory = '{place}/s'\nimage_directory = '{place}/d'\n"
        )
    }

    /// An empty image.
    pub(crate) fn image(&self, name: &str, format: &str, size: u64) -> PathBuf {
        let path = self.directory.join("d").join(name);
        run(Command::new("qemu-img").args(["create", "-q", "-f", format]).arg(&path).arg(size.to_string()));
        path
    }

    /// An image full of what neither compresses nor repeats: reading it takes a while.
    pub(crate) fn full_image(&self, name: &str, size: u64) -> PathBuf {
        let (raw, path) = (self.directory.join("raw"), self.directory.join("d").join(name));
        let mut source = std::fs::File::open("/dev/urandom").expect("random bytes").take(size);
        let mut target = std::fs::File::create(&raw).expect("create");
        std::io::copy(&mut source, &mut target).expect("write");
        run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&path));
        std::fs::remove_file(&raw).expect("remove");
        path
    }

    /// Defines a machine with these disks (path, format, what else the disk's XML says).
    pub(crate) fn define(&self, name: &str, disks: &[(&Path, &str, &str)]) {
        // Without <acpi/> libvirt 9.0 says `-no-acpi`, which QEMU 10 does not know any more.
        let mut xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>\
             <emulator>/usr/bin/qemu-system-x86_64</emulator>"
        );
        for ((path, format, more), letter) in disks.iter().zip('a'..='z') {
            xml.push_str(&format!(
                "<disk type='file' device='disk'><driver name='qemu' type='{format}'/>\
                 <source file='{}'/><target dev='vd{letter}' bus='virtio'/>{more}</disk>",
                path.display()
            ));
        }
        xml.push_str("</devices></domain>");
        let path = self.directory.join(format!("{name}.xml"));
        std::fs::write(&path, xml).expect("write the definition");
        self.virsh(&["define", &path.display().to_string()]);
    }

    /// A running machine with one qcow2 disk.
    pub(crate) fn machine(&self, name: &str, image: &Path) {
        self.define(name, &[(image, "qcow2", "")]);
        self.virsh(&["start", name]);
    }

    /// Writes into a running machine's disk as its guest would.
    pub(crate) fn write(&self, name: &str, disk: u32, byte: u8, offset: u64, len: u64) {
        let device = format!("/machine/peripheral/virtio-disk{disk}/virtio-backend");
        for words in [format!("write -q -P {byte} {offset} {len}"), "flush".to_owned()] {
            let command = format!("qemu-io -d {device} \"{words}\"");
            let said = self.virsh(&["qemu-monitor-command", name, "--hmp", &command]);
            assert!(said.trim().is_empty(), "{words}: {said}");
        }
    }

    /// Some bytes of a machine's only disk, as it is on the host.
    pub(crate) fn read(&self, name: &str, offset: u64, len: usize) -> Vec<u8> {
        let list = self.virsh(&["domblklist", name]);
        let path = list.split_whitespace().last().expect("a disk").to_owned();
        let copy = self.directory.join("copy");
        run(Command::new("qemu-img").args(["convert", "-U", "-O", "raw", &path]).arg(&copy));
        let bytes = std::fs::read(&copy).expect("read");
        let from = usize::try_from(offset).expect("small");
        bytes[from..from + len].to_vec()
    }

    pub(crate) fn state(&self, name: &str) -> String {
        self.virsh(&["domstate", name]).trim().to_owned()
    }

    pub(crate) fn checkpoints(&self, name: &str) -> usize {
        self.virsh(&["checkpoint-list", name, "--name"]).split_whitespace().count()
    }

    /// No session of ours is left: neither its files nor libvirt's job.
    pub(crate) fn assert_no_session(&self, name: &str) {
        let left: Vec<_> = std::fs::read_dir(self.directory.join("s"))
            .expect("the scratch directory")
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|entry| entry != "filler")
            .collect();
        assert!(left.is_empty(), "left in scratch: {left:?}");
        if self.state(name) == "running" {
            let job = Command::new("virsh").args(["-q", "-c", &self.uri(), "backup-dumpxml", name]).output();
            assert!(!job.expect("run virsh").status.success(), "{name} still has a backup job");
        }
    }

    /// QEMU of a machine.
    fn process(&self, name: &str) -> rustix::process::Pid {
        let mut found = processes(&format!("guest={name},"));
        found.retain(|pid| command_line(*pid).contains(&self.directory.display().to_string()));
        let [pid] = found[..] else { panic!("one QEMU of {name}: {found:?}") };
        rustix::process::Pid::from_raw(pid).expect("a process id")
    }

    /// Holds QEMU still: what reads from it waits.
    pub(crate) fn hold(&self, name: &str) {
        rustix::process::kill_process(self.process(name), rustix::process::Signal::STOP).expect("hold");
    }

    pub(crate) fn let_go(&self, name: &str) {
        rustix::process::kill_process(self.process(name), rustix::process::Signal::CONT).expect("let go");
    }
}

impl Drop for Libvirtd {
    fn drop(&mut self) {
        self.kill();
        clean(&self.directory);
    }
}

/// What an earlier run left that was killed before it could clean up.
fn sweep() {
    for entry in std::fs::read_dir("/tmp").expect("/tmp").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("hks-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            clean(&entry.path());
        }
    }
}

fn clean(directory: &Path) {
    for pid in processes(&format!("{}/", directory.display())) {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for at in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(at).starts_with(directory) {
            let _ = Command::new("umount").args(["-l", at]).status();
        }
    }
    let _ = std::fs::remove_dir_all(directory);
}

/// Machines and daemons whose command line says this.
fn processes(needle: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    let ours = |line: &str| line.starts_with("/usr/bin/qemu-") || line.starts_with("libvirtd ");
    pids.filter(|pid| {
        let line = command_line(*pid);
        ours(&line) && line.contains(needle)
    })
    .collect()
}

fn command_line(pid: i32) -> String {
    text(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} is needed: {error}"));
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

impl Api {
    /// The id of the instance of this name, as soon as the server shows it.
    pub(crate) async fn instance(&self, name: &str) -> String {
        let answer = self.ok(ECS, "DescribeInstances", &[("InstanceName", name)]).await;
        let rows = answer["Instances"]["Instance"].as_array().expect("a list");
        assert_eq!(rows.len(), 1, "{name}: {answer}");
        text_of(&rows[0], "InstanceId")
    }

    /// Starts a backup that must be let in.
    pub(crate) async fn begin(&self, instance: &str) -> String {
        let answer = self.back_up(instance).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        text_of(&answer.body, "JobId")
    }

    /// A whole backup: its job's row.
    pub(crate) async fn backed_up(&self, instance: &str) -> serde_json::Value {
        let row = self.finished(&self.begin(instance).await).await;
        assert_eq!(text_of(&row, "Status"), "COMPLETE", "{row}");
        row
    }

    /// A backup that must fail, and say so with this code.
    pub(crate) async fn fails(&self, job: &str, code: &str) {
        let row = self.finished(job).await;
        assert_eq!(text_of(&row, "Status"), "FAILED", "{row}");
        let said = text_of(&row, "ErrorMessage");
        assert!(said.starts_with(&format!("{code}: ")), "{said}");
        assert!(said.ends_with('.'), "what to do is said too: {said}");
    }

    /// Waits until a job has begun to copy. It must not be over by then.
    pub(crate) async fn copying(&self, job: &str) {
        let wait = async {
            loop {
                let row = self.job(job).await;
                let status = text_of(&row, "Status");
                assert!(["CREATED", "RUNNING"].contains(&status.as_str()), "over too soon: {row}");
                if row["BytesDone"].as_u64() > Some(0) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{job} does not begin"));
    }

    /// Ends a restore and gives its row.
    pub(crate) async fn restored(&self, restore: &str) -> serde_json::Value {
        let wait = async {
            loop {
                let filter = [("Filters.1.Key", "RestoreId"), ("Filters.1.Values.1", restore)];
                let answer = self.ok(HBR, "DescribeRestoreJobs2", &filter).await;
                let row = answer["RestoreJobs"]["RestoreJob"][0].clone();
                if !["CREATED", "RUNNING"].contains(&text_of(&row, "Status").as_str()) {
                    return row;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{restore} does not end"))
    }
}

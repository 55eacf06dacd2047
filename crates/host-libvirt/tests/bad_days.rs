//! What goes wrong on real hosts, one disaster a test.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use common::{Chance, Libvirt, options, root, run};
use futures::StreamExt;
use host::contract::{Fixture, FixtureDisk, FixtureKind};
use host::{
    DiskReader, DiskTarget, Fate, Host, HostError, Mark, MarkDisk, Marked, NewInstance, PreparedDisk, Stop,
    Tracking,
};
use host_libvirt::{LibvirtHost, testing};
use model::{ByteCount, DiskId, Extent, GroupId, InstanceId, InstanceStatus, RegionId, TaskId, draw};

const MIB: u64 = 1 << 20;

fn group() -> GroupId {
    draw(&Chance)
}

/// A running machine with one tracked disk of `size` MiB.
async fn machine(fixture: &Libvirt, size: u64) -> (InstanceId, DiskId) {
    let disk = FixtureDisk { kind: FixtureKind::Tracked, size: ByteCount(size * MIB) };
    let instance = fixture.instance(&[disk]).await.unwrap();
    let disk = fixture.host().find(instance).await.unwrap().disks[0].id;
    (instance, disk)
}

async fn mark(
    host: &Arc<LibvirtHost>,
    instance: InstanceId,
    disk: DiskId,
    group: GroupId,
    since: Option<GroupId>,
) -> Result<Marked, HostError> {
    host.mark(&Mark { instance, group, disks: vec![MarkDisk { disk, since }] }).await
}

async fn changed(reader: &dyn DiskReader) -> Vec<(u64, u64)> {
    let whole = Extent { offset: 0, len: reader.size().0 };
    let extents = reader.extents(whole).await.unwrap();
    assert_eq!(extents.iter().map(|found| found.extent.len).sum::<u64>(), whole.len);
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for found in extents.iter().filter(|found| found.changed).map(|found| found.extent) {
        match ranges.last_mut() {
            Some((offset, len)) if *offset + *len == found.offset => *len += found.len,
            _ => ranges.push((found.offset, found.len)),
        }
    }
    ranges
}

fn at(offset: u64, len: u64) -> Extent {
    Extent { offset, len }
}

/// An operator's own backup tool works on the same machine: neither gets in the other's way.
#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let fixture = Libvirt::new("foreign").await;
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 4).await;
    run(Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(fixture.directory().join("theirs"))
        .arg("4M"));
    let backup = format!(
        "<domainbackup mode='pull'><server transport='unix' socket='{0}/theirs.sock'/><disks>\
         <disk name='vda' backup='yes' type='file'><scratch file='{0}/theirs'/>\
         </disk></disks></domainbackup>",
        fixture.directory().display()
    );
    let checkpoint = "<domaincheckpoint><name>virtnbdbackup.0</name><disks>\
        <disk name='vda' checkpoint='bitmap'/></disks></domaincheckpoint>";
    testing::begin(&host, instance, &backup, Some(checkpoint)).await.unwrap();

    let ours = group();
    let busy = mark(&host, instance, disk, ours, None).await.unwrap_err();
    assert!(matches!(busy, HostError::Busy(_)), "{busy}");
    for fate in [Fate::Drop, Fate::Keep] {
        host.unmark(instance, ours, fate).await.unwrap();
    }
    let (job, checkpoints) = testing::traces(&host, instance).await.unwrap();
    assert!(job.is_some_and(|job| job.contains("theirs.sock")));
    assert_eq!(checkpoints, ["virtnbdbackup.0"]);

    testing::abort(&host, instance).await.unwrap();
    let (first, second) = (group(), group());
    // The abort returns before the job is gone.
    while let Err(HostError::Busy(_)) = mark(&host, instance, disk, first, None).await {}
    host.unmark(instance, first, Fate::Keep).await.unwrap();
    mark(&host, instance, disk, second, Some(first)).await.unwrap();
    host.unmark(instance, second, Fate::Keep).await.unwrap();
    let (_, checkpoints) = testing::traces(&host, instance).await.unwrap();
    assert_eq!(checkpoints, ["virtnbdbackup.0".to_owned(), format!("hikae-{second}")]);
    host.stop(instance, Stop::ByForce).await.unwrap();
    host.unmark(instance, second, Fate::Drop).await.unwrap();
    let (_, checkpoints) = testing::traces(&host, instance).await.unwrap();
    assert_eq!(checkpoints, ["virtnbdbackup.0"]);
    assert_eq!(stored_bitmaps(&fixture), ["virtnbdbackup.0"]);
}

/// The bitmaps stored in the images of a fixture's stopped machines.
fn stored_bitmaps(fixture: &Libvirt) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(fixture.directory()).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "qcow2") {
            let info = run(Command::new("qemu-img").args(["info", "--output=json"]).arg(entry.path()));
            let info: serde_json::Value = serde_json::from_str(&info).unwrap();
            let bitmaps = info["format-specific"]["data"]["bitmaps"].as_array().cloned().unwrap_or_default();
            found.extend(bitmaps.iter().map(|bitmap| bitmap["name"].as_str().unwrap().to_owned()));
        }
    }
    found
}

/// A bitmap costs memory and every write a little: none may be left that nobody will ask again.
#[tokio::test]
async fn no_bitmap_is_left_in_an_image() {
    let fixture = Libvirt::new("bitmaps").await;
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 4).await;
    let mut base = None;
    for _ in 0..4 {
        let next = group();
        mark(&host, instance, disk, next, base).await.unwrap();
        host.unmark(instance, next, Fate::Keep).await.unwrap();
        base = Some(next);
    }
    let dropped = group();
    mark(&host, instance, disk, dropped, base).await.unwrap();
    host.unmark(instance, dropped, Fate::Drop).await.unwrap();
    host.stop(instance, Stop::ByForce).await.unwrap();
    let last = base.unwrap();
    assert_eq!(stored_bitmaps(&fixture), [format!("hikae-{last}")]);
    host.unmark(instance, last, Fate::Drop).await.unwrap();
    assert_eq!(stored_bitmaps(&fixture), [""; 0]);
    host.start(instance).await.unwrap();
}

/// A bitmap that was stored once, and then was open when QEMU was killed, is marked in-use: it misses what
/// was written since and must not be believed, neither by a running nor by a stopped machine.
#[tokio::test]
async fn a_bitmap_open_at_a_crash_is_not_believed() {
    let fixture = Libvirt::new("in-use").await;
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 4).await;
    let base = group();
    mark(&host, instance, disk, base, None).await.unwrap();
    host.unmark(instance, base, Fate::Keep).await.unwrap();
    // A clean stop stores it.
    host.stop(instance, Stop::ByForce).await.unwrap();
    assert_eq!(host.marks(instance).await.unwrap(), [base]);
    host.start(instance).await.unwrap();
    assert_eq!(host.marks(instance).await.unwrap(), [base]);
    fixture.fill(instance, disk, at(0, 4096), 0x11).await.unwrap();
    fixture.crash(instance).await.unwrap();
    assert_eq!(host.marks(instance).await.unwrap(), []);
    let stopped = group();
    let marked = mark(&host, instance, disk, stopped, Some(base)).await.unwrap();
    assert!(matches!(marked.disks[0].tracking, Tracking::Whole { .. }), "{marked:?}");
    host.unmark(instance, stopped, Fate::Drop).await.unwrap();

    host.start(instance).await.unwrap();
    assert_eq!(host.marks(instance).await.unwrap(), []);
    let next = group();
    let marked = mark(&host, instance, disk, next, Some(base)).await.unwrap();
    assert!(matches!(marked.disks[0].tracking, Tracking::Whole { .. }), "{marked:?}");
    host.unmark(instance, next, Fate::Keep).await.unwrap();
    assert_eq!(host.marks(instance).await.unwrap(), [next]);
    let (_, checkpoints) = testing::traces(&host, instance).await.unwrap();
    assert_eq!(checkpoints, [format!("hikae-{next}")], "the useless one is gone");
}

/// A bitmap stored by a clean stop serves a backup of the stopped machine.
#[tokio::test]
async fn a_stopped_machine_tells_what_changed() {
    let fixture = Libvirt::new("stopped").await;
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 4).await;
    let base = group();
    mark(&host, instance, disk, base, None).await.unwrap();
    host.unmark(instance, base, Fate::Keep).await.unwrap();
    fixture.fill(instance, disk, at(MIB, 4096), 0x11).await.unwrap();
    host.stop(instance, Stop::ByForce).await.unwrap();

    let stopped = group();
    let marked = mark(&host, instance, disk, stopped, Some(base)).await.unwrap();
    assert_eq!(marked.disks[0].tracking, Tracking::Since(base));
    let reader = host.reader(instance, stopped, disk).await.unwrap();
    assert_eq!(changed(reader.as_ref()).await, [(MIB, 64 << 10)]);
    assert_eq!(reader.read(at(MIB, 2)).await.unwrap()[..], [0x11, 0x11]);
    // The session holds the image: a start fails cleanly and hurts nobody.
    let busy = host.start(instance).await.unwrap_err();
    assert!(matches!(busy, HostError::Busy(_)), "{busy}");
    assert_eq!(reader.read(at(MIB, 1)).await.unwrap()[..], [0x11]);
    host.unmark(instance, stopped, Fate::Keep).await.unwrap();
    assert_eq!(host.marks(instance).await.unwrap(), [base], "it made no checkpoint and dropped none");
    host.start(instance).await.unwrap();
}

/// Scratch space on a file system of 32 MiB; the guest overwrites more.
#[tokio::test]
async fn a_guest_is_not_stopped_by_full_scratch_space() {
    let fixture = Libvirt::new("full").await;
    let scratch = root().join("tiny");
    let _mounted = Mounted::tmpfs(&scratch, "32m");
    let mut options = options("full");
    options.scratch_dir = Some(scratch.clone());
    fixture.set_host(LibvirtHost::connect(options.clone()).unwrap());
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 64).await;
    fixture.fill(instance, disk, at(0, 64 * MIB), 0x11).await.unwrap();
    let lost = group();
    mark(&host, instance, disk, lost, None).await.unwrap();
    let reader = host.reader(instance, lost, disk).await.unwrap();
    reader.read(at(0, 4096)).await.unwrap();
    let mut offset = 0;
    let error = loop {
        // A write that scratch space has no room for fails inside QEMU, as it would for a guest.
        let _ = fixture.fill(instance, disk, at(offset % (64 * MIB), MIB), 0x22).await;
        offset += MIB;
        if let Err(error) = reader.read(at(63 * MIB, 4096)).await {
            break error;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert!(matches!(error, HostError::NoSpace(_)), "{error}");
    let error = host.reader(instance, lost, disk).await.unwrap_err();
    assert!(matches!(error, HostError::NoSpace(_)), "{error}");
    let shown = host.find(instance).await.unwrap();
    assert!(shown.status == InstanceStatus::Running && !shown.paused);
    fixture.fill(instance, disk, at(0, 64 * MIB), 0x33).await.unwrap();
    host.unmark(instance, lost, Fate::Drop).await.unwrap();
    assert_eq!(fixture.left_on(instance).await.unwrap(), [""; 0]);

    std::fs::write(scratch.join("ballast"), vec![0; 20 << 20]).unwrap();
    let error = mark(&host, instance, disk, group(), None).await.unwrap_err();
    assert!(matches!(error, HostError::NoSpace(_)), "{error}");
    assert_eq!(fixture.left_on(instance).await.unwrap(), [""; 0]);
    // Room enough by our measure and not by QEMU's: it fails, and leaves nothing.
    std::fs::write(scratch.join("ballast"), vec![0; (32 << 20) - (64 << 10)]).unwrap();
    options.scratch_min = ByteCount(0);
    fixture.set_host(LibvirtHost::connect(options).unwrap());
    let error = mark(&fixture.host(), instance, disk, group(), None).await.unwrap_err();
    assert!(matches!(error, HostError::NoSpace(_)), "{error}");
    std::fs::remove_file(scratch.join("ballast")).unwrap();
    assert_eq!(fixture.left_on(instance).await.unwrap(), [""; 0]);
}

/// A file system of its own, for as long as a test needs it.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at));
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Every verb that looks at all machines meets some that vanish under its eyes.
#[tokio::test]
async fn other_machines_come_and_go() {
    let fixture = Libvirt::new("others").await;
    let host = fixture.host();
    let image = fixture.image("qcow2", ByteCount(MIB));
    let instance = fixture.define(&[(image, "qcow2", "")]).await.unwrap();
    let disk = host.find(instance).await.unwrap().disks[0].id;
    let target = DiskTarget::Replacing { instance, disk, size: ByteCount(MIB) };
    let others = async {
        for _ in 0..150 {
            let other = fixture.define(&[]).await.unwrap();
            testing::undefine(&host, other).await.unwrap();
        }
    };
    let work = async {
        for _ in 0..50 {
            let task = draw(&Chance);
            host.prepare(task, &target).await.unwrap();
            host.discard(task, &target).await.unwrap();
            assert!(host.list().await.unwrap().iter().any(|found| found.id == instance));
        }
    };
    tokio::join!(others, work);
}

/// The file system that takes a new disk is too small for it.
#[tokio::test]
async fn a_disk_that_does_not_fit_says_so() {
    let fixture = Libvirt::new("no-room").await;
    std::fs::create_dir_all(fixture.directory()).unwrap();
    let _mounted = Mounted::tmpfs(&fixture.directory(), "16m");
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 64).await;
    host.stop(instance, Stop::ByForce).await.unwrap();
    let target = DiskTarget::Replacing { instance, disk, size: ByteCount(64 * MIB) };
    let task = draw(&Chance);
    let prepared = host.prepare(task, &target).await.unwrap();
    let writer = host.writer(&prepared).await.unwrap();
    let mut offset = 0;
    let error = loop {
        assert!(offset < 64 * MIB, "it fits after all");
        match writer.write(offset, vec![0x5a; 1 << 20].into()).await {
            Ok(()) => offset += MIB,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, HostError::NoSpace(_)), "{error}");
    drop(writer);
    host.discard(task, &target).await.unwrap();
    assert_eq!(fixture.left_on(instance).await.unwrap(), [""; 0]);
    host.start(instance).await.unwrap();
}

/// Many reads in flight over a disk larger than any buffer. The figures are for the eye.
#[tokio::test]
async fn a_large_disk_is_read_by_many_reads_at_once() {
    let fixture = Libvirt::new("figures").await;
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 256).await;
    for piece in 0..64_u8 {
        fixture.fill(instance, disk, at(u64::from(piece) * 4 * MIB, 4 * MIB), piece).await.unwrap();
    }
    for _ in 0..3 {
        let ours = group();
        let marked = mark(&host, instance, disk, ours, None).await.unwrap();
        let started = tokio::time::Instant::now();
        let reader = host.reader(instance, ours, disk).await.unwrap();
        let reads = futures::stream::iter(0..64_u8)
            .map(|piece| reader.read(at(u64::from(piece) * 4 * MIB, 4 * MIB)))
            .buffered(4);
        let pieces: Vec<_> = reads.collect().await;
        eprintln!("held {:?}, 256 MiB read in {:?}", marked.held, started.elapsed());
        for (number, piece) in pieces.into_iter().enumerate() {
            let piece = piece.unwrap();
            assert!(piece.len() == 4 << 20 && piece.iter().all(|byte| usize::from(*byte) == number));
        }
        host.unmark(instance, ours, Fate::Keep).await.unwrap();
    }
}

/// The machine is destroyed and removed while its disks are read.
#[tokio::test]
async fn a_machine_removed_during_its_backup_leaves_nothing() {
    let fixture = Libvirt::new("removed").await;
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 4).await;
    let ours = group();
    mark(&host, instance, disk, ours, None).await.unwrap();
    let reader = host.reader(instance, ours, disk).await.unwrap();
    reader.read(at(0, 4096)).await.unwrap();
    fixture.release(instance).await.unwrap();
    let error = reader.read(at(0, 4096)).await.unwrap_err();
    assert!(matches!(error, HostError::Lost(_)), "{error}");
    let error = host.reader(instance, ours, disk).await.unwrap_err();
    assert!(matches!(error, HostError::NoInstance), "{error}");
    host.unmark(instance, ours, Fate::Drop).await.unwrap();
    assert_eq!(fixture.left_on(instance).await.unwrap(), [""; 0]);
}

/// A machine whose memory lies on disk knows its disks as they were: no roll back under it.
#[tokio::test]
async fn a_saved_machine_is_not_rolled_back() {
    let fixture = Libvirt::new("saved").await;
    let host = fixture.host();
    let (instance, disk) = machine(&fixture, 4).await;
    testing::managed_save(&host, instance).await.unwrap();
    let target = DiskTarget::Replacing { instance, disk, size: ByteCount(4 * MIB) };
    let task = draw(&Chance);
    let prepared = host.prepare(task, &target).await.unwrap();
    host.writer(&prepared).await.unwrap().finish().await.unwrap();
    let error = host.swap_in(instance, &[prepared]).await.unwrap_err();
    assert!(matches!(error, HostError::State { .. }), "{error}");
    host.discard(task, &target).await.unwrap();
    assert_eq!(fixture.left_on(instance).await.unwrap(), [""; 0]);
}

/// Nobody answers; then a libvirtd comes, goes in the middle of a session, and comes back.
#[tokio::test]
async fn libvirtd_may_come_and_go() {
    let mut daemon = Daemon::new();
    let mut options = options("daemon");
    options.uri = daemon.uri();
    let host = LibvirtHost::connect(options.clone()).unwrap();
    let error = host.list().await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable(_)), "{error}");

    daemon.start();
    assert_eq!(host.list().await.unwrap(), []);
    let image = daemon.directory.join("disk.qcow2");
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&image).arg("4M"));
    let xml = format!(
        "<domain type='qemu'><name>d1</name><memory unit='MiB'>32</memory>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>\
         <disk type='file'><driver name='qemu' type='qcow2'/><source file='{}'/><target dev='vda'/></disk>\
         </devices></domain>",
        image.display()
    );
    let instance = testing::define(&host, &xml).await.unwrap();
    host.start(instance).await.unwrap();
    let disk = host.find(instance).await.unwrap().disks[0].id;
    let ours = group();
    let marked = mark(&host, instance, disk, ours, None).await.unwrap();
    let reader = host.reader(instance, ours, disk).await.unwrap();

    daemon.kill();
    let error = host.find(instance).await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable(_)), "{error}");
    let error = mark(&host, instance, disk, ours, None).await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable(_)), "{error}");
    let error = host.unmark(instance, ours, Fate::Keep).await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable(_)), "{error}");
    // QEMU lives on, and with it the session.
    reader.read(at(0, 4096)).await.unwrap();

    daemon.start();
    let again = mark(&host, instance, disk, ours, None).await.unwrap();
    assert_eq!(again.disks, marked.disks);
    host.reader(instance, ours, disk).await.unwrap().read(at(0, 4096)).await.unwrap();
    host.unmark(instance, ours, Fate::Keep).await.unwrap();
    assert_eq!(host.marks(instance).await.unwrap(), [ours]);
    let next = group();
    let marked = mark(&host, instance, disk, next, Some(ours)).await.unwrap();
    assert_eq!(marked.disks[0].tracking, Tracking::Since(ours));
    host.unmark(instance, next, Fate::Drop).await.unwrap();
    roll_back_and_clone(&host, instance, disk, marked.spec).await;
    testing::undefine(&host, instance).await.unwrap();
}

/// Rolls the machine's disk back and clones it, under a QEMU that is not root: every file must end up in
/// its hands.
async fn roll_back_and_clone(
    host: &Arc<LibvirtHost>,
    instance: InstanceId,
    disk: DiskId,
    spec: host::InstanceSpec,
) {
    let (task, size) = (draw(&Chance), ByteCount(4 * MIB));
    let (id, name) = (host::instance_id(&RegionId::from("tokyo"), [7; 16]), "clone".to_owned());
    let target = DiskTarget::ForNew {
        instance: id,
        name: name.clone(),
        device: "vda".into(),
        size,
        spec: spec.clone(),
    };
    let disks = vec![("vda".to_owned(), filled(host, task, &target).await)];
    let (uuid, vcpus, memory, network) = ([7; 16], None, None, None);
    let new = NewInstance { id, uuid, task, name, spec, disks, vcpus, memory, network };
    host.define(&new).await.unwrap();
    host.start(new.id).await.unwrap();
    let clone = host.find(new.id).await.unwrap().disks[0].id;
    assert_eq!(first_bytes(host, new.id, clone).await, [0x5a; 4]);
    host.undefine(&new).await.unwrap();

    assert_eq!(first_bytes(host, instance, disk).await, [0; 4]);
    host.stop(instance, Stop::ByForce).await.unwrap();
    let prepared = filled(host, task, &DiskTarget::Replacing { instance, disk, size }).await;
    host.swap_in(instance, &[prepared]).await.unwrap();
    host.start(instance).await.unwrap();
    assert_eq!(first_bytes(host, instance, disk).await, [0x5a; 4]);
}

async fn filled(host: &Arc<LibvirtHost>, task: TaskId, target: &DiskTarget) -> PreparedDisk {
    let prepared = host.prepare(task, target).await.unwrap();
    let writer = host.writer(&prepared).await.unwrap();
    writer.write(0, vec![0x5a; 4096].into()).await.unwrap();
    writer.finish().await.unwrap();
    prepared
}

async fn first_bytes(host: &Arc<LibvirtHost>, instance: InstanceId, disk: DiskId) -> Vec<u8> {
    let group = group();
    mark(host, instance, disk, group, None).await.unwrap();
    let bytes = host.reader(instance, group, disk).await.unwrap().read(at(0, 4)).await.unwrap();
    host.unmark(instance, group, Fate::Drop).await.unwrap();
    bytes.to_vec()
}

/// A libvirtd with directories of its own, seen only by it: the machine's own libvirtd, if there is one,
/// is neither needed nor disturbed.
struct Daemon {
    directory: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    fn new() -> Self {
        let directory = root().join("daemon.d");
        for name in ["run", "var", "etc", "cache", "sock"] {
            std::fs::create_dir_all(directory.join(name)).unwrap();
        }
        // As a distribution sets it up: QEMU is a user of its own, and libvirt gives it its files.
        let conf = "stdio_handler = \"file\"\nsecurity_driver = \"none\"\nnamespaces = []\n\
            cgroup_controllers = []\nuser = \"libvirt-qemu\"\ngroup = \"kvm\"\ndynamic_ownership = 1\n";
        std::fs::write(directory.join("etc/qemu.conf"), conf).unwrap();
        let conf = format!(
            "unix_sock_dir = \"{}/sock\"\nauth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n",
            directory.display()
        );
        std::fs::write(directory.join("etc/libvirtd.conf"), conf).unwrap();
        Self { directory, child: None }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("sock/libvirt-sock")
    }

    fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    fn start(&mut self) {
        let own = "for pair in run:/run var:/var/lib/libvirt etc:/etc/libvirt cache:/var/cache/libvirt; do \
            mkdir -p ${pair#*:}; mount --bind $0/${pair%%:*} ${pair#*:} || exit 1; done; \
            exec libvirtd -f /etc/libvirt/libvirtd.conf";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", own]).arg(&self.directory);
        let mut child = command.stdin(Stdio::null()).spawn().expect("unshare is needed");
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("libvirtd (package libvirt-daemon) ended: {status}");
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        common::kill_qemu(&self.directory.display().to_string());
    }
}

/// A disk of each kind the seam speaks of, and a machine full of things that are no disks.
#[tokio::test]
async fn every_disk_says_what_it_can_do() {
    use model::DiskCapability as C;
    let fixture = Libvirt::new("kinds").await;
    let host = fixture.host();
    let size = ByteCount(4 * MIB);
    let old = fixture.image("qcow2", size);
    run(Command::new("qemu-img").args(["amend", "-f", "qcow2", "-o", "compat=0.10"]).arg(&old));
    let missing = fixture.directory().join("missing");
    let files = [
        (fixture.image("qcow2", size), "qcow2", ""),
        (old, "qcow2", ""),
        (fixture.image("raw", size), "raw", ""),
        (fixture.image("raw", size), "raw", "<shareable/>"),
        (missing, "qcow2", ""),
    ];
    let instance = fixture.define(&files).await.unwrap();
    let shown = host.find(instance).await.unwrap();
    assert_eq!(shown.status, InstanceStatus::Stopped);
    let refused = |capability: &C| matches!(capability, C::Refused { .. });
    let capabilities: Vec<_> = shown.disks.iter().map(|disk| &disk.capability).collect();
    assert!(matches!(capabilities[..3], [C::Tracked, C::Whole, C::Whole]), "{capabilities:?}");
    assert!(capabilities[3..].iter().all(|capability| refused(capability)), "{capabilities:?}");
    assert!(shown.disks[..3].iter().all(|disk| disk.size == size));
    assert!(host.list().await.unwrap().iter().any(|found| found.id == instance));
}

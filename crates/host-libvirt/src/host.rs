//! The `Host` of one libvirt connection: every verb finds its instance, takes its lock, and acts.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use host::{
    DiskReader, DiskTarget, DiskWriter, Fate, Host, HostError, Mark, Marked, NewInstance, PreparedDisk, Stop,
};
use model::{ByteCount, DiskId, GroupId, HostId, Instance, InstanceId, RegionId, TaskId, ZoneId};
use nbd::Endpoint;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::guard::{self, Guard};
use crate::instances;
use crate::link::Link;
use crate::reader::Reader;
use crate::running::{self, Job, Looked};
use crate::server::sweep;
use crate::session::Scratch;
use crate::stopped::{self, OfflineSession};
use crate::{checkpoint, disks};

/// How to reach a libvirt and what to call what is found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibvirtOptions {
    /// `qemu:///system`, or another URI of the QEMU driver on this machine: disks and sockets are
    /// reached through the file system.
    pub uri: String,
    pub region: RegionId,
    pub zone: ZoneId,
    pub id: HostId,
    /// Holds what guests overwrite while they are backed up, and sockets: a short path with room, for
    /// this process alone.
    pub scratch_dir: Option<PathBuf>,
    /// Scratch space below which no session is opened; below half of it an open one is given up, before
    /// a guest's write fails for want of it.
    pub scratch_min: ByteCount,
    /// Where new disks go that have no source to lie beside.
    pub images_dir: Option<PathBuf>,
    /// How long a guest may take to shut down when asked.
    pub shutdown_max: Duration,
}

impl LibvirtOptions {
    pub fn new(uri: &str, region: RegionId, zone: ZoneId, id: HostId) -> Self {
        Self {
            uri: uri.to_owned(),
            region,
            zone,
            id,
            scratch_dir: None,
            scratch_min: ByteCount(256 * ByteCount::MIB),
            images_dir: None,
            shutdown_max: Duration::from_secs(90),
        }
    }
}

/// One libvirt connection as a host.
#[derive(Debug)]
pub struct LibvirtHost {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: LibvirtOptions,
    pub(crate) link: Arc<Link>,
    pub(crate) scratch: Scratch,
    pub(crate) guard: Guard,
    images: PathBuf,
    offline: tokio::sync::Mutex<HashMap<(InstanceId, GroupId), OfflineSession>>,
    locks: std::sync::Mutex<HashMap<InstanceId, Arc<tokio::sync::Mutex<()>>>>,
}

impl LibvirtHost {
    /// Makes the host; libvirt itself is reached when first needed, so that a server can start before
    /// it. Ends servers that an earlier process of ours left behind.
    pub fn connect(options: LibvirtOptions) -> Result<Arc<Self>, HostError> {
        let scratch = options.scratch_dir.clone().unwrap_or_else(|| "/var/lib/hikae/scratch".into());
        let scratch = Scratch::new(scratch)?;
        for directory in scratch.directories() {
            sweep(&directory);
        }
        let images = options.images_dir.clone().unwrap_or_else(|| "/var/lib/libvirt/images".into());
        let inner = Inner {
            link: Link::new(options.uri.clone(), options.region.clone()),
            options,
            scratch,
            guard: Guard::default(),
            images,
            offline: tokio::sync::Mutex::default(),
            locks: std::sync::Mutex::default(),
        };
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Runs `work` with the instance to itself, to its end even when the caller is dropped: half a mark
    /// or half an unmark would be found by nobody.
    async fn alone<T, F, W>(&self, instance: InstanceId, work: W) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, HostError>> + Send,
        W: FnOnce(Arc<Inner>) -> F + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move {
            let lock = inner.lock_of(instance);
            let _held = lock.lock().await;
            work(inner).await
        });
        task.await.map_err(|error| HostError::Failed(format!("a call broke off: {error}")))?
    }
}

impl Inner {
    pub(crate) fn lock_of(&self, instance: InstanceId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(instance).or_default())
    }

    /// Looks at one instance and does `work` with it, in one blocking call.
    pub(crate) async fn with<T, W>(&self, instance: InstanceId, work: W) -> Result<T, HostError>
    where
        T: Send + 'static,
        W: FnOnce(&Looked) -> Result<T, Failure> + Send + 'static,
    {
        let region = self.options.region.clone();
        let call = move |libvirt: &crate::link::Libvirt| {
            let (uuid, domain) = libvirt.domain(instance)?;
            work(&Looked::at(domain, uuid, &region)?)
        };
        self.link.call(call).await
    }

    async fn mark(self: Arc<Self>, mark: Mark) -> Result<Marked, HostError> {
        let key = (mark.instance, mark.group);
        {
            let offline = self.offline.lock().await;
            if let Some(session) = offline.get(&key) {
                return Ok(session.record.marked());
            }
            if offline.keys().any(|(instance, _)| *instance == mark.instance) {
                return Err(HostError::Busy("a backup of another group runs on this instance".into()));
            }
        }
        let scratch = self.scratch.clone();
        let asked = mark.clone();
        let space = self.options.scratch_min;
        let outcome = self.with(mark.instance, move |looked| {
            if looked.active {
                return running::mark(looked, &asked, &scratch, space).map(Ok);
            }
            stopped::look(looked, &asked, &scratch.session(asked.instance, asked.group)).map(Err)
        });
        match outcome.await? {
            Ok(marked) => {
                guard::watch(&self, mark.instance, mark.group);
                Ok(marked)
            }
            Err(prospect) => {
                let session = stopped::open(&self.link, &self.scratch, &mark, prospect).await?;
                let marked = session.record.marked();
                self.offline.lock().await.insert(key, session);
                Ok(marked)
            }
        }
    }

    async fn unmark(
        self: Arc<Self>,
        instance: InstanceId,
        group: GroupId,
        fate: Fate,
    ) -> Result<(), HostError> {
        let open = self.offline.lock().await.remove(&(instance, group));
        if let Some(session) = open {
            session.end().await;
        }
        let scratch = self.scratch.clone();
        let unmarked =
            self.with(instance, move |looked| running::unmark(looked, instance, group, fate, &scratch)).await;
        match unmarked {
            // It was released, and its job and checkpoints with it.
            Err(HostError::NoInstance) => {
                self.scratch.session(instance, group).remove().map_err(|failure| failure.0)
            }
            other => other,
        }
    }

    async fn reader(
        self: &Arc<Self>,
        instance: InstanceId,
        group: GroupId,
        disk: DiskId,
    ) -> Result<Reader, HostError> {
        let no_disk = || HostError::NoDisk(disk.to_string());
        let (endpoint, export, bitmap, size) = {
            let offline = self.offline.lock().await;
            match offline.get(&(instance, group)) {
                Some(session) => {
                    let record = session.record.disk(disk).ok_or_else(no_disk)?.clone();
                    let server = session.servers.get(&disk).ok_or_else(no_disk)?;
                    let bitmap = record.since.map(checkpoint::name);
                    (server.endpoint(), String::new(), bitmap, record.size.min(server.size()))
                }
                None => {
                    drop(offline);
                    let session = self.scratch.session(instance, group);
                    let scratch = self.scratch.clone();
                    let record = self
                        .with(instance, move |looked| {
                            let open = looked.active
                                && running::job(&looked.domain, &scratch, &session)? == Job::This;
                            if !open && session.is_full() {
                                return Err(no_space().into());
                            }
                            let record = session.load().filter(|_| open);
                            record.ok_or_else(|| running::lost("no session of this group is open"))
                        })
                        .await?;
                    guard::watch(self, instance, group);
                    let record = record.disk(disk).ok_or_else(no_disk)?.clone();
                    let bitmap = record.since.map(|_| running::bitmap_export(&record.device));
                    let socket = self.scratch.session(instance, group).socket();
                    (Endpoint::Unix(socket), record.device, bitmap, record.size)
                }
            }
        };
        let session = self.scratch.session(instance, group);
        Reader::open(&endpoint, &export, size, bitmap.as_deref(), session).await
    }

    async fn stop(&self, instance: InstanceId, how: Stop) -> Result<(), HostError> {
        self.with(instance, move |looked| match (looked.active, how) {
            (false, _) => Ok(()),
            (true, Stop::Gracefully) => Ok(looked.domain.shut_down()?),
            (true, Stop::ByForce) => match looked.domain.destroy() {
                // It stopped by itself at that moment.
                Err(_) if !running::is_active(&looked.domain)? => Ok(()),
                other => Ok(other?),
            },
        })
        .await?;
        let asked = Instant::now();
        loop {
            if !self.with(instance, |looked| Ok(looked.active)).await? {
                return Ok(());
            }
            if asked.elapsed() > self.options.shutdown_max {
                return Err(HostError::State { found: "running".into(), needed: "stopped".into() });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[async_trait]
impl Host for LibvirtHost {
    fn id(&self) -> HostId {
        self.inner.options.id
    }

    async fn list(&self) -> Result<Vec<Instance>, HostError> {
        let options = self.inner.options.clone();
        let call = move |libvirt: &crate::link::Libvirt| {
            let mut found = Vec::new();
            for (_, uuid, domain) in libvirt.domains()? {
                match instances::instance(&domain, uuid, &options) {
                    Ok(instance) => found.push(instance),
                    // Undefined between the listing and the look.
                    Err(Failure(HostError::NoInstance)) => {}
                    Err(failure) => return Err(failure),
                }
            }
            Ok(found)
        };
        self.inner.link.call(call).await
    }

    async fn find(&self, instance: InstanceId) -> Result<Instance, HostError> {
        let options = self.inner.options.clone();
        let call = move |libvirt: &crate::link::Libvirt| {
            let (uuid, domain) = libvirt.domain(instance)?;
            instances::instance(&domain, uuid, &options)
        };
        self.inner.link.call(call).await
    }

    async fn start(&self, instance: InstanceId) -> Result<(), HostError> {
        let start = move |inner: Arc<Inner>| async move {
            inner
                .with(instance, |looked| match looked.active {
                    true => Ok(()),
                    false => Ok(looked.domain.create()?),
                })
                .await
        };
        self.alone(instance, start).await
    }

    async fn stop(&self, instance: InstanceId, how: Stop) -> Result<(), HostError> {
        self.alone(instance, move |inner| async move { inner.stop(instance, how).await }).await
    }

    async fn marks(&self, instance: InstanceId) -> Result<Vec<GroupId>, HostError> {
        let marks = |looked: &Looked| {
            let ours = checkpoint::ours(&looked.domain, &looked.def, looked.active)?;
            Ok(ours.iter().filter(|ours| ours.is_usable()).map(|ours| ours.group).collect())
        };
        self.inner.with(instance, marks).await
    }

    async fn mark(&self, mark: &Mark) -> Result<Marked, HostError> {
        let mark = mark.clone();
        self.alone(mark.instance, |inner| inner.mark(mark)).await
    }

    async fn reader(
        &self,
        instance: InstanceId,
        group: GroupId,
        disk: DiskId,
    ) -> Result<Arc<dyn DiskReader>, HostError> {
        Ok(Arc::new(self.inner.reader(instance, group, disk).await?))
    }

    async fn unmark(&self, instance: InstanceId, group: GroupId, fate: Fate) -> Result<(), HostError> {
        self.alone(instance, move |inner| inner.unmark(instance, group, fate)).await
    }

    async fn prepare(&self, task: TaskId, target: &DiskTarget) -> Result<PreparedDisk, HostError> {
        let target = target.clone();
        let instance = target_instance(&target);
        let prepare = move |inner: Arc<Inner>| async move {
            let (region, scratch) = (inner.options.region.clone(), inner.scratch.clone());
            let images = inner.images.clone();
            inner
                .link
                .call(move |libvirt| disks::prepare(libvirt, &region, &scratch, &images, task, &target))
                .await
        };
        self.alone(instance, prepare).await
    }

    async fn writer(&self, disk: &PreparedDisk) -> Result<Arc<dyn DiskWriter>, HostError> {
        let asked = disk.clone();
        let prepared = self.inner.link.call(move |libvirt| disks::check_writable(libvirt, &asked)).await?;
        let directory = disks::note_directory(&self.inner.scratch, disk.task(), disk.target());
        Ok(Arc::new(disks::Writer::open(&directory, prepared).await?))
    }

    async fn discard(&self, task: TaskId, target: &DiskTarget) -> Result<(), HostError> {
        let target = target.clone();
        let instance = target_instance(&target);
        let discard = move |inner: Arc<Inner>| async move {
            let (region, scratch) = (inner.options.region.clone(), inner.scratch.clone());
            let images = inner.images.clone();
            inner
                .link
                .call(move |libvirt| disks::discard(libvirt, &region, &scratch, &images, task, &target))
                .await
        };
        self.alone(instance, discard).await
    }

    async fn swap_in(&self, instance: InstanceId, disks: &[PreparedDisk]) -> Result<(), HostError> {
        let disks = disks.to_vec();
        let swap = move |inner: Arc<Inner>| async move {
            if inner.offline.lock().await.keys().any(|(known, _)| *known == instance) {
                return Err(HostError::Busy("a backup of this instance runs".into()));
            }
            let (region, scratch) = (inner.options.region.clone(), inner.scratch.clone());
            inner.link.call(move |libvirt| disks::swap_in(libvirt, &region, &scratch, instance, &disks)).await
        };
        self.alone(instance, swap).await
    }

    async fn define(&self, new: &NewInstance) -> Result<(), HostError> {
        let (id, new) = (new.id, new.clone());
        let define = move |inner: Arc<Inner>| async move {
            let scratch = inner.scratch.clone();
            inner.link.call(move |libvirt| instances::define(libvirt, &scratch, &new)).await
        };
        self.alone(id, define).await
    }

    async fn undefine(&self, new: &NewInstance) -> Result<(), HostError> {
        let (id, new) = (new.id, new.clone());
        let undefine = move |inner: Arc<Inner>| async move {
            let scratch = inner.scratch.clone();
            inner.link.call(move |libvirt| instances::undefine(libvirt, &scratch, &new)).await
        };
        self.alone(id, undefine).await
    }

    async fn attach(&self, instance: InstanceId, disk: &PreparedDisk) -> Result<DiskId, HostError> {
        let disk = disk.clone();
        let attach = move |inner: Arc<Inner>| async move {
            let (region, scratch) = (inner.options.region.clone(), inner.scratch.clone());
            inner
                .link
                .call(move |libvirt| instances::attach(libvirt, &region, &scratch, instance, &disk))
                .await
        };
        self.alone(instance, attach).await
    }
}

/// Why a session ended that its guard gave up.
pub(crate) fn no_space() -> HostError {
    HostError::NoSpace("the guest overwrote more during its backup than the scratch space holds".into())
}

fn target_instance(target: &DiskTarget) -> InstanceId {
    match target {
        DiskTarget::Replacing { instance, .. }
        | DiskTarget::ForNew { instance, .. }
        | DiskTarget::ForInstance { instance, .. } => *instance,
    }
}

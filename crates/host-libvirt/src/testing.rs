//! For tests of this crate and of the server alone: what no product code may do to a domain.

use host::HostError;
use model::InstanceId;

use crate::LibvirtHost;
use crate::ffi;

/// Defines a domain from XML, or redefines it.
pub async fn define(host: &LibvirtHost, xml: &str) -> Result<InstanceId, HostError> {
    let (xml, region) = (xml.to_owned(), host.inner().options.region.clone());
    let call = move |libvirt: &crate::link::Libvirt| {
        let domain = libvirt.connection().define(&xml)?;
        Ok(host::instance_id(&region, domain.uuid()?))
    };
    host.inner().link.call(call).await
}

/// Destroys a domain and removes it with all its metadata; its disks stay.
pub async fn undefine(host: &LibvirtHost, instance: InstanceId) -> Result<(), HostError> {
    let remove = |looked: &crate::running::Looked| {
        if looked.active {
            looked.domain.destroy()?;
        }
        let all = ffi::UNDEFINE_CHECKPOINTS_METADATA | ffi::UNDEFINE_SNAPSHOTS_METADATA;
        Ok(looked.domain.undefine(all)?)
    };
    host.inner().with(instance, remove).await
}

/// Runs a command of QEMU's human monitor.
pub async fn monitor(host: &LibvirtHost, instance: InstanceId, command: &str) -> Result<String, HostError> {
    let command = command.to_owned();
    host.inner().with(instance, move |looked| Ok(looked.domain.monitor(&command)?)).await
}

/// The domain's XML as it is now.
pub async fn xml(host: &LibvirtHost, instance: InstanceId) -> Result<String, HostError> {
    host.inner().with(instance, |looked| Ok(looked.domain.xml(0)?)).await
}

/// The domain's backup job, and the names of its checkpoints.
pub async fn traces(
    host: &LibvirtHost,
    instance: InstanceId,
) -> Result<(Option<String>, Vec<String>), HostError> {
    let look = |looked: &crate::running::Looked| {
        let job = if looked.active { looked.domain.backup_xml()? } else { None };
        Ok((job, looked.domain.checkpoints()?.iter().map(ffi::Checkpoint::name).collect()))
    };
    host.inner().with(instance, look).await
}

/// Begins a backup job or checkpoint that is not ours.
pub async fn begin(
    host: &LibvirtHost,
    instance: InstanceId,
    backup: &str,
    checkpoint: Option<&str>,
) -> Result<(), HostError> {
    let (backup, checkpoint) = (backup.to_owned(), checkpoint.map(str::to_owned));
    let begin = move |looked: &crate::running::Looked| {
        Ok(looked.domain.backup_begin(&backup, checkpoint.as_deref())?)
    };
    host.inner().with(instance, begin).await
}

/// Ends whatever backup job runs.
pub async fn abort(host: &LibvirtHost, instance: InstanceId) -> Result<(), HostError> {
    host.inner().with(instance, |looked| Ok(looked.domain.abort_job()?)).await
}

/// Suspends a machine to disk.
pub async fn managed_save(host: &LibvirtHost, instance: InstanceId) -> Result<(), HostError> {
    host.inner().with(instance, |looked| Ok(looked.domain.managed_save()?)).await
}

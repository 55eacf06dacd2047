//! Restores of the four types: started and listed.

use backup::{NewRestore, NewRestoreKind};
use model::{ByteCount, Code, DiskId, PointId, Refusal, RegionId};
use serde_json::{Value, json};
use wire::hbr::{CreateRestoreJob, DescribeRestoreJobs2, RestoreInput, RestoreView, Restores};

use super::super::dispatch::Call;
use super::super::services::Scope;
use super::payload;

pub(crate) async fn create(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = CreateRestoreJob::parse(call.params)?;
    let region = region(call, &asked).await?;
    let mut point = asked.point;
    let kind = match asked.kind {
        RestoreInput::RollBackInstance { instance, force, boot } => {
            NewRestoreKind::RollBackInstance { instance, force, boot }
        }
        RestoreInput::RollBackDisk { instance, disk, force, boot } => {
            if let Some(disk) = disk {
                point = disk_point(call, point, disk).await?;
            }
            NewRestoreKind::RollBackDisk { instance, force, boot }
        }
        RestoreInput::CloneInstance(clone) => NewRestoreKind::CloneInstance {
            name: clone.name,
            host_name: clone.host_name,
            shape: shape(&clone.instance_type)?,
            network: clone.network,
            boot: clone.boot,
        },
        RestoreInput::CloneDisk { instance, .. } => NewRestoreKind::CloneDisk { instance },
    };
    let new = NewRestore { point, kind, detail: asked.detail, client_token: asked.client_token };
    let restore = call.services.backup.create_restore(&region, new).await?;
    Ok(json!({"RestoreId": restore}))
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribeRestoreJobs2::parse(call.params)?;
    let mut restores = Vec::new();
    for region in call.services.regions.to_search(call.scope, !asked.filters.is_empty()) {
        restores.extend(call.services.backup.restores(&region).await?);
    }
    restores.sort_by_key(|restore| (std::cmp::Reverse(restore.created), restore.id));
    let views = restores.iter().filter(|restore| asked.matches(restore)).map(RestoreView::from).collect();
    payload(&Restores::new(&asked, asked.page.of(views)))
}

/// Instance types as this server shows them; empty keeps the source's.
fn shape(instance_type: &str) -> Result<Option<(u32, ByteCount)>, Refusal> {
    if instance_type.is_empty() {
        return Ok(None);
    }
    match wire::shape::parse(instance_type) {
        Some(shape) => Ok(Some(shape)),
        None => Err(Refusal::new(
            Code::InvalidParameter,
            format!("UdmDetail.instanceType: {instance_type:?} is no instance type of this server"),
        )
        .remedy("Write kvm.c2m4096 for two processors and 4096 MiB, or leave it out to keep the source's.")),
    }
}

/// `UdmRegionId`, then the endpoint's, then the point's own.
async fn region(call: Call<'_>, asked: &CreateRestoreJob) -> Result<RegionId, Refusal> {
    match (&asked.region, call.scope) {
        (Some(region), _) => {
            call.services.regions.check(region)?;
            Ok(region.clone())
        }
        (None, Scope::Named(region)) => Ok(region.clone()),
        (None, Scope::Default(region)) => match call.services.backup.point(asked.point).await {
            Ok(point) => Ok(point.region),
            Err(_) => Ok(region.clone()),
        },
    }
}

/// The point of one disk, where a client names the instance's point and the disk.
async fn disk_point(call: Call<'_>, point: PointId, disk: DiskId) -> Result<PointId, Refusal> {
    let whole = match call.services.backup.point(point).await {
        Ok(whole) => whole,
        // It may be a disk's point already: the service knows.
        Err(refusal) if refusal.code == Code::PointNotFound => return Ok(point),
        Err(refusal) => return Err(refusal),
    };
    let found = whole.disks.iter().find(|known| known.disk == disk);
    found.map(|known| known.id).ok_or_else(|| {
        Refusal::new(Code::DiskNotFound, format!("point {point} has no disk {disk}"))
            .remedy("List the point's disks.")
    })
}

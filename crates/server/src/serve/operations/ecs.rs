//! The block service's operations: regions, instances, disks, snapshots, groups.

use std::collections::BTreeMap;

use model::{GroupId, Instance, Refusal, Snapshot};
use serde_json::Value;
use wire::ecs::{
    DescribeDisks, DescribeInstances, DescribeSnapshotGroups, DescribeSnapshots, DiskView, Disks, GroupView,
    Groups, InstanceView, Instances, RegionView, Regions, SnapshotView, Snapshots, StartInstance,
    StopInstance, dry_run_passed,
};

use super::super::dispatch::Call;
use super::{nothing, payload};

pub(crate) fn regions(call: Call<'_>) -> Result<Value, Refusal> {
    let all = call.services.regions.all().iter();
    let view = |region: &super::super::services::NamedRegion| {
        let host = call.host.split('/').next().unwrap_or_default();
        RegionView::new(region.id.clone(), region.local_name.clone(), format!("{host}/{}", region.id))
    };
    payload(&Regions::new(all.map(view).collect()))
}

pub(crate) async fn instances(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribeInstances::parse(call.params)?;
    let found = list(call, asked.instances.one().is_some()).await?;
    let views = found.iter().filter(|instance| asked.matches(instance)).map(InstanceView::from).collect();
    rehearse(asked.dry_run)?;
    let page = asked.page.of(views, |view: &InstanceView| view.instance_id.to_string());
    payload(&Instances::new(&asked, page))
}

pub(crate) async fn disks(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribeDisks::parse(call.params)?;
    let by_id = asked.disks.one().is_some() || asked.instance.one().is_some();
    let mut views = Vec::new();
    for instance in list(call, by_id).await? {
        let wanted = instance.disks.iter().filter(|disk| asked.matches(&instance, disk));
        views.extend(wanted.map(|disk| DiskView::from(disk, &instance)));
    }
    rehearse(asked.dry_run)?;
    let page = asked.page.of(views, |view| view.disk_id.to_string());
    payload(&Disks::new(&asked, page))
}

pub(crate) async fn snapshots(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribeSnapshots::parse(call.params)?;
    let by_id =
        asked.snapshots.one().is_some() || asked.disk.one().is_some() || asked.instance.one().is_some();
    let found = list_snapshots(call, by_id).await?;
    let views = found.iter().filter(|snapshot| asked.matches(snapshot)).map(SnapshotView::from).collect();
    rehearse(asked.dry_run)?;
    let page = asked.page.of(views, |view: &SnapshotView| view.snapshot_id.to_string());
    payload(&Snapshots::new(&asked, page))
}

pub(crate) async fn groups(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribeSnapshotGroups::parse(call.params)?;
    let by_id = asked.groups.one().is_some() || asked.instance.one().is_some();
    let mut members: BTreeMap<GroupId, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in list_snapshots(call, by_id).await? {
        members.entry(snapshot.group).or_default().push(snapshot);
    }
    let mut views = Vec::new();
    for region in call.services.regions.to_search(call.scope, by_id) {
        for group in call.services.blocks.groups(&region).await? {
            if asked.matches(&group) {
                views.push(GroupView::from(&group, members.get(&group.id).map_or(&[][..], Vec::as_slice)));
            }
        }
    }
    payload(&Groups::new(asked.page.of(views, |view| view.snapshot_group_id.to_string())))
}

pub(crate) async fn start(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = StartInstance::parse(call.params)?;
    if asked.dry_run {
        call.services.blocks.instance(asked.instance).await?;
        return Err(dry_run_passed());
    }
    call.services.blocks.start_instance(asked.instance).await?;
    Ok(nothing())
}

pub(crate) async fn stop(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = StopInstance::parse(call.params)?;
    if asked.dry_run {
        call.services.blocks.instance(asked.instance).await?;
        return Err(dry_run_passed());
    }
    call.services.blocks.stop_instance(asked.instance, asked.force).await?;
    Ok(nothing())
}

fn rehearse(dry_run: bool) -> Result<(), Refusal> {
    if dry_run { Err(dry_run_passed()) } else { Ok(()) }
}

async fn list(call: Call<'_>, by_id: bool) -> Result<Vec<Instance>, Refusal> {
    let mut all = Vec::new();
    for region in call.services.regions.to_search(call.scope, by_id) {
        all.extend(call.services.blocks.instances(&region).await?);
    }
    Ok(all)
}

async fn list_snapshots(call: Call<'_>, by_id: bool) -> Result<Vec<Snapshot>, Refusal> {
    let mut all = Vec::new();
    for region in call.services.regions.to_search(call.scope, by_id) {
        all.extend(call.services.blocks.snapshots(&region).await?);
    }
    Ok(all)
}

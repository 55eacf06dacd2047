//! Points: listed by instance or by disk, and deleted. And the regions they are in.

use model::Refusal;
use serde_json::Value;
use wire::hbr::{DeleteSnapshot, DescribeUdmSnapshots, PointView, Points, RegionView, Regions, SourceType};

use super::super::dispatch::Call;
use super::{nothing, payload};

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DescribeUdmSnapshots::parse(call.params)?;
    call.services.regions.check(&asked.region)?;
    let mut views = Vec::new();
    for (point, snapshots) in call.services.backup.points(&asked.region).await? {
        match asked.source_type {
            SourceType::UdmEcs if asked.matches(&point) => views.push(PointView::from(&point, &snapshots)),
            SourceType::UdmEcs => {}
            SourceType::UdmEcsDisk => {
                let wanted = point.disks.iter().filter(|disk| asked.matches_disk(&point, disk));
                views.extend(wanted.map(|disk| {
                    let snapshot = snapshots.iter().find(|snapshot| snapshot.id == disk.snapshot);
                    PointView::disk(&point, disk, snapshot)
                }));
            }
        }
    }
    payload(&Points::new(views))
}

pub(crate) async fn delete(call: Call<'_>) -> Result<Value, Refusal> {
    let asked = DeleteSnapshot::parse(call.params)?;
    call.services.backup.delete_point(asked.point).await?;
    Ok(nothing())
}

pub(crate) fn regions(call: Call<'_>) -> Result<Value, Refusal> {
    let all = call.services.regions.all().iter();
    let views =
        all.map(|region| RegionView { region_id: region.id.clone(), local_name: region.local_name.clone() });
    payload(&Regions::new(views.collect()))
}

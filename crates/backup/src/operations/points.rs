//! Points: listed, and deleted on request.

use catalog::{Batch, CatalogError, Column, Query};
use model::{Code, JobStatus, Point, PointId, PointStatus, Refusal, RegionId, Restore, Snapshot, TaskId};

use ::policy::deletion::{Action, Permission, Standing, permit};

use super::not_found;
use crate::Backup;
use crate::workflows::DeletePointParams;

impl Backup {
    /// The points of a region that can be seen, newest first, each with its snapshots.
    pub async fn points(&self, region: &RegionId) -> Result<Vec<(Point, Vec<Snapshot>)>, Refusal> {
        let visible = PointStatus::ALL.into_iter().filter(|status| status.is_visible());
        let query = Query::all().eq(Column::Region, region).one_of(Column::Status, visible).newest_first();
        let points: Vec<Point> = self.shared.catalog.list(&query).await?;
        let mut with_snapshots = Vec::with_capacity(points.len());
        for point in points {
            let snapshots = self.shared.blocks.group_snapshots(point.group).await?;
            with_snapshots.push((point, snapshots));
        }
        Ok(with_snapshots)
    }

    /// A point that can be seen, by its own id.
    pub async fn point(&self, id: PointId) -> Result<Point, Refusal> {
        let found = self.shared.catalog.get::<Point>(&id).await?.filter(|point| point.status.is_visible());
        found.ok_or_else(|| not_found(Code::PointNotFound, "backup point", id))
    }

    /// Deletes a point at once; its snapshots follow within minutes (semantics.md §6.7).
    pub async fn delete_point(&self, id: PointId) -> Result<(), Refusal> {
        let point = match self.point(id).await {
            Ok(point) => point,
            Err(refusal) => return Err(self.disk_point_refusal(id).await?.unwrap_or(refusal)),
        };
        let standing = self.standing(&point).await?;
        let now = self.shared.clock.now();
        ::policy::deletion::delete(&point, now, standing.pinned, standing.in_use)?;
        self.begin_deletion(&point).await
    }

    /// Deletes a point whose time is over, unless something keeps it; says whether it does.
    pub(crate) async fn expire(&self, point: &Point) -> Result<bool, Refusal> {
        let standing = self.standing(point).await?;
        let now = self.shared.clock.now();
        let standing = Standing::of(point, now, standing.pinned, standing.in_use);
        let goes = permit(Action::RetentionEnd, standing) == Permission::Remove;
        if goes {
            self.begin_deletion(point).await?;
        }
        Ok(goes)
    }

    /// What holds a point back from going.
    async fn standing(&self, point: &Point) -> Result<Held, Refusal> {
        let keeps_latest = match self.binding_of(point.instance).await? {
            Some(binding) => ::policy::rules::keeps_latest(&self.policy(binding.policy).await?),
            None => false,
        };
        let pinned = keeps_latest && self.is_newest(point).await?;
        Ok(Held { pinned, in_use: self.is_being_restored(point).await? })
    }

    async fn is_newest(&self, point: &Point) -> Result<bool, Refusal> {
        let query = Query::all()
            .eq(Column::Instance, point.instance)
            .eq(Column::Status, PointStatus::Available)
            .newest_first()
            .limit(2);
        let newest: Vec<Point> = self.shared.catalog.list(&query).await?;
        Ok(::policy::expiry::is_newest(point, newest.iter()))
    }

    /// Hides the point and sets its deletion off. Asked again for the same point it does nothing more.
    pub(crate) async fn begin_deletion(&self, point: &Point) -> Result<(), Refusal> {
        let now = self.shared.clock.now();
        // The workflow's ids follow from the point's, so that two requests are one deletion.
        let task: TaskId = point.id.cast();
        let params = DeletePointParams { point: point.id, group: point.group, task };
        let hide = Batch::new().change::<Point>(&point.id, move |point| {
            if point.status.may_become(PointStatus::Deleting) {
                point.status = PointStatus::Deleting;
                point.updated = now;
            }
        });
        match self.admit(format!("delete {}", point.id), "DeletePoint", &params, hide).await {
            Ok(()) | Err(CatalogError::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_being_restored(&self, point: &Point) -> Result<bool, Refusal> {
        let running = JobStatus::ALL.into_iter().filter(|status| !status.is_final());
        let query =
            Query::all().eq(Column::Source, point.instance).one_of(Column::Status, running).limit(1000);
        let restores: Vec<Restore> = self.shared.catalog.list(&query).await?;
        Ok(restores.iter().any(|restore| restore.point == point.id))
    }

    /// A disk's point goes with its instance's point, not by itself (semantics.md §2.15).
    async fn disk_point_refusal(&self, id: PointId) -> Result<Option<Refusal>, Refusal> {
        Ok(self.owner_of_disk_point(id).await?.map(|owner| {
            Refusal::new(
                Code::InvalidParameter,
                format!("point {id} is one disk of the instance point {}", owner.id),
            )
            .remedy("Delete the instance point.")
        }))
    }

    /// The instance point of which this is one disk.
    pub(crate) async fn owner_of_disk_point(&self, id: PointId) -> Result<Option<Point>, Refusal> {
        let Some(snapshot) = self.shared.catalog.get::<Snapshot>(&id.cast()).await? else { return Ok(None) };
        let points: Vec<Point> =
            self.shared.catalog.list(&Query::all().eq(Column::Group, snapshot.group)).await?;
        Ok(points
            .into_iter()
            .find(|point| point.status.is_visible() && point.disks.iter().any(|disk| disk.id == id)))
    }
}

struct Held {
    pinned: bool,
    in_use: bool,
}

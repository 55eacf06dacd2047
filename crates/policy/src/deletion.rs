//! What becomes of a point and its snapshots when somebody, or time, wants them gone (semantics.md §6.7).

use model::{Code, Point, PointStatus, Refusal, Timestamp};

/// Who wants what gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Its retention is over.
    RetentionEnd,
    /// A user deletes the point, alone or with others of a period.
    UserDelete,
    /// Its policy is unbound or deleted, its plan deleted, its instance or a disk released.
    ProtectionEnd,
    /// A user deletes one of its snapshots at the block service.
    SnapshotDelete,
}

impl Action {
    pub const ALL: [Self; 4] =
        [Self::RetentionEnd, Self::UserDelete, Self::ProtectionEnd, Self::SnapshotDelete];
}

/// What a point is, as far as deleting it goes. The first that applies, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Not there for anybody: unfinished, failed, going or gone.
    Absent,
    /// Immutable, and not expired.
    Locked,
    /// A restore reads from it.
    InUse,
    /// The newest, of an instance whose policy keeps that.
    NewestKept,
    Free,
}

impl Standing {
    pub const ALL: [Self; 5] = [Self::Absent, Self::Locked, Self::InUse, Self::NewestKept, Self::Free];

    /// `pinned`: it is the newest restorable one and the policy keeps that. `in_use`: a restore reads
    /// from it.
    pub fn of(point: &Point, now: Timestamp, pinned: bool, in_use: bool) -> Self {
        let expired = point.expires.is_some_and(|expires| expires <= now);
        match point.status {
            PointStatus::Creating | PointStatus::Failed | PointStatus::Deleting | PointStatus::Deleted => {
                Self::Absent
            }
            PointStatus::Available | PointStatus::Unusable if point.immutable && !expired => Self::Locked,
            PointStatus::Available | PointStatus::Unusable if in_use => Self::InUse,
            PointStatus::Available | PointStatus::Unusable if pinned => Self::NewestKept,
            PointStatus::Available | PointStatus::Unusable => Self::Free,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// The point goes at once, its snapshots within ten minutes.
    Remove,
    /// Nothing happens; not an error.
    Keep,
    /// The snapshot goes, and the point can no longer be used.
    Spoil,
    Refuse(Code),
}

/// The matrix.
pub const fn permit(action: Action, standing: Standing) -> Permission {
    use Permission::{Keep, Refuse, Remove, Spoil};
    match (action, standing) {
        (Action::RetentionEnd, Standing::Free) => Remove,
        (
            Action::RetentionEnd,
            // Locked until it expires: this retention ended is not the one it has now.
            Standing::Locked | Standing::InUse | Standing::NewestKept | Standing::Absent,
        ) => Keep,

        (Action::UserDelete, Standing::Free) => Remove,
        (Action::UserDelete, Standing::Absent) => Refuse(Code::PointNotFound),
        (Action::UserDelete, Standing::Locked) => Refuse(Code::PointImmutable),
        (Action::UserDelete, Standing::InUse) => Refuse(Code::JobRunning),
        (Action::UserDelete, Standing::NewestKept) => Refuse(Code::PointPinned),

        (
            Action::ProtectionEnd,
            Standing::Absent | Standing::Locked | Standing::InUse | Standing::NewestKept | Standing::Free,
        ) => Keep,

        (Action::SnapshotDelete, Standing::Free) => Spoil,
        // Of a point that never came to be, or is going, its workflow decides.
        (Action::SnapshotDelete, Standing::Absent) => Keep,
        (Action::SnapshotDelete, Standing::Locked) => Refuse(Code::PointImmutable),
        (Action::SnapshotDelete, Standing::InUse) => Refuse(Code::JobRunning),
        (Action::SnapshotDelete, Standing::NewestKept) => Refuse(Code::PointPinned),
    }
}

/// Whether a user may delete this point.
pub fn delete(point: &Point, now: Timestamp, pinned: bool, in_use: bool) -> Result<(), Refusal> {
    match permit(Action::UserDelete, Standing::of(point, now, pinned, in_use)) {
        Permission::Remove => Ok(()),
        // No cell of the matrix's row says these.
        Permission::Keep | Permission::Spoil => Err(refusal(Code::Internal, point)),
        Permission::Refuse(code) => Err(refusal(code, point)),
    }
}

fn refusal(code: Code, point: &Point) -> Refusal {
    let id = point.id;
    match code {
        Code::PointImmutable => Refusal::new(code, format!("point {id} is immutable until it expires"))
            .remedy("Nobody can delete it before; it goes by itself then."),
        Code::JobRunning => Refusal::new(code, format!("a restore is reading from point {id}"))
            .remedy("Wait until the restore is done, or cancel it."),
        Code::PointPinned => {
            Refusal::new(code, format!("point {id} is the newest of its instance, which its policy keeps"))
                .remedy(
                    "It can be deleted once a newer one completed, or the policy no longer keeps the newest.",
                )
        }
        _ => Refusal::new(code, format!("there is no point {id}")),
    }
}

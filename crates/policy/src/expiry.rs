//! Which points expire now, and why the others stay.

use model::{Point, PointId, PointStatus, Timestamp};

/// A point and what else decides about it.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub point: &'a Point,
    /// The policy on its instance keeps the newest point, whatever its age.
    pub keeps_latest: bool,
    /// A restore reads from it.
    pub in_use: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// At least one reason.
    Keep(Vec<Reason>),
    Expire,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    NotYet { until: Timestamp },
    Forever,
    Immutable { until: Timestamp },
    NewestKept,
    InUse,
}

/// Decides about every point that is there to be seen; the others (unfinished, failed, going or
/// gone) are no business of expiry. Sorted by creation, whatever the order of `points`.
pub fn decide(points: &[Standing<'_>], now: Timestamp) -> Vec<(PointId, Verdict)> {
    let mut visible: Vec<&Standing<'_>> =
        points.iter().filter(|standing| standing.point.status.is_visible()).collect();
    visible.sort_by_key(|standing| (standing.point.created, standing.point.id));
    visible.iter().map(|standing| (standing.point.id, judge(standing, &visible, now))).collect()
}

fn judge(standing: &Standing<'_>, all: &[&Standing<'_>], now: Timestamp) -> Verdict {
    let point = standing.point;
    let mut reasons = Vec::new();
    match point.expires {
        None => reasons.push(Reason::Forever),
        Some(until) if until > now => {
            reasons.push(Reason::NotYet { until });
            if point.immutable {
                reasons.push(Reason::Immutable { until });
            }
        }
        Some(_) => {}
    }
    if standing.keeps_latest && is_newest(point, all.iter().map(|other| other.point)) {
        reasons.push(Reason::NewestKept);
    }
    if standing.in_use {
        reasons.push(Reason::InUse);
    }
    if reasons.is_empty() { Verdict::Expire } else { Verdict::Keep(reasons) }
}

/// Whether a point is the newest of its instance that can be restored. `all` may hold other
/// instances' points, and the point itself.
pub fn is_newest<'a>(point: &Point, mut all: impl Iterator<Item = &'a Point>) -> bool {
    let newer = |other: &Point| {
        other.instance == point.instance
            && other.status == PointStatus::Available
            && (other.created, other.id) > (point.created, point.id)
    };
    point.status == PointStatus::Available && !all.any(newer)
}

//! Between moments and what a wall clock in some time zone shows.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use model::Timestamp;

/// What the wall clock shows; None only beyond the years jiff knows.
pub(crate) fn local(moment: Timestamp, zone: &TimeZone) -> Option<DateTime> {
    Some(zone.to_datetime(jiff::Timestamp::from_microsecond(moment.0).ok()?))
}

pub(crate) fn local_date(moment: Timestamp, zone: &TimeZone) -> Option<Date> {
    local(moment, zone).map(DateTime::date)
}

/// The moments at which the wall clock shows `reading`: one, or two in the hour that is shown twice.
/// A reading that is skipped stands for the moment as long after the skip as it lies in it.
pub(crate) fn moments(reading: DateTime, zone: &TimeZone) -> Vec<Timestamp> {
    let found = zone.to_ambiguous_timestamp(reading);
    let both = match found.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => vec![found.compatible()],
        AmbiguousOffset::Fold { .. } => vec![found.earlier(), found.later()],
    };
    both.into_iter().flatten().map(|moment| Timestamp(moment.as_microsecond())).collect()
}

//! How long a new point is kept. Decided once, when it completes.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use model::{AdvancedRetention, Days, Retention, RetentionClass, Timestamp};

use crate::civil;

/// When a point created then expires; None is never.
pub const fn expiry(created: Timestamp, retention: Retention) -> Option<Timestamp> {
    match retention {
        Retention::Days(days) => Some(created.plus_days(days)),
        Retention::Never => None,
    }
}

/// A calendar period some class keeps the first point of. Weeks begin on Monday and belong to the
/// year that has their Thursday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    Day(Date),
    IsoWeek { year: i16, week: i8 },
    Month { year: i16, month: i8 },
    Year { year: i16 },
}

impl Period {
    /// The period of this class that has this date.
    pub fn of(class: RetentionClass, date: Date) -> Self {
        match class {
            RetentionClass::Daily => Self::Day(date),
            RetentionClass::Weekly => {
                let week = date.iso_week_date();
                Self::IsoWeek { year: week.year(), week: week.week() }
            }
            RetentionClass::Monthly => Self::Month { year: date.year(), month: date.month() },
            RetentionClass::Yearly => Self::Year { year: date.year() },
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(date) => write!(f, "{date}"),
            Self::IsoWeek { year, week } => write!(f, "{year}-W{week:02}"),
            Self::Month { year, month } => write!(f, "{year}-{month:02}"),
            Self::Year { year } => write!(f, "{year}"),
        }
    }
}

/// What a policy says about keeping.
#[derive(Debug, Clone, Copy)]
pub struct Keeping<'a> {
    pub normal: Days,
    pub advanced: &'a [AdvancedRetention],
}

/// How long a point is kept, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub days: Days,
    /// The coarsest class the point is the first of.
    pub class: Option<RetentionClass>,
    /// Every period it is the first of, finest first.
    pub first_of: Vec<Period>,
}

/// How long a scheduled point is kept that was created then. `earlier` are the creations of all
/// scheduled points of the same source that completed before, those deleted since included: a
/// period has one first point. (Manual points take no part: they are kept as they were asked to be.)
pub fn keep(created: Timestamp, earlier: &[Timestamp], keeping: Keeping<'_>, zone: &TimeZone) -> Kept {
    let mut kept = Kept { days: keeping.normal, class: None, first_of: Vec::new() };
    let Some(date) = civil::local_date(created, zone) else { return kept };
    let earlier: Vec<Date> = earlier.iter().filter_map(|moment| civil::local_date(*moment, zone)).collect();
    let mut classes: Vec<&AdvancedRetention> = keeping.advanced.iter().collect();
    classes.sort_by_key(|advanced| advanced.class);
    for advanced in classes {
        let period = Period::of(advanced.class, date);
        if earlier.iter().any(|other| Period::of(advanced.class, *other) == period) {
            continue;
        }
        kept.first_of.push(period);
        kept.class = Some(advanced.class);
        kept.days = kept.days.max(advanced.retention);
    }
    kept
}

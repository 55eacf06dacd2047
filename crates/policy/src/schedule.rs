//! When runs are due: `I|start|interval` and `C|start|cron`, read, printed and evaluated.
//!
//! An interval is an amount of time: a day is 24 hours, across a change of clocks too. A calendar
//! follows the wall clock of its zone. A time skipped in spring runs as long after the skip as it
//! lies in it; a time shown twice in autumn runs once, the first time, unless the schedule names
//! every hour.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use model::{Code, Cron, Refusal, Schedule, Timestamp};

use crate::civil;

/// Nothing may be due more often.
pub const INTERVAL_SECONDS_MIN: u64 = 3600;
/// As long as the longest retention of an instance's point.
const INTERVAL_SECONDS_MAX: u64 = 65_536 * 86_400;
/// The end of the year 9999.
const START_SECONDS_MAX: i64 = 253_402_300_799;
const TEXT_LEN_MAX: usize = 256;
/// 29 February comes at least once in eight years and a bit (1896 to 1904).
const SEARCH_DAYS_MAX: u32 = 366 * 9;

/// Reads a schedule.
pub fn parse(text: &str) -> Result<Schedule, Refusal> {
    if text.len() > TEXT_LEN_MAX {
        return Err(refuse(format!("a schedule of {} characters is too long", text.len())));
    }
    let mut parts = text.split('|');
    let (Some(form), Some(start), Some(rest), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(refuse(format!("the schedule {text:?} does not have three parts")));
    };
    let start = parse_start(start)?;
    match form {
        "I" => parse_interval(start, rest),
        "C" => Ok(Schedule::Calendar { start, cron: parse_cron(rest)? }),
        _ => Err(refuse(format!("the schedule {text:?} begins with neither I nor C"))),
    }
}

/// Writes a schedule as it was read.
pub fn print(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Interval { start, text, .. } => format!("I|{}|{text}", start.seconds()),
        Schedule::Calendar { start, cron } => format!("C|{}|{}", start.seconds(), cron.text),
    }
}

/// The latest occurrence that is not later than `now` and later than `after`: what was handled last,
/// or when the schedule took effect. Of several that were missed only this one is due; the others
/// are not made up.
pub fn due(
    schedule: &Schedule,
    after: Option<Timestamp>,
    now: Timestamp,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let latest = match schedule {
        Schedule::Interval { start, seconds, .. } => {
            let step = step(*seconds);
            let passed = now.0.checked_sub(start.0).filter(|passed| *passed >= 0)?;
            Some(Timestamp(start.0 + passed / step * step))
        }
        Schedule::Calendar { start, cron } => {
            let floor = after.map_or(*start, |after| after.max(*start));
            latest_match(cron, floor, now, zone).filter(|found| found >= start)
        }
    };
    latest.filter(|latest| after.is_none_or(|after| *latest > after))
}

/// The first occurrence later than `now`.
pub fn next(schedule: &Schedule, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    match schedule {
        Schedule::Interval { start, seconds, .. } => {
            let step = step(*seconds);
            match now.0.checked_sub(start.0) {
                Some(passed) if passed >= 0 => {
                    (passed / step + 1).checked_mul(step)?.checked_add(start.0).map(Timestamp)
                }
                _ => Some(*start),
            }
        }
        // The start itself may match.
        Schedule::Calendar { start, cron } => {
            first_match(cron, now.max(Timestamp(start.0.saturating_sub(1))), zone)
        }
    }
}

/// Microseconds between two occurrences, never zero whatever a stored schedule says.
fn step(seconds: u64) -> i64 {
    i64::try_from(seconds.clamp(1, INTERVAL_SECONDS_MAX)).unwrap_or(i64::MAX / 1_000_000) * 1_000_000
}

fn latest_match(cron: &Cron, floor: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let floor = civil::local_date(floor, zone)?.yesterday().ok()?;
    let mut date = civil::local_date(now, zone)?;
    for _ in 0..SEARCH_DAYS_MAX {
        if date < floor {
            return None;
        }
        let found = matches_on(cron, date, zone).into_iter().filter(|moment| *moment <= now).max();
        let before = date.yesterday().ok()?;
        if found.is_some() {
            // Where midnight is skipped, a late time of the day before may fall on this one.
            let late = matches_on(cron, before, zone).into_iter().filter(|moment| *moment <= now).max();
            return found.max(late);
        }
        date = before;
    }
    None
}

fn first_match(cron: &Cron, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let mut date = civil::local_date(now, zone)?.yesterday().ok()?;
    for _ in 0..SEARCH_DAYS_MAX {
        let found = matches_on(cron, date, zone).into_iter().filter(|moment| *moment > now).min();
        let after = date.tomorrow().ok()?;
        if found.is_some() {
            let early = matches_on(cron, after, zone).into_iter().filter(|moment| *moment > now).min();
            return found.into_iter().chain(early).min();
        }
        date = after;
    }
    None
}

/// The moments of one day of the calendar.
fn matches_on(cron: &Cron, date: Date, zone: &TimeZone) -> Vec<Timestamp> {
    let has = |allowed: &[u8], value: i8| allowed.iter().any(|one| i16::from(*one) == i16::from(value));
    let day = cron.days.is_empty() || has(&cron.days, date.day());
    let weekday = cron.weekdays.is_empty() || has(&cron.weekdays, date.weekday().to_sunday_one_offset());
    if !day || !weekday || !has(&cron.months, date.month()) {
        return Vec::new();
    }
    // An hourly schedule leaves no hour out; others do not run twice a night.
    let twice = cron.hours.len() == 24;
    let mut moments = Vec::new();
    for (hour, minute, second) in times(cron) {
        let found = civil::moments(date.at(hour, minute, second, 0), zone);
        moments.extend(found.into_iter().take(if twice { 2 } else { 1 }));
    }
    moments
}

fn times(cron: &Cron) -> impl Iterator<Item = (i8, i8, i8)> + '_ {
    // Stored schedules were checked when they were read; what does not fit a clock never matches.
    let clock = |value: u8, end: i8| i8::try_from(value).ok().filter(|value| *value < end);
    cron.hours.iter().filter_map(move |hour| clock(*hour, 24)).flat_map(move |hour| {
        cron.minutes.iter().filter_map(move |minute| clock(*minute, 60)).flat_map(move |minute| {
            cron.seconds.iter().filter_map(move |second| Some((hour, minute, clock(*second, 60)?)))
        })
    })
}

fn refuse(message: String) -> Refusal {
    Refusal::new(Code::InvalidParameter, message).remedy(
        "Write I|<start, in seconds since 1970>|<interval such as PT1H, P1D or P1W> or \
         C|<start>|<second minute hour day month weekday>, of which weekday 1 is Sunday.",
    )
}

fn parse_start(text: &str) -> Result<Timestamp, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<i64>() {
        Ok(seconds) if digits && seconds <= START_SECONDS_MAX => Ok(Timestamp::from_seconds(seconds)),
        _ => Err(refuse(format!("the schedule's start {text:?} is not a number of seconds since 1970"))),
    }
}

fn parse_interval(start: Timestamp, text: &str) -> Result<Schedule, Refusal> {
    let seconds = duration_seconds(text).ok_or_else(|| {
        refuse(format!("{text:?} is not an interval of weeks, days, hours, minutes or seconds"))
    })?;
    if seconds < INTERVAL_SECONDS_MIN {
        return Err(refuse(format!("the interval {text} is shorter than one hour (PT1H)")));
    }
    if seconds > INTERVAL_SECONDS_MAX {
        return Err(refuse(format!("the interval {text} is longer than 65,536 days")));
    }
    Ok(Schedule::Interval { start, text: text.to_owned(), seconds })
}

/// Seconds of an ISO 8601 duration without years and months, whose length depends on the calendar.
fn duration_seconds(text: &str) -> Option<u64> {
    const DATE: &[(char, u64)] = &[('W', 7 * 86_400), ('D', 86_400)];
    const TIME: &[(char, u64)] = &[('H', 3600), ('M', 60), ('S', 1)];
    let text = text.strip_prefix('P')?;
    let (date, time) = match text.split_once('T') {
        // "P1DT" says there is a time and has none.
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    sum_units(date, DATE)?.checked_add(sum_units(time, TIME)?)
}

/// Units come largest first, each at most once.
fn sum_units(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0_u64;
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|letter: char| !letter.is_ascii_digit())?;
        let letter = text[end..].chars().next()?;
        let (_, seconds) = units.find(|(unit, _)| *unit == letter)?;
        sum = sum.checked_add(text[..end].parse::<u64>().ok()?.checked_mul(*seconds)?)?;
        text = &text[end + letter.len_utf8()..];
    }
    Some(sum)
}

fn parse_cron(text: &str) -> Result<Cron, Refusal> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [seconds, minutes, hours, days, months, weekdays] = fields[..] else {
        return Err(refuse(format!("the calendar {text:?} has {} fields, not six", fields.len())));
    };
    let cron = Cron {
        text: text.to_owned(),
        seconds: parse_field("second", seconds, 0, 59)?,
        minutes: parse_field("minute", minutes, 0, 59)?,
        hours: parse_field("hour", hours, 0, 23)?,
        days: parse_day_field("day of the month", days, 31)?,
        months: parse_field("month", months, 1, 12)?,
        weekdays: parse_day_field("day of the week", weekdays, 7)?,
    };
    if cron.seconds.len() != 1 || cron.minutes.len() != 1 {
        return Err(refuse(format!("the calendar {text:?} runs more often than once an hour")));
    }
    if !cron.days.is_empty() && !cron.weekdays.is_empty() {
        return Err(refuse(format!(
            "the calendar {text:?} names days of the month and of the week; one must be ?"
        )));
    }
    // February has a 29th, some years.
    const DAYS_IN_MONTH: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let exists =
        |month: u8, day: u8| DAYS_IN_MONTH.get(usize::from(month) - 1).is_some_and(|last| day <= *last);
    let some_day = |month: &u8| cron.days.iter().any(|day| exists(*month, *day));
    if !cron.days.is_empty() && !cron.months.iter().any(some_day) {
        return Err(refuse(format!("the calendar {text:?} names a day that no month has")));
    }
    Ok(cron)
}

/// `*` and `?` both mean every day, which is kept as an empty list.
fn parse_day_field(name: &str, text: &str, last: u8) -> Result<Vec<u8>, Refusal> {
    if text == "?" || text == "*" { Ok(Vec::new()) } else { parse_field(name, text, 1, last) }
}

/// A list of values, ranges and steps: `*`, `5`, `1-5`, `*/2`, `3/2`, `1-9/4`. Sorted, without repeats.
fn parse_field(name: &str, text: &str, first: u8, last: u8) -> Result<Vec<u8>, Refusal> {
    let bad = || {
        refuse(format!("{text:?} is no {name} (a number from {first} to {last}, a list, a range or a step)"))
    };
    let mut values = Vec::new();
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(parse_number(step, 1, last.max(1)).ok_or_else(bad)?)),
            None => (part, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (first, last),
            (_, Some((from, to))) => (
                parse_number(from, first, last).ok_or_else(bad)?,
                parse_number(to, first, last).ok_or_else(bad)?,
            ),
            (_, None) => {
                let from = parse_number(range, first, last).ok_or_else(bad)?;
                // "3/2": from 3 in steps of 2.
                (from, if step.is_some() { last } else { from })
            }
        };
        if from > to {
            return Err(bad());
        }
        values.extend((from..=to).step_by(usize::from(step.unwrap_or(1))));
    }
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

fn parse_number(text: &str, first: u8, last: u8) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| digits && (first..=last).contains(value))
}

//! Schedules: what is read, what is refused, and what is due across both changes of clocks.
#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;

use common::{golden, moment, shown, utc, zone};
use model::{Code, Schedule, Timestamp};
use policy::schedule::{due, next, parse, print};
use proptest::prelude::*;

#[test]
fn what_is_read_reads_back() {
    for text in [
        "I|1631685600|P1D",
        "I|1631685600|PT1H",
        "I|1631685600|PT2H",
        "I|0|P1W",
        "I|1631685600|P1DT12H",
        "I|1631685600|PT60M",
        "I|1631685600|PT3600S",
        "C|1631685600|0 0 2 ? * 3,5,7",
        "C|1631685600|0 0 2 * * ?",
        "C|1631685600|0 30 * * * *",
        "C|1631685600|0 0 */6 1,15 * ?",
        "C|1631685600|0 0 2-8/3 ? 1-6/5 *",
        "C|1631685600|0 0 2 29 2 ?",
    ] {
        let schedule = parse(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        assert_eq!(print(&schedule), text);
    }
}

#[test]
fn fields_mean_what_they_say() {
    let Schedule::Calendar { cron, .. } = parse("C|0|0 0 2-8/3,23,*/12 ? 1-6/5,3 3,5,7").unwrap() else {
        panic!("a calendar");
    };
    assert_eq!(cron.hours, [0, 2, 5, 8, 12, 23]);
    assert_eq!(cron.days, []);
    assert_eq!(cron.months, [1, 3, 6]);
    assert_eq!(cron.weekdays, [3, 5, 7]);
    let Schedule::Interval { seconds, start, .. } = parse("I|1631685600|P1W2DT3H4M5S").unwrap() else {
        panic!("an interval");
    };
    assert_eq!(seconds, 9 * 86_400 + 3 * 3600 + 4 * 60 + 5);
    assert_eq!(start, Timestamp::from_seconds(1_631_685_600));
}

/// Each with what the refusal has to name.
#[test]
fn garbage_is_refused_with_what_is_allowed() {
    let cases = [
        ("", "three parts"),
        ("P1D", "three parts"),
        ("I|1|P1D|x", "three parts"),
        ("X|1|P1D", "neither I nor C"),
        ("i|1|P1D", "neither I nor C"),
        ("I||P1D", "start"),
        ("I|-1|P1D", "start"),
        ("I|+1|P1D", "start"),
        ("I|1.5|P1D", "start"),
        ("I|99999999999999999999|P1D", "start"),
        ("I|253402300800|P1D", "start"),
        ("I|1|", "not an interval"),
        ("I|1|P", "not an interval"),
        ("I|1|PT", "not an interval"),
        ("I|1|P1DT", "not an interval"),
        ("I|1|1D", "not an interval"),
        ("I|1|P1M", "not an interval"),
        ("I|1|P1Y", "not an interval"),
        ("I|1|P1D1D", "not an interval"),
        ("I|1|PT1M1H", "not an interval"),
        ("I|1|P-1D", "not an interval"),
        ("I|1|P1.5D", "not an interval"),
        ("I|1|P１D", "not an interval"),
        ("I|1|P99999999999999999999D", "not an interval"),
        ("I|1|P9999999999999999W", "not an interval"),
        ("I|1|PT59M", "shorter than one hour"),
        ("I|1|PT3599S", "shorter than one hour"),
        ("I|1|P0D", "shorter than one hour"),
        ("I|1|P65537D", "longer than"),
        ("C|1|", "0 fields"),
        ("C|1|0 0 2 ? *", "5 fields"),
        ("C|1|0 0 2 ? * * 2026", "7 fields"),
        ("C|1|0 0 24 ? * *", "no hour"),
        ("C|1|0 60 2 ? * *", "no minute"),
        ("C|1|60 0 2 ? * *", "no second"),
        ("C|1|0 0 2 0 * ?", "no day of the month"),
        ("C|1|0 0 2 32 * ?", "no day of the month"),
        ("C|1|0 0 2 ? 13 *", "no month"),
        ("C|1|0 0 2 ? 0 *", "no month"),
        ("C|1|0 0 2 ? * 0", "no day of the week"),
        ("C|1|0 0 2 ? * 8", "no day of the week"),
        ("C|1|0 0 2 ? * MON", "no day of the week"),
        ("C|1|0 0 ? ? * *", "no hour"),
        ("C|1|0 0 5-2 ? * *", "no hour"),
        ("C|1|0 0 */0 ? * *", "no hour"),
        ("C|1|0 0 1, ? * *", "no hour"),
        ("C|1|0 0 1- ? * *", "no hour"),
        ("C|1|0 0,30 * ? * *", "more often than once an hour"),
        ("C|1|* 0 * ? * *", "more often than once an hour"),
        ("C|1|0 0 2 1 * 2", "one must be ?"),
        ("C|1|0 0 2 30 2 ?", "no month has"),
        ("C|1|0 0 2 31 4,6 ?", "no month has"),
    ];
    for (text, named) in cases {
        let refusal = parse(text).expect_err(text);
        assert_eq!(refusal.code, Code::InvalidParameter, "{text}");
        assert!(refusal.message.contains(named), "{text}: {}", refusal.message);
        assert!(refusal.remedy.contains("I|") && refusal.remedy.contains("C|"), "{text}: {}", refusal.remedy);
    }
    assert!(parse(&format!("I|1|P{}D", "0".repeat(1000))).unwrap_err().message.contains("too long"));
}

/// Daily schedules over three days with the change in the middle, hourly ones over its night.
#[test]
fn both_changes_of_clocks() {
    let mut text = String::new();
    let nights = [
        ("Europe/Berlin", "the clock skips 02:00 to 03:00", "2026-03-28T22:00:00[Europe/Berlin]"),
        ("Europe/Berlin", "the clock shows 02:00 to 03:00 twice", "2026-10-24T22:00:00[Europe/Berlin]"),
        ("America/Santiago", "the clock skips midnight to 01:00", "2026-09-05T20:00:00[America/Santiago]"),
        (
            "America/Santiago",
            "the clock shows 23:00 to midnight twice",
            "2026-04-04T20:00:00[America/Santiago]",
        ),
        ("Asia/Tokyo", "no change of clocks", "2026-03-28T22:00:00[Asia/Tokyo]"),
    ];
    let daily = ["I|1767225600|P1D", "C|0|0 30 2 * * ?", "C|0|0 30 23 * * ?", "C|0|0 0 0 * * ?"];
    let hourly = ["I|1767225600|PT1H", "C|0|0 30 * * * ?", "C|0|0 0 */3 ? * *", "C|0|0 30 0-4,22,23 ? * *"];
    for (name, what, evening) in nights {
        let zone = zone(name);
        let evening = moment(evening);
        writeln!(text, "{name}: {what}").unwrap();
        let days = daily.map(|schedule| (schedule, evening.plus_seconds(-86_400), 72));
        let hours = hourly.map(|schedule| (schedule, evening, 8));
        for (schedule, from, hours) in days.into_iter().chain(hours) {
            writeln!(text, "  {schedule}").unwrap();
            let schedule = parse(schedule).unwrap();
            let mut at = from;
            while let Some(found) =
                next(&schedule, at, &zone).filter(|at| *at <= from.plus_seconds(hours * 3600))
            {
                writeln!(text, "    {}", shown(found, &zone)).unwrap();
                at = found;
            }
        }
    }
    golden("clock_changes", &text);
}

#[test]
fn calendars() {
    let mut text = String::new();
    let zone = zone("Asia/Tokyo");
    for schedule in [
        "C|0|0 0 2 ? * 3,5,7",
        "C|0|0 0 2 ? * 1",
        "C|0|0 15 4 1 * ?",
        "C|0|0 15 4 31 * ?",
        "C|0|0 0 0 29 2 ?",
        "C|0|0 0 12 1 1,7 ?",
        "C|1767243600|0 0 14 * * ?",
    ] {
        writeln!(text, "{schedule}").unwrap();
        let schedule = parse(schedule).unwrap();
        let mut at = utc("2025-12-20T00:00:00Z");
        for _ in 0..5 {
            at = next(&schedule, at, &zone).unwrap();
            writeln!(text, "  {}", shown(at, &zone)).unwrap();
        }
    }
    golden("calendars", &text);
}

#[test]
fn missed_runs_are_one_run() {
    let zone = zone("UTC");
    let hourly = parse("I|1767225600|PT1H").unwrap();
    let start = utc("2026-01-01T00:00:00Z");
    let now = start.plus_seconds(5 * 3600 + 1800);
    // Five were missed; the last of them is due, once.
    assert_eq!(due(&hourly, Some(start), now, &zone), Some(start.plus_seconds(5 * 3600)));
    assert_eq!(due(&hourly, Some(start.plus_seconds(5 * 3600)), now, &zone), None);
    // In force only since after it: nothing is due before the next.
    assert_eq!(due(&hourly, Some(start.plus_seconds(5 * 3600 + 60)), now, &zone), None);
    assert_eq!(next(&hourly, now, &zone), Some(start.plus_seconds(6 * 3600)));
    // The start is an occurrence; before it there is none.
    assert_eq!(due(&hourly, None, start, &zone), Some(start));
    assert_eq!(due(&hourly, None, Timestamp(start.0 - 1), &zone), None);
    assert_eq!(next(&hourly, Timestamp(start.0 - 1), &zone), Some(start));
    assert_eq!(next(&hourly, start, &zone), Some(start.plus_seconds(3600)));
}

#[test]
fn a_calendar_begins_at_its_start() {
    let zone = zone("UTC");
    let start = utc("2026-01-01T02:00:00Z");
    let daily = parse(&format!("C|{}|0 0 2 * * ?", start.seconds())).unwrap();
    assert_eq!(due(&daily, None, Timestamp(start.0 - 1), &zone), None);
    assert_eq!(due(&daily, None, start, &zone), Some(start));
    assert_eq!(next(&daily, Timestamp(0), &zone), Some(start));
    assert_eq!(next(&daily, start, &zone), Some(start.plus_seconds(86_400)));
    let later = parse(&format!("C|{}|0 0 2 * * ?", start.seconds() + 1)).unwrap();
    assert_eq!(due(&later, None, start.plus_seconds(3600), &zone), None);
    assert_eq!(next(&later, Timestamp(0), &zone), Some(start.plus_seconds(86_400)));
}

#[test]
fn the_ends_of_time_are_no_accident() {
    let zone = zone("Europe/Berlin");
    for text in ["I|0|PT1H", "I|253402300799|P65536D", "C|0|0 0 2 29 2 ?", "C|253402300799|0 0 2 * * ?"] {
        let schedule = parse(text).unwrap();
        for now in [i64::MIN, -1, 0, 1, 253_402_300_799_000_000, i64::MAX] {
            let _ = due(&schedule, None, Timestamp(now), &zone);
            let _ = due(&schedule, Some(Timestamp(i64::MIN)), Timestamp(now), &zone);
            let _ = next(&schedule, Timestamp(now), &zone);
        }
    }
}

fn schedules() -> impl Strategy<Value = String> {
    let interval = (1_u32..200, prop_oneof![Just("H"), Just("D"), Just("W")]).prop_map(|(count, unit)| {
        if unit == "H" { format!("I|1700000000|PT{count}H") } else { format!("I|1700000000|P{count}{unit}") }
    });
    let hours = prop_oneof![
        Just("*".to_owned()),
        (0..24).prop_map(|hour: i32| hour.to_string()),
        Just("*/5".to_owned())
    ];
    let days = prop_oneof![
        Just("? * *".to_owned()),
        (1..8).prop_map(|weekday| format!("? * {weekday}")),
        (1..32).prop_map(|day| format!("{day} * ?")),
    ];
    let calendar = (0..60, hours, days)
        .prop_map(|(minute, hour, days)| format!("C|1700000000|0 {minute} {hour} {days}"));
    prop_oneof![interval, calendar]
}

fn zones() -> impl Strategy<Value = jiff::tz::TimeZone> {
    // Skips at midnight, at one and at two; half an hour only (Lord Howe); none.
    prop::sample::select(vec![
        "Europe/Berlin",
        "America/Santiago",
        "Europe/London",
        "Australia/Lord_Howe",
        "Asia/Tokyo",
    ])
    .prop_map(common::zone)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// `next` goes forward, `due` finds what `next` named, and nothing lies between the two.
    #[test]
    fn due_and_next_are_one_sequence(
        text in schedules(), zone in zones(), seconds in 1_700_000_000_i64..1_900_000_000,
    ) {
        let schedule = parse(&text).unwrap();
        let now = Timestamp::from_seconds(seconds);
        let coming = next(&schedule, now, &zone).unwrap();
        prop_assert!(coming > now);
        prop_assert_eq!(due(&schedule, None, coming, &zone), Some(coming));
        prop_assert_eq!(due(&schedule, Some(now), Timestamp(coming.0 - 1), &zone), None);
        if let Some(last) = due(&schedule, None, now, &zone) {
            prop_assert!(last <= now);
            prop_assert_eq!(next(&schedule, last, &zone), Some(coming));
        }
    }

    /// No change of clocks brings two runs together; Lord Howe's, of half an hour, brings them closest.
    #[test]
    fn runs_keep_their_distance(
        text in schedules(), zone in zones(), seconds in 1_700_000_000_i64..1_900_000_000,
    ) {
        let schedule = parse(&text).unwrap();
        let first = next(&schedule, Timestamp::from_seconds(seconds), &zone).unwrap();
        let second = next(&schedule, first, &zone).unwrap();
        prop_assert!(second.seconds() - first.seconds() >= 1800, "{} {}", shown(first, &zone), shown(second, &zone));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        if let Ok(schedule) = parse(&text) {
            prop_assert_eq!(print(&schedule), text);
        }
    }

    #[test]
    fn nearly_right_text_does_not_panic(text in "[IC]\\|[0-9]{1,12}\\|[PTWDHMS0-9*?,/ -]{0,30}") {
        if let Ok(schedule) = parse(&text) {
            let zone = common::zone("Europe/Berlin");
            let _ = next(&schedule, Timestamp(0), &zone);
            let _ = due(&schedule, None, Timestamp(1_800_000_000_000_000), &zone);
        }
    }
}

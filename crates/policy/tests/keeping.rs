//! How long points are kept, when they expire, what may be deleted: dates a customer could check.
#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;

use common::{golden, moment, point, shown, utc, zone};
use model::{
    AdvancedRetention, Code, Days, InstanceId, Point, PointId, PointStatus, Retention, RetentionClass,
    Timestamp,
};
use policy::deletion::{self, Action, Permission, Standing as Stand};
use policy::expiry::{Reason, Standing, Verdict, decide};
use policy::retention::{Keeping, expiry, keep};
use proptest::prelude::*;

const ALL: [AdvancedRetention; 4] = [
    AdvancedRetention { class: RetentionClass::Yearly, retention: Days(3650) },
    AdvancedRetention { class: RetentionClass::Daily, retention: Days(14) },
    AdvancedRetention { class: RetentionClass::Monthly, retention: Days(365) },
    AdvancedRetention { class: RetentionClass::Weekly, retention: Days(60) },
];

#[test]
fn a_point_expires_its_retention_after_it_was_created() {
    let created = utc("2026-03-28T12:00:00Z");
    assert_eq!(expiry(created, Retention::Days(Days(1))), Some(utc("2026-03-29T12:00:00Z")));
    // 65,536 days of 24 hours.
    assert_eq!(expiry(created, Retention::Days(Days(65_536))), Some(utc("2205-09-02T12:00:00Z")));
    assert_eq!(expiry(created, Retention::Never), None);
}

/// Two runs a day over a New Year, one of them failed now and then.
#[test]
fn first_of_each_period_over_a_new_year() {
    let zone = zone("Asia/Tokyo");
    let mut text = String::from("kept 7 days; firsts: of a day 14, a week 60, a month 365, a year 3650\n");
    let mut earlier: Vec<Timestamp> = Vec::new();
    let mut created = moment("2026-12-24T03:00:00[Asia/Tokyo]");
    for run in 0..38 {
        let shown = shown(created, &zone);
        // The first runs of the week of 28 December and of the year fail: the next one is the first.
        if matches!(run, 8 | 16) {
            writeln!(text, "{shown}  failed").unwrap();
        } else {
            let kept = keep(created, &earlier, Keeping { normal: Days(7), advanced: &ALL }, &zone);
            let first_of: Vec<String> = kept.first_of.iter().map(ToString::to_string).collect();
            let class = kept.class.map_or("-".to_owned(), |class| format!("{class:?}"));
            let line = format!("{shown}  {:>4} days  {class:<8} {}", kept.days.0, first_of.join(" "));
            writeln!(text, "{}", line.trim_end()).unwrap();
            earlier.push(created);
        }
        created = created.plus_seconds(12 * 3600);
    }
    golden("first_of_each_period", &text);
}

#[test]
fn the_longest_retention_wins_and_the_coarsest_class_is_shown() {
    let zone = zone("UTC");
    let odd = [
        AdvancedRetention { class: RetentionClass::Weekly, retention: Days(500) },
        AdvancedRetention { class: RetentionClass::Yearly, retention: Days(100) },
    ];
    let first = utc("2026-01-05T00:00:00Z");
    let kept = keep(first, &[], Keeping { normal: Days(7), advanced: &odd }, &zone);
    assert_eq!((kept.days, kept.class), (Days(500), Some(RetentionClass::Yearly)));
    let second = keep(first.plus_days(Days(1)), &[first], Keeping { normal: Days(7), advanced: &odd }, &zone);
    assert_eq!((second.days, second.class), (Days(7), None));
    let next_week =
        keep(first.plus_days(Days(7)), &[first], Keeping { normal: Days(7), advanced: &odd }, &zone);
    assert_eq!((next_week.days, next_week.class), (Days(500), Some(RetentionClass::Weekly)));
}

fn standing(point: &Point) -> Standing<'_> {
    Standing { point, keeps_latest: false, in_use: false }
}

fn reason(reason: Reason, zone: &jiff::tz::TimeZone) -> String {
    match reason {
        Reason::NotYet { until } => format!("not yet, until {}", shown(until, zone)),
        Reason::Forever => "kept for ever".to_owned(),
        Reason::Immutable { until } => format!("immutable until {}", shown(until, zone)),
        Reason::NewestKept => "the newest is kept".to_owned(),
        Reason::InUse => "a restore reads it".to_owned(),
    }
}

#[test]
fn what_expires_and_why_the_rest_stays() {
    let zone = zone("Asia/Tokyo");
    let start = moment("2026-11-01T03:00:00[Asia/Tokyo]");
    let day = |days: u32| start.plus_days(Days(days));
    let mut points: Vec<(&str, Point, bool, bool)> = vec![
        ("over", point(1, day(0), 7), true, false),
        ("over to the second", point(2, day(1), 9), true, false),
        ("a second to go", point(3, Timestamp(day(1).0 + 1_000_000), 9), true, false),
        ("over, a restore reads it", point(4, day(2), 1), true, true),
        ("over, immutable", Point { immutable: true, ..point(5, day(2), 3) }, true, false),
        ("immutable", Point { immutable: true, ..point(6, day(3), 30) }, true, false),
        (
            "kept for ever",
            Point { expires: None, retention: Retention::Never, ..point(7, day(3), 1) },
            true,
            false,
        ),
        ("over, unusable", Point { status: PointStatus::Unusable, ..point(8, day(4), 2) }, true, false),
        ("over, the newest usable", point(9, day(4), 3), true, false),
        (
            "over, newer, unusable",
            Point { status: PointStatus::Unusable, ..point(10, day(5), 1) },
            true,
            false,
        ),
        (
            "being made",
            Point { status: PointStatus::Creating, expires: None, ..point(11, day(9), 1) },
            true,
            false,
        ),
        ("failed", Point { status: PointStatus::Failed, ..point(12, day(6), 1) }, true, false),
        ("going", Point { status: PointStatus::Deleting, ..point(13, day(6), 1) }, true, false),
    ];
    let other = InstanceId::from_bits(2);
    points.push(("another instance, over", Point { instance: other, ..point(14, day(7), 1) }, false, false));
    let now = day(10);
    let standings: Vec<Standing<'_>> = points
        .iter()
        .map(|(_, point, keeps_latest, in_use)| Standing {
            point,
            keeps_latest: *keeps_latest,
            in_use: *in_use,
        })
        .collect();
    let decided = decide(&standings, now);
    let mut text = format!("now: {}\n", shown(now, &zone));
    for (name, point, ..) in &points {
        let verdict = match decided.iter().find(|(id, _)| *id == point.id) {
            None => "-".to_owned(),
            Some((_, Verdict::Expire)) => "expire".to_owned(),
            Some((_, Verdict::Keep(reasons))) => {
                let reasons: Vec<_> = reasons.iter().map(|one| reason(*one, &zone)).collect();
                format!("keep: {}", reasons.join("; "))
            }
        };
        writeln!(text, "{}  {name:<26} {verdict}", shown(point.created, &zone)).unwrap();
    }
    golden("expiry", &text);
}

#[test]
fn the_deletion_matrix() {
    let mut text = format!("{:<14}", "");
    for standing in Stand::ALL {
        write!(text, " {:<28}", format!("{standing:?}")).unwrap();
    }
    for action in Action::ALL {
        write!(text, "\n{:<14}", format!("{action:?}")).unwrap();
        for standing in Stand::ALL {
            let cell = match deletion::permit(action, standing) {
                Permission::Refuse(code) => format!("refuse {code}"),
                other => format!("{other:?}").to_lowercase(),
            };
            write!(text, " {cell:<28}").unwrap();
        }
    }
    let text: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    golden("deletion_matrix", &text);
}

#[test]
fn nobody_deletes_an_immutable_point_before_it_expires() {
    let created = utc("2026-01-01T00:00:00Z");
    let point = Point { immutable: true, ..point(1, created, 7) };
    let expires = point.expires.unwrap();
    for status in PointStatus::ALL {
        let point = Point { status, ..point.clone() };
        for pinned in [false, true] {
            for in_use in [false, true] {
                let standing = Stand::of(&point, Timestamp(expires.0 - 1), pinned, in_use);
                for action in Action::ALL {
                    let permission = deletion::permit(action, standing);
                    let gone = matches!(permission, Permission::Remove | Permission::Spoil);
                    assert!(!gone, "{action:?} {status:?} {pinned} {in_use}: {permission:?}");
                }
            }
        }
    }
    let refusal = deletion::delete(&point, Timestamp(expires.0 - 1), false, false).unwrap_err();
    assert_eq!(refusal.code, Code::PointImmutable);
    assert_eq!(deletion::delete(&point, expires, false, false), Ok(()));
    assert_eq!(deletion::delete(&point, expires, true, false).unwrap_err().code, Code::PointPinned);
    assert_eq!(deletion::delete(&point, expires, true, true).unwrap_err().code, Code::JobRunning);
    let gone = Point { status: PointStatus::Deleted, ..point };
    assert_eq!(deletion::delete(&gone, expires, false, false).unwrap_err().code, Code::PointNotFound);
}

/// Points of two instances, of all kinds, within a hundred days.
fn points() -> impl Strategy<Value = Vec<(Point, bool, bool)>> {
    let one = (0_i64..100, 1_u32..60, 0_usize..6, any::<bool>(), any::<bool>(), 1_u128..3, any::<bool>());
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let build = |(number, (day, days, status, immutable, forever, instance, in_use)): (usize, _)| {
            let _: (i64, u32, usize, bool, bool, u128, bool) =
                (day, days, status, immutable, forever, instance, in_use);
            let created = utc("2026-01-01T00:00:00Z").plus_seconds(day * 86_400);
            let mut point = point(u32::try_from(number).unwrap(), created, days);
            point.status = PointStatus::ALL[status];
            point.immutable = immutable;
            point.instance = InstanceId::from_bits(instance);
            if forever && !immutable {
                (point.expires, point.retention) = (None, Retention::Never);
            }
            (point, instance == 1, in_use)
        };
        all.into_iter().enumerate().map(build).collect()
    })
}

fn decided(points: &[(Point, bool, bool)], now: Timestamp) -> Vec<(PointId, Verdict)> {
    let standings: Vec<Standing<'_>> = points
        .iter()
        .map(|(point, keeps_latest, in_use)| Standing { point, keeps_latest: *keeps_latest, in_use: *in_use })
        .collect();
    decide(&standings, now)
}

fn expired(points: &[(Point, bool, bool)], now: Timestamp) -> Vec<PointId> {
    let expire = |(id, verdict)| (verdict == Verdict::Expire).then_some(id);
    decided(points, now).into_iter().filter_map(expire).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn order_does_not_matter(points in points(), day in 0_i64..200, turn in 0_usize..40) {
        let now = utc("2026-01-01T00:00:00Z").plus_seconds(day * 86_400);
        let mut turned = points.clone();
        if !turned.is_empty() {
            let turn = turn % turned.len();
            turned.rotate_left(turn);
            turned.reverse();
        }
        prop_assert_eq!(decided(&points, now), decided(&turned, now));
    }

    /// What expired is deleted; deciding again about the rest expires nothing more.
    #[test]
    fn deciding_twice_changes_nothing(points in points(), day in 0_i64..200) {
        let now = utc("2026-01-01T00:00:00Z").plus_seconds(day * 86_400);
        let gone = expired(&points, now);
        let rest: Vec<_> = points.into_iter().filter(|(point, ..)| !gone.contains(&point.id)).collect();
        prop_assert_eq!(expired(&rest, now), []);
    }

    #[test]
    fn lengthening_never_expires_more(points in points(), day in 0_i64..200, which in 0_usize..40, more in 1_u32..90) {
        let now = utc("2026-01-01T00:00:00Z").plus_seconds(day * 86_400);
        let before = expired(&points, now);
        let mut longer = points;
        if !longer.is_empty() {
            let which = which % longer.len();
            let point = &mut longer[which].0;
            point.expires = point.expires.map(|expires| expires.plus_days(Days(more)));
        }
        for id in expired(&longer, now) {
            prop_assert!(before.contains(&id), "{id} expires only since another is kept longer");
        }
    }

    /// Later never un-expires anything, and an instance whose newest is kept is never left without.
    #[test]
    fn time_only_adds_and_the_newest_stays(points in points(), day in 0_i64..200, later in 0_i64..100) {
        let now = utc("2026-01-01T00:00:00Z").plus_seconds(day * 86_400);
        let after = expired(&points, now.plus_seconds(later * 86_400));
        for id in expired(&points, now) {
            prop_assert!(after.contains(&id));
        }
        let kept = InstanceId::from_bits(1);
        let usable = |point: &Point| point.instance == kept && point.status == PointStatus::Available;
        if points.iter().any(|(point, ..)| usable(point)) {
            prop_assert!(points.iter().any(|(point, ..)| usable(point) && !after.contains(&point.id)));
        }
    }

    /// What expiry removes is what the deletion matrix lets the end of a retention remove.
    #[test]
    fn expiry_and_the_matrix_agree(points in points(), day in 0_i64..200) {
        let now = utc("2026-01-01T00:00:00Z").plus_seconds(day * 86_400);
        for (id, verdict) in decided(&points, now) {
            let (point, keeps_latest, in_use) = points.iter().find(|(point, ..)| point.id == id).unwrap();
            let newest = policy::expiry::is_newest(point, points.iter().map(|(point, ..)| point));
            let stand = Stand::of(point, now, *keeps_latest && newest, *in_use);
            let permitted = deletion::permit(Action::RetentionEnd, stand) == Permission::Remove;
            let over = point.expires.is_some_and(|expires| expires <= now);
            prop_assert_eq!(verdict == Verdict::Expire, permitted && over);
        }
    }

    /// A day lies in one month and a month in one year, so firsts of days are at least as many as
    /// firsts of months, and those as firsts of years. (A week may lie in two months.)
    #[test]
    fn a_finer_class_never_has_fewer_firsts(hours in prop::collection::btree_set(0_i64..20_000, 1..60)) {
        let zone = zone("Asia/Tokyo");
        let created: Vec<Timestamp> =
            hours.iter().map(|hour| utc("2026-01-01T00:00:00Z").plus_seconds(hour * 3600)).collect();
        let firsts = |class: RetentionClass| {
            let only = [AdvancedRetention { class, retention: Days(100) }];
            let keeping = Keeping { normal: Days(1), advanced: &only };
            (0..created.len())
                .filter(|place| keep(created[*place], &created[..*place], keeping, &zone).class.is_some())
                .count()
        };
        let [days, weeks, months, years] =
            [RetentionClass::Daily, RetentionClass::Weekly, RetentionClass::Monthly, RetentionClass::Yearly].map(firsts);
        prop_assert!(days >= weeks && days >= months && months >= years && years >= 1);
    }

    /// More classes, or longer ones, never keep a point shorter.
    #[test]
    fn special_retention_only_lengthens(hours in prop::collection::btree_set(0_i64..5_000, 1..40), more in 0_u32..90) {
        let zone = zone("Europe/Berlin");
        let created: Vec<Timestamp> =
            hours.iter().map(|hour| utc("2026-01-01T00:00:00Z").plus_seconds(hour * 3600)).collect();
        let longer = ALL.map(|one| AdvancedRetention { retention: Days(one.retention.0 + more), ..one });
        for place in 0..created.len() {
            let days = |advanced: &[AdvancedRetention]| {
                keep(created[place], &created[..place], Keeping { normal: Days(7), advanced }, &zone).days
            };
            prop_assert!(days(&[]) <= days(&ALL[..2]));
            prop_assert!(days(&ALL[..2]) <= days(&ALL));
            prop_assert!(days(&ALL) <= days(&longer));
        }
    }
}

#[test]
fn an_empty_list_decides_nothing() {
    assert_eq!(decide(&[], Timestamp(0)), []);
    let one = point(1, utc("2026-01-01T00:00:00Z"), 1);
    assert_eq!(decide(&[standing(&one)], one.expires.unwrap()), [(one.id, Verdict::Expire)]);
}

//! Grandfather, father, son: examples worked out by hand.

use jiff::tz::TimeZone;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::{Kind, What};
use strandline_core::history::retention::{Keep, decide};
use strandline_core::history::snapshot::{Decision, SnapshotSpec};
use strandline_core::ids::{PinId, Time, Version};
use strandline_core::log::{Pin, Scope, Terms};

use crate::support::*;

fn at(text: &str) -> Time {
    Time(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn pin(name: &str, created: Time) -> Pin {
    Pin {
        id: PinId(1),
        name: name.to_owned(),
        account: SYS,
        scope: Scope::Cluster,
        version: Version(1),
        created,
        version_time: created,
        author: String::new(),
        comment: String::new(),
        columns: Vec::new(),
        terms: Terms::default(),
    }
}

/// Returns the times that stay, newest first, as they were written.
fn kept<'a>(times: &[&'a str], keep: Keep, zone: &str) -> Vec<&'a str> {
    let pins = times.iter().map(|text| pin(text, at(text))).collect();
    let zone = TimeZone::get(zone).unwrap();
    let decisions = decide(pins, &keep, &zone, at("2030-01-01T00:00:00Z"));
    assert_eq!(decisions.len(), times.len());
    assert!(decisions.iter().all(|decision| !decision.reason.is_empty()));
    let kept = decisions.iter().filter(|decision| decision.keep);
    kept.map(|decision| *times.iter().find(|text| **text == decision.pin.name).unwrap()).collect()
}

#[test]
fn months_end_when_they_end() {
    let days = [
        "2026-01-30T12:00:00Z",
        "2026-01-31T12:00:00Z",
        "2026-02-01T12:00:00Z",
        "2026-02-28T12:00:00Z",
        "2026-03-01T12:00:00Z",
    ];
    let monthly = Keep { monthly: 3, ..Keep::default() };
    assert_eq!(kept(&days, monthly, "UTC"), ["2026-03-01T12:00:00Z", "2026-02-28T12:00:00Z", "2026-01-31T12:00:00Z"]);
    let two = Keep { monthly: 2, ..Keep::default() };
    assert_eq!(kept(&days, two, "UTC"), ["2026-03-01T12:00:00Z", "2026-02-28T12:00:00Z"]);
}

#[test]
fn a_leap_day_is_a_day() {
    let days = ["2024-02-28T23:00:00Z", "2024-02-29T01:00:00Z", "2024-02-29T23:00:00Z", "2024-03-01T01:00:00Z"];
    let daily = Keep { daily: 3, ..Keep::default() };
    assert_eq!(kept(&days, daily, "UTC"), ["2024-03-01T01:00:00Z", "2024-02-29T23:00:00Z", "2024-02-28T23:00:00Z"]);
    let years = ["2023-02-28T00:00:00Z", "2024-02-29T00:00:00Z", "2025-02-28T00:00:00Z"];
    assert_eq!(
        kept(&years, Keep { yearly: 2, ..Keep::default() }, "UTC"),
        ["2025-02-28T00:00:00Z", "2024-02-29T00:00:00Z"]
    );
}

#[test]
fn days_are_those_of_the_time_zone() {
    // In Berlin, the clock goes from 02:00 to 03:00 on 2026-03-29: 23:30, 00:30, 23:30 and 00:30 of the days 28, 29, 29, 30.
    let times = ["2026-03-28T22:30:00Z", "2026-03-28T23:30:00Z", "2026-03-29T21:30:00Z", "2026-03-29T22:30:00Z"];
    let daily = Keep { daily: 3, ..Keep::default() };
    assert_eq!(
        kept(&times, daily, "Europe/Berlin"),
        ["2026-03-29T22:30:00Z", "2026-03-29T21:30:00Z", "2026-03-28T22:30:00Z"]
    );
    assert_eq!(kept(&times, daily, "UTC"), ["2026-03-29T22:30:00Z", "2026-03-28T23:30:00Z"]);
}

#[test]
fn an_hour_that_the_clock_repeats_is_two() {
    // 02:30 in summer time, 02:30 in winter time, 03:30.
    let times = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T01:45:00Z", "2026-10-25T02:30:00Z"];
    let hourly = Keep { hourly: 9, ..Keep::default() };
    assert_eq!(
        kept(&times, hourly, "Europe/Berlin"),
        ["2026-10-25T02:30:00Z", "2026-10-25T01:45:00Z", "2026-10-25T00:30:00Z"]
    );
}

#[test]
fn weeks_begin_on_monday_and_belong_to_their_own_year() {
    // A Thursday and a Friday of week 53 of 2026, and the Monday after.
    let times = ["2026-12-31T12:00:00Z", "2027-01-01T12:00:00Z", "2027-01-04T12:00:00Z"];
    let weekly = Keep { weekly: 2, ..Keep::default() };
    assert_eq!(kept(&times, weekly, "UTC"), ["2027-01-04T12:00:00Z", "2027-01-01T12:00:00Z"]);
}

#[test]
fn only_periods_that_hold_a_snapshot_count_and_any_rule_keeps() {
    let times = ["2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-05T06:00:00Z", "2026-03-10T00:00:00Z"];
    let daily = Keep { daily: 2, ..Keep::default() };
    assert_eq!(kept(&times, daily, "UTC"), ["2026-03-10T00:00:00Z", "2026-01-05T06:00:00Z"]);
    let either = Keep { last: 3, yearly: 1, ..Keep::default() };
    assert_eq!(kept(&times, either, "UTC"), ["2026-03-10T00:00:00Z", "2026-01-05T06:00:00Z", "2026-01-05T00:00:00Z"]);
}

#[test]
fn nothing_is_not_a_result() {
    let times = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"];
    assert_eq!(kept(&times, Keep::default(), "UTC"), ["2026-01-02T00:00:00Z"]);
    assert!(kept(&[], Keep::default(), "UTC").is_empty());
}

#[test]
fn the_future_pushes_nothing_out() {
    let now = at("2026-06-01T00:00:00Z");
    let times = ["2026-05-30T00:00:00Z", "2026-05-31T00:00:00Z", "2026-06-02T00:00:00Z", "2026-06-03T00:00:00Z"];
    let pins = times.iter().map(|text| pin(text, at(text))).collect();
    let decisions = decide(pins, &Keep { last: 1, ..Keep::default() }, &TimeZone::UTC, now);
    let told: Vec<(bool, &str)> = decisions.iter().map(|d| (d.keep, d.reason.as_str())).collect();
    let expected = [
        (true, "dated in the future"),
        (true, "dated in the future"),
        (true, "among the last 1"),
        (false, "no rule keeps it"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn every_reason_is_told() {
    let now = at("2026-06-01T00:00:00Z");
    let mut held = pin("held", at("2026-01-02T03:04:05Z"));
    held.terms.retain_until = Some(at("2026-07-01T00:00:00Z"));
    let pins = vec![held, pin("new", at("2026-05-31T12:00:00Z"))];
    let keep = Keep { last: 1, hourly: 1, daily: 1, weekly: 1, monthly: 1, yearly: 1 };
    let decisions = decide(pins, &keep, &TimeZone::UTC, now);
    assert_eq!(
        decisions[0].reason,
        "among the last 1, newest of hour 2026-05-31 12:00 +00:00, newest of day 2026-05-31, newest of week 2026-W22, \
         newest of month 2026-05, newest of year 2026"
    );
    assert_eq!(decisions[1].reason, "its term ends at 2026-07-01 00:00:00.000000 UTC");
    assert_eq!(keep.to_string(), "LAST 1 HOURLY 1 DAILY 1 WEEKLY 1 MONTHLY 1 YEARLY 1");
}

#[test]
fn ten_thousand_hourly_snapshots() {
    // From 2025-01-01 00:30 to Saturday 2026-02-21 15:30.
    let first = at("2025-01-01T00:30:00Z");
    let pins: Vec<Pin> = (0..10_000).map(|hour| pin("x", first.plus_micros(hour * 3_600_000_000))).collect();
    let keep = Keep { last: 3, hourly: 24, daily: 7, weekly: 5, monthly: 12, yearly: 2 };
    let decisions = decide(pins, &keep, &TimeZone::UTC, at("2026-02-21T16:00:00Z"));
    let kept: Vec<Time> = decisions.iter().filter(|d| d.keep).map(|d| d.pin.created).collect();
    let mut expected: Vec<Time> =
        (0..24).map(|hour| at("2026-02-21T15:30:00Z").plus_micros(-hour * 3_600_000_000)).collect();
    // The days 19 to 15, the Sundays before, the ends of the months before; the year's end is one of these.
    for day in [
        "2026-02-19",
        "2026-02-18",
        "2026-02-17",
        "2026-02-16",
        "2026-02-15",
        "2026-02-08",
        "2026-02-01",
        "2026-01-31",
        "2026-01-25",
        "2025-12-31",
        "2025-11-30",
        "2025-10-31",
        "2025-09-30",
        "2025-08-31",
        "2025-07-31",
        "2025-06-30",
        "2025-05-31",
        "2025-04-30",
        "2025-03-31",
    ] {
        expected.push(at(&format!("{day}T23:30:00Z")));
    }
    assert_eq!(kept, expected);
}

async fn store() -> (Database, Options) {
    let options = options();
    let db = Database::in_memory(options.clone()).await.unwrap();
    let database = create_database(&db, "d").await;
    create_table(&db, table(database, "t", Shape::Keyed)).await;
    (db, options)
}

fn d() -> Scope {
    Scope::Database("d".to_owned())
}

fn t() -> Scope {
    Scope::Tables("d".to_owned(), vec!["t".to_owned()])
}

fn dropped(decisions: &[Decision]) -> Vec<&str> {
    let mut names: Vec<&str> = decisions.iter().filter(|d| !d.keep).map(|d| d.pin.name.as_str()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_narrowest_rules_count_and_each_scope_is_a_group() {
    let (db, options) = store().await;
    for number in 1..=3 {
        for (letter, scope) in [("c", Scope::Cluster), ("d", d()), ("t", t())] {
            let spec = SnapshotSpec::of(&format!("{letter}{number}"), scope);
            db.create_snapshot(&spec, &author()).await.unwrap();
        }
        options.env.advance(1_000_000);
    }
    let none = db.plan_retention(SYS, &d(), None).unwrap_err();
    assert_eq!(none.kind(), Kind::NotFound(What::Retention));
    let last = |last| Keep { last, ..Keep::default() };
    db.set_retention(Scope::Cluster, last(1), "UTC", &author()).unwrap();
    db.set_retention(t(), last(2), "Europe/Berlin", &author()).unwrap();
    let plan = db.plan_retention(SYS, &Scope::Cluster, None).unwrap();
    assert_eq!(dropped(&plan), ["c1", "c2", "d1", "d2", "t1"]);
    assert_eq!(dropped(&db.plan_retention(SYS, &t(), None).unwrap()), ["t1"]);
    // Rules for once.
    assert_eq!(dropped(&db.plan_retention(SYS, &t(), Some((last(1), "UTC"))).unwrap()), ["t1", "t2"]);
    // What is kept keeps its base.
    let spec = SnapshotSpec { base: Some("d1".to_owned()), ..SnapshotSpec::of("d4", d()) };
    db.create_snapshot(&spec, &author()).await.unwrap();
    assert_eq!(dropped(&db.apply_retention(SYS, &d(), None).unwrap()), ["d2", "d3", "t1"]);
    let plan = db.plan_retention(SYS, &d(), None).unwrap();
    let base = plan.iter().find(|decision| decision.pin.name == "d1").unwrap();
    assert_eq!((base.keep, base.reason.as_str()), (true, "the base of 'd4'"));
    assert!(db.apply_retention(SYS, &d(), None).unwrap().is_empty(), "a second run has nothing to do");

    db.drop_retention(&t(), &author()).unwrap();
    assert_eq!(db.drop_retention(&t(), &author()).unwrap_err().kind(), Kind::NotFound(What::Retention));
    let zone = db.set_retention(d(), last(1), "Mars/Olympus", &author()).unwrap_err();
    assert!(zone.message().contains("Mars/Olympus"), "{zone}");
    assert_eq!(db.set_retention(d(), last(0), "UTC", &author()).unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn one_set_of_tables_has_one_set_of_rules_and_two_have_two() {
    let db = Database::in_memory(options()).await.unwrap();
    for (database, tables) in [("d", &["a", "b"][..]), ("a", &["b.c"]), ("a.b", &["c"])] {
        let home = create_database(&db, database).await;
        for name in tables {
            create_table(&db, table(home, name, Shape::Keyed)).await;
        }
    }
    let scope = |database: &str, tables: &[&str]| {
        Scope::Tables(database.to_owned(), tables.iter().map(|table| (*table).to_owned()).collect())
    };
    let set = |scope: &Scope, last: u32| {
        db.set_retention(scope.clone(), Keep { last, ..Keep::default() }, "UTC", &author()).unwrap();
    };
    set(&scope("d", &["a", "b"]), 9);
    set(&scope("D", &["B", "A"]), 1);
    assert_eq!(db.retentions(SYS).unwrap().len(), 1);
    db.drop_retention(&scope("d", &["b", "a", "a"]), &author()).unwrap();
    assert!(db.retentions(SYS).unwrap().is_empty());

    // Both read "a.b.c".
    let alike = [scope("a", &["b.c"]), scope("a.b", &["c"])];
    for scope in &alike {
        set(scope, 1);
        let name = scope.level().to_owned() + &db.snapshots(SYS).unwrap().len().to_string();
        db.create_snapshot(&SnapshotSpec::of(&name, scope.clone()), &author()).await.unwrap();
    }
    assert_eq!(db.retentions(SYS).unwrap().len(), 2);
    let rules = Keep { last: 1, ..Keep::default() };
    assert!(db.apply_retention(SYS, &Scope::Cluster, Some((rules, "UTC"))).unwrap().is_empty());
}

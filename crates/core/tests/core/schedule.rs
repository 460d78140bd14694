//! Schedules, by a clock that only moves when told.

use std::sync::Arc;

use object_store::memory::InMemory;
use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::{Kind, What};
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::retention::Keep;
use strandline_core::history::schedule::{Rhythm, Schedule, ScheduleSpec};
use strandline_core::history::snapshot::{SnapshotSpec, Term, TermUnit};
use strandline_core::ids::{AccountId, Time};
use strandline_core::log::{Metastore, Scope};
use strandline_core::txn::Author;
use strandline_core::when::RangeUnit;

use crate::failing::FailingMetastore;
use crate::support::*;

const MINUTE: i64 = 60 * 1_000_000;
const HOUR: i64 = 60 * MINUTE;

fn at(text: &str) -> Time {
    Time(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

/// Returns a database `d` whose clock stands at that time.
async fn store(now: &str) -> (Database, Options) {
    let options = options();
    let db = Database::in_memory(options.clone()).await.unwrap();
    create_database(&db, "d").await;
    options.env.advance(at(now).0 - options.env.now().0);
    (db, options)
}

fn cron(name: &str, expression: &str, zone: &str) -> ScheduleSpec {
    ScheduleSpec {
        name: name.to_owned(),
        scope: Scope::Database("d".to_owned()),
        rhythm: Rhythm::Cron(expression.to_owned()),
        zone: zone.to_owned(),
        snapshot_name: None,
        comment: "taken by itself".to_owned(),
        term: None,
        keep: None,
        compress: false,
    }
}

fn the(db: &Database, name: &str) -> Schedule {
    db.schedules(SYS).unwrap().into_iter().find(|schedule| schedule.name == name).expect("a schedule of this name")
}

fn names(db: &Database) -> Vec<String> {
    let mut names: Vec<String> = db.snapshots(SYS).unwrap().into_iter().map(|pin| pin.name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_schedule_runs_at_its_time_in_its_zone() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    let made = db.create_schedule(&cron("nightly", "0 2 * * *", "Europe/Berlin"), &author()).unwrap();
    assert_eq!(made.next_run, Some(at("2026-01-01T01:00:00Z")));
    options.env.advance(HOUR - 1);
    assert!(db.run_schedules().await.unwrap().is_empty());
    options.env.advance(1);
    assert_eq!(db.run_schedules().await.unwrap().len(), 1);
    assert!(db.run_schedules().await.unwrap().is_empty(), "once");
    assert_eq!(names(&db), ["nightly_20260101_020000"]);
    let ran = the(&db, "nightly");
    assert_eq!(ran.last_run, Some(at("2026-01-01T01:00:00Z")));
    assert_eq!(ran.last_snapshot.as_deref(), Some("nightly_20260101_020000"));
    assert_eq!(ran.next_run, Some(at("2026-01-02T01:00:00Z")));
    let pin = &db.snapshots(SYS).unwrap()[0];
    assert_eq!(
        (pin.comment.as_str(), pin.terms.schedule.as_ref().unwrap().name.as_str()),
        ("taken by itself", "nightly")
    );
}

#[tokio::test]
async fn missed_runs_are_caught_up_once() {
    let folder = tempfile::tempdir().unwrap();
    let options = options();
    let db = Database::open(folder.path(), options.clone()).await.unwrap();
    create_database(&db, "d").await;
    db.create_schedule(&cron("hourly", "0 * * * *", "UTC"), &author()).unwrap();
    db.close().await.unwrap();
    drop(db);
    // Down for five days.
    options.env.advance(5 * 24 * HOUR + 30 * MINUTE);
    let db = Database::open(folder.path(), options.clone()).await.unwrap();
    db.tick_policies().await.unwrap();
    db.tick_policies().await.unwrap();
    assert_eq!(names(&db), ["hourly_20260106_003000"]);
    assert_eq!(the(&db, "hourly").next_run, Some(at("2026-01-06T01:00:00Z")));
}

#[tokio::test]
async fn changes_of_the_clock_neither_skip_nor_repeat_a_night() {
    let (db, options) = store("2026-03-28T12:00:00Z").await;
    db.create_schedule(&cron("n", "30 2 * * *", "Europe/Berlin"), &author()).unwrap();
    // 02:30 does not exist on the 29th.
    let spring = the(&db, "n").next_run.unwrap();
    assert!(at("2026-03-29T00:59:00Z") <= spring && spring <= at("2026-03-29T02:00:00Z"), "{spring}");
    options.env.advance(24 * HOUR);
    db.run_schedules().await.unwrap();
    assert_eq!(the(&db, "n").next_run, Some(at("2026-03-30T00:30:00Z")));
    // 02:30 comes twice on October 25th.
    options.env.advance(at("2026-10-24T12:00:00Z").0 - options.env.now().0);
    db.run_schedules().await.unwrap();
    let autumn = the(&db, "n").next_run.unwrap();
    assert!(autumn == at("2026-10-25T00:30:00Z") || autumn == at("2026-10-25T01:30:00Z"), "{autumn}");
    options.env.advance(autumn.0 - options.env.now().0);
    db.run_schedules().await.unwrap();
    assert_eq!(the(&db, "n").next_run, Some(at("2026-10-26T01:30:00Z")));
}

#[tokio::test]
async fn a_failed_run_is_told_and_the_next_one_is_tried() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    db.create_schedule(&cron("hourly", "0 * * * *", "UTC"), &author()).unwrap();
    let home = db.now().catalog().database(SYS, "d").unwrap().clone();
    let mut txn = db.begin(author());
    txn.drop_database(&home).unwrap();
    txn.commit().await.unwrap();
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    let failed = the(&db, "hourly");
    assert!(failed.last_error.as_deref().unwrap().starts_with("No database 'd'."), "{failed:?}");
    assert_eq!((failed.last_run, failed.last_snapshot), (Some(at("2026-01-01T01:00:00Z")), None));
    create_database(&db, "d").await;
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    let well = the(&db, "hourly");
    assert_eq!((well.last_error, well.last_snapshot.as_deref()), (None, Some("hourly_20260101_020000")));
}

#[tokio::test]
async fn rules_of_its_own_drop_only_what_it_took() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    db.create_snapshot(&SnapshotSpec::of("by_hand", Scope::Database("d".to_owned())), &author()).await.unwrap();
    let spec = ScheduleSpec {
        keep: Some(Keep { last: 2, ..Keep::default() }),
        snapshot_name: Some("{time}_auto".to_owned()),
        rhythm: Rhythm::Every(Term { count: 6, unit: TermUnit::Hour }),
        ..cron("own", "", "UTC")
    };
    db.create_schedule(&spec, &author()).unwrap();
    for _ in 0..4 {
        options.env.advance(6 * HOUR);
        db.tick_policies().await.unwrap();
    }
    assert_eq!(names(&db), ["20260101_180000_auto", "20260102_000000_auto", "by_hand"]);
    // The rules of the scope leave them alone.
    let scope = Scope::Database("d".to_owned());
    db.set_retention(scope.clone(), Keep { last: 1, ..Keep::default() }, "UTC", &author()).unwrap();
    assert!(db.apply_retention(SYS, &scope, None).unwrap().is_empty());
}

#[tokio::test]
async fn without_rules_of_its_own_those_of_the_scope_are_applied() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    db.create_schedule(&cron("hourly", "0 * * * *", "UTC"), &author()).unwrap();
    let scope = Scope::Database("d".to_owned());
    db.set_retention(scope, Keep { daily: 2, ..Keep::default() }, "UTC", &author()).unwrap();
    for _ in 0..30 {
        options.env.advance(HOUR);
        db.tick_policies().await.unwrap();
    }
    assert_eq!(names(&db), ["hourly_20260101_230000", "hourly_20260102_060000"]);
}

#[tokio::test]
async fn what_it_took_with_a_term_goes_by_itself() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    let spec = ScheduleSpec { term: Some(Term { count: 2, unit: TermUnit::Hour }), ..cron("h", "0 * * * *", "UTC") };
    db.create_schedule(&spec, &author()).unwrap();
    for _ in 0..5 {
        options.env.advance(HOUR);
        db.tick_policies().await.unwrap();
    }
    assert_eq!(names(&db), ["h_20260101_040000", "h_20260101_050000"]);
}

#[tokio::test]
async fn a_paused_schedule_does_not_run_and_catches_nothing_up() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    db.create_schedule(&cron("hourly", "0 * * * *", "UTC"), &author()).unwrap();
    db.pause_schedule("HOURLY", true, &author()).unwrap();
    options.env.advance(3 * HOUR + MINUTE);
    db.tick_policies().await.unwrap();
    db.pause_schedule("hourly", false, &author()).unwrap();
    db.tick_policies().await.unwrap();
    assert!(names(&db).is_empty());
    assert_eq!(the(&db, "hourly").next_run, Some(at("2026-01-01T04:00:00Z")));
}

#[tokio::test]
async fn a_taken_name_gets_a_number() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    let taken = SnapshotSpec::of("h_20260101_010000", Scope::Database("d".to_owned()));
    db.create_snapshot(&taken, &author()).await.unwrap();
    db.create_schedule(&cron("h", "0 * * * *", "UTC"), &author()).unwrap();
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    assert_eq!(names(&db), ["h_20260101_010000", "h_20260101_010000_2"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let (db, _) = store("2026-01-01T00:00:00Z").await;
    let bad = |spec: ScheduleSpec| db.create_schedule(&spec, &author()).unwrap_err();
    assert!(bad(cron("x", "every day", "UTC")).message().starts_with("'every day' is no CRON expression"));
    assert!(bad(cron("x", "0 2 * * *", "Mars/Olympus")).message().contains("time zone"));
    assert!(bad(cron("x", "0 0 31 2 *", "UTC")).message().contains("never run"));
    let nowhere = ScheduleSpec { scope: Scope::Database("nowhere".to_owned()), ..cron("x", "0 2 * * *", "UTC") };
    assert_eq!(bad(nowhere).kind(), Kind::NotFound(What::Database));
    let never = ScheduleSpec { term: Some(Term { count: 0, unit: TermUnit::Day }), ..cron("x", "0 2 * * *", "UTC") };
    assert_eq!(bad(never).kind(), Kind::Invalid);
    db.create_schedule(&cron("x", "0 2 * * *", "UTC"), &author()).unwrap();
    assert_eq!(bad(cron("X", "0 3 * * *", "UTC")).kind(), Kind::AlreadyExists(What::Schedule));
    db.drop_schedule("X", &author()).unwrap();
    assert_eq!(db.drop_schedule("x", &author()).unwrap_err().kind(), Kind::NotFound(What::Schedule));
}

#[tokio::test]
async fn a_new_schedule_of_an_old_name_leaves_what_the_old_one_took() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    create_database(&db, "e").await;
    db.create_schedule(&cron("n", "0 * * * *", "UTC"), &author()).unwrap();
    for _ in 0..3 {
        options.env.advance(HOUR);
        db.tick_policies().await.unwrap();
    }
    db.drop_schedule("n", &author()).unwrap();
    let keep = Some(Keep { last: 1, ..Keep::default() });
    let anew = ScheduleSpec { scope: Scope::Database("e".to_owned()), keep, ..cron("n", "0 * * * *", "UTC") };
    db.create_schedule(&anew, &author()).unwrap();
    for _ in 0..2 {
        options.env.advance(HOUR);
        db.tick_policies().await.unwrap();
    }
    let old = ["n_20260101_010000", "n_20260101_020000", "n_20260101_030000"];
    assert_eq!(names(&db), [&old[..], &["n_20260101_050000"]].concat());
    // Nor does the new one hold the old ones back from the rules of their scope.
    let rules = Keep { last: 1, ..Keep::default() };
    let dropped = db.apply_retention(SYS, &Scope::Database("d".to_owned()), Some((rules, "UTC"))).unwrap();
    assert_eq!(dropped.len(), 2);
}

#[tokio::test]
async fn every_counts_from_the_creation() {
    for (created, every, zone, times) in [
        (
            "2026-01-31T12:00:00Z",
            (1, TermUnit::Month),
            "UTC",
            ["2026-02-28T12:00:00Z", "2026-03-31T12:00:00Z", "2026-04-30T12:00:00Z", "2026-05-31T12:00:00Z"],
        ),
        (
            "2024-02-29T12:00:00Z",
            (1, TermUnit::Year),
            "UTC",
            ["2025-02-28T12:00:00Z", "2026-02-28T12:00:00Z", "2027-02-28T12:00:00Z", "2028-02-29T12:00:00Z"],
        ),
        (
            // Half past two, which does not exist on the 29th.
            "2026-03-27T01:30:00Z",
            (1, TermUnit::Day),
            "Europe/Berlin",
            ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"],
        ),
        (
            "2026-01-01T00:00:00Z",
            (90, TermUnit::Minute),
            "UTC",
            ["2026-01-01T01:30:00Z", "2026-01-01T03:00:00Z", "2026-01-01T04:30:00Z", "2026-01-01T06:00:00Z"],
        ),
    ] {
        let (db, options) = store(created).await;
        let rhythm = Rhythm::Every(Term { count: every.0, unit: every.1 });
        db.create_schedule(&ScheduleSpec { rhythm, ..cron("e", "", zone) }, &author()).unwrap();
        for time in times {
            let next = the(&db, "e").next_run.unwrap();
            assert_eq!(next, at(time), "{created}");
            options.env.advance(next.0 - options.env.now().0);
            db.tick_policies().await.unwrap();
        }
    }
}

/// Changes a schedule's row behind the store's back.
fn rewrite(db: &Database, name: &str, from: &str, to: &str) {
    let key = format!("schedule/1/{name}");
    let body = db.metastore().setting(&key).unwrap().unwrap();
    assert!(body.contains(from), "{body}");
    db.metastore().put_setting(&key, &body.replace(from, to)).unwrap();
}

#[tokio::test]
async fn one_that_cannot_be_reckoned_holds_nothing_else_up() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    db.create_schedule(&cron("a", "0 * * * *", "Europe/Berlin"), &author()).unwrap();
    db.create_schedule(&cron("b", "0 * * * *", "UTC"), &author()).unwrap();
    let until = Some(options.env.now().plus_micros(MINUTE));
    let short = SnapshotSpec { retain_until: until, ..SnapshotSpec::of("short", Scope::Cluster) };
    db.create_snapshot(&short, &author()).await.unwrap();
    rewrite(&db, "a", "Europe/Berlin", "Europe/Atlantis");
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    assert_eq!(names(&db), ["b_20260101_010000"]);
    let failed = the(&db, "a");
    assert!(failed.last_error.as_deref().unwrap().contains("Europe/Atlantis"), "{failed:?}");
    // It is tried again, a minute later, and well again when the zone is known.
    db.tick_policies().await.unwrap();
    assert_eq!(the(&db, "a"), failed);
    rewrite(&db, "a", "Europe/Atlantis", "Europe/Berlin");
    options.env.advance(MINUTE);
    db.tick_policies().await.unwrap();
    let well = the(&db, "a");
    assert_eq!((well.last_error, well.last_snapshot.as_deref()), (None, Some("a_20260101_020100")));
    assert_eq!(well.next_run, Some(at("2026-01-01T02:00:00Z")));
}

#[tokio::test]
async fn a_run_that_was_cut_off_before_it_was_noted_is_not_repeated() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    let keep = Some(Keep { last: 2, ..Keep::default() });
    db.create_schedule(&ScheduleSpec { keep, ..cron("h", "0 * * * *", "UTC") }, &author()).unwrap();
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    let before = db.metastore().setting("schedule/1/h").unwrap().unwrap();
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    // The snapshot is there; the schedule's row is not.
    db.metastore().put_setting("schedule/1/h", &before).unwrap();
    options.env.advance(MINUTE);
    db.tick_policies().await.unwrap();
    assert_eq!(names(&db), ["h_20260101_010000", "h_20260101_020000"]);
    let caught_up = the(&db, "h");
    assert_eq!(caught_up.last_snapshot.as_deref(), Some("h_20260101_020000"));
    assert_eq!(caught_up.next_run, Some(at("2026-01-01T03:00:00Z")));
}

async fn failing_store() -> (Database, Options, Arc<FailingMetastore>) {
    let (options, metastore) = (options(), Arc::new(FailingMetastore::new()));
    let db = Database::start(metastore.clone(), Arc::new(InMemory::new()), options.clone(), None).await.unwrap();
    create_database(&db, "d").await;
    (db, options, metastore)
}

#[tokio::test]
async fn one_that_is_dropped_while_another_runs_does_not_run() {
    let (db, options, metastore) = failing_store().await;
    for name in ["a", "b"] {
        db.create_schedule(&cron(name, "0 * * * *", "UTC"), &author()).unwrap();
    }
    metastore.after_next_pin(|inner| assert!(inner.drop_setting("schedule/1/b").unwrap()));
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    assert_eq!(names(&db), ["a_20260101_010000"]);
}

#[tokio::test]
async fn a_retention_that_fails_does_not_hide_the_snapshot() {
    let (db, options, metastore) = failing_store().await;
    let keep = Some(Keep { last: 1, ..Keep::default() });
    db.create_schedule(&ScheduleSpec { keep, ..cron("h", "0 * * * *", "UTC") }, &author()).unwrap();
    let run = async |kind: Option<Kind>| {
        kind.into_iter().for_each(|kind| metastore.fail_next_drop(kind));
        options.env.advance(HOUR);
        db.tick_policies().await.unwrap();
        the(&db, "h")
    };
    run(None).await;
    let failed = run(Some(Kind::Unavailable)).await;
    assert_eq!(failed.last_snapshot.as_deref(), Some("h_20260101_020000"));
    assert_eq!(
        failed.last_error.as_deref(),
        Some("Snapshot 'h_20260101_020000' was taken, but retention failed: The disk gave up.")
    );
    // Somebody took another one on what was to be dropped: the plan is made again.
    let well = run(Some(Kind::Conflict)).await;
    assert_eq!(well.last_error, None);
    assert_eq!(names(&db), ["h_20260101_030000"]);
}

#[tokio::test]
async fn names_leave_room_for_a_number_and_compare_in_every_script() {
    let (db, _) = store("2026-01-01T00:00:00Z").await;
    let named = |length: usize| ScheduleSpec {
        snapshot_name: Some("x".repeat(length - "_20260101_000000".len())),
        ..cron("x", "0 2 * * *", "UTC")
    };
    assert_eq!(db.create_schedule(&named(61), &author()).unwrap_err().kind(), Kind::Invalid);
    db.create_schedule(&named(60), &author()).unwrap();
    db.create_schedule(&cron("\u{c4}rger", "0 2 * * *", "UTC"), &author()).unwrap();
    let taken = db.create_schedule(&cron("\u{e4}rger", "0 2 * * *", "UTC"), &author()).unwrap_err();
    assert_eq!(taken.kind(), Kind::AlreadyExists(What::Schedule));
    db.drop_schedule("\u{e4}RGER", &author()).unwrap();
}

#[tokio::test]
async fn a_schedule_takes_compressed_snapshots() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    let spec = ScheduleSpec { compress: true, ..cron("weekly", "0 1 * * *", "UTC") };
    assert!(db.create_schedule(&spec, &author()).unwrap().compress);
    db.create_schedule(&cron("hourly", "0 * * * *", "UTC"), &author()).unwrap();
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    let compressed = |name: &str| {
        let pins = db.snapshots(SYS).unwrap();
        pins.iter().find(|pin| pin.name.starts_with(name)).expect("taken").terms.copy.is_some()
    };
    assert!(compressed("weekly") && !compressed("hourly"));
    assert_eq!(the(&db, "weekly").last_snapshot.as_deref(), Some("weekly_20260101_010000"));
}

#[tokio::test]
async fn errors_of_a_rhythm_speak_of_the_rhythm() {
    let (db, _) = store("2026-01-01T00:00:00Z").await;
    let bad = |spec: ScheduleSpec| db.create_schedule(&spec, &author()).unwrap_err().to_string();
    let every = |count, unit| ScheduleSpec { rhythm: Rhythm::Every(Term { count, unit }), ..cron("x", "", "UTC") };
    assert_eq!(
        bad(every(0, TermUnit::Hour)),
        "A schedule runs EVERY 1 of its unit at the most often, not EVERY 0. Say EVERY 6 HOURS, for one."
    );
    assert_eq!(
        bad(every(u32::MAX, TermUnit::Year)),
        "The schedule would never run. Choose a rhythm with a time to come, such as CRON '0 2 * * *' or EVERY 6 HOURS."
    );
    for expression in ["61 * * * *", "* * *", "", "0 2 * * * * * *", "x y z u v"] {
        let said = bad(cron("x", expression, "UTC"));
        assert!(said.starts_with(&format!("'{expression}' is no CRON expression: ")), "{said}");
        assert!(!said.contains("..") && !said.contains("Component"), "{said}");
        assert!(
            said.ends_with(
                " It has five fields, minute hour day month weekday: '0 2 * * *' is two o'clock each night."
            )
        );
    }
}

#[tokio::test]
async fn a_day_of_25_hours_has_25_hourly_runs() {
    // From midnight to midnight in Berlin, where the clock goes back at three.
    let (db, options) = store("2026-10-24T22:00:00Z").await;
    db.create_schedule(&cron("h", "30 * * * *", "Europe/Berlin"), &author()).unwrap();
    let end = at("2026-10-25T23:00:00Z");
    let mut runs = Vec::new();
    while the(&db, "h").next_run.unwrap() < end {
        let next = the(&db, "h").next_run.unwrap();
        options.env.advance(next.0 - options.env.now().0);
        db.tick_policies().await.unwrap();
        runs.push(next);
    }
    let expected: Vec<Time> = (0..25).map(|hour| at("2026-10-24T22:30:00Z").plus_micros(hour * HOUR)).collect();
    assert_eq!(runs, expected);
    // The hour that comes twice bears one name twice: the second gets a number.
    assert!(names(&db).contains(&"h_20261025_023000_2".to_owned()), "{:?}", names(&db));
}

#[tokio::test]
async fn a_sixth_field_in_front_is_seconds() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    db.create_schedule(&cron("s", "*/20 * * * * *", "UTC"), &author()).unwrap();
    for _ in 0..3 {
        options.env.advance(20 * 1_000_000);
        db.tick_policies().await.unwrap();
    }
    assert_eq!(names(&db), ["s_20260101_000020", "s_20260101_000040", "s_20260101_000100"]);
}

#[tokio::test]
async fn a_clock_that_ran_ahead_silences_no_schedule() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    db.create_schedule(&cron("h", "0 * * * *", "UTC"), &author()).unwrap();
    db.create_schedule(&cron("paused", "0 * * * *", "UTC"), &author()).unwrap();
    let nine_years = 9 * 365 * 24 * HOUR;
    options.env.advance(nine_years);
    db.tick_policies().await.unwrap();
    assert!(the(&db, "h").next_run.unwrap() > at("2034-12-01T00:00:00Z"));
    db.pause_schedule("paused", true, &author()).unwrap();
    let paused = the(&db, "paused");
    options.env.advance(HOUR / 2 - nine_years);
    db.tick_policies().await.unwrap();
    assert_eq!(the(&db, "h").next_run, Some(at("2026-01-01T01:00:00Z")));
    assert_eq!(the(&db, "paused"), paused);
    options.env.advance(HOUR / 2);
    db.tick_policies().await.unwrap();
    assert_eq!(the(&db, "h").last_snapshot.as_deref(), Some("h_20260101_010000"));
    assert_eq!(the(&db, "h").next_run, Some(at("2026-01-01T02:00:00Z")));
}

#[tokio::test]
async fn nothing_of_a_schedule_comes_after_close() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    db.create_schedule(&cron("h", "0 * * * *", "UTC"), &author()).unwrap();
    db.close().await.unwrap();
    options.env.advance(HOUR);
    assert!(db.run_schedules().await.unwrap().is_empty());
    assert!(names(&db).is_empty());
}

#[tokio::test]
async fn policies_of_two_accounts_may_have_one_name() {
    let (db, options) = store("2026-01-01T00:00:00Z").await;
    let other = Author { account: AccountId(7), name: "test@localhost".to_owned() };
    let of_all = |expression: &str| ScheduleSpec { scope: Scope::Cluster, ..cron("n", expression, "UTC") };
    db.create_schedule(&of_all("0 * * * *"), &author()).unwrap();
    db.create_schedule(&of_all("30 * * * *"), &other).unwrap();
    let window = |length| PitrSpec { name: "p".to_owned(), scope: Scope::Cluster, length, unit: RangeUnit::Day };
    db.create_pitr(&window(2), &author()).unwrap();
    db.create_pitr(&window(3), &other).unwrap();
    options.env.advance(HOUR);
    db.tick_policies().await.unwrap();
    let taken = |account| db.snapshots(account).unwrap().into_iter().map(|pin| pin.name).collect::<Vec<_>>();
    assert_eq!(
        (taken(SYS), taken(AccountId(7))),
        (vec!["n_20260101_010000".to_owned()], vec!["n_20260101_010000".to_owned()])
    );
    db.drop_schedule("n", &other).unwrap();
    db.drop_pitr("p", &other).unwrap();
    assert_eq!((db.schedules(SYS).unwrap().len(), db.schedules(AccountId(7)).unwrap().len()), (1, 0));
    assert_eq!((db.pitrs(SYS).unwrap()[0].length, db.pitrs(AccountId(7)).unwrap().len()), (2, 0));
}

/// What version 0.1 wrote must be read for ever: a field that is added later has a default.
#[tokio::test]
async fn policies_of_the_first_version_are_read() {
    let (db, _) = store("2026-01-01T00:00:00Z").await;
    for (key, body) in [
        (
            "schedule/1/n",
            r#"{"name":"n","account":1,"scope":{"database":"d"},"rhythm":{"cron":"0 2 * * *"},"zone":"Europe/Berlin",
                "snapshot_name":"n_{time}","comment":"","term":{"count":7,"unit":"day"},
                "keep":{"last":0,"hourly":0,"daily":7,"weekly":0,"monthly":0,"yearly":0},"created":1767225600000000,
                "author":"root@localhost","paused":false,"next_run":1767229200000000,"last_run":null,
                "last_snapshot":null,"last_error":null}"#,
        ),
        (
            "pitr/1/p",
            r#"{"name":"p","account":1,"scope":{"tables":["d",["t"]]},"length":7,"unit":"day",
                "created":1767225600000000,"modified":1767225600000000,"author":"root@localhost",
                "kept_from":1767139200000000}"#,
        ),
        (
            "retention/1/\"cluster\"",
            r#"{"account":1,"scope":"cluster","keep":{"last":3,"hourly":0,"daily":0,"weekly":0,"monthly":0,"yearly":0},
                "zone":"UTC","modified":1767225600000000,"author":"root@localhost"}"#,
        ),
    ] {
        db.metastore().put_setting(key, body).unwrap();
    }
    let schedule = the(&db, "n");
    assert_eq!(schedule.rhythm, Rhythm::Cron("0 2 * * *".to_owned()));
    assert_eq!((schedule.term, schedule.compress), (Some(Term { count: 7, unit: TermUnit::Day }), false));
    assert_eq!(db.pitrs(SYS).unwrap()[0].scope, Scope::Tables("d".to_owned(), vec!["t".to_owned()]));
    assert_eq!(db.retentions(SYS).unwrap()[0].keep, Keep { last: 3, ..Keep::default() });
    db.tick_policies().await.unwrap();
}

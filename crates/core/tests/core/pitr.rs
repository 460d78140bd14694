//! Recovery windows: what policies keep, and what they do not.

use std::sync::Arc;

use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::{Kind, What};
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::RestoreRequest;
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::ids::{Time, Version};
use strandline_core::log::Scope;
use strandline_core::schema::Table;
use strandline_core::when::{RangeUnit, When};

use crate::support::*;

const HOUR: i64 = 3600 * 1_000_000;

fn only(name: &str) -> Scope {
    Scope::Tables("d".to_owned(), vec![name.to_owned()])
}

fn spec(name: &str, scope: Scope, length: u64, unit: RangeUnit) -> PitrSpec {
    PitrSpec { name: name.to_owned(), scope, length, unit }
}

/// Returns a database with the tables `d.t` and `d.u`.
async fn store() -> (Database, Options, Arc<Table>, Arc<Table>) {
    let options = options();
    let db = Database::in_memory(options.clone()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let u = create_table(&db, table(database, "u", Shape::Keyed)).await;
    (db, options, t, u)
}

fn restore(scope: Scope, when: When) -> RestoreRequest {
    RestoreRequest::of(scope, when)
}

/// Makes commits so that neither `then` nor its successor is the newest when a window begins.
async fn pass(db: &Database, options: &Options, t: &Arc<Table>, hours: i64, key: i32) -> Version {
    options.env.advance(hours * HOUR);
    insert(db, t, &[(key, key)]).await
}

#[tokio::test]
async fn a_policy_lengthens_the_window_of_what_it_names_and_of_nothing_else() {
    let (db, options, t, u) = store().await;
    db.create_pitr(&spec("p", only("t"), 3, RangeUnit::Day), &author()).unwrap();
    insert(&db, &u, &[(1, 1)]).await;
    let then = insert(&db, &t, &[(1, 1)]).await;
    let time = db.now().time();
    pass(&db, &options, &t, 1, 2).await;
    pass(&db, &options, &u, 47, 3).await;

    let at = When::Time(time);
    let limit = db.resolve(&at, SYS).unwrap().limit.expect("outside the default window");
    limit.admits_scope(&only("T")).unwrap();
    let refused = limit.admits_scope(&only("u")).unwrap_err();
    assert_eq!(refused.kind(), Kind::OutOfWindow);
    let start = options.env.now().plus_micros(-24 * HOUR);
    assert!(
        refused
            .message()
            .ends_with(&format!("is outside the recovery window of table 'd.u', which begins at {start} UTC.")),
        "{refused}"
    );
    assert!(limit.admits_scope(&Scope::Database("d".to_owned())).is_err());
    assert_eq!(db.resolve(&When::Version(then), SYS).unwrap().version, then);

    db.restore(restore(only("t"), at.clone()), &author()).await.unwrap();
    assert_eq!(pairs(&db, &t).await, [(1, 1)]);
    assert_eq!(db.restore(restore(only("u"), at.clone()), &author()).await.unwrap_err().kind(), Kind::OutOfWindow);

    // Three days on, it is gone for good.
    options.env.advance(48 * HOUR);
    let refused = db.resolve(&at, SYS).unwrap_err();
    assert_eq!(refused.kind(), Kind::OutOfWindow);
    let start = options.env.now().plus_micros(-72 * HOUR);
    let said = format!("PITR 'p' reaches back to {start} UTC for table 'd.t'.");
    assert!(refused.message().contains(&said), "{refused}");
    assert_eq!(db.resolve(&When::Version(then), SYS).unwrap_err().kind(), Kind::OutOfWindow);
}

#[tokio::test]
async fn a_new_or_longer_policy_reaches_only_what_is_still_kept() {
    let (db, options, t, _) = store().await;
    insert(&db, &t, &[(1, 1)]).await;
    let lost = options.env.now();
    pass(&db, &options, &t, 1, 9).await;
    pass(&db, &options, &t, 29, 2).await;
    let made = options.env.now();
    let pitr = db.create_pitr(&spec("p", Scope::Cluster, 7, RangeUnit::Day), &author()).unwrap();
    assert_eq!(pitr.kept_from, made.plus_micros(-24 * HOUR));
    let refused = db.resolve(&When::Time(lost), SYS).unwrap_err();
    assert_eq!(refused.kind(), Kind::OutOfWindow);
    // A day later the window has grown, and not beyond where it began.
    pass(&db, &options, &t, 24, 3).await;
    assert!(db.resolve(&When::Time(made.plus_micros(-23 * HOUR)), SYS).is_ok());
    assert!(db.resolve(&When::Time(lost), SYS).is_err());
    assert!(db.resolve(&When::Pitr("P".to_owned(), made), SYS).is_ok());

    // Shorter forgets; longer again does not bring back.
    db.alter_pitr("p", 25, RangeUnit::Hour, &author()).unwrap();
    let shortened = options.env.now();
    db.alter_pitr("p", 1, RangeUnit::Month, &author()).unwrap();
    let start = db.window_start_of(SYS, &Scope::Cluster).unwrap();
    assert_eq!(start, shortened.plus_micros(-25 * HOUR));
    let refused = db.resolve(&When::Pitr("p".to_owned(), lost), SYS).unwrap_err();
    assert!(refused.message().contains("recovery window of PITR 'p', which begins at"), "{refused}");
    db.drop_pitr("p", &author()).unwrap();
    assert_eq!(db.window_start_of(SYS, &Scope::Cluster).unwrap(), db.window_start());
    assert_eq!(db.drop_pitr("p", &author()).unwrap_err().kind(), Kind::NotFound(What::Pitr));
}

#[tokio::test]
async fn a_policy_never_shortens_the_default_window() {
    let (db, options, t, _) = store().await;
    insert(&db, &t, &[(1, 1)]).await;
    let then = options.env.now();
    db.create_pitr(&spec("p", Scope::Cluster, 1, RangeUnit::Hour), &author()).unwrap();
    pass(&db, &options, &t, 20, 2).await;
    assert!(db.resolve(&When::Time(then), SYS).unwrap().limit.is_none());
    assert!(db.resolve(&When::Pitr("p".to_owned(), then), SYS).is_ok());
    assert_eq!(db.window_start_of(SYS, &only("t")).unwrap(), db.window_start());
}

#[tokio::test]
async fn months_and_years_are_those_of_the_calendar() {
    let (db, options, ..) = store().await;
    // The clock stands at 2026-01-01 00:00 UTC.
    let mut pitr = db.create_pitr(&spec("p", Scope::Cluster, 1, RangeUnit::Month), &author()).unwrap();
    pitr.kept_from = Time(i64::MIN);
    let at = |text: &str| Time(text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
    for (now, unit, length, start) in [
        ("2026-03-31T12:00:00Z", RangeUnit::Month, 1, "2026-02-28T12:00:00Z"),
        ("2024-03-31T12:00:00Z", RangeUnit::Month, 1, "2024-02-29T12:00:00Z"),
        ("2024-02-29T12:00:00Z", RangeUnit::Year, 1, "2023-02-28T12:00:00Z"),
        ("2026-01-01T00:00:00Z", RangeUnit::Month, 100, "2017-09-01T00:00:00Z"),
        ("2026-01-01T05:00:00Z", RangeUnit::Hour, 6, "2025-12-31T23:00:00Z"),
        ("2026-03-01T05:00:00Z", RangeUnit::Day, 1, "2026-02-28T05:00:00Z"),
    ] {
        (pitr.length, pitr.unit) = (length, unit);
        assert_eq!(pitr.start(at(now)), at(start), "{now} - {length} {}", unit.letter());
    }
    drop(options);
}

#[tokio::test]
async fn a_snapshot_outside_the_window_admits_only_its_scope() {
    let (db, options, t, _) = store().await;
    let then = insert(&db, &t, &[(1, 1)]).await;
    let spec = SnapshotSpec::of("s", only("t"));
    db.create_snapshot(&spec, &author()).await.unwrap();
    pass(&db, &options, &t, 1, 2).await;
    options.env.advance(48 * HOUR);
    let limit = db.resolve(&When::Version(then), SYS).unwrap().limit.expect("only a snapshot keeps it");
    limit.admits_scope(&only("t")).unwrap();
    assert_eq!(limit.admits_scope(&only("u")).unwrap_err().kind(), Kind::OutOfWindow);
}

#[tokio::test]
async fn policies_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(folder.path(), options()).await.unwrap();
    let made = db.create_pitr(&spec("Week", Scope::Cluster, 7, RangeUnit::Day), &author()).unwrap();
    let taken = db.create_pitr(&spec("WEEK", Scope::Cluster, 8, RangeUnit::Day), &author()).unwrap_err();
    assert_eq!(taken.kind(), Kind::AlreadyExists(What::Pitr));
    db.close().await.unwrap();
    drop(db);
    let db = Database::open(folder.path(), options()).await.unwrap();
    assert_eq!(db.pitrs(SYS).unwrap(), [made]);
    assert!(db.metastore().check().unwrap().is_empty());
}

#[tokio::test]
async fn undo_brings_back_nothing_that_is_not_kept() {
    let (db, options, t, u) = store().await;
    db.create_pitr(&spec("p", only("t"), 7, RangeUnit::Day), &author()).unwrap();
    insert(&db, &t, &[(1, 1)]).await;
    insert(&db, &u, &[(1, 1)]).await;
    options.env.advance(HOUR);
    let mut txn = db.begin(author());
    txn.drop_table(&u).unwrap();
    let of_u = txn.commit().await.unwrap().version;
    let mut txn = db.begin(author());
    txn.drop_table(&t).unwrap();
    let of_t = txn.commit().await.unwrap().version;
    options.env.advance(HOUR);
    create_database(&db, "other").await;
    options.env.advance(72 * HOUR);
    create_database(&db, "another").await;

    let refused = db.undo(of_u, &author()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::OutOfWindow, "{refused}");
    assert!(refused.message().contains("outside the recovery window of table 'd.u'"), "{refused}");
    db.undo(of_t, &author()).await.unwrap();
    assert_eq!(pairs(&db, &named(&db, "d", "t")).await, [(1, 1)]);
}

#[tokio::test]
async fn undo_reads_what_was_before_and_that_must_be_kept_too() {
    let (db, options, t, _) = store().await;
    insert(&db, &t, &[(1, 1)]).await;
    let version = pass(&db, &options, &t, 1, 2).await;
    // The newest when the window begins, but what was before it is outside.
    options.env.advance(30 * HOUR);
    assert!(db.resolve(&When::Version(version), SYS).unwrap().limit.is_none());
    assert_eq!(db.undo(version, &author()).await.unwrap_err().kind(), Kind::OutOfWindow);
    assert_eq!(pairs(&db, &t).await, [(1, 1), (2, 2)]);
}

#[tokio::test]
async fn who_was_told_of_a_time_by_a_policy_is_not_told_otherwise_later() {
    let (db, options, t, _) = store().await;
    db.create_pitr(&spec("p", Scope::Cluster, 7, RangeUnit::Day), &author()).unwrap();
    options.env.advance(HOUR);
    let at = When::Pitr("p".to_owned(), options.env.now());
    let told = db.resolve(&at, SYS).unwrap().version;
    // The clock has not moved: the commit must not get the time that was asked about.
    insert(&db, &t, &[(1, 1)]).await;
    assert_eq!(db.resolve(&at, SYS).unwrap().version, told);
    let ahead = When::Pitr("p".to_owned(), options.env.now().plus_micros(HOUR));
    let refused = db.resolve(&ahead, SYS).unwrap_err();
    assert!(refused.to_string().contains("Give a time in the past"), "{refused}");
}

#[tokio::test]
async fn names_compare_without_case_in_every_script() {
    let (db, ..) = store().await;
    let made = db.create_pitr(&spec("\u{c4}rger", Scope::Cluster, 30, RangeUnit::Day), &author()).unwrap();
    let taken = db.create_pitr(&spec("\u{e4}rger", only("t"), 2, RangeUnit::Day), &author()).unwrap_err();
    assert_eq!(taken.kind(), Kind::AlreadyExists(What::Pitr));
    assert_eq!(db.pitrs(SYS).unwrap(), [made]);
}

#[tokio::test]
async fn what_was_the_newest_when_a_window_began_is_inside_by_its_time_too() {
    let (db, options, t, _) = store().await;
    db.create_pitr(&spec("p", only("t"), 2, RangeUnit::Day), &author()).unwrap();
    insert(&db, &t, &[(1, 1)]).await;
    let time = pass(&db, &options, &t, 1, 2).await;
    let time = db.resolve(&When::Version(time), SYS).unwrap().time;
    for rest in [40 * HOUR, 20 * HOUR] {
        options.env.advance(rest);
        assert!(db.resolve(&When::Time(time), SYS).unwrap().limit.is_none());
        db.resolve(&When::Pitr("p".to_owned(), time), SYS).unwrap();
        let points = db.recovery_points(SYS, &only("t"), None, None, 10).unwrap();
        assert!(points.iter().any(|point| point.time == time));
    }
    assert!(db.resolve(&When::Time(time.plus_micros(-1)), SYS).is_err());
    // Another commit ends that: a while later only the policy reaches it, and then nothing does.
    insert(&db, &t, &[(3, 3)]).await;
    options.env.advance(30 * HOUR);
    assert!(db.resolve(&When::Time(time), SYS).unwrap().limit.is_some());
    options.env.advance(30 * HOUR);
    assert!(db.resolve(&When::Time(time), SYS).is_err());
    assert!(db.resolve(&When::Pitr("p".to_owned(), time), SYS).is_err());
}

#[tokio::test]
async fn two_policies_together_keep_what_neither_keeps_alone() {
    let (db, options, t, u) = store().await;
    for (name, table) in [("a", "t"), ("b", "u")] {
        db.create_pitr(&spec(name, only(table), 7, RangeUnit::Day), &author()).unwrap();
    }
    insert(&db, &t, &[(1, 1)]).await;
    insert(&db, &u, &[(1, 1)]).await;
    let then = When::Time(options.env.now());
    pass(&db, &options, &t, 1, 2).await;
    pass(&db, &options, &t, 72, 3).await;
    let both = Scope::Tables("d".to_owned(), vec!["t".to_owned(), "u".to_owned()]);
    db.resolve(&then, SYS).unwrap().limit.unwrap().admits_scope(&both).unwrap();
    db.drop_pitr("b", &author()).unwrap();
    let refused = db.resolve(&then, SYS).unwrap().limit.unwrap().admits_scope(&both).unwrap_err();
    assert!(refused.message().contains("of table 'd.u'"), "{refused}");
}

#[tokio::test]
async fn windows_of_what_was_dropped_are_listed_as_long_as_they_reach_it() {
    let (db, options, t, _) = store().await;
    let begin = options.env.now();
    let database = Scope::Database("d".to_owned());
    db.create_pitr(&spec("p", database.clone(), 7, RangeUnit::Day), &author()).unwrap();
    options.env.advance(HOUR);
    let mut txn = db.begin(author());
    txn.drop_table(&t).unwrap();
    txn.commit().await.unwrap();
    let listed = |scope: &Scope| -> Vec<String> {
        let windows = db.recovery_windows(SYS, scope).unwrap();
        assert!(windows.iter().flat_map(|window| &window.windows).all(|(_, start)| *start >= begin));
        windows.into_iter().map(|window| window.scope.to_string()).collect()
    };
    options.env.advance(72 * HOUR);
    assert_eq!(listed(&only("T")), ["table 'd.T'"]);
    assert_eq!(listed(&database), ["database 'd'", "table 'd.u'", "table 'd.t'"]);
    let unknown = db.recovery_windows(SYS, &only("never")).unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound(What::Table));
    options.env.advance(96 * HOUR);
    create_database(&db, "other").await;
    options.env.advance(240 * HOUR);
    assert_eq!(db.recovery_windows(SYS, &only("t")).unwrap_err().kind(), Kind::NotFound(What::Table));
    assert_eq!(listed(&database), ["database 'd'", "table 'd.u'"]);
}

#[tokio::test]
async fn a_view_has_nothing_to_keep() {
    let (db, _, t, _) = store().await;
    let view =
        Table { view: Some("SELECT 1".to_owned()), name: "v".to_owned(), primary_key: Vec::new(), ..(*t).clone() };
    create_table(&db, view).await;
    let refused = db.create_pitr(&spec("p", only("v"), 7, RangeUnit::Day), &author()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "'d.v' is a view: it has no rows of its own to keep. Name the tables that it reads, or their database."
    );
    assert!(db.pitrs(SYS).unwrap().is_empty());
}

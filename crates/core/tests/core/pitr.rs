//! Recovery windows: what policies keep, and what they do not.

use std::sync::Arc;

use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::{Kind, What};
use strandline_core::history::pitr::PitrSpec;
use strandline_core::history::restore::{RestoreRequest, Target};
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
    RestoreRequest {
        scope,
        when,
        target: Target::InPlace,
        overwrite: false,
        keep_copy: false,
        create_database: false,
        foreign_key_checks: true,
    }
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
    pass(&db, &options, &t, 30, 2).await;
    let made = options.env.now();
    let pitr = db.create_pitr(&spec("p", Scope::Cluster, 7, RangeUnit::Day), &author()).unwrap();
    assert_eq!(pitr.kept_from, made.plus_micros(-24 * HOUR));
    let refused = db.resolve(&When::Time(lost), SYS).unwrap_err();
    assert_eq!(refused.kind(), Kind::OutOfWindow);
    // A day later the window has grown, and not beyond where it began.
    pass(&db, &options, &t, 24, 3).await;
    assert!(db.resolve(&When::Time(made.plus_micros(-23 * HOUR)), SYS).is_ok());
    assert!(db.resolve(&When::Time(made.plus_micros(-25 * HOUR)), SYS).is_err());
    assert!(db.resolve(&When::Pitr("P".to_owned(), made), SYS).is_ok());

    // Shorter forgets; longer again does not bring back.
    db.alter_pitr("p", 25, RangeUnit::Hour, &author()).unwrap();
    let shortened = options.env.now();
    db.alter_pitr("p", 1, RangeUnit::Month, &author()).unwrap();
    let start = db.window_start_of(SYS, &Scope::Cluster).unwrap();
    assert_eq!(start, shortened.plus_micros(-25 * HOUR));
    let refused = db.resolve(&When::Pitr("p".to_owned(), made.plus_micros(-HOUR * 2)), SYS).unwrap_err();
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

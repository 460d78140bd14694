//! Snapshots with terms and bases, what they take on disk, and dropping many.

use std::sync::Arc;

use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::{Kind, What};
use strandline_core::history::restore::{RestoreRequest, Target};
use strandline_core::history::snapshot::{SnapshotSpec, Term, TermUnit};
use strandline_core::ids::{PinId, Time};
use strandline_core::log::{Pin, Scope, Terms};
use strandline_core::schema::Table;
use strandline_core::upkeep::storage::SnapshotSize;
use strandline_core::when::When;

use crate::support::*;

const HOUR: i64 = 3600 * 1_000_000;

fn only(name: &str) -> Scope {
    Scope::Tables("d".to_owned(), vec![name.to_owned()])
}

async fn store() -> (Database, Options, Arc<Table>) {
    let options = options();
    let db = Database::in_memory(options.clone()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    (db, options, t)
}

async fn take(db: &Database, name: &str, scope: Scope) -> Pin {
    db.create_snapshot(&SnapshotSpec::of(name, scope), &author()).await.unwrap()
}

async fn take_on(db: &Database, name: &str, scope: Scope, base: &str) -> strandline_core::error::Result<Pin> {
    let spec = SnapshotSpec { base: Some(base.to_owned()), ..SnapshotSpec::of(name, scope) };
    db.create_snapshot(&spec, &author()).await
}

async fn size(db: &Database, name: &str) -> SnapshotSize {
    let sizes = db.snapshot_sizes(SYS, |_| true).await.unwrap();
    sizes.into_iter().find(|size| size.pin.name == name).expect("listed")
}

fn names(pins: &[Pin]) -> Vec<&str> {
    let mut names: Vec<&str> = pins.iter().map(|pin| pin.name.as_str()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_snapshot_with_a_term_is_dropped_when_it_ends() {
    let (db, options, _) = store().await;
    let until = options.env.now().plus_micros(24 * HOUR);
    let spec = SnapshotSpec { retain_until: Some(until), ..SnapshotSpec::of("short", Scope::Cluster) };
    db.create_snapshot(&spec, &author()).await.unwrap();
    take(&db, "for_ever", Scope::Cluster).await;
    options.env.advance(24 * HOUR - 1);
    db.tick_policies().await.unwrap();
    assert_eq!(names(&db.snapshots(SYS).unwrap()), ["for_ever", "short"]);
    options.env.advance(1);
    db.tick_policies().await.unwrap();
    assert_eq!(names(&db.snapshots(SYS).unwrap()), ["for_ever"]);
}

#[tokio::test]
async fn an_expired_base_stays_as_long_as_what_is_based_on_it() {
    let (db, options, _) = store().await;
    let until = |hours| Some(options.env.now().plus_micros(hours * HOUR));
    let spec = SnapshotSpec { retain_until: until(1), ..SnapshotSpec::of("base", Scope::Cluster) };
    db.create_snapshot(&spec, &author()).await.unwrap();
    let spec = SnapshotSpec {
        retain_until: until(2),
        base: Some("base".to_owned()),
        ..SnapshotSpec::of("on_it", Scope::Cluster)
    };
    db.create_snapshot(&spec, &author()).await.unwrap();
    options.env.advance(HOUR);
    assert!(db.drop_expired().unwrap().is_empty());
    options.env.advance(HOUR);
    assert_eq!(names(&db.drop_expired().unwrap()), ["base", "on_it"]);
}

#[test]
fn terms_end_by_the_calendar() {
    let at = |text: &str| Time(text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
    let berlin = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    for (from, count, unit, end) in [
        ("2026-01-31T12:00:00Z", 1, TermUnit::Month, "2026-02-28T12:00:00Z"),
        ("2024-02-29T12:00:00Z", 1, TermUnit::Year, "2025-02-28T12:00:00Z"),
        // A day over the change to summer time has 23 hours.
        ("2026-03-28T12:00:00Z", 1, TermUnit::Day, "2026-03-29T11:00:00Z"),
        ("2026-03-28T12:00:00Z", 24, TermUnit::Hour, "2026-03-29T12:00:00Z"),
        ("2026-01-01T00:00:00Z", 2, TermUnit::Week, "2026-01-15T00:00:00Z"),
    ] {
        assert_eq!(Term { count, unit }.after(at(from), &berlin).unwrap(), at(end), "{from} + {count} {unit:?}");
    }
    let none = Term { count: 0, unit: TermUnit::Day }.after(Time(0), &berlin).unwrap_err();
    assert_eq!(none.kind(), Kind::Invalid);
    let far = Term { count: u32::MAX, unit: TermUnit::Year }.after(Time(0), &berlin).unwrap_err();
    assert_eq!(far.kind(), Kind::Invalid);
}

#[tokio::test]
async fn sizes_are_of_the_files_and_unique_what_nobody_else_has() {
    let (db, options, t) = store().await;
    take(&db, "empty", Scope::Cluster).await;
    insert(&db, &t, &[(1, 1), (2, 2)]).await;
    db.flush().await.unwrap();
    take(&db, "a", only("t")).await;
    take(&db, "b", Scope::Database("d".to_owned())).await;
    assert_eq!((size(&db, "empty").await.bytes, size(&db, "empty").await.unique_bytes), (0, 0));
    let a = size(&db, "a").await;
    assert!(a.bytes > 0);
    assert_eq!((a.unique_bytes, size(&db, "b").await.bytes), (0, a.bytes));
    // The present lets go; two snapshots still share it.
    let mut txn = db.begin(author());
    txn.drop_table(&t).unwrap();
    txn.commit().await.unwrap();
    assert_eq!(size(&db, "a").await.unique_bytes, 0);
    db.drop_snapshot("b", false, &author()).unwrap();
    let a = size(&db, "a").await;
    assert_eq!((a.unique_bytes, a.damage), (0, None), "the recovery window has it too");
    options.env.advance(30 * HOUR);
    create_database(&db, "later").await;
    options.env.advance(HOUR);
    let a = size(&db, "a").await;
    assert_eq!(a.unique_bytes, a.bytes);
    assert!(a.freed_bytes > a.bytes, "and the list of its files");
}

#[tokio::test]
async fn an_incremental_snapshot_counts_what_was_added_since_its_base() {
    let (db, _, t) = store().await;
    insert(&db, &t, &[(1, 1), (2, 2)]).await;
    db.flush().await.unwrap();
    take(&db, "base", only("t")).await;
    take_on(&db, "same", only("T"), "BASE").await.unwrap();
    assert_eq!(size(&db, "same").await.bytes, 0);
    insert(&db, &t, &[(3, 3)]).await;
    db.flush().await.unwrap();
    take_on(&db, "more", only("t"), "base").await.unwrap();
    take(&db, "all", only("t")).await;
    let (base, more, all) = (size(&db, "base").await, size(&db, "more").await, size(&db, "all").await);
    assert!(more.bytes > 0);
    assert_eq!(more.bytes, all.bytes - base.bytes, "the first part stands in both manifests");
}

#[tokio::test]
async fn a_base_has_the_same_scope_and_stands() {
    let (db, _, t) = store().await;
    insert(&db, &t, &[(1, 1)]).await;
    take(&db, "base", only("t")).await;
    let other = take_on(&db, "x", Scope::Database("d".to_owned()), "base").await.unwrap_err();
    assert!(other.message().contains("needs a base of the same scope"), "{other}");
    let missing = take_on(&db, "x", only("t"), "nothing").await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound(What::Snapshot));
    insert(&db, &t, &[(2, 2)]).await;
    take(&db, "late", only("t")).await;
    let spec = SnapshotSpec {
        when: strandline_core::when::When::Snapshot("base".to_owned()),
        base: Some("late".to_owned()),
        ..SnapshotSpec::of("x", only("t"))
    };
    let newer = db.create_snapshot(&spec, &author()).await.unwrap_err();
    assert!(newer.message().contains("is newer"), "{newer}");

    take_on(&db, "one", only("t"), "base").await.unwrap();
    take_on(&db, "two", only("t"), "one").await.unwrap();
    let refused = db.drop_snapshot("base", false, &author()).unwrap_err();
    assert_eq!(refused.to_string(), "Snapshot 'base' is the base of 'one', 'two'. Drop them first, or add CASCADE.");
    assert_eq!(names(&db.drop_snapshot("base", true, &author()).unwrap()), ["base", "one", "two"]);
    assert_eq!(names(&db.snapshots(SYS).unwrap()), ["late"]);
}

#[tokio::test]
async fn a_base_that_goes_before_the_commit_costs_that_commit_only() {
    let (db, _, t) = store().await;
    let base = take(&db, "base", Scope::Cluster).await;
    let mut txn = db.begin(author());
    let terms = Terms { base: Some(base.id), ..Terms::default() };
    txn.create_snapshot("on_it", Scope::Cluster, "", Vec::new(), terms).unwrap();
    db.drop_snapshot("base", false, &author()).unwrap();
    assert_eq!(txn.commit().await.unwrap_err().kind(), Kind::Conflict);
    insert(&db, &t, &[(1, 1)]).await;
    assert!(db.snapshots(SYS).unwrap().is_empty());
}

#[tokio::test]
async fn both_metastores_hold_bases() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = Database::open(folder.path(), options()).await.unwrap();
    for db in [on_disk, Database::in_memory(options()).await.unwrap()] {
        let base = take(&db, "base", Scope::Cluster).await;
        take_on(&db, "on_it", Scope::Cluster, "base").await.unwrap();
        let metastore = db.metastore();
        assert_eq!(metastore.drop_pins(&[base.id]).unwrap_err().kind(), Kind::Conflict);
        assert_eq!(metastore.pins().unwrap().len(), 2);
        let missing = Terms { base: Some(PinId(99)), ..Terms::default() };
        let pin = Pin { id: PinId(0), name: "x".to_owned(), terms: missing, ..base };
        assert_eq!(metastore.put_pin(&pin).unwrap_err().kind(), Kind::Conflict);
        let ids: Vec<PinId> = metastore.pins().unwrap().iter().map(|pin| pin.id).collect();
        assert_eq!(metastore.drop_pins(&ids).unwrap(), 2);
        assert!(metastore.check().unwrap().is_empty());
    }
}

#[tokio::test]
async fn many_are_dropped_by_age_and_scope() {
    let (db, options, _) = store().await;
    take(&db, "cluster", Scope::Cluster).await;
    take(&db, "d1", Scope::Database("d".to_owned())).await;
    take(&db, "t1", only("t")).await;
    options.env.advance(HOUR);
    let before = options.env.now();
    take(&db, "d2", Scope::Database("d".to_owned())).await;
    take_on(&db, "t2", only("t"), "t1").await.unwrap();
    let scope = Scope::Database("d".to_owned());

    let plan = db.plan_drop_older(SYS, &scope, before, false).unwrap();
    let kept = |name: &str| plan.iter().find(|decision| decision.pin.name == name).map(|decision| decision.keep);
    assert_eq!((kept("cluster"), kept("d1"), kept("d2")), (None, Some(false), Some(true)));
    let base = plan.iter().find(|decision| decision.pin.name == "t1").unwrap();
    assert_eq!((base.keep, base.reason.as_str()), (true, "the base of 't2'"));
    assert_eq!(names(&db.apply_decisions(&plan).unwrap()), ["d1"]);

    let plan = db.plan_drop_older(SYS, &scope, before, true).unwrap();
    assert_eq!(names(&db.apply_decisions(&plan).unwrap()), ["t1", "t2"]);
    assert_eq!(names(&db.snapshots(SYS).unwrap()), ["cluster", "d2"]);
}

#[tokio::test]
async fn thousands_of_snapshots_are_sized_from_few_manifests() {
    let (db, _, t) = store().await;
    for round in 0..4 {
        insert(&db, &t, &[(round, round)]).await;
        db.flush().await.unwrap();
        for number in 0..500 {
            take(&db, &format!("s{round}_{number}"), only("t")).await;
        }
    }
    let sizes = db.snapshot_sizes(SYS, |_| true).await.unwrap();
    assert_eq!(sizes.len(), 2000);
    assert!(sizes.iter().all(|size| size.bytes > 0 && size.unique_bytes == 0));
}

#[tokio::test]
async fn a_snapshot_of_some_columns_is_not_widened() {
    let (db, _, _) = store().await;
    let narrow = SnapshotSpec { columns: vec!["id".to_owned()], ..SnapshotSpec::of("narrow", only("t")) };
    db.create_snapshot(&narrow, &author()).await.unwrap();
    let at = |name: &str, columns: &[&str]| SnapshotSpec {
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        when: When::Snapshot("narrow".to_owned()),
        ..SnapshotSpec::of(name, only("t"))
    };
    for columns in [&[][..], &["id", "v"]] {
        let refused = db.create_snapshot(&at("wide", columns), &author()).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::NotFound(What::Column), "{refused}");
    }
    db.create_snapshot(&at("same", &["id"]), &author()).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_taken_is_said_before_all_else() {
    let (db, _, _) = store().await;
    take(&db, "base", only("t")).await;
    db.drop_snapshot("base", false, &author()).unwrap();
    take(&db, "s", only("t")).await;
    let taken = take_on(&db, "S", only("t"), "base").await.unwrap_err();
    assert_eq!(taken.kind(), Kind::AlreadyExists(What::Snapshot));
}

#[tokio::test]
async fn a_file_that_two_manifests_of_one_snapshot_share_counts_once_and_deletions_count() {
    let (db, _, t) = store().await;
    insert(&db, &t, &[(1, 1), (2, 2), (3, 3)]).await;
    db.flush().await.unwrap();
    take(&db, "whole", only("t")).await;
    let whole = size(&db, "whole").await;
    // The same part, with a deletion vector beside it.
    let mut txn = db.begin(author());
    txn.delete(&t, &key_batch(&t, &[key_of(&t, &row(&t, 1, 1))])).await.unwrap();
    txn.commit().await.unwrap();
    db.flush().await.unwrap();
    take(&db, "less", only("t")).await;
    let less = size(&db, "less").await;
    assert!(less.bytes > whole.bytes, "the vector is a file too: {} and {}", less.bytes, whole.bytes);
    assert_eq!((whole.unique_bytes, less.unique_bytes), (0, 0));
    // Another table with the manifest of before: the snapshot of both has the part once.
    let request = RestoreRequest {
        target: Target::Name("then".to_owned()),
        ..RestoreRequest::of(only("t"), When::Snapshot("whole".to_owned()))
    };
    db.restore(request, &author()).await.unwrap();
    take(&db, "both", Scope::Database("d".to_owned())).await;
    assert_eq!(size(&db, "both").await.bytes, less.bytes);
}

#[tokio::test]
async fn a_snapshot_whose_manifest_is_damaged_says_so_and_the_others_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(folder.path(), options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let u = create_table(&db, table(database, "u", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 1)]).await;
    db.flush().await.unwrap();
    take(&db, "bad", only("t")).await;
    let manifest = std::fs::read_dir(folder.path().join("manifests")).unwrap().next().unwrap().unwrap().path();
    insert(&db, &u, &[(1, 1)]).await;
    db.flush().await.unwrap();
    take(&db, "good", only("u")).await;
    db.close().await.unwrap();
    drop(db);
    std::fs::remove_file(manifest).unwrap();
    let db = Database::open(folder.path(), options()).await.unwrap();
    assert!(size(&db, "bad").await.damage.is_some());
    let good = size(&db, "good").await;
    assert!(good.damage.is_none() && good.bytes > 0, "{good:?}");
}

/// One drops a base while another takes a snapshot on it: both cannot be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_is_dropped_or_built_on() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = Database::open(folder.path(), options()).await.unwrap();
    for db in [on_disk, Database::in_memory(options()).await.unwrap()] {
        for _ in 0..50 {
            take(&db, "base", Scope::Cluster).await;
            let (dropper, taker) = (db.clone(), db.clone());
            let dropped = tokio::task::spawn_blocking(move || dropper.drop_snapshot("base", false, &author()));
            let taken = tokio::spawn(async move { take_on(&taker, "on_it", Scope::Cluster, "base").await });
            let (dropped, taken) = (dropped.await.unwrap(), taken.await.unwrap());
            let left = db.snapshots(SYS).unwrap();
            match (&dropped, &taken) {
                (Ok(_), Err(error)) => {
                    assert!(matches!(error.kind(), Kind::Conflict | Kind::NotFound(What::Snapshot)), "{error}");
                    assert!(left.is_empty(), "{left:?}");
                }
                (Err(error), Ok(pin)) => {
                    assert!(error.message().contains("is the base of 'on_it'"), "{error}");
                    assert_eq!((left.len(), pin.terms.base), (2, left.iter().find(|p| p.name == "base").map(|p| p.id)));
                    db.drop_snapshot("base", true, &author()).unwrap();
                }
                both => panic!("{both:?}"),
            }
        }
    }
}

//! What an undo takes back beside rows, what it refuses, and whom it names.

use std::sync::Arc;

use strandline_core::db::{Database, SYS};
use strandline_core::history::restore::{Action, RestoreRequest, Target};
use strandline_core::ids::{ColumnId, Version};
use strandline_core::log::Scope;
use strandline_core::room::Held;
use strandline_core::schema::{Table, Type};
use strandline_core::when::When;

use crate::support::*;

async fn store() -> (Database, Arc<Table>) {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    (db, t)
}

async fn alter(db: &Database, table: Table) -> Version {
    let mut txn = db.begin(author());
    txn.alter_table(table).unwrap();
    txn.commit().await.unwrap().version
}

async fn refused(db: &Database, version: Version) -> String {
    let before = db.now().version();
    let error = db.undo(version, &author()).await.unwrap_err();
    assert_eq!(db.now().version(), before);
    format!("{error} {}", error.hint().unwrap_or_default())
}

#[tokio::test]
async fn a_definition_goes_back_where_nothing_came_since() {
    let (db, t) = store().await;
    insert(&db, &t, &[(1, 1)]).await;
    let mut wider = Table { name: "u".to_owned(), next_column: ColumnId(5), ..t.as_ref().clone() };
    wider.columns.push(column(4, "more", Type::Int32, true));
    let altered = alter(&db, wider.clone()).await;
    let report = db.undo(altered, &author()).await.unwrap();
    assert_eq!(report.steps[0].action, Action::Restore);
    let now = named(&db, "d", "t");
    assert_eq!((now.columns.len(), now.next_column), (2, ColumnId(5)), "the id of the column is not used again");
    assert_eq!(pairs(&db, &now).await, [(1, 1)]);
    // The undo is a commit, and can be undone.
    db.undo(report.version_after, &author()).await.unwrap();
    assert_eq!(named(&db, "d", "u").columns.len(), 3);
    let text = refused(&db, altered).await;
    assert!(text.contains("table 'u' was changed since by version"), "{text}");
}

#[tokio::test]
async fn a_name_that_another_has_taken_stays_with_it() {
    let (db, t) = store().await;
    let other = create_table(&db, table(t.database, "other", Shape::Keyed)).await;
    let renamed = alter(&db, Table { name: "u".to_owned(), ..t.as_ref().clone() }).await;
    alter(&db, Table { name: "t".to_owned(), ..other.as_ref().clone() }).await;
    assert!(refused(&db, renamed).await.contains("Rename the table that has the name now"));
    assert_eq!((named(&db, "d", "t").id, named(&db, "d", "u").id), (other.id, t.id));
}

#[tokio::test]
async fn databases_come_and_go() {
    let (db, t) = store().await;
    insert(&db, &t, &[(1, 1)]).await;
    let mut txn = db.begin(author());
    let d = txn.catalog().database(SYS, "d").unwrap().clone();
    txn.drop_database(&d).unwrap();
    let dropped = txn.commit().await.unwrap().version;
    db.undo(dropped, &author()).await.unwrap();
    assert_eq!(pairs(&db, &named(&db, "d", "t")).await, [(1, 1)]);

    create_database(&db, "e").await;
    let made = db.now().version();
    db.undo(made, &author()).await.unwrap();
    assert!(db.now().catalog().database(SYS, "e").is_err());
    assert!(refused(&db, made).await.contains("database 'e' was dropped since"));
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_said_with_the_commit() {
    let (db, t) = store().await;
    let made = Version(db.now().version().0);
    let first = insert(&db, &t, &[(1, 1), (2, 2)]).await;
    let second = insert(&db, &t, &[(3, 3)]).await;
    let mut txn = db.begin(author());
    txn.set_what("DELETE of one".to_owned());
    txn.delete(&t, &key_batch(&t, &[key_of(&t, &row(&t, 2, 2))])).await.unwrap();
    let deleted = txn.commit().await.unwrap().version;
    insert(&db, &t, &[(4, 4)]).await;
    let text = refused(&db, first).await;
    assert!(text.contains(&format!("row '2' of 't' was deleted since by version {deleted} (DELETE of one)")), "{text}");

    let mut txn = db.begin(author());
    txn.drop_table(&t).unwrap();
    let dropped = txn.commit().await.unwrap().version;
    for version in [made, second] {
        let text = refused(&db, version).await;
        assert!(text.contains(&format!("table 't' was dropped since by version {dropped}")), "{text}");
    }
}

#[tokio::test]
async fn an_update_of_a_column_that_is_gone_is_not_undone() {
    let (db, t) = store().await;
    insert(&db, &t, &[(1, 1)]).await;
    let mut txn = db.begin(author());
    let rows = [row(&t, 1, 60)];
    txn.update(&t, &key_batch(&t, &[key_of(&t, &rows[0])]), &batch(&t, &rows, None)).await.unwrap();
    let updated = txn.commit().await.unwrap().version;
    let mut narrow = t.as_ref().clone();
    narrow.columns.pop();
    alter(&db, narrow).await;
    let text = refused(&db, updated).await;
    assert!(text.contains("column 'v' of 't' was changed since by version"), "{text}");
}

#[tokio::test]
async fn what_was_dropped_has_commits_and_recovery_points() {
    let (db, t) = store().await;
    let made = db.now().version();
    let filled = insert(&db, &t, &[(1, 1)]).await;
    let mut txn = db.begin(author());
    txn.drop_table(&t).unwrap();
    let dropped = txn.commit().await.unwrap().version;
    let mut txn = db.begin(author());
    let d = txn.catalog().database(SYS, "d").unwrap().clone();
    txn.drop_database(&d).unwrap();
    let gone = txn.commit().await.unwrap().version;
    let created = Version(made.0 - 1);

    let whole = Scope::Database("d".to_owned());
    let table = Scope::Tables("d".to_owned(), vec!["t".to_owned()]);
    let versions = |scope| -> Vec<Version> {
        db.commits(SYS, scope, 10).unwrap().iter().map(|entry| entry.head.version).collect()
    };
    assert_eq!(versions(&whole), [gone, dropped, filled, made, created]);
    assert_eq!(versions(&table), [dropped, filled, made]);
    let points = |scope| -> Vec<Version> {
        db.recovery_points(SYS, scope, None, None, 10).unwrap().iter().map(|point| point.version).collect()
    };
    assert_eq!(points(&whole), [dropped, filled, made, created]);
    assert_eq!(points(&table), [filled, made]);
    assert_eq!(db.names_at(t.id, gone).unwrap(), Some(("d".to_owned(), "t".to_owned())));
    assert!(db.commits(SYS, &Scope::Database("never".to_owned()), 10).is_err());
}

#[tokio::test]
async fn what_is_stopped_before_its_commit_changes_nothing() {
    let (db, table) = store().await;
    let first = insert(&db, &table, &[(1, 1)]).await;
    let second = insert(&db, &table, &[(2, 2)]).await;
    let cancelled = strandline_core::error::Kind::Cancelled;
    let stopped = db.undo_unless(second, &author(), &Held::uncounted, std::future::ready(())).await;
    assert_eq!(stopped.unwrap_err().kind(), cancelled);
    let request = RestoreRequest {
        scope: Scope::Tables("d".to_owned(), vec!["t".to_owned()]),
        when: When::Version(first),
        target: Target::InPlace,
        overwrite: false,
        keep_copy: false,
        create_database: false,
        foreign_key_checks: true,
    };
    let plan = db.plan_restore(request, &author()).await.unwrap();
    let stopped = db.apply_restore_unless(&plan, Vec::new(), &author(), std::future::ready(())).await;
    assert_eq!(stopped.unwrap_err().kind(), cancelled);
    assert_eq!(db.now().version(), second);
    assert_eq!(db.now().scan(&table).await.unwrap().row_count(), 2);
    db.undo(second, &author()).await.unwrap();
    assert_eq!(db.now().scan(&table).await.unwrap().row_count(), 1);
}

async fn delete(db: &Database, table: &Arc<Table>, ids: std::ops::RangeInclusive<i32>) -> Version {
    let keys: Vec<_> = ids.map(|id| key_of(table, &row(table, id, id))).collect();
    let mut txn = db.begin(author());
    txn.delete(table, &key_batch(table, &keys)).await.unwrap();
    txn.commit().await.unwrap().version
}

/// No row of it is read, and others that wrote since are not in the way of what is written row by row.
#[tokio::test]
async fn a_commit_of_many_rows_gives_the_table_its_content_back() {
    let (db, table) = store().await;
    let all: Vec<(i32, i32)> = (1..=9).map(|id| (id, id)).collect();
    load(&db, &table, &all).await;
    let deleted = delete(&db, &table, 1..=7).await;
    let report = db.undo(deleted, &author()).await.unwrap();
    assert_eq!((report.steps[0].rows_before, report.steps[0].rows_after), (Some(0), Some(7)));
    assert_eq!(pairs(&db, &table).await, all);
    // The undo is a commit, and can be undone; after another commit too, row by row.
    let again = db.undo(report.version_after, &author()).await.unwrap();
    assert_eq!(pairs(&db, &table).await, all[7..]);
    insert(&db, &table, &[(20, 20)]).await;
    let report = db.undo(again.version_after, &author()).await.unwrap();
    assert_eq!((report.steps[0].rows_before, report.steps[0].rows_after), (Some(0), Some(7)));
    assert_eq!(pairs(&db, &table).await.len(), 10);
}

/// Undoes a commit, while another writes a row between what the undo read and its commit.
fn undo_beside_an_insert(db: &Database, table: &Arc<Table>, version: Version) -> strandline_core::error::Result<()> {
    let once = std::sync::Once::new();
    // What counts the memory of an undo is asked when the undo has begun.
    let held = || {
        once.call_once(|| {
            std::thread::scope(|scope| scope.spawn(|| run(insert(db, table, &[(50, 50)]))).join().unwrap());
        });
        Held::uncounted()
    };
    run(db.undo_unless(version, &author(), &held, std::future::pending())).map(drop)
}

/// Runs a future on a thread of its own.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_beside_an_undo_of_many_rows_stays() {
    let (db, table) = store().await;
    let all: Vec<(i32, i32)> = (1..=9).map(|id| (id, id)).collect();
    load(&db, &table, &all).await;
    let deleted = delete(&db, &table, 1..=7).await;
    std::thread::scope(|scope| {
        scope.spawn(|| undo_beside_an_insert(&db, &table, deleted)).join().unwrap().unwrap();
    });
    assert_eq!(pairs(&db, &table).await, [&all[..], &[(50, 50)]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_beside_an_undo_of_a_definition_stays() {
    let (db, t) = store().await;
    insert(&db, &t, &[(1, 1)]).await;
    let altered = alter(&db, Table { name: "u".to_owned(), ..t.as_ref().clone() }).await;
    let u = named(&db, "d", "u");
    let outcome = std::thread::scope(|scope| scope.spawn(|| undo_beside_an_insert(&db, &u, altered)).join().unwrap());
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("table 'u' was changed since by version"), "{error}");
    assert_eq!(pairs(&db, &u).await, [(1, 1), (50, 50)]);
}

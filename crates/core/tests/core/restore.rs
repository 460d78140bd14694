//! Restores over renames, repeated ones, and what their plans tell.

use std::sync::Arc;
use strandline_core::db::{Database, SYS};
use strandline_core::history::restore::{Action, RestoreReport, RestoreRequest};
use strandline_core::ids::Version;
use strandline_core::log::{EntryQuery, Scope};
use strandline_core::schema::Table;

use crate::invariants::in_place;
use crate::support::*;

fn only(name: &str) -> Scope {
    Scope::Tables("d".to_owned(), vec![name.to_owned()])
}

async fn rename(db: &Database, table: &Arc<Table>, to: &str) -> Arc<Table> {
    let mut txn = db.begin(author());
    let renamed = txn.alter_table(Table { name: to.to_owned(), ..table.as_ref().clone() }).unwrap();
    txn.commit().await.unwrap();
    renamed
}

fn told(report: &RestoreReport) -> Vec<(Action, &str, &str)> {
    report.steps.iter().map(|line| (line.action, line.database.as_str(), line.table.as_str())).collect()
}

async fn planned(db: &Database, request: RestoreRequest) -> Vec<(Action, String, String)> {
    let plan = db.plan_restore(request, &author()).await.unwrap();
    plan.steps.iter().map(|step| (step.action, step.database.clone(), step.table.clone())).collect()
}

async fn one_table(db: &Database) -> (Arc<Table>, Version) {
    let database = create_database(db, "d").await;
    let o = create_table(db, table(database, "o", Shape::Keyed)).await;
    let good = insert(db, &o, &[(1, 1)]).await;
    insert(db, &o, &[(2, 2), (3, 3)]).await;
    (o, good)
}

#[tokio::test]
async fn a_restore_leaves_a_table_alone_that_it_does_not_name() {
    let db = Database::in_memory(options()).await.unwrap();
    let (o, good) = one_table(&db).await;
    let broken = rename(&db, &o, "o_broken").await;

    let report = db.restore(in_place(only("o"), good), &author()).await.unwrap();
    assert_eq!(told(&report), [(Action::Create, "d", "o")]);
    assert_eq!(pairs(&db, &named(&db, "d", "o")).await, [(1, 1)]);
    assert_eq!(named(&db, "d", "o_broken"), broken);
    assert_eq!(pairs(&db, &broken).await, [(1, 1), (2, 2), (3, 3)]);
    // The commit says what it did.
    let query =
        EntryQuery { from: report.version_after, upto: report.version_after, tables: None, upkeep: false, limit: 1 };
    let entry = db.metastore().entries(&query).unwrap().remove(0);
    assert_eq!(entry.tables, [(named(&db, "d", "o").id, 1, 0)]);

    // Another table that took the name makes room, and only that one.
    let mut txn = db.begin(author());
    txn.drop_table(&named(&db, "d", "o")).unwrap();
    txn.commit().await.unwrap();
    let other = create_table(&db, table(broken.database, "o", Shape::Keyless)).await;
    insert(&db, &other, &[(9, 9)]).await;
    let plan = planned(&db, in_place(only("o"), good)).await;
    let names = plan.iter().map(|(action, _, table)| (*action, table.as_str()));
    assert_eq!(names.collect::<Vec<_>>(), [(Action::Drop, "o"), (Action::Create, "o")]);
    db.restore(in_place(only("o"), good), &author()).await.unwrap();
    assert_eq!(pairs(&db, &named(&db, "d", "o")).await, [(1, 1)]);
    assert_eq!(pairs(&db, &broken).await, [(1, 1), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn tables_that_are_named_together_get_their_names_back() {
    let db = Database::in_memory(options()).await.unwrap();
    let (a, _) = one_table(&db).await;
    let b = create_table(&db, table(a.database, "b", Shape::Keyed)).await;
    let good = insert(&db, &b, &[(7, 7)]).await;
    let a = rename(&db, &a, "kept").await;
    rename(&db, &b, "o").await;
    let both = Scope::Tables("d".to_owned(), vec!["o".to_owned(), "b".to_owned()]);
    let report = db.restore(in_place(both, good), &author()).await.unwrap();
    assert!(told(&report).contains(&(Action::Rename, "d", "o")), "{report:?}");
    assert_eq!(named(&db, "d", "b").id, b.id);
    assert_eq!(pairs(&db, &named(&db, "d", "o")).await, [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(named(&db, "d", "kept"), a);
}

#[tokio::test]
async fn a_database_tells_which_names_go() {
    let db = Database::in_memory(options()).await.unwrap();
    let (o, good) = one_table(&db).await;
    rename(&db, &o, "o_broken").await;
    let whole = in_place(Scope::Database("d".to_owned()), good);
    let plan = planned(&db, whole.clone()).await;
    let names: Vec<_> = plan.iter().map(|(action, _, table)| (*action, table.as_str())).collect();
    assert_eq!(names, [(Action::Rename, "o_broken"), (Action::Restore, "o")]);
    // A table that lies in another database is not this one's any more.
    let elsewhere = create_database(&db, "elsewhere").await;
    let mut txn = db.begin(author());
    let now = named(&db, "d", "o_broken");
    let moved = txn.alter_table(Table { database: elsewhere, ..now.as_ref().clone() }).unwrap();
    txn.commit().await.unwrap();
    let report = db.restore(whole, &author()).await.unwrap();
    assert_eq!(told(&report), [(Action::Create, "d", "o")]);
    assert_eq!(pairs(&db, &moved).await, [(1, 1), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn a_rename_between_plan_and_restore_is_planned_for() {
    let db = Database::in_memory(options()).await.unwrap();
    let (o, good) = one_table(&db).await;
    let plan = db.plan_restore(in_place(only("o"), good), &author()).await.unwrap();
    let broken = rename(&db, &o, "o_broken").await;
    let error = db.apply_restore(&plan, &author()).await.unwrap_err();
    assert_eq!(error.kind(), strandline_core::error::Kind::Conflict);
    assert_eq!(pairs(&db, &broken).await, [(1, 1), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn a_second_restore_finds_nothing_to_do() {
    let db = Database::in_memory(options()).await.unwrap();
    let (o, good) = one_table(&db).await;
    let keyless = create_table(&db, table(o.database, "k", Shape::Keyless)).await;
    insert(&db, &keyless, &[(4, 4)]).await;
    let mut txn = db.begin(author());
    let mut wider = o.as_ref().clone();
    wider.next_column = strandline_core::ids::ColumnId(5);
    wider.columns.push(column(4, "more", strandline_core::schema::Type::Int32, true));
    txn.alter_table(wider).unwrap();
    txn.commit().await.unwrap();
    for flush in [false, true] {
        for scope in [Scope::Database("d".to_owned()), Scope::Cluster] {
            let mut request = in_place(scope, good);
            request.keep_copy = true;
            let now = named(&db, "d", "o");
            let mut txn = db.begin(author());
            txn.truncate(&now).await.unwrap();
            txn.commit().await.unwrap();
            let first = db.restore(request.clone(), &author()).await.unwrap();
            if flush {
                db.flush().await.unwrap();
            }
            request.keep_copy = request.scope != Scope::Cluster;
            let before = db.now().version();
            let again = planned(&db, in_place(only("o"), good)).await;
            assert_eq!(again, [(Action::Keep, "d".to_owned(), "o".to_owned())], "flushed: {flush}");
            if request.keep_copy {
                let second = db.restore(request, &author()).await.unwrap();
                assert_eq!(db.now().version(), before, "{second:?} after {first:?}");
            }
            assert_eq!(pairs(&db, &named(&db, "d", "o")).await, [(1, 1)]);
        }
    }
    // A row that came is seen.
    insert(&db, &named(&db, "d", "o"), &[(5, 5)]).await;
    assert_eq!(planned(&db, in_place(only("o"), good)).await[0].0, Action::Restore);
}

#[tokio::test]
async fn a_database_is_dropped_once_and_with_its_tables() {
    let db = Database::in_memory(options()).await.unwrap();
    let (o, good) = one_table(&db).await;
    let mut txn = db.begin(author());
    let d = txn.catalog().database(SYS, "d").unwrap().clone();
    txn.drop_database(&d).unwrap();
    txn.commit().await.unwrap();
    let other = create_database(&db, "d").await;
    let t = create_table(&db, table(other, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(8, 8)]).await;
    let plan = db.plan_restore(in_place(Scope::Cluster, good), &author()).await.unwrap();
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.action, step.table.as_str(), step.rows_now)).collect();
    assert_eq!(
        steps,
        [
            (Action::DropDatabase, "", None),
            (Action::Drop, "t", Some(1)),
            (Action::CreateDatabase, "", None),
            (Action::Create, "o", None)
        ]
    );
    db.apply_restore(&plan, &author()).await.unwrap();
    assert_eq!(pairs(&db, &o).await, [(1, 1)]);
}

#[tokio::test]
async fn names_of_copies_are_as_long_as_names_may_be() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let names = ["a", "b"].map(|ending| format!("{}{ending}", "n".repeat(63)));
    let mut good = Version(0);
    for name in &names {
        let table = create_table(&db, table(database, name, Shape::Keyed)).await;
        good = insert(&db, &table, &[(1, 1)]).await;
    }
    for name in &names {
        insert(&db, &named(&db, "d", name), &[(2, 2)]).await;
    }
    let mut request = in_place(Scope::Tables("d".to_owned(), names.to_vec()), good);
    request.keep_copy = true;
    let report = db.restore(request, &author()).await.unwrap();
    let copies: Vec<&str> = told(&report).iter().filter(|line| line.0 == Action::KeepCopy).map(|line| line.2).collect();
    assert_eq!(copies.len(), 2);
    assert!(copies[0] != copies[1] && copies.iter().all(|name| name.chars().count() == 64), "{copies:?}");
}

//! Keys, conflicts between transactions, references between tables, and counters.

use std::sync::Arc;

use strandline_core::db::{Database, SYS};
use strandline_core::error::Kind;
use strandline_core::history::diff::TableAt;
use strandline_core::ids::{ColumnId, UserId};
use strandline_core::log::{Scope, Terms};
use strandline_core::schema::{ForeignKey, Index, Table, User};
use strandline_core::txn::{OnDuplicate, Txn};

use crate::invariants::{family, in_place};
use crate::support::*;

async fn one(shape: Shape) -> (Database, Arc<Table>) {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let table = create_table(&db, table(database, "t", shape)).await;
    (db, table)
}

async fn put(txn: &mut Txn, table: &Arc<Table>, id: i32, v: i32) {
    txn.savepoint();
    txn.insert(table, &batch(table, &[row(table, id, v)], None), OnDuplicate::Replace).await.unwrap();
}

async fn remove(txn: &mut Txn, table: &Arc<Table>, id: i32) {
    txn.savepoint();
    txn.delete(table, &key_batch(table, &[key_of(table, &row(table, id, 0))])).await.unwrap();
}

#[tokio::test]
async fn the_first_committer_wins() {
    // What the first does, what the second does, and whether the second may commit.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Do {
        Put(i32, i32),
        Remove(i32),
        Truncate,
        Alter,
        Drop,
        Rename,
        Flush,
        Load,
    }
    use Do::*;
    let cases = [
        (Put(1, 5), Put(1, 6), false),
        (Put(1, 5), Put(2, 6), true),
        (Put(1, 5), Remove(1), false),
        (Remove(1), Put(1, 6), false),
        (Remove(1), Remove(2), true),
        (Put(8, 50), Put(9, 50), false), // one unique value
        (Put(8, 50), Put(9, 51), true),
        (Put(8, 50), Put(8, 51), false),
        (Truncate, Put(9, 9), false),
        (Put(9, 9), Truncate, true), // the table is empty afterwards either way
        (Alter, Put(9, 9), false),
        (Put(9, 9), Alter, false),
        (Drop, Put(9, 9), false),
        (Put(9, 9), Drop, false),
        (Drop, Drop, false),
        (Rename, Alter, false),
        (Rename, Put(9, 9), false),
        (Alter, Truncate, false),
        (Flush, Put(1, 6), true),
        (Flush, Remove(1), true),
        (Flush, Truncate, true),
        (Flush, Alter, true),
        (Flush, Load, true),
        (Load, Put(9, 9), false),
        (Put(9, 9), Load, true),
        (Put(101, 9), Load, false),
        (Put(9, 102), Load, false),
        (Load, Load, false),
        (Truncate, Load, false),
        (Alter, Load, false),
    ];
    for (first, second, allowed) in cases {
        let (db, t) = one(Shape::Unique).await;
        insert(&db, &t, &[(1, 1), (2, 2)]).await;
        let act = async |txn: &mut Txn, what: Do| match what {
            Put(id, v) => put(txn, &t, id, v).await,
            Remove(id) => remove(txn, &t, id).await,
            Truncate => txn.truncate(&t).await.unwrap(),
            Alter => drop(txn.alter_table(Table { comment: "new".to_owned(), ..t.as_ref().clone() }).unwrap()),
            Rename => drop(txn.alter_table(Table { name: "other".to_owned(), ..t.as_ref().clone() }).unwrap()),
            Drop => txn.drop_table(&t).unwrap(),
            Flush => {}
            Load => {
                let rows: Vec<_> = (100..110).map(|id| row(&t, id, id)).collect();
                let mut load = txn.bulk(&t, OnDuplicate::Error);
                load.write(txn, &batch(&t, &rows, None)).await.unwrap();
                load.finish(txn).await.unwrap();
            }
        };
        let (mut a, mut b) = (db.begin(author()), db.begin(author()));
        act(&mut a, first).await;
        act(&mut b, second).await;
        a.commit().await.unwrap();
        if first == Flush {
            assert!(db.flush_table(t.id).await.unwrap());
        }
        let before = db.now().version();
        match b.commit().await {
            Ok(_) => assert!(allowed, "{first:?} then {second:?} both committed"),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Conflict, "{first:?} then {second:?}: {error:?}");
                assert!(!allowed, "{first:?} then {second:?} need not conflict");
                assert_eq!(db.now().version(), before);
            }
        }
    }
}

#[tokio::test]
async fn two_tables_of_one_name_do_not_meet() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let (mut a, mut b) = (db.begin(author()), db.begin(author()));
    a.create_table(table(database, "t", Shape::Keyed)).unwrap();
    b.create_table(table(database, "T", Shape::Keyed)).unwrap();
    a.commit().await.unwrap();
    assert_eq!(b.commit().await.unwrap_err().kind(), Kind::Conflict);
    // Nor does a table appear in a database that goes.
    let (mut a, mut b) = (db.begin(author()), db.begin(author()));
    let d = a.catalog().database(SYS, "d").unwrap().clone();
    a.drop_database(&d).unwrap();
    b.create_table(table(database, "u", Shape::Keyed)).unwrap();
    a.commit().await.unwrap();
    assert_eq!(b.commit().await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn duplicates_are_told_as_mysql_does() {
    let (db, t) = one(Shape::Unique).await;
    insert(&db, &t, &[(1, 10), (2, 20)]).await;
    let cases: [(&[(i32, i32)], &str); 4] = [
        (&[(3, 30), (2, 40)], "Duplicate entry '2' for key 't.PRIMARY'"),
        (&[(3, 10)], "Duplicate entry '10' for key 't.u'"),
        (&[(3, 30), (3, 31)], "Duplicate entry '3' for key 't.PRIMARY'"),
        (&[(3, 30), (4, 30)], "Duplicate entry '30' for key 't.u'"),
    ];
    for flushed in [false, true] {
        for (rows, message) in cases {
            let error = try_insert(&db, &t, rows).await.unwrap_err();
            assert_eq!((error.kind(), error.message()), (Kind::Duplicate, message), "flushed: {flushed}");
        }
        db.flush().await.unwrap();
    }
    let database = named(&db, "d", "t").database;
    let composite = create_table(&db, table(database, "c", Shape::Composite)).await;
    let mut twice = row(&composite, 1, 1);
    twice.insert(ColumnId(3), crate::model::Val::Text("a-b".to_owned()));
    let mut txn = db.begin(author());
    let rows = batch(&composite, &[twice.clone(), twice], None);
    let error = txn.insert(&composite, &rows, OnDuplicate::Error).await.unwrap_err();
    assert_eq!(error.message(), "Duplicate entry '1-a-b' for key 'c.PRIMARY'");
}

#[tokio::test]
async fn ignore_keeps_the_first_of_a_chain() {
    let (db, t) = one(Shape::Unique).await;
    insert(&db, &t, &[(1, 10)]).await;
    let mut txn = db.begin(author());
    // 5 thrice; (6, 10) loses to a row that stands, so that (6, 61) does not lose to it; (7, 50) loses to (5, 50).
    let rows: Vec<_> =
        [(5, 50), (5, 51), (5, 52), (6, 10), (6, 61), (7, 50), (8, 51)].map(|(k, v)| row(&t, k, v)).into();
    let outcome = txn.insert(&t, &batch(&t, &rows, None), OnDuplicate::Ignore).await.unwrap();
    assert_eq!((outcome.inserted, outcome.ignored), (3, 4));
    txn.commit().await.unwrap();
    assert_eq!(pairs(&db, &t).await, [(1, 10), (5, 50), (6, 61), (8, 51)]);
}

#[tokio::test]
async fn a_child_and_the_end_of_its_parent_do_not_both_commit() {
    for flushed in [false, true] {
        for child_first in [false, true] {
            let db = Database::in_memory(options()).await.unwrap();
            let (parent, child) = family(&db).await;
            insert(&db, &parent, &[(1, 0), (2, 0)]).await;
            if flushed {
                db.flush().await.unwrap();
            }
            let (mut a, mut b) = (db.begin(author()), db.begin(author()));
            put(&mut a, &child, 7, 1).await;
            remove(&mut b, &parent, 1).await;
            let (first, second) = if child_first { (a, b) } else { (b, a) };
            first.commit().await.unwrap();
            assert_eq!(second.commit().await.unwrap_err().kind(), Kind::Conflict);

            // Another parent's end is nobody's business.
            let (mut a, mut b) = (db.begin(author()), db.begin(author()));
            put(&mut a, &parent, 3, 0).await;
            put(&mut a, &child, 8, 3).await;
            remove(&mut b, &parent, 2).await;
            a.commit().await.unwrap();
            b.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_child_and_a_restore_of_its_parent_do_not_both_commit() {
    let db = Database::in_memory(options()).await.unwrap();
    let (parent, child) = family(&db).await;
    let empty = db.now().version();
    insert(&db, &parent, &[(1, 0)]).await;
    let scope = Scope::Tables("d".to_owned(), vec!["parent".to_owned()]);
    for child_first in [false, true] {
        let plan = db.plan_restore(in_place(scope.clone(), empty), &author()).await.unwrap();
        let mut txn = db.begin(author());
        put(&mut txn, &child, 7, 1).await;
        if child_first {
            txn.commit().await.unwrap();
            let restored = db.apply_restore(&plan, &author()).await;
            assert_eq!(restored.unwrap_err().kind(), Kind::Conflict);
        } else {
            let report = db.apply_restore(&plan, &author()).await.unwrap();
            assert_eq!(txn.commit().await.unwrap_err().kind(), Kind::Conflict);
            db.restore(in_place(scope.clone(), report.version_before), &author()).await.unwrap();
        }
    }
}

/// Restoring a child brings rows back that nobody who deletes their parent meanwhile has seen.
#[tokio::test]
async fn a_restore_of_a_child_and_the_end_of_its_parent_do_not_both_commit() {
    for whole in [false, true] {
        for delete_first in [false, true] {
            let db = Database::in_memory(options()).await.unwrap();
            let (parent, child) = family(&db).await;
            insert(&db, &parent, &[(1, 0)]).await;
            let full = insert(&db, &child, &[(7, 1)]).await;
            let mut txn = db.begin(author());
            remove(&mut txn, &child, 7).await;
            txn.commit().await.unwrap();
            let scope = match whole {
                true => Scope::Database("d".to_owned()),
                false => Scope::Tables("d".to_owned(), vec!["child".to_owned()]),
            };
            let mut txn = db.begin(author());
            remove(&mut txn, &parent, 1).await;
            let plan = db.plan_restore(in_place(scope, full), &author()).await.unwrap();
            if delete_first {
                txn.commit().await.unwrap();
                assert_eq!(db.apply_restore(&plan, &author()).await.unwrap_err().kind(), Kind::Conflict);
            } else {
                db.apply_restore(&plan, &author()).await.unwrap();
                assert_eq!(txn.commit().await.unwrap_err().kind(), Kind::Conflict);
            }
        }
    }
}

#[tokio::test]
async fn a_new_foreign_key_and_the_end_of_a_parent_do_not_both_commit() {
    for rebuild in [false, true] {
        for delete_first in [false, true] {
            let db = Database::in_memory(options()).await.unwrap();
            let (parent, child) = family(&db).await;
            insert(&db, &parent, &[(1, 0), (2, 0)]).await;
            let stranger = create_table(&db, table(parent.database, "stranger", Shape::Keyed)).await;
            insert(&db, &stranger, &[(7, 1)]).await;
            let (mut adds, mut deletes) = (db.begin(author()), db.begin(author()));
            let with_key = Table { foreign_keys: child.foreign_keys.clone(), ..stranger.as_ref().clone() };
            if rebuild {
                let rows = batch(&stranger, &[row(&stranger, 7, 1)], None);
                adds.rebuild_table(with_key, futures::stream::iter([Ok(rows)])).await.unwrap();
            } else {
                adds.alter_table(with_key).unwrap();
            }
            remove(&mut deletes, &parent, 1).await;
            let (first, second) = if delete_first { (deletes, adds) } else { (adds, deletes) };
            first.commit().await.unwrap();
            assert_eq!(second.commit().await.unwrap_err().kind(), Kind::Conflict, "{rebuild} {delete_first}");

            // A change of the definition that adds no key does not wait for the parent's writers.
            let (mut alters, mut deletes) = (db.begin(author()), db.begin(author()));
            alters.alter_table(Table { comment: "new".to_owned(), ..child.as_ref().clone() }).unwrap();
            remove(&mut deletes, &parent, 2).await;
            deletes.commit().await.unwrap();
            alters.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_clone_has_its_parents() {
    let db = Database::in_memory(options()).await.unwrap();
    let (parent, child) = family(&db).await;
    insert(&db, &parent, &[(1, 0), (2, 0)]).await;
    let full = insert(&db, &child, &[(7, 1)]).await;
    let mut txn = db.begin(author());
    remove(&mut txn, &child, 7).await;
    remove(&mut txn, &parent, 1).await;
    txn.commit().await.unwrap();

    let then = db.at(full).await.unwrap();
    let mut txn = db.begin(author());
    let refused = txn.clone_table(&then, &child, SYS, "d", "copy").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::MissingParent);
    assert_eq!(
        refused.to_string(),
        "The clone would hold rows without their parent in 'parent': constraint 'fk', value '1'. Clone the whole \
         database, or SET foreign_key_checks = 0 first."
    );
    drop(txn);
    let mut txn = db.begin(author());
    txn.set_foreign_key_checks(false);
    txn.clone_table(&then, &child, SYS, "d", "orphans").await.unwrap();
    txn.clone_database(&then, "d", SYS, SYS, "e").await.unwrap();
    txn.commit().await.unwrap();
    // Within a database that is cloned whole, the parents are there.
    let mut txn = db.begin(author());
    txn.clone_database(&then, "d", SYS, SYS, "f").await.unwrap();
    txn.commit().await.unwrap();
    // In another database, the key goes on naming the parent at home.
    let mut txn = db.begin(author());
    let refused = txn.clone_table(&then, &child, SYS, "f", "copy").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::MissingParent);
    drop(txn);

    // As of now its rows have their parents, and whoever deletes one meanwhile loses.
    insert(&db, &child, &[(8, 2)]).await;
    let mut txn = db.begin(author());
    txn.clone_table(&db.now(), &child, SYS, "d", "copy").await.unwrap();
    let mut deletes = db.begin(author());
    remove(&mut deletes, &child, 8).await;
    deletes.set_foreign_key_checks(false);
    remove(&mut deletes, &parent, 2).await;
    txn.commit().await.unwrap();
    assert_eq!(deletes.commit().await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn names_are_the_same_without_case_in_every_script() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "Ö").await;
    let mut definition = table(database, "ärzte", Shape::Keyed);
    definition.columns[0].name = "Schlüssel".to_owned();
    let parent = create_table(&db, definition).await;
    let mut child = table(database, "child", Shape::Keyed);
    child.foreign_keys.push(ForeignKey {
        name: "fk".to_owned(),
        columns: vec![ColumnId(2)],
        parent_database: Some("ö".to_owned()),
        parent_table: "Ärzte".to_owned(),
        parent_columns: vec!["SCHLÜSSEL".to_owned()],
        actions: String::new(),
    });
    let child = create_table(&db, child).await;
    insert(&db, &parent, &[(1, 0)]).await;
    let full = insert(&db, &child, &[(7, 1)]).await;
    let mut txn = db.begin(author());
    let key = key_batch(&parent, &[key_of(&parent, &row(&parent, 1, 0))]);
    assert_eq!(txn.delete(&parent, &key).await.unwrap_err().kind(), Kind::HasChildren);
    txn.create_snapshot(
        "Größe",
        Scope::Tables("ö".to_owned(), vec!["ÄRZTE".to_owned()]),
        "",
        Vec::new(),
        Terms::default(),
    )
    .unwrap();
    assert!(
        txn.create_snapshot("GRÖSSE", Scope::Cluster, "", Vec::new(), Terms::default()).is_ok(),
        "ß has no other case here"
    );
    assert!(matches!(
        txn.create_snapshot("GRÖßE", Scope::Cluster, "", Vec::new(), Terms::default()).unwrap_err().kind(),
        Kind::AlreadyExists(_)
    ));
    drop(txn);
    let scope = Scope::Tables("ö".to_owned(), vec!["ÄRZTE".to_owned(), "CHILD".to_owned()]);
    insert(&db, &parent, &[(2, 0)]).await;
    db.restore(in_place(scope, full), &author()).await.unwrap();
    assert_eq!(pairs(&db, &parent).await, [(1, 0)]);

    // A key finds its table by whatever name that has, and is forgotten with its own.
    let mut txn = db.begin(author());
    let renamed = txn.alter_table(Table { name: "other".to_owned(), ..parent.as_ref().clone() }).unwrap();
    assert!(txn.children_of(&renamed).is_empty());
    let back = txn.alter_table(parent.as_ref().clone()).unwrap();
    assert_eq!(txn.children_of(&back).len(), 1);
    txn.drop_table(&child).unwrap();
    assert!(txn.children_of(&back).is_empty());
}

#[tokio::test]
async fn nothing_is_made_in_an_account_that_goes() {
    for drop_first in [false, true] {
        for of_user in [false, true] {
            let db = Database::in_memory(options()).await.unwrap();
            let mut txn = db.begin(author());
            let account = txn.create_account("tenant").unwrap();
            txn.commit().await.unwrap();
            let (mut drops, mut makes) = (db.begin(author()), db.begin(author()));
            drops.drop_account(&account).unwrap();
            if of_user {
                let user = User {
                    id: UserId(0),
                    account: account.id,
                    name: "u@%".to_owned(),
                    verifiers: Default::default(),
                    grants: Default::default(),
                };
                makes.put_user(user).unwrap();
            } else {
                makes.create_database(account.id, "d", "").unwrap();
            }
            let (first, second) = if drop_first { (drops, makes) } else { (makes, drops) };
            first.commit().await.unwrap();
            assert_eq!(second.commit().await.unwrap_err().kind(), Kind::Conflict, "{drop_first} {of_user}");
        }
    }
}

#[tokio::test]
async fn references_are_checked() {
    let db = Database::in_memory(options()).await.unwrap();
    let (parent, child) = family(&db).await;
    assert_eq!(try_insert(&db, &child, &[(7, 1)]).await.unwrap_err().kind(), Kind::MissingParent);
    insert(&db, &parent, &[(1, 0)]).await;
    insert(&db, &child, &[(7, 1)]).await;
    for flushed in [false, true] {
        let mut txn = db.begin(author());
        let key = key_batch(&parent, &[key_of(&parent, &row(&parent, 1, 0))]);
        assert_eq!(txn.delete(&parent, &key).await.unwrap_err().kind(), Kind::HasChildren, "flushed: {flushed}");
        assert_eq!(txn.drop_table(&parent).unwrap_err().kind(), Kind::HasChildren);
        assert_eq!(txn.truncate(&parent).await.unwrap_err().kind(), Kind::HasChildren);
        drop(txn);
        // A change of the parent that leaves its key is no matter.
        let mut txn = db.begin(author());
        txn.update(&parent, &key, &batch(&parent, &[row(&parent, 1, flushed.into())], None)).await.unwrap();
        drop(txn);
        let mut txn = db.begin(author());
        let new = batch(&parent, &[row(&parent, 1, 5)], None);
        let replaced = txn.insert(&parent, &new, OnDuplicate::Replace).await.unwrap_err();
        assert_eq!(replaced.kind(), Kind::HasChildren, "a replaced row goes first, as in MySQL");
        drop(txn);
        db.flush().await.unwrap();
    }
    let mut txn = db.begin(author());
    remove(&mut txn, &child, 7).await;
    remove(&mut txn, &parent, 1).await;
    txn.commit().await.unwrap();
    assert!(pairs(&db, &parent).await.is_empty());
}

#[tokio::test]
async fn counters_go_on() {
    let (metastore, objects) = (
        Arc::new(strandline_core::log::memory::MemoryMetastore::new()),
        Arc::new(object_store::memory::InMemory::new()),
    );
    let open = async || Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
    let db = open().await;
    let database = create_database(&db, "d").await;
    let mut definition = table(database, "t", Shape::Keyed);
    definition.columns[0].auto_increment = true;
    let t = create_table(&db, definition).await;
    let start = db.now().version();
    let next = async |db: &Database| {
        let mut txn = db.begin(author());
        let id = txn.next_auto(&t, 1).await.unwrap();
        put(&mut txn, &t, id as i32, 0).await;
        txn.commit().await.unwrap();
        id
    };
    assert_eq!((next(&db).await, next(&db).await), (1, 2));

    // A transaction that began before a flush does not get the numbers of those that began after it.
    let mut old = db.begin(author());
    db.flush().await.unwrap();
    assert_eq!(next(&db).await, 3);
    assert_eq!(old.next_auto(&t, 1).await.unwrap(), 4);
    put(&mut old, &t, 4, 0).await;
    old.commit().await.unwrap();

    let mut txn = db.begin(author());
    txn.saw_auto(&t, 10).await.unwrap();
    put(&mut txn, &t, 10, 0).await;
    txn.commit().await.unwrap();
    assert_eq!(next(&db).await, 11);
    drop(db);
    let db = open().await;
    assert_eq!(next(&db).await, 12, "after opening again");
    // A restore does not give a number out twice.
    db.restore(in_place(Scope::Database("d".to_owned()), start), &author()).await.unwrap();
    assert_eq!(next(&db).await, 13, "after a restore");
    drop(db);
    let db = open().await;
    assert_eq!(next(&db).await, 14);
    // A truncate begins again, as in MySQL.
    for reopened in [false, true] {
        let mut txn = db.begin(author());
        txn.truncate(&t).await.unwrap();
        assert_eq!(txn.next_auto(&t, 1).await.unwrap(), 1);
        drop(txn);
        let mut txn = db.begin(author());
        txn.truncate(&t).await.unwrap();
        txn.commit().await.unwrap();
        let db = if reopened { open().await } else { db.clone() };
        assert_eq!(next(&db).await, 1, "reopened: {reopened}");
    }
    let mut txn = db.begin(author());
    txn.saw_auto(&t, u64::MAX).await.unwrap();
    for _ in 0..2 {
        let used_up = txn.next_auto(&t, 1).await.unwrap_err();
        assert_eq!(used_up.to_string(), "AUTO_INCREMENT of table 't' is used up.");
    }
}

/// A writer draws numbers and commits while a restore is planned: they are not drawn again after it.
#[tokio::test]
async fn a_restore_gives_no_number_out_again() {
    let (metastore, objects) = (
        Arc::new(strandline_core::log::memory::MemoryMetastore::new()),
        Arc::new(object_store::memory::InMemory::new()),
    );
    for reopened in [false, true] {
        for dropped in [false, true] {
            let open = async || Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
            let mut db = open().await;
            let name = format!("d{reopened}{dropped}");
            let database = create_database(&db, &name).await;
            let mut definition = table(database, "t", Shape::Keyless);
            definition.columns[0].auto_increment = true;
            let t = create_table(&db, definition).await;
            let good = insert(&db, &t, &[(1, 1)]).await;
            let draw = async |db: &Database| {
                let mut txn = db.begin(author());
                let id = txn.next_auto(&t, 1).await.unwrap();
                txn.insert(&t, &batch(&t, &[row(&t, id as i32, 0)], None), OnDuplicate::Error).await.unwrap();
                txn.commit().await.unwrap();
                let rows = read(db.cold(), &db.now().scan(&t).await.unwrap()).await;
                (id, rows.keys().last().unwrap().clone())
            };
            let first = draw(&db).await;
            let request = in_place(Scope::Tables(name, vec!["t".to_owned()]), good);
            let mut plan = db.plan_restore(request.clone(), &author()).await.unwrap();
            let second = draw(&db).await;
            assert!(first < second);
            if dropped {
                let mut txn = db.begin(author());
                txn.drop_table(&t).unwrap();
                txn.commit().await.unwrap();
                plan = db.plan_restore(request, &author()).await.unwrap();
            }
            db.apply_restore(&plan, &author()).await.unwrap();
            if reopened {
                drop((plan, db));
                db = open().await;
            }
            let third = draw(&db).await;
            assert!(second.0 < third.0 && second.1 < third.1, "{second:?} {third:?}, dropped: {dropped}");
        }
    }
}

#[tokio::test]
async fn row_ids_of_a_load_are_not_given_out_again() {
    let (metastore, objects) = (
        Arc::new(strandline_core::log::memory::MemoryMetastore::new()),
        Arc::new(object_store::memory::InMemory::new()),
    );
    let db = Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyless)).await;
    let mut txn = db.begin(author());
    let mut load = txn.bulk(&t, OnDuplicate::Error);
    let rows: Vec<_> = (0..10).map(|id| row(&t, id, id)).collect();
    load.write(&mut txn, &batch(&t, &rows, None)).await.unwrap();
    load.finish(&mut txn).await.unwrap();
    txn.commit().await.unwrap();
    drop(db);
    let db = Database::start(metastore, objects, options(), None).await.unwrap();
    insert(&db, &t, &[(77, 77)]).await;
    assert_eq!(pairs(&db, &t).await.len(), 11);
}

#[tokio::test]
async fn going_back_to_a_savepoint_brings_rows_back_that_a_truncate_took() {
    let (db, t) = one(Shape::Keyed).await;
    let mut txn = db.begin(author());
    put(&mut txn, &t, 1, 1).await;
    let savepoint = txn.savepoint();
    put(&mut txn, &t, 2, 2).await;
    txn.truncate(&t).await.unwrap();
    put(&mut txn, &t, 3, 3).await;
    txn.rollback_to(&savepoint);
    txn.commit().await.unwrap();
    assert_eq!(pairs(&db, &t).await, [(1, 1)]);
}

/// The rows that others brought are compared with those of a load, and are of another shape by then.
#[tokio::test]
async fn a_load_gives_way_to_whoever_dropped_a_unique_column_first() {
    let (db, t) = one(Shape::Unique).await;
    let mut txn = db.begin(author());
    let mut load = txn.bulk(&t, OnDuplicate::Error);
    let rows: Vec<_> = (0..10).map(|id| row(&t, id, id)).collect();
    load.write(&mut txn, &batch(&t, &rows, None)).await.unwrap();
    load.finish(&mut txn).await.unwrap();
    let mut other = db.begin(author());
    let columns = t.columns[..1].to_vec();
    let narrow = other.alter_table(Table { columns, indexes: Vec::new(), ..t.as_ref().clone() }).unwrap();
    other.commit().await.unwrap();
    let mut other = db.begin(author());
    let row = batch(&narrow, &[[(ColumnId(1), crate::model::Val::Int(77))].into()], None);
    other.insert(&narrow, &row, OnDuplicate::Error).await.unwrap();
    other.commit().await.unwrap();
    assert_eq!(txn.commit().await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn rows_go_on_after_a_unique_column_is_dropped() {
    let (db, t) = one(Shape::Unique).await;
    insert(&db, &t, &[(1, 1)]).await;
    insert(&db, &t, &[(2, 2)]).await;
    let mut definition = t.as_ref().clone();
    definition.columns.retain(|column| column.id != ColumnId(2));
    definition.indexes.clear();
    let mut txn = db.begin(author());
    let t = txn.alter_table(definition).unwrap();
    txn.commit().await.unwrap();
    let mut txn = db.begin(author());
    let mut third = row(&t, 3, 0);
    third.remove(&ColumnId(2));
    txn.insert(&t, &batch(&t, &[third], None), OnDuplicate::Error).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(db.now().scan(&t).await.unwrap().row_count(), 3);
}

#[tokio::test]
async fn a_unique_index_counts_rows_from_before_it() {
    let (db, t) = one(Shape::Keyed).await;
    insert(&db, &t, &[(1, 10), (2, 20)]).await;
    db.flush().await.unwrap();
    insert(&db, &t, &[(3, 30)]).await;
    let mut definition = t.as_ref().clone();
    definition.indexes.push(Index { name: "u".to_owned(), columns: vec![ColumnId(2)], unique: true });
    let mut txn = db.begin(author());
    let t = txn.alter_table(definition).unwrap();
    txn.commit().await.unwrap();
    for taken in [10, 20, 30] {
        let error = try_insert(&db, &t, &[(9, taken)]).await.unwrap_err();
        assert_eq!(error.message(), format!("Duplicate entry '{taken}' for key 't.u'"));
    }
    insert(&db, &t, &[(9, 90)]).await;
}

#[tokio::test]
async fn a_writer_that_missed_the_end_of_a_unique_column_conflicts() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let mut definition = table(database, "t", Shape::Unique);
    definition.columns[1].nullable = false;
    let t = create_table(&db, definition).await;
    let with_column = insert(&db, &t, &[(1, 1)]).await;
    let mut late = db.begin(author());
    let mut definition = t.as_ref().clone();
    definition.columns.pop();
    definition.indexes.clear();
    let mut txn = db.begin(author());
    let new = txn.alter_table(definition).unwrap();
    txn.commit().await.unwrap();
    let mut txn = db.begin(author());
    let mut second = row(&new, 2, 0);
    second.remove(&ColumnId(2));
    txn.insert(&new, &batch(&new, &[second], None), OnDuplicate::Error).await.unwrap();
    let without = txn.commit().await.unwrap().version;
    put(&mut late, &t, 9, 9).await;
    assert_eq!(late.commit().await.unwrap_err().kind(), Kind::Conflict);

    // Nor does the column's end keep the two versions from being compared, either way round.
    let before = TableAt { moment: db.at(with_column).await.unwrap(), table: t.clone() };
    let after = TableAt { moment: db.at(without).await.unwrap(), table: new.clone() };
    let diff = db.diff(&before, &after).await.unwrap();
    assert_eq!((diff.inserted.num_rows(), diff.updated_to.num_rows(), diff.deleted.num_rows()), (1, 0, 0));
    let diff = db.diff(&after, &before).await.unwrap();
    assert_eq!((diff.inserted.num_rows(), diff.updated_to.num_rows(), diff.deleted.num_rows()), (0, 1, 1));
}

#[tokio::test]
async fn a_table_takes_another_key() {
    // The columns of the key before and after.
    let (id, v) = (ColumnId(1), ColumnId(2));
    let cases: [(&[ColumnId], &[ColumnId]); 5] =
        [(&[id], &[id, v]), (&[id, v], &[id]), (&[], &[id]), (&[id], &[]), (&[id], &[v])];
    for (before, after) in cases {
        let db = Database::in_memory(options()).await.unwrap();
        let database = create_database(&db, "d").await;
        let mut definition = table(database, "t", Shape::Keyed);
        definition.columns[1].nullable = false;
        definition.primary_key = before.to_vec();
        let old = create_table(&db, definition).await;
        insert(&db, &old, &[(1, 1), (2, 2)]).await;
        db.flush().await.unwrap();
        let then = insert(&db, &old, &[(3, 3)]).await;

        let mut txn = db.begin(author());
        let rows = read(db.cold(), &txn.scan(&old).await.unwrap()).await;
        let rows: Vec<_> = rows.into_values().collect();
        let mut definition = old.as_ref().clone();
        definition.primary_key = after.to_vec();
        let rows = batch(&definition, &rows, None);
        let new = txn.rebuild_table(definition, futures::stream::iter([Ok(rows)])).await.unwrap();
        txn.commit().await.unwrap();

        // Rows that only the new key tells apart.
        let more: &[(i32, i32)] = if after == [id] { &[(4, 1)] } else { &[(1, 4), (1, 5)] };
        insert(&db, &new, more).await;
        assert_eq!(try_insert(&db, &new, &more[..1]).await.is_err(), !after.is_empty(), "{before:?} to {after:?}");
        let expected = 3 + more.len() as u64 + u64::from(after.is_empty());
        for flushed in [false, true] {
            let now = db.now();
            let scan = now.scan(&new).await.unwrap();
            let rows = read(db.cold(), &scan).await;
            assert_eq!(rows.len() as u64, expected, "{before:?} to {after:?}, flushed: {flushed}");
            for key in rows.keys() {
                assert!(now.get(&new, key).await.unwrap().is_some(), "{before:?} to {after:?}, flushed: {flushed}");
            }
            let past = db.at(then).await.unwrap();
            assert_eq!(past.scan(&old).await.unwrap().row_count(), 3, "the past keeps its key");
            db.flush().await.unwrap();
        }
    }
}

#[tokio::test]
async fn row_ids_go_on_over_another_content() {
    let (db, t) = one(Shape::Keyless).await;
    insert(&db, &t, &[(1, 1)]).await;
    let mut rebuilding = db.begin(author());
    let rows = batch(&t, &[row(&t, 7, 7)], None);
    let new = rebuilding.rebuild_table(t.as_ref().clone(), futures::stream::iter([Ok(rows)])).await.unwrap();
    // Drawn under the old content after the new one was made, and taken back.
    let mut lost = db.begin(author());
    lost.insert(&t, &batch(&t, &[row(&t, 8, 8), row(&t, 9, 9)], None), OnDuplicate::Error).await.unwrap();
    let drawn = read(db.cold(), &lost.scan(&t).await.unwrap()).await.into_keys().max().unwrap();
    drop(lost);
    rebuilding.commit().await.unwrap();
    insert(&db, &new, &[(10, 10)]).await;
    let now = read(db.cold(), &db.now().scan(&new).await.unwrap()).await;
    assert!(*now.keys().max().unwrap() > drawn);
}

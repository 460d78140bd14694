//! The design's invariants that the core holds, each by its number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use strandline_core::db::{Database, Options, SYS};
use strandline_core::error::{Kind, What};
use strandline_core::history::restore::{Action, RestoreRequest};
use strandline_core::ids::{Time, Version};
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::{EntryQuery, Metastore, Scope, Terms};
use strandline_core::schema::{ForeignKey, Table};
use strandline_core::txn::OnDuplicate;
use strandline_core::when::When;

use crate::failing::FailingMetastore;
use crate::support::*;

pub fn in_place(scope: Scope, version: Version) -> RestoreRequest {
    RestoreRequest::of(scope, When::Version(version))
}

fn only(name: &str) -> Scope {
    Scope::Tables("d".to_owned(), vec![name.to_owned()])
}

#[tokio::test]
async fn invariant_1_an_acknowledged_commit_survives_without_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(folder.path(), options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let version = insert(&db, &t, &[(1, 10), (2, 20)]).await;
    drop(db);
    let db = Database::open(folder.path(), options()).await.unwrap();
    assert_eq!(db.now().version(), version);
    assert_eq!(pairs(&db, &named(&db, "d", "t")).await, [(1, 10), (2, 20)]);
}

#[tokio::test]
async fn invariant_1_what_is_acknowledged_is_visible() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let writers = (0..8).map(|writer| {
        let (db, t) = (db.clone(), t.clone());
        tokio::spawn(async move {
            for at in 0..20 {
                let version = insert(&db, &t, &[(writer * 100 + at, at)]).await;
                let now = db.now();
                assert!(now.version() >= version);
                let row = row(&t, writer * 100 + at, at);
                assert!(now.get(&t, &key_of(&t, &row)).await.unwrap().is_some(), "its own commit is seen");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(pairs(&db, &t).await.len(), 160);
}

#[tokio::test]
async fn invariant_3_no_file_changes_or_goes_while_it_can_be_reached() {
    let objects = Arc::new(InMemory::new());
    let db = Database::start(Arc::new(MemoryMetastore::new()), objects.clone(), options(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Unique)).await;
    let mut known: BTreeMap<String, bytes::Bytes> = BTreeMap::new();
    for round in 0..12 {
        insert(&db, &t, &[(round, round), (round + 100, round + 100)]).await;
        let mut txn = db.begin(author());
        let mut load = txn.bulk(&t, OnDuplicate::Replace);
        let rows: Vec<_> = (0..5).map(|at| row(&t, at + 40, at + 400)).collect();
        load.write(&mut txn, &batch(&t, &rows, None)).await.unwrap();
        load.finish(&mut txn).await.unwrap();
        txn.commit().await.unwrap();
        db.flush().await.unwrap();
        let mut files = BTreeMap::new();
        for object in objects.list(None).try_collect::<Vec<_>>().await.unwrap() {
            let bytes = objects.get(&object.location).await.unwrap().bytes().await.unwrap();
            files.insert(object.location.to_string(), bytes);
        }
        for (name, bytes) in &known {
            assert_eq!(files.get(name), Some(bytes), "{name}");
        }
        known = files;
    }
}

#[tokio::test]
async fn invariant_4_upkeep_changes_nothing_at_any_version() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let mut versions = Vec::new();
    // More flushes than small parts may pile up: they are merged on the way.
    for round in 0..20 {
        insert(&db, &t, &[(round, round), (round + 100, 0)]).await;
        let mut txn = db.begin(author());
        let gone = row(&t, round / 2 + 100, 0);
        txn.delete(&t, &key_batch(&t, &[key_of(&t, &gone)])).await.unwrap();
        versions.push((txn.commit().await.unwrap().version, pairs(&db, &t).await));
        db.flush_table(t.id).await.unwrap();
        for (version, rows) in &versions {
            let moment = db.at(*version).await.unwrap();
            let scan = moment.scan(&t).await.unwrap();
            let read: Vec<_> = read(db.cold(), &scan).await.values().map(pair).collect();
            assert_eq!(&read, rows, "version {version} after round {round}");
        }
        let query = EntryQuery { from: Version(1), upto: Version::MAX, tables: None, upkeep: false, limit: 1000 };
        assert!(db.metastore().entries(&query).unwrap().iter().all(|entry| !entry.head.what.contains("FLUSH")));
    }
}

#[tokio::test]
async fn invariant_6_times_increase_when_the_clock_steps_back() {
    let options = options();
    let db = Database::in_memory(options.clone()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let mut commits = Vec::new();
    for (at, step) in [1_000_000, -5_000_000, 0, 2_000_000, -1, 9_000_000].into_iter().enumerate() {
        options.env.advance(step);
        let version = insert(&db, &t, &[(at as i32, 0)]).await;
        commits.push((db.now().time(), version));
    }
    options.env.advance(60_000_000);
    for pair in commits.windows(2) {
        assert!(pair[0].0 < pair[1].0, "{pair:?}");
        // The newest at or before: its own time, and up to just before the next one's.
        for time in [pair[0].0, Time(pair[1].0.0 - 1)] {
            assert_eq!(db.resolve(&When::Time(time), SYS).unwrap().version, pair[0].1);
        }
    }
    let before = db.resolve(&When::Time(Time(0)), SYS).unwrap_err();
    assert_eq!(before.kind(), Kind::OutOfWindow);
    let future = db.resolve(&When::Time(options.env.now().plus_micros(1)), SYS).unwrap_err();
    assert_eq!(future.kind(), Kind::OutOfWindow);
}

#[tokio::test]
async fn invariant_7_a_snapshot_in_a_transaction_means_its_commit() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let mut txn = db.begin(author());
    txn.insert(&t, &batch(&t, &[row(&t, 1, 1)], None), OnDuplicate::Error).await.unwrap();
    txn.create_snapshot("s", only("t"), "", Vec::new(), Terms::default()).unwrap();
    txn.insert(&t, &batch(&t, &[row(&t, 2, 2)], None), OnDuplicate::Error).await.unwrap();
    insert(&db, &t, &[(3, 3)]).await;
    let committed = txn.commit().await.unwrap();
    insert(&db, &t, &[(4, 4)]).await;
    let resolved = db.resolve(&When::Snapshot("S".to_owned()), SYS).unwrap();
    assert_eq!(resolved.version, committed.version);
    let scan = db.moment(&resolved).unwrap().scan(&t).await.unwrap();
    let read: Vec<_> = read(db.cold(), &scan).await.values().map(pair).collect();
    assert_eq!(read, [(1, 1), (2, 2), (3, 3)]);

    let mut txn = db.begin(author());
    txn.create_snapshot("gone", only("t"), "", Vec::new(), Terms::default()).unwrap();
    drop(txn);
    let mut txn = db.begin(author());
    let savepoint = txn.savepoint();
    txn.create_snapshot("gone", only("t"), "", Vec::new(), Terms::default()).unwrap();
    txn.rollback_to(&savepoint);
    txn.insert(&t, &batch(&t, &[row(&t, 5, 5)], None), OnDuplicate::Error).await.unwrap();
    txn.commit().await.unwrap();
    let missing = db.resolve(&When::Snapshot("gone".to_owned()), SYS).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound(What::Snapshot));
}

/// Makes `parent` and `child`, which refers to it.
pub async fn family(db: &Database) -> (Arc<Table>, Arc<Table>) {
    let database = create_database(db, "d").await;
    let parent = create_table(db, table(database, "parent", Shape::Keyed)).await;
    let mut child = table(database, "child", Shape::Keyed);
    child.foreign_keys.push(ForeignKey {
        name: "fk".to_owned(),
        columns: vec![strandline_core::ids::ColumnId(2)],
        parent_database: None,
        parent_table: "parent".to_owned(),
        parent_columns: vec!["id".to_owned()],
        actions: String::new(),
    });
    let child = create_table(db, child).await;
    (parent, child)
}

#[tokio::test]
async fn invariant_8_a_restore_is_all_or_nothing() {
    let db = Database::in_memory(options()).await.unwrap();
    let (parent, child) = family(&db).await;
    let empty = db.now().version();
    insert(&db, &parent, &[(1, 0)]).await;
    let full = insert(&db, &child, &[(7, 1)]).await;

    // The parent alone cannot go back: its child would be an orphan. Nothing changes.
    let refused = db.restore(in_place(only("parent"), empty), &author()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::HasChildren, "{refused:?}");
    assert!(refused.message().contains("constraint 'fk', value '1'"), "{refused}");
    assert_eq!(db.now().version(), full);
    assert_eq!(pairs(&db, &parent).await, [(1, 0)]);

    // Both together go in one commit.
    let report = db.restore(in_place(Scope::Database("d".to_owned()), empty), &author()).await.unwrap();
    assert_eq!(report.version_after, full.next());
    assert!(pairs(&db, &parent).await.is_empty() && pairs(&db, &child).await.is_empty());

    // A plan that somebody overtook applies nothing.
    let request = RestoreRequest { keep_copy: true, ..in_place(Scope::Database("d".to_owned()), full) };
    let plan = db.plan_restore(request, &author()).await.unwrap();
    let between = insert(&db, &parent, &[(9, 9)]).await;
    assert_eq!(db.apply_restore(&plan, &author()).await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(db.now().version(), between);
    assert_eq!(pairs(&db, &parent).await, [(9, 9)]);
}

#[tokio::test]
async fn invariant_8_a_restore_keeps_what_it_found_unchanged_or_plans_again() {
    let db = Database::in_memory(options()).await.unwrap();
    let (parent, child) = family(&db).await;
    let database = parent.database;
    insert(&db, &parent, &[(1, 0)]).await;
    let good = insert(&db, &child, &[(7, 1)]).await;
    let whole = || in_place(Scope::Database("d".to_owned()), good);

    // Somebody writes into a table that needed no restore.
    insert(&db, &child, &[(8, 1)]).await;
    let plan = db.plan_restore(whole(), &author()).await.unwrap();
    let kept: Vec<_> = plan.steps.iter().filter(|step| step.action == Action::Keep).map(|step| &step.table).collect();
    assert_eq!(kept, ["parent"]);
    insert(&db, &parent, &[(2, 0)]).await;
    assert_eq!(db.apply_restore(&plan, &author()).await.unwrap_err().kind(), Kind::Conflict);
    db.restore(whole(), &author()).await.unwrap();
    assert_eq!((pairs(&db, &parent).await, pairs(&db, &child).await), (vec![(1, 0)], vec![(7, 1)]));

    // Or changes its definition, or makes a table.
    insert(&db, &child, &[(8, 1)]).await;
    for create in [false, true] {
        let plan = db.plan_restore(whole(), &author()).await.unwrap();
        let mut txn = db.begin(author());
        match create {
            true => drop(txn.create_table(table(database, "new", Shape::Keyed)).unwrap()),
            false => drop(txn.alter_table(Table { comment: "new".to_owned(), ..parent.as_ref().clone() }).unwrap()),
        }
        txn.commit().await.unwrap();
        assert_eq!(db.apply_restore(&plan, &author()).await.unwrap_err().kind(), Kind::Conflict, "create: {create}");
    }
    db.restore(whole(), &author()).await.unwrap();
    let tables = db.now().catalog().tables_of(database);
    assert_eq!(tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["child", "parent"]);
    assert_eq!(tables[1], parent);

    // Or makes a database, in an account.
    insert(&db, &child, &[(8, 1)]).await;
    let plan = db.plan_restore(in_place(Scope::Account("sys".to_owned()), good), &author()).await.unwrap();
    create_database(&db, "e").await;
    assert_eq!(db.apply_restore(&plan, &author()).await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn small_writers_and_a_restore_do_not_fail_each_other_without_need() {
    let db = Database::in_memory(options()).await.unwrap();
    let (parent, child) = family(&db).await;
    let other = create_table(&db, table(parent.database, "other", Shape::Keyed)).await;
    insert(&db, &parent, &[(1, 0)]).await;
    let good = insert(&db, &child, &[(7, 1)]).await;
    insert(&db, &child, &[(8, 1)]).await;
    // They began before the restore, and commit after it: to a table that it left alone, and a new one.
    let (mut writer, mut creator) = (db.begin(author()), db.begin(author()));
    writer.insert(&other, &batch(&other, &[row(&other, 1, 1)], None), OnDuplicate::Error).await.unwrap();
    creator.create_table(table(parent.database, "new", Shape::Keyed)).unwrap();
    let plan = db.plan_restore(in_place(Scope::Database("d".to_owned()), good), &author()).await.unwrap();
    // A child leans on its parent, which the restore leaves alone: the restore does not wait for it.
    insert(&db, &child, &[(9, 1)]).await;
    db.apply_restore(&plan, &author()).await.unwrap();
    writer.commit().await.unwrap();
    creator.commit().await.unwrap();
    assert_eq!(pairs(&db, &child).await, [(7, 1)]);
    assert_eq!(pairs(&db, &other).await, [(1, 1)]);
}

/// A restore or truncate does not look into the rows, however many: here, their files are gone.
#[tokio::test]
async fn restore_and_truncate_read_no_rows() {
    let (metastore, objects) = (Arc::new(MemoryMetastore::new()), Arc::new(InMemory::new()));
    let open = async || Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
    let db = open().await;
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &(0..100).map(|id| (id, id)).collect::<Vec<_>>()).await;
    let remove = async |ids: std::ops::Range<i32>| {
        let mut txn = db.begin(author());
        let keys: Vec<_> = ids.map(|id| key_of(&t, &row(&t, id, 0))).collect();
        txn.delete(&t, &key_batch(&t, &keys)).await.unwrap();
        txn.commit().await.unwrap().version
    };
    db.flush().await.unwrap();
    remove(0..10).await;
    db.flush().await.unwrap();
    let good = remove(10..20).await;
    remove(20..40).await;
    drop(db);
    let db = open().await;
    for object in objects.list(None).try_collect::<Vec<_>>().await.unwrap() {
        if !object.location.as_ref().starts_with("manifests/") {
            objects.delete(&object.location).await.unwrap();
        }
    }
    let report = db.restore(in_place(only("t"), good), &author()).await.unwrap();
    assert_eq!((report.steps[0].rows_before, report.steps[0].rows_after), (Some(60), Some(80)));
    let mut txn = db.begin(author());
    txn.truncate(&t).await.unwrap();
    let emptied = txn.commit().await.unwrap().version;
    let query = EntryQuery { from: emptied, upto: emptied, tables: None, upkeep: false, limit: 1 };
    assert_eq!(metastore.entries(&query).unwrap()[0].tables, [(t.id, 0, 80)]);
}

#[tokio::test]
async fn an_address_by_version_reads_no_rows_of_its_commit() {
    let metastore = Arc::new(FailingMetastore::new());
    let db = Database::start(metastore.clone(), Arc::new(InMemory::new()), options(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let version = insert(&db, &t, &[(1, 1)]).await;
    insert(&db, &t, &[(2, 2)]).await;
    let before = metastore.whole_entries.load(Ordering::Relaxed);
    assert_eq!(db.at(version).await.unwrap().version(), version);
    assert_eq!(metastore.whole_entries.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn undrop_takes_what_bore_the_name_when_it_was_dropped() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let drop_it = async |table: &Arc<Table>| {
        let mut txn = db.begin(author());
        txn.drop_table(table).unwrap();
        txn.commit().await.unwrap();
    };
    let first = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &first, &[(1, 1)]).await;
    drop_it(&first).await;
    // Another t goes away under another name.
    let second = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &second, &[(2, 2)]).await;
    let mut txn = db.begin(author());
    let second = txn.alter_table(Table { name: "u".to_owned(), ..second.as_ref().clone() }).unwrap();
    txn.commit().await.unwrap();
    drop_it(&second).await;
    for (name, rows) in [("t", [(1, 1)]), ("u", [(2, 2)])] {
        let plan = db.plan_undrop_table("d", name, None, &author()).await.unwrap();
        db.apply_restore(&plan, &author()).await.unwrap();
        assert_eq!(pairs(&db, &named(&db, "d", name)).await, rows);
    }
    // What came back is not dropped any more.
    let refused = db.plan_undrop_table("d", "t", Some("v"), &author()).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::NotFound(What::Table));
}

#[tokio::test]
async fn undrop_takes_the_place_of_nothing_that_was_made_meanwhile() {
    thread_local! {
        /// The other tests of the process pass the point, too.
        static ITSELF: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let first = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &first, &[(1, 1)]).await;
    let mut txn = db.begin(author());
    txn.drop_table(&first).unwrap();
    txn.commit().await.unwrap();
    // Somebody makes another t when it was seen that there is none.
    let other = db.clone();
    fail::cfg_callback("undrop::found", move || {
        if ITSELF.take() {
            let other = other.clone();
            let make = async move {
                let t = create_table(&other, table(database, "t", Shape::Keyed)).await;
                insert(&other, &t, &[(2, 2)]).await;
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            std::thread::spawn(move || runtime.block_on(make)).join().unwrap();
        }
    })
    .unwrap();
    ITSELF.set(true);
    let plan = db.plan_undrop_table("d", "t", None, &author()).await.unwrap();
    fail::remove("undrop::found");
    let refused = db.apply_restore(&plan, &author()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "{refused:?}");
    assert_eq!(pairs(&db, &named(&db, "d", "t")).await, [(2, 2)]);
    let refused = db.plan_undrop_table("d", "t", None, &author()).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::AlreadyExists(What::Table));
}

#[tokio::test]
async fn a_store_without_its_metastore_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let db = Database::open(&path, options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 1)]).await;
    db.flush().await.unwrap();
    db.close().await.unwrap();
    drop(db);
    std::fs::rename(path.join("metastore.db"), path.join("away")).unwrap();
    for ending in ["-wal", "-shm"] {
        drop(std::fs::remove_file(path.join(format!("metastore.db{ending}"))));
    }
    let refused = Database::open(&path, options()).await.err().unwrap();
    assert_eq!(
        refused.to_string(),
        format!(
            "'{}' has files of a store in 'parts/', but its metastore.db is gone. Put metastore.db back, or restore the \
             store from a backup; for a new store, name an empty folder.",
            path.display()
        )
    );
    std::fs::rename(path.join("away"), path.join("metastore.db")).unwrap();
    let db = Database::open(&path, options()).await.unwrap();
    assert_eq!(pairs(&db, &named(&db, "d", "t")).await, [(1, 1)]);
}

#[tokio::test]
async fn invariant_9_a_failed_append_poisons_the_writer() {
    let metastore = Arc::new(FailingMetastore::new());
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let db = Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let version = insert(&db, &t, &[(1, 1)]).await;

    metastore.fail_next(Kind::Internal);
    assert_eq!(try_insert(&db, &t, &[(2, 2)]).await.unwrap_err().kind(), Kind::Internal);
    let refused = try_insert(&db, &t, &[(3, 3)]).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Closed);
    assert_eq!(
        refused.to_string(),
        "No more commits are accepted: a durable write failed (The disk gave up.) Restart the server; nothing that was \
         acknowledged is lost."
    );
    assert_eq!(pairs(&db, &t).await, [(1, 1)], "reading goes on");
    drop(db);
    let db = Database::start(metastore, objects, options(), None).await.unwrap();
    assert_eq!(db.now().version(), version);
    insert(&db, &t, &[(2, 2)]).await;
    assert_eq!(pairs(&db, &t).await, [(1, 1), (2, 2)]);
}

/// What a failed write has left on the disk is known when it is read again: until then the files of its commit stay.
#[tokio::test]
async fn a_commit_whose_outcome_is_unknown_keeps_its_files() {
    let metastore = Arc::new(FailingMetastore::new());
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let db = Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 1)]).await;
    for (kind, left) in [(Kind::Unavailable, 0), (Kind::Internal, 2)] {
        metastore.fail_next(kind);
        assert_eq!(db.flush().await.unwrap_err().kind(), kind);
        // Whoever deletes does it in the background.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let files: Vec<_> = objects.list(None).try_collect().await.unwrap();
        assert_eq!(files.len(), left, "{files:?}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_one_commit_and_no_more() {
    let metastore = Arc::new(FailingMetastore::new());
    let db = Database::start(metastore.clone(), Arc::new(InMemory::new()), options(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    metastore.fail_next(Kind::Unavailable);
    assert_eq!(try_insert(&db, &t, &[(1, 1)]).await.unwrap_err().kind(), Kind::Unavailable);
    // The same row again: what failed leaves no conflict behind.
    insert(&db, &t, &[(1, 1)]).await;
    assert_eq!(pairs(&db, &t).await, [(1, 1)]);
}

#[tokio::test]
async fn invariant_11_there_is_a_way_back_from_everything() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let full = insert(&db, &t, &[(1, 1)]).await;

    let mut txn = db.begin(author());
    txn.truncate(&t).await.unwrap();
    txn.commit().await.unwrap();
    db.restore(in_place(only("t"), full), &author()).await.unwrap();
    assert_eq!(pairs(&db, &t).await, [(1, 1)]);

    let mut txn = db.begin(author());
    txn.drop_table(&t).unwrap();
    txn.commit().await.unwrap();
    // Another of the same name takes its place, and is restored over: it stays, too.
    let other = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let with_other = insert(&db, &other, &[(2, 2)]).await;
    let report = db.restore(in_place(only("t"), full), &author()).await.unwrap();
    assert_eq!(pairs(&db, &named(&db, "d", "t")).await, [(1, 1)]);
    assert_eq!(report.version_before, with_other);
    db.restore(in_place(only("t"), report.version_before), &author()).await.unwrap();
    assert_eq!(pairs(&db, &named(&db, "d", "t")).await, [(2, 2)]);

    let mut txn = db.begin(author());
    let d = txn.catalog().database(SYS, "d").unwrap().clone();
    txn.drop_database(&d).unwrap();
    txn.commit().await.unwrap();
    let plan = db.plan_undrop_database("d", None, &author()).await.unwrap();
    db.apply_restore(&plan, &author()).await.unwrap();
    assert_eq!(pairs(&db, &named(&db, "d", "t")).await, [(2, 2)]);
}

#[tokio::test]
async fn a_restore_takes_back_what_came_between_its_plan_and_its_commit() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let good = insert(&db, &t, &[(1, 1)]).await;
    insert(&db, &t, &[(2, 2)]).await;
    // A writer saw the table before the restore, another commits while it is planned.
    let mut late = db.begin(author());
    late.insert(&t, &batch(&t, &[row(&t, 4, 4)], None), OnDuplicate::Error).await.unwrap();
    let plan = db.plan_restore(in_place(only("t"), good), &author()).await.unwrap();
    let between = insert(&db, &t, &[(3, 3)]).await;
    let report = db.apply_restore(&plan, &author()).await.unwrap();
    assert_eq!(pairs(&db, &t).await, [(1, 1)]);
    assert_eq!(late.commit().await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(report.version_before, between, "going back there loses nothing");
    db.restore(in_place(only("t"), report.version_before), &author()).await.unwrap();
    assert_eq!(pairs(&db, &t).await, [(1, 1), (2, 2), (3, 3)]);
}

/// The first account that was made in the process that made the store had the id of `sys`, and took its place.
#[tokio::test]
async fn the_first_account_is_not_the_first_of_all() {
    let db = Database::in_memory(options()).await.unwrap();
    create_database(&db, "d").await;
    let mut txn = db.begin(author());
    let acme = txn.create_account("acme").unwrap();
    txn.commit().await.unwrap();
    assert_ne!(acme.id, SYS);
    assert_eq!(db.now().catalog().account_by_id(SYS).unwrap().name, "sys");
    assert!(db.now().catalog().databases_of(acme.id).is_empty());
}

#[tokio::test]
async fn one_process_owns_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(folder.path(), options()).await.unwrap();
    let Err(refused) = Database::open(folder.path(), options()).await else { panic!("opened twice") };
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert_eq!(
        refused.to_string(),
        format!(
            "The store '{}' is in use by process {}. Connect to that server, or stop it first: one process owns a store.",
            folder.path().display(),
            std::process::id()
        )
    );
    db.close().await.unwrap();
    let t = db.begin(author());
    drop((t, db));
    Database::open(folder.path(), options()).await.unwrap();
}

/// Writers move amounts between rows while tables are flushed, emptied overlays built and old moments read: every moment
/// shows the same sum, and the same rows each time it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_4_every_moment_stays_whole_under_concurrent_writers_and_flushes() {
    const ROWS: i32 = 40;
    // Past overlays get no room: they are built again and again.
    let options = Options { cache_bytes: 1 << 20, ..options() };
    let db = Database::in_memory(options).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let start = insert(&db, &t, &(0..ROWS).map(|id| (id, 100)).collect::<Vec<_>>()).await;
    let running = Arc::new(AtomicBool::new(true));
    let mut others = Vec::new();
    for seed in 0..2_u64 {
        let (db, t, running) = (db.clone(), t.clone(), running.clone());
        others.push(tokio::spawn(async move {
            let mut seen: BTreeMap<Version, Vec<(i32, i32)>> = BTreeMap::new();
            let mut number = seed;
            while running.load(Ordering::Relaxed) {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let newest = db.now().version().0;
                let back = (number >> 33) % (newest - start.0 + 1);
                let moment =
                    if number & (1 << 40) == 0 { db.now() } else { db.at(Version(newest - back)).await.unwrap() };
                let rows: Vec<_> = read(db.cold(), &moment.scan(&t).await.unwrap()).await.values().map(pair).collect();
                assert_eq!(rows.len(), ROWS as usize, "at {}", moment.version());
                assert_eq!(rows.iter().map(|(_, v)| v).sum::<i32>(), ROWS * 100, "at {}", moment.version());
                let known = seen.entry(moment.version()).or_insert_with(|| rows.clone());
                assert_eq!(known, &rows, "at {}", moment.version());
                tokio::task::yield_now().await;
            }
        }));
    }
    let (flushing, flushed) = (db.clone(), t.id);
    let on = running.clone();
    others.push(tokio::spawn(async move {
        while on.load(Ordering::Relaxed) {
            flushing.flush_table(flushed).await.unwrap();
            tokio::task::yield_now().await;
        }
    }));
    let writers: Vec<_> = (0..3_i32)
        .map(|writer| {
            let (db, t) = (db.clone(), t.clone());
            tokio::spawn(async move {
                let mut moved = 0;
                for at in 0..150 {
                    let (from, to) = ((at * 7 + writer * 13) % ROWS, (at * 11 + writer * 5 + 1) % ROWS);
                    if from == to {
                        continue;
                    }
                    let mut txn = db.begin(author());
                    let keys = [from, to].map(|id| key_of(&t, &row(&t, id, 0)));
                    let mut new = Vec::new();
                    for (key, by) in keys.iter().zip([-1, 1]) {
                        let found = txn.get(&t, key).await.unwrap().unwrap();
                        let (id, v) = pair(&rows_of(&t, &found)[0].1);
                        new.push(row(&t, id, v + by));
                    }
                    txn.update(&t, &key_batch(&t, &keys), &batch(&t, &new, None)).await.unwrap();
                    match txn.commit().await {
                        Ok(_) => moved += 1,
                        Err(error) => assert_eq!(error.kind(), Kind::Conflict),
                    }
                }
                moved
            })
        })
        .collect();
    let mut moved = 0;
    for writer in writers {
        moved += writer.await.unwrap();
    }
    running.store(false, Ordering::Relaxed);
    for other in others {
        other.await.unwrap();
    }
    assert!(moved > 0);
}

//! Files that were written for a commit that never came: the collector has them at once, and never too early.

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use strandline_core::db::Database;
use strandline_core::error::Kind;
use strandline_core::log::{FileKind, Metastore};
use strandline_core::schema::Table;
use strandline_core::txn::OnDuplicate;

use crate::failing::FailingMetastore;
use crate::support::*;

struct Store {
    metastore: Arc<FailingMetastore>,
    objects: Arc<InMemory>,
    db: Database,
    t: Arc<Table>,
    u: Arc<Table>,
}

impl Store {
    async fn new() -> Store {
        let (metastore, objects) = (Arc::new(FailingMetastore::new()), Arc::new(InMemory::new()));
        let db = Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
        let database = create_database(&db, "d").await;
        let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
        let u = create_table(&db, table(database, "u", Shape::Keyed)).await;
        Store { metastore, objects, db, t, u }
    }

    /// Collects, in the process that wrote the files, and returns how many files and intents there are then.
    async fn left(&self) -> (usize, usize) {
        self.db.collect().await.unwrap();
        let files: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
        (files.len(), self.metastore.intents().unwrap().len())
    }
}

#[tokio::test]
async fn of_a_flush_that_fails() {
    let store = Store::new().await;
    insert(&store.db, &store.t, &[(1, 1)]).await;
    store.metastore.fail_next_file(FileKind::Manifest, Kind::Unavailable);
    assert_eq!(store.db.flush_table(store.t.id).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(store.left().await, (0, 0), "its part is gone, for there is no manifest");
    assert!(store.db.flush_table(store.t.id).await.unwrap());
    assert_eq!(store.left().await, (2, 0));
}

#[tokio::test]
async fn of_a_commit_that_cannot_be_prepared() {
    let store = Store::new().await;
    let mut txn = store.db.begin(author());
    for table in [&store.t, &store.u] {
        let mut load = txn.bulk(table, OnDuplicate::Error);
        let rows: Vec<_> = (0..5).map(|id| row(table, id, id)).collect();
        load.write(&mut txn, &batch(table, &rows, None)).await.unwrap();
        load.finish(&mut txn).await.unwrap();
    }
    // The manifest of t is written when this is found of u.
    insert(&store.db, &store.u, &[(3, 3)]).await;
    assert_eq!(txn.commit().await.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(store.left().await, (0, 0));
}

/// Whoever asked for a commit may be gone when it is refused. What nobody knows the outcome of stays until the store is opened
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_commit_that_nobody_waits_for() {
    for (kind, left) in [(Kind::Unavailable, (0, 0)), (Kind::Internal, (2, 2))] {
        let store = Store::new().await;
        insert(&store.db, &store.t, &[(1, 1)]).await;
        let (begins, gate) = store.metastore.hold_next_append();
        store.metastore.fail_next(kind);
        let (db, id) = (store.db.clone(), store.t.id);
        let flush = tokio::spawn(async move { db.flush_table(id).await });
        begins.recv().unwrap();
        flush.abort();
        assert!(flush.await.unwrap_err().is_cancelled());
        drop(gate);
        // The sequencer has told the other before it takes this one.
        let after = try_insert(&store.db, &store.t, &[(2, 2)]).await;
        assert_eq!(after.is_ok(), kind == Kind::Unavailable);
        assert_eq!(store.left().await, left, "{kind:?}");
        let Store { metastore, objects, db, .. } = store;
        drop(db);
        let db = Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
        db.env().advance(options().grace_micros);
        assert_eq!(db.collect().await.unwrap().files as usize, left.0, "{kind:?}");
        assert_eq!(metastore.intents().unwrap(), []);
    }
}

//! Compressed snapshots: a copy that needs nothing of the present.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use strandline_core::db::{Database, SYS};
use strandline_core::error::{Kind, What};
use strandline_core::history::restore::{RestoreRequest, Target};
use strandline_core::history::snapshot::SnapshotSpec;
use strandline_core::log::memory::MemoryMetastore;
use strandline_core::log::{Metastore, Pin, Scope};
use strandline_core::when::When;

use crate::failing::FailingMetastore;
use crate::support::*;

fn compressed(name: &str) -> SnapshotSpec {
    SnapshotSpec { compress: true, ..SnapshotSpec::of(name, Scope::Database("d".to_owned())) }
}

async fn objects_of(objects: &InMemory) -> BTreeSet<String> {
    let listed: Vec<_> = objects.list(None).try_collect().await.unwrap();
    listed.into_iter().map(|object| object.location.to_string()).collect()
}

async fn files_of(db: &Database, pin: &Pin) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for (_, content) in pin.terms.copy.as_ref().expect("a copy") {
        if let Some(digest) = content.manifest {
            let manifest = db.cold().manifest(digest).await.unwrap();
            files.extend(manifest.files().map(|file| format!("parts/{file}.parquet")));
        }
    }
    files
}

#[tokio::test]
async fn it_survives_the_loss_of_every_live_part() {
    let (metastore, objects) = (Arc::new(MemoryMetastore::new()), Arc::new(InMemory::new()));
    let options = options();
    let open = async || Database::start(metastore.clone(), objects.clone(), options.clone(), None).await.unwrap();
    let db = open().await;
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let u = create_table(&db, table(database, "u", Shape::Keyless)).await;
    create_table(&db, table(database, "empty", Shape::Keyed)).await;
    let rows: Vec<(i32, i32)> = (0..500).map(|id| (id, id * 2)).collect();
    insert(&db, &t, &rows).await;
    insert(&db, &u, &[(1, 1), (2, 2)]).await;
    db.flush().await.unwrap();
    // Some in a second part, some only in the log.
    insert(&db, &t, &[(1000, 1)]).await;
    db.flush().await.unwrap();
    insert(&db, &t, &[(2000, 2)]).await;
    let (in_t, in_u) = (pairs(&db, &t).await, pairs(&db, &u).await);

    let pin = db.create_snapshot(&compressed("keep"), &author()).await.unwrap();
    assert_eq!(pin.terms.copy.as_ref().unwrap().len(), 3);
    assert!(db.jobs().list(SYS).is_empty());
    let own = files_of(&db, &pin).await;
    let sizes = db.snapshot_sizes(SYS).await.unwrap();
    let stored: u64 = {
        let mut bytes = 0;
        for name in &own {
            bytes += objects.head(&name.as_str().into()).await.unwrap().size;
        }
        bytes
    };
    assert_eq!((sizes[0].bytes, sizes[0].unique_bytes), (stored, stored), "what is on disk, and nobody else's");

    insert(&db, &t, &[(3000, 3)]).await;
    db.flush().await.unwrap();
    db.close().await.unwrap();
    drop(db);
    let mut damaged = 0;
    for name in objects_of(&objects).await {
        if name.starts_with("parts/") && !own.contains(&name) {
            damaged += 1;
            let path = name.as_str().into();
            match damaged % 2 {
                0 => objects.delete(&path).await.unwrap(),
                _ => drop(objects.put(&path, b"no longer Parquet".to_vec().into()).await.unwrap()),
            }
        }
    }
    assert!(damaged >= 3);

    let db = open().await;
    let present = db.now().scan(&t).await.unwrap();
    assert!(read_all(&db, &present).await.is_err(), "the present is lost");
    let resolved = db.resolve(&When::Snapshot("keep".to_owned()), SYS).unwrap();
    let then = db.moment(&resolved).unwrap();
    let scan = then.scan(&t).await.unwrap();
    assert_eq!(scan.row_count(), in_t.len() as u64);
    let request = RestoreRequest {
        scope: Scope::Database("d".to_owned()),
        when: When::Snapshot("keep".to_owned()),
        target: Target::InPlace,
        overwrite: false,
        keep_copy: false,
        create_database: false,
        foreign_key_checks: true,
    };
    db.restore(request, &author()).await.unwrap();
    assert_eq!(pairs(&db, &t).await, in_t);
    assert_eq!(pairs(&db, &u).await, in_u);
    // The restored table lives on the copy's files, and goes on.
    insert(&db, &t, &[(4000, 4)]).await;
    insert(&db, &u, &[(3, 3)]).await;
    db.flush().await.unwrap();
    assert_eq!(pairs(&db, &t).await.len(), in_t.len() + 1);
    assert_eq!(pairs(&db, &u).await.len(), in_u.len() + 1);
}

/// Reads everything that a scan shows.
async fn read_all(db: &Database, scan: &strandline_core::scan::TableScan) -> strandline_core::error::Result<usize> {
    let mut rows = scan.rows.iter().map(|batch| batch.num_rows()).sum();
    for part in &scan.parts {
        let batches = db.cold().scan(&scan.table, &part.part, part.version, None, &part.excluded, false).await?;
        rows += batches.try_collect::<Vec<_>>().await?.iter().map(|batch| batch.num_rows()).sum::<usize>();
    }
    Ok(rows)
}

#[tokio::test]
async fn it_is_refused_before_it_begins_where_there_is_no_room() {
    let options = options();
    let objects = Arc::new(InMemory::new());
    let db = Database::start(Arc::new(MemoryMetastore::new()), objects.clone(), options.clone(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 1)]).await;
    db.flush().await.unwrap();
    let before = objects_of(&objects).await;
    options.env.set_free_bytes(32 << 20);
    let refused = db.create_snapshot(&compressed("s"), &author()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert_eq!(
        refused.to_string(),
        "The copy takes up to 1 MiB, and 64 MiB must stay free: the disk has 32 MiB. Make room, or take the snapshot \
         without COMPRESSION: then it copies nothing."
    );
    assert_eq!(objects_of(&objects).await, before);
    assert!(db.snapshots(SYS).unwrap().is_empty());
    assert!(db.metastore().intents().unwrap().is_empty());
    options.env.set_free_bytes(1 << 30);
    db.create_snapshot(&compressed("s"), &author()).await.unwrap();
    let taken = db.create_snapshot(&compressed("S"), &author()).await.unwrap_err();
    assert_eq!(taken.kind(), Kind::AlreadyExists(What::Snapshot));
    let based = SnapshotSpec { base: Some("s".to_owned()), ..compressed("x") };
    assert_eq!(db.create_snapshot(&based, &author()).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn one_that_fails_leaves_no_file_and_no_name() {
    let (metastore, objects) = (Arc::new(FailingMetastore::new()), Arc::new(InMemory::new()));
    let db = Database::start(metastore.clone(), objects.clone(), options(), None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    insert(&db, &t, &[(1, 1)]).await;
    db.flush().await.unwrap();
    let before = objects_of(&objects).await;
    metastore.fail_next(Kind::Unavailable);
    assert_eq!(db.create_snapshot(&compressed("s"), &author()).await.unwrap_err().kind(), Kind::Unavailable);
    assert!(metastore.pins().unwrap().is_empty());
    // The files go in the background.
    while objects_of(&objects).await != before {
        tokio::task::yield_now().await;
    }
    db.create_snapshot(&compressed("s"), &author()).await.unwrap();
}

#[tokio::test]
async fn one_of_the_past_holds_the_past() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Unique)).await;
    let then = insert(&db, &t, &[(1, 10), (2, 20)]).await;
    insert(&db, &t, &[(3, 30)]).await;
    db.flush().await.unwrap();
    let spec = SnapshotSpec { when: When::Version(then), ..compressed("past") };
    let pin = db.create_snapshot(&spec, &author()).await.unwrap();
    assert_eq!(pin.version, then);
    let resolved = db.resolve(&When::Snapshot("past".to_owned()), SYS).unwrap();
    let moment = db.moment(&resolved).unwrap();
    assert_eq!(moment.scan(&t).await.unwrap().row_count(), 2);
    let row = row(&t, 2, 20);
    assert!(moment.get(&t, &key_of(&t, &row)).await.unwrap().is_some());
}

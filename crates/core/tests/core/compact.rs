//! Compaction: a table reads as if it had been loaded afresh, and nothing that anyone can see has changed.

use std::sync::Arc;

use object_store::memory::InMemory;
use strandline_core::cold::{Manifest, Merging, Part};
use strandline_core::db::{Database, Options};
use strandline_core::schema::Table;

use crate::failing::FailingMetastore;
use crate::support::*;

const ROWS: i32 = 12_000;

/// A table of parts that lie over one another: in each run of `runs`, every so-manieth key.
async fn store(runs: i32) -> (Database, Arc<Table>) {
    let merging = Merging {
        small_bytes: 1 << 10,
        small_parts: 100,
        depth: 4,
        worn_bytes: 1,
        part_bytes: 1,
        ..Merging::default()
    };
    let options = Options { merging, load_rows: 1 << 20, ..options() };
    let db = Database::in_memory(options).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    for run in 0..runs {
        let rows: Vec<(i32, i32)> = (0..ROWS).filter(|id| id % runs == run).map(|id| (id, run)).collect();
        insert(&db, &t, &rows).await;
        db.flush_table(t.id).await.unwrap();
    }
    (db, t)
}

async fn manifest(db: &Database, table: &Table) -> Arc<Manifest> {
    let now = db.now();
    db.cold().manifest(now.catalog().content(table.id).unwrap().manifest.unwrap()).await.unwrap()
}

async fn delete(db: &Database, table: &Arc<Table>, ids: impl Iterator<Item = i32>) {
    let keys: Vec<Vec<u8>> = ids.map(|id| key_of(table, &row(table, id, 0))).collect();
    let mut txn = db.begin(author());
    txn.delete(table, &key_batch(table, &keys)).await.unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn parts_that_lie_over_one_another_come_to_lie_side_by_side() {
    let (db, t) = store(3).await;
    assert!(!db.compact_table(t.id).await.unwrap(), "three are not deep");
    let (db, t) = store(5).await;
    let (rows, before) = (pairs(&db, &t).await, db.now());
    assert_eq!(manifest(&db, &t).await.parts.len(), 5);
    assert!(db.compact_table(t.id).await.unwrap());
    let merged = manifest(&db, &t).await;
    assert!(merged.parts.len() > 1, "a merge is cut into parts");
    assert!(merged.parts.is_sorted_by(|a, b| a.max_key < b.min_key), "and they do not overlap");
    assert_eq!(merged.live_rows(), ROWS as u64);
    assert_eq!(pairs(&db, &t).await, rows);
    // Each row still knows the commit that wrote it, and the past is as it was.
    assert!(merged.parts.iter().any(|part| part.version_min < part.version_max));
    let then: Vec<_> = read(db.cold(), &before.scan(&t).await.unwrap()).await.values().map(pair).collect();
    assert_eq!(then, rows);
    assert!(!db.compact_table(t.id).await.unwrap(), "nothing is left to do");
}

/// Rows that are read keep being found in memory.
#[tokio::test]
async fn what_was_in_memory_is_in_memory_after_a_merge() {
    let (db, t) = store(5).await;
    let key = |id: i32| key_of(&t, &row(&t, id, 0));
    for id in 40..45 {
        assert!(db.now().get(&t, &key(id)).await.unwrap().is_some());
    }
    assert!(db.now().try_get(&t, &key(41)).is_some());
    assert!(db.now().try_get(&t, &key(ROWS - 1)).is_none(), "its block is on the disk");
    assert!(db.compact_table(t.id).await.unwrap());
    assert!(matches!(db.now().try_get(&t, &key(41)), Some(Ok(Some(_)))));
}

/// Writers wait by this measure.
#[tokio::test]
async fn memory_is_measured_as_it_grows_and_shrinks() {
    let db = Database::in_memory(options()).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    let mut last = db.unflushed_bytes();
    for id in 0..10 {
        insert(&db, &t, &[(id, id)]).await;
        assert!(db.unflushed_bytes() > last || id == 0, "the first builds the overlay");
        last = db.unflushed_bytes();
    }
    let measured: usize = db.unflushed().iter().map(|(.., bytes)| bytes).sum();
    assert_eq!(db.unflushed_bytes(), measured);
    db.flush().await.unwrap();
    db.unflushed();
    assert_eq!(db.unflushed_bytes(), 0);
}

#[tokio::test]
async fn what_is_gone_is_folded_in() {
    let (db, t) = store(1).await;
    delete(&db, &t, (0..ROWS).filter(|id| id % 5 == 0)).await;
    db.flush_table(t.id).await.unwrap();
    assert!(!db.compact_table(t.id).await.unwrap(), "a fifth is not worth it");
    delete(&db, &t, (0..ROWS).filter(|id| id % 5 == 1)).await;
    db.flush_table(t.id).await.unwrap();
    let rows = pairs(&db, &t).await;
    assert!(db.compact_table(t.id).await.unwrap());
    let merged = manifest(&db, &t).await;
    assert_eq!(
        merged.parts.iter().map(|part| (part.rows, part.deletions)).fold(0, |sum, (rows, gone)| {
            assert_eq!(gone, None);
            sum + rows
        }),
        rows.len() as u64
    );
    assert_eq!(pairs(&db, &t).await, rows);
}

#[tokio::test]
async fn writers_go_on_under_a_compaction() {
    let (db, t) = store(5).await;
    let compaction = db.compact_table(t.id);
    let writer = async {
        for id in 0..50 {
            insert(&db, &t, &[(ROWS + id, 0)]).await;
            delete(&db, &t, [id * 7].into_iter()).await;
            tokio::task::yield_now().await;
        }
    };
    let (compacted, ()) = tokio::join!(compaction, writer);
    assert!(compacted.unwrap());
    let expected = (0..ROWS + 50).filter(|id| *id >= 350 || id % 7 != 0);
    assert_eq!(pairs(&db, &t).await.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    db.flush_table(t.id).await.unwrap();
    db.optimize_table(t.id).await.unwrap();
    assert!(!db.optimize_table(t.id).await.unwrap(), "nothing is left to do");
    assert_eq!(manifest(&db, &t).await.live_rows(), pairs(&db, &t).await.len() as u64);
}

/// A merge begins, and before it has written its first file others flush, load, change and delete what it merges.
async fn merge_while_others_go_on(optimize: bool) {
    let failing = Arc::new(FailingMetastore::new());
    let merging = Merging { small_bytes: 1, small_parts: 100, depth: 2, worn_bytes: 1, ..Merging::default() };
    let options = Options { merging, load_rows: 100, ..options() };
    let db = Database::start(failing.clone(), Arc::new(InMemory::new()), options, None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    for run in 0..4 {
        let rows: Vec<(i32, i32)> = (0..1000).filter(|id| id % 4 == run).map(|id| (id, run)).collect();
        load(&db, &t, &rows).await;
    }
    let before = manifest(&db, &t).await;
    assert_eq!(before.parts.len(), 4);
    delete(&db, &t, 0..10).await;
    db.flush_table(t.id).await.unwrap();
    let gate = failing.hold_next_file();
    let (other, id) = (db.clone(), t.id);
    let merge =
        tokio::spawn(
            async move { if optimize { other.optimize_table(id).await } else { other.compact_table(id).await } },
        );
    failing.file_is_held().await;
    let mut seen = Vec::new();
    for round in 0..3_i32 {
        delete(&db, &t, 100 * round + 50..100 * round + 60).await;
        insert(&db, &t, &[(100 * round + 55, -round), (2000 + round, 0)]).await;
        if round < 2 {
            assert!(db.flush_table(t.id).await.unwrap(), "a flush does not wait for a merge");
        }
        let rows: Vec<(i32, i32)> = (0..150).map(|at| (3000 + 1000 * round + at, round)).collect();
        load(&db, &t, &rows).await;
        seen.push((db.now(), pairs(&db, &t).await));
    }
    drop(gate);
    assert!(merge.await.unwrap().unwrap(), "what it did is not thrown away");
    seen.push((db.now(), pairs(&db, &t).await));
    assert_eq!(seen[3].1, seen[2].1);
    assert_eq!(seen[3].1.len(), 1000 - 10 - 30 + 3 + 3 + 450);
    let after = manifest(&db, &t).await;
    let is_there = |part: &&Part| after.parts.iter().any(|other| other.file == part.file);
    assert_eq!(before.parts.iter().find(is_there), None, "nothing is left of what it merged");
    for (moment, rows) in &seen {
        let now: Vec<_> = read(db.cold(), &moment.scan(&t).await.unwrap()).await.values().map(pair).collect();
        assert_eq!(now, *rows);
    }
    for id in [3, 52, 55, 255, 999, 2002, 3000] {
        let key = key_of(&t, &row(&t, id, 0));
        let is_there = db.now().get(&t, &key).await.unwrap().is_some();
        assert_eq!(is_there, seen[3].1.iter().any(|(other, _)| *other == id), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_lands_though_others_flush_and_load_meanwhile() {
    merge_while_others_go_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optimize_lands_though_others_flush_and_load_meanwhile() {
    merge_while_others_go_on(true).await;
}

/// What was merged is not put in the place of what a truncate has taken away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_gives_way_to_a_truncate() {
    let failing = Arc::new(FailingMetastore::new());
    let merging = Merging { small_bytes: 1, small_parts: 100, depth: 2, worn_bytes: 1, ..Merging::default() };
    let options = Options { merging, load_rows: 100, ..options() };
    let db = Database::start(failing.clone(), Arc::new(InMemory::new()), options, None).await.unwrap();
    let database = create_database(&db, "d").await;
    let t = create_table(&db, table(database, "t", Shape::Keyed)).await;
    for run in 0..3 {
        let rows: Vec<(i32, i32)> = (0..900).filter(|id| id % 3 == run).map(|id| (id, run)).collect();
        load(&db, &t, &rows).await;
    }
    let gate = failing.hold_next_file();
    let (other, id) = (db.clone(), t.id);
    let merge = tokio::spawn(async move { other.compact_table(id).await });
    failing.file_is_held().await;
    let mut txn = db.begin(author());
    txn.truncate(&t).await.unwrap();
    txn.commit().await.unwrap();
    insert(&db, &t, &[(1, 7)]).await;
    drop(gate);
    assert!(!merge.await.unwrap().unwrap());
    assert_eq!(pairs(&db, &t).await, [(1, 7)]);
}

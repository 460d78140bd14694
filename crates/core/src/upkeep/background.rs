//! Upkeep in the background: what is done when, while the database is open. A failure is told in the log of the server, and
//! the work goes on; so does it after a panic.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;

use crate::cold::{Candidate, blocking};
use crate::db::{Database, Inner};
use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, TableId};
use crate::log::AGE_BYTES;
use crate::upkeep::scrub::Scrubber;

/// A table with fewer recent rows is not flushed by age.
const AGED_ROWS: usize = 1000;

/// How often the collector looks for what nothing reaches.
const COLLECT_SECONDS: u64 = 600;

/// How often tables are looked at for what is worth merging.
const COMPACT_SECONDS: u64 = 10;

/// How far merging and scrubbing stand back behind everything else that wants a processor, as `nice(1)` counts.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// How often older deltas leave the metastore, and its write-ahead log is moved into place.
const TIDY_SECONDS: u64 = 10;

impl Database {
    /// Flushes, compacts and collects in the background, until the database is closed or dropped.
    ///
    /// # Errors
    /// `Internal` where the system gives no thread for it.
    pub fn start_upkeep(&self) -> Result<()> {
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut seconds = 0_u64;
            while let Some(database) = later(&inner, 1).await {
                seconds += 1;
                if let Err(error) = without_panic(Box::pin(database.tick(seconds))).await {
                    tracing::warn!(%error, "background upkeep failed; it will be tried again");
                }
            }
        });
        // Apart from the flushes, as what follows: memory is emptied also while a long collection or merge goes on.
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            while let Some(database) = later(&inner, COLLECT_SECONDS).await {
                match without_panic(Box::pin(database.collect())).await {
                    Err(error) if !database.is_closing() => {
                        tracing::warn!(%error, "what nothing reaches could not be collected; it will be tried again");
                    }
                    _ => {}
                }
            }
        });
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            while let Some(database) = later(&inner, TIDY_SECONDS).await {
                // It holds the store's lock until it is done.
                let kept_small = blocking(move || {
                    let metastore = database.metastore();
                    let aged = metastore.age(AGE_BYTES);
                    metastore.tidy().and(aged)
                });
                if let Err(error) = without_panic(kept_small).await {
                    tracing::warn!(%error, "the metastore could not be kept small; it will be tried again");
                }
            }
        });
        let (inner, mut looked) = (Arc::downgrade(&self.0), HashMap::new());
        let compacting = async move {
            while let Some(database) = later(&inner, COMPACT_SECONDS).await {
                let compacted = async {
                    database.compact_changed(&mut looked).await;
                    Ok(())
                };
                if let Err(error) = without_panic(Box::pin(compacted)).await {
                    tracing::warn!(%error, "background compactions failed; they will be tried again");
                }
            }
        };
        let (inner, mut scrubber) = (Arc::downgrade(&self.0), Scrubber::default());
        let scrubbing = async move {
            while let Some(database) = later(&inner, 1).await {
                if let Err(error) = without_panic(scrubber.tick(&database)).await {
                    tracing::debug!(%error, "the scrubber could not go on; it will try again");
                }
            }
        };
        // Nobody waits for these two: they leave the processors to queries and commits, and no other work waits behind them.
        aside("upkeep", async {
            tokio::join!(compacting, scrubbing);
        })
    }

    fn manifests(&self) -> HashMap<TableId, Digest> {
        let now = self.now();
        let tables = now.catalog().all_tables();
        tables.filter_map(|table| Some((table.id, now.catalog().content(table.id)?.manifest?))).collect()
    }

    /// Compacts the tables whose manifests are not those that were `looked` at. What fails for one holds up no other.
    async fn compact_changed(&self, looked: &mut HashMap<TableId, Digest>) {
        for (table, digest) in self.manifests() {
            if looked.get(&table) == Some(&digest) {
                continue;
            }
            match self.compact_worn(table, digest).await {
                Ok(()) => drop(looked.insert(table, digest)),
                Err(_) if self.is_closing() => return,
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::warn!(%error, %table, "a table was not compacted; it will be when it has changed");
                    looked.insert(table, digest);
                }
                Err(error) => tracing::warn!(%error, %table, "a table was not compacted; it will be tried again"),
            }
        }
        let present = self.manifests();
        looked.retain(|table, _| present.contains_key(table));
    }

    async fn compact_worn(&self, table: TableId, digest: Digest) -> Result<()> {
        let manifest = self.cold().manifest(digest).await?;
        let parts = manifest.parts.iter();
        let parts: Vec<_> = parts.map(|part| Candidate { part, dead: part.rows - part.live_rows() }).collect();
        if !self.options().merging.for_compaction(&parts).is_empty() {
            // What it leaves is looked at next time.
            self.compact_table(table).await?;
        }
        Ok(())
    }

    async fn tick(&self, seconds: u64) -> Result<()> {
        let options = self.options();
        let aged = seconds.is_multiple_of(options.flush_seconds.max(1));
        let mut unflushed = self.unflushed();
        unflushed.sort_by_key(|(_, _, bytes)| std::cmp::Reverse(*bytes));
        let mut total: usize = unflushed.iter().map(|(_, _, bytes)| bytes).sum();
        for (table, rows, bytes) in unflushed {
            let crowded = total > options.flush_total_bytes;
            if bytes >= options.flush_bytes || crowded || (aged && rows >= AGED_ROWS) {
                // Somebody flushes it already.
                let Some(turn) = self.0.store.turns.try_take(table) else { continue };
                let flushed = self.lay_out_recent(&turn, table).await;
                self.0.store.flush_fails.store(flushed.is_err(), Ordering::Relaxed);
                match flushed {
                    Ok(_) => total -= bytes,
                    // A store that closes interrupts what it does not wait for.
                    Err(_) if self.is_closing() => return Ok(()),
                    Err(error) => tracing::warn!(%error, %table, "a background flush failed; it will be tried again"),
                }
            }
        }
        Ok(())
    }

    /// Tells whether nobody waits any more for what is done: the database was closed, or all that still hold it are loops
    /// in the background.
    pub(super) fn is_closing(&self) -> bool {
        self.0.closing.load(Ordering::SeqCst) || Arc::strong_count(&self.0) <= self.0.background.load(Ordering::SeqCst)
    }
}

/// A database in the hands of a loop in the background, which does not keep it open.
struct Background(Database);

impl Background {
    fn of(database: &Weak<Inner>) -> Option<Background> {
        let database = Database(database.upgrade()?);
        database.0.background.fetch_add(1, Ordering::SeqCst);
        Some(Background(database))
    }
}

impl Deref for Background {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.0
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.0.background.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs work to its end on a thread of its own, which stands back behind the others; so do those that it starts.
fn aside(name: &str, work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        stand_back();
        runtime.block_on(work);
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

/// Lets the other threads of the machine go before this one. On Linux each thread has a niceness of its own, which it hands
/// on (nice(2), sched(7)); elsewhere it is the process's, and left alone.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the C library sets a thread's niceness")]
fn stand_back() {
    // SAFETY: it takes a number and touches no memory. Where it fails, the niceness is what it was.
    unsafe { libc::nice(NICENESS) };
}

#[cfg(not(target_os = "linux"))]
fn stand_back() {}

/// Waits, and returns the database if it is still open then.
async fn later(database: &Weak<Inner>, seconds: u64) -> Option<Background> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Background::of(database).filter(|database| !database.is_closing())
}

/// Does some work; a panic is its failure.
async fn without_panic<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let said = |panic: Box<dyn Any + Send>| match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(said), _) => (*said).to_owned(),
        (_, Some(said)) => said.clone(),
        _ => "without a word".to_owned(),
    };
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|panic| Err(Error::new(Kind::Internal, format!("BUG: it panicked: {}", said(panic)))))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, RecordBatch};
    use futures::StreamExt;
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::cold::{Merging, testing};
    use crate::db::{Options, SYS};
    use crate::log::memory::MemoryMetastore;
    use crate::schema::{Column, Table, Type};
    use crate::txn::OnDuplicate;

    /// Makes a table with a key alone, in a database of its name.
    async fn table(database: &Database, name: &str) -> Arc<Table> {
        let mut txn = database.begin(database.system());
        let home = txn.create_database(SYS, name, "").unwrap().id;
        let id = Column { name: "id".to_owned(), ..testing::column(1, Type::Int32, false) };
        let table = Table { database: home, name: name.to_owned(), ..testing::table(vec![id], &[1]) };
        let table = txn.create_table(table).unwrap();
        txn.commit().await.unwrap();
        table
    }

    async fn insert(database: &Database, table: &Arc<Table>, ids: &[i32]) {
        let ids = Arc::new(Int32Array::from(ids.to_vec()));
        let rows = RecordBatch::try_new(table.physical_schema(), vec![ids]).unwrap();
        let mut txn = database.begin(database.system());
        txn.insert(table, &rows, OnDuplicate::Error).await.unwrap();
        txn.commit().await.unwrap();
    }

    #[tokio::test]
    async fn memory_is_emptied_while_a_collection_runs() {
        let database = Database::in_memory(Options { flush_bytes: 1, ..Options::default() }).await.unwrap();
        let table = table(&database, "t").await;
        insert(&database, &table, &[1]).await;
        let collection = database.0.collecting.lock().await;
        tokio::time::timeout(Duration::from_secs(60), database.tick(600)).await.expect("it waits for nobody").unwrap();
        assert!(database.unflushed().iter().all(|(_, rows, _)| *rows == 0), "{:?}", database.unflushed());
        drop(collection);
    }

    #[tokio::test]
    async fn a_collection_ends_before_the_database_is_closed() {
        let database = Database::in_memory(Options::default()).await.unwrap();
        let collection = database.0.collecting.lock().await;
        let mut closing = Box::pin(database.close());
        assert!(futures::poll!(&mut closing).is_pending(), "it waits for the collection");
        assert_eq!(database.check_open().unwrap_err().kind(), Kind::Closed, "which goes no further");
        drop(collection);
        closing.await.unwrap();
        assert_eq!(database.collect().await.unwrap_err().kind(), Kind::Closed);
    }

    #[tokio::test]
    async fn a_damaged_table_is_tried_once_and_holds_up_no_other() {
        let merging = Merging { depth: 2, ..Merging::default() };
        let (metastore, objects) = (Arc::new(MemoryMetastore::new()), Arc::new(InMemory::new()));
        let options = Options { merging, ..Options::default() };
        let open = || Database::start(metastore.clone(), objects.clone(), options.clone(), None);
        let database = open().await.unwrap();
        let mut tables = Vec::new();
        for at in 0..6 {
            let table = table(&database, &format!("t{at}")).await;
            for ids in [[1, 9], [2, 8], [3, 7]] {
                insert(&database, &table, &ids).await;
                database.flush_table(table.id).await.unwrap();
            }
            tables.push(table);
        }
        let before = database.manifests();
        let worst = database.cold().manifest(before[&tables[0].id]).await.unwrap();
        assert!(worst.parts.len() > 1, "there is something to merge");
        let path = crate::log::FileKind::Part.path(worst.parts[0].file);
        let whole = objects.get(&path.as_str().into()).await.unwrap().bytes().await.unwrap();
        let other: Vec<u8> = whole.iter().map(|byte| !byte).collect();
        objects.put(&path.as_str().into(), other.into()).await.unwrap();
        // What was read before stands in caches.
        drop(database);
        let database = open().await.unwrap();
        let mut looked = HashMap::new();
        database.compact_changed(&mut looked).await;
        let after = database.manifests();
        assert_eq!(after[&tables[0].id], before[&tables[0].id]);
        for table in &tables[1..] {
            assert_ne!(after[&table.id], before[&table.id], "'{}' was merged", table.name);
        }
        assert_eq!(looked[&tables[0].id], before[&tables[0].id], "it is not read again until it changes");
        let listed = objects.list(None).count().await;
        database.compact_changed(&mut looked).await;
        assert_eq!(database.manifests(), after);
        assert!(objects.list(None).count().await <= listed, "nothing was begun");
    }

    #[tokio::test]
    async fn a_panic_in_the_background_is_a_failure() {
        assert_eq!(without_panic(async { Ok(7) }).await.unwrap(), 7);
        let failed = without_panic(async { if true { panic!("at {}", 8) } else { Ok(()) } }).await.unwrap_err();
        assert_eq!((failed.kind(), failed.message()), (Kind::Internal, "BUG: it panicked: at 8"));
    }

    #[tokio::test]
    async fn the_background_does_not_keep_a_database_open() {
        let database = Database::in_memory(Options::default()).await.unwrap();
        let inner = Arc::downgrade(&database.0);
        let (flushes, merges) = (Background::of(&inner).unwrap(), Background::of(&inner).unwrap());
        assert!(!flushes.is_closing() && !database.is_closing());
        let other = database.clone();
        drop(database);
        assert!(!merges.is_closing(), "somebody has it still");
        drop(other);
        assert!(merges.is_closing() && flushes.is_closing());
        drop(flushes);
        assert!(merges.is_closing());
        drop(merges);
        assert!(inner.upgrade().is_none());
    }
}

//! Flush and compaction: a table's rows are laid out anew, and nothing that anyone can see changes.
//!
//! ```text
//!   recent rows ─┐
//!   part ────────┼─► merged by key ─► parts ─┐
//!   part ────────┘                           ├─► manifest ─► content, up to the moment of the job
//!   part, part … and what is gone of them ───┘
//! ```
//! A flush takes recent rows out of memory, and merges small parts on the way. A compaction is a flush that merges more:
//! what [`Merging`] finds worth it. Writers go on meanwhile: what they commit stays laid over the new manifest. If the
//! content moves under the job (a load, a restore, a truncate), the job gives way and is done again later.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use roaring::RoaringBitmap;
use tokio::sync::OwnedMutexGuard;

use crate::catalog::Content;
use crate::cold::{Candidate, Drafts, Manifest, Part, PartVersions, blocking, write_parts};
use crate::db::{Database, Inner};
use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, TableId, Version};
use crate::log::{AGE_BYTES, EntryQuery};
use crate::txn::bulk::sorted_rows;
use crate::upkeep::merge::{Input, merged};

/// How often older deltas leave the metastore, and its write-ahead log is moved into place.
const TIDY_SECONDS: u64 = 10;
/// A table with fewer recent rows is not flushed by age.
const AGED_ROWS: usize = 1000;

/// How often the collector looks for what nothing reaches.
const COLLECT_SECONDS: u64 = 600;

/// How often tables are looked at for what is worth merging.
const COMPACT_SECONDS: u64 = 10;

/// Why a table is laid out anew.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    Flush,
    Compact,
    /// All parts become one run.
    Optimize,
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Nothing,
    LaidOut,
    /// The table got another content meanwhile.
    GaveWay,
}

/// How often OPTIMIZE begins anew.
const OPTIMIZE_TRIES: usize = 5;

impl Database {
    /// Flushes every table that has recent rows.
    pub async fn flush(&self) -> Result<()> {
        let tables: Vec<TableId> = self.now().catalog().all_tables().map(|table| table.id).collect();
        for table in tables {
            self.flush_table(table).await?;
        }
        Ok(())
    }

    /// Flushes one table; tells whether there was anything to do.
    pub async fn flush_table(&self, id: TableId) -> Result<bool> {
        let turn = self.0.turns.take(id).await;
        Ok(self.lay_out(&turn, id, Job::Flush).await? == Done::LaidOut)
    }

    /// Merges what is worth it of one table; tells whether anything was.
    pub async fn compact_table(&self, id: TableId) -> Result<bool> {
        let turn = self.0.turns.take(id).await;
        fail::fail_point!("compact::turn", crate::error::failing);
        let done = self.lay_out(&turn, id, Job::Compact).await?;
        fail::fail_point!("compact::done", crate::error::failing);
        Ok(done == Done::LaidOut)
    }

    /// Lays a table out as if it had been loaded afresh; tells whether there was anything to do. `Conflict` where others
    /// gave it another content again and again.
    pub async fn optimize_table(&self, id: TableId) -> Result<bool> {
        for _ in 0..OPTIMIZE_TRIES {
            fail::fail_point!("compact::optimize", crate::error::failing);
            let turn = self.0.turns.take(id).await;
            match self.lay_out(&turn, id, Job::Optimize).await? {
                Done::GaveWay => {}
                done => return Ok(done == Done::LaidOut),
            }
        }
        Err(Error::new(Kind::Conflict, "The table was loaded, restored or emptied while it was laid out anew.")
            .with_hint("Nothing has changed; try again when that is over."))
    }

    /// Does a job on a table, in its turn: of two, the second would find another content than it began with.
    async fn lay_out(&self, _turn: &OwnedMutexGuard<()>, id: TableId, job: Job) -> Result<Done> {
        let moment = self.now();
        let Some(table) = moment.catalog().table_by_id(id).cloned() else { return Ok(Done::Nothing) };
        let Some(content) = moment.catalog().content(id).cloned() else { return Ok(Done::Nothing) };
        let layers = moment.layers(&table, moment.catalog(), None).await?;
        // Rows that came and went have left nothing but deltas.
        let is_settled = content.inherited.is_empty()
            && layers.overlay.is_empty()
            && !self.logged(id, content.flushed, moment.version())?;
        if is_settled && job == Job::Flush {
            return Ok(Done::Nothing);
        }
        let cold = self.cold();
        let mut excluded = Vec::with_capacity(layers.manifest.parts.len());
        for part in &layers.manifest.parts {
            excluded.push(layers.excluded(part).await?);
        }
        let with_dead = layers.manifest.parts.iter().zip(&excluded);
        let candidates: Vec<Candidate<'_>> =
            with_dead.map(|(part, excluded)| Candidate { part, dead: excluded.len() }).collect();
        let merging = &self.options().merging;
        let chosen = match job {
            Job::Flush => merging.for_flush(&candidates),
            Job::Compact => merging.for_compaction(&candidates),
            Job::Optimize if is_settled && is_one_run(&candidates) => BTreeSet::new(),
            Job::Optimize => (0..candidates.len()).collect(),
        };
        if chosen.is_empty() && (job == Job::Compact || is_settled) {
            return Ok(Done::Nothing);
        }
        fail::fail_point!("flush::begun", crate::error::failing);
        let mut files = cold.files().drafts();
        let mut kept: Vec<Part> = Vec::new();
        let mut inputs: Vec<Input> = Vec::new();
        let mut recent = layers.hot_rows(true)?;
        recent.retain(|batch| batch.num_rows() > 0);
        if !recent.is_empty() {
            let recent = sorted_rows(&table, &recent)?;
            inputs.push(Input { from: Vec::new(), rows: futures::stream::iter([Ok(recent)]).boxed() });
        }
        for (at, (part, excluded)) in layers.manifest.parts.iter().zip(&excluded).enumerate() {
            if excluded.len() == part.rows {
                continue;
            }
            let part = part.clone().with_version(content.parts_version);
            match chosen.contains(&at) {
                true => {
                    let rows = cold.scan(&table, &part, content.parts_version, None, excluded, true).await?;
                    inputs.push(Input { from: part.min_key, rows });
                }
                false => kept.push(self.with_deletions(part, excluded, &mut files).await?),
            }
        }
        let rows = merged(&table, inputs).map(|batch| match self.0.closing.load(Ordering::SeqCst) {
            true => Err(Error::new(Kind::Cancelled, "The database is closed.")),
            false => batch,
        });
        for (part, record) in write_parts(cold.files(), &table, rows, PartVersions::Column, merging.part_bytes).await? {
            kept.push(part);
            files.push(record);
        }
        fail::fail_point!("flush::parts", crate::error::failing);
        let mut manifest = Manifest { parts: kept };
        manifest.sort();
        let manifest = match manifest.parts.is_empty() {
            true => None,
            false => {
                let (digest, record) = cold.put_manifest(&manifest).await?;
                files.push(record);
                Some(digest)
            }
        };
        fail::fail_point!("flush::manifest", crate::error::failing);
        let new = Content {
            manifest,
            parts_version: moment.version(),
            inherited: Vec::new(),
            flushed: moment.version(),
            next_row_id: layers.overlay.next_row_id().load(Ordering::Relaxed),
            next_auto: layers.overlay.next_auto().load(Ordering::Relaxed),
        };
        drop(layers);
        // Begun only now: what others write meanwhile is remembered for every transaction that is open.
        let mut txn = self.begin(self.system());
        txn.set_upkeep();
        txn.add_files(files);
        txn.replace_content(id, &content, new);
        txn.set_what(format!("{} {}", if job == Job::Flush { "FLUSH" } else { "COMPACT" }, table.name));
        fail::fail_point!("flush::before_commit", crate::error::failing);
        match txn.commit().await {
            Ok(_) => {
                fail::fail_point!("flush::committed", crate::error::failing);
                Ok(Done::LaidOut)
            }
            Err(error) if error.kind() == Kind::Conflict => {
                fail::fail_point!("flush::gave_way", crate::error::failing);
                Ok(Done::GaveWay)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells whether commits in `(after, upto]` wrote into a table.
    pub(crate) fn logged(&self, table: TableId, after: Version, upto: Version) -> Result<bool> {
        let query = EntryQuery { from: after.next(), upto, tables: Some(vec![table]), upkeep: false, limit: 1 };
        Ok(!self.metastore().entries(&query)?.is_empty())
    }

    /// Flushes, compacts and collects in the background, until the database is closed or dropped.
    pub fn start_upkeep(&self) {
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut seconds = 0_u64;
            while let Some(database) = later(&inner, 1).await {
                seconds += 1;
                if let Err(error) = database.tick(seconds).await {
                    tracing::warn!(%error, "background upkeep failed; it will be tried again");
                }
            }
        });
        // Apart from the flushes: memory is emptied also while a long merge goes on.
        let (inner, mut looked) = (Arc::downgrade(&self.0), HashMap::new());
        tokio::spawn(async move {
            while let Some(database) = later(&inner, COMPACT_SECONDS).await {
                if let Err(error) = database.compact_changed(&mut looked).await {
                    tracing::warn!(%error, "a background compaction failed; it will be tried again");
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
                if let Err(error) = kept_small.await {
                    tracing::warn!(%error, "the metastore could not be kept small; it will be tried again");
                }
            }
        });
    }

    fn manifests(&self) -> HashMap<TableId, Digest> {
        let now = self.now();
        let tables = now.catalog().all_tables();
        tables.filter_map(|table| Some((table.id, now.catalog().content(table.id)?.manifest?))).collect()
    }

    /// Compacts the tables whose manifests are not those that were `looked` at.
    async fn compact_changed(&self, looked: &mut HashMap<TableId, Digest>) -> Result<()> {
        for (table, digest) in self.manifests() {
            if looked.get(&table) == Some(&digest) {
                continue;
            }
            let manifest = self.cold().manifest(digest).await?;
            let parts = manifest.parts.iter();
            let parts: Vec<_> = parts.map(|part| Candidate { part, dead: part.rows - part.live_rows() }).collect();
            if !self.options().merging.for_compaction(&parts).is_empty() {
                // What it leaves is looked at next time.
                self.compact_table(table).await?;
            }
            looked.insert(table, digest);
        }
        let present = self.manifests();
        looked.retain(|table, _| present.contains_key(table));
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
                // Where a merge has the turn, that empties the memory too.
                let Some(turn) = self.0.turns.try_take(table) else { continue };
                let flushed = self.lay_out(&turn, table, Job::Flush).await;
                self.0.store.flush_fails.store(flushed.is_err(), Ordering::Relaxed);
                match flushed {
                    Ok(_) => total -= bytes,
                    // A store that closes interrupts what it does not wait for.
                    Err(_) if self.0.closing.load(Ordering::SeqCst) => return Ok(()),
                    Err(error) => tracing::warn!(%error, %table, "a background flush failed; it will be tried again"),
                }
            }
        }
        if seconds.is_multiple_of(COLLECT_SECONDS) {
            self.collect().await?;
        }
        Ok(())
    }

    async fn with_deletions(&self, mut part: Part, excluded: &RoaringBitmap, files: &mut Drafts) -> Result<Part> {
        if excluded.len() != part.deletions.map_or(0, |deletions| deletions.rows) {
            fail::fail_point!("flush::deletions", crate::error::failing);
            let (deletions, record) = self.cold().put_deletions(excluded).await?;
            part.deletions = Some(deletions);
            files.push(record);
        }
        Ok(part)
    }
}

/// Waits, and returns the database if it is still open then.
async fn later(database: &Weak<Inner>, seconds: u64) -> Option<Database> {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let database = Database(database.upgrade()?);
    (!database.0.closing.load(Ordering::SeqCst)).then_some(database)
}

/// Tells whether parts stand side by side with nothing gone, so that merging them would change nothing.
fn is_one_run(parts: &[Candidate<'_>]) -> bool {
    parts.iter().all(|part| part.dead == 0) && parts.is_sorted_by(|a, b| a.part.max_key < b.part.min_key)
}

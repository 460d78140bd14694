//! A compressed snapshot's own copy: its rows once more, in parts of their own, tightly compressed, so that the snapshot
//! stands without the files of the present.
//!
//! ```text
//!   each part of the moment ─► its visible rows ─► a part of the copy ─┐
//!   rows still in the log   ─► sorted           ─► a part of the copy ─┴► manifest ─► read back ─► pin
//! ```
//! A [`Job`] on a thread of its own does it, one row group in memory at a time. The files and the pin become durable in
//! one commit of upkeep; until then nothing refers to them, and whatever ends the work deletes them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use roaring::RoaringBitmap;
use tokio::runtime::Handle;

use crate::catalog::Content;
use crate::cold::{BatchStream, Drafts, Manifest, Part, write_archive};
use crate::db::Database;
use crate::error::{Error, Result, What};
use crate::history::restore::with_counters;
use crate::history::snapshot::SnapshotSpec;
use crate::ids::{ColumnId, TableId};
use crate::jobs::Job;
use crate::log::Pin;
use crate::moment::Moment;
use crate::schema::{Table, same_name};
use crate::txn::Author;
use crate::txn::bulk::sorted_rows;

/// So much of the disk must stay free beside the copy, in bytes: on a full one nobody could commit any more.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// Rows of the log are handed over in batches of so many: between two of them a job can stop.
const BATCH_ROWS: usize = 8192;

impl Database {
    /// Creates a snapshot with a copy of its own, unless `stop` comes first. Refused before it begins where the disk has
    /// no room for it; if it fails, there is neither a snapshot nor a file of it.
    pub(super) async fn create_copy(
        &self,
        spec: &SnapshotSpec,
        author: &Author,
        stop: impl Future<Output = ()>,
    ) -> Result<Pin> {
        let (pin, moment) = self.draft(spec, author)?;
        if pin.terms.base.is_some() {
            return Err(Error::invalid("A compressed snapshot holds all of its rows; it has no base.")
                .with_hint("Leave out either COMPRESSION or INCREMENTAL FROM."));
        }
        let same = |other: &Pin| other.account == pin.account && same_name(&other.name, &pin.name);
        if self.metastore().pins()?.iter().any(same) {
            return Err(Error::already_exists(What::Snapshot, &pin.name));
        }
        let job = self.jobs().begin("compressed snapshot", &pin.name, author.account, &author.name);
        // Nobody waits for the copy any more where this future is dropped.
        let stopped = job.stop();
        let (database, author, runtime) = (self.clone(), author.clone(), Handle::current());
        // To compress takes all of a thread: not one of those that serve others.
        let work = async move {
            let work = move || {
                runtime.block_on(async move {
                    let outcome = database.copy(pin, &moment, author, &job).await;
                    job.end(outcome)
                })
            };
            tokio::task::spawn_blocking(work).await
        };
        tokio::pin!(work);
        let outcome = tokio::select! {
            biased;
            () = stop => {
                drop(stopped);
                work.await
            }
            outcome = &mut work => outcome,
        };
        outcome.unwrap_or_else(|gone| Err(Error::internal("BUG: the copy ended without a word.").with_source(gone)))
    }

    async fn copy(&self, mut pin: Pin, moment: &Moment, author: Author, job: &Job) -> Result<Pin> {
        let tables = pin.scope.tables(moment.catalog(), pin.account);
        let (mut rows, mut bytes) = (0, 0);
        for table in &tables {
            job.check()?;
            let layers = moment.layers(table, moment.catalog(), None).await?;
            let (recent_rows, recent_bytes) = layers.overlay.size();
            rows += layers.manifest.live_rows() + recent_rows as u64;
            bytes += layers.manifest.bytes() + recent_bytes as u64;
        }
        let free = self.env().free_bytes(self.root())?;
        if free < bytes + FREE_BYTES_MIN {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            return Err(Error::full(format!(
                "The copy takes up to {} MiB, and {} MiB must stay free: the disk has {} MiB.",
                mib(bytes),
                mib(FREE_BYTES_MIN),
                mib(free)
            ))
            .with_hint("Make room, or take the snapshot without COMPRESSION: then it copies nothing."));
        }
        // Every row is written and read back.
        fail::fail_point!("copy::begun", crate::error::failing);
        job.set_total(2 * rows);
        let files = self.cold().files().drafts();
        let mut copier = Copier { database: self, moment, job, columns: &pin.columns, files };
        let copied = copier.copy(&tables).await;
        let files = copier.files;
        match copied {
            Ok(copy) => pin.terms.copy = Some(copy),
            Err(error) => {
                files.discard().await;
                return Err(error);
            }
        }
        let mut txn = self.begin(author);
        txn.set_upkeep();
        txn.set_what(format!("CREATE SNAPSHOT {} COMPRESSION", pin.name));
        txn.add_files(files);
        txn.put_pin(pin.clone())?;
        fail::fail_point!("copy::before_commit", crate::error::failing);
        txn.commit().await?;
        fail::fail_point!("copy::committed");
        let pins = self.metastore().pins()?;
        let stored = pins.into_iter().find(|other| other.account == pin.account && other.name == pin.name);
        Ok(stored.unwrap_or(pin))
    }
}

/// Makes the copy of one snapshot.
struct Copier<'a> {
    database: &'a Database,
    moment: &'a Moment,
    job: &'a Job,
    /// Only these, and the key; empty for all.
    columns: &'a [ColumnId],
    /// What was written so far.
    files: Drafts,
}

impl Copier<'_> {
    async fn copy(&mut self, tables: &[Arc<Table>]) -> Result<Vec<(TableId, Content)>> {
        let mut copy = Vec::with_capacity(tables.len());
        for table in tables {
            fail::fail_point!("copy::table", crate::error::failing);
            copy.push((table.id, self.copy_table(table).await?));
        }
        fail::fail_point!("copy::manifests", crate::error::failing);
        // The last chance: what follows is one commit.
        self.job.check()?;
        Ok(copy)
    }

    /// Copies what a table shows, verifies the copy, and returns the content that reads it.
    async fn copy_table(&mut self, table: &Arc<Table>) -> Result<Content> {
        self.job.check()?;
        let moment = self.moment;
        let layers = moment.layers(table, moment.catalog(), None).await?;
        let kept = with_columns(table, self.columns);
        let cold = self.database.cold();
        let mut parts: Vec<Part> = Vec::new();
        let mut rows = 0;
        for part in &layers.manifest.parts {
            let excluded = layers.excluded(part).await?;
            let visible = part.rows - excluded.len();
            if visible > 0 {
                rows += visible;
                let source = cold.scan(&kept, part, layers.parts_version, None, &excluded, true).await?;
                self.copy_rows(&kept, source, &mut parts).await?;
            }
        }
        let recent = layers.hot_rows(true)?;
        let recent_rows: usize = recent.iter().map(|batch| batch.num_rows()).sum();
        if recent_rows > 0 {
            rows += recent_rows as u64;
            let sorted = sorted_rows(table, &recent)?;
            drop(recent);
            let starts = (0..sorted.num_rows()).step_by(BATCH_ROWS);
            let batches: Vec<Result<RecordBatch>> =
                starts.map(|at| Ok(sorted.slice(at, BATCH_ROWS.min(sorted.num_rows() - at)))).collect();
            self.copy_rows(&kept, Box::pin(futures::stream::iter(batches)), &mut parts).await?;
        }
        fail::fail_point!("copy::parts", crate::error::failing);
        self.verify(&kept, &parts, rows).await?;
        fail::fail_point!("copy::verified", crate::error::failing);
        let mut manifest = Manifest { parts };
        manifest.sort();
        let digest = match manifest.parts.is_empty() {
            true => None,
            false => {
                let (digest, record) = cold.put_manifest(&manifest).await?;
                self.files.push(record);
                Some(digest)
            }
        };
        let version = moment.version();
        let content = Content { manifest: digest, parts_version: version, flushed: version, ..Content::empty() };
        with_counters(moment, table, content)
    }

    async fn copy_rows(&mut self, table: &Table, rows: BatchStream, parts: &mut Vec<Part>) -> Result<()> {
        let job = self.job;
        let rows = rows.and_then(|batch| {
            job.advance(batch.num_rows() as u64);
            std::future::ready(job.check().map(|()| batch))
        });
        if let Some((part, record)) = write_archive(self.database.cold().files(), table, rows).await? {
            self.files.push(record);
            parts.push(part);
        }
        Ok(())
    }

    /// Reads the copy back, past the caches: every block's checksum, and that no row is missing.
    async fn verify(&self, table: &Table, parts: &[Part], rows: u64) -> Result<()> {
        let (cold, version) = (self.database.cold(), self.moment.version());
        let mut found = 0;
        for part in parts {
            let mut stored = cold.scan(table, part, version, None, &RoaringBitmap::new(), true).await?;
            while let Some(batch) = stored.try_next().await? {
                self.job.check()?;
                self.job.advance(batch.num_rows() as u64);
                found += batch.num_rows() as u64;
            }
        }
        if found != rows {
            return Err(Error::corrupt(format!("The copy of table '{}' has {found} rows of {rows}.", table.name)));
        }
        Ok(())
    }
}

/// Returns the table with these columns and its key alone: nothing else of it is part of the snapshot. All if empty.
fn with_columns(table: &Table, columns: &[ColumnId]) -> Table {
    let mut kept = table.clone();
    if !columns.is_empty() {
        let is_kept = |id: &ColumnId| columns.contains(id) || table.primary_key.contains(id);
        kept.columns.retain(|column| is_kept(&column.id));
        kept.indexes.retain(|index| index.columns.iter().all(is_kept));
        kept.foreign_keys.retain(|key| key.columns.iter().all(is_kept));
    }
    kept
}

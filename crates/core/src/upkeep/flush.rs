//! Flush: recent rows of one table go from the log to a part, killed rows to deletion vectors, and a new manifest
//! takes their place. Small parts are merged on the way, so that their number stays small.
//!
//! Writers go on meanwhile: what they commit stays laid over the new manifest. If the content moves under the job (a
//! load, a restore, a truncate), the job gives way and is done again later.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt;
use roaring::RoaringBitmap;

use crate::catalog::Content;
use crate::cold::{Drafts, Manifest, Part, PartVersions, write_part};
use crate::db::Database;
use crate::error::{Kind, Result};
use crate::ids::{TableId, Version};
use crate::log::EntryQuery;
use crate::txn::bulk::sorted_rows;

/// Parts whose live rows take less than this in their file are small.
const SMALL_BYTES: u64 = 8 << 20;
/// So many small parts are merged into one.
const SMALL_PARTS: usize = 8;
/// One flush merges no more than this much of files: their rows stand in memory, some times as large.
const MERGE_BYTES: u64 = 32 << 20;
/// A table with fewer recent rows is not flushed by age.
const AGED_ROWS: usize = 1000;

/// How often the collector looks for what nothing reaches.
const COLLECT_SECONDS: u64 = 600;

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
        let mut txn = self.begin(self.system());
        txn.set_upkeep();
        let Some(table) = txn.catalog().table_by_id(id).cloned() else { return Ok(false) };
        let Some(content) = txn.catalog().content(id).cloned() else { return Ok(false) };
        let moment = txn.moment().clone();
        let layers = moment.layers(&table, moment.catalog(), None).await?;
        // Rows that came and went have left nothing but deltas.
        let is_settled = content.inherited.is_empty() && layers.overlay.is_empty();
        if is_settled && !self.logged(id, content.flushed, moment.version())? {
            return Ok(false);
        }
        let cold = self.cold();
        let mut rows = layers.hot_rows(true)?;
        let mut kept: Vec<Part> = Vec::new();
        let mut small: Vec<(u64, Part, RoaringBitmap)> = Vec::new();
        let mut files = cold.files().drafts();
        for part in &layers.manifest.parts {
            let excluded = layers.excluded(part).await?;
            let part = part.clone().with_version(content.parts_version);
            let live = part.rows - excluded.len();
            if live == 0 {
                continue;
            }
            let live_bytes = (part.bytes as f64 * live as f64 / part.rows as f64) as u64;
            if live_bytes < SMALL_BYTES {
                small.push((live_bytes, part, excluded));
            } else {
                kept.push(self.with_deletions(part, &excluded, &mut files).await?);
            }
        }
        small.sort_by_key(|(bytes, ..)| *bytes);
        let merging = match small.len() {
            few if few < SMALL_PARTS => 0,
            _ => {
                let sums = small.iter().scan(0, |sum, (bytes, ..)| {
                    *sum += bytes;
                    Some(*sum)
                });
                sums.take_while(|sum| *sum <= MERGE_BYTES).count()
            }
        };
        for (at, (_, part, excluded)) in small.into_iter().enumerate() {
            if at < merging {
                let scan = cold.scan(&table, &part, content.parts_version, None, &excluded, true).await?;
                rows.extend(scan.try_collect::<Vec<_>>().await?);
            } else {
                kept.push(self.with_deletions(part, &excluded, &mut files).await?);
            }
        }
        rows.retain(|batch| batch.num_rows() > 0);
        if !rows.is_empty() {
            let rows = sorted_rows(&table, &rows)?;
            let rows = futures::stream::iter([Ok(rows)]);
            if let Some((part, record)) = write_part(cold.files(), &table, rows, PartVersions::Column).await? {
                kept.push(part);
                files.push(record);
            }
        }
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
        let new = Content {
            manifest,
            parts_version: moment.version(),
            inherited: Vec::new(),
            flushed: moment.version(),
            next_row_id: layers.overlay.next_row_id().load(Ordering::Relaxed),
            next_auto: layers.overlay.next_auto().load(Ordering::Relaxed),
        };
        drop(layers);
        txn.add_files(files);
        txn.replace_content(id, &content, new);
        txn.set_what(format!("FLUSH {}", table.name));
        match txn.commit().await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells whether commits in `(after, upto]` wrote into a table.
    pub(crate) fn logged(&self, table: TableId, after: Version, upto: Version) -> Result<bool> {
        let query = EntryQuery { from: after.next(), upto, tables: Some(vec![table]), upkeep: false, limit: 1 };
        Ok(!self.metastore().entries(&query)?.is_empty())
    }

    /// Flushes in the background by size and age, until the database is closed or dropped.
    pub fn start_upkeep(&self) {
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            let mut seconds = 0_u64;
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                seconds += 1;
                let Some(inner) = inner.upgrade() else { return };
                let database = Database(inner);
                if database.0.closing.load(Ordering::SeqCst) {
                    return;
                }
                if let Err(error) = database.tick(seconds).await {
                    tracing::warn!(%error, "background upkeep failed; it will be tried again");
                }
            }
        });
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
                match self.flush_table(table).await {
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
        if seconds.is_multiple_of(10) {
            self.metastore().tidy()?;
        }
        Ok(())
    }

    async fn with_deletions(&self, mut part: Part, excluded: &RoaringBitmap, files: &mut Drafts) -> Result<Part> {
        if excluded.len() != part.deletions.map_or(0, |deletions| deletions.rows) {
            let (deletions, record) = self.cold().put_deletions(excluded).await?;
            part.deletions = Some(deletions);
            files.push(record);
        }
        Ok(part)
    }
}

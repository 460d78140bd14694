//! The last step before the [`sequencer`](super::sequencer): what a transaction wrote becomes what its commit will say.
//!
//! Rows become deltas, files of loads become contents. It never appends a commit, and can be done again when a flush
//! moved a content under a load.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;

use super::{OwnTable, Txn, bulk, footprint};
use crate::catalog::{Change, Content};
use crate::cold::{Drafts, Keys, Manifest, decode_keys};
use crate::error::{Error, Result};
use crate::ids::Version;
use crate::log::TableDelta;
use crate::log::delta::Delta;
use crate::rows::conform;
use crate::scan::{concat, pending_excluded};
use crate::schema::{Table, Type};
use crate::txn::sequencer::Prepared;

/// How many bytes of rows one commit may bring into the log. The metastore takes no row of a gigabyte.
const COMMIT_BYTES_MAX: usize = 768 << 20;

impl Txn {
    /// Encodes everything that the commit will say.
    pub(super) async fn prepare(&mut self) -> Result<Prepared> {
        let mut footprint = self.footprint.clone();
        footprint.writes.extend(&self.locks.writes);
        footprint.leans.extend(&self.locks.leans);
        let mut deltas = Vec::new();
        let mut table_deltas = Vec::new();
        let mut changes = self.changes.clone();
        let mut written = self.moment.store().cold.files().drafts();
        let mut expects = self.expects.clone();
        let mut loads = Vec::new();
        for (id, own) in &self.rows {
            // Rows of a table that the transaction dropped afterwards never were.
            let Some(table) = self.catalog.table_by_id(*id) else { continue };
            if own.rows.overlay.is_empty() && own.rows.parts.is_empty() {
                continue;
            }
            let delta = self.delta_of(table, own).await?;
            footprint.leans.extend([footprint::table(*id), footprint::rows(*id)]);
            if bulk::can_collide(table) {
                if own.rows.parts.is_empty() {
                    footprint.leans.push(bulk::loads_of(table));
                } else {
                    loads.push((bulk::loads_of(table), self.check_parts_against_log(table).await?));
                }
            }
            let key_columns = table.key_columns();
            for key in own.rows.overlay.keys() {
                footprint.writes.push(footprint::row(*id, &key_columns, &key));
            }
            let (mut puts, mut deletes) = (delta.puts.num_rows() as u64, delta.deletes.num_rows() as u64);
            if !own.rows.parts.is_empty() {
                let (content, expected, rows) = self.content_with_parts(table, own, &mut written).await?;
                puts += rows;
                changes.push(Change::PutContent(*id, Arc::new(content)));
                expects.extend(expected.map(|content| (*id, content)));
            }
            let body = if puts + deletes > 0 && delta.puts.num_rows() + delta.deletes.num_rows() > 0 {
                delta.encode()?
            } else {
                bytes::Bytes::new()
            };
            if let Some((more_puts, more_deletes)) = self.counted.get(id) {
                puts += more_puts;
                deletes += more_deletes;
            }
            table_deltas.push(TableDelta { table: *id, puts, deletes, body });
            deltas.push((*id, delta));
        }
        for change in &changes {
            let id = match change {
                Change::PutTable(table) => table.id,
                Change::DropTable(id) | Change::PutContent(id, _) => *id,
                _ => continue,
            };
            if !table_deltas.iter().any(|delta| delta.table == id) {
                let (puts, deletes) = self.counted.get(&id).copied().unwrap_or_default();
                table_deltas.push(TableDelta { table: id, puts, deletes, body: bytes::Bytes::new() });
            }
        }
        let bytes: usize = table_deltas.iter().map(|delta| delta.body.len()).sum();
        if bytes > COMMIT_BYTES_MAX {
            let message = format!(
                "The transaction changes rows of {} MB; one commit takes {}.",
                bytes >> 20,
                COMMIT_BYTES_MAX >> 20
            );
            return Err(
                Error::invalid(message).with_hint("Nothing was applied; change the rows in several transactions.")
            );
        }
        let mut files = self.files.split_off(0);
        files.append(written);
        Ok(Prepared {
            read: self.read.clone(),
            account: self.author.account,
            author: self.author.name.clone(),
            what: self.what.clone().unwrap_or_default(),
            upkeep: self.upkeep,
            changes,
            deltas,
            table_deltas,
            pins: self.pins.clone(),
            files,
            footprint,
            loads,
            expects,
            sources: self.sources.clone(),
        })
    }

    /// Returns what the transaction did to the rows of a table, through the log.
    async fn delta_of(&self, table: &Arc<Table>, own: &OwnTable) -> Result<Delta> {
        let newest = Version(u64::MAX - 1);
        let puts = own.rows.overlay.visible(newest, &HashSet::new(), false)?;
        // Earlier statements may have written under an earlier definition.
        let puts: Vec<RecordBatch> = puts.iter().map(|batch| conform(batch, table)).collect::<Result<_>>()?;
        let puts = concat(table, &puts)?;
        let mut killed = own.rows.overlay.killed_keys();
        killed.sort();
        if !own.rows.parts.is_empty() && !killed.is_empty() {
            // Rows of the transaction's own parts that it deleted again never were, for others.
            let mut keys = Keys::new();
            killed.iter().try_for_each(|key| keys.push(key))?;
            let base = self.moment.layers(table, &self.catalog, None).await?;
            let places = base.find(&keys).await?;
            let mut place = places.iter();
            killed.retain(|_| place.next().is_some_and(Option::is_some));
        }
        let types: Vec<Type> = table
            .key_columns()
            .iter()
            .map(|id| table.column_by_id(*id).map_or(Type::UInt64, |column| column.ty))
            .collect();
        let deletes = if killed.is_empty() {
            RecordBatch::new_empty(table.key_schema())
        } else {
            RecordBatch::try_new(table.key_schema(), decode_keys(&types, killed.iter().map(|key| &**key))?)?
        };
        let counters = self.counters(table)?;
        Ok(Delta {
            puts,
            deletes,
            next_row_id: if table.has_row_id() { counters.next_row_id.load(Ordering::Relaxed) } else { 0 },
            next_auto: if table.columns.iter().any(|column| column.auto_increment) {
                counters.next_auto.load(Ordering::Relaxed)
            } else {
                0
            },
        })
    }

    /// Returns the content with the transaction's own parts in its manifest, the content that it was made from (if it
    /// stands in the store) and how many rows the parts bring.
    async fn content_with_parts(
        &self,
        table: &Arc<Table>,
        own: &OwnTable,
        files: &mut Drafts,
    ) -> Result<(Content, Option<Arc<Content>>, u64)> {
        let store = self.moment.store();
        let own_content =
            self.changes.iter().any(|change| matches!(change, Change::PutContent(id, _) if *id == table.id));
        let newest = store.head.load();
        let base = match (own_content, newest.catalog.content(table.id)) {
            (false, Some(content)) => content.clone(),
            _ => self.catalog.content(table.id).cloned().unwrap_or_else(|| Arc::new(Content::empty())),
        };
        let mut rows = 0;
        let mut manifest = match base.manifest {
            Some(digest) => Manifest::clone(&*store.cold.manifest(digest).await?),
            None => Manifest::default(),
        };
        // Parts without a version of their own belong to an earlier load: it must be said before another one joins.
        for part in &mut manifest.parts {
            *part = part.clone().with_version(base.parts_version);
        }
        for pending in &own.rows.parts {
            let excluded = pending_excluded(&own.rows, pending);
            rows += pending.part.rows - excluded.len();
            if excluded.len() == pending.part.rows {
                continue;
            }
            let mut part = pending.part.as_ref().clone();
            if !excluded.is_empty() {
                let (deletions, record) = store.cold.put_deletions(&excluded).await?;
                part.deletions = Some(deletions);
                files.push(record);
            }
            manifest.parts.push(part);
        }
        fail::fail_point!("commit::load_manifest", crate::error::failing);
        manifest.sort();
        let (digest, record) = store.cold.put_manifest(&manifest).await?;
        files.push(record);
        // The counters stand in no delta when all rows went to parts.
        let counters = self.counters(table)?;
        let content = Content {
            manifest: Some(digest),
            parts_version: Version::MAX,
            next_row_id: base.next_row_id.max(counters.next_row_id.load(Ordering::Relaxed)),
            next_auto: base.next_auto.max(counters.next_auto.load(Ordering::Relaxed)),
            ..base.as_ref().clone()
        };
        Ok((content, (!own_content).then_some(base), rows))
    }
}

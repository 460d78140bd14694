//! Flush and compaction: a table's rows are laid out anew, and nothing that anyone can see changes.
//!
//! ```text
//!   recent rows ─┐
//!   part ────────┼─► merged by key ─► parts ─┐
//!   part ────────┘                           ├─► manifest ─► content, up to the moment of the job
//!   part, part … and what is gone of them ───┘
//! ```
//! A flush takes recent rows out of memory, and merges small parts on the way, in the table's turn. A merge (compaction,
//! OPTIMIZE) merges more: what [`Merging`](crate::cold::Merging) finds worth it. It may take long, and takes its turn only to
//! put what it made into the place of what it made it from, in whatever manifest the table has by then: flushes, loads and
//! writers go on meanwhile, and what they deleted is gone from what it made too. If what it merged is not there any more (a
//! restore, a truncate), it gives way and is done again later.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use roaring::RoaringBitmap;
use tokio::sync::OwnedMutexGuard;

use crate::catalog::Content;
use crate::cold::{Candidate, Drafts, Manifest, Part, PartVersions, encode_keys, write_parts};
use crate::db::Database;
use crate::error::{Error, Kind, Result};
use crate::ids::{TableId, Version};
use crate::log::EntryQuery;
use crate::rows::columns_of;
use crate::scan::Layers;
use crate::schema::Table;
use crate::store::turns::Claim;
use crate::txn::bulk::sorted_rows;
use crate::txn::sequencer::Refused;
use crate::upkeep::merge::{Input, merged};

/// Which parts are merged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Merge {
    /// Those that are worth it.
    Compact,
    /// All, to one run.
    Optimize,
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Nothing,
    LaidOut,
    /// Another content came between, and the job may be tried again with that.
    Overtaken,
    /// What the job was made from is gone.
    GaveWay,
}

/// What a merge has made of some parts.
pub(super) struct Merged {
    /// The parts, and which of their rows were gone.
    from: Vec<(Part, RoaringBitmap)>,
    parts: Vec<Part>,
    files: Drafts,
    /// Nobody else merges them meanwhile.
    _claim: Claim,
}

/// What becomes of a table's parts while its recent rows are laid out.
enum Parts<'a> {
    /// Small ones are merged with what is recent.
    MergeSmall,
    Keep,
    /// What was merged takes the place of what it was made from.
    Replace(&'a mut Merged),
}

/// How often OPTIMIZE begins anew.
const OPTIMIZE_TRIES: usize = 5;

/// How often a merge tries to put what it made in its place.
const PLACE_TRIES: usize = 50;

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
        let turn = self.0.store.turns.take(id).await;
        Ok(self.lay_out_recent(&turn, id).await? == Done::LaidOut)
    }

    /// Merges what is worth it of one table; tells whether anything was.
    pub async fn compact_table(&self, id: TableId) -> Result<bool> {
        let done = self.merge(id, Merge::Compact).await?;
        fail::fail_point!("compact::done", crate::error::failing);
        Ok(done == Done::LaidOut)
    }

    /// Lays a table out as if it had been loaded afresh; tells whether there was anything to do. `Conflict` where others
    /// gave it another content again and again.
    pub async fn optimize_table(&self, id: TableId) -> Result<bool> {
        for _ in 0..OPTIMIZE_TRIES {
            fail::fail_point!("compact::optimize", crate::error::failing);
            let is_flushed = self.flush_table(id).await?;
            match self.merge(id, Merge::Optimize).await? {
                Done::GaveWay | Done::Overtaken => {}
                done => return Ok(is_flushed || done == Done::LaidOut),
            }
        }
        Err(Error::new(Kind::Conflict, "The table was loaded, restored or emptied while it was laid out anew.")
            .with_hint("Nothing has changed; try again when that is over."))
    }

    async fn merge(&self, id: TableId, merge: Merge) -> Result<Done> {
        let _alone = self.0.store.merges.take(id).await;
        fail::fail_point!("compact::turn", crate::error::failing);
        let Some(mut merged) = self.merge_parts(id, merge).await? else { return Ok(Done::Nothing) };
        for _ in 0..PLACE_TRIES {
            let turn = self.0.store.turns.take(id).await;
            match self.lay_out(&turn, id, Parts::Replace(&mut merged)).await? {
                Done::Overtaken => {}
                done => return Ok(done),
            }
        }
        Ok(Done::Overtaken)
    }

    /// Merges parts of a table, beside what it holds.
    async fn merge_parts(&self, id: TableId, merge: Merge) -> Result<Option<Merged>> {
        let turn = self.0.store.turns.take(id).await;
        let moment = self.now();
        let Some(table) = moment.catalog().table_by_id(id).cloned() else { return Ok(None) };
        let Some(content) = moment.catalog().content(id).cloned() else { return Ok(None) };
        let layers = moment.layers(&table, moment.catalog(), None).await?;
        let excluded = excluded(&layers).await?;
        let candidates = candidates(&layers, &excluded);
        let merging = &self.options().merging;
        let chosen = match merge {
            Merge::Compact => merging.for_compaction(&candidates),
            Merge::Optimize if is_one_run(&candidates) => BTreeSet::new(),
            Merge::Optimize => (0..candidates.len()).collect(),
        };
        if chosen.is_empty() {
            return Ok(None);
        }
        let from: Vec<(Part, RoaringBitmap)> = chosen
            .iter()
            .map(|at| (layers.manifest.parts[*at].clone().with_version(content.parts_version), excluded[*at].clone()))
            .collect();
        let claim = self.0.store.turns.claim(from.iter().map(|(part, _)| part.file));
        drop((layers, turn));
        let mut inputs: Vec<Input> = Vec::new();
        for (part, excluded) in from.iter().filter(|(part, excluded)| excluded.len() < part.rows) {
            let rows = self.cold().scan(&table, part, content.parts_version, None, excluded, true).await?;
            inputs.push(Input { from: part.min_key.clone(), rows });
        }
        let mut files = self.cold().files().drafts();
        let parts = self.write_merged(&table, inputs, &mut files).await?;
        let old: Vec<&Part> = from.iter().map(|(part, _)| part).collect();
        self.cold().warm(&table, &old, &parts, content.parts_version).await?;
        Ok(Some(Merged { from, parts, files, _claim: claim }))
    }

    async fn write_merged(&self, table: &Arc<Table>, inputs: Vec<Input>, files: &mut Drafts) -> Result<Vec<Part>> {
        let rows = merged(table, inputs).map(|batch| match self.is_closing() {
            true => Err(Error::new(Kind::Cancelled, "The database is closed.")),
            false => batch,
        });
        let part_bytes = self.options().merging.part_bytes;
        let mut parts = Vec::new();
        for (part, record) in write_parts(self.cold().files(), table, rows, PartVersions::Column, part_bytes).await? {
            parts.push(part);
            files.push(record);
        }
        Ok(parts)
    }

    /// Writes a table's recent rows into parts, and merges small ones on the way.
    pub(super) async fn lay_out_recent(&self, turn: &OwnedMutexGuard<()>, id: TableId) -> Result<Done> {
        match self.lay_out(turn, id, Parts::MergeSmall).await {
            // Recent rows must leave memory, whatever state the files beside them are in.
            Err(error) if error.kind() == Kind::Corrupt => self.lay_out(turn, id, Parts::Keep).await,
            done => done,
        }
    }

    /// Writes a table's recent rows into parts, in its turn: of two, the second would find another content than it began
    /// with.
    async fn lay_out(&self, _turn: &OwnedMutexGuard<()>, id: TableId, parts: Parts<'_>) -> Result<Done> {
        let (mut merged, may_merge) = match parts {
            Parts::MergeSmall => (None, true),
            Parts::Keep => (None, false),
            Parts::Replace(merged) => (Some(merged), false),
        };
        let nothing = if merged.is_some() { Done::GaveWay } else { Done::Nothing };
        let moment = self.now();
        let Some(table) = moment.catalog().table_by_id(id).cloned() else { return Ok(nothing) };
        let Some(content) = moment.catalog().content(id).cloned() else { return Ok(nothing) };
        let layers = moment.layers(&table, moment.catalog(), None).await?;
        // Rows that came and went have left nothing but deltas.
        let is_settled = content.inherited.is_empty()
            && layers.overlay.is_empty()
            && !self.logged(id, content.flushed, moment.version())?;
        if is_settled && merged.is_none() {
            return Ok(Done::Nothing);
        }
        let cold = self.cold();
        let excluded = excluded(&layers).await?;
        let chosen = match may_merge {
            false => BTreeSet::new(),
            true => {
                let mut chosen = self.options().merging.for_flush(&candidates(&layers, &excluded));
                chosen.retain(|at| !self.0.store.turns.is_claimed(layers.manifest.parts[*at].file));
                chosen
            }
        };
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
        // Of what was merged: how much of it is here still, and the keys of rows that were deleted since.
        let (mut found, mut deleted) = (0, Vec::new());
        for (at, (part, excluded)) in layers.manifest.parts.iter().zip(&excluded).enumerate() {
            let part = part.clone().with_version(content.parts_version);
            let is_merged = |(from, _): &&(Part, RoaringBitmap)| from.file == part.file;
            if let Some((from, gone)) = merged.iter().flat_map(|merged| &merged.from).find(is_merged) {
                if from.version != part.version || !gone.is_subset(excluded) {
                    return Ok(Done::GaveWay);
                }
                found += 1;
                let since: Vec<u32> = (excluded - gone).into_iter().collect();
                if !since.is_empty() {
                    let rows = cold.take(&table, &part, content.parts_version, &since).await?;
                    let keys = encode_keys(&columns_of(&rows, &table.key_columns())?)?;
                    deleted.extend((0..since.len()).map(|at| keys.get(at).to_vec()));
                }
                continue;
            }
            if excluded.len() == part.rows {
                continue;
            }
            match chosen.contains(&at) {
                true => {
                    let rows = cold.scan(&table, &part, content.parts_version, None, excluded, true).await?;
                    inputs.push(Input { from: part.min_key, rows });
                }
                false => kept.push(self.with_deletions(part, excluded, &mut files).await?),
            }
        }
        if let Some(merged) = &merged {
            if found != merged.from.len() {
                return Ok(Done::GaveWay);
            }
            deleted.sort_unstable();
            let keys: Vec<&[u8]> = deleted.iter().map(Vec::as_slice).collect();
            for part in &merged.parts {
                let gone = cold.find(&table, part, &keys).await?;
                let gone: RoaringBitmap = gone.into_iter().map(|(_, position)| position).collect();
                if gone.len() < part.rows {
                    kept.push(self.with_deletions(part.clone(), &gone, &mut files).await?);
                }
            }
        }
        kept.extend(self.write_merged(&table, inputs, &mut files).await?);
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
        let new = Content {
            manifest,
            parts_version: moment.version(),
            inherited: Vec::new(),
            flushed: moment.version(),
            next_row_id: layers.overlay.next_row_id().load(Ordering::Relaxed),
            next_auto: layers.overlay.next_auto().load(Ordering::Relaxed),
        };
        drop(layers);
        fail::fail_point!("flush::manifest", crate::error::failing);
        // Begun only now: what others write meanwhile is remembered for every transaction that is open.
        let mut txn = self.begin(self.system());
        txn.set_upkeep();
        let own = merged.as_mut().map(|merged| merged.files.split_off(0));
        let count = own.as_ref().map_or(0, Drafts::count);
        own.into_iter().for_each(|own| txn.add_files(own));
        txn.add_files(files);
        txn.replace_content(id, &content, new);
        txn.set_what(format!("{} {}", if merged.is_some() { "COMPACT" } else { "FLUSH" }, table.name));
        fail::fail_point!("flush::before_commit", crate::error::failing);
        match (txn.commit_once().await, merged) {
            (Ok(_), _) => {
                fail::fail_point!("flush::committed", crate::error::failing);
                Ok(Done::LaidOut)
            }
            (Err(Refused { error, files: Some(mut files) }), Some(merged)) if error.kind() == Kind::Conflict => {
                drop(files.split_off(count));
                merged.files = files;
                Ok(Done::Overtaken)
            }
            (Err(refused), _) if refused.error.kind() == Kind::Conflict => {
                fail::fail_point!("flush::gave_way", crate::error::failing);
                Ok(Done::GaveWay)
            }
            (Err(refused), _) => Err(refused.error),
        }
    }

    /// Tells whether commits in `(after, upto]` wrote into a table.
    pub(crate) fn logged(&self, table: TableId, after: Version, upto: Version) -> Result<bool> {
        let query = EntryQuery { from: after.next(), upto, tables: Some(vec![table]), upkeep: false, limit: 1 };
        Ok(!self.metastore().entries(&query)?.is_empty())
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

/// Tells whether parts stand side by side with nothing gone, so that merging them would change nothing.
fn is_one_run(parts: &[Candidate<'_>]) -> bool {
    parts.iter().all(|part| part.dead == 0) && parts.is_sorted_by(|a, b| a.part.max_key < b.part.min_key)
}

/// Returns which rows of each part are gone.
async fn excluded(layers: &Layers<'_>) -> Result<Vec<RoaringBitmap>> {
    let mut excluded = Vec::with_capacity(layers.manifest.parts.len());
    for part in &layers.manifest.parts {
        excluded.push(layers.excluded(part).await?);
    }
    Ok(excluded)
}

fn candidates<'a>(layers: &'a Layers<'_>, excluded: &[RoaringBitmap]) -> Vec<Candidate<'a>> {
    let with_dead = layers.manifest.parts.iter().zip(excluded);
    with_dead.map(|(part, excluded)| Candidate { part, dead: excluded.len() }).collect()
}

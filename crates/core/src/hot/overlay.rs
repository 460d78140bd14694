//! The recent rows of one content, laid over its manifest.
//!
//! ```text
//!   rows by number   0 1 2 3 | 4 5 | 6 …      chunks of Arrow rows, in commit order
//!   born             3 3 3 5 | 7 7 | 9        the commit that put the row
//!   died             ∞ 9 ∞ ∞ | ∞ 9 | ∞        the commit that deleted or replaced it
//!   slots            key → [put row 1 @3, deleted @9, put row 6 @9]
//!   kills            keys deleted that no row in memory had: their rows lie in parts, their positions not yet known
//!   hidden           part → position → the commit that killed it
//! ```
//! A row is visible at `v` when `born ≤ v < died`. A reader at an older version and a writer share one overlay: entries
//! are only added. The same structure holds a transaction's own writes, numbered by statement instead of by commit.
//! It never decides by wall clock and never does I/O but to find the positions of killed keys.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, filter_record_batch};
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use crate::catalog::Content;
use crate::cold::{Keys, encode_keys, encode_nullable_keys};
use crate::error::{Error, Result};
use crate::ids::{ColumnId, FileId, Version};
use crate::log::delta::Delta;
use crate::rows::{fill, with_column};
use crate::schema::Table;

/// See the module's picture.
pub struct Overlay {
    /// Physical names of the key columns.
    key: Vec<String>,
    inner: RwLock<Inner>,
    counters: Arc<Counters>,
}

/// What a table hands out: each number once, also to transactions that are taken back. The overlays that follow one
/// another as a table is flushed share one, so that a transaction over the old overlay and one over the new never get
/// the same number.
#[derive(Debug)]
pub struct Counters {
    pub next_row_id: AtomicU64,
    pub next_auto: AtomicU64,
}

impl Counters {
    pub fn new(next_row_id: u64, next_auto: u64) -> Counters {
        Counters { next_row_id: AtomicU64::new(next_row_id), next_auto: AtomicU64::new(next_auto) }
    }

    /// Goes on under a new content of the table.
    pub fn go_on_from(&self, content: &Content) {
        self.reach(content);
        // A table that is emptied counts from the start.
        if content.next_auto == 1 {
            self.next_auto.store(1, Ordering::Relaxed);
        }
    }

    /// Leaves behind what a content says was handed out.
    pub fn reach(&self, content: &Content) {
        self.next_row_id.fetch_max(content.next_row_id, Ordering::Relaxed);
        self.next_auto.fetch_max(content.next_auto, Ordering::Relaxed);
    }
}

/// Row numbers by the key of some columns' values.
type RowsByKey = HashMap<Box<[u8]>, Vec<u32>>;

#[derive(Default)]
struct Inner {
    chunks: Vec<Chunk>,
    born: Vec<Version>,
    died: Vec<Version>,
    slots: HashMap<Box<[u8]>, Ops>,
    kills: Vec<Kill>,
    hidden: HashMap<FileId, Hidden>,
    /// Row numbers by the values of some columns, for unique indexes and foreign keys. Made when first asked for.
    secondary: HashMap<Vec<ColumnId>, RowsByKey>,
    /// Everything up to this version has been applied.
    upto: Version,
    bytes: usize,
}

struct Chunk {
    first: u32,
    batch: RecordBatch,
    /// What the batch takes in memory.
    bytes: usize,
}

impl Chunk {
    fn new(first: u32, batch: RecordBatch) -> Chunk {
        Chunk { first, bytes: batch.get_array_memory_size(), batch }
    }

    /// Tells whether it is one of those that are put together: of fewer than `rows` rows, and they are not long.
    fn is_small(&self, rows: usize) -> bool {
        self.batch.num_rows() < rows && self.bytes < SMALL_BYTES_MAX
    }
}

/// A chunk of more bytes is left alone, however few its rows are: a scan pays little for it, a copy much.
const SMALL_BYTES_MAX: usize = 1 << 20;

/// Positions of a part, each with the commit that killed it.
#[derive(Default)]
struct Hidden {
    killed: HashMap<u32, Version>,
    /// The same, by the commits: a reader takes back what came after its version.
    by_version: BTreeSet<(Version, u32)>,
    all: RoaringBitmap,
}

impl Hidden {
    /// Notes a kill. The first one counts.
    fn add(&mut self, position: u32, killed: Version) {
        match self.killed.entry(position) {
            Entry::Occupied(known) if *known.get() <= killed => return,
            Entry::Occupied(mut known) => {
                let later = known.insert(killed);
                self.by_version.remove(&(later, position));
            }
            Entry::Vacant(new) => {
                new.insert(killed);
                self.all.insert(position);
            }
        }
        self.by_version.insert((killed, position));
    }

    /// Returns the positions that are hidden at `version`.
    fn at(&self, version: Version) -> RoaringBitmap {
        let mut hidden = self.all.clone();
        for (_, position) in self.by_version.range((Bound::Excluded((version, u32::MAX)), Bound::Unbounded)) {
            hidden.remove(*position);
        }
        hidden
    }

    /// Takes back what came after `version`.
    fn cut(&mut self, version: Version) {
        while let Some((killed, position)) = self.by_version.pop_last() {
            if killed <= version {
                self.by_version.insert((killed, position));
                break;
            }
            self.killed.remove(&position);
            self.all.remove(position);
        }
    }
}

/// A key that a commit deleted, whose row lies in some part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kill {
    pub key: Box<[u8]>,
    pub version: Version,
}

#[derive(Clone, Copy, Debug)]
struct Op {
    version: Version,
    /// The row put, or `DELETED`.
    row: u32,
}

const DELETED: u32 = u32::MAX;

/// The history of one key, oldest first. Nearly always of length one.
#[derive(Clone, Debug)]
enum Ops {
    One(Op),
    Many(Vec<Op>),
}

impl Ops {
    fn as_slice(&self) -> &[Op] {
        match self {
            Ops::One(op) => std::slice::from_ref(op),
            Ops::Many(ops) => ops,
        }
    }

    fn push(&mut self, op: Op) {
        match self {
            Ops::One(first) => *self = Ops::Many(vec![*first, op]),
            Ops::Many(ops) => ops.push(op),
        }
    }

    fn from_slice(ops: &[Op]) -> Ops {
        match ops {
            [op] => Ops::One(*op),
            ops => Ops::Many(ops.to_vec()),
        }
    }
}

/// What an overlay knows of a key at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The row with this number.
    Row(u32),
    /// Gone since this version; only a part row written later can have it.
    Deleted(Version),
    /// Nothing: the parts decide.
    Nothing,
}

impl Overlay {
    /// Returns an empty overlay for rows identified by these columns (physical names). Deltas up to `upto` are taken
    /// as applied.
    pub fn new(key: Vec<String>, upto: Version, counters: Arc<Counters>) -> Overlay {
        Overlay { key, inner: RwLock::new(Inner { upto, ..Inner::default() }), counters }
    }

    /// Lays a delta on top. Deltas come in the order of their versions; one that was applied before is skipped.
    pub fn apply(&self, version: Version, delta: &Delta) -> Result<()> {
        let deleted = encode_keys(delta.deletes.columns())?;
        let put = self.keys_of(&delta.puts)?;
        self.counters.next_row_id.fetch_max(delta.next_row_id, Ordering::Relaxed);
        self.counters.next_auto.fetch_max(delta.next_auto, Ordering::Relaxed);
        let inner = &mut *self.inner.write();
        if version <= inner.upto {
            return Ok(());
        }
        inner.upto = version;
        deleted.iter().for_each(|key| inner.delete(key, version));
        inner.put(&delta.puts, &put, version)
    }

    /// As `apply`, for a transaction's own writes: several may share one statement number.
    pub fn write(&self, statement: Version, delta: &Delta) -> Result<()> {
        let deleted = encode_keys(delta.deletes.columns())?;
        let put = self.keys_of(&delta.puts)?;
        let inner = &mut *self.inner.write();
        inner.upto = statement;
        deleted.iter().for_each(|key| inner.delete(key, statement));
        inner.put(&delta.puts, &put, statement)
    }

    /// Takes back everything after `statement`.
    pub fn rollback_to(&self, statement: Version) {
        let inner = &mut *self.inner.write();
        let keep = inner.born.partition_point(|born| *born <= statement);
        inner.truncate_rows(keep);
        for died in &mut inner.died {
            if *died != Version::MAX && *died > statement {
                *died = Version::MAX;
            }
        }
        inner.slots.retain(|_, ops| {
            let kept: Vec<Op> = ops.as_slice().iter().copied().filter(|op| op.version <= statement).collect();
            *ops = Ops::from_slice(&kept);
            !kept.is_empty()
        });
        inner.kills.retain(|kill| kill.version <= statement);
        inner.hidden.values_mut().for_each(|hidden| hidden.cut(statement));
        inner.secondary.clear();
        inner.upto = statement;
        inner.count_bytes();
    }

    /// Returns an overlay with only what came after `version`, for a manifest that speaks up to there. All kills are
    /// to be found again.
    pub fn after(&self, version: Version) -> Overlay {
        let old = self.inner.read();
        let first = old.born.partition_point(|born| *born <= version) as u32;
        let mut new = Inner { upto: old.upto, ..Inner::default() };
        for chunk in &old.chunks {
            let end = chunk.first + chunk.batch.num_rows() as u32;
            if end > first {
                let skip = first.saturating_sub(chunk.first) as usize;
                let batch = chunk.batch.slice(skip, chunk.batch.num_rows() - skip);
                let kept = Chunk::new(new.born.len() as u32, batch);
                new.bytes += kept.bytes;
                new.chunks.push(kept);
                let from = (chunk.first as usize) + skip;
                new.born.extend_from_slice(&old.born[from..end as usize]);
                new.died.extend_from_slice(&old.died[from..end as usize]);
            }
        }
        for (key, ops) in &old.slots {
            let mut kept = Vec::new();
            let mut live: Option<u32> = None;
            for op in ops.as_slice() {
                if op.version > version {
                    if op.row == DELETED {
                        if live.is_none_or(|row| row < first) {
                            new.kills.push(Kill { version: op.version, key: key.clone() });
                        }
                        kept.push(*op);
                    } else {
                        kept.push(Op { version: op.version, row: op.row - first });
                    }
                }
                live = (op.row != DELETED).then_some(op.row);
            }
            if !kept.is_empty() {
                new.slots.insert(key.clone(), Ops::from_slice(&kept));
            }
        }
        Overlay { key: self.key.clone(), inner: RwLock::new(new), counters: self.counters.clone() }
    }

    /// Returns the version up to which deltas were applied.
    pub fn upto(&self) -> Version {
        self.inner.read().upto
    }

    /// Records that the log holds nothing more up to `version`.
    pub fn covers(&self, version: Version) {
        let mut inner = self.inner.write();
        inner.upto = inner.upto.max(version);
    }

    /// Returns the counter of `_row_id`.
    pub fn next_row_id(&self) -> &AtomicU64 {
        &self.counters.next_row_id
    }

    /// Returns the counter of AUTO_INCREMENT.
    pub fn next_auto(&self) -> &AtomicU64 {
        &self.counters.next_auto
    }

    /// Returns both counters.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Returns how much is held: rows (dead ones too) and bytes, about.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.inner.read();
        (inner.born.len() + inner.kills.len(), inner.bytes + inner.slots.len() * 64)
    }

    /// Tells whether any row was put or deleted after `version`.
    pub fn changed_after(&self, version: Version) -> bool {
        let inner = self.inner.read();
        inner.born.last().is_some_and(|born| *born > version)
            || inner.died.iter().any(|died| *died != Version::MAX && *died > version)
            || inner.slots.values().any(|ops| ops.as_slice().last().is_some_and(|op| op.version > version))
    }

    /// Tells whether nothing was ever put or deleted.
    pub fn is_empty(&self) -> bool {
        let inner = self.inner.read();
        inner.born.is_empty() && inner.slots.is_empty()
    }

    /// Returns what is known of `key` at `version`.
    pub fn known(&self, key: &[u8], version: Version) -> Known {
        self.inner.read().known(key, version)
    }

    /// Returns the row with this number as a batch of one, and the commit that put it.
    pub fn row(&self, row: u32) -> (RecordBatch, Version) {
        let inner = self.inner.read();
        let chunk = inner.chunk_of(row);
        (chunk.batch.slice((row - chunk.first) as usize, 1), inner.born[row as usize])
    }

    /// Returns the rows visible at `version`, in chunks, without those whose number is in `without`; with a last
    /// `_version` column if asked for.
    pub fn visible(&self, version: Version, without: &HashSet<u32>, with_version: bool) -> Result<Vec<RecordBatch>> {
        let inner = self.inner.read();
        let mut batches = Vec::new();
        for chunk in &inner.chunks {
            let rows = chunk.first as usize..chunk.first as usize + chunk.batch.num_rows();
            if inner.born[rows.start] > version {
                break;
            }
            let mask: Vec<bool> = rows
                .clone()
                .map(|row| {
                    inner.born[row] <= version
                        && version < inner.died[row]
                        && (without.is_empty() || !without.contains(&(row as u32)))
                })
                .collect();
            let mut batch = chunk.batch.clone();
            if with_version {
                let born: UInt64Array = inner.born[rows].iter().map(|version| version.0).collect();
                batch = with_column(&batch, ColumnId::VERSION, Arc::new(born))?;
            }
            if mask.iter().all(|visible| *visible) {
                batches.push(batch);
            } else if mask.iter().any(|visible| *visible) {
                batches.push(filter_record_batch(&batch, &BooleanArray::from(mask))?);
            }
        }
        Ok(batches)
    }

    /// Returns the numbers of the rows that these keys name at `version`.
    pub fn rows_of<'a>(&self, keys: impl Iterator<Item = &'a [u8]>, version: Version) -> HashSet<u32> {
        let inner = self.inner.read();
        keys.filter_map(|key| match inner.known(key, version) {
            Known::Row(row) => Some(row),
            _ => None,
        })
        .collect()
    }

    /// Returns the numbers of rows visible at `version` whose `columns` have one of these values, with the value.
    /// NULLs match nothing.
    pub fn find_secondary(
        &self,
        table: &Table,
        columns: &[ColumnId],
        values: &HashSet<Vec<u8>>,
        version: Version,
    ) -> Result<Vec<(Vec<u8>, u32)>> {
        self.ensure_secondary(table, columns)?;
        let inner = self.inner.read();
        let mut found = Vec::new();
        if let Some(index) = inner.secondary.get(columns) {
            for value in values {
                for row in index.get(value.as_slice()).into_iter().flatten() {
                    if inner.born[*row as usize] <= version && version < inner.died[*row as usize] {
                        found.push((value.clone(), *row));
                    }
                }
            }
        }
        Ok(found)
    }

    fn ensure_secondary(&self, table: &Table, columns: &[ColumnId]) -> Result<()> {
        if self.inner.read().secondary.contains_key(columns) {
            return Ok(());
        }
        let inner = &mut *self.inner.write();
        let mut index: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        for chunk in &inner.chunks {
            // The overlay may hold rows of another definition than the reader's. One whose column is missing has its
            // initial value, or NULL, which nothing matches.
            let mut batch = chunk.batch.clone();
            for column in columns.iter().filter_map(|id| table.column_by_id(*id)) {
                if column.initial.is_some() && batch.column_by_name(&column.id.physical_name()).is_none() {
                    batch = with_column(&batch, column.id, fill(column, batch.num_rows())?)?;
                }
            }
            if columns.iter().all(|id| batch.column_by_name(&id.physical_name()).is_some()) {
                index_rows(&mut index, columns, &batch, chunk.first)?;
            }
        }
        inner.secondary.insert(columns.to_vec(), index);
        Ok(())
    }

    /// Returns the kills at or before `version` whose positions are not known yet, sorted by key.
    pub fn unresolved(&self, version: Version) -> Vec<Kill> {
        let inner = self.inner.read();
        let mut kills: Vec<Kill> = inner.kills.iter().filter(|kill| kill.version <= version).cloned().collect();
        kills.sort_unstable();
        kills
    }

    /// Tells whether some killed keys have not been looked for yet.
    pub fn has_unresolved(&self) -> bool {
        !self.inner.read().kills.is_empty()
    }

    /// Records where killed rows lie, and that these kills, as `unresolved` gave them, have been looked for.
    pub fn resolved(&self, kills: &[Kill], found: &[(FileId, u32, Version)]) {
        let mut inner = self.inner.write();
        for (file, position, killed) in found {
            inner.hidden.entry(*file).or_default().add(*position, *killed);
        }
        inner.kills.retain(|kill| kills.binary_search(kill).is_err());
    }

    /// Returns the positions of a part that are hidden at `version`.
    pub fn hidden(&self, file: FileId, version: Version) -> RoaringBitmap {
        self.inner.read().hidden.get(&file).map_or_else(RoaringBitmap::new, |hidden| hidden.at(version))
    }

    /// Tells whether this position of a part is hidden at `version`.
    pub fn is_hidden(&self, file: FileId, position: u32, version: Version) -> bool {
        let inner = self.inner.read();
        inner.hidden.get(&file).and_then(|hidden| hidden.killed.get(&position)).is_some_and(|killed| *killed <= version)
    }

    /// Returns every key touched.
    pub fn keys(&self) -> Vec<Box<[u8]>> {
        self.inner.read().slots.keys().cloned().collect()
    }

    /// Returns the keys whose row of the layer below is gone: a delete stands first in their history.
    pub fn killed_keys(&self) -> Vec<Box<[u8]>> {
        let inner = self.inner.read();
        inner
            .slots
            .iter()
            .filter(|(_, ops)| ops.as_slice().first().is_some_and(|op| op.row == DELETED))
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Keys> {
        let columns: Vec<ArrayRef> = self
            .key
            .iter()
            .map(|name| {
                batch
                    .column_by_name(name)
                    .cloned()
                    .ok_or_else(|| Error::corrupt(format!("A delta lacks its key column {name}.")))
            })
            .collect::<Result<_>>()?;
        encode_keys(&columns)
    }
}

impl Inner {
    fn known(&self, key: &[u8], version: Version) -> Known {
        let Some(ops) = self.slots.get(key) else { return Known::Nothing };
        match ops.as_slice().iter().rev().find(|op| op.version <= version) {
            Some(op) if op.row == DELETED => Known::Deleted(op.version),
            Some(op) => Known::Row(op.row),
            None => Known::Nothing,
        }
    }

    /// Deletes a key. Where no row here has it, its row must lie in a part.
    fn delete(&mut self, key: &[u8], version: Version) {
        let op = Op { version, row: DELETED };
        match self.slots.get_mut(key) {
            Some(ops) => {
                let last = *ops.as_slice().last().expect("a key's history is never empty");
                ops.push(op);
                if last.row != DELETED {
                    self.died[last.row as usize] = version;
                    return;
                }
            }
            None => {
                self.slots.insert(key.into(), Ops::One(op));
            }
        }
        self.kills.push(Kill { version, key: key.into() });
        self.bytes += key.len() + 48;
    }

    fn put(&mut self, rows: &RecordBatch, keys: &Keys, version: Version) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let first = self.born.len() as u32;
        // Rows of a definition without some indexed column: who asks for that index again has it built anew.
        let has = |id: &ColumnId| rows.column_by_name(&id.physical_name()).is_some();
        self.secondary.retain(|columns, _| columns.iter().all(has));
        for (columns, index) in &mut self.secondary {
            index_rows(index, columns, rows, first)?;
        }
        self.born.resize(self.born.len() + rows.num_rows(), version);
        self.died.resize(self.born.len(), Version::MAX);
        for at in 0..rows.num_rows() {
            let op = Op { version, row: first + at as u32 };
            match self.slots.get_mut(keys.get(at)) {
                Some(ops) => {
                    // A put over a live row without a delete: only a damaged or foreign log does that. Keep one row.
                    let last = *ops.as_slice().last().expect("a key's history is never empty");
                    if last.row != DELETED {
                        self.died[last.row as usize] = version;
                    }
                    ops.push(op);
                }
                None => {
                    self.slots.insert(keys.get(at).into(), Ops::One(op));
                }
            }
        }
        let chunk = Chunk::new(first, rows.clone());
        self.bytes += chunk.bytes;
        self.chunks.push(chunk);
        self.merge_small_chunks(512, 64)?;
        self.merge_small_chunks(16 * 1024, 32)
    }

    /// Puts the trailing chunks of fewer than `rows` rows together once there are `count` of them: a scan of many
    /// single-row commits should not pay for each.
    fn merge_small_chunks(&mut self, rows: usize, count: usize) -> Result<()> {
        let small = self.chunks.iter().rev().take_while(|chunk| chunk.is_small(rows)).count();
        if small < count {
            return Ok(());
        }
        let start = self.chunks.len() - small;
        let mut merged: Vec<Chunk> = Vec::new();
        let mut at = start;
        while at < self.chunks.len() {
            let schema = self.chunks[at].batch.schema();
            let same = self.chunks[at..].iter().take_while(|chunk| chunk.batch.schema() == schema).count();
            let batches = self.chunks[at..at + same].iter().map(|chunk| &chunk.batch);
            merged.push(Chunk::new(self.chunks[at].first, concat_batches(&schema, batches)?));
            at += same;
        }
        self.chunks.truncate(start);
        self.chunks.append(&mut merged);
        self.count_bytes();
        Ok(())
    }

    fn count_bytes(&mut self) {
        self.bytes = self.chunks.iter().map(|chunk| chunk.bytes).sum::<usize>()
            + self.kills.iter().map(|kill| kill.key.len() + 48).sum::<usize>();
    }

    fn chunk_of(&self, row: u32) -> &Chunk {
        let at = self.chunks.partition_point(|chunk| chunk.first <= row) - 1;
        &self.chunks[at]
    }

    fn truncate_rows(&mut self, keep: usize) {
        while let Some(last) = self.chunks.last_mut() {
            let first = last.first as usize;
            if first >= keep {
                self.chunks.pop();
            } else {
                if first + last.batch.num_rows() > keep {
                    last.batch = last.batch.slice(0, keep - first);
                }
                break;
            }
        }
        self.born.truncate(keep);
        self.died.truncate(keep);
    }
}

fn index_rows(
    index: &mut HashMap<Box<[u8]>, Vec<u32>>,
    columns: &[ColumnId],
    batch: &RecordBatch,
    first: u32,
) -> Result<()> {
    let arrays: Vec<ArrayRef> = columns
        .iter()
        .map(|id| {
            batch
                .column_by_name(&id.physical_name())
                .cloned()
                .ok_or_else(|| Error::internal(format!("An indexed column {id} is not part of the rows.")))
        })
        .collect::<Result<_>>()?;
    for (at, value) in encode_nullable_keys(&arrays)?.iter().enumerate() {
        if let Some(value) = value {
            index.entry(value.into()).or_default().push(first + at as u32);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn what_is_hidden_is_told_by_version() {
        let mut hidden = Hidden::default();
        for (position, killed) in [(5, 2), (9, 4), (1, 3), (9, 2), (5, 7)] {
            hidden.add(position, Version(killed));
        }
        let at = |hidden: &Hidden, version| hidden.at(Version(version)).into_iter().collect::<Vec<u32>>();
        assert_eq!([1, 2, 3].map(|version| at(&hidden, version)), [vec![], vec![5, 9], vec![1, 5, 9]]);
        assert_eq!(hidden.at(Version::MAX), hidden.at(Version(3)));
        hidden.cut(Version(2));
        assert_eq!((at(&hidden, 9), hidden.killed.len(), hidden.by_version.len()), (vec![5, 9], 2, 2));
        hidden.add(1, Version(8));
        assert_eq!([7, 8].map(|version| at(&hidden, version)), [vec![5, 9], vec![1, 5, 9]]);
    }

    #[test]
    fn a_kill_that_comes_while_others_are_looked_for_stays() {
        let schema = Arc::new(Schema::new(vec![Field::new("c1", DataType::Int32, false)]));
        let keys =
            |key: i32| RecordBatch::try_new(schema.clone(), vec![Arc::new(Int32Array::from(vec![key]))]).unwrap();
        let delete = |key| Delta {
            puts: RecordBatch::new_empty(schema.clone()),
            deletes: keys(key),
            next_row_id: 0,
            next_auto: 0,
        };
        let overlay = Overlay::new(vec!["c1".to_owned()], Version::default(), Arc::new(Counters::new(1, 1)));
        overlay.apply(Version(5), &delete(5)).unwrap();
        let looked_for = overlay.unresolved(Version(6));
        overlay.apply(Version(6), &delete(6)).unwrap();
        overlay.resolved(&looked_for, &[]);
        let left: Vec<Version> = overlay.unresolved(Version(6)).iter().map(|kill| kill.version).collect();
        assert_eq!(left, [Version(6)]);
    }
}

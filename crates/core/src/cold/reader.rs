//! Reads the cold tier: manifests, deletion vectors, and rows of parts by key, by position or in order.
//!
//! Positions count the rows of a part from 0. Nothing here looks at deletion vectors unless it is given one: the caller
//! decides what is visible. Every byte comes through verified reads.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::UInt64Type;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, try_join_all};
use futures::stream::{self, BoxStream};
use parquet::file::metadata::ParquetMetaData;
use roaring::RoaringBitmap;

use crate::cold::cache::{Block, Caches};
use crate::cold::dv;
use crate::cold::files::{Files, damaged};
use crate::cold::footer::Footer;
use crate::cold::key::{Keys, encode_keys};
use crate::cold::manifest::{Deletions, Manifest, Part};
use crate::cold::rows::{Layout, Rows, Target};
use crate::error::{Error, Kind, Result};
use crate::ids::{ColumnId, Digest, FileId, Version};
use crate::log::{FileKind, FileRecord};
use crate::schema::Table;

/// The cold tier of one store: its files, and what is kept of them in memory. Cheap to clone.
#[derive(Clone)]
pub struct Cold {
    pub(super) files: Files,
    pub(super) caches: Arc<Caches>,
}

/// A row found by its key, in the block that holds it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Rows of `table.physical_schema()` and a last column `_version`.
    pub block: RecordBatch,
    /// The row's index in the block.
    pub row: usize,
    /// The row's position in the part.
    pub position: u32,
}

/// Rows in key order.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// Up to so many blocks that are not in memory are read one by one, whole, and kept; more are streamed past the caches.
const BLOCKS_KEPT_MAX: usize = 32;

/// How many new blocks are read for one that was in memory.
const WARMED_MAX: usize = 8;

/// How many blocks are read at the same time.
const READS_MAX: usize = 8;

impl Cold {
    /// Keeps at most about `cache_bytes` of decoded files in memory.
    pub fn new(files: Files, cache_bytes: u64) -> Cold {
        Cold { files, caches: Arc::new(Caches::new(cache_bytes)) }
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Returns the manifest with this digest, if it is in memory.
    pub fn cached_manifest(&self, digest: Digest) -> Option<Arc<Manifest>> {
        self.caches.manifests.get(&digest)
    }

    /// Returns the manifest with this digest.
    pub async fn manifest(&self, digest: Digest) -> Result<Arc<Manifest>> {
        if let Some(manifest) = self.caches.manifests.get(&digest) {
            return Ok(manifest);
        }
        let record = self.files.record_by_digest(FileKind::Manifest, digest).await?;
        let record = record.ok_or_else(|| Error::corrupt(format!("The store has no manifest {digest}.")))?;
        let bytes = self.files.read(&record).await?;
        let manifest = Manifest::decode(&bytes).map_err(|error| match error.kind() {
            Kind::Corrupt => damaged(&record, "it is no manifest").with_source(error),
            _ => error,
        })?;
        let manifest = Arc::new(manifest);
        self.caches.manifests.insert(digest, manifest.clone());
        Ok(manifest)
    }

    /// Stores a manifest and returns its digest and file. The file is always a new one, even where an equal manifest is
    /// stored: that one may belong to a transaction that rolls back, or be about to be collected.
    pub async fn put_manifest(&self, manifest: &Manifest) -> Result<(Digest, FileRecord)> {
        let bytes = manifest.encode()?;
        let digest = Digest::of(&bytes);
        let record = self.files.put(FileKind::Manifest, Bytes::from(bytes)).await?;
        self.caches.manifests.insert(digest, Arc::new(manifest.clone()));
        Ok((digest, record))
    }

    /// Returns the positions of the part's rows that are gone.
    pub async fn deletions(&self, part: &Part) -> Result<Arc<RoaringBitmap>> {
        if let Some(known) = self.try_deletions(part) {
            return Ok(known);
        }
        let Some(deletions) = part.deletions else { return Ok(Arc::default()) };
        let record = self.files.record(deletions.file).await?;
        let positions = dv::decode(&self.files.read(&record).await?)
            .map_err(|error| damaged(&record, "it is no deletion vector").with_source(error))?;
        let fits = positions.max().is_none_or(|last| u64::from(last) < part.rows);
        if positions.len() != deletions.rows || !fits {
            return Err(damaged(&record, "it does not fit its part"));
        }
        let vector = Arc::new(positions);
        self.caches.vectors.insert(deletions.file, vector.clone());
        Ok(vector)
    }

    /// As `deletions`, if they are in memory.
    pub fn try_deletions(&self, part: &Part) -> Option<Arc<RoaringBitmap>> {
        match part.deletions {
            None => Some(Arc::default()),
            Some(deletions) => self.caches.vectors.get(&deletions.file),
        }
    }

    /// Stores a deletion vector.
    pub async fn put_deletions(&self, positions: &RoaringBitmap) -> Result<(Deletions, FileRecord)> {
        let record = self.files.put(FileKind::DeletionVector, Bytes::from(dv::encode(positions))).await?;
        self.caches.vectors.insert(record.id, Arc::new(positions.clone()));
        Ok((Deletions { file: record.id, rows: positions.len() }, record))
    }

    /// Reads all of a file and verifies it: its length, its digest, and that it is what its manifest says of `part`.
    /// Returns its bytes' number.
    pub async fn verify(&self, file: FileId, part: Option<&Part>) -> Result<u64> {
        let record = self.files.record(file).await?;
        let mut reading = self.files.read_through(record.clone());
        let mut bytes = 0;
        loop {
            match reading.next(u64::MAX).await? {
                0 => break,
                read => bytes += read,
            }
        }
        match (record.kind, part) {
            (FileKind::Part, Some(part)) => drop(self.metadata(part).await?),
            (FileKind::DeletionVector, Some(part)) => drop(self.deletions(part).await?),
            _ => {}
        }
        Ok(bytes)
    }

    /// Decodes every row of a part, past the caches: there are as many as its manifest says, in the order of their keys, from
    /// the first key to the last. Returns their number.
    pub async fn decode(&self, part: &Part) -> Result<u64> {
        let footer = self.footer(part).await?;
        let fields = footer.metadata.schema().fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let mut rows = Rows::new(&self.files, &footer, &names, std::iter::once(0..footer.blocks.rows()).collect());
        let (mut count, mut last) = (0, Vec::new());
        while let Some(batch) = rows.next().await? {
            let keys = keys_of(&footer, &batch)?;
            for at in 0..keys.len() {
                let key = keys.get(at);
                let in_order = if count == 0 { key == part.min_key } else { last.as_slice() < key };
                if !in_order {
                    return Err(damaged(&footer.record, &format!("its row {count} is out of order")));
                }
                last.clear();
                last.extend_from_slice(key);
                count += 1;
            }
        }
        if count != part.rows || last != part.max_key {
            return Err(damaged(
                &footer.record,
                &format!("it has {count} rows of {}, or ends with another", part.rows),
            ));
        }
        Ok(count)
    }

    /// Returns the part's Parquet footer with its page index.
    pub async fn metadata(&self, part: &Part) -> Result<Arc<ParquetMetaData>> {
        Ok(self.footer(part).await?.metadata.metadata().clone())
    }

    /// Finds keys: for each that the part holds, its index in `keys` and the row's position, ascending. The keys ascend.
    pub async fn find(&self, table: &Table, part: &Part, keys: &[&[u8]]) -> Result<Vec<(usize, u32)>> {
        let from = keys.partition_point(|key| *key < part.min_key.as_slice());
        let upto = keys.partition_point(|key| *key <= part.max_key.as_slice());
        if from >= upto {
            return Ok(Vec::new());
        }
        let footer = self.footer(part).await?;
        footer.require_key_of(table)?;

        let mut found = Vec::new();
        let mut missing: Vec<(u32, Range<usize>)> = Vec::new();
        let mut at = from;
        while at < upto {
            let block = footer.blocks.of_key(keys[at]).ok_or_else(|| misfit(&footer))?;
            let end = match footer.blocks.first_key(block + 1) {
                Some(next) => at + keys[at..upto].partition_point(|key| *key < next),
                None => upto,
            };
            match self.caches.keys.get(&(part.file, block)) {
                Some(block_keys) => {
                    search(keys, at..end, &block_keys, footer.blocks.range(block).start, &mut found);
                }
                None => missing.push((block, at..end)),
            }
            at = end;
        }
        if missing.len() <= BLOCKS_KEPT_MAX {
            for missing in missing.chunks(READS_MAX) {
                let mut reads: Vec<BoxFuture<'_, Result<Arc<Keys>>>> = Vec::with_capacity(missing.len());
                for (block, _) in missing {
                    reads.push(Box::pin(self.block_keys(&footer, *block)));
                }
                for ((block, wanted), block_keys) in missing.iter().zip(try_join_all(reads).await?) {
                    search(keys, wanted.clone(), &block_keys, footer.blocks.range(*block).start, &mut found);
                }
            }
        } else {
            self.merge(&footer, keys, &missing, &mut found).await?;
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Returns which commit last wrote each of the rows at `positions`, which ascend.
    pub async fn row_versions(&self, part: &Part, parts_version: Version, positions: &[u32]) -> Result<Vec<Version>> {
        if let Some(version) = part.common_version(parts_version) {
            return Ok(vec![version; positions.len()]);
        }
        let footer = self.footer(part).await?;
        check_positions(&footer, positions)?;
        let mut versions = Vec::with_capacity(positions.len());
        let mut uncached = Vec::new();
        for chunk in positions.chunk_by(|a, b| footer.blocks.of_row(*a) == footer.blocks.of_row(*b)) {
            let block = footer.blocks.of_row(chunk[0]);
            match self.caches.blocks.get(&(part.file, block)) {
                Some(cached) => {
                    let start = footer.blocks.range(block).start;
                    let column = version_column(&cached.batch);
                    versions.extend(chunk.iter().map(|at| (*at, Version(column.value((at - start) as usize)))));
                }
                None => uncached.extend_from_slice(chunk),
            }
        }
        if !uncached.is_empty() {
            let names = [ColumnId::VERSION.physical_name()];
            let mut rows = Rows::new(&self.files, &footer, &names, ranges(&uncached));
            let mut next = uncached.iter();
            while let Some(batch) = rows.next().await? {
                let column = version_column(&batch);
                versions.extend(
                    next.by_ref().take(batch.num_rows()).zip(column.values()).map(|(at, v)| (*at, Version(*v))),
                );
            }
        }
        versions.sort_unstable_by_key(|(at, _)| *at);
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    /// Returns the rows at `positions`, which ascend, in `table.physical_schema()` with a last column `_version`.
    pub async fn take(
        &self,
        table: &Table,
        part: &Part,
        parts_version: Version,
        positions: &[u32],
    ) -> Result<RecordBatch> {
        let common = part.common_version(parts_version);
        let target = Target::new(table, None, true, common)?;
        if positions.is_empty() {
            return Ok(RecordBatch::new_empty(target.schema));
        }
        let footer = self.footer(part).await?;
        check_positions(&footer, positions)?;
        let chunks: Vec<&[u32]> =
            positions.chunk_by(|a, b| footer.blocks.of_row(*a) == footer.blocks.of_row(*b)).collect();
        let mut batches = Vec::new();
        if chunks.len() <= BLOCKS_KEPT_MAX {
            for chunks in chunks.chunks(READS_MAX) {
                let mut reads: Vec<BoxFuture<'_, Result<Arc<Block>>>> = Vec::with_capacity(chunks.len());
                for chunk in chunks {
                    reads.push(Box::pin(self.block(table, &footer, footer.blocks.of_row(chunk[0]), common)));
                }
                for (chunk, block) in chunks.iter().zip(try_join_all(reads).await?) {
                    let start = footer.blocks.range(footer.blocks.of_row(chunk[0])).start;
                    let rows: ArrayRef =
                        Arc::new(chunk.iter().map(|at| Some(at - start)).collect::<arrow::array::UInt32Array>());
                    batches.push(arrow::compute::take_record_batch(&block.batch, &rows)?);
                }
            }
        } else {
            let mut rows = Rows::new(&self.files, &footer, &target.names(), ranges(positions));
            while let Some(batch) = rows.next().await? {
                batches.push(target.shape(&footer, &batch)?);
            }
        }
        Ok(match batches.len() {
            1 => batches.swap_remove(0),
            _ => arrow::compute::concat_batches(&target.schema, &batches)?,
        })
    }

    /// Returns the row with this key without waiting: `None` if that needs a read ([`Cold::get`] then has the answer
    /// and leaves it in memory), `Some(None)` if the part has no such row.
    pub fn try_get(&self, table: &Table, part: &Part, parts_version: Version, key: &[u8]) -> Option<Option<Row>> {
        if key < part.min_key.as_slice() || key > part.max_key.as_slice() {
            return Some(None);
        }
        let footer = self.caches.footers.get(&part.file)?;
        if !footer.is_keyed_by(table) {
            return None;
        }
        let block = footer.blocks.of_key(key)?;
        let keys = self.caches.keys.get(&(part.file, block))?;
        let Ok(row) = keys.search(key) else {
            return Some(None);
        };
        let cached = self.caches.blocks.get(&(part.file, block))?;
        if !cached.layout.is_of(table, part.common_version(parts_version)) {
            return None;
        }
        let position = footer.blocks.range(block).start + row as u32;
        Some(Some(Row { block: cached.batch.clone(), row, position }))
    }

    /// Returns the row with this key, if the part has it.
    pub async fn get(&self, table: &Table, part: &Part, parts_version: Version, key: &[u8]) -> Result<Option<Row>> {
        if let Some(known) = self.try_get(table, part, parts_version, key) {
            return Ok(known);
        }
        let footer = self.footer(part).await?;
        footer.require_key_of(table)?;
        let block = footer.blocks.of_key(key).ok_or_else(|| misfit(&footer))?;
        let Ok(row) = self.block_keys(&footer, block).await?.search(key) else {
            return Ok(None);
        };
        let cached = self.block(table, &footer, block, part.common_version(parts_version)).await?;
        let position = footer.blocks.range(block).start + row as u32;
        Ok(Some(Row { block: cached.batch.clone(), row, position }))
    }

    /// Streams the rows that are not in `exclude`, in key order: the columns of `projection` (all of
    /// `table.physical_schema()` if `None`), then `_version` if asked. Past the caches; memory: the pages of those
    /// columns in one row group.
    pub async fn scan(
        &self,
        table: &Table,
        part: &Part,
        parts_version: Version,
        projection: Option<&[ColumnId]>,
        exclude: &RoaringBitmap,
        with_version: bool,
    ) -> Result<BatchStream> {
        let target = Target::new(table, projection, with_version, part.common_version(parts_version))?;
        let footer = self.footer(part).await?;
        let rows = Rows::new(&self.files, &footer, &target.names(), complement(exclude, footer.blocks.rows()));
        let batches = stream::try_unfold((rows, target, footer), |(mut rows, target, footer)| async move {
            match rows.next().await? {
                Some(batch) => {
                    let batch = target.shape(&footer, &batch)?;
                    Ok(Some((batch, (rows, target, footer))))
                }
                None => Ok(None),
            }
        });
        Ok(batches.boxed())
    }

    /// Reads blocks of `parts` into memory where those blocks of `from` whose rows they hold are in memory: who reads these
    /// rows goes on without waiting for the disk.
    pub async fn warm(&self, table: &Table, from: &[&Part], parts: &[Part], parts_version: Version) -> Result<()> {
        let footers = try_join_all(parts.iter().map(|part| self.footer(part))).await?;
        let mut wanted = vec![BTreeSet::new(); parts.len()];
        for old in from {
            let Some(footer) = self.caches.footers.peek(&old.file) else { continue };
            for block in 0..footer.blocks.len() {
                let Some(first) = footer.blocks.first_key(block) else { continue };
                if self.caches.blocks.peek(&(old.file, block)).is_none() {
                    continue;
                }
                let next = footer.blocks.first_key(block + 1);
                let mut new_blocks = Vec::new();
                for (number, (part, new)) in parts.iter().zip(&footers).enumerate() {
                    if first > part.max_key.as_slice() || next.is_some_and(|next| next <= part.min_key.as_slice()) {
                        continue;
                    }
                    let begin = new.blocks.of_key(first).unwrap_or(0);
                    let last = next.map_or(Some(new.blocks.len() - 1), |next| new.blocks.of_key(next)).unwrap_or(0);
                    new_blocks.extend((begin..=last).map(|block| (number, block)));
                }
                // One whose rows are all over the place says little of where they are read.
                if new_blocks.len() <= WARMED_MAX {
                    for (number, block) in new_blocks {
                        wanted[number].insert(block);
                    }
                }
            }
        }
        for ((part, footer), blocks) in parts.iter().zip(&footers).zip(wanted) {
            self.warm_blocks(table, footer, &blocks, part.common_version(parts_version)).await?;
        }
        Ok(())
    }

    /// Reads these blocks into memory, a row group of them at once: storage over a network counts requests.
    async fn warm_blocks(
        &self,
        table: &Table,
        footer: &Arc<Footer>,
        blocks: &BTreeSet<u32>,
        common_version: Option<Version>,
    ) -> Result<()> {
        let target = Target::new(table, None, true, common_version)?;
        let selected = blocks.iter().map(|block| footer.blocks.range(*block)).collect();
        let mut rows = Rows::new(&self.files, footer, &target.names(), selected);
        for block in blocks {
            // Of whole blocks, each is a batch.
            let whole = |batch: &RecordBatch| batch.num_rows() == footer.blocks.range(*block).len();
            let batch = rows.next().await?.filter(whole).ok_or_else(|| misfit(footer))?;
            let id = (footer.record.id, *block);
            self.caches.keys.insert(id, Arc::new(keys_of(footer, &batch)?));
            let batch = target.shape(footer, &batch)?;
            self.caches.blocks.insert(id, Arc::new(Block { layout: Layout::of(table, common_version), batch }));
        }
        Ok(())
    }

    pub(super) async fn footer(&self, part: &Part) -> Result<Arc<Footer>> {
        if let Some(footer) = self.caches.footers.get(&part.file) {
            return Ok(footer);
        }
        let footer = Arc::new(Footer::open(&self.files, part.file).await?);
        if u64::from(footer.blocks.rows()) != part.rows || footer.record.length != part.bytes {
            return Err(misfit(&footer));
        }
        self.caches.footers.insert(part.file, footer.clone());
        Ok(footer)
    }

    async fn block_keys(&self, footer: &Arc<Footer>, block: u32) -> Result<Arc<Keys>> {
        let id = (footer.record.id, block);
        if let Some(keys) = self.caches.keys.get(&id) {
            return Ok(keys);
        }
        let range = footer.blocks.range(block);
        let rows = Rows::new(&self.files, footer, footer.key_names(), vec![range]).all().await?;
        let keys = Arc::new(keys_of(footer, &rows)?);
        self.caches.keys.insert(id, keys.clone());
        Ok(keys)
    }

    /// Returns the rows of a block as the table sees them, from memory if they are there.
    async fn block(
        &self,
        table: &Table,
        footer: &Arc<Footer>,
        block: u32,
        common_version: Option<Version>,
    ) -> Result<Arc<Block>> {
        let id = (footer.record.id, block);
        if let Some(cached) = self.caches.blocks.get(&id)
            && cached.layout.is_of(table, common_version)
        {
            return Ok(cached);
        }
        let target = Target::new(table, None, true, common_version)?;
        let range = footer.blocks.range(block);
        let rows = Rows::new(&self.files, footer, &target.names(), vec![range]).all().await?;
        let batch = target.shape(footer, &rows)?;
        let cached = Arc::new(Block { layout: Layout::of(table, common_version), batch });
        self.caches.blocks.insert(id, cached.clone());
        Ok(cached)
    }

    /// Finds keys in many blocks by reading the key columns of all of them once.
    async fn merge(
        &self,
        footer: &Arc<Footer>,
        keys: &[&[u8]],
        blocks: &[(u32, Range<usize>)],
        found: &mut Vec<(usize, u32)>,
    ) -> Result<()> {
        let selected: Vec<Range<u32>> = blocks.iter().map(|(block, _)| footer.blocks.range(*block)).collect();
        let wanted: Vec<Range<usize>> = blocks.iter().map(|(_, wanted)| wanted.clone()).collect();
        let mut wanted = wanted.into_iter().flatten().peekable();
        let mut positions = selected.clone().into_iter().flatten();
        let mut rows = Rows::new(&self.files, footer, footer.key_names(), selected);
        while let Some(batch) = rows.next().await? {
            let batch_keys = keys_of(footer, &batch)?;
            let batch_positions: Vec<u32> = positions.by_ref().take(batch_keys.len()).collect();
            let last = batch_keys.last().ok_or_else(|| misfit(footer))?;
            while let Some(at) = wanted.next_if(|at| keys[*at] <= last) {
                if let Ok(row) = batch_keys.search(keys[at]) {
                    found.push((at, batch_positions[row]));
                }
            }
        }
        Ok(())
    }
}

/// Looks up `keys[wanted]` in the keys of a block that begins at the row `start`.
fn search(keys: &[&[u8]], wanted: Range<usize>, block: &Keys, start: u32, found: &mut Vec<(usize, u32)>) {
    for at in wanted {
        if let Ok(row) = block.search(keys[at]) {
            found.push((at, start + row as u32));
        }
    }
}

fn keys_of(footer: &Footer, rows: &RecordBatch) -> Result<Keys> {
    let columns: Option<Vec<ArrayRef>> =
        footer.key_names().iter().map(|name| rows.column_by_name(name).cloned()).collect();
    encode_keys(&columns.ok_or_else(|| damaged(&footer.record, "it lacks a key column"))?)
}

fn version_column(batch: &RecordBatch) -> &arrow::array::UInt64Array {
    batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>()
}

fn check_positions(footer: &Footer, positions: &[u32]) -> Result<()> {
    let ascend = positions.is_sorted_by(|a, b| a < b);
    if ascend && positions.last().is_none_or(|last| *last < footer.blocks.rows()) {
        return Ok(());
    }
    Err(Error::internal("BUG: positions that do not ascend, or lie behind the end of their part."))
}

fn misfit(footer: &Footer) -> Error {
    damaged(&footer.record, "it is not what its manifest says")
}

/// Returns the runs of consecutive numbers in `positions`, which ascend.
pub(super) fn ranges(positions: &[u32]) -> Vec<Range<u32>> {
    positions.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[run.len() - 1] + 1).collect()
}

/// Returns the rows below `rows` that are not in `exclude`.
fn complement(exclude: &RoaringBitmap, rows: u32) -> Vec<Range<u32>> {
    let mut kept = Vec::new();
    let mut next = 0;
    for gone in exclude.iter().take_while(|gone| *gone < rows) {
        if next < gone {
            kept.push(next..gone);
        }
        next = gone + 1;
    }
    if next < rows {
        kept.push(next..rows);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_positions() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), [0..3, 5..6, 7..9]);
        assert_eq!(ranges(&[]), []);
        let exclude: RoaringBitmap = [0, 1, 4, 9, 12].into_iter().collect();
        assert_eq!(complement(&exclude, 10), [2..4, 5..9]);
        assert_eq!(complement(&RoaringBitmap::new(), 3), [0..3]);
        assert_eq!(complement(&(0..5).collect(), 5), []);
    }
}

//! Writes sorted rows to parts.
//!
//! Memory is bounded by one row group: [`ROW_GROUP_ROWS`] rows, fewer if they take more than [`ROW_GROUP_BYTES`]
//! encoded. Choices, and why:
//!
//! - ZSTD level 1: LZ4 costs a little less to write, makes files 2 to 3 times as large, and is no faster to read a
//!   row from. The bytes that are not flushed to disk, hashed and uploaded pay for the compression.
//! - A dictionary only where a sample repeats itself: a point read must decode the whole dictionary page of its column.
//! - Pages of [`BLOCK_ROWS`] rows, so that the blocks of the sparse index are whole pages in every column.
//! - Bloom filters for the single columns of unique indexes and foreign keys, which are looked up by value.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use futures::{Stream, StreamExt, pin_mut};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use crate::cold::Drafts;
use crate::cold::files::{FileWriter, Files};
use crate::cold::footer::{BLOCK_ROWS, BlockIndex, key_values};
use crate::cold::key::{encode_keys, encode_nullable_keys};
use crate::cold::manifest::{LONG_BYTES, Part};
use crate::cold::secondary::can_bloom;
use crate::error::{Error, Kind, Result};
use crate::ids::{ColumnId, Version};
use crate::log::{FileKind, FileRecord};
use crate::rows::{self, column_bytes};
use crate::schema::Table;

/// Where the versions of the rows come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartVersions {
    /// The batches have a column `_version`.
    Column,
    /// The part has none: its rows are all of the commit that makes it visible.
    Inherit,
}

/// Writes one part from batches in key order.
///
/// The batches have the columns of `table.physical_schema()` by name, in any order.
#[must_use = "a part exists only once it is finished"]
pub struct PartWriter {
    files: Files,
    table: Table,
    versions: PartVersions,
    schema: SchemaRef,
    key_names: Vec<String>,
    /// The first rows, held back until the encodings are chosen.
    sample: Vec<RecordBatch>,
    sample_rows: usize,
    output: Option<Output>,
    index: BlockIndex,
    rows: u64,
    max_key: Vec<u8>,
    /// See [`Part::long`].
    long: BTreeMap<ColumnId, u32>,
    /// The block that is being written.
    block: OpenBlock,
    version_range: Option<(u64, u64)>,
    zstd_level: i32,
}

struct Output {
    encoder: ArrowWriter<Vec<u8>>,
    file: FileWriter,
}

#[derive(Default)]
struct OpenBlock {
    first_key: Vec<u8>,
    rows: u32,
    bytes: usize,
}

/// For parts that are written often and read often.
const ZSTD_LEVEL: i32 = 1;
/// For copies that are written once and kept long.
const ZSTD_LEVEL_ARCHIVE: i32 = 15;
const ROW_GROUP_ROWS: usize = 64 * BLOCK_ROWS as usize;
const ROW_GROUP_BYTES: usize = 64 << 20;
/// A block of wide rows ends before it has more than this, uncompressed.
const BLOCK_BYTES_MAX: usize = 4 << 20;
const SAMPLE_ROWS: usize = 8192;
const SAMPLE_BYTES: usize = 8 << 20;
const DICTIONARY_BYTES_MAX: usize = 128 << 10;

impl PartWriter {
    pub fn new(files: &Files, table: &Table, versions: PartVersions) -> PartWriter {
        let key_names = table.key_columns().iter().map(|id| id.physical_name()).collect();
        PartWriter {
            files: files.clone(),
            table: table.clone(),
            versions,
            schema: file_schema(table, versions),
            key_names,
            sample: Vec::new(),
            sample_rows: 0,
            output: None,
            index: BlockIndex::default(),
            rows: 0,
            max_key: Vec::new(),
            long: BTreeMap::new(),
            block: OpenBlock::default(),
            version_range: None,
            zstd_level: ZSTD_LEVEL,
        }
    }

    /// Returns how many rows were written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns how many bytes of the file are written so far; what is not flushed yet is an estimate.
    pub fn bytes(&self) -> u64 {
        match &self.output {
            Some(output) => output.encoder.bytes_written() as u64 + output.encoder.in_progress_size() as u64,
            None => 0,
        }
    }

    /// Writes rows; their keys are greater than all before, and ascend.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.select(batch)?;
        if self.output.is_some() {
            return self.encode(&batch).await;
        }
        self.sample_rows += batch.num_rows();
        self.sample.push(batch);
        let bytes: usize = self.sample.iter().map(RecordBatch::get_array_memory_size).sum();
        if self.sample_rows >= SAMPLE_ROWS || bytes >= SAMPLE_BYTES {
            self.begin().await?;
        }
        Ok(())
    }

    /// Makes the part durable and pending; `None` if no row was written.
    pub async fn finish(mut self) -> Result<Option<(Part, FileRecord)>> {
        if self.output.is_none() {
            if self.sample.is_empty() {
                return Ok(None);
            }
            self.begin().await?;
        }
        self.end_block()?;
        let Output { mut encoder, mut file } = self.output.expect("just begun");
        for pair in key_values(&self.key_names, &self.index) {
            encoder.append_key_value_metadata(pair);
        }
        encoder.finish().map_err(unencodable)?;
        file.write(drain(&mut encoder)?).await?;
        let record = file.finish().await?;
        let versions = self.version_range.filter(|_| self.versions == PartVersions::Column);
        let mut columns: Vec<ColumnId> = self.table.columns.iter().map(|column| column.id).collect();
        columns.extend(self.table.has_row_id().then_some(ColumnId::ROW_ID));
        let part = Part {
            file: record.id,
            rows: self.rows,
            bytes: record.length,
            version: None,
            version_min: versions.map(|(min, _)| Version(min)),
            version_max: versions.map(|(_, max)| Version(max)),
            columns,
            long: self.long,
            min_key: self.index.first_key(0).expect("a part has rows").to_vec(),
            max_key: self.max_key,
            deletions: None,
        };
        Ok(Some((part, record)))
    }

    /// Gives up; nothing is left but an intent.
    pub async fn abort(self) -> Result<()> {
        match self.output {
            Some(output) => output.file.abort().await,
            None => Ok(()),
        }
    }

    /// Picks the file's columns out of a batch, in the file's order.
    fn select(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.schema.fields().iter().map(|field| {
            let column = batch.column_by_name(field.name()).cloned();
            column.ok_or_else(|| Error::internal(format!("BUG: rows without the column {}.", field.name())))
        });
        Ok(RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_>>()?)?)
    }

    /// Chooses the encodings by the sample, and writes it.
    async fn begin(&mut self) -> Result<()> {
        let sample = std::mem::take(&mut self.sample);
        let properties = properties(&self.table, &self.schema, &self.key_names, &sample, self.zstd_level)?;
        let encoder = ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(properties)).map_err(unencodable)?;
        let file = self.files.create(FileKind::Part).await?;
        self.output = Some(Output { encoder, file });
        for batch in sample {
            self.encode(&batch).await?;
        }
        Ok(())
    }

    async fn encode(&mut self, batch: &RecordBatch) -> Result<()> {
        let key_columns: Vec<ArrayRef> =
            self.key_names.iter().filter_map(|name| batch.column_by_name(name).cloned()).collect();
        let keys = encode_keys(&key_columns)?;
        let follows = self.max_key.is_empty() || keys.first().is_some_and(|key| key > self.max_key.as_slice());
        if !follows || keys.first_unsorted().is_some() {
            return Err(Error::internal("BUG: rows of a part whose keys do not ascend."));
        }
        if self.rows + batch.num_rows() as u64 >= u64::from(u32::MAX) {
            return Err(Error::internal("BUG: a part of more than 2^32 rows."));
        }
        if self.versions == PartVersions::Column {
            let versions = batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>();
            let (min, max) = self.version_range.unwrap_or((u64::MAX, 0));
            self.version_range =
                Some(versions.values().iter().fold((min, max), |(min, max), v| (min.min(*v), max.max(*v))));
        }

        let mut at = 0;
        while at < batch.num_rows() {
            if self.block.rows == 0 {
                self.block.first_key.clear();
                self.block.first_key.extend_from_slice(keys.get(at));
            }
            let room = ((BLOCK_ROWS - self.block.rows) as usize).min(batch.num_rows() - at);
            let room_bytes = BLOCK_BYTES_MAX.saturating_sub(self.block.bytes);
            let (mut rows, mut bytes) = fit(batch, at, room, room_bytes);
            if rows == 0 && self.block.rows == 0 {
                (rows, bytes) = (1, rows::bytes(batch, at, 1));
            }
            let is_full = rows < room || self.block.rows + rows as u32 == BLOCK_ROWS;
            if rows > 0 {
                if bytes > rows * LONG_BYTES as usize {
                    self.note_long(batch, at, rows);
                }
                let output = self.output.as_mut().expect("rows are encoded after begin");
                output.encoder.write(&batch.slice(at, rows)).map_err(unencodable)?;
            }
            at += rows;
            self.rows += rows as u64;
            self.block.rows += rows as u32;
            self.block.bytes += bytes;
            if is_full {
                self.end_block()?;
                self.flush_row_group().await?;
            }
        }
        self.max_key.clear();
        self.max_key.extend_from_slice(keys.last().expect("a batch has rows"));
        Ok(())
    }

    /// Notes which columns have long values in these rows.
    fn note_long(&mut self, batch: &RecordBatch, at: usize, rows: usize) {
        let id = |field: &Field| {
            self.table.columns.iter().map(|column| column.id).find(|id| id.physical_name() == *field.name())
        };
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let bytes = u32::try_from(column_bytes(column, at, rows) / rows).unwrap_or(u32::MAX);
            if bytes > LONG_BYTES
                && let Some(id) = id(field)
            {
                let longest = self.long.entry(id).or_default();
                *longest = bytes.max(*longest);
            }
        }
    }

    fn end_block(&mut self) -> Result<()> {
        if self.block.rows > 0 {
            self.index.add(self.block.rows, &self.block.first_key)?;
            (self.block.rows, self.block.bytes) = (0, 0);
        }
        Ok(())
    }

    /// Ends the row group if it is large enough, and hands it to the file.
    async fn flush_row_group(&mut self) -> Result<()> {
        let output = self.output.as_mut().expect("rows are encoded after begin");
        if output.encoder.in_progress_rows() >= ROW_GROUP_ROWS || output.encoder.memory_size() >= ROW_GROUP_BYTES {
            output.encoder.flush().map_err(unencodable)?;
            let bytes = drain(&mut output.encoder)?;
            output.file.write(bytes).await?;
        }
        Ok(())
    }
}

/// Writes one part from a stream in key order; `None` if it is empty. If it fails, nothing is left but an intent.
pub async fn write_part(
    files: &Files,
    table: &Table,
    batches: impl Stream<Item = Result<RecordBatch>>,
    versions: PartVersions,
) -> Result<Option<(Part, FileRecord)>> {
    let mut parts = write_parts(files, table, batches, versions, u64::MAX).await?;
    Ok(parts.pop())
}

/// As `write_part`, with `_version`, for long keeping: as small as it gets.
pub async fn write_archive(
    files: &Files,
    table: &Table,
    batches: impl Stream<Item = Result<RecordBatch>>,
) -> Result<Option<(Part, FileRecord)>> {
    let writer =
        || PartWriter { zstd_level: ZSTD_LEVEL_ARCHIVE, ..PartWriter::new(files, table, PartVersions::Column) };
    let mut parts = write_with(files, writer, batches, u64::MAX).await?;
    Ok(parts.pop())
}

/// Writes a stream in key order to parts of about `part_bytes` each, in key order. If it fails, nothing is left of any of
/// them but intents.
pub async fn write_parts(
    files: &Files,
    table: &Table,
    batches: impl Stream<Item = Result<RecordBatch>>,
    versions: PartVersions,
    part_bytes: u64,
) -> Result<Vec<(Part, FileRecord)>> {
    write_with(files, || PartWriter::new(files, table, versions), batches, part_bytes).await
}

async fn write_with(
    files: &Files,
    writer: impl Fn() -> PartWriter,
    batches: impl Stream<Item = Result<RecordBatch>>,
    part_bytes: u64,
) -> Result<Vec<(Part, FileRecord)>> {
    let (mut parts, mut written) = (Vec::new(), files.drafts());
    let result = Box::pin(write_all(writer, batches, part_bytes, &mut parts, &mut written)).await;
    if let Err(error) = result {
        written.discard().await;
        return Err(error);
    }
    Ok(parts.into_iter().zip(written.release()).collect())
}

async fn write_all(
    new_writer: impl Fn() -> PartWriter,
    batches: impl Stream<Item = Result<RecordBatch>>,
    part_bytes: u64,
    parts: &mut Vec<Part>,
    written: &mut Drafts,
) -> Result<()> {
    let mut add = |finished: Option<(Part, FileRecord)>| {
        if let Some((part, record)) = finished {
            parts.push(part);
            written.push(record);
        }
    };
    pin_mut!(batches);
    let mut writer = new_writer();
    while let Some(batch) = batches.next().await {
        let written = match batch {
            Ok(batch) => writer.write(&batch).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            if let Err(left) = writer.abort().await {
                tracing::warn!(error = %left, "left an unfinished part to the collector");
            }
            return Err(error);
        }
        if writer.bytes() >= part_bytes {
            let full = std::mem::replace(&mut writer, new_writer());
            let key = full.max_key.clone();
            add(full.finish().await?);
            writer.max_key = key;
        }
    }
    add(writer.finish().await?);
    Ok(())
}

fn unencodable(error: parquet::errors::ParquetError) -> Error {
    Error::new(Kind::Internal, format!("A part could not be encoded: {error}.")).with_source(error)
}

/// Takes what the encoder has put out so far.
fn drain(encoder: &mut ArrowWriter<Vec<u8>>) -> Result<bytes::Bytes> {
    encoder.sync()?;
    Ok(std::mem::take(encoder.inner_mut()).into())
}

/// Iceberg's reserved field ids for row lineage.
const ROW_ID_FIELD: i32 = 2_147_483_540;
const VERSION_FIELD: i32 = 2_147_483_539;

fn file_schema(table: &Table, versions: PartVersions) -> SchemaRef {
    let with_id = |field: &Field, id: i32| {
        field.clone().with_metadata([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())].into())
    };
    let physical = table.physical_schema();
    let mut fields: Vec<Field> = physical
        .fields()
        .iter()
        .zip(table.columns.iter().map(|column| column.id.0.cast_signed()).chain([ROW_ID_FIELD]))
        .map(|(field, id)| with_id(field, id))
        .collect();
    if versions == PartVersions::Column {
        fields.push(with_id(&Field::new(ColumnId::VERSION.physical_name(), DataType::UInt64, false), VERSION_FIELD));
    }
    Arc::new(Schema::new(fields))
}

fn properties(
    table: &Table,
    schema: &Schema,
    key_names: &[String],
    sample: &[RecordBatch],
    zstd_level: i32,
) -> Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("strandline version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_data_page_row_count_limit(BLOCK_ROWS as usize)
        .set_write_batch_size(BLOCK_ROWS as usize / 2)
        .set_max_row_group_row_count(None)
        .set_dictionary_enabled(false)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX);

    let mut sorting = Vec::new();
    for name in key_names {
        let index = schema.index_of(name)?;
        sorting.push(SortingColumn { column_idx: index as i32, descending: false, nulls_first: true });
    }
    properties = properties.set_sorting_columns(Some(sorting));

    let version = ColumnId::VERSION.physical_name();
    for (index, field) in schema.fields().iter().enumerate() {
        let path = ColumnPath::from(field.name().as_str());
        let ascends = key_names.first() == Some(field.name()) || *field.name() == version;
        let is_whole_key = key_names == [field.name().as_str()];
        if !is_whole_key && *field.name() != version && repeats(sample, index)? {
            properties = properties.set_column_dictionary_enabled(path, true);
        } else if ascends && field.data_type().is_integer() {
            properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    for id in looked_up(table) {
        let path = ColumnPath::from(id.physical_name());
        properties = properties
            .set_column_bloom_filter_fpp(path.clone(), 0.01)
            .set_column_bloom_filter_max_ndv(path, ROW_GROUP_ROWS as u64);
    }
    Ok(properties.build())
}

/// Returns the columns that are looked up by value alone, and not by being the key.
fn looked_up(table: &Table) -> HashSet<ColumnId> {
    let unique = table.indexes.iter().filter(|index| index.unique).map(|index| &index.columns);
    let foreign = table.foreign_keys.iter().map(|key| &key.columns);
    unique
        .chain(foreign)
        .filter_map(|columns| match columns.as_slice() {
            [single] if table.primary_key != [*single] => Some(*single),
            _ => None,
        })
        .filter(|id| table.column_by_id(*id).is_some_and(|column| can_bloom(column.ty)))
        .collect()
}

/// Tells whether a dictionary pays: the sample has, on average, each value at least twice (four times for numbers,
/// which are short themselves).
fn repeats(sample: &[RecordBatch], column: usize) -> Result<bool> {
    let rows: usize = sample.iter().map(RecordBatch::num_rows).sum();
    let step = rows.div_ceil(4096).max(1);
    let mut seen = HashSet::new();
    let mut asked = 0;
    for batch in sample {
        let values = encode_nullable_keys(std::slice::from_ref(batch.column(column)))?;
        for value in (0..values.len()).step_by(step).filter_map(|row| values.get(row)) {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            seen.insert(hasher.finish());
            asked += 1;
        }
    }
    let is_text = sample.first().is_some_and(|batch| !batch.column(column).data_type().is_primitive());
    Ok(asked > 0 && seen.len() * if is_text { 2 } else { 4 } <= asked)
}

/// Returns how many rows from `at`, at most `rows`, take no more than `limit` bytes, and how many bytes they take.
fn fit(batch: &RecordBatch, at: usize, rows: usize, limit: usize) -> (usize, usize) {
    let bytes = rows::bytes(batch, at, rows);
    if bytes <= limit {
        return (rows, bytes);
    }
    let (mut fits, mut exceeds) = (0, rows);
    while fits + 1 < exceeds {
        let middle = fits.midpoint(exceeds);
        if rows::bytes(batch, at, middle) <= limit { fits = middle } else { exceeds = middle }
    }
    (fits, rows::bytes(batch, at, fits))
}

//! What is known of a part once it is open: Parquet's footer with its page index, and our own sparse index of keys.
//!
//! A part is a sequence of *blocks* of rows: [`BLOCK_ROWS`] rows each, fewer where the rows are wide, and in the last
//! block. Blocks end where row groups end, and pages end with blocks as far as the rows are not wide. The index says where each block begins and with which key.
//! It stands in the footer's key-value metadata:
//!
//! ```text
//! strandline.key      physical names of the key columns, separated by commas
//! strandline.blocks   hex of, per block: rows (LEB128), length of its first key (LEB128), that key
//! ```

use std::ops::Range;
use std::sync::Arc;

use parquet::DecodeResult;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder};

use crate::cold::files::{Files, damaged};
use crate::cold::key::Keys;
use crate::cold::{from_hex, to_hex};
use crate::error::{Error, Result};
use crate::ids::{ColumnId, FileId};
use crate::log::FileRecord;
use crate::schema::Table;

/// How many rows a block has at most.
pub(super) const BLOCK_ROWS: u32 = 2048;

/// An open part.
pub(super) struct Footer {
    pub(super) record: Arc<FileRecord>,
    pub(super) metadata: ArrowReaderMetadata,
    pub(super) blocks: BlockIndex,
    /// Physical names of the key columns.
    key: Vec<String>,
    key_ids: Vec<ColumnId>,
    /// Bytes, about.
    pub(super) memory_size: usize,
}

/// Where each block begins, and with which key.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct BlockIndex {
    starts: Vec<u32>,
    keys: Keys,
    rows: u32,
}

/// The footer's end that is read at once in the hope that it is all.
const TAIL_BYTES: u64 = 128 * 1024;

impl Footer {
    pub(super) async fn open(files: &Files, id: FileId) -> Result<Footer> {
        let record = files.record(id).await?;
        let broken = |error| damaged(&record, "its footer cannot be read").with_source(error);
        let mut decoder = ParquetMetaDataPushDecoder::try_new(record.length)
            .map_err(broken)?
            .with_page_index_policy(PageIndexPolicy::Required);
        let mut wanted = vec![record.length.saturating_sub(TAIL_BYTES)..record.length];
        let metadata = loop {
            let bytes = files.read_ranges(&record, &wanted).await?;
            decoder.push_ranges(wanted, bytes).map_err(broken)?;
            match decoder.try_decode().map_err(broken)? {
                DecodeResult::NeedsData(ranges) => wanted = ranges,
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::Finished => return Err(damaged(&record, "it has no footer")),
            }
        };
        Footer::new(record.clone(), metadata).ok_or_else(|| damaged(&record, "its index of blocks is no such"))
    }

    fn new(record: Arc<FileRecord>, metadata: ParquetMetaData) -> Option<Footer> {
        let pairs = metadata.file_metadata().key_value_metadata()?;
        let value = |name: &str| pairs.iter().find(|pair| pair.key == name)?.value.as_deref();
        let key: Vec<String> = value(KEY)?.split(',').map(str::to_owned).collect();
        let key_ids = key.iter().map(|name| ColumnId::from_physical_name(name)).collect::<Option<Vec<_>>>()?;
        let blocks = BlockIndex::decode(value(BLOCKS)?)?;
        if i64::from(blocks.rows) != metadata.file_metadata().num_rows() {
            return None;
        }
        let memory_size = metadata.memory_size() + blocks.keys.memory_size() + 4 * blocks.starts.capacity();
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new()).ok()?;
        Some(Footer { record, metadata, blocks, key, key_ids, memory_size })
    }

    /// Tells whether the part is sorted by the table's key.
    pub(super) fn is_keyed_by(&self, table: &Table) -> bool {
        if table.has_row_id() { self.key_ids == [ColumnId::ROW_ID] } else { self.key_ids == table.primary_key }
    }

    pub(super) fn require_key_of(&self, table: &Table) -> Result<()> {
        if self.is_keyed_by(table) {
            return Ok(());
        }
        let file = self.record.kind.path(self.record.id);
        Err(Error::internal(format!(
            "BUG: {file} is sorted by {}, not by the key of {}.",
            self.key.join(","),
            table.name
        )))
    }

    pub(super) fn key_names(&self) -> &[String] {
        &self.key
    }

    /// Returns the index of a column of the file.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        // Our schemas are flat: a root is a leaf.
        self.metadata.schema().index_of(name).ok()
    }
}

impl BlockIndex {
    pub(super) fn add(&mut self, rows: u32, first_key: &[u8]) -> Result<()> {
        self.starts.push(self.rows);
        self.keys.push(first_key)?;
        self.rows += rows;
        Ok(())
    }

    pub(super) fn len(&self) -> u32 {
        self.starts.len() as u32
    }

    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// Returns the rows of a block.
    pub(super) fn range(&self, block: u32) -> Range<u32> {
        let end = self.starts.get(block as usize + 1).copied().unwrap_or(self.rows);
        self.starts[block as usize]..end
    }

    /// Returns the block that holds the row.
    pub(super) fn of_row(&self, row: u32) -> u32 {
        self.starts.partition_point(|start| *start <= row) as u32 - 1
    }

    /// Returns the block that would hold the key: none only for a key less than every one of the part.
    pub(super) fn of_key(&self, key: &[u8]) -> Option<u32> {
        match self.keys.search(key) {
            Ok(at) => Some(at as u32),
            Err(at) => at.checked_sub(1).map(|at| at as u32),
        }
    }

    pub(super) fn first_key(&self, block: u32) -> Option<&[u8]> {
        ((block as usize) < self.keys.len()).then(|| self.keys.get(block as usize))
    }

    fn encode(&self) -> String {
        let mut bytes = Vec::new();
        for block in 0..self.len() {
            let (range, key) = (self.range(block), self.keys.get(block as usize));
            write_number(&mut bytes, range.end - range.start);
            write_number(&mut bytes, key.len() as u32);
            bytes.extend_from_slice(key);
        }
        to_hex(&bytes)
    }

    fn decode(text: &str) -> Option<BlockIndex> {
        let bytes = from_hex(text)?;
        let mut rest = bytes.as_slice();
        let mut index = BlockIndex::default();
        while !rest.is_empty() {
            let rows = read_number(&mut rest)?;
            let length = read_number(&mut rest)? as usize;
            let (key, after) = rest.split_at_checked(length)?;
            if rows == 0 || index.rows.checked_add(rows).is_none() {
                return None;
            }
            index.add(rows, key).ok()?;
            rest = after;
        }
        Some(index)
    }
}

/// Returns what the writer adds to the footer.
pub(super) fn key_values(key: &[String], blocks: &BlockIndex) -> [KeyValue; 2] {
    [KeyValue::new(KEY.to_owned(), key.join(",")), KeyValue::new(BLOCKS.to_owned(), blocks.encode())]
}

const KEY: &str = "strandline.key";
const BLOCKS: &str = "strandline.blocks";

fn write_number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0u32;
    for shift in (0..32).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_of_blocks() {
        let mut index = BlockIndex::default();
        index.add(2048, b"b").unwrap();
        index.add(300, &[b'f'; 200]).unwrap();
        index.add(1, b"q").unwrap();
        assert_eq!(BlockIndex::decode(&index.encode()), Some(index.clone()));
        assert_eq!((index.range(1), index.range(2)), (2048..2348, 2348..2349));
        assert_eq!((index.of_row(2047), index.of_row(2048), index.of_row(2348)), (0, 1, 2));
        assert_eq!(index.of_key(b"a"), None);
        assert_eq!((index.of_key(b"b"), index.of_key(b"c"), index.of_key(b"z")), (Some(0), Some(0), Some(2)));
        assert_eq!(BlockIndex::decode("0g"), None);
        assert_eq!(BlockIndex::decode("0105"), None);
    }

    #[test]
    fn physical_names() {
        for id in [ColumnId(0), ColumnId(17), ColumnId::ROW_ID, ColumnId::VERSION] {
            assert_eq!(ColumnId::from_physical_name(&id.physical_name()), Some(id));
        }
        assert_eq!((ColumnId::from_physical_name("c01"), ColumnId::from_physical_name("x1")), (None, None));
    }
}

//! Merging sorted rows: several streams in key order become one, in bounded memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::cold::{BatchStream, Keys, encode_keys};
use crate::error::{Error, Result};
use crate::rows::columns_of;
use crate::schema::Table;

/// How many rows are put together at a time, and about how many bytes.
const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;

/// Sorted rows, none of which comes before `from`: nothing is read of them until the merge gets there.
pub struct Input {
    pub from: Vec<u8>,
    pub rows: BatchStream,
}

/// Returns the rows of all `inputs` in key order. Memory: what the inputs that lie over one key hold, and a batch.
///
/// # Errors
/// Those of the inputs; `Corrupt` where two rows have one key, or an input is out of order.
pub fn merged(table: &Arc<Table>, mut inputs: Vec<Input>) -> BatchStream {
    inputs.sort_by(|a, b| b.from.cmp(&a.from));
    let merger = Merger { table: table.clone(), waiting: inputs, sources: Vec::new(), order: Vec::new() };
    let batches = stream::try_unfold(merger, |mut merger| async move {
        // Others run between two batches.
        tokio::task::yield_now().await;
        fail::fail_point!("compact::merge", crate::error::failing);
        Ok(merger.next().await?.map(|batch| (batch, merger)))
    });
    batches.boxed()
}

struct Merger {
    table: Arc<Table>,
    /// Inputs that were not begun: the one with the least key is last.
    waiting: Vec<Input>,
    sources: Vec<Source>,
    /// Sources that have rows left, by the key of their next row: the least is last.
    order: Vec<usize>,
}

/// An input, and the batch that it stands in.
struct Source {
    stream: BatchStream,
    batch: RecordBatch,
    /// About how many bytes a row takes.
    row_bytes: usize,
    keys: Keys,
    at: usize,
}

impl Source {
    /// Lets go of the last rows.
    fn end(&mut self) {
        self.stream = stream::empty().boxed();
        (self.batch, self.keys, self.at) = (RecordBatch::new_empty(self.batch.schema()), Keys::new(), 0);
    }

    fn key(&self) -> &[u8] {
        self.keys.get(self.at)
    }
}

impl Merger {
    /// Returns the next rows.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        // The batches that rows are taken of; those that sources stand in, by source.
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut of_source: Vec<Option<usize>> = Vec::new();
        let mut rows: Vec<(usize, usize)> = Vec::with_capacity(BATCH_ROWS);
        let mut bytes = 0;
        while rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            self.begin_inputs().await?;
            let Some(least) = self.order.pop() else { break };
            of_source.resize(self.sources.len(), None);
            let upto = self.run_of(least, BATCH_ROWS - rows.len(), BATCH_BYTES - bytes);
            let source = &mut self.sources[least];
            bytes += (upto - source.at) * source.row_bytes;
            let batch = *of_source[least].get_or_insert_with(|| {
                batches.push(source.batch.clone());
                batches.len() - 1
            });
            rows.extend((source.at..upto).map(|row| (batch, row)));
            source.at = upto;
            if upto == source.keys.len() {
                of_source[least] = None;
                let last = source.keys.get(upto - 1).to_vec();
                let Some((batch, keys)) = next_batch(&self.table, &mut source.stream).await? else {
                    // Of many inputs, one after the other, only the rows that are still to come stay in memory.
                    source.end();
                    continue;
                };
                (source.row_bytes, source.batch, source.keys, source.at) = (row_bytes(&batch), batch, keys, 0);
                if source.key() <= last.as_slice() {
                    return Err(Error::corrupt(format!("Rows of table '{}' are out of order.", self.table.name)));
                }
            }
            self.put_back(least)?;
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        Ok(Some(interleave_record_batch(&batches, &rows)?))
    }

    /// Begins the inputs that may have the next row.
    async fn begin_inputs(&mut self) -> Result<()> {
        while let Some(next) = self.waiting.last()
            && self.order.last().is_none_or(|least| next.from.as_slice() <= self.sources[*least].key())
        {
            let mut stream = self.waiting.pop().expect("it is the last").rows;
            if let Some((batch, keys)) = next_batch(&self.table, &mut stream).await? {
                self.sources.push(Source { stream, row_bytes: row_bytes(&batch), batch, keys, at: 0 });
                self.put_back(self.sources.len() - 1)?;
            }
        }
        Ok(())
    }

    /// Returns up to where the rows of a source come before those of all others; at least one does.
    fn run_of(&self, least: usize, rows: usize, bytes: usize) -> usize {
        let source = &self.sources[least];
        let end = source.keys.len().min(source.at + rows.min(bytes / source.row_bytes).max(1));
        let next = self.order.last().map(|next| self.sources[*next].key());
        let waiting = self.waiting.last().map(|input| input.from.as_slice());
        match next.into_iter().chain(waiting).min() {
            None => end,
            Some(limit) => (source.at + 1..end).find(|at| source.keys.get(*at) >= limit).unwrap_or(end),
        }
    }

    /// Puts a source where its next row belongs.
    fn put_back(&mut self, source: usize) -> Result<()> {
        let key = self.sources[source].key();
        match self.order.binary_search_by(|other| key.cmp(self.sources[*other].key())) {
            Ok(_) => Err(Error::corrupt(format!("Two rows of table '{}' have the same key.", self.table.name))),
            Err(place) => {
                self.order.insert(place, source);
                Ok(())
            }
        }
    }
}

fn row_bytes(batch: &RecordBatch) -> usize {
    (batch.get_array_memory_size() / batch.num_rows().max(1)).max(1)
}

async fn next_batch(table: &Table, stream: &mut BatchStream) -> Result<Option<(RecordBatch, Keys)>> {
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > 0 {
            let keys = encode_keys(&columns_of(&batch, &table.key_columns())?)?;
            return Ok(Some((batch, keys)));
        }
    }
    Ok(None)
}

//! Merging sorted rows: several streams in key order become one, in bounded memory.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::cold::{BatchStream, Keys, encode_keys};
use crate::error::{Error, Result};
use crate::rows::columns_of;
use crate::schema::Table;

/// How many rows are put together at a time.
const BATCH_ROWS: usize = 8192;

/// Returns the rows of all `inputs` in key order. Memory: a batch of each input, and one to be.
///
/// # Errors
/// Those of the inputs; `Corrupt` where two rows have one key, or an input is out of order.
pub async fn merged(table: &Arc<Table>, inputs: Vec<BatchStream>) -> Result<BatchStream> {
    let mut merger = Merger { table: table.clone(), sources: Vec::new(), order: Vec::new() };
    for mut stream in inputs {
        if let Some((batch, keys)) = next_batch(table, &mut stream).await? {
            merger.sources.push(Source { stream, batch, keys, at: 0 });
            merger.put_back(merger.sources.len() - 1)?;
        }
    }
    let batches = stream::try_unfold(merger, |mut merger| async move {
        // Others run between two batches.
        tokio::task::yield_now().await;
        Ok(merger.next().await?.map(|batch| (batch, merger)))
    });
    Ok(batches.boxed())
}

struct Merger {
    table: Arc<Table>,
    sources: Vec<Source>,
    /// Sources that have rows left, by the key of their next row: the least is last.
    order: Vec<usize>,
}

/// An input, and the batch that it stands in.
struct Source {
    stream: BatchStream,
    batch: RecordBatch,
    keys: Keys,
    at: usize,
}

impl Source {
    fn key(&self) -> &[u8] {
        self.keys.get(self.at)
    }
}

impl Merger {
    /// Returns the next rows.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        // The batches that rows are taken of; those that sources stand in, by source.
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut of_source: Vec<Option<usize>> = vec![None; self.sources.len()];
        let mut rows: Vec<(usize, usize)> = Vec::with_capacity(BATCH_ROWS);
        while rows.len() < BATCH_ROWS
            && let Some(least) = self.order.pop()
        {
            let upto = self.run_of(least, BATCH_ROWS - rows.len());
            let source = &mut self.sources[least];
            let batch = *of_source[least].get_or_insert_with(|| {
                batches.push(source.batch.clone());
                batches.len() - 1
            });
            rows.extend((source.at..upto).map(|row| (batch, row)));
            source.at = upto;
            if upto == source.keys.len() {
                of_source[least] = None;
                let last = source.keys.get(upto - 1).to_vec();
                let Some((batch, keys)) = next_batch(&self.table, &mut source.stream).await? else { continue };
                (source.batch, source.keys, source.at) = (batch, keys, 0);
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

    /// Returns up to where the rows of a source come before those of all others; at least one does.
    fn run_of(&self, least: usize, room: usize) -> usize {
        let source = &self.sources[least];
        let end = source.keys.len().min(source.at + room);
        match self.order.last() {
            None => end,
            Some(next) => {
                let limit = self.sources[*next].key();
                let run = (source.at + 1..end).find(|at| source.keys.get(*at) >= limit);
                run.unwrap_or(end)
            }
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

async fn next_batch(table: &Table, stream: &mut BatchStream) -> Result<Option<(RecordBatch, Keys)>> {
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() > 0 {
            let keys = encode_keys(&columns_of(&batch, &table.key_columns())?)?;
            return Ok(Some((batch, keys)));
        }
    }
    Ok(None)
}

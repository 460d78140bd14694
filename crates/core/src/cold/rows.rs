//! Decodes rows of a part and gives them the shape of the table that asks.
//!
//! A part may lack columns that were added after it was written, and have columns that were dropped since.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatchOptions, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};

use crate::cold::files::{Files, damaged};
use crate::cold::footer::{BLOCK_ROWS, BlockIndex, Footer};
use crate::error::{Error, Result};
use crate::ids::{ColumnId, Version};
use crate::rows::fill;
use crate::schema::{Initial, Table, Type};

/// Which columns are wanted of a table, in which order.
#[derive(Clone)]
pub(super) struct Target {
    table: Arc<Table>,
    columns: Vec<ColumnId>,
    pub(super) schema: SchemaRef,
    /// Fills `_version` where the part has no such column.
    common_version: Option<Version>,
}

impl Target {
    /// Wants `projection`, or every column of `table.physical_schema()`; then `_version` if asked.
    pub(super) fn new(
        table: &Table,
        projection: Option<&[ColumnId]>,
        with_version: bool,
        common_version: Option<Version>,
    ) -> Result<Target> {
        let mut columns = match projection {
            Some(projection) => projection.to_vec(),
            None => {
                let mut columns: Vec<ColumnId> = table.columns.iter().map(|column| column.id).collect();
                columns.extend(table.has_row_id().then_some(ColumnId::ROW_ID));
                columns
            }
        };
        columns.extend(with_version.then_some(ColumnId::VERSION));
        let fields = columns.iter().map(|id| field(table, *id)).collect::<Result<Vec<_>>>()?;
        Ok(Target { table: Arc::new(table.clone()), columns, schema: Arc::new(Schema::new(fields)), common_version })
    }

    /// Returns the physical names, whether the part has the columns or not.
    pub(super) fn names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Gives rows as they are in the file the wanted shape.
    pub(super) fn shape(&self, footer: &Footer, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for (id, field) in self.columns.iter().zip(self.schema.fields()) {
            let column = match rows.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => column.clone(),
                Some(_) => {
                    return Err(damaged(&footer.record, &format!("its column {} is of another type", field.name())));
                }
                None => self.missing(*id, rows.num_rows(), footer)?,
            };
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    fn missing(&self, id: ColumnId, rows: usize, footer: &Footer) -> Result<ArrayRef> {
        match (id, self.common_version) {
            (ColumnId::VERSION, Some(version)) => Ok(Arc::new(UInt64Array::from_value(version.0, rows))),
            (ColumnId::VERSION | ColumnId::ROW_ID, _) => {
                Err(damaged(&footer.record, &format!("it lacks the column {}", id.physical_name())))
            }
            _ => fill(self.table.column_by_id(id).expect("Target::new has looked it up"), rows),
        }
    }
}

fn field(table: &Table, id: ColumnId) -> Result<Field> {
    Ok(match id {
        ColumnId::ROW_ID | ColumnId::VERSION => Field::new(id.physical_name(), DataType::UInt64, false),
        _ => {
            let column = table
                .column_by_id(id)
                .ok_or_else(|| Error::internal(format!("BUG: {} has no column {id}.", table.name)))?;
            Field::new(id.physical_name(), column.ty.arrow(), column.nullable)
        }
    })
}

/// What a cached block depends on besides the file.
pub(super) struct Layout {
    columns: Vec<(ColumnId, Type, bool, Option<Initial>)>,
    has_row_id: bool,
    common_version: Option<Version>,
}

impl Layout {
    pub(super) fn of(table: &Table, common_version: Option<Version>) -> Layout {
        let columns = table.columns.iter().map(|c| (c.id, c.ty, c.nullable, c.initial.clone())).collect();
        Layout { columns, has_row_id: table.has_row_id(), common_version }
    }

    pub(super) fn is_of(&self, table: &Table, common_version: Option<Version>) -> bool {
        self.has_row_id == table.has_row_id()
            && self.common_version == common_version
            && self.columns.len() == table.columns.len()
            && self.columns.iter().zip(&table.columns).all(|((id, ty, nullable, initial), column)| {
                *id == column.id && *ty == column.ty && *nullable == column.nullable && *initial == column.initial
            })
    }
}

/// Reads some rows of some columns of a part, in order, as they are in the file. Memory: the selected pages of those
/// columns in one row group, and a batch.
pub(super) struct Rows {
    files: Files,
    footer: Arc<Footer>,
    names: Vec<String>,
    /// Rows still to read, cut where one decoder ends and the next begins.
    runs: VecDeque<Run>,
    decoder: Option<ParquetPushDecoder>,
}

/// Rows that one decoder reads in batches of `batch_rows`.
struct Run {
    batch_rows: u32,
    selected: Vec<Range<u32>>,
}

impl Rows {
    /// Reads the rows in `selected`, which ascend and do not overlap. Columns that the part lacks are left out.
    pub(super) fn new(files: &Files, footer: &Arc<Footer>, names: &[String], selected: Vec<Range<u32>>) -> Rows {
        let names = names.iter().filter(|name| footer.column(name).is_some()).cloned().collect();
        let runs = runs(&footer.blocks, selected);
        Rows { files: files.clone(), footer: footer.clone(), names, runs, decoder: None }
    }

    /// Returns the next batch. A batch never spans more than [`BLOCK_ROWS`] rows, nor wide rows of several blocks.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(decoder) = &mut self.decoder else {
                match self.runs.pop_front() {
                    Some(run) => self.decoder = Some(self.open(run)?),
                    None => return Ok(None),
                }
                continue;
            };
            let footer = &self.footer;
            match decoder.try_decode().map_err(|error| undecodable(footer, error))? {
                DecodeResult::NeedsData(ranges) => {
                    let bytes = self.files.read_ranges(&footer.record, &ranges).await?;
                    decoder.push_ranges(ranges, bytes).map_err(|error| undecodable(footer, error))?;
                }
                DecodeResult::Data(batch) => return Ok(Some(batch)),
                DecodeResult::Finished => self.decoder = None,
            }
        }
    }

    /// Reads all the rest into one batch. For few rows.
    pub(super) async fn all(mut self) -> Result<RecordBatch> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        match batches.len() {
            1 => Ok(batches.swap_remove(0)),
            _ => {
                let schema = match batches.first() {
                    Some(batch) => batch.schema(),
                    None => Arc::new(Schema::empty()),
                };
                Ok(arrow::compute::concat_batches(&schema, &batches)?)
            }
        }
    }

    fn open(&self, run: Run) -> Result<ParquetPushDecoder> {
        let metadata = &self.footer.metadata;
        let mask = ProjectionMask::leaves(
            metadata.parquet_schema(),
            self.names.iter().filter_map(|name| self.footer.column(name)),
        );
        let ranges = run.selected.iter().map(|range| range.start as usize..range.end as usize);
        let selection = RowSelection::from_consecutive_ranges(ranges, self.footer.blocks.rows() as usize);
        ParquetPushDecoderBuilder::new_with_metadata(metadata.clone())
            .with_projection(mask)
            .with_row_selection(selection)
            .with_batch_size(run.batch_rows as usize)
            .build()
            .map_err(|error| undecodable(&self.footer, error))
    }
}

/// Cuts a selection so that short blocks, whose rows are wide, are read one by one.
fn runs(blocks: &BlockIndex, selected: Vec<Range<u32>>) -> VecDeque<Run> {
    let mut runs: VecDeque<Run> = VecDeque::new();
    let mut last_block_is_short = false;
    let mut last_block = u32::MAX;
    for mut range in selected {
        while !range.is_empty() {
            let block = blocks.of_row(range.start);
            let rows = blocks.range(block);
            let piece = range.start..range.end.min(rows.end);
            range.start = piece.end;
            let is_short = rows.end - rows.start < BLOCK_ROWS && block + 1 < blocks.len();
            let continues = block == last_block || (!is_short && !last_block_is_short);
            match runs.back_mut() {
                Some(run) if continues => match run.selected.last_mut() {
                    Some(last) if last.end == piece.start => last.end = piece.end,
                    _ => run.selected.push(piece),
                },
                _ => runs.push_back(Run { batch_rows: BLOCK_ROWS, selected: vec![piece] }),
            }
            (last_block, last_block_is_short) = (block, is_short);
        }
    }
    for run in &mut runs {
        let rows = run.selected.iter().map(|range| u64::from(range.end - range.start)).sum::<u64>();
        run.batch_rows = (u64::from(BLOCK_ROWS)).min(rows) as u32;
    }
    runs
}

fn undecodable(footer: &Footer, error: parquet::errors::ParquetError) -> Error {
    damaged(&footer.record, &format!("its rows cannot be decoded ({error})")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_keep_wide_blocks_apart() {
        let mut blocks = BlockIndex::default();
        for rows in [2048, 2048, 10, 7, 2048, 30] {
            blocks.add(rows, &[]).unwrap();
        }
        let end = blocks.rows();
        let shape = |selected: Vec<Range<u32>>| -> Vec<(u32, Vec<Range<u32>>)> {
            runs(&blocks, selected).into_iter().map(|run| (run.batch_rows, run.selected)).collect()
        };
        assert_eq!(
            shape(vec![0..end]),
            [(2048, vec![0..4096]), (10, vec![4096..4106]), (7, vec![4106..4113]), (2048, vec![4113..end]),]
        );
        assert_eq!(
            shape(vec![1..2, 3000..3001, 4097..4098, 4099..4107, 5000..5001]),
            [
                (2, vec![1..2, 3000..3001]),
                (8, vec![4097..4098, 4099..4106]),
                (1, vec![4106..4107]),
                (1, vec![5000..5001]),
            ]
        );
        assert!(shape(vec![]).is_empty());
    }
}

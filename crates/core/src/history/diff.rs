//! Diff: what changed between two moments of a table, or between two tables that share a key.
//!
//! What both sides share is skipped: of a part that stands in both manifests only the rows that one side hides and the
//! other shows are read. The rest is matched by key. The cost is that of the changes, plus of parts that compaction or a
//! load made new.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::row::{RowConverter, SortField};
use futures::TryStreamExt;
use roaring::RoaringBitmap;

use crate::cold::{Keys, Part, encode_keys};
use crate::db::Database;
use crate::error::{Error, Result};
use crate::ids::{ColumnId, FileId};
use crate::moment::Moment;
use crate::rows::{columns_of, conform};
use crate::scan::Layers;
use crate::schema::{Column, Table};

/// A table at a moment.
#[derive(Clone)]
pub struct TableAt {
    pub moment: Moment,
    pub table: Arc<Table>,
}

/// What changed from base to head. All rows are in the physical schema of `table`, in key order: head's definition, but
/// with NULL allowed in columns that base may lack.
#[derive(Clone, Debug)]
pub struct Diff {
    pub table: Arc<Table>,
    /// Rows whose key only head has.
    pub inserted: RecordBatch,
    /// Rows whose key only base has.
    pub deleted: RecordBatch,
    /// Rows of a key that both have, as base has them …
    pub updated_from: RecordBatch,
    /// … and as head has them, row by row.
    pub updated_to: RecordBatch,
}

impl Diff {
    /// Counts the changed keys.
    pub fn len(&self) -> usize {
        self.inserted.num_rows() + self.deleted.num_rows() + self.updated_to.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Database {
    /// Compares two moments of a table, or two tables with keys of the same types.
    pub async fn diff(&self, base: &TableAt, head: &TableAt) -> Result<Diff> {
        let types = |table: &Table| -> Vec<_> {
            table.key_schema().fields().iter().map(|field| field.data_type().clone()).collect()
        };
        if types(&base.table) != types(&head.table) {
            return Err(Error::invalid(format!(
                "'{}' and '{}' have keys of different types; they cannot be compared row by row.",
                base.table.name, head.table.name
            )));
        }
        // Rows of a base that has dropped a column show NULL in it, also where head has it NOT NULL.
        let mut shape = head.table.as_ref().clone();
        for column in shape.columns.iter_mut().filter(|column| column.initial.is_none()) {
            column.nullable |= base.table.column_by_id(column.id).is_none() || base.table.id != head.table.id;
        }
        let shape = Arc::new(shape);
        let base_layers = base.moment.layers(&base.table, base.moment.catalog(), None).await?;
        let head_layers = head.moment.layers(&head.table, head.moment.catalog(), None).await?;
        // A part shows the same rows on both sides, unless it holds a column that the base has dropped.
        let shows_more = |part: &Part| {
            let dropped = |id: ColumnId| base.table.column_by_id(id).is_none() && part.columns.contains(&id);
            head.table.columns.iter().any(|column| dropped(column.id))
        };
        let can_share = same_lineage(&base.table, &head.table);
        let shares = |part: &Part| can_share && !shows_more(part);
        let base_rows = side(&base_layers, &head_layers, &shape, &shares).await?;
        let head_rows = side(&head_layers, &base_layers, &shape, &shares).await?;
        let by_value = head.table.has_row_id() && base.table.id != head.table.id;
        if by_value { by_values(&shape, &base_rows, &head_rows) } else { by_keys(&shape, &base_rows, &head_rows) }
    }
}

/// Reads the rows of one side that the other does not share, in the shape of `shape`.
async fn side(
    own: &Layers<'_>,
    other: &Layers<'_>,
    shape: &Table,
    shares: &(dyn Fn(&Part) -> bool + Sync),
) -> Result<RecordBatch> {
    let mut shared: HashMap<FileId, RoaringBitmap> = HashMap::new();
    for part in other.manifest.parts.iter().filter(|part| shares(part)) {
        shared.insert(part.file, other.excluded(part).await?);
    }
    let mut batches = own.hot_rows(false)?;
    for part in &own.manifest.parts {
        let mut skipped = own.excluded(part).await?;
        if let Some(hidden_there) = shared.get(&part.file) {
            let mut shown_there = RoaringBitmap::new();
            shown_there.insert_range(0..part.rows as u32);
            shown_there -= hidden_there;
            skipped |= shown_there;
        }
        if skipped.len() < part.rows {
            let rows = own.cold.scan(&own.table, part, own.parts_version, None, &skipped, false).await?;
            batches.extend(rows.try_collect::<Vec<_>>().await?);
        }
    }
    let batches: Vec<RecordBatch> =
        batches.iter().map(|batch| shape_as(batch, &own.table, shape)).collect::<Result<_>>()?;
    Ok(concat_batches(&shape.physical_schema(), &batches)?)
}

/// Brings rows of `from` into the shape of `to`: by column id within one lineage, by name otherwise.
fn shape_as(batch: &RecordBatch, from: &Table, to: &Table) -> Result<RecordBatch> {
    if same_lineage(from, to) {
        return conform(batch, to);
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for column in &to.columns {
        let Some(old) = from.column(&column.name).filter(|old| old.ty == column.ty) else { continue };
        fields.push(arrow::datatypes::Field::new(column.id.physical_name(), column.ty.arrow(), true));
        columns.push(columns_of(batch, &[old.id])?.remove(0));
    }
    if let Some(ids) = batch.column_by_name("_row_id") {
        fields.push(arrow::datatypes::Field::new("_row_id", ids.data_type().clone(), false));
        columns.push(ids.clone());
    }
    conform(&RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns)?, to)
}

/// Tells whether equal column ids mean equal columns.
fn same_lineage(from: &Table, to: &Table) -> bool {
    let same =
        |column: &Column| from.column_by_id(column.id).is_none_or(|old| old.name == column.name && old.ty == column.ty);
    from.id == to.id || to.columns.iter().all(same)
}

fn by_keys(table: &Arc<Table>, base: &RecordBatch, head: &RecordBatch) -> Result<Diff> {
    let base_keys = encode_keys(&columns_of(base, &table.key_columns())?)?;
    let head_keys = encode_keys(&columns_of(head, &table.key_columns())?)?;
    let (base_values, head_values) = values(base, head)?;
    let base_index: BTreeMap<&[u8], usize> = index(&base_keys);
    let head_index: BTreeMap<&[u8], usize> = index(&head_keys);
    let mut inserted = Vec::new();
    let mut updated = Vec::new();
    for (key, head_row) in &head_index {
        match base_index.get(key) {
            None => inserted.push(*head_row as u32),
            Some(base_row) if base_values.row(*base_row) != head_values.row(*head_row) => {
                updated.push((*base_row as u32, *head_row as u32));
            }
            Some(_) => {}
        }
    }
    let deleted: Vec<u32> =
        base_index.iter().filter(|(key, _)| !head_index.contains_key(*key)).map(|(_, row)| *row as u32).collect();
    Ok(Diff {
        table: table.clone(),
        inserted: take(head, inserted)?,
        deleted: take(base, deleted)?,
        updated_from: take(base, updated.iter().map(|(base, _)| *base).collect())?,
        updated_to: take(head, updated.iter().map(|(_, head)| *head).collect())?,
    })
}

/// Compares tables whose row ids mean nothing to each other: as multisets of whole rows.
fn by_values(table: &Arc<Table>, base: &RecordBatch, head: &RecordBatch) -> Result<Diff> {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    let (base_values, head_values) = values(&base.project(&columns)?, &head.project(&columns)?)?;
    let mut surplus: HashMap<Vec<u8>, Vec<u32>> = HashMap::new();
    for row in 0..base.num_rows() {
        surplus.entry(base_values.row(row).as_ref().to_vec()).or_default().push(row as u32);
    }
    let mut inserted = Vec::new();
    for row in 0..head.num_rows() {
        let matched = surplus.get_mut(head_values.row(row).as_ref()).and_then(Vec::pop);
        if matched.is_none() {
            inserted.push(row as u32);
        }
    }
    let mut deleted: Vec<u32> = surplus.into_values().flatten().collect();
    deleted.sort_unstable();
    let none = RecordBatch::new_empty(table.physical_schema());
    Ok(Diff {
        table: table.clone(),
        inserted: take(head, inserted)?,
        deleted: take(base, deleted)?,
        updated_from: none.clone(),
        updated_to: none,
    })
}

fn values(base: &RecordBatch, head: &RecordBatch) -> Result<(arrow::row::Rows, arrow::row::Rows)> {
    let fields = head.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    Ok((converter.convert_columns(base.columns())?, converter.convert_columns(head.columns())?))
}

fn index(keys: &Keys) -> BTreeMap<&[u8], usize> {
    keys.iter().enumerate().map(|(row, key)| (key, row)).collect()
}

fn take(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch> {
    Ok(take_record_batch(batch, &UInt32Array::from(rows))?)
}

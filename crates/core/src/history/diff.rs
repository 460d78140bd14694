//! Diff: what changed between two moments of a table, or between two tables that share a key.
//!
//! What both sides share is skipped: of a part that stands in both manifests only the rows that one side hides and the
//! other shows are read. The rest is matched by key. The cost is that of the changes, plus of parts that compaction or a
//! load made new.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches, take_record_batch};
use arrow::datatypes::{Field, Schema};
use arrow::row::{RowConverter, SortField};
use futures::TryStreamExt;
use roaring::RoaringBitmap;

use crate::cold::{Keys, Part, blocking, encode_keys};
use crate::db::Database;
use crate::error::{Error, Result};
use crate::ids::{ColumnId, FileId};
use crate::moment::Moment;
use crate::room::Held;
use crate::rows::{self, columns_of, conform};
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

/// Converts values of a base's column to the type of head's column, which takes its place: after a change of type, or in
/// another table. What does not convert is an error, never NULL.
pub type Convert<'a> = &'a (dyn Fn(&Column, &Column, &ArrayRef) -> Result<ArrayRef> + Sync);

/// The conversion where nothing but the stored types is known.
pub(super) fn plain(from: &Column, to: &Column, values: &ArrayRef) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(values, &to.ty.arrow(), &strict)
        .map_err(|error| Error::invalid(format!("Column '{}' cannot be compared: {error}.", from.name)))
}

impl Database {
    /// Compares two moments of a table, or two tables that share a key.
    pub async fn diff(&self, base: &TableAt, head: &TableAt) -> Result<Diff> {
        self.diff_with(base, head, &plain, &mut Held::uncounted()).await
    }

    /// As `diff`, for somebody who knows what the columns' values mean. The rows that it reads are added to `held`: those of
    /// one side that the other does not share.
    pub async fn diff_with(
        &self,
        base: &TableAt,
        head: &TableAt,
        convert: Convert<'_>,
        held: &mut Held,
    ) -> Result<Diff> {
        let matches = matches(&base.table, &head.table);
        check_keys(&base.table, &head.table, &matches)?;
        // Rows of a base that lacks a column, or may hold NULL in it, show NULL, also where head has it NOT NULL.
        let mut shape = head.table.as_ref().clone();
        for (column, source) in shape.columns.iter_mut().zip(&matches) {
            column.nullable |= match source {
                Some(source) => source.nullable,
                None => column.initial.is_none() || base.table.id != head.table.id,
            };
        }
        let shape = Arc::new(shape);
        let base_layers = base.moment.layers(&base.table, base.moment.catalog(), None).await?;
        let head_layers = head.moment.layers(&head.table, head.moment.catalog(), None).await?;
        // A part shows the same rows on both sides, unless it holds a column that the base has dropped, or a column took
        // the place of another.
        let same_columns = head
            .table
            .columns
            .iter()
            .zip(&matches)
            .all(|(column, source)| source.is_none_or(|source| source.id == column.id && source.ty == column.ty));
        let shows_more = |part: &Part| {
            let dropped = |id: ColumnId| base.table.column_by_id(id).is_none() && part.columns.contains(&id);
            head.table.columns.iter().any(|column| dropped(column.id))
        };
        let shares = |part: &Part| same_columns && !shows_more(part);
        let base_shape = |batch: &RecordBatch| converted(batch, &base.table, &shape, &matches, convert);
        let base_rows = side(&base_layers, &head_layers, &shape, &shares, &base_shape, held).await?;
        let head_rows =
            side(&head_layers, &base_layers, &shape, &shares, &|batch| conform(batch, &shape), held).await?;
        // Row ids mean nothing to another table, nor to one whose rows were written anew.
        let renewed = head
            .table
            .columns
            .iter()
            .zip(&matches)
            .any(|(column, source)| source.is_some_and(|source| source.id != column.id));
        let by_value = head.table.has_row_id() && (base.table.id != head.table.id || renewed);
        // All rows that changed are compared at a stretch: not on a thread that serves others.
        blocking(move || match by_value {
            true => by_values(&shape, &base_rows, &head_rows),
            false => by_keys(&shape, &base_rows, &head_rows),
        })
        .await
    }
}

/// Returns for each column of `to` the one of `from` that it stands for: the same one; else, as after a change of type or
/// in another table, the one of that name.
fn matches<'a>(from: &'a Table, to: &Table) -> Vec<Option<&'a Column>> {
    let by_id = from.id == to.id || same_lineage(from, to);
    let of = |column: &Column| match by_id.then(|| from.column_by_id(column.id)).flatten() {
        Some(same) => Some(same),
        // One that stands for itself under another name stands for nothing else.
        None => from.column(&column.name).filter(|named| !by_id || to.column_by_id(named.id).is_none()),
    };
    to.columns.iter().map(of).collect()
}

/// Checks that rows of both sides can be matched by key.
fn check_keys(base: &Table, head: &Table, matches: &[Option<&Column>]) -> Result<()> {
    let source = |id: &ColumnId| {
        let at = head.columns.iter().position(|column| column.id == *id)?;
        matches[at].map(|column| column.id)
    };
    let of_head: Option<Vec<ColumnId>> = head.primary_key.iter().map(source).collect();
    if of_head.as_ref() == Some(&base.primary_key) {
        return Ok(());
    }
    let hint = match base.id == head.id {
        true => "Compare up to the commit before its key was changed, and from that one on: SHOW COMMITS FOR TABLE.",
        false => "Only tables whose primary keys have columns of the same names can be compared.",
    };
    Err(Error::invalid(format!(
        "'{}' and '{}' have different primary keys; they cannot be compared row by row.",
        base.name, head.name
    ))
    .with_hint(hint))
}

/// Reads the rows of one side that the other does not share, in the shape of `shape`.
async fn side(
    own: &Layers<'_>,
    other: &Layers<'_>,
    shape: &Table,
    shares: &(dyn Fn(&Part) -> bool + Sync),
    shaped: &(dyn Fn(&RecordBatch) -> Result<RecordBatch> + Sync),
    held: &mut Held,
) -> Result<RecordBatch> {
    let mut shared: HashMap<FileId, RoaringBitmap> = HashMap::new();
    for part in other.manifest.parts.iter().filter(|part| shares(part)) {
        shared.insert(part.file, other.excluded(part).await?);
    }
    let mut batches = own.hot_rows(false)?;
    held.add(batches.iter().map(held_bytes).sum())?;
    for part in &own.manifest.parts {
        // What comes from caches waits for nothing, and could not be given up.
        tokio::task::yield_now().await;
        let mut skipped = own.excluded(part).await?;
        if let Some(hidden_there) = shared.get(&part.file) {
            let mut shown_there = RoaringBitmap::new();
            shown_there.insert_range(0..part.rows as u32);
            shown_there -= hidden_there;
            skipped |= shown_there;
        }
        if skipped.len() < part.rows {
            let mut rows = own.cold.scan(&own.table, part, own.parts_version, None, &skipped, false).await?;
            while let Some(batch) = rows.try_next().await? {
                held.add(held_bytes(&batch))?;
                batches.push(batch);
            }
        }
    }
    let batches: Vec<RecordBatch> = batches.iter().map(shaped).collect::<Result<_>>()?;
    Ok(concat_batches(&shape.physical_schema(), &batches)?)
}

/// Beside its values, a row stands in the index by key.
const ROW_BYTES: usize = 64;

fn held_bytes(batch: &RecordBatch) -> usize {
    rows::bytes(batch, 0, batch.num_rows()) + ROW_BYTES * batch.num_rows()
}

/// Brings rows of `from` into the shape of `to`.
fn converted(
    batch: &RecordBatch,
    from: &Table,
    to: &Table,
    matches: &[Option<&Column>],
    convert: Convert<'_>,
) -> Result<RecordBatch> {
    let batch = conform(batch, from)?;
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (column, source) in to.columns.iter().zip(matches) {
        let Some(old) = source else { continue };
        let values = columns_of(&batch, &[old.id])?.remove(0);
        columns.push(match old.id == column.id && old.ty == column.ty {
            true => values,
            false => convert(old, column, &values)?,
        });
        fields.push(Field::new(column.id.physical_name(), column.ty.arrow(), true));
    }
    if let Some(ids) = batch.column_by_name("_row_id") {
        fields.push(Field::new("_row_id", ids.data_type().clone(), false));
        columns.push(ids.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    conform(&RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?, to)
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
    if base_index.len() < base.num_rows() {
        return Err(Error::invalid(format!(
            "Keys of '{}' that were different then are the same in the key's present type; they cannot be compared row by row.",
            table.name
        ))
        .with_hint("Compare up to the commit before the type was changed, and from that one on: SHOW COMMITS FOR TABLE."));
    }
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

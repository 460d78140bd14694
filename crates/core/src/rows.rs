//! Rows as Arrow batches: bringing old rows into the shape of a table's present definition.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array, new_null_array,
};
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::ids::ColumnId;
use crate::schema::{Column, Initial, Table, Type};

/// Returns `batch` in `table.physical_schema()`, keeping a `_version` column at its end: columns that the rows lack
/// get their `initial` value or NULL, columns that the table no longer has are left out.
pub fn conform(batch: &RecordBatch, table: &Table) -> Result<RecordBatch> {
    let schema = table.physical_schema();
    if batch.schema_ref().fields() == schema.fields() {
        return Ok(batch.clone());
    }
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for column in &table.columns {
        columns.push(match batch.column_by_name(&column.id.physical_name()) {
            Some(values) => values.clone(),
            None => initial_array(column, rows)?,
        });
    }
    if table.has_row_id() {
        let ids = batch.column_by_name("_row_id");
        columns.push(ids.cloned().ok_or_else(|| Error::corrupt("Rows lack their _row_id."))?);
    }
    let batch_with = |schema: SchemaRef, columns| {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options)
    };
    let conformed = batch_with(schema, columns)?;
    match batch.column_by_name("_version") {
        Some(versions) => crate::hot::overlay::with_column(&conformed, ColumnId::VERSION, versions.clone()),
        None => Ok(conformed),
    }
}

/// Returns `rows` times the value that rows from before this column have.
pub fn initial_array(column: &Column, rows: usize) -> Result<ArrayRef> {
    let Some(initial) = &column.initial else {
        return Ok(new_null_array(&column.ty.arrow(), rows));
    };
    let wrong = || Error::corrupt(format!("Column '{}' has an initial value of another type.", column.name));
    fn int<T: TryFrom<i64> + TryFrom<u64>>(initial: &Initial) -> Option<T> {
        match initial {
            Initial::Int(value) => T::try_from(*value).ok(),
            Initial::UInt(value) => T::try_from(*value).ok(),
            _ => None,
        }
    }
    macro_rules! ints {
        ($array:ty) => {
            Arc::new(<$array>::from_value(int(initial).ok_or_else(wrong)?, rows)) as ArrayRef
        };
    }
    Ok(match (column.ty, initial) {
        (Type::Bool, Initial::Bool(value)) => Arc::new(BooleanArray::from(vec![*value; rows])),
        (Type::Int8, _) => ints!(Int8Array),
        (Type::Int16, _) => ints!(Int16Array),
        (Type::Int32, _) => ints!(Int32Array),
        (Type::Int64, _) => ints!(Int64Array),
        (Type::UInt8, _) => ints!(UInt8Array),
        (Type::UInt16, _) => ints!(UInt16Array),
        (Type::UInt32, _) => ints!(UInt32Array),
        (Type::UInt64, _) => ints!(UInt64Array),
        (Type::Date, _) => ints!(Date32Array),
        (Type::Duration, _) => ints!(DurationMicrosecondArray),
        (Type::DateTime, _) => ints!(TimestampMicrosecondArray),
        (Type::Float32, Initial::Float(value)) => Arc::new(Float32Array::from_value(*value as f32, rows)),
        (Type::Float64, Initial::Float(value)) => Arc::new(Float64Array::from_value(*value, rows)),
        (Type::Decimal(precision, scale), Initial::Decimal(text)) => {
            let value: i128 = text.parse().map_err(|_| wrong())?;
            Arc::new(Decimal128Array::from_value(value, rows).with_precision_and_scale(precision, scale)?)
        }
        (Type::Text, Initial::Text(value)) => Arc::new(StringArray::from(vec![value.as_str(); rows])),
        (Type::Bytes, Initial::Bytes(value)) => Arc::new(BinaryArray::from(vec![value.as_slice(); rows])),
        _ => return Err(wrong()),
    })
}

/// Returns the columns with these ids.
pub fn columns_of(batch: &RecordBatch, ids: &[ColumnId]) -> Result<Vec<ArrayRef>> {
    ids.iter()
        .map(|id| {
            let name = id.physical_name();
            let column = batch.column_by_name(&name).cloned();
            column.ok_or_else(|| Error::internal(format!("Rows lack the column {name}.")))
        })
        .collect()
}

/// Returns the keys of whole rows, in `table.key_schema()`.
pub fn key_batch(batch: &RecordBatch, table: &Table) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(table.key_schema(), columns_of(batch, &table.key_columns())?)?)
}

/// Returns the values of one row as MySQL's duplicate-entry message shows them: joined by `-`.
pub fn entry_text(columns: &[ArrayRef], row: usize) -> String {
    let options = arrow::util::display::FormatOptions::default();
    let values: Vec<String> = columns
        .iter()
        .map(|column| {
            if column.is_null(row) {
                return "NULL".to_owned();
            }
            match arrow::util::display::ArrayFormatter::try_new(column.as_ref(), &options) {
                Ok(formatter) => formatter.value(row).to_string().replace('T', " "),
                Err(_) => "?".to_owned(),
            }
        })
        .collect();
    values.join("-")
}

//! Rows as Arrow batches: bringing old rows into the shape of a table's present definition.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray, new_null_array,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Field, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

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
            None => fill(column, rows)?,
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
        Some(versions) => with_column(&conformed, ColumnId::VERSION, versions.clone()),
        None => Ok(conformed),
    }
}

/// Returns the values of a column for rows that were written before it existed: its initial value, or NULL.
pub fn fill(column: &Column, rows: usize) -> Result<ArrayRef> {
    let Some(initial) = &column.initial else {
        if !column.nullable {
            return Err(Error::internal(format!(
                "BUG: the column '{}' is NOT NULL and has no value for older rows.",
                column.name
            )));
        }
        return Ok(new_null_array(&column.ty.arrow(), rows));
    };
    constant(column.ty, initial, rows).ok_or_else(|| {
        Error::corrupt(format!("The value of older rows in the column '{}' is not of its type.", column.name))
    })
}

fn constant(ty: Type, initial: &Initial, rows: usize) -> Option<ArrayRef> {
    fn of<T: ArrowPrimitiveType>(value: impl TryInto<T::Native>, ty: Type, rows: usize) -> Option<ArrayRef> {
        let array = PrimitiveArray::<T>::from_value(value.try_into().ok()?, rows);
        Some(Arc::new(array.with_data_type(ty.arrow())))
    }
    match (ty, initial) {
        (Type::Bool, Initial::Bool(value)) => Some(Arc::new(BooleanArray::from(vec![*value; rows]))),
        (Type::Int8, Initial::Int(value)) => of::<Int8Type>(*value, ty, rows),
        (Type::Int16, Initial::Int(value)) => of::<Int16Type>(*value, ty, rows),
        (Type::Int32, Initial::Int(value)) => of::<Int32Type>(*value, ty, rows),
        (Type::Int64, Initial::Int(value)) => of::<Int64Type>(*value, ty, rows),
        (Type::UInt8, Initial::UInt(value)) => of::<UInt8Type>(*value, ty, rows),
        (Type::UInt16, Initial::UInt(value)) => of::<UInt16Type>(*value, ty, rows),
        (Type::UInt32, Initial::UInt(value)) => of::<UInt32Type>(*value, ty, rows),
        (Type::UInt64, Initial::UInt(value)) => of::<UInt64Type>(*value, ty, rows),
        (Type::Float32, Initial::Float(value)) => of::<Float32Type>(*value as f32, ty, rows),
        (Type::Float64, Initial::Float(value)) => of::<Float64Type>(*value, ty, rows),
        (Type::Decimal(..), Initial::Decimal(value)) => of::<Decimal128Type>(value.parse::<i128>().ok()?, ty, rows),
        (Type::Date, Initial::Int(value)) => of::<Date32Type>(*value, ty, rows),
        (Type::Duration, Initial::Int(value)) => of::<DurationMicrosecondType>(*value, ty, rows),
        (Type::DateTime, Initial::Int(value)) => of::<TimestampMicrosecondType>(*value, ty, rows),
        (Type::Text, Initial::Text(value)) => {
            Some(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, rows))))
        }
        (Type::Bytes, Initial::Bytes(value)) => {
            Some(Arc::new(BinaryArray::from_iter_values(std::iter::repeat_n(value, rows))))
        }
        _ => None,
    }
}

/// Returns the bytes of some rows' values, from `at`.
pub fn bytes(batch: &RecordBatch, at: usize, rows: usize) -> usize {
    batch.columns().iter().map(|column| column_bytes(column, at, rows)).sum()
}

/// Returns the bytes of some rows' values in a column.
pub fn column_bytes(column: &ArrayRef, at: usize, rows: usize) -> usize {
    let between = |offsets: &[i32]| (offsets[at + rows] - offsets[at]) as usize;
    match column.data_type() {
        DataType::Utf8 => between(column.as_string::<i32>().value_offsets()),
        DataType::Binary => between(column.as_binary::<i32>().value_offsets()),
        ty => ty.primitive_width().unwrap_or(1) * rows,
    }
}

/// Returns the batch with one more column at its end.
pub(crate) fn with_column(batch: &RecordBatch, id: ColumnId, column: ArrayRef) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(id.physical_name(), column.data_type().clone(), false)));
    let mut columns = batch.columns().to_vec();
    columns.push(column);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::every_type;

    #[test]
    fn every_type_has_an_initial_value() {
        for ty in every_type() {
            let initial = match ty {
                Type::Bool => Initial::Bool(true),
                Type::Int8 | Type::Int16 | Type::Int32 | Type::Int64 => Initial::Int(-5),
                Type::Date | Type::Duration | Type::DateTime => Initial::Int(5),
                Type::UInt8 | Type::UInt16 | Type::UInt32 | Type::UInt64 => Initial::UInt(5),
                Type::Float32 | Type::Float64 => Initial::Float(0.5),
                Type::Decimal(..) => Initial::Decimal("-12345".into()),
                Type::Text => Initial::Text("x".into()),
                Type::Bytes => Initial::Bytes(vec![0, 255]),
            };
            let array = constant(ty, &initial, 3).unwrap();
            assert_eq!((array.len(), array.data_type(), array.null_count()), (3, &ty.arrow(), 0));
        }
        assert!(constant(Type::Int8, &Initial::Int(300), 1).is_none());
        assert!(constant(Type::Text, &Initial::Int(3), 1).is_none());
    }
}

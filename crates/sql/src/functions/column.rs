//! Arrays seen as columns of `Val`, and built from them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::{DataFusionError, Result, exec_err};

use super::value::{Decimal, Val};
use crate::types::{declared_fsp, is_json};

/// An array with its type looked up once, read row by row.
pub struct Column<'a> {
    data: Data<'a>,
    nulls: Option<&'a arrow::buffer::NullBuffer>,
    /// One value stands for every row.
    constant: bool,
    json: bool,
    fsp: u8,
}

enum Data<'a> {
    Null,
    Bool(&'a BooleanArray),
    I8(&'a Int8Array),
    I16(&'a Int16Array),
    I32(&'a Int32Array),
    I64(&'a Int64Array),
    U8(&'a UInt8Array),
    U16(&'a UInt16Array),
    U32(&'a UInt32Array),
    U64(&'a UInt64Array),
    F32(&'a Float32Array),
    F64(&'a Float64Array),
    Dec(&'a Decimal128Array, u8),
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    Date(&'a Date32Array),
    Micros(&'a TimestampMicrosecondArray),
    Nanos(&'a TimestampNanosecondArray),
    Duration(&'a DurationMicrosecondArray),
}

impl<'a> Column<'a> {
    /// Looks at an array whose field tells JSON from text and the fraction of times.
    pub fn new(array: &'a dyn Array, field: &Field, constant: bool) -> Result<Column<'a>> {
        let data = match array.data_type() {
            DataType::Null => Data::Null,
            DataType::Boolean => Data::Bool(array.as_boolean()),
            DataType::Int8 => Data::I8(array.as_primitive()),
            DataType::Int16 => Data::I16(array.as_primitive()),
            DataType::Int32 => Data::I32(array.as_primitive()),
            DataType::Int64 => Data::I64(array.as_primitive()),
            DataType::UInt8 => Data::U8(array.as_primitive()),
            DataType::UInt16 => Data::U16(array.as_primitive()),
            DataType::UInt32 => Data::U32(array.as_primitive()),
            DataType::UInt64 => Data::U64(array.as_primitive()),
            DataType::Float32 => Data::F32(array.as_primitive()),
            DataType::Float64 => Data::F64(array.as_primitive()),
            DataType::Decimal128(_, scale) if *scale >= 0 => Data::Dec(array.as_primitive(), *scale as u8),
            DataType::Utf8 => Data::Utf8(array.as_string()),
            DataType::LargeUtf8 => Data::LargeUtf8(array.as_string()),
            DataType::Utf8View => Data::Utf8View(array.as_string_view()),
            DataType::Binary => Data::Binary(array.as_binary()),
            DataType::LargeBinary => Data::LargeBinary(array.as_binary()),
            DataType::BinaryView => Data::BinaryView(array.as_binary_view()),
            DataType::Date32 => Data::Date(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Data::Micros(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Data::Nanos(array.as_primitive()),
            DataType::Duration(TimeUnit::Microsecond) => Data::Duration(array.as_primitive()),
            other => return exec_err!("values of type {other} have no meaning in MySQL"),
        };
        Ok(Column { data, nulls: array.nulls(), constant, json: is_json(field), fsp: declared_fsp(field).unwrap_or(0) })
    }

    pub fn get(&self, row: usize) -> Val<'a> {
        let row = if self.constant { 0 } else { row };
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return Val::Null;
        }
        match &self.data {
            Data::Null => Val::Null,
            Data::Bool(array) => Val::Bool(array.value(row)),
            Data::I8(array) => Val::Int(i64::from(array.value(row))),
            Data::I16(array) => Val::Int(i64::from(array.value(row))),
            Data::I32(array) => Val::Int(i64::from(array.value(row))),
            Data::I64(array) => Val::Int(array.value(row)),
            Data::U8(array) => Val::UInt(u64::from(array.value(row))),
            Data::U16(array) => Val::UInt(u64::from(array.value(row))),
            Data::U32(array) => Val::UInt(u64::from(array.value(row))),
            Data::U64(array) => Val::UInt(array.value(row)),
            // Through text: 0.1 as FLOAT is 0.1, not the double nearest to its bits. Comparisons stay native.
            Data::F32(array) => Val::Float(f64::from(array.value(row))),
            Data::F64(array) => Val::Float(array.value(row)),
            Data::Dec(array, scale) => Val::Dec(Decimal { units: array.value(row), scale: *scale }),
            Data::Utf8(array) => self.string(array.value(row)),
            Data::LargeUtf8(array) => self.string(array.value(row)),
            Data::Utf8View(array) => self.string(array.value(row)),
            Data::Binary(array) => Val::Bytes(Cow::Borrowed(array.value(row))),
            Data::LargeBinary(array) => Val::Bytes(Cow::Borrowed(array.value(row))),
            Data::BinaryView(array) => Val::Bytes(Cow::Borrowed(array.value(row))),
            Data::Date(array) => Val::Date(array.value(row)),
            Data::Micros(array) => self.datetime(array.value(row)),
            Data::Nanos(array) => self.datetime(array.value(row).div_euclid(1000)),
            Data::Duration(array) => {
                let micros = array.value(row);
                Val::Time(micros, self.shown(micros))
            }
        }
    }

    fn string(&self, text: &'a str) -> Val<'a> {
        if self.json { Val::Json(Cow::Borrowed(text)) } else { Val::Text(Cow::Borrowed(text)) }
    }

    fn datetime(&self, micros: i64) -> Val<'a> {
        Val::DateTime(micros, self.shown(micros))
    }

    /// A fraction that nothing declared is shown where there is one (aggregates lose the declaration).
    fn shown(&self, micros: i64) -> u8 {
        if self.fsp == 0 && micros % 1_000_000 != 0 { 6 } else { self.fsp }
    }
}

/// Builds an array of `ty` from values, converting as MySQL's functions do. A value that `ty` cannot hold is an error.
pub fn build<'a>(ty: &DataType, rows: usize, values: impl Iterator<Item = Result<Val<'a>>>) -> Result<ArrayRef> {
    let too_big = |what: &str, value: &Val<'_>| -> DataFusionError {
        let text = value.to_text().unwrap_or_default().into_owned();
        DataFusionError::External(Box::new(super::value::out_of_range(what, &text)))
    };
    Ok(match ty {
        DataType::Null => {
            for value in values {
                value?;
            }
            Arc::new(NullArray::new(rows))
        }
        DataType::Boolean => {
            let mut builder = BooleanBuilder::with_capacity(rows);
            for value in values {
                builder.append_option(value?.truth());
            }
            Arc::new(builder.finish())
        }
        DataType::Int64 => {
            let mut builder = Int64Builder::with_capacity(rows);
            for value in values {
                match value? {
                    Val::Null => builder.append_null(),
                    Val::Int(v) => builder.append_value(v),
                    other => {
                        builder.append_value(i64::try_from(other.to_i128()).map_err(|_| too_big("BIGINT", &other))?)
                    }
                }
            }
            Arc::new(builder.finish())
        }
        DataType::UInt64 => {
            let mut builder = UInt64Builder::with_capacity(rows);
            for value in values {
                match value? {
                    Val::Null => builder.append_null(),
                    Val::UInt(v) => builder.append_value(v),
                    other => builder
                        .append_value(u64::try_from(other.to_i128()).map_err(|_| too_big("BIGINT UNSIGNED", &other))?),
                }
            }
            Arc::new(builder.finish())
        }
        DataType::Float64 => {
            let mut builder = Float64Builder::with_capacity(rows);
            for value in values {
                let value = value?;
                builder.append_option((!value.is_null()).then(|| value.to_f64()));
            }
            Arc::new(builder.finish())
        }
        DataType::Decimal128(precision, scale) => {
            let mut builder = Decimal128Builder::with_capacity(rows).with_precision_and_scale(*precision, *scale)?;
            for value in values {
                let value = value?;
                if value.is_null() {
                    builder.append_null();
                    continue;
                }
                let units = value.to_decimal().and_then(|decimal| decimal.rescale(*scale as u8));
                builder.append_value(units.ok_or_else(|| too_big("DECIMAL", &value))?.units);
            }
            Arc::new(builder.finish())
        }
        DataType::Utf8 => {
            let mut builder = StringBuilder::with_capacity(rows, rows * 8);
            for value in values {
                let value = value?;
                builder.append_option(value.to_text());
            }
            Arc::new(builder.finish())
        }
        DataType::Binary => {
            let mut builder = BinaryBuilder::with_capacity(rows, rows * 8);
            for value in values {
                let value = value?;
                builder.append_option((!value.is_null()).then(|| value.to_bytes()));
            }
            Arc::new(builder.finish())
        }
        DataType::Date32 => {
            let mut builder = Date32Builder::with_capacity(rows);
            for value in values {
                builder.append_option(value?.to_date(0).map(|days| days as i32));
            }
            Arc::new(builder.finish())
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let mut builder = TimestampMicrosecondBuilder::with_capacity(rows);
            for value in values {
                builder.append_option(value?.to_datetime(0).map(|(micros, _)| micros));
            }
            Arc::new(builder.finish())
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            let mut builder = DurationMicrosecondBuilder::with_capacity(rows);
            for value in values {
                builder.append_option(value?.to_time().map(|(micros, _)| micros));
            }
            Arc::new(builder.finish())
        }
        other => return exec_err!("no function answers values of type {other}"),
    })
}

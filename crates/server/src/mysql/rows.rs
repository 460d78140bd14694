//! Rows straight from Arrow arrays, in the text form of COM_QUERY and the binary form of COM_STMT_EXECUTE.
//!
//! Each column is looked at once per batch; a cell costs a match and its own bytes.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Decimal256Array,
    FixedSizeBinaryArray, LargeBinaryArray, LargeStringArray, PrimitiveArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::*;
use arrow::error::ArrowError;
use strandline_sql::api::{ColumnKind, ColumnMeta};
use strandline_sql::error::{Error, Result};

use super::bytes::put_lenenc_bytes;
use super::format::{
    Civil, Span, push_date, push_datetime, push_decimal, push_double, push_float, push_scaled, push_time,
};

/// Writes the rows of one result.
pub struct RowWriter {
    columns: Vec<Column>,
    binary: bool,
}

struct Column {
    kind: ColumnKind,
    decimals: u8,
    /// The bytes of a BIT value.
    bit_bytes: usize,
    name: String,
}

/// A batch of rows, ready to be written.
pub struct Batch {
    arrays: Vec<ArrayRef>,
    pub rows: usize,
}

impl RowWriter {
    pub fn new(columns: &[ColumnMeta], binary: bool) -> RowWriter {
        let columns = columns.iter().map(|column| Column {
            kind: column.kind,
            decimals: column.decimals,
            bit_bytes: (column.length as usize).div_ceil(8).clamp(1, 8),
            name: column.name.clone(),
        });
        RowWriter { columns: columns.collect(), binary }
    }

    /// Brings a batch into the few types that cells are written from. Error 1105 if it does not fit the columns.
    pub fn batch(&self, batch: &RecordBatch) -> Result<Batch> {
        if batch.num_columns() != self.columns.len() {
            let message = format!("A batch has {} columns instead of {}.", batch.num_columns(), self.columns.len());
            return Err(Error::internal(message));
        }
        let arrays = self.columns.iter().zip(batch.columns()).map(|(column, array)| {
            let array =
                canonical(array).map_err(|error| Error::internal(format!("Column '{}': {error}.", column.name)))?;
            match fits(column.kind, array.data_type()) {
                true => Ok(array),
                false => Err(Error::internal(format!(
                    "Column '{}' is declared as {:?} and came as {}.",
                    column.name,
                    column.kind,
                    array.data_type()
                ))),
            }
        });
        Ok(Batch { arrays: arrays.collect::<Result<_>>()?, rows: batch.num_rows() })
    }

    /// Returns the columns of a batch for `put`.
    pub fn cells<'a>(&self, batch: &'a Batch) -> Vec<Cells<'a>> {
        batch.arrays.iter().map(|array| Cells { nulls: array.nulls(), values: Values::of(array) }).collect()
    }

    /// Writes one row.
    pub fn put(&self, cells: &[Cells<'_>], row: usize, out: &mut Vec<u8>) {
        if !self.binary {
            for (column, cells) in self.columns.iter().zip(cells) {
                match cells.is_null(row) {
                    true => out.push(0xFB),
                    false => cells.values.put_text(column, row, out),
                }
            }
            return;
        }
        out.push(0x00);
        let bitmap = out.len();
        out.resize(bitmap + (cells.len() + 9) / 8, 0);
        for (at, (column, cells)) in self.columns.iter().zip(cells).enumerate() {
            match cells.is_null(row) {
                // The first two bits are reserved.
                true => out[bitmap + (at + 2) / 8] |= 1 << ((at + 2) % 8),
                false => cells.values.put_binary(column, row, out),
            }
        }
    }
}

/// One column of a batch.
pub struct Cells<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

impl Cells<'_> {
    fn is_null(&self, row: usize) -> bool {
        match (&self.values, self.nulls) {
            (Values::Null, _) => true,
            (_, Some(nulls)) => nulls.is_null(row),
            (_, None) => false,
        }
    }
}

enum Values<'a> {
    Null,
    Bool(&'a BooleanArray),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Decimal(&'a [i128], i8),
    BigDecimal(&'a Decimal256Array, i8),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Bytes(&'a BinaryArray),
    LargeBytes(&'a LargeBinaryArray),
    BytesView(&'a BinaryViewArray),
    FixedBytes(&'a FixedSizeBinaryArray),
    Date(&'a [i32]),
    Time(&'a [i64]),
    DateTime(&'a [i64]),
}

impl<'a> Values<'a> {
    fn of(array: &'a ArrayRef) -> Values<'a> {
        match array.data_type() {
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Int8 => Values::I8(slice::<Int8Type>(array)),
            DataType::Int16 => Values::I16(slice::<Int16Type>(array)),
            DataType::Int32 => Values::I32(slice::<Int32Type>(array)),
            DataType::Int64 => Values::I64(slice::<Int64Type>(array)),
            DataType::UInt8 => Values::U8(slice::<UInt8Type>(array)),
            DataType::UInt16 => Values::U16(slice::<UInt16Type>(array)),
            DataType::UInt32 => Values::U32(slice::<UInt32Type>(array)),
            DataType::UInt64 => Values::U64(slice::<UInt64Type>(array)),
            DataType::Float32 => Values::F32(slice::<Float32Type>(array)),
            DataType::Float64 => Values::F64(slice::<Float64Type>(array)),
            DataType::Decimal128(_, scale) => Values::Decimal(slice::<Decimal128Type>(array), *scale),
            DataType::Decimal256(_, scale) => Values::BigDecimal(array.as_primitive(), *scale),
            DataType::Utf8 => Values::Text(array.as_string()),
            DataType::LargeUtf8 => Values::LargeText(array.as_string()),
            DataType::Utf8View => Values::TextView(array.as_string_view()),
            DataType::Binary => Values::Bytes(array.as_binary()),
            DataType::LargeBinary => Values::LargeBytes(array.as_binary()),
            DataType::BinaryView => Values::BytesView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Values::FixedBytes(array.as_fixed_size_binary()),
            DataType::Date32 => Values::Date(slice::<Date32Type>(array)),
            DataType::Duration(_) => Values::Time(slice::<DurationMicrosecondType>(array)),
            DataType::Timestamp(_, _) => Values::DateTime(slice::<TimestampMicrosecondType>(array)),
            // `fits` has let nothing else through.
            _ => Values::Null,
        }
    }

    fn put_text(&self, column: &Column, row: usize, out: &mut Vec<u8>) {
        if column.kind == ColumnKind::Bit {
            return self.put_bits(column, row, out);
        }
        match self {
            Values::Null => out.push(0xFB),
            Values::Bool(values) => out.extend_from_slice(&[1, b'0' + u8::from(values.value(row))]),
            Values::U16(values) if column.kind == ColumnKind::Year => put_year(out, i64::from(values[row])),
            Values::I16(values) if column.kind == ColumnKind::Year => put_year(out, i64::from(values[row])),
            Values::I8(values) => put_number(out, values[row]),
            Values::I16(values) => put_number(out, values[row]),
            Values::I32(values) => put_number(out, values[row]),
            Values::I64(values) => put_number(out, values[row]),
            Values::U8(values) => put_number(out, values[row]),
            Values::U16(values) => put_number(out, values[row]),
            Values::U32(values) => put_number(out, values[row]),
            Values::U64(values) => put_number(out, values[row]),
            Values::F32(values) => put_printed(out, |out| push_float(out, values[row], column.decimals)),
            Values::F64(values) => put_printed(out, |out| push_double(out, values[row], column.decimals)),
            Values::Decimal(values, scale) => put_printed(out, |out| push_decimal(out, values[row], *scale)),
            Values::BigDecimal(values, scale) => put_printed(out, |out| {
                let text = values.value(row).to_string();
                let digits = text.strip_prefix('-').unwrap_or(&text);
                out.extend_from_slice(&text.as_bytes()[..text.len() - digits.len()]);
                push_scaled(out, digits.as_bytes(), *scale);
            }),
            Values::Text(values) => put_lenenc_bytes(out, values.value(row).as_bytes()),
            Values::LargeText(values) => put_lenenc_bytes(out, values.value(row).as_bytes()),
            Values::TextView(values) => put_lenenc_bytes(out, values.value(row).as_bytes()),
            Values::Bytes(values) => put_lenenc_bytes(out, values.value(row)),
            Values::LargeBytes(values) => put_lenenc_bytes(out, values.value(row)),
            Values::BytesView(values) => put_lenenc_bytes(out, values.value(row)),
            Values::FixedBytes(values) => put_lenenc_bytes(out, values.value(row)),
            Values::Date(values) => put_printed(out, |out| push_date(out, values[row])),
            Values::Time(values) => put_printed(out, |out| push_time(out, values[row], column.decimals)),
            Values::DateTime(values) => put_printed(out, |out| push_datetime(out, values[row], column.decimals)),
        }
    }

    fn put_binary(&self, column: &Column, row: usize, out: &mut Vec<u8>) {
        match column.kind {
            ColumnKind::Tiny => out.push(self.integer(row) as u8),
            ColumnKind::Short | ColumnKind::Year => out.extend_from_slice(&(self.integer(row) as u16).to_le_bytes()),
            ColumnKind::Int24 | ColumnKind::Long => out.extend_from_slice(&(self.integer(row) as u32).to_le_bytes()),
            ColumnKind::LongLong => out.extend_from_slice(&self.integer(row).to_le_bytes()),
            ColumnKind::Float => out.extend_from_slice(&(self.float(row) as f32).to_le_bytes()),
            ColumnKind::Double => out.extend_from_slice(&self.float(row).to_le_bytes()),
            ColumnKind::Date | ColumnKind::DateTime | ColumnKind::Timestamp => self.put_binary_datetime(row, out),
            ColumnKind::Time => self.put_binary_time(row, out),
            // All others travel as in text.
            _ => self.put_text(column, row, out),
        }
    }

    /// Returns an integer in two's complement.
    fn integer(&self, row: usize) -> u64 {
        match self {
            Values::Bool(values) => u64::from(values.value(row)),
            Values::I8(values) => values[row] as u64,
            Values::I16(values) => values[row] as u64,
            Values::I32(values) => values[row] as u64,
            Values::I64(values) => values[row] as u64,
            Values::U8(values) => u64::from(values[row]),
            Values::U16(values) => u64::from(values[row]),
            Values::U32(values) => u64::from(values[row]),
            Values::U64(values) => values[row],
            _ => 0,
        }
    }

    fn float(&self, row: usize) -> f64 {
        match self {
            Values::F32(values) => f64::from(values[row]),
            Values::F64(values) => values[row],
            _ => 0.0,
        }
    }

    fn put_binary_datetime(&self, row: usize, out: &mut Vec<u8>) {
        let civil = match self {
            Values::Date(values) => Civil::from_days(i64::from(values[row])),
            Values::DateTime(values) => Civil::from_micros(values[row]),
            _ => return out.push(0),
        };
        let has_clock = civil.hour != 0 || civil.minute != 0 || civil.second != 0;
        let length = match (civil.micros, has_clock) {
            (0, false) => 4,
            (0, true) => 7,
            _ => 11,
        };
        out.push(length);
        out.extend_from_slice(&(civil.year.clamp(0, 9999) as u16).to_le_bytes());
        out.extend_from_slice(&[civil.month, civil.day]);
        if length > 4 {
            out.extend_from_slice(&[civil.hour, civil.minute, civil.second]);
        }
        if length > 7 {
            out.extend_from_slice(&civil.micros.to_le_bytes());
        }
    }

    fn put_binary_time(&self, row: usize, out: &mut Vec<u8>) {
        let Values::Time(values) = self else { return out.push(0) };
        let span = Span::from_micros(values[row]);
        let length = match (values[row], span.micros) {
            (0, _) => return out.push(0),
            (_, 0) => 8,
            _ => 12,
        };
        out.extend_from_slice(&[length, u8::from(span.negative)]);
        out.extend_from_slice(&((span.hours / 24) as u32).to_le_bytes());
        out.extend_from_slice(&[(span.hours % 24) as u8, span.minutes, span.seconds]);
        if length == 12 {
            out.extend_from_slice(&span.micros.to_le_bytes());
        }
    }

    fn put_bits(&self, column: &Column, row: usize, out: &mut Vec<u8>) {
        let bytes = self.integer(row).to_be_bytes();
        put_lenenc_bytes(out, &bytes[8 - column.bit_bytes..]);
    }
}

fn slice<T: ArrowPrimitiveType>(array: &ArrayRef) -> &[T::Native] {
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.values()
}

fn put_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number);
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn put_year(out: &mut Vec<u8>, year: i64) {
    put_lenenc_bytes(out, format!("{year:04}").as_bytes());
}

/// Puts the length before what `print` appends.
fn put_printed(out: &mut Vec<u8>, print: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(0);
    print(out);
    let length = out.len() - start - 1;
    if length <= 0xFA {
        out[start] = length as u8;
    } else {
        let text = out.split_off(start + 1);
        out.truncate(start);
        put_lenenc_bytes(out, &text);
    }
}

/// Returns the array in one of the types that `Values` has, converted where it comes in another.
fn canonical(array: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    let wanted = match array.data_type() {
        DataType::Dictionary(_, values) => {
            let values = cast(array, values)?;
            return canonical(&values);
        }
        DataType::RunEndEncoded(_, values) => {
            let values = cast(array, values.data_type())?;
            return canonical(&values);
        }
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Date64 => DataType::Date32,
        DataType::Duration(unit) if *unit != TimeUnit::Microsecond => DataType::Duration(TimeUnit::Microsecond),
        DataType::Timestamp(unit, _) if *unit != TimeUnit::Microsecond => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        _ => return Ok(Arc::clone(array)),
    };
    cast(array, &wanted)
}

/// Tells whether values of an Arrow type can be sent as this kind. Anything can be sent as text.
fn fits(kind: ColumnKind, data_type: &DataType) -> bool {
    use ColumnKind::*;
    let known = matches!(
        data_type,
        DataType::Boolean
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(_, _)
            | DataType::Decimal256(_, _)
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Date32
            | DataType::Duration(TimeUnit::Microsecond)
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    ) || data_type.is_integer();
    match (kind, data_type) {
        (_, DataType::Null) => true,
        (Tiny | Short | Int24 | Long | LongLong | Bit, other) => other.is_integer() || *other == DataType::Boolean,
        (Year, other) => matches!(other, DataType::Int16 | DataType::UInt16),
        (Float | Double, other) => matches!(other, DataType::Float32 | DataType::Float64),
        (NewDecimal, other) => matches!(other, DataType::Decimal128(_, _) | DataType::Decimal256(_, _)),
        (Date, other) => *other == DataType::Date32,
        (Time, other) => matches!(other, DataType::Duration(_)),
        (DateTime | Timestamp, other) => matches!(other, DataType::Timestamp(_, _)),
        (Null, _) => false,
        (VarString | String | Text | VarBinary | Blob | Json | Enum | Set, _) => known,
    }
}

//! The rows that one commit put and deleted in one table, and their encoding in the log.
//!
//! A delta names rows by key, never by position, so it can be laid over any manifest. An update is a delete of the
//! key and a put of the new row: so a put never hides anything by itself, and a key that stands only among the puts
//! is new.
//!
//! ```text
//! format u8 = 1 | next_row_id u64 | next_auto u64 | puts | deletes              (little endian)
//! section: columns u32 | (column id u32, type u8, precision u8, scale i8) each | rows u64
//!          | message length u32 | Arrow IPC message | body length u32 | Arrow IPC record batch body
//! ```
//! A section describes its columns itself: a delta can be read after the table's definition has moved on.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::ipc::{MetadataVersion, reader, root_as_message};
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::ids::ColumnId;
use crate::schema::Type;

/// What one commit did to the rows of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// Whole rows, in the physical schema of the table as it was.
    pub puts: RecordBatch,
    /// Keys of the rows that were deleted or replaced.
    pub deletes: RecordBatch,
    /// The next free `_row_id` after the commit, at least; 0 says nothing.
    pub next_row_id: u64,
    /// The next AUTO_INCREMENT value after the commit, at least; 0 says nothing.
    pub next_auto: u64,
}

const FORMAT: u8 = 1;

impl Delta {
    /// Returns the bytes that stand in the log.
    pub fn encode(&self) -> Result<Bytes> {
        let mut out = Vec::with_capacity(512 + self.puts.get_array_memory_size());
        out.push(FORMAT);
        out.extend_from_slice(&self.next_row_id.to_le_bytes());
        out.extend_from_slice(&self.next_auto.to_le_bytes());
        encode_section(&mut out, &self.puts)?;
        encode_section(&mut out, &self.deletes)?;
        Ok(out.into())
    }

    /// Reads what `encode` wrote. The caller has verified the bytes by their checksum.
    pub fn decode(bytes: &[u8]) -> Result<Delta> {
        let mut cursor = Cursor(bytes);
        let format = cursor.take(1)?[0];
        if format != FORMAT {
            return Err(Error::corrupt(format!("A delta has format {format}; this build reads {FORMAT}.")));
        }
        let next_row_id = cursor.u64()?;
        let next_auto = cursor.u64()?;
        let puts = decode_section(&mut cursor)?;
        let deletes = decode_section(&mut cursor)?;
        Ok(Delta { puts, deletes, next_row_id, next_auto })
    }
}

fn encode_section(out: &mut Vec<u8>, batch: &RecordBatch) -> Result<()> {
    let schema = batch.schema_ref();
    out.extend_from_slice(&(schema.fields().len() as u32).to_le_bytes());
    for field in schema.fields() {
        let id = column_id(field.name())?;
        let (code, precision, scale) = type_code(field)?;
        out.extend_from_slice(&id.0.to_le_bytes());
        out.extend_from_slice(&[code, precision, scale as u8 | (u8::from(field.is_nullable()) << 7)]);
    }
    out.extend_from_slice(&(batch.num_rows() as u64).to_le_bytes());
    if batch.num_rows() == 0 {
        return Ok(());
    }
    let mut context = IpcWriteContext::default();
    let mut dictionaries = DictionaryTracker::new(false);
    let (_, encoded) =
        IpcDataGenerator::default().encode(batch, &mut dictionaries, &IpcWriteOptions::default(), &mut context)?;
    out.extend_from_slice(&(encoded.ipc_message.len() as u32).to_le_bytes());
    out.extend_from_slice(&encoded.ipc_message);
    let length = u32::try_from(encoded.arrow_data.len())
        .map_err(|_| Error::invalid("One commit wrote more than 4 GiB into one table. Commit in smaller steps."))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&encoded.arrow_data);
    Ok(())
}

fn decode_section(cursor: &mut Cursor<'_>) -> Result<RecordBatch> {
    let columns = cursor.u32()? as usize;
    let mut fields = Vec::with_capacity(columns.min(4096));
    for _ in 0..columns {
        let id = ColumnId(cursor.u32()?);
        let bytes = cursor.take(3)?;
        let ty = type_of(bytes[0], bytes[1], (bytes[2] & 0x7f) as i8)?;
        fields.push(Field::new(id.physical_name(), ty.arrow(), bytes[2] & 0x80 != 0));
    }
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let rows = cursor.u64()?;
    if rows == 0 {
        return Ok(RecordBatch::new_empty(schema));
    }
    let message_length = cursor.u32()? as usize;
    let message = cursor.take(message_length)?;
    let message = root_as_message(message).map_err(|error| Error::corrupt(format!("A delta's header: {error}.")))?;
    let header =
        message.header_as_record_batch().ok_or_else(|| Error::corrupt("A delta's header is no record batch."))?;
    let body_length = cursor.u32()? as usize;
    let body = Buffer::from(cursor.take(body_length)?);
    if columns == 0 {
        let options = RecordBatchOptions::new().with_row_count(Some(rows as usize));
        return Ok(RecordBatch::try_new_with_options(schema, Vec::new(), &options)?);
    }
    // The library panics over some headers that do not fit their buffers.
    let read = AssertUnwindSafe(|| {
        reader::read_record_batch(&body, header, schema, &HashMap::new(), None, &MetadataVersion::V5)
    });
    let batch = catch_unwind(read).map_err(|_| Error::corrupt("A delta's header does not fit its rows."))??;
    if batch.num_rows() as u64 != rows {
        return Err(Error::corrupt("A delta does not have the rows that it speaks of."));
    }
    Ok(batch)
}

/// Returns the column that a physical name stands for.
pub fn column_id(physical: &str) -> Result<ColumnId> {
    ColumnId::from_physical_name(physical)
        .ok_or_else(|| Error::corrupt(format!("'{physical}' is not a physical column name.")))
}

fn type_code(field: &Field) -> Result<(u8, u8, i8)> {
    use arrow::datatypes::{DataType, TimeUnit};
    Ok(match field.data_type() {
        DataType::Boolean => (0, 0, 0),
        DataType::Int8 => (1, 0, 0),
        DataType::Int16 => (2, 0, 0),
        DataType::Int32 => (3, 0, 0),
        DataType::Int64 => (4, 0, 0),
        DataType::UInt8 => (5, 0, 0),
        DataType::UInt16 => (6, 0, 0),
        DataType::UInt32 => (7, 0, 0),
        DataType::UInt64 => (8, 0, 0),
        DataType::Float32 => (9, 0, 0),
        DataType::Float64 => (10, 0, 0),
        DataType::Decimal128(precision, scale) => (11, *precision, *scale),
        DataType::Utf8 => (12, 0, 0),
        DataType::Binary => (13, 0, 0),
        DataType::Date32 => (14, 0, 0),
        DataType::Duration(TimeUnit::Microsecond) => (15, 0, 0),
        DataType::Timestamp(TimeUnit::Microsecond, None) => (16, 0, 0),
        other => return Err(Error::internal(format!("A delta cannot hold {other}."))),
    })
}

fn type_of(code: u8, precision: u8, scale: i8) -> Result<Type> {
    Ok(match code {
        0 => Type::Bool,
        1 => Type::Int8,
        2 => Type::Int16,
        3 => Type::Int32,
        4 => Type::Int64,
        5 => Type::UInt8,
        6 => Type::UInt16,
        7 => Type::UInt32,
        8 => Type::UInt64,
        9 => Type::Float32,
        10 => Type::Float64,
        11 => Type::Decimal(precision, scale),
        12 => Type::Text,
        13 => Type::Bytes,
        14 => Type::Date,
        15 => Type::Duration,
        16 => Type::DateTime,
        other => return Err(Error::corrupt(format!("A delta names the unknown type {other}."))),
    })
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, tail) =
            self.0.split_at_checked(count).ok_or_else(|| Error::corrupt("A delta ends before its time."))?;
        self.0 = tail;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes were taken")))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Decimal128Array, Int32Array, StringArray, UInt64Array};

    use super::*;

    #[test]
    fn round_trip() {
        let puts = RecordBatch::try_from_iter_with_nullable([
            ("c1", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef, false),
            ("c7", Arc::new(StringArray::from(vec![Some("a"), None])) as ArrayRef, true),
            (
                "c8",
                Arc::new(Decimal128Array::from(vec![5, -5]).with_precision_and_scale(10, 2).unwrap()) as ArrayRef,
                true,
            ),
            ("_row_id", Arc::new(UInt64Array::from(vec![9, 10])) as ArrayRef, false),
        ])
        .unwrap();
        let deletes =
            RecordBatch::try_from_iter([("_row_id", Arc::new(UInt64Array::from(vec![3])) as ArrayRef)]).unwrap();
        let delta = Delta { puts: puts.clone(), deletes, next_row_id: 11, next_auto: 0 };
        assert_eq!(Delta::decode(&delta.encode().unwrap()).unwrap(), delta);
        let empty = Delta { deletes: RecordBatch::new_empty(delta.deletes.schema()), ..delta };
        assert_eq!(Delta::decode(&empty.encode().unwrap()).unwrap(), empty);
    }

    #[test]
    fn truncation_is_an_error() {
        let puts = RecordBatch::try_from_iter([("c1", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)]).unwrap();
        let bytes = Delta { deletes: puts.clone(), puts, next_row_id: 0, next_auto: 0 }.encode().unwrap();
        for length in 0..bytes.len() {
            assert!(Delta::decode(&bytes[..length]).is_err(), "{length}");
        }
    }
}

//! Keys as bytes: an encoding of our own whose byte order is the order of the values.
//!
//! It stands in manifests and in the sparse index of parts, so it never changes:
//!
//! ```text
//! bool               1 byte, 0 or 1
//! int8 … int64       big-endian, sign bit flipped          date: as int32; duration, datetime: as int64
//! uint8 … uint64     big-endian
//! decimal            the unscaled value as int128: 16 bytes, big-endian, sign bit flipped
//! float32, float64   big-endian bits; all flipped if negative, else the sign bit flipped; −0 as +0, every NaN as one, greatest
//! text, bytes        each 00 as 00 FF, ended by 00 01
//! ```
//! Columns follow one another. There is no form for NULL: a key column is never NULL, and a unique index ignores rows
//! with a NULL in it ([`encode_nullable_keys`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, PrimitiveArray, StringBuilder};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};

use crate::error::{Error, Result};
use crate::schema::Type;

/// Encoded keys, one after another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    data: Vec<u8>,
    /// Where each key begins, and at last where the last one ends.
    offsets: Vec<u32>,
}

impl Keys {
    pub fn new() -> Keys {
        Keys { data: Vec::new(), offsets: vec![0] }
    }

    /// Returns the `i`-th key.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn get(&self, i: usize) -> &[u8] {
        &self.data[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn first(&self) -> Option<&[u8]> {
        (!self.is_empty()).then(|| self.get(0))
    }

    pub fn last(&self) -> Option<&[u8]> {
        (!self.is_empty()).then(|| self.get(self.len() - 1))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Adds a key at the end.
    pub fn push(&mut self, key: &[u8]) -> Result<()> {
        self.data.extend_from_slice(key);
        self.offsets.push(offset(self.data.len())?);
        Ok(())
    }

    /// Finds `key` in keys that ascend: its index, or where it would stand.
    pub fn search(&self, key: &[u8]) -> std::result::Result<usize, usize> {
        let at = self.lower_bound(key);
        if at < self.len() && self.get(at) == key { Ok(at) } else { Err(at) }
    }

    /// Returns how many of the keys, which ascend, are less than `key`.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Returns the index of the first key that is not greater than the one before it, if any.
    pub fn first_unsorted(&self) -> Option<usize> {
        (1..self.len()).find(|&i| self.get(i - 1) >= self.get(i))
    }

    /// Returns the bytes that they take in memory.
    pub fn memory_size(&self) -> usize {
        self.data.capacity() + 4 * self.offsets.capacity()
    }
}

impl Default for Keys {
    fn default() -> Keys {
        Keys::new()
    }
}

/// Keys some of which are absent because one of their columns is NULL.
#[derive(Clone, Debug)]
pub struct NullableKeys {
    keys: Keys,
    nulls: Option<NullBuffer>,
}

impl NullableKeys {
    /// Returns the `i`-th key, or `None` if one of its columns is NULL.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        match &self.nulls {
            Some(nulls) if nulls.is_null(i) => None,
            _ => Some(self.keys.get(i)),
        }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        (0..self.len()).map(|i| self.get(i))
    }
}

/// Encodes one key per row. The columns are of the Arrow types that [`Type`] names, equally long; a NULL is an error.
pub fn encode_keys(columns: &[ArrayRef]) -> Result<Keys> {
    if columns.iter().any(|column| column.null_count() > 0) {
        return Err(Error::internal("BUG: a key column is NULL."));
    }
    encode(columns)
}

/// Encodes one key per row; rows in which any column is NULL have none.
pub fn encode_nullable_keys(columns: &[ArrayRef]) -> Result<NullableKeys> {
    let mut nulls = None;
    for column in columns {
        nulls = NullBuffer::union(nulls.as_ref(), column.nulls());
    }
    // What lies under a NULL is encoded too, and never looked at.
    Ok(NullableKeys { keys: encode(columns)?, nulls })
}

/// Decodes keys of these types into one array per column: the inverse of [`encode_keys`].
pub fn decode_keys<'a>(types: &[Type], keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
    let mut pieces: Vec<Vec<&[u8]>> = vec![Vec::new(); types.len()];
    for key in keys {
        for (column, piece) in split_key(types, key)?.into_iter().enumerate() {
            pieces[column].push(piece);
        }
    }
    types.iter().zip(&pieces).map(|(ty, pieces)| decode_column(*ty, pieces)).collect()
}

/// Cuts a key into the encodings of its columns.
pub fn split_key<'a>(types: &[Type], key: &'a [u8]) -> Result<Vec<&'a [u8]>> {
    let mut rest = key;
    let mut pieces = Vec::with_capacity(types.len());
    for ty in types {
        let length = match width(&ty.arrow())? {
            Some(width) => width,
            None => text_length(rest)?,
        };
        let (piece, after) = rest.split_at_checked(length).ok_or_else(malformed)?;
        pieces.push(piece);
        rest = after;
    }
    if rest.is_empty() { Ok(pieces) } else { Err(malformed()) }
}

const ESCAPED_ZERO: u8 = 0xFF;
const END: u8 = 0x01;

fn encode(columns: &[ArrayRef]) -> Result<Keys> {
    let rows = columns.first().map_or(0, |column| column.len());
    if columns.iter().any(|column| column.len() != rows) {
        return Err(Error::internal("BUG: key columns of unequal length."));
    }
    let mut fixed = 0;
    let mut lengths: Option<Vec<usize>> = None;
    for column in columns {
        match width(column.data_type())? {
            Some(width) => fixed += width,
            None => {
                let lengths = lengths.get_or_insert_with(|| vec![0; rows]);
                for (row, length) in lengths.iter_mut().enumerate() {
                    let value = text_value(column, row);
                    *length += value.len() + zeros(value) + 2;
                }
            }
        }
    }
    let mut offsets = Vec::with_capacity(rows + 1);
    let mut total = 0;
    offsets.push(0);
    for row in 0..rows {
        total += fixed + lengths.as_ref().map_or(0, |lengths| lengths[row]);
        offsets.push(offset(total)?);
    }
    let mut data = vec![0; total];
    let mut cursors: Vec<u32> = offsets[..rows].to_vec();
    for column in columns {
        encode_column(column, &mut data, &mut cursors)?;
    }
    Ok(Keys { data, offsets })
}

fn offset(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| Error::unsupported("More than 4 GiB of keys in one batch of rows."))
}

/// Writes each row's value at its cursor, and moves the cursor behind it.
fn encode_column(column: &ArrayRef, data: &mut [u8], cursors: &mut [u32]) -> Result<()> {
    macro_rules! integers {
        ($arrow:ty, $flip:expr) => {
            fixed(column.as_primitive::<$arrow>(), data, cursors, |value| (value ^ $flip).to_be_bytes())
        };
    }
    match column.data_type() {
        DataType::Boolean => {
            let column = column.as_boolean();
            for (row, cursor) in cursors.iter_mut().enumerate() {
                data[*cursor as usize] = u8::from(column.value(row));
                *cursor += 1;
            }
        }
        DataType::Int8 => integers!(Int8Type, i8::MIN),
        DataType::Int16 => integers!(Int16Type, i16::MIN),
        DataType::Int32 => integers!(Int32Type, i32::MIN),
        DataType::Int64 => integers!(Int64Type, i64::MIN),
        DataType::UInt8 => integers!(UInt8Type, 0),
        DataType::UInt16 => integers!(UInt16Type, 0),
        DataType::UInt32 => integers!(UInt32Type, 0),
        DataType::UInt64 => integers!(UInt64Type, 0),
        DataType::Decimal128(..) => integers!(Decimal128Type, i128::MIN),
        DataType::Date32 => integers!(Date32Type, i32::MIN),
        DataType::Duration(TimeUnit::Microsecond) => integers!(DurationMicrosecondType, i64::MIN),
        DataType::Timestamp(TimeUnit::Microsecond, _) => integers!(TimestampMicrosecondType, i64::MIN),
        DataType::Float32 => {
            fixed(column.as_primitive::<Float32Type>(), data, cursors, |value| float32_bits(value).to_be_bytes());
        }
        DataType::Float64 => {
            fixed(column.as_primitive::<Float64Type>(), data, cursors, |value| float64_bits(value).to_be_bytes());
        }
        _ => {
            for (row, cursor) in cursors.iter_mut().enumerate() {
                let value = text_value(column, row);
                let at = *cursor as usize;
                *cursor = escape(value, data, at) as u32;
            }
        }
    }
    Ok(())
}

fn fixed<T: ArrowPrimitiveType, const N: usize>(
    column: &PrimitiveArray<T>,
    data: &mut [u8],
    cursors: &mut [u32],
    bytes: impl Fn(T::Native) -> [u8; N],
) {
    for (value, cursor) in column.values().iter().zip(cursors) {
        let at = *cursor as usize;
        data[at..at + N].copy_from_slice(&bytes(*value));
        *cursor += N as u32;
    }
}

/// Writes an escaped value at `at`; returns where it ends.
fn escape(value: &[u8], data: &mut [u8], mut at: usize) -> usize {
    if value.contains(&0) {
        for byte in value {
            data[at] = *byte;
            at += 1;
            if *byte == 0 {
                data[at] = ESCAPED_ZERO;
                at += 1;
            }
        }
    } else {
        data[at..at + value.len()].copy_from_slice(value);
        at += value.len();
    }
    data[at] = 0;
    data[at + 1] = END;
    at + 2
}

fn zeros(value: &[u8]) -> usize {
    if value.contains(&0) { value.iter().filter(|byte| **byte == 0).count() } else { 0 }
}

fn float32_bits(value: f32) -> u32 {
    let value = if value.is_nan() { f32::NAN.copysign(1.0) } else { value + 0.0 };
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits ^ (1 << 31) }
}

fn float64_bits(value: f64) -> u64 {
    let value = if value.is_nan() { f64::NAN.copysign(1.0) } else { value + 0.0 };
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) }
}

/// Returns the bytes that a value takes, or `None` for text and bytes.
fn width(ty: &DataType) -> Result<Option<usize>> {
    Ok(match ty {
        DataType::Boolean | DataType::Int8 | DataType::UInt8 => Some(1),
        DataType::Int16 | DataType::UInt16 => Some(2),
        DataType::Int32 | DataType::UInt32 | DataType::Float32 | DataType::Date32 => Some(4),
        DataType::Int64
        | DataType::UInt64
        | DataType::Float64
        | DataType::Duration(TimeUnit::Microsecond)
        | DataType::Timestamp(TimeUnit::Microsecond, _) => Some(8),
        DataType::Decimal128(..) => Some(16),
        DataType::Utf8 | DataType::Binary | DataType::Utf8View | DataType::BinaryView => None,
        other => return Err(Error::internal(format!("BUG: {other} in a key."))),
    })
}

/// Returns a value of one of the four types that [`width`] gives no width.
fn text_value(column: &ArrayRef, row: usize) -> &[u8] {
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes(),
        DataType::Binary => column.as_binary::<i32>().value(row),
        DataType::Utf8View => column.as_string_view().value(row).as_bytes(),
        _ => column.as_binary_view().value(row),
    }
}

/// Returns the length of the escaped value that `bytes` begin with, its end included.
fn text_length(bytes: &[u8]) -> Result<usize> {
    let mut at = 0;
    loop {
        let zero = bytes[at..].iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
        match bytes.get(at + zero + 1) {
            Some(&END) => return Ok(at + zero + 2),
            Some(&ESCAPED_ZERO) => at += zero + 2,
            _ => return Err(malformed()),
        }
    }
}

fn unescape(piece: &[u8]) -> Vec<u8> {
    let body = &piece[..piece.len() - 2];
    let mut value = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        value.push(*byte);
        if *byte == 0 {
            bytes.next();
        }
    }
    value
}

fn malformed() -> Error {
    Error::corrupt("A stored key is not of its columns' types.")
}

fn decode_column(ty: Type, pieces: &[&[u8]]) -> Result<ArrayRef> {
    fn array<const N: usize>(piece: &[u8]) -> [u8; N] {
        piece.try_into().expect("split_key cuts to the type's width")
    }
    macro_rules! integers {
        ($arrow:ty, $native:ty, $flip:expr) => {{
            let values = pieces.iter().map(|piece| <$native>::from_be_bytes(array(piece)) ^ $flip);
            PrimitiveArray::<$arrow>::from_iter_values(values).with_data_type(ty.arrow())
        }};
    }
    Ok(match ty {
        Type::Bool => Arc::new(BooleanArray::from_iter(pieces.iter().map(|piece| Some(piece[0] != 0)))),
        Type::Int8 => Arc::new(integers!(Int8Type, i8, i8::MIN)),
        Type::Int16 => Arc::new(integers!(Int16Type, i16, i16::MIN)),
        Type::Int32 => Arc::new(integers!(Int32Type, i32, i32::MIN)),
        Type::Int64 => Arc::new(integers!(Int64Type, i64, i64::MIN)),
        Type::UInt8 => Arc::new(integers!(UInt8Type, u8, 0)),
        Type::UInt16 => Arc::new(integers!(UInt16Type, u16, 0)),
        Type::UInt32 => Arc::new(integers!(UInt32Type, u32, 0)),
        Type::UInt64 => Arc::new(integers!(UInt64Type, u64, 0)),
        Type::Decimal(..) => Arc::new(integers!(Decimal128Type, i128, i128::MIN)),
        Type::Date => Arc::new(integers!(Date32Type, i32, i32::MIN)),
        Type::Duration => Arc::new(integers!(DurationMicrosecondType, i64, i64::MIN)),
        Type::DateTime => Arc::new(integers!(TimestampMicrosecondType, i64, i64::MIN)),
        Type::Float32 => Arc::new(PrimitiveArray::<Float32Type>::from_iter_values(pieces.iter().map(|piece| {
            let bits = u32::from_be_bytes(array(piece));
            f32::from_bits(if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits })
        }))),
        Type::Float64 => Arc::new(PrimitiveArray::<Float64Type>::from_iter_values(pieces.iter().map(|piece| {
            let bits = u64::from_be_bytes(array(piece));
            f64::from_bits(if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits })
        }))),
        Type::Text => {
            let mut builder = StringBuilder::new();
            for piece in pieces {
                builder.append_value(String::from_utf8(unescape(piece)).map_err(|_| malformed())?);
            }
            Arc::new(builder.finish())
        }
        Type::Bytes => {
            let mut builder = BinaryBuilder::new();
            pieces.iter().for_each(|piece| builder.append_value(unescape(piece)));
            Arc::new(builder.finish())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use arrow::array::{BinaryArray, Int64Array, StringArray};
    use arrow::compute::SortOptions;
    use proptest::prelude::*;

    use super::*;
    use crate::cold::testing::column_strategy;
    use crate::schema::every_type;

    /// Compares two rows by Arrow's own comparison, column by column.
    fn compare(columns: &[ArrayRef], a: usize, b: usize) -> Ordering {
        columns.iter().fold(Ordering::Equal, |order, column| {
            order.then_with(|| {
                arrow::array::make_comparator(column, column, SortOptions::default()).expect("comparable")(a, b)
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn byte_order_is_value_order_and_decodes(
            (types, columns) in proptest::collection::vec(proptest::sample::select(every_type()), 1..4)
                .prop_flat_map(|types| {
                    let columns: Vec<_> = types.iter().map(|ty| column_strategy(*ty, 24, false)).collect();
                    (Just(types), columns)
                })
        ) {
            let keys = encode_keys(&columns).unwrap();
            prop_assert_eq!(keys.len(), 24);
            for a in 0..keys.len() {
                for b in 0..keys.len() {
                    prop_assert_eq!(keys.get(a).cmp(keys.get(b)), compare(&columns, a, b), "rows {} and {}", a, b);
                }
            }
            let decoded = decode_keys(&types, keys.iter()).unwrap();
            prop_assert_eq!(&decoded, &columns);
        }

        #[test]
        fn a_null_leaves_the_row_without_a_key(
            columns in (column_strategy(Type::Int32, 20, true), column_strategy(Type::Text, 20, true))
                .prop_map(|(a, b)| vec![a, b])
        ) {
            let keys = encode_nullable_keys(&columns).unwrap();
            for (row, key) in keys.iter().enumerate() {
                prop_assert_eq!(key.is_none(), columns.iter().any(|column| column.is_null(row)));
                if let Some(key) = key {
                    let alone: Vec<ArrayRef> = columns.iter().map(|column| column.slice(row, 1)).collect();
                    let alone = encode_keys(&alone).unwrap();
                    prop_assert_eq!(key, alone.get(0));
                }
            }
        }
    }

    #[test]
    fn the_format_stands() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, -1])),
            Arc::new(StringArray::from(vec!["a\0b", ""])),
            Arc::new(BooleanArray::from(vec![true, false])),
        ];
        let keys = encode_keys(&columns).unwrap();
        assert_eq!(keys.get(0), [0x80, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0xFF, b'b', 0, 1, 1]);
        assert_eq!(keys.get(1), [0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, 0]);
    }

    #[test]
    fn equal_floats_have_equal_keys() {
        let column: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN, 1.0]));
        let keys = encode_keys(&[column]).unwrap();
        assert_eq!(keys.get(0), keys.get(1));
        assert_eq!(keys.get(2), keys.get(3));
        assert!(keys.get(4) < keys.get(2));
    }

    #[test]
    fn damaged_keys_are_refused() {
        let types = [Type::Text, Type::Int8];
        for key in [&b"a"[..], b"a\0", b"a\0\x02\x80", b"a\0\x01", b"a\0\x01\x80\x80"] {
            assert!(split_key(&types, key).is_err(), "{key:?}");
        }
        assert_eq!(split_key(&types, b"a\0\x01\x80").unwrap(), [&b"a\0\x01"[..], b"\x80"]);
        assert!(decode_keys(&[Type::Text], [&b"\xFF\0\x01"[..]]).is_err());
    }

    #[test]
    fn nulls_are_refused_where_a_key_is_required() {
        let column: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"a"[..]), None]));
        assert!(encode_keys(&[column]).is_err());
    }

    #[test]
    fn search_in_ascending_keys() {
        let mut keys = Keys::new();
        ["a", "c", "e"].iter().for_each(|key| keys.push(key.as_bytes()).unwrap());
        assert_eq!(keys.search(b"c"), Ok(1));
        assert_eq!(keys.search(b"d"), Err(2));
        assert_eq!(keys.lower_bound(b"z"), 3);
        assert_eq!(keys.first_unsorted(), None);
        keys.push(b"e").unwrap();
        assert_eq!(keys.first_unsorted(), Some(3));
    }
}

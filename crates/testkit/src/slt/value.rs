//! How values look in `.slt` files: as the text protocol prints them, whatever way they came.
//!
//! NULL is `NULL`, an empty string `(empty)`, bytes are `0x` and hex in upper case, and control characters are
//! escaped, so that a row stays on its line.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use sqllogictest::DefaultColumnType;
use strandline_sql::api::{ColumnKind, ColumnMeta};

/// One row as a file prints it.
pub type Cells = Vec<String>;

/// Returns how a value of the text protocol stands in a file.
pub fn cell(value: Option<&[u8]>, binary: bool) -> String {
    let Some(bytes) = value else { return "NULL".to_owned() };
    if bytes.is_empty() {
        return "(empty)".to_owned();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !binary => text.chars().flat_map(escaped).collect(),
        _ => bytes.iter().fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02X}")),
    }
}

/// Returns a file's letter for a column: `I` for whole numbers, `R` for other numbers, `T` for all else.
pub fn column_type(kind: ColumnKind) -> DefaultColumnType {
    match kind {
        ColumnKind::Tiny
        | ColumnKind::Short
        | ColumnKind::Int24
        | ColumnKind::Long
        | ColumnKind::LongLong
        | ColumnKind::Year => DefaultColumnType::Integer,
        ColumnKind::Float | ColumnKind::Double | ColumnKind::NewDecimal => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

/// Returns the rows of a session's batch as the text protocol would print them.
///
/// # Panics
/// If an array does not look as its `ColumnKind` promises.
pub fn cells_of_batch(columns: &[ColumnMeta], batch: &RecordBatch) -> Vec<Cells> {
    assert_eq!(columns.len(), batch.num_columns(), "a batch has as many columns as its metadata");
    (0..batch.num_rows())
        .map(|row| columns.iter().zip(batch.columns()).map(|(meta, array)| array_cell(meta, array, row)).collect())
        .collect()
}

fn array_cell(meta: &ColumnMeta, array: &dyn Array, row: usize) -> String {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        return cell(None, false);
    }
    macro_rules! number {
        ($ty:ty) => {
            array.as_primitive::<$ty>().value(row).to_string()
        };
    }
    match array.data_type() {
        DataType::Boolean => u8::from(array.as_boolean().value(row)).to_string(),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 if meta.kind == ColumnKind::Bit => {
            let bytes = array.as_primitive::<UInt64Type>().value(row).to_be_bytes();
            let width = usize::try_from(meta.length.max(1).div_ceil(8)).expect("a width fits").min(8);
            cell(Some(&bytes[8 - width..]), true)
        }
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => float(f64::from(array.as_primitive::<Float32Type>().value(row)), Some(6)),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row), None),
        DataType::Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Utf8 => cell(Some(array.as_string::<i32>().value(row).as_bytes()), false),
        DataType::LargeUtf8 => cell(Some(array.as_string::<i64>().value(row).as_bytes()), false),
        DataType::Utf8View => cell(Some(array.as_string_view().value(row).as_bytes()), false),
        DataType::Binary => cell(Some(array.as_binary::<i32>().value(row)), true),
        DataType::LargeBinary => cell(Some(array.as_binary::<i64>().value(row)), true),
        DataType::BinaryView => cell(Some(array.as_binary_view().value(row)), true),
        DataType::FixedSizeBinary(_) => cell(Some(array.as_fixed_size_binary().value(row)), true),
        DataType::Date32 => {
            let (year, month, day) = civil(i64::from(array.as_primitive::<Date32Type>().value(row)));
            format!("{year:04}-{month:02}-{day:02}")
        }
        DataType::Timestamp(_, _) => {
            date_time(array.as_primitive::<TimestampMicrosecondType>().value(row), meta.decimals)
        }
        DataType::Duration(_) => duration(array.as_primitive::<DurationMicrosecondType>().value(row), meta.decimals),
        other => panic!("column '{}' came as {other}, which the protocol has no text for", meta.name),
    }
}

fn escaped(c: char) -> Vec<char> {
    match c {
        '\n' => vec!['\\', 'n'],
        '\r' => vec!['\\', 'r'],
        '\t' => vec!['\\', 't'],
        '\0' => vec!['\\', '0'],
        _ => vec![c],
    }
}

/// Writes a float as MySQL does: the shortest text that reads back, or `digits` significant ones.
fn float(value: f64, digits: Option<usize>) -> String {
    let value = match digits {
        Some(digits) => format!("{value:.*e}", digits - 1).parse().expect("a formatted float parses"),
        None => value,
    };
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let magnitude = value.abs().log10().floor();
    if (-5.0..15.0).contains(&magnitude) { value.to_string() } else { format!("{value:e}") }
}

fn date_time(micros: i64, decimals: u8) -> String {
    let (year, month, day) = civil(micros.div_euclid(DAY_MICROS));
    format!("{year:04}-{month:02}-{day:02} {}", clock(micros.rem_euclid(DAY_MICROS), decimals))
}

fn duration(micros: i64, decimals: u8) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    format!("{sign}{}", clock(micros.abs(), decimals))
}

const DAY_MICROS: i64 = 86_400_000_000;

fn clock(micros: i64, decimals: u8) -> String {
    let seconds = micros / 1_000_000;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let decimals = usize::from(decimals.min(6));
    if decimals > 0 {
        text.push('.');
        text.push_str(&format!("{:06}", micros % 1_000_000)[..decimals]);
    }
    text
}

/// Returns year, month and day of a count of days since 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_as_files_print_them() {
        assert_eq!(cell(None, false), "NULL");
        assert_eq!(cell(Some(b""), true), "(empty)");
        assert_eq!(cell(Some(b"a\nb"), false), "a\\nb");
        assert_eq!(cell(Some(&[0x0f, 0xff]), true), "0x0FFF");
        assert_eq!(cell(Some(&[0xff]), false), "0xFF", "text that is not UTF-8 is shown as bytes");
    }

    #[test]
    fn times_as_the_protocol_prints_them() {
        assert_eq!(date_time(0, 0), "1970-01-01 00:00:00");
        assert_eq!(date_time(-1, 6), "1969-12-31 23:59:59.999999");
        assert_eq!(date_time(951_782_400_000_000, 0), "2000-02-29 00:00:00");
        assert_eq!(duration(-3_020_399_000_000, 0), "-838:59:59");
        assert_eq!(duration(1_500_000, 1), "00:00:01.5");
    }

    #[test]
    fn floats_as_mysql_prints_them() {
        assert_eq!(float(0.1, None), "0.1");
        assert_eq!(float(f64::from(0.1_f32), Some(6)), "0.1");
        assert_eq!(float(1e20, None), "1e20");
        assert_eq!(float(-2.0, None), "-2");
    }
}

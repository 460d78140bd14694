//! The parameters of COM_STMT_EXECUTE: bytes of a stranger, turned into values without a panic and without an
//! allocation beyond what came.

use std::collections::BTreeMap;

use mysql_common::constants::ColumnType;
use strandline_sql::api::Value;

use super::bytes::{Input, Malformed};
use super::format::Civil;

/// The declared type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterType {
    column_type: ColumnType,
    unsigned: bool,
}

/// MySQL's TIME ends at 838:59:59.
const HOURS_MAX: i64 = 838;

/// Reads the values of `count` parameters from what follows the statement's id, flags and iteration count.
///
/// `types` are those of the last execution; they are replaced if the client sends new ones. `long` are values that
/// came before by COM_STMT_SEND_LONG_DATA: they are not in the packet.
pub fn parse(
    mut input: Input<'_>,
    count: usize,
    types: &mut Vec<ParameterType>,
    long: &BTreeMap<u16, Vec<u8>>,
) -> Result<Vec<Value>, Malformed> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let nulls = input.bytes(count.div_ceil(8))?;
    if input.u8()? == 1 {
        let declared = input.bytes(2 * count)?;
        *types = declared.chunks_exact(2).map(ParameterType::parse).collect::<Result<_, _>>()?;
    }
    if types.len() != count {
        return Err(Malformed);
    }
    let mut values = Vec::with_capacity(count);
    for (at, declared) in types.iter().enumerate() {
        let is_null = nulls[at / 8] & (1 << (at % 8)) != 0;
        let sent = u16::try_from(at).ok().and_then(|at| long.get(&at));
        values.push(match sent {
            Some(bytes) => Value::Bytes(bytes.clone()),
            None if is_null => Value::Null,
            None => declared.value(&mut input)?,
        });
    }
    Ok(values)
}

impl ParameterType {
    fn parse(bytes: &[u8]) -> Result<ParameterType, Malformed> {
        let column_type = ColumnType::try_from(bytes[0]).map_err(|_| Malformed)?;
        Ok(ParameterType { column_type, unsigned: bytes[1] & 0x80 != 0 })
    }

    fn value(self, input: &mut Input<'_>) -> Result<Value, Malformed> {
        use ColumnType::*;
        Ok(match (self.column_type, self.unsigned) {
            (MYSQL_TYPE_NULL, _) => Value::Null,
            (MYSQL_TYPE_TINY, false) => Value::Int(i64::from(input.u8()? as i8)),
            (MYSQL_TYPE_TINY, true) => Value::UInt(u64::from(input.u8()?)),
            (MYSQL_TYPE_SHORT | MYSQL_TYPE_YEAR, false) => Value::Int(i64::from(input.u16()? as i16)),
            (MYSQL_TYPE_SHORT | MYSQL_TYPE_YEAR, true) => Value::UInt(u64::from(input.u16()?)),
            (MYSQL_TYPE_LONG | MYSQL_TYPE_INT24, false) => Value::Int(i64::from(input.u32()? as i32)),
            (MYSQL_TYPE_LONG | MYSQL_TYPE_INT24, true) => Value::UInt(u64::from(input.u32()?)),
            (MYSQL_TYPE_LONGLONG, false) => Value::Int(input.u64()? as i64),
            (MYSQL_TYPE_LONGLONG, true) => Value::UInt(input.u64()?),
            (MYSQL_TYPE_FLOAT, _) => Value::Float(f64::from(f32::from_le_bytes(input.array()?))),
            (MYSQL_TYPE_DOUBLE, _) => Value::Float(f64::from_le_bytes(input.array()?)),
            (MYSQL_TYPE_DATE | MYSQL_TYPE_NEWDATE, _) => datetime(input, true)?,
            (MYSQL_TYPE_DATETIME | MYSQL_TYPE_DATETIME2 | MYSQL_TYPE_TIMESTAMP | MYSQL_TYPE_TIMESTAMP2, _) => {
                datetime(input, false)?
            }
            (MYSQL_TYPE_TIME | MYSQL_TYPE_TIME2, _) => time(input)?,
            (
                MYSQL_TYPE_DECIMAL
                | MYSQL_TYPE_NEWDECIMAL
                | MYSQL_TYPE_VARCHAR
                | MYSQL_TYPE_VAR_STRING
                | MYSQL_TYPE_STRING
                | MYSQL_TYPE_TINY_BLOB
                | MYSQL_TYPE_BLOB
                | MYSQL_TYPE_MEDIUM_BLOB
                | MYSQL_TYPE_LONG_BLOB
                | MYSQL_TYPE_ENUM
                | MYSQL_TYPE_SET
                | MYSQL_TYPE_JSON
                | MYSQL_TYPE_BIT
                | MYSQL_TYPE_GEOMETRY
                | MYSQL_TYPE_VECTOR,
                _,
            ) => Value::Bytes(input.lenenc_bytes()?.to_vec()),
            (MYSQL_TYPE_TYPED_ARRAY | MYSQL_TYPE_UNKNOWN, _) => return Err(Malformed),
        })
    }
}

/// Reads a date with as much of a time as was sent. What is no real date (`0000-00-00` above all) becomes its text,
/// for the session to judge as it judges the literal.
fn datetime(input: &mut Input<'_>, is_date: bool) -> Result<Value, Malformed> {
    let length = input.u8()?;
    let mut input = Input(input.bytes(usize::from(length))?);
    let mut civil = Civil { year: 0, month: 0, day: 0, hour: 0, minute: 0, second: 0, micros: 0 };
    match length {
        0 => {}
        4 | 7 | 11 => {
            civil.year = i64::from(input.u16()?);
            [civil.month, civil.day] = input.array()?;
            if length > 4 {
                [civil.hour, civil.minute, civil.second] = input.array()?;
            }
            if length > 7 {
                civil.micros = input.u32()?;
            }
        }
        _ => return Err(Malformed),
    }
    let date_only = is_date && (civil.hour, civil.minute, civil.second, civil.micros) == (0, 0, 0, 0);
    Ok(match civil.to_micros() {
        Some(micros) => Value::DateTime { micros, date_only },
        None => {
            let Civil { year, month, day, hour, minute, second, micros } = civil;
            let mut text = format!("{year:04}-{month:02}-{day:02}");
            if !date_only {
                text += &format!(" {hour:02}:{minute:02}:{second:02}.{micros:06}");
            }
            Value::Bytes(text.into_bytes())
        }
    })
}

fn time(input: &mut Input<'_>) -> Result<Value, Malformed> {
    let length = input.u8()?;
    let mut input = Input(input.bytes(usize::from(length))?);
    if length == 0 {
        return Ok(Value::Time(0));
    }
    if length != 8 && length != 12 {
        return Err(Malformed);
    }
    let negative = input.u8()? != 0;
    let days = i64::from(input.u32()?);
    let [hours, minutes, seconds] = input.array::<3>()?.map(i64::from);
    let micros = if length == 12 { i64::from(input.u32()?) } else { 0 };
    let hours = days * 24 + hours;
    let size = match hours {
        0..=HOURS_MAX => ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros,
        // As MySQL's server does. It is also what clients count on that send a negative duration as its days rounded
        // down and the rest as a positive time: mysql-connector's -838:59:59 arrives as minus 35 days and 01:00:01.
        _ => ((HOURS_MAX * 60 + 59) * 60 + 59) * 1_000_000,
    };
    Ok(Value::Time(if negative { -size } else { size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(count: usize, bytes: &[u8], expected: Result<&[Value], Malformed>) {
        let actual = parse(Input(bytes), count, &mut Vec::new(), &BTreeMap::new());
        assert_eq!(actual.as_deref().map_err(|error| *error), expected, "{bytes:?}");
    }

    #[test]
    fn each_type() {
        check(0, b"", Ok(&[]));
        check(1, b"\x00\x01\x01\x00\xFF", Ok(&[Value::Int(-1)]));
        check(1, b"\x00\x01\x01\x80\xFF", Ok(&[Value::UInt(255)]));
        check(1, b"\x00\x01\x02\x00\xFE\xFF", Ok(&[Value::Int(-2)]));
        check(1, b"\x00\x01\x03\x00\xFD\xFF\xFF\xFF", Ok(&[Value::Int(-3)]));
        check(1, b"\x00\x01\x08\x80\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", Ok(&[Value::UInt(u64::MAX)]));
        check(1, b"\x00\x01\x04\x00\x00\x00\xC0\x3F", Ok(&[Value::Float(1.5)]));
        check(1, b"\x00\x01\xFD\x00\x03abc", Ok(&[Value::Bytes(b"abc".to_vec())]));
        check(1, b"\x01\x01\xFD\x00", Ok(&[Value::Null]));
        check(2, b"\x01\x01\xFD\x00\x01\x00\x07", Ok(&[Value::Null, Value::Int(7)]));
        check(
            1,
            b"\x00\x01\x0A\x00\x04\xB2\x07\x01\x02",
            Ok(&[Value::DateTime { micros: 86_400_000_000, date_only: true }]),
        );
        check(
            1,
            b"\x00\x01\x0C\x00\x07\xB2\x07\x01\x01\x00\x00\x01",
            Ok(&[Value::DateTime { micros: 1_000_000, date_only: false }]),
        );
        check(1, b"\x00\x01\x0A\x00\x00", Ok(&[Value::Bytes(b"0000-00-00".to_vec())]));
        check(1, b"\x00\x01\x0B\x00\x08\x01\x01\0\0\0\x01\x00\x00", Ok(&[Value::Time(-25 * 3_600_000_000)]));
        // Minus 35 days and 01:00:01, and as many days as there can be.
        let most = ((838 * 60 + 59) * 60 + 59) * 1_000_000;
        check(1, b"\x00\x01\x0B\x00\x08\x01\x23\0\0\0\x01\x00\x01", Ok(&[Value::Time(-most)]));
        check(1, b"\x00\x01\x0B\x00\x08\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF", Ok(&[Value::Time(most)]));
    }

    #[test]
    fn malformed() {
        for bytes in [
            b"".as_slice(),
            b"\x00",
            b"\x00\x00",
            b"\x00\x01\xFD",
            b"\x00\x01\xF3\x00",
            b"\x00\x01\xEE\x00\x00",
            b"\x00\x01\xFD\x00\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFa",
            b"\x00\x01\xFD\x00\xFB",
            b"\x00\x01\x0A\x00\x05\xB2\x07\x01\x02\x03",
            b"\x00\x01\x08\x00\x01\x02",
        ] {
            check(1, bytes, Err(Malformed));
        }
    }

    #[test]
    fn types_are_kept_and_long_data_is_used() {
        let mut types = Vec::new();
        let none = BTreeMap::new();
        parse(Input(b"\x00\x01\x01\x00\x05"), 1, &mut types, &none).expect("well-formed");
        assert_eq!(parse(Input(b"\x00\x00\x06"), 1, &mut types, &none), Ok(vec![Value::Int(6)]));
        let long = BTreeMap::from([(0, b"long".to_vec())]);
        assert_eq!(parse(Input(b"\x00\x00"), 1, &mut types, &long), Ok(vec![Value::Bytes(b"long".to_vec())]));
    }

    #[test]
    fn any_bytes_do_no_harm() {
        let mut random = fuzz::Random::new(1);
        for _ in 0..200_000 {
            let mut bytes = random.bytes(60);
            let count = random.below(10) as usize;
            // Mostly pass the header, so that the values are reached.
            if let Some(bound) = bytes.get_mut(count.div_ceil(8)) {
                *bound = 1;
            }
            let mut types = Vec::new();
            let _ = parse(Input(&bytes), count, &mut types, &BTreeMap::new());
            let _ = parse(Input(&bytes), count, &mut types, &BTreeMap::from([(0, vec![1])]));
        }
    }

    use strandline_fuzz as fuzz;
}

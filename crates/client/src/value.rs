//! Typed values, as far as a program would treat them differently.

use mysql_async::consts::{ColumnFlags, ColumnType};
use serde_json::{Number, Value as Json};

use crate::format;

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub ty: Type,
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Int,
    UInt,
    Float,
    /// Exact; its values are text.
    Decimal,
    Text,
    Bytes,
    /// Its values are text, `2026-01-31`.
    Date,
    /// Its values are text, `2026-01-31 23:59:59.123456`.
    DateTime,
    /// Its values are text, `-838:59:59`.
    Time,
    /// Its values are text.
    Json,
}

/// A value of a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// Returns the value as text; `None` for NULL. Bytes that are no text are written as `0x…`.
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Value::Null => return None,
            Value::Int(value) => value.to_string(),
            Value::UInt(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(value) => value.clone(),
            Value::Bytes(value) => hex(value),
        })
    }

    /// Returns the value as JSON: decimals and times as text, bytes as `"0x…"`, and what is JSON as it is.
    pub fn to_json(&self, ty: Type) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Int(value) => Json::from(*value),
            Value::UInt(value) => Json::from(*value),
            Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Value::Text(value) if ty == Type::Json => {
                serde_json::from_str(value).unwrap_or_else(|_| Json::from(value.as_str()))
            }
            Value::Text(value) => Json::from(value.as_str()),
            Value::Bytes(value) => Json::from(hex(value)),
        }
    }

    /// Reads a value of the text or the binary protocol; `decimals` are those of the column.
    pub(crate) fn read(value: mysql_async::Value, ty: Type, decimals: u8) -> Value {
        match value {
            mysql_async::Value::NULL => Value::Null,
            mysql_async::Value::Int(value) if ty == Type::UInt => Value::UInt(value.cast_unsigned()),
            mysql_async::Value::Int(value) => Value::Int(value),
            mysql_async::Value::UInt(value) => Value::UInt(value),
            mysql_async::Value::Float(value) => Value::Float(format::float(value)),
            mysql_async::Value::Double(value) => Value::Float(value),
            mysql_async::Value::Bytes(bytes) => Value::of_bytes(bytes, ty),
            // These two stand only in the binary protocol.
            mysql_async::Value::Date(year, month, day, hour, minute, second, micros) => {
                let date = format!("{year:04}-{month:02}-{day:02}");
                Value::Text(match ty {
                    Type::Date => date,
                    _ => {
                        let seconds = u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second);
                        format!("{date} {}", format::clock(seconds, micros, decimals))
                    }
                })
            }
            mysql_async::Value::Time(negative, days, hours, minutes, seconds, micros) => {
                let hours = u64::from(days) * 24 + u64::from(hours);
                let seconds = hours * 3600 + u64::from(minutes) * 60 + u64::from(seconds);
                let sign = if negative { "-" } else { "" };
                Value::Text(format!("{sign}{}", format::clock(seconds, micros, decimals)))
            }
        }
    }

    /// Returns the value as a parameter of a prepared statement.
    pub(crate) fn to_parameter(&self) -> mysql_async::Value {
        match self {
            Value::Null => mysql_async::Value::NULL,
            Value::Int(value) => mysql_async::Value::Int(*value),
            Value::UInt(value) => mysql_async::Value::UInt(*value),
            Value::Float(value) => mysql_async::Value::Double(*value),
            Value::Text(value) => mysql_async::Value::Bytes(value.clone().into_bytes()),
            Value::Bytes(value) => mysql_async::Value::Bytes(value.clone()),
        }
    }

    fn of_bytes(bytes: Vec<u8>, ty: Type) -> Value {
        let text = match ty {
            Type::Bytes => return Value::Bytes(bytes),
            _ => match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => return Value::Bytes(error.into_bytes()),
            },
        };
        let number = match ty {
            Type::Int => text.parse().ok().map(Value::Int),
            Type::UInt => text.parse().ok().map(Value::UInt),
            Type::Float => text.parse().ok().map(Value::Float),
            _ => None,
        };
        number.unwrap_or(Value::Text(text))
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),*) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Value {
                Value::$variant(value.into())
            }
        })*
    };
}
value_from!(i32 => Int, i64 => Int, u32 => UInt, u64 => UInt, f64 => Float, &str => Text, String => Text, Vec<u8> => Bytes);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl Column {
    pub(crate) fn of(column: &mysql_async::Column) -> Column {
        /// MySQL's number for "these are bytes".
        const BINARY: u16 = 63;
        use ColumnType::*;
        let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
        let ty = match column.column_type() {
            MYSQL_TYPE_TINY | MYSQL_TYPE_SHORT | MYSQL_TYPE_INT24 | MYSQL_TYPE_LONG | MYSQL_TYPE_LONGLONG
            | MYSQL_TYPE_YEAR => match unsigned {
                true => Type::UInt,
                false => Type::Int,
            },
            MYSQL_TYPE_FLOAT | MYSQL_TYPE_DOUBLE => Type::Float,
            MYSQL_TYPE_DECIMAL | MYSQL_TYPE_NEWDECIMAL => Type::Decimal,
            MYSQL_TYPE_DATE | MYSQL_TYPE_NEWDATE => Type::Date,
            MYSQL_TYPE_DATETIME | MYSQL_TYPE_DATETIME2 | MYSQL_TYPE_TIMESTAMP | MYSQL_TYPE_TIMESTAMP2 => Type::DateTime,
            MYSQL_TYPE_TIME | MYSQL_TYPE_TIME2 => Type::Time,
            MYSQL_TYPE_JSON => Type::Json,
            MYSQL_TYPE_BIT => Type::Bytes,
            _ if column.character_set() == BINARY => Type::Bytes,
            _ => Type::Text,
        };
        Column { name: column.name_str().into_owned(), ty }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02X}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ty: Type) -> Value {
        Value::read(mysql_async::Value::Bytes(text.into()), ty, 0)
    }

    #[test]
    fn values_keep_their_type() {
        assert_eq!(read("-7", Type::Int), Value::Int(-7));
        assert_eq!(read("18446744073709551615", Type::UInt), Value::UInt(u64::MAX));
        assert_eq!(read("1.5e300", Type::Float), Value::Float(1.5e300));
        assert_eq!(read("0.10", Type::Decimal), Value::Text("0.10".into()));
        assert_eq!(read("a", Type::Bytes), Value::Bytes(b"a".to_vec()));
        let broken = Value::read(mysql_async::Value::Bytes(vec![0xff]), Type::Text, 0);
        assert_eq!(broken, Value::Bytes(vec![0xff]));
        assert_eq!(broken.to_text().as_deref(), Some("0xFF"));
        assert_eq!(Value::read(mysql_async::Value::NULL, Type::Int, 0), Value::Null);
    }

    #[test]
    fn the_binary_protocol_reads_as_the_text_protocol() {
        use mysql_async::Value as Sent;
        let cases = [
            (Sent::Date(2026, 1, 31, 0, 0, 0, 0), Type::Date, 0, "2026-01-31"),
            (Sent::Date(2026, 1, 31, 0, 0, 0, 0), Type::DateTime, 0, "2026-01-31 00:00:00"),
            (Sent::Date(2026, 1, 31, 1, 2, 3, 450_000), Type::DateTime, 3, "2026-01-31 01:02:03.450"),
            (Sent::Time(true, 34, 22, 59, 59, 0), Type::Time, 0, "-838:59:59"),
        ];
        for (sent, ty, decimals, text) in cases {
            assert_eq!(Value::read(sent, ty, decimals), Value::Text(text.into()));
        }
        assert_eq!(Value::read(Sent::Float(0.1), Type::Float, 31), Value::Float(0.1));
        assert_eq!(Value::read(Sent::Int(7), Type::UInt, 0), Value::UInt(7));
    }

    #[test]
    fn values_as_json() {
        assert_eq!(read("18446744073709551615", Type::UInt).to_json(Type::UInt).to_string(), "18446744073709551615");
        assert_eq!(read("0.10", Type::Decimal).to_json(Type::Decimal).to_string(), "\"0.10\"");
        assert_eq!(read(r#"{"b":1,"a":[]}"#, Type::Json).to_json(Type::Json).to_string(), r#"{"b":1,"a":[]}"#);
        assert_eq!(Value::Float(f64::NAN).to_json(Type::Float), Json::Null);
        assert_eq!(Value::Null.to_text(), None);
    }
}

//! Values into columns: what INSERT, UPDATE and LOAD DATA do to a value before it is stored.
//!
//! In strict mode a value that does not fit is an error that names the column and the row; in ignoring mode it is
//! bent to fit and counted as a warning. Nothing here evaluates defaults or checks keys.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::*;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::*;
use sqlparser::ast::Value as Literal;
use strandline_core::schema::Type;

use super::MySqlType;
use crate::api::Value;
use crate::error::{Error, Result};
use crate::functions::calendar::{self, DAY};
use crate::functions::column::Column;
use crate::functions::value::{Decimal, Val, int_prefix, number_prefix};
use crate::warning::Warning;

/// What happens to a value that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is an error (the strict SQL mode).
    Strict,
    /// It is bent to fit, and counted (INSERT IGNORE, LOAD DATA LOCAL).
    Ignore,
}

/// The column that values are meant for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub ty: &'a MySqlType,
    pub column: &'a str,
    pub nullable: bool,
    pub mode: Mode,
}

/// An array that can be stored, and what the first of its values that were bent are told.
#[derive(Clone, Debug)]
pub struct Coerced {
    pub array: ArrayRef,
    pub warnings: Vec<Warning>,
}

/// How many bent values of one array are told of.
const WARNINGS_MAX: usize = 64;

/// Converts an array, whose field says whether it is JSON, to the column's stored type. `first_row` is the number of
/// the first row in messages, counted from 1.
pub fn coerce_array(array: &ArrayRef, field: &Field, target: Target<'_>, first_row: u64) -> Result<Coerced> {
    if !target.nullable
        && array.is_nullable()
        && target.mode == Mode::Strict
        && (0..array.len()).any(|row| array.is_null(row))
    {
        return Err(cannot_be_null(target));
    }
    if (array.logical_null_count() == 0 || target.nullable)
        && let Some(done) = fast(array, target)?
    {
        return Ok(Coerced { array: done, warnings: Vec::new() });
    }
    let column = Column::new(array.as_ref(), field, false).map_err(|error| Error::internal(error.to_string()))?;
    let written_as_digits = field.metadata().contains_key(super::HEX);
    let values = (0..array.len()).map(|row| match column.get(row) {
        Val::Bytes(bytes) if written_as_digits => digits_value(bytes, target),
        value => value,
    });
    rows(array.len(), values, target, first_row)
}

/// A hexadecimal literal is bytes to a column of texts or bytes, and a number to any other.
fn digits_value<'a>(bytes: Cow<'a, [u8]>, target: Target<'_>) -> Val<'a> {
    let takes_bytes = matches!(target.ty.storage(), Type::Text | Type::Bytes) || matches!(target.ty, MySqlType::Bit(_));
    if takes_bytes || bytes.len() > 8 {
        return Val::Bytes(bytes);
    }
    Val::UInt(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Converts fields of text (LOAD DATA) to the column's stored type. `None` is NULL.
pub fn coerce_text<'a>(
    values: impl ExactSizeIterator<Item = Option<&'a str>>,
    target: Target<'_>,
    first_row: u64,
) -> Result<Coerced> {
    let count = values.len();
    let values = values.map(|value| value.map_or(Val::Null, |text| Val::Text(Cow::Borrowed(text))));
    rows(count, values, target, first_row)
}

/// A value of a statement, before it is converted.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// A literal of the text, and whether a minus stands before it.
    Literal(&'a Literal, bool),
    /// A bound parameter.
    Value(&'a Value),
}

/// Converts literals and parameters that stand for one column. Placeholders and dialects' own strings are refused.
pub fn coerce_given<'a>(
    values: impl ExactSizeIterator<Item = Given<'a>>,
    target: Target<'_>,
    first_row: u64,
) -> Result<Coerced> {
    let count = values.len();
    let mut refused = None;
    let values = values.map(|value| match value {
        Given::Literal(literal, negative) => literal_value(literal, negative, target).unwrap_or_else(|error| {
            refused.get_or_insert(error);
            Val::Null
        }),
        Given::Value(value) => parameter_value(value, target),
    });
    let done = rows(count, values, target, first_row);
    match refused {
        Some(error) => Err(error),
        None => done,
    }
}

fn parameter_value<'a>(value: &'a Value, target: Target<'_>) -> Val<'a> {
    match value {
        Value::Null => Val::Null,
        Value::Int(v) => Val::Int(*v),
        Value::UInt(v) => Val::UInt(*v),
        Value::Float(v) => Val::Float(*v),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            // The bytes of a BIT are its bits, whether or not they happen to be text.
            Ok(text) if target.ty.storage() != Type::Bytes && !matches!(target.ty, MySqlType::Bit(_)) => {
                Val::Text(Cow::Borrowed(text))
            }
            _ => Val::Bytes(Cow::Borrowed(bytes)),
        },
        Value::DateTime { micros, date_only: true } => Val::Date(micros.div_euclid(DAY) as i32),
        Value::DateTime { micros, .. } => Val::DateTime(*micros, 6),
        Value::Time(micros) => Val::Time(*micros, 6),
    }
}

fn literal_value<'a>(literal: &'a Literal, negative: bool, target: Target<'_>) -> Result<Val<'a>> {
    let sign = if negative { "-" } else { "" };
    Ok(match literal {
        Literal::Null => Val::Null,
        Literal::Boolean(value) => Val::Int(i64::from(*value) * if negative { -1 } else { 1 }),
        Literal::Number(text, _) => {
            let text = format!("{sign}{text}");
            if text.contains(['e', 'E']) {
                Val::Float(number_prefix(&text).0)
            } else if let Ok(value) = text.parse() {
                Val::Int(value)
            } else if let Ok(value) = text.parse() {
                Val::UInt(value)
            } else {
                Decimal::parse(&text).map_or_else(|| Val::Float(number_prefix(&text).0), Val::Dec)
            }
        }
        Literal::SingleQuotedString(text)
        | Literal::DoubleQuotedString(text)
        | Literal::NationalStringLiteral(text) => {
            if negative {
                Val::Float(-number_prefix(text).0)
            } else {
                Val::Text(Cow::Borrowed(text))
            }
        }
        Literal::HexStringLiteral(text) => {
            let bytes = crate::functions::hex_bytes(text);
            let bytes = bytes.ok_or_else(|| Error::syntax("A hexadecimal literal has odd digits"))?;
            digits_value(Cow::Owned(bytes), target)
        }
        other => return Err(Error::unsupported(format!("the literal {other}"))),
    })
}

/// Conversions of whole arrays in which no value can need bending. `None` leaves the work to the row-by-row way.
fn fast(array: &ArrayRef, target: Target<'_>) -> Result<Option<ArrayRef>> {
    let from = array.data_type();
    let to = target.ty.storage().arrow();
    if from.is_integer() && to.is_integer() && !matches!(target.ty, MySqlType::Year | MySqlType::Bit(_)) {
        if *from == to && !matches!(target.ty, MySqlType::MediumInt { .. }) {
            return Ok(Some(Arc::clone(array)));
        }
        if matches!(target.ty, MySqlType::MediumInt { .. }) {
            return Ok(None);
        }
        let cast = cast_with_options(array, &to, &CastOptions { safe: true, ..Default::default() });
        return Ok(cast.ok().filter(|cast| cast.null_count() == array.null_count()));
    }
    if *from == to {
        let same = match target.ty {
            MySqlType::Double { unsigned: false } => {
                array.as_primitive::<Float64Type>().iter().flatten().all(f64::is_finite)
            }
            MySqlType::Date | MySqlType::DateTime(6) | MySqlType::Time(6) | MySqlType::Timestamp(6) => true,
            MySqlType::Decimal { unsigned: false, .. } => true,
            MySqlType::VarChar(_) | MySqlType::TinyText | MySqlType::Text | MySqlType::MediumText => {
                let limit = target.ty.character_maximum_length().unwrap_or(0) as usize;
                array.as_string::<i32>().iter().flatten().all(|text| text.len() <= limit)
            }
            MySqlType::LongText | MySqlType::LongBlob => true,
            MySqlType::VarBinary(limit) => {
                array.as_binary::<i32>().iter().flatten().all(|bytes| bytes.len() <= *limit as usize)
            }
            _ => false,
        };
        return Ok(same.then(|| Arc::clone(array)));
    }
    Ok(None)
}

fn rows<'a>(
    count: usize,
    values: impl Iterator<Item = Val<'a>>,
    target: Target<'_>,
    first_row: u64,
) -> Result<Coerced> {
    let mut sink = Sink { target, row: first_row, warnings: Vec::new() };
    let ty = target.ty.storage();
    let array: ArrayRef = match ty {
        Type::Int8 => ints::<Int8Type>(count, values, &mut sink)?,
        Type::Int16 => ints::<Int16Type>(count, values, &mut sink)?,
        Type::Int32 => ints::<Int32Type>(count, values, &mut sink)?,
        Type::Int64 => ints::<Int64Type>(count, values, &mut sink)?,
        Type::UInt8 => ints::<UInt8Type>(count, values, &mut sink)?,
        Type::UInt16 => ints::<UInt16Type>(count, values, &mut sink)?,
        Type::UInt32 => ints::<UInt32Type>(count, values, &mut sink)?,
        Type::UInt64 => ints::<UInt64Type>(count, values, &mut sink)?,
        Type::Bool => return Err(Error::internal("no MySQL type is stored as a boolean")),
        Type::Float32 => primitive::<Float32Type>(count, values, &mut sink, |sink, value| {
            let value = sink.double(value)?;
            let narrow = value as f32;
            if narrow.is_finite() { Ok(narrow) } else { sink.out_of_range().map(|()| f32::MAX.copysign(narrow)) }
        })?,
        Type::Float64 => primitive::<Float64Type>(count, values, &mut sink, |sink, value| sink.double(value))?,
        Type::Decimal(precision, scale) => {
            let array = primitive::<Decimal128Type>(count, values, &mut sink, |sink, value| {
                sink.decimal(value, precision, scale as u8)
            })?;
            let typed = array.as_primitive::<Decimal128Type>().clone().with_precision_and_scale(precision, scale);
            Arc::new(typed.map_err(|error| Error::internal(error.to_string()))?)
        }
        Type::Text => {
            let mut builder = StringBuilder::with_capacity(count, count * 16);
            for value in values {
                match sink.null(value)? {
                    Val::Null => builder.append_null(),
                    value => builder.append_value(sink.text(value)?),
                }
                sink.row += 1;
            }
            Arc::new(builder.finish())
        }
        Type::Bytes => {
            let mut builder = BinaryBuilder::with_capacity(count, count * 16);
            for value in values {
                match sink.null(value)? {
                    Val::Null => builder.append_null(),
                    value => builder.append_value(sink.bytes(&value)?),
                }
                sink.row += 1;
            }
            Arc::new(builder.finish())
        }
        Type::Date => optional::<Date32Type>(count, values, &mut sink, |sink, value| sink.date(value))?,
        Type::Duration => {
            let MySqlType::Time(fsp) = *target.ty else { return Err(Error::internal("only TIME is a duration")) };
            optional::<DurationMicrosecondType>(count, values, &mut sink, |sink, value| sink.time(value, fsp))?
        }
        Type::DateTime => {
            let fsp = target.ty.decimals();
            optional::<TimestampMicrosecondType>(count, values, &mut sink, |sink, value| sink.datetime(value, fsp))?
        }
    };
    Ok(Coerced { array, warnings: sink.warnings })
}

fn ints<'a, T>(count: usize, values: impl Iterator<Item = Val<'a>>, sink: &mut Sink<'_>) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    let (low, high) = int_range(sink.target.ty);
    primitive::<T>(count, values, sink, |sink, value| {
        let wide = sink.int(value)?;
        let fitting = if (low..=high).contains(&wide) {
            wide
        } else {
            sink.out_of_range()?;
            wide.clamp(low, high)
        };
        T::Native::try_from(fitting).map_err(|_| Error::internal("the range of a column type is its storage's"))
    })
}

fn primitive<'a, T: ArrowPrimitiveType>(
    count: usize,
    values: impl Iterator<Item = Val<'a>>,
    sink: &mut Sink<'_>,
    convert: impl Fn(&mut Sink<'_>, &Val<'_>) -> Result<T::Native>,
) -> Result<ArrayRef> {
    optional::<T>(count, values, sink, |sink, value| convert(sink, value).map(Some))
}

fn optional<'a, T: ArrowPrimitiveType>(
    count: usize,
    values: impl Iterator<Item = Val<'a>>,
    sink: &mut Sink<'_>,
    convert: impl Fn(&mut Sink<'_>, &Val<'_>) -> Result<Option<T::Native>>,
) -> Result<ArrayRef> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(count);
    for value in values {
        match sink.null(value)? {
            Val::Null => builder.append_null(),
            value => builder.append_option(convert(sink, &value)?),
        }
        sink.row += 1;
    }
    Ok(Arc::new(builder.finish()))
}

fn int_range(ty: &MySqlType) -> (i128, i128) {
    let range = |bits: u32, unsigned: bool| {
        if unsigned { (0, (1_i128 << bits) - 1) } else { (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1) }
    };
    match ty {
        MySqlType::Bool => range(8, false),
        MySqlType::TinyInt { unsigned } => range(8, *unsigned),
        MySqlType::SmallInt { unsigned } => range(16, *unsigned),
        MySqlType::MediumInt { unsigned } => range(24, *unsigned),
        MySqlType::Int { unsigned } => range(32, *unsigned),
        MySqlType::BigInt { unsigned } => range(64, *unsigned),
        MySqlType::Bit(width) => range(u32::from(*width), true),
        _ => (0, 65_535),
    }
}

fn cannot_be_null(target: Target<'_>) -> Error {
    Error::new(1048, "23000", format!("Column '{}' cannot be null", target.column))
}

/// Where values go: the column, the row that is being converted, and the warnings so far.
struct Sink<'t> {
    target: Target<'t>,
    row: u64,
    warnings: Vec<Warning>,
}

impl Sink<'_> {
    /// Refuses a NULL where the column has none; in ignoring mode gives the type's implicit default.
    fn null<'a>(&mut self, value: Val<'a>) -> Result<Val<'a>> {
        if !value.is_null() || self.target.nullable {
            return Ok(value);
        }
        let null = cannot_be_null(self.target);
        if self.target.mode == Mode::Strict {
            return Err(null);
        }
        self.warn(null.code, || null.message);
        Ok(match self.target.ty.storage() {
            Type::Text => match self.target.ty {
                MySqlType::Json => Val::Text(Cow::Borrowed("null")),
                MySqlType::Enum(names) => Val::Text(Cow::Owned(names.first().cloned().unwrap_or_default())),
                _ => Val::Text(Cow::Borrowed("")),
            },
            Type::Bytes => Val::Bytes(Cow::Borrowed(&[])),
            // There is no zero date here: the epoch's day stands for it.
            Type::Date | Type::DateTime => Val::Date(0),
            _ => Val::Int(0),
        })
    }

    fn fail(&mut self, code: u16, sqlstate: &'static str, message: impl FnOnce() -> String) -> Result<()> {
        if self.target.mode == Mode::Strict {
            return Err(Error::new(code, sqlstate, message()));
        }
        self.warn(code, message);
        Ok(())
    }

    fn warn(&mut self, code: u16, message: impl FnOnce() -> String) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(Warning::warning(code, message()));
        }
    }

    fn place(&self) -> String {
        format!("for column '{}' at row {}", self.target.column, self.row)
    }

    fn out_of_range(&mut self) -> Result<()> {
        let place = self.place();
        self.fail(1264, "22003", || format!("Out of range value {place}"))
    }

    fn incorrect(&mut self, kind: &str, value: &Val<'_>) -> Result<()> {
        let place = self.place();
        let text: String = value.to_text().unwrap_or_default().chars().take(128).collect();
        // A missing date is 1292, a missing number 1366.
        let is_time = matches!(kind, "date" | "datetime" | "time");
        if is_time && self.target.mode == Mode::Ignore {
            return self.truncated();
        }
        let (code, state) = if is_time { (1292, "22007") } else { (1366, "HY000") };
        self.fail(code, state, || format!("Incorrect {kind} value: '{text}' {place}"))
    }

    /// 1265: a number was followed by other characters, or a member is unknown.
    fn truncated(&mut self) -> Result<()> {
        let place = self.place();
        self.fail(1265, "01000", || format!("Data truncated {place}"))
    }

    fn int(&mut self, value: &Val<'_>) -> Result<i128> {
        match value {
            Val::Int(v) => Ok(i128::from(*v)),
            Val::UInt(v) => Ok(i128::from(*v)),
            Val::Float(v) if !v.is_finite() || v.abs() > 1e30 => {
                self.out_of_range()?;
                Ok(if *v < 0.0 { i128::MIN } else { i128::MAX })
            }
            Val::Text(text) | Val::Json(text) => {
                if let MySqlType::Year = self.target.ty {
                    return self.year(value);
                }
                if let Ok(number) = text.parse::<i64>() {
                    return Ok(i128::from(number));
                }
                let text = text.trim();
                let (number, whole) = number_prefix(text);
                if !whole {
                    if text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
                        self.truncated()?;
                    } else {
                        self.incorrect("integer", value)?;
                    }
                }
                let (exact, all_digits) = int_prefix(text);
                if all_digits {
                    return Ok(exact);
                }
                Ok(Decimal::parse_prefix(text).map_or(number as i128, |decimal| decimal.round(0).units))
            }
            Val::Bytes(bytes) if matches!(self.target.ty, MySqlType::Bit(_)) && bytes.len() <= 8 => {
                Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | i128::from(*byte)))
            }
            Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => self.int(&Val::Text(Cow::Borrowed(text))),
                Err(_) => self.incorrect("integer", value).map(|()| 0),
            },
            _ if matches!(self.target.ty, MySqlType::Year) => self.year(value),
            Val::DateTime(micros, fsp) if *fsp > 0 => Ok(Val::DateTime(calendar::round_fsp(*micros, 0), 0).to_i128()),
            other => Ok(other.to_i128()),
        }
        .and_then(|number| {
            if matches!(self.target.ty, MySqlType::Year) && value.is_number() {
                self.year(&Val::Int(number as i64))
            } else {
                Ok(number)
            }
        })
    }

    /// YEAR takes 1901 to 2155, 0, and two-digit years.
    fn year(&mut self, value: &Val<'_>) -> Result<i128> {
        let (number, zero_is_2000) = match value {
            Val::Text(text) => {
                let (number, whole) = int_prefix(text);
                if !whole {
                    self.incorrect("integer", value)?;
                }
                (number, text.trim().len() <= 3)
            }
            Val::Date(_) | Val::DateTime(..) => {
                let days = value.to_date(0).unwrap_or(0);
                (i128::from(calendar::civil_from_days(days).0), false)
            }
            other => (other.to_i128(), false),
        };
        match number {
            0 if !zero_is_2000 => Ok(0),
            0..=69 => Ok(number + 2000),
            70..=99 => Ok(number + 1900),
            1901..=2155 => Ok(number),
            _ => self.out_of_range().map(|()| 0),
        }
    }

    fn double(&mut self, value: &Val<'_>) -> Result<f64> {
        let number = match value {
            Val::Text(text) | Val::Json(text) => {
                let (number, whole) = number_prefix(text);
                if !whole {
                    if number_prefix(text.trim()).0 != 0.0 {
                        self.truncated()?;
                    } else {
                        let kind = if matches!(self.target.ty, MySqlType::Float { .. }) { "float" } else { "double" };
                        self.incorrect(kind, value)?;
                    }
                }
                number
            }
            other => other.to_f64(),
        };
        if !number.is_finite() {
            self.out_of_range()?;
            return Ok(f64::MAX.copysign(number));
        }
        if number < 0.0 && self.target.ty.unsigned() {
            self.out_of_range()?;
            return Ok(0.0);
        }
        Ok(number)
    }

    fn decimal(&mut self, value: &Val<'_>, precision: u8, scale: u8) -> Result<i128> {
        let number = match value {
            Val::Text(text) | Val::Json(text) => {
                let text = text.trim();
                match Decimal::parse(text) {
                    Some(number) => Some(number),
                    None => {
                        let (_, whole) = number_prefix(text);
                        if !whole {
                            if text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '.')) {
                                self.truncated()?;
                            } else {
                                self.incorrect("decimal", value)?;
                            }
                        }
                        Decimal::parse_prefix(text)
                    }
                }
            }
            other => other.to_decimal(),
        };
        let limit = crate::functions::value::pow10(precision);
        let units = number.and_then(|number| number.rescale(scale)).map(|number| number.units);
        match units {
            Some(units) if units < 0 && self.target.ty.unsigned() => self.out_of_range().map(|()| 0),
            Some(units) if units.abs() < limit => Ok(units),
            other => {
                self.out_of_range()?;
                let negative = other.map_or_else(|| value.to_f64() < 0.0, |units| units < 0);
                Ok(if negative { 1 - limit } else { limit - 1 })
            }
        }
    }

    fn text<'a>(&mut self, value: Val<'a>) -> Result<Cow<'a, str>> {
        match self.target.ty {
            MySqlType::Json => return self.json(value),
            MySqlType::Enum(names) => return self.member(value, names),
            MySqlType::Set(names) => return self.members(value, names),
            _ => {}
        }
        let text = match value {
            Val::Bytes(ref bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Owned(text.to_owned()),
                Err(_) => {
                    let shown = bytes.iter().take(6).map(|byte| format!("\\x{byte:02X}")).collect::<String>();
                    self.incorrect("string", &Val::text(shown))?;
                    value.into_text()
                }
            },
            // FLOAT columns show six digits, but what arrives here is a double.
            other => other.into_text(),
        };
        let text = match self.target.ty {
            // CHAR loses its trailing spaces: they are padding.
            MySqlType::Char(_) => trim_spaces(text),
            _ => text,
        };
        let limit = self.target.ty.character_maximum_length().unwrap_or(u64::MAX);
        let in_characters = matches!(self.target.ty, MySqlType::Char(_) | MySqlType::VarChar(_));
        if text.len() as u64 <= limit {
            return Ok(text);
        }
        let cut = if in_characters {
            match text.char_indices().nth(limit as usize) {
                None => return Ok(text),
                Some((at, _)) => at,
            }
        } else {
            floor_char(&text, limit as usize)
        };
        // Spaces beyond a VARCHAR's end are cut with a note, not an error.
        if in_characters && text[cut..].bytes().all(|byte| byte == b' ') {
            return Ok(Cow::Owned(text[..cut].to_owned()));
        }
        self.too_long()?;
        Ok(Cow::Owned(text[..cut].to_owned()))
    }

    fn too_long(&mut self) -> Result<()> {
        if self.target.mode == Mode::Ignore {
            return self.truncated();
        }
        let place = self.place();
        self.fail(1406, "22001", || format!("Data too long {place}"))
    }

    fn bytes(&mut self, value: &Val<'_>) -> Result<Vec<u8>> {
        let mut bytes = value.to_bytes().into_owned();
        let limit = self.target.ty.character_maximum_length().unwrap_or(u64::MAX);
        if bytes.len() as u64 > limit {
            self.too_long()?;
            bytes.truncate(limit as usize);
        }
        if let MySqlType::Binary(length) = self.target.ty {
            bytes.resize(*length as usize, 0);
        }
        Ok(bytes)
    }

    fn json<'a>(&mut self, value: Val<'a>) -> Result<Cow<'a, str>> {
        match value {
            Val::Json(text) => Ok(text),
            Val::Bool(v) => Ok(Cow::Borrowed(if v { "true" } else { "false" })),
            Val::Int(_) | Val::UInt(_) | Val::Float(_) | Val::Dec(_) => Ok(value.into_text()),
            Val::Date(_) | Val::DateTime(..) | Val::Time(..) => {
                Ok(Cow::Owned(serde_json::Value::String(value.into_text().into_owned()).to_string()))
            }
            other => {
                let text = other.into_text();
                match serde_json::from_str::<serde_json::Value>(&text) {
                    Ok(document) => Ok(Cow::Owned(crate::functions::json::to_text(&document))),
                    Err(error) => {
                        let column = self.target.column;
                        // Not even INSERT IGNORE stores text that is no JSON.
                        Err(Error::new(
                            3140,
                            "22032",
                            format!(
                                "Invalid JSON text: \"{}\" at position {} in value for column '{column}'.",
                                json_reason(&error),
                                error.column().saturating_sub(1)
                            ),
                        ))
                    }
                }
            }
        }
    }

    fn member<'a>(&mut self, value: Val<'a>, names: &[String]) -> Result<Cow<'a, str>> {
        let found = match &value {
            number if number.is_number() => {
                usize::try_from(number.to_int()).ok().and_then(|index| names.get(index.checked_sub(1)?))
            }
            other => {
                let text = other.to_text().unwrap_or_default();
                find_member(names, trim_spaces(text.clone()).as_ref()).or_else(|| {
                    // A text that is no member may be a member's number.
                    let index = text.parse::<usize>().ok()?;
                    names.get(index.checked_sub(1)?)
                })
            }
        };
        match found {
            Some(name) => Ok(Cow::Owned(name.clone())),
            None => self.truncated().map(|()| Cow::Borrowed("")),
        }
    }

    fn members<'a>(&mut self, value: Val<'a>, names: &[String]) -> Result<Cow<'a, str>> {
        let mut chosen = vec![false; names.len()];
        if value.is_number() {
            let bits = value.to_bits();
            if names.len() < 64 && bits >> names.len() != 0 {
                self.truncated()?;
            }
            for (index, slot) in chosen.iter_mut().enumerate() {
                *slot = bits >> index & 1 == 1;
            }
        } else {
            let text = value.into_text();
            for part in text.split(',').filter(|part| !part.is_empty()) {
                match names.iter().position(|name| same_member(name, part.trim_end_matches(' '))) {
                    Some(index) => chosen[index] = true,
                    None => self.truncated()?,
                }
            }
        }
        let list: Vec<&str> =
            names.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(name, _)| name.as_str()).collect();
        Ok(Cow::Owned(list.join(",")))
    }

    fn date(&mut self, value: &Val<'_>) -> Result<Option<i32>> {
        if let Val::Date(days) = value {
            return Ok(Some(*days));
        }
        match self.parsed_datetime(value, "date")? {
            Some(micros) => Ok(Some(micros.div_euclid(DAY) as i32)),
            None => Ok(self.missing_date().map(|micros| (micros / DAY) as i32)),
        }
    }

    fn datetime(&mut self, value: &Val<'_>, fsp: u8) -> Result<Option<i64>> {
        let Some(micros) = self.parsed_datetime(value, "datetime")? else { return Ok(self.missing_date()) };
        let rounded = calendar::round_fsp(micros, fsp);
        let in_timestamp = (0..=2_147_483_647_999_999).contains(&rounded);
        if !calendar::in_range(rounded) || matches!(self.target.ty, MySqlType::Timestamp(_)) && !in_timestamp {
            self.incorrect("datetime", value)?;
            return Ok(self.missing_date());
        }
        Ok(Some(rounded))
    }

    /// In ignoring mode MySQL stores the zero date; there is none here, so NULL or the epoch's day.
    fn missing_date(&self) -> Option<i64> {
        if self.target.nullable { None } else { Some(0) }
    }

    fn parsed_datetime(&mut self, value: &Val<'_>, kind: &str) -> Result<Option<i64>> {
        let parsed = match value {
            Val::Text(text) | Val::Json(text) => calendar::parse_datetime(text).map(|p| (p.micros, p.complete)),
            Val::Bytes(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                calendar::parse_datetime(&text).map(|p| (p.micros, p.complete))
            }
            other => other.to_datetime(0).map(|(micros, _)| (micros, true)),
        };
        match parsed {
            Some((micros, true)) => Ok(Some(micros)),
            Some((micros, false)) => {
                // What follows a value is cut in ignoring mode.
                self.incorrect(kind, value)?;
                Ok(Some(micros))
            }
            None => self.incorrect(kind, value).map(|()| None),
        }
    }

    fn time(&mut self, value: &Val<'_>, fsp: u8) -> Result<Option<i64>> {
        let micros = match value {
            Val::Text(text) | Val::Json(text) => match calendar::parse_time(text) {
                Some(parsed) => {
                    if !parsed.complete {
                        self.incorrect("time", value)?;
                    }
                    parsed.micros
                }
                None => return self.incorrect("time", value).map(|()| Some(0)),
            },
            other => match other.to_time() {
                Some((micros, _)) => micros,
                None => return self.incorrect("time", value).map(|()| Some(0)),
            },
        };
        let rounded = calendar::round_fsp(micros, fsp);
        if rounded.abs() > calendar::TIME_MAX {
            self.incorrect("time", value)?;
            return Ok(Some(calendar::TIME_MAX * rounded.signum()));
        }
        Ok(Some(rounded))
    }
}

/// Returns the parser's reason without its position.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

fn find_member<'n>(names: &'n [String], text: &str) -> Option<&'n String> {
    names.iter().find(|name| *name == text).or_else(|| names.iter().find(|name| same_member(name, text)))
}

fn same_member(name: &str, text: &str) -> bool {
    name.eq_ignore_ascii_case(text) || name.to_lowercase() == text.to_lowercase()
}

fn trim_spaces(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(' ')),
        Cow::Owned(mut text) => {
            text.truncate(text.trim_end_matches(' ').len());
            Cow::Owned(text)
        }
    }
}

fn floor_char(text: &str, limit: usize) -> usize {
    (0..=limit.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

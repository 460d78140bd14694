//! What a column holds when nobody says: DEFAULT in the form in which it is kept and shown, and its value for rows that
//! are older than the column.

use jiff::civil;
use jiff::tz::TimeZone;
use strandline_core::ids::Time;
use strandline_core::schema::{Initial, Type};

use super::spec::DefaultSpec;
use crate::create_text::{base_type, string_literal};
use crate::error::{Error, Result};

/// A default that fits its column.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// As it is kept in `Column::default` and shown: a quoted literal, `CURRENT_TIMESTAMP[(n)]`, or an expression in
    /// brackets. `None` is NULL, or no default.
    pub text: Option<String>,
    pub value: Given,
}

/// The value of older rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Null,
    Constant(Initial),
    /// Each row gets its own: an expression, to be computed by a rewrite.
    Computed,
}

/// What defaults depend on besides the column.
#[derive(Clone, Copy)]
pub struct Clock<'a> {
    /// The statement's time.
    pub now: Time,
    /// The session's time zone.
    pub zone: &'a TimeZone,
}

/// Fits a default to its column.
///
/// # Errors
/// 1067 where the value does not fit, 1101 for a literal default of TEXT, BLOB and JSON.
pub fn resolve(
    name: &str,
    ty: Type,
    declared: &str,
    nullable: bool,
    spec: &DefaultSpec,
    clock: Clock<'_>,
) -> Result<Resolved> {
    let invalid = || Error::new(1067, "42000", format!("Invalid default value for '{name}'"));
    let base = base_type(declared);
    match spec {
        DefaultSpec::Null if nullable => Ok(Resolved { text: None, value: Given::Null }),
        DefaultSpec::Null => Err(invalid()),
        DefaultSpec::Expression(text) => Ok(Resolved { text: Some(format!("({text})")), value: Given::Computed }),
        DefaultSpec::Now(digits) => {
            if !matches!(base, "datetime" | "timestamp") || *digits != fraction_digits(declared) {
                return Err(invalid());
            }
            let unit = 10_i64.pow(6 - u32::from(*digits).min(6));
            let micros = if base == "timestamp" { clock.now.0 } else { local_micros(clock.now, clock.zone) };
            let value = Given::Constant(Initial::Int(micros.div_euclid(unit) * unit));
            Ok(Resolved { text: Some(now_text(*digits)), value })
        }
        literal => {
            if base.ends_with("text") || base.ends_with("blob") || base == "json" {
                let message = format!("BLOB, TEXT, GEOMETRY or JSON column '{name}' can't have a default value");
                return Err(Error::new(1101, "42000", message));
            }
            let value = constant(ty, declared, literal, clock.zone).ok_or_else(invalid)?;
            Ok(Resolved { text: Some(text_of(ty, declared, &value, literal)), value: Given::Constant(value) })
        }
    }
}

/// Returns the value that rows get where a NOT NULL column without a default is added: zero, the empty text, an ENUM's
/// first member. Dates have none.
pub fn implicit(ty: Type, declared: &str) -> Option<Initial> {
    Some(match ty {
        Type::Bool => Initial::Bool(false),
        Type::Int8 | Type::Int16 | Type::Int32 | Type::Int64 | Type::Duration => Initial::Int(0),
        Type::UInt8 | Type::UInt16 | Type::UInt32 | Type::UInt64 => Initial::UInt(0),
        Type::Float32 | Type::Float64 => Initial::Float(0.0),
        Type::Decimal(..) => Initial::Decimal("0".to_owned()),
        Type::Text if base_type(declared) == "enum" => Initial::Text(members(declared).into_iter().next()?),
        Type::Text if base_type(declared) == "json" => Initial::Text("null".to_owned()),
        Type::Text => Initial::Text(String::new()),
        Type::Bytes => Initial::Bytes(Vec::new()),
        Type::Date | Type::DateTime => return None,
    })
}

/// Returns `CURRENT_TIMESTAMP` with its fractional digits.
pub fn now_text(digits: u8) -> String {
    if digits == 0 { "CURRENT_TIMESTAMP".to_owned() } else { format!("CURRENT_TIMESTAMP({digits})") }
}

/// Returns the first number in a declared type's brackets: 6 of `datetime(6)`; 0 if there is none.
pub fn fraction_digits(declared: &str) -> u8 {
    let inner = declared.split_once('(').and_then(|(_, rest)| rest.split([')', ',']).next());
    inner.and_then(|digits| digits.trim().parse().ok()).unwrap_or(0)
}

/// Returns the members of a declared ENUM or SET.
pub fn members(declared: &str) -> Vec<String> {
    let Some((_, list)) = declared.split_once('(') else { return Vec::new() };
    let mut members = Vec::new();
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\'' {
            continue;
        }
        let mut member = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\'' if chars.peek() == Some(&'\'') => {
                    chars.next();
                    member.push('\'');
                }
                '\'' => break,
                '\\' => match chars.next() {
                    Some('n') => member.push('\n'),
                    Some('r') => member.push('\r'),
                    Some('0') => member.push('\0'),
                    Some(other) => member.push(other),
                    None => {}
                },
                other => member.push(other),
            }
        }
        members.push(member);
    }
    members
}

/// Converts a literal to a column's type, as strict mode would store it.
fn constant(ty: Type, declared: &str, literal: &DefaultSpec, zone: &TimeZone) -> Option<Initial> {
    let text = match literal {
        DefaultSpec::Number(text) | DefaultSpec::Text(text) => text.trim_end().to_owned(),
        DefaultSpec::Bool(truth) => u8::from(*truth).to_string(),
        DefaultSpec::Bytes(bytes) => match ty {
            Type::Bytes => return Some(Initial::Bytes(bytes.clone())),
            Type::Text => String::from_utf8(bytes.clone()).ok()?,
            _ => {
                let value =
                    bytes.iter().try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)))?;
                value.to_string()
            }
        },
        DefaultSpec::Null | DefaultSpec::Now(_) | DefaultSpec::Expression(_) => return None,
    };
    match ty {
        Type::Bool => match text.as_str() {
            "0" => Some(Initial::Bool(false)),
            "1" => Some(Initial::Bool(true)),
            _ => None,
        },
        Type::Int8 => signed(&text, i64::from(i8::MIN), i64::from(i8::MAX)),
        Type::Int16 => signed(&text, i64::from(i16::MIN), i64::from(i16::MAX)),
        Type::Int32 if base_type(declared) == "mediumint" => signed(&text, -8_388_608, 8_388_607),
        Type::Int32 => signed(&text, i64::from(i32::MIN), i64::from(i32::MAX)),
        Type::Int64 => signed(&text, i64::MIN, i64::MAX),
        Type::UInt8 => unsigned(&text, u64::from(u8::MAX)),
        Type::UInt16 => unsigned(&text, u64::from(u16::MAX)),
        Type::UInt32 if base_type(declared) == "mediumint" => unsigned(&text, 16_777_215),
        Type::UInt32 => unsigned(&text, u64::from(u32::MAX)),
        Type::UInt64 if base_type(declared) == "bit" => {
            let width = fraction_digits(declared).clamp(1, 64);
            unsigned(&text, u64::MAX >> (64 - width))
        }
        Type::UInt64 => unsigned(&text, u64::MAX),
        Type::Float32 | Type::Float64 => {
            text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Initial::Float)
        }
        Type::Decimal(precision, scale) => decimal(&text, precision, scale).map(Initial::Decimal),
        Type::Text => {
            // Not trimmed: the spaces of a text are part of it.
            let text = match literal {
                DefaultSpec::Text(text) => text.clone(),
                _ => text,
            };
            fits_text(declared, &text).then_some(Initial::Text(text))
        }
        Type::Bytes => Some(Initial::Bytes(text.into_bytes())),
        Type::Date => {
            let date: civil::Date = text.get(..10).unwrap_or(&text).parse().ok()?;
            let days = date.since(civil::date(1970, 1, 1)).ok()?.get_days();
            Some(Initial::Int(i64::from(days)))
        }
        Type::Duration => duration_micros(&text).map(Initial::Int),
        Type::DateTime => {
            let normal = text.replacen(' ', "T", 1);
            let time: civil::DateTime = match normal.parse() {
                Ok(time) => time,
                Err(_) => normal.parse::<civil::Date>().ok()?.to_datetime(civil::Time::midnight()),
            };
            let micros = if base_type(declared) == "timestamp" {
                time.to_zoned(zone.clone()).ok()?.timestamp().as_microsecond()
            } else {
                civil_micros(time)?
            };
            Some(Initial::Int(micros))
        }
    }
}

/// Returns a constant as MySQL shows it after DEFAULT.
fn text_of(ty: Type, declared: &str, value: &Initial, literal: &DefaultSpec) -> String {
    match (ty, value) {
        (_, Initial::Bool(truth)) => format!("'{}'", u8::from(*truth)),
        (Type::UInt64, Initial::UInt(bits)) if base_type(declared) == "bit" => format!("b'{bits:b}'"),
        (Type::Date | Type::DateTime | Type::Duration, Initial::Int(_)) => match literal {
            DefaultSpec::Text(text) | DefaultSpec::Number(text) => {
                string_literal(&time_text(ty, declared, text, value))
            }
            _ => "'0'".to_owned(),
        },
        (_, Initial::Int(number)) => format!("'{number}'"),
        (_, Initial::UInt(number)) => format!("'{number}'"),
        (_, Initial::Float(number)) => format!("'{number}'"),
        (Type::Decimal(_, scale), Initial::Decimal(unscaled)) => format!("'{}'", scaled(unscaled, scale)),
        (_, Initial::Decimal(unscaled)) => format!("'{unscaled}'"),
        (_, Initial::Text(text)) => string_literal(text),
        (_, Initial::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(char::is_control) => string_literal(text),
            _ => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        },
    }
}

/// Writes a date or time in full. A TIMESTAMP keeps the session's local time as it was written.
fn time_text(ty: Type, declared: &str, text: &str, value: &Initial) -> String {
    let digits = usize::from(fraction_digits(declared).min(6));
    let Initial::Int(number) = value else { return text.to_owned() };
    match ty {
        Type::Date => text.get(..10).unwrap_or(text).to_owned(),
        Type::Duration => {
            let sign = if *number < 0 { "-" } else { "" };
            let micros = number.unsigned_abs();
            let seconds = micros / 1_000_000;
            let whole = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            with_fraction(whole, micros % 1_000_000, digits)
        }
        _ => {
            let normal = text.replacen('T', " ", 1);
            let (whole, fraction) = normal.split_once('.').unwrap_or((&normal, ""));
            let whole = if whole.len() <= 10 { format!("{whole} 00:00:00") } else { whole.to_owned() };
            let micros = format!("{fraction:0<6}").get(..6).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            with_fraction(whole, micros, digits)
        }
    }
}

fn with_fraction(whole: String, micros: u64, digits: usize) -> String {
    if digits == 0 { whole } else { format!("{whole}.{}", &format!("{micros:06}")[..digits]) }
}

fn signed(text: &str, min: i64, max: i64) -> Option<Initial> {
    let number: i64 = text.parse().ok().or_else(|| rounded(text)?.parse().ok())?;
    (min..=max).contains(&number).then_some(Initial::Int(number))
}

fn unsigned(text: &str, max: u64) -> Option<Initial> {
    let number: u64 = text.parse().ok().or_else(|| rounded(text)?.parse().ok())?;
    (number <= max).then_some(Initial::UInt(number))
}

/// Rounds `3.5` to `4`, half away from zero.
fn rounded(text: &str) -> Option<String> {
    decimal(text, 38, 0)
}

/// Returns the unscaled value of a decimal text, rounded to `scale` digits; `None` if it is no number or has too many
/// digits.
fn decimal(text: &str, precision: u8, scale: i8) -> Option<String> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = usize::try_from(scale).ok()?;
    let padded = format!("{fraction:0<width$}", width = scale + 1);
    let mut unscaled: i128 = format!("{whole}{}", &padded[..scale])
        .trim_start_matches('0')
        .parse()
        .or_else(|error| {
            if whole.trim_start_matches('0').is_empty() && padded[..scale].trim_start_matches('0').is_empty() {
                Ok(0)
            } else {
                Err(error)
            }
        })
        .ok()?;
    if padded.as_bytes()[scale] >= b'5' {
        unscaled += 1;
    }
    if unscaled >= 10_i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(if negative { -unscaled } else { unscaled }.to_string())
}

/// Writes an unscaled decimal with its point.
fn scaled(unscaled: &str, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let (sign, digits) = match unscaled.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", unscaled),
    };
    if scale == 0 {
        return unscaled.to_owned();
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

fn fits_text(declared: &str, text: &str) -> bool {
    match base_type(declared) {
        "enum" => members(declared).iter().any(|member| member == text),
        "set" => {
            let members = members(declared);
            text.is_empty() || text.split(',').all(|part| members.iter().any(|member| member == part))
        }
        "char" | "varchar" => {
            let length = declared.split_once('(').and_then(|(_, rest)| rest.split(')').next()?.parse::<usize>().ok());
            text.chars().count() <= length.unwrap_or(1)
        }
        _ => true,
    }
}

/// Reads `[-][H]HH:MM[:SS[.frac]]` or plain seconds.
fn duration_micros(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<i64> = whole.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let seconds = match parts.as_slice() {
        // 'HHMMSS'
        [number] => number / 10_000 * 3600 + number / 100 % 100 * 60 + number % 100,
        [hours, minutes] => hours * 3600 + minutes * 60,
        [hours, minutes, seconds] => hours * 3600 + minutes * 60 + seconds,
        _ => return None,
    };
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    (seconds <= 838 * 3600 + 59 * 60 + 59).then_some(sign * (seconds * 1_000_000 + micros))
}

fn local_micros(time: Time, zone: &TimeZone) -> i64 {
    civil_micros(zone.to_datetime(time.to_jiff())).unwrap_or(time.0)
}

/// Returns microseconds since 1970-01-01 00:00:00 of a local time, as DATETIME is stored.
fn civil_micros(time: civil::DateTime) -> Option<i64> {
    time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ty: Type, declared: &str, spec: DefaultSpec) -> std::result::Result<String, u16> {
        let zone = TimeZone::UTC;
        let clock = Clock { now: Time(1_700_000_000_123_456), zone: &zone };
        resolve("c", ty, declared, true, &spec, clock).map(|r| r.text.unwrap_or_default()).map_err(|error| error.code)
    }

    #[test]
    fn literals_take_their_columns_form() {
        let number = |digits: &str| DefaultSpec::Number(digits.to_owned());
        let quoted = |text: &str| DefaultSpec::Text(text.to_owned());
        assert_eq!(text(Type::Int32, "int", number("5")), Ok("'5'".to_owned()));
        assert_eq!(text(Type::Int32, "int", quoted("-5")), Ok("'-5'".to_owned()));
        assert_eq!(text(Type::Int32, "int", quoted("five")), Err(1067));
        assert_eq!(text(Type::Int8, "tinyint", number("128")), Err(1067));
        assert_eq!(text(Type::Decimal(10, 2), "decimal(10,2)", number("0.005")), Ok("'0.01'".to_owned()));
        assert_eq!(text(Type::Decimal(3, 2), "decimal(3,2)", number("-1.5")), Ok("'-1.50'".to_owned()));
        assert_eq!(text(Type::Decimal(3, 2), "decimal(3,2)", number("10")), Err(1067));
        assert_eq!(text(Type::Text, "varchar(3)", quoted("it's")), Err(1067));
        assert_eq!(text(Type::Text, "varchar(4)", quoted("it's")), Ok("'it''s'".to_owned()));
        assert_eq!(text(Type::Text, "enum('a','b''c')", quoted("b'c")), Ok("'b''c'".to_owned()));
        assert_eq!(text(Type::Text, "enum('a')", quoted("b")), Err(1067));
        assert_eq!(text(Type::Text, "text", quoted("b")), Err(1101));
        assert_eq!(text(Type::UInt64, "bit(3)", DefaultSpec::Bytes(vec![5])), Ok("b'101'".to_owned()));
        assert_eq!(text(Type::UInt64, "bit(2)", DefaultSpec::Bytes(vec![5])), Err(1067));
        assert_eq!(
            text(Type::DateTime, "datetime(3)", quoted("2024-02-29 01:02:03")),
            Ok("'2024-02-29 01:02:03.000'".to_owned())
        );
        assert_eq!(text(Type::Date, "date", quoted("2023-02-29")), Err(1067));
        assert_eq!(text(Type::Duration, "time", quoted("25:00")), Ok("'25:00:00'".to_owned()));
        assert_eq!(text(Type::DateTime, "timestamp", DefaultSpec::Now(0)), Ok("CURRENT_TIMESTAMP".to_owned()));
        assert_eq!(text(Type::DateTime, "timestamp(6)", DefaultSpec::Now(0)), Err(1067));
        assert_eq!(text(Type::Int32, "int", DefaultSpec::Now(0)), Err(1067));
    }

    #[test]
    fn older_rows_get_the_time_of_the_statement_in_the_columns_precision() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let clock = Clock { now: Time(1_700_000_000_123_456), zone: &zone };
        let value = |declared: &str, digits| {
            resolve("c", Type::DateTime, declared, true, &DefaultSpec::Now(digits), clock).unwrap().value
        };
        assert_eq!(value("timestamp(3)", 3), Given::Constant(Initial::Int(1_700_000_000_123_000)));
        assert_eq!(value("datetime", 0), Given::Constant(Initial::Int(1_700_003_600_000_000)));
    }
}

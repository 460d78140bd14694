//! One value of a MySQL expression, and MySQL's conversions between kinds of values.
//!
//! Functions that work row by row read their arguments as `Val` and answer a `Val`; vectorised kernels do not come
//! here. Text converts to numbers by its longest numeric prefix, as MySQL does outside strict INSERTs.

use std::borrow::Cow;
use std::cmp::Ordering;

use arrow::datatypes::i256;

use super::calendar::{self, DAY, SECOND};
use crate::error::{Error, Result};

/// A value, borrowing text and bytes from its array where it can.
#[derive(Clone, Debug, PartialEq)]
pub enum Val<'a> {
    Null,
    /// A truth value; a number everywhere but in JSON.
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Dec(Decimal),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// A JSON document as text.
    Json(Cow<'a, str>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds, and the digits of the fraction that are shown.
    DateTime(i64, u8),
    Time(i64, u8),
}

/// A decimal number: `units` × 10^-`scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    pub units: i128,
    pub scale: u8,
}

impl<'a> Val<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Val<'a> {
        Val::Text(text.into())
    }

    pub fn bool(value: bool) -> Val<'a> {
        Val::Bool(value)
    }

    /// Returns how long a text is, in bytes; 0 for what is none.
    pub fn text_bytes(&self) -> usize {
        match self {
            Val::Text(text) | Val::Json(text) => text.len(),
            Val::Bytes(bytes) => bytes.len(),
            _ => 0,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Val::Null)
    }

    /// Returns the value as text, as a client would see it; `None` for NULL.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Val::Null => return None,
            Val::Bool(v) => Cow::Borrowed(if *v { "1" } else { "0" }),
            Val::Int(v) => Cow::Owned(v.to_string()),
            Val::UInt(v) => Cow::Owned(v.to_string()),
            Val::Float(v) => Cow::Owned(float_text(*v)),
            Val::Dec(v) => Cow::Owned(v.to_string()),
            Val::Text(v) | Val::Json(v) => Cow::Borrowed(v),
            Val::Bytes(v) => String::from_utf8_lossy(v),
            Val::Date(v) => Cow::Owned(calendar::format_date(i64::from(*v))),
            Val::DateTime(v, fsp) => Cow::Owned(calendar::format_datetime(*v, *fsp)),
            Val::Time(v, fsp) => Cow::Owned(calendar::format_time(*v, *fsp)),
        })
    }

    /// As `to_text`, for a value known not to be NULL (NULL gives the empty text), keeping the borrow.
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Val::Text(v) | Val::Json(v) => v,
            Val::Bytes(v) => Cow::Owned(String::from_utf8_lossy(&v).into_owned()),
            other => Cow::Owned(other.to_text().unwrap_or_default().into_owned()),
        }
    }

    /// Returns the bytes of the value's text.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Val::Bytes(v) => Cow::Borrowed(v),
            Val::Text(v) | Val::Json(v) => Cow::Borrowed(v.as_bytes()),
            other => Cow::Owned(other.to_text().unwrap_or_default().into_owned().into_bytes()),
        }
    }

    pub fn to_f64(&self) -> f64 {
        match self {
            Val::Null => 0.0,
            Val::Bool(v) => f64::from(u8::from(*v)),
            Val::Int(v) => *v as f64,
            Val::UInt(v) => *v as f64,
            Val::Float(v) => *v,
            Val::Dec(v) => v.to_f64(),
            Val::Text(v) => number_prefix(v).0,
            Val::Json(v) => number_prefix(v.trim_matches('"')).0,
            Val::Bytes(v) => number_prefix(&String::from_utf8_lossy(v)).0,
            Val::Date(_) | Val::DateTime(..) | Val::Time(..) => self.to_decimal().map_or(0.0, |value| value.to_f64()),
        }
    }

    /// Returns the value as an exact decimal, or `None` where it has too many digits.
    pub fn to_decimal(&self) -> Option<Decimal> {
        Some(match self {
            Val::Null => Decimal { units: 0, scale: 0 },
            Val::Bool(v) => Decimal { units: i128::from(*v), scale: 0 },
            Val::Int(v) => Decimal { units: i128::from(*v), scale: 0 },
            Val::UInt(v) => Decimal { units: i128::from(*v), scale: 0 },
            Val::Dec(v) => *v,
            Val::Float(v) => Decimal::parse(&format!("{v}"))?,
            Val::Text(v) => Decimal::parse_prefix(v)?,
            Val::Json(v) => Decimal::parse_prefix(v.trim_matches('"'))?,
            Val::Bytes(v) => Decimal::parse_prefix(&String::from_utf8_lossy(v))?,
            Val::Date(days) => {
                let (year, month, day) = calendar::civil_from_days(i64::from(*days));
                Decimal { units: i128::from(year * 10_000 + month * 100 + day), scale: 0 }
            }
            Val::DateTime(micros, fsp) => {
                let p = calendar::parts(*micros);
                let whole =
                    (p.year * 10_000 + p.month * 100 + p.day) * 1_000_000 + p.hour * 10_000 + p.minute * 100 + p.second;
                Decimal { units: i128::from(whole) * 1_000_000 + i128::from(p.micro), scale: 6 }.rescale(*fsp)?
            }
            Val::Time(micros, fsp) => {
                let size = micros.abs();
                let whole = size / calendar::HOUR * 10_000 + size / calendar::MINUTE % 60 * 100 + size / SECOND % 60;
                let units = (i128::from(whole) * 1_000_000 + i128::from(size % SECOND)) * i128::from(micros.signum());
                Decimal { units, scale: 6 }.rescale(*fsp)?
            }
        })
    }

    /// Returns the value as an integer, rounding half away from zero; text by its integer prefix. Saturates.
    pub fn to_int(&self) -> i64 {
        clamp_i64(self.to_i128())
    }

    /// Returns the value as an integer wide enough for both BIGINTs.
    pub fn to_i128(&self) -> i128 {
        match self {
            Val::Int(v) => i128::from(*v),
            Val::UInt(v) => i128::from(*v),
            Val::Float(v) => v.round_ties_even() as i128,
            Val::Text(v) => int_prefix(v).0,
            Val::Json(v) => int_prefix(v.trim_matches('"')).0,
            Val::Bytes(v) => int_prefix(&String::from_utf8_lossy(v)).0,
            other => other.to_decimal().map_or(0, |value| value.round(0).units),
        }
    }

    /// Returns the 64 bits that bit operators work on.
    pub fn to_bits(&self) -> u64 {
        match self {
            Val::UInt(v) => *v,
            Val::Int(v) => *v as u64,
            other => {
                let wide = match other {
                    Val::Text(v) => Decimal::parse_prefix(v).map_or(0, |value| value.round(0).units),
                    _ => other.to_i128(),
                };
                if wide < 0 { clamp_i64(wide) as u64 } else { u64::try_from(wide).unwrap_or(u64::MAX) }
            }
        }
    }

    /// Returns whether the value is true; `None` for NULL.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Val::Null => None,
            Val::Int(v) => Some(*v != 0),
            Val::UInt(v) => Some(*v != 0),
            Val::Dec(v) => Some(v.units != 0),
            other => Some(other.to_f64() != 0.0),
        }
    }

    /// Returns the value as a datetime: microseconds and digits of the fraction. `now` (microseconds of the session's
    /// clock) gives the date of a TIME.
    pub fn to_datetime(&self, now: i64) -> Option<(i64, u8)> {
        match self {
            Val::Null => None,
            Val::Date(days) => Some((i64::from(*days) * DAY, 0)),
            Val::DateTime(micros, fsp) => Some((*micros, *fsp)),
            Val::Time(micros, fsp) => Some((now.div_euclid(DAY) * DAY + micros, *fsp)),
            Val::Text(_) | Val::Json(_) | Val::Bytes(_) => {
                calendar::parse_datetime(&self.to_text()?).map(|parsed| (parsed.micros, parsed.fsp))
            }
            Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Float(_) | Val::Dec(_) => {
                let value = self.to_decimal()?;
                let micro = value.rescale(6)?.units % 1_000_000;
                let whole = value.rescale_cut(0).units;
                let parsed = calendar::datetime_from_number(clamp_i64(whole), micro as i64)?;
                Some((parsed.micros, value.scale.min(6)))
            }
        }
    }

    pub fn to_date(&self, now: i64) -> Option<i64> {
        self.to_datetime(now).map(|(micros, _)| micros.div_euclid(DAY))
    }

    /// Returns the value as a time: a signed duration, clamped to MySQL's range.
    pub fn to_time(&self) -> Option<(i64, u8)> {
        let clamp = |micros: i64| micros.clamp(-calendar::TIME_MAX, calendar::TIME_MAX);
        match self {
            Val::Null => None,
            Val::Date(_) => Some((0, 0)),
            Val::DateTime(micros, fsp) => Some((micros.rem_euclid(DAY), *fsp)),
            Val::Time(micros, fsp) => Some((*micros, *fsp)),
            Val::Text(_) | Val::Json(_) | Val::Bytes(_) => {
                calendar::parse_time(&self.to_text()?).map(|parsed| (clamp(parsed.micros), parsed.fsp))
            }
            Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Float(_) | Val::Dec(_) => {
                let value = self.to_decimal()?;
                let scaled = value.rescale(6)?.units;
                let (whole, micro) = (clamp_i64(scaled / 1_000_000), (scaled % 1_000_000) as i64);
                if whole.abs() >= 10_000_101_000_000 {
                    let parsed = calendar::datetime_from_number(whole, micro)?;
                    return Some((parsed.micros.rem_euclid(DAY), value.scale.min(6)));
                }
                let (hour, minute, second) = (whole / 10_000, whole / 100 % 100, whole % 100);
                if minute.abs() > 59 || second.abs() > 59 {
                    return None;
                }
                let micros = hour * calendar::HOUR + minute * calendar::MINUTE + second * SECOND + micro;
                Some((clamp(micros), value.scale.min(6)))
            }
        }
    }

    /// Tells whether comparing with a number needs no conversion.
    pub fn is_number(&self) -> bool {
        matches!(self, Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Float(_) | Val::Dec(_))
    }

    pub fn is_text(&self) -> bool {
        matches!(self, Val::Text(_) | Val::Bytes(_) | Val::Json(_))
    }

    /// Compares as MySQL's operators do: texts as bytes, a text and a number as doubles, dates with dates.
    /// `None` where one is NULL.
    pub fn compare(&self, other: &Val<'_>) -> Option<Ordering> {
        if self.is_null() || other.is_null() {
            return None;
        }
        if self.is_text() && other.is_text() {
            return Some(self.to_bytes().cmp(&other.to_bytes()));
        }
        let temporal = |value: &Val<'_>| matches!(value, Val::Date(_) | Val::DateTime(..));
        if ((temporal(self) && !other.is_number()) || (temporal(other) && !self.is_number()))
            && let (Some((left, _)), Some((right, _))) = (self.to_datetime(0), other.to_datetime(0))
        {
            return Some(left.cmp(&right));
        }
        let time = |value: &Val<'_>| matches!(value, Val::Time(..));
        if ((time(self) && !other.is_number()) || (time(other) && !self.is_number()))
            && let (Some((left, _)), Some((right, _))) = (self.to_time(), other.to_time())
        {
            return Some(left.cmp(&right));
        }
        let inexact = |value: &Val<'_>| matches!(value, Val::Float(_)) || value.is_text();
        if !inexact(self)
            && !inexact(other)
            && let (Some(left), Some(right)) = (self.to_decimal(), other.to_decimal())
        {
            return Some(left.compare(&right));
        }
        self.to_f64().partial_cmp(&other.to_f64())
    }
}

impl Decimal {
    /// Reads a whole text as a decimal number, with an exponent if there is one. `None` for other text or more than
    /// 38 digits.
    pub fn parse(text: &str) -> Option<Decimal> {
        let (value, used) = Decimal::scan(text)?;
        (used == text.len()).then_some(value)
    }

    /// Reads the longest numeric prefix; text without one is 0.
    pub fn parse_prefix(text: &str) -> Option<Decimal> {
        let text = text.trim_start();
        if number_prefix_len(text) == 0 {
            return Some(Decimal { units: 0, scale: 0 });
        }
        Decimal::scan(text).map(|(value, _)| value)
    }

    fn scan(text: &str) -> Option<(Decimal, usize)> {
        let end = number_prefix_len(text);
        if end == 0 {
            return None;
        }
        let (mantissa, exponent) = match text[..end].find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..end].parse::<i32>().ok()?),
            None => (&text[..end], 0),
        };
        let negative = mantissa.starts_with('-');
        let digits = mantissa.trim_start_matches(['-', '+']);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mut units: i128 = 0;
        let mut scale = 0_i32;
        for byte in whole.bytes() {
            units = units.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
        }
        for byte in fraction.bytes() {
            // Digits that cannot be held are below any scale that MySQL keeps.
            let Some(next) = units.checked_mul(10).and_then(|units| units.checked_add(i128::from(byte - b'0'))) else {
                break;
            };
            if scale >= 37 {
                break;
            }
            units = next;
            scale += 1;
        }
        scale -= exponent;
        while scale < 0 {
            units = units.checked_mul(10)?;
            scale += 1;
        }
        while scale > 37 {
            units /= 10;
            scale -= 1;
        }
        let units = if negative { -units } else { units };
        Some((Decimal { units, scale: u8::try_from(scale).ok()? }, end))
    }

    pub fn to_f64(self) -> f64 {
        // Through text: the nearest double of the exact value.
        self.to_string().parse().unwrap_or(0.0)
    }

    /// Changes the scale, rounding half away from zero. `None` where the digits do not fit.
    pub fn rescale(self, scale: u8) -> Option<Decimal> {
        if scale >= self.scale {
            let units = self.units.checked_mul(10_i128.checked_pow(u32::from(scale - self.scale))?)?;
            Some(Decimal { units, scale })
        } else {
            Some(Decimal { units: divide_rounded(self.units, pow10(self.scale - scale)), scale })
        }
    }

    /// Changes to a smaller scale by cutting digits off.
    pub fn rescale_cut(self, scale: u8) -> Decimal {
        if scale >= self.scale {
            return self.rescale(scale).unwrap_or(self);
        }
        Decimal { units: self.units / pow10(self.scale - scale), scale }
    }

    /// Rounds half away from zero to `digits` after the point; negative digits round before it. The scale becomes
    /// `digits`, at least 0 and at most what it was.
    pub fn round(self, digits: i64) -> Decimal {
        self.to_digits(digits, divide_rounded)
    }

    /// As `round`, towards zero.
    pub fn truncate(self, digits: i64) -> Decimal {
        self.to_digits(digits, |units, unit| units / unit)
    }

    fn to_digits(self, digits: i64, divide: fn(i128, i128) -> i128) -> Decimal {
        if digits >= i64::from(self.scale) {
            return self;
        }
        let drop = i64::from(self.scale) - digits;
        if drop > 38 {
            return Decimal { units: 0, scale: digits.max(0) as u8 };
        }
        let units = divide(self.units, pow10(drop as u8));
        if digits >= 0 {
            Decimal { units, scale: digits as u8 }
        } else {
            Decimal { units: units.saturating_mul(pow10((-digits).min(38) as u8)), scale: 0 }
        }
    }

    pub fn compare(&self, other: &Decimal) -> Ordering {
        let scale = self.scale.max(other.scale);
        match (self.rescale(scale), other.rescale(scale)) {
            (Some(left), Some(right)) => left.units.cmp(&right.units),
            _ => self.to_f64().total_cmp(&other.to_f64()),
        }
    }

    /// Divides to a result of `scale` digits, half away from zero. `None` for a division by zero or more than 38 digits.
    pub fn divide(self, other: Decimal, scale: u8) -> Option<Decimal> {
        if other.units == 0 {
            return None;
        }
        // self / other = (u1 / u2) * 10^(s2 - s1); the result has units of 10^-scale.
        let shift = i32::from(scale) + i32::from(other.scale) - i32::from(self.scale);
        // Nearly always 128 bits are enough.
        if (0..=38).contains(&shift)
            && let Some(top) = self.units.checked_mul(pow10(shift as u8))
            && let Some(bottom) = other.units.checked_abs()
        {
            return Some(Decimal { units: divide_rounded(top * other.units.signum(), bottom), scale });
        }
        let (mut top, mut bottom) = (i256::from_i128(self.units), i256::from_i128(other.units));
        let ten = i256::from_i128(10);
        for _ in 0..shift.unsigned_abs() {
            if shift > 0 {
                top = top.checked_mul(ten)?;
            } else {
                bottom = bottom.checked_mul(ten)?;
            }
        }
        let quotient = top.checked_div(bottom)?;
        let rest = top.checked_rem(bottom)?;
        let twice = rest.checked_mul(i256::from_i128(2))?;
        let up = magnitude(twice) >= magnitude(bottom);
        let negative = (self.units < 0) != (other.units < 0);
        let step = i256::from_i128(if negative { -1 } else { 1 });
        let units = if up { quotient.checked_add(step)? } else { quotient }.to_i128()?;
        Some(Decimal { units, scale })
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.units.unsigned_abs().to_string();
        let scale = usize::from(self.scale);
        if self.units < 0 {
            f.write_str("-")?;
        }
        if scale == 0 {
            return f.write_str(&digits);
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{whole}.{fraction}")
    }
}

fn magnitude(value: i256) -> i256 {
    if value < i256::from_i128(0) { value.wrapping_neg() } else { value }
}

/// Returns 10^`digits` for up to 38 digits.
pub fn pow10(digits: u8) -> i128 {
    10_i128.pow(u32::from(digits.min(38)))
}

/// Divides by a positive unit, half away from zero.
pub fn divide_rounded(value: i128, unit: i128) -> i128 {
    let quotient = value / unit;
    let rest = (value % unit).abs();
    if rest >= unit - rest { quotient + value.signum() } else { quotient }
}

pub fn clamp_i64(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Returns the number at the start of a text, and whether the whole text was used.
pub fn number_prefix(text: &str) -> (f64, bool) {
    let trimmed = text.trim_start();
    let end = number_prefix_len(trimmed);
    let value = trimmed[..end].parse::<f64>().unwrap_or(0.0);
    let value = if value.is_infinite() { f64::MAX.copysign(value) } else { value };
    (value, end > 0 && trimmed[end..].trim_end().is_empty())
}

fn number_prefix_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let whole = digits(at);
    let mut any = whole > at;
    at = whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        any |= fraction > at + 1;
        if any {
            at = fraction;
        }
    }
    if !any {
        return 0;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'-' | b'+')));
        let exponent = digits(at + 1 + sign);
        if exponent > at + 1 + sign {
            at = exponent;
        }
    }
    at
}

/// Returns the integer at the start of a text (cut at the first other character), and whether all of it was used.
pub fn int_prefix(text: &str) -> (i128, bool) {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['-', '+']));
    let digits = text.as_bytes()[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = sign + digits;
    let value = text[..end].parse::<i128>().unwrap_or(0);
    (value, digits > 0 && text[end..].trim_end().is_empty())
}

/// Formats a double as MySQL does: the shortest text that reads back the same, with an exponent where the plain form
/// would be long.
pub fn float_text(value: f64) -> String {
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".to_owned() } else { "0".to_owned() };
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-15..15).contains(&exponent) { format!("{value}") } else { format!("{mantissa}e{exponent}") }
}

/// As `float_text` for a FLOAT, which shows six digits.
pub fn float32_text(value: f32) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(f64::from(value));
    float_text(rounded)
}

/// 1690
pub fn out_of_range(what: &str, expression: &str) -> Error {
    Error::new(1690, "22003", format!("{what} value is out of range in '{expression}'"))
}

/// Returns the value unless it left the range of doubles.
pub fn finite(value: f64, expression: impl FnOnce() -> String) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(out_of_range("DOUBLE", &expression())) }
}

//! Values as MySQL prints them.

const DAY_MICROS: i64 = 86_400_000_000;

/// A calendar date and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    pub year: i64,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

impl Civil {
    /// Returns the date `days` after 1970-01-01.
    pub fn from_days(days: i64) -> Civil {
        // Years that begin in March put the leap day last: 400 of them are always 146,097 days.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil { year, month, day, hour: 0, minute: 0, second: 0, micros: 0 }
    }

    /// Returns the time `micros` microseconds after 1970-01-01 00:00:00.
    pub fn from_micros(micros: i64) -> Civil {
        let of_day = micros.rem_euclid(DAY_MICROS);
        let seconds = of_day / 1_000_000;
        Civil {
            hour: (seconds / 3600) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
            micros: (of_day % 1_000_000) as u32,
            ..Civil::from_days(micros.div_euclid(DAY_MICROS))
        }
    }

    /// Returns the microseconds since 1970-01-01 00:00:00, if this is a real date and time of the years 0 to 9999.
    pub fn to_micros(self) -> Option<i64> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days_of_month = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u8::from(leap),
            1..=12 => 31,
            _ => return None,
        };
        let in_range = (0..=9999).contains(&self.year)
            && (1..=days_of_month).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
            && self.micros < 1_000_000;
        if !in_range {
            return None;
        }
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        Some(days * DAY_MICROS + seconds * 1_000_000 + i64::from(self.micros))
    }
}

/// A duration in the parts that the protocol names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub negative: bool,
    /// Whole hours, beyond a day.
    pub hours: u64,
    pub minutes: u8,
    pub seconds: u8,
    pub micros: u32,
}

impl Span {
    pub fn from_micros(micros: i64) -> Span {
        let size = micros.unsigned_abs();
        Span {
            negative: micros < 0,
            hours: size / 3_600_000_000,
            minutes: (size / 60_000_000 % 60) as u8,
            seconds: (size / 1_000_000 % 60) as u8,
            micros: (size % 1_000_000) as u32,
        }
    }
}

pub fn push_date(out: &mut Vec<u8>, days: i32) {
    push_civil_date(out, Civil::from_days(i64::from(days)));
}

pub fn push_datetime(out: &mut Vec<u8>, micros: i64, decimals: u8) {
    let civil = Civil::from_micros(micros);
    push_civil_date(out, civil);
    out.push(b' ');
    push_clock(out, u64::from(civil.hour), civil.minute, civil.second, civil.micros, decimals);
}

pub fn push_time(out: &mut Vec<u8>, micros: i64, decimals: u8) {
    let span = Span::from_micros(micros);
    if span.negative {
        out.push(b'-');
    }
    push_clock(out, span.hours, span.minutes, span.seconds, span.micros, decimals);
}

/// Prints a DOUBLE: as few digits as name it, in exponent form below 1e-15 and from 1e15 on. With `decimals` below
/// 31, exactly that many places.
pub fn push_double(out: &mut Vec<u8>, value: f64, decimals: u8) {
    if decimals < 31 {
        return push_fixed(out, value, decimals);
    }
    if !value.is_finite() {
        return push_unusual(out, value);
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let digits = Digits::parse(text.as_bytes());
    digits.push(out);
}

/// Prints a FLOAT. MySQL gives it no more than 6 digits, so that 16777216 reads 16777200.
pub fn push_float(out: &mut Vec<u8>, value: f32, decimals: u8) {
    if decimals < 31 {
        return push_fixed(out, f64::from(value), decimals);
    }
    if !value.is_finite() {
        return push_unusual(out, f64::from(value));
    }
    let mut buffer = ryu::Buffer::new();
    let mut digits = Digits::parse(buffer.format_finite(value).as_bytes());
    if digits.count > 6 {
        // Rounded from the value itself: rounding its shortest digits once more could round twice.
        digits = Digits::parse(format!("{:.5e}", f64::from(value)).as_bytes());
    }
    digits.push(out);
}

/// Prints an unscaled decimal with `scale` places.
pub fn push_decimal(out: &mut Vec<u8>, value: i128, scale: i8) {
    let mut buffer = itoa::Buffer::new();
    if value < 0 {
        out.push(b'-');
    }
    push_scaled(out, buffer.format(value.unsigned_abs()).as_bytes(), scale);
}

/// Prints the digits of an unscaled decimal with `scale` places.
pub fn push_scaled(out: &mut Vec<u8>, digits: &[u8], scale: i8) {
    let Ok(places) = usize::try_from(scale) else {
        out.extend_from_slice(digits);
        if digits != b"0" {
            out.resize(out.len() + usize::from(scale.unsigned_abs()), b'0');
        }
        return;
    };
    let whole = digits.len().saturating_sub(places);
    if whole == 0 {
        out.push(b'0');
    } else {
        out.extend_from_slice(&digits[..whole]);
    }
    if places > 0 {
        out.push(b'.');
        out.resize(out.len() + places.saturating_sub(digits.len()), b'0');
        out.extend_from_slice(&digits[whole..]);
    }
}

fn push_civil_date(out: &mut Vec<u8>, civil: Civil) {
    if (0..=9999).contains(&civil.year) {
        push_two(out, (civil.year / 100) as u8);
        push_two(out, (civil.year % 100) as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(civil.year).as_bytes());
    }
    out.push(b'-');
    push_two(out, civil.month);
    out.push(b'-');
    push_two(out, civil.day);
}

fn push_clock(out: &mut Vec<u8>, hours: u64, minutes: u8, seconds: u8, micros: u32, decimals: u8) {
    if hours < 100 {
        push_two(out, hours as u8);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
    }
    out.push(b':');
    push_two(out, minutes);
    out.push(b':');
    push_two(out, seconds);
    let places = usize::from(decimals.min(6));
    if places > 0 {
        out.push(b'.');
        let mut fraction = [b'0'; 6];
        let mut left = micros;
        for digit in fraction.iter_mut().rev() {
            *digit += (left % 10) as u8;
            left /= 10;
        }
        out.extend_from_slice(&fraction[..places]);
    }
}

/// Pushes a number below 100 with two digits.
fn push_two(out: &mut Vec<u8>, number: u8) {
    out.push(b'0' + number / 10);
    out.push(b'0' + number % 10);
}

fn push_fixed(out: &mut Vec<u8>, value: f64, decimals: u8) {
    use std::io::Write;
    if !value.is_finite() {
        return push_unusual(out, value);
    }
    write!(out, "{value:.*}", usize::from(decimals)).expect("writing to memory cannot fail");
}

/// MySQL has neither of these; a client must not take one for a number.
fn push_unusual(out: &mut Vec<u8>, value: f64) {
    let name = if value.is_nan() {
        "nan"
    } else if value > 0.0 {
        "inf"
    } else {
        "-inf"
    };
    out.extend_from_slice(name.as_bytes());
}

/// The significant digits of a number: `0.DIGITS × 10^point`.
struct Digits {
    negative: bool,
    digits: [u8; 24],
    count: usize,
    point: i32,
}

impl Digits {
    /// Takes apart a number that Rust printed, with or without an exponent.
    fn parse(text: &[u8]) -> Digits {
        let mut parsed = Digits { negative: false, digits: [b'0'; 24], count: 0, point: 0 };
        let mut after_point = false;
        for (at, byte) in text.iter().enumerate() {
            match byte {
                b'-' => parsed.negative = true,
                b'.' => after_point = true,
                b'e' => {
                    let exponent = std::str::from_utf8(&text[at + 1..]).ok().and_then(|text| text.parse::<i32>().ok());
                    parsed.point += exponent.expect("a printed exponent is a number");
                    break;
                }
                b'0' if parsed.count == 0 => parsed.point -= i32::from(after_point),
                digit => {
                    if parsed.count < parsed.digits.len() {
                        parsed.digits[parsed.count] = *digit;
                        parsed.count += 1;
                    }
                    parsed.point += i32::from(!after_point);
                }
            }
        }
        while parsed.count > 0 && parsed.digits[parsed.count - 1] == b'0' {
            parsed.count -= 1;
        }
        parsed
    }

    /// Prints plainly where the point falls within 15 places of the digits' start, else with an exponent.
    fn push(&self, out: &mut Vec<u8>) {
        let digits = &self.digits[..self.count];
        if self.negative {
            out.push(b'-');
        }
        match (digits, self.point) {
            ([], _) => out.push(b'0'),
            (_, point @ -14..=0) => {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + point.unsigned_abs() as usize, b'0');
                out.extend_from_slice(digits);
            }
            (_, point @ 1..=15) => {
                let whole = point as usize;
                if let Some((whole, fraction)) = digits.split_at_checked(whole) {
                    out.extend_from_slice(whole);
                    if !fraction.is_empty() {
                        out.push(b'.');
                        out.extend_from_slice(fraction);
                    }
                } else {
                    out.extend_from_slice(digits);
                    out.resize(out.len() + whole - digits.len(), b'0');
                }
            }
            ([first, more @ ..], point) => {
                out.push(*first);
                if !more.is_empty() {
                    out.push(b'.');
                    out.extend_from_slice(more);
                }
                out.push(b'e');
                out.extend_from_slice(itoa::Buffer::new().format(point - 1).as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).expect("printed values are ASCII")
    }

    #[test]
    fn doubles() {
        // As MariaDB 10.11 prints them.
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (100.0, "100"),
            (1e14, "100000000000000"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e15"),
            (1.25e15, "1.25e15"),
            (1e20, "1e20"),
            (0.00001, "0.00001"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (1.5e-300, "1.5e-300"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        ] {
            assert_eq!(print(|out| push_double(out, value, 31)), expected);
        }
        assert_eq!(print(|out| push_double(out, 2.0, 2)), "2.00");
        assert_eq!(print(|out| push_double(out, f64::NAN, 31)), "nan");
    }

    #[test]
    fn doubles_read_back() {
        let mut bits = 1_u64;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let text = print(|out| push_double(out, value, 31));
                assert_eq!(text.parse::<f64>(), Ok(value), "{text}");
            }
        }
    }

    #[test]
    fn floats() {
        for (value, expected) in [
            (0.1_f32, "0.1"),
            (1.5, "1.5"),
            (16_777_216.0, "16777200"),
            (2.345_678_9, "2.34568"),
            (1e20, "1e20"),
            (f32::MAX, "3.40282e38"),
            (999_999.9, "1000000"),
        ] {
            assert_eq!(print(|out| push_float(out, value, 31)), expected);
        }
    }

    #[test]
    fn decimals() {
        for (value, scale, expected) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-12345, 3, "-12.345"),
            (12345, 5, "0.12345"),
            (7, -2, "700"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        ] {
            assert_eq!(print(|out| push_decimal(out, value, scale)), expected);
        }
    }

    #[test]
    fn times() {
        let top = ((838 * 60 + 59) * 60 + 59) * 1_000_000;
        assert_eq!(print(|out| push_time(out, -top, 0)), "-838:59:59");
        assert_eq!(print(|out| push_time(out, 1_500_000, 3)), "00:00:01.500");
        assert_eq!(print(|out| push_time(out, -1, 6)), "-00:00:00.000001");
        assert_eq!(print(|out| push_datetime(out, -1, 6)), "1969-12-31 23:59:59.999999");
        assert_eq!(print(|out| push_datetime(out, 1_709_210_096_123_456, 0)), "2024-02-29 12:34:56");
        assert_eq!(print(|out| push_date(out, -719_528)), "0000-01-01");
    }

    #[test]
    fn dates_round_trip() {
        for days in (-719_528..=2_932_896).step_by(13) {
            let civil = Civil::from_days(days);
            assert_eq!(civil.to_micros(), Some(days * DAY_MICROS), "{civil:?}");
            let date = jiff::civil::Date::new(civil.year as i16, civil.month as i8, civil.day as i8);
            assert!(date.is_ok(), "{civil:?}");
        }
        let no_date = Civil { year: 2023, month: 2, day: 29, hour: 0, minute: 0, second: 0, micros: 0 };
        assert_eq!(no_date.to_micros(), None);
    }
}

//! Dates and times as MySQL reads and writes them: the proleptic Gregorian calendar, lenient text and number forms,
//! fractional seconds, week numbers.
//!
//! A date is days since 1970-01-01, a datetime microseconds since 1970-01-01 00:00:00 of no zone, a time a signed
//! duration in microseconds. Years reach from 0 to 9999. Zero dates (`0000-00-00`) do not exist here: strict mode
//! refuses them. Nothing here knows a clock or a time zone.

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
/// The greatest TIME, 838:59:59, in microseconds.
pub const TIME_MAX: i64 = 838 * HOUR + 59 * MINUTE + 59 * SECOND;

/// The parts of a date and time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parts {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub micro: i64,
}

/// What a text or number meant as a date or datetime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParsedDateTime {
    pub micros: i64,
    pub has_time: bool,
    /// Digits of the fraction that was written, at most 6.
    pub fsp: u8,
    /// False where something was left over after the value.
    pub complete: bool,
}

/// Returns the days since 1970-01-01 of a valid date.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Returns (year, month, day) of days since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

pub fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Returns the days of a date, or `None` where there is no such date.
pub fn checked_days(year: i64, month: i64, day: i64) -> Option<i64> {
    let valid =
        (0..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
    // The year 0 exists in arithmetic only; 0000-00-00 is refused with its month.
    valid.then(|| days_from_civil(year, month, day))
}

/// Splits a datetime into its parts.
pub fn parts(micros: i64) -> Parts {
    let (year, month, day) = civil_from_days(micros.div_euclid(DAY));
    let rest = micros.rem_euclid(DAY);
    Parts {
        year,
        month,
        day,
        hour: rest / HOUR,
        minute: rest / MINUTE % 60,
        second: rest / SECOND % 60,
        micro: rest % SECOND,
    }
}

/// Tells whether a datetime lies in MySQL's range of years 0 to 9999.
pub fn in_range(micros: i64) -> bool {
    (days_from_civil(0, 1, 1) * DAY..=days_from_civil(9999, 12, 31) * DAY + DAY - 1).contains(&micros)
}

/// Rounds to `fsp` digits of a second, half away from zero.
pub fn round_fsp(micros: i64, fsp: u8) -> i64 {
    if fsp >= 6 {
        return micros;
    }
    let unit = 10_i64.pow(6 - u32::from(fsp));
    let half = if micros < 0 { -unit / 2 } else { unit / 2 };
    // Truncating division after the half was added is rounding half away from zero.
    if micros < 0 && micros % unit == 0 { micros } else { (micros + half) / unit * unit }
}

/// Cuts to `fsp` digits of a second.
pub fn cut_fsp(micros: i64, fsp: u8) -> i64 {
    let unit = 10_i64.pow(6 - u32::from(fsp.min(6)));
    micros.div_euclid(unit) * unit
}

/// Reads a date or datetime from text: `2024-01-31 10:00:00.5`, any punctuation between parts, two-digit years,
/// or bare digits (`20240131`, `240131101112`). An offset (`+02:00`) is taken off.
pub fn parse_datetime(text: &str) -> Option<ParsedDateTime> {
    let bytes = text.trim_start().as_bytes();
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let separated = digits <= 4 && bytes.get(digits).is_some_and(u8::is_ascii_punctuation);
    if separated { parse_separated(bytes) } else { parse_digits(bytes, digits) }
}

/// Reads a date or datetime from a number such as 20240131 or 20240131101112.
pub fn datetime_from_number(number: i64, micro: i64) -> Option<ParsedDateTime> {
    let (date, time, has_time) = match number {
        101..=691_231 => (number + 20_000_000, 0, false),
        700_101..=991_231 => (number + 19_000_000, 0, false),
        10_000_101..=99_991_231 => (number, 0, false),
        101_000_000..=691_231_235_959 => (number / 1_000_000 + 20_000_000, number % 1_000_000, true),
        700_101_000_000..=991_231_235_959 => (number / 1_000_000 + 19_000_000, number % 1_000_000, true),
        10_000_101_000_000..=99_991_231_235_959 => (number / 1_000_000, number % 1_000_000, true),
        _ => return None,
    };
    let days = checked_days(date / 10_000, date / 100 % 100, date % 100)?;
    let (hour, minute, second) = (time / 10_000, time / 100 % 100, time % 100);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = days * DAY + hour * HOUR + minute * MINUTE + second * SECOND + micro;
    Some(ParsedDateTime { micros, has_time, fsp: if micro == 0 { 0 } else { 6 }, complete: true })
}

fn parse_separated(bytes: &[u8]) -> Option<ParsedDateTime> {
    let mut at = 0;
    let number = |at: &mut usize, width: usize| -> Option<i64> {
        let start = *at;
        let mut value = 0;
        while *at < bytes.len() && *at - start < width && bytes[*at].is_ascii_digit() {
            value = value * 10 + i64::from(bytes[*at] - b'0');
            *at += 1;
        }
        (*at > start).then_some(value)
    };
    let punctuation = |at: &mut usize| -> bool {
        let start = *at;
        while *at < bytes.len() && bytes[*at].is_ascii_punctuation() {
            *at += 1;
        }
        *at > start
    };
    let mut year = number(&mut at, 4)?;
    if at <= 2 {
        year += if year < 70 { 2000 } else { 1900 };
    }
    if !punctuation(&mut at) {
        return None;
    }
    let month = number(&mut at, 2)?;
    if !punctuation(&mut at) {
        return None;
    }
    let day = number(&mut at, 2)?;
    let days = checked_days(year, month, day)?;
    let mut micros = days * DAY;
    let before_time = at;
    let mut has_time = false;
    let mut fsp = 0;
    let mut gap = false;
    if bytes.get(at) == Some(&b'T') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at += 1;
        gap = true;
    } else {
        while bytes.get(at).is_some_and(|byte| byte.is_ascii_whitespace()) {
            at += 1;
            gap = true;
        }
        // A date may also be parted from its time by punctuation alone.
        if !gap
            && bytes.get(at).is_some_and(u8::is_ascii_punctuation)
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
        {
            at += 1;
            gap = true;
        }
    }
    if gap && bytes.get(at).is_some_and(u8::is_ascii_digit) {
        has_time = true;
        let hour = number(&mut at, 2)?;
        let (mut minute, mut second, mut micro) = (0, 0, 0);
        let next = |at: &mut usize| -> bool {
            let here = *at;
            if bytes.get(here).is_some_and(|byte| byte.is_ascii_punctuation() && !matches!(byte, b'.' | b'+' | b'-'))
                && bytes.get(here + 1).is_some_and(u8::is_ascii_digit)
            {
                *at += 1;
                return true;
            }
            false
        };
        if next(&mut at) {
            minute = number(&mut at, 2)?;
            if next(&mut at) {
                second = number(&mut at, 2)?;
                if bytes.get(at) == Some(&b'.') {
                    at += 1;
                    (micro, fsp) = fraction(bytes, &mut at);
                }
            }
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        micros += hour * HOUR + minute * MINUTE + second * SECOND + micro;
        if let Some(offset) = offset(&bytes[at..]) {
            micros -= offset;
            at = bytes.len();
        }
    } else if gap {
        at = before_time;
    }
    let complete = bytes[at..].iter().all(u8::is_ascii_whitespace);
    Some(ParsedDateTime { micros, has_time, fsp, complete })
}

fn parse_digits(bytes: &[u8], digits: usize) -> Option<ParsedDateTime> {
    let read =
        |from: usize, to: usize| bytes[from..to].iter().fold(0_i64, |sum, byte| sum * 10 + i64::from(byte - b'0'));
    let (year_digits, with_time) = match digits {
        5 | 6 => (digits - 4, false),
        8 => (4, false),
        10 | 12 => (2, true),
        14.. => (4, true),
        _ => return None,
    };
    let mut year = read(0, year_digits);
    if year_digits <= 2 {
        year += if year < 70 { 2000 } else { 1900 };
    }
    let at = year_digits;
    let days = checked_days(year, read(at, at + 2), read(at + 2, at + 4))?;
    let mut micros = days * DAY;
    let mut end = at + 4;
    let mut fsp = 0;
    if with_time {
        let (hour, minute) = (read(end, end + 2), read(end + 2, end + 4));
        let second = if digits >= end + 6 { read(end + 4, end + 6) } else { 0 };
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        end = digits.min(end + 6);
        micros += hour * HOUR + minute * MINUTE + second * SECOND;
        if bytes.get(end) == Some(&b'.') {
            end += 1;
            let micro;
            (micro, fsp) = fraction(bytes, &mut end);
            micros += micro;
        }
    } else if (bytes.get(end) == Some(&b'T') || bytes.get(end) == Some(&b' '))
        && let Some(time) = parse_time(std::str::from_utf8(&bytes[end + 1..]).ok()?)
        && time.complete
        && (0..DAY).contains(&time.micros)
    {
        return Some(ParsedDateTime { micros: micros + time.micros, has_time: true, fsp: time.fsp, complete: true });
    }
    let complete = bytes[end..].iter().all(u8::is_ascii_whitespace);
    Some(ParsedDateTime { micros, has_time: with_time, fsp, complete })
}

/// Reads digits after a point as microseconds, rounding the seventh.
fn fraction(bytes: &[u8], at: &mut usize) -> (i64, u8) {
    let start = *at;
    let mut micro = 0;
    while *at < bytes.len() && bytes[*at].is_ascii_digit() {
        let index = *at - start;
        let digit = i64::from(bytes[*at] - b'0');
        if index < 6 {
            micro += digit * 10_i64.pow(5 - index as u32);
        } else if index == 6 && digit >= 5 {
            micro += 1;
        }
        *at += 1;
    }
    (micro, (*at - start).min(6) as u8)
}

fn offset(rest: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(rest).ok()?.trim_end();
    parse_offset(text)
}

/// Reads a zone offset such as `+02:00`, in microseconds.
pub fn parse_offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let (hours, minutes) = (hours.parse::<i64>().ok()?, minutes.parse::<i64>().ok()?);
    (hours <= 14 && minutes <= 59).then_some(sign * (hours * HOUR + minutes * MINUTE))
}

/// What a text meant as a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParsedTime {
    pub micros: i64,
    pub fsp: u8,
    pub complete: bool,
}

/// Reads a time: `[-][D ]hh:mm[:ss[.f]]`, `hhmmss`, or the time of day of a datetime. Values beyond 838:59:59 are
/// returned as they are: the caller clamps or refuses.
pub fn parse_time(text: &str) -> Option<ParsedTime> {
    let text = text.trim();
    let (negative, body) = match text.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let bytes = body.as_bytes();
    if !bytes.first()?.is_ascii_digit() && bytes.first() != Some(&b'.') {
        return None;
    }
    let looks_like_date = bytes.iter().filter(|byte| **byte == b'-').count() >= 2
        || bytes.iter().take_while(|byte| byte.is_ascii_digit()).count() >= 12;
    if looks_like_date && !negative {
        let parsed = parse_datetime(body)?;
        return Some(ParsedTime { micros: parsed.micros.rem_euclid(DAY), fsp: parsed.fsp, complete: parsed.complete });
    }
    let mut at = 0;
    let number = |at: &mut usize| -> Option<i64> {
        let start = *at;
        while *at < bytes.len() && bytes[*at].is_ascii_digit() {
            *at += 1;
        }
        body[start..*at].parse().ok()
    };
    let first = if bytes[0] == b'.' { 0 } else { number(&mut at)? };
    let mut days = 0;
    let (mut hour, mut minute, mut second) = (0, 0, 0);
    let mut clock = None;
    if bytes.get(at) == Some(&b' ') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        days = first;
        at += 1;
        hour = number(&mut at)?;
        clock = Some(());
    } else if bytes.get(at) == Some(&b':') {
        hour = first;
        clock = Some(());
    }
    if clock.is_some() {
        for (index, slot) in [&mut minute, &mut second].into_iter().enumerate() {
            if bytes.get(at) == Some(&b':') && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                at += 1;
                *slot = number(&mut at)?;
            } else if index == 0 && bytes.get(at) == Some(&b':') {
                break;
            }
        }
    } else {
        hour = first / 10_000;
        minute = first / 100 % 100;
        second = first % 100;
    }
    if minute > 59 || second > 59 || hour > 100_000_000 || days > 10_000_000 {
        return None;
    }
    let mut micro = 0;
    let mut fsp = 0;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        (micro, fsp) = fraction(bytes, &mut at);
    }
    let micros = days * DAY + hour * HOUR + minute * MINUTE + second * SECOND + micro;
    Some(ParsedTime { micros: if negative { -micros } else { micros }, fsp, complete: at == bytes.len() })
}

/// Appends a date as `2024-01-31`.
pub fn format_date(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Formats a datetime with `fsp` fractional digits.
pub fn format_datetime(micros: i64, fsp: u8) -> String {
    let p = parts(micros);
    let mut text = format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", p.year, p.month, p.day, p.hour, p.minute, p.second);
    push_fraction(&mut text, p.micro, fsp);
    text
}

/// Formats a time with `fsp` fractional digits.
pub fn format_time(micros: i64, fsp: u8) -> String {
    let size = micros.unsigned_abs() as i64;
    let sign = if micros < 0 { "-" } else { "" };
    let mut text = format!("{sign}{:02}:{:02}:{:02}", size / HOUR, size / MINUTE % 60, size / SECOND % 60);
    push_fraction(&mut text, size % SECOND, fsp);
    text
}

fn push_fraction(text: &mut String, micro: i64, fsp: u8) {
    if fsp > 0 {
        let digits = format!("{micro:06}");
        text.push('.');
        text.push_str(&digits[..usize::from(fsp.min(6))]);
    }
}

/// Returns the day of the week, 0 for Monday.
pub fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

pub fn day_of_year(days: i64) -> i64 {
    let (year, _, _) = civil_from_days(days);
    days - days_from_civil(year, 1, 1) + 1
}

/// Returns (year, week) as WEEK() counts in one of its eight modes. With `full_year`, the days before the first week
/// belong to the last week of the year before (YEARWEEK); without, modes that start at 0 call them week 0.
pub fn week(days: i64, mode: i64, full_year: bool) -> (i64, i64) {
    let monday_first = mode & 1 != 0;
    let counts_from_one = mode & 2 != 0 || full_year;
    // Of the two ways to find week 1: the week with four or more days in the year, or the first whole week.
    let first_weekday = if monday_first { mode & 4 != 0 } else { mode & 4 == 0 };
    let (mut year, _, _) = civil_from_days(days);
    let start_of_week_one = |year: i64| {
        let first = days_from_civil(year, 1, 1);
        let into_week = if monday_first { weekday(first) } else { (weekday(first) + 1) % 7 };
        let whole = first_weekday;
        let begins_late = if whole { into_week != 0 } else { into_week > 3 };
        first - into_week + if begins_late { 7 } else { 0 }
    };
    let mut start = start_of_week_one(year);
    if days < start {
        if !counts_from_one {
            return (year, 0);
        }
        year -= 1;
        start = start_of_week_one(year);
    } else if counts_from_one && days >= start_of_week_one(year + 1) {
        year += 1;
        start = start_of_week_one(year);
    }
    (year, (days - start) / 7 + 1)
}

/// Adds months, keeping the day inside the month.
pub fn add_months(micros: i64, months: i64) -> Option<i64> {
    let p = parts(micros);
    let total = p.year * 12 + p.month - 1 + months;
    let (year, month) = (total.div_euclid(12), total.rem_euclid(12) + 1);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let day = p.day.min(days_in_month(year, month));
    Some(days_from_civil(year, month, day) * DAY + micros.rem_euclid(DAY))
}

pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// Monday first.
pub const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

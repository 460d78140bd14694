//! Dates and times by format letters: DATE_FORMAT, TIME_FORMAT, STR_TO_DATE.

use std::fmt::Write;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;

use super::calendar::{self, DAY, HOUR, MINUTE, SECOND};
use super::value::Val;
use super::{Def, Ret, datetime_field, field, strict, time_field};
use crate::error::Result;

pub(super) fn list() -> Vec<Def> {
    vec![
        strict("date_format", 2..=3, Ret::Text, |env, args| {
            let found = args[0].to_datetime(env.settings.now_local());
            Ok(found.map_or(Val::Null, |(micros, _)| Val::text(date_format(micros, &args[1].clone().into_text()))))
        })
        .stable(),
        strict("time_format", 2..=2, Ret::Text, |_, args| {
            let format = args[1].clone().into_text();
            Ok(args[0].to_time().map_or(Val::Null, |(micros, _)| Val::text(time_format(micros, &format))))
        }),
        strict("str_to_date", 2..=2, Ret::By(parsed_field), |env, args| {
            let (text, format) = (args[0].clone().into_text(), args[1].clone().into_text());
            Ok(match (read(&text, &format), env.returns.data_type()) {
                (None, ty) => {
                    let what = if matches!(ty, DataType::Duration(_)) { "time" } else { "datetime" };
                    env.settings
                        .said
                        .warn(1411, || format!("Incorrect {what} value: '{text}' for function str_to_date"));
                    Val::Null
                }
                (Some(read), DataType::Duration(_)) => Val::Time(read.time, 6),
                (Some(read), _) => read.days.map_or(Val::Null, |days| Val::DateTime(days * DAY + read.time, 6)),
            })
        }),
        strict("get_format", 2..=2, Ret::Text, |_, args| {
            let (kind, place) =
                (args[0].clone().into_text().to_uppercase(), args[1].clone().into_text().to_uppercase());
            Ok(Val::text(match (kind.as_str(), place.as_str()) {
                ("DATE", "USA") => "%m.%d.%Y",
                ("DATE", "JIS" | "ISO") => "%Y-%m-%d",
                ("DATE", "EUR") => "%d.%m.%Y",
                ("DATE", "INTERNAL") => "%Y%m%d",
                ("DATETIME" | "TIMESTAMP", "USA" | "EUR") => "%Y-%m-%d %H.%i.%s",
                ("DATETIME" | "TIMESTAMP", "JIS" | "ISO") => "%Y-%m-%d %H:%i:%s",
                ("DATETIME" | "TIMESTAMP", "INTERNAL") => "%Y%m%d%H%i%s",
                ("TIME", "USA") => "%h:%i:%s %p",
                ("TIME", "JIS" | "ISO") => "%H:%i:%s",
                ("TIME", "EUR") => "%H.%i.%s",
                ("TIME", "INTERNAL") => "%H%i%s",
                _ => return Ok(Val::Null),
            }))
        }),
    ]
}

/// Formats a datetime by MySQL's letters.
pub(super) fn date_format(micros: i64, format: &str) -> String {
    let p = calendar::parts(micros);
    let days = micros.div_euclid(DAY);
    let weekday = calendar::weekday(days);
    let mut out = String::with_capacity(format.len() * 2);
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let Some(letter) = letters.next() else {
            out.push('%');
            break;
        };
        let _ = match letter {
            'a' => write!(out, "{}", &calendar::WEEKDAYS[weekday as usize][..3]),
            'b' => write!(out, "{}", &calendar::MONTHS[p.month as usize - 1][..3]),
            'c' => write!(out, "{}", p.month),
            'D' => write!(out, "{}{}", p.day, ordinal(p.day)),
            'd' => write!(out, "{:02}", p.day),
            'e' => write!(out, "{}", p.day),
            'j' => write!(out, "{:03}", calendar::day_of_year(days)),
            'M' => write!(out, "{}", calendar::MONTHS[p.month as usize - 1]),
            'm' => write!(out, "{:02}", p.month),
            'U' => write!(out, "{:02}", calendar::week(days, 0, false).1),
            'u' => write!(out, "{:02}", calendar::week(days, 1, false).1),
            'V' => write!(out, "{:02}", calendar::week(days, 2, true).1),
            'v' => write!(out, "{:02}", calendar::week(days, 3, true).1),
            'W' => write!(out, "{}", calendar::WEEKDAYS[weekday as usize]),
            'w' => write!(out, "{}", (weekday + 1) % 7),
            'X' => write!(out, "{:04}", calendar::week(days, 2, true).0),
            'x' => write!(out, "{:04}", calendar::week(days, 3, true).0),
            'Y' => write!(out, "{:04}", p.year),
            'y' => write!(out, "{:02}", p.year % 100),
            _ => clock(&mut out, letter, p.hour, micros.rem_euclid(DAY)),
        };
    }
    out
}

fn time_format(micros: i64, format: &str) -> String {
    let mut out = String::new();
    if micros < 0 {
        out.push('-');
    }
    let size = micros.abs();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' => match letters.next() {
                Some('Y') => out.push_str("0000"),
                Some('y' | 'm' | 'd') => out.push_str("00"),
                Some('c' | 'e') => out.push('0'),
                Some(letter) => {
                    let _ = clock(&mut out, letter, size / HOUR, size);
                }
                None => out.push('%'),
            },
            other => out.push(other),
        }
    }
    out
}

/// The letters that dates and times share.
fn clock(out: &mut String, letter: char, hour: i64, micros: i64) -> std::fmt::Result {
    let (minute, second, micro) = (micros / MINUTE % 60, micros / SECOND % 60, micros % SECOND);
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let half = if hour % 24 < 12 { "AM" } else { "PM" };
    match letter {
        'f' => write!(out, "{micro:06}"),
        'H' => write!(out, "{hour:02}"),
        'k' => write!(out, "{hour}"),
        'h' | 'I' => write!(out, "{twelve:02}"),
        'l' => write!(out, "{twelve}"),
        'i' => write!(out, "{minute:02}"),
        'p' => out.write_str(half),
        'r' => write!(out, "{twelve:02}:{minute:02}:{second:02} {half}"),
        'S' | 's' => write!(out, "{second:02}"),
        'T' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
        other => out.write_char(other),
    }
}

fn ordinal(day: i64) -> &'static str {
    match (day % 10, day) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

/// What STR_TO_DATE answers follows from the letters of its format.
fn parsed_field(_: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Result<Field> {
    let Some(format) = constants.get(1).copied().flatten().and_then(|format| format.try_as_str().flatten()) else {
        return Ok(datetime_field(6));
    };
    let has = |letters: &str| format.split('%').skip(1).any(|rest| rest.starts_with(|c| letters.contains(c)));
    let fsp = if has("f") { 6 } else { 0 };
    let timely = has("fHhIiklprSsT");
    let dated = has("abcDdejMmUuVvWwXxYy");
    Ok(match (dated, timely) {
        (false, true) => time_field(fsp),
        (_, true) => datetime_field(fsp),
        _ => field(DataType::Date32),
    })
}

struct Read {
    days: Option<i64>,
    time: i64,
}

fn read(text: &str, format: &str) -> Option<Read> {
    let (mut year, mut month, mut day) = (None, None, None);
    let (mut hour, mut minute, mut second, mut micro) = (0, 0, 0, 0);
    let (mut afternoon, mut twelve) = (None, false);
    let mut day_of_year = None;
    let (mut week, mut weekday): (Option<(i64, char)>, Option<i64>) = (None, None);
    let mut week_year = None;
    let mut rest = text;
    fn digits(rest: &mut &str, most: usize) -> Option<i64> {
        let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let value = rest[..count].parse().ok()?;
        *rest = &rest[count..];
        Some(value)
    }
    fn name(rest: &mut &str, names: &[&str], short: bool) -> Option<i64> {
        for (index, name) in names.iter().enumerate() {
            let name = if short { &name[..3] } else { name };
            if rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)) {
                *rest = &rest[name.len()..];
                return Some(index as i64);
            }
        }
        None
    }
    let format = format.replace("%T", "%H:%i:%S").replace("%r", "%h:%i:%S %p");
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter.is_whitespace() {
            rest = rest.trim_start();
            continue;
        }
        if letter != '%' {
            rest = rest.trim_start().strip_prefix(letter)?;
            continue;
        }
        rest = rest.trim_start();
        match letters.next()? {
            'Y' => {
                let before = rest.len();
                let value = digits(&mut rest, 4)?;
                let short = before - rest.len() <= 2;
                year = Some(if short { value + if value < 70 { 2000 } else { 1900 } } else { value });
            }
            'y' => year = digits(&mut rest, 2).map(|value| value + if value < 70 { 2000 } else { 1900 }),
            'm' | 'c' => month = Some(digits(&mut rest, 2)?),
            'M' => month = Some(name(&mut rest, &calendar::MONTHS, false)? + 1),
            'b' => month = Some(name(&mut rest, &calendar::MONTHS, true)? + 1),
            'd' | 'e' => day = Some(digits(&mut rest, 2)?),
            'D' => {
                day = Some(digits(&mut rest, 2)?);
                rest = rest.get(2..)?;
            }
            'j' => day_of_year = Some(digits(&mut rest, 3)?),
            'H' | 'k' => hour = digits(&mut rest, 2)?,
            'h' | 'I' | 'l' => {
                hour = digits(&mut rest, 2)?;
                twelve = true;
            }
            'i' => minute = digits(&mut rest, 2)?,
            'S' | 's' => second = digits(&mut rest, 2)?,
            'f' => {
                let count = rest.bytes().take(6).take_while(u8::is_ascii_digit).count();
                micro = digits(&mut rest, 6)? * 10_i64.pow(6 - count as u32);
            }
            'p' => {
                let half = rest.get(..2)?;
                afternoon = Some(half.eq_ignore_ascii_case("PM"));
                if !half.eq_ignore_ascii_case("PM") && !half.eq_ignore_ascii_case("AM") {
                    return None;
                }
                rest = &rest[2..];
            }
            'W' => weekday = Some(name(&mut rest, &calendar::WEEKDAYS, false)?),
            'a' => weekday = Some(name(&mut rest, &calendar::WEEKDAYS, true)?),
            'w' => weekday = Some((digits(&mut rest, 1)? + 6) % 7),
            kind @ ('U' | 'u' | 'V' | 'v') => week = Some((digits(&mut rest, 2)?, kind)),
            'X' | 'x' => week_year = Some(digits(&mut rest, 4)?),
            '%' => rest = rest.strip_prefix('%')?,
            _ => return None,
        }
    }
    if !rest.trim().is_empty() {
        return None;
    }
    if twelve {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if afternoon == Some(true) { 12 } else { 0 };
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let time = hour * HOUR + minute * MINUTE + second * SECOND + micro;
    let days = match (year, month, day, day_of_year, week) {
        (Some(year), Some(month), Some(day), ..) => Some(calendar::checked_days(year, month, day)?),
        (Some(year), _, _, Some(nth), _) if nth >= 1 => Some(calendar::days_from_civil(year, 1, 1) + nth - 1),
        (_, _, _, _, Some((number, kind))) => {
            let sunday = matches!(kind, 'U' | 'V');
            let first = calendar::days_from_civil(week_year.or(year)?, 1, 1);
            let weekday = weekday?;
            let into = if sunday { (calendar::weekday(first) + 1) % 7 } else { calendar::weekday(first) };
            let late = if sunday { into != 0 } else { into > 3 };
            let start = first - into + if late { 7 } else { 0 };
            Some(start + (number - 1) * 7 + if sunday { (weekday + 1) % 7 } else { weekday })
        }
        // Dates without a day or month are zero dates, which strict mode refuses.
        (None, None, None, None, None) => None,
        _ => return None,
    };
    Some(Read { days, time })
}

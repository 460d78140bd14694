//! Dates and times: the clock, their parts, arithmetic, differences.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;

use super::calendar::{self, DAY, HOUR, MINUTE, SECOND};
use super::casts::same_fsp;
use super::settings::Zone;
use super::value::{Decimal, Val, clamp_i64};
use super::{
    Def, Env, Ret, RowFn, called, constant_int, datetime_field, decimal_field, field, fsp_of, strict, time_field,
};
use crate::error::Result;

/// Days from the year 0 to 1970-01-01, as TO_DAYS counts.
const DAYS_TO_1970: i64 = 719_528;

pub(super) fn list() -> Vec<Def> {
    let clock = |name: &'static str, row: RowFn| {
        strict(name, 0..=1, Ret::By(|_, constants| Ok(datetime_field(fsp_at(constants, 0)))), row).stable()
    };
    let time = |name: &'static str, row: RowFn| {
        strict(name, 0..=1, Ret::By(|_, constants| Ok(time_field(fsp_at(constants, 0)))), row).stable()
    };
    let mut list = vec![
        clock("now", |env, args| Ok(datetime_at(env.settings.now_local(), args))).alias(&[
            "current_timestamp",
            "localtime",
            "localtimestamp",
        ]),
        // The statement's start stands for the moment of the call.
        clock("sysdate", |env, args| Ok(datetime_at(env.settings.now_local(), args))),
        clock("utc_timestamp", |env, args| Ok(datetime_at(env.settings.now_micros, args))),
        time("curtime", |env, args| Ok(time_at(env.settings.now_local(), args))).alias(&["current_time"]),
        time("utc_time", |env, args| Ok(time_at(env.settings.now_micros, args))),
        strict("curdate", 0..=0, Ret::Date, |env, _| Ok(Val::Date(env.settings.now_local().div_euclid(DAY) as i32)))
            .alias(&["current_date"])
            .stable(),
        strict("utc_date", 0..=0, Ret::Date, |env, _| Ok(Val::Date(env.settings.now_micros.div_euclid(DAY) as i32)))
            .stable(),
        strict("date", 1..=1, Ret::Date, |env, args| Ok(days(env, &args[0]).map_or(Val::Null, date))).stable(),
        strict("time", 1..=1, Ret::By(|fields, constants| Ok(time_field(same_fsp(fields, constants)))), |_, args| {
            Ok(args[0].to_time().map_or(Val::Null, |(micros, fsp)| Val::Time(micros, fsp)))
        }),
        strict(
            "mysql_timestamp",
            1..=2,
            Ret::By(|fields, constants| Ok(datetime_field(widest(fields, constants)))),
            |env, args| {
                let Some((micros, _)) = args[0].to_datetime(env.settings.now_local()) else { return Ok(Val::Null) };
                let added = match args.get(1).map(Val::to_time) {
                    None => 0,
                    Some(Some((time, _))) => time,
                    Some(None) => return Ok(Val::Null),
                };
                Ok(in_range(micros + added))
            },
        )
        .stable(),
        strict("year", 1..=1, Ret::Int, |env, args| dated(env, args, |_, p| p.year)).stable(),
        strict("quarter", 1..=1, Ret::Int, |env, args| dated(env, args, |_, p| (p.month + 2) / 3)).stable(),
        strict("month", 1..=1, Ret::Int, |env, args| dated(env, args, |_, p| p.month)).stable(),
        strict("day", 1..=1, Ret::Int, |env, args| dated(env, args, |_, p| p.day)).alias(&["dayofmonth"]).stable(),
        strict("dayofweek", 1..=1, Ret::Int, |env, args| {
            dated(env, args, |micros, _| (calendar::weekday(micros.div_euclid(DAY)) + 1) % 7 + 1)
        })
        .stable(),
        strict("weekday", 1..=1, Ret::Int, |env, args| {
            dated(env, args, |micros, _| calendar::weekday(micros.div_euclid(DAY)))
        })
        .stable(),
        strict("dayofyear", 1..=1, Ret::Int, |env, args| {
            dated(env, args, |micros, _| calendar::day_of_year(micros.div_euclid(DAY)))
        })
        .stable(),
        strict("weekofyear", 1..=1, Ret::Int, |env, args| {
            dated(env, args, |micros, _| calendar::week(micros.div_euclid(DAY), 3, true).1)
        })
        .stable(),
        strict("to_days", 1..=1, Ret::Int, |env, args| {
            dated(env, args, |micros, _| micros.div_euclid(DAY) + DAYS_TO_1970)
        })
        .stable(),
        strict("to_seconds", 1..=1, Ret::Int, |env, args| {
            dated(env, args, |micros, _| micros.div_euclid(SECOND) + DAYS_TO_1970 * 86_400)
        })
        .stable(),
        strict("week", 1..=2, Ret::Int, |env, args| Ok(week(env, args, false))).stable(),
        strict("yearweek", 1..=2, Ret::Int, |env, args| Ok(week(env, args, true))).stable(),
        strict("hour", 1..=1, Ret::Int, |_, args| {
            Ok(time_of(&args[0]).map_or(Val::Null, |(micros, _)| Val::Int(micros.abs() / HOUR)))
        }),
        strict("minute", 1..=1, Ret::Int, |_, args| {
            Ok(time_of(&args[0]).map_or(Val::Null, |(micros, _)| Val::Int(micros.abs() / MINUTE % 60)))
        }),
        strict("second", 1..=1, Ret::Int, |_, args| {
            Ok(time_of(&args[0]).map_or(Val::Null, |(micros, _)| Val::Int(micros.abs() / SECOND % 60)))
        }),
        strict("microsecond", 1..=1, Ret::Int, |_, args| {
            Ok(time_of(&args[0]).map_or(Val::Null, |(micros, _)| Val::Int(micros.abs() % SECOND)))
        }),
        strict("dayname", 1..=1, Ret::Text, |env, args| {
            Ok(days(env, &args[0])
                .map_or(Val::Null, |days| Val::text(calendar::WEEKDAYS[calendar::weekday(days) as usize])))
        })
        .stable(),
        strict("monthname", 1..=1, Ret::Text, |env, args| {
            Ok(days(env, &args[0])
                .map_or(Val::Null, |days| Val::text(calendar::MONTHS[calendar::civil_from_days(days).1 as usize - 1])))
        })
        .stable(),
        strict("last_day", 1..=1, Ret::Date, |env, args| {
            Ok(days(env, &args[0]).map_or(Val::Null, |days| {
                let (year, month, _) = calendar::civil_from_days(days);
                date(calendar::days_from_civil(year, month, calendar::days_in_month(year, month)))
            }))
        })
        .stable(),
        strict("mysql_date_add", 3..=3, Ret::By(moved_field), |env, args| moved(env, args, 1)).stable(),
        strict("mysql_date_sub", 3..=3, Ret::By(moved_field), |env, args| moved(env, args, -1)).stable(),
    ];
    list.extend(differences());
    list.extend(conversions());
    list
}

fn differences() -> Vec<Def> {
    vec![
        strict("datediff", 2..=2, Ret::Int, |env, args| {
            Ok(days(env, &args[0]).zip(days(env, &args[1])).map_or(Val::Null, |(left, right)| Val::Int(left - right)))
        })
        .stable(),
        strict(
            "timediff",
            2..=2,
            Ret::By(|fields, constants| Ok(time_field(widest(fields, constants)))),
            |env, args| {
                let dated = |value: &Val<'_>| match value {
                    Val::Date(_) | Val::DateTime(..) => true,
                    Val::Text(text) => {
                        text.len() > 10 && calendar::parse_datetime(text).is_some_and(|parsed| parsed.has_time)
                    }
                    _ => false,
                };
                if dated(&args[0]) != dated(&args[1]) {
                    return Ok(Val::Null);
                }
                let read = |value: &Val<'_>| {
                    let read = if dated(value) { value.to_datetime(env.settings.now_local()) } else { value.to_time() };
                    read.map(|(micros, _)| micros)
                };
                Ok(read(&args[0]).zip(read(&args[1])).map_or(Val::Null, |(left, right)| time(left - right)))
            },
        )
        .stable(),
        strict("mysql_timestampdiff", 3..=3, Ret::Int, |env, args| {
            let now = env.settings.now_local();
            let (Some((from, _)), Some((to, _))) = (args[1].to_datetime(now), args[2].to_datetime(now)) else {
                return Ok(Val::Null);
            };
            let months = || {
                let (early, late, sign) = if from <= to { (from, to, 1) } else { (to, from, -1) };
                let (p, q) = (calendar::parts(early), calendar::parts(late));
                let mut months = (q.year - p.year) * 12 + q.month - p.month;
                if (q.day, late.rem_euclid(DAY)) < (p.day, early.rem_euclid(DAY)) {
                    months -= 1;
                }
                months * sign
            };
            let size = to - from;
            Ok(match args[0].clone().into_text().to_ascii_uppercase().as_str() {
                "MICROSECOND" => Val::Int(size),
                "SECOND" => Val::Int(size / SECOND),
                "MINUTE" => Val::Int(size / MINUTE),
                "HOUR" => Val::Int(size / HOUR),
                "DAY" => Val::Int(size / DAY),
                "WEEK" => Val::Int(size / (7 * DAY)),
                "MONTH" => Val::Int(months()),
                "QUARTER" => Val::Int(months() / 3),
                "YEAR" => Val::Int(months() / 12),
                other => return Err(crate::error::Error::syntax(format!("{other} is no unit of TIMESTAMPDIFF"))),
            })
        })
        .stable(),
        strict("addtime", 2..=2, Ret::By(shifted_field), |env, args| shifted(env, args, 1)).stable(),
        strict("subtime", 2..=2, Ret::By(shifted_field), |env, args| shifted(env, args, -1)).stable(),
        strict("period_add", 2..=2, Ret::Int, |_, args| {
            let months = period("period_add", &args[0])?.checked_add(args[1].to_int());
            let months = months.filter(|months| (0..12 * 10_000_000_000).contains(months));
            let months = months.ok_or_else(|| wrong_period("period_add"))?;
            Ok(Val::Int(months / 12 * 100 + months % 12 + 1))
        }),
        strict("period_diff", 2..=2, Ret::Int, |_, args| {
            Ok(Val::Int(period("period_diff", &args[0])? - period("period_diff", &args[1])?))
        }),
    ]
}

fn conversions() -> Vec<Def> {
    vec![
        strict("from_days", 1..=1, Ret::Date, |_, args| {
            let days = args[0].to_int().saturating_sub(DAYS_TO_1970);
            Ok(if calendar::in_range(days.saturating_mul(DAY)) { date(days) } else { Val::Null })
        }),
        strict("makedate", 2..=2, Ret::Date, |_, args| {
            let (mut year, day) = (args[0].to_int(), args[1].to_int());
            if (0..100).contains(&year) {
                year += if year < 70 { 2000 } else { 1900 };
            }
            if !(0..=9999).contains(&year) || !(1..=3_700_000).contains(&day) {
                return Ok(Val::Null);
            }
            let days = calendar::days_from_civil(year, 1, 1) + day - 1;
            Ok(if calendar::in_range(days * DAY) { date(days) } else { Val::Null })
        }),
        strict(
            "maketime",
            3..=3,
            Ret::By(|fields, constants| {
                let constant = constants.get(2).copied().flatten();
                Ok(time_field(fsp_of(&fields[2], constant)))
            }),
            |_, args| {
                let (hour, minute) = (args[0].to_int(), args[1].to_int());
                let seconds =
                    args[2].to_decimal().and_then(|value| value.rescale(6)).map_or(-1, |value| clamp_i64(value.units));
                if !(0..60).contains(&minute) || !(0..60 * SECOND).contains(&seconds) {
                    return Ok(Val::Null);
                }
                let size = hour.unsigned_abs().min(100_000) as i64 * HOUR + minute * MINUTE + seconds;
                Ok(time(if hour < 0 { -size } else { size }))
            },
        ),
        strict(
            "sec_to_time",
            1..=1,
            Ret::By(|fields, constants| Ok(time_field(same_fsp(fields, constants)))),
            |_, args| {
                let micros = args[0].to_decimal().and_then(|value| value.rescale(6));
                Ok(time(micros.map_or(0, |value| clamp_i64(value.units))))
            },
        ),
        strict("time_to_sec", 1..=1, Ret::Int, |_, args| {
            Ok(args[0].to_time().map_or(Val::Null, |(micros, _)| Val::Int(micros / SECOND)))
        }),
        called(
            "unix_timestamp",
            0..=1,
            Ret::By(|fields, constants| {
                let fsp = fields.first().map_or(0, |_| same_fsp(fields, constants));
                Ok(if fsp == 0 { field(DataType::Int64) } else { decimal_field(11 + fsp, fsp) })
            }),
            |env, args| {
                let Some(value) = args.first() else { return Ok(Val::Int(env.settings.now_micros.div_euclid(SECOND))) };
                let Some((local, _)) = value.to_datetime(env.settings.now_local()) else { return Ok(Val::Null) };
                let micros = env.settings.zone.to_utc(local);
                if micros < 0 {
                    return Ok(Val::Int(0));
                }
                Ok(Val::Dec(Decimal { units: i128::from(micros), scale: 6 }.rescale_cut(
                    match env.returns.data_type() {
                        DataType::Decimal128(_, scale) => *scale as u8,
                        _ => 0,
                    },
                )))
            },
        )
        .stable(),
        strict(
            "from_unixtime",
            1..=2,
            Ret::By(|fields, constants| {
                if fields.len() == 2 {
                    return Ok(field(DataType::Utf8));
                }
                Ok(datetime_field(same_fsp(fields, constants)))
            }),
            |env, args| {
                let micros = args[0].to_decimal().and_then(|value| value.rescale(6)).map(|value| value.units);
                let Some(micros) = micros
                    .and_then(|micros| i64::try_from(micros).ok())
                    .filter(|micros| (0..=32_536_771_199_999_999).contains(micros))
                else {
                    return Ok(Val::Null);
                };
                let local = env.settings.zone.to_local(micros);
                Ok(match args.get(1) {
                    Some(format) => Val::text(super::formats::date_format(local, &format.clone().into_text())),
                    None => Val::DateTime(local, 6),
                })
            },
        )
        .stable(),
        strict(
            "convert_tz",
            3..=3,
            Ret::By(|fields, constants| Ok(datetime_field(same_fsp(fields, constants)))),
            |env, args| {
                let Some((local, fsp)) = args[0].to_datetime(env.settings.now_local()) else { return Ok(Val::Null) };
                let zones = Zone::find(&args[1].clone().into_text()).zip(Zone::find(&args[2].clone().into_text()));
                Ok(zones.map_or(Val::Null, |(from, to)| Val::DateTime(to.to_local(from.to_utc(local)), fsp)))
            },
        )
        .stable(),
        strict("mysql_extract", 2..=2, Ret::Int, |env, args| {
            let unit = args[0].clone().into_text().to_ascii_uppercase();
            let timely = matches!(
                unit.as_str(),
                "HOUR"
                    | "MINUTE"
                    | "SECOND"
                    | "MICROSECOND"
                    | "HOUR_MINUTE"
                    | "HOUR_SECOND"
                    | "HOUR_MICROSECOND"
                    | "MINUTE_SECOND"
                    | "MINUTE_MICROSECOND"
                    | "SECOND_MICROSECOND"
            );
            if timely {
                let Some((micros, _)) = time_of(&args[1]) else { return Ok(Val::Null) };
                let (hour, minute, second, micro) = (
                    micros.abs() / HOUR,
                    micros.abs() / MINUTE % 60,
                    micros.abs() / SECOND % 60,
                    micros.abs() % SECOND,
                );
                let value = match unit.as_str() {
                    "HOUR" => hour,
                    "MINUTE" => minute,
                    "SECOND" => second,
                    "MICROSECOND" => micro,
                    "HOUR_MINUTE" => hour * 100 + minute,
                    "HOUR_SECOND" => hour * 10_000 + minute * 100 + second,
                    "HOUR_MICROSECOND" => (hour * 10_000 + minute * 100 + second) * SECOND + micro,
                    "MINUTE_SECOND" => minute * 100 + second,
                    "MINUTE_MICROSECOND" => (minute * 100 + second) * SECOND + micro,
                    _ => second * SECOND + micro,
                };
                return Ok(Val::Int(if micros < 0 { -value } else { value }));
            }
            let Some((micros, _)) = args[1].to_datetime(env.settings.now_local()) else { return Ok(Val::Null) };
            let p = calendar::parts(micros);
            let clock = p.hour * 10_000 + p.minute * 100 + p.second;
            Ok(Val::Int(match unit.as_str() {
                "YEAR" => p.year,
                "QUARTER" => (p.month + 2) / 3,
                "MONTH" => p.month,
                "WEEK" => calendar::week(micros.div_euclid(DAY), 0, false).1,
                "DAY" => p.day,
                "YEAR_MONTH" => p.year * 100 + p.month,
                "DAY_HOUR" => p.day * 100 + p.hour,
                "DAY_MINUTE" => p.day * 10_000 + p.hour * 100 + p.minute,
                "DAY_SECOND" => p.day * 1_000_000 + clock,
                "DAY_MICROSECOND" => (p.day * 1_000_000 + clock) * SECOND + p.micro,
                other => return Err(crate::error::Error::syntax(format!("{other} is no unit of EXTRACT"))),
            }))
        })
        .stable(),
    ]
}

fn fsp_at(constants: &[Option<&ScalarValue>], index: usize) -> u8 {
    constant_int(constants, index).unwrap_or(0).clamp(0, 6) as u8
}

fn widest(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> u8 {
    let each = fields.iter().enumerate().map(|(at, field)| fsp_of(field, constants.get(at).copied().flatten()));
    each.max().unwrap_or(0)
}

fn datetime_at(micros: i64, args: &[Val<'_>]) -> Val<'static> {
    let fsp = args.first().map_or(0, Val::to_int).clamp(0, 6) as u8;
    Val::DateTime(calendar::cut_fsp(micros, fsp), fsp)
}

fn time_at(micros: i64, args: &[Val<'_>]) -> Val<'static> {
    let fsp = args.first().map_or(0, Val::to_int).clamp(0, 6) as u8;
    Val::Time(calendar::cut_fsp(micros, fsp).rem_euclid(DAY), fsp)
}

fn date(days: i64) -> Val<'static> {
    Val::Date(days as i32)
}

fn time(micros: i64) -> Val<'static> {
    Val::Time(micros.clamp(-calendar::TIME_MAX, calendar::TIME_MAX), 6)
}

fn in_range(micros: i64) -> Val<'static> {
    if calendar::in_range(micros) { Val::DateTime(micros, 6) } else { Val::Null }
}

fn days(env: &Env<'_>, value: &Val<'_>) -> Option<i64> {
    value.to_date(env.settings.now_local())
}

/// Works on the datetime that a value means, and on its parts.
fn dated(env: &Env<'_>, args: &[Val<'_>], f: fn(i64, calendar::Parts) -> i64) -> Result<Val<'static>> {
    let found = args[0].to_datetime(env.settings.now_local());
    Ok(found.map_or(Val::Null, |(micros, _)| Val::Int(f(micros, calendar::parts(micros)))))
}

/// Reads a time, or a datetime's time of day.
fn time_of(value: &Val<'_>) -> Option<(i64, u8)> {
    if let Val::Text(text) = value
        && text.len() > 8
        && let Some(parsed) = calendar::parse_datetime(text)
        && parsed.has_time
    {
        return Some((parsed.micros.rem_euclid(DAY), parsed.fsp));
    }
    value.to_time()
}

fn week(env: &Env<'_>, args: &[Val<'_>], with_year: bool) -> Val<'static> {
    let mode = args.get(1).map_or(0, Val::to_int) & 7;
    days(env, &args[0]).map_or(Val::Null, |days| {
        let (year, week) = calendar::week(days, mode, with_year);
        Val::Int(if with_year { year * 100 + week } else { week })
    })
}

/// Months since the year 0 of a period (YYMM or YYYYMM).
fn period(function: &str, value: &Val<'_>) -> Result<i64> {
    let period = value.to_int();
    let (mut year, month) = (period / 100, period % 100);
    if period < 0 || !(1..=12).contains(&month) {
        return Err(wrong_period(function));
    }
    if year < 70 {
        year += 2000;
    } else if year < 100 {
        year += 1900;
    }
    Ok(year * 12 + month - 1)
}

fn wrong_period(function: &str) -> crate::error::Error {
    crate::error::Error::wrong_arguments(format!("Incorrect arguments to {function}"))
}

/// A date moved by days stays a date; a text stays a text.
fn moved_field(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Result<Field> {
    let unit = constants.get(2).copied().flatten().and_then(|unit| unit.try_as_str().flatten()).unwrap_or("DAY");
    let whole_days = matches!(unit, "DAY" | "WEEK" | "MONTH" | "QUARTER" | "YEAR" | "YEAR_MONTH");
    let amount = fsp_of(&fields[1], constants.get(1).copied().flatten());
    let micro = if unit.ends_with("MICROSECOND") {
        6
    } else if unit.ends_with("SECOND") {
        amount
    } else {
        0
    };
    Ok(match fields[0].data_type() {
        DataType::Date32 if whole_days => field(DataType::Date32),
        DataType::Date32 => datetime_field(micro),
        DataType::Timestamp(..) => datetime_field(same_fsp(fields, constants).max(micro)),
        DataType::Duration(_) if !whole_days => time_field(same_fsp(fields, constants).max(micro)),
        DataType::Duration(_) => datetime_field(same_fsp(fields, constants).max(micro)),
        _ => field(DataType::Utf8),
    })
}

fn moved(env: &Env<'_>, args: &[Val<'_>], sign: i64) -> Result<Val<'static>> {
    let unit = args[2].clone().into_text().to_ascii_uppercase();
    let Some((months, micros)) = interval(&args[1], &unit)? else { return Ok(Val::Null) };
    let (months, micros) = (months * sign, micros * sign);
    if let (Val::Time(start, fsp), DataType::Duration(_)) = (&args[0], env.returns.data_type()) {
        return Ok(Val::Time(start + micros, *fsp));
    }
    let Some((start, fsp)) = args[0].to_datetime(env.settings.now_local()) else { return Ok(Val::Null) };
    let moved = if months == 0 { Some(start) } else { calendar::add_months(start, months) };
    let Some(moved) = moved.and_then(|moved| moved.checked_add(micros)).filter(|moved| calendar::in_range(*moved))
    else {
        return Ok(Val::Null);
    };
    Ok(match env.returns.data_type() {
        DataType::Date32 => date(moved.div_euclid(DAY)),
        DataType::Utf8 => {
            let had_time = match &args[0] {
                Val::Text(text) | Val::Json(text) => {
                    calendar::parse_datetime(text).is_some_and(|parsed| parsed.has_time)
                }
                _ => start % DAY != 0,
            };
            let whole_days = matches!(unit.as_str(), "DAY" | "WEEK" | "MONTH" | "QUARTER" | "YEAR" | "YEAR_MONTH");
            if had_time || !whole_days {
                let fsp = if fsp > 0 || moved % SECOND != 0 { 6 } else { 0 };
                Val::text(calendar::format_datetime(moved, fsp))
            } else {
                Val::text(calendar::format_date(moved.div_euclid(DAY)))
            }
        }
        _ => Val::DateTime(moved, 6),
    })
}

/// Reads an interval as months and microseconds; `None` where it is out of all range.
fn interval(amount: &Val<'_>, unit: &str) -> Result<Option<(i64, i64)>> {
    let whole = || amount.to_i128();
    let times = |number: i128, size: i64| i64::try_from(number * i128::from(size)).ok();
    Ok(match unit {
        "YEAR" => times(whole(), 12).map(|months| (months, 0)),
        "QUARTER" => times(whole(), 3).map(|months| (months, 0)),
        "MONTH" => times(whole(), 1).map(|months| (months, 0)),
        "WEEK" => times(whole(), 7 * DAY).map(|micros| (0, micros)),
        "DAY" => times(whole(), DAY).map(|micros| (0, micros)),
        "HOUR" => times(whole(), HOUR).map(|micros| (0, micros)),
        "MINUTE" => times(whole(), MINUTE).map(|micros| (0, micros)),
        "SECOND" => amount
            .to_decimal()
            .and_then(|value| value.rescale(6))
            .and_then(|value| i64::try_from(value.units).ok())
            .map(|micros| (0, micros)),
        "MICROSECOND" => times(whole(), 1).map(|micros| (0, micros)),
        _ => compound(&amount.to_text().unwrap_or_default(), unit)?,
    }
    .filter(|(months, micros)| months.abs() < 12 * 20_000 && micros.abs() < 8_000_000 * DAY))
}

/// Reads `1 10:30` DAY_MINUTE and the like: numbers for the unit's fields, of which the first may be missing.
fn compound(text: &str, unit: &str) -> Result<Option<(i64, i64)>> {
    const FIELDS: [(&str, i64); 5] =
        [("DAY", DAY), ("HOUR", HOUR), ("MINUTE", MINUTE), ("SECOND", SECOND), ("MICROSECOND", 1)];
    let unknown = || crate::error::Error::syntax(format!("{unit} is no unit of an INTERVAL"));
    let (first, last) = unit.split_once('_').ok_or_else(unknown)?;
    let negative = text.trim_start().starts_with('-');
    let numbers: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let parse = |part: &str| part.parse::<i64>().unwrap_or(i64::MAX / DAY);
    let sign = if negative { -1 } else { 1 };
    if unit == "YEAR_MONTH" {
        let months = match numbers[..] {
            [months] => parse(months),
            [years, months, ..] => parse(years).saturating_mul(12).saturating_add(parse(months)),
            [] => 0,
        };
        return Ok(Some((months * sign, 0)));
    }
    let position = |name: &str| FIELDS.iter().position(|(field, _)| *field == name).ok_or_else(unknown);
    let fields = &FIELDS[position(first)?..=position(last)?];
    let skip = fields.len().saturating_sub(numbers.len());
    let mut total = 0_i64;
    for ((name, size), part) in fields[skip..].iter().zip(&numbers) {
        let value = if *name == "MICROSECOND" {
            // A fraction: its digits count from the point.
            parse(&format!("{part:0<6}")[..6])
        } else {
            parse(part)
        };
        total = total.saturating_add(value.saturating_mul(*size));
    }
    Ok(Some((0, total.saturating_mul(sign))))
}

fn shifted_field(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Result<Field> {
    Ok(match fields[0].data_type() {
        DataType::Timestamp(..) | DataType::Date32 => datetime_field(widest(fields, constants)),
        DataType::Duration(_) => time_field(widest(fields, constants)),
        _ => field(DataType::Utf8),
    })
}

fn shifted(env: &Env<'_>, args: &[Val<'_>], sign: i64) -> Result<Val<'static>> {
    let Some((by, by_fsp)) = args[1].to_time() else { return Ok(Val::Null) };
    let dated = match &args[0] {
        Val::Date(_) | Val::DateTime(..) => true,
        Val::Text(text) => text.len() > 10 && calendar::parse_datetime(text).is_some_and(|parsed| parsed.has_time),
        _ => false,
    };
    let start = if dated { args[0].to_datetime(env.settings.now_local()) } else { args[0].to_time() };
    let Some((start, fsp)) = start else { return Ok(Val::Null) };
    let moved = start + by * sign;
    let shown = if fsp.max(by_fsp) > 0 { 6 } else { 0 };
    let value = if dated {
        Val::DateTime(moved, shown)
    } else {
        Val::Time(moved.clamp(-calendar::TIME_MAX, calendar::TIME_MAX), shown)
    };
    Ok(if *env.returns.data_type() == DataType::Utf8 { Val::text(value.into_text().into_owned()) } else { value })
}

//! CAST and CONVERT, and the conversions that comparisons need.
//!
//! The statement rewriter turns each cast into one of these calls: DataFusion's own casts round, wrap and fail
//! otherwise.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;

use super::calendar;
use super::value::{Decimal, Val, clamp_i64, number_prefix, out_of_range, pow10};
use super::{Def, Ret, constant_int, datetime_field, decimal_field, field, fsp_of, json, strict, time_field};
use crate::error::{Error, Result};

pub(super) fn list() -> Vec<Def> {
    vec![
        strict("cast_signed", 1..=1, Ret::Int, |env, args| {
            env.settings.reads_number(&args[0], "INTEGER");
            Ok(Val::Int(match &args[0] {
                Val::UInt(value) => *value as i64,
                Val::Text(_) | Val::Json(_) => match args[0].to_i128() {
                    // A text beyond BIGINT's end is read as unsigned and wraps.
                    value if value > i128::from(i64::MAX) => u64::try_from(value).unwrap_or(u64::MAX) as i64,
                    value => clamp_i64(value),
                },
                other => other.to_int(),
            }))
        }),
        strict("cast_unsigned", 1..=1, Ret::UInt, |env, args| {
            env.settings.reads_number(&args[0], "INTEGER");
            Ok(Val::UInt(match &args[0] {
                Val::Int(value) => *value as u64,
                other => match other.to_i128() {
                    value if value < 0 && other.is_text() => clamp_i64(value) as u64,
                    value if value < 0 => match other {
                        Val::Float(_) => clamp_i64(value) as u64,
                        _ => 0,
                    },
                    value => u64::try_from(value).unwrap_or(u64::MAX),
                },
            }))
        }),
        strict("cast_char", 1..=2, Ret::Text, |_, args| {
            let text = args[0].clone().into_text();
            match args.get(1) {
                None => Ok(Val::Text(text)),
                Some(length) => Ok(Val::text(text.chars().take(length.to_int().max(0) as usize).collect::<String>())),
            }
        }),
        strict("cast_binary", 1..=2, Ret::Bytes, |_, args| {
            let mut bytes = args[0].to_bytes().into_owned();
            if let Some(length) = args.get(1) {
                bytes.resize(length.to_int().clamp(0, 1 << 26) as usize, 0);
            }
            Ok(Val::Bytes(bytes.into()))
        })
        .alias(&["to_binary"]),
        strict("cast_date", 1..=1, Ret::Date, |env, args| {
            let days = args[0].to_date(env.settings.now_local());
            if days.is_none() {
                env.settings.no_moment(&args[0], "date");
            }
            Ok(days.map_or(Val::Null, |days| Val::Date(days as i32)))
        }),
        strict("cast_datetime", 1..=2, Ret::By(|_, constants| Ok(datetime_field(fsp(constants)))), |env, args| {
            let fsp = args.get(1).map_or(0, |fsp| fsp.to_int() as u8);
            let answer = datetime(&args[0], env.settings.now_local(), fsp);
            if answer.is_null() {
                env.settings.no_moment(&args[0], "datetime");
            }
            Ok(answer)
        })
        .stable(),
        // For comparisons: keeps the whole fraction.
        strict("mysql_datetime", 1..=1, Ret::By(|_, _| Ok(datetime_field(6))), |env, args| {
            Ok(datetime(&args[0], env.settings.now_local(), 6))
        })
        .stable(),
        strict("cast_time", 1..=2, Ret::By(|_, constants| Ok(time_field(fsp(constants)))), |env, args| {
            let fsp = args.get(1).map_or(0, |fsp| fsp.to_int() as u8);
            let time = args[0].to_time();
            if time.is_none() {
                env.settings.no_moment(&args[0], "time");
            }
            Ok(time.map_or(Val::Null, |(micros, _)| Val::Time(calendar::round_fsp(micros, fsp), fsp)))
        }),
        strict("mysql_time", 1..=1, Ret::By(|_, _| Ok(time_field(6))), |_, args| {
            Ok(args[0].to_time().map_or(Val::Null, |(micros, _)| Val::Time(micros, 6)))
        }),
        strict("cast_decimal", 3..=3, Ret::By(decimal), |env, args| {
            env.settings.reads_number(&args[0], "DECIMAL");
            let (precision, scale) = (args[1].to_int() as u8, args[2].to_int() as u8);
            let limit = pow10(precision.min(38));
            let value = args[0].to_decimal().and_then(|value| value.rescale(scale));
            let negative = args[0].to_f64() < 0.0;
            let units = match value {
                Some(value) if value.units.abs() < limit => value.units,
                _ if negative => 1 - limit,
                _ => limit - 1,
            };
            Ok(Val::Dec(Decimal { units, scale }))
        }),
        strict("cast_double", 1..=1, Ret::Double, |env, args| {
            env.settings.reads_number(&args[0], "DOUBLE");
            Ok(Val::Float(args[0].to_f64()))
        })
        .alias(&["mysql_number"]),
        strict("cast_float", 1..=1, Ret::By(|_, _| Ok(field(DataType::Float64))), |_, args| {
            let narrow = args[0].to_f64() as f32;
            if !narrow.is_finite() {
                return Err(out_of_range("FLOAT", "cast"));
            }
            Ok(Val::Float(super::value::float32_text(narrow).parse().unwrap_or(f64::from(narrow))))
        }),
        // A number with an exponent is a double.
        strict("mysql_double_literal", 1..=1, Ret::Double, |_, args| {
            let text = args[0].clone().into_text();
            let (value, _) = number_prefix(&text);
            if text.parse::<f64>().is_ok_and(f64::is_infinite) {
                return Err(Error::new(1367, "22007", format!("Illegal double '{text}' value found during parsing")));
            }
            Ok(Val::Float(value))
        }),
        strict("cast_year", 1..=1, Ret::Int, |env, args| {
            if let Val::Date(_) | Val::DateTime(..) = args[0] {
                let days = args[0].to_date(env.settings.now_local()).unwrap_or(0);
                return Ok(Val::Int(calendar::civil_from_days(days).0));
            }
            let zero_is_2000 = matches!(&args[0], Val::Text(text) if text.trim().len() <= 3);
            Ok(match args[0].to_int() {
                0 if !zero_is_2000 => Val::Int(0),
                year @ 0..=69 => Val::Int(year + 2000),
                year @ 70..=99 => Val::Int(year + 1900),
                year @ 1901..=2155 => Val::Int(year),
                _ => Val::Null,
            })
        }),
        strict("cast_json", 1..=1, Ret::Json, |_, args| {
            if let Val::Text(text) = &args[0] {
                return json::parse(text, "cast_as_json", 1).map(|document| Val::Json(json::to_text(&document).into()));
            }
            Ok(Val::Json(json::to_text(&json::document(&args[0])).into()))
        }),
        strict("mysql_weight", 1..=1, Ret::Bytes, |_, args| Ok(Val::Bytes(args[0].to_bytes().into_owned().into())))
            .alias(&["weight_string"]),
    ]
}

fn fsp(constants: &[Option<&ScalarValue>]) -> u8 {
    constant_int(constants, 1).unwrap_or(0).clamp(0, 6) as u8
}

fn decimal(_: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Result<Field> {
    let precision = constant_int(constants, 1).unwrap_or(10);
    let scale = constant_int(constants, 2).unwrap_or(0);
    Ok(decimal_field(precision.clamp(1, 38) as u8, scale.clamp(0, 38) as u8))
}

fn datetime(value: &Val<'_>, now: i64, fsp: u8) -> Val<'static> {
    match value.to_datetime(now) {
        Some((micros, _)) => Val::DateTime(calendar::round_fsp(micros, fsp), fsp),
        None => Val::Null,
    }
}

/// Returns the digits of the fraction that a call answers when it keeps those of its argument.
pub(super) fn same_fsp(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> u8 {
    fsp_of(&fields[0], constants.first().copied().flatten())
}

//! Numbers: rounding, powers, logarithms, trigonometry, bases, checksums and addresses.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;

use super::arithmetic::{Number, number};
use super::value::{Val, finite, out_of_range};
use super::{Def, Ret, constant_int, decimal_field, field, strict};
use crate::error::Result;

pub(super) fn list() -> Vec<Def> {
    let mut list = vec![
        strict("abs", 1..=1, Ret::By(|fields, constants| Ok(kept(fields, constants))), |_, args| {
            Ok(match &args[0] {
                Val::Int(value) => {
                    Val::Int(value.checked_abs().ok_or_else(|| out_of_range("BIGINT", &format!("abs({value})")))?)
                }
                Val::UInt(value) => Val::UInt(*value),
                Val::Float(value) => Val::Float(value.abs()),
                Val::Dec(value) => Val::Dec(super::value::Decimal { units: value.units.abs(), scale: value.scale }),
                other => Val::Float(other.to_f64().abs()),
            })
        }),
        strict("sign", 1..=1, Ret::Int, |_, args| {
            let value = args[0].to_f64();
            Ok(Val::Int(i64::from(value > 0.0) - i64::from(value < 0.0)))
        }),
        strict("ceil", 1..=1, Ret::By(|fields, constants| Ok(whole(fields, constants))), |_, args| {
            step(&args[0], f64::ceil, 1)
        })
        .alias(&["ceiling"]),
        strict("floor", 1..=1, Ret::By(|fields, constants| Ok(whole(fields, constants))), |_, args| {
            step(&args[0], f64::floor, -1)
        }),
        strict("round", 1..=2, Ret::By(|fields, constants| Ok(rounded(fields, constants))), |env, args| {
            round(env.returns, args, true)
        }),
        strict("truncate", 2..=2, Ret::By(|fields, constants| Ok(rounded(fields, constants))), |env, args| {
            round(env.returns, args, false)
        }),
        strict("pow", 2..=2, Ret::Double, |_, args| {
            let (base, exponent) = (args[0].to_f64(), args[1].to_f64());
            Ok(Val::Float(finite(base.powf(exponent), || format!("pow({base},{exponent})"))?))
        })
        .alias(&["power"]),
        strict("exp", 1..=1, Ret::Double, |_, args| {
            Ok(Val::Float(finite(args[0].to_f64().exp(), || format!("exp({})", args[0].to_f64()))?))
        }),
        strict("log", 1..=2, Ret::Double, |_, args| {
            Ok(match args {
                [value] => logarithm(value.to_f64(), f64::ln),
                [base, value] => {
                    let (base, value) = (base.to_f64(), value.to_f64());
                    if base <= 0.0 || base == 1.0 || value <= 0.0 {
                        Val::Null
                    } else {
                        Val::Float(value.ln() / base.ln())
                    }
                }
                _ => Val::Null,
            })
        }),
        strict("atan", 1..=2, Ret::Double, |_, args| {
            Ok(Val::Float(match args {
                [y, x] => y.to_f64().atan2(x.to_f64()),
                _ => args[0].to_f64().atan(),
            }))
        })
        .alias(&["atan2"]),
        strict("pi", 0..=0, Ret::Double, |_, _| Ok(Val::Float(std::f64::consts::PI))),
        strict("conv", 3..=3, Ret::Text, |_, args| Ok(conv(args))),
        strict("bin", 1..=1, Ret::Text, |_, args| Ok(Val::text(format!("{:b}", args[0].to_i128() as u64)))),
        strict("oct", 1..=1, Ret::Text, |_, args| Ok(Val::text(format!("{:o}", args[0].to_i128() as u64)))),
        strict("crc32", 1..=1, Ret::UInt, |_, args| Ok(Val::UInt(u64::from(crc32(&args[0].to_bytes()))))),
        super::called("rand", 0..=1, Ret::Double, |_, args| Ok(Val::Float(random(args)))).volatile(),
        strict("inet_aton", 1..=1, Ret::UInt, |_, args| {
            let text = args[0].clone().into_text();
            let parts: Option<Vec<u64>> =
                text.split('.').map(|part| part.parse().ok().filter(|part| *part <= 255)).collect();
            Ok(match parts.as_deref() {
                Some([a, rest @ ..]) if rest.len() <= 3 => {
                    // A short form gives its last part to the lowest byte.
                    let head = rest.split_last().map_or(&[][..], |(_, middle)| middle);
                    let mut value = if rest.is_empty() { 0 } else { a << 24 };
                    for (index, part) in head.iter().enumerate() {
                        value |= part << (16 - 8 * index);
                    }
                    Val::UInt(value | rest.last().copied().unwrap_or(*a))
                }
                _ => Val::Null,
            })
        }),
        strict("inet_ntoa", 1..=1, Ret::Text, |_, args| {
            Ok(u32::try_from(args[0].to_i128())
                .map_or(Val::Null, |address| Val::text(std::net::Ipv4Addr::from(address).to_string())))
        }),
        strict("inet6_aton", 1..=1, Ret::Bytes, |_, args| {
            let text = args[0].clone().into_text();
            Ok(match text.parse::<std::net::IpAddr>() {
                Ok(std::net::IpAddr::V4(address)) => Val::Bytes(address.octets().to_vec().into()),
                Ok(std::net::IpAddr::V6(address)) => Val::Bytes(address.octets().to_vec().into()),
                Err(_) => Val::Null,
            })
        }),
        strict("inet6_ntoa", 1..=1, Ret::Text, |_, args| {
            let bytes = args[0].to_bytes();
            Ok(if let Ok(four) = <[u8; 4]>::try_from(bytes.as_ref()) {
                Val::text(std::net::Ipv4Addr::from(four).to_string())
            } else if let Ok(sixteen) = <[u8; 16]>::try_from(bytes.as_ref()) {
                Val::text(std::net::Ipv6Addr::from(sixteen).to_string())
            } else {
                Val::Null
            })
        }),
        strict("is_ipv4", 1..=1, Ret::Bool, |_, args| {
            Ok(Val::bool(args[0].clone().into_text().parse::<std::net::Ipv4Addr>().is_ok()))
        }),
        strict("is_ipv6", 1..=1, Ret::Bool, |_, args| {
            Ok(Val::bool(args[0].clone().into_text().parse::<std::net::Ipv6Addr>().is_ok()))
        }),
    ];
    list.extend([
        strict("ln", 1..=1, Ret::Double, |_, args| Ok(logarithm(args[0].to_f64(), f64::ln))),
        strict("log2", 1..=1, Ret::Double, |_, args| Ok(logarithm(args[0].to_f64(), f64::log2))),
        strict("log10", 1..=1, Ret::Double, |_, args| Ok(logarithm(args[0].to_f64(), f64::log10))),
        strict("sqrt", 1..=1, Ret::Double, |_, args| Ok(real(args[0].to_f64().sqrt()))),
        strict("sin", 1..=1, Ret::Double, |_, args| Ok(real(args[0].to_f64().sin()))),
        strict("cos", 1..=1, Ret::Double, |_, args| Ok(real(args[0].to_f64().cos()))),
        strict("tan", 1..=1, Ret::Double, |_, args| Ok(real(args[0].to_f64().tan()))),
        strict("cot", 1..=1, Ret::Double, |_, args| {
            let value = args[0].to_f64();
            Ok(Val::Float(finite(1.0 / value.tan(), || format!("cot({value})"))?))
        }),
        strict("asin", 1..=1, Ret::Double, |_, args| Ok(real(args[0].to_f64().asin()))),
        strict("acos", 1..=1, Ret::Double, |_, args| Ok(real(args[0].to_f64().acos()))),
        strict("degrees", 1..=1, Ret::Double, |_, args| Ok(Val::Float(args[0].to_f64().to_degrees()))),
        strict("radians", 1..=1, Ret::Double, |_, args| Ok(Val::Float(args[0].to_f64().to_radians()))),
    ]);
    list
}

fn constant<'c>(constants: &[Option<&'c ScalarValue>]) -> Option<&'c ScalarValue> {
    constants.first().copied().flatten()
}

fn kept(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Field {
    match number(&fields[0], constant(constants)) {
        Number::Int { unsigned: true, .. } => field(DataType::UInt64),
        Number::Int { .. } => field(DataType::Int64),
        Number::Dec { precision, scale } => decimal_field(precision, scale),
        Number::Double => field(DataType::Float64),
    }
}

/// CEIL and FLOOR of a decimal answer an integer, unless it could be too long for one.
fn whole(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Field {
    match number(&fields[0], constant(constants)) {
        Number::Dec { precision, scale } if precision.saturating_sub(scale) >= 18 => {
            decimal_field(precision - scale + 1, 0)
        }
        Number::Dec { .. } => field(DataType::Int64),
        _ => kept(fields, constants),
    }
}

fn rounded(fields: &[FieldRef], constants: &[Option<&ScalarValue>]) -> Field {
    match number(&fields[0], constant(constants)) {
        Number::Dec { precision, scale } => {
            let digits = if fields.len() < 2 { Some(0) } else { constant_int(constants, 1) };
            // With digits that only the row knows the scale stays.
            let new = digits.map_or(scale, |digits| digits.clamp(0, 30) as u8);
            decimal_field(precision - scale + new + 1, new)
        }
        _ => kept(fields, constants),
    }
}

fn step<'a>(value: &Val<'a>, round: fn(f64) -> f64, away: i128) -> Result<Val<'a>> {
    Ok(match value {
        Val::Int(_) | Val::UInt(_) => value.clone(),
        Val::Dec(decimal) => {
            let cut = decimal.truncate(0);
            let exact = decimal.units % super::value::pow10(decimal.scale) == 0;
            let outward = (decimal.units > 0) == (away > 0) && !exact;
            Val::Dec(super::value::Decimal { units: cut.units + if outward { away } else { 0 }, scale: 0 })
        }
        other => Val::Float(round(other.to_f64())),
    })
}

fn round<'a>(returns: &Field, args: &[Val<'a>], nearest: bool) -> Result<Val<'a>> {
    let digits = args.get(1).map_or(0, Val::to_int).clamp(-40, 30);
    match returns.data_type() {
        DataType::Float64 => {
            let value = args[0].to_f64();
            if digits >= 0 && value.abs() >= 1e15 {
                return Ok(Val::Float(value));
            }
            let unit = 10_f64.powi(digits.unsigned_abs() as i32);
            let scaled = if digits >= 0 { value * unit } else { value / unit };
            if !scaled.is_finite() {
                return Ok(Val::Float(value));
            }
            // A double rounds half to even, as the C library's rint does.
            let cut = if nearest { scaled.round_ties_even() } else { scaled.trunc() };
            Ok(Val::Float(if digits >= 0 { cut / unit } else { cut * unit }))
        }
        ty => {
            let decimal = args[0].to_decimal().unwrap_or(super::value::Decimal { units: 0, scale: 0 });
            let result = if nearest { decimal.round(digits) } else { decimal.truncate(digits) };
            let kind = if *ty == DataType::UInt64 { "BIGINT UNSIGNED" } else { "BIGINT" };
            match ty {
                DataType::Int64 => i64::try_from(result.units).map(Val::Int).map_err(|_| out_of_range(kind, "round")),
                DataType::UInt64 => u64::try_from(result.units).map(Val::UInt).map_err(|_| out_of_range(kind, "round")),
                _ => Ok(Val::Dec(result)),
            }
        }
    }
}

fn logarithm(value: f64, log: fn(f64) -> f64) -> Val<'static> {
    if value > 0.0 { Val::Float(log(value)) } else { Val::Null }
}

fn real(value: f64) -> Val<'static> {
    if value.is_finite() { Val::Float(value) } else { Val::Null }
}

/// Reads a number in one base and writes it in another; a negative base means signed numbers.
fn conv(args: &[Val<'_>]) -> Val<'static> {
    let (from, to) = (args[1].to_int(), args[2].to_int());
    if !(2..=36).contains(&from.abs()) || !(2..=36).contains(&to.abs()) {
        return Val::Null;
    }
    let text = args[0].clone().into_text();
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut value: u64 = 0;
    for digit in digits.chars().map_while(|digit| digit.to_digit(from.unsigned_abs() as u32)) {
        let next = value.checked_mul(from.unsigned_abs()).and_then(|value| value.checked_add(u64::from(digit)));
        let Some(next) = next else {
            value = u64::MAX;
            break;
        };
        value = next;
    }
    let value = if negative { value.wrapping_neg() } else { value };
    let (sign, mut size) =
        if to < 0 && (value as i64) < 0 { ("-", (value as i64).unsigned_abs()) } else { ("", value) };
    let mut out = Vec::new();
    loop {
        let digit = (size % to.unsigned_abs()) as u32;
        out.push(char::from_digit(digit, 36).unwrap_or('0').to_ascii_uppercase());
        size /= to.unsigned_abs();
        if size == 0 {
            break;
        }
    }
    Val::text(format!("{sign}{}", out.into_iter().rev().collect::<String>()))
}

/// The checksum of zlib and Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

/// RAND() is unforeseeable; RAND(n) is MySQL's own sequence's first number for the seed.
fn random(args: &[Val<'_>]) -> f64 {
    match args.first() {
        None => (super::random_uuid().as_u128() >> 74) as f64 / (1_u64 << 54) as f64 % 1.0,
        Some(seed) => {
            const MAX: u64 = 0x3FFF_FFFF;
            let seed = seed.to_int() as u32;
            let first = u64::from(seed.wrapping_mul(0x10001).wrapping_add(55_555_555)) % MAX;
            let second = u64::from(seed.wrapping_mul(0x1000_0001)) % MAX;
            let first = (first * 3 + second) % MAX;
            first as f64 / MAX as f64
        }
    }
}

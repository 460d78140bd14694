//! Texts: lengths and positions count characters, counted from 1; comparisons see bytes.

use std::borrow::Cow;
use std::fmt::Write;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use arrow::datatypes::{DataType, Field, FieldRef};

use super::value::Val;
use super::{Def, Env, MANY, Ret, called, field, strict};
use crate::error::Result;

/// Longest text that a function answers, in bytes; a longer one is NULL, with a warning.
pub(super) const TEXT_MAX: usize = 64 << 20;

/// Tells, before it is made, whether a text would be too long, and says so: the answer is NULL then.
///
/// # Errors
/// 1038 where there is not the memory for it.
pub(super) fn is_too_long(env: &Env, function: &str, bytes: usize) -> Result<bool> {
    if bytes > TEXT_MAX {
        let message = || format!("Result of {function}() was larger than max_allowed_packet ({TEXT_MAX}) - truncated");
        env.settings.said.warn(1301, message);
        return Ok(true);
    }
    let max = env.settings.answer_bytes_max;
    if bytes > max { Err(super::too_much(function, max)) } else { Ok(false) }
}

/// Joins texts, if they are not too long.
fn joined(env: &Env, function: &str, parts: &[impl AsRef<str>], separator: &str) -> Result<Val<'static>> {
    let between = separator.len().saturating_mul(parts.len().saturating_sub(1));
    let bytes = parts.iter().map(|part| part.as_ref().len()).sum::<usize>().saturating_add(between);
    if is_too_long(env, function, bytes)? {
        return Ok(Val::Null);
    }
    let mut out = String::with_capacity(bytes);
    for (index, part) in parts.iter().enumerate() {
        out.push_str(if index > 0 { separator } else { "" });
        out.push_str(part.as_ref());
    }
    Ok(Val::text(out))
}

pub(super) fn list() -> Vec<Def> {
    let mut list = vec![
        strict("concat", 1..=MANY, Ret::By(|fields, _| Ok(text_or_bytes(fields))), |env, args| {
            if is_too_long(env, "concat", args.iter().map(Val::text_bytes).sum())? {
                return Ok(Val::Null);
            }
            if *env.returns.data_type() == DataType::Binary {
                return Ok(Val::Bytes(args.iter().flat_map(|value| value.to_bytes().into_owned()).collect()));
            }
            let mut out = String::new();
            for value in args {
                out.push_str(&value.to_text().unwrap_or_default());
            }
            Ok(Val::text(out))
        }),
        called("concat_ws", 2..=MANY, Ret::Text, |env, args| {
            let Some(separator) = args[0].to_text() else { return Ok(Val::Null) };
            let parts: Vec<Cow<'_, str>> = args[1..].iter().filter_map(Val::to_text).collect();
            joined(env, "concat_ws", &parts, &separator)
        }),
        strict("length", 1..=1, Ret::Int, |_, args| Ok(Val::Int(args[0].to_bytes().len() as i64)))
            .alias(&["octet_length"]),
        strict("bit_length", 1..=1, Ret::Int, |_, args| Ok(Val::Int(args[0].to_bytes().len() as i64 * 8))),
        strict("char_length", 1..=1, Ret::Int, |_, args| {
            Ok(Val::Int(match &args[0] {
                Val::Bytes(bytes) => bytes.len() as i64,
                other => other.to_text().unwrap_or_default().chars().count() as i64,
            }))
        })
        .alias(&["character_length"]),
        text("lower", 1..=1, |_, args| Ok(Val::text(text_of(&args[0]).to_lowercase()))).alias(&["lcase"]),
        text("upper", 1..=1, |_, args| Ok(Val::text(text_of(&args[0]).to_uppercase()))).alias(&["ucase"]),
        text("left", 2..=2, |_, args| {
            let count = args[1].to_int().max(0) as usize;
            Ok(slice(&args[0], 0, count))
        }),
        text("right", 2..=2, |_, args| {
            let count = args[1].to_int().max(0) as usize;
            let length = text_of(&args[0]).chars().count();
            Ok(slice(&args[0], length.saturating_sub(count), count))
        }),
        text("substring", 2..=3, |_, args| {
            let position = args[1].to_int();
            let count = args.get(2).map_or(i64::MAX, Val::to_int);
            if position == 0 || count <= 0 {
                return Ok(Val::text(""));
            }
            let start = if position > 0 {
                position as usize - 1
            } else {
                let length = text_of(&args[0]).chars().count() as i64;
                if position < -length {
                    return Ok(Val::text(""));
                }
                (length + position) as usize
            };
            Ok(slice(&args[0], start, count as usize))
        })
        .alias(&["substr", "mid"]),
        text("substring_index", 3..=3, |_, args| {
            let (text, delimiter, count) = (text_of(&args[0]), text_of(&args[1]), args[2].to_int());
            if delimiter.is_empty() || count == 0 {
                return Ok(Val::text(""));
            }
            let at = if count > 0 {
                text.match_indices(delimiter.as_ref()).nth(count as usize - 1).map(|(at, _)| 0..at)
            } else {
                let nth = count.unsigned_abs() as usize - 1;
                text.rmatch_indices(delimiter.as_ref()).nth(nth).map(|(at, _)| at + delimiter.len()..text.len())
            };
            Ok(Val::text(at.map_or(text.as_ref(), |range| &text[range]).to_owned()))
        }),
        strict("locate", 2..=3, Ret::Int, |_, args| {
            Ok(Val::Int(locate(&text_of(&args[1]), &text_of(&args[0]), args.get(2).map_or(1, Val::to_int))))
        }),
        strict("instr", 2..=2, Ret::Int, |_, args| Ok(Val::Int(locate(&text_of(&args[0]), &text_of(&args[1]), 1)))),
        text("lpad", 3..=3, |env, args| pad(env, "lpad", args)),
        text("rpad", 3..=3, |env, args| pad(env, "rpad", args)),
        text("trim", 1..=2, |_, args| Ok(trim(args, true, true))),
        text("ltrim", 1..=2, |_, args| Ok(trim(args, true, false))),
        text("rtrim", 1..=2, |_, args| Ok(trim(args, false, true))),
        text("replace", 3..=3, |env, args| {
            let (text, from, to) = (text_of(&args[0]), text_of(&args[1]), text_of(&args[2]));
            if from.is_empty() {
                return Ok(Val::text(text.into_owned()));
            }
            let longer = to.len().saturating_sub(from.len());
            let bytes = text.len().saturating_add(longer.saturating_mul(text.matches(from.as_ref()).count()));
            Ok(if is_too_long(env, "replace", bytes)? {
                Val::Null
            } else {
                Val::text(text.replace(from.as_ref(), &to))
            })
        }),
        text("reverse", 1..=1, |_, args| Ok(Val::text(text_of(&args[0]).chars().rev().collect::<String>()))),
        text("repeat", 2..=2, |env, args| {
            let (text, count) = (text_of(&args[0]), args[1].to_int().max(0) as usize);
            let is_too_long = is_too_long(env, "repeat", text.len().saturating_mul(count))?;
            Ok(if is_too_long { Val::Null } else { Val::text(text.repeat(count)) })
        }),
        text("space", 1..=1, |env, args| {
            let count = args[0].to_int().max(0) as usize;
            Ok(if is_too_long(env, "space", count)? { Val::Null } else { Val::text(" ".repeat(count)) })
        }),
        text("hex", 1..=1, |env, args| {
            if is_too_long(env, "hex", 2 * args[0].text_bytes())? {
                return Ok(Val::Null);
            }
            Ok(Val::text(match &args[0] {
                number if number.is_number() => format!("{:X}", number.to_i128() as u64),
                other => hex(&other.to_bytes(), true),
            }))
        }),
        strict("unhex", 1..=1, Ret::Bytes, |_, args| {
            let text = text_of(&args[0]);
            let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.into_owned() };
            Ok(hex_bytes(&padded).map_or(Val::Null, |bytes| Val::Bytes(bytes.into())))
        }),
        strict("ascii", 1..=1, Ret::Int, |_, args| {
            Ok(Val::Int(i64::from(args[0].to_bytes().first().copied().unwrap_or(0))))
        }),
        strict("ord", 1..=1, Ret::Int, |_, args| {
            let text = text_of(&args[0]);
            let mut buffer = [0; 4];
            let bytes = text.chars().next().map_or(&[][..], |first| first.encode_utf8(&mut buffer).as_bytes());
            Ok(Val::Int(bytes.iter().fold(0, |sum, byte| sum * 256 + i64::from(*byte))))
        }),
        called("char", 1..=MANY, Ret::Bytes, |_, args| {
            let mut out = Vec::new();
            for value in args.iter().filter(|value| !value.is_null()) {
                let number = value.to_i128() as u32;
                let bytes = number.to_be_bytes();
                let skip = bytes.iter().take_while(|byte| **byte == 0).count().min(3);
                out.extend_from_slice(&bytes[skip..]);
            }
            Ok(Val::Bytes(out.into()))
        }),
        called("elt", 2..=MANY, Ret::Text, |_, args| {
            let index = if args[0].is_null() { 0 } else { args[0].to_int() };
            Ok(usize::try_from(index)
                .ok()
                .filter(|index| *index > 0)
                .and_then(|index| args.get(index))
                .cloned()
                .unwrap_or(Val::Null))
        }),
        called("field", 2..=MANY, Ret::Int, |_, args| {
            let numbers = args.iter().all(|value| value.is_number() || value.is_null());
            let texts = args.iter().all(|value| value.is_text() || value.is_null());
            let same = |other: &Val<'_>| {
                if args[0].is_null() || other.is_null() {
                    false
                } else if numbers || texts {
                    args[0].compare(other) == Some(std::cmp::Ordering::Equal)
                } else {
                    args[0].to_f64() == other.to_f64()
                }
            };
            Ok(Val::Int(args[1..].iter().position(same).map_or(0, |at| at as i64 + 1)))
        }),
        strict("find_in_set", 2..=2, Ret::Int, |_, args| {
            let (wanted, set) = (text_of(&args[0]), text_of(&args[1]));
            if set.is_empty() || wanted.contains(',') {
                return Ok(Val::Int(0));
            }
            Ok(Val::Int(set.split(',').position(|item| item == wanted).map_or(0, |at| at as i64 + 1)))
        }),
        called("make_set", 2..=MANY, Ret::Text, |_, args| {
            if args[0].is_null() {
                return Ok(Val::Null);
            }
            let bits = args[0].to_bits();
            let chosen: Vec<Cow<'_, str>> = args[1..]
                .iter()
                .enumerate()
                .filter(|(index, _)| *index < 64 && bits >> index & 1 == 1)
                .filter_map(|(_, value)| value.to_text())
                .collect();
            Ok(Val::text(chosen.join(",")))
        }),
        strict("export_set", 3..=5, Ret::Text, |env, args| {
            let (bits, on, off) = (args[0].to_bits(), text_of(&args[1]), text_of(&args[2]));
            let separator = args.get(3).map_or(Cow::Borrowed(","), text_of);
            let count = args.get(4).map_or(64, Val::to_int).clamp(0, 64);
            let parts: Vec<&str> =
                (0..count).map(|bit| if bits >> bit & 1 == 1 { on.as_ref() } else { off.as_ref() }).collect();
            joined(env, "export_set", &parts, &separator)
        }),
        strict("insert", 4..=4, Ret::Text, |_, args| {
            let text = text_of(&args[0]);
            let chars: Vec<char> = text.chars().collect();
            let (position, count) = (args[1].to_int(), args[2].to_int());
            if position < 1 || position as usize > chars.len() {
                return Ok(Val::text(text.into_owned()));
            }
            let start = position as usize - 1;
            let rest = chars.len() - start;
            let count = if count < 0 || count as usize > rest { rest } else { count as usize };
            let mut out: String = chars[..start].iter().collect();
            out.push_str(&text_of(&args[3]));
            out.extend(&chars[start + count..]);
            Ok(Val::text(out))
        }),
        strict("strcmp", 2..=2, Ret::Int, |_, args| Ok(Val::Int(args[0].to_bytes().cmp(&args[1].to_bytes()) as i64))),
        called("quote", 1..=1, Ret::Text, |_, args| {
            let Some(text) = args[0].to_text() else { return Ok(Val::text("NULL")) };
            let mut out = String::from("'");
            for next in text.chars() {
                match next {
                    '\'' | '\\' => out.extend(['\\', next]),
                    '\0' => out.push_str("\\0"),
                    '\u{1a}' => out.push_str("\\Z"),
                    other => out.push(other),
                }
            }
            out.push('\'');
            Ok(Val::text(out))
        }),
        strict("to_base64", 1..=1, Ret::Text, |_, args| Ok(Val::text(base64(&args[0].to_bytes())))),
        strict("from_base64", 1..=1, Ret::Bytes, |_, args| {
            Ok(from_base64(&args[0].to_bytes()).map_or(Val::Null, |bytes| Val::Bytes(bytes.into())))
        }),
        strict("md5", 1..=1, Ret::Text, |_, args| Ok(Val::text(hex(&Md5::digest(args[0].to_bytes()), false)))),
        strict("sha1", 1..=1, Ret::Text, |_, args| Ok(Val::text(hex(&Sha1::digest(args[0].to_bytes()), false))))
            .alias(&["sha"]),
        strict("sha2", 2..=2, Ret::Text, |_, args| {
            let bytes = args[0].to_bytes();
            Ok(match args[1].to_int() {
                224 => Val::text(hex(&Sha224::digest(&bytes), false)),
                0 | 256 => Val::text(hex(&Sha256::digest(&bytes), false)),
                384 => Val::text(hex(&Sha384::digest(&bytes), false)),
                512 => Val::text(hex(&Sha512::digest(&bytes), false)),
                _ => Val::Null,
            })
        }),
        strict("uuid", 0..=0, Ret::Text, |_, _| Ok(Val::text(super::random_uuid().to_string()))).volatile(),
        strict("is_uuid", 1..=1, Ret::Bool, |_, args| {
            Ok(Val::bool(uuid::Uuid::try_parse(text_of(&args[0]).trim_matches(['{', '}'])).is_ok()))
        }),
        strict("uuid_to_bin", 1..=2, Ret::Bytes, |_, args| {
            let text = text_of(&args[0]);
            let Ok(id) = uuid::Uuid::try_parse(text.trim_matches(['{', '}'])) else {
                let message = format!("Incorrect string value: '{text}' for function uuid_to_bin");
                return Err(crate::error::Error::new(1411, "HY000", message));
            };
            let mut bytes = id.as_bytes().to_vec();
            if args.get(1).is_some_and(|swap| swap.to_int() != 0) {
                bytes = [&bytes[6..8], &bytes[4..6], &bytes[..4], &bytes[8..]].concat();
            }
            Ok(Val::Bytes(bytes.into()))
        }),
        strict("bin_to_uuid", 1..=2, Ret::Text, |_, args| {
            let mut bytes = args[0].to_bytes().into_owned();
            if args.get(1).is_some_and(|swap| swap.to_int() != 0) && bytes.len() == 16 {
                bytes = [&bytes[4..8], &bytes[2..4], &bytes[..2], &bytes[8..]].concat();
            }
            match uuid::Uuid::from_slice(&bytes) {
                Ok(id) => Ok(Val::text(id.to_string())),
                Err(_) => {
                    Err(crate::error::Error::new(1411, "HY000", "Incorrect string value for function bin_to_uuid"))
                }
            }
        }),
    ];
    list.extend([
        strict("soundex", 1..=1, Ret::Text, |_, args| Ok(Val::text(soundex(&text_of(&args[0]))))),
        strict("format", 2..=3, Ret::Text, |_, args| Ok(format_number(&args[0], args[1].to_int().clamp(0, 30) as u8))),
    ]);
    list
}

/// Reads pairs of hexadecimal digits.
pub fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// A function of texts that answers text.
fn text(name: &'static str, arity: std::ops::RangeInclusive<usize>, row: super::RowFn) -> Def {
    strict(name, arity, Ret::Text, row)
}

fn text_or_bytes(fields: &[FieldRef]) -> Field {
    let binary =
        |field: &FieldRef| matches!(field.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    field(if fields.iter().any(binary) { DataType::Binary } else { DataType::Utf8 })
}

fn text_of<'v>(value: &'v Val<'_>) -> Cow<'v, str> {
    value.to_text().unwrap_or_default()
}

/// Returns `count` characters from `start`, without a copy where the text is borrowed.
fn slice<'a>(value: &Val<'a>, start: usize, count: usize) -> Val<'a> {
    let cut = |text: &str| -> (usize, usize) {
        let mut indices = text.char_indices().map(|(at, _)| at);
        let Some(from) = indices.nth(start) else { return (text.len(), text.len()) };
        if count == 0 {
            return (from, from);
        }
        (from, indices.nth(count - 1).unwrap_or(text.len()))
    };
    match value {
        Val::Text(Cow::Borrowed(text)) => {
            let (from, to) = cut(text);
            Val::Text(Cow::Borrowed(&text[from..to]))
        }
        other => {
            let text = text_of(other);
            let (from, to) = cut(&text);
            Val::text(text[from..to].to_owned())
        }
    }
}

fn locate(text: &str, wanted: &str, from: i64) -> i64 {
    let Ok(skip) = usize::try_from(from - 1) else { return 0 };
    let length = text.chars().count();
    if skip > length {
        return 0;
    }
    let start = text.char_indices().nth(skip).map_or(text.len(), |(at, _)| at);
    match text[start..].find(wanted) {
        Some(at) => (skip + text[start..start + at].chars().count()) as i64 + 1,
        None => 0,
    }
}

fn pad(env: &Env, function: &str, args: &[Val<'_>]) -> Result<Val<'static>> {
    let (text, length, with) = (text_of(&args[0]), args[1].to_int(), text_of(&args[2]));
    let Ok(length) = usize::try_from(length) else { return Ok(Val::Null) };
    if is_too_long(env, function, length)? {
        return Ok(Val::Null);
    }
    let count = text.chars().count();
    if count >= length {
        return Ok(Val::text(text.chars().take(length).collect::<String>()));
    }
    if with.is_empty() {
        return Ok(Val::text(""));
    }
    let padding: String = with.chars().cycle().take(length - count).collect();
    Ok(Val::text(if function == "lpad" { format!("{padding}{text}") } else { format!("{text}{padding}") }))
}

fn trim(args: &[Val<'_>], left: bool, right: bool) -> Val<'static> {
    let text = text_of(&args[0]);
    let what = args.get(1).map_or(Cow::Borrowed(" "), text_of);
    let mut rest = text.as_ref();
    if !what.is_empty() {
        while left && rest.starts_with(what.as_ref()) {
            rest = &rest[what.len()..];
        }
        while right && rest.ends_with(what.as_ref()) {
            rest = &rest[..rest.len() - what.len()];
        }
    }
    Val::text(rest.to_owned())
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
        out
    })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A line holds 76 characters, as MySQL breaks them.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (index, chunk) in bytes.chunks(3).enumerate() {
        if index > 0 && index % 19 == 0 {
            out.push('\n');
        }
        let word = chunk.iter().enumerate().fold(0_u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            out.push(if at <= chunk.len() { char::from(BASE64[(word >> (18 - 6 * at) & 63) as usize]) } else { '=' });
        }
    }
    out
}

fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let body = &text[..text.len() - padding];
    let mut word = 0_u32;
    let mut bits = 0;
    for byte in body {
        let value = BASE64.iter().position(|letter| letter == byte)? as u32;
        word = word << 6 | value;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    Some(out)
}

fn soundex(text: &str) -> String {
    let code = |letter: char| match letter.to_ascii_uppercase() {
        'B' | 'F' | 'P' | 'V' => '1',
        'C' | 'G' | 'J' | 'K' | 'Q' | 'S' | 'X' | 'Z' => '2',
        'D' | 'T' => '3',
        'L' => '4',
        'M' | 'N' => '5',
        'R' => '6',
        _ => '0',
    };
    let mut letters = text.chars().filter(|letter| letter.is_alphabetic());
    let Some(first) = letters.next() else { return String::new() };
    let mut out = String::from(first.to_ascii_uppercase());
    let mut last = code(first);
    for letter in letters {
        let next = code(letter);
        // H and W do not part letters of one sound.
        if matches!(letter.to_ascii_uppercase(), 'H' | 'W') {
            continue;
        }
        if next != '0' && next != last {
            out.push(next);
        }
        last = next;
    }
    while out.chars().count() < 4 {
        out.push('0');
    }
    out
}

/// Groups thousands and rounds to `digits`.
fn format_number(value: &Val<'_>, digits: u8) -> Val<'static> {
    let text = match value {
        Val::Float(number) => format!("{number:.*}", usize::from(digits)),
        other => match other.to_decimal().and_then(|decimal| decimal.rescale(digits)) {
            Some(decimal) => decimal.to_string(),
            None => format!("{:.*}", usize::from(digits), other.to_f64()),
        },
    };
    let (sign, body) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = body.split_once('.').map_or((body, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut out = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    Val::text(out)
}

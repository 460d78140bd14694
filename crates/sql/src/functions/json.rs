//! JSON: documents are text in MySQL's own spelling (`{"a": 1}`), read, walked by paths and written again.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::value::Val;
use super::{Def, MANY, Ret, called, strict};
use crate::error::{Error, Result};

pub(super) fn list() -> Vec<Def> {
    vec![
        strict("json_extract", 2..=MANY, Ret::Json, |_, args| {
            let document = argument(&args[0], "json_extract", 1)?;
            let mut found = Vec::new();
            let mut many = args.len() > 2;
            for path in &args[1..] {
                let path = Path::parse(&path.to_text().unwrap_or_default())?;
                many |= path.is_wild();
                path.walk(&document, &mut found);
            }
            Ok(match (many, found.as_slice()) {
                (_, []) => Val::Null,
                (false, [one]) => json_text(one),
                (_, all) => json_text(&Value::Array(all.iter().map(|value| (*value).clone()).collect())),
            })
        }),
        strict("json_value", 2..=2, Ret::Text, |_, args| {
            let document = argument(&args[0], "json_value", 1)?;
            let mut found = Vec::new();
            Path::parse(&args[1].to_text().unwrap_or_default())?.walk(&document, &mut found);
            Ok(match found.first() {
                None | Some(Value::Null) => Val::Null,
                Some(Value::String(text)) => Val::text(text.clone()),
                Some(other) => Val::text(to_text(other)),
            })
        }),
        strict("json_unquote", 1..=1, Ret::Text, |_, args| {
            let text = args[0].clone().into_text();
            if text.starts_with('"')
                && text.ends_with('"')
                && text.len() > 1
                && let Value::String(inner) = parse(&text, "json_unquote", 1)?
            {
                return Ok(Val::text(inner));
            }
            Ok(Val::Text(text))
        }),
        strict("json_quote", 1..=1, Ret::Text, |_, args| {
            Ok(Val::text(to_text(&Value::String(args[0].clone().into_text().into_owned()))))
        }),
        called("json_object", 0..=MANY, Ret::Json, |_, args| {
            if args.len() % 2 == 1 {
                let message = "Incorrect parameter count in the call to native function 'json_object'";
                return Err(Error::new(1582, "42000", message));
            }
            let mut object = Map::new();
            for pair in args.chunks(2) {
                let Some(key) = pair[0].to_text() else {
                    return Err(Error::new(3158, "22032", "JSON documents may not contain NULL member names."));
                };
                object.insert(key.into_owned(), document(&pair[1]));
            }
            Ok(json_text(&Value::Object(object)))
        }),
        called("json_array", 0..=MANY, Ret::Json, |_, args| {
            Ok(json_text(&Value::Array(args.iter().map(|value| document(value)).collect())))
        }),
        strict("json_valid", 1..=1, Ret::Bool, |_, args| {
            Ok(Val::bool(match &args[0] {
                Val::Json(_) => true,
                Val::Text(text) => serde_json::from_str::<Value>(text).is_ok(),
                _ => false,
            }))
        }),
        strict("json_type", 1..=1, Ret::Text, |_, args| {
            Ok(Val::text(match argument(&args[0], "json_type", 1)? {
                Value::Null => "NULL",
                Value::Bool(_) => "BOOLEAN",
                Value::Number(number) if number.is_i64() => "INTEGER",
                Value::Number(number) if number.is_u64() => "UNSIGNED INTEGER",
                Value::Number(_) => "DOUBLE",
                Value::String(_) => "STRING",
                Value::Array(_) => "ARRAY",
                Value::Object(_) => "OBJECT",
            }))
        }),
        strict("json_length", 1..=2, Ret::Int, |_, args| {
            let document = argument(&args[0], "json_length", 1)?;
            Ok(at(&document, args.get(1))?.map_or(Val::Null, |found| {
                Val::Int(match found {
                    Value::Array(items) => items.len() as i64,
                    Value::Object(members) => members.len() as i64,
                    _ => 1,
                })
            }))
        }),
        strict("json_depth", 1..=1, Ret::Int, |_, args| Ok(Val::Int(depth(&argument(&args[0], "json_depth", 1)?)))),
        strict("json_keys", 1..=2, Ret::Json, |_, args| {
            let document = argument(&args[0], "json_keys", 1)?;
            Ok(match at(&document, args.get(1))? {
                Some(Value::Object(members)) => {
                    let Value::Object(sorted) = ordered(&Value::Object(members.clone())) else { return Ok(Val::Null) };
                    json_text(&Value::Array(sorted.keys().map(|key| Value::String(key.clone())).collect()))
                }
                _ => Val::Null,
            })
        }),
        strict("json_contains", 2..=3, Ret::Bool, |_, args| {
            let target = argument(&args[0], "json_contains", 1)?;
            let candidate = argument(&args[1], "json_contains", 2)?;
            Ok(at(&target, args.get(2))?.map_or(Val::Null, |target| Val::bool(contains(target, &candidate))))
        }),
        strict("json_contains_path", 3..=MANY, Ret::Bool, |_, args| {
            let document = argument(&args[0], "json_contains_path", 1)?;
            let all = args[1].clone().into_text().eq_ignore_ascii_case("all");
            let mut hits = 0;
            for path in &args[2..] {
                let mut found = Vec::new();
                Path::parse(&path.to_text().unwrap_or_default())?.walk(&document, &mut found);
                hits += usize::from(!found.is_empty());
            }
            Ok(Val::bool(if all { hits == args.len() - 2 } else { hits > 0 }))
        }),
        strict("json_overlaps", 2..=2, Ret::Bool, |_, args| {
            let (left, right) = (argument(&args[0], "json_overlaps", 1)?, argument(&args[1], "json_overlaps", 2)?);
            Ok(Val::bool(overlaps(&left, &right)))
        }),
        strict("mysql_member_of", 2..=2, Ret::Bool, |_, args| {
            let wanted = document(&args[0]);
            Ok(Val::bool(match argument(&args[1], "member of", 2)? {
                Value::Array(items) => items.iter().any(|item| same(item, &wanted)),
                other => same(&other, &wanted),
            }))
        }),
        strict("json_search", 3..=4, Ret::Json, |_, args| {
            let document = argument(&args[0], "json_search", 1)?;
            let all = args[1].clone().into_text().eq_ignore_ascii_case("all");
            let pattern = args[2].clone().into_text();
            let mut found = Vec::new();
            search(&document, &pattern, "$", &mut found);
            let mut found: Vec<Value> = found.into_iter().map(Value::String).collect();
            Ok(match (found.len(), all) {
                (0, _) => Val::Null,
                (1, _) | (_, false) => json_text(&found.remove(0)),
                _ => json_text(&Value::Array(found)),
            })
        }),
        strict("json_pretty", 1..=1, Ret::Text, |_, args| {
            let document = ordered(&argument(&args[0], "json_pretty", 1)?);
            Ok(Val::text(serde_json::to_string_pretty(&document).unwrap_or_default()))
        }),
        strict("json_storage_size", 1..=1, Ret::Int, |_, args| Ok(Val::Int(args[0].to_bytes().len() as i64))),
    ]
}

/// Writes a document as MySQL shows it: members sorted by length and then bytes, a space after `,` and `:`.
pub(crate) fn to_text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Writes a member's name, and what stands before its value.
pub(super) fn write_name(name: &str, out: &mut String) {
    out.push_str(&Value::from(name).to_string());
    out.push_str(": ");
}

pub(super) fn json_text(value: &Value) -> Val<'static> {
    Val::Json(to_text(value).into())
}

/// Reads a text argument of a function.
pub(super) fn parse(text: &str, function: &str, argument: usize) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        let reason = crate::types::json_reason(&error);
        let position = error.column().saturating_sub(1);
        let message = format!(
            "Invalid JSON text in argument {argument} to function {function}: \"{reason}\" at position {position}."
        );
        Error::new(3141, "22032", message)
    })
}

pub(super) fn argument(value: &Val<'_>, function: &str, position: usize) -> Result<Value> {
    match value {
        Val::Json(text) | Val::Text(text) => parse(text, function, position),
        _ => {
            let message = format!(
                "Invalid data type for JSON data in argument {position} to function {function}; a JSON string or JSON type is required."
            );
            Err(Error::new(3146, "22032", message))
        }
    }
}

/// Returns a SQL value as a JSON value. Text is a string, unless it is a JSON document.
pub(super) fn document(value: &Val<'_>) -> Value {
    match value {
        Val::Null => Value::Null,
        Val::Bool(v) => Value::Bool(*v),
        Val::Int(v) => Value::from(*v),
        Val::UInt(v) => Value::from(*v),
        Val::Float(v) => Number::from_f64(*v).map_or(Value::Null, Value::Number),
        Val::Dec(v) => Number::from_f64(v.to_f64()).map_or(Value::Null, Value::Number),
        Val::Json(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        Val::Text(text) => Value::String(text.to_string()),
        // Datetimes and times carry all six digits in JSON.
        Val::DateTime(micros, _) => Value::String(super::calendar::format_datetime(*micros, 6)),
        Val::Time(micros, _) => Value::String(super::calendar::format_time(*micros, 6)),
        other => Value::String(other.to_text().unwrap_or_default().into_owned()),
    }
}

/// A path such as `$.a[0]."b c"`, with `*`, `[*]`, `**` and `[last-1]`.
pub(super) struct Path {
    pub(super) legs: Vec<Leg>,
}

pub(super) enum Leg {
    Member(String),
    AnyMember,
    Index(usize),
    /// From the end: 0 is the last.
    Last(usize),
    AnyIndex,
    Deep,
}

impl Path {
    pub(super) fn parse(text: &str) -> Result<Path> {
        let wrong = |at: usize| {
            let message = format!("Invalid JSON path expression. The error is around character position {at}.");
            Error::new(3143, "42000", message)
        };
        let text = text.trim();
        let mut rest = text.strip_prefix('$').ok_or_else(|| wrong(1))?;
        let mut legs = Vec::new();
        while !rest.trim_start().is_empty() {
            rest = rest.trim_start();
            let here = text.len() - rest.len() + 1;
            if let Some(after) = rest.strip_prefix("**") {
                legs.push(Leg::Deep);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let after = after.trim_start();
                if let Some(after) = after.strip_prefix('*') {
                    legs.push(Leg::AnyMember);
                    rest = after;
                } else if after.starts_with('"') {
                    let mut stream = serde_json::Deserializer::from_str(after).into_iter::<String>();
                    let name = stream.next().and_then(std::result::Result::ok).ok_or_else(|| wrong(here))?;
                    legs.push(Leg::Member(name));
                    rest = &after[stream.byte_offset()..];
                } else {
                    let end = after.find(['.', '[', '*', ' ']).unwrap_or(after.len());
                    if end == 0 || after.starts_with(|first: char| first.is_ascii_digit()) {
                        return Err(wrong(here));
                    }
                    legs.push(Leg::Member(after[..end].to_owned()));
                    rest = &after[end..];
                }
            } else if let Some(after) = rest.strip_prefix('[') {
                let close = after.find(']').ok_or_else(|| wrong(here))?;
                let inside = after[..close].trim();
                legs.push(if inside == "*" {
                    Leg::AnyIndex
                } else if let Some(back) = inside.strip_prefix("last") {
                    let back = back.trim();
                    let number = back.strip_prefix('-').map(str::trim);
                    Leg::Last(match (back, number) {
                        ("", _) => 0,
                        (_, Some(number)) => number.parse().map_err(|_| wrong(here))?,
                        _ => return Err(wrong(here)),
                    })
                } else {
                    Leg::Index(inside.parse().map_err(|_| wrong(here))?)
                });
                rest = &after[close + 1..];
            } else {
                return Err(wrong(here));
            }
        }
        if matches!(legs.last(), Some(Leg::Deep)) {
            return Err(wrong(text.len()));
        }
        Ok(Path { legs })
    }

    pub(super) fn is_wild(&self) -> bool {
        self.legs.iter().any(|leg| matches!(leg, Leg::AnyMember | Leg::AnyIndex | Leg::Deep))
    }

    pub(super) fn walk<'d>(&self, document: &'d Value, found: &mut Vec<&'d Value>) {
        walk(&self.legs, document, found);
    }
}

fn walk<'d>(legs: &[Leg], value: &'d Value, found: &mut Vec<&'d Value>) {
    let Some((leg, rest)) = legs.split_first() else {
        if !found.iter().any(|known| std::ptr::eq(*known, value)) {
            found.push(value);
        }
        return;
    };
    match (leg, value) {
        (Leg::Member(name), Value::Object(members)) => {
            if let Some(member) = members.get(name) {
                walk(rest, member, found);
            }
        }
        (Leg::AnyMember, Value::Object(members)) => members.values().for_each(|member| walk(rest, member, found)),
        (Leg::Index(index), Value::Array(items)) => {
            if let Some(item) = items.get(*index) {
                walk(rest, item, found);
            }
        }
        (Leg::Last(back), Value::Array(items)) => {
            if let Some(item) = items.len().checked_sub(back + 1).and_then(|index| items.get(index)) {
                walk(rest, item, found);
            }
        }
        // What is no array is an array of one.
        (Leg::Index(0) | Leg::Last(0), other) => walk(rest, other, found),
        (Leg::AnyIndex, Value::Array(items)) => items.iter().for_each(|item| walk(rest, item, found)),
        (Leg::Deep, _) => {
            walk(rest, value, found);
            match value {
                Value::Array(items) => items.iter().for_each(|item| walk(legs, item, found)),
                Value::Object(members) => members.values().for_each(|member| walk(legs, member, found)),
                _ => {}
            }
        }
        _ => {}
    }
}

fn at<'d>(document: &'d Value, path: Option<&Val<'_>>) -> Result<Option<&'d Value>> {
    let Some(path) = path else { return Ok(Some(document)) };
    let mut found = Vec::new();
    Path::parse(&path.to_text().unwrap_or_default())?.walk(document, &mut found);
    Ok(found.first().copied())
}

fn depth(value: &Value) -> i64 {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn contains(target: &Value, candidate: &Value) -> bool {
    match (target, candidate) {
        (Value::Array(items), Value::Array(wanted)) => {
            wanted.iter().all(|one| items.iter().any(|item| contains(item, one)))
        }
        (Value::Array(items), one) => items.iter().any(|item| contains(item, one)),
        (Value::Object(members), Value::Object(wanted)) => {
            wanted.iter().all(|(key, one)| members.get(key).is_some_and(|member| contains(member, one)))
        }
        (left, right) => same(left, right),
    }
}

fn overlaps(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(items), Value::Array(others)) => {
            items.iter().any(|item| others.iter().any(|other| same(item, other)))
        }
        (Value::Array(items), other) | (other, Value::Array(items)) => items.iter().any(|item| same(item, other)),
        (Value::Object(members), Value::Object(others)) => {
            members.iter().any(|(key, value)| others.get(key).is_some_and(|other| same(value, other)))
        }
        (left, right) => same(left, right),
    }
}

/// Equal as MySQL compares: 1 and 1.0 are the same number.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => l == r || l.as_f64().zip(r.as_f64()).is_some_and(|(l, r)| l == r),
        _ => left == right,
    }
}

fn search(value: &Value, pattern: &str, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if super::patterns::like(text, pattern, Some('\\')) => found.push(path.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                search(item, pattern, &format!("{path}[{index}]"), found);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                let plain = key.chars().all(|c| c.is_alphanumeric() || c == '_')
                    && !key.starts_with(|c: char| c.is_ascii_digit());
                let leg = if plain { key.clone() } else { to_text(&Value::String(key.clone())) };
                search(member, pattern, &format!("{path}.{leg}"), found);
            }
        }
        _ => {}
    }
}

fn key_order(left: &str, right: &str) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

fn ordered(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort_by(|left, right| key_order(left, right));
            Value::Object(keys.into_iter().map(|key| (key.clone(), ordered(&members[key]))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(ordered).collect()),
        other => other.clone(),
    }
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort_by(|left, right| key_order(left, right));
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_name(key, out);
                write(&members[key], out);
            }
            out.push('}');
        }
        Value::Number(number) if number.is_f64() => {
            let text = super::value::float_text(number.as_f64().unwrap_or(0.0));
            let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            out.push_str(&text);
            // A double stays one when it is read again.
            out.push_str(if plain { ".0" } else { "" });
        }
        other => out.push_str(&other.to_string()),
    }
}

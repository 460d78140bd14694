//! JSON documents changed at paths: JSON_SET and its kin, merging.

use serde_json::Value;

use super::json::{Leg, Path, argument, document, json_text};
use super::value::Val;
use super::{Def, MANY, Ret, called, strict};
use crate::error::{Error, Result};

pub(super) fn list() -> Vec<Def> {
    vec![
        called("json_set", 3..=MANY, Ret::Json, |_, args| change(args, "json_set", true, true)),
        called("json_insert", 3..=MANY, Ret::Json, |_, args| change(args, "json_insert", true, false)),
        called("json_replace", 3..=MANY, Ret::Json, |_, args| change(args, "json_replace", false, true)),
        strict("json_remove", 2..=MANY, Ret::Json, |_, args| {
            let mut root = argument(&args[0], "json_remove", 1)?;
            for path in &args[1..] {
                let path = plain(path)?;
                let Some((last, before)) = path.legs.split_last() else {
                    return Err(Error::new(3153, "42000", "The path expression '$' is not allowed in this context."));
                };
                match (find(&mut root, before), last) {
                    (Some(Value::Object(members)), Leg::Member(name)) => {
                        members.shift_remove(name);
                    }
                    (Some(Value::Array(items)), leg) => {
                        if let Some(index) = index_of(leg, items.len()).filter(|index| *index < items.len()) {
                            items.remove(index);
                        }
                    }
                    _ => {}
                }
            }
            Ok(json_text(&root))
        }),
        called("json_array_append", 3..=MANY, Ret::Json, |_, args| {
            if args.iter().step_by(2).chain(&args[1..2]).take(1).any(Val::is_null) {
                return Ok(Val::Null);
            }
            let mut root = argument(&args[0], "json_array_append", 1)?;
            for pair in args[1..].chunks(2) {
                let [path, value] = pair else { return Err(odd("json_array_append")) };
                if path.is_null() {
                    return Ok(Val::Null);
                }
                if let Some(target) = find(&mut root, &plain(path)?.legs) {
                    match target {
                        Value::Array(items) => items.push(document(value)),
                        other => *other = Value::Array(vec![other.take(), document(value)]),
                    }
                }
            }
            Ok(json_text(&root))
        }),
        strict("json_merge_patch", 2..=MANY, Ret::Json, |_, args| {
            let mut merged = argument(&args[0], "json_merge_patch", 1)?;
            for (index, other) in args.iter().enumerate().skip(1) {
                patch(&mut merged, argument(other, "json_merge_patch", index + 1)?);
            }
            Ok(json_text(&merged))
        }),
        strict("json_merge_preserve", 2..=MANY, Ret::Json, |_, args| {
            let mut merged = argument(&args[0], "json_merge_preserve", 1)?;
            for (index, other) in args.iter().enumerate().skip(1) {
                merged = preserve(merged, argument(other, "json_merge_preserve", index + 1)?);
            }
            Ok(json_text(&merged))
        })
        .alias(&["json_merge"]),
    ]
}

fn odd(function: &str) -> Error {
    Error::new(1582, "42000", format!("Incorrect parameter count in the call to native function '{function}'"))
}

fn change(args: &[Val<'_>], function: &str, insert: bool, replace: bool) -> Result<Val<'static>> {
    if args.len().is_multiple_of(2) {
        return Err(odd(function));
    }
    if args[0].is_null() || args[1..].iter().step_by(2).any(Val::is_null) {
        return Ok(Val::Null);
    }
    let mut root = argument(&args[0], function, 1)?;
    for pair in args[1..].chunks(2) {
        let (path, value) = (plain(&pair[0])?, document(&pair[1]));
        let Some((last, before)) = path.legs.split_last() else {
            if replace {
                root = value;
            }
            continue;
        };
        let Some(parent) = find(&mut root, before) else { continue };
        match (parent, last) {
            (Value::Object(members), Leg::Member(name)) => {
                let wanted = if members.contains_key(name) { replace } else { insert };
                if wanted {
                    members.insert(name.clone(), value);
                }
            }
            (Value::Array(items), leg @ (Leg::Index(_) | Leg::Last(_))) => match index_of(leg, items.len()) {
                Some(index) if index < items.len() && replace => items[index] = value,
                Some(index) if index < items.len() => {}
                Some(_) if insert => items.push(value),
                None if insert => items.insert(0, value),
                _ => {}
            },
            // What is no array is an array of one.
            (other, Leg::Index(0) | Leg::Last(0)) if replace => *other = value,
            (_, Leg::Index(0) | Leg::Last(0)) => {}
            (other, Leg::Index(_)) if insert => *other = Value::Array(vec![other.take(), value]),
            _ => {}
        }
    }
    Ok(json_text(&root))
}

/// Reads a path that names one place.
fn plain(path: &Val<'_>) -> Result<Path> {
    let path = Path::parse(&path.to_text().unwrap_or_default())?;
    if path.is_wild() {
        let message = "In this situation, path expressions may not contain the * and ** tokens or an array range.";
        return Err(Error::new(3149, "42000", message));
    }
    Ok(path)
}

fn index_of(leg: &Leg, length: usize) -> Option<usize> {
    match leg {
        Leg::Index(index) => Some(*index),
        Leg::Last(back) => length.checked_sub(back + 1),
        _ => None,
    }
}

fn find<'d>(root: &'d mut Value, legs: &[Leg]) -> Option<&'d mut Value> {
    let mut here = root;
    for leg in legs {
        here = match (leg, here) {
            (Leg::Member(name), Value::Object(members)) => members.get_mut(name)?,
            (leg, Value::Array(items)) => {
                let index = index_of(leg, items.len())?;
                items.get_mut(index)?
            }
            (Leg::Index(0) | Leg::Last(0), other) => other,
            _ => return None,
        };
    }
    Some(here)
}

/// RFC 7396.
fn patch(target: &mut Value, patch_with: Value) {
    let Value::Object(changes) = patch_with else {
        *target = patch_with;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(members) = target {
        for (key, change) in changes {
            if change.is_null() {
                members.shift_remove(&key);
            } else {
                patch(members.entry(key).or_insert(Value::Null), change);
            }
        }
    }
}

fn preserve(left: Value, right: Value) -> Value {
    match (left, right) {
        (Value::Object(mut members), Value::Object(others)) => {
            for (key, other) in others {
                let merged = match members.shift_remove(&key) {
                    Some(member) => preserve(member, other),
                    None => other,
                };
                members.insert(key, merged);
            }
            Value::Object(members)
        }
        (left, right) => {
            let items = |value: Value| if let Value::Array(items) = value { items } else { vec![value] };
            let mut all = items(left);
            all.extend(items(right));
            Value::Array(all)
        }
    }
}

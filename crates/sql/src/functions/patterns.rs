//! LIKE with its own escape, and regular expressions.
//!
//! The collation is utf8mb4_bin: both see case. Regular expressions are those of the `regex` crate, which has no
//! look-around and no back-references.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::strings::is_too_long;
use super::value::Val;
use super::{Def, Ret, strict};
use crate::error::{Error, Result};

pub(super) fn list() -> Vec<Def> {
    vec![
        strict("mysql_regexp", 2..=2, Ret::Bool, |_, args| matches(args)),
        strict("regexp_like", 2..=3, Ret::Bool, |_, args| matches(args)),
        strict("mysql_like", 3..=3, Ret::Bool, |_, args| {
            let (text, pattern) = (args[0].clone().into_text(), args[1].clone().into_text());
            Ok(Val::bool(like(&text, &pattern, args[2].clone().into_text().chars().next())))
        }),
        strict("regexp_instr", 2..=6, Ret::Int, |_, args| {
            let text = args[0].clone().into_text();
            let after = args.get(4).is_some_and(|option| option.to_int() == 1);
            let found = nth(&text, args, 5)?;
            Ok(Val::Int(
                found.map_or(0, |(start, end)| text[..if after { end } else { start }].chars().count() as i64 + 1),
            ))
        }),
        strict("regexp_substr", 2..=5, Ret::Text, |_, args| {
            let text = args[0].clone().into_text();
            Ok(nth(&text, args, 4)?.map_or(Val::Null, |(start, end)| Val::text(text[start..end].to_owned())))
        }),
        strict("regexp_replace", 3..=6, Ret::Text, |env, args| {
            let text = args[0].clone().into_text();
            let regex = compiled(&args[1], args.get(5))?;
            let start = offset(&text, args.get(3))?;
            let which = args.get(4).map_or(0, Val::to_int);
            let by = args[2].clone().into_text();
            // MySQL names groups $1; so does the crate, which would read `$1x` as the group `1x`.
            let by = braced(&by);
            let tail = &text[start..];
            let mut out = text[..start].to_owned();
            let mut last = 0;
            for (index, captures) in regex.captures_iter(tail).enumerate() {
                let Some(whole) = captures.get(0) else { continue };
                if which == 0 || index as i64 + 1 == which {
                    out.push_str(&tail[last..whole.start()]);
                    captures.expand(&by, &mut out);
                    last = whole.end();
                    if is_too_long(env, "regexp_replace", out.len())? {
                        return Ok(Val::Null);
                    }
                }
            }
            out.push_str(&tail[last..]);
            Ok(Val::text(out))
        }),
    ]
}

fn matches(args: &[Val<'_>]) -> Result<Val<'static>> {
    let regex = compiled(&args[1], args.get(2))?;
    Ok(Val::bool(regex.is_match(&args[0].clone().into_text())))
}

/// Finds the occurrence that arguments 3 (start), 4 (which) and `flags` ask for.
fn nth(text: &str, args: &[Val<'_>], flags: usize) -> Result<Option<(usize, usize)>> {
    let regex = compiled(&args[1], args.get(flags))?;
    let start = offset(text, args.get(2))?;
    let which = args.get(3).map_or(1, Val::to_int).max(1);
    Ok(regex
        .find_iter(&text[start..])
        .nth(which as usize - 1)
        .map(|found| (start + found.start(), start + found.end())))
}

/// Returns the byte at which a position in characters, counted from 1, begins.
fn offset(text: &str, position: Option<&Val<'_>>) -> Result<usize> {
    let position = position.map_or(1, Val::to_int);
    let outside = || Error::new(3686, "HY000", "Index out of bounds in regular expression search.");
    let skip = usize::try_from(position - 1).map_err(|_| outside())?;
    if skip == text.chars().count() {
        return Ok(text.len());
    }
    text.char_indices().nth(skip).map(|(at, _)| at).ok_or_else(outside)
}

fn braced(replacement: &str) -> String {
    let mut out = String::with_capacity(replacement.len());
    let mut chars = replacement.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '$' if chars.peek().is_some_and(char::is_ascii_digit) => {
                out.push_str("${");
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    out.push(digit);
                }
                out.push('}');
            }
            '\\' if chars.peek().is_some() => {
                let escaped = chars.next().unwrap_or_default();
                out.push_str(if escaped == '$' { "$$" } else { "" });
                if escaped != '$' {
                    out.push(escaped);
                }
            }
            other => out.push(other),
        }
    }
    out
}

fn compiled(pattern: &Val<'_>, flags: Option<&Val<'_>>) -> Result<Regex> {
    thread_local! {
        static CACHE: RefCell<HashMap<(String, String), Regex>> = RefCell::new(HashMap::new());
    }
    let pattern = pattern.clone().into_text().into_owned();
    let flags = flags.map(|flags| flags.clone().into_text().into_owned()).unwrap_or_default();
    let key = (pattern, flags);
    CACHE.with_borrow_mut(|cache| {
        if let Some(regex) = cache.get(&key) {
            return Ok(regex.clone());
        }
        let mut builder = RegexBuilder::new(&key.0);
        for flag in key.1.chars() {
            match flag {
                'i' => builder.case_insensitive(true),
                'c' => builder.case_insensitive(false),
                'm' => builder.multi_line(true),
                'n' => builder.dot_matches_new_line(true),
                'u' => builder.crlf(false),
                _ => return Err(Error::wrong_arguments("Incorrect arguments to regexp_like")),
            };
        }
        let regex = builder
            .build()
            .map_err(|error| Error::new(3696, "HY000", format!("The regular expression is not valid: {error}")))?;
        if cache.len() >= 64 {
            cache.clear();
        }
        cache.insert(key.clone(), regex.clone());
        Ok(regex)
    })
}

/// Matches `%` and `_`, with any escape or none.
pub(super) fn like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    #[derive(Clone, Copy)]
    enum Piece {
        Many,
        One,
        Char(char),
    }
    let mut pieces = Vec::new();
    let mut chars = pattern.chars();
    while let Some(next) = chars.next() {
        pieces.push(match next {
            _ if Some(next) == escape => Piece::Char(chars.next().unwrap_or(next)),
            '%' => Piece::Many,
            '_' => Piece::One,
            other => Piece::Char(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut piece) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match pieces.get(piece) {
            Some(Piece::Many) => {
                retry = Some((piece, at));
                piece += 1;
            }
            Some(Piece::One) => {
                at += 1;
                piece += 1;
            }
            Some(Piece::Char(wanted)) if *wanted == text[at] => {
                at += 1;
                piece += 1;
            }
            _ => {
                let Some((many, from)) = retry else { return false };
                retry = Some((many, from + 1));
                piece = many + 1;
                at = from + 1;
            }
        }
    }
    pieces[piece..].iter().all(|piece| matches!(piece, Piece::Many))
}

//! Statements as text. SQL is UTF-8 here, but `mysqldump` and drivers put raw bytes into string literals.

use std::borrow::Cow;

use strandline_sql::error::{Error, Result};

/// Returns a statement as text. A string literal with bytes that are no UTF-8 becomes the hexadecimal literal of the
/// same bytes; such bytes anywhere else are error 1300.
pub fn statement(bytes: &[u8]) -> Result<Cow<'_, str>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) => rewrite(bytes).map(Cow::Owned),
    }
}

/// Returns a name as text.
pub fn name(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| invalid())
}

fn invalid() -> Error {
    Error::new(1300, "HY000", "Invalid utf8mb4 character string")
}

fn rewrite(bytes: &[u8]) -> Result<String> {
    let mut out = String::with_capacity(bytes.len() * 2);
    let mut left = bytes;
    while let Some(first) = left.first() {
        let length = match first {
            b'\'' | b'"' => literal_length(left),
            b'`' => 1 + left[1..].iter().position(|byte| *byte == b'`').map_or(left.len() - 1, |at| at + 1),
            b'#' => line_length(left),
            b'-' if left.starts_with(b"-- ") => line_length(left),
            b'/' if left.starts_with(b"/*") && !left.starts_with(b"/*!") => {
                2 + left[2..].windows(2).position(|pair| pair == b"*/").map_or(left.len() - 2, |at| at + 2)
            }
            _ => 1 + left[1..].iter().position(|byte| b"'\"`#-/".contains(byte)).unwrap_or(left.len() - 1),
        };
        let (piece, after) = left.split_at(length);
        match std::str::from_utf8(piece) {
            Ok(text) => out.push_str(text),
            Err(_) if matches!(first, b'\'' | b'"') => put_hex(piece, &mut out),
            Err(_) => return Err(invalid()),
        }
        left = after;
    }
    Ok(out)
}

/// Returns the length of the string literal at the start, quotes included.
fn literal_length(text: &[u8]) -> usize {
    let quote = text[0];
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            byte if byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn line_length(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1)
}

/// Writes a string literal as a hexadecimal one, which `_binary` before it does not disturb.
fn put_hex(literal: &[u8], out: &mut String) {
    use std::fmt::Write;
    let quote = literal[0];
    let inner = literal[1..].strip_suffix(&[quote]).unwrap_or(&literal[1..]);
    if out.ends_with(|last: char| last.is_alphanumeric() || last == '_') {
        out.push(' ');
    }
    out.push_str("x'");
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        let value = match *byte {
            b'\\' => match bytes.next() {
                Some(b'0') => 0,
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'b') => 8,
                Some(b'Z') => 26,
                Some(other) => *other,
                None => b'\\',
            },
            byte if byte == quote => {
                bytes.next();
                quote
            }
            byte => byte,
        };
        write!(out, "{value:02X}").expect("writing to memory cannot fail");
    }
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::fuzz::Random;

    #[test]
    fn raw_bytes_become_hexadecimal_literals() {
        for (bytes, expected) in [
            (b"SELECT 'a'".as_slice(), "SELECT 'a'"),
            (b"SELECT '\xFF'", "SELECT x'FF'"),
            (b"SELECT _binary'\xFF\\0\\'''x' , 'ok'", "SELECT _binary x'FF00272778' , 'ok'"),
            (b"SELECT 1 - 2 /* ' */ , \"\xFE\" # '", "SELECT 1 - 2 /* ' */ , x'FE' # '"),
            (b"SELECT `a'b`, '\xFF' -- '\n", "SELECT `a'b`, x'FF' -- '\n"),
        ] {
            assert_eq!(statement(bytes).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn raw_bytes_elsewhere_are_an_error() {
        for bytes in [b"SELECT \xFF".as_slice(), b"SELECT `\xFF`", b"/* \xFF */ SELECT 1"] {
            assert_eq!(statement(bytes).map_err(|error| error.code), Err(1300));
        }
    }

    #[test]
    fn any_bytes_do_no_harm() {
        let mut random = Random::new(3);
        for _ in 0..50_000 {
            let _ = statement(&random.damaged(b"SELECT _binary'\xFF\\'', \"x\" -- '\n /* `"));
            let _ = statement(&random.bytes(40));
        }
    }
}

//! Text that is not all UTF-8: `mysqldump` writes the bytes of a BLOB as they are, between quotes.

use std::borrow::Cow;

use super::Options;
use crate::error::{Error, Result};

/// Returns the bytes that a client sent as text. Quoted texts that are not UTF-8 become hexadecimal literals of the same bytes, and in
/// comments such bytes become U+FFFD. Errors: 1300 for such bytes anywhere else.
pub fn text_of_bytes(bytes: &[u8], options: Options) -> Result<Cow<'_, str>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) => String::from_utf8(convert(bytes, options))
            .map(Cow::Owned)
            .map_err(|_| Error::new(1300, "HY000", "Invalid utf8mb4 character string")),
    }
}

fn convert(bytes: &[u8], options: Options) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len() + bytes.len() / 2);
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = match rest[0] {
            b'\'' => string(rest, options, &mut out),
            b'"' if !options.ansi_quotes => string(rest, options, &mut out),
            b'`' | b'"' => copy(rest, until(&rest[1..], &rest[..1]) + 1, &mut out),
            b'#' => comment(rest, until(rest, b"\n"), &mut out),
            b'-' if rest.starts_with(b"--") && rest.get(2).is_none_or(|&b| b <= b' ') => {
                comment(rest, until(rest, b"\n"), &mut out)
            }
            // What is in a version comment is SQL.
            b'/' if rest.starts_with(b"/*") && rest.get(2) != Some(&b'!') => {
                comment(rest, until(&rest[2..], b"*/") + 2, &mut out)
            }
            _ => copy(rest, 1, &mut out),
        };
        at += length;
    }
    out
}

fn comment(rest: &[u8], length: usize, out: &mut Vec<u8>) -> usize {
    let length = length.min(rest.len());
    out.extend_from_slice(String::from_utf8_lossy(&rest[..length]).as_bytes());
    length
}

fn copy(rest: &[u8], length: usize, out: &mut Vec<u8>) -> usize {
    let length = length.min(rest.len());
    out.extend_from_slice(&rest[..length]);
    length
}

/// Returns how many bytes there are up to and with `end`, or to the end of the text.
fn until(rest: &[u8], end: &[u8]) -> usize {
    rest.windows(end.len()).position(|window| window == end).map_or(rest.len(), |at| at + end.len())
}

/// Copies the quoted text that `rest` begins with, and returns its length.
fn string(rest: &[u8], options: Options, out: &mut Vec<u8>) -> usize {
    let quote = rest[0];
    let mut value = Vec::new();
    let mut at = 1;
    loop {
        match rest.get(at) {
            // Not closed: the lexer will say so.
            None => return copy(rest, rest.len(), out),
            Some(b'\\') if !options.no_backslash_escapes => {
                match rest.get(at + 1) {
                    Some(b'0') => value.push(0),
                    Some(b'b') => value.push(8),
                    Some(b'n') => value.push(b'\n'),
                    Some(b'r') => value.push(b'\r'),
                    Some(b't') => value.push(b'\t'),
                    Some(b'Z') => value.push(0x1a),
                    Some(&escaped @ (b'%' | b'_')) => value.extend([b'\\', escaped]),
                    Some(&other) => value.push(other),
                    None => {}
                }
                at += 2;
            }
            Some(&byte) if byte == quote => {
                if rest.get(at + 1) != Some(&quote) {
                    break;
                }
                value.push(quote);
                at += 2;
            }
            Some(&byte) => {
                value.push(byte);
                at += 1;
            }
        }
    }
    at += 1;
    if std::str::from_utf8(&rest[..at]).is_ok() {
        return copy(rest, at, out);
    }
    // A hexadecimal literal says by itself that it is binary.
    let trimmed = out.trim_ascii_end().len();
    if let Some(before) = out[..trimmed].len().checked_sub(7)
        && out[before..trimmed].eq_ignore_ascii_case(b"_binary")
    {
        out.truncate(before);
    }
    out.extend_from_slice(b"x'");
    for byte in value {
        out.extend_from_slice(format!("{byte:02X}").as_bytes());
    }
    out.push(b'\'');
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(text_of_bytes(bytes, Options::default()).unwrap(), expected);
    }

    #[test]
    fn bytes_between_quotes_become_hexadecimal() {
        check(b"select 'plain'", "select 'plain'");
        check(
            b"insert into t values (1,_binary '\0\xFF\\'\\nA','it''s')",
            "insert into t values (1,x'00FF270A41','it''s')",
        );
        check(b"/* \xFF ' */ select '\xFE'", "/* \u{FFFD} ' */ select x'FE'");
        check(b"/*!40101 set @a = '\xFE' */", "/*!40101 set @a = x'FE' */");
        for bytes in [b"select \xFF".as_slice(), b"select `a'\xFF`, 'x'", b"select 'open \xFF"] {
            assert_eq!(text_of_bytes(bytes, Options::default()).unwrap_err().code, 1300);
        }
    }
}

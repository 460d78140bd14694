//! Finds where statements end: at `;`, `\G` or `\g` outside of quotes and comments.

/// A statement without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    pub text: &'a str,
    /// Ended by `\G`: its rows are shown as lines.
    pub vertical: bool,
}

/// What follows the last end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest<'a> {
    pub text: &'a str,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Nothing but spaces and comments.
    pub is_blank: bool,
    /// What was begun and not ended: a quote, or `*` for a comment.
    pub open: Option<char>,
}

/// Splits a text into its statements and what is left. Statements of nothing but comments are left out; a comment that
/// MySQL runs (`/*! … */`) is none.
pub fn split(text: &str) -> (Vec<Statement<'_>>, Rest<'_>) {
    let mut statements = Vec::new();
    let (mut start, mut at, mut is_blank, mut open) = (0, 0, true, None);
    // Every byte that is looked for is ASCII, so that it cannot lie inside a character.
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        match byte {
            b'\'' | b'"' | b'`' => {
                is_blank = false;
                match end_of_quote(rest, byte) {
                    Some(length) => at += length,
                    None => {
                        open = Some(char::from(byte));
                        at = bytes.len();
                    }
                }
            }
            b'#' => at += end_of_line(rest),
            b'-' if rest.starts_with(b"--") && rest.get(2).is_none_or(u8::is_ascii_whitespace) => {
                at += end_of_line(rest);
            }
            b'/' if rest.starts_with(b"/*") => {
                is_blank &= !matches!(rest.get(2), Some(b'!' | b'+'));
                match rest[2..].windows(2).position(|pair| pair == b"*/") {
                    Some(length) => at += length + 4,
                    None => {
                        open = Some('*');
                        at = bytes.len();
                    }
                }
            }
            b';' | b'\\' if byte == b';' || matches!(rest.get(1), Some(b'G' | b'g')) => {
                let vertical = rest.starts_with(b"\\G");
                if !is_blank {
                    statements.push(Statement { text: text[start..at].trim(), vertical });
                }
                at += if byte == b';' { 1 } else { 2 };
                start = at;
                is_blank = true;
            }
            byte => {
                is_blank &= byte.is_ascii_whitespace();
                at += 1;
            }
        }
    }
    (statements, Rest { text: text[start..].trim(), start, is_blank, open })
}

/// Returns the length of a quoted text with its quotes. Doubled quotes are two texts, which comes to the same.
fn end_of_quote(bytes: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'\\' if quote != b'`' => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn end_of_line(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_outside_of_quotes_and_comments() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("", &[], ""),
            ("SELECT 1", &[], "SELECT 1"),
            ("SELECT 1;", &["SELECT 1"], ""),
            ("a; b ;c", &["a", "b"], "c"),
            (";;a;;", &["a"], ""),
            ("SELECT ';', \";\", `;`; x", &["SELECT ';', \";\", `;`"], "x"),
            (r"SELECT 'it\';s'; x", &[r"SELECT 'it\';s'"], "x"),
            ("SELECT 'a'';b'; x", &["SELECT 'a'';b'"], "x"),
            (r"SELECT `a\`; x", &[r"SELECT `a\`"], "x"),
            ("a -- ; b\n; c", &["a -- ; b"], "c"),
            ("a # ; b\n; c", &["a # ; b"], "c"),
            ("SELECT 3--1; c", &["SELECT 3--1"], "c"),
            ("a /* ; */ b; c", &["a /* ; */ b"], "c"),
            ("-- nothing\n; /* or */ ; a;", &["a"], ""),
            ("/*!40101 SET x = 1 */; a", &["/*!40101 SET x = 1 */"], "a"),
            ("SELECT 'größe;'; ß", &["SELECT 'größe;'"], "ß"),
            ("a\\G b\\g c", &["a", "b"], "c"),
        ];
        for (text, expected, left) in cases {
            let (statements, rest) = split(text);
            let texts: Vec<&str> = statements.iter().map(|statement| statement.text).collect();
            assert_eq!((texts.as_slice(), rest.text), (*expected, *left), "{text}");
        }
        assert!(split("SELECT 1\\G").0[0].vertical && !split("SELECT 1;").0[0].vertical);
    }

    #[test]
    fn what_is_open_and_what_is_blank() {
        let cases = [
            ("SELECT 'a; ", Some('\''), false),
            ("SELECT \"a\\\"; ", Some('"'), false),
            ("`a", Some('`'), false),
            ("/* a;", Some('*'), true),
            ("/*", Some('*'), true),
            ("a; -- b", None, true),
            ("  \n", None, true),
            ("'\\", Some('\''), false),
        ];
        for (text, open, is_blank) in cases {
            let rest = split(text).1;
            assert_eq!((rest.open, rest.is_blank), (open, is_blank), "{text}");
        }
    }
}

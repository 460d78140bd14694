//! Texts of strangers: statements, times, names, patterns. Any is an answer or an error.

use std::mem::discriminant;

use jiff::tz::TimeZone;
use strandline_core::ids::Time;
use strandline_core::when::parse_time;
use strandline_fuzz::{outcome, run};

use crate::error::Error;
use crate::parse::{self, Options, moments, parse_expr, parse_one, text_of_bytes};
use crate::passwords::hide_passwords;
use crate::show::like::like;
use crate::users::parse_login;

/// The lines of the parser's corpus.
const CORPUS: [&str; 3] = [
    include_str!("parse/tests/mysql.sql"),
    include_str!("parse/tests/history.sql"),
    include_str!("parse/tests/clients.sql"),
];

fn corpus() -> impl Iterator<Item = &'static str> {
    CORPUS.into_iter().flat_map(str::lines).filter(|line| !line.is_empty() && !line.starts_with("-- "))
}

fn words() -> Vec<&'static [u8]> {
    let signs = [
        "(",
        ")",
        "((((((((",
        "'",
        "''",
        "\"",
        "`",
        "/*!40101 ",
        "*/",
        "-- ",
        "{",
        "}",
        ";",
        "\\",
        "?",
        "@",
        "@@",
        ":=",
    ];
    let numbers = ["0x", "x'f'", "b'2'", "1e309", "18446744073709551616", "-", ".", "1.", "_binary'", "N'", "$$"];
    let corpus = corpus().flat_map(|line| line.split_ascii_whitespace());
    corpus.chain(signs).chain(numbers).map(str::as_bytes).collect()
}

fn kind(error: &Error) -> u64 {
    let letters = error.message.chars().filter(|c| c.is_alphabetic() || *c == ' ');
    outcome((error.code, letters.take(24).collect::<String>()))
}

fn statements(bytes: &[u8], options: Options) -> u64 {
    let text = match text_of_bytes(bytes, options) {
        Ok(text) => text,
        Err(error) => return kind(&error),
    };
    let _ = hide_passwords(&text);
    let parts = match parse::split(&text, options) {
        Ok(parts) => parts,
        Err(error) => return kind(&error),
    };
    let one = |text: &String| match parse_one(text, options) {
        Ok(parsed) => {
            let moments = moments(&parsed.statement).map(|moments| moments.len()).map_err(|error| kind(&error));
            outcome((discriminant(&parsed.statement), moments, parsed.parameters.min(3), parsed.locking))
        }
        Err(error) => kind(&error),
    };
    outcome(parts.iter().map(one).collect::<Vec<_>>())
}

#[test]
fn fuzz_statements() {
    let seeds: Vec<Vec<u8>> = corpus().map(|line| line.as_bytes().to_vec()).collect();
    let other = Options { ansi_quotes: true, no_backslash_escapes: true, pipes_as_concat: true };
    run("statements", &seeds, &words(), |bytes| {
        outcome((statements(bytes, Options::default()), statements(bytes, other)))
    });
}

#[test]
fn fuzz_expressions() {
    let seeds = [
        "CASE WHEN a BETWEEN 1 AND 2 THEN 'x' ELSE NOT b END",
        "CAST(a AS DECIMAL(10, 2)) -> '$.a[*]'",
        "INTERVAL 1 DAY + (SELECT MAX(x) OVER (PARTITION BY y) FROM t WHERE (a, b) IN (SELECT 1, 2))",
        "a LIKE 'x%' ESCAPE '!' AND b REGEXP '^a' XOR c MEMBER OF ('[1]')",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    run("expressions", &seeds, &words(), |bytes| {
        let parsed = parse_expr(&String::from_utf8_lossy(bytes), Options::default());
        parsed.map_or_else(|error| kind(&error), |expr| outcome(discriminant(&expr)))
    });
}

#[test]
fn fuzz_times() {
    let seeds = [
        "2026-01-31 10:00:00.123456",
        "2026-01-31T10:00:00Z",
        "2026-03-29 02:30:00 +01:00",
        "2026-03-29 02:30",
        "2026-01-31",
        "-10 minutes",
        "5 minutes ago",
        "1 month ago",
        "now",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let words: [&[u8]; 10] = [
        b"9999-12-31",
        b"-9223372036854775808",
        b"99999999999999999999",
        b" UTC",
        b"+99:99",
        b"years",
        b"ago",
        b"[Europe/Berlin]",
        b"24:00:60",
        b"\xE2\x88\x92",
    ];
    let zone = TimeZone::get("Europe/Berlin").expect("time zones are bundled");
    for now in [Time(1_774_747_800_000_000), Time(i64::MAX), Time(i64::MIN)] {
        run("times", &seeds, &words, |bytes| {
            let parsed = parse_time(&String::from_utf8_lossy(bytes), now, &zone);
            outcome(parsed.map(|time| time.0.signum()).map_err(|error| error.to_string().len() / 40))
        });
    }
}

#[test]
fn fuzz_names_and_patterns() {
    let seeds = ["acme:root#admin", "%a_b\\%c%\0aXbXcc", "%%%%%%%%%%%%%%%%%a\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    run("names", &seeds, &[b"%", b"_", b"\\", b":", b"#", b"%_%_%_%_"], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let login = parse_login(&text);
        let (pattern, name) = text.split_once('\0').unwrap_or((&text, "abc"));
        outcome((login.role.is_some(), login.account.len().min(9), like(pattern, name)))
    });
}

//! Names and texts as SQL.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Returns a name in backquotes.
pub fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Returns several names in backquotes, separated by commas.
pub fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Returns a text in quotes.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Returns a LIKE pattern, in quotes, that matches just this text.
pub fn like(exact: &str) -> String {
    text(&exact.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}

/// A table's name with its database, or without it for the session's own. Displays as quoted SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    pub database: Option<String>,
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{}.", name(database))?;
        }
        f.write_str(&name(&self.table))
    }
}

impl FromStr for TableName {
    type Err = Error;

    /// Reads `d.t` or `t`. A name that has a dot stands in backquotes, in which a backquote is doubled.
    fn from_str(text: &str) -> Result<TableName> {
        let bad = || Error::config(format!("'{text}' is not the name of a table. Write database.table."));
        let (first, rest) = one_name(text).ok_or_else(bad)?;
        let Some(rest) = rest else {
            return Ok(TableName { database: None, table: first });
        };
        match one_name(rest).ok_or_else(bad)? {
            (second, None) => Ok(TableName { database: Some(first), table: second }),
            _ => Err(bad()),
        }
    }
}

/// Reads one name, and returns it with what follows its dot.
fn one_name(text: &str) -> Option<(String, Option<&str>)> {
    let (name, rest) = match text.strip_prefix('`') {
        Some(inner) => {
            let mut name = String::new();
            let mut left = inner;
            loop {
                let (head, tail) = left.split_once('`')?;
                name.push_str(head);
                match tail.strip_prefix('`') {
                    Some(tail) => {
                        name.push('`');
                        left = tail;
                    }
                    None => break (name, tail),
                }
            }
        }
        None => {
            let end = text.find('.').unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    };
    if name.is_empty() {
        return None;
    }
    match rest.strip_prefix('.') {
        Some(rest) => Some((name, Some(rest))),
        None if rest.is_empty() => Some((name, None)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_quotes() {
        assert_eq!(name("a`b"), "`a``b`");
        assert_eq!(name("`; DROP DATABASE d; -- "), "```; DROP DATABASE d; -- `");
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text(r"a\' OR 1"), r"'a\\'' OR 1'");
        assert_eq!(text(r"\"), r"'\\'");
        assert_eq!(like("50%_a"), r"'50\\%\\_a'");
        assert_eq!(names(["a", "b`"]), "`a`, `b```");
    }

    #[test]
    fn names_of_tables() {
        let cases = [
            ("shop.orders", "`shop`.`orders`"),
            ("orders", "`orders`"),
            ("`a.b`.`c``d`", "`a.b`.`c``d`"),
            ("a`b.c", "`a``b`.`c`"),
            ("größe.ß", "`größe`.`ß`"),
        ];
        for (text, sql) in cases {
            assert_eq!(text.parse::<TableName>().unwrap().to_string(), sql, "{text}");
        }
        for text in ["", ".", "a.", ".b", "a.b.c", "`a", "``", "`a`b", "`a`.`b`c"] {
            assert!(text.parse::<TableName>().is_err(), "{text}");
        }
    }
}

//! Rows read by the names of their columns: a column that an older server does not have is absent, not an error.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::client::ResultSet;
use crate::error::{Error, Result};
use crate::value::{Column, Value};

/// A row with the names of its columns. Names compare without case.
pub struct Record<'a> {
    columns: &'a [Column],
    row: &'a [Value],
}

impl ResultSet {
    /// Returns the rows, to be read by the names of their columns.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.rows.iter().map(|row| Record { columns: &self.columns, row })
    }
}

impl Record<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        let at = self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))?;
        self.row.get(at)
    }

    /// Returns a text; `None` if it is absent, NULL or empty.
    pub fn text(&self, name: &str) -> Option<String> {
        self.value(name)?.to_text().filter(|text| !text.is_empty())
    }

    /// Returns the texts of a list separated by commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.text(name).map_or_else(Vec::new, |text| text.split(',').map(str::to_owned).collect())
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// Returns a time that the server writes in UTC.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let read = || -> Option<Timestamp> {
            if let Ok(time) = text.parse() {
                return Some(time);
            }
            let clock: DateTime = text.trim_end_matches(" UTC").parse().ok()?;
            Some(clock.to_zoned(TimeZone::UTC).ok()?.timestamp())
        };
        read().map(Some).ok_or_else(|| unexpected(&format!("{name} is '{text}', which is no time")))
    }

    /// Returns a text that must be there.
    pub fn required(&self, name: &str) -> Result<String> {
        self.text(name).ok_or_else(|| unexpected(&format!("a row has no {name}")))
    }
}

/// The error for an answer that is not what this client knows.
pub fn unexpected(what: &str) -> Error {
    Error::connection(format!("The server's answer is not as expected: {what}."))
        .with_hint("Are client and server of the same version?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Type;

    #[test]
    fn rows_are_read_by_name() {
        let column = |name: &str| Column { name: name.to_owned(), ty: Type::Text };
        let result = ResultSet {
            columns: vec![column("NAME"), column("at"), column("TABLES")],
            rows: vec![vec![
                Value::Text("s".into()),
                Value::Text("2026-01-31 10:00:00.5".into()),
                Value::Text("a,b".into()),
            ]],
            ..ResultSet::default()
        };
        let record = result.records().next().unwrap();
        assert_eq!(record.text("name").as_deref(), Some("s"));
        assert_eq!(record.time("AT").unwrap().unwrap().to_string(), "2026-01-31T10:00:00.5Z");
        assert_eq!(record.list("tables"), ["a", "b"]);
        assert_eq!((record.text("status"), record.number::<u64>("name")), (None, None));
        assert!(record.time("name").is_err() && record.required("status").is_err());
    }
}

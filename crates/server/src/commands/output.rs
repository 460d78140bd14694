//! How results are shown: as a table for people, as JSON for programs.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value as Json};
use strandline_client::{ResultSet, Type};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Table,
    /// One line per statement: an array of rows, or what was affected.
    Json,
}

/// Writes to stdout; an error if it is closed.
pub fn emit(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Returns a result with its count and time, ending with a line break.
pub fn render(result: &ResultSet, format: Format, elapsed: Duration) -> String {
    match format {
        Format::Json => to_json(result).to_string() + "\n",
        Format::Table => render_table(result) + &summary(result, elapsed) + "\n",
    }
}

/// Returns the rows of a result as a table; nothing if there are none.
pub fn render_table(result: &ResultSet) -> String {
    if result.rows.is_empty() {
        return String::new();
    }
    let header = result.columns.iter().map(|column| column.name.as_str());
    let rows = result.rows.iter().map(|row| row.iter().map(|value| value.to_text()));
    let numbers = result.columns.iter().map(|column| is_number(column.ty)).collect::<Vec<_>>();
    table(header, rows, &numbers)
}

/// Returns each row as lines of `column: value`.
pub fn render_vertical(result: &ResultSet, elapsed: Option<Duration>) -> String {
    let width = result.columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (number, row) in result.rows.iter().enumerate() {
        let _ = writeln!(text, "{:*^64}", format!(" {}. row ", number + 1));
        for (column, value) in result.columns.iter().zip(row) {
            let _ = writeln!(text, "{:>width$}: {}", printable(&column.name), shown(value.to_text()));
        }
    }
    if let Some(elapsed) = elapsed {
        text += &summary(result, elapsed);
        text.push('\n');
    }
    text
}

/// Returns what a statement did, as MySQL's own client says it: `2 rows in set (0.01 sec)`.
pub fn summary(result: &ResultSet, elapsed: Duration) -> String {
    let rows = |count: u64| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
    let mut text = match (result.columns.is_empty(), result.rows.len() as u64) {
        (true, _) => format!("Query OK, {} affected", rows(result.affected_rows)),
        (false, 0) => "Empty set".to_owned(),
        (false, count) => format!("{} in set", rows(count)),
    };
    match result.warnings {
        0 => {}
        1 => text += ", 1 warning",
        count => text += &format!(", {count} warnings"),
    }
    text + &format!(" ({:.2} sec)", elapsed.as_secs_f64())
}

/// Returns a result as JSON: an array of one object per row, or what a statement without rows did.
pub fn to_json(result: &ResultSet) -> Json {
    if result.columns.is_empty() {
        let mut object = Map::new();
        object.insert("affected_rows".to_owned(), result.affected_rows.into());
        if let Some(id) = result.last_insert_id {
            object.insert("last_insert_id".to_owned(), id.into());
        }
        return Json::Object(object);
    }
    let names = unique_names(result.columns.iter().map(|column| column.name.as_str()));
    let row = |values: &Vec<strandline_client::Value>| {
        let values = values.iter().zip(&result.columns).map(|(value, column)| value.to_json(column.ty));
        Json::Object(names.iter().cloned().zip(values).collect())
    };
    Json::Array(result.rows.iter().map(row).collect())
}

/// Returns a table of texts; NULL is written as such.
pub fn table<'a>(
    header: impl Iterator<Item = &'a str>,
    rows: impl Iterator<Item = impl Iterator<Item = Option<String>>>,
    right: &[bool],
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_FULL_CONDENSED).set_header(header.map(printable));
    for row in rows {
        table.add_row(row.map(shown));
    }
    for (at, _) in right.iter().enumerate().filter(|(_, right)| **right) {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{table}\n")
}

fn shown(value: Option<String>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |text| printable(&text))
}

/// Returns the text without what would move the terminal's cursor or change its colours: rows are not to be trusted.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push(c),
            '\t' => out.push_str("    "),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

fn is_number(ty: Type) -> bool {
    matches!(ty, Type::Int | Type::UInt | Type::Float | Type::Decimal)
}

/// Returns names that are keys of one object: a second `id` becomes `id_2`.
fn unique_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let mut unique = Vec::new();
    for name in names {
        let candidates = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}_{number}")));
        let name = candidates.into_iter().find(|candidate| !taken.contains(candidate));
        let name = name.expect("one of endlessly many names is free");
        taken.insert(name.clone());
        unique.push(name);
    }
    unique
}

#[cfg(test)]
mod tests {
    use strandline_client::{Column, Value};

    use super::*;

    fn result() -> ResultSet {
        let column = |name: &str, ty| Column { name: name.to_owned(), ty };
        ResultSet {
            columns: vec![column("id", Type::Int), column("name", Type::Text), column("id", Type::Decimal)],
            rows: vec![
                vec![Value::Int(7), Value::Text("a\u{1b}[31mb".to_owned()), Value::Text("0.10".to_owned())],
                vec![Value::Int(10), Value::Null, Value::Null],
            ],
            ..ResultSet::default()
        }
    }

    #[test]
    fn tables_for_people() {
        let expected = "\
+----+--------------+------+
| id | name         |   id |
+==========================+
|  7 | a\\u{1b}[31mb | 0.10 |
| 10 | NULL         | NULL |
+----+--------------+------+
2 rows in set (0.01 sec)
";
        assert_eq!(render(&result(), Format::Table, Duration::from_millis(12)), expected);
    }

    #[test]
    fn rows_as_lines() {
        let lines = render_vertical(&result(), None);
        assert!(lines.contains(" 2. row "), "{lines}");
        assert!(lines.contains("\n  id: 7\nname: a\\u{1b}[31mb\n"), "{lines}");
    }

    #[test]
    fn json_for_programs() {
        let expected = r#"[{"id":7,"name":"a\u001b[31mb","id_2":"0.10"},{"id":10,"name":null,"id_2":null}]"#;
        assert_eq!(to_json(&result()).to_string(), expected);
        let done = ResultSet { affected_rows: 3, last_insert_id: Some(9), ..ResultSet::default() };
        assert_eq!(to_json(&done).to_string(), r#"{"affected_rows":3,"last_insert_id":9}"#);
        let none = ResultSet { rows: Vec::new(), ..result() };
        assert_eq!(to_json(&none).to_string(), "[]");
    }

    #[test]
    fn summaries() {
        let said = |result: ResultSet| summary(&result, Duration::ZERO);
        assert_eq!(said(ResultSet { rows: Vec::new(), ..result() }), "Empty set (0.00 sec)");
        assert_eq!(said(ResultSet { affected_rows: 1, ..ResultSet::default() }), "Query OK, 1 row affected (0.00 sec)");
        let warned = ResultSet { warnings: 2, ..ResultSet::default() };
        assert_eq!(said(warned), "Query OK, 0 rows affected, 2 warnings (0.00 sec)");
    }
}

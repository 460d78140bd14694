//! What a debug verb found: JSON first, and tables of it for people.

use serde_json::{Map, Value as Json, json};

use crate::commands::output::{printable, table};

/// What was found.
pub struct Report {
    pub json: Json,
    /// Lists that are shown as tables, by their heading; their rows are objects with the same keys.
    tables: Vec<(String, Vec<Json>)>,
    /// Lines before the tables.
    lines: Vec<String>,
    pub damaged: bool,
}

impl Report {
    pub fn new(json: Json) -> Report {
        Report { json, tables: Vec::new(), lines: Vec::new(), damaged: false }
    }

    pub fn with_line(mut self, line: impl Into<String>) -> Report {
        self.lines.push(line.into());
        self
    }

    /// Adds an object as lines of `key: value`.
    pub fn with_object(mut self, object: &Json) -> Report {
        for (key, value) in object.as_object().into_iter().flatten() {
            self.lines.push(format!("{key}: {}", cell(value)));
        }
        self
    }

    pub fn with_table(mut self, heading: impl Into<String>, rows: Vec<Json>) -> Report {
        self.tables.push((heading.into(), rows));
        self
    }

    /// Returns it for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text += &printable(line);
            text.push('\n');
        }
        for (heading, rows) in &self.tables {
            if !heading.is_empty() {
                text += &format!("\n{}\n", printable(heading));
            }
            text += &match rows.first().and_then(Json::as_object) {
                Some(first) => of_objects(first, rows),
                None => "(none)\n".to_owned(),
            };
        }
        text
    }
}

fn of_objects(first: &Map<String, Json>, rows: &[Json]) -> String {
    let keys: Vec<&String> = first.keys().collect();
    let right: Vec<bool> = keys.iter().map(|key| rows.iter().any(|row| row[key.as_str()].is_number())).collect();
    let cells = rows.iter().map(|row| keys.iter().map(|key| Some(cell(&row[key.as_str()]))));
    table(keys.iter().map(|key| key.as_str()), cells, &right)
}

fn cell(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join("\n"),
        Json::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}={}", cell(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// Returns a version as JSON; what has not ended yet as null.
pub fn version(version: strandline_core::ids::Version) -> Json {
    if version == strandline_core::ids::Version::MAX { Json::Null } else { json!(version.0) }
}

//! What SHOW COLUMNS, SHOW INDEX and information_schema say of columns and keys.

use strandline_core::schema::{Column, Table};

use crate::ddl::attributes;
use crate::types::MySqlType;

/// Returns a column's MySQL type.
pub fn mysql_type(column: &Column) -> Option<MySqlType> {
    MySqlType::parse(&column.declared).ok()
}

/// Returns `PRI`, `UNI`, `MUL` or nothing, as MySQL's `Key` column.
pub fn key_of(table: &Table, column: &Column) -> &'static str {
    if table.primary_key.contains(&column.id) {
        return "PRI";
    }
    let mut key = "";
    for index in table.indexes.iter().filter(|index| index.columns.first() == Some(&column.id)) {
        if index.unique && index.columns.len() == 1 {
            return "UNI";
        }
        key = "MUL";
    }
    key
}

/// Returns a column's default without its quotes or brackets.
pub fn default_text(column: &Column) -> Option<String> {
    let text = column.default.as_deref()?;
    if let Some(inner) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Some(unescape(inner));
    }
    if let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return Some(inner.to_owned());
    }
    if let Some(hex) = text.strip_prefix("x'").and_then(|rest| rest.strip_suffix('\'')) {
        return Some(format!("0x{}", hex.to_uppercase()));
    }
    Some(text.to_owned())
}

/// Returns MySQL's `Extra` column.
pub fn extra(column: &Column) -> String {
    let mut words = Vec::new();
    if column.auto_increment {
        words.push("auto_increment".to_owned());
    }
    let computed =
        column.default.as_deref().is_some_and(|text| text.starts_with('(') || text.starts_with("CURRENT_TIMESTAMP"));
    if computed {
        words.push("DEFAULT_GENERATED".to_owned());
    }
    if let Some(on_update) = &column.on_update {
        words.push(format!("on update {on_update}"));
    }
    words.join(" ")
}

/// A column of a key.
pub struct KeyPart<'a> {
    /// `PRIMARY` or the index's name.
    pub key: &'a str,
    pub unique: bool,
    /// From 1.
    pub sequence: u64,
    pub column: &'a Column,
    pub prefix: Option<u64>,
    pub comment: &'a str,
}

/// Returns all columns of all keys: the primary key's, unique ones', others'.
pub fn key_parts(table: &Table) -> Vec<KeyPart<'_>> {
    let mut parts = Vec::new();
    let mut push = |key, unique, ids: &[strandline_core::ids::ColumnId], index: Option<&str>| {
        let prefixes = index.map(|name| attributes::prefixes(table, name)).unwrap_or_default();
        for (at, id) in ids.iter().enumerate() {
            let Some(column) = table.column_by_id(*id) else { continue };
            let comment = index.and_then(|name| attributes::index_comment(table, name)).unwrap_or_default();
            let prefix = prefixes.get(id).copied();
            parts.push(KeyPart { key, unique, sequence: at as u64 + 1, column, prefix, comment });
        }
    };
    push("PRIMARY", true, &table.primary_key, None);
    for unique in [true, false] {
        for index in table.indexes.iter().filter(|index| index.unique == unique) {
            push(&index.name, unique, &index.columns, Some(&index.name));
        }
    }
    parts
}

/// Undoes what `create_text::string_literal` does.
fn unescape(inner: &str) -> String {
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                chars.next();
                text.push('\'');
            }
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('0') => text.push('\0'),
                Some(other) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    text
}

//! Primary keys and indexes of a definition.

use std::collections::BTreeMap;

use strandline_core::ids::ColumnId;
use strandline_core::schema::{Index, Table, same_name};

use super::spec::{KeyKind, KeySpec};
use super::{attributes, check_name};
use crate::create_text::base_type;
use crate::error::{Error, Result};

/// Adds a key to a definition.
///
/// # Errors
/// 1068 for a second primary key, 1061 for a name that is taken, 1072 for an unknown column, 1060 for a column named
/// twice, 1170 for TEXT and BLOB without a prefix length.
pub fn add(table: &mut Table, key: &KeySpec, explicitly_null: &[String]) -> Result<()> {
    let mut columns = Vec::new();
    let mut prefixes = BTreeMap::new();
    for (name, prefix) in &key.columns {
        let column = table
            .column(name)
            .ok_or_else(|| Error::new(1072, "42000", format!("Key column '{name}' doesn't exist in table")))?;
        if columns.contains(&column.id) {
            return Err(Error::new(1060, "42S21", format!("Duplicate column name '{}'", column.name)));
        }
        let base = base_type(&column.declared);
        if base == "json" {
            let message = format!(
                "JSON column '{}' supports indexing only via generated columns on a specified JSON path.",
                column.name
            );
            return Err(Error::new(3152, "42000", message));
        }
        let long = base.ends_with("text") || base.ends_with("blob");
        if long && prefix.is_none() {
            let message = format!("BLOB/TEXT column '{}' used in key specification without a key length", column.name);
            return Err(Error::new(1170, "42000", message));
        }
        if let Some(length) = prefix {
            let whole = matches!(base, "char" | "varchar" | "binary" | "varbinary") && {
                let declared =
                    column.declared.split_once('(').and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
                declared.is_none_or(|declared: u64| *length >= declared)
            };
            let text = long || matches!(base, "char" | "varchar" | "binary" | "varbinary");
            if !text {
                let message = "Incorrect prefix key; the used key part isn't a string, the used length is longer than the key part, or the storage engine doesn't support unique prefix keys";
                return Err(Error::new(1089, "HY000", message));
            }
            if key.kind != KeyKind::Plain && !whole {
                return Err(Error::unsupported("PRIMARY and UNIQUE keys on a column prefix"));
            }
            if !whole {
                prefixes.insert(column.id, *length);
            }
        }
        columns.push(column.id);
    }
    match key.kind {
        KeyKind::Primary => {
            if !table.primary_key.is_empty() {
                return Err(Error::new(1068, "42000", "Multiple primary key defined"));
            }
            for column in table.columns.iter_mut().filter(|column| columns.contains(&column.id)) {
                if explicitly_null.iter().any(|name| same_name(name, &column.name)) {
                    let message =
                        "All parts of a PRIMARY KEY must be NOT NULL; if you need NULL in a key, use UNIQUE instead";
                    return Err(Error::new(1171, "42000", message));
                }
                column.nullable = false;
            }
            table.primary_key = columns;
        }
        KeyKind::Unique | KeyKind::Plain => {
            let name = match &key.name {
                Some(name) => {
                    check_index_name(table, name)?;
                    name.clone()
                }
                None => free_name(table, &columns),
            };
            attributes::put_prefixes(table, &name, &prefixes);
            attributes::put_index_comment(table, &name, &key.comment);
            table.indexes.push(Index { name, columns, unique: key.kind == KeyKind::Unique });
        }
    }
    Ok(())
}

/// Checks a new index's name.
pub fn check_index_name(table: &Table, name: &str) -> Result<()> {
    check_name(name, 1280, "index")?;
    if name.eq_ignore_ascii_case("primary") {
        return Err(Error::new(1280, "42000", format!("Incorrect index name '{name}'")));
    }
    if table.indexes.iter().any(|index| same_name(&index.name, name)) {
        return Err(Error::new(1061, "42000", format!("Duplicate key name '{name}'")));
    }
    Ok(())
}

/// Checks that there is at most one AUTO_INCREMENT column and that a key begins with it.
pub fn check_auto_increment(table: &Table) -> Result<()> {
    let counters: Vec<ColumnId> = table.columns.iter().filter(|c| c.auto_increment).map(|c| c.id).collect();
    let keyed = |id: &ColumnId| {
        table.primary_key.first() == Some(id) || table.indexes.iter().any(|index| index.columns.first() == Some(id))
    };
    if counters.len() > 1 || !counters.iter().all(keyed) {
        let message = "Incorrect table definition; there can be only one auto column and it must be defined as a key";
        return Err(Error::new(1075, "42000", message));
    }
    Ok(())
}

/// Tells whether some key of the table begins with these columns, in this order.
pub fn has_key_on(table: &Table, columns: &[ColumnId]) -> bool {
    table.primary_key.starts_with(columns) || table.indexes.iter().any(|index| index.columns.starts_with(columns))
}

/// Returns MySQL's name for an unnamed index: its first column's, with a number where that is taken.
fn free_name(table: &Table, columns: &[ColumnId]) -> String {
    let first = columns.first().and_then(|id| table.column_by_id(*id)).map_or("key", |column| &column.name).to_owned();
    let taken = |name: &str| {
        name.eq_ignore_ascii_case("primary") || table.indexes.iter().any(|index| same_name(&index.name, name))
    };
    if !taken(&first) {
        return first;
    }
    (2..).map(|number| format!("{first}_{number}")).find(|name| !taken(name)).unwrap_or(first)
}

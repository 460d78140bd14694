//! Foreign keys of a definition: what they may refer to, and what they forbid.

use std::sync::Arc;

use strandline_core::catalog::Catalog;
use strandline_core::ids::ColumnId;
use strandline_core::schema::{Column, Database, ForeignKey, Index, Table, Type, same_name};

use super::keys;
use super::spec::ForeignKeySpec;
use crate::error::{Error, Result};

/// Adds a foreign key to a definition, with an index on its columns where no key begins with them. `catalog` shows the
/// other tables; the table itself need not be in it.
///
/// # Errors
/// 1072, 1239, 1826, and where `checks` is on 1824, 3734, 1822 and 3780.
pub fn add(
    table: &mut Table,
    database: &Database,
    catalog: &Catalog,
    spec: &ForeignKeySpec,
    checks: bool,
) -> Result<()> {
    let mut columns = Vec::new();
    for name in &spec.columns {
        let column = table
            .column(name)
            .ok_or_else(|| Error::new(1072, "42000", format!("Key column '{name}' doesn't exist in table")))?;
        columns.push(column.id);
    }
    let name = match &spec.name {
        Some(name) => name.clone(),
        None => free_name(table),
    };
    if table.foreign_keys.iter().any(|key| same_name(&key.name, &name)) {
        return Err(Error::new(1826, "HY000", format!("Duplicate foreign key constraint name '{name}'")));
    }
    if spec.parent_columns.len() != columns.len() {
        let message =
            format!("Incorrect foreign key definition for '{name}': Key reference and table reference don't match");
        return Err(Error::new(1239, "42000", message));
    }
    let parent_database = spec.parent_database.clone().filter(|parent| !same_name(parent, &database.name));
    let own = parent_database.is_none() && same_name(&spec.parent_table, &table.name);
    let parent: Option<Table> = if own {
        Some(table.clone())
    } else {
        let found = match &parent_database {
            Some(parent) => {
                catalog.database(database.account, parent).and_then(|d| catalog.table(d, &spec.parent_table))
            }
            None => catalog.table(database, &spec.parent_table),
        };
        found.ok().map(|parent| (**parent).clone())
    };
    let mut key = ForeignKey {
        name: name.clone(),
        columns: columns.clone(),
        parent_database,
        parent_table: spec.parent_table.clone(),
        parent_columns: spec.parent_columns.clone(),
        actions: spec.actions.clone(),
    };
    match parent {
        None if !checks => {}
        None => {
            return Err(Error::new(
                1824,
                "HY000",
                format!("Failed to open the referenced table '{}'", spec.parent_table),
            ));
        }
        Some(parent) if parent.is_view() => {
            return Err(Error::new(
                1824,
                "HY000",
                format!("Failed to open the referenced table '{}'", spec.parent_table),
            ));
        }
        Some(parent) => {
            let parents = check_parent(table, &columns, &parent, &key, checks)?;
            key.parent_table = parent.name.clone();
            key.parent_columns = parents;
        }
    }
    table.foreign_keys.push(key);
    if !keys::has_key_on(table, &columns) {
        table.indexes.push(Index { name: index_name(table, &name), columns, unique: false });
    }
    Ok(())
}

/// Returns the foreign keys that refer to a table, with the tables that have them. Its own are left out.
pub fn children<'a>(catalog: &'a Catalog, table: &Table) -> Vec<(&'a Arc<Table>, &'a ForeignKey)> {
    let mut found = catalog.children_of(table);
    found.retain(|(child, _)| child.id != table.id);
    found.sort_by(|a, b| (&a.0.name, &a.1.name).cmp(&(&b.0.name, &b.1.name)));
    found
}

/// Checks the parent's side, and returns the parent's columns as they are spelled there.
fn check_parent(
    table: &Table,
    columns: &[ColumnId],
    parent: &Table,
    key: &ForeignKey,
    checks: bool,
) -> Result<Vec<String>> {
    let name = &key.name;
    let mut ids = Vec::new();
    let mut names = Vec::new();
    for (id, parent_name) in columns.iter().zip(&key.parent_columns) {
        let Some(target) = parent.column(parent_name) else {
            let message = format!(
                "Failed to add the foreign key constraint. Missing column '{parent_name}' for constraint '{name}' in the referenced table '{}'",
                parent.name
            );
            return Err(Error::new(3734, "HY000", message));
        };
        let source = table.column_by_id(*id);
        if checks
            && let Some(source) = source
            && !compatible(source, target)
        {
            let message = format!(
                "Referencing column '{}' and referenced column '{}' in foreign key constraint '{name}' are incompatible.",
                source.name, target.name
            );
            return Err(Error::new(3780, "HY000", message));
        }
        ids.push(target.id);
        names.push(target.name.clone());
    }
    if checks && !is_unique(parent, &ids) {
        let message = format!(
            "Failed to add the foreign key constraint. Missing index for constraint '{name}' in the referenced table '{}'",
            parent.name
        );
        return Err(Error::new(1822, "HY000", message));
    }
    Ok(names)
}

/// Tells whether these columns are the parent's primary key or a unique index, in any order.
pub fn is_unique(parent: &Table, columns: &[ColumnId]) -> bool {
    let same = |key: &[ColumnId]| key.len() == columns.len() && columns.iter().all(|id| key.contains(id));
    same(&parent.primary_key) || parent.indexes.iter().any(|index| index.unique && same(&index.columns))
}

/// Tells whether values of the two columns compare without conversion. Lengths of texts may differ.
fn compatible(source: &Column, target: &Column) -> bool {
    match (source.ty, target.ty) {
        (Type::Decimal(_, a), Type::Decimal(_, b)) => a == b,
        (a, b) => a == b,
    }
}

fn free_name(table: &Table) -> String {
    let prefix = format!("{}_ibfk_", table.name);
    let greatest =
        table.foreign_keys.iter().filter_map(|key| key.name.strip_prefix(&prefix)?.parse::<u32>().ok()).max();
    format!("{prefix}{}", greatest.unwrap_or(0) + 1)
}

fn index_name(table: &Table, wanted: &str) -> String {
    let taken = |name: &str| table.indexes.iter().any(|index| same_name(&index.name, name));
    if !taken(wanted) {
        return wanted.to_owned();
    }
    (2..).map(|number| format!("{wanted}_{number}")).find(|name| !taken(name)).unwrap_or_default()
}

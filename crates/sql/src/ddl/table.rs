//! CREATE, DROP, RENAME and TRUNCATE TABLE.

use std::sync::Arc;

use sqlparser::ast;
use strandline_core::catalog::Catalog;
use strandline_core::ids::{ColumnId, DatabaseId, TableId};
use strandline_core::schema::{Database, Table, same_name};

use super::defaults::Clock;
use super::spec::{ColumnSpec, KeyKind, KeySpec, TableSpec, object_name, table_spec};
use super::{Ddl, attributes, check_name, column, done, foreign_key, keys};
use crate::api::Done;
use crate::error::{Error, Result};
use crate::parse::TableName;
use crate::warning::Warning;

/// `CREATE TABLE [IF NOT EXISTS] …`, `… LIKE t` and `… AS SELECT`. `select` is the source text of the SELECT: a
/// printed tree would lose the moment that a table is read at.
pub async fn create_table(cx: &mut Ddl<'_>, create: &ast::CreateTable, select: Option<&str>) -> Result<Done> {
    let (database, name) = object_name(&create.name)?;
    if let Some(ast::CreateTableLikeKind::Plain(like) | ast::CreateTableLikeKind::Parenthesized(like)) = &create.like {
        let (source_database, source) = object_name(&like.name)?;
        let source = (source_database.as_deref(), source.as_str());
        return create_table_like(cx, (database.as_deref(), &name), source, create.if_not_exists).await;
    }
    let spec = table_spec(create, cx.warnings)?;
    match (select, &create.query) {
        (Some(select), _) => {
            create_table_as(cx, (database.as_deref(), &name), spec, select, create.if_not_exists).await
        }
        (None, Some(query)) => {
            let select = query.to_string();
            create_table_as(cx, (database.as_deref(), &name), spec, &select, create.if_not_exists).await
        }
        (None, None) => {
            let Some(home) = free_name(cx, database.as_deref(), &name, create.if_not_exists)? else {
                return Ok(done(cx, 0));
            };
            let table = build(&spec, &name, &home, cx.txn.catalog(), cx.clock(), cx.foreign_key_checks)?;
            put(cx, table, spec.options.auto_increment).await?;
            Ok(done(cx, 0))
        }
    }
}

/// `CREATE TABLE name LIKE source`: columns, keys, checks and comment; foreign keys are left out, as in MySQL.
pub async fn create_table_like(
    cx: &mut Ddl<'_>,
    name: (Option<&str>, &str),
    source: (Option<&str>, &str),
    if_not_exists: bool,
) -> Result<Done> {
    let (_, source) = cx.base_table(source.0, source.1)?;
    let Some(home) = free_name(cx, name.0, name.1, if_not_exists)? else { return Ok(done(cx, 0)) };
    let mut table = (*source).clone();
    table.id = TableId::default();
    table.database = home.id;
    table.name = name.1.to_owned();
    table.foreign_keys.clear();
    for column in &mut table.columns {
        column.initial = None;
    }
    // Names of checks are made of the table's.
    let checks = attributes::checks(&table);
    for check in checks {
        attributes::drop_check(&mut table, &check.name);
        let generated = check.name.strip_prefix(&format!("{}_chk_", source.name));
        let name = generated.map_or(check.name.clone(), |number| format!("{}_chk_{number}", table.name));
        attributes::put_check(&mut table, &attributes::Check { name, expression: check.expression });
    }
    put(cx, table, None).await?;
    Ok(done(cx, 0))
}

/// `CREATE TABLE name [(columns)] AS SELECT …`: the columns given come first, then those of the SELECT that have no
/// definition.
pub async fn create_table_as(
    cx: &mut Ddl<'_>,
    name: (Option<&str>, &str),
    mut spec: TableSpec,
    select: &str,
    if_not_exists: bool,
) -> Result<Done> {
    let Some(home) = free_name(cx, name.0, name.1, if_not_exists)? else { return Ok(done(cx, 0)) };
    let current = cx.database.map(str::to_owned);
    let selected = cx.queries.describe(cx.txn, current.as_deref(), select).await?;
    for (at, column) in selected.iter().enumerate() {
        if selected[..at].iter().any(|other| same_name(&other.name, &column.name)) {
            return Err(Error::new(1060, "42S21", format!("Duplicate column name '{}'", column.name)));
        }
    }
    let mut columns: Vec<ColumnSpec> = std::mem::take(&mut spec.columns);
    let missing: Vec<_> =
        selected.iter().filter(|c| !columns.iter().any(|given| same_name(&given.name, &c.name))).collect();
    for column in missing {
        columns.push(ColumnSpec::plain(&column.name, &column.declared, column.nullable)?);
    }
    spec.columns = columns;
    let table = build(&spec, name.1, &home, cx.txn.catalog(), cx.clock(), cx.foreign_key_checks)?;
    let table = put(cx, table, spec.options.auto_increment).await?;
    let names: Vec<String> = selected.into_iter().map(|column| column.name).collect();
    let rows = cx.queries.insert_select(cx.txn, &table, &names, current.as_deref(), select).await?;
    Ok(done(cx, rows))
}

/// `DROP TABLE [IF EXISTS] a, b, …`: all or none.
///
/// # Errors
/// 1051 naming every table that does not exist, 3730 for a table that others refer to.
pub async fn drop_tables(cx: &mut Ddl<'_>, names: &[TableName], if_exists: bool, temporary: bool) -> Result<Done> {
    if temporary {
        return Err(Error::unsupported("DROP TEMPORARY TABLE"));
    }
    let mut tables: Vec<Arc<Table>> = Vec::new();
    let mut missing = Vec::new();
    for TableName { database, name } in names {
        let home = match cx.database(database.as_deref()) {
            Ok(home) => home,
            // A database that does not exist has no such table either.
            Err(error) if error.code == 1049 => {
                missing.push(format!("{}.{name}", database.as_deref().or(cx.database).unwrap_or_default()));
                continue;
            }
            Err(error) => return Err(error),
        };
        match cx.txn.catalog().table(&home, name) {
            Ok(table) if !table.is_view() => {
                if tables.iter().any(|known| known.id == table.id) {
                    return Err(Error::new(1066, "42000", format!("Not unique table/alias: '{name}'")));
                }
                tables.push(table.clone());
            }
            _ => missing.push(format!("{}.{name}", home.name)),
        }
    }
    if !missing.is_empty() && !if_exists {
        return Err(Error::new(1051, "42S02", format!("Unknown table '{}'", missing.join(","))));
    }
    for name in missing {
        cx.warnings.push(Warning::note(1051, format!("Unknown table '{name}'")));
    }
    if cx.foreign_key_checks {
        for table in &tables {
            let children = foreign_key::children(cx.txn.catalog(), table);
            let left = children.iter().find(|(child, _)| !tables.iter().any(|dropped| dropped.id == child.id));
            if let Some((child, key)) = left {
                return Err(referenced(&table.name, &key.name, &child.name));
            }
        }
    }
    // The checks are done, for all of them together: parents may go before their children.
    cx.txn.set_foreign_key_checks(false);
    let result = tables.iter().try_for_each(|table| cx.txn.drop_table(table));
    cx.txn.set_foreign_key_checks(cx.foreign_key_checks);
    result?;
    Ok(done(cx, 0))
}

/// `RENAME TABLE a TO b, …`, one after the other: `a TO x, b TO a, x TO b` swaps.
pub async fn rename_tables(cx: &mut Ddl<'_>, pairs: &[(TableName, TableName)]) -> Result<Done> {
    for (old, new) in pairs {
        let (home, table) = cx.find(old.database.as_deref(), &old.name)?;
        let new_home = cx.database(new.database.as_deref())?;
        rename(cx, &home, &table, &new_home, &new.name)?;
    }
    Ok(done(cx, 0))
}

/// `TRUNCATE [TABLE] name`
pub async fn truncate_table(cx: &mut Ddl<'_>, name: &TableName) -> Result<Done> {
    let (_, table) = cx.base_table(name.database.as_deref(), &name.name)?;
    if cx.foreign_key_checks
        && let Some((child, key)) = foreign_key::children(cx.txn.catalog(), &table).first()
    {
        let child_home = cx.txn.catalog().database_by_id(child.database).map_or("", |d| d.name.as_str());
        let message = format!(
            "Cannot truncate a table referenced in a foreign key constraint (`{child_home}`.`{}`, CONSTRAINT `{}`)",
            child.name, key.name
        );
        return Err(Error::new(1701, "42000", message));
    }
    cx.txn.truncate(&table).await?;
    Ok(done(cx, 0))
}

/// Makes a table of its specification. The id is assigned by the transaction.
pub fn build(
    spec: &TableSpec,
    name: &str,
    database: &Database,
    catalog: &Catalog,
    clock: Clock<'_>,
    foreign_key_checks: bool,
) -> Result<Table> {
    check_name(name, 1103, "table")?;
    if spec.columns.is_empty() {
        return Err(Error::new(1113, "42000", "A table must have at least 1 column"));
    }
    if spec.columns.len() > 4096 {
        return Err(Error::new(1117, "HY000", "Too many columns"));
    }
    let mut table = empty(name, database.id);
    table.comment = spec.options.comment.clone().unwrap_or_default();
    if table.comment.chars().count() > 2048 {
        return Err(Error::new(1628, "HY000", format!("Comment for table '{name}' is too long (max = 2048)")));
    }
    attributes::put_created(&mut table, clock.now);
    for column in &spec.columns {
        if table.column(&column.name).is_some() {
            return Err(Error::new(1060, "42S21", format!("Duplicate column name '{}'", column.name)));
        }
        let id = table.next_column;
        table.next_column = ColumnId(id.0 + 1);
        table.columns.push(column::build(column, id, clock)?.column);
    }
    let explicitly_null: Vec<String> =
        spec.columns.iter().filter(|c| c.nullable == Some(true)).map(|c| c.name.clone()).collect();
    // A primary key first, then unique keys, then the rest: the order in which MySQL shows them.
    let inline = spec.columns.iter().filter_map(ColumnSpec::own_key);
    let all: Vec<KeySpec> = inline.chain(spec.keys.iter().cloned()).collect();
    for kind in [KeyKind::Primary, KeyKind::Unique, KeyKind::Plain] {
        for key in all.iter().filter(|key| key.kind == kind) {
            keys::add(&mut table, key, &explicitly_null)?;
        }
    }
    for key in spec.columns.iter().filter_map(|column| column.foreign_key.as_ref()).chain(&spec.foreign_keys) {
        foreign_key::add(&mut table, database, catalog, key, foreign_key_checks)?;
    }
    for check in spec.columns.iter().flat_map(|column| &column.checks).chain(&spec.checks) {
        column::add_check(&mut table, check)?;
    }
    keys::check_auto_increment(&table)?;
    Ok(table)
}

/// Returns a definition without columns.
pub fn empty(name: &str, database: DatabaseId) -> Table {
    Table {
        id: TableId::default(),
        database,
        name: name.to_owned(),
        columns: Vec::new(),
        primary_key: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        view: None,
        comment: String::new(),
        options: std::collections::BTreeMap::new(),
        next_column: ColumnId(1),
    }
}

/// Hands a new table to the transaction and sets its counter.
pub async fn put(cx: &mut Ddl<'_>, table: Table, next_auto: Option<u64>) -> Result<Arc<Table>> {
    let table = cx.txn.create_table(table)?;
    set_next_auto(cx, &table, next_auto)?;
    Ok(table)
}

/// Moves the AUTO_INCREMENT counter up to `next`; it never moves down.
pub fn set_next_auto(cx: &mut Ddl<'_>, table: &Arc<Table>, next: Option<u64>) -> Result<()> {
    if let Some(next) = next.filter(|next| *next > 1 && table.columns.iter().any(|column| column.auto_increment)) {
        cx.txn.raise_auto(table, next)?;
    }
    Ok(())
}

/// Returns the database for a new table, or `None` where the name is taken and that is no error.
pub fn free_name(
    cx: &mut Ddl<'_>,
    database: Option<&str>,
    name: &str,
    if_not_exists: bool,
) -> Result<Option<Arc<Database>>> {
    let home = cx.database(database)?;
    if !cx.exists(&home, name) {
        return Ok(Some(home));
    }
    let message = format!("Table '{name}' already exists");
    if !if_not_exists {
        return Err(Error::new(1050, "42S01", message));
    }
    cx.warnings.push(Warning::note(1050, message));
    Ok(None)
}

/// Gives a table or view another name, perhaps in another database. Foreign keys that refer to it follow.
pub fn rename(cx: &mut Ddl<'_>, home: &Database, table: &Arc<Table>, new_home: &Database, name: &str) -> Result<()> {
    check_name(name, 1103, "table")?;
    if let Ok(other) = cx.txn.catalog().table(new_home, name)
        && other.id != table.id
    {
        return Err(Error::new(1050, "42S01", format!("Table '{name}' already exists")));
    }
    if table.is_view() && home.id != new_home.id {
        return Err(Error::new(
            1450,
            "HY000",
            format!("Changing schema from '{}' to '{}' is not allowed.", home.name, new_home.name),
        ));
    }
    let children: Vec<Arc<Table>> =
        foreign_key::children(cx.txn.catalog(), table).into_iter().map(|(child, _)| child.clone()).collect();
    let mut renamed = (**table).clone();
    for key in &mut renamed.foreign_keys {
        let parent = key.parent_database.clone().unwrap_or_else(|| home.name.clone());
        let own = same_name(&parent, &home.name) && same_name(&key.parent_table, &table.name);
        if own {
            key.parent_table = name.to_owned();
            key.parent_database = None;
        } else {
            key.parent_database = (!same_name(&parent, &new_home.name)).then_some(parent);
        }
        if let Some(number) = key.name.strip_prefix(&format!("{}_ibfk_", table.name)) {
            key.name = format!("{name}_ibfk_{number}");
        }
    }
    renamed.name = name.to_owned();
    renamed.database = new_home.id;
    cx.txn.alter_table(renamed)?;
    let children: std::collections::BTreeMap<TableId, Arc<Table>> = children.into_iter().map(|c| (c.id, c)).collect();
    for child in children.into_values() {
        let child_home = cx.txn.catalog().database_by_id(child.database).cloned();
        let child_home = child_home.ok_or_else(|| Error::internal("BUG: a table without a database"))?;
        let mut changed = (*child).clone();
        for key in &mut changed.foreign_keys {
            let parent = key.parent_database.as_deref().unwrap_or(&child_home.name);
            if same_name(parent, &home.name) && same_name(&key.parent_table, &table.name) {
                key.parent_table = name.to_owned();
                key.parent_database = (child_home.id != new_home.id).then(|| new_home.name.clone());
            }
        }
        cx.txn.alter_table(changed)?;
    }
    Ok(())
}

/// 3730
pub fn referenced(parent: &str, key: &str, child: &str) -> Error {
    let message =
        format!("Cannot drop table '{parent}' referenced by a foreign key constraint '{key}' on table '{child}'.");
    Error::new(3730, "HY000", message)
}

//! What SHOW CREATE says: a definition in MySQL's form, which parses back to the same definition.
//!
//! It only writes text. Where MySQL's own dump tools read the text (`mysqldump` copies it as it is), our form must
//! be one that MySQL accepts too.

use std::borrow::Cow;
use std::fmt::Write as _;

use strandline_core::schema::{Column, Database, ForeignKey, Index, Table};

use crate::ddl::attributes;
use crate::ddl::view::meaning;

/// Returns `CREATE TABLE …` of a table. `next_auto` is the next AUTO_INCREMENT value, where there is such a column.
pub fn create_table_text(table: &Table, next_auto: Option<u64>) -> String {
    let mut lines: Vec<String> = table.columns.iter().map(column_text).collect();
    if !table.primary_key.is_empty() {
        lines.push(format!("PRIMARY KEY ({})", names(table, &table.primary_key)));
    }
    lines.extend(table.indexes.iter().filter(|index| index.unique).map(|index| index_text(table, index)));
    lines.extend(table.indexes.iter().filter(|index| !index.unique).map(|index| index_text(table, index)));
    lines.extend(table.foreign_keys.iter().map(|key| foreign_key_text(table, key)));
    for check in attributes::checks(table) {
        lines.push(format!("CONSTRAINT {} CHECK ({})", quote(&check.name), check.expression));
    }
    let mut text = format!("CREATE TABLE {} (\n  {}\n) ENGINE=InnoDB", quote(&table.name), lines.join(",\n  "));
    let counts = table.columns.iter().any(|column| column.auto_increment);
    if let Some(next) = next_auto.filter(|next| counts && *next > 1) {
        let _ = write!(text, " AUTO_INCREMENT={next}");
    }
    text.push_str(" DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin");
    if !table.comment.is_empty() {
        let _ = write!(text, " COMMENT={}", string_literal(&table.comment));
    }
    text
}

/// Returns one column as it stands in CREATE TABLE, without a comma.
pub fn column_text(column: &Column) -> String {
    let mut text = format!("{} {}", quote(&column.name), column.declared);
    let base = base_type(&column.declared);
    if !column.nullable {
        text.push_str(" NOT NULL");
    } else if base == "timestamp" {
        text.push_str(" NULL");
    }
    match &column.default {
        Some(default) => {
            let _ = write!(text, " DEFAULT {default}");
        }
        None if column.nullable && !is_long(base) => text.push_str(" DEFAULT NULL"),
        None => {}
    }
    if let Some(on_update) = &column.on_update {
        let _ = write!(text, " ON UPDATE {on_update}");
    }
    if column.auto_increment {
        text.push_str(" AUTO_INCREMENT");
    }
    if !column.comment.is_empty() {
        let _ = write!(text, " COMMENT {}", string_literal(&column.comment));
    }
    text
}

/// Returns `CREATE VIEW …` of a view in the database `home`.
pub fn create_view_text(home: &str, view: &Table) -> String {
    let definer = attributes::view_definer(view);
    let (user, host) = definer.rsplit_once('@').unwrap_or((definer, "%"));
    let names: Vec<String> = view.columns.iter().map(|column| quote(&column.name)).collect();
    let columns = if attributes::view_names_columns(view) { format!(" ({})", names.join(",")) } else { String::new() };
    format!(
        "CREATE ALGORITHM=UNDEFINED DEFINER={}@{} SQL SECURITY {} VIEW {}{columns} AS {}",
        quote(user),
        quote(host),
        attributes::view_security(view),
        quote(&view.name),
        view_text(home, view)
    )
}

/// Returns the query of a view in the database `home`: as it was made, where it cannot be read any more.
pub fn view_text<'a>(home: &'a str, view: &'a Table) -> Cow<'a, str> {
    match meaning(view, home) {
        Ok(meaning) => meaning.text,
        Err(_) => Cow::Borrowed(view.view.as_deref().unwrap_or_default()),
    }
}

/// Returns `CREATE DATABASE …` of a database.
pub fn create_database_text(database: &Database, if_not_exists: bool) -> String {
    let condition = if if_not_exists { "/*!32312 IF NOT EXISTS*/ " } else { "" };
    format!(
        "CREATE DATABASE {condition}{} /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin */",
        quote(&database.name)
    )
}

/// Returns a name in backticks.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Returns text as a string literal that MySQL reads with and without NO_BACKSLASH_ESCAPES only where it holds no
/// backslash; with one, the default mode is meant.
pub fn string_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        match c {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\0' => literal.push_str("\\0"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// Returns the first word of a declared type: `int` of `int unsigned`, `varchar` of `varchar(20)`.
pub fn base_type(declared: &str) -> &str {
    declared.split(['(', ' ']).next().unwrap_or(declared)
}

/// Tells whether a type cannot have a literal default, so that `DEFAULT NULL` is not written.
fn is_long(base: &str) -> bool {
    base.ends_with("text") || base.ends_with("blob") || base == "json"
}

fn names(table: &Table, ids: &[strandline_core::ids::ColumnId]) -> String {
    let names: Vec<String> =
        ids.iter().filter_map(|id| table.column_by_id(*id)).map(|column| quote(&column.name)).collect();
    names.join(",")
}

fn index_text(table: &Table, index: &Index) -> String {
    let prefixes = attributes::prefixes(table, &index.name);
    let parts: Vec<String> = index
        .columns
        .iter()
        .filter_map(|id| table.column_by_id(*id).map(|column| (id, column)))
        .map(|(id, column)| match prefixes.get(id) {
            Some(length) => format!("{}({length})", quote(&column.name)),
            None => quote(&column.name),
        })
        .collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    let mut text = format!("{unique}KEY {} ({})", quote(&index.name), parts.join(","));
    if let Some(comment) = attributes::index_comment(table, &index.name) {
        let _ = write!(text, " COMMENT {}", string_literal(comment));
    }
    text
}

fn foreign_key_text(table: &Table, key: &ForeignKey) -> String {
    let parent = match &key.parent_database {
        Some(database) => format!("{}.{}", quote(database), quote(&key.parent_table)),
        None => quote(&key.parent_table),
    };
    let parents: Vec<String> = key.parent_columns.iter().map(|name| quote(name)).collect();
    let actions = if key.actions.is_empty() { String::new() } else { format!(" {}", key.actions) };
    format!(
        "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {parent} ({}){actions}",
        quote(&key.name),
        names(table, &key.columns),
        parents.join(",")
    )
}

//! What the SQL layer keeps in `Table::options`: everything that the core need not know. One place names the keys.
//!
//! ```text
//! check:<name>            the expression of a CHECK constraint, as SQL text without the outer brackets
//! index:<name>:prefix     prefix lengths of a non-unique index, by column id: `1=10,4=20`
//! index:<name>:comment    an index's comment
//! created                 microseconds since 1970, UTC
//! view:database           the database that a view's names without a database mean
//! view:home               the database that the view was made in: a copy under another name means its own by it
//! view:definer            user@host who made the view
//! view:columns            `named` where CREATE VIEW gave a column list
//! view:security           `INVOKER`; absent for DEFINER: in whose rights the view reads
//! ```

use std::collections::BTreeMap;

use strandline_core::ids::{ColumnId, Time};
use strandline_core::schema::{Table, same_name};

/// A CHECK constraint. INSERT and UPDATE must refuse a row for which `expression` is false (3819), and let pass NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    /// SQL text over the table's columns.
    pub expression: String,
}

/// Returns the CHECK constraints of a table by name. Whoever writes rows enforces them.
pub fn checks(table: &Table) -> Vec<Check> {
    let checks = table.options.iter().filter_map(|(key, text)| {
        key.strip_prefix("check:").map(|name| Check { name: name.to_owned(), expression: text.clone() })
    });
    checks.collect()
}

pub(crate) fn put_check(table: &mut Table, check: &Check) {
    table.options.insert(format!("check:{}", check.name), check.expression.clone());
}

/// Removes a CHECK constraint; tells whether there was one of that name.
pub(crate) fn drop_check(table: &mut Table, name: &str) -> bool {
    let key = checks(table).into_iter().find(|check| same_name(&check.name, name));
    key.is_some_and(|check| table.options.remove(&format!("check:{}", check.name)).is_some())
}

/// Returns the prefix lengths of an index's columns, in characters.
pub fn prefixes(table: &Table, index: &str) -> BTreeMap<ColumnId, u64> {
    let text = table.options.get(&format!("index:{index}:prefix")).map(String::as_str).unwrap_or_default();
    let pairs = text.split(',').filter_map(|pair| {
        let (column, length) = pair.split_once('=')?;
        Some((ColumnId(column.parse().ok()?), length.parse().ok()?))
    });
    pairs.collect()
}

pub(crate) fn put_prefixes(table: &mut Table, index: &str, prefixes: &BTreeMap<ColumnId, u64>) {
    if prefixes.is_empty() {
        return;
    }
    let text: Vec<String> = prefixes.iter().map(|(column, length)| format!("{column}={length}")).collect();
    table.options.insert(format!("index:{index}:prefix"), text.join(","));
}

/// Returns an index's comment.
pub fn index_comment<'a>(table: &'a Table, index: &str) -> Option<&'a str> {
    table.options.get(&format!("index:{index}:comment")).map(String::as_str)
}

pub(crate) fn put_index_comment(table: &mut Table, index: &str, comment: &str) {
    if !comment.is_empty() {
        table.options.insert(format!("index:{index}:comment"), comment.to_owned());
    }
}

/// Forgets what was kept about an index.
pub(crate) fn drop_index(table: &mut Table, index: &str) {
    table.options.retain(|key, _| !key.starts_with(&format!("index:{index}:")));
}

/// Moves what was kept about an index to its new name.
pub(crate) fn rename_index(table: &mut Table, old: &str, new: &str) {
    for part in ["prefix", "comment"] {
        if let Some(text) = table.options.remove(&format!("index:{old}:{part}")) {
            table.options.insert(format!("index:{new}:{part}"), text);
        }
    }
}

/// Returns when the table was created, if it is known.
pub fn created(table: &Table) -> Option<Time> {
    table.options.get("created")?.parse().ok().map(Time)
}

pub(crate) fn put_created(table: &mut Table, time: Time) {
    table.options.insert("created".to_owned(), time.0.to_string());
}

/// Returns the database that a view's unqualified names mean.
pub fn view_database(view: &Table) -> Option<&str> {
    view.options.get("view:database").map(String::as_str)
}

/// Returns the database that a view was made in.
pub fn view_home(view: &Table) -> Option<&str> {
    view.options.get("view:home").map(String::as_str)
}

/// Returns who made a view, as `user@host`.
pub fn view_definer(view: &Table) -> &str {
    view.options.get("view:definer").map_or("root@%", String::as_str)
}

/// Tells whether CREATE VIEW named the columns.
pub fn view_names_columns(view: &Table) -> bool {
    view.options.contains_key("view:columns")
}

/// Returns `DEFINER` or `INVOKER`.
pub fn view_security(view: &Table) -> &str {
    view.options.get("view:security").map_or("DEFINER", String::as_str)
}

pub(crate) fn put_view(
    view: &mut Table,
    home: &str,
    database: Option<&str>,
    definer: &str,
    names_columns: bool,
    invoker: bool,
) {
    view.options.insert("view:home".to_owned(), home.to_owned());
    if let Some(database) = database {
        view.options.insert("view:database".to_owned(), database.to_owned());
    }
    view.options.insert("view:definer".to_owned(), definer.to_owned());
    if names_columns {
        view.options.insert("view:columns".to_owned(), "named".to_owned());
    }
    if invoker {
        view.options.insert("view:security".to_owned(), "INVOKER".to_owned());
    }
}

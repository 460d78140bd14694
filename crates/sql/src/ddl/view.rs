//! CREATE, ALTER and DROP VIEW.
//!
//! A view is its SELECT's source text, read at each use. Names without a database mean the database that was current
//! when the view was made. A view that was copied with its database (a clone, a restore under another name) names the
//! copy's tables wherever it named its own database's. Views are not updatable.

use std::borrow::Cow;

use strandline_core::ids::ColumnId;
use strandline_core::schema::{Column, Table, same_name};

use super::{Ddl, attributes, check_name, column, done};
use crate::api::Done;
use crate::ddl::spec::{ColumnSpec, object_name};
use crate::error::{Error, Result};
use crate::parse::{self, CreateView, TableName};
use crate::users::host_of;
use crate::warning::Warning;

/// What a view says in the database that it lies in.
pub struct Meaning<'a> {
    /// The query's source.
    pub text: Cow<'a, str>,
    /// The database that names without one mean.
    pub database: &'a str,
}

/// Reads a view that lies in the database `home`.
///
/// # Errors
/// 1064 where the query cannot be read.
pub fn meaning<'a>(view: &'a Table, home: &'a str) -> Result<Meaning<'a>> {
    let text = view.view.as_deref().unwrap_or_default();
    let database = attributes::view_database(view).unwrap_or(home);
    let made_in = attributes::view_home(view).unwrap_or(home);
    if same_name(made_in, home) {
        return Ok(Meaning { text: Cow::Borrowed(text), database });
    }
    let text = Cow::Owned(parse::rename_database(text, made_in, home)?);
    Ok(Meaning { text, database: if same_name(made_in, database) { home } else { database } })
}

/// `CREATE [OR REPLACE] VIEW name [(columns)] AS select`.
///
/// # Errors
/// 1050 where a table or view has the name, 1347 where OR REPLACE meets a table, 1353 where the column list has
/// another length than the SELECT, 1235 for WITH CHECK OPTION, and whatever planning the SELECT says.
pub async fn create_view(cx: &mut Ddl<'_>, create: &CreateView) -> Result<Done> {
    if create.check_option {
        return Err(Error::unsupported("WITH CHECK OPTION"));
    }
    if create.view.temporary || create.view.materialized {
        return Err(Error::unsupported("TEMPORARY and MATERIALIZED views"));
    }
    let (database, name) = object_name(&create.view.name)?;
    let (database, name) = (database.as_deref(), name.as_str());
    let columns: Vec<String> = create.view.columns.iter().map(|column| column.name.value.clone()).collect();
    let (or_replace, if_not_exists) = (create.view.or_replace, create.view.if_not_exists);
    let select = create.query_text.as_str();
    check_name(name, 1103, "table")?;
    let home = cx.database(database)?;
    let old = cx.txn.catalog().table(&home, name).ok().cloned();
    match &old {
        Some(table) if or_replace && !table.is_view() => {
            return Err(Error::new(1347, "HY000", format!("'{}.{name}' is not VIEW", home.name)));
        }
        Some(_) if or_replace => {}
        Some(_) if if_not_exists => {
            cx.warnings.push(Warning::note(1050, format!("Table '{name}' already exists")));
            return Ok(done(cx, 0));
        }
        Some(_) => return Err(Error::new(1050, "42S01", format!("Table '{name}' already exists"))),
        None => {}
    }
    let current = cx.database.map(str::to_owned);
    let selected = cx.queries.describe(cx.txn, current.as_deref(), select).await?;
    if !columns.is_empty() && columns.len() != selected.len() {
        let message = "In definition of view, derived table or common table expression, SELECT list and column names list have different column counts";
        return Err(Error::new(1353, "HY000", message));
    }
    let mut view = super::table::empty(name, home.id);
    attributes::put_created(&mut view, cx.now);
    let definer = match &create.definer {
        Some(user) if !user.current => format!("{}@{}", user.name, user.host.as_deref().unwrap_or("%")),
        _ => cx.rights.user().map_or_else(|| cx.user.to_owned(), |user| format!("{}@{}", user.name, host_of(user))),
    };
    attributes::put_view(&mut view, &home.name, current.as_deref(), &definer, !columns.is_empty(), create.invoker);
    for (at, column) in selected.iter().enumerate() {
        let name = columns.get(at).unwrap_or(&column.name);
        if view.column(name).is_some() {
            return Err(Error::new(1060, "42S21", format!("Duplicate column name '{name}'")));
        }
        view.columns.push(view_column(name, &column.declared, column.nullable, at, cx)?);
    }
    view.next_column = ColumnId(u32::try_from(view.columns.len()).unwrap_or(u32::MAX - 2) + 1);
    view.view = Some(select.trim().trim_end_matches(';').to_owned());
    match old {
        Some(old) => {
            view.id = old.id;
            cx.txn.alter_table(view)?;
        }
        None => {
            cx.txn.create_table(view)?;
        }
    }
    Ok(done(cx, 0))
}

/// `DROP VIEW [IF EXISTS] a, b, …`: all or none.
///
/// # Errors
/// 1051 naming every view that does not exist, 1347 for a table.
pub async fn drop_views(cx: &mut Ddl<'_>, names: &[TableName], if_exists: bool) -> Result<Done> {
    let mut views = Vec::new();
    let mut missing = Vec::new();
    for TableName { database, name } in names {
        let home = cx.database(database.as_deref())?;
        match cx.txn.catalog().table(&home, name) {
            Ok(view) if view.is_view() => views.push(view.clone()),
            Ok(_) => return Err(Error::new(1347, "HY000", format!("'{}.{name}' is not VIEW", home.name))),
            Err(_) => missing.push(format!("{}.{name}", home.name)),
        }
    }
    if !missing.is_empty() && !if_exists {
        return Err(Error::new(1051, "42S02", format!("Unknown table '{}'", missing.join(","))));
    }
    for name in missing {
        cx.warnings.push(Warning::note(1051, format!("Unknown table '{name}'")));
    }
    for view in &views {
        cx.txn.drop_table(view)?;
    }
    Ok(done(cx, 0))
}

fn view_column(name: &str, declared: &str, nullable: bool, at: usize, cx: &Ddl<'_>) -> Result<Column> {
    let id = ColumnId(u32::try_from(at).unwrap_or(u32::MAX - 3) + 1);
    Ok(column::build(&ColumnSpec::plain(name, declared, nullable)?, id, cx.clock())?.column)
}

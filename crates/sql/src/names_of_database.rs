//! `d.information_schema.tables`: what information_schema says of one database, as MatrixOne's guide asks for it.
//!
//! MySQL has no such name. It stands for a query of the table that is limited to the database.

use std::ops::ControlFlow;

use sqlparser::ast::{Ident, ObjectNamePart, Query, TableAlias, TableFactor, VisitorMut};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use crate::error::{Error, Result};
use crate::information_schema::columns_of;
use crate::plan::Reading;
use crate::walk;

/// The columns that name the database of a row, by table the first one that it has.
const SCHEMA_COLUMNS: &[&str] =
    &["table_schema", "schema_name", "constraint_schema", "routine_schema", "trigger_schema", "event_schema"];

/// Replaces every such name in a query.
///
/// # Errors
/// 1044 where the reader may know of nothing in it, 1049 where there is no such database, 1109 where information_schema has no such table.
pub fn replace(query: &mut Query, reading: Reading<'_>) -> Result<()> {
    match walk::visit_mut(query, &mut Names { reading }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Names<'a> {
    reading: Reading<'a>,
}

impl VisitorMut for Names<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, alias, args: None, version: None, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let [database, schema, table] = name.0.as_slice() else { return ControlFlow::Continue(()) };
        let (Some(database), Some(schema), Some(table)) = (word(database), word(schema), word(table)) else {
            return ControlFlow::Continue(());
        };
        if !schema.eq_ignore_ascii_case("information_schema") {
            return ControlFlow::Continue(());
        }
        let alias = alias.take().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('`', table),
            columns: Vec::new(),
            at: None,
        });
        match self.limited(database, table) {
            Ok(subquery) => {
                *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Names<'_> {
    fn limited(&self, database: &str, table: &str) -> Result<Box<Query>> {
        self.reading.state.rights.require_any_in_database(database)?;
        let found = self.reading.source.catalog().database(self.reading.state.account, database);
        let found = found.map_err(|_| Error::new(1049, "42000", format!("Unknown database '{database}'")))?;
        let columns = columns_of("information_schema", table)
            .ok_or_else(|| Error::new(1109, "42S02", format!("Unknown table '{table}' in information_schema")))?;
        let has = |name: &&&str| columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(name));
        let mut text = format!("SELECT * FROM information_schema.`{table}`");
        if let Some(column) = SCHEMA_COLUMNS.iter().find(has) {
            let name = found.name.replace('\\', "\\\\").replace('\'', "''");
            text.push_str(&format!(" WHERE {column} = '{name}'"));
        }
        let parsed = Parser::new(&MySqlDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
        parsed.map_err(|error| Error::internal(format!("BUG: {text}: {error}")))
    }
}

fn word(part: &ObjectNamePart) -> Option<&str> {
    match part {
        ObjectNamePart::Identifier(ident) => Some(&ident.value),
        _ => None,
    }
}

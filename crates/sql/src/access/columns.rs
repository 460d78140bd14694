//! Which columns the expressions of a writing statement read: those of the table that it writes are not read through
//! the planner's checks, because the rows are needed whole.
//!
//! Names are taken as they stand, without working out whose they are: a name that could be a column of the table counts
//! as one. That may ask for a right too many, and never for one too few.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, FunctionArguments, JoinConstraint, ObjectName, TableFactor, TableWithJoins, Visit, Visitor,
};
use strandline_core::grants::Privileges;

use crate::dml::Target;
use crate::error::Result;
use crate::hidden::constraint;
use crate::parse::name_parts;
use crate::session::State;
use crate::walk;

/// What expressions read.
#[derive(Default)]
pub struct Reads {
    /// Names of columns, in lower case.
    columns: HashSet<String>,
    /// Names of the tables of subqueries, in lower case.
    tables: HashSet<String>,
    /// Columns are named that do not stand there.
    all: bool,
    /// A name that stands for the row to be inserted.
    row_alias: Option<String>,
}

impl Reads {
    /// Starts with nothing. What `row_alias` qualifies, and the argument of `VALUES()`, is not read from a table.
    pub fn new(row_alias: Option<&str>) -> Reads {
        Reads { row_alias: row_alias.map(str::to_lowercase), ..Reads::default() }
    }

    /// Adds what an expression, or any other part of a statement, reads.
    pub fn add<T: Visit + Clone + ast::VisitMut>(&mut self, part: &T) {
        let mut part = part.clone();
        let _ = walk::expressions_mut(&mut part, |expr| {
            let proposed = matches!(&*expr, Expr::Function(function)
                if function.name.to_string().eq_ignore_ascii_case("VALUES") && !matches!(function.args, FunctionArguments::None));
            if proposed {
                *expr = Expr::Value(ast::Value::Null.into());
            }
            ControlFlow::<()>::Continue(())
        });
        let _ = walk::visit(&part, self);
    }

    /// Adds what a FROM clause reads beside the tables themselves: conditions of joins, and subqueries.
    pub fn add_from(&mut self, from: &[TableWithJoins]) {
        for table in from {
            self.add_factor(&table.relation);
            for join in &table.joins {
                self.add_factor(&join.relation);
                match constraint(&join.join_operator) {
                    Some(JoinConstraint::On(condition)) => self.add(condition),
                    Some(JoinConstraint::Using(names)) => {
                        let names = names.iter().filter_map(|name| name_parts(name).pop());
                        self.columns.extend(names.map(|name| name.to_lowercase()));
                    }
                    Some(JoinConstraint::Natural) => self.all = true,
                    Some(JoinConstraint::None) | None => {}
                }
            }
        }
    }

    fn add_factor(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { .. } => {}
            TableFactor::NestedJoin { table_with_joins, .. } => self.add_from(std::slice::from_ref(table_with_joins)),
            other => self.add(other),
        }
    }

    /// Asks for SELECT on what is read of the table that the statement writes.
    ///
    /// # Errors
    /// 1142, 1143
    pub fn check(&self, state: &State, target: &Target) -> Result<()> {
        let (database, table) = (&target.database.name, &target.table.name);
        if self.all || self.tables.contains(&table.to_lowercase()) {
            return state.rights.require_on_table(database, table, Privileges::SELECT);
        }
        for column in &target.table.columns {
            if self.columns.contains(&column.name.to_lowercase())
                && !state.rights.on_column(database, table, &column.name).has(Privileges::SELECT)
            {
                return Err(state.rights.denied_column(Privileges::SELECT, &column.name, table));
            }
        }
        Ok(())
    }
}

impl Visitor for Reads {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let Some(name) = name_parts(relation).pop() {
            self.tables.insert(name.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.columns.insert(name.value.to_lowercase());
            }
            Expr::CompoundIdentifier(parts) => {
                let of_row = matches!((parts.as_slice(), &self.row_alias),
                    ([table, _], Some(alias)) if table.value.to_lowercase() == *alias);
                if let (Some(name), false) = (parts.last(), of_row) {
                    self.columns.insert(name.value.to_lowercase());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

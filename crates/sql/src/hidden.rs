//! `_version`, the hidden column of every table: read only where a statement names it, and never part of `*`.

use std::ops::ControlFlow;

use arrow::datatypes::Schema;
use sqlparser::ast::{
    self, ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, VisitorMut, WildcardAdditionalOptions,
};
use strandline_core::ids::ColumnId;

use crate::error::{Error, Result};
use crate::parse::name_parts;
use crate::walk;

/// Tells whether a column called `_version` is asked for. Names are folded.
pub fn names_version(statement: &ast::Statement) -> bool {
    let version = ColumnId::VERSION.physical_name();
    let found = walk::expressions(statement, |expr| {
        let name = match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        match name {
            Some(name) if name.value == version => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    found.is_break()
}

/// Tells whether a table shows the column.
pub fn has_version(schema: &Schema) -> bool {
    schema.index_of(&ColumnId::VERSION.physical_name()).is_ok()
}

/// Leaves the column out of what `*` and `t.*` stand for, in tables of which `shows` says that they have it.
///
/// # Errors
/// 1235 for joins that compare columns by name: they would compare this one.
pub fn leave_out_version(statement: &mut ast::Statement, shows: impl Fn(Option<&str>, &str) -> bool) -> Result<()> {
    match walk::visit_mut(statement, &mut LeaveOut { shows }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct LeaveOut<F> {
    shows: F,
}

/// A table of a FROM clause.
struct Factor {
    /// What its columns are qualified with.
    name: ObjectName,
    shows: bool,
}

impl<F: Fn(Option<&str>, &str) -> bool> VisitorMut for LeaveOut<F> {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let mut factors = Vec::new();
        let mut by_name = None;
        for from in &select.from {
            self.collect(from, &mut factors, &mut by_name);
        }
        if !factors.iter().any(|factor| factor.shows) {
            return ControlFlow::Continue(());
        }
        if by_name == Some(ByName::Natural) {
            return ControlFlow::Break(Error::unsupported("_version in a NATURAL JOIN; join with ON"));
        }
        let mut projection = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            match item {
                SelectItem::Wildcard(_) if factors.len() == 1 => projection.push(SelectItem::Wildcard(all_but(true))),
                SelectItem::Wildcard(_) if by_name.is_some() => {
                    let what = "* beside _version in a join with USING; name the columns, or join with ON";
                    return ControlFlow::Break(Error::unsupported(what));
                }
                SelectItem::Wildcard(_) => {
                    projection.extend(factors.iter().map(|factor| wildcard(factor.name.clone(), factor.shows)));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let wanted = name_parts(&name).pop();
                    let factor = factors.iter().find(|factor| name_parts(&factor.name).pop() == wanted);
                    projection.push(wildcard(name, factor.is_some_and(|factor| factor.shows)));
                }
                other => projection.push(other),
            }
        }
        select.projection = projection;
        ControlFlow::Continue(())
    }
}

/// How a join finds its columns, where no ON says it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ByName {
    Using,
    Natural,
}

impl<F: Fn(Option<&str>, &str) -> bool> LeaveOut<F> {
    fn collect(&self, from: &TableWithJoins, factors: &mut Vec<Factor>, by_name: &mut Option<ByName>) {
        for join in &from.joins {
            match constraint(&join.join_operator) {
                Some(JoinConstraint::Natural) => *by_name = Some(ByName::Natural),
                Some(JoinConstraint::Using(_)) if by_name.is_none() => *by_name = Some(ByName::Using),
                _ => {}
            }
        }
        for factor in std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::Table { name, alias, .. } => {
                    let parts = name_parts(name);
                    let shows = match parts.as_slice() {
                        [table] => (self.shows)(None, table),
                        [database, table] => (self.shows)(Some(database), table),
                        _ => false,
                    };
                    let called = alias.as_ref().map(|alias| ObjectName::from(vec![alias.name.clone()]));
                    factors.push(Factor { name: called.unwrap_or_else(|| name.clone()), shows });
                }
                TableFactor::Derived { alias: Some(alias), .. } => {
                    factors.push(Factor { name: ObjectName::from(vec![alias.name.clone()]), shows: false });
                }
                TableFactor::NestedJoin { table_with_joins, .. } => self.collect(table_with_joins, factors, by_name),
                _ => {}
            }
        }
    }
}

/// Returns what a join is on.
pub fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::StraightJoin(constraint) => Some(constraint),
        _ => None,
    }
}

fn wildcard(name: ObjectName, without_version: bool) -> SelectItem {
    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), all_but(without_version))
}

fn all_but(without_version: bool) -> WildcardAdditionalOptions {
    let version = ObjectName::from(vec![Ident::with_quote('`', ColumnId::VERSION.physical_name())]);
    let opt_exclude = without_version.then_some(ExcludeSelectItem::Single(version));
    WildcardAdditionalOptions { opt_exclude, ..WildcardAdditionalOptions::default() }
}

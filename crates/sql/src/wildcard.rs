//! `*` over joins by USING and NATURAL: the common columns come first, once, then the others of each side.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem, Statement,
    TableFactor, TableWithJoins, VisitorMut,
};

use crate::error::{Error, Result};
use crate::hidden::constraint;
use crate::walk;

/// Writes out every `*` over such a join of plain tables. `columns` gives the columns of a table; names must be folded.
///
/// # Errors
/// 1235 where a list has the same columns twice through `*`.
pub fn expand(statement: &mut Statement, columns: &dyn Fn(&ObjectName) -> Option<Vec<String>>) -> Result<()> {
    match walk::visit_mut(statement, &mut Expander { columns, expressions: HashSet::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Expander<'a> {
    columns: &'a dyn Fn(&ObjectName) -> Option<Vec<String>>,
    /// Common table expressions, which hide tables of their names.
    expressions: HashSet<String>,
}

/// A column of a join: the table that it is read from, and its name.
#[derive(Clone)]
struct JoinedColumn {
    table: Ident,
    name: String,
}

impl VisitorMut for Expander<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.expressions.extend(tables.map(|table| table.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let mut tables = HashSet::new();
        for item in &select.projection {
            let again = match item {
                SelectItem::Wildcard(_) => !tables.insert(None),
                SelectItem::QualifiedWildcard(table, _) => !tables.insert(Some(table.to_string())),
                _ => false,
            };
            // The planner refuses columns of one name. It would write them all out before.
            if again {
                return ControlFlow::Break(Error::unsupported("the same columns twice through * in one SELECT"));
            }
        }
        let star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
        if let [from] = select.from.as_slice()
            && select.projection.iter().any(star)
            && from.joins.iter().any(|join| is_by_name(&join.join_operator))
            && let Some(columns) = self.joined(from)
        {
            let items: Vec<SelectItem> = columns
                .into_iter()
                .map(|column| {
                    let name = Ident::with_quote('`', column.name);
                    SelectItem::UnnamedExpr(Expr::CompoundIdentifier(vec![column.table, name]))
                })
                .collect();
            let old = std::mem::take(&mut select.projection);
            select.projection =
                old.into_iter().flat_map(|item| if star(&item) { items.clone() } else { vec![item] }).collect();
        }
        ControlFlow::Continue(())
    }
}

impl Expander<'_> {
    fn joined(&self, from: &TableWithJoins) -> Option<Vec<JoinedColumn>> {
        let mut left = self.columns_of(&from.relation)?;
        for join in &from.joins {
            let mut right = self.columns_of(&join.relation)?;
            let from_right = matches!(join.join_operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_));
            let named = |columns: &[JoinedColumn], name: &str| columns.iter().any(|column| column.name == name);
            let is_common = |column: &JoinedColumn| match constraint(&join.join_operator) {
                Some(JoinConstraint::Natural) => named(&right, &column.name),
                Some(JoinConstraint::Using(names)) => {
                    names.iter().any(|name| last(name).is_some_and(|last| last.value == column.name))
                }
                _ => false,
            };
            let (common, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(is_common);
            let mut columns = Vec::with_capacity(common.len() + rest.len() + right.len());
            for column in common {
                let at = right.iter().position(|other| other.name == column.name)?;
                let other = right.remove(at);
                columns.push(if from_right { other } else { column });
            }
            columns.extend(rest);
            columns.extend(right);
            left = columns;
        }
        Some(left)
    }

    fn columns_of(&self, factor: &TableFactor) -> Option<Vec<JoinedColumn>> {
        let TableFactor::Table { name, alias, .. } = factor else { return None };
        let table = match alias {
            Some(alias) if alias.columns.is_empty() => alias.name.clone(),
            Some(_) => return None,
            None => last(name)?.clone(),
        };
        if name.0.len() == 1 && self.expressions.contains(&last(name)?.value) {
            return None;
        }
        let columns = (self.columns)(name)?;
        Some(columns.into_iter().map(|name| JoinedColumn { table: table.clone(), name }).collect())
    }
}

fn is_by_name(operator: &JoinOperator) -> bool {
    // MySQL has no FULL JOIN, so that nothing says what its `*` would be.
    !matches!(operator, JoinOperator::FullOuter(_))
        && matches!(constraint(operator), Some(JoinConstraint::Using(_) | JoinConstraint::Natural))
}

fn last(name: &ObjectName) -> Option<&Ident> {
    match name.0.last()? {
        ObjectNamePart::Identifier(ident) => Some(ident),
        _ => None,
    }
}

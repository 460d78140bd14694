//! Assignments of UPDATE and ON DUPLICATE KEY UPDATE: one after the other, over a batch of rows.
//!
//! An assignment sees the columns that those before it gave values, converted to their types. What does not look at them
//! is evaluated together, so that most statements take one step.

use std::collections::HashSet;
use std::ops::ControlFlow;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, UInt64Type};
use sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Visitor,
};
use strandline_core::schema::same_name;
use strandline_core::txn::Txn;

use super::{Target, arrow, values};
use crate::api::Value;
use crate::error::{Error, Result};
use crate::eval;
use crate::parse::name_parts;
use crate::plan::{Reading, Source};
use crate::session::State;
use crate::types::{self, Mode};
use crate::walk;

/// One column's new value.
pub struct Assigned {
    pub position: usize,
    value: Expr,
    /// What `LAST_INSERT_ID(…)` in the value is given: the session remembers it.
    remembered: Option<Expr>,
}

/// Reads the assignments to columns of one table, which they call `alias`.
pub fn read<'a>(
    assignments: impl IntoIterator<Item = &'a Assignment>,
    target: &Target,
    alias: &str,
) -> Result<Vec<Assigned>> {
    let read = |assignment: &Assignment| {
        let position = position(assignment, target)?;
        let mut value = match &assignment.value {
            value if is_default(value) => values::default_expr(target, position)?,
            value => values::with_defaults(value.clone(), target)?,
        };
        without_database(&mut value, target, alias);
        let remembered = take_insert_id(&mut value);
        Ok(Assigned { position, value, remembered })
    };
    assignments.into_iter().map(read).collect()
}

/// Returns the position of the column that an assignment writes to.
pub fn position(assignment: &Assignment, target: &Target) -> Result<usize> {
    match &assignment.target {
        AssignmentTarget::ColumnName(name) => target.position(name_parts(name).last().map_or("", String::as_str)),
        AssignmentTarget::Tuple(_) => Err(Error::unsupported("an assignment to several columns at once")),
    }
}

/// Cuts assignments into steps. None in a step names a column that one before it in the step assigns.
pub fn steps<'a>(assignments: &'a [Assigned], target: &Target) -> Vec<&'a [Assigned]> {
    let mut steps = Vec::new();
    let (mut from, mut assigned) = (0, HashSet::new());
    for (at, assignment) in assignments.iter().enumerate() {
        let seen = |expr: &Expr| !assigned.is_empty() && names(expr, true, |name| is_one_of(target, name, &assigned));
        if seen(&assignment.value) || assignment.remembered.as_ref().is_some_and(seen) {
            steps.push(&assignments[from..at]);
            from = at;
            assigned.clear();
        }
        assigned.insert(assignment.position);
    }
    steps.push(&assignments[from..]);
    steps
}

/// Returns what a step evaluates.
pub fn exprs(step: &[Assigned]) -> impl Iterator<Item = Expr> {
    step.iter().flat_map(|assigned| std::iter::once(&assigned.value).chain(&assigned.remembered)).cloned()
}

/// Rows that are given new values.
pub struct Rows<'t> {
    pub target: &'t Target,
    /// What they are called.
    pub alias: &'t str,
    pub mode: Mode,
    /// What assignments see: the target's columns by position, as they are by now, and then whatever else there is to
    /// see.
    pub visible: RecordBatch,
    /// What `LAST_INSERT_ID(…)` was given last.
    pub remembered: Option<u64>,
}

impl Rows<'_> {
    /// Evaluates steps and takes their values.
    pub async fn assign(
        &mut self,
        state: &mut State,
        txn: &Txn,
        steps: &[&[Assigned]],
        parameters: &[Value],
    ) -> Result<()> {
        for step in steps {
            let exprs: Vec<Expr> = exprs(step).collect();
            let reading = Reading { state, source: Source::Txn(txn) };
            let values = Box::pin(eval::over(reading, self.alias, &self.visible, &exprs, parameters)).await?;
            self.take(state, step, values)?;
        }
        Ok(())
    }

    /// Takes the values of a step, in the order of its [`exprs`].
    pub fn take(
        &mut self,
        state: &mut State,
        step: &[Assigned],
        values: impl IntoIterator<Item = (ArrayRef, FieldRef)>,
    ) -> Result<()> {
        let mut values = values.into_iter();
        let mut next = || values.next().ok_or_else(|| Error::internal("BUG: an assignment has no value"));
        let mut columns = self.visible.columns().to_vec();
        for assigned in step {
            let (array, field) = next()?;
            let done = types::coerce_array(&array, &field, self.target.coercion(assigned.position, self.mode), 1)?;
            state.warnings.extend(done.warnings);
            columns[assigned.position] = done.array;
            if assigned.remembered.is_some() {
                self.remembered = last_u64(&next()?.0).or(self.remembered);
            }
        }
        self.visible = RecordBatch::try_new(self.visible.schema(), columns).map_err(arrow)?;
        Ok(())
    }
}

/// Tells whether an expression names something of which `is` says so. Queries in it are looked into if `within`.
pub fn names(expr: &Expr, within: bool, is: impl Fn(&str) -> bool) -> bool {
    struct Names<F> {
        within: bool,
        depth: usize,
        is: F,
    }
    impl<F: Fn(&str) -> bool> Visitor for Names<F> {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let name = match expr {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            };
            let found = (self.within || self.depth == 0) && name.is_some_and(|name| (self.is)(&name.value));
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    walk::visit(expr, &mut Names { within, depth: 0, is }).is_break()
}

fn is_one_of(target: &Target, name: &str, positions: &HashSet<usize>) -> bool {
    target.position(name).is_ok_and(|position| positions.contains(&position))
}

fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("DEFAULT"))
}

/// Writes `d.t.c` as `t.c`: the rows that expressions are evaluated over belong to no database.
fn without_database(value: &mut Expr, target: &Target, alias: &str) {
    let _ = walk::expressions_mut(value, |expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [database, table, _] = parts.as_slice()
            && same_name(&database.value, &target.database.name)
            && same_name(&table.value, &target.table.name)
            && same_name(alias, &target.table.name)
        {
            parts.remove(0);
        }
        ControlFlow::<()>::Continue(())
    });
}

/// Writes `LAST_INSERT_ID(x)` as `(x)` and returns the last such `x`.
fn take_insert_id(value: &mut Expr) -> Option<Expr> {
    let mut remembered = None;
    let _ = walk::expressions_mut(value, |expr| {
        if let Expr::Function(function) = &*expr
            && function.name.to_string().eq_ignore_ascii_case("LAST_INSERT_ID")
            && let FunctionArguments::List(list) = &function.args
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(given))] = list.args.as_slice()
        {
            let given = given.clone();
            remembered = Some(given.clone());
            *expr = Expr::Nested(Box::new(given));
        }
        ControlFlow::<()>::Continue(())
    });
    remembered
}

fn last_u64(array: &ArrayRef) -> Option<u64> {
    let numbers = cast(array, &DataType::UInt64).ok()?;
    let last = numbers.len().checked_sub(1)?;
    numbers.is_valid(last).then(|| numbers.as_primitive::<UInt64Type>().value(last))
}

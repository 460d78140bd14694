//! The moments that a statement names: collect them, resolve them elsewhere, then strip every one before planning.
//!
//! The planner drops a table version that it is given, silently. So `strip` fails on any that nobody resolved: a query for the past is
//! answered from that past or not at all (DESIGN §5.5).

use std::ops::ControlFlow;

use sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments, ObjectName, ObjectNamePart,
    TableFactor, TableVersion, Value, VisitMut, VisitorMut,
};
use sqlparser::ast::{Visit, Visitor};

use super::{Statement, When};
use crate::error::{Error, Result};
use crate::walk;

/// A table of a statement, as it is written there.
#[derive(Debug, Clone, PartialEq)]
pub struct TableAtMoment {
    /// `[t]`, `[d, t]` or more parts, without quotes.
    pub name: Vec<String>,
    pub alias: Option<String>,
    /// The moment that the statement names for it; `None` is the session's own.
    pub when: Option<When>,
    /// Whether arguments follow the name: a table function.
    pub function: bool,
}

/// Anything with a syntax tree inside whose table factors can be looked at and changed.
pub trait Tree {
    fn visit_tree(&self, visitor: &mut Collect) -> ControlFlow<Error>;
    fn visit_tree_mut(&mut self, visitor: &mut Replace<'_>) -> ControlFlow<Error>;
}

impl<T: Visit + VisitMut> Tree for T {
    fn visit_tree(&self, visitor: &mut Collect) -> ControlFlow<Error> {
        walk::visit(self, visitor)
    }

    fn visit_tree_mut(&mut self, visitor: &mut Replace<'_>) -> ControlFlow<Error> {
        walk::visit_mut(self, visitor)
    }
}

impl Tree for Statement {
    fn visit_tree(&self, visitor: &mut Collect) -> ControlFlow<Error> {
        match self {
            Statement::Query(query) => walk::visit(query, visitor),
            Statement::SelectInto { query, .. } => walk::visit(query, visitor),
            Statement::Insert(insert) => walk::visit(insert, visitor),
            Statement::Update(update) => walk::visit(&update.update, visitor),
            Statement::Delete(delete) => walk::visit(&delete.delete, visitor),
            Statement::CreateTable(create) => walk::visit(create, visitor),
            Statement::CreateView(create) => walk::visit(&create.view, visitor),
            Statement::Do(exprs) => walk::visit(exprs, visitor),
            Statement::Explain { statement, .. } => statement.visit_tree(visitor),
            _ => ControlFlow::Continue(()),
        }
    }

    fn visit_tree_mut(&mut self, visitor: &mut Replace<'_>) -> ControlFlow<Error> {
        match self {
            Statement::Query(query) => walk::visit_mut(query, visitor),
            Statement::SelectInto { query, .. } => walk::visit_mut(query, visitor),
            Statement::Insert(insert) => walk::visit_mut(insert, visitor),
            Statement::Update(update) => walk::visit_mut(&mut update.update, visitor),
            Statement::Delete(delete) => walk::visit_mut(&mut delete.delete, visitor),
            Statement::CreateTable(create) => walk::visit_mut(create, visitor),
            Statement::CreateView(create) => walk::visit_mut(&mut create.view, visitor),
            Statement::Do(exprs) => walk::visit_mut(exprs, visitor),
            Statement::Explain { statement, .. } => statement.visit_tree_mut(visitor),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Returns every table factor of `tree` in the order of the text, common table expressions' names included.
pub fn moments(tree: &impl Tree) -> Result<Vec<TableAtMoment>> {
    let mut collect = Collect { found: Vec::new() };
    match tree.visit_tree(&mut collect) {
        ControlFlow::Continue(()) => Ok(collect.found),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Removes every moment from `tree`. For each table that has one, `replace` gets the table as `moments` shows it and may change the name
/// (to that of the resolved table); if it returns false, the moment was left over and stripping fails.
pub fn strip(
    tree: &mut impl Tree,
    mut replace: impl FnMut(&TableAtMoment, &mut ObjectName) -> Result<bool>,
) -> Result<()> {
    let mut visitor = Replace { replace: &mut replace };
    match tree.visit_tree_mut(&mut visitor) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Fails if `tree` still names a moment: call it last before planning.
pub fn ensure_stripped(tree: &impl Tree) -> Result<()> {
    match moments(tree)?.into_iter().find(|table| table.when.is_some()) {
        Some(table) => Err(unresolved(&table)),
        None => Ok(()),
    }
}

fn unresolved(table: &TableAtMoment) -> Error {
    Error::internal(format!("BUG: the moment of table '{}' was not resolved before planning", table.name.join(".")))
}

/// The visitor behind `moments`.
pub struct Collect {
    found: Vec<TableAtMoment>,
}

impl Visitor for Collect {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        match describe(factor) {
            Ok(Some(table)) => {
                self.found.push(table);
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// What `strip` calls for each table that has a moment.
type ReplaceFn<'a> = dyn FnMut(&TableAtMoment, &mut ObjectName) -> Result<bool> + 'a;

/// The visitor behind `strip`.
pub struct Replace<'a> {
    replace: &'a mut ReplaceFn<'a>,
}

impl VisitorMut for Replace<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let table = match describe(factor) {
            Ok(Some(table)) if table.when.is_some() => table,
            Ok(_) => return ControlFlow::Continue(()),
            Err(error) => return ControlFlow::Break(error),
        };
        if let TableFactor::Table { name, version, .. } = factor {
            match (self.replace)(&table, name) {
                Ok(true) => *version = None,
                Ok(false) => return ControlFlow::Break(unresolved(&table)),
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}

fn describe(factor: &TableFactor) -> Result<Option<TableAtMoment>> {
    let TableFactor::Table { name, alias, version, args, .. } = factor else { return Ok(None) };
    let when = version.as_ref().map(when_of).transpose()?;
    if when.is_some() && args.is_some() {
        return Err(Error::unsupported("a moment of a table function"));
    }
    Ok(Some(TableAtMoment {
        name: name_parts(name),
        alias: alias.as_ref().map(|alias| alias.name.value.clone()),
        when,
        function: args.is_some(),
    }))
}

/// Returns the parts of a name without quotes.
pub fn name_parts(name: &ObjectName) -> Vec<String> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    };
    name.0.iter().map(part).collect()
}

/// Returns the moment that a table version of the syntax tree means.
pub fn when_of(version: &TableVersion) -> Result<When> {
    match version {
        TableVersion::ForSystemTimeAsOf(expr) | TableVersion::TimestampAsOf(expr) => Ok(time_of(expr.clone())),
        TableVersion::VersionAsOf(expr) => version_of(expr),
        TableVersion::Function(Expr::Function(function)) => {
            let FunctionArguments::List(list) = &function.args else { return Err(bad_moment(version)) };
            let [
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(value),
                    operator: FunctionArgOperator::RightArrow,
                },
            ] = list.args.as_slice()
            else {
                return Err(bad_moment(version));
            };
            if !function.name.to_string().eq_ignore_ascii_case("AT") || function.over.is_some() {
                return Err(bad_moment(version));
            }
            match name.value.to_ascii_uppercase().as_str() {
                "SNAPSHOT" => string(value).map(When::Snapshot).ok_or_else(|| bad_moment(version)),
                "TIMESTAMP" => Ok(time_of(value.clone())),
                "MO_TS" => mo_ts_of(value.clone()).ok_or_else(|| {
                    Error::syntax(format!("MO_TS = {value} is no moment: it counts nanoseconds since 1970, UTC"))
                }),
                "VERSION" => version_of(value),
                "REFERENCE" => Ok(match string(value) {
                    Some(text) => When::Reference(text),
                    None => When::Expr(Box::new(value.clone())),
                }),
                _ => Err(bad_moment(version)),
            }
        }
        _ => Err(bad_moment(version)),
    }
}

fn bad_moment(version: &TableVersion) -> Error {
    Error::syntax(format!("'{version}' is no moment: name a SNAPSHOT, a VERSION or a TIMESTAMP"))
}

/// Returns the moment that an expression in the place of a time means: literals at once, the rest to be evaluated.
pub(super) fn time_of(expr: Expr) -> When {
    if let Some(text) = string(&expr) {
        return When::Time(text);
    }
    match expr {
        Expr::TypedString(typed)
            if matches!(
                typed.data_type,
                DataType::Timestamp(..) | DataType::Datetime(..) | DataType::Date | DataType::Time(..)
            ) =>
        {
            match &typed.value.value {
                Value::SingleQuotedString(text) => When::Time(text.clone()),
                _ => When::Expr(Box::new(Expr::TypedString(typed))),
            }
        }
        Expr::Nested(inner) => time_of(*inner),
        Expr::Function(ref function) if function.name.to_string().eq_ignore_ascii_case("TIMESTAMP") => {
            match &function.args {
                FunctionArguments::List(list) => match list.args.as_slice() {
                    [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] if string(inner).is_some() => {
                        time_of(inner.clone())
                    }
                    _ => When::Expr(Box::new(expr)),
                },
                _ => When::Expr(Box::new(expr)),
            }
        }
        other => When::Expr(Box::new(other)),
    }
}

/// Returns what `{MO_TS = …}` means: nanoseconds since 1970, a time, or MatrixOne's `physical-logical`.
pub(super) fn mo_ts_of(expr: Expr) -> Option<When> {
    match &expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok().map(When::Nanos),
            Value::SingleQuotedString(text) => {
                let physical = text.split_once('-').and_then(|(physical, logical)| {
                    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                    (plain(physical) && plain(logical) && physical.len() > 4).then(|| physical.parse().ok()).flatten()
                });
                Some(physical.map_or_else(|| When::Time(text.clone()), When::Nanos))
            }
            _ => Some(When::Expr(Box::new(expr))),
        },
        _ => Some(When::Expr(Box::new(expr))),
    }
}

fn version_of(expr: &Expr) -> Result<When> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits
                .parse()
                .map(When::Version)
                .map_err(|_| Error::syntax(format!("'{digits}' is no version: versions are whole numbers"))),
            other => Err(Error::syntax(format!("{other} is no version: versions are whole numbers"))),
        },
        other => Err(Error::syntax(format!("{other} is no version: versions are whole numbers"))),
    }
}

fn string(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

//! What the planner needs of names before it sees a statement: session values put in, lower case, unique columns.
//!
//! ```text
//! AST ─ bind ─► @x, @@y, ?, DATABASE() are literals ─ fold ─► names in lower case, every output column has its own name
//! ```
//! DataFusion compares names with case and refuses two output columns of one name; MySQL does neither. The names that
//! clients see are worked out here too, from the source text. Nothing here resolves a name.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::common::ScalarValue;
use sqlparser::ast::{
    DataType, Expr, FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, TableAlias, TableFactor, TimezoneInfo, TypedString, UnaryOperator,
    Value, VisitMut, VisitorMut,
};

use crate::api;
use crate::error::{Error, Result};
use crate::functions::calendar;
use crate::parse;
use crate::walk;

/// Where the values of a session come from while a statement is bound.
pub trait Values {
    /// Returns a system variable; the name is without `@@` and scope.
    fn system(&self, name: &str, global: bool) -> Result<ScalarValue>;
    /// Returns a user variable; the name is without `@`.
    fn user(&self, name: &str) -> Result<ScalarValue>;
    /// Returns what a function without arguments says of the session, if there is one of this name.
    fn function(&self, name: &str) -> Option<ScalarValue>;
}

/// Replaces parameters, variables and functions of the session by literals. Returns whether the result depends on the
/// session, so that it must not be kept for another.
pub fn bind<T: VisitMut>(tree: &mut T, values: &dyn Values, parameters: &[api::Value]) -> Result<bool> {
    let mut binder = Binder { values, parameters, depends: false };
    match walk::visit_mut(tree, &mut binder) {
        ControlFlow::Continue(()) => Ok(binder.depends),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Binder<'a> {
    values: &'a dyn Values,
    parameters: &'a [api::Value],
    depends: bool,
}

impl Binder<'_> {
    fn replacement(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match expr {
            Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.starts_with('@') => {
                self.depends = true;
                match ident.value.strip_prefix("@@") {
                    Some(name) => Ok(Some(literal(&self.values.system(name, false)?))),
                    None => Ok(Some(literal(&self.values.user(&ident.value[1..])?))),
                }
            }
            Expr::CompoundIdentifier(parts) if parts[0].value.starts_with("@@") && parts.len() == 2 => {
                self.depends = true;
                let global = match parts[0].value[2..].to_ascii_lowercase().as_str() {
                    "global" => true,
                    "session" | "local" => false,
                    _ => return Err(unknown_variable(&format!("{}.{}", &parts[0].value[2..], parts[1].value))),
                };
                Ok(Some(literal(&self.values.system(&parts[1].value, global)?)))
            }
            Expr::Function(function) if function.over.is_none() && has_no_arguments(&function.args) => {
                let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return Ok(None) };
                let value = self.values.function(&name.value.to_ascii_lowercase());
                self.depends |= value.is_some();
                Ok(value.map(|value| literal(&value)))
            }
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) if !self.parameters.is_empty() => {
                    let number: usize = name.trim_start_matches('$').parse().unwrap_or(0);
                    let value = number.checked_sub(1).and_then(|at| self.parameters.get(at));
                    let value = value.ok_or_else(|| Error::wrong_arguments("Incorrect arguments to EXECUTE"))?;
                    Ok(Some(parameter(value)))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

impl VisitorMut for Binder<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.replacement(expr) {
            Ok(Some(replacement)) => *expr = replacement,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

fn has_no_arguments(arguments: &FunctionArguments) -> bool {
    match arguments {
        FunctionArguments::None => true,
        FunctionArguments::List(list) => list.args.is_empty() && list.clauses.is_empty(),
        FunctionArguments::Subquery(_) => false,
    }
}

pub(crate) fn unknown_variable(name: &str) -> Error {
    Error::new(1193, "HY000", format!("Unknown system variable '{name}'"))
}

/// Returns a value as an expression of the parser's.
pub fn literal(value: &ScalarValue) -> Expr {
    if value.is_null() {
        return plain(Value::Null);
    }
    match value {
        ScalarValue::Boolean(Some(value)) => number(i64::from(*value).to_string()),
        ScalarValue::Float32(_) | ScalarValue::Float64(_) => {
            // With an exponent it is a floating-point literal, without one a decimal.
            let text = value.to_string();
            let value: f64 = text.parse().unwrap_or(0.0);
            number(format!("{value:e}"))
        }
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            plain(Value::SingleQuotedString(text.clone()))
        }
        ScalarValue::Binary(Some(bytes)) | ScalarValue::LargeBinary(Some(bytes)) => hex(bytes),
        ScalarValue::TimestampMicrosecond(Some(micros), _) => {
            let fsp = if micros % 1_000_000 == 0 { 0 } else { 6 };
            plain(Value::SingleQuotedString(calendar::format_datetime(*micros, fsp)))
        }
        ScalarValue::DurationMicrosecond(Some(micros)) => plain(Value::SingleQuotedString(duration_text(*micros))),
        value if value.data_type().is_numeric() => number(value.to_string()),
        other => plain(Value::SingleQuotedString(other.to_string())),
    }
}

/// Returns a bound parameter as an expression of the parser's.
pub fn parameter(value: &api::Value) -> Expr {
    match value {
        api::Value::Null => plain(Value::Null),
        api::Value::Int(value) => number(value.to_string()),
        api::Value::UInt(value) => number(value.to_string()),
        api::Value::Float(value) => number(format!("{value:e}")),
        api::Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => plain(Value::SingleQuotedString(text.to_owned())),
            Err(_) => hex(bytes),
        },
        api::Value::DateTime { micros, date_only } => {
            let text = strandline_core::ids::Time(*micros).to_string();
            match date_only {
                true => typed(DataType::Date, text[..10].to_owned()),
                false => typed(DataType::Datetime(None), text),
            }
        }
        api::Value::Time(micros) => typed(DataType::Time(None, TimezoneInfo::None), duration_text(*micros)),
    }
}

/// Returns `DATE '…'` and the like.
fn typed(data_type: DataType, text: String) -> Expr {
    let value = Value::SingleQuotedString(text).into();
    Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: false })
}

/// Writes a duration as MySQL's TIME: `-12:34:56.000001`.
pub fn duration_text(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    let whole = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match micros % 1_000_000 {
        0 => whole,
        fraction => format!("{whole}.{fraction:06}"),
    }
}

fn plain(value: Value) -> Expr {
    Expr::Value(value.into())
}

fn number(text: String) -> Expr {
    match text.strip_prefix('-') {
        Some(positive) => {
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(plain(Value::Number(positive.to_owned(), false))) }
        }
        None => plain(Value::Number(text, false)),
    }
}

fn hex(bytes: &[u8]) -> Expr {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    plain(Value::HexStringLiteral(digits))
}

/// Brings all names of a query into lower case, gives tables at a moment an alias, and lets HAVING see aliases.
pub fn fold<T: VisitMut>(tree: &mut T) {
    let _ = walk::visit_mut(tree, &mut Folder);
}

struct Folder;

impl VisitorMut for Folder {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            fold_alias(&mut cte.alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        fold_select(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                fold_name(name);
                alias.iter_mut().for_each(fold_alias);
            }
            TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => {
                alias.iter_mut().for_each(fold_alias);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => fold_ident(ident),
            Expr::CompoundIdentifier(parts) => parts.iter_mut().for_each(fold_ident),
            Expr::QualifiedWildcard(name, _) => fold_name(name),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn fold_select(select: &mut Select) {
    for item in &mut select.projection {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => fold_ident(alias),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => fold_name(name),
            _ => {}
        }
    }
    for window in &mut select.named_window {
        fold_ident(&mut window.0);
    }
    for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
        fold_join(&mut join.join_operator);
    }
    if let Some(having) = &mut select.having {
        let aliases: HashMap<String, &Expr> = select
            .projection
            .iter()
            .filter_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.clone(), expr)),
                _ => None,
            })
            .collect();
        if !aliases.is_empty() {
            let _ = walk::expressions_mut(having, |expr| {
                if let Expr::Identifier(ident) = expr
                    && let Some(aliased) = aliases.get(&ident.value.to_lowercase())
                    && *aliased != expr
                {
                    *expr = Expr::Nested(Box::new((*aliased).clone()));
                }
                ControlFlow::<()>::Continue(())
            });
        }
    }
}

fn fold_join(operator: &mut JoinOperator) {
    let constraint = match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::StraightJoin(constraint) => constraint,
        _ => return,
    };
    if let JoinConstraint::Using(names) = constraint {
        names.iter_mut().for_each(fold_name);
    }
}

fn fold_alias(alias: &mut TableAlias) {
    fold_ident(&mut alias.name);
    alias.columns.iter_mut().for_each(|column| fold_ident(&mut column.name));
}

/// Brings the parts of a name into lower case.
pub fn fold_name(name: &mut ObjectName) {
    for part in &mut name.0 {
        if let ObjectNamePart::Identifier(ident) = part {
            fold_ident(ident);
        }
    }
}

fn fold_ident(ident: &mut Ident) {
    ident.value = ident.value.to_lowercase();
    // A quoted name is one that the planner leaves as it is.
    ident.quote_style = Some('`');
}

/// The names under which clients see the columns of a query, by the names that the planner knows.
#[derive(Clone, Debug, Default)]
pub struct Shown(HashMap<String, String>);

impl Shown {
    /// Returns what a client sees for an output column of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Adds the columns of a view under the names that it gives them.
    pub fn add(&mut self, columns: Vec<String>) {
        for column in columns {
            self.0.entry(column.to_lowercase()).or_insert(column);
        }
    }
}

/// Gives every output column of every SELECT its own name, and says what each is shown as: its alias, or its source
/// text. `text` is the statement's source. Call it before [`fold`].
pub fn name_columns(query: &mut Query, text: &str, options: parse::Options) -> Shown {
    let mut namer = Namer { text, options, shown: HashMap::new() };
    let _ = walk::visit_mut(query, &mut namer);
    Shown(namer.shown)
}

struct Namer<'a> {
    text: &'a str,
    options: parse::Options,
    shown: HashMap<String, String>,
}

impl VisitorMut for Namer<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let plain = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) => matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)),
            _ => true,
        };
        let mut texts = Vec::new();
        if !select.projection.iter().all(plain) {
            texts = parse::select_item_texts(self.text, select, self.options);
            if texts.len() != select.projection.len() {
                texts.clear();
            }
        }
        let wild = select
            .projection
            .iter()
            .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
        let mut taken: HashSet<String> = HashSet::new();
        for (at, item) in select.projection.iter_mut().enumerate() {
            let (expr, name, is_column) = match item {
                SelectItem::UnnamedExpr(expr) => {
                    let (name, is_column) = name_of(expr, texts.get(at).copied());
                    (&*expr, name, is_column)
                }
                SelectItem::ExprWithAlias { expr, alias } => (&*expr, alias.value.clone(), false),
                _ => continue,
            };
            let mut inner = name.to_lowercase();
            if taken.contains(&inner) || (wild && is_column) {
                inner = format!("{inner}:{at}");
            }
            let renamed = inner != name.to_lowercase();
            taken.insert(inner.clone());
            if !is_column || renamed {
                let alias = Ident::with_quote('`', inner.clone());
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
            // The outermost SELECT comes first: its names count.
            self.shown.entry(inner).or_insert(name);
        }
        ControlFlow::Continue(())
    }
}

/// Returns what an item without an alias is called, and whether it is a bare column.
fn name_of(expr: &Expr, source: Option<&str>) -> (String, bool) {
    match expr {
        Expr::Identifier(ident) if !ident.value.starts_with('@') => (ident.value.clone(), true),
        Expr::CompoundIdentifier(parts) if !parts[0].value.starts_with('@') => {
            (parts.last().map(|part| part.value.clone()).unwrap_or_default(), true)
        }
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => (text.clone(), false),
            _ => (source.map_or_else(|| expr.to_string(), str::to_owned), false),
        },
        other => (source.map_or_else(|| other.to_string(), str::to_owned), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration_text(-3_661_000_001), "-01:01:01.000001");
        assert_eq!(duration_text(838 * 3_600_000_000), "838:00:00");
    }
}

//! The pass over a parsed statement: syntax that DataFusion refuses or misreads becomes calls of our functions.
//!
//! It changes expressions only: no table, no clause. Aliases for column headers must be set before, from the
//! statement's own text.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator as Op, CaseWhen, DataType, DateTimeField, DuplicateTreatment, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, GroupByExpr, GroupByWithModifier,
    Ident, Interval, LimitClause, ObjectName, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, TableVersion, TableWithJoins, TrimWhereField, UnaryOperator, Value, Visit, VisitMut,
    Visitor, VisitorMut,
};

use crate::error::{Error, Result};
use crate::functions::calendar;
use crate::walk;

/// Rewrites every expression of a statement, and makes predicates of its conditions. Run it once per statement.
pub fn rewrite_statement(statement: &mut Statement) -> Result<()> {
    if let ControlFlow::Break(error) = walk::visit(statement, &mut Nesting::default()) {
        return Err(error);
    }
    run(statement)?;
    match statement {
        Statement::Update(update) => update.selection.iter_mut().for_each(truth),
        Statement::Delete(delete) => delete.selection.iter_mut().for_each(truth),
        _ => {}
    }
    Ok(())
}

fn run(node: &mut impl VisitMut) -> Result<()> {
    match walk::visit_mut(node, &mut Rewriter::default()) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// How many expressions the rewriter may write twice in one statement. Where one stands in another, they multiply.
const COPIES_MAX: usize = 20_000;

/// How often a CASE may stand in a function that stands in a CASE. The planner asks for the type of each twice, so that
/// what it does doubles with every one; a CASE that stands in a CASE itself costs nothing more.
const TURNS_MAX: usize = 12;

/// Watches how CASE and functions stand in one another.
#[derive(Default)]
struct Nesting {
    /// For every expression around the next one: whether the nearest of both kinds is a CASE, and the turns so far.
    path: Vec<(bool, usize)>,
}

impl Visitor for Nesting {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
        let (in_case, turns) = self.path.last().copied().unwrap_or((true, 0));
        let next = match expr {
            Expr::Case { .. } => (true, turns + usize::from(!in_case)),
            Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("if") => {
                (true, turns + usize::from(!in_case))
            }
            Expr::Function(_) | Expr::BinaryOp { .. } => (false, turns),
            _ => (in_case, turns),
        };
        self.path.push(next);
        if next.1 <= TURNS_MAX {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(Error::new(
            1436,
            "HY000",
            format!("CASE and IF stand in functions in one another more than {TURNS_MAX} times. Nest them less."),
        ))
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<Error> {
        self.path.pop();
        ControlFlow::Continue(())
    }
}

#[derive(Default)]
struct Rewriter {
    copies: Copies,
}

/// Counts the expressions that were written twice.
#[derive(Default)]
struct Copies(usize);

impl Copies {
    /// Counts what `expr` holds beside names and constants, before it is copied.
    fn charge<T: Visit>(&mut self, expr: &T) -> Result<()> {
        let _ = walk::expressions(expr, |part| {
            // A long list of plain rows copies each name and constant once: they do not multiply.
            let is_plain = matches!(
                part,
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::Tuple(_) | Expr::Nested(_)
            );
            self.0 += usize::from(!is_plain);
            if self.0 > COPIES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if self.0 <= COPIES_MAX {
            return Ok(());
        }
        Err(Error::new(
            1436,
            "HY000",
            "The statement's expressions stand too often in one another: comparisons of rows, averages and aliases in \
             HAVING are each written out. Nest them less.",
        ))
    }
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Rewriter {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter_mut().for_each(row_count);
                offset.iter_mut().for_each(|offset| row_count(&mut offset.value));
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                row_count(offset);
                row_count(limit);
            }
            None => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        order_by_totals(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        // A moment may be worded in more ways than a literal of MySQL's: '-10 minutes'.
        if let TableFactor::Table { version: Some(version), .. } = factor
            && let TableVersion::TimestampAsOf(moment) | TableVersion::ForSystemTimeAsOf(moment) = version
            && let Expr::TypedString(typed) = moment
            && let Value::SingleQuotedString(text) = &typed.value.value
        {
            *moment = string(text);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        bind_arrow(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        flow(rewrite(expr, &mut self.copies))
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if let Some(having) = &mut select.having {
            let mut aliases = Aliases { items: &select.projection, copies: &mut self.copies };
            walk::visit_mut(having, &mut aliases)?;
            truth(having);
        }
        select.selection.iter_mut().for_each(truth);
        for table in &mut select.from {
            join_conditions(table);
        }
        having_without_groups(select);
        flow(group_by(select))
    }
}

/// A number of rows: as many as there can be stands for more, and a bound text for its number.
fn row_count(expr: &mut Expr) {
    let Expr::Value(value) = expr else { return };
    let (Value::Number(text, _) | Value::SingleQuotedString(text)) = &value.value else { return };
    if let Ok(rows) = text.parse::<u64>() {
        value.value = Value::Number(rows.min(i64::MAX as u64).to_string(), false);
    }
}

/// Gives WITH ROLLUP the form that the planner knows, and refuses every other modifier.
fn group_by(select: &mut Select) -> Result<()> {
    let (exprs, modifiers) = match &mut select.group_by {
        GroupByExpr::Expressions(exprs, modifiers) => (exprs, modifiers),
        GroupByExpr::All(_) => return Err(Error::unsupported("GROUP BY ALL")),
    };
    match modifiers.as_slice() {
        [] => return Ok(()),
        [GroupByWithModifier::Rollup] => {}
        [other, ..] => return Err(Error::unsupported(format!("GROUP BY … {other}"))),
    }
    modifiers.clear();
    let items = &select.projection;
    let column = |expr: Expr| match &expr {
        Expr::Value(value) => {
            let Value::Number(place, _) = &value.value else { return expr };
            match place.parse::<usize>().ok().and_then(|place| items.get(place.checked_sub(1)?)) {
                Some(SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }) => item.clone(),
                _ => expr,
            }
        }
        _ => expr,
    };
    let columns = std::mem::take(exprs).into_iter().map(|expr| vec![column(expr)]).collect();
    *exprs = vec![Expr::Rollup(columns)];
    Ok(())
}

/// Rows of WITH ROLLUP come group by group, each total after what it adds up, unless the query says otherwise.
fn order_by_totals(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_ref() else { return };
    let GroupByExpr::Expressions(exprs, _) = &select.group_by else { return };
    let [Expr::Rollup(columns)] = exprs.as_slice() else { return };
    if query.order_by.is_some() || select.distinct.is_some() {
        return;
    }
    let key = |expr: Expr| OrderByExpr { expr, options: Default::default(), with_fill: None };
    let columns = columns.iter().flatten();
    let keys = columns.flat_map(|column| [key(call("grouping", vec![column.clone()])), key(column.clone())]).collect();
    query.order_by = Some(OrderBy { kind: OrderByKind::Expressions(keys), interpolate: None });
}

/// HAVING of a query that forms no groups is one more condition on its rows.
fn having_without_groups(select: &mut Select) {
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
        GroupByExpr::All(_) => true,
    };
    if grouped || select.having.is_none() {
        return;
    }
    let mut found = Aggregates::default();
    let _ = walk::visit(&select.projection, &mut found);
    let _ = walk::visit(&select.having, &mut found);
    if found.any {
        return;
    }
    let having = select.having.take();
    select.selection = match (select.selection.take(), having) {
        (Some(selection), Some(having)) => {
            let (selection, having) = (Expr::Nested(Box::new(selection)), Expr::Nested(Box::new(having)));
            Some(compare(selection, Op::And, having))
        }
        (selection, having) => selection.or(having),
    };
}

/// Looks for aggregates outside of subqueries.
#[derive(Default)]
struct Aggregates {
    depth: usize,
    any: bool,
}

impl Visitor for Aggregates {
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
        if let Expr::Function(function) = expr
            && self.depth == 0
            && function.over.is_none()
        {
            let name = function.name.to_string().trim_matches('`').to_ascii_lowercase();
            self.any |= matches!(
                name.as_str(),
                "count"
                    | "sum"
                    | "avg"
                    | "min"
                    | "max"
                    | "group_concat"
                    | "any_value"
                    | "first_value"
                    | "json_arrayagg"
                    | "json_objectagg"
                    | "bit_and"
                    | "bit_or"
                    | "bit_xor"
                    | "std"
                    | "stddev"
                    | "stddev_pop"
                    | "stddev_samp"
                    | "variance"
                    | "var_pop"
                    | "var_samp"
                    | "grouping"
            );
        }
        ControlFlow::Continue(())
    }
}

/// HAVING may name a column of the select list by its alias.
struct Aliases<'s> {
    items: &'s [SelectItem],
    copies: &'s mut Copies,
}

impl VisitorMut for Aliases<'_> {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Identifier(name) = expr else { return ControlFlow::Continue(()) };
        for item in self.items {
            if let SelectItem::ExprWithAlias { expr: aliased, alias } = item
                && alias.value.eq_ignore_ascii_case(&name.value)
                // A column under its own name stays what it is.
                && !matches!(aliased, Expr::Identifier(own) if own.value.eq_ignore_ascii_case(&name.value))
            {
                flow(self.copies.charge(aliased))?;
                *expr = Expr::Nested(Box::new(aliased.clone()));
                break;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The parser lets `->` bind weaker than comparisons: `d -> '$.a' = 1` comes as `d -> ('$.a' = 1)`. In MySQL a literal
/// path follows the arrow, so the arrow takes the first operand of what it was given.
fn bind_arrow(expr: &mut Expr) {
    let Expr::BinaryOp { left, op: op @ (Op::Arrow | Op::LongArrow), right } = expr else { return };
    if matches!(right.as_ref(), Expr::Value(_) | Expr::Nested(_)) {
        return;
    }
    let mut whole = take(right);
    let mut first = &mut whole;
    while let Expr::BinaryOp { left: inner, .. }
    | Expr::IsNull(inner)
    | Expr::IsNotNull(inner)
    | Expr::Like { expr: inner, .. }
    | Expr::RLike { expr: inner, .. }
    | Expr::InList { expr: inner, .. }
    | Expr::Between { expr: inner, .. } = first
    {
        first = inner;
    }
    let path = take(first);
    *first = Expr::BinaryOp { left: Box::new(take(left)), op: op.clone(), right: Box::new(path) };
    *expr = whole;
}

fn join_conditions(table: &mut TableWithJoins) {
    if let ast::TableFactor::NestedJoin { table_with_joins, .. } = &mut table.relation {
        join_conditions(table_with_joins);
    }
    for join in &mut table.joins {
        if let ast::TableFactor::NestedJoin { table_with_joins, .. } = &mut join.relation {
            join_conditions(table_with_joins);
        }
        use ast::JoinOperator as J;
        if let J::Join(ast::JoinConstraint::On(on))
        | J::Inner(ast::JoinConstraint::On(on))
        | J::Left(ast::JoinConstraint::On(on))
        | J::LeftOuter(ast::JoinConstraint::On(on))
        | J::Right(ast::JoinConstraint::On(on))
        | J::RightOuter(ast::JoinConstraint::On(on))
        | J::FullOuter(ast::JoinConstraint::On(on))
        | J::CrossJoin(ast::JoinConstraint::On(on))
        | J::StraightJoin(ast::JoinConstraint::On(on)) = &mut join.join_operator
        {
            truth(on);
        }
    }
}

/// Makes a predicate of an expression that is not one by its syntax.
fn truth(expr: &mut Expr) {
    if !is_predicate(expr) {
        let inner = take(expr);
        *expr = call("mysql_truth", vec![inner]);
    }
}

fn is_predicate(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_predicate(inner),
        Expr::BinaryOp { op, .. } => matches!(
            op,
            Op::Eq
                | Op::NotEq
                | Op::Lt
                | Op::LtEq
                | Op::Gt
                | Op::GtEq
                | Op::Spaceship
                | Op::And
                | Op::Or
                | Op::Xor
                | Op::PGOverlap
                | Op::StringConcat
        ),
        Expr::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, .. } => true,
        Expr::Value(value) => matches!(value.value, Value::Boolean(_)),
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsTrue(_) | Expr::IsFalse(_) => true,
        Expr::IsNotTrue(_) | Expr::IsNotFalse(_) | Expr::IsUnknown(_) | Expr::IsNotUnknown(_) => true,
        Expr::InList { .. } | Expr::InSubquery { .. } | Expr::Exists { .. } | Expr::Between { .. } => true,
        Expr::Like { .. } | Expr::AnyOp { .. } | Expr::AllOp { .. } => true,
        Expr::Function(function) => {
            let name = function.name.to_string();
            matches!(name.as_str(), "mysql_truth" | "mysql_regexp" | "mysql_like" | "mysql_xor")
        }
        _ => false,
    }
}

fn rewrite(expr: &mut Expr, copies: &mut Copies) -> Result<()> {
    match expr {
        Expr::Value(value) => {
            if let Some(changed) = literal(&value.value)? {
                *expr = changed;
            }
        }
        Expr::Prefixed { prefix, value } => {
            // A character set's introducer (`_utf8mb4 'x'`); `_binary` makes bytes.
            let inner = take(value);
            *expr = if prefix.value.eq_ignore_ascii_case("_binary") { call("cast_binary", vec![inner]) } else { inner };
        }
        Expr::Collate { expr: inner, collation } => {
            let name = collation.to_string().to_ascii_lowercase();
            if !name.contains("bin") {
                return Err(Error::unsupported(format!("COLLATE {collation}: texts compare as utf8mb4_bin")));
            }
            *expr = take(inner);
        }
        Expr::BinaryOp { left, op, right } => {
            if let Some(changed) = binary(left, op, right, copies)? {
                *expr = changed;
            }
        }
        Expr::UnaryOp { op, expr: inner } => {
            if matches!(op, UnaryOperator::Not | UnaryOperator::BangNot) {
                *op = UnaryOperator::Not;
                truth(inner);
                return Ok(());
            }
            let replaced = match op {
                UnaryOperator::Plus => take(inner),
                UnaryOperator::BitwiseNot => call("mysql_bit_not", vec![take(inner)]),
                UnaryOperator::Minus if !is_number(inner) => call("mysql_negate", vec![take(inner)]),
                _ => return Ok(()),
            };
            *expr = replaced;
        }
        Expr::IsTrue(inner) | Expr::IsFalse(inner) | Expr::IsNotTrue(inner) | Expr::IsNotFalse(inner) => truth(inner),
        Expr::IsUnknown(inner) | Expr::IsNotUnknown(inner) => truth(inner),
        Expr::InList { expr: inner, list, negated } if matches!(inner.as_ref(), Expr::Tuple(_)) => {
            let mut any: Option<Expr> = None;
            for item in list.drain(..) {
                let Some(equal) = tuple_comparison(inner, &Op::Eq, &item, copies)? else {
                    return Err(Error::new(1241, "21000", "Operand should contain the same number of columns"));
                };
                any = Some(match any {
                    None => equal,
                    Some(before) => compare(before, Op::Or, equal),
                });
            }
            let any = any.ok_or_else(|| Error::syntax("IN () has no values"))?;
            *expr = negate_if(Expr::Nested(Box::new(any)), *negated);
        }
        Expr::InSubquery { expr: inner, subquery, .. } => {
            if let Expr::Tuple(values) = inner.as_mut() {
                row_of(subquery.body.as_mut(), values.len())?;
                if subquery.limit_clause.is_none() {
                    subquery.order_by = None;
                }
                **inner = call("mysql_row_key", std::mem::take(values));
            }
        }
        Expr::Like { negated, expr: inner, pattern, escape_char: Some(escape), .. } => {
            let escape = match &escape.value {
                Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
                other => return Err(Error::unsupported(format!("ESCAPE {other}"))),
            };
            if escape == "\\" {
                if let Expr::Like { escape_char, .. } = expr {
                    *escape_char = None;
                }
                return Ok(());
            }
            let like = call("mysql_like", vec![take(inner), take(pattern), string(&escape)]);
            *expr = negate_if(like, *negated);
        }
        Expr::RLike { negated, expr: inner, pattern, .. } => {
            *expr = negate_if(call("mysql_regexp", vec![take(inner), take(pattern)]), *negated);
        }
        Expr::MemberOf(member) => {
            *expr = call("mysql_member_of", vec![take(&mut member.value), take(&mut member.array)]);
        }
        Expr::MatchAgainst { .. } => return Err(Error::unsupported("MATCH … AGAINST")),
        Expr::Cast { expr: inner, data_type, .. } => {
            let inner = take(inner);
            *expr = cast(inner, data_type)?;
        }
        Expr::Convert { expr: inner, data_type, charset, .. } => {
            let inner = take(inner);
            *expr = match (data_type, charset) {
                (Some(ty), _) => cast(inner, ty)?,
                (None, Some(charset)) if charset.to_string().eq_ignore_ascii_case("binary") => {
                    call("cast_binary", vec![inner])
                }
                _ => call("cast_char", vec![inner]),
            };
        }
        Expr::TypedString(typed) => {
            let text = match &typed.value.value {
                Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
                other => return Err(Error::syntax(format!("{other} is no date"))),
            };
            if let Some(changed) = typed_string(&typed.data_type, &text)? {
                *expr = changed;
            }
        }
        Expr::Extract { field, expr: inner, .. } => {
            *expr = call("mysql_extract", vec![string(&unit(field)), take(inner)]);
        }
        Expr::Ceil { expr: inner, .. } => *expr = call("ceil", vec![take(inner)]),
        Expr::Floor { expr: inner, .. } => *expr = call("floor", vec![take(inner)]),
        Expr::Position { expr: inner, r#in } => *expr = call("locate", vec![take(inner), take(r#in)]),
        Expr::Substring { expr: inner, substring_from, substring_for, .. } => {
            let mut arguments = vec![take(inner)];
            arguments.extend(substring_from.iter_mut().map(|expr| take(expr)));
            arguments.extend(substring_for.iter_mut().map(|expr| take(expr)));
            *expr = call("substring", arguments);
        }
        Expr::Trim { expr: inner, trim_where, trim_what, .. } => {
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "trim",
            };
            let mut arguments = vec![take(inner)];
            arguments.extend(trim_what.iter_mut().map(|expr| take(expr)));
            *expr = call(name, arguments);
        }
        Expr::Case { operand: Some(operand), conditions, .. } => {
            // The operand is worked out once, whatever it is.
            let mut values = vec![take(operand)];
            for (at, CaseWhen { condition, .. }) in conditions.iter_mut().enumerate() {
                values.push(std::mem::replace(condition, number(at as u64 + 1)));
            }
            **operand = call("mysql_case_index", values);
        }
        Expr::Case { operand: None, conditions, .. } => {
            conditions.iter_mut().for_each(|when| truth(&mut when.condition));
        }
        Expr::Function(function) => {
            if let Some(changed) = self::function(function, copies)? {
                *expr = changed;
            }
        }
        _ => {}
    }
    Ok(())
}

fn literal(value: &Value) -> Result<Option<Expr>> {
    Ok(match value {
        Value::Number(text, _) if text.contains(['e', 'E']) && !text.starts_with("0x") => {
            Some(call("mysql_double_literal", vec![string(text)]))
        }
        Value::DoubleQuotedString(text) | Value::NationalStringLiteral(text) => Some(string(text)),
        Value::SingleQuotedByteStringLiteral(text) | Value::DoubleQuotedByteStringLiteral(text) => {
            let bits = u64::from_str_radix(text, 2)
                .map_err(|_| Error::syntax(format!("b'{text}' has other digits than 0 and 1")))?;
            let length = text.len().div_ceil(8).max(1);
            let digits: String = bits.to_be_bytes()[8 - length..].iter().map(|byte| format!("{byte:02X}")).collect();
            Some(call("mysql_hex", vec![Expr::value(Value::HexStringLiteral(digits))]))
        }
        Value::HexStringLiteral(_) => Some(call("mysql_hex", vec![Expr::value(value.clone())])),
        _ => None,
    })
}

fn binary(left: &mut Box<Expr>, op: &Op, right: &mut Box<Expr>, copies: &mut Copies) -> Result<Option<Expr>> {
    Ok(match op {
        Op::Plus | Op::Minus => {
            let name = if *op == Op::Plus { "mysql_date_add" } else { "mysql_date_sub" };
            if let Expr::Interval(interval) = right.as_mut() {
                let (amount, unit) = interval_parts(interval)?;
                Some(call(name, vec![take(left), amount, string(&unit)]))
            } else if let (Expr::Interval(interval), Op::Plus) = (left.as_mut(), op) {
                let (amount, unit) = interval_parts(interval)?;
                Some(call(name, vec![take(right), amount, string(&unit)]))
            } else {
                None
            }
        }
        Op::Arrow => Some(call("json_extract", vec![take(left), take(right)])),
        Op::LongArrow => Some(call("json_unquote", vec![call("json_extract", vec![take(left), take(right)])])),
        Op::StringConcat => Some(compare(take(left), Op::Or, take(right))),
        Op::PGOverlap => Some(compare(take(left), Op::And, take(right))),
        Op::Regexp => Some(call("mysql_regexp", vec![take(left), take(right)])),
        Op::Match => Some(call("mysql_regexp", vec![take(left), take(right)])),
        Op::Eq | Op::NotEq if matches!((left.as_ref(), right.as_ref()), (Expr::Tuple(_), Expr::Subquery(_))) => {
            let (Expr::Tuple(values), Expr::Subquery(query)) = (left.as_mut(), right.as_mut()) else {
                unreachable!("matched above")
            };
            row_of(query.body.as_mut(), values.len())?;
            **left = call("mysql_row_key", std::mem::take(values));
            None
        }
        _ => tuple_comparison(left, op, right, copies)?,
    })
}

/// Makes one value of each row of a query, to compare rows by.
fn row_of(body: &mut SetExpr, columns: usize) -> Result<()> {
    match body {
        SetExpr::Select(select) => {
            let mut values = Vec::with_capacity(columns);
            for item in select.projection.drain(..) {
                match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => values.push(expr),
                    _ => return Err(Error::unsupported("(a, b) IN (SELECT * …); name the columns")),
                }
            }
            if values.len() != columns {
                return Err(Error::new(1241, "21000", format!("Operand should contain {columns} column(s)")));
            }
            let expr = call("mysql_row_key", values);
            select.projection = vec![SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('`', "row") }];
            Ok(())
        }
        SetExpr::SetOperation { left, right, .. } => {
            row_of(left, columns)?;
            row_of(right, columns)
        }
        SetExpr::Query(query) => row_of(query.body.as_mut(), columns),
        other => Err(Error::unsupported(format!("(a, b) IN ({other})"))),
    }
}

/// Compares rows of values column by column.
fn tuple_comparison(left: &Expr, op: &Op, right: &Expr, copies: &mut Copies) -> Result<Option<Expr>> {
    if !matches!((left, right), (Expr::Tuple(_), Expr::Tuple(_))) {
        return Ok(None);
    }
    copies.charge(left)?;
    copies.charge(right)?;
    let (Expr::Tuple(left), Expr::Tuple(right)) = (left, right) else { return Ok(None) };
    if left.len() != right.len() {
        return Err(Error::new(1241, "21000", format!("Operand should contain {} column(s)", left.len())));
    }
    let each = |op: Op, join: Op| {
        let pairs = left.iter().zip(right).map(|(left, right)| compare(left.clone(), op.clone(), right.clone()));
        pairs.reduce(|before, next| compare(before, join.clone(), next)).map(|all| Expr::Nested(Box::new(all)))
    };
    match op {
        Op::Eq => Ok(each(Op::Eq, Op::And)),
        Op::Spaceship => Ok(each(Op::Spaceship, Op::And)),
        Op::NotEq => Ok(each(Op::NotEq, Op::Or)),
        Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => {
            // (a, b) < (c, d) is a < c OR (a = c AND b < d).
            let strict = match op {
                Op::Lt | Op::LtEq => Op::Lt,
                _ => Op::Gt,
            };
            let mut tail: Option<Expr> = None;
            for (left, right) in left.iter().zip(right).rev() {
                tail = Some(match tail {
                    None => compare(left.clone(), op.clone(), right.clone()),
                    Some(tail) => {
                        let equal = compare(left.clone(), Op::Eq, right.clone());
                        let further = Expr::Nested(Box::new(compare(equal, Op::And, tail)));
                        let before = compare(left.clone(), strict.clone(), right.clone());
                        Expr::Nested(Box::new(compare(before, Op::Or, further)))
                    }
                });
            }
            Ok(tail)
        }
        _ => Ok(None),
    }
}

fn interval_parts(interval: &mut Interval) -> Result<(Expr, String)> {
    let Some(field) = &interval.leading_field else {
        return Err(Error::syntax("An INTERVAL needs a unit, such as INTERVAL 1 DAY"));
    };
    let mut name = unit(field);
    if let Some(last) = &interval.last_field {
        name = format!("{name}_{}", unit(last));
    }
    Ok((take(&mut interval.value), name))
}

fn unit(field: &DateTimeField) -> String {
    let name = field.to_string().to_ascii_uppercase();
    // Plurals are another dialect's; a unit is named in the singular.
    match name.as_str() {
        "YEARS" | "MONTHS" | "WEEKS" | "DAYS" | "HOURS" | "MINUTES" | "SECONDS" | "MICROSECONDS" => {
            name[..name.len() - 1].to_owned()
        }
        _ => name,
    }
}

fn cast(inner: Expr, ty: &DataType) -> Result<Expr> {
    use DataType as D;
    let with = |name: &str, extra: Vec<u64>| {
        let mut arguments = vec![inner.clone()];
        arguments.extend(extra.into_iter().map(number));
        call(name, arguments)
    };
    let length = |length: &Option<ast::CharacterLength>| match length {
        Some(ast::CharacterLength::IntegerLength { length, .. }) => vec![*length],
        _ => Vec::new(),
    };
    let fsp = |fsp: &Option<u64>| -> Result<Vec<u64>> {
        match fsp.unwrap_or(0) {
            fsp @ 0..=6 => Ok(vec![fsp]),
            fsp => {
                Err(Error::new(1426, "42000", format!("Too-big precision {fsp} specified for 'CAST'. Maximum is 6.")))
            }
        }
    };
    Ok(match ty {
        D::Signed | D::SignedInteger | D::Int(_) | D::Integer(_) | D::BigInt(_) => with("cast_signed", vec![]),
        D::Unsigned | D::UnsignedInteger | D::IntUnsigned(_) | D::BigIntUnsigned(_) => with("cast_unsigned", vec![]),
        D::Char(size) | D::Character(size) | D::Varchar(size) | D::Nvarchar(size) => with("cast_char", length(size)),
        D::Text | D::String(_) => with("cast_char", vec![]),
        D::Binary(size) => with("cast_binary", size.iter().copied().collect()),
        D::Varbinary(_) | D::Blob(_) => with("cast_binary", vec![]),
        D::Date => with("cast_date", vec![]),
        D::Datetime(digits) | D::Timestamp(digits, _) => with("cast_datetime", fsp(digits)?),
        D::Time(digits, _) => with("cast_time", fsp(digits)?),
        D::Decimal(_) | D::Numeric(_) | D::Dec(_) => match crate::types::MySqlType::from_ast(ty)? {
            crate::types::MySqlType::Decimal { precision, scale, .. } => {
                with("cast_decimal", vec![u64::from(precision), u64::from(scale)])
            }
            _ => return Err(Error::unsupported(format!("CAST AS {ty}"))),
        },
        D::Double(_) | D::DoublePrecision | D::Real | D::Float8 => with("cast_double", vec![]),
        D::Float(_) | D::Float4 => with("cast_float", vec![]),
        D::JSON => with("cast_json", vec![]),
        D::Custom(name, _) if name.to_string().eq_ignore_ascii_case("year") => with("cast_year", vec![]),
        D::Custom(name, _) if name.to_string().eq_ignore_ascii_case("nchar") => with("cast_char", vec![]),
        other => return Err(Error::unsupported(format!("CAST AS {other}"))),
    })
}

fn typed_string(ty: &DataType, text: &str) -> Result<Option<Expr>> {
    let wrong = |name: &str| Error::new(1525, "HY000", format!("Incorrect {name} value: '{text}'"));
    Ok(match ty {
        DataType::Date => {
            let parsed = calendar::parse_datetime(text).filter(|parsed| parsed.complete && !parsed.has_time);
            let parsed = parsed.ok_or_else(|| wrong("DATE"))?;
            Some(call("cast_date", vec![string(&calendar::format_date(parsed.micros / calendar::DAY))]))
        }
        DataType::Timestamp(..) | DataType::Datetime(_) => {
            let parsed = calendar::parse_datetime(text).filter(|parsed| parsed.complete);
            let parsed = parsed.ok_or_else(|| wrong("DATETIME"))?;
            let canonical = calendar::format_datetime(parsed.micros, parsed.fsp);
            Some(call("cast_datetime", vec![string(&canonical), number(u64::from(parsed.fsp))]))
        }
        DataType::Time(..) => {
            let parsed = calendar::parse_time(text).filter(|parsed| parsed.complete).ok_or_else(|| wrong("TIME"))?;
            Some(call("cast_time", vec![string(text), number(u64::from(parsed.fsp))]))
        }
        _ => None,
    })
}

fn function(function: &mut Function, copies: &mut Copies) -> Result<Option<Expr>> {
    let name = function.name.to_string().trim_matches('`').to_ascii_lowercase();
    if matches!(function.args, FunctionArguments::None)
        && matches!(
            name.as_str(),
            "current_timestamp"
                | "current_date"
                | "current_time"
                | "localtime"
                | "localtimestamp"
                | "utc_timestamp"
                | "utc_date"
                | "utc_time"
        )
    {
        return Ok(Some(call(&name, vec![])));
    }
    let FunctionArguments::List(list) = &mut function.args else { return Ok(None) };
    let count = list.args.len();
    Ok(match (name.as_str(), count) {
        ("if", 3) => {
            let [condition, yes, no] = arguments(list, &name)?;
            let mut condition = condition;
            truth(&mut condition);
            Some(Expr::Case {
                case_token: ast::helpers::attached_token::AttachedToken::empty(),
                end_token: ast::helpers::attached_token::AttachedToken::empty(),
                operand: None,
                conditions: vec![CaseWhen { condition, result: yes }],
                else_result: Some(Box::new(no)),
            })
        }
        ("avg", 1) => {
            for argument in &list.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)) = argument {
                    copies.charge(inner)?;
                }
            }
            let (mut sum, mut rows) = (function.clone(), function.clone());
            if let FunctionArguments::List(list) = &mut sum.args {
                wrap_arguments(list, "mysql_summand");
            }
            sum.name = object("sum");
            rows.name = object("count");
            Some(call("mysql_average", vec![Expr::Function(sum), Expr::Function(rows)]))
        }
        ("sum", 1) => {
            wrap_arguments(list, "mysql_summand");
            None
        }
        ("std" | "stddev" | "stddev_pop" | "stddev_samp" | "variance" | "var_pop" | "var_samp", 1) => {
            wrap_arguments(list, "cast_double");
            match name.as_str() {
                "std" | "stddev" => rename(function, "stddev_pop"),
                "variance" => rename(function, "var_pop"),
                _ => None,
            }
        }
        ("any_value", 1) => rename(function, "first_value"),
        ("bit_and" | "bit_or" | "bit_xor", 1) => {
            wrap_arguments(list, "mysql_bits");
            let empty = if name == "bit_and" { u64::MAX } else { 0 };
            let empty = call("cast_unsigned", vec![number(empty)]);
            Some(call("coalesce", vec![Expr::Function(function.clone()), empty]))
        }
        ("count", 2..) if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) => {
            let key = FunctionArg::Unnamed(FunctionArgExpr::Expr(call("mysql_row_key", values(list, &name)?)));
            list.args = vec![key];
            None
        }
        ("group_concat", 1..) => {
            let mut items = values(list, &name)?;
            let value = if items.len() == 1 { items.remove(0) } else { call("concat", items) };
            let mut separator = ",".to_owned();
            list.clauses.retain(|clause| {
                if let FunctionArgumentClause::Separator(value) = clause {
                    separator = value.value.clone().into_string().unwrap_or_default();
                    return false;
                }
                true
            });
            let arguments = [call("cast_char", vec![value]), string(&separator)];
            list.args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
            None
        }
        ("date_add" | "adddate" | "date_sub" | "subdate", 2) => {
            let added = matches!(name.as_str(), "date_add" | "adddate");
            let [date, amount] = arguments(list, &name)?;
            let (amount, unit) = match amount {
                Expr::Interval(mut interval) => interval_parts(&mut interval)?,
                days if name.ends_with("date") => (days, "DAY".to_owned()),
                _ => return Err(Error::syntax(format!("{name} needs an INTERVAL"))),
            };
            let name = if added { "mysql_date_add" } else { "mysql_date_sub" };
            Some(call(name, vec![date, amount, string(&unit)]))
        }
        ("timestampadd", 3) => {
            let [unit, amount, date] = arguments(list, &name)?;
            Some(call("mysql_date_add", vec![date, amount, string(&unit_name(&unit)?)]))
        }
        ("timestampdiff", 3) => {
            let [unit, from, to] = arguments(list, &name)?;
            Some(call("mysql_timestampdiff", vec![string(&unit_name(&unit)?), from, to]))
        }
        ("timestamp", 1) => Some(call("mysql_timestamp", values(list, &name)?)),
        ("timestamp", 2) => Some(call("mysql_timestamp", values(list, &name)?)),
        ("ltrim" | "rtrim" | "trim", 1) => None,
        _ => None,
    })
}

fn wrap_arguments(list: &mut FunctionArgumentList, name: &str) {
    for argument in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(inner)) = argument {
            *inner = call(name, vec![take(inner)]);
        }
    }
}

fn rename(function: &mut Function, name: &str) -> Option<Expr> {
    function.name = object(name);
    None
}

/// A unit that stands as a bare word among arguments.
fn unit_name(expr: &Expr) -> Result<String> {
    match expr {
        Expr::Identifier(name) => {
            let name = name.value.to_ascii_uppercase();
            Ok(name.strip_prefix("SQL_TSI_").unwrap_or(&name).to_owned())
        }
        other => Err(Error::syntax(format!("{other} is no unit of time"))),
    }
}

fn values(list: &FunctionArgumentList, name: &str) -> Result<Vec<Expr>> {
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
            other => Err(Error::syntax(format!("{name} cannot take {other}"))),
        })
        .collect()
}

fn arguments<const N: usize>(list: &FunctionArgumentList, name: &str) -> Result<[Expr; N]> {
    let values = values(list, name)?;
    <[Expr; N]>::try_from(values).map_err(|_| Error::syntax(format!("{name} takes {N} arguments")))
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
}

fn compare(left: Expr, op: Op, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn negate_if(expr: Expr, negated: bool) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) } } else { expr }
}

fn string(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

fn number(value: u64) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

fn object(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::new(name)])
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Expr::Function(Function {
        name: object(name),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

//! Values of an INSERT as columns: literals and parameters straight into arrays, the rest through the planner.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, UInt64Type};
use sqlparser::ast::{self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator};
use strandline_core::txn::Txn;

use super::{Target, arrow, assign, repeated, to_utc};
use crate::api::Value;
use crate::error::{Error, Result};
use crate::plan::{Reading, Source};
use crate::session::State;
use crate::types::{self, Given, Mode};
use crate::warning::Warning;
use crate::{eval, parse, walk};

/// Rows that are ready for the transaction.
pub struct Built {
    /// In the table's order, without `_row_id`.
    pub rows: RecordBatch,
    pub auto: Auto,
}

/// What became of the AUTO_INCREMENT column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Auto {
    /// The first value that was made.
    pub made: Option<u64>,
    /// The last value that was given.
    pub given: Option<u64>,
}

impl Auto {
    /// Adds what later rows of the same statement did.
    pub fn and(self, later: Auto) -> Auto {
        Auto { made: self.made.or(later.made), given: later.given.or(self.given) }
    }
}

/// One value of a VALUES list.
enum Cell<'a> {
    Given(Given<'a>),
    /// DEFAULT, or DEFAULT(column) of the same column.
    Default,
    Expr(&'a Expr),
    /// An array of one row.
    Value(ArrayRef, FieldRef),
}

/// Makes rows of a VALUES list. `columns` are the positions of the columns that the list has values for.
pub async fn build(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    columns: &[usize],
    rows: &[&[Expr]],
    parameters: &[Value],
    mode: Mode,
) -> Result<Built> {
    for (at, row) in rows.iter().enumerate() {
        if row.len() != columns.len() && !(row.is_empty() && rows.len() == 1) {
            return Err(Error::new(1136, "21S01", format!("Column count doesn't match value count at row {}", at + 1)));
        }
    }
    let mut arrays: Vec<Option<ArrayRef>> = vec![None; target.table.columns.len()];
    if rows.iter().any(|row| !row.is_empty()) {
        // In the order of the list: a value can refer to those before it.
        for (place, at) in columns.iter().enumerate() {
            let mut cells = rows.iter().map(|row| cell_of(&row[place], parameters)).collect::<Result<Vec<_>>>()?;
            let referring = referring(state, txn, target, &cells, &arrays, parameters).await?;
            for (cell, value) in cells.iter_mut().zip(referring) {
                if let Some((array, field)) = value {
                    *cell = Cell::Value(array, field);
                }
            }
            arrays[*at] = Some(column_of(state, txn, target, *at, &cells, parameters, mode).await?);
        }
    }
    finish(state, txn, target, arrays, rows.len(), mode).await
}

/// Makes rows of columns that are converted already: fills in what is missing, numbers the AUTO_INCREMENT column, and
/// brings TIMESTAMPs to UTC.
pub async fn finish(
    state: &mut State,
    txn: &mut Txn,
    target: &Target,
    arrays: Vec<Option<ArrayRef>>,
    count: usize,
    mode: Mode,
) -> Result<Built> {
    let mut columns = Vec::with_capacity(arrays.len());
    let mut auto = Auto::default();
    for (at, array) in arrays.into_iter().enumerate() {
        let column = &target.table.columns[at];
        let array = if column.auto_increment {
            let (numbered, what) = number(state, txn, target, at, array, count).await?;
            auto = what;
            numbered
        } else {
            match array {
                Some(array) => array,
                None => default_of(state, txn, target, at, count, mode).await?,
            }
        };
        columns.push(to_utc(&array, &target.types[at], state)?);
    }
    Ok(Built { rows: target.rows(columns, count)?, auto })
}

fn cell_of<'a>(expr: &'a Expr, parameters: &'a [Value]) -> Result<Cell<'a>> {
    Ok(match expr {
        Expr::Value(value) => match &value.value {
            ast::Value::Placeholder(name) => {
                let number: usize = name.trim_start_matches('$').parse().unwrap_or(0);
                let value = number.checked_sub(1).and_then(|at| parameters.get(at));
                Cell::Given(Given::Value(
                    value.ok_or_else(|| Error::wrong_arguments("Incorrect arguments to EXECUTE"))?,
                ))
            }
            literal if is_plain(literal) => Cell::Given(Given::Literal(literal, false)),
            _ => Cell::Expr(expr),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => match inner.as_ref() {
            Expr::Value(value) if matches!(value.value, ast::Value::Number(..)) => {
                Cell::Given(Given::Literal(&value.value, true))
            }
            _ => Cell::Expr(expr),
        },
        Expr::UnaryOp { op: UnaryOperator::Plus, expr: inner } | Expr::Nested(inner) => cell_of(inner, parameters)?,
        Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("DEFAULT") => {
            Cell::Default
        }
        other => Cell::Expr(other),
    })
}

fn is_plain(literal: &ast::Value) -> bool {
    matches!(
        literal,
        ast::Value::Null
            | ast::Value::Boolean(_)
            | ast::Value::Number(..)
            | ast::Value::SingleQuotedString(_)
            | ast::Value::DoubleQuotedString(_)
            | ast::Value::NationalStringLiteral(_)
            | ast::Value::HexStringLiteral(_)
    )
}

/// Evaluates those of a column's cells that refer to columns of their row. These are the given ones so far; the others
/// have their default, or NULL.
async fn referring(
    state: &mut State,
    txn: &Txn,
    target: &Target,
    cells: &[Cell<'_>],
    so_far: &[Option<ArrayRef>],
    parameters: &[Value],
) -> Result<Vec<Option<(ArrayRef, FieldRef)>>> {
    let refers = |expr: &Expr| assign::names(expr, false, |name| target.position(name).is_ok());
    let exprs = cells
        .iter()
        .map(|cell| match cell {
            Cell::Expr(expr) => with_defaults((*expr).clone(), target).map(|expr| Some(expr).filter(refers)),
            _ => Ok(None),
        })
        .collect::<Result<Vec<Option<Expr>>>>()?;
    if exprs.iter().all(Option::is_none) {
        return Ok(vec![None; cells.len()]);
    }
    let mut columns = Vec::with_capacity(so_far.len());
    for (at, array) in so_far.iter().enumerate() {
        columns.push(match array {
            Some(array) => array.clone(),
            None if target.table.columns[at].default.is_some() => {
                default_of(state, txn, target, at, cells.len(), Mode::Ignore).await?
            }
            None => new_null_array(&target.table.columns[at].ty.arrow(), cells.len()),
        });
    }
    let visible = target.visible(columns, cells.len())?;
    let mut values = Vec::with_capacity(cells.len());
    for (row, expr) in exprs.into_iter().enumerate() {
        values.push(match expr {
            None => None,
            Some(expr) => {
                let reading = Reading { state, source: Source::Txn(txn) };
                let row = visible.slice(row, 1);
                Some(Box::pin(eval::over(reading, &target.table.name, &row, &[expr], parameters)).await?.swap_remove(0))
            }
        });
    }
    Ok(values)
}

/// Makes one column of the cells that stand for it.
async fn column_of(
    state: &mut State,
    txn: &Txn,
    target: &Target,
    at: usize,
    cells: &[Cell<'_>],
    parameters: &[Value],
    mode: Mode,
) -> Result<ArrayRef> {
    let column = &target.table.columns[at];
    let mut coercion = target.coercion(at, mode);
    coercion.nullable |= column.auto_increment;
    let given: Option<Vec<Given<'_>>> = cells
        .iter()
        .map(|cell| match cell {
            Cell::Given(given) => Some(*given),
            Cell::Default if column.auto_increment => Some(Given::Literal(&ast::Value::Null, false)),
            _ => None,
        })
        .collect();
    if let Some(given) = given {
        let done = types::coerce_given(given.into_iter(), coercion, 1)?;
        state.warnings.extend(done.warnings);
        return Ok(done.array);
    }
    let exprs: Vec<Expr> = cells
        .iter()
        .filter_map(|cell| match cell {
            Cell::Expr(expr) => Some((*expr).clone()),
            _ => None,
        })
        .collect();
    let reading = Reading { state, source: Source::Txn(txn) };
    let exprs: Vec<Expr> = exprs.into_iter().map(|expr| with_defaults(expr, target)).collect::<Result<_>>()?;
    let mut values = Box::pin(eval::constants(reading, &exprs, parameters)).await?.into_iter();
    let mut parts: Vec<ArrayRef> = Vec::with_capacity(cells.len());
    for (row, cell) in cells.iter().enumerate() {
        let row = row as u64 + 1;
        let coercion = target.coercion(at, mode);
        let done = match cell {
            Cell::Given(given) => types::coerce_given(std::iter::once(*given), coercion, row)?,
            Cell::Default => {
                parts.push(default_of(state, txn, target, at, 1, mode).await?);
                continue;
            }
            Cell::Value(array, field) => types::coerce_array(array, field, coercion, row)?,
            Cell::Expr(_) => {
                let (value, field) = values.next().expect("there is a value for every expression");
                let array = value.to_array().map_err(crate::failure::of_query)?;
                types::coerce_array(&array, &field, coercion, row)?
            }
        };
        state.warnings.extend(done.warnings);
        parts.push(done.array);
    }
    concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(arrow)
}

/// Puts a column's default in the place of DEFAULT(column).
pub fn with_defaults(mut expr: Expr, target: &Target) -> Result<Expr> {
    let mut failed = None;
    let _ = walk::expressions_mut(&mut expr, |expr| {
        if let Expr::Function(function) = expr
            && function.name.to_string().eq_ignore_ascii_case("DEFAULT")
            && let FunctionArguments::List(list) = &function.args
            && let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)))] = list.args.as_slice()
        {
            match target.position(&name.value).and_then(|at| default_expr(target, at)) {
                Ok(default) => *expr = default,
                Err(error) => failed = Some(error),
            }
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    failed.map_or(Ok(expr), Err)
}

/// Returns a column's default as an expression.
///
/// # Errors
/// 1364 where it has none.
pub fn default_expr(target: &Target, at: usize) -> Result<Expr> {
    let column = &target.table.columns[at];
    match &column.default {
        Some(text) => parse::parse_expr(text, parse::Options::default()),
        None if column.nullable || column.auto_increment => Ok(Expr::Value(ast::Value::Null.into())),
        None => Err(no_default(&column.name)),
    }
}

fn no_default(column: &str) -> Error {
    Error::new(1364, "HY000", format!("Field '{column}' doesn't have a default value"))
}

/// Returns `count` rows of a column that nobody gave a value for.
pub async fn default_of(
    state: &mut State,
    txn: &Txn,
    target: &Target,
    at: usize,
    count: usize,
    mode: Mode,
) -> Result<ArrayRef> {
    let column = &target.table.columns[at];
    let Some(text) = &column.default else {
        if column.nullable {
            return Ok(new_null_array(&column.ty.arrow(), count));
        }
        let error = no_default(&column.name);
        if mode == Mode::Strict {
            return Err(error);
        }
        state.warnings.push(Warning::warning(error.code, error.message));
        let null = std::iter::once(Given::Literal(&ast::Value::Null, false));
        return repeated(&types::coerce_given(null, target.coercion(at, Mode::Ignore), 1)?.array, count);
    };
    if let Some(now) = current_timestamp(state, target, at, text)? {
        return repeated(&now, count);
    }
    let expr = parse::parse_expr(text, parse::Options::default())?;
    if let Cell::Given(given) = cell_of(&expr, &[])? {
        return repeated(&types::coerce_given(std::iter::once(given), target.coercion(at, mode), 1)?.array, count);
    }
    // An expression is worked out for every row: UUID() differs.
    let rows = Arc::new(Int64Array::from_iter_values(0..count as i64));
    let schema = Arc::new(Schema::new(vec![Field::new("\u{1}row", DataType::Int64, false)]));
    let batch = RecordBatch::try_new(schema, vec![rows]).map_err(arrow)?;
    let reading = Reading { state, source: Source::Txn(txn) };
    let mut values = Box::pin(eval::over(reading, "\u{1}rows", &batch, &[expr], &[])).await?;
    let (array, field) = values.swap_remove(0);
    Ok(types::coerce_array(&array, &field, target.coercion(at, mode), 1)?.array)
}

/// Returns the statement's time where that is what `text` asks for, as the session's clock shows it.
pub fn current_timestamp(state: &State, target: &Target, at: usize, text: &str) -> Result<Option<ArrayRef>> {
    let text = text.trim().to_ascii_uppercase();
    let Some(rest) = text.strip_prefix("CURRENT_TIMESTAMP").or_else(|| text.strip_prefix("NOW")) else {
        return Ok(None);
    };
    let digits = rest.trim_matches(|c| matches!(c, '(' | ')' | ' '));
    let Ok(fsp) = (if digits.is_empty() { Ok(0) } else { digits.parse::<u32>() }) else { return Ok(None) };
    if fsp > 6 || target.table.columns[at].ty != strandline_core::schema::Type::DateTime {
        return Ok(None);
    }
    let local = state.zone()?.to_local(state.now.0);
    let unit = 10_i64.pow(6 - fsp);
    Ok(Some(Arc::new(TimestampMicrosecondArray::from(vec![local.div_euclid(unit) * unit]))))
}

/// Gives numbers to the rows whose AUTO_INCREMENT column is NULL, or 0 unless NO_AUTO_VALUE_ON_ZERO is set.
async fn number(
    state: &State,
    txn: &mut Txn,
    target: &Target,
    at: usize,
    array: Option<ArrayRef>,
    count: usize,
) -> Result<(ArrayRef, Auto)> {
    let table = &target.table;
    let column = &table.columns[at];
    let ty = column.ty.arrow();
    let keep_zero = state.variables.has_mode("NO_AUTO_VALUE_ON_ZERO");
    let Some(array) = array else {
        let first = txn.next_auto(table, count as u64).await?;
        let made = UInt64Array::from_iter_values(first..first + count as u64);
        return Ok((narrowed(Arc::new(made), &ty, &column.name)?, Auto { made: Some(first), given: None }));
    };
    let wide = cast(&array, &DataType::Int64).map_err(arrow)?;
    let wide = arrow::array::AsArray::as_primitive::<Int64Type>(&wide);
    // Beyond the signed range only the unsigned view tells.
    let unsigned = cast(&array, &DataType::UInt64).map_err(arrow)?;
    let unsigned = arrow::array::AsArray::as_primitive::<UInt64Type>(&unsigned);
    let wants = |row: usize| array.is_null(row) || (!keep_zero && unsigned.is_valid(row) && unsigned.value(row) == 0);
    let wanted = (0..count).filter(|row| wants(*row)).count();
    let mut auto = Auto::default();
    if wanted == 0 {
        if let Some(greatest) = arrow::compute::max(unsigned) {
            txn.saw_auto(table, greatest).await?;
            auto.given = (count > 0).then(|| unsigned.value(count - 1));
        }
        return Ok((array, auto));
    }
    let mut numbers: Vec<Option<i128>> = Vec::with_capacity(count);
    if wanted == count {
        let first = txn.next_auto(table, count as u64).await?;
        auto.made = Some(first);
        numbers.extend((0..count as u64).map(|row| Some(i128::from(first + row))));
    } else {
        for row in 0..count {
            if wants(row) {
                let next = txn.next_auto(table, 1).await?;
                auto.made = auto.made.or(Some(next));
                numbers.push(Some(i128::from(next)));
            } else if unsigned.is_valid(row) {
                txn.saw_auto(table, unsigned.value(row)).await?;
                auto.given = Some(unsigned.value(row));
                numbers.push(Some(i128::from(unsigned.value(row))));
            } else {
                numbers.push(Some(i128::from(wide.value(row))));
            }
        }
    }
    let array: ArrayRef = if ty == DataType::UInt64 {
        Arc::new(numbers.into_iter().map(|n| n.and_then(|n| u64::try_from(n).ok())).collect::<UInt64Array>())
    } else {
        Arc::new(numbers.into_iter().map(|n| n.and_then(|n| i64::try_from(n).ok())).collect::<Int64Array>())
    };
    Ok((narrowed(array, &ty, &column.name)?, auto))
}

/// Moves the AUTO_INCREMENT counter past the values that rows were given.
pub async fn saw_auto(txn: &mut Txn, target: &Target, values: &ArrayRef) -> Result<()> {
    // A negative value is NULL here, and moves nothing.
    let unsigned = cast(values, &DataType::UInt64).map_err(arrow)?;
    match arrow::compute::max(arrow::array::AsArray::as_primitive::<UInt64Type>(&unsigned)) {
        Some(greatest) => Ok(txn.saw_auto(&target.table, greatest).await?),
        None => Ok(()),
    }
}

fn narrowed(array: ArrayRef, ty: &DataType, column: &str) -> Result<ArrayRef> {
    let narrow = cast(&array, ty).map_err(arrow)?;
    if narrow.null_count() > 0 {
        let message = format!("Failed to read auto-increment value from storage engine: column '{column}' is used up");
        return Err(Error::new(1467, "HY000", message));
    }
    Ok(narrow)
}

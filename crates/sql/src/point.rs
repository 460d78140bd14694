//! The short way of `SELECT columns FROM t WHERE key = constant`: nothing is parsed twice and nothing is planned.
//!
//! A statement's text is cut at its constants; what is left is looked up among the shapes that were seen before. A shape
//! is worked out once, by the ordinary parser and planner, and holds as long as its table's definition. What is visible
//! is decided by the core, as for every read. Anything that does not fit takes the long way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use futures::StreamExt;
use futures::stream;
use sqlparser::ast::{Expr, GroupByExpr, LimitClause, Query, Select, SelectItem, SetExpr, Value as Literal};
use strandline_core::cold::encode_keys;
use strandline_core::grants::Privileges;
use strandline_core::schema::{Table, Type, same_name};

use crate::access::Rights;
use crate::api::{ColumnMeta, Outcome, Rows, Value};
use crate::by_key::{self, Constant};
use crate::dml;
use crate::error::Result;
use crate::interrupt::until;
use crate::parse::{self, Statement};
use crate::plan::Source;
use crate::session::Session;

/// The shapes of statements that a session has met.
#[derive(Default)]
pub struct Points {
    shapes: HashMap<String, Option<Arc<Shape>>>,
    /// How many columns they have together.
    columns: usize,
    /// The database and the options that the shapes were read with.
    database: Option<String>,
    options: parse::Options,
    /// The rights that they were found to suffice.
    rights: Option<Arc<Rights>>,
    /// Kept for its allocation.
    text: String,
}

impl Points {
    fn forget(&mut self) {
        self.shapes.clear();
        self.columns = 0;
    }
}

/// A look-up by key.
struct Shape {
    table: Arc<Table>,
    /// Per column of the key, which constant it must equal.
    key: Vec<(Type, usize)>,
    /// The constant after LIMIT.
    limit: Option<usize>,
    /// Positions in the physical schema.
    columns: Vec<usize>,
    metas: Vec<ColumnMeta>,
    schema: SchemaRef,
}

/// Longer texts are no look-ups.
const TEXT_BYTES_MAX: usize = 1024;
const SHAPES_MAX: usize = 512;
/// Of all shapes together: each column takes some hundred bytes.
const COLUMNS_MAX: usize = 8192;

/// Runs a statement if it is a look-up by key.
pub async fn execute(session: &mut Session, sql: &str, parameters: &[Value]) -> Option<Result<Outcome>> {
    if sql.len() > TEXT_BYTES_MAX || !sql.get(..6)?.eq_ignore_ascii_case("SELECT") {
        return None;
    }
    // The table that a past one is now decides who may read it: for the planner.
    let by_the_present = session.reads_the_past() && !session.state.rights.has_one_of(Privileges::SELECT);
    // A snapshot may show less than the table has.
    let is_partly = session.reads_snapshot();
    if by_the_present || is_partly || session.state.variables.select_limit().is_some() {
        return None;
    }
    let mut text = std::mem::take(&mut session.points.text);
    let values = cut(sql, parameters, &mut text);
    let shape = match &values {
        Some(_) => shape_of(session, &text).await,
        None => None,
    };
    session.points.text = text;
    let (shape, values) = (shape?, values?);
    if !session.state.variables.is_utc() {
        return None;
    }
    if let Some(limit) = shape.limit {
        match &values[limit] {
            Constant::Number(number) if *number >= 1 => {}
            _ => return None,
        }
    }
    let key = shape.key.iter().map(|(ty, at)| by_key::array(*ty, &values[*at])).collect::<Option<Vec<_>>>()?;
    let result = look_up(session, &shape, &key).await;
    if matches!(&result, Ok(None)) {
        // The table is not what it was: the long way, which will find the new shape.
        session.points.shapes.clear();
        return None;
    }
    session.state.warnings.clear();
    session.lists_warnings = false;
    session.autocommitted();
    let outcome = result.map(|rows| Outcome::Rows(rows.expect("it was checked to be there")));
    Some(session.finish(outcome))
}

/// Looks the key up. `None` if the shape is out of date.
async fn look_up(session: &mut Session, shape: &Shape, key: &[ArrayRef]) -> Result<Option<Rows>> {
    let keys = encode_keys(key)?;
    let reader = session.reader();
    let source = session.source(&reader);
    let current = source.catalog().table_by_id(shape.table.id);
    if !current.is_some_and(|table| Arc::ptr_eq(table, &shape.table)) {
        return Ok(None);
    }
    let table = &shape.table;
    let row = match source {
        Source::Moment(moment, _) => match moment.try_get(table, keys.get(0)) {
            Some(row) => row?,
            None => until(&session.ends_without_hint(), async { Ok(moment.get(table, keys.get(0)).await?) }).await?,
        },
        Source::Txn(txn) => match txn.try_get(table, keys.get(0)) {
            Some(row) => row?,
            None => until(&session.ends_without_hint(), async { Ok(txn.get(table, keys.get(0)).await?) }).await?,
        },
    };
    session.state.found_rows.store(u64::from(row.is_some()), Ordering::Relaxed);
    let batch = match row {
        None => None,
        Some(row) => {
            let columns = shape.columns.iter().map(|at| row.column(*at).clone()).collect();
            Some(Ok(RecordBatch::try_new(shape.schema.clone(), columns).map_err(dml::arrow)?))
        }
    };
    Ok(Some(Rows { columns: shape.metas.clone(), schema: shape.schema.clone(), batches: stream::iter(batch).boxed() }))
}

/// Returns the shape of a text whose constants were cut out, if it is a look-up by key.
async fn shape_of(session: &mut Session, text: &str) -> Option<Arc<Shape>> {
    let options = session.state.parse_options();
    let same_rights = session.points.rights.as_ref().is_some_and(|rights| Arc::ptr_eq(rights, &session.state.rights));
    if session.points.database != session.state.database || session.points.options != options || !same_rights {
        session.points.forget();
        session.points.rights = Some(session.state.rights.clone());
        session.points.database = session.state.database.clone();
        session.points.options = options;
    }
    if let Some(known) = session.points.shapes.get(text) {
        return known.clone();
    }
    let shape = work_out(session, text, options).await.map(Arc::new);
    let columns = shape.as_ref().map_or(0, |shape| shape.metas.len());
    if session.points.shapes.len() >= SHAPES_MAX || session.points.columns + columns > COLUMNS_MAX {
        session.points.forget();
    }
    session.points.columns += columns;
    session.points.shapes.insert(text.to_owned(), shape.clone());
    shape
}

async fn work_out(session: &mut Session, text: &str, options: parse::Options) -> Option<Shape> {
    let parsed = parse::parse_one(text, options).ok()?;
    let Statement::Query(query) = &parsed.statement else { return None };
    let (select, limit) = plain_select(query)?;
    let only = by_key::only_table(select).filter(|only| !only.past)?;
    let (name, alias) = (only.name, only.called);
    let database = only.database.or_else(|| session.state.database.clone())?;
    let reader = session.reader();
    let catalog = session.source(&reader).catalog().clone();
    let home = catalog.database(session.state.account, &database).ok()?;
    let table = catalog.table(home, &name).ok()?.clone();
    if table.is_view() || table.has_row_id() {
        return None;
    }
    let column_of = |expr: &Expr| -> Option<usize> {
        let name = by_key::column_name(expr, &alias)?;
        table.columns.iter().position(|column| same_name(&column.name, name))
    };
    let mut columns = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => columns.push(column_of(expr)?),
            SelectItem::Wildcard(_) => columns.extend(0..table.columns.len()),
            _ => return None,
        }
    }
    let mut equals = Vec::new();
    if !by_key::conjunction(select.selection.as_ref()?, &alias, placeholder, &mut equals) {
        return None;
    }
    let mut key = Vec::new();
    for id in &table.primary_key {
        let column = table.column_by_id(*id)?;
        let (_, constants) = equals.iter().find(|(name, _)| same_name(name, &column.name))?;
        let [constant] = constants.as_slice() else { return None };
        key.push((by_key::comparable(column)?, *constant));
    }
    if equals.len() != key.len() {
        return None;
    }
    // The names and types of the result are the planner's.
    let metas = session.describe(&parsed, &vec![Value::Int(1); parsed.parameters]).await.ok()?;
    if metas.len() != columns.len() {
        return None;
    }
    let physical = table.physical_schema();
    let fields: Vec<_> =
        columns.iter().zip(&metas).map(|(at, meta)| physical.field(*at).clone().with_name(&meta.name)).collect();
    Some(Shape { table, key, limit, columns, metas, schema: Arc::new(Schema::new(fields)) })
}

/// Returns the SELECT of a query that has nothing beside it but LIMIT, and the constant of that.
fn plain_select(query: &Query) -> Option<(&Select, Option<usize>)> {
    if !query.locks.is_empty()
        || query.with.is_some()
        || query.order_by.is_some()
        || query.fetch.is_some()
        || !query.pipe_operators.is_empty()
    {
        return None;
    }
    let limit = match &query.limit_clause {
        None => None,
        Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by }) if limit_by.is_empty() => {
            Some(placeholder(limit)?)
        }
        Some(_) => return None,
    };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty());
    let plain = select.distinct.is_none()
        && select.top.is_none()
        && select.into.is_none()
        && !grouped
        && select.having.is_none()
        && select.qualify.is_none()
        && select.named_window.is_empty();
    plain.then_some((select.as_ref(), limit))
}

fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Literal::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    }
}

/// Cuts the constants out of a text: `?` stands for each in `shape`. `None` for a text that cannot be a look-up.
fn cut<'a>(sql: &'a str, parameters: &'a [Value], shape: &mut String) -> Option<Vec<Constant<'a>>> {
    shape.clear();
    let bytes = sql.as_bytes();
    let mut constants = Vec::new();
    let mut given = parameters.iter();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        match byte {
            // Calls, comments, variables, moments, quoted names: for the parser.
            b'(' | b'#' | b'@' | b'{' | b'"' | b';' | b'\\' | b'/' => return None,
            b'-' => return None,
            b'`' => {
                let end = at + 1 + bytes[at + 1..].iter().position(|byte| *byte == b'`')?;
                shape.push_str(&sql[at..=end]);
                at = end + 1;
            }
            b'\'' => {
                let length = bytes[at + 1..].iter().position(|byte| matches!(byte, b'\'' | b'\\'))?;
                let end = at + 1 + length;
                // An escape or a doubled quote.
                if bytes[end] == b'\\' || bytes.get(end + 1) == Some(&b'\'') {
                    return None;
                }
                // `_utf8'…'`, `x'…'` and the like.
                if at > 0 && (is_word(bytes[at - 1])) {
                    return None;
                }
                constants.push(Constant::Text(&bytes[at + 1..end]));
                shape.push('?');
                at = end + 1;
            }
            b'?' => {
                constants.push(match given.next()? {
                    Value::Int(value) => Constant::Number(i128::from(*value)),
                    Value::UInt(value) => Constant::Number(i128::from(*value)),
                    Value::Bytes(bytes) => Constant::Text(bytes),
                    _ => Constant::Other,
                });
                shape.push('?');
                at += 1;
            }
            b'0'..=b'9' => {
                let length = bytes[at..].iter().take_while(|byte| is_word(**byte) || **byte == b'.').count();
                let text = &sql[at..at + length];
                constants.push(Constant::Number(text.parse().ok()?));
                shape.push('?');
                at += length;
            }
            byte if is_word(byte) => {
                let length = bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
                shape.push_str(&sql[at..at + length]);
                at += length;
            }
            _ => {
                shape.push(byte as char);
                at += 1;
            }
        }
    }
    Some(constants)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_cut_out() {
        let mut shape = String::new();
        let parameters = [Value::Int(7), Value::Bytes(b"x".to_vec())];
        let constants =
            cut("SELECT c1, t.`b c` FROM t WHERE a = ? AND b=42 AND c = 'é' AND d=?", &parameters, &mut shape);
        assert_eq!(shape, "SELECT c1, t.`b c` FROM t WHERE a = ? AND b=? AND c = ? AND d=?");
        assert_eq!(
            constants.unwrap(),
            [Constant::Number(7), Constant::Number(42), Constant::Text("é".as_bytes()), Constant::Text(b"x")]
        );
        for other in [
            "SELECT f(1)",
            "SELECT 1.5",
            "SELECT 'a''b'",
            "SELECT 'a\\'b'",
            "SELECT 1 -- x",
            "SELECT @a",
            "SELECT x'41'",
        ] {
            assert!(cut(other, &[], &mut shape).is_none(), "{other}");
        }
    }
}

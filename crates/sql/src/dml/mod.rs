//! Statements that change rows: INSERT, REPLACE, UPDATE, DELETE, LOAD DATA.
//!
//! Each finds its rows (from the text, or by a SELECT that the planner makes) and hands them to the transaction. None
//! goes through DataFusion's own hooks for writing: those lose predicates. The session commits, and takes back what a
//! statement that fails has written.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::compute::take;
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use sqlparser::ast::{BinaryOperator as Op, Expr, ObjectName, Visit, Visitor};
use strandline_core::grants::Privileges;
use strandline_core::schema::{Column, Database, Table, same_name};
use strandline_core::txn::Txn;

use crate::api::Value;
use crate::error::{Error, Result};
use crate::parse::{Statement, name_parts};
use crate::plan::{self, Reading, Source};
use crate::scan;
use crate::session::State;
use crate::types::{Mode, MySqlType};
use crate::warning::Warning;
use crate::{ddl, eval, walk};

mod assign;
mod delete;
mod insert;
pub mod load;
mod update;
mod values;

pub use insert::insert_rows;
pub use update::{Named, found_rows};

/// What a statement did to rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    pub affected: u64,
    /// Rows found, where that is not the same as rows changed.
    pub matched: Option<u64>,
    /// The first AUTO_INCREMENT value that was made, or what LAST_INSERT_ID(n) was given.
    pub last_insert_id: Option<u64>,
    /// An AUTO_INCREMENT value that was given: clients see it, LAST_INSERT_ID() does not.
    pub shown_insert_id: Option<u64>,
    pub info: String,
}

/// Carries out one statement in a transaction.
pub async fn execute(
    state: &mut State,
    txn: &mut Txn,
    statement: &Statement,
    text: &str,
    parameters: &[Value],
) -> Result<Effect> {
    let (ignore, guards) = match statement {
        Statement::Insert(insert) => (insert.ignore, guards_division(insert.as_ref())),
        Statement::Update(update) => (update.ignore, guards_division(&update.update)),
        Statement::Delete(delete) => (delete.ignore, guards_division(&delete.delete)),
        _ => (false, false),
    };
    if mode_of(state, ignore) == Mode::Strict && !guards {
        state.refuse_divisions();
    }
    let effect = match statement {
        Statement::Insert(insert) => Box::pin(insert::execute(state, txn, insert, text, parameters)).await,
        Statement::Update(update) => Box::pin(update::execute(state, txn, update, parameters)).await,
        Statement::Delete(delete) => Box::pin(delete::execute(state, txn, delete, parameters)).await,
        _ => Err(Error::internal("BUG: the statement changes no rows")),
    };
    state.hear();
    effect
}

/// A table to write to, with its columns' types read.
#[derive(Clone)]
pub struct Target {
    pub database: Arc<Database>,
    pub table: Arc<Table>,
    pub types: Vec<MySqlType>,
}

impl Target {
    /// Finds a base table.
    ///
    /// # Errors
    /// 1046, 1049, 1146 where it is not there; `not_writable` for a view.
    pub fn find(state: &State, txn: &Txn, database: Option<&str>, name: &str, statement: &str) -> Result<Target> {
        let database = database.or(state.database.as_deref());
        let database = database.ok_or_else(|| Error::new(1046, "3D000", "No database selected"))?;
        if ddl::is_virtual(database) {
            let (user, host) = state.author.rsplit_once('@').unwrap_or((&state.author, "%"));
            let message = format!("Access denied for user '{user}'@'{host}' to database '{database}'");
            return Err(Error::new(1044, "42000", message));
        }
        state.rights.require_any_on_table(database, name, if statement == "LOAD" { "INSERT" } else { statement })?;
        let (database, table) = plan::find_table(Source::Txn(txn), state.account, database, name)?;
        if table.is_view() {
            let (code, what) = match statement {
                "INSERT" => (1471, "insertable-into"),
                _ => (1288, "updatable"),
            };
            return Err(Error::new(code, "HY000", format!("The target table {name} of the {statement} is not {what}")));
        }
        Target::of(database, table)
    }

    pub fn of(database: Arc<Database>, table: Arc<Table>) -> Result<Target> {
        let types = table.columns.iter().map(|column| MySqlType::parse(&column.declared)).collect::<Result<_>>()?;
        Ok(Target { database, table, types })
    }

    /// Returns `shop.orders`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.database.name, self.table.name)
    }

    /// Asks for a privilege on the columns at these positions.
    ///
    /// # Errors
    /// 1142, 1143
    pub fn require(&self, state: &State, columns: &[usize], privilege: Privileges) -> Result<()> {
        let names = columns.iter().map(|at| self.table.columns[*at].name.as_str());
        state.rights.require_on_columns(&self.database.name, &self.table.name, names, privilege)
    }

    /// Asks for a privilege on the whole table.
    ///
    /// # Errors
    /// 1142
    pub fn require_whole(&self, state: &State, privilege: Privileges) -> Result<()> {
        state.rights.require_on_table(&self.database.name, &self.table.name, privilege)
    }

    /// Returns the position of a column.
    ///
    /// # Errors
    /// 1054
    pub fn position(&self, name: &str) -> Result<usize> {
        let found = self.table.columns.iter().position(|column| same_name(&column.name, name));
        found.ok_or_else(|| Error::unknown_column(name, "field list"))
    }

    /// Returns what values of a column are converted to.
    pub fn coercion(&self, at: usize, mode: Mode) -> crate::types::Target<'_> {
        let Column { name, nullable, .. } = &self.table.columns[at];
        crate::types::Target { ty: &self.types[at], column: name, nullable: *nullable, mode }
    }

    /// Makes rows of whole columns, in the table's order, without `_row_id`.
    pub fn rows(&self, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch> {
        let schema = self.table.physical_schema();
        let fields: Vec<_> = schema.fields().iter().take(columns.len()).cloned().collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(arrow)
    }

    /// Returns physical rows under the names that expressions know.
    pub fn logical(&self, rows: &RecordBatch, state: &State) -> Result<RecordBatch> {
        let columns = rows.columns()[..self.table.columns.len()]
            .iter()
            .zip(&self.types)
            .map(|(column, ty)| to_local(column, ty, state))
            .collect::<Result<Vec<_>>>()?;
        self.visible(columns, rows.num_rows())
    }

    /// Returns columns, one for each of the table's, under the names that expressions know.
    fn visible(&self, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch> {
        let schema = scan::logical_schema(&self.table, &self.database.name, false);
        // What a row holds while it is checked may be NULL where the column may not.
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map_err(arrow)
    }

    /// Fails if a row breaks a CHECK of the table. In ignoring mode such rows are left out, with a warning each.
    pub async fn check(&self, state: &mut State, txn: &Txn, rows: RecordBatch, mode: Mode) -> Result<RecordBatch> {
        let checks = ddl::attributes::checks(&self.table);
        if checks.is_empty() || rows.num_rows() == 0 {
            return Ok(rows);
        }
        let mut exprs = Vec::with_capacity(checks.len());
        for check in &checks {
            let expr = crate::parse::parse_expr(&check.expression, crate::parse::Options::default())?;
            exprs.push(sqlparser::ast::Expr::IsFalse(Box::new(sqlparser::ast::Expr::Nested(Box::new(expr)))));
        }
        let logical = self.logical(&rows, state)?;
        let reading = Reading { state, source: Source::Txn(txn) };
        let broken = Box::pin(eval::over(reading, &self.table.name, &logical, &exprs, &[])).await?;
        let mut keep = vec![true; rows.num_rows()];
        for ((broken, _), check) in broken.iter().zip(&checks) {
            let broken = arrow::compute::cast(broken, &arrow::datatypes::DataType::Boolean).map_err(arrow)?;
            let broken = arrow::array::AsArray::as_boolean(&broken);
            for (row, keep) in keep.iter_mut().enumerate() {
                if broken.is_valid(row) && broken.value(row) {
                    let message = format!("Check constraint '{}' is violated.", check.name);
                    if mode == Mode::Strict {
                        return Err(Error::new(3819, "HY000", message));
                    }
                    state.warnings.push(Warning::warning(3819, message));
                    *keep = false;
                }
            }
        }
        arrow::compute::filter_record_batch(&rows, &keep.into()).map_err(arrow)
    }
}

/// Tells whether a division stands under AND, OR or a choice. Both sides of these may be evaluated together, so that `d <> 0
/// AND n / d > 1` divides by zero where MySQL does not: it must not fail, and only warns.
fn guards_division(tree: &impl Visit) -> bool {
    struct Guards(usize);
    impl Visitor for Guards {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0 += usize::from(is_either(expr));
            let divides = match expr {
                Expr::BinaryOp { op, .. } => matches!(op, Op::Divide | Op::Modulo | Op::MyIntegerDivide),
                Expr::Function(function) => function.name.to_string().eq_ignore_ascii_case("MOD"),
                _ => false,
            };
            if divides && self.0 > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0 -= usize::from(is_either(expr));
            ControlFlow::Continue(())
        }
    }
    fn is_either(expr: &Expr) -> bool {
        match expr {
            Expr::BinaryOp { op, .. } => matches!(op, Op::And | Op::Or | Op::Xor),
            Expr::Case { .. } => true,
            Expr::Function(function) => {
                let name = function.name.to_string();
                ["IF", "IFNULL", "COALESCE"].iter().any(|lazy| name.eq_ignore_ascii_case(lazy))
            }
            _ => false,
        }
    }
    walk::visit(tree, &mut Guards(0)).is_break()
}

/// Returns the database and table that a name means.
pub fn split_name(name: &ObjectName) -> Result<(Option<String>, String)> {
    match name_parts(name).as_slice() {
        [name] => Ok((None, name.clone())),
        [database, name] => Ok((Some(database.clone()), name.clone())),
        _ => Err(Error::new(1102, "42000", format!("Incorrect table name '{name}'"))),
    }
}

/// Returns what happens to values that do not fit.
pub fn mode_of(state: &State, ignore: bool) -> Mode {
    if ignore || !state.variables.strict() { Mode::Ignore } else { Mode::Strict }
}

/// Converts what the session's clock shows to what is stored: TIMESTAMP is kept in UTC.
pub fn to_utc(array: &ArrayRef, ty: &MySqlType, state: &State) -> Result<ArrayRef> {
    shifted(array, ty, state, |zone, micros| zone.to_utc(micros))
}

/// Converts what is stored to what the session's clock shows.
pub fn to_local(array: &ArrayRef, ty: &MySqlType, state: &State) -> Result<ArrayRef> {
    shifted(array, ty, state, |zone, micros| zone.to_local(micros))
}

fn shifted(
    array: &ArrayRef,
    ty: &MySqlType,
    state: &State,
    shift: impl Fn(&crate::functions::settings::Zone, i64) -> i64,
) -> Result<ArrayRef> {
    if !matches!(ty, MySqlType::Timestamp(_)) || state.variables.is_utc() {
        return Ok(array.clone());
    }
    let zone = state.zone()?;
    let stored: &TimestampMicrosecondArray = arrow::array::AsArray::as_primitive::<TimestampMicrosecondType>(array);
    Ok(Arc::new(stored.unary::<_, TimestampMicrosecondType>(|micros| shift(&zone, micros))))
}

/// Repeats the only row of an array.
pub fn repeated(array: &ArrayRef, count: usize) -> Result<ArrayRef> {
    let indices = arrow::array::UInt32Array::from(vec![0; count]);
    take(array, &indices, None).map_err(arrow)
}

pub(crate) fn arrow(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("Arrow: {error}"))
}

//! The statements that neither read nor change rows of tables: definitions, SHOW, KILL, PREPARE, users and the rest.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use sqlparser::ast::{LimitClause, Query, SelectItem, SetExpr, WildcardAdditionalOptions};
use strandline_core::error::{Error as CoreError, Result as CoreResult};
use strandline_core::grants::Privileges;
use strandline_core::ids::TableId;
use strandline_core::schema::{Table, same_name};
use strandline_core::txn::Txn;

use crate::access::{Rights, roles};
use crate::api::{ColumnMeta, Done, Outcome, Rows, Value};
use crate::ddl::{self, Ddl, Queries, SelectColumn, Source as ColumnSource};
use crate::dml::{self, Target};
use crate::error::{Error, Result};
use crate::history::lost;
use crate::interrupt::{interruptible, until};
use crate::kept::Thing;
use crate::names;
use crate::parse::{self, Filter, Parsed, PrepareSource, Show, Statement, UserStatement};
use crate::passwords::hide_passwords;
use crate::plan::{self, Options, Planned, Reading, Source};
use crate::scan::meta;
use crate::session::{Session, State, Work};
use crate::show::{self, ShowAnswer};
use crate::types::{Mode, MySqlType};
use crate::warning::Warning;
use crate::{context, eval, run, types, users};

/// Carries out a statement of these kinds.
pub async fn execute(session: &mut Session, parsed: &Parsed, parameters: &[Value]) -> Result<Outcome> {
    match &parsed.statement {
        Statement::SelectInto { query, variables } => {
            let ends = session.ends(parsed);
            let work = async {
                session.lock_rows(parsed, query, parameters).await?;
                run::collect(session.plan_query(query, &parsed.text, parameters).await?).await
            };
            let found = until(&ends, Box::pin(work)).await?;
            select_into(session, variables, &found.batches)
        }
        Statement::Do(exprs) => {
            let reader = session.reader();
            let reading = session.reading(&reader);
            let interrupt = session.interrupt();
            interruptible(&interrupt, eval::constants(reading, exprs, parameters)).await?;
            Ok(done())
        }
        Statement::Show(statement) => Box::pin(show_rows(session, statement)).await,
        Statement::Describe { table, at, column } => {
            let reader = session.reader();
            let at = match at {
                Some(when) => Some(session.state.moment_at(when).await?),
                None => None,
            };
            let reading = session.reading_at(&reader, at.as_ref());
            let answer = context::with(reading, &[], |cx| show::describe(cx, table, column.as_deref()))?;
            Ok(Outcome::Rows(rows_of(answer)))
        }
        Statement::Kill { id, query } => {
            let id = u32::try_from(*id).map_err(|_| Error::new(1094, "HY000", format!("Unknown thread id: {id}")))?;
            may_kill(&session.state, id)?;
            session.state.engine.processes().kill(id, *query)?;
            Ok(done())
        }
        Statement::Prepare { name, source } => {
            let text = match source {
                PrepareSource::Text(text) => text.clone(),
                PrepareSource::Variable(variable) => session.state.variables.user(variable).to_string(),
            };
            let parsed = session.state.engine.parse(&text, session.state.parse_options())?;
            if matches!(
                parsed.statement,
                Statement::Prepare { .. } | Statement::Execute { .. } | Statement::Deallocate(_)
            ) {
                let message = "This command is not supported in the prepared statement protocol yet";
                return Err(Error::new(1295, "HY000", message));
            }
            let bytes = parse::weight(&text, session.state.parse_options());
            session.kept.put(Thing::Statement(name.to_lowercase()), bytes)?;
            session.prepared.insert(name.to_lowercase(), parsed);
            Ok(done())
        }
        Statement::Execute { name, using } => {
            let unknown =
                || Error::new(1243, "HY000", format!("Unknown prepared statement handler ({name}) given to EXECUTE"));
            let prepared = session.prepared.get(&name.to_lowercase()).cloned().ok_or_else(unknown)?;
            if using.len() != prepared.parameters {
                return Err(Error::wrong_arguments("Incorrect arguments to EXECUTE"));
            }
            let values = using.iter().map(|name| value_of(&session.state, name)).collect::<Vec<_>>();
            Box::pin(session.dispatch(&prepared, &values)).await
        }
        Statement::Deallocate(name) => match session.prepared.remove(&name.to_lowercase()) {
            Some(_) => {
                session.kept.forget(&Thing::Statement(name.to_lowercase()));
                Ok(done())
            }
            None => {
                let message = format!("Unknown prepared statement handler ({name}) given to DEALLOCATE PREPARE");
                Err(Error::new(1243, "HY000", message))
            }
        },
        Statement::LockTables(_) => {
            // Isolation is by snapshots; what a lock would keep others from seeing they do not see anyway.
            session.commit().await?;
            let message =
                "LOCK TABLES keeps nobody out: of two transactions that change the same row, the first to commit wins";
            session.state.warnings.push(Warning::note(1235, message));
            Ok(done())
        }
        Statement::UnlockTables => Ok(done()),
        Statement::User(UserStatement::SetRole(choice)) => {
            roles::set_active(&mut session.state, choice)?;
            Ok(done())
        }
        Statement::TableUpkeep { what, tables, options } => context::upkeep(session, *what, tables, options).await,
        _ => Box::pin(define(session, parsed)).await,
    }
}

/// Everybody may end their own connections; those of others need SUPER.
fn may_kill(state: &State, id: u32) -> Result<()> {
    let Some(user) = state.engine.processes().user(id) else { return Ok(()) };
    if state.is_own_login(&user) || (state.rights.has_one_of(Privileges::SUPER) && state.reaches_login(&user)) {
        return Ok(());
    }
    Err(Error::new(1095, "HY000", format!("You are not owner of thread {id}")))
}

/// Carries out what changes definitions, in a transaction of its own.
async fn define(session: &mut Session, parsed: &Parsed) -> Result<Outcome> {
    let statement = &parsed.statement;
    let text = &parsed.text;
    let done = session.alone(&Define { statement, text }).await?;
    if let Statement::DropDatabase { name, .. } = statement
        && session.state.database.as_ref().is_some_and(|current| same_name(current, name))
    {
        session.state.database = None;
    }
    Ok(Outcome::Done(done))
}

struct Define<'a> {
    statement: &'a Statement,
    text: &'a str,
}

impl Work<Done> for Define<'_> {
    fn run<'a>(&'a self, state: &'a mut State, txn: &'a mut Txn) -> BoxFuture<'a, Result<Done>> {
        Box::pin(async move {
            txn.set_what(what_of(self.text));
            let mut warnings = Vec::new();
            let named = lost::named(state, self.statement, txn.catalog())?;
            let done = {
                let zone = state.variables.time_zone().clone();
                let mut cx = Ddl {
                    txn,
                    account: state.account,
                    database: state.database.as_deref(),
                    user: &state.author,
                    rights: &state.rights,
                    foreign_key_checks: state.variables.foreign_key_checks(),
                    zone: &zone,
                    now: state.now,
                    warnings: &mut warnings,
                    queries: &Planner { state: &*state },
                };
                Box::pin(carry_out(&mut cx, self.statement, self.text)).await
            };
            if done.is_ok() {
                lost::note(&named, txn.catalog(), &mut warnings);
            }
            state.warnings.append(&mut warnings);
            done
        })
    }
}

async fn carry_out(cx: &mut Ddl<'_>, statement: &Statement, text: &str) -> Result<Done> {
    match statement {
        Statement::CreateTable(create) => {
            let select = create.query.as_ref().and_then(|query| query_text(query, text));
            ddl::create_table(cx, create, select).await
        }
        Statement::CreateView(create) => ddl::create_view(cx, create).await,
        Statement::AlterTable(alter) => ddl::alter_table(cx, alter).await,
        Statement::DropTable { tables, if_exists, temporary } => {
            ddl::drop_tables(cx, tables, *if_exists, *temporary).await
        }
        Statement::DropView { views, if_exists } => ddl::drop_views(cx, views, *if_exists).await,
        Statement::RenameTable(pairs) => ddl::rename_tables(cx, pairs).await,
        Statement::Truncate(name) => ddl::truncate_table(cx, name).await,
        Statement::CreateDatabase { name, if_not_exists, options } => {
            ddl::create_database(cx, name, *if_not_exists, options).await
        }
        Statement::AlterDatabase { name, options } => ddl::alter_database(cx, name.as_deref(), options).await,
        Statement::DropDatabase { name, if_exists } => ddl::drop_database(cx, name, *if_exists).await,
        Statement::CreateIndex { index, kind } => ddl::create_index(cx, index, *kind).await,
        Statement::DropIndex { name, table, if_exists } => ddl::drop_index(cx, table, name, *if_exists).await,
        Statement::User(statement) => users::user_statement(cx, statement).await,
        Statement::Account(statement) => users::account_statement(cx, statement).await,
        other => Err(Error::internal(format!("BUG: nothing carries out {other:?}"))),
    }
}

/// Sets a password, in a transaction of its own.
pub async fn set_password(session: &mut Session, user: Option<&parse::UserName>, password: &str) -> Result<()> {
    session.alone(&SetPassword { user, password }).await?;
    Ok(())
}

struct SetPassword<'a> {
    user: Option<&'a parse::UserName>,
    password: &'a str,
}

impl Work<Done> for SetPassword<'_> {
    fn run<'a>(&'a self, state: &'a mut State, txn: &'a mut Txn) -> BoxFuture<'a, Result<Done>> {
        Box::pin(async move {
            txn.set_what("SET PASSWORD");
            let zone = state.variables.time_zone().clone();
            let mut warnings = Vec::new();
            let mut cx = Ddl {
                txn,
                account: state.account,
                database: None,
                user: &state.author,
                rights: &state.rights,
                foreign_key_checks: true,
                zone: &zone,
                now: state.now,
                warnings: &mut warnings,
                queries: &Planner { state: &*state },
            };
            users::set_password(&mut cx, self.user, self.password).await
        })
    }
}

/// Returns the statement as the list of commits shows it: one line, not too long. Passwords do not get there.
fn what_of(text: &str) -> String {
    one_line(&hide_passwords(text))
}

fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > 120 {
        line.truncate(line.floor_char_boundary(117));
        line.push('…');
    }
    line
}

/// Returns the source of the query that a statement ends with.
fn query_text<'a>(query: &sqlparser::ast::Query, text: &'a str) -> Option<&'a str> {
    use sqlparser::ast::Spanned;
    let start = usize::try_from(query.span().start.column).ok()?.checked_sub(1)?;
    text.get(start..)
}

/// Returns a query that has no LIMIT of its own with this one.
pub(crate) fn with_limit(query: &Query, limit: u64) -> Option<Query> {
    let limited = query.limit_clause.is_some() || query.fetch.is_some() || matches!(*query.body, SetExpr::Query(_));
    if limited {
        return None;
    }
    let number = sqlparser::ast::Value::Number(limit.to_string(), false);
    let limit = Some(sqlparser::ast::Expr::Value(number.into()));
    let limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: Vec::new() });
    Some(Query { limit_clause, ..query.clone() })
}

/// Returns a query without its LIMIT, if FOUND_ROWS() is to count the rows without it: SQL_CALC_FOUND_ROWS.
pub(crate) fn without_limit(query: &Query) -> Option<Query> {
    let mut first = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = first {
        first = left;
    }
    let SetExpr::Select(select) = first else { return None };
    let counts = select.select_modifiers.as_ref().is_some_and(|modifiers| modifiers.sql_calc_found_rows);
    (counts && query.limit_clause.is_some()).then(|| Query { limit_clause: None, ..query.clone() })
}

fn select_into(session: &mut Session, variables: &[String], batches: &[RecordBatch]) -> Result<Outcome> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows > 1 {
        return Err(Error::new(1172, "42000", "Result consisted of more than one row"));
    }
    let Some(batch) = batches.first() else {
        session.state.warnings.push(Warning::warning(1329, "No data - zero rows fetched, selected, or processed"));
        return Ok(done());
    };
    if batch.num_columns() != variables.len() {
        return Err(Error::new(1222, "21000", "The used SELECT statements have a different number of columns"));
    }
    for (name, column) in variables.iter().zip(batch.columns()) {
        let value = datafusion::common::ScalarValue::try_from_array(column, 0).map_err(crate::failure::of_query)?;
        session.set_user(name, value)?;
    }
    Ok(Outcome::Done(Done { affected_rows: 1, ..Done::default() }))
}

/// Returns a user variable as a parameter.
fn value_of(state: &State, name: &str) -> Value {
    use datafusion::common::ScalarValue as S;
    match state.variables.user(name) {
        value if value.is_null() => Value::Null,
        S::Int8(Some(v)) => Value::Int(v.into()),
        S::Int16(Some(v)) => Value::Int(v.into()),
        S::Int32(Some(v)) => Value::Int(v.into()),
        S::Int64(Some(v)) => Value::Int(v),
        S::UInt8(Some(v)) => Value::UInt(v.into()),
        S::UInt16(Some(v)) => Value::UInt(v.into()),
        S::UInt32(Some(v)) => Value::UInt(v.into()),
        S::UInt64(Some(v)) => Value::UInt(v),
        S::Float32(Some(v)) => Value::Float(v.into()),
        S::Float64(Some(v)) => Value::Float(v),
        S::Boolean(Some(v)) => Value::Int(v.into()),
        S::Binary(Some(v)) | S::LargeBinary(Some(v)) => Value::Bytes(v),
        other => match names::literal(&other) {
            // A decimal keeps its digits as text, which converts to a number where one is wanted.
            sqlparser::ast::Expr::Value(value) => match value.value {
                sqlparser::ast::Value::SingleQuotedString(text) => Value::Bytes(text.into_bytes()),
                other => Value::Bytes(other.to_string().into_bytes()),
            },
            other => Value::Bytes(other.to_string().into_bytes()),
        },
    }
}

/// Answers SHOW.
async fn show_rows(session: &mut Session, statement: &Show) -> Result<Outcome> {
    let reader = session.reader();
    let at = match show::moment(statement) {
        Some(when) => Some(session.state.moment_at(when).await?),
        None => None,
    };
    let reading = session.reading_at(&reader, at.as_ref());
    let tables = match statement {
        Show::TableStatus { database, .. } => context::tables_of(reading, database.as_deref()),
        Show::CreateTable { table, .. } | Show::Index { table, .. } => {
            let mut tables = context::tables_of(reading, table.database.as_deref());
            tables.retain(|other| same_name(&other.name, &table.name));
            tables
        }
        _ => Vec::new(),
    };
    let sizes = context::sizes(reading, &tables).await;
    let answer = context::with(reading, &sizes, |cx| show::show(cx, statement))?;
    // LIKE has been applied where the answer was made.
    filtered(session, answer, show::filter(statement).filter(|filter| matches!(filter, Filter::Where(_)))).await
}

/// Returns an answer as a result, as far as it passes a filter. LIKE is of the first column.
pub(crate) async fn filtered(session: &mut Session, answer: ShowAnswer, filter: Option<&Filter>) -> Result<Outcome> {
    let condition = match filter {
        None => return Ok(Outcome::Rows(rows_of(answer))),
        Some(Filter::Like(pattern)) => return Ok(Outcome::Rows(rows_of(show::like::keep(answer, pattern)?))),
        Some(Filter::Where(condition)) => condition,
    };
    let reader = session.reader();
    let reading = session.reading(&reader);
    // WHERE sees the answer as a table.
    let fields: Vec<arrow::datatypes::Field> =
        answer.batch.schema().fields().iter().map(|field| eval::renamed(field, &field.name().to_lowercase())).collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), answer.batch.columns().to_vec()).map_err(dml::arrow)?;
    let provider =
        datafusion::datasource::MemTable::try_new(schema, vec![vec![batch]]).map_err(crate::failure::of_query)?;
    let options =
        Options { given: Some(("\u{1}shown".to_owned(), Arc::new(provider))), in_order: true, ..Options::default() };
    let mut query = eval::select(Vec::new(), vec![eval::table_named("\u{1}shown")]);
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    }
    eval::narrow(&mut query, Some((**condition).clone()), Vec::new(), None);
    let planned = plan::query(reading, &query, "", &[], &options).await?;
    let shown = run::collect(planned).await?;
    let schema = answer.batch.schema();
    let batches: Vec<Result<RecordBatch>> = shown
        .batches
        .into_iter()
        .map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(dml::arrow))
        .collect();
    Ok(Outcome::Rows(Rows { columns: answer.columns, schema, batches: stream::iter(batches).boxed() }))
}

/// Returns an answer as a result.
pub fn rows_of(answer: ShowAnswer) -> Rows {
    let schema = answer.batch.schema();
    Rows { columns: answer.columns, schema, batches: stream::iter([Ok(answer.batch)]).boxed() }
}

fn done() -> Outcome {
    Outcome::Done(Done::default())
}

/// The planner as defining statements see it.
struct Planner<'a> {
    state: &'a State,
}

impl Planner<'_> {
    async fn plan(&self, txn: &Txn, database: Option<&str>, select: &str, options: &Options) -> Result<Planned> {
        let parsed = parse::parse_one(select, self.state.parse_options())?;
        let Statement::Query(query) = &parsed.statement else {
            return Err(Error::syntax(format!("'{select}' is no query")));
        };
        let mut state = self.state.clone();
        state.database = database.map(str::to_owned);
        let reading = Reading { state: &state, source: Source::Txn(txn) };
        plan::query(reading, query, &parsed.text, &[], options).await
    }
}

/// What a defining statement reads to do its own work needs no right to read.
fn as_server() -> Options {
    Options { rights: Some(Arc::new(Rights::everything())), ..Options::default() }
}

#[async_trait]
impl Queries for Planner<'_> {
    async fn describe(&self, txn: &mut Txn, database: Option<&str>, select: &str) -> Result<Vec<SelectColumn>> {
        let planned = self.plan(txn, database, select, &Options::default()).await?;
        let metas = run::column_metas(planned.logical.schema(), &planned.shown);
        planned.logical.schema().fields().iter().zip(metas).map(|(field, meta)| select_column(field, meta)).collect()
    }

    async fn rows(&self, txn: &mut Txn, database: Option<&str>, select: &str) -> Result<Vec<RecordBatch>> {
        let planned = self.plan(txn, database, select, &as_server()).await?;
        Ok(run::collect(planned).await?.batches)
    }

    async fn convert(
        &self,
        txn: &mut Txn,
        old: &Arc<Table>,
        new: &Table,
        sources: Vec<ColumnSource>,
    ) -> Result<BoxStream<'static, CoreResult<RecordBatch>>> {
        let database = txn.catalog().database_by_id(old.database).cloned();
        let database = database.ok_or_else(|| Error::internal("a table lies in no database"))?;
        let mut exprs = Vec::new();
        for source in &sources {
            exprs.push(match source {
                ColumnSource::Column(id) => {
                    let column = old.column_by_id(*id).ok_or_else(|| Error::internal("a column has no source"))?;
                    eval::column(None, &column.name)
                }
                ColumnSource::Expression(text) => parse::parse_expr(text, parse::Options::default())?,
                ColumnSource::Sequence => sqlparser::ast::Expr::Value(sqlparser::ast::Value::Null.into()),
            });
        }
        let name = sqlparser::ast::ObjectName::from(vec![
            sqlparser::ast::Ident::with_quote('`', database.name.as_str()),
            sqlparser::ast::Ident::with_quote('`', old.name.as_str()),
        ]);
        let query = eval::select(exprs, vec![eval::table_factor(name, None)]);
        let reading = Reading { state: self.state, source: Source::Txn(txn) };
        let planned = plan::query(reading, &query, "", &[], &Options { in_order: true, ..as_server() }).await?;
        let fields = planned.logical.schema().fields().clone();
        let (_, mut batches) = run::start(planned).await?;
        let mut definition = new.clone();
        if definition.id == TableId::default() {
            definition.id = old.id;
        }
        let target = Target::of(database, Arc::new(definition))?;
        let state = self.state.clone();
        let converted = async_stream(move |sender: tokio::sync::mpsc::Sender<CoreResult<RecordBatch>>| async move {
            let mut row = 1;
            while let Some(batch) = batches.next().await {
                let converted = batch.and_then(|batch| {
                    let rows = convert_batch(&state, &target, &sources, &fields, &batch, row)?;
                    row += batch.num_rows() as u64;
                    Ok(rows)
                });
                let failed = converted.is_err();
                if sender.send(converted.map_err(CoreError::from)).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(converted)
    }

    async fn insert_select(
        &self,
        txn: &mut Txn,
        table: &Arc<Table>,
        columns: &[String],
        database: Option<&str>,
        select: &str,
    ) -> Result<u64> {
        let planned = self.plan(txn, database, select, &Options::default()).await?;
        let home = txn.catalog().database_by_id(table.database).cloned();
        let home = home.ok_or_else(|| Error::internal("a table lies in no database"))?;
        let target = Target::of(home, table.clone())?;
        let positions = columns.iter().map(|name| target.position(name)).collect::<Result<Vec<_>>>()?;
        let mut state = self.state.clone();
        dml::insert_rows(&mut state, txn, &target, &positions, planned).await
    }
}

fn convert_batch(
    state: &State,
    target: &Target,
    sources: &[ColumnSource],
    fields: &arrow::datatypes::Fields,
    batch: &RecordBatch,
    first_row: u64,
) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(sources.len());
    for (at, source) in sources.iter().enumerate() {
        let array = match source {
            ColumnSource::Sequence => {
                let numbers = first_row..first_row + batch.num_rows() as u64;
                let numbers: arrow::array::ArrayRef = Arc::new(arrow::array::UInt64Array::from_iter_values(numbers));
                arrow::compute::cast(&numbers, &target.table.columns[at].ty.arrow()).map_err(dml::arrow)?
            }
            _ => {
                let coercion = target.coercion(at, Mode::Strict);
                let done = types::coerce_array(batch.column(at), &fields[at], coercion, first_row)?;
                dml::to_utc(&done.array, &target.types[at], state)?
            }
        };
        columns.push(array);
    }
    target.rows(columns, batch.num_rows())
}

/// Runs a producer beside its consumer; the stream ends when the producer does.
fn async_stream<T: Send + 'static, F: Future<Output = ()> + Send + 'static>(
    produce: impl FnOnce(tokio::sync::mpsc::Sender<T>) -> F,
) -> BoxStream<'static, T> {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let producer = stream::once(produce(sender)).filter_map(async |()| None);
    let received = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|item| (item, receiver)));
    stream::select(received, producer).boxed()
}

/// Returns how a column of a query would be declared.
fn select_column(field: &arrow::datatypes::Field, shown: ColumnMeta) -> Result<SelectColumn> {
    use arrow::datatypes::DataType as D;
    let declared = match field.metadata().get(meta::DECLARED) {
        Some(declared) if MySqlType::parse(declared).is_ok_and(|ty| ty.storage().arrow() == *field.data_type()) => {
            declared.clone()
        }
        _ => match field.data_type() {
            D::Null => "binary(0)".to_owned(),
            D::Boolean => "int".to_owned(),
            D::Int8 => "tinyint".to_owned(),
            D::UInt8 => "tinyint unsigned".to_owned(),
            D::Int16 => "smallint".to_owned(),
            D::UInt16 => "smallint unsigned".to_owned(),
            D::Int32 => "int".to_owned(),
            D::UInt32 => "int unsigned".to_owned(),
            D::Int64 => "bigint".to_owned(),
            D::UInt64 => "bigint unsigned".to_owned(),
            D::Float16 | D::Float32 => "float".to_owned(),
            D::Float64 => "double".to_owned(),
            D::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
            D::Date32 => "date".to_owned(),
            D::Timestamp(..) | D::Date64 => "datetime(6)".to_owned(),
            D::Duration(_) | D::Time32(_) | D::Time64(_) => "time(6)".to_owned(),
            D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => "longblob".to_owned(),
            _ => "longtext".to_owned(),
        },
    };
    Ok(SelectColumn { name: shown.name, declared, nullable: field.is_nullable() })
}

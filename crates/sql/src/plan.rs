//! From a parsed query to a plan over one moment.
//!
//! Every table of a statement is resolved once, before planning, and all of them from the same moment (or from the moment
//! that the statement names for it): no commit can come between two look-ups. What the planner would drop silently,
//! a table's version, is resolved and taken out here, and anything left over is an error.

use std::collections::{BTreeSet, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::view::ViewTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{ScalarValue, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr as PlanExpr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use futures::future::BoxFuture;
use sqlparser::ast::{
    self, ObjectName, ObjectNamePart, Query, SelectItemQualifiedWildcardKind, TableAlias, TableFactor, VisitorMut,
};
use strandline_core::catalog::Catalog;
use strandline_core::grants::Privileges;
use strandline_core::ids::{AccountId, ColumnId, TableId, Version};
use strandline_core::moment::Moment;
use strandline_core::scan::TableScan;
use strandline_core::schema::{Database, Table};
use strandline_core::txn::Txn;
use strandline_core::when::Limit;

use crate::access::{self, Place, Rights};
use crate::by_key::Equals;
use crate::error::{Error, Result};
use crate::expressions;
use crate::failure;
use crate::names::{self, Shown};
use crate::parse::{self, TableAtMoment};
use crate::planning::PlanMemory;
use crate::rounds::RoundsMax;
use crate::scan::{Hidden, MomentTable};
use crate::session::State;
use crate::{api, context, ddl, hidden, names_of_database, planning, run, walk, wildcard};

/// What a statement reads: the session, and the moment or the transaction that it reads in.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    pub state: &'a State,
    pub source: Source<'a>,
}

/// Where rows come from.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A moment, and the snapshot through which it is read: only what that speaks of can be seen.
    Moment(&'a Moment, Option<&'a Limit>),
    /// A transaction's moment with its own writes over it.
    Txn(&'a Txn),
}

impl<'a> Source<'a> {
    pub fn catalog(&self) -> &Arc<Catalog> {
        match self {
            Source::Moment(moment, _) => moment.catalog(),
            Source::Txn(txn) => txn.catalog(),
        }
    }

    pub fn moment(&self) -> &Moment {
        match self {
            Source::Moment(moment, _) => moment,
            Source::Txn(txn) => txn.moment(),
        }
    }

    /// Returns the snapshot through which is read.
    pub fn limit(&self) -> Option<&'a Limit> {
        match self {
            Source::Moment(_, pin) => *pin,
            Source::Txn(_) => None,
        }
    }
}

/// A query, planned but not optimised. Its types are those of the rows to come.
pub struct Planned {
    pub logical: LogicalPlan,
    pub state: Arc<SessionState>,
    pub shown: Shown,
    pub scans: Vec<Scanned>,
    /// Counts what its plans take, as long as it is held.
    pub memory: Arc<PlanMemory>,
}

/// A table that a plan reads, for EXPLAIN.
#[derive(Clone, Debug)]
pub struct Scanned {
    pub database: String,
    pub table: String,
    pub version: Version,
    /// Only the rows that have the keys which the query names were looked for.
    pub by_key: bool,
    pub parts: usize,
    /// Visible rows, exactly.
    pub rows: u64,
    pub rows_in_memory: u64,
    /// The snapshot of some columns through which the table is read.
    pub limited: Option<(Limit, Arc<Table>)>,
}

/// How tables are shown to a plan.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Tables without a primary key show their hidden `_row_id`: for UPDATE and DELETE.
    pub with_row_id: bool,
    /// A table that is in nobody's catalog, under a name of one part.
    pub given: Option<(String, Arc<dyn TableProvider>)>,
    /// One stream of rows, in the order of the table.
    pub in_order: bool,
    /// Whose rights count, if not the session's.
    pub rights: Option<Arc<Rights>>,
    /// Tables that the statement writes: it has asked for what it reads of them by itself.
    pub written: Vec<TableId>,
    /// Only the names and types of the result are wanted: nothing is looked up but definitions.
    pub names_only: bool,
}

/// How deep views may stand in views.
const VIEW_DEPTH_MAX: usize = 32;

/// Plans a query. `text` is the source that its columns are named after.
pub async fn query(
    reading: Reading<'_>,
    query: &Query,
    text: &str,
    parameters: &[api::Value],
    options: &Options,
) -> Result<Planned> {
    let mut session = reading.state.planner_state()?;
    if options.in_order {
        session.config_mut().options_mut().execution.target_partitions = 1;
    }
    let rounds = match reading.state.variables.system("cte_max_recursion_depth")?.cast_to(&DataType::UInt64) {
        Ok(ScalarValue::UInt64(Some(rounds))) => rounds,
        _ => u64::MAX,
    };
    session.config_mut().set_extension(Arc::new(RoundsMax(rounds)));
    let session = Arc::new(session);
    let database = reading.state.database.as_ref().map(|name| name.to_lowercase());
    let memory = PlanMemory::new(&session.runtime_env().memory_pool);
    let job = Job { reading, session: &session, memory: &memory, query, text, parameters, options, database, depth: 0 };
    let (logical, shown, scans) = plan_in(job).await?;
    Ok(Planned { logical, state: session, shown, scans, memory })
}

/// One query to plan: the statement's own, or that of a view in it.
struct Job<'a> {
    reading: Reading<'a>,
    session: &'a Arc<SessionState>,
    /// Counts what the plans take.
    memory: &'a Arc<PlanMemory>,
    query: &'a Query,
    text: &'a str,
    parameters: &'a [api::Value],
    options: &'a Options,
    /// What names without a database mean.
    database: Option<String>,
    /// In how many views it stands.
    depth: usize,
}

fn plan_in(job: Job<'_>) -> BoxFuture<'_, Result<(LogicalPlan, Shown, Vec<Scanned>)>> {
    Box::pin(plan_here(job))
}

async fn plan_here(job: Job<'_>) -> Result<(LogicalPlan, Shown, Vec<Scanned>)> {
    let Job { reading, session, memory, query, text, parameters, options, database, depth } = job;
    let mut query = query.clone();
    let mut shown = names::name_columns(&mut query, text, reading.state.parse_options());
    let _ = walk::visit_mut(&mut query, &mut WithoutDual);
    names_of_database::replace(&mut query, reading)?;
    names::bind(&mut query, reading.state, parameters)?;
    query.locks.clear();
    let equals = Equals::of(&query);
    let mut statement = ast::Statement::Query(Box::new(query));
    expressions::rewrite_statement(&mut statement)?;
    names::fold(&mut statement);

    let versions = hidden::names_version(&statement);
    let mut tables = Tables { session: session.clone(), database, sources: HashMap::new(), missing: HashMap::new() };
    let mut scans = Vec::new();
    let mut withheld = Vec::new();
    let found = parse::moments(&statement)?;
    // A table that stands there once more is read as a whole.
    let equals = equals.filter(|_| found.len() == 1);
    let mut moved: Vec<(TableAtMoment, ObjectName)> = Vec::new();
    let mut scanned: HashMap<(String, String), Range<usize>> = HashMap::new();
    for table in found {
        if table.function {
            return Err(Error::unsupported(format!("the table function {}", table.name.join("."))));
        }
        let (database, name) = match table.name.as_slice() {
            [name] => (tables.database.clone(), name.clone()),
            [database, name] => (Some(database.clone()), name.clone()),
            _ => return Err(Error::new(1102, "42000", format!("Incorrect database name '{}'", table.name.join(".")))),
        };
        if let (Some((given, provider)), [only], None) = (&options.given, table.name.as_slice(), &table.when)
            && given == only
        {
            let key = (tables.database.clone().unwrap_or_default(), name);
            tables.sources.insert(key, provider_as_source(provider.clone()));
            continue;
        }
        let Some(database) = database else {
            tables.missing.insert((String::new(), name), Error::new(1046, "3D000", "No database selected"));
            continue;
        };
        let key = match &table.when {
            None => (database.clone(), name.clone()),
            // No table has a name with this in it.
            Some(_) => (database.clone(), format!("{name}\u{1}{}", moved.len())),
        };
        if let Some(of_table) = scanned.get(&key) {
            // It is scanned once for each time that it stands there.
            scans.extend_from_within(Range::clone(of_table));
            continue;
        }
        let scans_before = scans.len();
        let at = match &table.when {
            None => None,
            Some(when) => Some(reading.state.moment_at(when).await?),
        };
        let here = match &at {
            None => reading,
            Some((moment, pin)) => Reading { source: Source::Moment(moment, pin.as_ref()), ..reading },
        };
        let look = LookUp {
            reading: here,
            session,
            memory,
            options,
            past: table.when.is_some(),
            equals: equals.as_ref(),
            hidden: Hidden { row_id: options.with_row_id, version: versions },
            depth,
        };
        match resolve(look, &database, &name, &mut scans, &mut withheld).await {
            Ok((source, columns)) => {
                shown.add(columns);
                if table.when.is_some() {
                    let parts = [key.0.clone(), key.1.clone()];
                    let parts = parts.map(|part| ObjectNamePart::Identifier(ast::Ident::with_quote('`', part)));
                    moved.push((table, ObjectName(parts.to_vec())));
                }
                scanned.insert(key.clone(), scans_before..scans.len());
                tables.sources.insert(key, source);
            }
            // It may be the name of a common table expression.
            Err(error) if table.when.is_none() && matches!(error.code, 1044 | 1049 | 1142 | 1146) => {
                tables.missing.insert(key, error);
            }
            Err(error) => return Err(here.explain(&database, &name, error)),
        }
    }
    if !withheld.is_empty() {
        refuse_wildcards(&statement, &withheld, rights_of(reading, options))?;
    }
    if !moved.is_empty() {
        let _ = walk::visit_mut(&mut statement, &mut AliasVersions);
        parse::strip(&mut statement, |table, name| {
            let same = |(other, _): &&(TableAtMoment, ObjectName)| other.name == table.name && other.when == table.when;
            let Some((_, resolved)) = moved.iter().find(same) else { return Ok(false) };
            *name = resolved.clone();
            Ok(true)
        })?;
    }
    parse::ensure_stripped(&statement)?;
    if versions {
        hidden::leave_out_version(&mut statement, |database, name| {
            let database = database.map(str::to_owned).or_else(|| tables.database.clone()).unwrap_or_default();
            let source = tables.sources.get(&(database, name.to_owned()));
            // A view shows a column of this name only if it was made with one.
            source.is_some_and(|source| source.get_logical_plan().is_none() && hidden::has_version(&source.schema()))
        })?;
    }
    let missing = tables.missing.clone();
    let here = session.clone();
    let work = async move {
        let columns = |name: &_| tables.columns(name);
        wildcard::expand(&mut statement, &columns).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let parser = ParserOptions::from(&here.config_options().sql_parser);
        let plan = SqlToRel::new_with_options(&tables, parser).sql_statement_to_plan(statement)?;
        // A view gets its types with the query that it stands in.
        if depth > 0 {
            return Ok(plan);
        }
        here.analyzer().execute_and_check(plan, here.config_options(), |_, _| planning::look())
    };
    let logical = run::threads(session).work(memory, work).await.map_err(failure::of_query);
    let logical = logical.map_err(|error| {
        if let Some(((database, name), _)) = missing.iter().find(|(_, missing)| missing.message == error.message) {
            return reading.explain(database, name, error);
        }
        let error = name_left_out_column(error, &scans);
        name_withheld_column(error, &withheld, rights_of(reading, options))
    });
    Ok((logical?, shown, scans))
}

/// A table of which only some columns may be read.
struct Withheld {
    table: String,
    columns: Vec<String>,
}

/// Returns whose rights count.
fn rights_of<'a>(reading: Reading<'a>, options: &'a Options) -> &'a Arc<Rights> {
    options.rights.as_ref().unwrap_or(&reading.state.rights)
}

/// Refuses `*` of a table of which only some columns may be read.
fn refuse_wildcards(statement: &ast::Statement, withheld: &[Withheld], rights: &Rights) -> Result<()> {
    struct Wildcards<'a>(&'a [Withheld]);
    impl ast::Visitor for Wildcards<'_> {
        type Break = (String, String);
        fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<(String, String)> {
            let found = select.projection.iter().find_map(|item| match item {
                ast::SelectItem::Wildcard(_) => self.0.iter().find(|table| stands_in(select, table, None)),
                ast::SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let called = parse::name_parts(name).pop();
                    self.0.iter().find(|table| stands_in(select, table, called.as_deref()))
                }
                _ => None,
            });
            match found {
                Some(table) => ControlFlow::Break((table.table.clone(), table.columns[0].clone())),
                None => ControlFlow::Continue(()),
            }
        }
    }
    match walk::visit(statement, &mut Wildcards(withheld)) {
        ControlFlow::Break((table, column)) => Err(rights.denied_column(Privileges::SELECT, &column, &table)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Tells whether a SELECT reads a table itself, under the name `called` where one is given.
fn stands_in(select: &ast::Select, table: &Withheld, called: Option<&str>) -> bool {
    let joined = |from: &ast::TableWithJoins| {
        let factors = std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation));
        factors.cloned().collect::<Vec<_>>()
    };
    select.from.iter().flat_map(joined).any(|factor| match factor {
        TableFactor::Table { name, alias, .. } => {
            let name = parse::name_parts(&name).pop().unwrap_or_default();
            let alias = alias.map_or_else(|| name.clone(), |alias| alias.name.value);
            name.eq_ignore_ascii_case(&table.table) && called.is_none_or(|called| called.eq_ignore_ascii_case(&alias))
        }
        // To look inside would tell no more than whether a right too many is asked for.
        TableFactor::NestedJoin { .. } => true,
        _ => false,
    })
}

/// Where a column is unknown because it may not be read, says so.
fn name_withheld_column(error: Error, withheld: &[Withheld], rights: &Rights) -> Error {
    if error.code != 1054 {
        return error;
    }
    let message = error.message.to_lowercase();
    for table in withheld {
        for column in &table.columns {
            let name = column.to_lowercase();
            if message.contains(&format!("'{name}'")) || message.contains(&format!(".{name}'")) {
                return rights.denied_column(Privileges::SELECT, column, &table.table);
            }
        }
    }
    error
}

/// Takes out `FROM DUAL`, which reads no table.
struct WithoutDual;

impl VisitorMut for WithoutDual {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<()> {
        if let [from] = select.from.as_slice()
            && from.joins.is_empty()
            && let ast::TableFactor::Table { name, alias: None, version: None, .. } = &from.relation
            && let [ast::ObjectNamePart::Identifier(name)] = name.0.as_slice()
            && name.quote_style.is_none()
            && name.value.eq_ignore_ascii_case("dual")
        {
            select.from.clear();
        }
        ControlFlow::Continue(())
    }
}

/// Where a column is unknown because a snapshot does not have it, says which columns the snapshot has.
fn name_left_out_column(error: Error, scans: &[Scanned]) -> Error {
    if error.code != 1054 {
        return error;
    }
    let message = error.message.to_lowercase();
    for (limit, table) in scans.iter().filter_map(|scan| scan.limited.as_ref()) {
        for column in &table.columns {
            let name = column.name.to_lowercase();
            let is_it = message.contains(&format!("'{name}'")) || message.contains(&format!(".{name}'"));
            if is_it && let Err(missing) = limit.admits_columns(table, &[column.id]) {
                return missing.into();
            }
        }
    }
    error
}

/// How a query looks up one of its tables.
struct LookUp<'a> {
    /// The session, and the moment that the table is read at.
    reading: Reading<'a>,
    session: &'a Arc<SessionState>,
    memory: &'a Arc<PlanMemory>,
    options: &'a Options,
    /// The statement names a moment for this table.
    past: bool,
    /// What the query says its rows must equal.
    equals: Option<&'a Equals>,
    hidden: Hidden,
    /// In how many views the query stands.
    depth: usize,
}

/// Returns the source of one table or view, at the moment that `reading` says, and of a view the names of its columns.
async fn resolve(
    look: LookUp<'_>,
    database: &str,
    name: &str,
    scans: &mut Vec<Scanned>,
    withheld: &mut Vec<Withheld>,
) -> Result<(Arc<dyn TableSource>, Vec<String>)> {
    let LookUp { reading, session, memory, options, past, equals, hidden, depth } = look;
    let rights = rights_of(reading, options);
    if database.eq_ignore_ascii_case("mysql") {
        rights.require_on_table(database, name, Privileges::SELECT)?;
    }
    if let Some(provider) = context::virtual_table(reading, database, name).await? {
        return Ok((provider_as_source(provider), Vec::new()));
    }
    let found = reading.table(database, name);
    if found.is_err() {
        rights.require_any_on_table(database, name, "SELECT")?;
    }
    let (database, table) = found?;
    let readable = match reading.source {
        _ if !past && options.written.contains(&table.id) => None,
        source => readable(source, rights, reading.state, &database, &table, name)?,
    };
    if let Some(readable) = &readable {
        let left_out = table.columns.iter().filter(|column| !readable.contains(&column.id));
        let columns: Vec<String> = left_out.map(|column| column.name.clone()).collect();
        if !columns.is_empty() {
            withheld.push(Withheld { table: table.name.clone(), columns });
        }
    }
    let limit = reading.source.limit();
    let pin = limit.and_then(Limit::pin).filter(|pin| !pin.columns.is_empty());
    if !table.is_view() {
        let equals = equals.filter(|_| !hidden.version && !options.names_only);
        let keys = equals.and_then(|equals| equals.keys(&table));
        let nothing = || TableScan {
            table: table.clone(),
            version: reading.source.moment().version(),
            parts: Vec::new(),
            rows: Vec::new(),
        };
        let scan = match (reading.source, &keys, hidden.version) {
            _ if options.names_only => nothing(),
            (Source::Moment(moment, _), Some(keys), _) => moment.scan_keys(&table, keys).await?,
            (Source::Moment(moment, _), None, false) => moment.scan(&table).await?,
            (Source::Moment(moment, _), None, true) => moment.scan_with_versions(&table).await?,
            (Source::Txn(txn), Some(keys), _) => txn.scan_keys(&table, keys).await?,
            (Source::Txn(txn), None, false) => txn.scan(&table).await?,
            (Source::Txn(txn), None, true) => txn.scan_with_versions(&table).await?,
        };
        scans.push(Scanned {
            database: database.name.clone(),
            table: table.name.clone(),
            version: scan.version,
            by_key: keys.is_some(),
            parts: scan.parts.len(),
            rows: scan.row_count(),
            rows_in_memory: scan.rows.iter().map(|batch| batch.num_rows() as u64).sum(),
            limited: limit.filter(|_| pin.is_some()).map(|limit| (limit.clone(), table.clone())),
        });
        let zone = if reading.state.variables.is_utc() { None } else { Some(reading.state.zone()?) };
        let columns = pin.map_or(&[] as &[ColumnId], |pin| &pin.columns);
        let mut provider = MomentTable::new(scan, &database.name, hidden, zone).only(columns);
        if let Some(readable) = &readable {
            provider = provider.only(&readable.iter().copied().collect::<Vec<_>>());
        }
        return Ok((provider_as_source(Arc::new(provider)), Vec::new()));
    }
    if depth >= VIEW_DEPTH_MAX {
        let message = format!("View '{}.{}' is nested too deeply, or stands in itself", database.name, table.name);
        return Err(Error::new(1462, "HY000", message));
    }
    let view = ddl::view::meaning(&table, &database.name)?;
    let inner = view_query(&view.text, &database.name, &table.name)?;
    let rights = access::of_view(&reading.state.engine.db.catalog(), rights, &database, &table)?;
    let job = Job {
        reading,
        session,
        memory,
        query: &inner,
        text: &view.text,
        parameters: &[],
        options: &Options { rights: Some(rights), names_only: options.names_only, ..Options::default() },
        database: Some(view.database.to_lowercase()),
        depth: depth + 1,
    };
    let (plan, shown, inner_scans) = plan_in(job).await.map_err(|error| {
        // What a definer may not read is not told to whoever asks.
        let why = match error.code {
            1049 | 1054 | 1146 | 1305 => format!(": {error}"),
            1044 | 1142 | 1143 => String::new(),
            _ => return error,
        };
        let message = format!(
            "View '{}.{}' references invalid table(s) or column(s) or function(s) or definer/invoker of view lack \
             rights to use them{why}",
            database.name, table.name
        );
        Error::new(1356, "HY000", message)
    })?;
    scans.extend(inner_scans);
    let (plan, columns) = rename_view_columns(plan, &table, &shown, readable.as_ref())?;
    Ok((provider_as_source(Arc::new(ViewTable::new(plan, None))), columns))
}

/// Reads the query that a view stands for.
fn view_query(text: &str, database: &str, name: &str) -> Result<Box<Query>> {
    let parsed = parse::parse_one(text, parse::Options::default())?;
    match parsed.statement {
        parse::Statement::Query(query) => Ok(query),
        _ => Err(Error::internal(format!("the definition of view '{database}.{name}' is no query"))),
    }
}

/// Gives a view's columns the names that it was created with, and returns these.
fn rename_view_columns(
    plan: LogicalPlan,
    view: &Table,
    shown: &Shown,
    readable: Option<&BTreeSet<ColumnId>>,
) -> Result<(LogicalPlan, Vec<String>)> {
    let mut names = Vec::new();
    let mut columns = Vec::new();
    for (at, (qualifier, field)) in plan.schema().iter().enumerate() {
        let column = view.columns.get(at);
        if readable.is_some_and(|readable| column.is_none_or(|column| !readable.contains(&column.id))) {
            continue;
        }
        let name = match column {
            Some(column) => column.name.clone(),
            None => shown.get(field.name()).unwrap_or(field.name()).to_owned(),
        };
        let column = datafusion::common::Column::new(qualifier.cloned(), field.name());
        columns.push(PlanExpr::Column(column).alias(name.to_lowercase()));
        names.push(name);
    }
    let plan = LogicalPlanBuilder::from(plan).project(columns).and_then(LogicalPlanBuilder::build);
    Ok((plan.map_err(failure::of_query)?, names))
}

impl Reading<'_> {
    /// Returns a table or view by name, with MySQL's errors, if what is read through speaks of it.
    pub fn table(&self, database: &str, name: &str) -> Result<(Arc<Database>, Arc<Table>)> {
        let catalog = self.source.catalog();
        let home =
            catalog.database(self.state.account, database).map_err(|error| unknown_database(database, &error))?;
        let table = catalog.table(home, name).map_err(|error| unknown_table(home, name, &error))?;
        let found = (home.clone(), table.clone());
        if let Some(pin) = self.source.limit() {
            pin.admits_table(&self.state.account_name, &found.0.name, &found.1.name)?;
        }
        Ok(found)
    }

    /// Adds to an error of [`Reading::table`] what became of the table. For an error that is told: it reads much.
    fn explain(&self, database: &str, name: &str, error: Error) -> Error {
        match find_table(self.source, self.state.account, database, name) {
            Err(explained) if explained.code == error.code => explained,
            _ => error,
        }
    }
}

/// Returns which columns of a table may be read: `None` for all.
fn readable(
    source: Source<'_>,
    rights: &Rights,
    state: &State,
    database: &Database,
    table: &Arc<Table>,
    name: &str,
) -> Result<Option<BTreeSet<ColumnId>>> {
    if rights.has_one_of(Privileges::SELECT) {
        return Ok(None);
    }
    let present = state.engine.db.catalog();
    let place = match source {
        Source::Txn(_) => Place::of_own(&present, database, table),
        Source::Moment(..) => Place::of(&present, database, table),
    };
    place.readable(rights, name)
}

/// Returns a database by name.
///
/// # Errors
/// 1049, which says what became of it.
pub fn find_database(source: Source<'_>, account: AccountId, name: &str) -> Result<Arc<Database>> {
    let found = source.moment().database_in(source.catalog(), account, name);
    found.cloned().map_err(|missing| unknown_database(name, &missing))
}

/// Returns a table or view by name, with MySQL's errors, which say what became of it.
pub fn find_table(
    source: Source<'_>,
    account: AccountId,
    database: &str,
    name: &str,
) -> Result<(Arc<Database>, Arc<Table>)> {
    let found = find_database(source, account, database)?;
    let table = source.moment().table_in(source.catalog(), &found, name);
    let table = table.cloned().map_err(|missing| unknown_table(&found, name, &missing))?;
    Ok((found, table))
}

fn unknown_database(name: &str, missing: &strandline_core::error::Error) -> Error {
    Error::new(1049, "42000", hinted(format!("Unknown database '{name}'"), missing))
}

fn unknown_table(home: &Database, name: &str, missing: &strandline_core::error::Error) -> Error {
    Error::new(1146, "42S02", hinted(format!("Table '{}.{name}' doesn't exist", home.name), missing))
}

/// Puts what the core suggests behind MySQL's words.
fn hinted(message: String, missing: &strandline_core::error::Error) -> String {
    match missing.hint() {
        Some(hint) => format!("{message}. {hint}"),
        None => message,
    }
}

/// Gives tables at a moment their own name as an alias, since their name is about to change.
struct AliasVersions;

impl VisitorMut for AliasVersions {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias: alias @ None, version: Some(_), .. } = factor
            && let Some(ObjectNamePart::Identifier(ident)) = name.0.last()
        {
            *alias = Some(TableAlias { explicit: true, name: ident.clone(), columns: Vec::new(), at: None });
        }
        ControlFlow::Continue(())
    }
}

/// The tables of one statement, as the planner asks for them.
struct Tables {
    session: Arc<SessionState>,
    database: Option<String>,
    sources: HashMap<(String, String), Arc<dyn TableSource>>,
    /// Why a table is not there, in case the planner asks.
    missing: HashMap<(String, String), Error>,
}

impl Tables {
    /// Returns the columns of a table that was resolved.
    fn columns(&self, name: &ObjectName) -> Option<Vec<String>> {
        planning::look();
        let part = |part: &ObjectNamePart| part.as_ident().map(|ident| ident.value.clone());
        let key = match name.0.as_slice() {
            [table] => (self.database.clone().unwrap_or_default(), part(table)?),
            [database, table] => (part(database)?, part(table)?),
            _ => return None,
        };
        let source = self.sources.get(&key)?;
        Some(source.schema().fields().iter().map(|field| field.name().clone()).collect())
    }
}

impl ContextProvider for Tables {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        planning::look();
        let database = name.schema().map(str::to_owned).or_else(|| self.database.clone()).unwrap_or_default();
        let key = (database, name.table().to_owned());
        if let Some(source) = self.sources.get(&key) {
            return Ok(source.clone());
        }
        let error = self.missing.get(&key).cloned();
        let error = error.unwrap_or_else(|| Error::internal(format!("BUG: table '{name}' was not resolved")));
        Err(DataFusionError::External(Box::new(error)))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> DfResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.session.expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        None
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        planning::look();
        self.session.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.session.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.session.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.session.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.session.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.session.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.session.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.session.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.session.window_functions().keys().cloned().collect()
    }
}

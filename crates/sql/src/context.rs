//! What SHOW and the tables that the server makes up read of the session, and the tables themselves.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use strandline_core::grants::Privileges;
use strandline_core::ids::TableId;
use strandline_core::log::Scope;
use strandline_core::schema::Table;
use strandline_core::upkeep::check::Depth;
use strandline_core::upkeep::storage::{Day, Storage};

use crate::access::show::Reader;
use crate::api::Outcome;
use crate::error::{Error, Result};
use crate::failure;
use crate::information_schema::{self, Asks};
use crate::interrupt::{is_end, until};
use crate::parse::{TableName, Upkeep};
use crate::plan::{Reading, Source};
use crate::session::Session;
use crate::show::answer::{Cell, CellKind, answer, row};
use crate::show::{Process, ShowContext, TableStats};
use crate::statements::rows_of;

/// What was looked up for a made-up table.
#[derive(Default)]
struct Asked {
    storage: Storage,
    growth: Vec<Day>,
}

/// Calls `with` with what SHOW reads. `sizes` are those of tables that were looked up before.
pub fn with<T>(
    reading: Reading<'_>,
    sizes: &[(TableId, TableStats)],
    with: impl FnOnce(&ShowContext<'_>) -> Result<T>,
) -> Result<T> {
    with_asked(reading, sizes, &Asked::default(), with)
}

fn with_asked<T>(
    reading: Reading<'_>,
    sizes: &[(TableId, TableStats)],
    asked: &Asked,
    with: impl FnOnce(&ShowContext<'_>) -> Result<T>,
) -> Result<T> {
    let state = reading.state;
    let owned = |shown: Vec<(&'static str, String)>| -> Vec<(String, String)> {
        shown.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let variables = owned(state.variables.shown());
    let globals = owned(state.engine.globals.read().shown());
    let processes: Vec<Process> = state
        .engine
        .processes()
        .list()
        .into_iter()
        .filter(|process| {
            let of_others = state.rights.has_one_of(Privileges::PROCESS) && state.reaches_login(&process.user);
            of_others || state.is_own_login(&process.user)
        })
        .map(|process| Process {
            id: process.id,
            user: process.user,
            host: process.host,
            database: process.database,
            command: process.command.to_owned(),
            seconds: process.seconds,
            state: String::new(),
            statement: process.info,
        })
        .collect();
    let status = status(reading, state.engine.processes().count());
    let snapshots = state.engine.db.metastore().pins()?;
    let snapshots: Vec<_> = snapshots
        .into_iter()
        .filter(|pin| pin.account == state.account && state.rights.sees_scope(&pin.scope))
        .collect();
    let mut pitrs = state.engine.db.pitrs(state.account)?;
    pitrs.retain(|pitr| state.rights.sees_scope(&pitr.scope));
    let present = state.engine.db.catalog();
    let health = state.engine.db.health();
    let stats = |table: &Table| {
        sizes.iter().find(|(id, _)| *id == table.id).map_or_else(TableStats::default, |(_, stats)| *stats)
    };
    with(&ShowContext {
        catalog: reading.source.catalog(),
        limit: reading.source.limit(),
        account: state.account,
        account_name: &state.account_name,
        database: state.database.as_deref(),
        reader: Reader { rights: &state.rights, present: &present },
        variables: &variables,
        global_variables: &globals,
        status: &status,
        processes: &processes,
        warnings: &state.warnings,
        stats: &stats,
        snapshots: &snapshots,
        pitrs: &pitrs,
        health: &health,
        storage: &asked.storage,
        growth: &asked.growth,
    })
}

/// Looks up how large tables are. What cannot be read is left out: a definition is shown all the same.
pub async fn sizes(reading: Reading<'_>, tables: &[Arc<Table>]) -> Vec<(TableId, TableStats)> {
    let mut sizes = Vec::new();
    for table in tables.iter().filter(|table| !table.is_view()) {
        let (scan, next_auto) = match reading.source {
            Source::Moment(moment, _) => (moment.scan(table).await, moment.next_auto(table)),
            Source::Txn(txn) => (txn.scan(table).await, txn.peek_auto(table)),
        };
        let mut stats = TableStats { next_auto: next_auto.unwrap_or(0), ..TableStats::default() };
        if let Ok(scan) = scan {
            stats.rows = scan.row_count();
            stats.bytes = scan.parts.iter().map(|part| part.part.bytes).sum();
        }
        sizes.push((table.id, stats));
    }
    sizes
}

/// Returns the tables of a database, or of the session's.
pub fn tables_of(reading: Reading<'_>, database: Option<&str>) -> Vec<Arc<Table>> {
    let catalog = reading.source.catalog();
    let database = database.or(reading.state.database.as_deref());
    let database = database.and_then(|name| catalog.database(reading.state.account, name).ok());
    database.map_or_else(Vec::new, |database| catalog.tables_of(database.id))
}

/// Returns a table that the server makes up.
///
/// # Errors
/// 1109 for a name that such a database does not have.
pub async fn virtual_table(reading: Reading<'_>, database: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    if !crate::ddl::is_virtual(database) {
        return Ok(None);
    }
    let unknown = || Error::new(1109, "42S02", format!("Unknown table '{name}' in {database}"));
    let tables = match information_schema::tells_sizes(database, name) {
        true => {
            let catalog = reading.source.catalog();
            let databases = catalog.databases_of(reading.state.account);
            databases.iter().flat_map(|database| catalog.tables_of(database.id)).collect()
        }
        false => Vec::new(),
    };
    let sizes = sizes(reading, &tables).await;
    let db = reading.state.engine.database();
    let asked = match information_schema::asks(database, name) {
        Asks::Nothing => Asked::default(),
        Asks::Storage => Asked { storage: Box::pin(db.storage()).await?, ..Asked::default() },
        Asks::Growth => Asked { growth: Box::pin(db.growth()).await?, ..Asked::default() },
    };
    let found = with_asked(reading, &sizes, &asked, |cx| {
        information_schema::virtual_table(database, name, cx).ok_or_else(unknown)?
    })?;
    let (schema, batch) = found;
    // Names compare in lower case.
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| {
            let mut metadata = field.metadata().clone();
            metadata.insert(crate::scan::meta::NAME.to_owned(), field.name().clone());
            field.as_ref().clone().with_name(field.name().to_lowercase()).with_metadata(metadata)
        })
        .collect();
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let batch = arrow::array::RecordBatch::try_new(schema.clone(), batch.columns().to_vec())
        .map_err(|error| Error::internal(format!("Arrow: {error}")))?;
    let provider = MemTable::try_new(schema, vec![vec![batch]]).map_err(failure::of_query)?;
    Ok(Some(Arc::new(provider)))
}

/// Answers CHECK, ANALYZE, OPTIMIZE and REPAIR TABLE. CHECK verifies what is kept of the table, its past too, and names what
/// is damaged: QUICK that it is there, MEDIUM (the default) every byte, EXTENDED every row. OPTIMIZE lays the table out anew; ANALYZE finds nothing to do, since the store looks after itself.
pub async fn upkeep(session: &mut Session, what: Upkeep, tables: &[TableName], options: &[String]) -> Result<Outcome> {
    let operation = match what {
        Upkeep::Check => "check",
        Upkeep::Analyze => "analyze",
        Upkeep::Optimize => "optimize",
        Upkeep::Repair | Upkeep::Checksum => {
            return Err(Error::unsupported(format!(
                "{} TABLE",
                if what == Upkeep::Repair { "REPAIR" } else { "CHECKSUM" }
            )));
        }
    };
    if what == Upkeep::Optimize {
        session.check_writable()?;
    }
    let ends = session.ends_without_hint();
    let reader = session.reader();
    let reading = session.reading(&reader);
    let mut rows = Vec::new();
    for table in tables {
        let database = table.database.as_deref().or(session.state.database.as_deref());
        let database = database.ok_or_else(|| Error::new(1046, "3D000", "No database selected"))?;
        let found = reading.table(database, &table.name);
        let full = format!("{database}.{}", table.name);
        match found {
            Ok((_, table)) if table.is_view() => rows.push(row![full, operation, "status", "OK"]),
            Ok((_, table)) => {
                let done = match what {
                    Upkeep::Check => until(&ends, damages(session, table.id, depth(options))).await,
                    Upkeep::Optimize => {
                        let work = Box::pin(session.state.engine.database().optimize_table(table.id));
                        until(&ends, async { Ok(work.await.map(|_| Vec::new())?) }).await
                    }
                    _ => Ok(Vec::new()),
                };
                match done {
                    Ok(damages) => {
                        let sound = damages.is_empty();
                        rows.extend(damages.into_iter().map(|damage| row![&full, operation, "Error", damage]));
                        let (kind, text) = if sound { ("status", "OK") } else { ("error", "Corrupt") };
                        rows.push(row![full, operation, kind, text]);
                    }
                    Err(error) if is_end(&error) => return Err(error),
                    // Of the others is told all the same.
                    Err(error) => rows.extend(failed_rows(full, operation, error)),
                }
            }
            Err(error) => rows.extend(failed_rows(full, operation, error)),
        }
    }
    let text = CellKind::Text;
    let columns = [("Table", text), ("Op", text), ("Msg_type", text), ("Msg_text", text)];
    Ok(Outcome::Rows(rows_of(answer(&columns, rows)?)))
}

fn failed_rows(table: String, operation: &str, error: Error) -> [Vec<Cell>; 2] {
    [row![&table, operation, "Error", error.message], row![&table, operation, "status", "Operation failed"]]
}

/// Says how closely CHECK TABLE looks: at all that any of its options asks for.
fn depth(options: &[String]) -> Depth {
    let of_option = |option: &String| match option.as_str() {
        "EXTENDED" => Some(Depth::Rows),
        "MEDIUM" | "CHANGED" => Some(Depth::Bytes),
        "QUICK" | "FAST" | "UPGRADE" => Some(Depth::Presence),
        _ => None,
    };
    options.iter().filter_map(of_option).max().unwrap_or(Depth::Bytes)
}

/// Returns what is damaged of a table: its present and what is kept of its past. Of what else that touches it names what
/// the session may know of.
async fn damages(session: &Session, table: TableId, depth: Depth) -> Result<Vec<String>> {
    let state = &session.state;
    let mut found = Box::pin(state.engine.database().check_table(table, depth)).await?;
    let snapshots = state.engine.database().snapshots(state.account)?;
    let sees_table = |name: &String| {
        let parts = name.split_once('.');
        parts.is_some_and(|(home, table)| {
            state.rights.sees_scope(&Scope::Tables(home.to_owned(), vec![table.to_owned()]))
        })
    };
    let sees_snapshot = |name: &String| {
        let pin = snapshots.iter().find(|pin| pin.name == *name);
        pin.is_some_and(|pin| state.rights.sees_scope(&pin.scope))
    };
    for damage in &mut found.damages {
        damage.tables.retain(sees_table);
        damage.snapshots.retain(sees_snapshot);
    }
    Ok(found.damages.iter().map(ToString::to_string).collect())
}

fn status(reading: Reading<'_>, connections: usize) -> Vec<(String, String)> {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    vec![
        pair("Threads_connected", connections.to_string()),
        pair("Strandline_version", reading.source.moment().version().to_string()),
        pair("Strandline_unflushed_tables", reading.state.engine.db.unflushed().len().to_string()),
    ]
}

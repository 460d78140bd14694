//! EXPLAIN: which tables are read, each at which version, and how.

use std::sync::Arc;

use datafusion::physical_plan::displayable;
use futures::StreamExt;

use crate::api::{Outcome, Value};
use crate::error::{Error, Result};
use crate::failure;
use crate::parse::Statement;
use crate::plan::{Planned, Scanned};
use crate::run;
use crate::session::Session;
use crate::show::answer::{CellKind, answer, row};
use crate::statements::rows_of;

/// Answers EXPLAIN, and runs the query for EXPLAIN ANALYZE.
pub async fn execute(
    session: &mut Session,
    statement: &Statement,
    text: &str,
    parameters: &[Value],
    analyze: bool,
    format: Option<&str>,
) -> Result<Outcome> {
    if let Some(format) = format.filter(|format| !matches!(*format, "TREE" | "TRADITIONAL")) {
        return Err(Error::unsupported(format!("EXPLAIN FORMAT = {format}; the format is TREE")));
    }
    let query = match statement {
        Statement::Query(query) | Statement::SelectInto { query, .. } => query.clone(),
        Statement::Insert(insert) if !analyze => match &insert.source {
            Some(query) => query.clone(),
            None => return Err(Error::unsupported("EXPLAIN of an INSERT without a query")),
        },
        _ => return Err(Error::unsupported("EXPLAIN of this statement; explain the SELECT of the rows that it finds")),
    };
    let planned = session.plan_query(&query, text, parameters).await?;
    let mut lines = scan_lines(&planned);
    let (physical, context) =
        run::physical(&planned.state, &planned.logical, &planned.memory).await.map_err(failure::of_query)?;
    if analyze {
        let mut stream = run::threads(&planned.state).run(Arc::clone(&physical), context);
        while let Some(batch) = stream.next().await {
            batch.map_err(failure::of_query)?;
        }
        let shown = datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(physical.as_ref());
        lines.extend(shown.indent(false).to_string().lines().map(str::to_owned));
    } else {
        let shown = displayable(physical.as_ref()).indent(false).to_string();
        lines.extend(shown.lines().map(str::to_owned));
    }
    let rows = lines.into_iter().map(|line| row![line]).collect();
    Ok(Outcome::Rows(rows_of(answer(&[("EXPLAIN", CellKind::Long)], rows)?)))
}

/// One line per table: what is read, and from when.
fn scan_lines(planned: &Planned) -> Vec<String> {
    planned
        .scans
        .iter()
        .map(|scan| {
            let Scanned { database, table, version, rows, rows_in_memory, parts, .. } = scan;
            match scan.by_key {
                true => format!("{database}.{table} at version {version}: read by key, {rows} rows found"),
                false => format!(
                    "{database}.{table} at version {version}: {rows} rows, {rows_in_memory} of them in memory, {parts} parts"
                ),
            }
        })
        .collect()
}

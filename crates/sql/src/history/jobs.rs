//! SHOW JOBS and CANCEL JOB: long work, how far it is, and how to stop it.

use super::done;
use crate::api::Outcome;
use crate::error::Result;
use crate::parse::Filter;
use crate::session::Session;
use crate::show::answer::{Cell, CellKind, answer, row};

/// Newest first. Times are UTC.
pub async fn show(session: &mut Session, filter: Option<&Filter>) -> Result<Outcome> {
    let state = &session.state;
    let mut rows = Vec::new();
    for job in state.engine.database().jobs().list(state.account) {
        rows.push(row![
            job.id,
            job.kind,
            &job.object,
            job.state.as_str(),
            Cell::Float((job.progress * 100.0).floor()),
            job.started.to_string(),
            job.ended.map(|time| time.to_string()),
            job.error.clone(),
            &job.author,
        ]);
    }
    let columns = [
        ("JOB", CellKind::UInt),
        ("KIND", CellKind::Text),
        ("OBJECT", CellKind::Text),
        ("STATE", CellKind::Text),
        ("PERCENT", CellKind::Float),
        ("STARTED", CellKind::Text),
        ("ENDED", CellKind::Text),
        ("ERROR", CellKind::Text),
        ("CREATED_BY", CellKind::Text),
    ];
    crate::statements::filtered(session, answer(&columns, rows)?, filter).await
}

/// Asks a job to stop. One that is at its last step may be done before it hears of it.
pub fn cancel(session: &mut Session, id: u64) -> Result<Outcome> {
    let state = &session.state;
    state.engine.database().jobs().cancel(id, state.account)?;
    Ok(done())
}

//! SHOW JOBS and CANCEL JOB: long work, how far it is, and how to stop it.

use strandline_core::grants::Privileges;
use strandline_core::jobs::{JobInfo, no_job};

use super::done;
use crate::api::Outcome;
use crate::error::Result;
use crate::parse::Filter;
use crate::session::{Session, State};
use crate::show::answer::{Cell, CellKind, answer, row};

/// Newest first. Times are UTC. Who lacks PROCESS sees their own.
pub async fn show(session: &mut Session, filter: Option<&Filter>) -> Result<Outcome> {
    let state = &session.state;
    let mut rows = Vec::new();
    let sees_all = state.rights.has_one_of(Privileges::PROCESS);
    for job in state.engine.database().jobs().list(state.account) {
        if !sees_all && !is_own(state, &job) {
            continue;
        }
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

/// Asks a job to stop: one's own, or with SUPER any. One that is at its last step may be done before it hears of it.
pub fn cancel(session: &mut Session, id: u64) -> Result<Outcome> {
    let state = &session.state;
    let jobs = state.engine.database().jobs();
    let is_theirs = |job: &JobInfo| job.id == id && !is_own(state, job);
    if !state.rights.has_one_of(Privileges::SUPER) && jobs.list(state.account).iter().any(is_theirs) {
        return Err(no_job(id).into());
    }
    jobs.cancel(id, state.account)?;
    Ok(done())
}

fn is_own(state: &State, job: &JobInfo) -> bool {
    job.author.rsplit_once('@').is_some_and(|(user, _)| user == state.user)
}

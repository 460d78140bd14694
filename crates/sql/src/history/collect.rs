//! COLLECT GARBAGE and its EXPLAIN: what nothing reaches any more, why the rest is kept, and what came back.

use strandline_core::upkeep::collect::Fate;

use crate::api::Outcome;
use crate::error::Result;
use crate::interrupt::worded;
use crate::session::Session;
use crate::show::answer::{Cell, CellKind, answer, row};

/// Says of every file what would become of it. Changes nothing.
pub async fn explain(session: &mut Session) -> Result<Outcome> {
    let plan = session.state.engine.database().plan_collection().await?;
    let mut rows = Vec::with_capacity(plan.files.len() + 1);
    for file in &plan.files {
        let (fate, reason) = match &file.fate {
            Fate::Kept(why) | Fate::Unclear(why) => ("keep", why.to_string()),
            Fate::Waits(until) => ("wait", format!("nothing reaches it; it goes after {until} UTC")),
            Fate::Goes(why) => ("delete", (*why).to_owned()),
        };
        rows.push(row![file.kind.path(file.id), file.length, fate, reason]);
    }
    if !plan.trims.is_empty() {
        let reason = format!("the rows of {} commits that no window and no snapshot reads", plan.trims.len());
        rows.push(row!["log", Cell::Null, "trim", reason]);
    }
    for note in plan.notes {
        rows.push(row![note.what, Cell::Null, "keep", note.why]);
    }
    let columns =
        [("FILE", CellKind::Text), ("BYTES", CellKind::UInt), ("FATE", CellKind::Text), ("REASON", CellKind::Text)];
    crate::statements::filtered(session, answer(&columns, rows)?, None).await
}

/// Deletes what nothing has reached for the length of the grace. One that has to end has deleted a part of it.
pub async fn collect(session: &mut Session) -> Result<Outcome> {
    let (ends, mut why) = (session.ends_without_hint(), None);
    let done = session.state.engine.database().collect_unless(ends.stop(&mut why)).await;
    let done = worded(done, why)?;
    let columns = [
        ("FILES_DELETED", CellKind::UInt),
        ("FILE_BYTES", CellKind::UInt),
        ("COMMITS_TRIMMED", CellKind::UInt),
        ("LOG_BYTES", CellKind::UInt),
        ("FILES_WAITING", CellKind::UInt),
    ];
    let row = row![done.files, done.bytes, done.entries, done.entry_bytes, done.waiting];
    crate::statements::filtered(session, answer(&columns, vec![row])?, None).await
}

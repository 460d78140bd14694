//! `debug why-kept`: what keeps a file.

use serde_json::{Value as Json, json};
use strandline_core::db::Database;
use strandline_core::error::Result;
use strandline_core::ids::FileId;

use super::log::table_name;
use super::reach::{Keepers, references, unknown};
use super::report::{Report, version};

/// Says which contents refer to a file, and what needs each of them.
pub async fn why_kept(database: &Database, file: FileId) -> Result<Report> {
    let metastore = database.metastore();
    let record = metastore.file(file)?;
    let intent = metastore.intents()?.into_iter().find(|(id, _)| *id == file);
    let path = match (&record, intent) {
        (Some(record), _) => record.kind.path(file),
        (None, Some((_, kind))) => kind.path(file),
        (None, None) => return Err(unknown(file)),
    };
    let keepers = Keepers::of(database)?;
    let mut rows = Vec::new();
    let mut is_kept = false;
    for reference in references(database, file).await? {
        let reasons = keepers.reasons(database, &reference.held)?;
        is_kept |= !reasons.is_empty();
        rows.push(json!({
            "table": table_name(database, reference.held.table)?,
            "from_version": reference.held.begin.0,
            "before_version": version(reference.held.end),
            "because": reasons,
        }));
    }
    let verdict = match (is_kept, &record, rows.is_empty()) {
        (true, ..) => "kept",
        (false, None, _) => "never committed: it is being written, or a crash left it; the collector may delete it",
        (false, _, true) => "nothing refers to it; the collector may delete it",
        (false, _, false) => "nothing needs what refers to it; the collector may delete it",
    };
    let head = json!({"path": path, "kept": is_kept, "why": verdict});
    let mut json = head.clone();
    json["references"] = Json::Array(rows.clone());
    Ok(Report::new(json).with_object(&head).with_table("What refers to it, and what needs that", rows))
}

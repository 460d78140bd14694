//! `debug why-kept`: what keeps a file.

use serde_json::{Value as Json, json};
use strandline_core::db::Database;
use strandline_core::error::Result;
use strandline_core::ids::FileId;
use strandline_core::upkeep::collect::Fate;

use super::log::table_name;
use super::reach::{references, unknown};
use super::report::{Report, version};

/// Says what the collector would do with a file, which contents refer to it, and what needs each of them.
pub async fn why_kept(database: &Database, file: FileId) -> Result<Report> {
    let plan = database.plan_collection().await?;
    let verdict = plan.files.into_iter().find(|known| known.id == file).ok_or_else(|| unknown(file))?;
    let (is_kept, why) = match verdict.fate {
        Fate::Kept(why) | Fate::Unclear(why) => (true, why.to_string()),
        Fate::Waits(_) => (false, "nothing reaches it; the collector may delete it".to_owned()),
        Fate::Goes(why) => (false, format!("{why}; the collector may delete it")),
    };
    let mut rows = Vec::new();
    for reference in references(database, file).await? {
        let because: Vec<&str> = reference.held.keepers.iter().map(|keeper| &*keeper.why).collect();
        rows.push(json!({
            "table": table_name(database, reference.held.table)?,
            "from_version": reference.held.begin.0,
            "before_version": version(reference.held.end),
            "because": because,
        }));
    }
    let head = json!({"path": verdict.kind.path(file), "kept": is_kept, "why": why});
    let mut json = head.clone();
    json["references"] = Json::Array(rows.clone());
    Ok(Report::new(json).with_object(&head).with_table("What refers to it, and what needs that", rows))
}

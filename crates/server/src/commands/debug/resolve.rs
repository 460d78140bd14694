//! `debug resolve`: which version an address means, and why.

use serde_json::json;
use strandline_core::db::Database;
use strandline_core::error::Result;
use strandline_core::when::Limit;

use super::report::Report;
use super::{account_id, resolve_when, utc};
use crate::commands::moment::When;

/// Resolves an address as a statement would: outside the window it is an error.
pub fn resolve(database: &Database, when: &When, account: &str) -> Result<Report> {
    let resolved = resolve_when(database, when, account_id(database, account)?)?;
    let entry = database.metastore().entry(resolved.version)?;
    let json = json!({
        "version": resolved.version.0,
        "time": utc(resolved.time),
        "why": resolved.why,
        "snapshot": resolved.limit.as_ref().and_then(Limit::pin).map(|pin| pin.name.as_str()),
        "commit": entry.as_ref().map(|entry| entry.head.what.as_str()),
        "author": entry.as_ref().map(|entry| entry.head.author.as_str()),
    });
    Ok(Report::new(json.clone()).with_object(&json))
}

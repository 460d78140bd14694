//! `debug moment`: what every table consists of at a moment.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use strandline_core::catalog::Content;
use strandline_core::cold::Manifest;
use strandline_core::db::Database;
use strandline_core::error::{Error, Result};
use strandline_core::ids::Version;
use strandline_core::log::delta::Delta;
use strandline_core::moment::Moment;
use strandline_core::schema::Table;

use super::report::Report;
use super::{account_id, look_back, utc};
use crate::commands::moment::When;

/// Shows every table of every account.
pub async fn moment(database: &Database, when: &When, account: &str) -> Result<Report> {
    let resolved = look_back(database, when, account_id(database, account)?)?;
    let moment = database.moment(&resolved)?;
    let (mut tables, mut parts) = (Vec::new(), Vec::new());
    for account in moment.catalog().accounts() {
        for schema in moment.catalog().databases_of(account.id) {
            for table in moment.catalog().tables_of(schema.id) {
                let name = format!("{}.{}", schema.name, table.name);
                tables.push(describe(database, &moment, &table, &name, &account.name, &mut parts).await?);
            }
        }
    }
    let json = json!({
        "version": resolved.version.0,
        "time": utc(resolved.time),
        "why": resolved.why,
        "tables": tables,
        "parts": parts,
    });
    Ok(Report::new(json)
        .with_line(format!("version {} of {}: {}", resolved.version, utc(resolved.time), resolved.why))
        .with_table("Tables", tables)
        .with_table("Parts", parts))
}

async fn describe(
    database: &Database,
    moment: &Moment,
    table: &Arc<Table>,
    name: &str,
    account: &str,
    parts: &mut Vec<Json>,
) -> Result<Json> {
    let head = |kind: &str| json!({"account": account, "table": name, "id": table.id.0, "kind": kind});
    let with = |mut object: Json, more: Json| {
        if let (Json::Object(object), Json::Object(more)) = (&mut object, more) {
            object.extend(more);
        }
        object
    };
    let Some(content) = moment.catalog().content(table.id) else {
        return Ok(with(head("view"), Json::Null));
    };
    let manifest = match content.manifest {
        Some(digest) => database.cold().manifest(digest).await?,
        None => Arc::new(Manifest::default()),
    };
    for part in &manifest.parts {
        let (version_min, version_max) = part.version_range(content.parts_version);
        parts.push(json!({
            "table": name,
            "part": part.file.to_string(),
            "rows": part.rows,
            "gone": part.rows - part.live_rows(),
            "bytes": part.bytes,
            "version_min": version_min.0,
            "version_max": version_max.0,
            "deletions": part.deletions.map(|deletions| deletions.file.to_string()),
        }));
    }
    let (puts, deletes, bytes) = in_log(database, table, content, moment.version())?;
    let inherited: Vec<String> =
        content.inherited.iter().map(|range| format!("{}: ({}, {}]", range.origin, range.after, range.upto)).collect();
    let more = json!({
        "rows": moment.scan(table).await?.row_count(),
        "manifest": content.manifest.map(|digest| digest.to_string()),
        "parts": manifest.parts.len(),
        "part_rows": manifest.live_rows(),
        "part_bytes": manifest.bytes(),
        "flushed": content.flushed.0,
        "inherited": inherited,
        "log_puts": puts,
        "log_deletes": deletes,
        "log_bytes": bytes,
    });
    Ok(with(head("table"), more))
}

/// Counts what is read through the log: rows put, keys deleted, bytes.
fn in_log(database: &Database, table: &Table, content: &Content, version: Version) -> Result<(u64, u64, u64)> {
    let own = (table.id, content.flushed, version);
    let ranges = content.inherited.iter().map(|range| (range.origin, range.after, range.upto)).chain([own]);
    let mut sums = (0, 0, 0);
    for (origin, after, upto) in ranges.filter(|(_, after, upto)| after < upto) {
        for (at, body) in database.metastore().deltas(origin, after, upto)? {
            let delta = Delta::decode(&body)
                .map_err(|error| Error::corrupt(format!("The delta of version {at}: {error}")).with_source(error))?;
            sums.0 += delta.puts.num_rows() as u64;
            sums.1 += delta.deletes.num_rows() as u64;
            sums.2 += body.len() as u64;
        }
    }
    Ok(sums)
}

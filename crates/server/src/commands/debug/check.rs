//! `debug check`: everything that can be verified.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use strandline_core::cold::DurableLocal;
use strandline_core::db::{Database, Options};
use strandline_core::error::Result;
use strandline_core::upkeep::check::Checked;

use super::open_metastore;
use super::report::Report;

/// Verifies the log, the catalog, and every file: its length, its digest, and that it is what its manifest says. What
/// cannot even be opened is damage too. Files that nobody knows are noted; they are no damage.
pub async fn check(data: &Path) -> Result<Report> {
    // Nothing is read twice.
    let options = Options { cache_bytes: 16 << 20, ..Options::default() };
    let mut found = Checked::default();
    match open_metastore(data) {
        Ok((lock, metastore)) => {
            let files = Arc::new(DurableLocal::open(data)?);
            match Database::start(metastore.clone(), files, options, Some(lock)).await {
                Ok(database) => found = database.check(Some(data)).await?,
                Err(error) => {
                    found.damages = metastore.check()?;
                    found.damage(error)?;
                }
            }
        }
        Err(error) => found.damage(error)?,
    }
    Ok(report(&found))
}

fn report(found: &Checked) -> Report {
    let damaged = !found.damages.is_empty();
    let json = json!({
        "damaged": damaged,
        "damages": found.damages,
        "notes": found.notes,
        "versions": found.versions,
        "files": found.files,
        "bytes": found.bytes,
    });
    let mut report = Report::new(json);
    report.damaged = damaged;
    for damage in &found.damages {
        report = report.with_line(format!("DAMAGE: {damage}"));
    }
    for note in &found.notes {
        report = report.with_line(format!("note: {note}"));
    }
    let verdict = if damaged { "Damage was found." } else { "All is well." };
    let (versions, files, bytes) = (found.versions, found.files, found.bytes);
    report.with_line(format!("{versions} versions; {files} files of {bytes} bytes verified. {verdict}"))
}

//! `debug check`: everything that can be verified.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use strandline_core::cold::{DurableLocal, Part, is_staged, parse_path};
use strandline_core::db::{Database, Options};
use strandline_core::error::{Error, Kind, Result};
use strandline_core::ids::FileId;
use strandline_core::upkeep::collect::Fate;

use super::open_metastore;
use super::reach::Manifests;
use super::report::Report;

/// Verifies the log, the catalog, and every file that is kept: its length, its digest, and that it is what its manifest
/// says. What is kept is what the collector keeps. Files that nothing reaches are noted; they are no damage.
pub async fn check(data: &Path) -> Result<Report> {
    let mut found = Found::default();
    match open_metastore(data) {
        Ok((lock, metastore)) => {
            found.damages.extend(metastore.check()?);
            found.versions = metastore.newest()?.map_or(0, |newest| newest.version.0);
            match Database::start(metastore.clone(), Arc::new(DurableLocal::open(data)?), options(), Some(lock)).await {
                Ok(database) => found.check_files(&database, data).await?,
                Err(error) => found.damage(error)?,
            }
        }
        Err(error) => found.damage(error)?,
    }
    Ok(found.report())
}

fn options() -> Options {
    // Nothing is read twice.
    Options { cache_bytes: 16 << 20, ..Options::default() }
}

#[derive(Default)]
struct Found {
    versions: u64,
    files: u64,
    bytes: u64,
    damages: Vec<String>,
    notes: Vec<String>,
}

impl Found {
    /// Takes note of damage; any other error ends the check.
    fn damage(&mut self, error: Error) -> Result<()> {
        if error.kind() != Kind::Corrupt {
            return Err(error);
        }
        let said = error.to_string();
        if !self.damages.contains(&said) {
            self.damages.push(said);
        }
        Ok(())
    }

    async fn check_files(&mut self, database: &Database, data: &Path) -> Result<()> {
        let plan = match database.plan_collection().await {
            Ok(plan) => plan,
            Err(error) => return self.damage(error),
        };
        plan.damages.into_iter().try_for_each(|damage| self.damage(damage))?;
        let parts = parts(database).await?;
        let mut fates = HashMap::new();
        for file in plan.files {
            let was_committed = file.length > 0;
            if was_committed && matches!(file.fate, Fate::Kept(_) | Fate::Unclear(_)) {
                self.check_file(database, file.id, parts.get(&file.id)).await?;
            }
            fates.insert(file.id, file.fate);
        }
        self.look_around(data, &fates)
    }

    async fn check_file(&mut self, database: &Database, file: FileId, part: Option<&Part>) -> Result<()> {
        match database.cold().verify(file, part).await {
            Ok(bytes) => {
                self.files += 1;
                self.bytes += bytes;
                Ok(())
            }
            // A file that is not there cannot be told from one that cannot be reached, and neither can be answered from.
            Err(error) if error.kind() == Kind::Unavailable => self.damage(Error::corrupt(error.to_string())),
            Err(error) => self.damage(error),
        }
    }

    /// Notes the files on disk that nothing reaches.
    fn look_around(&mut self, data: &Path, fates: &HashMap<FileId, Fate>) -> Result<()> {
        for folder in ["parts", "deletes", "manifests"] {
            let Ok(listing) = std::fs::read_dir(data.join(folder)) else { continue };
            for entry in listing {
                let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
                let note = match parse_path(&path).map(|(_, id)| fates.get(&id)) {
                    None if is_staged(&path) => {
                        "was not written to its end; it goes when the store is opened.".to_owned()
                    }
                    None => "is not a name of the store's.".to_owned(),
                    Some(None) => "is unknown to the log.".to_owned(),
                    Some(Some(Fate::Kept(_))) => continue,
                    Some(Some(Fate::Unclear(why))) => format!("stays: {why}"),
                    Some(Some(Fate::Waits(_))) => "is reached by nothing; the collector will take it.".to_owned(),
                    Some(Some(Fate::Goes(why))) => format!("goes: {why}; the collector will take it."),
                };
                self.notes.push(format!("{path} {note}"));
            }
        }
        self.notes.sort();
        Ok(())
    }

    fn report(self) -> Report {
        let json = json!({
            "damaged": !self.damages.is_empty(),
            "damages": self.damages,
            "notes": self.notes,
            "versions": self.versions,
            "files": self.files,
            "bytes": self.bytes,
        });
        let mut report = Report::new(json);
        report.damaged = !self.damages.is_empty();
        for damage in &self.damages {
            report = report.with_line(format!("DAMAGE: {damage}"));
        }
        for note in &self.notes {
            report = report.with_line(format!("note: {note}"));
        }
        let verdict = if report.damaged { "Damage was found." } else { "All is well." };
        let (versions, files, bytes) = (self.versions, self.files, self.bytes);
        report.with_line(format!("{versions} versions; {files} files of {bytes} bytes verified. {verdict}"))
    }
}

/// Returns what manifests say of files: the part that each is, or whose deletion vector it is.
async fn parts(database: &Database) -> Result<HashMap<FileId, Part>> {
    let mut manifests = Manifests::default();
    let mut parts = HashMap::new();
    for held in database.contents()? {
        // Of what cannot be read the collector says whether it is needed.
        let Ok(manifest) = manifests.of(database, &held.content).await else { continue };
        for part in &manifest.parts {
            let vector = part.deletions.map(|deletions| deletions.file);
            for file in std::iter::once(part.file).chain(vector) {
                parts.entry(file).or_insert_with(|| part.clone());
            }
        }
    }
    Ok(parts)
}

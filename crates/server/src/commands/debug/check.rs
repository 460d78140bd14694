//! `debug check`: everything that can be verified.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use strandline_core::cold::{DurableLocal, Part, parse_path};
use strandline_core::db::{Database, Options};
use strandline_core::error::{Error, Kind, Result};
use strandline_core::ids::FileId;
use strandline_core::log::{FileKind, Metastore};

use super::open_metastore;
use super::reach::{Keepers, Manifests, contents, needed};
use super::report::Report;

/// Verifies the log, the catalog, and every file that anything refers to: its length, its digest, and that it is what
/// its manifest says. Files that nobody knows are noted; they are no damage.
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
        let metastore = database.metastore().clone();
        let keepers = match Keepers::of(database) {
            Ok(keepers) => keepers,
            Err(error) => return self.damage(error),
        };
        let mut manifests = Manifests::default();
        // What is needed: whether by anything that is kept, and the part that a part or vector belongs to.
        let mut wanted: BTreeMap<FileId, (FileKind, bool, Option<Part>)> = BTreeMap::new();
        for held in contents(database)? {
            let is_kept = keepers.is_kept(database, &held)?;
            let manifest = match manifests.of(database, &held.content).await {
                Ok(manifest) => manifest,
                Err(said) => {
                    if is_kept && !self.damages.contains(&said) {
                        self.damages.push(said);
                    }
                    continue;
                }
            };
            if let Some(digest) = held.content.manifest
                && let Some(record) = metastore.file_by_digest(FileKind::Manifest, digest)?
            {
                wanted.entry(record.id).or_insert((FileKind::Manifest, is_kept, None)).1 |= is_kept;
            }
            for (file, kind) in needed(&manifest) {
                let part = manifest
                    .parts
                    .iter()
                    .find(|part| part.file == file || part.deletions.is_some_and(|deletions| deletions.file == file));
                wanted.entry(file).or_insert_with(|| (kind, is_kept, part.cloned())).1 |= is_kept;
            }
        }
        for (file, (kind, is_kept, part)) in &wanted {
            match metastore.file(*file)? {
                Some(_) => self.check_file(database, *file, part.as_ref()).await?,
                None if *is_kept => {
                    self.damages.push(format!("The store has no record of {}, which is needed.", kind.path(*file)));
                }
                // Collected with the last version that needed it.
                None => {}
            }
        }
        self.look_around(&*metastore, data, &wanted.keys().copied().collect())?;
        Ok(())
    }

    async fn check_file(&mut self, database: &Database, file: FileId, part: Option<&Part>) -> Result<()> {
        match database.cold().verify(file, part).await {
            Ok(bytes) => {
                self.files += 1;
                self.bytes += bytes;
                Ok(())
            }
            // A file that is not there cannot be told from one that cannot be reached, and neither can be answered from.
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Unavailable) => {
                self.damages.push(error.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Notes the files on disk that nothing refers to.
    fn look_around(&mut self, metastore: &dyn Metastore, data: &Path, wanted: &HashSet<FileId>) -> Result<()> {
        let intents: HashSet<FileId> = metastore.intents()?.into_iter().map(|(id, _)| id).collect();
        for folder in ["parts", "deletes", "manifests"] {
            let Ok(listing) = std::fs::read_dir(data.join(folder)) else { continue };
            for entry in listing {
                let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
                match parse_path(&path) {
                    None => self.notes.push(format!("{path} is not a name of the store's.")),
                    Some((_, id)) if wanted.contains(&id) => {}
                    Some((_, id)) if intents.contains(&id) => {
                        self.notes.push(format!("{path} was never committed; the collector will take it."));
                    }
                    Some((_, id)) if metastore.file(id)?.is_some() => {
                        self.notes.push(format!("{path} is referred to by nothing; the collector will take it."));
                    }
                    Some(_) => self.notes.push(format!("{path} is unknown to the log.")),
                }
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

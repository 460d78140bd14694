//! The check: reads every byte that the store keeps and verifies it, down to the rows of the log. It names each damage, and
//! what it touches. It repairs nothing, and changes nothing.
//!
//! ```text
//!   metastore   its own check: pages, checksums, the chain of the log, every tally
//!   roots       ─► manifests ─► parts, deletion vectors          what is needed must be there
//!   files       each that has a record: length, digest, and that it is what its manifest says
//!   folder      names that nobody knows are noted: they hurt nobody
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::catalog::{Change, ObjectKind};
use crate::cold::{Manifest, Part, blocking, is_staged, parse_path};
use crate::db::Database;
use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, FileId, TableId};
use crate::log::FileKind;
use crate::upkeep::collect::Fate;
use crate::upkeep::keep::{Held, KeeperKind};

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Commits that were verified.
    pub versions: u64,
    /// Files that are whole.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// What cannot be answered from any more, each with the tables and snapshots that it touches.
    pub damages: Vec<String>,
    /// What is out of order and hurts nobody.
    pub notes: Vec<String>,
}

impl Database {
    /// Verifies everything. `folder` is where the store lies on disk, to look for files there that nobody knows.
    pub async fn check(&self, folder: Option<&Path>) -> Result<Checked> {
        let this = self.clone();
        let lines = blocking(move || this.metastore().check()).await?;
        let versions = self.now().version().0;
        let mut found = Checked { versions, damages: lines, ..Checked::default() };
        if let Err(error) = self.check_files(&mut found, folder).await {
            found.damage(error)?;
        }
        found.notes.sort();
        Ok(found)
    }

    async fn check_files(&self, found: &mut Checked, folder: Option<&Path>) -> Result<()> {
        // What could be thinned out is read meanwhile, and has to be whole.
        let plan = self.plan_without(HashSet::new()).await?;
        let contents = self.contents_without(HashSet::new()).await?;
        let mut manifests: HashMap<Digest, Arc<Manifest>> = HashMap::new();
        let mut parts: HashMap<FileId, Part> = HashMap::new();
        for digest in contents.iter().filter_map(|held| held.content.manifest) {
            // Of one that cannot be read the plan says whether it is needed.
            let Ok(manifest) = self.cold().manifest(digest).await else { continue };
            for part in &manifest.parts {
                let vector = part.deletions.map(|deletions| deletions.file);
                for file in std::iter::once(part.file).chain(vector) {
                    parts.entry(file).or_insert_with(|| part.clone());
                }
            }
            manifests.insert(digest, manifest);
        }
        let mut fates = HashMap::new();
        for file in plan.files {
            let was_committed = file.length > 0;
            if was_committed {
                match self.cold().verify(file.id, parts.get(&file.id)).await {
                    Ok(bytes) => (found.files, found.bytes) = (found.files + 1, found.bytes + bytes),
                    // A file that is not there cannot be told from one that cannot be reached; neither can be answered from.
                    Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Unavailable) => {
                        if matches!(self.metastore().file(file.id), Ok(None)) {
                            // Collected meanwhile.
                        } else if matches!(file.fate, Fate::Kept(_) | Fate::Unclear(_)) {
                            let touches = self.touched_by(file.id, file.kind, &contents, &manifests)?;
                            found.add(format!("{error}{touches}"));
                        } else {
                            found.notes.push(format!("{error} Nothing needs it."));
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            fates.insert(file.id, file.fate);
        }
        for damage in plan.damages {
            let said = damage.to_string();
            if !found.damages.iter().any(|line| line.starts_with(&said)) {
                found.damage(damage)?;
            }
        }
        match folder {
            Some(folder) => look_around(found, folder, &fates),
            None => Ok(()),
        }
    }

    /// Names the tables and the snapshots whose rows a file holds.
    fn touched_by(
        &self,
        file: FileId,
        kind: FileKind,
        contents: &[Held],
        manifests: &HashMap<Digest, Arc<Manifest>>,
    ) -> Result<String> {
        let record = self.metastore().file(file)?;
        let own = record.filter(|_| kind == FileKind::Manifest).map(|record| record.digest);
        let holds = |digest: Digest| {
            own == Some(digest) || manifests.get(&digest).is_some_and(|manifest| manifest.files().any(|id| id == file))
        };
        let (mut tables, mut snapshots) = (BTreeSet::new(), BTreeSet::new());
        for held in contents.iter().filter(|held| !held.keepers.is_empty() && held.content.manifest.is_some_and(holds))
        {
            tables.insert(self.newest_name(held.table)?);
            let pinned = held.keepers.iter().filter(|keeper| keeper.kind == KeeperKind::Pinned);
            snapshots.extend(pinned.map(|keeper| keeper.why.to_string()));
        }
        let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
        Ok(match (tables.is_empty(), snapshots.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!(" It holds rows of {}.", list(tables)),
            (false, false) => format!(" It holds rows of {}; of {}.", list(tables), list(snapshots)),
        })
    }

    /// Returns what a table and its database were called last.
    fn newest_name(&self, id: TableId) -> Result<String> {
        let rows = self.metastore().object(ObjectKind::Table, id.0)?;
        let Some(Change::PutTable(table)) = rows.into_iter().last().map(|row| row.object) else {
            return Ok(format!("table {id}"));
        };
        let rows = self.metastore().object(ObjectKind::Database, table.database.0)?;
        Ok(match rows.into_iter().last().map(|row| row.object) {
            Some(Change::PutDatabase(database)) => format!("{}.{}", database.name, table.name),
            _ => table.name.clone(),
        })
    }
}

/// Notes the files on disk that nothing reaches.
fn look_around(found: &mut Checked, folder: &Path, fates: &HashMap<FileId, Fate>) -> Result<()> {
    for kind in [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest] {
        let Ok(listing) = std::fs::read_dir(folder.join(kind.folder())) else { continue };
        for entry in listing {
            let path = format!("{}/{}", kind.folder(), entry?.file_name().to_string_lossy());
            let note = match parse_path(&path).map(|(_, id)| fates.get(&id)) {
                None if is_staged(&path) => "was not written to its end; it goes when the store is opened.".to_owned(),
                None => "is not a name of the store's.".to_owned(),
                Some(None) => "is unknown to the log.".to_owned(),
                Some(Some(Fate::Kept(_))) => continue,
                Some(Some(Fate::Unclear(why))) => format!("stays: {why}"),
                Some(Some(Fate::Waits(_))) => "is reached by nothing; the collector will take it.".to_owned(),
                Some(Some(Fate::Goes(why))) => format!("goes: {why}; the collector will take it."),
            };
            found.notes.push(format!("{path} {note}"));
        }
    }
    Ok(())
}

impl Checked {
    /// Takes note of damage that ends a check early; any other error stays one.
    pub fn damage(&mut self, error: Error) -> Result<()> {
        if error.kind() != Kind::Corrupt {
            return Err(error);
        }
        self.add(error.to_string());
        Ok(())
    }

    fn add(&mut self, line: String) {
        if !self.damages.contains(&line) {
            self.damages.push(line);
        }
    }
}

//! Which contents refer to a file. What keeps a content is the collector's to say (`core::upkeep::keep`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use strandline_core::catalog::Content;
use strandline_core::cold::{Manifest, Part};
use strandline_core::db::Database;
use strandline_core::error::{Error, Result};
use strandline_core::ids::{Digest, FileId};
use strandline_core::log::FileKind;
use strandline_core::upkeep::keep::Held;

/// Manifests by digest; what cannot be read stands with its error.
#[derive(Default)]
pub struct Manifests {
    known: HashMap<Digest, Result<Arc<Manifest>, String>>,
}

impl Manifests {
    /// Returns the manifest of a content; an empty one while nothing was flushed.
    pub async fn of(&mut self, database: &Database, content: &Content) -> Result<Arc<Manifest>, String> {
        let Some(digest) = content.manifest else { return Ok(Arc::default()) };
        match self.known.entry(digest) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => {
                let read = database.cold().manifest(digest).await.map_err(|error| error.to_string());
                unknown.insert(read).clone()
            }
        }
    }
}

/// A content that refers to a file, and as what.
pub struct Reference {
    pub held: Held,
    /// The part itself, or the one whose deletion vector it is.
    pub part: Option<Part>,
}

/// Returns the contents that refer to a file, oldest first.
pub async fn references(database: &Database, file: FileId) -> Result<Vec<Reference>> {
    let record = database.metastore().file(file)?;
    let as_manifest = record.filter(|record| record.kind == FileKind::Manifest).map(|record| record.digest);
    let mut manifests = Manifests::default();
    let mut found = Vec::new();
    for held in database.contents().await? {
        // Equal manifests are stored more than once; any of them may be the one that is read.
        if as_manifest.is_some() && held.content.manifest == as_manifest {
            found.push(Reference { held, part: None });
            continue;
        }
        // One that is gone with the versions that read it refers to nothing any more.
        let Ok(manifest) = manifests.of(database, &held.content).await else { continue };
        let part = manifest
            .parts
            .iter()
            .find(|part| part.file == file || part.deletions.is_some_and(|deletions| deletions.file == file));
        if let Some(part) = part.cloned() {
            found.push(Reference { held, part: Some(part) });
        }
    }
    found.sort_by_key(|reference| (reference.held.begin, reference.held.table));
    Ok(found)
}

/// Returns the error for a file that nobody knows.
pub fn unknown(file: FileId) -> Error {
    Error::invalid(format!("The store has no file {file}.")).with_hint("'strandline debug moment' lists parts.")
}

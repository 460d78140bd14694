//! Which contents refer to a file, and what keeps a content.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use strandline_core::catalog::{Catalog, Change, Content, ObjectKind};
use strandline_core::cold::{Manifest, Part};
use strandline_core::db::Database;
use strandline_core::error::{Error, Result};
use strandline_core::ids::{Digest, FileId, TableId, Version};
use strandline_core::log::policy::{self, PolicyKind};
use strandline_core::log::{FileKind, Pin, Scope};
use strandline_core::schema::{Account, same_name};
use strandline_core::when::Pitr;

use super::resolved;

/// What a table held from `begin` until before `end`.
pub struct Held {
    pub table: TableId,
    pub begin: Version,
    /// `Version::MAX` while it stands.
    pub end: Version,
    pub content: Arc<Content>,
    /// The compressed snapshot whose copy it is.
    pub copy_of: Option<String>,
}

/// Returns every content that the catalog still knows, of dropped tables too, and those of copies.
pub fn contents(database: &Database) -> Result<Vec<Held>> {
    let metastore = database.metastore();
    let mut all = Vec::new();
    for id in 1..=metastore.greatest_id(ObjectKind::Content)? {
        for row in metastore.object(ObjectKind::Content, id)? {
            if let Change::PutContent(table, content) = row.object {
                all.push(Held { table, begin: row.begin, end: row.end, content, copy_of: None });
            }
        }
    }
    for pin in metastore.pins()? {
        for (table, content) in pin.terms.copy.into_iter().flatten() {
            let (begin, end, content) = (pin.version, pin.version.next(), Arc::new(content));
            all.push(Held { table, begin, end, content, copy_of: Some(pin.name.clone()) });
        }
    }
    Ok(all)
}

/// Manifests by digest, each with its file; what cannot be read stands with its error.
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
    for held in contents(database)? {
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

/// Everything that keeps contents: the present, the window, and snapshots with what existed at each.
pub struct Keepers {
    /// The version that was the newest when the window began.
    window_from: Version,
    window: String,
    /// Policies, each with the version that was the newest when its window began.
    policies: Vec<(Pitr, Version)>,
    pins: Vec<(Pin, Arc<Catalog>)>,
}

impl Keepers {
    pub fn of(database: &Database) -> Result<Keepers> {
        let metastore = database.metastore();
        let at_start = metastore.newest_at(database.window_start())?;
        let mut policies = Vec::new();
        for pitr in policy::read::<Pitr>(&**metastore, PolicyKind::Pitr)? {
            let from = metastore.newest_at(pitr.start(database.env().now()))?;
            policies.push((pitr, from.map_or(Version(1), |entry| entry.version)));
        }
        let mut catalogs: HashMap<Version, Arc<Catalog>> = HashMap::new();
        let mut pins = Vec::new();
        for pin in metastore.pins()? {
            let catalog = match catalogs.get(&pin.version) {
                Some(catalog) => catalog.clone(),
                None => database.moment(&resolved(database, pin.version)?)?.catalog().clone(),
            };
            catalogs.insert(pin.version, catalog.clone());
            pins.push((pin, catalog));
        }
        Ok(Keepers {
            window_from: at_start.map_or(Version(1), |entry| entry.version),
            window: database.window().to_string(),
            policies,
            pins,
        })
    }

    /// Returns what keeps a content, one sentence each; none if nothing does.
    pub fn reasons(&self, database: &Database, held: &Held) -> Result<Vec<String>> {
        if let Some(name) = &held.copy_of {
            return Ok(vec![format!("it is the copy of snapshot '{name}'")]);
        }
        let mut reasons = Vec::new();
        if held.end == Version::MAX {
            reasons.push("it is what the table holds now".to_owned());
        }
        if held.end > self.window_from && held.end != Version::MAX {
            let from = held.begin.max(self.window_from);
            let upto = held.end.0 - 1;
            reasons.push(format!("the recovery window of {} reaches back to versions {from} to {upto}", self.window));
        }
        for (pitr, from) in &self.policies {
            if held.end == Version::MAX || held.end <= *from {
                continue;
            }
            if names_between(database, held.table, held.begin.max(*from), held.end)?.iter().any(|name| name.is_of(pitr))
            {
                reasons.push(format!("PITR '{}' reaches back to version {from}", pitr.name));
            }
        }
        // A compressed snapshot keeps its copy, and nothing else.
        for (pin, catalog) in self.pins.iter().filter(|(pin, _)| pin.terms.copy.is_none()) {
            if held.begin <= pin.version && pin.version < held.end && admits(pin, catalog, held.table) {
                reasons.push(format!("snapshot '{}' of version {}", pin.name, pin.version));
            }
        }
        Ok(reasons)
    }

    pub fn is_kept(&self, database: &Database, held: &Held) -> Result<bool> {
        Ok(!self.reasons(database, held)?.is_empty())
    }
}

/// Tells whether a snapshot speaks of a table, by the names of its version.
fn admits(pin: &Pin, catalog: &Catalog, table: TableId) -> bool {
    let Some(table) = catalog.table_by_id(table) else { return false };
    let Some(database) = catalog.database_by_id(table.database) else { return false };
    let account = catalog.account_by_id(database.account).map_or("", |account| account.name.as_str());
    pin.admits_table(account, &database.name, &table.name).is_ok()
}

/// What a table was called at some time.
struct Name {
    account: Account,
    scope: Scope,
}

impl Name {
    fn is_of(&self, pitr: &Pitr) -> bool {
        match &pitr.scope {
            Scope::Cluster => true,
            Scope::Account(name) => same_name(name, &self.account.name),
            scope => pitr.account == self.account.id && scope.holds(&self.scope),
        }
    }
}

/// Returns every name that a table had from `begin` to before `end`: a rename does not end a content.
fn names_between(database: &Database, table: TableId, begin: Version, end: Version) -> Result<Vec<Name>> {
    let metastore = database.metastore();
    let rows = |kind, id| -> Result<Vec<Change>> {
        let rows = metastore.object(kind, id)?.into_iter();
        Ok(rows.filter(|row| row.begin < end && begin < row.end).map(|row| row.object).collect())
    };
    let mut names = Vec::new();
    for change in rows(ObjectKind::Table, table.0)? {
        let Change::PutTable(table) = change else { continue };
        for change in rows(ObjectKind::Database, table.database.0)? {
            let Change::PutDatabase(home) = change else { continue };
            for change in rows(ObjectKind::Account, home.account.0)? {
                let Change::PutAccount(account) = change else { continue };
                let scope = Scope::Tables(home.name.clone(), vec![table.name.clone()]);
                names.push(Name { account, scope });
            }
        }
    }
    Ok(names)
}

/// Returns the files that a kept content needs: `(file, kind)`, each once.
pub fn needed(manifest: &Manifest) -> Vec<(FileId, FileKind)> {
    let mut seen = HashSet::new();
    let parts = manifest.parts.iter().map(|part| (part.file, FileKind::Part));
    let vectors = manifest.parts.iter().filter_map(|part| Some((part.deletions?.file, FileKind::DeletionVector)));
    parts.chain(vectors).filter(|(file, _)| seen.insert(*file)).collect()
}

/// Returns the error for a file that nobody knows.
pub fn unknown(file: FileId) -> Error {
    Error::invalid(format!("The store has no file {file}.")).with_hint("'strandline debug moment' lists parts.")
}

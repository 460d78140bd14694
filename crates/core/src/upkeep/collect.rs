//! Collection: files and deltas that nothing can reach any more go, and their space comes back.
//!
//! ```text
//!   roots      the present · recovery windows · snapshots · open moments
//!   reach      contents ─► manifests ─► parts, deletion vectors       contents ─► ranges of the log
//!   files      reached by no root ─► condemned ─► after the grace, and still so: withdrawn ─► deleted ─► forgotten
//!   log        deltas in no range ─► trimmed; the entries stay
//! ```
//! A withdrawn file has an intent again, so that a crash before its deletion leaves no file that nobody knows. When in
//! doubt a file stays: if one root cannot be read, nothing is collected at all. Only names that the metastore holds are
//! ever deleted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::{Change, Content, ObjectKind};
use crate::cold::blocking;
use crate::db::Database;
use crate::error::Result;
use crate::ids::{AccountId, DatabaseId, Digest, FileId, TableId, Time, Version};
use crate::log::{EntryQuery, FileHead, FileKind, Pin, Scope};
use crate::schema::same_name;
use crate::when::{self, Pitr};

/// What a collection would do, or did.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Every committed file, and those that a crash left.
    pub files: Vec<FileVerdict>,
    /// Entries of the log whose deltas nothing reads any more.
    pub trims: Vec<Version>,
    /// Where the next collection begins to look through the log.
    looked: Looked,
}

/// Up to where the log was looked through for snapshots and policies that were these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Looked {
    terms: Digest,
    upto: Version,
}

/// What becomes of a file, and why.
#[derive(Clone, Debug)]
pub struct FileVerdict {
    pub id: FileId,
    pub kind: FileKind,
    /// Bytes; 0 where a crash left a file that was never finished.
    pub length: u64,
    pub fate: Fate,
}

/// What becomes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Something reaches it: what.
    Kept(Arc<str>),
    /// Nothing reaches it; it goes after this time, unless something does by then.
    Waits(Time),
    /// Nothing reaches it, and nothing has since its grace began.
    Goes(&'static str),
}

/// What a collection has given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Entries of the log whose deltas were taken out.
    pub entries: u64,
    /// Bytes of those deltas.
    pub entry_bytes: u64,
    /// Files that nothing reaches and whose grace is not over.
    pub waiting: u64,
}

/// The setting that holds [`Looked`].
const LOOKED_SETTING: &str = "collector";

/// How many files are withdrawn by one write.
const FILES_MAX: usize = 1000;
/// How many entries are trimmed by one write. Commits wait for it.
const TRIMS_MAX: usize = 200;
/// How many entries are read at a time.
const PAGE: u64 = 4096;

/// What must stay.
struct Roots {
    /// Manifests, each with the first reason for it.
    manifests: HashMap<Digest, Arc<str>>,
    /// What is read of the log, by the table in whose name it stands there.
    ranges: HashMap<TableId, Vec<Range>>,
    /// All later entries stay as they are.
    window: Version,
    /// Names the snapshots and policies that there are.
    terms: Digest,
}

/// Deltas that a content reads.
#[derive(Clone, Copy)]
struct Range {
    /// Exclusive.
    after: Version,
    /// Inclusive.
    upto: Version,
    /// Only snapshots read it: nothing changes about that while there are no others.
    is_pinned: bool,
}

impl Roots {
    fn readers(&self, table: TableId, version: Version) -> impl Iterator<Item = &Range> {
        let ranges = self.ranges.get(&table).into_iter().flatten();
        ranges.filter(move |range| range.after < version && version <= range.upto)
    }

    fn keep(&mut self, table: TableId, content: &Content, upto: Version, (why, is_pinned): (&Arc<str>, bool)) {
        if let Some(manifest) = content.manifest {
            self.manifests.entry(manifest).or_insert_with(|| why.clone());
        }
        self.ranges.entry(table).or_default().push(Range { after: content.flushed, upto, is_pinned });
        for range in &content.inherited {
            let range_of_origin = Range { after: range.after, upto: range.upto, is_pinned };
            self.ranges.entry(range.origin).or_default().push(range_of_origin);
        }
    }
}

/// A table as it was called through time.
struct Names(Vec<(AccountId, String, String)>);

impl Names {
    /// Tells whether a scope of an account's may ever have spoken of the table.
    fn in_scope(&self, account: AccountId, scope: &Scope) -> bool {
        self.0.iter().any(|(own, database, table)| match scope {
            Scope::Cluster | Scope::Account(_) => true,
            Scope::Database(name) => *own == account && same_name(name, database),
            Scope::Tables(name, tables) => {
                *own == account && same_name(name, database) && tables.iter().any(|name| same_name(name, table))
            }
        })
    }
}

impl Database {
    /// Says what becomes of every file, and of which entries the deltas would go. Changes nothing.
    pub async fn plan_collection(&self) -> Result<Collection> {
        // Files that are committed later belong to contents that are read later.
        let this = self.clone();
        let (files, roots) = blocking(move || Ok((this.metastore().files()?, this.roots()?))).await?;
        let mut kept: HashMap<FileId, Arc<str>> = HashMap::new();
        for (digest, why) in &roots.manifests {
            let manifest = self.cold().manifest(*digest).await?;
            for part in &manifest.parts {
                kept.entry(part.file).or_insert_with(|| why.clone());
                if let Some(deletions) = part.deletions {
                    kept.entry(deletions.file).or_insert_with(|| why.clone());
                }
            }
        }
        let (now, grace) = (self.env().now(), self.options().grace_micros);
        let condemned = self.0.condemned.lock().clone();
        let verdict = |file: &FileHead| {
            let why = match file.kind {
                FileKind::Manifest => roots.manifests.get(&file.digest),
                _ => kept.get(&file.id),
            };
            let fate = match why {
                Some(why) => Fate::Kept(why.clone()),
                None => match condemned.get(&file.id).copied().unwrap_or(now).plus_micros(grace) {
                    over if over <= now => Fate::Goes("nothing reaches it"),
                    until => Fate::Waits(until),
                },
            };
            FileVerdict { id: file.id, kind: file.kind, length: file.length, fate }
        };
        let mut files: Vec<FileVerdict> = files.iter().map(verdict).collect();
        files.extend(self.cold().files().abandoned().into_iter().map(|(id, kind)| FileVerdict {
            id,
            kind,
            length: 0,
            fate: Fate::Goes("it was never committed, and nobody writes it any more"),
        }));
        let this = self.clone();
        let (trims, looked) = blocking(move || this.trims(&roots)).await?;
        Ok(Collection { files, trims, looked })
    }

    /// Deletes what nothing has reached for the length of the grace, and trims the log.
    pub async fn collect(&self) -> Result<Collected> {
        let _one = self.0.collecting.lock().await;
        self.flush_older_than_the_window().await?;
        let plan = self.plan_collection().await?;
        let now = self.env().now();
        let mut done = Collected::default();
        let mut going = Vec::new();
        {
            let mut condemned = self.0.condemned.lock();
            let mut since = HashMap::new();
            for file in &plan.files {
                match file.fate {
                    Fate::Kept(_) => {}
                    Fate::Waits(_) => {
                        since.insert(file.id, condemned.get(&file.id).copied().unwrap_or(now));
                        done.waiting += 1;
                    }
                    Fate::Goes(_) => going.push(file),
                }
            }
            *condemned = since;
        }
        // Manifests first: while one stands, so does what it names.
        going.sort_by_key(|file| file.kind != FileKind::Manifest);
        let mut failed = Ok(());
        for batch in going.chunks(FILES_MAX) {
            failed = failed.and(self.delete_files(batch, &mut done).await);
        }
        for batch in plan.trims.chunks(TRIMS_MAX) {
            let (metastore, batch) = (self.metastore().clone(), batch.to_vec());
            let trimmed = blocking(move || metastore.trim(&batch)).await?;
            done.entries += trimmed.entries;
            done.entry_bytes += trimmed.bytes;
        }
        let looked = serde_json::to_string(&plan.looked)?;
        if self.metastore().setting(LOOKED_SETTING)?.as_ref() != Some(&looked) {
            self.metastore().put_setting(LOOKED_SETTING, &looked)?;
        }
        if done.files + done.entries > 0 {
            tracing::info!(
                files = done.files,
                bytes = done.bytes,
                entries = done.entries,
                entry_bytes = done.entry_bytes,
                "collected what nothing reaches"
            );
        }
        failed.map(|()| done)
    }

    /// Flushes tables whose rows have stood in the log for longer than anybody may ask for them: it can be trimmed then.
    async fn flush_older_than_the_window(&self) -> Result<()> {
        let Some(window) = self.metastore().newest_at(self.window_start())?.map(|entry| entry.version) else {
            return Ok(());
        };
        let now = self.now();
        for table in now.catalog().all_tables() {
            let Some(content) = now.catalog().content(table.id) else { continue };
            let inherits = content.inherited.iter().any(|range| range.after < window);
            if inherits || (content.flushed < window && self.logged(table.id, content.flushed, window)?) {
                // Its rows stay in the log, and are kept there: the rest need not wait for it.
                if let Err(error) = self.flush_table(table.id).await {
                    tracing::warn!(%error, table = %table.name, "a table that has stood in the log for long was not flushed");
                }
            }
        }
        Ok(())
    }

    async fn delete_files(&self, batch: &[&FileVerdict], done: &mut Collected) -> Result<()> {
        let files: Vec<(FileId, FileKind)> = batch.iter().map(|file| (file.id, file.kind)).collect();
        let (metastore, withdrawn) = (self.metastore().clone(), files.clone());
        blocking(move || metastore.withdraw_files(&withdrawn)).await?;
        let lengths: HashMap<FileId, u64> = batch.iter().map(|file| (file.id, file.length)).collect();
        let count = |id: FileId| {
            done.files += 1;
            done.bytes += lengths[&id];
        };
        self.cold().files().clear(&files, count).await
    }

    /// Returns the entries before the window whose deltas no root reads, as far as they were not looked at before.
    fn trims(&self, roots: &Roots) -> Result<(Vec<Version>, Looked)> {
        let before = match self.metastore().setting(LOOKED_SETTING)? {
            Some(looked) => serde_json::from_str(&looked)?,
            None => Looked::default(),
        };
        let mut after = if before.terms == roots.terms { before.upto } else { Version(0) };
        let mut trims = Vec::new();
        // Where something is read now that will not be for ever: there the next collection begins.
        let mut passing = roots.window.next();
        while after < roots.window {
            let upto = Version((after.0 + PAGE).min(roots.window.0));
            let query = EntryQuery { from: after.next(), upto, tables: None, upkeep: true, limit: PAGE as usize };
            for entry in self.metastore().entries(&query)? {
                let version = entry.head.version;
                let mut readers = entry.tables.iter().flat_map(|(table, ..)| roots.readers(*table, version)).peekable();
                if readers.peek().is_none() && !entry.tables.is_empty() {
                    trims.push(version);
                } else if readers.any(|range| !range.is_pinned) {
                    passing = passing.min(version);
                }
            }
            after = upto;
        }
        Ok((trims, Looked { terms: roots.terms, upto: Version(passing.0 - 1) }))
    }

    /// Gathers what must stay.
    fn roots(&self) -> Result<Roots> {
        let (store, metastore) = (&self.0.store, self.metastore());
        // What is open is asked first: a moment that is closed meanwhile may live on in a commit or a snapshot, which are
        // asked later.
        let mut opened: Vec<(Version, Arc<str>)> = Vec::new();
        for version in store.opens.versions().into_iter().chain(store.transactions.versions()) {
            opened.push((version, format!("a query or transaction that reads version {version}").into()));
        }
        let pins = metastore.pins()?;
        let policies = when::pitrs(store)?;
        let head = store.head.load().version;
        // Whoever was told just now that a moment is in the window has time to open it.
        let margin = |start: Time| start.plus_micros(-self.options().grace_micros);
        let mut versions: BTreeMap<Time, Version> = BTreeMap::new();
        let mut version_at = |start: Time| -> Result<Version> {
            if let Some(version) = versions.get(&start) {
                return Ok(*version);
            }
            let version = metastore.newest_at(start)?.map_or(Version(0), |entry| entry.version);
            versions.insert(start, version);
            Ok(version)
        };
        let now = self.env().now();
        let default_start = margin(self.window_start());
        // What a load is checked against at its end begins where it began.
        let window = version_at(default_start)?.min(store.transactions.oldest(head));
        let mut roots =
            Roots { manifests: HashMap::new(), ranges: HashMap::new(), window, terms: terms(&pins, &policies)? };
        for id in metastore.ids(ObjectKind::Content)? {
            let table = TableId(id);
            let names = self.names_of(table)?;
            let name = names
                .0
                .last()
                .map_or_else(|| format!("table {id}"), |(_, database, table)| format!("{database}.{table}"));
            let over = |policy: &&Pitr| names.in_scope(policy.account, &policy.scope);
            let start = policies.iter().filter(over).map(|policy| margin(policy.start(now)));
            let since = version_at(start.fold(default_start, Time::min))?;
            let present: Arc<str> = format!("the present of {name}").into();
            let in_window: Arc<str> = format!("the recovery window of {name}").into();
            for row in metastore.object(ObjectKind::Content, id)? {
                let Change::PutContent(_, content) = &row.object else { continue };
                let mut why: Option<Arc<str>> = None;
                let mut upto = Version(0);
                let mut keep = |version: Version, reason: &Arc<str>| {
                    why.get_or_insert_with(|| reason.clone());
                    upto = upto.max(version);
                };
                if row.end == Version::MAX {
                    keep(head.max(row.begin), &present);
                } else if row.end > since {
                    keep(Version(row.end.0 - 1), &in_window);
                }
                let stands = |version: Version| row.begin <= version && version < row.end;
                for (version, reason) in opened.iter().filter(|(version, _)| stands(*version)) {
                    keep(*version, reason);
                }
                if let Some(why) = why.take() {
                    roots.keep(table, content, upto, (&why, false));
                }
                let of_table = |pin: &&Pin| pin.terms.copy.is_none() && names.in_scope(pin.account, &pin.scope);
                let pinned = pins.iter().filter(|pin| stands(pin.version)).filter(of_table);
                if let Some(pin) = pinned.max_by_key(|pin| pin.version) {
                    roots.keep(table, content, pin.version, (&format!("snapshot '{}'", pin.name).into(), true));
                }
            }
        }
        for pin in &pins {
            for (table, content) in pin.terms.copy.iter().flatten() {
                roots.keep(
                    *table,
                    content,
                    pin.version,
                    (&format!("the copy of snapshot '{}'", pin.name).into(), true),
                );
            }
        }
        Ok(roots)
    }

    /// Returns what a table and its database were ever called.
    fn names_of(&self, table: TableId) -> Result<Names> {
        let mut names = Vec::new();
        for row in self.metastore().object(ObjectKind::Table, table.0)? {
            let Change::PutTable(table) = &row.object else { continue };
            for home in self.homes(table.database)? {
                names.push((home.0, home.1, table.name.clone()));
            }
        }
        Ok(Names(names))
    }

    fn homes(&self, database: DatabaseId) -> Result<Vec<(AccountId, String)>> {
        let rows = self.metastore().object(ObjectKind::Database, database.0)?;
        let named = rows.into_iter().filter_map(|row| match row.object {
            Change::PutDatabase(database) => Some((database.account, database.name)),
            _ => None,
        });
        Ok(named.collect())
    }
}

/// Names what decides about entries that no window keeps.
fn terms(pins: &[Pin], policies: &[Pitr]) -> Result<Digest> {
    let pins: Vec<_> = pins.iter().map(|pin| pin.id.0).collect();
    Ok(Digest::of(serde_json::to_string(&(pins, policies))?.as_bytes()))
}

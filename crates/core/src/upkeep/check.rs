//! The check: verifies what the store keeps. It names each damage, and what it touches. It repairs nothing, and changes
//! nothing.
//!
//! ```text
//!   metastore   chains, checksums, tallies · all of its pages, the deltas · each row of a delta
//!   roots       ─► manifests ─► parts, deletion vectors       what is needed must be there
//!   files       length · digest, and that it is what its manifest says · each row of a part
//!   folder      names that nobody knows are noted: they hurt nobody
//!               └ Presence ┘  └ Bytes ─────────────────────────────┘  └ Rows ─────────┘
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use futures::StreamExt;

use crate::catalog::{Change, ObjectKind};
use crate::cold::{Part, blocking, is_staged, parse_path};
use crate::db::Database;
use crate::error::{Error, Kind, Result};
use crate::health::Damage;
use crate::ids::{AccountId, Digest, FileId, PinId, TableId, Version};
use crate::log::delta::Delta;
use crate::log::{EntryQuery, FileKind};
use crate::upkeep::collect::{Fate, FileVerdict};
use crate::upkeep::keep::{KeeperKind, Keepers};

/// How closely a check looks. Each looks at all that those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// That everything is there: the log's chains and tallies, each file's length.
    Presence,
    /// Every byte.
    Bytes,
    /// Every row, by decoding it.
    Rows,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Commits that were verified.
    pub versions: u64,
    /// Files that are whole, as far as was looked.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Rows of parts that were decoded.
    pub rows: u64,
    /// What cannot be answered from any more.
    pub damages: Vec<Damage>,
    /// What is out of order and hurts nobody.
    pub notes: Vec<String>,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is looked at: `log` (counted in commits) or `files` (in bytes; without reading them, in files).
    pub what: &'static str,
    pub done: u64,
    pub total: u64,
}

/// What needs files that are damaged.
#[derive(Default)]
pub(super) struct Touched {
    by_file: HashMap<FileId, (BTreeSet<String>, BTreeSet<String>)>,
    /// A manifest that something needs cannot be read: what it names is not known.
    pub is_unclear: bool,
}

/// What a table is read through.
#[derive(Default)]
struct Reads {
    manifests: BTreeSet<Digest>,
    /// Per table whose log they stand in, ranges of the log.
    deltas: HashMap<TableId, Vec<(Version, Version)>>,
}

impl Reads {
    fn need(&self, lost: &Lost) -> bool {
        match lost {
            Lost::Manifest(digest) => self.manifests.contains(digest),
            Lost::Deltas(table, after, upto) => {
                let ranges = self.deltas.get(table).into_iter().flatten();
                ranges.into_iter().any(|range| range.0 < *upto && *after < range.1)
            }
        }
    }
}

/// What is not there, and was needed when the check began.
struct Missing {
    what: Lost,
    line: String,
}

enum Lost {
    Manifest(Digest),
    /// Of a table, in `(after, upto]`.
    Deltas(TableId, Version, Version),
}

/// The metastore's file, as damage names it.
pub(super) const METASTORE: &str = "metastore.db";

/// How many entries of the log are decoded by one call.
const ENTRIES: u64 = 500;

/// How many commits on one table are verified by one call.
const DELTAS: usize = 64;

/// How many files are looked for at the same time.
const LOOKS_MAX: usize = 32;

impl Database {
    /// Verifies everything, down to each row. `folder` is where the store lies on disk, to look for files there that nobody
    /// knows.
    pub async fn check(&self, folder: Option<&Path>) -> Result<Checked> {
        self.check_to(Depth::Rows, folder, &|_| {}).await
    }

    /// As `check`, no closer than asked for.
    pub async fn check_to(
        &self,
        depth: Depth,
        folder: Option<&Path>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Checked> {
        let head = self.now().version();
        progress(Progress { what: "log", done: 0, total: head.0 });
        let this = self.clone();
        let lines = match depth {
            Depth::Presence => blocking(move || this.metastore().check_chains()).await?,
            Depth::Bytes | Depth::Rows => blocking(move || this.metastore().check()).await?,
        };
        let mut found = Checked { versions: head.0, ..Checked::default() };
        found.add_lines(lines);
        if depth == Depth::Rows {
            self.decode_log(head, &mut found, progress).await?;
        }
        if let Err(error) = self.check_files(depth, &mut found, folder, progress).await {
            found.notes.push(format!("Not all files were verified, for it is not known what needs them. {error}"));
            found.damage(error)?;
        }
        found.notes.sort();
        Ok(found)
    }

    /// Verifies what is kept of one table: its present, and its past as far as a window or a snapshot needs it.
    pub async fn check_table(&self, table: TableId, depth: Depth) -> Result<Checked> {
        let reads = self.reads_of(table).await?;
        let mut found = Checked::default();
        let mut missing = Vec::new();
        if depth >= Depth::Bytes {
            let mut lines = Vec::new();
            for (origin, ranges) in &reads.deltas {
                for range in joined(ranges.clone()) {
                    missing.extend(self.check_deltas(*origin, range, depth, &mut lines).await?);
                }
            }
            let name = vec![self.newest_name(table)?];
            for line in lines {
                found.add(Damage { tables: name.clone(), ..of_metastore(line) });
            }
        }
        // With the manifest that names each.
        let mut parts: HashMap<FileId, (Digest, Option<Part>)> = HashMap::new();
        for digest in reads.manifests {
            match self.cold().files().record_by_digest(FileKind::Manifest, digest).await {
                Ok(Some(record)) => drop(parts.insert(record.id, (digest, None))),
                Ok(None) => missing.push(Missing {
                    what: Lost::Manifest(digest),
                    line: format!("The store has no manifest {digest}."),
                }),
                Err(error) => found.damage(error)?,
            }
            // One that cannot be read is found where its file is verified.
            let Ok(manifest) = self.cold().manifest(digest).await else { continue };
            for part in &manifest.parts {
                let vector = part.deletions.map(|deletions| deletions.file);
                for file in std::iter::once(part.file).chain(vector) {
                    parts.entry(file).or_insert_with(|| (digest, Some(part.clone())));
                }
            }
        }
        let mut failed = Vec::new();
        for (file, (manifest, part)) in parts {
            match self.verify(file, part.as_ref(), depth).await {
                Ok(verified) => found.count(verified),
                Err(error) if matches!(self.metastore().file(file), Ok(None)) => {
                    missing.push(Missing { what: Lost::Manifest(manifest), line: error.to_string() });
                }
                Err(error) if self.is_damage(&error).await => failed.push((file, error)),
                Err(error) => return Err(error),
            }
        }
        if !missing.is_empty() {
            // A check takes its time, and what is needed no more may go meanwhile.
            let reads = self.reads_of(table).await?;
            let name = vec![self.newest_name(table)?];
            for missing in missing.into_iter().filter(|missing| reads.need(&missing.what)) {
                found.add(Damage { tables: name.clone(), ..of_metastore(missing.line) });
            }
        }
        failed.sort_by_key(|(file, _)| *file);
        let touched = self.touched(failed.iter().map(|(file, _)| *file).collect()).await?;
        for (file, error) in failed {
            found.add(self.damage_of(file, &error, &touched)?);
        }
        Ok(found)
    }

    /// Returns what a table is read through: its present, and its past as far as a window or a snapshot needs it.
    async fn reads_of(&self, table: TableId) -> Result<Reads> {
        let this = self.clone();
        let collect = move || {
            let mut reads = Reads::default();
            Keepers::of(&this)?.each_of(&this, table, |held| {
                // An open moment holds a whole version, of which perhaps one other table was kept until then. What was thinned
                // out is read through the content before it.
                let kept = |kind: KeeperKind| kind != KeeperKind::Open && !held.is_thinned;
                let keepers = held.keepers.iter().filter(|keeper| kept(keeper.kind));
                let Some(upto) = keepers.map(|keeper| keeper.upto).max() else { return };
                reads.manifests.extend(held.content.manifest);
                if !held.is_copy {
                    reads.deltas.entry(held.table).or_default().push((held.content.flushed, upto));
                }
                for range in &held.content.inherited {
                    reads.deltas.entry(range.origin).or_default().push((range.after, range.upto));
                }
            })?;
            Ok(reads)
        };
        blocking(collect).await
    }

    /// Verifies the deltas of a table in `(after, upto]`, some commits at a time. Returns those that are not there.
    async fn check_deltas(
        &self,
        table: TableId,
        (after, mut upto): (Version, Version),
        depth: Depth,
        lines: &mut Vec<String>,
    ) -> Result<Option<Missing>> {
        while upto > after {
            let (this, page) = (self.clone(), upto);
            let query = EntryQuery { from: after.next(), upto, tables: Some(vec![table]), upkeep: true, limit: DELTAS };
            let read = move || {
                let entries = this.metastore().entries(&query)?;
                let least = match entries.len() < query.limit {
                    true => after,
                    false => entries.last().map_or(after, |entry| Version(entry.head.version.0 - 1)),
                };
                Ok((least, this.metastore().deltas(table, least, page)?))
            };
            match blocking(read).await {
                Ok((least, deltas)) => {
                    for (version, body) in deltas.iter().filter(|_| depth == Depth::Rows) {
                        decode(table, *version, body, lines);
                    }
                    upto = least;
                }
                Err(error) if error.kind() == Kind::OutOfWindow => {
                    let what = Lost::Deltas(table, after, upto);
                    return Ok(Some(Missing { what, line: error.to_string() }));
                }
                Err(error) if error.kind() == Kind::Corrupt => {
                    lines.push(error.to_string());
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn check_files(
        &self,
        depth: Depth,
        found: &mut Checked,
        folder: Option<&Path>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        // What could be thinned out is read meanwhile, and has to be whole.
        let plan = {
            // What is collected while it is planned would look like damage.
            let _none = self.0.collecting.lock().await;
            self.plan_without(HashSet::new(), &[]).await?
        };
        let this = self.clone();
        let digests = blocking(move || {
            let mut digests = HashSet::new();
            Keepers::of(&this)?.each(&this, |held| digests.extend(held.content.manifest))?;
            Ok(digests)
        })
        .await?;
        let mut parts: HashMap<FileId, Part> = HashMap::new();
        for digest in digests {
            // Of one that cannot be read the plan says whether it is needed.
            let Ok(manifest) = self.cold().manifest(digest).await else { continue };
            for part in &manifest.parts {
                let vector = part.deletions.map(|deletions| deletions.file);
                for file in std::iter::once(part.file).chain(vector) {
                    parts.entry(file).or_insert_with(|| part.clone());
                }
            }
        }
        let committed: Vec<FileVerdict> = plan.files.iter().filter(|file| file.length > 0).cloned().collect();
        let reads = depth >= Depth::Bytes;
        let units = |length: u64| if reads { length } else { 1 };
        let total = committed.iter().map(|file| units(file.length)).sum();
        let mut done = 0;
        let verified = futures::stream::iter(committed).map(|file| {
            let verified = self.verify(file.id, parts.get(&file.id), depth);
            async move { (file, verified.await) }
        });
        let mut verified = std::pin::pin!(verified.buffered(if reads { 1 } else { LOOKS_MAX }));
        let mut failed = Vec::new();
        while let Some((file, outcome)) = verified.next().await {
            done += units(file.length);
            progress(Progress { what: "files", done, total });
            match outcome {
                Ok(verified) => found.count(verified),
                Err(error) if self.is_damage(&error).await => {
                    // Unless it was collected meanwhile.
                    if !matches!(self.metastore().file(file.id), Ok(None)) {
                        failed.push((file, error));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let touched = self.touched(failed.iter().map(|(file, _)| file.id).collect()).await?;
        for (file, error) in failed {
            match &file.fate {
                Fate::Kept(_) | Fate::Unclear(_) => found.add(self.damage_of(file.id, &error, &touched)?),
                Fate::Waits(_) | Fate::Goes(_) => found.notes.push(format!("{error} Nothing needs it.")),
            }
        }
        let fates: HashMap<FileId, &Fate> = plan.files.iter().map(|file| (file.id, &file.fate)).collect();
        for damage in plan.damages {
            found.damage(damage)?;
        }
        let mut names = folder.map_or_else(|| Ok(BTreeSet::new()), names_in)?;
        names.extend(self.cold().files().names().await?);
        look_around(found, names, &fates);
        Ok(())
    }

    /// Verifies one file: returns its bytes and the rows that were decoded.
    async fn verify(&self, file: FileId, part: Option<&Part>, depth: Depth) -> Result<(u64, u64)> {
        let cold = self.cold();
        let record = cold.files().record(file).await?;
        if depth == Depth::Presence {
            return cold.files().check_length(&record).await.map(|()| (record.length, 0));
        }
        let bytes = cold.verify(file, part).await?;
        match part {
            Some(part) if depth == Depth::Rows && record.kind == FileKind::Part => {
                Ok((bytes, cold.decode(part).await?))
            }
            _ => Ok((bytes, 0)),
        }
    }

    /// Decodes every delta that the log still has.
    async fn decode_log(&self, head: Version, found: &mut Checked, progress: &(dyn Fn(Progress) + Sync)) -> Result<()> {
        let mut next = 1;
        while next <= head.0 {
            let (from, upto) = (next, (next + ENTRIES - 1).min(head.0));
            let this = self.clone();
            let lines = blocking(move || {
                let mut lines = Vec::new();
                for version in from..=upto {
                    match this.metastore().entry(Version(version)) {
                        Ok(entry) => {
                            for delta in entry.iter().flat_map(|entry| &entry.deltas) {
                                decode(delta.table, Version(version), &delta.body, &mut lines);
                            }
                        }
                        // Said by the check of the log before.
                        Err(error) if error.kind() == Kind::Corrupt => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(lines)
            })
            .await?;
            found.add_lines(lines);
            progress(Progress { what: "log", done: upto, total: head.0 });
            next = upto + 1;
        }
        Ok(())
    }

    /// Finds out which tables and snapshots need some files.
    pub(super) async fn touched(&self, files: HashSet<FileId>) -> Result<Touched> {
        let mut touched = Touched::default();
        if files.is_empty() {
            return Ok(touched);
        }
        let this = self.clone();
        let (holders, names) = blocking(move || {
            let keepers = Keepers::of(&this)?;
            let mut holders: HashMap<Digest, (BTreeSet<TableId>, BTreeSet<PinId>)> = HashMap::new();
            keepers.each(&this, |held| {
                let Some(digest) = held.content.manifest.filter(|_| !held.keepers.is_empty()) else { return };
                let (tables, pins) = holders.entry(digest).or_default();
                tables.insert(held.table);
                pins.extend(held.keepers.iter().filter_map(|keeper| match keeper.kind {
                    KeeperKind::Pinned(pin) => Some(pin),
                    _ => None,
                }));
            })?;
            let names: HashMap<PinId, String> =
                keepers.pins.iter().map(|pinned| (pinned.pin.id, pinned.pin.name.clone())).collect();
            Ok((holders, names))
        })
        .await?;
        let mut by_digest: HashMap<Digest, Vec<FileId>> = HashMap::new();
        for file in &files {
            if let Ok(Some(record)) = self.metastore().file(*file)
                && record.kind == FileKind::Manifest
            {
                by_digest.entry(record.digest).or_default().push(*file);
            }
        }
        for (digest, (tables, pins)) in holders {
            let mut of_digest = by_digest.get(&digest).cloned().unwrap_or_default();
            match self.cold().manifest(digest).await {
                Ok(manifest) => of_digest.extend(manifest.files().filter(|file| files.contains(file))),
                Err(_) => touched.is_unclear = true,
            }
            for file in of_digest {
                let (of_tables, of_snapshots) = touched.by_file.entry(file).or_default();
                for table in &tables {
                    of_tables.insert(self.newest_name(*table)?);
                }
                of_snapshots.extend(pins.iter().filter_map(|pin| names.get(pin).cloned()));
            }
        }
        Ok(touched)
    }

    /// Tells whether an error is damage of one file, and not of the way to all of them.
    pub(super) async fn is_damage(&self, error: &Error) -> bool {
        match error.kind() {
            Kind::Corrupt => true,
            // A file that is not there cannot be told from one that cannot be read; neither can be answered from.
            Kind::Unavailable => self.cold().files().are_reachable().await,
            _ => false,
        }
    }

    /// Says what is wrong with a file, and what that touches.
    pub(super) fn damage_of(&self, file: FileId, error: &Error, touched: &Touched) -> Result<Damage> {
        let record = self.metastore().file(file).ok().flatten();
        let path = record.map_or_else(|| METASTORE.to_owned(), |record| record.kind.path(file));
        let (tables, snapshots) = touched.by_file.get(&file).cloned().unwrap_or_default();
        let list = |names: BTreeSet<String>| names.into_iter().collect();
        Ok(Damage { what: error.to_string(), file: path, tables: list(tables), snapshots: list(snapshots) })
    }

    /// Returns what a table and its database were called last.
    fn newest_name(&self, id: TableId) -> Result<String> {
        let home = self.newest_home(id)?;
        Ok(home.map_or_else(|| format!("table {id}"), |(_, database, table)| format!("{database}.{table}")))
    }

    /// Returns the account of a table, and what its database and it were called last.
    pub(super) fn newest_home(&self, id: TableId) -> Result<Option<(AccountId, String, String)>> {
        let last = |kind, id| -> Result<Option<Change>> {
            Ok(self.metastore().object(kind, id)?.into_iter().last().map(|row| row.object))
        };
        let Some(Change::PutTable(table)) = last(ObjectKind::Table, id.0)? else { return Ok(None) };
        let Some(Change::PutDatabase(database)) = last(ObjectKind::Database, table.database.0)? else {
            return Ok(None);
        };
        Ok(Some((database.account, database.name, table.name.clone())))
    }
}

impl Touched {
    /// Tells whether anything is known to need a file, or might.
    pub fn may_need(&self, file: FileId) -> bool {
        self.is_unclear || self.by_file.contains_key(&file)
    }
}

/// Returns damage of the metastore itself.
pub(super) fn of_metastore(what: String) -> Damage {
    let words = || what.split_whitespace().map(|word| word.trim_matches(|c: char| "'.,:".contains(c)));
    let file = words().find(|word| word.starts_with("segments/")).unwrap_or(METASTORE).to_owned();
    Damage { what, file, tables: Vec::new(), snapshots: Vec::new() }
}

fn decode(table: TableId, version: Version, body: &[u8], lines: &mut Vec<String>) {
    if !body.is_empty()
        && let Err(error) = Delta::decode(body)
    {
        lines.push(format!("The delta of table {table} in entry {version} cannot be decoded. {error}"));
    }
}

/// Joins ranges that lie over one another.
fn joined(mut ranges: Vec<(Version, Version)>) -> Vec<(Version, Version)> {
    ranges.sort_unstable();
    let mut joined: Vec<(Version, Version)> = Vec::new();
    for (after, upto) in ranges {
        match joined.last_mut() {
            Some(last) if after <= last.1 => last.1 = last.1.max(upto),
            _ => joined.push((after, upto)),
        }
    }
    joined
}

/// Returns the names below a folder that look like files of a store, also of those that are not whole.
fn names_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for kind in [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest] {
        let Ok(listing) = std::fs::read_dir(folder.join(kind.folder())) else { continue };
        for entry in listing {
            names.insert(format!("{}/{}", kind.folder(), entry?.file_name().to_string_lossy()));
        }
    }
    Ok(names)
}

/// Notes the files that nothing reaches.
fn look_around(found: &mut Checked, names: BTreeSet<String>, fates: &HashMap<FileId, &Fate>) {
    for path in names {
        let note = match parse_path(&path).map(|(_, id)| fates.get(&id).copied()) {
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

impl Checked {
    /// Returns what each damage is and what it touches, one line each.
    pub fn lines(&self) -> Vec<String> {
        self.damages.iter().map(ToString::to_string).collect()
    }

    /// Takes note of damage that ends a check early; any other error stays one.
    pub fn damage(&mut self, error: Error) -> Result<()> {
        if error.kind() != Kind::Corrupt {
            return Err(error);
        }
        let said = error.to_string();
        let path = said.split_whitespace().find(|word| parse_path(word).is_some()).map(str::to_owned);
        let damage = of_metastore(said);
        let file = path.unwrap_or_else(|| damage.file.clone());
        // What a file's own verification has said already says what it touches, too.
        let is_said = |known: &Damage| known.what == damage.what || (file != METASTORE && known.file == file);
        if !self.damages.iter().any(is_said) {
            self.add(Damage { file, ..damage });
        }
        Ok(())
    }

    /// Takes in damage of the metastore, as it says it itself.
    pub fn add_lines(&mut self, lines: Vec<String>) {
        lines.into_iter().for_each(|line| self.add(of_metastore(line)));
    }

    fn add(&mut self, damage: Damage) {
        if !self.damages.contains(&damage) {
            self.damages.push(damage);
        }
    }

    fn count(&mut self, (bytes, rows): (u64, u64)) {
        self.files += 1;
        self.bytes += bytes;
        self.rows += rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined() {
        let range = |after, upto| (Version(after), Version(upto));
        assert_eq!(joined(vec![range(5, 9), range(0, 3), range(2, 4), range(9, 9)]), [range(0, 4), range(5, 9)]);
        assert!(joined(Vec::new()).is_empty());
    }

    #[test]
    fn damage_says_what_it_touches() {
        let mut damage = of_metastore("It is damaged.".to_owned());
        assert_eq!(damage.to_string(), "It is damaged.");
        damage.tables = vec!["d.t".to_owned(), "d.u".to_owned()];
        damage.snapshots = vec!["s".to_owned()];
        assert_eq!(damage.to_string(), "It is damaged. It holds rows of d.t, d.u. Snapshot 's' needs it.");
        damage.snapshots = (0..12).map(|number| number.to_string()).collect();
        assert!(damage.to_string().ends_with("'8', '9' and 2 more need it."), "{damage}");
    }
}

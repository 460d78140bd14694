//! The metastore in memory, for tests: the same answers as a durable one, and gone with the process. It is simple enough
//! to be the oracle of the other.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::catalog::{Change, ObjectKind};
use crate::error::{Error, Kind, Result, What};
use crate::ids::{AccountId, Digest, FileId, PinId, TableId, Time, Version};
use crate::schema::{fold, same_name};

use super::integrity;
use super::{
    Entry, EntryHead, EntryQuery, EntrySummary, FORMAT, FileHead, FileKind, FileRecord, Metastore, ObjectRow, Pin,
    TableDelta, Trimmed, trimmed,
};

/// A metastore that nothing outlives.
pub struct MemoryMetastore {
    state: RwLock<State>,
}

struct State {
    /// Entry `v` stands at `v - 1`.
    entries: Vec<Entry>,
    objects: BTreeMap<(ObjectKind, u64, Version), ObjectRow>,
    greatest_ids: BTreeMap<ObjectKind, u64>,
    pins: BTreeMap<PinId, Pin>,
    last_pin: u64,
    files: BTreeMap<FileId, FileRecord>,
    intents: BTreeMap<FileId, FileKind>,
    /// Manifests that were withdrawn.
    withdrawn: BTreeSet<Digest>,
    /// Entries whose deltas were taken out; the entries here keep them for the sake of their hashes.
    trimmed: BTreeSet<Version>,
    settings: BTreeMap<String, String>,
}

impl MemoryMetastore {
    pub fn new() -> MemoryMetastore {
        let settings = BTreeMap::from([("format".to_owned(), FORMAT.to_string())]);
        MemoryMetastore {
            state: RwLock::new(State {
                entries: Vec::new(),
                objects: BTreeMap::new(),
                greatest_ids: BTreeMap::new(),
                pins: BTreeMap::new(),
                last_pin: 0,
                files: BTreeMap::new(),
                intents: BTreeMap::new(),
                withdrawn: BTreeSet::new(),
                trimmed: BTreeSet::new(),
                settings,
            }),
        }
    }
}

impl Default for MemoryMetastore {
    fn default() -> MemoryMetastore {
        MemoryMetastore::new()
    }
}

impl State {
    /// Refuses what the state cannot take, before any of it is taken.
    fn validate(&self, group: &[Entry]) -> Result<()> {
        let mut names: Vec<(AccountId, String)> =
            self.pins.values().map(|pin| (pin.account, fold(&pin.name))).collect();
        for pin in group.iter().flat_map(|entry| &entry.pins) {
            let name = (pin.account, fold(&pin.name));
            if names.contains(&name) {
                return Err(Error::already_exists(What::Snapshot, &pin.name));
            }
            names.push(name);
        }
        let mut bases = group.iter().flat_map(|entry| &entry.pins).filter_map(|pin| pin.terms.base);
        if bases.any(|base| !self.pins.contains_key(&base)) {
            return Err(integrity::base_gone());
        }
        match group.iter().flat_map(|entry| &entry.files).find(|file| self.files.contains_key(&file.id)) {
            Some(file) => Err(committed_twice(file.id)),
            None => Ok(()),
        }
    }

    fn append(&mut self, entry: &Entry) -> Result<()> {
        let mut entry = entry.clone();
        for pin in &mut entry.pins {
            *pin = self.put_pin(pin)?;
        }
        for change in &entry.changes {
            self.change(change, entry.head.version);
        }
        for file in &entry.files {
            self.intents.remove(&file.id);
            self.files.insert(file.id, file.clone());
        }
        let before = self.entries.last().map_or(Digest::default(), |entry| entry.head.hash);
        entry.head.hash = integrity::seal(before, &entry, &entry.pins)?.hash;
        self.entries.push(entry);
        Ok(())
    }

    fn change(&mut self, change: &Change, version: Version) {
        let (kind, id) = change.object();
        self.end(kind, id, version);
        if change.is_drop() {
            if kind == ObjectKind::Table {
                self.end(ObjectKind::Content, id, version);
            }
            return;
        }
        let row = ObjectRow { begin: version, end: Version::MAX, object: change.clone() };
        self.objects.insert((kind, id, version), row);
        let greatest = self.greatest_ids.entry(kind).or_default();
        *greatest = id.max(*greatest);
    }

    /// Ends the row that stands; one of this very commit has never stood for anybody.
    fn end(&mut self, kind: ObjectKind, id: u64, version: Version) {
        self.objects.remove(&(kind, id, version));
        let rows = self.objects.range_mut((kind, id, Version(0))..=(kind, id, Version::MAX));
        for (_, row) in rows.filter(|(_, row)| row.end == Version::MAX) {
            row.end = version;
        }
    }

    fn put_pin(&mut self, pin: &Pin) -> Result<Pin> {
        if self.pins.values().any(|other| other.account == pin.account && same_name(&other.name, &pin.name)) {
            return Err(Error::already_exists(What::Snapshot, &pin.name));
        }
        if pin.terms.base.is_some_and(|base| !self.pins.contains_key(&base)) {
            return Err(integrity::base_gone());
        }
        self.last_pin += 1;
        let pin = Pin { id: PinId(self.last_pin), ..pin.clone() };
        self.pins.insert(pin.id, pin.clone());
        Ok(pin)
    }

    fn entry(&self, version: Version) -> Option<&Entry> {
        let at = usize::try_from(version.0.checked_sub(1)?).ok()?;
        self.entries.get(at)
    }
}

impl Metastore for MemoryMetastore {
    fn newest(&self) -> Result<Option<EntryHead>> {
        Ok(self.state.read().entries.last().map(|entry| entry.head.clone()))
    }

    fn append(&self, group: &[Entry]) -> Result<()> {
        let mut state = self.state.write();
        integrity::validate_group(state.entries.last().map(|entry| &entry.head), group)?;
        state.validate(group)?;
        // Nothing below fails: each entry was found to fit.
        group.iter().try_for_each(|entry| state.append(entry))
    }

    fn entry(&self, version: Version) -> Result<Option<Entry>> {
        let state = self.state.read();
        let mut entry = state.entry(version).cloned();
        if let Some(entry) = &mut entry {
            entry.files.retain(|file| state.files.contains_key(&file.id));
            if state.trimmed.contains(&version) {
                entry.deltas.iter_mut().for_each(|delta| delta.body = Bytes::new());
            }
        }
        Ok(entry)
    }

    fn entries(&self, query: &EntryQuery) -> Result<Vec<EntrySummary>> {
        let wanted = |entry: &&Entry| {
            let tables = query.tables.as_ref();
            let touched = tables.is_none_or(|tables| entry.deltas.iter().any(|delta| tables.contains(&delta.table)));
            let inside = query.from <= entry.head.version && entry.head.version <= query.upto;
            inside && touched && (query.upkeep || !entry.head.upkeep)
        };
        let summary = |entry: &Entry| EntrySummary {
            head: entry.head.clone(),
            tables: entry.deltas.iter().map(|delta| (delta.table, delta.puts, delta.deletes)).collect(),
        };
        Ok(self.state.read().entries.iter().rev().filter(wanted).take(query.limit).map(summary).collect())
    }

    fn deltas(&self, table: TableId, after: Version, upto: Version) -> Result<Vec<(Version, Bytes)>> {
        let state = self.state.read();
        let entries = state.entries.iter().filter(|entry| after < entry.head.version && entry.head.version <= upto);
        let deltas = entries.flat_map(|entry| entry.deltas.iter().map(|delta| (entry.head.version, delta)));
        let of_table = deltas.filter(|(_, delta)| delta.table == table && !delta.body.is_empty());
        let there = |(version, delta): (Version, &TableDelta)| match state.trimmed.contains(&version) {
            true => Err(trimmed(version)),
            false => Ok((version, delta.body.clone())),
        };
        of_table.map(there).collect()
    }

    fn delta_bytes(&self, table: TableId, after: Version, upto: Version) -> Result<Option<u64>> {
        match self.deltas(table, after, upto) {
            Ok(deltas) => Ok(Some(deltas.iter().map(|(_, body)| body.len() as u64).sum())),
            Err(error) if error.kind() == Kind::OutOfWindow => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn newest_at(&self, time: Time) -> Result<Option<EntryHead>> {
        let state = self.state.read();
        let at = state.entries.partition_point(|entry| entry.head.time <= time);
        Ok(at.checked_sub(1).map(|at| state.entries[at].head.clone()))
    }

    fn catalog_at(&self, version: Version) -> Result<Vec<Change>> {
        let state = self.state.read();
        let standing = state.objects.values().filter(|row| {
            let newest = Version(state.entries.len() as u64);
            row.begin <= version && version.min(newest) < row.end
        });
        Ok(standing.map(|row| row.object.clone()).collect())
    }

    fn catalog_version(&self, version: Version) -> Result<Version> {
        let state = self.state.read();
        let changed = |entry: &&Entry| entry.head.version <= version && !entry.changes.is_empty();
        Ok(state.entries.iter().rev().find(changed).map_or(Version(0), |entry| entry.head.version))
    }

    fn named(&self, kind: ObjectKind, parent: u64, name: &str) -> Result<Vec<ObjectRow>> {
        let state = self.state.read();
        let name = fold(name);
        let bears = |row: &ObjectRow| {
            row.object.name().is_some_and(|(own, own_parent)| own_parent == parent && fold(own) == name)
        };
        let of_kind = || state.objects.iter().filter(move |((row_kind, ..), _)| *row_kind == kind);
        let ids: Vec<u64> = of_kind().filter(|(_, row)| bears(row)).map(|((_, id, _), _)| *id).collect();
        let mut rows: Vec<_> = of_kind().filter(|((_, id, _), _)| ids.contains(id)).collect();
        rows.sort_by_key(|((_, id, begin), _)| (*begin, *id));
        Ok(rows.into_iter().map(|(_, row)| row.clone()).collect())
    }

    fn object(&self, kind: ObjectKind, id: u64) -> Result<Vec<ObjectRow>> {
        let state = self.state.read();
        let rows = state.objects.range((kind, id, Version(0))..=(kind, id, Version::MAX));
        Ok(rows.map(|(_, row)| row.clone()).collect())
    }

    fn object_at(&self, kind: ObjectKind, id: u64, version: Version) -> Result<Option<ObjectRow>> {
        let state = self.state.read();
        let newest = state.objects.range((kind, id, Version(0))..=(kind, id, version)).next_back();
        Ok(newest.map(|(_, row)| row.clone()).filter(|row| version < row.end))
    }

    fn ids(&self, kind: ObjectKind) -> Result<Vec<u64>> {
        let state = self.state.read();
        let mut ids: Vec<u64> = state.objects.keys().filter(|(of, ..)| *of == kind).map(|(_, id, _)| *id).collect();
        ids.dedup();
        Ok(ids)
    }

    fn greatest_id(&self, kind: ObjectKind) -> Result<u64> {
        Ok(self.state.read().greatest_ids.get(&kind).copied().unwrap_or(0))
    }

    fn pins(&self) -> Result<Vec<Pin>> {
        Ok(self.state.read().pins.values().cloned().collect())
    }

    fn put_pin(&self, pin: &Pin) -> Result<PinId> {
        self.state.write().put_pin(pin).map(|pin| pin.id)
    }

    fn drop_pins(&self, ids: &[PinId]) -> Result<u64> {
        let mut state = self.state.write();
        integrity::validate_drop(ids, state.pins.values())?;
        Ok(ids.iter().filter(|id| state.pins.remove(id).is_some()).count() as u64)
    }

    fn put_intents(&self, files: &[(FileId, FileKind)]) -> Result<()> {
        self.state.write().intents.extend(files.iter().copied());
        Ok(())
    }

    fn file(&self, id: FileId) -> Result<Option<FileRecord>> {
        Ok(self.state.read().files.get(&id).cloned())
    }

    fn file_by_digest(&self, kind: FileKind, digest: Digest) -> Result<Option<FileRecord>> {
        let state = self.state.read();
        Ok(state.files.values().find(|file| file.kind == kind && file.digest == digest).cloned())
    }

    fn was_withdrawn(&self, manifest: Digest) -> Result<bool> {
        let state = self.state.read();
        let stands = state.files.values().any(|file| file.kind == FileKind::Manifest && file.digest == manifest);
        Ok(!stands && state.withdrawn.contains(&manifest))
    }

    fn files(&self) -> Result<Vec<FileHead>> {
        let state = self.state.read();
        let committed =
            |entry: &Entry| entry.files.iter().map(|file| (file.id, entry.head.version)).collect::<Vec<_>>();
        let versions: BTreeMap<FileId, Version> = state.entries.iter().flat_map(committed).collect();
        let head = |file: &FileRecord| FileHead {
            id: file.id,
            kind: file.kind,
            version: versions[&file.id],
            length: file.length,
            digest: file.digest,
        };
        Ok(state.files.values().map(head).collect())
    }

    fn withdraw_files(&self, files: &[(FileId, FileKind)]) -> Result<()> {
        let mut state = self.state.write();
        for (id, kind) in files {
            if let Some(file) = state.files.remove(id).filter(|file| file.kind == FileKind::Manifest) {
                state.withdrawn.insert(file.digest);
            }
            state.intents.insert(*id, *kind);
        }
        Ok(())
    }

    fn trim(&self, versions: &[Version]) -> Result<Trimmed> {
        let mut state = self.state.write();
        let mut done = Trimmed::default();
        for version in versions {
            let bytes: usize = state.entry(*version).map_or(0, |entry| entry.deltas.iter().map(|d| d.body.len()).sum());
            if bytes > 0 && state.trimmed.insert(*version) {
                done.entries += 1;
                done.bytes += bytes as u64;
            }
        }
        Ok(done)
    }

    fn intents(&self) -> Result<Vec<(FileId, FileKind)>> {
        Ok(self.state.read().intents.iter().map(|(id, kind)| (*id, *kind)).collect())
    }

    fn drop_files(&self, ids: &[FileId]) -> Result<()> {
        let mut state = self.state.write();
        for id in ids {
            state.files.remove(id);
            state.intents.remove(id);
        }
        Ok(())
    }

    fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok(self.state.read().settings.get(name).cloned())
    }

    fn put_setting(&self, name: &str, value: &str) -> Result<()> {
        if name == "format" {
            return Err(Error::invalid("The setting 'format' is the metastore's own."));
        }
        self.state.write().settings.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let state = self.state.read();
        let settings = state.settings.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(settings.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn drop_setting(&self, name: &str) -> Result<bool> {
        Ok(name != "format" && self.state.write().settings.remove(name).is_some())
    }

    fn check(&self) -> Result<Vec<String>> {
        let state = self.state.read();
        let mut before = Digest::default();
        let mut lines = Vec::new();
        for entry in &state.entries {
            if integrity::seal(before, entry, &entry.pins)?.hash != entry.head.hash {
                lines.push(format!("Entry {} of the log does not match its hash.", entry.head.version));
            }
            before = entry.head.hash;
        }
        Ok(lines)
    }

    fn size_bytes(&self) -> Result<u64> {
        let state = self.state.read();
        let there = state.entries.iter().filter(|entry| !state.trimmed.contains(&entry.head.version));
        Ok(there.flat_map(|entry| entry.deltas.iter().map(|delta| delta.body.len() as u64)).sum())
    }

    fn tidy(&self) -> Result<()> {
        Ok(())
    }
}

fn committed_twice(id: FileId) -> Error {
    Error::internal(format!("BUG: file {id} is committed twice."))
}

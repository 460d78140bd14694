//! The log: what is true at each version. A commit is an entry; nothing else changes the store.
//!
//! The log and the catalog live in a SQL database behind [`Metastore`]: SQLite inside the process
//! ([`sqlite::SqliteMetastore`]), or memory for tests ([`memory::MemoryMetastore`]). Pins stand beside the log and are
//! not versioned: a restore never undoes them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Change, Content, ObjectKind};
use crate::error::{Error, Kind, Result};
use crate::ids::{AccountId, ColumnId, Digest, FileId, PinId, TableId, Time, Version};
use crate::schema::{Table, same_name};

pub mod delta;
#[cfg(test)]
mod fuzz;
mod integrity;
pub mod memory;
pub mod policy;
pub mod sqlite;
#[cfg(test)]
mod tests;

/// The format that this build writes. A store with a greater one is refused without a write.
pub const FORMAT: u32 = 3;

/// Beyond so many bytes of entries, the older ones leave the metastore's database for files: see [`Metastore::age`].
pub const AGE_BYTES: u64 = 32 << 20;

/// One commit, whole: what `append` makes durable.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub head: EntryHead,
    pub changes: Vec<Change>,
    /// Per table touched: how many rows, and the encoded delta (see [`delta`]), if rows went through the log.
    pub deltas: Vec<TableDelta>,
    /// Snapshots that were taken inside the transaction.
    pub pins: Vec<Pin>,
    /// Files that this commit made reachable.
    pub files: Vec<FileRecord>,
}

/// What a commit is, without its contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryHead {
    pub version: Version,
    /// Strictly greater than every earlier entry's.
    pub time: Time,
    pub account: AccountId,
    /// Who committed: `user@host`, or `system` for upkeep.
    pub author: String,
    /// What it did, for people: `INSERT shop.orders`, `RESTORE DATABASE shop FROM SNAPSHOT 's'`.
    pub what: String,
    /// Upkeep changes nothing that anyone can see, and is left out of lists for people.
    pub upkeep: bool,
    /// What every later entry is chained to. Filled in by the metastore when the entry is appended and when it is read.
    pub hash: Digest,
}

/// What one commit did to one table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDelta {
    pub table: TableId,
    /// Rows written, in the log or in parts.
    pub puts: u64,
    /// Rows deleted or replaced.
    pub deletes: u64,
    /// The encoded delta; empty when the rows went straight to parts or only the definition changed.
    pub body: Bytes,
}

/// An immutable file that the store minted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    pub id: FileId,
    pub kind: FileKind,
    /// Bytes.
    pub length: u64,
    /// BLAKE3 of the whole file. A manifest is also addressed by it.
    pub digest: Digest,
    /// CRC-32 of each block of [`BLOCK_BYTES`] (the last may be shorter), for ranged reads.
    pub block_crcs: Vec<u32>,
}

/// A committed file, without its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    pub id: FileId,
    pub kind: FileKind,
    /// The commit that made it reachable.
    pub version: Version,
    /// Bytes.
    pub length: u64,
    pub digest: Digest,
}

/// What trimming took out of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    pub entries: u64,
    pub bytes: u64,
}

/// How many bytes of a file one checksum covers.
pub const BLOCK_BYTES: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// `parts/<id>.parquet`
    Part,
    /// `deletes/<id>.dv`
    DeletionVector,
    /// `manifests/<id>.json`
    Manifest,
}

impl FileKind {
    /// Returns the path of a file under the store's root. Only such paths are ever read, written or deleted.
    pub fn path(self, id: FileId) -> String {
        let ending = match self {
            FileKind::Part => "parquet",
            FileKind::DeletionVector => "dv",
            FileKind::Manifest => "json",
        };
        format!("{}/{id}.{ending}", self.folder())
    }

    /// Returns the folder under the store's root in which files of this kind lie.
    pub fn folder(self) -> &'static str {
        match self {
            FileKind::Part => "parts",
            FileKind::DeletionVector => "deletes",
            FileKind::Manifest => "manifests",
        }
    }
}

/// Whatever makes a version be kept by name: a snapshot, or a hold of the store's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Zero until stored.
    pub id: PinId,
    /// The snapshot's name; unique within its account.
    pub name: String,
    /// The account whose snapshot it is.
    pub account: AccountId,
    pub scope: Scope,
    pub version: Version,
    /// When the snapshot was created (its version may be older).
    pub created: Time,
    /// The time of its version.
    pub version_time: Time,
    pub author: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Only these columns are part of it, per table name; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnId>,
    #[serde(flatten)]
    pub terms: Terms,
}

/// What a snapshot may have beside its name, its scope and its version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// It is kept until then, and then dropped; `None` is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_until: Option<Time>,
    /// The snapshot that it counts from. A base stands as long as what is based on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PinId>,
    /// The run of a schedule that took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Run>,
    /// Its own copy of each table's rows, if it has one: what is read in the place of the tables' contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Vec<(TableId, Content)>>,
}

/// One run of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The schedule's name.
    pub name: String,
    /// When the schedule was created: another one may have the name now.
    pub created: Time,
    /// The time that the run was for. It may have begun later.
    pub due: Time,
}

/// How much of the store a snapshot speaks of. Names are those of its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Cluster,
    Account(String),
    Database(String),
    /// One database and at least one table in it.
    Tables(String, Vec<String>),
}

impl Scope {
    /// Returns MatrixOne's word for the level.
    pub fn level(&self) -> &'static str {
        match self {
            Scope::Cluster => "cluster",
            Scope::Account(_) => "account",
            Scope::Database(_) => "database",
            Scope::Tables(..) => "table",
        }
    }

    /// Returns the tables (not views) that it speaks of, as far as a catalog has them.
    pub fn tables(&self, catalog: &Catalog, account: AccountId) -> Vec<Arc<Table>> {
        let of_account = |id| {
            let databases = catalog.databases_of(id);
            databases.iter().flat_map(|database| catalog.tables_of(database.id)).collect::<Vec<_>>()
        };
        let mut tables = match self {
            Scope::Cluster => catalog.all_tables().cloned().collect(),
            Scope::Account(name) => catalog.account(name).map(|account| of_account(account.id)).unwrap_or_default(),
            Scope::Database(name) => {
                catalog.database(account, name).map(|database| catalog.tables_of(database.id)).unwrap_or_default()
            }
            Scope::Tables(name, tables) => match catalog.database(account, name) {
                Ok(database) => {
                    tables.iter().filter_map(|table| catalog.table(database, table).ok().cloned()).collect()
                }
                Err(_) => Vec::new(),
            },
        };
        tables.retain(|table| !table.is_view());
        tables
    }

    /// Tells whether all of `other` lies inside. Names compare without case.
    pub fn holds(&self, other: &Scope) -> bool {
        match (self, other) {
            (Scope::Cluster, _) => true,
            (_, Scope::Cluster) => false,
            (Scope::Account(own), Scope::Account(name)) => same_name(own, name),
            (Scope::Account(_), _) => true,
            (Scope::Database(own), Scope::Database(name) | Scope::Tables(name, _)) => same_name(own, name),
            (Scope::Tables(own, tables), Scope::Tables(name, wanted)) => {
                same_name(own, name) && wanted.iter().all(|table| tables.iter().any(|own| same_name(own, table)))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Scope {
    /// Writes a scope as people say it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Cluster => f.write_str("the cluster"),
            Scope::Account(name) => write!(f, "account '{name}'"),
            Scope::Database(name) => write!(f, "database '{name}'"),
            Scope::Tables(database, tables) => match tables.as_slice() {
                [table] => write!(f, "table '{database}.{table}'"),
                tables => write!(f, "tables {} of database '{database}'", tables.join(", ")),
            },
        }
    }
}

/// A catalog row as it stands or stood: one object between two versions.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectRow {
    pub begin: Version,
    /// `Version::MAX` while it stands.
    pub end: Version,
    /// A put.
    pub object: Change,
}

/// Which entries to list: all conditions hold. Newest first.
#[derive(Clone, Debug)]
pub struct EntryQuery {
    /// Inclusive.
    pub from: Version,
    /// Inclusive.
    pub upto: Version,
    /// Only commits with a [`TableDelta`] of one of these tables; `None` for any.
    pub tables: Option<Vec<TableId>>,
    /// With the commits of upkeep.
    pub upkeep: bool,
    pub limit: usize,
}

/// A listed entry: its head, and per table touched the rows put and deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct EntrySummary {
    pub head: EntryHead,
    pub tables: Vec<(TableId, u64, u64)>,
}

impl Entry {
    fn gives_back(&self) -> bool {
        gives_back(self.head.upkeep, &self.changes, &self.deltas)
    }
}

/// Tells whether the store takes less space for a commit, at once or when its recovery window is over: something is dropped
/// or emptied, or upkeep has done its work, and no row comes with it. It is let through on a full disk, and so goes alone.
pub(crate) fn gives_back(is_upkeep: bool, changes: &[Change], deltas: &[TableDelta]) -> bool {
    let is_emptied = |change: &Change| match change {
        Change::PutContent(_, content) => content.manifest.is_none() && content.inherited.is_empty(),
        change => change.is_drop(),
    };
    let is_new = |change: &Change| matches!(change, Change::PutTable(_));
    let brings_rows = deltas.iter().any(|delta| !delta.body.is_empty());
    let empties = changes.iter().any(is_emptied) && !changes.iter().any(is_new);
    !brings_rows && (is_upkeep || empties)
}

/// Says that a delta was trimmed.
fn trimmed(version: Version) -> Error {
    Error::new(Kind::OutOfWindow, format!("The rows that version {version} wrote are no longer in the log."))
        .with_hint("It was outside every recovery window, and no snapshot kept it.")
}

/// The place where log, catalog and pins are kept. Calls block; one caller at a time appends (the sequencer in `txn`),
/// any number read.
///
/// Every answer is verified: rows carry a CRC, entries are chained by hash, the catalog's rows have a digest. What
/// does not verify is `Kind::Corrupt`, never an answer.
pub trait Metastore: Send + Sync + 'static {
    /// Returns the newest entry's head, or `None` in an empty store.
    fn newest(&self) -> Result<Option<EntryHead>>;

    /// Makes `group` durable, all or nothing, in this order; versions continue the newest entry's without a gap (the
    /// first is 1), and times increase. Pins get their ids, and files lose their intents. After an error nothing has
    /// changed: `AlreadyExists` if a pin's name is taken, `Conflict` if a pin's base is gone, `Unavailable` if the disk is
    /// full, `Closed` if an earlier write failed such that nobody knows what the disk holds.
    fn append(&self, group: &[Entry]) -> Result<()>;

    /// Returns one entry whole: as it was appended, but with its hash, with the ids of its pins (also of those dropped
    /// since), without the files that were dropped since, and with empty bodies if it was trimmed.
    fn entry(&self, version: Version) -> Result<Option<Entry>>;

    /// Lists entries, newest first.
    fn entries(&self, query: &EntryQuery) -> Result<Vec<EntrySummary>>;

    /// Returns the non-empty delta bodies of one table in `(after, upto]`, oldest first. `OutOfWindow` if one was trimmed.
    fn deltas(&self, table: TableId, after: Version, upto: Version) -> Result<Vec<(Version, Bytes)>>;

    /// Returns how many bytes [`Metastore::deltas`] would return. `None` if one was trimmed.
    fn delta_bytes(&self, table: TableId, after: Version, upto: Version) -> Result<Option<u64>>;

    /// Returns the newest entry at or before `time`.
    fn newest_at(&self, time: Time) -> Result<Option<EntryHead>>;

    /// Returns every object that stood at `version`, as puts.
    fn catalog_at(&self, version: Version) -> Result<Vec<Change>>;

    /// Returns the newest version at or before `version` that changed the catalog: catalogs between are equal.
    fn catalog_version(&self, version: Version) -> Result<Version>;

    /// Returns all rows of objects that ever bore this name (compared without case) under `parent`, oldest first: also
    /// the rows in which they bear another one. Reads every row of the kind: for people, not for every query.
    fn named(&self, kind: ObjectKind, parent: u64, name: &str) -> Result<Vec<ObjectRow>>;

    /// Returns all rows of one object, oldest first.
    fn object(&self, kind: ObjectKind, id: u64) -> Result<Vec<ObjectRow>>;

    /// Returns the row of one object that stood at `version`; `None` if it was not there then.
    fn object_at(&self, kind: ObjectKind, id: u64, version: Version) -> Result<Option<ObjectRow>>;

    /// Returns the ids of all objects of this kind that ever were, in order.
    fn ids(&self, kind: ObjectKind) -> Result<Vec<u64>>;

    /// Returns the greatest id that any object of this kind ever had; 0 if none.
    fn greatest_id(&self, kind: ObjectKind) -> Result<u64>;

    /// Returns all pins, oldest first.
    fn pins(&self) -> Result<Vec<Pin>>;

    /// Stores a pin durably and returns its id. `AlreadyExists` if the account has one of this name (compared without
    /// case), `Conflict` if its base is gone.
    fn put_pin(&self, pin: &Pin) -> Result<PinId>;

    /// Removes pins durably, all or none; those already gone are skipped. Returns how many there were. `Conflict` if one
    /// is the base of a pin that would stay.
    fn drop_pins(&self, ids: &[PinId]) -> Result<u64>;

    /// Records, before the first byte is written, that a file is about to be. The collector spares it.
    fn put_intents(&self, files: &[(FileId, FileKind)]) -> Result<()>;

    /// Returns the record of a committed file.
    fn file(&self, id: FileId) -> Result<Option<FileRecord>>;

    /// Returns the record of the committed manifest with this digest.
    fn file_by_digest(&self, kind: FileKind, digest: Digest) -> Result<Option<FileRecord>>;

    /// Tells whether a manifest with this digest was committed and withdrawn on purpose, and none stands. One whose record is
    /// lost was not.
    fn was_withdrawn(&self, manifest: Digest) -> Result<bool>;

    /// Returns all committed files that were not withdrawn, in no order. Some 80 bytes each stand in memory.
    fn files(&self) -> Result<Vec<FileHead>>;

    /// Withdraws files durably, all or none: no later commit may refer to them. An intent takes the place of each record, so
    /// that the file is not forgotten before it is deleted.
    fn withdraw_files(&self, files: &[(FileId, FileKind)]) -> Result<()>;

    /// Takes the deltas of entries out of the log, durably. The entries stay: who, when and what, and how many rows.
    fn trim(&self, versions: &[Version]) -> Result<Trimmed>;

    /// Returns the files whose intent was never committed, with their kind.
    fn intents(&self) -> Result<Vec<(FileId, FileKind)>>;

    /// Forgets files that were deleted, durably: their records and their intents. Unknown ones are skipped.
    fn drop_files(&self, ids: &[FileId]) -> Result<()>;

    /// Returns how many bytes the deltas take that the log still has, by entry and table.
    fn delta_sizes(&self) -> Result<Vec<(Version, TableId, u64)>> {
        let mut sizes = Vec::new();
        for version in 1..=self.newest()?.map_or(0, |entry| entry.version.0) {
            for delta in self.entry(Version(version))?.iter().flat_map(|entry| &entry.deltas) {
                if !delta.body.is_empty() {
                    sizes.push((Version(version), delta.table, delta.body.len() as u64));
                }
            }
        }
        Ok(sizes)
    }

    /// Returns a setting of the store (its id, the recovery window), by name.
    fn setting(&self, name: &str) -> Result<Option<String>>;

    /// Returns the settings whose names begin so, by name.
    fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>>;

    /// Stores a setting durably.
    fn put_setting(&self, name: &str, value: &str) -> Result<()>;

    /// Removes a setting durably; tells whether there was one.
    fn drop_setting(&self, name: &str) -> Result<bool>;

    /// Verifies everything there is; returns one line per damage found.
    fn check(&self) -> Result<Vec<String>>;

    /// Verifies all but the deltas themselves: every chain, checksum and tally, and that nothing is missing. Much less is
    /// read where deltas are large.
    fn check_chains(&self) -> Result<Vec<String>> {
        self.check()
    }

    /// Verifies the entries in `[from, upto]`, with their deltas, as they stand on disk now. Returns about how many bytes that
    /// were, and one line per damage found.
    fn check_entries(&self, from: Version, upto: Version) -> Result<(u64, Vec<String>)> {
        let (mut bytes, mut lines) = (0, Vec::new());
        for version in from.0..=upto.0 {
            match self.entry(Version(version)) {
                Ok(Some(entry)) => bytes += entry.deltas.iter().map(|delta| delta.body.len() as u64).sum::<u64>(),
                Ok(None) => lines.push(format!("Entry {version} of the log is missing.")),
                Err(error) if error.kind() == Kind::Corrupt => lines.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok((bytes, lines))
    }

    /// Returns the bytes that the metastore takes on disk.
    fn size_bytes(&self) -> Result<u64>;

    /// Moves what is durable in a write-ahead log into place, while nobody waits. Called when idle and at close.
    fn tidy(&self) -> Result<()>;

    /// Lets the oldest entries leave the metastore's database for files of their own, if it holds more than `kept_bytes` of
    /// them, and gives back what was trimmed of such files. Every answer stays as it is. Where all is in memory, nothing ages.
    fn age(&self, kept_bytes: u64) -> Result<()> {
        let _ = kept_bytes;
        Ok(())
    }
}

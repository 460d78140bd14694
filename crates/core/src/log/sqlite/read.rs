//! The questions, each answered within one read transaction and verified before it is answered.
//!
//! A row that is there proves itself by its checksum. That no row is *missing* is proved thus:
//!
//! ```text
//!   log       versions have no gaps, and the newest is known; what is not in SQLite is in a segment (see `rows`)
//!   touch     every entry names the entry before it that touched the table; the newest per table is known
//!   object    every row names the row before it of the same object; the newest per object is known
//!   catalog   the rows of a version amount to the digest in its entry
//!   file      one that is found needs no proof; for one that is not, all lines must amount to the tally in `head`
//!   segment   all rows amount to the tally in `head`
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use crate::catalog::{Change, ObjectKind};
use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, FileId, TableId, Time, Version};
use crate::log::integrity::{self, Touch};
use crate::log::{Entry, EntryHead, EntryQuery, EntrySummary, FileHead, FileKind, FileRecord, ObjectRow, TableDelta};
use crate::schema::fold;

use super::known::head;
use super::rows::{LogRow, Rows, blob, crc, digest, each, file_id, flag, integer, number, one, text};
use super::{clamp, end_from_sql, sql_error};

/// Returns the bytes of every delta that is there up to a version, without reading it.
pub(super) fn delta_sizes(rows: &Rows, upto: Version) -> Result<Vec<(Version, TableId, u64)>> {
    let mut sizes = Vec::new();
    let mut version = Version(1);
    while version <= upto {
        if let Some(last) = rows.without_deltas(version) {
            version = last.next();
            continue;
        }
        let row = rows.row(version)?;
        if !row.is_trimmed() {
            let there = row.touches.iter().filter(|touch| touch.length > 0);
            sizes.extend(there.map(|touch| (version, touch.table, touch.length)));
        }
        version = version.next();
    }
    Ok(sizes)
}

/// Reads an entry whole.
pub(super) fn entry(rows: &Rows, version: Version) -> Result<Entry> {
    let row = rows.row(version)?;
    let bodies = match rows.bodies(&row) {
        Err(error) if error.kind() == Kind::OutOfWindow => vec![Bytes::new(); row.touches.len()],
        bodies => bodies?,
    };
    let deltas = row.touches.iter().zip(bodies).map(|(touch, body)| TableDelta {
        table: touch.table,
        puts: touch.puts,
        deletes: touch.deletes,
        body,
    });
    let mut files = Vec::new();
    for line in integrity::decode_files(&row.files)? {
        let file = file_row(rows.connection, line.id)?.filter(|file| file.is(&line, version));
        let file = file.ok_or_else(|| {
            Error::corrupt(format!("The record of file {} of entry {version} is missing or was changed.", line.id))
        })?;
        if !file.gone {
            files.push(file.record);
        }
    }
    Ok(Entry { deltas: deltas.collect(), changes: list(&row.changes)?, pins: list(&row.pins)?, files, head: row.head })
}

/// Decodes a JSON list whose empty form is empty text.
pub(super) fn list<T: serde::de::DeserializeOwned>(json: &str) -> Result<Vec<T>> {
    if json.is_empty() { Ok(Vec::new()) } else { Ok(serde_json::from_str(json)?) }
}

/// Lists entries of any table, down from `upto`, which is there.
pub(super) fn entries(rows: &Rows, query: &EntryQuery, upto: Version) -> Result<Vec<EntrySummary>> {
    let mut found = Vec::new();
    let mut left = query.from.max(Version(1)).0..upto.0.saturating_add(1);
    while found.len() < query.limit
        && let Some(version) = left.next_back()
    {
        let row = rows.row(Version(version))?;
        if query.upkeep || !row.head.upkeep {
            found.push(row.into_summary());
        }
    }
    Ok(found)
}

/// Lists entries that touched one of some tables, along the chains that end at `tails`.
pub(super) fn entries_of(
    rows: &Rows,
    query: &EntryQuery,
    upto: Version,
    tails: &[(TableId, Version)],
) -> Result<Vec<EntrySummary>> {
    let from = query.from.max(Version(1));
    // Which tables' chains go on at which version.
    let mut next: BTreeMap<Version, Vec<TableId>> = BTreeMap::new();
    for (table, tail) in tails {
        let start = if *tail <= upto { *tail } else { last_touch(rows, *table, upto)? };
        let tables = next.entry(start).or_default();
        if !tables.contains(table) {
            tables.push(*table);
        }
    }
    let mut found = Vec::new();
    while found.len() < query.limit {
        let Some((version, tables)) = next.pop_last().filter(|(version, _)| *version >= from) else { break };
        let row = rows.row(version)?;
        for table in tables {
            next.entry(row.touch(table)?.previous).or_default().push(table);
        }
        if query.upkeep || !row.head.upkeep {
            found.push(row.into_summary());
        }
    }
    Ok(found)
}

/// Returns the newest entry at or before `upto` that touched a table, which a later one touched too; 0 if none.
fn last_touch(rows: &Rows, table: TableId, upto: Version) -> Result<Version> {
    let after = rows.next_touch(table, upto)?.ok_or_else(|| missing_touch(table))?;
    let previous = rows.row(after)?.touch(table)?.previous;
    if previous > upto { Err(missing_touch(table)) } else { Ok(previous) }
}

fn missing_touch(table: TableId) -> Error {
    Error::corrupt(format!("The index of commits by table (touch) misses commits of table {table}."))
}

/// Reads the deltas of a table whose newest is at `tail`; `after < upto`, and `upto` is there.
pub(super) fn deltas(
    rows: &Rows,
    table: TableId,
    (after, upto): (Version, Version),
    tail: Version,
) -> Result<Vec<(Version, Bytes)>> {
    let mut deltas = Vec::new();
    each_delta(rows, table, (after, upto), tail, |row, _| {
        deltas.push((row.head.version, rows.body(row, table)?));
        Ok(())
    })?;
    Ok(deltas)
}

/// Returns how long the deltas of a table are whose newest is at `tail`; `None` if one was trimmed.
pub(super) fn delta_bytes(
    rows: &Rows,
    table: TableId,
    (after, upto): (Version, Version),
    tail: Version,
) -> Result<Option<u64>> {
    let (mut bytes, mut is_whole) = (0, true);
    each_delta(rows, table, (after, upto), tail, |row, touch| {
        is_whole &= !row.is_trimmed();
        bytes += touch.length;
        Ok(())
    })?;
    Ok(is_whole.then_some(bytes))
}

/// Visits the entries in a range that have a delta of a table whose newest is at `tail`; none is missing.
fn each_delta(
    rows: &Rows,
    table: TableId,
    (after, upto): (Version, Version),
    tail: Version,
    mut visit: impl FnMut(&LogRow, &Touch) -> Result<()>,
) -> Result<()> {
    let last = if tail <= upto { tail } else { last_touch(rows, table, upto)? };
    let mut at: Option<Version> = None;
    for version in rows.touches(table, after, upto)? {
        let row = rows.row(version)?;
        let touch = *row.touch(table)?;
        let follows = at.map_or(touch.previous <= after, |at| touch.previous == at);
        if !follows {
            return Err(missing_touch(table));
        }
        at = Some(version);
        if touch.length > 0 {
            visit(&row, &touch)?;
        }
    }
    // The chain must end where it is known to.
    if at.unwrap_or_default() != (if last > after { last } else { Version(0) }) {
        return Err(missing_touch(table));
    }
    Ok(())
}

/// Finds the newest entry at or before `time` among those up to `newest`: times increase as versions do.
pub(super) fn newest_at(rows: &Rows, time: Time, newest: Version) -> Result<Option<EntryHead>> {
    let mut found = None;
    let (Version(mut low), Version(mut high)) = rows.around(time, newest);
    while low <= high {
        let middle = low + (high - low) / 2;
        let row = rows.row(Version(middle))?;
        if row.head.time <= time {
            low = middle + 1;
            found = Some(row.head);
        } else {
            high = middle - 1;
        }
    }
    Ok(found)
}

/// Reads what the catalog of an old version amounts to.
pub(super) fn catalog_digest(rows: &Rows, version: Version) -> Result<Digest> {
    let changed = rows.row(version)?.catalog_version;
    if changed == Version(0) {
        return Ok(Digest::default());
    }
    rows.row(changed)?
        .catalog_digest
        .ok_or_else(|| Error::corrupt(format!("Entry {changed} of the log lacks the catalog's digest.")))
}

/// Reads what stood at `version`, out of `objects`, which are all that could. It must amount to `expected`.
pub(super) fn catalog_at(
    connection: &Connection,
    version: Version,
    expected: Digest,
    objects: &[(ObjectKind, u64)],
) -> Result<Vec<Change>> {
    let mut tally = Digest::default();
    let mut puts = Vec::with_capacity(objects.len());
    for (kind, id) in objects {
        let row = object_row(connection, *kind, *id, clamp(version))?;
        if let Some(row) = row.filter(|row| version < row.end) {
            integrity::toggle(&mut tally, row.digest);
            puts.push(serde_json::from_str(&row.body)?);
        }
    }
    if tally == expected {
        return Ok(puts);
    }
    // Some row is not there: the chains tell whose.
    for (kind, id) in objects {
        let newest = object_row(connection, *kind, *id, i64::MAX)?.map(|row| row.begin);
        object(connection, *kind, *id, newest.unwrap_or(Version(u64::MAX)))?;
    }
    Err(Error::corrupt(format!("The catalog of version {version} does not match its digest: an object is missing.")))
}

/// A row of the catalog, verified.
pub(super) struct StoredObject {
    pub id: u64,
    pub begin: Version,
    pub end: Version,
    pub previous: Version,
    pub parent: u64,
    /// Folded.
    pub name: String,
    pub body: String,
    pub digest: Digest,
}

impl StoredObject {
    pub(super) fn from_row(row: &Row) -> Result<StoredObject> {
        let kind = integrity::object_kind_of(text(row, 0)?)?;
        let (id, begin, end) = (number(row, 1)?, Version(number(row, 2)?), end_from_sql(integer(row, 3)?)?);
        let (previous, parent, name, body) = (Version(number(row, 4)?), number(row, 5)?, text(row, 6)?, text(row, 8)?);
        let digest = integrity::object_digest(kind, id, begin, (parent, name), body.as_bytes());
        if integrity::object_crc(end, previous, digest) != crc(row, 7)? {
            let kind = kind.as_str();
            return Err(Error::corrupt(format!("The row of {kind} {id} since version {begin} is damaged.")));
        }
        let (name, body) = (name.to_owned(), body.to_owned());
        Ok(StoredObject { id, begin, end, previous, parent, name, body, digest })
    }

    fn into_row(self) -> Result<ObjectRow> {
        Ok(ObjectRow { begin: self.begin, end: self.end, object: serde_json::from_str(&self.body)? })
    }
}

/// Reads an object's newest row that begins at or before a version.
pub(super) fn object_row(
    connection: &Connection,
    kind: ObjectKind,
    id: u64,
    upto: i64,
) -> Result<Option<StoredObject>> {
    const AT: &str = "SELECT kind, id, begins, ends, previous, parent, name, crc, body FROM object
        WHERE kind = ?1 AND id = ?2 AND begins <= ?3 ORDER BY begins DESC LIMIT 1";
    one(connection, AT, params![kind.as_str(), clamp(Version(id)), upto], StoredObject::from_row)
}

/// Reads all rows of an object whose newest begins at `tail`.
pub(super) fn object(connection: &Connection, kind: ObjectKind, id: u64, tail: Version) -> Result<Vec<ObjectRow>> {
    const ALL: &str = "SELECT kind, id, begins, ends, previous, parent, name, crc, body FROM object
        WHERE kind = ?1 AND id = ?2 ORDER BY begins";
    let rows = each(connection, ALL, params![kind.as_str(), clamp(Version(id))], StoredObject::from_row)?;
    verify_chain(kind, id, &rows, Some(tail))?;
    rows.into_iter().map(StoredObject::into_row).collect()
}

/// Reads the row of an object that stood at a version.
pub(super) fn object_at(
    connection: &Connection,
    kind: ObjectKind,
    id: u64,
    version: Version,
) -> Result<Option<ObjectRow>> {
    let row = object_row(connection, kind, id, clamp(version))?;
    row.filter(|row| version < row.end).map(StoredObject::into_row).transpose()
}

/// Reads all rows of the objects that ever bore a name. Reads every object of the kind: to know that none is missing.
pub(super) fn named(
    connection: &Connection,
    kind: ObjectKind,
    (parent, name): (u64, &str),
    tails: &BTreeMap<u64, Version>,
) -> Result<Vec<ObjectRow>> {
    const ALL: &str = "SELECT kind, id, begins, ends, previous, parent, name, crc, body FROM object
        WHERE kind = ?1 ORDER BY id, begins";
    let name = fold(name);
    let rows = each(connection, ALL, params![kind.as_str()], StoredObject::from_row)?;
    let mut objects: BTreeMap<u64, Vec<StoredObject>> = BTreeMap::new();
    for row in rows {
        objects.entry(row.id).or_default().push(row);
    }
    for (id, tail) in tails {
        verify_chain(kind, *id, objects.get(id).map_or(&[], |rows| rows), Some(*tail))?;
    }
    let mut found = Vec::new();
    for (id, rows) in objects {
        if !tails.contains_key(&id) {
            // Newer than what is known.
            verify_chain(kind, id, &rows, None)?;
        }
        if rows.iter().any(|row| row.parent == parent && row.name == name) {
            found.extend(rows);
        }
    }
    found.sort_by_key(|row| (row.begin, row.id));
    found.into_iter().map(StoredObject::into_row).collect()
}

/// Verifies that no row of an object is missing. Rows after `tail` were committed while we read.
fn verify_chain(kind: ObjectKind, id: u64, rows: &[StoredObject], tail: Option<Version>) -> Result<()> {
    let mut previous = Version(0);
    for row in rows {
        if row.previous != previous {
            let kind = kind.as_str();
            return Err(Error::corrupt(format!("The row of {kind} {id} before version {} is missing.", row.begin)));
        }
        previous = row.begin;
    }
    if tail.is_some_and(|tail| previous < tail) {
        let kind = kind.as_str();
        return Err(Error::corrupt(format!("The newest row of {kind} {id} is missing.")));
    }
    Ok(())
}

/// A file's row, verified.
pub(super) struct StoredFile {
    pub record: FileRecord,
    pub version: Version,
    pub gone: bool,
}

impl StoredFile {
    pub(super) fn from_row(row: &Row) -> Result<StoredFile> {
        let (version, gone, blocks) = (Version(number(row, 4)?), flag(row, 5)?, blob(row, 7)?);
        let record = FileRecord {
            id: file_id(row, 0)?,
            kind: integrity::file_kind_of(text(row, 1)?)?,
            length: number(row, 2)?,
            digest: digest(row, 3)?,
            block_crcs: integrity::decode_blocks(blocks)?,
        };
        if integrity::file_crc(&record, version, gone, blocks) != crc(row, 6)? {
            return Err(Error::corrupt(format!("The record of file {} does not match its checksum.", record.id)));
        }
        Ok(StoredFile { record, version, gone })
    }

    /// Tells whether it is what the entry said.
    pub(super) fn is(&self, line: &integrity::FileLine, version: Version) -> bool {
        let record = &self.record;
        let blocks = self.gone || Digest::of(&integrity::encode_blocks(&record.block_crcs)) == line.blocks;
        let same = (record.kind, record.length, record.digest) == (line.kind, line.length, line.digest);
        blocks && same && self.version == version
    }
}

pub(super) fn file_row(connection: &Connection, id: FileId) -> Result<Option<StoredFile>> {
    const AT: &str = "SELECT id, kind, length, digest, version, gone, crc, block_crcs FROM file WHERE id = ?1";
    one(connection, AT, params![&id.0.as_bytes()[..]], StoredFile::from_row)
}

pub(super) fn file(connection: &Connection, id: FileId) -> Result<Option<FileRecord>> {
    match file_row(connection, id)? {
        Some(file) => Ok((!file.gone).then_some(file.record)),
        None => prove_no_file(connection, |line, _, _| line == id).map(|()| None),
    }
}

const BY_DIGEST: &str = "SELECT id FROM file WHERE digest = ?1 ORDER BY id";

pub(super) fn file_by_digest(connection: &Connection, kind: FileKind, wanted: Digest) -> Result<Option<FileRecord>> {
    let ids = each(connection, BY_DIGEST, params![&wanted.0[..]], |row| file_id(row, 0))?;
    let mut gone = Vec::new();
    for id in ids {
        let file = file_row(connection, id)?.filter(|file| file.record.digest == wanted);
        let file = file.ok_or_else(|| Error::corrupt(format!("The index of files by digest is wrong about {id}.")))?;
        match file.gone {
            false if file.record.kind == kind => return Ok(Some(file.record)),
            false => {}
            true => gone.push(id),
        }
    }
    prove_no_file(connection, |id, line, digest| line == kind && digest == wanted && !gone.contains(&id)).map(|()| None)
}

/// Tells whether a manifest was withdrawn, by its record, and no other with this digest stands.
pub(super) fn was_withdrawn(connection: &Connection, manifest: Digest) -> Result<bool> {
    let mut is_withdrawn = false;
    for id in each(connection, BY_DIGEST, params![&manifest.0[..]], |row| file_id(row, 0))? {
        let file = file_row(connection, id)?.filter(|file| file.record.digest == manifest);
        let file = file.ok_or_else(|| Error::corrupt(format!("The index of files by digest is wrong about {id}.")))?;
        if file.record.kind == FileKind::Manifest {
            if !file.gone {
                return Ok(false);
            }
            is_withdrawn = true;
        }
    }
    Ok(is_withdrawn)
}

/// Returns the files that were not withdrawn.
pub(super) fn files(connection: &Connection) -> Result<Vec<FileHead>> {
    let mut files = Vec::new();
    each_file(connection, |file, gone| {
        if !gone {
            files.push(file);
        }
        Ok(())
    })?;
    Ok(files)
}

/// Proves that a file is not there: reads the lines of all, which must be complete.
fn prove_no_file(connection: &Connection, is_it: impl Fn(FileId, FileKind, Digest) -> bool) -> Result<()> {
    each_file(connection, |file, _| match is_it(file.id, file.kind, file.digest) {
        true => Err(Error::corrupt(format!("The record of file {} is there, but not in its place.", file.id))),
        false => Ok(()),
    })
}

/// Reads the line of every file that ever was, and whether it is gone; fails if one is missing.
fn each_file(connection: &Connection, mut take: impl FnMut(FileHead, bool) -> Result<()>) -> Result<()> {
    const LINES: &str = "SELECT id, kind, length, digest, gone, version FROM file";
    let head = head(connection)?;
    let mut tally = Digest::default();
    let mut statement = connection.prepare_cached(LINES).map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let (id, kind) = (file_id(row, 0)?, integrity::file_kind_of(text(row, 1)?)?);
        let (length, version) = (number(row, 2)?, Version(number(row, 5)?));
        let file = FileHead { id, kind, version, length, digest: digest(row, 3)? };
        integrity::toggle(&mut tally, integrity::file_tally(id, kind, file.length, file.digest));
        take(file, flag(row, 4)?)?;
    }
    if tally != head.files {
        return Err(Error::corrupt("A row of the metastore's table 'file' is missing or was changed."));
    }
    Ok(())
}

//! The rows of the log, wherever they stand: in SQLite, or in the segment that holds them. Whoever reads an entry reads it
//! here.
//!
//! ```text
//!   SQLite     the newest entries; those that could not be read when their turn came to leave; until their segment is written
//!              anew, those of a segment of format 2
//!   segment    all others
//! ```
//! A reader sees one state of SQLite, and the segments that are shown when it begins, which may be another. Nothing is
//! missed for that:
//!
//! - A row is deleted after its segment was shown. Where it is not in SQLite any more, and its segment was not shown yet, the
//!   segments changed since the reader began: [`read_log`](super::SqliteMetastore) asks again.
//! - The file of a segment is deleted after others were shown that hold its entries. A reader that does not find it asks again,
//!   too.
//! - A row that still stands although its segment is shown is the same entry, and so are two of them.
//! - What is trimmed is marked in the segment's record before the file is written anew: a record is never older than its file.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{Error, Result};
use crate::ids::{AccountId, Digest, FileId, TableId, Time, Version};
use crate::log::integrity::{self, Fields, Touch};
use crate::log::{EntryHead, EntrySummary, trimmed};

use super::block::{Contents, Items, decode_runs};
use super::segments::{Segment, Segments, Shown};
use super::{clamp, from_sql, sql_error};

/// What stands for the deltas of an entry that was trimmed. They are never this short: each begins with a schema.
pub(super) const TRIMMED: &[u8] = b"trimmed";

/// What format 2 put for those that were in a segment.
pub(super) const AGED: &[u8] = b"segment";

/// An entry as it is stored, without its bodies.
pub(super) struct LogRow {
    pub head: EntryHead,
    pub touches: Vec<Touch>,
    pub changes: String,
    pub pins: String,
    pub files: Vec<u8>,
    pub catalog_version: Version,
    pub catalog_digest: Option<Digest>,
    pub place: Place,
}

/// Where an entry was found, and what that says of its deltas.
#[derive(Clone)]
pub(super) enum Place {
    /// In SQLite with them.
    Here,
    /// In SQLite; they were trimmed.
    Trimmed,
    /// In SQLite; they are in a segment.
    Aged,
    /// In a segment.
    Segment(Arc<Segment>),
}

/// The deltas of an entry, as they were found.
pub(super) enum Stored {
    Here(Bytes),
    InSegment(Arc<Segment>, Bytes),
    Trimmed,
}

impl LogRow {
    fn from_row(row: &Row) -> Result<LogRow> {
        let version = Version(number(row, 0)?);
        let head = EntryHead {
            version,
            time: Time(integer(row, 1)?),
            account: AccountId(number(row, 2)?),
            author: text(row, 3)?.to_owned(),
            what: text(row, 4)?.to_owned(),
            upkeep: flag(row, 5)?,
            hash: digest(row, 12)?,
        };
        let (touches, changes, pins, files) = (blob(row, 6)?, text(row, 7)?, text(row, 8)?, blob(row, 9)?);
        let catalog_version = Version(number(row, 10)?);
        let catalog_digest = match row.get_ref(11).map_err(sql_error)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(digest(row, 11)?),
        };
        let texts = (changes, pins, files);
        let entry = LogRow::verified(head, touches, texts, (catalog_version, catalog_digest), crc(row, 13)?)?;
        let mark = match row.get_ref(14).map_err(sql_error)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(blob(row, 14)?),
        };
        let place = match mark {
            Some(TRIMMED) if entry.has_deltas() => Place::Trimmed,
            Some(AGED) if entry.has_deltas() => Place::Aged,
            _ => Place::Here,
        };
        Ok(LogRow { place, ..entry })
    }

    /// Reads what `encode` wrote.
    pub(super) fn decode(bytes: &[u8], place: Place) -> Result<LogRow> {
        let mut fields = Fields(bytes);
        let mut head = EntryHead {
            version: Version(fields.u64()?),
            time: Time(fields.u64()?.cast_signed()),
            account: AccountId(fields.u64()?),
            author: fields.text()?.to_owned(),
            what: fields.text()?.to_owned(),
            upkeep: fields.u64()? == 1,
            hash: Digest::default(),
        };
        let (touches, changes, pins, files) = (fields.bytes()?, fields.text()?, fields.text()?, fields.bytes()?);
        let catalog_version = Version(fields.u64()?);
        let catalog_digest = match fields.bytes()? {
            [] => None,
            bytes => Some(Digest(bytes.try_into().map_err(|_| Error::corrupt("A digest is of wrong length."))?)),
        };
        head.hash = Digest(fields.array()?);
        let crc = u32::try_from(fields.u64()?).map_err(|_| Error::corrupt("A checksum is of wrong length."))?;
        fields.end()?;
        let entry = LogRow::verified(head, touches, (changes, pins, files), (catalog_version, catalog_digest), crc)?;
        Ok(LogRow { place, ..entry })
    }

    fn verified(
        head: EntryHead,
        touches: &[u8],
        (changes, pins, files): (&str, &str, &[u8]),
        (catalog_version, catalog_digest): (Version, Option<Digest>),
        crc: u32,
    ) -> Result<LogRow> {
        if integrity::log_crc(&head, touches, (changes, pins, files), catalog_version, catalog_digest) != crc {
            let version = head.version;
            return Err(Error::corrupt(format!("Entry {version} of the log does not match its checksum.")));
        }
        Ok(LogRow {
            touches: integrity::decode_touches(touches)?,
            changes: changes.to_owned(),
            pins: pins.to_owned(),
            files: files.to_vec(),
            head,
            catalog_version,
            catalog_digest,
            place: Place::Here,
        })
    }

    pub(super) fn touch(&self, table: TableId) -> Result<&Touch> {
        self.touches.iter().find(|touch| touch.table == table).ok_or_else(|| {
            let version = self.head.version;
            Error::corrupt(format!("Entry {version} of the log does not name table {table}, as the index says."))
        })
    }

    /// Tells whether it came with any deltas.
    pub(super) fn has_deltas(&self) -> bool {
        self.touches.iter().any(|touch| touch.length > 0)
    }

    /// Tells whether it came with deltas, and they were trimmed.
    pub(super) fn is_trimmed(&self) -> bool {
        match &self.place {
            Place::Here | Place::Aged => false,
            Place::Trimmed => true,
            Place::Segment(segment) => self.has_deltas() && segment.has_trimmed(self.head.version),
        }
    }

    pub(super) fn into_summary(self) -> EntrySummary {
        let tables = self.touches.iter().map(|touch| (touch.table, touch.puts, touch.deletes)).collect();
        EntrySummary { head: self.head, tables }
    }
}

/// Reads entries. What it reads in order it unpacks once.
pub(super) struct Rows<'a> {
    pub connection: &'a Connection,
    segments: &'a Segments,
    shown: Arc<Shown>,
    /// Up to here what a segment holds is not in SQLite.
    emptied: Version,
    /// The blocks that were read last, one of each kind.
    held: RefCell<[Option<Held>; 3]>,
}

struct Held {
    segment: u64,
    first: u64,
    last: u64,
    contents: Arc<Contents>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(connection: &'a Connection, segments: &'a Segments) -> Rows<'a> {
        Rows { connection, segments, emptied: segments.emptied(), shown: segments.shown(), held: RefCell::default() }
    }

    /// Reads an entry that must be there.
    pub(super) fn row(&self, version: Version) -> Result<LogRow> {
        let segment = self.shown.whole_of(version);
        let standing = match segment {
            Some(_) if version <= self.emptied => None,
            _ => standing_row(self.connection, version)?,
        };
        match (standing, segment) {
            (Some(row), _) => Ok(row),
            (None, Some(segment)) => {
                let lacks = || segment.damaged(&format!("lacks entry {version}"));
                let bytes = self.item(segment, Items::Entries, version.0)?.ok_or_else(lacks)?;
                let row = LogRow::decode(&bytes, Place::Segment(segment.clone()));
                row.map_err(|error| segment.damaged("is not what was written").with_source(error))
            }
            (None, None) => Err(missing(version)),
        }
    }

    /// Finds the deltas of an entry, which are not verified yet.
    pub(super) fn stored(&self, row: &LogRow) -> Result<Stored> {
        const BODY: &str = "SELECT body FROM log WHERE version = ?1";
        let version = row.head.version;
        let segment = match &row.place {
            _ if row.is_trimmed() => return Ok(Stored::Trimmed),
            Place::Segment(_) if !row.has_deltas() => return Ok(Stored::Here(Bytes::new())),
            Place::Segment(segment) => segment,
            Place::Aged => self.shown.holding(version).ok_or_else(|| in_none(version))?,
            Place::Here | Place::Trimmed => {
                let at = params![clamp(version)];
                let body = one(self.connection, BODY, at, |row| Ok(Bytes::copy_from_slice(blob(row, 0)?)))?;
                return body.map(Stored::Here).ok_or_else(|| missing(version));
            }
        };
        if segment.has_trimmed(version) {
            return Ok(Stored::Trimmed);
        }
        let lacks = || segment.damaged(&format!("lacks the deltas of version {version}"));
        let body = self.item(segment, Items::Deltas, version.0)?.ok_or_else(lacks)?;
        Ok(Stored::InSegment(segment.clone(), body))
    }

    /// Reads the deltas of an entry, in the order of its touches; `OutOfWindow` if they were trimmed.
    pub(super) fn bodies(&self, row: &LogRow) -> Result<Vec<Bytes>> {
        match self.stored(row)? {
            Stored::Here(body) => split(row, body),
            Stored::InSegment(segment, body) => {
                split(row, body).map_err(|error| segment.damaged("is not what was written").with_source(error))
            }
            Stored::Trimmed => Err(trimmed(row.head.version)),
        }
    }

    /// Reads one delta of an entry.
    pub(super) fn body(&self, row: &LogRow, table: TableId) -> Result<Bytes> {
        const PART: &str = "SELECT substr(body, ?2, ?3) FROM log WHERE version = ?1";
        let at = row.touches.iter().position(|touch| touch.table == table).unwrap_or_default();
        let touch = row.touch(table)?;
        if row.touches.len() > 1 && matches!(row.place, Place::Here) {
            let before: u64 = row.touches[..at].iter().map(|touch| touch.length).sum();
            let part = params![clamp(row.head.version), clamp(Version(before + 1)), clamp(Version(touch.length))];
            let body = one(self.connection, PART, part, |row| Ok(Bytes::copy_from_slice(blob(row, 0)?)))?;
            if let Some(body) = body.filter(|body| Digest::of(body) == touch.digest) {
                return Ok(body);
            }
        }
        self.bodies(row).map(|mut bodies| bodies.swap_remove(at))
    }

    /// Returns the versions in `(after, upto]` that touched a table, as the indexes have them, in order.
    pub(super) fn touches(&self, table: TableId, after: Version, upto: Version) -> Result<Vec<Version>> {
        const RANGE: &str = "SELECT version FROM touch WHERE table_id = ?1 AND version > ?2 AND version <= ?3
            ORDER BY version";
        let range = params![clamp(Version(table.0)), clamp(after), clamp(upto)];
        let mut versions = Vec::new();
        for segment in self.shown.touching(table, after).take_while(|segment| segment.first <= upto) {
            for (first, last) in self.runs(segment, table)? {
                let (first, last) = (first.max(after.next()), last.min(upto));
                versions.extend((first.0..=last.0).map(Version));
            }
        }
        let standing = each(self.connection, RANGE, range, |row| Ok(Version(number(row, 0)?)))?;
        // Those whose rows are not deleted yet stand in both.
        let meet = standing.first().zip(versions.last()).is_some_and(|(standing, aged)| standing <= aged);
        versions.extend(standing);
        if meet {
            versions.sort_unstable();
            versions.dedup();
        }
        Ok(versions)
    }

    /// Returns the next version after `after` that touched a table, as the indexes have it.
    pub(super) fn next_touch(&self, table: TableId, after: Version) -> Result<Option<Version>> {
        const AFTER: &str = "SELECT version FROM touch WHERE table_id = ?1 AND version > ?2 ORDER BY version LIMIT 1";
        let at = params![clamp(Version(table.0)), clamp(after)];
        let standing = one(self.connection, AFTER, at, |row| Ok(Version(number(row, 0)?)))?;
        let Some(segment) = self.shown.touching(table, after).next() else { return Ok(standing) };
        let runs = self.runs(segment, table)?;
        let run = runs.iter().find(|(_, last)| *last > after);
        let aged = run.map(|(first, _)| (*first).max(after.next()));
        Ok(aged.into_iter().chain(standing).min())
    }

    /// Returns which versions in a segment touched a table.
    fn runs(&self, segment: &Arc<Segment>, table: TableId) -> Result<Vec<(Version, Version)>> {
        let lacks = || segment.damaged(&format!("lacks the commits of table {table}"));
        let bytes = self.item(segment, Items::Touches, table.0)?.ok_or_else(lacks)?;
        let inside = |runs: &Vec<(Version, Version)>| {
            let ends = runs.first().zip(runs.last());
            ends.is_some_and(|(first, last)| first.0 >= segment.first && last.1 <= segment.last)
        };
        let runs = decode_runs(&bytes).ok().filter(inside);
        runs.ok_or_else(|| segment.damaged("is not what was written"))
    }

    /// Returns between which versions, both included, the newest entry at or before a time is, if there is one.
    pub(super) fn around(&self, time: Time, newest: Version) -> (Version, Version) {
        self.shown.around(time, newest)
    }

    /// Tells of a segment without reading it that nothing was left of its deltas, or that it had none, and where it ends.
    pub(super) fn without_deltas(&self, version: Version) -> Option<Version> {
        self.shown.whole_of(version).filter(|segment| segment.bodies == segment.trimmed).map(|segment| segment.last)
    }

    fn item(&self, segment: &Segment, items: Items, key: u64) -> Result<Option<Bytes>> {
        let held = &mut self.held.borrow_mut()[items as usize];
        if let Some(held) = held
            && (held.segment, held.first <= key && key <= held.last) == (segment.number, true)
        {
            return Ok(held.contents.item(key));
        }
        let Some((block, contents)) = self.segments.contents(segment, items, key)? else { return Ok(None) };
        let item = contents.item(key);
        *held = Some(Held { segment: segment.number, first: block.first, last: block.last, contents });
        Ok(item)
    }
}

/// Reads the row of an entry in SQLite, if there is one.
pub(super) fn standing_row(connection: &Connection, version: Version) -> Result<Option<LogRow>> {
    const AT: &str =
        "SELECT version, time, account, author, what, upkeep, touches, changes, pins, files, catalog_version,
        catalog_digest, hash, crc, CASE WHEN length(body) = 7 THEN body END FROM log WHERE version = ?1";
    one(connection, AT, params![clamp(version)], LogRow::from_row)
}

/// Takes the deltas of an entry apart, and verifies each.
pub(super) fn split(row: &LogRow, mut rest: Bytes) -> Result<Vec<Bytes>> {
    let version = row.head.version;
    let mut bodies = Vec::with_capacity(row.touches.len());
    for touch in &row.touches {
        let length = usize::try_from(touch.length).unwrap_or(usize::MAX);
        if length > rest.len() || Digest::of(&rest[..length]) != touch.digest {
            let table = touch.table;
            return Err(Error::corrupt(format!("The delta of table {table} in entry {version} is damaged.")));
        }
        bodies.push(rest.split_to(length));
    }
    if !rest.is_empty() {
        return Err(Error::corrupt(format!("Entry {version} of the log is longer than its deltas.")));
    }
    Ok(bodies)
}

pub(super) fn missing(version: Version) -> Error {
    Error::corrupt(format!("Entry {version} of the log is missing."))
}

/// Returns the error for deltas that no segment holds.
fn in_none(version: Version) -> Error {
    Error::corrupt(format!("The deltas of entry {version} have left the log, and no segment holds them."))
}

/// Runs a query of at most one row.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &'static str,
    params: &[&dyn rusqlite::ToSql],
    decode: impl FnOnce(&Row) -> Result<T>,
) -> Result<Option<T>> {
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    statement.query_row(params, |row| Ok(decode(row))).optional().map_err(sql_error)?.transpose()
}

/// Runs a query of any number of rows.
pub(super) fn each<T>(
    connection: &Connection,
    sql: &'static str,
    params: &[&dyn rusqlite::ToSql],
    mut decode: impl FnMut(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    let mut rows = statement.query(params).map_err(sql_error)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        found.push(decode(row)?);
    }
    Ok(found)
}

pub(super) fn integer(row: &Row, column: usize) -> Result<i64> {
    row.get(column).map_err(sql_error)
}

pub(super) fn number(row: &Row, column: usize) -> Result<u64> {
    from_sql(integer(row, column)?)
}

pub(super) fn flag(row: &Row, column: usize) -> Result<bool> {
    match integer(row, column)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::corrupt(format!("The metastore holds {other} where only 0 or 1 can be."))),
    }
}

pub(super) fn crc(row: &Row, column: usize) -> Result<u32> {
    row.get(column).map_err(sql_error)
}

pub(super) fn text<'a>(row: &'a Row, column: usize) -> Result<&'a str> {
    let value = row.get_ref(column).map_err(sql_error)?;
    value.as_str().map_err(|error| sql_error(error.into()))
}

pub(super) fn blob<'a>(row: &'a Row, column: usize) -> Result<&'a [u8]> {
    let value = row.get_ref(column).map_err(sql_error)?;
    value.as_blob().map_err(|error| sql_error(error.into()))
}

pub(super) fn digest(row: &Row, column: usize) -> Result<Digest> {
    blob(row, column)?
        .try_into()
        .map(Digest)
        .map_err(|_| Error::corrupt("The metastore holds a digest of wrong length."))
}

pub(super) fn file_id(row: &Row, column: usize) -> Result<FileId> {
    let bytes: &[u8] = blob(row, column)?;
    let bytes = bytes.try_into().map_err(|_| Error::corrupt("The metastore holds a file id of wrong length."))?;
    Ok(FileId(uuid::Uuid::from_bytes(bytes)))
}

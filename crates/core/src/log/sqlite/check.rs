//! The full check: reads everything, replays the log beside it, and tells every difference. It repairs nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use rusqlite::Connection;

use crate::catalog::{Change, ObjectKind};
use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, FileId, TableId, Time, Version};
use crate::log::integrity::{self, Head};

use super::read::{self, LogRow, Stored, StoredFile, StoredObject};
use super::segments::{self, Segment, Segments, State};

/// What the log says that the store should hold.
#[derive(Default)]
struct Replay {
    hash: Digest,
    time: Option<Time>,
    touches: HashMap<TableId, Version>,
    touch_rows: u64,
    /// Every row of the catalog that should be: its end and its digest.
    objects: BTreeMap<(ObjectKind, u64, Version), (Version, Digest)>,
    /// Where the standing row of each object begins.
    standing: BTreeMap<(ObjectKind, u64), Version>,
    catalog: Digest,
    catalog_version: Version,
    files: BTreeMap<FileId, (integrity::FileLine, Version)>,
    /// Entries whose deltas are in segments.
    aged: BTreeSet<Version>,
}

/// How much a check reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All but pages and deltas.
    Chains,
    Everything,
}

/// Verifies the whole log; returns one line per damage.
pub(super) fn check(connection: &Connection, segments: &Segments, reach: Reach) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut note = |line: String| lines.push(line);
    if reach == Reach::Everything {
        check_pages(connection, &mut note);
    }
    let head = match read::head(connection) {
        Ok(head) => head,
        Err(error) => {
            note(error.to_string());
            return Ok(lines);
        }
    };
    let mut replay = Replay::default();
    for version in 1..=head.version.0 {
        match read::log_row(connection, Version(version)) {
            Ok(row) => {
                check_entry(connection, &row, &mut replay, &mut note);
                if reach == Reach::Everything {
                    check_bodies(connection, &row, &mut replay.aged, &mut note);
                }
            }
            Err(error) => note(error.to_string()),
        }
    }
    check_head(&head, &replay, &mut note);
    match read::segments(connection, &head) {
        Ok(known) if reach == Reach::Chains => find_segments(segments, known.values(), &mut note),
        Ok(known) => check_segments(connection, segments, known.values(), &mut replay, &mut note),
        Err(error) => note(error.to_string()),
    }
    check_rows(connection, &head, &replay, &mut note);
    for result in read::verify_sets(connection, &head) {
        if let Err(error) = result {
            note(error.to_string());
        }
    }
    Ok(lines)
}

/// Asks SQLite about its pages and indexes.
fn check_pages(connection: &Connection, note: &mut impl FnMut(String)) {
    const PAGES: &str = "PRAGMA integrity_check";
    match read::each(connection, PAGES, &[], |row| row.get::<_, String>(0).map_err(super::sql_error)) {
        Ok(found) => found.into_iter().filter(|line| line != "ok").for_each(|line| note(format!("SQLite: {line}"))),
        Err(error) => note(error.to_string()),
    }
}

fn check_entry(connection: &Connection, row: &LogRow, replay: &mut Replay, note: &mut impl FnMut(String)) {
    const INDEXED: &str = "SELECT version FROM touch WHERE table_id = ?1 AND version = ?2";
    let version = row.head.version;
    let hash = integrity::entry_hash(replay.hash, &row.head, &row.touches, &row.changes, &row.pins, &row.files);
    if hash != row.head.hash {
        note(format!("Entry {version} of the log does not match its hash, or the entry before it was changed."));
    }
    replay.hash = row.head.hash;
    if replay.time.is_some_and(|time| row.head.time <= time) {
        note(format!("The time of entry {version} of the log is not after that of the entry before it."));
    }
    replay.time = Some(row.head.time);
    for touch in &row.touches {
        replay.touch_rows += 1;
        if replay.touches.insert(touch.table, version).unwrap_or_default() != touch.previous {
            note(format!("Entry {version} of the log is wrong about the commit of table {} before it.", touch.table));
        }
        let key = rusqlite::params![super::clamp(Version(touch.table.0)), super::clamp(version)];
        match read::one(connection, INDEXED, key, |row| read::number(row, 0)) {
            Ok(Some(_)) => {}
            Ok(None) => note(format!("The table 'touch' lacks commit {version} of table {}.", touch.table)),
            Err(error) => note(error.to_string()),
        }
    }
    match read::list::<Change>(&row.changes) {
        Ok(changes) => {
            if !changes.is_empty() {
                replay.catalog_version = version;
            }
            for change in &changes {
                if let Err(error) = replay.apply(change, version) {
                    note(error.to_string());
                }
            }
        }
        Err(error) => note(format!("The changes of entry {version} of the log: {error}")),
    }
    let catalog = (replay.catalog_version == version).then_some(replay.catalog);
    if row.catalog_version != replay.catalog_version || row.catalog_digest != catalog {
        note(format!("Entry {version} of the log has another digest of the catalog than its changes make."));
    }
    match integrity::decode_files(&row.files) {
        Ok(files) => replay.files.extend(files.into_iter().map(|line| (line.id, (line, version)))),
        Err(error) => note(format!("The files of entry {version} of the log: {error}")),
    }
}

/// Verifies every segment whole, and against the log.
fn check_segments<'a>(
    connection: &Connection,
    segments: &Segments,
    known: impl Iterator<Item = &'a Segment>,
    replay: &mut Replay,
    note: &mut impl FnMut(String),
) {
    let mut aged = std::mem::take(&mut replay.aged);
    for segment in known.filter(|segment| segment.state == State::Whole) {
        let mut held: BTreeSet<Version> = BTreeSet::new();
        let mut next = segment.first;
        let verified = segments.verify(
            segment,
            |entry| {
                let version = next;
                next = version.next();
                match read::log_row(connection, version) {
                    Ok(row) if row.encode() != entry => Err(segment.damaged("and the log differ about an entry")),
                    // What is wrong with the log itself is said already.
                    _ => Ok(()),
                }
            },
            |version, deltas| {
                held.insert(version);
                match read::log_row(connection, version) {
                    Ok(row) if read::split(&row, Bytes::copy_from_slice(deltas)).is_err() => {
                        Err(segment.damaged(&format!("and the log differ about the deltas of version {version}")))
                    }
                    _ => Ok(()),
                }
            },
        );
        let inside: Vec<Version> = aged.range(segment.first..=segment.last).copied().collect();
        for version in &inside {
            aged.remove(version);
        }
        let complete = || match inside.iter().find(|version| !held.contains(version)) {
            Some(version) => Err(segment.damaged(&format!("lacks the deltas of version {version}"))),
            None if next != segment.last.next() => Err(segment.damaged("lacks entries")),
            None => Ok(()),
        };
        // One that goes while we read is not missed.
        if let Err(error) = verified.and_then(|()| complete())
            && segments.shows(segment)
        {
            note(format!("{}{}", error.message(), holds(connection, segment)));
        }
    }
    aged.iter().for_each(|version| note(segments::in_none(*version).to_string()));
}

/// Names the tables of which a segment holds rows, as they were called last.
fn holds(connection: &Connection, segment: &Segment) -> String {
    let newest = |kind, id| -> Result<Change> {
        let row = read::object_row(connection, kind, id, i64::MAX)?;
        let row = row.ok_or_else(|| Error::corrupt("It has no name."))?;
        Ok(serde_json::from_str(&row.body)?)
    };
    let name = |table: &TableId| match newest(ObjectKind::Table, table.0) {
        Ok(Change::PutTable(table)) => match newest(ObjectKind::Database, table.database.0) {
            Ok(Change::PutDatabase(database)) => format!("{}.{}", database.name, table.name),
            _ => table.name.clone(),
        },
        _ => format!("table {table}"),
    };
    let names: BTreeSet<String> = segment.tables.keys().map(name).collect();
    let names: Vec<String> = names.into_iter().collect();
    format!(" It holds rows of {}.", names.join(", "))
}

/// Verifies that every segment is there, as long as it should be.
fn find_segments<'a>(segments: &Segments, known: impl Iterator<Item = &'a Segment>, note: &mut impl FnMut(String)) {
    for segment in known.filter(|segment| segment.state == State::Whole) {
        if let Err(error) = segments.find(segment)
            && segments.shows(segment)
        {
            note(error.message().to_owned());
        }
    }
}

/// Verifies an entry's deltas, as far as they are in its row; takes note of those that are in a segment.
fn check_bodies(connection: &Connection, row: &LogRow, aged: &mut BTreeSet<Version>, note: &mut impl FnMut(String)) {
    match read::stored(connection, row) {
        Ok(Stored::Here(body)) => {
            if let Err(error) = read::split(row, body) {
                note(error.to_string());
            }
        }
        Ok(Stored::InSegment) => drop(aged.insert(row.head.version)),
        Ok(Stored::Trimmed) => {}
        Err(error) => note(error.to_string()),
    }
}

/// Verifies some entries: each by itself, its deltas, and that it follows the one before it; and the segments that end
/// with one of them. Returns about how many bytes that was, and one line per damage.
pub(super) fn check_entries(
    connection: &Connection,
    segments: &Segments,
    (from, upto): (Version, Version),
) -> Result<(u64, Vec<String>)> {
    let (mut bytes, mut lines) = (0, Vec::new());
    let mut previous = match from.0 {
        ..=1 => Some(Digest::default()),
        _ => read::log_row(connection, Version(from.0 - 1)).ok().map(|row| row.head.hash),
    };
    for version in from.0.max(1)..=upto.0 {
        let row = match read::log_row(connection, Version(version)) {
            Ok(row) => row,
            Err(error) => {
                lines.push(error.to_string());
                previous = None;
                continue;
            }
        };
        let hash = |before| integrity::entry_hash(before, &row.head, &row.touches, &row.changes, &row.pins, &row.files);
        // Of one behind an entry that cannot be read the hash says nothing.
        if previous.is_some_and(|before| hash(before) != row.head.hash) {
            lines.push(format!(
                "Entry {version} of the log does not match its hash, or the entry before it was changed."
            ));
        }
        previous = Some(row.head.hash);
        bytes += row.touches.iter().map(|touch| touch.length).sum::<u64>();
        bytes += (row.changes.len() + row.pins.len() + row.files.len() + 256) as u64;
        check_bodies(connection, &row, &mut BTreeSet::new(), &mut |line| lines.push(line));
    }
    let known = match read::head(connection).and_then(|head| read::segments(connection, &head)) {
        Ok(known) => known,
        Err(error) if error.kind() == Kind::Corrupt => {
            lines.push(error.to_string());
            return Ok((bytes, lines));
        }
        Err(error) => return Err(error),
    };
    for segment in known.values().filter(|segment| from <= segment.last && segment.last <= upto) {
        let mut replay = Replay::default();
        for version in segment.first.0..=segment.last.0 {
            if let Ok(row) = read::log_row(connection, Version(version)) {
                // What is wrong with it by itself is said with its own entry.
                check_bodies(connection, &row, &mut replay.aged, &mut |_| {});
            }
        }
        check_segments(connection, segments, std::iter::once(segment), &mut replay, &mut |line| lines.push(line));
    }
    Ok((bytes, lines))
}

impl Replay {
    fn apply(&mut self, change: &Change, version: Version) -> Result<()> {
        let (kind, id) = change.object();
        self.end(kind, id, version);
        if kind == ObjectKind::Table && change.is_drop() {
            self.end(ObjectKind::Content, id, version);
        }
        if !change.is_drop() {
            let (parent, name, body) = integrity::object_columns(change)?;
            let digest = integrity::object_digest(kind, id, version, (parent, &name), body.as_bytes());
            integrity::toggle(&mut self.catalog, digest);
            self.standing.insert((kind, id), version);
            self.objects.insert((kind, id, version), (Version::MAX, digest));
        }
        Ok(())
    }

    fn end(&mut self, kind: ObjectKind, id: u64, version: Version) {
        let Some(begin) = self.standing.remove(&(kind, id)) else { return };
        let Some((_, digest)) = self.objects.remove(&(kind, id, begin)) else { return };
        integrity::toggle(&mut self.catalog, digest);
        if begin != version {
            self.objects.insert((kind, id, begin), (version, digest));
        }
    }
}

/// Compares what the log amounts to with the head.
fn check_head(head: &Head, replay: &Replay, note: &mut impl FnMut(String)) {
    let mut touches = Digest::default();
    for (table, version) in &replay.touches {
        integrity::toggle(&mut touches, integrity::touch_tail(*table, *version));
    }
    let mut newest: BTreeMap<(ObjectKind, u64), Version> = BTreeMap::new();
    newest.extend(replay.objects.keys().map(|(kind, id, begin)| ((*kind, *id), *begin)));
    let mut objects = Digest::default();
    for ((kind, id), begin) in newest {
        integrity::toggle(&mut objects, integrity::object_tail(kind, id, begin));
    }
    let mut files = Digest::default();
    for (line, _) in replay.files.values() {
        integrity::toggle(&mut files, integrity::file_tally(line.id, line.kind, line.length, line.digest));
    }
    let time = replay.time.unwrap_or(Time(i64::MIN));
    for (same, what) in [
        ((head.hash, head.time) == (replay.hash, time), "the newest entry"),
        ((head.catalog, head.catalog_version) == (replay.catalog, replay.catalog_version), "the catalog"),
        (head.objects == objects, "the newest row of each object"),
        (head.touches == touches, "the newest commit of each table"),
        (head.files == files, "the files"),
    ] {
        if !same {
            note(format!("The head of the metastore and the log differ about {what}."));
        }
    }
}

/// Compares the rows of the tables with those that the log makes.
fn check_rows(connection: &Connection, head: &Head, replay: &Replay, note: &mut impl FnMut(String)) {
    const LAST: &str = "SELECT version FROM log WHERE version < 1 OR version > ?1";
    const TOUCHES: &str = "SELECT count(*) FROM touch";
    count(connection, TOUCHES, "touch", replay.touch_rows, note);
    match read::each(connection, LAST, rusqlite::params![super::clamp(head.version)], |row| read::integer(row, 0)) {
        Ok(beyond) => beyond.iter().for_each(|version| note(format!("Entry {version} is beyond the end of the log."))),
        Err(error) => note(error.to_string()),
    }
    check_objects(connection, replay, note);
    check_files(connection, replay, note);
}

fn check_objects(connection: &Connection, replay: &Replay, note: &mut impl FnMut(String)) {
    const COUNT: &str = "SELECT count(*) FROM object";
    for ((kind, id, begin), (end, digest)) in &replay.objects {
        let previous = replay.objects.range((*kind, *id, Version(0))..(*kind, *id, *begin)).next_back();
        let previous = previous.map_or(Version(0), |((_, _, begin), _)| *begin);
        let right =
            |row: &StoredObject| (row.begin, row.end, row.previous, row.digest) == (*begin, *end, previous, *digest);
        match read::object_row(connection, *kind, *id, super::clamp(*begin)) {
            Ok(row) if row.as_ref().is_some_and(right) => {}
            Ok(_) => {
                note(format!("The row of {} {id} since version {begin} is missing or was changed.", kind.as_str()));
            }
            Err(error) => note(error.to_string()),
        }
    }
    count(connection, COUNT, "object", replay.objects.len() as u64, note);
}

fn check_files(connection: &Connection, replay: &Replay, note: &mut impl FnMut(String)) {
    const COUNT: &str = "SELECT count(*) FROM file";
    for (id, (line, version)) in &replay.files {
        let right = |file: &StoredFile| file.is(line, *version);
        match read::file_row(connection, *id) {
            Ok(file) if file.as_ref().is_some_and(right) => {}
            Ok(_) => note(format!("The record of file {id} is missing or was changed.")),
            Err(error) => note(error.to_string()),
        }
        if let Err(error) = read::file_by_digest(connection, line.kind, line.digest) {
            note(error.to_string());
        }
    }
    count(connection, COUNT, "file", replay.files.len() as u64, note);
}

fn count(connection: &Connection, sql: &'static str, table: &str, expected: u64, note: &mut impl FnMut(String)) {
    match read::one(connection, sql, &[], |row| read::number(row, 0)) {
        Ok(Some(rows)) if rows == expected => {}
        Ok(rows) => note(format!("The table '{table}' has {} rows, and should have {expected}.", rows.unwrap_or(0))),
        Err(error) => note(error.to_string()),
    }
}

//! The full check: reads everything, replays the log beside it, and tells every difference. It repairs nothing.
//!
//! Entries are read one after the other, those of a segment from its file. Where one cannot be read, what follows from all of
//! them is not known: that is checked when the damage is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, params};

use crate::catalog::{Change, ObjectKind};
use crate::error::{Error, Kind, Result};
use crate::ids::{Digest, FileId, TableId, Time, Version};
use crate::log::integrity::{self, Head};

use super::block::{Items, encode_runs};
use super::read::{self, StoredFile, StoredObject};
use super::rows::{self, LogRow, Place, Rows, Stored};
use super::segments::{Opened, Segment, Segments};
use super::{clamp, known};

/// What the log says that the store should hold.
#[derive(Default)]
struct Replay {
    /// Of the entry before; `None` behind one that could not be read.
    hash: Option<Digest>,
    time: Option<Time>,
    touches: HashMap<TableId, Version>,
    /// Of the entries that stand in SQLite.
    touch_rows: u64,
    /// Every row of the catalog that should be: its end and its digest.
    objects: BTreeMap<(ObjectKind, u64, Version), (Version, Digest)>,
    /// Where the standing row of each object begins.
    standing: BTreeMap<(ObjectKind, u64), Version>,
    catalog: Digest,
    catalog_version: Version,
    files: BTreeMap<FileId, (integrity::FileLine, Version)>,
    /// Entries that were not read, by the first of a run: the last of it.
    gaps: BTreeMap<Version, Version>,
}

/// How much a check reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All but pages and deltas.
    Chains,
    Everything,
}

struct Check<'a> {
    connection: &'a Connection,
    segments: &'a Segments,
    reach: Reach,
    replay: Replay,
    lines: Vec<String>,
    /// Segments of format 2 that were found damaged.
    damaged: BTreeSet<u64>,
}

/// Verifies the whole log; returns one line per damage.
pub(super) fn check(connection: &Connection, segments: &Segments, reach: Reach) -> Result<Vec<String>> {
    let mut check = Check::new(connection, segments, reach);
    if reach == Reach::Everything {
        check_pages(connection, &mut |line| check.lines.push(line));
    }
    let head = match known::head(connection) {
        Ok(head) => head,
        Err(error) => {
            check.lines.push(error.to_string());
            return Ok(check.lines);
        }
    };
    if let Err(error) = known::segments(connection, &head) {
        check.lines.push(error.to_string());
    }
    // What is shown now is not older than what the connection sees.
    segments.shown().old().for_each(|segment| check.old_segment(segment));
    let mut next = Version(1);
    while next <= head.version {
        next = check.entries(next, head.version);
    }
    let Check { replay, mut lines, .. } = check;
    let mut note = |line: String| lines.push(line);
    check_head(&head, &replay, &mut note);
    check_rows(connection, &head, &replay, &mut note);
    for result in known::verify_sets(connection, &head) {
        if let Err(error) = result {
            note(error.to_string());
        }
    }
    Ok(lines)
}

/// Verifies some entries: each by itself, its deltas, and that it follows the one before it. Those in a segment are verified
/// with the last of them, and all of its file. Returns about how many bytes that was, and one line per damage.
pub(super) fn check_entries(
    connection: &Connection,
    segments: &Segments,
    (from, upto): (Version, Version),
) -> Result<(u64, Vec<String>)> {
    let (mut bytes, mut next) = (0, from.max(Version(1)));
    if segments.shown().whole_of(next).is_some_and(|segment| segment.last > upto) {
        return Ok((0, Vec::new()));
    }
    let mut check = Check::new(connection, segments, Reach::Everything);
    match known::head(connection).and_then(|head| known::segments(connection, &head)) {
        Err(error) if error.kind() == Kind::Corrupt => check.lines.push(error.to_string()),
        known => drop(known?),
    }
    // What is shown from here on is not older than what the connection sees.
    while next <= upto {
        let shown = segments.shown();
        match shown.whole_of(next) {
            Some(segment) if segment.last > upto => break,
            Some(segment) => {
                bytes += segment.length;
                check.begin_at(segment.first);
                next = check.entries(segment.first, upto);
            }
            None => {
                if next == from || next == Version(1) {
                    check.begin_at(next);
                }
                bytes += 256
                    + rows::standing_row(connection, next).ok().flatten().map_or(0, |row| {
                        let deltas = row.touches.iter().map(|touch| touch.length).sum::<u64>();
                        deltas + (row.changes.len() + row.pins.len() + row.files.len()) as u64
                    });
                next = check.entries(next, upto);
            }
        }
    }
    for segment in segments.shown().old().filter(|segment| from <= segment.last && segment.last <= upto) {
        bytes += segment.length;
        check.old_segment(segment);
    }
    Ok((bytes, check.lines))
}

/// Asks SQLite about its pages and indexes.
fn check_pages(connection: &Connection, note: &mut impl FnMut(String)) {
    const PAGES: &str = "PRAGMA integrity_check";
    match rows::each(connection, PAGES, &[], |row| row.get::<_, String>(0).map_err(super::sql_error)) {
        Ok(found) => found.into_iter().filter(|line| line != "ok").for_each(|line| note(format!("SQLite: {line}"))),
        Err(error) => note(error.to_string()),
    }
}

impl<'a> Check<'a> {
    fn new(connection: &'a Connection, segments: &'a Segments, reach: Reach) -> Check<'a> {
        let replay = Replay { hash: Some(Digest::default()), ..Replay::default() };
        Check { connection, segments, reach, replay, lines: Vec::new(), damaged: BTreeSet::new() }
    }

    /// Leaves out what is before an entry: only its hash is followed.
    fn begin_at(&mut self, first: Version) {
        self.replay = Replay::default();
        let before = Version(first.0 - 1);
        if before == Version(0) {
            self.replay.hash = Some(Digest::default());
            return;
        }
        self.replay.gaps.insert(Version(1), before);
        self.replay.hash = Rows::new(self.connection, self.segments).row(before).ok().map(|row| row.head.hash);
    }

    /// Goes on with an entry, and with those behind it in the same segment, but not behind `upto`. Returns the next one.
    fn entries(&mut self, next: Version, upto: Version) -> Version {
        loop {
            let shown = self.segments.shown();
            let Some(segment) = shown.whole_of(next) else {
                self.row(next);
                return next.next();
            };
            // One that is written while we read may hold more than there was when the check began.
            let last = segment.last.min(upto);
            match self.segments.open_whole(segment) {
                Ok(opened) => self.segment(opened, next, last),
                // It was written anew meanwhile: the other one has them too.
                Err(_) if !self.segments.shows(segment) => continue,
                Err(error) => {
                    self.note_segment(segment, &error);
                    self.replay.miss(next, last);
                }
            }
            return last.next();
        }
    }

    /// Verifies an entry that is in no segment.
    fn row(&mut self, version: Version) {
        let rows = Rows::new(self.connection, self.segments);
        let row = match rows.row(version) {
            Ok(row) => row,
            Err(error) => {
                self.lines.push(error.to_string());
                self.replay.miss(version, version);
                return;
            }
        };
        self.entry(&row);
        self.touch_rows(&row);
        if self.reach == Reach::Everything {
            match rows.stored(&row) {
                Ok(Stored::Here(body)) => {
                    if let Err(error) = rows::split(&row, body) {
                        self.lines.push(error.to_string());
                    }
                }
                Ok(Stored::InSegment(segment, body)) if !self.damaged.contains(&segment.number) => {
                    if rows::split(&row, body).is_err() {
                        self.note_segment(&segment, &segment.damaged(&differs(version)));
                    }
                }
                Ok(_) => {}
                // What is wrong with a segment is said once.
                Err(_) if matches!(row.place, Place::Aged) && !self.damaged.is_empty() => {}
                Err(error) => self.lines.push(error.to_string()),
            }
        }
    }

    /// Verifies a segment of format 2: the file as such. Its entries are compared with nothing, for they are not read.
    fn old_segment(&mut self, segment: &Arc<Segment>) {
        let verified = self.segments.open_whole(segment).and_then(|mut opened| match self.reach {
            Reach::Chains => opened.read_index(),
            Reach::Everything => opened.verify(),
        });
        if let Err(error) = verified
            && self.segments.shows(segment)
        {
            self.damaged.insert(segment.number);
            self.note_segment(segment, &error);
        }
    }

    /// Verifies entries of a segment, and every byte of it.
    fn segment(&mut self, mut opened: Opened, from: Version, last: Version) {
        let segment = opened.segment.clone();
        let mut found = Ok(());
        if self.reach == Reach::Everything {
            found = found.and(opened.verify());
        }
        found = found.and(opened.read_index());
        let standing = self.standing_in(from, last);
        let mut touched: BTreeMap<TableId, Vec<Version>> = BTreeMap::new();
        for version in (from.0..=last.0).map(Version) {
            let row = match segment_row(&mut opened, version) {
                Ok(row) => row,
                Err(error) => {
                    found = found.and(Err(error));
                    self.replay.miss(version, version);
                    continue;
                }
            };
            self.entry(&row);
            for touch in &row.touches {
                touched.entry(touch.table).or_default().push(version);
            }
            if self.reach == Reach::Everything {
                found = found.and(check_deltas(&mut opened, &row));
            }
            if standing.contains(&version) {
                self.compare(&row);
            }
        }
        if (from, last) == (segment.first, segment.last) {
            found = found.and(check_touches(&mut opened, &touched));
        }
        if let Err(error) = found {
            self.note_segment(&segment, &error);
        }
    }

    /// Returns the entries that stand in SQLite.
    fn standing_in(&mut self, first: Version, last: Version) -> BTreeSet<Version> {
        const STANDING: &str = "SELECT version FROM log WHERE version BETWEEN ?1 AND ?2";
        let range = params![clamp(first), clamp(last)];
        let found = rows::each(self.connection, STANDING, range, |row| Ok(Version(rows::number(row, 0)?)));
        found
            .unwrap_or_else(|error| {
                self.lines.push(error.to_string());
                Vec::new()
            })
            .into_iter()
            .collect()
    }

    /// Verifies that an entry that is in a segment and has not left SQLite yet is the same there.
    fn compare(&mut self, row: &LogRow) {
        let version = row.head.version;
        match rows::standing_row(self.connection, version) {
            Ok(Some(standing)) if standing.encode() == row.encode() => self.touch_rows(&standing),
            Ok(_) => self.lines.push(format!("Entry {version} of the log is another one in its segment.")),
            Err(error) => self.lines.push(error.to_string()),
        }
    }

    fn note_segment(&mut self, segment: &Segment, error: &Error) {
        let line = format!("{}{}", error.message(), holds(self.connection, segment));
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }

    /// Verifies that the table 'touch' has an entry that stands in SQLite.
    fn touch_rows(&mut self, row: &LogRow) {
        const INDEXED: &str = "SELECT version FROM touch WHERE table_id = ?1 AND version = ?2";
        let version = row.head.version;
        for touch in &row.touches {
            self.replay.touch_rows += 1;
            let key = params![clamp(Version(touch.table.0)), clamp(version)];
            match rows::one(self.connection, INDEXED, key, |row| rows::number(row, 0)) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.lines.push(format!("The table 'touch' lacks commit {version} of table {}.", touch.table));
                }
                Err(error) => self.lines.push(error.to_string()),
            }
        }
    }

    /// Verifies that an entry follows from those before it.
    fn entry(&mut self, row: &LogRow) {
        let Check { replay, lines, .. } = self;
        let version = row.head.version;
        let mut note = |line: String| match &row.place {
            Place::Segment(segment) => lines.push(format!("{line} It is in {}.", segment.path())),
            _ => lines.push(line),
        };
        let hash = |before| integrity::entry_hash(before, &row.head, &row.touches, &row.changes, &row.pins, &row.files);
        // Of one behind an entry that cannot be read the hash says nothing.
        if replay.hash.is_some_and(|before| hash(before) != row.head.hash) {
            note(format!("Entry {version} of the log does not match its hash, or the entry before it was changed."));
        }
        replay.hash = Some(row.head.hash);
        if replay.time.is_some_and(|time| row.head.time <= time) {
            note(format!("The time of entry {version} of the log is not after that of the entry before it."));
        }
        replay.time = Some(row.head.time);
        for touch in &row.touches {
            let before = replay.touches.insert(touch.table, version).unwrap_or_default();
            if before != touch.previous && !replay.missed(touch.previous) {
                note(format!(
                    "Entry {version} of the log is wrong about the commit of table {} before it.",
                    touch.table
                ));
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
        let same = row.catalog_version == replay.catalog_version && row.catalog_digest == catalog;
        if !same && replay.gaps.is_empty() {
            note(format!("Entry {version} of the log has another digest of the catalog than its changes make."));
        }
        match integrity::decode_files(&row.files) {
            Ok(files) => replay.files.extend(files.into_iter().map(|line| (line.id, (line, version)))),
            Err(error) => note(format!("The files of entry {version} of the log: {error}")),
        }
    }
}

fn segment_row(opened: &mut Opened, version: Version) -> Result<LogRow> {
    let segment = opened.segment.clone();
    let bytes = opened.item(Items::Entries, version.0)?;
    let bytes = bytes.ok_or_else(|| segment.damaged(&format!("lacks entry {version}")))?;
    let row = LogRow::decode(&bytes, Place::Segment(segment.clone()));
    row.map_err(|error| segment.damaged(&format!("has a damaged entry {version}")).with_source(error))
}

/// Verifies the deltas of an entry, unless they were trimmed.
fn check_deltas(opened: &mut Opened, row: &LogRow) -> Result<()> {
    let (segment, version) = (opened.segment.clone(), row.head.version);
    if !row.has_deltas() || row.is_trimmed() {
        return Ok(());
    }
    let body = opened.item(Items::Deltas, version.0)?;
    let body = body.ok_or_else(|| segment.damaged(&format!("lacks the deltas of version {version}")))?;
    rows::split(row, body).map(drop).map_err(|_| segment.damaged(&differs(version)))
}

fn differs(version: Version) -> String {
    format!("and the log differ about the deltas of version {version}")
}

/// Verifies what a segment says of the commits of each table.
fn check_touches(opened: &mut Opened, touched: &BTreeMap<TableId, Vec<Version>>) -> Result<()> {
    let segment = opened.segment.clone();
    let listed: Vec<(u64, Bytes)> = opened.items(Items::Touches)?;
    let listed = listed.iter().map(|(table, runs)| (TableId(*table), runs.to_vec()));
    let entries = touched.iter().map(|(table, versions)| (*table, encode_runs(versions.iter().copied())));
    let ends = |versions: &Vec<Version>| Some((*versions.first()?, *versions.last()?));
    let tables = touched.iter().filter_map(|(table, versions)| Some((*table, ends(versions)?)));
    if listed.eq(entries) && tables.eq(segment.tables.iter().map(|(table, ends)| (*table, *ends))) {
        return Ok(());
    }
    Err(segment.damaged("is wrong about which entries touched which table"))
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

impl Replay {
    /// Notes that entries were not read.
    fn miss(&mut self, first: Version, last: Version) {
        self.hash = None;
        match self.gaps.last_entry() {
            Some(mut gap) if gap.get().next() == first => drop(gap.insert(last)),
            _ => drop(self.gaps.insert(first, last)),
        }
    }

    fn missed(&self, version: Version) -> bool {
        self.gaps.range(..=version).next_back().is_some_and(|(_, last)| version <= *last)
    }

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
    const NEWEST: &str = "the newest entry";
    let time = replay.time.unwrap_or(Time(i64::MIN));
    let is_newest = replay.hash.is_none_or(|hash| (head.hash, head.time) == (hash, time));
    for (same, what) in [
        (is_newest, NEWEST),
        ((head.catalog, head.catalog_version) == (replay.catalog, replay.catalog_version), "the catalog"),
        (head.objects == objects, "the newest row of each object"),
        (head.touches == touches, "the newest commit of each table"),
        (head.files == files, "the files"),
    ] {
        if !same && (replay.gaps.is_empty() || what == NEWEST) {
            note(format!("The head of the metastore and the log differ about {what}."));
        }
    }
}

/// Compares the rows of the tables with those that the log makes.
fn check_rows(connection: &Connection, head: &Head, replay: &Replay, note: &mut impl FnMut(String)) {
    const LAST: &str = "SELECT version FROM log WHERE version < 1 OR version > ?1";
    const TOUCHES: &str = "SELECT count(*) FROM touch";
    match rows::each(connection, LAST, rusqlite::params![super::clamp(head.version)], |row| rows::integer(row, 0)) {
        Ok(beyond) => beyond.iter().for_each(|version| note(format!("Entry {version} is beyond the end of the log."))),
        Err(error) => note(error.to_string()),
    }
    if replay.gaps.is_empty() {
        count(connection, TOUCHES, "touch", replay.touch_rows, note);
        check_objects(connection, replay, note);
        check_files(connection, replay, note);
    }
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
    match rows::one(connection, sql, &[], |row| rows::number(row, 0)) {
        Ok(Some(rows)) if rows == expected => {}
        Ok(rows) => note(format!("The table '{table}' has {} rows, and should have {expected}.", rows.unwrap_or(0))),
        Err(error) => note(error.to_string()),
    }
}

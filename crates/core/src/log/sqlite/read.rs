//! The questions, each answered within one read transaction and verified before it is answered.
//!
//! A row that is there proves itself by its checksum. That no row is *missing* is proved thus:
//!
//! ```text
//!   log       versions have no gaps, and the newest is known
//!   touch     every entry names the entry before it that touched the table; the newest per table is known
//!   object    every row names the row before it of the same object; the newest per object is known
//!   catalog   the rows of a version amount to the digest in its entry
//!   file      one that is found needs no proof; for one that is not, all lines must amount to the tally in `head`
//!   segment   all rows amount to the tally in `head`; where deltas have left an entry's row for one, its row says so
//! ```

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::catalog::{Change, ObjectKind};
use crate::error::{Error, Kind, Result};
use crate::ids::{AccountId, Digest, FileId, PinId, TableId, Time, Version};
use crate::log::integrity::{self, Head, Touch};
use crate::log::{
    Entry, EntryHead, EntryQuery, EntrySummary, FileHead, FileKind, FileRecord, ObjectRow, Pin, TableDelta, trimmed,
};
use crate::schema::fold;

use super::segments::{Segment, Segments};
use super::write::News;
use super::{clamp, end_from_sql, from_sql, sql_error};

/// What is held in memory, verified when the store was opened and kept up with every commit.
pub(super) struct Known {
    pub head: Head,
    pub newest: Option<EntryHead>,
    /// The newest entry that touched each table.
    pub touches: HashMap<TableId, Version>,
    /// The newest row of each object that ever was.
    pub objects: BTreeMap<(ObjectKind, u64), Tail>,
    pub pins: BTreeMap<PinId, Pin>,
    pub intents: BTreeMap<FileId, FileKind>,
    pub settings: BTreeMap<String, String>,
    /// By number.
    pub segments: BTreeMap<u64, Segment>,
}

/// The newest row of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub begin: Version,
    pub previous: Version,
    /// The row's digest while it stands.
    pub standing: Option<Digest>,
    /// When it ended; `Version::MAX` while it stands.
    pub end: Version,
}

impl Known {
    /// Reads and verifies what is known: the newest entry whole, the catalog of now, and where each chain ends.
    pub(super) fn load(connection: &Connection, segments: &Segments) -> Result<Known> {
        super::run(connection, "BEGIN")?;
        let known = Known::load_in_transaction(connection, segments);
        super::run(connection, "COMMIT")?;
        known
    }

    fn load_in_transaction(connection: &Connection, segments: &Segments) -> Result<Known> {
        let head = head(connection)?;
        let newest = verified_newest(connection, segments, &head)?;
        let touches = touches(connection)?;
        let mut tally = Digest::default();
        touches
            .iter()
            .for_each(|(table, version)| integrity::toggle(&mut tally, integrity::touch_tail(*table, *version)));
        if tally != head.touches {
            return Err(Error::corrupt("The index of commits by table (touch) is not complete."));
        }
        let objects = objects(connection)?;
        let (mut tails, mut catalog) = (Digest::default(), Digest::default());
        for ((kind, id), tail) in &objects {
            integrity::toggle(&mut tails, integrity::object_tail(*kind, *id, tail.begin));
            if let Some(digest) = tail.standing {
                integrity::toggle(&mut catalog, digest);
            }
        }
        if tails != head.objects || catalog != head.catalog {
            return Err(Error::corrupt("The catalog (object) is not complete, or was changed."));
        }
        let pins = pins(connection, &head)?;
        let intents = intents(connection, &head)?;
        let settings = settings(connection, &head)?;
        let segments = self::segments(connection, &head)?;
        Ok(Known { head, newest, touches, objects, pins, intents, settings, segments })
    }

    /// Takes in what a transaction has made durable.
    pub(super) fn learn(&mut self, news: News) {
        self.head = news.head;
        self.newest = news.newest.or(self.newest.take());
        self.touches.extend(news.touches);
        merge(&mut self.objects, news.objects);
        merge(&mut self.pins, news.pins);
        merge(&mut self.intents, news.intents);
        merge(&mut self.settings, news.settings);
        merge(&mut self.segments, news.segments);
    }

    /// Returns the objects that may have stood at a version: not those that ended before, or that began later.
    pub(super) fn objects_at(&self, version: Version) -> Vec<(ObjectKind, u64)> {
        let began = |tail: &Tail| tail.begin <= version || tail.previous != Version(0);
        let stood = self.objects.iter().filter(|(_, tail)| began(tail) && version < tail.end);
        stood.map(|(object, _)| *object).collect()
    }

    /// Returns where the chain of each object of a kind ends.
    pub(super) fn tails_of(&self, kind: ObjectKind) -> BTreeMap<u64, Version> {
        self.objects.range((kind, 0)..=(kind, u64::MAX)).map(|((_, id), tail)| (*id, tail.begin)).collect()
    }
}

fn merge<K: Ord, V>(map: &mut BTreeMap<K, V>, news: HashMap<K, Option<V>>) {
    for (key, value) in news {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}

/// Reads the store's one row of totals.
pub(super) fn head(connection: &Connection) -> Result<Head> {
    const HEAD: &str = "SELECT body, crc, serial FROM head WHERE id = 1";
    let row = one(connection, HEAD, &[], |row| {
        let body = blob(row, 0)?;
        if crc32fast::hash(body) != crc(row, 1)? {
            return Err(Error::corrupt("The head of the metastore does not match its checksum."));
        }
        let head = Head::decode(body)?;
        if number(row, 2)? != head.serial {
            return Err(Error::corrupt("The head of the metastore has two serial numbers."));
        }
        Ok(head)
    })?;
    row.ok_or_else(|| Error::corrupt("The head of the metastore is missing."))
}

/// Verifies the newest entry whole, down to its hash, and against the head.
fn verified_newest(connection: &Connection, segments: &Segments, head: &Head) -> Result<Option<EntryHead>> {
    const NEWEST: &str = "SELECT version FROM log ORDER BY version DESC LIMIT 1";
    let newest = one(connection, NEWEST, &[], |row| number(row, 0))?.map_or(Version(0), Version);
    if newest != head.version {
        return Err(Error::corrupt(format!("The log ends at {newest}, and should at {}.", head.version)));
    }
    if newest == Version(0) {
        return Ok(None);
    }
    let row = log_row(connection, newest)?;
    entry(connection, segments, newest)?;
    let before = match newest.0 {
        1 => Digest::default(),
        _ => log_row(connection, Version(newest.0 - 1))?.head.hash,
    };
    let hash = integrity::entry_hash(before, &row.head, &row.touches, &row.changes, &row.pins, &row.files);
    if hash != row.head.hash || hash != head.hash {
        return Err(Error::corrupt(format!("Entry {newest} of the log does not match its hash.")));
    }
    let catalog = catalog_digest(connection, head.catalog_version)?;
    if row.catalog_version != head.catalog_version || catalog != head.catalog {
        return Err(Error::corrupt(format!("Entry {newest} of the log and the head differ about the catalog.")));
    }
    Ok(Some(row.head))
}

/// Finds the newest entry of each table, one seek each.
fn touches(connection: &Connection) -> Result<HashMap<TableId, Version>> {
    const NEXT: &str = "SELECT table_id FROM touch WHERE table_id > ?1 ORDER BY table_id LIMIT 1";
    const LAST: &str = "SELECT version FROM touch WHERE table_id = ?1 ORDER BY version DESC LIMIT 1";
    let mut touches = HashMap::new();
    let mut at = -1_i64;
    while let Some(table) = one(connection, NEXT, params![at], |row| integer(row, 0))? {
        let last = one(connection, LAST, params![table], |row| number(row, 0))?;
        let last = last.ok_or_else(|| Error::corrupt("The index of commits by table (touch) is out of order."))?;
        touches.insert(TableId(from_sql(table)?), Version(last));
        // Broken pages may come in any order; the way through them is forward.
        if table <= at {
            return Err(Error::corrupt("The index of commits by table (touch) is out of order."));
        }
        at = table;
    }
    Ok(touches)
}

/// Finds the newest row of each object, one seek each.
fn objects(connection: &Connection) -> Result<BTreeMap<(ObjectKind, u64), Tail>> {
    const NEXT: &str = "SELECT kind, id FROM object WHERE (kind, id) > (?1, ?2) ORDER BY kind, id LIMIT 1";
    let mut objects = BTreeMap::new();
    let mut at = (String::new(), -1_i64);
    while let Some(next) =
        one(connection, NEXT, params![at.0, at.1], |row| Ok((text(row, 0)?.to_owned(), integer(row, 1)?)))?
    {
        let (kind, id) = (integrity::object_kind_of(&next.0)?, from_sql(next.1)?);
        let row = object_row(connection, kind, id, i64::MAX)?;
        let row = row.filter(|_| next > at).ok_or_else(|| Error::corrupt("The catalog (object) is out of order."))?;
        let standing = (row.end == Version::MAX).then_some(row.digest);
        objects.insert((kind, id), Tail { begin: row.begin, previous: row.previous, standing, end: row.end });
        at = next;
    }
    Ok(objects)
}

fn pins(connection: &Connection, head: &Head) -> Result<BTreeMap<PinId, Pin>> {
    const PINS: &str = "SELECT id, body, crc FROM pin ORDER BY id";
    let mut tally = Digest::default();
    let pins = each(connection, PINS, &[], |row| {
        let (id, body) = (number(row, 0)?, text(row, 1)?);
        let digest = integrity::pin_digest(id, body);
        if integrity::crc_of(digest) != crc(row, 2)? {
            return Err(Error::corrupt(format!("Pin {id} does not match its checksum.")));
        }
        integrity::toggle(&mut tally, digest);
        Ok((PinId(id), serde_json::from_str(body)?))
    })?;
    complete(tally == head.pins, "pin", pins)
}

/// Returns what the pin whose row begins with its body amounts to.
pub(super) fn pin_digest(row: &Row, id: PinId) -> Result<Digest> {
    Ok(integrity::pin_digest(id.0, text(row, 0)?))
}

fn intents(connection: &Connection, head: &Head) -> Result<BTreeMap<FileId, FileKind>> {
    const INTENTS: &str = "SELECT id, kind, crc FROM intent ORDER BY id";
    let mut tally = Digest::default();
    let intents = each(connection, INTENTS, &[], |row| {
        let (id, kind) = (file_id(row, 0)?, integrity::file_kind_of(text(row, 1)?)?);
        let digest = integrity::intent_digest(id, kind);
        if integrity::crc_of(digest) != crc(row, 2)? {
            return Err(Error::corrupt(format!("The intent of file {id} does not match its checksum.")));
        }
        integrity::toggle(&mut tally, digest);
        Ok((id, kind))
    })?;
    complete(tally == head.intents, "intent", intents)
}

fn settings(connection: &Connection, head: &Head) -> Result<BTreeMap<String, String>> {
    const SETTINGS: &str = "SELECT name, value, crc FROM setting ORDER BY name";
    let mut tally = Digest::default();
    let settings = each(connection, SETTINGS, &[], |row| {
        let (name, value) = (text(row, 0)?, text(row, 1)?);
        let digest = integrity::setting_digest(name, value);
        if integrity::crc_of(digest) != crc(row, 2)? {
            return Err(Error::corrupt(format!("The setting '{name}' does not match its checksum.")));
        }
        integrity::toggle(&mut tally, digest);
        Ok((name.to_owned(), value.to_owned()))
    })?;
    complete(tally == head.settings, "setting", settings)
}

/// Reads what there is to know of each segment.
pub(super) fn segments(connection: &Connection, head: &Head) -> Result<BTreeMap<u64, Segment>> {
    const SEGMENTS: &str = "SELECT number, body, crc FROM segment ORDER BY number";
    let mut tally = Digest::default();
    let segments = each(connection, SEGMENTS, &[], |row| {
        let (number, body) = (number(row, 0)?, blob(row, 1)?);
        let digest = Digest::of(body);
        let segment = Segment::decode(body)?;
        if integrity::crc_of(digest) != crc(row, 2)? || segment.number != number {
            return Err(Error::corrupt(format!("The record of segment {number} does not match its checksum.")));
        }
        integrity::toggle(&mut tally, digest);
        Ok((number, segment))
    })?;
    complete(tally == head.segments, "segment", segments)
}

/// Collects rows of a set whose tally is right.
fn complete<K: Ord, V>(right: bool, table: &str, rows: Vec<(K, V)>) -> Result<BTreeMap<K, V>> {
    if right {
        Ok(rows.into_iter().collect())
    } else {
        Err(Error::corrupt(format!("A row of the metastore's table '{table}' is missing or was changed.")))
    }
}

/// Verifies pins, intents and settings; the error tells which is damaged.
pub(super) fn verify_sets(connection: &Connection, head: &Head) -> [Result<()>; 3] {
    [pins(connection, head).map(drop), intents(connection, head).map(drop), settings(connection, head).map(drop)]
}

/// An entry as it is stored, without its bodies.
pub(super) struct LogRow {
    pub head: EntryHead,
    pub touches: Vec<Touch>,
    pub changes: String,
    pub pins: String,
    pub files: Vec<u8>,
    pub catalog_version: Version,
    pub catalog_digest: Option<Digest>,
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
        let computed = integrity::log_crc(&head, touches, (changes, pins, files), catalog_version, catalog_digest);
        if computed != crc(row, 13)? {
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
        })
    }

    fn touch(&self, table: TableId) -> Result<&Touch> {
        self.touches.iter().find(|touch| touch.table == table).ok_or_else(|| {
            let version = self.head.version;
            Error::corrupt(format!("Entry {version} of the log does not name table {table}, as the index says."))
        })
    }

    fn into_summary(self) -> EntrySummary {
        let tables = self.touches.iter().map(|touch| (touch.table, touch.puts, touch.deletes)).collect();
        EntrySummary { head: self.head, tables }
    }
}

/// Reads an entry that must be there.
pub(super) fn log_row(connection: &Connection, version: Version) -> Result<LogRow> {
    const AT: &str = "SELECT version, time, account, author, what, upkeep, touches, changes, pins, files,
        catalog_version, catalog_digest, hash, crc FROM log WHERE version = ?1";
    one(connection, AT, params![clamp(version)], LogRow::from_row)?
        .ok_or_else(|| Error::corrupt(format!("Entry {version} of the log is missing.")))
}

/// What stands for the deltas of an entry that was trimmed. They are never this short: each begins with a schema.
pub(super) const TRIMMED: &[u8] = b"trimmed";

/// What stands for those that are in a segment.
pub(super) const AGED: &[u8] = b"segment";

/// Where the deltas of an entry are.
pub(super) enum Stored {
    Here(Bytes),
    InSegment,
    Trimmed,
}

/// Reads what stands in an entry's row for its deltas.
pub(super) fn stored(connection: &Connection, row: &LogRow) -> Result<Stored> {
    const BODY: &str = "SELECT body FROM log WHERE version = ?1";
    let version = row.head.version;
    let body = one(connection, BODY, params![clamp(version)], |row| Ok(Bytes::copy_from_slice(blob(row, 0)?)))?;
    let body = body.ok_or_else(|| Error::corrupt(format!("Entry {version} of the log is missing.")))?;
    let has_any = row.touches.iter().any(|touch| touch.length > 0);
    Ok(match &body[..] {
        TRIMMED if has_any => Stored::Trimmed,
        AGED if has_any => Stored::InSegment,
        _ => Stored::Here(body),
    })
}

/// Reads the deltas of an entry, in the order of its touches; `OutOfWindow` if they were trimmed.
pub(super) fn bodies(connection: &Connection, segments: &Segments, row: &LogRow) -> Result<Vec<Bytes>> {
    let version = row.head.version;
    match stored(connection, row)? {
        Stored::Here(body) => split(row, body),
        Stored::InSegment => split(row, segments.body(version)?).map_err(|error| segments.mismatch(version, error)),
        Stored::Trimmed => Err(trimmed(version)),
    }
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

/// Returns the bytes of every delta that is there, without reading it.
pub(super) fn delta_sizes(connection: &Connection) -> Result<Vec<(Version, TableId, u64)>> {
    const SIZES: &str = "SELECT version, time, account, author, what, upkeep, touches, changes, pins, files,
        catalog_version, catalog_digest, hash, crc, length(body) = length(?1) AND body = ?1 FROM log ORDER BY version";
    let mut sizes = Vec::new();
    let mut statement = connection.prepare_cached(SIZES).map_err(sql_error)?;
    let mut rows = statement.query(params![TRIMMED]).map_err(sql_error)?;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let (entry, is_trimmed) = (LogRow::from_row(row)?, flag(row, 14)?);
        if !is_trimmed {
            let there = entry.touches.iter().filter(|touch| touch.length > 0);
            sizes.extend(there.map(|touch| (entry.head.version, touch.table, touch.length)));
        }
    }
    Ok(sizes)
}

/// Reads an entry whole.
pub(super) fn entry(connection: &Connection, segments: &Segments, version: Version) -> Result<Entry> {
    let row = log_row(connection, version)?;
    let bodies = match bodies(connection, segments, &row) {
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
        let file = file_row(connection, line.id)?.filter(|file| file.is(&line, version));
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
pub(super) fn entries(connection: &Connection, query: &EntryQuery, upto: Version) -> Result<Vec<EntrySummary>> {
    const DOWN: &str = "SELECT version, time, account, author, what, upkeep, touches, changes, pins, files,
        catalog_version, catalog_digest, hash, crc FROM log WHERE version BETWEEN ?1 AND ?2 ORDER BY version DESC";
    let from = query.from.max(Version(1));
    let mut found = Vec::new();
    let mut expected = upto.0;
    let mut statement = connection.prepare_cached(DOWN).map_err(sql_error)?;
    let mut rows = statement.query(params![clamp(from), clamp(upto)]).map_err(sql_error)?;
    while expected >= from.0 && found.len() < query.limit {
        let row = match rows.next().map_err(sql_error)? {
            Some(row) => LogRow::from_row(row)?,
            None => return Err(Error::corrupt(format!("Entry {expected} of the log is missing."))),
        };
        if row.head.version.0 != expected {
            return Err(Error::corrupt(format!("Entry {expected} of the log is missing.")));
        }
        expected -= 1;
        if query.upkeep || !row.head.upkeep {
            found.push(row.into_summary());
        }
    }
    Ok(found)
}

/// Lists entries that touched one of some tables, along the chains that end at `tails`.
pub(super) fn entries_of(
    connection: &Connection,
    query: &EntryQuery,
    upto: Version,
    tails: &[(TableId, Version)],
) -> Result<Vec<EntrySummary>> {
    let from = query.from.max(Version(1));
    // Which tables' chains go on at which version.
    let mut next: BTreeMap<Version, Vec<TableId>> = BTreeMap::new();
    for (table, tail) in tails {
        let start = if *tail <= upto { *tail } else { last_touch(connection, *table, upto)? };
        let tables = next.entry(start).or_default();
        if !tables.contains(table) {
            tables.push(*table);
        }
    }
    let mut found = Vec::new();
    while found.len() < query.limit {
        let Some((version, tables)) = next.pop_last().filter(|(version, _)| *version >= from) else { break };
        let row = log_row(connection, version)?;
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
fn last_touch(connection: &Connection, table: TableId, upto: Version) -> Result<Version> {
    const AFTER: &str = "SELECT version FROM touch WHERE table_id = ?1 AND version > ?2 ORDER BY version LIMIT 1";
    let after = one(connection, AFTER, params![clamp(Version(table.0)), clamp(upto)], |row| number(row, 0))?;
    let after = after.ok_or_else(|| missing_touch(table))?;
    let previous = log_row(connection, Version(after))?.touch(table)?.previous;
    if previous > upto { Err(missing_touch(table)) } else { Ok(previous) }
}

fn missing_touch(table: TableId) -> Error {
    Error::corrupt(format!("The index of commits by table (touch) misses commits of table {table}."))
}

/// Reads the deltas of a table whose newest is at `tail`; `after < upto`, and `upto` is there.
pub(super) fn deltas(
    connection: &Connection,
    segments: &Segments,
    table: TableId,
    (after, upto): (Version, Version),
    tail: Version,
) -> Result<Vec<(Version, Bytes)>> {
    let mut deltas = Vec::new();
    each_delta(connection, table, (after, upto), tail, |row, _| {
        deltas.push((row.head.version, body(connection, segments, row, table)?));
        Ok(())
    })?;
    Ok(deltas)
}

/// Returns how long the deltas of a table are whose newest is at `tail`; `None` if one was trimmed.
pub(super) fn delta_bytes(
    connection: &Connection,
    table: TableId,
    after: Version,
    upto: Version,
    tail: Version,
) -> Result<Option<u64>> {
    const TRIMMED_AT: &str = "SELECT length(body) = length(?2) AND body = ?2 FROM log WHERE version = ?1";
    let (mut bytes, mut is_whole) = (0, true);
    each_delta(connection, table, (after, upto), tail, |row, touch| {
        let at = params![clamp(row.head.version), TRIMMED];
        is_whole &= one(connection, TRIMMED_AT, at, |row| flag(row, 0))? == Some(false);
        bytes += touch.length;
        Ok(())
    })?;
    Ok(is_whole.then_some(bytes))
}

/// Visits the entries in a range that have a delta of a table whose newest is at `tail`; none is missing.
fn each_delta(
    connection: &Connection,
    table: TableId,
    (after, upto): (Version, Version),
    tail: Version,
    mut visit: impl FnMut(&LogRow, &Touch) -> Result<()>,
) -> Result<()> {
    const RANGE: &str = "SELECT version FROM touch WHERE table_id = ?1 AND version > ?2 AND version <= ?3
        ORDER BY version";
    let last = if tail <= upto { tail } else { last_touch(connection, table, upto)? };
    let range = params![clamp(Version(table.0)), clamp(after), clamp(upto)];
    let versions = each(connection, RANGE, range, |row| number(row, 0))?;
    let mut at: Option<Version> = None;
    for version in versions {
        let row = log_row(connection, Version(version))?;
        let touch = *row.touch(table)?;
        let follows = at.map_or(touch.previous <= after, |at| touch.previous == at);
        if !follows {
            return Err(missing_touch(table));
        }
        at = Some(Version(version));
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

/// Reads one delta of an entry.
fn body(connection: &Connection, segments: &Segments, row: &LogRow, table: TableId) -> Result<Bytes> {
    const PART: &str = "SELECT substr(body, ?2, ?3) FROM log WHERE version = ?1";
    if let [_] = row.touches.as_slice() {
        return bodies(connection, segments, row).map(|mut bodies| bodies.swap_remove(0));
    }
    let at = row.touches.iter().position(|touch| touch.table == table).unwrap_or_default();
    let touch = row.touch(table)?;
    let before: u64 = row.touches[..at].iter().map(|touch| touch.length).sum();
    let part = params![clamp(row.head.version), clamp(Version(before + 1)), clamp(Version(touch.length))];
    let body = one(connection, PART, part, |row| Ok(Bytes::copy_from_slice(blob(row, 0)?)))?;
    match body.filter(|body| Digest::of(body) == touch.digest) {
        Some(body) => Ok(body),
        // Damaged, trimmed, or in a segment: the whole tells.
        None => bodies(connection, segments, row).map(|mut bodies| bodies.swap_remove(at)),
    }
}

/// Finds the newest entry at or before `time` among those up to `newest`: times increase as versions do.
pub(super) fn newest_at(connection: &Connection, time: Time, newest: Version) -> Result<Option<EntryHead>> {
    let mut found = None;
    let (mut low, mut high) = (1, newest.0);
    while low <= high {
        let middle = low + (high - low) / 2;
        let row = log_row(connection, Version(middle))?;
        if row.head.time <= time {
            low = middle + 1;
            found = Some(row.head);
        } else {
            high = middle - 1;
        }
    }
    Ok(found)
}

/// Returns the digest of the catalog that a version's entry made.
fn catalog_digest(connection: &Connection, version: Version) -> Result<Digest> {
    if version == Version(0) {
        return Ok(Digest::default());
    }
    log_row(connection, version)?
        .catalog_digest
        .ok_or_else(|| Error::corrupt(format!("Entry {version} of the log lacks the catalog's digest.")))
}

/// Reads what stood at `version`, out of `objects`, which are all that could.
pub(super) fn catalog_at(
    connection: &Connection,
    version: Version,
    objects: &[(ObjectKind, u64)],
) -> Result<Vec<Change>> {
    let expected = catalog_digest(connection, log_row(connection, version)?.catalog_version)?;
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

fn flag(row: &Row, column: usize) -> Result<bool> {
    match integer(row, column)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::corrupt(format!("The metastore holds {other} where only 0 or 1 can be."))),
    }
}

fn crc(row: &Row, column: usize) -> Result<u32> {
    row.get(column).map_err(sql_error)
}

fn text<'a>(row: &'a Row, column: usize) -> Result<&'a str> {
    let value = row.get_ref(column).map_err(sql_error)?;
    value.as_str().map_err(|error| sql_error(error.into()))
}

fn blob<'a>(row: &'a Row, column: usize) -> Result<&'a [u8]> {
    let value = row.get_ref(column).map_err(sql_error)?;
    value.as_blob().map_err(|error| sql_error(error.into()))
}

fn digest(row: &Row, column: usize) -> Result<Digest> {
    blob(row, column)?
        .try_into()
        .map(Digest)
        .map_err(|_| Error::corrupt("The metastore holds a digest of wrong length."))
}

fn file_id(row: &Row, column: usize) -> Result<FileId> {
    let bytes: &[u8] = blob(row, column)?;
    let bytes = bytes.try_into().map_err(|_| Error::corrupt("The metastore holds a file id of wrong length."))?;
    Ok(FileId(uuid::Uuid::from_bytes(bytes)))
}

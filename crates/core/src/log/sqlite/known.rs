//! What is known of a store at any time: read and verified when it is opened, and kept up with every commit. No segment is read
//! for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use crate::catalog::ObjectKind;
use crate::error::{Error, Result};
use crate::ids::{Digest, FileId, PinId, TableId, Version};
use crate::log::integrity::{self, Head};
use crate::log::{EntryHead, FileKind, Pin};

use super::from_sql;
use super::read;
use super::rows::{Rows, blob, crc, each, file_id, integer, number, one, text};
use super::segments::{Segment, Segments, State};
use super::write::News;

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
    pub segments: BTreeMap<u64, Arc<Segment>>,
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
        let known = self::segments(connection, &head)?;
        let mut touches = touches(connection)?;
        for segment in known.values().filter(|segment| segment.state == State::Whole) {
            for (table, (_, last)) in &segment.tables {
                let newest = touches.entry(*table).or_default();
                *newest = (*newest).max(*last);
            }
        }
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
        Ok(Known { head, newest, touches, objects, pins, intents, settings, segments: known })
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

/// Verifies the newest entry whole, down to its hash, and against the head. The one before it is in SQLite, too: a segment that
/// is damaged keeps nobody from opening the store.
fn verified_newest(connection: &Connection, segments: &Segments, head: &Head) -> Result<Option<EntryHead>> {
    const NEWEST: &str = "SELECT version FROM log ORDER BY version DESC LIMIT 1";
    let newest = one(connection, NEWEST, &[], |row| number(row, 0))?.map_or(Version(0), Version);
    if newest != head.version {
        return Err(Error::corrupt(format!("The log ends at {newest}, and should at {}.", head.version)));
    }
    if newest == Version(0) {
        return Ok(None);
    }
    let rows = Rows::new(connection, segments);
    let row = rows.row(newest)?;
    read::entry(&rows, newest)?;
    let before = match newest.0 {
        1 => Digest::default(),
        _ => rows.row(Version(newest.0 - 1))?.head.hash,
    };
    let hash = integrity::entry_hash(before, &row.head, &row.touches, &row.changes, &row.pins, &row.files);
    if hash != row.head.hash || hash != head.hash {
        return Err(Error::corrupt(format!("Entry {newest} of the log does not match its hash.")));
    }
    let differs = row.catalog_digest.is_some_and(|digest| digest != head.catalog);
    if row.catalog_version != head.catalog_version || differs {
        return Err(Error::corrupt(format!("Entry {newest} of the log and the head differ about the catalog.")));
    }
    Ok(Some(row.head))
}

/// Finds the newest entry of each table that stands in `touch`, one seek each.
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
        let row = read::object_row(connection, kind, id, i64::MAX)?;
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
pub(super) fn segments(connection: &Connection, head: &Head) -> Result<BTreeMap<u64, Arc<Segment>>> {
    const SEGMENTS: &str = "SELECT number, body, crc FROM segment ORDER BY number";
    let mut tally = Digest::default();
    let segments = each(connection, SEGMENTS, &[], |row| {
        let (number, body) = (number(row, 0)?, blob(row, 1)?);
        let digest = Digest::of(body);
        let wrong = || Error::corrupt(format!("The record of segment {number} does not match its checksum."));
        if integrity::crc_of(digest) != crc(row, 2)? {
            return Err(wrong());
        }
        let segment = Segment::decode(body)?;
        if segment.number != number {
            return Err(wrong());
        }
        integrity::toggle(&mut tally, digest);
        Ok((number, Arc::new(segment)))
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

//! The writer: one connection, one transaction at a time. A transaction is drafted against what is known, and becomes
//! known when it is durable; if it fails, nothing has changed on disk or in memory.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params};

use crate::catalog::{Change, ObjectKind};
use crate::error::{Error, Kind, Result};
use crate::ids::{FileId, PinId, TableId, Version};
use crate::log::integrity::{self, Head};
use crate::log::{Entry, EntryHead, FileKind, FileRecord, Pin, Trimmed};
use crate::schema::same_name;

use super::known::{self, Known, Tail};
use super::segments::{Segment, State};
use super::{clamp, disk_full, end_to_sql, name_taken, run, sql_error, to_sql};
use super::{read, rows};

/// The WAL is checkpointed by the append that makes it longer.
const WAL_BYTES_MAX: u64 = 16 << 20;
/// When readers kept the WAL from being reset until it was this long, the writer waits for them.
const WAL_BYTES_FORCED: u64 = 256 << 20;
/// How long that waits for readers.
const READER_WAIT: Duration = Duration::from_millis(100);
/// How far the WAL is extended at a time, before commits fill it: to sync pages over bytes that a file has already takes
/// half as long as to sync a file that grew, for the file system need not write down that it did.
const WAL_ROOM_BYTES: u64 = 1 << 20;
/// On a disk with less room than this the WAL is moved into place early: it must not need more than there is.
const DISK_NEARLY_FULL_BYTES: u64 = 64 << 20;
/// So much of the disk is left for work that gives space back: otherwise nothing could, ever.
const DISK_RESERVE_BYTES: u64 = 2 << 20;
/// So much of that again is left for deleting files: to trim the log takes room before it gives any.
const DISK_RESERVE_FILES_BYTES: u64 = 512 << 10;
/// So many free pages wait in the file for new rows.
const FREE_PAGES_KEPT: i64 = 1024;
/// No more are given back at a time: commits wait for it.
const FREE_PAGES_TAKEN: i64 = 512;
/// What a page takes in the WAL.
const FRAME_BYTES: u64 = 24 + 4096;

const INSERT_ENTRY: &str =
    "INSERT INTO log (version, time, account, author, what, upkeep, touches, changes, pins, files,
    catalog_version, catalog_digest, hash, crc, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

/// The one connection that writes.
pub(super) struct Writer {
    connection: Connection,
    /// Why nothing may be written any more.
    refused: Option<String>,
    wal_path: PathBuf,
    /// How many pages the WAL held after the last commit.
    wal_pages: Arc<AtomicU64>,
    /// How much of the WAL's file was used after the commit before.
    wal_used: u64,
    /// Up to where the WAL's file is known to reach.
    wal_end: u64,
    /// When to checkpoint next, in bytes used.
    wal_due: u64,
}

/// What a transaction does to the space that the store takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Space {
    /// It adds so many bytes of rows, and as much as any.
    Takes(u64),
    /// It takes rows out of the log.
    Trims,
    /// It drops something, or is about files that go.
    GivesBack,
}

impl Space {
    /// Returns how much room the disk must have.
    fn needed(self) -> u64 {
        match self {
            // Once in the WAL, and once in the database.
            Space::Takes(bytes) => DISK_RESERVE_BYTES + 2 * bytes,
            Space::Trims => DISK_RESERVE_FILES_BYTES,
            Space::GivesBack => 0,
        }
    }
}

impl Writer {
    pub(super) fn new(mut connection: Connection, wal_path: PathBuf) -> Result<Writer> {
        let wal_pages = Arc::new(AtomicU64::new(0));
        let pages = wal_pages.clone();
        let count = move |_: &mut Wal, held: i32| {
            pages.store(u64::try_from(held).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(count)).map_err(sql_error)?;
        let wal_due = WAL_BYTES_MAX;
        let (wal_used, wal_end) = (0, 0);
        Ok(Writer { connection, refused: None, wal_path, wal_pages, wal_used, wal_end, wal_due })
    }

    /// Runs `work` and makes it durable, or leaves the store as it was. After a failure of the disk nobody knows what
    /// it holds: then every later write is refused.
    pub(super) fn transaction<T>(&mut self, space: Space, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if let Some(why) = &self.refused {
            let message = format!("The store takes no more writes, for one has failed: {why}");
            return Err(Error::new(Kind::Closed, message).with_hint("Restart the server once the disk is well."));
        }
        if space.needed() > 0 && self.free_bytes()? < space.needed() {
            return Err(disk_full());
        }
        let connection = &self.connection;
        run(connection, "BEGIN IMMEDIATE")?;
        // Stands where `work` panics: then nobody ends the transaction, and no other can begin.
        self.refused = Some("it broke off in the middle.".to_owned());
        let result = work(connection).and_then(|value| {
            fail::fail_point!("metastore::before_commit", crate::error::failing);
            run(connection, "COMMIT")?;
            fail::fail_point!("metastore::committed");
            Ok(value)
        });
        self.refused = None;
        if let Err(error) = &result {
            let undone = connection.is_autocommit() || run(connection, "ROLLBACK").is_ok();
            fail::fail_point!("metastore::rolled_back");
            if !undone || is_fatal(error) {
                self.refused = Some(error.message().to_owned());
            } else if matches!(error.kind(), Kind::Full | Kind::Unavailable)
                && let Err(error) = self.cut_wal()
            {
                tracing::debug!(%error, "the metastore's write-ahead log is longer than it need be");
            }
        }
        result
    }

    /// Looks after the WAL when a transaction has been added to it: checkpoints when it has grown long, and keeps room in
    /// its file for the next ones.
    pub(super) fn wrote(&mut self) {
        let used = self.wal_pages.load(Ordering::Relaxed) * FRAME_BYTES;
        if used < self.wal_used {
            self.wal_due = WAL_BYTES_MAX;
        }
        self.wal_used = used;
        if used >= self.wal_due {
            // The commit is durable whatever becomes of the checkpoint; the next one tries again.
            if let Err(error) = self.checkpoint() {
                tracing::warn!(%error, "the metastore's write-ahead log could not be moved into place");
            }
            self.wal_due = used + WAL_BYTES_MAX;
        }
        if used + WAL_ROOM_BYTES / 2 <= self.wal_end || self.moved_early() {
            return;
        }
        if let Err(error) = self.make_room(used) {
            // Commits do without; what is wrong with the disk is theirs to find.
            tracing::debug!(%error, "the metastore's write-ahead log was given no room");
            self.wal_end = used + WAL_ROOM_BYTES;
        }
    }

    /// Where the disk is nearly full, moves the WAL into place rather than to let it grow. Tells whether all of it was
    /// moved: then the next commit begins it anew.
    fn moved_early(&mut self) -> bool {
        let nearly_full = self.free_bytes().is_ok_and(|free| free < DISK_NEARLY_FULL_BYTES);
        if !nearly_full || self.wal_end < WAL_ROOM_BYTES {
            return false;
        }
        match self.run_checkpoint("PRAGMA wal_checkpoint(PASSIVE)") {
            Ok((frames, moved)) => frames == moved,
            Err(error) => {
                tracing::warn!(%error, "the metastore's write-ahead log could not be moved into place");
                false
            }
        }
    }

    /// Returns how much room the disk has.
    fn free_bytes(&self) -> Result<u64> {
        let folder = self.wal_path.parent().unwrap_or(&self.wal_path);
        crate::env::free_bytes_of(folder)
    }

    /// Gives the disk back what a transaction that found no room has left at the end of the WAL: no frames, to SQLite.
    fn cut_wal(&mut self) -> Result<()> {
        let end = self.wal_used + WAL_ROOM_BYTES;
        // Before the first commit nobody has counted what a crash left in the WAL.
        if self.wal_used > 0 && super::file_bytes(&self.wal_path)? > end {
            OpenOptions::new().write(true).open(&self.wal_path)?.set_len(end)?;
            self.wal_end = end;
        }
        Ok(())
    }

    /// Extends the WAL's file with zeros, which are no frames to SQLite; the next commit's sync takes them along.
    fn make_room(&mut self, used: u64) -> Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.wal_path)?;
        self.wal_end = file.seek(SeekFrom::End(0))?;
        if used + WAL_ROOM_BYTES / 2 > self.wal_end {
            if let Err(error) = file.write_all(&vec![0; WAL_ROOM_BYTES as usize]) {
                // What is left of the disk is for whoever can do with it.
                file.set_len(self.wal_end)?;
                return Err(error.into());
            }
            self.wal_end += WAL_ROOM_BYTES;
        }
        Ok(())
    }

    /// Moves what the WAL holds into the database, without waiting for readers unless it has grown very long.
    pub(super) fn checkpoint(&self) -> Result<()> {
        fail::fail_point!("checkpoint::before", crate::error::failing);
        let (frames, moved) = self.run_checkpoint("PRAGMA wal_checkpoint(PASSIVE)")?;
        if frames != moved && frames * FRAME_BYTES > WAL_BYTES_FORCED {
            // Commits wait meanwhile: for a reader that ends soon, and not for one that takes its time.
            self.connection.busy_timeout(READER_WAIT).map_err(sql_error)?;
            let outcome = self.run_checkpoint("PRAGMA wal_checkpoint(RESTART)");
            self.connection.busy_timeout(super::BUSY_WAIT).map_err(sql_error)?;
            outcome?;
        }
        fail::fail_point!("checkpoint::after", crate::error::failing);
        Ok(())
    }

    /// Gives some of the free pages at the end of the file back to the disk, if there are many. Tells whether there are more.
    pub(super) fn give_back(&mut self) -> Result<bool> {
        const FREE: &str = "PRAGMA freelist_count";
        let free: i64 = self.connection.query_row(FREE, [], |row| row.get(0)).map_err(sql_error)?;
        fail::fail_point!("tidy::vacuum", crate::error::failing);
        if free > FREE_PAGES_KEPT {
            let pages = (free - FREE_PAGES_KEPT).min(FREE_PAGES_TAKEN);
            let sql = format!("PRAGMA incremental_vacuum({pages})");
            self.transaction(Space::GivesBack, |connection| {
                // Each step gives back one page.
                let mut statement = connection.prepare(&sql).map_err(sql_error)?;
                let mut pages = statement.query([]).map_err(sql_error)?;
                while pages.next().map_err(sql_error)?.is_some() {}
                Ok(())
            })?;
            self.wrote();
        }
        Ok(free > FREE_PAGES_KEPT + FREE_PAGES_TAKEN)
    }

    /// Returns how many pages the WAL holds, and how many of them are in the database.
    fn run_checkpoint(&self, sql: &'static str) -> Result<(u64, u64)> {
        let counts = self.connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)));
        let (frames, moved) = counts.map_err(sql_error)?;
        Ok((u64::try_from(frames).unwrap_or(0), u64::try_from(moved).unwrap_or(0)))
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Tells whether an error leaves it open what the disk holds.
fn is_fatal(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<rusqlite::Error>());
    let code = source.and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn another_writer() -> Error {
    Error::new(Kind::Closed, "Another process has written to the metastore.")
        .with_hint("Stop the other process, and reopen the store.")
}

/// Writes the first rows of an empty store.
pub(super) fn initialise(connection: &Connection, name: &str, value: &str) -> Result<()> {
    let mut head = Head::empty();
    insert_setting(connection, &mut head, name, value)?;
    let body = head.encode();
    let crc = crc32fast::hash(&body);
    connection
        .execute("INSERT INTO head (id, serial, body, crc) VALUES (1, 0, ?1, ?2)", params![body, crc])
        .map_err(sql_error)?;
    Ok(())
}

/// Brings a store of an older format to this build's: in the transaction that `connection` is in. What its segments hold still
/// stands in SQLite, and so nothing has left that yet: ageing begins anew.
pub(super) fn migrate(connection: &Connection, name: &str, (old, new): (&str, &str)) -> Result<()> {
    const SAVE: &str = "UPDATE head SET serial = ?1, body = ?2, crc = ?3 WHERE id = 1";
    let mut head = known::head(connection)?;
    if old == "1" {
        connection.execute_batch(include_str!("../segment.sql")).map_err(sql_error)?;
    }
    head.emptied = Version(0);
    integrity::toggle(&mut head.settings, integrity::setting_digest(name, old));
    insert_setting(connection, &mut head, name, new)?;
    head.serial += 1;
    let body = head.encode();
    let crc = crc32fast::hash(&body);
    execute(connection, SAVE, params![to_sql(head.serial)?, body, crc])?;
    Ok(())
}

fn insert_setting(connection: &Connection, head: &mut Head, name: &str, value: &str) -> Result<()> {
    const PUT: &str = "INSERT OR REPLACE INTO setting (name, value, crc) VALUES (?1, ?2, ?3)";
    let digest = integrity::setting_digest(name, value);
    execute(connection, PUT, params![name, value, integrity::crc_of(digest)])?;
    integrity::toggle(&mut head.settings, digest);
    Ok(())
}

fn execute(connection: &Connection, sql: &'static str, params: &[&dyn rusqlite::ToSql]) -> Result<usize> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(sql_error)
}

/// What a transaction adds to what is known. A `None` takes away.
pub(super) struct News {
    pub head: Head,
    pub newest: Option<EntryHead>,
    pub touches: HashMap<TableId, Version>,
    pub objects: HashMap<(ObjectKind, u64), Option<Tail>>,
    pub pins: HashMap<PinId, Option<Pin>>,
    pub intents: HashMap<FileId, Option<FileKind>>,
    pub settings: HashMap<String, Option<String>>,
    pub segments: HashMap<u64, Option<Arc<Segment>>>,
}

/// A transaction in the making.
pub(super) struct Draft<'a> {
    pub(super) known: &'a Known,
    pub(super) connection: &'a Connection,
    pub(super) news: News,
}

impl<'a> Draft<'a> {
    pub(super) fn new(known: &'a Known, connection: &'a Connection) -> Draft<'a> {
        let news = News {
            head: known.head,
            newest: None,
            touches: HashMap::new(),
            objects: HashMap::new(),
            pins: HashMap::new(),
            intents: HashMap::new(),
            settings: HashMap::new(),
            segments: HashMap::new(),
        };
        Draft { known, connection, news }
    }

    /// Writes the head. Another process that wrote meanwhile has changed its serial number.
    pub(super) fn save(mut self) -> Result<News> {
        const SAVE: &str = "UPDATE head SET serial = ?1, body = ?2, crc = ?3 WHERE id = 1 AND serial = ?4";
        let before = self.news.head.serial;
        self.news.head.serial = before + 1;
        let body = self.news.head.encode();
        let crc = crc32fast::hash(&body);
        let saved = self.execute(SAVE, params![to_sql(before + 1)?, body, crc, to_sql(before)?])?;
        if saved != 1 {
            return Err(another_writer());
        }
        Ok(self.news)
    }

    /// Returns the true reason of a failure: rows that another process wrote look like damage.
    pub(super) fn explain(&self, error: Error) -> Error {
        match known::head(self.connection) {
            Ok(head) if head.serial != self.known.head.serial => another_writer().with_source(error),
            _ => error,
        }
    }

    /// Adds entries, in order.
    pub(super) fn append_group(&mut self, group: &[Entry]) -> Result<()> {
        integrity::validate_group(self.known.newest.as_ref(), group)?;
        group.iter().try_for_each(|entry| {
            self.append(entry)?;
            fail::fail_point!("metastore::entry", crate::error::failing);
            Ok(())
        })
    }

    fn append(&mut self, entry: &Entry) -> Result<()> {
        let version = entry.head.version;
        let pins: Vec<Pin> = entry.pins.iter().map(|pin| self.put_pin(pin)).collect::<Result<_>>()?;
        let mut sealed = integrity::seal(self.news.head.hash, entry, &pins)?;
        for touch in &mut sealed.touches {
            touch.previous = self.touch(touch.table, version)?;
        }
        for change in &entry.changes {
            self.change(change, version)?;
        }
        for file in &entry.files {
            self.put_file(file, version)?;
        }
        if !entry.changes.is_empty() {
            self.news.head.catalog_version = version;
        }
        self.insert(entry, sealed)
    }

    fn insert(&mut self, entry: &Entry, sealed: integrity::Sealed) -> Result<()> {
        let head = EntryHead { hash: sealed.hash, ..entry.head.clone() };
        let touches = integrity::encode_touches(&sealed.touches);
        let catalog_version = self.news.head.catalog_version;
        let catalog = (!entry.changes.is_empty()).then_some(self.news.head.catalog);
        let texts = (sealed.changes.as_str(), sealed.pins.as_str(), sealed.files.as_slice());
        let crc = integrity::log_crc(&head, &touches, texts, catalog_version, catalog);
        let joined: Vec<u8>;
        let body: &[u8] = match entry.deltas.as_slice() {
            [] => &[],
            [delta] => &delta.body,
            deltas => {
                joined = deltas.iter().flat_map(|delta| delta.body.iter().copied()).collect();
                &joined
            }
        };
        let rows: &[&dyn rusqlite::ToSql] = params![
            to_sql(head.version.0)?,
            head.time.0,
            to_sql(head.account.0)?,
            head.author,
            head.what,
            head.upkeep,
            touches,
            sealed.changes,
            sealed.pins,
            sealed.files,
            to_sql(catalog_version.0)?,
            catalog.as_ref().map(|digest| &digest.0[..]),
            &head.hash.0[..],
            crc,
            body,
        ];
        self.execute(INSERT_ENTRY, rows)?;
        self.news.head.version = head.version;
        self.news.head.time = head.time;
        self.news.head.hash = head.hash;
        self.news.newest = Some(head);
        Ok(())
    }

    /// Notes that a table was touched, and returns when it was before.
    fn touch(&mut self, table: TableId, version: Version) -> Result<Version> {
        const INSERT: &str = "INSERT INTO touch (table_id, version) VALUES (?1, ?2)";
        self.execute(INSERT, params![to_sql(table.0)?, to_sql(version.0)?])?;
        let previous = match self.news.touches.insert(table, version) {
            Some(previous) => Some(previous),
            None => self.known.touches.get(&table).copied(),
        };
        let tally = &mut self.news.head.touches;
        if let Some(previous) = previous {
            integrity::toggle(tally, integrity::touch_tail(table, previous));
        }
        integrity::toggle(tally, integrity::touch_tail(table, version));
        Ok(previous.unwrap_or_default())
    }

    /// Applies one change to the rows of the catalog.
    fn change(&mut self, change: &Change, version: Version) -> Result<()> {
        let (kind, id) = change.object();
        if !change.is_drop() {
            return self.put_object(kind, id, change, version);
        }
        self.end_object(kind, id, version)?;
        if kind == ObjectKind::Table {
            self.end_object(ObjectKind::Content, id, version)?;
        }
        Ok(())
    }

    fn tail(&self, kind: ObjectKind, id: u64) -> Option<Tail> {
        match self.news.objects.get(&(kind, id)) {
            Some(tail) => *tail,
            None => self.known.objects.get(&(kind, id)).copied(),
        }
    }

    /// Makes `tail` the object's newest row, in what is known and in the tallies.
    fn set_tail(&mut self, kind: ObjectKind, id: u64, tail: Option<Tail>) {
        let old = self.tail(kind, id);
        for tail in old.iter().chain(&tail) {
            integrity::toggle(&mut self.news.head.objects, integrity::object_tail(kind, id, tail.begin));
            if let Some(digest) = tail.standing {
                integrity::toggle(&mut self.news.head.catalog, digest);
            }
        }
        self.news.objects.insert((kind, id), tail);
    }

    fn put_object(&mut self, kind: ObjectKind, id: u64, put: &Change, version: Version) -> Result<()> {
        const PUT: &str = "INSERT OR REPLACE INTO object (kind, id, begins, ends, previous, parent, name, crc, body)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        // A row of this very commit is replaced: it has never stood for anybody.
        let previous = match self.tail(kind, id) {
            Some(tail) if tail.begin == version => tail.previous,
            Some(tail) => {
                self.end_object(kind, id, version)?;
                tail.begin
            }
            None => Version(0),
        };
        let (parent, name, body) = integrity::object_columns(put)?;
        let digest = integrity::object_digest(kind, id, version, (parent, &name), body.as_bytes());
        let crc = integrity::object_crc(Version::MAX, previous, digest);
        let row: &[&dyn rusqlite::ToSql] = params![
            kind.as_str(),
            to_sql(id)?,
            to_sql(version.0)?,
            i64::MAX,
            to_sql(previous.0)?,
            to_sql(parent)?,
            name,
            crc,
            body
        ];
        self.execute(PUT, row)?;
        self.set_tail(kind, id, Some(Tail { begin: version, previous, standing: Some(digest), end: Version::MAX }));
        let greatest = &mut self.news.head.greatest_ids[kind as usize];
        *greatest = id.max(*greatest);
        Ok(())
    }

    /// Ends an object's row, if one stands.
    fn end_object(&mut self, kind: ObjectKind, id: u64, version: Version) -> Result<()> {
        const END: &str = "UPDATE object SET ends = ?1, crc = ?2 WHERE kind = ?3 AND id = ?4 AND begins = ?5";
        const DELETE: &str = "DELETE FROM object WHERE kind = ?1 AND id = ?2 AND begins = ?3";
        let Some(tail) = self.tail(kind, id) else { return Ok(()) };
        let Some(digest) = tail.standing else { return Ok(()) };
        let (begin, sql_id) = (to_sql(tail.begin.0)?, to_sql(id)?);
        let (rows, tail) = if tail.begin == version {
            let rows = self.execute(DELETE, params![kind.as_str(), sql_id, begin])?;
            let before = read::object_row(self.connection, kind, id, clamp(version))?;
            let before =
                before.map(|row| Tail { begin: row.begin, previous: row.previous, standing: None, end: row.end });
            (rows, before)
        } else {
            let crc = integrity::object_crc(version, tail.previous, digest);
            let rows = self.execute(END, params![end_to_sql(version)?, crc, kind.as_str(), sql_id, begin])?;
            (rows, Some(Tail { standing: None, end: version, ..tail }))
        };
        if rows != 1 {
            let kind = kind.as_str();
            return Err(Error::corrupt(format!("The row of {kind} {id} since version {begin} is gone.")));
        }
        self.set_tail(kind, id, tail);
        Ok(())
    }

    /// Adds a pin and returns it with its id. A name may stand once in an account, however it is spelled.
    pub(super) fn put_pin(&mut self, pin: &Pin) -> Result<Pin> {
        const INSERT: &str = "INSERT INTO pin (id, body, crc) VALUES (?1, ?2, ?3)";
        let same = |other: &Pin| other.account == pin.account && same_name(&other.name, &pin.name);
        let stands = |(id, other): (&PinId, &Pin)| same(other) && !self.news.pins.contains_key(id);
        if self.known.pins.iter().any(stands) || self.news.pins.values().flatten().any(same) {
            return Err(name_taken(pin));
        }
        let gone = |base| match self.news.pins.get(&base) {
            Some(news) => news.is_none(),
            None => !self.known.pins.contains_key(&base),
        };
        if pin.terms.base.is_some_and(gone) {
            return Err(integrity::base_gone());
        }
        self.news.head.last_pin += 1;
        let pin = Pin { id: PinId(self.news.head.last_pin), ..pin.clone() };
        let body = serde_json::to_string(&pin)?;
        let digest = integrity::pin_digest(pin.id.0, &body);
        self.execute(INSERT, params![to_sql(pin.id.0)?, body, integrity::crc_of(digest)])?;
        integrity::toggle(&mut self.news.head.pins, digest);
        self.news.pins.insert(pin.id, Some(pin.clone()));
        Ok(pin)
    }

    pub(super) fn drop_pins(&mut self, ids: &[PinId]) -> Result<u64> {
        const DELETE: &str = "DELETE FROM pin WHERE id = ?1 RETURNING body";
        integrity::validate_drop(ids, self.known.pins.values())?;
        let mut dropped = 0;
        for id in ids {
            if !self.known.pins.contains_key(id) || self.news.pins.contains_key(id) {
                continue;
            }
            let id_sql = to_sql(id.0)?;
            let digest = rows::one(self.connection, DELETE, params![id_sql], |row| known::pin_digest(row, *id))?;
            let digest = digest.ok_or_else(|| Error::corrupt(format!("The row of pin {id} is gone.")))?;
            integrity::toggle(&mut self.news.head.pins, digest);
            self.news.pins.insert(*id, None);
            dropped += 1;
        }
        Ok(dropped)
    }

    fn intent(&self, id: FileId) -> Option<FileKind> {
        match self.news.intents.get(&id) {
            Some(kind) => *kind,
            None => self.known.intents.get(&id).copied(),
        }
    }

    pub(super) fn put_intent(&mut self, id: FileId, kind: FileKind) -> Result<()> {
        const INSERT: &str = "INSERT INTO intent (id, kind, crc) VALUES (?1, ?2, ?3)";
        self.drop_intent(id)?;
        let digest = integrity::intent_digest(id, kind);
        let row = params![&id.0.as_bytes()[..], integrity::file_kind_word(kind), integrity::crc_of(digest)];
        self.execute(INSERT, row)?;
        integrity::toggle(&mut self.news.head.intents, digest);
        self.news.intents.insert(id, Some(kind));
        Ok(())
    }

    fn drop_intent(&mut self, id: FileId) -> Result<()> {
        const DELETE: &str = "DELETE FROM intent WHERE id = ?1";
        let Some(kind) = self.intent(id) else { return Ok(()) };
        self.execute(DELETE, params![&id.0.as_bytes()[..]])?;
        integrity::toggle(&mut self.news.head.intents, integrity::intent_digest(id, kind));
        self.news.intents.insert(id, None);
        Ok(())
    }

    fn put_file(&mut self, file: &FileRecord, version: Version) -> Result<()> {
        const INSERT: &str = "INSERT INTO file (id, kind, length, digest, version, gone, crc, block_crcs)
            VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)";
        self.drop_intent(file.id)?;
        let blocks = integrity::encode_blocks(&file.block_crcs);
        let row: &[&dyn rusqlite::ToSql] = params![
            &file.id.0.as_bytes()[..],
            integrity::file_kind_word(file.kind),
            to_sql(file.length)?,
            &file.digest.0[..],
            to_sql(version.0)?,
            integrity::file_crc(file, version, false, &blocks),
            blocks,
        ];
        if read::file_row(self.connection, file.id)?.is_some() {
            return Err(Error::internal(format!("BUG: file {} is committed twice.", file.id)));
        }
        self.execute(INSERT, row)?;
        let line = integrity::file_tally(file.id, file.kind, file.length, file.digest);
        integrity::toggle(&mut self.news.head.files, line);
        Ok(())
    }

    /// Forgets a file: its intent, and its record but for the line that proves it was there.
    pub(super) fn drop_file(&mut self, id: FileId) -> Result<()> {
        const UPDATE: &str = "UPDATE file SET gone = 1, crc = ?1, block_crcs = x'' WHERE id = ?2";
        self.drop_intent(id)?;
        let Some(row) = read::file_row(self.connection, id)? else { return Ok(()) };
        if !row.gone {
            let crc = integrity::file_crc(&row.record, row.version, true, &[]);
            self.execute(UPDATE, params![crc, &id.0.as_bytes()[..]])?;
        }
        Ok(())
    }

    /// Forgets a file's record for its intent.
    pub(super) fn withdraw_file(&mut self, id: FileId, kind: FileKind) -> Result<()> {
        self.drop_file(id)?;
        self.put_intent(id, kind)
    }

    /// Takes the deltas of entries out of the log: of each, as many bytes as are said.
    pub(super) fn trim(&mut self, entries: &[(Version, u64)]) -> Result<Trimmed> {
        let known = self.known;
        let whole = known.segments.values().filter(|segment| segment.state == State::Whole);
        let whole: BTreeMap<Version, &Arc<Segment>> = whole.map(|segment| (segment.first, segment)).collect();
        let mut trimmed: BTreeMap<u64, Segment> = BTreeMap::new();
        for (version, bytes) in entries {
            self.trim_row(*version)?;
            let holding = whole.range(..=*version).next_back().filter(|(_, segment)| *version <= segment.last);
            if let Some((_, segment)) = holding {
                let segment = trimmed.entry(segment.number).or_insert_with(|| Segment::clone(segment));
                segment.forget(*version);
                segment.trimmed += bytes;
            }
        }
        for mut segment in trimmed.into_values() {
            segment.optimize();
            self.put_segment(segment)?;
        }
        Ok(Trimmed { entries: entries.len() as u64, bytes: entries.iter().map(|(_, bytes)| bytes).sum() })
    }

    /// Puts a mark in the place of an entry's deltas, if it stands in SQLite.
    ///
    /// The row is deleted and inserted, not updated: SQLite joins the pages that lose rows, and those whose rows shrink it
    /// leaves as they are, full of holes that nothing else gets.
    fn trim_row(&self, version: Version) -> Result<()> {
        const ROW: &str = "SELECT version, time, account, author, what, upkeep, touches, changes, pins, files,
            catalog_version, catalog_digest, hash, crc FROM log WHERE version = ?1";
        const DELETE: &str = "DELETE FROM log WHERE version = ?1";
        let row: Option<Vec<Value>> = rows::one(self.connection, ROW, params![clamp(version)], |row| {
            (0..14).map(|column| row.get(column).map_err(sql_error)).collect()
        })?;
        if let Some(row) = row {
            self.execute(DELETE, &[&row[0]])?;
            let columns = row.iter().map(|value| value as &dyn rusqlite::ToSql);
            let columns: Vec<&dyn rusqlite::ToSql> = columns.chain([&rows::TRIMMED as &dyn rusqlite::ToSql]).collect();
            self.execute(INSERT_ENTRY, &columns)?;
        }
        Ok(())
    }

    pub(super) fn put_setting(&mut self, name: &str, value: &str) -> Result<()> {
        self.take_out_setting(name);
        insert_setting(self.connection, &mut self.news.head, name, value)?;
        self.news.settings.insert(name.to_owned(), Some(value.to_owned()));
        Ok(())
    }

    pub(super) fn drop_setting(&mut self, name: &str) -> Result<bool> {
        const DELETE: &str = "DELETE FROM setting WHERE name = ?1";
        if !self.take_out_setting(name) {
            return Ok(false);
        }
        self.execute(DELETE, params![name])?;
        self.news.settings.insert(name.to_owned(), None);
        Ok(true)
    }

    /// Takes a setting out of the tally, if it stands.
    fn take_out_setting(&mut self, name: &str) -> bool {
        let old = match self.news.settings.get(name) {
            Some(news) => news.as_deref(),
            None => self.known.settings.get(name).map(String::as_str),
        };
        let Some(old) = old else { return false };
        integrity::toggle(&mut self.news.head.settings, integrity::setting_digest(name, old));
        true
    }

    pub(super) fn execute(&self, sql: &'static str, params: &[&dyn rusqlite::ToSql]) -> Result<usize> {
        execute(self.connection, sql, params)
    }
}

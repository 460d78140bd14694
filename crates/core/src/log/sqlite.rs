//! The metastore inside the process: one SQLite file, `metastore.db`, with its write-ahead log beside it.
//!
//! ```text
//!   append ─► writer connection (one) ─► WAL, one fsync per group ─► checkpoint ─► metastore.db
//!   reads  ─► pool of read-only connections, plus what is known in memory: the newest entry, pins, settings,
//!             and where the chain of each table and object ends (see `integrity`)
//!   age    ─► older entries leave SQLite for files in `segments/` beside it (see `age`, `rows`)
//! ```
//!
//! The store is this process's alone: another writer is noticed, and refused, by the serial number in `head`. Nothing
//! here ever answers from a row that does not verify.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::catalog::{Change, ObjectKind};
use crate::error::{Error, Kind, Result, What};
use crate::ids::{Digest, FileId, PinId, TableId, Time, Version};

use super::integrity;
use super::{
    Entry, EntryHead, EntryQuery, EntrySummary, FORMAT, FileHead, FileKind, FileRecord, Metastore, ObjectRow, Pin,
    Trimmed,
};

mod age;
mod block;
mod check;
mod known;
mod read;
mod rows;
mod segments;
#[cfg(test)]
mod tests;
mod wal;
mod write;

use age::{ROW_BYTES, Unaged};
use known::Known;
use rows::Rows;
use segments::Segments;
use write::{Draft, Space, Writer};

/// The metastore in a SQLite file.
pub struct SqliteMetastore {
    path: PathBuf,
    /// Read-only connections at rest. Declared before the writer: closed first, so that the writer's close tidies up.
    readers: Mutex<Vec<Connection>>,
    writer: Mutex<Writer>,
    /// What is true as of the last commit, verified when the store was opened.
    known: RwLock<Known>,
    segments: Segments,
    unaged: Unaged,
    /// Held by whoever ages the log or trims it: so that nothing is trimmed of what is being packed.
    ageing: Mutex<()>,
    /// Segments that could not be written anew, and how many of their bytes were trimmed then.
    damaged: Mutex<HashMap<u64, u64>>,
}

/// How often [`Writer::give_back`] is called at a time: commits come in between.
const GIVE_BACKS_MAX: usize = 16;

/// How many idle read connections are kept.
const READERS_MAX: usize = 8;

/// How long a connection waits for another of this process.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// The oldest SQLite without the bug that loses commits when a WAL is reset under a second connection.
const SQLITE_OLDEST: i32 = 3_051_003;

/// The setting that names the format.
const FORMAT_SETTING: &str = "format";

impl SqliteMetastore {
    /// Opens the store at `path`, the file itself, and creates it if there is none. Its directory must exist.
    ///
    /// `Invalid` if a newer Strandline wrote it (nothing is changed then), `Corrupt` if it is damaged where that can be
    /// told without reading the whole log: [`check`](Metastore::check) reads all.
    pub fn open(path: &Path) -> Result<SqliteMetastore> {
        if rusqlite::version_number() < SQLITE_OLDEST {
            let version = rusqlite::version();
            return Err(Error::unsupported(format!("SQLite {version} can lose commits; 3.51.3 or newer is needed.")));
        }
        let path = std::path::absolute(path)?;
        if !path.try_exists()? {
            if beside(&path, "-wal").try_exists()? {
                let path = path.display();
                return Err(Error::corrupt(format!("{path} is gone, but its write-ahead log is there."))
                    .with_hint("Put the file back, or restore the store from a backup."));
            }
            create(&path)?;
        }
        if !beside(&path, "-wal").try_exists()?
            && let Some(untouched) = connect_untouched(&path)?
        {
            verify_format(&untouched, &path)?;
        }
        wal::verify(&beside(&path, "-wal"))?;
        fail::fail_point!("open::verified", crate::error::failing);
        let reader = connect_reader(&path)?;
        let format = verify_format(&reader, &path)?;
        let mut writer = connect_writer(&path)?;
        if format < FORMAT {
            migrate(&mut writer, format)?;
        }
        let segments = Segments::beside(&path);
        let known = Known::load(&reader, &segments)?;
        segments.show(&known.segments);
        segments.empty(known.head.emptied);
        fail::fail_point!("open::known", crate::error::failing);
        // SQLite has made the write-ahead log by now, and does not mind if its name never reaches the disk.
        sync_directory(&path)?;
        let writer = Writer::new(writer, beside(&path, "-wal"))?;
        let store = SqliteMetastore {
            path,
            readers: Mutex::new(vec![reader]),
            writer: Mutex::new(writer),
            known: RwLock::new(known),
            segments,
            unaged: Unaged::unknown(),
            ageing: Mutex::new(()),
            damaged: Mutex::default(),
        };
        if let Err(error) = store.clear_away() {
            // The next ageing tries again; on a full disk the store must open all the same.
            tracing::warn!(%error, "files of segments that a crash has left could not be deleted");
        }
        Ok(store)
    }

    /// Runs `work` on a read connection, in one transaction: it sees one state.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.readers.lock().pop();
        let reader = match idle {
            Some(reader) => reader,
            None => connect_reader(&self.path)?,
        };
        run(&reader, "BEGIN")?;
        let result = work(&reader);
        // A reader whose transaction does not end is thrown away.
        if run(&reader, "COMMIT").is_ok() {
            let mut readers = self.readers.lock();
            if readers.len() < READERS_MAX {
                readers.push(reader);
            }
        }
        result
    }

    /// As `read`, for work that reads entries: again where some of them moved under it (see [`rows`]).
    fn read_log<T>(&self, work: impl Fn(&Rows) -> Result<T>) -> Result<T> {
        loop {
            let before = self.segments.changes();
            match self.read(|connection| work(&Rows::new(connection, &self.segments))) {
                Err(error) if error.kind() == Kind::Corrupt && self.segments.changes() != before => {}
                result => return result,
            }
        }
    }

    /// Runs `work` on a connection of its own: the others may still hold in memory what the disk has lost.
    fn read_afresh<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = connect_reader(&self.path)?;
        run(&connection, "BEGIN")?;
        work(&connection)
    }

    /// Makes what `work` drafts durable, then known.
    fn write<T>(&self, space: Space, work: impl FnOnce(&mut Draft) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock();
        let (value, news) = {
            let known = self.known.read();
            writer.transaction(space, |connection| {
                fail::fail_point!("metastore::begun", crate::error::failing);
                let mut draft = Draft::new(&known, connection);
                let value = work(&mut draft).map_err(|error| draft.explain(error))?;
                fail::fail_point!("metastore::drafted", crate::error::failing);
                Ok((value, draft.save()?))
            })?
        };
        fail::fail_point!("metastore::before_known");
        let has_segments = !news.segments.is_empty();
        let mut known = self.known.write();
        known.learn(news);
        if has_segments {
            self.segments.show(&known.segments);
        }
        self.segments.empty(known.head.emptied);
        drop(known);
        fail::fail_point!("metastore::known");
        writer.wrote();
        Ok(value)
    }
}

impl Metastore for SqliteMetastore {
    fn newest(&self) -> Result<Option<EntryHead>> {
        Ok(self.known.read().newest.clone())
    }

    fn append(&self, group: &[Entry]) -> Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        let bytes: u64 = group.iter().flat_map(|entry| &entry.deltas).map(|delta| delta.body.len() as u64).sum();
        let space = if group.iter().all(Entry::gives_back) { Space::GivesBack } else { Space::Takes(bytes) };
        self.write(space, |draft| draft.append_group(group))?;
        self.unaged.added(bytes + ROW_BYTES * group.len() as u64);
        Ok(())
    }

    fn entry(&self, version: Version) -> Result<Option<Entry>> {
        if version == Version(0) || version > self.known.read().head.version {
            return Ok(None);
        }
        self.read_log(|rows| read::entry(rows, version)).map(Some)
    }

    fn entries(&self, query: &EntryQuery) -> Result<Vec<EntrySummary>> {
        let (newest, tails) = {
            let known = self.known.read();
            let tails: Option<Vec<(TableId, Version)>> = query
                .tables
                .as_ref()
                .map(|tables| tables.iter().filter_map(|table| Some((*table, *known.touches.get(table)?))).collect());
            (known.head.version, tails)
        };
        let upto = query.upto.min(newest);
        self.read_log(|rows| match &tails {
            None => read::entries(rows, query, upto),
            Some(tails) => read::entries_of(rows, query, upto, tails),
        })
    }

    fn deltas(&self, table: TableId, after: Version, upto: Version) -> Result<Vec<(Version, Bytes)>> {
        let (newest, tail) = {
            let known = self.known.read();
            (known.head.version, known.touches.get(&table).copied())
        };
        match tail {
            Some(tail) if tail > after && after < upto => {
                let range = (after, upto.min(newest));
                self.read_log(|rows| read::deltas(rows, table, range, tail))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn delta_bytes(&self, table: TableId, after: Version, upto: Version) -> Result<Option<u64>> {
        let (newest, tail) = {
            let known = self.known.read();
            (known.head.version, known.touches.get(&table).copied())
        };
        match tail {
            Some(tail) if tail > after && after < upto => {
                self.read_log(|rows| read::delta_bytes(rows, table, (after, upto.min(newest)), tail))
            }
            _ => Ok(Some(0)),
        }
    }

    fn newest_at(&self, time: Time) -> Result<Option<EntryHead>> {
        let Some(newest) = self.newest()? else { return Ok(None) };
        if newest.time <= time {
            return Ok(Some(newest));
        }
        self.read_log(|rows| read::newest_at(rows, time, newest.version))
    }

    fn catalog_at(&self, version: Version) -> Result<Vec<Change>> {
        let (version, newest, objects) = {
            let known = self.known.read();
            let version = version.min(known.head.version);
            let newest = (version >= known.head.catalog_version).then_some(known.head.catalog);
            (version, newest, known.objects_at(version))
        };
        if version == Version(0) {
            return Ok(Vec::new());
        }
        let expected = match newest {
            Some(newest) => newest,
            None => self.read_log(|rows| read::catalog_digest(rows, version))?,
        };
        self.read(|connection| read::catalog_at(connection, version, expected, &objects))
    }

    fn catalog_version(&self, version: Version) -> Result<Version> {
        let head = self.known.read().head;
        if version >= head.catalog_version {
            return Ok(head.catalog_version);
        }
        if version == Version(0) {
            return Ok(Version(0));
        }
        self.read_log(|rows| Ok(rows.row(version)?.catalog_version))
    }

    fn named(&self, kind: ObjectKind, parent: u64, name: &str) -> Result<Vec<ObjectRow>> {
        let tails = self.known.read().tails_of(kind);
        self.read(|connection| read::named(connection, kind, (parent, name), &tails))
    }

    fn object(&self, kind: ObjectKind, id: u64) -> Result<Vec<ObjectRow>> {
        let Some(tail) = self.known.read().objects.get(&(kind, id)).map(|tail| tail.begin) else {
            return Ok(Vec::new());
        };
        self.read(|connection| read::object(connection, kind, id, tail))
    }

    fn object_at(&self, kind: ObjectKind, id: u64, version: Version) -> Result<Option<ObjectRow>> {
        if !self.known.read().objects.contains_key(&(kind, id)) {
            return Ok(None);
        }
        self.read(|connection| read::object_at(connection, kind, id, version))
    }

    fn ids(&self, kind: ObjectKind) -> Result<Vec<u64>> {
        Ok(self.known.read().tails_of(kind).into_keys().collect())
    }

    fn greatest_id(&self, kind: ObjectKind) -> Result<u64> {
        Ok(self.known.read().head.greatest_ids[kind as usize])
    }

    fn pins(&self) -> Result<Vec<Pin>> {
        Ok(self.known.read().pins.values().cloned().collect())
    }

    fn put_pin(&self, pin: &Pin) -> Result<PinId> {
        self.write(Space::Takes(0), |draft| draft.put_pin(pin)).map(|pin| pin.id)
    }

    fn drop_pins(&self, ids: &[PinId]) -> Result<u64> {
        self.write(Space::GivesBack, |draft| draft.drop_pins(ids))
    }

    fn put_intents(&self, files: &[(FileId, FileKind)]) -> Result<()> {
        self.write(Space::Takes(0), |draft| files.iter().try_for_each(|(id, kind)| draft.put_intent(*id, *kind)))
    }

    fn file(&self, id: FileId) -> Result<Option<FileRecord>> {
        self.read(|connection| read::file(connection, id))
    }

    fn file_by_digest(&self, kind: FileKind, digest: Digest) -> Result<Option<FileRecord>> {
        self.read(|connection| read::file_by_digest(connection, kind, digest))
    }

    fn was_withdrawn(&self, manifest: Digest) -> Result<bool> {
        self.read(|connection| read::was_withdrawn(connection, manifest))
    }

    fn files(&self) -> Result<Vec<FileHead>> {
        self.read(read::files)
    }

    fn withdraw_files(&self, files: &[(FileId, FileKind)]) -> Result<()> {
        self.write(Space::GivesBack, |draft| files.iter().try_for_each(|(id, kind)| draft.withdraw_file(*id, *kind)))
    }

    fn trim(&self, versions: &[Version]) -> Result<Trimmed> {
        let _turn = self.ageing.lock();
        let mut versions = versions.to_vec();
        versions.sort_unstable();
        versions.dedup();
        // Read before commits have to wait; only ageing could change it.
        let bytes = self.read_log(|rows| {
            let there = |version: &Version| -> Result<Option<(Version, u64)>> {
                let row = rows.row(*version)?;
                let bytes: u64 = row.touches.iter().map(|touch| touch.length).sum();
                Ok(Some((*version, bytes)).filter(|_| bytes > 0 && !row.is_trimmed()))
            };
            versions.iter().filter_map(|version| there(version).transpose()).collect::<Result<Vec<_>>>()
        })?;
        self.write(Space::Trims, |draft| draft.trim(&bytes))
    }

    fn intents(&self) -> Result<Vec<(FileId, FileKind)>> {
        Ok(self.known.read().intents.iter().map(|(id, kind)| (*id, *kind)).collect())
    }

    fn drop_files(&self, ids: &[FileId]) -> Result<()> {
        self.write(Space::GivesBack, |draft| ids.iter().try_for_each(|id| draft.drop_file(*id)))
    }

    fn delta_sizes(&self) -> Result<Vec<(Version, TableId, u64)>> {
        let newest = self.known.read().head.version;
        self.read_log(|rows| read::delta_sizes(rows, newest))
    }

    fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok(self.known.read().settings.get(name).cloned())
    }

    fn put_setting(&self, name: &str, value: &str) -> Result<()> {
        if name == FORMAT_SETTING {
            return Err(Error::invalid("The setting 'format' is the metastore's own."));
        }
        // The collector says how far it came.
        self.write(Space::GivesBack, |draft| draft.put_setting(name, value))
    }

    fn settings(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let known = self.known.read();
        let settings = known.settings.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        Ok(settings.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn drop_setting(&self, name: &str) -> Result<bool> {
        if name == FORMAT_SETTING || !self.known.read().settings.contains_key(name) {
            return Ok(false);
        }
        self.write(Space::GivesBack, |draft| draft.drop_setting(name))
    }

    fn check(&self) -> Result<Vec<String>> {
        self.read_afresh(|connection| check::check(connection, &self.segments, check::Reach::Everything))
    }

    fn check_chains(&self) -> Result<Vec<String>> {
        self.read_afresh(|connection| check::check(connection, &self.segments, check::Reach::Chains))
    }

    fn check_entries(&self, from: Version, upto: Version) -> Result<(u64, Vec<String>)> {
        self.read_afresh(|connection| check::check_entries(connection, &self.segments, (from, upto)))
    }

    fn size_bytes(&self) -> Result<u64> {
        let segments: u64 = self.known.read().segments.values().map(|segment| segment.length).sum();
        Ok(file_bytes(&self.path)? + file_bytes(&beside(&self.path, "-wal"))? + segments)
    }

    fn tidy(&self) -> Result<()> {
        for _ in 0..GIVE_BACKS_MAX {
            if !self.writer.lock().give_back()? {
                break;
            }
        }
        self.writer.lock().checkpoint()
    }

    fn age(&self, kept_bytes: u64) -> Result<()> {
        self.age_beyond(kept_bytes)
    }
}

/// Builds an empty store under another name and moves it into place: a `metastore.db` is whole, or damaged.
fn create(path: &Path) -> Result<()> {
    let draft = beside(path, ".new");
    for leftover in ["", "-journal", "-wal", "-shm"].map(|suffix| beside(&draft, suffix)) {
        match std::fs::remove_file(leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    // SQLite gives the files beside it the same mode.
    private(std::fs::OpenOptions::new().write(true).create_new(true)).open(&draft)?;
    fail::fail_point!("make::draft", crate::error::failing);
    let mut connection = connect(&draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Pages that trimming frees can be given back to the disk.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(sql_error)?;
    // The write-ahead log comes last, and stays empty: what it held would have to be moved when the connection is closed, and
    // SQLite does not tell if that fails.
    let transaction = connection.transaction().map_err(sql_error)?;
    transaction.execute_batch(include_str!("schema.sql")).map_err(sql_error)?;
    transaction.execute_batch(include_str!("segment.sql")).map_err(sql_error)?;
    write::initialise(&transaction, FORMAT_SETTING, &FORMAT.to_string())?;
    fail::fail_point!("make::schema", crate::error::failing);
    transaction.commit().map_err(sql_error)?;
    use_wal(&connection)?;
    fail::fail_point!("make::filled", crate::error::failing);
    connection.close().map_err(|(_, error)| sql_error(error))?;
    File::open(&draft)?.sync_all()?;
    fail::fail_point!("make::synced", crate::error::failing);
    std::fs::rename(&draft, path)?;
    fail::fail_point!("make::renamed", crate::error::failing);
    sync_directory(path)
}

/// Makes new files their owner's alone.
fn private(options: &mut std::fs::OpenOptions) -> &mut std::fs::OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes the name of a new file durable.
fn sync_directory(path: &Path) -> Result<()> {
    let directory = path.parent().ok_or_else(|| Error::invalid(format!("{} is no file.", path.display())))?;
    // Other systems cannot open a directory, and need not.
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Returns the format, and refuses a newer one. Reads one row, and changes nothing.
fn verify_format(connection: &Connection, path: &Path) -> Result<u32> {
    const FORMAT_ROW: &str = "SELECT value, crc FROM setting WHERE name = ?1";
    let row = connection
        .query_row(FORMAT_ROW, [FORMAT_SETTING], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?)))
        .optional()
        .map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                Error::corrupt(format!("{} is not a metastore, or is damaged.", path.display())).with_source(error)
            }
            _ => sql_error(error),
        })?;
    let format = row
        .filter(|(value, crc)| integrity::crc_of(integrity::setting_digest(FORMAT_SETTING, value)) == *crc)
        .and_then(|(value, _)| value.parse::<u32>().ok())
        .ok_or_else(|| Error::corrupt(format!("{} does not tell its format: it is damaged.", path.display())))?;
    if format > FORMAT {
        return Err(Error::invalid(format!(
            "{} was written by a newer Strandline (format {format}, this build reads {FORMAT}).",
            path.display()
        ))
        .with_hint("Open it with that version or newer."));
    }
    Ok(format)
}

/// Brings a store of an older format to this build's: all of it, or nothing.
fn migrate(writer: &mut Connection, format: u32) -> Result<()> {
    let transaction = writer.transaction().map_err(sql_error)?;
    write::migrate(&transaction, FORMAT_SETTING, (&format.to_string(), &FORMAT.to_string()))?;
    transaction.commit().map_err(sql_error)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(sql_error)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.busy_timeout(BUSY_WAIT).map_err(sql_error)?;
    // Pages are checked a little more when they are read; views and triggers, of which there are none, are not trusted.
    connection.execute_batch("PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF").map_err(sql_error)?;
    Ok(connection)
}

fn connect_reader(path: &Path) -> Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Opens a store that was closed in order, and makes nothing beside it, as even readers of SQLite do. `None` where the
/// path cannot be said in this way.
fn connect_untouched(path: &Path) -> Result<Option<Connection>> {
    let Some(path) = path.to_str() else { return Ok(None) };
    let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let uri = format!("file:{path}?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    connect(Path::new(&uri), flags).map(Some)
}

fn connect_writer(path: &Path) -> Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    use_wal(&connection)?;
    // FULL: a commit returns after its fsync. Checkpoints are called for by `Writer`. A WAL that outgrew its use shrinks.
    const DURABLE: &str = "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -16384;
                           PRAGMA journal_size_limit = 67108864";
    connection.execute_batch(DURABLE).map_err(sql_error)?;
    // Where a file can only be read, be it for one failed call, SQLite goes on without a word until something is written.
    // A BEGIN IMMEDIATE finds that of the files beside the store; of the store itself it takes it for an order to read.
    let read_only = |source: Option<rusqlite::Error>| {
        let error = Error::unavailable(format!("{} can be read, and not written.", path.display()))
            .with_hint("See who may write the files beside it, and whether the disk fails; then open the store again.");
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    };
    if connection.is_readonly(rusqlite::MAIN_DB).map_err(sql_error)? {
        return Err(read_only(None));
    }
    connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly) => read_only(Some(error)),
        _ => sql_error(error),
    })?;
    Ok(connection)
}

fn use_wal(connection: &Connection) -> Result<()> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(|error| {
        match error.sqlite_error_code() {
            // Where the shared memory cannot be written, SQLite complains of a transaction that is not there.
            Some(ErrorCode::Unknown) => {
                let message = format!("The metastore's write-ahead log cannot be begun: {error}.");
                Error::new(Kind::Unavailable, message)
                    .with_hint("See whether the disk is full or fails, then open the store again.")
                    .with_source(error)
            }
            _ => sql_error(error),
        }
    })?;
    if mode != "wal" {
        return Err(Error::unsupported("The file system cannot hold a write-ahead log with shared memory."));
    }
    Ok(())
}

/// Runs a statement that returns nothing.
fn run(connection: &Connection, sql: &'static str) -> Result<()> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(sql_error)?;
    Ok(())
}

/// Returns the path with something added to the file's name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns the length of a file in bytes, 0 if there is none.
fn file_bytes(path: &Path) -> Result<u64> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn disk_full() -> Error {
    Error::full("The disk is full; make room and try again.")
        .with_hint("What is dropped makes room once its recovery window is over; DROP and COLLECT GARBAGE still work.")
}

/// Says what an error of SQLite means for the caller.
fn sql_error(error: rusqlite::Error) -> Error {
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => return disk_full().with_source(error),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (Kind::Unavailable, "Another process holds the metastore.".to_owned())
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            (Kind::Unavailable, format!("The metastore cannot be opened or written: {error}."))
        }
        Some(ErrorCode::OutOfMemory) => (Kind::Unavailable, "The metastore is out of memory.".to_owned()),
        Some(ErrorCode::SystemIoFailure) => (Kind::Internal, format!("Disk: {error}.")),
        Some(ErrorCode::TooBig) => (Kind::Invalid, "The commit is larger than one entry of the log can be.".to_owned()),
        Some(ErrorCode::OperationInterrupted) => (Kind::Cancelled, "Cancelled.".to_owned()),
        Some(ErrorCode::ApiMisuse) => (Kind::Internal, format!("BUG: {error}.")),
        Some(ErrorCode::NotADatabase) => (Kind::Corrupt, "The metastore is not a database, or is damaged.".to_owned()),
        // SQLite says so also where the disk answers a read with an error.
        Some(ErrorCode::DatabaseCorrupt) => {
            (Kind::Corrupt, format!("The metastore is damaged, or the disk cannot be read: {error}."))
        }
        // The statements are constants and tested: if one does not fit, the schema or a row is not what was written.
        _ => (Kind::Corrupt, format!("The metastore is damaged: {error}.")),
    };
    Error::new(kind, message).with_source(error)
}

/// Returns the stored form of an id, a version or a count.
fn to_sql(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| Error::internal(format!("BUG: {number} does not fit into the metastore.")))
}

/// Returns the stored form of the end of a row.
fn end_to_sql(end: Version) -> Result<i64> {
    if end == Version::MAX { Ok(i64::MAX) } else { to_sql(end.0) }
}

/// Returns a version as stored, for comparing: all that are too great are equal.
fn clamp(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(i64::MAX)
}

fn from_sql(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| Error::corrupt(format!("The metastore holds the impossible number {number}.")))
}

fn end_from_sql(end: i64) -> Result<Version> {
    if end == i64::MAX { Ok(Version::MAX) } else { from_sql(end).map(Version) }
}

fn name_taken(pin: &Pin) -> Error {
    Error::already_exists(What::Snapshot, &pin.name)
}

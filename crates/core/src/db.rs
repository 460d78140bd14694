//! The database: open, now, at, begin, close.
//!
//! The verbs that people use are in `history/`, one per file, each as `impl Database`. It never turns words into a
//! version itself (`when`), never decides visibility (`scan`) and never appends to the log (`txn`).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parking_lot::{Mutex, RwLock};

use crate::catalog::{Catalog, Change, ObjectKind};
use crate::cold::Cold;
use crate::cold::DurableLocal;
use crate::cold::Files;
use crate::cold::Merging;
use crate::cold::{Bucket, open_remote};
use crate::env::Env;
use crate::error::{Error, Kind, Result, What};
use crate::health::{HEALTH_SETTING, Health};
use crate::hot::Hot;
use crate::ids::{AccountId, Digest, FileId, TableId, Time, Version};
use crate::jobs::Jobs;
use crate::log::memory::MemoryMetastore;
use crate::log::sqlite::SqliteMetastore;
use crate::log::{FileKind, Metastore, Scope, TableDelta};
use crate::moment::Moment;
use crate::schema::Account;
use crate::store::turns::Turns;
use crate::store::{Clock, Head, Stamps, Store, Thinned};
use crate::txn::sequencer::{Prepared, Sequencer};
use crate::txn::{Author, Ids, Txn, footprint::Footprint};
use crate::when::{self, KeptWindow, Resolved, When, Window};

/// The account that exists from the first commit on.
pub const SYS: AccountId = AccountId(1);

/// How a database is opened.
#[derive(Clone)]
pub struct Options {
    pub env: Env,
    /// Bytes for caches of files and of past rows.
    pub cache_bytes: u64,
    /// A table is flushed when its recent rows take this many bytes.
    pub flush_bytes: usize,
    /// The largest tables are flushed when the recent rows of all take this many bytes. At twice as many, writers wait for
    /// the flushes, for a second at most with each commit.
    pub flush_total_bytes: usize,
    /// Recent rows are flushed after this many seconds, if there are enough to be worth a file.
    pub flush_seconds: u64,
    /// When parts are merged.
    pub merging: Merging,
    /// A large load writes a run of rows to a part when it has gathered this many.
    pub load_rows: usize,
    /// Or this many bytes of them. It takes about three times that while it writes them.
    pub load_bytes: usize,
    /// How far back every commit stays recoverable. Made longer, it reaches back no further than what was kept before.
    pub window: Window,
    /// A file that nothing reaches any more is deleted after so many microseconds.
    pub grace_micros: i64,
    /// Where a new store keeps its files instead of in its folder: `s3://bucket/prefix`. A store that is there remembers
    /// it, and refuses another.
    pub objects: Option<String>,
    /// Manifests that only a recovery window keeps go where the log tells the same (see `upkeep::keep`). Off, for measuring.
    pub thinning: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            env: Env::real(),
            cache_bytes: 512 << 20,
            flush_bytes: 32 << 20,
            flush_total_bytes: 256 << 20,
            flush_seconds: 300,
            merging: Merging::default(),
            load_rows: 1 << 20,
            load_bytes: 48 << 20,
            window: Window::DEFAULT,
            grace_micros: 10 * 60 * 1_000_000,
            objects: None,
            thinning: true,
        }
    }
}

/// An open database. Clones are the same database.
#[derive(Clone)]
pub struct Database(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub store: Arc<Store>,
    pub sequencer: Arc<Sequencer>,
    pub ids: Arc<Ids>,
    pub options: Options,
    /// Catalogs of the past, by the version that made them, most recently used last.
    catalogs: Mutex<Vec<(Version, Arc<Catalog>)>>,
    pub closing: AtomicBool,
    /// How many loops in the background hold the database: they alone do not keep it open.
    pub background: AtomicUsize,
    /// Read while schedules and terms are looked after, written by whoever closes: nothing of them comes after that.
    pub looking_after: tokio::sync::RwLock<()>,
    /// Held while a policy is looked up and then written.
    pub policies: Mutex<()>,
    pub holdings: Holdings,
    /// Since when nothing reaches a file. It begins anew with the process: a restart only delays the collector.
    pub condemned: Mutex<HashMap<FileId, Passed>>,
    /// Since when nothing reads these entries of the log, oldest first.
    pub condemned_trims: Mutex<Vec<(Passed, HashSet<Version>)>>,
    /// Ranges of the log that are too much to be laid over what stands below them, or not all there: the content of a table
    /// that stood from a version, and another version. That stays so.
    pub much: Mutex<HashSet<(TableId, Version, Version)>>,
    /// What the scrubber has found.
    pub health: Mutex<Health>,
    /// Held by the collection that runs.
    pub collecting: tokio::sync::Mutex<()>,
    /// The default window.
    pub window: KeptWindow,
    jobs: Jobs,
    /// Where the store's files lie on disk.
    root: OnceLock<PathBuf>,
    /// Held locked while the store is open.
    _lock: Option<Lock>,
}

/// The files that each manifest names, as far as somebody has asked what is kept: a manifest never changes.
#[derive(Default)]
pub(crate) struct Holdings(pub Mutex<HashMap<Digest, Arc<[FileId]>>>);

/// How much time had passed (`Env::passed`): no clock that is set ends a grace.
pub(crate) type Passed = i64;

/// The setting that holds the default window.
const WINDOW_SETTING: &str = "window";

/// How many catalogs of the past are kept.
const CATALOGS_MAX: usize = 64;

impl Database {
    /// Opens the store in a folder, and makes it if it is not there. One process owns a store.
    pub async fn open(path: &Path, options: Options) -> Result<Database> {
        let asked = options.objects.as_deref().map(Bucket::parse).transpose()?;
        if let Some(bucket) = &asked {
            // Nothing is made where its files could not be kept.
            bucket.reach(&options.env).await?;
        }
        create_folder(path)?;
        let lock = lock(path)?;
        fail::fail_point!("open::locked", crate::error::failing);
        refuse_without_metastore(path)?;
        let metastore: Arc<dyn Metastore> = Arc::new(SqliteMetastore::open(&path.join("metastore.db"))?);
        fail::fail_point!("open::metastore", crate::error::failing);
        if let Some(objects) = open_remote(&metastore, asked.as_ref(), &options.env).await? {
            return Database::start(metastore, objects, options, Some(lock)).await;
        }
        let files = DurableLocal::open(path)?;
        files.remove_staged();
        fail::fail_point!("open::cleaned", crate::error::failing);
        let database = Database::start(metastore, Arc::new(files), options, Some(lock)).await?;
        let _ = database.0.root.set(path.to_owned());
        Ok(database)
    }

    /// Opens a store that lives in memory and goes with the last clone.
    pub async fn in_memory(options: Options) -> Result<Database> {
        if options.objects.is_some() {
            return Err(Error::invalid("A store in memory keeps its files there, and in no other place.")
                .with_hint("Name a folder for the store, which remembers where the files are."));
        }
        Database::start(Arc::new(MemoryMetastore::new()), Arc::new(InMemory::new()), options, None).await
    }

    /// Opens a store over these parts.
    pub async fn start(
        metastore: Arc<dyn Metastore>,
        objects: Arc<dyn ObjectStore>,
        options: Options,
        lock: Option<Lock>,
    ) -> Result<Database> {
        let files = Files::with_late(objects, metastore.clone(), options.env.clone(), options.grace_micros)?;
        fail::fail_point!("open::files", crate::error::failing);
        let cold = Cold::new(files, options.cache_bytes);
        let hot = Hot::new(metastore.clone(), (options.cache_bytes / 4) as usize);
        let newest = metastore.newest()?;
        let mut catalog = Catalog::default();
        let head = match &newest {
            Some(entry) => {
                metastore.catalog_at(entry.version)?.iter().for_each(|change| catalog.apply(change));
                Head { version: entry.version, time: entry.time, catalog: Arc::new(catalog) }
            }
            None => Head { version: Version(0), time: Time(0), catalog: Arc::new(catalog) },
        };
        fail::fail_point!("open::catalog", crate::error::failing);
        let contents: Vec<_> = head
            .catalog
            .all_tables()
            .filter_map(|table| Some((table.clone(), head.catalog.content(table.id)?.clone())))
            .collect();
        hot.start(head.version, contents.into_iter());
        let ids = Arc::new(Ids::load(&*metastore)?);
        fail::fail_point!("open::ids", crate::error::failing);
        let clock = Clock::open(&options.env, &*metastore, newest.as_ref().map(|entry| entry.time))?;
        let newest_time = newest.as_ref().map_or(Time(0), |entry| entry.time);
        let now = options.env.now().max(newest_time).max(clock.gone_by());
        let window = open_window(&*metastore, options.window, now)?;
        let store = Arc::new(Store {
            env: options.env.clone(),
            clock,
            metastore,
            hot,
            cold,
            head: ArcSwap::from_pointee(head),
            opens: Arc::default(),
            addressing: RwLock::new(()),
            turns: Turns::default(),
            merges: Turns::default(),
            thinned: Thinned::default(),
            transactions: Arc::default(),
            stamps: Stamps::default(),
            load_rows: options.load_rows,
            load_bytes: options.load_bytes,
            room_bytes: options.flush_total_bytes.saturating_mul(2),
            flush_fails: AtomicBool::new(false),
        });
        // Whatever stands there that cannot be read is found out anew.
        let health = store.metastore.setting(HEALTH_SETTING)?.and_then(|text| serde_json::from_str(&text).ok());
        let sequencer = Arc::new(Sequencer::start(store.clone())?);
        fail::fail_point!("open::sequencer", crate::error::failing);
        let jobs = Jobs::new(options.env.clone());
        let database = Database(Arc::new(Inner {
            store,
            sequencer,
            ids,
            options,
            catalogs: Mutex::default(),
            closing: AtomicBool::new(false),
            looking_after: tokio::sync::RwLock::new(()),
            policies: Mutex::new(()),
            holdings: Holdings::default(),
            condemned: Mutex::default(),
            much: Mutex::default(),
            background: AtomicUsize::new(0),
            condemned_trims: Mutex::default(),
            health: Mutex::new(health.unwrap_or_default()),
            collecting: tokio::sync::Mutex::new(()),
            window,
            jobs,
            root: OnceLock::new(),
            _lock: lock,
        }));
        if newest.is_none() {
            fail::fail_point!("open::empty", crate::error::failing);
            database.first_commit().await?;
            fail::fail_point!("open::first_commit", crate::error::failing);
        }
        fail::fail_point!("open::done", crate::error::failing);
        Ok(database)
    }

    /// Returns the newest moment.
    pub fn now(&self) -> Moment {
        Moment::newest(&self.0.store)
    }

    /// Returns what exists now. To read rows of it, hold the moment: [`Database::now`].
    pub fn catalog(&self) -> Arc<Catalog> {
        self.0.store.head.load().catalog.clone()
    }

    /// Returns the moment of a version, if it can be recovered.
    pub async fn at(&self, version: Version) -> Result<Moment> {
        self.moment(&when::resolve(&self.0.store, self.0.window, &When::Version(version), SYS)?)
    }

    /// Turns an address into a version, for somebody of `account`.
    pub fn resolve(&self, when: &When, account: AccountId) -> Result<Resolved> {
        when::resolve(&self.0.store, self.0.window, when, account)
    }

    /// Returns the moment that an address came to: of a compressed snapshot, its copy.
    pub fn moment(&self, resolved: &Resolved) -> Result<Moment> {
        let store = &self.0.store;
        let head = store.head.load_full();
        let mut catalog = match resolved.version == head.version {
            true => head.catalog.clone(),
            false => self.catalog_at(resolved.version)?,
        };
        if let Some(copy) = resolved.hold.copy() {
            let catalog = Arc::make_mut(&mut catalog);
            for (table, content) in copy {
                catalog.apply(&Change::PutContent(*table, Arc::new(content.clone())));
            }
        }
        Ok(Moment::past(store, resolved.hold.clone(), resolved.time, catalog))
    }

    /// Returns a version as it stands in the log, whether or not anything keeps it: for looking into a store, where nothing
    /// is promised of what it held.
    pub fn look_back(&self, version: Version) -> Result<Resolved> {
        let entry = self.0.store.entry_head(version)?;
        let entry = entry.ok_or_else(|| Error::not_found(What::Version, &version.to_string()))?;
        let hold = Arc::new(self.0.store.opens.hold(version));
        Ok(Resolved { version, time: entry.time, limit: None, why: "by number".to_owned(), hold })
    }

    /// Returns the moment just before a commit, however old: for undo and undrop, which look a version up themselves.
    pub(crate) fn moment_before(&self, version: Version) -> Result<Moment> {
        let version = Version(version.0.saturating_sub(1));
        let hold = Arc::new(self.0.store.opens.hold(version));
        Ok(Moment::past(&self.0.store, hold, self.time_of(version)?, self.catalog_at(version)?))
    }

    /// Begins a transaction that reads the newest moment.
    pub fn begin(&self, author: Author) -> Txn {
        self.begin_at(self.now(), author)
    }

    /// Begins a transaction that reads a moment taken before.
    pub fn begin_at(&self, moment: Moment, author: Author) -> Txn {
        Txn::new(self.0.sequencer.clone(), self.0.ids.clone(), moment, author)
    }

    pub fn env(&self) -> &Env {
        &self.0.store.env
    }

    pub fn cold(&self) -> &Cold {
        &self.0.store.cold
    }

    pub fn metastore(&self) -> &Arc<dyn Metastore> {
        &self.0.store.metastore
    }

    /// Returns how far back every commit stays recoverable.
    pub fn window(&self) -> Window {
        self.0.options.window
    }

    /// Returns the first time from which every commit to a scope is recoverable.
    pub fn window_start_of(&self, account: AccountId, scope: &Scope) -> Result<Time> {
        when::window_start_of(&self.0.store, self.0.window, account, scope)
    }

    /// Returns the first time from which every commit is recoverable, whatever it changed.
    pub fn window_start(&self) -> Time {
        when::window_start(&self.0.store, self.0.window)
    }

    /// Returns the time of day as far as it is to be believed (see `store::Clock`): what goes because time has passed goes by
    /// this.
    pub fn sure_time(&self) -> Time {
        self.0.store.sure_time()
    }

    /// Returns the long work that runs now, or did lately.
    pub fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    /// Returns where the store's files lie on disk; `None` if they lie elsewhere.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.0.root.get().map(PathBuf::as_path)
    }

    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Tells whether anybody reads just now: a query, a transaction or upkeep.
    pub fn is_read(&self) -> bool {
        !self.0.store.opens.versions().is_empty() || !self.0.store.transactions.versions().is_empty()
    }

    /// Returns the tables with recent rows in memory: id, rows, bytes.
    pub fn unflushed(&self) -> Vec<(TableId, usize, usize)> {
        self.0.store.hot.sizes()
    }

    /// Returns about how many bytes recent rows take.
    pub fn unflushed_bytes(&self) -> usize {
        self.0.store.hot.bytes()
    }

    /// Returns why no commit is accepted any more, if none is: after a durable write failed, until the store is opened
    /// again. It can be read all the same.
    pub fn refusal(&self) -> Option<String> {
        self.0.sequencer.refusal()
    }

    /// Ends in order: no commit is accepted afterwards. What was committed is durable already.
    pub async fn close(&self) -> Result<()> {
        self.0.closing.store(true, Ordering::SeqCst);
        self.0.jobs.cancel_all();
        drop(self.0.looking_after.write().await);
        // A collection ends between two of its steps.
        drop(self.0.collecting.lock().await);
        fail::fail_point!("close::before", crate::error::failing);
        self.0.sequencer.close();
        fail::fail_point!("close::sequencer", crate::error::failing);
        self.0.store.metastore.tidy()
    }

    pub(crate) fn catalog_at(&self, version: Version) -> Result<Arc<Catalog>> {
        let metastore = &self.0.store.metastore;
        let made = metastore.catalog_version(version)?;
        {
            let mut catalogs = self.0.catalogs.lock();
            if let Some(at) = catalogs.iter().position(|(known, _)| *known == made) {
                let entry = catalogs.remove(at);
                let catalog = entry.1.clone();
                catalogs.push(entry);
                return Ok(catalog);
            }
        }
        let mut catalog = Catalog::default();
        metastore.catalog_at(made)?.iter().for_each(|change| catalog.apply(change));
        let catalog = Arc::new(catalog);
        let mut catalogs = self.0.catalogs.lock();
        if catalogs.len() >= CATALOGS_MAX {
            catalogs.remove(0);
        }
        catalogs.push((made, catalog.clone()));
        Ok(catalog)
    }

    fn time_of(&self, version: Version) -> Result<Time> {
        Ok(self.0.store.entry_head(version)?.map_or(Time(0), |head| head.time))
    }

    /// Makes the account `sys`.
    async fn first_commit(&self) -> Result<()> {
        let account = Account { id: SYS, name: "sys".to_owned() };
        let prepared = Prepared {
            read: Arc::new(self.0.store.transactions.hold(Version(0))),
            account: SYS,
            author: "system".to_owned(),
            what: "CREATE STORE".to_owned(),
            upkeep: false,
            changes: vec![Change::PutAccount(account)],
            deltas: Vec::new(),
            table_deltas: Vec::<TableDelta>::new(),
            pins: Vec::new(),
            files: self.cold().files().drafts(),
            footprint: Footprint::default(),
            loads: Vec::new(),
            expects: Vec::new(),
            sources: Vec::new(),
        };
        self.0.sequencer.commit(prepared).await.map(drop).map_err(|refused| refused.error)
    }

    /// Returns the author of upkeep.
    pub(crate) fn system(&self) -> Author {
        Author { account: SYS, name: "system".to_owned() }
    }

    /// Returns the rows of the catalog for a name, as they were through time.
    pub(crate) fn named(&self, kind: ObjectKind, parent: u64, name: &str) -> Result<Vec<crate::log::ObjectRow>> {
        self.0.store.metastore.named(kind, parent, name)
    }
}

/// Returns the default window, and remembers it: one that is longer than the last reaches back no further than that did.
fn open_window(metastore: &dyn Metastore, length: Window, now: Time) -> Result<KeptWindow> {
    let known: Option<KeptWindow> =
        metastore.setting(WINDOW_SETTING)?.map(|text| serde_json::from_str(&text)).transpose()?;
    let window = known.map_or(KeptWindow::of(length), |known| known.changed_to(length, now));
    if known != Some(window) {
        metastore.put_setting(WINDOW_SETTING, &serde_json::to_string(&window)?)?;
    }
    Ok(window)
}

/// Makes a folder, with those above it that are missing, and its name durable.
fn create_folder(path: &Path) -> Result<()> {
    let path = std::path::absolute(path)?;
    let missing = path.ancestors().take_while(|folder| !folder.exists()).count();
    std::fs::create_dir_all(&path)?;
    // Other systems cannot open a directory, and need not.
    if cfg!(unix) {
        for parent in path.ancestors().skip(1).take(missing) {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Refuses to make a new, empty store where the files of one lie.
fn refuse_without_metastore(path: &Path) -> Result<()> {
    if path.join("metastore.db").try_exists()? {
        return Ok(());
    }
    let kinds = [FileKind::Part, FileKind::DeletionVector, FileKind::Manifest].map(FileKind::folder);
    for kind in kinds.into_iter().chain(["segments"]) {
        let folder = path.join(kind);
        if folder.try_exists()? && std::fs::read_dir(&folder)?.next().transpose()?.is_some() {
            return Err(Error::corrupt(format!(
                "'{}' has files of a store in '{}/', but its metastore.db is gone.",
                path.display(),
                kind
            ))
            .with_hint(
                "Put metastore.db back, or restore the store from a backup; for a new store, name an empty folder.",
            ));
        }
    }
    Ok(())
}

/// The lock of a store, until it is dropped.
#[must_use = "the store is another's where it is dropped"]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // To close the file is not enough: a process that was forked meanwhile has it open, too.
        let _ = self.0.unlock();
    }
}

/// Locks the store in a folder for this process. `Unavailable` if another has it.
pub fn lock(path: &Path) -> Result<Lock> {
    let name: PathBuf = path.join("LOCK");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&name)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Lock(file))
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).ok();
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            Err(Error::new(Kind::Unavailable, format!("The store '{}' is in use by {holder}.", path.display()))
                .with_hint("Connect to that server, or stop it first: one process owns a store."))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_though_another_process_has_its_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        // As a process has it that was forked while the store was open.
        let inherited = first.0.try_clone().unwrap();
        assert_eq!(lock(folder.path()).map(drop).unwrap_err().kind(), Kind::Unavailable);
        drop(first);
        drop(lock(folder.path()).unwrap());
        drop(inherited);
    }
}

//! The engine: a database, the query runtime over it, and what sessions share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::ScalarValue;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::prelude::SessionConfig;
use parking_lot::RwLock;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use strandline_core::db::Database;
use strandline_core::grants::Grants;
use strandline_core::ids::{TableId, UserId};
use strandline_core::room::Held;
use strandline_core::schema::User;
use strandline_core::txn::Author;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::{Credential, Login};
use crate::error::{Error, Result};
use crate::functions::settings::StatementSettings;
use crate::kept::{Compared, Kept, Written};
use crate::parse::{self, Parsed};
pub use crate::planning::Taken;
use crate::processes::Processes;
use crate::session::Session;
use crate::sleep;
use crate::threads::QueryThreads;
use crate::users;
use crate::variables::{SERVER_VERSION, Setting, Variables};
use crate::{expressions, scan};

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// What all running queries together may hold, in bytes; beyond it they spill, or fail where they cannot.
    pub query_memory_bytes: usize,
    /// What one statement may take to be understood, in bytes: a longer one is refused. It may be more than queries have:
    /// long statements wait for one another.
    pub statement_memory_bytes: usize,
    /// What they may hold of the files that they read, in bytes: beyond it they wait for one another.
    pub read_memory_bytes: u64,
    /// Where queries spill to; `None` is the system's folder for temporary files.
    pub spill_folder: Option<PathBuf>,
    /// How many threads all queries compute on, and how many parts one query is cut into.
    pub threads: usize,
    /// Says what a thread holds, so that what planning takes is counted, too; `None` where the allocator does not say it.
    pub taken: Option<Taken>,
    /// The folder whose files LOAD DATA INFILE (without LOCAL) may read; `None` is none.
    pub load_folder: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Options {
            query_memory_bytes: 1 << 30,
            statement_memory_bytes: 2 << 30,
            read_memory_bytes: 256 << 20,
            spill_folder: None,
            threads,
            taken: None,
            load_folder: None,
        }
    }
}

/// MySQL's language over one database. Sessions share it.
pub struct Engine {
    pub(crate) db: Database,
    template: SessionState,
    /// Parsed statements by their text and the options they were read with.
    parsed: Cache<(String, parse::Options), Arc<Parsed>, ParsedWeight>,
    /// Long statements have their turn here, in KiB.
    room: Arc<Semaphore>,
    query_memory_bytes: usize,
    statement_memory_bytes: usize,
    pub(crate) globals: RwLock<Variables>,
    pub(crate) processes: Arc<Processes>,
    load_folder: Option<PathBuf>,
    /// Where statements that lost a commit stand in line, by table.
    turns: [Arc<tokio::sync::Mutex<()>>; TURNS],
}

/// How many lines there are; tables share them by number.
const TURNS: usize = 64;

/// Longer statements are not kept: nobody sends the same megabyte twice.
const PARSED_BYTES_MAX: usize = 4 * 1024;
/// Parsed statements that are kept take at most this, and at most a 32nd of the memory of queries.
const PARSED_CACHE_BYTES: u64 = 64 << 20;
/// A session may keep this part of the memory of queries between its statements.
const KEPT_PART: usize = 8;

/// Statements that weigh more wait for one another, where there is not room for all.
const LONG_BYTES: usize = 4 << 20;
/// For how long they wait.
const ROOM_WAIT: Duration = Duration::from_secs(50);

/// Functions may always answer as much for the rows of a batch.
const ANSWER_BYTES_LEAST: usize = 4 << 20;

/// What a parsed statement takes: see [`parse::weight`].
#[derive(Clone)]
struct ParsedWeight;

impl Weighter<(String, parse::Options), Arc<Parsed>> for ParsedWeight {
    fn weight(&self, (text, options): &(String, parse::Options), _: &Arc<Parsed>) -> u64 {
        1024 + parse::weight(text, *options) as u64
    }
}

impl Engine {
    /// Makes an engine over an open database. A new database has no user: see [`Engine::set_password`].
    ///
    /// # Errors
    /// 1105 when the runtime cannot be set up (the folder to spill to cannot be used).
    pub async fn open(db: Database, options: Options) -> Result<Arc<Engine>> {
        let template = template(&db, &options).map_err(|error| Error::internal(error.to_string()))?;
        let query_memory_bytes = options.query_memory_bytes;
        let engine = Engine {
            db,
            template,
            // Few expected items make few shards.
            parsed: Cache::with_weighter(512, PARSED_CACHE_BYTES.min(query_memory_bytes as u64 / 32), ParsedWeight),
            room: Arc::new(Semaphore::new(query_memory_bytes >> 10)),
            query_memory_bytes,
            statement_memory_bytes: options.statement_memory_bytes,
            globals: RwLock::new(Variables::default()),
            processes: Processes::new(),
            load_folder: options.load_folder,
            turns: std::array::from_fn(|_| Arc::default()),
        };
        Ok(Arc::new(engine))
    }

    /// Returns what checks the password of whoever logs in, or `None` for somebody unknown.
    pub fn credential(&self, login: &Login) -> Option<Credential> {
        let moment = self.db.now();
        let (_, user) = users::find_known(moment.catalog(), &login.user, &login.host).ok()?;
        Some(users::credential(&user))
    }

    /// Opens a session for somebody whose password was checked.
    ///
    /// # Errors
    /// 1045 for an unknown user, 1049 for an unknown database.
    pub fn session(self: &Arc<Self>, login: Login) -> Result<Session> {
        Session::open(self.clone(), login)
    }

    pub fn server_version(&self) -> &str {
        SERVER_VERSION
    }

    /// Says what `@@version_comment`, `@@hostname`, `@@port` and the like show: facts that only the server knows.
    ///
    /// # Errors
    /// 1193 for an unknown name.
    pub fn set_fact(&self, name: &str, value: &str) -> Result<()> {
        self.globals.write().set_fact(name, value)
    }

    /// Sets a variable for all sessions to come, as SET GLOBAL does.
    ///
    /// # Errors
    /// 1193, 1238, 1231 as SET.
    pub fn set_global(&self, name: &str, value: &str) -> Result<()> {
        self.globals.write().set_system(name, &Setting::Value(ScalarValue::Utf8(Some(value.to_owned()))))
    }

    /// Sets a user's password, and makes the user if there is none: for a front end's first start and its own verbs,
    /// which need no login. `user` is as in a login; who is made here may come from anywhere and do everything.
    ///
    /// # Errors
    /// 1045 where there is no such account.
    pub async fn set_password(&self, user: &str, password: &str) -> Result<()> {
        let login = users::parse_login(user);
        let moment = self.db.now();
        let account = moment.catalog().account(&login.account)?.id;
        let mut changed = match moment.catalog().user(account, &login.user) {
            Some(user) => (**user).clone(),
            None => User {
                id: UserId::default(),
                account,
                name: login.user,
                verifiers: BTreeMap::new(),
                grants: Grants::everything(),
            },
        };
        changed.verifiers.retain(|name, _| !users::verifiers("any").contains_key(name));
        changed.verifiers.extend(users::verifiers(password));
        let mut txn = self.db.begin(Author { account, name: "system".to_owned() });
        txn.set_what(format!("SET PASSWORD FOR '{}'", changed.name));
        txn.put_user(changed)?;
        txn.commit().await?;
        Ok(())
    }

    /// Returns who could log in without a password, as `account:user`: nobody should, where others can reach the server.
    pub fn users_without_password(&self) -> Vec<String> {
        let moment = self.db.now();
        let catalog = moment.catalog();
        let open = catalog.users().into_iter().filter(|user| users::is_open(user));
        open.map(|user| {
            let account = catalog.account_by_id(user.account).map_or("?", |account| account.name.as_str());
            format!("{account}:{}", user.name)
        })
        .collect()
    }

    /// Returns the database below.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// Returns the connections: front ends register theirs here.
    pub fn processes(&self) -> &Arc<Processes> {
        &self.processes
    }

    /// Returns the line in which statements stand that lost a commit to this table.
    pub(crate) fn turn_of(&self, table: TableId) -> Arc<tokio::sync::Mutex<()>> {
        self.turns[(table.0 % TURNS as u64) as usize].clone()
    }

    pub(crate) fn load_folder(&self) -> Option<&std::path::Path> {
        self.load_folder.as_deref()
    }

    /// Counts what a session keeps.
    pub(crate) fn kept(&self) -> Kept {
        let pool = &self.template.runtime_env().memory_pool;
        Kept::new(MemoryConsumer::new("what sessions keep").register(pool), self.query_memory_bytes / KEPT_PART)
    }

    /// Counts the rows that a transaction writes.
    pub(crate) fn written(&self) -> Written {
        Written::new(self.template.runtime_env().memory_pool.clone())
    }

    /// Counts the rows that are compared.
    pub(crate) fn compared(&self) -> Held {
        Held::in_room(Compared::new(&self.template.runtime_env().memory_pool))
    }

    /// Waits until there is room to parse and plan a statement that is long, and keeps it until it is dropped. `None` for one
    /// that is not.
    ///
    /// # Errors
    /// 1038 where there is never enough for it, or was not for some time.
    pub(crate) async fn room_for(&self, sql: &str, options: parse::Options) -> Result<Option<OwnedSemaphorePermit>> {
        if sql.len() * 400 <= LONG_BYTES {
            return Ok(None);
        }
        let weight = parse::weight(sql, options);
        if weight <= LONG_BYTES {
            return Ok(None);
        }
        let out = |what: String| Error::new(1038, "HY001", format!("Out of memory for this statement: {what}"));
        let most = self.statement_memory_bytes;
        if weight > most {
            return Err(out(format!(
                "a text as long takes about {} MiB to be understood, and there are {} MiB. Send it in pieces (fewer rows per \
                 INSERT, a shorter list), or start the server with a greater --memory-limit.",
                weight >> 20,
                most >> 20
            )));
        }
        let units = u32::try_from(weight.min(self.query_memory_bytes) >> 10).unwrap_or(u32::MAX);
        match tokio::time::timeout(ROOM_WAIT, self.room.clone().acquire_many_owned(units)).await {
            Ok(room) => Ok(Some(room.expect("it is never closed"))),
            Err(_) => Err(out(format!(
                "other long statements have taken what there is for {} seconds. Try again later, or start the server with a \
                 greater --memory-limit.",
                ROOM_WAIT.as_secs()
            ))),
        }
    }

    /// Returns a statement as parsed, from the cache if it was seen before.
    pub(crate) fn parse(&self, sql: &str, options: parse::Options) -> Result<Arc<Parsed>> {
        if sql.len() > PARSED_BYTES_MAX {
            return Ok(Arc::new(parse::parse_one(sql, options)?));
        }
        let key = (sql.to_owned(), options);
        if let Some(parsed) = self.parsed.get(&key) {
            return Ok(parsed);
        }
        let parsed = Arc::new(parse::parse_one(sql, options)?);
        self.parsed.insert(key, parsed.clone());
        Ok(parsed)
    }

    /// Returns the state in which one statement is planned and run.
    pub(crate) fn planner_state(&self, settings: StatementSettings) -> SessionState {
        // One batch and its copies stand beside what the pool counts.
        let answer_bytes_max = (self.query_memory_bytes / 4).max(ANSWER_BYTES_LEAST);
        let memory = Some(self.template.runtime_env().memory_pool.clone());
        let settings = StatementSettings { answer_bytes_max, memory, ..settings };
        let mut state = self.template.clone();
        state.config_mut().options_mut().extensions.insert(settings);
        // From here calls take the settings, when they are made physical.
        state.mark_start_execution();
        state
    }
}

/// Builds the state that every statement's is a copy of.
fn template(db: &Database, options: &Options) -> datafusion::error::Result<SessionState> {
    let mut config = SessionConfig::new().with_target_partitions(options.threads.max(1));
    let settings = config.options_mut();
    settings.sql_parser.default_null_ordering = "nulls_min".to_owned();
    settings.sql_parser.enable_ident_normalization = true;
    settings.sql_parser.support_varchar_with_length = true;
    settings.execution.parquet.schema_force_view_types = false;
    settings.execution.parquet.skip_metadata = true;
    settings.catalog.create_default_catalog_and_schema = false;
    settings.catalog.information_schema = false;
    expressions::configure(&mut config);
    let config = config.with_extension(Arc::new(QueryThreads::start(options.threads.max(1), options.taken)?));

    let disk = match &options.spill_folder {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let consumers = std::num::NonZeroUsize::new(5).expect("five is not zero");
    let pool = TrackConsumersPool::new(FairSpillPool::new(options.query_memory_bytes), consumers);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
        .build_arc()?;
    let url = ObjectStoreUrl::parse(scan::STORE_URL)?;
    runtime.register_object_store(url.as_ref(), db.cold().files().verified_store(options.read_memory_bytes));

    let mut builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
    builder = expressions::register(builder);
    builder.scalar_functions().get_or_insert_default().extend(sleep::functions());
    Ok(builder.build())
}

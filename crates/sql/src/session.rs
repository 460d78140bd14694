//! A session: one client's state, and the way of each statement to what carries it out.
//!
//! ```text
//! text ─ point ─► rows                              a look-up by key: nothing is planned
//!      └ parse ─ dispatch ─┬ query ─► plan ─► run   reads a moment, or the open transaction
//!                          ├ dml   ─► Txn           in the open transaction, or in one of its own that is tried again
//!                          ├ ddl   ─► Txn           after the open transaction was committed
//!                          └ SET, SHOW, BEGIN …
//! ```
//! A statement that fails has changed nothing: its writes are taken back to where it began.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use sqlparser::ast::Query;
use strandline_core::db::SYS;
use strandline_core::error::{Kind, What};
use strandline_core::ids::{AccountId, Time, UserId};
use strandline_core::moment::Moment;
use strandline_core::txn::{Author, Txn};
use strandline_core::when::{self, Limit};
use tokio::sync::OwnedSemaphorePermit;

pub use crate::interrupt::Interrupt;
use crate::interrupt::{Ends, interrupted, interruptible, is_end, until};

use crate::access::{self, ActiveRoles, Rights};
use crate::api::{ColumnMeta, Done, Login, Outcome, Prepared, Rows, Value};
use crate::dml::{self, Effect};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::functions::settings::{Division, Said, StatementSettings, Zone};
use crate::kept::{Kept, Thing};
use crate::parse::{self, Parsed, Statement, When};
use crate::plan::{self, Planned, Reading, Source};
use crate::run;
use crate::session::transaction::Open;
use crate::users;
use crate::variables::Variables;
use crate::warning::{Level, Warning};
use crate::{explain, history, locks, names, point, set, statements};

mod transaction;
mod write;

pub(crate) use write::Work;

/// One client's session.
pub struct Session {
    pub(crate) state: State,
    open: Option<Open>,
    /// `START TRANSACTION`s still to come read like this: SET TRANSACTION for the next one.
    next_read_only: Option<bool>,
    /// PREPARE's statements by name.
    pub(crate) prepared: HashMap<String, Arc<Parsed>>,
    /// What of it all takes memory while no statement runs.
    pub(crate) kept: Kept,
    pub(crate) points: point::Points,
    /// Whether the last statement listed the warnings of the one before.
    pub(crate) lists_warnings: bool,
    /// The warnings of a load that is under way, once it has ended.
    loading: Option<tokio::sync::oneshot::Receiver<Vec<Warning>>>,
}

/// What a session is, without its transaction.
#[derive(Clone)]
pub struct State {
    pub engine: Arc<Engine>,
    pub login: Login,
    pub account: AccountId,
    pub account_name: String,
    /// The name alone.
    pub user: String,
    pub user_id: UserId,
    /// `user@host`, as commits record it.
    pub author: String,
    /// What the user may do, as of the statement's beginning.
    pub rights: Arc<Rights>,
    roles: ActiveRoles,
    pub database: Option<String>,
    pub variables: Variables,
    pub warnings: Vec<Warning>,
    /// `SET as_of`: what the whole session reads.
    pub as_of: Option<AsOf>,
    pub last_insert_id: u64,
    pub row_count: i64,
    pub found_rows: Arc<AtomicU64>,
    /// What divisions by zero of the running statement do.
    pub division: Division,
    /// What its functions said that stands in no warning yet.
    said: Arc<Said>,
    pub interrupt: Interrupt,
    /// The time of the running statement.
    pub now: Time,
}

/// A moment of the past that a session reads.
#[derive(Clone)]
pub struct AsOf {
    pub moment: Moment,
    pub limit: Option<Limit>,
    /// As the client set it.
    pub text: String,
}

impl Session {
    /// Opens a session for somebody whose password was checked.
    pub(crate) fn open(engine: Arc<Engine>, login: Login) -> Result<Session> {
        let moment = engine.db.now();
        let (account, user) = users::find_login(moment.catalog(), &login.user, &login.host)?;
        let account_name =
            moment.catalog().account_by_id(account).map_or_else(String::new, |account| account.name.clone());
        let host = if login.host.is_empty() { "localhost" } else { login.host.as_str() };
        let variables = engine.globals.read().clone();
        let roles = ActiveRoles::default();
        let who = format!("'{}'@'{host}'", user.name);
        let rights = Rights::of(moment.catalog().user_set(), account, user.id, &roles, who);
        let state = State {
            account,
            account_name,
            user: user.name.clone(),
            user_id: user.id,
            author: format!("{}@{host}", user.name),
            rights: Arc::new(rights),
            roles,
            database: None,
            variables,
            warnings: Vec::new(),
            as_of: None,
            last_insert_id: 0,
            row_count: -1,
            found_rows: Arc::new(AtomicU64::new(0)),
            division: Division::default(),
            said: Arc::default(),
            interrupt: Interrupt::default(),
            now: engine.db.env().now(),
            engine,
            login,
        };
        let kept = state.engine.kept();
        let mut session = Session {
            state,
            open: None,
            next_read_only: None,
            prepared: HashMap::new(),
            kept,
            points: point::Points::default(),
            lists_warnings: false,
            loading: None,
        };
        if let Some(role) = users::parse_login(&session.state.login.user).role.filter(|role| !users::is_built_in(role))
        {
            let role = access::roles::own_role(&session.state, &role)?;
            session.state.set_roles(ActiveRoles::Only(vec![role]));
        }
        if let Some(database) = session.state.login.database.clone().filter(|name| !name.is_empty()) {
            session.enter(&database)?;
        }
        Ok(session)
    }

    /// Returns a statement as text. Drivers and `mysqldump` put raw bytes into string literals.
    ///
    /// # Errors
    /// 1300 for bytes that are not UTF-8 outside of quoted texts and comments.
    pub fn text<'a>(&self, statement: &'a [u8]) -> Result<Cow<'a, str>> {
        parse::text_of_bytes(statement, self.state.parse_options())
    }

    /// Splits a text into its statements.
    ///
    /// # Errors
    /// 1064 where a text or comment does not end.
    pub fn split(&self, sql: &str) -> Result<Vec<String>> {
        parse::split(sql, self.state.parse_options())
    }

    /// Runs one statement.
    pub async fn execute(&mut self, sql: &str) -> Result<Outcome> {
        self.begin_statement().await?;
        if let Some(outcome) = point::execute(self, sql, &[]).await {
            return outcome;
        }
        let outcome = self.execute_text(sql, &[]).await;
        self.finish(outcome)
    }

    /// Prepares a statement: parses it, and says what its result will look like.
    pub async fn prepare(&mut self, sql: &str) -> Result<Prepared> {
        self.begin_statement().await?;
        match self.prepare_parsed(sql).await {
            Ok(prepared) => Ok(prepared),
            Err(error) => {
                self.state.warnings.clear();
                Err(self.failed(error))
            }
        }
    }

    async fn prepare_parsed(&mut self, sql: &str) -> Result<Prepared> {
        let _room = self.room_for(sql).await?;
        let parsed = self.state.engine.parse(sql, self.state.parse_options())?;
        let columns = match &parsed.statement {
            Statement::Query(_) => {
                let nulls = vec![Value::Null; parsed.parameters];
                match self.describe(&parsed, &nulls).await {
                    Ok(columns) => columns,
                    Err(error) if is_end(&error) => return Err(error),
                    // It may be fine once it has its parameters; else executing it says what is wrong.
                    Err(_) if parsed.parameters > 0 => Vec::new(),
                    Err(error) => return Err(error),
                }
            }
            _ => Vec::new(),
        };
        Ok(Prepared { sql: sql.to_owned(), parameters: parsed.parameters, columns })
    }

    /// Returns the columns of a query's result. Reads no rows, nor where they lie.
    pub(crate) async fn describe(&mut self, parsed: &Parsed, parameters: &[Value]) -> Result<Vec<ColumnMeta>> {
        let Statement::Query(query) = &parsed.statement else {
            return Err(Error::internal("BUG: only queries are planned"));
        };
        let ends = self.ends(parsed);
        let reader = self.reader();
        let reading = self.reading(&reader);
        let options = plan::Options { names_only: true, ..plan::Options::default() };
        let planned = Box::pin(plan::query(reading, query, &parsed.text, parameters, &options));
        let planned = until(&ends, planned).await?;
        Ok(run::column_metas(planned.logical.schema(), &planned.shown))
    }

    /// Runs a prepared statement.
    ///
    /// # Errors
    /// 1210 for the wrong number of parameters.
    pub async fn execute_prepared(&mut self, prepared: &Prepared, parameters: Vec<Value>) -> Result<Outcome> {
        if parameters.len() != prepared.parameters {
            return Err(Error::wrong_arguments("Incorrect arguments to mysqld_stmt_execute"));
        }
        self.begin_statement().await?;
        if let Some(outcome) = point::execute(self, &prepared.sql, &parameters).await {
            return outcome;
        }
        let outcome = self.execute_text(&prepared.sql, &parameters).await;
        self.finish(outcome)
    }

    async fn execute_text(&mut self, sql: &str, parameters: &[Value]) -> Result<Outcome> {
        let _room = self.room_for(sql).await?;
        let parsed = self.state.engine.parse(sql, self.state.parse_options())?;
        Box::pin(self.dispatch(&parsed, parameters)).await
    }

    /// Waits until a long statement has its turn.
    async fn room_for(&self, sql: &str) -> Result<Option<OwnedSemaphorePermit>> {
        let (engine, options, interrupt) = (self.state.engine.clone(), self.state.parse_options(), self.interrupt());
        interruptible(&interrupt, engine.room_for(sql, options)).await
    }

    /// Counts a prepared statement of the binary protocol as kept, or no longer.
    ///
    /// # Errors
    /// 1038 where the session keeps too much.
    pub fn keep(&mut self, handle: u32, bytes: usize) -> Result<()> {
        self.kept.put(Thing::Handle(handle), bytes)
    }

    /// See [`Session::keep`].
    pub fn let_go(&mut self, handle: u32) {
        self.kept.forget(&Thing::Handle(handle));
    }

    /// Sets a user variable.
    ///
    /// # Errors
    /// 1038 where the session keeps too much.
    pub(crate) fn set_user(&mut self, name: &str, value: ScalarValue) -> Result<()> {
        self.kept.put(Thing::Variable(name.to_lowercase()), value.size() + 2 * name.len())?;
        self.state.variables.set_user(name, value);
        Ok(())
    }

    /// Makes a database the current one.
    ///
    /// # Errors
    /// 1049 where there is none of this name.
    pub async fn use_database(&mut self, name: &str) -> Result<()> {
        self.begin_statement().await?;
        self.enter(name)
    }

    /// Brings the session back to where it was after the login: COM_RESET_CONNECTION.
    pub fn reset(&mut self) {
        self.open = None;
        self.next_read_only = None;
        self.prepared.clear();
        self.kept.clear();
        let state = &mut self.state;
        state.variables = state.engine.globals.read().clone();
        state.warnings.clear();
        state.as_of = None;
        state.last_insert_id = 0;
        state.row_count = -1;
        state.interrupt.clear();
        state.set_roles(ActiveRoles::default());
    }

    pub fn autocommit(&self) -> bool {
        self.state.variables.autocommit()
    }

    /// Returns how many warnings the last statement left, once its rows have been read.
    pub fn warning_count(&mut self) -> u16 {
        self.state.hear();
        if self.lists_warnings { 0 } else { u16::try_from(self.state.warnings.len()).unwrap_or(u16::MAX) }
    }

    /// Returns the current database.
    pub fn database(&self) -> Option<&str> {
        self.state.database.as_deref()
    }

    /// Returns the columns of a table or view of the current database: COM_FIELD_LIST.
    pub async fn table_columns(&mut self, table: &str) -> Result<Vec<ColumnMeta>> {
        self.begin_statement().await?;
        let sql = format!("SELECT * FROM `{}`", table.replace('`', "``"));
        let parsed = self.state.engine.parse(&sql, self.state.parse_options())?;
        self.describe(&parsed, &[]).await
    }

    /// Returns the way to end this session's running statement from another task.
    pub fn interrupt(&self) -> Interrupt {
        self.state.interrupt.clone()
    }

    /// Takes what a new statement needs anew, and waits for a load that still has the transaction.
    async fn begin_statement(&mut self) -> Result<()> {
        self.state.interrupt.begin();
        self.state.now = self.state.engine.db.env().now();
        self.state.refresh_rights();
        // Of a SELECT, whose rows went out meanwhile.
        self.state.hear();
        self.state.division = match self.state.variables.heeds_division() {
            true => Division::Warned,
            false => Division::Silent,
        };
        self.take_back().await?;
        // Killed after it was announced: not every statement has a place where it would notice.
        if self.state.interrupt.is_killed() { Err(interrupted()) } else { Ok(()) }
    }

    /// Keeps what SHOW WARNINGS and ROW_COUNT() say of the statement that ended.
    pub(crate) fn finish(&mut self, mut outcome: Result<Outcome>) -> Result<Outcome> {
        if !self.state.variables.sql_notes() {
            self.state.warnings.retain(|warning| warning.level != Level::Note);
        }
        match &mut outcome {
            Ok(Outcome::Done(done)) => {
                done.warnings = u16::try_from(self.state.warnings.len()).unwrap_or(u16::MAX);
                self.state.row_count = i64::try_from(done.affected_rows).unwrap_or(i64::MAX);
            }
            Ok(_) => self.state.row_count = -1,
            Err(_) => {}
        }
        outcome.map_err(|error| self.failed(error))
    }

    /// Keeps what SHOW ERRORS and ROW_COUNT() say of a statement that failed.
    fn failed(&mut self, mut error: Error) -> Error {
        self.state.row_count = -1;
        if error.kind == Some(Kind::NotFound(What::Snapshot))
            && self.pending_snapshots().iter().any(|pin| error.message.contains(&format!("'{}'", pin.name)))
        {
            error.message.push_str(" The open transaction takes it with its COMMIT.");
        }
        let message = error.message.clone();
        self.state.warnings.push(Warning { level: Level::Error, code: error.code, message });
        error
    }

    pub(crate) async fn dispatch(&mut self, parsed: &Parsed, parameters: &[Value]) -> Result<Outcome> {
        self.lists_warnings =
            matches!(&parsed.statement, Statement::Show(parse::Show::Warnings { .. } | parse::Show::Errors { .. }));
        if !self.lists_warnings {
            self.state.warnings.clear();
        }
        let heeds_locks = matches!(
            &parsed.statement,
            Statement::Query(_) | Statement::SelectInto { .. } | Statement::Insert(_) | Statement::Explain { .. }
        );
        if parsed.locking && !heeds_locks {
            return Err(locks::in_subquery());
        }
        if parameters.len() != parsed.parameters {
            return Err(Error::syntax(
                "You have an error in your SQL syntax: '?' stands in a statement that was not prepared",
            ));
        }
        access::needs::check(&self.state, &parsed.statement)?;
        match &parsed.statement {
            Statement::Query(query) => {
                let ends = self.ends(parsed);
                Box::pin(until(&ends, self.read(parsed, query, parameters, ends.clone()))).await.map(Outcome::Rows)
            }
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {
                Box::pin(self.write(parsed, parameters)).await.map(Outcome::Done)
            }
            Statement::Load(load) => Box::pin(dml::load::execute(self, load)).await,
            Statement::Explain { statement, analyze, format } => {
                let ends = self.ends(parsed);
                let text = &parsed.text;
                let work = explain::execute(self, statement, text, parameters, *analyze, format.as_deref());
                until(&ends, Box::pin(work)).await
            }
            Statement::History(statement) => Box::pin(history::execute(self, statement)).await,
            Statement::Show(_) | Statement::Describe { .. } => {
                let ends = self.ends(parsed);
                until(&ends, Box::pin(statements::execute(self, parsed, parameters))).await
            }
            Statement::Set(items) => Box::pin(set::execute(self, items, parameters)).await.map(Outcome::Done),
            Statement::Use(name) => self.enter(name).map(|()| done(0)),
            Statement::Begin { consistent_snapshot, read_only, at } => {
                self.begin(*read_only, at.as_ref()).await?;
                if *consistent_snapshot {
                    self.open_transaction();
                }
                Ok(done(0))
            }
            Statement::Commit { chain, .. } => self.commit_and_chain(*chain).await.map(|()| done(0)),
            Statement::Rollback { to: None, chain, .. } => {
                self.roll_back(*chain);
                Ok(done(0))
            }
            Statement::Rollback { to: Some(name), .. } => self.rollback_to(name).map(|()| done(0)),
            Statement::Savepoint(name) => {
                self.set_savepoint(name);
                Ok(done(0))
            }
            Statement::ReleaseSavepoint(name) => self.release_savepoint(name).map(|()| done(0)),
            Statement::Unsupported(what) => Err(Error::unsupported(what)),
            Statement::Noop { .. } => Ok(done(0)),
            _ => Box::pin(statements::execute(self, parsed, parameters)).await,
        }
    }

    /// Starts a query for the client.
    async fn read(&mut self, parsed: &Parsed, query: &Query, parameters: &[Value], ends: Ends) -> Result<Rows> {
        self.lock_rows(parsed, query, parameters).await?;
        let total = match statements::without_limit(query) {
            Some(all) => Some(run::count(self.plan_query(&all, &parsed.text, parameters).await?).await?),
            None => None,
        };
        let planned = self.plan_query(query, &parsed.text, parameters).await?;
        self.autocommitted();
        run::rows(planned, ends, self.state.found_rows.clone(), total).await
    }

    /// Heeds `FOR UPDATE` and `FOR SHARE` of a query. Outside a transaction there is nothing to hold on to.
    pub(crate) async fn lock_rows(&mut self, parsed: &Parsed, query: &Query, parameters: &[Value]) -> Result<()> {
        if !parsed.locking {
            return Ok(());
        }
        locks::check(query)?;
        match self.reader() {
            Reader::Moment(..) => Ok(()),
            Reader::Transaction => {
                let (state, txn) = self.state_and_txn()?;
                locks::take(state, txn, query, parameters).await
            }
        }
    }

    /// Returns how long the client may say nothing.
    pub fn idle_max(&self) -> Duration {
        Duration::from_secs(self.state.variables.wait_timeout())
    }

    /// Plans a query as this session reads: the past it was set to, the open transaction, or the newest moment.
    pub(crate) async fn plan_query(&mut self, query: &Query, text: &str, parameters: &[Value]) -> Result<Planned> {
        let limited = self.state.variables.select_limit().and_then(|limit| statements::with_limit(query, limit));
        let query = limited.as_ref().unwrap_or(query);
        let reader = self.reader();
        let reading = self.reading(&reader);
        Box::pin(plan::query(reading, query, text, parameters, &plan::Options::default())).await
    }

    /// Returns what a reading statement reads.
    pub(crate) fn reader(&mut self) -> Reader {
        if let Some(as_of) = self.past() {
            return Reader::Moment(as_of.moment.clone(), as_of.limit.clone());
        }
        if !self.autocommits() {
            self.open_transaction();
            return Reader::Transaction;
        }
        Reader::Moment(self.state.engine.db.now(), None)
    }

    /// Tells whether everything is read through a snapshot, which may speak of less than there is.
    pub(crate) fn reads_snapshot(&self) -> bool {
        self.past().is_some_and(|as_of| as_of.limit.is_some())
    }

    /// Returns what a statement of this session reads.
    pub(crate) fn reading<'a>(&'a self, reader: &'a Reader) -> Reading<'a> {
        Reading { state: &self.state, source: self.source(reader) }
    }

    /// Tells whether this session reads a moment that it was set to.
    pub(crate) fn reads_the_past(&self) -> bool {
        self.past().is_some()
    }

    /// Calls `read` with what this session reads.
    pub(crate) fn source<'a>(&'a self, reader: &'a Reader) -> Source<'a> {
        match reader {
            Reader::Moment(moment, limit) => Source::Moment(moment, limit.as_ref()),
            Reader::Transaction => {
                Source::Txn(self.begun().expect("a reader of the transaction is made after it was begun"))
            }
        }
    }

    /// As `reading`, at a moment that the statement names, if it names one.
    pub(crate) fn reading_at<'a>(&'a self, reader: &'a Reader, at: Option<&'a (Moment, Option<Limit>)>) -> Reading<'a> {
        match at {
            Some((moment, pin)) => Reading { state: &self.state, source: Source::Moment(moment, pin.as_ref()) },
            None => self.reading(reader),
        }
    }

    fn enter(&mut self, name: &str) -> Result<()> {
        if name.is_empty() {
            return Err(Error::new(1046, "3D000", "No database selected"));
        }
        let reader = self.reader();
        let source = self.source(&reader);
        self.state.rights.require_any_in_database(name)?;
        let found = if crate::ddl::is_virtual(name) {
            name.to_lowercase()
        } else {
            plan::find_database(source, self.state.account, name)?.name.clone()
        };
        self.state.database = Some(found);
        Ok(())
    }
}

/// What a reading statement reads, held while it is planned.
#[expect(clippy::large_enum_variant, reason = "there is one, for a moment")]
pub(crate) enum Reader {
    Moment(Moment, Option<Limit>),
    Transaction,
}

impl State {
    /// Begins a transaction in this session's name.
    pub fn begin(&self) -> Txn {
        let mut txn = self.engine.db.begin(Author { account: self.account, name: self.author.clone() });
        txn.set_foreign_key_checks(self.variables.foreign_key_checks());
        txn.set_room(self.engine.written());
        txn
    }

    /// Tells whether a login, as a front end registered it, is of the session's user.
    pub fn is_own_login(&self, login: &str) -> bool {
        let name = users::parse_login(login);
        name.user == self.user && name.account.eq_ignore_ascii_case(&self.account_name)
    }

    /// Tells whether a login is of an account that the session's may look into.
    pub fn reaches_login(&self, login: &str) -> bool {
        self.account == SYS || users::parse_login(login).account.eq_ignore_ascii_case(&self.account_name)
    }

    /// Reads the user's rights anew if any user's have changed.
    pub fn refresh_rights(&mut self) {
        let present = self.engine.db.catalog();
        if !self.rights.are_of(present.user_set()) {
            self.rights = self.rights_in(&present);
        }
    }

    /// Makes other roles active.
    pub fn set_roles(&mut self, roles: ActiveRoles) {
        self.roles = roles;
        self.rights = self.rights_in(&self.engine.db.catalog());
    }

    fn rights_in(&self, catalog: &strandline_core::catalog::Catalog) -> Arc<Rights> {
        let (user, host) = self.author.rsplit_once('@').unwrap_or((&self.author, "%"));
        let who = format!("'{user}'@'{host}'");
        Arc::new(Rights::of(catalog.user_set(), self.account, self.user_id, &self.roles, who))
    }

    /// Returns what CURRENT_USER() says: the name and host of the user's record.
    pub fn current_user(&self) -> String {
        let host = self.rights.user().map_or("%", |user| users::host_of(user));
        format!("{}@{host}", self.user)
    }

    /// Returns what of `sql_mode` changes how text is read.
    pub fn parse_options(&self) -> parse::Options {
        let ansi = self.variables.has_mode("ANSI");
        parse::Options {
            ansi_quotes: ansi || self.variables.has_mode("ANSI_QUOTES"),
            no_backslash_escapes: self.variables.has_mode("NO_BACKSLASH_ESCAPES"),
            pipes_as_concat: ansi || self.variables.has_mode("PIPES_AS_CONCAT"),
        }
    }

    /// Returns the state in which a statement of this session is planned and run.
    pub fn planner_state(&self) -> Result<SessionState> {
        Ok(self.engine.planner_state(StatementSettings {
            now_micros: self.now.0,
            zone: self.zone()?,
            division: self.division.clone(),
            said: self.said.clone(),
            ..StatementSettings::default()
        }))
    }

    /// Makes divisions by zero fail the running statement, if `sql_mode` heeds them.
    pub fn refuse_divisions(&mut self) {
        if self.variables.heeds_division() {
            self.division = Division::Refused;
        }
    }

    /// Takes what functions said into what SHOW WARNINGS lists.
    pub fn hear(&mut self) {
        self.warnings.extend(self.said.take());
    }

    /// Returns the session's time zone as functions know it.
    pub fn zone(&self) -> Result<Zone> {
        Zone::parse(self.variables.time_zone_name())
    }

    /// Turns a moment as a statement words it into the moment itself.
    pub async fn moment_at(&self, when: &When) -> Result<(Moment, Option<Limit>)> {
        let address = self.address(when).await?;
        let resolved = self.engine.db.resolve(&address, self.account)?;
        let moment = self.engine.db.moment(&resolved)?;
        Ok((moment, resolved.limit))
    }

    /// Turns a moment as a statement words it into the core's terms.
    pub async fn address(&self, when: &When) -> Result<when::When> {
        let zone = self.variables.time_zone();
        let time = |text: &str| when::parse_time(text, self.now, zone).map(when::When::Time).map_err(Error::from);
        match when {
            When::Now => Ok(when::When::Now),
            When::Version(version) => Ok(when::When::Version(strandline_core::ids::Version(*version))),
            When::Snapshot(name) => Ok(when::When::Snapshot(name.clone())),
            When::Time(text) => time(text),
            When::Nanos(nanos) => Ok(when::When::Time(Time(nanos.div_euclid(1000)))),
            When::Reference(text) => {
                let snapshot = when::When::Snapshot(text.clone());
                match self.engine.db.resolve(&snapshot, self.account) {
                    Ok(_) => Ok(snapshot),
                    Err(missing) => match text.parse() {
                        Ok(version) => Ok(when::When::Version(strandline_core::ids::Version(version))),
                        Err(_) => time(text).map_err(|_| Error::from(missing)),
                    },
                }
            }
            When::Expr(expr) => {
                let value = self.constant(expr).await?;
                match &value {
                    ScalarValue::TimestampMicrosecond(Some(local), _) => {
                        Ok(when::When::Time(Time(self.zone()?.to_utc(*local))))
                    }
                    value if value.is_null() => Err(Error::wrong_arguments("AS OF NULL names no moment")),
                    value => time(&value.to_string()),
                }
            }
        }
    }

    /// Returns the moment of `SET as_of`; `text` is how the client worded it.
    pub async fn as_of(&self, when: &When, text: &str) -> Result<AsOf> {
        let (moment, limit) = self.moment_at(when).await?;
        Ok(AsOf { moment, limit, text: text.to_owned() })
    }

    /// Evaluates an expression that reads no table.
    pub async fn constant(&self, expr: &sqlparser::ast::Expr) -> Result<ScalarValue> {
        let moment = self.engine.db.now();
        let reading = Reading { state: self, source: Source::Moment(&moment, None) };
        let mut values = Box::pin(crate::eval::constants(reading, std::slice::from_ref(expr), &[])).await?;
        Ok(values.swap_remove(0).0)
    }

    /// Words what a writing statement did as the protocol reports it.
    fn done_of(&mut self, effect: Effect) -> Done {
        if let Some(id) = effect.last_insert_id {
            self.last_insert_id = id;
        }
        let affected = if self.login.found_rows { effect.matched.unwrap_or(effect.affected) } else { effect.affected };
        Done {
            affected_rows: affected,
            last_insert_id: effect.last_insert_id.or(effect.shown_insert_id).unwrap_or(0),
            warnings: u16::try_from(self.warnings.len()).unwrap_or(u16::MAX),
            info: effect.info,
        }
    }
}

impl names::Values for State {
    fn system(&self, name: &str, global: bool) -> Result<ScalarValue> {
        match name.to_ascii_lowercase().as_str() {
            "last_insert_id" | "identity" => Ok(ScalarValue::UInt64(Some(self.last_insert_id))),
            "pseudo_thread_id" => Ok(ScalarValue::UInt64(Some(u64::from(self.login.connection_id)))),
            "warning_count" => Ok(ScalarValue::Int64(Some(self.warnings.len() as i64))),
            "error_count" => {
                let errors = self.warnings.iter().filter(|warning| warning.level == Level::Error);
                Ok(ScalarValue::Int64(Some(errors.count() as i64)))
            }
            "timestamp" => Ok(ScalarValue::Float64(Some(self.now.0 as f64 / 1e6))),
            "as_of" => {
                Ok(ScalarValue::Utf8(Some(self.as_of.as_ref().map_or(String::new(), |as_of| as_of.text.clone()))))
            }
            _ if global => self.engine.globals.read().system(name),
            _ => self.variables.system(name),
        }
    }

    fn user(&self, name: &str) -> Result<ScalarValue> {
        Ok(self.variables.user(name))
    }

    fn function(&self, name: &str) -> Option<ScalarValue> {
        Some(match name {
            "database" | "schema" => ScalarValue::Utf8(self.database.clone()),
            "user" | "session_user" | "system_user" => ScalarValue::Utf8(Some(self.author.clone())),
            "current_user" => ScalarValue::Utf8(Some(self.current_user())),
            "current_role" => ScalarValue::Utf8(Some(access::roles::current(&self.rights))),
            "version" => self.variables.system("version").ok()?,
            "connection_id" => ScalarValue::UInt64(Some(u64::from(self.login.connection_id))),
            "last_insert_id" => ScalarValue::UInt64(Some(self.last_insert_id)),
            "row_count" => ScalarValue::Int64(Some(self.row_count)),
            "found_rows" => ScalarValue::Int64(Some(self.found_rows.load(Ordering::Relaxed) as i64)),
            _ => return None,
        })
    }
}

fn done(affected_rows: u64) -> Outcome {
    Outcome::Done(Done { affected_rows, ..Done::default() })
}

//! The corpus in this process, without a socket: plain, flushed after each statement, or reopened after each.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt;
use strandline_core::db::{Database, Options as DatabaseOptions};
use strandline_sql::api::{Login, Outcome};
use strandline_sql::engine::{Engine, Options};
use strandline_sql::error::Error;
use strandline_workbench::process::Result;
use tokio::sync::Mutex;

use super::value::{self, cells_of_batch};
use super::{Answer, Config, Refusal};

/// A store with an empty database `test`, for one file, and the sessions on it.
pub struct Target {
    config: Config,
    /// Where the store is; `None` in memory.
    folder: Option<tempfile::TempDir>,
    state: Mutex<State>,
}

struct State {
    /// `None` only while the store is closed between two statements.
    engine: Option<Arc<Engine>>,
    sessions: HashMap<u64, Seat>,
    next: u64,
}

/// A session that outlives the engine: what its client set is set again after a reopen.
struct Seat {
    user: String,
    session: Option<strandline_sql::session::Session>,
    settings: Vec<String>,
}

impl Target {
    pub async fn start(config: Config) -> Result<Target> {
        let folder = if config == Config::Memory { None } else { Some(tempfile::tempdir()?) };
        let engine = open(folder.as_ref()).await?;
        engine.session(login("root"))?.execute("CREATE DATABASE test").await?;
        let state = State { engine: Some(engine), sessions: HashMap::new(), next: 0 };
        Ok(Target { config, folder, state: Mutex::new(state) })
    }

    pub async fn connect(self: &Arc<Self>) -> Result<Session, Refusal> {
        let mut state = self.state.lock().await;
        let id = state.next;
        state.next += 1;
        state.sessions.insert(id, Seat::of("root"));
        Ok(Session { target: self.clone(), id })
    }

    async fn log_in(&self, id: u64, user: &str) -> Result<(), Refusal> {
        let mut state = self.state.lock().await;
        let engine = state.engine.clone().ok_or_else(|| gone("the store is closed"))?;
        engine.session(login(user)).map_err(refusal)?;
        state.sessions.insert(id, Seat::of(user));
        Ok(())
    }

    async fn execute(&self, id: u64, sql: &str) -> Result<Answer, Refusal> {
        let mut state = self.state.lock().await;
        let engine = state.engine.clone().ok_or_else(|| gone("the store is closed"))?;
        let seat = state.sessions.get_mut(&id).ok_or_else(|| gone("the session is closed"))?;
        let answer = seat.execute(&engine, sql).await;
        drop(engine);
        // A failed statement must leave no trace either, so it is followed by the same.
        match self.config {
            Config::Flush => {
                let engine = state.engine.as_ref().ok_or_else(|| gone("the store is closed"))?;
                engine.database().flush().await.map_err(|error| refusal(error.into()))?;
            }
            Config::Reopen => self.reopen(&mut state).await?,
            _ => {}
        }
        answer
    }

    /// Closes the store and opens it again, unless a transaction is open: that would be lost.
    async fn reopen(&self, state: &mut State) -> Result<(), Refusal> {
        let busy = |seat: &Seat| seat.session.as_ref().is_some_and(|s| s.in_transaction() || !s.autocommit());
        if state.sessions.values().any(busy) {
            return Ok(());
        }
        state.sessions.values_mut().for_each(|seat| seat.session = None);
        if let Some(engine) = state.engine.take() {
            engine.database().close().await.map_err(|error| refusal(error.into()))?;
        }
        state.engine = Some(open(self.folder.as_ref()).await.map_err(gone)?);
        Ok(())
    }
}

impl Seat {
    fn of(user: &str) -> Seat {
        Seat { user: user.to_owned(), session: None, settings: vec!["USE test".to_owned()] }
    }

    async fn execute(&mut self, engine: &Arc<Engine>, sql: &str) -> Result<Answer, Refusal> {
        if self.session.is_none() {
            let mut session = engine.session(login(&self.user)).map_err(refusal)?;
            for setting in &self.settings {
                // What it set may be gone by now (a dropped database): then it is gone for the session too.
                let _ = session.execute(setting).await;
            }
            self.session = Some(session);
        }
        let session = self.session.as_mut().expect("the session was opened above");
        let answer = answer(session.execute(sql).await.map_err(refusal)?).await?;
        let verb = sql.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if verb == "USE" {
            self.settings.retain(|setting| !setting.to_ascii_uppercase().starts_with("USE "));
        }
        let of_session = verb == "USE" || verb == "SET" && !sql.to_ascii_uppercase().contains("RETENTION");
        if of_session {
            self.settings.push(sql.to_owned());
        }
        Ok(answer)
    }
}

async fn answer(outcome: Outcome) -> Result<Answer, Refusal> {
    match outcome {
        Outcome::Done(done) => Ok(Answer::Done { affected_rows: done.affected_rows }),
        Outcome::Rows(rows) => {
            let types = rows.columns.iter().map(|column| value::column_type(column.kind)).collect();
            let batches: Vec<_> = rows.batches.try_collect().await.map_err(refusal)?;
            let rows = batches.iter().flat_map(|batch| cells_of_batch(&rows.columns, batch)).collect();
            Ok(Answer::Rows { types, rows })
        }
        Outcome::LocalInfile(_) => Err(gone("files of the corpus load nothing from the client's side")),
    }
}

async fn open(folder: Option<&tempfile::TempDir>) -> Result<Arc<Engine>> {
    let options = DatabaseOptions::default();
    let database = match folder {
        Some(folder) => Database::open(folder.path(), options).await?,
        None => Database::in_memory(options).await?,
    };
    let options = Options { query_memory_bytes: 256 << 20, threads: 2, ..Options::default() };
    let engine = Engine::open(database, options).await?;
    if engine.credential(&login("root")).is_none() {
        engine.set_password("root", "").await?;
    }
    Ok(engine)
}

/// Somebody who comes from where clients over the wire come from.
fn login(user: &str) -> Login {
    Login { user: user.to_owned(), host: "127.0.0.1".to_owned(), connection_id: 1, ..Login::default() }
}

fn refusal(error: Error) -> Refusal {
    Refusal { code: error.code, sqlstate: error.sqlstate.to_owned(), message: error.message }
}

fn gone(why: impl ToString) -> Refusal {
    Refusal { code: 2013, sqlstate: "HY000".to_owned(), message: why.to_string() }
}

/// One connection's place on the store.
pub struct Session {
    target: Arc<Target>,
    id: u64,
}

impl Session {
    /// Becomes another user's, who has no password.
    pub async fn log_in(&mut self, user: &str) -> Result<(), Refusal> {
        self.target.log_in(self.id, user).await
    }

    pub async fn execute(&mut self, sql: &str) -> Result<Answer, Refusal> {
        self.target.execute(self.id, sql).await
    }

    pub async fn close(&mut self) {
        self.target.state.lock().await.sessions.remove(&self.id);
    }
}

//! Plays a script against a server: each session on a connection and a task of its own, so that one may wait for
//! another.
//!
//! A statement that has not answered is waiting for a lock only if the server says so; nothing is concluded from time
//! alone. The steps of a session that waits stay behind it, and those of a session that lost are left out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::cases::Case;
use super::connection::{Connection, Failure, Reply, Rows};
use super::{Level, State};
use crate::process::{Result, Server};

/// How long an answer may take that waits for no lock.
const ANSWER_SECONDS_MAX: u64 = 30;

/// How often a server is asked who waits. What MariaDB answers is renewed when nobody asked for a tenth of a second.
const ASK_MILLIS: u64 = 130;

/// What the sessions of one script saw, and what was left.
#[derive(Default, Debug)]
pub struct Trace {
    reads: BTreeMap<char, Vec<Rows>>,
    committed: BTreeSet<char>,
    errors: BTreeSet<String>,
    waited: bool,
    last: Rows,
}

impl Trace {
    /// Returns the rows of a session's SELECT, counted from 0; nothing if the session lost before.
    pub fn read(&self, session: char, at: usize) -> Option<&Rows> {
        self.reads.get(&session)?.get(at)
    }

    pub fn saw(&self, session: char, at: usize, id: i64, v: i64) -> bool {
        self.read(session, at).is_some_and(|rows| rows.contains(&(id, v)))
    }

    pub fn found_nothing(&self, session: char, at: usize) -> bool {
        self.read(session, at).is_some_and(Vec::is_empty)
    }

    /// Tells whether all these sessions committed.
    pub fn committed(&self, sessions: &str) -> bool {
        sessions.chars().all(|session| self.committed.contains(&session))
    }

    /// Returns what the table held in the end.
    pub fn last(&self) -> &[(i64, i64)] {
        &self.last
    }

    /// Returns a row's value in the end, 0 if it is gone.
    pub fn last_value(&self, id: i64) -> i64 {
        self.last.iter().find(|row| row.0 == id).map_or(0, |row| row.1)
    }

    /// Returns what kept the anomaly away.
    pub fn how(&self) -> String {
        if !self.errors.is_empty() {
            return self.errors.iter().map(String::as_str).collect::<Vec<_>>().join("+");
        }
        if self.waited { "waits" } else { "unseen" }.to_owned()
    }
}

struct Session {
    /// The server's number of the connection.
    id: u32,
    statements: mpsc::UnboundedSender<(String, oneshot::Sender<Reply>)>,
    /// The statement that has not answered yet.
    pending: Option<(&'static str, oneshot::Receiver<Reply>)>,
    /// The steps behind it.
    behind: VecDeque<&'static str>,
    is_over: bool,
}

struct Stage {
    level: Level,
    sessions: BTreeMap<char, Session>,
    trace: Trace,
}

/// Plays a case in a database that holds its table, and returns what was seen.
///
/// With [`State::Flushing`] the table is flushed after every step, from a connection of its own.
pub async fn play(server: &Server, level: Level, database: &str, case: &Case, state: State) -> Result<Trace> {
    let mut watcher = Connection::open(server, Some(database)).await?;
    let mut stage = Stage { level, sessions: BTreeMap::new(), trace: Trace::default() };
    let steps = case.script.lines().map(str::trim).filter(|line| !line.is_empty());
    for step in steps {
        let (name, sql) = step.split_once(' ').ok_or("a step is a session and a statement")?;
        let name = name.chars().next().ok_or("a session has a name")?;
        if let Entry::Vacant(entry) = stage.sessions.entry(name) {
            entry.insert(open(server, level, database).await?);
        }
        stage.step(name, sql)?;
        stage.settle(&mut watcher).await?;
        if state == State::Flushing {
            watcher.optimize("t").await?;
        }
    }
    if let Some((sql, _)) = stage.sessions.values().find_map(|session| session.pending.as_ref()) {
        return Err(format!("all others are through, and it still waits: {sql}").into());
    }
    stage.trace.last = watcher.query("SELECT id, v FROM t ORDER BY id").await?;
    Ok(stage.trace)
}

/// Connects and begins a transaction. The task ends with the session.
async fn open(server: &Server, level: Level, database: &str) -> Result<Session> {
    let mut conn = Connection::open(server, Some(database)).await?;
    for sql in level.set() {
        conn.query(sql).await?;
    }
    if level.has_transactions() {
        conn.query("BEGIN").await?;
    }
    let (statements, mut inbox) = mpsc::unbounded_channel::<(String, oneshot::Sender<Reply>)>();
    let id = conn.id();
    tokio::spawn(async move {
        while let Some((sql, reply)) = inbox.recv().await {
            // Nobody takes the answer when the script broke off.
            let _ = reply.send(conn.query(&sql).await);
        }
    });
    Ok(Session { id, statements, pending: None, behind: VecDeque::new(), is_over: false })
}

impl Stage {
    /// Sends a step, or puts it behind the statement that the session waits for.
    fn step(&mut self, name: char, sql: &'static str) -> Result<()> {
        let session = self.sessions.get_mut(&name).ok_or("an open session")?;
        if session.is_over {
            return Ok(());
        }
        if session.pending.is_some() {
            session.behind.push_back(sql);
            return Ok(());
        }
        let ends = matches!(sql, "COMMIT" | "ROLLBACK");
        if ends && !self.level.has_transactions() {
            self.trace.committed.insert(name);
            return Ok(());
        }
        session.pending = Some((sql, session.send(sql)?));
        Ok(())
    }

    /// Returns when every session has answered or waits for a lock.
    async fn settle(&mut self, watcher: &mut Connection) -> Result<()> {
        let names: Vec<char> = self.sessions.keys().copied().collect();
        loop {
            let mut moved = false;
            for name in &names {
                moved |= self.advance(*name, watcher).await?;
            }
            // What one did may have let another go on.
            if !moved {
                return Ok(());
            }
        }
    }

    /// Takes a session's answer and sends the step behind it. Tells whether there was an answer.
    async fn advance(&mut self, name: char, watcher: &mut Connection) -> Result<bool> {
        let session = self.sessions.get_mut(&name).ok_or("an open session")?;
        let Some((sql, mut receiver)) = session.pending.take() else { return Ok(false) };
        let start = Instant::now();
        let reply = loop {
            match tokio::time::timeout(Duration::from_millis(ASK_MILLIS), &mut receiver).await {
                Ok(reply) => break reply?,
                Err(_) if watcher.sees_waiting(session.id).await? => {
                    session.pending = Some((sql, receiver));
                    self.trace.waited = true;
                    return Ok(false);
                }
                Err(_) if start.elapsed() > Duration::from_secs(ANSWER_SECONDS_MAX) => {
                    return Err(format!("no answer, and no lock that it waits for: {sql}").into());
                }
                Err(_) => {}
            }
        };
        match reply {
            Ok(rows) => {
                if sql.starts_with("SELECT") {
                    self.trace.reads.entry(name).or_default().push(rows);
                } else if sql == "COMMIT" {
                    self.trace.committed.insert(name);
                }
                let mut behind = std::mem::take(&mut session.behind);
                if let Some(next) = behind.pop_front() {
                    self.step(name, next)?;
                }
                // Those after it stand behind it in turn.
                behind.into_iter().try_for_each(|next| self.step(name, next))?;
            }
            Err(Failure::Lost(code)) => {
                self.trace.errors.insert(code);
                session.is_over = true;
                session.behind.clear();
                // The rest of its locks, where the error left some.
                session.send("ROLLBACK")?.await??;
            }
            Err(error) => return Err(format!("{sql}: {error}").into()),
        }
        Ok(true)
    }
}

impl Session {
    fn send(&self, sql: &str) -> Result<oneshot::Receiver<Reply>> {
        let (reply, receiver) = oneshot::channel();
        self.statements.send((sql.to_owned(), reply)).map_err(|_| "the session's task has ended")?;
        Ok(receiver)
    }
}

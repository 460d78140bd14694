//! Which anomalies transactions can see: scripts of two to four sessions, at each level; so in MariaDB and PostgreSQL.
//!
//! What snapshot isolation forbids must not happen, and what it allows must be seen: here, and in PostgreSQL's
//! REPEATABLE READ, which is snapshot isolation too. Each script is also played with every statement as a commit of its
//! own: then each anomaly must be seen, or its judge is blind. In the SERIALIZABLE of the others none may be, or its
//! judge sees what is not there.

use std::collections::BTreeSet;
use std::path::Path;

use mysql_async::prelude::Queryable;

use crate::process::{Result, Server};

mod cases;
mod connection;
pub(crate) mod postgres;
mod script;

use cases::{CASES, Case, Claim};
pub(crate) use connection::optimize;
use connection::{Connection, Rows};
use script::play;

/// How the sessions of a script are isolated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Not at all: every statement is a commit of its own.
    Statements,
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    /// MariaDB's REPEATABLE READ with `innodb_snapshot_isolation`.
    RepeatableReadSnapshot,
    Serializable,
}

impl Level {
    /// All that Strandline accepts, and the control.
    pub const STRANDLINE: &[Level] =
        &[Level::Statements, Level::ReadUncommitted, Level::ReadCommitted, Level::RepeatableRead];
    pub const MARIADB: &[Level] = &[
        Level::Statements,
        Level::ReadUncommitted,
        Level::ReadCommitted,
        Level::RepeatableRead,
        Level::RepeatableReadSnapshot,
        Level::Serializable,
    ];
    pub const POSTGRES: &[Level] =
        &[Level::Statements, Level::ReadUncommitted, Level::ReadCommitted, Level::RepeatableRead, Level::Serializable];

    /// Returns the statements that set it for a session.
    fn set(self) -> &'static [&'static str] {
        match self {
            Level::Statements => &[],
            Level::ReadUncommitted => &["SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"],
            Level::ReadCommitted => &["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"],
            Level::RepeatableRead => &["SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"],
            Level::RepeatableReadSnapshot => &[
                "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "SET SESSION innodb_snapshot_isolation = ON",
            ],
            Level::Serializable => &["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        }
    }

    fn has_transactions(self) -> bool {
        self != Level::Statements
    }

    fn short(self) -> &'static str {
        match self {
            Level::Statements => "none",
            Level::ReadUncommitted => "RU",
            Level::ReadCommitted => "RC",
            Level::RepeatableRead => "RR",
            Level::RepeatableReadSnapshot => "RR+SI",
            Level::Serializable => "SER",
        }
    }
}

/// Where the rows lie while the scripts run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// In memory.
    Hot,
    /// In files.
    Flushed,
    /// One in a file; one in a file and, newer, in memory.
    Mixed,
    /// In files anew after every step, under the open transactions.
    Flushing,
    /// As mixed, in a clone of that database.
    Clone,
    /// As mixed, after kill -9 with an open transaction that changed them.
    Restart,
}

impl State {
    pub const ALL: &[State] =
        &[State::Hot, State::Flushed, State::Mixed, State::Flushing, State::Clone, State::Restart];
}

/// What became of one case.
struct Cell {
    case: usize,
    /// The state of Strandline's rows, or the name of another server.
    place: String,
    level: Level,
    seen: bool,
    how: String,
}

/// What was seen, and what of it must not be.
#[derive(Default)]
pub struct Report {
    cells: Vec<Cell>,
    pub problems: Vec<String>,
}

/// Plays everything, here and in the other servers that are installed, and prints the tables.
pub async fn run() -> Result<()> {
    let mut report = strandline(State::ALL, Level::STRANDLINE).await?;
    let places = State::ALL.iter().map(|state| format!("{state:?}")).collect::<Vec<_>>();
    println!("Strandline: the three levels alike unless told apart; `none`: every statement a commit of its own\n");
    print(&report, &places.iter().map(|place| (place.as_str(), Level::STRANDLINE)).collect::<Vec<_>>());
    for (name, program, package, levels) in [
        ("MariaDB", Server::find_mariadb(), "mariadb-server", Level::MARIADB),
        ("PostgreSQL", Server::find_postgres(), "postgresql", Level::POSTGRES),
    ] {
        if program.is_none() {
            println!("\n{name} is not installed and left out: apt-get install {package}");
            continue;
        }
        let folder = tempfile::tempdir()?;
        let server = match name {
            "MariaDB" => Server::mariadb(&folder.path().join("data")).await?,
            _ => Server::postgres(folder.path()).await?,
        };
        let seen = other(server, levels).await?;
        println!("\n{name}\n");
        print(&seen, &levels.iter().map(std::slice::from_ref).map(|level| (name, level)).collect::<Vec<_>>());
        report.cells.extend(seen.cells);
        report.problems.extend(seen.problems);
    }
    let (all, failed) = (report.cells.len(), report.problems.len());
    let blind = report.cells.iter().filter(|cell| cell.level == Level::Statements && !cell.seen).count();
    let controls = report.cells.iter().filter(|cell| cell.level == Level::Statements).count();
    println!("\nwithout transactions: {} of {controls} anomalies seen", controls - blind);
    report.problems.iter().for_each(|problem| println!("{problem}"));
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed", all.saturating_sub(failed));
    if failed == 0 { Ok(()) } else { Err("a transaction saw what it must not, or the rig is blind".into()) }
}

/// Plays every case in Strandline: a server of its own for each state, a database of its own for each case and level.
pub async fn strandline(states: &[State], levels: &[Level]) -> Result<Report> {
    let mut report = Report::default();
    for state in states {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("store");
        let mut server = Server::strandline(&data).await?;
        refuses_serializable(&server).await?;
        let mut conn = Connection::open(&server, None).await?;
        for level in levels {
            for case in 0..CASES.len() {
                prepare(&mut conn, *state, &database(*level, case)).await?;
            }
        }
        if *state == State::Restart {
            conn.query("BEGIN").await?;
            for level in levels {
                for case in 0..CASES.len() {
                    conn.query(&format!("UPDATE {}.t SET v = 999", database(*level, case))).await?;
                }
            }
            server.kill()?;
            server = Server::strandline(&data).await?;
            conn = Connection::open(&server, None).await?;
        }
        for level in levels {
            for (at, case) in CASES.iter().enumerate() {
                let name = database(*level, at);
                report.play(&server, &mut conn, *state, *level, (at, case), &name).await?;
                if *state == State::Clone && rows(&mut conn, &format!("source_{name}")).await? != ROWS {
                    report.problems.push(format!("{}, {level:?}: the clone's source has changed", case.name));
                }
            }
        }
        let (files, tables) = (parquet_files(&data)?, levels.len() * CASES.len());
        let expected = match state {
            State::Hot => files == 0,
            // Not after every step has a table changed.
            State::Flushing => files >= tables * 2,
            _ => files >= tables,
        };
        if !expected {
            return Err(format!("{state:?}: {files} files for {tables} tables: the rows lay elsewhere").into());
        }
        server.stop()?;
    }
    Ok(report)
}

/// Plays every case in another server.
async fn other(server: Server, levels: &[Level]) -> Result<Report> {
    let mut report = Report::default();
    let mut conn = Connection::open(&server, None).await?;
    for level in levels {
        for (at, case) in CASES.iter().enumerate() {
            let name = database(*level, at);
            prepare(&mut conn, State::Hot, &name).await?;
            report.play(&server, &mut conn, State::Hot, *level, (at, case), &name).await?;
        }
    }
    drop(conn);
    server.stop()?;
    Ok(report)
}

impl Report {
    async fn play(
        &mut self,
        server: &Server,
        conn: &mut Connection,
        state: State,
        level: Level,
        (at, case): (usize, &Case),
        database: &str,
    ) -> Result<()> {
        let place = match server.name {
            "mariadb" => "MariaDB".to_owned(),
            "postgres" => "PostgreSQL".to_owned(),
            _ => format!("{state:?}"),
        };
        let where_it_is = format!("{} ({}), {place}, {level:?}", case.name, case.about);
        let before = rows(conn, database).await?;
        if before != ROWS {
            return Err(format!("{where_it_is}: the table holds {before:?} at the start").into());
        }
        let trace = play(server, level, database, case, state).await;
        let trace = trace.map_err(|error| format!("{where_it_is}: {error}"))?;
        let seen = (case.seen)(&trace);
        let must = match (level, case.claim) {
            (Level::Statements, _) => Some(true),
            (Level::Serializable, _) => Some(false),
            _ if server.name == "mariadb" => None,
            _ if server.name == "postgres" && level != Level::RepeatableRead => None,
            (_, claim) => Some(claim == Claim::Allowed),
        };
        if must.is_some_and(|must| must != seen) {
            let what = if seen { "must not be seen" } else { "must be seen" };
            self.problems.push(format!("{where_it_is}: {what}: {trace:?}"));
        }
        self.cells.push(Cell { case: at, place, level, seen, how: trace.how() });
        Ok(())
    }
}

/// What every case begins with.
const ROWS: [(i64, i64); 2] = [(1, 100), (2, 200)];

fn database(level: Level, case: usize) -> String {
    format!("{}_{case}", format!("{level:?}").to_lowercase())
}

/// Makes a database with a case's table.
async fn prepare(conn: &mut Connection, state: State, name: &str) -> Result<()> {
    let target = name;
    let source = format!("source_{name}");
    let name = if state == State::Clone { &source } else { name };
    conn.query(&format!("CREATE DATABASE {name}")).await?;
    conn.query(&format!("CREATE TABLE {name}.t (id INT PRIMARY KEY, v INT NOT NULL)")).await?;
    let insert = format!("INSERT INTO {name}.t VALUES ");
    let table = format!("{name}.t");
    match state {
        State::Hot => {
            conn.query(&(insert + "(1, 100), (2, 200)")).await?;
        }
        State::Flushed | State::Flushing => {
            conn.query(&(insert + "(1, 100), (2, 200)")).await?;
            conn.optimize(&table).await?;
        }
        State::Mixed | State::Clone | State::Restart => {
            conn.query(&(insert + "(1, 0), (2, 200)")).await?;
            conn.optimize(&table).await?;
            conn.query(&format!("UPDATE {name}.t SET v = 100 WHERE id = 1")).await?;
        }
    }
    if state == State::Clone {
        conn.query(&format!("CREATE DATABASE {target} CLONE {source}")).await?;
    }
    Ok(())
}

async fn rows(conn: &mut Connection, database: &str) -> Result<Rows> {
    Ok(conn.query(&format!("SELECT id, v FROM {database}.t ORDER BY id")).await?)
}

/// A level that is not there is refused: nobody gets less than was asked for.
async fn refuses_serializable(server: &Server) -> Result<()> {
    let mut conn = server.connect(None).await?;
    for sql in [
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET SESSION transaction_isolation = 'SERIALIZABLE'",
    ] {
        match conn.query_drop(sql).await {
            Err(mysql_async::Error::Server(error)) if error.code == 1235 => {}
            other => return Err(format!("{sql} must fail with 1235: {other:?}").into()),
        }
    }
    Ok(conn.disconnect().await?)
}

fn parquet_files(folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        files += match path.is_dir() {
            true => parquet_files(&path)?,
            false => usize::from(path.extension().is_some_and(|ending| ending == "parquet")),
        };
    }
    Ok(files)
}

/// Prints a row for each case, and a column for each place with its levels.
fn print(report: &Report, columns: &[(&str, &[Level])]) {
    let heads = columns.iter().map(|(place, levels)| match levels {
        [level] => level.short().to_owned(),
        _ => (*place).to_owned(),
    });
    println!("{:<32}{}", "", heads.map(|head| format!("{head:<12}")).collect::<String>());
    for (at, case) in CASES.iter().enumerate() {
        let cells = columns.iter().map(|(place, levels)| {
            let cells = report.cells.iter().filter(|cell| cell.case == at && cell.place == *place);
            // The control stands in a line of its own at the end.
            let cells = cells
                .filter(|cell| levels.contains(&cell.level) && (levels.len() == 1 || cell.level != Level::Statements));
            let words: Vec<(Level, &str)> =
                cells.map(|cell| (cell.level, if cell.seen { "SEEN" } else { cell.how.as_str() })).collect();
            let different: BTreeSet<&str> = words.iter().map(|(_, word)| *word).collect();
            match words.first() {
                Some((_, word)) if different.len() == 1 => (*word).to_owned(),
                _ => {
                    words.iter().map(|(level, word)| format!("{}:{word}", level.short())).collect::<Vec<_>>().join(" ")
                }
            }
        });
        println!("{:<32}{}", case.name, cells.map(|cell| format!("{cell:<12}")).collect::<String>());
    }
}

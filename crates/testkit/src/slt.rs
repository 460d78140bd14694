//! Runs the `.slt` corpus: SQL statements with what they must answer, under several configurations.
//!
//! Every file gets a store of its own and starts in an empty database `test`. The same expectations hold under every
//! configuration: what a statement answers never depends on whether rows were flushed, the store was reopened, or a
//! socket stood between. The runner never rewrites a file unless it was asked to complete it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};

use strandline_workbench::process::Result;

mod local;
mod value;
mod wire;

use value::Cells;

/// How the corpus reaches the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Config {
    /// In this process, over a store in memory.
    Memory,
    /// In this process, over a store on disk that is flushed after every statement.
    Flush,
    /// In this process, over a store on disk that is closed and opened again after every statement.
    Reopen,
    /// Over the MySQL protocol, to a server in a process of its own.
    Wire,
    /// The same statements against MariaDB: shows where an expectation is not what MySQL users know. Never part of
    /// the tests; files about history make no sense there.
    MariaDb,
}

impl Config {
    /// The configurations that the tests run.
    pub const ALL: &[Config] = &[Config::Memory, Config::Flush, Config::Reopen, Config::Wire];

    pub fn from_name(name: &str) -> Option<Config> {
        [Config::Memory, Config::Flush, Config::Reopen, Config::Wire, Config::MariaDb]
            .into_iter()
            .find(|config| config.name() == name)
    }

    /// The name on the command line, and the label for `skipif` and `onlyif` in a file.
    pub fn name(self) -> &'static str {
        match self {
            Config::Memory => "memory",
            Config::Flush => "flush",
            Config::Reopen => "reopen",
            Config::Wire => "wire",
            Config::MariaDb => "mariadb",
        }
    }
}

/// What a run came to.
#[derive(Default, Debug)]
pub struct Report {
    pub passed: usize,
    /// The file, and what differed.
    pub failed: Vec<(PathBuf, String)>,
}

/// Runs every file of `files` under `config`, on as many threads as there are processors.
///
/// With `complete`, expectations are rewritten to what was answered: read the diff before you keep it.
pub fn run(files: &[PathBuf], config: Config, complete: bool) -> Report {
    let next = AtomicUsize::new(0);
    let report = Mutex::new(Report::default());
    let threads = match config {
        // Two installations of MariaDB at once get in each other's way.
        Config::MariaDb => 1,
        _ => std::thread::available_parallelism().map_or(2, |n| n.get()).clamp(2, 8),
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = run_file(file, config, complete);
                    let mut report = report.lock().expect("no runner thread panics while it holds the report");
                    match outcome {
                        Ok(()) => report.passed += 1,
                        Err(error) => report.failed.push((file.clone(), error.to_string())),
                    }
                }
            });
        }
    });
    let mut report = report.into_inner().expect("all runner threads have ended");
    report.failed.sort();
    report
}

/// Returns the `.slt` files under `root` whose path below it starts with `prefix`, sorted.
pub fn files(root: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "slt") {
                let below = path.strip_prefix(root)?;
                if below.starts_with(prefix) || below.to_string_lossy().starts_with(prefix) {
                    found.push(path);
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

fn run_file(file: &Path, config: Config, complete: bool) -> Result<()> {
    // Each file has a runtime of its own, so that a session's tasks end with it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let target = Arc::new(Target::start(config).await?);
        let mut runner = Runner::new(|| {
            let target = target.clone();
            async move { target.connect().await }
        });
        runner.add_label(config.name());
        runner.with_column_validator(columns_match);
        if complete {
            runner
                .update_test_file(
                    file,
                    " ",
                    sqllogictest::default_validator,
                    sqllogictest::default_normalizer,
                    columns_match,
                )
                .await
                .map_err(|error| error.to_string())?;
        } else {
            runner.run_file_async(file).await.map_err(|error| error.display(false).to_string())?;
        }
        runner.shutdown_async().await;
        Ok(())
    })
}

/// Columns must be as many and of the kinds that the file says. `?` stands for any kind, and alone for any columns.
#[expect(clippy::ptr_arg, reason = "the runner's type of a validator")]
fn columns_match(actual: &Vec<DefaultColumnType>, expected: &Vec<DefaultColumnType>) -> bool {
    let any = DefaultColumnType::Any;
    expected.as_slice() == [any.clone()]
        || (actual.len() == expected.len()
            && actual.iter().zip(expected).all(|(actual, expected)| *expected == any || actual == expected))
}

/// A store with an empty database `test`, for one file.
enum Target {
    Server(wire::Target),
    Local(Arc<local::Target>),
}

impl Target {
    async fn start(config: Config) -> Result<Target> {
        Ok(match config {
            Config::Wire | Config::MariaDb => Target::Server(wire::Target::start(config).await?),
            Config::Memory | Config::Flush | Config::Reopen => {
                Target::Local(Arc::new(local::Target::start(config).await?))
            }
        })
    }

    async fn connect(&self) -> Result<Session, Refusal> {
        Ok(match self {
            Target::Server(target) => Session::Wire(target.connect().await?),
            Target::Local(target) => Session::Local(target.connect().await?),
        })
    }
}

/// One connection of a file.
enum Session {
    Wire(wire::Session),
    Local(local::Session),
}

/// What one statement answered, before it is compared.
enum Answer {
    Rows { types: Vec<DefaultColumnType>, rows: Vec<Cells> },
    Done { affected_rows: u64 },
}

/// An error as files expect it: `ERROR 1062 (23000): Duplicate entry '1' for key 'PRIMARY'`.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub code: u16,
    pub sqlstate: String,
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR {} ({}): {}", self.code, self.sqlstate, self.message)
    }
}

impl std::error::Error for Refusal {}

#[async_trait]
impl sqllogictest::AsyncDB for Session {
    type Error = Refusal;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Refusal> {
        // Ours, not the server's: from here on, this connection is another user's.
        if let Some(user) = sql.strip_prefix("LOGIN ") {
            match self {
                Session::Wire(session) => session.log_in(user.trim()).await?,
                Session::Local(session) => session.log_in(user.trim()).await?,
            }
            return Ok(DBOutput::StatementComplete(0));
        }
        let answer = match self {
            Session::Wire(session) => session.execute(sql).await?,
            Session::Local(session) => session.execute(sql).await?,
        };
        Ok(match answer {
            Answer::Rows { types, rows } => DBOutput::Rows { types, rows },
            Answer::Done { affected_rows } => DBOutput::StatementComplete(affected_rows),
        })
    }

    async fn shutdown(&mut self) {
        match self {
            Session::Wire(session) => session.close().await,
            Session::Local(session) => session.close().await,
        }
    }

    fn engine_name(&self) -> &str {
        "strandline"
    }

    async fn sleep(duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Refusal) -> Option<String> {
        Some(error.sqlstate.clone())
    }
}

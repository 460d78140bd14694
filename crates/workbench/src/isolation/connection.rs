//! A connection of a script, in the words of its server. The scripts speak MySQL's.

use std::fmt;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::postgres::Postgres;
use crate::process::{Result, Server};

/// A transaction that fails with one of these has lost against another: deadlock or conflict, and the row that changed
/// since it was read.
const LOST: &[u16] = &[1213, 1020];

/// The same in PostgreSQL: no serial order, deadlock.
const LOST_STATES: &[&str] = &["40001", "40P01"];

/// What PostgreSQL says otherwise.
const DIALECT: &[(&str, &str)] = &[
    ("LOCK IN SHARE MODE", "FOR SHARE"),
    ("SET SESSION TRANSACTION", "SET SESSION CHARACTERISTICS AS TRANSACTION"),
    ("CREATE DATABASE", "CREATE SCHEMA"),
];

/// Rows as the scripts read them: `id` and `v`.
pub type Rows = Vec<(i64, i64)>;

pub type Reply = Result<Rows, Failure>;

/// What became of a statement.
#[derive(Debug)]
pub enum Failure {
    /// Another transaction was first: the server's code for it.
    Lost(String),
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Lost(text) | Failure::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

pub enum Connection {
    Strandline(Conn),
    MariaDb(Conn),
    Postgres(Postgres),
}

impl Connection {
    pub async fn open(server: &Server, database: Option<&str>) -> Result<Connection> {
        match server.name {
            "strandline" => Ok(Connection::Strandline(server.connect(database).await?)),
            "mariadb" => Ok(Connection::MariaDb(server.connect(database).await?)),
            _ => {
                let mut conn = Postgres::connect(&server.data).await?;
                if let Some(database) = database {
                    conn.query(&format!("SET search_path TO {database}")).await?.map_err(|error| error.text)?;
                }
                Ok(Connection::Postgres(conn))
            }
        }
    }

    /// Returns the server's number of the connection.
    pub fn id(&self) -> u32 {
        match self {
            Connection::Strandline(conn) | Connection::MariaDb(conn) => conn.id(),
            Connection::Postgres(conn) => conn.id(),
        }
    }

    pub async fn query(&mut self, sql: &str) -> Reply {
        let other = |error: &dyn fmt::Display| Failure::Other(format!("{sql}: {error}"));
        match self {
            Connection::Strandline(conn) | Connection::MariaDb(conn) => {
                conn.query(sql).await.map_err(|error| match error {
                    mysql_async::Error::Server(error) if LOST.contains(&error.code) => {
                        Failure::Lost(error.code.to_string())
                    }
                    error => other(&error),
                })
            }
            Connection::Postgres(conn) => {
                let mut own = sql.to_owned();
                for (word, instead) in DIALECT {
                    own = own.replace(word, instead);
                }
                match conn.query(&own).await {
                    Ok(Ok(rows)) => Ok(rows),
                    Ok(Err(error)) if LOST_STATES.contains(&error.state.as_str()) => Err(Failure::Lost(error.state)),
                    Ok(Err(error)) => Err(other(&error.text)),
                    Err(error) => Err(other(&error)),
                }
            }
        }
    }

    /// Writes a table's rows to files, where the server can be told.
    pub async fn optimize(&mut self, table: &str) -> Result<()> {
        match self {
            Connection::Strandline(conn) => optimize(conn, table).await,
            _ => Err("only Strandline's rows are written to files for a script".into()),
        }
    }

    /// Asks the server whether a connection waits for a lock. In Strandline none ever does.
    pub async fn sees_waiting(&mut self, id: u32) -> Result<bool> {
        match self {
            Connection::Strandline(_) => Ok(false),
            Connection::MariaDb(conn) => {
                let sql = "SELECT COUNT(*) FROM information_schema.innodb_trx \
                           WHERE trx_mysql_thread_id = ? AND trx_state = 'LOCK WAIT'";
                let count: Option<u64> = conn.exec_first(sql, (id,)).await?;
                Ok(count == Some(1))
            }
            Connection::Postgres(conn) => {
                let sql = format!("SELECT {id}, cardinality(pg_blocking_pids({id}))");
                let rows = conn.query(&sql).await?.map_err(|error| error.text)?;
                Ok(rows.iter().any(|(_, blocking)| *blocking > 0))
            }
        }
    }
}

/// Writes a table's rows to files. OPTIMIZE TABLE tells of a failure in a row, not by an error.
pub async fn optimize(conn: &mut Conn, table: &str) -> Result<()> {
    let answer: Vec<(String, String, String, String)> = conn.query(format!("OPTIMIZE TABLE {table}")).await?;
    match answer.as_slice() {
        [(_, _, kind, text)] if kind == "status" && text == "OK" => Ok(()),
        other => Err(format!("OPTIMIZE TABLE {table}: {other:?}").into()),
    }
}

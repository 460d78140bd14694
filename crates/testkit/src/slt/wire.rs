//! The corpus over the MySQL protocol: what a client sees, in the text protocol's own words.

use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn, Opts, OptsBuilder, Row, Value};
use sqllogictest::DefaultColumnType;
use strandline_workbench::process::{Result, Server};

use super::value::{self, Cells};
use super::{Answer, Config, Refusal};

/// A server with an empty database `test`, for one file.
pub struct Target {
    server: Server,
    // Dropped after the server.
    _folder: tempfile::TempDir,
}

impl Target {
    pub async fn start(config: Config) -> Result<Target> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let server = match config {
            Config::MariaDb => Server::mariadb(&data).await?,
            _ => Server::strandline(&data).await?,
        };
        let mut conn = server.connect(None).await?;
        conn.query_drop("CREATE DATABASE test").await?;
        conn.disconnect().await?;
        Ok(Target { server, _folder: folder })
    }

    pub async fn connect(&self) -> Result<Session, Refusal> {
        let conn = Conn::new(self.server.opts(Some("test"))).await.map_err(refusal)?;
        Ok(Session { opts: self.server.opts(None), conn: Some(conn) })
    }
}

/// One connection.
pub struct Session {
    opts: Opts,
    /// `None` after close.
    conn: Option<Conn>,
}

impl Session {
    /// Becomes another user's, who has no password.
    pub async fn log_in(&mut self, user: &str) -> Result<(), Refusal> {
        let opts = OptsBuilder::from_opts(self.opts.clone()).user(Some(user)).pass(None::<String>);
        let mut conn = Conn::new(opts).await.map_err(refusal)?;
        // Not everybody may.
        let _ = conn.query_drop("USE test").await;
        self.close().await;
        self.conn = Some(conn);
        Ok(())
    }

    pub async fn execute(&mut self, sql: &str) -> Result<Answer, Refusal> {
        let conn = self.conn.as_mut().ok_or_else(|| lost("the connection is closed"))?;
        let mut result = conn.query_iter(sql).await.map_err(refusal)?;
        let Some(columns) = result.columns().filter(|columns| !columns.is_empty()) else {
            let affected_rows = result.affected_rows();
            result.drop_result().await.map_err(refusal)?;
            return Ok(Answer::Done { affected_rows });
        };
        let rows: Vec<Row> = result.collect().await.map_err(refusal)?;
        result.drop_result().await.map_err(refusal)?;
        let types = columns.iter().map(column_type).collect();
        let rows = rows.into_iter().map(|row| cells(row, &columns)).collect();
        Ok(Answer::Rows { types, rows })
    }

    pub async fn close(&mut self) {
        if let Some(conn) = self.conn.take() {
            // A server that was told to end may have closed its side first.
            let _ = conn.disconnect().await;
        }
    }
}

fn cells(row: Row, columns: &[Column]) -> Cells {
    let values = row.unwrap_raw().into_iter().zip(columns);
    values
        .map(|(value, column)| match value {
            None | Some(Value::NULL) => value::cell(None, false),
            Some(Value::Bytes(bytes)) => value::cell(Some(&bytes), is_binary(column)),
            Some(other) => value::cell(Some(other.as_sql(true).as_bytes()), false),
        })
        .collect()
}

/// Tells whether the column holds bytes and not text. 63 is the character set `binary`.
fn is_binary(column: &Column) -> bool {
    let stringlike = matches!(
        column.column_type(),
        ColumnType::MYSQL_TYPE_BLOB
            | ColumnType::MYSQL_TYPE_TINY_BLOB
            | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
            | ColumnType::MYSQL_TYPE_LONG_BLOB
            | ColumnType::MYSQL_TYPE_STRING
            | ColumnType::MYSQL_TYPE_VAR_STRING
            | ColumnType::MYSQL_TYPE_VARCHAR
    );
    let bit = column.column_type() == ColumnType::MYSQL_TYPE_BIT;
    bit || (stringlike && column.character_set() == 63 && column.flags().contains(ColumnFlags::BINARY_FLAG))
}

fn column_type(column: &Column) -> DefaultColumnType {
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY
        | ColumnType::MYSQL_TYPE_SHORT
        | ColumnType::MYSQL_TYPE_INT24
        | ColumnType::MYSQL_TYPE_LONG
        | ColumnType::MYSQL_TYPE_LONGLONG
        | ColumnType::MYSQL_TYPE_YEAR => DefaultColumnType::Integer,
        ColumnType::MYSQL_TYPE_FLOAT
        | ColumnType::MYSQL_TYPE_DOUBLE
        | ColumnType::MYSQL_TYPE_DECIMAL
        | ColumnType::MYSQL_TYPE_NEWDECIMAL => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Text,
    }
}

fn refusal(error: mysql_async::Error) -> Refusal {
    match error {
        mysql_async::Error::Server(error) => {
            Refusal { code: error.code, sqlstate: error.state, message: error.message }
        }
        other => lost(other),
    }
}

/// 2013: the client lost the server.
fn lost(why: impl ToString) -> Refusal {
    Refusal { code: 2013, sqlstate: "HY000".to_owned(), message: why.to_string() }
}

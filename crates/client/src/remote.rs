//! A session at a server, over MySQL's protocol.

use std::io::ErrorKind;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{BinaryProtocol, Conn, OptsBuilder, Params, QueryResult, SslOpts, TextProtocol};

use crate::client::ResultSet;
use crate::config::{Config, Tls};
use crate::error::{Error, Result};
use crate::value::{Column, Value};

/// A connection to a server.
pub struct Session {
    connection: Conn,
    config: Config,
    /// A future of this session was dropped while it waited: nobody knows what the server sends next.
    given_up: bool,
}

impl Session {
    /// Connects and logs in.
    pub async fn connect(config: &Config) -> Result<Session> {
        let password = config.login_password()?;
        if let Tls::Verified { authority: Some(path) } = &config.tls {
            std::fs::read(path).map_err(|error| {
                Error::config(format!("Cannot read the certificates in {}: {error}.", path.display()))
            })?;
        }
        let has_password = password.is_some();
        match Conn::new(options(config, password)).await {
            Ok(connection) => Ok(Session { connection, config: config.clone(), given_up: false }),
            Err(error) => Err(explain(error, config, has_password)),
        }
    }

    pub async fn another(&self) -> Result<Session> {
        Session::connect(&self.config).await
    }

    pub fn id(&self) -> u32 {
        self.connection.id()
    }

    pub fn server_version(&self) -> String {
        let (major, minor, patch) = self.connection.server_version();
        format!("{major}.{minor}.{patch}")
    }

    pub fn interrupt(&self) -> Interrupt {
        Interrupt { config: self.config.clone(), id: self.id() }
    }

    pub async fn start(&mut self, sql: &str, parameters: Option<&[Value]>) -> Result<Answer<'_>> {
        if self.given_up {
            return Err(Error::connection("A statement on this connection was given up halfway.")
                .with_hint("Connect again, and end statements with a Canceller."));
        }
        self.given_up = true;
        let result = send(&mut self.connection, sql, parameters).await;
        self.given_up = false;
        let source = result?;
        let sent = source.columns();
        let columns = sent.iter().map(Column::of).collect();
        let decimals = sent.iter().map(mysql_async::Column::decimals).collect();
        Ok(Answer { source, columns, decimals, given_up: &mut self.given_up })
    }

    /// Takes leave of the server.
    pub async fn close(self) -> Result<()> {
        Ok(self.connection.disconnect().await?)
    }
}

async fn send<'a>(connection: &'a mut Conn, sql: &str, parameters: Option<&[Value]>) -> Result<Source<'a>> {
    let Some(parameters) = parameters else {
        return Ok(Source::Text(connection.query_iter(sql.to_owned()).await?));
    };
    let statement = connection.prep(sql).await?;
    if usize::from(statement.num_params()) != parameters.len() {
        return Err(Error::answered(WRONG_ARGUMENTS, "HY000", "Incorrect arguments to mysqld_stmt_execute"));
    }
    let parameters = parameters.iter().map(Value::to_parameter).collect();
    Ok(Source::Binary(connection.exec_iter(statement, Params::Positional(parameters)).await?))
}

/// MySQL's error for another number of parameters than a statement has.
const WRONG_ARGUMENTS: u16 = 1210;

/// The result of a statement, row by row.
pub struct Answer<'a> {
    source: Source<'a>,
    columns: Vec<Column>,
    decimals: Vec<u8>,
    given_up: &'a mut bool,
}

enum Source<'a> {
    Text(QueryResult<'a, 'static, TextProtocol>),
    Binary(QueryResult<'a, 'static, BinaryProtocol>),
}

/// Calls the same method of either protocol's result.
macro_rules! either {
    ($source:expr, $result:ident => $call:expr) => {
        match $source {
            Source::Text($result) => $call,
            Source::Binary($result) => $call,
        }
    };
}

impl Source<'_> {
    fn columns(&self) -> Arc<[mysql_async::Column]> {
        either!(self, result => result.columns()).unwrap_or_else(|| Arc::from([]))
    }
}

impl Answer<'_> {
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub async fn next(&mut self) -> Result<Option<Vec<Value>>> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        *self.given_up = true;
        let row = either!(&mut self.source, result => result.next().await);
        *self.given_up = false;
        let Some(row) = row? else { return Ok(None) };
        // Not a panic: every value is still there, since none was taken.
        let values = row.unwrap().into_iter().zip(&self.columns).zip(&self.decimals);
        Ok(Some(values.map(|((value, column), decimals)| Value::read(value, column.ty, *decimals)).collect()))
    }

    pub async fn finish(self) -> Result<ResultSet> {
        let result = either!(&self.source, result => ResultSet {
            columns: self.columns,
            rows: Vec::new(),
            affected_rows: result.affected_rows(),
            last_insert_id: result.last_insert_id().filter(|id| *id != 0),
            info: result.info().into_owned(),
            warnings: result.warnings(),
        });
        *self.given_up = true;
        let dropped = either!(self.source, result => result.drop_result().await);
        *self.given_up = false;
        dropped?;
        Ok(result)
    }
}

/// Ends a session's statement over a connection of its own.
#[derive(Clone)]
pub struct Interrupt {
    config: Config,
    id: u32,
}

impl Interrupt {
    pub async fn send(&self) -> Result<()> {
        let mut session = Session::connect(&self.config).await?;
        match session.connection.query_drop(format!("KILL QUERY {}", self.id)).await {
            // The session is gone, and its statement with it.
            Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_THREAD => {}
            result => result?,
        }
        session.close().await
    }
}

/// MySQL's error for KILL of a connection that is not there.
const NO_SUCH_THREAD: u16 = 1094;

fn options(config: &Config, password: Option<String>) -> OptsBuilder {
    let tls = match (&config.tls, config.is_local()) {
        (Tls::Off, _) | (Tls::Auto, true) => None,
        (Tls::Auto, false) => Some(SslOpts::default()),
        (Tls::Unverified, _) => {
            Some(SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true))
        }
        (Tls::Verified { authority: None }, _) => Some(SslOpts::default()),
        (Tls::Verified { authority: Some(path) }, _) => {
            Some(SslOpts::default().with_root_certs(vec![path.clone().into()]).with_disable_built_in_roots(true))
        }
    };
    OptsBuilder::default()
        .ip_or_hostname(config.host.clone())
        .tcp_port(config.port)
        .user(Some(config.user.clone()))
        .pass(password)
        .db_name(config.database.clone())
        .ssl_opts(tls)
        // Asking the server for its socket and its limits would cost three round trips.
        .prefer_socket(false)
        .max_allowed_packet(Some(PACKET_BYTES_MAX))
        .wait_timeout(Some(IDLE_SECONDS_MAX))
}

/// The longest statement.
const PACKET_BYTES_MAX: usize = 64 << 20;
/// After how long an idle connection is not used any more: MySQL's own number.
const IDLE_SECONDS_MAX: usize = 28_800;

/// MySQL's error for a login that failed.
const ACCESS_DENIED: u16 = 1045;

/// Says what to do about a connection that did not come about.
fn explain(error: mysql_async::Error, config: &Config, has_password: bool) -> Error {
    let address = format!("{}:{}", config.host, config.port);
    if let mysql_async::Error::Io(io) = &error {
        let refused = match io {
            mysql_async::IoError::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
            mysql_async::IoError::Tls(_) => false,
        };
        // What rustls finds wrong in a handshake comes as an error of input.
        let is_tls = match io {
            mysql_async::IoError::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput),
            mysql_async::IoError::Tls(_) => true,
        };
        let said = match io {
            mysql_async::IoError::Io(error) => error.to_string(),
            mysql_async::IoError::Tls(error) => error.to_string(),
        };
        let error = Error::connection(format!("Cannot connect to {address}: {said}."));
        return match (refused && config.is_local(), is_tls) {
            (true, _) => error.with_hint("Is the server running? Start one with 'strandline serve'."),
            (_, true) => {
                error.with_hint("Is the server's certificate, or that of its authority, the one to verify with?")
            }
            _ => error,
        };
    }
    let error = Error::from(error);
    match config.password_file() {
        Some(path) if error.code() == Some(ACCESS_DENIED) && !has_password => {
            error.with_hint(&format!("No password was given, and {} is not there.", path.display()))
        }
        _ => error,
    }
}

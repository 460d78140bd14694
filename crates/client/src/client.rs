//! A connection: SQL text in, rows out.

use std::io::ErrorKind;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, SslOpts};

use crate::config::{Config, Tls};
use crate::error::{Error, Kind, Result};
use crate::value::{Column, Value};

/// A connection to a server: one session, one statement at a time.
pub struct Client {
    connection: Conn,
}

/// What a statement returned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSet {
    /// Empty if the statement returns no rows.
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Value>>,
    pub affected_rows: u64,
    pub last_insert_id: Option<u64>,
    /// What the server adds, such as `Rows matched: 1  Changed: 1  Warnings: 0`; mostly empty.
    pub info: String,
    pub warnings: u16,
}

impl Client {
    /// Connects and logs in: with a [`Config`], or with its URL.
    pub async fn connect<C>(config: C) -> Result<Client>
    where
        C: TryInto<Config>,
        Error: From<C::Error>,
    {
        let config: Config = config.try_into()?;
        let password = config.login_password()?;
        if let Tls::Verified { authority: Some(path) } = &config.tls {
            std::fs::read(path).map_err(|error| {
                Error::config(format!("Cannot read the certificates in {}: {error}.", path.display()))
            })?;
        }
        let has_password = password.is_some();
        match Conn::new(options(&config, password)).await {
            Ok(connection) => Ok(Client { connection }),
            Err(error) => Err(explain(error, &config, has_password)),
        }
    }

    /// Returns the number of this connection, for `KILL QUERY`.
    pub fn id(&self) -> u32 {
        self.connection.id()
    }

    /// Returns the server's version as it greets with it.
    pub fn server_version(&self) -> String {
        let (major, minor, patch) = self.connection.server_version();
        format!("{major}.{minor}.{patch}")
    }

    /// Runs a statement and reads all that it returns into memory.
    ///
    /// A text of several statements runs to its end or to the first error; the first one's rows are returned.
    pub async fn query(&mut self, sql: &str) -> Result<ResultSet> {
        let mut answer = self.connection.query_iter(sql).await?;
        let columns: Vec<Column> = answer.columns().unwrap_or_else(|| Arc::from([])).iter().map(Column::of).collect();
        let mut rows = Vec::new();
        if !columns.is_empty() {
            while let Some(row) = answer.next().await? {
                // Not a panic: every value is still there, since none was taken.
                let values = row.unwrap().into_iter().zip(&columns);
                rows.push(values.map(|(value, column)| Value::read(value, column.ty)).collect());
            }
        }
        let result = ResultSet {
            columns,
            rows,
            affected_rows: answer.affected_rows(),
            last_insert_id: answer.last_insert_id().filter(|id| *id != 0),
            info: answer.info().into_owned(),
            warnings: answer.warnings(),
        };
        answer.drop_result().await?;
        Ok(result)
    }

    /// Takes leave of the server.
    pub async fn close(self) -> Result<()> {
        Ok(self.connection.disconnect().await?)
    }
}

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
    match (error.kind(), config.password_file()) {
        (Kind::Server { code: ACCESS_DENIED, .. }, Some(path)) if !has_password => {
            error.with_hint(&format!("No password was given, and {} is not there.", path.display()))
        }
        _ => error,
    }
}

//! How the verbs reach a server: options common to all of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use strandline_client::{Client, Config, ResultSet, Tls, read_password};

use crate::Result;
use crate::commands::block_on;
use crate::commands::output::{Format, emit, render};

/// Where the server is, and as whom to log in.
#[derive(clap::Args, Clone, Debug)]
pub struct Connection {
    /// The server's name or address
    #[arg(long, env = "STRANDLINE_HOST", value_name = "HOST", default_value = "127.0.0.1", global = true, help_heading = HEADING)]
    pub host: String,
    #[arg(long, env = "STRANDLINE_PORT", value_name = "PORT", default_value_t = strandline_client::PORT, global = true, help_heading = HEADING)]
    pub port: u16,
    /// Log in as this user, or as 'account:user'
    #[arg(long, short, env = "STRANDLINE_USER", value_name = "USER", default_value = "root", global = true, help_heading = HEADING)]
    pub user: String,
    /// A file with the password; else STRANDLINE_PASSWORD, else for root of this machine <data>/root-password
    #[arg(long, value_name = "FILE", global = true, help_heading = HEADING)]
    pub password_file: Option<PathBuf>,
    /// The folder of the local store, for root's password
    #[arg(long, env = "STRANDLINE_DATA", value_name = "FOLDER", default_value = "strandline-data", global = true, help_heading = HEADING)]
    pub data: PathBuf,
    /// Encryption: 'auto' is off on this machine and 'verify' beyond it; 'on' encrypts without verifying the server
    #[arg(long, env = "STRANDLINE_TLS", value_name = "MODE", default_value = "auto", global = true, help_heading = HEADING)]
    pub tls: TlsMode,
    /// The certificates (PEM) to verify the server with, such as its own; else those of public authorities
    #[arg(long, env = "STRANDLINE_TLS_CA", value_name = "FILE", global = true, help_heading = HEADING)]
    pub tls_ca: Option<PathBuf>,
}

const HEADING: &str = "Connection";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsMode {
    Auto,
    Off,
    On,
    Verify,
}

/// A verb that is one statement: where it goes, and how its result is shown.
#[derive(clap::Args, Clone, Debug)]
pub struct Remote {
    #[command(flatten)]
    pub connection: Connection,
    /// Print JSON: an array of rows
    #[arg(long, global = true)]
    pub json: bool,
}

impl Connection {
    /// Returns the settings; a database comes from `STRANDLINE_DATABASE`.
    pub fn config(&self) -> Result<Config> {
        let variable = |name: &str| std::env::var(name).ok();
        let password = match &self.password_file {
            Some(path) => Some(read_password(path)?),
            None => variable("STRANDLINE_PASSWORD"),
        };
        let tls = match (self.tls, &self.tls_ca) {
            (TlsMode::Off, _) => Tls::Off,
            (TlsMode::On, _) => Tls::Unverified,
            (TlsMode::Auto, None) => Tls::Auto,
            (TlsMode::Auto | TlsMode::Verify, authority) => Tls::Verified { authority: authority.clone() },
        };
        Ok(Config {
            host: self.host.clone(),
            port: self.port,
            user: self.user.clone(),
            password,
            database: variable("STRANDLINE_DATABASE").filter(|name| !name.is_empty()),
            tls,
            data: Some(self.data.clone()),
        })
    }

    /// Runs one statement.
    pub fn query(&self, statement: &str) -> Result<ResultSet> {
        let config = self.config()?;
        block_on(async {
            let mut client = Client::connect(config).await?;
            let result = client.query(statement).await?;
            client.close().await?;
            Ok(result)
        })
    }
}

impl Remote {
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Table }
    }

    /// Runs the statement that a verb came to, and prints its result.
    pub fn run(&self, statement: &Result<String>) -> Result<ExitCode> {
        let statement = match statement {
            Ok(statement) => statement,
            Err(error) => return Err(error.to_string().into()),
        };
        let start = Instant::now();
        let result = self.connection.query(statement)?;
        emit(&render(&result, self.format(), start.elapsed()))?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        connection: Connection,
    }

    fn config(line: &str) -> Config {
        let words = std::iter::once("x").chain(line.split_whitespace());
        Line::try_parse_from(words).expect("valid").connection.config().expect("valid")
    }

    #[test]
    fn the_network_is_encrypted_and_the_machine_is_not() {
        assert_eq!(config("").tls, Tls::Auto);
        assert_eq!(config("--tls-ca a.pem").tls, Tls::Verified { authority: Some("a.pem".into()) });
        assert_eq!(config("--tls verify").tls, Tls::Verified { authority: None });
        assert_eq!(config("--tls on").tls, Tls::Unverified);
        assert_eq!(config("--tls off").tls, Tls::Off);
    }

    #[test]
    fn a_password_comes_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        std::fs::write(&path, "se cret\r\n").expect("written");
        let config = config(&format!("--user ada --port 7001 --password-file {}", path.display()));
        assert_eq!(config.password.as_deref(), Some("se cret"));
        assert_eq!((config.user.as_str(), config.port), ("ada", 7001));
    }
}

//! The client's error: what the server said, or why it could not be asked.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller would act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server refused the statement or the login. The connection may be used on after a refused statement.
    Server { code: u16, sqlstate: String },
    /// The server cannot be reached, or the connection is lost: whether the statement took effect is not known.
    Connection,
    /// The settings make no sense; nothing was sent.
    Config,
}

/// An error of the client or of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Returns the server's error number, such as 1064, if the server answered.
    pub fn code(&self) -> Option<u16> {
        match &self.kind {
            Kind::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns the server's SQLSTATE, such as `42000`, if the server answered.
    pub fn sqlstate(&self) -> Option<&str> {
        match &self.kind {
            Kind::Server { sqlstate, .. } => Some(sqlstate),
            _ => None,
        }
    }

    /// Returns the text without number and state.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error { kind: Kind::Config, message: message.into() }
    }

    pub(crate) fn connection(message: impl Into<String>) -> Error {
        Error { kind: Kind::Connection, message: message.into() }
    }

    /// Adds the next step, as one sentence.
    pub(crate) fn with_hint(mut self, hint: &str) -> Error {
        let end = if self.message.ends_with(['.', '!', '?']) { "" } else { "." };
        self.message = format!("{}{end} {hint}", self.message);
        self
    }
}

impl fmt::Display for Error {
    /// Writes a server's error as MySQL's own client does: `ERROR 1064 (42000): …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Kind::Server { code, sqlstate } = &self.kind {
            write!(f, "ERROR {code} ({sqlstate}): ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Error {
        match never {}
    }
}

impl From<mysql_async::Error> for Error {
    fn from(error: mysql_async::Error) -> Error {
        match error {
            mysql_async::Error::Server(error) => {
                Error { kind: Kind::Server { code: error.code, sqlstate: error.state }, message: error.message }
            }
            mysql_async::Error::Io(mysql_async::IoError::Io(error)) => {
                Error::connection(format!("The connection is lost: {error}."))
            }
            error => Error::connection(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_server_keep_their_numbers() {
        let server = mysql_async::ServerError { code: 1064, message: "Bad syntax".into(), state: "42000".into() };
        let error = Error::from(mysql_async::Error::Server(server));
        assert_eq!(error.to_string(), "ERROR 1064 (42000): Bad syntax");
        assert_eq!((error.code(), error.sqlstate(), error.message()), (Some(1064), Some("42000"), "Bad syntax"));
        assert_eq!(Error::config("No.").code(), None);
        assert_eq!(Error::config("No.").with_hint("Do this.").to_string(), "No. Do this.");
        assert_eq!(Error::config("No").with_hint("Do this.").to_string(), "No. Do this.");
    }
}

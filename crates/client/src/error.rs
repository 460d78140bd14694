//! The client's error: what the database said, or why it could not be asked.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller would act on. The server's error number says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The server cannot be reached, or the connection is lost: whether the statement took effect is not known.
    Connection,
    /// The settings or arguments make no sense; nothing was sent.
    Config,
    /// The login failed, or the user may not do this.
    Denied,
    /// Something that was named does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Another transaction was first. Nothing was applied: run it again.
    Conflict,
    /// A key or foreign key forbids it.
    Constraint,
    /// Disk, memory or a lock is missing for the moment: make room, or try later.
    Unavailable,
    /// Somebody cancelled the statement.
    Cancelled,
    /// This version cannot do it.
    Unsupported,
    /// The session reads the past, or is read-only.
    ReadOnly,
    /// Stored bytes are damaged. Nothing was answered from them.
    Corrupt,
    /// Refused for another reason: the message says which.
    Refused,
}

impl Kind {
    /// Returns the kind as a word, such as `not_found`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Connection => "connection",
            Kind::Config => "config",
            Kind::Denied => "denied",
            Kind::NotFound => "not_found",
            Kind::AlreadyExists => "already_exists",
            Kind::Conflict => "conflict",
            Kind::Constraint => "constraint",
            Kind::Unavailable => "unavailable",
            Kind::Cancelled => "cancelled",
            Kind::Unsupported => "unsupported",
            Kind::ReadOnly => "read_only",
            Kind::Corrupt => "corrupt",
            Kind::Refused => "refused",
        }
    }

    fn of_code(code: u16) -> Kind {
        match code {
            1044 | 1045 | 1095 | 1142 | 1143 | 1227 | 1370 | 1410 | 3118 | 3159 => Kind::Denied,
            1008 | 1049 | 1051 | 1054 | 1091 | 1094 | 1141 | 1146 | 1305 | 1396 => Kind::NotFound,
            1007 | 1050 | 1060 | 1061 => Kind::AlreadyExists,
            1205 | 1213 => Kind::Conflict,
            1048 | 1062 | 1217 | 1216 | 1451 | 1452 | 3819 => Kind::Constraint,
            1021 | 1030 | 1037 | 1038 | 1040 | 1041 | 1114 => Kind::Unavailable,
            // The server says good-bye: it shuts down, or the connection was idle for too long.
            1053 | 4031 => Kind::Connection,
            1317 => Kind::Cancelled,
            1235 => Kind::Unsupported,
            1290 | 1792 => Kind::ReadOnly,
            1712 => Kind::Corrupt,
            _ => Kind::Refused,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error of the client or of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    /// MySQL's number and SQLSTATE, if the database answered.
    number: Option<(u16, String)>,
    message: String,
    hint: Option<String>,
}

impl Error {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the database's error number, such as 1064, if it answered.
    pub fn code(&self) -> Option<u16> {
        self.number.as_ref().map(|(code, _)| *code)
    }

    /// Returns the database's SQLSTATE, such as `42000`, if it answered.
    pub fn sqlstate(&self) -> Option<&str> {
        self.number.as_ref().map(|(_, state)| state.as_str())
    }

    /// Returns what is wrong, without number, state and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the next step, if there is one to name.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The error of somebody who has no connection yet, or not any more.
    pub fn disconnected() -> Error {
        Error::connection("There is no connection.").with_hint("Connect first.")
    }

    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, number: None, message: message.into(), hint: None }
    }

    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::new(Kind::Config, message)
    }

    pub(crate) fn connection(message: impl Into<String>) -> Error {
        Error::new(Kind::Connection, message)
    }

    /// An error as the database words it: what is wrong, then the next step.
    pub(crate) fn answered(code: u16, sqlstate: impl Into<String>, text: &str) -> Error {
        let (message, hint) = match end_of_sentence(text) {
            Some(end) => (&text[..end], Some(text[end..].trim_start().to_owned())),
            None => (text, None),
        };
        Error { kind: Kind::of_code(code), number: Some((code, sqlstate.into())), message: message.to_owned(), hint }
    }

    /// Says what a caller knows better than the number: that it is a snapshot that is not there, say.
    pub(crate) fn of_kind(self, kind: Kind) -> Error {
        Error { kind, ..self }
    }

    /// Adds the next step, as one sentence.
    pub(crate) fn with_hint(mut self, hint: &str) -> Error {
        if !self.message.ends_with(['.', '!', '?']) {
            self.message.push('.');
        }
        self.hint = Some(match self.hint {
            Some(earlier) => format!("{earlier} {hint}"),
            None => hint.to_owned(),
        });
        self
    }
}

/// Returns where the first of several sentences ends. What stands in quotes is part of its sentence; an apostrophe inside
/// a word is no quote.
fn end_of_sentence(text: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        let within_word = || {
            let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
            word(text[..at].chars().next_back()) && word(text[at + c.len_utf8()..].chars().next())
        };
        match c {
            '\'' if !within_word() => quoted = !quoted,
            '.' | '?' | '!' if !quoted => {
                let rest = &text[at + 1..];
                if rest.strip_prefix(' ').is_some_and(|rest| rest.starts_with(char::is_uppercase)) {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

impl fmt::Display for Error {
    /// Writes an error of the database as MySQL's own client does: `ERROR 1064 (42000): …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((code, sqlstate)) = &self.number {
            write!(f, "ERROR {code} ({sqlstate}): ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " {hint}"),
            None => Ok(()),
        }
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
            mysql_async::Error::Server(error) => Error::answered(error.code, error.state, &error.message),
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
        assert_eq!((error.kind(), error.hint()), (Kind::Refused, None));
        assert_eq!(Error::config("No.").code(), None);
        assert_eq!(Error::config("No.").with_hint("Do this.").to_string(), "No. Do this.");
        assert_eq!(Error::config("No").with_hint("Do this.").to_string(), "No. Do this.");
    }

    #[test]
    fn the_next_step_is_told_apart() {
        let cases = [
            ("No snapshot 'a. B'. List them with SHOW SNAPSHOTS.", "No snapshot 'a. B'."),
            ("No database 'tset'. Did you mean 'test'?", "No database 'tset'."),
            ("Table 'd.t' doesn't exist", "Table 'd.t' doesn't exist"),
            ("A snapshot's name is 'a. B'. Choose another name.", "A snapshot's name is 'a. B'."),
            ("Use e.g. this", "Use e.g. this"),
        ];
        for (text, message) in cases {
            let error = Error::answered(1049, "42000", text);
            assert_eq!(error.message(), message);
            assert_eq!(error.hint().is_some(), text != message);
            assert_eq!(error.to_string(), format!("ERROR 1049 (42000): {text}"));
        }
    }

    #[test]
    fn a_missing_database_a_missing_right_and_a_full_disk_are_told_apart() {
        let kind = |code| Error::answered(code, "HY000", "no").kind();
        assert_eq!([kind(1049), kind(1142), kind(1114)], [Kind::NotFound, Kind::Denied, Kind::Unavailable]);
        // Storage that cannot be reached.
        assert_eq!(kind(1030), Kind::Unavailable);
        assert_eq!(kind(1213), Kind::Conflict);
    }
}

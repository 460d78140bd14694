//! Errors as MySQL clients see them: a code, a SQLSTATE, a message with the next step.

use std::fmt;

use strandline_core::error::{Kind, What};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with MySQL's code and SQLSTATE.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    pub code: u16,
    pub sqlstate: &'static str,
    pub message: String,
    /// The core's kind, where it came from the core: a lost commit may be tried again.
    pub kind: Option<Kind>,
}

impl Error {
    pub fn new(code: u16, sqlstate: &'static str, message: impl Into<String>) -> Error {
        Error { code, sqlstate, message: message.into(), kind: None }
    }

    /// 1064: the text cannot be parsed.
    pub fn syntax(message: impl Into<String>) -> Error {
        Error::new(1064, "42000", message)
    }

    /// 1235: valid MySQL that this build does not have.
    pub fn unsupported(what: impl fmt::Display) -> Error {
        Error::new(1235, "42000", format!("This version of Strandline doesn't yet support '{what}'"))
    }

    /// 1054
    pub fn unknown_column(name: &str, place: &str) -> Error {
        Error::new(1054, "42S22", format!("Unknown column '{name}' in '{place}'"))
    }

    /// 1105
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(1105, "HY000", message)
    }

    /// 1210
    pub fn wrong_arguments(message: impl Into<String>) -> Error {
        Error::new(1210, "HY000", message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERROR {} ({}): {}", self.code, self.sqlstate, self.message)
    }
}

impl std::error::Error for Error {}

/// Lets an error of ours travel through the core: on its way back it is itself again.
impl From<Error> for strandline_core::error::Error {
    fn from(error: Error) -> strandline_core::error::Error {
        let kind = error.kind.unwrap_or(Kind::Invalid);
        strandline_core::error::Error::new(kind, error.message.clone()).with_source(error)
    }
}

impl From<strandline_core::error::Error> for Error {
    fn from(error: strandline_core::error::Error) -> Error {
        // One of ours that went through the core (a value that does not convert) is itself again.
        if let Some(own) = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<Error>()) {
            return own.clone();
        }
        let (code, sqlstate) = match error.kind() {
            Kind::Conflict => (1213, "40001"),
            Kind::NotFound(What::Database) => (1049, "42000"),
            Kind::NotFound(What::Table | What::View) => (1146, "42S02"),
            Kind::NotFound(What::Column) => (1054, "42S22"),
            Kind::NotFound(What::User) => (1396, "HY000"),
            Kind::NotFound(What::Index) => (1091, "42000"),
            Kind::NotFound(_) => (1105, "HY000"),
            Kind::AlreadyExists(What::Database) => (1007, "HY000"),
            Kind::AlreadyExists(What::Table | What::View) => (1050, "42S01"),
            Kind::AlreadyExists(What::Column) => (1060, "42S21"),
            Kind::AlreadyExists(What::Index) => (1061, "42000"),
            Kind::AlreadyExists(What::User) => (1396, "HY000"),
            Kind::AlreadyExists(_) => (1105, "HY000"),
            Kind::Duplicate => (1062, "23000"),
            Kind::MissingParent => (1452, "23000"),
            Kind::HasChildren => (1451, "23000"),
            Kind::Invalid => (1105, "HY000"),
            Kind::OutOfWindow => (1105, "HY000"),
            Kind::Unsupported => (1235, "42000"),
            Kind::ReadOnly => (1792, "25006"),
            Kind::Full => (1114, "HY000"),
            Kind::Unavailable => (1030, "HY000"),
            Kind::Cancelled => (1317, "70100"),
            Kind::Corrupt => (1712, "HY000"),
            Kind::Closed => (1290, "HY000"),
            Kind::Internal => (1105, "HY000"),
        };
        Error { code, sqlstate, message: error.to_string(), kind: Some(error.kind()) }
    }
}

#[cfg(test)]
mod tests {
    use strandline_core::error::Error as CoreError;

    use super::*;

    #[test]
    fn a_full_disk_and_storage_that_is_away_are_told_apart_and_ours_comes_back_as_it_was() {
        assert_eq!(Error::from(CoreError::full("The disk is full.")).code, 1114);
        assert_eq!(Error::from(CoreError::unavailable("It cannot be reached.")).code, 1030);
        let ours = Error::new(1038, "HY001", "Out of memory.");
        assert_eq!(Error::from(CoreError::from(ours.clone())), ours);
    }
}

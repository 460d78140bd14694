//! The one error type of the core: what went wrong, and what the reader can do next.

use std::error::Error as StdError;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error. A new kind is added only if a caller would act differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Another transaction changed the same thing first. Nothing was applied; run it again.
    Conflict,
    /// The named thing does not exist (at the moment that was asked for).
    NotFound(What),
    /// The name is taken.
    AlreadyExists(What),
    /// A row with this primary or unique key exists.
    Duplicate,
    /// A foreign key forbids it: the parent row is missing.
    MissingParent,
    /// A foreign key forbids it: child rows refer to the row or table.
    HasChildren,
    /// The request makes no sense as given; change it.
    Invalid,
    /// A time or version outside what can be recovered.
    OutOfWindow,
    /// The request is fine, but this build cannot do it yet.
    Unsupported,
    /// The caller's session may not write now (it reads a moment of the past).
    ReadOnly,
    /// The disk has no room for it. Nothing was done; make room.
    Full,
    /// Something is missing for the moment: the storage cannot be reached, a lock is held, a memory budget used up. Try
    /// later.
    Unavailable,
    /// The user cancelled it.
    Cancelled,
    /// Stored bytes are damaged. Nothing was answered from them.
    Corrupt,
    /// The store refuses writes after a failed durable write, or is closed. Reopen it.
    Closed,
    /// A defect of ours.
    Internal,
}

/// What kind of thing a name stood for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum What {
    Account,
    Database,
    Table,
    View,
    Column,
    Snapshot,
    Version,
    User,
    Index,
    Pitr,
    Schedule,
    Retention,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Account => "account",
            What::Database => "database",
            What::Table => "table",
            What::View => "view",
            What::Column => "column",
            What::Snapshot => "snapshot",
            What::Version => "version",
            What::User => "user",
            What::Index => "index",
            What::Pitr => "PITR",
            What::Schedule => "schedule",
            What::Retention => "retention rules",
        })
    }
}

/// An error with the next step for its reader.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(Kind::Unsupported, message)
    }

    pub fn corrupt(message: impl Into<String>) -> Error {
        Error::new(Kind::Corrupt, message)
    }

    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }

    pub fn full(message: impl Into<String>) -> Error {
        Error::new(Kind::Full, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(Kind::Unavailable, message)
    }

    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, message)
    }

    pub fn not_found(what: What, name: &str) -> Error {
        Error::new(Kind::NotFound(what), format!("No {what} '{name}'."))
    }

    pub fn already_exists(what: What, name: &str) -> Error {
        let error = Error::new(Kind::AlreadyExists(what), format!("A {what} '{name}' exists already."));
        match what {
            What::Snapshot => error.with_hint("Take another name, DROP SNAPSHOT it, or keep it with IF NOT EXISTS."),
            _ => error,
        }
    }

    /// Adds the next step, as one sentence.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, " {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        match &self.0.source {
            Some(source) => write!(f, " (caused by: {source})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Returns what an operation fails with at a point that a test chose: a full disk, or one that is broken.
pub fn failing<T, E: From<std::io::Error>>(how: Option<String>) -> Result<T, E> {
    let kind = match how.as_deref() {
        Some("full") => std::io::ErrorKind::StorageFull,
        _ => std::io::ErrorKind::Other,
    };
    Err(std::io::Error::new(kind, "a test lets it fail").into())
}

fn is_full(kind: std::io::ErrorKind) -> bool {
    matches!(kind, std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        let kind = if is_full(error.kind()) { Kind::Full } else { Kind::Internal };
        Error::new(kind, format!("Disk: {error}.")).with_source(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Error {
        Error::internal(format!("Arrow: {error}.")).with_source(error)
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Error {
        Error::new(Kind::Corrupt, format!("Parquet: {error}.")).with_source(error)
    }
}

/// Returns the kind of an error of the storage: a folder on a disk may be full, as the cause tells then.
pub(crate) fn kind_of_storage(error: &object_store::Error) -> Kind {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return Kind::Corrupt;
    }
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<std::io::Error>().is_some_and(|error| is_full(error.kind())) {
            return Kind::Full;
        }
        next = cause.source();
    }
    Kind::Unavailable
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Error {
        let kind = kind_of_storage(&error);
        Error::new(kind, format!("Object store: {error}.")).with_source(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Error {
        Error::corrupt(format!("A stored record cannot be read: {error}.")).with_source(error)
    }
}

/// Returns the candidate that is most like `name`, for "did you mean".
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().min(wanted.chars().count()) / 3)
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// Returns the Levenshtein distance of two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_names() {
        let names = ["nightly-07", "nightly-08", "before_release"];
        assert_eq!(closest("nightly-7", names), Some("nightly-07"));
        assert_eq!(closest("BEFORE_RELEAS", names), Some("before_release"));
        assert_eq!(closest("other", names), None);
    }

    #[test]
    fn hint_follows_message() {
        let error = Error::not_found(What::Snapshot, "s").with_hint("List them with SHOW SNAPSHOTS.");
        assert_eq!(error.to_string(), "No snapshot 's'. List them with SHOW SNAPSHOTS.");
    }
}

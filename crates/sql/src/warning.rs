//! What SHOW WARNINGS lists: notes and warnings of the last statement.

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    Note,
    Warning,
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Note => "Note",
            Level::Warning => "Warning",
            Level::Error => "Error",
        })
    }
}

/// One line of SHOW WARNINGS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    pub level: Level,
    /// MySQL's error code.
    pub code: u16,
    pub message: String,
}

impl Warning {
    pub fn note(code: u16, message: impl Into<String>) -> Warning {
        Warning { level: Level::Note, code, message: message.into() }
    }

    #[expect(clippy::self_named_constructors, reason = "it is one of the levels")]
    pub fn warning(code: u16, message: impl Into<String>) -> Warning {
        Warning { level: Level::Warning, code, message: message.into() }
    }
}

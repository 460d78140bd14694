//! Identifiers and times as types: a bare number never crosses a function boundary.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// The number of a commit: one total order for the whole store. `Version(0)` is the empty store.
    Version(u64)
);
number_id!(
    /// An account (tenant): the level above databases.
    AccountId(u64)
);
number_id!(
    /// A database. Never used again after a drop.
    DatabaseId(u64)
);
number_id!(
    /// A table or view. Never used again after a drop; a rename keeps it.
    TableId(u64)
);
number_id!(
    /// A column within its table. A rename keeps it; a change of type makes a new one.
    ColumnId(u32)
);
number_id!(
    /// A user of the server.
    UserId(u64)
);
number_id!(
    /// A pin: a snapshot or another reason to keep a version.
    PinId(u64)
);

impl Version {
    /// The greatest version, used as "not ended yet".
    pub const MAX: Version = Version(u64::MAX);

    /// Returns the version after this one.
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

impl ColumnId {
    /// The hidden `_row_id` that identifies the rows of a table without a primary key.
    pub const ROW_ID: ColumnId = ColumnId(u32::MAX);
    /// The hidden `_version`: the commit that last wrote the row.
    pub const VERSION: ColumnId = ColumnId(u32::MAX - 1);

    /// Returns the column's name inside parts and deltas. A rename does not change it.
    pub fn physical_name(self) -> String {
        match self {
            ColumnId::ROW_ID => "_row_id".to_owned(),
            ColumnId::VERSION => "_version".to_owned(),
            ColumnId(n) => format!("c{n}"),
        }
    }

    /// Reads a physical name; `None` if it is none.
    pub fn from_physical_name(name: &str) -> Option<ColumnId> {
        let id = match name {
            "_row_id" => ColumnId::ROW_ID,
            "_version" => ColumnId::VERSION,
            _ => ColumnId(name.strip_prefix('c')?.parse().ok()?),
        };
        // Each id has one name: not `c01`, nor a number that stands for another.
        (id.physical_name() == name).then_some(id)
    }
}

/// A time as microseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// Returns the time `micros` microseconds after this one.
    pub fn plus_micros(self, micros: i64) -> Time {
        Time(self.0.saturating_add(micros))
    }

    /// Returns the calendar time in UTC.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Time {
    /// Writes `2026-01-31 23:59:59.123456`, UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.to_jiff();
        write!(f, "{}", time.strftime("%Y-%m-%d %H:%M:%S%.6f"))
    }
}

/// A name that the store minted for one immutable file. Sorts by the time of its birth (UUID v7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub uuid::Uuid);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_simple())
    }
}

impl FromStr for FileId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        uuid::Uuid::from_str(text).map(FileId).map_err(|_| Error::corrupt(format!("'{text}' is not a file id")))
    }
}

/// A BLAKE3 digest of some bytes, 32 bytes long, written as hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::corrupt(format!("'{text}' is not a digest"));
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Digest(bytes))
    }
}

macro_rules! stored_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

stored_as_text!(FileId);
stored_as_text!(Digest);

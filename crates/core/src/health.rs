//! What is known of a store's health: what reading all of it over and over has found. Kept in memory, and as a setting of
//! the store so that a restart neither forgets damage nor begins anew. Who reads is `upkeep::scrub`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{FileId, Time, Version};

/// The setting that holds [`Health`].
pub(crate) const HEALTH_SETTING: &str = "scrubber";

/// Something that cannot be answered from any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// What is wrong, and the next step.
    pub what: String,
    /// The path of the damaged file below the store's folder.
    pub file: String,
    /// The tables whose rows it holds, as they were called last.
    pub tables: Vec<String>,
    /// The names of the snapshots that need it.
    pub snapshots: Vec<String>,
}

/// What is known of a store's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The reading that goes on now.
    pub running: Option<Running>,
    /// The last reading that came to its end.
    pub last: Option<Cycle>,
    /// What was found damaged and has not been found whole since.
    pub damages: Vec<Found>,
    /// Bytes that were read since the store was opened.
    #[serde(skip)]
    pub read_bytes: u64,
}

/// A reading of everything, begun and not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    pub began: Time,
    /// The last entry of the log that was read.
    pub version: Version,
    /// The last file that was read; files are read in the order of their ids.
    pub file: Option<FileId>,
    pub files: u64,
    pub bytes: u64,
}

/// A reading of everything, from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cycle {
    pub began: Time,
    pub ended: Time,
    /// The newest entry of the log that was read.
    pub version: Version,
    pub files: u64,
    pub bytes: u64,
}

/// A damage, and when it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub first: Time,
    /// When it was found last.
    pub last: Time,
    pub damage: Damage,
}

/// How many snapshots a line about damage names.
const NAMED_MAX: usize = 10;

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.tables.is_empty() {
            write!(f, " It holds rows of {}.", listed(&self.tables, ""))?;
        }
        match self.snapshots.len() {
            0 => Ok(()),
            1 => write!(f, " Snapshot {} needs it.", listed(&self.snapshots, "'")),
            _ => write!(f, " Snapshots {} need it.", listed(&self.snapshots, "'")),
        }
    }
}

fn listed(names: &[String], quote: &str) -> String {
    let shown: Vec<String> = names.iter().take(NAMED_MAX).map(|name| format!("{quote}{name}{quote}")).collect();
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

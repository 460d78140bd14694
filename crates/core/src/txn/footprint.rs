//! What a transaction touched, and which transactions may not both commit.
//!
//! Everything that can conflict is one 64-bit hash: a row key, a value of a unique index, a name, an object. A
//! transaction that read at version `r` may commit if, since `r`,
//!
//! ```text
//!                     other wrote it   other leaned on it
//!   it writes it         conflict          conflict
//!   it leans on it       conflict             fine
//!   it overrules it      conflict             fine       (and those who leaned on it before must lose)
//!   it keeps it          conflict          conflict      (and nobody who comes later minds)
//! ```
//! Writing is exclusive: rows put and deleted, definitions changed. Leaning is shared: a child row leans on its parent's
//! key, every row on its table's definition. Overruling is what a restore does to a table's rows: it does not care what
//! they were, but nobody who still saw them may commit on top. Keeping is what a restore does to what it found as it
//! should be: it must still be so. Two equal hashes of different things only cost a retry.

use std::collections::HashMap;

use crate::ids::{AccountId, ColumnId, DatabaseId, TableId, Version};

/// What one transaction touched.
#[derive(Default, Clone, Debug)]
pub struct Footprint {
    pub writes: Vec<u64>,
    pub leans: Vec<u64>,
    pub overrules: Vec<u64>,
    pub keeps: Vec<u64>,
}

/// Returns the hash of a row's key, or of a value of the columns of a unique index or foreign key.
pub fn row(table: TableId, columns: &[ColumnId], key: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"row");
    hasher.update(&table.0.to_le_bytes());
    for column in columns {
        hasher.update(&column.0.to_le_bytes());
    }
    hasher.update(key);
    finish(&hasher)
}

/// Returns the hash of a table: its definition and its whole content.
pub fn table(id: TableId) -> u64 {
    object(b"table", id.0)
}

/// Returns the hash of the rows of a table: whoever writes one of them leans on it, and who needs them to stay as they
/// are writes or keeps it. (A child row leans on its parent's table, but not on this.)
pub fn rows(id: TableId) -> u64 {
    object(b"rows", id.0)
}

/// Returns the hash of an account: its existence, and which databases and users it has.
pub fn account(id: AccountId) -> u64 {
    object(b"account", id.0)
}

/// Returns the hash of a database: its existence, and which tables it has.
pub fn database(id: DatabaseId) -> u64 {
    object(b"database", id.0)
}

/// Returns the hash of a name in a database.
pub fn table_name(database: DatabaseId, name: &str) -> u64 {
    name_of(b"table name", database.0, name)
}

/// Returns the hash of a database's name in an account.
pub fn database_name(account: AccountId, name: &str) -> u64 {
    name_of(b"database name", account.0, name)
}

/// Returns the hash of an account's or user's name.
pub fn login_name(account: AccountId, name: &str) -> u64 {
    name_of(b"login name", account.0, name)
}

fn object(kind: &[u8], id: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind);
    hasher.update(&id.to_le_bytes());
    finish(&hasher)
}

fn name_of(kind: &[u8], parent: u64, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind);
    hasher.update(&parent.to_le_bytes());
    hasher.update(crate::schema::fold(name).as_bytes());
    finish(&hasher)
}

fn finish(hasher: &blake3::Hasher) -> u64 {
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Who touched what last, as far back as any open transaction reads.
#[derive(Default)]
pub struct Recent {
    touched: HashMap<u64, Touched>,
    /// What was written up to here may be forgotten.
    forgotten: Version,
    /// Prune when the map has grown to this.
    prune_at: usize,
}

#[derive(Default, Clone, Copy)]
struct Touched {
    written: Version,
    leaned: Version,
}

impl Recent {
    /// Tells whether a transaction that read at `read` may commit.
    pub fn allows(&self, footprint: &Footprint, read: Version) -> bool {
        let last = |hash: &u64| self.touched.get(hash).copied().unwrap_or_default();
        let alone = |hash: &u64| last(hash).written <= read && last(hash).leaned <= read;
        read >= self.forgotten
            && footprint.writes.iter().all(alone)
            && footprint.keeps.iter().all(alone)
            && footprint.leans.iter().all(|hash| last(hash).written <= read)
            && footprint.overrules.iter().all(|hash| last(hash).written <= read)
    }

    /// Tells whether large loads may commit: no other load since `read`, and no small transaction since the version up
    /// to which the load was checked against them.
    pub fn allows_loads(&self, loads: &[(u64, Version)], read: Version) -> bool {
        loads.iter().all(|(hash, checked)| {
            let last = self.touched.get(hash).copied().unwrap_or_default();
            last.written <= read && last.leaned <= *checked
        })
    }

    /// Records a commit.
    pub fn record(&mut self, footprint: &Footprint, version: Version) {
        for hash in footprint.writes.iter().chain(&footprint.overrules) {
            self.touched.entry(*hash).or_default().written = version;
        }
        for hash in &footprint.leans {
            self.touched.entry(*hash).or_default().leaned = version;
        }
    }

    /// Takes back what was recorded after `head`, as that never became durable. What stood there before is not known any
    /// more: it is taken to be of `head` itself.
    pub fn take_back(&mut self, head: Version) {
        for touched in self.touched.values_mut() {
            touched.written = touched.written.min(head);
            touched.leaned = touched.leaned.min(head);
        }
    }

    /// Forgets what no transaction that reads at `oldest` or later can conflict with, when it is worth it.
    pub fn prune(&mut self, oldest: Version) {
        if self.touched.len() >= self.prune_at.max(4096) {
            self.touched.retain(|_, touched| touched.written.max(touched.leaned) > oldest);
            self.forgotten = oldest;
            self.prune_at = self.touched.len() * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The matrix of the module's doc, cell by cell.
    #[test]
    fn matrix() {
        let of = |kind: &str| {
            let mut footprint = Footprint::default();
            match kind {
                "writes" => footprint.writes.push(1),
                "leans" => footprint.leans.push(1),
                "keeps" => footprint.keeps.push(1),
                _ => footprint.overrules.push(1),
            }
            footprint
        };
        let cells = [
            ("writes", "writes", false),
            ("writes", "leans", false),
            ("writes", "overrules", false),
            ("writes", "keeps", true),
            ("leans", "writes", false),
            ("leans", "leans", true),
            ("leans", "overrules", false),
            ("leans", "keeps", true),
            ("overrules", "writes", false),
            ("overrules", "leans", true),
            ("overrules", "overrules", false),
            ("overrules", "keeps", true),
            ("keeps", "writes", false),
            ("keeps", "leans", false),
            ("keeps", "overrules", false),
            ("keeps", "keeps", true),
        ];
        for (it, other, allowed) in cells {
            let mut recent = Recent::default();
            recent.record(&of(other), Version(5));
            assert_eq!(recent.allows(&of(it), Version(4)), allowed, "{it} after {other}");
            assert!(recent.allows(&of(it), Version(5)), "{it} having seen {other}");
        }
    }
}

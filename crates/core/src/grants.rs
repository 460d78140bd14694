//! What a user may do: privileges on everything, on databases, on tables and on columns, and the roles that add theirs.
//!
//! Grants are part of their user's record, so they are versioned as every definition is, and end with the user. They
//! name databases, tables and columns by name and not by id, as MySQL's do: they outlive a drop, and an undrop finds
//! them again. Nothing here decides whether a statement may run.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub, SubAssign};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::UserId;

/// A set of privileges.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Privileges(u64);

macro_rules! privileges {
    ($($name:ident = $bit:literal, $text:literal;)*) => {
        impl Privileges {
            $(pub const $name: Privileges = Privileges(1 << $bit);)*
        }

        /// Every privilege with its name, in the order in which lists show them.
        pub const PRIVILEGES: &[(Privileges, &str)] = &[$((Privileges::$name, $text)),*];
    };
}

privileges! {
    SELECT = 0, "SELECT";
    INSERT = 1, "INSERT";
    UPDATE = 2, "UPDATE";
    DELETE = 3, "DELETE";
    CREATE = 4, "CREATE";
    DROP = 5, "DROP";
    RELOAD = 6, "RELOAD";
    SHUTDOWN = 7, "SHUTDOWN";
    PROCESS = 8, "PROCESS";
    FILE = 9, "FILE";
    REFERENCES = 10, "REFERENCES";
    INDEX = 11, "INDEX";
    ALTER = 12, "ALTER";
    SHOW_DATABASES = 13, "SHOW DATABASES";
    SUPER = 14, "SUPER";
    CREATE_TEMPORARY_TABLES = 15, "CREATE TEMPORARY TABLES";
    LOCK_TABLES = 16, "LOCK TABLES";
    EXECUTE = 17, "EXECUTE";
    REPLICATION_SLAVE = 18, "REPLICATION SLAVE";
    REPLICATION_CLIENT = 19, "REPLICATION CLIENT";
    CREATE_VIEW = 20, "CREATE VIEW";
    SHOW_VIEW = 21, "SHOW VIEW";
    CREATE_ROUTINE = 22, "CREATE ROUTINE";
    ALTER_ROUTINE = 23, "ALTER ROUTINE";
    CREATE_USER = 24, "CREATE USER";
    EVENT = 25, "EVENT";
    TRIGGER = 26, "TRIGGER";
    CREATE_TABLESPACE = 27, "CREATE TABLESPACE";
    CREATE_ROLE = 28, "CREATE ROLE";
    DROP_ROLE = 29, "DROP ROLE";
    SNAPSHOT = 30, "SNAPSHOT";
    RESTORE = 31, "RESTORE";
    RETENTION = 32, "RETENTION";
    GRANT_OPTION = 33, "GRANT OPTION";
}

impl Privileges {
    pub const NONE: Privileges = Privileges(0);

    /// What `ALL` means on `*.*`: everything but the right to grant.
    pub const ALL: Privileges = Privileges((1 << 33) - 1);

    /// What can be granted on a database, the right to grant included.
    pub const OF_DATABASES: Privileges = Privileges(
        Self::OF_TABLES.0
            | Self::CREATE_TEMPORARY_TABLES.0
            | Self::LOCK_TABLES.0
            | Self::EXECUTE.0
            | Self::CREATE_ROUTINE.0
            | Self::ALTER_ROUTINE.0
            | Self::EVENT.0,
    );

    /// What can be granted on a table, the right to grant included.
    pub const OF_TABLES: Privileges = Privileges(
        Self::OF_COLUMNS.0
            | Self::DELETE.0
            | Self::CREATE.0
            | Self::DROP.0
            | Self::INDEX.0
            | Self::ALTER.0
            | Self::CREATE_VIEW.0
            | Self::SHOW_VIEW.0
            | Self::TRIGGER.0
            | Self::SNAPSHOT.0
            | Self::RESTORE.0
            | Self::RETENTION.0
            | Self::GRANT_OPTION.0,
    );

    /// What can be granted on a column.
    pub const OF_COLUMNS: Privileges =
        Privileges(Self::SELECT.0 | Self::INSERT.0 | Self::UPDATE.0 | Self::REFERENCES.0);

    /// Returns the privilege of a name in upper case.
    pub fn named(name: &str) -> Option<Privileges> {
        PRIVILEGES.iter().find(|(_, known)| *known == name).map(|(privilege, _)| *privilege)
    }

    /// Tells whether all of `wanted` are in the set.
    pub fn has(self, wanted: Privileges) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the names of the set, in the order of lists.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        PRIVILEGES.iter().filter(move |(privilege, _)| self.has(*privilege)).map(|(_, name)| *name)
    }
}

impl BitOr for Privileges {
    type Output = Privileges;

    fn bitor(self, other: Privileges) -> Privileges {
        Privileges(self.0 | other.0)
    }
}

impl BitOrAssign for Privileges {
    fn bitor_assign(&mut self, other: Privileges) {
        self.0 |= other.0;
    }
}

impl BitAnd for Privileges {
    type Output = Privileges;

    fn bitand(self, other: Privileges) -> Privileges {
        Privileges(self.0 & other.0)
    }
}

impl Sub for Privileges {
    type Output = Privileges;

    fn sub(self, other: Privileges) -> Privileges {
        Privileges(self.0 & !other.0)
    }
}

impl SubAssign for Privileges {
    fn sub_assign(&mut self, other: Privileges) {
        self.0 &= !other.0;
    }
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

impl Serialize for Privileges {
    /// Writes names. The full set is `ALL`: who has everything has what a later version adds, too.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names: Vec<&str> = Vec::new();
        let mut rest = *self;
        if rest.has(Privileges::ALL) {
            names.push("ALL");
            rest -= Privileges::ALL;
        }
        names.extend(rest.names());
        names.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Privileges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let mut set = Privileges::NONE;
        for name in names {
            set |= match name.as_str() {
                "ALL" => Privileges::ALL,
                name => Privileges::named(name)
                    .ok_or_else(|| serde::de::Error::custom(format!("'{name}' is not a privilege")))?,
            };
        }
        Ok(set)
    }
}

/// What one user or role was granted. Names of databases, tables and columns are in lower case.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Grants {
    #[serde(default, skip_serializing_if = "is_none")]
    pub global: Privileges,
    /// By database. A name may be a pattern with `%` and `_`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub databases: BTreeMap<String, Privileges>,
    /// By database and table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, BTreeMap<String, TableGrants>>,
    /// The roles that were granted. One that was dropped since may still be named: it adds nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<UserId, Membership>,
}

/// What was granted on one table.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TableGrants {
    #[serde(default, skip_serializing_if = "is_none")]
    pub table: Privileges,
    /// By column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, Privileges>,
}

/// How a role was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Membership {
    /// The role may be granted on.
    #[serde(default)]
    pub admin: bool,
    /// The role is active from the login on.
    #[serde(default)]
    pub default: bool,
}

impl Grants {
    /// Returns `ALL PRIVILEGES ON *.* … WITH GRANT OPTION`. A user's record that has no grants is from before there were
    /// any, when every user had this.
    pub fn everything() -> Grants {
        Grants { global: Privileges::ALL | Privileges::GRANT_OPTION, ..Grants::default() }
    }

    pub(crate) fn is_everything(&self) -> bool {
        *self == Grants::everything()
    }

    /// Returns what was granted on a table; nothing where there is no such grant.
    pub fn on_table(&self, database: &str, table: &str) -> Option<&TableGrants> {
        self.tables.get(database)?.get(table)
    }

    /// Changes what is granted on a database, and forgets it once it is nothing.
    pub fn change_database(&mut self, database: &str, change: impl FnOnce(&mut Privileges)) {
        let privileges = self.databases.entry(database.to_owned()).or_default();
        change(privileges);
        if privileges.is_empty() {
            self.databases.remove(database);
        }
    }

    /// Changes what is granted on a table, and forgets it once it is nothing.
    pub fn change_table(&mut self, database: &str, table: &str, change: impl FnOnce(&mut TableGrants)) {
        let tables = self.tables.entry(database.to_owned()).or_default();
        let grants = tables.entry(table.to_owned()).or_default();
        change(grants);
        grants.columns.retain(|_, privileges| !privileges.is_empty());
        if *grants == TableGrants::default() {
            tables.remove(table);
        }
        if tables.is_empty() {
            self.tables.remove(database);
        }
    }

    /// Adds all privileges of another's; roles stay as they are.
    pub fn add(&mut self, other: &Grants) {
        self.global |= other.global;
        for (database, privileges) in &other.databases {
            *self.databases.entry(database.clone()).or_default() |= *privileges;
        }
        for (database, tables) in &other.tables {
            for (table, grants) in tables {
                self.change_table(database, table, |own| own.add(grants));
            }
        }
    }
}

impl TableGrants {
    /// Returns all that is granted on the table or on any column of it.
    pub fn any(&self) -> Privileges {
        self.columns.values().fold(self.table, |all, privileges| all | *privileges)
    }

    fn add(&mut self, other: &TableGrants) {
        self.table |= other.table;
        for (column, privileges) in &other.columns {
            *self.columns.entry(column.clone()).or_default() |= *privileges;
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_none(privileges: &Privileges) -> bool {
    privileges.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_levels_agree() {
        let all = PRIVILEGES.iter().fold(Privileges::NONE, |all, (privilege, _)| all | *privilege);
        assert_eq!(all, Privileges::ALL | Privileges::GRANT_OPTION);
        assert!(Privileges::OF_DATABASES.has(Privileges::OF_TABLES));
        assert!(Privileges::OF_TABLES.has(Privileges::OF_COLUMNS));
        for (privilege, name) in PRIVILEGES {
            assert_eq!(Privileges::named(name), Some(*privilege));
        }
    }

    #[test]
    fn a_record_reads_back_and_everything_is_unsaid() {
        let mut grants = Grants { global: Privileges::PROCESS, ..Grants::default() };
        grants.change_database("shop", |on| *on |= Privileges::SELECT | Privileges::SNAPSHOT);
        grants.change_table("shop", "orders", |on| {
            on.columns.insert("id".to_owned(), Privileges::SELECT);
        });
        grants.roles.insert(UserId(7), Membership { admin: true, default: false });
        let text = serde_json::to_string(&grants).unwrap();
        assert_eq!(serde_json::from_str::<Grants>(&text).unwrap(), grants);
        assert_eq!(serde_json::to_string(&Grants::everything()).unwrap(), r#"{"global":["ALL","GRANT OPTION"]}"#);
    }

    #[test]
    fn what_is_taken_away_leaves_nothing_behind() {
        let mut grants = Grants::default();
        grants.change_database("d", |on| *on |= Privileges::SELECT);
        grants.change_database("d", |on| *on -= Privileges::SELECT);
        grants.change_table("d", "t", |on| on.table |= Privileges::SELECT);
        grants.change_table("d", "t", |on| on.table -= Privileges::SELECT);
        assert_eq!(grants, Grants::default());
    }
}

//! What a verb is about, and which moment it means.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::sql;

/// How much a snapshot, restore or rule speaks of. Displays as SQL: ``DATABASE `shop` ``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    /// `None` is the session's own account.
    Account(Option<String>),
    Database(String),
    /// Tables of one database: one, or several together.
    Tables {
        database: String,
        tables: Vec<String>,
    },
}

/// The level of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    Cluster,
    Account,
    Database,
    Table,
}

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    Version(u64),
    Snapshot(String),
    /// The newest commit at or before this time.
    Time(Timestamp),
    /// A time as people write it: `2026-01-31 10:00:00` in the session's time zone, with a zone behind it, or relative
    /// (`-10 minutes`).
    Words(String),
}

impl Scope {
    pub fn database(name: impl Into<String>) -> Scope {
        Scope::Database(name.into())
    }

    pub fn table(database: impl Into<String>, table: impl Into<String>) -> Scope {
        Scope::Tables { database: database.into(), tables: vec![table.into()] }
    }

    pub fn tables<T: Into<String>>(database: impl Into<String>, tables: impl IntoIterator<Item = T>) -> Scope {
        Scope::Tables { database: database.into(), tables: tables.into_iter().map(Into::into).collect() }
    }

    /// Puts together what came as separate settings.
    ///
    /// # Errors
    /// Of kind `Config` where something is missing or too much.
    pub fn new(level: Level, account: Option<String>, database: Option<String>, tables: Vec<String>) -> Result<Scope> {
        let too_much = |what: &str| Err(Error::config(format!("A {level} has no {what}.")));
        match (level, database) {
            (Level::Cluster | Level::Account, Some(_)) => too_much("database"),
            (Level::Cluster | Level::Account | Level::Database, _) if !tables.is_empty() => too_much("tables"),
            (Level::Cluster, None) if account.is_some() => too_much("account"),
            (Level::Database | Level::Table, _) if account.is_some() => too_much("account"),
            (Level::Cluster, None) => Ok(Scope::Cluster),
            (Level::Account, None) => Ok(Scope::Account(account)),
            (Level::Database | Level::Table, None) => {
                Err(Error::config(format!("A {level} needs the name of its database.")))
            }
            (Level::Database, Some(database)) => Ok(Scope::Database(database)),
            (Level::Table, Some(_)) if tables.is_empty() => {
                Err(Error::config("A table needs its name, or several tables theirs."))
            }
            (Level::Table, Some(database)) => Ok(Scope::Tables { database, tables }),
        }
    }

    pub fn level(&self) -> Level {
        match self {
            Scope::Cluster => Level::Cluster,
            Scope::Account(_) => Level::Account,
            Scope::Database(_) => Level::Database,
            Scope::Tables { .. } => Level::Table,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Cluster => f.write_str("CLUSTER"),
            Scope::Account(None) => f.write_str("ACCOUNT"),
            Scope::Account(Some(name)) => write!(f, "ACCOUNT {}", sql::name(name)),
            Scope::Database(name) => write!(f, "DATABASE {}", sql::name(name)),
            Scope::Tables { database, tables } => match tables.as_slice() {
                [table] => write!(f, "TABLE {}.{}", sql::name(database), sql::name(table)),
                tables => {
                    let names = sql::names(tables.iter().map(String::as_str));
                    write!(f, "TABLES {} ({names})", sql::name(database))
                }
            },
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Now => f.write_str("NOW"),
            When::Version(version) => write!(f, "VERSION {version}"),
            When::Snapshot(name) => write!(f, "SNAPSHOT {}", sql::name(name)),
            When::Time(_) | When::Words(_) => write!(f, "TIMESTAMP {}", self.time()),
        }
    }
}

impl When {
    /// Returns a time as SQL without the word in front of it; other moments as they are.
    pub(crate) fn time(&self) -> String {
        match self {
            When::Time(time) => sql::text(&time.to_string()),
            When::Words(words) => sql::text(words),
            other => other.to_string(),
        }
    }
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Cluster => "cluster",
            Level::Account => "account",
            Level::Database => "database",
            Level::Table => "table",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Level> {
        let all = [Level::Cluster, Level::Account, Level::Database, Level::Table];
        all.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            Error::config(format!("'{text}' is not a level.")).with_hint("Say cluster, account, database or table.")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_moments_as_sql() {
        let cases = [
            (Scope::Cluster, "CLUSTER"),
            (Scope::Account(None), "ACCOUNT"),
            (Scope::Account(Some("a".into())), "ACCOUNT `a`"),
            (Scope::database("c;`d"), "DATABASE `c;``d`"),
            (Scope::table("d", "t"), "TABLE `d`.`t`"),
            (Scope::tables("d", ["t", "u"]), "TABLES `d` (`t`, `u`)"),
        ];
        for (scope, text) in cases {
            assert_eq!(scope.to_string(), text);
        }
        let time = "2026-01-31T10:00:00Z".parse().unwrap();
        assert_eq!(When::Time(time).to_string(), "TIMESTAMP '2026-01-31T10:00:00Z'");
        assert_eq!(When::Words("-1' hour".into()).to_string(), "TIMESTAMP '-1'' hour'");
        assert_eq!(When::Snapshot("a`b".into()).to_string(), "SNAPSHOT `a``b`");
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_sent() {
        let new = |level, account: Option<&str>, database: Option<&str>, tables: &[&str]| {
            let tables = tables.iter().map(|&table| table.to_owned()).collect();
            Scope::new(level, account.map(str::to_owned), database.map(str::to_owned), tables)
        };
        assert_eq!(new(Level::Table, None, Some("d"), &["t"]).unwrap(), Scope::table("d", "t"));
        for (level, database, tables) in [
            (Level::Database, None, &[][..]),
            (Level::Table, Some("d"), &[]),
            (Level::Table, None, &["t"]),
            (Level::Database, Some("d"), &["t"]),
            (Level::Cluster, Some("d"), &[]),
        ] {
            assert!(new(level, None, database, tables).is_err());
        }
        assert!("galaxy".parse::<Level>().is_err());
    }
}

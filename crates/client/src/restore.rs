//! The verbs that bring something back, and the list of what can be brought back.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::client::Client;
use crate::error::{Error, Kind, Result};
use crate::record::{Record, unexpected};
use crate::scope::{Level, Scope, When};
use crate::snapshot::Snapshot;
use crate::sql;

/// What to restore, from when, to where. The general form; [`RestoreSnapshot`] finds the scope from the snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    pub scope: Scope,
    pub from: When,
    pub target: Target,
    pub options: RestoreOptions,
}

/// Where a restore puts what it restores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Over what is there now.
    #[default]
    InPlace,
    /// A database under this name; tables into this database, under their own names.
    Database(String),
    /// One table, into this database and under this name.
    Table { database: String, table: String },
}

/// What a restore may do beside restoring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    pub existing: Existing,
    pub missing: Missing,
    pub grants: Grants,
}

/// What becomes of a target that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// The restore is refused and changes nothing.
    #[default]
    Refuse,
    Replace,
    /// It stays as it was beside the restored one, as `<name>_before_<version>`.
    ReplaceKeepingCopy,
}

/// What becomes of a target database that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    #[default]
    Create,
    /// The restore is refused and changes nothing.
    Refuse,
}

/// What becomes of the rights on what is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grants {
    /// They stay as they are now.
    #[default]
    Leave,
    /// They are what they were then.
    Restore,
}

/// A restore of what a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestoreSnapshot {
    pub snapshot: String,
    /// Which database of the snapshot; needed only where it holds several.
    pub database: Option<String>,
    /// Only these tables; empty for all that the snapshot holds.
    pub tables: Vec<String>,
    /// Into this database; `None` is the one that they came from.
    pub target_database: Option<String>,
    /// Under this name, for a single table.
    pub target_table: Option<String>,
    pub options: RestoreOptions,
}

/// What a restore did. One that could not be done whole is an error and has changed nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestoreResult {
    pub steps: Vec<RestoreStep>,
    /// Restoring to this version takes the restore back. `None` where nothing was to do.
    pub version_before: Option<u64>,
    pub version_after: Option<u64>,
}

/// One thing that a restore did, or would do.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoreStep {
    /// `restore`, `create`, `drop`, `keep copy`, …
    pub action: String,
    pub database: String,
    /// `None` for a step about the database itself.
    pub table: Option<String>,
    pub rows_before: Option<u64>,
    pub rows_after: Option<u64>,
    /// Why, in a plan.
    pub reason: Option<String>,
}

/// A version that can be restored now.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveryPoint {
    pub timestamp: Timestamp,
    pub version: u64,
    /// `snapshot` or `commit`.
    pub kind: String,
    /// The snapshot's name, or what the commit did.
    pub name: Option<String>,
    pub author: Option<String>,
    /// Whether it can be restored now.
    pub available: bool,
}

/// The verbs that bring something back.
pub struct Restores<'a> {
    pub(crate) client: &'a mut Client,
}

impl Restores<'_> {
    /// Restores, all or nothing.
    pub async fn run(&mut self, restore: &Restore) -> Result<RestoreResult> {
        self.check(restore).await?;
        self.send(&restore.statement()).await
    }

    /// Says what a restore would do, and why. Changes nothing.
    pub async fn plan(&mut self, restore: &Restore) -> Result<Vec<RestoreStep>> {
        self.check(restore).await?;
        let result = self.client.query(&format!("EXPLAIN {}", restore.statement())).await?;
        result.records().map(|record| RestoreStep::read(&record)).collect()
    }

    /// Restores what a snapshot holds.
    pub async fn snapshot(&mut self, wanted: &RestoreSnapshot) -> Result<RestoreResult> {
        let restore = self.of_snapshot(wanted).await?;
        self.run(&restore).await
    }

    /// Restores tables: those that are named, or all that a snapshot of tables holds.
    pub async fn tables(&mut self, wanted: &RestoreSnapshot) -> Result<RestoreResult> {
        let restore = self.of_snapshot(wanted).await?;
        match restore.scope.level() {
            Level::Table => self.run(&restore).await,
            level => Err(Error::config(format!("Snapshot '{}' is of a whole {level}.", wanted.snapshot))
                .with_hint("Name the tables to restore.")),
        }
    }

    /// Says what [`Restores::snapshot`] would do. Changes nothing.
    pub async fn plan_snapshot(&mut self, wanted: &RestoreSnapshot) -> Result<Vec<RestoreStep>> {
        let restore = self.of_snapshot(wanted).await?;
        self.plan(&restore).await
    }

    /// Restores every account as it was at a snapshot of the cluster.
    pub async fn cluster(&mut self, snapshot: &str) -> Result<RestoreResult> {
        self.send(&format!("RESTORE CLUSTER FROM SNAPSHOT {}", sql::name(snapshot))).await
    }

    /// Restores an account as it was at a snapshot of it or of the cluster. A user's name stands for the user's account.
    pub async fn account(&mut self, snapshot: &str, account: &str) -> Result<RestoreResult> {
        let account = self.account_of(account).await?;
        let account = account.map_or_else(String::new, |name| format!(" {}", sql::name(&name)));
        self.send(&format!("RESTORE ACCOUNT{account} FROM SNAPSHOT {}", sql::name(snapshot))).await
    }

    /// Restores a database of an account over what is there now, as MatrixOne's clients ask for it.
    ///
    /// A user's name stands for the user's account. If the snapshot has no database of this name but holds exactly one,
    /// that one is restored under the name.
    pub async fn database(&mut self, snapshot: &str, account: &str, database: &str) -> Result<RestoreResult> {
        let options = RestoreOptions { existing: Existing::Replace, ..RestoreOptions::default() };
        if let Some(other) = self.account_of(account).await? {
            let (account, database, snapshot) = (sql::name(&other), sql::name(database), sql::name(snapshot));
            return self.send(&format!("RESTORE ACCOUNT {account} DATABASE {database} FROM SNAPSHOT {snapshot}")).await;
        }
        let found = self.client.snapshots().find(snapshot).await?;
        let held = self.databases_of(&found).await?;
        let source = match held.iter().find(|held| held.eq_ignore_ascii_case(database)) {
            Some(held) => held.clone(),
            None => match held.as_slice() {
                [single] => single.clone(),
                _ => return Err(no_database(database, snapshot, &held)),
            },
        };
        let wanted = RestoreSnapshot {
            snapshot: snapshot.to_owned(),
            database: Some(source),
            target_database: Some(database.to_owned()),
            options,
            ..RestoreSnapshot::default()
        };
        self.snapshot(&wanted).await
    }

    /// Lists what can be restored of a scope between two moments (both included), newest first.
    pub async fn recovery_points(
        &mut self,
        scope: &Scope,
        from: Option<When>,
        to: Option<When>,
    ) -> Result<Vec<RecoveryPoint>> {
        let mut statement = format!("SHOW RECOVERY POINTS FOR {scope}");
        if let Some(from) = from {
            let _ = write!(statement, " FROM {}", from.time());
        }
        if let Some(to) = to {
            let _ = write!(statement, " TO {}", to.time());
        }
        let result = self.client.query(&statement).await?;
        result.records().map(|record| RecoveryPoint::read(&record)).collect()
    }

    /// Runs a restore, and reads what it did.
    pub(crate) async fn send(&mut self, statement: &str) -> Result<RestoreResult> {
        let result = self.client.query(statement).await?;
        let first = result.records().next();
        let version = |name| first.as_ref().and_then(|record| record.number(name));
        let (version_before, version_after) = (version("version_before"), version("version_after"));
        let steps: Result<_> = result.records().map(|record| RestoreStep::read(&record)).collect();
        Ok(RestoreResult { steps: steps?, version_before, version_after })
    }

    /// Finds out what to restore from what a snapshot is.
    async fn of_snapshot(&mut self, wanted: &RestoreSnapshot) -> Result<Restore> {
        let snapshot = self.client.snapshots().find(&wanted.snapshot).await?;
        let from = When::Snapshot(snapshot.name.clone());
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let source = match (&snapshot.database, &wanted.database) {
            (Some(own), Some(asked)) if !same(own, asked) => {
                return Err(no_database(asked, &snapshot.name, std::slice::from_ref(own)));
            }
            (Some(own), _) => Some(own.clone()),
            (None, asked) => asked.clone().or_else(|| wanted.target_database.clone()),
        };
        let Some(source) = source else {
            if !wanted.tables.is_empty() || wanted.target_table.is_some() {
                return Err(Error::config(format!("Snapshot '{}' holds several databases.", snapshot.name))
                    .with_hint("Name the one that the tables are in."));
            }
            let scope = match snapshot.level {
                Level::Cluster => Scope::Cluster,
                _ => Scope::Account(snapshot.account),
            };
            return Ok(Restore { scope, from, target: Target::InPlace, options: wanted.options });
        };
        // A table's own name may be given as its new one alone.
        let tables = match (wanted.tables.as_slice(), &wanted.target_table) {
            ([], None) => snapshot.tables.clone(),
            ([], Some(_)) if snapshot.tables.len() == 1 => snapshot.tables.clone(),
            ([], Some(target)) => vec![target.clone()],
            (tables, _) => tables.to_vec(),
        };
        let into = wanted.target_database.as_ref().filter(|into| !same(into, &source));
        let target = match (&wanted.target_table, tables.as_slice()) {
            (Some(_), tables) if tables.len() != 1 => {
                return Err(Error::config("Several tables cannot be restored under one name.")
                    .with_hint("Leave out the table's new name, or name one table."));
            }
            (Some(table), [own]) if into.is_some() || !same(table, own) => {
                Target::Table { database: into.unwrap_or(&source).clone(), table: table.clone() }
            }
            _ => into.map_or(Target::InPlace, |into| Target::Database(into.clone())),
        };
        let scope = match tables.is_empty() {
            true => Scope::Database(source),
            false => Scope::Tables { database: source, tables },
        };
        Ok(Restore { scope, from, target, options: wanted.options })
    }

    /// Checks what the server does not: that nothing is there where nothing may be replaced, and that a database is
    /// there where none may be made.
    async fn check(&mut self, restore: &Restore) -> Result<()> {
        let (Scope::Database(source) | Scope::Tables { database: source, .. }) = &restore.scope else { return Ok(()) };
        let database = match &restore.target {
            Target::InPlace => source,
            Target::Database(database) | Target::Table { database, .. } => database,
        };
        let exists = |table: Option<&str>| match table {
            None => format!("SELECT 1 FROM information_schema.schemata WHERE schema_name = {}", sql::text(database)),
            Some(table) => format!(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
                sql::text(database),
                sql::text(table)
            ),
        };
        if restore.options.missing == Missing::Refuse && self.client.query(&exists(None)).await?.rows.is_empty() {
            return Err(Error::new(Kind::NotFound, format!("No database '{database}' to restore to."))
                .with_hint("Let the restore create it."));
        }
        if restore.options.existing == Existing::Refuse && restore.target == Target::InPlace {
            let places = match &restore.scope {
                Scope::Tables { tables, .. } => tables.iter().map(|table| Some(table.as_str())).collect(),
                _ => vec![None],
            };
            for place in places {
                if !self.client.query(&exists(place)).await?.rows.is_empty() {
                    let name = place.map_or_else(|| database.clone(), |table| format!("{database}.{table}"));
                    return Err(Error::new(
                        Kind::AlreadyExists,
                        format!("'{name}' exists already; nothing was restored."),
                    )
                    .with_hint("Allow it to be overwritten, or restore to another name."));
                }
            }
        }
        Ok(())
    }

    /// Returns the name of another account than the session's, or `None` for its own.
    async fn account_of(&mut self, name: &str) -> Result<Option<String>> {
        let own = format!(
            "SELECT account_name FROM mo_catalog.mo_account WHERE LOWER(account_name) = {}",
            sql::text(&name.to_lowercase())
        );
        let user = format!("SELECT 1 FROM mo_catalog.mo_user WHERE user_name = {}", sql::text(name));
        if self.client.query(&own).await?.rows.is_empty() {
            return match self.client.query(&user).await?.rows.is_empty() {
                false => Ok(None),
                true => Err(Error::new(Kind::NotFound, format!("No account or user '{name}'."))
                    .with_hint("The default account is 'sys'.")),
            };
        }
        let login = self.client.query("SELECT USER()").await?;
        let login = login.rows.first().and_then(|row| row.first()?.to_text()).unwrap_or_default();
        let current = login.split_once(':').map_or("sys", |(account, _)| account);
        Ok((!name.eq_ignore_ascii_case(current)).then(|| name.to_owned()))
    }

    /// Returns the databases that a snapshot holds.
    async fn databases_of(&mut self, snapshot: &Snapshot) -> Result<Vec<String>> {
        if let Some(database) = &snapshot.database {
            return Ok(vec![database.clone()]);
        }
        let names = self
            .client
            .query_snapshot(
                &snapshot.name,
                "SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN \
                 ('information_schema', 'mo_catalog', 'mysql', 'performance_schema', 'sys', 'system', 'system_metrics')",
            )
            .await?;
        Ok(names.rows.iter().filter_map(|row| row.first()?.to_text()).collect())
    }
}

impl RestoreSnapshot {
    pub fn new(snapshot: impl Into<String>) -> RestoreSnapshot {
        RestoreSnapshot { snapshot: snapshot.into(), ..RestoreSnapshot::default() }
    }

    pub fn database(self, database: impl Into<String>) -> RestoreSnapshot {
        RestoreSnapshot { database: Some(database.into()), ..self }
    }

    pub fn tables<T: Into<String>>(self, tables: impl IntoIterator<Item = T>) -> RestoreSnapshot {
        RestoreSnapshot { tables: tables.into_iter().map(Into::into).collect(), ..self }
    }

    pub fn to_database(self, database: impl Into<String>) -> RestoreSnapshot {
        RestoreSnapshot { target_database: Some(database.into()), ..self }
    }

    pub fn to_table(self, table: impl Into<String>) -> RestoreSnapshot {
        RestoreSnapshot { target_table: Some(table.into()), ..self }
    }

    /// Replaces a target that exists.
    pub fn overwrite(mut self) -> RestoreSnapshot {
        self.options.existing = Existing::Replace;
        self
    }

    /// Replaces a target that exists, and keeps it as it was beside the restored one.
    pub fn overwrite_keeping_copy(mut self) -> RestoreSnapshot {
        self.options.existing = Existing::ReplaceKeepingCopy;
        self
    }

    pub fn with_grants(mut self) -> RestoreSnapshot {
        self.options.grants = Grants::Restore;
        self
    }
}

impl Restore {
    pub fn new(scope: Scope, from: When) -> Restore {
        Restore { scope, from, target: Target::InPlace, options: RestoreOptions::default() }
    }

    pub fn to_database(self, database: impl Into<String>) -> Restore {
        Restore { target: Target::Database(database.into()), ..self }
    }

    /// Replaces a target that exists.
    pub fn overwrite(mut self) -> Restore {
        self.options.existing = Existing::Replace;
        self
    }

    fn statement(&self) -> String {
        format!("RESTORE {} FROM {}{}", self.scope, self.from, self.tail())
    }

    /// What follows the moment.
    pub(crate) fn tail(&self) -> String {
        let mut tail = String::new();
        match &self.target {
            Target::InPlace => {}
            Target::Database(database) => {
                let _ = write!(tail, " TO DATABASE {}", sql::name(database));
            }
            Target::Table { database, table } => {
                let _ = write!(tail, " TO DATABASE {} TABLE {}", sql::name(database), sql::name(table));
            }
        }
        let in_place = self.target == Target::InPlace;
        if self.options.existing != Existing::Refuse && !in_place {
            tail.push_str(" OVERWRITE");
        }
        if self.options.existing == Existing::ReplaceKeepingCopy {
            tail.push_str(" KEEP COPY");
        }
        if self.options.missing == Missing::Create && !in_place && self.scope.level() == Level::Table {
            tail.push_str(" CREATE DATABASE");
        }
        if self.options.grants == Grants::Restore {
            tail.push_str(" WITH GRANTS");
        }
        tail
    }
}

impl RestoreResult {
    /// Returns the names under which what was replaced is kept: `shop_before_17`, `shop.orders_before_17`.
    pub fn copies(&self) -> Vec<String> {
        let copies = self.steps.iter().filter(|step| step.action == "keep copy");
        let mut names: Vec<String> = copies
            .map(|step| match &step.table {
                Some(table) if !step.database.contains("_before_") => format!("{}.{table}", step.database),
                _ => step.database.clone(),
            })
            .collect();
        names.dedup();
        names
    }
}

impl RestoreStep {
    fn read(record: &Record<'_>) -> Result<RestoreStep> {
        Ok(RestoreStep {
            action: record.required("action")?,
            database: record.text("database").unwrap_or_default(),
            table: record.text("table"),
            rows_before: record.number("rows_before").or_else(|| record.number("rows_now")),
            rows_after: record.number("rows_after").or_else(|| record.number("rows_then")),
            reason: record.text("reason"),
        })
    }
}

impl RecoveryPoint {
    fn read(record: &Record<'_>) -> Result<RecoveryPoint> {
        Ok(RecoveryPoint {
            timestamp: record.time("time")?.ok_or_else(|| unexpected("a recovery point has no time"))?,
            version: record.number("version").ok_or_else(|| unexpected("a recovery point has no version"))?,
            kind: record.required("type")?,
            name: record.text("name"),
            author: record.text("author"),
            // What cannot be restored any more is not listed.
            available: true,
        })
    }
}

fn no_database(database: &str, snapshot: &str, held: &[String]) -> Error {
    let message = format!("Snapshot '{snapshot}' holds no database '{database}'.");
    Error::new(Kind::NotFound, message).with_hint(&match held {
        [] => "It holds none.".to_owned(),
        held => format!("It holds {}.", held.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements() {
        let all = RestoreOptions {
            existing: Existing::ReplaceKeepingCopy,
            missing: Missing::Create,
            grants: Grants::Restore,
        };
        let restore = |scope, from, target, options| Restore { scope, from, target, options }.statement();
        assert_eq!(
            restore(Scope::table("d", "t"), When::Version(4), Target::Database("e".into()), all),
            "RESTORE TABLE `d`.`t` FROM VERSION 4 TO DATABASE `e` OVERWRITE KEEP COPY CREATE DATABASE WITH GRANTS"
        );
        let table = Target::Table { database: "e".into(), table: "u".into() };
        assert_eq!(
            restore(Scope::table("d", "t"), When::Now, table, RestoreOptions::default()),
            "RESTORE TABLE `d`.`t` FROM NOW TO DATABASE `e` TABLE `u` CREATE DATABASE"
        );
        assert_eq!(
            restore(Scope::database("d"), When::Snapshot("s".into()), Target::InPlace, all),
            "RESTORE DATABASE `d` FROM SNAPSHOT `s` KEEP COPY WITH GRANTS"
        );
    }
}

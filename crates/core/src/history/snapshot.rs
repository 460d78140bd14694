//! Snapshots: names that people give to versions. Creating one stores a row, at any size of the data.

use crate::catalog::Catalog;
use crate::db::Database;
use crate::error::{Error, Result, What};
use crate::ids::{AccountId, ColumnId, PinId};
use crate::log::{Pin, Scope};
use crate::schema::{Table, same_name};
use crate::txn::Author;
use crate::when::{When, find_snapshot};

/// What to take a snapshot of.
#[derive(Clone, Debug)]
pub struct SnapshotSpec {
    pub name: String,
    pub scope: Scope,
    /// Names of the only columns that are part of it; empty for all. Needs exactly one table.
    pub columns: Vec<String>,
    pub when: When,
    pub comment: String,
}

/// How long a snapshot's name may be, in characters.
const NAME_MAX: usize = 64;

impl Database {
    /// Creates a snapshot. It is there, durably, when this returns.
    pub async fn create_snapshot(&self, spec: &SnapshotSpec, author: &Author) -> Result<Pin> {
        check_name(&spec.name)?;
        let resolved = self.resolve(&spec.when, author.account)?;
        if let Some(source) = &resolved.snapshot {
            source.admits_scope(&spec.scope)?;
        }
        // The moment is held from here on, so that its version cannot be collected before the pin stands.
        let moment = self.moment(&resolved)?;
        let columns = check_scope(moment.catalog(), author.account, &spec.scope, &spec.columns)?;
        let now = self.env().now().max(moment.time());
        let mut pin = Pin {
            id: PinId(0),
            name: spec.name.clone(),
            account: author.account,
            scope: spec.scope.clone(),
            version: moment.version(),
            created: now,
            version_time: moment.time(),
            author: author.name.clone(),
            comment: spec.comment.clone(),
            columns,
            retain_until: None,
        };
        pin.id = self.metastore().put_pin(&pin)?;
        Ok(pin)
    }

    /// Drops a snapshot. What it alone kept is forgotten.
    pub async fn drop_snapshot(&self, name: &str, author: &Author) -> Result<Pin> {
        let pins = self.metastore().pins()?;
        let pin = find_snapshot(&pins, author.account, name)?.clone();
        self.metastore().drop_pins(&[pin.id])?;
        Ok(pin)
    }

    /// Returns the snapshots of an account, newest first.
    pub fn snapshots(&self, account: AccountId) -> Result<Vec<Pin>> {
        let mut pins = self.metastore().pins()?;
        pins.retain(|pin| pin.account == account);
        pins.sort_by_key(|pin| std::cmp::Reverse((pin.created, pin.id)));
        Ok(pins)
    }

    /// Returns the bytes of the parts that a snapshot refers to.
    pub async fn snapshot_bytes(&self, pin: &Pin) -> Result<u64> {
        let moment = self.moment_of(pin.version)?;
        let mut bytes = 0;
        for table in tables_of(moment.catalog(), pin.account, &pin.scope) {
            if let Some(digest) = moment.catalog().content(table.id).and_then(|content| content.manifest) {
                bytes += self.cold().manifest(digest).await?.bytes();
            }
        }
        Ok(bytes)
    }
}

impl Pin {
    /// Checks that a table may be read through this snapshot.
    pub fn admits_table(&self, account: &str, database: &str, table: &str) -> Result<()> {
        let (inside, speaks_of) = match &self.scope {
            Scope::Cluster => (true, String::new()),
            Scope::Account(name) => (same_name(name, account), format!("account '{name}'")),
            Scope::Database(name) => (same_name(name, database), format!("database '{name}'")),
            Scope::Tables(of, tables) => (
                same_name(of, database) && tables.iter().any(|name| same_name(name, table)),
                format!("table {of}.{}", tables.join(&format!(", {of}."))),
            ),
        };
        if inside {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "Snapshot '{}' speaks of {speaks_of}; '{database}.{table}' is not part of it.",
            self.name
        ))
        .with_hint("Take a snapshot FOR a scope that has the table, or read it at that time with AS OF TIMESTAMP."))
    }

    /// Checks that a whole scope lies inside this snapshot.
    pub fn admits_scope(&self, scope: &Scope) -> Result<()> {
        let inside = match (&self.scope, scope) {
            (Scope::Cluster, _) => true,
            (_, Scope::Cluster) => false,
            (Scope::Account(_), Scope::Account(name)) => {
                matches!(&self.scope, Scope::Account(own) if same_name(own, name))
            }
            (Scope::Account(_), _) => true,
            (Scope::Database(own), Scope::Database(name) | Scope::Tables(name, _)) => same_name(own, name),
            (Scope::Tables(own, tables), Scope::Tables(name, wanted)) => {
                same_name(own, name) && wanted.iter().all(|table| tables.iter().any(|own| same_name(own, table)))
            }
            _ => false,
        };
        if inside {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "Snapshot '{}' is of {}; it does not hold {}.",
            self.name,
            describe(&self.scope),
            describe(scope)
        ))
        .with_hint("SHOW SNAPSHOTS lists what each snapshot holds."))
    }

    /// Checks that columns may be read through this snapshot; the error names those that it has.
    pub fn admits_columns(&self, table: &Table, wanted: &[ColumnId]) -> Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let Some(missing) = wanted.iter().find(|id| !self.columns.contains(id)) else { return Ok(()) };
        let name = |id: &ColumnId| table.column_by_id(*id).map_or("?", |column| column.name.as_str()).to_owned();
        let has: Vec<String> = self.columns.iter().map(name).collect();
        Err(Error::new(
            crate::error::Kind::NotFound(What::Column),
            format!(
                "Column '{}' is not part of snapshot '{}', which has the columns {}.",
                name(missing),
                self.name,
                has.join(", ")
            ),
        ))
    }
}

/// Writes a scope as people say it.
pub fn describe(scope: &Scope) -> String {
    match scope {
        Scope::Cluster => "the cluster".to_owned(),
        Scope::Account(name) => format!("account '{name}'"),
        Scope::Database(name) => format!("database '{name}'"),
        Scope::Tables(database, tables) => match tables.as_slice() {
            [table] => format!("table '{database}.{table}'"),
            tables => format!("tables {} of database '{database}'", tables.join(", ")),
        },
    }
}

/// Returns the tables (not views) of a scope, as far as they exist.
pub fn tables_of(catalog: &Catalog, account: AccountId, scope: &Scope) -> Vec<std::sync::Arc<Table>> {
    let of_account = |id| {
        let databases = catalog.databases_of(id);
        databases.iter().flat_map(|database| catalog.tables_of(database.id)).collect::<Vec<_>>()
    };
    let mut tables = match scope {
        Scope::Cluster => catalog.all_tables().cloned().collect(),
        Scope::Account(name) => catalog.account(name).map(|account| of_account(account.id)).unwrap_or_default(),
        Scope::Database(name) => {
            catalog.database(account, name).map(|database| catalog.tables_of(database.id)).unwrap_or_default()
        }
        Scope::Tables(name, tables) => match catalog.database(account, name) {
            Ok(database) => tables.iter().filter_map(|table| catalog.table(database, table).ok().cloned()).collect(),
            Err(_) => Vec::new(),
        },
    };
    tables.retain(|table| !table.is_view());
    tables
}

/// Checks that everything a scope names exists, and returns the ids of the named columns.
fn check_scope(catalog: &Catalog, account: AccountId, scope: &Scope, columns: &[String]) -> Result<Vec<ColumnId>> {
    match scope {
        Scope::Cluster => {}
        Scope::Account(name) => {
            catalog.account(name)?;
        }
        Scope::Database(name) => {
            catalog.database(account, name)?;
        }
        Scope::Tables(name, tables) => {
            let database = catalog.database(account, name)?;
            for table in tables {
                catalog.table(database, table)?;
            }
        }
    }
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let Scope::Tables(database, tables) = scope else {
        return Err(Error::invalid("COLUMNS needs a snapshot FOR TABLE d.t.").with_hint("Name exactly one table."));
    };
    let [table] = tables.as_slice() else {
        return Err(Error::invalid("COLUMNS needs a snapshot of exactly one table.").with_hint("Name one table."));
    };
    let table = catalog.table(catalog.database(account, database)?, table)?;
    columns
        .iter()
        .map(|name| match table.column(name) {
            Some(column) => Ok(column.id),
            None => {
                let names = table.columns.iter().map(|column| column.name.as_str());
                let error = Error::not_found(What::Column, &format!("{}.{name}", table.name));
                Err(crate::catalog::suggest(error, crate::error::closest(name, names)))
            }
        })
        .collect()
}

fn check_name(name: &str) -> Result<()> {
    let length = name.chars().count();
    if length == 0 || length > NAME_MAX {
        return Err(Error::invalid(format!(
            "A snapshot's name has 1 to {NAME_MAX} characters; this one has {length}."
        )));
    }
    if name.chars().any(char::is_control) || name.trim() != name {
        return Err(Error::invalid("A snapshot's name has no control characters, and no spaces at its ends."));
    }
    Ok(())
}

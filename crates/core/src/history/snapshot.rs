//! Snapshots: names that people give to versions. Creating one stores a row, at any size of the data.

use crate::catalog::Catalog;
use crate::db::Database;
use crate::error::{Error, Result, What};
use crate::ids::{AccountId, ColumnId, PinId};
use crate::log::{Pin, Scope};
use crate::schema::Table;
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

/// How long the name of a snapshot or a policy may be, in characters.
const NAME_MAX: usize = 64;

impl Database {
    /// Creates a snapshot. It is there, durably, when this returns.
    pub async fn create_snapshot(&self, spec: &SnapshotSpec, author: &Author) -> Result<Pin> {
        check_name("snapshot", &spec.name)?;
        let resolved = self.resolve(&spec.when, author.account)?;
        if let Some(limit) = &resolved.limit {
            limit.admits_scope(&spec.scope)?;
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
            Scope::Account(name) => (name.eq_ignore_ascii_case(account), format!("account '{name}'")),
            Scope::Database(name) => (name.eq_ignore_ascii_case(database), format!("database '{name}'")),
            Scope::Tables(of, tables) => (
                of.eq_ignore_ascii_case(database) && tables.iter().any(|name| name.eq_ignore_ascii_case(table)),
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
        if self.scope.holds(scope) {
            return Ok(());
        }
        Err(Error::invalid(format!("Snapshot '{}' is of {}; it does not hold {scope}.", self.name, self.scope))
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
pub(crate) fn check_scope(
    catalog: &Catalog,
    account: AccountId,
    scope: &Scope,
    columns: &[String],
) -> Result<Vec<ColumnId>> {
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

/// Checks the name that somebody gives to a thing of this kind.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let length = name.chars().count();
    if length == 0 || length > NAME_MAX {
        return Err(Error::invalid(format!("A {what}'s name has 1 to {NAME_MAX} characters; this one has {length}.")));
    }
    if name.chars().any(char::is_control) || name.trim() != name {
        return Err(Error::invalid(format!("A {what}'s name has no control characters, and no spaces at its ends.")));
    }
    Ok(())
}

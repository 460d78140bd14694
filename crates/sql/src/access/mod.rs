//! What a session may do: the one place that turns grants into yes or no.
//!
//! ```text
//! grants of the user and of the active roles ─► Rights, kept until a user changes
//! statement ─► needs (privilege, object) ─► Rights ─► run, or 1044, 1142, 1143, 1227
//! ```
//! Rights are always the present's. What is read at another moment is looked up by its identity: the table that it is
//! now decides, and where there is none any more, the database does. So the past is no back door.
//!
//! Statements whose tables are resolved while they are planned (SELECT, INSERT, UPDATE, DELETE) are checked there, with
//! the functions of this module; [`needs`] says what all others need.

use std::collections::BTreeSet;
use std::sync::Arc;

use strandline_core::catalog::{Catalog, Users};
use strandline_core::db::SYS;
use strandline_core::grants::{Grants, Privileges};
use strandline_core::ids::{AccountId, ColumnId, UserId};
use strandline_core::log::Scope;
use strandline_core::schema::{Database, Table, User, fold};

use crate::error::{Error, Result};
use crate::show::like::like;

pub mod columns;
pub mod grant;
pub mod history;
pub mod needs;
pub mod restore;
pub mod roles;
pub mod show;
#[cfg(test)]
mod tests;

/// Which of the user's roles a session has made active.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ActiveRoles {
    /// Those that SET DEFAULT ROLE named.
    #[default]
    Default,
    None,
    All,
    AllExcept(Vec<UserId>),
    Only(Vec<UserId>),
}

/// What a user may do, with the roles that are active.
#[derive(Clone, Debug)]
pub struct Rights {
    account: AccountId,
    user: Option<UserId>,
    /// `'user'@'host'`, as errors say it.
    who: String,
    grants: Grants,
    /// The active roles, and those granted to them.
    active: Vec<UserId>,
    /// What all this was read from.
    users: Arc<Users>,
}

impl Rights {
    /// Returns the rights of a user; none where the user is gone.
    pub fn of(users: &Arc<Users>, account: AccountId, user: UserId, roles: &ActiveRoles, who: String) -> Rights {
        let found = users.get(&user);
        let mut grants = found.map(|user| user.grants.clone()).unwrap_or_default();
        let mut active = Vec::new();
        let mut waiting: Vec<UserId> = found.map(|user| chosen(user, roles)).unwrap_or_default();
        while let Some(id) = waiting.pop() {
            if active.contains(&id) {
                continue;
            }
            if let Some(role) = users.get(&id).filter(|role| role.account == account) {
                active.push(id);
                grants.add(&role.grants);
                waiting.extend(role.grants.roles.keys());
            }
        }
        Rights { account, user: Some(user), who, grants, active, users: users.clone() }
    }

    /// Returns the rights in which the server itself reads: to check a constraint, to rebuild a table.
    pub fn everything() -> Rights {
        Rights {
            account: SYS,
            user: None,
            who: "the server".to_owned(),
            grants: Grants::everything(),
            active: Vec::new(),
            users: Arc::default(),
        }
    }

    /// Tells whether these are the rights that such users have.
    pub fn are_of(&self, users: &Arc<Users>) -> bool {
        Arc::ptr_eq(&self.users, users)
    }

    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Returns the user's record.
    pub fn user(&self) -> Option<&Arc<User>> {
        self.users.get(&self.user?)
    }

    /// Tells whether a record is the session's own user.
    pub fn is_own(&self, user: &User) -> bool {
        self.user == Some(user.id)
    }

    /// Returns the roles that are active, those granted to active ones among them.
    pub fn active_roles(&self) -> impl Iterator<Item = &Arc<User>> {
        self.active.iter().filter_map(|id| self.users.get(id))
    }

    /// Returns what is granted, that of active roles included.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Tells whether one of these privileges is granted on `*.*`.
    pub fn has_one_of(&self, one_of: Privileges) -> bool {
        !(self.grants.global & one_of).is_empty()
    }

    /// Returns what is granted on a database.
    pub fn on_database(&self, database: &str) -> Privileges {
        let database = fold(database);
        let matching = |(name, privileges): (&String, &Privileges)| {
            let fits = *name == database || (name.contains(['%', '_', '\\']) && like(name, &database));
            fits.then_some(*privileges)
        };
        self.grants.databases.iter().filter_map(matching).fold(self.grants.global, |all, more| all | more)
    }

    /// Returns what is granted on a whole table.
    pub fn on_table(&self, database: &str, table: &str) -> Privileges {
        let own = self.grants.on_table(&fold(database), &fold(table));
        self.on_database(database) | own.map_or(Privileges::NONE, |own| own.table)
    }

    /// Returns what is granted on a table or on any of its columns, of what tables can have.
    pub fn on_any_of_table(&self, database: &str, table: &str) -> Privileges {
        let own = self.grants.on_table(&fold(database), &fold(table));
        (self.on_database(database) | own.map_or(Privileges::NONE, |own| own.any())) & Privileges::OF_TABLES
    }

    /// Returns what is granted on a column.
    pub fn on_column(&self, database: &str, table: &str, column: &str) -> Privileges {
        let own = self.grants.on_table(&fold(database), &fold(table));
        let own = own.and_then(|own| own.columns.get(&fold(column)));
        self.on_table(database, table) | own.copied().unwrap_or_default()
    }

    /// Tells whether anything in a database is granted.
    pub fn sees_database(&self, database: &str) -> bool {
        crate::ddl::is_virtual(database)
            || !(self.on_database(database) & Privileges::OF_DATABASES).is_empty()
            || self.grants.tables.contains_key(&fold(database))
    }

    /// Tells whether a snapshot's scope lies where anything is granted.
    pub fn sees_scope(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Cluster | Scope::Account(_) => !(self.grants.global & Privileges::OF_DATABASES).is_empty(),
            Scope::Database(database) => self.sees_database(database),
            Scope::Tables(database, tables) => {
                tables.iter().any(|table| !self.on_any_of_table(database, table).is_empty())
            }
        }
    }

    /// Asks for one of these privileges on `*.*`.
    ///
    /// # Errors
    /// 1227
    pub fn require_one_of(&self, one_of: Privileges) -> Result<()> {
        if self.has_one_of(one_of) { Ok(()) } else { Err(lacks(one_of)) }
    }

    /// Asks for all of these privileges on `*.*`.
    ///
    /// # Errors
    /// 1227
    pub fn require_all(&self, all: Privileges) -> Result<()> {
        let missing = all - self.grants.global;
        if missing.is_empty() { Ok(()) } else { Err(lacks(missing)) }
    }

    /// Asks for all of these privileges on a database.
    ///
    /// # Errors
    /// 1044
    pub fn require_on_database(&self, database: &str, all: Privileges) -> Result<()> {
        if self.on_database(database).has(all) { Ok(()) } else { Err(self.denied_database(database)) }
    }

    /// Asks for all of these privileges on a table.
    ///
    /// # Errors
    /// 1142
    pub fn require_on_table(&self, database: &str, table: &str, all: Privileges) -> Result<()> {
        let missing = all - self.on_table(database, table);
        if missing.is_empty() { Ok(()) } else { Err(self.denied_table(missing, table)) }
    }

    /// Asks for a privilege on columns of a table.
    ///
    /// # Errors
    /// 1142 where nothing of it is granted on the table, else 1143.
    pub fn require_on_columns<'a>(
        &self,
        database: &str,
        table: &str,
        columns: impl IntoIterator<Item = &'a str>,
        privilege: Privileges,
    ) -> Result<()> {
        if self.on_table(database, table).has(privilege) {
            return Ok(());
        }
        if !self.on_any_of_table(database, table).has(privilege) {
            return Err(self.denied_table(privilege, table));
        }
        match columns.into_iter().find(|column| !self.on_column(database, table, column).has(privilege)) {
            Some(column) => Err(self.denied_column(privilege, column, table)),
            None => Ok(()),
        }
    }

    /// Asks for anything at all on a table or its columns, so that others do not even learn whether it exists.
    ///
    /// # Errors
    /// 1142, which names `command`.
    pub fn require_any_on_table(&self, database: &str, table: &str, command: &str) -> Result<()> {
        if self.on_any_of_table(database, table).is_empty() {
            return Err(self.denied_command(command, table));
        }
        Ok(())
    }

    /// Asks for anything at all in a database.
    ///
    /// # Errors
    /// 1044
    pub fn require_any_in_database(&self, database: &str) -> Result<()> {
        if self.sees_database(database) { Ok(()) } else { Err(self.denied_database(database)) }
    }

    /// 1044
    pub fn denied_database(&self, database: &str) -> Error {
        Error::new(1044, "42000", format!("Access denied for user {} to database '{database}'", self.who))
    }

    /// 1142
    pub fn denied_table(&self, missing: Privileges, table: &str) -> Error {
        self.denied_command(&missing.to_string(), table)
    }

    /// 1143
    pub fn denied_column(&self, missing: Privileges, column: &str, table: &str) -> Error {
        let message = format!("{missing} command denied to user {} for column '{column}' in table '{table}'", self.who);
        Error::new(1143, "42000", message)
    }

    /// 1142
    pub fn denied_command(&self, command: &str, table: &str) -> Error {
        Error::new(1142, "42000", format!("{command} command denied to user {} for table '{table}'", self.who))
    }
}

/// 1227
pub fn lacks(one_of: Privileges) -> Error {
    let message = format!("Access denied; you need (at least one of) the {one_of} privilege(s) for this operation");
    Error::new(1227, "42000", message)
}

/// Returns the roles that a choice makes active, of those granted to the user.
fn chosen(user: &User, roles: &ActiveRoles) -> Vec<UserId> {
    let granted = user.grants.roles.iter();
    granted
        .filter(|(id, membership)| match roles {
            ActiveRoles::Default => membership.default,
            ActiveRoles::None => false,
            ActiveRoles::All => true,
            ActiveRoles::AllExcept(left_out) => !left_out.contains(id),
            ActiveRoles::Only(chosen) => chosen.contains(id),
        })
        .map(|(id, _)| *id)
        .collect()
}

/// What a table of some moment is now.
pub struct Place {
    /// The name of its database.
    pub database: String,
    /// `None` where the table is gone: what its database grants decides then.
    pub table: Option<Arc<Table>>,
}

impl Place {
    /// Looks a table up among what exists now.
    pub fn of(present: &Catalog, database: &Database, table: &Table) -> Place {
        let now = present.table_by_id(table.id).cloned();
        let home = now.as_ref().map_or(database.id, |table| table.database);
        let home = present.database_by_id(home).map_or(&database.name, |home| &home.name);
        Place { database: home.clone(), table: now }
    }

    /// Returns the place of a table that this transaction may have made itself.
    pub fn of_own(present: &Catalog, database: &Database, table: &Arc<Table>) -> Place {
        match Place::of(present, database, table) {
            Place { table: None, .. } => Place { database: database.name.clone(), table: Some(table.clone()) },
            place => place,
        }
    }

    /// Returns what is granted on the table; on its database where it is gone.
    pub fn granted(&self, rights: &Rights) -> Privileges {
        match &self.table {
            Some(table) => rights.on_table(&self.database, &table.name),
            None => rights.on_database(&self.database),
        }
    }

    /// Returns what is granted on the table or on any of its columns.
    pub fn granted_anywhere(&self, rights: &Rights) -> Privileges {
        match &self.table {
            Some(table) => rights.on_any_of_table(&self.database, &table.name),
            None => rights.on_database(&self.database) & Privileges::OF_TABLES,
        }
    }

    /// Returns what is granted on a column of the table, as it was at some moment.
    pub fn granted_on(&self, rights: &Rights, column: ColumnId) -> Privileges {
        let now = self.table.as_ref().and_then(|table| Some((table, table.column_by_id(column)?)));
        match now {
            Some((table, column)) => rights.on_column(&self.database, &table.name, &column.name),
            // A column that is gone is the whole table's affair.
            None => self.granted(rights),
        }
    }

    /// Returns which columns may be read: `None` for all.
    ///
    /// # Errors
    /// 1142 where none may. `name` is what the statement calls the table.
    pub fn readable(&self, rights: &Rights, name: &str) -> Result<Option<BTreeSet<ColumnId>>> {
        if self.granted(rights).has(Privileges::SELECT) {
            return Ok(None);
        }
        let columns = self.table.iter().flat_map(|table| &table.columns).map(|column| column.id);
        let readable: BTreeSet<ColumnId> =
            columns.filter(|id| self.granted_on(rights, *id).has(Privileges::SELECT)).collect();
        if readable.is_empty() {
            return Err(rights.denied_table(Privileges::SELECT, name));
        }
        Ok(Some(readable))
    }
}

/// Returns the rights in which a view reads its tables: its definer's, or for SQL SECURITY INVOKER those of `invoker`.
///
/// # Errors
/// 1449 where the definer is gone.
pub fn of_view(present: &Catalog, invoker: &Arc<Rights>, database: &Database, view: &Table) -> Result<Arc<Rights>> {
    if crate::ddl::attributes::view_security(view) == "INVOKER" {
        return Ok(invoker.clone());
    }
    let definer = crate::ddl::attributes::view_definer(view);
    let (name, host) = definer.rsplit_once('@').unwrap_or((definer, "%"));
    let Some(user) = present.user(database.account, name) else {
        let message = format!("The user specified as a definer ('{name}'@'{host}') does not exist");
        return Err(Error::new(1449, "HY000", message));
    };
    let who = format!("'{name}'@'{host}'");
    Ok(Arc::new(Rights::of(present.user_set(), database.account, user.id, &ActiveRoles::Default, who)))
}

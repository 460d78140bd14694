//! What exists at one version: accounts, databases, tables, users, and what each table holds.
//!
//! A catalog is immutable. A commit's changes make a new one that shares everything untouched. Every object is a
//! row `(kind, id, begin, end)` of the metastore, so the catalog of an old version is read with one query.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, What, closest};
use crate::ids::{AccountId, DatabaseId, Digest, TableId, UserId, Version};
use crate::schema::{Account, Database, ForeignKey, Table, User, fold, same_name};

/// What a table holds from a version on.
///
/// ```text
/// rows(v) = manifest − deletion vectors, under the inherited deltas, under the table's own deltas in (flushed, v]
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Content {
    /// The manifest's digest; `None` while nothing was flushed.
    pub manifest: Option<Digest>,
    /// Who wrote the rows of parts that carry no version of their own (bulk loads learn theirs at commit).
    pub parts_version: Version,
    /// Deltas of other tables (or of this one before a restore), oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherited: Vec<Inherited>,
    /// The table's own deltas after this version belong to it. `Version::MAX` until commit means "the version before
    /// the commit".
    pub flushed: Version,
    /// The next free `_row_id`, at least.
    pub next_row_id: u64,
    /// The next AUTO_INCREMENT value, at least.
    pub next_auto: u64,
}

/// A range of the log that a content reads through: the deltas of `origin` in `(after, upto]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Inherited {
    pub origin: TableId,
    pub after: Version,
    pub upto: Version,
}

impl Content {
    /// Returns the content of a table that is created empty by the commit it stands in.
    pub fn empty() -> Content {
        Content {
            manifest: None,
            parts_version: Version::MAX,
            inherited: Vec::new(),
            flushed: Version::MAX,
            next_row_id: 1,
            next_auto: 1,
        }
    }

    /// Returns the content that shows, in a new commit, what `table` held at `version` through this content.
    /// Restore and clone are this function: no row is copied.
    pub fn as_of(&self, table: TableId, version: Version) -> Content {
        let mut inherited = self.inherited.clone();
        if version > self.flushed {
            inherited.push(Inherited { origin: table, after: self.flushed, upto: version });
        }
        Content { inherited, flushed: Version::MAX, ..self.clone() }
    }

    /// Fills in what only the commit knows.
    pub(crate) fn stamp(&mut self, version: Version) {
        if self.flushed == Version::MAX {
            self.flushed = Version(version.0 - 1);
        }
        if self.parts_version == Version::MAX {
            self.parts_version = version;
        }
    }
}

/// One change of the catalog, as a commit records it. A put takes the place of the object with the same id.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    PutAccount(Account),
    DropAccount(AccountId),
    PutDatabase(Database),
    DropDatabase(DatabaseId),
    PutTable(#[serde(with = "shared")] Arc<Table>),
    DropTable(TableId),
    /// Ends with the table: there is no drop.
    PutContent(TableId, #[serde(with = "shared")] Arc<Content>),
    PutUser(User),
    DropUser(UserId),
}

/// The kinds of catalog rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum ObjectKind {
    Account,
    Database,
    Table,
    Content,
    User,
}

impl ObjectKind {
    /// Returns the word that stands in the metastore.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Account => "account",
            ObjectKind::Database => "database",
            ObjectKind::Table => "table",
            ObjectKind::Content => "content",
            ObjectKind::User => "user",
        }
    }
}

impl Change {
    /// Returns which catalog row this change touches: a content has its table's id.
    pub fn object(&self) -> (ObjectKind, u64) {
        match self {
            Change::PutAccount(account) => (ObjectKind::Account, account.id.0),
            Change::DropAccount(id) => (ObjectKind::Account, id.0),
            Change::PutDatabase(database) => (ObjectKind::Database, database.id.0),
            Change::DropDatabase(id) => (ObjectKind::Database, id.0),
            Change::PutTable(table) => (ObjectKind::Table, table.id.0),
            Change::DropTable(id) => (ObjectKind::Table, id.0),
            Change::PutContent(id, _) => (ObjectKind::Content, id.0),
            Change::PutUser(user) => (ObjectKind::User, user.id.0),
            Change::DropUser(id) => (ObjectKind::User, id.0),
        }
    }

    /// Returns the name and the id of the object above (0 at the top), for puts of named things.
    pub fn name(&self) -> Option<(&str, u64)> {
        match self {
            Change::PutAccount(account) => Some((&account.name, 0)),
            Change::PutDatabase(database) => Some((&database.name, database.account.0)),
            Change::PutTable(table) => Some((&table.name, table.database.0)),
            Change::PutUser(user) => Some((&user.name, user.account.0)),
            _ => None,
        }
    }

    /// Tells whether the change ends an object.
    pub fn is_drop(&self) -> bool {
        matches!(self, Change::DropAccount(_) | Change::DropDatabase(_) | Change::DropTable(_) | Change::DropUser(_))
    }

    /// Fills in what only the commit knows.
    pub(crate) fn stamp(&mut self, version: Version) {
        if let Change::PutContent(_, content) = self {
            Arc::make_mut(content).stamp(version);
        }
    }
}

/// The users of all accounts.
pub type Users = HashMap<UserId, Arc<User>>;

/// Everything that exists at one version.
#[derive(Clone, Default, Debug)]
pub struct Catalog {
    accounts: HashMap<AccountId, Arc<Account>>,
    databases: HashMap<DatabaseId, Arc<Database>>,
    tables: BTreeMap<TableId, Arc<Table>>,
    contents: HashMap<TableId, Arc<Content>>,
    /// Shared whole by catalogs whose users and grants are the same.
    users: Arc<Users>,
    /// `(database, lower-case name)` to table.
    table_names: HashMap<(DatabaseId, String), TableId>,
    /// `(account, lower-case name)` to database.
    database_names: HashMap<(AccountId, String), DatabaseId>,
    /// Lower-case name of a table that foreign keys refer to, whatever its database, to the tables that have them.
    referring: HashMap<String, HashSet<TableId>>,
}

impl Catalog {
    /// Applies one change in place.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutAccount(account) => {
                self.accounts.insert(account.id, Arc::new(account.clone()));
            }
            Change::DropAccount(id) => {
                self.accounts.remove(id);
            }
            Change::PutDatabase(database) => {
                if let Some(old) = self.databases.insert(database.id, Arc::new(database.clone())) {
                    self.forget_database_name(&old);
                }
                self.database_names.insert((database.account, fold(&database.name)), database.id);
            }
            Change::DropDatabase(id) => {
                if let Some(old) = self.databases.remove(id) {
                    self.forget_database_name(&old);
                }
            }
            Change::PutTable(table) => {
                if let Some(old) = self.tables.insert(table.id, table.clone()) {
                    self.forget_table_name(&old);
                    self.forget_references(&old);
                }
                for key in &table.foreign_keys {
                    self.referring.entry(fold(&key.parent_table)).or_default().insert(table.id);
                }
                self.table_names.insert((table.database, fold(&table.name)), table.id);
            }
            Change::DropTable(id) => {
                if let Some(old) = self.tables.remove(id) {
                    self.forget_table_name(&old);
                    self.forget_references(&old);
                }
                self.contents.remove(id);
            }
            Change::PutContent(id, content) => {
                self.contents.insert(*id, content.clone());
            }
            Change::PutUser(user) => {
                Arc::make_mut(&mut self.users).insert(user.id, Arc::new(user.clone()));
            }
            Change::DropUser(id) => {
                Arc::make_mut(&mut self.users).remove(id);
            }
        }
    }

    /// Removes the name of a table that is gone, unless another has taken it.
    fn forget_table_name(&mut self, old: &Table) {
        let key = (old.database, fold(&old.name));
        if self.table_names.get(&key) == Some(&old.id) {
            self.table_names.remove(&key);
        }
    }

    fn forget_references(&mut self, old: &Table) {
        for key in &old.foreign_keys {
            let parent = fold(&key.parent_table);
            if let Some(children) = self.referring.get_mut(&parent) {
                children.remove(&old.id);
                if children.is_empty() {
                    self.referring.remove(&parent);
                }
            }
        }
    }

    fn forget_database_name(&mut self, old: &Database) {
        let key = (old.account, fold(&old.name));
        if self.database_names.get(&key) == Some(&old.id) {
            self.database_names.remove(&key);
        }
    }

    pub fn account(&self, name: &str) -> Result<&Arc<Account>> {
        self.accounts.values().find(|account| same_name(&account.name, name)).ok_or_else(|| {
            let names = self.accounts.values().map(|account| account.name.as_str());
            suggest(Error::not_found(What::Account, name), closest(name, names))
        })
    }

    pub fn account_by_id(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(&id)
    }

    /// Returns the database of this name, compared without case.
    pub fn database(&self, account: AccountId, name: &str) -> Result<&Arc<Database>> {
        let id = self.database_names.get(&(account, fold(name)));
        id.and_then(|id| self.databases.get(id)).ok_or_else(|| {
            let names = self.databases_of(account);
            let names = names.iter().map(|database| database.name.as_str());
            suggest(Error::not_found(What::Database, name), closest(name, names))
        })
    }

    pub fn database_by_id(&self, id: DatabaseId) -> Option<&Arc<Database>> {
        self.databases.get(&id)
    }

    /// Returns the table or view of this name, compared without case.
    pub fn table(&self, database: &Database, name: &str) -> Result<&Arc<Table>> {
        let id = self.table_names.get(&(database.id, fold(name)));
        id.and_then(|id| self.tables.get(id)).ok_or_else(|| {
            let names = self.tables_of(database.id);
            let names = names.iter().map(|table| table.name.as_str());
            let full = format!("{}.{}", database.name, name);
            suggest(Error::not_found(What::Table, &full), closest(name, names))
        })
    }

    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// Returns what a table holds; a view holds nothing.
    pub fn content(&self, id: TableId) -> Option<&Arc<Content>> {
        self.contents.get(&id)
    }

    /// Returns all accounts by name.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        sorted(self.accounts.values(), |account| account.name.clone())
    }

    /// Returns the databases of an account by name.
    pub fn databases_of(&self, account: AccountId) -> Vec<Arc<Database>> {
        sorted(self.databases.values().filter(|d| d.account == account), |d| d.name.clone())
    }

    /// Returns the tables and views of a database by name.
    pub fn tables_of(&self, database: DatabaseId) -> Vec<Arc<Table>> {
        sorted(self.tables.values().filter(|t| t.database == database), |t| t.name.clone())
    }

    /// Returns every table and view, in no order.
    pub fn all_tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// Returns the table that a foreign key of `table` refers to, if it exists.
    pub fn parent_of(&self, table: &Table, key: &ForeignKey) -> Option<&Arc<Table>> {
        let own = self.databases.get(&table.database)?;
        let database = match &key.parent_database {
            Some(name) => self.database(own.account, name).ok()?,
            None => own,
        };
        self.table(database, &key.parent_table).ok()
    }

    /// Returns every foreign key that refers to a table, with the table that has it.
    pub fn children_of(&self, table: &Table) -> Vec<(&Arc<Table>, &ForeignKey)> {
        let Some(home) = self.databases.get(&table.database) else { return Vec::new() };
        let named = self.referring.get(&fold(&table.name)).into_iter().flatten();
        let mut children: Vec<&Arc<Table>> = named.filter_map(|child| self.tables.get(child)).collect();
        children.sort_by_key(|child| child.id);
        let mut found = Vec::new();
        for child in children {
            if self.databases.get(&child.database).is_none_or(|of_child| of_child.account != home.account) {
                continue;
            }
            for key in &child.foreign_keys {
                let in_database = match &key.parent_database {
                    Some(name) => same_name(name, &home.name),
                    None => child.database == table.database,
                };
                if in_database && same_name(&key.parent_table, &table.name) {
                    found.push((child, key));
                }
            }
        }
        found
    }

    pub fn user(&self, account: AccountId, name: &str) -> Option<&Arc<User>> {
        self.users.values().find(|user| user.account == account && user.name == name)
    }

    pub fn user_by_id(&self, id: UserId) -> Option<&Arc<User>> {
        self.users.get(&id)
    }

    /// Returns all users as they are kept: while it is the same map, no user and no grant has changed.
    pub fn user_set(&self) -> &Arc<Users> {
        &self.users
    }

    pub fn users(&self) -> Vec<Arc<User>> {
        sorted(self.users.values(), |user| user.name.clone())
    }
}

/// Adds "did you mean" to an error.
pub(crate) fn suggest(error: Error, candidate: Option<&str>) -> Error {
    match candidate {
        Some(name) => error.with_hint(format!("Did you mean '{name}'?")),
        None => error,
    }
}

/// The error for a name that nothing bears: the nearest of the `known` ones is suggested, else where to find them.
pub(crate) fn unknown<'a>(what: What, name: &str, known: impl Iterator<Item = &'a str>, list: &str) -> Error {
    let error = Error::not_found(what, name);
    match closest(name, known) {
        Some(like) => suggest(error, Some(like)),
        None => error.with_hint(list),
    }
}

fn sorted<'a, T: 'a, K: Ord>(items: impl Iterator<Item = &'a Arc<T>>, key: impl Fn(&T) -> K) -> Vec<Arc<T>> {
    let mut items: Vec<Arc<T>> = items.cloned().collect();
    items.sort_by_key(|item| key(item));
    items
}

/// Stores what an `Arc` points at.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(value: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
        (**value).serialize(serializer)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

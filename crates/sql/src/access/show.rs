//! SHOW GRANTS, SHOW PRIVILEGES, and the tables of information_schema about them.

use std::sync::Arc;

use strandline_core::catalog::Catalog;
use strandline_core::grants::{Grants, PRIVILEGES, Privileges};
use strandline_core::schema::{Column, Database, Table, User};

use super::roles::full;
use super::{ActiveRoles, Place, Rights};
use crate::create_text::quote;
use crate::error::{Error, Result};
use crate::parse::UserName;
use crate::show::ShowContext;
use crate::show::answer::{Cell, CellKind, ShowAnswer, answer, row};
use crate::users::host_of;

/// What SHOW and the tables that the server makes up need to know of their reader.
pub struct Reader<'a> {
    pub rights: &'a Rights,
    /// What exists now, whatever moment is shown.
    pub present: &'a Catalog,
}

impl Reader<'_> {
    /// Tells whether a table may be known of.
    pub fn sees(&self, database: &Database, table: &Table) -> bool {
        !self.place(database, table).granted_anywhere(self.rights).is_empty()
    }

    /// Tells whether a database is listed.
    pub fn lists(&self, database: &str) -> bool {
        self.rights.has_one_of(Privileges::SHOW_DATABASES) || self.rights.sees_database(database)
    }

    /// Tells whether a privilege is granted on a whole table.
    pub fn has(&self, database: &Database, table: &Table, privilege: Privileges) -> bool {
        self.place(database, table).granted(self.rights).has(privilege)
    }

    pub fn place(&self, database: &Database, table: &Table) -> Place {
        Place::of(self.present, database, table)
    }

    /// Tells whether other users' names and grants are shown.
    fn sees_users(&self) -> bool {
        self.rights.on_database("mysql").has(Privileges::SELECT)
    }

    /// Returns the users whose grants are shown: all of the account, or the reader with the active roles.
    pub fn users(&self) -> Vec<Arc<User>> {
        let all = self.present.users().into_iter().filter(|user| user.account == self.rights.account());
        let all_seen = self.sees_users();
        let active: Vec<_> = self.rights.active_roles().map(|role| role.id).collect();
        all.filter(|user| all_seen || self.rights.is_own(user) || active.contains(&user.id)).collect()
    }
}

/// `SHOW GRANTS [FOR user [USING role, …]]`
///
/// # Errors
/// 1044 for another user without SELECT on `mysql`, 1141 for nobody, 3530 for a role that was not granted.
pub fn grants(cx: &ShowContext<'_>, name: Option<&UserName>, using: &[UserName]) -> Result<ShowAnswer> {
    let (reader, present) = (&cx.reader, cx.reader.present);
    let own = reader.rights.user();
    let is_own = name.is_none_or(|name| name.current || own.is_some_and(|own| own.name == name.name));
    let asked = match name {
        Some(name) if !name.current => name.name.clone(),
        _ => own.map(|own| own.name.clone()).unwrap_or_default(),
    };
    if !is_own && !reader.sees_users() {
        return Err(reader.rights.denied_database("mysql"));
    }
    let Some(user) = present.user(cx.account, &asked) else {
        let message = format!("There is no such grant defined for user '{asked}' on host '%'");
        return Err(Error::new(1141, "42000", message));
    };
    let header = format!("Grants for {}@{}", user.name, host_of(user));
    let mut shown = user.grants.clone();
    if name.is_none() {
        reader.rights.active_roles().for_each(|role| shown.add(&role.grants));
    }
    if !using.is_empty() {
        let mut chosen = Vec::new();
        for role in using {
            let id = present.user(cx.account, &role.name).map(|role| role.id);
            let id = id.filter(|id| user.grants.roles.contains_key(id)).ok_or_else(|| {
                let host = role.host.as_deref().unwrap_or("%");
                let message = format!("{}@{} is not granted to {}", quote(&role.name), quote(host), full(user));
                Error::new(3530, "HY000", message)
            })?;
            chosen.push(id);
        }
        let roles = ActiveRoles::Only(chosen);
        shown = Rights::of(present.user_set(), cx.account, user.id, &roles, String::new()).grants().clone();
    }
    let lines = lines(&shown, &full(user), present);
    answer(&[(&header, CellKind::Long)], lines.into_iter().map(|line| row![line]).collect())
}

/// Returns grants as the statements that would grant them.
fn lines(grants: &Grants, user: &str, present: &Catalog) -> Vec<String> {
    let mut lines = vec![line(grants.global, Privileges::ALL, &[], "*.*", user)];
    for (database, privileges) in &grants.databases {
        lines.push(line(*privileges, Privileges::OF_DATABASES, &[], &format!("{}.*", quote(database)), user));
    }
    for (database, tables) in &grants.tables {
        for (table, on) in tables {
            let mut columns = Vec::new();
            for privilege in [Privileges::SELECT, Privileges::INSERT, Privileges::UPDATE, Privileges::REFERENCES] {
                let names = on.columns.iter().filter(|(_, own)| own.has(privilege)).map(|(name, _)| quote(name));
                let names: Vec<String> = names.collect();
                if !names.is_empty() {
                    columns.push(format!("{privilege} ({})", names.join(", ")));
                }
            }
            let on_what = format!("{}.{}", quote(database), quote(table));
            lines.push(line(on.table, Privileges::OF_TABLES, &columns, &on_what, user));
        }
    }
    let mut plain = Vec::new();
    let mut admin = Vec::new();
    for (id, membership) in &grants.roles {
        if let Some(role) = present.user_by_id(*id) {
            if membership.admin { &mut admin } else { &mut plain }.push(full(role));
        }
    }
    for (mut roles, option) in [(plain, ""), (admin, " WITH ADMIN OPTION")] {
        roles.sort();
        if !roles.is_empty() {
            lines.push(format!("GRANT {} TO {user}{option}", roles.join(",")));
        }
    }
    lines
}

fn line(privileges: Privileges, all: Privileges, columns: &[String], on: &str, user: &str) -> String {
    let all = all - Privileges::GRANT_OPTION;
    let plain = privileges - Privileges::GRANT_OPTION;
    let mut words: Vec<String> = Vec::new();
    if plain == all {
        words.push("ALL PRIVILEGES".to_owned());
    } else {
        words.extend(plain.names().map(str::to_owned));
    }
    words.extend(columns.iter().cloned());
    if words.is_empty() {
        words.push("USAGE".to_owned());
    }
    let option = if privileges.has(Privileges::GRANT_OPTION) { " WITH GRANT OPTION" } else { "" };
    format!("GRANT {} ON {on} TO {user}{option}", words.join(", "))
}

/// `SHOW PRIVILEGES`
pub fn privileges() -> Result<ShowAnswer> {
    let rows = PRIVILEGES.iter().map(|(privilege, name)| {
        let context = if Privileges::OF_COLUMNS.has(*privilege) {
            "Server, databases, tables, columns"
        } else if Privileges::OF_TABLES.has(*privilege) {
            "Server, databases, tables"
        } else if Privileges::OF_DATABASES.has(*privilege) {
            "Server, databases"
        } else {
            "Server"
        };
        row![*name, context, meaning(*privilege)]
    });
    let text = CellKind::Text;
    answer(&[("Privilege", text), ("Context", text), ("Comment", text)], rows.collect())
}

fn meaning(privilege: Privileges) -> &'static str {
    match privilege {
        Privileges::SELECT => "Read rows, of now and of the past",
        Privileges::INSERT => "Add rows",
        Privileges::UPDATE => "Change rows",
        Privileges::DELETE => "Remove rows",
        Privileges::CREATE => "Create databases and tables",
        Privileges::DROP => "Drop databases, tables and views; empty tables",
        Privileges::RELOAD => "FLUSH",
        Privileges::PROCESS => "See the statements of other users",
        Privileges::FILE => "Load files that lie on the server",
        Privileges::REFERENCES => "Refer to a table by a foreign key",
        Privileges::INDEX => "Create and drop indexes",
        Privileges::ALTER => "Change definitions of tables",
        Privileges::SHOW_DATABASES => "See the names of all databases",
        Privileges::SUPER => "Administer the server: variables, connections, roles, accounts, grants of the past",
        Privileges::LOCK_TABLES => "LOCK TABLES",
        Privileges::REPLICATION_CLIENT => "SHOW BINARY LOG STATUS and SHOW REPLICA STATUS",
        Privileges::CREATE_VIEW => "Create views",
        Privileges::SHOW_VIEW => "See the definitions of views",
        Privileges::CREATE_USER => "Create, change and drop users and roles",
        Privileges::CREATE_ROLE => "Create roles",
        Privileges::DROP_ROLE => "Drop roles",
        Privileges::SNAPSHOT => "Create and drop snapshots",
        Privileges::RESTORE => "Restore, undrop and undo; with SELECT on what comes back",
        Privileges::RETENTION => "Say how long the past is kept",
        Privileges::GRANT_OPTION => "Grant to others what one has oneself",
        // MySQL's, which nothing here asks for.
        _ => "Can be granted, and allows nothing yet",
    }
}

/// `information_schema.USER_PRIVILEGES`
pub fn user_privileges(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for user in cx.reader.users() {
        for name in names_or_usage(user.grants.global) {
            rows.push(row![grantee(&user), "def", name, grantable(user.grants.global)]);
        }
    }
    rows
}

/// `information_schema.SCHEMA_PRIVILEGES`
pub fn schema_privileges(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for user in cx.reader.users() {
        for (database, privileges) in &user.grants.databases {
            for name in names_or_usage(*privileges) {
                rows.push(row![grantee(&user), "def", database, name, grantable(*privileges)]);
            }
        }
    }
    rows
}

/// `information_schema.TABLE_PRIVILEGES`
pub fn table_privileges(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for user in cx.reader.users() {
        for (database, tables) in &user.grants.tables {
            for (table, on) in tables.iter().filter(|(_, on)| !on.table.is_empty()) {
                for name in names_or_usage(on.table) {
                    rows.push(row![grantee(&user), "def", database, table, name, grantable(on.table)]);
                }
            }
        }
    }
    rows
}

/// `information_schema.COLUMN_PRIVILEGES`
pub fn column_privileges(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for user in cx.reader.users() {
        for (database, tables) in &user.grants.tables {
            for (table, on) in tables {
                for (column, privileges) in &on.columns {
                    for name in privileges.names() {
                        rows.push(row![grantee(&user), "def", database, table, column, name, grantable(on.table)]);
                    }
                }
            }
        }
    }
    rows
}

/// `information_schema.APPLICABLE_ROLES`: what the reader may make active.
pub fn applicable_roles(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let Some(own) = cx.reader.rights.user() else { return Vec::new() };
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    let mut waiting = vec![own.clone()];
    while let Some(user) = waiting.pop() {
        for (id, membership) in &user.grants.roles {
            let Some(role) = cx.reader.present.user_by_id(*id) else { continue };
            rows.push(row![
                &own.name,
                host_of(own),
                &user.name,
                host_of(&user),
                &role.name,
                host_of(role),
                yes_no(membership.admin),
                yes_no(membership.default),
                "NO"
            ]);
            if !seen.contains(id) {
                seen.push(*id);
                waiting.push(role.clone());
            }
        }
    }
    rows
}

/// `information_schema.ENABLED_ROLES`: what is active.
pub fn enabled_roles(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let rights = cx.reader.rights;
    let is_default = |role: &User| {
        rights.user().and_then(|user| user.grants.roles.get(&role.id)).is_some_and(|membership| membership.default)
    };
    rights.active_roles().map(|role| row![&role.name, host_of(role), yes_no(is_default(role)), "NO"]).collect()
}

/// `mysql.db`
pub fn mysql_db(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for user in cx.reader.users() {
        for (database, on) in &user.grants.databases {
            let flag = |privilege| yes(on.has(privilege));
            rows.push(row![
                host_of(&user),
                database,
                &user.name,
                flag(Privileges::SELECT),
                flag(Privileges::INSERT),
                flag(Privileges::UPDATE),
                flag(Privileges::DELETE),
                flag(Privileges::CREATE),
                flag(Privileges::DROP),
                flag(Privileges::GRANT_OPTION)
            ]);
        }
    }
    rows
}

/// `mysql.tables_priv`
pub fn mysql_tables_priv(cx: &ShowContext<'_>) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for user in cx.reader.users() {
        for (database, tables) in &user.grants.tables {
            for (table, on) in tables {
                let words = |set: Privileges| set.names().collect::<Vec<_>>().join(",");
                let columns = on.columns.values().fold(Privileges::NONE, |all, own| all | *own);
                rows.push(row![host_of(&user), database, &user.name, table, words(on.table), words(columns)]);
            }
        }
    }
    rows
}

/// Returns what SHOW FULL COLUMNS says may be done with a column; `None` where the column may not be seen.
pub fn of_column(reader: &Reader<'_>, database: &Database, table: &Table, column: &Column) -> Option<String> {
    let granted = reader.place(database, table).granted_on(reader.rights, column.id) & Privileges::OF_COLUMNS;
    let words: Vec<String> = granted.names().map(str::to_lowercase).collect();
    (!words.is_empty()).then(|| words.join(","))
}

fn grantee(user: &User) -> String {
    format!("'{}'@'{}'", user.name, host_of(user))
}

fn names_or_usage(privileges: Privileges) -> Vec<&'static str> {
    let names: Vec<_> = (privileges - Privileges::GRANT_OPTION).names().collect();
    if names.is_empty() { vec!["USAGE"] } else { names }
}

fn grantable(privileges: Privileges) -> &'static str {
    yes_no(privileges.has(Privileges::GRANT_OPTION))
}

fn yes_no(truth: bool) -> &'static str {
    if truth { "YES" } else { "NO" }
}

/// Returns `Y` or `N`, as the tables of `mysql` say it.
pub fn yes(truth: bool) -> &'static str {
    if truth { "Y" } else { "N" }
}

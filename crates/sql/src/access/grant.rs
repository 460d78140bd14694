//! GRANT and REVOKE of privileges.

use strandline_core::grants::{Grants, PRIVILEGES, Privileges, TableGrants};
use strandline_core::schema::User;
use strandline_core::schema::fold;

use super::Rights;
use crate::api::Done;
use crate::ddl::{Ddl, done, no_database};
use crate::error::{Error, Result};
use crate::parse::{self, GrantOn, Lenient, UserName};
use crate::users::{find, guard, host_of};
use crate::warning::Warning;

/// Where privileges are granted. Names are in lower case.
enum Level {
    Everything,
    Database(String),
    Table(String, String),
}

/// The privileges of a statement.
#[derive(Default)]
struct Asked {
    whole: Privileges,
    columns: Vec<(String, Privileges)>,
}

/// `GRANT … ON … TO …`
///
/// # Errors
/// 1410 for an unknown user; 1045, 1044, 1142, 1143 where the grantor may not grant it; 1144, 1221 for a privilege that
/// the level does not have; 1146, 1054 for a table or column that is not there.
pub fn grant(cx: &mut Ddl<'_>, grant: &parse::Grant) -> Result<Done> {
    let level = level_of(cx, &grant.on)?;
    let mut asked = asked(grant, &level)?;
    if grant.grant_option {
        asked.whole |= Privileges::GRANT_OPTION;
    }
    may_grant(cx.rights, &level, &asked)?;
    exists(cx, &level, &asked)?;
    for name in &grant.users {
        let unknown = || Error::new(1410, "42000", "You are not allowed to create a user with GRANT");
        let mut user = find(cx, name).ok_or_else(unknown)?;
        match &level {
            Level::Everything => user.grants.global |= asked.whole,
            Level::Database(database) => user.grants.change_database(database, |on| *on |= asked.whole),
            Level::Table(database, table) => user.grants.change_table(database, table, |on| {
                on.table |= asked.whole;
                for (column, privileges) in &asked.columns {
                    *on.columns.entry(column.clone()).or_default() |= *privileges;
                }
            }),
        }
        cx.txn.put_user(user)?;
    }
    Ok(done(cx, 0))
}

/// `REVOKE … ON … FROM …`
///
/// # Errors
/// As [`grant`]; 1141 and 1147 where nothing of it was granted.
pub fn revoke(cx: &mut Ddl<'_>, revoke: &parse::Grant) -> Result<Done> {
    let level = level_of(cx, &revoke.on)?;
    let mut asked = asked(revoke, &level)?;
    if revoke.grant_option {
        // `REVOKE GRANT OPTION FOR`: the privileges stay.
        asked = Asked { whole: Privileges::GRANT_OPTION, columns: Vec::new() };
    }
    may_grant(cx.rights, &level, &asked)?;
    for name in &revoke.users {
        let Some(mut user) = known(cx, name, revoke.lenient)? else { continue };
        guard(cx, &user)?;
        let before = user.grants.clone();
        match &level {
            Level::Everything => user.grants.global -= asked.whole,
            Level::Database(database) => {
                if !user.grants.databases.contains_key(database) {
                    missing(cx, &no_grant(&user, None), revoke.lenient)?;
                    continue;
                }
                user.grants.change_database(database, |on| *on -= asked.whole);
            }
            Level::Table(database, table) => {
                if user.grants.on_table(database, table).is_none() {
                    missing(cx, &no_grant(&user, Some(table)), revoke.lenient)?;
                    continue;
                }
                user.grants.change_table(database, table, |on| take(on, &asked));
            }
        }
        if user.grants != before {
            cx.txn.put_user(user)?;
        }
    }
    Ok(done(cx, 0))
}

/// `REVOKE ALL PRIVILEGES, GRANT OPTION FROM …`: on every level. Roles stay.
pub fn revoke_all(cx: &mut Ddl<'_>, users: &[UserName], lenient: Lenient) -> Result<Done> {
    for name in users {
        let Some(mut user) = known(cx, name, lenient)? else { continue };
        guard(cx, &user)?;
        user.grants = Grants { roles: std::mem::take(&mut user.grants.roles), ..Grants::default() };
        cx.txn.put_user(user)?;
    }
    Ok(done(cx, 0))
}

/// What is revoked of a table is revoked of all its columns.
fn take(on: &mut TableGrants, asked: &Asked) {
    on.table -= asked.whole;
    on.columns.values_mut().for_each(|privileges| *privileges -= asked.whole);
    for (column, privileges) in &asked.columns {
        if let Some(own) = on.columns.get_mut(column) {
            *own -= *privileges;
        }
    }
}

fn level_of(cx: &Ddl<'_>, on: &GrantOn) -> Result<Level> {
    let home = |name: Option<&str>| {
        let name = name.or(cx.database).ok_or_else(no_database)?;
        cx.refuse_virtual(name)?;
        Ok::<_, Error>(fold(name))
    };
    Ok(match on {
        GrantOn::Everything => Level::Everything,
        GrantOn::CurrentDatabase => Level::Database(home(None)?),
        // `mysql` can be read, by whoever administers users.
        GrantOn::Database(name) if name.eq_ignore_ascii_case("mysql") => Level::Database("mysql".to_owned()),
        GrantOn::Database(name) => Level::Database(home(Some(name))?),
        GrantOn::Table(table) => Level::Table(home(table.database.as_deref())?, fold(&table.name)),
        GrantOn::Account => return Err(Error::unsupported("GRANT ... ON ACCOUNT; use ON *.*")),
    })
}

/// Reads the privileges of a statement.
fn asked(grant: &parse::Grant, level: &Level) -> Result<Asked> {
    let of_level = match level {
        Level::Everything => Privileges::ALL | Privileges::GRANT_OPTION,
        Level::Database(_) => Privileges::OF_DATABASES,
        Level::Table(..) => Privileges::OF_TABLES,
    };
    let mut asked = Asked::default();
    for privilege in &grant.privileges {
        if privilege.name == "ALL" {
            asked.whole |= of_level - Privileges::GRANT_OPTION;
            continue;
        }
        if privilege.name == "USAGE" {
            continue;
        }
        let Some(one) = Privileges::named(&privilege.name) else {
            let known: Vec<&str> = PRIVILEGES.iter().map(|(_, name)| *name).collect();
            let close = strandline_core::error::closest(&privilege.name, known);
            let hint = close.map_or_else(
                || "SHOW PRIVILEGES lists those there are".to_owned(),
                |name| format!("did you mean {name}?"),
            );
            return Err(Error::unsupported(format!("the privilege {}; {hint}", privilege.name)));
        };
        if !of_level.has(one) {
            return Err(match level {
                Level::Table(..) => Error::new(
                    1144,
                    "42000",
                    "Illegal GRANT/REVOKE command; please consult the manual to see which privileges can be used",
                ),
                _ => Error::new(1221, "HY000", "Incorrect usage of DB GRANT and GLOBAL PRIVILEGES"),
            });
        }
        if privilege.columns.is_empty() {
            asked.whole |= one;
            continue;
        }
        if !Privileges::OF_COLUMNS.has(one) || !matches!(level, Level::Table(..)) {
            return Err(Error::new(1221, "HY000", "Incorrect usage of COLUMN GRANT and NON-COLUMN PRIVILEGES"));
        }
        asked.columns.extend(privilege.columns.iter().map(|column| (fold(column), one)));
    }
    Ok(asked)
}

/// Who grants or revokes must have it, and the right to grant it on.
fn may_grant(rights: &Rights, level: &Level, asked: &Asked) -> Result<()> {
    match level {
        Level::Everything => {
            let missing = (asked.whole | Privileges::GRANT_OPTION) - rights.grants().global;
            if missing.is_empty() { Ok(()) } else { rights.require_all(missing) }
        }
        Level::Database(database) => rights.require_on_database(database, asked.whole | Privileges::GRANT_OPTION),
        Level::Table(database, table) => {
            if !rights.on_table(database, table).has(Privileges::GRANT_OPTION) {
                return Err(rights.denied_table(Privileges::GRANT_OPTION, table));
            }
            rights.require_on_table(database, table, asked.whole)?;
            for (column, privilege) in &asked.columns {
                rights.require_on_columns(database, table, [column.as_str()], *privilege)?;
            }
            Ok(())
        }
    }
}

/// What is granted on a table must be there, unless it may be created.
fn exists(cx: &Ddl<'_>, level: &Level, asked: &Asked) -> Result<()> {
    let Level::Table(database, table) = level else { return Ok(()) };
    if asked.whole.has(Privileges::CREATE) && asked.columns.is_empty() {
        return Ok(());
    }
    let (_, found) = cx.find(Some(database), table).map_err(|error| match error.code {
        1049 => Error::new(1146, "42S02", format!("Table '{database}.{table}' doesn't exist")),
        _ => error,
    })?;
    let missing =
        asked.columns.iter().find(|(name, _)| !found.columns.iter().any(|column| fold(&column.name) == *name));
    match missing {
        Some((name, _)) => Err(Error::unknown_column(name, table)),
        None => Ok(()),
    }
}

/// Returns a user that something is revoked from.
pub fn known(cx: &mut Ddl<'_>, name: &UserName, lenient: Lenient) -> Result<Option<User>> {
    let found = find(cx, name);
    if found.is_none() {
        let host = name.host.as_deref().unwrap_or("%");
        if !lenient.users {
            let message = format!("There is no such grant defined for user '{}' on host '{host}'", name.name);
            return Err(Error::new(1141, "42000", message));
        }
        let message = format!("Authorization ID '{}'@'{host}' does not exist.", name.name);
        cx.warnings.push(Warning::warning(3162, message));
    }
    Ok(found)
}

/// Fails for what was not granted, or warns of it where the statement says IF EXISTS.
pub fn missing(cx: &mut Ddl<'_>, error: &Error, lenient: Lenient) -> Result<()> {
    if !lenient.grants {
        return Err(error.clone());
    }
    cx.warnings.push(Warning::warning(error.code, error.message.clone()));
    Ok(())
}

fn no_grant(user: &User, table: Option<&str>) -> Error {
    let what = format!("There is no such grant defined for user '{}' on host '{}'", user.name, host_of(user));
    match table {
        None => Error::new(1141, "42000", what),
        Some(table) => Error::new(1147, "42000", format!("{what} on table '{table}'")),
    }
}

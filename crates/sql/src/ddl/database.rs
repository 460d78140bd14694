//! CREATE, ALTER and DROP DATABASE.

use super::spec::{note_charset, note_collation};
use super::{Ddl, check_name, done, foreign_key, is_virtual};
use crate::api::Done;
use crate::error::{Error, Result};
use crate::parse::DatabaseOptions;
use crate::warning::Warning;

/// `CREATE {DATABASE | SCHEMA} [IF NOT EXISTS] name [options]`
///
/// # Errors
/// 1007 where it exists.
pub async fn create_database(
    cx: &mut Ddl<'_>,
    name: &str,
    if_not_exists: bool,
    options: &DatabaseOptions,
) -> Result<Done> {
    check_name(name, 1102, "database")?;
    note_options(cx, options);
    let exists = is_virtual(name) || cx.txn.catalog().database(cx.account, name).is_ok();
    if exists {
        let message = format!("Can't create database '{name}'; database exists");
        if !if_not_exists {
            return Err(Error::new(1007, "HY000", message));
        }
        cx.warnings.push(Warning::note(1007, message));
        return Ok(done(cx, 1));
    }
    cx.txn.create_database(cx.account, name, options.comment.as_deref().unwrap_or_default())?;
    Ok(done(cx, 1))
}

/// `ALTER {DATABASE | SCHEMA} [name] options`: character set and collation, which are noted.
///
/// # Errors
/// 1235 for a comment: a database's definition cannot change yet.
pub async fn alter_database(cx: &mut Ddl<'_>, name: Option<&str>, options: &DatabaseOptions) -> Result<Done> {
    cx.database(name)?;
    if options.comment.is_some() {
        return Err(Error::unsupported("ALTER DATABASE ... COMMENT"));
    }
    note_options(cx, options);
    Ok(done(cx, 1))
}

fn note_options(cx: &mut Ddl<'_>, options: &DatabaseOptions) {
    if let Some(charset) = &options.charset {
        note_charset(charset, cx.warnings);
    }
    if let Some(collate) = &options.collate {
        note_collation(None, collate, cx.warnings);
    }
}

/// `DROP {DATABASE | SCHEMA} [IF EXISTS] name`. Affected rows are the tables dropped, as in MySQL.
///
/// # Errors
/// 1008 where it does not exist, 3730 where a foreign key of another database refers into it.
pub async fn drop_database(cx: &mut Ddl<'_>, name: &str, if_exists: bool) -> Result<Done> {
    cx.refuse_virtual(name)?;
    let Ok(database) = cx.txn.catalog().database(cx.account, name).cloned() else {
        let message = format!("Can't drop database '{name}'; database doesn't exist");
        if !if_exists {
            return Err(Error::new(1008, "HY000", message));
        }
        cx.warnings.push(Warning::note(1008, message));
        return Ok(done(cx, 0));
    };
    if cx.foreign_key_checks {
        for table in cx.txn.catalog().tables_of(database.id) {
            let children = foreign_key::children(cx.txn.catalog(), &table);
            if let Some((child, key)) = children.iter().find(|(child, _)| child.database != database.id) {
                return Err(super::table::referenced(&table.name, &key.name, &child.name));
            }
        }
    }
    cx.txn.set_foreign_key_checks(false);
    let dropped = cx.txn.drop_database(&database);
    cx.txn.set_foreign_key_checks(cx.foreign_key_checks);
    let dropped = dropped?;
    Ok(done(cx, dropped))
}

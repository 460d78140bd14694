//! CREATE, ALTER and DROP DATABASE.

use super::{Ddl, check_name, done, foreign_key, is_virtual};
use crate::api::Done;
use crate::error::{Error, Result};
use crate::warning::Warning;

/// `CREATE {DATABASE | SCHEMA} [IF NOT EXISTS] name`. Character set and collation are noted by the caller's reading of
/// the options ([`super::spec::table_option`] takes them).
pub async fn create_database(cx: &mut Ddl<'_>, name: &str, if_not_exists: bool) -> Result<Done> {
    check_name(name, 1102, "database")?;
    let exists = is_virtual(name) || cx.txn.catalog().database(cx.account, name).is_ok();
    if exists {
        let message = format!("Can't create database '{name}'; database exists");
        if !if_not_exists {
            return Err(Error::new(1007, "HY000", message));
        }
        cx.warnings.push(Warning::note(1007, message));
        return Ok(done(cx, 1));
    }
    cx.txn.create_database(cx.account, name, "")?;
    Ok(done(cx, 1))
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
            let children = foreign_key::children(cx.txn.catalog(), &database, &table);
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

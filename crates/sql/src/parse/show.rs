//! `SHOW …`, `DESCRIBE` and `EXPLAIN`.

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::statement::{Limit, Show, Statement};
use super::user::user_name;
use crate::error::{Error, Result};

/// Parses what follows `SHOW`.
pub(super) fn show(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    let extended = c.eat("EXTENDED");
    let full = c.eat("FULL");
    let show = if c.eat("TABLES") {
        let database = from_database(c)?;
        let at = c.moment_suffix()?;
        Show::Tables { full, database, at, filter: c.filter()? }
    } else if c.eat("COLUMNS") || c.eat("FIELDS") {
        let table = from_table(c)?;
        let at = c.moment_suffix()?;
        Show::Columns { table, full, at, filter: c.filter()? }
    } else if c.eat("PROCESSLIST") {
        Show::Processlist { full }
    } else if full || extended {
        return Err(c.error("SHOW FULL goes on with TABLES, COLUMNS or PROCESSLIST"));
    } else if c.eat("DATABASES") || c.eat("SCHEMAS") {
        let at = c.moment_suffix()?;
        Show::Databases { at, filter: c.filter()? }
    } else if c.eat_all(&["TABLE", "STATUS"]) {
        let database = from_database(c)?;
        let at = c.moment_suffix()?;
        Show::TableStatus { database, at, filter: c.filter()? }
    } else if c.eat_all(&["OPEN", "TABLES"]) {
        let database = from_database(c)?;
        Show::OpenTables { database, filter: c.filter()? }
    } else if c.eat_any(&["INDEX", "INDEXES", "KEYS"]).is_some() {
        let table = from_table(c)?;
        let at = c.moment_suffix()?;
        Show::Index { table, at, filter: c.filter()? }
    } else if c.eat("CREATE") {
        show_create(c)?
    } else if c.is("COUNT") && c.peek_at(1) == Some(&Token::LParen) {
        c.at += 2;
        c.expect_sign(&Token::Mul, "SHOW COUNT(*) WARNINGS or ERRORS")?;
        c.expect_sign(&Token::RParen, "SHOW COUNT(*) WARNINGS or ERRORS")?;
        match c.eat_any(&["WARNINGS", "ERRORS"]) {
            Some("WARNINGS") => Show::Warnings { count: true, limit: None },
            Some(_) => Show::Errors { count: true, limit: None },
            None => return Err(c.error("SHOW COUNT(*) WARNINGS or ERRORS")),
        }
    } else if c.eat("WARNINGS") {
        Show::Warnings { count: false, limit: limit(c)? }
    } else if c.eat("ERRORS") {
        Show::Errors { count: false, limit: limit(c)? }
    } else if c.eat("ENGINES") || c.eat_all(&["STORAGE", "ENGINES"]) {
        Show::Engines
    } else if c.eat_all(&["CHARACTER", "SET"]) || c.eat_all(&["CHAR", "SET"]) || c.eat("CHARSET") {
        Show::Charset { filter: c.filter()? }
    } else if c.eat("COLLATION") {
        Show::Collation { filter: c.filter()? }
    } else if c.eat("PRIVILEGES") {
        Show::Privileges
    } else if c.eat("PLUGINS") {
        Show::Plugins
    } else if c.eat("GRANTS") {
        let user = if c.eat("FOR") { Some(user_name(c)?) } else { None };
        let using = if user.is_some() && c.eat("USING") { c.comma_separated(user_name)? } else { Vec::new() };
        Show::Grants { user, using }
    } else if c.eat("TRIGGERS") {
        let database = from_database(c)?;
        Show::Triggers { database, filter: c.filter()? }
    } else if c.eat("EVENTS") {
        let database = from_database(c)?;
        Show::Events { database, filter: c.filter()? }
    } else if c.eat_all(&["FUNCTION", "STATUS"])
        || c.eat_all(&["PROCEDURE", "STATUS"])
        || c.eat_all(&["PACKAGE", "STATUS"])
        || c.eat_all(&["PACKAGE", "BODY", "STATUS"])
    {
        Show::RoutineStatus { filter: c.filter()? }
    } else if c.eat_all(&["MASTER", "STATUS"])
        || c.eat_all(&["BINLOG", "STATUS"])
        || c.eat_all(&["BINARY", "LOG", "STATUS"])
    {
        Show::BinaryLogStatus
    } else if c.eat_all(&["SLAVE", "STATUS"]) || c.eat_all(&["REPLICA", "STATUS"]) {
        Show::ReplicaStatus
    } else if c.eat("ACCOUNTS") {
        Show::Accounts { filter: c.filter()? }
    } else {
        let scope = c.eat_any(&["GLOBAL", "SESSION", "LOCAL"]);
        let global = scope == Some("GLOBAL");
        match c.eat_any(&["VARIABLES", "STATUS"]) {
            Some("VARIABLES") => Show::Variables { global, filter: c.filter()? },
            Some(_) => Show::Status { global, filter: c.filter()? },
            None if scope.is_some() => return Err(c.error("SHOW GLOBAL goes on with VARIABLES or STATUS")),
            None => return other_show(c),
        }
    };
    c.expect_end()?;
    Ok(Statement::Show(show))
}

/// Parses `DESCRIBE t [moment] [column]` and `EXPLAIN statement`; the inner statement comes from `inner`.
pub(super) fn explain(
    c: &mut Cursor<'_>,
    inner: impl FnOnce(&mut Cursor<'_>) -> Result<Statement>,
) -> Result<Statement> {
    c.at += 1;
    let mut analyze = false;
    let mut format = None;
    loop {
        if !analyze && c.eat("ANALYZE") {
            analyze = true;
        } else if format.is_none() && c.is("FORMAT") && c.peek_at(1) == Some(&Token::Eq) {
            c.at += 2;
            format = Some(c.name_or_string("FORMAT is TRADITIONAL, JSON or TREE")?.to_ascii_uppercase());
        } else if !(c.is("EXTENDED") || c.is("PARTITIONS")) || c.peek_at(1).is_none() {
            break;
        } else {
            // Both are what MySQL always does by now.
            c.at += 1;
        }
    }
    const STATEMENTS: &[&str] = &["SELECT", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "TABLE", "VALUES"];
    if c.peek() == Some(&Token::LParen) || STATEMENTS.iter().any(|word| c.is(word)) {
        return Ok(Statement::Explain { statement: Box::new(inner(c)?), analyze, format });
    }
    if c.are(&["FOR", "CONNECTION"]) {
        return Err(Error::unsupported("EXPLAIN FOR CONNECTION"));
    }
    if analyze || format.is_some() {
        return Err(c.error("EXPLAIN needs a SELECT, INSERT, UPDATE or DELETE"));
    }
    let table = c.table_name("name a table or a statement")?;
    let at = c.moment_suffix()?;
    let column = if c.at_end() { None } else { Some(c.name_or_string("name a column")?) };
    c.expect_end()?;
    Ok(Statement::Describe { table, at, column })
}

fn show_create(c: &mut Cursor<'_>) -> Result<Show> {
    if c.eat("TABLE") {
        let table = c.table_name("name the table")?;
        return Ok(Show::CreateTable { table, at: c.moment_suffix()? });
    }
    if c.eat("VIEW") {
        let view = c.table_name("name the view")?;
        return Ok(Show::CreateView { view, at: c.moment_suffix()? });
    }
    if c.eat("DATABASE") || c.eat("SCHEMA") {
        let if_not_exists = c.if_not_exists();
        let database = c.name("name the database")?;
        return Ok(Show::CreateDatabase { database, if_not_exists, at: c.moment_suffix()? });
    }
    if c.eat("USER") {
        return Ok(Show::CreateUser(if c.at_end() { None } else { Some(user_name(c)?) }));
    }
    match c.peek() {
        Some(Token::Word(word)) => Err(Error::unsupported(format!("SHOW CREATE {}", word.value.to_uppercase()))),
        _ => Err(c.error("SHOW CREATE goes on with TABLE, VIEW, DATABASE or USER")),
    }
}

fn other_show(c: &mut Cursor<'_>) -> Result<Statement> {
    const KNOWN: &[&str] = &[
        "AUTHORS",
        "BINARY",
        "BINLOG",
        "CLIENT_STATISTICS",
        "CONTRIBUTORS",
        "ENGINE",
        "EXPLAIN",
        "FUNCTION",
        "INDEX_STATISTICS",
        "LOGS",
        "MASTER",
        "MUTEX",
        "PROCEDURE",
        "PROFILE",
        "PROFILES",
        "PUBLICATIONS",
        "RELAYLOG",
        "REPLICAS",
        "ROLES",
        "SLAVE",
        "STAGES",
        "SUBSCRIPTIONS",
        "TABLE_STATISTICS",
        "USER_STATISTICS",
    ];
    match c.peek() {
        Some(Token::Word(word)) if KNOWN.iter().any(|known| word.value.eq_ignore_ascii_case(known)) => {
            Ok(Statement::Unsupported(format!("SHOW {}", word.value.to_uppercase())))
        }
        _ => Err(c.error("SHOW TABLES, SHOW DATABASES, SHOW SNAPSHOTS, SHOW COMMITS, SHOW RECOVERY POINTS FOR … are among what can be shown")),
    }
}

fn from_database(c: &mut Cursor<'_>) -> Result<Option<String>> {
    if c.eat("FROM") || c.eat("IN") { Ok(Some(c.name("name the database")?)) } else { Ok(None) }
}

/// `FROM t [FROM d]` or `FROM d.t`
fn from_table(c: &mut Cursor<'_>) -> Result<super::TableName> {
    if !(c.eat("FROM") || c.eat("IN")) {
        return Err(c.error("FROM a table is missing"));
    }
    let mut table = c.table_name("name the table")?;
    if let Some(database) = from_database(c)? {
        table.database = Some(database);
    }
    Ok(table)
}

fn limit(c: &mut Cursor<'_>) -> Result<Option<Limit>> {
    if !c.eat("LIMIT") {
        return Ok(None);
    }
    let first = c.number("LIMIT needs a number")?;
    if c.eat_sign(&Token::Comma) {
        return Ok(Some(Limit { offset: first, count: c.number("LIMIT needs a number")? }));
    }
    let offset = if c.eat("OFFSET") { c.number("OFFSET needs a number")? } else { 0 };
    Ok(Some(Limit { offset, count: first }))
}

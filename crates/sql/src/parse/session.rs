//! Statements about the session and the server: transactions, prepared statements, locks, upkeep.

use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::statement::{LockTable, PrepareSource, Statement, Upkeep};
use crate::error::{Error, Result};

/// Parses `BEGIN` or `START …`.
pub(super) fn begin(c: &mut Cursor<'_>) -> Result<Statement> {
    if c.eat("BEGIN") {
        c.eat("WORK");
        if !c.at_end() {
            // A compound statement, which only routines have here.
            return Ok(Statement::Unsupported("BEGIN ... END".to_owned()));
        }
        return Ok(Statement::Begin { consistent_snapshot: false, read_only: false, at: None });
    }
    c.at += 1;
    if !c.eat("TRANSACTION") {
        return match c.peek() {
            Some(Token::Word(word)) => Ok(Statement::Unsupported(format!("START {}", word.value.to_uppercase()))),
            _ => Err(c.error("START goes on with TRANSACTION")),
        };
    }
    const HINT: &str = "START TRANSACTION [WITH CONSISTENT SNAPSHOT] [, READ ONLY | READ WRITE]";
    let (mut consistent_snapshot, mut read_only, mut at) = (false, None, None);
    while !c.at_end() {
        if !consistent_snapshot && c.eat_all(&["WITH", "CONSISTENT", "SNAPSHOT"]) {
            consistent_snapshot = true;
        } else if read_only.is_none() && c.eat_all(&["READ", "ONLY"]) {
            read_only = Some(true);
            if c.are(&["AS", "OF"]) {
                at = c.moment_suffix()?;
            }
        } else if read_only.is_none() && c.eat_all(&["READ", "WRITE"]) {
            read_only = Some(false);
        } else {
            return Err(c.error(HINT));
        }
        if !c.eat_sign(&Token::Comma) {
            break;
        }
    }
    c.expect_end()?;
    Ok(Statement::Begin { consistent_snapshot, read_only: read_only == Some(true), at })
}

/// Parses `COMMIT …`.
pub(super) fn commit(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    let (chain, release) = completion(c)?;
    Ok(Statement::Commit { chain, release })
}

/// Parses `ROLLBACK …`.
pub(super) fn rollback(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    c.eat("WORK");
    if c.eat("TO") {
        c.eat("SAVEPOINT");
        let name = c.name("name the savepoint")?;
        c.expect_end()?;
        return Ok(Statement::Rollback { to: Some(name), chain: false, release: false });
    }
    let (chain, release) = completion(c)?;
    Ok(Statement::Rollback { to: None, chain, release })
}

/// `[WORK] [AND [NO] CHAIN] [[NO] RELEASE]`
fn completion(c: &mut Cursor<'_>) -> Result<(bool, bool)> {
    c.eat("WORK");
    let chain = c.eat_all(&["AND", "CHAIN"]);
    if !chain {
        c.eat_all(&["AND", "NO", "CHAIN"]);
    }
    let release = c.eat("RELEASE");
    if !release {
        c.eat_all(&["NO", "RELEASE"]);
    }
    c.expect_end()?;
    Ok((chain, release))
}

/// Parses `SAVEPOINT x` or `RELEASE SAVEPOINT x`.
pub(super) fn savepoint(c: &mut Cursor<'_>) -> Result<Statement> {
    let release = c.eat("RELEASE");
    c.expect("SAVEPOINT", "SAVEPOINT name")?;
    let name = c.name("name the savepoint")?;
    c.expect_end()?;
    Ok(if release { Statement::ReleaseSavepoint(name) } else { Statement::Savepoint(name) })
}

/// Parses `KILL …`.
pub(super) fn kill(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    c.eat_any(&["HARD", "SOFT"]);
    let query = match c.eat_any(&["QUERY", "CONNECTION", "USER"]) {
        Some("USER") => return Err(Error::unsupported("KILL USER")),
        word => word == Some("QUERY"),
    };
    let id = c.number("KILL needs the id of a connection; SHOW PROCESSLIST lists them")?;
    c.expect_end()?;
    Ok(Statement::Kill { id, query })
}

/// Parses `PREPARE s FROM …`.
pub(super) fn prepare(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    let name = c.name("PREPARE name FROM 'text'")?;
    c.expect("FROM", "PREPARE name FROM 'text'")?;
    let source = match variable(c) {
        Some(variable) => PrepareSource::Variable(variable),
        None => PrepareSource::Text(c.string("PREPARE name FROM 'text' or @variable")?),
    };
    c.expect_end()?;
    Ok(Statement::Prepare { name, source })
}

/// Parses `EXECUTE s [USING …]`.
pub(super) fn execute(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    if c.is("IMMEDIATE") && c.peek_at(1).is_some() && !c.is_at(1, "USING") {
        return Ok(Statement::Unsupported("EXECUTE IMMEDIATE".to_owned()));
    }
    let name = c.name("name the prepared statement")?;
    let using = if c.eat("USING") {
        c.comma_separated(|c| variable(c).ok_or_else(|| c.error("USING takes variables: @a, @b")))?
    } else {
        Vec::new()
    };
    c.expect_end()?;
    Ok(Statement::Execute { name, using })
}

/// Parses `DEALLOCATE PREPARE s`.
pub(super) fn deallocate(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    c.expect("PREPARE", "DEALLOCATE PREPARE name")?;
    let name = c.name("DEALLOCATE PREPARE name")?;
    c.expect_end()?;
    Ok(Statement::Deallocate(name))
}

/// Parses `DO expr, …`.
pub(super) fn do_exprs(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    let exprs = c.comma_separated(|c| c.expr_until(&[]))?;
    c.expect_end()?;
    Ok(Statement::Do(exprs))
}

/// Parses `LOCK TABLES …`.
pub(super) fn lock_tables(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    if c.are(&["INSTANCE", "FOR"]) {
        return Ok(Statement::Unsupported("LOCK INSTANCE FOR BACKUP".to_owned()));
    }
    if c.eat_any(&["TABLES", "TABLE"]).is_none() {
        return Err(c.error("LOCK TABLES t READ or WRITE"));
    }
    let tables = c.comma_separated(|c| {
        let table = c.table_name("name the table")?;
        let alias = if c.eat("AS") || !["READ", "WRITE", "LOW_PRIORITY"].iter().any(|word| c.is(word)) {
            Some(c.name("LOCK TABLES t READ or WRITE")?)
        } else {
            None
        };
        c.eat("LOW_PRIORITY");
        let write = match c.eat_any(&["READ", "WRITE"]) {
            Some(word) => word == "WRITE",
            None => return Err(c.error("LOCK TABLES t READ or WRITE")),
        };
        c.eat_any(&["LOCAL", "CONCURRENT"]);
        Ok(LockTable { table, alias, write })
    })?;
    c.expect_end()?;
    Ok(Statement::LockTables(tables))
}

/// Parses `UNLOCK TABLES`.
pub(super) fn unlock_tables(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    if c.is("INSTANCE") {
        return Ok(Statement::Unsupported("UNLOCK INSTANCE".to_owned()));
    }
    if c.eat_any(&["TABLES", "TABLE"]).is_none() {
        return Err(c.error("UNLOCK TABLES"));
    }
    c.expect_end()?;
    Ok(Statement::UnlockTables)
}

/// Parses `CHECK|ANALYZE|OPTIMIZE|REPAIR|CHECKSUM TABLE …`.
pub(super) fn upkeep(c: &mut Cursor<'_>, what: Upkeep) -> Result<Statement> {
    c.at += 1;
    c.eat_any(&["LOCAL", "NO_WRITE_TO_BINLOG"]);
    if c.eat_any(&["TABLE", "TABLES"]).is_none() {
        return match what {
            Upkeep::Analyze => Ok(Statement::Unsupported("ANALYZE of a statement; use EXPLAIN ANALYZE".to_owned())),
            _ => Err(c.error("TABLE is missing")),
        };
    }
    let tables = c.comma_separated(|c| c.table_name("name the table"))?;
    let mut options = Vec::new();
    while !c.at_end() {
        let known = [
            "FOR",
            "UPGRADE",
            "QUICK",
            "FAST",
            "MEDIUM",
            "EXTENDED",
            "CHANGED",
            "USE_FRM",
            "PERSISTENT",
            "ALL",
            "UPDATE",
            "DROP",
        ];
        match c.eat_any(&known) {
            Some("UPDATE" | "DROP") => return Ok(Statement::Unsupported("ANALYZE TABLE ... HISTOGRAM".to_owned())),
            Some(word) => options.push(word.to_owned()),
            None => return Err(c.error("")),
        }
    }
    Ok(Statement::TableUpkeep { what, tables, options })
}

/// Parses `FLUSH …`.
pub(super) fn flush(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    c.eat_any(&["LOCAL", "NO_WRITE_TO_BINLOG"]);
    let mut what = "FLUSH PRIVILEGES";
    let words = [
        "PRIVILEGES",
        "TABLES",
        "TABLE",
        "LOGS",
        "HOSTS",
        "STATUS",
        "USER_RESOURCES",
        "OPTIMIZER_COSTS",
        "BINARY",
        "ENGINE",
        "ERROR",
        "GENERAL",
        "RELAY",
        "SLOW",
    ];
    loop {
        match c.eat_any(&words) {
            // Grants are read from the catalog's newest version by every statement: there is no copy to reload.
            Some("PRIVILEGES") => {}
            Some("TABLES" | "TABLE") => {
                if c.at_end() {
                    // Tables are not held open, and every commit is on disk when it is acknowledged.
                    what = "FLUSH TABLES";
                } else if c.find(|t| super::cursor::is_word(t, "WITH") || super::cursor::is_word(t, "FOR"))
                    < c.raw.tokens.len()
                {
                    return Ok(Statement::Unsupported(
                        "FLUSH TABLES WITH READ LOCK; a snapshot needs no lock".to_owned(),
                    ));
                } else {
                    c.comma_separated(|c| c.table_name("name the table"))?;
                    what = "FLUSH TABLES";
                }
            }
            // Nothing is cached about hosts, and no log is buffered.
            Some("LOGS") => what = "FLUSH LOGS",
            Some("HOSTS") => what = "FLUSH HOSTS",
            Some(word) => return Ok(Statement::Unsupported(format!("FLUSH {word}"))),
            None => return Err(c.error("FLUSH goes on with PRIVILEGES, TABLES or LOGS")),
        }
        if !c.eat_sign(&Token::Comma) {
            break;
        }
    }
    c.expect_end()?;
    Ok(Statement::Noop { what })
}

fn variable(c: &mut Cursor<'_>) -> Option<String> {
    match c.peek() {
        Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.len() > 1 && word.value.starts_with('@') =>
        {
            c.at += 1;
            Some(word.value[1..].to_owned())
        }
        _ => None,
    }
}

//! The statements that only MatrixOne has: point-in-time policies, clones, branches. Snapshots and restores share our own grammar.

use sqlparser::ast::{Expr, Query};
use sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::history::{Target, When, target};
use super::{Filter, TableName};
use crate::error::{Error, Result};

#[derive(Debug, Clone, PartialEq)]
pub enum MatrixOne {
    /// Without a target it is for the own account.
    CreatePitr {
        name: String,
        if_not_exists: bool,
        target: Option<Target>,
        range: Range,
        internal: bool,
    },
    AlterPitr {
        name: String,
        if_exists: bool,
        range: Range,
    },
    DropPitr {
        name: String,
        if_exists: bool,
        internal: bool,
    },
    ShowPitr {
        filter: Option<Filter>,
    },
    ShowRecoveryWindow {
        target: Target,
    },
    CloneTable(CloneTable),
    CloneDatabase(CloneDatabase),
    Branch(Branch),
}

/// How far back a policy reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// As written: 0 and numbers that are too great are refused by whoever applies it.
    pub length: u64,
    pub unit: RangeUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeUnit {
    Hour,
    Day,
    Month,
    Year,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CloneTable {
    pub table: TableName,
    pub if_not_exists: bool,
    pub source: TableName,
    pub at: Option<When>,
    pub copy_grants: bool,
    pub to_account: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CloneDatabase {
    pub database: String,
    pub if_not_exists: bool,
    pub source: String,
    pub at: Option<When>,
    pub to_account: Option<String>,
}

/// `DATA BRANCH …`
#[derive(Debug, Clone, PartialEq)]
pub enum Branch {
    /// A clone whose origin is remembered for `Diff` and `Merge`.
    CreateTable(CloneTable),
    CreateDatabase(CloneDatabase),
    DeleteTable(TableName),
    DeleteDatabase(String),
    Diff {
        table: TableName,
        at: Option<When>,
        base: TableName,
        base_at: Option<When>,
        columns: Vec<String>,
        output: BranchOutput,
    },
    Merge {
        source: TableName,
        into: TableName,
        on_conflict: OnConflict,
    },
    Pick {
        source: TableName,
        at: Option<When>,
        into: TableName,
        between: Option<(String, String)>,
        keys: Option<Keys>,
        on_conflict: OnConflict,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchOutput {
    Rows,
    Table(TableName),
    File(String),
    Limit(u64),
    Count,
    Summary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    Fail,
    Skip,
    Accept,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Keys {
    /// One expression per key, a tuple where the key has several columns.
    Exprs(Vec<Expr>),
    Query(Box<Query>),
}

/// Parses the statement if it is one of these, else returns `None` and leaves the cursor where it was.
pub(super) fn parse(c: &mut Cursor<'_>) -> Result<Option<MatrixOne>> {
    let start = c.at;
    let statement = if c.eat_all(&["CREATE", "PITR"]) {
        let if_not_exists = c.if_not_exists();
        let name = c.name_or_string("CREATE PITR needs a name: CREATE PITR p FOR DATABASE d RANGE 7 'd'")?;
        let target = if c.eat("FOR") { Some(target(c)?) } else { None };
        let range = range(c)?;
        MatrixOne::CreatePitr { name, if_not_exists, target, range, internal: c.eat("INTERNAL") }
    } else if c.eat_all(&["ALTER", "PITR"]) {
        let if_exists = c.if_exists();
        let name = c.name_or_string("ALTER PITR needs a name: ALTER PITR p RANGE 7 'd'")?;
        MatrixOne::AlterPitr { name, if_exists, range: range(c)? }
    } else if c.eat_all(&["DROP", "PITR"]) {
        let if_exists = c.if_exists();
        let name = c.name_or_string("DROP PITR needs a name; SHOW PITR lists them")?;
        MatrixOne::DropPitr { name, if_exists, internal: c.eat("INTERNAL") }
    } else if c.eat_all(&["SHOW", "PITR"]) {
        MatrixOne::ShowPitr { filter: c.filter()? }
    } else if c.eat_all(&["SHOW", "RECOVERY_WINDOW"]) || c.eat_all(&["SHOW", "RECOVERY", "WINDOW"]) {
        c.expect("FOR", "SHOW RECOVERY_WINDOW needs FOR ACCOUNT, DATABASE d or TABLE d t")?;
        MatrixOne::ShowRecoveryWindow { target: target(c)? }
    } else if c.eat_all(&["DATA", "BRANCH"]) {
        MatrixOne::Branch(branch(c)?)
    } else if let Some(clone) = clone(c)? {
        clone
    } else {
        c.at = start;
        return Ok(None);
    };
    Ok(Some(statement))
}

fn range(c: &mut Cursor<'_>) -> Result<Range> {
    const HINT: &str = "RANGE needs a number and one of 'h', 'd', 'mo', 'y'";
    c.expect("RANGE", HINT)?;
    let length = c.number(HINT)?;
    let at = c.at;
    let unit = match c.string(HINT)?.to_ascii_lowercase().as_str() {
        "h" => RangeUnit::Hour,
        "d" => RangeUnit::Day,
        "mo" => RangeUnit::Month,
        "y" => RangeUnit::Year,
        _ => {
            c.at = at;
            return Err(c.error(HINT));
        }
    };
    Ok(Range { length, unit })
}

/// `CREATE TABLE|DATABASE [IF NOT EXISTS] x CLONE y …`
fn clone(c: &mut Cursor<'_>) -> Result<Option<MatrixOne>> {
    if !c.eat("CREATE") {
        return Ok(None);
    }
    let temporary = c.eat("TEMPORARY");
    if c.eat("TABLE") {
        let if_not_exists = c.if_not_exists();
        let Ok(table) = c.table_name("") else { return Ok(None) };
        if !c.eat("CLONE") {
            return Ok(None);
        }
        if temporary {
            return Err(Error::unsupported("CREATE TEMPORARY TABLE ... CLONE"));
        }
        return Ok(Some(MatrixOne::CloneTable(clone_table(c, table, if_not_exists)?)));
    }
    if !temporary && (c.eat("DATABASE") || c.eat("SCHEMA")) {
        let if_not_exists = c.if_not_exists();
        let Ok(database) = c.name("") else { return Ok(None) };
        if !c.eat("CLONE") {
            return Ok(None);
        }
        return Ok(Some(MatrixOne::CloneDatabase(clone_database(c, database, if_not_exists)?)));
    }
    Ok(None)
}

fn clone_table(c: &mut Cursor<'_>, table: TableName, if_not_exists: bool) -> Result<CloneTable> {
    let source = c.table_name("name the table to clone")?;
    let at = c.moment_suffix()?;
    let copy_grants = c.eat_all(&["COPY", "GRANTS"]);
    Ok(CloneTable { table, if_not_exists, source, at, copy_grants, to_account: to_account(c)? })
}

fn clone_database(c: &mut Cursor<'_>, database: String, if_not_exists: bool) -> Result<CloneDatabase> {
    let source = c.name("name the database to clone")?;
    let at = c.moment_suffix()?;
    Ok(CloneDatabase { database, if_not_exists, source, at, to_account: to_account(c)? })
}

fn to_account(c: &mut Cursor<'_>) -> Result<Option<String>> {
    if c.eat_all(&["TO", "ACCOUNT"]) { Ok(Some(c.name_or_string("TO ACCOUNT needs a name")?)) } else { Ok(None) }
}

fn branch(c: &mut Cursor<'_>) -> Result<Branch> {
    const HINT: &str = "DATA BRANCH goes on with CREATE, DELETE, DIFF, MERGE or PICK";
    match c.eat_any(&["CREATE", "DELETE", "DIFF", "MERGE", "PICK"]) {
        Some("CREATE") if c.eat("TABLE") => {
            let table = c.table_name("name the new table")?;
            c.expect("FROM", "DATA BRANCH CREATE TABLE t needs FROM source")?;
            Ok(Branch::CreateTable(clone_table(c, table, false)?))
        }
        Some("CREATE") if c.eat("DATABASE") => {
            let database = c.name("name the new database")?;
            c.expect("FROM", "DATA BRANCH CREATE DATABASE d needs FROM source")?;
            Ok(Branch::CreateDatabase(clone_database(c, database, false)?))
        }
        Some("DELETE") if c.eat("TABLE") => Ok(Branch::DeleteTable(c.table_name("name the table")?)),
        Some("DELETE") if c.eat("DATABASE") => Ok(Branch::DeleteDatabase(c.name("name the database")?)),
        Some("CREATE" | "DELETE") => Err(c.error("say TABLE or DATABASE")),
        Some("DIFF") => {
            let table = c.table_name("name the table")?;
            let at = c.moment_suffix()?;
            c.expect("AGAINST", "DATA BRANCH DIFF t needs AGAINST base")?;
            let base = c.table_name("name the table to compare with")?;
            let base_at = c.moment_suffix()?;
            let columns = if c.eat("COLUMNS") { c.names_in_parens("COLUMNS needs a list")? } else { Vec::new() };
            Ok(Branch::Diff { table, at, base, base_at, columns, output: output(c)? })
        }
        Some("MERGE") => {
            let source = c.table_name("name the table to merge from")?;
            c.expect("INTO", "DATA BRANCH MERGE s needs INTO t")?;
            let into = c.table_name("name the table to merge into")?;
            Ok(Branch::Merge { source, into, on_conflict: on_conflict(c)? })
        }
        Some(_) => pick(c),
        None => Err(c.error(HINT)),
    }
}

fn output(c: &mut Cursor<'_>) -> Result<BranchOutput> {
    const HINT: &str = "OUTPUT is AS table, FILE 'directory', LIMIT n, COUNT or SUMMARY";
    if !c.eat("OUTPUT") {
        return Ok(BranchOutput::Rows);
    }
    Ok(match c.eat_any(&["AS", "FILE", "LIMIT", "COUNT", "SUMMARY"]) {
        Some("AS") => BranchOutput::Table(c.table_name(HINT)?),
        Some("FILE") => BranchOutput::File(c.string(HINT)?),
        Some("LIMIT") => BranchOutput::Limit(c.number(HINT)?),
        Some("COUNT") => BranchOutput::Count,
        Some(_) => BranchOutput::Summary,
        None => return Err(c.error(HINT)),
    })
}

fn on_conflict(c: &mut Cursor<'_>) -> Result<OnConflict> {
    if !c.eat("WHEN") {
        return Ok(OnConflict::Fail);
    }
    const HINT: &str = "WHEN CONFLICT is FAIL, SKIP or ACCEPT";
    c.expect("CONFLICT", HINT)?;
    match c.eat_any(&["FAIL", "SKIP", "ACCEPT"]) {
        Some("FAIL") => Ok(OnConflict::Fail),
        Some("SKIP") => Ok(OnConflict::Skip),
        Some(_) => Ok(OnConflict::Accept),
        None => Err(c.error(HINT)),
    }
}

fn pick(c: &mut Cursor<'_>) -> Result<Branch> {
    let source = c.table_name("name the table to pick from")?;
    let at = c.moment_suffix()?;
    c.expect("INTO", "DATA BRANCH PICK s needs INTO t")?;
    let into = c.table_name("name the table to pick into")?;
    let between = if c.eat_all(&["BETWEEN", "SNAPSHOT"]) {
        const HINT: &str = "BETWEEN SNAPSHOT needs two names: BETWEEN SNAPSHOT a AND b";
        let first = c.name_or_string(HINT)?;
        c.expect("AND", HINT)?;
        Some((first, c.name_or_string(HINT)?))
    } else {
        None
    };
    let keys = if c.eat("KEYS") {
        c.expect_sign(&Token::LParen, "KEYS needs a list or a query in parentheses")?;
        let end = c.find(|token| *token == Token::RParen);
        let keys = if c.is("SELECT") || c.is("WITH") {
            let query = c.with_parser(end, |parser| parser.parse_query())?;
            Keys::Query(query)
        } else {
            Keys::Exprs(c.with_parser(end, |parser| parser.parse_comma_separated(|p| p.parse_expr()))?)
        };
        c.at = end;
        c.expect_sign(&Token::RParen, "KEYS needs a list or a query in parentheses")?;
        Some(keys)
    } else {
        None
    };
    if between.is_none() && keys.is_none() {
        return Err(c.error("DATA BRANCH PICK requires a KEYS or BETWEEN SNAPSHOT clause"));
    }
    Ok(Branch::Pick { source, at, into, between, keys, on_conflict: on_conflict(c)? })
}

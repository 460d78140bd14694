//! Text in, statements out: MySQL's language, our own statements about history and MatrixOne's.
//!
//! ```text
//! text ─ lexer ─► statements as tokens ─┬─ by hand (history, matrixone, show, set, user, session, ddl) ─► Statement
//!                                       └─ tokens: rewrites ─► the library's parser ─► Statement with its trees
//! ```
//! Nothing here looks at a catalog or a clock, and nothing that a statement asks for is dropped silently: it is in the result, or the
//! statement is refused.

mod bytes;
mod cursor;
mod ddl;
mod dialect;
mod dml;
mod history;
mod lexer;
mod matrixone;
mod moments;
mod qualifiers;
mod session;
mod set;
mod show;
mod statement;
#[cfg(test)]
mod tests;
mod tokens;
mod user;

pub use bytes::text_of_bytes;
pub use history::{
    CreateSchedule, CreateSnapshot, Diff, DiffOutput, HistoryStatement, Keep, Period, PeriodUnit, Restore, RestoreFrom,
    RestoreTo, Rhythm, Rules, Scope, Target, Undo, Undrop, Undropped, When,
};
pub use matrixone::{Branch, BranchOutput, CloneDatabase, CloneTable, MatrixOne, Range, RangeUnit};
pub use moments::{TableAtMoment, ensure_stripped, moments, name_parts, strip};
pub use qualifiers::rename_database;
pub use statement::*;

use sqlparser::ast::{Expr, Select};
use sqlparser::tokenizer::Token;

use self::cursor::{Cursor, syntax_error, syntax_error_at};
use self::lexer::{LexError, Lexer, Raw};
use crate::error::{Error, Result};

/// What of a session's `sql_mode` changes how text is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// `"x"` is a name.
    pub ansi_quotes: bool,
    /// A backslash in a string is a backslash.
    pub no_backslash_escapes: bool,
    /// `||` joins texts; else it is OR.
    pub pipes_as_concat: bool,
}

/// Returns about how many bytes a statement takes while it is parsed, planned and carried out, without what it reads: measured
/// with long lists, rows of VALUES and long conditions, some 400 bytes for each word and sign, and some copies of its text.
pub fn weight(text: &str, options: Options) -> usize {
    let mut tokens = 0_usize;
    let mut in_word = false;
    let mut quote = None;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match quote {
            Some(end) if byte == end => quote = None,
            Some(_) if byte == b'\\' && !options.no_backslash_escapes => {
                bytes.next();
            }
            Some(_) => {}
            None => {
                let is_word = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@' | b'$' | 0x80..);
                let goes_on = byte.is_ascii_whitespace() || is_word && in_word;
                tokens += usize::from(!goes_on);
                in_word = is_word;
                quote = Some(byte).filter(|byte| matches!(byte, b'\'' | b'"' | b'`'));
            }
        }
    }
    tokens * 400 + text.len() * 16
}

/// Parses a text that must hold exactly one statement. Errors: 1064 syntax, 1065 empty, 1235 unsupported, 1436 nested too deep.
pub fn parse_one(text: &str, options: Options) -> Result<Parsed> {
    let mut lexer = Lexer::new(text, options);
    let Some(raw) = lexer.next_statement().map_err(|error| lex_error(text, 0, error))? else {
        return Err(Error::new(1065, "42000", "Query was empty"));
    };
    match lexer.next_statement() {
        Ok(None) => parse_raw(&raw),
        Ok(Some(next)) => Err(syntax_error(&next, 0, "one statement at a time here")),
        Err(error) => Err(lex_error(text, raw.end, error)),
    }
}

/// Splits a text into its statements without parsing them. Errors: 1064 where a text or comment does not end.
pub fn split(text: &str, options: Options) -> Result<Vec<String>> {
    let mut lexer = Lexer::new(text, options);
    let (mut texts, mut done) = (Vec::new(), 0);
    while let Some(raw) = lexer.next_statement().map_err(|error| lex_error(text, done, error))? {
        done = raw.end;
        texts.push(raw.text_alone().into_owned());
    }
    Ok(texts)
}

/// Parses one expression: a column's default, a check, a generated column as the catalog keeps it.
pub fn parse_expr(text: &str, options: Options) -> Result<Expr> {
    let mut lexer = Lexer::new(text, options);
    let raw = lexer.next_statement().map_err(|error| lex_error(text, 0, error))?;
    let Some(raw) = raw else { return Err(Error::syntax("An expression is missing")) };
    let mut cursor = Cursor::new(&raw);
    cursor.expr_to(raw.tokens.len())
}

/// Returns the source of each item between SELECT and FROM, as MySQL names the columns that have no alias.
/// `text` is the `Parsed::text` that the SELECT comes from. Empty if the SELECT does not stand in it.
pub fn select_item_texts<'a>(text: &'a str, select: &Select, options: Options) -> Vec<&'a str> {
    let from = select.select_token.0.span.start.column as usize;
    if from == 0 || from > text.len() || !text.is_char_boundary(from - 1) {
        return Vec::new();
    }
    let text = &text[from - 1..];
    let mut lexer = Lexer::new(text, options);
    let Ok(Some(raw)) = lexer.next_statement() else { return Vec::new() };
    let cursor = Cursor { raw: &raw, at: 1 };
    const ENDS: &[&str] = &[
        "FROM",
        "INTO",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "FOR",
        "LOCK",
        "WINDOW",
        "PROCEDURE",
    ];
    const MODIFIERS: &[&str] = &[
        "ALL",
        "DISTINCT",
        "DISTINCTROW",
        "HIGH_PRIORITY",
        "STRAIGHT_JOIN",
        "SQL_SMALL_RESULT",
        "SQL_BIG_RESULT",
        "SQL_BUFFER_RESULT",
        "SQL_CACHE",
        "SQL_NO_CACHE",
        "SQL_CALC_FOUND_ROWS",
    ];
    let end =
        cursor.find(|token| matches!(token, Token::RParen) || ENDS.iter().any(|word| cursor::is_word(token, word)));
    let mut at = 1;
    while raw.tokens.get(at).is_some_and(|t| MODIFIERS.iter().any(|word| cursor::is_word(&t.token, word))) {
        at += 1;
    }
    let mut items = Vec::new();
    while at < end {
        let item = Cursor { raw: &raw, at };
        let stop = item.find(|token| *token == Token::Comma).min(end);
        if stop == at {
            return Vec::new();
        }
        let first = raw.tokens[at].span.start.column as usize - 1;
        let last = raw.tokens[stop - 1].span.end.column as usize - 1;
        items.push(&raw.text()[first..last]);
        at = stop + 1;
    }
    items
}

fn lex_error(text: &str, start: usize, error: LexError) -> Error {
    // Lines count from where the statement begins, which is after blanks.
    let start = start + text[start..].find(|c: char| !c.is_whitespace() && c != ';').unwrap_or(0);
    syntax_error_at(text, start.min(error.at), text.len(), error.at, error.message)
}

fn parse_raw(raw: &Raw<'_>) -> Result<Parsed> {
    let mut cursor = Cursor::new(raw);
    let (statement, locking) = statement(&mut cursor)?;
    let max_execution_ms = max_execution_ms(raw.text());
    Ok(Parsed { statement, text: raw.text().to_owned(), parameters: raw.parameters, locking, max_execution_ms })
}

/// Reads the one optimizer hint that changes what a client sees. The others advise a planner that is not ours.
fn max_execution_ms(text: &str) -> Option<u64> {
    let (verb, rest) = text.split_at_checked(6)?;
    if !verb.eq_ignore_ascii_case("SELECT") {
        return None;
    }
    let hints = rest.trim_start().strip_prefix("/*+")?;
    let hints = hints[..hints.find("*/")?].to_ascii_uppercase();
    let (_, argument) = hints.split_once("MAX_EXECUTION_TIME")?;
    let (number, _) = argument.trim_start().strip_prefix('(')?.split_once(')')?;
    number.trim().parse().ok()
}

/// Parses from the cursor to the end of the statement. The second value: whether it asks for locks.
fn statement(c: &mut Cursor<'_>) -> Result<(Statement, bool)> {
    let first = match c.peek() {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        Some(Token::LParen) => return dml::query(c),
        _ => return Err(c.error("")),
    };
    match first.as_str() {
        "SELECT" | "WITH" | "VALUES" | "TABLE" => return with_or_query(c),
        "INSERT" | "REPLACE" => return dml::insert(c),
        "UPDATE" => return dml::update(c),
        "DELETE" => return dml::delete(c),
        // Words that only begin a statement of ours, or that one of ours shares with MySQL.
        "EXPLAIN" | "RESTORE" | "UNDROP" | "FLASHBACK" | "RECOVER" | "UNDO" | "CANCEL" | "COLLECT" | "CREATE"
        | "DROP" | "SHOW" | "DIFF" | "SET" | "APPLY" | "ALTER" | "DATA" => {
            if let Some(history) = history::parse(c)? {
                return Ok((Statement::History(Box::new(history)), false));
            }
        }
        _ => {}
    }
    if matches!(first.as_str(), "CREATE" | "ALTER" | "DROP" | "RENAME" | "GRANT" | "REVOKE")
        && let Some(user) = user::parse(c)?
    {
        return Ok((user, false));
    }
    let statement = match first.as_str() {
        "SHOW" => show::show(c)?,
        "DESCRIBE" | "DESC" | "EXPLAIN" => {
            let mut locking = false;
            let explained = show::explain(c, |c| {
                let (inner, locks) = statement(c)?;
                locking = locks;
                Ok(inner)
            })?;
            return Ok((explained, locking));
        }
        "SET" => set::set(c)?,
        "USE" => {
            c.at += 1;
            let database = match c.peek() {
                // Connector/J's setCatalog(""): MySQL takes it for a name, too.
                Some(Token::Word(word)) if word.quote_style.is_some() && word.value.is_empty() => {
                    c.at += 1;
                    String::new()
                }
                _ => c.name("USE needs the name of a database")?,
            };
            c.expect_end()?;
            Statement::Use(database)
        }
        "CREATE" => ddl::create(c)?,
        "ALTER" => ddl::alter(c)?,
        "DROP" => ddl::drop(c)?,
        "RENAME" => ddl::rename(c)?,
        "TRUNCATE" => {
            c.at += 1;
            c.eat("TABLE");
            let table = c.table_name("TRUNCATE TABLE needs a name")?;
            c.expect_end()?;
            Statement::Truncate(table)
        }
        "BEGIN" | "START" => session::begin(c)?,
        "COMMIT" => session::commit(c)?,
        "ROLLBACK" => session::rollback(c)?,
        "SAVEPOINT" | "RELEASE" => session::savepoint(c)?,
        "KILL" => session::kill(c)?,
        "PREPARE" => session::prepare(c)?,
        "EXECUTE" => session::execute(c)?,
        "DEALLOCATE" => session::deallocate(c)?,
        "DO" => session::do_exprs(c)?,
        "LOAD" => dml::load(c)?,
        "LOCK" => session::lock_tables(c)?,
        "UNLOCK" => session::unlock_tables(c)?,
        "CHECK" => session::upkeep(c, Upkeep::Check)?,
        "ANALYZE" => session::upkeep(c, Upkeep::Analyze)?,
        "OPTIMIZE" => session::upkeep(c, Upkeep::Optimize)?,
        "REPAIR" => session::upkeep(c, Upkeep::Repair)?,
        "CHECKSUM" => session::upkeep(c, Upkeep::Checksum)?,
        "FLUSH" => session::flush(c)?,
        "BACKUP" | "BINLOG" | "CACHE" | "CALL" | "CHANGE" | "CLONE" | "GET" | "HANDLER" | "HELP" | "IMPORT"
        | "INSTALL" | "PURGE" | "RESET" | "RESIGNAL" | "RESTART" | "SHUTDOWN" | "SIGNAL" | "STOP" | "UNINSTALL"
        | "XA" => Statement::Unsupported(first),
        _ => return Err(c.error("")),
    };
    Ok((statement, false))
}

/// `WITH … SELECT|UPDATE|DELETE`: the verb comes after the common tables.
fn with_or_query(c: &mut Cursor<'_>) -> Result<(Statement, bool)> {
    if c.is("WITH") {
        let verb = c.find(|token| {
            ["SELECT", "UPDATE", "DELETE", "INSERT", "REPLACE"].iter().any(|word| cursor::is_word(token, word))
        });
        let verb = Cursor { raw: c.raw, at: verb };
        if verb.is("UPDATE") || verb.is("DELETE") {
            return Err(Error::unsupported("WITH ... UPDATE or DELETE"));
        }
    }
    dml::query(c)
}

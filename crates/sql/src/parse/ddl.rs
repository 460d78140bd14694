//! Statements that define things. Tables, views and indexes keep the library's trees; the rest is read by hand.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, is_word, run_parser};
use super::lexer::keyword_word;
use super::statement::{AlterOperation, AlterTable, CreateView, DatabaseOptions, IndexKind, Statement};
use super::tokens;
use super::user::user_name;
use crate::error::{Error, Result};

/// Parses `CREATE …`.
pub(super) fn create(c: &mut Cursor<'_>) -> Result<Statement> {
    let start = c.at;
    c.at += 1;
    if c.eat("DATABASE") || c.eat("SCHEMA") {
        let if_not_exists = c.if_not_exists();
        let name = c.name("name the database")?;
        if c.is("FROM") {
            return Ok(unsupported(c, "CREATE DATABASE ... FROM PUBLICATION"));
        }
        let options = database_options(c)?;
        return Ok(Statement::CreateDatabase { name, if_not_exists, options });
    }
    let kind = match () {
        () if c.is("INDEX") || c.are(&["UNIQUE", "INDEX"]) => Some(IndexKind::Plain),
        () if c.are(&["FULLTEXT", "INDEX"]) => Some(IndexKind::Fulltext),
        () if c.are(&["SPATIAL", "INDEX"]) => Some(IndexKind::Spatial),
        () => None,
    };
    if let Some(kind) = kind {
        return create_index(c, kind);
    }
    c.eat_all(&["OR", "REPLACE"]);
    c.eat("TEMPORARY");
    if c.eat("TABLE") {
        if c.find(|token| is_word(token, "PARTITION")) < c.raw.tokens.len() {
            return Err(Error::unsupported("PARTITION BY"));
        }
        c.at = start;
        let table = c.with_parser(c.raw.tokens.len(), |parser| parser.parse_statement())?;
        return match table {
            ast::Statement::CreateTable(create) => Ok(Statement::CreateTable(Box::new(create))),
            _ => Err(c.error("")),
        };
    }
    if ["VIEW", "ALGORITHM", "DEFINER", "SQL"].iter().any(|word| c.is(word)) {
        c.at = start;
        if let Some(view) = create_view(c)? {
            return Ok(Statement::CreateView(Box::new(view)));
        }
    }
    for word in [
        "PROCEDURE",
        "FUNCTION",
        "TRIGGER",
        "EVENT",
        "SERVER",
        "SEQUENCE",
        "TABLESPACE",
        "LOGFILE",
        "PUBLICATION",
        "STAGE",
        "SOURCE",
        "CONNECTOR",
        "EXTERNAL",
        "AGGREGATE",
        "PACKAGE",
        "SPATIAL",
        "RESOURCE",
    ] {
        if c.find(|token| is_word(token, word)) < c.at + 6 {
            return Ok(unsupported(c, &format!("CREATE {word}")));
        }
    }
    Err(c.error("CREATE goes on with TABLE, VIEW, DATABASE, INDEX, USER, SNAPSHOT, SCHEDULE, PITR or ACCOUNT"))
}

/// Parses `ALTER …`.
pub(super) fn alter(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    if c.eat("DATABASE") || c.eat("SCHEMA") {
        let name = if ["DEFAULT", "CHARACTER", "CHARSET", "COLLATE", "COMMENT"].iter().any(|word| c.is(word)) {
            None
        } else {
            Some(c.name("name the database")?)
        };
        let at = c.at;
        let options = database_options(c)?;
        if c.at == at {
            return Err(c.error("ALTER DATABASE needs CHARACTER SET or COLLATE"));
        }
        return Ok(Statement::AlterDatabase { name, options });
    }
    c.eat("ONLINE");
    c.eat("IGNORE");
    if c.eat("TABLE") {
        return alter_table(c);
    }
    if ["VIEW", "ALGORITHM", "DEFINER", "SQL"].iter().any(|word| c.is(word)) {
        // ALTER VIEW is CREATE OR REPLACE of a view that must exist.
        return Ok(unsupported(c, "ALTER VIEW; use CREATE OR REPLACE VIEW"));
    }
    match c.peek() {
        Some(Token::Word(word)) => Ok(unsupported(c, &format!("ALTER {}", word.value.to_uppercase()))),
        _ => Err(c.error("ALTER goes on with TABLE, DATABASE or USER")),
    }
}

/// Parses `DROP …`.
pub(super) fn drop(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    let temporary = c.eat("TEMPORARY");
    let statement = if c.eat("TABLE") || c.eat("TABLES") {
        let if_exists = c.if_exists();
        let tables = c.comma_separated(|c| c.table_name("name the table"))?;
        restrict_or_cascade(c);
        Statement::DropTable { tables, if_exists, temporary }
    } else if temporary {
        return Err(c.error("DROP TEMPORARY goes on with TABLE"));
    } else if c.eat("VIEW") {
        let if_exists = c.if_exists();
        let views = c.comma_separated(|c| c.table_name("name the view"))?;
        restrict_or_cascade(c);
        Statement::DropView { views, if_exists }
    } else if c.eat("DATABASE") || c.eat("SCHEMA") {
        let if_exists = c.if_exists();
        Statement::DropDatabase { name: c.name("name the database")?, if_exists }
    } else if c.eat("INDEX") {
        let if_exists = c.if_exists();
        // The primary key's index is called PRIMARY.
        let name = c.name("name the index")?;
        c.expect("ON", "DROP INDEX i ON t")?;
        let table = c.table_name("name the table")?;
        algorithm_and_lock(c)?;
        Statement::DropIndex { name, table, if_exists }
    } else if c.eat("PREPARE") {
        Statement::Deallocate(c.name("name the prepared statement")?)
    } else {
        return match c.peek() {
            Some(Token::Word(word)) => Ok(unsupported(c, &format!("DROP {}", word.value.to_uppercase()))),
            _ => {
                Err(c
                    .error("DROP goes on with TABLE, VIEW, DATABASE, INDEX, USER, SNAPSHOT, SCHEDULE, PITR or ACCOUNT"))
            }
        };
    };
    c.expect_end()?;
    Ok(statement)
}

/// Parses `RENAME TABLE …`.
pub(super) fn rename(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    if !(c.eat("TABLE") || c.eat("TABLES")) {
        return Err(c.error("RENAME goes on with TABLE or USER"));
    }
    let pairs = c.comma_separated(|c| {
        let from = c.table_name("RENAME TABLE a TO b")?;
        c.expect("TO", "RENAME TABLE a TO b")?;
        Ok((from, c.table_name("RENAME TABLE a TO b")?))
    })?;
    c.expect_end()?;
    Ok(Statement::RenameTable(pairs))
}

/// MySQL says of both words that they do nothing; they make porting easier.
fn restrict_or_cascade(c: &mut Cursor<'_>) {
    c.eat_any(&["RESTRICT", "CASCADE"]);
}

/// `ALGORITHM = x` and `LOCK = x`: how MySQL is to go about it. Nothing here locks or copies.
fn algorithm_and_lock(c: &mut Cursor<'_>) -> Result<()> {
    while c.eat_any(&["ALGORITHM", "LOCK"]).is_some() {
        c.eat_sign(&Token::Eq);
        c.name("DEFAULT, INPLACE, COPY, INSTANT, NONE, SHARED or EXCLUSIVE")?;
    }
    Ok(())
}

fn unsupported(c: &mut Cursor<'_>, what: &str) -> Statement {
    c.at = c.raw.tokens.len();
    Statement::Unsupported(what.to_owned())
}

fn database_options(c: &mut Cursor<'_>) -> Result<DatabaseOptions> {
    let mut options = DatabaseOptions::default();
    while !c.at_end() {
        c.eat("DEFAULT");
        if c.eat_all(&["CHARACTER", "SET"]) || c.eat_all(&["CHAR", "SET"]) || c.eat("CHARSET") {
            c.eat_sign(&Token::Eq);
            options.charset = Some(c.name_or_string("name a character set")?);
        } else if c.eat("COLLATE") {
            c.eat_sign(&Token::Eq);
            options.collate = Some(c.name_or_string("name a collation")?);
        } else if c.eat("COMMENT") {
            c.eat_sign(&Token::Eq);
            options.comment = Some(c.string("COMMENT needs a text in quotes")?);
        } else if c.eat("ENCRYPTION") {
            c.eat_sign(&Token::Eq);
            if !c.string("ENCRYPTION is 'Y' or 'N'")?.eq_ignore_ascii_case("n") {
                return Err(Error::unsupported("ENCRYPTION of a database"));
            }
        } else {
            return Err(c.error(""));
        }
    }
    Ok(options)
}

fn create_index(c: &mut Cursor<'_>, kind: IndexKind) -> Result<Statement> {
    let unique = c.eat("UNIQUE");
    if kind != IndexKind::Plain {
        c.at += 1;
    }
    c.expect("INDEX", "")?;
    // `INDEX i USING BTREE ON t (…)` and the options after the columns say how, not what.
    let end = c.find(|token| *token == Token::LParen);
    let close = c.raw.tokens.iter().rposition(|t| t.token == Token::RParen).map_or(end, |at| at + 1);
    let mut after = Cursor { raw: c.raw, at: close.max(end) };
    let comment = index_options(&mut after)?;
    let mut source = tokens::rewrite(c.raw, c.at, close.max(end))?.tokens;
    if let Some(at) = source.iter().position(|t| is_word(&t.token, "USING"))
        && at + 1 < source.len()
        && !source[..at].iter().any(|t| is_word(&t.token, "ON"))
    {
        source.drain(at..at + 2);
    }
    let mut index = run_parser(c.raw, source, |parser| parser.parse_create_index(unique))?;
    if let Some(text) = comment {
        index.index_options.push(ast::IndexOption::Comment(text));
    }
    Ok(Statement::CreateIndex { index: Box::new(index), kind })
}

fn index_options(c: &mut Cursor<'_>) -> Result<Option<String>> {
    let mut comment = None;
    while !c.at_end() {
        if c.eat("COMMENT") {
            c.eat_sign(&Token::Eq);
            comment = Some(c.string("COMMENT needs a text in quotes")?);
        } else if c.eat("USING") {
            c.name("USING BTREE or HASH")?;
        } else if c.eat_any(&["KEY_BLOCK_SIZE", "ALGORITHM", "LOCK"]).is_some() {
            // How to build and to lay it out: no query can see that, and nothing here locks.
            c.eat_sign(&Token::Eq);
            c.at += 1;
        } else if c.eat("VISIBLE") {
        } else if c.eat("INVISIBLE") || c.eat("IGNORED") {
            return Err(Error::unsupported("INVISIBLE indexes"));
        } else if c.eat_all(&["WITH", "PARSER"]) {
            c.name("name a parser")?;
        } else {
            return Err(c.error(""));
        }
    }
    Ok(comment)
}

/// `CREATE [OR REPLACE] [ALGORITHM = x] [DEFINER = user] [SQL SECURITY x] VIEW …`; `None` if it creates something else.
fn create_view(c: &mut Cursor<'_>) -> Result<Option<CreateView>> {
    let create = &c.raw.tokens[c.at];
    c.at += 1;
    let or_replace = c.eat_all(&["OR", "REPLACE"]);
    let (mut algorithm, mut definer, mut invoker) = (None, None, false);
    loop {
        if c.eat("ALGORITHM") {
            c.expect_sign(&Token::Eq, "ALGORITHM = UNDEFINED, MERGE or TEMPTABLE")?;
            algorithm = Some(c.name("ALGORITHM = UNDEFINED, MERGE or TEMPTABLE")?.to_ascii_uppercase());
        } else if c.eat("DEFINER") {
            c.expect_sign(&Token::Eq, "DEFINER = user")?;
            definer = Some(user_name(c)?);
        } else if c.eat_all(&["SQL", "SECURITY"]) {
            invoker = match c.eat_any(&["DEFINER", "INVOKER"]) {
                Some(word) => word == "INVOKER",
                None => return Err(c.error("SQL SECURITY is DEFINER or INVOKER")),
            };
        } else {
            break;
        }
    }
    if !c.is("VIEW") {
        return Ok(None);
    }
    let mut end = c.raw.tokens.len();
    let mut check_option = false;
    for words in [
        &["WITH", "CHECK", "OPTION"][..],
        &["WITH", "CASCADED", "CHECK", "OPTION"],
        &["WITH", "LOCAL", "CHECK", "OPTION"],
    ] {
        if end > c.at + words.len() && (Cursor { raw: c.raw, at: end - words.len() }).are(words) {
            end -= words.len();
            check_option = true;
        }
    }
    let mut source: Vec<TokenWithSpan> = vec![create.clone()];
    if or_replace {
        source.push(tokens::in_place_of(create, keyword_word("OR", Keyword::OR)));
        source.push(tokens::in_place_of(create, keyword_word("REPLACE", Keyword::REPLACE)));
    }
    source.extend(tokens::rewrite(c.raw, c.at, end)?.tokens);
    let query_at = c.find(|token| is_word(token, "AS")) + 1;
    let view = match run_parser(c.raw, source, |parser| parser.parse_statement())? {
        ast::Statement::CreateView(view) => view,
        _ => return Err(c.error("")),
    };
    let offset = |at: u64| at.saturating_sub(1) as usize;
    let from = c.raw.tokens.get(query_at).map_or(0, |t| offset(t.span.start.column));
    let to = c.raw.tokens[..end].last().map_or(from, |t| offset(t.span.end.column));
    let query_text = c.raw.text()[from.min(to)..to].to_owned();
    Ok(Some(CreateView { view, definer, invoker, algorithm, check_option, query_text }))
}

fn alter_table(c: &mut Cursor<'_>) -> Result<Statement> {
    let if_exists = c.if_exists();
    let table = c.table_name("name the table")?;
    let mut operations = Vec::new();
    loop {
        alter_operation(c, &mut operations)?;
        if !c.eat_sign(&Token::Comma) {
            break;
        }
    }
    c.expect_end()?;
    Ok(Statement::AlterTable(Box::new(AlterTable { table, if_exists, operations })))
}

fn alter_operation(c: &mut Cursor<'_>, operations: &mut Vec<AlterOperation>) -> Result<()> {
    let start = c.at;
    let end = c.find(|token| *token == Token::Comma);
    // `ADD COLUMN (a INT, b INT)` is several.
    if c.eat("ADD") && (c.eat("COLUMN") || c.peek() == Some(&Token::LParen)) && c.eat_sign(&Token::LParen) {
        let close = c.find(|token| *token == Token::RParen);
        loop {
            let stop = c.find(|token| matches!(token, Token::Comma | Token::RParen));
            let add = &c.raw.tokens[start];
            let mut source = vec![add.clone()];
            source.extend(tokens::rewrite(c.raw, c.at, stop)?.tokens);
            operations.push(AlterOperation::Sql(Box::new(run_parser(c.raw, source, |parser| {
                parser.parse_alter_table_operation()
            })?)));
            c.at = stop;
            if stop >= close {
                break;
            }
            c.at += 1;
        }
        return c.expect_sign(&Token::RParen, "");
    }
    c.at = start;
    let operation = if c.eat_all(&["RENAME", "INDEX"]) || c.eat_all(&["RENAME", "KEY"]) {
        let from = c.name("RENAME INDEX a TO b")?;
        c.expect("TO", "RENAME INDEX a TO b")?;
        AlterOperation::RenameIndex { from, to: c.name("RENAME INDEX a TO b")? }
    } else if c.is("RENAME") && !c.is_at(1, "COLUMN") {
        c.at += 1;
        c.eat_any(&["TO", "AS"]);
        c.eat_sign(&Token::Eq);
        AlterOperation::RenameTo(c.table_name("RENAME TO needs a name")?)
    } else if c.eat_all(&["DROP", "FOREIGN", "KEY"]) {
        let if_exists = c.if_exists();
        AlterOperation::DropForeignKey { name: c.name("name the foreign key")?, if_exists }
    } else if c.eat_all(&["DROP", "PRIMARY", "KEY"]) {
        AlterOperation::DropPrimaryKey
    } else if c.eat_all(&["DROP", "CHECK"]) {
        AlterOperation::DropCheck { name: c.name("name the check")? }
    } else if c.eat_all(&["DROP", "INDEX"]) || c.eat_all(&["DROP", "KEY"]) {
        let if_exists = c.if_exists();
        AlterOperation::DropIndex { name: c.name("name the index")?, if_exists }
    } else if c.eat_all(&["CONVERT", "TO"]) {
        let (charset, collate) = charset_and_collate(c)?;
        AlterOperation::ConvertTo { charset, collate }
    } else if ["DEFAULT", "CHARACTER", "CHARSET", "COLLATE"].iter().any(|word| c.is(word)) {
        let (charset, collate) = charset_and_collate(c)?;
        AlterOperation::DefaultCharset { charset, collate }
    } else if c.eat("COMMENT") {
        c.eat_sign(&Token::Eq);
        AlterOperation::Comment(c.string("COMMENT needs a text in quotes")?)
    } else if c.eat("ENGINE") {
        c.eat_sign(&Token::Eq);
        AlterOperation::Engine(c.name_or_string("name an engine")?)
    } else if c.eat("AUTO_INCREMENT") {
        c.eat_sign(&Token::Eq);
        AlterOperation::AutoIncrement(c.number("AUTO_INCREMENT needs a number")?)
    } else if is_layout(c) {
        // ORDER BY may name several columns.
        c.at = if c.is("ORDER") { c.raw.tokens.len() } else { end };
        let offset = |at: u64| at.saturating_sub(1) as usize;
        let tokens = &c.raw.tokens[start..c.at];
        let from = tokens.first().map_or(0, |t| offset(t.span.start.column));
        let to = tokens.last().map_or(0, |t| offset(t.span.end.column));
        AlterOperation::Layout(c.raw.text()[from..to].to_owned())
    } else if let Some(word) =
        ["DISCARD", "IMPORT", "EXCHANGE", "TRUNCATE", "COALESCE", "REORGANIZE", "REMOVE", "PARTITION"]
            .iter()
            .find(|w| c.is(w))
    {
        return Err(Error::unsupported(format!("ALTER TABLE ... {word}")));
    } else {
        let mut source = tokens::rewrite(c.raw, c.at, end)?.tokens;
        // `ADD COLUMN IF NOT EXISTS` is MariaDB's.
        let add_if = c.is("ADD") && (c.is_at(1, "IF") || (c.is_at(1, "COLUMN") && c.is_at(2, "IF")));
        if add_if {
            let at = if c.is_at(1, "IF") { 1 } else { 2 };
            source.drain(at..source.len().min(at + 3));
        }
        let mut operation = run_parser(c.raw, source, |parser| parser.parse_alter_table_operation())?;
        if add_if && let ast::AlterTableOperation::AddColumn { if_not_exists, .. } = &mut operation {
            *if_not_exists = true;
        }
        c.at = end;
        AlterOperation::Sql(Box::new(operation))
    };
    operations.push(operation);
    Ok(())
}

fn is_layout(c: &Cursor<'_>) -> bool {
    const WITH_VALUE: &[&str] = &[
        "ROW_FORMAT",
        "KEY_BLOCK_SIZE",
        "STATS_PERSISTENT",
        "STATS_AUTO_RECALC",
        "STATS_SAMPLE_PAGES",
        "AVG_ROW_LENGTH",
        "MAX_ROWS",
        "MIN_ROWS",
        "PACK_KEYS",
        "CHECKSUM",
        "DELAY_KEY_WRITE",
    ];
    c.is("FORCE")
        || c.are(&["ENABLE", "KEYS"])
        || c.are(&["DISABLE", "KEYS"])
        || c.are(&["ORDER", "BY"])
        || WITH_VALUE.iter().any(|word| c.is(word))
}

fn charset_and_collate(c: &mut Cursor<'_>) -> Result<(Option<String>, Option<String>)> {
    let (mut charset, mut collate) = (None, None);
    loop {
        c.eat("DEFAULT");
        if charset.is_none() && (c.eat_all(&["CHARACTER", "SET"]) || c.eat_all(&["CHAR", "SET"]) || c.eat("CHARSET")) {
            c.eat_sign(&Token::Eq);
            charset = Some(c.name_or_string("name a character set")?);
        } else if collate.is_none() && c.eat("COLLATE") {
            c.eat_sign(&Token::Eq);
            collate = Some(c.name_or_string("name a collation")?);
        } else if charset.is_none() && collate.is_none() {
            return Err(c.error("name a CHARACTER SET or a COLLATE"));
        } else {
            return Ok((charset, collate));
        }
    }
}

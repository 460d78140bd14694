//! Statements that read or change rows, up to the library's trees.

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, is_word, run_parser};
use super::lexer::keyword_word;
use super::statement::{Delete, LoadColumn, LoadData, OnDuplicate, Statement, Update};
use super::tokens::{self, Rewritten};
use crate::error::{Error, Result};

/// Parses a query. Returns whether it asks for locks.
pub(super) fn query(c: &mut Cursor<'_>) -> Result<(Statement, bool)> {
    let Rewritten { mut tokens, locking, into } = tokens::rewrite(c.raw, c.at, c.raw.tokens.len())?;
    // `TABLE t ORDER BY …` is `SELECT * FROM t ORDER BY …`.
    if tokens.first().is_some_and(|t| is_word(&t.token, "TABLE")) {
        let like = tokens[0].clone();
        let select = [keyword_word("SELECT", Keyword::SELECT), Token::Mul, keyword_word("FROM", Keyword::FROM)];
        tokens.splice(0..1, select.map(|token| tokens::in_place_of(&like, token)));
    }
    let query = run_parser(c.raw, tokens, |parser| parser.parse_query())?;
    c.at = c.raw.tokens.len();
    Ok(if into.is_empty() {
        (Statement::Query(query), locking)
    } else {
        (Statement::SelectInto { query, variables: into }, locking)
    })
}

/// Parses `INSERT …` or `REPLACE …`.
pub(super) fn insert(c: &mut Cursor<'_>) -> Result<(Statement, bool)> {
    let mut rewritten = tokens::rewrite(c.raw, c.at, c.raw.tokens.len())?;
    if !rewritten.into.is_empty() {
        return Err(c.error("INTO names a table here"));
    }
    // INSERT takes VALUE for VALUES.
    let mut depth = 0usize;
    for at in 0..rewritten.tokens.len() {
        match &rewritten.tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            token if depth == 0 && is_word(token, "VALUE") => {
                let after =
                    rewritten.tokens.get(at + 1).is_some_and(|t| t.token == Token::LParen || is_word(&t.token, "ROW"));
                let before = at > 1 && !matches!(rewritten.tokens[at - 1].token, Token::Period);
                if after && before && !is_word(&rewritten.tokens[at - 1].token, "INTO") {
                    rewritten.tokens[at].token = keyword_word("VALUES", Keyword::VALUES);
                }
                break;
            }
            token if is_word(token, "VALUES") || is_word(token, "SELECT") => break,
            _ => {}
        }
    }
    let statement = run_parser(c.raw, rewritten.tokens, |parser| parser.parse_statement())?;
    c.at = c.raw.tokens.len();
    match statement {
        ast::Statement::Insert(insert) => Ok((Statement::Insert(Box::new(insert)), rewritten.locking)),
        _ => Err(c.error("")),
    }
}

/// Parses `UPDATE …`, of one table or several.
pub(super) fn update(c: &mut Cursor<'_>) -> Result<(Statement, bool)> {
    let verb = &c.raw.tokens[c.at];
    c.at += 1;
    c.eat("LOW_PRIORITY");
    let ignore = c.eat("IGNORE");
    let set = c.find(|token| is_word(token, "SET"));
    let mut source = vec![verb.clone()];
    source.extend(joined(tokens::rewrite(c.raw, c.at, set)?.tokens));
    let rest = tokens::rewrite(c.raw, set, c.raw.tokens.len())?;
    source.extend(rest.tokens);
    let statement = run_parser(c.raw, source, |parser| parser.parse_statement())?;
    c.at = c.raw.tokens.len();
    match statement {
        ast::Statement::Update(update) => {
            if update.from.is_some() {
                return Err(Error::unsupported("UPDATE ... FROM; use UPDATE a JOIN b ON ... SET"));
            }
            Ok((Statement::Update(Box::new(Update { update, ignore })), rest.locking))
        }
        _ => Err(c.error("")),
    }
}

/// Parses `DELETE …`, from one table or several.
pub(super) fn delete(c: &mut Cursor<'_>) -> Result<(Statement, bool)> {
    let verb = &c.raw.tokens[c.at];
    c.at += 1;
    // LOW_PRIORITY and QUICK ask for an order of work in engines with table locks, and change no result.
    c.eat("LOW_PRIORITY");
    c.eat("QUICK");
    let ignore = c.eat("IGNORE");
    let rewritten = tokens::rewrite(c.raw, c.at, c.raw.tokens.len())?;
    let mut source = vec![verb.clone()];
    // `DELETE FROM a.*, b.* USING …`: the `.*` is there for Access.
    let mut tokens = rewritten.tokens.into_iter().peekable();
    let mut in_list = true;
    while let Some(token) = tokens.next() {
        if is_word(&token.token, "WHERE") || is_word(&token.token, "JOIN") {
            in_list = false;
        }
        if in_list && token.token == Token::Period && tokens.peek().is_some_and(|t| t.token == Token::Mul) {
            tokens.next();
            continue;
        }
        source.push(token);
    }
    let statement = run_parser(c.raw, source, |parser| parser.parse_statement())?;
    c.at = c.raw.tokens.len();
    match statement {
        ast::Statement::Delete(delete) => {
            Ok((Statement::Delete(Box::new(Delete { delete, ignore })), rewritten.locking))
        }
        _ => Err(c.error("")),
    }
}

/// Writes `a, b JOIN c` as `a CROSS JOIN (b JOIN c)`: the library knows no comma before SET.
fn joined(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut parts: Vec<Vec<TokenWithSpan>> = vec![Vec::new()];
    let mut depth = 0usize;
    for token in tokens {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => {
                let mut next = Vec::new();
                for word in [keyword_word("CROSS", Keyword::CROSS), keyword_word("JOIN", Keyword::JOIN)] {
                    next.push(tokens::in_place_of(&token, word));
                }
                parts.push(next);
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is always a last part").push(token);
    }
    let mut out = Vec::new();
    for (index, mut part) in parts.into_iter().enumerate() {
        if index > 0 && part[2..].iter().any(|t| is_word(&t.token, "JOIN") || is_word(&t.token, "STRAIGHT_JOIN")) {
            let open = tokens::in_place_of(&part[0], Token::LParen);
            let close = tokens::in_place_of(&part[0], Token::RParen);
            part.insert(2, open);
            part.push(close);
        }
        out.extend(part);
    }
    out
}

/// Parses `LOAD DATA …`.
pub(super) fn load(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    if !c.eat("DATA") {
        return Ok(match c.peek() {
            Some(Token::Word(word)) => Statement::Unsupported(format!("LOAD {}", word.value.to_uppercase())),
            _ => return Err(c.error("LOAD goes on with DATA")),
        });
    }
    // Both ask for an order of work in engines with table locks.
    c.eat_any(&["LOW_PRIORITY", "CONCURRENT"]);
    let local = c.eat("LOCAL");
    if c.is("INLINE") || c.is("URL") {
        return Err(Error::unsupported("LOAD DATA other than INFILE"));
    }
    c.expect("INFILE", "LOAD DATA [LOCAL] INFILE 'file' INTO TABLE t")?;
    let file = c.string("LOAD DATA [LOCAL] INFILE 'file' INTO TABLE t")?;
    let on_duplicate = match c.eat_any(&["REPLACE", "IGNORE"]) {
        Some("REPLACE") => OnDuplicate::Replace,
        Some(_) => OnDuplicate::Ignore,
        // The file's rows are on their way already, so an error could not stop the client.
        None if local => OnDuplicate::Ignore,
        None => OnDuplicate::Error,
    };
    c.expect_all(&["INTO", "TABLE"], "LOAD DATA needs INTO TABLE t")?;
    let table = c.table_name("name the table")?;
    if c.is("PARTITION") {
        return Err(Error::unsupported("LOAD DATA ... PARTITION"));
    }
    let mut load = LoadData {
        local,
        file,
        on_duplicate,
        table,
        charset: None,
        fields_terminated_by: "\t".to_owned(),
        enclosed_by: None,
        optionally_enclosed: false,
        escaped_by: if c.raw.options.no_backslash_escapes { None } else { Some('\\') },
        lines_starting_by: String::new(),
        lines_terminated_by: "\n".to_owned(),
        ignore_lines: 0,
        columns: Vec::new(),
        assignments: Vec::new(),
    };
    if c.eat_all(&["CHARACTER", "SET"]) || c.eat("CHARSET") {
        load.charset = Some(c.name_or_string("name a character set")?);
    }
    if c.eat_any(&["FIELDS", "COLUMNS"]).is_some() {
        fields(c, &mut load)?;
    }
    if c.eat("LINES") {
        let at = c.at;
        loop {
            if c.eat_all(&["STARTING", "BY"]) {
                load.lines_starting_by = c.string("STARTING BY needs a text in quotes")?;
            } else if c.eat_all(&["TERMINATED", "BY"]) {
                load.lines_terminated_by = c.string("TERMINATED BY needs a text in quotes")?;
            } else if c.at == at {
                return Err(c.error("LINES needs STARTING BY 'x' or TERMINATED BY 'x'"));
            } else {
                break;
            }
        }
    }
    if c.eat("IGNORE") {
        load.ignore_lines = c.number("IGNORE n LINES")?;
        if c.eat_any(&["LINES", "ROWS"]).is_none() {
            return Err(c.error("IGNORE n LINES"));
        }
    }
    if c.eat_sign(&Token::LParen) && !c.eat_sign(&Token::RParen) {
        load.columns = c.comma_separated(load_column)?;
        c.expect_sign(&Token::RParen, "name columns or @variables")?;
    }
    if c.eat("SET") {
        load.assignments = c.comma_separated(|c| {
            let mut column = c.table_name("SET column = expression")?;
            // `t.c` is the column c.
            let name = std::mem::take(&mut column.name);
            c.expect_sign(&Token::Eq, "SET column = expression")?;
            Ok((name, c.expr_until(&[])?))
        })?;
    }
    c.expect_end()?;
    Ok(Statement::Load(Box::new(load)))
}

fn load_column(c: &mut Cursor<'_>) -> Result<LoadColumn> {
    match c.peek() {
        Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.len() > 1 && word.value.starts_with('@') =>
        {
            c.at += 1;
            Ok(LoadColumn::Variable(word.value[1..].to_owned()))
        }
        _ => Ok(LoadColumn::Column(c.name("name columns or @variables")?)),
    }
}

fn fields(c: &mut Cursor<'_>, load: &mut LoadData) -> Result<()> {
    let at = c.at;
    loop {
        if c.eat_all(&["TERMINATED", "BY"]) {
            load.fields_terminated_by = c.string("TERMINATED BY needs a text in quotes")?;
        } else if c.eat_all(&["OPTIONALLY", "ENCLOSED", "BY"]) {
            load.optionally_enclosed = true;
            load.enclosed_by = one_char(c, "ENCLOSED BY needs one character, or none")?;
        } else if c.eat_all(&["ENCLOSED", "BY"]) {
            load.enclosed_by = one_char(c, "ENCLOSED BY needs one character, or none")?;
        } else if c.eat_all(&["ESCAPED", "BY"]) {
            load.escaped_by = one_char(c, "ESCAPED BY needs one character, or none")?;
        } else if c.at == at {
            return Err(c.error("FIELDS needs TERMINATED BY 'x', ENCLOSED BY 'x' or ESCAPED BY 'x'"));
        } else {
            return Ok(());
        }
    }
}

fn one_char(c: &mut Cursor<'_>, hint: &str) -> Result<Option<char>> {
    let at = c.at;
    let text = c.string(hint)?;
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (one, None) => Ok(one),
        _ => {
            c.at = at;
            Err(c.error(hint))
        }
    }
}

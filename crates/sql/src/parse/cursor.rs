//! A cursor over one statement's tokens: the helper of everything that we parse by hand.

use sqlparser::ast::Expr;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::dialect::StrandlineDialect;
use super::lexer::Raw;
use super::tokens;
use super::{Filter, TableName, When};
use crate::error::{Error, Result};

/// How deep expressions and queries may nest. Whoever walks the trees later recurses as deep, on a stack of ordinary size.
pub(super) const DEPTH_MAX: usize = 128;
/// How many operators of arithmetic, comparison or UNION may follow one another without brackets: they make a tree of that depth.
/// AND and OR may be as many as one likes (see `dialect`).
pub(super) const CHAIN_MAX: usize = 500;
/// The stack for statements that nest: the library's parser takes up to 110 KiB of it per level in a debug build. Pages that are not
/// touched cost nothing.
const STACK_BYTES: usize = 40 << 20;
/// Up to here the caller's stack will do.
const DEPTH_SHALLOW: usize = 4;

pub(super) struct Cursor<'a> {
    pub raw: &'a Raw<'a>,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(raw: &'a Raw<'a>) -> Cursor<'a> {
        Cursor { raw, at: 0 }
    }

    pub fn peek(&self) -> Option<&'a Token> {
        self.peek_at(0)
    }

    pub fn peek_at(&self, ahead: usize) -> Option<&'a Token> {
        self.raw.tokens.get(self.at + ahead).map(|t| &t.token)
    }

    pub fn at_end(&self) -> bool {
        self.at >= self.raw.tokens.len()
    }

    pub fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    pub fn is_at(&self, ahead: usize, word: &str) -> bool {
        self.peek_at(ahead).is_some_and(|token| is_word(token, word))
    }

    /// Whether the next tokens are these words.
    pub fn are(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.is_at(ahead, word))
    }

    pub fn eat(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.at += usize::from(found);
        found
    }

    pub fn eat_all(&mut self, words: &[&str]) -> bool {
        let found = self.are(words);
        self.at += if found { words.len() } else { 0 };
        found
    }

    /// Eats one of `words` and returns which.
    pub fn eat_any<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        let found = words.iter().copied().find(|word| self.is(word));
        self.at += usize::from(found.is_some());
        found
    }

    pub fn eat_sign(&mut self, sign: &Token) -> bool {
        let found = self.peek() == Some(sign);
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, word: &str, hint: &str) -> Result<()> {
        if self.eat(word) { Ok(()) } else { Err(self.error(hint)) }
    }

    pub fn expect_all(&mut self, words: &[&str], hint: &str) -> Result<()> {
        if self.eat_all(words) { Ok(()) } else { Err(self.error(hint)) }
    }

    pub fn expect_sign(&mut self, sign: &Token, hint: &str) -> Result<()> {
        if self.eat_sign(sign) { Ok(()) } else { Err(self.error(hint)) }
    }

    /// Fails unless every token was eaten.
    pub fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.error("")) }
    }

    pub fn if_exists(&mut self) -> bool {
        self.eat_all(&["IF", "EXISTS"])
    }

    pub fn if_not_exists(&mut self) -> bool {
        self.eat_all(&["IF", "NOT", "EXISTS"])
    }

    /// A name, quoted or not.
    pub fn name(&mut self, hint: &str) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) if is_plain_name(word) => {
                self.at += 1;
                Ok(word.value.clone())
            }
            _ => Err(self.error(hint)),
        }
    }

    /// A name behind `.`, where no word is reserved: `d.order`.
    pub fn name_after_period(&mut self, hint: &str) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) if !word.value.starts_with('@') && !word.value.is_empty() => {
                self.at += 1;
                Ok(word.value.clone())
            }
            _ => Err(self.error(hint)),
        }
    }

    /// A name or a string with the name in it.
    pub fn name_or_string(&mut self, hint: &str) -> Result<String> {
        match self.peek() {
            Some(Token::SingleQuotedString(text)) if !text.is_empty() => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => self.name(hint),
        }
    }

    pub fn string(&mut self, hint: &str) -> Result<String> {
        match self.peek() {
            Some(Token::SingleQuotedString(text)) => {
                self.at += 1;
                Ok(text.clone())
            }
            _ => Err(self.error(hint)),
        }
    }

    pub fn number(&mut self, hint: &str) -> Result<u64> {
        if let Some(Token::Number(text, _)) = self.peek()
            && let Ok(number) = text.parse()
        {
            self.at += 1;
            return Ok(number);
        }
        Err(self.error(hint))
    }

    pub fn number_u32(&mut self, hint: &str) -> Result<u32> {
        let at = self.at;
        let number = self.number(hint)?;
        u32::try_from(number).map_err(|_| syntax_error(self.raw, at, hint))
    }

    /// `t` or `d.t`.
    pub fn table_name(&mut self, hint: &str) -> Result<TableName> {
        let first = self.name(hint)?;
        if self.eat_sign(&Token::Period) {
            return Ok(TableName { database: Some(first), name: self.name_after_period(hint)? });
        }
        Ok(TableName { database: None, name: first })
    }

    /// `(a, b, …)`
    pub fn names_in_parens(&mut self, hint: &str) -> Result<Vec<String>> {
        self.expect_sign(&Token::LParen, hint)?;
        let names = self.comma_separated(|c| c.name(hint))?;
        self.expect_sign(&Token::RParen, hint)?;
        Ok(names)
    }

    pub fn comma_separated<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.eat_sign(&Token::Comma) {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// `LIKE 'x'` or `WHERE expr`, then the end of the statement.
    pub fn filter(&mut self) -> Result<Option<Filter>> {
        let filter = if self.eat("LIKE") {
            Some(Filter::Like(self.string("LIKE needs a pattern in quotes")?))
        } else if self.eat("WHERE") {
            Some(Filter::Where(Box::new(self.expr_to(self.raw.tokens.len())?)))
        } else {
            None
        };
        self.expect_end()?;
        Ok(filter)
    }

    /// Parses the tokens up to `end` as one expression.
    pub fn expr_to(&mut self, end: usize) -> Result<Expr> {
        let expr = self.with_parser(end, |parser| parser.parse_expr())?;
        self.at = end;
        Ok(expr)
    }

    /// Parses an expression that ends at the next comma, closing sign or word of `stops` outside of all brackets.
    pub fn expr_until(&mut self, stops: &[&str]) -> Result<Expr> {
        let end = self.find(|token| {
            matches!(token, Token::Comma | Token::RParen | Token::RBrace)
                || stops.iter().any(|stop| is_word(token, stop))
        });
        self.expr_to(end)
    }

    /// Returns where the first token stands that `stop` says yes to, outside of all brackets.
    pub fn find(&self, stop: impl Fn(&Token) -> bool) -> usize {
        let mut depth = 0usize;
        for (index, token) in self.raw.tokens.iter().enumerate().skip(self.at) {
            if depth == 0 && stop(&token.token) {
                return index;
            }
            match token.token {
                Token::LParen | Token::LBrace => depth += 1,
                Token::RParen | Token::RBrace => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        self.raw.tokens.len()
    }

    /// Gives the tokens up to `end`, rewritten, to the library's parser, which must eat them all.
    pub fn with_parser<T>(
        &self,
        end: usize,
        parse: impl FnOnce(&mut Parser<'static>) -> std::result::Result<T, ParserError>,
    ) -> Result<T> {
        let rewritten = tokens::rewrite(self.raw, self.at, end)?;
        run_parser(self.raw, rewritten.tokens, parse)
    }

    /// A moment behind a table's name: `{SNAPSHOT = s}` and the like, `AS OF …`, `FOR SYSTEM_TIME AS OF …`. `None` where there is none.
    pub fn moment_suffix(&mut self) -> Result<Option<When>> {
        let hint = "a moment is {SNAPSHOT = 's'}, {TIMESTAMP = 'time'}, {VERSION = n}, {MO_TS = n} or {AS OF TIMESTAMP 'time'}";
        if self.eat_sign(&Token::LBrace) {
            let when = if self.eat_all(&["AS", "OF"]) {
                self.as_of(hint)?
            } else if self.eat("SNAPSHOT") {
                self.expect_sign(&Token::Eq, hint)?;
                When::Snapshot(self.name_or_string(hint)?)
            } else if self.eat("VERSION") {
                self.expect_sign(&Token::Eq, hint)?;
                When::Version(self.number(hint)?)
            } else if self.eat("TIMESTAMP") {
                self.expect_sign(&Token::Eq, hint)?;
                super::moments::time_of(self.expr_until(&[])?)
            } else if self.eat("MO_TS") {
                self.expect_sign(&Token::Eq, hint)?;
                let at = self.at;
                super::moments::mo_ts_of(self.expr_until(&[])?).ok_or_else(|| syntax_error(self.raw, at, hint))?
            } else {
                return Err(self.error(hint));
            };
            self.expect_sign(&Token::RBrace, hint)?;
            return Ok(Some(when));
        }
        if self.eat_all(&["AS", "OF"]) || self.eat_all(&["FOR", "SYSTEM_TIME", "AS", "OF"]) {
            return Ok(Some(self.as_of(hint)?));
        }
        Ok(None)
    }

    fn as_of(&mut self, hint: &str) -> Result<When> {
        match self.peek() {
            Some(Token::SingleQuotedString(_)) => Ok(When::Reference(self.string(hint)?)),
            _ => self.when(hint),
        }
    }

    /// `NOW | VERSION n | TIMESTAMP 'time' | SNAPSHOT name`, or a text that is one of a snapshot's name, a version or a time.
    pub fn when(&mut self, hint: &str) -> Result<When> {
        if self.eat("NOW") {
            if self.eat_sign(&Token::LParen) {
                self.expect_sign(&Token::RParen, hint)?;
            }
            return Ok(When::Now);
        }
        if self.eat("VERSION") {
            return Ok(When::Version(self.number("VERSION needs a number")?));
        }
        if self.eat("TIMESTAMP") {
            return match self.peek() {
                Some(Token::Placeholder(_)) => Ok(When::Expr(Box::new(self.expr_to(self.at + 1)?))),
                _ => Ok(When::Time(self.string("TIMESTAMP needs a time in quotes")?)),
            };
        }
        if self.eat("SNAPSHOT") {
            return Ok(When::Snapshot(self.name_or_string("SNAPSHOT needs a name")?));
        }
        match self.peek() {
            Some(Token::SingleQuotedString(_)) => Ok(When::Reference(self.string(hint)?)),
            _ => Err(self.error(hint)),
        }
    }

    /// Returns the error "syntax, near the next token". The hint says what was wanted; it may be empty.
    pub fn error(&self, hint: &str) -> Error {
        syntax_error(self.raw, self.at, hint)
    }
}

/// Runs the library's parser over `tokens` and fails unless it eats them all.
pub(super) fn run_parser<T>(
    raw: &Raw<'_>,
    tokens: Vec<TokenWithSpan>,
    parse: impl FnOnce(&mut Parser<'static>) -> std::result::Result<T, ParserError>,
) -> Result<T> {
    const DIALECT: StrandlineDialect = StrandlineDialect;
    // Where the parser stands after the last of these tokens, which need not be the last of the statement.
    let end = tokens.last().map_or(raw.end, |t| raw.start + t.span.end.column.saturating_sub(1) as usize);
    let depth = check_shape(&tokens)?;
    let mut parser = Parser::new(&DIALECT).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
    let parsed =
        if depth > DEPTH_SHALLOW { stacker::grow(STACK_BYTES, || parse(&mut parser)) } else { parse(&mut parser) };
    let error = match parsed {
        Ok(value) => match parser.peek_token_ref().token {
            Token::EOF => return Ok(value),
            _ => ParserError::ParserError(String::new()),
        },
        Err(error) => error,
    };
    let message = match &error {
        ParserError::RecursionLimitExceeded => return Err(too_deep()),
        ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
    };
    // The message ends in the place of the token that the parser gave up at; for want of it, take where it stands.
    let place = message.rsplit_once("Column: ").and_then(|(_, column)| column.trim().parse::<usize>().ok());
    let at = match place {
        Some(column) if column > 0 => raw.start + column - 1,
        _ => match parser.peek_token_ref() {
            TokenWithSpan { token: Token::EOF, .. } => end,
            token => raw.start + token.span.start.column.saturating_sub(1) as usize,
        },
    };
    Err(syntax_error_at(raw.all, raw.start, raw.end, at, ""))
}

/// Returns how deep the brackets nest; fails where the tree would become too deep.
fn check_shape(tokens: &[TokenWithSpan]) -> Result<usize> {
    let mut deepest = 0;
    // For each open bracket, and the outside: operators in a row, and unions in a row.
    let mut rows = vec![(0usize, 0usize)];
    for token in tokens {
        let top = rows.len() - 1;
        match &token.token {
            Token::LParen => {
                rows.push((0, 0));
                deepest = deepest.max(rows.len() - 1);
                if deepest > DEPTH_MAX {
                    return Err(too_deep());
                }
            }
            Token::RParen if top > 0 => {
                rows.pop();
            }
            Token::Comma => rows[top].0 = 0,
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::Pipe
            | Token::Ampersand
            | Token::Caret
            | Token::ShiftLeft
            | Token::ShiftRight
            | Token::StringConcat
            | Token::Arrow
            | Token::LongArrow
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::Spaceship
            | Token::Assignment => rows[top].0 += 1,
            Token::Word(word) => match word.keyword {
                Keyword::DIV | Keyword::XOR | Keyword::IS | Keyword::LIKE | Keyword::REGEXP | Keyword::RLIKE => {
                    rows[top].0 += 1
                }
                Keyword::IN | Keyword::BETWEEN | Keyword::MEMBER => rows[top].0 += 1,
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => rows[top].1 += 1,
                Keyword::AND
                | Keyword::OR
                | Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::ON
                | Keyword::SET => {
                    rows[top].0 = 0;
                }
                Keyword::WHEN | Keyword::THEN | Keyword::ELSE | Keyword::HAVING => rows[top].0 = 0,
                _ if word.value.eq_ignore_ascii_case("MOD") => rows[top].0 += 1,
                _ => {}
            },
            _ => {}
        }
        let (operators, unions) = rows[rows.len() - 1];
        if operators > CHAIN_MAX || unions > CHAIN_MAX {
            return Err(Error::new(
                1436,
                "HY000",
                format!("More than {CHAIN_MAX} operators in a row; write it with brackets"),
            ));
        }
    }
    Ok(deepest)
}

/// 1436: the statement nests too deep.
pub(super) fn too_deep() -> Error {
    Error::new(1436, "HY000", format!("The statement nests deeper than {DEPTH_MAX} levels; write it flatter"))
}

/// 1064 near the token with the number `index`.
pub(super) fn syntax_error(raw: &Raw<'_>, index: usize, hint: &str) -> Error {
    let at = raw.tokens.get(index).map_or(raw.end, |t| raw.start + t.span.start.column.saturating_sub(1) as usize);
    syntax_error_at(raw.all, raw.start, raw.end, at, hint)
}

/// 1064 near `token`, which may stem from a rewrite.
pub(super) fn syntax_error_near(raw: &Raw<'_>, token: &TokenWithSpan, hint: &str) -> Error {
    syntax_error_at(raw.all, raw.start, raw.end, raw.start + token.span.start.column.saturating_sub(1) as usize, hint)
}

/// 1064 near byte `at` of `all`, in a statement from `start` to `end`.
pub(super) fn syntax_error_at(all: &str, start: usize, end: usize, at: usize, hint: &str) -> Error {
    let mut at = at.clamp(start, end);
    while !all.is_char_boundary(at) {
        at -= 1;
    }
    let near: String = all[at..end].chars().take(80).collect();
    let line = 1 + all[start..at].matches('\n').count();
    let hint = if hint.is_empty() { String::new() } else { format!(" ({hint})") };
    Error::syntax(format!(
        "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version for the right \
         syntax to use near '{near}' at line {line}{hint}"
    ))
}

pub(super) fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}

/// Whether a word can be a name: quoted, or none of those that would hide a missing name.
pub(super) fn is_plain_name(word: &Word) -> bool {
    const NEVER: &[&str] = &[
        "ADD", "ALTER", "AND", "AS", "BETWEEN", "BY", "CASE", "CREATE", "DATABASE", "DELETE", "DESC", "DROP", "ELSE",
        "EXISTS", "FOR", "FROM", "GRANT", "GROUP", "HAVING", "IF", "IN", "INSERT", "INTO", "IS", "JOIN", "KEY", "KEYS",
        "LIKE", "LIMIT", "NOT", "NULL", "ON", "OR", "ORDER", "REVOKE", "SCHEMA", "SELECT", "SET", "SHOW", "TABLE",
        "THEN", "TO", "UNION", "UPDATE", "USE", "USING", "VALUES", "WHEN", "WHERE", "WITH",
    ];
    if word.quote_style.is_some() {
        return !word.value.is_empty();
    }
    !word.value.starts_with('@') && !NEVER.iter().any(|never| word.value.eq_ignore_ascii_case(never))
}

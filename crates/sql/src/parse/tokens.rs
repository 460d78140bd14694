//! Rewrites on tokens: what MySQL, MatrixOne, TiDB, MariaDB and Dolt write, in the form that the library's parser knows.
//!
//! A moment behind a table's name becomes a table version: `t {SNAPSHOT = 's'}` is `t AT (SNAPSHOT => 's')`. Whoever plans the statement
//! resolves and strips these versions (`moments`). No rewrite drops anything silently: what is taken out is reported.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::cursor::{is_word, syntax_error, syntax_error_near};
use super::lexer::{Raw, keyword_word, quoted_word};
use crate::error::{Error, Result};

/// Tokens for the library's parser, and what was taken out of them.
pub(super) struct Rewritten {
    pub tokens: Vec<TokenWithSpan>,
    /// `FOR UPDATE`, `FOR SHARE` or `LOCK IN SHARE MODE` was asked for.
    pub locking: bool,
    /// The variables of `SELECT … INTO @a, @b`, without their `@`.
    pub into: Vec<String>,
}

/// Rewrites the tokens from `from` up to `to` of a statement.
pub(super) fn rewrite(raw: &Raw<'_>, from: usize, to: usize) -> Result<Rewritten> {
    let mut tokens = raw.tokens[from..to].to_vec();
    names_without_parens(&mut tokens);
    let seen = raw.seen;
    if seen.table_list {
        table_lists(&mut tokens);
    }
    if seen.types {
        tokens = types(raw, tokens)?;
    }
    let mut done = Rewritten { tokens: Vec::new(), locking: false, into: Vec::new() };
    if !(seen.brace || seen.of || seen.lock || seen.arrow || seen.into) {
        done.tokens = tokens;
        return Ok(done);
    }
    let source = tokens.as_slice();
    let mut rewriter =
        Rewriter { raw, source, at: 0, out: Vec::with_capacity(source.len() + 16), escapes: 0, done: &mut done };
    rewriter.run()?;
    done.tokens = std::mem::take(&mut rewriter.out);
    names_without_parens(&mut done.tokens);
    Ok(done)
}

/// Returns the token `token` in the place of `like`.
pub(super) fn in_place_of(like: &TokenWithSpan, token: Token) -> TokenWithSpan {
    TokenWithSpan::new(token, like.span)
}

/// Words that open an expression of their own only where a parenthesis follows, and are names elsewhere (`SELECT floor FROM t`).
/// And `TRIM(LEADING FROM x)` is `TRIM(LEADING x)`.
fn names_without_parens(tokens: &mut Vec<TokenWithSpan>) {
    let mut trims = Vec::new();
    for at in 0..tokens.len() {
        let open = matches!(tokens.get(at + 1), Some(TokenWithSpan { token: Token::LParen, .. }));
        if open
            && is_word(&tokens[at].token, "TRIM")
            && tokens
                .get(at + 2)
                .is_some_and(|t| ["LEADING", "TRAILING", "BOTH"].iter().any(|word| is_word(&t.token, word)))
            && tokens.get(at + 3).is_some_and(|t| is_word(&t.token, "FROM"))
        {
            trims.push(at + 3);
        }
        if let Token::Word(word) = &mut tokens[at].token
            && !open
            && matches!(
                word.keyword,
                Keyword::CAST
                    | Keyword::CEIL
                    | Keyword::EXTRACT
                    | Keyword::FLOOR
                    | Keyword::POSITION
                    | Keyword::SUBSTR
                    | Keyword::SUBSTRING
                    | Keyword::TRIM
            )
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
    for at in trims.into_iter().rev() {
        tokens.remove(at);
    }
}

/// `FROM a LEFT JOIN (b, c) ON …`: the library knows no comma inside the parentheses, but a cross join is the same.
fn table_lists(tokens: &mut Vec<TokenWithSpan>) {
    let mut out = Vec::with_capacity(tokens.len() + 8);
    // For each open parenthesis: whether it holds tables.
    let mut open: Vec<bool> = Vec::new();
    let mut previous_opens_tables = false;
    for (at, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LParen => {
                let query = tokens.get(at + 1).is_some_and(|next| {
                    ["SELECT", "WITH", "TABLE", "VALUES"].iter().any(|word| is_word(&next.token, word))
                        || next.token == Token::RParen
                });
                open.push(previous_opens_tables && !query);
            }
            Token::RParen => {
                open.pop();
            }
            Token::Comma if open.last() == Some(&true) => {
                out.push(in_place_of(token, keyword_word("CROSS", Keyword::CROSS)));
                out.push(in_place_of(token, keyword_word("JOIN", Keyword::JOIN)));
                previous_opens_tables = true;
                continue;
            }
            _ => {}
        }
        let opens = ["FROM", "JOIN", "STRAIGHT_JOIN", "UPDATE"].iter().any(|word| is_word(&token.token, word));
        previous_opens_tables = opens || (token.token == Token::LParen && open.last() == Some(&true));
        out.push(token.clone());
    }
    *tokens = out;
}

/// Types in the library's words. What it cannot say, and what would be lost, is refused.
fn types(raw: &Raw<'_>, tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let defines = raw.tokens.first().is_some_and(|t| is_word(&t.token, "CREATE") || is_word(&t.token, "ALTER"));
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 8);
    let mut depth = 0usize;
    let mut at = 0;
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    while at < tokens.len() {
        let token = &tokens[at];
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(word) if word.quote_style.is_none() => {
                let after_name = matches!(out.last(), Some(TokenWithSpan { token: Token::Word(_), .. }));
                if defines && after_name && is(at, "ZEROFILL") {
                    return Err(Error::unsupported("ZEROFILL"));
                }
                if defines
                    && after_name
                    && is(at, "NATIONAL")
                    && !matches!(tokens.get(at + 1), Some(t) if t.token == Token::Comma)
                {
                    at += 1;
                    continue;
                }
                if defines && after_name && is(at, "FIXED") {
                    out.push(in_place_of(token, keyword_word("DECIMAL", Keyword::DECIMAL)));
                    at += 1;
                    continue;
                }
                if defines && depth == 1 && after_name && is(at, "SERIAL") {
                    let words = [
                        ("BIGINT", Keyword::BIGINT),
                        ("UNSIGNED", Keyword::UNSIGNED),
                        ("NOT", Keyword::NOT),
                        ("NULL", Keyword::NULL),
                        ("AUTO_INCREMENT", Keyword::AUTO_INCREMENT),
                        ("UNIQUE", Keyword::UNIQUE),
                    ];
                    out.extend(words.map(|(text, keyword)| in_place_of(token, keyword_word(text, keyword))));
                    at += 1;
                    continue;
                }
                let value = tokens
                    .get(at + 1)
                    .is_some_and(|t| matches!(t.token, Token::Word(_) | Token::SingleQuotedString(_)));
                if defines
                    && (depth > 0 || raw.tokens[0].token == keyword_word("ALTER", Keyword::ALTER))
                    && is(at, "CHARSET")
                    && value
                {
                    // `CHARSET x` of a column.
                    out.push(in_place_of(token, keyword_word("CHARACTER", Keyword::CHARACTER)));
                    out.push(in_place_of(token, keyword_word("SET", Keyword::SET)));
                    at += 1;
                    continue;
                }
                if !defines
                    && depth > 0
                    && (is(at, "INT") || is(at, "INTEGER"))
                    && matches!(out.last(), Some(t) if is_word(&t.token, "SIGNED") || is_word(&t.token, "UNSIGNED"))
                {
                    // `CAST(x AS SIGNED INT)`
                    at += 1;
                    continue;
                }
                let charset = match () {
                    () if is(at, "CHARACTER") && is(at + 1, "SET") => 2,
                    () if is(at, "CHARSET") && value => 1,
                    () => 0,
                };
                if !defines && charset > 0 && depth > 0 && ends_in_char(&out) {
                    // `CAST(x AS CHAR CHARACTER SET utf8mb4)`: text is always that here.
                    let name =
                        tokens.get(at + charset).map(|t| t.token.to_string().trim_matches('\'').to_ascii_lowercase());
                    match name.as_deref() {
                        Some("utf8mb4" | "utf8mb3" | "utf8") => {
                            at += charset + 1;
                            continue;
                        }
                        _ => return Err(Error::unsupported("CHARACTER SET of a cast other than utf8mb4")),
                    }
                }
            }
            _ => {}
        }
        out.push(token.clone());
        at += 1;
    }
    Ok(out)
}

/// Whether the tokens end in `CHAR` or `CHAR(n)`.
fn ends_in_char(tokens: &[TokenWithSpan]) -> bool {
    let word = match tokens {
        [.., word, open, _, close] if open.token == Token::LParen && close.token == Token::RParen => word,
        [.., word] => word,
        [] => return false,
    };
    is_word(&word.token, "CHAR") || is_word(&word.token, "CHARACTER") || is_word(&word.token, "VARCHAR")
}

struct Rewriter<'a> {
    raw: &'a Raw<'a>,
    source: &'a [TokenWithSpan],
    at: usize,
    out: Vec<TokenWithSpan>,
    /// How many ODBC escapes `{fn …}` are open.
    escapes: usize,
    done: &'a mut Rewritten,
}

impl Rewriter<'_> {
    fn run(&mut self) -> Result<()> {
        let mut depth = 0usize;
        while self.at < self.source.len() {
            let token = &self.source[self.at];
            match &token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                Token::LBrace => {
                    self.brace()?;
                    continue;
                }
                Token::RBrace if self.escapes > 0 => {
                    self.escapes -= 1;
                    self.at += 1;
                    continue;
                }
                Token::Word(word) if word.quote_style.is_none() => {
                    if word.keyword == Keyword::AS && self.is(1, "OF") {
                        self.as_of()?;
                        continue;
                    }
                    if word.keyword == Keyword::FOR && self.is(1, "SYSTEM_TIME") {
                        self.system_time()?;
                        continue;
                    }
                    if word.keyword == Keyword::FOR && (self.is(1, "UPDATE") || self.is(1, "SHARE")) {
                        self.done.locking = true;
                    }
                    if word.keyword == Keyword::LOCK && self.is(1, "IN") && self.is(2, "SHARE") && self.is(3, "MODE") {
                        self.done.locking = true;
                        self.push(token.span, keyword_word("FOR", Keyword::FOR));
                        self.push(token.span, keyword_word("SHARE", Keyword::SHARE));
                        self.at += 4;
                        continue;
                    }
                    if word.keyword == Keyword::INTO && depth == 0 && self.into()? {
                        continue;
                    }
                    let is_at = word.value.eq_ignore_ascii_case("AT") && matches!(self.token(1), Some(Token::LParen));
                    if is_at && matches!(self.token(3), Some(Token::RArrow)) && self.after_name() {
                        self.push(token.span, keyword_word("AT", Keyword::AT));
                        self.at += 1;
                        continue;
                    }
                }
                _ => {}
            }
            self.out.push(token.clone());
            self.at += 1;
        }
        if self.escapes > 0 { Err(self.error(0, "'{' without '}'")) } else { Ok(()) }
    }

    fn token(&self, ahead: usize) -> Option<&Token> {
        self.source.get(self.at + ahead).map(|t| &t.token)
    }

    fn is(&self, ahead: usize, word: &str) -> bool {
        self.token(ahead).is_some_and(|token| is_word(token, word))
    }

    fn push(&mut self, span: Span, token: Token) {
        self.out.push(TokenWithSpan::new(token, span));
    }

    /// Copies the source's next `count` tokens.
    fn copy(&mut self, count: usize) {
        self.out.extend_from_slice(&self.source[self.at..self.at + count]);
        self.at += count;
    }

    fn error(&self, ahead: usize, hint: &str) -> Error {
        match self.source.get(self.at + ahead) {
            Some(token) => syntax_error_near(self.raw, token, hint),
            None => syntax_error(self.raw, usize::MAX, hint),
        }
    }

    /// Whether the last token out can be the end of a table's name.
    fn after_name(&self) -> bool {
        matches!(self.out.last(), Some(TokenWithSpan { token: Token::Word(w), .. })
            if w.keyword != Keyword::SELECT && w.keyword != Keyword::FROM && w.keyword != Keyword::WHERE)
    }

    /// `{SNAPSHOT = s}`, `{TIMESTAMP = e}`, `{MO_TS = e}`, `{VERSION = n}`, `{AS OF …}` behind a name, or an ODBC escape.
    fn brace(&mut self) -> Result<()> {
        const HINT: &str = "a moment is {SNAPSHOT = 's'}, {TIMESTAMP = 'time'}, {VERSION = n}, {MO_TS = n} or {AS OF TIMESTAMP 'time'}";
        if self.is(1, "FN") || self.is(1, "OJ") {
            // What stands inside is ordinary SQL; only the braces go.
            self.at += 2;
            self.escapes += 1;
            return Ok(());
        }
        let close = self.close()?;
        let span = self.source[self.at].span;
        for (word, kind) in [("D", Keyword::DATE), ("T", Keyword::TIME), ("TS", Keyword::TIMESTAMP)] {
            if self.is(1, word) && matches!(self.token(2), Some(Token::SingleQuotedString(_))) && close == self.at + 3 {
                self.push(span, keyword_word(word, kind));
                self.at += 2;
                self.copy(1);
                self.at += 1;
                return Ok(());
            }
        }
        if !self.after_name() {
            return Err(self.error(0, HINT));
        }
        let (name, value) = if self.is(1, "AS") && self.is(2, "OF") {
            match () {
                () if self.is(3, "TIMESTAMP") => ("TIMESTAMP", 4),
                () if self.is(3, "VERSION") => ("VERSION", 4),
                () if self.is(3, "SNAPSHOT") => ("SNAPSHOT", 4),
                () => ("REFERENCE", 3),
            }
        } else {
            let name = ["SNAPSHOT", "TIMESTAMP", "MO_TS", "VERSION"].into_iter().find(|name| self.is(1, name));
            match (name, self.token(2)) {
                (Some(name), Some(Token::Eq)) => (name, 3),
                _ => return Err(self.error(1, HINT)),
            }
        };
        if self.at + value >= close {
            return Err(self.error(value, HINT));
        }
        self.at += value;
        self.moment(name, span, close - self.at)?;
        self.at = close + 1;
        Ok(())
    }

    /// Returns where the brace at the cursor closes.
    fn close(&self) -> Result<usize> {
        let mut depth = 0;
        for (index, token) in self.source.iter().enumerate().skip(self.at) {
            match token.token {
                Token::LBrace => depth += 1,
                Token::RBrace => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(index);
            }
        }
        Err(self.error(0, "'{' without '}'"))
    }

    /// Writes `AT (name => the next `length` tokens)`.
    fn moment(&mut self, name: &str, span: Span, length: usize) -> Result<()> {
        self.push(span, keyword_word("AT", Keyword::AT));
        self.push(span, Token::LParen);
        self.push(span, quoted_word(name.to_owned()));
        self.push(span, Token::RArrow);
        match (name, self.token(0)) {
            ("SNAPSHOT", Some(Token::Word(word))) if length == 1 => {
                let value = word.value.clone();
                self.push(self.source[self.at].span, Token::SingleQuotedString(value));
                self.at += 1;
            }
            ("SNAPSHOT", _) if length != 1 => return Err(self.error(0, "SNAPSHOT needs a name")),
            _ => self.copy(length),
        }
        self.push(span, Token::RParen);
        Ok(())
    }

    /// `t AS OF …`, `t VERSION AS OF n`, `t TIMESTAMP AS OF e`.
    fn as_of(&mut self) -> Result<()> {
        let span = self.source[self.at].span;
        if self.at > 0
            && ["VERSION", "TIMESTAMP", "SYSTEM_TIME"].iter().any(|word| is_word(&self.source[self.at - 1].token, word))
        {
            self.copy(2);
            return Ok(());
        }
        if !self.after_name() {
            return Err(self.error(0, "AS OF follows a table's name"));
        }
        self.at += 2;
        for name in ["VERSION", "SNAPSHOT"] {
            if self.is(0, name) && self.token(1).is_some() {
                self.at += 1;
                return self.moment(name, span, 1);
            }
        }
        match self.token(0) {
            Some(Token::SingleQuotedString(_) | Token::Placeholder(_)) => self.moment("REFERENCE", span, 1),
            None => Err(self.error(0, "AS OF needs TIMESTAMP 'time', VERSION n, SNAPSHOT name or a text")),
            _ => {
                self.push(span, keyword_word("FOR", Keyword::FOR));
                self.push(span, keyword_word("SYSTEM_TIME", Keyword::SYSTEM_TIME));
                self.push(span, keyword_word("AS", Keyword::AS));
                self.push(span, keyword_word("OF", Keyword::OF));
                self.skip_type();
                Ok(())
            }
        }
    }

    /// `t FOR SYSTEM_TIME AS OF e`. MariaDB's other forms ask for several versions of a row.
    fn system_time(&mut self) -> Result<()> {
        if !(self.is(2, "AS") && self.is(3, "OF")) {
            return Err(Error::unsupported("FOR SYSTEM_TIME other than AS OF"));
        }
        self.copy(4);
        self.skip_type();
        Ok(())
    }

    /// `TIMESTAMP` in front of anything but its arguments only says what the expression is. A text there is no literal of
    /// MySQL's, which could not say '-10 minutes': `when` reads it, as it reads every time that names a moment.
    fn skip_type(&mut self) {
        if self.is(0, "TIMESTAMP") && !matches!(self.token(1), Some(Token::LParen)) {
            self.at += 1;
        }
    }

    /// `INTO @a, @b` of a query. Returns whether it was that.
    fn into(&mut self) -> Result<bool> {
        if self.is(1, "OUTFILE") || self.is(1, "DUMPFILE") {
            return Err(Error::unsupported("SELECT ... INTO OUTFILE"));
        }
        let variable = |token: Option<&Token>| match token {
            Some(Token::Word(word)) if word.value.starts_with('@') && word.quote_style.is_none() => {
                Some(word.value[1..].to_owned())
            }
            _ => None,
        };
        let Some(first) = variable(self.token(1)) else { return Ok(false) };
        self.done.into.push(first);
        self.at += 2;
        while matches!(self.token(0), Some(Token::Comma)) {
            let Some(next) = variable(self.token(1)) else { break };
            self.done.into.push(next);
            self.at += 2;
        }
        Ok(true)
    }
}

//! Rewrites on tokens: what MySQL, MatrixOne, TiDB, MariaDB and Dolt write, in the form that the library's parser knows.
//!
//! A moment behind a table's name becomes a table version: `t {SNAPSHOT = 's'}` is `t AT (SNAPSHOT => 's')`. Whoever plans the statement
//! resolves and strips these versions (`moments`). No rewrite drops anything silently: what is taken out is reported.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::cursor::{is_word, syntax_error};
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
    let source = &raw.tokens[from..to];
    let mut tokens = source.to_vec();
    names_without_parens(&mut tokens);
    let mut done = Rewritten { tokens, locking: false, into: Vec::new() };
    let seen = raw.seen;
    if !(seen.brace || seen.of || seen.lock || seen.arrow || seen.into) {
        return Ok(done);
    }
    let mut rewriter = Rewriter { raw, from, source, at: 0, out: Vec::with_capacity(source.len() + 16), escapes: Vec::new(), done: &mut done };
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
fn names_without_parens(tokens: &mut [TokenWithSpan]) {
    for at in 0..tokens.len() {
        let open = matches!(tokens.get(at + 1), Some(TokenWithSpan { token: Token::LParen, .. }));
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
}

struct Rewriter<'a> {
    raw: &'a Raw<'a>,
    from: usize,
    source: &'a [TokenWithSpan],
    at: usize,
    out: Vec<TokenWithSpan>,
    /// Where the open ODBC escapes close, the innermost last.
    escapes: Vec<usize>,
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
                Token::RBrace if self.escapes.last() == Some(&self.at) => {
                    self.escapes.pop();
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
        Ok(())
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
        syntax_error(self.raw, self.from + self.at + ahead, hint)
    }

    /// Whether the last token out can be the end of a table's name.
    fn after_name(&self) -> bool {
        matches!(self.out.last(), Some(TokenWithSpan { token: Token::Word(w), .. })
            if w.keyword != Keyword::SELECT && w.keyword != Keyword::FROM && w.keyword != Keyword::WHERE)
    }

    /// `{SNAPSHOT = s}`, `{TIMESTAMP = e}`, `{MO_TS = e}`, `{VERSION = n}`, `{AS OF …}` behind a name, or an ODBC escape.
    fn brace(&mut self) -> Result<()> {
        const HINT: &str =
            "a moment is {SNAPSHOT = 's'}, {TIMESTAMP = 'time'}, {VERSION = n}, {MO_TS = n} or {AS OF TIMESTAMP 'time'}";
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
        if self.is(1, "FN") || self.is(1, "OJ") {
            // What stands inside is ordinary SQL; only the braces go.
            self.at += 2;
            self.escapes.push(close);
            return Ok(());
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
        if self.at > 0 && ["VERSION", "TIMESTAMP", "SYSTEM_TIME"].iter().any(|word| is_word(&self.source[self.at - 1].token, word)) {
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

    /// `TIMESTAMP` in front of anything but a literal only says what the expression is.
    fn skip_type(&mut self) {
        if self.is(0, "TIMESTAMP") && !matches!(self.token(1), Some(Token::SingleQuotedString(_) | Token::LParen)) {
            self.at += 1;
        }
    }

    /// `INTO @a, @b` of a query. Returns whether it was that.
    fn into(&mut self) -> Result<bool> {
        if self.is(1, "OUTFILE") || self.is(1, "DUMPFILE") {
            return Err(Error::unsupported("SELECT ... INTO OUTFILE"));
        }
        let variable = |token: Option<&Token>| match token {
            Some(Token::Word(word)) if word.value.starts_with('@') && word.quote_style.is_none() => Some(word.value[1..].to_owned()),
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

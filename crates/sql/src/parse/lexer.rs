//! MySQL's lexical rules: text in, sqlparser's tokens out, one statement at a time.
//!
//! We have our own because the library's does not know the version in `/*!40101 … */`, gives lines and columns where we need
//! bytes, and splits `root@localhost` and `||` differently. It never looks at grammar: that `;` ends a statement is all it knows.
//!
//! A token's span is `line 1, column 1 + byte offset from the start of the statement's text`, so that any node of the syntax tree leads
//! back to the source.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use sqlparser::keywords::{ALL_KEYWORDS, ALL_KEYWORDS_INDEX, Keyword};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

use super::Options;

/// What `/*!NNNNN … */` compares with: the version of MySQL that we present to clients.
pub(super) const MYSQL_VERSION: u32 = 80030;

/// One statement as tokens.
#[derive(Debug, Clone)]
pub(super) struct Raw<'a> {
    /// The whole text that the statement stands in, for the line numbers of errors.
    pub all: &'a str,
    /// Where the statement's first token begins and its last one ends, in bytes of `all`.
    pub start: usize,
    /// Where the `/*! … */` begins in which the first token stands.
    opened: Option<usize>,
    pub end: usize,
    pub tokens: Vec<TokenWithSpan>,
    /// How many `?` it holds.
    pub parameters: usize,
    pub seen: Seen,
    pub options: Options,
}

impl<'a> Raw<'a> {
    pub fn text(&self) -> &'a str {
        &self.all[self.start..self.end]
    }

    /// Returns the text from which the statement can be read again by itself: `/*!` before its first word stays, because `*/` follows.
    pub fn text_alone(&self) -> Cow<'a, str> {
        match self.opened {
            None => Cow::Borrowed(self.text()),
            Some(opened) if self.all[opened..self.start].contains(';') => Cow::Owned(format!("/*! {}", self.text())),
            Some(opened) => Cow::Borrowed(&self.all[opened..self.end]),
        }
    }
}

/// Words and signs in a statement that make it worth looking for rewrites. A statement without any goes to the parser as it is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// `{`: a moment or an ODBC escape.
    pub brace: bool,
    /// `OF`: `AS OF`, `FOR UPDATE OF`, `MEMBER OF`.
    pub of: bool,
    /// `LOCK` or `FOR`.
    pub lock: bool,
    /// `=>`, as in `AT (SNAPSHOT => …)`.
    pub arrow: bool,
    pub into: bool,
    /// `(` right behind `FROM`, `JOIN` or `(`: perhaps a list of tables.
    pub table_list: bool,
    /// `ZEROFILL`, `CHARSET`, `CHARACTER`, `SERIAL`, `NATIONAL`, `INT` and others: types that the library writes differently.
    pub types: bool,
}

/// A place where the text is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LexError {
    /// Bytes from the start of the whole text.
    pub at: usize,
    pub message: &'static str,
}

pub(super) struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    options: Options,
    /// Where the `/*! … */` that is being read begins.
    version_comment: Option<usize>,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str, options: Options) -> Lexer<'a> {
        Lexer { text, bytes: text.as_bytes(), at: 0, options, version_comment: None }
    }

    /// Returns the next statement that has any token, or `None` at the end of the text.
    pub fn next_statement(&mut self) -> Result<Option<Raw<'a>>, LexError> {
        loop {
            let raw = self.statement()?;
            if !raw.tokens.is_empty() {
                return Ok(Some(raw));
            }
            if self.at >= self.bytes.len() {
                return Ok(None);
            }
        }
    }

    fn statement(&mut self) -> Result<Raw<'a>, LexError> {
        let mut raw = Raw {
            all: self.text,
            start: self.at,
            end: self.at,
            opened: None,
            tokens: Vec::with_capacity(32.min(self.bytes.len() - self.at)),
            parameters: 0,
            seen: Seen::default(),
            options: self.options,
        };
        let mut body = Body::None;
        loop {
            self.skip_blank()?;
            let from = self.at;
            if from >= self.bytes.len() {
                break;
            }
            if self.bytes[from] == b';' && body != Body::Open {
                self.at += 1;
                break;
            }
            if raw.tokens.is_empty() {
                raw.start = from;
                raw.opened = self.version_comment;
            }
            let token = self.token(&mut raw)?;
            body = body.after(&raw.tokens, &token);
            let column = (from - raw.start) as u64 + 1;
            let end = (self.at - raw.start) as u64 + 1;
            let span = Span::new(Location::new(1, column), Location::new(1, end));
            raw.tokens.push(TokenWithSpan::new(token, span));
            raw.end = self.at;
        }
        Ok(raw)
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn error(&self, at: usize, message: &'static str) -> LexError {
        LexError { at, message }
    }

    /// Skips white space and comments, and enters `/*! … */`.
    fn skip_blank(&mut self) -> Result<(), LexError> {
        loop {
            match self.peek(0) {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => self.at += 1,
                0 if self.at < self.bytes.len() => self.at += 1,
                b'#' => self.skip_line(),
                b'-' if self.peek(1) == b'-' && (self.at + 2 >= self.bytes.len() || self.peek(2) <= b' ') => {
                    self.skip_line();
                }
                b'/' if self.peek(1) == b'*' => {
                    if self.peek(2) == b'!' && self.version_comment.is_none() {
                        let digits =
                            self.bytes[self.at + 3..].iter().take(6).take_while(|b| b.is_ascii_digit()).count();
                        let version = match digits {
                            0..=4 => 0,
                            n => self.text[self.at + 3..self.at + 3 + n].parse().unwrap_or(u32::MAX),
                        };
                        if version <= MYSQL_VERSION {
                            self.version_comment = Some(self.at);
                            self.at += 3 + if digits >= 5 { digits } else { 0 };
                            continue;
                        }
                    }
                    let from = self.at;
                    match self.text[self.at + 2..].find("*/") {
                        Some(length) => self.at += 2 + length + 2,
                        None => return Err(self.error(from, "a comment that begins here does not end")),
                    }
                }
                b'*' if self.version_comment.is_some() && self.peek(1) == b'/' => {
                    self.at += 2;
                    self.version_comment = None;
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        match self.text[self.at..].find('\n') {
            Some(length) => self.at += length + 1,
            None => self.at = self.bytes.len(),
        }
    }

    fn token(&mut self, raw: &mut Raw<'a>) -> Result<Token, LexError> {
        let first = self.peek(0);
        let after_period = matches!(raw.tokens.last(), Some(TokenWithSpan { token: Token::Period, .. }));
        match first {
            b'\'' => return Ok(Token::SingleQuotedString(self.quoted(b'\'', true)?)),
            b'"' if self.options.ansi_quotes => return Ok(quoted_word(self.quoted(b'"', false)?)),
            b'"' => return Ok(Token::SingleQuotedString(self.quoted(b'"', true)?)),
            b'`' => return Ok(quoted_word(self.quoted(b'`', false)?)),
            b'0'..=b'9' if after_period => return Ok(self.word(raw)),
            b'0'..=b'9' => return self.number(raw),
            // `t.1a` is a name after a name; `.5` is a number.
            b'.' if self.peek(1).is_ascii_digit() && !self.touches_name() => return self.number(raw),
            b'@' => return self.variable(),
            b'\\' if self.peek(1) == b'N' => {
                self.at += 2;
                return Ok(keyword_word("NULL", Keyword::NULL));
            }
            b'x' | b'X' if self.peek(1) == b'\'' => {
                self.at += 1;
                let digits = self.quoted(b'\'', false)?;
                if digits.len() % 2 != 0 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(self.error(self.at, "a hexadecimal literal has an even number of hexadecimal digits"));
                }
                return Ok(Token::HexStringLiteral(digits));
            }
            b'b' | b'B' if self.peek(1) == b'\'' => {
                self.at += 1;
                let digits = self.quoted(b'\'', false)?;
                if !digits.bytes().all(|b| b == b'0' || b == b'1') {
                    return Err(self.error(self.at, "a bit literal has only the digits 0 and 1"));
                }
                return Ok(Token::SingleQuotedByteStringLiteral(digits));
            }
            b'n' | b'N' if self.peek(1) == b'\'' => {
                self.at += 1;
                return Ok(Token::NationalStringLiteral(self.quoted(b'\'', true)?));
            }
            _ if is_name(first) => return Ok(self.word(raw)),
            _ => {}
        }
        let (length, token) = match (first, self.peek(1), self.peek(2)) {
            (b'<', b'=', b'>') => (3, Token::Spaceship),
            (b'-', b'>', b'>') => (3, Token::LongArrow),
            (b'<', b'=', _) => (2, Token::LtEq),
            (b'<', b'>', _) | (b'!', b'=', _) => (2, Token::Neq),
            (b'<', b'<', _) => (2, Token::ShiftLeft),
            (b'>', b'>', _) => (2, Token::ShiftRight),
            (b'>', b'=', _) => (2, Token::GtEq),
            (b'-', b'>', _) => (2, Token::Arrow),
            (b':', b'=', _) => (2, Token::Assignment),
            (b'=', b'>', _) => {
                raw.seen.arrow = true;
                (2, Token::RArrow)
            }
            (b'|', b'|', _) if self.options.pipes_as_concat => (2, Token::StringConcat),
            (b'|', b'|', _) => (2, keyword_word("OR", Keyword::OR)),
            (b'&', b'&', _) => (2, keyword_word("AND", Keyword::AND)),
            (b'?', ..) => {
                raw.parameters += 1;
                (1, Token::Placeholder(format!("${}", raw.parameters)))
            }
            (b'{', ..) => {
                raw.seen.brace = true;
                (1, Token::LBrace)
            }
            (b'<', ..) => (1, Token::Lt),
            (b'>', ..) => (1, Token::Gt),
            (b'=', ..) => (1, Token::Eq),
            (b'!', ..) => (1, Token::ExclamationMark),
            (b'+', ..) => (1, Token::Plus),
            (b'-', ..) => (1, Token::Minus),
            (b'*', ..) => (1, Token::Mul),
            (b'/', ..) => (1, Token::Div),
            (b'%', ..) => (1, Token::Mod),
            (b'^', ..) => (1, Token::Caret),
            (b'~', ..) => (1, Token::Tilde),
            (b'&', ..) => (1, Token::Ampersand),
            (b'|', ..) => (1, Token::Pipe),
            (b'(', ..) => {
                raw.seen.table_list |= matches!(raw.tokens.last(), Some(TokenWithSpan { token: Token::Word(w), .. })
                    if matches!(w.keyword, Keyword::FROM | Keyword::JOIN | Keyword::STRAIGHT_JOIN | Keyword::UPDATE));
                (1, Token::LParen)
            }
            (b')', ..) => (1, Token::RParen),
            (b'[', ..) => (1, Token::LBracket),
            (b']', ..) => (1, Token::RBracket),
            (b'}', ..) => (1, Token::RBrace),
            (b',', ..) => (1, Token::Comma),
            (b'.', ..) => (1, Token::Period),
            (b':', ..) => (1, Token::Colon),
            (b';', ..) => (1, Token::SemiColon),
            (b'\\', ..) => (1, Token::Backslash),
            (other, ..) => (1, Token::Char(other as char)),
        };
        self.at += length;
        Ok(token)
    }

    fn touches_name(&self) -> bool {
        self.at > 0 && (is_name(self.bytes[self.at - 1]) || self.bytes[self.at - 1] == b'`')
    }

    /// Reads a quoted string or name. `string`: backslashes escape, unless the session says otherwise.
    fn quoted(&mut self, quote: u8, string: bool) -> Result<String, LexError> {
        let escapes = string && !self.options.no_backslash_escapes;
        let from = self.at;
        self.at += 1;
        let mut value = String::new();
        let mut plain = self.at;
        loop {
            // Quotes and backslashes are ASCII, so cutting there never splits a character.
            let Some(length) = self.bytes[self.at..].iter().position(|&b| b == quote || (escapes && b == b'\\')) else {
                return Err(self.error(from, "a quoted text that begins here does not end"));
            };
            self.at += length;
            value.push_str(&self.text[plain..self.at]);
            if self.bytes[self.at] == b'\\' {
                let Some(next) = self.text[self.at + 1..].chars().next() else {
                    return Err(self.error(from, "a quoted text that begins here does not end"));
                };
                self.at += 1 + next.len_utf8();
                match next {
                    '0' => value.push('\0'),
                    'b' => value.push('\u{8}'),
                    'n' => value.push('\n'),
                    'r' => value.push('\r'),
                    't' => value.push('\t'),
                    'Z' => value.push('\u{1a}'),
                    // Kept for LIKE, which reads them; elsewhere MySQL keeps both characters too.
                    '%' => value.push_str("\\%"),
                    '_' => value.push_str("\\_"),
                    other => value.push(other),
                }
            } else if self.peek(1) == quote {
                value.push(quote as char);
                self.at += 2;
            } else {
                self.at += 1;
                return Ok(value);
            }
            plain = self.at;
        }
    }

    fn number(&mut self, raw: &mut Raw<'a>) -> Result<Token, LexError> {
        let from = self.at;
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'b') {
            let hex = self.peek(1) == b'x';
            let digits = self.bytes[from + 2..].iter().take_while(|&&b| is_name(b)).count();
            let text = &self.text[from + 2..from + 2 + digits];
            if hex && digits > 0 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
                self.at += 2 + digits;
                let odd = if digits % 2 == 1 { "0" } else { "" };
                return Ok(Token::HexStringLiteral(format!("{odd}{text}")));
            }
            if !hex && digits > 0 && text.bytes().all(|b| b == b'0' || b == b'1') {
                self.at += 2 + digits;
                return Ok(Token::SingleQuotedByteStringLiteral(text.to_owned()));
            }
        }
        self.digits();
        if self.peek(0) == b'.' {
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.digits();
            }
        }
        if is_name(self.peek(0)) && self.bytes[from..self.at].iter().all(u8::is_ascii_digit) {
            self.at = from;
            return Ok(self.word(raw));
        }
        Ok(Token::Number(self.text[from..self.at].to_owned(), false))
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    /// `@name`, `@'name'`, `@@name`, and the `@host` of an account. The signs stay part of the word.
    fn variable(&mut self) -> Result<Token, LexError> {
        let from = self.at;
        let signs = 1 + usize::from(self.peek(1) == b'@');
        self.at += signs;
        let name = match self.peek(0) {
            quote @ (b'`' | b'\'' | b'"') => self.quoted(quote, quote != b'`')?,
            _ => {
                let start = self.at;
                // Names of user variables and hosts may hold dots; those of system variables are cut there.
                while is_name(self.peek(0)) || (signs == 1 && self.peek(0) == b'.') {
                    self.at += 1;
                }
                self.text[start..self.at].to_owned()
            }
        };
        if name.is_empty() && signs == 2 {
            return Err(self.error(from, "the name of a variable is missing"));
        }
        Ok(Token::Word(Word {
            value: format!("{}{name}", &"@@"[..signs]),
            quote_style: None,
            keyword: Keyword::NoKeyword,
        }))
    }

    fn word(&mut self, raw: &mut Raw<'a>) -> Token {
        let from = self.at;
        while is_name(self.peek(0)) {
            self.at += 1;
        }
        let text = &self.text[from..self.at];
        let mut keyword = keyword(text);
        if ["ZEROFILL", "SERIAL", "NATIONAL", "FIXED", "INT", "INTEGER"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
        {
            raw.seen.types = true;
        }
        if keyword != Keyword::NoKeyword {
            match keyword {
                Keyword::OF => raw.seen.of = true,
                Keyword::LOCK | Keyword::FOR => raw.seen.lock = true,
                Keyword::INTO => raw.seen.into = true,
                Keyword::CHARSET | Keyword::CHARACTER => raw.seen.types = true,
                // A name everywhere but in statements that define a view.
                Keyword::VIEW => {
                    let defines = matches!(raw.tokens.first().map(|t| &t.token), Some(Token::Word(w))
                        if matches!(w.keyword, Keyword::CREATE | Keyword::ALTER | Keyword::DROP | Keyword::SHOW));
                    if !defines {
                        keyword = Keyword::NoKeyword;
                    }
                }
                _ => {}
            }
        }
        Token::Word(Word { value: text.to_owned(), quote_style: None, keyword })
    }
}

/// Whether a `CREATE PROCEDURE|FUNCTION|TRIGGER|EVENT` is in its body, where `;` ends nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    None,
    /// Its kind was seen; a `BEGIN` would open the body.
    Possible,
    Open,
}

impl Body {
    fn after(self, tokens: &[TokenWithSpan], token: &Token) -> Body {
        let Token::Word(word) = token else { return self };
        match self {
            Body::None if tokens.len() < 12 && !tokens.is_empty() => {
                let creates = matches!(&tokens[0].token, Token::Word(w) if w.keyword == Keyword::CREATE);
                // Only as the statement's own verb: after CREATE, OR REPLACE, DEFINER = x, AGGREGATE.
                let kind = matches!(word.keyword, Keyword::PROCEDURE | Keyword::FUNCTION | Keyword::TRIGGER)
                    || word.value.eq_ignore_ascii_case("EVENT");
                let object = tokens.iter().any(|t| {
                    matches!(&t.token, Token::Word(w) if matches!(w.keyword, Keyword::TABLE | Keyword::VIEW | Keyword::INDEX))
                });
                if creates && kind && !object { Body::Possible } else { Body::None }
            }
            Body::Possible if word.keyword == Keyword::BEGIN => Body::Open,
            other => other,
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

pub(super) fn quoted_word(value: String) -> Token {
    Token::Word(Word { value, quote_style: Some('`'), keyword: Keyword::NoKeyword })
}

pub(super) fn keyword_word(text: &str, keyword: Keyword) -> Token {
    Token::Word(Word { value: text.to_owned(), quote_style: None, keyword })
}

/// Returns what the parser takes `text` for. Words that mean something only in other databases are plain names here.
fn keyword(text: &str) -> Keyword {
    static WORDS: OnceLock<HashMap<&'static str, Keyword>> = OnceLock::new();
    let words = WORDS.get_or_init(|| {
        let all = ALL_KEYWORDS.iter().copied().zip(ALL_KEYWORDS_INDEX.iter().copied());
        all.filter(|(_, keyword)| !FOREIGN.contains(keyword)).collect()
    });
    let mut upper = [0; 24];
    let Some(upper) = upper.get_mut(..text.len()) else { return Keyword::NoKeyword };
    upper.copy_from_slice(text.as_bytes());
    upper.make_ascii_uppercase();
    let upper = std::str::from_utf8(upper).unwrap_or_default();
    words.get(upper).copied().unwrap_or(Keyword::NoKeyword)
}

/// Words that the library would take for syntax, and that are ordinary names in MySQL.
const FOREIGN: &[Keyword] = &[
    Keyword::ANTI,
    Keyword::ARRAY,
    Keyword::ASOF,
    Keyword::AT,
    Keyword::BEFORE,
    Keyword::BEGIN_FRAME,
    Keyword::BERNOULLI,
    Keyword::CHANGES,
    Keyword::CLONE,
    Keyword::CLUSTER,
    Keyword::CONNECT,
    Keyword::CONNECT_BY_ROOT,
    Keyword::DISTRIBUTE,
    Keyword::EXCLUDE,
    Keyword::FORMAT,
    Keyword::GLOBAL,
    Keyword::ILIKE,
    Keyword::MAP,
    Keyword::MATCH_CONDITION,
    Keyword::MATCH_RECOGNIZE,
    Keyword::MINUS,
    Keyword::OPEN,
    Keyword::OPENJSON,
    Keyword::OPERATOR,
    Keyword::OUTPUT,
    Keyword::OVERLAPS,
    Keyword::OVERLAY,
    Keyword::OVERWRITE,
    Keyword::PIVOT,
    Keyword::PREWHERE,
    Keyword::PRIOR,
    Keyword::QUALIFY,
    Keyword::SAFE_CAST,
    Keyword::SAMPLE,
    Keyword::SEMANTIC_VIEW,
    Keyword::SEMI,
    Keyword::SETTINGS,
    Keyword::SIMILAR,
    Keyword::SNAPSHOT,
    Keyword::SORT,
    Keyword::START,
    Keyword::STRUCT,
    Keyword::TABLESAMPLE,
    Keyword::TOP,
    Keyword::TRY_CAST,
    Keyword::TRY_CONVERT,
    Keyword::UNNEST,
    Keyword::UNPIVOT,
    Keyword::XMLTABLE,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> Vec<Vec<String>> {
        let mut lexer = Lexer::new(text, Options::default());
        let mut all = Vec::new();
        while let Some(raw) = lexer.next_statement().unwrap() {
            all.push(raw.tokens.iter().map(|t| t.token.to_string()).collect());
        }
        all
    }

    #[test]
    fn statements_end_at_semicolons_that_are_not_quoted() {
        assert_eq!(
            lex("select 'a;b'; -- x;y\n # z;\n /* ; */ select `c;d`;;"),
            [["select", "'a;b'"], ["select", "`c;d`"]]
        );
        assert_eq!(lex("  ; /* nothing */ ; "), Vec::<Vec<String>>::new());
    }

    #[test]
    fn version_comments_run_up_to_our_version() {
        assert_eq!(lex("/*!40101 SET NAMES utf8 */;"), [["SET", "NAMES", "utf8"]]);
        assert_eq!(
            lex("select /*!80030 1, */ /*!80031 2, */ /*!100616 3, */ /*M!100616 4, */ /*! 5 */"),
            [["select", "1", ",", "5"]]
        );
        assert_eq!(lex("/*!999999\\- enable the sandbox mode */ select 1"), [["select", "1"]]);
        assert_eq!(lex("select 2*/**/3"), [["select", "2", "*", "3"]]);
    }

    #[test]
    fn strings_follow_mysql_escapes() {
        let mut lexer = Lexer::new(r#"'a\'b' 'c''d' "e""f" '\n\Z\q' '50\%'"#, Options::default());
        let tokens = lexer.next_statement().unwrap().unwrap().tokens;
        let values = tokens.iter().map(|t| match &t.token {
            Token::SingleQuotedString(s) => s.clone(),
            other => panic!("{other:?}"),
        });
        let values: Vec<String> = values.collect();
        assert_eq!(values, ["a'b", "c'd", "e\"f", "\n\u{1a}q", "50\\%"]);
    }

    #[test]
    fn numbers_names_and_variables() {
        assert_eq!(
            lex("1abc t.2x .5 1e5 1.5e-3 0x1F @a.b @@session.x root@localhost @'q r' a.b"),
            [[
                "1abc",
                "t",
                ".",
                "2x",
                ".5",
                "1e5",
                "1.5e-3",
                "X'1F'",
                "@a.b",
                "@@session",
                ".",
                "x",
                "root",
                "@localhost",
                "@q r",
                "a",
                ".",
                "b"
            ]]
        );
    }

    #[test]
    fn a_routine_body_is_one_statement() {
        assert_eq!(lex("create procedure p() begin select 1; select 2; end").len(), 1);
        assert_eq!(lex("select 1; select 2").len(), 2);
    }

    #[test]
    fn a_statement_keeps_the_comment_that_it_stands_in() {
        let mut lexer = Lexer::new("/*!50001 select 1 */ , 2; /*! select 3; select 4 */; select 5", Options::default());
        let mut alone = Vec::new();
        while let Some(raw) = lexer.next_statement().unwrap() {
            alone.push(raw.text_alone().into_owned());
        }
        assert_eq!(alone, ["/*!50001 select 1 */ , 2", "/*! select 3", "/*! select 4", "select 5"]);
    }

    #[test]
    fn spans_are_bytes_of_the_statement() {
        let mut lexer = Lexer::new("select 1;  select 'é', x", Options::default());
        lexer.next_statement().unwrap();
        let raw = lexer.next_statement().unwrap().unwrap();
        assert_eq!(raw.text(), "select 'é', x");
        let last = &raw.tokens.last().unwrap().span;
        assert_eq!(&raw.text()[last.start.column as usize - 1..last.end.column as usize - 1], "x");
    }
}

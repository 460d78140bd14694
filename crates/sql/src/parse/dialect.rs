//! How our SQL differs from what the library's MySQL dialect parses: operators bind as in MySQL, a table may name a moment, and words
//! that MySQL does not reserve are names.

use std::any::TypeId;

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
};
use sqlparser::ast::{FunctionArguments, Ident, Interval, ObjectName, Statement, UnaryOperator};
use sqlparser::dialect::{Dialect, MySqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

const MYSQL: MySqlDialect = MySqlDialect {};

/// The dialect that every text is parsed with. It says that it is `MySqlDialect`, so that the library's MySQL branches apply, and
/// passes on every answer of that dialect that it does not change.
#[derive(Debug, Default, Clone, Copy)]
pub struct StrandlineDialect;

/// How tightly an operator binds, as in MySQL's manual and grammar. A greater number binds tighter.
mod binds {
    pub const ASSIGN: u8 = 3;
    pub const OR: u8 = 5;
    pub const XOR: u8 = 7;
    pub const AND: u8 = 10;
    pub const NOT: u8 = 15;
    pub const COMPARE: u8 = 20;
    /// LIKE, IN, BETWEEN, REGEXP: `a = b LIKE c` is `a = (b LIKE c)`.
    pub const PREDICATE: u8 = 21;
    pub const BIT_OR: u8 = 24;
    pub const BIT_AND: u8 = 26;
    pub const SHIFT: u8 = 28;
    pub const ADD: u8 = 30;
    pub const MULTIPLY: u8 = 40;
    pub const BIT_XOR: u8 = 45;
    pub const SIGN: u8 = 46;
    pub const BINARY: u8 = 48;
    pub const PATH: u8 = 60;
}

/// Words that MySQL reserves and no expression begins with: `SELECT a, FROM t` has one item too few, not a column `FROM`.
const RESERVED: &[Keyword] = &[
    Keyword::AND,
    Keyword::AS,
    Keyword::ASC,
    Keyword::BETWEEN,
    Keyword::BY,
    Keyword::CREATE,
    Keyword::CROSS,
    Keyword::DELETE,
    Keyword::DESC,
    Keyword::DROP,
    Keyword::ELSE,
    Keyword::FOR,
    Keyword::FROM,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::IN,
    Keyword::INNER,
    Keyword::INTO,
    Keyword::IS,
    Keyword::JOIN,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::NATURAL,
    Keyword::ON,
    Keyword::OR,
    Keyword::ORDER,
    Keyword::SELECT,
    Keyword::SET,
    Keyword::TABLE,
    Keyword::THEN,
    Keyword::UNION,
    Keyword::UPDATE,
    Keyword::USING,
    Keyword::WHEN,
    Keyword::WHERE,
    Keyword::WITH,
    Keyword::XOR,
];

impl Dialect for StrandlineDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<MySqlDialect>()
    }

    fn supports_table_versioning(&self) -> bool {
        true
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    /// `FROM (t)`, as some object mappers write it.
    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    /// `EXTRACT(YEAR_MONTH FROM d)`
    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    /// A word that begins an expression of its own form. Trying it again as a name would double the work at every level of nesting.
    fn is_reserved_for_identifier(&self, word: Keyword) -> bool {
        matches!(
            word,
            Keyword::CASE
                | Keyword::CAST
                | Keyword::CEIL
                | Keyword::CONVERT
                | Keyword::EXISTS
                | Keyword::EXTRACT
                | Keyword::FLOOR
                | Keyword::INTERVAL
                | Keyword::MATCH
                | Keyword::NOT
                | Keyword::POSITION
                | Keyword::SUBSTRING
                | Keyword::SUBSTR
                | Keyword::TRIM
        )
    }

    fn is_column_alias(&self, word: &Keyword, parser: &mut Parser) -> bool {
        match word {
            Keyword::OFFSET | Keyword::TOP | Keyword::END | Keyword::VIEW => true,
            Keyword::FOR | Keyword::USE | Keyword::LOCK | Keyword::PROCEDURE => false,
            _ => MYSQL.is_column_alias(word, parser),
        }
    }

    fn is_table_factor_alias(&self, explicit: bool, word: &Keyword, parser: &mut Parser) -> bool {
        match word {
            // In MySQL OFFSET can only follow a LIMIT, so after a table it is a name.
            Keyword::OFFSET | Keyword::END | Keyword::VIEW => true,
            Keyword::LOCK | Keyword::PROCEDURE | Keyword::INTO | Keyword::VALUES => explicit,
            _ => MYSQL.is_table_factor_alias(explicit, word, parser),
        }
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            Precedence::Or => binds::OR,
            Precedence::Xor => binds::XOR,
            Precedence::And => binds::AND,
            Precedence::UnaryNot => binds::NOT,
            Precedence::Eq | Precedence::Is => binds::COMPARE,
            Precedence::Like | Precedence::Between => binds::PREDICATE,
            Precedence::Pipe => binds::BIT_OR,
            Precedence::Ampersand => binds::BIT_AND,
            Precedence::PlusMinus => binds::ADD,
            Precedence::MulDivModOp => binds::MULTIPLY,
            Precedence::Caret => binds::BIT_XOR,
            Precedence::PgOther => binds::PATH,
            other => MYSQL.prec_value(other),
        }
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        let binds = match &parser.peek_token_ref().token {
            Token::Assignment => binds::ASSIGN,
            Token::ShiftLeft | Token::ShiftRight => binds::SHIFT,
            // Signs that begin something else, or nothing, in MySQL.
            Token::Tilde | Token::ExclamationMark | Token::LBracket | Token::Colon => 0,
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                _ if word.value.eq_ignore_ascii_case("MOD") => binds::MULTIPLY,
                _ if sounds_like(parser) => binds::PREDICATE,
                Keyword::NOT if next_is(parser, 1, "RLIKE") || next_is(parser, 1, "REGEXP") => binds::PREDICATE,
                _ => return None,
            },
            _ => return None,
        };
        Some(Ok(binds))
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let unary = |op, parser: &mut Parser| {
            parser.advance_token();
            let inner = parser.parse_subexpr(binds::SIGN);
            Some(inner.map(|expr| Expr::UnaryOp { op, expr: Box::new(expr) }))
        };
        match &parser.peek_token_ref().token {
            Token::Minus => unary(UnaryOperator::Minus, parser),
            Token::Plus => unary(UnaryOperator::Plus, parser),
            Token::Tilde => unary(UnaryOperator::BitwiseNot, parser),
            Token::ExclamationMark => unary(UnaryOperator::BangNot, parser),
            // The common literals, without the library's look for a type name in front of them.
            Token::Number(..) | Token::Placeholder(_) | Token::HexStringLiteral(_) => {
                Some(parser.parse_value().map(Expr::Value))
            }
            Token::SingleQuotedString(_) => Some(parser.parse_value().map(Expr::Value)),
            // Neither is MySQL, and both would be taken for arrays.
            Token::LBracket | Token::Colon => Some(parser.expected_ref("an expression", parser.peek_token_ref())),
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::BINARY => {
                    parser.advance_token();
                    let inner = parser.parse_subexpr(binds::BINARY);
                    Some(inner.map(|expr| Expr::Cast {
                        kind: CastKind::Cast,
                        expr: Box::new(expr),
                        data_type: DataType::Binary(None),
                        array: false,
                        format: None,
                    }))
                }
                Keyword::INTERVAL => Some(interval(parser)),
                word if RESERVED.contains(&word) => Some(parser.expected_ref("an expression", parser.peek_token_ref())),
                // `VALUES(c)` of ON DUPLICATE KEY UPDATE.
                Keyword::VALUES if parser.peek_nth_token_ref(1).token == Token::LParen => Some(values_of(parser)),
                _ => None,
            },
            _ => None,
        }
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, binds: u8) -> Option<Result<Expr, ParserError>> {
        let op = match &parser.peek_token_ref().token {
            Token::Word(word) if word.keyword == Keyword::AND => return Some(chain(parser, left, Keyword::AND, binds)),
            Token::Word(word) if word.keyword == Keyword::OR => return Some(chain(parser, left, Keyword::OR, binds)),
            Token::Assignment => BinaryOperator::Assignment,
            Token::Word(word) if word.keyword == Keyword::DIV => BinaryOperator::MyIntegerDivide,
            Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("MOD") => {
                BinaryOperator::Modulo
            }
            Token::Word(_) if sounds_like(parser) => {
                parser.advance_token();
                BinaryOperator::Eq
            }
            _ => return None,
        };
        parser.advance_token();
        let (left, binds) = match op {
            // `@a := @b := 1` groups from the right.
            BinaryOperator::Assignment => (left.clone(), binds - 1),
            BinaryOperator::Eq => (soundex(left.clone()), binds),
            _ => (left.clone(), binds),
        };
        Some(parser.parse_subexpr(binds).map(|right| {
            let right = if op == BinaryOperator::Eq { soundex(right) } else { right };
            Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
        }))
    }

    fn parse_statement(&self, parser: &mut Parser) -> Option<Result<Statement, ParserError>> {
        MYSQL.parse_statement(parser)
    }

    fn is_identifier_start(&self, c: char) -> bool {
        MYSQL.is_identifier_start(c)
    }

    fn is_identifier_part(&self, c: char) -> bool {
        MYSQL.is_identifier_part(c)
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        MYSQL.is_delimited_identifier_start(c)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        MYSQL.identifier_quote_style(identifier)
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        MYSQL.supports_string_literal_backslash_escape()
    }

    fn supports_string_literal_concatenation(&self) -> bool {
        MYSQL.supports_string_literal_concatenation()
    }

    fn ignores_wildcard_escapes(&self) -> bool {
        MYSQL.ignores_wildcard_escapes()
    }

    fn supports_numeric_prefix(&self) -> bool {
        MYSQL.supports_numeric_prefix()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        MYSQL.supports_bitwise_shift_operators()
    }

    fn supports_multiline_comment_hints(&self) -> bool {
        MYSQL.supports_multiline_comment_hints()
    }

    fn require_interval_qualifier(&self) -> bool {
        MYSQL.require_interval_qualifier()
    }

    fn supports_limit_comma(&self) -> bool {
        MYSQL.supports_limit_comma()
    }

    fn supports_create_table_select(&self) -> bool {
        MYSQL.supports_create_table_select()
    }

    fn supports_insert_set(&self) -> bool {
        MYSQL.supports_insert_set()
    }

    fn supports_user_host_grantee(&self) -> bool {
        MYSQL.supports_user_host_grantee()
    }

    fn supports_table_hints(&self) -> bool {
        MYSQL.supports_table_hints()
    }

    fn requires_single_line_comment_whitespace(&self) -> bool {
        MYSQL.requires_single_line_comment_whitespace()
    }

    fn supports_match_against(&self) -> bool {
        MYSQL.supports_match_against()
    }

    fn supports_select_modifiers(&self) -> bool {
        MYSQL.supports_select_modifiers()
    }

    fn supports_set_names(&self) -> bool {
        MYSQL.supports_set_names()
    }

    fn supports_comma_separated_set_assignments(&self) -> bool {
        MYSQL.supports_comma_separated_set_assignments()
    }

    fn supports_update_order_by(&self) -> bool {
        MYSQL.supports_update_order_by()
    }

    fn supports_data_type_signed_suffix(&self) -> bool {
        MYSQL.supports_data_type_signed_suffix()
    }

    fn supports_cross_join_constraint(&self) -> bool {
        MYSQL.supports_cross_join_constraint()
    }

    fn supports_double_ampersand_operator(&self) -> bool {
        MYSQL.supports_double_ampersand_operator()
    }

    fn supports_binary_kw_as_cast(&self) -> bool {
        MYSQL.supports_binary_kw_as_cast()
    }

    fn supports_comment_optimizer_hint(&self) -> bool {
        MYSQL.supports_comment_optimizer_hint()
    }

    fn supports_constraint_keyword_without_name(&self) -> bool {
        MYSQL.supports_constraint_keyword_without_name()
    }

    fn supports_key_column_option(&self) -> bool {
        MYSQL.supports_key_column_option()
    }
}

/// Returns `name(arguments)` as the library's tree has it.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// `a OR b OR c …` as a balanced tree: ten thousand terms in a row are common, and a tree of that depth would break the stack of
/// whoever walks it. Both operators are associative, and the order of the terms stays.
fn chain(parser: &mut Parser, left: &Expr, word: Keyword, binds: u8) -> Result<Expr, ParserError> {
    let mut terms = vec![left.clone()];
    while parser.parse_keyword(word) {
        terms.push(parser.parse_subexpr(binds)?);
    }
    let op = if word == Keyword::AND { BinaryOperator::And } else { BinaryOperator::Or };
    while terms.len() > 1 {
        let mut pairs = terms.into_iter();
        let mut next = Vec::with_capacity(pairs.len().div_ceil(2));
        while let Some(left) = pairs.next() {
            next.push(match pairs.next() {
                Some(right) => Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) },
                None => left,
            });
        }
        terms = next;
    }
    Ok(terms.remove(0))
}

/// `INTERVAL expr unit`, with all of MySQL's units, or the function `INTERVAL(n, a, b, …)`.
fn interval(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.advance_token();
    let value = if parser.consume_token(&Token::LParen) {
        let mut inside = parser.parse_comma_separated(Parser::parse_expr)?;
        parser.expect_token(&Token::RParen)?;
        if inside.len() > 1 {
            return Ok(call("interval", inside));
        }
        // `INTERVAL (a) + 1 DAY`: the parenthesis was only the beginning.
        let mut value = Expr::Nested(Box::new(inside.remove(0)));
        loop {
            let binds = parser.get_next_precedence()?;
            if binds == 0 {
                break value;
            }
            value = parser.parse_infix(value, binds)?;
        }
    } else {
        parser.parse_expr()?
    };
    Ok(Expr::Interval(Interval {
        value: Box::new(value),
        leading_field: Some(parser.parse_date_time_field()?),
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    }))
}

fn soundex(expr: Expr) -> Expr {
    call("soundex", vec![expr])
}

fn values_of(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.advance_token();
    parser.expect_token(&Token::LParen)?;
    let column = parser.parse_expr()?;
    parser.expect_token(&Token::RParen)?;
    Ok(call("values", vec![column]))
}

fn sounds_like(parser: &Parser) -> bool {
    next_is(parser, 0, "SOUNDS") && next_is(parser, 1, "LIKE")
}

fn next_is(parser: &Parser, ahead: usize, text: &str) -> bool {
    matches!(&parser.peek_nth_token_ref(ahead).token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(text))
}

//! `SET …`: variables of the session and the server, names of character sets, transactions, the session's moment, passwords.

use sqlparser::ast::{Expr, Value};
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, is_word, syntax_error};
use super::history::When;
use super::statement::{Isolation, SetItem, SetValue, Statement, TransactionScope, UserStatement, VariableScope};
use super::user::{default_role, role_choice, user_name};
use crate::error::{Error, Result};

/// Parses what follows `SET`.
pub(super) fn set(c: &mut Cursor<'_>) -> Result<Statement> {
    c.at += 1;
    if c.is("ROLE") && !matches!(c.peek_at(1), Some(Token::Eq | Token::Assignment)) {
        c.at += 1;
        return Ok(Statement::User(UserStatement::SetRole(role_choice(c)?)));
    }
    if c.eat_all(&["DEFAULT", "ROLE"]) {
        return Ok(Statement::User(default_role(c)?));
    }
    if c.is("STATEMENT") && !matches!(c.peek_at(1), Some(Token::Eq | Token::Assignment)) {
        return Ok(Statement::Unsupported("SET STATEMENT".to_owned()));
    }
    if c.are(&["RESOURCE", "GROUP"]) {
        return Ok(Statement::Unsupported("SET RESOURCE GROUP".to_owned()));
    }
    let items = c.comma_separated(item)?;
    c.expect_end()?;
    Ok(Statement::Set(items))
}

/// Parses the text of `SET as_of = '…'`: `snapshot:s`, `time:…`, `version:n`, or nothing for the present.
pub(super) fn as_of(text: &str) -> Option<Option<When>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    let (kind, rest) = text.split_once(':')?;
    let rest = rest.trim();
    if rest.is_empty() {
        return None;
    }
    Some(Some(match kind.trim().to_ascii_lowercase().as_str() {
        "snapshot" => When::Snapshot(rest.to_owned()),
        "time" | "timestamp" => When::Time(rest.to_owned()),
        "version" => When::Version(rest.parse().ok()?),
        _ => return None,
    }))
}

fn item(c: &mut Cursor<'_>) -> Result<SetItem> {
    if c.is("NAMES") && !assigns(c, 1) {
        c.at += 1;
        let charset = charset_or_default(c)?;
        let collate = if c.eat("COLLATE") { Some(c.name_or_string("COLLATE needs a name")?) } else { None };
        return Ok(SetItem::Names { charset, collate });
    }
    if c.eat_all(&["CHARACTER", "SET"])
        || c.eat_all(&["CHAR", "SET"])
        || (c.is("CHARSET") && !assigns(c, 1) && c.eat("CHARSET"))
    {
        return Ok(SetItem::CharacterSet(charset_or_default(c)?));
    }
    if c.is("PASSWORD") {
        c.at += 1;
        return password(c);
    }
    let at = c.at;
    let mut scope = match c.eat_any(&["GLOBAL", "SESSION", "LOCAL", "PERSIST", "PERSIST_ONLY"]) {
        Some(word) if !matches!(c.peek(), Some(Token::Eq | Token::Assignment)) => Some(word),
        _ => {
            c.at = at;
            None
        }
    };
    if c.is("TRANSACTION") && !assigns(c, 1) {
        return transaction(c, scope);
    }
    let hint = "SET needs name = value";
    let mut name = match c.peek() {
        Some(Token::Word(word)) => {
            c.at += 1;
            word.value.clone()
        }
        _ => return Err(c.error(hint)),
    };
    if let Some(system) = name.strip_prefix("@@") {
        name = system.to_owned();
        if c.peek() == Some(&Token::Period) {
            scope = ["GLOBAL", "SESSION", "LOCAL", "PERSIST", "PERSIST_ONLY"]
                .into_iter()
                .find(|s| name.eq_ignore_ascii_case(s));
            if scope.is_some() {
                c.at += 1;
                name = c.name(hint)?;
            }
        }
    } else if let Some(user) = name.strip_prefix('@') {
        let user = user.to_owned();
        if user.is_empty() {
            c.at -= 1;
            return Err(c.error(hint));
        }
        expect_assign(c, hint)?;
        return Ok(SetItem::User { name: user, value: Box::new(c.expr_until(&[])?) });
    }
    while c.eat_sign(&Token::Period) {
        name = format!("{name}.{}", c.name(hint)?);
    }
    expect_assign(c, hint)?;
    let value_at = c.at;
    let value = value(c)?;
    let scope = match scope {
        Some("GLOBAL") => VariableScope::Global,
        Some("PERSIST") => VariableScope::Persist,
        Some("PERSIST_ONLY") => VariableScope::PersistOnly,
        _ => VariableScope::Session,
    };
    if name.eq_ignore_ascii_case("as_of") {
        return match session_moment(&value) {
            Some(when) if scope == VariableScope::Session => Ok(SetItem::AsOf(when)),
            Some(_) => Err(Error::unsupported("SET GLOBAL as_of")),
            None => {
                let hint = "as_of is 'snapshot:name', 'time:2026-01-31 12:00:00', 'version:42' or ''";
                Err(syntax_error(c.raw, value_at, hint))
            }
        };
    }
    Ok(SetItem::Variable { scope, name: name.to_ascii_lowercase(), value })
}

fn session_moment(value: &SetValue) -> Option<Option<When>> {
    match value {
        SetValue::Default => Some(None),
        SetValue::Word(_) => None,
        SetValue::Expr(expr) => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => as_of(text),
                Value::Null => Some(None),
                Value::Placeholder(_) => Some(Some(When::Expr(expr.clone()))),
                _ => None,
            },
            other => Some(Some(When::Expr(Box::new(other.clone())))),
        },
    }
}

fn assigns(c: &Cursor<'_>, ahead: usize) -> bool {
    matches!(c.peek_at(ahead), Some(Token::Eq | Token::Assignment))
}

fn expect_assign(c: &mut Cursor<'_>, hint: &str) -> Result<()> {
    if c.eat_sign(&Token::Eq) || c.eat_sign(&Token::Assignment) { Ok(()) } else { Err(c.error(hint)) }
}

fn charset_or_default(c: &mut Cursor<'_>) -> Result<Option<String>> {
    c.eat_sign(&Token::Eq);
    if c.eat("DEFAULT") { Ok(None) } else { c.name_or_string("name a character set").map(Some) }
}

fn value(c: &mut Cursor<'_>) -> Result<SetValue> {
    if let Some(Token::Word(word)) = c.peek()
        && matches!(c.peek_at(1), None | Some(Token::Comma))
        && !word.value.starts_with('@')
        && word.quote_style.is_none()
        && !["TRUE", "FALSE", "NULL"].iter().any(|constant| is_word(&Token::Word(word.clone()), constant))
    {
        c.at += 1;
        return Ok(if word.value.eq_ignore_ascii_case("DEFAULT") {
            SetValue::Default
        } else {
            SetValue::Word(word.value.clone())
        });
    }
    Ok(SetValue::Expr(Box::new(c.expr_until(&[])?)))
}

fn transaction(c: &mut Cursor<'_>, scope: Option<&str>) -> Result<SetItem> {
    c.at += 1;
    const HINT: &str = "SET TRANSACTION needs ISOLATION LEVEL …, READ ONLY or READ WRITE";
    let scope = match scope {
        None => TransactionScope::Next,
        Some("GLOBAL") => TransactionScope::Global,
        Some("SESSION" | "LOCAL") => TransactionScope::Session,
        Some(_) => return Err(c.error(HINT)),
    };
    let mut isolation = None;
    let mut read_only = None;
    loop {
        if isolation.is_none() && c.eat_all(&["ISOLATION", "LEVEL"]) {
            isolation = Some(match () {
                () if c.eat_all(&["READ", "UNCOMMITTED"]) => Isolation::ReadUncommitted,
                () if c.eat_all(&["READ", "COMMITTED"]) => Isolation::ReadCommitted,
                () if c.eat_all(&["REPEATABLE", "READ"]) => Isolation::RepeatableRead,
                () if c.eat("SERIALIZABLE") => Isolation::Serializable,
                () => {
                    return Err(
                        c.error("the levels are READ UNCOMMITTED, READ COMMITTED, REPEATABLE READ and SERIALIZABLE")
                    );
                }
            });
        } else if read_only.is_none() && c.eat_all(&["READ", "ONLY"]) {
            read_only = Some(true);
        } else if read_only.is_none() && c.eat_all(&["READ", "WRITE"]) {
            read_only = Some(false);
        } else {
            return Err(c.error(HINT));
        }
        if !c.eat_sign(&Token::Comma) {
            return Ok(SetItem::Transaction { scope, isolation, read_only });
        }
    }
}

fn password(c: &mut Cursor<'_>) -> Result<SetItem> {
    const HINT: &str = "SET PASSWORD [FOR user] = 'password'";
    let user = if c.eat("FOR") { Some(user_name(c)?) } else { None };
    expect_assign(c, HINT)?;
    let wrapped = c.is("PASSWORD") && c.peek_at(1) == Some(&Token::LParen);
    c.at += if wrapped { 2 } else { 0 };
    let password = c.string(HINT)?;
    if wrapped {
        c.expect_sign(&Token::RParen, HINT)?;
    }
    Ok(SetItem::Password { user, password })
}

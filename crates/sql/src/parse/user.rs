//! Accounts, users, roles and grants.

use sqlparser::tokenizer::Token;

use super::TableName;
use super::cursor::{Cursor, is_word};
use super::statement::{
    AccountStatement, AccountStatus, Auth, Grant, GrantOn, Lenient, Privilege, RoleChoice, Statement, UserName,
    UserOptions, UserSpec, UserStatement,
};
use crate::error::{Error, Result};

/// Parses the statement if it is one of these, else returns `None` and leaves the cursor where it was.
pub(super) fn parse(c: &mut Cursor<'_>) -> Result<Option<Statement>> {
    let statement = if c.eat_all(&["CREATE", "USER"]) {
        let if_not_exists = c.if_not_exists();
        let users = c.comma_separated(user_spec)?;
        let options = user_options(c)?;
        if matches!(options.default_role, Some(RoleChoice::None | RoleChoice::All)) {
            return Err(Error::syntax("CREATE USER … DEFAULT ROLE names roles; a new user has none"));
        }
        Statement::User(UserStatement::Create { users, if_not_exists, options })
    } else if c.eat_all(&["CREATE", "OR", "REPLACE", "USER"]) {
        return Err(Error::unsupported("CREATE OR REPLACE USER"));
    } else if c.eat_all(&["ALTER", "USER"]) {
        let if_exists = c.if_exists();
        let users = c.comma_separated(user_spec)?;
        let options = user_options(c)?;
        Statement::User(UserStatement::Alter { users, if_exists, options })
    } else if c.eat_all(&["DROP", "USER"]) {
        let if_exists = c.if_exists();
        Statement::User(UserStatement::Drop { users: c.comma_separated(user_name)?, if_exists })
    } else if c.eat_all(&["RENAME", "USER"]) {
        Statement::User(UserStatement::Rename(c.comma_separated(|c| {
            let from = user_name(c)?;
            c.expect("TO", "RENAME USER a TO b")?;
            Ok((from, user_name(c)?))
        })?))
    } else if c.eat_all(&["CREATE", "ROLE"]) {
        let if_not_exists = c.if_not_exists();
        Statement::User(UserStatement::CreateRole { roles: c.comma_separated(user_name)?, if_not_exists })
    } else if c.eat_all(&["DROP", "ROLE"]) {
        let if_exists = c.if_exists();
        Statement::User(UserStatement::DropRole { roles: c.comma_separated(user_name)?, if_exists })
    } else if c.eat("GRANT") {
        grant(c, "TO")?
    } else if c.eat("REVOKE") {
        grant(c, "FROM")?
    } else if let Some(account) = account(c)? {
        Statement::Account(account)
    } else {
        return Ok(None);
    };
    c.expect_end()?;
    Ok(Some(statement))
}

/// `'name'@'host'`, `name@host`, `name`, `CURRENT_USER[()]`
pub(super) fn user_name(c: &mut Cursor<'_>) -> Result<UserName> {
    if c.eat("CURRENT_USER") {
        if c.eat_sign(&Token::LParen) {
            c.expect_sign(&Token::RParen, "CURRENT_USER()")?;
        }
        return Ok(UserName { name: String::new(), host: None, current: true });
    }
    let name = match c.peek() {
        // The anonymous user has an empty name.
        Some(Token::SingleQuotedString(text)) => {
            c.at += 1;
            text.clone()
        }
        _ => c.name("name a user: 'name'@'host'")?,
    };
    let host = match c.peek() {
        Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.starts_with('@') && !word.value.starts_with("@@") =>
        {
            c.at += 1;
            Some(match &word.value[1..] {
                // `'u'@ 'h'`, or `u@%`, which MySQL's own client writes with quotes.
                "" if matches!(c.peek(), Some(Token::SingleQuotedString(_))) => c.string("name a host")?,
                "" if c.eat_sign(&Token::Mod) => "%".to_owned(),
                host => host.to_owned(),
            })
        }
        _ => None,
    };
    Ok(UserName { name, host, current: false })
}

/// What follows SET ROLE: `NONE`, `ALL [EXCEPT roles]`, `DEFAULT` or roles, to the end of the statement.
pub(super) fn role_choice(c: &mut Cursor<'_>) -> Result<RoleChoice> {
    let choice = if c.eat("DEFAULT") {
        RoleChoice::Default
    } else if c.eat_all(&["ALL", "EXCEPT"]) {
        RoleChoice::AllExcept(c.comma_separated(user_name)?)
    } else {
        none_all_or_roles(c)?
    };
    c.expect_end()?;
    Ok(choice)
}

/// What follows SET DEFAULT ROLE: `{NONE | ALL | roles} TO users`, to the end of the statement.
pub(super) fn default_role(c: &mut Cursor<'_>) -> Result<UserStatement> {
    let roles = none_all_or_roles(c)?;
    c.expect("TO", "SET DEFAULT ROLE {NONE | ALL | roles} TO users")?;
    let users = c.comma_separated(user_name)?;
    c.expect_end()?;
    Ok(UserStatement::SetDefaultRole { roles, users })
}

fn none_all_or_roles(c: &mut Cursor<'_>) -> Result<RoleChoice> {
    Ok(if c.eat("NONE") {
        RoleChoice::None
    } else if c.eat("ALL") {
        RoleChoice::All
    } else {
        RoleChoice::Roles(c.comma_separated(user_name)?)
    })
}

fn user_spec(c: &mut Cursor<'_>) -> Result<UserSpec> {
    let user = user_name(c)?;
    let hint = "IDENTIFIED BY 'password' or IDENTIFIED WITH plugin [BY 'password' | AS 'hash']";
    if !c.eat("IDENTIFIED") {
        return Ok(UserSpec { user, auth: Auth::Unsaid });
    }
    if c.eat("BY") {
        if c.eat("PASSWORD") {
            return Ok(UserSpec { user, auth: Auth::Hash { plugin: None, hash: c.string(hint)? } });
        }
        if c.eat_all(&["RANDOM", "PASSWORD"]) {
            return Err(Error::unsupported("IDENTIFIED BY RANDOM PASSWORD"));
        }
        return Ok(UserSpec { user, auth: Auth::Password { plugin: None, password: c.string(hint)? } });
    }
    if !(c.eat("WITH") || c.eat("VIA")) {
        return Err(c.error(hint));
    }
    let plugin = c.name_or_string(hint)?;
    let auth = if c.eat("BY") {
        Auth::Password { plugin: Some(plugin), password: c.string(hint)? }
    } else if c.eat("AS") || c.eat("USING") {
        Auth::Hash { plugin: Some(plugin), hash: c.string(hint)? }
    } else {
        Auth::Plugin(plugin)
    };
    Ok(UserSpec { user, auth })
}

/// What may follow the users. What we cannot keep is refused rather than forgotten.
fn user_options(c: &mut Cursor<'_>) -> Result<UserOptions> {
    let UserOptions { mut locked, mut comment, mut default_role } = UserOptions::default();
    while !c.at_end() {
        if locked.is_none() && c.eat_all(&["ACCOUNT", "LOCK"]) {
            locked = Some(true);
        } else if locked.is_none() && c.eat_all(&["ACCOUNT", "UNLOCK"]) {
            locked = Some(false);
        } else if comment.is_none() && c.eat("COMMENT") {
            comment = Some(c.string("COMMENT needs a text in quotes")?);
        } else if default_role.is_none() && c.eat_all(&["DEFAULT", "ROLE"]) {
            default_role = Some(none_all_or_roles(c)?);
        } else if c.eat_all(&["REQUIRE", "NONE"])
            || c.eat_all(&["PASSWORD", "EXPIRE", "NEVER"])
            || c.eat_all(&["PASSWORD", "EXPIRE", "DEFAULT"])
        {
            // Each is how things are here: no client certificate is asked for, and passwords do not expire.
        } else if let Some(what) =
            ["REQUIRE", "WITH", "PASSWORD", "FAILED_LOGIN_ATTEMPTS", "ATTRIBUTE", "DISCARD"].iter().find(|w| c.is(w))
        {
            return Err(Error::unsupported(format!("{what} of a user")));
        } else {
            return Err(c.error(""));
        }
    }
    Ok(UserOptions { locked, comment, default_role })
}

fn grant(c: &mut Cursor<'_>, to: &str) -> Result<Statement> {
    let granting = to == "TO";
    let option_for = !granting && c.eat_all(&["GRANT", "OPTION", "FOR"]);
    let if_exists = !granting && c.if_exists();
    if c.eat("PROXY") {
        return Ok(skip_to_unsupported(c, "GRANT PROXY"));
    }
    let all_from = !granting && c.eat_all(&["ALL", "PRIVILEGES"]) | c.eat("ALL");
    if all_from && c.eat_sign(&Token::Comma) {
        c.expect_all(&["GRANT", "OPTION"], "REVOKE ALL PRIVILEGES, GRANT OPTION FROM user")?;
        c.expect("FROM", "REVOKE ALL PRIVILEGES, GRANT OPTION FROM user")?;
        let users = c.comma_separated(user_name)?;
        return Ok(Statement::User(UserStatement::RevokeAll { users, lenient: lenient(c, if_exists) }));
    }
    // Roles and privileges look alike until ON or TO comes.
    let on = c.find(|token| is_word(token, "ON") || is_word(token, to));
    let has_on = c.raw.tokens.get(on).is_some_and(|t| is_word(&t.token, "ON"));
    if !has_on && !all_from {
        let roles = c.comma_separated(user_name)?;
        c.expect(to, "say who gets it or loses it")?;
        let users = c.comma_separated(user_name)?;
        if granting {
            let with_admin = c.eat_all(&["WITH", "ADMIN", "OPTION"]) || c.eat_all(&["WITH", "GRANT", "OPTION"]);
            return Ok(Statement::User(UserStatement::GrantRole { roles, users, with_admin }));
        }
        return Ok(Statement::User(UserStatement::RevokeRole { roles, users, lenient: lenient(c, if_exists) }));
    }
    let privileges = if all_from {
        vec![Privilege { name: "ALL".to_owned(), columns: Vec::new() }]
    } else {
        c.comma_separated(privilege)?
    };
    c.expect("ON", "say what it is granted ON: *.*, d.* or d.t")?;
    let on = grant_on(c)?;
    c.expect(to, "say who gets it or loses it")?;
    let users = c.comma_separated(|c| {
        let spec = user_spec(c)?;
        match spec.auth {
            Auth::Unsaid => Ok(spec.user),
            // MySQL 8 refuses it too: a grant makes no users.
            _ => Err(Error::unsupported("GRANT ... IDENTIFIED BY; use CREATE USER")),
        }
    })?;
    let grant_option = if granting { c.eat_all(&["WITH", "GRANT", "OPTION"]) } else { option_for };
    let lenient = if granting { Lenient::default() } else { lenient(c, if_exists) };
    let grant = Grant { privileges, on, users, grant_option, lenient };
    Ok(Statement::User(if granting { UserStatement::Grant(grant) } else { UserStatement::Revoke(grant) }))
}

fn lenient(c: &mut Cursor<'_>, if_exists: bool) -> Lenient {
    Lenient { grants: if_exists, users: c.eat_all(&["IGNORE", "UNKNOWN", "USER"]) }
}

fn privilege(c: &mut Cursor<'_>) -> Result<Privilege> {
    let mut words = Vec::new();
    while let Some(Token::Word(word)) = c.peek() {
        if c.is("ON") {
            break;
        }
        words.push(word.value.to_ascii_uppercase());
        c.at += 1;
    }
    if words.is_empty() {
        return Err(c.error("name a privilege"));
    }
    let mut name = words.join(" ");
    if name == "ALL PRIVILEGES" {
        name = "ALL".to_owned();
    }
    let columns = if c.peek() == Some(&Token::LParen) { c.names_in_parens("name columns")? } else { Vec::new() };
    Ok(Privilege { name, columns })
}

fn grant_on(c: &mut Cursor<'_>) -> Result<GrantOn> {
    const HINT: &str = "privileges are granted ON *.*, d.*, d.t or t";
    if c.is("FUNCTION") || c.is("PROCEDURE") || c.is("PACKAGE") {
        return Err(Error::unsupported("GRANT on routines"));
    }
    if c.is("ACCOUNT") && c.peek_at(1) == Some(&Token::Mul) {
        c.at += 2;
        return Ok(GrantOn::Account);
    }
    if c.is("DATABASE") && !matches!(c.peek_at(1), Some(Token::Period)) {
        c.at += 1;
        if c.eat_sign(&Token::Mul) {
            return Ok(GrantOn::Everything);
        }
        return Ok(GrantOn::Database(c.name(HINT)?));
    }
    c.eat("TABLE");
    if c.eat_sign(&Token::Mul) {
        if !c.eat_sign(&Token::Period) {
            return Ok(GrantOn::CurrentDatabase);
        }
        c.expect_sign(&Token::Mul, HINT)?;
        return Ok(GrantOn::Everything);
    }
    let first = c.name(HINT)?;
    if !c.eat_sign(&Token::Period) {
        return Ok(GrantOn::Table(TableName { database: None, name: first }));
    }
    if c.eat_sign(&Token::Mul) {
        return Ok(GrantOn::Database(first));
    }
    Ok(GrantOn::Table(TableName { database: Some(first), name: c.name_after_period(HINT)? }))
}

fn account(c: &mut Cursor<'_>) -> Result<Option<AccountStatement>> {
    const ADMIN: &str = "CREATE ACCOUNT a ADMIN_NAME 'user' IDENTIFIED BY 'password'";
    if c.eat_all(&["DROP", "ACCOUNT"]) {
        let if_exists = c.if_exists();
        return Ok(Some(AccountStatement::Drop { name: c.name_or_string("name the account")?, if_exists }));
    }
    let create = c.eat_all(&["CREATE", "ACCOUNT"]);
    if !create && !c.eat_all(&["ALTER", "ACCOUNT"]) {
        return Ok(None);
    }
    let if_there = if create { c.if_not_exists() } else { c.if_exists() };
    let name = c.name_or_string("name the account")?;
    let (mut admin, mut status, mut comment) = (None, None, None);
    while !c.at_end() {
        if admin.is_none() && c.eat("ADMIN_NAME") {
            c.eat_sign(&Token::Eq);
            let user = c.name_or_string(ADMIN)?;
            c.expect_all(&["IDENTIFIED", "BY"], ADMIN)?;
            admin = Some((user, c.string(ADMIN)?));
        } else if comment.is_none() && c.eat("COMMENT") {
            c.eat_sign(&Token::Eq);
            comment = Some(c.string("COMMENT needs a text in quotes")?);
        } else if status.is_none() && c.peek().is_some() {
            status = Some(match c.eat_any(&["OPEN", "SUSPEND", "RESTRICTED"]) {
                Some("OPEN") => AccountStatus::Open,
                Some("SUSPEND") => AccountStatus::Suspend,
                Some(_) => AccountStatus::Restricted,
                None => return Err(c.error(ADMIN)),
            });
        } else {
            return Err(c.error(""));
        }
    }
    if !create {
        if admin.is_none() && status.is_none() && comment.is_none() {
            return Err(c.error("ALTER ACCOUNT needs ADMIN_NAME, OPEN, SUSPEND, RESTRICTED or COMMENT"));
        }
        return Ok(Some(AccountStatement::Alter { name, if_exists: if_there, admin, status, comment }));
    }
    let Some((admin, password)) = admin else { return Err(c.error(ADMIN)) };
    Ok(Some(AccountStatement::Create { name, if_not_exists: if_there, admin, password, status, comment }))
}

fn skip_to_unsupported(c: &mut Cursor<'_>, what: &str) -> Statement {
    c.at = c.raw.tokens.len();
    Statement::Unsupported(what.to_owned())
}

//! Users and accounts: who may log in, and how their passwords are checked.
//!
//! A user belongs to one account (tenant). What users may do is `access`'s affair; here they are made and let in. A user
//! has one entry per name: the host is kept as a restriction on where the user may come from, not as a second name.
//! Passwords are never kept, only what checks them.
//!
//! `schema::User::verifiers` holds, by key:
//!
//! ```text
//! caching_sha2_password   hex of SHA256(SHA256(password))
//! mysql_native_password   hex of SHA1(SHA1(password))
//! host                    where the user may come from, as a LIKE pattern; absent for anywhere
//! locked                  `Y` where nobody may log in as this user
//! comment                 free text
//! ```
//! A user without any verifier has the empty password. One that was made from a stored hash has that one only.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use strandline_core::catalog::Catalog;
use strandline_core::db::SYS;
use strandline_core::grants::{Grants, Privileges};
use strandline_core::ids::{AccountId, UserId};
use strandline_core::schema::User;

use crate::access::{grant, roles};
use crate::api::{Credential, Done};
use crate::ddl::{Ddl, done};
use crate::error::{Error, Result};
use crate::parse::{AccountStatement, AccountStatus, Auth, RoleChoice, UserName, UserOptions, UserSpec, UserStatement};
use crate::show::like::like;
use crate::warning::Warning;

const SHA2: &str = "caching_sha2_password";
const NATIVE: &str = "mysql_native_password";
/// A digest that no password has: the plugin cannot be used.
const UNUSABLE: [u8; 32] = [0xff; 32];

/// A login name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginName {
    /// The account's name; `sys` where none was given.
    pub account: String,
    pub user: String,
    /// MatrixOne's third part.
    pub role: Option<String>,
}

/// Takes `user`, `account:user[:role]` or `account#user[#role]` apart.
pub fn parse_login(login: &str) -> LoginName {
    let separator = login.chars().find(|mark| matches!(mark, ':' | '#')).unwrap_or(':');
    let mut parts = login.splitn(3, separator);
    let first = parts.next().unwrap_or_default().to_owned();
    match parts.next() {
        Some(user) => LoginName { account: first, user: user.to_owned(), role: parts.next().map(str::to_owned) },
        None => LoginName { account: "sys".to_owned(), user: first, role: None },
    }
}

/// Finds who logs in: the account and the user. The password is checked by the wire with [`credential`], before this.
///
/// # Errors
/// 1045 where account or user is unknown or the user may not come from `host`, 3118 where the user is locked.
pub fn find_login(catalog: &Catalog, login: &str, host: &str) -> Result<(AccountId, Arc<User>)> {
    let (account, user) = find_known(catalog, login, host)?;
    if user.verifiers.get("locked").is_some_and(|locked| locked == "Y") {
        let message = format!("Access denied for user '{}'@'{host}'. Account is locked.", user.name);
        return Err(Error::new(3118, "HY000", message));
    }
    Ok((account, user))
}

/// As [`find_login`], of locked users too: that they are locked is told to nobody without the password.
///
/// # Errors
/// 1045
pub fn find_known(catalog: &Catalog, login: &str, host: &str) -> Result<(AccountId, Arc<User>)> {
    let name = parse_login(login);
    let denied = || Error::new(1045, "28000", format!("Access denied for user '{}'@'{host}'", name.user));
    let account = catalog.account(&name.account).map_err(|_| denied())?;
    let user = catalog.user(account.id, &name.user).ok_or_else(denied)?;
    if !may_come_from(user, host) {
        return Err(denied());
    }
    Ok((account.id, user.clone()))
}

/// Returns what checks a user's password.
pub fn credential(user: &User) -> Credential {
    let sha2 = user.verifiers.get(SHA2).and_then(|hex| from_hex::<32>(hex));
    let native = user.verifiers.get(NATIVE).and_then(|hex| from_hex::<20>(hex));
    match (sha2, native) {
        (None, None) => Credential { sha2: None, native: None },
        // One of the two is known: the other must not pass for the empty password.
        (sha2, native) => {
            Credential { sha2: Some(sha2.unwrap_or(UNUSABLE)), native: Some(native.unwrap_or([0xff; 20])) }
        }
    }
}

/// Tells whether a user may log in with the empty password.
pub fn is_open(user: &User) -> bool {
    let locked = user.verifiers.get("locked").is_some_and(|locked| locked == "Y");
    !locked && credential(user).sha2.is_none()
}

/// Returns the verifiers of a password: what `schema::User::verifiers` holds about it.
pub fn verifiers(password: &str) -> BTreeMap<String, String> {
    if password.is_empty() {
        return BTreeMap::new();
    }
    let sha2 = Sha256::digest(Sha256::digest(password.as_bytes()));
    let native = Sha1::digest(Sha1::digest(password.as_bytes()));
    BTreeMap::from([(SHA2.to_owned(), to_hex(&sha2)), (NATIVE.to_owned(), to_hex(&native))])
}

/// Returns the host pattern of a user: `%` for anywhere.
pub fn host_of(user: &User) -> &str {
    user.verifiers.get("host").map_or("%", String::as_str)
}

/// Carries out the statements about users, roles and grants.
pub async fn user_statement(cx: &mut Ddl<'_>, statement: &UserStatement) -> Result<Done> {
    match statement {
        UserStatement::Create { users, if_not_exists, options } => create_users(cx, users, *if_not_exists, options),
        UserStatement::Alter { users, if_exists, options } => alter_users(cx, users, *if_exists, options),
        UserStatement::Drop { users, if_exists } => drop_users(cx, users, *if_exists),
        UserStatement::Rename(pairs) => rename_users(cx, pairs),
        UserStatement::Grant(statement) => grant::grant(cx, statement),
        UserStatement::Revoke(statement) => grant::revoke(cx, statement),
        UserStatement::RevokeAll { users, lenient } => grant::revoke_all(cx, users, *lenient),
        UserStatement::CreateRole { roles: names, if_not_exists } => roles::create(cx, names, *if_not_exists),
        UserStatement::DropRole { roles: names, if_exists } => roles::drop(cx, names, *if_exists),
        UserStatement::GrantRole { roles: names, users, with_admin } => roles::grant(cx, names, users, *with_admin),
        UserStatement::RevokeRole { roles: names, users, lenient } => roles::revoke(cx, names, users, *lenient),
        UserStatement::SetDefaultRole { roles: choice, users } => roles::set_default(cx, choice, users),
        UserStatement::SetRole(_) => Err(Error::internal("BUG: SET ROLE changes the session, not the catalog")),
    }
}

/// `SET PASSWORD [FOR user] = 'password'`
pub async fn set_password(cx: &mut Ddl<'_>, name: Option<&UserName>, password: &str) -> Result<Done> {
    let current = UserName { name: String::new(), host: None, current: true };
    let name = name.unwrap_or(&current);
    let mut user =
        find(cx, name).ok_or_else(|| Error::new(1133, "42000", "Can't find any matching row in the user table"))?;
    guard(cx, &user)?;
    replace_password(&mut user, verifiers(password));
    cx.txn.put_user(user)?;
    Ok(done(cx, 0))
}

/// Keeps those who administer users from changing those who administer the server, and so from becoming one of them.
///
/// # Errors
/// 1227
pub fn guard(cx: &Ddl<'_>, user: &User) -> Result<()> {
    let administers = user.grants.global.has(Privileges::SUPER);
    if administers && !cx.rights.is_own(user) { cx.rights.require_one_of(Privileges::SUPER) } else { Ok(()) }
}

/// Returns verifiers that no password meets.
pub fn unusable_password() -> BTreeMap<String, String> {
    BTreeMap::from([(SHA2.to_owned(), to_hex(&UNUSABLE))])
}

/// Tells whether a role is one that MatrixOne makes by itself: its clients name them at every login.
pub fn is_built_in(role: &str) -> bool {
    ["moadmin", "accountadmin", "public"].iter().any(|known| known.eq_ignore_ascii_case(role))
}

/// Carries out CREATE, ALTER and DROP ACCOUNT: for users of `sys` only.
pub async fn account_statement(cx: &mut Ddl<'_>, statement: &AccountStatement) -> Result<Done> {
    if cx.account != SYS {
        let message = "Access denied; you need to be a user of the account sys for this operation";
        return Err(Error::new(1227, "42000", message));
    }
    match statement {
        AccountStatement::Create { name, if_not_exists, admin, password, status, comment } => {
            if matches!(status, Some(AccountStatus::Suspend | AccountStatus::Restricted)) {
                return Err(Error::unsupported("accounts that are suspended or restricted"));
            }
            if comment.is_some() {
                return Err(Error::unsupported("CREATE ACCOUNT ... COMMENT"));
            }
            if name.is_empty() || name.contains([':', '#']) {
                return Err(Error::wrong_arguments(format!(
                    "'{name}' cannot be an account's name: ':' and '#' part it from the user's"
                )));
            }
            if cx.txn.catalog().account(name).is_ok() {
                let message = format!("Account '{name}' exists already");
                if !if_not_exists {
                    return Err(Error::new(1396, "HY000", message));
                }
                cx.warnings.push(Warning::note(1396, message));
                return Ok(done(cx, 0));
            }
            let account = cx.txn.create_account(name)?;
            cx.txn.put_user(User {
                id: UserId(0),
                account: account.id,
                name: admin.clone(),
                verifiers: verifiers(password),
                grants: Grants::everything(),
            })?;
        }
        AccountStatement::Alter { name, if_exists, admin, status, comment } => {
            let Some(account) = existing_account(cx, name, *if_exists)? else { return Ok(done(cx, 0)) };
            if status.is_some_and(|status| status != AccountStatus::Open) {
                return Err(Error::unsupported("accounts that are suspended or restricted"));
            }
            if comment.is_some() {
                return Err(Error::unsupported("ALTER ACCOUNT ... COMMENT"));
            }
            if let Some((admin, password)) = admin {
                let user = cx.txn.catalog().user(account, admin).cloned();
                let mut user = (*user.ok_or_else(|| failed("ALTER", admin, "%"))?).clone();
                replace_password(&mut user, verifiers(password));
                cx.txn.put_user(user)?;
            }
        }
        AccountStatement::Drop { name, if_exists } => {
            let Some(id) = existing_account(cx, name, *if_exists)? else { return Ok(done(cx, 0)) };
            if id == SYS {
                return Err(Error::wrong_arguments("The account sys cannot be dropped"));
            }
            let account = cx.txn.catalog().account(name)?.clone();
            cx.txn.drop_account(&account)?;
        }
    }
    Ok(done(cx, 0))
}

fn existing_account(cx: &mut Ddl<'_>, name: &str, if_exists: bool) -> Result<Option<AccountId>> {
    match cx.txn.catalog().account(name) {
        Ok(account) => Ok(Some(account.id)),
        Err(error) if if_exists => {
            cx.warnings.push(Warning::note(1396, error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn create_users(cx: &mut Ddl<'_>, users: &[UserSpec], if_not_exists: bool, options: &UserOptions) -> Result<Done> {
    for spec in users {
        let host = spec.user.host.as_deref().unwrap_or("%");
        if find(cx, &spec.user).is_some() {
            if !if_not_exists {
                return Err(failed("CREATE", &spec.user.name, host));
            }
            let message = format!("Authorization ID '{}'@'{host}' already exists.", spec.user.name);
            cx.warnings.push(Warning::note(3163, message));
            continue;
        }
        check_name(&spec.user.name)?;
        let mut user = User {
            id: UserId(0),
            account: cx.account,
            name: spec.user.name.clone(),
            verifiers: BTreeMap::new(),
            grants: Grants::default(),
        };
        replace_password(&mut user, auth_verifiers(&spec.auth)?.unwrap_or_default());
        if host != "%" {
            user.verifiers.insert("host".to_owned(), host.to_owned());
        }
        attributes(&mut user, options);
        cx.txn.put_user(user)?;
        if let Some(choice) = &options.default_role {
            let own = std::slice::from_ref(&spec.user);
            if let RoleChoice::Roles(names) = choice {
                roles::grant(cx, names, own, false)?;
            }
            roles::set_default(cx, choice, own)?;
        }
    }
    Ok(done(cx, 0))
}

fn alter_users(cx: &mut Ddl<'_>, users: &[UserSpec], if_exists: bool, options: &UserOptions) -> Result<Done> {
    for spec in users {
        let host = spec.user.host.as_deref().unwrap_or("%");
        let Some(mut user) = find(cx, &spec.user) else {
            if !if_exists {
                return Err(failed("ALTER", &spec.user.name, host));
            }
            cx.warnings
                .push(Warning::note(3162, format!("Authorization ID '{}'@'{host}' does not exist.", spec.user.name)));
            continue;
        };
        guard(cx, &user)?;
        if let Some(verifiers) = auth_verifiers(&spec.auth)? {
            replace_password(&mut user, verifiers);
        }
        attributes(&mut user, options);
        cx.txn.put_user(user)?;
        if let Some(choice) = &options.default_role {
            roles::set_default(cx, choice, std::slice::from_ref(&spec.user))?;
        }
    }
    Ok(done(cx, 0))
}

fn drop_users(cx: &mut Ddl<'_>, users: &[UserName], if_exists: bool) -> Result<Done> {
    for name in users {
        let host = name.host.as_deref().unwrap_or("%");
        match find(cx, name) {
            Some(user) => {
                guard(cx, &user)?;
                cx.txn.drop_user(&user);
            }
            None if if_exists => {
                cx.warnings
                    .push(Warning::note(3162, format!("Authorization ID '{}'@'{host}' does not exist.", name.name)));
            }
            None => return Err(failed("DROP", &name.name, host)),
        }
    }
    Ok(done(cx, 0))
}

fn rename_users(cx: &mut Ddl<'_>, pairs: &[(UserName, UserName)]) -> Result<Done> {
    for (old, new) in pairs {
        let host = old.host.as_deref().unwrap_or("%");
        let mut user = find(cx, old).ok_or_else(|| failed("RENAME", &old.name, host))?;
        guard(cx, &user)?;
        if old.name != new.name && find(cx, new).is_some() {
            return Err(failed("RENAME", &old.name, host));
        }
        check_name(&new.name)?;
        user.name = new.name.clone();
        match new.host.as_deref() {
            None | Some("%") => user.verifiers.remove("host"),
            Some(host) => user.verifiers.insert("host".to_owned(), host.to_owned()),
        };
        cx.txn.put_user(user)?;
    }
    Ok(done(cx, 0))
}

/// Fails for a name that a user or role cannot have.
///
/// # Errors
/// 1470, 1210
pub fn check_name(name: &str) -> Result<()> {
    if name.chars().count() > 32 {
        let message = format!("String '{name}' is too long for user name (should be no longer than 32)");
        return Err(Error::new(1470, "HY000", message));
    }
    if name.contains([':', '#']) {
        let message = format!("'{name}' cannot be a user's name: ':' and '#' part it from the account's");
        return Err(Error::wrong_arguments(message));
    }
    Ok(())
}

/// Returns the user of a name. The host is not part of the name here.
pub fn find(cx: &Ddl<'_>, name: &UserName) -> Option<User> {
    let found = if name.current {
        cx.rights.user().and_then(|own| cx.txn.catalog().user_by_id(own.id))
    } else {
        cx.txn.catalog().user(cx.account, &name.name)
    };
    found.map(|user| (**user).clone())
}

/// Returns the verifiers that an IDENTIFIED clause asks for; `None` where it says nothing.
fn auth_verifiers(auth: &Auth) -> Result<Option<BTreeMap<String, String>>> {
    let known = |plugin: &Option<String>| match plugin.as_deref() {
        None | Some(SHA2 | NATIVE) => Ok(()),
        Some(other) => Err(Error::new(1524, "HY000", format!("Plugin '{other}' is not loaded"))),
    };
    match auth {
        Auth::Unsaid => Ok(None),
        Auth::Plugin(plugin) => {
            known(&Some(plugin.clone()))?;
            Ok(Some(BTreeMap::new()))
        }
        Auth::Password { plugin, password } => {
            known(plugin)?;
            Ok(Some(verifiers(password)))
        }
        Auth::Hash { plugin, hash } => {
            known(plugin)?;
            if hash.is_empty() {
                return Ok(Some(BTreeMap::new()));
            }
            let native = hash.strip_prefix('*').filter(|hex| from_hex::<20>(hex).is_some());
            let native = native.filter(|_| plugin.as_deref() != Some(SHA2));
            // Our own form, as SHOW CREATE USER writes it.
            let sha2 = hash.strip_prefix("$2SHA256$").filter(|hex| from_hex::<32>(hex).is_some());
            match (native, sha2) {
                (Some(hex), _) => Ok(Some(BTreeMap::from([(NATIVE.to_owned(), hex.to_lowercase())]))),
                (None, Some(hex)) => Ok(Some(BTreeMap::from([(SHA2.to_owned(), hex.to_lowercase())]))),
                (None, None) => Err(Error::new(1827, "HY000", "The password hash doesn't have the expected format.")),
            }
        }
    }
}

fn replace_password(user: &mut User, verifiers: BTreeMap<String, String>) {
    user.verifiers.remove(SHA2);
    user.verifiers.remove(NATIVE);
    user.verifiers.extend(verifiers);
}

fn attributes(user: &mut User, options: &UserOptions) {
    match options.locked {
        Some(true) => user.verifiers.insert("locked".to_owned(), "Y".to_owned()),
        Some(false) => user.verifiers.remove("locked"),
        None => None,
    };
    if let Some(comment) = &options.comment {
        user.verifiers.insert("comment".to_owned(), comment.clone());
    }
}

/// Returns the statement that makes a user anew, for SHOW CREATE USER. It grants no roles but those active by default.
pub fn create_user_text(user: &User, catalog: &Catalog) -> String {
    let auth = match (user.verifiers.get(SHA2), user.verifiers.get(NATIVE)) {
        (Some(hex), _) => format!("'{SHA2}' AS '$2SHA256${hex}'"),
        (None, Some(hex)) => format!("'{NATIVE}' AS '*{}'", hex.to_uppercase()),
        (None, None) => format!("'{SHA2}'"),
    };
    let locked = if user.verifiers.contains_key("locked") { "LOCK" } else { "UNLOCK" };
    let defaults = user.grants.roles.iter().filter(|(_, membership)| membership.default);
    let mut names: Vec<String> = defaults.filter_map(|(id, _)| Some(roles::full(catalog.user_by_id(*id)?))).collect();
    names.sort();
    let role = if names.is_empty() { String::new() } else { format!(" DEFAULT ROLE {}", names.join(",")) };
    format!("CREATE USER {} IDENTIFIED WITH {auth}{role} ACCOUNT {locked}", roles::full(user))
}

fn may_come_from(user: &User, host: &str) -> bool {
    let pattern = host_of(user);
    let local = ["localhost", "127.0.0.1", "::1", ""];
    like(pattern, host) || (local.contains(&pattern) && local.contains(&host))
}

fn failed(verb: &str, name: &str, host: &str) -> Error {
    Error::new(1396, "HY000", format!("Operation {verb} USER failed for '{name}'@'{host}'"))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_names() {
        let parts = |login| {
            let name = parse_login(login);
            (name.account, name.user, name.role)
        };
        let own = |account: &str, user: &str, role: Option<&str>| {
            (account.to_owned(), user.to_owned(), role.map(str::to_owned))
        };
        assert_eq!(parts("root"), own("sys", "root", None));
        assert_eq!(parts("acme:root"), own("acme", "root", None));
        assert_eq!(parts("acme#root#admin"), own("acme", "root", Some("admin")));
        assert_eq!(parts("acme:ro#ot"), own("acme", "ro#ot", None));
    }

    #[test]
    fn passwords_are_kept_as_mysql_hashes_them() {
        let kept = verifiers("secret");
        // SELECT PASSWORD('secret') on MariaDB.
        assert_eq!(kept[NATIVE].to_uppercase(), "14E65567ABDB5135D0CFD9A70B3032C179A49EE7");
        assert_eq!(kept[SHA2].len(), 64);
        assert!(verifiers("").is_empty());
        let user = User { id: UserId(1), account: SYS, name: "u".into(), verifiers: kept, grants: Grants::default() };
        assert!(credential(&user).sha2.is_some() && credential(&user).native.is_some());
    }

    #[test]
    fn a_stored_hash_leaves_no_empty_password_behind() {
        let hash = Auth::Hash { plugin: None, hash: "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7".into() };
        let verifiers = auth_verifiers(&hash).unwrap().unwrap();
        let user = User { id: UserId(1), account: SYS, name: "u".into(), verifiers, grants: Grants::default() };
        let credential = credential(&user);
        assert_eq!(credential.sha2, Some(UNUSABLE));
        assert_eq!(credential.native.map(|native| native[0]), Some(0x14));
    }
}

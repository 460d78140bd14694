//! Roles: users that cannot log in, whose privileges others may make their own.

use std::collections::BTreeMap;

use strandline_core::grants::{Grants, Membership, Privileges};
use strandline_core::ids::UserId;
use strandline_core::schema::User;

use super::grant::{known, missing};
use super::{ActiveRoles, Rights, lacks};
use crate::api::Done;
use crate::create_text::quote;
use crate::ddl::{Ddl, done};
use crate::error::{Error, Result};
use crate::parse::{Lenient, RoleChoice, UserName};
use crate::session::State;
use crate::users::{self, find, guard, host_of, unusable_password};
use crate::warning::Warning;

/// How deep roles may be granted to roles.
const DEPTH_MAX: usize = 32;

/// `CREATE ROLE [IF NOT EXISTS] r, …`
pub fn create(cx: &mut Ddl<'_>, roles: &[UserName], if_not_exists: bool) -> Result<Done> {
    for name in roles {
        let host = name.host.as_deref().unwrap_or("%");
        if find(cx, name).is_some() {
            if !if_not_exists {
                return Err(failed("CREATE", name));
            }
            let message = format!("Authorization ID '{}'@'{host}' already exists.", name.name);
            cx.warnings.push(Warning::note(3163, message));
            continue;
        }
        users::check_name(&name.name)?;
        let mut verifiers: BTreeMap<String, String> = unusable_password();
        verifiers.insert("locked".to_owned(), "Y".to_owned());
        if host != "%" {
            verifiers.insert("host".to_owned(), host.to_owned());
        }
        let (account, name) = (cx.account, name.name.clone());
        cx.txn.put_user(User { id: UserId(0), account, name, verifiers, grants: Grants::default() })?;
    }
    Ok(done(cx, 0))
}

/// `DROP ROLE [IF EXISTS] r, …`
pub fn drop(cx: &mut Ddl<'_>, roles: &[UserName], if_exists: bool) -> Result<Done> {
    for name in roles {
        match find(cx, name) {
            Some(role) => {
                guard(cx, &role)?;
                cx.txn.drop_user(&role);
            }
            None if if_exists => {
                let host = name.host.as_deref().unwrap_or("%");
                let message = format!("Authorization ID '{}'@'{host}' does not exist.", name.name);
                cx.warnings.push(Warning::note(3162, message));
            }
            None => return Err(failed("DROP", name)),
        }
    }
    Ok(done(cx, 0))
}

/// `GRANT r, … TO u, … [WITH ADMIN OPTION]`
///
/// # Errors
/// 3523 for an unknown role or user, 1227 without the right to grant the role on, 3573 where a role would contain itself.
pub fn grant(cx: &mut Ddl<'_>, roles: &[UserName], users: &[UserName], admin: bool) -> Result<Done> {
    for role in roles {
        let role = find(cx, role).ok_or_else(|| unknown(role))?;
        may_pass_on(cx.rights, &role)?;
        for name in users {
            let mut user = find(cx, name).ok_or_else(|| unknown(name))?;
            if contains(cx, &role, user.id, DEPTH_MAX) {
                let message =
                    format!("User account {} is directly or indirectly granted to {}", full(&user), full(&role));
                return Err(Error::new(3573, "HY000", message));
            }
            let membership = user.grants.roles.entry(role.id).or_default();
            membership.admin |= admin;
            cx.txn.put_user(user)?;
        }
    }
    Ok(done(cx, 0))
}

/// `REVOKE r, … FROM u, …`
pub fn revoke(cx: &mut Ddl<'_>, roles: &[UserName], users: &[UserName], lenient: Lenient) -> Result<Done> {
    for name in roles {
        let Some(role) = find(cx, name) else {
            missing(cx, &unknown(name), lenient)?;
            continue;
        };
        may_pass_on(cx.rights, &role)?;
        for name in users {
            let Some(mut user) = known(cx, name, lenient)? else { continue };
            guard(cx, &user)?;
            if user.grants.roles.remove(&role.id).is_none() {
                missing(cx, &not_granted(&full(&role), &full(&user)), lenient)?;
                continue;
            }
            cx.txn.put_user(user)?;
        }
    }
    Ok(done(cx, 0))
}

/// `SET DEFAULT ROLE {NONE | ALL | r, …} TO u, …`
///
/// # Errors
/// 3530 for a role that was not granted to the user.
pub fn set_default(cx: &mut Ddl<'_>, choice: &RoleChoice, users: &[UserName]) -> Result<Done> {
    for name in users {
        let mut user = find(cx, name).ok_or_else(|| unknown(name))?;
        guard(cx, &user)?;
        let wanted = match choice {
            RoleChoice::Roles(roles) => {
                let mut ids = Vec::new();
                for role in roles {
                    let id = find(cx, role).map(|role| role.id);
                    let granted = id.filter(|id| user.grants.roles.contains_key(id));
                    ids.push(granted.ok_or_else(|| not_granted(&named(role), &full(&user)))?);
                }
                Some(ids)
            }
            RoleChoice::All => None,
            _ => Some(Vec::new()),
        };
        for (id, membership) in &mut user.grants.roles {
            membership.default = wanted.as_ref().is_none_or(|wanted| wanted.contains(id));
        }
        cx.txn.put_user(user)?;
    }
    Ok(done(cx, 0))
}

/// `SET ROLE`: which roles the session has active from here on.
///
/// # Errors
/// 3530 for a role that was not granted to the session's user.
pub fn set_active(state: &mut State, choice: &RoleChoice) -> Result<()> {
    let ids = |names: &[UserName]| names.iter().map(|name| own_role(state, &name.name)).collect::<Result<Vec<_>>>();
    let roles = match choice {
        RoleChoice::Default => ActiveRoles::Default,
        RoleChoice::None => ActiveRoles::None,
        RoleChoice::All => ActiveRoles::All,
        RoleChoice::AllExcept(names) => ActiveRoles::AllExcept(ids(names)?),
        RoleChoice::Roles(names) => ActiveRoles::Only(ids(names)?),
    };
    state.set_roles(roles);
    Ok(())
}

/// Returns a role that was granted to the session's user.
///
/// # Errors
/// 3530
pub fn own_role(state: &State, name: &str) -> Result<UserId> {
    let user = state.rights.user();
    let found = user.and_then(|user| {
        let role = state.engine.database().catalog().user(state.account, name)?.id;
        user.grants.roles.contains_key(&role).then_some(role)
    });
    let own = user.map_or_else(String::new, |user| full(user));
    found.ok_or_else(|| not_granted(&format!("{}@`%`", quote(name)), &own))
}

/// Returns what CURRENT_ROLE() says.
pub fn current(rights: &Rights) -> String {
    let mut names: Vec<String> = rights.active_roles().map(|role| full(role)).collect();
    names.sort();
    if names.is_empty() { "NONE".to_owned() } else { names.join(",") }
}

/// Returns the name of a user or role as grants are written: `` `name`@`host` ``.
pub fn full(user: &User) -> String {
    format!("{}@{}", quote(&user.name), quote(host_of(user)))
}

/// Who passes a role on must have it with ADMIN OPTION, or be an administrator.
fn may_pass_on(rights: &Rights, role: &User) -> Result<()> {
    let own = rights.user().and_then(|user| user.grants.roles.get(&role.id)).is_some_and(|own| own.admin);
    let through_active = || {
        rights
            .active_roles()
            .any(|active| matches!(active.grants.roles.get(&role.id), Some(Membership { admin: true, .. })))
    };
    if own || rights.has_one_of(Privileges::SUPER) || through_active() {
        return Ok(());
    }
    let error = lacks(Privileges::SUPER);
    Err(Error { message: format!("{}, or the role {} WITH ADMIN OPTION", error.message, full(role)), ..error })
}

/// Tells whether a role is, or was granted, the user `id`.
fn contains(cx: &Ddl<'_>, role: &User, id: UserId, depth: usize) -> bool {
    role.id == id
        || depth == 0
        || role
            .grants
            .roles
            .keys()
            .any(|inner| cx.txn.catalog().user_by_id(*inner).is_some_and(|inner| contains(cx, inner, id, depth - 1)))
}

fn failed(verb: &str, name: &UserName) -> Error {
    let host = name.host.as_deref().unwrap_or("%");
    Error::new(1396, "HY000", format!("Operation {verb} ROLE failed for '{}'@'{host}'", name.name))
}

fn unknown(name: &UserName) -> Error {
    Error::new(3523, "HY000", format!("Unknown authorization ID {}", named(name)))
}

fn named(name: &UserName) -> String {
    format!("{}@{}", quote(&name.name), quote(name.host.as_deref().unwrap_or("%")))
}

fn not_granted(role: &str, user: &str) -> Error {
    Error::new(3530, "HY000", format!("{role} is not granted to {user}"))
}

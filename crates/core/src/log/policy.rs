//! Policies: what people have told the store to do by itself, each a JSON body among the metastore's settings. They stand
//! beside the log and are not versioned: a restore never undoes them.
//!
//! ```text
//!   setting.name = kind/account/folded name      setting.value = the policy as JSON
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Metastore;
use crate::error::Result;
use crate::ids::AccountId;
use crate::schema::fold;

/// The kinds of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    Pitr,
    Retention,
    Schedule,
}

impl PolicyKind {
    fn prefix(self) -> &'static str {
        match self {
            PolicyKind::Pitr => "pitr/",
            PolicyKind::Retention => "retention/",
            PolicyKind::Schedule => "schedule/",
        }
    }

    fn key(self, account: AccountId, name: &str) -> String {
        format!("{}{account}/{}", self.prefix(), fold(name))
    }
}

/// Returns all policies of a kind, of all accounts, by name.
pub fn read<T: DeserializeOwned>(metastore: &dyn Metastore, kind: PolicyKind) -> Result<Vec<T>> {
    let settings = metastore.settings(kind.prefix())?;
    settings.iter().map(|(_, body)| Ok(serde_json::from_str(body)?)).collect()
}

/// Stores a policy durably, over one of the same name.
pub fn put<T: Serialize>(
    metastore: &dyn Metastore,
    kind: PolicyKind,
    account: AccountId,
    name: &str,
    policy: &T,
) -> Result<()> {
    fail::fail_point!("policy::put", crate::error::failing);
    metastore.put_setting(&kind.key(account, name), &serde_json::to_string(policy)?)?;
    fail::fail_point!("policy::stored");
    Ok(())
}

/// Removes a policy durably; tells whether there was one.
pub fn remove(metastore: &dyn Metastore, kind: PolicyKind, account: AccountId, name: &str) -> Result<bool> {
    fail::fail_point!("policy::remove", crate::error::failing);
    let removed = metastore.drop_setting(&kind.key(account, name))?;
    fail::fail_point!("policy::removed");
    Ok(removed)
}

//! `strandline recovery-points`: what can be restored now.

use strandline_client::sql;

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::scope::Scope;

/// List what can be restored now: snapshots, and commits inside the recovery window.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  strandline recovery-points --table shop.orders --from '-1 hour'")]
#[command(group = clap::ArgGroup::new("what").args(["table", "database", "account", "cluster"]).required(true))]
pub struct Arguments {
    #[command(flatten)]
    pub scope: Scope,
    /// Only at or after this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// Only at or before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<String>,
    #[command(flatten)]
    pub remote: Remote,
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        let scope = self.scope.clause()?.ok_or("Say what should be restored, such as --database shop.")?;
        let from = self.from.as_deref().map(|time| format!(" FROM {}", sql::text(time))).unwrap_or_default();
        let to = self.to.as_deref().map(|time| format!(" TO {}", sql::text(time))).unwrap_or_default();
        Ok(format!("SHOW RECOVERY POINTS FOR {scope}{from}{to}"))
    }
}

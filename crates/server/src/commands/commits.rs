//! `strandline commits`: what happened, newest first.

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::scope::Scope;

/// List commits, newest first.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  strandline commits --table shop.orders -n 5")]
pub struct Arguments {
    #[command(flatten)]
    pub scope: Scope,
    /// How many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    pub limit: u64,
    #[command(flatten)]
    pub remote: Remote,
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        let scope = self.scope.clause()?.map(|scope| format!(" FOR {scope}")).unwrap_or_default();
        Ok(format!("SHOW COMMITS{scope} LIMIT {}", self.limit))
    }
}

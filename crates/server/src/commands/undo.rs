//! `strandline undo`: takes back one commit.

use crate::Result;
use crate::commands::connection::Remote;

/// Undo one commit, unless a later one changed the same rows.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  strandline commits --table shop.orders\n  strandline undo 1042 --dry-run")]
pub struct Arguments {
    /// The commit, as 'strandline commits' lists it
    pub version: u64,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub remote: Remote,
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        Ok(format!("{}UNDO VERSION {}", if self.dry_run { "EXPLAIN " } else { "" }, self.version))
    }
}

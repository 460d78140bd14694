//! `strandline collect`: gives back the space of what nothing reaches.

use crate::Result;
use crate::commands::connection::Remote;

/// Delete files that no table, recovery window or snapshot reaches; the server does it by itself every ten minutes.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Only say of each file what would become of it, and why
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub remote: Remote,
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        let explain = if self.dry_run { "EXPLAIN " } else { "" };
        Ok(format!("{explain}COLLECT GARBAGE"))
    }
}

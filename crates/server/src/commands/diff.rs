//! `strandline diff`: how a table differs between two moments.

use strandline_client::sql::TableName;

use crate::Result;
use crate::commands::connection::Remote;
use crate::commands::moment::When;

/// Show how a table's rows differ between two moments.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// As database.table
    pub table: TableName,
    /// The earlier moment: a snapshot's name, a version's number, a time; or snapshot:…, version:…, time:…
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub from: When,
    /// The later moment
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true, default_value = "now")]
    pub to: When,
    #[command(flatten)]
    pub shown: Shown,
    #[command(flatten)]
    pub remote: Remote,
}

const EXAMPLES: &str = "Examples:
  strandline diff shop.orders --from before_release
  strandline diff shop.orders --from '-1 hour' --summary
  strandline diff shop.orders --from 1041 --to 1042 --limit 100";

#[derive(clap::Args, Debug)]
#[group(multiple = false)]
pub struct Shown {
    /// Only how many rows were added, changed and removed
    #[arg(long)]
    pub summary: bool,
    /// Only how many rows differ
    #[arg(long)]
    pub count: bool,
    /// At most so many rows
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        let output = match &self.shown {
            Shown { summary: true, .. } => " OUTPUT SUMMARY".to_owned(),
            Shown { count: true, .. } => " OUTPUT COUNT".to_owned(),
            Shown { limit: Some(limit), .. } => format!(" OUTPUT LIMIT {limit}"),
            _ => String::new(),
        };
        Ok(format!("DIFF TABLE {} FROM {} TO {}{output}", self.table, self.from.clause(), self.to.clause()))
    }
}

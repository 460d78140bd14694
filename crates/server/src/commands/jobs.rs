//! `strandline jobs`: long work, and how to stop it.

use crate::Result;
use crate::commands::connection::Remote;

/// List long work that runs or ended lately, and stop it.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    pub remote: Remote,
}

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// List jobs, and how far they are; so does no verb
    #[command(visible_alias = "ls")]
    List,
    /// Stop a job; it leaves nothing behind
    Cancel {
        /// Its number, as the list shows it
        job: u64,
    },
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        Ok(match &self.verb {
            None | Some(Verb::List) => "SHOW JOBS".to_owned(),
            Some(Verb::Cancel { job }) => format!("CANCEL JOB {job}"),
        })
    }
}

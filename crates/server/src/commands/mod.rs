//! The verbs of the command line, one file each.

pub mod serve;

/// A database in which every commit is a recovery point.
#[derive(clap::Parser)]
#[command(name = "strandline", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Subcommand)]
pub enum Command {
    Serve(Box<serve::Arguments>),
}

impl Cli {
    /// Runs the verb to its end.
    pub fn run(self) -> crate::Result<()> {
        match self.command {
            Command::Serve(arguments) => serve::run(&arguments),
        }
    }
}

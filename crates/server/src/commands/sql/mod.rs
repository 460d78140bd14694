//! `strandline sql`: a shell, or statements from an option, a file or stdin.

mod shell;
mod split;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use strandline_client::{Client, Config};

use crate::Result;
use crate::commands::block_on;
use crate::commands::connection::Connection;
use crate::commands::output::{Format, emit, render, render_vertical};
use split::{Statement, split};

/// Run SQL: a shell on a terminal, else statements from -e, a file or stdin.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Run these statements and exit
    #[arg(long, short, value_name = "SQL", conflicts_with = "file")]
    pub execute: Option<String>,
    /// Run the statements of this file and exit; '-' is stdin
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The database to use
    #[arg(long, short = 'D', env = "STRANDLINE_DATABASE", value_name = "DATABASE")]
    pub database: Option<String>,
    /// Print JSON: one line per statement, an array of rows or what was affected
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: Connection,
}

const EXAMPLES: &str = "Examples:
  strandline sql
  strandline sql -e 'SHOW SNAPSHOTS'
  strandline sql -D shop --json -e 'SELECT * FROM orders AS OF TIMESTAMP \"2026-01-31 10:00:00\"'
  strandline sql -f schema.sql
A statement ends with ';', or with '\\G' to show its rows as lines. The first error ends the run with exit code 1.";

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let config = Config { database: arguments.database.clone(), ..arguments.connection.config()? };
    let text = match (&arguments.execute, &arguments.file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) if path.as_os_str() != "-" => {
            let read = std::fs::read_to_string(path);
            Some(read.map_err(|error| format!("Cannot read {}: {error}.", path.display()))?)
        }
        (None, Some(_)) => Some(read_stdin()?),
        (None, None) if !std::io::stdin().is_terminal() => Some(read_stdin()?),
        (None, None) => None,
    };
    let format = if arguments.json { Format::Json } else { Format::Table };
    match text {
        Some(text) => block_on(run_all(config, &text, format))?,
        None => shell::run(&config, format)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the statements of a text up to the first error.
async fn run_all(config: Config, text: &str, format: Format) -> Result<()> {
    let (statements, rest) = split(text);
    // What no semicolon ends is a statement nevertheless: there is nothing more to come.
    let last = Statement { text: rest.text, vertical: false };
    let all = statements.into_iter().chain((!rest.is_blank).then_some(last));
    let mut client = Client::connect(config).await?;
    for statement in all {
        let start = Instant::now();
        let result = client.query(statement.text).await?;
        let elapsed = start.elapsed();
        match format {
            Format::Table if result.columns.is_empty() => {}
            Format::Table if statement.vertical => emit(&render_vertical(&result, Some(elapsed)))?,
            format => emit(&render(&result, format, elapsed))?,
        }
    }
    client.close().await?;
    Ok(())
}

fn read_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

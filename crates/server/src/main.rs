//! The binary `strandline`.

use std::process::ExitCode;

use clap::Parser;
use strandline_server::commands::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strandline: {error}");
            ExitCode::FAILURE
        }
    }
}

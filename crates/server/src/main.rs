//! The binary `strandline`.

use std::process::ExitCode;

use clap::Parser;
use strandline_server::commands::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}

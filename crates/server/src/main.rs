//! The binary `strandline`.

use std::process::ExitCode;

use clap::Parser;
use strandline_server::commands::Cli;

/// Queries hand their rows from thread to thread, and this one gives back what one thread has freed for another, whichever
/// of them runs next. Its options stand in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}

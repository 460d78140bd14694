//! The Strandline server: MySQL's protocol, TLS, an HTTP endpoint and the verbs of the command line.
//!
//! It is not: a place where SQL is understood (that is `strandline-sql`) or rows are kept (`strandline-core`).

pub mod commands;
pub mod first_start;
pub mod http;
pub mod memory;
pub mod metrics;
pub mod mysql;
pub mod process;
pub mod tls;

/// An error that ends a command, told to the operator as it is.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Lets the fuzz targets see how much memory an input makes them hold.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: strandline_fuzz::Counting = strandline_fuzz::Counting;

//! MySQL's language over the Strandline core. DataFusion lives here, and nowhere else.

mod access;
pub mod api;
mod by_key;
mod context;
mod create_text;
mod ddl;
mod dml;
pub mod engine;
pub mod error;
mod eval;
mod expansion;
mod explain;
mod expressions;
mod failure;
mod functions;
#[cfg(test)]
mod fuzz;
mod hidden;
mod history;
mod information_schema;
mod interrupt;
mod kept;
mod locks;
mod names;
mod names_of_database;
mod parse;
pub mod passwords;
mod plan;
mod planning;
mod point;
pub mod processes;
mod rounds;
mod run;
mod scan;
pub mod session;
mod set;
mod show;
mod sleep;
mod statements;
#[cfg(test)]
mod tests;
mod threads;
mod turns;
mod types;
mod users;
mod variables;
mod walk;
mod warning;
mod wildcard;

pub use show::like::like;

/// Lets the fuzz targets see how much memory an input makes them hold.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: strandline_fuzz::Counting = strandline_fuzz::Counting;

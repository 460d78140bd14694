//! MySQL's language over the Strandline core. DataFusion lives here, and nowhere else.

pub mod api;
mod context;
mod create_text;
mod ddl;
mod dml;
pub mod engine;
pub mod error;
mod eval;
mod explain;
mod expressions;
mod failure;
mod functions;
mod history;
mod information_schema;
mod interrupt;
mod names;
mod parse;
mod plan;
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
mod types;
mod users;
mod variables;
mod warning;
mod wildcard;

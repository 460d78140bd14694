//! MySQL's language over the Strandline core. DataFusion lives here, and nowhere else.

mod access;
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
mod hidden;
mod history;
mod information_schema;
mod interrupt;
mod locks;
mod names;
mod parse;
mod plan;
mod point;
pub mod processes;
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

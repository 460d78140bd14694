//! MySQL's language over the Strandline core. DataFusion lives here, and nowhere else.

pub mod api;
mod context;
pub mod create_text;
pub mod ddl;
mod dml;
pub mod engine;
pub mod error;
mod eval;
mod explain;
pub mod expressions;
mod failure;
pub mod functions;
mod history;
pub mod information_schema;
mod interrupt;
mod names;
pub mod parse;
mod plan;
mod point;
pub mod processes;
mod run;
mod scan;
pub mod session;
mod set;
pub mod show;
mod sleep;
mod statements;
#[cfg(test)]
mod tests;
pub mod types;
pub mod users;
mod variables;
pub mod warning;
